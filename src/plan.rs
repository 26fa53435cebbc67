//! What a command is going to do, as plain values: the configuration with the flags over it, paths
//! absolute, the time passed in. No I/O; what must be asked of the file system is asked through a
//! function.

pub mod files;
pub mod hooks;
mod place;
mod policies;
pub mod postgres;
mod sqlite;

pub use place::source_at;
pub use policies::{Policies, policy_of_flags};

use self::hooks::Hooks;
use crate::cli;
pub use crate::cli::Kind as WantedKind;
use crate::config::{
    self, BackupKeys, Config, KindKeys, LogLevel, PostgresKeys, SourceEntry, Spool as ConfigSpool,
    VerifyAfter,
};
use crate::engine::postgres::ProgramSearch;
use crate::engine::sqlite::Spool;
use crate::engine::{DumpFormat, EngineKind};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::pipeline::{self, Codec, Encoding};
use crate::sidecar::Level;
use crate::store::Location;
use crate::units;
use chrono::{DateTime, Utc};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCRATCH_DIR: &str = "/var/tmp";
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const LOG_SIZE: u64 = 10 << 20;
const LOG_FILES: u32 = 5;

/// Where the backups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlan {
    /// The store's location.
    pub location: Location,
    /// Refuse a directory that is not mounted.
    pub require_mount: bool,
    /// The configuration itself names this store, so its retention may be applied to it.
    pub configured: bool,
}

/// What became of one thing that a backup was asked for.
#[derive(Debug)]
pub enum Planned {
    /// To be backed up.
    Source(Box<SourcePlan>),
    /// Outside its window of time.
    Skipped {
        /// The source's name.
        name: String,
        /// Why.
        why: String,
    },
    /// It can't even be tried.
    Refused {
        /// The source's name.
        name: String,
        /// Why.
        error: Error,
        /// What is known of a source of the configuration all the same.
        configured: Option<Configured>,
    },
}

/// A source of the configuration that can't be tried: its history has a place in the store, and
/// somebody may want to be told.
#[derive(Debug)]
pub struct Configured {
    /// Its kind.
    pub kind: EngineKind,
    /// Its hooks.
    pub hooks: Hooks,
}

/// One source, with everything that its backup needs.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// Its name in the store.
    pub name: String,
    /// The name was made from a path: then it must not belong to another path in the store.
    pub derived: bool,
    /// What it is.
    pub kind: SourceKind,
    /// How its dump is encoded.
    pub encoding: Encoding,
    /// How the new backup is verified at once.
    pub verify_after: Option<Level>,
    /// Whether retention is applied after a success.
    pub cleanup_after: bool,
    /// For copies and trial restores.
    pub scratch_dir: PathBuf,
    /// What is kept.
    pub policies: Policies,
    /// How trial restores are made.
    pub proving: Proving,
    /// What is run around its backup; a member of a cluster has none, the cluster has.
    pub hooks: Hooks,
}

/// How trial restores of a source's backups are made, besides what every kind has.
#[derive(Debug, Clone, Default)]
pub struct Proving {
    /// Where PostgreSQL's programs are.
    pub search: ProgramSearch,
    /// A server for them, in place of a throw-away one.
    pub drill_url: Option<String>,
    /// The code that a dump brings is trusted: a throw-away server need not be confined.
    pub trusted: bool,
    /// Jobs of `pg_restore`.
    pub jobs: usize,
}

/// The kinds of sources, each with what only it needs.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// A SQLite database file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Whether it is copied first.
        spool: Spool,
        /// How long a locked one is waited for.
        lock_timeout: Duration,
    },
    /// A PostgreSQL database, or a cluster's roles.
    Postgres(Box<crate::engine::postgres::source::PostgresPlan>),
    /// Several databases of a PostgreSQL server: the server is asked which, and each becomes a
    /// source of its own.
    Cluster(Box<postgres::ClusterPlan>),
    /// Directories and files.
    Files(Box<crate::engine::files::Plan>),
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// A file, or what else is no directory.
    File,
}

