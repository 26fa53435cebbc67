//! One snapshot for everything: a session lists and locks the tables and exports its snapshot,
//! `pg_dump` writes the dump in it, and the rows are counted in the dump as it goes by.
//!
//! A second session that asks for the same locks may queue behind an `ALTER TABLE` that waits for
//! the first one's. `pg_dump` is such a second one, so it waits for a lock a short while only, and
//! then everything is released and tried again.

use super::archive::Uncountable;
use super::connect::{Reached, Session};
use super::conninfo::{ConnInfo, dsn};
use super::counting::{RowCounter, describe_contents};
use super::programs::Program;
use super::tables::{self, Candidate, Locking, Selection};
use super::watch::Watch;
use super::{Format, Search, Spec, explain, facts};
use crate::engine::{Database, Dumped, Manifest, Source};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::process::{Pipes, Process};
use crate::units;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// How long one attempt waits for a lock before it lets go of all it has.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long the server's last words are waited for, after a dump that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said of a database as a source, nothing resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Where it is.
    pub spec: Spec,
    /// Which database there; `None`: the one that `spec` names.
    pub database: Option<String>,
    /// The source of the configuration that stands for all databases of the server, where this is
    /// one of them.
    pub cluster: Option<String>,
    /// How it is dumped.
    pub format: Format,
    /// What of it.
    pub selection: Selection,
    /// Whether rows are counted.
    pub count: bool,
    /// How long locks are waited for in all.
    pub lock_timeout: Duration,
    /// How long `pg_dump` may be silent.
    pub stall_timeout: Duration,
    /// Where the programs are.
    pub search: Search,
    /// The address for programs that run elsewhere, as a container's inside.
    pub prefix_url: Option<String>,
}

/// What a rehearsal found that a backup would be made in spite of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

impl Concern {
    fn new(text: impl ToString, remedy: impl Into<String>) -> Self {
        Concern {
            text: text.to_string(),
            remedy: remedy.into(),
        }
    }
}

/// A database as its server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDatabase {
    /// Its name.
    pub name: String,
    /// `pg_dump` can connect to it.
    pub allows_connections: bool,
    /// A `DROP DATABASE` that was interrupted left it, and it can only be dropped.
    pub is_invalid: bool,
}

/// A PostgreSQL database as a source.
pub struct PostgresSource {
    plan: Plan,
    session: Session,
    dump: Program,
    database: Database,
    warnings: Vec<String>,
}

