//! Files that are there after a power cut: written under another name, synced, and only then given
//! their own.

use crate::error::{Context, Error, Result};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// How much is written before its write-back is started. A single fsync at the end of a large file
/// stalled a database's writers on the same disk for 150 to 450 ms; started every 8 MiB the worst
/// was 35 ms.
const WRITE_BACK: u64 = 8 << 20;

/// Creates a file that must not be there yet, readable by its owner alone.
pub fn create_new(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("creating `{}`", path.display()))
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("syncing the directory `{}`", dir.display()))
}

/// Renames without ever overwriting: an existing `to` is an error of kind
/// [`io::ErrorKind::AlreadyExists`].
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system has it (NFS, some FUSE). A directory takes no name but that of an
        // empty one; of a file a hard link refuses an existing name as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if from.symlink_metadata()?.is_dir() => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// How the name of a file ends that is to take another one's place.
const REPLACEMENT_SUFFIX: &str = ".new";

fn replacement_prefix(name: &OsStr) -> String {
    format!(".{}.", name.to_string_lossy())
}

/// Removes what killed runs left that were replacing this file. What can't be removed stays.
pub fn sweep_replacements(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let prefix = replacement_prefix(name);
    let is_left = |name: &str| {
        let rest = name.strip_prefix(&prefix);
        let random = rest.and_then(|rest| rest.strip_suffix(REPLACEMENT_SUFFIX));
        random.is_some_and(|random| random.len() == 6)
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_left) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Replaces a small file whole: readers see the old content or the new one. Its owner alone may
/// read it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with_mode(path, bytes, 0o600)
}

/// As [`replace`], with these permissions.
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::failed(format!(
            "`{}` is no file's name",
            path.display()
        )));
    };
    let what = || format!("writing `{}`", path.display());
    let mut pending = tempfile::Builder::new()
        .prefix(&replacement_prefix(name))
        .suffix(REPLACEMENT_SUFFIX)
        .tempfile_in(dir)
        .with_context(what)?;
    pending.write_all(bytes).with_context(what)?;
    pending
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .with_context(what)?;
    pending.as_file().sync_all().with_context(what)?;
    pending
        .persist(path)
        .map_err(|error| error.error)
        .with_context(what)?;
    sync_dir(dir)
}

/// Replaces a small file that other users read, as a web server or a collector of metrics does. Its
/// directory must be there.
pub fn replace_for_others(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(Error::failed(format!(
            "the directory of `{}` is not there",
            path.display()
        ))
        .with_hint("make it, or name another file"));
    }
    replace_with_mode(path, bytes, mode)
        .with_hint("the directory must be there, and writable by this user")
}

/// A file that is written front to back and whose write-back goes along with the writing.
pub struct SteadyFile {
    file: File,
    written: u64,
    started: u64,
}

impl SteadyFile {
    /// Takes over a file that nothing has been written to.
    pub fn new(file: File) -> Self {
        SteadyFile {
            file,
            written: 0,
            started: 0,
        }
    }

    /// Waits until everything is on disk and gives the file back.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        Ok(self.file)
    }
}

impl Write for SteadyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if self.written - self.started >= WRITE_BACK {
            write_back(&self.file, self.started, self.written - self.started)?;
            self.started = self.written;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts writing the range back, and waits for the range before it, so that never more than two
/// are on their way.
#[cfg(target_os = "linux")]
fn write_back(file: &File, from: u64, length: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let range = |from: u64, length: u64, flags: libc::c_uint| {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call reads no
        // memory of ours.
        let status = unsafe {
            libc::sync_file_range(
                file.as_raw_fd(),
                from.cast_signed(),
                length.cast_signed(),
                flags,
            )
        };
        match status {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let started = range(from, length, libc::SYNC_FILE_RANGE_WRITE);
    let waited = match from.checked_sub(WRITE_BACK) {
        None => Ok(()),
        Some(before) => range(
            before,
            WRITE_BACK,
            libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER,
        ),
    };
    match started.and(waited) {
        // Not every file system has it; the sync at the end does the whole work then.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP | libc::ESPIPE)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(not(target_os = "linux"))]
fn write_back(file: &File, _from: u64, _length: u64) -> io::Result<()> {
    file.sync_data()
}

/// Free bytes that this user may fill on the file system that holds `path`.
pub fn free_space(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path)
        .with_context(|| format!("asking for the free space of `{}`", path.display()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
