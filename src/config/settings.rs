//! The settings that are not one kind's: of runs, and those that every source may have.

use crate::engine::sqlite::Spool;
use crate::pipeline::{self, Codec, Encoding};
use crate::setting::{PathResolver, SettingType, WordChoice, WrittenValue, settings};
use crate::sidecar::Level;
use crate::units::Span;
use chrono::{DateTime, Utc};
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// The settings of `[backup]`, each of which a source may set for itself.
    #[derive(Debug, Clone, PartialEq)]
    pub struct BackupSettings {
        /// How dumps are compressed: `"gzip"`, `"zstd"` (smaller and faster) or `"none"`. A level
        /// may follow: `"gzip:1"` to `"gzip:12"`, `"zstd:1"` to `"zstd:19"`. The high ones need
        /// more memory in each thread: 45 MB at `"zstd:12"`.
        pub compression: Codec = Codec::default(),
        /// The number of threads that compress. 0 means one for each core.
        pub threads: usize = 0,
        /// How far a new backup is verified before it is listed: `"checksum"` reads the stored
        /// bytes again, `"content"` decodes them and compares what is inside with the manifest,
        /// `"restore"` makes a drill.
        pub verify_after: Option<Level> = Some(Level::Checksum),
        /// Applies the retention policy after each success, never after a failure; a store of
        /// copies has its own.
        pub cleanup_after: bool = true,
        /// The directory for copies of databases and for drills. It must not lie in the store.
        pub scratch_dir: PathBuf = PathBuf::from("/var/tmp"),
        /// When a SQLite database is copied to `scratch_dir` before it is compressed. `"auto"`
        /// does so where reading would block the writers, which is in rollback-journal mode; never
        /// where the backup is encrypted, as the copy is not.
        pub spool: Spool = Spool::Auto,
        /// How long a backup waits for a database that another program has locked. Not set, it is
        /// one minute, and five for the tables of a PostgreSQL server.
        pub lock_timeout: LockTimeout = LockTimeout::default(),
        /// Makes a backup as the difference from an earlier one, where that is in the same store:
        /// a delta. `"large"` does so from 64 MiB on, `true` from 16 MiB. A full is made where
        /// there is none yet, where the deltas on the way exceed half of it, and where it is
        /// encrypted without `host_key`, or goes to another machine without `cache_dir`.
        pub incremental: Incremental = Incremental::Large,
        /// The age of a full from which on the next backup is a full, as in `"30d"`. Not set, only
        /// the size of the deltas decides.
        pub full_every: Option<Span> = None,
        /// A directory that keeps, as they are stored, the newest full of each source and the
        /// deltas on its way, where backups go straight to a store on another machine: without it
        /// those are fulls. It takes up to one and a half times the fulls.
        pub cache_dir: Option<PathBuf> = None,
        /// The stores, of `[stores]`, that get a copy of each backup after it was made. Earlier
        /// backups that are not there yet follow, the newest first.
        pub copies: Vec<String> = Vec::new(),
        /// How much is copied to one store in one run: a time, as in `"4h"`, or a size, as in
        /// `"50 GiB"`. What is left is for the next run; the newest backup always goes. Not set,
        /// there is no limit.
        pub copy_limit: Option<CopyLimit> = None,
        /// Keeps every backup here until it is in each store of `copies`.
        pub require_copy: bool = false,
        /// How the code that a PostgreSQL dump brings is held during a drill. `"confined"` gives
        /// the throw-away server a world of its own; where that is impossible there is no drill.
        /// `"trusted"` runs the code with the rights of the user who verifies.
        pub drill: DrillTrust = DrillTrust::Confined,
    }
}

impl BackupSettings {
    /// The number of threads that compress or decompress, at least one.
    pub fn thread_count(&self) -> usize {
        pipeline::threads(self.threads)
    }

    /// How dumps are encoded.
    pub fn encoding(&self) -> Encoding {
        Encoding::new(self.compression).with_threads(self.thread_count())
    }
}

settings! {
    /// The settings of `[backup]` that are the whole run's.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RunSettings {
        /// The number of sources that are backed up at once. `--jobs` goes before it.
        pub jobs: usize = 1,
    }
}

settings! {
    /// The settings of `[metrics]`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MetricsSettings {
        /// A file that gets metrics for Prometheus after every run of `dbbackup backup`. Its name
        /// must end in `.prom`, as the textfile collector of node_exporter reads no other.
        pub textfile: Option<PathBuf> = None,
    }
}

settings! {
    /// The settings of `[report]`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ReportSettings {
        /// A file that gets a page of HTML after every run of `dbbackup backup`: how all sources
        /// and stores stand. It is written in one step, so that others may read it (0644, or as a
        /// file that is there, where that is narrower). A file that is no such page is left alone.
        pub html: Option<PathBuf> = None,
    }
}

