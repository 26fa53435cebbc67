//! Reads an archive of `pg_dump --format=custom --compress=0` as it goes by, and counts the rows of
//! each table in it.
//!
//! The format is PostgreSQL's own and documented by its source alone (`pg_backup_archiver.c`,
//! `pg_backup_custom.c`): a header, a table of contents, then one block of data for each table, in
//! chunks, each with its length before it. A stream that can't be rewound has no positions in its
//! table of contents, so the blocks name the entry that they belong to.

use super::names::QualifiedName;
use crate::error::Error;
use memchr::memchr_iter;
use std::collections::HashMap;
use std::io::{ErrorKind, Read};

/// The versions of the format that are known: those of PostgreSQL 13 to 18.
const KNOWN_VERSIONS: std::ops::RangeInclusive<u8> = 14..=16;
/// From this version on the header names the compression by one byte.
const NAMES_COMPRESSION: u8 = 15;
/// From this version on an entry says what kind of relation it is of.
const NAMES_RELATION_KIND: u8 = 16;

/// The tag of the custom format in the header.
const FORMAT_CUSTOM: u8 = 1;
/// What begins the data of one entry, and that of large objects.
const DATA_BLOCK: u8 = 1;
const LARGE_OBJECT_BLOCK: u8 = 3;

/// Names are kept up to this length; those of PostgreSQL have 63 bytes.
const LONGEST_NAME: u64 = 1 << 16;
/// What follows a table's last row: `\.` and line breaks.
const END_OF_ROWS: &[u8] = b"\\.\n";
/// More than the end of the rows is long.
const TAIL: usize = 8;

/// Why the rows of an archive can't be counted.
#[derive(Debug)]
pub enum Uncountable {
    /// It breaks off: whatever its writer said, it is no whole archive.
    CutOff,
    /// It is not of the kind that is known here, which says nothing against it.
    NotUnderstood(String),
    /// Reading it failed.
    Unreadable(Error),
}

type Result<T> = std::result::Result<T, Uncountable>;

/// Counts the rows of each table that has data in the archive, in the order of the data.
pub fn count_rows(archive: &mut dyn Read) -> Result<Vec<(QualifiedName, u64)>> {
    let mut reader = ArchiveReader {
        input: Window::new(archive),
        int_size: 0,
        offset_size: 0,
        minor: 0,
    };
    reader.header()?;
    let tables = reader.table_of_contents()?;
    reader.data(&tables)
}

/// The part of the archive that is in memory. `pg_dump` writes a chunk for each row, so what is
/// done for a chunk must be little.
struct Window<'a> {
    archive: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'a> Window<'a> {
    const LENGTH: usize = 256 << 10;

    fn new(archive: &'a mut dyn Read) -> Self {
        Window {
            archive,
            buffer: vec![0; Self::LENGTH],
            start: 0,
            end: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until so many bytes are there, at most the window's length; fewer at the end of the
    /// archive.
    fn fill(&mut self, wanted: usize) -> Result<&[u8]> {
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
                Err(error) => return Err(Uncountable::Unreadable(error.into())),
            }
        }
        Ok(self.bytes())
    }
}

struct ArchiveReader<'a> {
    input: Window<'a>,
    /// Bytes of an integer, its sign left out.
    int_size: usize,
    offset_size: u64,
    minor: u8,
}

