//! `adopt`: directories as other tools leave them become backups. The dumps are made by the real
//! programs, under the names that those tools give; nothing of them is copied or changed.

use crate::cluster::Cluster;
use crate::support::{World, contents, set_mode};
use crate::tools::have;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file below a directory: its inode, mode, time and bytes.
fn state_of(dir: &Path) -> BTreeMap<PathBuf, (u64, u32, i64, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(state_of(&path));
        } else {
            let found = path.metadata().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            files.insert(path, (found.ino(), found.mode(), found.mtime(), bytes));
        }
    }
    files
}

fn shell(world: &World, line: &str) {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -e; umask 022; {line}")]);
    let output = command.current_dir(world.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
}

/// What became of a file, by the end of its path.
fn result_of<'j>(json: &'j Value, name: &str) -> &'j Value {
    let all = json["adoptions"].as_array().unwrap();
    let found = all
        .iter()
        .find(|one| one["path"].as_str().unwrap().ends_with(name));
    found.unwrap_or_else(|| panic!("{name}: {json}"))
}

#[test]
fn what_a_script_of_cron_left_becomes_backups() {
    let world = World::new();
    let app = world.shop("app.db");
    let expected = contents(&app);
    shell(
        &world,
        "mkdir -p dumps; gzip -c app.db > dumps/app-20261120.sqlite.gz
         zstd -q app.db -o dumps/app_20261121-023000.db.zst
         cp app.db dumps/app.sqlite; touch -d '2026-11-22 03:04:05Z' dumps/app.sqlite
         touch -d '2026-11-20 02:15:00Z' dumps/app-20261120.sqlite.gz
         head -c 20000 dumps/app-20261120.sqlite.gz > dumps/app-20261119.sqlite.gz
         : > dumps/app-20261118.sql
         (head -c 5000 app.db; head -c 5000 /dev/zero; tail -c +10001 app.db) > broken
         mv broken dumps/app-20261117.db
         cp app.db dumps/app-20261116.sqlite.bz2
         echo x > dumps/app-20261120.sqlite.gz.md5; echo log > dumps/backup.log
         ln -s app.sqlite dumps/link.sqlite",
    );
    let before = state_of(&world.path("dumps"));
    let dry = world
        .with_store("adopt dumps --dry-run --json")
        .run()
        .exits(3)
        .json();
    assert!(!world.path("store").exists(), "{dry}");
    let ran = world.with_store("adopt dumps --json").run().exits(4);
    let json = ran.json();
    for (name, id, by) in [
        (
            "app-20261120.sqlite.gz",
            "app_adopted_20261120T021500Z",
            "day",
        ),
        (
            "app_20261121-023000.db.zst",
            "app_adopted_20261121T023000Z",
            "name",
        ),
        ("app.sqlite", "app_adopted_20261122T030405Z", "file"),
    ] {
        let one = result_of(&json, name);
        assert_eq!(
            (&one["result"], &one["id"]),
            (&"adopted".into(), &id.into()),
            "{one}"
        );
        assert_eq!(one["time_from"], by);
    }
    for name in [
        "app-20261119.sqlite.gz",
        "app-20261118.sql",
        "app-20261117.db",
    ] {
        let one = result_of(&json, name);
        assert_eq!(one["result"], "damaged", "{one}");
        assert!(
            one["detail"].as_str().is_some_and(|why| !why.is_empty()),
            "{one}"
        );
    }
    assert!(
        json["unreadable"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("bzip2"),
        "{json}"
    );
    assert_eq!(json["others"], 3, "{json}");
    // Nothing of theirs was touched, and the backups are the same files.
    assert_eq!(state_of(&world.path("dumps")), before);
    let ids = world.ids("app");
    assert_eq!(ids.len(), 3, "{ids:?}");
    let sidecar = world.sidecar("app_adopted_20261120T021500Z");
    let stored = world
        .path("store/app")
        .join(sidecar["dump"]["file"].as_str().unwrap());
    assert!(stored.ends_with("app_adopted_20261120T021500Z.sqlite3.gz"));
    let origin = world.path("dumps/app-20261120.sqlite.gz");
    assert_eq!(
        stored.metadata().unwrap().ino(),
        origin.metadata().unwrap().ino()
    );
    assert_eq!(sidecar["manifest"]["rows_total"], 1100, "{sidecar}");
    assert_eq!(sidecar["tags"]["adopted_from"], origin.to_str().unwrap());
    assert!(world.debris("app").is_empty(), "{:?}", world.debris("app"));
    // They are backups like others.
    world
        .with_store("show app")
        .run()
        .exits(0)
        .prints("1,100 rows in 2 tables")
        .prints("adopted_from");
    world
        .with_store("verify app --all --level restore")
        .run()
        .exits(0)
        .prints("1,100 rows");
    world
        .with_store("restore app@2026-11-21 --to back.db")
        .run()
        .exits(0);
    assert_eq!(contents(&world.path("back.db")), expected);
    world
        .with_store("restore app --yes")
        .run()
        .exits(2)
        .says("does not say where it belongs");
    // The other tool's rotation takes nothing away.
    std::fs::remove_file(&origin).unwrap();
    world
        .with_store("verify app_adopted_20261120T021500Z")
        .run()
        .exits(0);
    // Once more: only what is new.
    world.sql("app.db", "INSERT INTO customer(name) VALUES ('new')");
    shell(&world, "gzip -c app.db > dumps/app-20261123.sqlite.gz");
    let again = world.with_store("adopt dumps --json").run().exits(4).json();
    assert_eq!(result_of(&again, "app.sqlite")["result"], "present");
    assert_eq!(
        result_of(&again, "app-20261123.sqlite.gz")["result"],
        "adopted"
    );
    assert_eq!(world.ids("app").len(), 4);
    // Whoever owns the file may change it: that is found.
    shell(
        &world,
        "printf 'XXXX' | dd of=dumps/app.sqlite bs=1 seek=9000 conv=notrunc 2>/dev/null",
    );
    world
        .with_store("verify app_adopted_20261122T030405Z")
        .run()
        .exits(4);
}

#[test]
fn what_can_be_changed_by_others_or_is_elsewhere_is_copied_or_refused() {
    let world = World::new();
    world.shop("app.db");
    shell(
        &world,
        "mkdir dumps; cp app.db dumps/app-20261120.db; chmod 666 dumps/app-20261120.db",
    );
    let ran = world.with_store("adopt dumps").run().exits(1);
    ran.says("others can write to it (mode 0666)")
        .says("chmod go-w")
        .says("--copy");
    world
        .with_store("adopt dumps --copy")
        .run()
        .exits(0)
        .prints("adopted 1 dump");
    let stored = world.stored("app", ".sqlite3").remove(0);
    let origin = world.path("dumps/app-20261120.db").metadata().unwrap();
    assert_ne!(stored.metadata().unwrap().ino(), origin.ino());
    assert_eq!(stored.metadata().unwrap().mode() & 0o777, 0o600);
    world
        .with_store("adopt dumps --copy")
        .run()
        .exits(0)
        .prints("1 there already");
    set_mode(&world.path("dumps/app-20261120.db"), 0o600);
    // One that is being written is no dump yet.
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(world.path("dumps/app-20261120.db"));
    let ran = world.dbbackup("--store other adopt dumps").run().exits(1);
    ran.says("it is being written to");
    drop(writer);
    // Several databases have no one name; a bad name and an empty directory are told.
    shell(&world, "cp app.db dumps/shop-20261120.db; mkdir empty");
    world
        .with_store("adopt dumps --as one")
        .run()
        .exits(2)
        .says("of several databases: app, shop");
    world
        .with_store("adopt dumps --as a/b")
        .run()
        .exits(2)
        .says("can be no source's name");
    world
        .with_store("adopt dumps --label a_b")
        .run()
        .exits(2)
        .says("is no label");
    world
        .with_store("adopt empty")
        .run()
        .exits(10)
        .says("no dump is in");
    world.with_store("adopt nowhere").run().exits(10);
    // A store among the directories is left alone.
    shell(&world, "cp -r store dumps/store");
    let json = world
        .with_store("adopt dumps --as app --json")
        .run()
        .exits(2)
        .json();
    assert!(
        json["error"].as_str().unwrap().contains("app, shop"),
        "{json}"
    );
    std::fs::remove_file(world.path("dumps/app-20261120.db")).unwrap();
    let json = world
        .with_store("adopt dumps --as app --label daily --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["adoptions"].as_array().unwrap().len(), 1, "{json}");
    // It is the same content as the one that is there.
    assert_eq!(json["adoptions"][0]["result"], "present");
}

/// Another file system: `/dev/shm` is one on every Linux.
#[test]
fn another_file_system_is_named_with_the_remedy() {
    let world = World::new();
    world.shop("app.db");
    shell(&world, "mkdir dumps; cp app.db dumps/app-20261120.db");
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return crate::tools::skip("there is no /dev/shm");
    };
    if other.path().metadata().unwrap().dev() == world.path("").metadata().unwrap().dev() {
        return crate::tools::skip("/dev/shm is no file system of its own");
    }
    let store = other.path().join("store");
    let call = |more: &str| {
        world
            .dbbackup(&format!("--store {} adopt dumps{more}", store.display()))
            .run()
    };
    call("")
        .exits(1)
        .says("it is on another file system")
        .says("--copy")
        .says("--store DIR");
    call(" --copy").exits(0).prints("adopted 1 dump");
}

#[test]
fn what_gobackup_left_is_adopted_as_files() {
    let world = World::new();
    shell(
        &world,
        "mkdir -p dumps/my_site/archive; echo hello > dumps/my_site/archive/index.html
         cd dumps; tar -czf 2026.11.20.02.30.00.tar.gz my_site; rm -r my_site
         mkdir shop; mv 2026.11.20.02.30.00.tar.gz shop",
    );
    world
        .with_store("adopt dumps")
        .run()
        .exits(0)
        .prints("as shop_adopted_20261120T023000Z");
    world
        .with_store("verify shop --level restore")
        .run()
        .exits(0);
    world.with_store("restore shop --to out").run().exits(0);
    let text = shell_output(&world, "find out -name index.html -exec cat {} +");
    assert_eq!(text, "hello\n");
}

fn shell_output(world: &World, line: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(world.path(""))
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// pg_back's directory: dumps with their checksums, roles, copies of configurations, and one in the
/// directory format; and autopostgresqlbackup's tree.
#[test]
fn what_the_tools_of_postgresql_left_becomes_backups() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !have("pg_dump") {
        return;
    }
    let world = World::new();
    let db = cluster.database("adopt");
    db.sql(
        "CREATE TABLE customer(id int PRIMARY KEY, name text);
         INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 321) i;
         CREATE TABLE empty(x int)",
    );
    let name = &db.name;
    let dump = |words: &[&str], path: &str| {
        let path = world.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let program = if words[0] == "--globals-only" {
            "pg_dumpall"
        } else {
            "pg_dump"
        };
        let mut command = cluster.program(program);
        command.args(words);
        if program == "pg_dump" {
            command.args(["-d", &db.url()]);
        } else {
            command.args(["-d", &cluster.url("postgres")]);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::write(path, output.stdout).unwrap();
    };
    let stamp = "2026-11-20T02:30:00+01:00";
    dump(&["-Fc"], &format!("pg_back/{name}_{stamp}.dump"));
    dump(&["-Fp"], &format!("pg_back/{name}_2026-11-21_02-30-00.sql"));
    dump(&["-Ft"], &format!("pg_back/{name}_2026-11-22_02-30-00.tar"));
    dump(
        &["--globals-only"],
        &format!("pg_back/pg_globals_{stamp}.sql"),
    );
    let daily = format!("auto/daily/{name}/{name}_2026-11-20_02h30m.Friday.sql");
    dump(&["-Fp", "-Z0"], &daily);
    shell(
        &world,
        &format!(
            "sha256sum pg_back/{name}_{stamp}.dump > pg_back/{name}_{stamp}.dump.sha256
             echo x > pg_back/hba_file_{stamp}.out; echo x > pg_back/pg_settings_{stamp}.out
             mkdir pg_back/{name}_{stamp}.d; echo x > pg_back/{name}_{stamp}.d/toc.dat
             gzip {daily}; mkdir -p auto/weekly/{name}
             cp {daily}.gz auto/weekly/{name}/{name}_week.47_2026-11-20_02h30m.sql.gz"
        ),
    );
    let json = world
        .with_store("adopt pg_back --json")
        .run()
        .exits(3)
        .json();
    let archive = result_of(&json, &format!("{stamp}.dump"));
    let id = format!("{name}_adopted_20261120T013000Z");
    assert_eq!(archive["id"], id.as_str(), "{json}");
    assert_eq!(world.sidecar(&id)["manifest"]["rows_total"], 321);
    assert_eq!(
        result_of(&json, "_2026-11-21_02-30-00.sql")["result"],
        "adopted",
        "{json}"
    );
    let tar = result_of(&json, "_2026-11-22_02-30-00.tar");
    assert!(
        tar["detail"]
            .as_str()
            .unwrap()
            .contains("pg_dump's tar format"),
        "{tar}"
    );
    assert_eq!(
        result_of(&json, &format!("pg_globals_{stamp}.sql"))["result"],
        "adopted",
        "{json}"
    );
    assert!(
        json["unreadable"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("directory format")
    );
    assert_eq!(json["others"], 3, "{json}");
    let json = world.with_store("adopt auto --json").run().exits(0).json();
    let daily = result_of(&json, "Friday.sql.gz");
    assert_eq!(
        daily["id"],
        format!("{name}_adopted_20261120T023000Z"),
        "{json}"
    );
    // The same bytes are one backup.
    assert_eq!(
        result_of(&json, "week.47_2026-11-20_02h30m.sql.gz")["result"],
        "present",
        "{json}"
    );
    world
        .with_store(&format!("verify {name} --all"))
        .run()
        .exits(0)
        .prints("321 rows");
    let target = cluster.database("adopted");
    let to = target.url();
    let call = world.dbbackup_with(&["--store", "store", "restore", &id, "--to", &to, "--yes"]);
    call.run().exits(0);
    assert_eq!(target.value("SELECT count(*) FROM customer"), "321");
}

/// What is encrypted in the store can't be put there as it is.
#[test]
fn a_store_that_encrypts_takes_nothing_plain() {
    let world = World::new();
    world.shop("app.db");
    shell(&world, "mkdir dumps; cp app.db dumps/app-20261120.db");
    world.config(
        "[store]\npath = \"store\"\n[encryption]\nrecipients = \
         [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n",
    );
    let ran = world.dbbackup("adopt dumps").run().exits(2);
    ran.says("the store holds encrypted backups")
        .says("adopt into another store");
    assert!(!world.path("store/app").exists());
}
