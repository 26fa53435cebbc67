//! The configuration: where it is found, which sources a run takes, what the environment lacks, and
//! that its secrets stay in it.

use crate::support::{Call, World, set_mode};

const TWO: &str = "[store]\npath = 'store'\n[sources.a]\nkind = 'sqlite'\npath = \
                   'a.db'\n[sources.b]\nkind = 'sqlite'\npath = 'b.db'\n";

fn two() -> World {
    let world = World::new();
    world.shop("a.db");
    world.shop("b.db");
    world.config(TWO);
    world
}

#[test]
fn with_no_name_every_enabled_source_is_taken() {
    let world = two();
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .prints("2 of 2: a, b ok");
    world.config(&TWO.replace("path = 'b.db'", "path = 'b.db'\nenabled = false"));
    let run = world
        .dbbackup("backup")
        .run()
        .exits(0)
        .prints("ok a_")
        .never_says("b_manual");
    assert!(!run.stdout.contains("of"), "{run}");
    // Naming it overrides that.
    world.dbbackup("backup b").run().exits(0).prints("ok b_");
    world.config(&TWO.replace("kind = 'sqlite'", "kind = 'sqlite'\nenabled = false"));
    world
        .dbbackup("backup -q")
        .run()
        .exits(0)
        .says("no source is enabled");
}

#[test]
fn outside_its_window_a_source_is_skipped_and_that_is_said() {
    let world = two();
    for (window, said) in [
        (
            "start = '2999-01-01T00:00:00Z'",
            "its `start` is 2999-01-01",
        ),
        ("end = '2001-01-01T00:00:00Z'", "its `end` was 2001-01-01"),
    ] {
        world.config(&TWO.replace("path = 'b.db'", &format!("path = 'b.db'\n{window}")));
        world
            .dbbackup("backup")
            .run()
            .exits(0)
            .prints("ok a_")
            .says("b: skipped")
            .says(said);
    }
    world.config(&TWO.replace(
        "path = 'b.db'",
        "path = 'b.db'\nstart = 2001-01-01T00:00:00Z\nend = 2999-01-01T00:00:00Z",
    ));
    world.dbbackup("backup b").run().exits(0).prints("ok b_");
    world.config(&TWO.replace(
        "path = 'b.db'",
        "path = 'b.db'\nstart = '2002-01-01'\nend = '2001-01-01'",
    ));
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("expected a time after `start`");
}

#[test]
fn a_group_is_a_word_for_its_sources() {
    let world = two();
    world.config(&format!("{TWO}[groups]\nboth = ['b', 'a']\none = ['a']\n"));
    world
        .dbbackup("backup both")
        .run()
        .exits(0)
        .prints("2 of 2: b, a ok");
    world
        .dbbackup("backup one a both")
        .run()
        .exits(0)
        .prints("2 of 2: a, b ok");
    world.config(&format!("{TWO}[groups]\nboth = ['b', 'c']\n"));
    world
        .dbbackup("backup both")
        .run()
        .exits(2)
        .says("there is no source `c`")
        .says("dbbackup.toml:10");
    world.config(&format!("{TWO}[groups]\na = ['b']\n"));
    world
        .dbbackup("backup a")
        .run()
        .exits(2)
        .says("also the name of a source");
}

