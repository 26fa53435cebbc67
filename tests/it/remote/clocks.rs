//! A backup that says that it was made later than the store, by its own clock, had it: from a
//! machine whose clock is wrong, or from somebody who wants it to be the newest.

use super::place::configure;
use super::s3::S3Server;
use super::s3_settings;
use crate::moments::next_second;
use crate::support::{World, contents};
use std::fs::File;
use std::time::{Duration, SystemTime};

#[test]
fn what_the_store_had_before_its_date_is_not_the_newest() {
    let (world, server) = (World::new(), S3Server::start());
    let source = "[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n";
    let far = s3_settings("far", &server.endpoint(), "web1");
    let text = format!("[store]\npath = 'store'\n{source}{far}");
    configure(&world, "dbbackup.toml", &text);
    world.shop("app.db");
    world.dbbackup("backup app").run().exits(0);
    world.history("app", "manual", &[40, 30]);
    let ids = world.ids("app");
    world.sql(
        "app.db",
        "INSERT INTO customer(name) VALUES ('the last one')",
    );
    next_second();
    world.dbbackup("backup app").run().exits(0);
    let ahead = world.ids("app").remove(0);
    world.dbbackup("copy app --to far --missing").run().exits(0);
    // The time of a file is the server's time of the object.
    let sidecar = server.bucket_path().join(format!("web1/app/{ahead}.json"));
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    File::open(sidecar).unwrap().set_modified(long_ago).unwrap();

    world
        .dbbackup("--store far status app")
        .run()
        .prints(&format!("{ahead} is dated ahead"));
    let restored = world
        .dbbackup("--store far restore app --to out.db")
        .run()
        .exits(0);
    restored.says(&format!(
        "{ahead} is newer, but dated later than its store had it"
    ));
    assert_ne!(
        contents(&world.path("out.db")),
        contents(&world.path("app.db"))
    );
    let cleaned = world
        .dbbackup("--store far cleanup app --keep-last 1 --dry-run --json")
        .run()
        .exits(0)
        .json();
    let kept = cleaned["kept"].as_array().unwrap();
    let kept: Vec<&str> = kept
        .iter()
        .map(|kept| kept["id"].as_str().unwrap())
        .collect();
    assert_eq!(kept, [ahead.as_str(), ids[0].as_str()]);
    assert!(
        cleaned["kept"][0]["reasons"][0]
            .as_str()
            .unwrap()
            .contains("later than its store")
    );
    // By its name it is as good as any.
    world
        .dbbackup(&format!("--store far restore {ahead} --to named.db"))
        .run()
        .exits(0);
    assert_eq!(
        contents(&world.path("named.db")),
        contents(&world.path("app.db"))
    );
}
