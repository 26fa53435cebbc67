//! The other names of a database's file. SQLite's log, index and journal are called after the name
//! by which a database was opened: by another name (a hard link; a file that is mounted alone into
//! a container) it is read without them, and what is only in the log is silently missing. Written
//! to by two names it is destroyed.
//!
//! A file does not tell its names. What does: links in its directory, the names by which processes
//! have it open, the locks that lie on it whoever holds them, and whether it is a mount point
//! itself.

use super::beside;
use super::probe::{self, Header};
use super::registry;
use super::{companion, replace};
use crate::engine::mounts::mounts;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an application may take to make or remove its files when it opens or closes a database.
const TO_COME_AND_GO: Duration = Duration::from_secs(3);

/// The name by which a database is to be read.
#[derive(Debug)]
pub struct Name {
    /// The one that has the log.
    pub path: PathBuf,
    /// What the user should know of it.
    pub warning: Option<String>,
}

/// Finds the name by which a database is in use, or was last: that with a log or journal. `known`
/// are names of the same file in other directories. An error where there is no telling, or where
/// the log is out of reach.
pub fn in_use(path: &Path, known: &[PathBuf]) -> Result<Name> {
    let found = path
        .metadata()
        .with_context(|| format!("looking at `{}`", path.display()))?;
    if registry::is_open(path) {
        // Looked at when it was opened.
        return Ok(Name {
            path: path.to_path_buf(),
            warning: None,
        });
    }
    if is_mount_point(path) {
        return Err(mounted_alone(path));
    }
    let mut others = links_beside(path, &found);
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
    let chosen = with_log(path, &others)?;
    let mut name = chosen.clone().unwrap_or_else(|| path.to_path_buf());
    if wal && let Some(elsewhere) = opened_elsewhere(&name, &found)? {
        if chosen.is_some() || !is_same(&elsewhere.name, &found) || !has_log(&elsewhere.name) {
            return Err(in_use_elsewhere(path, &elsewhere));
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
            return Err(Error::failed(text).with_hint(how_to_find(path, &found)));
        }
        warning = Some(format!(
            "{text}: what a crash cut off would not be rolled back"
        ));
    }
    Ok(Name {
        path: name,
        warning,
    })
}

/// A restore writes into the file: under another name than the application's it would destroy it.
pub fn refuse_second_name(path: &Path) -> Result<()> {
    let Ok(found) = path.metadata() else {
        return Ok(());
    };
    if is_mount_point(path) {
        return Err(mounted_alone(path));
    }
    let others = links_beside(path, &found);
    // A restore that was killed has set the file aside and not yet put another one in its place.
    let ours = |name: &Path| {
        name.as_os_str()
            .as_bytes()
            .starts_with(companion(path, ".before-").as_os_str().as_bytes())
    };
    let hidden = found.nlink().saturating_sub(1 + others.len() as u64);
    let told: Vec<String> = others
        .iter()
        .filter(|name| !ours(name))
        .map(|name| format!("`{}`", name.display()))
        .collect();
    if !told.is_empty() || hidden > 0 {
        let more = if hidden > 0 {
            Some(names_text(hidden))
        } else {
            None
        };
        let names: Vec<String> = told.iter().cloned().chain(more).collect();
        let text = format!(
            "the file `{}` has more than one name (also {}), and whoever uses another one than \
             this would lose it",
            path.display(),
            names.join(" and ")
        );
        let hint = match told.first() {
            Some(name) => format!(
                "remove the names that no application uses ({name}?), or restore to another place \
                 with `--to`"
            ),
            None => how_to_find(path, &found),
        };
        return Err(Error::failed(text).with_hint(hint));
    }
    // In rollback mode there is no log to tell by, and a journal only for moments.
    let by_another = openers(&found)
        .into_iter()
        .find(|opener| is_in_another_place(opener, path));
    let by_another = by_another.map(|opener| Elsewhere {
        name: opener.name,
        pid: Some(opener.pid),
    });
    match by_another.map_or_else(
        || opened_elsewhere(path, &found),
        |elsewhere| Ok(Some(elsewhere)),
    )? {
        Some(elsewhere) => Err(in_use_elsewhere(path, &elsewhere)),
        None => Ok(()),
    }
}

/// Whether a process has opened the file in another directory, or by another name in the same one.
/// What can't be seen is taken for the same.
fn is_in_another_place(opener: &Opener, path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    let (Some(dir), Some(theirs)) = (real.parent(), opener.name.parent()) else {
        return false;
    };
    // As that process sees it: a container's volume is a directory of ours under another path.
    let below = theirs.strip_prefix("/").unwrap_or(theirs);
    let theirs = PathBuf::from(format!("/proc/{}/root", opener.pid)).join(below);
    let (Ok(dir), Ok(theirs)) = (dir.metadata(), theirs.metadata()) else {
        return false;
    };
    opener.name.file_name() != real.file_name()
        || (dir.dev(), dir.ino()) != (theirs.dev(), theirs.ino())
}