impl SourceKind {
    /// The format of its dumps.
    pub fn format(&self) -> DumpFormat {
        match self {
            SourceKind::Sqlite { .. } => DumpFormat::Sqlite,
            SourceKind::Postgres(plan) => DumpFormat::Postgres(plan.format),
            SourceKind::Cluster(plan) => DumpFormat::Postgres(plan.each.format),
            SourceKind::Files(_) => DumpFormat::Tar,
        }
    }
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
    let of_config = |found: &crate::config::StoreConfig| StorePlan {
        location: found.location.resolved(cwd),
        require_mount: found.require_mount,
        configured: true,
    };
    let parse = |text: &str| Location::parse(text, cwd).map_err(Error::usage);
    let written = |text: &str| -> Result<StorePlan> {
        let location = parse(text)?;
        let stores = config
            .into_iter()
            .flat_map(|config| config.store.iter().chain(config.stores.values()));
        let known = stores
            .into_iter()
            .find(|store| store.location.resolved(cwd) == location);
        Ok(known.map_or(
            StorePlan {
                location,
                require_mount: false,
                configured: false,
            },
            of_config,
        ))
    };
    if flag == Some("") {
        // An unset variable in a script; the current directory is not to become a store.
        return Err(Error::usage("`--store` is empty")
            .with_hint("name a directory, or a store of the configuration"));
    }
    if let Some(text) = flag {
        let named = config.and_then(|config| config.stores.get(text));
        let is_word = !text.contains('/') && !matches!(text, "." | "..");
        if let Some(config) =
            config.filter(|config| named.is_none() && is_word && !config.stores.is_empty())
            && !is_store(&parse(text)?)?
        {
            return Err(no_such_store(text, config));
        }
        return named.map_or_else(|| written(text), |found| Ok(of_config(found)));
    }
    if let Some(found) = config.and_then(|config| config.store.as_ref()) {
        return Ok(of_config(found));
    }
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => written(text),
        None => Err(Error::usage("no store is given").with_hint(
            "name a directory: `--store DIR`, $DBBACKUP_STORE, or `path` in [store] of the \
                   configuration",
        )),
    }
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

/// What is logged, and where; `None` where the configuration has no `[log]`.
pub fn log(config: &Config) -> Option<log::Settings> {
    let table = config.log.as_ref()?;
    Some(log::Settings {
        file: table.file.clone(),
        level: match table.level {
            Some(LogLevel::Error) => log::Level::Error,
            Some(LogLevel::Warning) => log::Level::Warning,
            None | Some(LogLevel::Info) => log::Level::Info,
            Some(LogLevel::Debug) => log::Level::Debug,
        },
        max_size: table.max_size.unwrap_or(LOG_SIZE),
        keep: table.keep.unwrap_or(LOG_FILES),
    })
}

/// The path from the root on, without the `./` that people type.
pub fn absolute(cwd: &Path, path: impl AsRef<Path>) -> PathBuf {
    cwd.join(path).components().collect()
}

/// What `backup` was asked for.
pub struct Wanted<'a> {
    /// The arguments: sources, groups or paths; none: every enabled source.
    pub what: &'a [String],
    /// `--all`: every enabled source, said outright.
    pub all: bool,
    /// `--as`.
    pub name: Option<&'a str>,
    /// `--kind`.
    pub kind: Option<cli::Kind>,
    /// `$DATABASE_URL`, used where there is neither a configuration nor an argument.
    pub database_url: Option<&'a str>,
}

