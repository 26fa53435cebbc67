//! `doctor`: each thing that would make a backup fail is found and told with its remedy, and
//! nothing is left behind.

use crate::cluster::Cluster;
use crate::postgres_world::Shop;
use crate::support::{Ran, World, is_root, set_mode};
use crate::tools::skip;
use chrono::{TimeDelta, Utc};
use serde_json::Value;

fn world() -> World {
    let world = World::new();
    let path = world.shop("app.db");
    std::fs::create_dir(world.path("scratch")).unwrap();
    world.config(&format!(
        "[store]\npath = \"store\"\n[backup]\nscratch_dir = \"scratch\"\n[sources.app]\nkind = \
         \"sqlite\"\npath = {path:?}\n"
    ));
    world
}

/// The one check of this name about this, which stands so.
#[track_caller]
fn check(ran: Ran, about: &str, name: &str, status: &str) -> Value {
    let text = ran.to_string();
    let json = ran.json();
    let checks = json["checks"].as_array().unwrap();
    let found = checks
        .iter()
        .find(|one| one["about"] == about && one["check"] == name && one["status"] == status);
    found
        .unwrap_or_else(|| panic!("no {status} for {about}, {name}\n{text}"))
        .clone()
}

fn everything_in(world: &World) -> Vec<String> {
    let mut names: Vec<String> = walk(&world.path(""));
    names.sort();
    names
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                [vec![path.display().to_string()], walk(&path)].concat()
            } else {
                vec![path.display().to_string()]
            }
        })
        .collect()
}

#[test]
fn all_is_well_and_nothing_is_left() {
    let world = world();
    world.sql("app.db", "PRAGMA journal_mode = wal");
    let before = everything_in(&world);
    let ran = world
        .dbbackup("doctor")
        .run()
        .exits(0)
        .prints("a backup would succeed")
        .prints("the first backup makes it");
    ran.prints("in WAL mode")
        .prints("a trial restore is possible");
    assert_eq!(everything_in(&world), before);
    world.dbbackup("backup").run().exits(0);
    let before = everything_in(&world);
    let json = world.dbbackup("doctor --json").run().exits(0).json();
    assert_eq!(
        (&json["outcome"], &json["problems"]),
        (&"ok".into(), &0.into())
    );
    assert_eq!(everything_in(&world), before);
    world.dbbackup("doctor -q").run().exits(0).silent();
}

#[test]
fn the_command_that_makes_a_configuration_works_as_it_is_told() {
    let world = World::new();
    world.shop("app.db");
    let ran = world
        .dbbackup("--config /dev/null --store store doctor app.db")
        .run()
        .exits(0);
    ran.prints("`dbbackup init` writes one");
    world.dbbackup("init").run().exits(0);
}

#[test]
fn what_stands_around_a_run_is_looked_for() {
    let world = world();
    let config = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let with = |more: &str| {
        world.config(&format!("{config}{more}"));
        world.dbbackup("doctor --json").run()
    };
    let missing = "[log]\nfile = \"no/log\"\n[metrics]\ntextfile = \"no/x.prom\"\n";
    for about in ["log", "metrics"] {
        let found = check(with(missing).exits(0), about, "file", "warning");
        assert!(
            found["remedy"]
                .as_str()
                .unwrap()
                .starts_with("make it: `mkdir -p /"),
            "{found}"
        );
    }
    world.file("no/plain", "");
    check(with(missing).exits(0), "log", "file", "ok");
    check(
        with("[hooks]\nbefore = [\"no-such-program\", \"x\"]\n").exits(1),
        "run",
        "hooks",
        "problem",
    );
    let found = check(
        with("[sources.app.hooks]\nafter = [\"./no/plain\"]\n").exits(1),
        "app",
        "hooks",
        "problem",
    );
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("no/plain` is no program"),
        "{found}"
    );
    check(
        with("[hooks]\non_failure = [\"no-such-program\"]\n").exits(0),
        "run",
        "hooks",
        "warning",
    );
    world.script("hook", "#!/bin/sh\ntouch ran\n");
    for good in ["[\"./hook\"]", "[\"true\"]", "\"touch ran\""] {
        let found = check(
            with(&format!("[hooks]\nbefore = {good}\n")).exits(0),
            "run",
            "hooks",
            "ok",
        );
        assert!(
            found["detail"]
                .as_str()
                .unwrap()
                .starts_with("hooks were not run"),
            "{found}"
        );
    }
    assert!(!world.path("ran").exists());
}

