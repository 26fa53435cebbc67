//! What the file system says of a file besides its content.

use super::member::{FileTime, Member, MemberKind};
use super::names::Ids;
use rustix::fs::{FileType, Stat};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// Attributes that say how this system treats a file, not what belongs to it.
const NOT_SAVED: &[&[u8]] = &[
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"security.apparmor",
];

/// What stat(2) says. The standard library's own can't be had of a name in an open directory.
#[derive(Debug, Clone, Copy)]
pub struct FileMeta {
    found: Stat,
}

impl From<Stat> for FileMeta {
    fn from(found: Stat) -> Self {
        FileMeta { found }
    }
}

// The fields' types differ between systems.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
impl FileMeta {
    /// Of something open.
    pub fn read(file: impl AsFd) -> std::io::Result<FileMeta> {
        Ok(FileMeta {
            found: rustix::fs::fstat(file)?,
        })
    }

    /// Device and inode.
    pub fn key(&self) -> (u64, u64) {
        (self.dev(), self.found.st_ino as u64)
    }

    /// Its number in its file system.
    pub fn inode(&self) -> u64 {
        self.found.st_ino as u64
    }

    /// The file system.
    pub fn dev(&self) -> u64 {
        self.found.st_dev as u64
    }

    /// What it is.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.found.st_mode)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// The permission bits, setuid and sticky among them.
    pub fn mode(&self) -> u32 {
        self.found.st_mode as u32 & 0o7777
    }

    /// Its length.
    pub fn size(&self) -> u64 {
        self.found.st_size as u64
    }

    /// What it takes on the disk, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.found.st_blocks as u64
    }

    /// How many names it has.
    pub fn nlink(&self) -> u64 {
        self.found.st_nlink as u64
    }

    /// When its content was last changed.
    pub fn mtime(&self) -> FileTime {
        FileTime {
            seconds: self.found.st_mtime as i64,
            nanoseconds: self.found.st_mtime_nsec as u32,
        }
    }

    /// When anything of it was. No program can set it.
    pub fn ctime(&self) -> FileTime {
        FileTime {
            seconds: self.found.st_ctime as i64,
            nanoseconds: self.found.st_ctime_nsec as u32,
        }
    }
}

/// A member of that kind with what `found` says.
pub fn member(
    name: &[u8],
    kind: MemberKind,
    found: &FileMeta,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    ids: &Ids,
) -> Member {
    let (uid, gid) = (found.found.st_uid, found.found.st_gid);
    Member {
        path: name.to_vec(),
        kind,
        mode: found.mode(),
        uid: uid.into(),
        gid: gid.into(),
        user: ids.name(true, uid),
        group: ids.name(false, gid),
        mtime: found.mtime(),
        xattrs,
    }
}

/// Whether two looks at a file say that nothing was written in between. The time of the last change
/// of anything (ctime) can't be set back by a program.
pub fn unchanged(before: &FileMeta, after: &FileMeta) -> bool {
    let seen = |found: &FileMeta| (found.size(), found.mtime(), found.ctime());
    seen(before) == seen(after)
}

/// The extended attributes of an open file; none where its file system has none.
#[cfg(target_os = "linux")]
pub fn xattrs_of(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// The extended attributes of what a path names, itself, not what it may point to.
#[cfg(target_os = "linux")]
pub fn xattrs_at(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

/// The kernel's limit for the list of names, and for a value.
#[cfg(target_os = "linux")]
const LONGEST: usize = 64 << 10;

#[cfg(target_os = "linux")]
fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Most files have none: a short look first.
    let mut short = [0; 256];
    let names = match list(&mut short) {
        Ok(0) => return Vec::new(),
        Ok(length) => short[..length].to_vec(),
        Err(rustix::io::Errno::RANGE) => {
            let mut long = vec![0; LONGEST];
            let length = list(&mut long).unwrap_or(0);
            long[..length].to_vec()
        }
        Err(_) => return Vec::new(),
    };
    let mut value = vec![0; LONGEST];
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_saved(name)) {
        if let Ok(length) = get(name, &mut value) {
            found.push((name.to_vec(), value[..length].to_vec()));
        }
    }
    found.sort();
    found
}

#[cfg(target_os = "linux")]
fn is_saved(name: &[u8]) -> bool {
    let other_system = name.starts_with(b"system.") && !name.starts_with(b"system.posix_acl_");
    !name.is_empty() && !other_system && !NOT_SAVED.contains(&name)
}

#[cfg(not(target_os = "linux"))]
pub fn xattrs_of(_file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    let _ = NOT_SAVED;
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub fn xattrs_at(_path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    Vec::new()
}

/// Where a file has content, as offsets and lengths; `None` where it has no holes, or its file
/// system can't tell.
pub fn parts(file: &File, found: &FileMeta) -> Option<Vec<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    // 512 bytes is the unit of `st_blocks`, whatever the file system's own.
    if found.blocks().saturating_mul(512) >= found.size() {
        return None;
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while at < found.size() {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(found.size()),
            // There is a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(file, SeekFrom::Hole(start)).ok()?.min(found.size());
        if end > start {
            parts.push((start, end - start));
        }
        at = end.max(start + 1);
    }
    // The map's end tells the size where the file ends in a hole.
    if parts
        .last()
        .is_none_or(|(start, length)| start + length < found.size())
    {
        parts.push((found.size(), 0));
    }
    let holes = parts.iter().map(|(_, length)| length).sum::<u64>() < found.size();
    holes.then_some(parts)
}
