//! Is every source fresh and proven? Judged as a pure function: what a store remembers, what is
//! expected of each source, the time. No files, no clock, no configuration.
//!
//! - **Critical:** no good backup; the newest good one is older than `expect_every`; the newest one
//!   is damaged.
//! - **Unknown:** the newest backup's dump can't be looked at.
//! - **Warning:** a database has vanished from its server; the last attempt failed or is
//!   incomplete; no proof within `prove_every`; the newest good backup holds less than half of the
//!   one before; retention is held back for a backup that lost much; a dump is not there or can't
//!   be looked at, which a disk that is away explains; the store has less free space than the next
//!   backups will need.
//!
//! A backup's age is counted from its end, so that one that takes hours is not overdue while the
//! next one runs. A proof is a trial restore (a verification of level `restore` that found the
//! backup sound) of any of the source's backups: it shows that what this source's backups are made
//! with restores. What is wrong with older backups, and what restores left behind, is told and
//! alarms nobody.

use crate::units::{self, Span};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// How bad it is, with the words and exit codes of Nagios plug-ins; the worst comes last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    #[default]
    Ok,
    /// Somebody should look.
    Warning,
    /// It could not be found out.
    Unknown,
    /// There may be nothing to restore.
    Critical,
}

impl Level {
    /// As Nagios writes it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        }
    }

    /// As Nagios numbers it.
    pub fn code(self) -> u8 {
        match self {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Critical => 2,
            Level::Unknown => 3,
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// For people, without the source's name.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    fn new(level: Level, text: String) -> Self {
        Finding {
            level,
            text,
            hint: None,
        }
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Finding {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Whether backups of a source are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// They are.
    Yes,
    /// They are, from this moment on.
    From(DateTime<Utc>),
    /// It stands for others: only that its last run failed is its own.
    InMembers,
    /// It is not where it was any more, and nobody has said that this is right.
    Vanished,
    /// They are not, for this reason.
    No(&'static str),
}

/// A source, with all that is known of it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Its name.
    pub name: String,
    /// Whether `backup` knows it by this name.
    pub configured: bool,
    /// Whether backups of it are expected.
    pub expected: Expected,
    /// How old the newest good backup may be.
    pub expect_every: Span,
    /// How long ago the last proof may be; none: no proof is asked for.
    pub prove_every: Option<Span>,
    /// Every attempt, newest first.
    pub attempts: Vec<Attempt<'a>>,
    /// Why retention removes nothing, where its brake holds.
    pub held: Option<String>,
    /// What restores left, each in a few words.
    pub leftovers: Vec<String>,
}

/// One attempt at a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt<'a> {
    /// Its id.
    pub id: &'a str,
    /// Why it was made.
    pub label: &'a str,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// What it is worth.
    pub worth: Worth<'a>,
    /// Bytes in the store.
    pub stored: u64,
    /// Bytes before compression.
    pub content: u64,
    /// Rows of all tables; of a database only.
    pub rows: Option<u64>,
    /// Of a tree of files only.
    pub files: Option<u64>,
    /// When it was last restored for trial, and came back whole.
    pub proven: Option<DateTime<Utc>>,
    /// A safety copy of a restore: no backup that anybody asked for.
    pub safety_copy: bool,
    /// Its dump is not at hand, or not as long as it was written, and no verification has called
    /// that damage: retention keeps it.
    pub absent: bool,
}

/// What an attempt is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth<'a> {
    /// Whole, and not found damaged since.
    Good,
    /// It lacks something.
    Partial,
    /// It is not what was written, for this reason.
    Damaged(String),
    /// Its sidecar was written by a newer version.
    Newer(&'a str),
    /// Its dump can't be looked at, for this reason.
    Unreachable(String),
    /// There is no dump.
    Failed {
        /// Why.
        error: &'a str,
        /// What to do about it.
        hint: Option<&'a str>,
    },
}

impl Attempt<'_> {
    fn is_good(&self) -> bool {
        self.worth == Worth::Good && !self.safety_copy
    }
}

