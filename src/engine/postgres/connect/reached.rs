//! The server that was reached, and the way to it: for further connections, and for programs.

use super::failure::{self, ConnectFailure};
use super::{Encryption, open_client, run_with_timeout};
use crate::engine::postgres::conninfo::dsn::format_pair;
use crate::engine::postgres::conninfo::{ConnInfo, Endpoint, Host, VARIABLES};
use crate::engine::postgres::tls::TlsClient;
use crate::error::Result;
use postgres::config::ChannelBinding;
use postgres::{CancelToken, Client, NoTls};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// The server that was reached, the encryption that worked, and the password that was used.
#[derive(Clone)]
pub struct ReachedServer {
    pub(super) info: ConnInfo,
    pub(super) host: Host,
    pub(super) tls: Option<TlsClient>,
}

impl fmt::Debug for ReachedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = self.tls.is_some();
        f.debug_struct("Reached")
            .field("host", &self.host)
            .field("encrypted", &encrypted)
            .field("info", &self.info)
            .finish()
    }
}

impl ReachedServer {
    /// A connection string for a client program's `-d`, which leads to the same server in the same
    /// way and holds no password.
    pub fn conninfo(&self, dbname: &str, application_name: &str) -> String {
        let info = &self.info;
        let mut pairs = vec![
            format_pair("host", &self.host.name()),
            format_pair("port", &self.host.port.to_string()),
        ];
        if let Endpoint::Tcp {
            address: Some(address),
            ..
        } = self.host.at
        {
            pairs.push(format_pair("hostaddr", &address.to_string()));
        }
        pairs.extend([
            format_pair("user", &info.user),
            format_pair("dbname", dbname),
            format_pair("application_name", application_name),
        ]);
        match &self.tls {
            Some(ready) => pairs.extend(ready.pairs(&info.tls)),
            None => pairs.push(format_pair("sslmode", "disable")),
        }
        // Kerberos is not supported here, so the programs must not use it either.
        pairs.push(format_pair("gssencmode", "disable"));
        if let Some(options) = &info.options {
            pairs.push(format_pair("options", options));
        }
        match info.binding {
            ChannelBinding::Require => pairs.push(format_pair("channel_binding", "require")),
            ChannelBinding::Disable => pairs.push(format_pair("channel_binding", "disable")),
            // libpq gives up where the certificate has no hash to bind to; this crate goes on
            // without binding.
            _ if self.tls.as_ref().is_some_and(|ready| !ready.can_bind()) => {
                pairs.push(format_pair("channel_binding", "disable"))
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
            .filter_map(|(name, number)| Some(format_pair(name, &number?.to_string())))
            .collect()
    }

    /// Variables for a client program's environment, which must first be cleared of
    /// [`ReachedServer::cleared_variables`].
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
    pub fn cleared_variables() -> &'static [&'static str] {
        VARIABLES
    }

    /// The password, if there is one, to be masked in what a client program prints.
    pub fn password(&self) -> Option<&str> {
        self.info.own_password()
    }

    /// The host's name, address or socket directory.
    pub fn host(&self) -> String {
        self.host.name()
    }

    /// The address behind the host's name, for a connection by TCP.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host.at {
            Endpoint::Tcp { address, .. } => address,
            Endpoint::Socket(_) => None,
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

    /// Opens another connection to exactly the same server.
    pub fn reconnect(&self, dbname: &str, application_name: &str) -> Result<Client> {
        let info = self
            .info
            .with_database(dbname)
            .with_application_name(application_name);
        self.connect_again(&info)
            .map_err(|failure| failure::report(&info, &[failure]))
    }

    fn connect_again(&self, info: &ConnInfo) -> Result<Client, ConnectFailure> {
        // The files are read again, since a certificate may have been renewed.
        let way = if self.tls.is_some() {
            Encryption::Encrypted(info.tls_client(&self.host)?)
        } else {
            Encryption::Plain
        };
        let from = self.info.password_for(&self.host).map(|(_, from)| from);
        open_client(info, &way)
            .map_err(|error| ConnectFailure::from_attempt(info, &self.host, &way, error, from))
    }

    /// Asks the server to cancel the query of a connection. PostgreSQL does not tell whether that
    /// worked.
    pub fn cancel(&self, token: &CancelToken) {
        let (token, tls) = (token.clone(), self.tls.clone());
        let cancel = move || match tls {
            Some(ready) => token.cancel_query(ready),
            None => token.cancel_query(NoTls),
        };
        let _ = run_with_timeout(Some(CANCEL_PATIENCE), cancel);
    }
}

/// How long a cancel request may take. It is sent to end something else, and must not hang itself.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
