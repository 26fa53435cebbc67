//! `restore`: what it asks and refuses, and where it puts things. How it replaces a live database
//! is another module's.

use crate::support::{World, contents};

fn shop() -> (World, String) {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let id = world.ids("").remove(0);
    (world, id)
}

#[test]
fn without_a_terminal_replacing_needs_a_yes() {
    let (world, id) = shop();
    world.sql("app.db", "DELETE FROM orders WHERE id > 900");
    let before = std::fs::read(world.path("app.db")).unwrap();
    let refused = world
        .with_store("restore app")
        .run()
        .exits(2)
        .says("needs a yes")
        .says("add `--yes`");
    refused
        .says("orders: 900 now, 1,000 in the backup")
        .says(&id);
    let json = world.with_store("restore app --json").run().exits(2).json();
    assert_eq!(
        (&json["command"], &json["outcome"]),
        (&"restore".into(), &"failed".into())
    );
    assert!(json["error"].is_string() && json["hint"].is_string());
    world.with_store("restore app --to app.db").run().exits(2);
    assert!(std::fs::read(world.path("app.db")).unwrap() == before);
    assert_eq!(
        world.ids("--status all").len(),
        1,
        "not even a safety backup was made"
    );

    let json = world
        .with_store("restore app --yes --json")
        .run()
        .exits(0)
        .json();
    let restored = &json["restored"][0];
    assert_eq!(
        (&json["outcome"], &restored["id"]),
        (&"ok".into(), &id.into())
    );
    assert_eq!(restored["target"], world.path("app.db").to_str().unwrap());
    // The undo is a command that works as it stands.
    let undo = restored["undo"]
        .as_str()
        .unwrap()
        .strip_prefix("dbbackup ")
        .unwrap();
    assert!(
        undo.contains("restore app_pre-restore_") && undo.ends_with("--yes"),
        "{undo}"
    );
    world.dbbackup(undo).run().exits(0);
    let rows: i64 = rusqlite::Connection::open(world.path("app.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 900);
    // What was replaced is pinned, and no one's newest good backup.
    let json = world
        .with_store("list --label pre-restore --json")
        .run()
        .exits(0)
        .json();
    assert!(
        json["backups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|backup| backup["pinned"] == true),
        "{json}"
    );
    world
        .with_store("show app")
        .run()
        .exits(0)
        .prints("app_manual_");
}

#[test]
fn a_new_place_needs_no_yes() {
    let (world, _) = shop();
    world
        .with_store("restore app --to new.db")
        .run()
        .exits(0)
        .prints("restored to")
        .says("where there is nothing now");
    assert_eq!(
        contents(&world.path("new.db")),
        contents(&world.path("app.db"))
    );
    world.with_store("restore app --to new.db").run().exits(2);
    // Where the original is gone, so does the origin.
    let before = contents(&world.path("app.db"));
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.with_store("restore app").run().exits(0);
    assert_eq!(contents(&world.path("app.db")), before);
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn a_dry_run_says_what_would_be_lost_and_does_nothing() {
    let (world, id) = shop();
    world.sql(
        "app.db",
        "CREATE TABLE extra(x); INSERT INTO extra VALUES (1), (2); PRAGMA foreign_keys = OFF; \
         DELETE FROM customer;",
    );
    let before = std::fs::read(world.path("app.db")).unwrap();
    let said = world
        .with_store("restore app -n")
        .run()
        .exits(0)
        .prints("nothing was done")
        .prints(&id);
    said.prints("extra: 2 rows now, not in the backup")
        .prints("customer: 0 now, 100 in the backup")
        .prints("pre-restore");
    let json = world
        .with_store("restore app -n --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["restored"], serde_json::json!([]));
    let plan = &json["plan"][0];
    assert_eq!(
        (
            &plan["id"],
            &plan["replaces"],
            plan["differences"].as_array().unwrap().len()
        ),
        (&id.into(), &true.into(), 2)
    );
    world
        .with_store("restore app -n --to other.db")
        .run()
        .exits(0)
        .prints("where there is nothing now");
    world.with_store("restore app -n --yes").run().exits(0);
    assert!(
        std::fs::read(world.path("app.db")).unwrap() == before && !world.path("other.db").exists()
    );
    assert_eq!(world.ids("--status all").len(), 1);
}

#[test]
fn another_machines_backup_goes_nowhere_by_itself() {
    let (world, id) = shop();
    world.edit_sidecar(&id, |sidecar| sidecar["producer"]["host"] = "web1".into());
    let path = world.path("app.db");
    let command = format!(
        "dbbackup --store store restore {id} --to {}",
        path.display()
    );
    world
        .with_store("restore app --yes")
        .run()
        .exits(2)
        .says("was made on `web1`")
        .says(&format!("hint: say where: `{command}`"));
    // The hint is the whole command: pasted, it only lacks the yes.
    let pasted = command.strip_prefix("dbbackup ").unwrap();
    world.dbbackup(pasted).run().exits(2).says("needs a yes");
    world.dbbackup(&format!("{pasted} --yes")).run().exits(0);
    // A configuration that defines the source says where, on any machine.
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'here.db'\n");
    world.with_store("restore app").run().exits(0);
    assert!(world.path("here.db").is_file());
}

#[test]
fn places_that_can_not_be_are_told_apart() {
    let (world, _) = shop();
    std::fs::create_dir(world.path("dir")).unwrap();
    world
        .with_store("restore app --to dir")
        .run()
        .exits(2)
        .says("is a directory")
        .says("dir/restored.db");
    world
        .with_store("restore app --to dir/")
        .run()
        .exits(2)
        .says("is a directory");
    world
        .with_store("restore app --to a/b/c.db")
        .run()
        .exits(1)
        .says("the directory of")
        .says("hint: ");
    assert!(!world.path("a").exists());
    world
        .with_store("restore app --to postgres://u:hunter2@h/d")
        .run()
        .exits(2)
        .never_says("hunter2");
    world
        .dbbackup_with(&["--store", "store", "restore", "app", "--to", ""])
        .run()
        .exits(2);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(world.path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    for special in ["fifo", "/dev/null"] {
        world
            .with_store(&format!("restore app --yes --to {special}"))
            .run()
            .exits(2)
            .says("is not a file");
    }
    world
        .with_store("restore app app --to x.db")
        .run()
        .exits(2)
        .says("`--to` takes one backup");
    world.with_store("restore").run().exits(2);
}

#[test]
fn what_is_no_database_is_set_aside_not_lost() {
    let (world, _) = shop();
    let notes = world.file("notes.txt", "my only copy");
    world
        .with_store("restore app --to notes.txt")
        .run()
        .exits(2)
        .says("is not a SQLite database");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "my only copy");
    let done = world
        .with_store("restore app --to notes.txt --yes")
        .run()
        .exits(0);
    let aside = world.leftovers();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(
        std::fs::read_to_string(world.path(&aside[0])).unwrap(),
        "my only copy"
    );
    done.prints(&aside[0]).prints("to undo: rm -f ");
}

#[test]
fn several_at_once_each_go_to_their_own_place() {
    let world = World::new();
    world.shop("a.db");
    world.shop("b.db");
    world.with_store("backup a.db b.db").run().exits(0);
    std::fs::remove_file(world.path("a.db")).unwrap();
    std::fs::remove_file(world.path("b.db")).unwrap();
    let json = world
        .with_store("restore a nothing b --json")
        .run()
        .exits(3)
        .json();
    assert_eq!(
        (json["restored"].as_array().unwrap().len(), &json["outcome"]),
        (2, &"partial".into())
    );
    assert!(
        json["error"].as_str().unwrap().contains("nothing"),
        "{json}"
    );
    assert!(world.path("a.db").is_file() && world.path("b.db").is_file());
}

#[test]
fn what_is_shown_leads_to_the_same_store() {
    let world = World::new();
    world.shop("app.db");
    world.config("[store]\npath = 'elsewhere'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n");
    std::fs::rename(world.path("dbbackup.toml"), world.path("other.toml")).unwrap();
    let kept = |ran: &crate::support::Ran| {
        let word = ran
            .stdout
            .split_whitespace()
            .find(|word| word.starts_with("app_pre-restore_"))
            .unwrap();
        word.trim_end_matches(',').to_owned()
    };
    for options in ["-c other.toml", "-c other.toml --store far", "--store far"] {
        let what = if options.contains("-c") {
            "app"
        } else {
            "app.db"
        };
        world
            .dbbackup(&format!("{options} backup {what}"))
            .run()
            .exits(0);
        let ran = world
            .dbbackup(&format!("{options} restore app --yes"))
            .run()
            .exits(0);
        let dir = if options.contains("far") {
            "far"
        } else {
            "elsewhere"
        };
        let sidecar = world
            .path(dir)
            .join("app")
            .join(format!("{}.json", kept(&ran)));
        assert!(sidecar.is_file(), "{ran}");
        world.dbbackup(&ran.shown("restore")).run().exits(0);
        world
            .dbbackup(&format!("{} --yes", ran.shown("delete")))
            .run()
            .exits(0);
        assert!(!sidecar.exists(), "{ran}");
        // And what a script is told.
        let json = world
            .dbbackup(&format!("{options} status --expect-every 1s --json"))
            .run()
            .json();
        let hint = json.to_string();
        let config = if options.contains("-c") {
            "--config other.toml"
        } else {
            "--store far"
        };
        assert!(
            !hint.contains("`dbbackup ") || hint.contains(&format!("`dbbackup {config}")),
            "{hint}"
        );
    }
}
