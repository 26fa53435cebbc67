//! `cleanup`, and retention after a backup: what the policies decide, and what nothing may touch.
//! The rules themselves are tested where they live.

use crate::moments::next_second;
use crate::support::World;
use chrono::{TimeDelta, Utc};
use serde_json::Value;

const DAY: i64 = 24;

fn world(config: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(&format!(
        "[store]\npath = 'store'\n[backup]\ncleanup_after = false\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n{config}"
    ));
    world.dbbackup("backup").run().exits(0);
    world
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
    kept["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn it_says_why_each_is_kept_or_removed() {
    let world = world("[retention]\nkeep_last = 2\n");
    let old = world.history("app", "manual", &[30 * DAY, 60 * DAY, 90 * DAY]);
    let newest = world.ids("").remove(0);
    let sizes: u64 = 2 * world.stored("app", ".gz")[0].metadata().unwrap().len();

    let dry = world.dbbackup("cleanup -n --json").run().exits(0).json();
    assert_eq!(
        (&dry["command"], &dry["outcome"], &dry["dry_run"]),
        (&"cleanup".into(), &"ok".into(), &true.into())
    );
    assert_eq!(deleted(&dry), [old[1].as_str(), old[2].as_str()]);
    assert_eq!(
        (&dry["deleted_count"], &dry["total_size_freed"]),
        (&2.into(), &sizes.into())
    );
    assert!(
        dry["deleted"][0]["size_bytes"].as_u64() == Some(sizes / 2)
            && dry["deleted"][0]["reason"].is_string(),
        "{dry}"
    );
    assert!(
        reasons(&dry, &newest).contains("newest good backup")
            && reasons(&dry, &old[0]).contains("last 2"),
        "{dry}"
    );
    world
        .dbbackup("cleanup --dry-run")
        .run()
        .exits(0)
        .prints("would remove 2 backups")
        .prints("nothing was done");
    assert_eq!(world.ids("").len(), 4, "a dry run removes nothing");

    let done = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(
        (deleted(&done), &done["dry_run"]),
        (deleted(&dry), &false.into())
    );
    assert_eq!(world.ids(""), [newest, old[0].clone()]);
    assert_eq!(
        world.stored("app", ".gz").len(),
        2,
        "the dumps are gone as well"
    );
    assert_eq!(world.debris("app"), [""; 0]);
    world
        .dbbackup("cleanup")
        .run()
        .exits(0)
        .prints("removed 0 backups, 2 kept");
    world.dbbackup("cleanup -q").run().exits(0).silent();
}

#[test]
fn the_most_specific_table_decides_whole() {
    let world = world(
        "[retention]\nkeep_last = 1\n[retention.label.daily]\nkeep_last = 2\n[sources.web]\nkind = \
         'sqlite'\npath = 'app.db'\n\
         [sources.web.retention]\nkeep_last = 3\n[sources.web.retention.label.weekly]\nkeep_last = \
         1\n",
    );
    for source in ["app", "web"] {
        for label in ["manual", "daily", "weekly"] {
            world.history(source, label, &[10 * DAY, 20 * DAY, 30 * DAY, 40 * DAY]);
        }
    }
    world.dbbackup("cleanup").run().exits(0);
    let count = |source: &str, label: &str| world.ids(&format!("{source} --label {label}")).len();
    assert_eq!(
        (
            count("app", "manual"),
            count("app", "daily"),
            count("app", "weekly")
        ),
        (1, 2, 1)
    );
    assert_eq!(
        (
            count("web", "manual"),
            count("web", "daily"),
            count("web", "weekly")
        ),
        (3, 3, 1)
    );
}

#[test]
fn flags_replace_the_whole_policy() {
    let world = world(
        "[retention]\nkeep_last = 1\nmax_age = '1d'\n[retention.label.daily]\nkeep_last = 1\n",
    );
    world.history("app", "manual", &[30 * DAY, 60 * DAY]);
    world.history("app", "daily", &[30 * DAY, 60 * DAY]);
    world
        .dbbackup("cleanup --keep-last 9")
        .run()
        .exits(0)
        .prints("removed 0 backups");
    world
        .dbbackup("cleanup --keep-last 2 app")
        .run()
        .exits(0)
        .prints("removed 1 backup,");
    assert_eq!(world.ids("--label daily").len(), 2);
    world
        .dbbackup("cleanup --max-age 40")
        .run()
        .exits(0)
        .prints("older than 40d");
    world
        .dbbackup("cleanup --min-keep 3")
        .run()
        .exits(2)
        .says("says nothing about what to remove");
    for wrong in [
        "--keep-last -1",
        "--max-age soon",
        "--max-size many",
        "--keep-daily=x",
        "--keep-lats 1",
    ] {
        world.dbbackup(&format!("cleanup {wrong}")).run().exits(2);
    }
}

#[test]
fn no_policy_is_an_error_where_it_was_asked_for() {
    let unnamed = world("");
    unnamed.history("app", "manual", &[900 * DAY]);
    unnamed
        .dbbackup("cleanup app")
        .run()
        .exits(2)
        .says("`app` has no retention policy")
        .says("--keep-last 3");
    unnamed
        .dbbackup("cleanup")
        .run()
        .exits(0)
        .prints("removed 0 backups");
    assert_eq!(unnamed.ids("").len(), 2);
    std::fs::remove_file(unnamed.path("dbbackup.toml")).unwrap();
    unnamed
        .with_store("cleanup")
        .run()
        .exits(2)
        .says("there is no retention policy");
    unnamed.with_store("cleanup app").run().exits(2);
    unnamed
        .with_store("cleanup ap --keep-last 1")
        .run()
        .exits(10)
        .says("did you mean `app`?");
    assert_eq!(unnamed.ids("").len(), 2);
}

#[test]
fn a_configurations_policy_holds_for_its_own_sources_and_stores_alone() {
    let world = world(
        "[retention]\nkeep_last = 1\n[sources.app2]\nkind = 'sqlite'\npath = 'app.db'\nenabled = \
         false\n[sources.app2.retention]\nkeep_last = 99\n",
    );
    world.shop("other.db");
    world.dbbackup("backup other.db").run().exits(0);
    world.dbbackup("backup app2").run().exits(0);
    for source in ["app", "app2", "other"] {
        world.history(source, "manual", &[30 * DAY]);
    }
    world.dbbackup("cleanup").run().exits(0);
    assert_eq!(
        (
            world.ids("app").len(),
            world.ids("app2").len(),
            world.ids("other").len()
        ),
        (1, 2, 2)
    );
    world
        .dbbackup("cleanup other")
        .run()
        .exits(2)
        .says("`other` is no source of the configuration");
    // Another store that is named by its directory is not the configuration's.
    world
        .dbbackup("--store elsewhere backup app")
        .run()
        .exits(0);
    world
        .dbbackup("--store elsewhere cleanup app")
        .run()
        .exits(2)
        .says("is none of the configuration's");
    world
        .dbbackup("--store ./store/ cleanup app")
        .run()
        .exits(0);
}

#[test]
fn what_is_not_ours_is_never_touched() {
    let world = world("[retention]\nkeep_last = 1\n");
    let old = world.history("app", "manual", &[30 * DAY]).remove(0);
    let foreign = [
        "store/app/notes.txt",
        "store/app/backup-2020-01-01.sql.gz",
        "store/app/app_manual_20200101T000000Z.sqlite3.gz",
        "store/app/.hidden",
        "store/app/sub/app_manual_20200101T000000Z.json",
        "store/photos/1.jpg",
        "store/readme.txt",
    ];
    for name in foreign {
        world.file(name, "x");
    }
    // A directory whose name begins alike is another source's.
    std::fs::create_dir(world.path("store/app2")).unwrap();
    for file in world.stored("app", "").iter().filter(|path| path.is_file()) {
        std::fs::copy(
            file,
            world.path("store/app2").join(file.file_name().unwrap()),
        )
        .unwrap();
    }
    let beside = world.stored("app2", "").len();
    let run = world
        .dbbackup("cleanup")
        .run()
        .exits(0)
        .prints(&format!("removed  {old}"));
    run.says("app/app_manual_20200101T000000Z.sqlite3.gz: no sidecar knows this file")
        .never_says("notes.txt");
    world.dbbackup("cleanup --keep-last 0").run().exits(0);
    assert!(foreign.iter().all(|name| world.path(name).is_file()));
    assert_eq!(
        world.stored("app2", "").len(),
        beside,
        "what is there belongs to another name"
    );
    assert_eq!(
        world.stored("photos", "").len(),
        1,
        "no lock in a directory that holds nothing of ours"
    );
}

#[test]
fn a_sidecar_that_names_another_ones_dump_removes_nothing() {
    let world = world("[retention]\nkeep_last = 1\n");
    let old = world.history("app", "manual", &[30 * DAY, 60 * DAY]);
    let newest = world.dump_of(&world.ids("app")[0]);
    let outside = world.file("precious.gz", "x");
    world.edit_sidecar(&old[0], |sidecar| {
        sidecar["dump"]["file"] = newest.file_name().unwrap().to_str().unwrap().into()
    });
    world.edit_sidecar(&old[1], |sidecar| {
        sidecar["dump"]["file"] = "../../precious.gz".into()
    });
    let run = world
        .dbbackup("cleanup --keep-last 0")
        .run()
        .exits(0)
        .says("its dump can't be `../../precious.gz`");
    run.prints("removed 0 backups");
    assert!(newest.is_file() && outside.is_file());
    for id in &old {
        // Its own files alone, by their names.
        world
            .dbbackup(&format!("delete {id} --yes --force"))
            .run()
            .exits(0);
        assert!(!world.sidecar_path(id).exists());
    }
    assert!(newest.is_file() && outside.is_file());
}

#[test]
fn what_is_not_understood_stays_and_is_said() {
    let world = world("[retention]\nkeep_last = 1\n");
    let old = world.history(
        "app",
        "manual",
        &[30 * DAY, 60 * DAY, 90 * DAY, 120 * DAY, 150 * DAY],
    );
    world.edit_sidecar(&old[0], |sidecar| sidecar["schema"] = 2.into());
    world.edit_sidecar(&old[1], |sidecar| {
        sidecar["requires"] = serde_json::json!(["deltas"])
    });
    std::fs::write(world.sidecar_path(&old[2]), "{ \"schema\": 1,").unwrap();
    world.damaged_event(&old[3]);
    let run = world
        .dbbackup("cleanup --json")
        .run()
        .exits(0)
        .says("written by a newer dbbackup")
        .says("for deltas");
    let json = run
        .says("the sidecar is damaged")
        .says(&format!("{}: an event of it", old[3]))
        .json();
    assert_eq!(deleted(&json), [old[4].as_str()]);
    for id in &old[..4] {
        assert!(reasons(&json, id).contains("not understood"), "{json}");
        assert!(world.sidecar_path(id).is_file() && world.dump_of(id).is_file());
    }
}

#[test]
fn a_cleanup_takes_verifications_that_newer_ones_make_pointless() {
    let world = world("[retention]\nkeep_last = 1\n");
    let id = world.ids("").remove(0);
    world.dbbackup(&format!("pin {id}")).run().exits(0);
    for _ in 0..2 {
        world.dbbackup("verify --level checksum").run().exits(0);
    }
    let before = world.events(&id);
    assert_eq!(before.len(), 3, "a pin and two verifications");
    world.dbbackup("cleanup --dry-run").run().exits(0);
    assert_eq!(world.events(&id), before);
    world.dbbackup("cleanup").run().exits(0);
    assert_eq!(world.events(&id), [before[0].clone(), before[2].clone()]);
}

#[test]
fn the_newest_good_one_and_the_future_stay() {
    let world = world("[retention]\nkeep_last = 1\n");
    let newest = world.ids("").remove(0);
    let later = world.copy_backup(&newest, "manual", Utc::now() + TimeDelta::days(3));
    let old = world.history("app", "manual", &[30 * DAY]);
    // The newest is found damaged: the newest good one is another.
    std::fs::write(world.dump_of(&newest), "short").unwrap();
    let json = world
        .dbbackup("cleanup --keep-last 0 --max-age 1d --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(deleted(&json), [""; 0]);
    assert!(reasons(&json, &later).contains("future"), "{json}");
    assert!(
        reasons(&json, &old[0]).contains("newest good backup"),
        "{json}"
    );
    assert!(reasons(&json, &newest).contains("damaged"), "{json}");
}

#[test]
fn failed_attempts_count_for_nothing_and_go_after_a_month() {
    let world = world("[retention]\nkeep_last = 2\n");
    let good = world.history("app", "manual", &[10 * DAY, 20 * DAY]);
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    for _ in 0..3 {
        world.dbbackup("backup").run().exits(1);
    }
    let failed = world.ids("--status failed").remove(0);
    let old = world.copy_backup(&failed, "manual", Utc::now() - TimeDelta::days(31));
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(deleted(&json), [good[1].as_str(), old.as_str()]);
    assert_eq!(
        world.ids("").len(),
        2,
        "three failures pushed no good one out"
    );
}

#[test]
fn a_backup_being_read_is_kept_this_time() {
    let world = world("[retention]\nkeep_last = 1\n");
    let old = world.history("app", "manual", &[30 * DAY, 60 * DAY]);
    let dump = std::fs::File::open(world.dump_of(&old[0])).unwrap();
    dump.lock_shared().unwrap();
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(deleted(&json), [old[1].as_str()]);
    assert!(
        reasons(&json, &old[0]).starts_with("in use right now"),
        "{json}"
    );
    drop(dump);
    world
        .dbbackup("cleanup")
        .run()
        .exits(0)
        .prints("removed 1 backup,");
}

#[test]
fn retention_follows_a_success_and_never_a_failure() {
    let world = World::new();
    world.shop("app.db");
    let config = "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = \
                  'app.db'\n[retention]\nkeep_last = 1\n";
    world.config(config);
    world.dbbackup("backup").run().exits(0);
    let old = world.history("app", "manual", &[DAY, 2 * DAY]);
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    world.dbbackup("backup").run().exits(1);
    assert_eq!(world.ids("").len(), 3, "a failure removes nothing");
    std::fs::rename(world.path("away.db"), world.path("app.db")).unwrap();
    world.config(&config.replace(
        "[sources.app]",
        "[backup]\ncleanup_after = false\n[sources.app]",
    ));
    world.dbbackup("backup").run().exits(0);
    assert_eq!(world.ids("").len(), 4);
    world.config(config);
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("app: retention removed 4 backups");
    assert!(world.ids("").len() == 1 && !world.sidecar_path(&old[0]).exists());
    // A path that is no source of the configuration has no policy.
    world.shop("other.db");
    world.dbbackup("backup other.db").run().exits(0);
    world.dbbackup("backup other.db").run().exits(0);
    assert_eq!(world.ids("other").len(), 2);
}

#[test]
fn a_cap_that_voids_a_rule_is_warned_about() {
    let world = world("[retention]\nkeep_last = 3\nmax_count = 2\n");
    world.history("app", "manual", &[10 * DAY, 20 * DAY]);
    world
        .dbbackup("cleanup -q")
        .run()
        .exits(0)
        .says("max_count = 2 removes backups labelled `manual` that keep_last = 3 would keep");
    assert_eq!(world.ids("").len(), 2);
}

#[test]
fn debris_of_a_killed_run_is_swept() {
    let world = world("[retention]\nkeep_last = 5\n");
    let id = "app_manual_20260101T000000Z";
    world.file(&format!("store/app/.{id}.sqlite3.gz"), "half a dump");
    world.file(&format!("store/app/.{id}.json"), "{}");
    world.dbbackup("cleanup").run().exits(0);
    assert_eq!(world.debris("app"), [""; 0]);
    // A dump that got its name, its sidecar not yet: the dot-sidecar tells whose it is.
    let old = world.history("app", "manual", &[30 * DAY]).remove(0);
    let dump = world.dump_of(&old);
    std::fs::rename(
        world.sidecar_path(&old),
        world.path("store/app").join(format!(".{old}.json")),
    )
    .unwrap();
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .never_says("no sidecar knows");
    world.dbbackup("backup").run().exits(0);
    assert!(!dump.exists() && world.debris("app").is_empty());
}

#[test]
fn after_a_backup_that_shrank_by_half_nothing_is_removed() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 1\n[sources.app]\nkind = \
                  'sqlite'\npath = 'app.db'\n",
    );
    world.dbbackup("backup").run().exits(0);
    world.sql("app.db", "PRAGMA foreign_keys = OFF; DELETE FROM orders");
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("retention is held back")
        .says("cleanup --force app");
    assert_eq!(world.ids("").len(), 2);
    world
        .dbbackup("cleanup")
        .run()
        .exits(1)
        .says("and nothing is removed");
    assert_eq!(world.ids("").len(), 2);
    world.dbbackup("cleanup --force app").run().exits(0);
    assert_eq!(world.ids("").len(), 1);
}

