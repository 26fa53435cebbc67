//! Other processes that have a database open or locked.

use super::companion;
use super::registry::Claim;
use crate::error::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Fails if any application has the file open: it would go on writing into a file without a name.
pub(super) fn refuse_while_open(path: &Path) -> Result<()> {
    let pids = holders(path);
    let locked = has_byte_range_lock(path);
    if pids.is_empty() && !locked {
        return Ok(());
    }
    let by = if pids.is_empty() {
        "another process has a lock on it".into()
    } else {
        pids_text(&pids)
    };
    Err(Error::failed(format!(
        "`{}` can only be replaced while no application has it open: {by}",
        path.display()
    ))
    .with_hint("stop the application, then restore again"))
}

/// `open in pid 12, 34`.
pub fn pids_text(pids: &[u32]) -> String {
    format!(
        "open in pid {}",
        pids.iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// The other processes that have the file, its log or its index open, as far as this user may see;
/// also a file that had this name and was deleted.
pub fn holders(path: &Path) -> Vec<u32> {
    let companions = ["-wal", "-shm"].map(|suffix| companion(path, suffix));
    let there = std::iter::once(path.to_path_buf())
        .chain(companions)
        .filter_map(|path| path.metadata().ok());
    let wanted: Vec<(u64, u64)> = there.map(|found| (found.dev(), found.ino())).collect();
    let deleted = format!("{} (deleted)", path.display());
    let holds = |descriptor: &std::fs::DirEntry| {
        let path = descriptor.path();
        std::fs::metadata(&path).is_ok_and(|found| wanted.contains(&(found.dev(), found.ino())))
            || std::fs::read_link(&path).is_ok_and(|name| name.to_string_lossy() == deleted)
    };
    let mut pids = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let descriptors = std::fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        if pid != std::process::id() && descriptors.into_iter().any(|fd| holds(&fd)) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    pids
}

/// Whether another process, of whatever user, has a POSIX lock on the file.
pub(super) fn has_byte_range_lock(path: &Path) -> bool {
    lock_of_others(path) == Some(true)
}

/// `None` where it can't be asked for.
fn lock_of_others(path: &Path) -> Option<bool> {
    let _claim = Claim::for_plain_file(path).ok()?;
    let file = super::companions::open_plain(path).ok()?;
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the call writes to `lock` alone.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    Some(status == 0 && lock.l_type != libc::F_UNLCK as libc::c_short)
}
