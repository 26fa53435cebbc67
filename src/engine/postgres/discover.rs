//! Servers that answer on this machine, for a first configuration.

use super::conninfo::{ConnInfo, ConnectionSpec};
use super::programs::{PostgresVersion, ProgramSearch};
use super::{explain_error, facts};
use crate::error::Result;
use std::path::{Path, PathBuf};

/// The socket directories of Debian and of PostgreSQL itself.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A server that answered.
#[derive(Debug, Clone)]
pub struct DiscoveredServer {
    /// Its name, its address, or the directory of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Its version.
    pub version: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// Why a backup would fail, where that is known.
    pub obstacle: Option<String>,
}

/// Connects as `spec` says, with the `PG…` variables for the rest, and reads the facts.
pub fn probe_server(spec: &ConnectionSpec) -> Result<DiscoveredServer> {
    let conn = ConnInfo::resolve(spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup");
    let mut session = conn.connect()?;
    let version: PostgresVersion = facts::read_server_version(&mut session.client)?;
    let query = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = session
        .client
        .query_one(query, &[])
        .map_err(|error| explain_error(&error, "asking for the role's privileges"))?;
    Ok(DiscoveredServer {
        host: session.reached.host(),
        port: session.reached.port(),
        user: session.reached.user().to_owned(),
        database: session.reached.dbname().to_owned(),
        superuser: row.get(0),
        obstacle: ProgramSearch::default()
            .find("pg_dump", version.major)
            .err()
            .map(|error| error.message()),
        version: version.to_string(),
    })
}

/// Lists the sockets of servers on this machine, by directory and port.
pub fn list_sockets() -> Vec<(PathBuf, u16)> {
    let mut found = Vec::new();
    for dir in SOCKET_DIRS {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let ports = entries.filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix(".s.PGSQL.")?
                .parse()
                .ok()
        });
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        found.extend(
            ports
                .into_iter()
                .map(|port| (Path::new(dir).to_path_buf(), port)),
        );
    }
    found
}