#[test]
fn of_one_second_the_last_made_is_the_newest() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 2\n[sources.app]\nkind = \
                  'sqlite'\npath = 'app.db'\n",
    );
    for number in 0..6 {
        world.sql(
            "app.db",
            &format!("INSERT INTO customer VALUES ({}, 'new')", 1000 + number),
        );
        let made = world.dbbackup("backup --json").run().exits(0).json();
        let id = made["backups"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(world.ids("")[0], id);
    }
    assert_eq!(world.ids("").len(), 2);
}

/// A shop whose runs keep only the newest backup, with these keys more.
fn keeping_one(keys: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.sql(
        "app.db",
        "CREATE TABLE session(id); INSERT INTO session VALUES (1)",
    );
    world.config(&format!(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 1\n{keys}\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n"
    ));
    world.dbbackup("backup").run().exits(0);
    world
}

#[test]
fn a_table_that_is_gone_or_emptied_holds_retention_back_until_it_is_back() {
    let world = keeping_one("");
    let first = world.ids("").remove(0);
    world.sql("app.db", "DELETE FROM session");
    let run = world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("retention is held back and removed nothing")
        .says("nothing in `session` (1 row before)");
    run.says(&format!("compared with {first}"))
        .says("the older backups are all there");
    // One more run like it removes nothing either: what it is compared with is what there was.
    world.sql("app.db", "DROP TABLE session");
    let run = world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("no table `session` (1 row before)");
    run.says(&format!("compared with {first}"));
    world
        .dbbackup("cleanup")
        .run()
        .exits(1)
        .says(&format!("compared with {first}"));
    world.dbbackup("cleanup --dry-run").run().exits(1);
    assert_eq!(world.ids("").len(), 3);
    world.sql(
        "app.db",
        "CREATE TABLE session(id); INSERT INTO session VALUES (2)",
    );
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("retention removed 3 backups");
}

