//! Deltas of trees: whatever happens to a tree between two runs, a delta holds exactly what a full
//! of the same moment holds; and what nobody has touched is not read.

use crate::delta::{call, id_of, rot};
use crate::moments::{next_second, point};
use crate::seeds::{Random, seed};
use crate::support::{Call, World};
use crate::tools::{have, skip};
use crate::tree::{grow, picture};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A configuration that makes deltas of the directory `tree`.
pub fn configure(world: &World, more: &str) {
    let (store, tree) = (world.path("store"), world.path("tree"));
    world.config(&format!(
        "[store]\npath = \"{}\"\n[backup]\nincremental = true\n{more}\n[sources.tree]\nkind = \
         \"files\"\npaths = [\"{}\"]\n",
        store.display(),
        tree.display()
    ));
}

/// A run to which everything is at rest that was not changed while it began.
fn resting(world: &World, arguments: &str) -> Call {
    call(world, arguments).env("DBBACKUP_TEST_AT_REST", "0")
}

/// A backup of its own second.
fn save(world: &World, more: &str) -> Value {
    next_second();
    resting(world, &format!("backup --json {more}"))
        .run()
        .exits(0)
        .made()
}

fn is_delta(sidecar: &Value) -> bool {
    sidecar["dump"]["base"] != Value::Null
}

/// A full of the same moment, in a store of its own.
fn full_elsewhere(world: &World) -> Value {
    let arguments = format!(
        "--store {} backup tree --full --json",
        world.path("other").display()
    );
    resting(world, &arguments).run().exits(0).made()
}

/// The list of contents of a backup in this store, as JSON.
fn contents_in(world: &World, store: &str, id: &str) -> Vec<Value> {
    let store = world.path(store);
    let arguments = format!("--store {} show {id} --contents --json", store.display());
    let mut json = resting(world, &arguments).run().exits(0).json();
    json["contents"].take().as_array().unwrap().clone()
}

/// The delta has the content and the list of a full of the same moment.
#[track_caller]
fn same_as_full(world: &World, delta: &Value, full: &Value) {
    assert!(is_delta(delta) && !is_delta(full), "{delta}");
    let [ours, theirs] = [("store", delta), ("other", full)]
        .map(|(store, sidecar)| contents_in(world, store, &id_of(sidecar)));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
    for field in ["content_size_bytes", "content_sha256"] {
        assert_eq!(delta["dump"][field], full["dump"][field]);
    }
    let numbers = |sidecar: &Value| {
        let mut tree = sidecar["manifest"]["tree"].clone();
        tree["contents"].take();
        tree
    };
    assert_eq!(numbers(delta), numbers(full));
}

/// Everything in the tree but its root, sorted.
pub fn entries(root: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    walk.into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

/// Changes one thing in the tree, at random. `number` makes the names of what is new.
pub fn change(root: &Path, random: &mut Random, number: u64) {
    let all = entries(root);
    let path = random.one_of(&all).clone();
    let seen = path.symlink_metadata().unwrap();
    let is_file = seen.is_file();
    let beside = path.parent().unwrap().join(format!("new.{number}"));
    match random.below(16) {
        // The same size, in place; the time is set back.
        0 | 1 if is_file && seen.size() > 0 => {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let at = random.below(seen.size());
            file.write_all_at(&random.bytes(1), at).unwrap();
            file.set_modified(seen.modified().unwrap()).unwrap();
        }
        2 | 3 if is_file => {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            let size = 1 + random.below(9000) as usize;
            file.write_all(&random.bytes(size)).unwrap();
        }
        4 if is_file => {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(random.below(seen.size() + 1)).unwrap();
        }
        5 if is_file => {
            // Nothing is created: in a sticky directory of somebody else's not even root may.
            let mut file = fs::OpenOptions::new();
            let mut file = file.write(true).truncate(true).open(&path).unwrap();
            let size = random.below(200_000) as usize;
            file.write_all(&random.bytes(size)).unwrap();
        }
        6 if seen.is_dir() => fs::remove_dir_all(&path).unwrap(),
        6 | 7 => {
            let _ = fs::remove_file(&path);
        }
        8 => fs::rename(&path, &beside).unwrap(),
        9 if is_file => {
            fs::remove_file(&path).unwrap();
            match random.below(3) {
                0 => symlink("elsewhere", &path).unwrap(),
                1 => fs::create_dir(&path).unwrap(),
                _ => {
                    let made = Command::new("mkfifo").arg(&path).status().unwrap();
                    assert!(made.success());
                }
            }
        }
        10 if is_file => fs::hard_link(&path, &beside).unwrap(),
        11 if !seen.is_symlink() => {
            let mode = if seen.is_dir() { 0o711 } else { 0o604 };
            crate::support::set_mode(&path, mode);
        }
        12 if is_file => {
            let value = random.bytes(20);
            let flags = rustix::fs::XattrFlags::empty();
            let _ = rustix::fs::setxattr(&path, "user.dbbackup-test", &value, flags);
        }
        13 => {
            fs::create_dir(&beside).unwrap();
            fs::write(beside.join("inside"), random.bytes(3000)).unwrap();
        }
        14 if is_file => {
            // Another file with the size and the time of the one before.
            let copy = path.with_file_name(format!("other.{number}"));
            let size = seen.size().min(1 << 20) as usize;
            fs::write(&copy, random.bytes(size)).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&copy).unwrap();
            file.set_len(seen.size()).unwrap();
            file.set_modified(seen.modified().unwrap()).unwrap();
            fs::rename(&copy, &path).unwrap();
        }
        _ => {
            let size = [0, 10, 512, 5000, 300_000][random.below(5) as usize];
            fs::write(&beside, random.bytes(size)).unwrap();
        }
    }
}

