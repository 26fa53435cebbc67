//! The companions of a database, which lie beside it: its log, index and journal. The owner of the
//! directory may put something there that SQLite would wait for (a FIFO), follow (a link), or take
//! for this database's own (the journal of another one). The owner of a directory on the way may
//! put another one in its place between two openings. So each companion is opened in one directory
//! with the database itself, must be a plain file, and must belong to those who may read the
//! database.

use super::companion;
use super::registry::FileKey;
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

/// The companions' names after that of the database, and what messages call them.
const COMPANIONS: [(&str, &str); 3] = [("-wal", "log"), ("-shm", "index"), ("-journal", "journal")];

/// How a directory is opened, which need not be readable.
#[cfg(target_os = "linux")]
const DIRECTORY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const DIRECTORY: OFlags = OFlags::RDONLY;

/// The database to which a path would belong as a log, index or journal.
pub fn database_of(path: &[u8]) -> Option<&[u8]> {
    COMPANIONS
        .iter()
        .find_map(|(suffix, _)| path.strip_suffix(suffix.as_bytes()))
        .filter(|database| !database.is_empty())
}

/// Opens a plain file for reading; waits for nobody, and follows no link at the path's end.
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

/// Opens the journal of the database `path` for reading, beside the file `key` if that is known.
pub fn open_journal(path: &Path, key: Option<FileKey>) -> io::Result<File> {
    let journal = companion(path, "-journal");
    let is_database = |found: FileKey| key.is_none_or(|key| key == found);
    Ok(open_companion(&journal, path, libc::O_RDONLY, 0, Some(&is_database))?.into())
}

/// Opens the companion `path` beside `database`. `is_database` tells whether a file is the right
/// database; without it the owner of the companion does not matter.
pub fn open_companion(
    path: &Path,
    database: &Path,
    flags: libc::c_int,
    mode: libc::c_uint,
    is_database: Option<&dyn Fn(FileKey) -> bool>,
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
    let (Some(leaf), Some(database)) = (path.file_name(), database.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let database = match is_database {
        Some(is_database) => {
            let found = stat_at(&dir, database)?;
            if !is_database(key_of(&found)) {
                return Err(Errno::NOENT.into());
            }
            Some(found)
        }
        None => None,
    };
    // This comes before the opening: closing the file again could drop locks of this process.
    if let Ok(found) = stat_at(&dir, leaf)
        && let Some(reason) = find_fault(&found, database.as_ref())
    {
        return Err(io::Error::other(reason));
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
    if let Some(reason) = find_fault(&rustix::fs::fstat(&file)?, database.as_ref()) {
        // It has come there this very moment, and stays open: see above.
        std::mem::forget(file);
        return Err(io::Error::other(reason));
    }
    Ok(file)
}

/// Refuses a database with a companion that SQLite would not make.
pub fn check_companions(path: &Path) -> Result<()> {
    // A missing database is reported by those who open it.
    let Ok(database) = stat_at(CWD, path.as_os_str()) else {
        return Ok(());
    };
    for (suffix, name) in COMPANIONS {
        let companion = companion(path, suffix);
        let Ok(found) = stat_at(CWD, companion.as_os_str()) else {
            continue;
        };
        if let Some(reason) = find_fault(&found, Some(&database)) {
            return Err(Error::failed(format!(
                "`{}` can't be the {name} of the database `{}`: {reason}",
                companion.display(),
                path.display()
            ))
            .with_hint(format!(
                "look at it, and remove it or give it to the database's owner: `ls -l '{}'`",
                companion.display()
            )));
        }
    }
    Ok(())
}

/// The metadata of a file in a directory; no link is followed.
fn stat_at(dir: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Finds the reason why a file can't belong to a database. If that is not given, any plain file
/// may.
fn find_fault(found: &Stat, database: Option<&Stat>) -> Option<&'static str> {
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
    // Several users may share a database by its group, and each makes files of their own. The
    // owner of the database may read those.
    let shared = found.st_gid == database.st_gid && found.st_mode & 0o040 != 0;
    let fits = found.st_uid == database.st_uid || alone && (ours || shared);
    (!fits).then_some("it belongs to another user")
}

// The fields' types differ between systems.
#[allow(clippy::unnecessary_cast)]
fn key_of(found: &Stat) -> FileKey {
    (found.st_dev as u64, found.st_ino as u64)
}
