//! Is it news? Pure functions of what the store remembers of a source, how this attempt ended, and
//! the time. Nothing else is kept: an attempt of before is also the moment at which somebody last
//! looked, so that what was wrong then already was told then.
//!
//! A change of state is told at once, and that nothing has changed once a day of UTC; of a proof
//! that is due, once a week.

use super::settings::{DigestInterval, NewsTopic};
use crate::units::Span;
use chrono::{DateTime, Datelike, NaiveDate, Utc};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// There is a good backup.
    Good,
    /// There is a backup that lacks something.
    Partial,
    /// There is none.
    Failed,
}

/// An attempt that the store remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastAttempt {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How.
    pub end: AttemptEnd,
}

/// What the store remembers of a source, and what is expected of it.
#[derive(Debug, Clone)]
pub struct SourceHistory {
    /// Its name.
    pub source: String,
    /// The attempts before the present one, the newest first.
    pub attempts: Vec<PastAttempt>,
    /// How old the newest good backup may be; none: no backups are expected now.
    pub expect_every: Option<Span>,
    /// From when on backups are expected, where that is known.
    pub expected_from: Option<DateTime<Utc>>,
    /// How long ago the last proof may be; none: no proof is asked for.
    pub prove_every: Option<Span>,
    /// When a backup was last proven by a restore.
    pub proven_at: Option<DateTime<Utc>>,
}

impl SourceHistory {
    /// When the newest good backup ended.
    pub fn good_at(&self) -> Option<DateTime<Utc>> {
        let mut good = self
            .attempts
            .iter()
            .filter(|past| past.end == AttemptEnd::Good);
        good.next().map(|past| past.at)
    }
}

/// Something that lasts: since when, and when somebody last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastingState {
    /// Since when it is so.
    pub since: DateTime<Utc>,
    /// When it was last looked at; what was so then was told then.
    pub looked_at: Option<DateTime<Utc>>,
}

impl LastingState {
    /// The day of it, where it is to be told: 1 where it is new, the third day where it was told
    /// the day before and the one before that.
    pub fn day_to_tell(self, now: DateTime<Utc>) -> Option<u32> {
        match self.looked_at.filter(|at| *at >= self.since) {
            None => Some(1),
            Some(at) if at.date_naive() < now.date_naive() => Some(self.day(now)),
            Some(_) => None,
        }
    }

    /// The same, told once a week.
    fn week_to_tell(self, now: DateTime<Utc>) -> Option<u32> {
        let week = |at: DateTime<Utc>| (at.date_naive() - self.since.date_naive()).num_days() / 7;
        match self.looked_at.filter(|at| *at >= self.since) {
            None => Some(1),
            Some(at) if week(at) < week(now) => Some(self.day(now)),
            Some(_) => None,
        }
    }

    /// The how many-th day it is.
    fn day(self, now: DateTime<Utc>) -> u32 {
        let days = now.date_naive() - self.since.date_naive();
        u32::try_from(days.num_days()).unwrap_or(0) + 1
    }
}

/// Something about a source that people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNews {
    /// The source.
    pub source: String,
    /// What it is.
    pub topic: NewsTopic,
    /// Of a recovery: what it is over with. Who was not told of that need not hear of its end.
    pub over: Option<NewsTopic>,
    /// Since when it is so; of a recovery, since when it was not well.
    pub since: DateTime<Utc>,
    /// The how many-th day of it; 1 where it is new.
    pub day: u32,
}

impl SourceNews {
    fn new(history: &SourceHistory, topic: NewsTopic, since: DateTime<Utc>, day: u32) -> Self {
        SourceNews {
            source: history.source.clone(),
            topic,
            over: None,
            since,
            day,
        }
    }

    /// Whether it is told to who hears of these topics.
    pub fn is_for(&self, topics: &[NewsTopic]) -> bool {
        topics.contains(&self.topic) && self.over.is_none_or(|over| topics.contains(&over))
    }
}

/// How the present attempt of a source ended.
#[derive(Debug, Clone)]
pub struct AttemptResult {
    /// The source.
    pub source: String,
    /// How it ended.
    pub end: AttemptEnd,
    /// What is known of a failure, or of what a backup lacks, that the store can't remember; after
    /// a success: that was so before.
    pub lasting: Option<(NewsTopic, LastingState)>,
}

/// What people should hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Of each source.
    pub sources: Vec<SourceNews>,
    /// Whether it is time for a digest.
    pub digest: bool,
}

