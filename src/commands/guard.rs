//! `dbbackup guard`: a backup that is proven, then a program, and the way back if it fails.

use super::rendering::{show_restored, show_run, show_verifications};
use crate::catalog::Backup;
use crate::cli::GuardArguments;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::ops::Session;
use crate::ops::backup::{self, BackupRequest};
use crate::ops::guard;
use crate::ops::notify::{VerbResult, tell_verb};
use crate::ops::programs::check_program;
use crate::ops::restore::{RestoreRequest, create_safety_backup, resolve_runs, restore_backups};
use crate::ops::run::ErrorSummary;
use crate::ops::verify::{VerifyRequest, verify_backups};
use crate::plan;
use crate::process;
use crate::report::{CommandOutcome, Paint, Report};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The exit code where the program was never run, or could not be undone.
pub const NOT_RUN: u8 = 125;

pub fn run(
    arguments: &GuardArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    report.stand_aside();
    let Some((program, words)) = arguments.command.split_first() else {
        return Err(Error::usage("no program is given").with_hint(
            Hint::new().text("name it behind `--`: ").command([
                "guard",
                "app",
                "--",
                "./upgrade.sh",
            ]),
        ));
    };
    check_program(program, &std::env::var_os("PATH").unwrap_or_default())?;
    let saved = save(arguments, session, report)?;
    let mut command = Command::new(program);
    command
        .args(words)
        .envs(guard::environment(&saved, &arguments.label, session)?);
    if report.is_json() {
        // Stdout is for the document.
        command.stdout(Stdio::from(report.error_stream()?));
    }
    let shown = shown(&arguments.command);
    report.note(format!("running `{shown}`"));
    let status =
        process::run_in_foreground(command).with_context(|| format!("running `{shown}`"))?;
    let code = guard::exit_code(status);
    report.set("status", code);
    if status.success() {
        report.exits_with(0);
        tell_verb("guard", &[VerbResult::of_whole([])], session, report);
        return Ok(None);
    }
    let failed = match status.signal() {
        Some(signal) => Error::failed(format!("`{shown}` was ended by signal {signal}")),
        None => Error::failed(format!("`{shown}` failed with exit status {code}")),
    };
    let told = ErrorSummary::from(&failed);
    let outcome = undo(&saved, failed, code, arguments, session, report);
    // What could not be put back says that the program failed, too.
    let error = outcome
        .as_ref()
        .err()
        .map(ErrorSummary::from)
        .unwrap_or(told);
    let told = VerbResult::of_whole([&Error::from(&error)]);
    tell_verb("guard", &[told], session, report);
    outcome
}

/// Backups of everything, each verified. Anything less, and the program is not run.
fn save(arguments: &GuardArguments, session: &Session, report: &mut Report) -> Result<Vec<Backup>> {
    let not_run =
        |error: Error| error.context("the program was not run, as there is no proven backup");
    let request = BackupRequest {
        what: arguments.what.clone(),
        label: arguments.label.clone(),
        description: arguments.description.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        pinned: arguments.pin,
        keep_all: true,
        ..BackupRequest::default()
    };
    let run = backup::create_backups(&request, session, report).map_err(not_run)?;
    let outcome = show_run(&run, report).map_err(not_run)?;
    let mut saved = run.backups;
    if outcome.is_some() {
        return Err(not_run(Error::failed("a source could not be backed up")));
    }
    guard::check_nothing_left_out(&arguments.what, &saved, session).map_err(not_run)?;
    let verification = VerifyRequest {
        backups: saved.iter().map(|backup| backup.id().to_owned()).collect(),
        all: false,
        level: arguments.level,
    };
    let results = verify_backups(&verification, session, report).map_err(not_run)?;
    if show_verifications(&results, report).is_some() {
        let error = not_run(Error::failed("a backup could not be verified"));
        return Err(error.with_hint("`--level checksum` asks for less"));
    }
    if arguments.restore_on_failure {
        guard::check_wholes(&saved).map_err(not_run)?;
    }
    guard::sort_for_restore(&mut saved);
    Ok(saved)
}

/// The options that lead to a configuration that was found in the current directory: the way back
/// is mostly typed in another one.
fn options_from_anywhere(session: &Session) -> Vec<String> {
    let found = session
        .config
        .as_ref()
        .filter(|_| session.config_flag.is_none());
    let path = found.map(|config| plan::absolute(&session.cwd, &config.path));
    let Some(path) = path.as_deref().and_then(Path::to_str) else {
        return Vec::new();
    };
    let mut options = vec!["--config", path];
    if let Some(store) = &session.store_flag {
        options.extend(["--store", store]);
    }
    options.into_iter().map(str::to_owned).collect()
}

/// Says how to go back, or goes back.
fn undo(
    saved: &[Backup],
    failed: Error,
    code: u8,
    arguments: &GuardArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let ids: Vec<String> = saved.iter().map(|entry| entry.id().to_owned()).collect();
    let mut arguments_back = options_from_anywhere(session);
    arguments_back.push("restore".to_owned());
    arguments_back.extend(ids.iter().cloned());
    let command = Hint::new().command(arguments_back);
    report.set(
        "restore_command",
        report.rendered(&command).trim_matches('`'),
    );
    if !arguments.restore_on_failure {
        report.exits_with(code);
        return Err(failed.with_hint(Hint::from("to go back to before it: ").then(command)));
    }
    report.error(&failed);
    report.note("putting back what was there before it");
    let not_undone = |error: Error| {
        error
            .context(format!("{failed}, and not everything could be put back"))
            .with_hint(Hint::from("mend that, then: ").then(&command))
    };
    let outcome = put_back(&ids, session, report);
    match outcome {
        Ok(None) => {
            report.exits_with(code);
            report.line(format!(
                "{} all that was saved is back as it was before `{}`",
                report.paint(Paint::Good, "ok"),
                shown(&arguments.command)
            ));
            report.set("error", failed.message());
            Ok(Some(Kind::Failed))
        }
        Ok(Some(_)) => Err(not_undone(Error::failed("which ones is said above"))),
        Err(error) => Err(not_undone(error)),
    }
}

/// Restores these backups without asking: that was said when the program was started.
fn put_back(ids: &[String], session: &Session, report: &mut Report) -> Result<CommandOutcome> {
    let request = RestoreRequest {
        backups: resolve_runs(ids, session, report)?,
        ..RestoreRequest::default()
    };
    let observer: &Report = report;
    let summary = restore_backups(&request, session, observer, &|_| Ok(()), &|backup, old| {
        create_safety_backup(backup, old, session, observer)
    })?;
    Ok(show_restored(&summary, &request, report))
}

/// The command line for messages, shortened.
fn shown(command: &[OsString]) -> String {
    let line = command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let short: String = line.chars().take(80).collect();
    if short.len() < line.len() {
        format!("{short}…")
    } else {
        line
    }
}
