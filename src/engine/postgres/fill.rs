//! Fills a new database from a dump and counts its rows, for trial restores and real ones.

mod comparison;
mod failed_statements;
mod failure;
mod pg_restore;
mod psql;
mod transaction;

use super::connect::ReachedServer;
use super::programs::{PostgresVersion, Program, ProgramSearch};
use super::scan::{ScanResult, scan};
use super::script::{SettingsFilter, copy_stream};
use super::server::ThrowAwayServer;
use super::toc::Toc;
use super::{PgFormat, explain_error, names, tables};
use crate::engine::Table;
use crate::error::{Context, Result};
use crate::interrupt;
use crate::process::{ChildReader, Pipes, Process, confined};
use psql::{PSQL, feed_dump, refuse_forbidden};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use comparison::{check_rows, compare_manifest};
pub use failed_statements::FailedStatements;
pub use failure::{find_remedy, is_machine_failure};
pub use psql::find_psql;
pub use transaction::{TransactionError, TransactionSteps};

/// Where the content of a dump is read from.
pub enum DumpInput<'a> {
    /// A file, which several jobs can read at once.
    File(&'a Path),
    /// A stream.
    Stream(&'a mut dyn Read),
}

/// The client programs for one server.
pub struct ClientPrograms<'a> {
    /// Where the programs are looked for.
    pub search: &'a ProgramSearch,
    /// The server.
    pub reached: &'a ReachedServer,
    /// The throw-away server, as whose user the programs then run.
    pub server: Option<&'a ThrowAwayServer>,
    /// The server's version.
    pub version: PostgresVersion,
}

/// A database to be filled, and how.
#[derive(Debug, Clone)]
pub struct FillRequest<'a> {
    /// The database.
    pub database: &'a str,
    /// The dump's format.
    pub format: PgFormat,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub pg_dump_major: u32,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// Options of `pg_restore`: `--no-owner`…
    pub options: Vec<String>,
    /// Whether the dump is a part of a database: statements that need the rest may then fail.
    pub part: bool,
}

