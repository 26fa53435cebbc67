//! What a store holds: its backups, the sidecars that can't be read, and the dumps that nobody
//! knows. Here is what can be asked of it; how it is read is in `read`, how a user's words for a
//! backup find one in `resolve`.

mod chain;
mod read;
mod resolve;
#[cfg(test)]
mod tests;
mod ways;
mod witness;

pub use chain::{ChainFault, ChainFaultKind, digest_text};
pub use read::{holds, looks_like_a_dump, reading_threads};
pub use resolve::quoted_list;
pub use ways::{LONGEST_WAY, WayState};
pub use witness::{judge_signature, judge_signature_by, read_state};

use crate::engine::CheckStatus;
use crate::error::{Error, Kind, Result};
use crate::retention::PRE_RESTORE;
use crate::sidecar::{BackupState, Brief, Failure, Level, Sidecar, Status, Verification};
use crate::signature::SignatureStatus;
use crate::store::{KnownNames, names};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One attempt that a store remembers, with what came later. The catalog of a store has them
/// without what only a look at that one needs ([`ListedBackup`]); [`ListedBackup::whole`] reads the
/// rest.
#[derive(Debug, Clone)]
pub struct Backup<S = Sidecar> {
    /// What was written with it.
    pub sidecar: S,
    /// What came later.
    pub state: BackupState,
    /// An event is there but can't be read; then a pin may have been lost, and nothing is removed.
    pub state_lost: bool,
    /// The dump as it lies in the store; [`Presence::Missing`] for an attempt that never had one.
    pub presence: Presence,
    /// What it is built on, as it lies in the store.
    pub way: WayState,
    /// Who signed the sidecar.
    pub signature: SignatureStatus,
    /// Whether it says that it was made later than the store, by its own clock, had it.
    pub dated_ahead: bool,
    /// SHA-256 of the sidecar as stored, where backups are signed.
    pub digest: Option<[u8; 32]>,
}

/// What a store answers when it is asked for a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is there, with so many bytes.
    Bytes(u64),
    /// It is not there.
    Missing,
    /// It can't be told, for this reason.
    Unknown(Box<str>),
}

impl Presence {
    /// From a store's answer: an error is not an absence.
    pub fn of(size: Result<u64>) -> Presence {
        match size {
            Ok(bytes) => Presence::Bytes(bytes),
            Err(error) if error.kind() == Kind::NotFound => Presence::Missing,
            Err(error) => Presence::Unknown(with_remedy(&error).into()),
        }
    }

    /// The bytes that are surely there.
    pub fn bytes(&self) -> u64 {
        if let Presence::Bytes(bytes) = self {
            *bytes
        } else {
            0
        }
    }
}

/// An error in one line, with what to do about it.
fn with_remedy(error: &Error) -> String {
    error.hint().map_or_else(
        || error.message(),
        |remedy| format!("{} ({remedy})", error.message()),
    )
}

/// A backup as the catalog has it.
pub type ListedBackup = Backup<Brief>;

/// What both forms of a sidecar can say.
pub trait Attempt {
    /// Its id.
    fn id(&self) -> &str;
    /// How it ended.
    fn status(&self) -> Status;
    /// Its source.
    fn source(&self) -> &str;
    /// Why it was made.
    fn label(&self) -> &str;
    /// The dump's size in bytes as it was written.
    fn dump_size(&self) -> Option<u64>;
    /// What `verify_after` found.
    fn first_verifications(&self) -> &[Verification];
    /// Why it failed.
    fn failure(&self) -> Option<&Failure>;
}

impl Attempt for Sidecar {
    fn id(&self) -> &str {
        &self.id
    }

    fn status(&self) -> Status {
        self.status
    }

    fn source(&self) -> &str {
        &self.source
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn dump_size(&self) -> Option<u64> {
        self.dump.as_ref().map(|dump| dump.size_bytes)
    }

    fn first_verifications(&self) -> &[Verification] {
        &self.verifications
    }

    fn failure(&self) -> Option<&Failure> {
        self.error.as_ref()
    }
}

impl Attempt for Brief {
    fn id(&self) -> &str {
        &self.id
    }

    fn status(&self) -> Status {
        self.status
    }

