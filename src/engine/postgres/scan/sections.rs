//! The sections of a script: what follows the comments that `pg_dump` puts before the rows of each
//! table.
//!
//! The script is not cut into statements, as a section that is not found, or one too many, makes a
//! delta larger and never wrong. But rows are never taken for comments.

use super::DATA_FOR;
use super::copy::parse_announced_table;
use crate::engine::postgres::sections::DumpSection;
use memchr::{memchr, memmem};

/// The longest beginning of a line that is kept, in bytes; a COPY of 1600 columns is shorter.
const LONGEST_LINE: usize = 1 << 20;
/// The line after the last row of a table, and the end of the line before.
const END_OF_ROWS: &[u8] = b"\n\\.\n";
/// What a COPY whose rows follow ends with.
const BEFORE_ROWS: &[u8] = b" FROM stdin;\n";

/// Finds where the rows of each table begin in a script.
pub struct ScriptSections {
    end_of_rows: memmem::Finder<'static>,
    /// Whether rows go by.
    in_rows: bool,
    /// The beginning of the line that has not ended; among rows the last bytes that have come.
    line: Vec<u8>,
    line_offset: u64,
    position: u64,
    /// Which parts of the script have begun.
    part: ScriptPart,
}

/// The parts of a script, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ScriptPart {
    BeforeRows,
    Rows,
    Sequences,
    Definitions,
}

impl Default for ScriptSections {
    fn default() -> Self {
        ScriptSections {
            end_of_rows: memmem::Finder::new(END_OF_ROWS),
            in_rows: false,
            line: Vec::new(),
            line_offset: 0,
            position: 0,
            part: ScriptPart::BeforeRows,
        }
    }
}

impl ScriptSections {
    /// The sections that follow the rows of all tables. No table has such a name.
    pub const AFTER_ROWS: [&str; 2] = ["sequences", "definitions"];

    /// Looks at the next bytes of the script, and returns the sections whose beginning is known
    /// now.
    pub fn find(&mut self, bytes: &[u8]) -> Vec<DumpSection> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if self.in_rows {
                self.skip_rows(rest)
            } else {
                self.read_line(rest, &mut found)
            };
        }
        found
    }

    /// Goes to the end of the rows; returns what follows.
    fn skip_rows<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.line.len();
        let overlap = bytes.len().min(END_OF_ROWS.len() - 1);
        self.line.extend_from_slice(&bytes[..overlap]);
        let end = match self.end_of_rows.find(&self.line) {
            // The bytes before were not enough for it.
            Some(at) => Some(at + END_OF_ROWS.len() - before),
            None => (self.end_of_rows.find(bytes)).map(|at| at + END_OF_ROWS.len()),
        };
        if let Some(end) = end {
            self.in_rows = false;
            self.line.clear();
            self.position += end as u64;
            self.line_offset = self.position;
            return &bytes[end..];
        }
        if bytes.len() > overlap {
            self.line.clear();
            self.line.extend_from_slice(&bytes[bytes.len() - overlap..]);
        }
        let kept = self.line.len().min(END_OF_ROWS.len() - 1);
        self.line.drain(..self.line.len() - kept);
        self.position += bytes.len() as u64;
        &[]
    }

    /// Goes to the end of the line; returns what follows.
    fn read_line<'a>(&mut self, bytes: &'a [u8], found: &mut Vec<DumpSection>) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (here, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        self.position += here.len() as u64;
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        if end.is_none() {
            self.line.extend_from_slice(&here[..here.len().min(room)]);
            return rest;
        }
        let mut joint = std::mem::take(&mut self.line);
        let line = if joint.is_empty() {
            here
        } else {
            joint.extend_from_slice(&here[..here.len().min(room)]);
            &joint
        };
        let name = self.section_at(line);
        found.extend(name.map(|name| DumpSection {
            offset: self.line_offset,
            name,
        }));
        if self.part >= ScriptPart::Rows && line.ends_with(BEFORE_ROWS) {
            self.in_rows = true;
            self.line.push(b'\n');
        }
        self.line_offset = self.position;
        rest
    }

    /// The name of the section that begins with this line.
    fn section_at(&mut self, line: &[u8]) -> Option<String> {
        if !line.starts_with(b"-- ") {
            return None;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        if text.starts_with(DATA_FOR) {
            let table = parse_announced_table(text)?;
            self.part = self.part.max(ScriptPart::Rows);
            return Some(table.on_one_line().to_string());
        }
        if self.part == ScriptPart::BeforeRows || !text.starts_with("-- Name: ") {
            return None;
        }
        let (part, [sequences, definitions]) = (self.part, Self::AFTER_ROWS);
        let (next, name) = match text.contains("; Type: SEQUENCE SET; ") {
            true => (ScriptPart::Sequences, sequences),
            false => (ScriptPart::Definitions, definitions),
        };
        self.part = part.max(next);
        (next > part).then(|| name.to_owned())
    }
}
