//! `dbbackup notify`: tries the notifiers, or sends what waits.

use crate::cli::NotifyArguments;
use crate::error::{Kind, Result};
use crate::ops::Session;
use crate::ops::notify::{NotifierTrial, send_waiting, try_notifiers};
use crate::ops::run::outcome_of;
use crate::report::{CommandOutcome, Paint, Report};
use crate::units;
use serde_json::json;

pub fn run(
    arguments: &NotifyArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    if arguments.test {
        let trials = try_notifiers(arguments.name.as_deref(), session)?;
        return Ok(show_trials(&trials, report));
    }
    let (arrived, waiting) = send_waiting(session, report)?;
    report.set("delivered", arrived);
    report.set("waiting", waiting);
    let arrived = units::count(arrived as u64, "message");
    if waiting == 0 {
        report.line(format!("delivered {arrived}; nothing waits"));
        return Ok(None);
    }
    let text = format!("delivered {arrived}; still waiting: {waiting}");
    report.warn(&text);
    report.set("error", text);
    Ok(Some(Kind::Failed))
}

/// Shows what each notifier's other side answered.
fn show_trials(trials: &[NotifierTrial], report: &mut Report) -> CommandOutcome {
    let mut shown = Vec::new();
    let mut kinds = Vec::new();
    for trial in trials {
        let (name, kind) = (&trial.name, trial.kind);
        let hint = match &trial.answer {
            Ok(answer) => {
                let word = report.paint(Paint::Good, "ok");
                report.line(format!("{word} {name} ({kind}): {answer}"));
                None
            }
            Err(error) => {
                let word = report.paint(Paint::Bad, "failed");
                report.answer(format!("{word} {name} ({kind}): {error}"));
                kinds.push(error.kind());
                error.hint().map(|hint| report.rendered(hint))
            }
        };
        hint.iter()
            .for_each(|hint| report.answer(format!("       hint: {hint}")));
        shown.push(json!({
            "name": name, "type": kind, "ok": trial.answer.is_ok(),
            "answer": trial.answer.as_ref().ok(),
            "error": trial.answer.as_ref().err().map(|error| error.message()),
            "hint": hint,
        }));
    }
    report.set("notifiers", shown);
    let outcome = outcome_of(trials.len(), &kinds);
    if outcome.is_some() {
        let (failed, all) = (kinds.len(), trials.len());
        report.set(
            "error",
            format!("{failed} of {all} did not take the message"),
        );
    }
    outcome
}
