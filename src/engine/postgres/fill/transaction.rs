//! One transaction of `psql` around a dump: it locks, empties, fills and counts a database, and is
//! committed only at the very end.

use super::psql::{RestrictedMode, refuse_forbidden};
use super::{ClientPrograms, FillRequest, compare_manifest, open_file};
use crate::engine::postgres::scan::scan;
use crate::engine::postgres::script::{
    CommitFilter, PublicSchemaFilter, RestrictFilter, SettingsFilter, TransactionFilter,
    copy_stream,
};
use crate::engine::postgres::{PgFormat, names, source, tables};
use crate::engine::{CheckStatus, Manifest, Table};
use crate::error::{Error, Result};
use crate::process::{ChildReader, ChildWriter, ProgramFailure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit status of a `psql` in which a statement failed, after which it read nothing more.
const STATEMENT_FAILED: i32 = 3;

/// The steps of a transaction around a dump, in this order.
pub struct TransactionSteps<'a> {
    /// Statements that take locks.
    pub lock_script: &'a str,
    /// Called once the locks are held.
    pub after_lock: &'a mut dyn FnMut() -> Result<()>,
    /// Statements that empty the database.
    pub emptying_script: &'a str,
    /// Called once the database is empty, which is not committed yet.
    pub after_emptying: &'a mut dyn FnMut() -> Result<()>,
    /// The rows that must be there after the dump.
    pub expected: Option<&'a Manifest>,
}

/// A transaction that failed.
#[derive(Debug)]
pub struct TransactionError {
    /// The reason.
    pub error: Error,
    /// Whether it was certainly rolled back; otherwise nobody knows.
    pub rolled_back: bool,
}

impl ClientPrograms<'_> {
    /// Restores an archive in one transaction with other steps. COMMIT is sent only after
    /// everything before it is known to be complete, so a `psql` that is cut off at any point has
    /// nothing to commit.
    pub fn restore_in_transaction(
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
                rolled_back: !committed.load(Ordering::Relaxed),
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
        let mut psql = self.start_psql(filling.database, token, true)?;
        let mut stdin = psql.writer()?;
        let mut answers = BufReader::new(psql.reader(None)?);
        copy_stream(
            &mut format!("\\o /dev/null\n{UNHURRIED}BEGIN;\n{}", steps.lock_script).as_bytes(),
            &mut stdin,
        )?;
        if !wait_for_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.after_lock)()?;
        let known = self.known_settings(filling.database)?;
        copy_stream(&mut steps.emptying_script.as_bytes(), &mut stdin)?;
        if !wait_for_mark(&mut stdin, &mut answers)? {
            return psql.finish().map(drop);
        }
        (steps.after_emptying)()?;
        let restriction = RestrictedMode::new();
        copy_stream(&mut restriction.begin().as_bytes(), &mut stdin)?;
        if filling.format == PgFormat::Custom {
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
                    check.detail()
                )));
            }
        }
        committed.store(true, Ordering::Relaxed);
        copy_stream(&mut b"COMMIT;\n".as_slice(), stdin)?;
        psql.finish().map(drop).inspect_err(|error| {
            let status = error
                .cause::<ProgramFailure>()
                .and_then(ProgramFailure::code);
            committed.store(status != Some(STATEMENT_FAILED), Ordering::Relaxed);
        })
    }

    /// Runs a script as a whole or not at all.
    pub fn run_script(&self, database: &str, script: &str) -> Result<()> {
        let mut psql = self.start_psql(database, "dbbackup", false)?;
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
}

/// The statements that make `psql` print a marker on a line of its own. Its other output goes
/// nowhere; rows of a COPY are printed at once.
fn marker_script(word: &str) -> String {
    format!("\\o\nCOPY (SELECT '{word}') TO STDOUT;\n\\o /dev/null\n")
}

/// Waits until `psql` has done everything so far. Returns false where it has ended instead; its
/// exit status tells why.
fn wait_for_mark(stdin: &mut ChildWriter, answers: &mut PsqlOutput) -> Result<bool> {
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
    stdin: &mut ChildWriter,
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
type PsqlOutput = BufReader<ChildReader>;

/// No limit that a role or a database sets may end a session that waits, or keep it from writing. A
/// lock is waited for no longer than this, as others queue behind it.
const UNHURRIED: &str = "SET default_transaction_read_only = off;
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
                         ('statement_timeout', 'lock_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout');
SET lock_timeout = '30s';\n";
