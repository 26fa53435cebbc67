//! The commands, one verb a file, and what they share: the configuration, the store, the clock. The
//! only place where the rooms meet.

mod backup;
mod cat;
mod cleanup;
mod completions;
mod delete;
mod doctor;
#[cfg(test)]
mod documents;
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
mod stats;
mod status;
mod verify;
mod version;

pub use guard::NOT_RUN;

use crate::catalog::{Catalog, is_named_of};
use crate::cli::{Cli, Command, Global};
use crate::config::{self, Config};
use crate::engine::{Manifest, whole_second};
use crate::error::{Context, Error, Kind, Result};
use crate::log::Log;
use crate::plan::{self, StorePlan};
use crate::report::{Outcome, Report};
use crate::store::{Access, LocalStore, Store};
use crate::units;
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
    let session = Session::start(&cli.global, command, report);
    if let Command::Status(arguments) = command {
        return status::run(arguments, session, report);
    }
    let session = session?;
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
        Command::Stats(arguments) => stats::run(arguments, &session, report),
        Command::Cat(arguments) => cat::run(arguments, &session, report),
        Command::Export(arguments) => export::run(arguments, &session, report),
        Command::Guard(arguments) => guard::run(arguments, &session, report),
        Command::Doctor(arguments) => doctor::run(arguments, &session, report),
        Command::Status(_) | Command::Completions(_) | Command::Init(_) => Ok(None),
    }
}

