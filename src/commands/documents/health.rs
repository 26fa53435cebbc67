//! The documents of `status` and `doctor`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// The words and exit codes of Nagios plug-ins.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Health {
    /// 0: all is well.
    Ok,
    /// 1: somebody should look.
    Warning,
    /// 2: there may be nothing to restore.
    Critical,
    /// 3: it could not be found out.
    Unknown,
}

/// `status`.
#[derive(JsonSchema)]
#[schemars(rename = "Status")]
pub struct StatusDocument {
    /// The worst of all findings.
    status: Option<Health>,
    /// The sources, the worst first.
    sources: Option<Vec<SourceStatus>>,
    /// Sources of the store that the configuration does not define: they are not judged.
    unconfigured: Option<Vec<String>>,
    /// The store itself.
    store: Option<StoreStatus>,
    /// The stores that are to have copies.
    stores: Option<Vec<CopyStoreStatus>>,
    /// Messages of `[notify]` that could not be delivered yet.
    notifications_waiting: Option<u64>,
}

/// A store that is to have copies.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CopyStoreStatus {
    /// Its name.
    name: String,
    /// Its directory or address.
    location: String,
    /// Whether it answered.
    reachable: Option<bool>,
    /// What is wrong with it.
    findings: Vec<Finding>,
}

/// The copies of a source in another store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CopiesDocument {
    /// The store's name.
    store: String,
    /// When the newest backup was made that is there; null where there is none.
    newest_at: Option<DateTime<Utc>>,
    /// How long ago that is.
    age_seconds: Option<i64>,
    /// Whether the newest good backup is still to go there.
    waiting: bool,
}

/// The store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StoreStatus {
    /// Its directory.
    path: String,
    /// Free bytes; null where it can't tell.
    free_bytes: Option<u64>,
    /// Bytes that the next backups will need.
    needed_bytes: u64,
    /// What is wrong with it.
    findings: Vec<Finding>,
}

/// Something that was found.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Finding {
    /// How bad it is.
    status: Health,
    /// For people, one sentence.
    text: String,
    /// What to do about it.
    hint: Option<String>,
}

/// A source, judged.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SourceStatus {
    /// Its name.
    source: String,
    /// The worst of its findings.
    status: Health,
    /// For people, one line.
    text: String,
    /// What is wrong, the worst first.
    findings: Vec<Finding>,
    /// Why no backups are expected now; null where they are.
    not_expected: Option<String>,
    /// How old the newest good backup may be.
    expect_every_seconds: u64,
    /// How long ago the last proof may be; null where none is asked for.
    prove_every_seconds: Option<u64>,
    /// The newest good backup.
    newest_good: Option<NewestGood>,
    /// The last attempt, however it ended.
    last_attempt: Option<AttemptAt>,
    /// The last failed attempt.
    last_failure: Option<FailureAt>,
    /// The last time that a backup was restored for trial, and came back whole.
    last_proof: Option<ProofAt>,
    /// Good backups by label.
    good_by_label: BTreeMap<String, u64>,
    /// Failed attempts that the store remembers.
    failed_attempts: u64,
    /// Backups that were found damaged.
    damaged_backups: u64,
    /// Bytes of all its dumps.
    stored_bytes: u64,
    /// Why retention removes nothing, where its brake holds.
    retention_held: Option<String>,
    /// Its copies, one for each store that is to have them.
    copies: Vec<CopiesDocument>,
    /// What restores left, a line each.
    leftovers: Vec<String>,
}

/// The newest good backup of a source.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NewestGood {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
    /// How long ago that is.
    age_seconds: i64,
    /// Bytes of its dump.
    size_bytes: u64,
    /// Bytes before compression.
    content_size_bytes: u64,
    /// Rows of all tables; null for files.
    rows_total: Option<u64>,
    /// How long it took.
    duration_seconds: f64,
    /// Bytes of the good one before it.
    size_bytes_before: Option<u64>,
}

/// An attempt.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AttemptAt {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
}

/// A failed attempt.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FailureAt {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
    /// Why it failed.
    error: String,
    /// What to do about it.
    hint: Option<String>,
}

/// A proof.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ProofAt {
    /// The backup.
    id: String,
    /// When it was proven.
    at: DateTime<Utc>,
    /// How long ago that is.
    age_seconds: i64,
    /// The host that proved it; null where it was the one that made the backup.
    host: Option<String>,
}

/// `doctor`.
#[derive(JsonSchema)]
pub struct Doctor {
    /// Whatever was looked at.
    checks: Option<Vec<DoctorFinding>>,
    /// How many of them are problems.
    problems: Option<u64>,
    /// How many deserve a look.
    warnings: Option<u64>,
    /// The smallest policies of IAM that suffice: where a right is missing, or with `--verbose`.
    policies: Option<Vec<SmallestPolicy>>,
    /// With `--ransomware`: what could be destroyed, store by store.
    ransomware: Option<Vec<DestructionVerdict>>,
}

/// What somebody who has taken over this machine could destroy in a store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DestructionVerdict {
    /// Where the store is.
    store: String,
    /// The verdict.
    destroys: ShownDestruction,
}

/// What can be destroyed.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ShownDestruction {
    /// Nothing.
    Nothing,
    /// Backups can be hidden; their versions stay.
    Hides,
    /// Everything.
    Everything,
    /// It can't be told.
    Unknown,
}

/// The smallest set of rights that suffices for a store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SmallestPolicy {
    /// Which store it is: `store`, `store offsite`.
    about: String,
    /// The policy, as IAM takes it.
    policy: serde_json::Map<String, serde_json::Value>,
}

/// One thing that was looked at.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DoctorFinding {
    /// `store`, `store offsite`, `configuration`, a source's name…
    about: String,
    /// What of it.
    check: String,
    /// What was found.
    status: ShownStatus,
    /// For people, one line.
    detail: String,
    /// What to do about it.
    remedy: Option<String>,
}

/// How well something is.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Standing")]
enum ShownStatus {
    /// Well.
    Ok,
    /// It deserves a look.
    Warning,
    /// A backup would fail.
    Problem,
}
