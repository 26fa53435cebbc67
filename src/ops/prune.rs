//! Pruning: retention decides, a plan says of each backup why it stays or goes, and the plan is
//! shown or carried out.

mod brake;
mod plan;
#[cfg(test)]
mod tests;

pub use plan::{
    KeptBackup, NextBackup, PrunePlan, Removal, decide, decide_with_next, has_proven_key,
    plan_source,
};

use self::plan::carry_out;
use super::condition::STATE_LOST;
use super::copy_proof::CopyStores;
use super::run::{RemovedBackup, now};
use super::sweep::lock_and_sweep;
use super::{Observer, Session, catalog_of, is_missed, names_in};
use crate::catalog::Catalog;
use crate::config::SourceFault;
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::plan::{self as plans, RetentionPolicies, SourcePlan};
use crate::retention::RetentionPolicy;
use crate::store::{Store, StoreSettings};
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

/// What is to be pruned, and by which rules.
#[derive(Debug, Default)]
pub struct PruneRequest {
    /// Names of sources, clusters and groups; all that have a policy where there is none.
    pub sources: Vec<String>,
    /// One policy for all of them, in place of the configuration's.
    pub policy: Option<RetentionPolicy>,
    /// Prune although the brake holds, and databases that are missed, too.
    pub force: bool,
    /// Only plan.
    pub dry_run: bool,
}

/// The result of pruning: of a dry run, what would be done.
#[derive(Debug, Default)]
pub struct PruneSummary {
    /// The backups that stay, by source and newest first.
    pub kept: Vec<KeptBackup>,
    /// The backups that went, by source and newest first.
    pub removed: Vec<Removal>,
    /// How many sources there were to prune.
    pub tried: usize,
    /// The errors of those that failed, or whose brake holds; the observer has heard of them.
    pub failed: Vec<Error>,
}

/// A source with its policies, or why the configuration can't say them now.
type PruneTask = (String, std::result::Result<RetentionPolicies, SourceFault>);

