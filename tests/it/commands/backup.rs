//! `backup`: how sources get their names, several of them in one run, and what the sidecar
//! remembers.

use crate::support::World;

#[test]
fn a_path_needs_no_configuration_and_names_the_source() {
    let world = World::new();
    for (file, source) in [
        ("app.db", "app"),
        ("my data (2).sqlite", "my-data--2-"),
        (".hidden.db", "hidden"),
        ("a.b.db", "a.b"),
        ("Ünï.db", "n-"),
    ] {
        world.shop(file);
        world
            .dbbackup_with(&["--store", "store", "backup", file])
            .run()
            .exits(0)
            .prints(&format!("ok {source}_manual_"));
        assert_eq!(world.ids(source).len(), 1, "{file}");
    }
}

#[test]
fn any_name_that_a_source_can_have_is_found_again() {
    // Names with the words that the store's own files end in.
    let world = World::new();
    world.shop("app.db");
    for name in [
        "app.state",
        "a.json",
        "x_y_z",
        "a.contents.json.zst",
        "v1.0-rc_2",
        "20260101T000000Z",
    ] {
        world
            .with_store(&format!("backup app.db --as {name}"))
            .run()
            .exits(0);
        assert_eq!(world.ids(name).len(), 1, "{name}");
        world.with_store(&format!("verify {name}")).run().exits(0);
        world.with_store(&format!("pin {name}")).run().exits(0);
        world
            .with_store(&format!("cleanup {name} --keep-last 1"))
            .run()
            .exits(0)
            .never_says("no sidecar knows");
    }
    world
        .with_store("list")
        .run()
        .exits(0)
        .never_says("warning");
}

#[test]
fn as_names_the_source_and_takes_one_path() {
    let world = World::new();
    world.shop("app.db");
    world.shop("b.db");
    world
        .with_store("backup app.db --as web.1")
        .run()
        .exits(0)
        .prints("ok web.1_manual_");
    world
        .with_store("backup app.db b.db --as both")
        .run()
        .exits(2)
        .says("`--as` names one source");
    for name in ["../up", "-x", "a/b", ".hidden", "with space"] {
        let name = format!("--as={name}");
        world
            .dbbackup_with(&["--store", "store", "backup", "app.db", &name])
            .run()
            .exits(2)
            .says("can't be a source's name");
    }
    assert!(!world.path("up").exists());
}

#[test]
fn a_derived_name_of_another_path_is_refused() {
    let world = World::new();
    world.shop("app.db");
    std::fs::create_dir(world.path("other")).unwrap();
    world.shop("other/app.db");
    world.with_store("backup app.db").run().exits(0);
    let refused = world
        .with_store("backup other/app.db")
        .run()
        .exits(2)
        .says("the name `app` belongs to")
        .says("--as NAME");
    assert!(
        refused
            .stderr
            .contains(world.path("app.db").to_str().unwrap()),
        "{refused}"
    );
    assert_eq!(
        world.ids("app --status all").len(),
        1,
        "a refusal is no attempt"
    );
    // The same file by other words is the same file.
    std::os::unix::fs::symlink(world.path("app.db"), world.path("link.db")).unwrap();
    world.with_store("backup ./other/../app.db").run().exits(0);
    world
        .with_store("backup link.db --as app")
        .run()
        .exits(0)
        .never_says("belongs to");
    // `--as` takes the name over, and says so.
    world
        .with_store("backup other/app.db --as app")
        .run()
        .exits(0)
        .says("the name `app` belongs to")
        .says("from now on it is");
    world
        .with_store("backup other/app.db")
        .run()
        .exits(0)
        .never_says("belongs to");
    // So does a configuration, quiet or not.
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n");
    world
        .with_store("backup -q")
        .run()
        .exits(0)
        .says("from now on it is");
}

#[test]
fn a_derived_name_of_another_host_is_refused() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let id = world.ids("").remove(0);
    world.edit_sidecar(&id, |sidecar| {
        sidecar["producer"]["host"] = "elsewhere".into()
    });
    world
        .with_store("backup app.db")
        .run()
        .exits(2)
        .says("on elsewhere in this store");
}

