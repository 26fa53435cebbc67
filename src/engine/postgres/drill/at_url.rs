//! A trial restore into a scratch database of the server at `drill_url`.

use super::judgement::RoleRights;
use super::{PostgresDrill, missing_extensions};
use crate::engine::postgres::connect::PostgresSession;
use crate::engine::postgres::conninfo::{ConnInfo, ConnectionSpec};
use crate::engine::postgres::fill::{ClientPrograms, FillRequest, check_rows};
use crate::engine::postgres::leftovers::{self, ScratchDatabase};
use crate::engine::postgres::locale::locale_clauses;
use crate::engine::postgres::programs::PostgresVersion;
use crate::engine::postgres::{PgFormat, explain_error, facts};
use crate::engine::{Check, CheckFinding, CheckSubject, Manifest};
use crate::error::{Context, Error, Result};

/// The options of `pg_restore` for a role that may do little on the server.
const PG_RESTORE_OPTIONS: [&str; 4] = [
    "--no-tablespaces",
    "--no-owner",
    "--no-privileges",
    "--no-subscriptions",
];

/// Connects to the server at `drill_url`, where the role must not be able to do everything, and
/// reads its version.
pub(super) fn connect_to_drill_server(url: &str) -> Result<(PostgresSession, PostgresVersion)> {
    let spec = ConnectionSpec {
        url: Some(url.to_owned()),
        ..ConnectionSpec::default()
    };
    let connected = ConnInfo::resolve(&spec, &|name| std::env::var(name).ok())
        .and_then(|conn| conn.with_application_name("dbbackup").connect());
    let mut session = connected.context("`drill_url`")?;
    let row = session.client.query_one(HAS_SERVER_RIGHTS, &[]);
    if row
        .map_err(|error| explain_error(&error, "asking for the role's privileges"))?
        .get(0)
    {
        return Err(Error::usage(
            "`drill_url` connects as a superuser, or as a role that can become one: what a dump \
             brings could do anything there",
        )
        .with_hint("use a role that has CREATEDB and nothing else"));
    }
    let version = facts::read_server_version(&mut session.client)?;
    Ok((session, version))
}

impl PostgresDrill {
    pub(super) fn restore_at_drill_url(
        &self,
        url: &str,
        expected: Option<&Manifest>,
    ) -> Result<Vec<Check>> {
        let (mut session, version) = connect_to_drill_server(url)?;
        if version.major < self.recorded_major() {
            let too_old = CheckFinding::ServerTooOld {
                server: version.to_string(),
                dump: self.recorded_major(),
            };
            return Ok(vec![Check::unprovable(CheckSubject::Restore, too_old)]);
        }
        let missing = missing_extensions(&mut session.client, &self.plan.recorded)?;
        if !missing.is_empty() {
            let missing = CheckFinding::ExtensionsMissing {
                extensions: missing,
                at_drill_url: true,
            };
            return Ok(vec![Check::unprovable(CheckSubject::Restore, missing)]);
        }
        leftovers::sweep(&mut session)?;
        let scratch = ScratchDatabase::new(&session, "dbbackup_drill")?;
        let reached = session.reached.clone();
        let clients = ClientPrograms {
            search: &self.plan.search,
            reached: &reached,
            server: None,
            version,
        };
        let options = if self.plan.format == PgFormat::Custom {
            PG_RESTORE_OPTIONS.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        };
        self.restore_into(&clients, &mut session, scratch, options, expected)
    }

    fn restore_into(
        &self,
        clients: &ClientPrograms<'_>,
        session: &mut PostgresSession,
        mut scratch: ScratchDatabase,
        options: Vec<String>,
        expected: Option<&Manifest>,
    ) -> Result<Vec<Check>> {
        let encoding = self.plan.recorded.encoding.as_deref().unwrap_or("UTF8");
        let clauses = self
            .plan
            .recorded
            .locale
            .as_ref()
            .map_or(String::new(), |locale| {
                locale_clauses(encoding, locale, &clients.version)
            });
        if let Err(error) = scratch.create(&mut session.client, &clauses) {
            let why = CheckFinding::Message(error.message());
            return Ok(vec![Check::unprovable(CheckSubject::Restore, why)]);
        }
        let filling = FillRequest {
            database: scratch.name(),
            format: self.plan.format,
            pg_dump_major: self.plan.pg_dump_major,
            jobs: self.plan.jobs,
            options,
            part: self.is_partial(),
        };
        let place = format!("a scratch database of PostgreSQL {}", clients.version);
        let restored = match self.fill(
            clients,
            &filling,
            &self.content_path(),
            place,
            RoleRights::Few,
        )? {
            Ok(restored) => restored,
            Err(check) => return Ok(vec![check]),
        };
        let counted = clients.count_tables(scratch.name())?;
        let rows = check_rows(expected, counted);
        Ok(vec![restored, rows])
    }
}

/// Whether a role has all rights on its server, by itself or as a member of another role.
const HAS_SERVER_RIGHTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE \
                      pg_catalog.pg_has_role(r.oid, 'MEMBER')
    AND (r.rolsuper OR r.rolname IN ('pg_execute_server_program', 'pg_write_server_files', \
                      'pg_read_server_files')))";
