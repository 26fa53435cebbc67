//! What can be wrong with the copies of a source in another store. The backup itself is safe where
//! it is, so nothing here is critical.

use super::{HealthFinding, HealthLevel};
use crate::error::Hint;
use crate::units::{self, Span};
use chrono::{DateTime, Utc};

/// The copies of a source in another store, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CopySubject<'a> {
    /// The store's name.
    pub store: String,
    /// Where it is.
    pub location: String,
    /// The good backups here, newest first.
    pub backups: Vec<CopiedBackup<'a>>,
    /// When the newest backup was made that the store lists, whether it is still here or not.
    pub newest_listed: Option<DateTime<Utc>>,
    /// The newest one there, where it should be here, too, and is not.
    pub unknown_here: Option<String>,
    /// The newest one that was copied, where its sidecar there is not the one that was written.
    pub replaced: Option<String>,
    /// When the last copy there failed, and why; `None` where the last one was made.
    pub failure: Option<(DateTime<Utc>, &'a str)>,
}

/// A good backup that is to be in another store, too.
#[derive(Debug, Clone, PartialEq)]
pub struct CopiedBackup<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// It is noted here that it was copied there.
    pub is_copied: bool,
    /// Whether the other store lists it; `None` where it was not asked.
    pub is_listed: Option<bool>,
}

impl CopiedBackup<'_> {
    fn is_there(&self) -> bool {
        self.is_listed.unwrap_or(self.is_copied)
    }
}

impl CopySubject<'_> {
    /// When the newest backup was made that is there.
    pub fn newest(&self) -> Option<DateTime<Utc>> {
        let known = self.backups.iter().find(|backup| backup.is_there());
        let known = known.map(|backup| backup.ended);
        known.max(self.newest_listed)
    }

    /// Whether the newest good backup is still to go there.
    pub fn is_waiting(&self) -> bool {
        let newest = self.backups.first();
        newest.is_some_and(|newest| !newest.is_there())
    }
}

/// Everything that is wrong with the copies in one store.
pub(super) fn copy_findings(
    copies: &CopySubject<'_>,
    expect_every: Span,
    now: DateTime<Utc>,
) -> impl Iterator<Item = HealthFinding> {
    let late = loss(copies).or_else(|| lateness(copies, expect_every, now));
    late.into_iter()
        .chain(rollback(copies))
        .chain(replacement(copies))
        .chain(failure(copies, now))
}

/// The newest backup that was copied, where the store does not list it: a list may be short, but
/// somebody may also have removed it. Of older ones retention there may be the reason.
fn loss(copies: &CopySubject<'_>) -> Option<HealthFinding> {
    let newest = copies.backups.iter().find(|backup| backup.is_copied)?;
    let is_newer_there = copies.newest().is_some_and(|at| at > newest.ended);
    if newest.is_listed != Some(false) || is_newer_there {
        return None;
    }
    let store = &copies.store;
    let text = format!(
        "`{store}` does not list {}, which was copied there",
        newest.id
    );
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("find out who removed it, or why the list is short; ")
                .command(["copy", newest.id, "--to", store])
                .text(" copies it again"),
        ),
    )
}

/// A copy that is newer than every backup here: the newest ones were taken away here, or somebody
/// put it there.
fn rollback(copies: &CopySubject<'_>) -> Option<HealthFinding> {
    let id = copies.unknown_here.as_ref()?;
    let store = &copies.store;
    let text = format!(
        "`{store}` lists {id}, which is newer than every backup here, and nothing says that it was \
         removed here on purpose"
    );
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("find out who was here, or there: ")
                .command(["verify", id, "--store", store]),
        ),
    )
}

/// The newest copy has another sidecar than the one that was written.
fn replacement(copies: &CopySubject<'_>) -> Option<HealthFinding> {
    let id = copies.replaced.as_ref()?;
    let store = &copies.store;
    let text = format!("the sidecar of {id} in `{store}` is not the one that was written there");
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("find out who replaced it: ")
                .command(["verify", id, "--store", store]),
        ),
    )
}

fn lateness(
    copies: &CopySubject<'_>,
    expect_every: Span,
    now: DateTime<Utc>,
) -> Option<HealthFinding> {
    let newest = copies.backups.first().filter(|_| copies.is_waiting())?;
    let edge = expect_every.before(now);
    let oldest = copies.backups.last().map(|oldest| oldest.ended);
    let since = copies.newest().or(oldest)?;
    if newest.ended >= edge && since >= edge {
        return None;
    }
    let store = &copies.store;
    let text = match copies.newest() {
        Some(at) => format!(
            "the newest backup in `{store}` was made {}, one is expected every {expect_every}",
            units::age(at, now)
        ),
        None => format!("no backup is in `{store}` yet, one is expected every {expect_every}"),
    };
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .command(["copy", newest.id, "--to", store])
                .text(" copies the newest; the next run does it, too"),
        ),
    )
}

fn failure(copies: &CopySubject<'_>, now: DateTime<Utc>) -> Option<HealthFinding> {
    let (at, why) = copies.failure?;
    let store = &copies.store;
    let text = format!(
        "the last copy to `{store}` failed {}: {why}",
        units::age(at, now)
    );
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .command(["doctor", "--store", store])
                .text(" looks for the cause; the next run tries again"),
        ),
    )
}

/// A store of copies that could not be asked, for this reason.
pub fn unreachable(why: &str, hint: Option<&Hint>) -> HealthFinding {
    let finding = HealthFinding::new(HealthLevel::Warning, format!("unreachable: {why}"));
    match hint {
        Some(hint) => finding.with_hint(hint.clone()),
        None => finding,
    }
}
