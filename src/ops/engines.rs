//! What operations do with a source of any kind: from a plan to its engine, from a stored dump to
//! the place where it is tried.

use super::Observer;
use super::content::{self, StoredDump};
use crate::catalog::Backup;
use crate::engine::files::base_tree::TreeBase;
use crate::engine::files::{self, FilesSource};
use crate::engine::postgres::PostgresSource;
use crate::engine::postgres::content::DumpContentCheck;
use crate::engine::postgres::drill::{self, DrillPlan, PostgresDrill};
use crate::engine::postgres::programs::PostgresVersion;
use crate::engine::postgres::server::{Availability, DrillSite};
use crate::engine::postgres::source::PreflightWarning;
use crate::engine::sqlite::{SqliteDestination, SqliteSource};
use crate::engine::{Database, Depth, Destination, DumpFormat, Source};
use crate::error::{Error, Result};
use crate::pipeline::{Codec, Encoding};
use crate::plan::{DrillSettings, SourceKind, SourcePlan};
use crate::scratch;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where and how an examination works.
pub struct ExaminationOptions<'a> {
    /// Where trial restores are made.
    pub scratch_dir: &'a Path,
    /// The number of threads that decode.
    pub threads: usize,
    /// How trial restores are made.
    pub drill_settings: &'a DrillSettings,
    /// Hears of the progress.
    pub observer: &'a dyn Observer,
}

/// A source that was opened.
pub enum Engine {
    Sqlite(SqliteSource),
    Postgres(Box<PostgresSource>),
    Files(Box<FilesSource>),
}

impl Engine {
    /// Looks whether the source can be backed up, and connects where there is something to connect
    /// to; nothing is locked.
    pub fn open(source: &SourcePlan) -> Result<Engine> {
        match &source.kind {
            SourceKind::Sqlite {
                path,
                spool,
                lock_timeout,
            } => Ok(Engine::Sqlite(SqliteSource::new(
                path,
                *spool,
                &source.settings.scratch_dir,
                *lock_timeout,
            ))),
            SourceKind::Postgres(plan) => {
                PostgresSource::open(plan).map(|source| Engine::Postgres(Box::new(source)))
            }
            SourceKind::Files(plan) => {
                FilesSource::open(plan).map(|source| Engine::Files(Box::new(source)))
            }
            SourceKind::Cluster(_) => {
                Err(Error::failed("a cluster is backed up database by database"))
            }
        }
    }

    /// What a dry run looks at besides.
    pub fn probe(&self) -> Result<()> {
        match self {
            Engine::Sqlite(source) => source.probe(),
            Engine::Postgres(_) | Engine::Files(_) => Ok(()),
        }
    }

    /// Does what a backup begins with, and lets go: what it would do, what it would lack, and the
    /// bytes that it needs in the scratch directory.
    pub fn rehearse(&mut self) -> Result<(String, Vec<PreflightWarning>, u64)> {
        match self {
            Engine::Sqlite(source) => source
                .rehearse()
                .map(|(text, scratch)| (text, Vec::new(), scratch)),
            Engine::Postgres(source) => source
                .rehearse()
                .map(|(text, concerns)| (text, concerns, 0)),
            Engine::Files(source) => source.rehearse().map(|text| (text, Vec::new(), 0)),
        }
    }

    /// Whether a trial restore of its backups can be made here, and where, or why not; and the
    /// bytes that it needs in the scratch directory.
    pub fn can_drill(&self, source: &SourcePlan) -> Result<(Availability<String>, u64)> {
        let size = self.estimate();
        let Engine::Postgres(opened) = self else {
            return Ok((
                Availability::Available("into the scratch directory".to_owned()),
                size,
            ));
        };
        let major = opened
            .database()
            .server_version
            .as_deref()
            .and_then(PostgresVersion::parse)
            .map_or(0, |version| version.major);
        let drill_settings = &source.drill_settings;
        // The decoded dump, and the database made of it.
        let room = if drill_settings.drill_url.is_some() {
            size
        } else {
            size.saturating_mul(2).saturating_add(128 << 20)
        };
        let whose = DrillSite {
            parent: &source.settings.scratch_dir,
            trusted: drill_settings.trusted,
            hidden: &[],
        };
        Ok((
            drill::check_availability(
                &drill_settings.search,
                drill_settings.drill_url.as_deref(),
                major,
                &whose,
            )?,
            room,
        ))
    }

