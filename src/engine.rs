//! What every kind of source and every place of restore promises to the rest of the program.
//!
//! An engine knows its database and nothing else: no codecs, no stores, no retention, no command
//! line. It pushes content into a [`std::io::Write`] and takes it back from a [`std::io::Read`].
//! What it found on the way (the manifest, facts of the database) is plain data that the sidecar
//! stores as it is.

mod database;
pub mod files;
mod kinds;
mod mounts;
pub mod postgres;
mod rows;
pub mod sqlite;

pub use database::{Database, Extension, Grant, Locale, SecurityLabel, Setting, Settings};
pub use kinds::{DumpFormat, EngineKind, PgFormat, UnknownFormat};
pub use rows::{Cell, RowSink, Shape};

use crate::error::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

/// Something that can be written out as one consistent stream.
pub trait Source {
    /// Writes the whole content, of one point in time, to `out` and returns what it holds.
    ///
    /// `Ok` means that the content is complete, a child's exit status included, and that the
    /// manifest was taken of that very point in time. On an error what was written is worthless. It
    /// may be called once.
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped>;

    /// The size of the database in bytes, about what [`Source::dump`] will write: for progress and
    /// for the look at free space; 0 where unknown.
    fn estimate(&self) -> u64;
}

/// Takes a dump's content, proves it, and only then puts it where it belongs.
///
/// Nothing but a scratch place is touched before [`Destination::publish`]; dropped before that, it
/// leaves no trace.
pub trait Destination {
    /// Reads `content` to its end into a scratch place and makes it durable there.
    fn receive(&mut self, content: &mut dyn Read) -> Result<()>;

    /// Examines what was received, as deep as `depth` says, and compares it with `expected`.
    ///
    /// `Err` only where the examination itself could not be made; what is wrong with the content is
    /// in the checks.
    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>>;

    /// Puts the content in its place. The old content is handed to `keep` first, held so that
    /// nothing is written to it between that and its replacement; an error of `keep` leaves the old
    /// in service. Killed at any point, the place holds the old content or the new one, whole.
    fn publish(&mut self, keep: Keep<'_>) -> Result<Published>;
}

/// What to do with the old content of a place before it is replaced.
pub enum Keep<'a> {
    /// Back it up: the function reads the source that it is handed to its end, durably.
    Backup(&'a mut dyn FnMut(&mut dyn Source) -> Result<()>),
    /// Set it aside where it is; [`Published::companions`] says what it is called then.
    Aside,
    /// Keep nothing (`--no-safety-backup`).
    Nothing,
}

/// How deep [`Destination::check`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Sound, and equal to the manifest.
    Content,
    /// That and all that a restored database must satisfy.
    Drill,
}

/// What [`Destination::publish`] did.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// In a few words, for people: `replaced through SQLite`.
    pub how: String,
    /// The old content, set aside here.
    pub set_aside: Option<PathBuf>,
    /// Files that belong to the old content, each with its place now.
    pub companions: Vec<(PathBuf, PathBuf)>,
    /// The old content, a database that now has another name.
    pub database: Option<KeptDatabase>,
    /// What should be known although the restore succeeded.
    pub warnings: Vec<String>,
    /// Things of the backup that must not be restored, and were not.
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

/// What a source says of the content that it wrote.
#[derive(Debug, Default)]
pub struct Dumped {
    /// What is inside, counted in the same point in time.
    pub manifest: Manifest,
    /// Facts of the database.
    pub database: Database,
    /// The programs and libraries that made it, with their versions.
    pub producer: BTreeMap<String, String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What is worth keeping with the backup, and no reason to write to anybody every night.
    pub notes: Vec<String>,
    /// The backup restores, but lacks something, named in `warnings`: what, in a few words.
    pub lacks: Option<String>,
    /// A list of what is inside, too long for the manifest; read from where it stands.
    pub contents: Option<std::fs::File>,
}

/// What is inside a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Manifest {
    /// Every table with its exact number of rows.
    #[serde(default)]
    pub tables: Vec<Table>,
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
}

