//! Filling a new database from a dump, and counting what is in it then: for trial restores and real
//! ones.

use super::connect::{Reached, SAFE_BEGINNING};
use super::counting::{canonical_name, parsed_name};
use super::names;
use super::programs::{Program, Search, Version};
use super::scan::{Scanned, scan};
use super::script::{
    Filtered, Unrestricted, WithoutCommit, WithoutPublic, WithoutTransactions, pour,
};
use super::server::Server;
use super::toc::Toc;
use super::{Format, explain, source, tables};
use crate::engine::{Check, CheckStatus, Locale, Manifest, Table, compare_rows};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::process::{Pipes, Process, Reader, STDERR_KEPT, Writer, confined, in_order};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the content of a dump is.
pub enum Content<'a> {
    /// In a file, where several jobs can read it at once.
    File(&'a Path),
    /// It comes by.
    Stream(&'a mut dyn Read),
}

/// Client programs, connected to one server.
pub struct Clients<'a> {
    /// Where they are.
    pub search: &'a Search,
    /// The server.
    pub reached: &'a Reached,
    /// A throw-away server, as whose user they then run.
    pub server: Option<&'a Server>,
    /// The server's version.
    pub version: Version,
}

/// What is filled, and how.
#[derive(Debug, Clone)]
pub struct Filling<'a> {
    /// The database.
    pub database: &'a str,
    /// The dump's format.
    pub format: Format,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub made_by: u32,
    /// How many jobs `pg_restore` may use.
    pub jobs: usize,
    /// `pg_restore`'s own options: `--no-owner`…
    pub options: Vec<String>,
    /// It is a part of a database: what needs the rest is left out.
    pub part: bool,
}

/// What could not be made of a part, as the statements that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unmade {
    /// Constraints, views and the like: the rest is whole without them.
    pub left_out: Vec<String>,
    /// What holds data, or what data needs.
    pub lacking: Vec<String>,
}

impl Unmade {
    /// What was left out, in one line; none where nothing was.
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

/// What one transaction does around a dump, in this order.
pub struct Steps<'a> {
    /// Statements that take locks.
    pub hold: &'a str,
    /// Done once they are held.
    pub held: &'a mut dyn FnMut() -> Result<()>,
    /// Statements that empty the database.
    pub empty: &'a str,
    /// Done once it is empty; that is not committed yet.
    pub emptied: &'a mut dyn FnMut() -> Result<()>,
    /// After the dump: what must be inside.
    pub expected: Option<&'a Manifest>,
}

