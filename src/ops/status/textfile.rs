//! A store's status as metrics, in a file for the textfile collector of Prometheus' node_exporter.

use super::{StatusRequest, StoreHealth, StoreReading};
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::health::{AttemptWorth, Expectation, JudgedAttempt};
use crate::metrics::{Metric, render};
use crate::ops::{Observer, Session};
use chrono::{DateTime, Utc};
use std::path::Path;

/// The collector runs as another user.
const MODE: u32 = 0o644;

/// Writes the metrics of a status to a file, in one step.
pub fn write_textfile(path: &Path, status: &StoreHealth<'_>) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(Error::failed(format!(
            "the directory of `{}` is not there",
            path.display()
        ))
        .with_hint("make it, or name another file"));
    }
    durable::replace_with_mode(path, render(&metrics(status)).as_bytes(), MODE)
        .with_hint("the directory must be there, and writable by this user")
}

/// Writes the metrics after a run of backups, where `[metrics]` names a file. The backups are
/// there: a failure is a warning, and loses nothing.
pub fn write_metrics(session: &Session, observer: &dyn Observer) {
    if let Err(error) = try_write_metrics(session, observer) {
        observer.warn(format!("the metrics were not written: {error}"));
    }
}

fn try_write_metrics(session: &Session, observer: &dyn Observer) -> Result<()> {
    let Some(config) = &session.config else {
        return Ok(());
    };
    let Some(path) = &config.metrics.textfile else {
        return Ok(());
    };
    let plan = session.store_plan()?;
    let own = config.store.as_ref();
    if own.is_some_and(|store| store.location != *plan.location()) {
        // One file, one store: that of another one would take its place.
        observer.detail(format!(
            "`{}` is about the store in [store], so it was left as it is",
            path.display()
        ));
        return Ok(());
    }
    let reading = StoreReading::open(plan)?;
    // The run took its time: what it created is not of the future.
    let session = session.at(crate::engine::whole_second(Utc::now()));
    let status = reading.judge(&StatusRequest::default(), &session)?;
    write_textfile(path, &status)
}