#[test]
fn two_files_that_would_share_a_name_are_refused_before_anything_is_done() {
    let world = World::new();
    world.shop("app.db");
    world.shop("app.sqlite");
    world
        .with_store("backup app.db app.sqlite")
        .run()
        .exits(2)
        .says("would be called `app`");
    assert!(!world.path("store").exists());
}

#[test]
fn one_failure_never_stops_the_others() {
    let world = World::new();
    for name in ["app.db", "uploads.db"] {
        world.shop(name);
    }
    world.file(
        "shop.db",
        "this is no database, but long enough to be looked at as one: it has a hundred bytes and a \
         few more, surely",
    );
    world.config(
        "[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n[sources.shop]\nkind = 'sqlite'\npath = \
         'shop.db'\n\
         [sources.uploads]\nkind = 'sqlite'\npath = 'uploads.db'\n",
    );
    let ran = world
        .with_store("backup -q")
        .run()
        .exits(3)
        .says("2 of 3: app, uploads ok; shop failed")
        .says("error: shop: ")
        .says("hint: ");
    assert!(ran.stdout.is_empty(), "{ran}");
    let json = world
        .with_store("backup --json")
        .run()
        .exits(3)
        .says("2 of 3")
        .json();
    assert_eq!(
        (&json["command"], &json["outcome"]),
        (&"backup".into(), &"partial".into())
    );
    assert_eq!(json["backups"].as_array().unwrap().len(), 2);
    assert_eq!(json["failed"][0]["source"], "shop");
    assert!(
        json["error"].as_str().unwrap().starts_with("shop: ") && json["hint"].is_string(),
        "{json}"
    );

    // The attempt is remembered, with its error and its hint, and has no dump.
    let attempts = world
        .with_store("list shop --status failed --json")
        .run()
        .exits(0)
        .json();
    let attempt = &attempts["backups"][0];
    assert_eq!(
        (&attempt["status"], &attempt["source"]),
        (&"failed".into(), &"shop".into())
    );
    assert!(
        attempt["error"]["message"]
            .as_str()
            .unwrap()
            .contains("shop.db")
            && attempt["error"]["hint"].is_string(),
        "{attempt}"
    );
    assert!(attempt.get("dump").is_none(), "{attempt}");
    assert!(world.stored("shop", ".gz").is_empty() && world.debris("shop").is_empty());
    world
        .with_store("list")
        .run()
        .exits(0)
        .says("shop: 2 failed attempts and it has no good backup");
    // One of a source that has a good one is newer than that.
    world.file("app.db", "");
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.with_store("backup app").run().exits(1);
    world
        .with_store("list app")
        .run()
        .exits(0)
        .says("app: 1 failed attempt since its newest good backup");
    world.with_store("show app").run().exits(0).prints("status");
}

#[test]
fn all_failing_is_failure() {
    let world = World::new();
    world.config(
        "[sources.a]\nkind = 'sqlite'\npath = 'a.db'\n[sources.b]\nkind = 'sqlite'\npath \
                  = 'b.db'\n",
    );
    let json = world
        .with_store("backup --json")
        .run()
        .exits(1)
        .says("0 of 2: a, b failed")
        .json();
    assert_eq!(json["outcome"], "failed");
    assert!(json["error"].as_str().unwrap().contains("b.db"), "{json}");
    assert!(
        !world.path("a.db").exists(),
        "a missing database is never created"
    );
}

#[test]
fn a_path_that_is_not_there_stops_no_other_one() {
    let world = World::new();
    world.shop("a.db");
    world.shop("b.db");
    world
        .with_store("backup a.db gone.db b.db")
        .run()
        .exits(3)
        .says("2 of 3: a, b ok; gone.db failed");
    // Alone it is a name that matches nothing, and makes nothing: neither a store nor a history.
    world
        .dbbackup("--store other backup gone.db")
        .run()
        .exits(10)
        .says("gone.db")
        .says("hint: ");
    assert!(
        !world.path("other").exists()
            && !world.path("gone.db").exists()
            && !world.path("store/gone").exists()
    );
    world
        .dbbackup("--store other backup gone.db too.db")
        .run()
        .exits(10);
}

