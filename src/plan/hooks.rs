//! The part of the plans that is the hooks': which programs are run around a run or a source, and
//! in what surroundings.

use crate::config::{HookCommand, HooksTable};
use crate::units;
use std::path::PathBuf;
use std::time::Duration;

/// A hook that takes longer has hung: a night's backups must not wait for it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The hooks of a run or of a source.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Before anything else; failing, it stops what it stands before.
    pub before: Option<HookCommand>,
    /// Afterwards, whatever became of it.
    pub after: Option<HookCommand>,
    /// At the end, where something failed.
    pub on_failure: Option<HookCommand>,
    /// How long each may take.
    pub timeout: Duration,
    /// More variables for their environment; some may be secrets.
    pub variables: Vec<(String, String)>,
    /// The directory that they run in.
    pub directory: PathBuf,
}

/// Variables are nobody's business.
impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("before", &self.before)
            .field("after", &self.after)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// As a table of the configuration has them.
    pub fn of(table: Option<&HooksTable>) -> Hooks {
        let Some(table) = table else {
            return Hooks::default();
        };
        let keys = table.keys.clone();
        Hooks {
            before: keys.before,
            after: keys.after,
            on_failure: keys.on_failure,
            timeout: keys.timeout.map_or(TIMEOUT, |span| span.duration()),
            variables: table.variables.clone().into_iter().collect(),
            directory: table.directory.clone(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none() && self.on_failure.is_none()
    }
}

/// A command as it is shown to people.
pub fn shown(command: &HookCommand) -> String {
    match command {
        HookCommand::Shell(line) => line.split_whitespace().collect::<Vec<_>>().join(" "),
        HookCommand::Arguments(words) => words
            .iter()
            .map(|word| units::shell_word(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let words = ["sh", "-c", "it's $X"].map(str::to_owned).to_vec();
        assert_eq!(shown(&HookCommand::Arguments(words)), r"sh -c 'it'\''s $X'");
        assert_eq!(shown(&HookCommand::Shell("a &&\n  b".into())), "a && b");
    }
}