impl PostgresSource {
    /// Connects, finds the programs and looks at the database; nothing is locked.
    pub fn open(plan: &Plan) -> Result<PostgresSource> {
        let conn = resolve(plan)?;
        let mut session = conn.connect()?;
        let version = facts::version(&mut session.client)?;
        let name = if plan.format == Format::Globals {
            "pg_dumpall"
        } else {
            "pg_dump"
        };
        let dump = plan.search.find(name, version.major)?;
        let system_identifier = facts::system_identifier(&mut session.client);
        let mut database = facts::database(&mut session.client, &version)?;
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

    /// What the database holds right now, without its content.
    pub fn inspect(&mut self) -> Result<Dumped> {
        let timeout = Some(self.plan.lock_timeout);
        let counted = tables::count_now(&mut self.session.client, &self.plan.selection, timeout)?;
        Ok(Dumped {
            manifest: Manifest::of(counted),
            database: self.database.clone(),
            ..Dumped::default()
        })
    }

    /// Does what a backup begins with: has the locks on all tables for a moment, which needs the
    /// right to read them. What a backup would do, in words, and what it would lack.
    pub fn rehearse(&mut self) -> Result<(String, Vec<Concern>)> {
        let version = self.database.server_version.clone().unwrap_or_default();
        let by = format!("{} {}", self.dump.name, self.dump.version);
        let by_connection = |text: &String| Concern::new(text, "look at the source's address");
        let mut concerns: Vec<Concern> = self.warnings.iter().map(by_connection).collect();
        if self.plan.format == Format::Globals {
            return Ok((
                format!("PostgreSQL {version}: roles and tablespaces, by {by}"),
                concerns,
            ));
        }
        self.run("BEGIN READ ONLY")?;
        self.run("SET LOCAL lock_timeout = '2s'")?;
        let found = tables::list(&mut self.session.client, &self.plan.selection)?;
        let hidden = tables::hidden_by_policies(&mut self.session.client, &found)?;
        let unmatched = tables::unmatched_patterns(&mut self.session.client, &self.plan.selection)?;
        let missing_schemas = || unmatched.iter().filter(|pattern| pattern.leaves_out());
        if let Some(first) = missing_schemas()
            .next()
            .filter(|_| missing_schemas().count() == self.plan.selection.schemas.len())
        {
            return Err(
                Error::failed(format!("{first}, and there is no other")).with_hint(first.hint())
            );
        }
        concerns.extend(
            unmatched
                .iter()
                .map(|pattern| Concern::new(pattern, pattern.hint())),
        );
        match tables::lock(&mut self.session.client, &found) {
            Ok(_) => {
                let role = "the backup would be made, but see `dbbackup help postgresql`";
                concerns.extend(
                    self.what_is_lacking()?
                        .iter()
                        .map(|lacking| Concern::new(lacking, role)),
                );
                let keys = self.keys_that_break(&found)?;
                concerns.extend(
                    keys.map(|keys| Concern::new(keys, "save the tables that they point to, too")),
                );
            }
            Err(error) => {
                self.not_locked(&error)?;
                let text = "a table is locked right now: a backup would wait for it";
                concerns.push(Concern::new(text, "wait, or end the session that holds it"));
            }
        }
        self.run("ROLLBACK")?;
        if let Some(first) = hidden.first() {
            let more = if hidden.len() > 1 {
                format!(" and {} more", hidden.len() - 1)
            } else {
                String::new()
            };
            return Err(
                Error::failed(format!("row-level security hides rows of {first}{more}"))
                    .with_hint(super::ALL_ROWS),
            );
        }
        Ok((
            format!(
                "PostgreSQL {version}, {}, by {by}",
                units::count(found.len() as u64, "table")
            ),
            concerns,
        ))
    }

    /// Facts of the database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The databases of the server in the order of their names; PostgreSQL's own templates are
    /// nobody's data and left out.
    pub fn databases(&mut self) -> Result<Vec<ListedDatabase>> {
        let query =
            "SELECT datname::text, datallowconn, datconnlimit = -2 FROM pg_catalog.pg_database
                     WHERE datname NOT IN ('template0', 'template1') ORDER BY 1";
        let rows = self
            .session
            .client
            .query(query, &[])
            .map_err(|error| explain(&error, "listing the databases"))?;
        let listed = rows.iter().map(|row| ListedDatabase {
            name: row.get(0),
            allows_connections: row.get(1),
            is_invalid: row.get(2),
        });
        Ok(listed.collect())
    }

    /// One attempt, in a snapshot of its own. `Ok(None)` where a lock could not be had in time and
    /// nothing was written yet.
    fn attempt(
        &mut self,
        out: &mut dyn Write,
        wait: Duration,
        token: &str,
        watch: &Watch,
    ) -> Result<Option<Dumped>> {
        let standby = facts::on_standby(&mut self.session.client)?;
        let before = tables::list(&mut self.session.client, &self.plan.selection)?;
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        // The locks come first: a transaction of this level takes its snapshot with its first
        // query, and what is locked by then can't change.
        self.run(&format!("SET lock_timeout = {}", wait.as_millis()))?;
        if !self.lock(&before)? {
            return Ok(None);
        }
        let tables = tables::list(&mut self.session.client, &self.plan.selection)?;
        let newer: Vec<Candidate> = tables
            .iter()
            .filter(|table| !before.contains(table))
            .cloned()
            .collect();
        if !self.lock(&newer)? {
            return Ok(None);
        }
        self.run("SET lock_timeout = 0")?;
        let without_large_objects = self.what_is_lacking()?;
        let mut lacking = self.missing_schemas()?;
        lacking.extend(without_large_objects.iter().cloned());
        let keys = self.keys_that_break(&tables)?;
        let row = self
            .session
            .client
            .query_one("SELECT pg_catalog.pg_export_snapshot()", &[]);
        let snapshot: String = row
            .map_err(|error| explain(&error, "exporting the snapshot"))?
            .get(0);
        // Nothing may be left to be sent, or the server's last words are never heard: see
        // `last_words`.
        self.run("")?;
        let encoding = self.encoding(&tables);
        let (started, mut child) = (
            Instant::now(),
            self.start_dump(
                &snapshot,
                wait,
                token,
                &encoding,
                !without_large_objects.is_empty(),
            )?,
        );
        watch.also(token);
        let mut counter = if self.plan.count {
            Some(RowCounter::start(self.plan.format)?)
        } else {
            None
        };
        let written = copy(&mut child, self.plan.stall_timeout, out, counter.as_mut());
        let counted = counter.map(RowCounter::finish);
        let ended = written.and_then(|copied| {
            self.end(child, &copied, token)
                .map_err(|error| (copied.bytes, error))
        });
        let lost = if ended.is_err() {
            self.last_words()
        } else {
            None
        };
        let _ = self.session.client.batch_execute("ROLLBACK");
        let said = match ended {
            Ok(said) => said,
            Err((0, error)) if waited_for_a_lock(&error, started.elapsed(), wait) => {
                return Ok(None);
            }
            Err((_, error)) if error.kind() == Kind::Failed && watch.ended_a_wait() => {
                return Err(self.locked(watch));
            }
            Err((_, error)) if error.kind() == Kind::Failed && lost.is_some() => {
                return Err(lost.map_or(error, |lost| {
                    explain(&lost, "the session that holds the snapshot was ended")
                }));
            }
            Err((_, error)) => return Err(in_words(error)),
        };
        let mut dumped = self.describe(&said);
        match counted {
            Some(Ok(counts)) => {
                let contents = describe_contents(&tables, counts, standby);
                dumped.manifest = contents.manifest;
                dumped.warnings.extend(contents.warnings);
                dumped.lacks = dumped.lacks.or(contents.lacks);
            }
            Some(Err(Uncountable::CutOff)) => {
                return Err(not_whole(&self.dump.name, "an archive that breaks off"));
            }
            Some(Err(Uncountable::NotUnderstood(why))) => {
                dumped.warnings.push(format!(
                    "the rows could not be counted, so a restore has no counts to compare: {why}"
                ));
            }
            Some(Err(Uncountable::Unreadable(error))) => return Err(error),
            None => {}
        }
        dumped.notes.extend(keys);
        dumped.lacks = dumped.lacks.or_else(|| lacking.last().cloned());
        dumped.warnings.extend(lacking);
        Ok(Some(dumped))
    }

    /// Why the server ended the session, where it did. It is heard before anything is sent: a write
    /// to one that is gone fails with less.
    fn last_words(&mut self) -> Option<postgres::Error> {
        self.session
            .client
            .notifications()
            .timeout_iter(PAUSE)
            .next()
            .err()
    }

    /// Whether all of them are held now. Where not, everything was let go of: it is a reason to try
    /// again.
    fn lock(&mut self, tables: &[Candidate]) -> Result<bool> {
        match tables::lock(&mut self.session.client, tables) {
            Ok(Locking::Held) => Ok(true),
            Ok(Locking::Outdated) => {
                self.let_go();
                Ok(false)
            }
            Err(error) => self.not_locked(&error).map(|()| false),
        }
    }

    fn let_go(&mut self) {
        // A session that is gone says so at its next statement.
        let _ = self
            .session
            .client
            .batch_execute("ROLLBACK; SET lock_timeout = 0");
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        self.session
            .client
            .batch_execute(sql)
            .map_err(|error| explain(&error, format!("`{sql}`")))
    }

    /// A lock that was waited for in vain, or a table that has gone meanwhile, is a reason to try
    /// again.
    fn not_locked(&mut self, error: &postgres::Error) -> Result<()> {
        interrupt::check()?;
        self.let_go();
        let again = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if error.code().is_some_and(|code| again.contains(code)) {
            Ok(())
        } else {
            Err(explain(error, "locking the tables"))
        }
    }

    /// The foreign keys that a restore of the part that is chosen will leave out.
    fn keys_that_break(&mut self, tables: &[Candidate]) -> Result<Option<String>> {
        if self.plan.selection == Selection::default() {
            return Ok(None);
        }
        let keys = tables::broken_keys(&mut self.session.client, tables)?;
        let more = if keys.len() > 5 {
            format!("; and {} more", keys.len() - 5)
        } else {
            String::new()
        };
        let first: Vec<&str> = keys.iter().take(5).map(String::as_str).collect();
        Ok((!keys.is_empty()).then(|| {
            format!(
                "a restore of this part will leave out foreign keys to rows that are not in \
                     it: {}{more}",
                first.join("; ")
            )
        }))
    }

    /// What the dump will have to leave out because the role may not read it.
    fn what_is_lacking(&mut self) -> Result<Vec<String>> {
        if !self.plan.selection.schemas.is_empty() {
            // pg_dump takes none then, readable or not.
            return Ok(Vec::new());
        }
        let count = tables::unreadable_large_objects(&mut self.session.client)?;
        Ok(if count > 0 {
            let objects = units::count(count, "large object");
            vec![format!(
                "all large objects are left out, for the role may not read {objects}: GRANT SELECT \
                 ON LARGE OBJECT … TO it"
            )]
        } else {
            Vec::new()
        })
    }

    /// Schemas that were to be saved and are not there: `pg_dump` is content with one of them.
    fn missing_schemas(&mut self) -> Result<Vec<String>> {
        let schemas = tables::Selection {
            schemas: self.plan.selection.schemas.clone(),
            ..tables::Selection::default()
        };
        let unmatched = tables::unmatched_patterns(&mut self.session.client, &schemas)?;
        let missing = unmatched
            .into_iter()
            .filter(tables::UnmatchedPattern::leaves_out);
        Ok(missing
            .map(|pattern| format!("{pattern}: {}", pattern.hint()))
            .collect())
    }

    fn start_dump(
        &self,
        snapshot: &str,
        wait: Duration,
        token: &str,
        encoding: &str,
        without_large_objects: bool,
    ) -> Result<Process> {
        let mut arguments = vec![
            format!("--snapshot={snapshot}"),
            format!("--lock-wait-timeout={}", wait.as_millis()),
            "--no-password".to_owned(),
            format!("--encoding={encoding}"),
        ];
        arguments.extend(match self.plan.format {
            Format::Custom => vec!["--format=custom".to_owned(), "--compress=0".to_owned()],
            // A function called `begin`, unquoted, makes psql lose track of where statements end.
            _ => vec![
                "--format=plain".to_owned(),
                "--quote-all-identifiers".to_owned(),
            ],
        });
        if without_large_objects {
            arguments.push("--no-blobs".to_owned());
        }
        arguments.extend(self.plan.selection.arguments());
        start(
            &self.dump,
            &arguments,
            &self.plan,
            &self.session.reached,
            (self.name(), self.options_of_programs()),
            token,
        )
    }

    /// A program's first query would wait for other transactions where the database says that all
    /// are deferrable; it is told otherwise only there, for poolers refuse options.
    fn options_of_programs(&self) -> Option<&'static str> {
        let set = self
            .database
            .settings
            .iter()
            .flat_map(|settings| &settings.set);
        set.into_iter()
            .any(|setting| setting.name == "default_transaction_deferrable")
            .then_some("-c default_transaction_deferrable=off")
    }

