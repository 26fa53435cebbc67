//! Which backups of one source stay and which go, each with its reason. Pure: no files, no clock,
//! no configuration.
//!
//! What is decided here is deleted for good, so every doubt is decided for keeping. From the
//! strongest to the weakest:
//!
//! 1. **Always kept:** what is pinned, what can't be read, what lies in the future, what has a dump
//!    that is not at hand, the newest good backup of the source, the newest one that was proven by
//!    its content or by a restore, the newest failed attempt, and in each label the `min_keep`
//!    newest good ones. Nothing below overrules these.
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
//! A cleanup may stop anywhere: carrying out only some of the removals and deciding again at the
//! same moment never removes what was kept before (for `min_keep` of at least 1).

use crate::units::{self, Span};
use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

pub mod brake;
#[cfg(test)]
mod tests;

/// The label of the backups that a restore makes of what it is about to replace.
pub const PRE_RESTORE: &str = "pre-restore";

/// A failed attempt older than this many days is removed.
pub const FAILED_DAYS: u64 = 30;

const NO_POLICY: &str = "no policy: everything is kept";

/// One `[retention]` table; what is not set is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest this many.
    pub keep_last: Option<u32>,
    /// The newest of each of the last this many hours (UTC) that have one.
    pub keep_hourly: Option<u32>,
    /// The same of days.
    pub keep_daily: Option<u32>,
    /// The same of ISO weeks, which begin on Monday.
    pub keep_weekly: Option<u32>,
    /// The same of months.
    pub keep_monthly: Option<u32>,
    /// The same of years.
    pub keep_yearly: Option<u32>,
    /// All that are less than this older than the newest good backup of the label; one exactly this
    /// much older is not taken.
    pub keep_within: Option<Span>,
    /// Removes what is older than this at `now`; one exactly this old stays.
    pub max_age: Option<Span>,
    /// At most this many backups in the label.
    pub max_count: Option<u32>,
    /// At most this many bytes as stored, all backups of the label together; exactly this many
    /// stay.
    pub max_size: Option<u64>,
    /// This many of the newest good backups of each label stay whatever the rules say; `None` is 1.
    pub min_keep: Option<u32>,
    /// When nothing at all is removed.
    pub brake: brake::Brake,
}

impl Policy {
    /// Whether there is neither a `keep_` rule nor a `max_` cap, so that nothing would be removed.
    pub fn is_empty(&self) -> bool {
        rules(self).is_empty()
            && self.max_age.is_none()
            && self.max_count.is_none()
            && self.max_size.is_none()
    }

    fn periods(&self) -> [Period; 5] {
        let period = |count, word, format, number| Period {
            count,
            word,
            format,
            number,
        };
        [
            period(self.keep_hourly, "hourly", "%Y-%m-%d %Hh", |at| {
                at.timestamp().div_euclid(3600)
            }),
            period(self.keep_daily, "daily", "%Y-%m-%d", day),
            // 1970-01-01 was a Thursday: three days on, and the weeks begin on Monday as ISO's do.
            period(self.keep_weekly, "weekly", "%G-W%V", |at| {
                (day(at) + 3).div_euclid(7)
            }),
            period(self.keep_monthly, "monthly", "%Y-%m", |at| {
                i64::from(at.year()) * 12 + i64::from(at.month0())
            }),
            period(self.keep_yearly, "yearly", "%Y", |at| i64::from(at.year())),
        ]
    }
}

/// A rule that divides time into stretches of the calendar.
struct Period {
    count: Option<u32>,
    word: &'static str,
    /// How a stretch is written in a reason.
    format: &'static str,
    /// The stretch that a moment is in, as a number that grows with time.
    number: fn(DateTime<Utc>) -> i64,
}

/// Days since 1970 in UTC.
fn day(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(86_400)
}

/// One backup, or one attempt at one, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Unique within the source.
    pub id: String,
    /// When it was started: the moment that it shows.
    pub at: DateTime<Utc>,
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
    /// Its dump can't be looked at, and may be well.
    Unreachable,
    /// Its dump is not there, and no verification has called that damage: the disk that it is on
    /// may come back.
    Missing,
    /// Its dump is not as long as it was written, and no verification has called that damage.
    OtherLength,
}

