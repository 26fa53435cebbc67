//! A restore over what is there, whatever that is: the old content or the new one, never less, and
//! always a way back.

use crate::support::{World, contents, is_root, set_mode};
use rusqlite::Connection;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn after(world: &World, name: &str) -> String {
    contents(&world.path(name))
}

/// A shop that was backed up and has changed since.
fn changed_shop(journal: &str) -> (World, String, String) {
    let world = World::new();
    world.shop("app.db");
    world.sql("app.db", &format!("PRAGMA journal_mode = {journal}"));
    let then = after(&world, "app.db");
    world.with_store("backup app.db").run().exits(0);
    world.sql(
        "app.db",
        "DELETE FROM orders WHERE id % 2; CREATE TABLE newer(x); INSERT INTO newer VALUES (1)",
    );
    let now = after(&world, "app.db");
    (world, then, now)
}

#[test]
fn a_live_database_is_replaced_and_can_be_brought_back() {
    for journal in ["wal", "delete", "persist", "truncate"] {
        let (world, then, now) = changed_shop(journal);
        set_mode(&world.path("app.db"), 0o640);
        let app = Connection::open(world.path("app.db")).unwrap();
        let before: i64 = app
            .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
            .unwrap();
        let restored = world
            .with_store("restore app --yes --json")
            .run()
            .exits(0)
            .json();
        // The application that has it open sees the new content, and can write.
        let rows: i64 = app
            .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
            .unwrap();
        assert_eq!((before, rows), (500, 1000), "{journal}");
        app.execute_batch(
            "INSERT INTO orders VALUES (5000, 1, 'after'); DELETE FROM orders WHERE id = 5000;",
        )
        .unwrap();
        drop(app);
        assert_eq!(after(&world, "app.db"), then);
        let log = std::fs::metadata(world.path("app.db-wal")).map_or(0, |found| found.len());
        assert!(log < 100_000, "the log was emptied: {log}");
        assert_eq!(
            std::fs::metadata(world.path("app.db"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o640
        );
        let undo = restored["restored"][0]["undo"].as_str().unwrap().to_owned();
        let words: Vec<&str> = undo.split_whitespace().skip(1).collect();
        world.dbbackup_with(&words).run().exits(0);
        assert_eq!(after(&world, "app.db"), now, "{journal}: {undo}");
        assert!(world.leftovers().is_empty());
    }
}

#[test]
fn the_journal_mode_of_the_old_database_is_kept() {
    for (journal, stays) in [("wal", "wal"), ("delete", "delete")] {
        let (world, _, _) = changed_shop(journal);
        world.with_store("restore app --yes").run().exits(0);
        let conn = Connection::open(world.path("app.db")).unwrap();
        assert_eq!(
            conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap(),
            stays
        );
    }
}

#[test]
fn another_page_size_and_vacuum_mode() {
    for (target, journal) in [
        (512, "wal"),
        (65536, "wal"),
        (512, "delete"),
        (65536, "delete"),
    ] {
        let world = World::new();
        world.shop("app.db");
        let then = after(&world, "app.db");
        world.with_store("backup app.db").run().exits(0);
        let head = format!(
            "PRAGMA page_size = {target}; PRAGMA auto_vacuum = full; PRAGMA journal_mode = \
             {journal};"
        );
        world.database(
            "other.db",
            &format!("{head} CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(300000));"),
        );
        let app = Connection::open(world.path("other.db")).unwrap();
        app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        world
            .with_store("restore app --to other.db --yes")
            .run()
            .exits(0)
            .prints("replaced through SQLite");
        assert_eq!(
            app.query_row("SELECT count(*) FROM orders", [], |row| row
                .get::<_, i64>(0))
                .unwrap(),
            1000
        );
        app.execute_batch(
            "INSERT INTO orders VALUES (9999, 1, 'x'); DELETE FROM orders WHERE id = 9999",
        )
        .unwrap();
        assert_eq!(
            app.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
                .unwrap(),
            "ok"
        );
        drop(app);
        assert_eq!(after(&world, "other.db"), then, "{target} {journal}");
        // What was there is kept under a source of its own name.
        assert_eq!(world.ids("other --label pre-restore").len(), 1);
    }
}

#[test]
fn another_text_encoding_is_renamed_into_place_when_nobody_has_it_open() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        world.shop("app.db");
        let then = after(&world, "app.db");
        world.with_store("backup app.db").run().exits(0);
        world.database(
            "wide.db",
            &format!(
                "PRAGMA encoding = 'UTF-16le'; PRAGMA journal_mode = {journal}; CREATE TABLE t(x); \
                 INSERT INTO t VALUES ('old');"
            ),
        );
        let app = Connection::open(world.path("wide.db")).unwrap();
        app.execute_batch("INSERT INTO t VALUES ('more')").unwrap();
        // This very process has it open; the binary is another one.
        world
            .with_store("restore app --to wide.db --yes")
            .run()
            .exits(1)
            .says("stop the application");
        assert_eq!(
            app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
                .unwrap(),
            2
        );
        app.execute_batch("INSERT INTO t VALUES ('still works')")
            .unwrap();
        assert_eq!(
            app.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap(),
            journal
        );
        drop(app);
        world
            .with_store("restore app --to wide.db --yes")
            .run()
            .exits(0)
            .prints("renamed into place")
            .prints("kept as");
        assert_eq!(after(&world, "wide.db"), then);
        let conn = Connection::open(world.path("wide.db")).unwrap();
        assert_eq!(
            conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap(),
            journal
        );
        assert_eq!(
            world.leftovers().len(),
            1,
            "the old file is set aside: {:?}",
            world.leftovers()
        );
        let aside = world.path(&world.leftovers()[0]);
        assert_eq!(
            Connection::open(aside)
                .unwrap()
                .query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
                .unwrap(),
            3
        );
    }
}