/// A source's state.
#[derive(Debug, Clone)]
pub struct Health<'a> {
    /// The worst of the findings.
    pub level: Level,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// The newest good backup.
    pub newest: Option<Attempt<'a>>,
    /// The good one before it.
    pub before: Option<Attempt<'a>>,
    /// The last attempt, however it ended.
    pub last: Option<Attempt<'a>>,
    /// The last failed attempt.
    pub failure: Option<Attempt<'a>>,
    /// The last proof, and of which backup it was.
    pub proof: Option<(DateTime<Utc>, &'a str)>,
    /// Good backups by label.
    pub labels: BTreeMap<&'a str, u64>,
    /// Failed attempts that the store remembers.
    pub failures: u64,
    /// Backups that were found damaged.
    pub damaged: u64,
    /// Bytes of all its dumps.
    pub stored: u64,
}

/// Judges one source.
pub fn judge<'a>(subject: &Subject<'a>, now: DateTime<Utc>) -> Health<'a> {
    // What a wrong clock dated ahead must not pass for fresh.
    let own = || {
        subject
            .attempts
            .iter()
            .filter(|attempt| !attempt.safety_copy && !is_ahead(attempt, now))
    };
    let mut good = own().filter(|attempt| attempt.is_good());
    let mut labels = BTreeMap::new();
    for attempt in subject
        .attempts
        .iter()
        .filter(|attempt| attempt.worth == Worth::Good)
    {
        *labels.entry(attempt.label).or_default() += 1;
    }
    let proven = subject
        .attempts
        .iter()
        .filter_map(|attempt| Some((attempt.proven?, attempt.id)));
    let failed = || own().filter(|attempt| matches!(attempt.worth, Worth::Failed { .. }));
    let mut health = Health {
        level: Level::Ok,
        findings: Vec::new(),
        newest: good.next().cloned(),
        before: good.next().cloned(),
        last: own().next().cloned(),
        failure: failed().next().cloned(),
        proof: proven.max(),
        labels,
        failures: failed().count() as u64,
        damaged: own()
            .filter(|attempt| matches!(attempt.worth, Worth::Damaged(_)))
            .count() as u64,
        stored: units::total(subject.attempts.iter().map(|attempt| attempt.stored)),
    };
    if !matches!(subject.expected, Expected::No(_)) {
        health.findings = findings(subject, &health, now);
        health
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.level));
        health.level = health
            .findings
            .first()
            .map_or(Level::Ok, |finding| finding.level);
    }
    health
}

fn findings(subject: &Subject<'_>, health: &Health<'_>, now: DateTime<Utc>) -> Vec<Finding> {
    let mut found = Vec::new();
    if subject.expected == Expected::Vanished {
        let text =
            "it is not on the server any more, and nobody has said that this is right".to_owned();
        return vec![
            Finding::new(Level::Warning, text)
                .with_hint("if it is, leave it out: `exclude_databases` of its cluster"),
        ];
    }
    if subject.expected != Expected::InMembers {
        found.extend(damage(subject, now));
        found.extend(absence(subject, now));
        found.extend(ahead(subject, now));
        found.extend(freshness(subject, health, now));
        found.extend(proof(subject, health, now));
        // Both compare the newest backup with an earlier one: what keeps all the others says more.
        found.extend(held(subject).or_else(|| shrinking(health)));
    }
    found.extend(last_attempt(subject, health, now));
    found
}

impl Subject<'_> {
    /// What makes a backup of it.
    fn again(&self) -> String {
        match self.configured {
            true => format!("`dbbackup backup {}`", self.name),
            false => "back it up again by its path or address".to_owned(),
        }
    }
}

/// How far two machines' clocks may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

fn is_ahead(attempt: &Attempt<'_>, now: DateTime<Utc>) -> bool {
    attempt.ended > now + CLOCKS_APART
}

