//! Hostile scripts, real ones in miniature, and the laws of the scanner.

use super::input::BLOCK;
use super::*;
use crate::engine::postgres::names;
use proptest::prelude::*;
use std::io;
use std::io::ErrorKind;

const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

fn scanned(script: impl AsRef<[u8]>) -> ScanResult {
    scan(&mut script.as_ref()).unwrap()
}

/// The counts of a script that must be a complete one.
fn counts(script: &str) -> Vec<(String, u64)> {
    let found = scanned(format!("{script}{END}"));
    assert!(found.complete, "{script}");
    found
        .tables
        .into_iter()
        .map(|(table, rows)| (table.to_string(), rows))
        .collect()
}

fn is(found: &[(String, u64)], expected: &[(&str, u64)]) -> bool {
    found
        .iter()
        .map(|(name, rows)| (name.as_str(), *rows))
        .eq(expected.iter().copied())
}

#[track_caller]
fn holds(script: &str, expected: &[(&str, u64)]) {
    let found = counts(script);
    assert!(is(&found, expected), "{found:?} in {script}");
}

#[test]
fn rows_are_counted() {
    holds("", &[]);
    holds(
        "COPY public.a (x) FROM stdin;\n1\n2\n\\.\n\nCOPY public.b (x) FROM stdin;\n\\.\n",
        &[("public.a", 2), ("public.b", 0)],
    );
    holds("copy A from STDIN ;  \n\\.\n", &[("a", 0)]);
    // A table without columns, or with none but generated ones, has empty lines for rows.
    holds(
        "COPY public.zc  FROM stdin;\n\n\n\n\\.\n",
        &[("public.zc", 3)],
    );
    holds(
        "COPY a.b FROM stdin;\n1\n\\.\nCOPY c.d FROM stdin;\n\\.\nCOPY a.b FROM \
         stdin;\n2\n3\n\\.\n",
        &[("a.b", 3), ("c.d", 0)],
    );
    holds(
        "COPY a.b FROM stdin;\n\\\\.\n\\.x\n \\.\n\\.\\\n.\n\\N\n\\.\n",
        &[("a.b", 6)],
    );
    holds(
        "COPY \"s\n FROM stdin;\".\"t\"\"\n\\.\" (\"c)\", \"d,\n\", e) FROM stdin;\n1\n\\.\n",
        &[("\"s\n FROM stdin;\".\"t\"\"\n\\.\"", 1)],
    );
    holds(
        "-- The server ends a comment here too:\rCOPY a.b FROM stdin;\n1\n\\.\n",
        &[("a.b", 1)],
    );
    holds(
        "COPY/* one /* two */ ; */ a.b -- ;\n(x) FROM stdin;\n1\n\\.\n",
        &[("a.b", 1)],
    );
}

#[test]
fn only_statements_are_copies() {
    let data = "COPY x FROM stdin;\n1\n\\.\n";
    for hostile in [
        format!("COMMENT ON TABLE a IS 'it''s\n{data}';"),
        format!("SELECT E'\\'\\\\\\'\n{data}', e'\\\\';"),
        format!("SELECT nice'\\', '\n{data}\\';"),
        format!("CREATE TABLE \"a\"\"\n{data}\" ();"),
        format!("CREATE FUNCTION f() AS $_$ $$ $x$ $_\n{data}$_$;"),
        format!("CREATE FUNCTION f() AS $$\n{data}$$;"),
        format!("SELECT a$b$c, '$b$\n{data}', $1;"),
        format!("/* ' /* \n{data} */ \n{data} */ SELECT 1;"),
        "CREATE RULE r AS ON INSERT TO a DO (SELECT 1;\nCOPY x FROM stdin;\n);".to_owned(),
        "CREATE FUNCTION f() RETURNS int\nBEGIN ATOMIC\n SELECT CASE WHEN (1 = 1) THEN 1 \
         END;\nCOPY x FROM stdin;\nEND;"
            .to_owned(),
        "CREATE FUNCTION public.begin() AS $$x$$;".to_owned(),
        "CREATE PROCEDURE public.atomic(begin integer) AS $$x$$;".to_owned(),
        "CREATE VIEW v AS SELECT CASE WHEN true THEN begin.end END;".to_owned(),
        "SELECT 1\nCOPY x FROM stdin;".to_owned(),
        "\\restrict a'b\"c$$(\n\\connect \"a;'b\"\nSELECT 1;".to_owned(),
        "-- it's \"open (\n;;SELECT 1 - -1 / 2;".to_owned(),
        format!(
            "SELECT pg_catalog.lowrite(0, '\\x{}');",
            "41".repeat(200_000)
        ),
    ] {
        let script = format!("{hostile}\nCOPY a.b FROM stdin;\n1\n\\.\n{END}");
        let found = scanned(&script);
        assert!(
            found.complete && found.statements == 2 && found.bytes == script.len() as u64,
            "{found:?} in {hostile:.200}"
        );
        assert_eq!(found.tables, [(QualifiedName::new("a", "b"), 1)]);
    }
}

