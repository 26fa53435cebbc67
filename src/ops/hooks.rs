//! Hooks: the user's own programs around a run or a source. `before` comes first, and failing it
//! stops what it stands before; `after` comes whatever became of it, so that what `before` stopped
//! is started again, also when `before` itself failed or a signal came; `on_failure` comes last.

#[cfg(test)]
mod tests;

use super::run::{Run, RunListener, RunSummary, SourceSummary, kind_of_sources};
use super::{Observer, programs};
use crate::config::{Hooks, masked_line};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::process::captured::{self, Captured, Limits};
use crate::setting::UserCommand;
use crate::store::Location;
use crate::units;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An error goes into the environment, where room is limited, in bytes.
const LONGEST_ERROR: usize = 4096;

/// The moments at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookMoment {
    /// Before the work; failing it stops what it stands before.
    Before,
    /// After the work, whatever became of it.
    After,
    /// Last, where something failed.
    OnFailure,
}

impl HookMoment {
    /// All of them, in their order.
    pub const ALL: [HookMoment; 3] = [HookMoment::Before, HookMoment::After, HookMoment::OnFailure];

    /// The key in the configuration, and the value of `DBBACKUP_HOOK`.
    pub fn as_str(self) -> &'static str {
        match self {
            HookMoment::Before => "before",
            HookMoment::After => "after",
            HookMoment::OnFailure => "on_failure",
        }
    }

    fn command(self, hooks: &Hooks) -> Option<&UserCommand> {
        match self {
            HookMoment::Before => hooks.before.as_ref(),
            HookMoment::After => hooks.after.as_ref(),
            HookMoment::OnFailure => hooks.on_failure.as_ref(),
        }
    }
}

/// What `after` and `on_failure` learn in their environment.
#[derive(Debug, Default)]
pub struct HookOutcome {
    /// The backup's id, or that of the failed attempt.
    pub id: Option<String>,
    /// The dump's file.
    pub dump: Option<PathBuf>,
    /// The kind of what went wrong, with its message.
    pub error: Option<(Kind, String)>,
    /// Names of those that failed, of several.
    pub failed: Vec<String>,
}

impl From<&SourceSummary> for HookOutcome {
    fn from(source: &SourceSummary) -> Self {
        let error = source.error.as_ref();
        HookOutcome {
            id: source.backup_id.clone().or(source.failed_id.clone()),
            dump: source.dump_path.clone(),
            error: error.map(|error| (error.kind, error.message.clone())),
            failed: Vec::new(),
        }
    }
}

impl From<&[SourceSummary]> for HookOutcome {
    fn from(sources: &[SourceSummary]) -> Self {
        let errors = sources.iter().filter_map(SourceSummary::named_error);
        let messages: Vec<String> = errors.map(|error| error.message()).collect();
        let has_failed = |source: &&SourceSummary| source.error.is_some();
        HookOutcome {
            error: kind_of_sources(sources).map(|kind| (kind, messages.join("; "))),
            failed: sources
                .iter()
                .filter(has_failed)
                .map(|source| source.source.clone())
                .collect(),
            ..HookOutcome::default()
        }
    }
}

impl From<&RunSummary> for HookOutcome {
    fn from(run: &RunSummary) -> Self {
        let of_sources = HookOutcome::from(run.sources.as_slice());
        let of_run = run.error.as_ref().map(|error| error.message.clone());
        let messages: Vec<String> = of_sources
            .error
            .map(|(_, messages)| messages)
            .into_iter()
            .chain(of_run)
            .collect();
        HookOutcome {
            error: run.kind().map(|kind| (kind, messages.join("; "))),
            failed: of_sources.failed,
            ..HookOutcome::default()
        }
    }
}

impl HookOutcome {
    fn status(&self) -> &'static str {
        match self.error {
            None => "ok",
            Some((Kind::Partial, _)) => "partial",
            Some(_) => "failed",
        }
    }
}

