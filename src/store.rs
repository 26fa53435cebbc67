//! A store holds backups: for each source a set of objects, which are names and bytes. This room
//! knows how a backup comes to be and how it goes; the meaning of a sidecar is not its business.
//!
//! A backup is listed if and only if its sidecar, `<id>.json`, is there. It is written as a draft:
//! its objects can be read back before anybody else sees them, and the sidecar is the last thing
//! that a commit publishes. Retiring a backup takes the sidecar away first. Whatever a crash leaves
//! of either, [`Store::sweep`] knows and removes.

#[cfg(test)]
mod faulty;
mod local;
mod location;
pub mod names;
mod remote;
mod retirement;
mod settings;
mod signed;

#[cfg(test)]
pub use faulty::crash_after;
pub use location::{Location, RemoteAddress};
#[cfg(test)]
pub use remote::memory::store_in_memory;
pub use remote::probe::{
    Destruction, DestructionProbe, ProbeDepth, ProbeOutcome, ProbeStep, StoreProbe, probe,
    probe_destruction,
};
pub use retirement::{KnownNames, ObjectLock, Retirement};
pub use settings::{
    ConnectionSettings, DeletePermission, Rate, RemovalLimit, StoreDirectory, StoreSettings,
    UploadVerification,
};

use crate::error::{Context, Error, Kind, Result};
use crate::lock::Lock;
use crate::signature::{SignatureStatus, TrustedKeys};
use chrono::{DateTime, TimeDelta, Utc};
use local::LocalStore;
use remote::RemoteStore;
use serde::{Deserialize, Serialize};
use signed::SignedStore;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The newest layout of a store that this program knows.
const FORMAT: u32 = 1;

/// The name of the object that makes a place a store.
const MARK: &str = "dbbackup-store.json";

/// Between the writing of a signature and that of its event is never more time than this.
const LONGEST_WRITING: TimeDelta = TimeDelta::hours(24);

/// What the mark of a store says.
#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    #[serde(default)]
    uuid: String,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It must be there, and may be read-only.
    Read,
    /// Made where it is missing, its parents never.
    Write,
}

/// What a medium cannot do, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// A source's lock keeps other runs out. Without it [`Store::lock`] gives none.
    pub locks: bool,
    /// [`PendingObject::finish`] has proven that what is stored is what was written, so that
    /// reading it back at once proves nothing more.
    pub confirms_writes: bool,
    /// Backups may be removed there by this machine.
    pub removes: bool,
    /// How many of a source's backups may be removed in one run; `None` where there is no limit.
    pub max_removals: Option<RemovalLimit>,
    /// How many objects are best read at once; `None` where the machine's cores decide.
    pub parallel_reads: Option<usize>,
}

/// What a store holds of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names of its objects, in no order.
    pub objects: Vec<String>,
    /// What the medium's list tells of them, by their names.
    pub facts: HashMap<String, ObjectFacts>,
    /// The ids of backups that are being written or retired, or were when their run was killed.
    pub unfinished: Vec<String>,
}

/// What a list tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Bytes.
    pub size: u64,
    /// When it was written, by a clock that nobody who writes can set.
    pub written: Option<DateTime<Utc>>,
}

/// A place that holds backups.
///
/// An error is not an absence: only what surely is not there is an error of kind `NotFound`.
/// Whatever else keeps an object from being looked at (a failing disk, a link to a disk that is not
/// mounted) is an error of another kind, and whoever asks must keep what it asked about.
pub trait Store: Send + Sync {
    /// Where it is.
    fn location(&self) -> &Location;

    /// As messages name it.
    fn name(&self) -> String {
        self.location().to_string()
    }

    /// The directory that the store is in, where it is in one of this machine.
    fn local_path(&self) -> Option<&Path> {
        self.location().local_path()
    }

    /// What the medium cannot do.
    fn properties(&self) -> Properties;

    /// The keys whose signatures count there; with none everything counts.
    fn trusted_keys(&self) -> &TrustedKeys {
        TrustedKeys::NONE
    }

    /// Whether this machine signs what it writes there.
    fn signs(&self) -> bool {
        false
    }

    /// What the signature of this machine is worth there.
    fn own_signature(&self) -> Result<SignatureStatus> {
        Ok(SignatureStatus::Unchecked)
    }

