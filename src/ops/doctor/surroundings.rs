//! What stands around a run: its log, its metrics, and the programs of its hooks. They are looked
//! for, and nothing is run.

use super::{Diagnosis, DoctorCheck, Severity};
use crate::config::{Config, Hooks};
use crate::error::{Context, Error, Hint, Result};
use crate::ops::Session;
use crate::ops::hooks::{HookMoment, missing_program};
use crate::ops::notify::{check_notifier, kind_of, waiting_count};
use crate::ops::overview::check_page;
use crate::ops::schedule::{SchedulerKind, installed_scheduler};
use crate::units;
use std::path::Path;

/// Checks the log, the metrics and the hooks of the whole run.
pub fn check_run(session: &Session, diagnosis: &mut Diagnosis) {
    let Some(config) = &session.config else {
        return;
    };
    if let Some(log) = &config.log {
        check_file("log", "nothing would be logged", &log.file, diagnosis);
    }
    if let Some(path) = &config.metrics.textfile {
        check_file("metrics", "no metrics would be written", path, diagnosis);
    }
    if let Some(path) = &config.report.html {
        match check_page(path) {
            Ok(_) => check_file("report", "no page would be written", path, diagnosis),
            Err(error) => {
                let text = format!("no page would be written: {error}");
                let remedy = error.hint().cloned().unwrap_or_default();
                diagnosis.warning("report", "file", text, remedy);
            }
        }
    }
    check_hooks("run", &config.hooks, diagnosis);
    check_notifiers(session, config, diagnosis);
    check_schedule(session, diagnosis);
}

/// Says who starts backups. Others may do so, too: that there is no schedule is no fault.
fn check_schedule(session: &Session, diagnosis: &mut Diagnosis) {
    const INSTALL: [&str; 2] = ["schedule", "install"];
    let (detail, remedy) = match installed_scheduler(session) {
        Ok(Some(SchedulerKind::Systemd)) => ("timers of systemd are installed", None),
        Ok(Some(SchedulerKind::Cron)) => ("lines of a crontab are installed", None),
        Ok(None) => {
            let remedy = Hint::new()
                .command(INSTALL)
                .text(" has backups made from now on");
            ("none is installed for this configuration", Some(remedy))
        }
        // Another store than that of the configuration, or a crontab that can't be read.
        Err(_) => return,
    };
    diagnosis.checks.push(DoctorCheck {
        about: "schedule".to_owned(),
        check: "jobs",
        status: Severity::Ok,
        detail: detail.to_owned(),
        remedy,
    });
}

/// Checks who is told, and whether anything waits. Nothing is sent. Without them a backup is made
/// all the same.
fn check_notifiers(session: &Session, config: &Config, diagnosis: &mut Diagnosis) {
    for notifier in &config.notify.notifiers {
        let about = format!("notify {}", notifier.name);
        let kind = kind_of(&notifier.way);
        match check_notifier(notifier, config) {
            Ok(place) => diagnosis.ok(&about, kind, place),
            Err(error) => {
                let remedy = error.hint().cloned();
                let remedy = remedy.unwrap_or_else(|| Hint::from("nobody would be told there"));
                diagnosis.warning(&about, kind, error.message(), remedy);
            }
        }
    }
    let waiting = waiting_count(session);
    if waiting > 0 {
        let text = format!(
            "{} could not be delivered",
            units::count(waiting as u64, "message")
        );
        let remedy = Hint::new().command(["notify", "--test"]).text(" says why");
        diagnosis.warning("notify", "spool", text, remedy);
    }
}

/// A file that is made where it is missing, in a directory that must be there. Without it a backup
/// is made all the same.
fn check_file(about: &str, without: &str, path: &Path, diagnosis: &mut Diagnosis) {
    match check_writable(path) {
        Ok(()) => diagnosis.ok(about, "file", path.display().to_string()),
        Err(error) => {
            let remedy = error.hint().map_or_else(
                || "this user must be able to write there".to_owned(),
                ToString::to_string,
            );
            diagnosis.warning(about, "file", format!("{without}: {error}"), remedy);
        }
    }
}

fn check_writable(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(
            Error::failed(format!("the directory `{}` is not there", dir.display())).with_hint(
                format!(
                    "make it: `mkdir -p {}`",
                    units::shell_word(&dir.to_string_lossy())
                ),
            ),
        );
    }
    let there = if path.exists() { path } else { dir };
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("writing to `{}`", there.display()))
}

/// Checks the hooks of the run, or of a source.
pub fn check_hooks(about: &str, hooks: &Hooks, diagnosis: &mut Diagnosis) {
    if hooks.is_empty() {
        return;
    }
    match missing_program(hooks) {
        // A backup would be made, and nobody be told if one is not.
        Some((HookMoment::OnFailure, error)) => {
            let remedy = error.hint().map(ToString::to_string).unwrap_or_default();
            diagnosis.warning(about, "hooks", error.message(), remedy);
        }
        Some((_, error)) => diagnosis.problem(about, "hooks", &error),
        None => diagnosis.ok(
            about,
            "hooks",
            "hooks were not run; the programs of those that are lists are there",
        ),
    }
}