impl Manifest {
    /// A manifest of these tables; the total leaves out what is not compared.
    pub fn of(tables: Vec<Table>) -> Self {
        let compared = tables.iter().filter(|table| table.compare);
        let rows_total = crate::units::total(compared.filter_map(|table| table.rows));
        Manifest {
            tables,
            rows_total,
            tree: None,
        }
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

/// One thing that was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// `sha256`, `integrity`, `rows`…
    pub name: String,
    /// What was found.
    pub status: CheckStatus,
    /// For people, one line.
    pub detail: String,
}

impl Check {
    /// A check that found what it should.
    pub fn ok(name: &str, detail: impl Into<String>) -> Self {
        Check {
            name: name.into(),
            status: CheckStatus::Ok,
            detail: detail.into(),
        }
    }

    /// A check that found damage.
    pub fn damaged(name: &str, detail: impl Into<String>) -> Self {
        Check {
            name: name.into(),
            status: CheckStatus::Damaged,
            detail: detail.into(),
        }
    }

    /// A check that found the content sound, and a part of something that does not restore alone.
    pub fn incomplete(name: &str, detail: impl Into<String>) -> Self {
        Check {
            name: name.into(),
            status: CheckStatus::Incomplete,
            detail: detail.into(),
        }
    }

    /// A check that could not be made here.
    pub fn unprovable(name: &str, detail: impl Into<String>) -> Self {
        Check {
            name: name.into(),
            status: CheckStatus::Unprovable,
            detail: detail.into(),
        }
    }
}

/// What a check, or a whole verification, found; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It can't be tried here: says nothing against the backup.
    Unprovable,
    /// It is sound, and a part that does not restore without the rest, which was left out on
    /// purpose: says nothing against the backup as it was asked for.
    Incomplete,
    /// The examination itself failed (a full disk, no permission): says nothing against the backup
    /// either.
    Error,
    /// Not what was written, or it does not restore.
    Damaged,
}

impl CheckStatus {
    /// The word in JSON and in tables.
    pub fn word(self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Unprovable => "unprovable",
            CheckStatus::Incomplete => "incomplete",
            CheckStatus::Error => "error",
            CheckStatus::Damaged => "damaged",
        }
    }
}

/// Compares counted tables with those of a manifest: the check's result names the first few that
/// differ.
pub fn compare_rows(expected: &Manifest, found: &[Table]) -> Check {
    // Where one of them was not counted there is nothing to compare: older manifests have the rows
    // of virtual tables, too.
    let uncounted: BTreeSet<&str> = found
        .iter()
        .filter(|table| table.rows.is_none())
        .map(|table| table.name.as_str())
        .collect();
    let found: BTreeMap<&str, u64> = found
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.rows?)))
        .collect();
    let counted = |table: &&Table| table.compare && !uncounted.contains(table.name.as_str());
    let compared: Vec<&Table> = expected.tables.iter().filter(counted).collect();
    let differing: Vec<String> = compared
        .iter()
        .filter_map(|table| match found.get(table.name.as_str()) {
            None => Some(format!(
                "{} is missing ({} rows expected)",
                table.name,
                table.rows.unwrap_or(0)
            )),
            Some(rows) => {
                let expected = table.rows.filter(|expected| expected != rows)?;
                Some(format!(
                    "{} has {rows} rows, {expected} expected",
                    table.name
                ))
            }
        })
        .collect();
    if differing.is_empty() {
        let tables = crate::units::count(compared.len() as u64, "table");
        return Check::ok(
            "rows",
            format!(
                "{tables}, {} as at the backup",
                crate::units::count(expected.rows_total, "row")
            ),
        );
    }
    let more = if differing.len() > 5 {
        format!("; and {} more", differing.len() - 5)
    } else {
        String::new()
    };
    Check::damaged(
        "rows",
        format!("{}{more}", differing[..differing.len().min(5)].join("; ")),
    )
}

/// The moment as it goes into names and sidecars: whole seconds.
pub fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}