#[test]
fn a_corrupt_database_is_set_aside_with_its_log() {
    for journal in ["wal", "delete"] {
        let (world, then, _) = changed_shop(journal);
        let path = world.path("app.db");
        // A real log, left by an application that crashed.
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO newer VALUES (3)")
            .unwrap();
        if journal == "wal" {
            std::fs::copy(world.path("app.db-wal"), world.path("kept-wal")).unwrap();
        }
        drop(app);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[4096..middle].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        if journal == "wal" {
            std::fs::rename(world.path("kept-wal"), world.path("app.db-wal")).unwrap();
        }
        world
            .with_store("restore app --yes")
            .run()
            .exits(0)
            .prints("the old file was not valid")
            .prints("to undo: rm -f ");
        assert_eq!(after(&world, "app.db"), then);
        let left = world.leftovers();
        let aside = left.iter().find(|name| name.ends_with('Z')).unwrap();
        assert_eq!(std::fs::read(world.path(aside)).unwrap(), bytes);
        assert_eq!(
            left.iter().any(|name| name.ends_with("Z-wal")),
            journal == "wal",
            "{left:?}"
        );
    }
}

#[test]
fn a_database_with_a_hot_journal_is_recovered_and_saved_before_it_is_replaced() {
    let (world, then, now) = changed_shop("delete");
    // As after a crash in the middle of a transaction: the database holds some of it, the journal
    // the way back.
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch(
        "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE orders SET \
                       note = hex(zeroblob(100));",
    )
    .unwrap();
    for name in ["app.db", "app.db-journal"] {
        std::fs::copy(world.path(name), world.path(&format!("crashed-{name}"))).unwrap();
    }
    drop(app);
    for name in ["app.db", "app.db-journal"] {
        std::fs::rename(world.path(&format!("crashed-{name}")), world.path(name)).unwrap();
    }
    let crashed = ["app.db", "app.db-journal"].map(|name| std::fs::read(world.path(name)).unwrap());
    let sidecar = world
        .with_store("backup app.db --label crashed --json")
        .run()
        .exits(0)
        .says("a crash has cut off a transaction")
        .made();
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("rolled back in the backup's copy"),
        "{sidecar}"
    );
    // Nothing was done to the database itself, and what was saved is as it was before the
    // transaction.
    assert_eq!(
        ["app.db", "app.db-journal"].map(|name| std::fs::read(world.path(name)).unwrap()),
        crashed
    );
    world
        .with_store("restore app@latest:crashed --to rolled-back.db")
        .run()
        .exits(0);
    assert_eq!(after(&world, "rolled-back.db"), now);
    world
        .with_store("restore app@latest:manual --yes")
        .run()
        .exits(0)
        .prints("replaced through SQLite");
    assert_eq!(after(&world, "app.db"), then);
    let saved = world.ids("--label pre-restore");
    world
        .with_store(&format!("restore {} --to saved.db", saved[0]))
        .run()
        .exits(0);
    assert_eq!(after(&world, "saved.db"), now);
}

