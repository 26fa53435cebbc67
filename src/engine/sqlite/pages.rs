//! Moving a database's pages out of a read transaction: in order through SQLite's page table, or by
//! its backup API.

use super::{Db, is_busy};
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::fail_point;
use crate::{interrupt, stream};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The header's two bytes that say "WAL" (2) or "rollback journal" (1).
const VERSION_BYTES: std::ops::Range<usize> = 18..20;
const ROLLBACK: [u8; 2] = [1, 1];

/// Whether SQLite's page table is compiled in.
pub fn available(conn: &Connection) -> bool {
    let found = || -> rusqlite::Result<bool> {
        let mut statement = conn.prepare("PRAGMA module_list")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if row.get_ref(0)?.as_str() == Ok("sqlite_dbpage") {
                return Ok(true);
            }
        }
        Ok(false)
    };
    found().unwrap_or(false)
}

/// Bytes of the database in the transaction that is open.
pub fn size(db: &Db) -> Result<u64> {
    let count: i64 = db.pragma("page_count")?;
    let each: i64 = db.pragma("page_size")?;
    Ok(count.unsigned_abs() * each.unsigned_abs())
}

/// Writes every page, in order, of the transaction that is open. What comes out is a database in
/// one file, in rollback mode, whatever the mode of the live one.
pub fn stream(db: &Db, out: &mut dyn Write) -> Result<()> {
    let expected: i64 = db.pragma("page_count")?;
    let table = db
        .of_module("sqlite_dbpage")
        .map_err(|error| db.explain(error))?;
    let mut statement = db.prepare(&format!(
        "SELECT pgno, data FROM {table} WHERE schema = 'main'"
    ))?;
    let mut rows = statement.query([])?;
    let mut next = 1_i64;
    while let Some(row) = rows.next().map_err(|error| db.explain(error))? {
        let (number, data) = (row.get_ref(0)?.as_i64(), row.get_ref(1)?.as_blob());
        let (Ok(number), Ok(data)) = (number, data) else {
            return Err(Error::failed(format!(
                "page {next} of `{}` can't be read",
                db.path().display()
            )));
        };
        if number != next {
            return Err(Error::failed(format!(
                "page {next} of `{}` is missing",
                db.path().display()
            )));
        }
        if number == 1 {
            let mut first = data.to_vec();
            first[VERSION_BYTES].copy_from_slice(&ROLLBACK);
            out.write_all(&first)?;
        } else {
            out.write_all(data)?;
        }
        next += 1;
    }
    if next != expected + 1 {
        return Err(Error::failed(format!(
            "`{}` has {expected} pages, {} could be read",
            db.path().display(),
            next - 1
        )));
    }
    Ok(())
}

/// Copies the transaction that is open into the new file `to`, as fast as can be and without
/// syncing: for scratch copies.
pub fn copy(db: &Db, to: &Path) -> Result<()> {
    if available(db) {
        let mut file = std::io::BufWriter::with_capacity(1 << 20, durable::create_new(to)?);
        stream(db, &mut file)?;
        return Ok(file.flush()?);
    }
    copy_by_backup_api(db, to)
}

/// As [`copy`], for a SQLite without the page table. The read transaction that is open keeps
/// foreign writes from restarting it.
pub fn copy_by_backup_api(db: &Db, to: &Path) -> Result<()> {
    drop(durable::create_new(to)?);
    {
        let mut target = Connection::open(to)?;
        target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        let backup = Backup::new(db, &mut target)?;
        run_backup(&backup, Duration::ZERO).map_err(|error| match error {
            BackupStep::Sqlite(error) => db.explain(error),
            BackupStep::Other(error) => error,
        })?;
    }
    make_plain(to)
}

/// Marks a file that nobody has open as a database in rollback mode, if it is one.
pub fn make_plain(path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut head = [0; VERSION_BYTES.end];
    if file.read_exact_at(&mut head, 0).is_ok()
        && head.starts_with(super::probe::MAGIC)
        && head[VERSION_BYTES] == [2, 2]
    {
        file.write_all_at(&ROLLBACK, VERSION_BYTES.start as u64)?;
    }
    Ok(())
}

/// Why a backup step did not go on.
pub enum BackupStep {
    /// SQLite's own error.
    Sqlite(rusqlite::Error),
    /// Busy for too long, or interrupted.
    Other(Error),
}

/// Steps to the end; being busy is waited for up to `wait`, counted anew after each step that went
/// on.
pub fn run_backup(backup: &Backup<'_, '_>, wait: Duration) -> Result<(), BackupStep> {
    loop {
        interrupt::check().map_err(BackupStep::Other)?;
        match one_step(backup, 4096, wait)? {
            StepResult::Done => return Ok(()),
            _ => fail_point("sqlite: pages copied").map_err(BackupStep::Other)?,
        }
    }
}

/// One step of `pages` pages (0: only takes the locks), waiting up to `wait` while the database is
/// busy.
pub fn one_step(
    backup: &Backup<'_, '_>,
    pages: i32,
    wait: Duration,
) -> Result<StepResult, BackupStep> {
    let deadline = std::time::Instant::now() + wait;
    loop {
        interrupt::check().map_err(BackupStep::Other)?;
        let busy = match backup.step(pages) {
            Ok(StepResult::Busy | StepResult::Locked) => true,
            Ok(result) => return Ok(result),
            Err(error) if is_busy(&error) => true,
            Err(error) => return Err(BackupStep::Sqlite(error)),
        };
        if busy && std::time::Instant::now() >= deadline {
            let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(BackupStep::Sqlite(rusqlite::Error::SqliteFailure(
                failure, None,
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a file that nobody else knows to `out`.
pub fn send_file(path: &Path, out: &mut dyn Write) -> Result<()> {
    stream::copy(&mut File::open(path)?, out)?;
    Ok(())
}
