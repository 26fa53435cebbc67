//! What people are told of deltas: in the run's line, before it, in `status`, and where what they
//! are built on is known to be damaged.

use crate::delta::{back_up, call, change, configure, dump_path, history, id_of, rot, world};
use crate::moments::next_second;
use crate::support::Ran;
use std::fs;

/// Wherever it is said.
#[track_caller]
fn tells(ran: Ran, text: &str) -> Ran {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains(text), "`{text}` is not said\n{ran}");
    ran
}

#[test]
fn a_delta_is_called_one() {
    let world = world("");
    let full = back_up(&world, "");
    change(&world, 1);
    call(&world, "backup --dry-run")
        .run()
        .exits(0)
        .prints(".sqlite3.vcdiff.gz");
    next_second();
    let base = format!("delta of {}, ", id_of(&full));
    call(&world, "backup").run().exits(0).prints(&base);
    call(&world, "status -v")
        .run()
        .exits(0)
        .prints(" (a delta)");
    call(&world, "backup --dry-run --full")
        .run()
        .exits(0)
        .prints("_<time>.sqlite3.gz");
    // A full after it is not compared with it.
    next_second();
    call(&world, "backup --full").run().exits(0);
    let shown = call(&world, "status -v").run().exits(0);
    assert!(!shown.stdout.contains(" %)"), "{}", shown.stdout);
}

#[test]
fn no_time_between_fulls_is_refused_with_its_line() {
    let world = world("");
    configure(&world, "full_every = \"0d\"");
    call(&world, "backup")
        .run()
        .exits(2)
        .says("full_every")
        .says("dbbackup.toml:5")
        .says("incremental = false");
}

#[test]
fn known_damage_is_told_by_whoever_goes_on_with_it() {
    let world = world("");
    let (made, _) = history(&world, 6);
    let (base, newest) = (id_of(&made[0]), id_of(&made[5]));
    rot(&dump_path(&world, &made[0]));
    // Nobody knows yet, and the bytes of the way are not read.
    call(&world, &format!("verify {newest} --level checksum"))
        .run()
        .exits(0);
    call(
        &world,
        &format!("restore {newest} --to new.db --yes --dry-run"),
    )
    .run()
    .exits(0);
    call(&world, &format!("restore {newest} --to new.db --yes"))
        .run()
        .exits(4);
    let damaged = || {
        let listed = call(&world, "list --status all --json")
            .run()
            .exits(0)
            .json();
        let backups = listed["backups"].as_array().unwrap();
        let noted = |id: &str| {
            let one = backups.iter().find(|one| one["id"] == id).unwrap();
            !one["verifications"].as_array().unwrap().is_empty()
                && one["verifications"].to_string().contains("damaged")
        };
        [noted(&base), noted(&newest)]
    };
    // Beside the file that has it, and nowhere else.
    assert_eq!(damaged(), [true, false]);
    let checked = call(&world, &format!("verify {newest} --level checksum"))
        .run()
        .exits(4);
    tells(tells(checked, &base), "was found damaged");
    assert_eq!(damaged(), [true, false]);
    change(&world, 20);
    next_second();
    // It was found before, so the run did all that it was asked for.
    let ran = call(&world, "backup").run().exits(0);
    ran.says("a full is made").says(&newest).says(&base);
    change(&world, 21);
    next_second();
    let next = call(&world, "backup").run().exits(0);
    assert!(!next.stderr.contains("a full is made"), "{}", next.stderr);
}

/// A read-only store, and a dry run, keep nothing.
#[test]
fn a_restored_full_that_is_damaged_is_noted() {
    let world = world("");
    let made = back_up(&world, "");
    rot(&dump_path(&world, &made));
    call(&world, "restore app --to new.db --yes").run().exits(4);
    call(&world, "list --status all")
        .run()
        .exits(0)
        .prints("damaged");
    let events = fs::read_dir(world.path("store").join("app")).unwrap();
    let events = events.filter(|one| {
        let name = one.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with(".event.json")
    });
    assert_eq!(events.count(), 1);
}

#[test]
fn a_full_is_decoded_once_for_all_its_deltas() {
    let world = world("cleanup_after = false");
    let (made, _) = history(&world, 6);
    let said = format!("`{}` was decoded once for 5 deltas", id_of(&made[0]));
    let ran = call(&world, "-v verify --all --level content")
        .run()
        .exits(0);
    assert_eq!(ran.stderr.matches(&said).count(), 1, "{}", ran.stderr);
    assert!(
        !ran.stderr.contains("is decoded for each"),
        "{}",
        ran.stderr
    );
    // What is damaged is named for each, as ever.
    rot(&dump_path(&world, &made[0]));
    let ran = call(&world, "-v verify --all --level content")
        .run()
        .exits(4);
    assert!(ran.stderr.contains("is decoded for each"), "{}", ran.stderr);
    made[1..]
        .iter()
        .fold(ran, |ran, delta| tells(ran, &id_of(delta)));
}