#[test]
fn what_force_said_to_be_right_is_right_from_then_on() {
    let world = keeping_one("keep_daily = 9");
    let old = world.history("app", "manual", &[30]);
    world.sql("app.db", "DROP TABLE session");
    world.dbbackup("backup").run().exits(3);
    world.dbbackup("cleanup --force --dry-run").run().exits(0);
    world.dbbackup("cleanup").run().exits(1);
    world.dbbackup("cleanup --force").run().exits(0);
    assert!(world.sidecar_path(&old[0]).is_file(), "the policy keeps it");
    world.dbbackup("cleanup").run().exits(0);
    world.dbbackup("backup").run().exits(0);
}

#[test]
fn the_brake_is_the_policys() {
    for (keys, code) in [
        ("", 3),
        ("brake = 'off'", 0),
        ("brake = false", 0),
        ("brake_ignore = ['sess*', 'nothing']", 0),
        ("brake_ignore = 'order?'", 3),
        ("brake = '100%'", 3),
    ] {
        let world = keeping_one(keys);
        world.sql("app.db", "DELETE FROM session");
        world.dbbackup("backup").run().exits(code);
        assert_eq!(world.ids("").len(), if code == 0 { 1 } else { 2 }, "{keys}");
    }
    for value in ["'0%'", "'101%'", "'half'", "50", "true"] {
        let world = World::new();
        world.config(&format!("[retention]\nbrake = {value}\n"));
        world
            .dbbackup("list")
            .run()
            .exits(2)
            .says("dbbackup.toml:2: `brake` in [retention]: expected a part such as \"50%\"");
    }
}

