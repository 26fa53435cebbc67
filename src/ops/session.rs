//! What an operation is given of the world: the configuration, the store, the clock, the host.

use super::{KeyRing, Observer};
use crate::catalog::{Catalog, is_named_of};
use crate::config::{self, BackupSettings, Config, KindSettings};
use crate::error::{CommandOptions, Error, Hint, Kind, Result};
use crate::plan::{self, StorePlan};
use crate::store::{self, Access, Store, names};
use crate::units;
use chrono::{DateTime, NaiveDateTime, Utc};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The error of who has neither a store nor a configuration; under cron the current directory and
/// the home are seldom what was meant.
fn no_configuration(cwd: &Path) -> Error {
    let places = config::places(&|name| std::env::var(name).ok());
    let places: Vec<String> = places
        .iter()
        .map(|place| plan::absolute(cwd, place).display().to_string())
        .collect();
    Error::usage(format!(
        "no store is given, and no configuration was found: looked for {}",
        places.join(", ")
    ))
    .with_hint(
        Hint::new()
            .text(
                "name the store, `--store DIR` or $DBBACKUP_STORE, or the configuration, \
                 `--config FILE` or $DBBACKUP_CONFIG; ",
            )
            .command(["init"])
            .text(" writes one"),
    )
}

/// What a command finds when it starts.
#[derive(Clone)]
pub struct Session {
    pub config: Option<Config>,
    pub store_flag: Option<String>,
    pub config_flag: Option<PathBuf>,
    pub lock_wait: Duration,
    pub cwd: PathBuf,
    /// UTC, whole seconds: one moment for the whole run.
    pub now: DateTime<Utc>,
    pub host: String,
    /// Backups that no trusted key signed are read all the same.
    pub accepts_untrusted: bool,
    /// The keys that are there to read with.
    pub keys: KeyRing,
}

impl Session {
    /// The same at another moment.
    pub fn at(&self, now: DateTime<Utc>) -> Session {
        Session {
            now,
            ..self.clone()
        }
    }

    /// The same with another store in use: a name of the configuration, an address, a directory.
    pub fn with_store(&self, word: &str) -> Session {
        Session {
            store_flag: Some(word.to_owned()),
            ..self.clone()
        }
    }

    pub fn store_plan(&self) -> Result<StorePlan> {
        let variable = std::env::var("DBBACKUP_STORE").ok();
        let nowhere = self.store_flag.is_none() && variable.as_deref().is_none_or(str::is_empty);
        if nowhere && self.config.is_none() && self.config_flag.is_none() {
            return Err(no_configuration(&self.cwd));
        }
        plan::store(
            self.store_flag.as_deref(),
            self.config.as_ref(),
            variable.as_deref(),
            &self.cwd,
            &store::is_at,
        )
    }

    /// A hint whose commands lead to the same configuration and store from anywhere, and at any
    /// time.
    pub fn lasting(&self, hint: &Hint) -> String {
        let config = self.config.as_ref().map(|config| {
            let path = plan::absolute(&self.cwd, &config.path);
            units::shell_word(&path.to_string_lossy())
        });
        let named = |word: &&String| {
            let config = self.config.as_ref();
            config.is_some_and(|config| config.stores.contains_key(*word))
        };
        let place = || Some(self.store_plan().ok()?.location().to_string());
        let store = match &self.store_flag {
            Some(word) => Some(word).filter(named).cloned().or_else(place),
            None if self.config.is_none() => place(),
            None => None,
        };
        hint.render(&CommandOptions {
            config,
            store: store.map(|store| units::shell_word(&store)),
        })
    }

    /// The store, to read from.
    pub fn reading(&self) -> Result<Arc<dyn Store>> {
        store::open(&self.store_plan()?.settings, Access::Read)
    }

    /// The store, to write to; made where it is missing.
    pub fn writing(&self) -> Result<Arc<dyn Store>> {
        store::open(&self.store_plan()?.settings, Access::Write)
    }

    /// The store, to change what is in it: it must be there.
    pub fn changing(&self) -> Result<Arc<dyn Store>> {
        self.reading()?;
        self.writing()
    }

    /// The settings with which a source is backed up.
    pub fn settings_of(&self, source: &str) -> BackupSettings {
        match self.entry_of(source) {
            Some(entry) => entry.backup.clone(),
            None => self.backup_settings(),
        }
    }

    /// What the configuration says of a source of the store.
    pub fn entry_of(&self, source: &str) -> Option<&config::ConfiguredSource> {
        self.config
            .as_ref()
            .and_then(|config| config.owner_of(source))
            .map(|(_, entry)| entry)
    }

    /// The sources of a group of the configuration.
    pub fn group(&self, word: &str) -> Option<&[String]> {
        self.config.as_ref().and_then(|config| config.group(word))
    }

