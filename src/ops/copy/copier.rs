//! From one store to another: which backups of a source go, in which order and how far, and what is
//! asked before one goes.

use super::CopySummary;
use super::flatten::Flattener;
use super::selection::with_bases;
use super::target::is_of_store;
use crate::catalog::{self, Catalog, ListedBackup, WayState};
use crate::config::CopyLimit;
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::ops::copy_proof::check_copy;
use crate::ops::events::add_event;
use crate::ops::rescue::write_rescue_files;
use crate::ops::sweep::lock_and_sweep;
use crate::ops::{BackupEncryption, Observer, refuse_plain};
use crate::sidecar::{Change, CopyMark, Sidecar};
use crate::store::{Store, names};
use crate::units;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How much may still be copied in a run.
pub(super) struct CopyBudget {
    pub(super) limit: Option<CopyLimit>,
    started: Instant,
    spent: u64,
}

impl CopyBudget {
    pub(super) fn new(limit: Option<CopyLimit>) -> CopyBudget {
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

/// Copies from one store to another.
pub(super) struct Copier<'a> {
    pub(super) from: &'a dyn Store,
    pub(super) to: &'a dyn Store,
    /// How backups are encrypted there.
    pub(super) encryption: Option<&'a BackupEncryption>,
    /// See [`super::CopyRequest::plain`].
    pub(super) plain: bool,
    /// What makes fulls of deltas, where they are to be such.
    pub(super) flattener: Option<Flattener<'a>>,
    /// What the other store is called in events.
    pub(super) name: &'a str,
    pub(super) lock_wait: Duration,
    /// When all copies of the run must be made.
    pub(super) deadline: Option<Instant>,
    /// The copies that a run makes after its backups, which another run may be making just now.
    pub(super) is_after_run: bool,
    pub(super) observer: &'a dyn Observer,
}

/// What is known of the backups of a source in the other store, which is asked when the first
/// delta is to be built on one of them.
#[derive(Default)]
struct BasesThere(OnceCell<Option<Catalog>>);

impl BasesThere {
    /// The id of what is damaged there of the backup `id` and of all that it is built on. What
    /// can't be read is not known to be damaged.
    fn find_damage(&self, to: &dyn Store, source: &str, id: &str) -> Option<String> {
        let sources = [source.to_owned()];
        let read = || Catalog::read(to, Some(&sources)).ok();
        let catalog = self.0.get_or_init(read).as_ref()?;
        let found = catalog.of(source).find(|there| there.id() == id)?;
        match &found.way {
            _ if found.damage().is_some() => Some(id.to_owned()),
            WayState::Damaged(below) => Some(below.to_string()),
            WayState::Whole | WayState::Missing(_) | WayState::Unknown(_) => None,
        }
    }
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
    pub(super) fn copy_source(
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
        let bases_there = BasesThere::default();
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
            let is_present = present.contains(id.as_str());
            let is_built_there = !is_present && !stands_alone;
            let base = backup
                .needs()
                .filter(|base| is_built_there && present.contains(base));
            let damage = base.and_then(|base| bases_there.find_damage(self.to, source, base));
            let copied = match damage {
                Some(what) => Err(self.damaged_base_error(source, &what)),
                None => self.copy_one(source, backup, is_present),
            };
            match copied {
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

    /// The error of a delta that is not sent, as it would not restore from the other store.
    fn damaged_base_error(&self, source: &str, id: &str) -> Error {
        let text = format!("`{id}`, on which it is built, is damaged there");
        Error::damaged(text).with_hint(
            Hint::new()
                .text("take it away there, and copy again what is good here: ")
                .command(["delete", id, "--with-dependents", "--store", self.name])
                .text(", then ")
                .command(["copy", source, "--to", self.name, "--missing"]),
        )
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
    pub(super) fn is_signed_for_there(&self, source: &str, backup: &ListedBackup) -> Result<bool> {
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

/// Notes beside a backup what came of its copy, as an event.
pub(super) fn note_copy(
    from: &dyn Store,
    source: &str,
    id: &str,
    mark: CopyMark,
    observer: &dyn Observer,
) {
    if !from.may_write(source) {
        return;
    }
    if let Err(error) = add_event(from, source, id, Change::Copy(mark)) {
        observer.detail(format!("{id}: {error}"));
    }
}
