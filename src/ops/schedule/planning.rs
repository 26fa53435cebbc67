//! From a session and its settings to the plan of a schedule.

use super::jobs::plan_jobs;
use super::sandbox::Sandbox;
use super::{JobScheduler, SchedulePlan, ScheduleSettings, SchedulerKind};
use crate::config::is_label;
use crate::error::{Context, Error, Hint, Result};
use crate::ops::Session;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The path of the configuration. A schedule says everything by it, so nothing else may be given.
pub fn configuration_of(session: &Session) -> Result<PathBuf> {
    let Some(config) = &session.config else {
        return Err(
            Error::usage("a schedule needs a configuration, and none was found").with_hint(
                Hint::from("name it with `--config FILE`; ")
                    .command(["init"])
                    .text(" writes one"),
            ),
        );
    };
    if session.store_flag.is_some() {
        return Err(
            Error::usage("a schedule uses the store of the configuration").with_hint(
                "leave `--store` out; another store is `[store]` in a configuration of its own",
            ),
        );
    }
    Ok(config.path.clone())
}

/// All that should be there with these settings.
pub fn plan_schedule(
    settings: ScheduleSettings,
    scheduler: &dyn JobScheduler,
    session: &Session,
) -> Result<SchedulePlan> {
    let Some(config) = &session.config else {
        return Err(Error::usage("a schedule needs a configuration"));
    };
    if let Some(label) = settings.label.as_deref().filter(|label| !is_label(label)) {
        return Err(Error::usage(format!("`{label}` is no label")).with_hint(
            "a label has letters, digits, `.` and `-`, and begins with a letter or digit",
        ));
    }
    let jobs = plan_jobs(&settings, session)?;
    let program = own_program()?;
    let mail_to =
        if config.notify.notifiers.is_empty() && scheduler.kind() == SchedulerKind::Systemd {
            program_in_path("mail").and(crate::users::me())
        } else {
            None
        };
    Ok(SchedulePlan {
        jobs,
        config_text: writable_text(&config.path)?,
        config: config.path.clone(),
        program: writable_text(&program)?,
        stem: stem_of(&config.path),
        settings,
        sandbox: Sandbox::new(config),
        mail_to,
    })
}

/// The path as text, if units and crontabs can hold it.
fn writable_text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Error::usage(format!(
            "`{}` can stand in no unit and no crontab",
            path.display()
        ))
        .with_hint("give it a name of letters that can be printed")
    })
}

/// This program as it is called: where a name for it stands in a usual place, that one, because it
/// outlives an update.
fn own_program() -> Result<PathBuf> {
    let real = std::env::current_exe().context("finding this program")?;
    let usual = ["/usr/local/bin/dbbackup", "/usr/bin/dbbackup"].map(PathBuf::from);
    let is_this = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == real);
    Ok(usual.into_iter().find(is_this).unwrap_or(real))
}

/// Where a program is that is called by its name.
pub fn program_in_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths).map(|dir| dir.join(name));
    found.into_iter().find(|path| path.is_file())
}

/// What names of units begin with. The configuration that this user's runs find by themselves has
/// the plain name; others have one of their own, by their path.
fn stem_of(config: &Path) -> String {
    let home = crate::config::places(&|name| std::env::var(name).ok());
    let usual = if rustix::process::geteuid().is_root() {
        home.last()
    } else {
        home.get(1)
    };
    if usual.is_some_and(|usual| usual == config) {
        return "dbbackup".to_owned();
    }
    let stem = config
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let parent = config
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let word = if matches!(stem, "dbbackup" | "config") {
        parent.unwrap_or(stem)
    } else {
        stem
    };
    let word: String = word
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_.".contains(*c))
        .collect();
    let hash = Sha256::digest(config.as_os_str().as_encoded_bytes());
    let word = if word.is_empty() { "config" } else { &word };
    format!(
        "dbbackup-{word}-{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2]
    )
}
