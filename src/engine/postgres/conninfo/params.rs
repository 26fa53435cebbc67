//! libpq's parameters: their names, their environment variables, and which of them dbbackup
//! supports.
//!
//! A parameter that is not supported is an error instead of being ignored: most of them would make
//! a connection safer, or lead it elsewhere.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Whether a parameter is supported.
enum ParamSupport {
    /// The parameter has the same effect as in libpq.
    Honoured,
    /// The parameter has no bearing here: encodings are UTF-8, and Kerberos is not spoken.
    Ignored,
    /// Only these values are accepted, as they ask for nothing. The text names the feature that is
    /// not supported.
    Only(&'static [&'static str], &'static str),
}

use ParamSupport::{Honoured, Ignored, Only};

/// The name, the environment variable and the support of each parameter of releases 13 to 18.
const TABLE: &[(&str, &str, ParamSupport)] = &[
    ("host", "PGHOST", Honoured),
    ("hostaddr", "PGHOSTADDR", Honoured),
    ("port", "PGPORT", Honoured),
    ("dbname", "PGDATABASE", Honoured),
    ("user", "PGUSER", Honoured),
    ("password", "PGPASSWORD", Honoured),
    ("passfile", "PGPASSFILE", Honoured),
    ("service", "PGSERVICE", Honoured),
    ("servicefile", "PGSERVICEFILE", Honoured),
    ("application_name", "PGAPPNAME", Honoured),
    ("fallback_application_name", "", Honoured),
    ("options", "PGOPTIONS", Honoured),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Honoured),
    ("keepalives", "", Honoured),
    ("keepalives_idle", "", Honoured),
    ("keepalives_interval", "", Honoured),
    ("keepalives_count", "", Honoured),
    ("tcp_user_timeout", "", Honoured),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Honoured),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Honoured),
    ("channel_binding", "PGCHANNELBINDING", Honoured),
    ("sslmode", "PGSSLMODE", Honoured),
    ("sslnegotiation", "PGSSLNEGOTIATION", Honoured),
    ("sslrootcert", "PGSSLROOTCERT", Honoured),
    ("sslcert", "PGSSLCERT", Honoured),
    ("sslkey", "PGSSLKEY", Honoured),
    ("sslsni", "PGSSLSNI", Honoured),
    (
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        Honoured,
    ),
    (
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        Honoured,
    ),
    (
        "sslcertmode",
        "PGSSLCERTMODE",
        Only(
            &["allow", "disable"],
            "demanding that the server asks for a certificate",
        ),
    ),
    ("sslcompression", "PGSSLCOMPRESSION", Ignored),
    (
        "sslcrl",
        "PGSSLCRL",
        Only(&[], "a certificate revocation list"),
    ),
    (
        "sslcrldir",
        "PGSSLCRLDIR",
        Only(&[], "a directory of certificate revocation lists"),
    ),
    ("sslpassword", "", Only(&[], "an encrypted client key")),
    ("sslkeylogfile", "", Only(&[], "logging TLS keys")),
    (
        "require_auth",
        "PGREQUIREAUTH",
        Only(
            &[],
            "demanding a way to authenticate (`channel_binding=require` is possible)",
        ),
    ),
    (
        "requirepeer",
        "PGREQUIREPEER",
        Only(&[], "checking the owner of the server's process"),
    ),
    (
        "gssencmode",
        "PGGSSENCMODE",
        Only(&["disable", "prefer"], "encryption by GSSAPI"),
    ),
    ("krbsrvname", "PGKRBSRVNAME", Ignored),
    ("gsslib", "PGGSSLIB", Ignored),
    (
        "gssdelegation",
        "PGGSSDELEGATION",
        Only(&["0"], "delegating Kerberos credentials"),
    ),
    ("client_encoding", "PGCLIENTENCODING", Ignored),
    (
        "replication",
        "",
        Only(&["false", "off", "no", "0"], "a replication connection"),
    ),
    (
        "min_protocol_version",
        "PGMINPROTOCOLVERSION",
        Only(&["3.0"], "a newer protocol than 3.0"),
    ),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Ignored),
    (
        "scram_client_key",
        "",
        Only(&[], "a SCRAM key in place of the password"),
    ),
    (
        "scram_server_key",
        "",
        Only(&[], "a SCRAM key in place of the password"),
    ),
    ("oauth_issuer", "", Only(&[], "OAuth")),
    ("oauth_client_id", "", Only(&[], "OAuth")),
    ("oauth_client_secret", "", Only(&[], "OAuth")),
    ("oauth_scope", "", Only(&[], "OAuth")),
];