    /// The database's own, which is pg_dump's default and which a role's client_encoding would
    /// override. Only where tables have names beyond ASCII it is UTF-8, as the manifest is, so that
    /// a name in the one is the same in the other.
    fn encoding(&self, tables: &[Candidate]) -> String {
        let own = self
            .database
            .encoding
            .clone()
            .unwrap_or_else(|| "UTF8".to_owned());
        // Of SQL_ASCII nothing can be converted.
        let plain = own == "SQL_ASCII" || tables.iter().all(|table| table.name.is_ascii());
        if plain { own } else { "UTF8".to_owned() }
    }

    fn name(&self) -> &str {
        self.database.name.as_deref().unwrap_or_default()
    }

    /// The dump's end. A program that runs where no signal reaches it is ended on the server.
    fn end(&mut self, child: Process, copied: &Copied, token: &str) -> Result<String> {
        let said = child.finish().inspect_err(|_| self.end_remote(token))?;
        copied
            .looks_whole(self.plan.format, &self.dump.name)
            .map(|()| said)
    }

    fn end_remote(&mut self, token: &str) {
        if !self.dump.is_remote() {
            return;
        }
        let query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                     WHERE application_name = $1";
        if let Ok(mut client) = self.session.reached.reconnect(self.name(), "dbbackup") {
            let _ = client.execute(query, &[&token]);
        }
    }

