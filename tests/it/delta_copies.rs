//! Deltas that become fulls in another store: the content is the same, nothing else is needed, and
//! they are known for copies all the same.

use crate::delta::{back_up, call, change, history, id_of, rot, world};
use crate::encryption::new_key;
use crate::support::{World, contents};
use crate::tools;
use serde_json::Value;
use std::fs;

/// The same world with a store `usb`, whose settings may have more lines.
fn with_usb(world: &World, more: &str) {
    let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&format!("{text}[stores.usb]\npath = 'usb'\n{more}\n"));
}

fn there(world: &World, id: &str) -> Value {
    let bytes = fs::read(world.path("usb").join("app").join(format!("{id}.json")));
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn a_delta_stands_alone_where_it_is_copied_as_a_full() {
    for codec in ["zstd", "gzip", "none"] {
        let world = world(&format!("compression = '{codec}'\ncleanup_after = false"));
        let (made, saved) = history(&world, 6);
        with_usb(&world, "");
        let id = id_of(&made[5]);
        let copy = format!("copy {id} --to usb");
        let full = format!("{copy} --full");
        call(&world, &full).run().exits(0).prints("copied 1 backup");
        let copied = there(&world, &id);
        assert_eq!(copied["dump"]["base"], Value::Null);
        assert_eq!(copied["dump"]["delta"], Value::Null);
        assert_eq!(copied["requires"], serde_json::json!([]));
        for same in [
            "content_sha256",
            "content_size_bytes",
            "format",
            "compression",
        ] {
            assert_eq!(copied["dump"][same], made[5]["dump"][same], "{same}");
        }
        assert_eq!(copied["manifest"], made[5]["manifest"]);
        // It is the same backup, here and there.
        for again in [&full, &copy] {
            call(&world, again).run().exits(0).prints("1 there already");
        }
        let listed = call(&world, "list --all-stores --json")
            .run()
            .exits(0)
            .json();
        assert_eq!(listed["backups"].as_array().unwrap().len(), made.len());
        call(&world, "verify --store usb --all --level restore")
            .run()
            .exits(0);
        // What is built on it can follow.
        change(&world, 40);
        let next = back_up(&world, "");
        call(&world, &format!("copy {} --to usb", id_of(&next)))
            .run()
            .exits(0);
        call(&world, &format!("copy {} --to usb --full", id_of(&next)))
            .run()
            .exits(1)
            .says("it is there as a delta")
            .says("delete");
        let mut saved = saved;
        saved.insert(id_of(&next), contents(&world.path("app.db")));
        fs::remove_dir_all(world.path("store")).unwrap();
        for id in [&id, &id_of(&next)] {
            let target = world.path("again.db");
            let _ = fs::remove_file(&target);
            call(
                &world,
                &format!("restore --store usb {id} --to again.db --yes"),
            )
            .run()
            .exits(0);
            assert_eq!(contents(&target), saved[id], "{codec}");
        }
    }
}

#[test]
fn a_full_in_place_of_a_delta_is_the_copy_that_is_required() {
    let world = world("cleanup_after = false\nrequire_copy = true\ncopies = ['usb']");
    with_usb(&world, "[retention]\nkeep_last = 1");
    fs::write(world.path("usb"), "in the way").unwrap();
    let made: Vec<String> = (1..4)
        .map(|number| {
            change(&world, number);
            crate::moments::next_second();
            let json = call(&world, "backup --json").run().exits(3).json();
            id_of(&json["backups"][0])
        })
        .collect();
    fs::remove_file(world.path("usb")).unwrap();
    call(&world, "cleanup").run().exits(0);
    assert_eq!(world.ids("app").len(), 3, "nothing is copied yet");
    call(&world, &format!("copy {} --to usb --full", made[1]))
        .run()
        .exits(0);
    call(&world, "cleanup").run().exits(0);
    // The full is needed, and the newest kept.
    assert_eq!(world.ids("app"), [made[2].clone(), made[0].clone()]);
    call(
        &world,
        &format!("restore --store usb {} --to new.db", made[1]),
    )
    .run()
    .exits(0);
}

#[test]
fn a_full_in_place_of_a_delta_is_encrypted_where_copies_are() {
    if !tools::have("age") {
        return;
    }
    let world = world("cleanup_after = false");
    let key = new_key(&world, "key.txt");
    let (made, saved) = history(&world, 3);
    with_usb(
        &world,
        &format!("[encryption]\nrecipients = ['{key}']\nstores = ['usb']"),
    );
    let id = id_of(&made[2]);
    call(&world, &format!("copy {id} --to usb --full"))
        .run()
        .exits(0);
    let copied = there(&world, &id);
    let file = copied["dump"]["file"].as_str().unwrap();
    assert!(file.ends_with(".sqlite3.gz.age"), "{file}");
    assert_eq!(copied["dump"]["base"], Value::Null);
    call(&world, &format!("copy {id} --to usb")).run().exits(0);
    let restore = format!("restore --store usb {id} --to again.db --yes --identity key.txt");
    call(&world, &restore).run().exits(0);
    assert_eq!(contents(&world.path("again.db")), saved[&id]);
}

/// A copy that does not restore is none: who made it is told, until the damaged one is gone.
#[test]
fn no_delta_is_copied_onto_what_is_known_to_be_damaged_there() {
    let world = world("cleanup_after = false");
    let (made, _) = history(&world, 3);
    with_usb(&world, "");
    call(&world, "copy app --to usb --missing").run().exits(0);
    let full = id_of(&made[0]);
    let file = made[0]["dump"]["file"].as_str().unwrap();
    rot(&world.path("usb/app").join(file));
    call(&world, &format!("verify {full} --store usb"))
        .run()
        .exits(4);
    change(&world, 50);
    let next = id_of(&back_up(&world, ""));
    for line in [
        "copy app --to usb --missing",
        &format!("copy {next} --to usb"),
    ] {
        let ran = call(&world, line).run();
        assert!([1, 3, 4].contains(&ran.code()), "{ran}");
        ran.says(&format!("`{full}`, on which it is built, is damaged there"))
            .says(&format!("delete {full} --with-dependents --store usb"));
    }
    assert!(!world.path(&format!("usb/app/{next}.json")).exists());
    let away = format!("delete {full} --with-dependents --store usb --yes --force");
    call(&world, &away).run().exits(0);
    call(&world, "copy app --to usb --missing").run().exits(0);
    call(&world, "verify --store usb --all --level restore")
        .run()
        .exits(0);
    assert!(there(&world, &next)["dump"]["base"].is_object());
}
