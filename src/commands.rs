//! The commands, one verb a file, and what they share: the configuration, the store, the clock. The only place where the rooms
//! meet.

mod backup;
mod cat;
mod cleanup;
mod completions;
mod delete;
mod doctor;
mod engines;
mod examine;
mod export;
mod find;
mod guard;
mod init;
mod list;
mod pin;
mod restore;
mod show;
mod verify;
mod version;

pub use guard::NOT_RUN;

use crate::catalog::Catalog;
use crate::cli::{Cli, Command, Global};
use crate::config::{self, Config};
use crate::engine::whole_second;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{self, StorePlan};
use crate::report::{Outcome, Report};
use crate::store::{Access, LocalStore, Store};
use chrono::{DateTime, Utc};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs the command that was typed.
pub fn dispatch(cli: &Cli, report: &mut Report) -> Result<Outcome> {
    if cli.global.version {
        return version::run(cli.global.verbose, report);
    }
    let Some(command) = &cli.command else {
        return Err(Error::usage("no command is given").hint("`dbbackup --help` shows them"));
    };
    if let Command::Completions(arguments) = command {
        return completions::run(arguments, report);
    }
    if let Command::Init(arguments) = command {
        // There is no configuration yet, or another one that is none of its business.
        return init::run(arguments, &cli.global, report);
    }
    if let Command::Guard(_) = command {
        // Until its program has run.
        report.exits_with(NOT_RUN);
    }
    let session = Session::start(&cli.global, report)?;
    match command {
        Command::Backup(arguments) => backup::run(arguments, &session, report),
        Command::List(arguments) => list::run(arguments, &session, report),
        Command::Show(arguments) => show::run(arguments, &session, report),
        Command::Verify(arguments) => verify::run(arguments, &session, report),
        Command::Restore(arguments) => restore::run(arguments, &session, report),
        Command::Cleanup(arguments) => cleanup::run(arguments, &session, report),
        Command::Pin(arguments) => pin::run(arguments, true, &session, report),
        Command::Unpin(arguments) => pin::run(arguments, false, &session, report),
        Command::Delete(arguments) => delete::run(arguments, &session, report),
        Command::Cat(arguments) => cat::run(arguments, &session, report),
        Command::Export(arguments) => export::run(arguments, &session, report),
        Command::Guard(arguments) => guard::run(arguments, &session, report),
        Command::Doctor(arguments) => doctor::run(arguments, &session, report),
        Command::Completions(_) | Command::Init(_) => Ok(None),
    }
}

/// What a command finds when it starts.
struct Session {
    config: Option<Config>,
    store_flag: Option<String>,
    config_flag: Option<PathBuf>,
    lock_wait: Duration,
    cwd: PathBuf,
    /// UTC, whole seconds: one moment for the whole run.
    now: DateTime<Utc>,
    host: String,
}

impl Session {
    fn start(global: &Global, report: &Report) -> Result<Session> {
        let variable = |name: &str| std::env::var(name).ok();
        let config = match config::find(global.config.as_deref(), &variable)? {
            // So that a broken configuration can be left aside.
            Some(path) if path == Path::new("/dev/null") => None,
            Some(path) => {
                let path = plan::absolute(&std::env::current_dir().unwrap_or_default(), path);
                Some(
                    config::load(&path, &variable)
                        .inspect_err(|_| report.note("(`--config /dev/null` leaves the configuration aside)"))?,
                )
            }
            None => None,
        };
        for warning in config.iter().flat_map(|config| &config.warnings) {
            report.warn(warning);
        }
        Ok(Session {
            config,
            store_flag: global.store.clone(),
            config_flag: global.config.clone(),
            lock_wait: global.lock_wait.unwrap_or(Duration::ZERO),
            cwd: std::env::current_dir().context("finding the current directory")?,
            now: whole_second(Utc::now()),
            host: config::hostname(),
        })
    }

    fn store_plan(&self) -> Result<StorePlan> {
        let variable = std::env::var("DBBACKUP_STORE").ok();
        plan::store(self.store_flag.as_deref(), self.config.as_ref(), variable.as_deref(), &self.cwd)
    }

    /// The store, to read from.
    fn reading(&self) -> Result<LocalStore> {
        LocalStore::open(&self.store_plan()?.path, Access::Read)
    }

