//! What came later to a backup: events, each an object of its own that is written once and never
//! changed. The state of a backup is their union in order of time, so two hosts that add one at
//! once, and a store that can't lock, need no rule.

use super::{Verification, to_json};
use crate::engine::CheckStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest form of an event that this program reads and the one that it writes.
const SCHEMA: u32 = 1;

/// One thing that came later to a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupEvent {
    /// When, UTC, to the millisecond.
    pub at: DateTime<Utc>,
    /// The program with its version, the host and the user.
    pub producer: BTreeMap<String, String>,
    /// What came.
    pub change: Change,
}

/// What an event changes of a backup's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Cleanup must never remove it.
    Pinned,
    /// Cleanup may remove it again.
    Unpinned,
    /// It was verified.
    Verified(Verification),
    /// What the retention brake found.
    Brake(Braked),
    /// What came of copying it to another store.
    Copy(CopyMark),
    /// The backup of this id, which was beside it, was removed on purpose.
    Removed(String),
    /// A private key opened it: that of the recipient with this fingerprint.
    KeyProven(String),
}

/// What came of copying a backup to another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyMark {
    /// The other store's name in the configuration, or its location where it has none.
    pub store: String,
    /// SHA-256 of the other store's location, in hex: a name may come to mean another place.
    pub location_sha256: Option<String>,
    /// Why it is not there; `None` where it is.
    pub failure: Option<String>,
    /// SHA-256 of its sidecar there, in hex: of an encrypted copy it is another one than here.
    pub sidecar_sha256: Option<String>,
}

/// What is remembered of a backup that holds far less than an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Braked {
    /// Less than the backup of this id: nothing is removed.
    Against(String),
    /// The user said that it is right so.
    Accepted,
}

/// An event as it is stored.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Event"))]
pub(crate) struct StoredEvent {
    /// The format's version: 1. A backup with a newer one is not removed.
    schema: u32,
    /// What came.
    event: EventKind,
    /// When, UTC, to the millisecond.
    at: DateTime<Utc>,
    /// Programs with their versions, `host` and `user`.
    #[serde(default)]
    producer: BTreeMap<String, String>,
    /// For `verified`: what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
    /// For `braked`: the id of the backup that held more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<String>,
    /// For `copied` and `copy_failed`: the other store's name, or its location where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// For `copied` and `copy_failed`: SHA-256 of the other store's location, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location_sha256: Option<String>,
    /// For `copy_failed`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// For `removed`: the id of the backup that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed: Option<String>,
    /// For `copied`: SHA-256 of the sidecar there, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sidecar_sha256: Option<String>,
    /// For `key_proven`: the recipient whose private key opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum EventKind {
    /// Cleanup must never remove the backup.
    Pinned,
    /// Cleanup may remove it again.
    Unpinned,
    /// It was verified.
    Verified,
    /// It holds far less than an earlier one, so retention is held back.
    Braked,
    /// The user said that it is right that it holds less.
    Accepted,
    /// It was copied to another store, and is whole there.
    Copied,
    /// It could not be copied to another store.
    CopyFailed,
    /// Another backup, mostly the one before it, was removed on purpose.
    Removed,
    /// It is encrypted, and a private key opened it.
    KeyProven,
}

