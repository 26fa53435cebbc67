//! Copies in other stores: after a run, by hand, and what may not be removed without them. The
//! other stores are directories here; those on other machines have files of their own.

use crate::moments::next_second;
use crate::support::World;
use std::fs;

fn world(more: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(&format!(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'disk/usb'\n[stores.other]\npath = \
         'other'\n[backup]\ncopies = ['usb', 'other']\n{more}[sources.app]\nkind = 'sqlite'\npath \
         = 'app.db'\n"
    ));
    world
}

/// The ids that a store lists, the newest first.
fn ids_in(world: &World, store: &str) -> Vec<String> {
    let json = world
        .dbbackup(&format!("list --json --store {store}"))
        .run()
        .exits(0)
        .json();
    let backups = json["backups"].as_array().unwrap();
    backups
        .iter()
        .map(|backup| backup["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_store_that_is_away_keeps_no_other_from_its_copy_and_is_caught_up() {
    let world = world("");
    // The disk is not mounted: the store's parent is not there.
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("the store `usb`")
        .says("is not there: is the disk mounted?");
    let first = ids_in(&world, "other");
    assert_eq!(
        first,
        ids_in(&world, "store"),
        "made here, and copied there"
    );
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .prints("not yet in usb");
    next_second();
    fs::create_dir(world.path("disk")).unwrap();
    world.dbbackup("backup").run().exits(0);
    let all = ids_in(&world, "store");
    assert_eq!(all.len(), 2);
    for store in ["usb", "other"] {
        assert_eq!(ids_in(&world, store), all, "{store}");
    }
    let listed = world.dbbackup("list").run().exits(0);
    listed.never_says("not yet in");
    // The copy is the backup: every byte of sidecar and dump.
    for id in &all {
        for end in ["json", "sqlite3.gz"] {
            let name = format!("app/{id}.{end}");
            let here = fs::read(world.path("store").join(&name)).unwrap();
            let there = fs::read(world.path("disk/usb").join(&name)).unwrap();
            assert_eq!(here, there, "{name}");
        }
    }
    world
        .dbbackup("verify --store usb --all --level restore")
        .run()
        .exits(0);
    fs::remove_dir_all(world.path("store")).unwrap();
    world
        .dbbackup("restore --store usb app --to again.db")
        .run()
        .exits(0);
}

#[test]
fn a_store_that_is_gone_after_the_run_fails_its_copies_aloud() {
    let world = world("");
    fs::create_dir(world.path("disk")).unwrap();
    let path = world.path("dbbackup.toml");
    let text = fs::read_to_string(&path).unwrap();
    world.config(&format!(
        "{text}[sources.app.hooks]\nafter = 'mv store away'\n"
    ));
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("the backup was made, but not every copy")
        .says("opening the store")
        .says("hint:");
    for store in ["disk/usb", "other"] {
        assert!(!world.path(store).join("app").exists(), "{store}");
    }
    fs::rename(world.path("away"), world.path("store")).unwrap();
    world.config(&text);
    next_second();
    world.dbbackup("backup").run().exits(0);
    for store in ["usb", "other"] {
        assert_eq!(ids_in(&world, store), ids_in(&world, "store"), "{store}");
    }
}

#[test]
fn what_names_no_backup_of_the_store_is_no_copy() {
    let world = world("cleanup_after = false\n");
    fs::create_dir(world.path("disk")).unwrap();
    world
        .dbbackup("copy app --to usb")
        .run()
        .exits(10)
        .says("hint:");
    world.dbbackup("backup").run().exits(0);
    fs::remove_dir_all(world.path("disk/usb/app")).unwrap();
    world
        .dbbackup("copy app --from usb --to other")
        .run()
        .exits(10)
        .says("no backup or source is called `app`");
    // One that can't be read is not passed over as if it were not there.
    let newest = ids_in(&world, "store").remove(0);
    let older = world.history("app", "manual", &[24]).remove(0);
    let sidecar = world.sidecar_path(&newest);
    fs::rename(&sidecar, world.path("aside")).unwrap();
    std::os::unix::fs::symlink("/nowhere", &sidecar).unwrap();
    let copy = world.dbbackup("copy app --to usb --missing").run().exits(3);
    copy.says(&format!("{newest}: not copied, "));
    assert_eq!(ids_in(&world, "usb"), [older.as_str()]);
    // Nor is one that nobody can read any more.
    fs::remove_file(&sidecar).unwrap();
    fs::write(&sidecar, "").unwrap();
    let copy = world.dbbackup("copy app --to usb --missing").run().exits(3);
    copy.says(&format!("{newest}: not copied, the sidecar is damaged"))
        .says(&format!("dbbackup delete {newest}"));
    assert_eq!(ids_in(&world, "usb"), [older]);
}

/// Where a name comes to mean another place, what was copied to the old one is not there.
#[test]
fn another_place_of_the_same_name_gets_everything() {
    let world = world("cleanup_after = false\n");
    fs::create_dir(world.path("disk")).unwrap();
    world.dbbackup("backup").run().exits(0);
    world.history("app", "manual", &[24, 48]);
    next_second();
    world.dbbackup("backup").run().exits(0);
    let all = ids_in(&world, "store");
    assert_eq!(ids_in(&world, "usb"), all);
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&text.replace("disk/usb", "disk/new"));
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .prints("not yet in usb");
    next_second();
    world.dbbackup("backup").run().exits(0);
    assert_eq!(ids_in(&world, "usb"), ids_in(&world, "store"));
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .never_says("not yet in usb");
}

#[test]
fn what_holds_the_retention_of_copies_back_is_said() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'usb'\n[stores.usb.retention]\nkeep_last = \
         1\n[backup]\ncopies = ['usb']\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
    );
    world.dbbackup("backup").run().exits(0);
    next_second();
    world.dbbackup("backup").run().exits(0);
    let before = ids_in(&world, "usb");
    next_second();
    world.sql("app.db", "DELETE FROM orders; DELETE FROM customer");
    let backup = world.dbbackup("backup").run().exits(3);
    backup
        .says("app: retention is held back in `")
        .says("hint:");
    assert_eq!(ids_in(&world, "usb")[1..], before);
}

