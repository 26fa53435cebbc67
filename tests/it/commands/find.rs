//! BACKUP: every way of saying which backup is meant.

use crate::support::World;
use chrono::{TimeDelta, Utc};
use std::io::Write;

/// A shop with a backup of now, and four older ones.
fn years() -> (World, Vec<String>) {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let mut ids = world.ids("app");
    ids.extend(world.history("app", "daily", &[3, 27]));
    ids.extend(world.history("app", "weekly", &[24 * 8]));
    ids.extend(world.history("app", "pre-restore", &[1]));
    (world, ids)
}

/// The id that `show` finds.
fn shown(world: &World, wanted: &str) -> String {
    let json = world
        .dbbackup_with(&["--store", "store", "show", wanted, "--json"])
        .run()
        .exits(0)
        .json();
    json["backup"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn ids_and_their_beginnings() {
    let (world, ids) = years();
    for id in &ids {
        assert_eq!(shown(&world, id), *id);
    }
    assert_eq!(shown(&world, "app_weekly"), ids[3]);
    assert_eq!(shown(&world, &ids[1][..ids[1].len() - 2]), ids[1]);
    world
        .with_store("show app_daily")
        .run()
        .exits(2)
        .says("`app_daily` is the beginning of 2 ids")
        .says("write more of the id");
    world
        .with_store("show app_")
        .run()
        .exits(2)
        .says("beginning of 5 ids");
    world
        .with_store("show nothing")
        .run()
        .exits(10)
        .says("no backup or source is called `nothing`")
        .says("`app`");
    // An unset variable chooses nothing, even where there is only one to choose.
    let one = World::new();
    one.shop("app.db");
    one.with_store("backup app.db").run().exits(0);
    for command in ["show", "verify", "pin"] {
        one.dbbackup_with(&["--store", "store", command, ""])
            .run()
            .exits(2)
            .says("is empty");
    }
    one.dbbackup_with(&["--store", "store", "restore", "", "--yes"])
        .run()
        .exits(2)
        .says("is empty");
}

#[test]
fn sources_and_moments() {
    let (world, ids) = years();
    // What a restore has set aside is only meant by its id.
    assert_eq!(shown(&world, "app"), ids[0]);
    assert_eq!(shown(&world, "app@latest"), ids[0]);
    assert_eq!(shown(&world, "app@latest:daily"), ids[1]);
    assert_eq!(shown(&world, "app@latest:weekly"), ids[3]);
    assert_eq!(shown(&world, "app@2h"), ids[1], "the newest at or before");
    assert_eq!(shown(&world, "app@1d"), ids[2]);
    assert_eq!(shown(&world, "app@1w"), ids[3]);
    let day = |days: i64| {
        (Utc::now() - TimeDelta::days(days))
            .format("%Y-%m-%d")
            .to_string()
    };
    assert_eq!(shown(&world, &format!("app@{}", day(4))), ids[3]);
    assert_eq!(shown(&world, &format!("app@{} 23:59", day(4))), ids[3]);
    assert_eq!(shown(&world, &format!("app@{}T12:00:00Z", day(4))), ids[3]);
    // At the very second is at.
    let at = world.sidecar(&ids[2])["started_at"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(shown(&world, &format!("app@{at}")), ids[2]);
    world
        .with_store("show app@1y")
        .run()
        .exits(10)
        .says("at or before");
    world
        .with_store("show app@latest:hourly")
        .run()
        .exits(10)
        .says("has the label `hourly`");
    world
        .with_store("show app@whenever")
        .run()
        .exits(2)
        .says("`whenever` is not a time");
    world
        .with_store("show web@latest")
        .run()
        .exits(10)
        .says("`web`");
}

#[test]
fn a_date_is_the_local_one() {
    let (world, _) = years();
    let id = world.copy_backup(
        &world.ids("app")[0],
        "noon",
        "2026-01-15T02:30:00Z".parse().unwrap(),
    );
    // 02:30 UTC is 04:30 in a zone two hours ahead.
    let show = |when: &str| {
        let wanted = format!("app@2026-01-15 {when}");
        world
            .dbbackup_with(&["--store", "store", "show", &wanted])
            .env("TZ", "XXX-2")
            .run()
    };
    show("04:29").exits(10);
    show("04:30").exits(0).prints(&id);
}

#[test]
fn a_future_moment_is_the_newest() {
    let (world, ids) = years();
    assert_eq!(shown(&world, "app@2999-01-01"), ids[0]);
}

#[test]
fn paths_of_dumps_and_sidecars() {
    let (world, ids) = years();
    for file in [
        format!("store/app/{}.json", ids[1]),
        format!("store/app/{}.sqlite3.gz", ids[1]),
    ] {
        assert_eq!(shown(&world, &file), ids[1]);
        assert_eq!(shown(&world, world.path(&file).to_str().unwrap()), ids[1]);
        world
            .dbbackup(&format!("verify ./{file}"))
            .run()
            .exits(0)
            .prints(&ids[1]);
        world
            .dbbackup(&format!("restore {file} --to back.db --yes"))
            .run()
            .exits(0);
    }
    world
        .dbbackup("restore store/app --to x.db")
        .run()
        .exits(2)
        .says("is a directory");
    world
        .dbbackup("show ./store/app/gone.gz")
        .run()
        .exits(10)
        .says("gone.gz");
}

#[test]
fn a_backup_copied_out_of_its_store_is_still_proven() {
    let (world, ids) = years();
    std::fs::create_dir(world.path("usb")).unwrap();
    for ending in ["json", "sqlite3.gz"] {
        let name = format!("{}.{ending}", ids[0]);
        std::fs::copy(
            world.path("store/app").join(&name),
            world.path("usb").join(&name),
        )
        .unwrap();
    }
    world
        .dbbackup(&format!("verify usb/{}.sqlite3.gz", ids[0]))
        .run()
        .exits(0)
        .prints("2 tables, 1,100 rows as at the backup");
    let names: Vec<_> = std::fs::read_dir(world.path("usb")).unwrap().collect();
    assert_eq!(
        names.len(),
        2,
        "nothing is written beside the copy: {names:?}"
    );
    // Without the sidecar it restores by its extensions, to where it is said.
    std::fs::remove_file(world.path("usb").join(format!("{}.json", ids[0]))).unwrap();
    let dump = format!("usb/{}.sqlite3.gz", ids[0]);
    world
        .dbbackup(&format!("restore {dump}"))
        .run()
        .exits(2)
        .says("has no sidecar")
        .says(&format!("restore {dump} --to PATH"));
    world
        .dbbackup(&format!("restore {dump} --to back.db"))
        .run()
        .exits(0);
    assert_eq!(
        crate::support::contents(&world.path("back.db")),
        crate::support::contents(&world.path("app.db"))
    );
    world
        .dbbackup(&format!("show {dump}"))
        .run()
        .exits(10)
        .says("has no sidecar");
}

#[test]
fn other_tools_dumps_restore_by_their_extensions() {
    let world = World::new();
    let database = world.shop("live.db");
    let content = std::fs::read(&database).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&content).unwrap();
    std::fs::write(world.path("a.sqlite3.gz"), gzip.finish().unwrap()).unwrap();
    std::fs::write(
        world.path("b.db.zst"),
        zstd::encode_all(&content[..], 3).unwrap(),
    )
    .unwrap();
    std::fs::write(world.path("c.sqlite3"), &content).unwrap();
    std::fs::write(world.path("d.db"), &content).unwrap();
    std::fs::write(world.path("e.backup"), &content).unwrap();
    for (number, dump) in [
        "a.sqlite3.gz",
        "b.db.zst",
        "c.sqlite3",
        "d.db",
        "./e.backup",
    ]
    .iter()
    .enumerate()
    {
        world
            .dbbackup(&format!("restore {dump} --to back{number}.db"))
            .run()
            .exits(0);
        assert_eq!(
            crate::support::contents(&world.path(&format!("back{number}.db"))),
            crate::support::contents(&database),
            "{dump}"
        );
        world
            .dbbackup(&format!("verify {dump}"))
            .run()
            .exits(0)
            .prints("nothing to compare them with");
        // There is nothing that a checksum could be compared with: that proves nothing.
        world
            .dbbackup(&format!("verify {dump} --level checksum"))
            .run()
            .exits(1)
            .says("no sidecar");
    }
    // Several members one after another are one gzip file.
    let (one, two) = content.split_at(5000);
    let mut members = Vec::new();
    for part in [one, two] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(part).unwrap();
        members.extend(gzip.finish().unwrap());
    }
    std::fs::write(world.path("m.sqlite3.gz"), members).unwrap();
    world
        .dbbackup("restore m.sqlite3.gz --to members.db")
        .run()
        .exits(0);
    assert_eq!(
        crate::support::contents(&world.path("members.db")),
        crate::support::contents(&database)
    );
    // What is cut off, or is something else, is never put in place.
    let whole = std::fs::read(world.path("a.sqlite3.gz")).unwrap();
    std::fs::write(world.path("cut.sqlite3.gz"), &whole[..whole.len() - 9]).unwrap();
    world
        .dbbackup("restore cut.sqlite3.gz --to cut.db")
        .run()
        .exits(4)
        .says("nothing was touched");
    world.file("text.sqlite3", "hello");
    world
        .dbbackup("restore text.sqlite3 --to text.db")
        .run()
        .exits(4)
        .says("not a SQLite database");
    world.file("x.tar.zst", "x");
    world
        .dbbackup("restore x.tar.zst --to x.dir")
        .run()
        .exits(4)
        .says("zstd");
    // A PostgreSQL dump goes to a database.
    world.file("x.dump", "x");
    world
        .dbbackup("restore x.dump --to ./x.db")
        .run()
        .exits(2)
        .says("a database's name");
    world
        .dbbackup("restore a.sqlite3.gz --to y.db --no-owner")
        .run()
        .exits(2)
        .says("PostgreSQL");
    world.file("x.sqlite3.gz.age", "x");
    world
        .dbbackup("restore x.sqlite3.gz.age --to x.db")
        .run()
        .exits(1)
        .says("is encrypted, and no private key is given")
        .says("--identity FILE");
    assert!(
        ["cut.db", "text.db", "x.db"]
            .iter()
            .all(|name| !world.path(name).exists())
    );
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn a_file_of_a_sources_name_is_not_taken_for_its_backup() {
    let world = World::new();
    world.shop("app");
    world.with_store("backup app").run().exits(0);
    let id = world.ids("").remove(0);
    assert_eq!(shown(&world, "app"), id);
    assert_eq!(shown(&world, "app@latest"), id);
    world.with_store("verify app").run().exits(0).prints(&id);
    // With a slash it is the file.
    world
        .with_store("verify ./app")
        .run()
        .exits(0)
        .prints("nothing to compare");
}

#[test]
fn a_failed_attempt_is_no_backup() {
    let world = World::new();
    world.shop("app.db");
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n");
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    world.with_store("backup").run().exits(1);
    let failed = world.ids("--status failed").remove(0);
    world
        .with_store(&format!("restore {failed} --to x.db"))
        .run()
        .exits(1)
        .says("is a failed attempt");
    world
        .with_store(&format!("verify {failed}"))
        .run()
        .exits(1)
        .says("is a failed attempt");
    world
        .with_store("restore app --to x.db")
        .run()
        .exits(10)
        .says("`app` has no good backup");
    world
        .with_store("verify")
        .run()
        .exits(10)
        .says("error: app: it has no backup\nhint: `dbbackup --store store backup app`");
}
