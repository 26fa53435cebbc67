//! Plans for PostgreSQL: from keys and addresses to the source of one database, and from a cluster
//! to its databases.

use super::{DrillSettings, SourceKind, SourcePlan, plain_name};
use crate::config::{BackupSettings, CountRows, DrillTrust, Hooks, PostgresSettings};
use crate::engine::postgres::conninfo::dsn;
use crate::engine::postgres::source::PostgresPlan;
use crate::engine::postgres::tables::TableSelection;
use crate::engine::postgres::{ConnectionSpec, PgFormat, ProgramSearch};
use crate::error::Result;
use crate::pipeline;
use crate::units;

/// The databases of a server that are backed up.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The settings of each of them.
    pub each: PostgresPlan,
    /// Names of databases, with `*` and `?`.
    pub databases: Vec<String>,
    /// Names that are excluded, with `*` and `?`.
    pub exclude: Vec<String>,
    /// Whether roles and tablespaces are backed up, too.
    pub globals: bool,
    /// How many databases are dumped at once, if the source sets it.
    pub jobs: Option<usize>,
    /// The only member to back up, by its name as a source.
    pub only: Option<String>,
}

/// The source of one database of a cluster, as `cluster.shop`.
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

/// The source of a cluster's roles and tablespaces, as `cluster-globals`.
pub fn globals_of_cluster(source: &SourcePlan, cluster: &ClusterPlan) -> SourcePlan {
    let mut each = cluster.each.clone();
    each.format = PgFormat::Globals;
    each.cluster = Some(source.name.clone());
    let name = format!("{}-globals", source.name);
    SourcePlan {
        name,
        kind: SourceKind::Postgres(Box::new(each)),
        hooks: Hooks::default(),
        ..source.clone()
    }
}

/// Whether a cluster's patterns select this database.
pub fn is_chosen(cluster: &ClusterPlan, database: &str) -> bool {
    chooses(&cluster.databases, &cluster.exclude, database)
}

/// Whether the patterns of a configured source select this database.
pub fn is_meant(own: &PostgresSettings, database: &str) -> bool {
    chooses(&own.databases, &own.exclude_databases, database)
}

fn chooses(databases: &[String], exclude: &[String], name: &str) -> bool {
    matches_any(databases, name) && !matches_any(exclude, name)
}

fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| units::wildcard(pattern, name))
}

/// The kind of source that these keys describe.
pub fn kind(own: &PostgresSettings, settings: &BackupSettings) -> SourceKind {
    let mut each = dump_plan(own, settings);
    if !own.is_cluster() {
        return SourceKind::Postgres(Box::new(each));
    }
    // Any database can list the others; one with the role's name mostly does not exist.
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

/// The settings of a database with these keys.
pub fn dump_plan(own: &PostgresSettings, settings: &BackupSettings) -> PostgresPlan {
    PostgresPlan {
        spec: spec(own),
        database: None,
        cluster: None,
        format: own.format,
        selection: TableSelection {
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

/// The address of the database with these keys.
pub fn spec(own: &PostgresSettings) -> ConnectionSpec {
    ConnectionSpec {
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

fn search(own: &PostgresSettings) -> ProgramSearch {
    ProgramSearch {
        bin_dir: own.bin_dir.clone(),
        prefix: own.command_prefix.clone(),
    }
}

/// The settings of trial restores for a source with these keys.
pub fn drill_settings(own: Option<&PostgresSettings>, settings: &BackupSettings) -> DrillSettings {
    DrillSettings {
        search: own.map(search).unwrap_or_default(),
        drill_url: own.and_then(|own| own.drill_url.clone()),
        trusted: settings.drill == DrillTrust::Trusted,
        jobs: pipeline::threads(own.and_then(|own| own.jobs).unwrap_or(0)),
    }
}

/// Whether a text is a PostgreSQL URL.
pub fn is_address(text: &str) -> bool {
    crate::engine::postgres::is_url(text)
}

/// Whether a text names a server: a PostgreSQL URL, or `key=value` pairs.
pub fn is_connection_string(text: &str) -> bool {
    is_address(text) || text.contains('=')
}

/// The database that an address names, if it names one.
pub fn database_of_address(text: &str) -> Result<Option<String>> {
    dsn::parameter(text, "dbname")
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
            assert_eq!(
                database_of_address(text).unwrap().as_deref(),
                name,
                "{text}"
            );
        }
    }
}