#[test]
fn a_tree_that_lost_half_of_its_files_holds_retention_back() {
    let world = World::new();
    (0..9).for_each(|number| drop(world.file(&format!("tree/{number}"), "x")));
    world.file("tree/large", &"x".repeat(1 << 20));
    world.config(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 1\n[sources.tree]\nkind = \
                  'files'\npaths = ['tree']\n",
    );
    world.dbbackup("backup").run().exits(0);
    (0..5).for_each(|number| std::fs::remove_file(world.path(&format!("tree/{number}"))).unwrap());
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("retention removed 1 backup");
    (5..8).for_each(|number| std::fs::remove_file(world.path(&format!("tree/{number}"))).unwrap());
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("2 files in place of 5");
    world
        .dbbackup("cleanup --force")
        .run()
        .exits(0)
        .prints("removed 1 backup");
}

/// Full backups, then an emptied database, however the small ones came to be: nothing is removed
/// until somebody says that it is right.
#[test]
fn a_fall_counts_whoever_looked_when_it_came() {
    let fallen = |config: &str, then: &dyn Fn(&World, &[String])| {
        let world = World::new();
        world.config(&format!(
            "[store]\npath = \"store\"\n{config}[sources.app]\nkind = \
                               \"sqlite\"\npath = \"app.db\"\n"
        ));
        world.shop("app.db");
        world.dbbackup("backup --label daily").run().exits(0);
        let full = world.history("app", "daily", &[30, 60]);
        world.sql(
            "app.db",
            "PRAGMA foreign_keys = OFF; DELETE FROM orders WHERE id > 10; DELETE FROM customer \
             WHERE id > 10; VACUUM",
        );
        then(&world, &full);
        for id in &full {
            assert!(!world.sidecar_path(id).exists() || world.dump_of(id).is_file());
        }
        let left = full
            .iter()
            .filter(|id| world.sidecar_path(id).is_file())
            .count();
        assert!(left + 1 >= full.len(), "{left} of {full:?} are left");
    };
    let keep = "[retention]\nkeep_last = 2\n";
    // Nobody looked after the first small ones.
    fallen(
        &format!("[backup]\ncleanup_after = false\n{keep}"),
        &|world, _| {
            world.dbbackup("backup").run().exits(0);
            world.dbbackup("backup").run().exits(0);
            world
                .dbbackup("cleanup")
                .run()
                .exits(1)
                .says("is held back");
        },
    );
    fallen(keep, &|world, _| {
        world.dbbackup("guard app -- true").run().exits(0);
        for _ in 0..3 {
            world.dbbackup("backup").run().exits(3).says("is held back");
        }
    });
    // What a look was about is gone.
    fallen(keep, &|world, full| {
        world.dbbackup("backup").run().exits(3);
        let newest_full = world.ids("app --label daily").remove(0);
        world
            .dbbackup(&format!("delete {newest_full} --yes"))
            .run()
            .exits(0);
        world.dbbackup("backup").run().exits(3);
        world
            .dbbackup(&format!("delete {} --yes", full[0]))
            .run()
            .exits(0);
        world.dbbackup("backup").run().exits(3);
    });
    // A label for which nobody minds: of its own backups alone.
    fallen(
        &format!("{keep}[retention.label.hourly]\nkeep_last = 2\nbrake = \"off\"\n"),
        &|world, _| {
            world
                .dbbackup("backup --label hourly")
                .run()
                .exits(3)
                .says("removed nothing labelled `daily`");
            world.dbbackup("backup --label daily").run().exits(3);
            world.dbbackup("backup --label daily").run().exits(3);
        },
    );
    // One that a wrong clock dated ahead, full or small, is no measure; nor is it the newest.
    fallen(keep, &|world, full| {
        let ahead = world.copy_backup(&full[0], "daily", Utc::now() + TimeDelta::days(1500));
        world.dbbackup("backup").run().exits(3);
        world.dbbackup("backup").run().exits(3);
        world
            .dbbackup("status")
            .run()
            .exits(1)
            .prints("is dated ahead");
        world.dbbackup("show app").run().exits(0).never_says(&ahead);
        // Said to be right, it is, and what is smaller still is looked at again.
        world
            .dbbackup("cleanup app --force --keep-last 50")
            .run()
            .exits(0);
        world.dbbackup("backup").run().exits(0);
        world.sql(
            "app.db",
            "PRAGMA foreign_keys = OFF; DELETE FROM orders WHERE id > 1; DELETE \
                             FROM customer WHERE id > 1",
        );
        world.dbbackup("backup").run().exits(3);
    });
}