impl BackupEvent {
    /// Reads an event's bytes; `None` where it is damaged, or of a newer version.
    pub fn parse(bytes: &[u8]) -> Option<BackupEvent> {
        let stored: StoredEvent = serde_json::from_slice(bytes).ok()?;
        if stored.schema != SCHEMA {
            return None;
        }
        let change = match stored.event {
            EventKind::Pinned => Change::Pinned,
            EventKind::Unpinned => Change::Unpinned,
            EventKind::Verified => Change::Verified(stored.verification?),
            EventKind::Braked => Change::Brake(Braked::Against(stored.against?)),
            EventKind::Accepted => Change::Brake(Braked::Accepted),
            EventKind::Copied => Change::Copy(CopyMark {
                store: stored.store?,
                location_sha256: stored.location_sha256,
                failure: None,
                sidecar_sha256: stored.sidecar_sha256,
            }),
            EventKind::CopyFailed => Change::Copy(CopyMark {
                store: stored.store?,
                location_sha256: stored.location_sha256,
                failure: Some(stored.error?),
                sidecar_sha256: None,
            }),
            EventKind::Removed => Change::Removed(stored.removed?),
            EventKind::KeyProven => Change::KeyProven(stored.recipient?),
        };
        Some(BackupEvent {
            at: stored.at,
            producer: stored.producer,
            change,
        })
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut stored = StoredEvent {
            schema: SCHEMA,
            event: EventKind::Pinned,
            at: self.at,
            producer: self.producer.clone(),
            verification: None,
            against: None,
            store: None,
            location_sha256: None,
            error: None,
            removed: None,
            sidecar_sha256: None,
            recipient: None,
        };
        stored.event = match &self.change {
            Change::Pinned => EventKind::Pinned,
            Change::Unpinned => EventKind::Unpinned,
            Change::Verified(found) => {
                stored.verification = Some(found.clone());
                EventKind::Verified
            }
            Change::Brake(Braked::Against(id)) => {
                stored.against = Some(id.clone());
                EventKind::Braked
            }
            Change::Brake(Braked::Accepted) => EventKind::Accepted,
            Change::Removed(id) => {
                stored.removed = Some(id.clone());
                EventKind::Removed
            }
            Change::Copy(mark) => {
                stored.store = Some(mark.store.clone());
                stored.location_sha256.clone_from(&mark.location_sha256);
                stored.error.clone_from(&mark.failure);
                stored.sidecar_sha256.clone_from(&mark.sidecar_sha256);
                match mark.failure {
                    None => EventKind::Copied,
                    Some(_) => EventKind::CopyFailed,
                }
            }
            Change::KeyProven(recipient) => {
                stored.recipient = Some(recipient.clone());
                EventKind::KeyProven
            }
        };
        to_json(&stored)
    }
}

/// What came last of copying a backup to one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCopy {
    /// When.
    pub at: DateTime<Utc>,
    /// SHA-256 of the store's location then, in hex.
    pub location_sha256: Option<String>,
    /// Why it is not there; `None` where it is.
    pub failure: Option<String>,
    /// SHA-256 of its sidecar there, in hex, where it is known.
    pub sidecar_sha256: Option<String>,
}

/// The state of a backup: the union of its events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackupState {
    /// Never removed by cleanup.
    pub pinned: bool,
    /// Oldest first.
    pub verifications: Vec<Verification>,
    /// What the retention brake found last.
    pub brake: Option<Braked>,
    /// What came last of copying it, by the other store's name or location.
    pub copies: BTreeMap<String, LastCopy>,
    /// The ids of backups that were removed on purpose.
    pub removed: BTreeSet<String>,
    /// When each recipient's private key last opened it.
    pub keys_proven: BTreeMap<String, DateTime<Utc>>,
    /// The moment of the newest event.
    pub newest: Option<DateTime<Utc>>,
    /// The names of events that a newer one makes pointless.
    pub superseded: Vec<String>,
    /// How many events do not count, as no trusted key signed them.
    pub ignored: usize,
}

impl BackupState {
    /// The state after these events, which have names and come in any order.
    pub fn from_events(mut events: Vec<(String, BackupEvent)>) -> BackupState {
        events.sort_by(|a, b| (a.1.at, &a.0).cmp(&(b.1.at, &b.0)));
        let mut state = BackupState {
            newest: events.last().map(|(_, event)| event.at),
            superseded: superseded(&events),
            ..BackupState::default()
        };
        for (_, event) in events {
            match event.change {
                Change::Pinned => state.pinned = true,
                Change::Unpinned => state.pinned = false,
                Change::Verified(found) => state.verifications.push(Verification {
                    host: event.producer.get("host").cloned(),
                    ..found
                }),
                Change::Brake(found) => state.brake = Some(found),
                Change::Removed(id) => drop(state.removed.insert(id)),
                Change::Copy(mark) => {
                    let last = LastCopy {
                        at: event.at,
                        location_sha256: mark.location_sha256,
                        failure: mark.failure,
                        sidecar_sha256: mark.sidecar_sha256,
                    };
                    state.copies.insert(mark.store, last);
                }
                Change::KeyProven(recipient) => {
                    state.keys_proven.insert(recipient, event.at);
                }
            }
        }
        state
    }

