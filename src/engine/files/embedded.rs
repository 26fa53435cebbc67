//! Databases that live in files of their own, found by what is typical of them. Their files only
//! fit together while nobody writes, so one that a program has open is told, with what to do.

use super::place::TreePlace;
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

/// A file that a database locks while it is open, one beside it that makes sure what it is, and
/// what that is.
const KNOWN: &[(&str, &str, &str)] = &[
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

/// Databases of one file: where in it which bytes stand.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"KUZU", "a Kuzu database"),
    (8, b"DUCK", "a DuckDB database"),
];

/// What a directory that has a file of this name holds, if a program has it open: to be told.
pub fn in_directory(place: &TreePlace) -> Option<String> {
    let (name, directory) = (place.leaf().to_str()?, place.path().parent()?);
    let has = |beside: &str| place.beside(OsStr::new(beside)).meta().is_ok();
    if name == "postmaster.pid" && has("PG_VERSION") {
        return Some(format!(
            "`{}` is the data directory of a PostgreSQL server that runs: its files do not fit \
             together; use a source of kind \"postgres\"",
            directory.display()
        ));
    }
    let (_, _, what) = KNOWN
        .iter()
        .find(|(lock, beside, _)| *lock == name && has(beside))?;
    let file = place.open().ok()?;
    held(&file).map(|pid| told(directory, what, pid))
}

/// The same for a database that is one file, by its first bytes.
pub fn in_file(path: &Path, file: &File, start: &[u8]) -> Option<String> {
    let (_, _, what) = MAGIC
        .iter()
        .find(|(at, magic, _)| start.get(*at..).is_some_and(|rest| rest.starts_with(magic)))?;
    held(file).map(|pid| told(path, what, pid))
}

/// Who holds a lock on the file. Asking takes none.
fn held(file: &File) -> Option<Option<Pid>> {
    let wanted = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    fcntl_getlk(file, &wanted).ok()?.map(|lock| lock.pid)
}

fn told(place: &Path, what: &str, pid: Option<Pid>) -> String {
    let who = pid.map_or("a program".to_owned(), |pid| {
        format!("process {}", pid.as_raw_nonzero())
    });
    format!(
        "`{}` is {what} that {who} has open: what was saved of it may not fit together; stop the \
         program, or have it checkpoint, in a `before` hook",
        place.display()
    )
}
