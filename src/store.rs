//! A store holds backups: names and bytes in one directory per source. This room knows how a backup
//! comes to be and how it goes; what a backup says of itself is the sidecar's business.
//!
//! A backup is listed if and only if `<id>.json` is there. So a backup is published by giving the
//! dump its name before the sidecar its own, and removed by taking the sidecar's name away first.
//! Whatever a crash leaves has a dot-name, or is a dump that a dot-sidecar knows: [`sweep`] takes
//! both away.

mod local;
#[cfg(test)]
mod memory;

pub use local::Access;
use local::LocalStore;

use crate::error::Result;
use crate::failpoint::fail_point;
use crate::lock::Lock;
use chrono::{DateTime, Utc};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A place that holds backups. Names are plain file names; those that begin with a dot are work in
/// progress.
///
/// An error is not an absence: only what surely is not there is an error of kind `NotFound`.
/// Whatever else keeps an object from being looked at (a failing disk, a link to a disk that is not
/// mounted) is an error of another kind, and whoever asks must keep what it asked about.
pub trait Store: Send + Sync {
    /// What messages call it.
    fn name(&self) -> String;

    /// The sources that have a directory, sorted.
    fn sources(&self) -> Result<Vec<String>>;

    /// The names of everything in a source's directory that may be an object, dot-names too, in no
    /// order; none where there is no directory.
    fn names(&self, source: &str) -> Result<Vec<String>>;

    /// A source's directory, for reading many small objects of it.
    fn small(&self, source: &str) -> Result<Box<dyn Small + '_>>;

    /// Bytes of an object.
    fn size(&self, source: &str, name: &str) -> Result<u64> {
        self.small(source)?.size(name)
    }

    /// Reads a small object whole.
    fn read(&self, source: &str, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.small(source)?.read(name, &mut bytes).map(|()| bytes)
    }

