//! What a store holds: its backups, the sidecars that can't be read, and the dumps that nobody knows. Also how a user's words for a
//! backup find it.

use crate::engine::CheckStatus;
use crate::error::{Error, Kind, Result};
use crate::retention::PRE_RESTORE;
use crate::sidecar::{self, Level, Sidecar, State, Status, Verification};
use crate::store::{self, Object, Store};
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// One attempt that a store remembers, with what came later.
#[derive(Debug, Clone)]
pub struct Backup {
    /// What was written with it.
    pub sidecar: Sidecar,
    /// What came later.
    pub state: State,
    /// The state file is there but can't be read; then pins may have been lost, and nothing is removed.
    pub state_lost: bool,
    /// The dump's size in bytes as it lies in the store; `None` where it is missing.
    pub stored_size: Option<u64>,
}

/// A sidecar that can't be used.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The directory it is in.
    pub source: String,
    /// From its name.
    pub id: String,
    /// Why.
    pub reason: String,
    /// It may be well, only this version is too old for it.
    pub newer: bool,
}

/// A file among the backups that no sidecar knows.
#[derive(Debug, Clone)]
pub struct Stray {
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
    pub backups: Vec<Backup>,
    /// In order of their ids.
    pub unreadable: Vec<Unreadable>,
    /// Dumps without a sidecar: copied here, or their sidecar was lost.
    pub strays: Vec<Stray>,
}

impl Backup {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.sidecar.id
    }

    /// Sorts backups by age, those of one second too.
    fn order(&self) -> (DateTime<Utc>, DateTime<Utc>, u32, &str) {
        (self.sidecar.started_at, self.sidecar.finished_at, store::number_of(self.id()), self.id())
    }

    /// The verification at backup and the later ones, oldest first.
    pub fn verifications(&self) -> impl DoubleEndedIterator<Item = &Verification> {
        self.sidecar.verifications.iter().chain(&self.state.verifications)
    }

    /// The damage that was found last, unless a look as deep or deeper has found none since.
    pub fn damage(&self) -> Option<&Verification> {
        let mut cleared: Option<Level> = None;
        for seen in self.verifications().collect::<Vec<_>>().into_iter().rev() {
            match seen.status {
                CheckStatus::Ok => cleared = cleared.max(Some(seen.level)),
                CheckStatus::Damaged if cleared.is_none_or(|level| level < seen.level) => return Some(seen),
                _ => {}
            }
        }
        None
    }

    /// Whole, with its dump there as long as it should be, and not found damaged since.
    pub fn good(&self) -> bool {
        let as_long = |dump: &crate::sidecar::Dump| self.stored_size == Some(dump.size_bytes);
        self.sidecar.status == Status::Ok && self.sidecar.dump.as_ref().is_some_and(as_long) && self.damage().is_none()
    }

    /// The last time it was found sound, at the deepest level that it was.
    pub fn proof(&self) -> Option<&Verification> {
        self.verifications().filter(|seen| seen.status == CheckStatus::Ok).max_by_key(|seen| (seen.level, seen.at))
    }

    /// The sidecar with the state merged in, as `--json` prints it.
    pub fn json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.sidecar).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            let verifications: Vec<&Verification> = self.verifications().collect();
            object.insert("verifications".into(), serde_json::to_value(verifications).unwrap_or_default());
            object.insert("pinned".into(), self.state.pinned.into());
            object.insert("good".into(), self.good().into());
        }
        value
    }
}

