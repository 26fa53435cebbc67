//! Other embedded databases in a tree (RocksDB, LMDB, DuckDB …), found by their typical files.
//! Their files fit together only while nobody writes, so there is a warning for one that a program
//! has open.

use super::place::TreePlace;
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

/// The databases of a directory: the file that is locked while the database is open, a file beside
/// it that makes the kind sure, and the name of the kind.
const DIRECTORY_DATABASES: &[(&str, &str, &str)] = &[
    ("LOCK", "CURRENT", "a RocksDB or LevelDB database"),
    ("lock.mdb", "data.mdb", "an LMDB database"),
    (".lock", "catalog.kz", "a Kuzu database"),
    ("ibdata1", "mysql", "the data directory of MySQL or MariaDB"),
    (
        "WiredTiger.lock",
        "WiredTiger",
        "the data directory of MongoDB",
    ),
];

/// The databases of one file: the offset of typical bytes, these bytes, and the name of the kind.
const FILE_DATABASES: &[(usize, &[u8], &str)] = &[
    (0, b"KUZU", "a Kuzu database"),
    (8, b"DUCK", "a DuckDB database"),
];

/// Warns of a database in the directory of this file, if the file is its lock and a program has it
/// open.
pub fn warn_of_directory(place: &TreePlace) -> Option<String> {
    let (name, directory) = (place.leaf().to_str()?, place.path().parent()?);
    let has_file = |name: &str| place.sibling(OsStr::new(name)).meta().is_ok();
    if name == "postmaster.pid" && has_file("PG_VERSION") {
        return Some(format!(
            "`{}` is the data directory of a PostgreSQL server that runs: its files do not fit \
             together; use a source of kind \"postgres\"",
            directory.display()
        ));
    }
    let (_, _, kind) = DIRECTORY_DATABASES
        .iter()
        .find(|(lock, other, _)| *lock == name && has_file(other))?;
    let file = place.open().ok()?;
    find_lock(&file).map(|lock| warning_text(directory, kind, lock.pid))
}

/// Warns of a database that is one file, known by its first bytes, if a program has it open.
pub fn warn_of_file(path: &Path, file: &File, start: &[u8]) -> Option<String> {
    let kind = file_database(start)?;
    find_lock(file).map(|lock| warning_text(path, kind, lock.pid))
}

/// The kind of the database that a file with these first bytes is.
pub fn file_database(start: &[u8]) -> Option<&'static str> {
    let is_kind = |(at, magic, _): &&(usize, &[u8], &str)| {
        (start.get(*at..)).is_some_and(|rest| rest.starts_with(magic))
    };
    FILE_DATABASES
        .iter()
        .find(is_kind)
        .map(|(_, _, kind)| *kind)
}

/// Finds a lock of another process on the file. This takes no lock.
fn find_lock(file: &File) -> Option<Flock> {
    let wanted = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    fcntl_getlk(file, &wanted).ok()?
}

/// The warning of an open database, with the process that holds its lock.
fn warning_text(path: &Path, kind: &str, pid: Option<Pid>) -> String {
    let holder = pid.map_or("a program".to_owned(), |pid| {
        format!("process {}", pid.as_raw_nonzero())
    });
    format!(
        "`{}` is {kind} that {holder} has open: what was saved of it may not fit together; stop \
         the program, or have it checkpoint, in a `before` hook",
        path.display()
    )
}
