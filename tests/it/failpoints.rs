//! Runs that are killed or fail at each moment that has a name: what is listed is whole, what was
//! there is there, and the next run tidies up. `faults` does the same at moments without a name.

use crate::live::{assert_bank_is_sound, bank};
use crate::moments::point;
use crate::support::{World, contents};

/// No debris, and as many dumps as backups.
fn assert_tidy(world: &World, source: &str, backups: usize) {
    assert_eq!(world.debris(source), [] as [&str; 0]);
    assert_eq!(world.ids(source).len(), backups);
    assert_eq!(world.stored(source, ".sqlite3.gz").len(), backups);
}

fn assert_all_verify(world: &World) {
    world
        .with_store("verify --all --level content")
        .run()
        .exits(0);
}

#[test]
fn a_backup_is_listed_from_the_moment_that_its_sidecar_has_its_name() {
    for (point, is_listed) in [
        (point::DRAFT_BEGUN, false),
        (point::SIDECAR_DRAFTED, false),
        (point::DUMP_NAMED, false),
        (point::BACKUP_LISTED, true),
    ] {
        let world = World::new();
        world.shop("app.db");
        world.with_store("backup app.db").run().exits(0);
        world
            .with_store("backup app.db")
            .killed_at(point, 1)
            .was_killed();
        let listed = 1 + usize::from(is_listed);
        assert_eq!(world.ids("app").len(), listed, "killed at `{point}`");
        assert_eq!(world.debris("app").is_empty(), is_listed, "{point}");
        assert_all_verify(&world);
        world.with_store("backup app.db").run().exits(0);
        assert_tidy(&world, "app", listed + 1);
    }
}

#[test]
fn a_backup_that_fails_at_any_moment_leaves_nothing_but_the_word_of_it() {
    for point in [
        point::DRAFT_BEGUN,
        point::SIDECAR_DRAFTED,
        point::DUMP_NAMED,
    ] {
        let world = World::new();
        world.shop("app.db");
        world.with_store("backup app.db").run().exits(0);
        world
            .with_store("backup app.db --label second")
            .failing_at(point, 1)
            .exits(1)
            .says(&format!("the fail point `{point}`"));
        let attempts = world.attempts("app");
        let failed = attempts.iter().find(|attempt| attempt["label"] == "second");
        assert_eq!(
            failed.unwrap()["error"]["message"],
            format!("the fail point `{point}`")
        );
        assert_tidy(&world, "app", 1);
    }
}

/// Listed and complete, although its name might not last: the run says that it failed.
#[test]
fn a_backup_whose_listing_can_not_be_made_durable_is_kept_and_told() {
    let world = World::new();
    world.shop("app.db");
    world
        .with_store("backup app.db")
        .failing_at(point::BACKUP_LISTED, 1)
        .exits(1);
    assert_tidy(&world, "app", 1);
    assert_all_verify(&world);
}

#[test]
fn a_backup_that_goes_is_unlisted_first() {
    for point in [point::BACKUP_UNLISTED, point::DUMP_REMOVED] {
        let world = World::new();
        world.shop("app.db");
        world
            .with_store("backup app.db --label first")
            .run()
            .exits(0);
        let first = world.ids("app").remove(0);
        for hours in 1..4 {
            let at = chrono::Utc::now() - chrono::TimeDelta::hours(hours);
            world.copy_backup(&first, "first", at);
        }
        // Three go; killed at each of them in turn.
        for (turn, left) in [(1, 3), (1, 2), (1, 1)] {
            world
                .with_store("cleanup app --keep-last 1")
                .killed_at(point, turn)
                .was_killed();
            assert_eq!(world.ids("app").len(), left, "{point}");
            assert!(!world.debris("app").is_empty());
            assert_all_verify(&world);
        }
        world.with_store("cleanup app --keep-last 1").run().exits(0);
        assert_tidy(&world, "app", 1);
        assert_eq!(world.ids("app"), [first]);
    }
}

#[test]
fn a_restore_through_sqlite_is_one_moment() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        bank(&world, "bank.db", journal, 40);
        let then = contents(&world.path("bank.db"));
        world
            .with_store("backup bank.db --label start")
            .run()
            .exits(0);
        let change = || {
            world.sql(
                "bank.db",
                "UPDATE ballast SET body = 'new ' || id WHERE id % 3 = 0",
            )
        };
        change();
        let now = contents(&world.path("bank.db"));
        let restore = || world.with_store("restore bank@latest:start --yes");
        // 4096 pages at once, of more than 10,000.
        for (point, count, is_new) in [
            (point::RESTORE_READY, 1, false),
            (point::PAGES_COPIED, 1, false),
            (point::PAGES_COPIED, 2, false),
            (point::RESTORE_IN_PLACE, 1, true),
        ] {
            restore().killed_at(point, count).was_killed();
            assert_bank_is_sound(&world.path("bank.db"));
            let expected = if is_new { &then } else { &now };
            assert!(
                contents(&world.path("bank.db")) == *expected,
                "{journal}: killed at `{point}`"
            );
        }
        change();
        restore()
            .failing_at(point::PAGES_COPIED, 1)
            .exits(1)
            .says("the fail point");
        assert!(contents(&world.path("bank.db")) == now, "{journal}");
        restore().run().exits(0);
        assert!(contents(&world.path("bank.db")) == then);
        assert_eq!(world.leftovers(), [] as [&str; 0]);
        assert_eq!(world.debris("bank"), [] as [&str; 0]);
        assert_all_verify(&world);
    }
}

/// A database with another encoding, one that is corrupt, and none at all.
#[test]
fn a_restore_by_rename_is_one_moment() {
    let wide = "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(x); INSERT INTO t VALUES ('old');";
    for target in ["wide", "corrupt", "none"] {
        let world = World::new();
        let then = contents(&world.shop("app.db"));
        world.with_store("backup app.db").run().exits(0);
        let path = world.path("target.db");
        match target {
            "wide" => drop(world.database("target.db", wide)),
            "corrupt" => drop(world.file("target.db", &"no database ".repeat(1000))),
            _ => {}
        }
        let old = std::fs::read(&path).ok();
        let restore = || world.with_store("restore app --to target.db --yes");
        for action in ["kill", "error"] {
            if action == "kill" {
                restore().killed_at(point::RESTORE_READY, 1).was_killed();
            } else {
                restore().failing_at(point::RESTORE_READY, 1).exits(1);
            }
            assert_eq!(std::fs::read(&path).ok(), old, "{target}: {action}");
        }
        restore().killed_at(point::RESTORE_IN_PLACE, 1).was_killed();
        assert_eq!(contents(&path), then, "{target}");
        restore().run().exits(0);
        assert_eq!(contents(&path), then);
        let left = world.leftovers();
        assert!(
            left.iter().all(|name| name.contains(".before-")),
            "{target}: {left:?}"
        );
    }
}
