//! The part of the plans that is about sources: from what a backup is asked for to a plan for each
//! source.

use super::sqlite;
use super::{
    DrillSettings, FaultySource, PathKind, PlannedAttempt, RetentionPolicies, SourceKind,
    SourcePlan, StorePlan, absolute, files, name_from_path, plain_name, postgres, required_copies,
};
use crate::config::{
    self, BackupSettings, Config, ConfiguredSource, Hooks, KindSettings, PostgresSettings,
};
use crate::engine::EngineKind;
use crate::error::{Error, Hint, Kind, Result};
use crate::units;
use chrono::{DateTime, Utc};
use std::path::Path;

/// What a backup is asked for.
pub struct SourceSelection<'a> {
    /// The arguments: sources, groups or paths; none: every enabled source.
    pub what: &'a [String],
    /// `--all`: every enabled source, said outright.
    pub all: bool,
    /// `--as`.
    pub name: Option<&'a str>,
    /// `--kind`.
    pub kind: Option<EngineKind>,
    /// `$DATABASE_URL`, used where there is neither a configuration nor an argument.
    pub database_url: Option<&'a str>,
}

/// Plans a backup.
pub fn backup(
    wanted: &SourceSelection<'_>,
    config: Option<&Config>,
    store: &StorePlan,
    cwd: &Path,
    now: DateTime<Utc>,
    look: &dyn Fn(&Path) -> PathKind,
) -> Result<Vec<PlannedAttempt>> {
    let names = wanted_names(wanted, config)?;
    if wanted.name.is_some() && names.len() != 1 {
        return Err(Error::usage(
            "`--as` names one source, so it needs exactly one path",
        ));
    }
    let mut planned: Vec<PlannedAttempt> = Vec::new();
    let alone = names.len() == 1;
    for (name, asked_by_name) in names {
        let one = match config.and_then(|config| config.source(&name).map(|entry| (config, entry)))
        {
            Some(_) if wanted.name.is_some() => {
                return Err(Error::usage(format!(
                    "`{name}` is a source of the configuration and keeps its name"
                ))
                .with_hint("leave `--as` out"));
            }
            Some((config, entry)) => {
                plan_configured(&name, config, entry, store, asked_by_name, now)?
            }
            None if is_member(&name, config, cwd, look) => plan_member(&name, config, store, now)?,
            None => Some(match plan_place(&name, wanted, config, store, cwd, look) {
                Ok(source) => PlannedAttempt::Source(Box::new(source)),
                Err(error) if !alone && error.kind() == Kind::NotFound => PlannedAttempt::Refused {
                    name,
                    error,
                    faulty: None,
                },
                Err(error) => return Err(error),
            }),
        };
        planned.extend(one);
    }
    if let Some(name) = first_repeated(&planned) {
        return Err(
            Error::usage(format!("two of the sources would be called `{name}`"))
                .with_hint("back them up one by one, with `--as NAME`"),
        );
    }
    Ok(planned)
}

/// The names, groups resolved and each once, with whether each was asked for by its own name.
fn wanted_names(
    wanted: &SourceSelection<'_>,
    config: Option<&Config>,
) -> Result<Vec<(String, bool)>> {
    let mut names: Vec<(String, bool)> = Vec::new();
    let mut add = |name: &str, asked: bool| {
        if !names.iter().any(|(known, _)| known == name) {
            names.push((name.to_owned(), asked));
        }
    };
    match (wanted.what, config) {
        ([], config) if wanted.all && config.is_none_or(|config| config.sources.is_empty()) => {
            return Err(Error::usage(
                "`--all` means the sources of a configuration, and there are none",
            )
            .with_hint("write a dbbackup.toml with a [sources.NAME] table, or name a database"));
        }
        ([], Some(config)) if !config.sources.is_empty() => {
            config.sources.iter().for_each(|(name, _)| add(name, false))
        }
        ([], _) => match wanted.database_url {
            Some(url) => add(url, true),
            None => {
                return Err(Error::usage(
                    "there is nothing to back up: no argument and no source in \
                                         a configuration",
                )
                .with_hint(
                    Hint::new()
                        .text("name a database: ")
                        .command(["--store", "./backups", "backup", "./app.db"])
                        .text(", or write a dbbackup.toml"),
                ));
            }
        },
        (what, config) => {
            for word in what {
                match config.and_then(|config| config.group(word)) {
                    Some(members) => members.iter().for_each(|member| add(member, false)),
                    None => add(word, true),
                }
            }
        }
    }
    Ok(names)
}