/// What becomes of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for these reasons; never none.
    Keep(Vec<String>),
    /// It goes, for this reason.
    Remove(String),
}

/// What becomes of a source's backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Ids with their verdicts, newest first; at the same moment the greater id first.
    pub verdicts: Vec<(String, Verdict)>,
    /// What the policy's author should know: caps that void `keep_` rules or can't be met.
    pub warnings: Vec<String>,
    /// Those of the removed that only their age removes: the id, when it was made, and the moment
    /// from which on it would have stayed.
    pub aged: Vec<(String, DateTime<Utc>, DateTime<Utc>)>,
}

/// Decides for the backups of one source, given in any order. `policy_for` tells the policy of a
/// label; for `None` or an empty one nothing but old failed attempts is removed.
pub fn decide<'a>(
    candidates: &[Candidate],
    policy_for: impl Fn(&str) -> Option<&'a Policy>,
    now: DateTime<Utc>,
) -> Decision {
    let mut cases: Vec<Case> = candidates
        .iter()
        .map(|candidate| Case::new(candidate, now))
        .collect();
    cases.sort_by_key(|case| Reverse((case.of.at, case.of.id.as_str())));
    let newest = hold_across_labels(&mut cases);

    let mut labels: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        labels.entry(case.of.label.as_str()).or_default().push(at);
    }
    let mut warnings = Vec::new();
    for (label, members) in labels {
        let policy = policy_for(label).filter(|policy| !policy.is_empty());
        if label == PRE_RESTORE {
            judge_pre_restore(&mut cases, &members, policy, newest);
        } else {
            warnings.extend(judge_good(&mut cases, label, &members, policy, now));
            judge_flawed(&mut cases, &members, policy);
            judge_doubted(&mut cases, &members, policy);
        }
        judge_failed(&mut cases, &members, now);
    }
    let aged = |case: &Case<'_>| {
        let edge = case.edge.filter(|_| case.removal.is_some())?;
        Some((case.of.id.clone(), case.of.at, edge))
    };
    let aged = cases.iter().filter_map(aged).collect();
    let verdicts = cases
        .into_iter()
        .map(|case| (case.of.id.clone(), case.verdict()))
        .collect();
    Decision {
        verdicts,
        warnings,
        aged,
    }
}

