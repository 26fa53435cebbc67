//! Finds what there is to back up on this machine: SQLite files by their first bytes, PostgreSQL
//! servers by their answer.

use super::Observer;
use super::status::is_set_aside;
use crate::engine::EngineKind;
use crate::engine::postgres::ConnectionSpec;
use crate::engine::postgres::conninfo::dsn;
use crate::engine::postgres::discover::{self, DiscoveredServer};
use crate::engine::sqlite::probe::{self, Header};
use crate::engine::sqlite::{Spool, SqliteSource};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::plan::{self, postgres as addresses};
use crate::store::{self, Location};
use crate::units;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than anybody wants in a first configuration.
const MOST: usize = 200;

/// Where no application's database is, or only other programs' own; hidden directories, as browsers
/// have, are passed over too.
const PASSED_OVER: [&str; 6] = ["node_modules", "__pycache__", "proc", "sys", "dev", "run"];

/// Something to back up.
#[derive(Debug)]
pub struct DiscoveredSource {
    /// A name for it, none twice.
    pub name: String,
    /// What it is.
    pub kind: DiscoveredKind,
    /// Why a backup would fail now: then it is not enabled.
    pub obstacle: Option<String>,
}

/// What was discovered.
#[derive(Debug)]
pub enum DiscoveredKind {
    /// A database file.
    Sqlite(PathBuf),
    /// The database of `$DATABASE_URL`; the address where it holds no password.
    Url { shown: Option<String> },
    /// All databases of a server.
    Server(DiscoveredServer),
    /// One database of a server, the one that the `PG…` variables name.
    Database(DiscoveredServer),
}

impl DiscoveredSource {
    /// For messages.
    pub fn place(&self) -> String {
        match &self.kind {
            DiscoveredKind::Sqlite(path) => path.display().to_string(),
            DiscoveredKind::Url { shown } => {
                shown.clone().unwrap_or_else(|| "$DATABASE_URL".to_owned())
            }
            DiscoveredKind::Server(answer) => format!(
                "all databases of PostgreSQL {} on {}:{}",
                answer.version, answer.host, answer.port
            ),
            DiscoveredKind::Database(answer) => {
                format!(
                    "{} of PostgreSQL {} on {}:{}",
                    answer.database, answer.version, answer.host, answer.port
                )
            }
        }
    }

    /// Its kind.
    pub fn engine(&self) -> EngineKind {
        match self.kind {
            DiscoveredKind::Sqlite(_) => EngineKind::Sqlite,
            DiscoveredKind::Url { .. }
            | DiscoveredKind::Server(_)
            | DiscoveredKind::Database(_) => EngineKind::Postgres,
        }
    }
}

/// Looks for databases in these directories, and for PostgreSQL servers.
pub fn discover_sources(
    dirs: &[PathBuf],
    observer: &dyn Observer,
) -> Result<Vec<DiscoveredSource>> {
    let mut found = Vec::new();
    for dir in dirs {
        if !dir.is_dir() {
            return Err(
                Error::usage(format!("`{}` is not a directory", dir.display()))
                    .with_hint("name directories to look for databases in"),
            );
        }
        discover_files(dir, &mut found, observer)?;
    }
    discover_servers(&mut found, observer);
    Ok(found)
}

fn add(
    found: &mut Vec<DiscoveredSource>,
    name: &str,
    kind: DiscoveredKind,
    obstacle: Option<String>,
) {
    let name = units::free_name(name, |name| found.iter().any(|one| one.name == name));
    found.push(DiscoveredSource {
        name,
        kind,
        obstacle,
    });
}

fn discover_files(
    dir: &Path,
    found: &mut Vec<DiscoveredSource>,
    observer: &dyn Observer,
) -> Result<()> {
    let is_store = |path: &Path| store::is_marked_at(&Location::from(path));
    let walk = walkdir::WalkDir::new(dir)
        .follow_links(false)
        .same_file_system(true)
        .sort_by_file_name();
    let entries = walk.into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        // The directory that was named is looked into whatever it is called. What a
        // restore has set aside is no source.
        entry.depth() == 0
            || !is_set_aside(&name)
                && !(entry.file_type().is_dir()
                    && (PASSED_OVER.contains(&name.as_ref())
                        || name.starts_with('.')
                        || is_store(entry.path())))
    });
    for entry in entries.flatten() {
        interrupt::check()?;
        let path = entry.path();
        let known = found
            .iter()
            .any(|one| matches!(&one.kind, DiscoveredKind::Sqlite(known) if known == path));
        let large_enough = entry.metadata().is_ok_and(|found| found.len() >= 512);
        if known
            || !entry.file_type().is_file()
            || !large_enough
            || !matches!(probe::header(path), Ok(Header::Database { .. }))
        {
            continue;
        }
        if found.len() >= MOST {
            observer.warn(format!(
                "there are more than {MOST} databases in `{}`: the others are left out",
                dir.display()
            ));
            return Ok(());
        }
        if path.to_str().is_none() {
            observer.warn(format!(
                "`{}` is left out, for its name is not UTF-8",
                path.display()
            ));
            continue;
        }
        let source = SqliteSource::new(path, Spool::Auto, Path::new("/var/tmp"), Duration::ZERO);
        let obstacle = source.probe().err().map(|error| error.message());
        add(
            found,
            &plan::name_from_path(path),
            DiscoveredKind::Sqlite(path.to_path_buf()),
            obstacle,
        );
    }
    Ok(())
}

fn discover_servers(found: &mut Vec<DiscoveredSource>, observer: &dyn Observer) {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(url) = variable("DATABASE_URL").filter(|url| addresses::is_address(url)) {
        match discover::probe_server(&ConnectionSpec {
            url: Some(url.clone()),
            ..ConnectionSpec::default()
        }) {
            Ok(answer) => {
                let name = plan::plain_name(&answer.database);
                // A password is not copied into a file.
                let secret = !matches!(dsn::parameter(&url, "password"), Ok(None));
                let shown = (!secret).then_some(url);
                add(found, &name, DiscoveredKind::Url { shown }, answer.obstacle);
            }
            Err(error) => observer.warn(format!("$DATABASE_URL is left out: {error}")),
        }
    }
    let named = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT"]
        .iter()
        .any(|name| variable(name).is_some());
    if named {
        let one = variable("PGDATABASE").is_some() || variable("PGSERVICE").is_some();
        let dbname = (!one).then(|| "postgres".to_owned());
        match discover::probe_server(&ConnectionSpec {
            dbname,
            ..ConnectionSpec::default()
        }) {
            Ok(answer) => add_server(found, answer, one),
            Err(error) => observer.warn(format!(
                "the server that the PG… variables name is left out: {error}"
            )),
        }
        return;
    }
    for (dir, port) in discover::list_sockets() {
        let spec = ConnectionSpec {
            host: Some(dir.display().to_string()),
            port: Some(port.to_string()),
            dbname: Some("postgres".to_owned()),
            ..ConnectionSpec::default()
        };
        match discover::probe_server(&spec) {
            Ok(answer) => add_server(found, answer, false),
            Err(error) => observer.warn(format!(
                "a PostgreSQL server has a socket in {}, but is left out: {error}",
                dir.display()
            )),
        }
    }
}

fn add_server(found: &mut Vec<DiscoveredSource>, answer: DiscoveredServer, one: bool) {
    let obstacle = answer.obstacle.clone();
    if one {
        let name = plan::plain_name(&answer.database);
        return add(found, &name, DiscoveredKind::Database(answer), obstacle);
    }
    add(found, "cluster", DiscoveredKind::Server(answer), obstacle);
}
