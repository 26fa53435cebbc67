//! A store on another machine: a flat space of objects (`medium`), in which nothing can be renamed
//! and no lock is held.
//!
//! ```text
//! <source>/<id>.<extensions>          an object of a backup, under its own name from the start
//! <source>/<id>.json                  the sidecar, created last and only if there is none
//! <source>/.<id>.draft.json           reserves an id while its backup is being written
//! <source>/.<id>.<random>.upload.json names an upload, so that its parts can be given up later
//! <source>/.<id>.retired.json         the tombstone: what is to be removed, while a backup goes
//! ```
//!
//! Nobody waits for anybody: two runs never get the same id, as the reservation is created only if
//! there is none. A tombstone hides its backup, and whoever sweeps next finishes the removal; where
//! only some keys are trusted, one that none of them has signed means nothing, or whoever may write
//! there could have everything removed. A
//! reservation is swept only when its run surely has ended (see `record`). Nothing is removed
//! because a list does not show something: the object is asked for by its name as well.

mod draft;
mod limit;
pub mod medium;
#[cfg(test)]
pub mod memory;
#[cfg(feature = "object-stores")]
pub mod objects;
#[cfg(not(feature = "object-stores"))]
#[path = "remote/left_out.rs"]
pub mod objects;
pub mod probe;
mod record;
mod retry;
mod server_text;
mod sftp;
mod sweep;
#[cfg(test)]
mod tests;

use super::{
    Access, DeletePermission, Draft, KnownNames, Listing, Location, ObjectFacts, ObjectLock,
    Objects, Properties, RemovalLimit, Retirement, Store, StoreSettings, already_there, free_id,
    ignore_missing, must_be_new, names,
};
use crate::error::{Context, Error, Kind, Result};
use crate::lock::Lock;
use crate::signature::{Signer, TrustedKeys, VerifyingKey};
use chrono::{DateTime, Utc};
use draft::{RemoteDraft, Reservation};
use medium::{Creation, FoundObject, Medium};
use record::{ProcessMark, RecordName, TombstoneRecord};
use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// No sidecar, event or list of contents that is read whole is longer, in bytes. A longer one is
/// not ours.
const LONGEST_SMALL_OBJECT: u64 = 256 << 20;

/// No sidecar is longer, in bytes: one of 100,000 tables is shorter.
const LONGEST_SIDECAR: u64 = 16 << 20;

/// No event, signature, reservation or tombstone is longer, in bytes.
const LONGEST_RECORD: u64 = 4 << 20;

/// How many ids are tried for a new backup.
const MOST_IDS: u32 = 100;

/// See the head of this file.
pub struct RemoteStore {
    location: Location,
    medium: Arc<dyn Medium>,
    rights: StoreRights,
    /// The mark of this process in what it reserves.
    process: Option<ProcessMark>,
    /// What signs its tombstones.
    signer: Option<Signer>,
    /// The keys whose tombstones count.
    trusted: TrustedKeys,
}

/// What this machine may do in a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreRights {
    /// Whether it removes anything.
    pub delete: DeletePermission,
    /// How many of a source's backups it removes in one run.
    pub max_removals: RemovalLimit,
}

/// The error of an object whose key is taken by another one.
fn taken(shown: &str) -> Error {
    Error::failed(format!("`{shown}` is there already, with another content"))
}

impl RemoteStore {
    /// Connects to a store, and checks that it is one.
    pub fn open(settings: &StoreSettings, access: Access) -> Result<RemoteStore> {
        let store = RemoteStore::connect(settings)?;
        store.check_mark(access)?;
        Ok(store)
    }

    /// Connects to a store, without a look at it.
    pub fn connect(settings: &StoreSettings) -> Result<RemoteStore> {
        let medium = medium::connect(&settings.location, &settings.connection)?;
        let store = RemoteStore::new(
            settings.location.clone(),
            medium,
            StoreRights {
                delete: settings.connection.delete,
                max_removals: settings.connection.max_removals,
            },
            ProcessMark::of_this_process(),
        );
        Ok(store.with_keys(settings.signer.clone(), &settings.trust))
    }

