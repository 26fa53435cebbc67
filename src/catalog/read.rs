//! How a catalog is read: every sidecar once, on every core, and only what the catalog keeps of it
//! stays in memory.

use super::witness::{Witness, judge_signature, read_listed, state_after};
use super::{
    Backup, Catalog, ListedBackup, OrphanedDump, Presence, UnreadableSidecar, WayState,
    is_named_of, with_remedy,
};
use crate::cores::{on_every_core, on_threads};
use crate::error::{Error, Result};
use crate::sidecar::{self, Brief, Sidecar, SidecarFault, Word, Words};
use crate::signature::{SignatureStatus, TrustedKeys};
use crate::store::{KnownNames, Listing, ObjectFacts, Objects, Store, names};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// So many sidecars are taken at a time; fewer are read by one thread.
const AT_ONCE: usize = 64;

/// How far the clocks of a machine and of a store may be apart: further S3 accepts no signature.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(15);

impl Catalog {
    /// Reads what the store says of these sources, or of all of them.
    pub fn read(store: &dyn Store, only: Option<&[String]>) -> Result<Catalog> {
        let present = store.sources()?;
        let wanted = present
            .iter()
            .filter(|name| only.is_none_or(|only| only.contains(name)));
        Catalog::read_each(store, wanted.map(String::as_str))
    }

    /// Reads what the store says of these sources, and of every one that may be of a cluster of
    /// such a name, all at once: [`Catalog::members`] then tells which are.
    pub fn read_with_members(store: &dyn Store, names: &[String]) -> Result<Catalog> {
        let present = store.sources()?;
        let likely = |source: &&String| {
            names
                .iter()
                .any(|name| *source == name || is_named_of(source, name))
        };
        Catalog::read_each(store, present.iter().filter(likely).map(String::as_str))
    }

    /// Reads what a user's word for a backup can mean: whatever it is, it begins with its source's
    /// name, or is the beginning of it.
    pub fn read_for(store: &dyn Store, wanted: &str) -> Result<Catalog> {
        let present = store.sources()?;
        let possible =
            |source: &&String| wanted.starts_with(source.as_str()) || source.starts_with(wanted);
        Catalog::read_each(store, present.iter().filter(possible).map(String::as_str))
    }

    fn read_each<'a>(store: &dyn Store, sources: impl Iterator<Item = &'a str>) -> Result<Catalog> {
        let sources: Vec<&str> = sources.collect();
        let (threads, at_once) = reading_threads(store, AT_ONCE);
        let listings = on_threads(threads, sources.len(), 1, |at, ()| store.list(sources[at]))
            .into_iter()
            .flatten()
            .collect::<Result<Vec<_>>>()?;
        let objects: Vec<_> = sources.iter().map(|source| store.objects(source)).collect();
        let keys = store.trusted_keys();
        let directories: Vec<Directory<'_>> = on_every_core(sources.len(), 1, |at, ()| {
            Directory::new(sources[at], &listings[at], &*objects[at], keys)
        })
        .into_iter()
        .flatten()
        .collect();
        let ids: Vec<(&Directory<'_>, &str)> = directories
            .iter()
            .flat_map(|directory| directory.ids.iter().map(move |id| (directory, *id)))
            .collect();
        let attempts = on_threads(threads, ids.len(), at_once, |at, reading: &mut Reading| {
            let (directory, id) = ids[at];
            let refused = |why: Refusal| UnreadableSidecar {
                source: directory.source.into(),
                id: id.into(),
                reason: why.reason,
                may_be_good: why.may_be_good,
                needs: why.needs,
                is_untrusted: why.is_untrusted,
            };
            // One that is taken away meanwhile is none.
            directory
                .read(id, reading)
                .transpose()
                .map(|read| read.map_err(refused))
        });
        let mut catalog = Catalog::default();
        catalog.backups.reserve_exact(ids.len());
        for attempt in attempts.into_iter().flatten().flatten() {
            match attempt {
                Ok(entry) => catalog.backups.push(entry),
                Err(unreadable) => catalog.unreadable.push(unreadable),
            }
        }
        catalog.orphans = orphans(&catalog, &directories);
        if !store.properties().locks {
            let known = listings
                .iter()
                .map(|listing| KnownNames::among(&listing.objects));
            let named = sources.iter().map(|source| (*source).to_owned());
            catalog.listed = named.zip(known).collect();
        }
        catalog.backups.sort_unstable_by(|a, b| b.by_age(a));
        catalog.unreadable.sort_by(|a, b| a.id.cmp(&b.id));
        catalog.orphans.sort_by(|a, b| a.name.cmp(&b.name));
        catalog.find_places();
        catalog.find_ways();
        Ok(catalog)
    }
}

