//! A sidecar without what only a look at that one backup needs: of a hundred thousand of them the tables, hashes and settings would fill a
//! gigabyte. It is read as strictly as the whole: what is no sidecar there is none here.

use super::{Failure, SCHEMA, Sidecar, Status, Unreadable, Verification};
use crate::engine::Database;
use chrono::{DateTime, Utc};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A text that many sidecars have in common, kept once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Arc<str>);

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Word(text.into())
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<String> for Word {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<Word> for String {
    fn eq(&self, other: &Word) -> bool {
        *other.0 == **self
    }
}

/// The texts that were met; one for each thread that reads.
#[derive(Debug, Default)]
pub struct Words(HashSet<Word>);

impl Words {
    /// The one copy of a text.
    pub fn take(&mut self, text: &str) -> Word {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let word = Word::from(text);
        self.0.insert(word.clone());
        word
    }
}

/// See the head of this file; the fields are those of [`Sidecar`].
#[derive(Debug, Clone, PartialEq)]
pub struct Brief {
    /// Unique within the store.
    pub id: String,
    /// Shared by all backups of one run.
    pub run: Word,
    /// Every source of that run, where it saved all databases of a server.
    pub run_members: Arc<[Word]>,
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
    /// What `verify_after` found.
    pub verifications: Vec<Verification>,
    /// Why it failed.
    pub error: Option<Box<Failure>>,
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
}

/// What is kept of [`Database`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BriefDatabase {
    /// The database's file.
    pub path: Option<Word>,
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
}

impl Brief {
    /// Reads a sidecar's bytes; what [`Sidecar::parse`] refuses is refused, for the same reason.
    pub fn parse(bytes: &[u8], words: &mut Words) -> Result<Brief, Unreadable> {
        match serde_json::from_slice::<Raw<'_>>(bytes) {
            Ok(raw) if raw.schema == SCHEMA && raw.requires.is_empty() => Ok(raw.brief(words)),
            // The whole type knows best why.
            _ => Sidecar::parse(bytes).map(|sidecar| Brief::of(&sidecar, words)),
        }
    }

    /// What is kept of a whole sidecar.
    pub fn of(sidecar: &Sidecar, words: &mut Words) -> Brief {
        let dump = sidecar.dump.as_ref().map(|dump| BriefDump {
            file: dump.file.as_str().into(),
            format: words.take(&dump.format),
            size_bytes: dump.size_bytes,
            content_size_bytes: dump.content_size_bytes,
            compression: words.take(&dump.compression),
        });
        Brief {
            id: sidecar.id.clone(),
            run: words.take(&sidecar.run),
            run_members: sidecar.run_members.iter().map(|member| words.take(member)).collect(),
            source: words.take(&sidecar.source),
            label: words.take(&sidecar.label),
            status: sidecar.status,
            description: sidecar.description.as_deref().map(Into::into),
            tags: sidecar.tags.clone(),
            started_at: sidecar.started_at,
            finished_at: sidecar.finished_at,
            duration_seconds: sidecar.duration_seconds,
            dump,
            database: sidecar.database.as_ref().map(|database| BriefDatabase::of(database, words)),
            manifest: sidecar
                .manifest
                .as_ref()
                .map(|manifest| Totals { tables: manifest.tables.len() as u64, rows_total: manifest.rows_total }),
            verifications: sidecar.verifications.clone(),
            error: sidecar.error.clone().map(Box::new),
        }
    }
}

impl BriefDatabase {
    fn of(database: &Database, words: &mut Words) -> BriefDatabase {
        BriefDatabase {
            path: database.path.as_ref().map(|path| words.take(&path.to_string_lossy())),
            size_bytes: database.size_bytes,
            cluster: database.cluster.as_ref().map(|cluster| words.take(cluster)),
        }
    }

    /// The database's file.
    pub fn file(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|path| PathBuf::from(path.as_str()))
    }
}

/// A text of the sidecar, where it stands if nothing in it is escaped.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A [`Sidecar`] field by field, so that what is wrong for one is wrong for the other; a test compares them.
#[derive(Deserialize)]
struct Raw<'a> {
    schema: u32,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    run: Text<'a>,
    #[serde(default, borrow)]
    run_members: Vec<Text<'a>>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(rename = "kind", borrow)]
    _kind: Text<'a>,
    #[serde(borrow)]
    label: Text<'a>,
    status: Status,
    #[serde(default, rename = "warnings", borrow)]
    _warnings: Vec<Text<'a>>,
    #[serde(default)]
    description: Option<Box<str>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    duration_seconds: f64,
    #[serde(default, borrow)]
    dump: Option<RawDump<'a>>,
    #[serde(default)]
    database: Option<Database>,
    #[serde(default)]
    manifest: Option<RawManifest>,
    #[serde(default, rename = "producer", borrow)]
    _producer: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(default)]
    verifications: Vec<Verification>,
    #[serde(default)]
    error: Option<Box<Failure>>,
}