/// Damage that is there before the backup is saved faithfully every night.
#[test]
fn the_newest_proven_backup_is_not_pushed_out_by_faithful_copies_of_damage() {
    let world = world("[retention]\nkeep_last = 1\nmax_age = '3d'\n");
    let newest = world.ids("").remove(0);
    let old = world.history("app", "manual", &[5 * DAY, 6 * DAY, 7 * DAY]);
    for (id, level) in [
        (&old[2], "restore"),
        (&old[1], "content"),
        (&old[0], "checksum"),
    ] {
        world
            .dbbackup(&format!("verify {id} --level {level}"))
            .run()
            .exits(0);
    }
    let json = world
        .dbbackup("cleanup --json --min-keep 0 --keep-last 0 --max-count 1")
        .run()
        .exits(0)
        .json();
    assert_eq!(deleted(&json), [old[0].as_str(), old[2].as_str()], "{json}");
    assert_eq!(
        reasons(&json, &old[1]),
        "newest backup proven by its content",
        "{json}"
    );
    assert!(
        reasons(&json, &newest).contains("newest good backup"),
        "{json}"
    );
    // Found damaged since, it is proven no more, and the next best must do.
    std::fs::write(world.dump_of(&old[1]), "short").unwrap();
    world.dbbackup(&format!("verify {}", old[1])).run().exits(4);
    world.dbbackup("verify").run().exits(0);
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(deleted(&json), [old[1].as_str()], "{json}");
}

