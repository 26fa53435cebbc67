//! What the store remembers, as `notify` takes it: the history of each source, and what is told of
//! it beside the news.

use crate::error::{Hint, Result};
use crate::health::{
    AttemptWorth, Expectation, HealthFinding, HealthLevel, JudgedAttempt, SourceHealth, Subject,
};
use crate::notify::{
    AttemptEnd, DigestInterval, DigestLine, News, NotifiedSource, PastAttempt, SourceHistory,
    bucket_of,
};
use crate::ops::Session;
use crate::ops::status::{StatusRequest, StoreHealth, StoreReading};
use crate::units;
use chrono::{DateTime, Utc};

/// What a store tells of its sources.
#[derive(Default)]
pub struct StoreFacts {
    /// The history of each source that is looked at.
    pub histories: Vec<SourceHistory>,
    /// What is told of each, beside the news.
    known: Vec<KnownSource>,
}

/// What is known of a source.
struct KnownSource {
    notified: NotifiedSource,
    /// The ids of its attempts, in the order of its history.
    ids: Vec<String>,
    /// Whether backups of it are expected.
    is_expected: bool,
    /// What is wrong that no age explains, with what to do.
    damage: Option<HealthFinding>,
    well: bool,
    text: String,
}

impl StoreFacts {
    /// Reads the store in use.
    pub fn read(session: &Session) -> Result<StoreFacts> {
        let reading = StoreReading::open(session.store_plan()?)?;
        let status = reading.judge(&StatusRequest::default(), session)?;
        Ok(StoreFacts::new(&status))
    }

    /// What a status tells.
    pub fn new(status: &StoreHealth<'_>) -> StoreFacts {
        let mut facts = StoreFacts::default();
        for (subject, health) in &status.sources {
            let (history, ids) = history_of(subject, health);
            facts
                .known
                .push(known_source(subject, health, ids, status.now));
            facts.histories.push(history);
        }
        facts
    }

    /// Leaves these attempts out: they are the news.
    pub fn leave_out(&mut self, own: &[&str]) {
        for (history, known) in self.histories.iter_mut().zip(&mut self.known) {
            let mut ids = known.ids.iter();
            history
                .attempts
                .retain(|_| ids.next().is_none_or(|id| !own.contains(&id.as_str())));
        }
    }

    /// What is told of each source of the news.
    pub fn sources(&self, news: &News) -> Vec<NotifiedSource> {
        let sources = news.sources.iter().map(|one| {
            let known = self.known.iter();
            let mut known = known.filter(|known| known.notified.source == one.source);
            let notified = known.next().map(|known| known.notified.clone());
            NotifiedSource {
                topic: one.topic.as_str().to_owned(),
                ..notified.unwrap_or_else(|| NotifiedSource::new(&one.source))
            }
        });
        sources.collect()
    }

    /// What is wrong with sources that no age explains: damage.
    pub fn damages(&self) -> impl Iterator<Item = (&str, Option<&HealthFinding>)> {
        let known = self.known.iter();
        known.map(|known| (known.notified.source.as_str(), known.damage.as_ref()))
    }

    /// A line for each source of which backups are expected.
    pub fn digest(&self, interval: Option<DigestInterval>, now: DateTime<Utc>) -> Vec<DigestLine> {
        let since = self.digest_since(interval).unwrap_or(now);
        let both = self.histories.iter().zip(&self.known);
        let expected = both.filter(|(_, known)| known.is_expected);
        expected
            .map(|(history, known)| digest_line(history, known, since))
            .collect()
    }

    /// When the day, week or month began that a digest is about.
    pub fn digest_since(&self, interval: Option<DigestInterval>) -> Option<DateTime<Utc>> {
        let newest = |history: &SourceHistory| history.attempts.first().map(|past| past.at);
        let last = self.histories.iter().filter_map(newest).max()?;
        let day = bucket_of(interval?, last.date_naive());
        Some(day.and_hms_opt(0, 0, 0)?.and_utc())
    }
}

