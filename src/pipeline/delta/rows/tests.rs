//! How small the deltas of rows are. That they are right is the matter of the laws.

use crate::pipeline::delta::tests::{decode, encode, rows};
use crate::pipeline::delta::{
    Alignment, DeltaStatistics, LineSections, SectionFinder, SectionStart,
};
use std::io::{Cursor, Read};

/// A table of rows with these keys.
fn table(name: &str, keys: impl IntoIterator<Item = u64>) -> String {
    let mut text = format!("--\n-- {name}\n\nCOPY {name}\n");
    for key in keys {
        text += &row(key);
    }
    text + "\\.\n\n"
}

fn row(key: u64) -> String {
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{key}\t{hash:x}\tt\t2026-11-26 12:00:{:02}\n", key % 60)
}

fn encode_rows(base: &str, content: &str, names: &[&str]) -> DeltaStatistics {
    let (base, content) = (base.as_bytes(), content.as_bytes());
    let (delta, statistics) = encode(base, content, rows(names), 0, 100_000);
    assert!(decode(base, &delta, 1 << 20).unwrap() == content);
    statistics
}

#[test]
fn equal_content_is_copied() {
    let base = table("a", 0..50_000);
    assert_eq!(encode_rows(&base, &base, &[]).added, 0);
}

#[test]
fn removed_rows_cost_nothing() {
    let base = table("a", 0..30_000);
    for removed in [1, 8, 9, 5000] {
        let left = (0..30_000).filter(|key| !(10_000..10_000 + removed).contains(key));
        assert_eq!(
            encode_rows(&base, &table("a", left), &[]).added,
            0,
            "{removed}"
        );
    }
}

#[test]
fn changed_and_new_rows_cost_themselves() {
    let base = table("a", 0..30_000);
    let changed = |key| if key % 100 == 7 { key + 1_000_000 } else { key };
    let content = table("a", (0..30_000).map(changed));
    let expected: usize = (0..300)
        .map(|number| row(1_000_007 + number * 100).len())
        .sum();
    assert_eq!(encode_rows(&base, &content, &[]).added as usize, expected);
    let content = table("a", (0..15_000).chain(70_000..71_000).chain(15_000..30_000));
    let expected: usize = (70_000..71_000).map(|key| row(key).len()).sum();
    assert_eq!(encode_rows(&base, &content, &[]).added as usize, expected);
}

/// An UPDATE leaves a gap and puts the row at the table's end.
#[test]
fn updated_rows_move_to_the_end() {
    let base = table("a", 0..30_000) + &table("b", 0..30_000);
    let left = (0..30_000).filter(|key| key % 100 != 7);
    let content = table("a", left.chain((0..300).map(|number| 1_000_000 + number)));
    let content = content + &table("b", 0..30_000);
    let expected: usize = (0..300).map(|number| row(1_000_000 + number).len()).sum();
    assert_eq!(encode_rows(&base, &content, &[]).added as usize, expected);
}

/// Without sections the new rows of `a`, which `b` has too, would leave the rest of `a` behind.
#[test]
fn rows_of_another_section_are_not_taken() {
    let base = table("a", 0..20_000) + &table("b", 500_000..520_000);
    let content = table(
        "a",
        (0..10_000).chain(510_000..510_010).chain(10_000..20_000),
    );
    let content = content + &table("b", 500_000..520_000);
    assert!(encode_rows(&base, &content, &["a", "b"]).added < 600);
}

#[test]
fn new_and_dropped_tables_leave_the_others_alone() {
    let tables = |names: &[&str]| -> String {
        let table_of = |name: &&str| {
            let first = u64::from(name.as_bytes()[0] - b'A') * 1_000_000;
            table(name, first..first + 20_000)
        };
        names.iter().map(table_of).collect()
    };
    let base = tables(&["a", "b", "d", "e"]);
    let size = table("a", 32_000_000..32_020_000).len();
    for (names, new) in [
        (&["a", "d", "e"][..], 0),
        (&["b", "d", "e"], 0),
        (&["a", "b", "c", "d", "e"], 1),
        (&["a", "c", "e"], 1),
        (&["a", "b", "d", "e", "f"], 1),
    ] {
        for known in [&[][..], &["a", "b", "d", "e"]] {
            let added = encode_rows(&base, &tables(names), known).added as usize;
            let expected = size * new;
            assert!(
                added.abs_diff(expected) < 100,
                "{names:?}: {added} for {expected}"
            );
        }
    }
}

/// What is further away than all that is read ahead is found by its name alone.
#[test]
fn large_dropped_table_is_passed_by_its_name() {
    let base = table("a", 0..500_000) + &table("b", 0..1000);
    assert!(base.len() > 18 << 20);
    let content = table("b", 0..1000);
    assert!(encode_rows(&base, &content, &["a", "b"]).added < 100);
    assert!(encode_rows(&base, &content, &[]).added > 10_000);
}

#[test]
fn section_keeps_its_rows_where_its_head_changes() {
    let base = table("a", 0..10_000) + &table("b", 0..10_000);
    let content = base
        .replace("-- b", "-- B")
        .replace("COPY b\n", "COPY b (c)\n");
    assert!(encode_rows(&base, &content, &["a", "b"]).added < 100);
}

#[test]
fn lines_of_any_length_are_rows() {
    let long: String = (0..20_000).map(row).collect::<String>().replace('\n', " ");
    let base = format!("{long}\n{long}{long}\nshort\n");
    let content = format!("x{}", base.replace("short", "other"));
    assert!(encode_rows(&base, &base, &[]).added == 0);
    encode_rows(&base, &content, &[]);
}

/// The rest of the section is found again where a second reader can look for it.
#[test]
fn bulk_delete_is_passed_by_landmarks() {
    let base = table("a", 0..900_000) + &table("b", 0..1000);
    let content = table("a", (0..1000).chain(600_000..900_000)) + &table("b", 0..1000);
    let reopened = base.clone();
    let mut alignment = rows(&["a", "b"]);
    if let Alignment::Rows(options) = &mut alignment {
        let reopen = move || Ok(Box::new(Cursor::new(reopened.clone())) as Box<dyn Read + Send>);
        options.reopen_base = Some(Box::new(reopen));
    }
    let (base, content) = (base.as_bytes(), content.as_bytes());
    let (delta, statistics) = encode(base, content, alignment, 0, 100_000);
    assert!(decode(base, &delta, 1 << 20).unwrap() == content);
    // What goes by before it is asked for, and up to the third landmark.
    assert!(
        (4 << 20..5 << 20).contains(&statistics.added),
        "{}",
        statistics.added
    );
    assert!(
        encode_rows(&table("a", 0..900_000), &table("a", 600_000..900_000), &[]).added > 10 << 20
    );
}

fn first_word(line: &[u8]) -> Option<&[u8]> {
    line.split(|byte| *byte == b' ').nth(1)
}

#[test]
fn sections_are_found_in_any_pieces() {
    let text = b"COPY a (x)\n1\nCOPY\nno COPY b\nCOPY c (y)\n\nCOPY d";
    for piece in 1..text.len() {
        let mut finder = LineSections::new("COPY ", first_word);
        let mut found = Vec::new();
        for piece in text.chunks(piece) {
            found.extend(finder.find_sections(piece));
        }
        let start = |offset, name: &str| SectionStart {
            offset,
            name: name.into(),
        };
        assert_eq!(found, [start(0, "a"), start(28, "c")], "{piece}");
    }
}
