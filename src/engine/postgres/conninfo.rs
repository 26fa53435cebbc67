//! Where a PostgreSQL database is and who asks for it: resolved once, with libpq's rules, for us
//! and for the client programs.
//!
//! What is set by a key of the configuration comes first, then the URL, the service file, the `PG*`
//! environment, and libpq's defaults; for the password `~/.pgpass` comes last. Nothing here opens a
//! connection: see [`super::connect`].

pub mod dsn;
pub(super) mod params;
mod passfile;
mod secret;
mod service;

use super::tls;
use crate::error::{Context, Error, Result};
use crate::users;
use params::Params;
use passfile::PassFile;
use postgres::config::ChannelBinding;
use secret::Secret;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use params::VARIABLES;

/// The directories of Debian's and of vanilla PostgreSQL's sockets: which of them a libpq has as
/// its default was decided when it was built.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// How long to wait for an answer where nothing is set. libpq would wait for ever, which a nightly
/// run must not.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name under which the configuration's own keys appear in messages.
const KEYS: &str = "the configuration";

/// A connection as configured, nothing resolved.
#[derive(Clone, Default, PartialEq)]
pub struct Spec {
    /// `postgresql://…` or `key=value …`; the other fields go before what it says.
    pub url: Option<String>,
    /// A host name, a socket directory, or several with commas.
    pub host: Option<String>,
    /// A port, or as many as there are hosts.
    pub port: Option<String>,
    /// The role.
    pub user: Option<String>,
    /// The database.
    pub dbname: Option<String>,
    /// A section of a connection service file.
    pub service: Option<String>,
    /// The password itself.
    pub password: Option<String>,
    /// A file that holds nothing but the password.
    pub password_file: Option<PathBuf>,
    /// A shell command that prints the password.
    pub password_command: Option<String>,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, and the command an access token.
        let masked = |value: &Option<String>| value.as_ref().map(|_| "***");
        f.debug_struct("Spec")
            .field("url", &masked(&self.url))
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("dbname", &self.dbname)
            .field("service", &self.service)
            .field("password", &masked(&self.password))
            .field("password_file", &self.password_file)
            .field("password_command", &masked(&self.password_command))
            .finish()
    }
}

/// One server to try.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Host {
    pub at: At,
    pub port: u16,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum At {
    /// Through a Unix socket in this directory.
    Socket(String),
    /// By TCP: a name to look up and to check certificates against, an address, or both.
    Tcp {
        name: Option<String>,
        address: Option<IpAddr>,
    },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Socket(directory) if self.port == 5432 => f.write_str(directory),
            At::Socket(directory) => write!(f, "{directory}:{}", self.port),
            At::Tcp {
                name: Some(name), ..
            } if !name.contains(':') => write!(f, "{name}:{}", self.port),
            At::Tcp {
                name: Some(name), ..
            } => write!(f, "[{name}]:{}", self.port),
            At::Tcp {
                address: Some(IpAddr::V6(address)),
                ..
            } => write!(f, "[{address}]:{}", self.port),
            At::Tcp { address, .. } => {
                write!(
                    f,
                    "{}:{}",
                    address.map_or_else(String::new, |address| address.to_string()),
                    self.port
                )
            }
        }
    }
}

impl Host {
    /// The name or address as libpq's `host` has it.
    pub(super) fn name(&self) -> String {
        match &self.at {
            At::Socket(directory) => directory.clone(),
            At::Tcp { name, address } => name
                .clone()
                .or_else(|| address.map(|address| address.to_string()))
                .unwrap_or_default(),
        }
    }

    /// The names by which a password file may know this server.
    fn names_in_passfile(&self) -> Vec<String> {
        match &self.at {
            At::Socket(directory) if SOCKET_DIRECTORIES.contains(&directory.as_str()) => {
                vec!["localhost".into(), directory.clone()]
            }
            _ => vec![self.name()],
        }
    }
}

/// What kind of server is wanted: libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// TCP's own timers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Keepalive {
    pub on: bool,
    pub idle: Option<u64>,
    pub interval: Option<u64>,
    pub count: Option<u32>,
    pub user_timeout: Option<u64>,
}

