//! One table of the file: its keys checked, its text expanded, its values read, and every fault
//! with its line.
//!
//! A table of a source forgives what the environment lacks: the key is left out and the reason
//! kept, so that the source is unusable and the rest of the file is not.

use super::SourceFault;
use super::expand::{ExpansionFault, expand_value, hostname};
use super::strict::{Document, suggestion};
use crate::error::{Error, Result};
use crate::setting::{SettingGroup, WrittenValue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the tables of one file, or of one source, are read with.
pub(super) struct Scope<'a> {
    pub doc: &'a Document<'a>,
    /// The directory that relative paths are relative to.
    pub directory: &'a Path,
    /// The process's environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// What the source's env_file sets, and which file that is.
    pub file: Option<(PathBuf, BTreeMap<String, String>)>,
    /// Whether a fault of the environment concerns one source only.
    pub of_source: bool,
}

impl Scope<'_> {
    /// The value of a variable; the env_file is nearer to the source than the process's
    /// environment.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let from_file = self
            .file
            .as_ref()
            .and_then(|(_, variables)| variables.get(name).cloned());
        from_file
            .or_else(|| (self.env)(name))
            .or_else(|| (name == "HOSTNAME").then(hostname))
    }

    /// An absolute path: `~/` is the home directory, any other relative one is beside the
    /// configuration.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf, String> {
        match path.strip_prefix("~") {
            Ok(rest) => match (self.env)("HOME").filter(|home| home.starts_with('/')) {
                Some(home) => Ok(Path::new(&home).join(rest).components().collect()),
                None => Err("begins with `~`, and HOME is not set".to_owned()),
            },
            Err(_) => Ok(self.directory.join(path).components().collect()),
        }
    }

    fn unset(&self, name: &str) -> String {
        match &self.file {
            Some((path, _)) => format!("set {name} in the environment or in `{}`", path.display()),
            None if self.of_source => {
                format!("set {name} in the environment, or in a file that `env_file` names")
            }
            None => format!("set {name} in the environment"),
        }
    }
}

/// A key with its value and where the key stands.
pub(super) struct TableItem<'a> {
    pub name: String,
    pub offset: usize,
    pub value: Spanned<DeValue<'a>>,
}

/// One table while it is being read.
pub(super) struct Section<'a> {
    pub scope: &'a Scope<'a>,
    /// As the file has it: `[sources.app]`.
    pub header: String,
    offset: usize,
    table: DeTable<'a>,
    /// Where each key stands; kept after its value was taken.
    offsets: BTreeMap<String, usize>,
    /// The keys whose values came from the environment, with the text as written.
    written: BTreeMap<String, String>,
    /// The faults that make a source unusable, in the order they were met.
    pub faults: Vec<SourceFault>,
}

impl<'a> Section<'a> {
    /// The table that `item` holds, expanded.
    pub fn open(item: TableItem<'a>, header: String, scope: &'a Scope<'a>) -> Result<Section<'a>> {
        let mut section = Section::open_as_written(item, header, scope)?;
        section.expand()?;
        Ok(section)
    }

    /// The same, with every `${NAME}` left as it is.
    pub fn open_as_written(
        item: TableItem<'a>,
        header: String,
        scope: &'a Scope<'a>,
    ) -> Result<Section<'a>> {
        let DeValue::Table(table) = item.value.into_inner() else {
            let message = format!("`{}` must be a table: {header}", item.name);
            return Err(scope.doc.error(item.offset, message));
        };
        Ok(Section::bare(table, header, item.offset, scope))
    }

