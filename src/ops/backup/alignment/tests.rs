//! Deltas between dumps of PostgreSQL: they decode to the content whatever has changed, and take
//! what the new rows take.

use super::*;
use crate::pipeline::delta::{DeltaReader, DeltaStatistics, DeltaWriter};
use proptest::prelude::*;
use std::io::{Cursor, Read, Write};

/// A table of a dump: its name, and its rows without their ends.
#[derive(Debug, Clone, PartialEq)]
struct DumpTable {
    name: String,
    rows: Vec<String>,
}

impl DumpTable {
    /// Rows of this width, each with a key of its own.
    fn new(name: &str, width: usize, keys: impl IntoIterator<Item = u64>) -> Self {
        DumpTable {
            name: name.to_owned(),
            rows: keys.into_iter().map(|key| row(width, key)).collect(),
        }
    }
}

/// A row of at least this width. Equal keys give equal rows, and others others.
fn row(width: usize, key: u64) -> String {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = format!("{key}\t{mixed:x}");
    while text.len() < width {
        text += &format!("\t{:x}", mixed.rotate_left(text.len() as u32));
    }
    text.truncate(width.max(format!("{key}\t{mixed:x}").len()));
    text
}

fn integer(value: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [integer(text.len()), text.as_bytes().to_vec()].concat()
}

/// The archive that `pg_dump` writes of these tables; the numbers of entries begin with `first`.
fn archive(tables: &[DumpTable], first: usize) -> Vec<u8> {
    let mut bytes = [&b"PGDMP"[..], &[1, 14, 0, 4, 8, 1], &integer(0)].concat();
    (0..7).for_each(|_| bytes.extend(integer(first)));
    (0..3).for_each(|_| bytes.extend(text("x")));
    bytes.extend(integer(tables.len()));
    for (at, table) in tables.iter().enumerate() {
        bytes.extend([integer(first + at), integer(1), text("0"), text("0")].concat());
        bytes.extend([text(&table.name), text("TABLE DATA"), integer(3)].concat());
        let copy = format!("COPY s.{} (a, b) FROM stdin;\n", table.name);
        bytes.extend([text(""), text(""), text(&copy), text("s")].concat());
        bytes.extend([text(""), text(""), text("me"), text("false")].concat());
        bytes.extend([&[1, 1, 0, 0, 0][..], &[2; 9]].concat());
    }
    for (at, table) in tables.iter().enumerate() {
        bytes.extend([vec![1], integer(first + at)].concat());
        for row in &table.rows {
            bytes.extend(text(&format!("{row}\n")));
        }
        bytes.extend([text("\\.\n\n\n"), integer(0)].concat());
    }
    bytes
}

/// The script that `pg_dump` writes of these tables.
fn script(tables: &[DumpTable], first: usize) -> Vec<u8> {
    let mut script = format!("--\n-- PostgreSQL database dump\n--\n\n\\restrict {first}\n");
    for DumpTable { name, rows } in tables {
        script += &format!(
            "--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: s; Owner: me\n--\n\nCOPY \
             \"s\".\"{name}\" (\"a\", \"b\") FROM stdin;\n"
        );
        rows.iter().for_each(|row| script += &format!("{row}\n"));
        script += "\\.\n\n\n";
    }
    script += "--\n-- Name: a_pkey; Type: CONSTRAINT; Schema: s; Owner: me\n--\n\nALTER TABLE;\n";
    script.into_bytes()
}

fn dump(format: PgFormat, tables: &[DumpTable], first: usize) -> Vec<u8> {
    match format {
        PgFormat::Custom => archive(tables, first),
        _ => script(tables, first),
    }
}

