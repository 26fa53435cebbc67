//! `dbbackup copy`: backups in another store.

use crate::cli::CopyArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::copy::{CopyRequest, CopySummary, copy_backups};
use crate::report::{CommandOutcome, Report};
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
    };
    let summary = copy_backups(&request, session, report)?;
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