/// Prunes the sources of a request, each for itself: one that fails does not keep the others from
/// it. The observer hears of each failure at once.
pub fn prune(
    request: &PruneRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<PruneSummary> {
    let store = if request.dry_run {
        session.reading()?
    } else {
        session.changing()?
    };
    let names = names_in(&*store, &request.sources, session, observer)?;
    let catalog = catalog_of(&*store, &names)?;
    let tasks = tasks(request, &names, session, &catalog, &*store)?;
    let missed = if request.force {
        Vec::new()
    } else {
        missed_databases(&tasks, session, &catalog, &*store)?
    };
    let mut summary = PruneSummary {
        tried: tasks.len(),
        ..PruneSummary::default()
    };
    for (source, policies) in &tasks {
        interrupt::check()?;
        let pruned = match policies {
            Ok(_) if missed.contains(source) => Ok(keep_all(source, &catalog)),
            Ok(policies) if request.dry_run => show_plan(
                &*store, &catalog, source, policies, request, session, observer,
            ),
            Ok(policies) => prune_source(&*store, source, policies, request, session, observer),
            Err(why) => Err(Error::from(why.clone()).context(source)),
        };
        let error = match pruned {
            Ok(plan) => {
                let held = plan.hold().map(|hold| {
                    let text = format!(
                        "{source}: retention is held back, and {} is removed: {}",
                        hold.what_is_removed(),
                        hold.why
                    );
                    Error::failed(text)
                        .with_hint("look at the source; if that is right, add `--force`")
                });
                summary.kept.extend(plan.kept);
                summary.removed.extend(plan.removals);
                held
            }
            Err(error) => Some(error),
        };
        error.iter().for_each(|error| observer.fail(error));
        summary.failed.extend(error);
    }
    // The program ends soon: giving back a hundred thousand entries piece by piece takes longer
    // than all the rest.
    std::mem::forget(catalog);
    Ok(summary)
}

/// Plans for one source and carries the plan out, under the source's lock.
fn prune_source(
    store: &dyn Store,
    source: &str,
    policies: &RetentionPolicies,
    request: &PruneRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    let _lock = lock_and_sweep(store, source, session.lock_wait, observer)?;
    // Read again, now that nobody else can change it.
    let catalog = Catalog::read(store, Some(&[source.to_owned()]))?;
    let plan = show_plan(
        store, &catalog, source, policies, request, session, observer,
    )?;
    carry_out(plan, store, source, observer)
}

/// Applies a store's own retention to the copies of a source that it holds.
pub fn prune_copies(
    store: &dyn Store,
    source: &str,
    policies: &RetentionPolicies,
    session: &Session,
    observer: &dyn Observer,
) -> Result<()> {
    let _lock = lock_and_sweep(store, source, session.lock_wait, observer)?;
    let catalog = Catalog::read(store, Some(&[source.to_owned()]))?;
    let plan = plan_source(store, &catalog, source, policies, now(), false)?;
    for warning in &plan.warnings {
        observer.warn(format!("{source} in `{}`: {warning}", store.name()));
    }
    let held = plan.hold().map(|hold| hold.why.clone());
    let done = carry_out(plan, store, source, observer)?;
    if !done.removals.is_empty() {
        let count = units::count(done.removals.len() as u64, "backup");
        observer.note(format!(
            "{source}: retention removed {count} in `{}`",
            store.name()
        ));
    }
    match held {
        Some(why) => Err(Error::failed(format!(
            "retention is held back in `{}`: {why}",
            store.name()
        ))
        .with_hint(Hint::new().text("if it is right so: ").command([
            "cleanup",
            source,
            "--store",
            &store.name(),
            "--force",
        ]))),
        None => Ok(()),
    }
}

/// Keeps what is not in every store that must have a copy.
fn keep_uncopied(
    plan: &mut PrunePlan,
    store: &dyn Store,
    source: &str,
    required: &[(String, StoreSettings)],
) {
    if required.is_empty() || plan.removals.is_empty() {
        return;
    }
    let copies = CopyStores::open(required);
    plan.keep_where(|id| copies.obstacle(store, source, id));
}

/// Plans for one source, and tells of what is odd in it.
fn show_plan(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    request: &PruneRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    let mut plan = plan_source(store, catalog, source, policies, session.now, request.force)?;
    // Also with `--force`: that says that a loss is right, and not that no copy is wanted.
    if let Some(config) = &session.config {
        let settings = session.settings_of(source);
        let required = plans::required_copies(config, &settings, store.location(), &session.cwd);
        keep_uncopied(&mut plan, store, source, &required);
    }
    for warning in &plan.warnings {
        observer.warn(format!("{source}: {warning}"));
    }
    warn_of_oddities(catalog, source, observer);
    Ok(plan)
}

/// Tells of what is kept although no policy asks for it.
fn warn_of_oddities(catalog: &Catalog, source: &str, observer: &dyn Observer) {
    for backup in catalog.of(source).filter(|backup| backup.state_lost) {
        observer.warn(format!("{}: {STATE_LOST}", backup.id()));
    }
    for entry in catalog
        .unreadable
        .iter()
        .filter(|entry| entry.source == source)
    {
        observer.warn(format!("{}: kept, {}", entry.id, entry.reason));
    }
    for orphan in catalog
        .orphans
        .iter()
        .filter(|orphan| orphan.source == source)
    {
        observer.warn(format!(
            "{}/{}: no sidecar knows this file ({}); it is never removed",
            orphan.source,
            orphan.name,
            units::size(orphan.size)
        ));
    }
}

/// Databases of clusters that are not on their servers any more, which nobody has said is right:
/// their last backups are all that there is of them.
fn missed_databases(
    tasks: &[PruneTask],
    session: &Session,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<String>> {
    let Some(config) = &session.config else {
        return Ok(Vec::new());
    };
    let clusters: BTreeSet<&str> = tasks
        .iter()
        .filter_map(|(source, _)| catalog.cluster_of(source))
        .collect();
    let mut missed = Vec::new();
    for cluster in clusters {
        // Its other databases tell which run was the newest.
        let whole = Catalog::read_with_members(store, &[cluster.to_owned()])?;
        for source in whole.vanished_members(cluster) {
            if is_missed(&source, &whole, store, config)? {
                missed.push(source);
            }
        }
    }
    Ok(missed)
}

/// The plan for a database that is missed: everything stays.
fn keep_all(source: &str, catalog: &Catalog) -> PrunePlan {
    let why = "the database is not on the server any more; `exclude_databases` says that this is \
               right";
    PrunePlan {
        kept: catalog
            .of(source)
            .enumerate()
            .map(|(rank, backup)| KeptBackup {
                id: backup.id().to_owned(),
                reasons: vec![why.to_owned()],
                rank,
            })
            .collect(),
        ..PrunePlan::default()
    }
}

/// Lists the sources, each with its policies: the request's for whatever is named, or all there is;
/// else the configuration's, for its own sources alone.
fn tasks(
    request: &PruneRequest,
    names: &[String],
    session: &Session,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<PruneTask>> {
    // Not every directory there: only those that hold something of ours.
    let present = catalog.sources();
    let asked = if names.is_empty() {
        Vec::new()
    } else {
        catalog.members(names)
    };
    // As without a name: what has no policy in a group is kept, and the others are cleaned.
    let by_group = request
        .sources
        .iter()
        .any(|word| session.group(word).is_some());
    if let Some(policy) = &request.policy {
        let names = if asked.is_empty() { present } else { asked };
        return Ok(names
            .into_iter()
            .map(|name| (name, Ok(RetentionPolicies::for_every_label(policy.clone()))))
            .collect());
    }
    let no_policy = |text: String| {
        Error::usage(text).with_hint(
            "say what to keep, as in `--keep-last 3 --keep-daily 7`, or write a [retention] table",
        )
    };
    let Some(config) = &session.config else {
        return Err(no_policy(
            "there is no retention policy: no flag, and no configuration".into(),
        ));
    };
    let plan = session.store_plan()?;
    if !plan.configured {
        return Err(no_policy(format!(
            "the store `{}` is none of the configuration's, so its policy does not hold there",
            store.name()
        )));
    }
    let mut work = Vec::new();
    for name in if asked.is_empty() { &present } else { &asked } {
        let Some((_, entry)) = config.owner_of(name) else {
            if asked.is_empty() {
                continue;
            }
            return Err(no_policy(format!(
                "`{name}` is no source of the configuration, so its policy does not hold for it"
            )));
        };
        if let Some(why) = &entry.fault {
            // It fails alone.
            work.push((name.clone(), Err(why.clone())));
            continue;
        }
        let policies = RetentionPolicies::in_store(config, plan.name.as_deref(), entry);
        if policies.is_empty() && !asked.is_empty() && !by_group {
            return Err(no_policy(format!(
                "`{name}` has no retention policy: everything is kept"
            )));
        }
        work.push((name.clone(), Ok(policies)));
    }
    Ok(work)
}

/// Finds out why the brake keeps everything of a source, where it does.
pub fn why_held(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    let decision = decide(catalog, source, policies, now, false);
    let hold = brake::find_hold(store, catalog, source, policies, &decision, now)?;
    Ok(hold.map(|hold| hold.why))
}

/// What pruning after a backup came to.
#[derive(Debug, Default)]
pub struct PrunedSource {
    /// The backups that went, newest first.
    pub removed: Vec<RemovedBackup>,
    /// What the brake says where it holds.
    pub held: Option<Error>,
}

/// Plans what pruning does with a source, and does it.
fn prune_quietly(
    store: &dyn Store,
    source: &SourcePlan,
    now: DateTime<Utc>,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    let name = &source.name;
    let catalog = catalog_of(store, std::slice::from_ref(name))?;
    let mut plan = plan_source(store, &catalog, name, &source.policies, now, false)?;
    keep_uncopied(&mut plan, store, name, &source.required_copies);
    for warning in &plan.warnings {
        observer.warn(format!("{name}: {warning}"));
    }
    carry_out(plan, store, name, observer)
}

/// Prunes a source after a successful backup, under its lock: quiet unless something was removed or
/// went wrong.
pub fn prune_after_backup(
    store: &dyn Store,
    source: &SourcePlan,
    now: DateTime<Utc>,
    observer: &dyn Observer,
) -> Result<PrunedSource> {
    let name = &source.name;
    if source.policies.is_empty() {
        return Ok(PrunedSource::default());
    }
    let done = prune_quietly(store, source, now, observer).map_err(|error| {
        let kind = if error.kind() == Kind::Interrupted {
            Kind::Interrupted
        } else {
            Kind::Partial
        };
        error
            .context("the backup was made, but retention failed")
            .with_kind(kind)
    })?;
    if !done.removals.is_empty() {
        let freed = units::total(done.removals.iter().map(|removal| removal.size));
        observer.note(format!(
            "{name}: retention removed {}, {}",
            units::count(done.removals.len() as u64, "backup"),
            units::size(freed)
        ));
    }
    let held = done.hold().map(|hold| {
        let held = format!(
            "the backup was made, but retention is held back and removed {}: {}",
            hold.what_is_removed(),
            hold.why
        );
        Error::new(Kind::Partial, held).with_hint(
            Hint::new()
                .text("if that is right: ")
                .command(["cleanup", "--force", name.as_str()])
                .text("; if not, the older backups are all there"),
        )
    });
    let removed = done.removals.into_iter().map(|removal| RemovedBackup {
        id: removal.id,
        reason: removal.reason,
        size_bytes: removal.size,
    });
    Ok(PrunedSource {
        removed: removed.collect(),
        held,
    })
}
