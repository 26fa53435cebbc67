//! Reads a dump to its end without a server: `pg_restore` turns an archive into a script, whose
//! rows are counted and compared with the manifest.

use super::Format;
use super::fill::compare;
use super::programs::{Program, Search};
use super::scan::{Scanned, Watch, scan, scan_with};
use super::script::pour;
use crate::engine::{Check, Depth, Destination, Keep, Manifest, Published, Table};
use crate::error::{Error, Kind, Result};
use crate::process::{Pipes, Process};
use std::io::{self, Read};

/// See the head of this file. Nothing is ever published.
pub struct ContentCheck<'a> {
    format: Format,
    search: Search,
    watch: Option<&'a mut dyn Watch>,
    found: Option<Found>,
}

enum Found {
    Scanned(Scanned),
    Broken(String),
    Impossible(String),
}

impl<'a> ContentCheck<'a> {
    /// For a dump of this format; the programs are looked for in `search`.
    pub fn new(format: Format, search: &Search) -> Self {
        // The dump is here, so it is read here.
        ContentCheck {
            format,
            search: Search {
                prefix: Vec::new(),
                ..search.clone()
            },
            watch: None,
            found: None,
        }
    }

    /// The same, and what is scanned is shown to `watch`.
    #[must_use]
    pub fn watched_by(self, watch: &'a mut dyn Watch) -> Self {
        ContentCheck {
            watch: Some(watch),
            ..self
        }
    }

    fn look(&mut self, content: &mut dyn Read) -> Result<Found> {
        let watch = self.watch.take();
        if self.format != Format::Custom {
            return Ok(Found::Scanned(scanned(content, watch)?));
        }
        match self.search.newest("pg_restore") {
            Ok(program) => render(&program, content, watch),
            Err(error) => {
                io::copy(content, &mut io::sink())?;
                Ok(Found::Impossible(format!(
                    "the archive can't be read here: {error}"
                )))
            }
        }
    }
}

fn scanned(script: &mut dyn Read, watch: Option<&mut dyn Watch>) -> Result<Scanned> {
    match watch {
        Some(watch) => scan_with(script, watch),
        None => scan(script),
    }
}

/// The archive goes in, the script comes out, and both ends are waited for.
fn render(
    program: &Program,
    content: &mut dyn Read,
    watch: Option<&mut dyn Watch>,
) -> Result<Found> {
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
            let scanned = scanned(&mut script, watch);
            // A scanner that gave up must not leave the other end waiting.
            let _ = io::copy(&mut script, &mut io::sink());
            scanned
        });
        let poured = pour(content, stdin);
        (
            poured,
            scanning
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    poured?;
    match (process.finish(), scanned) {
        (Ok(_), Ok(scanned)) => Ok(Found::Scanned(scanned)),
        (Err(error), _) | (Ok(_), Err(error)) if error.kind() == Kind::Interrupted => Err(error),
        (Err(error), _) if error.message().contains("unsupported version") => {
            Ok(Found::Impossible(format!(
                "{error}: the archive was made by a newer pg_dump than this pg_restore {}",
                program.version
            )))
        }
        // Killed, or starved: that says nothing of the archive.
        (Err(error), _) if super::fill::is_of_the_machine(&error) => Err(error),
        (Err(error), _) => Ok(Found::Broken(error.message())),
        (Ok(_), Err(error)) => Err(error),
    }
}

impl Destination for ContentCheck<'_> {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        self.found = Some(self.look(content)?);
        Ok(())
    }

    fn check(&mut self, expected: Option<&Manifest>, _depth: Depth) -> Result<Vec<Check>> {
        let reader = if self.format == Format::Custom {
            "pg_restore"
        } else {
            "script"
        };
        Ok(match &self.found {
            None => return Err(Error::failed("nothing was received")),
            Some(Found::Impossible(why)) => vec![Check::unprovable(reader, why)],
            Some(Found::Broken(why)) => vec![Check::damaged(reader, why)],
            Some(Found::Scanned(Scanned {
                stray: Some(stray), ..
            })) => vec![Check::damaged(reader, stray.to_string())],
            Some(Found::Scanned(scanned)) if !scanned.complete => {
                vec![Check::damaged(
                    reader,
                    "the script has no end: its last line is not that of a complete dump",
                )]
            }
            Some(Found::Scanned(scanned)) => {
                let read = Check::ok(
                    reader,
                    format!(
                        "read to its end: {}",
                        crate::units::count(scanned.tables.len() as u64, "table")
                    ),
                );
                vec![read, self.rows(scanned, expected)]
            }
        })
    }

    fn publish(&mut self, _keep: Keep<'_>) -> Result<Published> {
        Err(Error::failed(
            "a dump that was only read has no place to go to",
        ))
    }
}

impl ContentCheck<'_> {
    fn rows(&self, scanned: &Scanned, expected: Option<&Manifest>) -> Check {
        let table = |(name, rows): &(super::names::QualifiedName, u64)| Table {
            name: name.to_string(),
            kind: "table".to_owned(),
            rows: Some(*rows),
            compare: true,
        };
        let found: Vec<Table> = scanned.tables.iter().map(table).collect();
        match expected.filter(|manifest| !manifest.tables.is_empty()) {
            Some(manifest) => compare(manifest, &found),
            None => {
                let rows = found.iter().filter_map(|table| table.rows).sum();
                Check::ok(
                    "rows",
                    format!(
                        "{}, nothing to compare them with",
                        crate::units::count(rows, "row")
                    ),
                )
            }
        }
    }
}