    /// The same, which signs its tombstones and asks for signatures.
    pub fn with_keys(self, signer: Option<Signer>, trust: &[VerifyingKey]) -> Self {
        RemoteStore {
            signer,
            trusted: TrustedKeys::from(trust),
            ..self
        }
    }

    /// A store in a medium, without a look at it.
    pub fn new(
        location: Location,
        medium: Arc<dyn Medium>,
        rights: StoreRights,
        process: Option<ProcessMark>,
    ) -> Self {
        RemoteStore {
            location,
            medium,
            rights,
            process,
            signer: None,
            trusted: TrustedKeys::default(),
        }
    }

    fn check_mark(&self, access: Access) -> Result<()> {
        match self.medium.read(super::MARK, LONGEST_SMALL_OBJECT) {
            Ok(bytes) => super::check_mark(&bytes, &self.shown(super::MARK)),
            Err(error) if error.kind() == Kind::NotFound => match access {
                // A copy of a store without its mark will do.
                Access::Read if self.holds_sidecars()? => Ok(()),
                Access::Read => Err(Error::not_found(format!(
                    "`{}` is not a store: there is no `{}` in it",
                    self.location,
                    super::MARK
                ))
                .with_hint(
                    "the store is made by the first backup or copy to it; check its address",
                )),
                Access::Write => self.make_mark(),
            },
            Err(error) => {
                Err(error).with_context(|| format!("opening the store `{}`", self.location))
            }
        }
    }

    fn holds_sidecars(&self) -> Result<bool> {
        for source in self.sources()? {
            let objects = self.list(&source)?.objects;
            if objects.iter().any(|name| names::sidecar_id(name).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn make_mark(&self) -> Result<()> {
        self.must_be_free()?;
        match self.medium.create(super::MARK, &super::new_mark())? {
            Creation::Created => Ok(()),
            Creation::AlreadyThere => {
                let bytes = self.medium.read(super::MARK, LONGEST_SMALL_OBJECT)?;
                super::check_mark(&bytes, &self.shown(super::MARK))
            }
        }
    }

    /// A place becomes a store by being written to: one that somebody uses for something else must
    /// not.
    fn must_be_free(&self) -> Result<()> {
        if let Some(other) = self.medium.first_key()?
            && !self.holds_sidecars()?
        {
            return Err(Error::usage(format!(
                "`{}` is no store, and it is not empty: `{other}` is in it",
                self.location
            ))
            .with_hint(format!("name a new prefix, as `{}/backups`", self.location)));
        }
        Ok(())
    }

    fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }

    fn removes(&self) -> bool {
        self.rights.delete == DeletePermission::Allowed
    }

    fn must_remove(&self) -> Result<()> {
        if self.removes() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "this machine removes nothing in `{}`: `delete = \"never\"`",
            self.location
        ))
        .with_hint("clean up on the machine that may; it sees the same store"))
    }

    /// Everything that the medium has of a source, by names that can be ours.
    fn found(&self, source: &str) -> Result<Vec<FoundObject>> {
        let prefix = format!("{source}/");
        let mut found = self.medium.list(&prefix)?;
        found.retain_mut(|object| {
            let Some(name) = object.key.strip_prefix(&prefix) else {
                return false;
            };
            let may_be_ours = !name.is_empty() && !name.contains('/') && name.len() <= 255;
            if may_be_ours {
                object.key = name.to_owned();
            }
            may_be_ours
        });
        Ok(found)
    }

    /// The names of what the medium has of a backup, records aside.
    fn names_of(&self, source: &str, id: &str) -> Result<Vec<String>> {
        let prefix = key(source, "");
        let found = self.medium.list_beginning(&key(source, id))?.into_iter();
        let names = found.filter_map(|object| {
            let name = object.key.strip_prefix(&prefix)?;
            (names::id_of(name) == Some(id) && !name.contains('/')).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    /// The tombstone of a backup; `None` where there is none, or one that means nothing here.
    fn tombstone(&self, source: &str, id: &str) -> Result<Option<TombstoneRecord>> {
        let key = key(source, &record::tombstone_name(id));
        let bytes = match self.medium.read(&key, LONGEST_RECORD) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            read => read?,
        };
        let is_accepted = |record: &TombstoneRecord| record.is_accepted(source, id, &self.trusted);
        Ok(TombstoneRecord::parse(&bytes).filter(is_accepted))
    }

    /// Sorts what was found of a source; where only some keys are trusted, tombstones are read.
    fn sort_out(&self, source: &str, mut found: Vec<FoundObject>) -> Result<Listing> {
        if !self.trusted.is_empty() {
            let mut meaningless = HashSet::new();
            for object in &found {
                if let Some(RecordName::Tombstone { id }) = RecordName::parse(&object.key)
                    && self.tombstone(source, &id)?.is_none()
                {
                    meaningless.insert(object.key.clone());
                }
            }
            found.retain(|object| !meaningless.contains(&object.key));
        }
        Ok(sorted_out(found, self.medium.tells_time()))
    }

    /// Creates a small object of a source; that it is there already, with the same bytes, is
    /// success: the answer to an earlier try was lost.
    fn create_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        create_once(&*self.medium, &key(source, name), bytes, || {
            self.location.object(source, name)
        })
    }
}

