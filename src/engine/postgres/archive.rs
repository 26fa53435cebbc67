//! Reads an archive of `pg_dump --format=custom --compress=0` as a stream, and counts the rows of
//! each table in it.
//!
//! The format is documented by PostgreSQL's source alone (`pg_backup_archiver.c`,
//! `pg_backup_custom.c`): a header, a table of contents, then a block of data for each table, in
//! chunks that are preceded by their lengths. A stream that can't be rewound has no positions in
//! its table of contents, so each block carries the number of its entry.

mod sections;

pub use sections::ArchiveSections;

use super::names::QualifiedName;
use crate::error::Error;
use memchr::memchr_iter;
use std::collections::HashMap;
use std::io::{ErrorKind, Read};

/// The versions of the format of PostgreSQL 13 to 18.
const KNOWN_VERSIONS: std::ops::RangeInclusive<u8> = 14..=16;
/// The first version whose header gives the compression in one byte.
const NAMES_COMPRESSION: u8 = 15;
/// The first version whose entries give the kind of their relation.
const NAMES_RELATION_KIND: u8 = 16;

/// The tag of the custom format in the header.
const FORMAT_CUSTOM: u8 = 1;
/// The bytes that begin the data of a table, and that of large objects.
const DATA_BLOCK: u8 = 1;
const LARGE_OBJECT_BLOCK: u8 = 3;

/// The longest name that is accepted; those of PostgreSQL have at most 63 bytes.
const LONGEST_NAME: u64 = 1 << 16;
/// What follows a table's last row: `\.` and line breaks.
const END_OF_ROWS: &[u8] = b"\\.\n";
/// How many bytes at the end of a block are kept: more than the end of the rows takes.
const TAIL: usize = 8;

/// The reasons why the rows of an archive can't be counted.
#[derive(Debug)]
pub enum CountFailure {
    /// The archive breaks off, whatever its writer's exit status was.
    CutOff,
    /// The archive is of a kind that this code does not know, which says nothing against it.
    NotUnderstood(String),
    /// Reading it failed.
    Unreadable(Error),
}

type CountResult<T> = std::result::Result<T, CountFailure>;

/// Counts the rows of each table that has data in the archive, in the order of the data.
pub fn count_rows(archive: &mut dyn Read) -> CountResult<Vec<(QualifiedName, u64)>> {
    let mut reader = ArchiveReader {
        input: ArchiveWindow::new(archive),
        shape: ArchiveShape::default(),
    };
    reader.read_header()?;
    let tables = reader.read_table_of_contents()?;
    reader.count_data(&tables)
}

/// The bytes of an archive from a position on.
trait ArchiveInput {
    /// Returns what is in memory, at least `wanted` bytes of it. Fewer are returned only at the end
    /// of the archive.
    fn fill(&mut self, wanted: usize) -> CountResult<&[u8]>;

    /// Goes forward by `count` bytes, which are in memory.
    fn consume(&mut self, count: usize);
}

