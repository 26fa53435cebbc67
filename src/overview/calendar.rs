//! The last days of a source, one state a day. Days are UTC's, as those of retention are.

use crate::health::{AttemptWorth, JudgedAttempt};
use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many days are shown.
pub const CALENDAR_DAYS: u64 = 90;

/// A day of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct CalendarDay {
    /// The day, in UTC.
    pub date: NaiveDate,
    /// What the store has of it.
    pub state: DayState,
    /// Whether a drill found a backup sound on that day.
    pub proven: bool,
}

/// What a store has of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DayState {
    /// Nothing: no run, or retention has removed it since.
    #[default]
    Nothing,
    /// Good backups alone.
    Good,
    /// Some attempts were good and some not, or a backup is incomplete or can't be judged.
    Partial,
    /// Attempts that failed, or backups that were found damaged, and nothing else.
    Failed,
}

impl DayState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DayState::Nothing => "nothing",
            DayState::Good => "good",
            DayState::Partial => "partial",
            DayState::Failed => "failed",
        }
    }

    /// Both on one day.
    fn with(self, other: DayState) -> DayState {
        match (self, other) {
            (DayState::Nothing, only) | (only, DayState::Nothing) => only,
            (one, other) if one == other => one,
            _ => DayState::Partial,
        }
    }
}

/// The last days up to that of `now`, the oldest first.
pub fn calendar_of(attempts: &[JudgedAttempt<'_>], now: DateTime<Utc>) -> Vec<CalendarDay> {
    let today = now.date_naive();
    let first = today
        .checked_sub_days(Days::new(CALENDAR_DAYS - 1))
        .unwrap_or(today);
    let mut days: BTreeMap<NaiveDate, CalendarDay> = first
        .iter_days()
        .take_while(|date| *date <= today)
        .map(|date| {
            let day = CalendarDay {
                date,
                state: DayState::Nothing,
                proven: false,
            };
            (date, day)
        })
        .collect();
    for attempt in attempts {
        if let Some(day) = attempt
            .proof
            .and_then(|proof| days.get_mut(&proof.at.date_naive()))
        {
            day.proven = true;
        }
        let counts = !attempt.safety_copy && !attempt.dated_ahead;
        if let Some(day) = days.get_mut(&attempt.ended.date_naive()).filter(|_| counts) {
            day.state = day.state.with(state_of(&attempt.worth));
        }
    }
    days.into_values().collect()
}

fn state_of(worth: &AttemptWorth<'_>) -> DayState {
    match worth {
        AttemptWorth::Good => DayState::Good,
        AttemptWorth::Partial | AttemptWorth::Newer(_) | AttemptWorth::Unreachable(_) => {
            DayState::Partial
        }
        AttemptWorth::Damaged(_) | AttemptWorth::Failed { .. } => DayState::Failed,
        // Whoever made it, it is none of ours.
        AttemptWorth::Untrusted(_) => DayState::Nothing,
    }
}