fn metrics(status: &StoreHealth<'_>) -> Vec<Metric> {
    let store = status.store.location().to_string();
    let seconds = |at: DateTime<Utc>| at.timestamp() as f64;
    let mut success = Metric::new(
        "dbbackup_last_success_timestamp_seconds",
        "When the newest good backup was finished.",
    );
    let mut attempt = Metric::new(
        "dbbackup_last_attempt_timestamp_seconds",
        "When the last attempt ended, whatever came of it.",
    );
    let mut succeeded = Metric::new(
        "dbbackup_last_attempt_success",
        "Whether the last attempt made a good backup: 1 or 0.",
    );
    let mut duration = Metric::new(
        "dbbackup_last_success_duration_seconds",
        "How long the newest good backup took.",
    );
    let mut size = Metric::new(
        "dbbackup_last_success_size_bytes",
        "Size of the newest good backup as stored.",
    );
    let mut content = Metric::new(
        "dbbackup_last_success_content_bytes",
        "Size of the newest good backup before compression.",
    );
    let mut rows = Metric::new(
        "dbbackup_last_success_rows",
        "Rows in the newest good backup.",
    );
    let mut files = Metric::new(
        "dbbackup_last_success_files",
        "Files in the newest good backup of a tree.",
    );
    let mut proof = Metric::new(
        "dbbackup_last_proof_timestamp_seconds",
        "When a backup was last proven by a trial restore.",
    );
    let mut backups = Metric::new("dbbackup_backups", "Good backups in the store, by label.");
    let mut stored = Metric::new("dbbackup_stored_bytes", "Size of all backups in the store.");
    let mut failed = Metric::new(
        "dbbackup_failed_attempts",
        "Failed attempts that the store remembers.",
    );
    let mut damaged = Metric::new(
        "dbbackup_damaged_backups",
        "Backups in the store that were found damaged.",
    );
    let mut leftovers = Metric::new(
        "dbbackup_restore_leftovers",
        "What restores left and nobody has removed.",
    );
    let mut held = Metric::new(
        "dbbackup_retention_held",
        "Whether a backup that lost much keeps retention from removing anything: 1 or 0.",
    );
    let mut every = Metric::new(
        "dbbackup_expected_interval_seconds",
        "How old the newest good backup may be.",
    );
    let mut prove = Metric::new(
        "dbbackup_proof_interval_seconds",
        "How long ago the last proof may be; only where one is asked for.",
    );
    let mut expected = Metric::new(
        "dbbackup_expected",
        "Whether backups of the source are expected now: 1 or 0.",
    );
    let mut level = Metric::new(
        "dbbackup_status",
        "0 OK, 1 WARNING, 2 CRITICAL, as `dbbackup status` ends.",
    );
    let mut sources: Vec<_> = status.sources.iter().collect();
    sources.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    for (subject, health) in sources {
        let labels = [("store", store.as_str()), ("source", subject.name.as_str())];
        let newest = health.newest.as_ref();
        let is_expected = matches!(subject.expected, Expectation::Yes | Expectation::From(_));
        success.add(&labels, newest.map(|newest| seconds(newest.ended)));
        attempt.add(
            &labels,
            health.last.as_ref().map(|last| seconds(last.ended)),
        );
        let good = |last: &JudgedAttempt<'_>| f64::from(u8::from(last.worth == AttemptWorth::Good));
        succeeded.add(&labels, health.last.as_ref().map(good));
        duration.add(&labels, newest.map(|newest| newest.seconds));
        size.add(&labels, newest.map(|newest| newest.stored as f64));
        content.add(&labels, newest.map(|newest| newest.content as f64));
        rows.add(
            &labels,
            newest
                .and_then(|newest| newest.rows)
                .map(|rows| rows as f64),
        );
        files.add(
            &labels,
            newest
                .and_then(|newest| newest.files)
                .map(|files| files as f64),
        );
        proof.add(&labels, health.proof.map(|(at, _)| seconds(at)));
        for (label, count) in &health.labels {
            backups.add(
                &[labels[0], labels[1], ("label", label)],
                Some(*count as f64),
            );
        }
        stored.add(&labels, Some(health.stored as f64));
        failed.add(&labels, Some(health.failures as f64));
        damaged.add(&labels, Some(health.damaged as f64));
        leftovers.add(&labels, Some(subject.leftovers.len() as f64));
        held.add(&labels, Some(f64::from(u8::from(subject.held.is_some()))));
        every.add(
            &labels,
            is_expected.then(|| subject.expect_every.duration().as_secs_f64()),
        );
        prove.add(
            &labels,
            subject
                .prove_every
                .filter(|_| is_expected)
                .map(|every| every.duration().as_secs_f64()),
        );
        expected.add(&labels, Some(f64::from(u8::from(is_expected))));
        level.add(&labels, Some(f64::from(health.level.code())));
    }
    let of_store = |name, help, value: Option<f64>| {
        let mut metric = Metric::new(name, help);
        metric.add(&[("store", &store)], value);
        metric
    };
    let free = status.free.map(|free| free as f64);
    let mut build = Metric::new(
        "dbbackup_build_info",
        "The program that wrote this; always 1.",
    );
    build.add(
        &[("store", &store), ("version", env!("CARGO_PKG_VERSION"))],
        Some(1.0),
    );
    vec![
        success,
        attempt,
        succeeded,
        duration,
        size,
        content,
        rows,
        files,
        proof,
        backups,
        stored,
        failed,
        damaged,
        leftovers,
        held,
        every,
        prove,
        expected,
        level,
        of_store(
            "dbbackup_store_free_bytes",
            "Free space in the store.",
            free,
        ),
        of_store(
            "dbbackup_store_needed_bytes",
            "What the next backups of all sources will need.",
            Some(status.needed as f64),
        ),
        of_store(
            "dbbackup_written_timestamp_seconds",
            "When this file was written.",
            Some(seconds(status.now)),
        ),
        build,
    ]
}
