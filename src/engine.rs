//! The contracts of every kind of source and of every place to restore to.
//!
//! An engine knows its database and nothing else: no codecs, no stores, no retention, no command
//! line. It pushes content into a [`std::io::Write`] and takes it back from a [`std::io::Read`].
//! The facts that it learns on the way (the manifest, the database's settings) are plain data,
//! which the sidecar stores as they are.

mod check;
mod database;
pub mod files;
mod kinds;
mod mounts;
pub mod postgres;
mod rows;
pub mod sqlite;

#[cfg(test)]
pub(crate) use check::CheckDocument;
pub use check::{
    Check, CheckFinding, CheckStatus, CheckSubject, ContentDigest, FindingDetail, LostFile,
    RowDifference, TreeBasis, compare_rows, describe_checks, summarize_checks,
    were_corrupt_when_saved,
};
pub use database::{
    Database, DatabaseStamp, Extension, FileStamp, Grant, Locale, SecurityLabel, Setting, Settings,
    TreeStamp,
};
pub use kinds::{DumpFormat, EngineKind, PgFormat, UnknownFormat};
pub use rows::{Cell, RowSink, Shape};

use crate::error::Result;
use crate::units;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;

/// Something that can be written out as one consistent stream.
pub trait Source {
    /// Writes the whole content, of one point in time, to `out` and returns a description of it.
    ///
    /// `Ok` means that the content is complete, a child's exit status included, and that the
    /// manifest describes that very point in time. After an error the written bytes are worthless.
    /// It may be called once.
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped>;

    /// Writes the same as [`Source::dump`] to a sink that has the content of an earlier dump beside
    /// it. A source that knows which of its content is in that need not read it.
    fn dump_beside_base(&mut self, out: &mut dyn DeltaSink) -> Result<Dumped> {
        self.dump(out)
    }

    /// The size of the database in bytes, which is about what [`Source::dump`] will write; 0 where
    /// it is unknown. Progress and the check for free space need it.
    fn estimate(&self) -> u64;
}

/// A sink that has the content of an earlier dump, the base, beside what is written to it. All
/// ranges are bytes of the base; none may begin before the end of the one before.
pub trait DeltaSink: Write {
    /// The next bytes of the content are these of the base.
    fn copy_base(&mut self, range: Range<u64>) -> io::Result<()>;

    /// What is written from now on may be like these bytes of the base.
    fn lay_beside(&mut self, range: Range<u64>, likeness: Likeness) -> io::Result<()>;

    /// What is written from now on is like nothing in the base.
    fn lay_beside_nothing(&mut self) -> io::Result<()>;
}

/// How content is like that of an earlier dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// What is the same is at the same distance from the beginning.
    Pages,
    /// What is the same may have moved, line by line.
    Lines,
}

/// Takes a dump's content, proves it, and only then puts it where it belongs.
///
/// Nothing but a scratch place is touched before [`Destination::publish`]; dropped before that, it
/// leaves no trace.
pub trait Destination {
    /// Reads `content` to its end into a scratch place and makes it durable there.
    fn receive(&mut self, content: &mut dyn Read) -> Result<()>;

    /// Examines the received content to `depth` and compares it with `expected`.
    ///
    /// `Err` means that the examination itself failed; flaws of the content are in the checks.
    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>>;

    /// What the last check found inside, as far as it counts: for content of which nothing was
    /// known.
    fn counted(&self) -> Option<Manifest> {
        None
    }

    /// Puts the content in its place. The old content is handed to `keep` first, under a lock that
    /// prevents writes to it until it is replaced. An error of `keep` leaves the old content in
    /// service. Killed at any point, the place holds the old content or the new one, whole.
    fn publish(&mut self, keep: Keep<'_>) -> Result<Published>;
}

/// The way to keep the old content of a place before it is replaced.
pub enum Keep<'a> {
    /// Back it up: the function reads the source that it gets to its end and makes that durable.
    Backup(&'a mut dyn FnMut(&mut dyn Source) -> Result<()>),
    /// Set it aside where it is; [`Published::companions`] has the new names.
    Aside,
    /// Keep nothing (`--no-safety-backup`).
    Nothing,
}

/// How thoroughly [`Destination::check`] examines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The content must be sound and equal to the manifest.
    Content,
    /// It must also satisfy all that a restored database must.
    Drill,
}