#[test]
fn what_would_fail_is_told_with_its_remedy() {
    let world = world();
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    let ran = world
        .dbbackup("doctor --json")
        .run()
        .exits(1)
        .says("a backup would fail: 1 problem");
    let found = check(ran, "app", "backup", "problem");
    assert!(
        found["detail"].as_str().unwrap().contains("no such file"),
        "{found}"
    );
    assert!(
        found["remedy"].as_str().unwrap().contains("check the path"),
        "{found}"
    );
    world
        .dbbackup("doctor -q")
        .run()
        .exits(1)
        .prints("problem  app")
        .prints("check the path");
    std::fs::rename(world.path("away.db"), world.path("app.db")).unwrap();

    std::fs::remove_dir(world.path("scratch")).unwrap();
    check(
        world.dbbackup("doctor --json").run().exits(1),
        "scratch",
        "place",
        "problem",
    );
    std::fs::create_dir(world.path("scratch")).unwrap();

    let ran = world
        .dbbackup("--store no/such/store doctor --json")
        .run()
        .exits(1);
    assert!(
        check(ran, "store", "place", "problem")["remedy"]
            .as_str()
            .unwrap()
            .contains("is the disk mounted?")
    );
    world.file("store", "a file");
    check(
        world.dbbackup("doctor --json").run().exits(1),
        "store",
        "place",
        "problem",
    );
    std::fs::remove_file(world.path("store")).unwrap();

    world.file("wrong.toml", "[store]\npth = 1\n");
    world
        .dbbackup("-c wrong.toml doctor")
        .run()
        .exits(2)
        .says("wrong.toml");
    std::fs::remove_file(world.path("dbbackup.toml")).unwrap();
    let ran = world.dbbackup("doctor --json").run().exits(1);
    check(ran, "store", "place", "problem");
    let ran = world.dbbackup("--store store doctor --json").run().exits(1);
    assert!(
        check(ran, "sources", "plan", "problem")["detail"]
            .as_str()
            .unwrap()
            .contains("nothing to back up")
    );
    // A path needs no configuration.
    world
        .dbbackup("--store store doctor ./app.db")
        .run()
        .exits(0)
        .prints("a backup would succeed, with 1 warning");
}

#[test]
fn a_store_that_can_not_be_written_to_is_found() {
    if is_root() {
        let world = world();
        world.dbbackup("backup").run().exits(0);
        // Nobody may write into a read-only mount, not even root.
        let store = world.path("store");
        let mounted = |arguments: &[&str]| {
            std::process::Command::new("mount")
                .args(arguments)
                .arg(&store)
                .status()
                .is_ok_and(|status| status.success())
        };
        if !mounted(&["--bind", store.to_str().unwrap()]) {
            return skip("nothing can be mounted here");
        }
        let ran =
            mounted(&["-o", "remount,ro,bind"]).then(|| world.dbbackup("doctor --json").run());
        std::process::Command::new("umount")
            .arg(&store)
            .status()
            .unwrap();
        let found = check(ran.unwrap().exits(1), "store", "file system", "problem");
        assert!(
            found["detail"]
                .as_str()
                .unwrap()
                .contains("read-only file system"),
            "{found}"
        );
    } else {
        let world = world();
        world.dbbackup("backup").run().exits(0);
        set_mode(&world.path("store"), 0o500);
        let found = check(
            world.dbbackup("doctor --json").run().exits(1),
            "store",
            "file system",
            "problem",
        );
        assert!(
            found["detail"]
                .as_str()
                .unwrap()
                .contains("permission denied"),
            "{found}"
        );
        set_mode(&world.path("store"), 0o700);
    }
}

