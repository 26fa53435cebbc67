//! A run: what its backups have in common, and what it came to, as plain data. Hooks, metrics and
//! the rendering are given the summary, and none of them reads another one's sentences.

use crate::engine::whole_second;
use crate::error::{Error, Hint, Kind, Result};
use crate::failpoint::present;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the backups of one run have in common.
#[derive(Debug, Clone)]
pub struct Run {
    /// The run's id.
    pub id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Its sources, where it saves all databases of a server.
    pub members: Vec<String>,
    /// This machine.
    pub host: String,
    /// Why the backups are made.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// The user's keys and values.
    pub tags: BTreeMap<String, String>,
    /// Whether they are pinned from the start.
    pub pinned: bool,
    /// Whether each is a full, whatever it could be built on.
    pub full: bool,
    /// Whether every file of a tree is read, whatever its times say.
    pub reread: bool,
    /// How long another run's lock is waited for.
    pub lock_wait: Duration,
    /// The configuration's file, for hooks.
    pub config: Option<PathBuf>,
}

/// How a run ended, or one source in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// A good backup was created.
    Ok,
    /// Nothing was tried, as the source is outside its window of time.
    Skipped,
    /// There is less than was asked for: an incomplete backup, a backup after which something
    /// failed, or, of a whole run, not every source.
    Partial,
    /// There is no backup.
    Failed,
    /// A signal ended it.
    Interrupted,
}

impl RunOutcome {
    /// The outcome that an error of this kind means; none means success.
    pub fn from_kind(kind: Option<Kind>) -> RunOutcome {
        match kind {
            None => RunOutcome::Ok,
            Some(Kind::Partial) => RunOutcome::Partial,
            Some(Kind::Interrupted) => RunOutcome::Interrupted,
            Some(_) => RunOutcome::Failed,
        }
    }
}

/// What a backup lacks that was created although an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// It does not hold everything that it should.
    Incomplete,
    /// It is a full, as the backup that it would have been built on is damaged.
    BaseDamaged,
    /// Its `after` hook failed.
    AfterHookFailed,
    /// The brake held retention back.
    RetentionHeld,
    /// Retention failed.
    RetentionFailed,
    /// It is not in every store that it should be copied to.
    NotCopied,
    /// The database has vanished from its server, and only earlier backups hold it.
    Vanished,
}

/// An error as data.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorSummary {
    /// The whole chain of causes on one line.
    pub message: String,
    /// What went wrong, as far as scripts care.
    #[serde(serialize_with = "serialize_kind")]
    pub kind: Kind,
    /// What to do about it.
    #[serde(serialize_with = "serialize_hint")]
    pub hint: Option<Hint>,
}

impl From<&Error> for ErrorSummary {
    fn from(error: &Error) -> Self {
        ErrorSummary {
            message: error.message(),
            kind: error.kind(),
            hint: error.hint().cloned(),
        }
    }
}

impl From<&ErrorSummary> for Error {
    fn from(summary: &ErrorSummary) -> Self {
        let error = Error::new(summary.kind, &summary.message);
        match &summary.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }
}

fn serialize_hint<S: Serializer>(
    hint: &Option<Hint>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    hint.as_ref().map(ToString::to_string).serialize(serializer)
}

fn serialize_kind<S: Serializer>(
    kind: &Kind,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        Kind::Failed => "failed",
        Kind::Usage => "usage",
        Kind::Partial => "partial",
        Kind::Damaged => "damaged",
        Kind::NotFound => "not_found",
        Kind::Locked => "locked",
        Kind::Sealed => "sealed",
        Kind::Interrupted => "interrupted",
    })
}

/// A backup that retention removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedBackup {
    /// Its id.
    pub id: String,
    /// Why it was removed.
    pub reason: String,
    /// The bytes that it took in the store.
    pub size_bytes: u64,
}

/// What came of the copies of one source.
#[derive(Debug, Default)]
pub struct SourceCopies {
    /// The ids that were copied, by the name of the store.
    pub copied: BTreeMap<String, Vec<String>>,
    /// What failed; the backup itself stays.
    pub error: Option<Error>,
}

