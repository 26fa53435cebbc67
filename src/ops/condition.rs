//! The condition of a backup in its store, as lists and monitors show it.

use crate::catalog::{Attempt, Backup, Presence};
use crate::sidecar::Status;

/// The condition of a backup, from what is known of it without reading its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is good.
    Ok,
    /// It restores, but lacks something.
    Partial,
    /// It is a failed attempt.
    Failed,
    /// Its dump can't be looked at now.
    Unknown,
    /// Its dump is gone.
    Missing,
    /// Its dump is not what was written.
    Damaged,
}

impl Condition {
    /// The word in tables and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Ok => "ok",
            Condition::Partial => "partial",
            Condition::Failed => "failed",
            Condition::Unknown => "unknown",
            Condition::Missing => "missing",
            Condition::Damaged => "damaged",
        }
    }
}

/// Finds a backup's condition, and the reason where it is not a good one.
pub fn condition_of<S: Attempt>(backup: &Backup<S>) -> (Condition, Option<String>) {
    let status = backup.sidecar.status();
    match (backup.sidecar.dump_size(), &backup.presence) {
        _ if status == Status::Failed => (
            Condition::Failed,
            backup.sidecar.failure().map(|error| error.message.clone()),
        ),
        (_, Presence::Unknown(why)) => (
            Condition::Unknown,
            Some(format!("the dump can't be looked at: {why}")),
        ),
        (_, Presence::Missing) => (Condition::Missing, Some("the dump is not there".into())),
        (Some(written), Presence::Bytes(size)) if *size != written => (
            Condition::Damaged,
            Some(format!("the dump has {size} bytes, not {written}")),
        ),
        _ => match (backup.damage(), status) {
            (Some(damage), _) => (Condition::Damaged, damage.detail.clone()),
            (None, Status::Partial) => (Condition::Partial, None),
            (None, _) => (Condition::Ok, None),
        },
    }
}

/// The text for a backup of which an event can't be read.
pub const STATE_LOST: &str = "an event of it (`….event.json`) can't be read; it may have been \
                              pinned, and stays as if it were";
