//! What the file system says of a file besides its content.

use super::member::{Kind, Member, Time};
use super::names::Ids;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Attributes that say how this system treats a file, not what belongs to it.
const NOT_SAVED: &[&[u8]] = &[b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor"];

/// A member of that kind with what `found` says.
pub fn member(name: &[u8], kind: Kind, found: &Metadata, xattrs: Vec<(Vec<u8>, Vec<u8>)>, ids: &Ids) -> Member {
    Member {
        path: name.to_vec(),
        kind,
        mode: found.mode() & 0o7777,
        uid: found.uid().into(),
        gid: found.gid().into(),
        user: ids.name(true, found.uid()),
        group: ids.name(false, found.gid()),
        mtime: Time { seconds: found.mtime(), nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0) },
        xattrs,
    }
}

/// Whether two looks at a file say that nothing was written in between. The time of the last change of anything (ctime) can't be set back by a program.
pub fn unchanged(before: &Metadata, after: &Metadata) -> bool {
    let seen = |found: &Metadata| (found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    seen(before) == seen(after)
}

/// The extended attributes of an open file; none where its file system has none.
#[cfg(target_os = "linux")]
pub fn xattrs_of(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(|buffer| rustix::fs::flistxattr(file, buffer), |name, buffer| rustix::fs::fgetxattr(file, name, buffer))
}

/// The extended attributes of what a path names, itself, not what it may point to.
#[cfg(target_os = "linux")]
pub fn xattrs_at(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(|buffer| rustix::fs::llistxattr(path, buffer), |name, buffer| rustix::fs::lgetxattr(path, name, buffer))
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

/// Where a file has content, as offsets and lengths; `None` where it has no holes, or its file system can't tell.
pub fn parts(file: &File, found: &Metadata) -> Option<Vec<(u64, u64)>> {
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
    if parts.last().is_none_or(|(start, length)| start + length < found.size()) {
        parts.push((found.size(), 0));
    }
    let holes = parts.iter().map(|(_, length)| length).sum::<u64>() < found.size();
    holes.then_some(parts)
}
