//! The plan for one source: retention's verdicts, held back by the brake, and what stands in the
//! way of a removal. And its execution.

use super::brake::{self, BrakeHold};
use crate::catalog::{Catalog, ListedBackup, Presence, WayState};
use crate::engine::CheckStatus;
use crate::error::Result;
use crate::interrupt;
use crate::ops::chain::note_removal;
use crate::ops::events::{remove_superseded, retract_event};
use crate::ops::{Observer, time_of};
use crate::plan::RetentionPolicies;
use crate::retention::{self, Candidate, Decision, KeyNeed, Standing, Verdict};
use crate::sidecar::{BackupState, Braked, Level, Status, Totals};
use crate::store::{KnownNames, Retirement, Store, names};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;

/// A backup that stays.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptBackup {
    /// Its id.
    pub id: String,
    /// Why it stays.
    pub reasons: Vec<String>,
    /// Its place among all backups of the source, the newest first.
    pub(super) rank: usize,
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
    /// The backup that it is built on.
    base: Option<String>,
    /// The backup beside which its removal is noted.
    witness: Option<String>,
    /// Its place in the order in which removals must be made.
    turn: usize,
    /// Its place among all backups of the source, the newest first.
    pub(super) rank: usize,
}

/// What pruning will do with the backups of one source.
#[derive(Debug, Default)]
pub struct PrunePlan {
    /// The backups that stay, newest first.
    pub kept: Vec<KeptBackup>,
    /// The backups that go, newest first.
    pub removals: Vec<Removal>,
    /// What retention warns of.
    pub warnings: Vec<String>,
    /// The brake, where it holds or is released by force.
    pub(super) brake: Option<BrakeHold>,
    /// The states of backups that stay and have events that newer ones make pointless.
    pub(super) outdated: Vec<BackupState>,
    /// Whether the brake is released.
    pub(super) force: bool,
    /// What it was made of, where the store has no locks.
    pub(super) known: Option<KnownNames>,
}

impl PrunePlan {
    /// The brake that holds.
    pub(super) fn hold(&self) -> Option<&BrakeHold> {
        self.brake.as_ref().filter(|_| !self.force)
    }
}

/// Plans what pruning does with the backups of one source, and changes nothing. With `force` the
/// brake does not hold.
pub fn plan_source(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    now: DateTime<Utc>,
    force: bool,
) -> Result<PrunePlan> {
    let mut decision = decide(catalog, source, policies, now, force);
    let brake = brake::find_hold(store, catalog, source, policies, &decision, now)?;
    let mut plan = PrunePlan {
        brake,
        force,
        known: catalog.known_names(source).cloned(),
        ..PrunePlan::default()
    };
    match plan.hold() {
        Some(hold) => hold.apply(catalog, source, &mut decision),
        None => plan.warnings = std::mem::take(&mut decision.warnings),
    }
    let by_id: HashMap<&str, &ListedBackup> = catalog
        .of(source)
        .map(|backup| (backup.id(), backup))
        .collect();
    let files_of = |id: &str| {
        let backup = by_id.get(id);
        backup.map_or(Vec::new(), |backup| backup.sidecar.files())
    };
    // What can't be removed needs its base still.
    let mut needed = NeededBackups::default();
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut obstacles: HashMap<String, String> = HashMap::new();
    for (turn, id) in decision.removals().into_iter().enumerate() {
        let obstacle = needed
            .reason(id)
            .or_else(|| lies_elsewhere(store, source, &files_of(id)));
        if let Some(why) = obstacle {
            needed.add(decision.needs.get(id), id);
            obstacles.insert(id.to_owned(), why);
        }
        turns.insert(id.to_owned(), turn);
    }
    for (rank, (id, verdict)) in decision.verdicts.into_iter().enumerate() {
        let reason = match verdict {
            Verdict::Keep(reasons) => {
                let state = by_id.get(id.as_str()).map(|backup| &backup.state);
                let outdated = state.filter(|state| !state.superseded.is_empty());
                plan.outdated.extend(outdated.cloned());
                plan.kept.push(KeptBackup { id, reasons, rank });
                continue;
            }
            Verdict::Remove(reason) => reason,
        };
        let backup = by_id.get(id.as_str());
        let removal = Removal {
            reason,
            size: backup.map_or(0, |backup| backup.presence.bytes()),
            files: files_of(&id),
            base: decision.needs.get(&id).cloned(),
            witness: catalog
                .witness_of_removal(source, &id)
                .map(|witness| witness.id().to_owned()),
            turn: turns.get(&id).copied().unwrap_or_default(),
            id,
            rank,
        };
        match obstacles.remove(&removal.id) {
            Some(why) => plan.kept.push(removal.kept_for(&why)),
            None => plan.removals.push(removal),
        }
    }
    plan.keep_within_rights(store);
    Ok(plan)
}

