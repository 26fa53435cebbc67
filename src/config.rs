//! The configuration file as plain values: its tables, and what they say when nothing is written in
//! them.
//!
//! This file holds the types, which are all that the other rooms see. How text becomes them is one
//! idea a file: `parse` walks the tables, `section` reads one of them and names the line of every
//! fault, `value` reads the single value, `expand` puts the environment in, `strict` knows the
//! valid keys, `locate` finds the file and checks who may write it, `mask` takes the secrets out
//! again.
//!
//! Names of codecs stay text here, and retention is only numbers: what they mean is known by the
//! rooms they belong to.

mod expand;
mod hooks;
mod kinds;
mod locate;
mod log;
mod mask;
mod parse;
mod section;
mod strict;
#[cfg(test)]
mod tests;
mod value;

pub use crate::units::nearest;
pub use expand::hostname;
pub use hooks::{HookCommand, HookKeys, HooksTable};
pub use locate::{find, load, places};
pub use log::{LogLevel, LogTable};
pub use mask::{masked, masked_line};
pub use parse::{is_label, is_source_name, parse};

use crate::engine::EngineKind;
use crate::error::Error;
use crate::store::Location;
use crate::units::Span;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A whole configuration file. Every path in it is absolute: relative ones are relative to the
/// file's directory.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file, as it was named.
    pub path: PathBuf,
    /// `[store]`, the store where none is named.
    pub store: Option<StoreConfig>,
    /// `[stores.NAME]`, for `--store NAME`.
    pub stores: BTreeMap<String, StoreConfig>,
    /// `[backup]`, the defaults of every source.
    pub backup: BackupKeys,
    /// `jobs` of `[backup]`: sources at once.
    pub jobs: Option<usize>,
    /// `[retention]`.
    pub retention: Option<RetentionTable>,
    /// `[retention.label.LABEL]`.
    pub retention_labels: BTreeMap<String, RetentionTable>,
    /// `[sources.NAME]`, in the order of the file.
    pub sources: Vec<(String, SourceEntry)>,
    /// `[hooks]`, those of the run.
    pub hooks: Option<HooksTable>,
    /// `[log]`.
    pub log: Option<LogTable>,
    /// `[groups]`, in the order of the file; every member is one of `sources`.
    pub groups: Vec<(String, Vec<String>)>,
    /// `[metrics]`.
    pub metrics: MetricsKeys,
    /// What is valid and yet surely not what was meant; for stderr.
    pub warnings: Vec<String>,
}

/// A table that names a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the store is.
    pub location: Location,
    /// Refuse the directory unless it is on a mounted file system of its own.
    pub require_mount: bool,
}

/// The keys of `[metrics]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetricsKeys {
    /// Written after every run of `backup`, for Prometheus.
    #[serde(deserialize_with = "value::path")]
    pub textfile: Option<PathBuf>,
}

/// The keys of `[backup]`, any of which a source may have too; `None` is a key that is not written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BackupKeys {
    /// The codec and its level as written; the plan knows which there are.
    #[serde(deserialize_with = "value::text")]
    pub compression: Option<String>,
    /// The line that `compression` stands on, for the error about it: see [`Config::at`].
    #[serde(skip)]
    pub compression_line: Option<usize>,
    /// Compressing threads, 0 for one per core.
    #[serde(deserialize_with = "value::threads")]
    pub threads: Option<usize>,
    /// How far a new backup is verified at once.
    #[serde(deserialize_with = "value::choice")]
    pub verify_after: Option<VerifyAfter>,
    /// Whether retention is applied after a success.
    #[serde(deserialize_with = "value::flag")]
    pub cleanup_after: Option<bool>,
    /// Where drills and spools go.
    #[serde(deserialize_with = "value::path")]
    pub scratch_dir: Option<PathBuf>,
    /// When SQLite databases are copied before they are read.
    #[serde(deserialize_with = "value::choice")]
    pub spool: Option<Spool>,
    /// How long to wait for a database that somebody else has locked.
    #[serde(deserialize_with = "value::span")]
    pub lock_timeout: Option<Span>,
    /// What holds the code that a dump brings while a trial restore runs it.
    #[serde(deserialize_with = "value::choice")]
    pub drill: Option<DrillTrust>,
}