    fn source(&self) -> &str {
        &self.source
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn dump_size(&self) -> Option<u64> {
        self.dump.as_ref().map(|dump| dump.size_bytes)
    }

    fn first_verifications(&self) -> &[Verification] {
        &self.verifications
    }

    fn failure(&self) -> Option<&Failure> {
        self.error.as_deref()
    }
}

/// A sidecar that can't be used.
#[derive(Debug, Clone)]
pub struct UnreadableSidecar {
    /// The directory it is in.
    pub source: String,
    /// From its name.
    pub id: String,
    /// Why.
    pub reason: String,
    /// The backup may be good: only this version, or this moment, is not the one to read it.
    pub may_be_good: bool,
    /// The id of the backup that it is built on, where so much can be read of it.
    pub needs: Option<String>,
    /// No trusted key signed it.
    pub is_untrusted: bool,
}

/// A file among the backups that no sidecar knows.
#[derive(Debug, Clone)]
pub struct OrphanedDump {
    /// The directory it is in.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Every attempt, newest first.
    backups: Vec<ListedBackup>,
    /// In order of their ids.
    pub unreadable: Vec<UnreadableSidecar>,
    /// Dumps without a sidecar: copied here, or their sidecar was lost.
    pub orphans: Vec<OrphanedDump>,
    /// Where the attempts of each source are in `backups`; sources of which only unreadable
    /// sidecars are there have none.
    places: BTreeMap<String, Vec<usize>>,
    /// Of a store without locks: the sidecars and events that its lists had, by the source.
    listed: BTreeMap<String, KnownNames>,
}

impl<S: Attempt> Backup<S> {
    /// Its id.
    pub fn id(&self) -> &str {
        self.sidecar.id()
    }

    /// The verification at backup and the later ones, oldest first.
    pub fn verifications(&self) -> impl DoubleEndedIterator<Item = &Verification> {
        self.sidecar
            .first_verifications()
            .iter()
            .chain(&self.state.verifications)
    }

    /// The damage that was found last, unless a look as deep or deeper has found none since.
    pub fn damage(&self) -> Option<&Verification> {
        let mut cleared: Option<Level> = None;
        for seen in self.verifications().rev() {
            match seen.status {
                CheckStatus::Ok => cleared = cleared.max(Some(seen.level)),
                CheckStatus::Damaged if cleared.is_none_or(|level| level < seen.level) => {
                    return Some(seen);
                }
                _ => {}
            }
        }
        None
    }

    /// Whether the dump is there, as long as it was written.
    pub fn is_whole(&self) -> bool {
        self.sidecar
            .dump_size()
            .is_some_and(|size| self.presence == Presence::Bytes(size))
    }

    /// Whole, with its dump and its way there as long as they should be, not found damaged since,
    /// and signed by a trusted key where one is asked for.
    pub fn good(&self) -> bool {
        self.sidecar.status() == Status::Ok
            && self.is_whole()
            && self.way == WayState::Whole
            && self.damage().is_none()
            && self.signature.is_accepted()
    }

    /// Whether it may be good for all that is known: its dump is not at hand, which can change, and
    /// nothing else is wrong with it.
    pub fn may_be_good(&self) -> bool {
        self.sidecar.status() == Status::Ok
            && self.sidecar.dump_size().is_some()
            && !matches!(self.way, WayState::Damaged(_))
            && self.damage().is_none()
            && self.signature.is_accepted()
    }

