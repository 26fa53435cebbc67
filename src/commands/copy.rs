//! `dbbackup copy`: backups in another store.

use crate::cli::CopyArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::copy::{CopyRequest, CopySummary, copy_backups};
use crate::ops::notify::{THE_COMMAND, VerbResult, tell_verb};
use crate::report::{CommandOutcome, Report};
use crate::store::names;
use crate::units;
use serde_json::json;

pub fn run(
    arguments: &CopyArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = CopyRequest {
        what: arguments.what.clone(),
        to: arguments.to.clone(),
        from: arguments.from.clone(),
        missing: arguments.missing,
        plain: arguments.plain,
        full: arguments.full,
    };
    let summary = copy_backups(&request, session, report);
    tell(&summary, session, report);
    let summary = summary?;
    let failed: Vec<_> = summary
        .failed
        .iter()
        .map(|(id, error)| {
            json!({
                "id": id, "error": error.message(),
                "hint": error.hint().map(ToString::to_string),
            })
        })
        .collect();
    report.set("copied", summary.copied.as_slice());
    report.set("present", summary.present.as_slice());
    report.set("waiting", summary.waiting.as_slice());
    report.set("failed", failed);
    report.set("size_bytes", summary.size_bytes);
    report.line(text(&summary));
    outcome(&summary)
}

/// Tells who is to hear of it, by the sources.
fn tell(summary: &Result<CopySummary>, session: &Session, report: &Report) {
    let source_of = |id: &str| {
        names::split_id(id)
            .map_or(id, |(source, _, _)| source)
            .to_owned()
    };
    let told: Vec<VerbResult> = match summary {
        Ok(summary) => {
            let failed = summary.failed.iter();
            let failed = failed.map(|(id, error)| VerbResult::new(source_of(id), Some(error)));
            let fine = summary.copied.iter().chain(&summary.present);
            failed
                .chain(fine.map(|id| VerbResult::new(source_of(id), None)))
                .collect()
        }
        Err(error) => vec![VerbResult::new(THE_COMMAND, Some(error))],
    };
    tell_verb("copy", &told, session, report);
}

fn text(summary: &CopySummary) -> String {
    let mut text = format!(
        "copied {}, {}",
        units::count(summary.copied.len() as u64, "backup"),
        units::size(summary.size_bytes)
    );
    let present = summary.present.len();
    if present > 0 {
        text.push_str(&format!("; {present} there already"));
    }
    if !summary.failed.is_empty() {
        text.push_str(&format!("; {} failed", summary.failed.len()));
    }
    text
}

/// The error that the command ends with; the observer has told of each failure.
fn outcome(summary: &CopySummary) -> Result<CommandOutcome> {
    let damaged = |(_, error): &(String, Error)| error.kind() == Kind::Damaged;
    let kind = match &summary.failed[..] {
        [] => return Ok(None),
        failed if failed.iter().any(damaged) => Kind::Damaged,
        _ if summary.copied.is_empty() && summary.present.is_empty() => Kind::Failed,
        _ => Kind::Partial,
    };
    Ok(Some(kind))
}
