//! Copies of backups in other stores: the stored files as they are, the sidecar last. The backup
//! that is copied is never harmed by it, nor is another copy.

mod after_run;
mod flatten;
mod selection;

pub use after_run::{copies_that_failed, copy_after_run};

use super::content::{copy_encrypted, copy_stored, measure_bytes};
use super::copy_proof::check_copy;
use super::events::{add_event, new_event};
use super::rescue::write_rescue_files;
use super::seal::seal_sidecar;
use super::sweep::lock_and_sweep;
use super::{BackupEncryption, Observer, Session, catalog_of, refuse_plain, time_of};
use crate::catalog::{self, Attempt, Backup, Catalog, ListedBackup};
use crate::config::CopyLimit;
use crate::encryption::AGE;
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::pipeline::{Measurement, Progress};
use crate::plan::StorePlan;
use crate::retention::PRE_RESTORE;
use crate::sidecar::{Change, CopyMark, Dump, Sidecar};
use crate::store::{self, Access, Draft, Location, Store, names};
use crate::units;
use flatten::Flattener;
use selection::{candidates, refuse_empty, refuse_unread, sort_words, with_bases};
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which backups are copied, and where to.
#[derive(Debug)]
pub struct CopyRequest {
    /// Sources, groups and backups; all sources where there is none.
    pub what: Vec<String>,
    /// The store that gets them: a name of the configuration, an address, or a directory.
    pub to: String,
    /// The store that has them; the one that is in use where it is `None`.
    pub from: Option<String>,
    /// Of a source every backup that is not there, and not the newest alone.
    pub missing: bool,
    /// Whether plain backups may go into a store that has none but encrypted ones.
    pub plain: bool,
    /// Whether deltas become fulls there, so that none needs another one.
    pub full: bool,
}

/// What came of copying.
#[derive(Debug, Default)]
pub struct CopySummary {
    /// The ids of the backups that were copied, in the order in which they were.
    pub copied: Vec<String>,
    /// The ids of those that were there already.
    pub present: Vec<String>,
    /// The ids of those that are left for another run, as the limit was reached.
    pub waiting: Vec<String>,
    /// What failed, by the backup's id; the observer has heard of it.
    pub failed: Vec<(String, Error)>,
    /// The bytes that were sent.
    pub size_bytes: u64,
}

impl CopySummary {
    fn add(&mut self, other: CopySummary) {
        self.copied.extend(other.copied);
        self.present.extend(other.present);
        self.waiting.extend(other.waiting);
        self.failed.extend(other.failed);
        self.size_bytes += other.size_bytes;
    }
}