    /// Where one backup is meant, a group's name means none.
    pub fn refuse_group(&self, wanted: &str) -> Result<()> {
        let word = wanted.split_once('@').map_or(wanted, |(word, _)| word);
        match self.group(word) {
            Some(members) => Err(Error::usage(format!(
                "`{word}` is a group of {}",
                members.join(", ")
            ))
            .with_hint("name one of them, or a backup")),
            None => Ok(()),
        }
    }

    /// How trial restores of a source are made.
    pub fn drill_settings_of(&self, source: &str) -> plan::DrillSettings {
        let own = match self.entry_of(source).map(|entry| &entry.kind) {
            Some(KindSettings::Postgres(own)) => Some(own.as_ref()),
            Some(KindSettings::Sqlite(_) | KindSettings::Files(_)) | None => None,
        };
        plan::postgres::drill_settings(own, &self.settings_of(source))
    }

    /// The settings of `[backup]`: those of sources that the configuration does not know.
    pub fn backup_settings(&self) -> BackupSettings {
        let config = self.config.as_ref();
        config.map_or_else(BackupSettings::default, |config| config.backup.clone())
    }
}

/// The names with groups resolved, each once, for who reads the store. A group's source of which
/// the store holds nothing is told; a group of nothing but such is an error, for no name at all
/// would mean all there is.
pub fn names_in(
    store: &dyn Store,
    words: &[String],
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let present = store.sources()?;
    let heard_of = |name: &String| {
        present
            .iter()
            .any(|known| known == name || is_named_of(known, name))
    };
    let mut names: Vec<String> = Vec::new();
    for word in words {
        let Some(members) = session.group(word) else {
            names.push(word.clone());
            continue;
        };
        if !members.iter().any(heard_of) {
            let text = format!(
                "the store `{}` holds nothing of the group `{word}` ({})",
                store.name(),
                members.join(", ")
            );
            return Err(Error::not_found(text).with_hint(
                Hint::new()
                    .command(["backup", word])
                    .text(" makes the first backups"),
            ));
        }
        for member in members {
            match heard_of(member) {
                true => names.push(member.clone()),
                false => observer.warn(
                    Hint::new()
                        .text(format!("{member}: the store holds nothing of it: "))
                        .command(["backup", member]),
                ),
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Whether the configuration still means a database that has vanished from its server: nobody has
/// said that it is right that it has.
pub fn is_missed(
    source: &str,
    catalog: &Catalog,
    store: &dyn Store,
    config: &config::Config,
) -> Result<bool> {
    let Some((_, entry)) = config.owner_of(source) else {
        return Ok(false);
    };
    let own = match &entry.kind {
        KindSettings::Postgres(own) => own,
        KindSettings::Sqlite(_) | KindSettings::Files(_) => return Ok(false),
    };
    let Some(newest) = catalog
        .of(source)
        .find(|backup| backup.sidecar.dump.is_some())
    else {
        return Ok(false);
    };
    let database = newest
        .whole(store)?
        .sidecar
        .database
        .and_then(|database| database.name);
    // Globals have none.
    Ok(database.is_some_and(|database| plan::postgres::is_meant(own, &database)))
}

/// Reads what the store holds of these sources, or of all where none is named; a name that the
/// store does not know is an error.
pub fn catalog_of(store: &dyn Store, sources: &[String]) -> Result<Catalog> {
    if sources.is_empty() {
        return Catalog::read(store, None);
    }
    let mut catalog = Catalog::read_with_members(store, sources)?;
    let sources = catalog.members(sources);
    let present = store.sources()?;
    if let Some(unknown) = sources.iter().find(|name| !present.contains(name)) {
        let known: Vec<&str> = present.iter().map(String::as_str).collect();
        let error = Error::not_found(format!(
            "the store `{}` has no source `{unknown}`",
            store.name()
        ));
        return Err(match config::nearest(unknown, known) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(Hint::new().command(["list"]).text(" shows what there is")),
        });
    }
    catalog.keep_only(&sources);
    Ok(catalog)
}

/// What the store holds that a user's word for a backup can mean; all there is where nothing does,
/// for the error to name it.
pub fn catalog_for(store: &dyn Store, wanted: &str, now: DateTime<Utc>) -> Result<Catalog> {
    let catalog = Catalog::read_for(store, wanted)?;
    match catalog.resolve(wanted, now) {
        Err(error) if error.kind() == Kind::NotFound => Catalog::read(store, None),
        _ => Ok(catalog),
    }
}

/// The time in an id; the earliest there is where it has none.
pub fn time_of(id: &str) -> DateTime<Utc> {
    let stamp = names::split_id(id).and_then(|(_, _, time)| time.get(..15).map(str::to_owned));
    stamp
        .and_then(|text| NaiveDateTime::parse_from_str(&text, "%Y%m%dT%H%M%S").ok())
        .map_or(DateTime::<Utc>::MIN_UTC, |at| at.and_utc())
}
