//! One source of a run, from its lock to its retention: its hooks, the attempt, what is removed
//! after it.

use super::attempt::{AttemptPlan, BackupAttempt, RunContext};
use super::base::{cache_of, choose_delta_base, error_of_base, note_damage};
use super::{SourceResult, newest_good_at};
use crate::catalog::{Backup, Catalog, ListedBackup};
use crate::engine::sqlite::Spool;
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::ops::engines::{self, Engine};
use crate::ops::hooks::{HookOutcome, HookRunner};
use crate::ops::run::{Shortfall, SourceSummary, join_errors, now};
use crate::ops::{Event, Observer, prune};
use crate::pipeline::Codec;
use crate::plan::{SourceKind, SourcePlan};
use crate::scratch;
use crate::sidecar::Status;
use crate::store::Store;
use crate::units;
use crate::users;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Backs up one source under its lock: its hooks, the backup, then retention. There may be a backup
/// and an error that came after it. Where another run holds the lock no hook is run: what they
/// would stop, that run needs.
pub fn back_up_source(
    source: &SourcePlan,
    cluster: Option<&str>,
    context: RunContext<'_>,
) -> SourceResult {
    let _lock = match interrupt::check().and_then(|()| context.lock_and_sweep(&source.name)) {
        Ok(lock) => lock,
        Err(error) => return SourceSummary::failed(source.name.as_str(), &error).into(),
    };
    let hooks = HookRunner::for_source(
        &source.hooks,
        &source.name,
        context.store.location(),
        context.run,
        context.observer,
    );
    let before = hooks.run_before();
    let mut plan = AttemptPlan::from(source);
    let catalog = Catalog::read(context.store, Some(std::slice::from_ref(&source.name)));
    let last_good_at = newest_good_at(catalog.as_ref().ok(), &source.name);
    // One that was made from a mistyped path or address would be a source that fails for ever.
    let is_unheard_of = (catalog.as_ref()).is_ok_and(|catalog| !has_backups(catalog, &source.name));
    let keeps_failure = !(source.derived && is_unheard_of);
    let attempt = BackupAttempt::begin(context, &source.name, plan.format.kind())
        .with_cluster(cluster)
        .with_failure_kept(keeps_failure);
    let created = match before {
        Ok(()) => create_backup(source, &mut plan, &attempt, catalog, context),
        Err(error) => {
            attempt.record_failure(&error);
            Err(error)
        }
    };
    let mut is_base_lost = false;
    let (backup, mut errors) = match created {
        Ok((backup, lost_base)) => {
            let incomplete = incomplete_error(&backup, &attempt);
            is_base_lost = lost_base.is_some() && incomplete.is_none();
            (
                Some(backup),
                Vec::from_iter(incomplete.into_iter().chain(lost_base)),
            )
        }
        Err(error) => (None, vec![error]),
    };
    let mut summary = summarize(&attempt, backup.as_ref(), context.store);
    summary.last_good_at = last_good_at;
    if backup.is_some() && !errors.is_empty() {
        summary.shortfall = Some(match is_base_lost {
            true => Shortfall::BaseDamaged,
            false => Shortfall::Incomplete,
        });
    }
    summary = summary.with_error(errors.first());
    // At once: what `before` stopped need not wait for retention.
    if let Err(error) = hooks.run_after(&HookOutcome::from(&summary)) {
        match &backup {
            Some(_) => {
                summary.shortfall.get_or_insert(Shortfall::AfterHookFailed);
                errors.push(error_after_backup(error));
            }
            None => errors.push(error),
        }
    }
    let is_good = |backup: &Backup| backup.sidecar.status == Status::Ok;
    if backup.as_ref().is_some_and(is_good) && source.settings.cleanup_after {
        errors.extend(apply_retention(source, context, &mut summary));
    }
    let error = join_errors(errors);
    summary = summary.with_error(error.as_ref());
    if error.is_some() {
        hooks.run_on_failure(&HookOutcome::from(&summary));
    }
    SourceResult {
        summary,
        backup: backup.map(Box::new),
    }
}