impl ClientPrograms<'_> {
    fn start(&self, program: &Program, arguments: &[String], pipes: Pipes) -> Result<Process> {
        // `psql` starts programs where a script asks for it. The others start themselves again, for
        // jobs.
        let alone = program.name == PSQL;
        if let Some(server) = self.server {
            return server.start_client(
                &program.name,
                program.version.major,
                arguments,
                pipes,
                alone,
            );
        }
        let mut command = program.command(
            &self.reached.environment(),
            ReachedServer::cleared_variables(),
        );
        command.args(arguments);
        // With a prefix this starts another program.
        if alone && !program.is_remote() {
            confined::forbid_processes(&mut command)
                .context("keeping `psql` from starting programs")?;
        }
        Process::start(command, &program.name, self.reached.password(), pipes)
    }

    fn address(&self, database: &str, application_name: &str) -> String {
        format!(
            "--dbname={}",
            self.reached.conninfo(database, application_name)
        )
    }

    /// Fills a database. Everything that goes wrong is an error, except for statements that a part
    /// of a database can't satisfy.
    pub fn fill(
        &self,
        filling: &FillRequest<'_>,
        content: DumpInput<'_>,
    ) -> Result<FailedStatements> {
        match filling.format {
            PgFormat::Plain | PgFormat::Globals => self
                .fill_with_psql(filling, content)
                .map(|()| FailedStatements::default()),
            PgFormat::Custom => {
                let program = self.search.find("pg_restore", filling.pg_dump_major)?;
                if program.version.major > self.version.major {
                    return self
                        .fill_with_psql(filling, content)
                        .map(|()| FailedStatements::default());
                }
                self.fill_with_pg_restore(&program, filling, content)
            }
        }
    }

    /// Creates the extensions of a database whose dump does not create them, as a dump of chosen
    /// schemas does not.
    pub fn create_extensions(
        &self,
        database: &str,
        recorded: &crate::engine::Database,
    ) -> Result<()> {
        if !recorded
            .selected_by
            .iter()
            .any(|option| option.starts_with("--schema="))
        {
            return Ok(());
        }
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        for extension in recorded
            .extensions
            .iter()
            .filter(|extension| extension.name != "plpgsql")
        {
            let name = names::quote_ident(&extension.name);
            let schema = extension
                .schema
                .as_deref()
                .map(names::quote_ident)
                .filter(|schema| schema != "pg_catalog");
            let script = match schema {
                Some(schema) => {
                    format!(
                        "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION IF NOT EXISTS \
                         {name} SCHEMA {schema}"
                    )
                }
                None => format!("CREATE EXTENSION IF NOT EXISTS {name}"),
            };
            let made = client.batch_execute(&script);
            made.map_err(|error| {
                explain_error(
                    &error,
                    format!(
                        "making the extension `{}`, which the backup needs",
                        extension.name
                    ),
                )
            })?;
        }
        Ok(())
    }

    fn fill_with_psql(&self, filling: &FillRequest<'_>, content: DumpInput<'_>) -> Result<()> {
        if let DumpInput::File(path) = content {
            // The scan comes before anything of the dump is run.
            refuse_forbidden(&self.scan_dump(filling, path)?)?;
        }
        let psql = self.start_psql(filling.database, "dbbackup", false)?;
        match (filling.format, content) {
            (PgFormat::Custom, content) => self.fill_with_rendered(filling, content, psql),
            (PgFormat::Globals, DumpInput::Stream(stream)) => feed_dump(psql, stream),
            // The script of a newer `pg_dump` also has settings that the server may not know.
            (_, DumpInput::File(path)) => feed_dump(
                psql,
                SettingsFilter::new(open_file(path)?, self.known_settings(filling.database)?),
            ),
            (_, DumpInput::Stream(stream)) => feed_dump(
                psql,
                SettingsFilter::new(stream, self.known_settings(filling.database)?),
            ),
        }
    }

    /// Scans the script of a dump.
    fn scan_dump(&self, filling: &FillRequest<'_>, path: &Path) -> Result<ScanResult> {
        if filling.format != PgFormat::Custom {
            return scan(&mut open_file(path)?);
        }
        let (renderer, mut script) = self.start_rendering(filling, &filling.options, Some(path))?;
        let scanned = scan(&mut script)?;
        drop(script);
        renderer.finish().map(|_| scanned)
    }

    /// Fills the database with the script that `pg_restore` writes, without the settings that the
    /// server, being older, does not know.
    fn fill_with_rendered(
        &self,
        filling: &FillRequest<'_>,
        content: DumpInput<'_>,
        psql: Process,
    ) -> Result<()> {
        let known = self.known_settings(filling.database)?;
        let (file, stream) = match content {
            DumpInput::File(path) => (Some(path), None),
            DumpInput::Stream(stream) => (None, Some(stream)),
        };
        let (mut renderer, script) = self.start_rendering(filling, &filling.options, file)?;
        let stdin = if stream.is_some() {
            Some(renderer.writer()?)
        } else {
            None
        };
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| feed_dump(psql, SettingsFilter::new(script, known)));
            if let (Some(stdin), Some(stream)) = (stdin, stream) {
                copy_stream(stream, stdin)?;
            }
            let loaded = loading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            loaded.and_then(|_| renderer.finish()).map(drop)
        })
    }

    /// Starts a `pg_restore` that writes the script of an archive. Without a file it reads the
    /// archive from its stdin.
    fn start_rendering(
        &self,
        filling: &FillRequest<'_>,
        options: &[String],
        file: Option<&Path>,
    ) -> Result<(Process, ChildReader)> {
        let program = self.search.find("pg_restore", filling.pg_dump_major)?;
        let mut arguments = vec!["--file=-".to_owned()];
        arguments.extend(options.iter().cloned());
        arguments.extend(file.map(|path| path.display().to_string()));
        let mut renderer = self.start(
            &program,
            &arguments,
            Pipes {
                stdin: file.is_none(),
                stdout: true,
            },
        )?;
        let script = renderer.reader(None)?;
        Ok((renderer, script))
    }

    fn known_settings(&self, database: &str) -> Result<Vec<String>> {
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        let rows = client.query("SELECT name FROM pg_catalog.pg_settings", &[]);
        Ok(rows
            .map_err(|error| explain_error(&error, "listing the server's settings"))?
            .iter()
            .map(|row| row.get(0))
            .collect())
    }

    /// Analyses the tables of a database, so that its first queries are planned well. Foreign
    /// tables, and tables with one among their partitions, are left out, as their servers may be
    /// out of reach. Returns warnings about tables that could not be analysed, which do not make a
    /// restore fail.
    pub fn analyse(&self, database: &str) -> Result<Vec<String>> {
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        let rows = client
            .query(TO_ANALYSE, &[])
            .map_err(|error| explain_error(&error, "listing the tables to analyse"))?;
        let mut failed = Vec::new();
        for row in rows {
            interrupt::check()?;
            let name: String = row.get(0);
            match client.batch_execute(&format!("ANALYZE {name}")) {
                Err(error) if client.is_closed() => {
                    return Err(explain_error(&error, format!("analysing {name}")));
                }
                Err(error) => failed
                    .push(explain_error(&error, format!("{name} could not be analysed")).message()),
                Ok(()) => {}
            }
        }
        Ok(failed)
    }

    /// Lists the roles that own something in an archive.
    pub fn list_owners(&self, archive: &Path, pg_dump_major: u32) -> Result<Vec<String>> {
        let program = self.search.find("pg_restore", pg_dump_major)?;
        let arguments = ["--list".to_owned(), archive.display().to_string()];
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let toc = Toc::parse(
            &self
                .start(&program, &arguments, pipes)?
                .finish_with_output()?,
        )?;
        Ok(toc
            .entries
            .into_iter()
            .map(|entry| entry.owner)
            .filter(|owner| !owner.is_empty())
            .collect())
    }

    /// Counts the rows of every table of a database.
    pub fn count_tables(&self, database: &str) -> Result<Vec<Table>> {
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        tables::count_tables(&mut client, &tables::TableSelection::default(), None)
    }
}

/// A partitioned table is analysed in place of its partitions.
const TO_ANALYSE: &str = r#"
WITH RECURSIVE kin(oid) AS (
    SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'f'
    UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN kin ON kin.oid = i.inhrelid)
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND c.oid NOT IN (SELECT oid FROM kin)
  AND (NOT c.relispartition OR pg_catalog.pg_partition_root(c.oid) IN (SELECT oid FROM kin))
ORDER BY c.oid"#;

fn open_file(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening `{}`", path.display()))
}