/// Every variable that libpq, its programs or Debian's wrapper around them read. A program that is
/// told where to connect must not inherit them. `PGSSLCRL` and its like are refused before, so
/// nothing is lost.
pub const VARIABLES: &[&str] = &[
    "PGAPPNAME",
    "PGCHANNELBINDING",
    "PGCLIENTENCODING",
    "PGCLUSTER",
    "PGCONNECT_TIMEOUT",
    "PGDATABASE",
    "PGDATESTYLE",
    "PGGEQO",
    "PGGSSDELEGATION",
    "PGGSSENCMODE",
    "PGGSSLIB",
    "PGHOST",
    "PGHOSTADDR",
    "PGKRBSRVNAME",
    "PGLOADBALANCEHOSTS",
    "PGLOCALEDIR",
    "PGMAXPROTOCOLVERSION",
    "PGMINPROTOCOLVERSION",
    "PGOAUTHCAFILE",
    "PGOAUTHDEBUG",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGREALM",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLCERT",
    "PGSSLCERTMODE",
    "PGSSLCOMPRESSION",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLKEY",
    "PGSSLKEYLOGFILE",
    "PGSSLMAXPROTOCOLVERSION",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGSSLSNI",
    "PGSYSCONFDIR",
    "PGTARGETSESSIONATTRS",
    "PGTZ",
    "PGUSER",
    "PG_COLOR",
    "PG_COLORS",
    "PSQLRC",
    "PSQL_HISTORY",
];

/// Parameters with their origins. A parameter that is set but empty is kept, as it hides those of
/// lower precedence.
#[derive(Default, Clone)]
pub struct Params(BTreeMap<&'static str, (String, String)>);

impl Params {
    /// Sets a parameter, in place of an earlier one. An unknown name is an error that suggests the
    /// likely one.
    pub fn set(&mut self, name: &str, value: impl Into<String>, from: &str) -> Result<()> {
        self.0
            .insert(known_name(name, from)?, (value.into(), from.to_owned()));
        Ok(())
    }

    /// Sets a parameter unless it is set already.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>, from: &str) -> Result<()> {
        self.0
            .entry(known_name(name, from)?)
            .or_insert_with(|| (value.into(), from.to_owned()));
        Ok(())
    }

    /// Sets the parameters that are not set yet from the environment. An empty variable counts as
    /// unset, as in libpq.
    pub fn set_from_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for (name, variable, _) in TABLE.iter().filter(|(_, variable, _)| !variable.is_empty()) {
            if let Some(value) = env(variable).filter(|value| !value.is_empty()) {
                self.0
                    .entry(name)
                    .or_insert_with(|| (value, (*variable).to_owned()));
            }
        }
        if env("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            self.0
                .entry("sslmode")
                .or_insert_with(|| ("require".into(), "PGREQUIRESSL".into()));
        }
    }

    /// Removes a parameter.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The value of a parameter that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|(value, _)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The origin of a parameter, for messages: `the URL`, `PGPASSWORD`.
    pub fn origin(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |(_, from)| from)
    }

    /// An error about a parameter, with its value and its origin.
    pub fn fault(&self, name: &str, what: &str) -> Error {
        Error::usage(format!(
            "`{name}` is `{}` (from {}): {what}",
            self.get(name).unwrap_or(""),
            self.origin(name)
        ))
    }

    /// The meaning of a parameter that must be one of several words.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.fault(name, &format!("it must be one of {}", words.join(", "))))
            }
        }
    }

    /// The value of a parameter that must be a whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>> {
        let parse = |value: &str| {
            value
                .trim()
                .parse()
                .map_err(|_| self.fault(name, "it must be a whole number"))
        };
        self.get(name).map(parse).transpose()
    }

    /// Fails if a parameter is set that is not supported.
    pub fn refuse_unsupported(&self) -> Result<()> {
        for (name, _, usage) in TABLE {
            if let (Only(values, what), Some(value)) = (usage, self.get(name))
                && !values.contains(&value)
            {
                return Err(Error::usage(format!(
                    "`{name}` (from {}) is not supported: {what}",
                    self.origin(name)
                ))
                .with_hint(format!(
                    "take `{name}` out, or unset the variable that sets it"
                )));
            }
        }
        Ok(())
    }
}