#[test]
fn the_brake_of_one_label_frees_no_other() {
    let world = keeping_one("[retention.label.hourly]\nkeep_last = 1\nbrake = 'off'");
    world.dbbackup("backup --label hourly").run().exits(0);
    let (daily, hourly) = (
        world.history("app", "daily", &[DAY, 2 * DAY]),
        world.history("app", "hourly", &[3, 4]),
    );
    world.sql("app.db", "PRAGMA foreign_keys = OFF; DELETE FROM orders");
    // The hourly ones go, as their table says, and the daily ones stay, whichever label runs.
    next_second();
    world
        .dbbackup("backup --label hourly")
        .run()
        .exits(3)
        .says("removed nothing labelled `daily` or `manual`");
    assert!(
        hourly.iter().all(|id| !world.sidecar_path(id).exists())
            && daily.iter().all(|id| world.dump_of(id).is_file())
    );
    for label in ["hourly", "daily"] {
        next_second();
        world
            .dbbackup(&format!("backup --label {label}"))
            .run()
            .exits(3);
        assert!(daily.iter().all(|id| world.dump_of(id).is_file()));
    }
    let json = world.dbbackup("cleanup --json").run().exits(1).json();
    assert_eq!(deleted(&json), [""; 0], "{json}");
    assert!(
        reasons(&json, &daily[1]).contains("retention is held back"),
        "{json}"
    );
    world
        .dbbackup("status")
        .run()
        .exits(1)
        .prints("retention is held back");
    next_second();
    // A run that makes no decision of its own does not forget.
    world.dbbackup("guard app -- true").run().exits(0);
    world
        .dbbackup("status")
        .run()
        .exits(1)
        .prints("retention is held back");
    world.dbbackup("cleanup --force").run().exits(0);
    assert!(daily.iter().all(|id| !world.sidecar_path(id).exists()));
    world.dbbackup("status").run().exits(0);
}