impl PrunePlan {
    /// Keeps what `obstacle` gives a reason for, and what that needs. It is asked in the order in
    /// which removals are made.
    pub(super) fn keep_where(&mut self, mut obstacle: impl FnMut(&str) -> Option<String>) {
        let mut needed = NeededBackups::default();
        let mut removals = std::mem::take(&mut self.removals);
        removals.sort_by_key(|removal| removal.turn);
        for removal in removals {
            let why = needed.reason(&removal.id).or_else(|| obstacle(&removal.id));
            match why {
                Some(why) => {
                    needed.add(removal.base.as_ref(), &removal.id);
                    self.kept.push(removal.kept_for(&why));
                }
                None => self.removals.push(removal),
            }
        }
        self.removals.sort_by_key(|removal| removal.rank);
        self.kept.sort_by_key(|kept| kept.rank);
    }

    /// Keeps what this machine may not remove in the store, in this run or at all.
    fn keep_within_rights(&mut self, store: &dyn Store) {
        let properties = store.properties();
        if !properties.removes {
            let why = "this machine removes nothing there (`delete = \"never\"`)";
            self.keep_where(|_| Some(why.to_owned()));
        }
        let Some(limit) = properties.max_removals.filter(|_| !self.force) else {
            return;
        };
        let most = limit.most(self.kept.len() + self.removals.len());
        let mut left = most;
        self.keep_where(|_| {
            let is_over = left == 0;
            left = left.saturating_sub(1);
            is_over.then(|| format!("at most {most} are removed there in one run (`--force`: all)"))
        });
    }
}

/// The backups that others need which stay although they were to go.
#[derive(Default)]
struct NeededBackups(HashMap<String, String>);

impl NeededBackups {
    /// Notes that `by` stays, and so does its base.
    fn add(&mut self, base: Option<&String>, by: &str) {
        if let Some(base) = base {
            self.0.insert(base.clone(), by.to_owned());
        }
    }

    /// The reason why a backup stays.
    fn reason(&self, id: &str) -> Option<String> {
        self.0.get(id).map(|by| format!("needed by {by}"))
    }
}

/// Carries a plan out under the source's lock, the oldest first, so that an interruption leaves the
/// newest; but what is built on a backup goes before it. Gives back what was done: a backup that
/// somebody reads stays.
pub(super) fn carry_out(
    mut plan: PrunePlan,
    store: &dyn Store,
    source: &str,
    observer: &dyn Observer,
) -> Result<PrunePlan> {
    if let Some(why) = what_changed(&plan, store, source)? {
        plan.keep_where(|_| Some(why.clone()));
    }
    match (&plan.brake, plan.force) {
        (Some(hold), true) => brake::accept(store, source, hold, observer),
        (Some(hold), false) => brake::remember(store, source, hold, observer),
        (None, _) => {}
    }
    let outdated = plan.outdated.iter();
    for state in outdated.filter(|_| store.properties().removes) {
        remove_superseded(store, source, state)?;
    }
    let mut removed = Vec::new();
    let mut needed = NeededBackups::default();
    let mut removals = std::mem::take(&mut plan.removals);
    removals.sort_by_key(|removal| removal.turn);
    for removal in removals {
        interrupt::check()?;
        let obstacle = needed
            .reason(&removal.id)
            .or_else(|| is_read(store, source, &removal.files));
        if let Some(why) = obstacle {
            needed.add(removal.base.as_ref(), &removal.id);
            plan.kept.push(removal.kept_for(&why));
            continue;
        }
        let noted = note_removal(store, source, &removal.id, removal.witness.as_deref())?;
        if let (Some(known), Some(event)) = (&mut plan.known, &noted) {
            known.add(event);
        }
        match store.retire(source, &removal.id, &removal.files, plan.known.as_ref())? {
            Retirement::Done => removed.push(removal),
            Retirement::Changed(event) => {
                if let Some(event) = noted {
                    retract_event(store, source, &event);
                }
                needed.add(removal.base.as_ref(), &removal.id);
                plan.kept.push(removal.kept_for(&unknown_object(&event)));
            }
            Retirement::Locked(lock) => {
                // Else nobody would miss it if somebody else removed it later.
                if let Some(event) = noted {
                    retract_event(store, source, &event);
                }
                needed.add(removal.base.as_ref(), &removal.id);
                plan.kept.push(removal.kept_for(&lock.to_string()));
            }
            Retirement::Hidden(lock) => {
                let why = format!("{lock}, not listed any more, and removed by a run after that");
                plan.kept.push(removal.kept_for(&why));
            }
        }
    }
    removed.sort_by_key(|removal| removal.rank);
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

/// Says what the store lists now that it did not when the plan was made: a pin that another machine
/// has set meanwhile, or what was left out of the first list.
fn what_changed(plan: &PrunePlan, store: &dyn Store, source: &str) -> Result<Option<String>> {
    let Some(known) = plan.known.as_ref().filter(|_| !plan.removals.is_empty()) else {
        return Ok(None);
    };
    let found = store.list(source)?.objects;
    let ids: Vec<&str> = plan
        .removals
        .iter()
        .map(|removal| removal.id.as_str())
        .collect();
    let unknown = known
        .unknown_sidecar(&found)
        .or_else(|| known.unknown_event(&found, &ids));
    Ok(unknown.map(unknown_object))
}

fn unknown_object(name: &str) -> String {
    format!("the store has `{name}`, which it did not list before: the next run looks again")
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
pub fn decide(
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    now: DateTime<Utc>,
    force: bool,
) -> Decision {
    let candidates = candidates_of(catalog, source, force);
    retention::decide(&candidates, |label| policies.for_label(label), end_of(now))
}

/// The verdicts that one more good backup of this label would bring, made at that moment and as
/// large as this.
pub fn decide_with_next(
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    next: &NextBackup<'_>,
) -> Decision {
    let mut candidates = candidates_of(catalog, source, false);
    candidates.push(Candidate {
        id: next.id(source),
        at: next.at,
        dated_ahead: false,
        label: next.label.to_owned(),
        size_bytes: next.size_bytes,
        standing: Standing::Good,
        pinned: false,
        proven: false,
        key: KeyNeed::Plain,
        needs: None,
    });
    retention::decide(
        &candidates,
        |label| policies.for_label(label),
        end_of(next.at),
    )
}

/// A backup that is still to be made.
pub struct NextBackup<'a> {
    /// Its label.
    pub label: &'a str,
    /// When.
    pub at: DateTime<Utc>,
    /// How many bytes it will take.
    pub size_bytes: u64,
}

impl NextBackup<'_> {
    /// Its id among the verdicts.
    pub fn id(&self, source: &str) -> String {
        names::new_id(source, self.label, self.at, std::iter::empty())
    }
}

