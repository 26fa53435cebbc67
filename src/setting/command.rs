//! A program of the user's, as the configuration names it: a line for the shell, or a program with
//! its arguments.

use super::{PathResolver, SettingType, WrittenValue};
use crate::units;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the user's: what a hook runs, or who is told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCommand {
    /// A line for `/bin/sh`.
    Shell(String),
    /// A program with its arguments; never empty.
    Arguments(Vec<String>),
}

/// The command as it is shown to people, who may give it to a shell.
impl fmt::Display for UserCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = match self {
            UserCommand::Shell(line) => line.split_whitespace().map(str::to_owned).collect(),
            UserCommand::Arguments(words) => words
                .iter()
                .map(|word| units::shell_word(word).to_string())
                .collect(),
        };
        f.write_str(&words.join(" "))
    }
}

/// A shell line, or a list of a program and its arguments.
impl SettingType for UserCommand {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text(line) if line.trim().is_empty() => {
                Err("expected a shell line, found an empty string".to_owned())
            }
            WrittenValue::Text(line) => refuse_nul(line).map(|()| {
                let line = (*line).to_owned();
                UserCommand::Shell(line)
            }),
            WrittenValue::List(items) => {
                let words = items.iter().map(|item| read_word(item, resolve));
                let words: Vec<String> = words.collect::<Result<_, String>>()?;
                if words.first().is_none_or(String::is_empty) {
                    return Err("expected a program and its arguments, found no program".to_owned());
                }
                Ok(UserCommand::Arguments(words))
            }
            _ => Err(value.instead_of("a shell line, or a list of a program and its arguments")),
        }
    }

    fn as_written(&self) -> Option<String> {
        match self {
            UserCommand::Shell(line) => line.as_written(),
            UserCommand::Arguments(words) => words.as_written(),
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

impl UserCommand {
    /// The command, to be started in `directory`, that of the configuration. A program with a slash
    /// in its name lies beside the configuration, as every relative path.
    pub fn in_directory(&self, directory: &Path) -> Command {
        let mut command = match self {
            UserCommand::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line]);
                command
            }
            UserCommand::Arguments(words) => {
                let mut command = Command::new(program_of(words, directory));
                command.args(words.iter().skip(1));
                command
            }
        };
        command.current_dir(directory);
        command
    }

    /// The program of a list of words; a line for the shell has none that could be told.
    pub fn program(&self, directory: &Path) -> Option<PathBuf> {
        match self {
            UserCommand::Shell(_) => None,
            UserCommand::Arguments(words) => Some(program_of(words, directory)),
        }
    }
}

fn program_of(words: &[String], directory: &Path) -> PathBuf {
    let program = words.first().map(String::as_str).unwrap_or_default();
    if program.contains('/') {
        directory.join(program)
    } else {
        program.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let words = ["sh", "-c", "it's $X"].map(str::to_owned).to_vec();
        let command = UserCommand::Arguments(words);
        assert_eq!(command.to_string(), r"sh -c 'it'\''s $X'");
        let line = UserCommand::Shell("a &&\n  b".into());
        assert_eq!(line.to_string(), "a && b");
    }
}
