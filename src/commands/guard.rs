//! `dbbackup guard`: a backup that is proven, then a program, and the way back if it fails.

use super::{backup, restore, verify};
use crate::catalog::Backup as Entry;
use crate::cli::{BackupArguments, GuardArguments, RestoreArguments, VerifyArguments};
use crate::engine::{DumpFormat, EngineKind};
use crate::error::{Context, Error, Kind, Result};
use crate::ops::Session;
use crate::plan;
use crate::process;
use crate::report::{Outcome, Paint, Report};
use crate::units;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The exit code where the program was never run, or could not be undone.
pub const NOT_RUN: u8 = 125;

pub fn run(arguments: &GuardArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    report.stand_aside();
    let Some((program, words)) = arguments.command.split_first() else {
        return Err(Error::usage("no program is given")
            .with_hint("name it behind `--`: `dbbackup guard app -- ./upgrade.sh`"));
    };
    must_be_there(program, &std::env::var_os("PATH").unwrap_or_default())?;
    let saved = save(arguments, session, report)?;
    let mut command = Command::new(program);
    command
        .args(words)
        .envs(environment(&saved, arguments, session)?);
    if report.is_json() {
        // Stdout is for the document.
        command.stdout(Stdio::from(report.error_stream()?));
    }
    let shown = shown(&arguments.command);
    report.note(format!("running `{shown}`"));
    let status =
        process::run_in_foreground(command).with_context(|| format!("running `{shown}`"))?;
    let code = code_of(status);
    report.set("status", code);
    if status.success() {
        report.exits_with(0);
        return Ok(None);
    }
    let failed = match status.signal() {
        Some(signal) => Error::failed(format!("`{shown}` was ended by signal {signal}")),
        None => Error::failed(format!("`{shown}` failed with exit status {code}")),
    };
    undo(&saved, failed, code, arguments, session, report)
}

/// Backups of everything, each verified. Anything less, and the program is not run.
fn save(arguments: &GuardArguments, session: &Session, report: &mut Report) -> Result<Vec<Entry>> {
    let not_run =
        |error: Error| error.context("the program was not run, as there is no proven backup");
    let wanted = BackupArguments {
        what: arguments.what.clone(),
        label: arguments.label.clone(),
        description: arguments.description.clone(),
        tags: arguments.tags.clone(),
        pin: arguments.pin,
        ..BackupArguments::default()
    };
    let (mut saved, outcome) = backup::make_all(&wanted, session, report).map_err(not_run)?;
    if outcome.is_some() {
        return Err(not_run(Error::failed("a source could not be backed up")));
    }
    if let Some(name) = left_out(arguments, &saved, session) {
        let error = not_run(Error::failed(format!(
            "there is no backup of `{name}`: it is disabled, or outside of its `start` and `end`"
        )));
        return Err(error.with_hint("leave it out, or name only what the program changes"));
    }
    if saved.is_empty() {
        return Err(not_run(Error::failed("nothing was backed up")));
    }
    let what = saved.iter().map(|entry| entry.id().to_owned()).collect();
    let proven = verify::run(
        &VerifyArguments {
            what,
            all: false,
            level: arguments.level,
        },
        session,
        report,
    )
    .map_err(not_run)?;
    if proven.is_some() {
        let error = not_run(Error::failed("a backup could not be verified"));
        return Err(error.with_hint("`--level checksum` asks for less"));
    }
    if arguments.restore_on_failure
        && let Some(part) = saved.iter().find(|entry| is_part_of_database(entry))
    {
        let error = not_run(Error::failed(format!(
            "`{}` is a part of its database, and what it leaves out would be lost",
            part.id()
        )));
        return Err(error.with_hint(
            "save the whole database, or leave `--restore-on-failure` out and go back by hand",
        ));
    }
    // Roles before the databases that need them.
    let is_globals = |entry: &Entry| {
        entry
            .sidecar
            .dump
            .as_ref()
            .is_some_and(|dump| dump.format == DumpFormat::GLOBALS.as_str())
    };
    saved.sort_by_key(|entry| !is_globals(entry));
    Ok(saved)
}

/// To put it back would replace the whole.
fn is_part_of_database(entry: &Entry) -> bool {
    let is_postgres = entry.sidecar.kind == EngineKind::Postgres.as_str();
    is_postgres
        && entry
            .sidecar
            .database
            .as_ref()
            .is_some_and(|database| !database.selected_by.is_empty())
}