fn is_same(name: &Path, found: &Metadata) -> bool {
    name.symlink_metadata()
        .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
}

/// Whether two paths are one name in one directory.
fn is_one_name(one: &Path, other: &Path) -> bool {
    let dir = |path: &Path| {
        path.parent()
            .and_then(|dir| dir.metadata().ok())
            .map(|dir| (dir.dev(), dir.ino()))
    };
    one.file_name() == other.file_name() && dir(one) == dir(other)
}

/// The file's other names in its own directory.
fn links_beside(path: &Path, found: &Metadata) -> Vec<PathBuf> {
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

/// A log with something in it, or a journal that is not done with.
pub fn has_log(name: &Path) -> bool {
    let length = |end: &str| {
        companion(name, end)
            .symlink_metadata()
            .map_or(0, |found| found.len())
    };
    length("-wal") > 0 || is_journal(name)
}

/// A journal whose header was not wiped, as SQLite does with one that is done with.
pub fn is_journal(name: &Path) -> bool {
    // No locks lie on a journal, so it may be opened and closed at any time.
    use std::io::Read;
    let mut start = [0; 8];
    let read = beside::open_journal(name, None).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start != [0; 8]
}

/// The one name that has a log; `None` where none has.
fn with_log(path: &Path, others: &[PathBuf]) -> Result<Option<PathBuf>> {
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

/// By whom and under which name a database is in use.
struct Elsewhere {
    name: PathBuf,
    pid: Option<u32>,
}

/// Whether a process uses the database with another log than that of `name`. A lock on it tells
/// that it is in use, also where the process can't be looked into.
fn opened_elsewhere(name: &Path, found: &Metadata) -> Result<Option<Elsewhere>> {
    let deadline = Instant::now() + TO_COME_AND_GO;
    loop {
        let elsewhere = look_for_openers(name, found);
        // An application that opens or closes the database is half-way for a moment.
        if elsewhere.is_none() || Instant::now() >= deadline {
            return Ok(elsewhere);
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn look_for_openers(name: &Path, found: &Metadata) -> Option<Elsewhere> {
    // In WAL mode a lock lies on the file for as long as it is open.
    replace::byte_range_lock_holder(name)?;
    let mine = companion(name, "-wal")
        .symlink_metadata()
        .ok()
        .map(|log| (log.dev(), log.ino()));
    let mut seen = false;
    for opener in openers(found) {
        let Some(log) = opener.log else { continue };
        seen = true;
        if Some(log) != mine {
            return Some(Elsewhere {
                name: opener.name,
                pid: Some(opener.pid),
            });
        }
    }
    // Somebody who can't be looked into: with this name's own index it is this name.
    let unseen = !seen && mine.is_none() && !companion(name, "-shm").exists();
    let unexplained =
        unseen && probe::header(name).is_ok_and(|header| header == Header::Database { wal: true });
    unexplained.then(|| Elsewhere {
        name: PathBuf::new(),
        pid: None,
    })
}

/// A process that has the database open.
struct Opener {
    pid: u32,
    /// As it calls the file.
    name: PathBuf,
    /// Device and inode of the log that it has open by that name.
    log: Option<(u64, u64)>,
}

/// The other processes that have the file open, as far as this user may see.
fn openers(found: &Metadata) -> Vec<Opener> {
    let mut openers = Vec::new();
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
        let descriptors = || {
            std::fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten()
        };
        let same = |path: &Path| {
            path.metadata()
                .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
        };
        let name = descriptors()
            .filter(|fd| same(&fd.path()))
            .find_map(|fd| std::fs::read_link(fd.path()).ok());
        let Some(name) = name else { continue };
        let log_name = companion(&name, "-wal");
        let log = descriptors()
            .find(|fd| std::fs::read_link(fd.path()).is_ok_and(|other| other == log_name));
        let log = log
            .and_then(|fd| fd.path().metadata().ok())
            .map(|log| (log.dev(), log.ino()));
        openers.push(Opener { pid, name, log });
    }
    openers
}

/// Whether a file is mounted alone: then the files beside it here do not belong to it.
fn is_mount_point(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    mounts().iter().any(|mount| mount.point == real)
}

fn names_text(count: u64) -> String {
    if count == 1 {
        "another name in some other directory".to_owned()
    } else {
        format!("{count} other names in other directories")
    }
}

fn how_to_find(path: &Path, found: &Metadata) -> String {
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

fn mounted_alone(path: &Path) -> Error {
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

fn in_use_elsewhere(path: &Path, elsewhere: &Elsewhere) -> Error {
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
