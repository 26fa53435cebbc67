//! Tables as files that other programs read: one file for each table, in one directory, and either
//! all of them or none.
//!
//! The files are written into a scratch directory beside their places. They get their names only
//! when everything was read and found sound.

mod csv;
mod json;
mod names;

use crate::durable;
use crate::engine::{Cell, RowSink};
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use names::FileNames;

const SCRATCH_PREFIX: &str = ".dbbackup-export-";

/// How the rows of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// RFC 4180, with a header; NULL is an empty field, and an empty text two quotes.
    Csv,
    /// One array of objects, each on a line of its own.
    Json,
}

impl TableFormat {
    /// The extension of the files' names.
    pub fn extension(self) -> &'static str {
        match self {
            TableFormat::Csv => "csv",
            TableFormat::Json => "json",
        }
    }
}

/// A table that was written to a file.
#[derive(Debug, Clone)]
pub struct ExportedTable {
    /// The table's schema; empty where there is none.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The path of the file once it is published.
    pub path: PathBuf,
    /// The number of rows.
    pub rows: u64,
    /// The size of the file in bytes.
    pub size: u64,
    /// The number of values whose text is not UTF-8 although the format needs it: each wrong byte
    /// sequence became U+FFFD.
    pub mended: u64,
    /// Whether a file of that name was there before.
    pub replaced: bool,
}

/// Tells whether a table, by schema and name, is to be written.
type TableFilter<'a> = Box<dyn FnMut(&str, &str) -> bool + Send + 'a>;

/// The files of one export while they are written. Dropped, it leaves nothing.
pub struct TableFiles<'a> {
    dir: PathBuf,
    scratch: Scratch,
    format: TableFormat,
    chosen: TableFilter<'a>,
    names: FileNames,
    open: Option<(BufWriter<File>, OpenTable)>,
    written: Vec<ExportedTable>,
}

/// The table that is being written, as the writers of the formats see it.
#[derive(Debug, Default)]
struct OpenTable {
    columns: Vec<String>,
    rows: u64,
    mended: u64,
}

impl<'a> TableFiles<'a> {
    /// Begins an export into `dir`, which must be there.
    pub fn new(
        dir: &Path,
        format: TableFormat,
        chosen: impl FnMut(&str, &str) -> bool + Send + 'a,
    ) -> Result<Self> {
        let scratch = Scratch::new(dir, SCRATCH_PREFIX, 0, "the exported tables")?;
        let names = FileNames::new(format.extension());
        Ok(TableFiles {
            dir: dir.to_owned(),
            scratch,
            format,
            chosen: Box::new(chosen),
            names,
            open: None,
            written: Vec::new(),
        })
    }

    /// Ends the export: no more tables come.
    pub fn finish(self) -> CompleteFiles {
        CompleteFiles {
            dir: self.dir,
            scratch: self.scratch,
            written: self.written,
        }
    }
}

/// TableFiles that wait for their names. Dropped before [`CompleteFiles::publish`] they leave
/// nothing.
pub struct CompleteFiles {
    dir: PathBuf,
    scratch: Scratch,
    written: Vec<ExportedTable>,
}

impl CompleteFiles {
    /// Whether no table was written.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Gives the files their names. A file that is there already is replaced if `replace` says so;
    /// else it is an error, and nothing is done.
    pub fn publish(mut self, replace: bool) -> Result<Vec<ExportedTable>> {
        if !replace {
            refuse_to_replace(self.written.iter().map(|file| file.path.as_path()))?;
        }
        for (number, file) in self.written.iter_mut().enumerate() {
            let draft = self.scratch.join(&number.to_string());
            let context = || writing(&file.path);
            File::open(&draft)
                .and_then(|draft| draft.sync_all())
                .with_context(context)?;
            let there = file.path.symlink_metadata().is_ok();
            if replace {
                std::fs::rename(&draft, &file.path).with_context(context)?;
            } else {
                durable::rename_new(&draft, &file.path).with_context(context)?;
            }
            file.replaced = there;
        }
        durable::sync_dir(&self.dir)?;
        Ok(self.written)
    }
}

/// Fails if one of these files is there.
pub fn refuse_to_replace<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    let there: Vec<&Path> = paths
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    let Some(first) = there.first() else {
        return Ok(());
    };
    let more = if there.len() > 1 {
        format!(", and {} more", there.len() - 1)
    } else {
        String::new()
    };
    Err(
        Error::usage(format!("`{}` is there already{more}", first.display()))
            .with_hint("choose another `--to`, or add `--overwrite`; nothing was written"),
    )
}

impl RowSink for TableFiles<'_> {
    fn begin_table(&mut self, schema: &str, name: &str, columns: &[String]) -> Result<bool> {
        if !(self.chosen)(schema, name) {
            return Ok(false);
        }
        let path = self.dir.join(self.names.next(schema, name));
        let draft = self.scratch.join(&self.written.len().to_string());
        let mut file = BufWriter::with_capacity(256 << 10, durable::create_new(&draft)?);
        let table = OpenTable {
            columns: columns.to_vec(),
            ..OpenTable::default()
        };
        match self.format {
            TableFormat::Csv => csv::write_header(&mut file, &table),
            TableFormat::Json => json::begin_array(&mut file),
        }
        .with_context(|| writing(&path))?;
        let (schema, table_name) = (schema.to_owned(), name.to_owned());
        self.written.push(ExportedTable {
            schema,
            table: table_name,
            path,
            rows: 0,
            size: 0,
            mended: 0,
            replaced: false,
        });
        self.open = Some((file, table));
        Ok(true)
    }

    fn write_row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        let Some((file, table)) = &mut self.open else {
            return Err(Error::failed("a row without a table"));
        };
        match self.format {
            TableFormat::Csv => csv::write_row(file, cells),
            TableFormat::Json => json::write_row(file, table, cells),
        }
        .with_context(|| {
            self.written
                .last()
                .map(|last| writing(&last.path))
                .unwrap_or_default()
        })?;
        table.rows += 1;
        Ok(())
    }

    fn end_table(&mut self) -> Result<()> {
        let (Some((mut file, table)), Some(last)) = (self.open.take(), self.written.last_mut())
        else {
            return Ok(());
        };
        last.size = end_file(&mut file, self.format).with_context(|| writing(&last.path))?;
        last.rows = table.rows;
        last.mended = table.mended;
        Ok(())
    }

    fn needs_utf8(&self) -> bool {
        self.format == TableFormat::Json
    }
}

/// Ends a table's file and returns its size.
fn end_file(file: &mut BufWriter<File>, format: TableFormat) -> io::Result<u64> {
    if format == TableFormat::Json {
        json::end_array(file)?;
    }
    file.flush()?;
    file.get_ref().metadata().map(|found| found.len())
}

fn writing(path: &Path) -> String {
    format!("writing `{}`", path.display())
}