/// Plans a backup.
pub fn backup(
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    store: &StorePlan,
    cwd: &Path,
    now: DateTime<Utc>,
    look: &dyn Fn(&Path) -> There,
) -> Result<Vec<Planned>> {
    let names = wanted_names(wanted, config)?;
    if wanted.name.is_some() && names.len() != 1 {
        return Err(Error::usage(
            "`--as` names one source, so it needs exactly one path",
        ));
    }
    let mut planned: Vec<Planned> = Vec::new();
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
            Some((config, entry)) => configured(&name, config, entry, store, asked_by_name, now)?,
            None if is_member(&name, config, cwd, look) => member(&name, config, store, now)?,
            None => Some(match by_place(&name, wanted, config, store, cwd, look) {
                Ok(source) => Planned::Source(Box::new(source)),
                Err(error) if !alone && error.kind() == Kind::NotFound => Planned::Refused {
                    name,
                    error,
                    configured: None,
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
fn wanted_names(wanted: &Wanted<'_>, config: Option<&Config>) -> Result<Vec<(String, bool)>> {
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
                    "name a database: `dbbackup --store ./backups backup ./app.db`, or write \
                           a dbbackup.toml",
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

fn configured(
    name: &str,
    config: &Config,
    entry: &SourceEntry,
    store: &StorePlan,
    asked_by_name: bool,
    now: DateTime<Utc>,
) -> Result<Option<Planned>> {
    if entry.common.enabled == Some(false) && !asked_by_name {
        return Ok(None);
    }
    let skipped = |why: String| {
        Ok(Some(Planned::Skipped {
            name: name.into(),
            why,
        }))
    };
    if let Some(start) = entry.common.start.filter(|start| now < *start) {
        return skipped(format!("its `start` is {}", units::stamp(start)));
    }
    if let Some(end) = entry.common.end.filter(|end| now >= *end) {
        return skipped(format!("its `end` was {}", units::stamp(end)));
    }
    if let Some(why) = &entry.unusable {
        let configured = Configured {
            kind: entry.kind.kind(),
            hooks: Hooks::of(entry.hooks.as_ref()),
        };
        return Ok(Some(Planned::Refused {
            name: name.into(),
            error: why.clone().into(),
            configured: Some(configured),
        }));
    }
    let keys = config.backup_keys(entry);
    let policies = if store.configured {
        Policies::configured(config, entry)
    } else {
        Policies::default()
    };
    let encoding = encoding(&keys).map_err(|error| match keys.compression_line {
        Some(line) => error.context(config.at(line)),
        None => error,
    })?;
    let (kind, proving) = match &entry.kind {
        KindKeys::Sqlite { path } => (sqlite_kind(path, &keys), Proving::default()),
        KindKeys::Postgres(own) => (
            postgres::kind(own, &keys),
            postgres::proving(Some(own.as_ref()), &keys),
        ),
        KindKeys::Files(own) => (
            files::kind(own, &keys, files::stores(Some(config), store)),
            Proving::default(),
        ),
    };
    let source = source_plan(name, false, kind, &keys, encoding, policies);
    let hooks = Hooks::of(entry.hooks.as_ref());
    Ok(Some(Planned::Source(Box::new(SourcePlan {
        proving,
        hooks,
        ..source
    }))))
}

/// Whether it is the name of one database of a cluster, as `cluster.shop`, and not that of a file.
fn is_member(
    name: &str,
    config: Option<&Config>,
    cwd: &Path,
    look: &dyn Fn(&Path) -> There,
) -> bool {
    config.is_some_and(|config| config.owner_of(name).is_some())
        && look(&absolute(cwd, name)) == There::Nothing
}

/// The cluster that the database belongs to, cut down to this one.
fn member(
    name: &str,
    config: Option<&Config>,
    store: &StorePlan,
    now: DateTime<Utc>,
) -> Result<Option<Planned>> {
    let Some((config, (owner, entry))) =
        config.and_then(|config| Some((config, config.owner_of(name)?)))
    else {
        return Ok(None);
    };
    let planned = configured(owner, config, entry, store, true, now)?;
    Ok(planned.map(|planned| match planned {
        Planned::Source(mut source) => {
            if let SourceKind::Cluster(cluster) = &mut source.kind {
                cluster.only = Some(name.to_owned());
            }
            Planned::Source(source)
        }
        other => other,
    }))
}

/// A path or an address that the configuration does not know.
fn by_place(
    text: &str,
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    store: &StorePlan,
    cwd: &Path,
    look: &dyn Fn(&Path) -> There,
) -> Result<SourcePlan> {
    if text.is_empty() {
        return Err(Error::usage("the path of a database is empty")
            .with_hint("name a source of the configuration, or a path"));
    }
    let keys = config
        .map(|config| config.backup.clone())
        .unwrap_or_default();
    if wanted.kind == Some(cli::Kind::Postgres)
        || wanted.kind.is_none() && postgres::is_address(text)
    {
        let Some(database) = postgres::database_of_address(text)? else {
            return Err(Error::usage("the address names no database")
                .with_hint("write it at its end, as in `postgresql://host/shop`"));
        };
        let (name, derived) = chosen_name(wanted.name, || plain_name(&database))?;
        let own = PostgresKeys {
            url: Some(text.to_owned()),
            ..PostgresKeys::default()
        };
        let source = source_plan(
            &name,
            derived,
            postgres::kind(&own, &keys),
            &keys,
            encoding(&keys)?,
            Policies::default(),
        );
        return Ok(SourcePlan {
            proving: postgres::proving(Some(&own), &keys),
            ..source
        });
    }
    let (path, there) = sqlite::look_for(text, cwd, look)?;
    if there == There::Nothing {
        return Err(nothing_there(text, config));
    }
    let as_files =
        wanted.kind == Some(cli::Kind::Files) || wanted.kind.is_none() && there == There::Directory;
    if as_files {
        let (name, derived) = chosen_name(wanted.name, || files::name_of(&path, there))?;
        let kind = files::kind(&files::of_path(&path), &keys, files::stores(config, store));
        return Ok(source_plan(
            &name,
            derived,
            kind,
            &keys,
            encoding(&keys)?,
            Policies::default(),
        ));
    }
    let (name, derived) = chosen_name(wanted.name, || name_from_path(&path))?;
    Ok(source_plan(
        &name,
        derived,
        sqlite_kind(&path, &keys),
        &keys,
        encoding(&keys)?,
        Policies::default(),
    ))
}

/// A word that is neither a name of the configuration nor a path.
fn nothing_there(text: &str, config: Option<&Config>) -> Error {
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

fn sqlite_kind(path: &Path, keys: &BackupKeys) -> SourceKind {
    let spool = match keys.spool {
        None | Some(ConfigSpool::Auto) => Spool::Auto,
        Some(ConfigSpool::Always) => Spool::Always,
        Some(ConfigSpool::Never) => Spool::Never,
    };
    SourceKind::Sqlite {
        path: path.to_path_buf(),
        spool,
        lock_timeout: lock_timeout(keys),
    }
}

fn source_plan(
    name: &str,
    derived: bool,
    kind: SourceKind,
    keys: &BackupKeys,
    encoding: Encoding,
    policies: Policies,
) -> SourcePlan {
    SourcePlan {
        name: name.to_owned(),
        derived,
        kind,
        encoding,
        verify_after: match keys.verify_after {
            Some(VerifyAfter::None) => None,
            None | Some(VerifyAfter::Checksum) => Some(Level::Checksum),
            Some(VerifyAfter::Content) => Some(Level::Content),
            Some(VerifyAfter::Restore) => Some(Level::Restore),
        },
        cleanup_after: keys.cleanup_after.unwrap_or(true),
        scratch_dir: scratch_dir(keys),
        policies,
        proving: Proving::default(),
        hooks: Hooks::default(),
    }
}

/// The scratch directory of these keys.
pub fn scratch_dir(keys: &BackupKeys) -> PathBuf {
    keys.scratch_dir
        .clone()
        .unwrap_or_else(|| SCRATCH_DIR.into())
}

/// How long a locked database is waited for.
pub fn lock_timeout(keys: &BackupKeys) -> Duration {
    keys.lock_timeout
        .map_or(LOCK_TIMEOUT, |span| span.duration())
}

/// How dumps are encoded by these keys.
pub fn encoding(keys: &BackupKeys) -> Result<Encoding> {
    let codec = Codec::parse(keys.compression.as_deref().unwrap_or("gzip"))
        .map_err(|why| Error::usage(format!("compression: {why}")))?;
    Ok(Encoding::new(codec).with_threads(pipeline::threads(keys.threads.unwrap_or(0))))
}

/// A source's name from a file's: `app.db` → `app`.
pub fn name_from_path(path: &Path) -> String {
    plain_name(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// A source's name from a word, other characters becoming `-`.
pub fn plain_name(word: &str) -> String {
    let name: String = word
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name
        .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned();
    if name.is_empty() {
        "database".into()
    } else {
        name
    }
}

fn first_repeated(planned: &[Planned]) -> Option<&str> {
    let name = |one: &Planned| match one {
        Planned::Source(source) => source.name.clone(),
        Planned::Skipped { name, .. } | Planned::Refused { name, .. } => name.clone(),
    };
    let names: Vec<String> = planned.iter().map(name).collect();
    let repeated = planned
        .iter()
        .enumerate()
        .find(|(at, one)| names[..*at].contains(&name(one)));
    match repeated?.1 {
        Planned::Source(source) => Some(&source.name),
        Planned::Skipped { name, .. } | Planned::Refused { name, .. } => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_paths() {
        for (path, name) in [
            ("/srv/app/app.db", "app"),
            ("my data.sqlite", "my-data"),
            ("/x/.hidden.db", "hidden"),
            ("/x/Ü.db", "database"),
            ("a.b.db", "a.b"),
        ] {
            assert_eq!(name_from_path(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn two_paths_that_would_share_a_name_are_refused() {
        let plan = StorePlan {
            location: Path::new("/s").into(),
            require_mount: false,
            configured: false,
        };
        let what = ["/a/app.db".to_owned(), "/b/app.db".to_owned()];
        let wanted = Wanted {
            what: &what,
            all: false,
            name: None,
            kind: None,
            database_url: None,
        };
        let error = backup(&wanted, None, &plan, Path::new("/"), Utc::now(), &|_| {
            There::File
        })
        .unwrap_err();
        assert!(error.message().contains("called `app`"), "{error}");
    }

    #[test]
    fn the_store_is_the_flags_then_the_files_then_the_environments() {
        let cwd = Path::new("/work");
        let store = |flag: Option<&str>, variable: Option<&str>| {
            store(flag, None, variable, cwd, &|_| Ok(false))
        };
        assert_eq!(
            store(Some("./b"), Some("/env")).unwrap().location,
            Path::new("/work/b").into()
        );
        assert_eq!(
            store(Some("b"), None).unwrap().location,
            Path::new("/work/b").into()
        );
        assert_eq!(
            store(None, Some("/env")).unwrap().location,
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
