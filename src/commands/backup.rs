//! `dbbackup backup`: a run over its sources, or with `--dry-run` what it would do.

use super::set_error;
use crate::cli::BackupArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::backup::{self, BackupForecast, BackupRequest, ForecastStep};
use crate::ops::hooks::HookMoment;
use crate::report::{CommandOutcome, Report};
use crate::units;

pub fn run(
    arguments: &BackupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = BackupRequest {
        what: arguments.what.clone(),
        all: arguments.all,
        name: arguments.name.clone(),
        kind: arguments.kind,
        jobs: arguments.jobs,
        label: arguments.label.clone(),
        description: arguments.description.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        pinned: arguments.pin,
        plain: arguments.plain,
        full: arguments.full,
        reread: arguments.reread,
        keep_all: false,
    };
    if arguments.dry_run {
        let forecast = backup::forecast_backup(&request, session, report)?;
        return Ok(show_forecast(&forecast, report));
    }
    let run = backup::create_backups(&request, session, report)?;
    super::rendering::show_run(&run, report)
}

fn show_forecast(forecast: &BackupForecast, report: &mut Report) -> CommandOutcome {
    let mut backups = Vec::new();
    let mut hooks = Vec::new();
    for step in &forecast.steps {
        match step {
            ForecastStep::Hook {
                source,
                moment,
                command,
            } => {
                let when = match moment {
                    HookMoment::Before => "before",
                    HookMoment::After => "after",
                    HookMoment::OnFailure => "on a failure of",
                };
                let whose = source.as_deref().unwrap_or("the run");
                report.answer(format!("would run {when} {whose}: {command}"));
                hooks.push(
                    serde_json::json!({"source": source, "hook": moment.as_str(),
                        "command": command}),
                );
            }
            ForecastStep::Backup {
                source,
                kind,
                place,
                size_bytes,
                target,
            } => {
                report.answer(format!(
                    "would back up {place} ({}) to {}",
                    units::size(*size_bytes),
                    target
                ));
                backups.push(serde_json::json!({"source": source, "kind": kind,
                        "from": place, "size_bytes": size_bytes}));
            }
            ForecastStep::Skip { source, reason } => {
                report.answer(format!("would skip {source}: {reason}"));
            }
            ForecastStep::Failure(error) => report.error(error),
        }
    }
    report.set("plan", backups);
    if !hooks.is_empty() {
        report.set("hooks", hooks);
    }
    set_error(forecast.failures(), report);
    forecast.kind()
}
