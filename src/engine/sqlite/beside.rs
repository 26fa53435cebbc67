//! What lies beside a database: its log, index and journal. Whoever owns the directory may put
//! there what SQLite would wait for (a FIFO), follow (a link), or take for this database's own (the
//! journal of another one), and whoever owns a directory on the way may put another one in its
//! place between two openings. So each is opened in one directory with the database itself, is a
//! plain file, and belongs to those who may read the database.

use super::companion;
use super::registry::Key;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What each is called after the database.
const ENDS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A directory need not be readable.
#[cfg(target_os = "linux")]
const DIRECTORY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const DIRECTORY: OFlags = OFlags::RDONLY;

/// The database that a path would be a log, index or journal of.
pub fn base_of(path: &[u8]) -> Option<&[u8]> {
    ENDS.iter()
        .find_map(|end| path.strip_suffix(end.as_bytes()))
        .filter(|base| !base.is_empty())
}

/// Opens a plain file to be read; waits for nobody, and follows no link at the path's end.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a plain file")),
    }
}

/// Opens the journal of the database `path` to be read, beside the file `key` where that is known.
pub fn open_journal(path: &Path, key: Option<Key>) -> io::Result<File> {
    let journal = companion(path, "-journal");
    let is_it = |found: Key| key.is_none_or(|key| key == found);
    Ok(open(&journal, path, libc::O_RDONLY, 0, Some(&is_it))?.into())
}

/// Opens `path` beside `base`, the database; `is_it` says whether a file is that one, and without
/// it whose the file is does not matter.
pub fn open(
    path: &Path,
    base: &Path,
    flags: libc::c_int,
    mode: libc::c_uint,
    is_it: Option<&dyn Fn(Key) -> bool>,
) -> io::Result<OwnedFd> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let dir = rustix::fs::openat(
        CWD,
        dir,
        DIRECTORY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let (Some(leaf), Some(base)) = (path.file_name(), base.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let database = match is_it {
        Some(is_it) => {
            let found = look(&dir, base)?;
            if !is_it(key_of(&found)) {
                return Err(Errno::NOENT.into());
            }
            Some(found)
        }
        None => None,
    };
    let refusal = |found: &Stat| why_not(found, database.as_ref()).map(io::Error::other);
    // Before it is opened: closing it again could drop locks of this process.
    if let Ok(found) = look(&dir, leaf)
        && let Some(error) = refusal(&found)
    {
        return Err(error);
    }
    let leaf = std::ffi::CString::new(leaf.as_bytes())?;
    let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the directory is open, and the name ends with NUL.
    let file = unsafe { libc::openat(dir.as_raw_fd(), leaf.as_ptr(), flags, mode) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and belongs to nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    if let Some(error) = refusal(&rustix::fs::fstat(&file)?) {
        // It has come there this very moment, and stays open: see above.
        std::mem::forget(file);
        return Err(error);
    }
    Ok(file)
}

/// An error where something beside the database `path` is not what SQLite makes there.
pub fn look_at_all(path: &Path) -> Result<()> {
    // What is missing is told by those who open it.
    let Ok(database) = look(CWD, path.as_os_str()) else {
        return Ok(());
    };
    for end in ENDS {
        let beside = companion(path, end);
        let Ok(found) = look(CWD, beside.as_os_str()) else {
            continue;
        };
        if let Some(why) = why_not(&found, Some(&database)) {
            return Err(Error::failed(format!(
                "`{}` can't be the {} of the database `{}`: {why}",
                beside.display(),
                if end == "-journal" {
                    "journal"
                } else if end == "-wal" {
                    "log"
                } else {
                    "index"
                },
                path.display()
            ))
            .with_hint(format!(
                "look at it, and remove it or give it to the database's owner: `ls -l '{}'`",
                beside.display()
            )));
        }
    }
    Ok(())
}

fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Why a file can't belong to a database; where that is not known, any plain file may.
fn why_not(found: &Stat, database: Option<&Stat>) -> Option<&'static str> {
    let kind = rustix::fs::FileType::from_raw_mode(found.st_mode);
    if kind.is_symlink() {
        return Some("it is a symbolic link");
    }
    if !kind.is_file() {
        return Some("it is not a plain file");
    }
    let database = database?;
    let alone = found.st_nlink < 2;
    let ours = found.st_uid == rustix::process::geteuid().as_raw();
    // Several users may share a database by its group, and each makes files of his own: whoever
    // owns the database may read those.
    let shared = found.st_gid == database.st_gid && found.st_mode & 0o040 != 0;
    let theirs = found.st_uid == database.st_uid || alone && (ours || shared);
    (!theirs).then_some("it belongs to another user")
}

// The fields' types differ between systems.
#[allow(clippy::unnecessary_cast)]
fn key_of(found: &Stat) -> Key {
    (found.st_dev as u64, found.st_ino as u64)
}