impl Clients<'_> {
    fn start(&self, program: &Program, arguments: &[String], pipes: Pipes) -> Result<Process> {
        // `psql` starts programs where a script tells it to; the others start themselves once more,
        // for jobs.
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
        let mut command = program.command(&self.reached.environment(), Reached::cleared());
        command.args(arguments);
        // Behind a prefix it is another program that is started here.
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

    /// Fills a database; everything that goes wrong is an error, but for what a part can't have.
    pub fn fill(&self, filling: &Filling<'_>, content: Content<'_>) -> Result<Unmade> {
        match filling.format {
            Format::Plain | Format::Globals => {
                self.by_psql(filling, content).map(|()| Unmade::default())
            }
            Format::Custom => {
                let program = self.search.find("pg_restore", filling.made_by)?;
                if program.version.major > self.version.major {
                    return self.by_psql(filling, content).map(|()| Unmade::default());
                }
                self.by_pg_restore(&program, filling, content)
            }
        }
    }

    /// Runs an archive in one transaction with what stands around it. The last word, COMMIT, is
    /// said only after everything before it is known to be complete: a `psql` that is cut off at
    /// any point has nothing to commit.
    pub fn in_one_transaction(
        &self,
        filling: &Filling<'_>,
        archive: &Path,
        steps: Steps<'_>,
    ) -> Result<(), Uncommitted> {
        let token = source::token();
        let committed = AtomicBool::new(false);
        let done = self.one_transaction(filling, archive, steps, &token, &committed);
        done.map_err(|error| {
            self.end_session(filling.database, &token);
            Uncommitted {
                error,
                surely: !committed.load(Ordering::Relaxed),
            }
        })
    }

    fn one_transaction(
        &self,
        filling: &Filling<'_>,
        archive: &Path,
        steps: Steps<'_>,
        token: &str,
        committed: &AtomicBool,
    ) -> Result<()> {
        let mut psql = self.psql(filling.database, token, true)?;
        let mut stdin = psql.writer()?;
        let mut answers = BufReader::new(psql.reader(None)?);
        pour(
            &mut format!("\\o /dev/null\n{UNHURRIED}BEGIN;\n{}", steps.hold).as_bytes(),
            &mut stdin,
        )?;
        if !reaches_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.held)()?;
        let known = self.known_settings(filling.database)?;
        pour(&mut steps.empty.as_bytes(), &mut stdin)?;
        if !reaches_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.emptied)()?;
        let restriction = Restriction::new();
        pour(&mut restriction.begin().as_bytes(), &mut stdin)?;
        if filling.format == Format::Custom {
            // In a script of one transaction large objects have none of their own.
            let mut options = filling.options.clone();
            options.push("--single-transaction".to_owned());
            let (renderer, script) = self.render(filling, &options, Some(archive))?;
            let script = WithoutPublic::new(Filtered::new(script, known));
            pour(
                &mut Unrestricted::new(WithoutCommit::new(script)),
                &mut stdin,
            )?;
            renderer.finish()?;
        } else {
            look_through(&scan(&mut open(archive)?)?)?;
            let script = WithoutPublic::new(Filtered::new(open(archive)?, known));
            pour(
                &mut Unrestricted::new(WithoutTransactions::new(script)),
                &mut stdin,
            )?;
        }
        pour(&mut restriction.end().as_bytes(), &mut stdin)?;
        if let Some(manifest) = steps.expected {
            let counts = count_through_psql(manifest, &mut stdin, &mut answers)?;
            let Some(counted) = counts else {
                return psql.finish().map(drop);
            };
            let check = compare(manifest, &counted);
            if check.status != CheckStatus::Ok {
                return Err(Error::failed(format!(
                    "the database would not hold what the backup says: {}",
                    check.detail
                )));
            }
        }
        committed.store(true, Ordering::Relaxed);
        pour(&mut b"COMMIT;\n".as_slice(), stdin)?;
        // Its status 3: a statement failed, and what comes after it was never read.
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
        pour(
            &mut format!("{}BEGIN;\n{script}\nCOMMIT;\n", Restriction::new().begin()).as_bytes(),
            stdin,
        )?;
        psql.finish().map(drop)
    }

    /// A backend that waits for a lock does not notice that its client has gone.
    fn end_session(&self, database: &str, token: &str) {
        let query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                     WHERE application_name = $1";
        if let Ok(mut client) = self.reached.reconnect(database, "dbbackup") {
            let _ = client.execute(query, &[&token]);
        }
    }

    fn by_pg_restore(
        &self,
        program: &Program,
        filling: &Filling<'_>,
        content: Content<'_>,
    ) -> Result<Unmade> {
        let mut arguments = vec![
            "--no-password".to_owned(),
            self.address(filling.database, "dbbackup"),
        ];
        if !filling.part {
            arguments.push("--exit-on-error".to_owned());
        }
        arguments.extend(filling.options.iter().cloned());
        let process = match content {
            Content::File(path) => {
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
            Content::Stream(stream) => {
                let mut process = self.start(
                    program,
                    &arguments,
                    Pipes {
                        stdin: true,
                        stdout: false,
                    },
                )?;
                let stdin = process.writer()?;
                pour(stream, stdin)?;
                process
            }
        };
        if !filling.part {
            return process.finish().map(|_| Unmade::default());
        }
        match process.finish_and_tell()? {
            (true, _) => Ok(Unmade::default()),
            (false, said) => unmade(&said),
        }
    }

    /// The extensions of a database whose dump does not make them, as one of chosen schemas does
    /// not.
    pub fn make_extensions(
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
                explain(
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

    /// `psql`, reading a script from its stdin; it stops at the first error. What is of a dump must
    /// come behind a [`Restriction`].
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
        // Before anything of the script: see `SAFE_BEGINNING`.
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

    fn by_psql(&self, filling: &Filling<'_>, content: Content<'_>) -> Result<()> {
        if let Content::File(path) = content {
            // Before anything of it is run.
            look_through(&self.scanned(filling, path)?)?;
        }
        let psql = self.psql(filling.database, "dbbackup", false)?;
        match (filling.format, content) {
            (Format::Custom, content) => self.rendered(filling, content, psql),
            (Format::Globals, Content::Stream(stream)) => feed_dump(psql, stream),
            // A script of a newer `pg_dump` has settings, too, that the server may not know.
            (_, Content::File(path)) => feed_dump(
                psql,
                Filtered::new(open(path)?, self.known_settings(filling.database)?),
            ),
            (_, Content::Stream(stream)) => feed_dump(
                psql,
                Filtered::new(stream, self.known_settings(filling.database)?),
            ),
        }
    }

    /// What is in the script of a dump.
    fn scanned(&self, filling: &Filling<'_>, path: &Path) -> Result<Scanned> {
        if filling.format != Format::Custom {
            return scan(&mut open(path)?);
        }
        let (renderer, mut script) = self.render(filling, &filling.options, Some(path))?;
        let scanned = scan(&mut script)?;
        drop(script);
        renderer.finish().map(|_| scanned)
    }

    /// `pg_restore` writes a script, and what the server does not know, being older, is left out of
    /// it.
    fn rendered(&self, filling: &Filling<'_>, content: Content<'_>, psql: Process) -> Result<()> {
        let known = self.known_settings(filling.database)?;
        let (file, stream) = match content {
            Content::File(path) => (Some(path), None),
            Content::Stream(stream) => (None, Some(stream)),
        };
        let (mut renderer, script) = self.render(filling, &filling.options, file)?;
        let stdin = if stream.is_some() {
            Some(renderer.writer()?)
        } else {
            None
        };
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| feed_dump(psql, Filtered::new(script, known)));
            if let (Some(stdin), Some(stream)) = (stdin, stream) {
                pour(stream, stdin)?;
            }
            let loaded = loading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            loaded.and_then(|_| renderer.finish()).map(drop)
        })
    }

    /// `pg_restore`, writing the script of an archive; without a file the archive is read from its
    /// stdin.
    fn render(
        &self,
        filling: &Filling<'_>,
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
            .map_err(|error| explain(&error, "listing the server's settings"))?
            .iter()
            .map(|row| row.get(0))
            .collect())
    }

    /// Has the server look at the tables of a database, so that its first queries are planned well.
    /// Foreign tables, and what has one among its parts, are left out: their servers may be far
    /// away or none. Gives back what could not be looked at; that is no reason to give up a
    /// restore.
    pub fn analyse(&self, database: &str) -> Result<Vec<String>> {
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        let rows = client
            .query(TO_ANALYSE, &[])
            .map_err(|error| explain(&error, "listing the tables to analyse"))?;
        let mut failed = Vec::new();
        for row in rows {
            interrupt::check()?;
            let name: String = row.get(0);
            match client.batch_execute(&format!("ANALYZE {name}")) {
                Err(error) if client.is_closed() => {
                    return Err(explain(&error, format!("analysing {name}")));
                }
                Err(error) => {
                    failed.push(explain(&error, format!("{name} could not be analysed")).message())
                }
                Ok(()) => {}
            }
        }
        Ok(failed)
    }

    /// The roles that own something in an archive.
    pub fn owners(&self, archive: &Path, made_by: u32) -> Result<Vec<String>> {
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

    /// The rows of every table of a database.
    pub fn count(&self, database: &str) -> Result<Vec<Table>> {
        let mut client = self.reached.reconnect(database, "dbbackup")?;
        tables::count_now(&mut client, &tables::Selection::default(), None)
    }
}