/// How many random trees; `DBBACKUP_TREES` makes it more.
fn trees() -> u64 {
    let given = std::env::var("DBBACKUP_TREES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn any_change_to_any_tree_comes_back() {
    let first = seed();
    for seed in first..first + trees() {
        let (world, mut random) = (World::new(), Random::new(seed));
        let codec = ["gzip", "zstd", "none"][seed as usize % 3];
        let verify = ["content", "restore"][seed as usize % 2];
        configure(
            &world,
            &format!("compression = \"{codec}\"\nverify_after = \"{verify}\""),
        );
        let tree = world.path("tree");
        grow(&tree, seed);
        let mut saved = BTreeMap::new();
        saved.insert(id_of(&save(&world, "")), picture(&tree));
        for generation in 0..6 {
            for number in 0..random.below(8) {
                change(&tree, &mut random, generation * 100 + number);
            }
            let more = if generation == 3 { "--reread" } else { "" };
            let made = save(&world, more);
            // A delta that is large makes the next one a full.
            if is_delta(&made) {
                same_as_full(&world, &made, &full_elsewhere(&world));
            }
            saved.insert(id_of(&made), picture(&tree));
        }
        resting(&world, "verify --all --level restore")
            .run()
            .exits(0);
        for (id, picture_then) in &saved {
            let to = world.path("back");
            let _ = fs::remove_dir_all(&to);
            resting(&world, &format!("restore {id} --to back --yes"))
                .run()
                .exits(0);
            let back = to.join(tree.strip_prefix("/").unwrap());
            assert_eq!(&picture(&back), picture_then, "{id}");
        }
    }
}

/// Some files of each size, none of them a database.
fn plain_tree(world: &World) -> PathBuf {
    let tree = world.path("tree");
    let mut random = Random::new(7);
    for directory in ["a", "b", "b-c", "b/c"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
        for size in [0, 100, 5000, 70_000] {
            let path = tree.join(directory).join(format!("f{size}"));
            fs::write(path, random.bytes(size)).unwrap();
        }
    }
    let line = |number: u64| format!("line {number} {:x}\n", number * 7919 % 65_537);
    let text: String = (0..200_000).map(line).collect();
    fs::write(tree.join("big.log"), text).unwrap();
    tree
}

fn size_of(sidecar: &Value) -> u64 {
    sidecar["dump"]["size_bytes"].as_u64().unwrap()
}

#[test]
fn a_delta_has_the_size_of_what_was_changed() {
    let world = World::new();
    configure(&world, "compression = \"zstd\"");
    let tree = plain_tree(&world);
    save(&world, "");
    // A line more in the middle, and one at the end.
    let text = fs::read_to_string(tree.join("big.log")).unwrap();
    let (before, after) = text.split_at(text.find("line 100000 ").unwrap());
    fs::write(tree.join("big.log"), format!("{before}new\n{after}end\n")).unwrap();
    let made = save(&world, "");
    same_as_full(&world, &made, &full_elsewhere(&world));
    assert!(size_of(&made) < 2000, "{made}");
    // Nothing of the content.
    for path in entries(&tree) {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        crate::support::set_mode(&path, mode);
    }
    let made = save(&world, "");
    same_as_full(&world, &made, &full_elsewhere(&world));
    assert!(size_of(&made) < 4000, "{made}");
    // Nothing more, since the same full; read or not.
    for more in ["", "--reread"] {
        let made = save(&world, more);
        same_as_full(&world, &made, &full_elsewhere(&world));
        assert!(size_of(&made) < 4000, "{made}");
        let list = &made["manifest"]["tree"]["contents"];
        let name = list["file"].as_str().unwrap();
        assert!(name.ends_with(".contents.json.vcdiff.zst"), "{name}");
        assert_eq!(list["is_delta"], true);
    }
    // Nothing at all: the 5th is built on the 4th.
    let made = save(&world, "");
    assert!(size_of(&made) < 300, "{made}");
    let list = &made["manifest"]["tree"]["contents"];
    assert!(list["size_bytes"].as_u64().unwrap() < 300, "{list}");
}

/// Puts another hash for each file into the list of a backup, which it then has for its own.
fn falsify_list(world: &World, sidecar: &Value) {
    let file = sidecar["manifest"]["tree"]["contents"]["file"]
        .as_str()
        .unwrap();
    let path = world.path("store/tree").join(file);
    let unpack = Command::new("zstd").arg("-dc").arg(&path).output().unwrap();
    let lines = String::from_utf8(unpack.stdout).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["sha256"].is_string() {
            line["sha256"] = Value::String("f".repeat(64));
        }
        format!("{line}\n")
    });
    let plain = world.file("list", &lines.collect::<String>());
    let packed = Command::new("zstd")
        .args(["-qfo"])
        .arg(&path)
        .arg(&plain)
        .status();
    assert!(packed.unwrap().success());
    let sum = Command::new("sha256sum").arg(&path).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    world.edit_sidecar(&id_of(sidecar), |sidecar| {
        let list = &mut sidecar["manifest"]["tree"]["contents"];
        list["sha256"] = Value::String(sum);
        list["size_bytes"] = path.metadata().unwrap().len().into();
    });
}

