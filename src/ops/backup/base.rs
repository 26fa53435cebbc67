//! What a new backup is built on: whether it is a full or a delta, and against which base.
//!
//! Per source and store, all labels together, under the source's lock. A full is made where
//! anything speaks against a delta. One that turns out large, as after a VACUUM, is finished, and
//! the next one is a full.

use super::attempt::RunContext;
use crate::catalog::{Catalog, ListedBackup};
use crate::config::BackupSettings;
use crate::encryption::DecryptionKey;
use crate::engine::{Check, CheckFinding, CheckStatus};
use crate::error::{Error, Hint, Kind, Result};
use crate::failpoint::lowered;
use crate::ops::content::{BackupWay, WayCare};
use crate::ops::events::add_event;
use crate::ops::run::now;
use crate::ops::way::find_way;
use crate::pipeline::delta::Alignment;
use crate::plan::{SourceKind, SourcePlan};
use crate::retention::{PRE_RESTORE, choose_base, is_full_due};
use crate::sidecar::{Base, Change, DeltaPosition, Level, Verification};
use crate::units::Span;
use chrono::{DateTime, Utc};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Content of fewer bytes is saved as a full: a delta would save next to nothing.
const SMALLEST: u64 = 16 << 20;

/// The base of a new delta.
pub struct DeltaBase {
    /// How a sidecar names it.
    pub base: Base,
    /// Where the new delta stands; its own bytes are not on the way yet.
    position: DeltaPosition,
    /// The base, and what that is built on.
    pub way: BackupWay,
    page_size: usize,
    has_failed: Arc<AtomicBool>,
}

impl DeltaBase {
    /// Opens its content. What goes wrong with it is noted.
    pub fn open(&self, threads: usize) -> Result<BaseContent> {
        let inner = self
            .way
            .open_base(threads)
            .inspect_err(|_| self.note_failure())?;
        Ok(BaseContent {
            inner,
            has_failed: Arc::clone(&self.has_failed),
        })
    }

    /// Notes that a delta against it came to nothing: the run then makes a full.
    pub fn note_failure(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    /// Whether it, or what it is built on, could not be read.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// How content and base are laid side by side.
    pub fn alignment(&self) -> Alignment {
        Alignment::Pages(self.page_size)
    }

    /// Where a delta of so many bytes stands.
    pub fn position(&self, stored_size: u64) -> DeltaPosition {
        DeltaPosition {
            way_bytes: self.position.way_bytes + stored_size,
            ..self.position.clone()
        }
    }
}

/// The content of a base while a delta is made of it.
pub struct BaseContent {
    inner: Box<dyn Read + Send>,
    has_failed: Arc<AtomicBool>,
}

impl Read for BaseContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.has_failed.store(true, Ordering::SeqCst);
        }
        read
    }
}

/// Chooses the base for a backup of this estimated size; `None` where it is to be a full.
pub fn choose_delta_base(
    source: &SourcePlan,
    estimate: u64,
    catalog: &Catalog,
    context: RunContext<'_>,
) -> Result<Option<DeltaBase>> {
    if !may_be_delta(source, estimate, context) {
        return Ok(None);
    }
    let usable: Vec<&ListedBackup> = (catalog.of(&source.name))
        .filter(|backup| may_be_base(backup, now()))
        .collect();
    let Some(tree) = DeltaTree::of_newest(&usable) else {
        return Ok(None);
    };
    if tree.is_full_due(&source.settings, now()) {
        return Ok(None);
    }
    // Those that are no bases have their numbers all the same.
    let numbers = catalog
        .of(&source.name)
        .filter_map(|backup| tree.number_of(backup));
    let number = numbers.max().unwrap_or(0) + 1;
    let with_number = |number| {
        usable
            .iter()
            .find(|backup| tree.number_of(backup) == Some(number))
    };
    let Some(chosen) =
        choose_base(number, |number| with_number(number).is_some()).and_then(with_number)
    else {
        return Ok(None);
    };
    delta_base(chosen, &tree, number, context)
}

/// Whether a delta can be made at all.
fn may_be_delta(source: &SourcePlan, estimate: u64, context: RunContext<'_>) -> bool {
    let is_sqlite = matches!(source.kind, SourceKind::Sqlite { .. });
    source.settings.incremental
        && is_sqlite
        && !context.run.full
        && estimate >= lowered("DBBACKUP_TEST_DELTA_SIZE", SMALLEST)
        // Without a key the base could not be read, and from another machine it would be fetched.
        && context.encryption.is_none()
        && context.store.local_path().is_some()
}

