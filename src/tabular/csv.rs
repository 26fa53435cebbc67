//! CSV as RFC 4180 has it: lines end in CR LF, and quotes within a quoted field are doubled. As
//! with PostgreSQL's own CSV an empty field without quotes is NULL and one with them an empty text.

use super::OpenTable;
use crate::engine::Cell;
use std::io::{self, Write};

pub fn write_header(out: &mut impl Write, table: &OpenTable) -> io::Result<()> {
    write_line(out, table.columns.iter().map(|name| Some(name.as_bytes())))
}

pub fn write_row(out: &mut impl Write, cells: &[Cell<'_>]) -> io::Result<()> {
    write_line(out, cells.iter().map(|cell| cell.text))
}

fn write_line<'a>(
    out: &mut impl Write,
    fields: impl Iterator<Item = Option<&'a [u8]>>,
) -> io::Result<()> {
    for (at, text) in fields.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if let Some(text) = text {
            write_field(out, text)?;
        }
    }
    out.write_all(b"\r\n")
}

fn write_field(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    // A lone `\.` would end PostgreSQL's reading.
    if !text.is_empty() && text != b"\\." && !text.iter().any(special) {
        return out.write_all(text);
    }
    out.write_all(b"\"")?;
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.write_all(&rest[..at])?;
        out.write_all(b"\"\"")?;
        rest = &rest[at + 1..];
    }
    out.write_all(rest)?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Shape;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let texts: [Option<&[u8]>; 9] = [
            None,
            Some(b""),
            Some(b"a b'c"),
            Some(b"1,5"),
            Some(b"say \"x\""),
            Some(b"a\nb"),
            Some(b"\r"),
            Some(b"\\."),
            Some(b"\xff\0"),
        ];
        let cells: Vec<Cell<'_>> = texts
            .iter()
            .map(|text| Cell {
                text: *text,
                shape: &Shape::Text,
            })
            .collect();
        let mut out = Vec::new();
        write_row(&mut out, &cells).unwrap();
        assert_eq!(
            out,
            b",\"\",a b'c,\"1,5\",\"say \"\"x\"\"\",\"a\nb\",\"\r\",\"\\.\",\xff\0\r\n"
        );
    }
}
