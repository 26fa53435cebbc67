//! One source's own story: its lock, its hooks, the attempt, its retention.

use super::attempt::{self, Attempt, Making, Run, lock_and_sweep};
use super::hooks::{Around, Told};
use super::tally::joined;
use crate::catalog::{Backup as Entry, Catalog};
use crate::engine::CheckStatus;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::ops::catalog_of;
use crate::ops::content::describe_contents;
use crate::ops::engines::{self, Engine};
use crate::ops::prune;
use crate::pipeline::Codec;
use crate::plan::SourcePlan;
use crate::report::{Paint, Report};
use crate::scratch;
use crate::sidecar::Status;
use crate::store::Store;
use crate::units;
use crate::users;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What became of one source.
#[derive(Default)]
pub struct Made {
    /// The backup.
    pub entry: Option<Entry>,
    /// What went wrong, before it or after it.
    pub error: Option<Error>,
    /// Where there is a backup and an error: what the backup is, in a few words.
    pub short: Option<&'static str>,
}

/// One configured or named source, under its lock: its hooks, the backup, then retention. There may
/// be a backup *and* an error that came after it. Where another run holds the lock no hook is run:
/// what they would stop, that run needs.
pub fn back_up(
    source: &SourcePlan,
    cluster: Option<&str>,
    store: &dyn Store,
    run: &Run,
    report: &Report,
) -> Made {
    let lock = interrupt::check()
        .and_then(|()| lock_and_sweep(store, &source.name, run.lock_wait, report));
    let _lock = match lock {
        Ok(lock) => lock,
        Err(error) => {
            return Made {
                error: Some(error),
                ..Made::default()
            };
        }
    };
    let around = Around::source(&source.hooks, &source.name, store.location(), run, report);
    let before = around.before();
    let making = Making::of(source);
    // One that was made from a mistyped path or address would be a source that fails for ever.
    let leaves_failure = !(source.derived && is_unheard_of(&source.name, store));
    let attempt = Attempt::begin(store, run, &source.name, making.format.kind())
        .of_cluster(cluster)
        .leaving_failure(leaves_failure);
    let made = match before {
        Ok(()) => make(source, &making, &attempt, store, run, report),
        Err(error) => {
            attempt.remember_failure(&error, report);
            Err(error)
        }
    };
    let (entry, mut errors) = match made {
        Ok(entry) => {
            let incomplete = incomplete(&entry, &attempt);
            (Some(entry), Vec::from_iter(incomplete))
        }
        Err(error) => (None, vec![error]),
    };
    let mut short = (entry.is_some() && !errors.is_empty()).then_some("incomplete");
    let told = |error: Option<&Error>| told(entry.as_ref(), &attempt, store).with(error);
    // At once: what `before` stopped need not wait for retention.
    if let Err(error) = around.after(&told(errors.first())) {
        short = short.or(entry
            .is_some()
            .then_some("made, but its `after` hook failed"));
        errors.push(if entry.is_some() {
            after_all(error)
        } else {
            error
        });
    }
    if entry
        .as_ref()
        .is_some_and(|entry| entry.sidecar.status == Status::Ok)
        && source.settings.cleanup_after
    {
        let (word, error) = match prune::prune_after_backup(store, source, attempt::now(), report) {
            Ok(held) => ("made, retention held back", held),
            Err(error) => ("made, but retention failed", Some(error)),
        };
        short = short.or(error.as_ref().map(|_| word));
        errors.extend(error);
    }
    let error = joined(errors);
    if error.is_some() {
        around.on_failure(&told(error.as_ref()));
    }
    Made {
        entry,
        error,
        short,
    }
}

/// A hook that failed after the backup was made: it stays.
pub fn after_all(error: Error) -> Error {
    let told = Error::new(Kind::Partial, format!("the backup was made, but {error}"));
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}