    /// An error where what this machine writes there would not count: it has not got the key that
    /// signs, or that key is not trusted. Who is going to write much asks first.
    fn check_signing(&self) -> Result<()> {
        let signature = self.own_signature()?;
        let Some(objection) = signature.objection() else {
            return Ok(());
        };
        let remedy = match signature {
            SignatureStatus::Missing => {
                "name the key that signs here: `sign_key_file` in [encryption]"
            }
            _ => {
                "add this machine's public key to `trust` of the store; it is in the file beside \
                 its secret key"
            }
        };
        Err(Error::usage(format!(
            "nothing that this machine writes to `{}` would count there: {objection}",
            self.name()
        ))
        .with_hint(remedy))
    }

    /// The sources of which it holds something, sorted.
    fn sources(&self) -> Result<Vec<String>>;

    /// Everything of a source; nothing where the store does not know it.
    fn list(&self, source: &str) -> Result<Listing>;

    /// The objects of a source, to read from. Reading many of them by one value is cheap.
    fn objects(&self, source: &str) -> Box<dyn Objects>;

    /// Writes a small object of a source, durable on return. It is never replaced: where the name
    /// is taken, that is an error.
    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()>;

    /// Removes an object that is no part of a backup; none of that name is an error of kind
    /// `NotFound`.
    fn remove(&self, source: &str, name: &str) -> Result<()>;

    /// Begins a backup of a source, under an id that none has.
    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>>;

    /// Begins a copy of a backup that another store holds, under the id that it has there. A backup
    /// of that id here is an error.
    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>>;

    /// Removes a backup: from its first step on it is not listed any more, and a crash leaves
    /// nothing that a sweep does not remove. `objects` are those that the sidecar names; the
    /// backup's events go with them. Needs no free space. A backup that the store does not let go
    /// yet stays as it is, and so does one with an event that is not among the `known` names, where
    /// the store has no locks and they are given.
    fn retire(
        &self,
        source: &str,
        id: &str,
        objects: &[String],
        known: Option<&KnownNames>,
    ) -> Result<Retirement>;

    /// Whether a backup is being removed: what there is of it goes with the next sweep.
    fn is_retired(&self, _source: &str, _id: &str) -> Result<bool> {
        Ok(false)
    }

    /// Removes what killed runs left of a source, and says what. Call it only under the source's
    /// lock, where there is one: then no draft belongs to a run that is alive. `named_by` says
    /// which objects a sidecar's bytes name; of what has no sidecar only such go, and events.
    fn sweep(&self, source: &str, named_by: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>>;

    /// Takes the one writer's lock of a source; `None` where the store can't lock.
    fn lock(&self, source: &str, wait: Duration) -> Result<Option<Lock>>;

    /// Whether somebody has a source's lock right now, where that can be told.
    fn is_locked(&self, source: &str) -> bool;

    /// Whether this user may write to what the store has of a source.
    fn may_write(&self, source: &str) -> bool;

    /// Whether somebody is reading this object right now; nobody is where there is none.
    fn is_in_use(&self, source: &str, name: &str) -> Result<bool>;

    /// Where the object's bytes are, if its name in the store only leads to another place: a dump
    /// that was moved to a larger disk and linked back.
    fn link_target(&self, _source: &str, _name: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Free bytes, where the store can tell.
    fn free_space(&self) -> Result<Option<u64>>;

    /// Reads a small object that belongs to no source; none of that name is an error of kind
    /// `NotFound`.
    fn read_common(&self, name: &str) -> Result<Vec<u8>>;

    /// Writes a small object that belongs to no source, in place of an older one.
    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Bytes of an object.
    fn size(&self, source: &str, name: &str) -> Result<u64> {
        self.objects(source).size(name)
    }

    /// Reads a small object whole.
    fn read(&self, source: &str, name: &str) -> Result<Vec<u8>> {
        self.objects(source).read(name)
    }

    /// Where an object is in the file system, for messages and other tools.
    fn object_path(&self, source: &str, name: &str) -> Option<PathBuf> {
        self.objects(source).path(name)
    }
}

/// The objects of a source, or of a draft; what is not there is an error of kind `NotFound`.
pub trait Objects: Send + Sync {
    /// Their names, in no order.
    fn names(&self) -> Result<Vec<String>>;

    /// Bytes of an object.
    fn size(&self, name: &str) -> Result<u64>;

    /// Reads a small object whole, in place of what is in `bytes`.
    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()>;

    /// Reads a small object whole.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(name, &mut bytes).map(|()| bytes)
    }

    /// Opens an object; it stays readable to its end although it be removed meanwhile.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        self.open_range(name, 0..u64::MAX)
    }

    /// Opens a part of an object: the bytes of this range, as far as there are so many.
    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>>;