#[test]
fn what_deserves_a_look_is_a_warning() {
    let world = world();
    world.dbbackup("backup").run().exits(0);
    let id = world.ids("app").remove(0);
    let future = world.copy_backup(&id, "manual", Utc::now() + TimeDelta::days(3));
    let found = check(
        world.dbbackup("doctor --json").run().exits(0),
        "clock",
        "time",
        "warning",
    );
    assert!(
        found["detail"].as_str().unwrap().contains(&future),
        "{found}"
    );
    world
        .dbbackup(&format!("delete {future} --yes --force"))
        .run()
        .exits(0);

    std::fs::write(world.path("store/app/stray.sqlite3.gz"), "x").unwrap();
    std::fs::write(
        world.path("store/app/app_manual_20260101T000000Z.json"),
        "{",
    )
    .unwrap();
    let json = world.dbbackup("doctor --json").run().exits(0).json();
    let contents: Vec<&Value> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["check"] == "contents")
        .collect();
    assert_eq!(contents.len(), 2, "{json}");
    set_mode(&world.path("store"), 0o777);
    check(
        world.dbbackup("doctor --json").run().exits(0),
        "store",
        "mode",
        "warning",
    );
    let lock = world.hold_lock("app", "");
    check(
        world.dbbackup("doctor --json").run().exits(0),
        "app",
        "lock",
        "warning",
    );
    drop(lock);
    let secret = world.file("app.env", "A=1\n");
    set_mode(&secret, 0o644);
    let path = world.path("app.db");
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.app]\nkind = \"sqlite\"\npath = {path:?}\nenv_file = \
         \"app.env\"\n[sources.later]\nkind = \"sqlite\"\npath = \"later.db\"\nstart = \
         \"2099-01-01T00:00:00Z\"\n"
    ));
    let found = check(
        world.dbbackup("doctor --json").run().exits(0),
        "app",
        "env_file",
        "warning",
    );
    assert!(
        found["remedy"].as_str().unwrap().starts_with("chmod 0600 "),
        "{found}"
    );
    check(
        world.dbbackup("doctor --json").run().exits(0),
        "later",
        "backup",
        "ok",
    );
}

#[test]
fn a_postgresql_server_is_really_asked() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let ran = shop
        .run("doctor")
        .run()
        .exits(0)
        .prints("2 tables, by pg_dump ")
        .prints("in a throw-away server, PostgreSQL ");
    ran.prints("a backup would succeed");
    let role = format!("doctor_{}", shop.name());
    cluster.sql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    shop.configure_as(&cluster.url_as(&role, shop.name()), "");
    let found = check(
        shop.run("doctor --json").run().exits(1),
        "shop",
        "backup",
        "problem",
    );
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("permission denied"),
        "{found}"
    );
    assert!(
        found["remedy"]
            .as_str()
            .unwrap()
            .contains("pg_read_all_data"),
        "{found}"
    );
    // The rights are there, but a policy hides rows.
    shop.db.sql(&format!(
        "GRANT pg_read_all_data TO {role}; ALTER TABLE orders ENABLE ROW LEVEL SECURITY"
    ));
    let found = check(
        shop.run("doctor --json").run().exits(1),
        "shop",
        "backup",
        "problem",
    );
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("hides rows of public.orders"),
        "{found}"
    );
    shop.run("backup shop").run().exits(1);
    shop.db.sql(&format!("ALTER ROLE {role} BYPASSRLS"));
    shop.run("doctor").run().exits(0);
    shop.run("backup shop").run().exits(0);
    // Somebody holds a lock for the moment.
    let mut other = shop.db.client();
    other.batch_execute("BEGIN; LOCK TABLE orders").unwrap();
    check(
        shop.run("doctor --json").run().exits(0),
        "shop",
        "backup",
        "warning",
    );
    other.batch_execute("ROLLBACK").unwrap();
    shop.configure("");
    cluster.sql("postgres", &format!("DROP ROLE {role}"));

    let bin = shop.programs("clients", &["initdb", "postgres"], &[]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    let found = check(
        shop.run("doctor --json").run().exits(0),
        "shop",
        "drill",
        "warning",
    );
    assert!(
        found["detail"].as_str().unwrap().contains("initdb"),
        "{found}"
    );
    let none = shop.programs("none", &["pg_dump"], &[]);
    shop.configure(&format!("bin_dir = {none:?}"));
    let found = check(
        shop.run("doctor --json").run().exits(1),
        "shop",
        "backup",
        "problem",
    );
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("there is no `pg_dump`"),
        "{found}"
    );
    shop.configure_as("postgresql://127.0.0.1:1/nowhere", "");
    let found = check(
        shop.run("doctor --json").run().exits(1),
        "shop",
        "backup",
        "problem",
    );
    assert!(
        found["detail"].as_str().unwrap().contains("127.0.0.1"),
        "{found}"
    );
}

#[test]
fn every_database_of_a_cluster_is_looked_at() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let url = cluster.url("postgres");
    let source = format!(
        "[sources.all]\nkind = \"postgres\"\nurl = {url:?}\nbin_dir = {:?}\ndatabases = [{:?}, \
         \"gone\"]\nglobals = true\n",
        cluster.bin(),
        shop.name()
    );
    shop.world.config(&format!("{}{source}", shop.head()));
    let ran = shop.run("doctor --json").run().exits(1);
    let text = ran.to_string();
    check(ran, "all.gone", "backup", "problem");
    assert!(
        text.contains("roles and tablespaces, by pg_dumpall")
            && text.contains(&format!("all.{}", shop.name())),
        "{text}"
    );
}
