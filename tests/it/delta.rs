//! Deltas: backups that are the difference from an earlier one. They come back as fulls do, by hand
//! too; whatever happens to a file on the way is found and answered by a full; and nothing that is
//! removed takes the way from what stays.

use crate::encryption::new_key;
use crate::moments::{next_second, point};
use crate::support::{Call, World, contents};
use crate::tools;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A database of some hundred pages, and a configuration that makes deltas of it.
pub fn world(more: &str) -> World {
    let world = World::new();
    populate(&world, more);
    world
}

/// The same in a world that is there.
pub fn populate(world: &World, more: &str) {
    world.database(
        "app.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;",
    );
    configure(world, more);
}

pub fn configure(world: &World, more: &str) {
    let (store, database) = (world.path("store"), world.path("app.db"));
    world.config(&format!(
        "[store]\npath = \"{}\"\n[backup]\nincremental = true\n{more}\n[sources.app]\nkind = \
         \"sqlite\"\npath = \"{}\"\n",
        store.display(),
        database.display()
    ));
}

/// A run in which content of any size may become a delta.
pub fn call(world: &World, arguments: &str) -> Call {
    world
        .dbbackup(arguments)
        .env("DBBACKUP_TEST_DELTA_SIZE", "1")
}

/// Changes some rows.
pub fn change(world: &World, seed: usize) {
    world.sql(
        "app.db",
        &format!("UPDATE t SET x = hex(randomblob(100)) WHERE id % 300 = {seed}"),
    );
}

/// A backup of its own second; gives its sidecar.
pub fn back_up(world: &World, more: &str) -> Value {
    next_second();
    call(world, &format!("backup --json {more}"))
        .run()
        .exits(0)
        .made()
}

pub fn id_of(sidecar: &Value) -> String {
    sidecar["id"].as_str().unwrap().to_owned()
}

/// So many backups, each after a change, the oldest first, with what the database held then.
pub fn history(world: &World, count: usize) -> (Vec<Value>, BTreeMap<String, String>) {
    let mut saved = BTreeMap::new();
    let mut made = Vec::new();
    for number in 0..count {
        change(world, number + 1);
        let sidecar = back_up(world, "");
        saved.insert(id_of(&sidecar), contents(&world.path("app.db")));
        made.push(sidecar);
    }
    (made, saved)
}

/// Every backup that is listed restores to what was saved.
#[track_caller]
pub fn all_restore(world: &World, saved: &BTreeMap<String, String>) {
    for id in world.ids("app") {
        let target = world.path("restored.db");
        let _ = fs::remove_file(&target);
        call(world, &format!("restore {id} --to restored.db --yes"))
            .run()
            .exits(0);
        assert_eq!(contents(&target), saved[&id], "{id}");
    }
}

/// Nothing is listed that lacks what it is built on.
#[track_caller]
pub fn all_have_their_way(world: &World) {
    let ids = world.ids("app");
    for id in &ids {
        if let Some(base) = world.sidecar(id)["dump"]["base"]["id"].as_str() {
            assert!(ids.iter().any(|id| id == base), "{id} lacks {base}");
            assert!(
                world.dump_of(base).exists(),
                "{id} lacks the dump of {base}"
            );
        }
    }
}

pub fn dump_path(world: &World, sidecar: &Value) -> PathBuf {
    let file = sidecar["dump"]["file"].as_str().unwrap();
    world.path("store").join("app").join(file)
}

