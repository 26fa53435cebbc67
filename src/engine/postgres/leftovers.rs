//! Databases that a restore is filling: created, dropped again, and swept where a killed run left
//! one.
//!
//! Each has a name of a certain form and a comment. The run that fills one holds an advisory lock
//! in the server's maintenance database; a database whose lock is free belongs to no run.

use super::connect::{PostgresSession, ReachedServer};
use super::explain_error;
use super::names::{quote_ident, quote_literal, truncate_to};
use crate::error::{Error, Result};
use chrono::Utc;
use postgres::Client;

/// The greatest length of a name in bytes.
const NAME_LENGTH: usize = 63;

/// The first half of the advisory locks' keys.
const LOCK_CLASS: i32 = 0x6462_6270;

/// The connection limit that marks such a database from its creation on. No user sets this one, and
/// it limits nobody.
const MARKED_LIMIT: i32 = 1_953_719;

/// The comment that marks it for people.
const COMMENT: &str = "being filled by dbbackup; the next run removes it if that one is gone";

/// A database that is dropped again unless it is kept.
pub struct ScratchDatabase {
    name: String,
    reached: ReachedServer,
    /// The session that holds the lock.
    holder: Client,
    created: bool,
}

impl ScratchDatabase {
    /// Finds and locks a free name `<base>_restore_<time>`; no database is created yet.
    pub fn new(session: &PostgresSession, base: &str) -> Result<ScratchDatabase> {
        let mut holder = connect_to_maintenance(&session.reached, base)?;
        let stamp = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        for number in 1..100 {
            let name = numbered_name(base, "restore", &stamp, number);
            if !database_exists(&mut holder, &name)? && try_lock_name(&mut holder, &name)? {
                return Ok(ScratchDatabase {
                    name,
                    reached: session.reached.clone(),
                    holder,
                    created: false,
                });
            }
        }
        Err(Error::failed(format!(
            "there is no free name for a database to restore `{base}` into"
        )))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates the database from `template0`, with these clauses of `CREATE DATABASE`. Only its
    /// owner may connect.
    pub fn create(&mut self, client: &mut Client, clauses: &str) -> Result<()> {
        // Whatever happens now, the database goes with this value.
        self.created = true;
        let name = quote_ident(&self.name);
        let doing = || format!("making the database `{}`", self.name);
        client
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE template0{clauses} CONNECTION LIMIT {MARKED_LIMIT}"
            ))
            .map_err(|error| explain_error(&error, doing()))?;
        let mark = format!("COMMENT ON DATABASE {name} IS {}", quote_literal(COMMENT));
        client
            .batch_execute(&mark)
            .map_err(|error| explain_error(&error, doing()))?;
        client
            .batch_execute(&format!(
                "REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC"
            ))
            .map_err(|error| explain_error(&error, doing()))
    }

    /// Keeps the database, under whatever name it has.
    pub fn keep(&mut self) {
        self.created = false;
    }
}

impl Drop for ScratchDatabase {
    fn drop(&mut self) {
        // If the connection was lost, another one is opened: an unfinished database must not stay.
        if !self.created {
            return;
        }
        drop_subscriptions(&self.reached, &self.name);
        let sql = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            quote_ident(&self.name)
        );
        if self.created
            && self.holder.batch_execute(&sql).is_err()
            && let Ok(mut client) = connect_to_maintenance(&self.reached, &self.name)
        {
            let _ = client.batch_execute(&sql);
        }
    }
}

/// The name `<base>_<word>_<stamp>`, with a number from the second one on. The base is cut where
/// the whole would be too long.
pub fn numbered_name(base: &str, word: &str, stamp: &str, number: u32) -> String {
    let end = if number > 1 {
        format!("_{word}_{stamp}-{number}")
    } else {
        format!("_{word}_{stamp}")
    };
    format!("{}{end}", truncate_to(base, NAME_LENGTH - end.len()))
}

/// Whether a database's name has that form, of one that a restore set aside or is filling.
pub fn is_leftover(name: &str) -> bool {
    ["_before_", "_restore_", "_undone_"]
        .iter()
        .any(|word| is_numbered(name, word))
}

fn is_numbered(name: &str, word: &str) -> bool {
    let ends_so = |rest: &str| is_stamp(rest.split('-').next().unwrap_or_default());
    name.rsplit_once(word)
        .is_some_and(|(base, rest)| !base.is_empty() && ends_so(rest))
}

fn is_stamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 16
        && bytes[8] == b'T'
        && bytes[15] == b'Z'
        && bytes[..8]
            .iter()
            .chain(&bytes[9..15])
            .all(u8::is_ascii_digit)
}

