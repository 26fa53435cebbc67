//! Compares the tables of a database or a dump with a manifest.

use crate::engine::postgres::counting::{normalize_name, normalize_name_on_one_line};
use crate::engine::{Check, Manifest, Table, compare_rows};
use std::collections::HashSet;

/// Compares tables by the meaning of their names: versions of servers and programs quote a few
/// words differently, and some places show names on one line.
pub fn compare_manifest(expected: &Manifest, found: &[Table]) -> Check {
    let parsed = |table: &Table| Table {
        name: normalize_name(&table.name),
        ..table.clone()
    };
    let found: Vec<Table> = found.iter().map(parsed).collect();
    let there: HashSet<&str> = found.iter().map(|table| table.name.as_str()).collect();
    let as_there = |table: &Table| {
        let exact = normalize_name(&table.name);
        // Two names may coincide on one line, so that form comes second.
        let name = if there.contains(exact.as_str()) {
            exact
        } else {
            normalize_name_on_one_line(&table.name)
        };
        Table {
            name,
            ..table.clone()
        }
    };
    let expected = Manifest {
        tables: expected.tables.iter().map(as_there).collect(),
        rows_total: expected.rows_total,
        tree: None,
    };
    compare_rows(&expected, &found)
}