    /// Opens an object; it stays readable to its end although it be removed meanwhile.
    fn open(&self, source: &str, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Begins a new object under a dot-name; the name must be free.
    fn create(&self, source: &str, dot_name: &str) -> Result<Box<dyn Pending>>;

    /// Renames; an object that has the new name already is never overwritten, that is an error.
    fn rename(&self, source: &str, from: &str, to: &str) -> Result<()>;

    /// Writes a small object, replacing an older one atomically; durable on return.
    fn replace(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()>;

    /// Removes an object; none of that name is an error of kind `NotFound`.
    fn remove(&self, source: &str, name: &str) -> Result<()>;

    /// Makes creations, renames and removals of a source durable.
    fn sync(&self, source: &str) -> Result<()>;

    /// Takes the one writer's lock of a source, making its directory where there is none.
    fn lock(&self, source: &str, wait: Duration) -> Result<Lock>;

    /// Whether somebody is reading this object right now; nobody is where there is none.
    fn in_use(&self, source: &str, name: &str) -> Result<bool>;

    /// Where the object's bytes are, if its name in the store only leads to another place: a dump
    /// that was moved to a larger disk and linked back.
    fn elsewhere(&self, _source: &str, _name: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Free bytes, where the store can tell.
    fn free_space(&self) -> Result<Option<u64>>;

    /// The directory that the store is in, where it is in one.
    fn root(&self) -> &Path;

    /// Writes a small object that belongs to no source, replacing an older one.
    fn replace_at_root(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Where the object is in the file system, for messages and other tools.
    fn locate(&self, source: &str, name: &str) -> Option<PathBuf>;
}

/// Opens the store in the directory `root`.
pub fn open(root: &Path, access: Access) -> Result<Box<dyn Store>> {
    Ok(Box::new(LocalStore::open(root, access)?))
}

/// The store in the directory `root`, without a look at it: a directory above another that holds a
/// dump may be none.
pub fn unchecked(root: &Path) -> Box<dyn Store> {
    Box::new(LocalStore::around(root))
}

/// Whether a directory is a store, or holds copies of sources' directories.
pub fn is_at(root: &Path) -> Result<bool> {
    LocalStore::is_at(root)
}

/// An error where `root` must be on a mounted file system of its own and is not.
pub fn require_mount_at(root: &Path) -> Result<()> {
    LocalStore::around(root).require_mount()
}

/// An error where `root` is somebody's directory that is no store and not empty.
pub fn must_be_free(root: &Path) -> Result<()> {
    LocalStore::around(root).must_be_free()
}

/// Looks at the small objects of one source; what is not there is an error of kind `NotFound`.
pub trait Small: Send + Sync {
    /// Bytes of an object.
    fn size(&self, name: &str) -> Result<u64>;

    /// Reads an object whole, in place of what is in `bytes`.
    fn read(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()>;
}

/// An object that is being written. Dropped without [`Pending::finish`] it vanishes.
pub trait Pending: Write + Send {
    /// Waits until every byte is durable under the dot-name. Not calling it loses the object.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The sidecar's name.
pub fn sidecar_name(id: &str) -> String {
    format!("{id}.json")
}

/// The state file's name.
pub fn state_name(id: &str) -> String {
    format!("{id}.state.json")
}

/// The end of the name of a list of what is in a tree.
pub const CONTENTS: &str = ".contents.json.zst";

/// The name of the list of what is in a tree.
pub fn contents_name(id: &str) -> String {
    format!("{id}{CONTENTS}")
}

/// The name of an object while it is work in progress.
pub fn dot(name: &str) -> String {
    format!(".{name}")
}

/// `<source>_<label>_<YYYYMMDD>T<HHMMSS>Z`; where there are such ids already, with the number after
/// their highest: `-2`, `-3`…
pub fn make_id<'a>(
    source: &str,
    label: &str,
    at: DateTime<Utc>,
    taken: impl Iterator<Item = &'a str>,
) -> String {
    let plain = format!("{source}_{label}_{}", at.format("%Y%m%dT%H%M%SZ"));
    let of_this_second = taken.filter(|id| {
        id.strip_prefix(&plain)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    match of_this_second.map(number_of).max() {
        None => plain,
        Some(highest) => format!("{plain}-{}", highest.saturating_add(1)),
    }
}

/// Which of its second an id is: 1, or the number after its time.
pub fn number_of(id: &str) -> u32 {
    id.rsplit_once("Z-")
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(1)
}

/// Splits an id, from its end, into source, label and time; `None` where it is no id.
pub fn split_id(id: &str) -> Option<(&str, &str, &str)> {
    let (head, time) = id.rsplit_once('_')?;
    let (source, label) = head.rsplit_once('_')?;
    let stamp = time.split('-').next()?;
    let shaped = stamp.len() == 16 && stamp.as_bytes()[8] == b'T' && stamp.ends_with('Z');
    (shaped && !source.is_empty() && !label.is_empty()).then_some((source, label, time))
}

/// The id that an object's name begins with, a leading dot aside; `None` where it does not look
/// like one of ours.
pub fn id_of(name: &str) -> Option<&str> {
    let name = name.strip_prefix('.').unwrap_or(name);
    // A source's name may hold dots, so the id ends at the first dot after the time.
    let time = name.rfind("Z").and_then(|_| name.rfind('_'))?;
    let end = name[time..].find('.').map_or(name.len(), |dot| time + dot);
    let id = &name[..end];
    split_id(id).map(|_| id)
}

/// Whether a dump of the backup `id` can have this name: in the same directory, the id and its
/// extensions.
pub fn is_dump_of(file: &str, id: &str) -> bool {
    id_of(file) == Some(id)
        && file.starts_with(id)
        && !file.contains('/')
        && !file.ends_with(".json")
}

/// Writes an object durably under its dot-name.
pub fn write_dot(store: &dyn Store, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let mut pending = store.create(source, &dot(name))?;
    pending.write_all(bytes)?;
    pending.finish()
}

/// Makes a backup of finished `files`, the dump and what belongs to it: the sidecar is written and
/// synced beside them, then all get their names, the sidecar's last. Where it fails nothing is
/// listed and nothing stays, as far as the store still obeys.
pub fn publish(
    store: &dyn Store,
    source: &str,
    id: &str,
    files: &[String],
    sidecar: &[u8],
) -> Result<()> {
    let name = sidecar_name(id);
    let steps = || -> Result<()> {
        write_dot(store, source, &name, sidecar)?;
        store.sync(source)?;
        fail_point("store: sidecar drafted")?;
        for file in files {
            store.rename(source, &dot(file), file)?;
        }
        fail_point("store: dump named")?;
        store.rename(source, &dot(&name), &name)?;
        fail_point("store: backup listed")?;
        store.sync(source)
    };
    steps().inspect_err(|_| discard_unlisted(store, source, id, files))
}

/// Takes away what an unfinished backup left, unless it is listed: then it is whole. A store that
/// can't tell is left for the next sweep, and so are errors.
pub fn discard_unlisted(store: &dyn Store, source: &str, id: &str, files: &[String]) {
    let name = sidecar_name(id);
    if !store
        .names(source)
        .is_ok_and(|names| !names.contains(&name))
    {
        return;
    }
    for file in files {
        let _ = store.remove(source, file);
        let _ = store.remove(source, &dot(file));
    }
    let _ = store.remove(source, &state_name(id));
    let _ = store.remove(source, &dot(&name));
}

/// Removes a backup: the sidecar becomes a dot-sidecar, so that it is no longer listed and a crash
/// from here on leaves debris that is known; then the dump goes, the state, and the dot-sidecar.
/// Needs no free space.
pub fn remove_backup(store: &dyn Store, source: &str, id: &str, files: &[String]) -> Result<()> {
    let name = sidecar_name(id);
    store.rename(source, &name, &dot(&name))?;
    store.sync(source)?;
    fail_point("store: backup unlisted")?;
    for file in files {
        ignore_missing(store.remove(source, file))?;
    }
    fail_point("store: dump removed")?;
    ignore_missing(store.remove(source, &state_name(id)))?;
    ignore_missing(store.remove(source, &dot(&name)))?;
    store.sync(source)
}

fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == crate::error::Kind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes what a killed run left in a source's directory, and says what. Call it only under the
/// source's lock: then no dot-name belongs to a run that is alive.
///
/// A dump without a sidecar goes only if a dot-sidecar of the same id names it.
pub fn sweep(
    store: &dyn Store,
    source: &str,
    named_by: impl Fn(&[u8]) -> Vec<String>,
) -> Result<Vec<String>> {
    let names = store.names(source)?;
    let present = |name: &str| names.iter().any(|known| known == name);
    let mut swept = Vec::new();
    let debris = names
        .iter()
        .filter(|name| name.starts_with('.') && id_of(name).is_some());
    // Dot-sidecars last: until their dumps are gone they are what tells whose those are.
    let (sidecars, others): (Vec<_>, Vec<_>) = debris.partition(|name| is_dot_sidecar(name));
    for name in others {
        ignore_missing(store.remove(source, name))?;
        swept.push(name.clone());
    }
    for name in sidecars {
        let Some(id) = id_of(name) else { continue };
        if !present(&sidecar_name(id)) {
            let bytes = store.read(source, name)?;
            let files = named_by(&bytes)
                .into_iter()
                .filter(|file| id_of(file) == Some(id) && present(file));
            for file in files.chain([state_name(id)].into_iter().filter(|name| present(name))) {
                ignore_missing(store.remove(source, &file))?;
                swept.push(file);
            }
        }
        ignore_missing(store.remove(source, name))?;
        swept.push(name.clone());
    }
    if !swept.is_empty() {
        store.sync(source)?;
    }
    Ok(swept)
}

fn is_dot_sidecar(name: &str) -> bool {
    id_of(name).is_some_and(|id| name == dot(&sidecar_name(id)))
}

#[cfg(test)]
mod tests;
