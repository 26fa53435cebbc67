//! Which backups of one source stay and which go, each with its reason. Pure: no files, no clock,
//! no configuration.
//!
//! What is decided here is deleted for good, so every doubt is decided for keeping. From the
//! strongest to the weakest:
//!
//! 1. **Always kept:** what is pinned, what can't be read, what no trusted key signed, what lies in
//!    the future, what has a dump that is not at hand, the newest good backup of the source, the
//!    newest one that was proven by its content or by a restore, the newest failed attempt, and in
//!    each label the `min_keep` newest good ones. Nothing below overrules these.
//! 2. **No policy** (or one without a rule) for a label: its backups are kept.
//! 3. **`keep_` rules**, with the semantics of `restic forget` before 0.16: within a label, newest
//!    first, each rule keeps the newest backup of each of the first N hours, days, ISO weeks,
//!    months or years (UTC) that hold any. (Later restic also keeps the oldest of all where a rule
//!    finds fewer than N.) A backup goes if no rule takes it; with no `keep_` rule at all, all are
//!    taken. A rule of 0 takes nothing, and is a rule all the same: alone, it leaves what is always
//!    kept.
//! 4. **`max_` caps** then remove the oldest of what is left, and a warning names the `keep_` rule
//!    that thereby loses one.
//!
//! Only good backups of the past feed the rules and count for the caps; a pinned one does both. The
//! others:
//!
//! - partial or damaged: kept until a newer good one of the label is there that stays, then removed
//!   under any policy;
//! - failed attempts: removed after [`FAILED_DAYS`] days, with or without a policy, as they hold no
//!   data;
//! - label [`PRE_RESTORE`]: these are pinned when made. Once unpinned, they are removed under any
//!   policy for that label, but not before there is a newer good backup of the source, under
//!   whatever label. No rule keeps them, no cap counts them.
//!
//! At last the kept set is closed over what backups need: one that a kept backup is built on stays,
//! whatever was decided about it, and a removal takes what is built on a backup before the backup.
//! The caps of a label count a good backup of it that stays only as one of the label, or one that
//! is always kept, needs it: they go on to the next oldest until what really stays is within them.
//!
//! A cleanup may stop anywhere: carrying out only some of the removals and deciding again at the
//! same moment never removes what was kept before (for `min_keep` of at least 1).

mod brake;
mod flawed;
mod needs;
mod policy;
mod rules;
#[cfg(test)]
mod tests;
mod way;

pub use brake::{Brake, ContentSummary, Jump, TableTotals, find_jumps, find_shrinkage};
pub use needs::dependents_first;
pub use policy::{Age, BrakePart, RetentionPolicy};
pub use way::{choose_base, is_full_due};

use self::flawed::{judge_doubted, judge_failed, judge_flawed, judge_pre_restore};
use self::needs::{find_bases, hold_bases};
use self::rules::{apply_caps, judge_good};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The label of the backups that a restore makes of what it is about to replace.
pub const PRE_RESTORE: &str = "pre-restore";

/// A failed attempt older than this many days is removed.
pub const FAILED_DAYS: u64 = 30;

const NO_POLICY: &str = "no policy: everything is kept";

/// One backup, or one attempt at one, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Unique within the source.
    pub id: String,
    /// When it was started: the moment that it shows.
    pub at: DateTime<Utc>,
    /// Whether its store, by its own clock, had it before that moment.
    pub dated_ahead: bool,
    /// Why it was made; rules count within one label.
    pub label: String,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// What it is worth.
    pub standing: Standing,
    /// Whether the user said to keep it.
    pub pinned: bool,
    /// Whether what is inside was found sound, by its content or by a restore.
    pub proven: bool,
    /// Whether a key is needed to read it.
    pub key: KeyNeed,
    /// The id of the backup that it is built on, without which it does not restore.
    pub needs: Option<String>,
}

/// Whether a key is needed to read a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNeed {
    /// None is.
    Plain,
    /// One is, and nobody has shown it to open this one.
    Unproven,
    /// One is, and it has opened this one.
    Proven,
}

