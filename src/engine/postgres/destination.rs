//! Restores a database into a new one, counts its rows, and only then swaps both names in one
//! transaction. The old database stays under another name; until the swap it is in service,
//! untouched.

mod settings;

use super::connect::PostgresSession;
use super::conninfo::{ConnInfo, ConnectionSpec};
use super::fill::{
    ClientPrograms, DumpInput, FillRequest, check_rows, compare_manifest, find_remedy,
};
use super::leftovers::{self, ScratchDatabase, connect_to_maintenance};
use super::locale::database_clauses;
use super::names::quote_ident;
use super::programs::{PostgresVersion, ProgramSearch};
use super::source::PostgresPlan;
use super::{PgFormat, drill, explain_error, facts, in_place, obstacles, swap};
use crate::durable;
use crate::engine::{Check, Database, Depth, Destination, Keep, Manifest, Published, Settings};
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use settings::apply_settings;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// The target of a restore, and its options.
#[derive(Debug, Clone)]
pub struct RestoreTarget {
    /// The server and the database's name there.
    pub conn: ConnInfo,
    /// The facts that the backup recorded.
    pub recorded: Database,
    /// The dump's format.
    pub format: PgFormat,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub pg_dump_major: u32,
    /// Where the programs are.
    pub search: ProgramSearch,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// Whether everything belongs to the role that restores, without privileges for others.
    pub no_owner: bool,
    /// Whether everything goes into the database's own tablespace.
    pub no_tablespaces: bool,
    /// Roles that an earlier step of the restore creates.
    pub roles_to_come: Vec<String>,
    /// Whether the old database itself is filled, in one transaction.
    pub in_place: bool,
    /// The tables to restore; empty means all.
    pub tables: Vec<String>,
    /// The time in the name of what is set aside, as `20261120T020000Z`.
    pub stamp: String,
    /// The directory for the decoded dump.
    pub scratch_dir: PathBuf,
    /// Bytes of the dump's content.
    pub content_size: u64,
}

/// A database as the destination of a restore.
pub struct PostgresDestination {
    target: RestoreTarget,
    session: PostgresSession,
    version: PostgresVersion,
    /// The database that has the name now.
    old: Option<Database>,
    scratch: Option<Scratch>,
    new: Option<ScratchDatabase>,
    /// The settings that the restored database gets.
    settings: Settings,
    expected: Option<Manifest>,
    warnings: Vec<String>,
}

impl PostgresDestination {
    /// Connects, and finds obstacles to the restore before any work is done.
    pub fn open(target: RestoreTarget) -> Result<PostgresDestination> {
        let name = target.conn.dbname().to_owned();
        let mut session = connect_to_server(&target.conn)?;
        let version = facts::read_server_version(&mut session.client)?;
        if facts::is_standby(&mut session.client)? {
            return Err(Error::failed(format!(
                "the server of {} is a standby",
                target.conn.place()
            ))
            .with_hint("restore to its primary"));
        }
        let old = match leftovers::database_exists(&mut session.client, &name)? {
            true => Some(Database {
                host: Some(session.reached.host()),
                port: Some(session.reached.port()),
                ..facts::read_database_from_outside(&mut session.client, &version, &name)?
            }),
            false => None,
        };
        if !leftovers::try_lock_name(&mut session.client, &name)? {
            return Err(Error::new(
                crate::error::Kind::Locked,
                format!("another restore of `{name}` is going on"),
            )
            .with_hint("wait for its end"));
        }
        let settings = match (&old, target.no_owner) {
            (Some(old), _) => old.settings.clone(),
            (None, false) => target.recorded.settings.clone(),
            (None, true) => None,
        };
        let settings = settings.unwrap_or_default();
        obstacles::check_any_restore(&mut session.client, &target, &settings, &version)?;
        Ok(PostgresDestination {
            target,
            session,
            version,
            old,
            scratch: None,
            new: None,
            settings,
            expected: None,
            warnings: Vec::new(),
        })
    }

    /// Removes what killed restores left.
    pub fn sweep(&mut self) -> Result<()> {
        crate::scratch::sweep(
            &self.target.scratch_dir,
            crate::engine::sqlite::source::SCRATCH_PREFIX,
        );
        leftovers::sweep(&mut self.session).map(drop)
    }

    /// The database that has the name now.
    pub fn old_database(&self) -> Option<&Database> {
        self.old.as_ref()
    }