impl BackupKeys {
    /// These keys, and those of `defaults` where these say nothing.
    pub fn over(self, defaults: &BackupKeys) -> BackupKeys {
        let compression_line = if self.compression.is_some() {
            self.compression_line
        } else {
            defaults.compression_line
        };
        BackupKeys {
            compression: self.compression.or_else(|| defaults.compression.clone()),
            compression_line,
            threads: self.threads.or(defaults.threads),
            verify_after: self.verify_after.or(defaults.verify_after),
            cleanup_after: self.cleanup_after.or(defaults.cleanup_after),
            scratch_dir: self.scratch_dir.or_else(|| defaults.scratch_dir.clone()),
            spool: self.spool.or(defaults.spool),
            lock_timeout: self.lock_timeout.or(defaults.lock_timeout),
            drill: self.drill.or(defaults.drill),
        }
    }
}

/// `drill`: whether the code that a dump brings is trusted with the rights of the user who proves
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrillTrust {
    /// It is not: the throw-away server is confined, or there is no trial restore.
    #[default]
    Confined,
    /// It is.
    Trusted,
}

impl value::Choice for DrillTrust {
    const ALL: &'static [(&'static str, Self)] = &[
        ("confined", DrillTrust::Confined),
        ("trusted", DrillTrust::Trusted),
    ];
}

/// `verify_after`: how far a new backup is verified at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyAfter {
    /// Not at all.
    None,
    /// The stored bytes are those written.
    Checksum,
    /// What is inside is read.
    Content,
    /// It is restored into a scratch place.
    Restore,
}

impl value::Choice for VerifyAfter {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", VerifyAfter::None),
        ("checksum", VerifyAfter::Checksum),
        ("content", VerifyAfter::Content),
        ("restore", VerifyAfter::Restore),
    ];
}

/// `spool`: when an SQLite database is copied to the scratch directory before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spool {
    /// Where reading would block writers.
    Auto,
    /// Always.
    Always,
    /// Never, however long writers are blocked.
    Never,
}

impl value::Choice for Spool {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Spool::Auto),
        ("always", Spool::Always),
        ("never", Spool::Never),
    ];
}

/// A retention table as written. An empty one is a table that removes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RetentionTable {
    /// Keep the newest N.
    #[serde(deserialize_with = "value::count")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of N hours.
    #[serde(deserialize_with = "value::count")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of N days.
    #[serde(deserialize_with = "value::count")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of N weeks.
    #[serde(deserialize_with = "value::count")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of N months.
    #[serde(deserialize_with = "value::count")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of N years.
    #[serde(deserialize_with = "value::count")]
    pub keep_yearly: Option<u32>,
    /// Keep everything this close to the newest.
    #[serde(deserialize_with = "value::span")]
    pub keep_within: Option<Span>,
    /// Remove what is older; a bare number is days.
    #[serde(deserialize_with = "value::days")]
    pub max_age: Option<Span>,
    /// Remove the oldest beyond this many.
    #[serde(deserialize_with = "value::count")]
    pub max_count: Option<u32>,
    /// Remove the oldest beyond this many bytes.
    #[serde(deserialize_with = "value::size")]
    pub max_size: Option<u64>,
    /// However old or large, keep this many.
    #[serde(deserialize_with = "value::count")]
    pub min_keep: Option<u32>,
    /// Below which part of an earlier backup nothing is removed.
    #[serde(deserialize_with = "value::brake")]
    pub brake: Option<BrakeKey>,
    /// Tables that may come and go.
    #[serde(deserialize_with = "value::texts")]
    pub brake_ignore: Vec<String>,
}

/// `brake`: how much less a new backup may hold before retention stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrakeKey {
    /// Less than so many percent.
    Below(u8),
    /// However much less.
    Off,
}

/// One `[sources.NAME]`.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// What every kind of source may say.
    pub common: SourceKeys,
    /// The keys of `[backup]` that the source sets itself; [`Config::backup_keys`] has them with
    /// the defaults.
    pub backup: BackupKeys,
    /// `[sources.NAME.hooks]`.
    pub hooks: Option<HooksTable>,
    /// `[sources.NAME.retention]`.
    pub retention: Option<RetentionTable>,
    /// `[sources.NAME.retention.label.LABEL]`.
    pub retention_labels: BTreeMap<String, RetentionTable>,
    /// The keys that only its kind has.
    pub kind: KindKeys,
    /// Why the source can't be used now, though the file is right: the environment lacks something.
    /// Values that depend on it are absent or as written, so nothing but naming the source MUST be
    /// done with it, removing backups least.
    pub unusable: Option<Unusable>,
}