/// What a run came to for one source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceSummary {
    /// The source's name.
    pub source: String,
    /// What the sidecar calls its kind; unknown where not even that could be told.
    pub kind: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What there is all the same, or is not, where an error came.
    pub shortfall: Option<Shortfall>,
    /// Why the source was skipped.
    pub skip_reason: Option<String>,
    /// The id of the backup.
    pub backup_id: Option<String>,
    /// The id of the failed attempt that the store remembers.
    pub failed_id: Option<String>,
    /// The dump's file, where the store has one.
    pub dump_path: Option<PathBuf>,
    /// The size of the dump as stored, in bytes.
    pub size_bytes: Option<u64>,
    /// The size of the content before compression, in bytes.
    pub content_size_bytes: Option<u64>,
    /// Rows in all tables.
    pub rows_total: Option<u64>,
    /// Files of a tree.
    pub files_total: Option<u64>,
    /// When the attempt ended.
    pub finished_at: DateTime<Utc>,
    /// How long the backup took.
    pub duration_seconds: Option<f64>,
    /// The sidecar's warnings.
    pub warnings: Vec<String>,
    /// What went wrong, before the backup or after it.
    pub error: Option<ErrorSummary>,
    /// When the newest good backup before this run was finished.
    pub last_good_at: Option<DateTime<Utc>>,
    /// What retention removed after the backup, the newest first.
    pub removed: Vec<RemovedBackup>,
    /// The ids of what was copied to other stores after the backup, by the store's name.
    pub copied: BTreeMap<String, Vec<String>>,
}

impl SourceSummary {
    /// A source of which nothing is known but that it was to be backed up.
    pub fn new(source: impl Into<String>) -> Self {
        SourceSummary {
            source: source.into(),
            kind: None,
            outcome: RunOutcome::Ok,
            shortfall: None,
            skip_reason: None,
            backup_id: None,
            failed_id: None,
            dump_path: None,
            size_bytes: None,
            content_size_bytes: None,
            rows_total: None,
            files_total: None,
            finished_at: now(),
            duration_seconds: None,
            warnings: Vec::new(),
            error: None,
            last_good_at: None,
            removed: Vec::new(),
            copied: BTreeMap::new(),
        }
    }

    /// A source that was not tried.
    pub fn skipped(source: impl Into<String>, reason: impl Into<String>) -> Self {
        SourceSummary {
            outcome: RunOutcome::Skipped,
            skip_reason: Some(reason.into()),
            ..SourceSummary::new(source)
        }
    }

    /// A source without a backup.
    pub fn failed(source: impl Into<String>, error: &Error) -> Self {
        SourceSummary::new(source).with_error(Some(error))
    }

    /// The same with this error, or none; the outcome follows.
    pub fn with_error(self, error: Option<&Error>) -> Self {
        SourceSummary {
            outcome: RunOutcome::from_kind(error.map(Error::kind)),
            error: error.map(ErrorSummary::from),
            ..self
        }
    }

    /// The same with what came of its copies.
    pub fn with_copies(self, copies: SourceCopies) -> Self {
        let before = self.error.as_ref().map(Error::from);
        let failed = copies.error.is_some();
        let shortfall = self.shortfall.or(failed.then_some(Shortfall::NotCopied));
        let error = join_errors(before.into_iter().chain(copies.error));
        SourceSummary {
            copied: copies.copied,
            shortfall: shortfall.filter(|_| self.backup_id.is_some()),
            ..self
        }
        .with_error(error.as_ref())
    }

    /// Whether a good backup was created, whatever came after it.
    pub fn is_backed_up(&self) -> bool {
        self.backup_id.is_some() && self.shortfall != Some(Shortfall::Incomplete)
    }

    /// The error with the source's name before it.
    pub fn named_error(&self) -> Option<Error> {
        let error = Error::from(self.error.as_ref()?);
        Some(error_of_source(&self.source, &error))
    }
}

/// What a run came to, in total and for each source.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The run's id.
    pub run: String,
    /// The label of its backups.
    pub label: String,
    /// The machine that it ran on.
    pub host: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The names of the sources that were to be tried; none where the run could not be planned.
    pub planned: Vec<String>,
    /// Its sources, in the order of the plan; none where the run ended before the first of them.
    pub sources: Vec<SourceSummary>,
    /// What went wrong around the sources: the run could not be planned, the store could not be
    /// opened, or a hook of the whole run failed.
    pub error: Option<ErrorSummary>,
}