/// The database to connect to in order to create, rename or drop another one, in which no sessions
/// may be.
pub fn maintenance_database(name: &str) -> &'static str {
    if name == "postgres" || name.starts_with("postgres_restore_") {
        "template1"
    } else {
        "postgres"
    }
}

/// Connects to the maintenance database for `name`. It is always the same one for one name, as
/// advisory locks belong to the database in which they are taken.
pub fn connect_to_maintenance(reached: &ReachedServer, name: &str) -> Result<Client> {
    reached
        .reconnect(maintenance_database(name), "dbbackup")
        .or_else(|error| {
            reached
                .reconnect("template1", "dbbackup")
                .map_err(|_| error)
        })
}

/// Whether there is a database of that name.
pub fn database_exists(client: &mut Client, name: &str) -> Result<bool> {
    let row = client.query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)",
        &[&name],
    );
    row.map(|row| row.get(0))
        .map_err(|error| explain_error(&error, "listing the databases"))
}

/// Takes the lock of a name for as long as the session lasts.
pub fn try_lock_name(client: &mut Client, name: &str) -> Result<bool> {
    let row = client.query_one(
        "SELECT pg_catalog.pg_try_advisory_lock($1, pg_catalog.hashtext($2))",
        &[&LOCK_CLASS, &name],
    );
    row.map(|row| row.get(0))
        .map_err(|error| explain_error(&error, "taking a lock"))
}

/// Removes what killed runs left on the server, and returns the names. What this role may not
/// remove stays.
pub fn sweep(session: &mut PostgresSession) -> Result<Vec<String>> {
    let mut client = connect_to_maintenance(&session.reached, "")?;
    // Nothing is asked of the databases themselves, as their makers could set traps in them.
    let query = "SELECT datname::text, pg_catalog.shobj_description(oid, 'pg_database'), \
                 datconnlimit FROM pg_catalog.pg_database
                 WHERE datname LIKE '%\\_restore\\_%' AND pg_catalog.pg_has_role(datdba, 'USAGE')";
    let rows = client
        .query(query, &[])
        .map_err(|error| explain_error(&error, "listing the databases"))?;
    let mut swept = Vec::new();
    for row in rows {
        let (name, comment, limit): (String, Option<String>, i32) =
            (row.get(0), row.get(1), row.get(2));
        let ours = limit == MARKED_LIMIT && comment.is_none_or(|text| text == COMMENT);
        if !is_numbered(&name, "_restore_") || !ours {
            continue;
        }
        let mut other;
        let client = if maintenance_database(&name) == maintenance_database("") {
            &mut client
        } else {
            other = connect_to_maintenance(&session.reached, &name)?;
            &mut other
        };
        if !try_lock_name(client, &name)? {
            continue;
        }
        drop_subscriptions(&session.reached, &name);
        if client
            .batch_execute(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                quote_ident(&name)
            ))
            .is_ok()
        {
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Drops the subscriptions of a restored database. A subscription that nobody has enabled would
/// keep it from being dropped.
fn drop_subscriptions(reached: &ReachedServer, name: &str) {
    let Ok(mut client) = connect_to_maintenance(reached, name) else {
        return;
    };
    let query = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription s JOIN \
                 pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1";
    // Only a superuser may look, and only a superuser can have created one.
    if !client
        .query_one(query, &[&name])
        .is_ok_and(|row| row.get::<_, i64>(0) > 0)
    {
        return;
    }
    let Ok(mut inside) = reached.reconnect(name, "dbbackup") else {
        return;
    };
    let query = "SELECT s.subname::text FROM pg_catalog.pg_subscription s JOIN \
                 pg_catalog.pg_database d
                 ON d.oid OPERATOR(pg_catalog.=) s.subdbid WHERE d.datname OPERATOR(pg_catalog.=) \
                 pg_catalog.current_database()";
    for row in inside.query(query, &[]).unwrap_or_default() {
        let name = quote_ident(row.get(0));
        let forget = format!(
            "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE); \
             DROP SUBSCRIPTION {name}"
        );
        for statement in forget.split("; ") {
            let _ = inside.batch_execute(statement);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_known_again() {
        let stamp = "20261121T093622Z";
        let long = "ä".repeat(31);
        for base in ["shop", "a_before_b", &long] {
            for (word, number) in [("before", 1), ("restore", 12)] {
                let name = numbered_name(base, word, stamp, number);
                assert!(name.len() <= NAME_LENGTH && is_leftover(&name), "{name}");
            }
        }
        assert!(!is_numbered(
            &numbered_name("x_restore_y", "before", stamp, 1),
            "_restore_"
        ));
        assert!(
            !is_leftover("shop")
                && !is_leftover("what_before_that")
                && !is_leftover("_before_20261121T093622Z")
        );
    }
}
