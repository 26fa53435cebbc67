//! One attempt at a dump: a snapshot is taken and exported, `pg_dump` writes the dump in it, and
//! the rows are counted.

use super::dump_program::{copy_output, incomplete_error, is_lock_timeout, with_known_hint};
use super::{PAUSE, PostgresSource};
use crate::engine::Dumped;
use crate::engine::postgres::archive::CountFailure;
use crate::engine::postgres::counting::{RowCounter, RowCounts, build_inventory};
use crate::engine::postgres::lock_watcher::LockWatcher;
use crate::engine::postgres::tables::{self, ListedTable};
use crate::engine::postgres::{explain_error, facts};
use crate::error::{Error, Kind, Result};
use postgres::fallible_iterator::FallibleIterator;
use std::io::Write;
use std::time::{Duration, Instant};

/// A snapshot that was exported, with its locked tables and what a dump of it will lack.
pub(super) struct ExportedSnapshot {
    /// The name by which `pg_dump` finds it.
    pub(super) name: String,
    /// The tables in it.
    pub(super) tables: Vec<ListedTable>,
    is_standby: bool,
    /// Whether the role may not read all large objects, so that all are left out.
    pub(super) without_large_objects: bool,
    /// Descriptions of what the dump will lack.
    lacking: Vec<String>,
    /// A description of the foreign keys that a restore will leave out.
    broken_keys: Option<String>,
}

impl PostgresSource {
    /// Makes one attempt in a snapshot of its own. Returns `Ok(None)` where a lock could not be had
    /// in time and nothing was written yet.
    pub(super) fn attempt(
        &mut self,
        out: &mut dyn Write,
        wait: Duration,
        token: &str,
        watch: &LockWatcher,
    ) -> Result<Option<Dumped>> {
        let Some(snapshot) = self.export_snapshot(wait)? else {
            return Ok(None);
        };
        let started = Instant::now();
        let mut child = self.start_dump(&snapshot, wait, token)?;
        watch.watch_programs(token);
        let mut counter = if self.plan.count {
            Some(RowCounter::start(self.plan.format)?)
        } else {
            None
        };
        let written = copy_output(&mut child, self.plan.stall_timeout, out, counter.as_mut());
        let counted = counter.map(RowCounter::finish);
        let ended = written.and_then(|copied| {
            self.finish_dump(child, &copied, token)
                .map_err(|error| (copied.bytes, error))
        });
        let lost = if ended.is_err() {
            self.read_final_error()
        } else {
            None
        };
        let _ = self.session.client.batch_execute("ROLLBACK");
        let stderr = match ended {
            Ok(stderr) => stderr,
            Err((0, error)) if is_lock_timeout(&error, started.elapsed(), wait) => {
                return Ok(None);
            }
            Err((_, error)) => return Err(self.explain_failure(error, lost, watch)),
        };
        let mut dumped = self.summarize(&stderr);
        if let Some(counted) = counted {
            self.add_counts(&mut dumped, &snapshot, counted)?;
        }
        dumped.notes.extend(snapshot.broken_keys);
        dumped.lacks = dumped.lacks.or_else(|| snapshot.lacking.last().cloned());
        dumped.warnings.extend(snapshot.lacking);
        Ok(Some(dumped))
    }

    /// Locks the tables and exports a snapshot of them. Returns `Ok(None)` where a lock could not
    /// be had in time.
    fn export_snapshot(&mut self, wait: Duration) -> Result<Option<ExportedSnapshot>> {
        let is_standby = facts::is_standby(&mut self.session.client)?;
        let before = tables::list_tables(&mut self.session.client, &self.plan.selection)?;
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        // The locks come first: a transaction of this level takes its snapshot with its first
        // query, and locked tables can't change before it.
        self.execute(&format!("SET lock_timeout = {}", wait.as_millis()))?;
        if !self.lock(&before)? {
            return Ok(None);
        }
        let tables = tables::list_tables(&mut self.session.client, &self.plan.selection)?;
        let newer: Vec<ListedTable> = tables
            .iter()
            .filter(|table| !before.contains(table))
            .cloned()
            .collect();
        if !self.lock(&newer)? {
            return Ok(None);
        }
        self.execute("SET lock_timeout = 0")?;
        let missing_objects = self.describe_missing_objects()?;
        let mut lacking = self.describe_missing_schemas()?;
        lacking.extend(missing_objects.iter().cloned());
        let broken_keys = self.describe_broken_keys(&tables)?;
        let row = self
            .session
            .client
            .query_one("SELECT pg_catalog.pg_export_snapshot()", &[]);
        let name: String = row
            .map_err(|error| explain_error(&error, "exporting the snapshot"))?
            .get(0);
        // Nothing may be left to be sent, or the server's final error is never received: see
        // `read_final_error`.
        self.execute("")?;
        Ok(Some(ExportedSnapshot {
            name,
            tables,
            is_standby,
            without_large_objects: !missing_objects.is_empty(),
            lacking,
            broken_keys,
        }))
    }

    /// The reason for a failure of the dump. The end of a wait for locks, or of the session that
    /// holds the snapshot, explains the program's own error.
    fn explain_failure(
        &self,
        error: Error,
        lost: Option<postgres::Error>,
        watch: &LockWatcher,
    ) -> Error {
        if error.kind() != Kind::Failed {
            return with_known_hint(error);
        }
        if watch.has_ended_wait() {
            return self.lock_error(watch);
        }
        match lost {
            Some(lost) => explain_error(&lost, "the session that holds the snapshot was ended"),
            None => with_known_hint(error),
        }
    }

    fn add_counts(
        &self,
        dumped: &mut Dumped,
        snapshot: &ExportedSnapshot,
        counted: Result<RowCounts, CountFailure>,
    ) -> Result<()> {
        match counted {
            Ok(counts) => {
                let contents = build_inventory(&snapshot.tables, counts, snapshot.is_standby);
                dumped.manifest = contents.manifest;
                dumped.warnings.extend(contents.warnings);
                dumped.lacks = dumped.lacks.take().or(contents.lacks);
                Ok(())
            }
            Err(CountFailure::CutOff) => Err(incomplete_error(
                &self.dump.name,
                "an archive that breaks off",
            )),
            Err(CountFailure::NotUnderstood(why)) => {
                dumped.warnings.push(format!(
                    "the rows could not be counted, so a restore has no counts to compare: {why}"
                ));
                Ok(())
            }
            Err(CountFailure::Unreadable(error)) => Err(error),
        }
    }

    /// The reason why the server ended the session, if it did. It is read before anything is sent,
    /// as a write to a closed session fails with less information.
    fn read_final_error(&mut self) -> Option<postgres::Error> {
        self.session
            .client
            .notifications()
            .timeout_iter(PAUSE)
            .next()
            .err()
    }
}
