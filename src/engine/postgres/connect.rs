//! Connects to a PostgreSQL server as libpq does: hosts in order, their addresses in order, the
//! attempts that `sslmode` allows, and the kind of server that is wanted. It records which server
//! was reached and how, so that everything later reaches the same one.
//!
//! The `postgres` crate makes each single attempt. Its own host lists and its own `prefer` do not
//! fall back when a server refuses, so it is always given one address and one way of encryption.
//!
//! Every session is made safe before it is returned ([`make_safe`]): a database's owner may set its
//! search path so that an operator of the owner's comes before the system's, and would then run
//! with the rights of whoever connects. `open_client` is the only function that connects, so no
//! caller can forget it.

mod failure;
mod reached;

use super::conninfo::{ConnInfo, Endpoint, Host, ServerKind};
use super::tls::{TlsClient, TlsMode, TlsStage};
use crate::error::Result;
use failure::{ConnectFailure, Fallback};
use postgres::config::{Config, SslMode, SslNegotiation};
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::ToSocketAddrs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub use reached::ReachedServer;

/// An open connection, with the server that it reached.
pub struct PostgresSession {
    /// The connection.
    pub client: Client,
    /// The server, and the way to it.
    pub reached: ReachedServer,
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

/// How one attempt treats encryption.
#[derive(Clone)]
enum Encryption {
    Plain,
    /// Encrypted where the server supports it, else plain on the same connection.
    Either(TlsClient),
    Encrypted(TlsClient),
}

impl ConnInfo {
    /// Opens a connection.
    pub fn connect(&self) -> Result<PostgresSession> {
        if self.target != ServerKind::PreferStandby {
            return self
                .try_hosts(self.target)
                .map_err(|failures| failure::report(self, &failures));
        }
        // libpq makes two rounds: for a standby, then for any server.
        self.try_hosts(ServerKind::Standby)
            .or_else(|_| self.try_hosts(ServerKind::Any))
            .map_err(|failures| failure::report(self, &failures))
    }