/// How many threads are best for reading many sidecars, and how many each takes at a time: where
/// an answer takes longer than the work, many are asked for at once, else `at_once` by each core.
pub fn reading_threads(store: &dyn Store, at_once: usize) -> (usize, usize) {
    match store.properties().parallel_reads {
        Some(threads) => (threads, 1),
        None => (
            std::thread::available_parallelism().map_or(1, usize::from),
            at_once,
        ),
    }
}

/// The dumps that no sidecar knows.
fn orphans(catalog: &Catalog, directories: &[Directory<'_>]) -> Vec<OrphanedDump> {
    let there = catalog
        .backups()
        .filter(|entry| entry.presence != Presence::Missing)
        .filter_map(|entry| entry.sidecar.dump.as_ref());
    let there = there
        .map(|dump| &*dump.file)
        .filter(|file| looks_like_a_dump(file));
    // Each dump is one backup's, so where there are no more of them than backups have, nobody's is
    // among them.
    if directories
        .iter()
        .map(|directory| directory.dumps)
        .sum::<usize>()
        == there.clone().count()
    {
        return Vec::new();
    }
    let dumps: HashSet<&str> = there.collect();
    let lost: HashSet<&str> = catalog
        .unreadable
        .iter()
        .map(|entry| entry.id.as_str())
        .collect();
    let known = |name: &str| {
        dumps.contains(name)
            || !lost.is_empty() && names::id_of(name).is_some_and(|id| lost.contains(id))
    };
    let of_directory = |directory: &Directory<'_>| -> Vec<OrphanedDump> {
        let names = directory
            .names
            .iter()
            .filter(|name| directory.may_be_orphan(name) && !known(name));
        let orphan = |name: &String| {
            let size = Presence::of(directory.objects.size(name)).bytes();
            OrphanedDump {
                source: directory.source.into(),
                name: name.clone(),
                size,
            }
        };
        names.map(orphan).collect()
    };
    directories.iter().flat_map(of_directory).collect()
}

/// What a thread that reads goes on with.
#[derive(Default)]
struct Reading {
    words: Words,
    bytes: Vec<u8>,
}

/// Whether the store holds a backup of this id or a source of this name, by its files' names alone.
pub fn holds(store: &dyn Store, wanted: &str) -> Result<bool> {
    let source = wanted.split_once('@').map_or(wanted, |(source, _)| source);
    let objects = store.list(source)?.objects;
    if objects.iter().any(|name| names::sidecar_id(name).is_some()) {
        return Ok(true);
    }
    match names::split_id(wanted) {
        Some((source, _, _)) => {
            let objects = store.list(source)?.objects;
            Ok(objects.contains(&names::sidecar_name(wanted)))
        }
        None => Ok(false),
    }
}

/// The names in a source's directory, sorted out.
struct Directory<'a> {
    source: &'a str,
    names: &'a [String],
    objects: &'a dyn Objects,
    /// The keys whose signatures count.
    keys: &'a TrustedKeys,
    /// What the list says of them.
    facts: &'a HashMap<String, ObjectFacts>,
    /// The ids of those that are sidecars.
    ids: Vec<&'a str>,
    /// Whether anything there is signed.
    has_signatures: bool,
    /// How many others look like dumps.
    dumps: usize,
    /// The names of events, by the ids of their backups.
    events: HashMap<&'a str, Vec<&'a str>>,
    /// The ids of what is being written or removed.
    unfinished: HashSet<&'a str>,
}

