//! Killed, interrupted, out of space, on a failing disk: nothing listed that is not whole, nothing
//! lost that was there, and the next run sweeps what was left.

use crate::live::{assert_bank_is_sound, bank};
use crate::moments::{moments, point, timed};
use crate::support::{World, contents, is_root};
use crate::tools::{can_trace, skip};
use rusqlite::Connection;
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn assert_all_verify(world: &World) {
    world
        .with_store("verify --all --level content")
        .run()
        .exits(0);
}

#[test]
fn a_killed_backup_leaves_nothing_listed_that_is_not_whole() {
    let world = World::new();
    world.config("[backup]\nscratch_dir = \"scratch\"\nverify_after = \"content\"\n");
    std::fs::create_dir(world.path("scratch")).unwrap();
    bank(&world, "bank.db", "delete", 24);
    let length = timed(world.with_store("backup bank.db --label first"));
    for moment in moments(length) {
        world.with_store("backup bank.db").killed_after(moment);
    }
    assert_all_verify(&world);
    let listed = world.ids("").len();
    world
        .with_store("backup bank.db --label last")
        .run()
        .exits(0);
    assert_eq!(world.debris("bank"), [] as [&str; 0]);
    assert_eq!(
        std::fs::read_dir(world.path("scratch")).unwrap().count(),
        0,
        "scratch is swept"
    );
    assert_eq!(world.ids("").len(), listed + 1);
    // Every dump that is there belongs to a listed backup.
    assert_eq!(world.stored("bank", ".sqlite3.gz").len(), listed + 1);
}

#[test]
fn a_killed_cleanup_leaves_whole_backups() {
    let world = World::new();
    bank(&world, "bank.db", "wal", 1);
    let mut length = Duration::ZERO;
    for moment in [Duration::ZERO]
        .into_iter()
        .chain(moments(Duration::from_millis(60)))
    {
        while world.stored("bank", "Z.sqlite3.gz").len() < 8 {
            world.with_store("backup bank.db").run().exits(0);
        }
        if length.is_zero() {
            length = timed(world.with_store("cleanup --keep-last 2"));
        } else {
            world
                .with_store("cleanup --keep-last 2")
                .killed_after(moment.min(length));
        }
        let listed = world.ids("").len();
        assert!(listed >= 2, "{listed}");
        world
            .with_store("verify --all --level checksum")
            .run()
            .exits(0);
    }
    world.with_store("cleanup --keep-last 2").run().exits(0);
    assert_eq!(world.debris("bank"), [] as [&str; 0]);
    assert_eq!(
        (
            world.stored("bank", ".sqlite3.gz").len(),
            world.ids("").len()
        ),
        (2, 2)
    );
}

/// Two states of a bank: as it was backed up, and as it is now.
fn two_states(world: &World, journal: &str) -> (String, String) {
    bank(world, "bank.db", journal, 8);
    let then = contents(&world.path("bank.db"));
    world
        .with_store("backup bank.db --label start")
        .run()
        .exits(0);
    change(world);
    (then, contents(&world.path("bank.db")))
}

fn change(world: &World) {
    world.sql(
        "bank.db",
        "UPDATE ballast SET body = 'new ' || id WHERE id % 3 = 0; DELETE FROM ballast WHERE id % 5 \
         = 0; CREATE TABLE newer(x);",
    );
}

#[test]
fn a_killed_restore_leaves_the_old_database_or_the_new_one() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        let (then, now) = two_states(&world, journal);
        let length = timed(world.with_store("restore bank@latest:start --yes"));
        let (mut olds, mut news) = (0, 0);
        world
            .with_store(&format!(
                "restore {} --yes",
                world.ids("--label pre-restore")[0]
            ))
            .run()
            .exits(0);
        for moment in moments(length) {
            world
                .with_store("restore bank@latest:start --yes")
                .killed_after(moment);
            assert_bank_is_sound(&world.path("bank.db"));
            let found = contents(&world.path("bank.db"));
            assert!(
                found == then || found == now,
                "{journal}: half a database after {moment:?}"
            );
            if found == then {
                news += 1;
                change(&world);
            } else {
                olds += 1;
            }
        }
        println!("{journal}: {olds} times the old database, {news} times the new one");
        assert!(olds > 0);
        assert_all_verify(&world);
        world
            .with_store("restore bank@latest:start --yes")
            .run()
            .exits(0);
        assert_eq!(contents(&world.path("bank.db")), then);
        assert_eq!(world.leftovers(), [] as [&str; 0]);
        assert_eq!(world.debris("bank"), [] as [&str; 0]);
    }
}