/// Copies backups from one store to another.
pub fn copy_backups(
    request: &CopyRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<CopySummary> {
    let from = match &request.from {
        Some(word) => session.with_store(word).reading()?,
        None => session.reading()?,
    };
    let target = session.with_store(&request.to).store_plan()?;
    refuse_itself(target.location(), &*from)?;
    let (sources, single) = sort_words(&request.what, &*from, session, observer)?;
    session.keep_host_key()?;
    let encryption = session.encryption_at(target.location())?;
    let name = (target.name.clone()).unwrap_or_else(|| target.location().to_string());
    let to = open_target(&target.settings, &name, &*from)?;
    let copier = Copier {
        encryption: encryption.as_ref(),
        plain: request.plain,
        flattener: request.full.then_some(Flattener {
            from: &from,
            session,
        }),
        from: &*from,
        to: &*to,
        name: &name,
        lock_wait: session.lock_wait,
        deadline: deadline_of(&target.settings),
        is_after_run: false,
        observer,
    };
    let mut summary = CopySummary::default();
    // No word at all means every source.
    let catalog = match request.what.is_empty() || !sources.is_empty() {
        true => catalog_of(&*from, &sources)?,
        false => Catalog::default(),
    };
    let sources = match sources.is_empty() {
        true => catalog.sources(),
        false => catalog.members(&sources),
    };
    refuse_empty(&catalog, &sources, &*from, observer)?;
    for source in sources {
        let mut wanted = candidates(&catalog, &source, None);
        if !request.missing {
            wanted.truncate(1);
        }
        let newest = wanted.first().map(|backup| backup.id());
        let since = newest.filter(|_| !request.missing).map(time_of);
        summary
            .failed
            .extend(refuse_unread(&catalog, &source, since, observer));
        let mut budget = CopyBudget::new(None);
        summary.add(copier.copy_source(&source, &catalog, &wanted, &mut budget)?);
    }
    for (source, id) in single {
        let catalog = Catalog::read(&*from, Some(std::slice::from_ref(&source)))?;
        let wanted: Vec<&ListedBackup> = catalog
            .of(&source)
            .filter(|backup| backup.id() == id)
            .collect();
        let mut budget = CopyBudget::new(None);
        summary.add(copier.copy_source(&source, &catalog, &wanted, &mut budget)?);
    }
    Ok(summary)
}

/// How much may still be copied in a run.
struct CopyBudget {
    limit: Option<CopyLimit>,
    started: Instant,
    spent: u64,
}

impl CopyBudget {
    fn new(limit: Option<CopyLimit>) -> CopyBudget {
        CopyBudget {
            limit,
            started: Instant::now(),
            spent: 0,
        }
    }

    /// Whether another backup of this size may be begun.
    fn allows(&self, size: u64) -> bool {
        match self.limit {
            None => true,
            Some(CopyLimit::Time(time)) => self.started.elapsed() < time,
            Some(CopyLimit::Size(most)) => self.spent.saturating_add(size) <= most,
        }
    }
}

/// Whether a copy failed because of the other store, so that the next one need not be tried: not
/// where the backup is damaged, or another run is at it.
fn is_of_store(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Damaged | Kind::Locked)
}

/// When the copies of a run that begins now must be made.
fn deadline_of(settings: &store::StoreSettings) -> Option<Instant> {
    settings
        .connection
        .deadline
        .map(|time| Instant::now() + time)
}

/// Copies from one store to another.
struct Copier<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    /// How backups are encrypted there.
    encryption: Option<&'a BackupEncryption>,
    /// See [`CopyRequest::plain`].
    plain: bool,
    /// What makes fulls of deltas, where they are to be such.
    flattener: Option<Flattener<'a>>,
    /// What the other store is called in events.
    name: &'a str,
    lock_wait: Duration,
    /// When all copies of the run must be made.
    deadline: Option<Instant>,
    /// The copies that a run makes after its backups, which another run may be making just now.
    is_after_run: bool,
    observer: &'a dyn Observer,
}

/// What came of one copy.
enum Copied {
    /// It was sent; so many bytes.
    Sent(u64),
    /// It was there already.
    Present,
}

