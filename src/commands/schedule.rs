//! `dbbackup schedule`: timers of systemd or lines of a crontab for this configuration.

use super::rendering::show_schedule_change;
use crate::cli::{
    ScheduleArguments, ScheduleCommand, ScheduleInstallArguments, ScheduleRemoveArguments,
    SchedulerArguments, StatusFrequency, VerifyFrequency,
};
use crate::error::{Error, Hint, Result};
use crate::ops::Session;
use crate::ops::schedule::{
    self, FileAction, Frequency, JobTiming, ScheduleChange, ScheduleRequest, ScheduleSettings,
    ScheduleView, ScheduledFileState, SchedulerKind,
};
use crate::report::{CommandOutcome, Paint, Report, columns};
use crate::units;
use chrono::{DateTime, Local, Utc};
use serde_json::{Value, json};

pub fn run(
    arguments: &ScheduleArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    match &arguments.command {
        ScheduleCommand::Install(arguments) => install(arguments, session, report),
        ScheduleCommand::Show(_) => show(session, report),
        ScheduleCommand::Remove(arguments) => remove(arguments, session, report),
    }
}

fn install(
    arguments: &ScheduleInstallArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = ScheduleRequest {
        scheduler: wanted(&arguments.scheduler),
        settings: ScheduleSettings {
            every: arguments.every.map(|every| every.to_string()),
            at: arguments.at.clone(),
            label: arguments.label.clone(),
            verify: arguments.verify.map(Frequency::from),
            status: arguments.status.map(Frequency::from),
        },
        force: arguments.force,
        dry_run: arguments.dry_run,
    };
    let change = schedule::install(&request, session, report)?;
    if request.dry_run {
        show_texts(&change, report);
    }
    show_schedule_change(&change, request.dry_run, report);
    set_common(change.scheduler, session, report);
    let plan = change.plan.as_ref();
    let jobs = plan
        .into_iter()
        .flat_map(|plan| plan.jobs.iter().map(move |job| (plan, job)));
    let jobs = jobs.map(|(plan, job)| {
        json!({"job": job.kind.as_str(), "when": job.calendar.to_string(),
            "command": plan.command(job)})
    });
    report.set("jobs", jobs.collect::<Vec<_>>());
    report.set(
        "files",
        change.files.iter().map(file_json).collect::<Vec<_>>(),
    );
    report.set("commands", change.commands);
    Ok(None)
}

fn wanted(arguments: &SchedulerArguments) -> Option<SchedulerKind> {
    match (arguments.cron, arguments.systemd) {
        (true, _) => Some(SchedulerKind::Cron),
        (_, true) => Some(SchedulerKind::Systemd),
        _ => None,
    }
}

impl From<VerifyFrequency> for Frequency {
    fn from(frequency: VerifyFrequency) -> Self {
        match frequency {
            VerifyFrequency::Daily => Frequency::Daily,
            VerifyFrequency::Weekly => Frequency::Weekly,
            VerifyFrequency::Monthly => Frequency::Monthly,
            VerifyFrequency::Never => Frequency::Never,
        }
    }
}

impl From<StatusFrequency> for Frequency {
    fn from(frequency: StatusFrequency) -> Self {
        match frequency {
            StatusFrequency::Hourly => Frequency::Hourly,
            StatusFrequency::Daily => Frequency::Daily,
            StatusFrequency::Never => Frequency::Never,
        }
    }
}

fn set_common(scheduler: SchedulerKind, session: &Session, report: &mut Report) {
    let config = session
        .config
        .as_ref()
        .map(|config| config.path.display().to_string());
    report.set("config", config);
    report.set("scheduler", scheduler.as_str());
}

/// Shows the whole texts, as they would be written.
fn show_texts(change: &ScheduleChange, report: &Report) {
    for (file, action) in &change.files {
        if let (FileAction::Written, Some(text)) = (action, &file.text) {
            report.answer(report.paint(Paint::Strong, &format!("{}:", file.place)));
            text.lines().for_each(|line| report.answer(line));
            report.answer("");
        }
    }
}

fn file_json((file, action): &(schedule::ScheduledFile, FileAction)) -> Value {
    json!({"place": file.place, "action": action.as_str(), "text": file.text})
}

