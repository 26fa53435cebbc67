//! `[hooks]`, of the run and of a source: programs that are run around backups. They stand here as
//! they are written: `${NAME}` in a shell line is the shell's business, so that no secret of the
//! environment ever gets into a process's arguments.

use super::section::{Scope, Section, TableItem};
use crate::error::Result;
use crate::setting::{SettingGroup, UserCommand, settings};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// The hooks of a run or of a source, and the surroundings in which they run.
    #[derive(Clone)]
    pub struct Hooks {
        /// Runs first. If it fails, the source (or the whole run) is not tried.
        pub before: Option<UserCommand> = None,
        /// Runs afterwards, always: also when the backup or `before` failed, or a signal came.
        pub after: Option<UserCommand> = None,
        /// Runs last, where anything failed.
        pub on_failure: Option<UserCommand> = None,
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
