//! `dbbackup doctor`: would a backup succeed, and if not, why?

use crate::cli::DoctorArguments;
use crate::error::{Kind, Result};
use crate::ops::Session;
use crate::ops::doctor::{self, Diagnosis, Severity};
use crate::report::{CommandOutcome, Paint, Report, columns};
use crate::store::Destruction;
use crate::units;
use serde_json::{Value, json};

pub fn run(
    arguments: &DoctorArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    if arguments.ransomware {
        let diagnosis = doctor::try_destruction(session)?;
        show_checks(&diagnosis, report);
        return Ok(show_destructions(&diagnosis, report));
    }
    let diagnosis = doctor::diagnose(&arguments.what, session, report);
    Ok(show(&diagnosis, report))
}

/// Shows everything that was examined, line by line.
fn show_checks(diagnosis: &Diagnosis, report: &mut Report) {
    let rows: Vec<Vec<String>> = diagnosis
        .checks
        .iter()
        .map(|one| {
            let paint = match one.status {
                Severity::Ok => Paint::Good,
                Severity::Warning => Paint::Warning,
                Severity::Problem => Paint::Bad,
            };
            vec![
                report.paint(paint, one.status.as_str()),
                one.about.clone(),
                one.check.to_owned(),
                one.detail.clone(),
            ]
        })
        .collect();
    for (one, line) in diagnosis.checks.iter().zip(columns(&rows, &[])) {
        // What is not well is never silenced.
        if one.status == Severity::Ok {
            report.line(line)
        } else {
            report.answer(line)
        }
        if let Some(remedy) = &one.remedy {
            let remedy = format!("         {}", report.rendered(remedy));
            if one.status == Severity::Ok {
                report.line(remedy)
            } else {
                report.answer(remedy)
            }
        }
    }
    report.set(
        "checks",
        serde_json::to_value(&diagnosis.checks).unwrap_or_default(),
    );
    report.set("problems", diagnosis.count(Severity::Problem));
    report.set("warnings", diagnosis.count(Severity::Warning));
}

fn show(diagnosis: &Diagnosis, report: &mut Report) -> CommandOutcome {
    show_checks(diagnosis, report);
    show_policies(diagnosis, report);
    let problems = diagnosis.count(Severity::Problem);
    let warnings = diagnosis.count(Severity::Warning);
    let warned = |word: &str| {
        if warnings > 0 {
            format!("{word}{}", units::count(warnings, "warning"))
        } else {
            String::new()
        }
    };
    if problems > 0 {
        let text = format!(
            "a backup would fail: {}{}",
            units::count(problems, "problem"),
            warned(" and ")
        );
        report.warn(&text);
        report.set("error", text);
        return Some(Kind::Failed);
    }
    report.line(format!("a backup would succeed{}", warned(", with ")));
    None
}

/// Says of each store what can be destroyed there; it is partly well where something can be.
fn show_destructions(diagnosis: &Diagnosis, report: &mut Report) -> CommandOutcome {
    let mut is_safe = true;
    let mut verdicts = Vec::new();
    for found in &diagnosis.destructions {
        let (paint, text) = match found.destruction {
            Destruction::Nothing => (
                Paint::Good,
                "nothing: no backup there can be changed or removed with what this machine knows",
            ),
            Destruction::Hides => (
                Paint::Good,
                "nothing for good: backups can be hidden by newer versions, and the versions \
                 before them stay, which this machine can't remove",
            ),
            Destruction::Everything => (
                Paint::Bad,
                "everything: who is root here can destroy every backup there",
            ),
            Destruction::Unknown => (Paint::Warning, "it can't be told"),
        };
        is_safe &= matches!(found.destruction, Destruction::Nothing | Destruction::Hides);
        let word = report.paint(paint, text);
        report.answer(format!("{} ({}): {word}", found.about, found.location));
        verdicts.push(json!({
            "store": found.location,
            "destroys": found.destruction.as_str(),
        }));
    }
    report.set("ransomware", verdicts);
    if is_safe { None } else { Some(Kind::Partial) }
}

/// Shows the policies that suffice: where a right is missing, or to who wants to know more.
fn show_policies(diagnosis: &Diagnosis, report: &mut Report) {
    let is_wanted = report.verbosity() > 0;
    let mut shown = Vec::new();
    for one in &diagnosis.policies {
        if !is_wanted && !one.is_missing {
            continue;
        }
        report.answer(format!(
            "the smallest IAM policy that suffices for the {}:",
            one.about
        ));
        for line in one.policy.lines() {
            report.answer(line);
        }
        let policy: Value = serde_json::from_str(&one.policy).unwrap_or_default();
        shown.push(json!({ "about": one.about, "policy": policy }));
    }
    if !shown.is_empty() {
        report.set("policies", shown);
    }
}
