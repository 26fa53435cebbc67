//! What a new backup is built on: whether it is a full or a delta, and against which base.
//!
//! Per source and store, all labels together, under the source's lock. A full is made where
//! anything speaks against a delta. One that turns out large, as after a VACUUM, is finished, and
//! the next one is a full.

use super::alignment::{DumpLayout, can_be_delta};
use super::attempt::RunContext;
use super::unchanged::{UnchangedContent, find_unchanged};
use crate::catalog::{Catalog, ListedBackup, Presence, WayState};
use crate::config::{BackupSettings, Incremental};
use crate::encryption::{DecryptionKey, Identities};
use crate::engine::files::base_tree::TreeBase;
use crate::engine::files::listing::Lines;
use crate::engine::{Check, CheckStatus, DumpFormat};
use crate::error::{Error, Hint, Kind, Result};
use crate::failpoint::lowered;
use crate::ops::BackupEncryption;
use crate::ops::condition::condition_of;
use crate::ops::content::{BackupWay, DumpCache, WayCare};
use crate::ops::engines::Engine;
use crate::ops::events::{add_event, note_damaged_bases};
use crate::ops::run::now;
use crate::ops::seal::open_sidecar;
use crate::ops::way::find_way;
use crate::pipeline::delta::Alignment;
use crate::plan::SourcePlan;
use crate::retention::{PRE_RESTORE, choose_base, is_full_due};
use crate::sidecar::{Base, Change, DeltaPosition, Level, Sidecar, Status, Verification};
use crate::units::Span;
use chrono::{DateTime, TimeDelta, Utc};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The base of a new delta.
pub struct DeltaBase {
    /// How a sidecar names it.
    pub base: Base,
    /// Where the new delta stands; its own bytes are not on the way yet.
    position: DeltaPosition,
    /// The base, and what that is built on.
    pub way: Arc<BackupWay>,
    layout: DumpLayout,
    /// The new content, where it is known to be that of the base.
    pub unchanged: Option<UnchangedContent>,
    has_failed: Arc<AtomicBool>,
}

impl DeltaBase {
    /// Opens its content. What goes wrong with it is noted.
    pub fn open(&self, threads: usize) -> Result<BaseContent> {
        let threads = self.layout.decoding_threads(threads);
        open_content(&self.way, threads, &self.has_failed)
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
        let (way, has_failed) = (Arc::clone(&self.way), Arc::clone(&self.has_failed));
        self.layout.alignment(Box::new(move || {
            let content = open_content(&way, 1, &has_failed)?;
            Ok(Box::new(content))
        }))
    }

    /// Lets the engine of a tree copy what the base has; `trusts_times` says whether what has the
    /// same times is taken for the same.
    pub fn lend_to(&self, engine: &mut Engine, trusts_times: bool) {
        let DumpLayout::Members {
            archive_size,
            stamp,
        } = &self.layout
        else {
            return;
        };
        let (way, has_failed) = (Arc::clone(&self.way), Arc::clone(&self.has_failed));
        engine.set_tree_base(TreeBase {
            open_list: Box::new(move || Ok(way.open_base_list()?.map(Lines::new))),
            archive_size: *archive_size,
            stamp: trusts_times.then(|| stamp.clone()),
            note_failure: Box::new(move || has_failed.store(true, Ordering::SeqCst)),
        });
    }

    /// Where a delta of so many bytes stands.
    pub fn position(&self, stored_size: u64) -> DeltaPosition {
        DeltaPosition {
            way_bytes: self.position.way_bytes + stored_size,
            ..self.position.clone()
        }
    }
}

