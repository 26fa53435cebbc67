//! How a backup goes from another machine, and what killed runs leave there.
//!
//! The tombstone comes first and hides the backup; then the sidecar goes, the objects, the events,
//! and the tombstone last. So whoever finds a tombstone knows what is still to be removed.

use super::record::{RecordName, UploadRecord, is_abandoned, tombstone_name};
use super::{
    FoundObject, LONGEST_SMALL_OBJECT, RemoteStore, create_once, ignore_missing, is_surely_missing,
    key, sorted_out,
};
use crate::error::Result;
use crate::failpoint::fail_point;
use crate::store::lone_companions;
use crate::store::names::{self, sidecar_name};
use chrono::Utc;

impl RemoteStore {
    fn remove_object(&self, source: &str, name: &str) -> Result<()> {
        ignore_missing(self.medium.remove(&key(source, name)))
    }

    fn read_small(&self, source: &str, name: &str) -> Result<Vec<u8>> {
        self.medium.read(&key(source, name), LONGEST_SMALL_OBJECT)
    }
}

/// Removes a backup; see [`crate::store::Store::retire`].
pub fn retire(store: &RemoteStore, source: &str, id: &str, objects: &[String]) -> Result<()> {
    let sidecar = store.read_small(source, &sidecar_name(id))?;
    let tombstone = key(source, &tombstone_name(id));
    create_once(&*store.medium, &tombstone, &sidecar, || tombstone.clone())?;
    fail_point("store: backup unlisted")?;
    finish_retirement(store, source, id, objects.to_vec()).map(drop)
}

/// Removes the rest of a backup whose tombstone is there; returns the names.
fn finish_retirement(
    store: &RemoteStore,
    source: &str,
    id: &str,
    mut objects: Vec<String>,
) -> Result<Vec<String>> {
    store.remove_object(source, &sidecar_name(id))?;
    for object in &objects {
        store.remove_object(source, object)?;
    }
    fail_point("store: dump removed")?;
    // Listed now: whoever adds an event looks for the sidecar after it.
    for object in store.found(source)? {
        if names::companion_id(&object.key) == Some(id) {
            store.remove_object(source, &object.key)?;
            objects.push(object.key);
        }
    }
    store.remove_object(source, &tombstone_name(id))?;
    objects.push(tombstone_name(id));
    Ok(objects)
}

/// Removes what killed runs left; see [`crate::store::Store::sweep`].
pub fn sweep(
    store: &RemoteStore,
    source: &str,
    named_by: &dyn Fn(&[u8]) -> Vec<String>,
) -> Result<Vec<String>> {
    let found = store.found(source)?;
    let mut swept = Vec::new();
    for object in &found {
        match RecordName::parse(&object.key) {
            Some(RecordName::Tombstone { id }) => {
                let bytes = store.read_small(source, &object.key)?;
                let named = named_by(&bytes).into_iter();
                let objects = named
                    .filter(|name| names::is_object_of(name, &id))
                    .collect();
                swept.extend(finish_retirement(store, source, &id, objects)?);
            }
            Some(RecordName::Draft { id }) => {
                let bytes = store.read_small(source, &object.key);
                if bytes.is_ok_and(|bytes| is_abandoned(&bytes, object.modified, Utc::now())) {
                    swept.extend(sweep_draft(store, source, &id, &found)?);
                }
            }
            Some(RecordName::Upload { id }) => {
                // Its reservation went first only where somebody removed that by hand.
                let has_draft = found.iter().any(|other| {
                    RecordName::parse(&other.key) == Some(RecordName::Draft { id: id.clone() })
                });
                let is_old = is_abandoned(b"", object.modified, Utc::now());
                if !has_draft && is_old {
                    discard_upload(store, source, &object.key, &found)?;
                    swept.push(object.key.clone());
                }
            }
            None => {}
        }
    }
    let listing = sorted_out(found);
    for companion in lone_companions(&listing.objects, &listing.unfinished, Utc::now()) {
        // A list that is too short is no evidence that a backup, or an event, is gone.
        let is_gone = |name: &str| is_surely_missing(&*store.medium, &key(source, name));
        let backup = names::companion_id(companion).map(sidecar_name);
        let is_alone = |name: &str| is_gone(name).unwrap_or(false);
        if backup.as_deref().is_some_and(is_alone)
            || names::signed_name(companion).is_some_and(is_alone)
        {
            store.remove_object(source, companion)?;
            swept.push(companion.to_owned());
        }
    }
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
            Some(RecordName::Upload { .. }) => discard_upload(store, source, &object.key, found)?,
            Some(RecordName::Draft { .. }) => {
                draft = Some(&object.key);
                continue;
            }
            Some(RecordName::Tombstone { .. }) => continue,
            None if is_listed => continue,
            None => store.remove_object(source, &object.key)?,
        }
        swept.push(object.key.clone());
    }
    // The reservation last: until the rest is gone it is what tells whose that is.
    if let Some(draft) = draft {
        store.remove_object(source, draft)?;
        swept.push(draft.clone());
    }
    Ok(swept)
}

/// Gives up an upload and removes its record. One whose object is there was completed: it is no
/// upload any more, and not every service that is asked to give it up says so.
fn discard_upload(
    store: &RemoteStore,
    source: &str,
    name: &str,
    found: &[FoundObject],
) -> Result<()> {
    let bytes = store.read_small(source, name)?;
    if let Ok(record) = serde_json::from_slice::<UploadRecord>(&bytes)
        && !found.iter().any(|object| object.key == record.name)
    {
        store
            .medium
            .discard_upload(&key(source, &record.name), &record.token)?;
    }
    store.remove_object(source, name)
}
