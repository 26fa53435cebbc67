//! Adding what came later to a backup: an event, which needs no lock.

use crate::catalog;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::sidecar::{BackupEvent, BackupState, Change};
use crate::store::{Objects, Store, names};
use crate::users;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use std::collections::BTreeMap;

/// An event of this moment with the name of its object; it is later than `after`, where that is
/// given, although a clock was set back.
pub fn new_event(id: &str, change: Change, after: Option<DateTime<Utc>>) -> (String, BackupEvent) {
    let mut at = Utc::now().trunc_subsecs(3);
    if let Some(after) = after {
        let next = after.checked_add_signed(TimeDelta::milliseconds(1));
        at = at.max(next.unwrap_or(after));
    }
    let (random, ..) = uuid::Uuid::new_v4().as_fields();
    let mut producer = BTreeMap::from([
        ("dbbackup".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("host".to_owned(), config::hostname()),
    ]);
    producer.extend(users::me().map(|user| ("user".to_owned(), user)));
    let event = BackupEvent {
        at,
        producer,
        change,
    };
    (names::event_name(id, at, random), event)
}

/// Adds an event to a backup; one that would change nothing is left out. A backup that is gone is
/// an error of the kind `NotFound`.
pub fn add_event(store: &dyn Store, source: &str, id: &str, change: Change) -> Result<()> {
    let objects = store.objects(source);
    must_be_listed(&*objects, id)?;
    let newest = match catalog::read_state(&*objects, id) {
        Ok(state) if state.has(&change) => return Ok(()),
        Ok(state) => state.newest,
        // What can't be read may be a pin: nobody is told that it is gone.
        Err(error) if matches!(change, Change::Unpinned | Change::Brake(_)) => return Err(error),
        Err(_) => None,
    };
    let (name, event) = new_event(id, change, newest);
    store.write_once(source, &name, &event.to_bytes())?;
    // Without a lock the backup may have been removed meanwhile. Its events were looked for after
    // its sidecar was gone, so this one was seen, or it is seen here that the sidecar is gone.
    must_be_listed(&*objects, id).inspect_err(|error| {
        if error.kind() == Kind::NotFound {
            let _ = store.remove(source, &name);
        }
    })
}

fn must_be_listed(objects: &dyn Objects, id: &str) -> Result<()> {
    match objects.size(&names::sidecar_name(id)) {
        Err(error) if error.kind() == Kind::NotFound => {
            Err(Error::not_found(format!("`{id}` is gone")))
        }
        other => other.map(drop),
    }
}

/// Removes the events of a backup that newer ones make pointless.
pub fn remove_superseded(store: &dyn Store, source: &str, state: &BackupState) -> Result<()> {
    for name in &state.superseded {
        match store.remove(source, name) {
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
