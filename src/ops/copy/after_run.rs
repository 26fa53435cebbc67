//! The copies that a run makes after its backups: each store for itself and all at once, so that
//! one that is slow or away keeps no other from its copies.

use super::CopySummary;
use super::copier::{Copier, CopyBudget, note_copy};
use super::selection::candidates;
use super::target::{deadline_of, is_of_store, open_target};
use crate::catalog::Catalog;
use crate::config::{BackupSettings, Config};
use crate::error::{Error, Hint, Kind, Result};
use crate::ops::run::{SourceCopies, join_errors};
use crate::ops::{Observer, Session, prune};
use crate::plan::RetentionPolicies;
use crate::sidecar::CopyMark;
use crate::store::{Location, Store, StoreSettings};
use std::collections::BTreeMap;

/// The copies that one store is to get.
struct StoreTask<'a> {
    name: &'a str,
    settings: &'a StoreSettings,
    /// The sources, with their settings.
    sources: Vec<(&'a str, BackupSettings)>,
}

/// Copies what the configuration wants copied of these sources, newest first, into each store that
/// does not have it yet. Returns what came of it, by the source.
pub fn copy_after_run(
    from: &dyn Store,
    sources: &[String],
    session: &Session,
    observer: &dyn Observer,
) -> BTreeMap<String, SourceCopies> {
    let Some(config) = &session.config else {
        return BTreeMap::new();
    };
    let tasks = tasks(from.location(), sources, config, session);
    let results: Vec<(String, String, Result<CopySummary>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = tasks
            .iter()
            .map(|task| scope.spawn(|| copy_to_store(task, from, session, observer)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut copies: BTreeMap<String, SourceCopies> = BTreeMap::new();
    for (source, store, result) in results {
        let entry = copies.entry(source).or_default();
        match result {
            Ok(summary) => {
                entry.copied.insert(store, summary.copied);
                let failed = summary.failed.into_iter().map(|(_, error)| error);
                entry.error = join_errors(entry.error.take().into_iter().chain(failed));
            }
            Err(error) => {
                entry.error = join_errors(entry.error.take().into_iter().chain([error]));
            }
        }
    }
    for entry in copies.values_mut() {
        entry.error = entry.error.take().map(after_backup);
    }
    copies
}

/// The copies of sources of which none could be begun, as the store that has the backups can't be
/// read any more.
pub fn copies_that_failed(
    sources: &[String],
    error: &Error,
    observer: &dyn Observer,
) -> BTreeMap<String, SourceCopies> {
    observer.fail(&after_backup(same_error(error)));
    let failed = |source: &String| {
        let copies = SourceCopies {
            error: Some(after_backup(same_error(error))),
            ..SourceCopies::default()
        };
        (source.clone(), copies)
    };
    sources.iter().map(failed).collect()
}

/// An error once more, for another source.
fn same_error(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error);
    match error.hint() {
        Some(hint) => copy.with_hint(hint.clone()),
        None => copy,
    }
}

/// The backup was made all the same, unless a signal came.
fn after_backup(error: Error) -> Error {
    let kind = match error.kind() {
        Kind::Interrupted => Kind::Interrupted,
        _ => Kind::Partial,
    };
    let text = format!("the backup was made, but not every copy: {error}");
    let hint = error.hint().cloned();
    let error = Error::new(kind, text);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error.with_hint(
            Hint::new()
                .text("the next run copies what is missing; ")
                .command(["doctor", "--store", "NAME"])
                .text(" looks for the cause"),
        ),
    }
}

fn tasks<'a>(
    from: &Location,
    sources: &'a [String],
    config: &'a Config,
    session: &Session,
) -> Vec<StoreTask<'a>> {
    let wants = |source: &str, store: &str| {
        let settings = session.settings_of(source);
        settings
            .copies
            .iter()
            .any(|name| name == store)
            .then_some(settings)
    };
    let task = |(name, store): (&'a String, &'a crate::config::ConfiguredStore)| StoreTask {
        name,
        settings: &store.settings,
        sources: sources
            .iter()
            .filter_map(|source| Some((source.as_str(), wants(source, name)?)))
            .collect(),
    };
    config
        .stores
        .iter()
        .filter(|(_, store)| store.settings.location.resolved(&session.cwd) != *from)
        .map(task)
        .filter(|task| !task.sources.is_empty())
        .collect()
}

