//! Putting a restored database in the place of another one, in whatever state that is.
//!
//! A valid database is replaced *through SQLite*: the new pages are written into it in one
//! transaction, so that an application that has it open sees the new content and loses no locks.
//! From the moment that the old content is handed over to be kept until the new one is in place,
//! this process holds the write lock: nothing written in between can be lost, because nothing can
//! be written.
//!
//! Where that can't be done (no file, a corrupt one, another text encoding) the new file is renamed
//! into place, but never under an application that has the old one open: it would go on writing
//! into a file without a name.

mod rename;

pub use rename::free_path;

use super::destination::Target;
use super::pages::{self, BackupStep};
use super::probe::{self, Header};
use super::source::{LockedSource, Spool, SqliteSource};
use super::{Db, OpenMode, companion, facts, names, strangers};
use crate::durable;
use crate::engine::{Keep, Published};
use crate::error::{Error, Result};
use crate::failpoint::fail_point;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The bytes that are needed to put `content_size` bytes in the place of `target`, beside the copy
/// itself: for a log or journal of them, and for the growth of the database.
pub fn needed(target: &Path, content_size: u64) -> u64 {
    match target.metadata() {
        Err(_) => 0,
        // The conversion to another page size needs a second copy; it is gone before the log has
        // grown to that.
        Ok(found) => {
            let grown = content_size.saturating_sub(found.len());
            content_size.max(found.len()).saturating_add(grown)
        }
    }
}

/// Replaces `target` by the database `new`, which is complete, checked and on disk, on the target's
/// file system.
pub fn replace(new: &Path, target: &Target, keep: Keep<'_>) -> Result<Published> {
    // A symbolic link stays one: what it points to is replaced.
    let real = target
        .path
        .canonicalize()
        .unwrap_or_else(|_| target.path.clone());
    let target = &Target {
        path: real,
        ..target.clone()
    };
    if target.expected_absent || !target.path.exists() {
        return rename::place_new(new, target);
    }
    names::refuse_second_name(&target.path)?;
    match open_valid(target)? {
        Ok(old) => replace_valid(new, target, old, keep),
        Err(why) => rename::replace_corrupt(new, target, &why),
    }
}

/// Opens the old database for writing. The inner error says why it is not a valid one.
fn open_valid(target: &Target) -> Result<Result<Db, String>> {
    let path = &target.path;
    match probe::header(path)? {
        Header::Foreign => return Ok(Err("it is not a SQLite database".into())),
        Header::Database { wal: true } => {
            probe::refuse_to_lock_out_the_owner(path, &path.metadata()?)?
        }
        Header::Empty | Header::Database { wal: false } => {}
    }
    strangers::wait_for_them(path, target.lock_timeout)?;
    let db = Db::open(path, OpenMode::Write)?;
    // Closing a corrupt one must not write its log into it: both are set aside as they are.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let sound = db.patiently(target.lock_timeout, || {
        match db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
            Ok(text) => Ok(Ok(text)),
            Err(error) if is_corruption(&error) => Ok(Err(error.to_string())),
            // A collation that only the application has is no damage.
            Err(error) if facts::is_missing_extension(&error.to_string()) => {
                Ok(Ok("ok".to_owned()))
            }
            Err(error) => Err(error),
        }
    })?;
    Ok(match sound {
        Ok(text) if text == "ok" || facts::is_missing_extension(&text) => {
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            Ok(db)
        }
        Ok(text) | Err(text) => Err(text.replace('\n', " ")),
    })
}

fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

fn replace_valid(new: &Path, target: &Target, old: Db, keep: Keep<'_>) -> Result<Published> {
    let form = StorageForm::read(&old, target.lock_timeout)?;
    let new_form = StorageForm::read(&Db::open(new, OpenMode::Read)?, Duration::ZERO)?;
    if form.encoding.is_some() && new_form.encoding.is_some() && form.encoding != new_form.encoding
    {
        return rename::replace_other_encoding(new, target, old, &form, keep);
    }
    let mut published = if form.journal_mode == "wal" {
        replace_in_wal_mode(&with_page_size(new, form.page_size)?, target, old, keep)?
    } else {
        replace_in_rollback_mode(new, target, old, keep)?
    };
    published
        .warnings
        .extend(set_recorded_mode(&form.journal_mode, target));
    Ok(published)
}

/// A database that goes back to where it came from gets the journal mode that it had then; a
/// warning where an application keeps it from that.
fn set_recorded_mode(now: &str, target: &Target) -> Option<String> {
    let then = target
        .recorded
        .journal_mode
        .as_deref()
        .filter(|then| (*then == "wal") != (now == "wal"))?;
    let set = || -> Result<String> {
        let db = Db::open(&target.path, OpenMode::Write)?;
        let mode = if then == "wal" { "wal" } else { "delete" };
        db.patiently(Duration::from_secs(2), || {
            db.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| {
                row.get(0)
            })
        })
    };
    match set() {
        Ok(mode) if (mode == "wal") == (then == "wal") => None,
        _ => Some(format!(
            "`{0}` stays in journal mode {now}, as an application has it open; at the backup it \
             was in mode {then}: `sqlite3 '{0}' 'PRAGMA journal_mode = {then}'`",
            target.path.display()
        )),
    }
}

/// The properties of a database that decide how it can be replaced.
pub(super) struct StorageForm {
    pub(super) journal_mode: String,
    page_size: i64,
    /// None as long as there is no table; then any encoding will do.
    encoding: Option<String>,
}

