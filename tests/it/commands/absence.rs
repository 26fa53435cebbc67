//! An error is not an absence: what a failing disk, or one that is away, keeps from being looked at
//! stays, and is told.

use crate::support::{Call, World, binary};
use crate::tools::can_trace;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const DAY: i64 = 24;

/// A source with a backup of now and three of older days; the old ones' ids.
fn world() -> (World, Vec<String>) {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[backup]\ncleanup_after = false\n[retention]\nkeep_last = 1\n\
         [sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
    );
    world.dbbackup("backup").run().exits(0);
    let old = world.history("app", "manual", &[10 * DAY, 20 * DAY, 30 * DAY]);
    (world, old)
}

/// The same call on a disk that gives an error whenever one of these system calls meets `path`.
fn failing(world: &World, path: &Path, calls: &str, arguments: &str) -> Call {
    let mut call = world.dbbackup(arguments);
    let mut command = Command::new("strace");
    // By its name in an open directory, and by its path.
    command
        .args(["-f", "-o", "/dev/null", "-P"])
        .arg(path.file_name().unwrap())
        .arg("-P")
        .arg(path);
    command
        .args([
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:error=EIO"),
        ])
        .arg(binary());
    command
        .args(arguments.split_whitespace())
        .current_dir(call.command.get_current_dir().unwrap());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", world.path(""))
        .env("TZ", "UTC");
    call.command = command;
    call
}

