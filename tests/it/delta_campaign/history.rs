//! What sidecars say of a store's history, in the campaign's own words: it does not ask the
//! program which backup is built on which.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub fn id_of(sidecar: &Value) -> String {
    sidecar["id"].as_str().unwrap().to_owned()
}

pub fn file_of(sidecar: &Value) -> String {
    sidecar["dump"]["file"].as_str().unwrap().to_owned()
}

/// The file with the list of contents, which trees have.
pub fn list_of(sidecar: &Value) -> Option<String> {
    let file = sidecar["manifest"]["tree"]["contents"]["file"].as_str();
    file.map(str::to_owned)
}

pub fn base_of(sidecar: &Value) -> Option<&str> {
    sidecar["dump"]["base"]["id"].as_str()
}

/// The newest full or that of the newest delta, and what is built on it by numbers.
fn newest_tree(known: &[Value]) -> BTreeMap<u64, &Value> {
    let Some(newest) = known.last() else {
        return BTreeMap::new();
    };
    let full = newest["dump"]["delta"]["full"].as_str();
    let full = full.map_or_else(|| id_of(newest), str::to_owned);
    let number = |sidecar: &Value| match sidecar["dump"]["delta"]["full"].as_str() {
        Some(of) if of == full => sidecar["dump"]["delta"]["number"].as_u64(),
        Some(_) => None,
        None => (id_of(sidecar) == full).then_some(0),
    };
    known
        .iter()
        .filter_map(|sidecar| Some((number(sidecar)?, sidecar)))
        .collect()
}

/// What the next backup is built on, by the rule of the skip tree: its own words for it.
pub fn next_way(known: &[Value]) -> Vec<Value> {
    let tree = newest_tree(known);
    let Some((last, _)) = tree.last_key_value() else {
        return Vec::new();
    };
    let mut number = last + 1;
    let mut way: Vec<Value> = Vec::new();
    while number > 0 {
        let mut digit = 1;
        while number / digit % 4 == 0 {
            digit *= 4;
        }
        number -= number / digit % 4 * digit;
        if let Some(base) = tree.get(&number) {
            way.push((*base).clone());
            break;
        }
    }
    if let Some(base) = way.last().cloned() {
        let below = way_of(&base, known);
        way.extend(below.iter().map(|id| find(known, id).clone()));
    }
    way
}

/// The ids of what a backup is built on, the nearest first.
pub fn way_of(sidecar: &Value, known: &[Value]) -> Vec<String> {
    let mut way = Vec::new();
    let mut base = base_of(sidecar);
    while let Some(id) = base {
        way.push(id.to_owned());
        base = base_of(find(known, id));
    }
    way
}

fn find<'a>(known: &'a [Value], id: &str) -> &'a Value {
    let found = known.iter().find(|sidecar| id_of(sidecar) == id);
    found.unwrap_or_else(|| panic!("{id} is not there"))
}

/// Those of a way whose lists the next list is built on: a whole one is the last.
pub fn list_way(way: &[Value]) -> &[Value] {
    let is_delta = |sidecar: &&Value| sidecar["manifest"]["tree"]["contents"]["is_delta"] == true;
    let deltas = way.iter().take_while(is_delta).count();
    &way[..(deltas + 1).min(way.len())]
}

pub fn is_full_due(known: &[Value]) -> bool {
    let tree = newest_tree(known);
    let newest = known.last().unwrap();
    let way = newest["dump"]["delta"]["way_bytes"].as_u64().unwrap_or(0);
    way > tree[&0]["dump"]["size_bytes"].as_u64().unwrap() / 2
}

/// The ids of a backup and of all that is built on it.
pub fn with_dependents(known: &[Value], id: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([id.to_owned()]);
    for sidecar in known {
        if base_of(sidecar).is_some_and(|base| found.contains(base)) {
            found.insert(id_of(sidecar));
        }
    }
    found
}
