//! The settings of `kind = "files"`, and of `kind = "sqlite"`, which has one.

use crate::setting::{WordChoice, settings};
use std::path::PathBuf;

settings! {
    /// The settings that only a source of `kind = "sqlite"` has.
    #[derive(Debug, Clone, PartialEq)]
    pub struct SqliteSettings {
        /// The database file.
        pub path: PathBuf = PathBuf::new(),
    }
}

settings! {
    /// The settings that only a source of `kind = "files"` has.
    #[derive(Debug, Clone, PartialEq)]
    pub struct FilesSettings {
        /// Directories and single files, none inside another.
        pub paths: Vec<PathBuf> = Vec::new(),
        /// Patterns of what is left out, with all that is below it.
        pub exclude: Vec<String> = Vec::new(),
        /// Patterns: only what matches is saved, and all below a directory that does. `exclude`
        /// goes before it. Not set, everything is saved.
        pub include: Vec<String> = Vec::new(),
        /// Leaves out what is mounted below the paths.
        pub one_file_system: bool = false,
        /// How SQLite databases among the files are saved: `"snapshot"` goes through SQLite and
        /// saves one point in time, `"raw"` saves the files that they are.
        pub sqlite: SqliteFiles = SqliteFiles::Snapshot,
    }
}

/// How SQLite databases among files are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteFiles {
    /// Through SQLite, of one point in time.
    Snapshot,
    /// As the files that they are.
    Raw,
}

impl WordChoice for SqliteFiles {
    const ALL: &'static [(&'static str, Self)] = &[
        ("snapshot", SqliteFiles::Snapshot),
        ("raw", SqliteFiles::Raw),
    ];
}
