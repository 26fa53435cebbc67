//! `list` and `show`: the filters, and what is noted beside the table.

use crate::support::World;

#[test]
fn filters_choose() {
    let world = World::new();
    world.shop("app.db");
    world.shop("web.db");
    world
        .with_store("backup app.db --tag ticket=1 --tag env=prod")
        .run()
        .exits(0);
    world.with_store("backup web.db").run().exits(0);
    let app = world.ids("app").remove(0);
    let old = world.history("app", "daily", &[3, 49, 1000]);

    assert_eq!(world.ids("").len(), 5);
    assert_eq!(world.ids("app web").len(), 5);
    assert_eq!(
        world.ids("app"),
        [app.clone(), old[0].clone(), old[1].clone(), old[2].clone()],
        "newest first"
    );
    assert_eq!(world.ids("--label daily"), old);
    assert_eq!(world.ids("--label nothing"), [""; 0]);
    assert_eq!(world.ids("--tag ticket=1 --tag env=prod").len(), 4);
    assert_eq!(world.ids("--tag ticket=1 --tag env=dev").len(), 0);
    assert_eq!(world.ids("app --since 2h"), std::slice::from_ref(&app));
    assert_eq!(world.ids("app --since 2d").len(), 2);
    let day = chrono::Utc::now() - chrono::TimeDelta::days(10);
    assert_eq!(
        world
            .ids(&format!("app --since {}", day.format("%Y-%m-%d")))
            .len(),
        3
    );
    assert_eq!(world.ids("app --limit 2"), [app.clone(), old[0].clone()]);
    assert_eq!(world.ids("--limit 0").len(), 0);
    world
        .with_store("list --since sometime")
        .run()
        .exits(2)
        .says("sometime");
    world.with_store("list --status odd").run().exits(2);
    world
        .with_store("list ap")
        .run()
        .exits(10)
        .says("no source `ap`")
        .says("did you mean `app`?");
    world
        .with_store("list --label nothing")
        .run()
        .exits(0)
        .says("no backups match");
}

#[test]
fn statuses_are_good_ones_failures_or_all() {
    let world = World::new();
    world.shop("app.db");
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n");
    world.with_store("backup").run().exits(0);
    let good = world.ids("").remove(0);
    let old = world.history("app", "manual", &[5, 10]);
    std::fs::remove_file(
        world
            .path("store/app")
            .join(format!("{}.sqlite3.gz", old[0])),
    )
    .unwrap();
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.with_store("backup").run().exits(1);
    assert_eq!(world.ids(""), [good, old[1].clone()]);
    assert_eq!(world.ids("--status ok").len(), 2);
    let failed = world.ids("--status failed");
    assert_eq!((failed.len(), &failed[1]), (2, &old[0]));
    assert_eq!(world.ids("--status all").len(), 4);
    world
        .with_store("list --status all")
        .run()
        .exits(0)
        .prints("failed")
        .prints("missing")
        .prints("the dump is not there");
    // A safety copy of a restore does not hide the failures before it.
    let copied = world.copy_backup(
        &old[1],
        "pre-restore",
        chrono::Utc::now() + chrono::TimeDelta::seconds(2),
    );
    world
        .with_store("list")
        .run()
        .exits(0)
        .prints(&copied)
        .says("app: 1 failed attempt since its newest good backup");
}