fn may_be_base(backup: &ListedBackup, now: DateTime<Utc>) -> bool {
    backup.good()
        && !backup.is_encrypted()
        && backup.sidecar.label != PRE_RESTORE
        && backup.sidecar.started_at <= now
        && !backup.dated_ahead
        && (backup.sidecar.dump.as_ref()).is_some_and(|dump| dump.format == "sqlite3")
}

/// The newest full, and what is built on it.
struct DeltaTree<'a> {
    full: &'a ListedBackup,
    newest: &'a ListedBackup,
}

impl<'a> DeltaTree<'a> {
    /// The tree of the newest of these backups, the newest first.
    fn of_newest(usable: &[&'a ListedBackup]) -> Option<DeltaTree<'a>> {
        let newest = *usable.first()?;
        let full = match position_of(newest) {
            None => newest,
            Some(position) => usable.iter().find(|backup| backup.id() == position.full)?,
        };
        Some(DeltaTree { full, newest })
    }

    /// A backup's number in the tree; `None` where it is in another one.
    fn number_of(&self, backup: &ListedBackup) -> Option<u64> {
        if backup.id() == self.full.id() {
            return Some(0);
        }
        let position = position_of(backup)?;
        (position.full == self.full.id()).then_some(position.number)
    }

    fn is_full_due(&self, settings: &BackupSettings, now: DateTime<Utc>) -> bool {
        let way_bytes = position_of(self.newest).map_or(0, |position| position.way_bytes);
        let made_at = self.full.sidecar.started_at;
        let is_old = |every: Span| made_at <= every.before(now);
        is_full_due(way_bytes, self.full.presence.bytes())
            || settings.full_every.is_some_and(is_old)
    }
}

fn position_of(backup: &ListedBackup) -> Option<&DeltaPosition> {
    backup.sidecar.dump.as_ref()?.delta.as_deref()
}

/// The base with its way, from its whole sidecar; `None` where that says too little.
fn delta_base(
    chosen: &ListedBackup,
    tree: &DeltaTree<'_>,
    number: u64,
    context: RunContext<'_>,
) -> Result<Option<DeltaBase>> {
    let sidecar = chosen.whole(context.store)?.sidecar;
    let page_size = sidecar
        .database
        .as_ref()
        .and_then(|database| database.page_size);
    let (Some(dump), Some(page_size)) = (&sidecar.dump, page_size) else {
        return Ok(None);
    };
    let base = Base {
        id: sidecar.id.clone(),
        sha256: dump.sha256.clone(),
        content_sha256: dump.content_sha256.clone(),
    };
    let below = dump.delta.as_ref();
    let position = DeltaPosition {
        full: tree.full.id().to_owned(),
        number,
        depth: below.map_or(0, |below| below.depth) + 1,
        way_bytes: below.map_or(0, |below| below.way_bytes),
    };
    let objects = context.store.objects(&sidecar.source);
    let way = find_way(objects, &sidecar.source, &base, &DecryptionKey::NotNeeded);
    Ok(Some(DeltaBase {
        base,
        position,
        way,
        page_size: page_size as usize,
        has_failed: Arc::default(),
    }))
}

/// Notes beside each backup on the way that its file is damaged, so that neither it nor what is
/// built on it is taken for good; returns what is wrong, in words.
pub fn note_damage(base: &DeltaBase, source: &str, context: RunContext<'_>) -> Option<String> {
    let checks = base.way.check(WayCare::Checksum).unwrap_or_default();
    let damaged = |check: &&Check| check.status == CheckStatus::Damaged;
    let mut found = Vec::new();
    for check in checks.iter().filter(damaged) {
        if let CheckFinding::BaseDiffers { id, file } = &check.finding {
            let seen = Verification {
                at: now(),
                level: Level::Checksum,
                status: CheckStatus::Damaged,
                duration_seconds: 0.0,
                detail: Some(format!("the dump `{file}` is not what was written")),
                summary: None,
                host: None,
            };
            if let Err(error) = add_event(context.store, source, id, Change::Verified(seen)) {
                context
                    .observer
                    .warn(format!("{id}: its damage was not noted: {error}"));
            }
        }
        found.push(check.detail());
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// The error of a run whose delta came to nothing because of its base; it made a full.
pub fn error_of_base(base: &DeltaBase, found: Option<String>, failure: &Error) -> Error {
    let why = found.unwrap_or_else(|| failure.message());
    Error::new(
        Kind::Partial,
        format!(
            "a full was made, as no delta can be built on `{}`: {why}",
            base.base.id
        ),
    )
    .with_hint(
        Hint::new()
            .text("what is built on it does not restore either; ")
            .command(["list", "--status", "all"])
            .text(" shows what is damaged, and an older copy of the file mends it"),
    )
}
