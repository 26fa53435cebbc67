//! Reads a dump to its end without a server. `pg_restore` turns an archive into a script, whose
//! rows are counted and compared with the manifest.

use super::PgFormat;
use super::fill::check_rows;
use super::programs::{Program, ProgramSearch};
use super::scan::{RowObserver, ScanResult, scan, scan_with_observer};
use super::script::copy_stream;
use crate::engine::{
    Check, CheckFinding, CheckSubject, Depth, Destination, Keep, Manifest, Published, Table,
};
use crate::error::{Error, Kind, Result};
use crate::process::{Pipes, Process};
use std::io::{self, Read};

/// A destination that only reads the dump and checks it; nothing is ever published.
pub struct DumpContentCheck<'a> {
    format: PgFormat,
    search: ProgramSearch,
    watch: Option<&'a mut dyn RowObserver>,
    found: Option<ReadOutcome>,
}

enum ReadOutcome {
    ScanResult(ScanResult),
    Broken(String),
    Impossible(String),
}

impl<'a> DumpContentCheck<'a> {
    /// Checks a dump of this format, with the programs that `search` finds.
    pub fn new(format: PgFormat, search: &ProgramSearch) -> Self {
        // The dump is on this machine, so the programs must be, too.
        DumpContentCheck {
            format,
            search: ProgramSearch {
                prefix: Vec::new(),
                ..search.clone()
            },
            watch: None,
            found: None,
        }
    }

    /// Passes the scanned tables and rows to `watch`, too.
    #[must_use]
    pub fn watched_by(self, watch: &'a mut dyn RowObserver) -> Self {
        DumpContentCheck {
            watch: Some(watch),
            ..self
        }
    }

    fn read_dump(&mut self, content: &mut dyn Read) -> Result<ReadOutcome> {
        let watch = self.watch.take();
        if self.format != PgFormat::Custom {
            return Ok(ReadOutcome::ScanResult(scan_observed(content, watch)?));
        }
        match self.search.find_newest("pg_restore") {
            Ok(program) => scan_archive(&program, content, watch),
            Err(error) => {
                io::copy(content, &mut io::sink())?;
                Ok(ReadOutcome::Impossible(format!(
                    "the archive can't be read here: {error}"
                )))
            }
        }
    }
}

fn scan_observed(script: &mut dyn Read, watch: Option<&mut dyn RowObserver>) -> Result<ScanResult> {
    match watch {
        Some(watch) => scan_with_observer(script, watch),
        None => scan(script),
    }
}

/// Feeds the archive to `pg_restore`, scans the script that it writes, and waits for both.
fn scan_archive(
    program: &Program,
    content: &mut dyn Read,
    watch: Option<&mut dyn RowObserver>,
) -> Result<ReadOutcome> {
    let mut command = program.command(&[], &[]);
    command.arg("--file=-");
    let mut process = Process::start(
        command,
        "pg_restore",
        None,
        Pipes {
            stdin: true,
            stdout: true,
        },
    )?;
    let (stdin, mut script) = (process.writer()?, process.reader(None)?);
    let (poured, scanned) = std::thread::scope(|scope| {
        let scanning = scope.spawn(|| {
            let scanned = scan_observed(&mut script, watch);
            // A scanner that gave up must not leave `pg_restore` waiting.
            let _ = io::copy(&mut script, &mut io::sink());
            scanned
        });
        let poured = copy_stream(content, stdin);
        (
            poured,
            scanning
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    poured?;
    match (process.finish(), scanned) {
        (Ok(_), Ok(scanned)) => Ok(ReadOutcome::ScanResult(scanned)),
        (Err(error), _) | (Ok(_), Err(error)) if error.kind() == Kind::Interrupted => Err(error),
        (Err(error), _) if error.message().contains("unsupported version") => {
            Ok(ReadOutcome::Impossible(format!(
                "{error}: the archive was made by a newer pg_dump than this pg_restore {}",
                program.version
            )))
        }
        // A killed or starved program says nothing about the archive.
        (Err(error), _) if super::fill::is_machine_failure(&error) => Err(error),
        (Err(error), _) => Ok(ReadOutcome::Broken(error.message())),
        (Ok(_), Err(error)) => Err(error),
    }
}

impl Destination for DumpContentCheck<'_> {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        self.found = Some(self.read_dump(content)?);
        Ok(())
    }

    fn check(&mut self, expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        let reader = if self.format == PgFormat::Custom {
            CheckSubject::PgRestore
        } else {
            CheckSubject::Script
        };
        let message = |text: &str| CheckFinding::Message(text.to_owned());
        Ok(match &self.found {
            None => return Err(Error::failed("nothing was received")),
            Some(ReadOutcome::Impossible(why)) => vec![Check::unprovable(reader, message(why))],
            Some(ReadOutcome::Broken(why)) => vec![Check::damaged(reader, message(why))],
            Some(ReadOutcome::ScanResult(ScanResult {
                forbidden: Some(forbidden),
                ..
            })) => vec![Check::damaged(reader, message(&forbidden.to_string()))],
            Some(ReadOutcome::ScanResult(scanned)) if !scanned.complete => {
                vec![Check::damaged(reader, CheckFinding::NoEnd)]
            }
            Some(ReadOutcome::ScanResult(scanned)) => {
                let read = CheckFinding::TablesRead(scanned.tables.len() as u64);
                vec![
                    Check::ok(reader, read),
                    check_rows(expected, counted_tables(scanned)),
                ]
            }
        })
    }

    fn counted(&self) -> Option<Manifest> {
        match &self.found {
            Some(ReadOutcome::ScanResult(scanned)) => Some(Manifest::new(counted_tables(scanned))),
            _ => None,
        }
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        Err(Error::failed(
            "a dump that was only read has no place to go to",
        ))
    }
}

/// The tables of a scanned script.
fn counted_tables(scanned: &ScanResult) -> Vec<Table> {
    scanned
        .tables
        .iter()
        .map(|(name, rows)| Table {
            name: name.to_string(),
            kind: "table".to_owned(),
            rows: Some(*rows),
            compare: true,
        })
        .collect()
}