/// The most bytes that are read of an object that is read whole: others may write there, and many
/// are read at once.
fn longest(name: &str) -> u64 {
    if names::sidecar_id(name).is_some() {
        LONGEST_SIDECAR
    } else if names::companion_id(name).is_some() {
        LONGEST_RECORD
    } else {
        LONGEST_SMALL_OBJECT
    }
}

/// The key of an object of a source.
fn key(source: &str, name: &str) -> String {
    format!("{source}/{name}")
}

fn create_once(
    medium: &dyn Medium,
    key: &str,
    bytes: &[u8],
    shown: impl Fn() -> String,
) -> Result<()> {
    match medium.create(key, bytes)? {
        Creation::Created => Ok(()),
        Creation::AlreadyThere if medium.read(key, LONGEST_SMALL_OBJECT)? == bytes => Ok(()),
        Creation::AlreadyThere => Err(taken(&shown())),
    }
}

/// Whether the medium says, asked by name, that there is no such object.
fn is_surely_missing(medium: &dyn Medium, key: &str) -> Result<bool> {
    match medium.size(key) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == Kind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Sorts what was found into objects and the ids of what is not finished. Of a backup with a
/// tombstone the sidecar is not listed, and of one that is only reserved nothing is.
/// The times of the list count where they are the service's own.
fn sorted_out(found: Vec<FoundObject>, tells_time: bool) -> Listing {
    let (mut retired, mut reserved) = (HashSet::new(), HashSet::new());
    let mut unfinished = BTreeSet::new();
    let mut objects = Vec::new();
    for object in found {
        match RecordName::parse(&object.key) {
            Some(record) => {
                unfinished.insert(record.id().to_owned());
                match record {
                    RecordName::Tombstone { id } => retired.insert(names::sidecar_name(&id)),
                    RecordName::Draft { id } => reserved.insert(id),
                    RecordName::Upload { .. } => false,
                };
            }
            None if object.key.starts_with('.') => {}
            None => objects.push(object),
        }
    }
    for object in &objects {
        if let Some(id) = names::sidecar_id(&object.key) {
            reserved.remove(id);
        }
    }
    let facts_of = |object: &FoundObject| ObjectFacts {
        size: object.size,
        written: object.modified.filter(|_| tells_time),
    };
    let is_listed = |object: &FoundObject| {
        let id = names::id_of(&object.key);
        !retired.contains(&object.key) && !id.is_some_and(|id| reserved.contains(id))
    };
    objects.retain(is_listed);
    Listing {
        facts: objects
            .iter()
            .map(|object| (object.key.clone(), facts_of(object)))
            .collect(),
        objects: objects.into_iter().map(|object| object.key).collect(),
        unfinished: unfinished.into_iter().collect(),
    }
}

impl Store for RemoteStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn properties(&self) -> Properties {
        Properties {
            locks: false,
            confirms_writes: true,
            removes: self.removes(),
            max_removals: Some(self.rights.max_removals),
            parallel_reads: Some(self.medium.parallelism()),
        }
    }

    fn sources(&self) -> Result<Vec<String>> {
        let mut sources = self.medium.top_directories()?;
        sources.retain(|name| names::can_be_a_source(name));
        sources.sort();
        sources.dedup();
        Ok(sources)
    }

    fn list(&self, source: &str) -> Result<Listing> {
        self.sort_out(source, self.found(source)?)
    }

    fn objects(&self, source: &str) -> Box<dyn Objects> {
        Box::new(RemoteObjects::new(Arc::clone(&self.medium), source))
    }

    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        self.create_once(source, name, bytes)
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        self.must_remove()?;
        let key = key(source, name);
        // Some media say nothing of an object that was not there.
        self.medium.size(&key)?;
        self.medium.remove(&key)
    }

    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>> {
        let mut listing = self.list(source)?;
        for _ in 0..MOST_IDS {
            let id = free_id(&listing, source, label, at);
            if let Reservation::Granted(draft) = RemoteDraft::reserve(self, source, &id)? {
                return Ok(draft);
            }
            listing.unfinished.push(id);
        }
        Err(Error::failed(format!(
            "`{}` says of {MOST_IDS} names for a backup that each is taken",
            self.location
        )))
    }

    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>> {
        must_be_new(&self.list(source)?, id, &self.location)?;
        let text = match RemoteDraft::reserve(self, source, id)? {
            Reservation::Granted(draft) => return Ok(draft),
            Reservation::Listed => return Err(already_there(id, &self.location)),
            Reservation::Taken => "is being written there by another run, or one that was killed",
            Reservation::BeingRemoved => "is being removed there",
        };
        Err(Error::new(
            Kind::Locked,
            format!("`{id}` {text} (`{}`)", self.location),
        )
        .with_hint(
            "a later run finds it free: the one that is at it ends, and what a killed one left is \
             swept by a machine that may remove, after 7 days whoever left it",
        ))
    }

    fn is_retired(&self, source: &str, id: &str) -> Result<bool> {
        let key = key(source, &record::tombstone_name(id));
        Ok(!is_surely_missing(&*self.medium, &key)? && self.tombstone(source, id)?.is_some())
    }

    fn retire(
        &self,
        source: &str,
        id: &str,
        objects: &[String],
        known: Option<&KnownNames>,
    ) -> Result<Retirement> {
        self.must_remove()?;
        sweep::retire(self, source, id, objects, known)
    }

    fn sweep(&self, source: &str, _: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>> {
        // What is left here is for the machine that may remove it.
        if !self.removes() {
            return Ok(Vec::new());
        }
        sweep::sweep(self, source)
    }

    fn lock(&self, _source: &str, _wait: Duration) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn is_locked(&self, _source: &str) -> bool {
        false
    }

    fn may_write(&self, _source: &str) -> bool {
        true
    }

    fn is_in_use(&self, _source: &str, _name: &str) -> Result<bool> {
        Ok(false)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.medium.free_space()
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.medium.replace(name, bytes)
    }
}

/// The objects of a source.
struct RemoteObjects {
    medium: Arc<dyn Medium>,
    source: String,
}

impl RemoteObjects {
    fn new(medium: Arc<dyn Medium>, source: &str) -> Self {
        RemoteObjects {
            medium,
            source: source.to_owned(),
        }
    }

    fn key(&self, name: &str) -> String {
        key(&self.source, name)
    }
}

impl Objects for RemoteObjects {
    fn names(&self) -> Result<Vec<String>> {
        let prefix = self.key("");
        let found = self.medium.list(&prefix)?;
        let names = found
            .iter()
            .filter_map(|object| object.key.strip_prefix(&prefix))
            .filter(|name| !name.starts_with('.') && !name.contains('/'));
        Ok(names.map(str::to_owned).collect())
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.medium.size(&self.key(name))
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        *bytes = self.medium.read(&self.key(name), longest(name))?;
        Ok(())
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.medium.open(&self.key(name), range)
    }

    fn path(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}
