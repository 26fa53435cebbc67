//! A trial restore into a throw-away server on this machine, or into a scratch database of the
//! server at `drill_url`.

mod at_url;
mod judgement;

use super::fill::{ClientPrograms, DumpInput, FillRequest, check_rows};
use super::locale::database_clauses;
use super::names::quote_ident;
use super::programs::{PostgresVersion, ProgramSearch};
use super::roles::strip_grantor;
use super::scan::scan;
use super::server::{Availability, DrillSite, SCRATCH_PREFIX, ThrowAwayServer};
use super::{PgFormat, explain_error, facts};
use crate::durable;
use crate::engine::{
    Check, CheckFinding, CheckSubject, Database, Depth, Destination, Keep, Manifest, Published,
};
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use crate::stream;
use at_url::connect_to_drill_server;
use judgement::{RoleRights, judge_failure};
use postgres::Client;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// The name of the database in a throw-away server.
const DRILL: &str = "drill";

/// The settings of a trial restore.
#[derive(Debug, Clone)]
pub struct DrillPlan {
    /// The dump's format.
    pub format: PgFormat,
    /// The recorded facts of the database: encoding, locale, roles, extensions.
    pub recorded: Database,
    /// The major version of the `pg_dump` that made the dump; 0 where unknown.
    pub pg_dump_major: u32,
    /// Where the programs are.
    pub search: ProgramSearch,
    /// The server to restore to, in place of a throw-away one.
    pub drill_url: Option<String>,
    /// Whether the dump's content may run with the rights of the current user.
    pub trusted: bool,
    /// Places that the content must not even see.
    pub hidden: Vec<PathBuf>,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// The directory for the dump and the throw-away cluster.
    pub scratch_dir: PathBuf,
    /// Bytes of the dump's content.
    pub content_size: u64,
}

/// Whether a trial restore for a server of this version is possible here, and where. No server is
/// started.
pub fn check_availability(
    search: &ProgramSearch,
    drill_url: Option<&str>,
    major: u32,
    place: &DrillSite<'_>,
) -> Result<Availability<String>> {
    let Some(url) = drill_url else {
        return Ok(
            match super::server::check_availability(search, major, place)? {
                Availability::Available(version) => {
                    Availability::Available(format!("in a throw-away server, PostgreSQL {version}"))
                }
                Availability::Unavailable(why) => Availability::Unavailable(why),
            },
        );
    };
    let (_, version) = connect_to_drill_server(url)?;
    Ok(match version.major >= major {
        true => Availability::Available(format!(
            "in a scratch database of the server at `drill_url`, PostgreSQL {version}"
        )),
        false => Availability::Unavailable(format!(
            "the server at `drill_url` is PostgreSQL {version}, older than {major}"
        )),
    })
}

/// A trial restore; nothing is ever published.
pub struct PostgresDrill {
    plan: DrillPlan,
    scratch: Scratch,
}

impl PostgresDrill {
    /// Prepares the scratch directory, in which there must be enough space.
    pub fn new(plan: DrillPlan) -> Result<PostgresDrill> {
        super::server::sweep(&plan.scratch_dir);
        let scratch = Scratch::new(
            &plan.scratch_dir,
            SCRATCH_PREFIX,
            plan.content_size,
            "the decoded dump",
        )?;
        Ok(PostgresDrill { plan, scratch })
    }

    fn content_path(&self) -> PathBuf {
        self.scratch.join("content")
    }

    fn recorded_major(&self) -> u32 {
        let recorded = self
            .plan
            .recorded
            .server_version
            .as_deref()
            .and_then(PostgresVersion::parse);
        recorded.map_or(0, |version| version.major)
    }

