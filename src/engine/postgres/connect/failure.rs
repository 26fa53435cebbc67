//! Why a connection could not be opened, with a remedy, and whether another host or another way of
//! encryption should be tried.

use super::{ConnectError, Encryption};
use crate::engine::postgres::conninfo::{ConnInfo, Endpoint, Host};
use crate::engine::postgres::tls::{TlsFault, TlsStage};
use crate::error::Error;
use postgres::error::{DbError, SqlState};
use std::error::Error as _;
use std::io;

/// An attempt that failed.
pub(super) struct ConnectFailure {
    host: String,
    message: String,
    hint: String,
    pub next: Fallback,
    pub stage: TlsStage,
}

/// libpq's next step after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Try the next address or host.
    Host,
    /// Try the other way of encryption, if `sslmode` allows one; then stop.
    Refused,
    /// Stop: a connection to another host would hide the fault.
    Stop,
}

impl ConnectFailure {
    fn new(
        host: &Host,
        next: Fallback,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> ConnectFailure {
        ConnectFailure {
            host: host.to_string(),
            message: message.into(),
            hint: hint.into(),
            next,
            stage: TlsStage::Before,
        }
    }

    /// The host's name does not resolve.
    pub(super) fn lookup(host: &Host, error: &io::Error) -> ConnectFailure {
        let reason = error.to_string();
        let reason = reason
            .strip_prefix("failed to lookup address information: ")
            .unwrap_or(&reason)
            .to_lowercase();
        let message = format!("the host name `{}` does not resolve: {reason}", host.name());
        ConnectFailure::new(
            host,
            Fallback::Host,
            message,
            "check `host`, or set `hostaddr` to the server's address",
        )
    }

    /// The TLS settings can't be used; libpq finds that during the handshake.
    pub(super) fn tls(host: &Host, fault: &TlsFault) -> ConnectFailure {
        ConnectFailure {
            stage: TlsStage::Handshake,
            ..ConnectFailure::new(host, Fallback::Stop, &fault.message, &fault.hint)
        }
    }

    /// The server is of the wrong kind.
    pub(super) fn unsuitable(host: &Host, what: &str) -> ConnectFailure {
        ConnectFailure::new(
            host,
            Fallback::Host,
            what,
            "see `target_session_attrs`: does the list of hosts name such a server?",
        )
    }

    /// Turns the error of an attempt into a failure.
    pub(super) fn from_attempt(
        info: &ConnInfo,
        host: &Host,
        way: &Encryption,
        refusal: ConnectError,
        password_from: Option<String>,
    ) -> ConnectFailure {
        let stage = match way {
            Encryption::Plain => TlsStage::Before,
            Encryption::Either(ready) | Encryption::Encrypted(ready) => ready.stage(),
        };
        let failure = match refusal {
            ConnectError::NoAnswer => {
                let seconds = info.timeout.map_or(0, |timeout| timeout.as_secs());
                let hint =
                    "is there a firewall between? A slow server needs a greater `connect_timeout`";
                // libpq tries nothing more on this address either.
                let failure = ConnectFailure::new(
                    host,
                    Fallback::Host,
                    format!("no answer within {seconds} s"),
                    hint,
                );
                return ConnectFailure {
                    stage: TlsStage::Before,
                    ..failure
                };
            }
            ConnectError::Broken(what) => {
                ConnectFailure::new(host, Fallback::Stop, what, "try again")
            }
            ConnectError::Postgres(error) => match error.as_db_error() {
                Some(error) => by_server(info, host, error, stage, password_from.as_deref()),
                None => by_client(info, host, &error, stage),
            },
        };
        ConnectFailure { stage, ..failure }
    }

    /// Combines the failures of both ways. The first one's message comes first; the second one's is
    /// added where it differs.
    pub(super) fn with_second(mut self, second: ConnectFailure) -> ConnectFailure {
        if second.message != self.message {
            let way = if self.stage == TlsStage::Before {
                "with"
            } else {
                "without"
            };
            self.message = format!("{}; {way} encryption: {}", self.message, second.message);
        }
        self.next = second.next;
        self
    }

    /// Settles the failure once no other way is left.
    pub(super) fn settle(mut self) -> ConnectFailure {
        if self.next == Fallback::Refused {
            self.next = Fallback::Stop;
        }
        self
    }
}

/// The error for the user: all hosts that were tried, with the last one's remedy.
pub(super) fn report(info: &ConnInfo, failures: &[ConnectFailure]) -> Error {
    let telling = telling(failures);
    let what = match telling.as_slice() {
        [one] => one.message.clone(),
        several => several
            .iter()
            .map(|one| format!("{}: {}", one.host, one.message))
            .collect::<Vec<_>>()
            .join("; "),
    };
    let error = Error::failed(format!(
        "can't connect to {} as `{}`: {what}",
        info.place(),
        info.user
    ));
    match failures.last() {
        Some(last) => error.with_hint(&last.hint),
        None => error,
    }
}

/// The failures that are worth reporting: nothing twice, and of a host with several addresses none
/// that only did not answer, if another one did.
fn telling(failures: &[ConnectFailure]) -> Vec<&ConnectFailure> {
    let mut telling: Vec<&ConnectFailure> = Vec::new();
    for (index, one) in failures.iter().enumerate() {
        let later = failures
            .iter()
            .skip(index + 1)
            .filter(|later| later.host == one.host);
        if later
            .into_iter()
            .all(|later| later.next == Fallback::Host && later.message != one.message)
        {
            telling.push(one);
        }
    }
    telling
}

/// A failure that the server reported.
fn by_server(
    info: &ConnInfo,
    host: &Host,
    error: &DbError,
    stage: TlsStage,
    password_from: Option<&str>,
) -> ConnectFailure {
    let (user, dbname) = (&info.user, &info.dbname);
    let code = error.code();
    let text = error.message();
    let reason = || text.to_owned();
    // Authentication is over at this point, so libpq tries no other way.
    let stop =
        |message: String, hint: String| ConnectFailure::new(host, Fallback::Stop, message, hint);
    let refused =
        |message: String, hint: String| ConnectFailure::new(host, Fallback::Refused, message, hint);
    if *code == SqlState::INVALID_PASSWORD {
        let from = password_from.map_or_else(
            || "none is set".into(),
            |from| format!("it came from {from}"),
        );
        refused(
            format!("the server refuses the password of role `{user}`"),
            format!("check the password; {from}"),
        )
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        refused(reason(), authorization_hint(info, host, text, stage))
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        stop(
            format!("database `{dbname}` does not exist"),
            "check `dbname`; `psql -l` lists the databases".into(),
        )
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        stop(
            reason(),
            format!(
                "as the database's owner: GRANT CONNECT ON DATABASE \"{dbname}\" TO \"{user}\""
            ),
        )
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        refused(
            reason(),
            "end idle sessions, use a role with free connections, or raise `max_connections` or \
             the role's or database's limit"
                .into(),
        )
    } else if *code == SqlState::CANNOT_CONNECT_NOW {
        ConnectFailure::new(
            host,
            Fallback::Host,
            reason(),
            "the server starts up, shuts down or recovers: try again later",
        )
    } else if matches!(code.code().get(..2), Some("22" | "42" | "55" | "57")) {
        stop(reason(), "see the server's log".into())
    } else {
        refused(reason(), "see the server's log".into())
    }
}

/// The remedy where the server's rules do not let this role in.
fn authorization_hint(info: &ConnInfo, host: &Host, text: &str, stage: TlsStage) -> String {
    let (user, dbname) = (&info.user, &info.dbname);
    if text.contains("pg_hba.conf") {
        let kind = match (&host.at, stage) {
            (Endpoint::Socket(_), _) => {
                return format!(
                    "add a line to the server's pg_hba.conf: `local {dbname} {user} \
                     scram-sha-256`, and reload it"
                );
            }
            (_, TlsStage::Encrypted) => "hostssl",
            _ => "host",
        };
        let encrypt = if stage == TlsStage::Encrypted {
            ""
        } else {
            ", or try `sslmode=require`"
        };
        format!(
            "add a line to the server's pg_hba.conf: `{kind} {dbname} {user} ADDRESS/32 \
             scram-sha-256`, and reload it{encrypt}"
        )
    } else if text.starts_with("Peer") || text.starts_with("Ident") {
        format!(
            "run dbbackup as the system user `{user}`, or set `host` (for instance to `localhost`) \
             and a password"
        )
    } else if text.contains("certificate") {
        "set `sslcert` and `sslkey` to a client certificate that the server's authority signed for \
         this role"
            .into()
    } else if text.contains("not permitted to log in") {
        format!("ALTER ROLE \"{user}\" LOGIN, or set another `user`")
    } else {
        format!("check `user`: does role `{user}` exist, and may it log in?")
    }
}

/// A failure without an answer that the server gave.
fn by_client(
    info: &ConnInfo,
    host: &Host,
    error: &postgres::Error,
    stage: TlsStage,
) -> ConnectFailure {
    let cause = error.source();
    if let Some(error) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return by_system(host, error, stage);
    }
    let text = cause.map_or_else(|| error.to_string(), ToString::to_string);
    let stop = |message: &str, hint: &str| ConnectFailure::new(host, Fallback::Stop, message, hint);
    match text.as_str() {
        "password missing" => stop(
            "the server asks for a password, and there is none",
            "set `password_file` or `password_command`, or write a line into ~/.pgpass",
        ),
        "server does not support TLS" => stop(
            "the server has no TLS, and `sslmode` demands it",
            "switch it on there (`ssl = on`), or set `sslmode=prefer`",
        ),
        "unsupported authentication method" | "unsupported SASL mechanism" => stop(
            "the server asks for a way to authenticate that is not supported",
            "password, SCRAM, client certificate, peer, ident and trust are; give this role such a \
             line in pg_hba.conf",
        ),
        "server did not use channel binding" => stop(
            "the server did not bind the password to the channel",
            "`channel_binding=require` needs TLS and a SCRAM password",
        ),
        _ if error.is_closed() => closed(host),
        _ => stop(
            &format!(
                "{error}{}",
                if text == error.to_string() {
                    String::new()
                } else {
                    format!(": {text}")
                }
            ),
            &{
                format!(
                    "is a PostgreSQL server at port {}?",
                    info.hosts.first().map_or(host.port, |host| host.port)
                )
            },
        ),
    }
}

