//! The condition of a backup in its store, as lists and monitors show it.

use crate::catalog::{Attempt, Backup, Presence, WayState};
use crate::sidecar::{Status, Verification};

/// The condition of a backup, from what is known of it without reading its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is good.
    Ok,
    /// No trusted key signed it.
    Untrusted,
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
            Condition::Untrusted => "untrusted",
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
    explain_condition(backup, |damage| damage.detail.clone())
}

/// The reason in short, for a line among many; `show` says all of it.
pub fn short_reason_of<S: Attempt>(backup: &Backup<S>) -> Option<String> {
    let summary = |damage: &Verification| damage.summary.clone().or_else(|| damage.detail.clone());
    let (_, reason) = explain_condition(backup, summary);
    reason.map(|reason| beginning_of(&reason))
}

fn explain_condition<S: Attempt>(
    backup: &Backup<S>,
    describe: impl FnOnce(&Verification) -> Option<String>,
) -> (Condition, Option<String>) {
    let status = backup.sidecar.status();
    if let Some(objection) = backup.signature.objection() {
        return (Condition::Untrusted, Some(objection));
    }
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
            (Some(damage), _) => (Condition::Damaged, describe(damage)),
            (None, _) if backup.way != WayState::Whole => way_condition(&backup.way),
            (None, Status::Partial) => (Condition::Partial, None),
            (None, _) => (Condition::Ok, None),
        },
    }
}

/// The condition of a delta whose way is not whole, and the reason.
fn way_condition(way: &WayState) -> (Condition, Option<String>) {
    let (condition, id, what) = match way {
        WayState::Whole => return (Condition::Ok, None),
        WayState::Unknown(id) => (Condition::Unknown, id, "can't be looked at"),
        WayState::Missing(id) => (Condition::Missing, id, "is not there"),
        WayState::Damaged(id) => (Condition::Damaged, id, "is damaged"),
    };
    (
        condition,
        Some(format!("`{id}`, on which it is built, {what}")),
    )
}

/// How many parts of a text a list shows, and how many characters of one.
const PARTS: usize = 3;
const LONGEST_PART: usize = 200;

/// The beginning of a text of several parts, for a line among many.
fn beginning_of(text: &str) -> String {
    let parts: Vec<&str> = text.split("; ").collect();
    let cut = |part: &&str| match part.char_indices().nth(LONGEST_PART) {
        Some((end, _)) => format!("{}…", &part[..end]),
        None => (*part).to_owned(),
    };
    let shown = parts
        .iter()
        .take(PARTS)
        .map(cut)
        .collect::<Vec<_>>()
        .join("; ");
    match parts.len().saturating_sub(PARTS) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// The text for a backup of which an event can't be read.
pub const STATE_LOST: &str = "an event of it (`….event.json`) can't be read; it may have been \
                              pinned, and stays as if it were";
