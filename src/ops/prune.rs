//! Pruning: retention decides, a plan says of each backup why it stays or goes, and the plan is
//! shown or carried out.

mod brake;
#[cfg(test)]
mod tests;

use super::condition::STATE_LOST;
use super::events::remove_superseded;
use super::run::RemovedBackup;
use super::sweep::lock_and_sweep;
use super::{Observer, Session, catalog_of, is_missed, names_in, time_of};
use crate::catalog::{Catalog, Entry, Presence};
use crate::config::Unusable;
use crate::engine::CheckStatus;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::plan::{Policies, SourcePlan};
use crate::retention::{self, Candidate, Decision, Policy, Standing, Verdict};
use crate::sidecar::{Braked, Level, Status, Totals};
use crate::store::{Store, names};
use crate::units;
use brake::BrakeHold;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeSet, HashMap};

/// What is to be pruned, and by which rules.
#[derive(Debug, Default)]
pub struct PruneRequest {
    /// Names of sources, clusters and groups; all that have a policy where there is none.
    pub sources: Vec<String>,
    /// One policy for all of them, in place of the configuration's.
    pub policy: Option<Policy>,
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

/// A backup that stays.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptBackup {
    /// Its id.
    pub id: String,
    /// Why it stays.
    pub reasons: Vec<String>,
    /// Its place among all backups of the source, the newest first.
    rank: usize,
}

/// A backup that goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its id.
    pub id: String,
    /// Why it goes.
    pub reason: String,
    /// Bytes that its dump takes.
    pub size: u64,
    /// The objects that belong to it, besides the sidecar and its events.
    files: Vec<String>,
    /// Its place among all backups of the source, the newest first.
    rank: usize,
}

/// What pruning will do with the backups of one source.
#[derive(Debug, Default)]
pub struct PrunePlan {
    /// The backups that stay, newest first.
    pub kept: Vec<KeptBackup>,
    /// The backups that go, newest first.
    pub removals: Vec<Removal>,
    /// Events of backups that stay, which newer ones make pointless.
    superseded: Vec<String>,
    /// What retention warns of.
    pub warnings: Vec<String>,
    /// The brake, where it holds or is released by force.
    brake: Option<BrakeHold>,
    /// Whether the brake is released.
    force: bool,
}

impl PrunePlan {
    /// The brake that holds.
    fn hold(&self) -> Option<&BrakeHold> {
        self.brake.as_ref().filter(|_| !self.force)
    }
}

/// A source with its policies, or why the configuration can't say them now.
type PruneTask = (String, std::result::Result<Policies, Unusable>);

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
    policies: &Policies,
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