/// A connection, resolved: all that is needed to connect, and nothing from the environment after
/// this.
#[derive(Clone)]
pub struct ConnInfo {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    /// The password and where it came from; without one a line of `passfile` may fit.
    password: Option<(Secret, String)>,
    passfile: PassFile,
    passfile_path: PathBuf,
    pub(super) tls: tls::Settings,
    /// None waits for ever.
    pub(super) timeout: Option<Duration>,
    pub(super) keepalive: Keepalive,
    pub(super) target: Target,
    pub(super) shuffle: bool,
    pub(super) binding: ChannelBinding,
    /// What should be said to the user: a password file that is not used, for instance.
    pub warnings: Vec<String>,
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnInfo")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("dbname", &self.dbname)
            .field("password", &self.password)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl ConnInfo {
    /// Resolves what is configured; `env` looks up environment variables. Reads service and
    /// password files, and runs the password command.
    pub fn resolve(spec: &Spec, env: &dyn Fn(&str) -> Option<String>) -> Result<ConnInfo> {
        let home = home(env);
        let params = gather(spec, env, home.as_deref())?;
        params.refuse_unsupported()?;
        let user = match params.get("user") {
            Some(user) => user.to_owned(),
            None => os_user()?,
        };
        let mut warnings = Vec::new();
        let own = password(spec)?;
        let given = params
            .get("password")
            .map(|text| (Secret::new(text), params.origin("password").to_owned()));
        let password = own.or(given);
        let passfile_path = match params.get("passfile") {
            Some(path) => PathBuf::from(path),
            None => home
                .as_deref()
                .unwrap_or(Path::new("/nowhere"))
                .join(".pgpass"),
        };
        // As libpq: not even looked at where there is a password.
        let passfile = if password.is_some() {
            PassFile::default()
        } else {
            PassFile::read(&passfile_path, &mut warnings)
        };
        let application_name = params
            .get("application_name")
            .or_else(|| params.get("fallback_application_name"));
        Ok(ConnInfo {
            hosts: hosts(&params)?,
            dbname: params.get("dbname").unwrap_or(&user).to_owned(),
            user,
            application_name: application_name.unwrap_or("dbbackup").to_owned(),
            options: params.get("options").map(str::to_owned),
            password,
            passfile,
            passfile_path,
            tls: tls::Settings::resolve(&params, home.as_deref(), &mut warnings)?,
            timeout: timeout(&params)?,
            keepalive: keepalive(&params)?,
            target: target(&params)?,
            shuffle: params
                .choice(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            binding: binding(&params)?,
            warnings,
        })
    }

    /// The database.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The same server, another database.
    pub fn with_database(&self, name: &str) -> ConnInfo {
        ConnInfo {
            dbname: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same, to appear under this name in the server's `pg_stat_activity`.
    pub fn with_application_name(&self, name: &str) -> ConnInfo {
        ConnInfo {
            application_name: name.to_owned(),
            ..self.clone()
        }
    }

    /// For messages: `shop on db.internal:5432`, `shop on /var/run/postgresql`; never a secret.
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        format!("{} on {}", self.dbname, hosts.join(", "))
    }

    /// The password for one of the hosts, and where it came from.
    pub(super) fn password_for(&self, host: &Host) -> Option<(Secret, String)> {
        self.password.clone().or_else(|| {
            let found = self.passfile.find(
                &host.names_in_passfile(),
                host.port,
                &self.dbname,
                &self.user,
            )?;
            Some((found, self.passfile_path.display().to_string()))
        })
    }

    /// The same with this password and no other, at this host and no other.
    pub(super) fn pinned(&self, host: Host, password: Option<(Secret, String)>) -> ConnInfo {
        ConnInfo {
            hosts: vec![host],
            password,
            passfile: PassFile::default(),
            target: Target::Any,
            ..self.clone()
        }
    }

    /// The password that is not looked up in a file.
    pub(super) fn own_password(&self) -> Option<&str> {
        self.password.as_ref().map(|(secret, _)| secret.expose())
    }
}

/// All parameters in their order of precedence.
fn gather(
    spec: &Spec,
    env: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<Params> {
    let mut params = Params::default();
    for (name, value) in spec
        .url
        .as_deref()
        .map(dsn::parse)
        .transpose()?
        .unwrap_or_default()
    {
        params.set(&name, value, "the URL")?;
    }
    let keys = [
        ("host", &spec.host),
        ("port", &spec.port),
        ("user", &spec.user),
        ("dbname", &spec.dbname),
        ("service", &spec.service),
    ];
    for (name, value) in keys {
        if let Some(value) = value {
            params.set(name, value.as_str(), KEYS)?;
        }
    }
    if spec.host.is_some() {
        // An address in the URL belongs to the URL's host.
        params.unset("hostaddr");
    }
    let variable = |name: &str| env(name).filter(|value| !value.is_empty());
    let service = params
        .get("service")
        .map(str::to_owned)
        .or_else(|| variable("PGSERVICE"));
    if let Some(name) = service {
        let file = params
            .get("servicefile")
            .map(str::to_owned)
            .or_else(|| variable("PGSERVICEFILE"))
            .map(PathBuf::from);
        let from = format!("service `{name}`");
        for (key, value) in service::load(
            &name,
            file.as_deref(),
            home,
            variable("PGSYSCONFDIR").as_deref(),
        )? {
            params.set_default(&key, value, &from)?;
        }
    }
    params.set_from_environment(env);
    Ok(params)
}

/// The password that the configuration itself gives, in one of its three ways.
fn password(spec: &Spec) -> Result<Option<(Secret, String)>> {
    let given = [
        spec.password.is_some(),
        spec.password_file.is_some(),
        spec.password_command.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Error::usage(
            "only one of `password`, `password_file` and `password_command` can be set",
        ));
    }
    Ok(
        match (&spec.password, &spec.password_file, &spec.password_command) {
            (Some(text), ..) => {
                Some((Secret::new(text.as_str()), "`password`".into())).filter(|_| !text.is_empty())
            }
            (_, Some(path), _) => Some((Secret::from_file(path)?, format!("`{}`", path.display()))),
            (_, _, Some(line)) => Some((Secret::from_command(line)?, "`password_command`".into())),
            _ => None,
        },
    )
}

/// The servers to try, in order: `host`, `hostaddr` and `port` side by side.
fn hosts(params: &Params) -> Result<Vec<Host>> {
    let list = |name: &str| -> Vec<String> {
        params
            .get(name)
            .map(|text| text.split(',').map(|one| one.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(params.fault(
            "hostaddr",
            &format!(
                "there are {} hosts and {} addresses",
                names.len(),
                addresses.len()
            ),
        ));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(params.fault(
            "port",
            &format!("there are {} ports for {count} hosts", ports.len()),
        ));
    }
    let at = |list: &[String], index: usize| list.get(index).filter(|one| !one.is_empty()).cloned();
    (0..count)
        .map(|index| {
            let port = at(&ports, if ports.len() == 1 { 0 } else { index });
            let port =
                match port {
                    None => 5432,
                    Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                        params.fault("port", "a port is a number from 1 to 65535")
                    })?,
                };
            Ok(Host {
                at: location(params, at(&names, index), at(&addresses, index), port)?,
                port,
            })
        })
        .collect()
}

/// Where one of the servers is.
fn location(
    params: &Params,
    name: Option<String>,
    address: Option<String>,
    port: u16,
) -> Result<At> {
    if let Some(address) = address {
        let address = address
            .parse()
            .map_err(|_| params.fault("hostaddr", "it is not an IP address"))?;
        return Ok(At::Tcp {
            name,
            address: Some(address),
        });
    }
    match name {
        None => Ok(At::Socket(socket_directory(port).into())),
        Some(name) if name.starts_with('/') => Ok(At::Socket(name)),
        Some(name) if name.starts_with('@') => {
            Err(params.fault("host", "abstract sockets are not supported"))
        }
        Some(name) => Ok(At::Tcp {
            name: Some(name),
            address: None,
        }),
    }
}

/// The default directory: the one where a server listens on this port, else the first that is
/// there.
fn socket_directory(port: u16) -> &'static str {
    let holds = |directory: &&str| {
        Path::new(directory)
            .join(format!(".s.PGSQL.{port}"))
            .exists()
    };
    let mut there = SOCKET_DIRECTORIES
        .into_iter()
        .filter(|directory| Path::new(directory).is_dir());
    SOCKET_DIRECTORIES
        .into_iter()
        .find(holds)
        .or_else(|| there.next())
        .unwrap_or(SOCKET_DIRECTORIES[0])
}

/// libpq's rules: zero or less waits for ever, and one second is too short to be meant.
fn timeout(params: &Params) -> Result<Option<Duration>> {
    Ok(match params.number("connect_timeout")? {
        None => Some(PATIENCE),
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.max(2))),
    })
}

