//! Decodes the rows of a dump's tables from the COPY data of its script: escapes are undone, and
//! each value gets its meaning.

use super::names::QualifiedName;
use super::scan::RowObserver;
use super::shapes::ColumnShapes;
use crate::engine::{Cell, RowSink, Shape};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::ops::Range;

/// Hands the rows of a script that is being scanned to a [`RowSink`].
pub struct RowDecoder<'a> {
    take: &'a mut dyn RowSink,
    shapes: ColumnShapes,
    columns: Vec<Shape>,
    seen: HashSet<QualifiedName>,
    encoding: TextEncoding,
    line: Vec<u8>,
    /// Whether a row has begun.
    open: bool,
    /// The decoded text of the row's cells, one after the other.
    text: Vec<u8>,
    cells: Vec<Option<Range<usize>>>,
    table: QualifiedName,
}

/// The encoding of the script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum TextEncoding {
    /// UTF-8, or bytes of which the server knows no more; they are passed on unchanged.
    #[default]
    Verbatim,
    /// Each byte is the character of that number.
    Latin1,
    /// An encoding that is not supported here.
    Other(String),
}

impl<'a> RowDecoder<'a> {
    /// Hands the rows to `take`.
    pub fn new(take: &'a mut dyn RowSink) -> Self {
        RowDecoder {
            take,
            shapes: ColumnShapes::default(),
            columns: Vec::new(),
            seen: HashSet::new(),
            encoding: TextEncoding::default(),
            line: Vec::new(),
            open: false,
            text: Vec::new(),
            cells: Vec::new(),
            table: QualifiedName::new("", ""),
        }
    }

    /// The encoding of the text that was handed on, where it is not UTF-8.
    pub fn foreign_encoding(&self) -> Option<&str> {
        match &self.encoding {
            TextEncoding::Other(name) if !self.seen.is_empty() => Some(name),
            _ => None,
        }
    }

    fn finish_row(&mut self) -> Result<()> {
        self.text.clear();
        self.cells.clear();
        // A table without columns has empty lines.
        if !self.columns.is_empty() {
            for field in self.line.split(|byte| *byte == b'\t') {
                self.cells.push(unescape(field, &mut self.text));
            }
        }
        if self.cells.len() != self.columns.len() {
            let text = format!(
                "a row of {} has {} values for {} columns",
                self.table,
                self.cells.len(),
                self.columns.len()
            );
            return Err(Error::damaged(text));
        }
        let latin1 = self.encoding == TextEncoding::Latin1;
        let recoded: Vec<String> = if latin1 {
            self.texts()
                .map(|text| text.iter().map(|byte| char::from(*byte)).collect())
                .collect()
        } else {
            Vec::new()
        };
        let mut recoded = recoded.iter();
        let cells: Vec<Cell<'_>> = (self.cells.iter().zip(&self.columns))
            .map(|(range, shape)| {
                let text = range.clone().map(|range| match latin1 {
                    true => recoded.next().map_or(&[][..], |text| text.as_bytes()),
                    false => &self.text[range],
                });
                Cell { text, shape }
            })
            .collect();
        self.take.write_row(&cells)
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.cells
            .iter()
            .flatten()
            .map(|range| &self.text[range.clone()])
    }
}

impl RowObserver for RowDecoder<'_> {
    fn on_create(&mut self, statement: &str) {
        self.shapes.read_create(statement);
    }

    fn on_set(&mut self, statement: &str) {
        let Some((name, value)) = statement.split_once('=') else {
            return;
        };
        if name.trim() != "client_encoding" {
            return;
        }
        let value = value.trim().trim_matches('\'').to_ascii_uppercase();
        self.encoding = match value.as_str() {
            "UTF8" | "UNICODE" | "SQL_ASCII" => TextEncoding::Verbatim,
            "LATIN1" => TextEncoding::Latin1,
            _ => TextEncoding::Other(value),
        };
    }

    fn begin_table(
        &mut self,
        table: &QualifiedName,
        copied: &QualifiedName,
        columns: &[String],
    ) -> Result<bool> {
        if !self.take.begin_table(&table.schema, &table.name, columns)? {
            return Ok(false);
        }
        if !self.seen.insert(table.clone()) {
            return Err(
                Error::failed(format!("the dump has rows of {table} in two places"))
                    .with_hint("restore it, and take the table from there"),
            );
        }
        if let TextEncoding::Other(name) = &self.encoding
            && self.take.needs_utf8()
        {
            return Err(Error::failed(format!(
                "the dump's text is in {name}, and this format is UTF-8"
            ))
            .with_hint("`--format csv` leaves the text as it is"));
        }
        self.columns = columns
            .iter()
            .map(|column| self.shapes.shape_of(copied, column))
            .collect();
        self.table = table.clone();
        self.open = false;
        Ok(true)
    }

    fn push_data(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..at]);
            if self.open {
                self.finish_row()?;
            }
            self.line.clear();
            self.open = true;
            bytes = &bytes[at + 1..];
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_table(&mut self) -> Result<()> {
        if self.open {
            self.finish_row()?;
        }
        self.line.clear();
        self.open = false;
        self.take.end_table()
    }
}

