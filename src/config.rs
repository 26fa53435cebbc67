//! The configuration file as plain values: its tables, and what they say when nothing is written in
//! them.
//!
//! This file holds the types, which are all that the other rooms see. How text becomes them is one
//! idea a file: `parse` walks the tables, `section` reads one of them and names the line of every
//! fault, `expand` puts the environment in, `strict` says which key was meant, `locate` finds the
//! file and checks who may write it, `mask` takes the secrets out again. What a single value may be
//! is known by its type: see [`crate::setting`].
//!
//! What a source says is put over `[backup]`, which is put over the defaults, while the file is
//! read. So each of the structs here holds what counts, and nobody else knows a default.

mod encryption;
mod expand;
mod files;
mod hooks;
mod kinds;
mod locate;
mod mask;
mod notify;
mod parse;
mod postgres;
pub mod reference;
mod section;
mod settings;
mod strict;
#[cfg(test)]
mod tests;

pub use crate::units::nearest;
pub use expand::hostname;
pub use files::{FilesSettings, SqliteFiles, SqliteSettings};
pub use hooks::Hooks;
pub use locate::{find, load, places, sets_nothing};
pub use mask::{masked, masked_line};
pub use parse::{is_label, is_source_name, parse};
pub use postgres::{CountRows, PostgresSettings};
pub use settings::{
    BackupSettings, CopyLimit, DrillTrust, Incremental, LockTimeout, MetricsSettings,
    ReportSettings, RunSettings, SourceSettings,
};

use crate::encryption::EncryptionSettings;
use crate::engine::EngineKind;
use crate::error::Error;
use crate::log::LogSettings;
use crate::notify::NotifySettings;
use crate::retention::RetentionPolicy;
use crate::signature::Signer;
use crate::store::StoreSettings;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A whole configuration file. Every path in it is absolute: relative ones are relative to the
/// file's directory.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file, as it was named.
    pub path: PathBuf,
    /// `[store]`, the store where none is named.
    pub store: Option<StoreSettings>,
    /// `[stores.NAME]`, for `--store NAME`.
    pub stores: BTreeMap<String, ConfiguredStore>,
    /// `[backup]`, the defaults of every source.
    pub backup: BackupSettings,
    /// The settings of `[backup]` that are the whole run's.
    pub run: RunSettings,
    /// `[retention]`.
    pub retention: Option<RetentionPolicy>,
    /// `[retention.label.LABEL]`.
    pub retention_labels: BTreeMap<String, RetentionPolicy>,
    /// `[sources.NAME]`, in the order of the file.
    pub sources: Vec<(String, ConfiguredSource)>,
    /// `[hooks]`, those of the run.
    pub hooks: Hooks,
    /// `[log]`.
    pub log: Option<LogSettings>,
    /// `[groups]`, in the order of the file; every member is one of `sources`.
    pub groups: Vec<(String, Vec<String>)>,
    /// `[metrics]`.
    pub metrics: MetricsSettings,
    /// `[report]`.
    pub report: ReportSettings,
    /// `[notify]`.
    pub notify: NotifySettings,
    /// `[encryption]`.
    pub encryption: EncryptionSettings,
    /// The key that signs, of `[encryption]`; every store has it.
    pub signer: Option<Signer>,
    /// What is valid and yet surely not what was meant; for stderr.
    pub warnings: Vec<String>,
}

/// What the store of `[store]` is called beside those that have names.
pub const MAIN_STORE: &str = "main";

/// One `[stores.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfiguredStore {
    /// Where it is, and how it is reached.
    pub settings: StoreSettings,
    /// `[stores.NAME.retention]`, in place of the sources' own tables.
    pub retention: Option<RetentionPolicy>,
    /// `[stores.NAME.retention.label.LABEL]`.
    pub retention_labels: BTreeMap<String, RetentionPolicy>,
}

impl Config {
    /// The settings of every store that the configuration has, that of `[store]` first, with the
    /// names of the others.
    pub fn all_stores(&self) -> impl Iterator<Item = (Option<&str>, &StoreSettings)> {
        let named = self.stores.iter();
        let main = self.store.iter().map(|settings| (None, settings));
        main.chain(named.map(|(name, store)| (Some(name.as_str()), &store.settings)))
    }
}

/// One `[sources.NAME]`.
#[derive(Debug, Clone)]
pub struct ConfiguredSource {
    /// What every kind of source may say.
    pub common: SourceSettings,
    /// The settings of `[backup]`, with the source's own over them.
    pub backup: BackupSettings,
    /// `[sources.NAME.hooks]`.
    pub hooks: Hooks,
    /// `[sources.NAME.retention]`.
    pub retention: Option<RetentionPolicy>,
    /// `[sources.NAME.retention.label.LABEL]`.
    pub retention_labels: BTreeMap<String, RetentionPolicy>,
    /// The settings that only its kind has.
    pub kind: KindSettings,
    /// Why the source can't be used now, though the file is right: the environment lacks something.
    /// Values that depend on it are defaults or as written, so nothing but naming the source MUST
    /// be done with it, removing backups least.
    pub fault: Option<SourceFault>,
}

/// The settings that only one kind of source has.
#[derive(Debug, Clone, PartialEq)]
pub enum KindSettings {
    /// `kind = "sqlite"`.
    Sqlite(SqliteSettings),
    /// `kind = "postgres"`.
    Postgres(Box<PostgresSettings>),
    /// `kind = "files"`.
    Files(FilesSettings),
}

impl KindSettings {
    /// The kind that has these settings.
    pub fn kind(&self) -> EngineKind {
        match self {
            KindSettings::Sqlite(_) => EngineKind::Sqlite,
            KindSettings::Postgres(_) => EngineKind::Postgres,
            KindSettings::Files(_) => EngineKind::Files,
        }
    }
}

/// Why one source of a valid configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFault {
    /// What is missing, with file and line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<SourceFault> for Error {
    fn from(why: SourceFault) -> Self {
        let error = Error::usage(why.message);
        match why.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl Config {
    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&ConfiguredSource> {
        self.sources
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, source)| source)
    }

    /// The source that a source of the store belongs to: itself, or the one that stands for the
    /// databases of its server.
    pub fn owner_of(&self, name: &str) -> Option<(&str, &ConfiguredSource)> {
        if let Some((known, entry)) = self.sources.iter().find(|(known, _)| known == name) {
            return Some((known, entry));
        }
        let clusters = self.sources.iter().filter(
            |(_, entry)| matches!(&entry.kind, KindSettings::Postgres(keys) if keys.is_cluster()),
        );
        let of = |cluster: &str| {
            name.strip_prefix(cluster)
                .is_some_and(|rest| rest == "-globals" || rest.len() > 1 && rest.starts_with('.'))
        };
        let found = clusters
            .filter(|(cluster, _)| of(cluster))
            .max_by_key(|(cluster, _)| cluster.len());
        found.map(|(cluster, entry)| (cluster.as_str(), entry))
    }

    /// The sources of the group of that name.
    pub fn group(&self, name: &str) -> Option<&[String]> {
        self.groups
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, members)| members.as_slice())
    }

    /// The one table that decides over backups of `source` with `label`: the most specific one,
    /// whole. `None` for `source` is a source that the file does not define.
    pub fn retention_for<'a>(
        &'a self,
        source: Option<&'a ConfiguredSource>,
        label: &str,
    ) -> Option<&'a RetentionPolicy> {
        source
            .and_then(|source| {
                source
                    .retention_labels
                    .get(label)
                    .or(source.retention.as_ref())
            })
            .or_else(|| self.retention_labels.get(label))
            .or(self.retention.as_ref())
    }
}