/// What a backup is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Complete, and not found damaged since.
    Good,
    /// Restores, but lacks something.
    Partial,
    /// It holds far less than one before it, and nobody has said that this is right: it takes no
    /// other's place.
    Doubted,
    /// Found damaged since it was made.
    Damaged,
    /// An attempt that left no dump.
    Failed,
    /// A sidecar that can't be read or asks for more than this version knows: neither used nor
    /// removed.
    Unknown,
    /// No trusted key signed it: whoever made it, it takes no other's place, and only a user
    /// removes it.
    Untrusted,
    /// Its dump can't be looked at, and may be well.
    Unreachable,
    /// Its dump is not there, and no verification has called that damage: the disk that it is on
    /// may come back.
    Missing,
    /// Its dump is not as long as it was written, and no verification has called that damage.
    OtherLength,
    /// Its own dump is sound, and one that it is built on is not: an older copy of that file makes
    /// it good again, so only a user removes it.
    BaseDamaged,
}

/// What becomes of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for these reasons; never none.
    Keep(Vec<String>),
    /// It goes, for this reason.
    Remove(String),
}

/// The verdicts on all backups of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Ids with their verdicts, newest first; at the same moment the greater id first.
    pub verdicts: Vec<(String, Verdict)>,
    /// What the policy's author should know: caps that void `keep_` rules or can't be met.
    pub warnings: Vec<String>,
    /// Those of the removed that only their age removes: the id, when it was made, and the moment
    /// from which on it would have stayed.
    pub aged: Vec<(String, DateTime<Utc>, DateTime<Utc>)>,
    /// Each backup that is built on another one, with that one.
    pub needs: BTreeMap<String, String>,
}

/// Decides for the backups of one source, given in any order. `policy_for` tells the policy of a
/// label; for `None` or an empty one nothing but old failed attempts is removed.
pub fn decide<'a>(
    candidates: &[Candidate],
    policy_for: impl Fn(&str) -> Option<&'a RetentionPolicy>,
    now: DateTime<Utc>,
) -> Decision {
    let mut cases: Vec<Case> = candidates
        .iter()
        .map(|candidate| Case::new(candidate, now))
        .collect();
    cases.sort_by_key(|case| Reverse((case.candidate.at, case.candidate.id.as_str())));
    find_bases(&mut cases);
    let newest = hold_across_labels(&mut cases);

    let mut labels: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        labels
            .entry(case.candidate.label.as_str())
            .or_default()
            .push(at);
    }
    let policy_of = |label: &str| policy_for(label).filter(|policy| !policy.is_empty());
    for (label, members) in &labels {
        if *label != PRE_RESTORE {
            judge_good(&mut cases, members, policy_of(label));
        }
    }
    // Known of every label before any cap: what always stays.
    hold_bases(&mut cases);
    let mut warnings = Vec::new();
    for (label, members) in &labels {
        let policy = policy_of(label);
        if *label == PRE_RESTORE {
            judge_pre_restore(&mut cases, members, policy, newest);
        } else {
            if let Some(policy) = policy {
                warnings.extend(apply_caps(&mut cases, label, members, policy, now));
            }
            judge_flawed(&mut cases, members, policy);
            judge_doubted(&mut cases, members, policy);
        }
        judge_failed(&mut cases, members, now);
    }
    let aged = cases.iter().filter_map(Case::removed_by_age).collect();
    let needs = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.id.clone(), candidate.needs.clone()?)))
        .collect();
    let verdicts = cases
        .into_iter()
        .map(|case| (case.candidate.id.clone(), case.verdict()))
        .collect();
    let mut decision = Decision {
        verdicts,
        warnings,
        aged,
        needs,
    };
    decision.keep_what_is_needed();
    decision
}

/// A candidate on its way to a verdict.
struct Case<'c> {
    candidate: &'c Candidate,
    /// The place of the case that it is built on, where that is there.
    base: Option<usize>,
    /// Whether it lies in the past or the present.
    is_past: bool,
    /// Whether something that no rule overrules keeps it.
    is_held: bool,
    /// Why it stays.
    reasons: Vec<String>,
    /// Which of the policy's `keep_` rules take it, by their place in [`rules`].
    rules: Vec<usize>,
    /// Why it goes.
    removal: Option<String>,
    /// Made from this moment on, it would not go.
    edge: Option<DateTime<Utc>>,
}