impl Copier<'_> {
    /// Copies these backups of a source, the newest first, as far as the budget goes; the first one
    /// always. After a failure of the other store the rest waits for another run.
    fn copy_source(
        &self,
        source: &str,
        catalog: &Catalog,
        wanted: &[&ListedBackup],
        budget: &mut CopyBudget,
    ) -> Result<CopySummary> {
        let mut summary = CopySummary::default();
        if wanted.is_empty() {
            return Ok(summary);
        }
        if self.encryption.is_none() && !self.plain && wanted.iter().any(|one| !one.is_encrypted())
        {
            refuse_plain(self.to)?;
        }
        write_rescue_files(self.to, &[source.to_owned()], self.observer);
        let _lock = lock_and_sweep(self.to, source, self.lock_wait, self.observer)?;
        let listing = self.to.list(source)?;
        let present: HashSet<&str> = listing
            .objects
            .iter()
            .filter_map(|name| names::sidecar_id(name))
            .collect();
        let mut there: HashSet<String> = present.iter().map(|&id| id.to_owned()).collect();
        let mut queue = match self.flattener {
            None => with_bases(catalog, source, wanted),
            Some(_) => wanted.to_vec(),
        };
        // The newest one goes whatever its size, and so does what it is built on.
        let newest = wanted.first().map(|backup| backup.id());
        let mut is_first = true;
        queue.reverse();
        while let Some(backup) = queue.pop() {
            interrupt::check()?;
            let id = backup.id().to_owned();
            let size = backup.presence.bytes();
            // What lacks its base there would not restore.
            let stands_alone = self.flattener.is_some();
            let has_base = stands_alone || backup.needs().is_none_or(|base| there.contains(base));
            let may_go = has_base && (is_first || budget.allows(size));
            is_first &= newest != Some(id.as_str());
            if !present.contains(id.as_str()) && !may_go {
                summary.waiting.push(id);
                continue;
            }
            match self.copy_one(source, backup, present.contains(id.as_str())) {
                Ok(Copied::Present) => summary.present.push(id),
                Ok(Copied::Sent(bytes)) => {
                    budget.spent += bytes;
                    summary.size_bytes += bytes;
                    there.insert(id.clone());
                    summary.copied.push(id);
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) if error.kind() == Kind::Locked && self.is_after_run => {
                    self.observer.note(error.message());
                    summary.waiting.push(id);
                }
                Err(error) => {
                    let error = error.context(format!("copying {id} to `{}`", self.to.name()));
                    self.observer.fail(&error);
                    self.note(source, &id, Some(error.message()), None);
                    there.remove(&id);
                    let is_over = is_of_store(&error);
                    summary.failed.push((id, error));
                    if is_over {
                        summary
                            .waiting
                            .extend(queue.iter().rev().map(|backup| backup.id().to_owned()));
                        break;
                    }
                }
            }
        }
        Ok(summary)
    }

    fn copy_one(&self, source: &str, backup: &ListedBackup, is_present: bool) -> Result<Copied> {
        let id = backup.id();
        let name = names::sidecar_name(id);
        let bytes = self.from.read(source, &name)?;
        let sidecar_sha256;
        let done = if is_present {
            let known = backup.state.copies.get(self.name);
            let known = known.and_then(|last| last.sidecar_sha256.as_deref());
            sidecar_sha256 = check_copy(self.to, source, id, &bytes, known)?;
            self.must_stand_alone(source, id)?;
            Copied::Present
        } else {
            // It has no checksum: a byte that came over wrong would be in the copy for good.
            if self.from.read(source, &name)? != bytes {
                return Err(Error::failed(format!(
                    "`{}` is another one when it is read again",
                    self.from.location().object(source, &name)
                )));
            }
            self.must_count_there(source, backup, &bytes)?;
            let (sent, sha256) = self.send(source, backup, &bytes)?;
            sidecar_sha256 = Some(sha256);
            self.observer.line(format!(
                "copied {id} to {}: {}",
                self.to.name(),
                units::size(sent)
            ));
            Copied::Sent(sent)
        };
        self.note(source, id, None, sidecar_sha256);
        Ok(done)
    }

    /// An error where a copy that is there already needs another one, and none is to.
    fn must_stand_alone(&self, source: &str, id: &str) -> Result<()> {
        if self.flattener.is_none() {
            return Ok(());
        }
        let bytes = self.to.read(source, &names::sidecar_name(id))?;
        let dump = Sidecar::parse(&bytes).ok().and_then(|there| there.dump);
        if dump.is_none_or(|dump| dump.base.is_none()) {
            return Ok(());
        }
        Err(Error::failed("it is there as a delta").with_hint(
            Hint::new()
                .text("to have it there as a full, take the delta away first: ")
                .command(["delete", id, "--store", self.name]),
        ))
    }

    /// Whether this machine may vouch for a backup in the other store: by its own signature it says
    /// that a key that counts there has signed it here.
    fn is_signed_for_there(&self, source: &str, backup: &ListedBackup) -> Result<bool> {
        let keys = self.to.trusted_keys();
        if keys.is_empty() {
            return Ok(backup.signature.is_accepted());
        }
        let name = names::sidecar_name(backup.id());
        let bytes = self.from.read(source, &name)?;
        let found =
            catalog::judge_signature_by(keys, &*self.from.objects(source), source, &name, &bytes)?;
        Ok(found.is_accepted())
    }

    /// An error where the backup would not count in the other store, which trusts some keys alone.
    fn must_count_there(&self, source: &str, backup: &ListedBackup, bytes: &[u8]) -> Result<()> {
        let keys = self.to.trusted_keys();
        if keys.is_empty() {
            return Ok(());
        }
        let name = names::sidecar_name(backup.id());
        let from = self.from.objects(source);
        let found = catalog::judge_signature_by(keys, &*from, source, &name, bytes)?;
        let is_encrypted_anew = self.encryption.is_some() && !backup.is_encrypted();
        let is_flattened = self.flattener.is_some() && backup.needs().is_some();
        let is_signed_anew = is_encrypted_anew || is_flattened;
        if found.is_accepted() && (!is_signed_anew || self.to.own_signature()?.is_accepted()) {
            return Ok(());
        }
        let why = match found.is_accepted() {
            true => {
                "this machine, which would sign it anew as it becomes another one there, signs \
                 with none of the keys that the store trusts"
            }
            false => "none of the keys that the store trusts has signed it",
        };
        Err(Error::failed(format!("it would not count there: {why}")).with_hint(
            "add the public key of the machine that made it, and this one's, to `trust` of that \
             store",
        ))
    }

    /// Sends the objects of a backup, then its sidecar, encrypted where the store wants it and they
    /// are not. Returns the bytes of the objects, and the SHA-256 of the sidecar there.
    fn send(
        &self,
        source: &str,
        backup: &ListedBackup,
        sidecar_bytes: &[u8],
    ) -> Result<(u64, String)> {
        let sidecar = Sidecar::parse(sidecar_bytes)
            .map_err(|why| Error::damaged(format!("its sidecar can't be used: {why}")))?;
        let is_encrypted = |dump: &Dump| dump.encryption.is_some();
        let encryption = self
            .encryption
            .filter(|_| !sidecar.dump.as_ref().is_some_and(is_encrypted));
        let mut draft = self.to.begin_copy(source, backup.id())?;
        if let Some(flattener) = self.flattener.as_ref().filter(|_| backup.needs().is_some()) {
            return self.send_flattened(draft, source, backup, flattener);
        }
        if let Some(encryption) = encryption {
            return self.send_encrypted(draft, source, backup, sidecar, encryption);
        }
        let mut sent = 0;
        let dump = sidecar
            .dump
            .iter()
            .map(|dump| (dump.file.as_str(), dump.sha256.as_str(), dump.size_bytes));
        let contents = sidecar.contents().into_iter();
        let contents =
            contents.map(|list| (list.file.as_str(), list.sha256.as_str(), list.size_bytes));
        for (file, sha256, size) in dump.chain(contents) {
            self.send_object(&mut *draft, source, (file, sha256, size), None)?;
            sent += size;
        }
        if let Some(part) = &sidecar.sealed {
            let (file, sha256, size) = (&part.file, &part.sha256, part.size_bytes);
            self.send_object(&mut *draft, source, (file, sha256, size), None)?;
            sent += size;
        }
        self.send_signature(&mut *draft, source, &names::sidecar_name(backup.id()))?;
        send_pin(&mut *draft, backup)?;
        draft.commit(sidecar_bytes)?;
        Ok((sent, measure_bytes(sidecar_bytes)?.sha256))
    }

    /// Sends the signature of the sidecar, where there is one.
    fn send_signature(&self, draft: &mut dyn Draft, source: &str, signed: &str) -> Result<()> {
        let name = names::signature_name(signed);
        let bytes = match self.from.read(source, &name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut pending = draft.create(&name)?;
        pending.write_all(&bytes)?;
        pending.finish()
    }

    /// Sends a plain backup encrypted: its objects get other names and hashes, and so its sidecar
    /// is another one.
    fn send_encrypted(
        &self,
        mut draft: Box<dyn Draft>,
        source: &str,
        backup: &ListedBackup,
        mut sidecar: Sidecar,
        encryption: &BackupEncryption,
    ) -> Result<(u64, String)> {
        let mut sent = 0;
        if let Some(dump) = &mut sidecar.dump {
            let stored = (dump.file.as_str(), dump.sha256.as_str(), dump.size_bytes);
            let found = self.send_object(&mut *draft, source, stored, Some(encryption))?;
            sent += found.size;
            dump.file = format!("{}.{AGE}", dump.file);
            (dump.size_bytes, dump.sha256) = (found.size, found.sha256);
            dump.encryption = Some(AGE.to_owned());
            dump.recipients = encryption.recipients.fingerprints().to_vec();
        }
        sent += self.send_list(&mut *draft, source, &mut sidecar)?;
        send_pin(&mut *draft, backup)?;
        // The one before it has another sidecar there, too, and may not be there at all.
        sidecar.previous = None;
        if self.is_signed_for_there(source, backup)? {
            draft.sign_copy();
        }
        let open = seal_sidecar(&mut *draft, &mut sidecar, Some(encryption))?.to_bytes();
        draft.commit(&open)?;
        Ok((sent, measure_bytes(&open)?.sha256))
    }

    /// Sends the list of contents, where there is one, encrypted where the store wants it and it is
    /// not; returns the bytes that were sent.
    fn send_list(&self, draft: &mut dyn Draft, source: &str, sidecar: &mut Sidecar) -> Result<u64> {
        let tree = sidecar.manifest.as_mut().and_then(|all| all.tree.as_mut());
        let Some(list) = tree.and_then(|tree| tree.contents.as_mut()) else {
            return Ok(0);
        };
        let encryption = self.encryption.filter(|_| !list.file.ends_with(AGE));
        let stored = (list.file.as_str(), list.sha256.as_str(), list.size_bytes);
        let found = self.send_object(draft, source, stored, encryption)?;
        if encryption.is_some() {
            list.file = format!("{}.{AGE}", list.file);
        }
        (list.size_bytes, list.sha256) = (found.size, found.sha256.clone());
        Ok(found.size)
    }

    /// Writes until the time for all copies is over.
    fn bounded<W: Write>(&self, inner: W) -> BoundedSink<W> {
        BoundedSink {
            inner,
            deadline: self.deadline,
        }
    }

    /// Sends one object, encrypted where that is wanted; returns what was sent. What is not what
    /// the sidecar says is not sent to its end.
    fn send_object(
        &self,
        draft: &mut dyn Draft,
        source: &str,
        (file, sha256, size): (&str, &str, u64),
        encryption: Option<&BackupEncryption>,
    ) -> Result<Measurement> {
        let progress = Progress::default();
        let title = format!("copying {source}");
        let _bar = self.observer.follow(&title, size, &progress);
        let mut pending = match encryption {
            None => draft.create(file)?,
            Some(_) => draft.create(&format!("{file}.{AGE}"))?,
        };
        let objects = self.from.objects(source);
        let mut sink = self.bounded(&mut *pending);
        let (found, sent) = match encryption {
            None => {
                let found = copy_stored(&*objects, file, &mut sink, &progress)?;
                (found.clone(), found)
            }
            Some(how) => copy_encrypted(&*objects, file, &how.recipients, &mut sink, &progress)?,
        };
        if found.size != size || found.sha256 != sha256 {
            return Err(Error::damaged(format!(
                "`{}` is not what was written, so it was not copied",
                self.from.location().object(source, file)
            )));
        }
        pending.finish()?;
        Ok(sent)
    }

    /// Notes beside the backup what came of the copy. Where it can't be written it is not known
    /// later, and looked for again.
    fn note(
        &self,
        source: &str,
        id: &str,
        failure: Option<String>,
        sidecar_sha256: Option<String>,
    ) {
        let mark = CopyMark {
            store: self.name.to_owned(),
            location_sha256: Some(self.to.location().sha256()),
            failure,
            sidecar_sha256,
        };
        note_copy(self.from, source, id, mark, self.observer);
    }
}

