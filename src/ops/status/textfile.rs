//! A store's status as metrics, in a file for the textfile collector of Prometheus' node_exporter.

use super::gauges::{metrics_of_run, metrics_of_status};
use super::{StatusRequest, StoreHealth, StoreReading};
use crate::config::Config;
use crate::durable;
use crate::error::{Context, Result};
use crate::failpoint::present;
use crate::metrics::{Metric, render};
use crate::ops::run::{RunListener, RunSummary};
use crate::ops::{Observer, Session};
use crate::plan::StorePlan;
use std::path::Path;

/// The collector runs as another user.
const MODE: u32 = 0o644;

/// Writes the metrics of a status to a file, in one step.
pub fn write_textfile(path: &Path, status: &StoreHealth<'_>) -> Result<()> {
    write_metrics(path, &metrics_of_status(status, None, None))
}

fn write_metrics(path: &Path, metrics: &[Metric]) -> Result<()> {
    durable::replace_for_others(path, render(metrics).as_bytes(), MODE)
}

/// Writes the metrics when a run has ended, where `[metrics]` names a file.
pub struct MetricsFile<'a> {
    session: &'a Session,
    observer: &'a dyn Observer,
}

impl<'a> MetricsFile<'a> {
    /// The file of the session's configuration.
    pub fn new(session: &'a Session, observer: &'a dyn Observer) -> Self {
        MetricsFile { session, observer }
    }

    /// The metrics after the run, of a store that perhaps can't be read.
    fn metrics(&self, summary: &RunSummary, store: StorePlan, config: &Config) -> Vec<Metric> {
        let location = store.location().clone();
        // The run took its time: what it created is not of the future.
        let session = self.session.at(crate::engine::whole_second(present()));
        let judged = StoreReading::open(store).and_then(|reading| {
            let status = reading.judge(&StatusRequest::default(), &session)?;
            Ok(metrics_of_status(&status, Some(summary), Some(config)))
        });
        judged.unwrap_or_else(|error| {
            self.observer.detail(format!(
                "the metrics say only what the run came to, as the store can't be read: {error}"
            ));
            metrics_of_run(summary, &location, config)
        })
    }
}

impl RunListener for MetricsFile<'_> {
    fn run_ended(&self, summary: &RunSummary) -> Result<()> {
        let Some(config) = &self.session.config else {
            return Ok(());
        };
        let Some(path) = &config.metrics.textfile else {
            return Ok(());
        };
        let store = self.session.store_plan().context(NOT_WRITTEN)?;
        let own = config.store.as_ref();
        if own.is_some_and(|own| own.location != *store.location()) {
            // One file, one store: that of another one would take its place.
            self.observer.detail(format!(
                "`{}` is about the store in [store], so it was left as it is",
                path.display()
            ));
            return Ok(());
        }
        write_metrics(path, &self.metrics(summary, store, config)).context(NOT_WRITTEN)
    }
}

/// What is said before why it is so.
const NOT_WRITTEN: &str = "the metrics were not written";