/// Copies to one store; returns the source, the store's name, and what came of it.
fn copy_to_store(
    task: &StoreTask<'_>,
    from: &dyn Store,
    session: &Session,
    observer: &dyn Observer,
) -> Vec<(String, String, Result<CopySummary>)> {
    let result = |source: &str, result| (source.to_owned(), task.name.to_owned(), result);
    let settings = task.settings.resolved(&session.cwd);
    let location = settings.location.clone();
    let to = match open_target(&settings, task.name, from) {
        Ok(to) => to,
        Err(error) => {
            let error = error.context(format!("the store `{}`", task.name));
            observer.fail(&error);
            for (source, _) in &task.sources {
                note_failure(from, source, (task.name, &location), &error, observer);
            }
            return task
                .sources
                .iter()
                .map(|(source, _)| result(source, Err(same_error(&error))))
                .collect();
        }
    };
    let encryption = match session.encryption_at(to.location()) {
        Ok(encryption) => encryption,
        Err(error) => {
            observer.fail(&error);
            let failed =
                |(source, _): &(&str, BackupSettings)| result(source, Err(same_error(&error)));
            return task.sources.iter().map(failed).collect();
        }
    };
    let copier = Copier {
        encryption: encryption.as_ref(),
        plain: false,
        flattener: None,
        from,
        to: &*to,
        name: task.name,
        lock_wait: session.lock_wait,
        deadline: deadline_of(task.settings),
        is_after_run: true,
        observer,
    };
    let mut budget = CopyBudget::new(None);
    let mut results = Vec::new();
    // Once the store has failed, the other sources need not wait for it as long.
    let mut outage: Option<Error> = None;
    for (source, settings) in &task.sources {
        budget.limit = settings.copy_limit;
        if let Some(error) = &outage {
            note_failure(from, source, (task.name, &location), error, observer);
            results.push(result(source, Err(same_error(error))));
            continue;
        }
        let copied = copy_source(&copier, source, &mut budget, task);
        outage = match &copied {
            Ok(summary) => {
                let failed = summary.failed.iter().map(|(_, error)| error);
                failed
                    .rev()
                    .find(|error| is_of_store(error))
                    .map(same_error)
            }
            Err(error) => is_of_store(error).then(|| same_error(error)),
        };
        if let Err(error) = &copied
            && error.kind() != Kind::Interrupted
        {
            observer.fail(error);
            note_failure(from, source, (task.name, &location), error, observer);
        }
        let pruned = copied.and_then(|mut summary| {
            if settings.cleanup_after && summary.failed.is_empty() && outage.is_none() {
                let pruned = prune_copies(&copier, source, task, session);
                summary
                    .failed
                    .extend(pruned?.map(|error| (source.to_string(), error)));
            }
            Ok(summary)
        });
        results.push(result(source, pruned));
    }
    results
}

/// Notes beside the newest backup of a source that it could not be copied.
fn note_failure(
    from: &dyn Store,
    source: &str,
    (store, location): (&str, &Location),
    error: &Error,
    observer: &dyn Observer,
) {
    let Ok(catalog) = Catalog::read(from, Some(&[source.to_owned()])) else {
        return;
    };
    if let Some(newest) = candidates(&catalog, source, Some((store, location))).first() {
        let mark = CopyMark {
            store: store.to_owned(),
            location_sha256: Some(location.sha256()),
            failure: Some(error.message()),
            sidecar_sha256: None,
        };
        note_copy(from, source, newest.id(), mark, observer);
    }
}

/// Copies what is missing of one source.
fn copy_source(
    copier: &Copier<'_>,
    source: &str,
    budget: &mut CopyBudget,
    task: &StoreTask<'_>,
) -> Result<CopySummary> {
    let only = [source.to_owned()];
    let catalog = Catalog::read(copier.from, Some(&only))?;
    let wanted = candidates(&catalog, source, Some((task.name, copier.to.location())));
    for lost in catalog
        .unreadable
        .iter()
        .filter(|lost| lost.source == source)
    {
        let text = format!(
            "{}: not copied to `{}`, {}",
            lost.id, task.name, lost.reason
        );
        copier.observer.warn(text);
    }
    let copied = copier.copy_source(source, &catalog, &wanted, budget);
    let summary =
        copied.map_err(|error| error.context(format!("{source}: copying to `{}`", task.name)))?;
    if !summary.waiting.is_empty() && summary.failed.is_empty() {
        copier.observer.note(format!(
            "{source}: {} more to copy to `{}`: the next run goes on",
            summary.waiting.len(),
            task.name
        ));
    }
    Ok(summary)
}

/// Applies the store's own retention to its copies of a source. What came of it is told, and given
/// back.
fn prune_copies(
    copier: &Copier<'_>,
    source: &str,
    task: &StoreTask<'_>,
    session: &Session,
) -> Result<Option<Error>> {
    let policies = own_policies(task.name, source, session);
    if policies.is_empty() || !copier.to.properties().removes {
        return Ok(None);
    }
    match prune::prune_copies(copier.to, source, &policies, session, copier.observer) {
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(error) => {
            let error = error.context(source);
            copier.observer.fail(&error);
            Ok(Some(error))
        }
        Ok(()) => Ok(None),
    }
}

/// The retention that the configuration has for this store alone. What holds for the first store
/// need not hold for copies: they stay unless it is said otherwise.
fn own_policies(store: &str, source: &str, session: &Session) -> RetentionPolicies {
    let own = session.config.as_ref().and_then(|config| {
        let table = config.stores.get(store)?;
        if table.retention.is_none() && table.retention_labels.is_empty() {
            return None;
        }
        let (_, entry) = config.owner_of(source)?;
        Some(RetentionPolicies::in_store(config, Some(store), entry))
    });
    own.unwrap_or_default()
}