    /// The last time it was found sound, at the deepest level that it was.
    pub fn proof(&self) -> Option<&Verification> {
        self.verifications()
            .filter(|seen| seen.status == CheckStatus::Ok)
            .max_by_key(|seen| (seen.level, seen.at))
    }
}

/// A backup as `--json` shows it: the sidecar, with all verifications, and the rest of the state.
#[derive(Serialize)]
pub struct ShownBackup {
    #[serde(flatten)]
    sidecar: Sidecar,
    pinned: bool,
    good: bool,
    copies: Vec<ShownCopy>,
    signature: ShownSignature,
}

/// Who signed a backup, as `--json` shows it.
#[derive(Serialize)]
struct ShownSignature {
    status: &'static str,
    key: Option<String>,
}

impl From<&SignatureStatus> for ShownSignature {
    fn from(status: &SignatureStatus) -> Self {
        ShownSignature {
            status: status.as_str(),
            key: status.key(),
        }
    }
}

/// What came last of copying a backup to one store, as `--json` shows it.
#[derive(Serialize)]
struct ShownCopy {
    store: String,
    at: DateTime<Utc>,
    error: Option<String>,
}

impl From<Backup> for ShownBackup {
    fn from(backup: Backup) -> ShownBackup {
        let good = backup.good();
        let signature = ShownSignature::from(&backup.signature);
        let Backup {
            mut sidecar, state, ..
        } = backup;
        sidecar.verifications.extend(state.verifications);
        let copies = state.copies.into_iter().map(|(store, last)| ShownCopy {
            store,
            at: last.at,
            error: last.failure,
        });
        ShownBackup {
            sidecar,
            pinned: state.pinned,
            good,
            copies: copies.collect(),
            signature,
        }
    }
}

impl Backup {
    /// What [`ShownBackup`] shows, as a value.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(ShownBackup::from(self.clone())).unwrap_or_default()
    }
}

impl ListedBackup {
    /// The id of the backup without which it does not restore, where it is built on one.
    pub fn needs(&self) -> Option<&str> {
        let base = self.sidecar.dump.as_ref()?.base.as_ref()?;
        Some(base.as_str())
    }

    /// Whether its dump is encrypted.
    pub fn is_encrypted(&self) -> bool {
        let dump = self.sidecar.dump.as_ref();
        dump.is_some_and(|dump| dump.is_encrypted)
    }

    /// By age, those of one second too.
    pub fn by_age(&self, other: &ListedBackup) -> Ordering {
        let (a, b) = (&self.sidecar, &other.sidecar);
        let number = |id: &str| names::number_in_second(id);
        (a.started_at, a.finished_at)
            .cmp(&(b.started_at, b.finished_at))
            .then_with(|| number(&a.id).cmp(&number(&b.id)))
            .then_with(|| a.id.cmp(&b.id))
    }
}

impl Catalog {
    /// Every attempt, newest first.
    pub fn backups(&self) -> impl ExactSizeIterator<Item = &ListedBackup> + Clone {
        self.backups.iter()
    }