/// The delta between two dumps, decoded again, and what it consists of.
#[track_caller]
fn delta(format: PgFormat, base: &[u8], names: &[&str], content: &[u8]) -> DeltaStatistics {
    let layout = DumpLayout::Rows {
        format,
        base_names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    let again = base.to_vec();
    let reopen = move || Ok(Box::new(Cursor::new(again.clone())) as Box<dyn Read + Send>);
    let alignment = layout.alignment(Box::new(reopen));
    let mut writer = DeltaWriter::new(base, Vec::new(), alignment, 1);
    writer.write_all(content).unwrap();
    let (delta, statistics) = writer.finish().unwrap();
    let mut decoded = Vec::new();
    DeltaReader::new(base, &delta[..])
        .read_to_end(&mut decoded)
        .unwrap();
    assert!(decoded == content);
    statistics
}

/// The new bytes in the delta between dumps of these tables.
#[track_caller]
fn added(format: PgFormat, base: &[DumpTable], content: &[DumpTable]) -> usize {
    let names: Vec<String> = base
        .iter()
        .map(|table| format!("s.{}", table.name))
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    if format == PgFormat::Custom {
        names.clear();
    }
    let (base, content) = (dump(format, base, 100), dump(format, content, 101));
    delta(format, &base, &names, &content).added as usize
}

const FORMATS: [PgFormat; 2] = [PgFormat::Custom, PgFormat::Plain];

/// The head of a dump that has other numbers, and that of each of its tables.
fn heads(tables: usize) -> usize {
    200 + 200 * tables
}

/// The length of a row in an archive may be a line's end in any of its bytes.
#[test]
fn rows_of_any_length_are_aligned() {
    for (format, width) in FORMATS
        .into_iter()
        .flat_map(|format| [2, 9, 20, 265, 521, 2559, 2600].map(|width| (format, width)))
    {
        let count = 200_000 / width as u64;
        let base = [DumpTable::new("a", width, 1000..1000 + count)];
        let is_kept = |key: &u64| key % 50 != 7;
        // Some go, some come in their place, and some at the end.
        let keys = (1000..1000 + count).filter(is_kept);
        let mut content = [DumpTable::new("a", width, keys)];
        let new: Vec<String> = (0..20).map(|key| row(width, 900_000 + key)).collect();
        let bytes: usize = new.iter().map(|row| row.len() + 6).sum();
        let rows = &mut content[0].rows;
        for (at, row) in new.into_iter().enumerate() {
            let place = if at % 2 == 0 {
                rows.len()
            } else {
                rows.len() * at / 20
            };
            rows.insert(place, row);
        }
        let added = added(format, &base, &content);
        assert!(
            added <= bytes + heads(1),
            "{format:?} {width}: {added} for {bytes}"
        );
    }
}

/// Rows that are there thousands of times leave nothing behind.
#[test]
fn tables_of_few_values_are_aligned() {
    for format in FORMATS {
        let tags = |seed: u64| (0..20_000).map(move |at| (at * 7 + seed) % 5);
        let base = [
            DumpTable::new("a", 1, tags(0)),
            DumpTable::new("b", 40, 0..5000),
        ];
        let mut content = base.clone();
        content[0].rows.insert(5000, row(1, 77));
        content[0].rows.remove(9000);
        let added = added(format, &base, &content);
        assert!(added < 500 + heads(2), "{format:?}: {added}");
    }
}

#[test]
fn dropped_new_and_emptied_tables_leave_the_others_alone() {
    let table = |name: &str| {
        let first = u64::from(name.as_bytes()[0]) << 20;
        DumpTable::new(name, 60, first..first + 3000)
    };
    let tables = |names: &[&str]| names.iter().map(|name| table(name)).collect::<Vec<_>>();
    let size = 3000 * 66;
    for format in FORMATS {
        let base = tables(&["a", "b", "d", "e"]);
        for (names, new) in [
            (&["a", "d", "e"][..], 0),
            (&["b", "d", "e"], 0),
            (&["a", "b", "d"], 0),
            (&["e"], 0),
            (&["a", "b", "c", "d", "e"], 1),
            (&["a", "c", "e"], 1),
            (&["a", "b", "d", "e", "f"], 1),
        ] {
            let added = added(format, &base, &tables(names));
            let most = size * new + heads(names.len() + 1);
            assert!(added <= most, "{format:?} {names:?}: {added} for {most}");
        }
        let mut emptied = base.clone();
        emptied[1].rows.clear();
        emptied[2].rows.drain(..2000);
        assert!(added(format, &base, &emptied) <= heads(5), "{format:?}");
    }
}

/// All that is read ahead is far less than what was dropped.
#[test]
fn large_dropped_tables_are_passed_by_their_names() {
    for format in FORMATS {
        let base = [
            DumpTable::new("a", 100, 0..1000),
            DumpTable::new("b", 100, 100_000..300_000),
            DumpTable::new("c", 100, 1_000_000..1_001_000),
        ];
        let content = [base[0].clone(), base[2].clone()];
        let added = added(format, &base, &content);
        assert!(added <= heads(3), "{format:?}: {added}");
    }
}

/// A change of some tables: which one, where (in thousandths), how many rows go, and how many come.
type RowChange = (usize, usize, usize, usize);

fn change(tables: &mut [DumpTable], changes: &[RowChange], width: usize) -> usize {
    let mut new = 0;
    for (number, &(table, place, removed, added)) in changes.iter().enumerate() {
        let table = table % tables.len();
        let rows = &mut tables[table].rows;
        let from = rows.len() * place / 1000;
        let to = (from + removed).min(rows.len());
        let key = |at: usize| 10_000_000 + (number * 10_000 + at) as u64;
        let come: Vec<String> = (0..added).map(|at| row(width, key(at))).collect();
        new += come.iter().map(|row| row.len() + 6).sum::<usize>();
        rows.splice(from..to, come);
    }
    new
}

fn changes() -> impl Strategy<Value = Vec<RowChange>> {
    let many = || prop_oneof![4 => 0..3_usize, 1 => 0..300_usize];
    proptest::collection::vec((0..5_usize, 0..=1000_usize, many(), many()), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes and goes, the delta has the size of what has come.
    #[test]
    fn deltas_take_what_new_rows_take(
        count in 1..5_usize,
        width in prop_oneof![Just(9_usize), Just(20), 2..400_usize],
        changes in changes(),
        is_custom in any::<bool>(),
        dropped in 0..10_usize,
    ) {
        let format = if is_custom { PgFormat::Custom } else { PgFormat::Plain };
        let keys = |table: usize| (table as u64) << 16..((table as u64) << 16) + 2000;
        let table = |at: usize| DumpTable::new(&format!("t{at}"), width, keys(at));
        let base: Vec<DumpTable> = (0..count).map(table).collect();
        let mut content = base.clone();
        let new = change(&mut content, &changes, width);
        if dropped < count {
            content.remove(dropped);
        }
        let added = added(format, &base, &content);
        // Beside a row that goes another one may be taken for new.
        let most = new + heads(count) + changes.len() * 2 * (width.max(20) + 6);
        prop_assert!(added <= most, "{added} for {new}, at most {most}");
    }

    /// Any bytes, as a dump may hold any, and be no dump at all.
    #[test]
    fn deltas_of_any_bytes_decode(
        changes in changes(),
        more in changes(),
        is_custom in any::<bool>(),
        damage in proptest::collection::vec((0..100_000_usize, any::<u8>()), 0..6),
        cut in 0..200_000_usize,
    ) {
        let format = if is_custom { PgFormat::Custom } else { PgFormat::Plain };
        let mut tables: Vec<DumpTable> =
            (0..3).map(|at| DumpTable::new(&format!("t{at}"), 1, 0..500)).collect();
        change(&mut tables, &changes, 5);
        let mut base = dump(format, &tables, 7);
        tables.swap(0, 2);
        change(&mut tables, &more, 5);
        let mut content = dump(format, &tables, 8);
        for (at, byte) in damage {
            let bytes = if at % 2 == 0 { &mut base } else { &mut content };
            let place = at % bytes.len();
            bytes[place] = byte;
        }
        content.truncate(cut.max(1));
        delta(format, &base, &["s.t1", "sequences", "s.gone"], &content);
    }
}
