//! Fills a new database from a dump and counts its rows, for trial restores and real ones.

use super::connect::{ReachedServer, SAFE_BEGINNING};
use super::counting::{normalize_name, normalize_name_on_one_line};
use super::names;
use super::programs::{PostgresVersion, Program, ProgramSearch};
use super::scan::{ScanResult, scan};
use super::script::{
    CommitFilter, PublicSchemaFilter, RestrictFilter, SettingsFilter, TransactionFilter,
    copy_stream,
};
use super::server::ThrowAwayServer;
use super::toc::Toc;
use super::{PgDumpFormat, explain_error, source, tables};
use crate::engine::{Check, CheckStatus, Locale, Manifest, Table, compare_rows};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::process::{Pipes, Process, Reader, STDERR_KEPT, Writer, confined, in_order};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the content of a dump is read from.
pub enum DumpContent<'a> {
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
    pub format: PgDumpFormat,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub made_by: u32,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// Options of `pg_restore`: `--no-owner`…
    pub options: Vec<String>,
    /// Whether the dump is a part of a database: statements that need the rest may then fail.
    pub part: bool,
}

/// The statements that failed while a part of a database was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedStatements {
    /// Constraints, views and the like, without which the rest is whole.
    pub left_out: Vec<String>,
    /// Statements that create what holds data, or what data needs.
    pub lacking: Vec<String>,
}

impl FailedStatements {
    /// The statements that were left out, in one line; `None` where there are none.
    pub fn text(&self) -> Option<String> {
        let first: Vec<&str> = self.left_out.iter().take(5).map(String::as_str).collect();
        let more = if self.left_out.len() > 5 {
            format!("; and {} more", self.left_out.len() - 5)
        } else {
            String::new()
        };
        (!first.is_empty()).then(|| {
            format!(
                "left out, for they need what the backup does not hold: {}{more}",
                first.join("; ")
            )
        })
    }
}

