//! The gauges of a status, or of a run: which there are, and what their values are made of.

use super::StoreHealth;
use crate::config::Config;
use crate::error::Kind;
use crate::health::{AttemptWorth, Expectation, HealthLevel, JudgedAttempt, SourceHealth, Subject};
use crate::metrics::Metric;
use crate::ops::run::{RunOutcome, RunSummary, Shortfall, SourceSummary};
use crate::store::Location;
use chrono::{DateTime, Utc};

/// A gauge: all but the last five have a value for each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusGauge {
    LastSuccess,
    LastAttempt,
    LastAttemptSuccess,
    SuccessDuration,
    SuccessSize,
    SuccessContent,
    SuccessRows,
    SuccessFiles,
    LastProof,
    Backups,
    StoredBytes,
    FailedAttempts,
    DamagedBackups,
    Leftovers,
    RetentionHeld,
    ExpectedInterval,
    ProofInterval,
    Expected,
    Status,
    CopyNewest,
    StoreReachable,
    StoreFree,
    StoreNeeded,
    Written,
    BuildInfo,
}

/// The gauges in the order of the file, with name and help.
const GAUGES: [(StatusGauge, &str, &str); 25] = [
    (
        StatusGauge::LastSuccess,
        "dbbackup_last_success_timestamp_seconds",
        "When the newest good backup was finished.",
    ),
    (
        StatusGauge::LastAttempt,
        "dbbackup_last_attempt_timestamp_seconds",
        "When the last attempt ended, whatever came of it.",
    ),
    (
        StatusGauge::LastAttemptSuccess,
        "dbbackup_last_attempt_success",
        "Whether the last attempt made a good backup: 1 or 0.",
    ),
    (
        StatusGauge::SuccessDuration,
        "dbbackup_last_success_duration_seconds",
        "How long the newest good backup took.",
    ),
    (
        StatusGauge::SuccessSize,
        "dbbackup_last_success_size_bytes",
        "Size of the newest good backup as stored.",
    ),
    (
        StatusGauge::SuccessContent,
        "dbbackup_last_success_content_bytes",
        "Size of the newest good backup before compression.",
    ),
    (
        StatusGauge::SuccessRows,
        "dbbackup_last_success_rows",
        "Rows in the newest good backup.",
    ),
    (
        StatusGauge::SuccessFiles,
        "dbbackup_last_success_files",
        "Files in the newest good backup of a tree.",
    ),
    (
        StatusGauge::LastProof,
        "dbbackup_last_proof_timestamp_seconds",
        "When a backup was last proven by a trial restore.",
    ),
    (
        StatusGauge::Backups,
        "dbbackup_backups",
        "Good backups in the store, by label.",
    ),
    (
        StatusGauge::StoredBytes,
        "dbbackup_stored_bytes",
        "Size of all backups in the store.",
    ),
    (
        StatusGauge::FailedAttempts,
        "dbbackup_failed_attempts",
        "Failed attempts that the store remembers.",
    ),
    (
        StatusGauge::DamagedBackups,
        "dbbackup_damaged_backups",
        "Backups in the store that were found damaged.",
    ),
    (
        StatusGauge::Leftovers,
        "dbbackup_restore_leftovers",
        "What restores left and nobody has removed.",
    ),
    (
        StatusGauge::RetentionHeld,
        "dbbackup_retention_held",
        "Whether a backup that lost much keeps retention from removing anything: 1 or 0.",
    ),
    (
        StatusGauge::ExpectedInterval,
        "dbbackup_expected_interval_seconds",
        "How old the newest good backup may be.",
    ),
    (
        StatusGauge::ProofInterval,
        "dbbackup_proof_interval_seconds",
        "How long ago the last proof may be; only where one is asked for.",
    ),
    (
        StatusGauge::Expected,
        "dbbackup_expected",
        "Whether backups of the source are expected now: 1 or 0.",
    ),
    (
        StatusGauge::Status,
        "dbbackup_status",
        "0 OK, 1 WARNING, 2 CRITICAL, as `dbbackup status` ends.",
    ),
    (
        StatusGauge::CopyNewest,
        "dbbackup_copy_newest_timestamp_seconds",
        "When the newest backup was made that is in this other store.",
    ),
    (
        StatusGauge::StoreReachable,
        "dbbackup_store_reachable",
        "Whether a store that is to have copies answered: 1 or 0.",
    ),
    (
        StatusGauge::StoreFree,
        "dbbackup_store_free_bytes",
        "Free space in the store.",
    ),
    (
        StatusGauge::StoreNeeded,
        "dbbackup_store_needed_bytes",
        "What the next backups of all sources will need.",
    ),
    (
        StatusGauge::Written,
        "dbbackup_written_timestamp_seconds",
        "When this file was written.",
    ),
    (
        StatusGauge::BuildInfo,
        "dbbackup_build_info",
        "The program that wrote this; always 1.",
    ),
];

