//! Hooks: the user's own programs around a run or a source. `before` comes first, and failing it
//! stops what it stands before; `after` comes whatever became of it, so that what `before` stopped
//! is started again, also when `before` itself failed or a signal came; `on_failure` comes last.

use super::attempt::Run;
use crate::commands::guard;
use crate::config::{HookCommand, Hooks, masked_line};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::process::captured::{self, Captured, Limits};
use crate::report::Report;
use crate::store::Location;
use crate::units;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An error goes into the environment, where room is limited, in bytes.
const LONGEST_ERROR: usize = 4096;

/// The three moments at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
    OnFailure,
}

impl When {
    const ALL: [When; 3] = [When::Before, When::After, When::OnFailure];

    fn word(self) -> &'static str {
        match self {
            When::Before => "before",
            When::After => "after",
            When::OnFailure => "on_failure",
        }
    }

    fn of(self, hooks: &Hooks) -> Option<&HookCommand> {
        match self {
            When::Before => hooks.before.as_ref(),
            When::After => hooks.after.as_ref(),
            When::OnFailure => hooks.on_failure.as_ref(),
        }
    }
}

/// What `after` and `on_failure` are told.
#[derive(Debug, Default)]
pub struct Told {
    /// The backup's id, or that of the failed attempt.
    pub id: Option<String>,
    /// The dump's file.
    pub dump: Option<PathBuf>,
    /// The kind of what went wrong, with its message.
    pub error: Option<(Kind, String)>,
    /// Names of those that failed, of several.
    pub failed: Vec<String>,
}

impl Told {
    /// The same, with this error where there is one.
    pub fn with(self, error: Option<&Error>) -> Told {
        Told {
            error: error.map(|error| (error.kind(), error.message())),
            ..self
        }
    }

    fn status(&self) -> &'static str {
        match self.error {
            None => "ok",
            Some((Kind::Partial, _)) => "partial",
            Some(_) => "failed",
        }
    }
}

/// The hooks of a run, or of one source in it.
pub struct Around<'a> {
    hooks: &'a Hooks,
    /// The source; none for the run's own.
    source: Option<&'a str>,
    /// The names of the run's sources.
    sources: String,
    store: &'a Location,
    config: Option<&'a Path>,
    run: &'a Run,
    report: &'a Report,
}

impl<'a> Around<'a> {
    /// Those of the run over `sources`.
    pub fn run(
        hooks: &'a Hooks,
        sources: &[String],
        store: &'a Location,
        run: &'a Run,
        report: &'a Report,
    ) -> Self {
        Around {
            hooks,
            source: None,
            sources: sources.join(" "),
            store,
            config: run.config.as_deref(),
            run,
            report,
        }
    }

    /// Those of a source.
    pub fn source(
        hooks: &'a Hooks,
        source: &'a str,
        store: &'a Location,
        run: &'a Run,
        report: &'a Report,
    ) -> Self {
        Around {
            source: Some(source),
            ..Around::run(hooks, &[], store, run, report)
        }
    }

    /// Runs `before`; nothing else of it may be done where it fails.
    pub fn before(&self) -> Result<()> {
        interrupt::check()?;
        self.hook(When::Before, &Told::default())
            .map_err(|error| match error.kind() {
                Kind::Interrupted => error,
                _ => error
                    .with_hint("nothing was backed up; with `-v` all is shown that the hook says"),
            })
    }

    /// Runs `after`, always to its end.
    pub fn after(&self, told: &Told) -> Result<()> {
        self.hook(When::After, told)
    }

    /// Runs `on_failure`; its own failure is told, too, and changes nothing.
    pub fn on_failure(&self, told: &Told) {
        if let Err(error) = self.hook(When::OnFailure, told) {
            let whose = self
                .source
                .map_or(String::new(), |source| format!("{source}: "));
            self.report.warn(format!("{whose}{error}"));
        }
    }

