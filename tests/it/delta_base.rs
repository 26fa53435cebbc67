//! Which backup a new one is built on, and when it is a full: what `delta` does not have.

use crate::delta::{
    all_restore, back_up, call, change, configure, dump_path, history, id_of, rot, world,
};
use crate::encryption::new_key;
use crate::faults::SmallDisk;
use crate::moments::next_second;
use crate::support::{World, contents};
use crate::tools;
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

fn is_delta(sidecar: &Value) -> bool {
    sidecar["dump"]["base"] != Value::Null
}

/// The exit code of a run that made a full as it lost its base, and what it made.
fn full_in_place_of_a_delta(world: &World, says: &str) -> Value {
    change(world, 77);
    next_second();
    let ran = call(world, "backup --json").run().exits(3);
    let mut json = ran.says("a full was made").says(says).json();
    let made = json["backups"][0].take();
    assert!(!is_delta(&made), "{made}");
    made
}

#[test]
fn another_layout_makes_a_full() {
    let world = world("");
    assert!(!is_delta(&back_up(&world, "")));
    change(&world, 1);
    assert!(is_delta(&back_up(&world, "")));
    world.sql("app.db", "PRAGMA page_size = 8192; VACUUM");
    let made = back_up(&world, "");
    assert!(!is_delta(&made), "{made}");
    assert_eq!(made["database"]["page_size"], 8192);
    change(&world, 2);
    assert!(is_delta(&back_up(&world, "")));
    // The application has begun anew.
    fs::remove_file(world.path("app.db")).unwrap();
    world.database(
        "app.db",
        "PRAGMA page_size = 8192; PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY \
         KEY, x TEXT); INSERT INTO t VALUES (1, 'a')",
    );
    let made = back_up(&world, "");
    assert!(!is_delta(&made), "{made}");
    assert_eq!(made["database"]["encoding"], "UTF-16le");
    world.sql("app.db", "INSERT INTO t VALUES (2, 'b')");
    assert!(is_delta(&back_up(&world, "")));
    call(&world, "verify --all --level restore").run().exits(0);
}

#[test]
fn backups_before_a_restore_and_from_the_future_are_no_bases() {
    let world = world("cleanup_after = false");
    let first = back_up(&world, "");
    change(&world, 1);
    back_up(&world, "--label pre-restore");
    change(&world, 2);
    let second = back_up(&world, "");
    assert_eq!(second["dump"]["base"]["id"], first["id"]);
    // What a restore makes.
    change(&world, 3);
    next_second();
    let restore = format!("restore {} --yes", id_of(&first));
    call(&world, &restore).run().exits(0);
    change(&world, 4);
    let third = back_up(&world, "");
    assert_eq!(third["dump"]["delta"]["full"], first["id"]);
    // The clock was wrong then.
    let ahead = world.copy_backup(&id_of(&first), "manual", Utc::now() + TimeDelta::hours(2));
    change(&world, 5);
    let fourth = back_up(&world, "");
    assert_eq!(fourth["dump"]["delta"]["full"], first["id"], "not {ahead}");
}

#[test]
fn encrypted_backups_are_fulls_and_no_bases_of_plain_ones() {
    if !tools::have("age") {
        return;
    }
    let world = world("");
    let plain = back_up(&world, "");
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let key = new_key(&world, "key.txt");
    world.config(&format!("{text}[encryption]\nrecipients = ['{key}']\n"));
    change(&world, 1);
    let encrypted = back_up(&world, "");
    assert!(!is_delta(&encrypted), "{encrypted}");
    world.config(&text);
    change(&world, 2);
    let made = back_up(&world, "--plain");
    assert_eq!(made["dump"]["base"]["id"], plain["id"]);
}