/// The values of the gauges of one store.
struct GaugeValues {
    store: String,
    metrics: Vec<Metric>,
}

impl GaugeValues {
    fn new(store: &Location) -> Self {
        GaugeValues {
            store: store.to_string(),
            metrics: GAUGES
                .iter()
                .map(|(_, name, help)| Metric::new(name, help))
                .collect(),
        }
    }

    /// Adds a value with these labels besides the store's; none is no sample.
    fn add(&mut self, gauge: StatusGauge, labels: &[(&'static str, &str)], value: Option<f64>) {
        let store = self.store.clone();
        self.add_in(&store, gauge, labels, value);
    }

    /// Adds a value of this store with these labels.
    fn add_in(
        &mut self,
        store: &str,
        gauge: StatusGauge,
        labels: &[(&'static str, &str)],
        value: Option<f64>,
    ) {
        let labels: Vec<_> = std::iter::once(("store", store))
            .chain(labels.iter().copied())
            .collect();
        let at = GAUGES.iter().position(|(known, ..)| *known == gauge);
        if let Some(metric) = at.and_then(|at| self.metrics.get_mut(at)) {
            metric.add(&labels, value);
        }
    }

    /// Adds a value of a source.
    fn set(&mut self, source: &str, gauge: StatusGauge, value: Option<f64>) {
        self.add(gauge, &[("source", source)], value);
    }

    /// What stands at the end of every file.
    fn finish(mut self, now: DateTime<Utc>) -> Vec<Metric> {
        self.add(StatusGauge::Written, &[], Some(seconds(now)));
        let version = env!("CARGO_PKG_VERSION");
        self.add(StatusGauge::BuildInfo, &[("version", version)], Some(1.0));
        self.metrics
    }
}

/// The metrics of a store's status. What the run came to that has just ended comes from its
/// summary: the store does not know of a source that was never begun.
pub fn metrics_of_status(
    status: &StoreHealth<'_>,
    run: Option<&RunSummary>,
    config: Option<&Config>,
) -> Vec<Metric> {
    let mut values = GaugeValues::new(status.store.location());
    let attempts = run.map_or_else(Vec::new, |run| attempts_of(run, config));
    let mut sources: Vec<_> = status.sources.iter().collect();
    sources.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    for (subject, health) in &sources {
        let attempt = attempts
            .iter()
            .find(|attempt| attempt.source == subject.name);
        add_judged(&mut values, subject, health, attempt);
    }
    let is_judged = |attempt: &&SourceSummary| {
        sources
            .iter()
            .any(|(subject, _)| subject.name == attempt.source)
    };
    // A cluster is judged by its databases; that its own attempt failed is no more than a warning.
    for attempt in attempts.iter().filter(|attempt| !is_judged(attempt)) {
        add_attempt(&mut values, attempt, config, HealthLevel::Warning);
    }
    for store in &status.copy_stores {
        let location = store.plan.location().to_string();
        let is_reachable = store.is_reachable.map(number);
        values.add_in(&location, StatusGauge::StoreReachable, &[], is_reachable);
    }
    values.add(
        StatusGauge::StoreFree,
        &[],
        status.free.map(|free| free as f64),
    );
    values.add(StatusGauge::StoreNeeded, &[], Some(status.needed as f64));
    values.finish(status.now)
}

/// The metrics of a run after which its store can't be read: it may have been away, or the hook
/// `after` has unmounted it. What only the store knows has no sample.
pub fn metrics_of_run(run: &RunSummary, store: &Location, config: &Config) -> Vec<Metric> {
    let mut values = GaugeValues::new(store);
    let mut attempts = attempts_of(run, Some(config));
    attempts.sort_by(|a, b| a.source.cmp(&b.source));
    for attempt in &attempts {
        add_attempt(&mut values, attempt, Some(config), HealthLevel::Critical);
    }
    values.finish(run.finished_at)
}

/// The attempts of a run at sources of the configuration. A name that nobody knows is no attempt.
fn attempts_of(run: &RunSummary, config: Option<&Config>) -> Vec<SourceSummary> {
    let is_known = |name: &str| config.is_some_and(|config| config.owner_of(name).is_some());
    let failed_whole = run.failure().is_some();
    let mut attempts = run.attempts();
    attempts.retain(|attempt| is_known(&attempt.source) && (failed_whole || is_attempt(attempt)));
    attempts
}

/// Whether something was tried for the source, and not only for what it stands for.
fn is_attempt(source: &SourceSummary) -> bool {
    let mistyped = source
        .error
        .as_ref()
        .is_some_and(|error| matches!(error.kind, Kind::Usage | Kind::NotFound));
    let without_backup = matches!(source.outcome, RunOutcome::Failed | RunOutcome::Interrupted);
    source.backup_id.is_some()
        || source.failed_id.is_some()
        || without_backup && !mistyped && source.shortfall != Some(Shortfall::Vanished)
}

/// Adds a source as it was judged, its last attempt as the run tells it.
fn add_judged(
    values: &mut GaugeValues,
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    attempt: Option<&SourceSummary>,
) {
    let name = subject.name.as_str();
    let newest = health.newest.as_ref();
    let last = health.last.as_ref();
    // Another run may have come after it.
    let is_last =
        |attempt: &&SourceSummary| last.is_none_or(|last| last.ended <= attempt.finished_at);
    let attempt = attempt.filter(is_last);
    let is_expected = matches!(subject.expected, Expectation::Yes | Expectation::From(_));
    let mut set = |gauge, value| values.set(name, gauge, value);
    set(
        StatusGauge::LastSuccess,
        newest.map(|newest| seconds(newest.ended)),
    );
    let (ended, is_good) = match attempt {
        Some(attempt) => (Some(attempt.finished_at), Some(attempt.is_backed_up())),
        None => (last.map(|last| last.ended), last.map(is_good)),
    };
    set(StatusGauge::LastAttempt, ended.map(seconds));
    set(StatusGauge::LastAttemptSuccess, is_good.map(number));
    set(
        StatusGauge::SuccessDuration,
        newest.map(|newest| newest.seconds),
    );
    set(
        StatusGauge::SuccessSize,
        newest.map(|newest| newest.stored as f64),
    );
    set(
        StatusGauge::SuccessContent,
        newest.map(|newest| newest.content as f64),
    );
    let rows = newest.and_then(|newest| newest.rows);
    set(StatusGauge::SuccessRows, rows.map(|rows| rows as f64));
    let files = newest.and_then(|newest| newest.files);
    set(StatusGauge::SuccessFiles, files.map(|files| files as f64));
    set(
        StatusGauge::LastProof,
        health.proof.map(|proof| seconds(proof.at)),
    );
    set(StatusGauge::StoredBytes, Some(health.stored as f64));
    set(StatusGauge::FailedAttempts, Some(health.failures as f64));
    set(StatusGauge::DamagedBackups, Some(health.damaged as f64));
    set(StatusGauge::Leftovers, Some(subject.leftovers.len() as f64));
    set(
        StatusGauge::RetentionHeld,
        Some(number(subject.held.is_some())),
    );
    let every = subject.expect_every.duration().as_secs_f64();
    set(StatusGauge::ExpectedInterval, is_expected.then_some(every));
    let prove = subject.prove_every.filter(|_| is_expected);
    set(
        StatusGauge::ProofInterval,
        prove.map(|every| every.duration().as_secs_f64()),
    );
    set(StatusGauge::Expected, Some(number(is_expected)));
    // The store may know nothing of an attempt that failed.
    let least = match attempt {
        Some(attempt) if is_expected && !attempt.is_backed_up() => HealthLevel::Warning,
        _ => HealthLevel::Ok,
    };
    set(
        StatusGauge::Status,
        Some(f64::from(health.level.max(least).code())),
    );
    for copies in &subject.copies {
        values.add_in(
            &copies.location,
            StatusGauge::CopyNewest,
            &[("source", name)],
            copies.newest().map(seconds),
        );
    }
    for (label, count) in &health.labels {
        let labels = [("source", name), ("label", *label)];
        values.add(StatusGauge::Backups, &labels, Some(*count as f64));
    }
}

/// Adds a source of which only this run's attempt is known. `worst` is how bad it is that it
/// failed, where no fresh backup is known.
fn add_attempt(
    values: &mut GaugeValues,
    attempt: &SourceSummary,
    config: Option<&Config>,
    worst: HealthLevel,
) {
    let good = attempt.is_backed_up().then_some(attempt);
    let common = config
        .and_then(|config| config.owner_of(&attempt.source))
        .map(|(_, entry)| &entry.common)
        .filter(|common| common.enabled);
    let every = common.map(|common| common.expect_every);
    let last_good = good.map(|good| good.finished_at).or(attempt.last_good_at);
    let mut set = |gauge, value| values.set(&attempt.source, gauge, value);
    set(StatusGauge::LastSuccess, last_good.map(seconds));
    set(StatusGauge::LastAttempt, Some(seconds(attempt.finished_at)));
    set(
        StatusGauge::LastAttemptSuccess,
        Some(number(good.is_some())),
    );
    set(
        StatusGauge::SuccessDuration,
        good.and_then(|good| good.duration_seconds),
    );
    let of_good =
        |value: fn(&SourceSummary) -> Option<u64>| good.and_then(value).map(|value| value as f64);
    set(StatusGauge::SuccessSize, of_good(|good| good.size_bytes));
    set(
        StatusGauge::SuccessContent,
        of_good(|good| good.content_size_bytes),
    );
    set(StatusGauge::SuccessRows, of_good(|good| good.rows_total));
    set(StatusGauge::SuccessFiles, of_good(|good| good.files_total));
    let is_held = attempt.shortfall == Some(Shortfall::RetentionHeld);
    set(StatusGauge::RetentionHeld, good.map(|_| number(is_held)));
    set(
        StatusGauge::ExpectedInterval,
        every.map(|every| every.duration().as_secs_f64()),
    );
    set(StatusGauge::Expected, Some(number(common.is_some())));
    let is_fresh = |at: DateTime<Utc>| {
        let age = (attempt.finished_at - at).to_std().unwrap_or_default();
        every.is_some_and(|every| age <= every.duration())
    };
    let level = match good {
        Some(_) if is_held => HealthLevel::Warning,
        Some(_) => HealthLevel::Ok,
        None if common.is_none() => HealthLevel::Ok,
        None if last_good.is_some_and(is_fresh) => HealthLevel::Warning,
        None => worst,
    };
    set(StatusGauge::Status, Some(f64::from(level.code())));
}

fn is_good(attempt: &JudgedAttempt<'_>) -> bool {
    attempt.worth == AttemptWorth::Good
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

fn number(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