#[test]
fn partitions_loaded_by_way_of_the_root_have_their_own_counts() {
    let entry = |partition: &str, marker: &str, root: &str, rows: &str| {
        format!(
            "--\n-- Data for Name: {partition}; Type: TABLE DATA; Schema: public; Owner: m; Owner: \
             e\n--\n\n{marker}\
             COPY {root} (c) FROM stdin;\n{rows}\\.\n\n\n"
        )
    };
    let marker = "-- load via partition root public.root\n\n";
    // As of 15; version 13 had no marker in the beginning.
    for marker in [marker, ""] {
        let script = entry("part1", marker, "public.root", "1\n")
            + &entry(
                "p; Type: TABLE DATA; Schema: x; Owner: y",
                marker,
                "public.root",
                "1\n2\n",
            );
        holds(
            &script,
            &[
                ("public.part1", 1),
                ("public.\"p; Type: TABLE DATA; Schema: x; Owner: y\"", 2),
            ],
        );
    }
    // Only the marker tells these from one that has a line break in its name.
    holds(
        &entry("ro ot", marker, "public.\"ro\not\"", "1\n"),
        &[("public.\"ro ot\"", 1)],
    );
    holds(
        &entry("ro ot", "", "public.\"ro\not\"", "1\n"),
        &[("public.\"ro\not\"", 1)],
    );
    holds(&entry("old", "", "old", "1\n"), &[("public.old", 1)]);
    holds(
        &entry(
            "t",
            "ALTER TABLE public.t DISABLE TRIGGER ALL;\n\n",
            "public.root",
            "1\n",
        ),
        &[("public.t", 1)],
    );
    let next =
        "-- Name: x; Type: TABLE; Schema: public; Owner: me\nCOPY public.other FROM stdin;\n\\.\n";
    holds(
        &format!("-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: me\n{next}"),
        &[("public.other", 0)],
    );
    holds(
        "-- Data for Name: nonsense\nCOPY public.other FROM stdin;\n\\.\n",
        &[("public.other", 0)],
    );
}

#[test]
fn only_a_whole_script_is_complete() {
    let copy = "COPY a.b FROM stdin;\n1\n\\.\n";
    assert!(scanned(format!("{copy}-- PostgreSQL database dump complete")).complete);
    assert!(scanned(format!("{copy}{END}\\unrestrict x\n\n")).complete);
    for cut in [
        String::new(),
        copy.to_owned(),
        format!("{copy}-- PostgreSQL database dump complet"),
        format!("{copy}-- PostgreSQL database dump complete!"),
        format!("COPY a.b FROM stdin;\n1\n{END}"),
        format!("COPY a.b FROM stdin;\n1\n\\.{END}"),
        format!("SELECT '{END}"),
        format!("SELECT \"{END}"),
        format!("SELECT E'{END}"),
        format!("SELECT $a${END}"),
        format!("SELECT 1\n{END}"),
        format!("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; {END}"),
        format!("{END}/* "),
        format!("{END}SELECT 1;"),
        format!("{END}{copy}"),
    ] {
        assert!(!scanned(&cut).complete, "{cut}");
    }
    assert_eq!(
        scanned("COPY a.b FROM stdin;\n1\n2\n\\").tables,
        [(QualifiedName::new("a", "b"), 2)]
    );
    assert_eq!(
        scanned("COPY a.b FROM stdin;").tables,
        [(QualifiedName::new("a", "b"), 0)]
    );
}