fn remove(
    arguments: &ScheduleRemoveArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = ScheduleRequest {
        scheduler: wanted(&arguments.scheduler),
        force: arguments.force,
        dry_run: arguments.dry_run,
        ..ScheduleRequest::default()
    };
    let changes = schedule::remove(&request, session)?;
    if changes.is_empty() {
        report.line("no schedule is installed for this configuration; nothing is removed");
    }
    let mut files = Vec::new();
    for change in &changes {
        show_schedule_change(change, request.dry_run, report);
        set_common(change.scheduler, session, report);
        files.extend(change.files.iter().map(file_json));
    }
    report.set("files", files);
    Ok(None)
}

fn show(session: &Session, report: &mut Report) -> Result<CommandOutcome> {
    let Some(view) = schedule::view(session)? else {
        return Err(
            Error::not_found("no schedule is installed for this configuration").with_hint(
                Hint::new()
                    .command(["schedule", "install"])
                    .text(" installs one"),
            ),
        );
    };
    set_common(view.scheduler, session, report);
    show_jobs(&view, session.now, report);
    show_differences(&view, report);
    Ok(None)
}

fn show_jobs(view: &ScheduleView, now: DateTime<Utc>, report: &mut Report) {
    let mut rows = vec![
        ["job", "when", "next", "last", "result"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut jobs = Vec::new();
    let mut complaints = Vec::new();
    for (job, timing) in view.plan.jobs.iter().zip(&view.timings) {
        let (name, when) = (job.kind.as_str(), job.calendar.to_string());
        let mut row = vec![name.to_owned(), when.clone()];
        let mut shown = json!({"job": name, "when": when, "command": view.plan.command(job)});
        match timing {
            Ok(timing) => {
                row.extend(timing_cells(timing, now));
                shown["active"] = timing.is_active.into();
                shown["next_at"] = json!(timing.next);
                shown["last_at"] = json!(timing.last);
                shown["last_result"] = json!(timing.result);
            }
            Err(error) => {
                row.push("unknown".to_owned());
                complaints.push(error);
            }
        }
        rows.push(row);
        jobs.push(shown);
    }
    columns(&rows, &[])
        .into_iter()
        .for_each(|line| report.answer(line));
    // They all have the same reason.
    if let Some(error) = complaints.first() {
        report.warn(format!("when the jobs run next is not known: {error}"));
    }
    report.set("jobs", jobs);
}

fn timing_cells(timing: &JobTiming, now: DateTime<Utc>) -> [String; 3] {
    let moment = |at: Option<DateTime<Utc>>| {
        at.map_or("-".to_owned(), |at| {
            let local = at.with_timezone(&Local).format("%Y-%m-%d %H:%M");
            format!("{local} ({})", units::age(at, now))
        })
    };
    let next = if timing.is_active {
        moment(timing.next)
    } else {
        "not running".to_owned()
    };
    let result = timing.result.clone().unwrap_or_else(|| "-".to_owned());
    [next, moment(timing.last), result]
}

/// Says what an install would change.
fn show_differences(view: &ScheduleView, report: &mut Report) {
    let mut differing = 0;
    for file in &view.files {
        let text = match file.state {
            ScheduledFileState::Current => continue,
            ScheduledFileState::Missing => "is missing",
            ScheduledFileState::Outdated => "is not what an install would write now",
            ScheduledFileState::Edited => "was changed by somebody",
            ScheduledFileState::EditedRemnant => {
                "is not needed any more, and was changed by somebody"
            }
            ScheduledFileState::Remnant => "is not needed any more",
            ScheduledFileState::Foreign => "is not of this schedule",
        };
        differing += 1;
        report.answer(format!("{} {text}", file.place));
    }
    let idle = view
        .timings
        .iter()
        .flatten()
        .filter(|timing| !timing.is_active)
        .count();
    if differing > 0 || idle > 0 {
        report.answer(
            report.rendered(
                &Hint::new()
                    .command(["schedule", "install"])
                    .text(" brings it up to date"),
            ),
        );
    }
    let files = view
        .files
        .iter()
        .map(|file| json!({"place": file.place, "state": file.state.as_str()}));
    report.set("files", files.collect::<Vec<_>>());
    report.set("differs", differing > 0 || idle > 0);
}
