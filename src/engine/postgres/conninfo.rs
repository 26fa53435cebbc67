//! Where a PostgreSQL database is and who connects to it, resolved once by libpq's rules, for our
//! own connections and for the client programs.
//!
//! The keys of the configuration come first, then the URL, the service file, the `PG*` environment
//! and libpq's defaults; for the password `~/.pgpass` comes last. Nothing here opens a connection:
//! see [`super::connect`].

pub mod dsn;
mod host;
pub(super) mod params;
pub(crate) mod passfile;
mod service;

use super::tls;
use crate::error::{Context, Error, Result};
use crate::secret::Secret;
use crate::users;
use host::parse_hosts;
use params::Params;
use passfile::PassFile;
use postgres::config::ChannelBinding;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use host::{Endpoint, Host};
pub use params::VARIABLES;

/// The connection timeout where none is set. libpq would wait for ever, which a nightly run must
/// not.
const PATIENCE: Duration = Duration::from_secs(10);

/// The origin of the configuration's own keys, in messages.
const KEYS: &str = "the configuration";

/// A connection as it is configured, with nothing resolved.
#[derive(Clone, Default, PartialEq)]
pub struct ConnectionSpec {
    /// `postgresql://…` or `key=value …`; the other fields have precedence over it.
    pub url: Option<String>,
    /// A host name, a socket directory, or several of them with commas.
    pub host: Option<String>,
    /// One port, or as many as there are hosts.
    pub port: Option<String>,
    /// The role.
    pub user: Option<String>,
    /// The database.
    pub dbname: Option<String>,
    /// The section of a connection service file.
    pub service: Option<String>,
    /// The password itself.
    pub password: Option<String>,
    /// A file that holds nothing but the password.
    pub password_file: Option<PathBuf>,
    /// A shell command that prints the password.
    pub password_command: Option<String>,
}

impl fmt::Debug for ConnectionSpec {
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

/// The wanted kind of server: libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerKind {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// TCP's keepalive settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Keepalive {
    pub on: bool,
    pub idle: Option<u64>,
    pub interval: Option<u64>,
    pub count: Option<u32>,
    pub user_timeout: Option<u64>,
}

