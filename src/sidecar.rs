//! The JSON files beside a dump: the sidecar, which says everything about a backup and is never
//! changed, and the events, which say what came later. The stored format, versioned; serde and
//! nothing else.

mod brief;
pub(crate) mod event;
mod sealed;
mod tables;
mod words;

pub use brief::{Brief, BriefDatabase, BriefDump, Totals, TreeTotals};
pub use event::{BackupEvent, BackupState, Braked, Change, CopyMark};
pub use sealed::{SEALED_FAILURE, SealedPart};
pub use words::{Word, Words};

use crate::engine::{CheckStatus, Contents, Database, Manifest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest sidecar that this program reads and the one that it writes.
pub const SCHEMA: u32 = 1;

/// The word in `requires` of a backup whose dump is a delta.
pub const DELTA_FEATURE: &str = "delta";

/// Everything about one attempt at a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sidecar {
    /// The format's version: 1. A newer one is neither used nor removed.
    pub schema: u32,
    /// Features without which a reader must neither use nor remove this backup, nor the one that
    /// its dump's `base` names. `delta` is the only one: the dump is the difference from its base.
    #[serde(default)]
    pub requires: Vec<String>,
    /// `<source>_<label>_<YYYYMMDD>T<HHMMSS>Z`, unique within the store.
    pub id: String,
    /// Shared by all backups of one run.
    #[serde(default)]
    pub run: String,
    /// Every source of that run, where it saved all databases of a server: what a restore of the
    /// whole needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_members: Vec<String>,
    /// The source's name.
    pub source: String,
    /// `sqlite`, `postgres` or `files`.
    pub kind: String,
    /// Why it was made.
    pub label: String,
    /// How it ended.
    pub status: Status,
    /// What the user should know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Free text of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The user's own keys and values.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// UTC, whole seconds; the time in the id.
    pub started_at: DateTime<Utc>,
    /// UTC, whole seconds.
    pub finished_at: DateTime<Utc>,
    /// Seconds, to the millisecond.
    pub duration_seconds: f64,
    /// The dump; none for a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
    /// Facts of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// What is inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The backup before it, where backups are signed: one that is hidden later is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Programs with their versions, and `host`.
    #[serde(default)]
    pub producer: BTreeMap<String, String>,
    /// What `verify_after` found; later ones are events.
    #[serde(default)]
    pub verifications: Vec<Verification>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Where the rest of this sidecar is: the whole of it, encrypted. Then there are no tables,
    /// places, warnings, descriptions, tags and texts of errors here, and no hash of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedPart>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A whole backup.
    Ok,
    /// It restores, but lacks something named in the warnings.
    Partial,
    /// There is no dump.
    Failed,
}

impl Status {
    /// The word in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Partial => "partial",
            Status::Failed => "failed",
        }
    }
}

/// The one file of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dump {
    /// Its name, in the sidecar's own directory.
    pub file: String,
    /// What the decoded content is: `sqlite3`, `pg_dump-custom`, `pg_dump-plain`, `tar`.
    pub format: String,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// SHA-256 of the file as stored, in hex: what `sha256sum` prints.
    pub sha256: String,
    /// Bytes before compression and encryption.
    pub content_size_bytes: u64,
    /// SHA-256 of the content before compression and encryption, in hex; null where it is sealed.
    pub content_sha256: Option<String>,
    /// `none`, `gzip` or `zstd`.
    pub compression: String,
    /// `age`; null: not encrypted.
    pub encryption: Option<String>,
    /// Whom it is encrypted to: of a key of age its first and last characters, of one of SSH what
    /// `ssh-keygen -l` prints. Any one of them opens it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The backup without which this one does not restore; null: it stands alone. Where it is not
    /// null, `requires` says that a reader must know what to do with it.
    pub base: Option<Base>,
    /// Where it stands among the deltas of its full; left out where it stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<DeltaPosition>,
}

/// The backup that a dump is built on: an earlier one of the same source in the same store. It is
/// kept as long as one that is built on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Base {
    /// Its id.
    pub id: String,
    /// SHA-256 of its dump as stored, in hex.
    pub sha256: String,
    /// SHA-256 of its dump's content before compression and encryption, in hex: tells it again
    /// where a copy was encrypted on its way; null where it is sealed.
    pub content_sha256: Option<String>,
}

/// Where a delta stands among those that come down to the same full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeltaPosition {
    /// The id of the full.
    pub full: String,
    /// Its number among the backups since the full, which has the number 0.
    pub number: u64,
    /// How many deltas are needed for it, itself included.
    pub depth: u64,
    /// Bytes as stored of the deltas on its way, itself included and the full not.
    pub way_bytes: u64,
}