/// Parameters that the libraries of applications read from an address themselves (Prisma, JDBC,
/// asyncpg, node-postgres, Npgsql), with libpq's equivalents.
const OF_LIBRARIES: &[(&str, &str)] = &[
    (
        "schema",
        "; a source's `schemas` in the configuration saves a part of the database",
    ),
    (
        "currentSchema",
        "; a source's `schemas` in the configuration saves a part of the database",
    ),
    ("search_path", ""),
    ("connection_limit", ""),
    ("pool_timeout", ""),
    ("pool_size", ""),
    ("pool", ""),
    ("max_connections", ""),
    (
        "pgbouncer",
        "; a dump needs a session of its own, so name the server and not the pooler",
    ),
    ("socket_timeout", ""),
    ("socketTimeout", ""),
    ("statement_cache_size", ""),
    ("prepared_statement_cache_size", ""),
    ("prepareThreshold", ""),
    ("binaryTransfer", ""),
    ("stringtype", ""),
    ("reWriteBatchedInserts", ""),
    ("ApplicationName", ""),
    ("serverVersion", ""),
    ("charset", ""),
    ("encoding", ""),
    ("async_fallback", ""),
    (
        "ssl",
        ", and with `sslmode=require` or `sslmode=verify-full`",
    ),
    (
        "sslaccept",
        ", and with `sslmode=require` or `sslmode=verify-full`",
    ),
];

/// The name as it stands in the table of parameters.
fn known_name(name: &str, from: &str) -> Result<&'static str> {
    if let Some((known, _, _)) = TABLE.iter().find(|(known, _, _)| *known == name) {
        return Ok(known);
    }
    if let Some((own, instead)) = OF_LIBRARIES.iter().find(|(own, _)| *own == name) {
        return Err(Error::usage(format!(
            "`{own}` in {from} is a parameter of the application's library, and none of the \
             connection"
        ))
        .with_hint(format!("give dbbackup the address without it{instead}")));
    }
    let near = TABLE
        .iter()
        .map(|(known, _, _)| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    // A word without any likeness to a parameter may be the second half of a password with a space.
    match near {
        Some((_, near)) => Err(
            Error::usage(format!("unknown parameter `{name}` in {from}")).with_hint(format!(
                "did \
                you mean `{near}`?"
            )),
        ),
        None => Err(
            Error::usage(format!("{from} has a parameter that libpq does not know")).with_hint(
                "see \
                   https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_the_table_is_cleared() {
        for (name, variable, _) in TABLE.iter().filter(|(_, variable, _)| !variable.is_empty()) {
            assert!(VARIABLES.contains(variable), "{name}");
        }
    }

    #[test]
    fn unknown_ones_get_the_likely_name() {
        let error = Params::default()
            .set("sslmod", "require", "the URL")
            .unwrap_err();
        assert_eq!(error.message(), "unknown parameter `sslmod` in the URL");
        assert_eq!(error.hint(), Some(&"did you mean `sslmode`?".into()));
        let error = Params::default()
            .set("schema", "public", "the URL")
            .unwrap_err();
        assert!(
            error.message().starts_with("`schema` in the URL")
                && error.hint().unwrap().to_string().contains("without it"),
            "{error:?}"
        );
        let error = Params::default()
            .set("qqqq", "require", "the URL")
            .unwrap_err();
        assert!(!error.message().contains("qqqq"));
    }

    #[test]
    fn what_is_not_honoured_is_refused() {
        for (name, value, fine) in [
            ("sslcrl", "/x", false),
            ("sslcrl", "", true),
            ("gssencmode", "require", false),
            ("gssencmode", "prefer", true),
            ("require_auth", "scram-sha-256", false),
            ("client_encoding", "latin1", true),
        ] {
            let mut params = Params::default();
            params.set(name, value, "the URL").unwrap();
            assert_eq!(params.refuse_unsupported().is_ok(), fine, "{name}={value}");
        }
    }
}