fn ahead(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let first = subject
        .attempts
        .iter()
        .find(|attempt| is_ahead(attempt, now))?;
    let text = format!(
        "{} is dated ahead, {}: a clock was wrong then, or is now",
        first.id,
        units::stamp(first.ended)
    );
    Some(Finding::new(Level::Warning, text).with_hint(format!(
        "mend the clock; if it was wrong then, the backup is as good as others: `dbbackup \
             restore {}`",
        first.id
    )))
}

/// The newest backup, good or not.
fn newest_of<'s, 'a>(subject: &'s Subject<'a>, now: DateTime<Utc>) -> Option<&'s Attempt<'a>> {
    let counts = |attempt: &&Attempt<'a>| {
        !attempt.safety_copy
            && !is_ahead(attempt, now)
            && !matches!(attempt.worth, Worth::Failed { .. })
    };
    subject.attempts.iter().find(counts)
}

/// The dumps of older backups that are not at hand: a disk may be away, or somebody may have
/// removed them.
fn absence(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let newest = newest_of(subject, now).map(|newest| newest.id);
    let absent: Vec<&Attempt<'_>> = subject
        .attempts
        .iter()
        .filter(|attempt| attempt.absent && Some(attempt.id) != newest)
        .collect();
    let first = absent.first()?;
    let text = match absent.len() as u64 {
        1 => format!(
            "the dump of {} is not there or can't be looked at",
            first.id
        ),
        count => format!(
            "the dumps of {count} backups, the newest {}, are not there or can't be looked at",
            first.id
        ),
    };
    Some(Finding::new(Level::Warning, text).with_hint(format!(
        "mount the disk that they are on; if they are gone: `dbbackup delete {}`, or `dbbackup \
         verify {}`, and cleanup removes what is damaged",
        first.id, first.id
    )))
}

/// The newest backup: a damaged one must not hide behind an older good one.
fn damage(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let newest = newest_of(subject, now)?;
    let age = units::age(newest.ended, now);
    match &newest.worth {
        Worth::Damaged(why) => Some(
            Finding::new(
                Level::Critical,
                format!(
                    "its newest backup, made {age}, is damaged: \
                {why}"
                ),
            )
            .with_hint(format!(
                "take a new one: {}; `dbbackup list {}` shows the good ones",
                subject.again(),
                subject.name
            )),
        ),
        Worth::Unreachable(why) => Some(
            Finding::new(
                Level::Unknown,
                format!(
                    "its newest backup, made {age}, can't be judged: \
                {why}"
                ),
            )
            .with_hint(
                "look at the store's disk (`dmesg`), or mount what it is on; nothing is \
                       removed meanwhile",
            ),
        ),
        Worth::Newer(why) => Some(Finding::new(
            Level::Warning,
            format!(
                "its newest backup, made \
            {age}, can't be judged: {why}"
            ),
        )),
        Worth::Partial => Some(
            Finding::new(
                Level::Warning,
                format!("its newest backup, made {age}, is incomplete"),
            )
            .with_hint(format!("`dbbackup show {}` says what it lacks", newest.id)),
        ),
        Worth::Good | Worth::Failed { .. } => None,
    }
}

fn freshness(subject: &Subject<'_>, health: &Health<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let edge = subject.expect_every.before(now);
    // It may well be good.
    if newest_of(subject, now)
        .is_some_and(|newest| matches!(newest.worth, Worth::Unreachable(_)) && newest.ended >= edge)
    {
        return None;
    }
    let mut hint = format!("{}; then look at what should have run it", subject.again());
    let Some(newest) = &health.newest else {
        let mistaken = subject
            .attempts
            .iter()
            .filter(|_| !subject.configured)
            .map(|attempt| format!(" {}", attempt.id));
        let mistaken: String = mistaken.collect();
        if !mistaken.is_empty() {
            hint = format!(
                "{}; if it was never meant: `dbbackup delete{mistaken} --yes`",
                subject.again()
            );
        }
        return match subject.expected {
            Expected::From(start) if start > edge => None,
            _ => Some(
                Finding::new(Level::Critical, "there is no good backup".into()).with_hint(hint),
            ),
        };
    };
    let age = units::age(newest.ended, now);
    let late = || {
        format!(
            "its newest good backup was made {age}, one is expected every {}",
            subject.expect_every
        )
    };
    (newest.ended < edge).then(|| Finding::new(Level::Critical, late()).with_hint(hint))
}