    /// The store, to write to; made where it is missing.
    fn writing(&self) -> Result<LocalStore> {
        let plan = self.store_plan()?;
        LocalStore::open(&plan.path, Access::Write { require_mount: plan.require_mount })
    }

    /// The store, to change what is in it: it must be there.
    fn changing(&self) -> Result<LocalStore> {
        self.reading()?;
        self.writing()
    }

    /// The `[backup]` keys of a source: its own over the defaults.
    fn keys_of(&self, source: &str) -> config::BackupKeys {
        let of_source = |config: &Config| config.owner_of(source).map(|(_, entry)| config.backup_keys(entry));
        self.config.as_ref().and_then(of_source).unwrap_or_else(|| self.backup_keys())
    }

    /// What the configuration says of a source of the store.
    fn entry_of(&self, source: &str) -> Option<&config::SourceEntry> {
        self.config.as_ref().and_then(|config| config.owner_of(source)).map(|(_, entry)| entry)
    }

    /// How trial restores of a source are made.
    fn proving_of(&self, source: &str) -> plan::Proving {
        plan::postgres::proving(match self.entry_of(source).map(|entry| &entry.kind) {
            Some(config::KindKeys::Postgres(own)) => Some(own.as_ref()),
            _ => None,
        })
    }

    fn backup_keys(&self) -> config::BackupKeys {
        self.config.as_ref().map(|config| config.backup.clone()).unwrap_or_default()
    }
}

/// What the store holds of these sources, or of all where none is named; a name that the store does not know is an error.
fn catalog_of(store: &dyn Store, sources: &[String]) -> Result<Catalog> {
    if sources.is_empty() {
        return Catalog::read(store, None);
    }
    let present = store.sources()?;
    let sources = &members(store, sources)?;
    if let Some(unknown) = sources.iter().find(|name| !present.contains(name)) {
        let known: Vec<&str> = present.iter().map(String::as_str).collect();
        let error = Error::not_found(format!("the store `{}` has no source `{unknown}`", store.name()));
        return Err(match config::nearest(unknown, known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`dbbackup list` shows what there is"),
        });
    }
    Catalog::read(store, Some(sources))
}

/// The names with those of clusters resolved: `cluster` is itself, where it has a history, and every source whose backups say that they are of it.
fn members(store: &dyn Store, names: &[String]) -> Result<Vec<String>> {
    let present = store.sources()?;
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let named_so =
            |source: &&String| source.strip_prefix(name.as_str()).is_some_and(|rest| rest == "-globals" || rest.starts_with('.'));
        let mut found: Vec<String> = present.iter().filter(|source| *source == name).cloned().collect();
        // The name alone says nothing: `app.old` may be a source of its own.
        let likely: Vec<String> = present.iter().filter(named_so).cloned().collect();
        if !likely.is_empty() {
            let catalog = Catalog::read(store, Some(&likely))?;
            found.extend(likely.into_iter().filter(|source| catalog.cluster_of(source) == Some(name)));
        }
        if found.is_empty() {
            found.push(name.clone());
        }
        all.extend(found);
    }
    all.dedup();
    Ok(all)
}

/// Puts the errors of a run that went on after them into the document, as that of a run that ended at one would be.
fn set_error(errors: &[Error], report: &mut Report) {
    let messages: Vec<String> = errors.iter().map(Error::message).collect();
    if !messages.is_empty() {
        report.set("error", messages.join("; "));
    }
    if let Some(hint) = errors.iter().find_map(Error::remedy) {
        report.set("hint", hint);
    }
}

/// The kind of a run in which of `tried` things `failed` went wrong: all of them failed, or some.
fn outcome_of(tried: usize, failed: &[Kind]) -> Outcome {
    match failed {
        [] => None,
        kinds if kinds.contains(&Kind::Interrupted) => Some(Kind::Interrupted),
        [first, rest @ ..] if failed.len() == tried => {
            // Alike: that kind. Mixed: damage is what must not be missed.
            let alike = rest.iter().all(|kind| kind == first);
            let damaged = failed.contains(&Kind::Damaged);
            Some(if alike {
                *first
            } else if damaged {
                Kind::Damaged
            } else {
                Kind::Failed
            })
        }
        kinds if kinds.contains(&Kind::Damaged) => Some(Kind::Damaged),
        _ => Some(Kind::Partial),
    }
}