/// Puts the pin of a pinned backup into the draft of its copy.
fn send_pin(draft: &mut dyn Draft, backup: &ListedBackup) -> Result<()> {
    if !backup.state.pinned {
        return Ok(());
    }
    let (name, event) = new_event(backup.id(), Change::Pinned, None);
    let mut pending = draft.create(&name)?;
    pending.write_all(&event.to_bytes())?;
    pending.finish()
}

/// Notes beside a backup what came of its copy, as an event.
fn note_copy(from: &dyn Store, source: &str, id: &str, mark: CopyMark, observer: &dyn Observer) {
    if !from.may_write(source) {
        return;
    }
    if let Err(error) = add_event(from, source, id, Change::Copy(mark)) {
        observer.detail(format!("{id}: {error}"));
    }
}

/// The stores that are to have a copy of a backup and do not have it, as far as is known here.
pub fn missing_copies<S: Attempt>(
    backup: &Backup<S>,
    in_use: &StorePlan,
    session: &Session,
) -> Vec<String> {
    let settings = session.settings_of(backup.sidecar.source());
    let is_wanted = in_use.configured && backup.good() && backup.sidecar.label() != PRE_RESTORE;
    let stores = session.config.as_ref().map(|config| &config.stores);
    let is_there = |name: &str| {
        let store = stores.and_then(|stores| stores.get(name));
        let place = store.map(|store| store.settings.location.resolved(&session.cwd).sha256());
        place.is_some_and(|place| backup.state.is_copied_to(name, &place))
    };
    let missing = |name: &&String| in_use.name.as_ref() != Some(name) && !is_there(name);
    let wanted = settings.copies.iter().filter(|_| is_wanted);
    wanted.filter(missing).cloned().collect()
}

