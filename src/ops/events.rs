//! Adding what came later to a backup: an event, which needs no lock.

use super::Observer;
use super::examine::VerificationResult;
use super::find::ResolvedBackup;
use super::run::now;
use crate::catalog;
use crate::config;
use crate::engine::{Check, CheckFinding, CheckStatus, whole_second};
use crate::error::{Error, Kind, Result};
use crate::failpoint::present;
use crate::sidecar::{BackupEvent, BackupState, Change, Level, Verification};
use crate::store::{Objects, Store, names};
use crate::users;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use std::collections::BTreeMap;

/// An event of this moment with the name of its object; it is later than `after`, where that is
/// given, although a clock was set back.
pub fn new_event(id: &str, change: Change, after: Option<DateTime<Utc>>) -> (String, BackupEvent) {
    let mut at = present().trunc_subsecs(3);
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
    add_named_event(store, source, id, change).map(drop)
}

/// The same; gives the name of the event, where one was added.
pub fn add_named_event(
    store: &dyn Store,
    source: &str,
    id: &str,
    change: Change,
) -> Result<Option<String>> {
    store.check_signing()?;
    let objects = store.objects(source);
    must_be_listed(&*objects, id)?;
    let newest = match catalog::read_state(store, source, id) {
        Ok(state) if state.has(&change) => return Ok(None),
        Ok(state) => state.newest,
        // What can't be read may be a pin: nobody is told that it is gone.
        Err(error) if matches!(change, Change::Unpinned | Change::Brake(_)) => return Err(error),
        Err(_) => None,
    };
    let (name, event) = new_event(id, change, newest);
    store.write_once(source, &name, &event.to_bytes())?;
    // Without a lock the backup may have been removed meanwhile. Its events were looked for after
    // its sidecar was gone, so this one was seen, or it is seen here that the sidecar is gone.
    // Where there are tombstones, whoever removes it looks for new events after its own.
    let is_there = must_be_listed(&*objects, id).and_then(|()| must_stay(store, source, id));
    is_there.inspect_err(|error| {
        if error.kind() == Kind::NotFound {
            let _ = store.remove(source, &name);
        }
    })?;
    Ok(Some(name))
}

fn must_stay(store: &dyn Store, source: &str, id: &str) -> Result<()> {
    match store.is_retired(source, id)? {
        true => Err(Error::not_found(format!("`{id}` is being removed"))),
        false => Ok(()),
    }
}

/// Notes beside each backup whose file was found damaged on another one's way that it is: neither
/// it nor what else is built on it may be taken for good.
pub fn note_damaged_bases(
    store: &dyn Store,
    source: &str,
    checks: &[Check],
    observer: &dyn Observer,
) {
    for check in checks
        .iter()
        .filter(|check| check.status == CheckStatus::Damaged)
    {
        let CheckFinding::BaseDiffers { id, file } = &check.finding else {
            continue;
        };
        let seen = Verification {
            at: now(),
            level: Level::Checksum,
            status: CheckStatus::Damaged,
            duration_seconds: 0.0,
            detail: Some(format!("the dump `{file}` is not what was written")),
            summary: None,
            host: None,
        };
        if let Err(error) = add_event(store, source, id, Change::Verified(seen)) {
            observer.warn(format!("{id}: its damage was not noted: {error}"));
        }
    }
}

/// Keeps the result with the backup, as an event. A store that can't be written to is no failure,
/// and a copy of a backup that lies somewhere else has no history to add to.
pub fn keep_result(found: &ResolvedBackup, result: &VerificationResult, observer: &dyn Observer) {
    let Some(backup) = &found.backup else { return };
    if result.status() == CheckStatus::Error || found.source != backup.sidecar.source {
        return;
    }
    let id = backup.id();
    if !found.store.may_write(&found.source) {
        return observer.detail(format!(
            "{id}: the result was not kept: `{}` of the store `{}` is read-only",
            found.source,
            found.store.name()
        ));
    }
    note_damaged_bases(&*found.store, &found.source, &result.checks, observer);
    // What is built on a damaged file is good again as soon as that is.
    let is_of_base = |check: &Check| {
        matches!(
            check.finding,
            CheckFinding::BaseDiffers { .. } | CheckFinding::BaseKnownDamaged { .. }
        )
    };
    let mut damaged = (result.checks.iter()).filter(|check| check.status == CheckStatus::Damaged);
    if result.status() == CheckStatus::Damaged && damaged.all(is_of_base) {
        return;
    }
    let mut verification = result.to_verification(whole_second(present()));
    if backup.sidecar.sealed.is_some() {
        // It may name tables and files, which such a backup tells nobody without a key.
        verification.detail = None;
        verification.summary = None;
    }
    let change = Change::Verified(verification);
    if let Err(error) = add_event(&*found.store, &found.source, id, change) {
        observer.warn(format!("{id}: the result was not kept: {error}"));
    }
}

