//! `psql`, kept from obeying what stands in a dump.

use super::ClientPrograms;
use crate::engine::postgres::connect::SAFE_BEGINNING;
use crate::engine::postgres::prerequisite::MissingPrerequisite;
use crate::engine::postgres::programs::{PostgresVersion, Program, ProgramSearch};
use crate::engine::postgres::scan::ScanResult;
use crate::engine::postgres::script::{PublicSchemaFilter, RestrictFilter, copy_stream};
use crate::error::{Error, Result};
use crate::process::{Pipes, Process};
use std::io::Read;

pub(super) const PSQL: &str = "psql";

impl ClientPrograms<'_> {
    /// Starts a `psql` that reads a script from its stdin and stops at the first error. The content
    /// of a dump must come after a [`RestrictedMode`].
    pub(super) fn start_psql(
        &self,
        database: &str,
        application_name: &str,
        stdout: bool,
    ) -> Result<Process> {
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
}

/// The mode in which `psql` obeys no command except the one that ends the mode, with a key that is
/// in no dump.
pub(super) struct RestrictedMode {
    key: String,
}

impl RestrictedMode {
    pub(super) fn new() -> Self {
        RestrictedMode {
            key: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The line that begins the mode.
    pub(super) fn begin(&self) -> String {
        format!("\\restrict {}\n", self.key)
    }

    /// The line that ends the mode. Where the dump left a string or a COPY open, the line is part
    /// of that, and what follows fails.
    pub(super) fn end(&self) -> String {
        format!("\\unrestrict {}\n", self.key)
    }
}

/// Finds a `psql` that has the restricted mode.
pub fn find_psql(search: &ProgramSearch) -> Result<Program> {
    let program = search.find_newest(PSQL)?;
    if supports_restrict(&program.version) {
        return Ok(program);
    }
    Err(
        Error::from(MissingPrerequisite::RestrictedMode(program.version))
            .with_hint("install the newest minor release of the PostgreSQL client programs"),
    )
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
pub(super) fn feed_dump(psql: Process, script: impl Read) -> Result<()> {
    let restrict = RestrictedMode::new().begin();
    let script = RestrictFilter::new(PublicSchemaFilter::new(script));
    feed_program(psql, &mut restrict.as_bytes().chain(script))
        .map(drop)
        .map_err(explain_refusal)
}

/// Makes the refusal of a command in the dump an error of the dump.
fn explain_refusal(error: Error) -> Error {
    if error
        .message()
        .contains("backslash commands are restricted")
    {
        Error::damaged(format!(
            "the dump holds a command of psql that pg_dump does not write: {error}"
        ))
    } else {
        error
    }
}

/// Feeds a program's stdin and waits for its end. The program's own error counts more than that it
/// read no further.
fn feed_program(mut process: Process, stream: &mut dyn Read) -> Result<String> {
    let stdin = process.writer()?;
    copy_stream(stream, stdin)?;
    process.finish()
}

/// Fails unless the script holds only what `pg_dump` writes, for a single database.
pub(super) fn refuse_forbidden(scanned: &ScanResult) -> Result<()> {
    if let Some(forbidden) = &scanned.forbidden {
        return Err(
            Error::damaged(format!("the dump is not as pg_dump writes it: {forbidden}")).with_hint(
                "somebody has changed it: look at that line, and restore another backup",
            ),
        );
    }
    match scanned.connects {
        Some(line) => Err(Error::from(MissingPrerequisite::SingleDatabase(line))
            .with_hint("feed it to `psql` by hand, once you know what it makes")),
        None => Ok(()),
    }
}