    /// The backups of one source, newest first.
    pub fn of<'a>(&'a self, source: &str) -> impl Iterator<Item = &'a ListedBackup> + use<'a> {
        self.places
            .get(source)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|&at| &self.backups[at])
    }

    /// Where a source's data was when its newest backup that tells it was made: its file, or the
    /// first path of a tree.
    pub fn data_path(&self, source: &str) -> Option<PathBuf> {
        self.of(source).find_map(|backup| {
            let database = backup.sidecar.database.as_ref()?;
            database.places().into_iter().next()
        })
    }

    /// The sources that have anything, sorted.
    pub fn sources(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// Whether a source has anything.
    pub fn has_source(&self, source: &str) -> bool {
        self.places.contains_key(source)
    }

    /// The cluster that a source's newest backup says it is of. Safety copies of restores say it
    /// only where there is nothing else: older versions left it out of them.
    pub fn cluster_of(&self, source: &str) -> Option<&str> {
        let (safety, own): (Vec<&ListedBackup>, Vec<&ListedBackup>) = self
            .of(source)
            .filter(|backup| backup.sidecar.database.is_some() && backup.signature.is_accepted())
            .partition(|backup| backup.sidecar.label == PRE_RESTORE);
        own.first()
            .or(safety.first())?
            .sidecar
            .database
            .as_ref()?
            .cluster
            .as_deref()
    }

    /// The names with those of clusters resolved: `cluster` is itself, where it has a history, and
    /// every source whose backups say that they are of it. A name that nothing belongs to stays.
    pub fn members(&self, names: &[String]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for name in names {
            // The name alone says nothing: `app.old` may be a source of its own.
            let of_it = |source: &&String| {
                *source == name
                    || is_named_of(source, name) && self.cluster_of(source) == Some(name)
            };
            let mut found: Vec<String> = self.places.keys().filter(of_it).cloned().collect();
            // The cluster's own history first.
            found.sort_by_key(|source| source != name);
            if found.is_empty() {
                found.push(name.clone());
            }
            // A member that was named by itself, before its cluster or after it, is meant once.
            found.retain(|source| !all.contains(source));
            all.extend(found);
        }
        all
    }

    /// Whether other sources say that they are of this one.
    pub fn has_members(&self, source: &str) -> bool {
        self.places
            .keys()
            .any(|other| other != source && self.cluster_of(other) == Some(source))
    }

    /// The databases that the newest run of a whole cluster did not find on its server any more.
    /// All of the cluster's backups must have been read.
    pub fn vanished_members(&self, cluster: &str) -> Vec<String> {
        let members = self.members(&[cluster.to_owned()]);
        let of_members = |backup: &&ListedBackup| {
            backup.signature.is_accepted()
                && members
                    .iter()
                    .any(|member| backup.sidecar.source == *member)
        };
        let newest = self
            .backups()
            .filter(of_members)
            .find(|backup| !backup.sidecar.run_members.is_empty());
        let Some(run) = newest.map(|backup| &backup.sidecar.run_members) else {
            return Vec::new();
        };
        let is_gone =
            |member: &String| member != cluster && !run.iter().any(|known| known == member);
        members.into_iter().filter(is_gone).collect()
    }

    /// Forgets all but these sources.
    pub fn keep_only(&mut self, sources: &[String]) {
        self.backups.retain(|backup| {
            sources
                .iter()
                .any(|source| backup.sidecar.source == *source)
        });
        self.unreadable
            .retain(|entry| sources.contains(&entry.source));
        self.orphans
            .retain(|orphan| sources.contains(&orphan.source));
        self.find_places();
    }

    /// The ids of what is built on a backup and does not restore without it, unreadable ones too,
    /// the newest first.
    pub fn dependents_of<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a str> {
        let needing = self
            .backups()
            .filter(move |backup| backup.needs() == Some(id))
            .map(ListedBackup::id);
        let unreadable = self
            .unreadable
            .iter()
            .filter(move |lost| lost.needs.as_deref() == Some(id))
            .map(|lost| lost.id.as_str());
        needing.chain(unreadable)
    }

    /// The sidecars and events of a source that the store listed, where it has no locks.
    pub fn known_names(&self, source: &str) -> Option<&KnownNames> {
        self.listed.get(source)
    }

    /// A source's newest good backup that is no safety copy of a restore.
    pub fn newest_good(&self, source: &str) -> Option<&ListedBackup> {
        self.newest_of(source, |backup| {
            backup.good() && backup.sidecar.label != PRE_RESTORE
        })
    }

    /// The backup that the next one of a source names as the one before it.
    pub fn newest_in_chain(&self, source: &str) -> Option<&ListedBackup> {
        self.newest_of(source, ListedBackup::is_in_chain)
    }

    /// A source's newest backup that counts. One that a wrong clock dated ahead would be the newest
    /// for years: it is only where there is no other.
    fn newest_of(
        &self,
        source: &str,
        counts: impl Fn(&ListedBackup) -> bool,
    ) -> Option<&ListedBackup> {
        let ahead = Utc::now() + TimeDelta::minutes(5);
        let mut all = self.of(source).filter(|backup| counts(backup));
        all.find(|backup| backup.sidecar.started_at <= ahead && !backup.dated_ahead)
            .or_else(|| self.of(source).find(|backup| counts(backup)))
    }

    /// Writes down where each source's attempts are.
    fn find_places(&mut self) {
        let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, backup) in self.backups.iter().enumerate() {
            match places.get_mut(backup.sidecar.source.as_str()) {
                Some(known) => known.push(at),
                None => drop(places.insert(backup.sidecar.source.to_string(), vec![at])),
            }
        }
        for entry in &self.unreadable {
            places.entry(entry.source.clone()).or_default();
        }
        self.places = places;
    }
}

/// Whether a source's name is one that a cluster gives to its databases and roles.
pub fn is_named_of(source: &str, cluster: &str) -> bool {
    source
        .strip_prefix(cluster)
        .is_some_and(|rest| rest == "-globals" || rest.starts_with('.'))
}