/// Takes an event back that turned out to be untrue, as far as the store lets it go.
pub fn retract_event(store: &dyn Store, source: &str, name: &str) {
    if store.remove(source, name).is_ok() {
        let _ = store.remove(source, &names::signature_name(name));
    }
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
    let is_signed = store.signs() || !store.trusted_keys().is_empty();
    let signatures = |name: &String| is_signed.then(|| names::signature_name(name));
    for name in &state.superseded {
        for name in std::iter::once(name.clone()).chain(signatures(name)) {
            match store.remove(source, &name) {
                Err(error) if error.kind() != Kind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::{Braked, Verification};
    use crate::store::{self, Access, Location};
    use std::sync::Arc;

    /// A store with a backup of the source `app`, and its id.
    fn with_backup(dir: &tempfile::TempDir) -> (Arc<dyn Store>, String) {
        let access = Access::Write;
        let location = Location::from(dir.path().join("store"));
        let store = store::open(&location.into(), access).unwrap();
        drop(store.lock("app", std::time::Duration::ZERO).unwrap());
        let draft = store.begin_draft("app", "daily", Utc::now()).unwrap();
        let id = draft.id().to_owned();
        draft.commit(b"{}").unwrap();
        (store, id)
    }

    #[test]
    fn the_last_word_counts_and_nothing_is_said_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (store, id) = with_backup(&dir);
        let state = || catalog::read_state(&*store, "app", &id).unwrap();
        // A clock that ran ahead.
        let ahead = Utc::now() + TimeDelta::days(3);
        let (name, event) = new_event(&id, Change::Pinned, Some(ahead));
        store.write_once("app", &name, &event.to_bytes()).unwrap();
        assert!(state().pinned && event.at > ahead);
        add_event(&*store, "app", &id, Change::Unpinned).unwrap();
        assert!(!state().pinned && state().newest > Some(event.at));
        let count = || store.list("app").unwrap().objects.len();
        for _ in 0..2 {
            add_event(&*store, "app", &id, Change::Unpinned).unwrap();
            let braked = Braked::Against("earlier".into());
            add_event(&*store, "app", &id, Change::Brake(braked)).unwrap();
        }
        assert_eq!(count(), 4, "sidecar, pinned, unpinned, braked");
    }

    #[test]
    fn what_is_superseded_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, id) = with_backup(&dir);
        for _ in 0..3 {
            let found = Verification {
                at: Utc::now(),
                level: crate::sidecar::Level::Content,
                status: crate::engine::CheckStatus::Ok,
                duration_seconds: 0.1,
                detail: None,
                summary: None,
                host: None,
            };
            add_event(&*store, "app", &id, Change::Verified(found)).unwrap();
        }
        let state = || catalog::read_state(&*store, "app", &id).unwrap();
        let before = state();
        assert_eq!(before.superseded.len(), 2);
        remove_superseded(&*store, "app", &before).unwrap();
        // Another host may have done the same.
        remove_superseded(&*store, "app", &before).unwrap();
        assert_eq!(state().verifications, before.verifications[2..]);
    }

    #[test]
    fn a_backup_that_is_gone_gets_no_event() {
        let dir = tempfile::tempdir().unwrap();
        let (store, id) = with_backup(&dir);
        let _ = store.retire("app", &id, &[], None).unwrap();
        let error = add_event(&*store, "app", &id, Change::Pinned).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(store.list("app").unwrap().objects.is_empty());
    }
}
