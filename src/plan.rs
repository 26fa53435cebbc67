//! What a command is going to do, as plain values: the configuration with the flags over it, paths
//! absolute, the time passed in. No I/O; what must be asked of the file system is asked through a
//! function.

mod files;
pub mod policies;
pub mod postgres;
mod selection;
mod sources;
mod sqlite;
mod stores;

pub use policies::RetentionPolicies;
pub use selection::source_at;
pub use sources::{SourceSelection, backup};
pub use stores::{StorePlan, every_store, required_copies, store};

use crate::config::{BackupSettings, Hooks};
use crate::engine::postgres::ProgramSearch;
use crate::engine::sqlite::Spool;
use crate::engine::{DumpFormat, EngineKind};
use crate::error::Error;
use crate::store::StoreSettings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What became of one thing that a backup was asked for.
#[derive(Debug)]
pub enum PlannedAttempt {
    /// To be backed up.
    Source(Box<SourcePlan>),
    /// Outside its window of time.
    Skipped {
        /// The source's name.
        name: String,
        /// Why.
        why: String,
    },
    /// It can't even be tried.
    Refused {
        /// The source's name.
        name: String,
        /// Why.
        error: Error,
        /// What is known of a source of the configuration all the same.
        faulty: Option<FaultySource>,
    },
}

/// A source of the configuration that can't be tried: its history has a place in the store, and
/// somebody may want to be told.
#[derive(Debug)]
pub struct FaultySource {
    /// Its kind.
    pub kind: EngineKind,
    /// Its hooks.
    pub hooks: Hooks,
}

/// One source, with everything that its backup needs.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// Its name in the store.
    pub name: String,
    /// The name was made from a path: then it must not belong to another path in the store.
    pub derived: bool,
    /// What it is.
    pub kind: SourceKind,
    /// How it is backed up.
    pub settings: BackupSettings,
    /// What is kept.
    pub policies: RetentionPolicies,
    /// The stores, by their names, that must have a copy before a backup may be removed.
    pub required_copies: Vec<(String, StoreSettings)>,
    /// How trial restores are made.
    pub drill_settings: DrillSettings,
    /// What is run around its backup; a member of a cluster has none, the cluster has.
    pub hooks: Hooks,
}

/// How trial restores of a source's backups are made, besides what every kind has.
#[derive(Debug, Clone, Default)]
pub struct DrillSettings {
    /// Where PostgreSQL's programs are.
    pub search: ProgramSearch,
    /// A server for them, in place of a throw-away one.
    pub drill_url: Option<String>,
    /// The code that a dump brings is trusted: a throw-away server need not be confined.
    pub trusted: bool,
    /// Jobs of `pg_restore`.
    pub jobs: usize,
}

/// The kinds of sources, each with what only it needs.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// A SQLite database file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Whether it is copied first.
        spool: Spool,
        /// How long a locked one is waited for.
        lock_timeout: Duration,
    },
    /// A PostgreSQL database, or a cluster's roles.
    Postgres(Box<crate::engine::postgres::source::PostgresPlan>),
    /// Several databases of a PostgreSQL server: the server is asked which, and each becomes a
    /// source of its own.
    Cluster(Box<postgres::ClusterPlan>),
    /// Directories and files.
    Files(Box<crate::engine::files::Plan>),
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A file, or what else is no directory.
    File,
}

impl SourceKind {
    /// The format of its dumps.
    pub fn format(&self) -> DumpFormat {
        match self {
            SourceKind::Sqlite { .. } => DumpFormat::Sqlite,
            SourceKind::Postgres(plan) => DumpFormat::Postgres(plan.format),
            SourceKind::Cluster(plan) => DumpFormat::Postgres(plan.each.format),
            SourceKind::Files(_) => DumpFormat::Tar,
        }
    }
}

/// The path from the root on, without the `./` that people type.
pub fn absolute(cwd: &Path, path: impl AsRef<Path>) -> PathBuf {
    cwd.join(path).components().collect()
}

/// A source's name from a file's: `app.db` → `app`.
pub fn name_from_path(path: &Path) -> String {
    plain_name(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// A source's name from a word, other characters becoming `-`.
pub fn plain_name(word: &str) -> String {
    let name: String = word
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name
        .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned();
    if name.is_empty() {
        "database".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_paths() {
        for (path, name) in [
            ("/srv/app/app.db", "app"),
            ("my data.sqlite", "my-data"),
            ("/x/.hidden.db", "hidden"),
            ("/x/Ü.db", "database"),
            ("a.b.db", "a.b"),
        ] {
            assert_eq!(name_from_path(Path::new(path)), name, "{path}");
        }
    }
}