#[test]
fn a_cluster_is_not_complete_after_its_first_database() {
    let head = "--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE me;\n\\connect a\n";
    let first = format!("{head}{END}");
    assert!(!scanned(&first).complete);
    assert!(
        scanned(format!(
            "{first}--\n-- PostgreSQL database cluster dump complete\n--\n"
        ))
        .complete
    );
}

#[test]
fn a_copy_that_is_not_understood_is_not_complete() {
    let long = "x".repeat(LONGEST_HEAD + 10);
    for copy in [
        "(SELECT 1) TO stdout",
        "a TO stdout",
        "a FROM stdin WITH (FORMAT csv)",
        "a FROM 'file'",
        "a.b.c FROM stdin",
        "a (x FROM stdin",
        &long,
    ] {
        assert!(
            !scanned(format!("COPY {copy};\n{END}")).complete,
            "{copy:.40}"
        );
    }
}

#[test]
fn names_in_other_encodings_do_no_harm() {
    let found = scanned(
        b"COPY public.\"caf\xe9\" FROM stdin;\n\xff\n\\.\n-- PostgreSQL database dump complete\n",
    );
    assert_eq!(
        (found.complete, found.tables),
        (true, vec![(QualifiedName::new("public", "caf\u{fffd}"), 1)])
    );
}

/// Every token across the end of a block.
#[test]
fn blocks_may_end_anywhere() {
    let script = "SELECT E'\\'', 'it''s', $tag$ $ta $tag$ /* /* */ */ -- x\n;COPY \"a\"\"\".b (c) \
                  FROM stdin;\n1\n\\\\.\n\\.\n";
    for at in 0..script.len() {
        for padding in [BLOCK + LONGEST_TAG, 2 * BLOCK + LONGEST_TAG] {
            let padded = format!("--{}\n{script}{END}", "-".repeat(padding - at - 3));
            let found = scanned(&padded);
            assert!(found.complete && found.statements == 2, "{at}");
            assert_eq!(found.tables, [(QualifiedName::new("a\"", "b"), 2)]);
        }
    }
}

#[test]
fn errors_of_reading_come_through() {
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(ErrorKind::Interrupted.into()),
                2 => {
                    buffer[0] = b'-';
                    Ok(1)
                }
                _ => Err(crate::error::Error::damaged("the block does not decode").into()),
            }
        }
    }
    let error = scan(&mut Broken(0)).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            crate::error::Kind::Damaged,
            "the block does not decode".to_owned()
        )
    );
}

/// Gives a script in pieces of these lengths, over and over.
struct Chunks<'a> {
    rest: &'a [u8],
    lengths: Vec<usize>,
    turn: usize,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let length = self.lengths[self.turn % self.lengths.len()]
            .min(buffer.len())
            .min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

/// A piece of a script and how many statements it has; of a COPY also whose rows, and how many.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    statements: u64,
    rows: Option<(QualifiedName, u64)>,
}

/// Text made of all that could lead a reader astray.
fn hostile(most: usize) -> impl Strategy<Value = String> {
    let parts = &[
        "COPY x FROM stdin;\n",
        "\n\\.\n",
        "\\.",
        "\n-- PostgreSQL database dump complete\n",
        "\n",
        "'",
        "\"",
        "$$",
        "$_$",
        "$_",
        "$",
        "/*",
        "*/",
        "--",
        ";",
        "(",
        ")",
        "\nBEGIN ATOMIC\n",
        " END ",
        " CASE ",
        " E'",
        "\\",
        "\n\\connect x\n",
        "\t",
        "\r",
        "é",
        "😀",
        " ",
        "a",
        "1\n",
        ", ",
        "; Type: TABLE DATA",
        "; Owner: me",
        " FROM stdin;",
        "-- Data for Name: z; Type: TABLE DATA; Schema: public; Owner: me\n",
        "-- load via partition root public.x\n",
        "-- Name: z; Type: TABLE; Schema: public; Owner: me\n",
    ][..];
    prop::collection::vec(prop::sample::select(parts), 1..most).prop_map(|parts| parts.concat())
}

fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn escape_string(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// As `pg_dump` finds a tag: longer until it is not in the text.
fn in_dollars(text: &str) -> String {
    let mut tag = "$_".to_owned();
    while text.contains(&tag) {
        tag.push('X');
    }
    format!("{tag}${text}{tag}$")
}

fn statement() -> impl Strategy<Value = Piece> {
    (0..12, hostile(12)).prop_map(|(kind, text)| {
        let (name, literal) = (quoted_name(&text), string(&text));
        let inert = text.replace(['*', '/'], " ");
        let line = names::on_one_line(&text);
        let (text, statements) = match kind {
            0 => (format!("COMMENT ON TABLE public.a IS {literal};"), 1),
            1 => (format!("SELECT {}, {literal};", escape_string(&text)), 1),
            2 => (
                format!(
                    "CREATE FUNCTION public.begin(a$b integer) RETURNS void LANGUAGE c AS \
                           {};",
                    in_dollars(&text)
                ),
                1,
            ),
            3 => (
                format!("CREATE TABLE public.{name} (\n    {name} integer DEFAULT 1\n);"),
                1,
            ),
            4 => (
                format!(
                    "CREATE FUNCTION {name}() RETURNS int\n BEGIN ATOMIC\n SELECT CASE WHEN \
                           (1 = 1) THEN {literal} END;\n SELECT {name};\nEND;"
                ),
                1,
            ),
            5 => (
                format!(
                    "CREATE RULE r AS ON INSERT TO public.v DO INSTEAD ( SELECT {literal};\n \
                           SELECT {name};\n);"
                ),
                1,
            ),
            6 => (format!("/* {inert} /* {inert} */ {inert} */"), 0),
            7 => (
                format!("-- Name: {line}; Type: COMMENT; Schema: public; Owner: me"),
                0,
            ),
            8 => (
                "\\unrestrict x\n\\connect \"a;'b\"\n\\restrict x".to_owned(),
                0,
            ),
            9 => (
                format!(
                    "BEGIN;\nSELECT pg_catalog.lowrite(0, '\\x{}');\nCOMMIT;",
                    "00".repeat(text.len())
                ),
                3,
            ),
            10 => (
                format!(
                    "INSERT INTO public.a VALUES ({literal}, 1.5e3, NULL, B'101') /* \
                            {inert} */;"
                ),
                1,
            ),
            _ => (format!("CREATE TABLE a (); -- {line}\n-- {line}\n"), 1),
        };
        Piece {
            text,
            statements,
            rows: None,
        }
    })
}

fn field() -> impl Strategy<Value = String> {
    let escape = |text: String| {
        text.replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .replace('\t', "\\t")
    };
    prop_oneof![4 => hostile(4).prop_map(escape), 1 => Just(String::new()),
        1 => Just("\\N".to_owned())]
}

fn copy() -> impl Strategy<Value = Piece> {
    let names = prop::collection::vec(hostile(5), 0..4);
    let schema = prop::sample::select(&["public", "my \"schema\"\n"][..]);
    let rows = prop::collection::vec(prop::collection::vec(field(), 3), 0..6);
    (schema, hostile(6), hostile(6), names, rows, 0..4).prop_map(
        |(schema, table, partition, columns, rows, style)| {
            let (table, partition) = (
                QualifiedName::new(schema, table),
                QualifiedName::new(schema, partition),
            );
            let via_root = style == 2;
            let announced = if via_root { &partition } else { &table }.on_one_line();
            let comment = format!(
                "--\n-- Data for Name: {}; Type: TABLE DATA; Schema: {}; Owner: me\n--\n\n",
                announced.name, announced.schema
            );
            let root = names::on_one_line(&table.to_string());
            let before = match style {
                0 => "-- Name: last; Type: TABLE; Schema: public; Owner: me\n".to_owned(),
                1 => comment,
                2 => format!("{comment}-- load via partition root {root}\n\n"),
                _ => format!("{comment}ALTER TABLE {table} DISABLE TRIGGER ALL;\n\n"),
            };
            let list = columns
                .iter()
                .map(|name| quoted_name(name))
                .collect::<Vec<_>>()
                .join(", ");
            let list = if columns.is_empty() {
                String::new()
            } else {
                format!("({list})")
            };
            let lines: String = rows
                .iter()
                .map(|row| row[..columns.len()].join("\t") + "\n")
                .collect();
            Piece {
                text: format!("{before}COPY {table} {list} FROM stdin;\n{lines}\\.\n\n"),
                statements: if style == 3 { 2 } else { 1 },
                rows: Some((if via_root { announced } else { table }, rows.len() as u64)),
            }
        },
    )
}

/// A dump up to and with its trailer, and what is in it.
fn dump() -> impl Strategy<Value = (String, ScanResult)> {
    prop::collection::vec(prop_oneof![statement(), copy()], 0..8).prop_map(|pieces| {
        let mut tables = TableCounts::default();
        for (table, rows) in pieces.iter().filter_map(|piece| piece.rows.clone()) {
            tables.add(table, rows);
        }
        let body: String = pieces
            .iter()
            .map(|piece| format!("{}\n\n", piece.text))
            .collect();
        let script = format!(
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\n{body}--\n-- \
                     PostgreSQL database dump complete"
        );
        let statements = pieces.iter().map(|piece| piece.statements).sum();
        let bytes = script.len() as u64;
        // What looks like it may stand in names, so its place is not foretold here.
        let connects = scanned(&script).connects;
        (
            script,
            ScanResult {
                tables: tables.list,
                complete: true,
                bytes,
                statements,
                forbidden: None,
                connects,
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn counts_are_exact_in_chunks_of_any_size((script, expected) in dump(),
        lengths in prop::collection::vec(1usize..60, 1..4)) {
        prop_assert_eq!(&scanned(&script), &expected);
        prop_assert_eq!(&scan(&mut Chunks { rest: script.as_bytes(), lengths, turn: 0 }).unwrap(),
            &expected);
    }

    /// Wherever a script is cut, it is complete only if no more than blanks and a command of psql
    /// is lost.
    #[test]
    fn no_cut_goes_unseen((script, expected) in dump(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 40)) {
        let whole = format!("{script}\n--\n\n\\unrestrict x\n\n").into_bytes();
        let near_the_end = whole.len().saturating_sub(90)..=whole.len();
        for cut in cuts.iter().map(|cut| cut.index(whole.len())).chain(near_the_end) {
            let found = scanned(&whole[..cut]);
            // One `-` that is left of a comment counts as a statement.
            let harmless = cut >= script.len() && cut != script.len() + 2;
            prop_assert_eq!(found.complete, harmless, "cut at {}", cut);
            prop_assert!(!found.complete || found.tables == expected.tables);
        }
    }

    #[test]
    fn no_script_makes_it_panic(script in hostile(30), lengths in prop::collection::vec(1usize..9,
        1..3)) {
        let in_chunks = scan(&mut Chunks { rest: script.as_bytes(), lengths, turn: 0 }).unwrap();
        prop_assert_eq!(in_chunks, scanned(&script));
    }
}

fn forbidden(script: impl AsRef<[u8]>) -> Option<(u64, String)> {
    scanned(script)
        .forbidden
        .map(|forbidden| (forbidden.line, forbidden.what))
}

#[test]
fn what_pg_dump_writes_passes() {
    for script in [
        "\\restrict aZ09\n\nSELECT 1;\n\\unrestrict aZ09\n",
        // With `--create`, and of a whole cluster.
        "\\restrict a\nCREATE DATABASE x;\n\\unrestrict a\n\\connect x\n\\restrict a\nSELECT \
         1;\n\\unrestrict a\n",
        "\\restrict a\n\\unrestrict a\n\n\\connect template1\n\\restrict b\n\\unrestrict b\n",
        "\\connect \"a b\"\n\\connect -reuse-previous=on \"dbname='a=b'\"\n",
        "COPY a FROM stdin;\n\\N\t\\\\! x\n\\! rows are no commands\n\\.x\n\\.\n",
        "SELECT E'\\\\! a\n\\n', '\n\\! b', $$\n\\! c\n$$, $_$ $$ \\! $_$;\nCREATE TABLE \"\\! \
         d\n\\! \" ();\n-- \\! e\n/* \n\\! f */",
        "COMMENT ON TABLE a IS 'C:\\';\nSELECT 1;\n",
        // `--inserts` writes numbers as they are.
        "INSERT INTO a VALUES (1e+20, -1.5e-07, .5, 2., '1E', 3);\nSELECT 1 AS a1, b2.c FROM d;\n",
    ] {
        assert_eq!(forbidden(script), None, "{script}");
    }
    assert_eq!(scanned("--\n\\connect a\n").connects, Some(2));
}

#[test]
fn what_psql_might_obey_is_told_with_its_line() {
    for (script, line) in [
        ("\\! touch x\n", 1),
        ("SELECT 1;\n\n\\copy a from program 'x'\n", 3),
        ("SELECT 1\n\\g |x\n", 2),
        ("SELECT 1 \\! x\n;", 1),
        ("SELECT '\n\n' \\; SELECT 2;", 3),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT 1; \\! x\nEND;",
            2,
        ),
        ("COPY a FROM stdin;\n1\n\\.\n\\! x\n", 4),
        ("COPY a FROM stdin; \\! x\n1\n\\.\n", 1),
        ("COPY a FROM stdin;\n1\n\\.\r\n\\! x\n\\.\n", 3),
        ("COPY a FROM stdin WITH (FORMAT binary);\n1\n\\.\n", 1),
        ("\u{feff}COPY a FROM stdin;\n'\n\\.\n'", 1),
        ("SELECT 1;\nSELECT '\0';\n", 2),
        ("\\restrict a\n\\unrestrict b\n", 2),
        ("\\restrict a\n\\restrict b\n", 2),
        ("\\restrict x\n\n\\restrict COPY x FROM stdin; \n", 3),
        ("\\unrestrict `touch x`\n", 1),
        ("\\restrict\n", 1),
        ("\\restrict a b\n", 1),
        ("\\connect `x`\n", 1),
        ("\\connect \"a\" b\n", 1),
        ("\\connect a|b\n", 1),
        ("\\connect a \\! x\n", 1),
        ("\\.\n", 1),
        // Before 15 this was a number and an escape string; now the string is a plain one and ends.
        ("SELECT 1E'\\'\\! touch x\n", 1),
        ("SELECT\n1.E'\\'", 2),
        ("SELECT 1e5E'\\'", 1),
        ("SELECT 1_E'\\'", 1),
        ("SELECT 1U&'a'", 1),
    ] {
        assert_eq!(
            forbidden(script).map(|(line, _)| line),
            Some(line),
            "{script:?}"
        );
    }
}

/// The sections that are found in pieces of this size, each with its first line.
fn sections(script: &str, piece: usize) -> Vec<(String, String)> {
    let mut sections = ScriptSections::default();
    let pieces = script.as_bytes().chunks(piece);
    let found = pieces.flat_map(|piece| sections.find(piece));
    found
        .map(|found| {
            let rest = &script[usize::try_from(found.offset).unwrap()..];
            (found.name, rest.lines().next().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn sections_of_a_script_are_its_tables() {
    let data = |schema: &str, name: &str, rows: &str| {
        format!(
            "--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: {schema}; Owner: me\n--\n\n\
             COPY {schema}.\"{name}\" (a) FROM stdin;\n{rows}\\.\n\n\n"
        )
    };
    let script = [
        "-- Name: a; Type: TABLE; Schema: public; Owner: me\nCREATE TABLE a (\n    a int\n);\n",
        &data(
            "public",
            "a",
            "1\n-- Data for Name: z; Type: TABLE DATA; Schema: s; Owner: x\n",
        ),
        &data("my schema", "B", ""),
        "-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: me\nSELECT setval();\n",
        "-- Name: t; Type: SEQUENCE SET; Schema: public; Owner: me\nSELECT setval();\n",
        "-- Name: a a_pkey; Type: CONSTRAINT; Schema: public; Owner: me\nALTER TABLE;\n",
        "-- Name: i; Type: INDEX; Schema: public; Owner: me\nCREATE INDEX;\n",
    ]
    .concat();
    let found = sections(&script, 1 << 20);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "public.a",
            "\"my schema\".\"B\"",
            "sequences",
            "definitions"
        ]
    );
    assert!(found[1].1.starts_with("-- Data for Name: B"), "{found:?}");
    assert!(found[3].1.contains("a_pkey"), "{found:?}");
    for piece in 1..40 {
        assert_eq!(sections(&script, piece), found, "{piece}");
    }
}
