//! A restore of a real database: into a new one, counted there, and only then both names are
//! swapped in one transaction. The old database stays, under another name; until the swap it is in
//! service, untouched.

use super::connect::Session;
use super::conninfo::{ConnInfo, Spec};
use super::fill::{Clients, Content, Filling, compare, locale_clauses, remedy};
use super::leftovers::{self, ScratchDatabase, maintenance};
use super::names::{quote_ident, quote_literal};
use super::programs::{Search, Version};
use super::source::Plan;
use super::{Format, drill, explain, facts, in_place, obstacles, swap};
use crate::durable;
use crate::engine::{
    Check, Database, Depth, Destination, Keep, Locale, Manifest, Published, Settings,
};
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use postgres::Client;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Where a restore puts a database, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server, and the database by its name there.
    pub conn: ConnInfo,
    /// What the backup knew of the database.
    pub recorded: Database,
    /// The dump's format.
    pub format: Format,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub made_by: u32,
    /// Where the programs are.
    pub search: Search,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// Everything is to belong to the role that restores, without privileges for others.
    pub no_owner: bool,
    /// Everything goes into the database's own tablespace.
    pub no_tablespaces: bool,
    /// Roles that a step before this one makes.
    pub roles_to_come: Vec<String>,
    /// Into the old database itself, in one transaction.
    pub in_place: bool,
    /// Only these tables.
    pub tables: Vec<String>,
    /// Names what is set aside, as `20261120T020000Z`.
    pub stamp: String,
    /// For the decoded dump.
    pub scratch_dir: PathBuf,
    /// Bytes of the dump's content.
    pub content_size: u64,
}

/// See the head of this file.
pub struct PostgresDestination {
    target: Target,
    session: Session,
    version: Version,
    /// The database that has the name now.
    old: Option<Database>,
    scratch: Option<Scratch>,
    new: Option<ScratchDatabase>,
    /// Where the database's own settings come from.
    settings: Settings,
    expected: Option<Manifest>,
    warnings: Vec<String>,
}

