//! The part of the plans that is about directories and files.

use super::{SourceKind, StorePlan, There, lock_timeout, name_from_path, plain_name, scratch_dir};
use crate::config::{BackupKeys, Config, FilesKeys, SqliteFiles};
use crate::engine::files::Plan;
use std::path::{Path, PathBuf};

/// What kind of source these keys describe; `leave_out` are the stores.
pub fn kind(own: &FilesKeys, keys: &BackupKeys, leave_out: Vec<PathBuf>) -> SourceKind {
    SourceKind::Files(Box::new(Plan {
        paths: own.paths.iter().map(PathBuf::from).collect(),
        include: own.include.clone(),
        exclude: own.exclude.clone(),
        one_file_system: own.one_file_system.unwrap_or(false),
        raw_databases: own.sqlite == Some(SqliteFiles::Raw),
        leave_out,
        scratch_dir: scratch_dir(keys),
        lock_timeout: lock_timeout(keys),
    }))
}

/// The keys of one path without a configuration.
pub fn of_path(path: &Path) -> FilesKeys {
    FilesKeys {
        paths: vec![path.to_string_lossy().into_owned()],
        ..FilesKeys::default()
    }
}

/// The store that is used, and those of the configuration: none is saved into another.
pub fn stores(config: Option<&Config>, used: &StorePlan) -> Vec<PathBuf> {
    let configured = config
        .into_iter()
        .flat_map(|config| config.store.iter().chain(config.stores.values()));
    std::iter::once(&used.location)
        .chain(configured.map(|store| &store.location))
        .filter_map(|location| location.local_path().map(Path::to_path_buf))
        .collect()
}

/// A source's name from a path: that of a directory is all of its name.
pub fn name_of(path: &Path, there: There) -> String {
    match there {
        There::Directory => match path.file_name() {
            Some(name) => plain_name(&name.to_string_lossy()),
            None => "root".to_owned(),
        },
        There::File | There::Nothing => name_from_path(path),
    }
}
