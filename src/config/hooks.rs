//! `[hooks]`, of the run and of a source: programs that are run around backups. They stand here as
//! they are written: `${NAME}` in a shell line is the shell's business, so that no secret of the
//! environment ever gets into a process's arguments.

use super::section::{Entry, Scope, Section};
use super::strict::fields;
use super::value;
use crate::error::Result;
use crate::units::Span;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A `[hooks]` table.
#[derive(Clone, Default)]
pub struct HooksTable {
    /// What is written in it.
    pub keys: HookKeys,
    /// The variables of the source's env_file, for the hooks' environment.
    pub variables: BTreeMap<String, String>,
    /// The configuration's directory, in which hooks run.
    pub directory: PathBuf,
}

/// Variables are nobody's business.
impl std::fmt::Debug for HooksTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HooksTable")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// The keys of a `[hooks]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HookKeys {
    /// Before anything else.
    #[serde(deserialize_with = "value::command")]
    pub before: Option<HookCommand>,
    /// Afterwards, whatever became of it.
    #[serde(deserialize_with = "value::command")]
    pub after: Option<HookCommand>,
    /// At the end, where something failed.
    #[serde(deserialize_with = "value::command")]
    pub on_failure: Option<HookCommand>,
    /// How long each may take.
    #[serde(deserialize_with = "value::span")]
    pub timeout: Option<Span>,
}

/// What a hook runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookCommand {
    /// A line for `/bin/sh`.
    Shell(String),
    /// A program with its arguments; never empty.
    Arguments(Vec<String>),
}

/// Reads a table of hooks; `header` is its header with the brackets.
pub(super) fn hooks(entry: Entry<'_>, header: String, scope: &Scope<'_>) -> Result<HooksTable> {
    let mut section = Section::open_as_written(entry, header, scope)?;
    section.only(&[fields::<HookKeys>()], &|_| None)?;
    let keys: HookKeys = section.read()?;
    if keys
        .timeout
        .is_some_and(|timeout| timeout.duration().is_zero())
    {
        section.wrong("timeout", "expected more than no time at all")?;
    }
    let variables = scope
        .file
        .as_ref()
        .map(|(_, variables)| variables.clone())
        .unwrap_or_default();
    Ok(HooksTable {
        keys,
        variables,
        directory: scope.directory.to_owned(),
    })
}