#[test]
fn a_group_stands_for_its_sources_in_every_command() {
    let world = two();
    let groups = "[retention]\nkeep_last = 1\n[groups]\nboth = ['b', 'a']\n";
    world.config(&format!("{TWO}{groups}"));
    for command in [
        "list both",
        "stats both",
        "cleanup both",
        "verify both",
        "verify both --all",
    ] {
        // Nothing is there: that is not everything there is.
        std::fs::create_dir_all(world.path("store")).unwrap();
        std::fs::write(world.path("store/dbbackup-store.json"), "{\"format\": 1}").unwrap();
        world
            .dbbackup(command)
            .run()
            .exits(10)
            .says("error: ")
            .says("hint: ");
    }
    world.dbbackup("backup a").run().exits(0);
    world.shop("c.db");
    world.dbbackup("backup c.db").run().exits(0);
    for command in ["list both", "stats both", "cleanup both"] {
        world
            .dbbackup(command)
            .run()
            .exits(0)
            .says("b: the store holds nothing of it: `dbbackup backup b`")
            .never_says("c_manual");
    }
    // What was never backed up is not proven.
    for command in ["verify both", "verify both --all"] {
        world
            .dbbackup(command)
            .run()
            .exits(3)
            .prints("ok a_manual_")
            .says("b: it has no backup")
            .never_says("c_manual");
    }
    world.dbbackup("backup both").run().exits(0);
    let ids = |line: &str, key: &str, id: &str| {
        let json = world
            .dbbackup(&format!("{line} --json"))
            .run()
            .exits(0)
            .json();
        let mut found: Vec<String> = json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[id].as_str().unwrap()[..1].to_owned())
            .collect();
        found.sort();
        found.dedup();
        found
    };
    assert_eq!(ids("list both", "backups", "id"), ["a", "b"]);
    assert_eq!(ids("list both a", "backups", "id"), ["a", "b"]);
    assert_eq!(ids("stats both", "sources", "source"), ["a", "b"]);
    assert_eq!(ids("verify both", "results", "id"), ["a", "b"]);
    assert_eq!(ids("verify both --all", "results", "id"), ["a", "b"]);
    assert_eq!(ids("cleanup both -n", "kept", "id"), ["a", "b"]);
    // With others beside it.
    let id = world.dbbackup("list c --json").run().json()["backups"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        ids(&format!("verify both {id}"), "results", "id"),
        ["a", "b", "c"]
    );
    for command in [
        "show both",
        "show both@latest",
        "pin both",
        "delete both --yes",
        "cat both",
        "restore both@2h",
        "export both --format csv --to x",
    ] {
        world
            .dbbackup(command)
            .run()
            .exits(2)
            .says("`both` is a group of b, a")
            .says("hint: name one of them");
    }
    // One without a policy is kept, and hinders no other.
    world.config(&format!(
        "{TWO}[sources.a.retention]\nkeep_last = 1\n[groups]\nboth = ['b', 'a']\n"
    ));
    world
        .dbbackup("cleanup both")
        .run()
        .exits(0)
        .prints("no policy: everything is kept")
        .prints("2 kept");
    world
        .dbbackup("cleanup b")
        .run()
        .exits(2)
        .says("no retention policy");
}