fn proof(subject: &Subject<'_>, health: &Health<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let every = subject.prove_every?;
    let text = match health.proof {
        // Where there is nothing to prove that is said already.
        None if health.newest.is_none() => return None,
        None => format!("no backup was ever proven by a restore, one is to be every {every}"),
        Some((at, _)) if at < every.before(now) => {
            format!(
                "a restore was last proven {}, one is to be every {every}",
                units::age(at, now)
            )
        }
        Some(_) => return None,
    };
    Some(Finding::new(Level::Warning, text).with_hint(format!(
        "`dbbackup verify {} --level restore`",
        subject.name
    )))
}

fn held(subject: &Subject<'_>) -> Option<Finding> {
    let why = subject.held.as_ref()?;
    let hint = format!(
        "if that is right: `dbbackup cleanup --force {}`; if not, look at the source: the older \
         backups are all there",
        subject.name
    );
    Some(
        Finding::new(
            Level::Warning,
            format!("retention is held back and removes nothing: {why}"),
        )
        .with_hint(hint),
    )
}

fn shrinking(health: &Health<'_>) -> Option<Finding> {
    let (new, old) = (health.newest.as_ref()?, health.before.as_ref()?);
    let halved = |new: u64, old: u64| new < old.div_ceil(2);
    let counted = |new: Option<u64>, old: Option<u64>, what: &str| {
        let (new, old) = (new?, old?);
        halved(new, old).then(|| (units::count(new, what), units::thousands(old)))
    };
    let measured = || {
        halved(new.content, old.content)
            .then(|| (units::size(new.content), units::size(old.content)))
    };
    let shrank = counted(new.rows, old.rows, "row")
        .or_else(|| counted(new.files, old.files, "file"))
        .or_else(measured);
    let (holds, held) = shrank?;
    let text = format!("its newest backup holds {holds}, the one before held {held}");
    Some(
        Finding::new(Level::Warning, text)
            .with_hint("look at the source; until that is cleared up, cleanup removes nothing"),
    )
}

fn last_attempt(subject: &Subject<'_>, health: &Health<'_>, now: DateTime<Utc>) -> Option<Finding> {
    let last = health.last.as_ref()?;
    let Worth::Failed { error, hint } = &last.worth else {
        return None;
    };
    let failed = subject
        .attempts
        .iter()
        .filter(|attempt| !attempt.safety_copy);
    let row = failed
        .take_while(|attempt| matches!(attempt.worth, Worth::Failed { .. }))
        .count() as u64;
    let age = units::age(last.ended, now);
    let text = if row > 1 {
        format!("the last {row} attempts failed, the last one {age}: {error}")
    } else {
        format!("the last attempt failed {age}: {error}")
    };
    let finding = Finding::new(Level::Warning, text);
    Some(match hint {
        Some(hint) => finding.with_hint(*hint),
        None => finding,
    })
}

/// Whether the store has room for the next backups, which are expected to be as large as the last
/// ones.
pub fn space(free: Option<u64>, needed: u64) -> Option<Finding> {
    let free = free?;
    (free < needed).then(|| {
        let text = format!(
            "{} free, the next backups will need about {}",
            units::size(free),
            units::size(needed)
        );
        Finding::new(Level::Warning, text)
            .with_hint("`dbbackup cleanup --dry-run` says what the retention policy would free")
    })
}
