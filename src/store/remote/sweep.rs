//! How a backup goes from another machine, and what killed runs leave there.
//!
//! The tombstone comes first and hides the backup; then the sidecar goes, the objects, the events,
//! and the tombstone last. So whoever finds a tombstone knows what is still to be removed. What the
//! service keeps locked stays, and goes with a sweep after the lock's end.

use super::record::{
    RecordName, TombstoneRecord, UploadRecord, draft_name, is_abandoned, tombstone_name,
};
use super::{
    Creation, FoundObject, KnownNames, LONGEST_RECORD, ObjectLock, RemoteStore, Retirement,
    ignore_missing, is_surely_missing, key, taken,
};
use crate::error::{Error, Result};
use crate::failpoint::fail_point;
use crate::store::names::{self, sidecar_name};
use crate::store::{check_name, lone_companions};
use chrono::Utc;

impl RemoteStore {
    /// Removes an object, be it gone already; the lock that holds it, where one does.
    fn remove_object(&self, source: &str, name: &str) -> Result<Option<ObjectLock>> {
        let key = key(source, name);
        let Err(error) = ignore_missing(self.medium.remove(&key)) else {
            return Ok(None);
        };
        match self.medium.lock_of(&key) {
            Ok(Some(lock)) => Ok(Some(lock)),
            // What was asked first is what is told.
            _ => Err(error),
        }
    }

    /// Removes an object and notes its name; what is locked stays, and is not noted.
    fn sweep_object(&self, source: &str, name: &str, swept: &mut Vec<String>) -> Result<()> {
        if self.remove_object(source, name)?.is_none() {
            swept.push(name.to_owned());
        }
        Ok(())
    }

    fn read_small(&self, source: &str, name: &str) -> Result<Vec<u8>> {
        self.medium.read(&key(source, name), LONGEST_RECORD)
    }
}

/// Removes a backup; see [`crate::store::Store::retire`].
pub fn retire(
    store: &RemoteStore,
    source: &str,
    id: &str,
    objects: &[String],
    known: Option<&KnownNames>,
) -> Result<Retirement> {
    store.medium.size(&key(source, &sidecar_name(id)))?;
    let record = TombstoneRecord::new(source, id, objects, store.signer.as_ref())?;
    if !record.is_accepted(source, id, &store.trusted) {
        return Err(Error::usage(format!(
            "`{id}` is not removed: the store trusts some keys alone, and this machine signs with \
             none of them"
        ))
        .with_hint("set `sign_key_file` in [encryption], and add its public key to `trust`"));
    }
    let tombstone = key(source, &tombstone_name(id));
    // A machine without the right to remove anything must not hide what stays: the refusal comes
    // before there is a tombstone.
    ignore_missing(store.medium.remove(&tombstone))?;
    let created = store.medium.create(&tombstone, &record.to_bytes())?;
    // Another cleanup may remove the same one; its signature has another time.
    if created == Creation::AlreadyThere && store.tombstone(source, id)?.is_none() {
        return Err(taken(&store.shown(&tombstone)));
    }
    fail_point("store: backup unlisted")?;
    // Whoever adds an event looks for the tombstone after it: one of the two sees the other.
    if let Some(known) = known {
        let found = store.names_of(source, id);
        let event = found.map(|found| known.unknown_event(&found, &[id]).map(str::to_owned));
        if !matches!(event, Ok(None)) {
            ignore_missing(store.medium.remove(&tombstone))?;
        }
        if let Some(event) = event? {
            return Ok(Retirement::Changed(event));
        }
    }
    if let Some(lock) = store.remove_object(source, &sidecar_name(id))? {
        // Nothing was removed yet, so the tombstone may go again, unless it is locked, too.
        return match store.remove_object(source, &tombstone_name(id))? {
            None => Ok(Retirement::Locked(lock)),
            Some(_) => Ok(Retirement::Hidden(lock)),
        };
    }
    finish_retirement(store, source, id, objects)?;
    Ok(Retirement::Done)
}

/// Removes the rest of a backup whose tombstone is there; returns the names of what went.
fn finish_retirement(
    store: &RemoteStore,
    source: &str,
    id: &str,
    objects: &[String],
) -> Result<Vec<String>> {
    let mut swept = Vec::new();
    if store.remove_object(source, &sidecar_name(id))?.is_some() {
        return Ok(swept);
    }
    for object in objects {
        store.sweep_object(source, object, &mut swept)?;
        fail_point("store: dump removed")?;
    }
    // Listed now: whoever adds an event looks for the sidecar after it.
    let found = store.names_of(source, id)?;
    let is_companion = |name: &&String| names::companion_id(name) == Some(id);
    let companions: Vec<&String> = found.iter().filter(is_companion).collect();
    for companion in &companions {
        store.sweep_object(source, companion, &mut swept)?;
    }
    // As long as anything is locked, the tombstone tells whose that is.
    if swept.len() == objects.len() + companions.len() {
        store.sweep_object(source, &tombstone_name(id), &mut swept)?;
    }
    Ok(swept)
}