/// Changes a byte in the middle.
pub fn rot(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn deltas_come_back_from_every_codec() {
    for codec in ["zstd", "gzip", "none"] {
        let world = world(&format!(
            "compression = \"{codec}\"\nverify_after = \"content\""
        ));
        let (made, saved) = history(&world, 6);
        assert_eq!(made[0]["dump"]["base"], Value::Null);
        assert_eq!(made[0]["requires"], serde_json::json!([]));
        let full = &made[0]["dump"];
        for (number, sidecar) in made.iter().enumerate().skip(1) {
            let dump = &sidecar["dump"];
            assert_eq!(sidecar["requires"], serde_json::json!(["delta"]));
            assert_eq!(dump["delta"]["full"], made[0]["id"]);
            assert_eq!(dump["delta"]["number"], number);
            let base = number - if number == 5 { 1 } else { number };
            assert_eq!(dump["base"]["id"], made[base]["id"], "{number}");
            assert_eq!(dump["base"]["sha256"], made[base]["dump"]["sha256"]);
            assert_eq!(dump["delta"]["depth"], if number == 5 { 2 } else { 1 });
            assert!(dump["file"].as_str().unwrap().contains(".sqlite3.vcdiff"));
            let size = |dump: &Value| dump["size_bytes"].as_u64().unwrap();
            assert!(size(dump) * 8 < size(full), "{dump}");
        }
        all_restore(&world, &saved);
        call(&world, "verify --all --level restore").run().exits(0);
        call(&world, "verify --all --level checksum").run().exits(0);
    }
}

#[test]
fn what_speaks_for_a_full_makes_one() {
    let world = world("");
    let is_delta = |sidecar: &Value| sidecar["dump"]["base"] != Value::Null;
    assert!(!is_delta(&back_up(&world, "")));
    change(&world, 1);
    assert!(!is_delta(&back_up(&world, "--full")));
    assert!(is_delta(&back_up(&world, "")));
    // Too small, without what the tests lower.
    next_second();
    let small = world.dbbackup("backup --json").run().exits(0).made();
    assert!(!is_delta(&small));
    assert!(is_delta(&back_up(&world, "--label other")));
    // All rows at once: that one is finished, and the next is a full.
    world.sql("app.db", "UPDATE t SET x = hex(randomblob(100))");
    assert!(is_delta(&back_up(&world, "")));
    assert!(!is_delta(&back_up(&world, "")));
    assert!(is_delta(&back_up(&world, "")));
    configure(&world, "full_every = \"1s\"");
    assert!(!is_delta(&back_up(&world, "")));
    configure(&world, "incremental = false");
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&text.replacen("incremental = true\n", "", 1));
    assert!(!is_delta(&back_up(&world, "")));
}

