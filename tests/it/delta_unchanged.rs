//! Where nothing was committed since the newest backup, the next one reads nothing, and holds the
//! same. The laws of that are beside the code (`engine/sqlite/stamp`); here it is told by what
//! would not work if something were read.

use crate::delta::{all_have_their_way, all_restore, call, change, dump_path, id_of, rot, world};
use crate::moments::{next_second, point};
use crate::support::{Call, World, contents};
use chrono::{TimeDelta, Utc};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A run to which a moment is as good as two seconds.
fn at_rest(world: &World, arguments: &str) -> Call {
    std::thread::sleep(Duration::from_millis(30));
    call(world, arguments).env("DBBACKUP_TEST_AT_REST", "20")
}

fn back_up(world: &World) -> Value {
    next_second();
    at_rest(world, "backup --json").run().exits(0).made()
}

/// Whether the directory is on a file system on which anything is noted.
fn is_noted(world: &World) -> bool {
    let output = Command::new("stat")
        .args(["--file-system", "--format=%T"])
        .arg(world.path(""))
        .output()
        .unwrap();
    let kind = String::from_utf8(output.stdout).unwrap();
    let is_known = ["ext2/ext3", "xfs", "btrfs", "f2fs"].contains(&kind.trim());
    if !is_known {
        println!("skipped: nothing is noted on {kind}");
    }
    is_known
}

/// A world with a full of it at rest, and what it held.
fn saved(journal_mode: &str) -> Option<(World, Value, BTreeMap<String, String>)> {
    let world = world("");
    if !is_noted(&world) {
        return None;
    }
    world.sql("app.db", &format!("PRAGMA journal_mode = {journal_mode}"));
    let full = back_up(&world);
    assert!(full["database"]["stamp"].is_object(), "{full}");
    let held = contents(&world.path("app.db"));
    let saved = BTreeMap::from([(id_of(&full), held)]);
    Some((world, full, saved))
}

/// Whether nothing was read for it: its windows have no checksums.
fn is_copy(world: &World, sidecar: &Value) -> bool {
    let decoded = fs::read(world.decoded(sidecar)).unwrap();
    let is_copy = sidecar["dump"]["base"] != Value::Null && decoded[5] & 4 == 0;
    assert!(!is_copy || sidecar["dump"]["size_bytes"].as_u64().unwrap() < 200);
    is_copy
}

#[test]
fn nothing_is_read_where_nothing_was_committed() {
    for mode in ["wal", "delete"] {
        let Some((world, full, mut saved)) = saved(mode) else {
            return;
        };
        let held = saved[&id_of(&full)].clone();
        // Whoever read the database would wait for this one, and whoever read the base would
        // notice.
        let app = Connection::open(world.path("app.db")).unwrap();
        app.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE")
            .unwrap();
        let path = dump_path(&world, &full);
        let whole = fs::read(&path).unwrap();
        rot(&path);
        for number in 1..4 {
            let made = back_up(&world);
            assert!(is_copy(&world, &made), "{made}");
            // The way does not grow.
            assert_eq!(made["dump"]["base"]["id"], full["id"]);
            assert_eq!(made["dump"]["delta"]["number"], number);
            assert_eq!(made["dump"]["delta"]["depth"], 1);
            for same in ["content_sha256", "content_size_bytes", "format"] {
                assert_eq!(made["dump"][same], full["dump"][same]);
            }
            for same in ["manifest", "database", "producer"] {
                assert_eq!(made[same], full[same]);
            }
            saved.insert(id_of(&made), held.clone());
        }
        fs::write(&path, whole).unwrap();
        drop(app);
        call(&world, "verify --all --level restore").run().exits(0);
        all_restore(&world, &saved);
        change(&world, 1);
        let made = back_up(&world);
        assert!(!is_copy(&world, &made), "{made}");
        let id = id_of(&made);
        saved.insert(id, contents(&world.path("app.db")));
        let made = back_up(&world);
        assert!(is_copy(&world, &made), "{made}");
        saved.insert(id_of(&made), contents(&world.path("app.db")));
        all_restore(&world, &saved);
        all_have_their_way(&world);
    }
}

/// What is committed while such a backup is being made is in the next one.
#[test]
fn a_commit_in_the_middle_of_it_is_not_lost() {
    let Some((world, full, mut saved)) = saved("wal") else {
        return;
    };
    let held = saved[&id_of(&full)].clone();
    next_second();
    let run = at_rest(&world, "backup --json").held_at(&world, point::DRAFT_BEGUN);
    change(&world, 1);
    let made = run.go_on().wait().exits(0).made();
    assert!(is_copy(&world, &made), "{made}");
    saved.insert(id_of(&made), held);
    let made = back_up(&world);
    assert!(!is_copy(&world, &made), "{made}");
    saved.insert(id_of(&made), contents(&world.path("app.db")));
    all_restore(&world, &saved);
}