#[derive(Deserialize)]
struct RawDump<'a> {
    #[serde(borrow)]
    file: Text<'a>,
    #[serde(borrow)]
    format: Text<'a>,
    size_bytes: u64,
    #[serde(rename = "sha256", borrow)]
    _sha256: Text<'a>,
    content_size_bytes: u64,
    #[serde(rename = "content_sha256", borrow)]
    _content_sha256: Text<'a>,
    #[serde(borrow)]
    compression: Text<'a>,
    #[serde(rename = "encryption")]
    _encryption: Option<String>,
    #[serde(rename = "base")]
    _base: Option<String>,
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(default)]
    tables: Counted,
    #[serde(default)]
    rows_total: u64,
}

#[derive(Deserialize)]
struct RawTable<'a> {
    #[serde(rename = "name", borrow)]
    _name: Text<'a>,
    #[serde(rename = "kind", borrow)]
    _kind: Text<'a>,
    #[serde(rename = "rows")]
    _rows: u64,
    #[serde(default, rename = "compare")]
    _compare: bool,
}

/// How many tables a list has, each of them looked at and let go.
#[derive(Default)]
struct Counted(u64);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;
        impl<'de> Visitor<'de> for Tables {
            type Value = Counted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tables")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Counted, A::Error> {
                let mut count = 0;
                while tables.next_element::<RawTable<'de>>()?.is_some() {
                    count += 1;
                }
                Ok(Counted(count))
            }
        }
        deserializer.deserialize_seq(Tables)
    }
}

impl Raw<'_> {
    fn brief(self, words: &mut Words) -> Brief {
        Brief {
            id: self.id.0.into_owned(),
            run: words.take(&self.run.0),
            run_members: self.run_members.iter().map(|member| words.take(&member.0)).collect(),
            source: words.take(&self.source.0),
            label: words.take(&self.label.0),
            status: self.status,
            description: self.description,
            tags: self.tags,
            started_at: self.started_at,
            finished_at: self.finished_at,
            duration_seconds: self.duration_seconds,
            dump: self.dump.map(|dump| BriefDump {
                file: dump.file.0.into(),
                format: words.take(&dump.format.0),
                size_bytes: dump.size_bytes,
                content_size_bytes: dump.content_size_bytes,
                compression: words.take(&dump.compression.0),
            }),
            database: self.database.map(|database| BriefDatabase::of(&database, words)),
            manifest: self.manifest.map(|manifest| Totals { tables: manifest.tables.0, rows_total: manifest.rows_total }),
            verifications: self.verifications,
            error: self.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn whole() -> Value {
        json!({
            "schema": 1, "requires": [], "id": "a.b_daily_20261120T020000Z", "run": "r", "run_members": ["a.b", "a.c"], "source": "a.b",
            "kind": "postgres", "label": "daily", "status": "ok", "warnings": ["w"], "description": "d\n\"x\"", "tags": {"k": "v"},
            "started_at": "2026-11-20T02:00:00Z", "finished_at": "2026-11-20T02:00:41Z", "duration_seconds": 41.2,
            "dump": {"file": "f", "format": "tar", "size_bytes": 1, "sha256": "s", "content_size_bytes": 2, "content_sha256": "c",
                     "compression": "gzip", "encryption": null, "base": null},
            "database": {"name": "b", "path": "/a/b", "size_bytes": 7, "cluster": "a", "roles": ["r"], "locale": {"provider": "c"}},
            "manifest": {"tables": [{"name": "t\u{1}", "kind": "table", "rows": 3}, {"name": "v", "kind": "view", "rows": 1, "compare": false}],
                         "rows_total": 3},
            "producer": {"host": "h"},
            "verifications": [{"at": "2026-11-20T02:00:42Z", "level": "content", "status": "ok", "duration_seconds": 1.1}],
            "error": {"message": "m", "hint": "h"}, "unknown": [1, {"x": 2}]
        })
    }

    /// Both ways of reading agree.
    fn agree(bytes: &[u8]) {
        let whole = Sidecar::parse(bytes).map(|sidecar| Brief::of(&sidecar, &mut Words::default()));
        assert_eq!(Brief::parse(bytes, &mut Words::default()), whole, "{}", String::from_utf8_lossy(bytes));
    }

    /// Every place in a value, as a path of keys and numbers.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
            Value::Array(list) => list.iter().enumerate().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
            _ => {}
        }
    }

    #[test]
    fn brief_is_read_where_and_as_the_whole_is() {
        agree(whole().to_string().as_bytes());
        assert!(Brief::parse(whole().to_string().as_bytes(), &mut Words::default()).is_ok());
        let mut found = Vec::new();
        places(&whole(), "", &mut found);
        assert!(found.len() > 50);
        for place in &found {
            let others = [json!(null), json!(1), json!(-1), json!(2.5), json!("x"), json!([]), json!({}), json!([1]), json!(true)];
            for other in others {
                let mut changed = whole();
                *changed.pointer_mut(place).unwrap() = other;
                agree(changed.to_string().as_bytes());
            }
            let mut less = whole();
            if let Some((parent, key)) = place.rsplit_once('/')
                && let Some(map) = less.pointer_mut(parent).and_then(Value::as_object_mut)
            {
                map.remove(key);
                agree(less.to_string().as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn broken_bytes_are_broken_for_both(at in 0usize..1200, byte: u8, cut in 0usize..1200) {
            let mut bytes = serde_json::to_vec_pretty(&whole()).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            agree(&bytes);
            bytes.truncate(cut % bytes.len());
            agree(&bytes);
        }
    }
}
