//! The part of the plans that is PostgreSQL's: from keys and addresses to what is dumped, and from
//! a cluster to its databases.

use super::{Proving, SourceKind, SourcePlan, plain_name};
use crate::config::{BackupSettings, CountRows, DrillTrust, Hooks, PostgresSettings};
use crate::engine::postgres::source::Plan;
use crate::engine::postgres::tables::Selection;
use crate::engine::postgres::{Format, Search, Spec};
use crate::pipeline;
use crate::units;

/// Which databases of a server are backed up.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// What holds for each of them.
    pub each: Plan,
    /// Names, `*` and `?` allowed.
    pub databases: Vec<String>,
    /// Those left out of them.
    pub exclude: Vec<String>,
    /// Roles and tablespaces, too.
    pub globals: bool,
    /// How many at once, where it says so itself.
    pub jobs: Option<usize>,
    /// Only the one that becomes a source of this name.
    pub only: Option<String>,
}

/// The source of one database of a cluster: `cluster.shop`.
pub fn member_of_cluster(source: &SourcePlan, cluster: &ClusterPlan, database: &str) -> SourcePlan {
    let mut each = cluster.each.clone();
    each.database = Some(database.to_owned());
    each.cluster = Some(source.name.clone());
    let name = format!("{}.{}", source.name, plain_name(database));
    SourcePlan {
        name,
        kind: SourceKind::Postgres(Box::new(each)),
        hooks: Hooks::default(),
        ..source.clone()
    }
}

/// The source of a cluster's roles and tablespaces: `cluster-globals`.
pub fn globals_of_cluster(source: &SourcePlan, cluster: &ClusterPlan) -> SourcePlan {
    let mut each = cluster.each.clone();
    each.format = Format::Globals;
    each.cluster = Some(source.name.clone());
    let name = format!("{}-globals", source.name);
    SourcePlan {
        name,
        kind: SourceKind::Postgres(Box::new(each)),
        hooks: Hooks::default(),
        ..source.clone()
    }
}

/// Whether a cluster's patterns choose this database.
pub fn is_chosen(cluster: &ClusterPlan, database: &str) -> bool {
    chooses(&cluster.databases, &cluster.exclude, database)
}

/// The same of a configured source.
pub fn is_meant(own: &PostgresSettings, database: &str) -> bool {
    chooses(&own.databases, &own.exclude_databases, database)
}

fn chooses(databases: &[String], exclude: &[String], name: &str) -> bool {
    let any = |patterns: &[String]| {
        patterns
            .iter()
            .any(|pattern| units::wildcard(pattern, name))
    };
    any(databases) && !any(exclude)
}

/// What kind of source these keys describe.
pub fn kind(own: &PostgresSettings, settings: &BackupSettings) -> SourceKind {
    let mut each = dump_plan(own, settings);
    if !own.is_cluster() {
        return SourceKind::Postgres(Box::new(each));
    }
    // Any database will do to ask for the others; the one that is called like the role is mostly
    // not there.
    if own.url.is_none() && own.service.is_none() && own.dbname.is_none() {
        each.spec.dbname = Some("postgres".to_owned());
    }
    SourceKind::Cluster(Box::new(ClusterPlan {
        each,
        databases: own.databases.clone(),
        exclude: own.exclude_databases.clone(),
        globals: own.globals,
        jobs: own.jobs.map(|jobs| jobs.max(1)),
        only: None,
    }))
}

/// How a database with these keys is dumped.
pub fn dump_plan(own: &PostgresSettings, settings: &BackupSettings) -> Plan {
    Plan {
        spec: spec(own),
        database: None,
        cluster: None,
        format: own.format,
        selection: Selection {
            schemas: own.schemas.clone(),
            exclude_table: own.exclude_table.clone(),
            exclude_table_data: own.exclude_table_data.clone(),
        },
        count: own.manifest == CountRows::Exact,
        lock_timeout: settings.lock_timeout.server,
        stall_timeout: own.stall_timeout,
        search: search(own),
        prefix_url: own.prefix_url.clone(),
    }
}

/// Where the database of these keys is.
pub fn spec(own: &PostgresSettings) -> Spec {
    Spec {
        url: own.url.clone(),
        host: own.host.clone(),
        port: own.port.map(|port| port.to_string()),
        user: own.user.clone(),
        dbname: own.dbname.clone(),
        service: own.service.clone(),
        password: own.password.clone(),
        password_file: own.password_file.clone(),
        password_command: own.password_command.clone(),
    }
}

fn search(own: &PostgresSettings) -> Search {
    Search {
        bin_dir: own.bin_dir.clone(),
        prefix: own.command_prefix.clone(),
    }
}

/// How trial restores of a source with these keys are made.
pub fn proving(own: Option<&PostgresSettings>, settings: &BackupSettings) -> Proving {
    Proving {
        search: own.map(search).unwrap_or_default(),
        drill_url: own.and_then(|own| own.drill_url.clone()),
        trusted: settings.drill == DrillTrust::Trusted,
        jobs: pipeline::threads(own.and_then(|own| own.jobs).unwrap_or(0)),
    }
}

/// Whether it is a PostgreSQL address, by its scheme.
pub fn is_address(text: &str) -> bool {
    crate::engine::postgres::is_url(text)
}

/// The database that an address names.
pub fn database_of_address(text: &str) -> Option<String> {
    let found = match text.split_once("://") {
        Some((_, rest)) => rest
            .split('?')
            .next()
            .and_then(|rest| rest.split_once('/'))
            .map(|(_, name)| percent_decoded(name)),
        None => text
            .split_whitespace()
            .find_map(|word| word.strip_prefix("dbname="))
            .map(|name| name.trim_matches('\'').to_owned()),
    };
    found.filter(|name| !name.is_empty())
}

pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        rest = if code.is_some() { &after[2..] } else { after };
        bytes.push(code.unwrap_or(*first));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_addresses() {
        for (text, name) in [
            ("postgresql://u:p@h:5432/shop?sslmode=require", Some("shop")),
            ("postgres:///a%20b?host=/run", Some("a b")),
            ("postgresql://host", None),
            ("postgresql://host/", None),
            ("host=h dbname=shop", Some("shop")),
            ("postgresql+asyncpg://u:p@h/shop", Some("shop")),
            (
                "postgresql+psycopg2://u@h:1/shop?sslmode=require",
                Some("shop"),
            ),
            ("jdbc:postgresql://h:5432/shop?user=u", Some("shop")),
            ("psql://h/shop", Some("shop")),
        ] {
            assert!(is_address(text) || text.starts_with("host="), "{text}");
            assert_eq!(database_of_address(text).as_deref(), name, "{text}");
        }
    }
}
