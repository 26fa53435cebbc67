//! Replacing a database by renaming, where SQLite can't write into the old one: never while an
//! application has that open.

use super::{StorageForm, hold_exclusively, keep_locked};
use crate::durable;
use crate::engine::sqlite::destination::{Target, directory_of, recorded_ownership};
use crate::engine::sqlite::holders::refuse_while_open;
use crate::engine::sqlite::ownership::Ownership;
use crate::engine::sqlite::{Db, OpenMode, companion};
use crate::engine::{Keep, Published};
use crate::error::{Context, Error, Result};
use crate::failpoint::fail_point;
use crate::units;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Replaces a valid database whose connections could not read the new one. Nobody else may have it
/// open.
pub(super) fn replace_other_encoding(
    new: &Path,
    target: &Target,
    old: Db,
    form: &StorageForm,
    keep: Keep<'_>,
) -> Result<Published> {
    let journal_mode = form.journal_mode.as_str();
    let must_be_alone = |error: Error| {
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
    .map_err(must_be_alone)?;
    let back_to_old_mode = |error: Error| {
        restore_journal_mode(&old, journal_mode);
        error
    };
    hold_exclusively(&old, target.lock_timeout)
        .map_err(must_be_alone)
        .map_err(back_to_old_mode)?;
    refuse_while_open(&target.path).map_err(back_to_old_mode)?;
    keep_locked(&old, target, keep).map_err(back_to_old_mode)?;
    prepare(
        new,
        &Ownership::from_metadata(&target.path.metadata()?),
        Some(journal_mode),
    )
    .map_err(back_to_old_mode)?;
    let aside = set_aside_path(target);
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

/// Ends the exclusive lock and goes back to WAL mode, where the database was in that. It is done as
/// far as possible: another error is on its way already.
fn restore_journal_mode(db: &Db, journal_mode: &str) {
    if journal_mode != "wal" {
        return;
    }
    for sql in [
        "ROLLBACK",
        "PRAGMA locking_mode = NORMAL",
        "SELECT count(*) FROM sqlite_schema",
        "PRAGMA journal_mode = WAL",
    ] {
        let _ = db.prepare(sql).and_then(|mut statement| {
            statement
                .query([])
                .and_then(|mut rows| rows.next().map(drop))
        });
    }
}

/// Replaces a file that is not a valid database, which is set aside with its companions.
pub(super) fn replace_corrupt(new: &Path, target: &Target, why: &str) -> Result<Published> {
    refuse_while_open(&target.path)?;
    prepare(
        new,
        &Ownership::from_metadata(&target.path.metadata()?),
        target.recorded.journal_mode.as_deref(),
    )?;
    let aside = set_aside_path(target);
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

/// Puts the new database where there is none.
pub(super) fn place_new(new: &Path, target: &Target) -> Result<Published> {
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
    let aside = set_aside_path(target);
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
        let db = Db::open(new, OpenMode::Write)?;
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

fn set_aside_path(target: &Target) -> PathBuf {
    let plain = companion(&target.path, &format!(".before-{}", target.stamp));
    free_path(&plain)
}

/// A name that neither a file has nor a file that would lie beside it: an earlier restore in the
/// same second may have set aside a log alone.
pub fn free_path(plain: &Path) -> PathBuf {
    units::free_path(plain, |path| {
        ["", "-wal", "-shm", "-journal"]
            .iter()
            .any(|end| companion(path, end).symlink_metadata().is_ok())
    })
}

/// Gives the old file a second name, so that its own name is never without a file.
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
