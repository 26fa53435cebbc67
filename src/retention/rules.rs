//! What a policy says of the good backups of a label: its minimum, its `keep_` rules, its `max_`
//! caps.

use super::needs::with_bases;
use super::{Case, NO_POLICY, RetentionPolicy};
use crate::units::{self, Span};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use std::collections::BTreeSet;

/// The good backups among these members of a label.
fn good_of(cases: &[Case], members: &[usize]) -> Vec<usize> {
    let members = members.iter().copied();
    members.filter(|&at| cases[at].feeds()).collect()
}

/// Judges the good backups of a label by its policy's minimum and rules.
pub(super) fn judge_good(cases: &mut [Case], members: &[usize], policy: Option<&RetentionPolicy>) {
    let good = good_of(cases, members);
    let Some(policy) = policy else {
        good.iter().for_each(|&at| cases[at].keep(NO_POLICY));
        return;
    };
    let minimum = policy.min_keep;
    for &at in good.iter().take(minimum as usize) {
        cases[at].hold(format!("minimum of {minimum}"));
    }
    let rules = rules_of(policy);
    for (number, rule) in rules.iter().enumerate() {
        for (at, reason) in rule.takes(cases, &good) {
            cases[at].keep(reason);
            cases[at].rules.push(number);
        }
    }
    let within = good.first().and_then(|&newest| {
        policy
            .keep_within
            .map(|span| edge_of(&span, cases[newest].candidate.at))
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
}

/// One `keep_` rule of a policy.
pub(super) enum Rule {
    Last(u32),
    Period(Period, u32),
    Within(Span),
}

/// The `keep_` rules of a policy, in the order in which reasons name them.
pub(super) fn rules_of(policy: &RetentionPolicy) -> Vec<Rule> {
    let last = policy.keep_last.map(Rule::Last);
    let periods = periods_of(policy)
        .into_iter()
        .filter_map(|period| period.count.map(|count| Rule::Period(period, count)));
    last.into_iter()
        .chain(periods)
        .chain(policy.keep_within.map(Rule::Within))
        .collect()
}

/// The rules and caps of a policy as the configuration writes them.
pub(super) fn written_rules(policy: &RetentionPolicy) -> Vec<String> {
    let rules = rules_of(policy);
    // What the caps say does not depend on the moment.
    let caps = caps_of(policy, DateTime::UNIX_EPOCH);
    let caps = caps.into_iter().map(|cap| cap.setting);
    rules.iter().map(Rule::setting).chain(caps).collect()
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
                let edge = edge_of(span, cases[newest].candidate.at);
                let inside = good.iter().take_while(|&&at| cases[at].candidate.at > edge);
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

/// A rule that divides time into stretches of the calendar.
pub(super) struct Period {
    /// How many stretches the policy keeps.
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

/// The periods that a policy can have rules for, the shortest first.
fn periods_of(policy: &RetentionPolicy) -> [Period; 5] {
    let period = |count, word, format, number| Period {
        count,
        word,
        format,
        number,
    };
    [
        period(policy.keep_hourly, "hourly", "%Y-%m-%d %Hh", |at| {
            at.timestamp().div_euclid(3600)
        }),
        period(policy.keep_daily, "daily", "%Y-%m-%d", day),
        // 1970-01-01 was a Thursday: three days on, and the weeks begin on Monday as ISO's do.
        period(policy.keep_weekly, "weekly", "%G-W%V", |at| {
            (day(at) + 3).div_euclid(7)
        }),
        period(policy.keep_monthly, "monthly", "%Y-%m", |at| {
            i64::from(at.year()) * 12 + i64::from(at.month0())
        }),
        period(policy.keep_yearly, "yearly", "%Y", |at| {
            i64::from(at.year())
        }),
    ]
}

impl Period {
    /// The newest of each of the last `count` stretches that hold any.
    fn takes(&self, count: u32, cases: &[Case], good: &[usize]) -> Vec<(usize, String)> {
        let mut before = None;
        let heads = good.iter().copied().filter(|&at| {
            let stretch = (self.number)(cases[at].candidate.at);
            before.replace(stretch) != Some(stretch)
        });
        let reason = |at: usize| {
            format!(
                "{} {}",
                self.word,
                cases[at].candidate.at.format(self.format)
            )
        };
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
fn caps_of(policy: &RetentionPolicy, now: DateTime<Utc>) -> Vec<Cap> {
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

/// What a cap does to the backups of a label.
struct CapEffect {
    /// Places in `cases` of those that must go, oldest first.
    over: Vec<usize>,
    /// Tells of each case whether it stays all the same, for what it is or for what needs it.
    stays: Vec<bool>,
    /// The bytes of those that stay.
    bytes: u128,
}

impl Cap {
    /// What it does to `good` (places in `cases`, newest first). What is held counts, as it is
    /// there and takes its space, but never goes; so does what something needs that stays.
    fn effect(&self, cases: &[Case], good: &[usize]) -> CapEffect {
        let alive = || good.iter().rev().filter(|&&at| cases[at].removal.is_none());
        let loose: Vec<usize> = alive().copied().filter(|&at| !cases[at].is_held).collect();
        let held = || (0..cases.len()).filter(|&at| cases[at].is_held);
        // So many of the oldest gone.
        let without = |gone: usize| {
            let stays = with_bases(cases, held().chain(loose[gone..].iter().copied()));
            let sizes = good.iter().filter(|&&at| stays[at]);
            let bytes = sizes.map(|&at| u128::from(cases[at].candidate.size_bytes));
            let (count, bytes) = bytes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
            (stays, count, bytes)
        };
        let is_over = |gone: usize| match self.limit {
            Limit::From(edge) => cases[loose[gone]].candidate.at < edge,
            Limit::Count(most) => without(gone).1 > most as usize,
            Limit::Bytes(most) => without(gone).2 > u128::from(most),
        };
        let numbers: Vec<usize> = (0..loose.len()).collect();
        let gone = numbers.partition_point(|&gone| is_over(gone));
        let (stays, _, bytes) = without(gone);
        CapEffect {
            over: loose[..gone].to_vec(),
            stays,
            bytes,
        }
    }
}

/// Applies a policy's caps to what its rules left of the good backups of a label. Returns the
/// warnings.
pub(super) fn apply_caps(
    cases: &mut [Case],
    label: &str,
    members: &[usize],
    policy: &RetentionPolicy,
    now: DateTime<Utc>,
) -> Vec<String> {
    let (good, rules) = (good_of(cases, members), rules_of(policy));
    let mut warnings = Vec::new();
    for cap in caps_of(policy, now) {
        let CapEffect { over, stays, bytes } = cap.effect(cases, &good);
        let gone = over.iter().filter(|&&at| !stays[at]);
        let voided: BTreeSet<usize> = gone
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