    fn restore_into_throw_away_server(&self, expected: Option<&Manifest>) -> Result<Vec<Check>> {
        // The indexes take more than the dump does.
        let needed = self
            .plan
            .recorded
            .size_bytes
            .max(self.plan.content_size)
            .saturating_add(128 << 20);
        let place = DrillSite {
            parent: &self.plan.scratch_dir,
            trusted: self.plan.trusted,
            hidden: &self.plan.hidden,
        };
        let server =
            match ThrowAwayServer::start(&place, needed, self.recorded_major(), &self.plan.search)?
            {
                Availability::Available(server) => server,
                Availability::Unavailable(why) => {
                    let why = CheckFinding::Message(why);
                    return Ok(vec![Check::unprovable(CheckSubject::Restore, why)]);
                }
            };
        // The file goes where a program of another user can read it.
        let file = server.directory().join("content");
        std::fs::rename(self.content_path(), &file)
            .with_context(|| format!("moving the decoded dump to `{}`", file.display()))?;
        server.give_file(&file)?;
        let mut session = server.session("postgres")?;
        let version = facts::read_server_version(&mut session.client)?;
        let clients = ClientPrograms {
            search: &self.plan.search,
            reached: &session.reached,
            server: Some(&server),
            version,
        };
        if self.plan.format == PgFormat::Globals {
            return self.restore_globals(&clients, &file);
        }
        if let Some(check) = self.prepare(&clients, &mut session.client, &file)? {
            return Ok(vec![check]);
        }
        self.restore(&clients, &mut session.client, DRILL, &file, expected)
    }

    /// Creates the roles that the dump names. Returns a check if extensions are missing.
    fn prepare(
        &self,
        clients: &ClientPrograms<'_>,
        client: &mut Client,
        file: &Path,
    ) -> Result<Option<Check>> {
        let mut roles: BTreeSet<String> = self.plan.recorded.roles.iter().cloned().collect();
        if self.plan.format == PgFormat::Custom {
            // The server's own superuser leaves no trace as an owner in the database. If the
            // archive can't be read, its restore reports that.
            roles.extend(
                clients
                    .list_owners(file, self.plan.pg_dump_major)
                    .unwrap_or_default(),
            );
        }
        for role in roles.iter().filter(|role| !role.starts_with("pg_")) {
            // They are superusers here, so that nothing fails for want of a privilege.
            let made = client.batch_execute(&format!(
                "CREATE ROLE {} SUPERUSER NOLOGIN",
                quote_ident(role)
            ));
            made.map_err(|error| {
                explain_error(
                    &error,
                    format!("making the role `{role}` in the throw-away server"),
                )
            })?;
        }
        // A script names its tablespaces; the restore reports those that can't be created. An
        // archive is read without them.
        for tablespace in self
            .plan
            .recorded
            .tablespaces
            .iter()
            .filter(|_| self.plan.format == PgFormat::Plain)
        {
            let _ = client.batch_execute("SET allow_in_place_tablespaces = on");
            let _ = client.batch_execute(&format!(
                "CREATE TABLESPACE {} LOCATION ''",
                quote_ident(tablespace)
            ));
        }
        let missing = missing_extensions(client, &self.plan.recorded)?;
        Ok((!missing.is_empty()).then(|| {
            Check::unprovable(
                CheckSubject::Restore,
                CheckFinding::ExtensionsMissing {
                    extensions: missing,
                    at_drill_url: false,
                },
            )
        }))
    }

