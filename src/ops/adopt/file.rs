//! Opens another tool's dump, if it can become a backup: the file is then shared with whoever owns
//! it, so it must belong to root or to this user, nobody else may write to it, and nobody does now.

use crate::error::{Context, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::Seek;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens the file, never through a link. What is copied may belong to anybody.
pub fn open_dump(path: &Path, is_copied: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let file = options
        .open(path)
        .with_context(|| format!("opening `{}`", path.display()))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Error::failed("it is no plain file"));
    }
    if is_being_written(&file) {
        return Err(Error::failed("it is being written to").with_hint("try again later"));
    }
    if is_copied {
        return Ok(file);
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != me {
        let owner = crate::users::user(found.uid());
        return Err(
            Error::failed(format!("it belongs to {owner}, who can change it later")).with_hint(
                format!("run this as {owner}, or copy it into the store with `--copy`"),
            ),
        );
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(
            Error::failed(format!("others can write to it (mode {mode:04o})")).with_hint(format!(
                "`chmod go-w {}`, or copy it into the store with `--copy`",
                crate::units::shell_word(&path.to_string_lossy())
            )),
        );
    }
    Ok(file)
}

/// The same file, to be read from its start.
pub fn from_start(file: &File) -> Result<File> {
    let mut again = file.try_clone()?;
    again.rewind()?;
    Ok(again)
}

/// Whether somebody has the file open to write to it, as far as the kernel tells: a lease for
/// readers is given only where nobody has. It is given back at once.
#[cfg(target_os = "linux")]
fn is_being_written(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    // The kernel's number; not every C library names it.
    const F_SETSIG: libc::c_int = 10;
    let set = |what: libc::c_int, value: libc::c_int| {
        // SAFETY: the descriptor is open, and both calls take a number.
        unsafe { libc::fcntl(file.as_raw_fd(), what, value) }
    };
    // Whoever opens it to write just now has a signal sent, and the usual one would end us.
    set(F_SETSIG, libc::SIGURG);
    if set(libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        set(libc::F_SETLEASE, libc::F_UNLCK);
        return false;
    }
    // Another error says that there are no leases: of somebody else's file, or on such a disk.
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(not(target_os = "linux"))]
fn is_being_written(_file: &File) -> bool {
    false
}
