//! The other names of a database's file. SQLite's log, index and journal are called after the name
//! by which a database was opened. By another name (a hard link; a file that is mounted alone into
//! a container) the database is read without them, and changes that are only in the log are
//! silently missing. If it is written to by two names, it is destroyed.
//!
//! A file does not know its names. They are found by the links in its directory, by the names by
//! which processes have it open, by the locks that lie on it (whoever holds them), and by the list
//! of mounts.

use super::companions;
use super::probe::{self, Header};
use super::registry::{self, FileKey, key_of};
use super::{companion, holders};
use crate::engine::mounts::mounts;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time in which an application makes or removes its files when it opens or closes a database.
const OPENING_TIME: Duration = Duration::from_secs(3);

/// The name by which a database is to be read.
#[derive(Debug)]
pub struct NameInUse {
    /// The name that has the log.
    pub path: PathBuf,
    /// A warning for the user about that name.
    pub warning: Option<String>,
}

/// Finds the name by which a database is in use, or was last: that with a log or journal. `known`
/// are names of the same file in other directories. It is an error if that name can't be known, or
/// if the log is out of reach.
pub fn find_name_in_use(path: &Path, known: &[PathBuf]) -> Result<NameInUse> {
    let found = path
        .metadata()
        .with_context(|| format!("looking at `{}`", path.display()))?;
    if registry::is_open(path) {
        // It was examined when it was opened.
        return Ok(NameInUse {
            path: path.to_path_buf(),
            warning: None,
        });
    }
    if is_mount_point(path) {
        return Err(mounted_alone_error(path));
    }
    let mut others = find_links_beside(path, &found);
    for name in known
        .iter()
        .filter(|name| is_same(name, &found) && !is_one_name(name, path))
    {
        if !others.iter().any(|other| is_one_name(other, name)) {
            others.push(name.clone());
        }
    }
    let wal = matches!(
        probe::header(path)?,
        Header::Database { wal: true } | Header::Empty
    );
    let chosen = find_name_with_log(path, &others)?;
    let mut name = chosen.clone().unwrap_or_else(|| path.to_path_buf());
    if wal && let Some(elsewhere) = find_use_elsewhere(&name, &found)? {
        if chosen.is_some() || !is_same(&elsewhere.name, &found) || !has_log(&elsewhere.name) {
            return Err(in_use_elsewhere_error(path, &elsewhere));
        }
        name = elsewhere.name;
    }
    let hidden = found.nlink().saturating_sub(1 + others.len() as u64);
    let mut warning = None;
    if name != path {
        warning = Some(format!(
            "`{}` is another name of `{}`, which has the log or journal: it was saved by that name",
            path.display(),
            name.display()
        ));
    } else if hidden > 0 && !has_log(path) && !companion(path, "-shm").exists() {
        let text = format!(
            "`{}` has {}, and a log or journal may lie beside {}",
            path.display(),
            names_text(hidden),
            if hidden == 1 { "it" } else { "one of them" }
        );
        if wal {
            return Err(Error::failed(text).with_hint(search_hint(path, &found)));
        }
        warning = Some(format!(
            "{text}: what a crash cut off would not be rolled back"
        ));
    }
    Ok(NameInUse {
        path: name,
        warning,
    })
}

/// Refuses a file that is in use by another name. A restore writes into it, and under another name
/// than the application's it would destroy it.
pub fn refuse_second_name(path: &Path) -> Result<()> {
    let Ok(found) = path.metadata() else {
        return Ok(());
    };
    if is_mount_point(path) {
        return Err(mounted_alone_error(path));
    }
    let others = find_links_beside(path, &found);
    // A restore that was killed has set the file aside and not yet put another one in its place.
    let set_aside = companion(path, ".before-");
    let set_aside = set_aside.as_os_str().as_bytes();
    let hidden = found.nlink().saturating_sub(1 + others.len() as u64);
    let visible: Vec<String> = others
        .iter()
        .filter(|name| !name.as_os_str().as_bytes().starts_with(set_aside))
        .map(|name| format!("`{}`", name.display()))
        .collect();
    if !visible.is_empty() || hidden > 0 {
        let more = (hidden > 0).then(|| names_text(hidden));
        let names: Vec<String> = visible.iter().cloned().chain(more).collect();
        let text = format!(
            "the file `{}` has more than one name (also {}), and whoever uses another one than \
             this would lose it",
            path.display(),
            names.join(" and ")
        );
        let hint = match visible.first() {
            Some(name) => format!(
                "remove the names that no application uses ({name}?), or restore to another place \
                 with `--to`"
            ),
            None => search_hint(path, &found),
        };
        return Err(Error::failed(text).with_hint(hint));
    }
    // In rollback mode there is no log that shows it, and a journal only for moments.
    let elsewhere = find_openers(&found)
        .into_iter()
        .find(|opener| is_in_another_place(opener, path))
        .map(UseElsewhere::by);
    let elsewhere = match elsewhere {
        Some(elsewhere) => Some(elsewhere),
        None => find_use_elsewhere(path, &found)?,
    };
    match elsewhere {
        Some(elsewhere) => Err(in_use_elsewhere_error(path, &elsewhere)),
        None => Ok(()),
    }
}