#[test]
fn a_limit_leaves_the_rest_to_the_next_run() {
    let world = world("copy_limit = '1 B'\n");
    world.dbbackup("backup").run().exits(3);
    world.history("app", "manual", &[24, 48]);
    fs::create_dir(world.path("disk")).unwrap();
    next_second();
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("more to copy to `usb`: the next run goes on");
    let newest = ids_in(&world, "store").remove(0);
    assert_eq!(ids_in(&world, "usb"), [newest]);
    world
        .dbbackup("copy --to usb --missing")
        .run()
        .exits(0)
        .prints("copied 3 backups");
    assert_eq!(ids_in(&world, "usb"), ids_in(&world, "store"));
}

#[test]
fn what_is_damaged_is_not_copied() {
    let world = world("");
    fs::create_dir(world.path("disk")).unwrap();
    world.dbbackup("backup").run().exits(0);
    let id = ids_in(&world, "store").remove(0);
    let dump = world.dump_of(&id);
    let mut bytes = fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&dump).unwrap();
    fs::write(&dump, bytes).unwrap();
    world
        .dbbackup("copy app --to ./third")
        .run()
        .exits(4)
        .says("is not what was written, so it was not copied");
    let third = fs::read_dir(world.path("third/app")).unwrap();
    let names: Vec<_> = third.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".lock"], "nothing is left of it");
}

#[test]
fn another_backup_of_the_same_id_is_never_replaced() {
    let world = world("");
    fs::create_dir(world.path("disk")).unwrap();
    world.dbbackup("backup").run().exits(0);
    let id = ids_in(&world, "store").remove(0);
    let there = world.path("disk/usb/app").join(format!("{id}.json"));
    let text = fs::read_to_string(&there).unwrap();
    let other = text.replace("\"label\": \"manual\"", "\"label\": \"manual\", \"x\": 1");
    fs::remove_file(&there).unwrap();
    fs::write(&there, &other).unwrap();
    world
        .dbbackup("copy app --to usb")
        .run()
        .exits(1)
        .says("is another backup of the same id");
    assert_eq!(fs::read_to_string(&there).unwrap(), other);
}

