//! Connects to a PostgreSQL server as libpq would: hosts in order, their addresses in order, the
//! attempts that `sslmode` allows, the kind of server that is wanted; and keeps what was reached,
//! so that everything after it reaches the same.
//!
//! The `postgres` crate makes each single attempt. It has its own host lists and its own `prefer`,
//! but neither falls back when a server refuses, so it is always given one address and one way.
//!
//! Every session is made safe before anybody gets it ([`make_safe`]): a database's owner may set
//! its search path so that an operator of the owner's stands before the system's own, and would
//! then run with the rights of whoever connects. `open` is the only place that connects, so no
//! caller can forget that.

mod failure;

use super::conninfo::dsn::pair;
use super::conninfo::{At, ConnInfo, Host, Target, VARIABLES};
use super::tls::{Mode, Ready, Stage};
use crate::error::Result;
use failure::{Failure, Next};
use postgres::config::{ChannelBinding, Config, SslMode, SslNegotiation};
use postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a cancel request may take: it is sent when something else is to be ended, and must not
/// hang itself.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// An open connection, and what was reached by it.
pub struct Session {
    /// The connection.
    pub client: Client,
    /// The way there.
    pub reached: Reached,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

/// What was really reached: one server, the way of encryption that worked, the password that was
/// taken.
#[derive(Clone)]
pub struct Reached {
    info: ConnInfo,
    host: Host,
    tls: Option<Ready>,
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = self.tls.is_some();
        f.debug_struct("Reached")
            .field("host", &self.host)
            .field("encrypted", &encrypted)
            .field("info", &self.info)
            .finish()
    }
}

/// How one attempt treats encryption.
#[derive(Clone)]
enum Way {
    Plain,
    /// Encrypted where the server can, else plain on the same connection.
    Either(Ready),
    Encrypted(Ready),
}

impl ConnInfo {
    /// Opens a connection.
    pub fn connect(&self) -> Result<Session> {
        if self.target != Target::PreferStandby {
            return self
                .round(self.target)
                .map_err(|failures| failure::report(self, &failures));
        }
        // libpq's two rounds: a standby, or whatever there is.
        self.round(Target::Standby)
            .or_else(|_| self.round(Target::Any))
            .map_err(|failures| failure::report(self, &failures))
    }