#[test]
fn a_large_table_of_which_little_is_left_holds_retention_back_whoever_looks() {
    let large = "CREATE TABLE log(a); CREATE TABLE user(a);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) INSERT \
                 INTO log SELECT i FROM n;
        INSERT INTO user SELECT a FROM log LIMIT 10000";
    for cleanup_after in [true, false] {
        let world = World::new();
        world.shop("app.db");
        world.sql("app.db", large);
        world.config(&format!(
            "[store]\npath = 'store'\n[backup]\ncleanup_after = \
             {cleanup_after}\n[retention]\nkeep_last = 2\n\
             [sources.app]\nkind = 'sqlite'\npath = 'app.db'\n"
        ));
        world.dbbackup("backup").run().exits(0);
        let full = world.history("app", "manual", &[30, 60]);
        world.sql("app.db", "DELETE FROM user WHERE a > 1");
        for _ in 0..3 {
            let ran = world
                .dbbackup("backup")
                .run()
                .exits(if cleanup_after { 3 } else { 0 });
            let _ = if cleanup_after {
                ran.says("1 row in `user` (10,000 before)")
            } else {
                ran
            };
        }
        world
            .dbbackup("cleanup")
            .run()
            .exits(1)
            .says("1 row in `user` (10,000 before)");
        assert!(full.iter().all(|id| world.dump_of(id).is_file()));
    }
}