/// Removes what the policy does not keep, and notes it in the summary; returns what went wrong.
fn apply_retention(
    source: &SourcePlan,
    context: RunContext<'_>,
    summary: &mut SourceSummary,
) -> Option<Error> {
    match prune::prune_after_backup(context.store, source, now(), context.observer) {
        Ok(pruned) => {
            summary.removed = pruned.removed;
            if pruned.held.is_some() {
                summary.shortfall.get_or_insert(Shortfall::RetentionHeld);
            }
            pruned.held
        }
        Err(error) => {
            summary.shortfall.get_or_insert(Shortfall::RetentionFailed);
            Some(error)
        }
    }
}

/// The error of a hook that failed after the backup was created: the backup stays.
pub fn error_after_backup(error: Error) -> Error {
    let partial = Error::new(Kind::Partial, format!("the backup was made, but {error}"));
    match error.hint() {
        Some(hint) => partial.with_hint(hint.clone()),
        None => partial,
    }
}

/// What is known of an attempt, and of its backup where there is one.
fn summarize(
    attempt: &BackupAttempt<'_>,
    backup: Option<&Backup>,
    store: &dyn Store,
) -> SourceSummary {
    let mut summary = SourceSummary::new(attempt.source());
    summary.kind = Some(attempt.kind().to_string());
    summary.failed_id = attempt.failed_id();
    let Some(sidecar) = backup.map(|backup| &backup.sidecar) else {
        return summary;
    };
    summary.backup_id = Some(sidecar.id.clone());
    summary.finished_at = sidecar.finished_at;
    summary.duration_seconds = Some(sidecar.duration_seconds);
    summary.warnings = sidecar.warnings.clone();
    if let Some(dump) = &sidecar.dump {
        summary.dump_path = store.object_path(&sidecar.source, &dump.file);
        summary.size_bytes = Some(dump.size_bytes);
        summary.content_size_bytes = Some(dump.content_size_bytes);
    }
    if let Some(manifest) = &sidecar.manifest {
        let tree = manifest.tree.as_ref();
        summary.files_total = tree.map(|tree| tree.files);
        summary.rows_total = tree.is_none().then_some(manifest.rows_total);
    }
    summary
}

fn incomplete_error(backup: &Backup, attempt: &BackupAttempt<'_>) -> Option<Error> {
    if backup.sidecar.status != Status::Partial {
        return None;
    }
    let why = attempt
        .notes()
        .and_then(|notes| notes.lacks.clone())
        .unwrap_or_default();
    let error = Error::new(Kind::Partial, format!("the backup is incomplete: {why}"));
    Some(
        error.with_hint(
            Hint::new()
                .command(["show", backup.id()])
                .text(" says what it lacks; it restores, but it never counts as a good one"),
        ),
    )
}

/// Creates the backup. Where what it was to be built on could not be read, it is a full, and there
/// is an error besides.
fn create_backup(
    source: &SourcePlan,
    plan: &mut AttemptPlan<'_>,
    attempt: &BackupAttempt<'_>,
    catalog: Result<Catalog>,
    context: RunContext<'_>,
) -> Result<(Backup, Option<Error>)> {
    let prepared = prepare(source, plan, catalog, context).inspect_err(|error| {
        // A name that belongs to something else has no history of this source.
        if error.kind() != Kind::Usage {
            attempt.record_failure(error);
        }
    })?;
    let PreparedSource {
        mut engine,
        catalog,
        lost_base: missing,
    } = prepared;
    let created = attempt.create(plan, engine.as_source());
    let lost_base = plan
        .base
        .take_if(|base| created.is_err() && base.has_failed());
    let (backup, lost_base) = match (created, lost_base) {
        (Err(failure), Some(base)) if failure.kind() != Kind::Interrupted => {
            let found = note_damage(&base, plan.source, context);
            let lost = error_of_base(&base, found, &failure);
            context.observer.step(format!("{}: {lost}", plan.source));
            // It has read its one snapshot.
            drop(engine);
            let mut engine = reopen(source, plan, &catalog, context)
                .map_err(|error| error.context("a full in place of a delta"))
                .inspect_err(|error| attempt.record_failure(error))?;
            (attempt.create(plan, engine.as_source())?, Some(lost))
        }
        (created, _) => (created?, missing),
    };
    report_backup(&backup, attempt, context);
    Ok((backup, lost_base))
}

