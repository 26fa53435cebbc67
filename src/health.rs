//! Is every source fresh and proven? Judged as a pure function: what a store remembers, what is
//! expected of each source, the time. No files, no clock, no configuration.
//!
//! - **Critical:** no good backup; the newest good one is older than `expect_every`; the newest one
//!   is damaged.
//! - **Unknown:** the newest backup's dump can't be looked at.
//! - **Warning:** a backup or an event that no trusted key signed; a backup that a later one names
//!   and that is not there; a database has vanished from its server; the last attempt failed or is
//!   incomplete; no proof within `prove_every`; the newest good backup holds less than half of the
//!   one before; retention is held back for a backup that lost much; a dump is not there or can't
//!   be looked at, which a disk that is away explains; the store has less free space than the next
//!   backups will need; a store of copies lacks a backup for longer than `expect_every`, does not
//!   list one that was copied there, or does not answer; the last copy failed.
//!
//! A backup's age is counted from its end, so that one that takes hours is not overdue while the
//! next one runs. A proof is a trial restore (a verification of level `restore` that found the
//! backup sound) of any of the source's backups: it shows that what this source's backups are made
//! with restores. What is wrong with older backups, and what restores left behind, is told and
//! alarms nobody.

use self::findings::{findings, is_ahead};
use crate::error::Hint;
use crate::units::{self, Span};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

mod copies;
mod findings;
#[cfg(test)]
mod tests;

pub use copies::{CopiedBackup, CopySubject, unreachable};
pub use findings::space;

/// How bad it is, with the words and exit codes of Nagios plug-ins; the worst comes last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthLevel {
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

impl HealthLevel {
    /// As Nagios writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthLevel::Ok => "OK",
            HealthLevel::Warning => "WARNING",
            HealthLevel::Critical => "CRITICAL",
            HealthLevel::Unknown => "UNKNOWN",
        }
    }

    /// As Nagios numbers it.
    pub fn code(self) -> u8 {
        match self {
            HealthLevel::Ok => 0,
            HealthLevel::Warning => 1,
            HealthLevel::Critical => 2,
            HealthLevel::Unknown => 3,
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFinding {
    /// How bad it is.
    pub level: HealthLevel,
    /// For people, without the source's name.
    pub text: String,
    /// What to do about it.
    pub hint: Option<Hint>,
}

impl HealthFinding {
    fn new(level: HealthLevel, text: String) -> Self {
        HealthFinding {
            level,
            text,
            hint: None,
        }
    }

    fn with_hint(self, hint: impl Into<Hint>) -> Self {
        HealthFinding {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Whether backups of a source are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
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
    pub expected: Expectation,
    /// How old the newest good backup may be.
    pub expect_every: Span,
    /// How long ago the last proof may be; none: no proof is asked for.
    pub prove_every: Option<Span>,
    /// How long ago a private key must have been shown to open a backup; none: it need not.
    pub prove_key_every: Option<Span>,
    /// Every attempt, newest first.
    pub attempts: Vec<JudgedAttempt<'a>>,
    /// Why retention removes nothing, where its brake holds.
    pub held: Option<String>,
    /// What restores left, each in a few words.
    pub leftovers: Vec<Hint>,
    /// Its copies, one for each store that is to have them.
    pub copies: Vec<CopySubject<'a>>,
    /// What is wrong with the backups that later ones name: an id, and the rest of the sentence.
    pub chain_faults: Vec<(String, String)>,
    /// How many events do not count, as no trusted key signed them.
    pub ignored_events: usize,
}

/// A trial restore that came back whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// Of which backup.
    pub id: &'a str,
    /// On which host, where that is known.
    pub host: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
}

/// One attempt at a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedAttempt<'a> {
    /// Its id.
    pub id: &'a str,
    /// Why it was made.
    pub label: &'a str,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// What it is worth.
    pub worth: AttemptWorth<'a>,
    /// Bytes in the store.
    pub stored: u64,
    /// It is the difference from an earlier one: its size tells nothing of how the source grows.
    pub is_delta: bool,
    /// Bytes before compression.
    pub content: u64,
    /// Rows of all tables; of a database only.
    pub rows: Option<u64>,
    /// Of a tree of files only.
    pub files: Option<u64>,
    /// When it was last restored for trial, and came back whole.
    pub proof: Option<Proof<'a>>,
    /// Whether a key is needed to read it.
    pub encrypted: bool,
    /// When a private key last opened it.
    pub key_proven: Option<DateTime<Utc>>,
    /// It says that it was made later than its store had it.
    pub dated_ahead: bool,
    /// A safety copy of a restore: no backup that anybody asked for.
    pub safety_copy: bool,
    /// Its dump is not at hand, or not as long as it was written, and no verification has called
    /// that damage: retention keeps it.
    pub absent: bool,
}

/// What an attempt is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptWorth<'a> {
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
    /// No trusted key signed it, for this reason.
    Untrusted(String),
    /// There is no dump.
    Failed {
        /// Why.
        error: &'a str,
        /// What to do about it.
        hint: Option<Hint>,
    },
}

impl JudgedAttempt<'_> {
    /// Whether it counts for anything: a trusted key signed it, where one is asked for.
    fn counts(&self) -> bool {
        !matches!(self.worth, AttemptWorth::Untrusted(_))
    }

    /// Whether it is a good backup that somebody asked for.
    pub fn is_good(&self) -> bool {
        self.worth == AttemptWorth::Good && !self.safety_copy
    }
}

