//! What an install or a removal of a schedule has come to, as `schedule` and `init` show it.

use crate::error::Hint;
use crate::ops::schedule::{self, FileAction, ScheduleChange, SchedulerKind};
use crate::report::{Paint, Report};
use crate::units;

/// Says what was done with each file; of those that stay as they were only a count.
pub fn show_schedule_change(change: &ScheduleChange, dry_run: bool, report: &Report) {
    let mut unchanged = 0;
    let would = if dry_run { "would be " } else { "" };
    for (file, action) in &change.files {
        match action {
            FileAction::Unchanged => unchanged += 1,
            FileAction::Kept => report.warn(
                Hint::from(format!(
                    "{} was changed by somebody since, and stays as it is",
                    file.place
                ))
                .text("; `--force` overrules that"),
            ),
            FileAction::Written | FileAction::Removed => {
                report.line(format!("{would}{} {}", action.as_str(), file.place));
            }
        }
    }
    change
        .commands
        .iter()
        .for_each(|command| report.line(format!("ran {command}")));
    let word = report.paint(Paint::Good, "ok");
    let scheduler = match change.scheduler {
        SchedulerKind::Systemd => schedule::manager_name(),
        SchedulerKind::Cron => "cron",
    };
    let is_idle = change.commands.is_empty()
        && change
            .files
            .iter()
            .all(|(_, action)| *action == FileAction::Unchanged);
    match (&change.plan, dry_run) {
        (None, _) => {}
        (Some(_), true) => report.line(format!("{word} this is what {scheduler} would get")),
        (Some(_), false) if is_idle => {
            report.line(format!("{word} {scheduler}: nothing to change"));
        }
        (Some(_), false) if unchanged > 0 => {
            let unchanged = units::count(unchanged, "file");
            report.line(format!(
                "{word} {scheduler}: up to date, {unchanged} as before"
            ));
        }
        (Some(_), false) => report.line(format!("{word} {scheduler}: installed")),
    }
    for job in change.plan.iter().flat_map(|plan| &plan.jobs) {
        report.line(format!("   {}: {}", job.kind.as_str(), job.calendar));
    }
}