/// Whether a process has opened the file in another directory, or by another name in the same one.
/// A directory that can't be seen is taken for the same.
fn is_in_another_place(opener: &Opener, path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    let (Some(dir), Some(theirs)) = (real.parent(), opener.name.parent()) else {
        return false;
    };
    // The path is the process's own: a container's volume is a directory of ours under another
    // path.
    let below = theirs.strip_prefix("/").unwrap_or(theirs);
    let theirs = PathBuf::from(format!("/proc/{}/root", opener.pid)).join(below);
    let (Ok(dir), Ok(theirs)) = (dir.metadata(), theirs.metadata()) else {
        return false;
    };
    opener.name.file_name() != real.file_name()
        || (dir.dev(), dir.ino()) != (theirs.dev(), theirs.ino())
}

/// Whether a name, which is not followed, is one of this file.
fn is_same(name: &Path, found: &Metadata) -> bool {
    name.symlink_metadata()
        .is_ok_and(|other| key_of(&other) == key_of(found))
}

/// Whether two paths are one name in one directory.
fn is_one_name(one: &Path, other: &Path) -> bool {
    one.file_name() == other.file_name() && key_of_parent(one) == key_of_parent(other)
}

/// The directory in which a path lies; `None` if it can't be known.
fn key_of_parent(path: &Path) -> Option<FileKey> {
    let dir = path.parent()?.metadata().ok()?;
    Some(key_of(&dir))
}