/// The part of the archive that is in memory. `pg_dump` writes a chunk for each row, so the work
/// for a chunk must be small.
struct ArchiveWindow<'a> {
    archive: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'a> ArchiveWindow<'a> {
    const LENGTH: usize = 256 << 10;

    fn new(archive: &'a mut dyn Read) -> Self {
        ArchiveWindow {
            archive,
            buffer: vec![0; Self::LENGTH],
            start: 0,
            end: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl ArchiveInput for ArchiveWindow<'_> {
    /// Reads until `wanted` bytes are there, at most the window's length.
    fn fill(&mut self, wanted: usize) -> CountResult<&[u8]> {
        if self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end < wanted {
            match self.archive.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(length) => self.end += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(CountFailure::Unreadable(error.into())),
            }
        }
        Ok(self.bytes())
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

/// How an archive writes what it consists of.
#[derive(Debug, Clone, Copy, Default)]
struct ArchiveShape {
    /// Bytes of an integer without its sign.
    int_size: usize,
    offset_size: u64,
    minor: u8,
}

/// An entry of the table of contents.
struct ArchiveEntry {
    number: i64,
    kind: String,
    schema: String,
    tag: String,
}

impl ArchiveEntry {
    /// The table whose rows it stands for.
    fn table(self) -> Option<QualifiedName> {
        (self.kind == "TABLE DATA").then(|| QualifiedName::new(self.schema, self.tag))
    }
}

struct ArchiveReader<I> {
    input: I,
    shape: ArchiveShape,
}

impl<I: ArchiveInput> ArchiveReader<I> {
    fn read_header(&mut self) -> CountResult<()> {
        for expected in b"PGDMP" {
            if self.read_byte()? != *expected {
                return Err(not_understood("it does not begin as one"));
            }
        }
        let (major, minor, _revision) = (self.read_byte()?, self.read_byte()?, self.read_byte()?);
        if major != 1 || !KNOWN_VERSIONS.contains(&minor) {
            return Err(not_understood(&format!("its format is {major}.{minor}")));
        }
        self.shape = ArchiveShape {
            int_size: usize::from(self.read_byte()?),
            offset_size: u64::from(self.read_byte()?),
            minor,
        };
        if !(1..=8).contains(&self.shape.int_size) || self.read_byte()? != FORMAT_CUSTOM {
            return Err(not_understood(
                "its header is not that of the custom format",
            ));
        }
        let compression = if minor >= NAMES_COMPRESSION {
            i64::from(self.read_byte()?)
        } else {
            self.read_integer()?
        };
        if compression != 0 {
            return Err(not_understood("it is compressed inside"));
        }
        // The time of creation: seconds, minutes, hours, day, month, year, and daylight saving.
        for _ in 0..7 {
            self.read_integer()?;
        }
        // The database, and the versions of the server and of pg_dump.
        (0..3).try_for_each(|_| self.skip_text())
    }

    /// Reads the entries of tables that have data, by their numbers.
    fn read_table_of_contents(&mut self) -> CountResult<HashMap<i64, QualifiedName>> {
        let count = self.read_integer()?;
        let mut tables = HashMap::new();
        for _ in 0..count {
            let entry = self.read_entry()?;
            let number = entry.number;
            tables.extend(entry.table().map(|table| (number, table)));
        }
        Ok(tables)
    }

    fn read_entry(&mut self) -> CountResult<ArchiveEntry> {
        let number = self.read_integer()?;
        let _has_data = self.read_integer()?;
        // The catalog and the object's number in it.
        self.skip_text()?;
        self.skip_text()?;
        let tag = self.read_name()?;
        let kind = self.read_name()?;
        let _section = self.read_integer()?;
        // The statements that create it, drop it and copy into it.
        (0..3).try_for_each(|_| self.skip_text())?;
        let schema = self.read_name()?;
        // The tablespace and the access method.
        self.skip_text()?;
        self.skip_text()?;
        if self.shape.minor >= NAMES_RELATION_KIND {
            self.read_integer()?;
        }
        // The owner, and whether rows once had object identifiers.
        self.skip_text()?;
        self.skip_text()?;
        while self.skip_text_or_end()? {}
        self.skip(1 + self.shape.offset_size)?;
        Ok(ArchiveEntry {
            number,
            kind: kind.unwrap_or_default(),
            schema: schema.unwrap_or_default(),
            tag: tag.unwrap_or_default(),
        })
    }

    fn count_data(
        &mut self,
        tables: &HashMap<i64, QualifiedName>,
    ) -> CountResult<Vec<(QualifiedName, u64)>> {
        let mut counted = Vec::with_capacity(tables.len());
        while let Some(kind) = self.read_next_byte()? {
            let number = self.read_integer()?;
            match kind {
                DATA_BLOCK => {
                    let rows = self.count_block()?;
                    if let Some(table) = tables.get(&number) {
                        let rows = rows.ok_or_else(|| {
                            not_understood(&format!("the rows of {table} have no end"))
                        })?;
                        counted.push((table.clone(), rows));
                    }
                }
                LARGE_OBJECT_BLOCK => {
                    while self.read_integer()? != 0 {
                        self.count_block()?;
                    }
                }
                _ => return Err(not_understood(&format!("there is a block of kind {kind}"))),
            }
        }
        if counted.len() < tables.len() {
            return Err(CountFailure::CutOff);
        }
        Ok(counted)
    }

    /// Reads the chunks of one block, up to the empty one that ends it. Returns the number of rows,
    /// or `None` where the block does not end as rows do.
    fn count_block(&mut self) -> CountResult<Option<u64>> {
        let (mut lines, mut tail) = (0u64, Vec::with_capacity(2 * TAIL));
        loop {
            let mut left = self.read_length()?;
            if left == 0 {
                return Ok(rows_before_end(lines, &tail));
            }
            while left > 0 {
                let part = self.peek(left)?;
                lines += memchr_iter(b'\n', part).count() as u64;
                if part.len() >= TAIL {
                    tail.clear();
                }
                tail.extend_from_slice(&part[part.len().saturating_sub(TAIL)..]);
                tail.drain(..tail.len().saturating_sub(TAIL));
                let length = part.len();
                self.input.consume(length);
                left -= length as u64;
            }
        }
    }

    /// Returns between one and `length` bytes without consuming them.
    fn peek(&mut self, length: u64) -> CountResult<&[u8]> {
        let bytes = self.input.fill(1)?;
        if bytes.is_empty() {
            return Err(CountFailure::CutOff);
        }
        Ok(&bytes[..bytes
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX))])
    }

    /// Consumes the next byte, if there is one.
    fn read_next_byte(&mut self) -> CountResult<Option<u8>> {
        let byte = self.input.fill(1)?.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn read_byte(&mut self) -> CountResult<u8> {
        self.read_next_byte()?.ok_or(CountFailure::CutOff)
    }

    /// An integer: its sign, then its bytes, the lowest first.
    fn read_integer(&mut self) -> CountResult<i64> {
        let length = 1 + self.shape.int_size;
        let Some((sign, digits)) = self
            .input
            .fill(length)?
            .get(..length)
            .and_then(<[u8]>::split_first)
        else {
            return Err(CountFailure::CutOff);
        };
        let value = digits
            .iter()
            .rev()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let negative = *sign != 0;
        self.input.consume(length);
        let value =
            i64::try_from(value).map_err(|_| not_understood("a number in it is too large"))?;
        Ok(if negative { -value } else { value })
    }

    fn read_length(&mut self) -> CountResult<u64> {
        u64::try_from(self.read_integer()?)
            .map_err(|_| not_understood("a length in it is negative"))
    }

    /// The length of a text; `None` where there is no text.
    fn read_text_length(&mut self) -> CountResult<Option<u64>> {
        Ok(u64::try_from(self.read_integer()?).ok())
    }

    fn read_name(&mut self) -> CountResult<Option<String>> {
        let Some(length) = self.read_text_length()? else {
            return Ok(None);
        };
        if length > LONGEST_NAME {
            return Err(not_understood("a name in it is too long"));
        }
        let bytes: Vec<u8> = (0..length)
            .map(|_| self.read_byte())
            .collect::<CountResult<_>>()?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn skip_text(&mut self) -> CountResult<()> {
        self.skip_text_or_end().map(drop)
    }

    /// Skips a text. Returns false where there is none, which ends a list of texts.
    fn skip_text_or_end(&mut self) -> CountResult<bool> {
        let Some(length) = self.read_text_length()? else {
            return Ok(false);
        };
        self.skip(length).map(|()| true)
    }

    fn skip(&mut self, mut length: u64) -> CountResult<()> {
        while length > 0 {
            let here = self.peek(length)?.len();
            self.input.consume(here);
            length -= here as u64;
        }
        Ok(())
    }
}

/// The number of lines before the `\.` that ends a table's data. A backslash in a row is doubled,
/// so no row looks like it.
fn rows_before_end(lines: u64, tail: &[u8]) -> Option<u64> {
    let end = memchr::memmem::rfind(tail, END_OF_ROWS)?;
    let begins_a_line = end == 0 || tail[end - 1] == b'\n';
    let after = &tail[end + 2..];
    (begins_a_line && after.iter().all(|byte| *byte == b'\n')).then(|| lines - after.len() as u64)
}

fn not_understood(why: &str) -> CountFailure {
    CountFailure::NotUnderstood(format!(
        "the archive that pg_dump wrote is not understood: {why}"
    ))
}

#[cfg(test)]
mod tests;