/// The files whose hash in the list is not the one that was put there.
fn read_files(world: &World, made: &Value) -> Vec<String> {
    let lines = contents_in(world, "store", &id_of(made));
    let files = lines.into_iter().filter(|line| line["type"] == "file");
    let read = files.filter(|line| !line["sha256"].as_str().unwrap().starts_with("ffff"));
    read.map(|line| {
        let path = line["path"].as_str().unwrap();
        path.rsplit_once("/tree/").unwrap().1.to_owned()
    })
    .collect()
}

/// What is copied keeps the hash that the list has for it, whatever that is.
#[test]
fn what_nobody_has_touched_is_not_read() {
    if !have("zstd") {
        return skip("zstd");
    }
    let world = World::new();
    configure(&world, "");
    let tree = plain_tree(&world);
    world.database("tree/app.db", "CREATE TABLE t(x)");
    let first = save(&world, "");
    falsify_list(&world, &first);
    fs::write(tree.join("a/f100"), "another").unwrap();
    let made = save(&world, "");
    assert!(is_delta(&made));
    assert_eq!(read_files(&world, &made), ["a/f100", "app.db"]);
    assert_eq!(read_files(&world, &save(&world, "--reread")).len(), 18);
}

/// What was written to a moment before it was read may be written to once more in the same moment.
#[test]
fn what_was_not_at_rest_is_read_again() {
    if !have("zstd") {
        return skip("zstd");
    }
    let world = World::new();
    configure(&world, "");
    plain_tree(&world);
    // A minute has not passed since.
    let first = call(&world, "backup --json").run().exits(0).made();
    falsify_list(&world, &first);
    let made = save(&world, "");
    assert!(is_delta(&made));
    assert_eq!(read_files(&world, &made).len(), 17);
}

#[test]
fn a_database_in_a_tree_is_read_through_sqlite_every_time() {
    let world = World::new();
    configure(&world, "compression = \"zstd\"");
    plain_tree(&world);
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;";
    let path = world.database(
        "tree/b/app.db",
        &format!("PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x); {rows}"),
    );
    let first = save(&world, "");
    // While this is open, commits are in the log alone.
    let application = rusqlite::Connection::open(&path).unwrap();
    application
        .execute_batch("UPDATE t SET x = 'new' WHERE id = 1000")
        .unwrap();
    let before = path.metadata().unwrap().modified().unwrap();
    let made = save(&world, "");
    assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
    same_as_full(&world, &made, &full_elsewhere(&world));
    assert!(size_of(&made) * 50 < size_of(&first), "{made}");
    resting(&world, &format!("restore {} --to back --yes", id_of(&made)))
        .run()
        .exits(0);
    let back = world.path("back").join(path.strip_prefix("/").unwrap());
    let restored = rusqlite::Connection::open(back).unwrap();
    let found: String = restored
        .query_row("SELECT x FROM t WHERE id = 1000", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, "new");
}

