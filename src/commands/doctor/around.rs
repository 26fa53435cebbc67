//! What stands around a run: its log, its metrics, and the programs of its hooks. They are looked
//! for, and nothing is run.

use super::Checks;
use crate::commands::backup;
use crate::config::Hooks;
use crate::error::{Context, Error, Result};
use crate::ops::Session;
use std::path::Path;

/// The log, the metrics and the hooks of the whole run.
pub fn run(session: &Session, checks: &mut Checks) {
    let Some(config) = &session.config else {
        return;
    };
    if let Some(log) = &config.log {
        file("log", "nothing would be logged", &log.file, checks);
    }
    if let Some(path) = &config.metrics.textfile {
        file("metrics", "no metrics would be written", path, checks);
    }
    hooks("run", &config.hooks, checks);
}

/// A file that is made where it is missing, in a directory that must be there. Without it a backup
/// is made all the same.
fn file(about: &str, without: &str, path: &Path, checks: &mut Checks) {
    match writable(path) {
        Ok(()) => checks.ok(about, "file", path.display().to_string()),
        Err(error) => {
            let remedy = error.hint().map_or_else(
                || "this user must be able to write there".to_owned(),
                ToString::to_string,
            );
            checks.warning(about, "file", format!("{without}: {error}"), remedy);
        }
    }
}

fn writable(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(
            Error::failed(format!("the directory `{}` is not there", dir.display())).with_hint(
                format!(
                    "make it: `mkdir -p {}`",
                    crate::units::shell_word(&dir.to_string_lossy())
                ),
            ),
        );
    }
    let there = if path.exists() { path } else { dir };
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("writing to `{}`", there.display()))
}

/// The hooks of the run, or of a source.
pub fn hooks(about: &str, hooks: &Hooks, checks: &mut Checks) {
    if hooks.is_empty() {
        return;
    }
    match backup::look_for_programs(hooks) {
        // A backup would be made, and nobody be told if one is not.
        Some(("on_failure", error)) => {
            let remedy = error.hint().map(ToString::to_string).unwrap_or_default();
            checks.warning(about, "hooks", error.message(), remedy);
        }
        Some((_, error)) => checks.problem(about, "hooks", &error),
        None => checks.ok(
            about,
            "hooks",
            "hooks were not run; the programs of those that are lists are there",
        ),
    }
}
