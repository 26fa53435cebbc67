//! How a catalog is read: every sidecar once, on every core, and only what the catalog keeps of it stays in memory.

use super::{Backup, Catalog, Entry, Stray, Unreadable, is_named_of};
use crate::error::Result;
use crate::sidecar::{self, Brief, Sidecar, State, Words};
use crate::store::{self, Store};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many sidecars are taken at a time; fewer are read by one thread.
const AT_ONCE: usize = 128;

impl Catalog {
    /// Reads what the store says of these sources, or of all of them.
    pub fn read(store: &dyn Store, only: Option<&[String]>) -> Result<Catalog> {
        let present = store.sources()?;
        let wanted = present.iter().filter(|name| only.is_none_or(|only| only.contains(name)));
        Catalog::read_each(store, wanted.map(String::as_str))
    }

    /// Reads what the store says of these sources, and of every one that may be of a cluster of such a name, all at once:
    /// [`Catalog::members`] then tells which are.
    pub fn read_with_members(store: &dyn Store, names: &[String]) -> Result<Catalog> {
        let present = store.sources()?;
        let likely = |source: &&String| names.iter().any(|name| *source == name || is_named_of(source, name));
        Catalog::read_each(store, present.iter().filter(likely).map(String::as_str))
    }

    /// Reads what a user's word for a backup can mean: whatever it is, it begins with its source's name, or is the beginning of it.
    pub fn read_for(store: &dyn Store, wanted: &str) -> Result<Catalog> {
        let present = store.sources()?;
        let possible = |source: &&String| wanted.starts_with(source.as_str()) || source.starts_with(wanted);
        Catalog::read_each(store, present.iter().filter(possible).map(String::as_str))
    }

    fn read_each<'a>(store: &dyn Store, sources: impl Iterator<Item = &'a str>) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for source in sources {
            catalog.read_source(store, source)?;
        }
        catalog.backups.sort_unstable_by(|a, b| b.by_age(a));
        catalog.unreadable.sort_by(|a, b| a.id.cmp(&b.id));
        catalog.strays.sort_by(|a, b| a.name.cmp(&b.name));
        catalog.find_places();
        Ok(catalog)
    }

    fn read_source(&mut self, store: &dyn Store, source: &str) -> Result<()> {
        let names = store.names(source)?;
        let there = Directory::of(&names);
        let (entries, unreadable) = there.read(store, source);
        let mut known: HashSet<&str> = entries.iter().filter_map(|entry| Some(&*entry.sidecar.dump.as_ref()?.file)).collect();
        // The dump of one that can't be read can't be told from its sidecar; its name can.
        let lost: HashSet<&str> = unreadable.iter().map(|entry| entry.id.as_str()).collect();
        if !lost.is_empty() {
            known.extend(names.iter().filter(|name| store::id_of(name).is_some_and(|id| lost.contains(id))).map(String::as_str));
        }
        for name in names.iter().filter(|name| there.is_stray(name, &known)) {
            let size = store.size(source, name).unwrap_or(0);
            self.strays.push(Stray { source: source.into(), name: name.clone(), size });
        }
        self.backups.extend(entries);
        self.unreadable.extend(unreadable);
        Ok(())
    }
}

/// Whether the store holds a backup of this id or a source of this name, by its files' names alone.
pub fn holds(store: &dyn Store, wanted: &str) -> bool {
    let source = wanted.split_once('@').map_or(wanted, |(source, _)| source);
    let is_sidecar = |name: &String| store::id_of(name).is_some_and(|id| *name == store::sidecar_name(id));
    if store.names(source).is_ok_and(|names| names.iter().any(is_sidecar)) {
        return true;
    }
    let of_id = store::split_id(wanted).map(|(source, _, _)| source);
    of_id.is_some_and(|source| store.names(source).is_ok_and(|names| names.contains(&store::sidecar_name(wanted))))
}

/// The names in a source's directory, sorted out.
struct Directory<'a> {
    /// The ids of those that are sidecars.
    ids: Vec<&'a str>,
    /// State files.
    states: HashSet<&'a str>,
    /// Dot-names.
    unfinished: HashSet<&'a str>,
}

impl<'a> Directory<'a> {
    fn of(names: &'a [String]) -> Self {
        let mut directory = Directory { ids: Vec::new(), states: HashSet::new(), unfinished: HashSet::new() };
        for name in names {
            if name.starts_with('.') {
                directory.unfinished.insert(name);
            } else if let (Some(before), Some(id)) = (name.strip_suffix(".json"), store::id_of(name)) {
                // A state file's name goes on after the time; a source's own name may hold `.state`.
                if before == id {
                    directory.ids.push(id);
                } else if before.strip_suffix(".state") == Some(id) {
                    directory.states.insert(name);
                }
            }
        }
        directory
    }