#[test]
fn a_clock_that_jumped_makes_nothing_old() {
    let world = world("[retention]\nkeep_daily = 400\nmax_age = '30d'\n");
    let newest = world.ids("").remove(0);
    // Every night until the clock jumped by four years; and some since.
    let year = 365 * DAY;
    let old = world.history(
        "app",
        "manual",
        &[
            4 * year,
            4 * year + DAY,
            4 * year + 2 * DAY,
            4 * year + 3 * DAY,
            4 * year + 4 * DAY,
        ],
    );
    let later = world.history("app", "manual", &[DAY, 2 * DAY]);
    let run = world
        .dbbackup("cleanup")
        .run()
        .exits(1)
        .says("the clock jumped, or there was a long pause");
    run.says(&format!("after {}", old[0]))
        .says("add `--force`")
        .prints("removed 0 backups");
    world
        .dbbackup("status")
        .run()
        .exits(1)
        .prints("the clock jumped");
    world.dbbackup("backup").run().exits(0);
    assert!(
        old.iter()
            .chain(&later)
            .chain([&newest])
            .all(|id| world.dump_of(id).is_file())
    );
    // What the jump does not make old, goes; and all where that is said to be right.
    world
        .dbbackup("cleanup --keep-last 6")
        .run()
        .exits(0)
        .prints("removed 3 backups");
    world
        .dbbackup("cleanup")
        .run()
        .exits(1)
        .says("the clock jumped")
        .prints("removed 0 backups");
    world
        .dbbackup("cleanup --force")
        .run()
        .exits(0)
        .prints("removed 3 backups");
    world.dbbackup("cleanup").run().exits(0);
    world.dbbackup("status").run().exits(0);
}

/// An emptied database is saved faithfully, and held the brake. When its data is back those backups
/// take no full one's place.
#[test]
fn what_held_the_brake_takes_no_place_when_the_data_is_back() {
    let world = world("[retention]\nkeep_last = 3\n");
    world.config(
        "[store]\npath = 'store'\n[backup]\ncleanup_after = true\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n[retention]\nkeep_last = 3\n",
    );
    let rows = |id: &str| {
        world.sidecar(id)["manifest"]["rows_total"]
            .as_u64()
            .unwrap()
    };
    world.sql(
        "app.db",
        "CREATE TABLE large AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         LIMIT 5000) SELECT i FROM n",
    );
    for _ in 0..3 {
        world.dbbackup("backup").run().exits(0);
    }
    world.sql(
        "app.db",
        "CREATE TABLE away AS SELECT * FROM large; DELETE FROM large; DROP TABLE away",
    );
    for _ in 0..2 {
        world.dbbackup("backup").run().exits(3);
    }
    let fallen = world.ids("").remove(0);
    // A restore says what it is that would come back.
    world
        .dbbackup(&format!("restore {fallen} --to there.db --yes"))
        .run()
        .exits(0)
        .says("holds far less than")
        .says("retention is held back");
    world.sql(
        "app.db",
        "INSERT INTO large WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT \
         5000) SELECT i FROM n",
    );
    world.dbbackup("backup").run().exits(0);
    let full = |world: &World| world.ids("").iter().filter(|id| rows(id) > 5000).count();
    assert_eq!(full(&world), 3, "{:?}", world.ids(""));
    let json = world
        .dbbackup("cleanup --dry-run --json")
        .run()
        .exits(0)
        .json();
    assert!(
        reasons(&json, &fallen).contains("it feeds no rule"),
        "{json}"
    );
    // They go when only newer ones are kept.
    for _ in 0..3 {
        world.dbbackup("backup").run().exits(0);
    }
    assert_eq!((full(&world), world.ids("").len()), (3, 3));
}