    fn restore(
        &self,
        clients: &ClientPrograms<'_>,
        client: &mut Client,
        name: &str,
        file: &Path,
        expected: Option<&Manifest>,
    ) -> Result<Vec<Check>> {
        let clauses = database_clauses(&self.plan.recorded, &clients.version);
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0{clauses}",
            quote_ident(name)
        );
        if let Err(error) = client.batch_execute(&create) {
            let error = explain_error(&error, "making a database like the one that was dumped");
            let why = CheckFinding::Message(error.message());
            return Ok(vec![Check::unprovable(CheckSubject::Restore, why)]);
        }
        let filling = FillRequest {
            database: name,
            format: self.plan.format,
            pg_dump_major: self.plan.pg_dump_major,
            jobs: self.plan.jobs,
            options: vec!["--no-tablespaces".to_owned()],
            part: self.is_partial(),
        };
        let place = format!("PostgreSQL {}", clients.version);
        let restored = match self.fill(clients, &filling, file, place, RoleRights::All)? {
            Ok(restored) => restored,
            Err(check) => return Ok(vec![check]),
        };
        let counted = clients.count_tables(name)?;
        let rows = check_rows(expected, counted);
        Ok(vec![restored, rows])
    }

    fn is_partial(&self) -> bool {
        !self.plan.recorded.selected_by.is_empty()
    }

    /// Fills the database. The inner result is the check of a restore that succeeded, or the only
    /// check of one that failed.
    fn fill(
        &self,
        clients: &ClientPrograms<'_>,
        filling: &FillRequest<'_>,
        file: &Path,
        place: String,
        rights: RoleRights,
    ) -> Result<Result<Check, Check>> {
        let made = clients.create_extensions(filling.database, &self.plan.recorded);
        let unmade = match made.and_then(|()| clients.fill(filling, DumpInput::File(file))) {
            Ok(unmade) => unmade,
            Err(error) => return judge_failure(error, rights, self.is_partial()).map(Err),
        };
        if let Some(first) = unmade.lacking.first() {
            let lacking = CheckFinding::Message(first.clone());
            return Ok(Err(Check::incomplete(CheckSubject::Restore, lacking)));
        }
        let restored = CheckFinding::Restored {
            place,
            left_out: unmade.text(),
        };
        Ok(Ok(Check::ok(CheckSubject::Restore, restored)))
    }

    /// Runs the script without its tablespaces, whose directories belong to the other machine.
    fn restore_globals(&self, clients: &ClientPrograms<'_>, file: &Path) -> Result<Vec<Check>> {
        let script = without_tablespaces(file)?;
        // The numbers of lines are those of the dump, so it is scanned unchanged.
        if let Some(forbidden) = scan(
            &mut std::fs::File::open(file)
                .with_context(|| format!("reading `{}`", file.display()))?,
        )?
        .forbidden
        {
            let forbidden = CheckFinding::Message(forbidden.to_string());
            return Ok(vec![Check::damaged(CheckSubject::Restore, forbidden)]);
        }
        let filling = FillRequest {
            database: "postgres",
            format: PgFormat::Globals,
            pg_dump_major: 0,
            jobs: 1,
            options: Vec::new(),
            part: false,
        };
        match clients.fill(&filling, DumpInput::Stream(&mut script.as_slice())) {
            Ok(_) => Ok(vec![Check::ok(
                CheckSubject::Restore,
                CheckFinding::RolesRestored,
            )]),
            Err(error) => judge_failure(error, RoleRights::All, false).map(|check| vec![check]),
        }
    }
}

impl Destination for PostgresDrill {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        write_content(content, &self.content_path())
    }

    fn check(&mut self, expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        match &self.plan.drill_url {
            Some(_) if self.plan.format == PgFormat::Globals => Ok(vec![Check::unprovable(
                CheckSubject::Restore,
                CheckFinding::RolesNotTried,
            )]),
            Some(url) => self.restore_at_drill_url(url, expected),
            None => self.restore_into_throw_away_server(expected),
        }
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        Err(Error::failed("a trial restore has no place to go to"))
    }
}

/// Writes the content to a new file, which is temporary and so need not be durable.
pub fn write_content(content: &mut dyn Read, path: &Path) -> Result<()> {
    let mut file = durable::create_new(path)?;
    stream::for_each_block(content, |block| {
        file.write_all(block)
            .with_context(|| format!("writing `{}`", path.display()))
    })
}

/// The extensions of a database that a server does not have.
pub fn missing_extensions(client: &mut Client, recorded: &Database) -> Result<Vec<String>> {
    let there = client.query(
        "SELECT name::text FROM pg_catalog.pg_available_extensions",
        &[],
    );
    let there: Vec<String> = there
        .map_err(|error| explain_error(&error, "listing the extensions"))?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let missing = recorded
        .extensions
        .iter()
        .map(|extension| extension.name.clone())
        .filter(|name| !there.contains(name));
    Ok(missing.collect())
}

/// The script of roles without the lines about tablespaces; `pg_dumpall` writes each statement on
/// one line.
fn without_tablespaces(file: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading `{}`", file.display());
    let lines = BufReader::new(std::fs::File::open(file).with_context(context)?).split(b'\n');
    let mut kept = Vec::new();
    for line in lines {
        let line = line.with_context(context)?;
        let text = String::from_utf8_lossy(&line);
        let of_tablespace = [
            "CREATE TABLESPACE ",
            "ALTER TABLESPACE ",
            "COMMENT ON TABLESPACE ",
        ]
        .iter()
        .any(|head| text.starts_with(head))
            || ["GRANT ", "REVOKE "]
                .iter()
                .any(|head| text.starts_with(head))
                && text.contains(" ON TABLESPACE ");
        if !of_tablespace {
            // The grantor of a membership is this server's own superuser, not the other server's.
            let line = if text.starts_with("GRANT ") {
                strip_grantor(&text).into_bytes()
            } else {
                line
            };
            kept.extend_from_slice(&line);
            kept.push(b'\n');
        }
    }
    Ok(kept)
}