impl ArchiveReader<'_> {
    fn header(&mut self) -> Result<()> {
        for expected in b"PGDMP" {
            if self.byte()? != *expected {
                return Err(not_understood("it does not begin as one"));
            }
        }
        let (major, minor, _revision) = (self.byte()?, self.byte()?, self.byte()?);
        if major != 1 || !KNOWN_VERSIONS.contains(&minor) {
            return Err(not_understood(&format!("its format is {major}.{minor}")));
        }
        self.minor = minor;
        self.int_size = usize::from(self.byte()?);
        self.offset_size = u64::from(self.byte()?);
        if !(1..=8).contains(&self.int_size) || self.byte()? != FORMAT_CUSTOM {
            return Err(not_understood(
                "its header is not that of the custom format",
            ));
        }
        let compression = if minor >= NAMES_COMPRESSION {
            i64::from(self.byte()?)
        } else {
            self.integer()?
        };
        if compression != 0 {
            return Err(not_understood("it is compressed inside"));
        }
        // The time: seconds, minutes, hours, day, month, year, and whether it is summer.
        for _ in 0..7 {
            self.integer()?;
        }
        // The database, and the versions of the server and of pg_dump.
        (0..3).try_for_each(|_| self.skip_text())
    }

    /// The entries of tables that have data, by their numbers.
    fn table_of_contents(&mut self) -> Result<HashMap<i64, QualifiedName>> {
        let count = self.integer()?;
        let mut tables = HashMap::new();
        for _ in 0..count {
            let number = self.integer()?;
            let _has_data = self.integer()?;
            // The catalog and the number of the object there.
            self.skip_text()?;
            self.skip_text()?;
            let tag = self.name()?;
            let kind = self.name()?;
            let _section = self.integer()?;
            // How to make it, to drop it, and to copy into it.
            (0..3).try_for_each(|_| self.skip_text())?;
            let schema = self.name()?;
            // The tablespace and the access method.
            self.skip_text()?;
            self.skip_text()?;
            if self.minor >= NAMES_RELATION_KIND {
                self.integer()?;
            }
            // The owner, and whether rows had numbers of their own once.
            self.skip_text()?;
            self.skip_text()?;
            while self.skip_text_or_end()? {}
            self.skip(1 + self.offset_size)?;
            if kind.as_deref() == Some("TABLE DATA") {
                tables.insert(
                    number,
                    QualifiedName::new(schema.unwrap_or_default(), tag.unwrap_or_default()),
                );
            }
        }
        Ok(tables)
    }

    fn data(&mut self, tables: &HashMap<i64, QualifiedName>) -> Result<Vec<(QualifiedName, u64)>> {
        let mut counted = Vec::with_capacity(tables.len());
        while let Some(kind) = self.next_byte()? {
            let number = self.integer()?;
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
                    while self.integer()? != 0 {
                        self.count_block()?;
                    }
                }
                _ => return Err(not_understood(&format!("there is a block of kind {kind}"))),
            }
        }
        if counted.len() < tables.len() {
            return Err(Uncountable::CutOff);
        }
        Ok(counted)
    }

    /// Reads the chunks of one block, the last of which is empty. Its rows, where it ends as rows
    /// do.
    fn count_block(&mut self) -> Result<Option<u64>> {
        let (mut lines, mut tail) = (0u64, Vec::with_capacity(2 * TAIL));
        loop {
            let mut left = self.length()?;
            if left == 0 {
                return Ok(rows_before_end(lines, &tail));
            }
            while left > 0 {
                let part = self.part(left)?;
                lines += memchr_iter(b'\n', part).count() as u64;
                if part.len() >= TAIL {
                    tail.clear();
                }
                tail.extend_from_slice(&part[part.len().saturating_sub(TAIL)..]);
                tail.drain(..tail.len().saturating_sub(TAIL));
                let length = part.len();
                self.input.start += length;
                left -= length as u64;
            }
        }
    }

    /// At least one of so many bytes; not consumed.
    fn part(&mut self, length: u64) -> Result<&[u8]> {
        let there = self.input.fill(1)?;
        if there.is_empty() {
            return Err(Uncountable::CutOff);
        }
        Ok(&there[..there
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX))])
    }

    /// The next byte, where there is one.
    fn next_byte(&mut self) -> Result<Option<u8>> {
        let byte = self.input.fill(1)?.first().copied();
        self.input.start += usize::from(byte.is_some());
        Ok(byte)
    }

    fn byte(&mut self) -> Result<u8> {
        self.next_byte()?.ok_or(Uncountable::CutOff)
    }

    /// A sign, then the bytes of the number, the lowest first.
    fn integer(&mut self) -> Result<i64> {
        let length = 1 + self.int_size;
        let Some((sign, digits)) = self
            .input
            .fill(length)?
            .get(..length)
            .and_then(<[u8]>::split_first)
        else {
            return Err(Uncountable::CutOff);
        };
        let value = digits
            .iter()
            .rev()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let negative = *sign != 0;
        self.input.start += length;
        let value =
            i64::try_from(value).map_err(|_| not_understood("a number in it is too large"))?;
        Ok(if negative { -value } else { value })
    }

    fn length(&mut self) -> Result<u64> {
        u64::try_from(self.integer()?).map_err(|_| not_understood("a length in it is negative"))
    }

    /// The length of a text; none where there is no text.
    fn text_length(&mut self) -> Result<Option<u64>> {
        Ok(u64::try_from(self.integer()?).ok())
    }

    fn name(&mut self) -> Result<Option<String>> {
        let Some(length) = self.text_length()? else {
            return Ok(None);
        };
        if length > LONGEST_NAME {
            return Err(not_understood("a name in it is too long"));
        }
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect::<Result<_>>()?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn skip_text(&mut self) -> Result<()> {
        self.skip_text_or_end().map(drop)
    }

    /// Whether there was a text: a list of them ends with none.
    fn skip_text_or_end(&mut self) -> Result<bool> {
        let Some(length) = self.text_length()? else {
            return Ok(false);
        };
        self.skip(length).map(|()| true)
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let here = self.part(length)?.len();
            self.input.start += here;
            length -= here as u64;
        }
        Ok(())
    }
}

