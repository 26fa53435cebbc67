//! The commands, one verb a file, and what they share: the configuration, the store, the clock. The
//! only place where the rooms meet.

mod adopt;
mod backup;
mod cat;
mod cleanup;
mod completions;
mod copy;
mod delete;
mod doctor;
#[cfg(test)]
mod documents;
mod export;
mod guard;
mod help;
mod init;
mod key;
mod list;
mod notify;
mod pin;
mod rendering;
mod report;
mod restore;
mod schedule;
mod show;
mod stats;
mod status;
mod verify;
mod version;

pub use guard::NOT_RUN;

use crate::cli::{Cli, Command, GlobalArguments, KeyArguments, KeyCommand};
use crate::config::{self, Config};
use crate::encryption::IdentitySource;
use crate::engine::whole_second;
use crate::error::{Context, Error, Hint, Result};
use crate::failpoint::present;
use crate::log::Log;
use crate::ops::run::outcome_of;
use crate::ops::{KeyRing, Session};
use crate::plan::{self};
use crate::report::{CommandOutcome, Report, ask_secret};
use std::path::Path;
use std::time::Duration;

/// Runs the command that was typed.
pub fn dispatch(cli: &Cli, report: &mut Report) -> Result<CommandOutcome> {
    if cli.global.version {
        return version::run(cli.global.verbose, report);
    }
    let Some(command) = &cli.command else {
        return Err(Error::usage("no command is given")
            .with_hint(Hint::new().command(["--help"]).text(" shows them")));
    };
    if let Command::Completions(arguments) = command {
        return completions::run(arguments, report);
    }
    if let Command::Help(arguments) = command {
        return help::run(arguments, report);
    }
    if let Command::Init(arguments) = command {
        // There is no configuration yet, or another one that is none of its business.
        return init::run(arguments, &cli.global, report);
    }
    if let Command::Key(KeyArguments {
        command: KeyCommand::Init(arguments),
    }) = command
    {
        return key::init(arguments, &cli.global, report);
    }
    if let Command::Guard(_) = command {
        // Until its program has run.
        report.exits_with(NOT_RUN);
    }
    let session = start_session(&cli.global, command, report);
    if let Command::Status(arguments) = command {
        return status::run(arguments, session, report);
    }
    let session = session?;
    match command {
        Command::Backup(arguments) => backup::run(arguments, &session, report),
        Command::List(arguments) => list::run(arguments, &session, report),
        Command::Show(arguments) => show::run(arguments, &session, report),
        Command::Verify(arguments) => verify::run(arguments, &session, report),
        Command::Copy(arguments) => copy::run(arguments, &session, report),
        Command::Restore(arguments) => restore::run(arguments, &session, report),
        Command::Cleanup(arguments) => cleanup::run(arguments, &session, report),
        Command::Pin(arguments) => pin::run(arguments, true, &session, report),
        Command::Unpin(arguments) => pin::run(arguments, false, &session, report),
        Command::Delete(arguments) => delete::run(arguments, &session, report),
        Command::Stats(arguments) => stats::run(arguments, &session, report),
        Command::Cat(arguments) => cat::run(arguments, &session, report),
        Command::Export(arguments) => export::run(arguments, &session, report),
        Command::Guard(arguments) => guard::run(arguments, &session, report),
        Command::Doctor(arguments) => doctor::run(arguments, &session, report),
        Command::Notify(arguments) => notify::run(arguments, &session, report),
        Command::Adopt(arguments) => adopt::run(arguments, &session, report),
        Command::Schedule(arguments) => schedule::run(arguments, &session, report),
        Command::Report(arguments) => report::run(arguments, &session, report),
        Command::Key(KeyArguments {
            command: KeyCommand::Prove(arguments),
        }) => key::prove(arguments, &session, report),
        Command::Key(KeyArguments {
            command: KeyCommand::Sheet(arguments),
        }) => key::sheet(arguments, &cli.global, &session, report),
        Command::Status(_)
        | Command::Completions(_)
        | Command::Help(_)
        | Command::Init(_)
        | Command::Key(_) => Ok(None),
    }
}

/// Commands that change or prove something have a story worth keeping; those that only look, every
/// minute perhaps, would drown it.
fn keeps_log(command: &Command) -> bool {
    use Command::{Adopt, Backup, Cleanup, Copy, Delete, Guard, Pin, Restore, Unpin, Verify};
    matches!(
        command,
        Adopt(_)
            | Backup(_)
            | Guard(_)
            | Verify(_)
            | Copy(_)
            | Restore(_)
            | Cleanup(_)
            | Delete(_)
            | Pin(_)
            | Unpin(_)
    )
}

