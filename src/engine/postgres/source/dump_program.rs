//! Running `pg_dump` and `pg_dumpall`: their arguments, their output, and their errors.

use super::attempt::ExportedSnapshot;
use super::{PostgresPlan, PostgresSource};
use crate::engine::postgres::connect::ReachedServer;
use crate::engine::postgres::conninfo::dsn;
use crate::engine::postgres::counting::RowCounter;
use crate::engine::postgres::programs::Program;
use crate::engine::postgres::{PgFormat, ROW_SECURITY_HINT, reading_hint};
use crate::error::{Error, Kind, Result};
use crate::process::{Pipes, Process};
use crate::units;
use std::io::{Read, Write};
use std::time::Duration;

impl PostgresSource {
    pub(super) fn start_dump(
        &self,
        snapshot: &ExportedSnapshot,
        wait: Duration,
        token: &str,
    ) -> Result<Process> {
        let mut arguments = vec![
            format!("--snapshot={}", snapshot.name),
            format!("--lock-wait-timeout={}", wait.as_millis()),
            "--no-password".to_owned(),
            format!("--encoding={}", self.encoding(&snapshot.tables)),
        ];
        arguments.extend(match self.plan.format {
            PgFormat::Custom => vec!["--format=custom".to_owned(), "--compress=0".to_owned()],
            // A function named `begin`, unquoted, makes psql misjudge where statements end.
            _ => vec![
                "--format=plain".to_owned(),
                "--quote-all-identifiers".to_owned(),
            ],
        });
        if snapshot.without_large_objects {
            arguments.push("--no-blobs".to_owned());
        }
        arguments.extend(self.plan.selection.arguments());
        start_program(
            &self.dump,
            &arguments,
            &self.plan,
            &self.session.reached,
            (self.database_name(), self.program_options()),
            token,
        )
    }

    /// Options for the programs' sessions. Their first query would wait for other transactions
    /// where the database makes all transactions deferrable. Only then are options set, as poolers
    /// refuse them.
    pub(super) fn program_options(&self) -> Option<&'static str> {
        let set = self
            .database
            .settings
            .iter()
            .flat_map(|settings| &settings.set);
        set.into_iter()
            .any(|setting| setting.name == "default_transaction_deferrable")
            .then_some("-c default_transaction_deferrable=off")
    }
}

/// Starts a program that connects to the server that was reached, as the same user.
pub(super) fn start_program(
    program: &Program,
    arguments: &[String],
    plan: &PostgresPlan,
    reached: &ReachedServer,
    (name, options): (&str, Option<&str>),
    token: &str,
) -> Result<Process> {
    let mut environment = reached.environment();
    environment.extend(options.map(|options| ("PGOPTIONS".to_owned(), options.to_owned())));
    let address = match &plan.prefix_url {
        Some(url) if program.is_remote() => {
            let (address, password) = prefix_address(url, name, token)?;
            if let Some(password) = password {
                environment.retain(|(name, _)| name != "PGPASSWORD");
                environment.push(("PGPASSWORD".to_owned(), password));
            }
            address
        }
        _ => reached.conninfo(name, token),
    };
    let mut command = program.command(&environment, ReachedServer::cleared_variables());
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

/// The address for a program that runs elsewhere, and the password in it. Parameters that it does
/// not give are up to the program there.
fn prefix_address(url: &str, name: &str, token: &str) -> Result<(String, Option<String>)> {
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
        .map(|(key, value)| dsn::format_pair(key, value))
        .collect();
    Ok((words.join(" "), password))
}

/// Copies the program's output. An error comes with the number of bytes until then.
pub(super) fn copy_output(
    child: &mut Process,
    stall: Duration,
    out: &mut dyn Write,
    mut counter: Option<&mut RowCounter>,
) -> Result<DumpOutput, (u64, Error)> {
    let mut reader = child.reader(Some(stall)).map_err(|error| (0, error))?;
    let mut block = vec![0; 1 << 20];
    let mut copied = DumpOutput::default();
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
            counter.push(&block[..count]);
        }
        copied.add(&block[..count]);
    }
}

/// The output of a program: its length and both of its ends.
#[derive(Default)]
pub(super) struct DumpOutput {
    pub(super) bytes: u64,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl DumpOutput {
    /// How much of each end is kept: more than what follows the mark of a script's end.
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

    /// Fails unless the output looks complete. Runtimes of containers were seen to lose output
    /// together with the exit status.
    pub(super) fn check_complete(&self, format: PgFormat, program: &str) -> Result<()> {
        let whole = match format {
            PgFormat::Custom => self.first.starts_with(b"PGDMP"),
            PgFormat::Plain | PgFormat::Globals => {
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
        Err(incomplete_error(program, &what))
    }
}

pub(super) fn incomplete_error(program: &str, what: &str) -> Error {
    Error::failed(format!(
        "`{program}` wrote {what}, and yet it ended as if all were well"
    ))
    .with_hint("is that PostgreSQL's own program? look at `bin_dir` and `command_prefix`")
}

/// Whether `pg_dump` gave up on a lock. It implements `--lock-wait-timeout` by a timeout of the
/// statement, and the server's message is in whatever language it is set to. That the time is over
/// is the same in all of them.
pub(super) fn is_lock_timeout(error: &Error, took: Duration, wait: Duration) -> bool {
    error.kind() == Kind::Failed && error.message().contains("LOCK TABLE") && took >= wait
}

/// Adds the remedy for a known error of `pg_dump`.
pub(super) fn with_known_hint(error: Error) -> Error {
    let text = error.message();
    if text.contains("permission denied") {
        return error.with_hint(reading_hint());
    }
    let known = [
        ("row-level security", ROW_SECURITY_HINT),
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
        Some((_, hint)) => error.with_hint(*hint),
        None => error,
    }
}

/// Strips the beginning of `pg_dump: warning: …`.
pub(super) fn strip_program_name(line: &str) -> String {
    let rest = line
        .split_once(": ")
        .filter(|(program, _)| program.starts_with("pg_dump"))
        .map_or(line, |(_, rest)| rest);
    rest.strip_prefix("warning: ").unwrap_or(rest).to_owned()
}