/// Plans a source of the configuration; nothing for a disabled one that was not named.
fn plan_configured(
    name: &str,
    config: &Config,
    source: &ConfiguredSource,
    store: &StorePlan,
    asked_by_name: bool,
    now: DateTime<Utc>,
) -> Result<Option<PlannedAttempt>> {
    if !source.common.enabled && !asked_by_name {
        return Ok(None);
    }
    let skipped = |why: String| {
        Ok(Some(PlannedAttempt::Skipped {
            name: name.into(),
            why,
        }))
    };
    if let Some(start) = source.common.start.filter(|start| now < *start) {
        return skipped(format!("its `start` is {}", units::stamp(start)));
    }
    if let Some(end) = source.common.end.filter(|end| now >= *end) {
        return skipped(format!("its `end` was {}", units::stamp(end)));
    }
    if let Some(fault) = &source.fault {
        let faulty = FaultySource {
            kind: source.kind.kind(),
            hooks: source.hooks.clone(),
        };
        return Ok(Some(PlannedAttempt::Refused {
            name: name.into(),
            error: fault.clone().into(),
            faulty: Some(faulty),
        }));
    }
    let policies = if store.configured {
        RetentionPolicies::in_store(config, store.name.as_deref(), source)
    } else {
        RetentionPolicies::default()
    };
    let settings = source.backup.clone();
    // The locations in a configuration are absolute.
    let required_copies = required_copies(config, &settings, store.location(), Path::new("/"));
    let (kind, drill_settings) = match &source.kind {
        KindSettings::Sqlite(own) => (sqlite_kind(&own.path, &settings), DrillSettings::default()),
        KindSettings::Postgres(own) => (
            postgres::kind(own, &settings),
            postgres::drill_settings(Some(own.as_ref()), &settings),
        ),
        KindSettings::Files(own) => (
            files::kind(own, &settings, files::stores(Some(config), store)),
            DrillSettings::default(),
        ),
    };
    Ok(Some(PlannedAttempt::Source(Box::new(SourcePlan {
        name: name.to_owned(),
        derived: false,
        kind,
        settings,
        policies,
        required_copies,
        drill_settings,
        hooks: source.hooks.clone(),
    }))))
}

/// Whether it is the name of one database of a cluster, as `cluster.shop`, and not that of a file.
fn is_member(
    name: &str,
    config: Option<&Config>,
    cwd: &Path,
    look: &dyn Fn(&Path) -> PathKind,
) -> bool {
    config.is_some_and(|config| config.owner_of(name).is_some())
        && look(&absolute(cwd, name)) == PathKind::Missing
}

/// Plans the cluster that a database belongs to, cut down to this one.
fn plan_member(
    name: &str,
    config: Option<&Config>,
    store: &StorePlan,
    now: DateTime<Utc>,
) -> Result<Option<PlannedAttempt>> {
    let Some((config, (owner, entry))) =
        config.and_then(|config| Some((config, config.owner_of(name)?)))
    else {
        return Ok(None);
    };
    let planned = plan_configured(owner, config, entry, store, true, now)?;
    Ok(planned.map(|planned| match planned {
        PlannedAttempt::Source(mut source) => {
            if let SourceKind::Cluster(cluster) = &mut source.kind {
                cluster.only = Some(name.to_owned());
            }
            PlannedAttempt::Source(source)
        }
        other => other,
    }))
}