/// Runs the hooks of a run, or of one source in it.
pub struct HookRunner<'a> {
    hooks: &'a Hooks,
    /// The source; none for the run's own.
    source: Option<&'a str>,
    /// The names of the run's sources.
    sources: String,
    /// The store; none where it is not known which one is meant.
    store: Option<&'a Location>,
    config: Option<&'a Path>,
    run: &'a Run,
    observer: &'a dyn Observer,
}

impl<'a> HookRunner<'a> {
    /// For the hooks of the run over `sources`.
    pub fn for_run(
        hooks: &'a Hooks,
        sources: &[String],
        store: Option<&'a Location>,
        run: &'a Run,
        observer: &'a dyn Observer,
    ) -> Self {
        HookRunner {
            hooks,
            source: None,
            sources: sources.join(" "),
            store,
            config: run.config.as_deref(),
            run,
            observer,
        }
    }

    /// For the hooks of a source.
    pub fn for_source(
        hooks: &'a Hooks,
        source: &'a str,
        store: &'a Location,
        run: &'a Run,
        observer: &'a dyn Observer,
    ) -> Self {
        HookRunner {
            source: Some(source),
            ..HookRunner::for_run(hooks, &[], Some(store), run, observer)
        }
    }

    /// Runs `before`; nothing else of it may be done where it fails.
    pub fn run_before(&self) -> Result<()> {
        interrupt::check()?;
        self.run_hook(HookMoment::Before, &HookOutcome::default())
            .map_err(|error| match error.kind() {
                Kind::Interrupted => error,
                _ => error
                    .with_hint("nothing was backed up; with `-v` all is shown that the hook says"),
            })
    }

    /// Runs `after`, always to its end.
    pub fn run_after(&self, outcome: &HookOutcome) -> Result<()> {
        self.run_hook(HookMoment::After, outcome)
    }

    /// Runs `on_failure`; its own failure is a warning and changes nothing.
    pub fn run_on_failure(&self, outcome: &HookOutcome) {
        if let Err(error) = self.run_hook(HookMoment::OnFailure, outcome) {
            let whose = self
                .source
                .map_or(String::new(), |source| format!("{source}: "));
            self.observer.warn(format!("{whose}{error}"));
        }
    }

    fn run_hook(&self, moment: HookMoment, outcome: &HookOutcome) -> Result<()> {
        let Some(command) = moment.command(self.hooks) else {
            return Ok(());
        };
        let (word, whose) = (moment.as_str(), self.source.unwrap_or("run"));
        if interrupt::requested() {
            // Else whoever interrupted it wonders what it waits for.
            self.observer.note(format!(
                "{whose}: interrupted; its hook `{word}` is run first (a \
                                      second signal ends this at once)"
            ));
        }
        self.observer.step(format!(
            "{whose}: hook `{word}`: {}",
            masked_line(&command.to_string())
        ));
        let limits = Limits {
            timeout: self.hooks.timeout,
            interruptible: moment == HookMoment::Before,
            hint: "look what it waits for; `timeout` in its [hooks] table sets the limit",
        };
        let Captured {
            output: said,
            duration: took,
            result: ended,
        } = captured::run(
            self.command(command, moment, outcome),
            &format!("the hook `{word}`"),
            limits,
            &|line| self.masked(line),
        );
        for line in said.lines().filter(|line| !line.is_empty()) {
            self.observer
                .step(format!("{whose}: hook `{word}`: | {line}"));
        }
        let took = units::elapsed(took.as_secs_f64());
        let how = if ended.is_ok() { "ended" } else { "failed" };
        self.observer
            .step(format!("{whose}: hook `{word}` {how} after {took}"));
        ended.map_err(|error| {
            if self.source.is_none() {
                error.context("the run")
            } else {
                error
            }
        })
    }

    /// A line of a hook's output without what looks like a secret, and without those of the
    /// env_file.
    fn masked(&self, line: &str) -> String {
        // Whatever a name does not betray may be one, too: who writes so much into an env_file does
        // not want it in a log.
        let is_secret = |(name, value): &(&String, &String)| {
            value.len() >= 6
                || !value.is_empty()
                    && masked_line(&format!("{name}={value}")) != format!("{name}={value}")
        };
        let without = self
            .hooks
            .variables
            .iter()
            .filter(is_secret)
            .fold(line.to_owned(), |line, (_, value)| {
                line.replace(value, "***")
            });
        masked_line(&without)
    }