/// Writes until a moment, and fails after it.
struct BoundedSink<W> {
    inner: W,
    deadline: Option<Instant>,
}

impl<W> BoundedSink<W> {
    fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for BoundedSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            let error = Error::failed("it took longer than the store's `deadline`")
                .with_hint("raise `deadline`, or look at the line: `upload_limit` may be low");
            return Err(error.into());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// An error where a store of copies is the very store that the backups are in.
fn refuse_itself(target: &Location, from: &dyn Store) -> Result<()> {
    if !store::is_same_place(target, from.location()) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the store `{target}` is both where the backups are and where they are to go"
    ))
    .with_hint("a copy is in another place, best on another machine; `--to` or `copies` names it"))
}

/// A store of copies with this name, opened to be written to. It begins anew only where nothing is
/// known of copies there: the mount point of a disk that is away looks like a new store.
fn open_target(
    settings: &store::StoreSettings,
    name: &str,
    from: &dyn Store,
) -> Result<Arc<dyn Store>> {
    refuse_itself(&settings.location, from)?;
    if !settings.require_mount && !store::is_marked_at(&settings.location) {
        let known = count_known_copies(&Catalog::read(from, None)?, name, &settings.location);
        if known > 0 {
            return Err(lost_store_error(&settings.location, known));
        }
    }
    store::open(settings, Access::Write)
}

/// How many backups are noted to have been copied to a store at a place.
pub fn count_known_copies(catalog: &Catalog, name: &str, location: &Location) -> u64 {
    let place = location.sha256();
    let is_there = |backup: &&ListedBackup| backup.state.is_copied_to(name, &place);
    catalog.backups().filter(is_there).count() as u64
}

/// The error of a store of copies that is not there any more.
pub fn lost_store_error(location: &Location, copies: u64) -> Error {
    Error::failed(format!(
        "there is no store at `{location}`, to which {} copied before",
        match copies {
            1 => "1 backup was".to_owned(),
            copies => format!("{copies} backups were"),
        }
    ))
    .with_hint(match location.local_path() {
        None => "look whether somebody has removed it".to_owned(),
        Some(root) => format!(
            "is its disk mounted? With `require_mount = true` of the store any disk that is \
             mounted there will do; to begin anew in the directory: {}",
            store::marking_command(root)
        ),
    })
}