/// The keys that a source of any kind may have.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SourceKeys {
    /// Whether a run that names no source takes it; not written: yes.
    #[serde(deserialize_with = "value::flag")]
    pub enabled: Option<bool>,
    /// A run before this moment skips it.
    #[serde(deserialize_with = "value::moment")]
    pub start: Option<DateTime<Utc>>,
    /// A run at or after this moment skips it; always later than `start`.
    #[serde(deserialize_with = "value::moment")]
    pub end: Option<DateTime<Utc>>,
    /// How old its newest good backup may be, for `status`.
    #[serde(deserialize_with = "value::span")]
    pub expect_every: Option<Span>,
    /// How long ago its last drill may be, for `status`.
    #[serde(deserialize_with = "value::span")]
    pub prove_every: Option<Span>,
    /// More variables for `${NAME}`; they win over the process's environment, being set for this
    /// source alone.
    #[serde(deserialize_with = "value::path")]
    pub env_file: Option<PathBuf>,
}

/// What only one kind of source has.
#[derive(Debug, Clone, PartialEq)]
pub enum KindKeys {
    /// `kind = "sqlite"`.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// `kind = "postgres"`.
    Postgres(Box<PostgresKeys>),
    /// `kind = "files"`.
    Files(FilesKeys),
}

impl KindKeys {
    /// The kind that has these keys.
    pub fn kind(&self) -> EngineKind {
        match self {
            KindKeys::Sqlite { .. } => EngineKind::Sqlite,
            KindKeys::Postgres(_) => EngineKind::Postgres,
            KindKeys::Files(_) => EngineKind::Files,
        }
    }
}

/// The keys of `kind = "files"`; `None` and empty lists are keys that are not written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FilesKeys {
    /// Directories and files; absolute once they are read.
    #[serde(deserialize_with = "value::texts")]
    pub paths: Vec<String>,
    /// Only what matches one of these.
    #[serde(deserialize_with = "value::texts")]
    pub include: Vec<String>,
    /// Never what matches one of these.
    #[serde(deserialize_with = "value::texts")]
    pub exclude: Vec<String>,
    /// Whether what is mounted below is left out.
    #[serde(deserialize_with = "value::flag")]
    pub one_file_system: Option<bool>,
    /// How SQLite databases among the files are saved.
    #[serde(deserialize_with = "value::choice")]
    pub sqlite: Option<SqliteFiles>,
}

/// `sqlite` of a source of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteFiles {
    /// Through SQLite, of one point in time.
    Snapshot,
    /// As the files that they are.
    Raw,
}

impl value::Choice for SqliteFiles {
    const ALL: &'static [(&'static str, Self)] = &[
        ("snapshot", SqliteFiles::Snapshot),
        ("raw", SqliteFiles::Raw),
    ];
}