/// Plans a path or an address that the configuration does not know.
fn plan_place(
    text: &str,
    wanted: &SourceSelection<'_>,
    config: Option<&Config>,
    store: &StorePlan,
    cwd: &Path,
    look: &dyn Fn(&Path) -> PathKind,
) -> Result<SourcePlan> {
    if text.is_empty() {
        return Err(Error::usage("the path of a database is empty")
            .with_hint("name a source of the configuration, or a path"));
    }
    let settings = config
        .map(|config| config.backup.clone())
        .unwrap_or_default();
    if wanted.kind == Some(EngineKind::Postgres)
        || wanted.kind.is_none() && postgres::is_address(text)
    {
        let Some(database) = postgres::database_of_address(text)? else {
            return Err(Error::usage("the address names no database")
                .with_hint("write it at its end, as in `postgresql://host/shop`"));
        };
        let (name, derived) = chosen_name(wanted.name, || plain_name(&database))?;
        let own = PostgresSettings {
            url: Some(text.to_owned()),
            ..PostgresSettings::default()
        };
        let kind = postgres::kind(&own, &settings);
        let drill_settings = postgres::drill_settings(Some(&own), &settings);
        return Ok(SourcePlan {
            drill_settings,
            ..unconfigured_plan(name, derived, kind, settings)
        });
    }
    let (path, there) = sqlite::look_for(text, cwd, look)?;
    if there == PathKind::Missing {
        return Err(unknown_word(text, config));
    }
    let as_files = wanted.kind == Some(EngineKind::Files)
        || wanted.kind.is_none() && there == PathKind::Directory;
    if as_files {
        let (name, derived) = chosen_name(wanted.name, || files::name_of(&path, there))?;
        let stores = files::stores(config, store);
        let kind = files::kind(&files::settings_of_path(&path), &settings, stores);
        return Ok(unconfigured_plan(name, derived, kind, settings));
    }
    let (name, derived) = chosen_name(wanted.name, || name_from_path(&path))?;
    let kind = sqlite_kind(&path, &settings);
    Ok(unconfigured_plan(name, derived, kind, settings))
}

/// The plan of a source that the configuration does not know.
fn unconfigured_plan(
    name: String,
    derived: bool,
    kind: SourceKind,
    settings: BackupSettings,
) -> SourcePlan {
    SourcePlan {
        name,
        derived,
        kind,
        settings,
        policies: RetentionPolicies::default(),
        required_copies: Vec::new(),
        drill_settings: DrillSettings::default(),
        hooks: Hooks::default(),
    }
}

/// The error of a word that is neither a name of the configuration nor a path.
fn unknown_word(text: &str, config: Option<&Config>) -> Error {
    let names = |config: &'_ Config| -> Vec<String> {
        let sources = config.sources.iter().map(|(name, _)| name);
        sources
            .chain(config.groups.iter().map(|(name, _)| name))
            .cloned()
            .collect()
    };
    let known = config.map(names).unwrap_or_default();
    let error = Error::not_found(format!(
        "no source or group is called `{text}`, and there is no such file"
    ));
    match config::nearest(text, known.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(
            "name a source of the configuration, or the path of a database or directory; a missing \
             database is never created",
        ),
    }
}

/// The name that `--as` gives, or one that is made from the place; and whether it was made so.
fn chosen_name(name: Option<&str>, made: impl FnOnce() -> String) -> Result<(String, bool)> {
    match name {
        Some(name) if !config::is_source_name(name) => {
            Err(Error::usage(format!("`{name}` can't be a source's name"))
                .with_hint("use letters, digits, `.`, `_` and `-`, a letter or digit first"))
        }
        Some(name) => Ok((name.to_owned(), false)),
        None => Ok((made(), true)),
    }
}

fn sqlite_kind(path: &Path, settings: &BackupSettings) -> SourceKind {
    SourceKind::Sqlite {
        path: path.to_path_buf(),
        spool: settings.spool,
        lock_timeout: settings.lock_timeout.file,
    }
}

fn first_repeated(planned: &[PlannedAttempt]) -> Option<&str> {
    let name = |one: &PlannedAttempt| match one {
        PlannedAttempt::Source(source) => source.name.clone(),
        PlannedAttempt::Skipped { name, .. } | PlannedAttempt::Refused { name, .. } => name.clone(),
    };
    let names: Vec<String> = planned.iter().map(name).collect();
    let repeated = planned
        .iter()
        .enumerate()
        .find(|(at, one)| names[..*at].contains(&name(one)));
    match repeated?.1 {
        PlannedAttempt::Source(source) => Some(&source.name),
        PlannedAttempt::Skipped { name, .. } | PlannedAttempt::Refused { name, .. } => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_that_would_share_a_name_are_refused() {
        let plan = StorePlan {
            settings: crate::store::Location::from(Path::new("/s")).into(),
            name: None,
            configured: false,
        };
        let what = ["/a/app.db".to_owned(), "/b/app.db".to_owned()];
        let wanted = SourceSelection {
            what: &what,
            all: false,
            name: None,
            kind: None,
            database_url: None,
        };
        let error = backup(&wanted, None, &plan, Path::new("/"), Utc::now(), &|_| {
            PathKind::File
        })
        .unwrap_err();
        assert!(error.message().contains("called `app`"), "{error}");
    }
}