    pub fn as_source(&mut self) -> &mut dyn Source {
        match self {
            Engine::Sqlite(source) => source,
            Engine::Postgres(source) => source.as_mut(),
            Engine::Files(source) => source.as_mut(),
        }
    }

    /// Lets a tree be written beside an earlier backup of it.
    pub fn set_tree_base(&mut self, base: TreeBase) {
        if let Engine::Files(source) = self {
            source.set_base(base);
        }
    }

    pub fn estimate(&self) -> u64 {
        match self {
            Engine::Sqlite(source) => source.estimate(),
            Engine::Postgres(source) => source.estimate(),
            Engine::Files(source) => source.estimate(),
        }
    }

    /// Whether it is, without reading it, what a backup found that noted these facts.
    pub fn is_unchanged_since(&self, then: &Database) -> bool {
        match self {
            Engine::Sqlite(source) => source.is_unchanged_since(then),
            Engine::Postgres(_) | Engine::Files(_) => false,
        }
    }

    /// Whether what it holds lies in its dumps as in that of a backup that noted these facts: else
    /// one is no base for the other.
    pub fn has_layout_of(&self, then: &Database) -> bool {
        match self {
            Engine::Sqlite(source) => source.has_layout_of(then),
            Engine::Postgres(_) | Engine::Files(_) => true,
        }
    }

    /// About how large its first dump will be, packed, by a sample of what there is; a tenth where
    /// none can be had: that is the least to expect.
    pub fn packed_estimate(&self, codec: Codec) -> u64 {
        let estimate = self.estimate();
        let Engine::Sqlite(source) = self else {
            return estimate / 10;
        };
        let packed = || -> Result<f64> {
            let sample = source.sample()?;
            let mut encode = Encoding::new(codec).start(Vec::new())?;
            encode.write_all(&sample)?;
            let (_, measured) = encode.finish()?;
            Ok(measured.stored.size as f64 / (sample.len() as f64).max(1.0))
        };
        // What keeps it from being read is told by the backup itself.
        packed().map_or(estimate / 10, |share| (estimate as f64 * share) as u64)
    }

    /// Where it is, for messages.
    pub fn place(&self, source: &SourcePlan) -> String {
        match (self, &source.kind) {
            (Engine::Postgres(opened), SourceKind::Postgres(plan)) => {
                place_in(DumpFormat::Postgres(plan.format), opened.database())
            }
            (Engine::Postgres(opened), _) => place_of(opened.database()),
            (Engine::Files(opened), _) => paths_text(opened.paths()),
            (_, SourceKind::Sqlite { path, .. }) => path.display().to_string(),
            _ => source.name.clone(),
        }
    }
}

/// Removes what killed runs left where this source is read and tried; a restore that was killed in
/// the middle of an exchange is finished.
pub fn sweep(source: &SourcePlan) -> Result<()> {
    if let SourceKind::Sqlite { path, .. } = &source.kind {
        SqliteDestination::sweep(path);
    }
    if let SourceKind::Files(plan) = &source.kind {
        for path in &plan.paths {
            files::swap::sweep(path)?;
        }
    }
    scratch::sweep(
        &source.settings.scratch_dir,
        crate::engine::sqlite::source::SCRATCH_PREFIX,
    );
    crate::engine::postgres::server::sweep(&source.settings.scratch_dir);
    Ok(())
}

/// What a dump of a server's roles and tablespaces holds, which belong to none of its databases.
pub const GLOBALS: &str = "roles and tablespaces";

/// Where the content of a dump of this format comes from: the roles of a server are read through a
/// database, and belong to none.
pub fn place_in(format: DumpFormat, database: &Database) -> String {
    match &database.host {
        Some(host) if format == DumpFormat::GLOBALS => {
            format!("{GLOBALS} of {host}:{}", database.port.unwrap_or(5432))
        }
        _ => place_of(database),
    }
}

/// `shop on db.internal:5432`, or a path.
pub fn place_of(database: &Database) -> String {
    match (&database.name, &database.host, &database.path) {
        (Some(name), Some(host), _) => {
            format!("{name} on {host}:{}", database.port.unwrap_or(5432))
        }
        (_, _, Some(path)) => path.display().to_string(),
        _ if !database.paths.is_empty() => paths_text(&database.paths),
        _ => "an unknown place".to_owned(),
    }
}