settings! {
    /// The settings that a source of any kind has for itself.
    #[derive(Debug, Clone, PartialEq)]
    pub struct SourceSettings {
        /// Whether a run that names no source backs this one up.
        pub enabled: bool = true,
        /// A run before this moment skips the source and says so, as in
        /// `"2026-12-01T00:00:00Z"`.
        pub start: Option<DateTime<Utc>> = None,
        /// A run at or after this moment skips the source and says so. It must be later than
        /// `start`.
        pub end: Option<DateTime<Utc>> = None,
        /// A file of `NAME=value` lines: more variables for `${NAME}`, for this source alone. They
        /// go before the environment.
        pub env_file: Option<PathBuf> = None,
        /// For `dbbackup status`: how old the newest good backup may be.
        pub expect_every: Span = Span { seconds: 26 * 3600, months: 0, days: 0 },
        /// For `dbbackup status`: how long ago the last drill may be. Not set, none is asked for.
        pub prove_every: Option<Span> = None,
    }
}

impl SettingType for Codec {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        Codec::parse(&String::read(value, resolve)?)
    }

    fn as_written(&self) -> Option<String> {
        let name = self.name();
        let level = match self {
            _ if Codec::parse(name) == Ok(*self) => String::new(),
            Codec::None => String::new(),
            Codec::Gzip { level } => format!(":{level}"),
            Codec::Zstd { level } => format!(":{level}"),
        };
        Some(format!("\"{name}{level}\""))
    }

    fn type_name() -> String {
        "compression".to_owned()
    }
}

/// `verify_after`: `None` is no verification.
impl WordChoice for Option<Level> {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", None),
        ("checksum", Some(Level::Checksum)),
        ("content", Some(Level::Content)),
        ("restore", Some(Level::Restore)),
    ];
}

impl WordChoice for Spool {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Spool::Auto),
        ("always", Spool::Always),
        ("never", Spool::Never),
    ];
}

/// Which backups are deltas, where nothing else speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incremental {
    /// Those of which a full is not small.
    Always,
    /// Those of which many fulls would take much room.
    Large,
    /// None.
    Never,
}

impl Incremental {
    /// From how many bytes of content on a backup may be a delta; `None`: it never is.
    pub fn smallest(self) -> Option<u64> {
        match self {
            Incremental::Always => Some(16 << 20),
            Incremental::Large => Some(64 << 20),
            Incremental::Never => None,
        }
    }
}

impl SettingType for Incremental {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        if matches!(value, WrittenValue::Text(text) if text.trim() == "large") {
            return Ok(Incremental::Large);
        }
        match bool::read(value, resolve) {
            Ok(true) => Ok(Incremental::Always),
            Ok(false) => Ok(Incremental::Never),
            Err(_) => Err(value.instead_of("true, false or \"large\"")),
        }
    }

    fn as_written(&self) -> Option<String> {
        let text = match self {
            Incremental::Always => "true",
            Incremental::Large => "\"large\"",
            Incremental::Never => "false",
        };
        Some(text.to_owned())
    }

    fn type_name() -> String {
        "true, false or `\"large\"`".to_owned()
    }
}

/// How much is copied to one store in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyLimit {
    /// So long.
    Time(Duration),
    /// So many bytes.
    Size(u64),
}

impl SettingType for CopyLimit {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        if let Ok(time) = Duration::read(value, resolve) {
            return Ok(CopyLimit::Time(time));
        }
        u64::read(value, resolve)
            .map(CopyLimit::Size)
            .map_err(|_| value.instead_of("a time such as \"4h\" or a size such as \"50 GiB\""))
    }

    fn as_written(&self) -> Option<String> {
        match self {
            CopyLimit::Time(time) => time.as_written(),
            CopyLimit::Size(size) => size.as_written(),
        }
    }

    fn type_name() -> String {
        "duration or size".to_owned()
    }
}

/// How long a backup waits for a lock, by where the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTimeout {
    /// For a database that is a file.
    pub file: Duration,
    /// For the tables of a server, which are often locked for minutes, by a migration or a VACUUM
    /// FULL.
    pub server: Duration,
}

impl Default for LockTimeout {
    fn default() -> Self {
        LockTimeout {
            file: Duration::from_secs(60),
            server: Duration::from_secs(300),
        }
    }
}

/// What is written holds for both.
impl SettingType for LockTimeout {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        Duration::read(value, resolve).map(|duration| LockTimeout {
            file: duration,
            server: duration,
        })
    }

    fn as_written(&self) -> Option<String> {
        if self.file == self.server {
            self.file.as_written()
        } else {
            None
        }
    }

    fn type_name() -> String {
        Duration::type_name()
    }
}

/// Whether the code that a dump brings is trusted with the rights of the user who proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrillTrust {
    /// It is not: the throw-away server is confined, or there is no drill.
    Confined,
    /// It is.
    Trusted,
}

impl WordChoice for DrillTrust {
    const ALL: &'static [(&'static str, Self)] = &[
        ("confined", DrillTrust::Confined),
        ("trusted", DrillTrust::Trusted),
    ];
}