/// A candidate on its way to a verdict.
struct Case<'c> {
    of: &'c Candidate,
    /// Whether it lies in the past or the present.
    past: bool,
    /// Whether something that no rule overrules keeps it.
    held: bool,
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
    fn new(of: &'c Candidate, now: DateTime<Utc>) -> Self {
        let mut case = Case {
            of,
            past: of.at <= now,
            held: false,
            reasons: Vec::new(),
            rules: Vec::new(),
            removal: None,
            edge: None,
        };
        if of.pinned {
            case.hold("pinned");
        }
        match of.standing {
            Standing::Unknown => case.hold("not understood: neither used nor removed"),
            Standing::Unreachable => case.hold(
                "its dump can't be looked at now: neither used nor \
                removed",
            ),
            Standing::Missing => case.hold(
                "its dump is not there and may come back: kept until a \
                verification finds it damaged",
            ),
            Standing::OtherLength => {
                case.hold(
                    "its dump has another length than was written: kept until a verification \
                           finds it damaged",
                );
            }
            Standing::Good
            | Standing::Partial
            | Standing::Doubted
            | Standing::Damaged
            | Standing::Failed => {}
        }
        if !case.past {
            case.hold("timestamp in the future");
        }
        case
    }

    fn hold(&mut self, reason: impl Into<String>) {
        self.held = true;
        self.reasons.push(reason.into());
    }

    fn keep(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// Whether the rules and caps see it, and whether it may be the newest good backup.
    fn feeds(&self) -> bool {
        self.past && self.of.standing == Standing::Good && self.of.label != PRE_RESTORE
    }

    /// Gives it a verdict that its pin, or whatever else holds it, comes before.
    fn unless_held(&mut self, verdict: Verdict) {
        match verdict {
            _ if self.held => {}
            Verdict::Keep(reasons) => self.reasons.extend(reasons),
            Verdict::Remove(reason) => self.removal = Some(reason),
        }
    }

    fn verdict(self) -> Verdict {
        match self.removal {
            Some(reason) => Verdict::Remove(reason),
            None => Verdict::Keep(self.reasons),
        }
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
    if let Some(case) = cases.iter_mut().find(|case| case.feeds() && case.of.proven) {
        case.hold("newest backup proven by its content");
    }
    if let Some(case) = cases
        .iter_mut()
        .find(|case| case.past && case.of.standing == Standing::Failed)
    {
        case.hold("newest failed attempt");
    }
    newest_good
}

/// The good backups of a label under its policy: minimum, rules, caps. Returns the warnings.
fn judge_good(
    cases: &mut [Case],
    label: &str,
    members: &[usize],
    policy: Option<&Policy>,
    now: DateTime<Utc>,
) -> Vec<String> {
    let good: Vec<usize> = members
        .iter()
        .copied()
        .filter(|&at| cases[at].feeds())
        .collect();
    let Some(policy) = policy else {
        good.iter().for_each(|&at| cases[at].keep(NO_POLICY));
        return Vec::new();
    };
    let minimum = policy.min_keep.unwrap_or(1);
    for &at in good.iter().take(minimum as usize) {
        cases[at].hold(format!("minimum of {minimum}"));
    }
    let rules = rules(policy);
    for (number, rule) in rules.iter().enumerate() {
        for (at, reason) in rule.takes(cases, &good) {
            cases[at].keep(reason);
            cases[at].rules.push(number);
        }
    }
    let within = good.first().and_then(|&newest| {
        policy
            .keep_within
            .map(|span| edge_of(&span, cases[newest].of.at))
    });
    for &at in &good {
        let case = &mut cases[at];
        if rules.is_empty() {
            case.keep("no keep_ rule: everything is kept");
        } else if case.reasons.is_empty() {
            case.removal = Some("no rule keeps it".into());
            case.edge = within;
        }
    }
    cap(cases, label, &good, &caps(policy, now), &rules)
}

/// One `keep_` rule of a policy.
enum Rule {
    Last(u32),
    Period(Period, u32),
    Within(Span),
}

/// The `keep_` rules of a policy, in the order in which reasons name them.
fn rules(policy: &Policy) -> Vec<Rule> {
    let last = policy.keep_last.map(Rule::Last);
    let periods = policy
        .periods()
        .into_iter()
        .filter_map(|period| period.count.map(|count| Rule::Period(period, count)));
    last.into_iter()
        .chain(periods)
        .chain(policy.keep_within.map(Rule::Within))
        .collect()
}

impl Rule {
    /// As the configuration writes it.
    fn setting(&self) -> String {
        match self {
            Rule::Last(count) => format!("keep_last = {count}"),
            Rule::Period(period, count) => format!("keep_{} = {count}", period.word),
            Rule::Within(span) => format!("keep_within = \"{span}\""),
        }
    }

    /// Those of `good` (places in `cases`, newest first) that the rule keeps, and why.
    fn takes(&self, cases: &[Case], good: &[usize]) -> Vec<(usize, String)> {
        match self {
            Rule::Last(count) => good
                .iter()
                .take(*count as usize)
                .map(|&at| (at, format!("last {count}")))
                .collect(),
            Rule::Period(period, count) => period.takes(*count, cases, good),
            Rule::Within(span) => {
                // From the newest backup and not from `now`, as in restic: a source that stopped
                // keeps its last days.
                let Some(&newest) = good.first() else {
                    return Vec::new();
                };
                let edge = edge_of(span, cases[newest].of.at);
                let inside = good.iter().take_while(|&&at| cases[at].of.at > edge);
                inside.map(|&at| (at, format!("within {span}"))).collect()
            }
        }
    }
}

/// The moment that long before `at`, as restic counts: a day that a month does not have is counted
/// on into the next one (a month before March 31st is March 3rd), where [`Span::before`] takes the
/// month's last.
fn edge_of(span: &Span, at: DateTime<Utc>) -> DateTime<Utc> {
    let months = i64::from(at.year()) * 12 + i64::from(at.month0()) - i64::from(span.months);
    let first = i32::try_from(months.div_euclid(12)).ok().and_then(|year| {
        let month = u32::try_from(months.rem_euclid(12)).unwrap_or(0) + 1;
        NaiveDate::from_ymd_opt(year, month, 1)
    });
    let days = TimeDelta::days(i64::from(at.day0()) - i64::from(span.days));
    let day = first.and_then(|first| first.checked_add_signed(days));
    let seconds = i64::try_from(span.seconds)
        .ok()
        .and_then(TimeDelta::try_seconds);
    let moment = day.and_then(|day| day.and_time(at.time()).checked_sub_signed(seconds?));
    moment.map_or(DateTime::<Utc>::MIN_UTC, |moment| moment.and_utc())
}

impl Period {
    /// The newest of each of the last `count` stretches that hold any.
    fn takes(&self, count: u32, cases: &[Case], good: &[usize]) -> Vec<(usize, String)> {
        let mut before = None;
        let heads = good.iter().copied().filter(|&at| {
            let stretch = (self.number)(cases[at].of.at);
            before.replace(stretch) != Some(stretch)
        });
        let reason = |at: usize| format!("{} {}", self.word, cases[at].of.at.format(self.format));
        heads
            .take(count as usize)
            .map(|at| (at, reason(at)))
            .collect()
    }
}

/// One `max_` cap of a policy.
struct Cap {
    /// As the configuration writes it.
    setting: String,
    /// Why what is over it goes.
    reason: String,
    limit: Limit,
}

enum Limit {
    /// Nothing from before this moment.
    From(DateTime<Utc>),
    Count(u32),
    Bytes(u64),
}

/// The caps of a policy, in the order in which they are applied.
fn caps(policy: &Policy, now: DateTime<Utc>) -> Vec<Cap> {
    let age = policy.max_age.map(|age| Cap {
        setting: format!("max_age = \"{age}\""),
        reason: format!("older than {age}"),
        limit: Limit::From(age.before(now)),
    });
    let count = policy.max_count.map(|count| Cap {
        setting: format!("max_count = {count}"),
        reason: format!("over max_count {count}"),
        limit: Limit::Count(count),
    });
    let size = policy.max_size.map(|bytes| Cap {
        setting: format!("max_size = \"{}\"", units::size(bytes)),
        reason: format!("over max_size {}", units::size(bytes)),
        limit: Limit::Bytes(bytes),
    });
    [age, count, size].into_iter().flatten().collect()
}

impl Cap {
    /// Those of `alive` (places in `cases`, oldest first) that must go, and the bytes of the rest.
    /// What is held counts, as it is there and takes its space, but never goes.
    fn over(&self, cases: &[Case], alive: &[usize]) -> (Vec<usize>, u128) {
        let mut count = alive.len();
        let mut bytes: u128 = alive
            .iter()
            .map(|&at| u128::from(cases[at].of.size_bytes))
            .sum();
        let mut over = Vec::new();
        for &at in alive.iter().filter(|&&at| !cases[at].held) {
            let within = match self.limit {
                Limit::From(edge) => cases[at].of.at >= edge,
                Limit::Count(most) => count <= most as usize,
                Limit::Bytes(most) => bytes <= u128::from(most),
            };
            if within {
                break;
            }
            count -= 1;
            bytes -= u128::from(cases[at].of.size_bytes);
            over.push(at);
        }
        (over, bytes)
    }
}

/// Applies the caps to what the rules left of `good` (newest first). Returns the warnings.
fn cap(
    cases: &mut [Case],
    label: &str,
    good: &[usize],
    caps: &[Cap],
    rules: &[Rule],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for cap in caps {
        let alive: Vec<usize> = good
            .iter()
            .rev()
            .copied()
            .filter(|&at| cases[at].removal.is_none())
            .collect();
        let (over, bytes) = cap.over(cases, &alive);
        let voided: BTreeSet<usize> = over
            .iter()
            .flat_map(|&at| cases[at].rules.iter().copied())
            .collect();
        for rule in voided {
            let rule = rules[rule].setting();
            warnings.push(format!(
                "{} removes backups labelled `{label}` that {rule} would keep",
                cap.setting
            ));
        }
        let edge = if let Limit::From(edge) = cap.limit {
            Some(edge)
        } else {
            None
        };
        for &at in &over {
            (cases[at].removal, cases[at].edge) = (Some(cap.reason.clone()), edge);
        }
        // Only of the bytes: they fill a disk. A count or an age that what is pinned exceeds was
        // the user's own wish.
        if matches!(cap.limit, Limit::Bytes(most) if bytes > u128::from(most)) {
            let bytes = units::size(u64::try_from(bytes).unwrap_or(u64::MAX));
            let text = format!(
                "{} is exceeded: what always stays of the backups labelled `{label}` takes {bytes}",
                cap.setting
            );
            warnings.push(text);
        }
    }
    warnings
}

/// The partial and damaged backups of a label: they wait for a newer good one, which must be one
/// that stays.
fn judge_flawed(cases: &mut [Case], members: &[usize], policy: Option<&Policy>) {
    let newest_good = members
        .iter()
        .copied()
        .find(|&at| cases[at].feeds() && cases[at].removal.is_none());
    for &at in members {
        let what = match cases[at].of.standing {
            Standing::Partial => "partial",
            Standing::Damaged => "damaged",
            // What can't be told is held.
            Standing::Good
            | Standing::Doubted
            | Standing::Failed
            | Standing::Unknown
            | Standing::Unreachable
            | Standing::Missing
            | Standing::OtherLength => continue,
        };
        let superseded = newest_good.is_some_and(|newest| newest < at);
        cases[at].unless_held(match (policy, superseded) {
            (None, _) => Verdict::Keep(vec![NO_POLICY.into()]),
            (Some(_), false) => Verdict::Keep(vec![format!(
                "{what}, but no newer good one of its label exists"
            )]),
            (Some(_), true) => Verdict::Remove(format!("{what}, and a newer good one exists")),
        });
    }
}

/// Those that held the brake: each stays as long as an older good one of its label does, and feeds
/// no rule. Else the backups of an emptied database would take the places of the full ones as soon
/// as the data is back.
fn judge_doubted(cases: &mut [Case], members: &[usize], policy: Option<&Policy>) {
    let oldest_good = members
        .iter()
        .copied()
        .rfind(|&at| cases[at].feeds() && cases[at].removal.is_none());
    for &at in members {
        if cases[at].of.standing != Standing::Doubted {
            continue;
        }
        cases[at].unless_held(match policy {
            None => Verdict::Keep(vec![NO_POLICY.into()]),
            Some(_) if oldest_good.is_some_and(|oldest| oldest < at) => Verdict::Remove(
                "held far less than the one before, and only newer ones are kept".into(),
            ),
            Some(_) => Verdict::Keep(vec![
                "held far less than the one before: it feeds no rule".into(),
            ]),
        });
    }
}

/// What restores have set aside, `newest_good` being the place of the source's newest good backup.
fn judge_pre_restore(
    cases: &mut [Case],
    members: &[usize],
    policy: Option<&Policy>,
    newest_good: Option<usize>,
) {
    for &at in members {
        if matches!(cases[at].of.standing, Standing::Failed | Standing::Unknown) {
            continue;
        }
        // The pin is in a file whose loss must lose no backup: the newest state of the data
        // survives it.
        let superseded = newest_good.is_some_and(|newest| newest < at);
        cases[at].unless_held(match (policy, superseded) {
            (None, _) => Verdict::Keep(vec![NO_POLICY.into()]),
            (Some(_), false) => Verdict::Keep(vec![
                "pre-restore backup, and no newer good one exists".into(),
            ]),
            (Some(_), true) => Verdict::Remove("pre-restore backup, unpinned".into()),
        });
    }
}

/// The failed attempts of a label: removed when old, one of exactly [`FAILED_DAYS`] not yet.
fn judge_failed(cases: &mut [Case], members: &[usize], now: DateTime<Utc>) {
    let edge = now
        .checked_sub_days(Days::new(FAILED_DAYS))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    for &at in members {
        if cases[at].of.standing != Standing::Failed {
            continue;
        }
        let old = cases[at].of.at < edge;
        cases[at].unless_held(if old {
            Verdict::Remove(format!("failed attempt older than {FAILED_DAYS} days"))
        } else {
            Verdict::Keep(vec![format!(
                "failed attempt of the last {FAILED_DAYS} days"
            )])
        });
    }
}