/// A resolved connection: everything that is needed to connect. The environment is not read after
/// this.
#[derive(Clone)]
pub struct ConnInfo {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    /// The password and its origin. Without one, a line of `passfile` may match.
    password: Option<(Secret, String)>,
    passfile: PassFile,
    passfile_path: PathBuf,
    pub(super) tls: tls::TlsSettings,
    /// `None` waits for ever.
    pub(super) timeout: Option<Duration>,
    pub(super) keepalive: Keepalive,
    pub(super) target: ServerKind,
    pub(super) shuffle: bool,
    pub(super) binding: ChannelBinding,
    /// Warnings for the user, as of a password file that is not used.
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
    /// Resolves a connection. `env` looks up environment variables. Reads service and password
    /// files, and runs the password command.
    pub fn resolve(
        spec: &ConnectionSpec,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ConnInfo> {
        let home = home_directory(env);
        let params = gather_params(spec, env, home.as_deref())?;
        params.refuse_unsupported()?;
        let user = match params.get("user") {
            Some(user) => user.to_owned(),
            None => os_user_name()?,
        };
        let mut warnings = Vec::new();
        let own = configured_password(spec)?;
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
        // libpq, too, ignores the file where there is a password.
        let passfile = if password.is_some() {
            PassFile::default()
        } else {
            PassFile::read(&passfile_path, &mut warnings)
        };
        let application_name = params
            .get("application_name")
            .or_else(|| params.get("fallback_application_name"));
        Ok(ConnInfo {
            hosts: parse_hosts(&params)?,
            dbname: params.get("dbname").unwrap_or(&user).to_owned(),
            user,
            application_name: application_name.unwrap_or("dbbackup").to_owned(),
            options: params.get("options").map(str::to_owned),
            password,
            passfile,
            passfile_path,
            tls: tls::TlsSettings::resolve(&params, home.as_deref(), &mut warnings)?,
            timeout: parse_timeout(&params)?,
            keepalive: parse_keepalive(&params)?,
            target: parse_server_kind(&params)?,
            shuffle: params
                .choice(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            binding: parse_channel_binding(&params)?,
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

    /// The same server with another database.
    pub fn with_database(&self, name: &str) -> ConnInfo {
        ConnInfo {
            dbname: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same connection with this name in the server's `pg_stat_activity`.
    pub fn with_application_name(&self, name: &str) -> ConnInfo {
        ConnInfo {
            application_name: name.to_owned(),
            ..self.clone()
        }
    }

    /// The database and its server for messages, without a secret: `shop on db.internal:5432`,
    /// `shop on /var/run/postgresql`.
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        format!("{} on {}", self.dbname, hosts.join(", "))
    }

    /// The password for one of the hosts, and its origin.
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

    /// The same connection, limited to this host and this password.
    pub(super) fn pinned(&self, host: Host, password: Option<(Secret, String)>) -> ConnInfo {
        ConnInfo {
            hosts: vec![host],
            password,
            passfile: PassFile::default(),
            target: ServerKind::Any,
            ..self.clone()
        }
    }

    /// The password, unless it must be looked up in a file.
    pub(super) fn own_password(&self) -> Option<&str> {
        self.password.as_ref().map(|(secret, _)| secret.expose())
    }
}

/// Collects all parameters in their order of precedence.
fn gather_params(
    spec: &ConnectionSpec,
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
        for (key, value) in service::load_service(
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

/// The password from one of the configuration's three keys.
fn configured_password(spec: &ConnectionSpec) -> Result<Option<(Secret, String)>> {
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
            (_, Some(path), _) => Some((
                Secret::from_file(path, "password_file")?,
                format!("`{}`", path.display()),
            )),
            (_, _, Some(line)) => Some((
                Secret::from_command(line, "password_command")?,
                "`password_command`".into(),
            )),
            _ => None,
        },
    )
}

/// libpq's rules: zero or less waits for ever, and one second is too short to be meant.
fn parse_timeout(params: &Params) -> Result<Option<Duration>> {
    Ok(match params.number("connect_timeout")? {
        None => Some(PATIENCE),
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.max(2))),
    })
}

fn parse_keepalive(params: &Params) -> Result<Keepalive> {
    Ok(Keepalive {
        on: params.number("keepalives")?.unwrap_or(1) != 0,
        idle: positive_number(params, "keepalives_idle")?,
        interval: positive_number(params, "keepalives_interval")?,
        count: positive_number(params, "keepalives_count")?
            .and_then(|count| u32::try_from(count).ok()),
        user_timeout: positive_number(params, "tcp_user_timeout")?,
    })
}

/// A parameter that is a number; zero or less means that it is not set.
fn positive_number(params: &Params, name: &str) -> Result<Option<u64>> {
    Ok(params
        .number(name)?
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0))
}

fn parse_server_kind(params: &Params) -> Result<ServerKind> {
    let words = [
        ("any", ServerKind::Any),
        ("read-write", ServerKind::ReadWrite),
        ("read-only", ServerKind::ReadOnly),
        ("primary", ServerKind::Primary),
        ("standby", ServerKind::Standby),
        ("prefer-standby", ServerKind::PreferStandby),
    ];
    Ok(params
        .choice("target_session_attrs", &words)?
        .unwrap_or(ServerKind::Any))
}

fn parse_channel_binding(params: &Params) -> Result<ChannelBinding> {
    let words = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    Ok(params
        .choice("channel_binding", &words)?
        .unwrap_or(ChannelBinding::Prefer))
}

/// The home directory: `HOME`, else the one in the system's user database.
fn home_directory(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(users::home)
}

/// The system's name for the user of this process.
fn os_user_name() -> Result<String> {
    users::me()
        .ok_or_else(|| Error::failed("the user of this process has no name on this machine"))
        .with_hint("set `user`")
}

#[cfg(test)]
mod tests;
