//! Applications that heed other locks than SQLite's usual ones: those of its "unix-dotfile" VFS
//! make a directory `<database>.lock`, others none at all ("unix-none", a network file system
//! without locks). They write although a reader has its lock, and what was read is torn.

use super::{Db, Use, companion, pages};
use crate::error::{Context, Error, Result};
use crate::failpoint::fail_point;
use crate::interrupt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits until no application has the database locked by a directory beside it.
pub fn wait_for_them(path: &Path, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    while is_locked(path) {
        if Instant::now() >= deadline {
            let lock = companion(path, ".lock");
            return Err(Error::failed(format!(
                "the database `{}` is locked by the directory `{}`",
                path.display(),
                lock.display()
            ))
            .with_hint(format!(
                "end the application's transaction, or wait longer: `lock_timeout = \"5m\"` in \
                     its source; if a crash has left it there: `rmdir '{}'`",
                lock.display()
            )));
        }
        interrupt::check()?;
        fail_point("sqlite: busy")?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// SQLite makes a directory. A file of that name is the business of some other program, and may be
/// there for ever.
fn is_locked(path: &Path) -> bool {
    companion(path, ".lock")
        .symlink_metadata()
        .is_ok_and(|found| found.is_dir())
}

/// That nobody writes to a database in rollback mode while its pages are read, as a reader's lock
/// should see to.
pub struct Alone {
    path: PathBuf,
    /// None where writers may go on: in WAL mode.
    before: Option<Seen>,
}

/// What every commit changes.
#[derive(PartialEq, Eq)]
struct Seen {
    size: u64,
    changed: (i64, i64),
    /// With the number that counts the commits.
    header: Vec<u8>,
}

impl Alone {
    /// From now on; `db` has its read transaction.
    pub fn with(db: &Db, purpose: Use, journal_mode: Option<&str>) -> Result<Alone> {
        let is_rollback = purpose == Use::Read && journal_mode != Some("wal");
        let before = is_rollback.then(|| look(db, db.path())).transpose()?;
        Ok(Alone {
            path: db.path().to_path_buf(),
            before,
        })
    }

    /// Up to now; `again` opens a second connection, which has no page in its cache, and the first
    /// one still holds its lock.
    pub fn or_torn(&self, again: impl FnOnce() -> Result<Db>) -> Result<()> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        if !is_locked(&self.path) && look(&again()?, &self.path)? == *before {
            return Ok(());
        }
        Err(torn(&self.path))
    }
}

fn torn(path: &Path) -> Error {
    let text = format!(
        "`{}` was written to while it was read, past the lock of the reader",
        path.display()
    );
    Error::failed(text).with_hint(
        "its application heeds other locks (the VFS \"unix-dotfile\" or \"unix-none\", a network \
         file system): stop it meanwhile, in a `before` hook",
    )
}

/// That neither a database nor its journal is written to, by what their directory says.
pub struct Untouched<'a> {
    path: &'a Path,
    before: [(u64, i64, i64); 2],
}

impl<'a> Untouched<'a> {
    /// From now on.
    pub fn now(path: &'a Path) -> Result<Self> {
        Ok(Untouched {
            path,
            before: times(path)?,
        })
    }

    /// Up to now.
    pub fn or_torn(&self) -> Result<()> {
        let untouched = !is_locked(self.path) && times(self.path)? == self.before;
        if untouched {
            Ok(())
        } else {
            Err(torn(self.path))
        }
    }
}

fn times(path: &Path) -> Result<[(u64, i64, i64); 2]> {
    let seen = |path: &Path| {
        path.metadata().map_or((0, 0, 0), |found| {
            (found.size(), found.mtime(), found.mtime_nsec())
        })
    };
    path.metadata()
        .with_context(|| format!("looking at `{}`", path.display()))?;
    Ok([seen(path), seen(&companion(path, "-journal"))])
}

fn look(db: &Db, path: &Path) -> Result<Seen> {
    let found = path
        .metadata()
        .with_context(|| format!("looking at `{}`", path.display()))?;
    let table = db
        .of_module("sqlite_dbpage")
        .map_err(|error| db.explain(error))?;
    let sql =
        format!("SELECT substr(data, 1, 100) FROM {table} WHERE schema = 'main' AND pgno = 1");
    let first = || match db.query_row(&sql, [], |row| row.get(0)) {
        // Nothing was ever written.
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Vec::new()),
        other => other.map_err(|error| db.explain(error)),
    };
    let header = if pages::available(db) {
        first()?
    } else {
        Vec::new()
    };
    Ok(Seen {
        size: found.size(),
        changed: (found.mtime(), found.mtime_nsec()),
        header,
    })
}
