//! A retention policy: the settings of one `[retention]` table, or those that flags give.

use super::brake::Brake;
use super::rules::{rules_of, written_rules};
use crate::setting::{PathResolver, SettingType, WrittenValue, settings};
use crate::units::Span;
use chrono::{DateTime, Utc};
use std::fmt;

settings! {
    /// What is kept of the backups of one source and one label.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RetentionPolicy {
        /// Keeps the newest N.
        pub keep_last: Option<u32> = None,
        /// Keeps the newest of each of the last N hours (UTC) that have one.
        pub keep_hourly: Option<u32> = None,
        /// Keeps the newest of each of the last N days (UTC) that have one.
        pub keep_daily: Option<u32> = None,
        /// Keeps the newest of each of the last N ISO weeks, which begin on Monday.
        pub keep_weekly: Option<u32> = None,
        /// Keeps the newest of each of the last N months.
        pub keep_monthly: Option<u32> = None,
        /// Keeps the newest of each of the last N years.
        pub keep_yearly: Option<u32> = None,
        /// Keeps everything that is less than this older than the newest good backup, as in
        /// `"48h"`.
        pub keep_within: Option<Span> = None,
        /// Then removes what is older than this, as in `"30d"`. A bare number is days.
        pub max_age: Option<Age> = None,
        /// Then removes the oldest beyond N.
        pub max_count: Option<u32> = None,
        /// Then removes the oldest beyond this size, all backups of the label together, as in
        /// `"20 GiB"`.
        pub max_size: Option<u64> = None,
        /// Keeps the newest N good ones, however old or large they are.
        pub min_keep: u32 = 1,
        /// Removes nothing of the label after a backup that holds less than this part of an earlier
        /// one (or of a table of it with more than 100 rows), or lacks a table of it. `"off"` never
        /// minds.
        pub brake: BrakePart = BrakePart(Some(50)),
        /// Tables that may come and go, as in `["sessions", "public.tmp_*"]`, with their names as
        /// `show --contents` prints them.
        pub brake_ignore: Vec<String> = Vec::new(),
    }
}

impl RetentionPolicy {
    /// Whether there is neither a `keep_` rule nor a `max_` cap, so that nothing would be removed.
    pub fn is_empty(&self) -> bool {
        rules_of(self).is_empty()
            && self.max_age.is_none()
            && self.max_count.is_none()
            && self.max_size.is_none()
    }

    /// The rules and caps that are set, as the configuration writes them.
    pub fn written(&self) -> Vec<String> {
        written_rules(self)
    }

    /// The brake.
    pub fn brake(&self) -> Brake {
        Brake {
            percent: self.brake.0,
            ignore: self.brake_ignore.clone(),
        }
    }
}

/// The greatest age of a backup. It is written as a duration, or as a bare number of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(pub Span);

impl Age {
    /// Reads `30`, `30d`, `6mo`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Age, String> {
        match text.parse() {
            Ok(days) => Ok(Age::from_days(days)),
            Err(_) => Span::parse(text).map(Age),
        }
    }

    fn from_days(days: u32) -> Age {
        Age(Span {
            days,
            ..Span::default()
        })
    }

    /// The moment this long before `at`.
    pub fn before(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.0.before(at)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SettingType for Age {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        let is_number = match value {
            WrittenValue::Whole(_) => true,
            WrittenValue::Text(text) => text.trim().parse::<i128>().is_ok(),
            _ => return Err(value.instead_of("a number of days or a duration such as \"30d\"")),
        };
        if is_number {
            u32::read(value, resolve).map(Age::from_days)
        } else {
            Span::read(value, resolve).map(Age)
        }
    }

    fn as_written(&self) -> Option<String> {
        self.0.as_written()
    }

    fn type_name() -> String {
        "duration".to_owned()
    }
}

/// The part of an earlier backup, in percent, below which the brake holds; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakePart(pub Option<u8>);

impl BrakePart {
    fn parse(text: &str) -> Option<BrakePart> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Some(BrakePart(None));
        }
        let percent = text.strip_suffix('%')?.trim_end().parse().ok()?;
        (1..=100)
            .contains(&percent)
            .then_some(BrakePart(Some(percent)))
    }
}

impl SettingType for BrakePart {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        let part = match value {
            WrittenValue::Flag(false) => Some(BrakePart(None)),
            WrittenValue::Text(text) => BrakePart::parse(text),
            _ => None,
        };
        part.ok_or_else(|| value.instead_of("a part such as \"50%\", from 1% to 100%, or \"off\""))
    }

    fn as_written(&self) -> Option<String> {
        Some(match self.0 {
            Some(percent) => format!("\"{percent}%\""),
            None => "\"off\"".to_owned(),
        })
    }

    fn type_name() -> String {
        "percentage, or `\"off\"`".to_owned()
    }
}