/// Opens the engine once more, for a full in place of a delta.
fn reopen(
    source: &SourcePlan,
    plan: &AttemptPlan<'_>,
    catalog: &Catalog,
    context: RunContext<'_>,
) -> Result<Engine> {
    let engine = open_engine(source, context)?;
    // It was asked for much less until now.
    check_space(plan, &engine, catalog, context.store)?;
    Ok(engine)
}

/// Whether the store has a backup of the source, if only one that can't be read.
fn has_backups(catalog: &Catalog, source: &str) -> bool {
    !catalog.unreadable.is_empty()
        || catalog
            .of(source)
            .any(|backup| backup.sidecar.dump.is_some())
}

/// The same source, read in place: what is to be encrypted is not written to a disk before that,
/// although an application that does not use the WAL waits for longer. `spool = "always"` is
/// obeyed.
fn without_plain_copy(source: &SourcePlan) -> SourcePlan {
    let mut source = source.clone();
    match &mut source.kind {
        SourceKind::Sqlite { spool, .. } if *spool != Spool::Always => *spool = Spool::Forbidden,
        SourceKind::Files(plan) => plan.off_disk = true,
        SourceKind::Sqlite { .. } | SourceKind::Postgres(_) | SourceKind::Cluster(_) => {}
    }
    source
}

/// A source that is ready to be backed up.
struct PreparedSource {
    engine: Engine,
    /// What the store has of it.
    catalog: Catalog,
    /// Why no delta can be built on the newest backup, where a full is made instead.
    lost_base: Option<Error>,
}

/// Opens the engine and checks everything that can be known to fail before the work.
fn prepare(
    source: &SourcePlan,
    plan: &mut AttemptPlan<'_>,
    catalog: Result<Catalog>,
    context: RunContext<'_>,
) -> Result<PreparedSource> {
    let store = context.store;
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
    let mut engine = open_engine(source, context)?;
    let catalog = catalog?;
    check_name_conflict(
        source,
        &engine,
        (store, &catalog),
        &context.run.host,
        context.observer,
    )?;
    let choice = choose_delta_base(source, &engine, &catalog, context)?;
    plan.base = choice.base;
    if let Some(base) = &plan.base {
        base.lend_to(&mut engine, !context.run.reread);
    }
    plan.cache = cache_of(source, context);
    check_space(plan, &engine, &catalog, store)?;
    Ok(PreparedSource {
        engine,
        catalog,
        lost_base: choice.lost,
    })
}

fn open_engine(source: &SourcePlan, context: RunContext<'_>) -> Result<Engine> {
    match context.encryption {
        Some(_) => Engine::open(&without_plain_copy(source)),
        None => Engine::open(source),
    }
}

/// Checks that the name does not belong to another database in the store. A name that was made from
/// a path or an address must not mix two histories; a configured name, or `--as`, takes it over.
pub fn check_name_conflict(
    source: &SourcePlan,
    engine: &Engine,
    (store, catalog): (&dyn Store, &Catalog),
    host: &str,
    observer: &dyn Observer,
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
    observer.warn(format!("{text}; from now on it is {here}"));
    Ok(())
}