#[test]
fn a_killed_restore_by_rename_never_leaves_a_moment_without_a_file() {
    let world = World::new();
    let (then, _) = two_states(&world, "delete");
    let wide = "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(x); INSERT INTO t VALUES ('old');";
    let old = contents(&world.database("wide.db", wide));
    world.database("second.db", wide);
    let length = timed(world.with_store("restore bank@latest:start --to second.db --yes"));
    for moment in moments(length) {
        world
            .with_store("restore bank@latest:start --to wide.db --yes")
            .killed_after(moment);
        let found = contents(&world.path("wide.db"));
        assert!(
            found == old || found == then,
            "half a database after {moment:?}"
        );
        if found == then {
            std::fs::remove_file(world.path("wide.db")).unwrap();
            world.database("wide.db", wide);
        }
    }
    world
        .with_store("restore bank@latest:start --to wide.db --yes")
        .run()
        .exits(0);
    assert!(
        world
            .leftovers()
            .iter()
            .all(|name| name.contains(".before-")),
        "{:?}",
        world.leftovers()
    );
}

#[test]
fn a_signal_ends_a_backup_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::new();
        world.config("[backup]\ncompression = \"zstd:19\"\nthreads = 1\n");
        bank(&world, "bank.db", "wal", 48);
        let running = world
            .with_store("backup bank.db")
            .held_at(&world, point::DRAFT_BEGUN);
        assert!(!world.debris("bank").is_empty());
        running.signal(signal).wait().exits(130);
        assert_eq!(world.debris("bank"), [] as [&str; 0]);
        assert_eq!(world.ids(""), [] as [&str; 0]);
        let json = world
            .with_store("list --status failed --json")
            .run()
            .exits(0)
            .json();
        assert_eq!(json["backups"][0]["error"]["message"], "interrupted");
    }
}

/// A file system of so many KiB, if this user may mount one; unmounted when dropped.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub fn mount(at: &'a Path, kibibytes: u32) -> Option<SmallDisk<'a>> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={kibibytes}k");
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(at)
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            skip("a small file system can't be mounted here");
        }
        mounted.then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_before_or_during_the_work_and_costs_nothing_earlier() {
    let world = World::new();
    let at = world.path("disk");
    let Some(_disk) = SmallDisk::mount(&at, 2048) else {
        return;
    };
    world.shop("app.db");
    let in_store = |arguments: &str| world.dbbackup(&format!("--store disk/store {arguments}"));
    in_store("backup app.db").run().exits(0);
    // Half of it does not fit, and there is no earlier backup to go by: a sample tells that it
    // compresses badly.
    world.database(
        "big.db",
        "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT \
                              i + 1 FROM n WHERE i < 400) INSERT INTO t SELECT randomblob(10000) \
                              FROM n;",
    );
    in_store("backup big.db")
        .run()
        .exits(1)
        .says("too little space")
        .says("missing")
        .says("hint:");
    in_store("doctor big.db")
        .run()
        .exits(1)
        .prints("needed for the next backups");
    // What a sample can't tell: the log holds it all. The first failure that fills the disk is
    // kept, too.
    let app = rusqlite::Connection::open(world.path("log.db")).unwrap();
    let sql =
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x); INSERT \
               INTO t VALUES (zeroblob(4000000));
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) INSERT INTO \
               t SELECT randomblob(10000) FROM n;";
    app.execute_batch(sql).unwrap();
    in_store("backup log.db")
        .run()
        .exits(1)
        .says("no space left on device")
        .says("hint:");
    let failed = in_store("list log --status failed --json")
        .run()
        .exits(0)
        .json();
    assert!(
        failed["backups"][0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no space left on device"),
        "{failed}"
    );
    drop(app);
    // With nothing but the size to go by, too little for certain is told before.
    world.config("[backup]\ncompression = \"none\"\n");
    in_store("backup big.db")
        .run()
        .exits(1)
        .says("too little space")
        .says("missing");
    let json = in_store("list --json").run().exits(0).json();
    assert_eq!(json["backups"].as_array().unwrap().len(), 1);
    in_store("verify --all --level restore").run().exits(0);
    let left = std::fs::read_dir(at.join("store/big"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        left.filter(|name| name != ".lock")
            .all(|name| name.ends_with(".json") && !name.starts_with('.')),
        "debris"
    );
    // And removing needs no space.
    let rest = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=1k"])
        .arg(format!("of={}", at.join("fill").display()))
        .stderr(Stdio::null())
        .status();
    assert!(!rest.unwrap().success(), "the disk is full now");
    in_store("backup app.db").run().exits(1);
    in_store("cleanup app --keep-last 1").run().exits(0);
    in_store("delete --force --yes").run().exits(2);
    let id = json["backups"][0]["id"].as_str().unwrap();
    in_store(&format!("delete {id} --force --yes"))
        .run()
        .exits(0);
}

#[test]
fn a_full_disk_leaves_the_restores_target_in_service() {
    let world = World::new();
    let at = world.path("disk");
    let Some(_disk) = SmallDisk::mount(&at, 3072) else {
        return;
    };
    world.database(
        "app.db",
        "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT \
                              i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT randomblob(10000) \
                              FROM n;",
    );
    world.with_store("backup app.db").run().exits(0);
    let live = world.path("disk/live.db");
    std::fs::copy(world.path("app.db"), &live).unwrap();
    Connection::open(&live)
        .unwrap()
        .execute_batch("DELETE FROM t WHERE rowid % 2")
        .unwrap();
    let now = contents(&live);
    world
        .with_store("restore app --to disk/live.db --yes")
        .run()
        .exits(1)
        .says("too little space")
        .says("missing");
    assert_eq!(contents(&live), now);
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1);
}

