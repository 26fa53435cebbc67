//! Tables as files that other programs read: one file for each, in a directory, and either all of
//! them or none.
//!
//! They are written into a scratch directory beside their places, and get their names only when
//! everything was read and found sound.

mod csv;
mod json;
mod names;

use crate::durable;
use crate::engine::{Cell, TakeRows};
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use names::Names;

const SCRATCH_PREFIX: &str = ".dbbackup-export-";

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with a header; NULL is nothing, and an empty text two quotes.
    Csv,
    /// One array of objects, each on a line of its own.
    Json,
}

impl Format {
    /// What the files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }
}

/// A file that holds a table.
#[derive(Debug, Clone)]
pub struct Written {
    /// Empty where there is none.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Where it is once it is published.
    pub path: PathBuf,
    /// How many rows.
    pub rows: u64,
    /// Bytes.
    pub size: u64,
    /// Values whose text is no UTF-8, which their format needs; what was none became U+FFFD.
    pub mended: u64,
    /// A file of that name was there.
    pub replaced: bool,
}

/// Whether a table, by schema and name, is to be written.
type Chosen<'a> = Box<dyn FnMut(&str, &str) -> bool + Send + 'a>;

/// The files of one export, as they are written. Dropped it leaves nothing.
pub struct Files<'a> {
    dir: PathBuf,
    scratch: Scratch,
    format: Format,
    chosen: Chosen<'a>,
    names: Names,
    open: Option<(BufWriter<File>, Table)>,
    written: Vec<Written>,
}

/// What the writers of the formats know of the table.
#[derive(Debug, Default)]
struct Table {
    columns: Vec<String>,
    rows: u64,
    mended: u64,
}

impl<'a> Files<'a> {
    /// For files in `dir`, which must be there.
    pub fn new(
        dir: &Path,
        format: Format,
        chosen: impl FnMut(&str, &str) -> bool + Send + 'a,
    ) -> Result<Self> {
        let scratch = Scratch::new(dir, SCRATCH_PREFIX, 0, "the exported tables")?;
        let names = Names::new(format.extension());
        Ok(Files {
            dir: dir.to_owned(),
            scratch,
            format,
            chosen: Box::new(chosen),
            names,
            open: None,
            written: Vec::new(),
        })
    }

    /// Nothing more comes.
    pub fn finish(self) -> Complete {
        Complete {
            dir: self.dir,
            scratch: self.scratch,
            written: self.written,
        }
    }
}

/// Files that wait for their names. Dropped before [`Complete::publish`] they leave nothing.
pub struct Complete {
    dir: PathBuf,
    scratch: Scratch,
    written: Vec<Written>,
}

impl Complete {
    /// No table was written.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Gives the files their names. One that is there already is an error, and then nothing was
    /// done, unless it is to be replaced.
    pub fn publish(mut self, replace: bool) -> Result<Vec<Written>> {
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

/// An error if one of these is there.
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

impl TakeRows for Files<'_> {
    fn table(&mut self, schema: &str, name: &str, columns: &[String]) -> Result<bool> {
        if !(self.chosen)(schema, name) {
            return Ok(false);
        }
        let path = self.dir.join(self.names.of(schema, name));
        let draft = self.scratch.join(&self.written.len().to_string());
        let mut file = BufWriter::with_capacity(256 << 10, durable::create_new(&draft)?);
        let table = Table {
            columns: columns.to_vec(),
            ..Table::default()
        };
        match self.format {
            Format::Csv => csv::begin(&mut file, &table),
            Format::Json => json::begin(&mut file),
        }
        .with_context(|| writing(&path))?;
        let (schema, table_name) = (schema.to_owned(), name.to_owned());
        self.written.push(Written {
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

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        let Some((file, table)) = &mut self.open else {
            return Err(Error::failed("a row without a table"));
        };
        match self.format {
            Format::Csv => csv::row(file, cells),
            Format::Json => json::row(file, table, cells),
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

    fn end(&mut self) -> Result<()> {
        let (Some((mut file, table)), Some(last)) = (self.open.take(), self.written.last_mut())
        else {
            return Ok(());
        };
        let end = |file: &mut BufWriter<File>| -> io::Result<u64> {
            if self.format == Format::Json {
                json::end(file)?;
            }
            file.flush()?;
            file.get_ref().metadata().map(|found| found.len())
        };
        last.size = end(&mut file).with_context(|| writing(&last.path))?;
        last.rows = table.rows;
        last.mended = table.mended;
        Ok(())
    }

    fn needs_utf8(&self) -> bool {
        self.format == Format::Json
    }
}

fn writing(path: &Path) -> String {
    format!("writing `{}`", path.display())
}
