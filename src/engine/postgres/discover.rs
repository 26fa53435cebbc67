//! Servers that answer on this machine, for a first configuration.

use super::conninfo::{ConnInfo, Spec};
use super::programs::{Search, Version};
use super::{explain, facts};
use crate::error::Result;
use std::path::{Path, PathBuf};

/// Where servers' sockets are: Debian's place, and that of PostgreSQL itself.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// What a server that answered says of itself.
#[derive(Debug, Clone)]
pub struct Answer {
    /// A name, an address, or the directory of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Its version.
    pub version: String,
    /// The role is a superuser.
    pub superuser: bool,
    /// Why a backup of it would fail, where that is known.
    pub obstacle: Option<String>,
}

/// Connects by these words, by the `PG…` variables for what they don't say, and asks.
pub fn ask(spec: &Spec) -> Result<Answer> {
    let conn = ConnInfo::resolve(spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup");
    let mut session = conn.connect()?;
    let version: Version = facts::version(&mut session.client)?;
    let query = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = session
        .client
        .query_one(query, &[])
        .map_err(|error| explain(&error, "asking for the role's privileges"))?;
    Ok(Answer {
        host: session.reached.host(),
        port: session.reached.port(),
        user: session.reached.user().to_owned(),
        database: session.reached.dbname().to_owned(),
        superuser: row.get(0),
        obstacle: Search::default()
            .find("pg_dump", version.major)
            .err()
            .map(|error| error.message()),
        version: version.to_string(),
    })
}

/// Sockets that servers of this machine listen on, by their directory and port.
pub fn sockets() -> Vec<(PathBuf, u16)> {
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