    /// Tries every host once.
    fn try_hosts(&self, target: ServerKind) -> Result<PostgresSession, Vec<ConnectFailure>> {
        let mut failures = Vec::new();
        for host in self.hosts_in_order() {
            let servers = match resolve_addresses(host) {
                Ok(servers) => servers,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            for server in servers {
                match self.connect_to(&server, target) {
                    Ok(session) => return Ok(session),
                    Err(failure) => {
                        let last = failure.next == Fallback::Stop;
                        failures.push(failure);
                        if last {
                            return Err(failures);
                        }
                    }
                }
            }
        }
        Err(failures)
    }

    /// The hosts, shuffled where `load_balance_hosts=random` asks for it.
    fn hosts_in_order(&self) -> Vec<&Host> {
        let mut hosts: Vec<&Host> = self.hosts.iter().collect();
        if self.shuffle {
            // Every RandomState has a new seed.
            hosts.sort_by_cached_key(|_| RandomState::new().build_hasher().finish());
        }
        hosts
    }

    /// Connects to one server in the first way that `sslmode` allows, and in the second where the
    /// first was refused.
    fn connect_to(
        &self,
        server: &Host,
        target: ServerKind,
    ) -> Result<PostgresSession, ConnectFailure> {
        let mode = if matches!(server.at, Endpoint::Socket(_)) {
            TlsMode::Disable
        } else {
            self.tls.mode
        };
        let first = match mode {
            TlsMode::Disable | TlsMode::Allow => self.attempt(server, Encryption::Plain),
            TlsMode::Prefer => self
                .tls_client(server)
                .and_then(|ready| self.attempt(server, Encryption::Either(ready))),
            _ => self
                .tls_client(server)
                .and_then(|ready| self.attempt(server, Encryption::Encrypted(ready))),
        };
        let session = first.or_else(|first| {
            let second = match (mode, first.next, first.stage) {
                (TlsMode::Allow, Fallback::Refused, _) => self
                    .tls_client(server)
                    .and_then(|ready| self.attempt(server, Encryption::Encrypted(ready))),
                (TlsMode::Prefer, Fallback::Refused, TlsStage::Encrypted)
                | (TlsMode::Prefer, _, TlsStage::Handshake) => {
                    self.attempt(server, Encryption::Plain)
                }
                _ => return Err(first),
            };
            second.map_err(|second| first.with_second(second))
        });
        session
            .map_err(ConnectFailure::settle)
            .and_then(|session| check_server_kind(session, target))
    }

    fn tls_client(&self, server: &Host) -> Result<TlsClient, ConnectFailure> {
        let (name, address) = match &server.at {
            Endpoint::Tcp { name, address } => (name.as_deref(), *address),
            Endpoint::Socket(_) => (None, None),
        };
        self.tls
            .client(name, address)
            .map_err(|fault| ConnectFailure::tls(server, &fault))
    }

    /// Makes one attempt in one way.
    fn attempt(&self, server: &Host, way: Encryption) -> Result<PostgresSession, ConnectFailure> {
        let password = self.password_for(server);
        let pinned = self.pinned(server.clone(), password.clone());
        let client = open_client(&pinned, &way).map_err(|error| {
            ConnectFailure::from_attempt(
                &pinned,
                server,
                &way,
                error,
                password.map(|(_, from)| from),
            )
        })?;
        let tls = match way {
            Encryption::Either(ready) | Encryption::Encrypted(ready)
                if ready.stage() == TlsStage::Encrypted =>
            {
                Some(ready)
            }
            _ => None,
        };
        Ok(PostgresSession {
            client,
            reached: ReachedServer {
                info: pinned,
                host: server.clone(),
                tls,
            },
        })
    }

    /// The `postgres` crate's form of the settings, for one server.
    fn config(&self, way: &Encryption) -> Config {
        let mut config = Config::new();
        config
            .user(&self.user)
            .dbname(&self.dbname)
            .application_name(&self.application_name)
            .channel_binding(self.binding);
        if let Some(password) = self.own_password() {
            config.password(password);
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        for host in &self.hosts {
            config.port(host.port);
            match &host.at {
                Endpoint::Socket(directory) => config.host_path(directory),
                // The crate needs a name; the one that is checked is in the TLS settings.
                Endpoint::Tcp {
                    address: Some(address),
                    ..
                } => config.host("server").hostaddr(*address),
                Endpoint::Tcp { .. } => config.host(&host.name()),
            };
        }
        config.ssl_mode(match way {
            Encryption::Plain => SslMode::Disable,
            Encryption::Either(_) => SslMode::Prefer,
            Encryption::Encrypted(_) => SslMode::Require,
        });
        if self.tls.direct && !matches!(way, Encryption::Plain) {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        self.set_timers(&mut config);
        config
    }

    fn set_timers(&self, config: &mut Config) {
        let keepalive = &self.keepalive;
        config.keepalives(keepalive.on);
        if let Some(timeout) = self.timeout {
            config.connect_timeout(timeout);
        }
        if let Some(idle) = keepalive.idle {
            config.keepalives_idle(Duration::from_secs(idle));
        }
        if let Some(interval) = keepalive.interval {
            config.keepalives_interval(Duration::from_secs(interval));
        }
        if let Some(count) = keepalive.count {
            config.keepalives_retries(count);
        }
        if let Some(timeout) = keepalive.user_timeout {
            config.tcp_user_timeout(Duration::from_millis(timeout));
        }
    }
}

/// Resolves a host to one entry for each of its addresses. The lookup is done here, so that the
/// server that was reached can be named exactly.
fn resolve_addresses(host: &Host) -> Result<Vec<Host>, ConnectFailure> {
    let Endpoint::Tcp {
        name: Some(name),
        address: None,
    } = &host.at
    else {
        return Ok(vec![host.clone()]);
    };
    let found = (name.as_str(), host.port)
        .to_socket_addrs()
        .map_err(|error| ConnectFailure::lookup(host, &error))?;
    let mut servers: Vec<Host> = Vec::new();
    for address in found.map(|address| address.ip()) {
        let server = Host {
            at: Endpoint::Tcp {
                name: Some(name.clone()),
                address: Some(address),
            },
            port: host.port,
        };
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    Ok(servers)
}

/// The reason for a failed attempt, as far as the attempt itself knows it.
enum ConnectError {
    Postgres(postgres::Error),
    NoAnswer,
    Broken(String),
}

/// Opens one connection in one way, within the timeout for all of it: lookup, handshake,
/// authentication, and the settings that make it safe. The crate's own timeout ends with the TCP
/// handshake.
fn open_client(info: &ConnInfo, way: &Encryption) -> Result<Client, ConnectError> {
    let (config, way) = (info.config(way), way.clone());
    let connect = move || {
        let mut client = match way {
            Encryption::Plain => config.connect(NoTls),
            Encryption::Either(ready) | Encryption::Encrypted(ready) => config.connect(ready),
        }?;
        make_safe(&mut client)?;
        Ok(client)
    };
    run_with_timeout(info.timeout, connect)?.map_err(ConnectError::Postgres)
}

/// The first line that `psql` gets, and the first statements of each of our sessions. After it no
/// name, operator or cast means anything but the system's own, and no transaction waits for others
/// before it begins (a `DEFERRABLE` one may, for ever). `SET` evaluates no expression and needs no
/// snapshot, so no code of the owner's runs before it.
///
/// `PGOPTIONS` would do the same from the start, but poolers refuse it, and nothing runs between
/// the start and this line.
pub const SAFE_BEGINNING: &str = "SET search_path = ''; SET default_transaction_deferrable = off;
SET default_transaction_isolation = 'read committed';";

/// Overrides the settings of a role, a database or a server that could change the meaning of a
/// session's queries, hide rows from it, end it, or make it wait.
fn make_safe(client: &mut Client) -> Result<(), postgres::Error> {
    let settings = "SET statement_timeout = 0; SET lock_timeout = 0; SET \
                    idle_in_transaction_session_timeout = 0;
        SET row_security = off; SET client_min_messages = warning; SET \
                    max_parallel_workers_per_gather = 0";
    // One by one: several statements in one message are one transaction, which begins under the
    // settings before it.
    for statement in SAFE_BEGINNING.split_inclusive(';').map(str::trim) {
        client.batch_execute(statement)?;
    }
    client.batch_execute(settings)?;
    // These exist only in some versions.
    client.batch_execute(
        "SELECT pg_catalog.set_config(known.name, wanted.value, false)
         FROM (VALUES ('idle_session_timeout', '0'), ('transaction_timeout', '0'),
                      ('restrict_nonsystem_relation_kind', 'view, foreign-table')) AS wanted \
         (name, value)
         JOIN pg_catalog.pg_settings known ON known.name OPERATOR(pg_catalog.=) wanted.name",
    )
}

/// Runs work that may hang. Where it exceeds the limit, its thread is left behind; it holds nothing
/// but an unused connection.
fn run_with_timeout<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectError> {
    let Some(limit) = limit else {
        return Ok(work());
    };
    let (done, wait) = mpsc::channel();
    // Nobody receives it once the time is over.
    let job = move || drop(done.send(work()));
    thread::Builder::new()
        .name("connect".into())
        .spawn(job)
        .map_err(|error| ConnectError::Broken(error.to_string()))?;
    wait.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => ConnectError::NoAnswer,
        mpsc::RecvTimeoutError::Disconnected => {
            ConnectError::Broken("the connecting thread ended early".into())
        }
    })
}

/// Fails unless the server is of the wanted kind.
fn check_server_kind(
    mut session: PostgresSession,
    target: ServerKind,
) -> Result<PostgresSession, ConnectFailure> {
    if target == ServerKind::Any {
        return Ok(session);
    }
    let wrong = |what: &str| ConnectFailure::unsuitable(&session.reached.host, what);
    let query = "SELECT pg_catalog.pg_is_in_recovery(), \
                 pg_catalog.current_setting('transaction_read_only') = 'on'";
    let rows = session
        .client
        .simple_query(query)
        .map_err(|error| wrong(&format!("the server's kind can't be found out: {error}")))?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some([row.get(0) == Some("t"), row.get(1) == Some("t")]),
        _ => None,
    });
    let Some([standby, read_only]) = row else {
        return Err(wrong("the server's kind can't be found out"));
    };
    match target {
        ServerKind::ReadWrite if read_only => Err(wrong("the server is read-only")),
        ServerKind::ReadOnly if !read_only => Err(wrong("the server is not read-only")),
        ServerKind::Primary if standby => Err(wrong("the server is a standby")),
        ServerKind::Standby if !standby => Err(wrong("the server is not a standby")),
        _ => Ok(session),
    }
}