    /// The table whose key, if it has one, is at `offset`.
    pub fn new(
        table: DeTable<'a>,
        header: String,
        offset: usize,
        scope: &'a Scope<'a>,
    ) -> Result<Section<'a>> {
        let mut section = Section::bare(table, header, offset, scope);
        section.expand()?;
        Ok(section)
    }

    fn bare(
        table: DeTable<'a>,
        header: String,
        offset: usize,
        scope: &'a Scope<'a>,
    ) -> Section<'a> {
        let offsets = table
            .keys()
            .map(|key| (key.get_ref().to_string(), key.span().start))
            .collect();
        Section {
            scope,
            header,
            offset,
            table,
            offsets,
            written: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    fn expand(&mut self) -> Result<()> {
        for key in self.names() {
            let Some(value) = self.table.get_mut(key.as_str()) else {
                continue;
            };
            let written = value.get_ref().as_str().unwrap_or_default().to_owned();
            let fault = match expand_value(value, &|name| self.scope.lookup(name)) {
                Ok(false) => continue,
                Ok(true) => None,
                Err(fault) => Some(fault),
            };
            self.written.insert(key.clone(), written);
            match fault {
                None => {}
                Some(ExpansionFault::Malformed(text)) => {
                    let error = self.error(
                        &key,
                        format!("`{}` is not of the form `${{NAME}}`", text.escape_debug()),
                    );
                    return Err(error.with_hint(
                        "a name is letters, digits and `_`; a literal `${` is written `$${`",
                    ));
                }
                Some(ExpansionFault::Unset(name)) => {
                    let message = format!(
                        "`{key}` in {} needs ${{{name}}}, which is not set",
                        self.header
                    );
                    self.forgive(&key, message, Some(self.scope.unset(&name)))?;
                }
            }
        }
        Ok(())
    }

    /// Leaves a key out because of the environment: in a source a reason to skip it, elsewhere an
    /// error.
    fn forgive(&mut self, key: &str, message: String, hint: Option<String>) -> Result<()> {
        let fault = SourceFault {
            message: self.scope.doc.message(self.offset_of(key), message),
            hint,
        };
        if !self.scope.of_source {
            return Err(fault.into());
        }
        self.table.remove(key);
        self.faults.push(fault);
        Ok(())
    }

    /// The keys in the order of the file.
    pub fn names(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter()
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Takes a value out, for those that are tables or lists of their own.
    pub fn take(&mut self, key: &str) -> Option<TableItem<'a>> {
        let (name, value) = self.table.remove_entry(key)?;
        Some(TableItem {
            name: name.get_ref().to_string(),
            offset: name.span().start,
            value,
        })
    }

    /// Takes every value out, in the order of the file.
    pub fn take_all(&mut self) -> Vec<TableItem<'a>> {
        self.names()
            .iter()
            .filter_map(|key| self.take(key))
            .collect()
    }

    /// Refuses keys that are in none of `known`; `elsewhere` may know where such a key belongs.
    pub fn only(
        &self,
        known: &[Vec<&str>],
        elsewhere: &dyn Fn(&str) -> Option<String>,
    ) -> Result<()> {
        let all = known.concat();
        // The keys that the environment failed were taken out; their names are checked all the
        // same.
        let mut written: Vec<_> = self.offsets.iter().collect();
        written.sort_by_key(|(_, offset)| **offset);
        let Some((key, offset)) = written
            .into_iter()
            .find(|(key, _)| !all.contains(&key.as_str()))
        else {
            return Ok(());
        };
        let place = if self.header.is_empty() {
            String::new()
        } else {
            format!(" in {}", self.header)
        };
        let error = self.scope.doc.error(
            *offset,
            format!("unknown key `{}`{place}", key.escape_debug()),
        );
        Err(error.with_hint(elsewhere(key).unwrap_or_else(|| suggestion(key, &all, "valid keys"))))
    }

    /// Puts what is written of the keys of `settings` over the values that they have.
    pub fn apply<S: SettingGroup>(&mut self, settings: &mut S) -> Result<()> {
        for name in self.names() {
            let Some(key) = S::key(&name) else {
                continue;
            };
            let Some((_, value)) = self.table.remove_entry(key.name) else {
                continue;
            };
            let written = written_value(value.get_ref());
            let scope = self.scope;
            let outcome = (key.slot)(settings).set(&written, &|path| scope.absolute(path));
            if let Err(message) = outcome {
                self.wrong(key.name, &message)?;
            }
        }
        Ok(())
    }

    /// A value that is not what its key wants. The second line of `message`, if any, is the hint.
    pub fn wrong(&mut self, key: &str, message: &str) -> Result<()> {
        let (message, hint) = message
            .split_once('\n')
            .map_or((message, None), |(message, hint)| (message, Some(hint)));
        let message = format!("`{key}` in {}: {message}", self.header);
        match self.written.get(key) {
            Some(written) if self.scope.of_source => {
                let message = format!("{message} (from `{}`)", written.escape_debug());
                self.forgive(key, message, hint.map(str::to_owned))
            }
            _ => {
                let error = self.scope.doc.error(self.offset_of(key), message);
                Err(if let Some(hint) = hint {
                    error.with_hint(hint)
                } else {
                    error
                })
            }
        }
    }

    /// An error about one key.
    pub fn error(&self, key: &str, message: impl std::fmt::Display) -> Error {
        self.scope.doc.error(
            self.offset_of(key),
            format!("`{key}` in {}: {message}", self.header),
        )
    }

    /// An error about the table.
    pub fn error_here(&self, message: impl std::fmt::Display) -> Error {
        self.scope.doc.error(self.offset, message)
    }

    /// The keys that are written in the table.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.offsets.keys().map(String::as_str)
    }

    /// Demands a path. Where the environment failed it, what is written stands for it, to be
    /// shown.
    pub fn demand_path(&self, key: &str, path: &mut PathBuf) -> Result<()> {
        if !path.as_os_str().is_empty() {
            return Ok(());
        }
        match self.written.get(key) {
            Some(written) => *path = PathBuf::from(written),
            None => return Err(self.error_here(format!("{} has no `{key}`", self.header))),
        }
        Ok(())
    }

    /// Whether a key is written, be its value usable or not.
    pub fn has(&self, key: &str) -> bool {
        self.offsets.contains_key(key)
    }

    fn offset_of(&self, key: &str) -> usize {
        self.offsets.get(key).copied().unwrap_or(self.offset)
    }
}

/// The value as settings take it.
fn written_value<'v>(value: &'v DeValue<'_>) -> WrittenValue<'v> {
    match value {
        DeValue::String(text) => WrittenValue::Text(text),
        DeValue::Integer(number) => {
            // One with more digits than this has is too large for any setting, too.
            let digits = i128::from_str_radix(number.as_str(), number.radix());
            WrittenValue::Whole(digits.unwrap_or(i128::MAX))
        }
        DeValue::Float(number) => WrittenValue::Real(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => WrittenValue::Flag(*flag),
        DeValue::Datetime(moment) => WrittenValue::Moment(moment.to_string()),
        DeValue::Array(items) => WrittenValue::List(
            items
                .iter()
                .map(|item| written_value(item.get_ref()))
                .collect(),
        ),
        DeValue::Table(_) => WrittenValue::Table,
    }
}