fn told(entry: Option<&Entry>, attempt: &Attempt<'_>, store: &dyn Store) -> Told {
    let dump = entry.and_then(|entry| {
        store.object_path(&entry.sidecar.source, &entry.sidecar.dump.as_ref()?.file)
    });
    let id = entry
        .map(|entry| entry.id().to_owned())
        .or_else(|| attempt.failed_id());
    Told {
        id,
        dump,
        ..Told::default()
    }
}

fn incomplete(entry: &Entry, attempt: &Attempt<'_>) -> Option<Error> {
    if entry.sidecar.status != Status::Partial {
        return None;
    }
    let why = attempt
        .said()
        .and_then(|said| said.lacks.clone())
        .unwrap_or_default();
    let error = Error::new(Kind::Partial, format!("the backup is incomplete: {why}"));
    Some(error.with_hint(format!(
        "`dbbackup show {}` says what it lacks; it restores, but it never counts as a good one",
        entry.id()
    )))
}

fn make(
    source: &SourcePlan,
    making: &Making<'_>,
    attempt: &Attempt<'_>,
    store: &dyn Store,
    run: &Run,
    report: &Report,
) -> Result<Entry> {
    let mut engine = prepare(source, making, store, run, report).inspect_err(|error| {
        // A name that belongs to something else has no history of this source.
        if error.kind() != Kind::Usage {
            attempt.remember_failure(error, report);
        }
    })?;
    let entry = attempt.make(making, engine.as_source(), report)?;
    say_made(&entry, attempt, store, report);
    Ok(entry)
}

/// Whether the store has no backup of it, not even one that can't be read.
fn is_unheard_of(source: &str, store: &dyn Store) -> bool {
    let names = [source.to_owned()];
    let heard_of = |catalog: Catalog| {
        !catalog.unreadable.is_empty()
            || catalog
                .of(source)
                .any(|backup| backup.sidecar.dump.is_some())
    };
    Catalog::read(store, Some(&names)).is_ok_and(|catalog| !heard_of(catalog))
}

/// Everything that can be known to fail before the work.
fn prepare(
    source: &SourcePlan,
    making: &Making<'_>,
    store: &dyn Store,
    run: &Run,
    report: &Report,
) -> Result<Engine> {
    if store
        .local_path()
        .is_some_and(|root| source.settings.scratch_dir.starts_with(root))
    {
        return Err(Error::usage(format!(
            "the scratch directory `{}` lies in the store",
            source.settings.scratch_dir.display()
        ))
        .with_hint("set `scratch_dir` in [backup] to a place outside of it"));
    }
    engines::sweep(source)?;
    let engine = Engine::open(source)?;
    let catalog = catalog_of(store, std::slice::from_ref(&source.name))?;
    refuse_another_ones_name(source, &engine, (store, &catalog), &run.host, report)?;
    check_space(making, &engine, &catalog, store)?;
    Ok(engine)
}

/// A name made from a path or an address must not mix two databases' histories; a configured name,
/// or `--as`, takes it over.
pub fn refuse_another_ones_name(
    source: &SourcePlan,
    engine: &Engine,
    (store, catalog): (&dyn Store, &Catalog),
    host: &str,
    report: &Report,
) -> Result<()> {
    let Some(last) = catalog
        .of(&source.name)
        .find(|backup| backup.sidecar.dump.is_some())
    else {
        return Ok(());
    };
    let last = last.whole(store)?;
    let Some((there, here)) = engines::belongs_elsewhere(engine, source, &last, host) else {
        return Ok(());
    };
    let text = format!(
        "the name `{}` belongs to {there} in this store",
        source.name
    );
    if source.derived {
        return Err(Error::usage(text).with_hint(
            "give this database its own name with `--as NAME`, or the same \
                                     one to take the name over",
        ));
    }
    report.warn(format!("{text}; from now on it is {here}"));
    Ok(())
}