/// The keys of `kind = "postgres"`; `None` and empty lists are keys that are not written.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PostgresKeys {
    /// A URL, or key=value words as libpq takes them.
    #[serde(deserialize_with = "value::text")]
    pub url: Option<String>,
    /// The server, or the directory of its socket; this and the next ones go before what the URL
    /// says.
    #[serde(deserialize_with = "value::text")]
    pub host: Option<String>,
    /// The port.
    #[serde(deserialize_with = "value::port")]
    pub port: Option<u16>,
    /// The role.
    #[serde(deserialize_with = "value::text")]
    pub user: Option<String>,
    /// The database.
    #[serde(deserialize_with = "value::text")]
    pub dbname: Option<String>,
    /// A section of `pg_service.conf`.
    #[serde(deserialize_with = "value::text")]
    pub service: Option<String>,
    /// The password itself.
    #[serde(deserialize_with = "value::text")]
    pub password: Option<String>,
    /// A file that holds the password.
    #[serde(deserialize_with = "value::path")]
    pub password_file: Option<PathBuf>,
    /// A shell line that prints the password.
    #[serde(deserialize_with = "value::text")]
    pub password_command: Option<String>,
    /// How it is dumped.
    #[serde(deserialize_with = "value::choice")]
    pub format: Option<PostgresFormat>,
    /// Databases of the server, `*` and `?` allowed: each becomes a source of its own.
    #[serde(deserialize_with = "value::texts")]
    pub databases: Vec<String>,
    /// Those left out of them.
    #[serde(deserialize_with = "value::texts")]
    pub exclude_databases: Vec<String>,
    /// Whether roles and tablespaces are saved, too.
    #[serde(deserialize_with = "value::flag")]
    pub globals: Option<bool>,
    /// `pg_dump --schema`.
    #[serde(deserialize_with = "value::texts")]
    pub schemas: Vec<String>,
    /// `pg_dump --exclude-table`.
    #[serde(deserialize_with = "value::texts")]
    pub exclude_table: Vec<String>,
    /// `pg_dump --exclude-table-data`.
    #[serde(deserialize_with = "value::texts")]
    pub exclude_table_data: Vec<String>,
    /// Whether rows are counted.
    #[serde(deserialize_with = "value::choice")]
    pub manifest: Option<CountRows>,
    /// How long `pg_dump` may be silent.
    #[serde(deserialize_with = "value::span")]
    pub stall_timeout: Option<Span>,
    /// How many databases are backed up at once, and how many jobs a restore has.
    #[serde(deserialize_with = "value::threads")]
    pub jobs: Option<usize>,
    /// Where the programs are.
    #[serde(deserialize_with = "value::path")]
    pub bin_dir: Option<PathBuf>,
    /// Put before every program.
    #[serde(deserialize_with = "value::texts")]
    pub command_prefix: Vec<String>,
    /// The address for programs that run behind that prefix.
    #[serde(deserialize_with = "value::text")]
    pub prefix_url: Option<String>,
    /// A server for trial restores, in place of a throw-away one.
    #[serde(deserialize_with = "value::text")]
    pub drill_url: Option<String>,
}

/// Only whether there are any: addresses and passwords are nobody's business.
impl std::fmt::Debug for PostgresKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresKeys")
            .field("host", &self.host)
            .field("dbname", &self.dbname)
            .finish_non_exhaustive()
    }
}

impl PostgresKeys {
    /// Whether the source stands for several databases, each a source `NAME.DATABASE`, and
    /// `NAME-globals`.
    pub fn is_cluster(&self) -> bool {
        !self.databases.is_empty()
    }
}

/// `format` of a PostgreSQL source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresFormat {
    /// An archive for `pg_restore`.
    Custom,
    /// A script for `psql`.
    Plain,
}

impl value::Choice for PostgresFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("custom", PostgresFormat::Custom),
        ("plain", PostgresFormat::Plain),
    ];
}

/// `manifest` of a PostgreSQL source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountRows {
    /// Every table's rows are counted.
    Exact,
    /// None are.
    Off,
}

impl value::Choice for CountRows {
    const ALL: &'static [(&'static str, Self)] =
        &[("exact", CountRows::Exact), ("off", CountRows::Off)];
}

/// Why one source of a valid configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is missing, with file and line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<Unusable> for Error {
    fn from(why: Unusable) -> Self {
        let error = Error::usage(why.message);
        match why.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl Config {
    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&SourceEntry> {
        self.sources
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, source)| source)
    }

    /// The source that a source of the store belongs to: itself, or the one that stands for the
    /// databases of its server.
    pub fn owner_of(&self, name: &str) -> Option<(&str, &SourceEntry)> {
        if let Some((known, entry)) = self.sources.iter().find(|(known, _)| known == name) {
            return Some((known, entry));
        }
        let clusters = self.sources.iter().filter(
            |(_, entry)| matches!(&entry.kind, KindKeys::Postgres(keys) if keys.is_cluster()),
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

    /// The keys of `[backup]` that hold for `source`: its own over the defaults.
    pub fn backup_keys(&self, source: &SourceEntry) -> BackupKeys {
        source.backup.clone().over(&self.backup)
    }

    /// The one table that decides over backups of `source` with `label`: the most specific one,
    /// whole. `None` for `source` is a source that the file does not define.
    pub fn retention_for<'a>(
        &'a self,
        source: Option<&'a SourceEntry>,
        label: &str,
    ) -> Option<&'a RetentionTable> {
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

    /// `dbbackup.toml:12`, the beginning of every message about a line.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}