    fn describe(&self, said: &str) -> Dumped {
        let mut warnings = self.warnings.clone();
        let told: Vec<String> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(without_program)
            .collect();
        let lacks = told
            .iter()
            .find(|line| line.contains("not dumped"))
            .cloned();
        warnings.extend(told);
        let producer = BTreeMap::from([(self.dump.name.clone(), self.dump.version.to_string())]);
        Dumped {
            database: self.database.clone(),
            producer,
            warnings,
            lacks,
            ..Dumped::default()
        }
    }

    /// Roles and tablespaces: no snapshot and no tables, one script.
    fn dump_globals(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let token = token();
        let row = self.session.client.query_one(
            "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')",
            &[],
        );
        let passwords: bool = row
            .map_err(|error| explain(&error, "asking for the role's privileges"))?
            .get(0);
        let mut arguments = vec![
            "--globals-only".to_owned(),
            "--no-password".to_owned(),
            format!("--database={}", self.name()),
        ];
        if !passwords {
            arguments.push("--no-role-passwords".to_owned());
        }
        let mut child = start(
            &self.dump,
            &arguments,
            &self.plan,
            &self.session.reached,
            (self.name(), self.options_of_programs()),
            &token,
        )?;
        let copied =
            copy(&mut child, self.plan.stall_timeout, out, None).map_err(|(_, error)| error);
        let copied = copied.inspect_err(|_| self.end_remote(&token))?;
        let said = self.end(child, &copied, &token).map_err(in_words)?;
        let mut dumped = self.describe(&said);
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
        let token = token();
        let deadline = Instant::now() + self.plan.lock_timeout;
        let name = self.name().to_owned();
        let watch = Watch::start(&mut self.session, &name, self.plan.lock_timeout)?;
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
                self.end_remote(&token);
            }
            match attempt? {
                Some(dumped) => return Ok(dumped),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
                None => return Err(self.locked(&watch)),
            }
        }
    }

    fn locked(&self, watch: &Watch) -> Error {
        let waited = units::elapsed(self.plan.lock_timeout.as_secs_f64());
        let by = watch
            .blockers()
            .map_or(String::new(), |who| format!(": {who}"));
        Error::failed(format!(
            "the tables of `{}` could not be locked for reading within {waited}{by}",
            self.name()
        ))
        .with_hint("end that session, or wait longer: `lock_timeout = \"15m\"` in the source")
    }
}

