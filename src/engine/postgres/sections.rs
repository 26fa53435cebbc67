//! Where the rows of each table begin in a dump that goes by, so that they can be laid beside the
//! rows that the same table has in another dump.

use super::archive::ArchiveSections;
use super::counting::{WITHOUT_ROWS, normalize_name_on_one_line};
use super::scan::ScriptSections;
use crate::engine::{Manifest, PgFormat, Table};

/// The beginning of a section of a dump: mostly the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpSection {
    /// The offset of its first byte.
    pub offset: u64,
    /// The table's name on one line, quoted by our own rules, or what is called so in every dump.
    pub name: String,
}

/// Finds the sections of a dump that it sees from the first byte on, piece by piece. What it can't
/// read has no sections, which is no error.
pub enum DumpSections {
    Archive(ArchiveSections),
    Script(ScriptSections),
}

impl DumpSections {
    /// Begins with the first byte of a dump of this format. That of roles has no tables.
    pub fn new(format: PgFormat) -> Option<DumpSections> {
        match format {
            PgFormat::Custom => Some(DumpSections::Archive(ArchiveSections::default())),
            PgFormat::Plain => Some(DumpSections::Script(ScriptSections::default())),
            PgFormat::Globals => None,
        }
    }

    /// Looks at the next bytes, and returns the sections whose beginning is known now.
    pub fn find(&mut self, bytes: &[u8]) -> Vec<DumpSection> {
        match self {
            DumpSections::Archive(sections) => sections.find(bytes),
            DumpSections::Script(sections) => sections.find(bytes),
        }
    }

    /// Whether the dump has told that this section is still to come.
    pub fn expects(&self, name: &str) -> bool {
        match self {
            DumpSections::Archive(sections) => sections.expects(name),
            // A script has no table of contents.
            DumpSections::Script(_) => false,
        }
    }

    /// The fewest bytes of a row. In an archive each has its length before it.
    pub fn shortest_row(format: PgFormat) -> usize {
        match format {
            PgFormat::Custom => ArchiveSections::SHORTEST_ROW,
            PgFormat::Plain | PgFormat::Globals => 1,
        }
    }

    /// The names of the sections in a dump with this manifest, where it does not tell them itself.
    pub fn names_in(manifest: &Manifest, format: PgFormat) -> Vec<String> {
        if format != PgFormat::Plain {
            return Vec::new();
        }
        let has_rows = |table: &&Table| table.rows.is_some() && table.kind != WITHOUT_ROWS;
        let tables = manifest.tables.iter().filter(has_rows);
        let names = tables.map(|table| normalize_name_on_one_line(&table.name));
        names
            .chain(ScriptSections::AFTER_ROWS.map(str::to_owned))
            .collect()
    }
}