    /// Tries every host once.
    fn round(&self, target: Target) -> Result<Session, Vec<Failure>> {
        let mut failures = Vec::new();
        for host in self.hosts_in_order() {
            let servers = match addresses(host) {
                Ok(servers) => servers,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            for server in servers {
                match self.reach(&server, target) {
                    Ok(session) => return Ok(session),
                    Err(failure) => {
                        let last = failure.next == Next::Stop;
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
            // Every RandomState is seeded anew.
            hosts.sort_by_cached_key(|_| RandomState::new().build_hasher().finish());
        }
        hosts
    }

    /// Connects to one server: in the first way that `sslmode` names, and in the second where the
    /// first was refused.
    fn reach(&self, server: &Host, target: Target) -> Result<Session, Failure> {
        let mode = if matches!(server.at, At::Socket(_)) {
            Mode::Disable
        } else {
            self.tls.mode
        };
        let first = match mode {
            Mode::Disable | Mode::Allow => self.attempt(server, Way::Plain),
            Mode::Prefer => self
                .ready(server)
                .and_then(|ready| self.attempt(server, Way::Either(ready))),
            _ => self
                .ready(server)
                .and_then(|ready| self.attempt(server, Way::Encrypted(ready))),
        };
        let session = first.or_else(|first| {
            let second = match (mode, first.next, first.stage) {
                (Mode::Allow, Next::Refused, _) => self
                    .ready(server)
                    .and_then(|ready| self.attempt(server, Way::Encrypted(ready))),
                (Mode::Prefer, Next::Refused, Stage::Encrypted)
                | (Mode::Prefer, _, Stage::Handshake) => self.attempt(server, Way::Plain),
                _ => return Err(first),
            };
            second.map_err(|second| first.beside(second))
        });
        session
            .map_err(Failure::settle)
            .and_then(|session| suits(session, target))
    }

    fn ready(&self, server: &Host) -> Result<Ready, Failure> {
        let (name, address) = match &server.at {
            At::Tcp { name, address } => (name.as_deref(), *address),
            At::Socket(_) => (None, None),
        };
        self.tls
            .ready(name, address)
            .map_err(|fault| Failure::tls(server, &fault))
    }

    /// One attempt, and what it reached.
    fn attempt(&self, server: &Host, way: Way) -> Result<Session, Failure> {
        let password = self.password_for(server);
        let pinned = self.pinned(server.clone(), password.clone());
        let client = open(&pinned, &way).map_err(|error| {
            Failure::of(&pinned, server, &way, error, password.map(|(_, from)| from))
        })?;
        let tls = match way {
            Way::Either(ready) | Way::Encrypted(ready) if ready.stage() == Stage::Encrypted => {
                Some(ready)
            }
            _ => None,
        };
        Ok(Session {
            client,
            reached: Reached {
                info: pinned,
                host: server.clone(),
                tls,
            },
        })
    }

    /// The crate's own form of it, for one server.
    fn config(&self, way: &Way) -> Config {
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
                At::Socket(directory) => config.host_path(directory),
                // Only so that the crate sees a name; the one that counts is in the TLS settings.
                At::Tcp {
                    address: Some(address),
                    ..
                } => config.host("server").hostaddr(*address),
                At::Tcp { .. } => config.host(&host.name()),
            };
        }
        config.ssl_mode(match way {
            Way::Plain => SslMode::Disable,
            Way::Either(_) => SslMode::Prefer,
            Way::Encrypted(_) => SslMode::Require,
        });
        if self.tls.direct && !matches!(way, Way::Plain) {
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

/// A host with each of its addresses: the lookup is done here, so that what is reached can be named
/// exactly.
fn addresses(host: &Host) -> Result<Vec<Host>, Failure> {
    let At::Tcp {
        name: Some(name),
        address: None,
    } = &host.at
    else {
        return Ok(vec![host.clone()]);
    };
    let found = (name.as_str(), host.port)
        .to_socket_addrs()
        .map_err(|error| Failure::lookup(host, &error))?;
    let mut servers: Vec<Host> = Vec::new();
    for address in found.map(|address| address.ip()) {
        let server = Host {
            at: At::Tcp {
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

/// Why there is no connection, as far as the attempt itself knows.
enum Refusal {
    Postgres(postgres::Error),
    NoAnswer,
    Broken(String),
}

/// Opens one connection, in one way, within the time that is allowed for all of it: lookup,
/// handshake, authentication, and the settings that make it safe. The crate's own timeout ends with
/// the TCP handshake.
fn open(info: &ConnInfo, way: &Way) -> Result<Client, Refusal> {
    let (config, way) = (info.config(way), way.clone());
    let connect = move || {
        let mut client = match way {
            Way::Plain => config.connect(NoTls),
            Way::Either(ready) | Way::Encrypted(ready) => config.connect(ready),
        }?;
        make_safe(&mut client)?;
        Ok(client)
    };
    within(info.timeout, connect)?.map_err(Refusal::Postgres)
}

/// What `psql` gets as its first line, and each session of our own as its first statements: no
/// name, operator or cast means anything but the system's own, and no transaction waits for others
/// to end before it begins (a `DEFERRABLE` one may, for ever). `SET` itself evaluates no expression
/// and needs no snapshot, so nothing of the owner's comes before it.
///
/// `PGOPTIONS` would do the same from the very start, but poolers refuse it, and nothing runs
/// between the start and this line.
pub const SAFE_BEGINNING: &str = "SET search_path = ''; SET default_transaction_deferrable = off;
SET default_transaction_isolation = 'read committed';";

/// Nothing that a role, a database or a server is set to may change what a session's queries mean,
/// hide rows from it, end it, or make it wait.
fn make_safe(client: &mut Client) -> Result<(), postgres::Error> {
    let settings = "SET statement_timeout = 0; SET lock_timeout = 0; SET \
                    idle_in_transaction_session_timeout = 0;
        SET row_security = off; SET client_min_messages = warning; SET \
                    max_parallel_workers_per_gather = 0";
    // Each for itself: several in one message are one transaction, which begins as the settings
    // before it say.
    for statement in SAFE_BEGINNING.split_inclusive(';').map(str::trim) {
        client.batch_execute(statement)?;
    }
    client.batch_execute(settings)?;
    // Those that only some versions know.
    client.batch_execute(
        "SELECT pg_catalog.set_config(known.name, wanted.value, false)
         FROM (VALUES ('idle_session_timeout', '0'), ('transaction_timeout', '0'),
                      ('restrict_nonsystem_relation_kind', 'view, foreign-table')) AS wanted \
         (name, value)
         JOIN pg_catalog.pg_settings known ON known.name OPERATOR(pg_catalog.=) wanted.name",
    )
}

/// Runs something that may hang. Where it does, its thread is left behind: it holds nothing but a
/// connection that nobody uses.
fn within<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let Some(limit) = limit else {
        return Ok(work());
    };
    let (done, wait) = mpsc::channel();
    // Nobody listens any more once the time is over.
    let job = move || drop(done.send(work()));
    thread::Builder::new()
        .name("connect".into())
        .spawn(job)
        .map_err(|error| Refusal::Broken(error.to_string()))?;
    wait.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => Refusal::NoAnswer,
        mpsc::RecvTimeoutError::Disconnected => {
            Refusal::Broken("the connecting thread ended early".into())
        }
    })
}

/// Whether a server is of the kind that is wanted.
fn suits(mut session: Session, target: Target) -> Result<Session, Failure> {
    if target == Target::Any {
        return Ok(session);
    }
    let wrong = |what: &str| Failure::unsuitable(&session.reached.host, what);
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
        Target::ReadWrite if read_only => Err(wrong("the server is read-only")),
        Target::ReadOnly if !read_only => Err(wrong("the server is not read-only")),
        Target::Primary if standby => Err(wrong("the server is a standby")),
        Target::Standby if !standby => Err(wrong("the server is not a standby")),
        _ => Ok(session),
    }
}

impl Reached {
    /// A connection string for a client program's `-d`: leads to the same server in the same way,
    /// and holds no password.
    pub fn conninfo(&self, dbname: &str, application_name: &str) -> String {
        let info = &self.info;
        let mut pairs = vec![
            pair("host", &self.host.name()),
            pair("port", &self.host.port.to_string()),
        ];
        if let At::Tcp {
            address: Some(address),
            ..
        } = self.host.at
        {
            pairs.push(pair("hostaddr", &address.to_string()));
        }
        pairs.extend([
            pair("user", &info.user),
            pair("dbname", dbname),
            pair("application_name", application_name),
        ]);
        match &self.tls {
            Some(ready) => pairs.extend(ready.pairs(&info.tls)),
            None => pairs.push(pair("sslmode", "disable")),
        }
        // Kerberos would be a way that we can't go ourselves.
        pairs.push(pair("gssencmode", "disable"));
        if let Some(options) = &info.options {
            pairs.push(pair("options", options));
        }
        match info.binding {
            ChannelBinding::Require => pairs.push(pair("channel_binding", "require")),
            ChannelBinding::Disable => pairs.push(pair("channel_binding", "disable")),
            // libpq gives up where the certificate has no hash to bind to; we go on without.
            _ if self.tls.as_ref().is_some_and(|ready| !ready.can_bind()) => {
                pairs.push(pair("channel_binding", "disable"))
            }
            _ => {}
        }
        pairs.extend(self.timer_pairs());
        pairs.join(" ")
    }

    fn timer_pairs(&self) -> Vec<String> {
        let keepalive = &self.info.keepalive;
        let numbers = [
            (
                "connect_timeout",
                Some(self.info.timeout.map_or(0, |timeout| timeout.as_secs())),
            ),
            ("keepalives", (!keepalive.on).then_some(0)),
            ("keepalives_idle", keepalive.idle),
            ("keepalives_interval", keepalive.interval),
            ("keepalives_count", keepalive.count.map(u64::from)),
            ("tcp_user_timeout", keepalive.user_timeout),
        ];
        numbers
            .into_iter()
            .filter_map(|(name, number)| Some(pair(name, &number?.to_string())))
            .collect()
    }

    /// What a client program's environment must have. Start from one without [`Reached::cleared`].
    pub fn environment(&self) -> Vec<(String, String)> {
        // A file that can't exist: libpq warns of one that is not a plain file, such as /dev/null
        // itself.
        let mut variables = vec![("PGPASSFILE".to_owned(), "/dev/null/none".to_owned())];
        variables.extend(
            self.password()
                .map(|password| ("PGPASSWORD".to_owned(), password.to_owned())),
        );
        variables
    }

    /// The variables that a client program must not inherit.
    pub fn cleared() -> &'static [&'static str] {
        VARIABLES
    }

    /// The password, if there is one: to be struck out of what a client program prints.
    pub fn password(&self) -> Option<&str> {
        self.info.own_password()
    }

    /// The host's name, address or socket directory.
    pub fn host(&self) -> String {
        self.host.name()
    }

    /// The address behind the host's name, where it was reached by TCP.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host.at {
            At::Tcp { address, .. } => address,
            At::Socket(_) => None,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.host.port
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.info.user
    }

    /// The database of the first connection.
    pub fn dbname(&self) -> &str {
        &self.info.dbname
    }

    /// Whether the connection is encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Another connection to exactly the same server.
    pub fn reconnect(&self, dbname: &str, application_name: &str) -> Result<Client> {
        let info = self
            .info
            .with_database(dbname)
            .with_application_name(application_name);
        let again = || -> Result<Client, Failure> {
            // The files are read again: a certificate may have been renewed.
            let way = if self.tls.is_some() {
                Way::Encrypted(info.ready(&self.host)?)
            } else {
                Way::Plain
            };
            let from = self.info.password_for(&self.host).map(|(_, from)| from);
            open(&info, &way).map_err(|error| Failure::of(&info, &self.host, &way, error, from))
        };
        again().map_err(|failure| failure::report(&info, &[failure]))
    }

    /// Asks the server to cancel what runs on a connection to it. Nobody learns whether that
    /// worked, as PostgreSQL does not say.
    pub fn cancel(&self, token: &CancelToken) {
        let (token, tls) = (token.clone(), self.tls.clone());
        let cancel = move || match tls {
            Some(ready) => token.cancel_query(ready),
            None => token.cancel_query(NoTls),
        };
        let _ = within(Some(CANCEL_PATIENCE), cancel);
    }
}