/// The blocks for a delta on the manual's page of recovery by hand.
fn manual_steps() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/dbbackup-recovery.7.md");
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("```sh delta\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// `show` says how; the line is run as it stands.
#[test]
fn zstd_gunzip_and_xdelta3_recover_a_delta() {
    if !tools::have("xdelta3") || !tools::have("zstd") {
        return;
    }
    for codec in ["zstd", "gzip"] {
        let world = world(&format!("compression = \"{codec}\""));
        let (made, saved) = history(&world, 6);
        let id = id_of(&made[5]);
        let shown = call(&world, &format!("show {id}")).run().exits(0);
        let shown = shown.prints(&id_of(&made[4])).prints(&id_of(&made[0]));
        let line = shown
            .stdout
            .lines()
            .find(|line| line.starts_with("by hand"));
        let command = line.unwrap().trim_start_matches("by hand").trim();
        let command = command.replace("FILE", "by-hand.db");
        let status = Command::new("bash")
            .args(["-c", &command])
            .current_dir(world.path(""))
            .status()
            .unwrap();
        assert!(status.success(), "{command}");
        assert_eq!(contents(&world.path("by-hand.db")), saved[&id]);
        // What the manual says does the same.
        let status = Command::new("bash")
            .args(["-c", &format!("set -euo pipefail\n{}", manual_steps())])
            .env("STORE", world.path("store"))
            .env("SOURCE", "app")
            .env("ID", &id)
            .env("NEW", world.path("by-the-manual.db"))
            .status()
            .unwrap();
        assert!(status.success(), "{codec}");
        assert_eq!(contents(&world.path("by-the-manual.db")), saved[&id]);
    }
}

#[test]
fn rot_anywhere_on_the_way_is_answered_by_a_full() {
    for broken in [0, 4] {
        let world = world("");
        let (made, saved) = history(&world, 6);
        rot(&dump_path(&world, &made[broken]));
        let file = made[broken]["dump"]["file"].as_str().unwrap();
        change(&world, 20);
        next_second();
        // The 6th is built on the 4th, and that on the full.
        let ran = call(&world, "backup --json").run().exits(3);
        let json = ran.says(file).says("a full was made").json();
        let new = &json["backups"][0];
        assert_eq!(new["dump"]["base"], Value::Null, "{new}");
        // What is built on it is told as damaged, and so is it itself.
        let good = world.ids("app");
        let lost: Vec<String> = made
            .iter()
            .map(id_of)
            .filter(|id| !good.contains(id))
            .collect();
        let expected = if broken == 0 { 0..6 } else { 4..6 };
        assert_eq!(lost, made[expected].iter().map(id_of).collect::<Vec<_>>());
        for id in lost.iter().skip(1) {
            call(&world, &format!("verify {id} --level content"))
                .run()
                .exits(4)
                .says(file);
            call(&world, &format!("restore {id} --to new.db --yes"))
                .run()
                .exits(4)
                .says(file);
            assert!(!world.path("new.db").exists());
        }
        let mut saved = saved;
        saved.insert(id_of(new), contents(&world.path("app.db")));
        all_restore(&world, &saved);
        assert_eq!(world.debris("app"), [] as [&str; 0]);
        // And on it goes.
        change(&world, 21);
        let next = back_up(&world, "");
        assert_eq!(next["dump"]["base"]["id"], new["id"]);
    }
}

#[test]
fn what_is_missing_on_the_way_is_named() {
    let world = world("");
    let (made, _) = history(&world, 6);
    let (base, newest) = (&made[4], id_of(&made[5]));
    let file = base["dump"]["file"].as_str().unwrap();
    let aside = world.path("aside");
    fs::rename(dump_path(&world, base), &aside).unwrap();
    for level in ["checksum", "content"] {
        call(&world, &format!("verify {newest} --level {level}"))
            .run()
            .exits(4)
            .says(file)
            .says(&id_of(base));
    }
    assert!(!world.ids("app").contains(&newest));
    // Nobody removes what may come back, and no delta is built on what is not there.
    call(&world, "cleanup --keep-last 1 --yes").run();
    fs::rename(&aside, dump_path(&world, base)).unwrap();
    call(&world, &format!("verify {newest} --level content"))
        .run()
        .exits(0);
    assert!(world.ids("app").contains(&newest));
    fs::rename(world.sidecar_path(&id_of(base)), &aside).unwrap();
    call(&world, &format!("restore {newest} --to new.db --yes"))
        .run()
        .exits(4)
        .says(&id_of(base))
        .says("is not in the store");
    // A delta without its sidecar is no database.
    let copied = world.path("alone.sqlite3.vcdiff.gz");
    fs::copy(dump_path(&world, &made[5]), copied).unwrap();
    call(
        &world,
        "restore ./alone.sqlite3.vcdiff.gz --to new.db --yes",
    )
    .run()
    .exits(1)
    .says("no sidecar says what it is built on");
}

#[test]
fn a_killed_delta_leaves_nothing_that_is_listed() {
    for (point, is_listed) in [
        (point::DRAFT_BEGUN, false),
        (point::DELTA_WRITTEN, false),
        (point::SIDECAR_DRAFTED, false),
        (point::DUMP_NAMED, false),
        (point::BACKUP_LISTED, true),
    ] {
        let world = world("");
        history(&world, 2);
        change(&world, 9);
        next_second();
        call(&world, "backup").killed_at(point, 1).was_killed();
        let listed = 2 + usize::from(is_listed);
        assert_eq!(world.ids("app").len(), listed, "{point}");
        all_have_their_way(&world);
        back_up(&world, "");
        assert_eq!(world.debris("app"), [] as [&str; 0], "{point}");
        all_have_their_way(&world);
        call(&world, "verify --all --level restore").run().exits(0);
    }
}

#[test]
fn cleanup_and_delete_never_break_a_way() {
    let world = world("cleanup_after = false");
    let (made, saved) = history(&world, 9);
    let id = |number: usize| id_of(&made[number]);
    // 8 is built on the full, 5 to 7 are built on 4.
    call(&world, &format!("delete {} --yes", id(4)))
        .run()
        .exits(2)
        .says(&id(5))
        .says("--with-dependents");
    call(&world, &format!("pin {}", id(6))).run().exits(0);
    call(&world, "cleanup --keep-last 1 --dry-run")
        .run()
        .exits(0)
        .prints(&format!("needed by {}", id(6)));
    // Killed in the middle of it, at either moment.
    for (point, count) in [(point::BACKUP_UNLISTED, 2), (point::DUMP_REMOVED, 1)] {
        call(&world, "cleanup --keep-last 1")
            .killed_at(point, count)
            .was_killed();
        all_have_their_way(&world);
        all_restore(&world, &saved);
    }
    call(&world, "cleanup --keep-last 1").run().exits(0);
    assert_eq!(world.ids("app"), [id(8), id(6), id(4), id(0)]);
    all_restore(&world, &saved);
    call(&world, &format!("delete {} --with-dependents --yes", id(4)))
        .run()
        .exits(2)
        .says("is pinned");
    call(
        &world,
        &format!("delete {} --with-dependents --yes --force", id(4)),
    )
    .run()
    .exits(0);
    assert_eq!(world.ids("app"), [id(8), id(0)]);
    all_restore(&world, &saved);
    // Its number is free again, and the way goes on.
    let next = back_up(&world, "");
    assert_eq!(next["dump"]["base"]["id"], made[8]["id"]);
    call(&world, "list").run().exits(0).prints("delta");
}

#[test]
fn copies_take_the_way_along() {
    let world = world("cleanup_after = false");
    let (made, saved) = history(&world, 6);
    let id = |number: usize| id_of(&made[number]);
    let other = world.path("other");
    fs::create_dir(&other).unwrap();
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&format!(
        "{text}[stores.usb]\npath = \"{}\"\n",
        other.display()
    ));
    call(&world, &format!("copy {} --to usb", id(5)))
        .run()
        .exits(0);
    let there = call(&world, "list --store usb --json")
        .run()
        .exits(0)
        .json();
    let there: Vec<&str> = there["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(there, [id(5), id(4), id(0)]);
    fs::remove_dir_all(world.path("store")).unwrap();
    call(
        &world,
        &format!("restore --store usb {} --to again.db --yes", id(5)),
    )
    .run()
    .exits(0);
    assert_eq!(contents(&world.path("again.db")), saved[&id(5)]);
}

/// The files of the way are other ones there; the content tells that they are meant.
#[test]
fn encrypted_copies_restore_with_the_key_alone() {
    if !tools::have("age") {
        return;
    }
    let world = world("cleanup_after = false\ncopies = ['usb']");
    let key = new_key(&world, "key.txt");
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let usb = world.path("usb");
    world.config(&format!(
        "{text}[stores.usb]\npath = '{}'\n[encryption]\nrecipients = ['{key}']\nstores = ['usb']\n",
        usb.display()
    ));
    let (made, saved) = history(&world, 6);
    let newest = id_of(&made[5]);
    let there: Value =
        serde_json::from_slice(&fs::read(usb.join("app").join(format!("{newest}.json"))).unwrap())
            .unwrap();
    assert_eq!(there["dump"]["base"]["content_sha256"], Value::Null);
    fs::remove_dir_all(world.path("store")).unwrap();
    for level in ["checksum", "content"] {
        call(
            &world,
            &format!("verify --store usb --all --level {level} --identity key.txt"),
        )
        .run()
        .exits(0);
    }
    let restore = format!("restore --store usb {newest} --to again.db --yes");
    call(&world, &restore).run().exits(1);
    call(&world, &format!("{restore} --identity key.txt"))
        .run()
        .exits(0);
    assert_eq!(contents(&world.path("again.db")), saved[&newest]);
}