/// Commands for which a store is enough: whoever needs a backup at once can go on without the
/// configuration.
fn does_without(command: &Command) -> bool {
    use Command::{Cat, Export, List, Restore, Show, Verify};
    matches!(
        command,
        Restore(_) | List(_) | Show(_) | Verify(_) | Cat(_) | Export(_)
    )
}

/// Whether the user said that backups may be read although no trusted key signed them.
fn accepts_untrusted(command: &Command) -> bool {
    match command {
        Command::Restore(arguments) => arguments.untrusted,
        Command::Cat(arguments) => arguments.untrusted,
        Command::Export(arguments) => arguments.untrusted,
        _ => false,
    }
}

/// Opens the log of the configuration, and says in it what begins.
fn open_log(config: &Config, report: &Report) {
    let Some(settings) = &config.log else {
        return;
    };
    match Log::open(settings.clone()) {
        Ok(log) => report.keep_log(log),
        Err(error) => return report.warn(format!("{error}; nothing is logged")),
    }
    let words = std::env::args_os()
        .skip(1)
        .map(|word| config::masked_line(&word.to_string_lossy()));
    let words = words.collect::<Vec<_>>().join(" ");
    let user = rustix::process::geteuid().as_raw();
    let (version, file) = (env!("CARGO_PKG_VERSION"), config.path.display());
    report.log_only(format!(
        "started: dbbackup {words} (version {version}, user id {user}, configuration {file})"
    ));
}

/// Finds the configuration, and with it what a command is given of the world.
fn start_session(global: &GlobalArguments, command: &Command, report: &Report) -> Result<Session> {
    let variable = |name: &str| std::env::var(name).ok();
    let config = match config::find(global.config.as_deref(), &variable)? {
        // So that a broken configuration can be left aside.
        Some(path) if path == Path::new("/dev/null") => None,
        Some(path) => {
            let path = plan::absolute(&std::env::current_dir().unwrap_or_default(), path);
            Some(config::load(&path, &variable).map_err(|error| {
                if does_without(command) {
                    leave_aside(error)
                } else {
                    error
                }
            })?)
        }
        None => None,
    };
    if let Some(config) = config.as_ref().filter(|_| keeps_log(command)) {
        open_log(config, report);
    }
    for warning in config.iter().flat_map(|config| &config.warnings) {
        report.warn(warning);
    }
    Ok(Session {
        config,
        store_flag: global.store.clone(),
        config_flag: global.config.clone(),
        lock_wait: global.lock_wait.unwrap_or(Duration::ZERO),
        cwd: std::env::current_dir().context("finding the current directory")?,
        now: whole_second(present()),
        host: config::hostname(),
        accepts_untrusted: accepts_untrusted(command),
        keys: key_ring(global),
    })
}

/// Where private keys come from, before what the configuration says.
fn key_ring(global: &GlobalArguments) -> KeyRing {
    let variable = std::env::var_os("DBBACKUP_IDENTITY_FILE").filter(|path| !path.is_empty());
    let named = match (&global.identity, variable) {
        (Some(path), _) => Some(IdentitySource::File(path.clone(), "--identity")),
        (None, Some(path)) => Some(IdentitySource::File(path.into(), "$DBBACKUP_IDENTITY_FILE")),
        (None, None) => None,
    };
    KeyRing::new(named, std::sync::Arc::new(ask_secret))
}

/// The hint of a configuration that can't be used: what to mend, and how to go on without it.
fn leave_aside(error: Error) -> Error {
    const ASIDE: &str = "`--config /dev/null` leaves the configuration aside";
    match error.hint().cloned() {
        Some(hint) => error.with_new_hint(hint.text(format!(" ({ASIDE})"))),
        None => error.with_hint(ASIDE),
    }
}

/// Puts the errors of a run that went on after them into the document, as that of a run that ended
/// at one would be.
fn set_error<'a>(errors: impl IntoIterator<Item = &'a Error>, report: &mut Report) {
    let errors: Vec<&Error> = errors.into_iter().collect();
    let messages: Vec<String> = errors.iter().map(|error| error.message()).collect();
    if !messages.is_empty() {
        report.set("error", messages.join("; "));
    }
    if let Some(hint) = errors.iter().find_map(|error| error.hint()) {
        report.set("hint", report.rendered(hint));
    }
}