/// The lines before the `\.` at the end of a table's data; a row's own backslash is doubled, so
/// none looks like it.
fn rows_before_end(lines: u64, tail: &[u8]) -> Option<u64> {
    let end = memchr::memmem::rfind(tail, END_OF_ROWS)?;
    let begins_a_line = end == 0 || tail[end - 1] == b'\n';
    let after = &tail[end + 2..];
    (begins_a_line && after.iter().all(|byte| *byte == b'\n')).then(|| lines - after.len() as u64)
}

fn not_understood(why: &str) -> Uncountable {
    Uncountable::NotUnderstood(format!(
        "the archive that pg_dump wrote is not understood: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive as PostgreSQL writes it, of these tables and their data.
    fn archive(minor: u8, tables: &[(&str, &str, &[&[u8]])], large_objects: &[&[u8]]) -> Vec<u8> {
        fn integer(value: i32) -> Vec<u8> {
            let mut bytes = vec![u8::from(value < 0)];
            bytes.extend(value.unsigned_abs().to_le_bytes());
            bytes
        }
        fn text(text: Option<&str>) -> Vec<u8> {
            let Some(text) = text else { return integer(-1) };
            [
                integer(i32::try_from(text.len()).unwrap()),
                text.as_bytes().to_vec(),
            ]
            .concat()
        }
        let mut bytes = [b"PGDMP".to_vec(), vec![1, minor, 0, 4, 8, 1]].concat();
        bytes.extend(if minor >= 15 { vec![0] } else { integer(0) });
        (0..7).for_each(|_| bytes.extend(integer(1)));
        (0..3).for_each(|_| bytes.extend(text(Some("x"))));
        bytes.extend(integer(i32::try_from(tables.len() + 1).unwrap()));
        let entries = tables
            .iter()
            .map(|(schema, name, _)| ("TABLE DATA", *schema, *name));
        for (number, (kind, schema, name)) in std::iter::once(("TABLE", "s", "t"))
            .chain(entries)
            .enumerate()
        {
            bytes.extend(integer(i32::try_from(number).unwrap()));
            bytes.extend(integer(1));
            bytes.extend(
                [
                    text(Some("1259")),
                    text(Some("5")),
                    text(Some(name)),
                    text(Some(kind)),
                    integer(3),
                ]
                .concat(),
            );
            bytes.extend(
                [
                    text(Some("CREATE")),
                    text(None),
                    text(Some("COPY")),
                    text(Some(schema)),
                    text(None),
                    text(None),
                ]
                .concat(),
            );
            if minor >= 16 {
                bytes.extend(integer(114));
            }
            bytes.extend(
                [
                    text(Some("me")),
                    text(Some("false")),
                    text(Some("12")),
                    text(None),
                    vec![2; 9],
                ]
                .concat(),
            );
        }
        for (at, (_, _, chunks)) in tables.iter().enumerate() {
            bytes.extend([vec![1], integer(i32::try_from(at + 1).unwrap())].concat());
            for chunk in chunks
                .iter()
                .copied()
                .chain([&b"\\.\n"[..], b"\n\n"])
                .filter(|chunk| !chunk.is_empty())
            {
                bytes.extend(
                    [integer(i32::try_from(chunk.len()).unwrap()), chunk.to_vec()].concat(),
                );
            }
            bytes.extend(integer(0));
        }
        if !large_objects.is_empty() {
            bytes.extend([vec![3], integer(99)].concat());
            for (at, content) in large_objects.iter().enumerate() {
                bytes.extend(integer(i32::try_from(at + 1).unwrap()));
                bytes.extend(
                    [
                        integer(i32::try_from(content.len()).unwrap()),
                        content.to_vec(),
                        integer(0),
                    ]
                    .concat(),
                );
            }
            bytes.extend(integer(0));
        }
        bytes
    }

    fn counted(bytes: &[u8]) -> Result<Vec<(String, u64)>> {
        Ok(count_rows(&mut &*bytes)?
            .into_iter()
            .map(|(name, rows)| (name.to_string(), rows))
            .collect())
    }

    #[test]
    fn rows_are_counted_whatever_the_chunks() {
        for minor in KNOWN_VERSIONS {
            let tables: &[(&str, &str, &[&[u8]])] = &[
                ("public", "a", &[b"1\tx\n", b"2\t\\\\.\n"]),
                ("my schema", "b\"c", &[b"1\n2", b"\n3\n\n\n"]),
                ("public", "empty", &[]),
            ];
            let bytes = archive(minor, tables, &[b"\\.\nnot rows", b"x"]);
            let expected = [
                ("public.a", 2),
                ("\"my schema\".\"b\"\"c\"", 5),
                ("public.empty", 0),
            ];
            assert_eq!(
                counted(&bytes).unwrap(),
                expected.map(|(name, rows)| (name.to_owned(), rows))
            );
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_that_says_why() {
        let bytes = archive(15, &[("s", "t", &[b"1\n"])], &[]);
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            format!("{:?}", counted(&bytes).unwrap_err())
        };
        assert!(changed(0, b'X').contains("does not begin as one"));
        assert!(changed(6, 99).contains("1.99"));
        assert!(changed(11, 1).contains("compressed inside"));
        for length in 0..bytes.len() {
            assert!(
                matches!(counted(&bytes[..length]), Err(Uncountable::CutOff)),
                "cut to {length}"
            );
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_lines(rows in prop::collection::vec(prop::collection::vec(prop::num::u8::ANY, 0..6), 0..40), cut in 1usize..50) {
            let mut data = Vec::new();
            for row in &rows {
                // As COPY writes them: without line breaks, and with doubled backslashes.
                data.extend(row.iter().flat_map(|byte| match byte {
                    b'\n' => b"\\n".to_vec(),
                    b'\\' => b"\\\\".to_vec(),
                    _ => vec![*byte],
                }));
                data.push(b'\n');
            }
            let chunks: Vec<&[u8]> = data.chunks(cut).collect();
            let bytes = archive(16, &[("s", "t", &chunks)], &[]);
            prop_assert_eq!(counted(&bytes).unwrap(), [("s.t".to_owned(), rows.len() as u64)]);
        }

        #[test]
        fn no_bytes_make_it_panic(at in 0usize..400, to in prop::num::u8::ANY,
            more in prop::collection::vec(prop::num::u8::ANY, 0..40)) {
            let mut bytes = archive(16, &[("s", "t", &[b"1\n", b"2\n"]), ("s", "u", &[])],
                &[b"abc"]);
            let at = at % bytes.len();
            bytes[at] = to;
            bytes.extend(more);
            let _ = counted(&bytes);
        }
    }
}