    /// Where an object is in the file system, for messages and other tools.
    fn path(&self, name: &str) -> Option<PathBuf>;

    /// What changes when an object is written anew, without reading it; `None` where the medium
    /// does not tell.
    fn stamp(&self, _name: &str) -> Option<ObjectStamp> {
        None
    }
}

/// Tells one state of an object from another: its file's inode and length, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A backup that is being written. Dropped without [`Draft::commit`] it is gone.
pub trait Draft: Send {
    /// The id that the backup will have.
    fn id(&self) -> &str;

    /// Begins an object of the backup, whose name begins with the id; the name must be free.
    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>>;

    /// Gives a file of this machine, open as `file`, a second name as an object of the backup. No
    /// byte is copied, and whoever has the file's first name may still change it. Where the store
    /// can't do that, that is an error of kind `Usage`.
    fn link(&mut self, name: &str, path: &Path, file: &File) -> Result<()> {
        let _ = (name, file);
        Err(cannot_link(path, "the store is on another machine"))
    }

    /// The finished objects, to be read back before they are published.
    fn objects(&self) -> &dyn Objects;

    /// Has the sidecar of a copy signed by this machine. Else a copy keeps the signature that it
    /// has, which fits only where its sidecar is the same.
    fn sign_copy(&mut self) {}

    /// Makes it a backup, durably: all objects get their names, then the sidecar its own. Where it
    /// fails nothing is listed and nothing stays, as far as the store still obeys.
    fn commit(self: Box<Self>, sidecar: &[u8]) -> Result<()>;
}

/// An object that is being written. Dropped without [`PendingObject::finish`] it is gone.
pub trait PendingObject: Write + Send {
    /// Waits until every byte is durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The error of a file that can't get a second name in a store.
fn cannot_link(path: &Path, why: &str) -> Error {
    Error::usage(format!(
        "`{}` can get no second name in the store: {why}",
        path.display()
    ))
    .with_hint(
        "name a store on the file's own file system with `--store DIR`, or have it copied with \
         `--copy`",
    )
}

/// Opens a store.
pub fn open(settings: &StoreSettings, access: Access) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match &settings.location {
        Location::Directory(root) => {
            if access == Access::Write && settings.require_mount {
                LocalStore::unchecked(root).require_mount()?;
            }
            Arc::new(LocalStore::open(root, access)?)
        }
        Location::Remote { .. } => Arc::new(RemoteStore::open(settings, access)?),
    };
    Ok(SignedStore::wrap(store, settings))
}

/// A store without a look at it: it may still have to be made.
pub fn open_unchecked(settings: &StoreSettings) -> Result<Arc<dyn Store>> {
    Ok(match &settings.location {
        Location::Directory(root) => unchecked_directory(root, settings),
        Location::Remote { .. } => {
            SignedStore::wrap(Arc::new(RemoteStore::connect(settings)?), settings)
        }
    })
}

/// A directory of this machine as a store, without a look at it: one above another that holds a
/// dump may be none. Of the settings only those of signatures matter.
pub fn unchecked_directory(root: &Path, settings: &StoreSettings) -> Arc<dyn Store> {
    SignedStore::wrap(Arc::new(LocalStore::unchecked(root)), settings)
}

/// Whether there is a store at `location`, or copies of sources' directories. What is on another
/// machine is taken for one: nobody writes an address by a slip.
pub fn is_at(location: &Location) -> Result<bool> {
    match location {
        Location::Directory(root) => LocalStore::is_at(root),
        Location::Remote { .. } => Ok(true),
    }
}

/// Whether what is at `location` has the mark of a store, as far as that can be told without
/// asking another machine: what is there is taken for one.
pub fn is_marked_at(location: &Location) -> bool {
    match location {
        Location::Directory(root) => LocalStore::unchecked(root).is_marked(),
        Location::Remote { .. } => true,
    }
}

/// Whether this user may write to the store at `location`, or may be able to make it, as far as
/// that can be told without trying.
pub fn may_be_written_at(location: &Location) -> bool {
    match location {
        Location::Directory(root) => LocalStore::unchecked(root).may_be_written(),
        Location::Remote { .. } => true,
    }
}

/// An error where a store must be on a mounted file system of its own and is not.
pub fn check_mount(settings: &StoreSettings) -> Result<()> {
    match &settings.location {
        Location::Directory(root) if settings.require_mount => {
            LocalStore::unchecked(root).require_mount()
        }
        _ => Ok(()),
    }
}