impl Catalog {
    /// Reads what the store says of these sources, or of all of them.
    pub fn read(store: &dyn Store, only: Option<&[String]>) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        let present = store.sources()?;
        for source in present.iter().filter(|name| only.is_none_or(|only| only.contains(name))) {
            catalog.read_source(store, source)?;
        }
        catalog.backups.sort_by(|a, b| b.order().cmp(&a.order()));
        catalog.unreadable.sort_by(|a, b| a.id.cmp(&b.id));
        catalog.strays.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(catalog)
    }

    fn read_source(&mut self, store: &dyn Store, source: &str) -> Result<()> {
        let (unfinished, objects): (Vec<Object>, Vec<Object>) =
            store.list(source)?.into_iter().partition(|object| object.name.starts_with('.'));
        let objects: BTreeMap<String, Object> = objects.into_iter().map(|object| (object.name.clone(), object)).collect();
        let mut known: Vec<String> = Vec::new();
        for name in objects.keys() {
            // A state file's name goes on after the time; a source's own name may hold `.state`.
            let Some(id) = name.strip_suffix(".json").filter(|id| store::id_of(name) == Some(*id)) else {
                continue;
            };
            known.extend([name.clone(), store::state_name(id)]);
            match read_sidecar(store, source, id) {
                Ok(sidecar) => {
                    let state = objects.get(&store::state_name(id)).map(|object| {
                        store::read_all(store, source, &object.name).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
                    });
                    let state_lost = matches!(state, Some(None));
                    let stored_size = sidecar.dump.as_ref().and_then(|dump| objects.get(&dump.file)).map(|object| object.size);
                    known.extend(sidecar.files());
                    self.backups.push(Backup { sidecar, state: state.flatten().unwrap_or_default(), state_lost, stored_size });
                }
                Err((reason, newer)) => {
                    self.unreadable.push(Unreadable { source: source.into(), id: id.into(), reason, newer });
                    // Its dump can't be told from its sidecar; its name can.
                    known.extend(objects.keys().filter(|other| store::id_of(other) == Some(id)).cloned());
                }
            }
        }
        let being_made = |name: &str| {
            let dot_sidecar = store::id_of(name).map(|id| store::dot(&store::sidecar_name(id)));
            dot_sidecar.is_some_and(|sidecar| unfinished.iter().any(|object| object.name == sidecar))
        };
        let stray = |name: &str| !known.iter().any(|known| known == name) && looks_like_a_dump(name) && !being_made(name);
        let strays = objects.into_values().filter(|object| stray(&object.name));
        self.strays.extend(strays.map(|object| Stray { source: source.into(), name: object.name, size: object.size }));
        Ok(())
    }

    /// The backups of one source, newest first.
    pub fn of<'a>(&'a self, source: &str) -> impl Iterator<Item = &'a Backup> + use<'a> {
        let source = source.to_owned();
        self.backups.iter().filter(move |backup| backup.sidecar.source == source)
    }

    /// The sources that have anything, sorted.
    pub fn sources(&self) -> Vec<String> {
        let names = self.backups.iter().map(|backup| backup.sidecar.source.clone());
        let mut names: Vec<String> = names.chain(self.unreadable.iter().map(|entry| entry.source.clone())).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The cluster that a source's newest backup says it is of.
    pub fn cluster_of(&self, source: &str) -> Option<&str> {
        self.of(source).find_map(|backup| backup.sidecar.database.as_ref())?.cluster.as_deref()
    }

    /// Whether other sources say that they are of this one.
    pub fn has_members(&self, source: &str) -> bool {
        self.sources().iter().any(|other| other != source && self.cluster_of(other) == Some(source))
    }

    /// A source's newest good backup that is no safety copy of a restore.
    pub fn newest_good(&self, source: &str) -> Option<&Backup> {
        self.of(source).find(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE)
    }

    /// Finds the backup that a user means: an id, a unique beginning of one, `SOURCE`, `SOURCE@latest`, `SOURCE@latest:LABEL` or
    /// `SOURCE@WHEN`. None is an error of kind `NotFound` that names what there is.
    pub fn resolve(&self, wanted: &str, now: DateTime<Utc>) -> Result<&Backup> {
        if wanted.is_empty() {
            // Every id begins so: an unset variable in a script must not choose one.
            return Err(Error::usage("the name of a backup is empty").hint("`dbbackup list` shows the ids"));
        }
        if let Some(backup) = self.backups.iter().find(|backup| backup.id() == wanted) {
            return Ok(backup);
        }
        if let Some(entry) = self.unreadable.iter().find(|entry| entry.id == wanted) {
            let kind = if entry.newer { Kind::Failed } else { Kind::Damaged };
            return Err(Error::new(kind, format!("`{}` can't be used: {}", entry.id, entry.reason))
                .hint("its dump restores without the sidecar: name the dump's file, with `--to`"));
        }
        if let Some((source, which)) = wanted.split_once('@') {
            return self.resolve_at(source, which, now);
        }
        if self.sources().iter().any(|source| source == wanted) {
            return self.newest_good(wanted).ok_or_else(|| self.no_good(wanted));
        }
        let matching: Vec<&Backup> = self.backups.iter().filter(|backup| backup.id().starts_with(wanted)).collect();
        match matching[..] {
            [backup] => Ok(backup),
            [] => Err(self.nothing(wanted)),
            [newest, .., oldest] => Err(Error::usage(format!(
                "`{wanted}` is the beginning of {} ids, from `{}` to `{}`",
                matching.len(),
                oldest.id(),
                newest.id()
            ))
            .hint("write more of the id; `dbbackup list` shows them")),
        }
    }

    /// Whether `wanted` is a whole id, or begins with a source's name as `SOURCE` and `SOURCE@…` do.
    pub fn names(&self, wanted: &str) -> bool {
        let source = wanted.split_once('@').map_or(wanted, |(source, _)| source);
        self.backups.iter().any(|backup| backup.id() == wanted || backup.sidecar.source == source)
    }

    fn resolve_at(&self, source: &str, which: &str, now: DateTime<Utc>) -> Result<&Backup> {
        if !self.sources().iter().any(|known| known == source) {
            return Err(self.nothing(source));
        }
        if let Some(label) = which.strip_prefix("latest:") {
            let found = self.of(source).find(|backup| backup.good() && backup.sidecar.label == label);
            return found.ok_or_else(|| Error::not_found(format!("no good backup of `{source}` has the label `{label}`")));
        }
        if which == "latest" {
            return self.newest_good(source).ok_or_else(|| self.no_good(source));
        }
        let when = units::parse_when(which, now).map_err(Error::usage)?;
        let mut eligible = self.of(source).filter(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE);
        eligible.find(|backup| backup.sidecar.started_at <= when).ok_or_else(|| {
            Error::not_found(format!("no good backup of `{source}` was made at or before {}", units::stamp(when)))
                .hint(format!("`dbbackup list {source}` shows what there is"))
        })
    }

    fn no_good(&self, source: &str) -> Error {
        Error::not_found(format!("`{source}` has no good backup"))
            .hint(format!("`dbbackup list --status all {source}` shows the attempts; a damaged one is used when named by its id"))
    }

    fn nothing(&self, wanted: &str) -> Error {
        let error = Error::not_found(format!("no backup or source is called `{wanted}`"));
        let sources = self.sources();
        if let Some(stray) = self.strays.first().filter(|_| sources.is_empty()) {
            return error.hint(format!(
                "the store holds {} without their sidecars; each restores by its path: `dbbackup restore …/{}/{} --to PATH`",
                units::count(self.strays.len() as u64, "dump"),
                stray.source,
                stray.name
            ));
        }
        if sources.is_empty() {
            return error.hint("the store holds no backups yet: `dbbackup backup` makes one");
        }
        error.hint(format!("the store holds {}; `dbbackup list` shows the ids", quoted_list(&sources)))
    }
}