/// The stock programs make a tar of it, from pipes and from files; and so does the store's script.
#[test]
fn tar_unpacks_what_xdelta3_makes_of_a_delta() {
    if !have("xdelta3") || !have("zstd") {
        return skip("xdelta3 and zstd");
    }
    let world = World::new();
    configure(&world, "compression = \"zstd\"");
    let tree = plain_tree(&world);
    let mut made = vec![save(&world, "")];
    for number in 0..5 {
        fs::write(tree.join(format!("b/new{number}")), vec![number; 9000]).unwrap();
        made.push(save(&world, ""));
    }
    let id = id_of(&made[5]);
    assert_eq!(made[5]["dump"]["delta"]["depth"], 2);
    let file = |number: usize| {
        let file = made[number]["dump"]["file"].as_str().unwrap();
        world.path("store/tree").join(file).display().to_string()
    };
    let (full, middle, last) = (file(0), file(4), file(5));
    let shown = resting(&world, &format!("show {id}")).run().exits(0).stdout;
    let by_hand = shown.lines().find(|line| line.starts_with("by hand"));
    let by_hand = by_hand.unwrap().trim_start_matches("by hand").trim();
    let piped = format!(
        "xdelta3 -d -c -s <(xdelta3 -d -c -s <(zstd -dc {full}) <(zstd -dc {middle})) <(zstd -dc \
         {last}) | tar -xf - -C OUT"
    );
    let from_files = format!(
        "zstd -dqfo base {full}; zstd -dqfo one {middle}; zstd -dqfo two {last}; xdelta3 -df -s \
         base one both; xdelta3 -d -c -s both two | tar -xf - -C OUT"
    );
    let script = format!("bash store/recover.sh {id} | tar -xf - -C OUT");
    for (number, steps) in [by_hand, &piped, &from_files, &script]
        .into_iter()
        .enumerate()
    {
        let out = world.path(&format!("out{number}"));
        fs::create_dir(&out).unwrap();
        let steps = match number {
            0 => format!(
                "{}; tar -xf by-hand.tar -C OUT",
                steps.replace("FILE", "by-hand.tar")
            ),
            _ => steps.to_owned(),
        };
        let status = Command::new("bash")
            .args([
                "-c",
                &format!(
                    "set -euo pipefail; {}",
                    steps.replace("OUT", out.to_str().unwrap())
                ),
            ])
            .current_dir(world.path(""))
            .status();
        assert!(status.unwrap().success(), "{steps}");
        let back = out.join(tree.strip_prefix("/").unwrap());
        assert_eq!(picture(&back), picture(&tree), "{steps}");
    }
}

#[test]
fn parts_of_a_delta_come_back() {
    let world = World::new();
    configure(&world, "");
    let tree = plain_tree(&world);
    save(&world, "");
    fs::write(tree.join("a/f100"), "another").unwrap();
    let made = save(&world, "");
    let id = id_of(&made);
    let inside = |path: &str| tree.join(path).display().to_string();
    for path in ["a/f100", "b/c/f5000"] {
        let wanted = inside(path);
        resting(
            &world,
            &format!("restore {id} --path {wanted} --to part --yes"),
        )
        .run()
        .exits(0);
        let part = world.path("part").join(wanted.strip_prefix('/').unwrap());
        assert_eq!(fs::read(&part).unwrap(), fs::read(&wanted).unwrap());
        let files = entries(&world.path("part"));
        assert_eq!(files.iter().filter(|path| path.is_file()).count(), 1);
        fs::remove_dir_all(world.path("part")).unwrap();
    }
    let mut cat = resting(&world, &format!("cat {id}"));
    let archive = world.path("cat.tar");
    fs::write(&archive, cat.command.output().unwrap().stdout).unwrap();
    let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(sum[..64], made["dump"]["content_sha256"]);
}