impl Source for PostgresSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        match self.plan.format {
            Format::Globals => self.dump_globals(out),
            Format::Custom | Format::Plain => self.dump_database(out),
        }
    }

    fn estimate(&self) -> u64 {
        if self.plan.format == Format::Globals {
            0
        } else {
            self.database.size_bytes
        }
    }
}

/// Where the plan's database is.
pub fn resolve(plan: &Plan) -> Result<ConnInfo> {
    let conn = ConnInfo::resolve(&plan.spec, &|name| std::env::var(name).ok())?
        .with_application_name("dbbackup");
    Ok(plan
        .database
        .as_ref()
        .map_or(conn.clone(), |name| conn.with_database(name)))
}

/// A name for the sessions of one run's programs, by which they are found on the server.
pub fn token() -> String {
    format!(
        "dbbackup-{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    )
}

/// Starts one of the programs, connected to the very server that was reached, as the same user.
fn start(
    program: &Program,
    arguments: &[String],
    plan: &Plan,
    reached: &Reached,
    (name, options): (&str, Option<&str>),
    token: &str,
) -> Result<Process> {
    let mut environment = reached.environment();
    environment.extend(options.map(|options| ("PGOPTIONS".to_owned(), options.to_owned())));
    let address = match &plan.prefix_url {
        Some(url) if program.is_remote() => {
            let (address, password) = inside(url, name, token)?;
            if let Some(password) = password {
                environment.retain(|(name, _)| name != "PGPASSWORD");
                environment.push(("PGPASSWORD".to_owned(), password));
            }
            address
        }
        _ => reached.conninfo(name, token),
    };
    let mut command = program.command(&environment, Reached::cleared());
    command.args(arguments).arg(format!("--dbname={address}"));
    let secret = environment
        .iter()
        .find(|(name, _)| name == "PGPASSWORD")
        .map(|(_, value)| value.as_str());
    Process::start(
        command,
        &program.name,
        secret,
        Pipes {
            stdin: false,
            stdout: true,
        },
    )
}

/// The address for a program that runs elsewhere, and the password in it: what is not said is the
/// program's own matter there.
fn inside(url: &str, name: &str, token: &str) -> Result<(String, Option<String>)> {
    let mut pairs = dsn::parse(url).map_err(|error| error.context("`prefix_url`"))?;
    let password = pairs
        .iter()
        .rev()
        .find(|(key, _)| key == "password")
        .map(|(_, value)| value.clone());
    pairs.retain(|(key, _)| !["password", "dbname", "application_name"].contains(&key.as_str()));
    pairs.extend([
        ("dbname".to_owned(), name.to_owned()),
        ("application_name".to_owned(), token.to_owned()),
    ]);
    let words: Vec<String> = pairs
        .iter()
        .map(|(key, value)| dsn::pair(key, value))
        .collect();
    Ok((words.join(" "), password))
}

/// Everything that the program writes; with an error how much it was until then.
fn copy(
    child: &mut Process,
    stall: Duration,
    out: &mut dyn Write,
    mut counter: Option<&mut RowCounter>,
) -> Result<Copied, (u64, Error)> {
    let mut reader = child.reader(Some(stall)).map_err(|error| (0, error))?;
    let mut block = vec![0; 1 << 20];
    let mut copied = Copied::default();
    loop {
        let count = reader
            .read(&mut block)
            .map_err(|error| (copied.bytes, error.into()))?;
        if count == 0 {
            return Ok(copied);
        }
        out.write_all(&block[..count])
            .map_err(|error| (copied.bytes, error.into()))?;
        if let Some(counter) = &mut counter {
            counter.take(&block[..count]);
        }
        copied.add(&block[..count]);
    }
}

/// How much was written, and what stands at both ends of it.
#[derive(Default)]
struct Copied {
    bytes: u64,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Copied {
    /// More than what follows the mark of a script's end.
    const EDGE: usize = 256;

    fn add(&mut self, bytes: &[u8]) {
        let lacking = (Self::EDGE - self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..lacking]);
        self.last
            .extend_from_slice(&bytes[bytes.len().saturating_sub(Self::EDGE)..]);
        self.last
            .drain(..self.last.len().saturating_sub(Self::EDGE));
        self.bytes += bytes.len() as u64;
    }

    /// What calls itself a success must look like one: runtimes of containers were seen to lose
    /// output, and the status with it.
    fn looks_whole(&self, format: Format, program: &str) -> Result<()> {
        let whole = match format {
            Format::Custom => self.first.starts_with(b"PGDMP"),
            Format::Plain | Format::Globals => {
                memchr::memmem::find(&self.last, b"dump complete").is_some()
            }
        };
        if whole {
            return Ok(());
        }
        let what = if self.bytes == 0 {
            "nothing".to_owned()
        } else {
            format!("{}, but no whole dump", units::size(self.bytes))
        };
        Err(not_whole(program, &what))
    }
}

fn not_whole(program: &str, what: &str) -> Error {
    Error::failed(format!(
        "`{program}` wrote {what}, and yet it ended as if all were well"
    ))
    .with_hint("is that PostgreSQL's own program? look at `bin_dir` and `command_prefix`")
}

/// Whether `pg_dump` gave up on a lock. It implements `--lock-wait-timeout` as a timeout of the
/// statement, and the server says so in whatever language it is set to; that the time is over is
/// the same in all of them.
fn waited_for_a_lock(error: &Error, took: Duration, wait: Duration) -> bool {
    error.kind() == Kind::Failed && error.message().contains("LOCK TABLE") && took >= wait
}

/// What `pg_dump` said, with what to do about it.
fn in_words(error: Error) -> Error {
    let text = error.message();
    let known = [
        (
            "permission denied",
            "the role needs to read everything: GRANT pg_read_all_data TO it (`dbbackup help \
             postgresql`)",
        ),
        ("row-level security", super::ALL_ROWS),
        (
            "conflict with recovery",
            "the standby had to choose between replay and the dump: set hot_standby_feedback = on \
             there",
        ),
        (
            "out of shared memory",
            "there are more tables than the server's lock table holds: raise \
             max_locks_per_transaction",
        ),
        (
            "server version mismatch",
            "set `bin_dir` to the directory of a newer `pg_dump`",
        ),
    ];
    match known.iter().find(|(words, _)| text.contains(words)) {
        Some((_, hint)) => error.with_hint(hint),
        None => error,
    }
}

/// `pg_dump: warning: …` without its beginning.
fn without_program(line: &str) -> String {
    let rest = line
        .split_once(": ")
        .filter(|(program, _)| program.starts_with("pg_dump"))
        .map_or(line, |(_, rest)| rest);
    rest.strip_prefix("warning: ").unwrap_or(rest).to_owned()
}
