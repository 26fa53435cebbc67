//! Putting a restored database in the place of another, whatever state that one is in.
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

use super::destination::{Target, directory_of, recorded_ownership};
use super::ownership::Ownership;
use super::pages::{self, Step};
use super::probe::{self, Header};
use super::registry::Claim;
use super::source::{HeldSource, Spool, SqliteSource};
use super::{Db, Use, companion, facts, names, strangers};
use crate::durable;
use crate::engine::{Keep, Published};
use crate::error::{Context, Error, Result};
use crate::failpoint::fail_point;
use crate::units;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that putting `content_size` bytes in the place of `target` needs beside the copy itself: a
/// log or journal of them, and what the database grows by.
pub fn needed(target: &Path, content_size: u64) -> u64 {
    match target.metadata() {
        Err(_) => 0,
        // The conversion to another page size needs a second copy; it is gone before the log has
        // grown to that.
        Ok(found) => content_size.max(found.len()) + content_size.saturating_sub(found.len()),
    }
}

/// See the head of this file. `new` is complete, checked and on disk, on the target's file system.
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
        return place_where_none_is(new, target);
    }
    names::refuse_second_name(&target.path)?;
    match open_valid(target)? {
        Ok(old) => replace_valid(new, target, old, keep),
        Err(why) => replace_corrupt(new, target, &why),
    }
}

