//! `dbbackup cat`: the decoded dump on stdout, for pipes.

use crate::cli::CatArguments;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::ops::Session;
use crate::ops::examine::{self, ExaminationOptions};
use crate::ops::find;
use crate::report::{CommandOutcome, Raw, Report};
use crate::units;
use std::cell::Cell;
use std::io::{self, Read, Write};

pub fn run(
    arguments: &CatArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let mut out = report.raw()?;
    let found = find::find_backup(&arguments.backup, session)?;
    found.settle_on_this(session, report)?;
    if out.is_terminal() && !found.format.is_text() {
        return Err(Error::usage(format!(
            "`{}` is no text, and stdout is a terminal",
            found.name()
        ))
        .with_hint(
            Hint::new()
                .text("send it somewhere: ")
                .shell_command(format!(
                    "cat {} > FILE",
                    units::shell_word(&arguments.backup)
                )),
        ));
    }
    let settings = session.settings_of(&found.source);
    let means = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        drill_settings: &session.drill_settings_of(&found.source),
        observer: report,
    };
    let gone = Cell::new(false);
    let checked = examine::read_content(&found.stored(), &means, &mut |content| {
        pour(content, &mut out, &gone)
    });
    if gone.get() {
        // `| head` has what it wanted.
        return Ok(None);
    }
    let damage = match checked {
        Ok(checks) => examine::damage_error(&found.name(), &checks),
        Err(error) => Some(error),
    };
    let Some(error) = damage else {
        report.detail(format!(
            "{}: all of it was written, and is what was backed up",
            found.name()
        ));
        return Ok(None);
    };
    Err(match error.kind() {
        Kind::Damaged => {
            error.with_hint("what was written to stdout is not what was backed up: don't use it")
        }
        Kind::Interrupted => error,
        _ => error.with_hint("what was written to stdout is incomplete: don't use it"),
    })
}

fn pour(content: &mut dyn Read, out: &mut Raw, gone: &Cell<bool>) -> Result<()> {
    let mut block = vec![0; 256 << 10];
    loop {
        let count = content.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        let written = out.write_all(&block[..count]);
        gone.set(
            written
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe),
        );
        written.context("writing to the standard output")?;
    }
}
