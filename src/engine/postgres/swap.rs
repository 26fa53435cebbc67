//! The last step of a restore: the old database and the new one change names in one transaction.
//!
//! A database with sessions can't be renamed. Ending them first and then renaming fails whenever a
//! pool reconnects in between. So the renaming is issued first, whose lock keeps new sessions out,
//! and while it waits for the old sessions a second connection ends them.

use super::connect::ReachedServer;
use super::explain_error;
use super::leftovers::{
    connect_to_maintenance, database_exists, maintenance_database, numbered_name,
};
use super::names::{quote_ident, quote_literal};
use crate::engine::{Grant, KeptDatabase, Settings};
use crate::error::{Error, Result};
use crate::failpoint::fail_point;
use crate::units;
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often sessions are looked for.
const TICK: Duration = Duration::from_millis(20);

/// How often the swap is tried. Each time the server itself waits up to five seconds for sessions
/// to end.
const TRIES: usize = 3;

/// The change of two names.
pub struct NameSwap<'a> {
    /// The server.
    pub reached: &'a ReachedServer,
    /// The database that was filled.
    pub new: &'a str,
    /// The name that it gets.
    pub name: &'a str,
    /// Whether a database has that name now; it is kept.
    pub replaces: bool,
    /// The time in the name under which the old database is kept.
    pub stamp: &'a str,
    /// The privileges and the connection limit of the new database.
    pub settings: &'a Settings,
}

impl NameSwap<'_> {
    /// Swaps the names, and returns what became of the old database.
    pub fn carry_out(&self) -> Result<Option<KeptDatabase>> {
        let mut client = connect_to_maintenance(self.reached, self.name)?;
        let kept = if self.replaces {
            Some(self.free_name(&mut client)?)
        } else {
            None
        };
        let mut tried = 0;
        fail_point("restore: ready")?;
        loop {
            tried += 1;
            match self.attempt(&mut client, kept.as_deref()) {
                Ok(()) => {
                    fail_point("restore: in place")?;
                    return Ok(kept.map(|kept| self.undo_commands(kept)));
                }
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) && tried < TRIES => {}
                Err(error) => return Err(self.failure(&mut client, &error)),
            }
        }
    }

    fn failure(&self, client: &mut Client, error: &postgres::Error) -> Error {
        let explained = explain_error(
            error,
            format!("giving the restored database the name `{}`", self.name),
        );
        let as_before = if self.replaces {
            "the old database is in service as before"
        } else {
            "there is no such database, as before"
        };
        if error.code() != Some(&SqlState::OBJECT_IN_USE) {
            return explained.with_hint(as_before);
        }
        let pids: Vec<String> = self
            .sessions(client)
            .unwrap_or_default()
            .iter()
            .map(i32::to_string)
            .collect();
        let left = if pids.is_empty() {
            String::new()
        } else {
            format!(" (this role may not end pid {})", pids.join(", "))
        };
        explained.with_hint(format!(
            "{as_before}; end the sessions in it{left} and what reconnects, then restore again"
        ))
    }

    fn attempt(&self, client: &mut Client, kept: Option<&str>) -> Result<(), postgres::Error> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.end_sessions(&done));
            let result = self.transaction(client, kept);
            done.store(true, Ordering::Relaxed);
            result
        })
    }

    fn transaction(&self, client: &mut Client, kept: Option<&str>) -> Result<(), postgres::Error> {
        let mut transaction = client.transaction()?;
        if let Some(kept) = kept {
            rename(&mut transaction, self.name, kept)?;
        }
        rename(&mut transaction, self.new, self.name)?;
        for sql in property_statements(self.name, self.settings) {
            transaction.batch_execute(&sql)?;
        }
        transaction.commit()
    }

    /// Ends the sessions in both databases, again and again until `done`.
    fn end_sessions(&self, done: &AtomicBool) {
        let Ok(mut client) = connect_to_maintenance(self.reached, self.name) else {
            return;
        };
        // Only once the renaming waits: before that, new sessions would replace those that are
        // ended.
        std::thread::sleep(TICK);
        while !done.load(Ordering::Relaxed) {
            // One by one: a session that this role may not end must not keep the others alive.
            for pid in self.sessions(&mut client).unwrap_or_default() {
                let _ = client.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]);
            }
            std::thread::sleep(TICK);
        }
    }

    /// The sessions in both databases, without the server's own processes, which end by themselves.
    fn sessions(&self, client: &mut Client) -> Result<Vec<i32>, postgres::Error> {
        let old = if self.replaces { self.name } else { self.new };
        let query = "SELECT pid FROM pg_catalog.pg_stat_activity
                     WHERE datname IN ($1, $2) AND backend_type = 'client backend' AND pid <> \
                     pg_catalog.pg_backend_pid()";
        Ok(client
            .query(query, &[&self.new, &old])?
            .iter()
            .map(|row| row.get(0))
            .collect())
    }

    fn free_name(&self, client: &mut Client) -> Result<String> {
        for number in 1..1000 {
            let name = numbered_name(self.name, "before", self.stamp, number);
            if !database_exists(client, &name)? {
                return Ok(name);
            }
        }
        Err(Error::failed(format!(
            "there is no free name to keep the old database `{}` under",
            self.name
        )))
    }

    /// The commands that undo the swap or make it final.
    fn undo_commands(&self, kept: String) -> KeptDatabase {
        let host = units::shell_word(&self.reached.host());
        let user = units::shell_word(self.reached.user());
        let psql = format!(
            "psql -h {host} -p {} -U {user} -d {}",
            self.reached.port(),
            maintenance_database(self.name)
        );
        let undone = numbered_name(self.name, "undone", self.stamp, 1);
        // The sessions in both must end first. All of it happens, or nothing.
        let end = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE \
             datname IN ({}, {}) AND backend_type = 'client backend'",
            quote_literal(self.name),
            quote_literal(&kept)
        );
        KeptDatabase {
            undo: format!(
                "{psql} -q -o /dev/null -1 -v ON_ERROR_STOP=1 -c {} -c {} -c {}",
                units::shell_word(&end),
                units::shell_word(&rename_statement(self.name, &undone)),
                units::shell_word(&rename_statement(&kept, self.name))
            ),
            remove: format!(
                "{psql} -c {}",
                units::shell_word(&format!("DROP DATABASE {}", quote_ident(&kept)))
            ),
            kept,
        }
    }
}

