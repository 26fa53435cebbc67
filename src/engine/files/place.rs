//! Where something of a tree lies: its directory, held open, and its name in that. Everything of a
//! tree is opened, looked at and read from there. By its path it could be something else a moment
//! later: whoever owns a directory on the way may put a link in its place, and would have whatever
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

/// Directories on the way need not be readable.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct TreePlace {
    dir: Arc<OwnedFd>,
    leaf: OsString,
    path: PathBuf,
}

impl TreePlace {
    /// What `path` names, which holds no symbolic link: each step is opened from the one before,
    /// and a link that has come there since is not followed.
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

    /// The directory that lies here, to be read; an error where it is another one than `known`.
    pub fn enter(&self, known: &FileMeta) -> io::Result<Arc<OwnedFd>> {
        let dir = open_dir_at(&*self.dir, &self.leaf, OFlags::RDONLY)?;
        match FileMeta::read(&dir)?.key() == known.key() {
            true => Ok(Arc::new(dir)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Something in the directory `dir`, which lies here.
    pub fn below(&self, dir: &Arc<OwnedFd>, leaf: OsString) -> TreePlace {
        TreePlace {
            dir: Arc::clone(dir),
            path: self.path.join(&leaf),
            leaf,
        }
    }

    /// Another name in the same directory.
    pub fn beside(&self, leaf: &OsStr) -> TreePlace {
        TreePlace {
            dir: Arc::clone(&self.dir),
            leaf: leaf.to_owned(),
            path: self.path.with_file_name(leaf),
        }
    }

    /// The same name with this end.
    pub fn with_end(&self, end: &str) -> TreePlace {
        let mut leaf = self.leaf.clone();
        leaf.push(end);
        self.beside(&leaf)
    }

    /// Its name in its directory.
    pub fn leaf(&self) -> &OsStr {
        &self.leaf
    }

    /// Where it was found: to be told, not to be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Itself, not what it may point to.
    pub fn meta(&self) -> io::Result<FileMeta> {
        let found = rustix::fs::statat(
            &*self.dir,
            &self.leaf,
            AtFlags::SYMLINK_NOFOLLOW | NO_AUTOMOUNT,
        )?;
        Ok(FileMeta::from(found))
    }

    /// Opens a file for reading; follows no link, and waits for nobody.
    pub fn open(&self) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.dir, &self.leaf, flags, Mode::empty())?.into())
    }

    /// Whether this user may read it.
    pub fn may_be_read(&self) -> io::Result<()> {
        Ok(rustix::fs::accessat(
            &*self.dir,
            &self.leaf,
            rustix::fs::Access::READ_OK,
            AtFlags::empty(),
        )?)
    }

    /// What a symbolic link points to.
    pub fn target(&self) -> io::Result<Vec<u8>> {
        Ok(CString::into_bytes(rustix::fs::readlinkat(
            &*self.dir,
            &self.leaf,
            Vec::new(),
        )?))
    }

    /// Its extended attributes, those of a link itself.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        meta::xattrs_at(&self.for_others())
    }

    /// A path for those who must have one. On Linux it leads through the open directory, whatever
    /// has become of that directory's own path.
    pub fn for_others(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            self.dir_for_others().join(&self.leaf)
        } else {
            self.path.clone()
        }
    }

    /// The same for its directory.
    pub fn dir_for_others(&self) -> PathBuf {
        match cfg!(target_os = "linux") {
            true => PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd())),
            false => self.path.parent().unwrap_or(Path::new("/")).to_path_buf(),
        }
    }

    /// The directory, for as long as such a path is in use.
    pub fn dir(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.dir)
    }
}

#[cfg(target_os = "linux")]
const NO_AUTOMOUNT: AtFlags = AtFlags::NO_AUTOMOUNT;
#[cfg(not(target_os = "linux"))]
const NO_AUTOMOUNT: AtFlags = AtFlags::empty();

fn open_dir_at(dir: impl AsFd, name: &OsStr, how: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        name,
        how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in a directory, sorted.
pub fn names_in(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
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

/// A tree may be deeper than the number of files that a process may usually have open, and each
/// directory on the way is.
pub fn allow_deep_trees() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // What can't be had makes the deepest directories unreadable, which is told.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
