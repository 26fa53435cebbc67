//! Several stores: where each backup is, and what is told of copies.

use crate::support::World;

/// A machine with a store, and two for copies of which `away` is a directory that is not there.
fn world() -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'usb'\n[stores.away]\npath = 'no/where'\n\
         [backup]\ncopies = ['usb', 'away']\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
    );
    world
}

/// The only id in the list.
fn only_id(world: &World) -> String {
    let list = world.dbbackup("list --json").run().exits(0).json();
    list["backups"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_of_all_stores_says_where_each_backup_is() {
    let world = world();
    world.dbbackup("backup").run().exits(3);
    let id = only_id(&world);
    world
        .dbbackup("list --all-stores")
        .run()
        .exits(3)
        .prints("STORES")
        .prints(&id)
        .prints("main, usb")
        .says("the store `away` can't be read");
    let list = world.dbbackup("list --all-stores --json").run().exits(3);
    let list = list.json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 1);
    let backup = &list["backups"][0];
    assert_eq!(backup["stores"], serde_json::json!(["main", "usb"]));
    let copies = backup["copies"].as_array().unwrap();
    let told = copies.iter().map(|copy| copy["store"].as_str().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), ["away", "usb"]);
    assert!(copies[0]["error"].is_string() && copies[1]["error"].is_null());
    let names = list["stores"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|store| store["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["main", "away", "usb"]);
    assert!(list["stores"][1]["error"].is_string());
    // A source that has only copies is there, too.
    std::fs::remove_dir_all(world.path("store/app")).unwrap();
    let list = world.dbbackup("list app --all-stores --json").run().json();
    assert_eq!(list["backups"][0]["stores"], serde_json::json!(["usb"]));
    world.dbbackup("list --store main").run().exits(0);
    // None can be read.
    std::fs::remove_dir_all(world.path("store")).unwrap();
    std::fs::remove_dir_all(world.path("usb")).unwrap();
    world.dbbackup("list --all-stores").run().exits(10);
}

#[test]
fn two_backups_of_one_id_are_told_apart() {
    let world = world();
    world.dbbackup("backup").run().exits(3);
    let id = only_id(&world);
    let sidecar = world.path("usb/app").join(format!("{id}.json"));
    let text = std::fs::read_to_string(&sidecar).unwrap();
    std::fs::write(
        &sidecar,
        text.replace("\"label\": \"manual\"", "\"label\": \"daily\""),
    )
    .unwrap();
    world
        .dbbackup("list --all-stores")
        .run()
        .exits(3)
        .prints("main holds another backup of this id")
        .prints("usb holds another backup of this id");
}

#[test]
fn show_says_where_copies_are() {
    let world = world();
    world.dbbackup("backup").run().exits(3);
    world
        .dbbackup("show app")
        .run()
        .exits(0)
        .prints("to usb, ")
        .prints("not copied")
        .prints("to away, ");
}

#[test]
fn status_judges_the_stores_of_copies() {
    let world = world();
    world.dbbackup("backup").run().exits(3);
    world
        .dbbackup("status --prometheus status.prom")
        .run()
        .exits(1)
        .prints("(away)")
        .prints("unreachable: ")
        .prints("the last copy to `away` failed ")
        .says("doctor --store away");
    let metrics = std::fs::read_to_string(world.path("status.prom")).unwrap();
    let gauge = |name: &str, store: &str| {
        let place = world.path(store).display().to_string();
        let start = format!("{name}{{store=\"{place}\"");
        let line = metrics.lines().find(|line| line.starts_with(&start));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    let reachable = |store: &str| gauge("dbbackup_store_reachable", store);
    assert_eq!(reachable("usb").as_deref(), Some("1"), "{metrics}");
    assert_eq!(reachable("no/where").as_deref(), Some("0"));
    let newest = |store: &str| gauge("dbbackup_copy_newest_timestamp_seconds", store);
    assert!(newest("usb").is_some() && newest("no/where").is_none());
    world
        .dbbackup("status --nagios")
        .run()
        .exits(1)
        .prints("away: unreachable: ")
        .prints("app: the last copy to `away` failed ");
    let status = world.dbbackup("status --json").run().exits(1).json();
    assert_eq!(status["stores"][0]["name"], "away");
    assert_eq!(status["stores"][0]["reachable"], false);
    assert_eq!(status["stores"][1]["reachable"], true);
    let copies = &status["sources"][0]["copies"];
    assert_eq!(
        (&copies[0]["waiting"], &copies[1]["waiting"]),
        (&true.into(), &false.into())
    );
    // Of a store that holds copies no copies are expected.
    world.dbbackup("--store usb status").run().exits(0);
}