impl<'a> Directory<'a> {
    fn new(
        source: &'a str,
        listing: &'a Listing,
        objects: &'a dyn Objects,
        keys: &'a TrustedKeys,
    ) -> Self {
        let (mut ids, mut dumps, mut has_signatures) = (Vec::new(), 0, false);
        let mut events: HashMap<&str, Vec<&str>> = HashMap::new();
        for name in &listing.objects {
            if name.ends_with(".json") {
                if let Some(id) = names::sidecar_id(name) {
                    ids.push(id);
                } else if let Some(id) = names::event_id(name) {
                    events.entry(id).or_default().push(name);
                }
            } else if names::signed_name(name).is_some() {
                has_signatures = true;
            } else if looks_like_a_dump(name) {
                dumps += 1;
            }
        }
        Directory {
            source,
            names: &listing.objects,
            objects,
            keys,
            facts: &listing.facts,
            ids,
            has_signatures,
            dumps,
            events,
            unfinished: listing.unfinished.iter().map(String::as_str).collect(),
        }
    }

    fn read(&self, id: &str, reading: &mut Reading) -> Result<Option<ListedBackup>, Refusal> {
        let name = names::sidecar_name(id);
        match read_listed(self.objects, &name, &mut reading.bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                return Err(Refusal {
                    reason: with_remedy(&error),
                    may_be_good: true,
                    needs: None,
                    is_untrusted: false,
                });
            }
        }
        let witness = self.witness();
        let signature = witness
            .judge(&name, &reading.bytes)
            .map_err(|error| Refusal {
                reason: with_remedy(&error),
                may_be_good: true,
                needs: sidecar::needed_id(&reading.bytes),
                is_untrusted: false,
            })?;
        let sidecar = Brief::parse(&reading.bytes, &mut reading.words)
            .map_err(|why| Refusal::new(&why, &reading.bytes).with_signature(&signature))?;
        let dump = sidecar.dump.as_ref();
        let file = dump.map(|dump| &*dump.file);
        let claims = Claims {
            id: &sidecar.id,
            source: &sidecar.source,
            files: [
                file,
                dump.and_then(|dump| dump.contents.as_deref()),
                sidecar.sealed.as_deref(),
            ],
            base: dump.and_then(|dump| dump.base.as_ref().map(Word::as_str)),
        };
        claims
            .must_belong(id, self.source)
            .map_err(|why| why.with_signature(&signature))?;
        let presence = file.map_or(Presence::Missing, |file| {
            // What a list does not show may be there all the same: then it is asked for.
            match self.facts.get(file) {
                Some(facts) => Presence::Bytes(facts.size),
                None => Presence::of(self.objects.size(file)),
            }
        });
        let events = self.events.get(id).map_or(&[][..], Vec::as_slice);
        let digest = (!self.keys.is_empty() || self.has_signatures)
            .then(|| Sha256::digest(&reading.bytes).into());
        let (state, unreadable) = state_after(events, &witness, &mut reading.bytes);
        let written = self.facts.get(&name).and_then(|facts| facts.written);
        let latest = written.and_then(|written| written.checked_add_signed(CLOCKS_APART));
        Ok(Some(Backup {
            dated_ahead: latest.is_some_and(|latest| sidecar.started_at > latest),
            sidecar,
            state,
            state_lost: unreadable.is_some(),
            presence,
            way: WayState::Whole,
            signature,
            digest,
        }))
    }

    fn witness(&self) -> Witness<'_> {
        Witness {
            source: self.source,
            objects: self.objects,
            keys: self.keys,
        }
    }

    /// By its name alone: a dump that nobody is making right now.
    fn may_be_orphan(&self, name: &str) -> bool {
        let being_made = || names::id_of(name).is_some_and(|id| self.unfinished.contains(id));
        !name.starts_with('.')
            && looks_like_a_dump(name)
            && (self.unfinished.is_empty() || !being_made())
    }
}