impl RunSummary {
    /// Summarises a run that ends now.
    pub fn new(
        run: &Run,
        planned: &[String],
        sources: Vec<SourceSummary>,
        error: Option<&Error>,
    ) -> Self {
        let mut summary = RunSummary {
            run: run.id.clone(),
            label: run.label.clone(),
            host: run.host.clone(),
            started_at: run.started_at,
            finished_at: now(),
            outcome: RunOutcome::Ok,
            planned: planned.to_vec(),
            sources,
            error: error.map(ErrorSummary::from),
        };
        let is_skipped = |source: &SourceSummary| source.outcome == RunOutcome::Skipped;
        summary.outcome = match summary.kind() {
            None if !summary.sources.is_empty() && summary.sources.iter().all(is_skipped) => {
                RunOutcome::Skipped
            }
            kind => RunOutcome::from_kind(kind),
        };
        summary
    }

    /// The sources that were tried.
    pub fn tried(&self) -> impl Iterator<Item = &SourceSummary> {
        self.sources
            .iter()
            .filter(|source| source.outcome != RunOutcome::Skipped)
    }

    /// The error of a run that ended before the first of its sources.
    pub fn failure(&self) -> Option<Error> {
        let error = self.error.as_ref().filter(|_| self.sources.is_empty())?;
        Some(Error::from(error))
    }

    /// What the run came to for each source that was to be tried. Where it ended before the first
    /// of them, its error is that of all.
    pub fn attempts(&self) -> Vec<SourceSummary> {
        match self.failure() {
            Some(error) => self
                .planned
                .iter()
                .map(|name| SourceSummary {
                    finished_at: self.finished_at,
                    ..SourceSummary::failed(name.as_str(), &error)
                })
                .collect(),
            None => self.tried().cloned().collect(),
        }
    }

    /// The kind of what went wrong in the run as a whole; `None` where nothing did.
    pub fn kind(&self) -> Option<Kind> {
        let of_run = self.error.as_ref().map(|error| error.kind);
        kind_of_sources(&self.sources).or(of_run)
    }
}

/// Gets the summary of a run when it has ended, whatever became of it: the hook `on_failure`, the
/// file of metrics. An error of a listener is told as a warning and changes nothing.
pub trait RunListener {
    /// Takes note of the run.
    fn run_ended(&self, summary: &RunSummary) -> Result<()>;
}

/// The kind of what went wrong with some of these sources, or with all.
pub fn kind_of_sources(sources: &[SourceSummary]) -> Option<Kind> {
    let tried = sources
        .iter()
        .filter(|source| source.outcome != RunOutcome::Skipped)
        .count();
    let kinds: Vec<Kind> = sources
        .iter()
        .filter_map(|source| Some(source.error.as_ref()?.kind))
        .collect();
    outcome_of(tried, &kinds)
}

/// The error with the source's name before it.
pub fn error_of_source(source: &str, error: &Error) -> Error {
    let named = Error::new(error.kind(), format!("{source}: {error}"));
    match error.hint() {
        Some(hint) => named.with_hint(hint.clone()),
        None => named,
    }
}

/// Joins several errors of one thing into one: of the first one's kind, unless a signal is among
/// them.
pub fn join_errors(errors: impl IntoIterator<Item = Error>) -> Option<Error> {
    errors.into_iter().reduce(|first, next| {
        let kind = if next.kind() == Kind::Interrupted {
            next.kind()
        } else {
            first.kind()
        };
        let both = Error::new(kind, format!("{first}; {next}"));
        match first.hint().or(next.hint()) {
            Some(hint) => both.with_hint(hint.clone()),
            None => both,
        }
    })
}

/// The kind of a run in which of `tried` things those of these kinds failed; `None` where nothing
/// did. All of them may have failed, or some.
pub fn outcome_of(tried: usize, failed: &[Kind]) -> Option<Kind> {
    match failed {
        [] => None,
        kinds if kinds.contains(&Kind::Interrupted) => Some(Kind::Interrupted),
        [first, rest @ ..] if failed.len() == tried => {
            // Alike: that kind. Mixed: damage is what must not be missed.
            let alike = rest.iter().all(|kind| kind == first);
            let damaged = failed.contains(&Kind::Damaged);
            Some(if alike {
                *first
            } else if damaged {
                Kind::Damaged
            } else {
                Kind::Failed
            })
        }
        kinds if kinds.contains(&Kind::Damaged) => Some(Kind::Damaged),
        _ => Some(Kind::Partial),
    }
}

/// This moment, in whole seconds.
pub fn now() -> DateTime<Utc> {
    whole_second(present())
}