/// Whether two locations are one store: the same name, or two names of one directory. What is
/// copied from a store to itself is no copy.
pub fn is_same_place(one: &Location, other: &Location) -> bool {
    match (one, other) {
        (Location::Directory(first), Location::Directory(second)) => {
            one == other || LocalStore::is_same(first, second)
        }
        _ => one == other,
    }
}

/// An error where `location` is somebody's directory that is no store and not empty.
pub fn must_be_free(location: &Location) -> Result<()> {
    match location {
        Location::Directory(root) => LocalStore::unchecked(root).must_be_free(),
        Location::Remote { .. } => Ok(()),
    }
}

/// The command that makes a directory a store, empty or not.
pub fn marking_command(root: &Path) -> String {
    let mark = root.join(MARK);
    let mark = crate::units::shell_word(&mark.to_string_lossy());
    format!("`echo '{{\"format\": 1}}' > {mark}`")
}

/// The mark of a new store, as it is stored.
fn new_mark() -> Vec<u8> {
    let mark = Mark {
        format: FORMAT,
        uuid: uuid::Uuid::new_v4().to_string(),
    };
    serde_json::to_vec(&mark).unwrap_or_default()
}

/// An error where the mark `bytes`, shown as `shown`, is damaged or of a newer format.
fn check_mark(bytes: &[u8], shown: &str) -> Result<()> {
    let mark: Mark = serde_json::from_slice(bytes)
        .map_err(|error| Error::failed(format!("`{shown}` is damaged: {error}")))
        .with_hint("write `{\"format\": 1}` into it, if the place is a store")?;
    if mark.format > FORMAT {
        let place = shown.strip_suffix(&format!("/{MARK}")).unwrap_or(shown);
        let text = format!(
            "the store `{place}` has format {}, this version knows {FORMAT}",
            mark.format
        );
        return Err(Error::failed(text).with_hint("use the dbbackup that wrote it, or a newer one"));
    }
    Ok(())
}

/// An error where a store lists a backup of this id.
fn must_be_new(listing: &Listing, id: &str, location: &Location) -> Result<()> {
    if listing.objects.contains(&names::sidecar_name(id)) {
        return Err(already_there(id, location));
    }
    Ok(())
}

fn already_there(id: &str, location: &Location) -> Error {
    Error::failed(format!("`{id}` is in `{location}` already"))
}

/// What is not there need not be removed.
fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

/// The id of a new backup, from what the store holds of its source.
fn free_id(listing: &Listing, source: &str, label: &str, at: DateTime<Utc>) -> String {
    let of_objects = listing.objects.iter().filter_map(|name| names::id_of(name));
    let unfinished = listing.unfinished.iter().map(String::as_str);
    names::new_id(source, label, at, of_objects.chain(unfinished))
}

/// An error where an object's name is not one of the backup `id`.
fn check_name(name: &str, id: &str) -> Result<()> {
    if names::id_of(name) == Some(id) && name.starts_with(id) && name != names::sidecar_name(id) {
        return Ok(());
    }
    Err(Error::failed(format!(
        "`{name}` is no name for an object of the backup `{id}`"
    )))
}

/// What goes with a backup and is alone: the events and signatures of backups that are gone (a
/// host may have added one while another removed the backup), and the signatures of events that
/// killed runs did not write any more.
fn lone_companions<'a>(
    objects: &'a [String],
    unfinished: &[String],
    now: DateTime<Utc>,
) -> Vec<&'a str> {
    let is_companion = |name: &String| names::companion_id(name).is_some();
    if !objects.iter().any(is_companion) {
        return Vec::new();
    }
    let there: HashSet<&str> = objects.iter().map(String::as_str).collect();
    let known: HashSet<&str> = objects
        .iter()
        .filter(|name| !is_companion(name))
        .filter_map(|name| names::id_of(name))
        .chain(unfinished.iter().map(String::as_str))
        .collect();
    let is_alone = |name: &&String| match names::companion_id(name) {
        Some(id) if !known.contains(id) => true,
        // Its event may be written at this moment.
        Some(_) => {
            let is_old = |at: DateTime<Utc>| now.signed_duration_since(at) > LONGEST_WRITING;
            names::signed_name(name).is_some_and(|signed| !there.contains(signed))
                && names::event_time(name).is_some_and(is_old)
        }
        None => false,
    };
    objects
        .iter()
        .filter(is_alone)
        .map(String::as_str)
        .collect()
}

#[cfg(all(test, feature = "object-stores"))]
mod tests;
