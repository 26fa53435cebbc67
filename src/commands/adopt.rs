//! `dbbackup adopt`: what another tool left becomes backups.

use crate::cli::AdoptArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::adopt::{
    ADOPTED, AdoptRequest, AdoptSummary, Adoption, AdoptionResult, TimeOrigin, adopt_directory,
};
use crate::plan;
use crate::report::{CommandOutcome, Paint, Report};
use crate::units;
use serde_json::{Value, json};

pub fn run(
    arguments: &AdoptArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = AdoptRequest {
        dir: plan::absolute(&session.cwd, &arguments.dir),
        source: arguments.source.clone(),
        label: arguments
            .label
            .clone()
            .unwrap_or_else(|| ADOPTED.to_owned()),
        copy: arguments.copy,
        dry_run: arguments.dry_run,
    };
    let summary = adopt_directory(&request, session, report)?;
    for adoption in &summary.adoptions {
        show(adoption, request.dry_run, report);
    }
    for (path, why) in &summary.unreadable {
        report.warn(format!("left out {}: {why}", path.display()));
    }
    if summary.others > 0 {
        report.detail(format!(
            "passed over {}",
            units::count(summary.others, "other file")
        ));
    }
    Ok(conclude(&summary, request.dry_run, report))
}

fn show(adoption: &Adoption, dry_run: bool, report: &Report) {
    let path = adoption.path.display();
    match &adoption.result {
        AdoptionResult::Adopted { id, unprovable } => {
            let by = match adoption.time_origin {
                TimeOrigin::Name => "",
                TimeOrigin::Day => " (its name tells only the day)",
                TimeOrigin::File => " (the time is the file's)",
            };
            let word = report.paint(Paint::Good, if dry_run { "would adopt" } else { "adopted" });
            report.line(format!("{word} {path} as {id}{by}"));
            if let Some(why) = unprovable {
                report.warn(format!("{id} could not be proven here: {why}"));
            }
        }
        AdoptionResult::Present { id } => {
            report.line(format!("there already: {path} is {id}"));
        }
        AdoptionResult::Damaged(why) => {
            report.warn(format!("damaged, and not adopted: {path}: {why}"));
        }
        AdoptionResult::LeftOut(error) => {
            let hint = error
                .hint()
                .map(|hint| format!(" (hint: {})", report.rendered(hint)));
            report.warn(format!(
                "left out {path}: {error}{}",
                hint.unwrap_or_default()
            ));
        }
    }
}

/// Says in one line what it came to; returns how the command ends.
fn conclude(summary: &AdoptSummary, dry_run: bool, report: &mut Report) -> CommandOutcome {
    let count = |wanted: fn(&AdoptionResult) -> bool| {
        summary
            .adoptions
            .iter()
            .filter(|one| wanted(&one.result))
            .count() as u64
    };
    let adopted = count(|result| matches!(result, AdoptionResult::Adopted { .. }));
    let present = count(|result| matches!(result, AdoptionResult::Present { .. }));
    let damaged = count(|result| matches!(result, AdoptionResult::Damaged(_)));
    let left_out = count(|result| matches!(result, AdoptionResult::LeftOut(_)))
        + summary.unreadable.len() as u64;
    let would = if dry_run { "would adopt" } else { "adopted" };
    let text = format!(
        "{would} {}; {present} there already, {damaged} damaged, {left_out} left out",
        units::count(adopted, "dump")
    );
    report.line(&*text);
    let adoptions = summary.adoptions.iter().map(adoption_json);
    report.set("adoptions", adoptions.collect::<Vec<_>>());
    let unreadable = summary.unreadable.iter();
    let unreadable =
        unreadable.map(|(path, why)| json!({"path": path.display().to_string(), "reason": why}));
    report.set("unreadable", unreadable.collect::<Vec<_>>());
    report.set("others", summary.others);
    let kind = match (damaged, left_out, adopted + present) {
        (0, 0, _) => return None,
        (0, _, 0) => Kind::Failed,
        (0, _, _) => Kind::Partial,
        _ => Kind::Damaged,
    };
    report.set("error", text);
    Some(kind)
}

fn adoption_json(adoption: &Adoption) -> Value {
    let (result, id, detail) = match &adoption.result {
        AdoptionResult::Adopted { id, unprovable } => ("adopted", Some(id), unprovable.clone()),
        AdoptionResult::Present { id } => ("present", Some(id), None),
        AdoptionResult::Damaged(why) => ("damaged", None, Some(why.clone())),
        AdoptionResult::LeftOut(error) => ("left_out", None, Some(Error::message(error))),
    };
    json!({
        "path": adoption.path.display().to_string(), "source": adoption.source,
        "made_at": adoption.at, "time_from": adoption.time_origin.as_str(),
        "result": result, "id": id, "detail": detail,
    })
}