/// A source that was asked for, by its own name or its group's, and passed over.
fn left_out(arguments: &GuardArguments, saved: &[Entry], session: &Session) -> Option<String> {
    let config = session.config.as_ref()?;
    let asked = arguments.what.iter().flat_map(|word| {
        config
            .group(word)
            .map_or_else(|| vec![word.clone()], <[String]>::to_vec)
    });
    let is_saved = |name: &String| {
        let cluster = |entry: &Entry| {
            entry
                .sidecar
                .database
                .as_ref()
                .and_then(|database| database.cluster.clone())
        };
        saved
            .iter()
            .any(|entry| entry.sidecar.source == *name || cluster(entry).as_ref() == Some(name))
    };
    asked
        .filter(|name| config.source(name).is_some())
        .find(|name| !is_saved(name))
}

fn environment(
    saved: &[Entry],
    arguments: &GuardArguments,
    session: &Session,
) -> Result<Vec<(&'static str, OsString)>> {
    let joined = |of: &dyn Fn(&Entry) -> String| saved.iter().map(of).collect::<Vec<_>>().join(" ");
    let mut variables: Vec<(&'static str, OsString)> = vec![
        ("DBBACKUP_ID", joined(&|entry| entry.id().to_owned()).into()),
        (
            "DBBACKUP_SOURCE",
            joined(&|entry| entry.sidecar.source.clone()).into(),
        ),
        ("DBBACKUP_LABEL", arguments.label.clone().into()),
        (
            "DBBACKUP_STORE",
            session.store_plan()?.location.as_os_str().to_owned(),
        ),
    ];
    // As hooks have it: a `dbbackup` in the program must find the same sources, wherever it runs.
    let config = session
        .config
        .as_ref()
        .map(|config| plan::absolute(&session.cwd, &config.path));
    variables.extend(config.map(|path| ("DBBACKUP_CONFIG", path.into_os_string())));
    Ok(variables)
}

/// `dbbackup` with a configuration that was found in the current directory: the way back is mostly
/// typed in another one.
fn program_from_anywhere(session: &Session) -> String {
    let found = session
        .config
        .as_ref()
        .filter(|_| session.config_flag.is_none());
    let path = found.map(|config| plan::absolute(&session.cwd, &config.path));
    let option = |name: &str, value: &str| format!(" {name} {}", units::shell_word(value));
    match path.as_deref().and_then(Path::to_str) {
        Some(path) => {
            let store = session
                .store_flag
                .as_deref()
                .map_or(String::new(), |store| option("--store", store));
            format!("dbbackup{}{store}", option("--config", path))
        }
        None => "dbbackup".to_owned(),
    }
}

/// Says how to go back, or goes back.
fn undo(
    saved: &[Entry],
    failed: Error,
    code: u8,
    arguments: &GuardArguments,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    let ids: Vec<String> = saved.iter().map(|entry| entry.id().to_owned()).collect();
    let command = format!(
        "{} restore {}",
        program_from_anywhere(session),
        ids.join(" ")
    );
    report.set(
        "restore_command",
        report
            .with_options(&format!("`{command}`"))
            .trim_matches('`'),
    );
    if !arguments.restore_on_failure {
        report.exits_with(code);
        return Err(failed.with_hint(format!("to go back to before it: `{command}`")));
    }
    report.error(&failed);
    report.note("putting back what was there before it");
    let all = RestoreArguments {
        backups: ids,
        yes: true,
        ..RestoreArguments::default()
    };
    let not_undone = |error: Error| {
        error
            .context(format!("{failed}, and not everything could be put back"))
            .with_hint(format!("mend that, then: `{command}`"))
    };
    match restore::run(&all, session, report) {
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

/// What a shell would give as `$?`.
fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// A mistyped program is found before the work. `Command` would look for it in the same places;
/// `dirs` are those of `PATH`.
pub fn must_be_there(program: &OsStr, dirs: &OsStr) -> Result<()> {
    let runs = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let path = Path::new(program);
    let shown = path.display();
    if program.as_encoded_bytes().contains(&b'/') {
        return match (path.exists(), runs(path)) {
            (_, true) => Ok(()),
            (true, false) => Err(Error::usage(format!("`{shown}` is no program"))
                .with_hint(format!("`chmod +x {shown}`, or name its interpreter"))),
            (false, false) => {
                Err(Error::usage(format!("there is no program `{shown}`"))
                    .with_hint("check the path"))
            }
        };
    }
    match std::env::split_paths(dirs).any(|dir| runs(&dir.join(path))) {
        true => Ok(()),
        false => Err(
            Error::usage(format!("there is no program `{shown}` in PATH")).with_hint(
                "a line for a shell is written so: `dbbackup guard app -- sh -c 'cd /srv/app && \
                   ./upgrade'`",
            ),
        ),
    }
}

/// For messages: the whole line, as far as it is short.
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
