//! `[hooks]`, of the run and of a source: programs that are run around backups. They stand here as
//! they are written: `${NAME}` in a shell line is the shell's business, so that no secret of the
//! environment ever gets into a process's arguments.

use super::section::{Scope, Section, TableItem};
use crate::error::Result;
use crate::setting::{PathResolver, SettingGroup, SettingType, WrittenValue, settings};
use crate::units;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// The hooks of a run or of a source, and the surroundings in which they run.
    #[derive(Clone)]
    pub struct Hooks {
        /// Runs first. If it fails, the source (or the whole run) is not tried.
        pub before: Option<HookCommand> = None,
        /// Runs afterwards, always: also when the backup or `before` failed, or a signal came.
        pub after: Option<HookCommand> = None,
        /// Runs last, where anything failed.
        pub on_failure: Option<HookCommand> = None,
        /// How long each may take. Then it is ended with all that it started.
        pub timeout: Duration = Duration::from_secs(600),
    }
    beside {
        /// The variables of the source's env_file, for the environment; some may be secrets.
        pub variables: BTreeMap<String, String>,
        /// The configuration's directory, in which the hooks run.
        pub directory: PathBuf,
    }
}

/// Variables are nobody's business.
impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("before", &self.before)
            .field("after", &self.after)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none() && self.on_failure.is_none()
    }
}

/// What a hook runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookCommand {
    /// A line for `/bin/sh`.
    Shell(String),
    /// A program with its arguments; never empty.
    Arguments(Vec<String>),
}

/// The command as it is shown to people, who may give it to a shell.
impl fmt::Display for HookCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = match self {
            HookCommand::Shell(line) => line.split_whitespace().map(str::to_owned).collect(),
            HookCommand::Arguments(words) => words
                .iter()
                .map(|word| units::shell_word(word).to_string())
                .collect(),
        };
        f.write_str(&words.join(" "))
    }
}

/// A shell line, or a list of a program and its arguments.
impl SettingType for HookCommand {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text(line) if line.trim().is_empty() => {
                Err("expected a shell line, found an empty string".to_owned())
            }
            WrittenValue::Text(line) => refuse_nul(line).map(|()| {
                let line = (*line).to_owned();
                HookCommand::Shell(line)
            }),
            WrittenValue::List(items) => {
                let words = items.iter().map(|item| read_word(item, resolve));
                let words: Vec<String> = words.collect::<Result<_, String>>()?;
                if words.first().is_none_or(String::is_empty) {
                    return Err("expected a program and its arguments, found no program".to_owned());
                }
                Ok(HookCommand::Arguments(words))
            }
            _ => Err(value.instead_of("a shell line, or a list of a program and its arguments")),
        }
    }

    fn as_written(&self) -> Option<String> {
        match self {
            HookCommand::Shell(line) => line.as_written(),
            HookCommand::Arguments(words) => words.as_written(),
        }
    }

    fn type_name() -> String {
        "command".to_owned()
    }
}

/// One word of a list.
fn read_word(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<String, String> {
    let word = String::read(value, resolve)?;
    refuse_nul(&word)?;
    // No shell would ever see it.
    if word.contains("${") {
        let text = "`${…}` is not replaced in a list\nwrite a shell line: the shell replaces it";
        return Err(text.to_owned());
    }
    Ok(word)
}

fn refuse_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err("it holds a NUL character".to_owned());
    }
    Ok(())
}

/// Reads a table of hooks; `header` is its header with the brackets.
pub(super) fn read_hooks(item: TableItem<'_>, header: String, scope: &Scope<'_>) -> Result<Hooks> {
    let mut section = Section::open_as_written(item, header, scope)?;
    section.only(&[Hooks::key_names()], &|_| None)?;
    let mut hooks = Hooks::default();
    section.apply(&mut hooks)?;
    if hooks.timeout.is_zero() {
        section.wrong("timeout", "expected more than no time at all")?;
    }
    if let Some((_, variables)) = &scope.file {
        hooks.variables.clone_from(variables);
    }
    scope.directory.clone_into(&mut hooks.directory);
    Ok(hooks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let words = ["sh", "-c", "it's $X"].map(str::to_owned).to_vec();
        let command = HookCommand::Arguments(words);
        assert_eq!(command.to_string(), r"sh -c 'it'\''s $X'");
        let line = HookCommand::Shell("a &&\n  b".into());
        assert_eq!(line.to_string(), "a && b");
    }
}
