//! Whether a database is what it was when its last backup was made, told without reading it.
//!
//! Before the snapshot is taken the files of a database that is at rest are noted: device, inode,
//! size, and the times of their last modification (mtime) and change (ctime). Where a later run
//! finds the very same, nothing was committed in between. No write slips through:
//!
//! - Every `write()` sets mtime and ctime to the present. What was noted was older than
//!   [`AT_REST`] then, and no clock of a file system is that coarse, so a write after it leaves
//!   another time. Programs set mtime back; nobody sets ctime.
//! - A commit in WAL mode writes frames to the -wal, always by `write()`. One that is truncated,
//!   reset and written again from its beginning, or made anew, has another ctime. A checkpoint
//!   writes to the database. So an empty -wal, and none, mean the same: whatever had been in it was
//!   either there at the snapshot, or came into the database by a write that is seen.
//! - A commit in WAL mode is not visible when its frames are written, but when the -shm says so.
//!   A slow disk can be between the two. So the note is made at a moment at which nobody has the
//!   lock of the one writer: all frames that are there count, and the snapshot comes after it.
//! - In rollback mode the file itself is what a snapshot reads, under a lock that keeps writers
//!   out. A transaction that is not at its end has a journal, which has to be rolled back if a
//!   crash comes: where there is one that is not wiped, nothing is noted, and nothing is the same.
//!   `journal_mode = memory` and `off` write to the file, too, before the lock is released.
//! - A store through a mapping (SQLite built with `SQLITE_MMAP_READWRITE`) sets the times only when
//!   its page was clean. So the database is synced before the note. That makes its pages clean and
//!   write-protects them, on file systems that write pages back in this way: [`WRITING_BACK`]. On
//!   others nothing is noted. A network's, besides, tells times that are some seconds old.
//! - A file that another one was renamed over, or that was moved away and back, has another inode
//!   or another ctime. A file with a second name could have a -wal by that name: nothing is noted.
//! - A clock that is stepped could show one moment twice. So the note says where the clock stood
//!   against the time since the system's start, and a step of [`LARGEST_STEP`], which is less than
//!   [`AT_REST`], makes it worthless. One that was wrong only for a while would have to hit the
//!   very nanosecond.
//! - A power cut can take data away and leave the times. So the note holds until the next start of
//!   the system.
//! - Nobody can look at two files at once: they are looked at twice, and a difference between the
//!   two looks is a write.

use super::registry::Claim;
use super::{companion, companions, strangers};
use crate::engine::{DatabaseStamp, FileStamp};
use crate::failpoint::lowered;
use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How long nobody may have written to a database that is at rest, in milliseconds. FAT has the
/// coarsest times, of 2 seconds.
const AT_REST: u64 = 2000;

/// How far the clock may be from where it was, in milliseconds.
const LARGEST_STEP: i64 = 1000;

/// File systems, by the number that `statfs` tells, that protect pages from being written to
/// through a mapping when they have written them back: ext2 to ext4, XFS, Btrfs, F2FS.
const WRITING_BACK: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// SQLite's lock byte in the -shm of who writes (os_unix.c, `UNIX_SHM_BASE`; wal.c,
/// `WAL_WRITE_LOCK`).
const WAL_WRITE_LOCK: u64 = 120;

/// The state of a database's files.
type FileStamps = (FileStamp, Option<FileStamp>);

/// Notes a database that is at rest, before its snapshot is taken; `None` where it is not, or where
/// that can't be told for sure.
pub fn take(path: &Path) -> Option<DatabaseStamp> {
    let rest = lowered("DBBACKUP_TEST_AT_REST", AT_REST);
    take_after(path, TimeDelta::milliseconds(rest.cast_signed()))
}

/// As [`take`], of a database to which nobody has written for so long.
fn take_after(path: &Path, rest: TimeDelta) -> Option<DatabaseStamp> {
    let before = look_twice(path)?;
    let (file, wal) = &before;
    let latest = Utc::now() - rest;
    let is_at_rest = |file: &FileStamp| file.modified < latest && file.changed < latest;
    if !is_at_rest(file) || !wal.as_ref().is_none_or(is_at_rest) {
        return None;
    }
    sync(path).ok()?;
    if !has_no_writer(path) || look_twice(path)? != before {
        return None;
    }
    let (file, wal) = before;
    Some(DatabaseStamp {
        boot: boot_id()?,
        booted_at: booted_at()?,
        file,
        wal,
    })
}

