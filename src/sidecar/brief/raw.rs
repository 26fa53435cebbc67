//! A sidecar as it stands, its texts borrowed from its bytes: what is not kept of it is looked at,
//! so that what is wrong for [`Sidecar`](super::Sidecar) is wrong here, and let go.

use super::{
    Brief, BriefDatabase, BriefDump, Failure, Previous, Status, Totals, TreeTotals, Verification,
};
use crate::engine::Settings;
use crate::sidecar::{DeltaPosition, Words};
use chrono::{DateTime, NaiveDate, Utc};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A text of the sidecar, where it stands if nothing in it is escaped.
#[derive(Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A [`Sidecar`](crate::sidecar::Sidecar) field by field, so that what is wrong for one is wrong
/// for the other; a test compares them.
#[derive(Deserialize)]
pub(super) struct RawSidecar<'a> {
    pub schema: u32,
    #[serde(default)]
    pub requires: Vec<String>,
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
    #[serde(default, rename = "warnings")]
    _warnings: Each<Text<'a>>,
    #[serde(default)]
    description: Option<Box<str>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "moment")]
    started_at: DateTime<Utc>,
    #[serde(deserialize_with = "moment")]
    finished_at: DateTime<Utc>,
    duration_seconds: f64,
    #[serde(default, borrow)]
    dump: Option<RawDump<'a>>,
    #[serde(default, borrow)]
    database: Option<RawDatabase<'a>>,
    #[serde(default, borrow)]
    manifest: Option<RawManifest<'a>>,
    #[serde(default)]
    previous: Option<Box<Previous>>,
    #[serde(default, rename = "producer")]
    _producer: Pairs,
    #[serde(default)]
    verifications: Vec<Verification>,
    #[serde(default)]
    error: Option<Box<Failure>>,
    #[serde(default, borrow)]
    sealed: Option<RawSealedPart<'a>>,
}

/// As [`crate::sidecar::SealedPart`].
#[derive(Deserialize)]
struct RawSealedPart<'a> {
    #[serde(borrow)]
    file: Text<'a>,
    #[serde(rename = "size_bytes")]
    _size_bytes: u64,
    #[serde(rename = "sha256", borrow)]
    _sha256: Text<'a>,
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
    _content_sha256: Option<Text<'a>>,
    #[serde(borrow)]
    compression: Text<'a>,
    #[serde(borrow)]
    encryption: Option<Text<'a>>,
    #[serde(default, rename = "recipients", borrow)]
    _recipients: Each<Text<'a>>,
    #[serde(borrow)]
    base: Option<RawBase<'a>>,
    #[serde(default)]
    delta: Option<Box<DeltaPosition>>,
}

/// As [`crate::sidecar::Base`].
#[derive(Deserialize)]
struct RawBase<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(rename = "sha256", borrow)]
    _sha256: Text<'a>,
    #[serde(rename = "content_sha256", borrow)]
    _content_sha256: Option<Text<'a>>,
}

/// As [`Database`](super::Database); what is not kept is only looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawDatabase<'a> {
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(borrow)]
    paths: Vec<Text<'a>>,
    #[serde(rename = "owner", borrow)]
    _owner: Option<Text<'a>>,
    #[serde(rename = "mode", borrow)]
    _mode: Option<Text<'a>>,
    size_bytes: u64,
    #[serde(rename = "page_size")]
    _page_size: Option<u32>,
    #[serde(rename = "encoding", borrow)]
    _encoding: Option<Text<'a>>,
    #[serde(rename = "auto_vacuum", borrow)]
    _auto_vacuum: Option<Text<'a>>,
    #[serde(rename = "journal_mode", borrow)]
    _journal_mode: Option<Text<'a>>,
    #[serde(rename = "user_version")]
    _user_version: Option<i32>,
    #[serde(rename = "application_id")]
    _application_id: Option<i32>,
    #[serde(rename = "foreign_key_violations")]
    _foreign_key_violations: Option<u64>,
    #[serde(rename = "name", borrow)]
    _name: Option<Text<'a>>,
    #[serde(rename = "host", borrow)]
    _host: Option<Text<'a>>,
    #[serde(rename = "port")]
    _port: Option<u16>,
    #[serde(rename = "user", borrow)]
    _user: Option<Text<'a>>,
    #[serde(rename = "server_version", borrow)]
    _server_version: Option<Text<'a>>,
    #[serde(rename = "system_identifier", borrow)]
    _system_identifier: Option<Text<'a>>,
    #[serde(borrow)]
    cluster: Option<Text<'a>>,
    #[serde(rename = "selected_by")]
    _selected_by: Each<Text<'a>>,
    #[serde(rename = "locale", borrow)]
    _locale: Option<RawLocale<'a>>,
    #[serde(rename = "settings")]
    _settings: Option<Settings>,
    #[serde(rename = "extensions")]
    _extensions: Each<RawExtension<'a>>,
    #[serde(rename = "roles")]
    _roles: Each<Text<'a>>,
    #[serde(rename = "tablespaces")]
    _tablespaces: Each<Text<'a>>,
    #[serde(rename = "tablespace_locations")]
    _tablespace_locations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLocale<'a> {
    #[serde(rename = "provider", borrow)]
    _provider: Text<'a>,
    #[serde(rename = "collate", borrow)]
    _collate: Text<'a>,
    #[serde(rename = "ctype", borrow)]
    _ctype: Text<'a>,
    #[serde(rename = "locale", borrow)]
    _locale: Option<Text<'a>>,
    #[serde(rename = "icu_rules", borrow)]
    _icu_rules: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct RawExtension<'a> {
    #[serde(rename = "name", borrow)]
    _name: Text<'a>,
    #[serde(rename = "version", borrow)]
    _version: Text<'a>,
    #[serde(default, rename = "schema", borrow)]
    _schema: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct RawManifest<'a> {
    #[serde(default, borrow)]
    tables: Each<RawTable<'a>>,
    #[serde(default)]
    tables_total: Option<u64>,
    #[serde(default)]
    rows_total: u64,
    #[serde(default, borrow)]
    tree: Option<RawTree<'a>>,
}

