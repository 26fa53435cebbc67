//! Applications that use other locks than SQLite's usual ones. Those with its "unix-dotfile" VFS
//! make a directory `<database>.lock`, others lock nothing at all ("unix-none", a network file
//! system without locks). They write although a reader has its lock, and the copy is torn.

use super::{Db, OpenMode, companion, pages};
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

/// Whether a directory beside the database says that it is locked. SQLite makes a directory. A file
/// of that name is the business of some other program, and may be there for ever.
pub fn is_locked(path: &Path) -> bool {
    companion(path, ".lock")
        .symlink_metadata()
        .is_ok_and(|found| found.is_dir())
}

/// Makes sure that nobody writes to a database in rollback mode while its pages are read, although
/// the reader's lock should prevent that.
pub struct TornReadCheck {
    path: PathBuf,
    /// `None` in WAL mode, where writers may go on.
    before: Option<DatabaseState>,
}

/// The parts of a database that every commit changes.
#[derive(PartialEq, Eq)]
struct DatabaseState {
    size: u64,
    changed: (i64, i64),
    /// It holds the number that counts the commits.
    header: Vec<u8>,
}

impl TornReadCheck {
    /// Begins to watch; `db` has its read transaction.
    pub fn begin(db: &Db, purpose: OpenMode, journal_mode: Option<&str>) -> Result<TornReadCheck> {
        let is_rollback = purpose == OpenMode::Read && journal_mode != Some("wal");
        let before = is_rollback.then(|| look(db, db.path())).transpose()?;
        Ok(TornReadCheck {
            path: db.path().to_path_buf(),
            before,
        })
    }

    /// Fails if the database was written to since the beginning. `again` opens a second connection,
    /// which has no page in its cache, while the first one still holds its lock.
    pub fn verify(&self, again: impl FnOnce() -> Result<Db>) -> Result<()> {
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

/// Makes sure that neither a database nor its journal is written to, by their sizes and times.
pub struct FileTornReadCheck<'a> {
    path: &'a Path,
    before: [(u64, i64, i64); 2],
}

impl<'a> FileTornReadCheck<'a> {
    /// Begins to watch.
    pub fn begin(path: &'a Path) -> Result<Self> {
        Ok(FileTornReadCheck {
            path,
            before: times(path)?,
        })
    }

    /// Fails if one of them was written to since the beginning.
    pub fn verify(&self) -> Result<()> {
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

fn look(db: &Db, path: &Path) -> Result<DatabaseState> {
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
    Ok(DatabaseState {
        size: found.size(),
        changed: (found.mtime(), found.mtime_nsec()),
        header,
    })
}