/// Finds the file's other names in its own directory.
fn find_links_beside(path: &Path, found: &Metadata) -> Vec<PathBuf> {
    if found.nlink() < 2 {
        return Vec::new();
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries
        .map(|entry| dir.join(entry.file_name()))
        .filter(|name| *name != path && is_same(name, found));
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    names
}

/// Whether a database has a log that is not empty, or a live journal.
pub fn has_log(name: &Path) -> bool {
    let log = companion(name, "-wal").symlink_metadata();
    log.is_ok_and(|log| log.len() > 0) || has_live_journal(name)
}

/// Whether a database has a journal whose header was not wiped; SQLite wipes it at the end of a
/// transaction.
pub fn has_live_journal(name: &Path) -> bool {
    // No locks lie on a journal, so it may be opened and closed at any time.
    let mut start = [0; 8];
    let read =
        companions::open_journal(name, None).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start != [0; 8]
}

/// Finds the one name that has a log; `None` if none has.
fn find_name_with_log(path: &Path, others: &[PathBuf]) -> Result<Option<PathBuf>> {
    let mut logged = std::iter::once(path)
        .chain(others.iter().map(PathBuf::as_path))
        .filter(|name| has_log(name));
    match (logged.next(), logged.next()) {
        (Some(one), Some(other)) => Err(Error::failed(format!(
            "`{}` and `{}` are one file, and each has a log or journal: applications have written \
             to it by both names",
            one.display(),
            other.display()
        ))
        .with_hint(
            "stop the applications, and let them use one name; look at the database with `PRAGMA \
               integrity_check`",
        )),
        (one, _) => Ok(one.map(Path::to_path_buf)),
    }
}

/// The use of a database by another name.
struct UseElsewhere {
    name: PathBuf,
    /// The process that uses it; `None` if it can't be looked into.
    pid: Option<u32>,
}

impl UseElsewhere {
    fn by(opener: Opener) -> UseElsewhere {
        UseElsewhere {
            name: opener.name,
            pid: Some(opener.pid),
        }
    }
}

/// Finds a process that uses the database with another log than that of `name`. A lock on the
/// database shows that it is in use, even if the process can't be looked into.
fn find_use_elsewhere(name: &Path, found: &Metadata) -> Result<Option<UseElsewhere>> {
    let deadline = Instant::now() + OPENING_TIME;
    loop {
        let elsewhere = find_other_opener(name, found);
        // An application that opens or closes the database is half-way for a moment.
        if elsewhere.is_none() || Instant::now() >= deadline {
            return Ok(elsewhere);
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks once for what [`find_use_elsewhere`] finds.
fn find_other_opener(name: &Path, found: &Metadata) -> Option<UseElsewhere> {
    // In WAL mode a lock lies on the file for as long as it is open.
    if !holders::has_byte_range_lock(name) {
        return None;
    }
    let own_log = companion(name, "-wal").symlink_metadata().ok();
    let own_log = own_log.map(|log| key_of(&log));
    let mut any_visible = false;
    for opener in find_openers(found) {
        let Some(log) = opener.log else { continue };
        any_visible = true;
        if Some(log) != own_log {
            return Some(UseElsewhere::by(opener));
        }
    }
    // The one that has it open can't be looked into. If this name has an index, it is this name.
    let unseen = !any_visible && own_log.is_none() && !companion(name, "-shm").exists();
    let unexplained =
        unseen && probe::header(name).is_ok_and(|header| header == Header::Database { wal: true });
    unexplained.then(|| UseElsewhere {
        name: PathBuf::new(),
        pid: None,
    })
}

/// A process that has the database open.
struct Opener {
    pid: u32,
    /// Its name for the file.
    name: PathBuf,
    /// The log that it has open by that name.
    log: Option<FileKey>,
}

/// Finds the other processes that have the file open, as far as this user may see.
fn find_openers(found: &Metadata) -> Vec<Opener> {
    let mut found_openers = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let name = descriptors_of(&process.path())
            .filter(|fd| {
                fd.metadata()
                    .is_ok_and(|other| key_of(&other) == key_of(found))
            })
            .find_map(|fd| std::fs::read_link(fd).ok());
        let Some(name) = name else { continue };
        let log_name = companion(&name, "-wal");
        let log = descriptors_of(&process.path())
            .find(|fd| std::fs::read_link(fd).is_ok_and(|other| other == log_name))
            .and_then(|fd| fd.metadata().ok())
            .map(|log| key_of(&log));
        found_openers.push(Opener { pid, name, log });
    }
    found_openers
}

/// The paths of a process's open descriptors; `process` is its directory in /proc.
fn descriptors_of(process: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(process.join("fd"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Whether a file is mounted alone. Then the files beside it here do not belong to it.
fn is_mount_point(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    mounts().iter().any(|mount| mount.point == real)
}

/// The number of hidden names, in words.
fn names_text(count: u64) -> String {
    if count == 1 {
        "another name in some other directory".to_owned()
    } else {
        format!("{count} other names in other directories")
    }
}

/// The hint by which a user finds the other names of a file.
fn search_hint(path: &Path, found: &Metadata) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let points = mounts()
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| real.starts_with(point));
    let point = points
        .max_by_key(|point| point.as_os_str().len())
        .unwrap_or_else(|| PathBuf::from("/"));
    format!(
        "`find '{}' -xdev -inum {}` finds it: name the one that the application uses, and remove \
         the others",
        point.display(),
        found.ino()
    )
}

fn mounted_alone_error(path: &Path) -> Error {
    Error::failed(format!(
        "the file `{}` is mounted alone here (a bind mount, a container's volume), and its log and \
         journal are not",
        path.display()
    ))
    .with_hint(
        "mount the directory that it lies in instead, or run dbbackup where the application's \
           own path is",
    )
}

fn in_use_elsewhere_error(path: &Path, elsewhere: &UseElsewhere) -> Error {
    let by = match elsewhere.pid {
        Some(pid) => format!(
            "process {pid} has it open as `{}`",
            elsewhere.name.display()
        ),
        None => {
            "a program that can't be looked into has it open by another name, with its log there"
                .to_owned()
        }
    };
    Error::failed(format!(
        "`{}` is in use by another name: {by}",
        path.display()
    ))
    .with_hint(
        "name the database as its application does, in its directory; or run dbbackup as \
               root, which sees more",
    )
}