/// The end of the second: what was made in it is no future.
fn end_of(second: DateTime<Utc>) -> DateTime<Utc> {
    second + TimeDelta::microseconds(999_999)
}

/// What retention is asked about a source.
fn candidates_of(catalog: &Catalog, source: &str, force: bool) -> Vec<Candidate> {
    let unreadable = catalog
        .unreadable
        .iter()
        .filter(|entry| entry.source == source)
        .map(|entry| Candidate {
            id: entry.id.clone(),
            at: time_of(&entry.id),
            dated_ahead: false,
            label: names::split_id(&entry.id)
                .map_or(String::new(), |(_, label, _)| label.to_owned()),
            size_bytes: 0,
            standing: Standing::Unknown,
            pinned: false,
            proven: false,
            key: KeyNeed::Unproven,
            needs: entry.needs.clone(),
        });
    // What was said to be right is right for what came before it, too.
    let accepted = catalog
        .of(source)
        .position(|backup| backup.state.brake == Some(Braked::Accepted));
    let is_doubted = |at: usize, backup: &ListedBackup| {
        !force && accepted.is_none_or(|accepted| at < accepted) && lost_much(backup, catalog)
    };
    let standing = |(at, backup): (usize, &ListedBackup)| {
        let candidate = candidate(backup);
        match candidate.standing {
            Standing::Good if is_doubted(at, backup) => Candidate {
                standing: Standing::Doubted,
                ..candidate
            },
            _ => candidate,
        }
    };
    catalog
        .of(source)
        .enumerate()
        .map(standing)
        .chain(unreadable)
        .collect()
}

/// Whether a backup that held the brake holds far less, in all, than the one that it was compared
/// with. (A clock that jumped holds the brake, too, and says nothing against what was saved.)
fn lost_much(backup: &ListedBackup, catalog: &Catalog) -> bool {
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

/// Whether a private key has opened it, as somebody tells who is believed.
pub fn has_proven_key(backup: &ListedBackup) -> bool {
    backup.signature.is_accepted() && !backup.state.keys_proven.is_empty()
}

fn candidate(backup: &ListedBackup) -> Candidate {
    let standing = match (backup.sidecar.status, &backup.presence) {
        _ if !backup.signature.is_accepted() => Standing::Untrusted,
        _ if backup.state_lost => Standing::Unknown,
        (Status::Failed, _) => Standing::Failed,
        (_, Presence::Unknown(_)) => Standing::Unreachable,
        _ if backup.damage().is_some() => Standing::Damaged,
        (_, Presence::Missing) => Standing::Missing,
        (_, Presence::Bytes(_)) if !backup.is_whole() => Standing::OtherLength,
        _ if matches!(backup.way, WayState::Unknown(_)) => Standing::Unreachable,
        _ if matches!(backup.way, WayState::Missing(_)) => Standing::Missing,
        _ if matches!(backup.way, WayState::Damaged(_)) => Standing::BaseDamaged,
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
        dated_ahead: backup.dated_ahead,
        label: backup.sidecar.label.to_string(),
        size_bytes: backup.presence.bytes(),
        standing,
        pinned: backup.state.pinned,
        proven: backup
            .verifications()
            .any(|seen| seen.status == CheckStatus::Ok && seen.level >= Level::Content),
        key: match backup.is_encrypted() {
            false => KeyNeed::Plain,
            true if has_proven_key(backup) => KeyNeed::Proven,
            true => KeyNeed::Unproven,
        },
        needs: backup.needs().map(str::to_owned),
    }
}