/// Appends a field without its escapes to `text`; `None` for NULL. See "Text Format" of COPY in
/// PostgreSQL's manual.
fn unescape(field: &[u8], text: &mut Vec<u8>) -> Option<Range<usize>> {
    if field == b"\\N" {
        return None;
    }
    let start = text.len();
    let mut rest = field;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some((&letter, after)) = rest.split_first() else {
            text.push(b'\\');
            break;
        };
        let (byte, length) = match letter {
            b'b' => (0x08, 1),
            b'f' => (0x0c, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'v' => (0x0b, 1),
            b'0'..=b'7' => {
                let digits = count_digits(rest, 8, 3);
                (parse_digits(&rest[..digits], 8), digits)
            }
            b'x' if count_digits(after, 16, 2) > 0 => {
                let digits = count_digits(after, 16, 2);
                (parse_digits(&after[..digits], 16), digits + 1)
            }
            other => (other, 1),
        };
        text.push(byte);
        rest = &rest[length..];
    }
    text.extend_from_slice(rest);
    Some(start..text.len())
}

/// The number of digits at the beginning, at most `most`.
fn count_digits(bytes: &[u8], radix: u32, most: usize) -> usize {
    bytes
        .iter()
        .take(most)
        .take_while(|byte| char::from(**byte).is_digit(radix))
        .count()
}

/// The byte of this number. The server, too, takes the low eight bits of three octal digits.
fn parse_digits(digits: &[u8], radix: u32) -> u8 {
    let value = digits
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(radix))
        .fold(0, |sum, digit| sum * radix + digit);
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::scan::scan_with_observer;

    fn undone(field: &[u8]) -> Option<Vec<u8>> {
        let mut text = b"before".to_vec();
        unescape(field, &mut text).map(|range| text[range].to_vec())
    }

    #[test]
    fn escapes_are_undone_as_the_server_does_it() {
        assert_eq!(undone(b"\\N"), None);
        assert_eq!(undone(b"").unwrap(), b"");
        assert_eq!(undone(br"\\N").unwrap(), b"\\N");
        assert_eq!(
            undone(br"a\tb\nc\rd\be\ff\vg\\h").unwrap(),
            b"a\tb\nc\rd\x08e\x0cf\x0bg\\h"
        );
        assert_eq!(undone(br"\101\7\0608\777").unwrap(), b"A\x0708\xff");
        assert_eq!(undone(br"\x41\x4g\xzz\x").unwrap(), b"A\x04gxzzx");
        assert_eq!(undone(br"\q\.\").unwrap(), b"q.\\");
        assert_eq!(undone(br"\\x68").unwrap(), b"\\x68");
    }

    #[derive(Default)]
    struct RecordedRows {
        text: String,
        utf8: bool,
    }

    impl RowSink for RecordedRows {
        fn begin_table(&mut self, schema: &str, name: &str, columns: &[String]) -> Result<bool> {
            self.text += &format!("{schema}.{name}({})", columns.join(","));
            Ok(name != "unwanted")
        }

        fn write_row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
            let cell = |cell: &Cell<'_>| {
                cell.text.map_or("NULL".to_owned(), |text| {
                    format!("<{}>", String::from_utf8_lossy(text))
                })
            };
            self.text += &format!("[{}]", cells.iter().map(cell).collect::<Vec<_>>().join(","));
            Ok(())
        }

        fn end_table(&mut self) -> Result<()> {
            self.text.push(';');
            Ok(())
        }

        fn needs_utf8(&self) -> bool {
            self.utf8
        }
    }

    fn read(script: &[u8]) -> Result<String> {
        let mut noted = RecordedRows {
            utf8: true,
            ..RecordedRows::default()
        };
        scan_with_observer(&mut { script }, &mut RowDecoder::new(&mut noted))?;
        Ok(noted.text)
    }

    #[test]
    fn rows_are_those_between_the_marks() {
        let script = b"CREATE TABLE public.a (x integer, \"Y z\" text);\n\
            COPY public.a (x, \"Y z\") FROM stdin;\n1\t\\N\n\\N\t\n\\.\n\n\
            COPY public.empty (x) FROM stdin;\n\\.\n\n\
            COPY public.unwanted (x) FROM stdin;\n9\n\\.\n\n\
            COPY public.one (x) FROM stdin;\n\n\\.\n\n\
            COPY public.none  FROM stdin;\n\n\n\\.\n";
        let expected = "public.a(x,Y \
                        z)[<1>,NULL][NULL,<>];public.empty(x);public.unwanted(x)public.one(x)[<>];public.none()[][];";
        assert_eq!(read(script).unwrap(), expected);
    }

    #[test]
    fn text_becomes_utf8_or_is_refused() {
        let script = |encoding: &str| {
            [
                b"SET client_encoding = '",
                encoding.as_bytes(),
                b"';\nCOPY public.a (x) FROM stdin;\n\xe9\t\\N\n\\.\n",
            ]
            .concat()
        };
        let two = |encoding: &str| {
            script(encoding)
                .iter()
                .map(|byte| *byte as char)
                .collect::<String>()
                .replace("(x)", "(x, y)")
        };
        let bytes = |text: String| text.chars().map(|letter| letter as u8).collect::<Vec<u8>>();
        assert_eq!(
            read(&bytes(two("LATIN1"))).unwrap(),
            "public.a(x,y)[<é>,NULL];"
        );
        assert_eq!(
            read(&bytes(two("UTF8"))).unwrap(),
            "public.a(x,y)[<\u{fffd}>,NULL];"
        );
        assert!(
            read(&bytes(two("EUC_JP")))
                .unwrap_err()
                .message()
                .contains("EUC_JP")
        );
        assert!(
            read(&script("UTF8"))
                .unwrap_err()
                .message()
                .contains("2 values for 1 columns")
        );
    }

    #[test]
    fn a_table_in_two_places_is_refused() {
        let block = "COPY public.a (x) FROM stdin;\n1\n\\.\n";
        assert!(
            read(format!("{block}{block}").as_bytes())
                .unwrap_err()
                .message()
                .contains("in two places")
        );
    }
}
