//! The part of the plans that is about stores: which one is meant.

use crate::config::{BackupSettings, Config, MAIN_STORE};
use crate::error::{Error, Result};
use crate::store::{Location, StoreSettings};
use crate::units;
use std::path::Path;

/// Where the backups are, and how that place is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct StorePlan {
    /// The store's settings, with its absolute location.
    pub settings: StoreSettings,
    /// Its name, where the configuration has it as `[stores.NAME]`.
    pub name: Option<String>,
    /// The configuration itself names this store, so its retention may be applied to it.
    pub configured: bool,
}

impl StorePlan {
    /// Where the store is.
    pub fn location(&self) -> &Location {
        &self.settings.location
    }

    /// What answers about several stores call it.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None if self.configured => MAIN_STORE.to_owned(),
            None => self.location().to_string(),
        }
    }
}

/// Every store of the configuration, that of `[store]` first; and the one in use, where the
/// configuration does not have it.
pub fn every_store(
    config: Option<&Config>,
    in_use: Option<StorePlan>,
    cwd: &Path,
) -> Vec<StorePlan> {
    let of_config = config.into_iter().flat_map(Config::all_stores);
    let mut plans: Vec<StorePlan> = Vec::new();
    for plan in of_config
        .map(|(name, settings)| configured(cwd, name, settings))
        .chain(in_use)
    {
        if plans
            .iter()
            .all(|known| known.location() != plan.location())
        {
            plans.push(plan);
        }
    }
    plans
}

/// Finds the store: `--store` (a configured name, else a directory), the configuration's,
/// `$DBBACKUP_STORE`. `is_store` tells whether a directory is one: where stores have names, a word
/// that is none of them must not become a new one.
pub fn store(
    flag: Option<&str>,
    config: Option<&Config>,
    variable: Option<&str>,
    cwd: &Path,
    is_store: &dyn Fn(&Location) -> Result<bool>,
) -> Result<StorePlan> {
    if flag == Some("") {
        // An unset variable in a script; the current directory is not to become a store.
        return Err(Error::usage("`--store` is empty")
            .with_hint("name a directory, or a store of the configuration"));
    }
    if let Some(text) = flag {
        let named = config.and_then(|config| config.stores.get(text));
        let is_word = !text.contains('/') && !matches!(text, "." | "..");
        let has_names = |config: &&Config| {
            !config.stores.is_empty() || text == MAIN_STORE && config.store.is_some()
        };
        if let Some(config) = config
            .filter(|_| named.is_none() && is_word)
            .filter(has_names)
            && !is_store(&parse(text, cwd)?)?
        {
            return match &config.store {
                Some(settings) if text == MAIN_STORE => Ok(configured(cwd, None, settings)),
                _ => Err(no_such_store(text, config)),
            };
        }
        return match named {
            Some(store) => Ok(configured(cwd, Some(text), &store.settings)),
            None => written(text, config, cwd),
        };
    }
    if let Some(settings) = config.and_then(|config| config.store.as_ref()) {
        return Ok(configured(cwd, None, settings));
    }
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => written(text, config, cwd),
        None => Err(Error::usage("no store is given").with_hint(
            "name a directory: `--store DIR`, $DBBACKUP_STORE, or `path` in [store] of the \
                   configuration",
        )),
    }
}

/// The stores without whose copies nothing of a source may be removed from the store in use, by
/// their names.
pub fn required_copies(
    config: &Config,
    settings: &BackupSettings,
    in_use: &Location,
    cwd: &Path,
) -> Vec<(String, StoreSettings)> {
    let wanted = settings.copies.iter().filter(|_| settings.require_copy);
    wanted
        .filter_map(|name| {
            let store = config.stores.get(name)?.settings.resolved(cwd);
            (store.location != *in_use).then(|| (name.clone(), store))
        })
        .collect()
}

/// A store that the configuration names.
fn configured(cwd: &Path, name: Option<&str>, settings: &StoreSettings) -> StorePlan {
    StorePlan {
        name: name.map(str::to_owned),
        settings: settings.resolved(cwd),
        configured: true,
    }
}

/// The store at a place that somebody wrote, which may be one that the configuration names.
fn written(text: &str, config: Option<&Config>, cwd: &Path) -> Result<StorePlan> {
    let location = parse(text, cwd)?;
    let known = config
        .into_iter()
        .flat_map(Config::all_stores)
        .find(|(_, settings)| settings.location.resolved(cwd) == location);
    Ok(match known {
        Some((name, settings)) => configured(cwd, name, settings),
        None => StorePlan {
            name: None,
            settings: StoreSettings {
                signer: config.and_then(|config| config.signer.clone()),
                ..StoreSettings::from(location)
            },
            configured: false,
        },
    })
}

fn parse(text: &str, cwd: &Path) -> Result<Location> {
    Location::parse(text, cwd).map_err(Error::usage)
}

fn no_such_store(text: &str, config: &Config) -> Error {
    let names = || config.stores.keys().map(String::as_str);
    let known = match units::nearest(text, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "the configuration has {};",
            names()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Error::usage(format!("no store is called `{text}`"))
        .with_hint(format!("{known} a directory is written `./{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_the_flags_then_the_files_then_the_environments() {
        let cwd = Path::new("/work");
        let store = |flag: Option<&str>, variable: Option<&str>| {
            store(flag, None, variable, cwd, &|_| Ok(false))
        };
        assert_eq!(
            store(Some("./b"), Some("/env")).unwrap().settings.location,
            Path::new("/work/b").into()
        );
        assert_eq!(
            store(Some("b"), None).unwrap().settings.location,
            Path::new("/work/b").into()
        );
        assert_eq!(
            store(None, Some("/env")).unwrap().settings.location,
            Path::new("/env").into()
        );
        assert!(
            store(None, None)
                .unwrap_err()
                .hint()
                .unwrap()
                .to_string()
                .contains("--store DIR")
        );
    }
}