    fn read(&self, store: &dyn Store, source: &str) -> (Vec<Entry>, Vec<Unreadable>) {
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut words, mut entries, mut unreadable) = (Words::default(), Vec::new(), Vec::new());
            while let Some(ids) = self.ids.get(next.fetch_add(AT_ONCE, Ordering::Relaxed)..) {
                for id in ids.iter().take(AT_ONCE) {
                    match self.read_one(store, source, id, &mut words) {
                        Ok(entry) => entries.push(entry),
                        Err((reason, newer)) => {
                            unreadable.push(Unreadable { source: source.into(), id: (*id).into(), reason, newer });
                        }
                    }
                }
            }
            (entries, unreadable)
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = self.ids.len().div_ceil(AT_ONCE).min(cores).saturating_sub(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let (mut entries, mut unreadable) = work();
            for thread in threads {
                let (more, lost) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                entries.extend(more);
                unreadable.extend(lost);
            }
            (entries, unreadable)
        })
    }

    fn read_one(&self, store: &dyn Store, source: &str, id: &str, words: &mut Words) -> Result<Entry, (String, bool)> {
        let bytes = store.read(source, &store::sidecar_name(id)).map_err(|error| (error.message(), true))?;
        let sidecar = Brief::parse(&bytes, words).map_err(refused)?;
        let file = sidecar.dump.as_ref().map(|dump| &*dump.file);
        must_belong(&sidecar.id, &sidecar.source, file, id, source)?;
        let stored_size = file.and_then(|file| store.size(source, file).ok());
        let (state, state_lost) = self.state_of(store, source, id);
        Ok(Backup { sidecar, state, state_lost, stored_size })
    }

    fn state_of(&self, store: &dyn Store, source: &str, id: &str) -> (State, bool) {
        if self.states.is_empty() {
            return (State::default(), false);
        }
        let name = store::state_name(id);
        if !self.states.contains(name.as_str()) {
            return (State::default(), false);
        }
        let state = store.read(source, &name).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        (state.clone().unwrap_or_default(), state.is_none())
    }

    /// A dump that no sidecar knows, and that nobody is making right now.
    fn is_stray(&self, name: &str, known: &HashSet<&str>) -> bool {
        let being_made = || {
            let dot_sidecar = store::id_of(name).map(|id| store::dot(&store::sidecar_name(id)));
            dot_sidecar.is_some_and(|sidecar| self.unfinished.contains(sidecar.as_str()))
        };
        !name.starts_with('.') && looks_like_a_dump(name) && !known.contains(name) && !being_made()
    }
}

impl Entry {
    /// The same with the whole sidecar, read once more.
    pub fn whole(&self, store: &dyn Store) -> Result<Backup> {
        let source = &self.sidecar.source;
        let name = store::sidecar_name(self.id());
        let damaged = |(reason, _): (String, bool)| crate::error::Error::failed(format!("`{}` can't be used: {reason}", self.id()));
        let bytes = store.read(source, &name)?;
        let sidecar = Sidecar::parse(&bytes).map_err(|why| damaged(refused(why)))?;
        let file = sidecar.dump.as_ref().map(|dump| dump.file.as_str());
        must_belong(&sidecar.id, &sidecar.source, file, self.id(), source).map_err(damaged)?;
        Ok(Backup { sidecar, state: self.state.clone(), state_lost: self.state_lost, stored_size: self.stored_size })
    }
}

/// Why a sidecar can't be used, and whether a newer version may.
fn refused(why: sidecar::Unreadable) -> (String, bool) {
    (why.to_string(), !matches!(why, sidecar::Unreadable::Malformed(_)))
}

/// A sidecar must be that of its name and place, and its dump its own: removing the backup would else remove another one's.
fn must_belong(id: &str, source: &str, dump: Option<&str>, name: &str, directory: &str) -> Result<(), (String, bool)> {
    if id != name {
        return Err((format!("the sidecar is of `{}`, not of `{name}`", id.escape_debug()), false));
    }
    if source != directory {
        return Err((format!("the sidecar is of the source `{}`, not of `{directory}`", source.escape_debug()), false));
    }
    match dump {
        Some(file) if !store::is_dump_of(file, id) => {
            Err((format!("the sidecar is damaged (its dump can't be `{}`)", file.escape_debug()), false))
        }
        _ => Ok(()),
    }
}

/// By its last extension; a note of the user's among the backups is none of our business.
fn looks_like_a_dump(name: &str) -> bool {
    let extensions = ["sqlite3", "sqlite", "db", "dump", "sql", "tar", "gz", "zst", "age"];
    name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}
