//! What a store without locks does where others write, remove and pin at the same time, or leave
//! records that no run of ours would.

use super::draft::{RemoteDraft, Reservation};
use super::medium::Medium;
use super::memory::MemoryMedium;
use super::record::{ProcessMark, UploadRecord, draft_name, new_upload_name, tombstone_name};
use super::{RemoteStore, StoreRights, key};
use crate::error::{Kind, Result};
use crate::store::names::{event_name, sidecar_name};
use crate::store::{Draft, KnownNames, Location, Retirement, Store};
use chrono::{DateTime, Utc};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const ID: &str = "app_daily_20261120T020000Z";

fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_140_000, 0).unwrap()
}

fn dump() -> String {
    format!("{ID}.sqlite3.gz")
}

fn store_with(medium: &MemoryMedium, process: Option<ProcessMark>) -> RemoteStore {
    let location = Location::parse("s3://bucket/web1", Path::new("/")).unwrap();
    let medium = Arc::new(medium.clone());
    RemoteStore::new(location, medium, StoreRights::default(), process)
}

fn store(medium: &MemoryMedium) -> RemoteStore {
    store_with(medium, ProcessMark::of_this_process())
}

fn write(draft: &mut dyn Draft, bytes: &[u8]) {
    let mut pending = draft.create(&dump()).unwrap();
    pending.write_all(bytes).unwrap();
    pending.finish().unwrap();
}

fn publish(store: &RemoteStore) {
    let mut draft = store.begin_copy("app", ID).unwrap();
    write(&mut *draft, b"the dump");
    draft.commit(b"{}").unwrap();
}

fn keys(medium: &MemoryMedium) -> Vec<String> {
    let found = medium.list("").unwrap().into_iter();
    let mut keys: Vec<String> = found.map(|object| object.key).collect();
    keys.sort();
    keys
}

#[test]
fn an_event_that_nobody_knew_of_keeps_its_backup() {
    let medium = MemoryMedium::default();
    let store = store(&medium);
    publish(&store);
    let mut known = KnownNames::among(&store.list("app").unwrap().objects);
    let pin = event_name(ID, moment(), 1);
    store.write_once("app", &pin, b"pinned").unwrap();
    let before = keys(&medium);
    let retire = |known: &KnownNames| store.retire("app", ID, &[dump()], Some(known)).unwrap();
    assert_eq!(retire(&known), Retirement::Changed(pin.clone()));
    assert_eq!(keys(&medium), before, "all of it is there as before");
    known.add(&pin);
    assert_eq!(retire(&known), Retirement::Done);
    assert_eq!(keys(&medium), [""; 0]);
}

#[test]
fn what_is_being_removed_is_not_copied_anew() {
    let medium = MemoryMedium::default();
    let store = store(&medium);
    publish(&store);
    let sidecar = key("app", &sidecar_name(ID));
    let bytes = medium.read(&sidecar, 99).unwrap();
    // A removal that was killed after the sidecar.
    let record = super::record::TombstoneRecord::new("app", ID, &[dump()], None).unwrap();
    let tombstone = key("app", &tombstone_name(ID));
    medium.create(&tombstone, &record.to_bytes()).unwrap();
    medium.remove(&sidecar).unwrap();
    let before = keys(&medium);
    assert!(store.is_retired("app", ID).unwrap());
    let refused = store.begin_copy("app", ID).err().unwrap();
    assert_eq!(refused.kind(), Kind::Locked, "{refused:?}");
    assert!(
        refused.message().contains("is being removed"),
        "{refused:?}"
    );
    assert_eq!(keys(&medium), before);
    // After the sweep its name is free.
    store.sweep("app", &|_| Vec::new()).unwrap();
    assert!(!store.is_retired("app", ID).unwrap());
    publish(&store);
    assert_eq!(medium.read(&sidecar, 99).unwrap(), bytes);
}

#[test]
fn a_run_that_lost_its_reservation_touches_nothing_any_more() {
    let medium = MemoryMedium::default();
    let (slow, quick) = (store(&medium), store(&medium));
    let mut draft = slow.begin_copy("app", ID).unwrap();
    write(&mut *draft, b"of the slow one");
    // Another machine takes it for a dead one, and copies the same backup.
    medium.remove(&key("app", &draft_name(ID))).unwrap();
    publish(&quick);
    let before = keys(&medium);
    let error = draft.commit(b"{}").unwrap_err();
    assert!(error.message().contains("was removed while"), "{error:?}");
    assert_eq!(keys(&medium), before);
    assert_eq!(medium.read(&key("app", &dump()), 99).unwrap(), b"the dump");
    // Nor does it where the other one has not come to its end.
    let mut draft = slow.begin_copy("app", &format!("{ID}-2")).unwrap();
    let name = format!("{ID}-2.sqlite3.gz");
    draft.create(&name).unwrap().finish().unwrap();
    let reservation = key("app", &draft_name(&format!("{ID}-2")));
    medium.replace(&reservation, b"another run's").unwrap();
    drop(draft);
    assert!(keys(&medium).contains(&key("app", &name)));
}

#[test]
fn the_reservation_of_a_killed_run_of_this_machine_is_taken_over() {
    let medium = MemoryMedium::default();
    let Some(this) = ProcessMark::of_this_process() else {
        return;
    };
    let granted = |store: &RemoteStore| -> Result<bool> {
        let reservation = RemoteDraft::reserve(store, "app", ID)?;
        // It is never given up.
        let is_granted = matches!(reservation, Reservation::Granted(_));
        std::mem::forget(reservation);
        Ok(is_granted)
    };
    let dead = ProcessMark::of_this_process().map(ProcessMark::made_older);
    assert!(granted(&store_with(&medium, dead)).unwrap());
    assert!(
        granted(&store_with(&medium, Some(this))).unwrap(),
        "it has ended"
    );
    assert!(!granted(&store(&medium)).unwrap(), "it runs");
    // A short list does not show the backup that has the id.
    let medium = MemoryMedium::default();
    publish(&store(&medium));
    let reservation = RemoteDraft::reserve(&store(&medium), "app", ID).unwrap();
    assert!(matches!(reservation, Reservation::Listed));
    assert!(!keys(&medium).contains(&key("app", &draft_name(ID))));
}

#[test]
fn what_a_stranger_s_record_names_is_not_touched() {
    let medium = MemoryMedium::default();
    let store = store(&medium);
    for name in ["../../x/y", "other_daily_20261120T020000Z.sqlite3", "y"] {
        let record = UploadRecord::new(name, "0123456789abcdef").to_bytes();
        medium
            .create(&key("app", &new_upload_name(ID)), &record)
            .unwrap();
    }
    medium.create("y", b"somebody's").unwrap();
    store.sweep("app", &|_| Vec::new()).unwrap();
    assert_eq!(keys(&medium), ["y"]);
}