fn rename(transaction: &mut Transaction<'_>, from: &str, to: &str) -> Result<(), postgres::Error> {
    transaction.batch_execute(&rename_statement(from, to))
}

fn rename_statement(from: &str, to: &str) -> String {
    format!(
        "ALTER DATABASE {} RENAME TO {}",
        quote_ident(from),
        quote_ident(to)
    )
}

/// The statements that give the new database its privileges, and take away what marks it as
/// unfinished.
fn property_statements(name: &str, settings: &Settings) -> Vec<String> {
    let database = quote_ident(name);
    let mut all = Vec::new();
    match &settings.grants {
        None => all.push(format!(
            "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC"
        )),
        Some(grants) => {
            if !settings.owner.is_empty() {
                all.push(format!(
                    "REVOKE ALL ON DATABASE {database} FROM {}",
                    quote_ident(&settings.owner)
                ));
            }
            // The owner's own privileges come first, as the owner grants the others.
            let (of_owner, of_others): (Vec<&Grant>, Vec<&Grant>) = grants
                .iter()
                .partition(|grant| grant.to.as_deref() == Some(settings.owner.as_str()));
            for grant in of_owner.into_iter().chain(of_others) {
                let to = grant.to.as_deref().map_or("PUBLIC".to_owned(), quote_ident);
                let option = if grant.grantable {
                    " WITH GRANT OPTION"
                } else {
                    ""
                };
                all.push(format!(
                    "GRANT {} ON DATABASE {database} TO {to}{option}",
                    grant.privilege
                ));
            }
        }
    }
    all.push(format!(
        "ALTER DATABASE {database} CONNECTION LIMIT {}",
        settings.connection_limit
    ));
    if settings.is_template {
        all.push(format!("ALTER DATABASE {database} IS_TEMPLATE true"));
    }
    let comment = settings
        .comment
        .as_deref()
        .map_or("NULL".to_owned(), quote_literal);
    all.push(format!("COMMENT ON DATABASE {database} IS {comment}"));
    all
}