/// The disk reports an error at the Nth such call, for every N: a failure, nothing listed, nothing
/// left; or it did not come to that call any more.
#[test]
fn an_error_of_the_disk_at_any_call_is_a_failure_with_nothing_listed() {
    let world = World::new();
    world.shop("app.db");
    world
        .with_store("backup app.db --label first")
        .run()
        .exits(0);
    if !can_trace() {
        return;
    }
    for (call, error) in [
        ("fsync", "EIO"),
        ("renameat2", "EIO"),
        ("sync_file_range", "EIO"),
        ("write", "ENOSPC"),
    ] {
        for number in 1..40 {
            let inject = format!("inject={call}:error={error}:when={number}");
            let mut command = Command::new("strace");
            command
                .args(["-f", "-o", "/dev/null", "-e", &inject])
                .arg(crate::support::binary());
            command
                .args([
                    "--store", "store", "-q", "backup", "app.db", "--label", "second",
                ])
                .current_dir(world.path(""));
            let output = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .output()
                .unwrap();
            let listed = world.ids("--label second").len();
            world
                .with_store("verify --all --level checksum")
                .run()
                .exits(0);
            if output.status.success() {
                assert_eq!(listed, 1, "{call} {number}");
                let id = world.ids("--label second").remove(0);
                world
                    .with_store(&format!("delete {id} --yes"))
                    .run()
                    .exits(0);
                // A call whose failure is no failure of the backup (the text in the lock's file, a
                // message): go on, a few more.
                if number > 20 {
                    break;
                }
                continue;
            }
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{call} {number}: {text}");
            assert!(
                call == "write" || text.contains("error:"),
                "{call} {number}: {text}"
            );
            // Past the last rename the backup is whole, although the directory's sync failed: then
            // it is listed, and the exit code says that it may not last.
            for id in world.ids("--label second") {
                world
                    .with_store(&format!("delete {id} --yes"))
                    .run()
                    .exits(0);
            }
            let dumps = world.stored("app", ".sqlite3.gz");
            let named = |path: &&std::path::PathBuf| {
                !path.file_name().unwrap().to_str().unwrap().starts_with('.')
            };
            assert_eq!(
                dumps.iter().filter(named).count(),
                1,
                "{call} {number}: {dumps:?}"
            );
            world.with_store("cleanup app --keep-last 9").run().exits(0);
            assert_eq!(world.debris("app"), [] as [&str; 0], "{call} {number}");
        }
    }
    assert_eq!(world.ids("--label first").len(), 1);
}