#[test]
fn an_unset_variable_fails_only_the_source_that_needs_it() {
    let world = two();
    world.config(&TWO.replace("path = 'b.db'", "path = '${B_PATH}'"));
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("B_PATH")
        .says("1 of 2: a ok; b failed");
    world
        .dbbackup("backup")
        .env("B_PATH", "b.db")
        .run()
        .exits(0);
    let failed = world
        .dbbackup("list b --status failed --json")
        .run()
        .exits(0)
        .json();
    assert!(
        failed["backups"][0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("B_PATH"),
        "{failed}"
    );
    // What needs no variable of its goes on: the cleanup of the others, too.
    world.config(
        &(TWO.replace("path = 'b.db'", "path = '${B_PATH}'") + "[retention]\nkeep_last = 1\n"),
    );
    let first = world.history("a", "manual", &[50]).remove(0);
    world
        .dbbackup("cleanup")
        .run()
        .exits(3)
        .says("B_PATH")
        .prints(&format!("removed  {first}"));
    world.dbbackup("cleanup b").run().exits(2).says("B_PATH");
}

#[test]
fn a_switch_may_come_from_the_environment() {
    let world = two();
    world.config(&TWO.replace(
        "path = 'b.db'",
        "path = 'b.db'\nenabled = '${B_ON}'\nthreads = '${THREADS}'",
    ));
    for (on, prints) in [
        ("true", "2 of 2"),
        ("1", "2 of 2"),
        ("yes", "2 of 2"),
        ("false", "ok a_"),
        ("0", "ok a_"),
        ("no", "ok a_"),
    ] {
        let run = world
            .dbbackup("backup")
            .env("B_ON", on)
            .env("THREADS", "1")
            .run()
            .exits(0)
            .prints(prints);
        assert_eq!(run.stdout.contains("b_manual"), prints == "2 of 2", "{run}");
    }
    world
        .dbbackup("backup")
        .env("B_ON", "maybe")
        .env("THREADS", "1")
        .run()
        .exits(3)
        .says("`enabled`")
        .says("found `maybe`");
    // An env_file serves as well, and wins for its source.
    world.file("b.env", "B_ON=no\nTHREADS=2\n");
    world.config(&TWO.replace(
        "path = 'b.db'",
        "path = 'b.db'\nenv_file = 'b.env'\nenabled = '${B_ON}'\nthreads = '${THREADS}'",
    ));
    world
        .dbbackup("backup")
        .env("B_ON", "yes")
        .run()
        .exits(0)
        .never_says("b_manual");
}

#[test]
fn unknown_keys_are_refused_with_line_and_advice() {
    let world = two();
    world.config(&TWO.replace("path = 'b.db'", "path = 'b.db'\nenabeld = false"));
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("dbbackup.toml:9")
        .says("unknown key `enabeld`")
        .says("did you mean `enabled`?");
    let json = world.dbbackup("list --json").run().exits(2).json();
    assert_eq!(
        (&json["command"], &json["outcome"]),
        (&"list".into(), &"failed".into())
    );
    assert!(
        json["error"].as_str().unwrap().contains("enabeld")
            && json["hint"].as_str().unwrap().contains("enabled"),
        "{json}"
    );
    world.config("[store]\npath = 'store'\n[retenton]\nkeep_last = 1\n");
    world
        .dbbackup("list")
        .run()
        .exits(2)
        .says("dbbackup.toml:3")
        .says("did you mean `retention`?");
    world.config("[store]\npath = 'store\n");
    world
        .dbbackup("list")
        .run()
        .exits(2)
        .says("dbbackup.toml:2");
    world.config(&TWO.replace("'sqlite'\npath = 'b.db'", "'sqlight'\npath = 'b.db'"));
    world
        .dbbackup("list")
        .run()
        .exits(2)
        .says("sqlight")
        .says("hint: ");
    world.config(&format!("[backup]\ncompression = 'brotli'\n{TWO}"));
    world.dbbackup("backup").run().exits(2).says("brotli");
}

#[test]
fn it_is_found_where_it_is_said_to_be() {
    let world = World::new();
    let config = |store: &str| format!("[store]\npath = '{}'\n", world.path(store).display());
    let written = |name: &str, store: &str| {
        let path = world.file(name, &config(store));
        set_mode(&path, 0o600);
        path
    };
    let used = |said: &'static str| move |call: Call| call.run().exits(10).says(said);
    world
        .dbbackup("list")
        .run()
        .exits(2)
        .says("no store is given, and no configuration was found")
        .says("--store DIR")
        .says("/etc/dbbackup/config.toml");
    let xdg = written("xdg/dbbackup/config.toml", "of-xdg");
    used("of-xdg")(
        world
            .dbbackup("list")
            .env("XDG_CONFIG_HOME", world.path("xdg").to_str().unwrap()),
    );
    written(".config/dbbackup/config.toml", "of-home");
    used("of-home")(world.dbbackup("list"));
    used("of-xdg")(
        world
            .dbbackup("list")
            .env("XDG_CONFIG_HOME", world.path("xdg").to_str().unwrap()),
    );
    written("dbbackup.toml", "of-here");
    used("of-here")(world.dbbackup("list"));
    let named = written("named.toml", "of-variable");
    used("of-variable")(
        world
            .dbbackup("list")
            .env("DBBACKUP_CONFIG", named.to_str().unwrap()),
    );
    used("of-xdg")(
        world
            .dbbackup(&format!("list -c {}", xdg.display()))
            .env("DBBACKUP_CONFIG", named.to_str().unwrap()),
    );
    world
        .dbbackup("list")
        .env("DBBACKUP_CONFIG", "/nowhere/x.toml")
        .run()
        .exits(2)
        .says("$DBBACKUP_CONFIG");
    world
        .dbbackup("list --config nowhere.toml")
        .run()
        .exits(2)
        .says("nowhere.toml");
}

#[test]
fn its_paths_are_relative_to_it() {
    let world = World::new();
    std::fs::create_dir_all(world.path("etc")).unwrap();
    world.shop("etc/app.db");
    let config = world.file(
        "etc/c.toml",
        "[store]\npath = 'backups'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
    );
    set_mode(&config, 0o600);
    world.dbbackup("-c etc/c.toml backup").run().exits(0);
    assert!(
        world.path("etc/backups/dbbackup-store.json").is_file() && !world.path("backups").exists()
    );
    world
        .dbbackup("list -c etc/c.toml app")
        .run()
        .exits(0)
        .prints("app_manual_");
}

#[test]
fn others_must_not_be_able_to_write_it() {
    let world = two();
    set_mode(&world.path("dbbackup.toml"), 0o666);
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("can be written by others")
        .says("hint: chmod go-w");
    assert!(!world.path("store").exists());
}

#[test]
fn the_copy_in_the_store_holds_no_secret() {
    let world = two();
    let secrets = "# old: password = hunter1\n# see postgres://u:hunter2@db/x\n";
    world.config(&format!("{secrets}{TWO}"));
    world.dbbackup("backup").run().exits(0);
    let copies = std::fs::read_dir(world.path("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let copy: Vec<_> = copies
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("config-")
        })
        .collect();
    for name in ["RECOVERY.md", "recover.sh", "undelta.py"] {
        let text = std::fs::read_to_string(world.path("store").join(name)).unwrap();
        assert!(!text.contains("hunter"), "{name}");
    }
    let text = std::fs::read_to_string(&copy[0]).unwrap();
    assert!(
        text.contains("[sources.b]") && !text.contains("hunter"),
        "{text}"
    );
    assert_eq!(
        copy[0]
            .metadata()
            .map(|found| std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777)
            .unwrap(),
        0o600
    );
    // A line quoted in an error is masked as well.
    world.config(&format!("{TWO}password = hunter3\n"));
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .never_says("hunter3");
    world.config(&TWO.replace("path = 'b.db'", "path = 'b.db'\npassword = 'hunter4'"));
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .never_says("hunter4");
}

#[test]
fn how_to_go_on_without_a_broken_configuration_comes_after_what_is_wrong_with_it() {
    let world = World::new();
    for (text, hint) in [
        ("[store\n", "hint: `--config /dev/null` leaves"),
        (
            "[stoer]\n",
            "hint: did you mean `store`? (`--config /dev/null` leaves",
        ),
    ] {
        world.config(text);
        let run = world.dbbackup("list").run().exits(2).says(hint);
        assert!(
            run.stderr.starts_with("error: ") && run.stderr.lines().count() == 2,
            "{run}"
        );
    }
}

#[test]
fn a_broken_one_can_be_left_aside_where_a_store_is_enough() {
    let world = World::new();
    world.config("[store\n");
    for command in ["list", "show app", "restore app", "verify app", "cat app"] {
        world
            .dbbackup(command)
            .run()
            .exits(2)
            .says("`--config /dev/null` leaves the configuration aside");
    }
    for command in ["backup", "cleanup", "doctor"] {
        world
            .dbbackup(command)
            .run()
            .exits(2)
            .never_says("/dev/null");
    }
    // node_exporter would pass it over in silence.
    world.config("[store]\npath = \"store\"\n[metrics]\ntextfile = \"metrics.txt\"\n");
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("dbbackup.toml:4: ")
        .says("must end in `.prom`");
    world.config("[store]\npath = \"store\"\n");
    world
        .dbbackup("status --prometheus metrics.txt")
        .run()
        .exits(3)
        .prints("must end in `.prom`, unlike `metrics.txt`");
    assert!(!world.path("metrics.txt").exists());
}
