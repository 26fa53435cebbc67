//! `dbbackup stats`: how many, how large, how they grow, and when one last succeeded or failed.

use crate::catalog::{Catalog, ListedBackup};
use crate::cli::StatsArguments;
use crate::error::{Hint, Result};
use crate::ops::{Session, catalog_of, names_in};
use crate::report::{CommandOutcome, Paint, Report, columns};
use crate::sidecar::Status;
use crate::statistics::{growth_per_day, sparkline};
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// The numbers of a source, or of all sources together.
#[derive(Default)]
struct SourceTotals {
    /// Good backups.
    good: u64,
    /// Those that are partial, damaged or missing.
    flawed: u64,
    failed: u64,
    stored: u64,
    /// Of the good ones, as stored and before compression.
    good_stored: u64,
    content: u64,
    labels: BTreeMap<String, u64>,
    oldest: Option<DateTime<Utc>>,
    newest: Option<DateTime<Utc>>,
    last_success: Option<DateTime<Utc>>,
    last_failure: Option<DateTime<Utc>>,
    /// Bytes per day before compression; of several sources the sum of theirs.
    growth: Option<f64>,
    /// Stored sizes, the oldest first.
    sizes: Vec<u64>,
}

pub fn run(
    arguments: &StatsArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let store = session.reading()?;
    let catalog = catalog_of(
        &*store,
        &names_in(&*store, &arguments.sources, session, report)?,
    )?;
    let sources: Vec<(String, SourceTotals)> = catalog
        .sources()
        .into_iter()
        .map(|name| (name.clone(), sums(&name, &catalog)))
        .collect();
    let mut total = SourceTotals::default();
    sources.iter().for_each(|(_, sums)| total.add(sums));
    let named = |(name, sums): &(String, SourceTotals)| {
        let mut value = sums.json();
        value["source"] = name.as_str().into();
        value
    };
    report.set("sources", sources.iter().map(named).collect::<Vec<_>>());
    report.set("total", total.json());
    if sources.is_empty() {
        report.note(
            Hint::new()
                .text("the store holds no backups yet: ")
                .command(["backup"])
                .text(" makes one"),
        );
        return Ok(None);
    }
    let heads = [
        "SOURCE",
        "GOOD",
        "STORED",
        "CONTENT",
        "RATIO",
        "PER DAY",
        "OLDEST",
        "LAST SUCCESS",
        "LAST FAILURE",
        "LABELS",
    ];
    let mut heads: Vec<String> = heads.map(|head| report.paint(Paint::Strong, head)).to_vec();
    if report.is_terminal() {
        heads.push(report.paint(Paint::Strong, "SIZES"));
    }
    let mut rows = vec![heads];
    rows.extend(
        sources
            .iter()
            .map(|(name, sums)| sums.row(name, session.now, report)),
    );
    if sources.len() > 1 {
        rows.push(total.row("in all", session.now, report));
    }
    report.answers(columns(&rows, &[1, 2, 3, 4, 5]));
    let flawed: Vec<Hint> = sources
        .iter()
        .filter_map(|(name, sums)| sums.flaws(name))
        .collect();
    flawed.into_iter().for_each(|text| report.note(text));
    Ok(None)
}

fn sums(name: &str, catalog: &Catalog) -> SourceTotals {
    let mut sums = SourceTotals::default();
    let mut contents = Vec::new();
    for backup in catalog.of(name) {
        let sidecar = &backup.sidecar;
        sums.stored = sums.stored.saturating_add(backup.presence.bytes());
        if sidecar.status == Status::Failed {
            sums.failed += 1;
            sums.last_failure = sums.last_failure.max(Some(sidecar.finished_at));
        } else if backup.good() {
            sums.count(backup);
            contents.push((
                sidecar.started_at,
                sidecar
                    .dump
                    .as_ref()
                    .map_or(0, |dump| dump.content_size_bytes),
            ));
        } else {
            sums.flawed += 1;
        }
    }
    sums.flawed += catalog
        .unreadable
        .iter()
        .filter(|lost| lost.source == name)
        .count() as u64;
    sums.sizes.reverse();
    sums.growth = growth_per_day(&contents);
    sums
}

impl SourceTotals {
    fn count(&mut self, backup: &ListedBackup) {
        let sidecar = &backup.sidecar;
        self.good += 1;
        self.content = self.content.saturating_add(
            sidecar
                .dump
                .as_ref()
                .map_or(0, |dump| dump.content_size_bytes),
        );
        self.good_stored = self.good_stored.saturating_add(backup.presence.bytes());
        self.sizes.push(backup.presence.bytes());
        *self.labels.entry(sidecar.label.to_string()).or_default() += 1;
        let at = sidecar.started_at;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = self.newest.max(Some(at));
        self.last_success = self.last_success.max(Some(sidecar.finished_at));
    }

    fn add(&mut self, other: &SourceTotals) {
        self.good += other.good;
        self.flawed += other.flawed;
        self.failed += other.failed;
        self.stored = self.stored.saturating_add(other.stored);
        self.good_stored = self.good_stored.saturating_add(other.good_stored);
        self.content = self.content.saturating_add(other.content);
        other
            .labels
            .iter()
            .for_each(|(label, count)| *self.labels.entry(label.clone()).or_default() += count);
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.max(other.newest);
        self.last_success = self.last_success.max(other.last_success);
        self.last_failure = self.last_failure.max(other.last_failure);
        self.growth = other
            .growth
            .map(|growth| growth + self.growth.unwrap_or(0.0))
            .or(self.growth);
    }

    /// Content to stored bytes of the good backups.
    fn ratio(&self) -> Option<f64> {
        (self.good_stored > 0).then(|| self.content as f64 / self.good_stored as f64)
    }

    fn row(&self, name: &str, now: DateTime<Utc>, report: &Report) -> Vec<String> {
        let ago = |at: Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| units::age(at, now));
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(label, count)| format!("{label} {}", units::thousands(*count)))
            .collect();
        let mut row = vec![
            name.to_owned(),
            units::thousands(self.good),
            units::size(self.stored),
            units::size(self.content),
            self.ratio()
                .map_or("-".into(), |ratio| format!("{ratio:.1}:1")),
            self.growth.map_or("-".into(), per_day),
            ago(self.oldest),
            ago(self.last_success),
            ago(self.last_failure),
            labels.join(", "),
        ];
        if report.is_terminal() {
            row.push(sparkline(&self.sizes, 16));
        }
        row
    }

    fn flaws(&self, name: &str) -> Option<Hint> {
        let counts = [
            (self.failed, "failed attempt"),
            (self.flawed, "damaged or incomplete backup"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| units::count(*count, what))
            .collect();
        (!counts.is_empty()).then(|| {
            Hint::new()
                .text(format!("{name}: {} besides: ", counts.join(" and ")))
                .command(["list", "--status", "all", name])
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "good": self.good,
            "flawed": self.flawed,
            "failed": self.failed,
            "stored_bytes": self.stored,
            "content_bytes": self.content,
            "compression_ratio": self.ratio(),
            "growth_bytes_per_day": self.growth.map(f64::round),
            "by_label": self.labels,
            "oldest": self.oldest,
            "newest": self.newest,
            "last_success": self.last_success,
            "last_failure": self.last_failure,
        })
    }
}

/// `+1.2 MiB`.
fn per_day(bytes: f64) -> String {
    let sign = if bytes < -0.5 {
        "-"
    } else if bytes < 0.5 {
        ""
    } else {
        "+"
    };
    format!("{sign}{}", units::size(bytes.abs().round() as u64))
}
