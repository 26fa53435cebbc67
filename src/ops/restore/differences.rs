//! What a restore changes, table by table.

use crate::engine::Manifest;
use crate::units;
use std::collections::{BTreeMap, BTreeSet};

/// Lists the tables that will have another number of rows, the largest losses first.
pub fn row_differences(now: &Manifest, then: Option<&Manifest>) -> Vec<String> {
    let Some(then) = then else { return Vec::new() };
    let rows_then: BTreeMap<&str, u64> = then
        .tables
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.rows?)))
        .collect();
    let mut lines: Vec<(i128, String)> = Vec::new();
    for table in &now.tables {
        let Some(rows) = table.rows else { continue };
        match rows_then.get(table.name.as_str()) {
            None => lines.push((
                i128::from(rows),
                format!(
                    "{}: {} now, not in the backup",
                    table.name,
                    units::count(rows, "row")
                ),
            )),
            Some(before) if *before != rows => {
                let text = format!(
                    "{}: {} now, {} in the backup",
                    table.name,
                    units::thousands(rows),
                    units::thousands(*before)
                );
                lines.push((i128::from(rows) - i128::from(*before), text));
            }
            Some(_) => {}
        }
    }
    let names_now: BTreeSet<&str> = now.tables.iter().map(|table| table.name.as_str()).collect();
    for table in then
        .tables
        .iter()
        .filter(|table| table.compare && !names_now.contains(table.name.as_str()))
    {
        let rows = table.rows.unwrap_or(0);
        lines.push((
            -i128::from(rows),
            format!(
                "{}: not there now, {} in the backup",
                table.name,
                units::count(rows, "row")
            ),
        ));
    }
    lines.sort_by_key(|(lost, _)| std::cmp::Reverse(*lost));
    let more = lines.len().saturating_sub(10);
    let mut shown: Vec<String> = lines.into_iter().take(10).map(|(_, line)| line).collect();
    if more > 0 {
        shown.push(format!("and {more} more tables differ"));
    }
    shown
}
