//! `init`: what it finds, what it writes, and that all of it works at once.

use crate::cluster::Cluster;
use crate::support::World;
use std::os::unix::fs::PermissionsExt;

fn nasty(world: &World) -> Vec<std::path::PathBuf> {
    std::fs::create_dir_all(world.path("srv/app one")).unwrap();
    std::fs::create_dir_all(world.path("srv/node_modules")).unwrap();
    world.file("srv/not.db", &"no database ".repeat(100));
    world.shop("srv/node_modules/cached.db");
    std::fs::create_dir(world.path("srv/.browser")).unwrap();
    world.shop("srv/.browser/cookies.db");
    world.database("srv/wal.db", "PRAGMA journal_mode = wal; CREATE TABLE t(x)");
    // What restores have set aside.
    world.shop("srv/app.db.before-20261120T031500Z");
    world.shop("srv/wal.db.before-20261120T031500Z-2");
    std::fs::create_dir(world.path("srv/tree.before-20261120T031500Z")).unwrap();
    world.shop("srv/tree.before-20261120T031500Z/inner.db");
    std::os::unix::fs::symlink("wal.db", world.path("srv/link.db")).unwrap();
    [
        "srv/app one/app.db",
        "srv/app.db",
        "srv/${HOME} \"q\" \\ 'x'.sqlite",
        "srv/without-an-ending",
    ]
    .map(|name| world.shop(name))
    .to_vec()
}

