//! `dbbackup cleanup`: prunes, and says why each backup is kept or removed.

use super::{outcome_of, set_error};
use crate::cli::CleanupArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::notify::{VerbResult, tell_verb};
use crate::ops::prune::{self, PruneRequest, PruneSummary};
use crate::report::{CommandOutcome, Paint, Report, columns};
use crate::units;

pub fn run(
    arguments: &CleanupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = PruneRequest {
        sources: arguments.sources.clone(),
        policy: arguments.policy.policy()?,
        force: arguments.force,
        dry_run: arguments.dry_run,
    };
    let summary = prune::prune(&request, session, report);
    if !request.dry_run {
        tell(&summary, session, report);
    }
    let summary = summary?;
    show(&summary, request.dry_run, report);
    set_error(&summary.failed, report);
    let kinds: Vec<Kind> = summary.failed.iter().map(Error::kind).collect();
    Ok(outcome_of(summary.tried, &kinds))
}

/// Tells who is to hear of it.
fn tell(summary: &Result<PruneSummary>, session: &Session, report: &Report) {
    let told = match summary {
        Ok(summary) => VerbResult::of_whole(&summary.failed),
        Err(error) => VerbResult::of_whole([error]),
    };
    tell_verb("cleanup", &[told], session, report);
}

fn show(summary: &PruneSummary, dry_run: bool, report: &mut Report) {
    if !report.is_json() {
        show_each(summary, dry_run, report);
    }
    let freed = units::total(summary.removed.iter().map(|removal| removal.size));
    let count = units::count(summary.removed.len() as u64, "backup");
    let (kept, size) = (summary.kept.len(), units::size(freed));
    report.line(match dry_run {
        true => format!("would remove {count}, {kept} kept, {size} freed; nothing was done"),
        false => format!("removed {count}, {kept} kept, {size} freed"),
    });
    if !report.is_json() {
        return;
    }
    let kept: Vec<_> = (summary.kept.iter())
        .map(|kept| serde_json::json!({"id": kept.id, "reasons": kept.reasons}))
        .collect();
    let deleted: Vec<_> = (summary.removed.iter())
        .map(|removal| {
            serde_json::json!({"id": removal.id, "reason": removal.reason,
                "size_bytes": removal.size})
        })
        .collect();
    report.set("dry_run", dry_run);
    report.set("kept", kept);
    report.set("deleted", deleted);
    report.set("deleted_count", summary.removed.len());
    report.set("total_size_freed", freed);
}

/// Shows a line for each backup, the newest first.
fn show_each(summary: &PruneSummary, dry_run: bool, report: &Report) {
    let verb = if dry_run { "remove" } else { "removed" };
    let keeping = (summary.kept.iter()).map(|kept| {
        let word = report.paint(Paint::Good, "keep");
        (&kept.id, word, kept.reasons.join(", "))
    });
    let removing = (summary.removed.iter()).map(|removal| {
        let why = format!("{} ({})", removal.reason, units::size(removal.size));
        (&removal.id, report.paint(Paint::Warning, verb), why)
    });
    let mut rows: Vec<(&String, String, String)> = keeping.chain(removing).collect();
    rows.sort_by(|a, b| b.0.cmp(a.0));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(id, word, why)| vec![word, id.clone(), why])
        .collect();
    report.lines(columns(&rows, &[]));
}
