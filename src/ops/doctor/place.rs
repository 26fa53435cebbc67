//! The places that a backup writes to: is the store one, and does its file system do what
//! publishing and locking rely on? It is really tried, in a directory that is removed again.

use super::{Diagnosis, read_catalog, remote};
use crate::catalog::Catalog;
use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::ops::Session;
use crate::plan::StorePlan;
use crate::scratch::Scratch;
use crate::store;
use crate::units;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

const PREFIX: &str = ".dbbackup-doctor-";

/// Checks the store; returns its catalog.
pub fn check_store(plan: &StorePlan, session: &Session, diagnosis: &mut Diagnosis) -> Catalog {
    let shown = plan.location();
    let Some(root) = plan.location().local_path() else {
        return remote::check_store(plan, session, diagnosis);
    };
    if let Err(error) = store::check_mount(&plan.settings) {
        diagnosis.problem("store", "place", &error);
        return Catalog::default();
    }
    // A link to a disk that is away is no store that is still to be made.
    if root
        .symlink_metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        let parent = root.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            let error = Error::failed(format!(
                "`{}` is not there, in which the store {shown} would be made",
                parent.display()
            ))
            .with_hint("is the disk mounted? A store's last directory is made, its parents never");
            diagnosis.problem("store", "place", &error);
            return Catalog::default();
        }
        diagnosis.ok(
            "store",
            "place",
            format!("{shown} is not there yet: the first backup makes it"),
        );
        check_file_system(parent, diagnosis);
        return Catalog::default();
    }
    let catalog = match read_catalog(plan) {
        Ok(catalog) => {
            let inside = units::count(catalog.backups().len() as u64, "attempt");
            diagnosis.ok(
                "store",
                "place",
                format!(
                    "{shown}: {inside} of {}",
                    units::count(catalog.sources().len() as u64, "source")
                ),
            );
            catalog
        }
        // An empty directory becomes a store with the first backup.
        Err(error) if error.kind() == Kind::NotFound && root.is_dir() => {
            if let Err(error) = store::must_be_free(plan.location()) {
                diagnosis.problem("store", "place", &error);
                return Catalog::default();
            }
            diagnosis.ok(
                "store",
                "place",
                format!("{shown} is no store yet: the first backup makes it one"),
            );
            Catalog::default()
        }
        Err(error) => {
            diagnosis.problem("store", "place", &error);
            return Catalog::default();
        }
    };
    check_contents(&catalog, session, diagnosis);
    let mode = root.metadata().map_or(0, |found| found.mode() & 0o7777);
    if mode & 0o022 != 0 {
        diagnosis.warning(
            "store",
            "mode",
            format!("others may write to it (mode {mode:04o})"),
            format!("chmod go-w {shown}"),
        );
    } else {
        diagnosis.ok("store", "mode", format!("{mode:04o}"));
    }
    check_file_system(root, diagnosis);
    catalog
}

/// Checks what the store holds.
pub fn check_contents(catalog: &Catalog, session: &Session, diagnosis: &mut Diagnosis) {
    if let Some(first) = catalog.unreadable.first() {
        let text = format!(
            "{} can't be read, as of {}: {}",
            units::count(catalog.unreadable.len() as u64, "sidecar"),
            first.id,
            first.reason
        );
        diagnosis.warning(
            "store",
            "contents",
            text,
            "these backups are never removed; their dumps restore by their paths, with `--to`",
        );
    }
    if let Some(first) = catalog.orphans.first() {
        let text = format!(
            "{} no sidecar knows, as {}/{}",
            units::count(catalog.orphans.len() as u64, "dump"),
            first.source,
            first.name
        );
        diagnosis.warning(
            "store",
            "contents",
            text,
            "they are never removed: restore them by their paths, or remove them by hand",
        );
    }
    if session.config.is_some() && catalog.unreadable.is_empty() && catalog.orphans.is_empty() {
        diagnosis.ok(
            "store",
            "contents",
            "every sidecar can be read, and every dump has one",
        );
    }
}

/// Tries what publishing and locking rely on.
fn check_file_system(dir: &Path, diagnosis: &mut Diagnosis) {
    match try_file_system(dir) {
        Ok(None) => diagnosis.ok(
            "store",
            "file system",
            "writing, syncing, renaming and locking work",
        ),
        Ok(Some((detail, remedy))) => diagnosis.warning("store", "file system", detail, remedy),
        Err(error) => {
            diagnosis.problem(
                "store",
                "file system",
                &error.with_hint(
                    "this user must be able to write there, on a file system that has flock(2)",
                ),
            );
        }
    }
}

