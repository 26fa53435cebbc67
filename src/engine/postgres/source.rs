//! A PostgreSQL database as a source. One session lists and locks the tables and exports its
//! snapshot, `pg_dump` writes the dump in that snapshot, and the rows are counted in the dump as it
//! is written.
//!
//! A second session that asks for the same locks may queue behind an `ALTER TABLE` that waits for
//! the first session's. `pg_dump` is such a second session, so it waits for a lock only a short
//! while; then everything is released and tried again.

mod attempt;
mod dump_program;
mod preflight;

use super::connect::PostgresSession;
use super::conninfo::ConnInfo;
use super::lock_watcher::LockWatcher;
use super::programs::{PostgresVersion, Program};
use super::tables::{self, ListedTable, LockOutcome, TableSelection};
use super::{ConnectionSpec, PgFormat, ProgramSearch, explain_error, facts};
use crate::engine::{Database, Dumped, Manifest, Source};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::process::Process;
use crate::units;
use dump_program::{DumpOutput, copy_output, start_program, strip_program_name, with_known_hint};
use postgres::error::SqlState;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

pub use preflight::PreflightWarning;

/// How long one attempt waits for a lock before it releases all it has.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long the server's final error is waited for after a dump that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The settings of a database as a source, with nothing resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PostgresPlan {
    /// The server's address.
    pub spec: ConnectionSpec,
    /// The database; `None`: the one that `spec` names.
    pub database: Option<String>,
    /// The name of the cluster's source, where the database is a member of a cluster.
    pub cluster: Option<String>,
    /// The format of the dump.
    pub format: PgFormat,
    /// The part of the database that is dumped.
    pub selection: TableSelection,
    /// Whether rows are counted.
    pub count: bool,
    /// How long locks are waited for in all.
    pub lock_timeout: Duration,
    /// How long `pg_dump` may write nothing.
    pub stall_timeout: Duration,
    /// Where the programs are looked for.
    pub search: ProgramSearch,
    /// The address for programs that run elsewhere, as inside a container.
    pub prefix_url: Option<String>,
}

/// A database as its server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDatabase {
    /// Its name.
    pub name: String,
    /// Whether `pg_dump` can connect to it.
    pub allows_connections: bool,
    /// Whether an interrupted `DROP DATABASE` left it, so that it can only be dropped.
    pub is_invalid: bool,
}

/// A PostgreSQL database as a source.
pub struct PostgresSource {
    plan: PostgresPlan,
    session: PostgresSession,
    dump: Program,
    database: Database,
    warnings: Vec<String>,
}

impl PostgresSource {
    /// Connects, finds the programs and reads the facts of the database. Nothing is locked.
    pub fn open(plan: &PostgresPlan) -> Result<PostgresSource> {
        let conn = resolve(plan)?;
        let mut session = conn.connect()?;
        let version = facts::read_server_version(&mut session.client)?;
        let name = if plan.format == PgFormat::Globals {
            "pg_dumpall"
        } else {
            "pg_dump"
        };
        let dump = plan.search.find(name, version.major)?;
        let system_identifier = facts::read_system_identifier(&mut session.client);
        let mut database = facts::read_database(&mut session.client, &version)?;
        database.host = Some(session.reached.host());
        database.port = Some(session.reached.port());
        database.user = Some(session.reached.user().to_owned());
        database.system_identifier = system_identifier;
        database.cluster.clone_from(&plan.cluster);
        database.selected_by = plan.selection.arguments();
        let warnings = conn.warnings.clone();
        Ok(PostgresSource {
            plan: plan.clone(),
            session,
            dump,
            database,
            warnings,
        })
    }

    /// Counts what the database holds now, without its content.
    pub fn inspect(&mut self) -> Result<Dumped> {
        let timeout = Some(self.plan.lock_timeout);
        let counted =
            tables::count_tables(&mut self.session.client, &self.plan.selection, timeout)?;
        Ok(Dumped {
            manifest: Manifest::new(counted),
            database: self.database.clone(),
            ..Dumped::default()
        })
    }

    /// Facts of the database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The version of the program that will write the dump.
    pub fn program_version(&self) -> &PostgresVersion {
        &self.dump.version
    }

    /// Lists the databases of the server in the order of their names, without PostgreSQL's own
    /// templates, which hold nobody's data.
    pub fn databases(&mut self) -> Result<Vec<ListedDatabase>> {
        let query =
            "SELECT datname::text, datallowconn, datconnlimit = -2 FROM pg_catalog.pg_database
                     WHERE datname NOT IN ('template0', 'template1') ORDER BY 1";
        let rows = self
            .session
            .client
            .query(query, &[])
            .map_err(|error| explain_error(&error, "listing the databases"))?;
        let listed = rows.iter().map(|row| ListedDatabase {
            name: row.get(0),
            allows_connections: row.get(1),
            is_invalid: row.get(2),
        });
        Ok(listed.collect())
    }

    /// Locks the tables. Returns false where that failed and everything was released, so that it
    /// should be tried again.
    fn lock(&mut self, tables: &[ListedTable]) -> Result<bool> {
        match tables::lock_tables(&mut self.session.client, tables) {
            Ok(LockOutcome::Held) => Ok(true),
            Ok(LockOutcome::Outdated) => {
                self.release_locks();
                Ok(false)
            }
            Err(error) => self.check_retriable(&error).map(|()| false),
        }
    }

    fn release_locks(&mut self) {
        // A session that has ended reports that at its next statement.
        let _ = self
            .session
            .client
            .batch_execute("ROLLBACK; SET lock_timeout = 0");
    }

    fn execute(&mut self, sql: &str) -> Result<()> {
        self.session
            .client
            .batch_execute(sql)
            .map_err(|error| explain_error(&error, format!("`{sql}`")))
    }

