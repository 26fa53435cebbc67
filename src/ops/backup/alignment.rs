//! How the content of a source is laid beside that of its base, and what both must have in common
//! for that.

use crate::engine::postgres::programs::PostgresVersion;
use crate::engine::postgres::sections::DumpSections;
use crate::engine::postgres::source::PostgresSource;
use crate::engine::{DumpFormat, PgFormat, TreeStamp};
use crate::ops::engines::{Engine, pg_dump_major};
use crate::pipeline::delta::{Alignment, ReopenBase, RowOptions, SectionFinder, SectionStart};
use crate::sidecar::Sidecar;
use std::collections::HashSet;

/// How content and base are laid side by side.
pub enum DumpLayout {
    /// Page by page, of so many bytes.
    Pages(usize),
    /// Row by row, table by table.
    Rows {
        /// The format of both dumps.
        format: PgFormat,
        /// The names of the base's tables.
        base_names: HashSet<Vec<u8>>,
    },
    /// Member by member, as the engine says.
    Members {
        /// The size of the base's archive in bytes.
        archive_size: u64,
        /// What the times of its members mean.
        stamp: TreeStamp,
    },
}

/// Whether content of this format can be a delta.
pub fn can_be_delta(format: DumpFormat) -> bool {
    match format {
        DumpFormat::Sqlite
        | DumpFormat::Postgres(PgFormat::Custom | PgFormat::Plain)
        | DumpFormat::Tar => true,
        DumpFormat::Postgres(PgFormat::Globals) => false,
    }
}

impl DumpLayout {
    /// The layout of what `engine` will write beside the dump that `base` tells of, which has the
    /// same format. `None` where they have too little in common.
    pub fn of_source(engine: &Engine, format: DumpFormat, base: &Sidecar) -> Option<DumpLayout> {
        match (engine, format) {
            (Engine::Sqlite(_), _) => {
                let alike = base
                    .database
                    .as_ref()
                    .filter(|then| engine.has_layout_of(then));
                let page_size = alike?.page_size?;
                Some(DumpLayout::Pages(page_size as usize))
            }
            (Engine::Postgres(source), DumpFormat::Postgres(format)) => {
                let base_names = |manifest| DumpSections::names_in(manifest, format);
                let base_names = base.manifest.as_ref().map(base_names).unwrap_or_default();
                is_written_alike(source, base).then(|| DumpLayout::Rows {
                    format,
                    base_names: base_names.into_iter().map(String::into_bytes).collect(),
                })
            }
            (Engine::Files(_), _) => {
                // Without it the list does not tell what lies where in the archive.
                let stamp = base.database.as_ref()?.tree_stamp.as_deref()?;
                base.contents()?;
                Some(DumpLayout::Members {
                    archive_size: base.dump.as_ref()?.content_size_bytes,
                    stamp: stamp.clone(),
                })
            }
            (Engine::Postgres(_), _) => None,
        }
    }

    /// How many of so many threads decode the base. Rows come one after the other from a server, so
    /// that one thread is fast enough, and each further one would take its memory.
    pub fn decoding_threads(&self, threads: usize) -> usize {
        match self {
            DumpLayout::Pages(_) | DumpLayout::Members { .. } => threads,
            DumpLayout::Rows { .. } => 1,
        }
    }

    /// The alignment; `reopen` opens the content of the base once more.
    pub fn alignment(&self, reopen: ReopenBase) -> Alignment {
        match self {
            DumpLayout::Pages(size) => Alignment::Pages(*size),
            DumpLayout::Members { .. } => Alignment::None,
            DumpLayout::Rows { format, base_names } => {
                let format = *format;
                Alignment::Rows(RowOptions {
                    finder: Box::new(move || Box::new(TableFinder(DumpSections::new(format)))),
                    base_names: base_names.clone(),
                    shortest_line: DumpSections::shortest_row(format),
                    reopen_base: Some(reopen),
                })
            }
        }
    }
}

/// Lines that may have moved, of text without sections.
pub fn lines_alignment() -> Alignment {
    Alignment::Rows(RowOptions {
        finder: Box::new(|| Box::new(TableFinder(None))),
        base_names: HashSet::new(),
        shortest_line: 1,
        reopen_base: None,
    })
}

/// Whether the source writes rows as they are written in that dump: another major version of the
/// server or of `pg_dump`, or another encoding, may write all of them in another way.
fn is_written_alike(source: &PostgresSource, base: &Sidecar) -> bool {
    let (now, Some(then)) = (source.database(), base.database.as_ref()) else {
        return false;
    };
    let major = |version: &Option<String>| {
        let version = PostgresVersion::parse(version.as_deref()?)?;
        Some(version.major)
    };
    major(&now.server_version) == major(&then.server_version)
        && source.program_version().major == pg_dump_major(Some(&base.producer))
        && now.encoding == then.encoding
}

/// Finds the tables of a dump for the delta, which knows nothing of databases.
struct TableFinder(Option<DumpSections>);

impl SectionFinder for TableFinder {
    fn find_sections(&mut self, bytes: &[u8]) -> Vec<SectionStart> {
        let sections = self.0.iter_mut();
        let found = sections.flat_map(|sections| sections.find(bytes));
        found
            .map(|found| SectionStart {
                offset: found.offset,
                name: found.name.into_bytes(),
            })
            .collect()
    }

    fn expects(&self, name: &[u8]) -> bool {
        let name = std::str::from_utf8(name).ok();
        (self.0.as_ref().zip(name)).is_some_and(|(sections, name)| sections.expects(name))
    }
}

#[cfg(test)]
mod tests;