impl StorageForm {
    /// Reads it in one transaction, waiting for writers.
    fn read(db: &Db, wait: Duration) -> Result<StorageForm> {
        db.begin("BEGIN", wait)?;
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let encoding: String = db.pragma("encoding")?;
        let form = StorageForm {
            journal_mode: db.pragma("journal_mode")?,
            page_size: db.pragma("page_size")?,
            encoding: (tables > 0).then_some(encoding),
        };
        db.run("COMMIT")?;
        Ok(form)
    }
}

/// In WAL mode the first step of the backup takes the write lock, and readers go on: the old
/// content is kept through a reader of its own.
fn replace_in_wal_mode(
    new: &Path,
    target: &Target,
    mut old: Db,
    keep: Keep<'_>,
) -> Result<Published> {
    let path = old.path().to_path_buf();
    let source = Db::open(new, OpenMode::Write)?;
    if source.pragma::<i64>("page_count")? == 0 {
        // From a database without pages the first step would be the whole copy, committed before
        // the old content is kept.
        source.run("PRAGMA user_version = 0")?;
    }
    {
        let backup = Backup::new(&source, &mut old.conn)?;
        pages::one_step(&backup, 0, target.lock_timeout)
            .map_err(|error| step_error(error, &path))?;
        if let Keep::Backup(keep) = keep {
            let live = SqliteSource::new(
                &path,
                Spool::Never,
                &target.scratch_dir,
                target.lock_timeout,
            );
            let mut live = live.allowing_damage();
            keep(&mut live)?;
        }
        fail_point("restore: ready")?;
        pages::run_backup(&backup, target.lock_timeout)
            .map_err(|error| step_error(error, &path))?;
        fail_point("restore: in place")?;
    }
    let mut published = Published {
        how: "replaced through SQLite, in one transaction".into(),
        ..Published::default()
    };
    if !checkpoint(&old, target.lock_timeout.min(Duration::from_secs(5)))? {
        let text = format!(
            "the -wal file of `{}` could not be emptied: a reader is using it; a later checkpoint \
             will",
            path.display()
        );
        published.warnings.push(text);
    }
    Ok(published)
}

/// In rollback mode no reader gets past the lock of a writer, so this connection keeps the lock
/// over several transactions and reads the old content itself.
fn replace_in_rollback_mode(
    new: &Path,
    target: &Target,
    mut old: Db,
    keep: Keep<'_>,
) -> Result<Published> {
    let path = old.path().to_path_buf();
    hold_exclusively(&old, target.lock_timeout)?;
    keep_locked(&old, target, keep)?;
    old.run("COMMIT")?;
    let source = Db::open(new, OpenMode::Read)?;
    {
        let backup = Backup::new(&source, &mut old.conn)?;
        fail_point("restore: ready")?;
        pages::run_backup(&backup, target.lock_timeout)
            .map_err(|error| step_error(error, &path))?;
        fail_point("restore: in place")?;
    }
    Ok(Published {
        how: "replaced through SQLite, in one transaction".into(),
        ..Published::default()
    })
}

/// Makes the connection keep its exclusive lock until it is closed, between transactions too.
///
/// The lock comes first and the mode second: in that mode an attempt that failed half-way would
/// keep its shared lock, and it and a writer would wait for each other.
pub(super) fn hold_exclusively(db: &Db, wait: Duration) -> Result<()> {
    db.begin("BEGIN EXCLUSIVE", wait)?;
    db.run("PRAGMA locking_mode = EXCLUSIVE")
}

pub(super) fn keep_locked(old: &Db, target: &Target, keep: Keep<'_>) -> Result<()> {
    match keep {
        Keep::Backup(keep) => keep(&mut LockedSource::new(old, &target.scratch_dir)),
        Keep::Aside => Err(Error::failed(
            "a database that is replaced through SQLite can't be set aside",
        )),
        Keep::Nothing => Ok(()),
    }
}

fn step_error(step: BackupStep, path: &Path) -> Error {
    match step {
        BackupStep::Sqlite(error) => super::explain(error, path),
        BackupStep::Other(error) => error,
    }
}

/// Brings the log into the database and empties it, so that the application's next write does not
/// pay for the restore.
fn checkpoint(db: &Db, wait: Duration) -> Result<bool> {
    let deadline = std::time::Instant::now() + wait;
    loop {
        let busy: i64 = db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .unwrap_or(1);
        if busy == 0 || std::time::Instant::now() >= deadline {
            return Ok(busy == 0);
        }
        crate::interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A database in WAL mode can't change its page size, so the copy takes on the old one's. By
/// `VACUUM INTO`: a plain `VACUUM` gives new rowids to tables without an INTEGER PRIMARY KEY, and
/// full-text indexes refer to rows by those.
fn with_page_size(new: &Path, page_size: i64) -> Result<PathBuf> {
    let db = Db::open(new, OpenMode::Read)?;
    if db.pragma::<i64>("page_size")? == page_size {
        return Ok(new.to_path_buf());
    }
    let converted = companion(new, ".converted");
    drop(durable::create_new(&converted)?);
    let before = facts::count_rows(&db)?;
    db.run(&format!("PRAGMA page_size = {page_size}"))?;
    db.execute("VACUUM INTO ?1", [converted.to_string_lossy()])
        .map_err(|error| {
            db.explain(error)
                .context("converting the restored copy to the target's page size")
        })?;
    drop(db);
    let copy = Db::open(&converted, OpenMode::Read)?;
    let sound = facts::check_integrity(&copy)?;
    if facts::count_rows(&copy)? != before || sound.status != crate::engine::CheckStatus::Ok {
        return Err(Error::failed(format!(
            "the copy changed when its page size was converted to \
            {page_size}: {}",
            sound.detail()
        ))
        .with_hint(
            "restore beside it with `--to`, or stop the application and move the old \
                   database away first",
        ));
    }
    Ok(converted)
}