/// Has `psql` say a word, in a line of its own. What it prints itself goes nowhere; rows of a COPY
/// are given out at once.
fn saying(word: &str) -> String {
    format!("\\o\nCOPY (SELECT '{word}') TO STDOUT;\n\\o /dev/null\n")
}

/// Waits until `psql` has done everything so far; false where it has ended instead, and its exit
/// status tells why.
fn reaches_mark(stdin: &mut Writer, answers: &mut Answers) -> Result<bool> {
    pour(&mut saying("reached").as_bytes(), stdin)?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    Ok(line.trim() == "reached")
}

/// Counts tables in the transaction of `psql`, where nobody else can look; none where it ended
/// meanwhile. As everywhere nothing is planned: the rows of a narrow column are copied out and
/// counted here (see [`tables::count_now`]).
fn count_through_psql(
    manifest: &Manifest,
    stdin: &mut Writer,
    answers: &mut Answers,
) -> Result<Option<Vec<Table>>> {
    let compared: Vec<&Table> = manifest
        .tables
        .iter()
        .filter(|table| table.compare)
        .collect();
    // No row can be taken for it.
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let scripts: Vec<String> = compared
        .iter()
        .map(|table| counting_script(table, &mark))
        .collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        // The answers are read as they come: a pipe holds only so much.
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
        let poured = pour(&mut scripts.concat().as_bytes(), &mut *stdin);
        let counted = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        poured.and(counted)
    })
}