fn try_file_system(dir: &Path) -> Result<Option<(String, String)>> {
    let scratch = Scratch::new(dir, PREFIX, 0, "a trial")?;
    let (draft, name, other) = (
        scratch.join("draft"),
        scratch.join("name"),
        scratch.join("other"),
    );
    let mut file = durable::create_new(&draft)?;
    file.write_all(b"dbbackup doctor\n")
        .with_context(|| format!("writing in `{}`", dir.display()))?;
    file.sync_all()
        .with_context(|| format!("syncing a file in `{}`", dir.display()))?;
    durable::rename_new(&draft, &name)
        .with_context(|| format!("renaming a file in `{}`", dir.display()))?;
    durable::create_new(&other)?;
    match durable::rename_new(&other, &name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("renaming a file in `{}`", dir.display()));
        }
        Ok(()) => {
            return Err(Error::failed(format!(
                "a file in `{}` was overwritten by a renaming that must not do so",
                dir.display()
            )));
        }
    }
    durable::sync_dir(scratch.path())?;
    let (first, second) = (File::open(&name)?, File::open(&name)?);
    first.try_lock().map_err(|error| {
        Error::failed(format!("locking a file in `{}`: {error}", dir.display()))
    })?;
    match second.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        _ => {
            return Err(Error::failed(format!(
                "two runs could hold the same lock in `{}`: flock has no effect there",
                dir.display()
            )));
        }
    }
    // A file server has a clock of its own.
    let written = name.metadata()?.modified()?;
    let apart = SystemTime::now()
        .duration_since(written)
        .unwrap_or_else(|error| error.duration());
    let mode = name.metadata()?.permissions().mode() & 0o777;
    if apart.as_secs() > 60 {
        let text = format!(
            "its clock and this machine's are {} apart",
            units::elapsed(apart.as_secs_f64())
        );
        return Ok(Some((
            text,
            "set both by NTP: times in names and in the file system then agree".to_owned(),
        )));
    }
    if mode != 0o600 {
        let text = format!("files there can't be private: they have the mode {mode:04o}");
        return Ok(Some((
            text,
            "everybody on this machine may read the backups: mount it with `umask=077`".to_owned(),
        )));
    }
    Ok(None)
}

/// Checks whether what this machine writes there counts: a store that trusts keys counts only what
/// they sign.
pub fn check_signing(plan: &StorePlan, diagnosis: &mut Diagnosis) {
    if plan.settings.signer.is_none() && plan.settings.trust.is_empty() {
        return;
    }
    let checked = store::open_unchecked(&plan.settings).and_then(|store| store.check_signing());
    match checked {
        Ok(()) if plan.settings.trust.is_empty() => diagnosis.warning(
            "store",
            "signature",
            "backups are signed, and nobody checks it here: the store has no `trust`",
            "set `trust` of the store to the public keys that count",
        ),
        Ok(()) => diagnosis.ok("store", "signature", "backups are signed"),
        Err(error) => diagnosis.problem("store", "signature", &error),
    }
}

/// Checks whether another run has the source's lock now. A store on another machine has none, and
/// was said so of.
pub fn check_lock(store: &StorePlan, source: &str, diagnosis: &mut Diagnosis) {
    if store.location().local_path().is_none() {
        return;
    }
    let store = match store::open_unchecked(&store.settings) {
        Ok(store) => store,
        Err(error) => return diagnosis.problem(source, "lock", &error),
    };
    if store.is_locked(source) {
        diagnosis.warning(
            source,
            "lock",
            "another run has it right now",
            "a run waits for it with `--lock-wait 10m`",
        );
    }
}

/// Checks the directory for copies and trial restores.
pub fn check_scratch(
    dir: &Path,
    needed: u64,
    drill: u64,
    store: &StorePlan,
    diagnosis: &mut Diagnosis,
) {
    let about = "scratch";
    let root = store.location().local_path();
    if root.is_some_and(|root| dir.starts_with(root)) {
        let error = Error::usage(format!("`{}` lies in the store", dir.display()))
            .with_hint("set `scratch_dir` in [backup] to a place outside of it");
        return diagnosis.problem(about, "place", &error);
    }
    match Scratch::new(dir, PREFIX, needed, "a copy of the database") {
        Err(error) if needed > 0 => diagnosis.problem(about, "place", &error),
        Err(error) => {
            let remedy = error.hint().map_or_else(
                || {
                    "set `scratch_dir` in [backup] to a place that this user can write to"
                        .to_owned()
                },
                ToString::to_string,
            );
            diagnosis.warning(
                about,
                "place",
                format!("no trial restore is possible: {error}"),
                remedy,
            );
        }
        Ok(_) => {
            let free = durable::free_space(dir).unwrap_or(0);
            let text = format!(
                "{}: {} free, {} needed for a copy",
                dir.display(),
                units::size(free),
                units::size(needed)
            );
            if free < drill {
                let text = format!("{text}, {} for a trial restore", units::size(drill));
                return diagnosis.warning(
                    about,
                    "place",
                    text,
                    "set `scratch_dir` in [backup] to a larger place",
                );
            }
            diagnosis.ok(about, "place", text);
        }
    }
}
