//! A database whose application crashed in the middle of a transaction, in rollback mode: the file
//! holds some of it, and the journal beside it the way back. Its application will go that way when
//! it starts next. A backup must not write to the database, so it goes it in a copy of both.

use super::registry::{Claim, FileKey, key_of};
use super::strangers::FileTornReadCheck;
use super::{Db, OpenMode, companion, companions, names, pages};
use crate::durable;
use crate::error::{Context, Error, Result};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// SQLite's lock bytes (os.h): who writes, or rolls back, has the second; readers have the rest.
const PENDING: i64 = 0x4000_0000;
const RESERVED: i64 = PENDING + 1;
const SHARED: i64 = PENDING + 2;
const SHARED_SIZE: i64 = 510;

/// What the user is told.
pub const WARNING: &str = "a crash has cut off a transaction of its application: it was rolled \
                           back in the backup's copy, and will be in the database itself when the \
                           application starts";

/// Whether there is a journal that nobody is at work with.
pub fn is_cut_off(path: &Path) -> bool {
    // Nothing need be opened for most databases.
    if !names::has_live_journal(path) {
        return false;
    }
    let Ok(_claim) = Claim::for_plain_file(path) else {
        return false;
    };
    companions::open_plain(path).is_ok_and(|file| nobody_writes(&file))
}

/// Copies the database and its journal to `to`, held as a reader holds it, and rolls the
/// transaction back there. False: somebody is at work with it.
///
/// Nothing but the file `key` and what lies beside that is read, where it is known.
pub fn copy(path: &Path, key: Option<FileKey>, to: &Path) -> Result<bool> {
    let context = || {
        format!(
            "copying `{}`, which a crash has left in the middle of a transaction",
            path.display()
        )
    };
    {
        let claim = Claim::for_plain_file(path)?;
        let mut file = companions::open_plain(path).with_context(context)?;
        let found = file.metadata().with_context(context)?;
        if !claim.is_for(&found) || key.is_some_and(|key| key != key_of(&found)) {
            // Another file has taken its place. Closed, it could drop the locks of a connection of
            // this run.
            std::mem::forget(file);
            return Ok(false);
        }
        let held = lock(&file, libc::F_RDLCK, PENDING, 1)
            && lock(&file, libc::F_RDLCK, SHARED, SHARED_SIZE);
        lock(&file, libc::F_UNLCK, PENDING, 1);
        if !held || !nobody_writes(&file) || !names::has_live_journal(path) {
            return Ok(false);
        }
        let untouched = FileTornReadCheck::begin(path)?;
        std::io::copy(&mut file, &mut durable::create_new(to)?).with_context(context)?;
        let mut journal =
            companions::open_journal(path, Some(key_of(&found))).with_context(context)?;
        std::io::copy(
            &mut journal,
            &mut durable::create_new(&companion(to, "-journal"))?,
        )
        .with_context(context)?;
        // The journal of an application with other locks looks like one that is left over.
        untouched.verify()?;
    }
    let db = Db::open(to, OpenMode::Write)?;
    db.run("PRAGMA synchronous = OFF")?;
    db.begin("BEGIN", std::time::Duration::ZERO)
        .map_err(|error| error.renamed(to, path))?;
    db.run("COMMIT")?;
    drop(db);
    if names::has_live_journal(to) {
        return Err(Error::failed(format!(
            "the journal of `{}` could not be rolled back",
            path.display()
        ))
        .with_hint(format!(
            "open it once with its application, or `sqlite3 '{}' .schema`, as the file's owner",
            path.display()
        )));
    }
    pages::make_plain(to)?;
    Ok(true)
}

fn nobody_writes(file: &File) -> bool {
    let wanted = Flock {
        start: RESERVED.unsigned_abs(),
        length: 1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    matches!(fcntl_getlk(file, &wanted), Ok(None))
}

fn lock(file: &File, kind: libc::c_int, start: i64, length: i64) -> bool {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the call reads `lock` alone.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) == 0 }
}