fn closed(host: &Host) -> ConnectFailure {
    ConnectFailure::new(
        host,
        Fallback::Stop,
        "the server closed the connection",
        "is it a PostgreSQL server? See its log",
    )
}

/// A failure of the operating system or of TLS.
fn by_system(host: &Host, error: &io::Error, stage: TlsStage) -> ConnectFailure {
    if let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        let fault = explain_tls(error);
        return ConnectFailure::new(host, Fallback::Stop, fault.message, fault.hint);
    }
    let next = if stage == TlsStage::Before {
        Fallback::Host
    } else {
        Fallback::Stop
    };
    let go_on = |message: String, hint: &str| ConnectFailure::new(host, next, message, hint);
    let socket = matches!(host.at, Endpoint::Socket(_));
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let hint = format!(
                "nothing listens at {host}: is the server running, and are `host` and `port` right?"
            );
            go_on("connection refused".into(), &hint)
        }
        io::ErrorKind::NotFound if socket => go_on(
            format!(
                "there is no socket `{}/.s.PGSQL.{}`",
                host.name(),
                host.port
            ),
            "is the server running on this machine? For another set `host`",
        ),
        io::ErrorKind::PermissionDenied if socket => go_on(
            "the socket may not be used by this user".into(),
            "see `unix_socket_permissions` and the directory's mode",
        ),
        io::ErrorKind::TimedOut => go_on(
            "no answer in time".into(),
            "is there a firewall between? A slow server needs a greater `connect_timeout`",
        ),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => closed(host),
        _ => go_on(
            Error::from(io::Error::new(error.kind(), error.to_string())).message(),
            "are `host` and `port` right?",
        ),
    }
}

/// The reason that rustls gives, in plain words.
fn explain_tls(error: &rustls::Error) -> TlsFault {
    if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
        && let Some(fault) = other.0.downcast_ref::<TlsFault>()
    {
        return fault.clone();
    }
    let (message, hint) = match error {
        rustls::Error::AlertReceived(alert) => (
            format!("the server ended the encryption: {alert:?}"),
            "see the server's log: it may not know the authority of the client's certificate \
             (`sslcert`), or speak no TLS 1.2",
        ),
        rustls::Error::PeerIncompatible(_) => (
            "the server has no version or cipher of TLS in common with dbbackup".into(),
            "TLS 1.2 with ECDHE or 1.3 is needed: see `ssl_min_protocol_version` and `ssl_ciphers` \
             there",
        ),
        _ => (
            format!("encryption failed: {error}"),
            "see the server's log",
        ),
    };
    TlsFault {
        message,
        hint: hint.into(),
    }
}