/// Removes what killed runs left; see [`crate::store::Store::sweep`].
pub fn sweep(store: &RemoteStore, source: &str) -> Result<Vec<String>> {
    let found = store.found(source)?;
    let mut swept = Vec::new();
    for object in &found {
        match RecordName::parse(&object.key) {
            Some(RecordName::Tombstone { id }) => {
                // Anybody who may write there can leave one; what it names must be of that backup.
                if let Some(record) = store.tombstone(source, &id)? {
                    let named = record.objects.into_iter();
                    let objects: Vec<String> = named
                        .filter(|name| names::is_object_of(name, &id))
                        .collect();
                    swept.extend(finish_retirement(store, source, &id, &objects)?);
                }
            }
            Some(RecordName::Draft { id }) => {
                let bytes = store.read_small(source, &object.key);
                if bytes.is_ok_and(|bytes| is_abandoned(&bytes, object.modified, Utc::now())) {
                    swept.extend(sweep_draft(store, source, &id, &found)?);
                }
            }
            Some(RecordName::Upload { id }) => {
                // A run has its reservation for longer than its uploads: that somebody removed it,
                // or that the removal of this one came to nothing, is the same. A list that is too
                // short is no evidence.
                let draft = draft_name(&id);
                if !found.iter().any(|other| other.key == draft)
                    && is_surely_missing(&*store.medium, &key(source, &draft))?
                {
                    discard_upload(store, source, &id, &object.key, &found, &mut swept)?;
                }
            }
            None => {}
        }
    }
    let listing = store.sort_out(source, found)?;
    for companion in lone_companions(&listing.objects, &listing.unfinished, Utc::now()) {
        // A list that is too short is no evidence that a backup, or an event, is gone.
        let is_gone = |name: &str| is_surely_missing(&*store.medium, &key(source, name));
        let backup = names::companion_id(companion).map(sidecar_name);
        let is_alone = |name: &str| is_gone(name).unwrap_or(false);
        if backup.as_deref().is_some_and(is_alone)
            || names::signed_name(companion).is_some_and(is_alone)
        {
            store.sweep_object(source, companion, &mut swept)?;
        }
    }
    store.medium.sweep_unfinished(source)?;
    Ok(swept)
}

/// Removes what a killed run left of a backup that it was writing: nothing but the records where
/// the sidecar is there, and all of it where there surely is none.
fn sweep_draft(
    store: &RemoteStore,
    source: &str,
    id: &str,
    found: &[FoundObject],
) -> Result<Vec<String>> {
    let sidecar = sidecar_name(id);
    let is_listed = found.iter().any(|object| object.key == sidecar)
        || !is_surely_missing(&*store.medium, &key(source, &sidecar))?;
    let mut swept = Vec::new();
    let mut draft = None;
    for object in found
        .iter()
        .filter(|object| names::id_of(&object.key) == Some(id))
    {
        match RecordName::parse(&object.key) {
            Some(RecordName::Upload { .. }) => {
                discard_upload(store, source, id, &object.key, found, &mut swept)?;
            }
            Some(RecordName::Draft { .. }) => draft = Some(&object.key),
            Some(RecordName::Tombstone { .. }) => {}
            None if is_listed => {}
            None => store.sweep_object(source, &object.key, &mut swept)?,
        }
    }
    // The reservation last: until the rest is gone it is what tells whose that is.
    if let Some(draft) = draft {
        store.sweep_object(source, draft, &mut swept)?;
    }
    Ok(swept)
}

/// Gives up an upload and removes its record. One whose object is there was completed: it is no
/// upload any more, and not every service that is asked to give it up says so. Anybody who may
/// write there can leave a record: what it names must be of that backup.
fn discard_upload(
    store: &RemoteStore,
    source: &str,
    id: &str,
    name: &str,
    found: &[FoundObject],
    swept: &mut Vec<String>,
) -> Result<()> {
    let bytes = store.read_small(source, name)?;
    if let Ok(record) = serde_json::from_slice::<UploadRecord>(&bytes)
        && check_name(&record.name, id).is_ok()
        && !found.iter().any(|object| object.key == record.name)
    {
        store
            .medium
            .discard_upload(&key(source, &record.name), &record.token)?;
    }
    store.sweep_object(source, name, swept)
}
