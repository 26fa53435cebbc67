//! A sidecar without what only a look at that one backup needs: of a hundred thousand of them the
//! tables, hashes and settings would fill a gigabyte. It is read as strictly as the whole: what is
//! no sidecar there is none here.
//!
//! `raw` has the fields of a whole sidecar once more, with borrowed texts. Without it, by reading a
//! whole one and keeping a part, a sidecar of 1.9 kB and four tables takes 7.3 µs in place of 5.4
//! (November 2026, one thread of 2 busy cores, the tables passed over in both): a sixth of what
//! `list` takes for it, all in all.

mod raw;
#[cfg(test)]
mod tests;

use self::raw::RawSidecar;
use super::tables::without_tables;
use super::{
    DeltaPosition, Failure, Previous, SCHEMA, Sidecar, SidecarFault, Status, Verification, Word,
    Words, unknown_features,
};
use crate::engine::Database;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// See the head of this file; the fields are those of [`Sidecar`].
#[derive(Debug, Clone, PartialEq)]
pub struct Brief {
    /// Unique within the store.
    pub id: String,
    /// Shared by all backups of one run.
    pub run: Box<str>,
    /// Every source of that run, where it saved all databases of a server.
    pub run_members: Vec<Word>,
    /// The source's name.
    pub source: Word,
    /// Why it was made.
    pub label: Word,
    /// How it ended.
    pub status: Status,
    /// Free text of the user.
    pub description: Option<Box<str>>,
    /// The user's own keys and values.
    pub tags: BTreeMap<String, String>,
    /// UTC, whole seconds.
    pub started_at: DateTime<Utc>,
    /// UTC, whole seconds.
    pub finished_at: DateTime<Utc>,
    /// Seconds, to the millisecond.
    pub duration_seconds: f64,
    /// The dump; none for a failed attempt.
    pub dump: Option<BriefDump>,
    /// Facts of the database.
    pub database: Option<BriefDatabase>,
    /// How much is inside.
    pub manifest: Option<Totals>,
    /// The backup before it, where backups are signed.
    pub previous: Option<Box<Previous>>,
    /// What `verify_after` found: one, mostly, for which a `Vec` would keep the room of four.
    pub verifications: Box<[Verification]>,
    /// Why it failed.
    pub error: Option<Box<Failure>>,
    /// The object with the rest of the sidecar, encrypted, where there is one.
    pub sealed: Option<Box<str>>,
}

/// What is kept of [`super::Dump`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BriefDump {
    /// Its name, in the sidecar's own directory.
    pub file: Box<str>,
    /// What the decoded content is.
    pub format: Word,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// Bytes before compression and encryption.
    pub content_size_bytes: u64,
    /// `none`, `gzip` or `zstd`.
    pub compression: Word,
    /// The list of contents beside it, where there is one.
    pub contents: Option<Box<str>>,
    /// The id of the backup that it is built on.
    pub base: Option<Word>,
    /// Where it stands among the deltas of its full.
    pub delta: Option<Box<DeltaPosition>>,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

/// What is kept of [`Database`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BriefDatabase {
    /// The database's file.
    pub path: Option<Word>,
    /// The top paths of a tree of files.
    pub paths: Vec<Word>,
    /// The database's size in bytes.
    pub size_bytes: u64,
    /// The source that stands for all databases of its server, where this is one of them.
    pub cluster: Option<Word>,
}

/// What is kept of a manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many tables.
    pub tables: u64,
    /// The rows of all tables together.
    pub rows_total: u64,
    /// Of a tree of files.
    pub tree: Option<TreeTotals>,
}

