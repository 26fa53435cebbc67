//! A database under another name than its application's: what is in the log of that name is saved
//! or it is refused, and never written past.

use crate::support::{World, is_root, until};
use crate::tools::skip;
use rusqlite::Connection;
use std::path::Path;
use std::process::Command;

const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                    INSERT INTO t SELECT i FROM n;";

/// A database with a thousand rows that are in its log alone; the connection that keeps them there.
pub fn with_log(world: &World, name: &str) -> Connection {
    std::fs::create_dir_all(world.path(name).parent().unwrap()).unwrap();
    world.database(
        name,
        "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (0);",
    );
    let app = Connection::open(world.path(name)).unwrap();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0; BEGIN;")
        .unwrap();
    app.execute_batch(ROWS).unwrap();
    app.execute_batch("COMMIT").unwrap();
    app
}

/// As after `kill -9`: the log is there, and nobody has the database open.
pub fn crashed(world: &World, name: &str, app: Connection) {
    for end in ["", "-wal"] {
        std::fs::copy(
            world.path(&format!("{name}{end}")),
            world.path(&format!("{name}{end}.kept")),
        )
        .unwrap();
    }
    drop(app);
    for end in ["", "-wal"] {
        let kept = std::fs::read(world.path(&format!("{name}{end}.kept"))).unwrap();
        std::fs::write(world.path(&format!("{name}{end}")), kept).unwrap();
        std::fs::remove_file(world.path(&format!("{name}{end}.kept"))).unwrap();
    }
}

pub fn link(world: &World, from: &str, to: &str) {
    std::fs::create_dir_all(world.path(to).parent().unwrap()).unwrap();
    std::fs::hard_link(world.path(from), world.path(to)).unwrap();
}

fn rows(world: &World, name: &str) -> i64 {
    Connection::open(world.path(name))
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn by_a_link_beside_it_the_name_with_the_log_is_saved() {
    for live in [true, false] {
        let world = World::new();
        let mut app = Some(with_log(&world, "app.db"));
        link(&world, "app.db", "link.db");
        if !live {
            crashed(&world, "app.db", app.take().unwrap());
        }
        let made = world
            .with_store("backup link.db --json")
            .run()
            .exits(0)
            .says("is another name of")
            .says("app.db")
            .made();
        assert_eq!(made["manifest"]["rows_total"], 1001, "{made}");
        world
            .with_store("restore link@latest --to out.db")
            .run()
            .exits(0);
        assert_eq!(rows(&world, "out.db"), 1001);
        assert!(!world.path("link.db-wal").exists() && !world.path("link.db-shm").exists());
        // Its own name is as good as ever.
        let made = world
            .with_store("backup app.db --json")
            .run()
            .exits(0)
            .never_says("another name")
            .made();
        assert_eq!(made["manifest"]["rows_total"], 1001, "{made}");
    }
}

#[test]
fn by_a_link_in_another_directory_it_is_refused_while_its_log_is_out_of_sight() {
    let world = World::new();
    let app = with_log(&world, "there/app.db");
    link(&world, "there/app.db", "here/app.db");
    // As root, or of this user: the process is seen, and so is the name.
    let made = world
        .with_store("backup here/app.db --json")
        .run()
        .exits(0)
        .says("is another name of")
        .made();
    assert_eq!(made["manifest"]["rows_total"], 1001, "{made}");
    crashed(&world, "there/app.db", app);
    let ran = world.with_store("backup here/app.db").run().exits(1);
    ran.says("another name in some other directory")
        .says("-inum");
    assert!(!world.path("here/app.db-wal").exists());
    let made = world
        .with_store("backup there/app.db --as there --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(made["manifest"]["rows_total"], 1001, "{made}");
}

#[test]
fn two_names_with_a_log_each_are_refused() {
    let world = World::new();
    let app = with_log(&world, "app.db");
    link(&world, "app.db", "link.db");
    crashed(&world, "app.db", app);
    std::fs::copy(world.path("app.db-wal"), world.path("link.db-wal")).unwrap();
    for name in ["app.db", "link.db"] {
        world
            .with_store(&format!("backup {name}"))
            .run()
            .exits(1)
            .says("are one file, and each has a log");
    }
}

#[test]
fn a_restore_by_another_name_is_refused() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        world.shop("app.db");
        world.sql("app.db", &format!("PRAGMA journal_mode = {journal}"));
        world.with_store("backup app.db").run().exits(0);
        link(&world, "app.db", "link.db");
        link(&world, "app.db", "elsewhere/app.db");
        let app = Connection::open(world.path("app.db")).unwrap();
        app.execute_batch("INSERT INTO orders VALUES (5555, 1, 'live')")
            .unwrap();
        for target in ["link.db", "app.db", "elsewhere/app.db"] {
            for more in ["--yes", "--dry-run"] {
                let ran = world
                    .with_store(&format!("restore app --to {target} {more}"))
                    .run()
                    .exits(1);
                ran.says("has more than one name (also ")
                    .says("hint: ")
                    .says("remove the");
            }
        }
        std::fs::remove_file(world.path("link.db")).unwrap();
        world
            .with_store("restore app --yes")
            .run()
            .exits(1)
            .says("in some other directory")
            .says("-inum");
        app.execute_batch("INSERT INTO orders VALUES (5556, 1, 'live')")
            .unwrap();
        assert_eq!(
            app.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
                .unwrap(),
            "ok"
        );
        drop(app);
        std::fs::remove_dir_all(world.path("elsewhere")).unwrap();
        world.with_store("restore app --yes").run().exits(0);
    }
}