/// Commands that change or prove something have a story worth keeping; those that only look, every
/// minute perhaps, would drown it.
fn keeps_log(command: &Command) -> bool {
    use Command::{Backup, Cleanup, Delete, Guard, Pin, Restore, Unpin, Verify};
    matches!(
        command,
        Backup(_) | Guard(_) | Verify(_) | Restore(_) | Cleanup(_) | Delete(_) | Pin(_) | Unpin(_)
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

/// The error of who has neither a store nor a configuration; under cron the current directory and
/// the home are seldom what was meant.
fn no_configuration(cwd: &Path) -> Error {
    let places = config::places(&|name| std::env::var(name).ok());
    let places: Vec<String> = places
        .iter()
        .map(|place| plan::absolute(cwd, place).display().to_string())
        .collect();
    Error::usage(format!(
        "no store is given, and no configuration was found: looked for {}",
        places.join(", ")
    ))
    .hint(
        "name the store, `--store DIR` or $DBBACKUP_STORE, or the configuration, `--config FILE` \
         or $DBBACKUP_CONFIG; `dbbackup init` writes one",
    )
}

/// Opens the log of the configuration, and says in it what begins.
fn open_log(config: &Config, report: &Report) {
    let Some(settings) = plan::log(config) else {
        return;
    };
    match Log::open(settings) {
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

/// What a command finds when it starts.
#[derive(Clone)]
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
    fn start(global: &Global, command: &Command, report: &Report) -> Result<Session> {
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
            now: whole_second(Utc::now()),
            host: config::hostname(),
        })
    }

    /// The same at another moment.
    fn at(&self, now: DateTime<Utc>) -> Session {
        Session {
            now,
            ..self.clone()
        }
    }

    fn store_plan(&self) -> Result<StorePlan> {
        let variable = std::env::var("DBBACKUP_STORE").ok();
        let nowhere = self.store_flag.is_none() && variable.as_deref().is_none_or(str::is_empty);
        if nowhere && self.config.is_none() && self.config_flag.is_none() {
            return Err(no_configuration(&self.cwd));
        }
        plan::store(
            self.store_flag.as_deref(),
            self.config.as_ref(),
            variable.as_deref(),
            &self.cwd,
            &LocalStore::is_at,
        )
    }

    /// The store, to read from.
    fn reading(&self) -> Result<LocalStore> {
        LocalStore::open(&self.store_plan()?.path, Access::Read)
    }

    /// The store, to write to; made where it is missing.
    fn writing(&self) -> Result<LocalStore> {
        let plan = self.store_plan()?;
        LocalStore::open(
            &plan.path,
            Access::Write {
                require_mount: plan.require_mount,
            },
        )
    }

    /// The store, to change what is in it: it must be there.
    fn changing(&self) -> Result<LocalStore> {
        self.reading()?;
        self.writing()
    }

    /// The `[backup]` keys of a source: its own over the defaults.
    fn keys_of(&self, source: &str) -> config::BackupKeys {
        let of_source = |config: &Config| {
            config
                .owner_of(source)
                .map(|(_, entry)| config.backup_keys(entry))
        };
        self.config
            .as_ref()
            .and_then(of_source)
            .unwrap_or_else(|| self.backup_keys())
    }

    /// What the configuration says of a source of the store.
    fn entry_of(&self, source: &str) -> Option<&config::SourceEntry> {
        self.config
            .as_ref()
            .and_then(|config| config.owner_of(source))
            .map(|(_, entry)| entry)
    }

    /// The sources of a group of the configuration.
    fn group(&self, word: &str) -> Option<&[String]> {
        self.config.as_ref().and_then(|config| config.group(word))
    }

    /// Where one backup is meant, a group's name means none.
    fn refuse_group(&self, wanted: &str) -> Result<()> {
        let word = wanted.split_once('@').map_or(wanted, |(word, _)| word);
        match self.group(word) {
            Some(members) => Err(Error::usage(format!(
                "`{word}` is a group of {}",
                members.join(", ")
            ))
            .hint("name one of them, or a backup")),
            None => Ok(()),
        }
    }

    /// How trial restores of a source are made.
    fn proving_of(&self, source: &str) -> plan::Proving {
        let entry = self.entry_of(source);
        let keys = match (&self.config, entry) {
            (Some(config), Some(entry)) => config.backup_keys(entry),
            _ => self.backup_keys(),
        };
        let own = match entry.map(|entry| &entry.kind) {
            Some(config::KindKeys::Postgres(own)) => Some(own.as_ref()),
            _ => None,
        };
        plan::postgres::proving(own, &keys)
    }

    fn backup_keys(&self) -> config::BackupKeys {
        self.config
            .as_ref()
            .map(|config| config.backup.clone())
            .unwrap_or_default()
    }
}

/// The hint of a configuration that can't be used: what to mend, and how to go on without it.
fn leave_aside(error: Error) -> Error {
    const ASIDE: &str = "`--config /dev/null` leaves the configuration aside";
    match error.remedy().map(str::to_owned) {
        Some(hint) => error.hinted(format!("{hint} ({ASIDE})")),
        None => error.hint(ASIDE),
    }
}

/// The names with groups resolved, each once, for who reads the store. A group's source of which
/// the store holds nothing is told; a group of nothing but such is an error, for no name at all
/// would mean all there is.
fn names_in(
    store: &dyn Store,
    words: &[String],
    session: &Session,
    report: &Report,
) -> Result<Vec<String>> {
    let present = store.sources()?;
    let heard_of = |name: &String| {
        present
            .iter()
            .any(|known| known == name || is_named_of(known, name))
    };
    let mut names: Vec<String> = Vec::new();
    for word in words {
        let Some(members) = session.group(word) else {
            names.push(word.clone());
            continue;
        };
        if !members.iter().any(heard_of) {
            let text = format!(
                "the store `{}` holds nothing of the group `{word}` ({})",
                store.name(),
                members.join(", ")
            );
            return Err(Error::not_found(text)
                .hint(format!("`dbbackup backup {word}` makes the first backups")));
        }
        for member in members {
            match heard_of(member) {
                true => names.push(member.clone()),
                false => report.warn(format!(
                    "{member}: the store holds nothing of it: `dbbackup backup {member}`"
                )),
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// What the store holds of these sources, or of all where none is named; a name that the store does
/// not know is an error. Whether the configuration still means a database that has vanished from
/// its server: nobody has said that it is right that it has.
fn is_missed(
    source: &str,
    catalog: &Catalog,
    store: &dyn Store,
    config: &config::Config,
) -> Result<bool> {
    let Some((_, entry)) = config.owner_of(source) else {
        return Ok(false);
    };
    let config::KindKeys::Postgres(own) = &entry.kind else {
        return Ok(false);
    };
    let Some(newest) = catalog
        .of(source)
        .find(|backup| backup.sidecar.dump.is_some())
    else {
        return Ok(false);
    };
    let database = newest
        .whole(store)?
        .sidecar
        .database
        .and_then(|database| database.name);
    // Globals have none.
    Ok(database.is_some_and(|database| plan::postgres::is_meant(own, &database)))
}

fn catalog_of(store: &dyn Store, sources: &[String]) -> Result<Catalog> {
    if sources.is_empty() {
        return Catalog::read(store, None);
    }
    let mut catalog = Catalog::read_with_members(store, sources)?;
    let sources = catalog.members(sources);
    let present = store.sources()?;
    if let Some(unknown) = sources.iter().find(|name| !present.contains(name)) {
        let known: Vec<&str> = present.iter().map(String::as_str).collect();
        let error = Error::not_found(format!(
            "the store `{}` has no source `{unknown}`",
            store.name()
        ));
        return Err(match config::nearest(unknown, known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`dbbackup list` shows what there is"),
        });
    }
    catalog.keep_only(&sources);
    Ok(catalog)
}

/// What the store holds that a user's word for a backup can mean; all there is where nothing does,
/// for the error to name it.
fn catalog_for(store: &dyn Store, wanted: &str, now: DateTime<Utc>) -> Result<Catalog> {
    let catalog = Catalog::read_for(store, wanted)?;
    match catalog.resolve(wanted, now) {
        Err(error) if error.kind() == Kind::NotFound => Catalog::read(store, None),
        _ => Ok(catalog),
    }
}

/// What is inside a backup, in a few words.
fn holds(manifest: &Manifest) -> String {
    match &manifest.tree {
        Some(tree) => crate::engine::files::content::summary(tree),
        None => {
            format!(
                "{} in {}",
                units::count(manifest.rows_total, "row"),
                units::count(manifest.tables.len() as u64, "table")
            )
        }
    }
}

/// Puts the errors of a run that went on after them into the document, as that of a run that ended
/// at one would be.
fn set_error(errors: &[Error], report: &mut Report) {
    let messages: Vec<String> = errors.iter().map(Error::message).collect();
    if !messages.is_empty() {
        report.set("error", messages.join("; "));
    }
    if let Some(hint) = errors.iter().find_map(Error::remedy) {
        report.set("hint", report.with_options(hint));
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
