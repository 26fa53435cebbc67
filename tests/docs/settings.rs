//! dbbackup.toml(5): its tables of keys are those that the parser reads by, with the types, the
//! defaults and the meanings of the settings' own definitions. The prose around them is written by
//! people.

use super::examples::keys_of;
use super::{root, text_of};
use dbbackup::config::reference::{KeyReference, TableReference, tables};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

const PAGE: &str = "man/dbbackup.toml.5.md";

/// The table as Markdown.
fn markdown(table: &TableReference) -> String {
    let mut text = "| key | value | default | meaning |\n|---|---|---|---|\n".to_owned();
    for key in &table.keys {
        let KeyReference {
            name,
            type_name,
            meaning,
            ..
        } = key;
        let default = match &key.default {
            Some(default) => format!("`{default}`"),
            None if key.required => "must be there".to_owned(),
            None => "not set".to_owned(),
        };
        text.push_str(&format!(
            "| `{name}` | {type_name} | {default} | {meaning} |\n"
        ));
    }
    text
}

/// The page with the table under each heading replaced by that of the parser.
fn with_current_tables(page: &str) -> String {
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    for table in tables() {
        let heading = format!("## {}", table.name);
        let at = lines.iter().position(|line| *line == heading);
        let at = at.unwrap_or_else(|| panic!("{PAGE} has no heading `{heading}`"));
        let below = |line: &String| line.starts_with("| ") || line.starts_with("## ");
        let first = lines[at + 1..].iter().position(below);
        let first = first.map_or(lines.len(), |first| at + 1 + first);
        let count = lines[first..]
            .iter()
            .take_while(|line| line.starts_with('|'))
            .count();
        assert!(count > 2, "{PAGE} has no table under `{heading}`");
        let new = markdown(&table);
        lines.splice(first..first + count, new.lines().map(str::to_owned));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_tables_of_the_page_are_current() {
    let page = text_of(PAGE);
    let current = with_current_tables(&page);
    if std::env::var_os("DBBACKUP_BLESS").is_some() {
        // Whole at any moment: other tests read it meanwhile.
        let new = tempfile::NamedTempFile::new_in(root()).unwrap();
        std::fs::write(new.path(), current).unwrap();
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(new.path(), mode).unwrap();
        new.persist(root().join(PAGE)).unwrap();
        return;
    }
    assert!(
        page == current,
        "{PAGE}: not what the code says; write it anew with `DBBACKUP_BLESS=1 cargo test --test \
         docs`"
    );
}

/// The tables together are what the parser calls the valid keys.
#[test]
fn every_key_of_the_parser_has_a_meaning() {
    let names = |table: &TableReference| -> BTreeSet<String> {
        table.keys.iter().map(|key| key.name.to_owned()).collect()
    };
    let tables = tables();
    let named = |name: &str| {
        let found = tables.iter().find(|table| table.name == name);
        names(found.unwrap_or_else(|| panic!("no table {name}")))
    };
    let mut of_run = named("`[backup]`, and any source");
    assert_eq!(of_run, keys_of("[backup]"));
    of_run.remove("jobs");
    let of_sources: BTreeSet<String> = named("`[sources.NAME]`").union(&of_run).cloned().collect();
    for table in &tables {
        // Tables of their own are no keys.
        let mut valid = keys_of(table.header);
        valid.remove("label");
        valid.remove("hooks");
        if table.header.contains("kind = ") {
            valid.remove("retention");
            let all: BTreeSet<String> = names(table).union(&of_sources).cloned().collect();
            assert_eq!(all, valid, "{}", table.name);
        } else if table.header == "[store]" {
            // Two tables: the keys of any store, and those of one on another machine.
            assert!(names(table).is_subset(&valid), "{}", table.name);
        } else if table.header.contains("type = ") {
            let of_all = named("`[notify.NAME]`");
            let all: BTreeSet<String> = names(table).union(&of_all).cloned().collect();
            assert_eq!(all, valid, "{}", table.name);
        } else if !["[sources.x]", "[notify.x]"].contains(&table.header) {
            assert_eq!(names(table), valid, "{}", table.name);
        }
    }
}
