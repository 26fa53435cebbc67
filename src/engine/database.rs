//! Facts of a database that its dump does not hold, or that a restore must know beforehand; the
//! sidecar stores them as they are.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Facts of a database; each kind of source fills the fields that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Database {
    /// The database's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The top paths of a tree of files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// The file's owner and group, as `user:group`, numbers where there is no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The file's permissions, as `0640`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The database's size in bytes, uncompressed.
    pub size_bytes: u64,
    /// SQLite's page size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// The text encoding: `UTF-8`, `UTF-16le`…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// `none`, `full` or `incremental`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_vacuum: Option<String>,
    /// `wal`, `delete`, … as it was in the live database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_mode: Option<String>,
    /// The application's own version number of the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_version: Option<i32>,
    /// The application's id in the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_id: Option<i32>,
    /// Rows whose foreign key points nowhere, as they were at backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_key_violations: Option<u64>,
    /// Its files before the snapshot was taken, where it was at rest: while they are the same,
    /// nothing was committed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Box<DatabaseStamp>>,

    /// A tree of files: when what was at rest then can be known to be unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree_stamp: Option<Box<TreeStamp>>,

    /// PostgreSQL: the database's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The server's host, or the directory of its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The server's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The role that read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The server's version, as `15.18`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// The number that a cluster, its standbys and its copies have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// The source of the configuration that stands for all databases of its server, where this is
    /// one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The patterns by which something of the database was left out of the dump; none where all of
    /// it is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selected_by: Vec<String>,
    /// Collation and character types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<Locale>,
    /// What belongs to the database itself and is in no dump of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// What a restore needs to be installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// The roles that own something or were granted something in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The tablespaces, besides the database's own, that something in it lies in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<String>,
    /// The directories of those, by their names, where the role may know them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tablespace_locations: BTreeMap<String, String>,
}

/// The files of a SQLite database at a moment, on a running system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatabaseStamp {
    /// The id that the kernel has until its next start.
    pub boot: String,
    /// When that start was, by the clock of the moment: it is another one after the clock was set.
    pub booted_at: DateTime<Utc>,
    /// The database's file.
    pub file: FileStamp,
    /// Its -wal; left out where there was none, or an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<FileStamp>,
}

/// What of a file changes with every write to it, and when another one takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileStamp {
    /// The number of its device.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// When its content was last written to (mtime), to the nanosecond.
    pub modified: DateTime<Utc>,
    /// When it, its name or its times were last changed (ctime), to the nanosecond.
    pub changed: DateTime<Utc>,
}

/// What the times of a tree's files mean that were noted when it was read, on a running system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TreeStamp {
    /// The id that the kernel has until its next start.
    pub boot: String,
    /// When that start was, by the clock of the moment: it is another one after the clock was set.
    pub booted_at: DateTime<Utc>,
    /// A file that was last changed (ctime) before this moment was at rest when it was read: while
    /// it has the same times, it has the same content.
    pub at_rest_since: DateTime<Utc>,
}

/// How a PostgreSQL database sorts and classifies characters, as `CREATE DATABASE` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Locale {
    /// `c` (the system's library), `i` (ICU) or `b` (built in), as in `pg_database.datlocprovider`.
    pub provider: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The locale of the other providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Rules that ICU adds to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
}

/// What belongs to a PostgreSQL database itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Settings {
    /// Its owner.
    pub owner: String,
    /// Who may do what with it; `None` where nothing was ever granted or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Setting>,
    /// Its comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How many sessions it allows; -1: any number.
    pub connection_limit: i32,
    /// Its default tablespace.
    pub tablespace: String,
    /// Whether it is a template.
    pub is_template: bool,
    /// Security labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_labels: Vec<SecurityLabel>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            owner: String::new(),
            grants: None,
            set: Vec::new(),
            comment: None,
            connection_limit: -1,
            tablespace: "pg_default".into(),
            is_template: false,
            security_labels: Vec::new(),
        }
    }
}

/// A privilege on a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grant {
    /// The role; `None` is everybody.
    pub to: Option<String>,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// Whether the role may grant it to others.
    #[serde(default)]
    pub grantable: bool,
}

/// A configuration parameter that holds in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Setting {
    /// Only for this role; `None` for every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value, as `pg_db_role_setting` has it.
    pub value: String,
}

/// A label of a security provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecurityLabel {
    /// The provider.
    pub provider: String,
    /// The label.
    pub label: String,
}

/// An extension that a database has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The schema that its objects are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}
