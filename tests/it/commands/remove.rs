//! `delete`, `pin` and `unpin`.

use crate::support::World;

fn three() -> (World, Vec<String>) {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    world.history("app", "daily", &[5, 50]);
    let ids = world.ids("");
    (world, ids)
}

#[test]
fn delete_takes_whole_ids_and_a_yes() {
    let (world, ids) = three();
    world
        .with_store(&format!("delete {}", ids[1]))
        .run()
        .exits(2)
        .says("needs a yes")
        .says("`--yes`");
    for wrong in [
        "app",
        "app@latest",
        "app_daily",
        &ids[1][..ids[1].len() - 1],
    ] {
        world
            .with_store(&format!("delete {wrong} --yes"))
            .run()
            .exits(10)
            .says("whole ids only");
    }
    // One that is wrong, and none is deleted.
    world
        .with_store(&format!("delete {} nothing --yes", ids[1]))
        .run()
        .exits(10);
    assert_eq!(world.ids("").len(), 3);
    let json = world
        .with_store(&format!("delete {} --yes --json", ids[1]))
        .run()
        .exits(0)
        .json();
    assert_eq!(json["deleted"], serde_json::json!([ids[1]]));
    assert!(json["total_size_freed"].as_u64().unwrap() > 0);
    assert_eq!(world.ids(""), [ids[0].clone(), ids[2].clone()]);
    assert_eq!(
        (
            world.stored("app", &ids[1]).len(),
            world.stored("app", ".gz").len()
        ),
        (0, 2),
        "the dump is gone as well"
    );
    world.with_store("delete --yes").run().exits(2);
}

#[test]
fn the_last_good_one_and_pinned_ones_need_force() {
    let (world, ids) = three();
    world
        .with_store(&format!("pin {}", ids[2]))
        .run()
        .exits(0)
        .prints(&format!("pinned {}", ids[2]));
    world
        .with_store(&format!("delete {} --yes", ids[2]))
        .run()
        .exits(2)
        .says("is pinned")
        .says("--force");
    world
        .with_store(&format!("delete {} {} {} --yes", ids[0], ids[1], ids[2]))
        .run()
        .exits(2);
    world
        .with_store(&format!("unpin {}", ids[2]))
        .run()
        .exits(0);
    // All of them is the last one, too.
    world
        .with_store(&format!("delete {} {} {} --yes", ids[0], ids[1], ids[2]))
        .run()
        .exits(2)
        .says("the last good backup");
    assert_eq!(world.ids("").len(), 3);
    world
        .with_store(&format!("delete {} {} {} --yes", ids[0], ids[1], ids[1]))
        .run()
        .exits(0);
    world
        .with_store(&format!("delete {} --yes", ids[2]))
        .run()
        .exits(2)
        .says("is the last good backup of `app`");
    world
        .with_store(&format!("delete {} --yes --force", ids[2]))
        .run()
        .exits(0);
    assert_eq!(world.ids("--status all"), [""; 0]);
}

#[test]
fn a_backup_whose_pin_may_be_lost_needs_force() {
    let (world, ids) = three();
    world.damaged_event(&ids[2]);
    world
        .with_store(&format!("delete {} --yes", ids[2]))
        .run()
        .exits(2)
        .says("may have been pinned");
    world
        .with_store(&format!("delete {} --yes --force", ids[2]))
        .run()
        .exits(0);
    assert!(world.events(&ids[2]).is_empty());
}

#[test]
fn a_backup_being_read_is_not_deleted_under_its_reader() {
    let (world, ids) = three();
    let dump = std::fs::File::open(
        world
            .path("store/app")
            .join(format!("{}.sqlite3.gz", ids[2])),
    )
    .unwrap();
    dump.lock_shared().unwrap();
    world
        .with_store(&format!("delete {} --yes", ids[2]))
        .run()
        .exits(11)
        .says("is being read right now");
    drop(dump);
    world
        .with_store(&format!("delete {} --yes", ids[2]))
        .run()
        .exits(0);
}

#[test]
fn pins_are_shown_kept_and_taken_back() {
    let (world, ids) = three();
    let json = world
        .with_store(&format!("pin app {} --json", ids[2]))
        .run()
        .exits(0)
        .json();
    assert_eq!(json["ids"], serde_json::json!([ids[0], ids[2]]));
    world.with_store("list").run().exits(0).prints("pinned");
    let pinned = |at: usize| {
        world
            .with_store(&format!("show {} --json", ids[at]))
            .run()
            .exits(0)
            .json()["backup"]["pinned"]
            .clone()
    };
    assert_eq!(
        (pinned(0), pinned(1), pinned(2)),
        (true.into(), false.into(), true.into())
    );
    // A verification adds to the state, and takes nothing from it.
    world
        .with_store(&format!("verify --level checksum {}", ids[2]))
        .run()
        .exits(0);
    assert_eq!(pinned(2), true);
    // Pinning twice is pinning; pins do not change a sidecar.
    let before = std::fs::read(world.sidecar_path(&ids[2])).unwrap();
    world.with_store(&format!("pin {}", ids[2])).run().exits(0);
    world
        .with_store("cleanup --keep-last 0 --min-keep 0")
        .run()
        .exits(0);
    assert_eq!(world.ids(""), [ids[0].clone(), ids[2].clone()]);
    world
        .with_store(&format!("unpin {}", ids[2]))
        .run()
        .exits(0);
    assert!(std::fs::read(world.sidecar_path(&ids[2])).unwrap() == before);
    world
        .with_store("cleanup --keep-last 0 --min-keep 0")
        .run()
        .exits(0);
    assert_eq!(world.ids(""), [ids[0].clone()]);
    world.with_store("pin nothing").run().exits(10);
    world.with_store("unpin").run().exits(2);
}