#[test]
fn what_may_have_changed_is_read() {
    let Some((world, _, _)) = saved("delete") else {
        return;
    };
    assert!(is_copy(&world, &back_up(&world)));
    // Another file, with the same times as far as they can be set.
    let [path, copy] = ["app.db", "copy.db"].map(|name| world.path(name));
    let status = Command::new("cp").arg("-p").args([&path, &copy]).status();
    assert!(status.unwrap().success());
    fs::rename(&copy, &path).unwrap();
    assert!(!is_copy(&world, &back_up(&world)));
    assert!(is_copy(&world, &back_up(&world)));
    // The same database by another path.
    let path = world.path("moved.db");
    fs::rename(world.path("app.db"), &path).unwrap();
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&text.replace("app.db", "moved.db"));
    assert!(!is_copy(&world, &back_up(&world)));
    assert!(is_copy(&world, &back_up(&world)));
    // Written to a moment ago: what was noted says nothing.
    world.sql("moved.db", "UPDATE t SET x = 'new' WHERE id = 1");
    next_second();
    let made = call(&world, "backup --json").run().exits(0).made();
    assert_eq!(made["database"]["stamp"], Value::Null);
    assert!(!is_copy(&world, &back_up(&world)));
    assert!(is_copy(&world, &back_up(&world)));
    // A full is a full.
    next_second();
    let full = at_rest(&world, "backup --full --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(full["dump"]["base"], Value::Null);
    let made = back_up(&world);
    assert!(is_copy(&world, &made));
    assert_eq!(made["dump"]["base"]["id"], full["id"]);
    // The newest is gone, and what is left has other content.
    world.sql("moved.db", "UPDATE t SET x = 'newer' WHERE id = 1");
    let newest = id_of(&back_up(&world));
    call(&world, &format!("delete {newest} --yes"))
        .run()
        .exits(0);
    assert!(!is_copy(&world, &back_up(&world)));
}

/// A crash has left the database in the middle of a transaction.
#[test]
fn a_live_journal_is_rolled_back_and_not_taken_for_nothing() {
    let Some((world, _, mut saved)) = saved("delete") else {
        return;
    };
    let held = contents(&world.path("app.db"));
    let journal = world.path("app.db-journal");
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE t SET x = 'half'")
        .unwrap();
    let [half, half_journal] = [world.path("app.db"), journal.clone()].map(fs::read);
    app.execute_batch("ROLLBACK").unwrap();
    drop(app);
    fs::write(world.path("app.db"), half.unwrap()).unwrap();
    fs::write(&journal, half_journal.unwrap()).unwrap();
    for _ in 0..2 {
        let made = back_up(&world);
        assert!(!is_copy(&world, &made), "{made}");
        assert_eq!(made["database"]["stamp"], Value::Null);
        saved.insert(id_of(&made), held.clone());
    }
    all_restore(&world, &saved);
}

/// Good backups would go in favour of copies of one that rots.
#[test]
fn what_nobody_changes_is_read_once_a_week() {
    let Some((world, full, _)) = saved("wal") else {
        return;
    };
    let days_later = |days: i64, arguments: &str| {
        let then = Utc::now() + TimeDelta::days(days);
        let then = then.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        at_rest(&world, arguments).env("DBBACKUP_TEST_NOW", &then)
    };
    let path = dump_path(&world, &full);
    let whole = fs::read(&path).unwrap();
    assert!(is_copy(&world, &back_up(&world)));
    rot(&path);
    let unread = days_later(6, "backup --json").run().exits(0).made();
    assert!(is_copy(&world, &unread), "{unread}");
    // What was proven then is not read again for a week.
    fs::write(&path, &whole).unwrap();
    let proven = days_later(8, "backup --json").run().exits(0).made();
    assert!(is_copy(&world, &proven), "{proven}");
    rot(&path);
    let unread = days_later(10, "backup --json").run().exits(0).made();
    assert!(is_copy(&world, &unread), "{unread}");
    let ran = days_later(16, "backup --json").run().exits(3);
    let json = ran.says("a full was made").json();
    assert_eq!(json["backups"][0]["dump"]["base"], Value::Null);
}