/// As [`crate::engine::Tree`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTree<'a> {
    files: u64,
    #[serde(rename = "directories")]
    _directories: u64,
    #[serde(rename = "symlinks")]
    _symlinks: u64,
    #[serde(rename = "hard_links")]
    _hard_links: u64,
    #[serde(rename = "databases")]
    _databases: u64,
    bytes: u64,
    #[serde(rename = "changed")]
    _changed: Each<Text<'a>>,
    #[serde(borrow)]
    contents: Option<RawContents<'a>>,
}

#[derive(Deserialize)]
struct RawContents<'a> {
    #[serde(borrow)]
    file: Text<'a>,
    #[serde(rename = "size_bytes")]
    _size_bytes: u64,
    #[serde(rename = "sha256", borrow)]
    _sha256: Text<'a>,
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

/// As chrono reads it; what this program writes is read without its looking for other forms.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = Text::deserialize(deserializer)?;
    match plain_moment(text.0.as_bytes()) {
        Some(at) => Ok(at),
        None => DateTime::deserialize(serde::de::value::StrDeserializer::new(&text.0)),
    }
}

/// `2026-11-20T02:00:00Z`.
fn plain_moment(text: &[u8]) -> Option<DateTime<Utc>> {
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u32::from(digit - b'0'))
        })
    };
    if text.len() != 20 || [text[4], text[7], text[10], text[13], text[16], text[19]] != *b"--T::Z"
    {
        return None;
    }
    let day = NaiveDate::from_ymd_opt(number(0, 4)?.cast_signed(), number(5, 7)?, number(8, 10)?)?;
    Some(
        day.and_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?
            .and_utc(),
    )
}

/// How many a list has, each of them looked at and let go.
struct Each<T> {
    count: u64,
    of: PhantomData<T>,
}

impl<T> Default for Each<T> {
    fn default() -> Self {
        Each {
            count: 0,
            of: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Each::default())
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<T>()?.is_some() {
            self.count += 1;
        }
        Ok(self)
    }
}

/// A table of texts, looked at and let go.
#[derive(Default)]
struct Pairs;

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Text<'de>, Text<'de>>()?.is_some() {}
        Ok(self)
    }
}

impl RawSidecar<'_> {
    /// The number of tables, where it is written.
    pub fn tables_total(&self) -> Option<u64> {
        self.manifest.as_ref()?.tables_total
    }

    /// What is kept of it.
    pub fn brief(self, words: &mut Words) -> Brief {
        let (manifest, contents) = self.manifest.map_or((None, None), |manifest| {
            let tree = manifest.tree.as_ref().map(|tree| TreeTotals {
                files: tree.files,
                bytes: tree.bytes,
            });
            let contents = manifest
                .tree
                .and_then(|tree| tree.contents)
                .map(|contents| contents.file.0.into());
            (
                Some(Totals {
                    tables: manifest.tables_total.unwrap_or(manifest.tables.count),
                    rows_total: manifest.rows_total,
                    tree,
                }),
                contents,
            )
        });
        Brief {
            id: self.id.0.into_owned(),
            run: self.run.0.into(),
            run_members: self
                .run_members
                .iter()
                .map(|member| words.take(&member.0))
                .collect(),
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
                contents,
                base: dump.base.map(|base| words.take(&base.id.0)),
                delta: dump.delta,
                is_encrypted: dump.encryption.is_some(),
            }),
            database: self.database.map(|database| BriefDatabase {
                path: database.path.map(|path| words.take(&path.0)),
                paths: database
                    .paths
                    .iter()
                    .map(|path| words.take(&path.0))
                    .collect(),
                size_bytes: database.size_bytes,
                cluster: database.cluster.map(|cluster| words.take(&cluster.0)),
            }),
            manifest,
            previous: self.previous,
            verifications: self.verifications.into(),
            error: self.error,
            sealed: self.sealed.map(|part| part.file.0.into()),
        }
    }
}