/// The sidecar of `id` where it stands; else why it can't be used, and whether a newer version may.
fn read_sidecar(store: &dyn Store, source: &str, id: &str) -> Result<Sidecar, (String, bool)> {
    let bytes = store::read_all(store, source, &store::sidecar_name(id)).map_err(|error| (error.message(), true))?;
    let sidecar = Sidecar::parse(&bytes).map_err(|why| (why.to_string(), !matches!(why, sidecar::Unreadable::Malformed(_))))?;
    if sidecar.id != id {
        return Err((format!("the sidecar is of `{}`, not of `{id}`", sidecar.id.escape_debug()), false));
    }
    if sidecar.source != source {
        return Err((format!("the sidecar is of the source `{}`, not of `{source}`", sidecar.source.escape_debug()), false));
    }
    // Removing this backup would remove another one's dump.
    match sidecar.files().iter().find(|file| !store::is_dump_of(file, id)) {
        Some(file) => Err((format!("the sidecar is damaged (its dump can't be `{}`)", file.escape_debug()), false)),
        None => Ok(sidecar),
    }
}

/// By its last extension; a note of the user's among the backups is none of our business.
fn looks_like_a_dump(name: &str) -> bool {
    let extensions = ["sqlite3", "sqlite", "db", "dump", "sql", "tar", "gz", "zst", "age"];
    name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

fn quoted_list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
