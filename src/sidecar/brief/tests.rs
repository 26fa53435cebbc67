//! Both ways of reading a sidecar agree, whatever is done to it.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn whole() -> Value {
    let text = r#"{
        "schema": 1, "requires": [], "id": "a.b_daily_20261120T020000Z", "run": "r", "run_members":
        ["a.b", "a.c"], "source": "a.b",
        "kind": "postgres", "label": "daily", "status": "ok", "warnings": ["w"], "description":
        "d\n\"x\"", "tags": {"k": "v"},
        "started_at": "2026-11-20T02:00:00Z", "finished_at": "2026-11-20T02:00:41Z",
        "duration_seconds": 41.2,
        "dump": {"file": "f", "format": "tar", "size_bytes": 1, "sha256": "s",
        "content_size_bytes": 2, "content_sha256": "c",
                 "compression": "gzip", "encryption": null,
                 "base": {"id": "a.b_daily_20261119T020000Z", "sha256": "s", "content_sha256":
                 "c"},
                 "delta": {"full": "a.b_daily_20261101T020000Z", "number": 18, "depth": 2,
                 "way_bytes": 9}},
        "database": {"path": "/a/b", "paths": ["/a", "/b\u0001"], "owner": "o", "mode": "0600",
        "size_bytes": 7, "page_size": 4096, "encoding": "UTF-8", "auto_vacuum": "none",
                     "journal_mode": "wal", "user_version": 1, "application_id": 2,
                     "foreign_key_violations": 3, "name": "b", "host": "h",
                     "port": 5432, "user": "u", "server_version": "15", "system_identifier": "7",
                     "cluster": "a", "selected_by": ["x"],
                     "locale": {"provider": "c", "collate": "C", "ctype": "C", "locale": "de",
                     "icu_rules": "x"}, "settings": {"owner": "o"}, "extensions": [{"name": "e",
                     "version": "1", "schema": "s"}],
                     "roles": ["r"], "tablespaces": ["t"], "tablespace_locations": {"t": "/t"}},
        "manifest": {"tables": [{"name": "t\u0001", "kind": "table", "rows": 3}, {"name": "v",
        "kind": "view", "rows": 1, "compare": false}],
                     "rows_total": 3,
                "tree": {"files": 1, "directories": 2, "symlinks": 3, "hard_links": 4, "databases":
                5, "bytes": 6, "changed": ["a\u0001"],
                         "contents": {"file": "c", "size_bytes": 7, "sha256": "h"}}},
        "producer": {"host": "h"},
        "verifications": [{"at": "2026-11-20T02:00:42Z", "level": "content", "status": "ok",
        "duration_seconds": 1.1}],
        "error": {"message": "m", "hint": "h"}, "unknown": [1, {"x": 2}]
    }"#;
    serde_json::from_str(text).unwrap()
}

/// Both ways of reading agree.
fn agree(bytes: &[u8]) {
    let whole = Sidecar::parse(bytes).map(|sidecar| Brief::of(&sidecar, &mut Words::default()));
    assert_eq!(
        Brief::parse(bytes, &mut Words::default()),
        whole,
        "{}",
        String::from_utf8_lossy(bytes)
    );
}

/// Every place in a value, as a path of keys and numbers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        _ => {}
    }
}

#[test]
fn brief_is_read_where_and_as_the_whole_is() {
    agree(whole().to_string().as_bytes());
    // A field that the whole type has got and this sample has not would be looked at by nobody.
    let database = serde_json::from_value::<Database>(whole()["database"].clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&database)
            .unwrap()
            .as_object()
            .unwrap()
            .len(),
        whole()["database"].as_object().unwrap().len()
    );
    assert!(Brief::parse(whole().to_string().as_bytes(), &mut Words::default()).is_ok());
    let mut found = Vec::new();
    places(&whole(), "", &mut found);
    assert!(found.len() > 50);
    for place in &found {
        let others = [
            json!(null),
            json!(1),
            json!(-1),
            json!(2.5),
            json!("x"),
            json!([]),
            json!({}),
            json!([1]),
            json!(true),
        ];
        let moments = [
            "2026-11-20T02:00:60Z",
            "2026-02-30T02:00:00Z",
            "2026-11-20t02:00:00z",
            "2026-11-20T02:00:00.5+01:00",
            "2026-11-20",
        ];
        let others = others.into_iter().chain(moments.map(|text| json!(text)));
        for other in others {
            let mut changed = whole();
            *changed.pointer_mut(place).unwrap() = other;
            agree(changed.to_string().as_bytes());
        }
        let mut less = whole();
        if let Some((parent, key)) = place.rsplit_once('/')
            && let Some(map) = less.pointer_mut(parent).and_then(Value::as_object_mut)
        {
            map.remove(key);
            agree(less.to_string().as_bytes());
        }
    }
}

/// As this program writes it.
fn written() -> Vec<u8> {
    let sidecar: Sidecar = serde_json::from_value(whole()).unwrap();
    let mut sidecar = Sidecar { ..sidecar };
    let table = sidecar.manifest.as_ref().unwrap().tables[1].clone();
    if let Some(manifest) = &mut sidecar.manifest {
        manifest.tables = ["public.a", "\"Ü x\"", "b"]
            .map(|name| crate::engine::Table {
                name: name.into(),
                ..table.clone()
            })
            .to_vec();
        manifest.tables[0].compare = true;
        manifest.tables[1].name = "Ü".into();
    }
    sidecar.to_bytes()
}

#[test]
fn tables_are_passed_over_where_they_are_as_this_program_writes_them() {
    let text = String::from_utf8(written()).unwrap();
    let (short, count) = without_tables(&text).unwrap();
    assert!(
        count == 3 && !short.contains("public.a") && short.contains("rows_total"),
        "{short}"
    );
    agree(text.as_bytes());
    assert_eq!(
        Brief::parse(text.as_bytes(), &mut Words::default())
            .unwrap()
            .manifest
            .unwrap()
            .tables,
        3
    );
    // An escaped name is the parser's business.
    let escaped = text.replace("public.a", "public.\\\"a\\\"");
    assert!(without_tables(&escaped).is_none());
    agree(escaped.as_bytes());
    for (from, to) in [
        ("\"rows\": 1", "\"rows\": 01"),
        ("\"rows\": 1", "\"rows\": -1"),
        ("\"rows\": 1", "\"rows\": 99999999999999999999"),
        ("public.a", "public.\u{1}a"),
        ("\"kind\": \"view\"", "\"kind\": 5"),
        ("false", "5"),
        ("\n    ]", "\n    ,]"),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        agree(broken.as_bytes());
    }
}

proptest! {
    #[test]
    fn broken_bytes_as_written_are_broken_for_both(at in 0usize..3000, byte: u8,
        cut in 0usize..3000) {
        let mut bytes = written();
        let at = at % bytes.len();
        bytes[at] = byte;
        agree(&bytes);
        bytes.truncate(cut % bytes.len());
        agree(&bytes);
    }

    #[test]
    fn broken_bytes_are_broken_for_both(at in 0usize..1200, byte: u8, cut in 0usize..1200) {
        let mut bytes = serde_json::to_vec_pretty(&whole()).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        agree(&bytes);
        bytes.truncate(cut % bytes.len());
        agree(&bytes);
    }
}