impl ListedBackup {
    /// The same with the whole sidecar, read once more.
    pub fn whole(&self, store: &dyn Store) -> Result<Backup> {
        let source = &self.sidecar.source;
        let name = names::sidecar_name(self.id());
        let damaged =
            |why: Refusal| Error::failed(format!("`{}` can't be used: {}", self.id(), why.reason));
        let bytes = store.read(source, &name)?;
        // It may have been exchanged since it was listed.
        let signature = judge_signature(store, source, &name, &bytes)?;
        let sidecar = Sidecar::parse(&bytes).map_err(|why| damaged(Refusal::new(&why, &bytes)))?;
        let dump = sidecar.dump.as_ref();
        let claims = Claims {
            id: &sidecar.id,
            source: &sidecar.source,
            files: [
                dump.map(|dump| dump.file.as_str()),
                sidecar.contents().map(|contents| contents.file.as_str()),
                sidecar.sealed.as_ref().map(|part| part.file.as_str()),
            ],
            base: dump.and_then(|dump| Some(dump.base.as_ref()?.id.as_str())),
        };
        claims.must_belong(self.id(), source).map_err(damaged)?;
        Ok(Backup {
            sidecar,
            state: self.state.clone(),
            state_lost: self.state_lost,
            presence: self.presence.clone(),
            way: self.way.clone(),
            signature,
            dated_ahead: self.dated_ahead,
            digest: self.digest,
        })
    }
}

/// Why a sidecar can't be used.
struct Refusal {
    reason: String,
    /// The backup may be good: only this version, or this moment, is not the one to read it.
    may_be_good: bool,
    /// The id of the backup that it is built on, where so much can be read of it.
    needs: Option<String>,
    /// No trusted key signed it.
    is_untrusted: bool,
}

impl Refusal {
    /// From the fault that was found in a sidecar's bytes.
    fn new(why: &SidecarFault, bytes: &[u8]) -> Refusal {
        Refusal {
            reason: why.to_string(),
            may_be_good: !matches!(why, SidecarFault::Malformed(_)),
            needs: sidecar::needed_id(bytes),
            is_untrusted: false,
        }
    }

    /// The same for a sidecar with this signature: what no trusted key signed is not a newer
    /// version's work.
    fn with_signature(self, signature: &SignatureStatus) -> Refusal {
        match signature.objection() {
            Some(objection) => Refusal {
                reason: format!("{}; {objection}", self.reason),
                may_be_good: false,
                is_untrusted: true,
                ..self
            },
            None => self,
        }
    }
}

/// What a sidecar says of itself.
struct Claims<'a> {
    id: &'a str,
    source: &'a str,
    files: [Option<&'a str>; 3],
    base: Option<&'a str>,
}

impl Claims<'_> {
    /// A sidecar must be that of its name and place, and its dump its own: removing the backup
    /// would else remove another one's. What it is built on must be of its source, for a look at
    /// one source must tell what it needs.
    fn must_belong(&self, name: &str, directory: &str) -> Result<(), Refusal> {
        let Claims {
            id, source, base, ..
        } = *self;
        let is_foreign = |file: &&str| !names::is_object_of(file, id);
        let is_of_source = |base: &str| {
            base != id && names::split_id(base).is_some_and(|(of, _, _)| of == directory)
        };
        let reason = if id != name {
            format!("the sidecar is of `{}`, not of `{name}`", id.escape_debug())
        } else if source != directory {
            format!(
                "the sidecar is of the source `{}`, not of `{directory}`",
                source.escape_debug()
            )
        } else if let Some(file) = self.files.into_iter().flatten().find(is_foreign) {
            format!(
                "the sidecar is damaged (its dump can't be `{}`)",
                file.escape_debug()
            )
        } else if let Some(base) = base.filter(|base| !is_of_source(base)) {
            format!(
                "the sidecar is damaged (its dump can't be built on `{}`)",
                base.escape_debug()
            )
        } else {
            return Ok(());
        };
        Err(Refusal {
            reason,
            may_be_good: false,
            needs: base.map(str::to_owned),
            is_untrusted: false,
        })
    }
}

/// By its last extension; a note of the user's among the backups is none of our business.
pub fn looks_like_a_dump(name: &str) -> bool {
    let extensions = [
        "sqlite3", "sqlite", "db", "dump", "sql", "tar", "vcdiff", "gz", "zst", "age",
    ];
    // What is only beside a dump restores nothing.
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| extensions.contains(&extension))
        && !names::is_beside_dump(name)
}
