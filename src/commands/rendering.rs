//! What several commands show alike: the end of a run of backups, of verifications or of restores.

mod schedule;

pub use schedule::show_schedule_change;

use super::{outcome_of, set_error};
use crate::catalog::Backup;
use crate::error::{Error, Kind, Result};
use crate::ops::backup::FinishedRun;
use crate::ops::restore::{RestoreRequest, RestoreSummary};
use crate::ops::run::{RunOutcome, RunSummary, Shortfall, SourceSummary};
use crate::ops::verify::BackupVerification;
use crate::report::{CommandOutcome, Report};
use serde::Serialize;
use serde_json::Value;

/// Shows what a run came to, in one line and in the document; returns how the command ends. A run
/// that ended before the first of its sources is an error of the whole command.
pub fn show_run(run: &FinishedRun, report: &mut Report) -> Result<CommandOutcome> {
    let summary = &run.summary;
    if let Some(error) = summary.failure() {
        return Err(error);
    }
    show_line(summary, report);
    let of_run = summary.error.as_ref().map(Error::from);
    if let Some(error) = &of_run {
        report.error(error);
    }
    report.set(
        "backups",
        run.backups.iter().map(Backup::json).collect::<Vec<_>>(),
    );
    let failed: Vec<_> = summary
        .sources
        .iter()
        .filter_map(|source| failure_json(source, report))
        .collect();
    if !failed.is_empty() {
        report.set("failed", failed);
    }
    let named = summary
        .sources
        .iter()
        .filter_map(SourceSummary::named_error);
    let errors: Vec<Error> = named.chain(of_run).collect();
    set_error(&errors, report);
    Ok(summary.kind())
}

/// A line for a run of several sources.
fn show_line(summary: &RunSummary, report: &Report) {
    let tried: Vec<&SourceSummary> = summary.tried().collect();
    let is_ok = |source: &&&SourceSummary| source.error.is_none();
    let ok = tried.iter().filter(is_ok).count();
    match tried.len() {
        0 if summary.sources.is_empty() => {
            report.warn("no source is enabled: nothing was backed up")
        }
        0 | 1 => {}
        count if ok == count => report.line(format!("{count} of {count}: {}", outcomes(&tried))),
        count => report.warn(format!("{ok} of {count}: {}", outcomes(&tried))),
    }
}

/// `app, shop ok; uploads made, retention held back; mail failed`.
fn outcomes(tried: &[&SourceSummary]) -> String {
    let mut by_word: Vec<(&str, Vec<&str>)> = vec![("ok", Vec::new())];
    for source in tried {
        let word = outcome_word(source);
        match by_word.iter_mut().find(|(known, _)| *known == word) {
            Some((_, names)) => names.push(&source.source),
            None => by_word.push((word, vec![&source.source])),
        }
    }
    let parts = by_word
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("{} {word}", names.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

fn outcome_word(source: &SourceSummary) -> &'static str {
    match (source.shortfall, source.outcome) {
        (_, RunOutcome::Ok | RunOutcome::Skipped) => "ok",
        (Some(Shortfall::Incomplete), _) => "incomplete",
        (Some(Shortfall::BaseDamaged), _) => "made, but its base is damaged",
        (Some(Shortfall::AfterHookFailed), _) => "made, but its `after` hook failed",
        (Some(Shortfall::RetentionHeld), _) => "made, retention held back",
        (Some(Shortfall::RetentionFailed), _) => "made, but retention failed",
        (Some(Shortfall::Vanished), _) => "vanished",
        (None, RunOutcome::Partial) => "partial",
        (Some(Shortfall::NotCopied), _) => "made, not copied everywhere",
        (None, RunOutcome::Failed | RunOutcome::Interrupted) => "failed",
    }
}

fn failure_json(source: &SourceSummary, report: &Report) -> Option<serde_json::Value> {
    let error = source.error.as_ref()?;
    let hint = error.hint.as_ref().map(|hint| report.rendered(hint));
    Some(serde_json::json!({"source": source.source, "error": error.message, "hint": hint}))
}

/// Puts verifications into the document, which the report has shown one by one; returns how the
/// command ends.
pub fn show_verifications(results: &[BackupVerification], report: &mut Report) -> CommandOutcome {
    let documents: Vec<_> = results.iter().map(verification_json).collect();
    report.set("results", documents);
    let failed: Vec<Error> = results
        .iter()
        .filter_map(BackupVerification::failure)
        .collect();
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    outcome_of(results.len(), &kinds)
}

fn verification_json(verification: &BackupVerification) -> serde_json::Value {
    let result = &verification.result;
    serde_json::json!({"id": verification.id, "level": result.level, "status": result.status(),
        "checks": result.checks})
}

/// Puts what was restored, and what was not, into the document; the report has shown it one by one.
/// Returns how the command ends.
pub fn show_restored(
    summary: &RestoreSummary,
    request: &RestoreRequest,
    report: &mut Report,
) -> CommandOutcome {
    let failed: Vec<Value> = summary
        .failed
        .iter()
        .map(|(id, error)| {
            let hint = error.hint().map(ToString::to_string);
            serde_json::json!({"id": id, "error": error.message(), "hint": hint})
        })
        .collect();
    report.set("failed", failed);
    report.set("dry_run", request.dry_run);
    report.set("restored", values(&summary.restored));
    if request.dry_run {
        report.set("plan", values(&summary.planned));
    }
    let errors = summary.failed.iter().map(|(_, error)| error);
    set_error(errors.clone(), report);
    let kinds: Vec<Kind> = errors.map(Error::kind).collect();
    outcome_of(request.backups.len(), &kinds)
}

/// The results of an operation as they stand in the document.
fn values<T: Serialize>(results: &[T]) -> Vec<Value> {
    results
        .iter()
        .map(|result| serde_json::to_value(result).unwrap_or_default())
        .collect()
}