impl<'c> Case<'c> {
    /// With what can be said from the candidate alone.
    fn new(candidate: &'c Candidate, now: DateTime<Utc>) -> Self {
        let mut case = Case {
            candidate,
            base: None,
            is_past: candidate.at <= now && !candidate.dated_ahead,
            is_held: false,
            reasons: Vec::new(),
            rules: Vec::new(),
            removal: None,
            edge: None,
        };
        if candidate.pinned {
            case.hold("pinned");
        }
        match candidate.standing {
            Standing::Unknown => case.hold("not understood: neither used nor removed"),
            Standing::Untrusted => case.hold("no trusted key signed it: neither used nor removed"),
            Standing::Unreachable => case.hold(
                "its dump can't be looked at now: neither used nor \
                removed",
            ),
            Standing::Missing => case.hold(
                "its dump, or one on its way, is not there and may come back: kept until a \
                verification finds it damaged",
            ),
            Standing::OtherLength => {
                case.hold(
                    "its dump has another length than was written: kept until a verification \
                           finds it damaged",
                );
            }
            Standing::BaseDamaged => case.hold(
                "a backup that it is built on is damaged, and an older copy of that file mends it: \
                 kept until it is deleted",
            ),
            Standing::Good
            | Standing::Partial
            | Standing::Doubted
            | Standing::Damaged
            | Standing::Failed => {}
        }
        if candidate.at > now {
            case.hold("timestamp in the future");
        } else if candidate.dated_ahead {
            case.hold("timestamp later than its store had it");
        }
        case
    }

    fn hold(&mut self, reason: impl Into<String>) {
        self.is_held = true;
        self.reasons.push(reason.into());
    }

    fn keep(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// Whether the rules and caps see it, and whether it may be the newest good backup.
    fn feeds(&self) -> bool {
        self.is_past
            && self.candidate.standing == Standing::Good
            && self.candidate.label != PRE_RESTORE
    }

    /// Gives it a verdict that its pin, or whatever else holds it, comes before.
    fn unless_held(&mut self, verdict: Verdict) {
        match verdict {
            _ if self.is_held => {}
            Verdict::Keep(reasons) => self.reasons.extend(reasons),
            Verdict::Remove(reason) => self.removal = Some(reason),
        }
    }

    /// What [`Decision::aged`] says of it.
    fn removed_by_age(&self) -> Option<(String, DateTime<Utc>, DateTime<Utc>)> {
        let edge = self.edge.filter(|_| self.removal.is_some())?;
        Some((self.candidate.id.clone(), self.candidate.at, edge))
    }

    fn verdict(self) -> Verdict {
        match self.removal {
            Some(reason) => Verdict::Remove(reason),
            None => Verdict::Keep(self.reasons),
        }
    }
}

/// Holds the newest good backup that needs no key, as long as no key has opened any: a key that was
/// lost, or never fitted, must not be found out on the day on which it is needed. After that the
/// newest one that a key has opened is held: without it nobody would know of the proof.
fn hold_plain(cases: &mut [Case]) {
    let is_proven = |case: &&mut Case| case.candidate.key == KeyNeed::Proven;
    if let Some(case) = cases.iter_mut().find(is_proven) {
        return case.hold("newest one that a key has opened");
    }
    let is_plain = |case: &&mut Case| case.feeds() && case.candidate.key == KeyNeed::Plain;
    let newest_needs_key = cases.iter().find(|case| case.feeds());
    if newest_needs_key.is_some_and(|case| case.candidate.key == KeyNeed::Unproven)
        && let Some(case) = cases.iter_mut().find(is_plain)
    {
        case.hold("newest one without encryption, as no key was proven yet");
    }
}

/// Holds the newest good backup, the newest proven one and the newest failed attempt of the source;
/// tells the place of the first.
fn hold_across_labels(cases: &mut [Case]) -> Option<usize> {
    let newest_good = cases.iter().position(Case::feeds);
    if let Some(at) = newest_good {
        cases[at].hold("newest good backup");
    }
    // What was damaged before it was saved is saved faithfully every night: the last backup that is
    // known to be sound must not make room for it.
    if let Some(case) = cases
        .iter_mut()
        .find(|case| case.feeds() && case.candidate.proven)
    {
        case.hold("newest backup proven by its content");
    }
    hold_plain(cases);
    if let Some(case) = cases
        .iter_mut()
        .find(|case| case.is_past && case.candidate.standing == Standing::Failed)
    {
        case.hold("newest failed attempt");
    }
    newest_good
}