fn mount(arguments: &[&str]) -> bool {
    is_root()
        && Command::new("mount")
            .args(arguments)
            .status()
            .is_ok_and(|status| status.success())
}

/// Unmounts whatever becomes of the test.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_file_that_is_mounted_alone_is_refused() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        let app = with_log(&world, "there/app.db");
        world
            .with_store("backup there/app.db --as app")
            .run()
            .exits(0);
        app.execute_batch(&format!("PRAGMA journal_mode = {journal}"))
            .unwrap();
        let here = world.file("he re/app.db", "");
        if !mount(&[
            "--bind",
            world.path("there/app.db").to_str().unwrap(),
            here.to_str().unwrap(),
        ]) {
            return skip("a file can't be mounted here");
        }
        let _mounted = Mounted(&here);
        for arguments in [
            &["backup", "he re/app.db", "--as", "app"][..],
            &["restore", "app", "--to", "he re/app.db", "--yes"],
        ] {
            let ran = world
                .dbbackup_with(&[&["--store", "store"], arguments].concat())
                .run()
                .exits(1);
            ran.says("is mounted alone here")
                .says("hint: mount the directory");
        }
        assert!(
            !world.path("he re/app.db-wal").exists() && !world.path("he re/app.db-shm").exists()
        );
        app.execute_batch("INSERT INTO t VALUES (-1)").unwrap();
        assert_eq!(
            app.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
                .unwrap(),
            "ok"
        );
    }
}

/// A container that has the file alone, and its log in a directory of its own, seen from outside of
/// it.
#[test]
fn a_container_that_has_the_file_alone_is_seen_from_outside() {
    let world = World::new();
    std::fs::create_dir(world.path("host")).unwrap();
    world.database(
        "host/app.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (0);",
    );
    world.file("inside/app.db", "");
    let script = format!(
        "mount --bind {0}/host/app.db {0}/inside/app.db && cd {0}/inside && (echo 'PRAGMA \
         wal_autocheckpoint = 0; {ROWS}'; \
         echo '.shell touch {0}/begun'; cat) | exec sqlite3 app.db",
        world.path("").display()
    );
    if !is_root()
        || Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| !status.success())
    {
        return skip("this needs root and unshare");
    }
    let mut container = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the container's database", || world.path("begun").exists());
    let backup = world.with_store("backup host/app.db").run();
    let restore = {
        world.shop("other.db");
        world.with_store("backup other.db").run().exits(0);
        world
            .with_store("restore other --to host/app.db --yes")
            .run()
    };
    drop(container.stdin.take());
    container.wait().unwrap();
    backup
        .exits(1)
        .says("is in use by another name: process")
        .says("inside/app.db");
    restore.exits(1).says("is in use by another name: process");
    let made = world
        .with_store("backup host/app.db --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(
        made["manifest"]["rows_total"], 1001,
        "its log was brought in when it ended: {made}"
    );
}
