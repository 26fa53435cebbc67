//! The settings of `kind = "postgres"`.

use crate::engine::postgres::PgFormat;
use crate::setting::{WordChoice, settings};
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// The settings that only a source of `kind = "postgres"` has.
    #[derive(Clone, PartialEq)]
    pub struct PostgresSettings {
        /// The address of the server: `postgresql://user@host:port/database?sslmode=verify-full`,
        /// or `host=… dbname=…`.
        pub url: Option<String> = None,
        /// The host, or the directory of its socket. This key and the next three go before what
        /// `url` says.
        pub host: Option<String> = None,
        /// The port of the server.
        pub port: Option<u16> = None,
        /// The role that connects; see dbbackup-postgresql(7) for what it must be allowed.
        pub user: Option<String> = None,
        /// The database.
        pub dbname: Option<String> = None,
        /// A section of `pg_service.conf`.
        pub service: Option<String> = None,
        /// The password. Better is one of the next two keys, or `~/.pgpass`; only one of them may
        /// be set.
        pub password: Option<String> = None,
        /// A file that holds the password and nothing else.
        pub password_file: Option<PathBuf> = None,
        /// A shell line that prints the password, as in `"pass show shop"`.
        pub password_command: Option<String> = None,
        /// How the database is dumped: `"custom"` is an archive for `pg_restore`, `"plain"` a
        /// script for `psql`.
        pub format: PgFormat = PgFormat::Custom,
        /// Databases of the server, each of which becomes a source `NAME.DATABASE`; `*` and `?`
        /// are allowed, as in `["*"]` or `["app_*", "shop"]`.
        pub databases: Vec<String> = Vec::new(),
        /// Databases that are left out of `databases`. PostgreSQL's own templates and what a
        /// restore has set aside (`…_before_<time>`) always are. A database that has vanished from
        /// the server makes each run exit 3, and its backups stay, until it is named here.
        pub exclude_databases: Vec<String> = Vec::new(),
        /// With `databases`: saves roles and tablespaces, too, as the source `NAME-globals`.
        pub globals: bool = false,
        /// Dumps only these schemas; patterns as for `pg_dump --schema`. Not set, all are dumped.
        pub schemas: Vec<String> = Vec::new(),
        /// Leaves these tables out; patterns as for `pg_dump --exclude-table`.
        pub exclude_table: Vec<String> = Vec::new(),
        /// Dumps these tables without their rows, as `pg_dump --exclude-table-data` does.
        pub exclude_table_data: Vec<String> = Vec::new(),
        /// Whether the rows of every table are counted, in the snapshot that is dumped. With
        /// `"off"` a proof has nothing to compare with.
        pub manifest: CountRows = CountRows::Exact,
        /// A run fails once `pg_dump` has written nothing for so long.
        pub stall_timeout: Duration = Duration::from_secs(1800),
        /// The number of databases that are backed up at once, and of jobs that `pg_restore` has.
        /// Not set, it is that of `[backup]`, and for restores one for each core.
        pub jobs: Option<usize> = None,
        /// The directory of `pg_dump`, `pg_restore`, `psql` and `initdb`. Not set, the newest ones
        /// that fit are looked for.
        pub bin_dir: Option<PathBuf> = None,
        /// What is put before `pg_dump`, to run it inside a container:
        /// `["docker", "exec", "-i", "db"]`.
        pub command_prefix: Vec<String> = Vec::new(),
        /// With `command_prefix`: the address of the server as it is from in there, as in
        /// `"postgresql://backup@localhost/shop"`. Not set, it is the same address.
        pub prefix_url: Option<String> = None,
        /// Makes drills in a scratch database of this server, in place of a throw-away one.
        pub drill_url: Option<String> = None,
    }
}

/// Little is shown: addresses and passwords are nobody's business.
impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("host", &self.host)
            .field("dbname", &self.dbname)
            .finish_non_exhaustive()
    }
}

impl PostgresSettings {
    /// Whether the source stands for several databases, each a source `NAME.DATABASE`, and
    /// `NAME-globals`.
    pub fn is_cluster(&self) -> bool {
        !self.databases.is_empty()
    }
}

/// The formats that a source may choose; globals have one of their own.
impl WordChoice for PgFormat {
    const ALL: &'static [(&'static str, Self)] =
        &[("custom", PgFormat::Custom), ("plain", PgFormat::Plain)];
}

/// `manifest`: whether rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountRows {
    /// Every table's rows are counted.
    Exact,
    /// None are.
    Off,
}

impl WordChoice for CountRows {
    const ALL: &'static [(&'static str, Self)] =
        &[("exact", CountRows::Exact), ("off", CountRows::Off)];
}
