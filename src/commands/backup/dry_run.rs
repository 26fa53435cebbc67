//! `dbbackup backup --dry-run`: what would be read, where it would go, and which hooks would run.

use super::hooks::described;
use super::members::members_of;
use super::tally::named;
use crate::cli::BackupArguments;
use crate::commands::{outcome_of, set_error};
use crate::config::Hooks;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::engines::Engine;
use crate::plan::{Planned, SourcePlan};
use crate::report::{Outcome, Report};
use crate::units;

pub fn say_plan(
    planned: &[Planned],
    of_run: &Hooks,
    arguments: &BackupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    let store = session.store_plan()?.location;
    let mut hooks = Vec::new();
    say_hooks(None, of_run, &mut hooks, report);
    let mut said = Vec::new();
    let mut failed = Vec::new();
    let mut tried = 0;
    for one in planned {
        let sources = match one {
            Planned::Source(source) => {
                say_hooks(Some(&source.name), &source.hooks, &mut hooks, report);
                members_of(source).unwrap_or_else(|error| vec![Err((source.name.clone(), error))])
            }
            Planned::Skipped { name, why } => {
                report.answer(format!("would skip {name}: {why}"));
                continue;
            }
            Planned::Refused { name, error, .. } => {
                vec![Err((name.clone(), Error::new(error.kind(), error)))]
            }
        };
        for source in sources {
            tried += 1;
            let looked = source.and_then(|source| {
                look(&source)
                    .map_err(|error| (source.name.clone(), error))
                    .map(|found| (source, found))
            });
            match looked {
                Ok((source, (place, size))) => {
                    let name = format!(
                        "{}_{}_<time>.{}",
                        source.name,
                        arguments.label,
                        super::attempt::extension(&source)
                    );
                    let to = store.object(&source.name, &name);
                    report.answer(format!(
                        "would back up {place} ({}) to {}",
                        units::size(size),
                        to
                    ));
                    said.push(
                        serde_json::json!({"source": source.name, "kind": source.kind.format().kind().as_str(),
                            "from": place, "size_bytes": size}),
                    );
                }
                Err((name, error)) => {
                    let error = named(&name, &error);
                    report.error(&error);
                    failed.push(error);
                }
            }
        }
    }
    report.set("plan", said);
    if !hooks.is_empty() {
        report.set("hooks", hooks);
    }
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(tried, &kinds))
}

fn say_hooks(
    source: Option<&str>,
    hooks: &Hooks,
    all: &mut Vec<serde_json::Value>,
    report: &Report,
) {
    let whose = source.unwrap_or("the run");
    for (when, command) in described(hooks) {
        let moment = match when {
            "before" => "before",
            "after" => "after",
            _ => "on a failure of",
        };
        report.answer(format!("would run {moment} {whose}: {command}"));
        all.push(serde_json::json!({"source": source, "hook": when, "command": command}));
    }
}

/// Where a source is, and how large.
fn look(source: &SourcePlan) -> Result<(String, u64)> {
    let engine = Engine::open(source)?;
    engine.probe()?;
    Ok((engine.place(source), engine.estimate()))
}