    fn hook(&self, when: When, told: &Told) -> Result<()> {
        let Some(command) = when.of(self.hooks) else {
            return Ok(());
        };
        let (word, whose) = (when.word(), self.source.unwrap_or("run"));
        if interrupt::requested() {
            // Else whoever interrupted it wonders what it waits for.
            self.report.note(format!(
                "{whose}: interrupted; its hook `{word}` is run first (a \
                                      second signal ends this at once)"
            ));
        }
        self.report.story(format!(
            "{whose}: hook `{word}`: {}",
            masked_line(&command.to_string())
        ));
        let limits = Limits {
            timeout: self.hooks.timeout,
            interruptible: when == When::Before,
            hint: "look what it waits for; `timeout` in its [hooks] table sets the limit",
        };
        let Captured {
            output: said,
            duration: took,
            result: ended,
        } = captured::run(
            self.command(command, when, told),
            &format!("the hook `{word}`"),
            limits,
            &|line| self.masked(line),
        );
        for line in said.lines().filter(|line| !line.is_empty()) {
            self.report
                .story(format!("{whose}: hook `{word}`: | {line}"));
        }
        let took = units::elapsed(took.as_secs_f64());
        let how = if ended.is_ok() { "ended" } else { "failed" };
        self.report
            .story(format!("{whose}: hook `{word}` {how} after {took}"));
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

    fn command(&self, what: &HookCommand, when: When, told: &Told) -> Command {
        let mut command = match what {
            HookCommand::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line]);
                command
            }
            HookCommand::Arguments(words) => {
                let mut command = Command::new(program_of(words, &self.hooks.directory));
                command.args(words.iter().skip(1));
                command
            }
        };
        command
            .current_dir(&self.hooks.directory)
            .envs(&self.hooks.variables);
        command
            .env("DBBACKUP_HOOK", when.word())
            .env("DBBACKUP_STORE", self.store.as_os_str())
            .env("DBBACKUP_RUN", &self.run.id);
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
        if when == When::Before {
            return command;
        }
        command.env("DBBACKUP_STATUS", told.status());
        told.id
            .iter()
            .for_each(|id| _ = command.env("DBBACKUP_ID", id));
        told.dump
            .iter()
            .for_each(|dump| _ = command.env("DBBACKUP_DUMP", dump));
        if let Some((_, message)) = &told.error {
            // A mail or a chat shows it: what strangers wrote into it drives nothing there, either.
            command.env("DBBACKUP_ERROR", shortened(&units::printable(message)));
        }
        if !told.failed.is_empty() {
            command.env("DBBACKUP_FAILED", told.failed.join(" "));
        }
        command
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

/// Looks whether the programs of hooks that are lists of words are there; the first one's moment
/// that is not, with the error. Lines for a shell can't be judged, and nothing is run.
pub fn look_for_programs(hooks: &Hooks) -> Option<(&'static str, Error)> {
    let own = hooks.variables.get("PATH").map(OsString::from);
    let dirs: OsString = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    When::ALL.into_iter().find_map(|when| {
        let HookCommand::Arguments(words) = when.of(hooks)? else {
            return None;
        };
        let program = program_of(words, &hooks.directory);
        let missing = guard::must_be_there(program.as_os_str(), &dirs).err()?;
        let hint = "a list is one program and its arguments; write a shell line as a string";
        Some((
            when.word(),
            missing
                .context(format!("the hook `{}`", when.word()))
                .with_new_hint(hint),
        ))
    })
}

/// With a slash in it, it lies beside the configuration, as every relative path.
fn program_of(words: &[String], directory: &Path) -> PathBuf {
    let program = words.first().map(String::as_str).unwrap_or_default();
    if program.contains('/') {
        directory.join(program)
    } else {
        program.into()
    }
}

/// What a dry run says of hooks: each with its moment and its command, as it may be shown.
pub fn described(hooks: &Hooks) -> Vec<(&'static str, String)> {
    let one = |when: When| {
        when.of(hooks)
            .map(|command| (when.word(), masked_line(&command.to_string())))
    };
    When::ALL.into_iter().filter_map(one).collect()
}