/// Opens the old database for writing; the inner error says why it is not a valid one.
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
    let db = Db::open(path, Use::Write)?;
    // Closing a corrupt one must not write its log into it: both are set aside as they are.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let sound = db.patiently(target.lock_timeout, || {
        match db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
            Ok(text) => Ok(Ok(text)),
            Err(error) if is_corruption(&error) => Ok(Err(error.to_string())),
            // What only the application can compare is no damage.
            Err(error) if facts::names_what_is_missing(&error.to_string()) => {
                Ok(Ok("ok".to_owned()))
            }
            Err(error) => Err(error),
        }
    })?;
    Ok(match sound {
        Ok(text) if text == "ok" || facts::names_what_is_missing(&text) => {
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
    let form = Form::of(&old, target.lock_timeout)?;
    let new_form = Form::of(&Db::open(new, Use::Read)?, Duration::ZERO)?;
    if form.encoding.is_some() && new_form.encoding.is_some() && form.encoding != new_form.encoding
    {
        return replace_other_encoding(new, target, old, &form, keep);
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
        let db = Db::open(&target.path, Use::Write)?;
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

/// What decides how a database can be replaced.
struct Form {
    journal_mode: String,
    page_size: i64,
    /// None as long as there is no table; then any encoding will do.
    encoding: Option<String>,
}

impl Form {
    /// Read in one transaction, waiting for writers.
    fn of(db: &Db, wait: Duration) -> Result<Form> {
        db.begin("BEGIN", wait)?;
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let encoding: String = db.pragma("encoding")?;
        let form = Form {
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
    let source = Db::open(new, Use::Write)?;
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
            let mut live = live.kept_if_damaged();
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
    keep_held(&old, target, keep)?;
    old.run("COMMIT")?;
    let source = Db::open(new, Use::Read)?;
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

/// From here on until it is closed the connection keeps its exclusive lock, between transactions
/// too.
///
/// The lock first, the mode second: in that mode a try that failed half-way would keep its shared
/// lock, and it and a writer would wait for each other.
fn hold_exclusively(db: &Db, wait: Duration) -> Result<()> {
    db.begin("BEGIN EXCLUSIVE", wait)?;
    db.run("PRAGMA locking_mode = EXCLUSIVE")
}

fn keep_held(old: &Db, target: &Target, keep: Keep<'_>) -> Result<()> {
    match keep {
        Keep::Backup(keep) => keep(&mut HeldSource::new(old, &target.scratch_dir)),
        Keep::Aside => Err(Error::failed(
            "a database that is replaced through SQLite can't be set aside",
        )),
        Keep::Nothing => Ok(()),
    }
}

fn step_error(step: Step, path: &Path) -> Error {
    match step {
        Step::Sqlite(error) => super::explain(error, path),
        Step::Other(error) => error,
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
    let db = Db::open(new, Use::Read)?;
    if db.pragma::<i64>("page_size")? == page_size {
        return Ok(new.to_path_buf());
    }
    let converted = companion(new, ".converted");
    drop(durable::create_new(&converted)?);
    let before = facts::manifest(&db)?;
    db.run(&format!("PRAGMA page_size = {page_size}"))?;
    db.execute("VACUUM INTO ?1", [converted.to_string_lossy()])
        .map_err(|error| {
            db.explain(error)
                .context("converting the restored copy to the target's page size")
        })?;
    drop(db);
    let copy = Db::open(&converted, Use::Read)?;
    let sound = facts::integrity(&copy)?;
    if facts::manifest(&copy)? != before || sound.status != crate::engine::CheckStatus::Ok {
        return Err(Error::failed(format!(
            "the copy changed when its page size was converted to \
            {page_size}: {}",
            sound.detail
        ))
        .with_hint(
            "restore beside it with `--to`, or stop the application and move the old \
                   database away first",
        ));
    }
    Ok(converted)
}

/// The old database is valid but its connections could not read the new one: only when nobody else
/// has it open.
fn replace_other_encoding(
    new: &Path,
    target: &Target,
    old: Db,
    form: &Form,
    keep: Keep<'_>,
) -> Result<Published> {
    let journal_mode = form.journal_mode.as_str();
    let alone = |error: Error| {
        let text = format!(
            "the backup has another text encoding, so no application may have the database open: \
             {error}"
        );
        Error::new(error.kind(), text).with_hint("stop the application, then restore again")
    };
    // Leaving WAL mode needs everybody else gone, and checkpoints the log into the one file.
    old.patiently(target.lock_timeout.min(Duration::from_secs(10)), || {
        let mode: String = old.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
        if mode == "wal" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                None,
            ));
        }
        Ok(())
    })
    .map_err(alone)?;
    let back_to_old_mode = |error: Error| {
        if journal_mode == "wal" {
            for sql in [
                "ROLLBACK",
                "PRAGMA locking_mode = NORMAL",
                "SELECT count(*) FROM sqlite_schema",
                "PRAGMA journal_mode = WAL",
            ] {
                let _ = old.prepare(sql).and_then(|mut statement| {
                    statement
                        .query([])
                        .and_then(|mut rows| rows.next().map(drop))
                });
            }
        }
        error
    };
    hold_exclusively(&old, target.lock_timeout)
        .map_err(alone)
        .map_err(back_to_old_mode)?;
    refuse_while_open(&target.path).map_err(back_to_old_mode)?;
    keep_held(&old, target, keep).map_err(back_to_old_mode)?;
    prepare(
        new,
        &Ownership::of(&target.path.metadata()?),
        Some(journal_mode),
    )
    .map_err(back_to_old_mode)?;
    let aside = set_aside_name(target);
    link(&target.path, &aside).map_err(back_to_old_mode)?;
    put_in_place(new, target)
        .inspect_err(|_| drop(std::fs::remove_file(&aside)))
        .map_err(back_to_old_mode)?;
    Ok(Published {
        how: "renamed into place (another text encoding)".into(),
        set_aside: Some(aside),
        ..Published::default()
    })
}

fn replace_corrupt(new: &Path, target: &Target, why: &str) -> Result<Published> {
    refuse_while_open(&target.path)?;
    prepare(
        new,
        &Ownership::of(&target.path.metadata()?),
        target.recorded.journal_mode.as_deref(),
    )?;
    let aside = set_aside_name(target);
    link(&target.path, &aside)?;
    let companions =
        set_companions_aside(target, &aside).inspect_err(|_| drop(std::fs::remove_file(&aside)))?;
    put_in_place(new, target).inspect_err(|_| {
        for (there, aside) in &companions {
            let _ = durable::rename_new(aside, there);
        }
        let _ = std::fs::remove_file(&aside);
    })?;
    let how = format!("renamed into place; the old file was not valid ({why})");
    Ok(Published {
        how,
        set_aside: Some(aside),
        companions,
        ..Published::default()
    })
}

fn place_where_none_is(new: &Path, target: &Target) -> Result<Published> {
    // An application may still have the file open whose name is gone.
    refuse_while_open(&target.path)?;
    prepare(
        new,
        &Ownership::default(),
        target.recorded.journal_mode.as_deref(),
    )?;
    // In a disaster a database that another user owns is better than none.
    let not_given = recorded_ownership(&target.recorded)
        .apply(new)
        .err()
        .map(|error| error.message());
    let aside = set_aside_name(target);
    // A log without its database must not be taken for one of the new database.
    if target.path.symlink_metadata().is_ok() {
        return Err(Error::failed(format!(
            "`{}` has appeared meanwhile; it was left as it is",
            target.path.display()
        ))
        .with_hint("restore again: it will be looked at, and kept"));
    }
    let companions = set_companions_aside(target, &aside)?;
    fail_point("restore: ready")?;
    durable::rename_new(new, &target.path).map_err(|error| {
        let appeared = error.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::from(error).context(format!(
            "renaming the restored copy to `{}`",
            target.path.display()
        ));
        if appeared {
            error.with_hint("a file of that name has appeared meanwhile; it was left as it is")
        } else {
            error
        }
    })?;
    fail_point("restore: in place")?;
    durable::sync_dir(directory_of(&target.path))?;
    let text = |(_, aside): &(PathBuf, PathBuf)| {
        format!(
            "a file of an earlier database was set aside as `{}`",
            aside.display()
        )
    };
    let warnings = companions.iter().map(text).chain(not_given).collect();
    Ok(Published {
        how: "put in place; there was no database".into(),
        warnings,
        ..Published::default()
    })
}

/// Gives the new file the old one's owner, mode and journal mode, and makes that durable.
fn prepare(new: &Path, ownership: &Ownership, journal_mode: Option<&str>) -> Result<()> {
    if journal_mode == Some("wal") {
        let db = Db::open(new, Use::Write)?;
        let _: String = db
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(|error| db.explain(error))?;
    }
    ownership.apply(new)?;
    File::open(new)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing `{}`", new.display()))
}

fn put_in_place(new: &Path, target: &Target) -> Result<()> {
    fail_point("restore: ready")?;
    std::fs::rename(new, &target.path)
        .with_context(|| format!("renaming the restored copy to `{}`", target.path.display()))?;
    fail_point("restore: in place")?;
    durable::sync_dir(directory_of(&target.path))
}

fn set_aside_name(target: &Target) -> PathBuf {
    let plain = companion(&target.path, &format!(".before-{}", target.stamp));
    free_name(&plain)
}

/// A name that neither a file has nor a file that would lie beside it: an earlier restore in the
/// same second may have set aside a log alone.
pub fn free_name(plain: &Path) -> PathBuf {
    units::free_path(plain, |path| {
        ["", "-wal", "-shm", "-journal"]
            .iter()
            .any(|end| companion(path, end).symlink_metadata().is_ok())
    })
}

/// A second name for the old file, so that its own is never without a file.
fn link(target: &Path, aside: &Path) -> Result<()> {
    std::fs::hard_link(target, aside)
        .with_context(|| format!("setting the old file aside as `{}`", aside.display()))?;
    durable::sync_dir(directory_of(target))
}

fn set_companions_aside(target: &Target, aside: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut moved = Vec::new();
    for suffix in ["-wal", "-journal", "-shm"] {
        let (from, to) = (companion(&target.path, suffix), companion(aside, suffix));
        if from.exists() {
            let set_aside = durable::rename_new(&from, &to)
                .with_context(|| format!("setting `{}` aside", from.display()));
            if let Err(error) = set_aside {
                // All or none: a log without its database is worth nothing.
                moved
                    .iter()
                    .for_each(|(there, aside): &(PathBuf, PathBuf)| {
                        drop(durable::rename_new(aside, there))
                    });
                return Err(error);
            }
            moved.push((from, to));
        }
    }
    Ok(moved)
}

/// An application that keeps the old file open would go on writing into a file without a name.
fn refuse_while_open(path: &Path) -> Result<()> {
    let holders = holders(path);
    let locked = byte_range_lock_holder(path);
    if holders.is_empty() && locked.is_none() {
        return Ok(());
    }
    let by = if holders.is_empty() {
        "another process has a lock on it".into()
    } else {
        pids_text(&holders)
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
    let holds = |fd: &std::fs::DirEntry| {
        let same = std::fs::metadata(fd.path())
            .is_ok_and(|found| wanted.contains(&(found.dev(), found.ino())));
        same || std::fs::read_link(fd.path()).is_ok_and(|name| name.to_string_lossy() == deleted)
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
pub(super) fn byte_range_lock_holder(path: &Path) -> Option<()> {
    use std::os::fd::AsRawFd;
    let _claim = Claim::plain(path).ok()?;
    let file = super::beside::open_plain(path).ok()?;
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the call writes to `lock` alone.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    (status == 0 && lock.l_type != libc::F_UNLCK as libc::c_short).then_some(())
}