    fn command(&self, what: &UserCommand, moment: HookMoment, outcome: &HookOutcome) -> Command {
        let mut command = what.in_directory(&self.hooks.directory);
        command.envs(&self.hooks.variables);
        command
            .env("DBBACKUP_HOOK", moment.as_str())
            .env("DBBACKUP_RUN", &self.run.id);
        match self.store {
            Some(store) => command.env("DBBACKUP_STORE", store.as_os_str()),
            None => command.env_remove("DBBACKUP_STORE"),
        };
        command.env("DBBACKUP_LABEL", &self.run.label);
        if let Some(config) = self.config {
            command.env("DBBACKUP_CONFIG", config);
        }
        match self.source {
            Some(source) => command
                .env("DBBACKUP_SOURCE", source)
                .env_remove("DBBACKUP_SOURCES"),
            None => command
                .env("DBBACKUP_SOURCES", &self.sources)
                .env_remove("DBBACKUP_SOURCE"),
        };
        // What a run above this one has set is not this one's.
        for name in [
            "DBBACKUP_STATUS",
            "DBBACKUP_ID",
            "DBBACKUP_DUMP",
            "DBBACKUP_ERROR",
            "DBBACKUP_FAILED",
        ] {
            command.env_remove(name);
        }
        if moment == HookMoment::Before {
            return command;
        }
        command.env("DBBACKUP_STATUS", outcome.status());
        outcome
            .id
            .iter()
            .for_each(|id| _ = command.env("DBBACKUP_ID", id));
        outcome
            .dump
            .iter()
            .for_each(|dump| _ = command.env("DBBACKUP_DUMP", dump));
        if let Some((_, message)) = &outcome.error {
            // A mail or a chat shows it: what strangers wrote into it drives nothing there, either.
            command.env("DBBACKUP_ERROR", shortened(&units::printable(message)));
        }
        if !outcome.failed.is_empty() {
            command.env("DBBACKUP_FAILED", outcome.failed.join(" "));
        }
        command
    }
}

impl RunListener for HookRunner<'_> {
    /// Runs `on_failure` where the run was no success.
    fn run_ended(&self, summary: &RunSummary) -> Result<()> {
        match summary.kind() {
            Some(_) => self.run_hook(HookMoment::OnFailure, &HookOutcome::from(summary)),
            None => Ok(()),
        }
    }
}

/// What an environment takes.
fn shortened(message: &str) -> String {
    let end = (0..=message.len().min(LONGEST_ERROR))
        .rev()
        .find(|at| message.is_char_boundary(*at))
        .unwrap_or(0);
    message[..end].to_owned()
}

/// Checks that the programs of hooks that are lists of words are there. Returns the first hook
/// whose program is not, with the error. Lines for a shell can't be judged, and nothing is run.
pub fn missing_program(hooks: &Hooks) -> Option<(HookMoment, Error)> {
    let own = hooks.variables.get("PATH").map(OsString::from);
    let dirs: OsString = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    HookMoment::ALL
        .into_iter()
        .find_map(|moment| Some((moment, program_error(moment, hooks, &dirs)?)))
}

fn program_error(moment: HookMoment, hooks: &Hooks, dirs: &OsStr) -> Option<Error> {
    let program = moment.command(hooks)?.program(&hooks.directory)?;
    let missing = programs::check_program(program.as_os_str(), dirs).err()?;
    let hint = "a list is one program and its arguments; write a shell line as a string";
    Some(
        missing
            .context(format!("the hook `{}`", moment.as_str()))
            .with_new_hint(hint),
    )
}

/// The hooks that there are, each with its command as it may be shown.
pub fn shown_commands(hooks: &Hooks) -> Vec<(HookMoment, String)> {
    let with_command =
        |moment: HookMoment| Some((moment, masked_line(&moment.command(hooks)?.to_string())));
    HookMoment::ALL
        .into_iter()
        .filter_map(with_command)
        .collect()
}
