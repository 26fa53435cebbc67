//! The documents of the commands that remove backups or keep them, and of `stats`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// `cleanup`.
#[derive(JsonSchema)]
pub struct Cleanup {
    /// Whether nothing was done.
    dry_run: Option<bool>,
    /// What stays.
    kept: Option<Vec<Kept>>,
    /// What was removed, or would be.
    deleted: Option<Vec<Deleted>>,
    /// How many that are.
    deleted_count: Option<u64>,
    /// Their bytes together.
    total_size_freed: Option<u64>,
}

/// A backup that stays.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Kept {
    /// Its id.
    id: String,
    /// Why, for people; never empty.
    reasons: Vec<String>,
}

/// A backup that was removed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Deleted {
    /// Its id.
    id: String,
    /// Why, for people.
    reason: String,
    /// Bytes of its dump.
    size_bytes: u64,
}

/// `delete`.
#[derive(JsonSchema)]
pub struct Delete {
    /// The ids of what was deleted.
    deleted: Option<Vec<String>>,
    /// The bytes of their dumps.
    total_size_freed: Option<u64>,
}

/// `copy`.
#[derive(JsonSchema)]
pub struct Copy {
    /// The ids of what was copied.
    copied: Option<Vec<String>>,
    /// The ids of what was there already.
    present: Option<Vec<String>>,
    /// The ids of what was not begun, as the other store failed before.
    waiting: Option<Vec<String>>,
    /// What could not be copied.
    failed: Option<Vec<FailedCopy>>,
    /// The bytes that were sent.
    size_bytes: Option<u64>,
}

/// A backup that could not be copied.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FailedCopy {
    /// The backup.
    id: String,
    /// Why.
    error: String,
    /// What to do about it.
    hint: Option<String>,
}

/// `pin` and `unpin`.
#[derive(JsonSchema)]
pub struct Pin {
    /// The backups.
    ids: Option<Vec<String>>,
    /// Whether they are pinned now.
    pinned: Option<bool>,
}

/// `stats`.
#[derive(JsonSchema)]
pub struct Stats {
    /// One for each source.
    sources: Option<Vec<SourceSums>>,
    /// All sources together.
    total: Option<Sums>,
}

/// The backups of one source in numbers.
#[derive(JsonSchema)]
struct SourceSums {
    #[serde(flatten)]
    sums: Sums,
    /// Its name.
    source: String,
}

/// Backups in numbers.
#[derive(JsonSchema)]
struct Sums {
    /// Good backups.
    good: u64,
    /// Damaged and incomplete ones, and sidecars that can't be read.
    flawed: u64,
    /// Failed attempts that the store remembers.
    failed: u64,
    /// Bytes of all dumps.
    stored_bytes: u64,
    /// Bytes of the good ones before compression.
    content_bytes: u64,
    /// Content by stored bytes of the good ones.
    compression_ratio: Option<f64>,
    /// How the content grows.
    growth_bytes_per_day: Option<f64>,
    /// Good backups by label.
    by_label: BTreeMap<String, u64>,
    /// The oldest good one.
    oldest: Option<DateTime<Utc>>,
    /// The newest good one.
    newest: Option<DateTime<Utc>>,
    /// When the last good one ended.
    last_success: Option<DateTime<Utc>>,
    /// When the last failed attempt ended.
    last_failure: Option<DateTime<Utc>>,
}
