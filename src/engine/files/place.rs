//! The place of a file in a tree: its directory, held open, and its name in that. Everything of a
//! tree is opened, examined and read from there. By its path it could be something else a moment
//! later: the owner of a directory on the way may put a link in its place, and would get whatever
//! this run may read.

use super::meta::{self, FileMeta};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// How directories on the way are opened, which need not be readable.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY;

/// The place of a file, directory or link; see the head of this file.
#[derive(Debug, Clone)]
pub struct TreePlace {
    dir: Arc<OwnedFd>,
    leaf: OsString,
    path: PathBuf,
}

impl TreePlace {
    /// Finds the place of `path`, which holds no symbolic link. Each step is opened from the one
    /// before, and a link that has come there since is not followed.
    pub fn find(path: &Path) -> io::Result<TreePlace> {
        let mut dir = open_dir_at(CWD, OsStr::new("/"), STEP)?;
        let mut steps = path.components().filter_map(|step| match step {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        // The root directory lies in itself.
        let mut leaf = steps.next().unwrap_or(OsStr::new("."));
        for next in steps {
            dir = open_dir_at(&dir, leaf, STEP)?;
            leaf = next;
        }
        Ok(TreePlace {
            dir: Arc::new(dir),
            leaf: leaf.to_owned(),
            path: path.to_path_buf(),
        })
    }

    /// Opens the directory that lies here for reading. It is an error if it is another one than
    /// `known`.
    pub fn open_dir(&self, known: &FileMeta) -> io::Result<Arc<OwnedFd>> {
        let dir = open_dir_at(&*self.dir, &self.leaf, OFlags::RDONLY)?;
        match FileMeta::read(&dir)?.key() == known.key() {
            true => Ok(Arc::new(dir)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The place of a name in the directory `dir`, which lies here.
    pub fn child(&self, dir: &Arc<OwnedFd>, leaf: OsString) -> TreePlace {
        TreePlace {
            dir: Arc::clone(dir),
            path: self.path.join(&leaf),
            leaf,
        }
    }

    /// The place of another name in the same directory.
    pub fn sibling(&self, leaf: &OsStr) -> TreePlace {
        TreePlace {
            dir: Arc::clone(&self.dir),
            leaf: leaf.to_owned(),
            path: self.path.with_file_name(leaf),
        }
    }

    /// The place of the same name with this suffix.
    pub fn with_suffix(&self, suffix: &str) -> TreePlace {
        let mut leaf = self.leaf.clone();
        leaf.push(suffix);
        self.sibling(&leaf)
    }

    /// The name in its directory.
    pub fn leaf(&self) -> &OsStr {
        &self.leaf
    }

    /// The path by which it was found. It is for messages, and must not be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata, of a link itself.
    pub fn meta(&self) -> io::Result<FileMeta> {
        let found = rustix::fs::statat(
            &*self.dir,
            &self.leaf,
            AtFlags::SYMLINK_NOFOLLOW | NO_AUTOMOUNT,
        )?;
        Ok(FileMeta::from(found))
    }

    /// Whether what lies here lies on a disk of this machine, under its kernel's own eyes. The
    /// numbers are those of statfs(2).
    #[cfg(target_os = "linux")]
    pub fn is_on_local_disk(&self) -> bool {
        const ELSEWHERE: [u32; 13] = [
            0x6969,      // nfs
            0x517b,      // smb
            0xff53_4d42, // cifs
            0xfe53_4d42, // smb2
            0x6573_5546, // fuse
            0x0102_1997, // 9p
            0x00c3_6400, // ceph
            0x5346_414f, // afs
            0x6b41_4653, // kafs
            0x7375_7245, // coda
            0x0bd0_0bd0, // lustre
            0x786f_4256, // vboxsf
            0x7c7c_6673, // prl_fs
        ];
        // The number's type differs between systems; it has 32 bits.
        rustix::fs::fstatfs(&*self.dir)
            .is_ok_and(|found| !ELSEWHERE.contains(&(found.f_type as u32)))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn is_on_local_disk(&self) -> bool {
        false
    }

    /// Opens a file for reading; follows no link, and waits for nobody.
    pub fn open(&self) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.dir, &self.leaf, flags, Mode::empty())?.into())
    }

    /// Checks that this user may read it.
    pub fn may_be_read(&self) -> io::Result<()> {
        Ok(rustix::fs::accessat(
            &*self.dir,
            &self.leaf,
            rustix::fs::Access::READ_OK,
            AtFlags::empty(),
        )?)
    }

    /// The target of a symbolic link.
    pub fn target(&self) -> io::Result<Vec<u8>> {
        Ok(CString::into_bytes(rustix::fs::readlinkat(
            &*self.dir,
            &self.leaf,
            Vec::new(),
        )?))
    }

    /// The extended attributes, of a link itself.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        meta::xattrs_at(&self.openable_path())
    }

    /// A path for those who can't use an open directory. On Linux it leads through the open
    /// directory, whatever has become of that directory's own path.
    pub fn openable_path(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            self.openable_dir_path().join(&self.leaf)
        } else {
            self.path.clone()
        }
    }

    /// Such a path of its directory.
    pub fn openable_dir_path(&self) -> PathBuf {
        match cfg!(target_os = "linux") {
            true => PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd())),
            false => self.path.parent().unwrap_or(Path::new("/")).to_path_buf(),
        }
    }

    /// The open directory, which must live as long as such a path is in use.
    pub fn dir(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.dir)
    }
}

#[cfg(target_os = "linux")]
const NO_AUTOMOUNT: AtFlags = AtFlags::NO_AUTOMOUNT;
#[cfg(not(target_os = "linux"))]
const NO_AUTOMOUNT: AtFlags = AtFlags::empty();

/// Opens a directory in `dir`; no link is followed.
fn open_dir_at(dir: impl AsFd, name: &OsStr, how: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        name,
        how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Lists the names in a directory, sorted.
pub fn list_names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Raises the limit of open files. A tree may be deeper than the number of files that a process may
/// usually have open, and each directory on the way is open.
pub fn allow_deep_trees() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // Without it the deepest directories are unreadable, which is reported.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
