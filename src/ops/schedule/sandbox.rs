//! Where the jobs of a configuration must be able to write: the rest of the file system is
//! read-only to them.

use crate::config::{Config, ConfiguredSource, KindSettings, SqliteFiles};
use crate::store::RemoteAddress;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the jobs may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The directories, none inside another one.
    pub directories: Vec<PathBuf>,
    /// Something of the user's is in `/tmp` or `/var/tmp`, which can't be the unit's own then.
    pub uses_tmp: bool,
}

/// The scratch directories that a unit has for itself.
const SHARED_TMP: [&str; 2] = ["/tmp", "/var/tmp"];

impl Sandbox {
    /// What a configuration needs.
    pub fn new(config: &Config) -> Sandbox {
        let mut found = needed_directories(config);
        let is_tmp = |path: &PathBuf| SHARED_TMP.iter().any(|tmp| path == Path::new(tmp));
        let is_in_tmp = |path: &Path| SHARED_TMP.iter().any(|tmp| path.starts_with(tmp));
        let uses_tmp = is_in_tmp(&config.path)
            || found.iter().any(|path| is_in_tmp(path) && !is_tmp(path))
            || config
                .sources
                .iter()
                .any(|(_, source)| paths_of(source).any(is_in_tmp));
        // Never all of it: that is no sandbox.
        found.retain(|path| {
            path.is_absolute() && path != Path::new("/") && (uses_tmp || !is_tmp(path))
        });
        let inside_another = |path: &PathBuf| {
            found
                .iter()
                .any(|other| other != path && path.starts_with(other))
        };
        Sandbox {
            directories: found
                .iter()
                .filter(|path| !inside_another(path))
                .cloned()
                .collect(),
            uses_tmp,
        }
    }
}

fn needed_directories(config: &Config) -> BTreeSet<PathBuf> {
    let mut found: BTreeSet<PathBuf> = BTreeSet::new();
    for (_, store) in config.all_stores() {
        found.extend(store.location.local_path().map(Path::to_path_buf));
        if matches!(store.url, Some(RemoteAddress::Rclone(_))) {
            // It writes new tokens of some clouds there.
            found.extend(crate::users::home().map(|home| home.join(".config/rclone")));
        }
    }
    found.extend(
        config
            .sources
            .iter()
            .flat_map(|(_, source)| directories_of(source)),
    );
    let parent = |path: &PathBuf| path.parent().map(Path::to_path_buf);
    found.extend(config.log.iter().filter_map(|log| parent(&log.file)));
    found.extend(config.metrics.textfile.iter().filter_map(parent));
    found.extend(config.report.html.iter().filter_map(parent));
    found.extend(config.notify.spool.clone());
    // Linked ones where they are, too: a rule for a link's name says nothing of what is behind it.
    let real: Vec<PathBuf> = found
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    found.extend(real);
    found
}

/// The paths that a source reads.
fn paths_of(source: &ConfiguredSource) -> Box<dyn Iterator<Item = &Path> + '_> {
    match &source.kind {
        KindSettings::Sqlite(own) => Box::new(std::iter::once(own.path.as_path())),
        KindSettings::Files(own) => Box::new(own.paths.iter().map(PathBuf::as_path)),
        KindSettings::Postgres(_) => Box::new(std::iter::empty()),
    }
}

/// Reading a SQLite database in WAL mode means writing to the file beside it that its readers
/// share.
fn directories_of(source: &ConfiguredSource) -> Vec<PathBuf> {
    // What it says may not be what is meant.
    if source.fault.is_some() {
        return Vec::new();
    }
    let directory = |path: &Path| {
        if path.is_dir() {
            Some(path.to_path_buf())
        } else {
            path.parent().map(Path::to_path_buf)
        }
    };
    let mut found = vec![source.backup.scratch_dir.clone()];
    found.extend(source.backup.cache_dir.clone());
    match &source.kind {
        KindSettings::Sqlite(own) => {
            found.extend(own.path.parent().map(Path::to_path_buf));
            // The database may be a link to one elsewhere.
            let real = own.path.canonicalize().ok();
            found.extend(
                real.as_deref()
                    .and_then(Path::parent)
                    .map(Path::to_path_buf),
            );
        }
        KindSettings::Files(own) if own.sqlite == SqliteFiles::Snapshot => {
            found.extend(own.paths.iter().filter_map(|path| directory(path)));
        }
        KindSettings::Files(_) | KindSettings::Postgres(_) => {}
    }
    found
}