fn paths_text(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the last backup of this name was of the same database; else where that one is, and where
/// this one.
pub fn belongs_elsewhere(
    engine: &Engine,
    source: &SourcePlan,
    last: &Backup,
    host: &str,
) -> Option<(String, String)> {
    let then = last.sidecar.database.as_ref()?;
    let made_on = last
        .sidecar
        .producer
        .get("host")
        .cloned()
        .unwrap_or_default();
    match (engine, &source.kind) {
        (Engine::Postgres(opened), _) => {
            let now = opened.database();
            // A server is known by its number, whatever it is called from here.
            let same_server = match (&then.system_identifier, &now.system_identifier) {
                (Some(then), Some(now)) => then == now,
                _ => then.host == now.host && then.port == now.port,
            };
            (!same_server || then.name != now.name).then(|| {
                (
                    format!("`{}`", place_of(then)),
                    format!("`{}`", place_of(now)),
                )
            })
        }
        (_, SourceKind::Sqlite { path, .. }) => {
            let here = path.canonicalize().unwrap_or_else(|_| path.clone());
            let origin = then.path.clone().unwrap_or_default();
            let same = origin.to_string_lossy() == here.to_string_lossy() && made_on == host;
            (!same).then(|| {
                (
                    format!("`{}` on {made_on}", place_of(then)),
                    format!("`{}` on {host}", here.display()),
                )
            })
        }
        (Engine::Files(opened), _) => {
            let same =
                then.paths.iter().any(|path| opened.paths().contains(path)) && made_on == host;
            (!same).then(|| {
                (
                    format!("`{}` on {made_on}", place_of(then)),
                    format!("`{}` on {host}", paths_text(opened.paths())),
                )
            })
        }
        _ => None,
    }
}

/// A place where a stored dump is tried, by its format.
pub fn trial<'a>(
    stored: &'a StoredDump<'_>,
    content_size: u64,
    depth: Depth,
    means: &ExaminationOptions<'_>,
) -> Result<Box<dyn Destination + 'a>> {
    let format = match stored.format {
        DumpFormat::Postgres(format) => format,
        DumpFormat::Sqlite => {
            return Ok(Box::new(SqliteDestination::drill(
                means.scratch_dir,
                content_size,
                stored.database,
            )?));
        }
        DumpFormat::Tar => {
            return Ok(match depth {
                Depth::Content => Box::new(files::content::ContentCheck::new(
                    content::open_list(stored).ok().flatten(),
                )),
                Depth::Drill => Box::new(files::destination::FilesDestination::for_drill(
                    means.scratch_dir,
                    content_size,
                    content::list_opener(stored),
                )?),
            });
        }
    };
    if depth == Depth::Content {
        return Ok(Box::new(DumpContentCheck::new(
            format,
            &means.drill_settings.search,
        )));
    }
    Ok(Box::new(PostgresDrill::new(DrillPlan {
        format,
        recorded: stored.database.cloned().unwrap_or_default(),
        pg_dump_major: pg_dump_major(stored.producer),
        search: means.drill_settings.search.clone(),
        drill_url: means.drill_settings.drill_url.clone(),
        trusted: means.drill_settings.trusted,
        hidden: hidden_from_drills(stored),
        jobs: means.drill_settings.jobs.max(1),
        scratch_dir: means.scratch_dir.to_path_buf(),
        content_size,
    })?))
}

/// What the code that a dump brings must not even see, wherever it lies: the store, and the user's
/// home.
fn hidden_from_drills(stored: &StoredDump<'_>) -> Vec<PathBuf> {
    let file = stored.objects.path(stored.file);
    let source = file
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    let store = source
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    // `/` is the home of some who have none.
    let homes = [
        std::env::var_os("HOME").map(PathBuf::from),
        crate::users::home(),
    ];
    source
        .into_iter()
        .chain(store)
        .chain(homes.into_iter().flatten())
        .collect()
}

/// The major version of the program that made a dump; 0 where unknown.
pub fn pg_dump_major(producer: Option<&std::collections::BTreeMap<String, String>>) -> u32 {
    let version = producer.and_then(|producer| {
        producer
            .get("pg_dump")
            .or_else(|| producer.get("pg_dumpall"))
    });
    version
        .and_then(|text| PostgresVersion::parse(text))
        .map_or(0, |version| version.major)
}