#[test]
fn show_says_everything() {
    let world = World::new();
    world.shop("app.db");
    world
        .dbbackup_with(&[
            "--store",
            "store",
            "backup",
            "app.db",
            "--description",
            "why not",
            "--tag",
            "a=b",
            "--pin",
        ])
        .run()
        .exits(0);
    world.with_store("verify --level restore").run().exits(0);
    let shown = world.with_store("show app").run().exits(0);
    let shown = [
        "why not",
        "a=b",
        "pinned",
        "sha256",
        "1,100 rows in 2 tables",
        "restore ok",
        "checksum ok",
        ".sqlite3.gz",
        "app.db",
    ]
    .iter()
    .fold(shown, |shown, text| shown.prints(text));
    shown.never_says("orders");
    world
        .with_store("show app --contents")
        .run()
        .exits(0)
        .prints("orders")
        .prints("1,000");
    let shown = world.with_store("show app --json").run().exits(0);
    // In the order of the sidecar.
    let order = [
        "command",
        "outcome",
        "backup",
        "schema",
        "id",
        "source",
        "status",
        "started_at",
        "dump",
        "database",
        "manifest",
        "good",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|field| shown.stdout.find(&format!("\"{field}\":")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{shown}");
    let json = shown.json();
    assert_eq!(json["command"], "show");
    assert_eq!(
        (
            &json["backup"]["pinned"],
            &json["backup"]["verifications"][1]["level"]
        ),
        (&true.into(), &"restore".into())
    );
    // A failed attempt has an error to show.
    std::fs::write(world.path("app.db"), "no database any more").unwrap();
    world.with_store("backup app.db").run().exits(1);
    let failed = world.ids("--status failed").remove(0);
    world
        .with_store(&format!("show {failed}"))
        .run()
        .exits(0)
        .prints("failed:")
        .prints("hint");
}

#[test]
fn foreign_files_are_left_in_peace() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    world.file("store/app/notes.txt", "mine");
    world.file("store/app/other-tool-2026-01-01.sql.gz", "x");
    world.file("store/lost+found/x", "");
    world.file("store/photos/1.jpg", "");
    let listed = world
        .with_store("list")
        .run()
        .exits(0)
        .says("other-tool-2026-01-01.sql.gz: no sidecar knows this file");
    listed
        .never_says("notes.txt")
        .never_says("lost+found")
        .never_says("1.jpg");
    assert_eq!(world.ids("").len(), 1);
}

#[test]
fn a_list_that_is_empty_says_why() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db --tag a=b").run().exits(0);
    world.history("app", "daily", &[5]);
    for path in world.stored("app", ".gz") {
        std::fs::write(path, "x").unwrap();
    }
    let ran = world
        .with_store("list app")
        .run()
        .exits(0)
        .never_says("no backups match");
    ran.says(
        "no good backups match; 2 are failed or damaged: `dbbackup --store store list \
              --status failed app`",
    );
    world
        .with_store("list --label daily")
        .run()
        .exits(0)
        .says("1 is failed or damaged");
    world
        .with_store("list --label weekly")
        .run()
        .exits(0)
        .says("no backups match");
    world
        .with_store("list --tag a=c")
        .run()
        .exits(0)
        .says("no backups match");
    world
        .with_store("list --status failed")
        .run()
        .exits(0)
        .prints("damaged");

    let well = World::new();
    well.shop("app.db");
    well.with_store("backup app.db").run().exits(0);
    well.with_store("list --status failed")
        .run()
        .exits(0)
        .says("none failed, none is damaged; `dbbackup --store store list` shows the others");
}

#[test]
fn a_name_with_two_letters_swapped_is_guessed() {
    let world = World::new();
    world.shop("shop.db");
    world.with_store("backup shop.db").run().exits(0);
    for command in [
        "show shpo",
        "verify shpo",
        "restore shpo --yes",
        "show shpo@latest",
        "pin shpo",
        "list shpo",
    ] {
        world
            .with_store(command)
            .run()
            .exits(10)
            .says("shpo")
            .says("did you mean `shop`?");
    }
}

#[test]
fn colours_are_for_terminals() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    for command in [
        "list",
        "show app",
        "status",
        "stats",
        "cleanup --dry-run --keep-last 1",
    ] {
        world.with_store(command).run().exits(0).never_says("\x1b[");
        world
            .with_store(&format!("--color always {command}"))
            .run()
            .exits(0)
            .prints("\x1b[");
        world
            .with_store(&format!("--color always --json {command}"))
            .run()
            .exits(0)
            .never_says("\x1b[");
    }
    // Columns line up with colours and without.
    let plain = world.with_store("list").run().stdout;
    let mut coloured = world.with_store("--color always list").run().stdout;
    for code in ["\x1b[1m", "\x1b[32m", "\x1b[0m"] {
        coloured = coloured.replace(code, "");
    }
    assert_eq!(plain, coloured);
}