fn deleted(json: &Value) -> Vec<&str> {
    json["deleted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gone| gone["id"].as_str().unwrap())
        .collect()
}

fn reasons(json: &Value, id: &str) -> String {
    let kept = json["kept"]
        .as_array()
        .unwrap()
        .iter()
        .find(|kept| kept["id"] == id)
        .unwrap_or_else(|| panic!("{id} in {json}"));
    kept["reasons"].to_string()
}

const STAT: &str = "newfstatat,statx,lstat,stat";
const OPEN: &str = "openat,open";

#[test]
fn a_dump_that_cannot_be_looked_at_stays_and_is_told() {
    if !can_trace() {
        return;
    }
    let (world, old) = world();
    let dump = world.dump_of(&old[0]);
    // Whatever the policy says, and first by one that takes it.
    for policy in [
        "--keep-last 100",
        "--keep-last 0",
        "--max-count 1",
        "--max-age 1d",
    ] {
        let json = failing(&world, &dump, STAT, &format!("cleanup {policy} -n --json"))
            .run()
            .exits(0)
            .json();
        assert!(
            reasons(&json, &old[0]).contains("can't be looked at"),
            "{json}"
        );
    }
    let json = failing(&world, &dump, STAT, "cleanup --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(deleted(&json), [old[1].as_str(), old[2].as_str()]);
    assert!(dump.is_file() && world.sidecar_path(&old[0]).is_file());
    let listed = failing(&world, &dump, STAT, "list")
        .run()
        .exits(0)
        .prints(&old[0])
        .prints("unknown");
    listed.prints("input/output error").never_says("os error");
    failing(&world, &dump, STAT, "status")
        .run()
        .exits(1)
        .prints("can't be looked at");
    failing(&world, &dump, OPEN, &format!("verify {}", old[0]))
        .run()
        .exits(1)
        .says("could not be verified");
    assert!(
        failing(
            &world,
            &dump,
            OPEN,
            &format!("restore {} --to there.db", old[0])
        )
        .run()
        .stderr
        .contains("input/output error")
    );
    failing(&world, &dump, STAT, &format!("delete {} --yes", old[0]))
        .run()
        .exits(1);
    assert!(dump.is_file());
    failing(
        &world,
        &dump,
        STAT,
        &format!("delete {} --yes --force", old[0]),
    )
    .run()
    .exits(0);
    assert!(!dump.exists());
}

#[test]
fn the_newest_one_that_cannot_be_looked_at_is_unknown_and_is_not_deleted_as_if_it_were_damaged() {
    if !can_trace() {
        return;
    }
    let (world, old) = world();
    let newest = world.ids("").remove(0);
    let dump = world.dump_of(&newest);
    failing(&world, &dump, STAT, "status")
        .run()
        .exits(3)
        .prints("UNKNOWN")
        .prints("can't be judged");
    let restored = failing(&world, &dump, STAT, "restore app --to there.db")
        .run()
        .exits(1)
        .says("name its id");
    restored.says(&format!("`{newest}` is newer than"));
    assert!(!world.path("there.db").exists());
    world
        .dbbackup(&format!("delete {} --yes", old.join(" ")))
        .run()
        .exits(0);
    failing(&world, &dump, STAT, &format!("delete {newest} --yes"))
        .run()
        .exits(2)
        .says("is the last good backup");
    failing(&world, &dump, STAT, "show app")
        .run()
        .exits(1)
        .says("can be looked at");
    assert!(dump.is_file());
}

#[test]
fn a_sidecar_or_a_directory_that_cannot_be_read_stays() {
    if !can_trace() {
        return;
    }
    let (world, old) = world();
    let sidecar = world.sidecar_path(&old[0]);
    let json = failing(&world, &sidecar, OPEN, "cleanup --json")
        .run()
        .exits(0)
        .says("input/output error")
        .json();
    assert_eq!(deleted(&json), [old[1].as_str(), old[2].as_str()]);
    // By its dump's path it is not restored as if there were no sidecar to check it by.
    let dump = world.dump_of(&old[0]);
    let by_path = format!("restore {} --to there.db", dump.display());
    failing(&world, &sidecar, OPEN, &by_path)
        .run()
        .exits(1)
        .says("copy the dump into another directory");
    // What is newer and can't be read is told.
    let newest = world.sidecar_path(&world.ids("").remove(0));
    let restored = failing(&world, &newest, OPEN, "restore app --to there.db")
        .run()
        .exits(1);
    restored.says("may be good, but can't be used");
    // The older one is named, and then it is used.
    let older = world.ids("").remove(1);
    failing(
        &world,
        &newest,
        OPEN,
        &format!("restore {older} --to there.db"),
    )
    .run()
    .exits(0);
    // A directory that can't be listed holds nothing that is gone.
    for command in ["list", "cleanup", "verify", "stats", "show app", "backup"] {
        let ran = failing(&world, &world.path("store/app"), OPEN, command).run();
        assert!(ran.stderr.contains("input/output error"), "{ran}");
    }
    failing(&world, &world.path("store/app"), OPEN, "status")
        .run()
        .exits(3)
        .prints("input/output error");
    for (calls, command) in [(STAT, "list"), (STAT, "cleanup"), (OPEN, "list")] {
        failing(&world, &world.path("store"), calls, command)
            .run()
            .exits(1)
            .says("input/output error");
    }
    // Nor is a store without its mark made one again.
    failing(
        &world,
        &world.path("store/dbbackup-store.json"),
        OPEN,
        "backup",
    )
    .run()
    .exits(1)
    .says("input/output error");
}

#[test]
fn an_event_that_cannot_be_read_may_be_a_pin() {
    if !can_trace() {
        return;
    }
    let (world, old) = world();
    world.dbbackup(&format!("pin {}", old[0])).run().exits(0);
    let event = world.events(&old[0]).remove(0);
    let json = failing(&world, &event, OPEN, "cleanup --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(deleted(&json), [old[1].as_str(), old[2].as_str()]);
    failing(&world, &event, OPEN, &format!("unpin {}", old[0]))
        .run()
        .exits(1)
        .says("input/output error");
    world.dbbackup("cleanup").run().exits(0);
    assert!(
        world.sidecar_path(&old[0]).is_file(),
        "the pin is still there"
    );
}

/// Moves a file to a larger disk, and leaves a link.
fn move_away(path: &Path, disk: &Path) -> PathBuf {
    std::fs::create_dir_all(disk).unwrap();
    let there = disk.join(path.file_name().unwrap());
    std::fs::rename(path, &there).unwrap();
    symlink(&there, path).unwrap();
    there
}

#[test]
fn dumps_that_were_moved_and_linked_back_are_as_good_as_before() {
    let (world, old) = world();
    let disk = world.path("disk");
    let dump = world.dump_of(&old[0]);
    let there = move_away(&dump, &disk);
    // Its sidecar, too, of another one.
    move_away(&world.dump_of(&old[1]), &disk);
    move_away(&world.sidecar_path(&old[1]), &disk);
    assert_eq!(world.ids("").len(), 4);
    world.dbbackup("verify --all").run().exits(0);
    world.dbbackup(&format!("pin {}", old[2])).run().exits(0);
    for event in world.events(&old[2]) {
        move_away(&event, &disk);
    }
    world.dbbackup("status").run().exits(0);
    for id in &old[..2] {
        world
            .dbbackup(&format!("restore {id} --to {id}.db"))
            .run()
            .exits(0);
    }
    world
        .dbbackup(&format!("restore {} --to by-path.db", dump.display()))
        .run()
        .exits(0)
        .never_says("no sidecar");

    // The disk is away: nothing is missing for sure, and nothing of it is removed, verified or not.
    let away = world.path("away");
    std::fs::rename(&disk, &away).unwrap();
    world
        .dbbackup(&format!("verify {}", old[0]))
        .run()
        .exits(1)
        .says("is that disk mounted?");
    let ran = world
        .dbbackup("list")
        .run()
        .exits(0)
        .prints(&old[0])
        .prints("unknown");
    ran.says(&format!("{}: reading", old[1]))
        .says(&format!("{}: an event of it", old[2]));
    world
        .dbbackup("status")
        .run()
        .exits(1)
        .prints("can't be looked at");
    let json = world
        .dbbackup("cleanup --keep-last 0 --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(deleted(&json), [""; 0], "{json}");
    std::fs::rename(&away, &disk).unwrap();
    assert_eq!(world.ids("").len(), 4);

    // It is there: what the policy takes is not removed here and left there; who deletes it by its
    // id is told.
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(deleted(&json), [""; 0], "{json}");
    assert!(
        reasons(&json, &old[0]).contains("is a link to")
            && reasons(&json, &old[2]).contains("pinned"),
        "{json}"
    );
    world
        .dbbackup(&format!("delete {} --yes", old[0]))
        .run()
        .exits(0)
        .says("which it led to, is still there");
    assert!(
        there.is_file()
            && !world.sidecar_path(&old[0]).exists()
            && dump.symlink_metadata().is_err()
    );
}

#[test]
fn a_missing_dump_stays_until_a_verification_calls_it_damage() {
    let (world, old) = world();
    let (missing, cut) = (world.dump_of(&old[0]), world.dump_of(&old[1]));
    std::fs::rename(&missing, world.path("kept.gz")).unwrap();
    std::fs::write(&cut, "short").unwrap();
    for policy in ["--keep-last 1", "--keep-last 0 --max-age 1d"] {
        let json = world
            .dbbackup(&format!("cleanup {policy} -n --json"))
            .run()
            .exits(0)
            .json();
        assert_eq!(deleted(&json), [old[2].as_str()]);
        assert!(
            reasons(&json, &old[0]).contains("is not there and may come back"),
            "{json}"
        );
        assert!(
            reasons(&json, &old[1]).contains("has another length"),
            "{json}"
        );
    }
    let told = world.dbbackup("status").run().exits(1);
    told.prints(&format!(
        "the dumps of 2 backups, the newest {}, are not there",
        old[0]
    ))
    .says("dbbackup verify");
    let listed = world
        .dbbackup("list")
        .run()
        .exits(0)
        .never_says(&format!("{}:", old[0]));
    listed.says("app: 2 older damaged backups are not shown: `dbbackup list --status failed app`");
    world
        .dbbackup("list --status failed")
        .run()
        .exits(0)
        .prints("missing")
        .prints("damaged")
        .never_says("not shown");
    // It comes back.
    std::fs::rename(world.path("kept.gz"), &missing).unwrap();
    world.dbbackup(&format!("verify {}", old[0])).run().exits(0);
    world.dbbackup(&format!("verify {}", old[1])).run().exits(4);
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    // The first was proven just now, and is the only one that was.
    assert_eq!(deleted(&json), [old[1].as_str(), old[2].as_str()], "{json}");
    assert!(
        reasons(&json, &old[0]).contains("newest backup proven by its content"),
        "{json}"
    );
}
