//! A store that the first version with this format made (`tests/golden/make-store`): every later
//! version lists it, verifies it, restores it and cleans it up. Never make it anew; a new format
//! gets a store beside it.

use crate::cluster::Cluster;
use crate::support::World;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Every backup and attempt of the store, with its status.
const BACKUPS: &[(&str, &str)] = &[
    ("all-globals_daily_20261126T153132Z", "ok"),
    ("all.postgres_daily_20261126T153132Z", "ok"),
    ("all.shop_daily_20261126T153132Z", "ok"),
    ("app_daily_20261126T153131Z", "ok"),
    ("app_daily_20261126T153131Z-2", "ok"),
    ("app_daily_20261126T153132Z", "ok"),
    ("app_daily_20261126T153133Z", "failed"),
    ("app_damaged_20261126T153133Z", "ok"),
    ("app_weekly_20261126T153131Z", "ok"),
    ("plain_daily_20261126T153132Z", "ok"),
    ("shop_daily_20261126T153132Z", "ok"),
    ("shop_daily_20261126T153132Z-2", "ok"),
    ("uploads_daily_20261126T153131Z", "ok"),
    ("uploads_daily_20261126T153132Z", "ok"),
    ("uploads_daily_20261126T153133Z", "partial"),
];

const APP: &str = "app_daily_20261126T153132Z";

/// A world with a copy of the store.
fn world() -> World {
    let world = World::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
    let copied = Command::new("cp")
        .arg("-r")
        .args([golden, world.path("store")])
        .status()
        .unwrap();
    assert!(copied.success());
    world
}

/// The one value that a query gives.
fn query(world: &World, file: &str, sql: &str) -> String {
    let conn = rusqlite::Connection::open(world.path(file)).unwrap();
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn it_is_listed_as_it_was_left() {
    let world = world();
    let listed = world
        .with_store("list --status all --json")
        .run()
        .exits(0)
        .json();
    let found: BTreeMap<&str, &str> = listed["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| {
            (
                backup["id"].as_str().unwrap(),
                backup["status"].as_str().unwrap(),
            )
        })
        .collect();
    // A dump that a verification has found damaged is `ok` in its sidecar, which never changes.
    assert_eq!(found, BACKUPS.iter().copied().collect());
    assert_eq!(listed["unreadable"].as_array().map(Vec::len), Some(0));
    let backup = |id: &str| {
        let backups = listed["backups"].as_array().unwrap();
        backups
            .iter()
            .find(|backup| backup["id"] == id)
            .unwrap()
            .clone()
    };
    let weekly = BACKUPS
        .iter()
        .find(|(id, _)| id.starts_with("app_weekly_"))
        .unwrap()
        .0;
    assert_eq!(backup(weekly)["pinned"], true);
    assert_eq!(backup(weekly)["description"], "before the move");
    assert_eq!(backup(weekly)["tags"]["ticket"], "42");
    for (id, _) in BACKUPS.iter().filter(|(id, _)| id.starts_with("shop_")) {
        assert_eq!(backup(id)["pinned"], false, "{id}");
    }
    for (id, status) in BACKUPS {
        let is_good = *status == "ok" && !id.starts_with("app_damaged_");
        assert_eq!(backup(id)["good"], is_good, "{id}");
        world.with_store(&format!("show {id}")).run().exits(0);
    }
}

#[test]
fn what_is_good_is_proven_and_what_is_damaged_is_found() {
    let world = world();
    for (id, status) in BACKUPS.iter().filter(|(_, status)| *status != "failed") {
        let needs_server_programs = ["all.", "plain_", "shop_"]
            .iter()
            .any(|name| id.starts_with(name));
        if needs_server_programs && Cluster::shared().is_none() {
            continue;
        }
        let code = match *status {
            _ if id.starts_with("app_damaged_") => 4,
            _ => 0,
        };
        let ran = world
            .with_store(&format!("verify {id} --level content --json"))
            .run();
        let ran = ran.exits(code);
        assert_eq!(ran.json()["results"][0]["id"], *id);
    }
}

#[test]
fn databases_and_files_come_back() {
    let world = world();
    for (at, (id, _)) in BACKUPS.iter().enumerate() {
        if !id.starts_with("app_daily_") && !id.starts_with("app_weekly_") || BACKUPS[at].1 != "ok"
        {
            continue;
        }
        let file = format!("{at}.db");
        world
            .with_store(&format!("restore {id} --to {file}"))
            .run()
            .exits(0);
        let rows = query(
            &world,
            &file,
            "SELECT count(*) || '|' || max(name) FROM users",
        );
        assert_eq!(rows, "300|user 99", "{id}");
        assert_eq!(
            query(&world, &file, "SELECT count(*) || '' FROM \"odd \"\"name\""),
            "2",
            "{id}"
        );
    }
    for (at, (id, _)) in BACKUPS
        .iter()
        .enumerate()
        .filter(|(_, (id, _))| id.starts_with("uploads_"))
    {
        world
            .with_store(&format!("restore {id} --to tree{at} --no-owner --yes"))
            .run()
            .exits(0);
        let read = |name: &str| {
            std::fs::read_to_string(world.path(&format!("tree{at}/srv/golden/tree/{name}")))
                .unwrap()
        };
        assert_eq!(
            (read("one.txt").as_str(), read("below/two.txt").as_str()),
            ("one\n", "two\n")
        );
        assert_eq!(read("sparse-not.bin").len(), 20000);
    }
}

#[test]
fn a_postgres_database_comes_back() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let world = world();
    cluster.sql(
        "postgres",
        "DO $$ BEGIN CREATE ROLE golden; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    for (at, (id, _)) in BACKUPS.iter().enumerate() {
        if !["all.shop_", "plain_", "shop_"]
            .iter()
            .any(|name| id.starts_with(name))
        {
            continue;
        }
        let name = format!("golden_{at}_{}", std::process::id());
        let to = cluster.url(&name);
        world
            .dbbackup_with(&["--store", "store", "restore", id, "--to", &to])
            .run()
            .exits(0);
        assert_eq!(
            cluster.value(&name, "SELECT count(*) FROM orders WHERE state = 'paid'"),
            "100"
        );
        cluster.sql(
            "postgres",
            &format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
        );
    }
}

#[test]
fn it_is_cleaned_up() {
    let world = world();
    world.with_store("cleanup --keep-last 1").run().exits(0);
    let left = world.with_store("list --json").run().exits(0).json();
    let left: Vec<&str> = left["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| backup["id"].as_str().unwrap())
        .collect();
    assert!(left.contains(&APP), "{left:?}");
    assert!(
        left.iter().any(|id| id.starts_with("app_weekly_")),
        "the pinned one: {left:?}"
    );
    let removed = BACKUPS.iter().filter(|(id, _)| !left.contains(id)).count();
    assert!(removed >= 3, "{left:?}");
    assert_eq!(world.debris("app"), [] as [&str; 0]);
}