/// The news at the end of a run: of the sources that it tried, and of those at which it only looks.
/// `told_at` is when a run told something before, where that is known: the store remembers only
/// runs that tried something, and none that found everything locked.
pub fn news_of_run(
    histories: &[SourceHistory],
    results: &[AttemptResult],
    digest: Option<DigestInterval>,
    told_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> News {
    let newest = |history: &SourceHistory| history.attempts.first().map(|past| past.at);
    // The last run was the last one who looked.
    let looked_at = histories.iter().filter_map(newest).max().max(told_at);
    let mut news = News {
        sources: Vec::new(),
        digest: digest.is_some_and(|interval| is_digest_due(interval, looked_at, now)),
    };
    for history in histories {
        let result = results
            .iter()
            .find(|result| result.source == history.source);
        news.sources
            .extend(result.and_then(|result| news_of_attempt(history, result, now)));
        let seen = news_of_look(history, looked_at, now).into_iter();
        // What was just tried is not overdue: it is there, or its failure was told.
        let seen = seen.filter(|seen| result.is_none() || seen.topic != NewsTopic::Stale);
        news.sources.extend(seen);
    }
    news
}

/// The news of an attempt that ended now.
fn news_of_attempt(
    history: &SourceHistory,
    result: &AttemptResult,
    now: DateTime<Utc>,
) -> Option<SourceNews> {
    let topic = match result.end {
        AttemptEnd::Good => return recovery(history, result, now),
        AttemptEnd::Partial => NewsTopic::Partial,
        AttemptEnd::Failed => NewsTopic::Failure,
    };
    let since = start_of(history, result.end);
    let of_store = LastingState {
        since: since.unwrap_or(now),
        // What ended otherwise in this very second was no look at this.
        looked_at: since.and_then(|_| Some(history.attempts.first()?.at)),
    };
    let state = result.lasting.map_or(of_store, |(_, state)| state);
    let day = state.day_to_tell(now)?;
    Some(SourceNews::new(history, topic, state.since, day))
}

/// The end of what was not well before.
fn recovery(
    history: &SourceHistory,
    result: &AttemptResult,
    now: DateTime<Utc>,
) -> Option<SourceNews> {
    // Failures and incomplete backups in turn end at once, and whoever heard of a failure hears of
    // its end.
    let row = || (history.attempts.iter()).take_while(|past| past.end != AttemptEnd::Good);
    let since = |end: AttemptEnd| {
        row()
            .filter(|past| past.end == end)
            .last()
            .map(|past| past.at)
    };
    let failed = since(AttemptEnd::Failed).map(|since| (NewsTopic::Failure, since));
    let partial = since(AttemptEnd::Partial).map(|since| (NewsTopic::Partial, since));
    let unnoted = result.lasting.map(|(topic, state)| (topic, state.since));
    let stale = stale_since(history).filter(|since| *since < now);
    let stale = stale.map(|since| (NewsTopic::Stale, since));
    let (over, since) = failed.or(unnoted).or(partial).or(stale)?;
    Some(SourceNews {
        over: Some(over),
        ..SourceNews::new(history, NewsTopic::Recovery, since, 1)
    })
}

/// When the attempts that end so began, up to the last one; `None` where that ended otherwise.
/// Failures and incomplete backups in turn are each of their own.
fn start_of(history: &SourceHistory, end: AttemptEnd) -> Option<DateTime<Utc>> {
    let row = history.attempts.iter().take_while(|past| past.end == end);
    row.last().map(|past| past.at)
}

/// From when on the newest good backup is too old, if it is the last attempt's; a failure tells
/// more.
fn stale_since(history: &SourceHistory) -> Option<DateTime<Utc>> {
    let every = history.expect_every?;
    match history.attempts.first() {
        Some(last) if last.end == AttemptEnd::Good => Some(after(last.at, every)),
        _ => None,
    }
}

/// The news of a source at which somebody only looks: that its newest good backup is too old, or
/// its last proof.
pub fn news_of_look(
    history: &SourceHistory,
    looked_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<SourceNews> {
    let stale = overdue_since(history).filter(|since| *since <= now);
    let stale = stale.and_then(|since| {
        let state = LastingState { since, looked_at };
        let day = state.day_to_tell(now)?;
        Some(SourceNews::new(history, NewsTopic::Stale, since, day))
    });
    let unproven = proof_due(history).filter(|since| *since <= now);
    let unproven = unproven.and_then(|since| {
        let state = LastingState { since, looked_at };
        let day = state.week_to_tell(now)?;
        Some(SourceNews::new(history, NewsTopic::Proof, since, day))
    });
    stale.into_iter().chain(unproven).collect()
}

/// Since when a backup is overdue, or will be. Where there never was a good one: since the first
/// attempt, or since backups are expected.
pub fn overdue_since(history: &SourceHistory) -> Option<DateTime<Utc>> {
    let every = history.expect_every?;
    match history.good_at() {
        Some(at) => Some(after(at, every)),
        None => {
            let first = history.attempts.last().map(|past| past.at);
            Some(
                history
                    .expected_from
                    .or(first)
                    .unwrap_or(DateTime::UNIX_EPOCH),
            )
        }
    }
}

/// When a proof is due.
fn proof_due(history: &SourceHistory) -> Option<DateTime<Utc>> {
    let every = history.prove_every?;
    let mut good = history
        .attempts
        .iter()
        .filter(|past| past.end == AttemptEnd::Good);
    // What was never proven is due so long after the first backup that could have been.
    let from = history.proven_at.or(good.next_back().map(|past| past.at))?;
    Some(after(from, every))
}

fn after(at: DateTime<Utc>, span: Span) -> DateTime<Utc> {
    at.checked_add_signed(at - span.before(at))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether a digest is to be told: the last look was in another day, week or month. Where nothing
/// was there to look at yet, there is nothing to tell.
pub fn is_digest_due(
    interval: DigestInterval,
    looked_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    let bucket = |at: DateTime<Utc>| bucket_of(interval, at.date_naive());
    looked_at.is_some_and(|at| bucket(at) < bucket(now))
}

/// The first day of the day, week or month.
pub fn bucket_of(interval: DigestInterval, day: NaiveDate) -> NaiveDate {
    match interval {
        DigestInterval::Daily => day,
        DigestInterval::Weekly => day.week(chrono::Weekday::Mon).first_day(),
        DigestInterval::Monthly => day.with_day(1).unwrap_or(day),
    }
}

#[cfg(test)]
mod tests;
