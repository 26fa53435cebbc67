//! `dbbackup init`: a first configuration from what is found, and the lines that have it used every
//! night.

mod text;

use super::rendering::show_schedule_change;
use super::start_session;
use crate::cli::{
    Command, GlobalArguments, InitArguments, ScheduleArguments, ScheduleCommand,
    ScheduleInstallArguments,
};
use crate::config;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::ops::discovery::{self, DiscoveredSource};
use crate::ops::schedule::{self, ScheduleRequest};
use crate::plan;
use crate::report::{CommandOutcome, Paint, Report};
use std::io::Write;
use std::path::{Path, PathBuf};

pub fn run(
    arguments: &InitArguments,
    global: &GlobalArguments,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let cwd = std::env::current_dir().context("finding the current directory")?;
    let path = plan::absolute(
        &cwd,
        global
            .config
            .as_deref()
            .unwrap_or(Path::new("dbbackup.toml")),
    );
    if global.config.as_deref() == Some(Path::new("-")) {
        return Err(Error::usage("`--config -` names no file")
            .with_hint("name the file that is to be written: `--config dbbackup.toml`"));
    }
    must_be_free(&path)?;
    let dirs: Vec<PathBuf> = if arguments.dirs.is_empty() {
        vec![cwd.clone()]
    } else {
        arguments
            .dirs
            .iter()
            .map(|dir| plan::absolute(&cwd, dir))
            .collect()
    };
    let found = discovery::discover_sources(&dirs, report)?;
    if found.is_empty() {
        let places: Vec<String> = dirs
            .iter()
            .map(|dir| format!("`{}`", dir.display()))
            .collect();
        return Err(Error::not_found(format!(
            "no SQLite database is in {}, and no PostgreSQL server answers",
            places.join(", ")
        ))
        .with_hint(
            "name the directories of your databases, or set $DATABASE_URL or PGHOST; or start \
               from examples/dbbackup.toml",
        ));
    }
    let store = store_for(global, &cwd, &path);
    let written = text::configuration(&found, &store);
    // What is written here must be read here.
    config::parse(&written, &path, &|name| std::env::var(name).ok())
        .context("the new configuration")?;
    write(&path, &written)?;
    show(&path, &store, &found, report);
    offer_schedule(&path, global, report)
}

/// Asks on a terminal whether the schedule is to be installed; elsewhere the command was shown.
fn offer_schedule(
    path: &Path,
    global: &GlobalArguments,
    report: &mut Report,
) -> Result<CommandOutcome> {
    if !report.can_ask() || !report.ask("Have backups made every night from now on?")? {
        return Ok(None);
    }
    let global = GlobalArguments {
        config: Some(path.to_owned()),
        store: None,
        ..global.clone()
    };
    let command = Command::Schedule(ScheduleArguments {
        command: ScheduleCommand::Install(ScheduleInstallArguments::default()),
    });
    let session = start_session(&global, &command, report)?;
    let change = schedule::install(&ScheduleRequest::default(), &session, report)?;
    show_schedule_change(&change, false, report);
    Ok(None)
}

/// The name must be free, or that of a file in which nothing is set, as packages install it.
fn must_be_free(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() && !config::sets_nothing(path) {
        return Err(
            Error::usage(format!("`{}` is there already", path.display())).with_hint(
                "it is never overwritten: give another one with `--config FILE`, or move it away",
            ),
        );
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(
            Error::usage(format!("the directory `{}` is not there", dir.display()))
                .with_hint(format!("make it first: `mkdir -m 0755 {}`", dir.display())),
        );
    }
    Ok(())
}

/// The store that was named, or one where this user can make it.
fn store_for(global: &GlobalArguments, cwd: &Path, config: &Path) -> PathBuf {
    if let Some(given) = global
        .store
        .clone()
        .or_else(|| std::env::var("DBBACKUP_STORE").ok())
        .filter(|text| !text.is_empty())
    {
        return plan::absolute(cwd, given);
    }
    let root = rustix::process::geteuid().is_root() && Path::new("/var/backups").is_dir();
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_dir());
    match (root, home) {
        (true, _) => PathBuf::from("/var/backups/dbbackup"),
        (false, Some(home)) => home.join("dbbackup-store"),
        (false, None) => config.with_file_name("dbbackup-store"),
    }
}

/// Whole or not at all, readable by its owner alone.
fn write(path: &Path, text: &str) -> Result<()> {
    if config::sets_nothing(path) {
        return durable::replace(path, text.as_bytes());
    }
    let mut file = durable::create_new(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written
        .with_context(|| format!("writing `{}`", path.display()))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })?;
    durable::sync_dir(path.parent().unwrap_or(Path::new("/")))
}

fn show(path: &Path, store: &Path, found: &[DiscoveredSource], report: &mut Report) {
    let good = report.paint(Paint::Good, "ok");
    for one in found {
        let off = one
            .obstacle
            .as_ref()
            .map_or(String::new(), |why| format!(" (not enabled: {why})"));
        report.line(format!("   {}: {}{off}", one.name, one.place()));
    }
    report.line(format!(
        "{good} {}: {}",
        path.display(),
        crate::units::count(found.len() as u64, "source")
    ));
    report.line(format!("   the backups will be in {}", store.display()));
    let cron = text::crontab(path);
    let heading = |text: &str| report.paint(Paint::Strong, text);
    report.answer(heading("See what it says, then try it:"));
    let option = text::option_for(path);
    for command in ["doctor", "backup --dry-run", "backup"] {
        report.answer(format!("  dbbackup{option} {command}"));
    }
    report.answer(heading(
        "Then every night by systemd or cron, as the user that owns the databases:",
    ));
    report.answer(format!("  dbbackup{option} schedule install"));
    report.answer(heading("Or by lines of your own (`crontab -e`):"));
    cron.iter()
        .for_each(|line| report.answer(format!("  {line}")));
    report.set("config", path.display().to_string());
    report.set("store", store.display().to_string());
    report.set("sources", found.iter().map(source_json).collect::<Vec<_>>());
    report.set("crontab", cron);
}

fn source_json(source: &DiscoveredSource) -> serde_json::Value {
    serde_json::json!({"name": source.name, "kind": source.engine().as_str(), "place": source.place(),
        "enabled": source.obstacle.is_none()})
}