/// Whether nothing was committed to a database since `stamp` was taken of it.
pub fn is_unchanged(path: &Path, stamp: &DatabaseStamp) -> bool {
    let is_same_system = is_same_system(&stamp.boot, stamp.booted_at);
    let is_same = |(file, wal): FileStamps| file == stamp.file && wal == stamp.wal;
    is_same_system && look_twice(path).is_some_and(is_same)
}

/// Whether the system was not started since it had this boot id, nor its clock set.
pub fn is_same_system(boot: &str, since: DateTime<Utc>) -> bool {
    boot_id().is_some_and(|now| now == boot)
        && booted_at().is_some_and(|booted_at| is_same_clock(booted_at, since))
}

fn is_same_clock(now: DateTime<Utc>, then: DateTime<Utc>) -> bool {
    (now - then).num_milliseconds().abs() < LARGEST_STEP
}

fn look_twice(path: &Path) -> Option<FileStamps> {
    let first = look(path)?;
    (look(path)? == first).then_some(first)
}

/// Looks at the database and its log; nothing is opened that SQLite could have locks on.
fn look(path: &Path) -> Option<FileStamps> {
    let found = path.symlink_metadata().ok()?;
    if !found.is_file()
        || found.nlink() > 1
        || !writes_back(path)
        || strangers::is_locked(path)
        || !is_journal_wiped(path)
    {
        return None;
    }
    let wal = match companion(path, "-wal").symlink_metadata() {
        Ok(log) if !log.is_file() || log.nlink() > 1 => return None,
        Ok(log) => (log.len() > 0).then(|| stamp_of(&log)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return None,
    };
    let wal = match wal {
        Some(wal) => Some(wal?),
        None => None,
    };
    Some((stamp_of(&found)?, wal))
}

fn stamp_of(found: &Metadata) -> Option<FileStamp> {
    let time = |seconds, nanoseconds: i64| {
        DateTime::from_timestamp(seconds, u32::try_from(nanoseconds).ok()?)
    };
    Some(FileStamp {
        device: found.dev(),
        inode: found.ino(),
        size_bytes: found.len(),
        modified: time(found.mtime(), found.mtime_nsec())?,
        changed: time(found.ctime(), found.ctime_nsec())?,
    })
}

// The field's type differs between systems.
#[allow(clippy::unnecessary_cast)]
#[cfg(target_os = "linux")]
fn writes_back(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| WRITING_BACK.contains(&(found.f_type as i64)))
}

#[cfg(not(target_os = "linux"))]
fn writes_back(_path: &Path) -> bool {
    false
}

/// Whether there is no journal that would have to be rolled back. No locks lie on a journal.
fn is_journal_wiped(path: &Path) -> bool {
    let mut start = [0; 8];
    match companions::open_journal(path, None) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(mut file) => match file.read_exact(&mut start) {
            Ok(()) => start == [0; 8],
            Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        },
    }
}

/// Writes back what was stored through a mapping, while no connection of this process is open.
fn sync(path: &Path) -> io::Result<()> {
    let claim = Claim::for_plain_file(path).map_err(io::Error::other)?;
    let file = companions::open_plain(path)?;
    if !claim.is_for(&file.metadata()?) {
        // Another file has taken its place. Closed, it could drop the locks of a connection of this
        // run.
        std::mem::forget(file);
        return Err(io::ErrorKind::NotFound.into());
    }
    file.sync_all()
}

/// Whether no application is in the middle of a transaction in WAL mode: it has a lock on the -shm.
/// Where there is none, nobody has the database open in that mode.
fn has_no_writer(path: &Path) -> bool {
    let Ok(_claim) = Claim::for_plain_file(path) else {
        return false;
    };
    let file = match companions::open_plain(&companion(path, "-shm")) {
        Ok(file) => file,
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    let wanted = Flock {
        start: WAL_WRITE_LOCK,
        length: 1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    matches!(fcntl_getlk(&file, &wanted), Ok(None))
}

/// Tells one start of the system from another.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// When the system was started, by its clock as that is now.
#[cfg(target_os = "linux")]
pub fn booted_at() -> Option<DateTime<Utc>> {
    let mut since = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `since` alone.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut since) };
    let since = TimeDelta::new(since.tv_sec, u32::try_from(since.tv_nsec).ok()?)?;
    (status == 0).then(|| Utc::now() - since)
}

#[cfg(not(target_os = "linux"))]
pub fn booted_at() -> Option<DateTime<Utc>> {
    None
}

#[cfg(test)]
mod tests;