#[test]
fn rot_under_a_tree_is_answered_by_a_full() {
    for is_list in [false, true] {
        let world = World::new();
        configure(&world, "");
        let tree = plain_tree(&world);
        let full = save(&world, "");
        fs::write(tree.join("a/f100"), "another").unwrap();
        let delta = save(&world, "");
        let file = match is_list {
            true => &full["manifest"]["tree"]["contents"]["file"],
            false => &full["dump"]["file"],
        };
        let file = file.as_str().unwrap();
        rot(&world.path("store/tree").join(file));
        if is_list {
            // The list of what is built on it can't be read either.
            for level in ["checksum", "content"] {
                resting(&world, &format!("verify {} --level {level}", id_of(&delta)))
                    .run()
                    .exits(4)
                    .says(file);
            }
        }
        next_second();
        let ran = resting(&world, "backup --json").run().exits(3);
        let json = ran.says("a full was made").json();
        let new = &json["backups"][0];
        assert!(!is_delta(new), "{new}");
        resting(&world, &format!("verify {} --level content", id_of(&delta)))
            .run()
            .exits(4)
            .says(file);
        fs::write(tree.join("a/f100"), "a third").unwrap();
        let next = save(&world, "");
        assert_eq!(next["dump"]["base"]["id"], new["id"]);
        same_as_full(&world, &next, &full_elsewhere(&world));
    }
}

#[test]
fn a_killed_delta_of_a_tree_leaves_nothing() {
    for (point, is_listed) in [
        (point::DRAFT_BEGUN, false),
        (point::DELTA_WRITTEN, false),
        (point::LIST_WRITTEN, false),
        (point::SIDECAR_DRAFTED, false),
        (point::DUMP_NAMED, false),
        (point::BACKUP_LISTED, true),
    ] {
        let world = World::new();
        configure(&world, "");
        let tree = plain_tree(&world);
        save(&world, "");
        fs::write(tree.join("a/f100"), "another").unwrap();
        next_second();
        resting(&world, "backup").killed_at(point, 1).was_killed();
        assert_eq!(
            world.ids("tree").len(),
            1 + usize::from(is_listed),
            "{point}"
        );
        let made = save(&world, "");
        assert!(is_delta(&made));
        assert_eq!(world.debris("tree"), [] as [&str; 0], "{point}");
        resting(&world, "verify --all --level restore")
            .run()
            .exits(0);
    }
}

/// Removal and copies take lists along as they do dumps.
#[test]
fn deltas_of_trees_are_kept_copied_and_removed_with_their_way() {
    let world = World::new();
    configure(&world, "");
    let tree = plain_tree(&world);
    let mut made = Vec::new();
    for number in 0..6 {
        fs::write(tree.join("a/f100"), format!("number {number}")).unwrap();
        made.push(save(&world, ""));
    }
    let copies = world.path("copies");
    resting(
        &world,
        &format!("copy {} --to {}", id_of(&made[5]), copies.display()),
    )
    .run()
    .exits(0);
    let there = format!("--store {} verify --all --level restore", copies.display());
    resting(&world, &there).run().exits(0);
    assert_eq!(
        contents_in(&world, "copies", &id_of(&made[5])),
        contents_in(&world, "store", &id_of(&made[5]))
    );
    // As a full it needs no other list either.
    let fulls = world.path("fulls");
    let copy = format!("copy {} --to {} --full", id_of(&made[5]), fulls.display());
    resting(&world, &copy).run().exits(0);
    let there = format!("--store {} verify --all --level restore", fulls.display());
    resting(&world, &there).run().exits(0);
    assert_eq!(
        contents_in(&world, "fulls", &id_of(&made[5])),
        contents_in(&world, "store", &id_of(&made[5]))
    );
    resting(&world, "cleanup --keep-last 1").run().exits(0);
    let left = world.ids("tree");
    assert_eq!(left.len(), 3, "the newest, the 4th, and the full: {left:?}");
    assert_eq!(world.stored("tree", ".contents.json.zst").len(), 1);
    assert_eq!(world.stored("tree", ".contents.json.vcdiff.zst").len(), 2);
    resting(&world, "verify --all --level restore")
        .run()
        .exits(0);
    resting(&world, &format!("delete {} --yes", id_of(&made[0])))
        .run()
        .exits(2)
        .says("--with-dependents");
    resting(
        &world,
        &format!("delete {} --with-dependents --yes --force", id_of(&made[0])),
    )
    .run()
    .exits(0);
    assert_eq!(
        world.stored("tree", ".zst").len() + world.stored("tree", ".gz").len(),
        0
    );
}