#[test]
fn a_corrupt_database_that_somebody_has_open_is_left() {
    let (world, _, _) = changed_shop("delete");
    let path = world.path("app.db");
    std::fs::write(
        &path,
        "this is no database at all, but it is long enough to be looked at by its header"
            .repeat(10),
    )
    .unwrap();
    let held = std::fs::File::open(&path).unwrap();
    let pid = std::process::id();
    world
        .with_store("restore app --yes")
        .run()
        .exits(1)
        .says(&format!("open in pid {pid}"))
        .says("stop the application");
    drop(held);
    world
        .with_store("restore app --yes")
        .run()
        .exits(0)
        .prints("the old file was not valid");
}

#[test]
fn a_log_without_its_database_is_never_taken_for_the_new_ones() {
    let (world, then, _) = changed_shop("wal");
    // As after somebody deleted the database file but not the rest: a real log, with frames in it.
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO newer VALUES (2)")
        .unwrap();
    std::fs::copy(world.path("app.db-wal"), world.path("kept-wal")).unwrap();
    drop(app);
    std::fs::remove_file(world.path("app.db")).unwrap();
    std::fs::rename(world.path("kept-wal"), world.path("app.db-wal")).unwrap();
    world
        .with_store("restore app")
        .run()
        .exits(0)
        .says("was set aside as");
    assert_eq!(after(&world, "app.db"), then);
}

#[test]
fn a_missing_target_gets_its_owner_and_mode_back() {
    let (world, then, _) = changed_shop("wal");
    set_mode(&world.path("app.db"), 0o604);
    if is_root() {
        std::os::unix::fs::chown(world.path("app.db"), Some(1), Some(1)).unwrap();
    }
    world
        .with_store("backup app.db --label second")
        .run()
        .exits(0);
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        let _ = std::fs::remove_file(world.path(name));
    }
    world
        .with_store("restore app@latest:manual")
        .run()
        .exits(0)
        .prints("there was no database");
    world
        .with_store("restore app@latest:second --yes")
        .run()
        .exits(0);
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.with_store("restore app@latest:second").run().exits(0);
    let found = std::fs::metadata(world.path("app.db")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o604);
    if is_root() {
        assert_eq!((found.uid(), found.gid()), (1, 1));
    }
    assert_ne!(after(&world, "app.db"), then);
}

#[test]
fn without_a_store_the_old_content_is_kept_beside() {
    let (world, then, now) = changed_shop("wal");
    let dump = world.dump("app");
    std::fs::copy(&dump, world.path("copy.sqlite3.gz")).unwrap();
    world
        .dbbackup("restore copy.sqlite3.gz --to app.db --yes")
        .run()
        .exits(0)
        .prints("kept as");
    assert_eq!(after(&world, "app.db"), then);
    let aside = world.leftovers();
    assert_eq!(aside.len(), 1);
    assert_eq!(contents(&world.path(&aside[0])), now);
}

