//! Compares the tables of a database or a dump with a manifest.

use crate::engine::postgres::counting::{normalize_name, normalize_name_on_one_line};
use crate::engine::{Check, CheckFinding, CheckSubject, Manifest, Table, compare_rows};
use std::collections::HashSet;

/// Compares tables by the meaning of their names: versions of servers and programs quote a few
/// words differently, and some places show names on one line.
pub fn compare_manifest(expected: &Manifest, found: &[Table]) -> Check {
    let found: Vec<Table> = found
        .iter()
        .map(|table| with_name(table, normalize_name(&table.name)))
        .collect();
    let names: HashSet<&str> = found.iter().map(|table| table.name.as_str()).collect();
    let tables = expected
        .tables
        .iter()
        .map(|table| with_name(table, matching_name(&table.name, &names)));
    let expected = Manifest {
        tables: tables.collect(),
        rows_total: expected.rows_total,
        ..Manifest::default()
    };
    compare_rows(&expected, &found)
}

/// The form of a table's name that is among `names`. Two names may coincide on one line, so that
/// form comes second.
fn matching_name(name: &str, names: &HashSet<&str>) -> String {
    let exact = normalize_name(name);
    if names.contains(exact.as_str()) {
        exact
    } else {
        normalize_name_on_one_line(name)
    }
}

fn with_name(table: &Table, name: String) -> Table {
    Table {
        name,
        ..table.clone()
    }
}

/// Checks counted tables against a manifest; without one, or with an empty one, there is nothing to
/// compare.
pub fn check_rows(expected: Option<&Manifest>, counted: Vec<Table>) -> Check {
    match expected.filter(|manifest| !manifest.tables.is_empty()) {
        Some(manifest) => compare_manifest(manifest, &counted),
        None => {
            let rows = Manifest::new(counted).rows_total;
            Check::ok(CheckSubject::Rows, CheckFinding::RowsCounted { rows })
        }
    }
}
