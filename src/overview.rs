//! How all sources and stores stand at one moment, as plain data: the facts that `report` shows as
//! a page and as a document. `ops/overview` gathers them; nothing here judges a backup, as `health`
//! has done that. `calendar` and `chart` lay facts out, `rule` counts copies and places, and `page`
//! is all of it as HTML. Pure.

mod calendar;
mod chart;
mod page;
mod rule;
#[cfg(test)]
mod tests;

pub use calendar::{CALENDAR_DAYS, CalendarDay, DayState, calendar_of};
pub use chart::{SizePoint, thin_out};
pub use page::{PAGE_MARK, render_page};
pub use rule::{CopyPlace, RuleOfThree, count_copies};

use crate::health::HealthLevel;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// How everything stands at one moment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Overview {
    /// The moment. All ages are counted from it.
    pub at: DateTime<Utc>,
    /// The machine that found it out.
    pub host: String,
    /// The worst of all that was judged, as `status` has it.
    pub status: HealthLevel,
    /// What needs attention, the worst first.
    pub attention: Vec<AttentionItem>,
    /// The stores, that in use first.
    pub stores: Vec<StoreOverview>,
    /// The sources, the worst first.
    pub sources: Vec<SourceOverview>,
    /// Sources of the store that the configuration does not define: they are not judged.
    pub unconfigured: Vec<String>,
    /// What failed of late, the newest first.
    pub failures: Vec<FailureOverview>,
}

/// Something that needs attention.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AttentionItem {
    /// How bad it is.
    pub status: HealthLevel,
    /// The source or the store that it is about, or `(the run)`.
    pub about: String,
    /// For people, one sentence.
    pub text: String,
    /// What to do about it, with the command to type in backticks.
    pub hint: Option<String>,
}

/// A store.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct StoreOverview {
    /// Its name.
    pub name: String,
    /// Its directory or address.
    pub location: String,
    /// Whether it is the one in use, from which the sources are judged.
    pub in_use: bool,
    /// Whether it answered; null where it was not asked.
    pub reachable: Option<bool>,
    /// Good backups in it; null where it was not read.
    pub good: Option<u64>,
    /// Bytes of all its dumps; null where it was not read.
    pub stored_bytes: Option<u64>,
    /// Free bytes; null where it can't tell.
    pub free_bytes: Option<u64>,
}

/// A source.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct SourceOverview {
    /// Its name.
    pub source: String,
    /// The worst of what is wrong with it, as `status` has it.
    pub status: HealthLevel,
    /// Why no backups are expected now; null where they are.
    pub not_expected: Option<String>,
    /// What each store has of it, that in use first.
    pub places: Vec<PlaceOverview>,
    /// Bytes before compression of the newest good backup.
    pub content_size_bytes: Option<u64>,
    /// Rows of all tables in it; null for files.
    pub rows_total: Option<u64>,
    /// Files in it; null for databases.
    pub files_total: Option<u64>,
    /// How the content grows.
    pub growth_bytes_per_day: Option<f64>,
    /// Bytes before compression of its good backups, the oldest first; means, where there are many.
    pub sizes: Vec<SizePoint>,
    /// The last 90 days, the oldest first, in UTC.
    pub calendar: Vec<CalendarDay>,
    /// What is kept, and what goes next.
    pub retention: RetentionOverview,
    /// How long restores took, as measured in drills.
    pub drills: DrillOverview,
    /// How many copies there are, and where.
    pub rule: RuleOfThree,
    /// What restores left, a line each.
    pub leftovers: Vec<String>,
}

/// What one store has of a source.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PlaceOverview {
    /// The store's name.
    pub store: String,
    /// When the newest good backup was made that is there.
    pub newest_at: Option<DateTime<Utc>>,
    /// Its id; null where only its time is known.
    pub newest_id: Option<String>,
    /// Its bytes as stored.
    pub size_bytes: Option<u64>,
    /// The last drill of a backup there that found it sound.
    pub proof: Option<ProofOverview>,
    /// Good backups there; null where the store was not read.
    pub good: Option<u64>,
    /// Whether the newest good backup is still to go there.
    pub waiting: bool,
}

/// A drill that found a backup sound.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ProofOverview {
    /// The backup.
    pub id: String,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub duration_seconds: f64,
    /// The bytes that were restored.
    pub content_size_bytes: u64,
    /// The host that made it; null where it was the one that made the backup.
    pub host: Option<String>,
}

/// How long restores took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct DrillOverview {
    /// How many backups that are still there were restored for trial.
    pub count: u64,
    /// The last drill.
    pub last: Option<ProofOverview>,
    /// The fastest, in seconds.
    pub fastest_seconds: Option<f64>,
    /// The slowest, in seconds.
    pub slowest_seconds: Option<f64>,
    /// The command that makes one, where none was made.
    pub hint: Option<String>,
}

/// What retention keeps of a source, and what goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RetentionOverview {
    /// The rules, with the labels that they are for.
    pub rules: Vec<RuleOverview>,
    /// Backups that the next cleanup keeps.
    pub kept: u64,
    /// Bytes that they take.
    pub kept_bytes: u64,
    /// How many of them are pinned.
    pub pinned: u64,
    /// When the oldest of them was made.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Why nothing is removed, where the brake holds.
    pub held: Option<String>,
    /// Whether what goes goes only after the next backup; else the next cleanup takes it.
    pub after_next: bool,
    /// What goes, the oldest first.
    pub removals: Vec<RemovalOverview>,
}

/// The rules of retention for some labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RuleOverview {
    /// The labels.
    pub labels: Vec<String>,
    /// The settings as they are written; none: everything is kept.
    pub settings: Vec<String>,
}

/// A backup that retention is going to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RemovalOverview {
    /// Its id.
    pub id: String,
    /// Why it goes.
    pub reason: String,
    /// Bytes of its dump.
    pub size_bytes: u64,
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct FailureOverview {
    /// The source.
    pub source: String,
    /// The store that could not be copied to; null where a backup failed.
    pub copy_to: Option<String>,
    /// When it failed last.
    pub at: DateTime<Utc>,
    /// When it failed so for the first time in a row.
    pub since: DateTime<Utc>,
    /// How often, in a row.
    pub count: u64,
    /// Why.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}