#[test]
fn a_locked_target_stays_as_it_is() {
    let (world, _, now) = changed_shop("delete");
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO newer VALUES (77)")
        .unwrap();
    world.config("[backup]\nlock_timeout = \"1s\"\n");
    world
        .with_store("restore app --yes")
        .run()
        .exits(1)
        .says("is locked (open in pid")
        .says("lock_timeout");
    app.execute_batch("ROLLBACK").unwrap();
    drop(app);
    assert_eq!(after(&world, "app.db"), now);
    assert!(world.leftovers().is_empty());
}

#[test]
fn a_symbolic_link_stays_one() {
    let (world, then, _) = changed_shop("delete");
    std::os::unix::fs::symlink(world.path("app.db"), world.path("link.db")).unwrap();
    world
        .with_store("restore app --to link.db --yes")
        .run()
        .exits(0);
    assert!(world.path("link.db").symlink_metadata().is_ok());
    assert!(
        std::fs::symlink_metadata(world.path("").join("link.db"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(after(&world, "app.db"), then);
}

#[test]
fn rowids_survive_another_page_size() {
    // A plain VACUUM would number the rows anew, and the full-text index would point to the wrong
    // ones.
    let world = World::new();
    world.database(
        "app.db",
        "CREATE TABLE doc(body); INSERT INTO doc(rowid, body) VALUES (10, 'alpha'), (20, 'beta'), \
         (30, 'gamma');
         CREATE VIRTUAL TABLE f USING fts5(body, content = 'doc'); INSERT INTO f(f) VALUES \
         ('rebuild');",
    );
    let then = after(&world, "app.db");
    world.with_store("backup app.db").run().exits(0);
    world.database(
        "other.db",
        "PRAGMA page_size = 8192; PRAGMA journal_mode = wal; CREATE TABLE t(x);",
    );
    let app = Connection::open(world.path("other.db")).unwrap();
    world
        .with_store("restore app --to other.db --yes")
        .run()
        .exits(0);
    let found: i64 = app
        .query_row("SELECT rowid FROM f WHERE f MATCH 'beta'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(found, 20);
    drop(app);
    assert_eq!(after(&world, "other.db"), then);
}

#[test]
fn an_empty_backup_replaces_too_and_what_was_there_is_kept() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        world.file("empty.db", "");
        world.with_store("backup empty.db").run().exits(0);
        world.shop("app.db");
        world.sql("app.db", &format!("PRAGMA journal_mode = {journal}"));
        let now = after(&world, "app.db");
        let app = Connection::open(world.path("app.db")).unwrap();
        world
            .with_store("restore empty --to app.db --yes")
            .run()
            .exits(0)
            .prints("replaced through SQLite");
        assert_eq!(
            app.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row
                .get::<_, i64>(0))
                .unwrap(),
            0
        );
        let saved = world.ids("app --label pre-restore").remove(0);
        world
            .with_store(&format!("restore {saved} --to saved.db"))
            .run()
            .exits(0);
        assert_eq!(after(&world, "saved.db"), now);
    }
}

#[test]
fn a_deleted_database_that_an_application_still_has_open_is_told() {
    let (world, then, _) = changed_shop("wal");
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch("INSERT INTO newer VALUES (5)").unwrap();
    std::fs::remove_file(world.path("app.db")).unwrap();
    world
        .with_store("restore app")
        .run()
        .exits(1)
        .says("while no application has it open")
        .says("stop the application");
    drop(app);
    world.with_store("restore app").run().exits(0);
    assert_eq!(after(&world, "app.db"), then);
}

#[test]
fn the_undo_of_a_corrupt_database_brings_its_log_back() {
    let (world, _, _) = changed_shop("wal");
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO newer VALUES (3)")
        .unwrap();
    std::fs::copy(world.path("app.db-wal"), world.path("kept-wal")).unwrap();
    drop(app);
    let mut bytes = std::fs::read(world.path("app.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0xa5);
    std::fs::write(world.path("app.db"), &bytes).unwrap();
    std::fs::rename(world.path("kept-wal"), world.path("app.db-wal")).unwrap();
    let log = std::fs::read(world.path("app.db-wal")).unwrap();
    let json = world
        .with_store("restore app --yes --json")
        .run()
        .exits(0)
        .json();
    let undo = json["restored"][0]["undo"].as_str().unwrap();
    assert!(
        std::process::Command::new("sh")
            .args(["-ec", undo])
            .status()
            .unwrap()
            .success(),
        "{undo}"
    );
    assert_eq!(std::fs::read(world.path("app.db")).unwrap(), bytes);
    assert_eq!(std::fs::read(world.path("app.db-wal")).unwrap(), log);
}

#[test]
fn a_dump_in_wal_mode_leaves_the_targets_journal_mode() {
    let world = World::new();
    world.shop("other.db");
    world.sql("other.db", "PRAGMA journal_mode = WAL");
    world.shop("app.db");
    world
        .dbbackup("restore other.db --to app.db --yes --no-safety-backup")
        .run()
        .exits(0);
    let conn = Connection::open(world.path("app.db")).unwrap();
    assert_eq!(
        conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
            .unwrap(),
        "delete"
    );
}

/// In one second, after a restore that set only a log aside: the names beside the set-aside one
/// count, too.
#[test]
fn set_aside_names_of_one_second_do_not_collide() {
    let (world, then, _) = changed_shop("delete");
    let broken = "this is no database at all, but it is long enough to be looked at by its header"
        .repeat(10);
    let now = chrono::Utc::now();
    // Whatever second the restore falls into.
    for second in 0..90 {
        let stamp = (now + chrono::TimeDelta::seconds(second)).format("%Y%m%dT%H%M%SZ");
        world.file(
            &format!("app.db.before-{stamp}-wal"),
            "of an earlier restore",
        );
    }
    std::fs::write(world.path("app.db"), &broken).unwrap();
    world.file("app.db-wal", "a log of the broken one");
    world
        .with_store("restore app --yes")
        .run()
        .exits(0)
        .prints("the old file was not valid");
    assert_eq!(after(&world, "app.db"), then);
    let aside: Vec<String> = world
        .leftovers()
        .into_iter()
        .filter(|name| name.ends_with("Z-2"))
        .collect();
    assert_eq!(aside.len(), 1, "{:?}", world.leftovers());
    assert_eq!(
        std::fs::read_to_string(world.path(&aside[0])).unwrap(),
        broken
    );
    assert_eq!(
        std::fs::read_to_string(world.path(&format!("{}-wal", aside[0]))).unwrap(),
        "a log of the broken one"
    );
    assert_eq!(std::fs::metadata(world.path(&aside[0])).unwrap().nlink(), 1);
}

#[test]
fn the_preview_says_that_only_counts_were_compared() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        world.shop("app.db");
        world.sql("app.db", &format!("PRAGMA journal_mode = {journal}"));
        world.with_store("backup app.db").run().exits(0);
        world
            .with_store("restore app --dry-run")
            .run()
            .exits(0)
            .prints("the same as in the backup, byte for byte");
        world.sql("app.db", "UPDATE orders SET note = 'lost'");
        world
            .with_store("restore app --dry-run")
            .run()
            .exits(0)
            .prints("counts equal; contents not compared");
        world.sql("app.db", "DELETE FROM orders WHERE id = 1");
        let ran = world
            .with_store("restore app --dry-run")
            .run()
            .exits(0)
            .prints("999 now, 1,000 in the backup");
        ran.prints("where the counts are equal contents were not compared");
    }
}
