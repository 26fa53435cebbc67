//! The part of the plans that is about directories and files.

use super::{PathKind, SourceKind, StorePlan, name_from_path, plain_name};
use crate::config::{BackupSettings, Config, FilesSettings, SqliteFiles};
use crate::engine::files::Plan;
use std::path::{Path, PathBuf};

/// What kind of source these settings describe; `leave_out` are the stores.
pub fn kind(own: &FilesSettings, settings: &BackupSettings, leave_out: Vec<PathBuf>) -> SourceKind {
    SourceKind::Files(Box::new(Plan {
        paths: own.paths.clone(),
        include: own.include.clone(),
        exclude: own.exclude.clone(),
        one_file_system: own.one_file_system,
        raw_databases: own.sqlite == SqliteFiles::Raw,
        off_disk: false,
        leave_out,
        scratch_dir: settings.scratch_dir.clone(),
        lock_timeout: settings.lock_timeout.file,
    }))
}

/// The settings of one path without a configuration.
pub fn settings_of_path(path: &Path) -> FilesSettings {
    FilesSettings {
        paths: vec![path.to_path_buf()],
        ..FilesSettings::default()
    }
}

/// The store that is used, and those of the configuration: none is saved into another.
pub fn stores(config: Option<&Config>, used: &StorePlan) -> Vec<PathBuf> {
    let configured = config.into_iter().flat_map(Config::all_stores);
    std::iter::once(used.location())
        .chain(configured.map(|(_, settings)| &settings.location))
        .filter_map(|location| location.local_path().map(Path::to_path_buf))
        .collect()
}

/// A source's name from a path: that of a directory is all of its name.
pub fn name_of(path: &Path, there: PathKind) -> String {
    match there {
        PathKind::Directory => match path.file_name() {
            Some(name) => plain_name(&name.to_string_lossy()),
            None => "root".to_owned(),
        },
        PathKind::File | PathKind::Missing => name_from_path(path),
    }
}