impl PostgresDestination {
    /// Connects, and finds whatever would keep the restore from succeeding before any work is done.
    pub fn open(target: Target) -> Result<PostgresDestination> {
        let name = target.conn.dbname().to_owned();
        let mut session = server(&target.conn)?;
        let version = facts::version(&mut session.client)?;
        if facts::on_standby(&mut session.client)? {
            return Err(Error::failed(format!(
                "the server of {} is a standby",
                target.conn.place()
            ))
            .with_hint("restore to its primary"));
        }
        let old = match leftovers::exists(&mut session.client, &name)? {
            true => Some(Database {
                host: Some(session.reached.host()),
                port: Some(session.reached.port()),
                ..facts::seen_from_beside(&mut session.client, &version, &name)?
            }),
            false => None,
        };
        if !leftovers::try_lock(&mut session.client, &name)? {
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
        obstacles::to_any_restore(&mut session.client, &target, &settings, &version)?;
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

    /// The database that is there now.
    pub fn old(&self) -> Option<&Database> {
        self.old.as_ref()
    }

    /// Who has written what the restore will run, where this role may do anything and that one may
    /// not.
    pub fn runs_code_of(&mut self) -> Result<Option<String>> {
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
            .map_err(|error| explain(&error, "looking at the roles"))?;
        Ok((row.get::<_, i64>(0) > 0).then(|| owner.clone()))
    }

    /// Finds what would keep the old database from being replaced as it was asked for.
    pub fn look_for_obstacles(&mut self) -> Result<()> {
        match &self.old {
            Some(_) if self.target.in_place => {
                obstacles::to_in_place(&mut self.session.client, self.target.conn.dbname())
            }
            Some(_) => obstacles::to_swap(&mut self.session.client, self.target.conn.dbname()),
            None if self.target.in_place => Err(Error::usage(format!(
                "there is no database `{}` to restore into",
                self.target.conn.dbname()
            ))
            .with_hint("leave `--in-place` out: it is made then")),
            None => Ok(()),
        }
    }

    /// The database that is there now, to be read; a locked table is waited for as long as
    /// `lock_timeout`.
    pub fn old_as_source(&self, lock_timeout: Duration) -> Result<Plan> {
        let reached = &self.session.reached;
        Ok(Plan {
            spec: Spec {
                url: Some(reached.conninfo(self.target.conn.dbname(), "dbbackup")),
                password: reached.password().map(str::to_owned),
                ..Spec::default()
            },
            count: true,
            // What it replaces is a database of the same cluster.
            cluster: self.target.recorded.cluster.clone(),
            lock_timeout,
            stall_timeout: Duration::from_secs(1800),
            search: self.target.search.clone(),
            ..Plan::default()
        })
    }

    fn file(&self) -> Option<PathBuf> {
        self.scratch.as_ref().map(|scratch| scratch.join("content"))
    }

    fn options(&self) -> Vec<String> {
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

    /// Makes the new database, empty: what keeps it from being made is known before the whole dump
    /// is read.
    fn make(&mut self) -> Result<()> {
        let mut new = ScratchDatabase::new(&self.session, self.target.conn.dbname())?;
        let clauses = self.clauses();
        let created = new.create(&mut self.session.client, &clauses);
        self.new = Some(new);
        created.map_err(|error| {
            error.with_hint(
                "the role needs CREATEDB, and must be a member of the old owner; \
                        `--no-owner` does without that",
            )
        })
    }

    fn new_name(&self) -> Result<String> {
        self.new
            .as_ref()
            .map(|new| new.name().to_owned())
            .ok_or_else(|| Error::failed("nothing was restored"))
    }

    fn fill(&mut self, content: Content<'_>) -> Result<()> {
        let name = self.new_name()?;
        let mut options = self.options();
        if let (Content::File(path), false) = (&content, self.target.tables.is_empty()) {
            let (part, option) = super::parts::part_for(&self.target, path)?;
            options.push(option);
            let lost = part.lost_foreign_keys.iter();
            self.warnings.extend(lost.map(|key| {
                format!(
                    "the foreign key {key} was left out, for the table that it \
                                        points to is not restored"
                )
            }));
        }
        let filling = Filling {
            database: &name,
            format: self.target.format,
            made_by: self.target.made_by,
            jobs: self.target.jobs,
            options,
            part: !self.target.recorded.selected_by.is_empty(),
        };
        let clients = self.clients();
        let filled = clients
            .make_extensions(&name, &self.target.recorded)
            .and_then(|()| clients.fill(&filling, content));
        let unmade = filled.map_err(|error| match remedy(&error) {
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

    fn clauses(&self) -> String {
        let like = self.old.as_ref().unwrap_or(&self.target.recorded);
        let encoding = like.encoding.as_deref().unwrap_or("UTF8");
        let mut clauses = match &like.locale {
            Some(locale) => locale_clauses(encoding, locale, &self.version),
            None => locale_clauses(
                encoding,
                &Locale {
                    provider: "c".into(),
                    collate: "C".into(),
                    ctype: "C".into(),
                    ..Locale::default()
                },
                &self.version,
            ),
        };
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

    fn clients(&self) -> Clients<'_> {
        Clients {
            search: &self.target.search,
            reached: &self.session.reached,
            server: None,
            version: self.version.clone(),
        }
    }

    /// Counts the new database and has the server look at its tables, so that its first queries are
    /// planned well.
    fn examine(&mut self, expected: Option<&Manifest>) -> Result<Vec<Check>> {
        let name = self.new_name()?;
        // Both read all of it; a server has more cores than one.
        let (reached, version) = (self.session.reached.clone(), self.version.clone());
        let clients = Clients {
            search: &self.target.search,
            reached: &reached,
            server: None,
            version,
        };
        let (counted, analysed) = std::thread::scope(|scope| {
            let analysing = scope.spawn(|| clients.analyse(&name));
            (
                clients.count(&name),
                analysing
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let counted = counted?;
        self.warnings.extend(analysed?);
        let expected = expected
            .filter(|manifest| !manifest.tables.is_empty())
            .map(|manifest| super::parts::of_tables(manifest, &self.target.tables));
        let rows = match &expected {
            Some(manifest) => compare(manifest, &counted),
            None => {
                let rows = crate::units::count(Manifest::of(counted).rows_total, "row");
                Check::ok("rows", format!("{rows}, nothing to compare them with"))
            }
        };
        Ok(vec![rows])
    }
}

/// A session with the server, in its maintenance database.
fn server(conn: &ConnInfo) -> Result<Session> {
    let connected = conn
        .with_database(leftovers::beside(conn.dbname()))
        .connect();
    connected.or_else(|error| conn.with_database("template1").connect().map_err(|_| error))
}

impl Destination for PostgresDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        // With the whole archive in a file several jobs can read it; without the space it goes
        // straight into the new database, with one.
        let space = durable::free_space(&self.target.scratch_dir).unwrap_or(0);
        let whole = self.target.in_place || !self.target.tables.is_empty();
        if !self.target.in_place {
            self.make()?;
        }
        if !whole && space < self.target.content_size.saturating_add(64 << 20) {
            return self.fill(Content::Stream(content));
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
        drill::receive(content, &path)
    }

    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>> {
        self.expected = expected.cloned();
        match self.file() {
            Some(path) if self.target.in_place => {
                let mut content =
                    super::content::ContentCheck::new(self.target.format, &self.target.search);
                content.receive(&mut std::fs::File::open(path)?)?;
                content.check(expected, depth)
            }
            Some(path) => {
                self.fill(Content::File(&path))?;
                self.examine(expected)
            }
            None => self.examine(expected),
        }
    }

    fn publish(&mut self, keep: Keep<'_>) -> Result<Published> {
        let name = self.target.conn.dbname().to_owned();
        if self.target.in_place {
            let Some(path) = self.file() else {
                return Err(Error::failed("nothing was received"));
            };
            let options = self.options();
            let inside = in_place::InPlace {
                database: &name,
                clients: &self.clients(),
                format: self.target.format,
                made_by: self.target.made_by,
                options,
                expected: self.expected.as_ref(),
                old: &self.old_as_source(Duration::from_secs(300))?,
            };
            return inside.publish(&path, keep);
        }
        let Some(new) = self.new.as_mut() else {
            return Err(Error::failed("nothing was restored"));
        };
        let mut client = maintenance(&self.session.reached, &name)?;
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(apply(&mut client, new.name(), &self.settings));
        let swapped = swap::Swap {
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

/// Gives the new database what belongs to the database itself; its comment, by which a run that is
/// killed now is known, stays until the swap. What this role may not set is told, not fatal.
fn apply(client: &mut Client, name: &str, settings: &Settings) -> Vec<String> {
    let database = quote_ident(name);
    let mut warnings = Vec::new();
    let mut run = |sql: String, what: &str| {
        if let Err(error) = client.batch_execute(&sql) {
            warnings.push(
                explain(
                    &error,
                    format!("{what} could not be given to the new database"),
                )
                .message(),
            );
        }
    };
    for set in &settings.set {
        let whom = match &set.role {
            Some(role) => format!("ROLE {} IN DATABASE {database}", quote_ident(role)),
            None => format!("DATABASE {database}"),
        };
        run(
            format!(
                "ALTER {whom} SET {} TO {}",
                quote_setting(&set.name),
                setting_value(&set.name, &set.value)
            ),
            &format!("`{}`", set.name),
        );
    }
    for label in &settings.security_labels {
        let text = quote_literal(&label.label);
        run(
            format!(
                "SECURITY LABEL FOR {} ON DATABASE {database} IS {text}",
                quote_ident(&label.provider)
            ),
            "a security label",
        );
    }
    warnings
}

/// Parts of a custom parameter's name are identifiers of their own.
fn quote_setting(name: &str) -> String {
    name.split('.')
        .map(quote_ident)
        .collect::<Vec<_>>()
        .join(".")
}

/// A list is stored as it is written, its elements quoted where they must be; any other value is
/// one literal.
fn setting_value(name: &str, value: &str) -> String {
    const LISTS: [&str; 7] = [
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "DateStyle",
        "unix_socket_directories",
    ];
    let list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) && !value.is_empty();
    if list {
        elements(value)
            .iter()
            .map(|element| quote_literal(element))
            .collect::<Vec<_>>()
            .join(", ")
    } else {
        quote_literal(value)
    }
}

/// The elements of `"$user", public`.
fn elements(list: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = found.len() - 1;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                found[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            ' ' | '\t' if !quoted => {}
            _ => found[last].push(letter),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_elements() {
        assert_eq!(
            setting_value("search_path", r#""$user", public, "a ""b"", c""#),
            r#"'$user', 'public', 'a "b", c'"#
        );
        assert_eq!(setting_value("search_path", r#""""#), "''");
        assert_eq!(setting_value("work_mem", "64MB"), "'64MB'");
        assert_eq!(quote_setting("my.thing"), "my.thing");
    }
}
