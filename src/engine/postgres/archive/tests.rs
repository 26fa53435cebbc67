//! Archives as PostgreSQL writes them, broken off, and changed.

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
            bytes.extend([integer(i32::try_from(chunk.len()).unwrap()), chunk.to_vec()].concat());
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

fn counted(bytes: &[u8]) -> CountResult<Vec<(String, u64)>> {
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
            matches!(counted(&bytes[..length]), Err(CountFailure::CutOff)),
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

/// The sections that are found in pieces of this size.
fn sections(bytes: &[u8], piece: usize) -> Vec<(u64, String)> {
    let mut sections = ArchiveSections::default();
    let pieces = bytes.chunks(piece);
    let found = pieces.flat_map(|piece| sections.find(piece));
    found.map(|found| (found.offset, found.name)).collect()
}

/// A section begins after the head of its block, with the first row and its length.
#[test]
fn sections_are_the_blocks_of_tables() {
    let long = "x".repeat(100_000) + "\n";
    let tables: &[(&str, &str, &[&[u8]])] = &[
        ("public", "a", &[b"1\tx\n", b"2\n"]),
        ("my schema", "b\nc", &[long.as_bytes()]),
        ("public", "empty", &[]),
    ];
    for minor in KNOWN_VERSIONS {
        let bytes = archive(minor, tables, &[b"one", b"", b"three"]);
        let found = sections(&bytes, 1000);
        let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        let expected = [
            "public.a",
            "\"my schema\".\"b c\"",
            "public.empty",
            "large objects",
        ];
        assert_eq!(names, expected);
        let first = |at: usize| &bytes[usize::try_from(found[at].0).unwrap()..][..7];
        assert_eq!(first(0), b"\0\x04\0\0\x001\t");
        assert_eq!(first(2), b"\0\x03\0\0\0\\.");
        for piece in [1, 2, 7, 64 << 10, 1 << 30] {
            assert_eq!(sections(&bytes, piece), found, "{minor} {piece}");
        }
    }
}

#[test]
fn archive_tells_what_is_to_come() {
    let bytes = archive(16, &[("s", "t", &[b"1\n"]), ("s", "u", &[])], &[]);
    let mut sections = ArchiveSections::default();
    let half = bytes.len() - 40;
    assert!(!sections.expects("s.u"));
    sections.find(&bytes[..half]);
    assert!(sections.expects("s.u") && !sections.expects("s.v"));
    sections.find(&bytes[half..]);
    assert!(!sections.expects("s.u") && !sections.expects("s.t"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_sections_panic(at in 0usize..400, to in prop::num::u8::ANY,
        more in prop::collection::vec(prop::num::u8::ANY, 0..40), piece in 1usize..50) {
        let mut bytes = archive(16, &[("s", "t", &[b"1\n", b"2\n"]), ("s", "u", &[])], &[b"abc"]);
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.extend(more);
        prop_assert_eq!(sections(&bytes, piece), sections(&bytes, 1000));
    }
}