    /// Releases everything. A lock that timed out, or a table that was dropped meanwhile, may be
    /// tried again; anything else is an error.
    fn check_retriable(&mut self, error: &postgres::Error) -> Result<()> {
        interrupt::check()?;
        self.release_locks();
        let again = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if error.code().is_some_and(|code| again.contains(code)) {
            Ok(())
        } else {
            Err(explain_error(error, "locking the tables"))
        }
    }

    /// The encoding of the dump: the database's own, which is pg_dump's default and which a role's
    /// client_encoding would override. It is UTF-8 where tables have names beyond ASCII, so that
    /// names in the dump are those in the manifest.
    fn encoding(&self, tables: &[ListedTable]) -> String {
        let own = self
            .database
            .encoding
            .clone()
            .unwrap_or_else(|| "UTF8".to_owned());
        // SQL_ASCII can't be converted.
        let plain = own == "SQL_ASCII" || tables.iter().all(|table| table.name.is_ascii());
        if plain { own } else { "UTF8".to_owned() }
    }

    fn database_name(&self) -> &str {
        self.database.name.as_deref().unwrap_or_default()
    }

    /// Finishes the dump. A program that signals do not reach is ended on the server.
    fn finish_dump(&mut self, child: Process, copied: &DumpOutput, token: &str) -> Result<String> {
        let stderr = child
            .finish()
            .inspect_err(|_| self.terminate_remote(token))?;
        copied
            .check_complete(self.plan.format, &self.dump.name)
            .map(|()| stderr)
    }

    fn terminate_remote(&mut self, token: &str) {
        if !self.dump.is_remote() {
            return;
        }
        let query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                     WHERE application_name = $1";
        if let Ok(mut client) = self
            .session
            .reached
            .reconnect(self.database_name(), "dbbackup")
        {
            let _ = client.execute(query, &[&token]);
        }
    }

    fn summarize(&self, stderr: &str) -> Dumped {
        let mut warnings = self.warnings.clone();
        let messages: Vec<String> = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(strip_program_name)
            .collect();
        let lacks = messages
            .iter()
            .find(|line| line.contains("not dumped"))
            .cloned();
        warnings.extend(messages);
        let producer = BTreeMap::from([(self.dump.name.clone(), self.dump.version.to_string())]);
        Dumped {
            database: self.database.clone(),
            producer,
            warnings,
            lacks,
            ..Dumped::default()
        }
    }

    /// Dumps roles and tablespaces: one script, without a snapshot and tables.
    fn dump_globals(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let token = new_session_token();
        let row = self.session.client.query_one(
            "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')",
            &[],
        );
        let passwords: bool = row
            .map_err(|error| explain_error(&error, "asking for the role's privileges"))?
            .get(0);
        let mut arguments = vec![
            "--globals-only".to_owned(),
            "--no-password".to_owned(),
            format!("--database={}", self.database_name()),
        ];
        if !passwords {
            arguments.push("--no-role-passwords".to_owned());
        }
        let mut child = start_program(
            &self.dump,
            &arguments,
            &self.plan,
            &self.session.reached,
            (self.database_name(), self.program_options()),
            &token,
        )?;
        let copied =
            copy_output(&mut child, self.plan.stall_timeout, out, None).map_err(|(_, error)| error);
        let copied = copied.inspect_err(|_| self.terminate_remote(&token))?;
        let stderr = self
            .finish_dump(child, &copied, &token)
            .map_err(with_known_hint)?;
        let mut dumped = self.summarize(&stderr);
        if !passwords {
            dumped.warnings.push(
                "the roles are saved without their passwords, for this role may \
                                  not read `pg_authid`"
                    .into(),
            );
        }
        Ok(dumped)
    }

    fn dump_database(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let token = new_session_token();
        let deadline = Instant::now() + self.plan.lock_timeout;
        let name = self.database_name().to_owned();
        let watch = LockWatcher::start(&mut self.session, &name, self.plan.lock_timeout)?;
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = self.attempt(
                out,
                LOCK_WAIT.min(left).max(Duration::from_millis(100)),
                &token,
                &watch,
            );
            if attempt.is_err() {
                self.terminate_remote(&token);
            }
            match attempt? {
                Some(dumped) => return Ok(dumped),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
                None => return Err(self.lock_error(&watch)),
            }
        }
    }

    fn lock_error(&self, watch: &LockWatcher) -> Error {
        let waited = units::elapsed(self.plan.lock_timeout.as_secs_f64());
        let by = watch
            .blockers()
            .map_or(String::new(), |who| format!(": {who}"));
        Error::failed(format!(
            "the tables of `{}` could not be locked for reading within {waited}{by}",
            self.database_name()
        ))
        .with_hint("end that session, or wait longer: `lock_timeout = \"15m\"` in the source")
    }
}

impl Source for PostgresSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        match self.plan.format {
            PgFormat::Globals => self.dump_globals(out),
            PgFormat::Custom | PgFormat::Plain => self.dump_database(out),
        }
    }

    fn estimate(&self) -> u64 {
        if self.plan.format == PgFormat::Globals {
            0
        } else {
            self.database.size_bytes
        }
    }
}

/// Resolves the address of the plan's database.
pub fn resolve(plan: &PostgresPlan) -> Result<ConnInfo> {
    let conn = ConnInfo::resolve(&plan.spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup");
    Ok(plan
        .database
        .as_ref()
        .map_or(conn.clone(), |name| conn.with_database(name)))
}

/// A name for the sessions of one run's programs, by which they are found on the server.
pub fn new_session_token() -> String {
    format!(
        "dbbackup-{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    )
}