/// Opens the content of the base that this way is that of.
fn open_content(
    way: &BackupWay,
    threads: usize,
    has_failed: &Arc<AtomicBool>,
) -> Result<BaseContent> {
    let opened = way.open_base(threads);
    let inner = opened.inspect_err(|_| has_failed.store(true, Ordering::SeqCst))?;
    Ok(BaseContent {
        inner,
        has_failed: Arc::clone(has_failed),
    })
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

/// Where nothing changes, the way is read this often.
const LONGEST_UNREAD: TimeDelta = TimeDelta::days(7);

/// What a new backup is built on.
#[derive(Default)]
pub struct BaseChoice {
    /// `None` where it is to be a full.
    pub base: Option<DeltaBase>,
    /// The error of a run that makes a full because a file is not there, or is not as long as it
    /// was written.
    pub lost: Option<Error>,
}

/// Chooses the base for a backup of what `engine` reads.
pub fn choose_delta_base(
    source: &SourcePlan,
    engine: &Engine,
    catalog: &Catalog,
    context: RunContext<'_>,
) -> Result<BaseChoice> {
    if !may_be_delta(source, engine.estimate(), context) {
        return Ok(BaseChoice::default());
    }
    let newest = catalog
        .of(&source.name)
        .find(|backup| was_made_as_base(backup, source.kind.format(), context));
    if let Some((id, why)) = newest.and_then(|newest| find_loss(newest, catalog)) {
        return Ok(BaseChoice {
            base: None,
            lost: Some(lost_base_error(&id, &why)),
        });
    }
    let base = choose_among(source, engine, catalog, context)?;
    if base.is_none() {
        note_known_damage(newest, context);
    }
    if let Some(base) = &base
        && let Some(why) = find_rot(base, catalog, &source.name, context)
    {
        return Ok(BaseChoice {
            base: None,
            lost: Some(lost_base_error(&base.base.id, &why)),
        });
    }
    Ok(BaseChoice { base, lost: None })
}

/// Finds what is wrong with the files on the way of a backup, by their presence and size, and the
/// backup that it costs; `None` where nothing is, or where it was found before.
fn find_loss(newest: &ListedBackup, catalog: &Catalog) -> Option<(String, String)> {
    let id = match &newest.way {
        WayState::Missing(id) | WayState::Damaged(id) => id,
        WayState::Whole | WayState::Unknown(_) => newest.id(),
    };
    let lost = |why: String| Some((newest.id().to_owned(), why));
    let mut same_source = catalog.of(&newest.sidecar.source);
    let Some(found) = same_source.find(|backup| backup.id() == id) else {
        return lost(format!("`{id}`, on which it is built, is not in the store"));
    };
    let dump = found.sidecar.dump.as_ref()?;
    match found.presence {
        // Whoever found it told of it.
        _ if found.damage().is_some() => None,
        Presence::Missing => lost(format!("the dump `{}` is not there", dump.file)),
        Presence::Bytes(size) if size != dump.size_bytes => lost(format!(
            "the dump `{}` has {size} bytes, and had {}",
            dump.file, dump.size_bytes
        )),
        Presence::Bytes(_) | Presence::Unknown(_) => None,
    }
}

/// Says why a full is made where a delta would be, if the newest backup were good: whoever found
/// the damage was told of it then, and may be somebody else.
fn note_known_damage(newest: Option<&ListedBackup>, context: RunContext<'_>) {
    let Some(newest) = newest.filter(|newest| !newest.good()) else {
        return;
    };
    let (condition, why) = condition_of(newest);
    context.observer.note(format!(
        "{}: a full is made, as no delta can be built on `{}`: {}",
        newest.sidecar.source,
        newest.id(),
        why.unwrap_or_else(|| condition.as_str().to_owned())
    ));
}

/// Whether the next backup would be a delta, as far as that can be told from what is listed.
pub fn would_be_delta(
    source: &SourcePlan,
    engine: &Engine,
    catalog: &Catalog,
    context: RunContext<'_>,
) -> bool {
    let newest = catalog
        .of(&source.name)
        .find(|backup| was_made_as_base(backup, source.kind.format(), context));
    may_be_delta(source, engine.estimate(), context)
        && newest.is_some_and(|newest| find_loss(newest, catalog).is_none())
        && choose_among(source, engine, catalog, context).is_ok_and(|base| base.is_some())
}

/// Chooses the base among what is good; `None` where it is to be a full.
fn choose_among(
    source: &SourcePlan,
    engine: &Engine,
    catalog: &Catalog,
    context: RunContext<'_>,
) -> Result<Option<DeltaBase>> {
    let usable: Vec<&ListedBackup> = (catalog.of(&source.name))
        .filter(|backup| may_be_base(backup, source.kind.format(), context))
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
    if let Some((holder, content)) = find_unchanged(engine, &usable, context)? {
        let text = format!(
            "{}: nothing has changed since {}",
            source.name,
            content.id()
        );
        context.observer.detail(text);
        let base = delta_base(holder, &tree, number, (source, engine), context)?;
        return Ok(base.map(|base| DeltaBase {
            unchanged: Some(content),
            ..base
        }));
    }
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
    delta_base(chosen, &tree, number, (source, engine), context)
}

/// Whether a delta can be made at all.
fn may_be_delta(source: &SourcePlan, estimate: u64, context: RunContext<'_>) -> bool {
    let smallest = source.settings.incremental.smallest();
    smallest.is_some_and(|size| estimate >= lowered("DBBACKUP_TEST_DELTA_SIZE", size))
        && can_be_delta(source.kind.format())
        && !context.run.full
        // Without a key the base could not be read, and from another machine it would be fetched.
        && context.encryption.is_none_or(|how| how.own_identities.is_some())
        && (context.store.local_path().is_some() || source.settings.cache_dir.is_some())
}

/// The cache of what the next delta is built on, where the store is on another machine and deltas
/// are to be made.
pub fn cache_of(source: &SourcePlan, context: RunContext<'_>) -> Option<DumpCache> {
    let store = context.store;
    let is_wanted = source.settings.incremental != Incremental::Never
        && can_be_delta(source.kind.format())
        && store.local_path().is_none()
        && context
            .encryption
            .is_none_or(|how| how.own_identities.is_some());
    let parent = source.settings.cache_dir.as_ref().filter(|_| is_wanted)?;
    Some(DumpCache::new(parent, store.location(), &source.name))
}

fn may_be_base(backup: &ListedBackup, format: DumpFormat, context: RunContext<'_>) -> bool {
    backup.good() && was_made_as_base(backup, format, context)
}

/// Whether a backup may be a base if its files are good.
fn was_made_as_base(backup: &ListedBackup, format: DumpFormat, context: RunContext<'_>) -> bool {
    backup.sidecar.status == Status::Ok
        && backup.is_encrypted() == context.encryption.is_some()
        && backup.sidecar.label != PRE_RESTORE
        && backup.sidecar.started_at <= now()
        && !backup.dated_ahead
        && (backup.sidecar.dump.as_ref()).is_some_and(|dump| dump.format == format.as_str())
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

/// The whole sidecar of a backup; `None` where it is encrypted, and not to a key of this machine:
/// that key was made since.
pub fn whole_sidecar(backup: &ListedBackup, context: RunContext<'_>) -> Result<Option<Sidecar>> {
    let sidecar = backup.whole(context.store)?.sidecar;
    let encryption = context.encryption.filter(|_| backup.is_encrypted());
    let Some(encryption) = encryption else {
        return Ok(Some(sidecar));
    };
    let fits = |identities: &Arc<Identities>| {
        let recipients = sidecar.dump.as_ref().map(|dump| &dump.recipients);
        let mut recipients = recipients.into_iter().flatten();
        recipients.any(|one| identities.fingerprints().contains(one))
    };
    let Some(identities) = encryption.own_identities.as_ref().filter(|own| fits(own)) else {
        return Ok(None);
    };
    let objects = context.store.objects(&sidecar.source);
    match open_sidecar(&sidecar, &*objects, identities) {
        Err(error) if matches!(error.kind(), Kind::Sealed | Kind::Damaged) => Ok(None),
        opened => opened.map(Some),
    }
}

/// The base with its way, from its whole sidecar; `None` where that says too little, or tells of
/// another layout.
fn delta_base(
    chosen: &ListedBackup,
    tree: &DeltaTree<'_>,
    number: u64,
    (source, engine): (&SourcePlan, &Engine),
    context: RunContext<'_>,
) -> Result<Option<DeltaBase>> {
    let Some(sidecar) = whole_sidecar(chosen, context)? else {
        return Ok(None);
    };
    let layout = DumpLayout::of_source(engine, source.kind.format(), &sidecar);
    let (Some(dump), Some(layout)) = (&sidecar.dump, layout) else {
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
    let key = context
        .encryption
        .map_or(DecryptionKey::NotNeeded, BackupEncryption::own_key);
    let way = find_way(objects, &sidecar.source, &base, &key);
    Ok(Some(DeltaBase {
        base,
        position,
        way: Arc::new(way.with_cache(cache_of(source, context))),
        layout,
        unchanged: None,
        has_failed: Arc::default(),
    }))
}

/// Notes beside each backup on the way that its file is damaged, so that neither it nor what is
/// built on it is taken for good; returns what is wrong, in words.
pub fn note_damage(base: &DeltaBase, source: &str, context: RunContext<'_>) -> Option<String> {
    let checks = base.way.check(WayCare::Checksum).unwrap_or_default();
    note_damaged_bases(context.store, source, &checks, context.observer);
    let damaged = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Damaged);
    let found: Vec<String> = damaged.map(Check::detail).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

/// The error of a run whose delta came to nothing because of its base; it made a full.
pub fn error_of_base(base: &DeltaBase, found: Option<String>, failure: &Error) -> Error {
    lost_base_error(&base.base.id, &found.unwrap_or_else(|| failure.message()))
}

/// Where nothing has changed nothing is read, so the files on the way are read from time to time:
/// else good backups would go, and copies of one that rots would stay. Says what is damaged.
fn find_rot(
    base: &DeltaBase,
    catalog: &Catalog,
    source: &str,
    context: RunContext<'_>,
) -> Option<String> {
    base.unchanged.as_ref()?;
    // From another machine all of it would have to be fetched.
    context.store.local_path()?;
    let holder = catalog
        .of(source)
        .find(|backup| backup.id() == base.base.id)?;
    let proven = holder
        .verifications()
        .filter(|seen| seen.status == CheckStatus::Ok && seen.at <= now());
    let read_at = proven
        .map(|seen| seen.at)
        .chain([holder.sidecar.started_at])
        .max()?;
    if now() - read_at < LONGEST_UNREAD {
        return None;
    }
    let began = Instant::now();
    let checks = match base.way.check(WayCare::Checksum) {
        Ok(checks) => checks,
        // What can't be read is no base either.
        Err(error) => return Some(error.message()),
    };
    if checks.iter().all(|check| check.status == CheckStatus::Ok) {
        let seen = Verification {
            at: now(),
            level: Level::Checksum,
            status: CheckStatus::Ok,
            duration_seconds: began.elapsed().as_secs_f64(),
            detail: None,
            summary: None,
            host: None,
        };
        let id = holder.id();
        if let Err(error) = add_event(context.store, source, id, Change::Verified(seen)) {
            context.observer.detail(format!("{id}: {error}"));
        }
        return None;
    }
    note_damaged_bases(context.store, source, &checks, context.observer);
    let wrong = checks
        .iter()
        .filter(|check| check.status != CheckStatus::Ok);
    Some(wrong.map(Check::detail).collect::<Vec<_>>().join("; "))
}

fn lost_base_error(id: &str, why: &str) -> Error {
    let text = format!("a full was made, as no delta can be built on `{id}`: {why}");
    Error::new(Kind::Partial, text).with_hint(
        Hint::new()
            .text("what is built on it does not restore either; ")
            .command(["list", "--status", "all"])
            .text(" shows what is damaged, and an older copy of the file mends it"),
    )
}