/// With a key of its own this machine reads what it has encrypted; without that key it makes fulls,
/// and a new key.
#[test]
fn encrypted_backups_are_deltas_with_the_key_of_this_machine() {
    if !tools::have("age") {
        return;
    }
    let world = world("verify_after = \"content\"\ncleanup_after = false");
    let plain = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let key = new_key(&world, "key.txt");
    let state = world.path("state");
    let call =
        |arguments: &str| call(&world, arguments).env("STATE_DIRECTORY", state.to_str().unwrap());
    let back_up = || {
        next_second();
        let made = call("backup --json").run().exits(0).made();
        (id_of(&made), made)
    };
    for metadata in ["sealed", "open"] {
        let encryption = format!("[encryption]\nrecipients = ['{key}']\nmetadata = '{metadata}'\n");
        world.config(&format!("{plain}{encryption}"));
        change(&world, 1);
        assert!(!is_delta(&back_up().1));
        call("doctor").run().prints("host_key = true");
        world.config(&format!("{plain}{encryption}host_key = true\n"));
        change(&world, 2);
        let (_, full) = back_up();
        assert!(!is_delta(&full), "it is encrypted to somebody else: {full}");
        assert_eq!(full["dump"]["recipients"].as_array().unwrap().len(), 2);
        change(&world, 3);
        let (id, delta) = back_up();
        assert_eq!(delta["dump"]["base"]["id"], full["id"]);
        assert_eq!(delta["verifications"][0]["status"], "ok", "{delta}");
        let saved = contents(&world.path("app.db"));
        // Nothing has changed.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let (same, _) = back_up();
        assert_eq!(back_up().1["dump"]["base"]["id"], *same);
        for more in ["", "--identity key.txt"] {
            let target = world.path("new.db");
            let _ = fs::remove_file(&target);
            call(&format!("restore {id} --to new.db --yes {more}"))
                .run()
                .exits(0);
            assert_eq!(contents(&target), saved);
        }
        // That this machine can read them proves nothing of the key in the safe.
        call("key prove")
            .run()
            .exits(2)
            .says("no private key is given");
        call("doctor").run().prints("deltas are made");
        // The machine is another one.
        let mode = fs::metadata(state.join("host.key")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
        fs::remove_file(state.join("host.key")).unwrap();
        change(&world, 4);
        let (_, again) = back_up();
        assert!(!is_delta(&again), "{again}");
        change(&world, 5);
        assert!(is_delta(&back_up().1));
        call("verify --all --identity key.txt").run().exits(0);
    }
}

#[test]
fn a_passphrase_needs_no_key_of_this_machine() {
    let world = world("");
    let plain = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let passphrase = world.path("passphrase");
    fs::write(&passphrase, "three words long\n").unwrap();
    crate::support::set_mode(&passphrase, 0o600);
    let encryption = "[encryption]\npassphrase_file = 'passphrase'\n";
    world.config(&format!("{plain}{encryption}"));
    back_up(&world, "");
    change(&world, 1);
    assert!(is_delta(&back_up(&world, "")));
    world.config(&format!("{plain}{encryption}host_key = true\n"));
    call(&world, "backup").run().exits(2).says("host_key");
}

/// What is missing or cut is seen before anything is read.
#[test]
fn a_lost_file_is_told_once_and_answered_by_a_full() {
    for (broken, is_cut) in [(5, false), (4, true), (0, false)] {
        let world = world("");
        let (made, mut saved) = history(&world, 6);
        let path = dump_path(&world, &made[broken]);
        let bytes = fs::read(&path).unwrap();
        match is_cut {
            true => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        let file = path.file_name().unwrap().to_str().unwrap();
        let full = full_in_place_of_a_delta(&world, file);
        saved.insert(id_of(&full), contents(&world.path("app.db")));
        let good = world.ids("app");
        for (number, sidecar) in made.iter().enumerate() {
            let is_lost = match broken {
                5 => number == 5,
                4 => number >= 4,
                _ => true,
            };
            assert_eq!(!good.contains(&id_of(sidecar)), is_lost, "{number}");
        }
        all_restore(&world, &saved);
        // The next run has nothing to say.
        change(&world, 30);
        let next = back_up(&world, "");
        assert_eq!(next["dump"]["base"]["id"], full["id"]);
        saved.insert(id_of(&next), contents(&world.path("app.db")));
        // And when the file is back, all of them are.
        fs::write(&path, bytes).unwrap();
        assert_eq!(world.ids("app").len(), 8);
        all_restore(&world, &saved);
    }
}

/// A file was replaced by an older one of the same name; or all of a backup by another one, which
/// is a good one by itself.
#[test]
fn an_exchanged_base_is_noticed() {
    let world = world("");
    let (made, saved) = history(&world, 6);
    let newest = id_of(&made[5]);
    let (base, other) = (&made[4], &made[3]);
    let path = dump_path(&world, base);
    let whole = fs::read(&path).unwrap();
    fs::copy(dump_path(&world, other), &path).unwrap();
    for level in ["content", "restore"] {
        call(&world, &format!("verify {newest} --level {level}"))
            .run()
            .exits(4)
            .says(&id_of(base));
    }
    // It was told, and stands beside the base: nothing is built on that.
    change(&world, 77);
    let next = back_up(&world, "");
    assert_ne!(next["dump"]["base"]["id"], base["id"], "{next}");
    fs::write(&path, whole).unwrap();
    call(&world, "verify --all --level content").run().exits(0);
    // Its sidecar says what it holds, but it is another one than the delta was built on.
    let sidecar = world.sidecar_path(&id_of(base));
    let (whole, whole_sidecar) = (fs::read(&path).unwrap(), fs::read(&sidecar).unwrap());
    fs::copy(dump_path(&world, other), &path).unwrap();
    let dump = other["dump"].clone();
    world.edit_sidecar(&id_of(base), |sidecar| {
        let file = sidecar["dump"]["file"].take();
        sidecar["dump"] = dump;
        sidecar["dump"]["file"] = file;
    });
    for ending in ["--level content", "--level restore"] {
        call(&world, &format!("verify {newest} {ending}"))
            .run()
            .exits(4)
            .says("that is another one now");
    }
    call(&world, &format!("restore {newest} --to no.db --yes"))
        .run()
        .exits(4)
        .says(&id_of(base));
    assert!(!world.path("no.db").exists());
    fs::write(&path, whole).unwrap();
    fs::write(&sidecar, whole_sidecar).unwrap();
    call(&world, "verify --all --level restore").run().exits(0);
    let ids = world.ids("app");
    let saved: BTreeMap<_, _> = (saved.into_iter())
        .filter(|(id, _)| ids.contains(id))
        .collect();
    assert_eq!(saved.len(), 6);
}

/// The file is the one that was built on, and its sidecar is wrong about what is in it.
#[test]
fn a_base_whose_sidecar_lies_about_its_content_is_found_damaged_itself() {
    let world = world("");
    let (made, saved) = history(&world, 2);
    let base = id_of(&made[0]);
    let whole = fs::read(world.sidecar_path(&base)).unwrap();
    world.edit_sidecar(&base, |sidecar| {
        sidecar["dump"]["content_sha256"] = "0".repeat(64).into();
    });
    call(&world, &format!("verify {base} --level content"))
        .run()
        .exits(4);
    // Then it is no base.
    full_in_place_of_nothing(&world);
    fs::write(world.sidecar_path(&base), whole).unwrap();
    call(&world, &format!("verify {base} --level content"))
        .run()
        .exits(0);
    let id = id_of(&made[1]);
    call(&world, &format!("restore {id} --to again.db --yes"))
        .run()
        .exits(0);
    assert_eq!(contents(&world.path("again.db")), saved[&id]);
}

/// What was found before is no news: a full, and no error.
fn full_in_place_of_nothing(world: &World) {
    change(world, 9);
    assert!(!is_delta(&back_up(world, "")));
}

#[test]
fn a_full_in_place_of_a_delta_needs_its_room() {
    let world = World::new();
    let at = world.path("disk");
    let Some(_disk) = SmallDisk::mount(&at, 1536) else {
        return;
    };
    world.database(
        "app.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i, randomblob(200) FROM n;",
    );
    fs::create_dir(at.join("store")).unwrap();
    std::os::unix::fs::symlink(at.join("store"), world.path("store")).unwrap();
    configure(&world, "");
    let full = back_up(&world, "");
    world.sql("app.db", "UPDATE t SET x = randomblob(200) WHERE id = 1");
    assert!(is_delta(&back_up(&world, "")));
    // A damaged base, and no room for another full.
    crate::delta::rot(&dump_path(&world, &full));
    fs::write(at.join("fill"), vec![1; 400_000]).unwrap();
    world.sql("app.db", "UPDATE t SET x = randomblob(200) WHERE id = 2");
    next_second();
    call(&world, "backup")
        .run()
        .exits(1)
        .says("too little space")
        .says("a full in place of a delta");
    assert_eq!(world.debris("app"), [] as [&str; 0]);
    fs::remove_file(at.join("fill")).unwrap();
    fs::remove_file(dump_path(&world, &full)).unwrap();
    assert!(!is_delta(&back_up(&world, "")));
}

/// The damage that a verification finds on the way of a backup stands beside the file that has it,
/// so that retention does not let an older one go for it.
#[test]
fn damage_below_a_backup_is_noted_where_it_is() {
    let world = world("");
    let mut saved = BTreeMap::new();
    let older = back_up(&world, "");
    saved.insert(id_of(&older), contents(&world.path("app.db")));
    change(&world, 1);
    let full = back_up(&world, "--full");
    change(&world, 2);
    let delta = back_up(&world, "");
    assert!(is_delta(&delta) && !is_delta(&full));
    let path = dump_path(&world, &full);
    let whole = fs::read(&path).unwrap();
    rot(&path);
    call(&world, "verify app").run().exits(4);
    let is_good = |id: &str| {
        let listed = call(&world, "list --status all --json")
            .run()
            .exits(0)
            .json();
        let backups = listed["backups"].as_array().unwrap().clone();
        let found = backups.into_iter().find(|backup| backup["id"] == id);
        found.unwrap()["good"].as_bool().unwrap()
    };
    assert!(!is_good(&id_of(&full)) && !is_good(&id_of(&delta)));
    call(&world, "cleanup --keep-last 1").run().exits(0);
    assert!(is_good(&id_of(&older)));
    all_restore(&world, &saved);
    // The file comes back from elsewhere: all is good again.
    fs::write(&path, whole).unwrap();
    call(&world, "verify --all --level content").run().exits(0);
    assert!(is_good(&id_of(&full)) && is_good(&id_of(&delta)));
}