fn digest_line(history: &SourceHistory, known: &KnownSource, since: DateTime<Utc>) -> DigestLine {
    let counted = |is_wanted: &dyn Fn(AttemptEnd) -> bool| {
        let attempts = history.attempts.iter();
        let counted = attempts.filter(|past| past.at >= since && is_wanted(past.end));
        counted.count() as u64
    };
    DigestLine {
        source: known.notified.source.clone(),
        well: known.well,
        text: known.text.clone(),
        backups: counted(&|end| end != AttemptEnd::Failed),
        failures: counted(&|end| end == AttemptEnd::Failed),
    }
}

/// A source that no store knows, or the run as a whole.
pub fn pseudo_history(source: &str) -> SourceHistory {
    SourceHistory {
        source: source.to_owned(),
        attempts: Vec::new(),
        expect_every: None,
        expected_from: None,
        prove_every: None,
        proven_at: None,
    }
}

/// The history of a source, with the ids of its attempts.
fn history_of(subject: &Subject<'_>, health: &SourceHealth<'_>) -> (SourceHistory, Vec<String>) {
    let counting = subject.attempts.iter().filter_map(|attempt| {
        let past = PastAttempt {
            at: attempt.ended,
            end: end_of(attempt)?,
        };
        Some((past, attempt.id.to_owned()))
    });
    let (attempts, ids) = counting.unzip();
    let is_expected = matches!(subject.expected, Expectation::Yes | Expectation::From(_));
    let history = SourceHistory {
        source: subject.name.clone(),
        attempts,
        expect_every: is_expected.then_some(subject.expect_every),
        expected_from: match subject.expected {
            Expectation::From(start) => Some(start),
            _ => None,
        },
        prove_every: subject.prove_every.filter(|_| is_expected),
        proven_at: health.proof.map(|proof| proof.at),
    };
    (history, ids)
}

/// How an attempt ended; `None` where it is no news: a safety copy, or one that can't be judged.
fn end_of(attempt: &JudgedAttempt<'_>) -> Option<AttemptEnd> {
    if attempt.safety_copy {
        return None;
    }
    match attempt.worth {
        AttemptWorth::Good => Some(AttemptEnd::Good),
        AttemptWorth::Partial => Some(AttemptEnd::Partial),
        AttemptWorth::Failed { .. } => Some(AttemptEnd::Failed),
        AttemptWorth::Damaged(_)
        | AttemptWorth::Newer(_)
        | AttemptWorth::Unreachable(_)
        | AttemptWorth::Untrusted(_) => None,
    }
}

fn known_source(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    ids: Vec<String>,
    now: DateTime<Utc>,
) -> KnownSource {
    let newest = health.newest.as_ref();
    let findings: Vec<&str> = health
        .findings
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    let fresh = newest.map(|newest| {
        let (age, size) = (units::age(newest.ended, now), units::size(newest.stored));
        format!("{age}, {size}")
    });
    let is_bad = |finding: &&HealthFinding| {
        matches!(finding.level, HealthLevel::Critical | HealthLevel::Unknown)
    };
    KnownSource {
        notified: NotifiedSource {
            last_good_at: newest.map(|newest| newest.ended),
            last_good_id: newest.map(|newest| newest.id.to_owned()),
            proven_at: health.proof.map(|proof| proof.at),
            ..NotifiedSource::new(&subject.name)
        },
        ids,
        is_expected: !matches!(
            subject.expected,
            Expectation::No(_) | Expectation::InMembers
        ),
        damage: health.findings.iter().find(is_bad).cloned(),
        well: health.level == HealthLevel::Ok,
        text: match findings.is_empty() {
            true => fresh.unwrap_or_else(|| "no backup yet".to_owned()),
            false => findings.join("; "),
        },
    }
}

/// What to do about a source that nothing failed of.
pub fn remedy(source: &NotifiedSource) -> Option<Hint> {
    let name = source.source.as_str();
    match source.topic.as_str() {
        "stale" => Some(
            Hint::new()
                .command(["backup", name])
                .text("; then look at what should have run it"),
        ),
        "proof" => Some(Hint::new().command(["verify", name, "--level", "restore"])),
        _ => None,
    }
}