#[test]
fn an_empty_word_is_never_a_database() {
    let world = World::new();
    world.shop("a.db");
    world
        .dbbackup_with(&["--store", "store", "backup", ""])
        .run()
        .exits(2);
    world
        .with_store("backup . --kind sqlite")
        .run()
        .exits(1)
        .says("is not a file");
}

#[test]
fn the_sidecar_remembers_what_was_said() {
    let world = World::new();
    world.shop("app.db");
    let arguments = [
        "--store",
        "store",
        "backup",
        "app.db",
        "--label",
        "pre-upgrade",
        "--description",
        "before v2.0 'upgrade'",
    ];
    let more = [
        "--tag",
        "ticket=OPS-12",
        "--tag",
        "url=a=b",
        "--tag",
        "empty=",
        "--pin",
        "--json",
    ];
    let json = world
        .dbbackup_with(&[&arguments[..], &more].concat())
        .run()
        .exits(0)
        .json();
    let backup = &json["backups"][0];
    assert_eq!(
        (&backup["label"], &backup["description"]),
        (&"pre-upgrade".into(), &"before v2.0 'upgrade'".into())
    );
    assert_eq!(
        backup["tags"],
        serde_json::json!({"ticket": "OPS-12", "url": "a=b", "empty": ""})
    );
    assert_eq!(backup["pinned"], true);

    let id = backup["id"].as_str().unwrap();
    let sidecar = world.sidecar(id);
    assert_eq!(
        (&sidecar["schema"], &sidecar["requires"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert_eq!(
        (&sidecar["status"], &sidecar["kind"], &sidecar["source"]),
        (&"ok".into(), &"sqlite".into(), &"app".into())
    );
    assert_eq!(
        sidecar["manifest"]["tables"][1],
        serde_json::json!({"name": "orders", "kind": "table", "rows": 1000})
    );
    assert_eq!(sidecar["manifest"]["rows_total"], 1100);
    assert_eq!(sidecar["dump"]["file"], format!("{id}.sqlite3.gz"));
    assert_eq!(
        (&sidecar["dump"]["format"], &sidecar["dump"]["compression"]),
        (&"sqlite3".into(), &"gzip".into())
    );
    assert!(sidecar["dump"]["encryption"].is_null() && sidecar["dump"]["base"].is_null());
    assert_eq!(
        sidecar["dump"]["size_bytes"],
        world.dump("app").metadata().unwrap().len()
    );
    assert_eq!(
        sidecar["database"]["path"],
        world.path("app.db").to_str().unwrap()
    );
    assert_eq!(
        (
            &sidecar["verifications"][0]["level"],
            &sidecar["verifications"][0]["status"]
        ),
        (&"checksum".into(), &"ok".into())
    );
    assert!(sidecar["run"].as_str().unwrap().len() > 16 && sidecar["producer"]["host"].is_string());
    let stamp = sidecar["started_at"]
        .as_str()
        .unwrap()
        .replace([':', '-'], "");
    assert_eq!(
        id,
        format!("app_pre-upgrade_{stamp}"),
        "the id holds the moment"
    );
    assert!(sidecar.get("pinned").is_none(), "pins are events");

    // A pin from the start survives a cleanup that keeps nothing else.
    let pinned = world.copy_backup(
        id,
        "pre-upgrade",
        chrono::Utc::now() - chrono::TimeDelta::days(900),
    );
    for event in world.events(id) {
        let copy = event.to_str().unwrap().replace(id, &pinned);
        std::fs::copy(&event, copy).unwrap();
    }
    world
        .with_store("cleanup --max-age 1d --keep-last 1")
        .run()
        .exits(0)
        .prints("pinned");
    assert_eq!(world.ids("").len(), 2);
}

#[test]
fn backups_of_one_run_share_it_and_a_clash_of_ids_gets_a_number() {
    let world = World::new();
    world.shop("a.db");
    world.shop("b.db");
    let json = world
        .with_store("backup a.db b.db --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["backups"][0]["run"], json["backups"][1]["run"]);
    // Within one second there is room for more than one.
    for _ in 0..4 {
        world.with_store("backup a.db").run().exits(0);
    }
    let ids = world.ids("a");
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().any(|id| id.ends_with("Z-2")), "{ids:?}");
    // The clash is resolved by all that looks ids up.
    let second = ids.iter().find(|id| id.ends_with("Z-2")).unwrap();
    world
        .with_store(&format!("verify {second}"))
        .run()
        .exits(0)
        .prints(second);
    world
        .with_store(&format!("delete {second} --yes"))
        .run()
        .exits(0);
    assert_eq!(world.ids("a").len(), 4);
}

#[test]
fn labels_and_tags_are_checked() {
    let world = World::new();
    world.shop("app.db");
    for wrong in [
        "--label=with_line",
        "--label=",
        "--label=../x",
        "--tag=novalue",
        "--tag==x",
        "--kind=oracle",
    ] {
        world
            .dbbackup_with(&["--store", "store", "backup", "app.db", wrong])
            .run()
            .exits(2);
    }
    assert!(!world.path("store").exists(), "wrong usage makes nothing");
    world
        .with_store("backup app.db --label v1.0 --kind sqlite")
        .run()
        .exits(0);
    world
        .with_store("list --label v1.0")
        .run()
        .exits(0)
        .prints("app_v1.0_");
}

#[test]
fn a_pre_restore_backup_is_pinned_whoever_makes_it() {
    let world = World::new();
    world.shop("app.db");
    let json = world
        .with_store("backup app.db --label pre-restore --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["backups"][0]["pinned"], true);
    world.with_store("show app").run().exits(10);
}

#[test]
fn a_dry_run_says_and_does_nothing() {
    let world = World::new();
    world.shop("app.db");
    world
        .with_store("backup app.db -n")
        .run()
        .exits(0)
        .prints("would back up")
        .prints("/store/app/app_manual_<time>.sqlite3.gz");
    let json = world
        .with_store("backup app.db -n --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["plan"][0]["source"], "app");
    assert!(!world.path("store").exists());
}

#[test]
fn the_databases_url_serves_where_nothing_else_is_said() {
    let world = World::new();
    let path = world.shop("app.db");
    let url = format!("sqlite://{}", path.display());
    world
        .with_store("backup")
        .env("DATABASE_URL", &url)
        .run()
        .exits(0)
        .prints("ok app_manual_");
    world
        .with_store("backup")
        .env("DATABASE_URL", &format!("{url}?mode=ro&cache=shared"))
        .run()
        .exits(0);
    // As SQLAlchemy, Rails, Prisma and JDBC have it.
    for relative in [
        "sqlite:///app.db",
        "sqlite+aiosqlite:///app.db",
        "sqlite3:app.db",
        "file:./app.db",
        "jdbc:sqlite:app.db",
    ] {
        world
            .with_store("backup")
            .env("DATABASE_URL", relative)
            .run()
            .exits(0)
            .prints("ok app_manual_");
    }
    for absolute in [
        "sqlite:///",
        "sqlite+aiosqlite:///",
        "file://",
        "file:",
        "jdbc:sqlite:",
    ] {
        world
            .with_store("backup")
            .env("DATABASE_URL", &format!("{absolute}{}", path.display()))
            .run()
            .exits(0);
    }
    world
        .with_store("backup")
        .env("DATABASE_URL", "sqlite:///gone.db")
        .run()
        .exits(10);
    world
        .with_store("backup")
        .env("DATABASE_URL", "sqlite://:memory:")
        .run()
        .exits(2)
        .says("in memory");
    // Nobody listens there: that it got so far is enough.
    for scheme in [
        "postgresql+asyncpg",
        "postgresql+psycopg2",
        "postgres",
        "jdbc:postgresql",
        "psql",
    ] {
        let url = format!("{scheme}://u@127.0.0.1:1/shop");
        world
            .with_store("backup --as shop")
            .env("DATABASE_URL", &url)
            .run()
            .exits(1)
            .says("127.0.0.1:1");
    }
    let prisma = "postgresql://u:hunter2@127.0.0.1:1/shop?schema=public";
    let refused = world
        .with_store("backup --as shop")
        .env("DATABASE_URL", prisma)
        .run()
        .exits(2);
    refused
        .says("`schema` in the URL is a parameter of the application's library")
        .says("without it")
        .never_says("hunter2");
    world
        .with_store("backup")
        .run()
        .exits(2)
        .says("nothing to back up")
        .says("hint: ");
    let refused = world
        .with_store("backup")
        .env("DATABASE_URL", "mysql://u:hunter2@h/d")
        .run()
        .exits(2)
        .says("mysql");
    refused.never_says("hunter2");
    // A configuration comes first.
    world.shop("other.db");
    world.config("[sources.other]\nkind = 'sqlite'\npath = 'other.db'\n");
    world
        .with_store("backup")
        .env("DATABASE_URL", &url)
        .run()
        .exits(0)
        .prints("ok other_manual_");
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let world = World::new();
    let text = world.file("notes.txt", &"just some words ".repeat(100));
    let before = std::fs::read(&text).unwrap();
    world
        .with_store("backup notes.txt")
        .run()
        .exits(1)
        .says("notes.txt")
        .says("hint: ");
    assert_eq!(std::fs::read(&text).unwrap(), before);
    assert!(world.stored("notes", ".gz").is_empty());
    let names: Vec<String> = std::fs::read_dir(world.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "no -journal, no -wal: {names:?}");
}

#[test]
fn sources_at_once_have_one_summary_in_the_order_of_the_configuration() {
    let world = World::new();
    // Each waits until the other one has begun, and the first one then takes longest.
    let source = |name: &str, other: &str, more: &str| {
        world.shop(&format!("{name}.db"));
        let wait =
            format!("touch {name}.begun; until [ -e {other}.begun ]; do sleep 0.02; done{more}");
        format!(
            "[sources.{name}]\nkind = 'sqlite'\npath = '{name}.db'\n[sources.{name}.hooks]\nbefore \
             = '{wait}'\ntimeout = '10m'\n"
        )
    };
    let sources = format!(
        "{}{}",
        source("one", "two", "; sleep 0.5"),
        source("two", "one", "")
    );
    world.config(&format!(
        "[store]\npath = 'store'\n{sources}[sources.off]\nkind = 'sqlite'\npath \
                           = 'x'\nenabled = false\n"
    ));
    let json = world
        .dbbackup("backup --all --jobs 2 --json")
        .run()
        .exits(0)
        .json();
    let made: Vec<&str> = json["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["source"].as_str().unwrap())
        .collect();
    assert_eq!(made, ["one", "two"]);
    let clear = || {
        ["one.begun", "two.begun"]
            .iter()
            .for_each(|name| std::fs::remove_file(world.path(name)).unwrap())
    };
    clear();
    world.config(&format!(
        "[store]\npath = 'store'\n[backup]\njobs = 8\n{sources}"
    ));
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .prints("2 of 2: one, two ok");
    // One after another the first waits in vain.
    clear();
    world.config(&format!(
        "[store]\npath = 'store'\n{}",
        sources.replacen("timeout = '10m'", "timeout = '1s'", 1)
    ));
    world
        .dbbackup("backup -j 1")
        .run()
        .exits(3)
        .says("1 of 2: two ok; one failed");
}

#[test]
fn all_is_every_enabled_source_said_outright() {
    let world = World::new();
    world.shop("app.db");
    world
        .with_store("backup --all")
        .env("DATABASE_URL", "app.db")
        .run()
        .exits(2)
        .says("`--all` means the sources of a configuration");
    world.config("[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n");
    world
        .dbbackup("backup --all")
        .run()
        .exits(0)
        .prints("ok app_manual_");
    for words in ["app", "--as x", "--kind sqlite"] {
        world
            .dbbackup(&format!("backup --all {words}"))
            .run()
            .exits(2)
            .says("cannot be used with");
    }
    for jobs in ["0", "-1", "many", "1000"] {
        world
            .dbbackup(&format!("backup --jobs={jobs}"))
            .run()
            .exits(2)
            .says("write a number from 1 to 256");
    }
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'app.db'\njobs = 2\n");
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("it belongs in [backup]: it is the whole run's");
}

#[test]
fn a_mistyped_address_leaves_no_source_that_fails_for_ever() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    // A port that nobody listens on, and a file that is no database.
    world
        .with_store("backup postgresql://127.0.0.1:1/nope")
        .run()
        .exits(1)
        .says("hint: ");
    world.file("text.db", &"no database ".repeat(100));
    world.with_store("backup text.db").run().exits(1);
    assert_eq!(world.ids("--status all").len(), 1);
    world.with_store("status").run().exits(0);
    // Once there was a backup, it has a history. Its name is none that `backup` knows.
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.file("app.db", &"no database ".repeat(100));
    world.with_store("backup app.db").run().exits(1);
    assert_eq!(world.ids("app --status all").len(), 2);
    world
        .with_store("status --expect-every 1s")
        .run()
        .never_says("backup app`");
    // A name that somebody chose is meant, too, and can be forgotten.
    world
        .with_store("backup text.db --as chosen")
        .run()
        .exits(1);
    let id = world.ids("chosen --status all").remove(0);
    let ran = world
        .with_store("status")
        .run()
        .exits(2)
        .prints("CRITICAL  chosen")
        .says("back it up again by its path or address");
    let command = format!("dbbackup --store store delete {id} --yes");
    ran.says(&format!("if it was never meant: `{command}`"));
    world
        .dbbackup(command.trim_start_matches("dbbackup "))
        .run()
        .exits(0);
    world.with_store("status chosen").run().exits(3);
}

#[test]
fn the_path_of_a_configured_source_is_that_source() {
    let world = World::new();
    world.shop("app.db");
    world.file("uploads/a.txt", "a");
    world.file("uploads/a.tmp", "b");
    world.config(
        "[store]\npath = \"store\"\n[sources.shop]\nkind = \"sqlite\"\npath = \"app.db\"\n\
         [sources.files]\nkind = \"files\"\npaths = [\"uploads\"]\nexclude = \
         [\"*.tmp\"]\nhooks.before = \"touch hooked\"\n",
    );
    let ran = world
        .dbbackup("backup ./uploads/ app.db --json")
        .run()
        .exits(0);
    let ran = ran
        .says("./uploads/ is the source `files` of the configuration")
        .says("app.db is the source `shop`");
    let json = ran.json();
    let sources: Vec<&str> = json["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["files", "shop"]);
    assert_eq!(
        json["backups"][0]["database"]["selected_by"][0],
        "exclude *.tmp"
    );
    assert!(world.path("hooked").exists());
    // Named as both it is saved once; another kind, or another name, is not that source.
    let both = world
        .dbbackup("backup files ./uploads --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(both["backups"].as_array().unwrap().len(), 1);
    let other = world
        .dbbackup("backup app.db --kind files --as raw --json")
        .run()
        .exits(0)
        .never_says("of the configuration")
        .made();
    assert_eq!(
        (other["source"].as_str(), other["kind"].as_str()),
        (Some("raw"), Some("files"))
    );
    // What is in it, or around it, is not it.
    assert_eq!(
        world
            .dbbackup("backup uploads/a.txt --kind files --json")
            .run()
            .exits(0)
            .made()["source"],
        "a"
    );
}