#[test]
fn what_is_written_works_at_once() {
    let world = World::new();
    let mut paths = nasty(&world);
    paths.push(world.path("srv/wal.db"));
    let ran = world.dbbackup("init srv --store store").run().exits(0);
    let config = world.path("dbbackup.toml");
    let ran = ran.prints("5 sources").prints(&format!(
        "15 2 * * *  {} --config ",
        env!("CARGO_BIN_EXE_dbbackup")
    ));
    ran.prints(&format!(
        "dbbackup --config {} schedule install",
        config.display()
    ))
    .prints(&format!("dbbackup --config {} doctor", config.display()));
    assert_eq!(
        std::fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let planned = world
        .dbbackup("backup --dry-run --json")
        .run()
        .exits(0)
        .json();
    let mut found: Vec<&str> = planned["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["from"].as_str().unwrap())
        .collect();
    let mut expected: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    world.dbbackup("doctor").run().exits(0);
    world.dbbackup("backup").run().exits(0).prints("5 of 5");
    // The store is not searched: what is in it is no database of an application.
    let again = world
        .dbbackup("init . --config again.toml --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(again["sources"].as_array().unwrap().len(), 5, "{again}");
}

/// SQLite makes files beside a database that is read: the unit must be allowed to.
#[test]
fn the_unit_may_write_to_the_databases_directories() {
    let world = World::new();
    for dir in ["one", "two", "two/deeper"] {
        std::fs::create_dir(world.path(dir)).unwrap();
        world.shop(&format!("{dir}/{}.db", dir.replace('/', "-")));
    }
    std::fs::create_dir(world.path("backups")).unwrap();
    world.dbbackup("init --store backups/store").run().exits(0);
    let json = world
        .dbbackup("schedule install --systemd --dry-run --json")
        .run()
        .exits(0)
        .json();
    let files = json["files"].as_array().unwrap();
    let texts = files.iter().map(|file| file["text"].as_str().unwrap());
    let service = texts
        .into_iter()
        .find(|text| text.contains(" backup --label "))
        .unwrap();
    if !crate::support::is_root() {
        return;
    }
    let paths = service
        .lines()
        .filter_map(|line| line.strip_prefix("ReadWritePaths=-"));
    let [one, store, two] =
        ["one", "backups/store", "two"].map(|dir| world.path(dir).display().to_string());
    let mut expected = [store, one, two];
    expected.sort_unstable();
    let paths: Vec<&str> = paths.filter(|path| *path != "/var/tmp").collect();
    assert_eq!(paths, expected, "{service}");
}

/// Whatever the line is called with, cron's shell must get it.
#[test]
fn the_line_for_cron_runs() {
    let world = World::new();
    world.shop("app.db");
    std::fs::create_dir(world.path("a dir's 50%")).unwrap();
    let json = world
        .dbbackup_with(&[
            "init",
            "--config",
            "a dir's 50%/c.toml",
            "--store",
            "store",
            "--json",
        ])
        .run()
        .exits(0)
        .json();
    let line = json["crontab"][0].as_str().unwrap().to_owned();
    let command = line.splitn(6, ' ').nth(5).unwrap().replace("\\%", "%");
    let ran = std::process::Command::new("sh")
        .args(["-c", &command])
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(ran.stdout.is_empty() && ran.stderr.is_empty());
    assert!(world.ids("app")[0].starts_with("app_nightly_"));
}

#[test]
fn nothing_is_overwritten_and_nothing_is_made_of_nothing() {
    let world = World::new();
    world.shop("app.db");
    world.file("dbbackup.toml", "mine");
    world
        .dbbackup("init")
        .run()
        .exits(2)
        .says("is there already")
        .says("--config FILE");
    assert_eq!(
        std::fs::read_to_string(world.path("dbbackup.toml")).unwrap(),
        "mine"
    );
    world
        .dbbackup("init --config no/such/dir/c.toml")
        .run()
        .exits(2)
        .says("mkdir");
    world
        .dbbackup("init --config -")
        .run()
        .exits(2)
        .says("`--config -` names no file");
    assert!(!world.path("-").exists());
    world
        .dbbackup("init nowhere --config c.toml")
        .run()
        .exits(2)
        .says("is not a directory");
    std::fs::create_dir(world.path("empty")).unwrap();
    let nothing = world
        .dbbackup("init empty --config c.toml")
        .env("PGHOST", "/nonexistent");
    nothing
        .run()
        .exits(10)
        .says("no SQLite database is in")
        .says("the PG… variables name is left out");
    assert!(!world.path("c.toml").exists());
}

/// A package's configuration gives way, as nothing is set there; a link to it does not.
#[test]
fn a_configuration_in_which_nothing_is_set_gives_way() {
    let world = World::new();
    world.shop("app.db");
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/package/config.toml");
    std::fs::copy(installed, world.path("dbbackup.toml")).unwrap();
    std::os::unix::fs::symlink("dbbackup.toml", world.path("link.toml")).unwrap();
    world
        .dbbackup("init --config link.toml")
        .run()
        .exits(2)
        .says("is there already");
    world.dbbackup("init --store store").run().exits(0);
    let mode = std::fs::metadata(world.path("dbbackup.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    world.dbbackup("backup").run().exits(0);
    world
        .dbbackup("init --store store")
        .run()
        .exits(2)
        .says("is there already");
}

#[test]
fn postgresql_servers_are_asked() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let world = World::new();
    let db = cluster.database("init");
    db.sql("CREATE TABLE t AS SELECT 1 AS x");
    let on_server = |arguments: &str| {
        let call = world
            .dbbackup(arguments)
            .env("PGHOST", cluster.socket_dir().to_str().unwrap());
        call.env("PGPORT", &cluster.port().to_string())
            .env("PGUSER", cluster.superuser())
    };
    on_server("init --config one.toml --store store")
        .env("PGDATABASE", &db.name)
        .run()
        .exits(0)
        .prints(&db.name);
    // It says everything itself: the variables are not needed any more.
    let made = world
        .dbbackup("-c one.toml backup --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(made["database"]["name"], db.name.as_str());
    on_server("init --config all.toml --store store")
        .run()
        .exits(0)
        .prints("all databases of PostgreSQL");
    world
        .dbbackup("-c all.toml backup --dry-run")
        .run()
        .exits(0)
        .prints(&format!("cluster.{}_manual", db.name))
        .prints("cluster-globals_manual");
    let url = db.url();
    world
        .dbbackup("init --config url.toml --store store")
        .env("DATABASE_URL", &url)
        .env("PGHOST", "/nonexistent")
        .run()
        .exits(0);
    world
        .dbbackup("-c url.toml backup --dry-run")
        .run()
        .exits(0)
        .prints(&db.name);
    let secret = url.replacen("@", ":hunter2@", 1);
    if secret != url {
        let ran = world
            .dbbackup("init --config secret.toml --store store")
            .env("DATABASE_URL", &secret)
            .env("PGHOST", "/nonexistent")
            .run();
        ran.exits(0).never_says("hunter2");
        assert!(
            !std::fs::read_to_string(world.path("secret.toml"))
                .unwrap()
                .contains("hunter2")
        );
        world
            .dbbackup("-c secret.toml backup --dry-run")
            .env("DATABASE_URL", &secret)
            .run()
            .exits(0)
            .prints(&db.name);
    }
}