/// The lines up to the one that is the mark; none where there is no mark. A line may be a whole
/// document, so only its beginning is kept.
fn count_lines_before(mark: &str, answers: &mut Answers) -> Result<Option<u64>> {
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

/// A name comes from a sidecar, which somebody may have written: nothing but a name is put into the
/// script.
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
        saying(mark)
    ))
}

/// What `psql` prints.
type Answers = BufReader<Reader>;

/// A transaction that failed.
#[derive(Debug)]
pub struct Uncommitted {
    /// Why.
    pub error: Error,
    /// It was not committed; else nobody knows.
    pub surely: bool,
}

/// No limit that a role or a database sets may end a session that waits, nor keep it from writing.
/// Only for a lock it waits no longer than this: whoever comes after it waits as well.
const UNHURRIED: &str = "SET default_transaction_read_only = off;
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
                         ('statement_timeout', 'lock_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout');
SET lock_timeout = '30s';\n";

/// A partitioned table stands for its partitions.
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

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening `{}`", path.display()))
}

/// Hands everything to the program's stdin and waits for its end. What it says of its own failure
/// counts more than that it took no more.
fn feed(mut process: Process, stream: &mut dyn Read) -> Result<String> {
    let stdin = process.writer()?;
    pour(stream, stdin)?;
    process.finish()
}