/// The newest backup of the same source that was in the store when a backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Previous {
    /// Its id.
    pub id: String,
    /// SHA-256 of its sidecar as stored, in hex.
    pub sha256: String,
}

/// The error of a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// One line.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How thoroughly a backup is looked at; the deepest comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The stored bytes are those that were written.
    Checksum,
    /// It decodes, and what is inside is sound and equal to the manifest.
    Content,
    /// A drill: a real restore into a scratch place.
    Restore,
}

impl Level {
    /// Every level, the deepest last.
    pub const ALL: [Level; 3] = [Level::Checksum, Level::Content, Level::Restore];

    /// The word in JSON, in tables and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Checksum => "checksum",
            Level::Content => "content",
            Level::Restore => "restore",
        }
    }
}

/// One verification and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verification {
    /// When it ended, UTC, whole seconds.
    pub at: DateTime<Utc>,
    /// How thorough it was.
    pub level: Level,
    /// What it found.
    pub status: CheckStatus,
    /// Seconds, to the millisecond.
    pub duration_seconds: f64,
    /// What was wrong, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same for a line among many, without hashes; left out where it would be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The host that verified it, where that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Verification {
    /// What a store's own proof of an upload comes to: its bytes are those that were written.
    pub fn confirmed(at: DateTime<Utc>) -> Verification {
        Verification {
            at,
            level: Level::Checksum,
            status: CheckStatus::Ok,
            duration_seconds: 0.0,
            detail: None,
            summary: None,
            host: None,
        }
    }
}

/// Why a sidecar can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SidecarFault {
    /// Not JSON, or JSON that is no sidecar.
    Malformed(String),
    /// Written by a newer version; the number is its schema.
    Newer(u32),
    /// It needs features that this version does not have.
    Requires(Vec<String>),
}

impl std::fmt::Display for SidecarFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SidecarFault::Malformed(why) => write!(f, "the sidecar is damaged ({why})"),
            SidecarFault::Newer(schema) => {
                write!(
                    f,
                    "the sidecar was written by a newer dbbackup (schema {schema}, this version \
                     reads {SCHEMA})"
                )
            }
            SidecarFault::Requires(what) => {
                write!(f, "it needs a newer dbbackup (for {})", what.join(", "))
            }
        }
    }
}

impl Sidecar {
    /// The objects that belong to it: the dump, and, where there are such, the list of contents and
    /// the sealed part.
    pub fn files(&self) -> Vec<String> {
        let dump = self.dump.iter().map(|dump| dump.file.clone());
        let contents = self.contents().map(|contents| contents.file.clone());
        let sealed = self.sealed.iter().map(|part| part.file.clone());
        dump.chain(contents).chain(sealed).collect()
    }

    /// The list of what is inside, where it is a file of its own.
    pub fn contents(&self) -> Option<&Contents> {
        self.manifest.as_ref()?.tree.as_ref()?.contents.as_ref()
    }

    /// Reads a sidecar's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Sidecar, SidecarFault> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
            #[serde(default)]
            requires: Vec<String>,
        }
        let malformed = |error: serde_json::Error| SidecarFault::Malformed(error.to_string());
        match serde_json::from_slice::<Sidecar>(bytes) {
            Ok(sidecar)
                if sidecar.schema == SCHEMA && unknown_features(&sidecar.requires).is_empty() =>
            {
                Ok(sidecar)
            }
            result => {
                let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
                if head.schema > SCHEMA {
                    Err(SidecarFault::Newer(head.schema))
                } else if !unknown_features(&head.requires).is_empty() {
                    Err(SidecarFault::Requires(unknown_features(&head.requires)))
                } else {
                    let unknown =
                        || SidecarFault::Malformed(format!("unknown schema {}", head.schema));
                    Err(result.err().map_or_else(unknown, malformed))
                }
            }
        }
    }

    /// The bytes to store: indented, for people who look with a pager.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Those of the required features that this version does not have.
fn unknown_features(requires: &[String]) -> Vec<String> {
    let is_unknown = |feature: &&String| *feature != DELTA_FEATURE;
    requires.iter().filter(is_unknown).cloned().collect()
}

/// The id of the backup that another one needs, from the bytes of a sidecar that this version can't
/// use: what a newer version needs must be kept for it.
pub fn needed_id(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let id = value.get("dump")?.get("base")?.get("id")?;
    id.as_str().map(str::to_owned)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // These types hold nothing that JSON can't: no maps with keys other than strings, no fallible
    // serializer. A path that is not UTF-8 is made printable before it gets here.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