#[test]
fn nothing_goes_here_that_is_not_in_every_store() {
    let world = world("require_copy = true\ncleanup_after = false\n");
    world.dbbackup("backup").run().exits(3);
    world.history("app", "manual", &[24, 48, 72]);
    let all = ids_in(&world, "store");
    world
        .dbbackup("cleanup --keep-last 1")
        .run()
        .exits(0)
        .prints("`usb` could not be asked for its copy");
    assert_eq!(ids_in(&world, "store"), all);
    world
        .dbbackup("cleanup --keep-last 1 --force")
        .run()
        .exits(0)
        .prints("removed 0 backups");
    fs::create_dir(world.path("disk")).unwrap();
    let oldest = all.last().unwrap();
    for store in ["usb", "other"] {
        world
            .dbbackup(&format!("copy {oldest} --to {store}"))
            .run()
            .exits(0);
    }
    world
        .dbbackup("cleanup --keep-last 1")
        .run()
        .exits(0)
        .prints("not in `usb` yet");
    assert_eq!(ids_in(&world, "store"), all[..all.len() - 1]);
}

#[test]
fn a_store_has_a_retention_of_its_own() {
    let world = world("");
    let path = world.path("dbbackup.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(
        "[stores.other]",
        "[stores.usb.retention]\nkeep_last = 1\n[stores.other]",
    );
    world.config(&text);
    fs::create_dir(world.path("disk")).unwrap();
    for _ in 0..3 {
        world.dbbackup("backup").run().exits(0);
        next_second();
    }
    let lengths = ["store", "usb", "other"].map(|store| ids_in(&world, store).len());
    assert_eq!(lengths, [3, 1, 3]);
}

#[test]
fn a_store_that_is_not_there_is_told_by_the_configuration() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'usb'\n[backup]\ncopies = \
         ['usp']\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
    );
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("`copies` in [backup] names `usp`, and there is no [stores.usp]")
        .says("did you mean `usb`?");
}

/// The mount point of a disk that is away looks like a new store.
#[test]
fn a_disk_that_is_away_is_no_new_store() {
    let world = world("");
    fs::create_dir(world.path("disk")).unwrap();
    world.dbbackup("backup").run().exits(0);
    let copied = ids_in(&world, "usb");
    fs::rename(world.path("disk/usb"), world.path("unplugged")).unwrap();
    next_second();
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("there is no store at")
        .says("1 backup was copied before")
        .says("require_mount = true");
    world
        .dbbackup("copy app --to usb")
        .run()
        .exits(1)
        .says("is its disk mounted?");
    let doctor = world.dbbackup("doctor").run();
    doctor.prints("there is no store at");
    assert!(!world.path("disk/usb").exists());
    fs::rename(world.path("unplugged"), world.path("disk/usb")).unwrap();
    next_second();
    world.dbbackup("backup").run().exits(0);
    assert_eq!(ids_in(&world, "usb").len(), copied.len() + 2);
}

#[test]
fn the_store_by_another_name_has_no_copy() {
    let world = world("require_copy = true\n[retention]\nkeep_last = 1\n");
    fs::create_dir(world.path("disk")).unwrap();
    fs::create_dir(world.path("store")).unwrap();
    std::os::unix::fs::symlink(world.path("store"), world.path("disk/usb")).unwrap();
    for _ in 0..2 {
        let ran = world.dbbackup("backup").run().exits(3);
        ran.says("is both where the backups are and where they are to go");
        next_second();
    }
    let copy = world.dbbackup("copy app --to usb").run().exits(2);
    copy.says("is both where the backups are");
    world
        .dbbackup("doctor")
        .run()
        .exits(1)
        .prints("is the store itself, by another name");
    let listed = ids_in(&world, "store");
    assert_eq!(listed.len(), 2, "nothing goes that has no copy");
    world
        .dbbackup("cleanup --dry-run")
        .run()
        .prints("is this very store");
}

#[test]
fn a_store_of_copies_whose_place_is_not_there_is_told_by_doctor() {
    let world = world("");
    let doctor = world.dbbackup("doctor").run().exits(0);
    doctor.prints("is not there, in which the store");
}