/// Estimates the bytes that a dump will take in the store: by the backup before it; without one, by
/// a sample, or a tenth of the database as the least to expect.
pub fn space_needed(plan: &AttemptPlan<'_>, engine: &Engine, catalog: &Catalog) -> u64 {
    let estimate = engine.estimate();
    // A full says nothing of a delta, and a delta nothing of a full.
    let is_alike =
        |backup: &&ListedBackup| backup.good() && backup.needs().is_some() == plan.base.is_some();
    let last = catalog.of(plan.source).find(is_alike);
    let then = last.and_then(|backup| {
        Some((
            backup.sidecar.dump.as_ref()?,
            backup.sidecar.database.as_ref()?.size_bytes,
        ))
    });
    match then {
        Some((dump, size)) if size > 0 && dump.compression == plan.encoding.codec().name() => {
            (estimate as f64 * dump.size_bytes as f64 / size as f64) as u64
        }
        // Its like is not known yet: a tenth is more than most take.
        _ if plan.base.is_some() => estimate / 10,
        _ if plan.encoding.codec() == Codec::None => estimate,
        _ => engine.packed_estimate(plan.encoding.codec()),
    }
}

/// Checks before the work that the store has room for the dump.
fn check_space(
    plan: &AttemptPlan<'_>,
    engine: &Engine,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<()> {
    let Some(free) = store.free_space()? else {
        return Ok(());
    };
    let needed = space_needed(plan, engine, catalog);
    if needed <= free {
        return Ok(());
    }
    let error = scratch::too_little(
        store.location(),
        needed,
        free,
        &format!("the backup of `{}`", plan.source),
    );
    let stored: Vec<u64> = catalog
        .backups()
        .map(|backup| backup.presence.bytes())
        .filter(|bytes| *bytes > 0)
        .collect();
    let verb = match stored.len() {
        0 => {
            return Err(error.with_hint(
                Hint::new()
                    .text("make room there, or choose another store; ")
                    .command(["stats"])
                    .text(" says what takes the most"),
            ));
        }
        1 => "takes",
        _ => "take",
    };
    Err(error.with_hint(
        Hint::new()
            .text(format!(
                "the {} of `{}` {verb} {} there: ",
                units::count(stored.len() as u64, "backup"),
                plan.source,
                units::size(units::total(stored.iter().copied()))
            ))
            .command(["cleanup", "--dry-run"])
            .text(" says what a retention policy would free"),
    ))
}

/// Tells the observer of a new backup, of its warnings, and of what its owner means for others.
fn report_backup(backup: &Backup, attempt: &BackupAttempt<'_>, context: RunContext<'_>) {
    let (sidecar, observer) = (&backup.sidecar, context.observer);
    if let Some(notes) = attempt.notes() {
        for warning in &notes.warnings {
            observer.warn(format!("{}: {warning}", sidecar.source));
        }
        for note in &notes.notes {
            observer.note(format!("{}: {note}", sidecar.source));
        }
    }
    observer.observe(Event::BackupCreated(backup));
    let dump = sidecar.dump.as_ref();
    let Some(path) = dump.and_then(|dump| context.store.object_path(&sidecar.source, &dump.file))
    else {
        return;
    };
    observer.detail(format!("{}: {}", sidecar.source, path.display()));
    if let Some(owner) = owner_shut_out(&path, context.store) {
        observer.note(format!(
            "{}: it belongs to root, and the store to {owner}, who can neither read nor verify it; \
             as {owner}: `sudo -u {owner} dbbackup backup …`",
            sidecar.id
        ));
    }
}

/// The owner of a store in which root has created a backup that only root can read: the owner's own
/// runs stumble over it.
fn owner_shut_out(dump: &Path, store: &dyn Store) -> Option<String> {
    let owner = |path: &Path| Some(path.symlink_metadata().ok()?.uid());
    // A file system may have owners of its own.
    let (made, store) = (owner(dump)?, owner(store.local_path()?)?);
    (made == 0 && store != 0).then(|| users::user(store))
}