/// The result of [`Destination::publish`].
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The way it was done, in a few words for people: `replaced through SQLite`.
    pub how: String,
    /// The path of the old content, where it was set aside.
    pub set_aside: Option<PathBuf>,
    /// Files that belong to the old content, each with its new path.
    pub companions: Vec<(PathBuf, PathBuf)>,
    /// The old content, where it is a database that now has another name.
    pub database: Option<KeptDatabase>,
    /// Facts that people should know although the restore succeeded.
    pub warnings: Vec<String>,
    /// The number of members that must not be restored, and were not.
    pub left_out: u64,
}

/// A database that a restore replaced.
#[derive(Debug, Clone, Default)]
pub struct KeptDatabase {
    /// Its name now.
    pub kept: String,
    /// The command that gives it its name back.
    pub undo: String,
    /// The command that removes it.
    pub remove: String,
}

/// The description of a content that a source wrote.
#[derive(Debug, Default)]
pub struct Dumped {
    /// The tables and rows, counted at the same point in time.
    pub manifest: Manifest,
    /// Facts of the database.
    pub database: Database,
    /// The programs and libraries that made it, with their versions.
    pub producer: BTreeMap<String, String>,
    /// Facts that the user should know.
    pub warnings: Vec<String>,
    /// Facts that are worth keeping with the backup, but no reason for a warning every night.
    pub notes: Vec<String>,
    /// In a few words what the backup lacks although it restores; the warnings name it.
    pub lacks: Option<String>,
    /// The list of contents, which is too long for the manifest, to be read from its position.
    pub contents: Option<tempfile::SpooledTempFile>,
}

/// What is inside a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Manifest {
    /// Every table with its exact number of rows.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// The number of tables, where their names are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables_total: Option<u64>,
    /// The rows of all tables together.
    #[serde(default)]
    pub rows_total: u64,
    /// What a tree of files holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
}

/// What a tree of files holds, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Tree {
    /// Regular files, each once.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// SQLite databases among the files, saved through SQLite.
    pub databases: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// Files that changed whenever they were read, the first hundred of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Where every single one is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
}

/// The list of contents beside a dump: one JSON object a line, compressed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Contents {
    /// Its name, in the sidecar's own directory.
    pub file: String,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// SHA-256 of the file as stored, in hex.
    pub sha256: String,
    /// Whether it is the difference from the list of the backup that the dump is built on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_delta: bool,
}

/// `12 files (3.4 MiB) in 2 directories, 1 link`.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, size) = (units::count(self.files, "file"), units::size(self.bytes));
        write!(f, "{files} ({size})")?;
        match self.directories {
            0 => {}
            1 => f.write_str(" in 1 directory")?,
            many => write!(f, " in {} directories", units::thousands(many))?,
        }
        match self.symlinks + self.hard_links {
            0 => Ok(()),
            links => write!(f, ", {}", units::count(links, "link")),
        }
    }
}

impl Manifest {
    /// A manifest of these tables; the total leaves out what is not compared.
    pub fn new(tables: Vec<Table>) -> Self {
        let compared = tables.iter().filter(|table| table.compare);
        let rows_total = units::total(compared.filter_map(|table| table.rows));
        Manifest {
            tables,
            tables_total: None,
            rows_total,
            tree: None,
        }
    }

    /// The number of tables.
    pub fn tables_total(&self) -> u64 {
        self.tables_total.unwrap_or(self.tables.len() as u64)
    }
}

/// One table of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Table {
    /// A quoted identifier, as the database would print it.
    pub name: String,
    /// `table`, `virtual table`, `materialized view`…
    pub kind: String,
    /// The exact number of rows; none where they were not counted, which is only what is not
    /// compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Whether a restore must show the same number; left out of the JSON where true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub compare: bool,
}

fn yes() -> bool {
    true
}

// serde's `skip_serializing_if` hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

// As above.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The moment as it goes into names and sidecars: whole seconds.
pub fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}