/// The steps of a transaction around a dump, in this order.
pub struct TransactionSteps<'a> {
    /// Statements that take locks.
    pub hold: &'a str,
    /// Called once the locks are held.
    pub held: &'a mut dyn FnMut() -> Result<()>,
    /// Statements that empty the database.
    pub empty: &'a str,
    /// Called once the database is empty, which is not committed yet.
    pub emptied: &'a mut dyn FnMut() -> Result<()>,
    /// The rows that must be there after the dump.
    pub expected: Option<&'a Manifest>,
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
            confined::keep_alone(&mut command).context("keeping `psql` from starting programs")?;
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
        content: DumpContent<'_>,
    ) -> Result<FailedStatements> {
        match filling.format {
            PgDumpFormat::Plain | PgDumpFormat::Globals => self
                .fill_with_psql(filling, content)
                .map(|()| FailedStatements::default()),
            PgDumpFormat::Custom => {
                let program = self.search.find("pg_restore", filling.made_by)?;
                if program.version.major > self.version.major {
                    return self
                        .fill_with_psql(filling, content)
                        .map(|()| FailedStatements::default());
                }
                self.fill_with_pg_restore(&program, filling, content)
            }
        }
    }

    /// Restores an archive in one transaction with other steps. COMMIT is sent only after
    /// everything before it is known to be complete, so a `psql` that is cut off at any point has
    /// nothing to commit.
    pub fn in_one_transaction(
        &self,
        filling: &FillRequest<'_>,
        archive: &Path,
        steps: TransactionSteps<'_>,
    ) -> Result<(), TransactionError> {
        let token = source::new_session_token();
        let committed = AtomicBool::new(false);
        let done = self.run_transaction(filling, archive, steps, &token, &committed);
        done.map_err(|error| {
            self.terminate_session(filling.database, &token);
            TransactionError {
                error,
                surely: !committed.load(Ordering::Relaxed),
            }
        })
    }

    fn run_transaction(
        &self,
        filling: &FillRequest<'_>,
        archive: &Path,
        steps: TransactionSteps<'_>,
        token: &str,
        committed: &AtomicBool,
    ) -> Result<()> {
        let mut psql = self.psql(filling.database, token, true)?;
        let mut stdin = psql.writer()?;
        let mut answers = BufReader::new(psql.reader(None)?);
        copy_stream(
            &mut format!("\\o /dev/null\n{UNHURRIED}BEGIN;\n{}", steps.hold).as_bytes(),
            &mut stdin,
        )?;
        if !wait_for_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.held)()?;
        let known = self.known_settings(filling.database)?;
        copy_stream(&mut steps.empty.as_bytes(), &mut stdin)?;
        if !wait_for_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.emptied)()?;
        let restriction = RestrictedMode::new();
        copy_stream(&mut restriction.begin().as_bytes(), &mut stdin)?;
        if filling.format == PgDumpFormat::Custom {
            // Within a script of one transaction large objects have no transactions of their own.
            let mut options = filling.options.clone();
            options.push("--single-transaction".to_owned());
            let (renderer, script) = self.start_rendering(filling, &options, Some(archive))?;
            let script = PublicSchemaFilter::new(SettingsFilter::new(script, known));
            copy_stream(
                &mut RestrictFilter::new(CommitFilter::new(script)),
                &mut stdin,
            )?;
            renderer.finish()?;
        } else {
            refuse_forbidden(&scan(&mut open_file(archive)?)?)?;
            let script = PublicSchemaFilter::new(SettingsFilter::new(open_file(archive)?, known));
            copy_stream(
                &mut RestrictFilter::new(TransactionFilter::new(script)),
                &mut stdin,
            )?;
        }
        copy_stream(&mut restriction.end().as_bytes(), &mut stdin)?;
        if let Some(manifest) = steps.expected {
            let counts = count_through_psql(manifest, &mut stdin, &mut answers)?;
            let Some(counted) = counts else {
                return psql.finish().map(drop);
            };
            let check = compare_manifest(manifest, &counted);
            if check.status != CheckStatus::Ok {
                return Err(Error::failed(format!(
                    "the database would not hold what the backup says: {}",
                    check.detail
                )));
            }
        }
        committed.store(true, Ordering::Relaxed);
        copy_stream(&mut b"COMMIT;\n".as_slice(), stdin)?;
        // Status 3 of `psql`: a statement failed, and nothing after it was read.
        psql.finish().map(drop).inspect_err(|error| {
            committed.store(
                !error.message().contains("exit status 3"),
                Ordering::Relaxed,
            )
        })
    }

    /// Runs a script as a whole or not at all.
    pub fn script_in_one_transaction(&self, database: &str, script: &str) -> Result<()> {
        let mut psql = self.psql(database, "dbbackup", false)?;
        let stdin = psql.writer()?;
        copy_stream(
            &mut format!(
                "{}BEGIN;\n{script}\nCOMMIT;\n",
                RestrictedMode::new().begin()
            )
            .as_bytes(),
            stdin,
        )?;
        psql.finish().map(drop)
    }

    /// Ends the session on the server: one that waits for a lock does not notice that its client
    /// has gone.
    fn terminate_session(&self, database: &str, token: &str) {
        let query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                     WHERE application_name = $1";
        if let Ok(mut client) = self.reached.reconnect(database, "dbbackup") {
            let _ = client.execute(query, &[&token]);
        }
    }

    fn fill_with_pg_restore(
        &self,
        program: &Program,
        filling: &FillRequest<'_>,
        content: DumpContent<'_>,
    ) -> Result<FailedStatements> {
        let mut arguments = vec![
            "--no-password".to_owned(),
            self.address(filling.database, "dbbackup"),
        ];
        if !filling.part {
            arguments.push("--exit-on-error".to_owned());
        }
        arguments.extend(filling.options.iter().cloned());
        let process = match content {
            DumpContent::File(path) => {
                arguments.push(format!("--jobs={}", filling.jobs.max(1)));
                arguments.push(path.display().to_string());
                self.start(
                    program,
                    &arguments,
                    Pipes {
                        stdin: false,
                        stdout: false,
                    },
                )?
            }
            DumpContent::Stream(stream) => {
                let mut process = self.start(
                    program,
                    &arguments,
                    Pipes {
                        stdin: true,
                        stdout: false,
                    },
                )?;
                let stdin = process.writer()?;
                copy_stream(stream, stdin)?;
                process
            }
        };
        if !filling.part {
            return process.finish().map(|_| FailedStatements::default());
        }
        match process.finish_and_tell()? {
            (true, _) => Ok(FailedStatements::default()),
            (false, said) => parse_failed_statements(&said),
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

    /// Starts a `psql` that reads a script from its stdin and stops at the first error. The content
    /// of a dump must come after a [`RestrictedMode`].
    fn psql(&self, database: &str, application_name: &str, stdout: bool) -> Result<Process> {
        let program = find_psql(self.search)?;
        let mut arguments: Vec<String> = [
            "--no-psqlrc",
            "--quiet",
            "--no-password",
            "--set=ON_ERROR_STOP=1",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect();
        // This comes before the script: see `SAFE_BEGINNING`.
        arguments.extend([format!("--command={SAFE_BEGINNING}"), "--file=-".to_owned()]);
        arguments.push(self.address(database, application_name));
        self.start(
            &program,
            &arguments,
            Pipes {
                stdin: true,
                stdout,
            },
        )
    }

    fn fill_with_psql(&self, filling: &FillRequest<'_>, content: DumpContent<'_>) -> Result<()> {
        if let DumpContent::File(path) = content {
            // The scan comes before anything of the dump is run.
            refuse_forbidden(&self.scan_dump(filling, path)?)?;
        }
        let psql = self.psql(filling.database, "dbbackup", false)?;
        match (filling.format, content) {
            (PgDumpFormat::Custom, content) => self.fill_with_rendered(filling, content, psql),
            (PgDumpFormat::Globals, DumpContent::Stream(stream)) => feed_dump(psql, stream),
            // The script of a newer `pg_dump` also has settings that the server may not know.
            (_, DumpContent::File(path)) => feed_dump(
                psql,
                SettingsFilter::new(open_file(path)?, self.known_settings(filling.database)?),
            ),
            (_, DumpContent::Stream(stream)) => feed_dump(
                psql,
                SettingsFilter::new(stream, self.known_settings(filling.database)?),
            ),
        }
    }

    /// Scans the script of a dump.
    fn scan_dump(&self, filling: &FillRequest<'_>, path: &Path) -> Result<ScanResult> {
        if filling.format != PgDumpFormat::Custom {
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
        content: DumpContent<'_>,
        psql: Process,
    ) -> Result<()> {
        let known = self.known_settings(filling.database)?;
        let (file, stream) = match content {
            DumpContent::File(path) => (Some(path), None),
            DumpContent::Stream(stream) => (None, Some(stream)),
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
    ) -> Result<(Process, Reader)> {
        let program = self.search.find("pg_restore", filling.made_by)?;
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
    pub fn list_owners(&self, archive: &Path, made_by: u32) -> Result<Vec<String>> {
        let program = self.search.find("pg_restore", made_by)?;
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

/// The statements that make `psql` print a marker on a line of its own. Its other output goes
/// nowhere; rows of a COPY are printed at once.
fn marker_script(word: &str) -> String {
    format!("\\o\nCOPY (SELECT '{word}') TO STDOUT;\n\\o /dev/null\n")
}

/// Waits until `psql` has done everything so far. Returns false where it has ended instead; its
/// exit status tells why.
fn wait_for_mark(stdin: &mut Writer, answers: &mut PsqlOutput) -> Result<bool> {
    copy_stream(&mut marker_script("reached").as_bytes(), stdin)?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    Ok(line.trim() == "reached")
}

/// Counts tables within the transaction of `psql`, which no other session can see. `None` where
/// `psql` ended meanwhile. As everywhere nothing is planned: the rows of a narrow column are copied
/// out and counted here (see [`tables::count_tables`]).
fn count_through_psql(
    manifest: &Manifest,
    stdin: &mut Writer,
    answers: &mut PsqlOutput,
) -> Result<Option<Vec<Table>>> {
    let compared: Vec<&Table> = manifest
        .tables
        .iter()
        .filter(|table| table.compare)
        .collect();
    // No row can be mistaken for it.
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let scripts: Vec<String> = compared
        .iter()
        .map(|table| counting_script(table, &mark))
        .collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        // The answers are read at the same time: a pipe holds only so much.
        let reading = scope.spawn(|| {
            let mut counted = Vec::with_capacity(compared.len());
            for table in &compared {
                let Some(rows) = count_lines_before(&mark, answers)? else {
                    return Ok(None);
                };
                counted.push(Table {
                    rows: Some(rows),
                    ..(*table).clone()
                });
            }
            Ok(Some(counted))
        });
        let poured = copy_stream(&mut scripts.concat().as_bytes(), &mut *stdin);
        let counted = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        poured.and(counted)
    })
}

/// Counts the lines before the marker; `None` where there is no marker. Only the beginning of a
/// line is kept, as it may be a whole document.
fn count_lines_before(mark: &str, answers: &mut PsqlOutput) -> Result<Option<u64>> {
    let (mut lines, mut head) = (0, Vec::new());
    loop {
        let some = answers.fill_buf()?;
        if some.is_empty() {
            return Ok(None);
        }
        let end = memchr::memchr(b'\n', some);
        let here = end.unwrap_or(some.len());
        let wanted = (mark.len() + 1).saturating_sub(head.len()).min(here);
        head.extend_from_slice(&some[..wanted]);
        answers.consume(here + usize::from(end.is_some()));
        if end.is_some() {
            if head == mark.as_bytes() {
                return Ok(Some(lines));
            }
            lines += 1;
            head.clear();
        }
    }
}

/// The script that counts one table. The name comes from a sidecar, which somebody may have forged:
/// nothing but a name is put into the script.
fn counting_script(table: &Table, mark: &str) -> Result<String> {
    let Some(table) = names::QualifiedName::parse(&table.name).map(|name| name.to_string()) else {
        return Err(Error::damaged(format!(
            "the sidecar names a table `{}`, which is no name",
            table.name
        )));
    };
    let name = names::quote_literal(&table);
    Ok(format!(
        "SELECT coalesce((SELECT pg_catalog.format('(%I)', a.attname) FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = {name}::pg_catalog.regclass AND a.attnum > 0 AND NOT \
         a.attisdropped AND a.attgenerated = ''
             {} LIMIT 1), '') AS narrow_column \\gset
         \\o
         COPY {table} :narrow_column TO STDOUT;
         {}",
        tables::NARROWEST_FIRST,
        marker_script(mark)
    ))
}

/// The output of `psql`.
type PsqlOutput = BufReader<Reader>;

/// A transaction that failed.
#[derive(Debug)]
pub struct TransactionError {
    /// The reason.
    pub error: Error,
    /// Whether it was certainly rolled back; otherwise nobody knows.
    pub surely: bool,
}

/// No limit that a role or a database sets may end a session that waits, or keep it from writing. A
/// lock is waited for no longer than this, as others queue behind it.
const UNHURRIED: &str = "SET default_transaction_read_only = off;
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
                         ('statement_timeout', 'lock_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout');
SET lock_timeout = '30s';\n";

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

/// Feeds a program's stdin and waits for its end. The program's own error counts more than that it
/// read no further.
fn feed_program(mut process: Process, stream: &mut dyn Read) -> Result<String> {
    let stdin = process.writer()?;
    copy_stream(stream, stdin)?;
    process.finish()
}

/// Parses the messages of `pg_restore` about the statements that failed. A failure for another
/// reason than that something is missing is an error.
fn parse_failed_statements(said: &str) -> Result<FailedStatements> {
    let mut found = FailedStatements::default();
    let mut told = 0;
    for block in said.split("pg_restore: error: ").skip(1) {
        let block = block.split("\npg_restore: ").next().unwrap_or_default();
        let (error, command) = block.split_once("\nCommand was: ").unwrap_or((block, ""));
        let error = error.lines().next().unwrap_or_default();
        let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
        told += 1;
        // The dump of the schema `public` alone contains this statement, and a new database has the
        // schema.
        if error.ends_with("schema \"public\" already exists") && command == "CREATE SCHEMA public;"
        {
            continue;
        }
        let for_want = error.starts_with("could not execute query: ERROR: ")
            && (error.ends_with(" does not exist")
                || error.contains(" violates foreign key constraint "));
        if !for_want {
            return Err(Error::failed(format!("`pg_restore` failed: {error}")));
        }
        let command: String = command.trim_end_matches(';').chars().take(200).collect();
        // Statements that only follow from another one that is reported.
        let follows = [" OWNER TO ", "COMMENT ON ", "GRANT ", "REVOKE ", "REFRESH "];
        if follows.iter().any(|word| {
            command.starts_with(word) || word.starts_with(' ') && command.contains(word)
        }) {
            continue;
        }
        let holds_data = [
            "CREATE TABLE ",
            "CREATE TYPE ",
            "CREATE DOMAIN ",
            "CREATE SEQUENCE ",
            "CREATE FOREIGN TABLE ",
        ];
        let list = if holds_data.iter().any(|word| command.starts_with(word)) {
            &mut found.lacking
        } else {
            &mut found.left_out
        };
        list.push(format!(
            "{command} ({})",
            error
                .trim_start_matches("could not execute query: ERROR: ")
                .trim_start()
        ));
    }
    // With several jobs its own count differs from that of its errors. But without that line it did
    // not go on to the end.
    if told == 0 || !said.contains("errors ignored on restore: ") || said.len() >= STDERR_KEPT {
        return Err(Error::failed(format!(
            "`pg_restore` failed: {}",
            in_order(said)
        )));
    }
    Ok(found)
}

const PSQL: &str = "psql";

/// The mode in which `psql` obeys no command except the one that ends the mode, with a key that is
/// in no dump.
struct RestrictedMode {
    key: String,
}

impl RestrictedMode {
    fn new() -> Self {
        RestrictedMode {
            key: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The line that begins the mode.
    fn begin(&self) -> String {
        format!("\\restrict {}\n", self.key)
    }

    /// The line that ends the mode. Where the dump left a string or a COPY open, the line is part
    /// of that, and what follows fails.
    fn end(&self) -> String {
        format!("\\unrestrict {}\n", self.key)
    }
}

/// Finds a `psql` that has the restricted mode.
pub fn find_psql(search: &ProgramSearch) -> Result<Program> {
    let program = search.find_newest(PSQL)?;
    if supports_restrict(&program.version) {
        return Ok(program);
    }
    Err(Error::failed(format!(
        "psql {} can't be kept from obeying commands in a dump",
        program.version
    ))
    .hint("install the newest minor release of the PostgreSQL client programs"))
}

/// Whether this `psql` has that mode, which the minor releases of August 2025 brought.
fn supports_restrict(version: &PostgresVersion) -> bool {
    let first = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];
    match first.iter().find(|(major, _)| *major == version.major) {
        Some((_, minor)) => version.minor >= *minor,
        None => version.major > 17,
    }
}

/// Feeds a dump's script to `psql`. The restricted mode is not enough by itself: the argument of
/// `\unrestrict` may start a program before the key is compared. So `psql` is also kept from
/// starting programs, and a dump in a file was scanned before.
fn feed_dump(psql: Process, script: impl Read) -> Result<()> {
    let restrict = RestrictedMode::new().begin();
    let refused = |error: Error| match error
        .message()
        .contains("backslash commands are restricted")
    {
        true => Error::damaged(format!(
            "the dump holds a command of psql that pg_dump does not write: {error}"
        )),
        false => error,
    };
    feed_program(
        psql,
        &mut restrict
            .as_bytes()
            .chain(RestrictFilter::new(PublicSchemaFilter::new(script))),
    )
    .map(drop)
    .map_err(refused)
}

/// Fails unless the script holds only what `pg_dump` writes, for a single database.
fn refuse_forbidden(scanned: &ScanResult) -> Result<()> {
    if let Some(forbidden) = &scanned.forbidden {
        return Err(
            Error::damaged(format!("the dump is not as pg_dump writes it: {forbidden}"))
                .hint("somebody has changed it: look at that line, and restore another backup"),
        );
    }
    match scanned.connects {
        Some(line) => Err(
            Error::failed(format!("{ELSEWHERE} (`\\connect`, line {line})"))
                .hint("feed it to `psql` by hand, once you know what it makes"),
        ),
        None => Ok(()),
    }
}

/// The error for a script that goes on in another database.
pub const ELSEWHERE: &str = "the script goes on in a database that it names itself";

/// The clauses of `CREATE DATABASE` for the encoding and the locale of the database that was
/// dumped, as far as `version` supports them.
pub fn locale_clauses(encoding: &str, locale: &Locale, version: &PostgresVersion) -> String {
    let word = names::quote_literal;
    let mut text = format!(" ENCODING {}", word(encoding));
    let collation = format!(
        " LC_COLLATE {} LC_CTYPE {}",
        word(&locale.collate),
        word(&locale.ctype)
    );
    match (locale.provider.as_str(), &locale.locale) {
        ("i", Some(icu)) if version.major >= 15 => {
            text.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", word(icu)));
            if let Some(rules) = locale.icu_rules.as_ref().filter(|_| version.major >= 16) {
                text.push_str(&format!(" ICU_RULES {}", word(rules)));
            }
        }
        ("b", Some(builtin)) if version.major >= 17 => {
            text.push_str(&format!(
                " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}",
                word(builtin)
            ));
        }
        _ if version.major >= 15 => text.push_str(" LOCALE_PROVIDER libc"),
        _ => {}
    }
    text + &collation
}

/// Compares tables by the meaning of their names: versions of servers and programs quote a few
/// words differently, and some places show names on one line.
pub fn compare_manifest(expected: &Manifest, found: &[Table]) -> Check {
    let parsed = |table: &Table| Table {
        name: normalize_name(&table.name),
        ..table.clone()
    };
    let found: Vec<Table> = found.iter().map(parsed).collect();
    let there: HashSet<&str> = found.iter().map(|table| table.name.as_str()).collect();
    let as_there = |table: &Table| {
        let exact = normalize_name(&table.name);
        // Two names may coincide on one line, so that form comes second.
        let name = if there.contains(exact.as_str()) {
            exact
        } else {
            normalize_name_on_one_line(&table.name)
        };
        Table {
            name,
            ..table.clone()
        }
    };
    let expected = Manifest {
        tables: expected.tables.iter().map(as_there).collect(),
        rows_total: expected.rows_total,
        tree: None,
    };
    compare_rows(&expected, &found)
}

/// Whether a failure was caused by the machine, the connection or an interruption, and so says
/// nothing about the dump.
pub fn is_machine_failure(error: &Error) -> bool {
    let text = error.message();
    let words = [
        "killed by signal",
        "out of memory",
        "out of shared memory",
        "No space left on device",
        "Disk quota exceeded",
        "server closed the connection",
        "terminating connection",
        "connection to server",
        "could not connect",
        "too many clients",
        "too many connections",
        "canceling statement",
        "PANIC:",
        "the database system is",
        "could not fork",
        "Resource temporarily unavailable",
    ];
    error.kind() == crate::error::Kind::Interrupted
        || words.iter().any(|words| text.contains(words))
}

/// The remedy for the failure of a program that filled a database; `None` where none is known.
pub fn find_remedy(error: &Error) -> Option<&'static str> {
    let text = error.message();
    let known = [
        (
            "canceling statement due to lock timeout",
            "another session holds a lock there for long: end it, then restore again",
        ),
        (
            "out of shared memory",
            "raise max_locks_per_transaction on the server: there are more tables than its lock \
             table holds",
        ),
        (
            "No space left on device",
            "free some space where the server keeps its data",
        ),
        (
            "invalid command \\restrict",
            "install the newest minor release of the PostgreSQL client programs",
        ),
        (
            "unsupported version",
            "install newer client programs, or set `bin_dir`",
        ),
        (
            "permission denied",
            "restore as the owner of everything in the dump, or as a superuser; `--no-owner` gives \
             all of it to you",
        ),
        ("must be superuser", "restore as a superuser"),
        (
            "must be owner",
            "restore as a superuser, or with `--no-owner`",
        ),
    ];
    known
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, hint)| *hint)
}