    /// The owner of the code that the restore will run, where this role is a superuser and the
    /// owner is not.
    pub fn foreign_code_owner(&mut self) -> Result<Option<String>> {
        let owner = [
            Some(&self.settings.owner),
            self.target
                .recorded
                .settings
                .as_ref()
                .map(|settings| &settings.owner),
        ];
        let Some(owner) = owner.into_iter().flatten().find(|owner| !owner.is_empty()) else {
            return Ok(None);
        };
        let query = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles
                     WHERE rolname = current_user AND rolsuper
                       AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1 AND \
                     rolsuper)";
        let row = self
            .session
            .client
            .query_one(query, &[owner])
            .map_err(|error| explain_error(&error, "looking at the roles"))?;
        Ok((row.get::<_, i64>(0) > 0).then(|| owner.clone()))
    }

    /// Finds what forbids replacing the old database in the way that was asked for.
    pub fn check_obstacles(&mut self) -> Result<()> {
        match &self.old {
            Some(_) if self.target.in_place => {
                obstacles::check_in_place(&mut self.session.client, self.target.conn.dbname())
            }
            Some(_) => obstacles::check_swap(&mut self.session.client, self.target.conn.dbname()),
            None if self.target.in_place => Err(Error::usage(format!(
                "there is no database `{}` to restore into",
                self.target.conn.dbname()
            ))
            .with_hint("leave `--in-place` out: it is made then")),
            None => Ok(()),
        }
    }

    /// The old database as a source. A locked table is waited for as long as `lock_timeout`.
    pub fn old_database_plan(&self, lock_timeout: Duration) -> Result<PostgresPlan> {
        let reached = &self.session.reached;
        Ok(PostgresPlan {
            spec: ConnectionSpec {
                url: Some(reached.conninfo(self.target.conn.dbname(), "dbbackup")),
                password: reached.password().map(str::to_owned),
                ..ConnectionSpec::default()
            },
            count: true,
            // The restore replaces a database of the same cluster.
            cluster: self.target.recorded.cluster.clone(),
            lock_timeout,
            stall_timeout: Duration::from_secs(1800),
            search: self.target.search.clone(),
            ..PostgresPlan::default()
        })
    }

    fn content_path(&self) -> Option<PathBuf> {
        self.scratch.as_ref().map(|scratch| scratch.join("content"))
    }

    fn restore_options(&self) -> Vec<String> {
        let chosen = [
            ("--no-owner", self.target.no_owner),
            ("--no-privileges", self.target.no_owner),
            ("--no-tablespaces", self.target.no_tablespaces),
        ];
        chosen
            .iter()
            .filter(|(_, chosen)| *chosen)
            .map(|(option, _)| (*option).to_owned())
            .collect()
    }

    /// Creates the new, empty database. What forbids that is found before the whole dump is read.
    fn create_database(&mut self) -> Result<()> {
        let mut new = ScratchDatabase::new(&self.session, self.target.conn.dbname())?;
        let clauses = self.create_clauses();
        let created = new.create(&mut self.session.client, &clauses);
        self.new = Some(new);
        created.map_err(|error| {
            error.with_hint(
                "the role needs CREATEDB, and must be a member of the old owner; \
                        `--no-owner` does without that",
            )
        })
    }

    fn new_database_name(&self) -> Result<String> {
        self.new
            .as_ref()
            .map(|new| new.name().to_owned())
            .ok_or_else(|| Error::failed("nothing was restored"))
    }

    fn fill(&mut self, content: DumpInput<'_>) -> Result<()> {
        let name = self.new_database_name()?;
        let mut options = self.restore_options();
        if let (DumpInput::File(path), false) = (&content, self.target.tables.is_empty()) {
            let (part, option) = super::restore_list::write_restore_list(&self.target, path)?;
            options.push(option);
            let lost = part.lost_foreign_keys.iter();
            self.warnings.extend(lost.map(|key| {
                format!(
                    "the foreign key {key} was left out, for the table that it \
                                        points to is not restored"
                )
            }));
        }
        let filling = FillRequest {
            database: &name,
            format: self.target.format,
            pg_dump_major: self.target.pg_dump_major,
            jobs: self.target.jobs,
            options,
            part: !self.target.recorded.selected_by.is_empty(),
        };
        let clients = self.client_programs();
        let filled = clients
            .create_extensions(&name, &self.target.recorded)
            .and_then(|()| clients.fill(&filling, content));
        let unmade = filled.map_err(|error| match find_remedy(&error) {
            Some(hint) => error.with_hint(hint),
            None => error,
        })?;
        if let Some(first) = unmade.lacking.first() {
            return Err(Error::failed(format!(
                "the backup is a part that does not restore alone: \
                {first}"
            ))
            .with_hint(
                "make what it needs in a database, and `--table` or `pg_restore` the rest \
                       into it by hand; save both together from now on",
            ));
        }
        self.warnings.extend(unmade.text());
        Ok(())
    }

    fn create_clauses(&self) -> String {
        let like = self.old.as_ref().unwrap_or(&self.target.recorded);
        let mut clauses = database_clauses(like, &self.version);
        if !self.settings.owner.is_empty() && !self.target.no_owner {
            clauses.push_str(&format!(" OWNER {}", quote_ident(&self.settings.owner)));
        }
        if self.settings.tablespace != "pg_default" && self.old.is_some() {
            clauses.push_str(&format!(
                " TABLESPACE {}",
                quote_ident(&self.settings.tablespace)
            ));
        }
        clauses
    }

    fn client_programs(&self) -> ClientPrograms<'_> {
        ClientPrograms {
            search: &self.target.search,
            reached: &self.session.reached,
            server: None,
            version: self.version.clone(),
        }
    }

    /// Counts the new database and analyses its tables, so that its first queries are planned well.
    fn count_new_database(&mut self, expected: Option<&Manifest>) -> Result<Vec<Check>> {
        let name = self.new_database_name()?;
        // Both read everything; a server has more than one core.
        let (reached, version) = (self.session.reached.clone(), self.version.clone());
        let clients = ClientPrograms {
            search: &self.target.search,
            reached: &reached,
            server: None,
            version,
        };
        let (counted, analysed) = std::thread::scope(|scope| {
            let analysing = scope.spawn(|| clients.analyse(&name));
            (
                clients.count_tables(&name),
                analysing
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let counted = counted?;
        self.warnings.extend(analysed?);
        let expected = expected
            .filter(|manifest| !manifest.tables.is_empty())
            .map(|manifest| super::restore_list::select_tables(manifest, &self.target.tables));
        let rows = match &expected {
            Some(manifest) => compare_manifest(manifest, &counted),
            None => check_rows(None, counted),
        };
        Ok(vec![rows])
    }
}

/// Opens a session with the server, in its maintenance database.
fn connect_to_server(conn: &ConnInfo) -> Result<PostgresSession> {
    let connected = conn
        .with_database(leftovers::maintenance_database(conn.dbname()))
        .connect();
    connected.or_else(|error| conn.with_database("template1").connect().map_err(|_| error))
}

impl Destination for PostgresDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        // Several jobs can read an archive that is in a file. Without the space it is streamed into
        // the new database, with one job.
        let space = durable::free_space(&self.target.scratch_dir).unwrap_or(0);
        let whole = self.target.in_place || !self.target.tables.is_empty();
        if !self.target.in_place {
            self.create_database()?;
        }
        if !whole && space < self.target.content_size.saturating_add(64 << 20) {
            return self.fill(DumpInput::Stream(content));
        }
        let prefix = crate::engine::sqlite::source::SCRATCH_PREFIX;
        let scratch = Scratch::new(
            &self.target.scratch_dir,
            prefix,
            self.target.content_size,
            "the decoded dump",
        )?;
        let path = scratch.join("content");
        self.scratch = Some(scratch);
        drill::write_content(content, &path)
    }

    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>> {
        self.expected = expected.cloned();
        match self.content_path() {
            Some(path) if self.target.in_place => {
                let mut content =
                    super::content::DumpContentCheck::new(self.target.format, &self.target.search);
                content.receive(&mut std::fs::File::open(path)?)?;
                content.check(expected, depth)
            }
            Some(path) => {
                self.fill(DumpInput::File(&path))?;
                self.count_new_database(expected)
            }
            None => self.count_new_database(expected),
        }
    }

    fn publish(&mut self, keep: Keep<'_>) -> Result<Published> {
        let name = self.target.conn.dbname().to_owned();
        if self.target.in_place {
            let Some(path) = self.content_path() else {
                return Err(Error::failed("nothing was received"));
            };
            let options = self.restore_options();
            let inside = in_place::InPlaceRestore {
                database: &name,
                clients: &self.client_programs(),
                format: self.target.format,
                pg_dump_major: self.target.pg_dump_major,
                options,
                expected: self.expected.as_ref(),
                old: &self.old_database_plan(Duration::from_secs(300))?,
            };
            return inside.publish(&path, keep);
        }
        let Some(new) = self.new.as_mut() else {
            return Err(Error::failed("nothing was restored"));
        };
        let mut client = connect_to_maintenance(&self.session.reached, &name)?;
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(apply_settings(&mut client, new.name(), &self.settings));
        let swapped = swap::NameSwap {
            reached: &self.session.reached,
            new: new.name(),
            name: &name,
            replaces: self.old.is_some(),
            stamp: &self.target.stamp,
            settings: &self.settings,
        };
        let kept = swapped.carry_out()?;
        new.keep();
        let how = match &kept {
            Some(kept) => format!(
                "a new database took its name; the old one is now `{}`",
                kept.kept
            ),
            None => "the database was made; there was none of that name".to_owned(),
        };
        Ok(Published {
            how,
            database: kept,
            warnings,
            ..Published::default()
        })
    }
}