/// What is kept of [`crate::engine::Tree`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeTotals {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Brief {
    /// The objects that belong to it: see [`Sidecar::files`].
    pub fn files(&self) -> Vec<String> {
        let dump = self
            .dump
            .iter()
            .flat_map(|dump| std::iter::once(&dump.file).chain(&dump.contents));
        dump.chain(&self.sealed).map(ToString::to_string).collect()
    }

    /// Whether both are of one backup: they say the same, or one is of its encrypted copy, or of
    /// the full that was made of a delta.
    pub fn is_of(&self, other: &Brief) -> bool {
        let is_other_form = |one: &BriefDump, other: &BriefDump| {
            (one.is_encrypted, one.base.is_some()) != (other.is_encrypted, other.base.is_some())
                && one.content_size_bytes == other.content_size_bytes
        };
        let dumps = self.dump.as_ref().zip(other.dump.as_ref());
        self == other
            || (&self.id, &self.run, self.started_at, self.finished_at)
                == (&other.id, &other.run, other.started_at, other.finished_at)
                && dumps.is_some_and(|(one, other)| is_other_form(one, other))
    }

    /// Reads a sidecar's bytes; what [`Sidecar::parse`] refuses is refused, for the same reason.
    pub fn parse(bytes: &[u8], words: &mut Words) -> Result<Brief, SidecarFault> {
        // Checked once for the whole, not for each text in it.
        let text = std::str::from_utf8(bytes).ok();
        text.and_then(|text| Brief::quickly(text, words))
            .map_or_else(
                // The whole type knows best why.
                || Sidecar::parse(bytes).map(|sidecar| Brief::of(&sidecar, words)),
                Ok,
            )
    }

    fn quickly(text: &str, words: &mut Words) -> Option<Brief> {
        let usable = |raw: &RawSidecar<'_>| {
            raw.schema == SCHEMA && unknown_features(&raw.requires).is_empty()
        };
        let Some((short, tables)) = without_tables(text) else {
            return serde_json::from_str::<RawSidecar<'_>>(text)
                .ok()
                .filter(usable)
                .map(|raw| raw.brief(words));
        };
        let raw = serde_json::from_str::<RawSidecar<'_>>(&short)
            .ok()
            .filter(usable)?;
        // The number that is written goes before the one that was counted.
        let tables = raw.tables_total().unwrap_or(tables);
        let mut brief = raw.brief(words);
        brief.manifest.as_mut()?.tables = tables;
        Some(brief)
    }

    /// What is kept of a whole sidecar.
    pub fn of(sidecar: &Sidecar, words: &mut Words) -> Brief {
        let dump = sidecar.dump.as_ref().map(|dump| BriefDump {
            file: dump.file.as_str().into(),
            format: words.take(&dump.format),
            size_bytes: dump.size_bytes,
            content_size_bytes: dump.content_size_bytes,
            compression: words.take(&dump.compression),
            contents: sidecar
                .contents()
                .map(|contents| contents.file.as_str().into()),
            base: dump.base.as_ref().map(|base| words.take(&base.id)),
            delta: dump.delta.clone().map(Box::new),
            is_encrypted: dump.encryption.is_some(),
        });
        let totals = |manifest: &crate::engine::Manifest| Totals {
            tables: manifest.tables_total(),
            rows_total: manifest.rows_total,
            tree: manifest.tree.as_ref().map(|tree| TreeTotals {
                files: tree.files,
                bytes: tree.bytes,
            }),
        };
        Brief {
            id: sidecar.id.clone(),
            run: sidecar.run.as_str().into(),
            run_members: sidecar
                .run_members
                .iter()
                .map(|member| words.take(member))
                .collect(),
            source: words.take(&sidecar.source),
            label: words.take(&sidecar.label),
            status: sidecar.status,
            description: sidecar.description.as_deref().map(Into::into),
            tags: sidecar.tags.clone(),
            started_at: sidecar.started_at,
            finished_at: sidecar.finished_at,
            duration_seconds: sidecar.duration_seconds,
            dump,
            database: sidecar
                .database
                .as_ref()
                .map(|database| BriefDatabase::of(database, words)),
            manifest: sidecar.manifest.as_ref().map(totals),
            previous: sidecar.previous.clone().map(Box::new),
            verifications: sidecar.verifications.clone().into(),
            error: sidecar.error.clone().map(Box::new),
            sealed: sidecar
                .sealed
                .as_ref()
                .map(|part| part.file.as_str().into()),
        }
    }
}

impl BriefDatabase {
    fn of(database: &Database, words: &mut Words) -> BriefDatabase {
        BriefDatabase {
            path: database
                .path
                .as_ref()
                .map(|path| words.take(&path.to_string_lossy())),
            paths: database
                .paths
                .iter()
                .map(|path| words.take(&path.to_string_lossy()))
                .collect(),
            size_bytes: database.size_bytes,
            cluster: database.cluster.as_ref().map(|cluster| words.take(cluster)),
        }
    }

    /// The database's file, or the top paths of a tree.
    pub fn places(&self) -> Vec<PathBuf> {
        self.path
            .iter()
            .chain(&self.paths)
            .map(|path| PathBuf::from(path.as_str()))
            .collect()
    }
}