/// A source's state.
#[derive(Debug, Clone)]
pub struct SourceHealth<'a> {
    /// The worst of the findings.
    pub level: HealthLevel,
    /// What is wrong, the worst first.
    pub findings: Vec<HealthFinding>,
    /// The newest good backup.
    pub newest: Option<JudgedAttempt<'a>>,
    /// The good one before it.
    pub before: Option<JudgedAttempt<'a>>,
    /// The last attempt, however it ended.
    pub last: Option<JudgedAttempt<'a>>,
    /// The last failed attempt.
    pub failure: Option<JudgedAttempt<'a>>,
    /// The last proof, and of which backup it was.
    pub proof: Option<Proof<'a>>,
    /// When a private key last opened one of its backups.
    pub key_proof: Option<DateTime<Utc>>,
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
pub fn judge<'a>(subject: &Subject<'a>, now: DateTime<Utc>) -> SourceHealth<'a> {
    // What a wrong clock dated ahead must not pass for fresh.
    let own = || {
        subject
            .attempts
            .iter()
            .filter(|attempt| !attempt.safety_copy && !is_ahead(attempt, now) && attempt.counts())
    };
    let mut good = own().filter(|attempt| attempt.is_good());
    let mut labels = BTreeMap::new();
    for attempt in subject
        .attempts
        .iter()
        .filter(|attempt| attempt.worth == AttemptWorth::Good)
    {
        *labels.entry(attempt.label).or_default() += 1;
    }
    let proofs = subject.attempts.iter().filter_map(|attempt| attempt.proof);
    let failed = || own().filter(|attempt| matches!(attempt.worth, AttemptWorth::Failed { .. }));
    let mut health = SourceHealth {
        level: HealthLevel::Ok,
        findings: Vec::new(),
        newest: good.next().cloned(),
        before: good.next().cloned(),
        last: own().next().cloned(),
        failure: failed().next().cloned(),
        proof: proofs.max(),
        key_proof: own().filter_map(|attempt| attempt.key_proven).max(),
        labels,
        failures: failed().count() as u64,
        damaged: own()
            .filter(|attempt| matches!(attempt.worth, AttemptWorth::Damaged(_)))
            .count() as u64,
        stored: units::total(subject.attempts.iter().map(|attempt| attempt.stored)),
    };
    if !matches!(subject.expected, Expectation::No(_)) {
        health.findings = findings(subject, &health, now);
        health
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.level));
        health.level = health
            .findings
            .first()
            .map_or(HealthLevel::Ok, |finding| finding.level);
    }
    health
}