/// How much a dump will take is told by the one before it; without one, by a sample, or a tenth of
/// the database is the least to expect.
pub fn space_needed(making: &Making<'_>, engine: &Engine, catalog: &Catalog) -> u64 {
    let estimate = engine.estimate();
    let last = catalog.newest_good(making.source);
    let then = last.and_then(|backup| {
        Some((
            backup.sidecar.dump.as_ref()?,
            backup.sidecar.database.as_ref()?.size_bytes,
        ))
    });
    match then {
        Some((dump, size)) if size > 0 && dump.compression == making.encoding.codec().name() => {
            (estimate as f64 * dump.size_bytes as f64 / size as f64) as u64
        }
        _ if making.encoding.codec() == Codec::None => estimate,
        _ => engine.packed_estimate(making.encoding.codec()),
    }
}

/// Too little space is told before the work.
fn check_space(
    making: &Making<'_>,
    engine: &Engine,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<()> {
    let Some(free) = store.free_space()? else {
        return Ok(());
    };
    let needed = space_needed(making, engine, catalog);
    if needed <= free {
        return Ok(());
    }
    let error = scratch::too_little(
        store.location(),
        needed,
        free,
        &format!("the backup of `{}`", making.source),
    );
    let stored: Vec<u64> = catalog
        .backups
        .iter()
        .map(|backup| backup.presence.bytes())
        .filter(|bytes| *bytes > 0)
        .collect();
    let verb = match stored.len() {
        0 => return Err(error.with_hint(
            "make room there, or choose another store; `dbbackup stats` says what takes the most",
        )),
        1 => "takes",
        _ => "take",
    };
    Err(error.with_hint(format!(
        "the {} of `{}` {verb} {} there: `dbbackup cleanup --dry-run` says what a retention policy \
         would free",
        units::count(stored.len() as u64, "backup"),
        making.source,
        units::size(units::total(stored.iter().copied()))
    )))
}

fn say_made(entry: &Entry, attempt: &Attempt<'_>, store: &dyn Store, report: &Report) {
    let sidecar = &entry.sidecar;
    let notes = attempt.said().map_or(&[][..], |said| &said.notes);
    for warning in &sidecar.warnings {
        let text = format!("{}: {warning}", sidecar.source);
        if notes.contains(warning) {
            report.note(text)
        } else {
            report.warn(text)
        }
    }
    let Some(dump) = &sidecar.dump else { return };
    let manifest = sidecar.manifest.clone().unwrap_or_default();
    let checked = sidecar
        .verifications
        .last()
        .map_or(String::new(), |seen| match seen.status {
            CheckStatus::Ok => format!(", {} verified", seen.level.word()),
            other => format!(", {} {}", seen.level.word(), other.word()),
        });
    // Roles have no rows.
    let inside = if manifest.tables.is_empty() && manifest.tree.is_none() {
        String::new()
    } else {
        format!(", {}", describe_contents(&manifest))
    };
    report.line(format!(
        "{} {}: {} from {} in {}{inside}{checked}",
        match sidecar.status {
            Status::Partial => report.paint(Paint::Warning, "partial"),
            Status::Ok | Status::Failed => report.paint(Paint::Good, "ok"),
        },
        sidecar.id,
        units::size(dump.size_bytes),
        units::size(dump.content_size_bytes),
        units::elapsed(sidecar.duration_seconds),
    ));
    let path: PathBuf = store
        .object_path(&sidecar.source, &dump.file)
        .unwrap_or_default();
    report.detail(format!("{}: {}", sidecar.source, path.display()));
    if let Some(owner) = stranger(&path, store) {
        report.note(format!(
            "{}: it belongs to root, and the store to {owner}, who can neither read nor verify it; \
             as {owner}: `sudo -u {owner} dbbackup backup …`",
            sidecar.id
        ));
    }
}

/// Whose the store is, where root has made a backup in it that only root can read: this user's own
/// runs stumble over it.
fn stranger(dump: &Path, store: &dyn Store) -> Option<String> {
    let owner = |path: &Path| Some(path.symlink_metadata().ok()?.uid());
    // A file system may have owners of its own.
    let (made, store) = (owner(dump)?, owner(store.local_path()?)?);
    (made == 0 && store != 0).then(|| users::user(store))
}