fn keepalive(params: &Params) -> Result<Keepalive> {
    let number = |name: &str| -> Result<Option<u64>> {
        Ok(params
            .number(name)?
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| *number > 0))
    };
    Ok(Keepalive {
        on: params.number("keepalives")?.unwrap_or(1) != 0,
        idle: number("keepalives_idle")?,
        interval: number("keepalives_interval")?,
        count: number("keepalives_count")?.and_then(|count| u32::try_from(count).ok()),
        user_timeout: number("tcp_user_timeout")?,
    })
}

fn target(params: &Params) -> Result<Target> {
    let words = [
        ("any", Target::Any),
        ("read-write", Target::ReadWrite),
        ("read-only", Target::ReadOnly),
        ("primary", Target::Primary),
        ("standby", Target::Standby),
        ("prefer-standby", Target::PreferStandby),
    ];
    Ok(params
        .choice("target_session_attrs", &words)?
        .unwrap_or(Target::Any))
}

fn binding(params: &Params) -> Result<ChannelBinding> {
    let words = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    Ok(params
        .choice("channel_binding", &words)?
        .unwrap_or(ChannelBinding::Prefer))
}

/// The home directory: `HOME`, else what the system's user database says.
fn home(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(users::home)
}

/// The operating system's name for the user of this process.
fn os_user() -> Result<String> {
    users::me()
        .ok_or_else(|| Error::failed("the user of this process has no name on this machine"))
        .with_hint("set `user`")
}

#[cfg(test)]
mod tests;