/// What `pg_restore` could not make of a part, by what it said; an error where that was for another
/// reason than that something is not there.
fn unmade(said: &str) -> Result<Unmade> {
    let mut found = Unmade::default();
    let mut told = 0;
    for block in said.split("pg_restore: error: ").skip(1) {
        let block = block.split("\npg_restore: ").next().unwrap_or_default();
        let (error, command) = block.split_once("\nCommand was: ").unwrap_or((block, ""));
        let error = error.lines().next().unwrap_or_default();
        let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
        told += 1;
        // A part of which that is one writes it; a new database has it.
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
        // What follows from another one that is told.
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
    // Its own count is not that of its errors, with several jobs; but without that line it did not
    // go on to the end.
    if told == 0 || !said.contains("errors ignored on restore: ") || said.len() >= STDERR_KEPT {
        return Err(Error::failed(format!(
            "`pg_restore` failed: {}",
            in_order(said)
        )));
    }
    Ok(found)
}

const PSQL: &str = "psql";

/// The mode of `psql` in which it obeys no command but the one that ends the mode, with a key that
/// is in no dump.
struct Restriction {
    key: String,
}

impl Restriction {
    fn new() -> Self {
        Restriction {
            key: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The line that begins it.
    fn begin(&self) -> String {
        format!("\\restrict {}\n", self.key)
    }

    /// The line that ends it. Where the dump left a string or a COPY open, it is part of that, and
    /// what follows fails.
    fn end(&self) -> String {
        format!("\\unrestrict {}\n", self.key)
    }
}

/// A `psql` that can be kept from obeying what stands in a dump.
pub fn find_psql(search: &Search) -> Result<Program> {
    let program = search.newest(PSQL)?;
    if knows_restrict(&program.version) {
        return Ok(program);
    }
    Err(Error::failed(format!(
        "psql {} can't be kept from obeying commands in a dump",
        program.version
    ))
    .with_hint("install the newest minor release of the PostgreSQL client programs"))
}

/// Whether `psql` has that mode: the minor releases of August 2025 brought it.
fn knows_restrict(version: &Version) -> bool {
    let first = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];
    match first.iter().find(|(major, _)| *major == version.major) {
        Some((_, minor)) => version.minor >= *minor,
        None => version.major > 17,
    }
}

/// Hands a dump's script to `psql`. Its mode is not enough by itself: the argument of `\unrestrict`
/// may start a program before the key is compared, so `psql` is also one that can start none, and
/// what is read from a file was looked through before.
fn feed_dump(psql: Process, script: impl Read) -> Result<()> {
    let restrict = Restriction::new().begin();
    let refused = |error: Error| match error
        .message()
        .contains("backslash commands are restricted")
    {
        true => Error::damaged(format!(
            "the dump holds a command of psql that pg_dump does not write: {error}"
        )),
        false => error,
    };
    feed(
        psql,
        &mut restrict
            .as_bytes()
            .chain(Unrestricted::new(WithoutPublic::new(script))),
    )
    .map(drop)
    .map_err(refused)
}

/// Nothing in it but what `pg_dump` writes, and all of it for one database.
fn look_through(scanned: &Scanned) -> Result<()> {
    if let Some(stray) = &scanned.stray {
        return Err(
            Error::damaged(format!("the dump is not as pg_dump writes it: {stray}")).with_hint(
                "somebody has changed it: look at that line, and restore another backup",
            ),
        );
    }
    match scanned.connects {
        Some(line) => Err(
            Error::failed(format!("{ELSEWHERE} (`\\connect`, line {line})"))
                .with_hint("feed it to `psql` by hand, once you know what it makes"),
        ),
        None => Ok(()),
    }
}

/// What is said of a script for more than one database.
pub const ELSEWHERE: &str = "the script goes on in a database that it names itself";

/// What `CREATE DATABASE` is told of encoding and locale: those of the database that was dumped, as
/// far as `version` has words for them.
pub fn locale_clauses(encoding: &str, locale: &Locale, version: &Version) -> String {
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

/// Compares by what names mean: the versions of a server and of a program quote a few words
/// differently, and some places know names on one line only.
pub fn compare(expected: &Manifest, found: &[Table]) -> Check {
    let parsed = |table: &Table| Table {
        name: parsed_name(&table.name),
        ..table.clone()
    };
    let found: Vec<Table> = found.iter().map(parsed).collect();
    let there: HashSet<&str> = found.iter().map(|table| table.name.as_str()).collect();
    let as_there = |table: &Table| {
        let exact = parsed_name(&table.name);
        // Two names may be one on one line, so that is the second choice.
        let name = if there.contains(exact.as_str()) {
            exact
        } else {
            canonical_name(&table.name)
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

/// Whether a failure is one of the machine, the connection or the user's patience, and so says
/// nothing of the dump.
pub fn is_of_the_machine(error: &Error) -> bool {
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

/// The failure of a program that filled a database, with what to do about it; `None` where nothing
/// is known.
pub fn remedy(error: &Error) -> Option<&'static str> {
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