    /// Whether an event would change nothing.
    pub fn has(&self, change: &Change) -> bool {
        match change {
            Change::Pinned => self.pinned,
            Change::Unpinned => !self.pinned,
            Change::Verified(_) | Change::KeyProven(_) => false,
            Change::Brake(found) => self.brake.as_ref() == Some(found),
            Change::Removed(id) => self.removed.contains(id),
            Change::Copy(mark) => {
                let last = self.copies.get(&mark.store);
                last.is_some_and(|last| {
                    last.failure == mark.failure
                        && last.sidecar_sha256 == mark.sidecar_sha256
                        && last.location_sha256 == mark.location_sha256
                })
            }
        }
    }

    /// Whether it was copied to the store of this name or location, at the place with this hash.
    pub fn is_copied_to(&self, store: &str, location_sha256: &str) -> bool {
        let is_there = |last: &LastCopy| {
            let place = last.location_sha256.as_deref();
            last.failure.is_none() && place.is_none_or(|place| place == location_sha256)
        };
        self.copies.get(store).is_some_and(is_there)
    }
}

/// The names of events, of events in order of time, that a later one makes pointless. A
/// verification is, after one of the same or a higher level that found the backup sound, or found
/// the same; what one that could not be tried says is no better than damage, and takes none away.
/// What came of a copy is, after a later copy to the same store.
fn superseded(events: &[(String, BackupEvent)]) -> Vec<String> {
    let mut later: Vec<&Verification> = Vec::new();
    let mut copied: BTreeSet<&str> = BTreeSet::new();
    let mut names = Vec::new();
    for (name, event) in events.iter().rev() {
        let found = match &event.change {
            Change::Verified(found) => found,
            Change::Copy(mark) => {
                if !copied.insert(&mark.store) {
                    names.push(name.clone());
                }
                continue;
            }
            Change::Pinned
            | Change::Unpinned
            | Change::Brake(_)
            | Change::Removed(_)
            | Change::KeyProven(_) => continue,
        };
        let outdoes = |newer: &&Verification| {
            newer.level >= found.level
                && (newer.status == CheckStatus::Ok || newer.status == found.status)
        };
        if later.iter().any(outdoes) {
            names.push(name.clone());
        } else {
            later.push(found);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::Level;
    use proptest::prelude::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_140_000 + second, 0).unwrap()
    }

    fn event(second: i64, change: Change) -> (String, BackupEvent) {
        let event = BackupEvent {
            at: at(second),
            producer: BTreeMap::from([("host".to_owned(), "web1".to_owned())]),
            change,
        };
        (format!("event{second}"), event)
    }

    fn verified(second: i64, level: Level, status: CheckStatus) -> (String, BackupEvent) {
        let found = Verification {
            at: at(second),
            level,
            status,
            duration_seconds: 0.5,
            detail: None,
            summary: None,
            host: None,
        };
        event(second, Change::Verified(found))
    }

    fn copied(second: i64, store: &str, failure: Option<&str>) -> (String, BackupEvent) {
        let mark = CopyMark {
            store: store.to_owned(),
            location_sha256: Some(format!("{store}'s")),
            failure: failure.map(str::to_owned),
            sidecar_sha256: None,
        };
        event(second, Change::Copy(mark))
    }

    #[test]
    fn the_last_copy_to_each_store_counts() {
        let state = BackupState::from_events(vec![
            copied(1, "s3://a", Some("no answer")),
            copied(2, "s3://a", None),
            copied(3, "/mnt/usb", Some("full")),
        ]);
        assert!(state.is_copied_to("s3://a", "s3://a's"));
        assert!(!state.is_copied_to("s3://a", "another place's"));
        assert!(!state.is_copied_to("/mnt/usb", "/mnt/usb's"));
        assert_eq!(state.superseded, ["event1"]);
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        for (_, event) in [
            event(1, Change::Pinned),
            event(2, Change::Unpinned),
            event(3, Change::Brake(Braked::Against("b".into()))),
            event(4, Change::Brake(Braked::Accepted)),
            verified(5, Level::Content, CheckStatus::Damaged),
            copied(6, "s3://acme/web1", None),
            copied(7, "s3://acme/web1", Some("no answer")),
            event(8, Change::Removed("app_daily_20261119T020000Z".into())),
        ] {
            assert_eq!(BackupEvent::parse(&event.to_bytes()), Some(event));
        }
        for damaged in [
            "",
            "{}",
            r#"{"schema": 2, "event": "pinned", "at": "2026-11-20T02:00:00Z"}"#,
            r#"{"schema": 1, "event": "moved", "at": "2026-11-20T02:00:00Z"}"#,
            r#"{"schema": 1, "event": "verified", "at": "2026-11-20T02:00:00Z"}"#,
        ] {
            assert_eq!(BackupEvent::parse(damaged.as_bytes()), None, "{damaged}");
        }
    }

    #[test]
    fn the_state_is_the_union_in_order_of_time() {
        let state = BackupState::from_events(vec![
            event(3, Change::Unpinned),
            event(1, Change::Pinned),
            event(5, Change::Brake(Braked::Accepted)),
            event(4, Change::Brake(Braked::Against("b".into()))),
            verified(6, Level::Content, CheckStatus::Ok),
            verified(2, Level::Restore, CheckStatus::Ok),
        ]);
        assert!(!state.pinned && state.brake == Some(Braked::Accepted));
        let levels: Vec<Level> = state
            .verifications
            .iter()
            .map(|found| found.level)
            .collect();
        assert_eq!(levels, [Level::Restore, Level::Content]);
        assert_eq!(state.newest, Some(at(6)));
        assert!(state.has(&Change::Unpinned) && !state.has(&Change::Pinned));
    }

    #[test]
    fn a_newer_verification_makes_older_ones_pointless() {
        use CheckStatus::{Damaged, Ok, Unprovable};
        let superseded_of = |found: &[(Level, CheckStatus)]| {
            let events = found.iter().zip(1..);
            let events = events.map(|((level, status), second)| verified(second, *level, *status));
            let mut names = BackupState::from_events(events.collect()).superseded;
            names.sort();
            names
        };
        let (low, high) = (Level::Checksum, Level::Restore);
        assert_eq!(
            superseded_of(&[(low, Ok), (low, Ok), (high, Ok)]),
            ["event1", "event2"]
        );
        assert_eq!(superseded_of(&[(high, Ok), (low, Ok)]), [""; 0]);
        assert_eq!(superseded_of(&[(low, Damaged), (low, Ok)]), ["event1"]);
        assert_eq!(superseded_of(&[(low, Ok), (low, Damaged)]), [""; 0]);
        // It may still be damaged.
        assert_eq!(
            superseded_of(&[(low, Damaged), (high, Unprovable)]),
            [""; 0]
        );
        assert_eq!(
            superseded_of(&[(low, Damaged), (high, Damaged)]),
            ["event1"]
        );
    }

    proptest! {
        /// What a backup is taken for is the same without them, whatever came.
        #[test]
        fn nothing_is_judged_otherwise_without_what_is_superseded(
            found in proptest::collection::vec((0..3_usize, 0..4_usize), 0..12),
        ) {
            let statuses = [
                CheckStatus::Ok,
                CheckStatus::Damaged,
                CheckStatus::Unprovable,
                CheckStatus::Incomplete,
            ];
            let events: Vec<_> = found
                .iter()
                .zip(1..)
                .map(|((level, status), second)| {
                    verified(second, Level::ALL[*level], statuses[*status])
                })
                .collect();
            let whole = BackupState::from_events(events.clone());
            let mut kept = events;
            kept.retain(|(name, _)| !whole.superseded.contains(name));
            let kept = BackupState::from_events(kept);
            prop_assert!(kept.superseded.is_empty());
            let judged = |state: &BackupState| {
                let all = &state.verifications;
                let is_damaged = all.iter().enumerate().any(|(at, found)| {
                    let cleared = |later: &Verification| {
                        later.status == CheckStatus::Ok && later.level >= found.level
                    };
                    found.status == CheckStatus::Damaged && !all[at + 1..].iter().any(cleared)
                });
                let sound = all.iter().filter(|found| found.status == CheckStatus::Ok);
                (is_damaged, sound.max_by_key(|found| (found.level, found.at)).cloned())
            };
            prop_assert_eq!(judged(&whole), judged(&kept));
        }
    }
}