/// Plans for one source, and tells of what is odd in it.
fn show_plan(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &Policies,
    request: &PruneRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    let plan = plan_source(store, catalog, source, policies, session.now, request.force)?;
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
    for stray in catalog.strays.iter().filter(|stray| stray.source == source) {
        observer.warn(format!(
            "{}/{}: no sidecar knows this file ({}); it is never removed",
            stray.source,
            stray.name,
            units::size(stray.size)
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
            .map(|name| (name, Ok(Policies::all(policy.clone()))))
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
    if !session.store_plan()?.configured {
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
        if let Some(why) = &entry.unusable {
            // It fails alone.
            work.push((name.clone(), Err(why.clone())));
            continue;
        }
        let policies = Policies::configured(config, entry);
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
    policies: &Policies,
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

/// Prunes a source after a successful backup, under its lock: quiet unless something was removed or
/// went wrong.
pub fn prune_after_backup(
    store: &dyn Store,
    source: &SourcePlan,
    now: DateTime<Utc>,
    observer: &dyn Observer,
) -> Result<PrunedSource> {
    let name = &source.name;
    let catalog = catalog_of(store, std::slice::from_ref(name))?;
    if source.policies.is_empty() {
        return Ok(PrunedSource::default());
    }
    let plan = plan_source(store, &catalog, name, &source.policies, now, false)?;
    for warning in &plan.warnings {
        observer.warn(format!("{name}: {warning}"));
    }
    let done = carry_out(plan, store, name, observer).map_err(|error| {
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
        Error::new(Kind::Partial, held).with_hint(format!(
            "if that is right: `dbbackup cleanup --force {name}`; if not, the older backups are \
             all there"
        ))
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

/// Plans what pruning does with the backups of one source, and changes nothing. With `force` the
/// brake does not hold.
pub fn plan_source(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &Policies,
    now: DateTime<Utc>,
    force: bool,
) -> Result<PrunePlan> {
    let mut decision = decide(catalog, source, policies, now, force);
    let brake = brake::find_hold(store, catalog, source, policies, &decision, now)?;
    let mut plan = PrunePlan {
        brake,
        force,
        ..PrunePlan::default()
    };
    match plan.hold() {
        Some(hold) => hold.apply(catalog, source, &mut decision),
        None => plan.warnings = std::mem::take(&mut decision.warnings),
    }
    let by_id: HashMap<&str, &Entry> = catalog
        .of(source)
        .map(|backup| (backup.id(), backup))
        .collect();
    for (rank, (id, verdict)) in decision.verdicts.into_iter().enumerate() {
        let reason = match verdict {
            Verdict::Keep(reasons) => {
                let state = by_id.get(id.as_str()).map(|backup| &backup.state);
                let superseded = state.map_or(&[][..], |state| &state.superseded);
                plan.superseded.extend_from_slice(superseded);
                plan.kept.push(KeptBackup { id, reasons, rank });
                continue;
            }
            Verdict::Remove(reason) => reason,
        };
        let backup = by_id.get(id.as_str());
        let removal = Removal {
            reason,
            size: backup.map_or(0, |backup| backup.presence.bytes()),
            files: backup.map_or(Vec::new(), |backup| backup.sidecar.files()),
            id,
            rank,
        };
        match lies_elsewhere(store, source, &removal.files) {
            Some(why) => plan.kept.push(removal.kept_for(&why)),
            None => plan.removals.push(removal),
        }
    }
    Ok(plan)
}

/// Carries a plan out under the source's lock, the oldest first, so that an interruption leaves the
/// newest. Gives back what was done: a backup that somebody reads stays.
fn carry_out(
    mut plan: PrunePlan,
    store: &dyn Store,
    source: &str,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    match (&plan.brake, plan.force) {
        (Some(hold), true) => brake::accept(store, source, hold, observer),
        (Some(hold), false) => brake::remember(store, source, hold, observer),
        (None, _) => {}
    }
    remove_superseded(store, source, &plan.superseded)?;
    let mut removed = Vec::new();
    for removal in std::mem::take(&mut plan.removals).into_iter().rev() {
        interrupt::check()?;
        if let Some(why) = is_read(store, source, &removal.files) {
            plan.kept.push(removal.kept_for(&why));
            continue;
        }
        store.retire(source, &removal.id, &removal.files)?;
        removed.push(removal);
    }
    removed.reverse();
    plan.removals = removed;
    plan.kept.sort_by_key(|kept| kept.rank);
    // The log outlives the backups.
    for removal in &plan.removals {
        observer.step(format!(
            "{source}: removed {} ({}): {}",
            removal.id,
            units::size(removal.size),
            removal.reason
        ));
    }
    Ok(plan)
}

impl Removal {
    /// The same backup, which has to stay after all.
    fn kept_for(self, why: &str) -> KeptBackup {
        KeptBackup {
            reasons: vec![format!("{why}; otherwise removed: {}", self.reason)],
            id: self.id,
            rank: self.rank,
        }
    }
}

/// Says why objects must stay that only a link in the store leads to: removing the link alone would
/// leave what takes the room, and nothing would know it any more. What is not sure is kept.
fn lies_elsewhere(store: &dyn Store, source: &str, files: &[String]) -> Option<String> {
    files.iter().find_map(|file| match store.link_target(source, file) {
        Ok(None) => None,
        Ok(Some(place)) => Some(format!(
            "`{file}` is a link to `{}`, which is outside of the store (`dbbackup delete` removes \
             the link)",
            place.display()
        )),
        Err(error) => Some(error.message()),
    })
}

/// Says why objects must stay that somebody reads now. What is not sure is kept.
fn is_read(store: &dyn Store, source: &str, files: &[String]) -> Option<String> {
    files
        .iter()
        .find_map(|file| match store.is_in_use(source, file) {
            Ok(false) => None,
            Ok(true) => Some("in use right now".to_owned()),
            Err(error) => Some(error.message()),
        })
}

/// Asks retention for its verdicts. With `force` every backup is taken for what it is, whatever it
/// held before.
fn decide(
    catalog: &Catalog,
    source: &str,
    policies: &Policies,
    now: DateTime<Utc>,
    force: bool,
) -> Decision {
    let unreadable = catalog
        .unreadable
        .iter()
        .filter(|entry| entry.source == source)
        .map(|entry| Candidate {
            id: entry.id.clone(),
            at: time_of(&entry.id),
            label: names::split_id(&entry.id)
                .map_or(String::new(), |(_, label, _)| label.to_owned()),
            size_bytes: 0,
            standing: Standing::Unknown,
            pinned: false,
            proven: false,
        });
    // What was said to be right is right for what came before it, too.
    let accepted = catalog
        .of(source)
        .position(|backup| backup.state.brake == Some(Braked::Accepted));
    let is_doubted = |at: usize, backup: &Entry| {
        !force && accepted.is_none_or(|accepted| at < accepted) && fell(backup, catalog)
    };
    let standing = |(at, backup): (usize, &Entry)| {
        let candidate = candidate(backup);
        match candidate.standing {
            Standing::Good if is_doubted(at, backup) => Candidate {
                standing: Standing::Doubted,
                ..candidate
            },
            _ => candidate,
        }
    };
    let candidates: Vec<Candidate> = catalog
        .of(source)
        .enumerate()
        .map(standing)
        .chain(unreadable)
        .collect();
    // The end of the second: what was made in it is no future.
    let now = now + TimeDelta::microseconds(999_999);
    retention::decide(&candidates, |label| policies.for_label(label), now)
}

/// Tells of a backup that held the brake and holds far less, in all, than the one that it was
/// compared with. (A clock that jumped holds the brake, too, and says nothing against what was
/// saved.)
fn fell(backup: &Entry, catalog: &Catalog) -> bool {
    let Some(Braked::Against(earlier)) = &backup.state.brake else {
        return false;
    };
    let Some(earlier) = catalog
        .of(&backup.sidecar.source)
        .find(|other| other.id() == earlier)
    else {
        return false;
    };
    let (Some(now), Some(then)) = (&backup.sidecar.manifest, &earlier.sidecar.manifest) else {
        return false;
    };
    let files = |totals: &Totals| totals.tree.map_or(0, |tree| tree.files);
    now.rows_total < then.rows_total / 2 || files(now) < files(then) / 2
}

fn candidate(backup: &Entry) -> Candidate {
    let standing = match (backup.sidecar.status, &backup.presence) {
        _ if backup.state_lost => Standing::Unknown,
        (Status::Failed, _) => Standing::Failed,
        (_, Presence::Unknown(_)) => Standing::Unreachable,
        _ if backup.damage().is_some() => Standing::Damaged,
        (_, Presence::Missing) => Standing::Missing,
        (_, Presence::Bytes(_)) if !backup.is_whole() => Standing::OtherLength,
        (Status::Partial, _) => Standing::Partial,
        (Status::Ok, _) => Standing::Good,
    };
    Candidate {
        id: backup.id().to_owned(),
        // Those of one second in the order in which they were made.
        at: {
            let (at, number) = (
                backup.sidecar.started_at,
                names::number_in_second(backup.id()),
            );
            // A sidecar may say any date, the calendar's last one, too.
            at.checked_add_signed(TimeDelta::microseconds(number.into()))
                .unwrap_or(at)
        },
        label: backup.sidecar.label.to_string(),
        size_bytes: backup.presence.bytes(),
        standing,
        pinned: backup.state.pinned,
        proven: backup
            .verifications()
            .any(|seen| seen.status == CheckStatus::Ok && seen.level >= Level::Content),
    }
}
