//! What can stand in the way of a snapshot, and what the user is told: each a clear outcome, and
//! never harm to the application.

use crate::moments::{PATIENCE, point};
use crate::support::{World, binary, is_root, set_mode};
use crate::tools::{have, skip};
use rusqlite::Connection;
use std::path::Path;
use std::process::Command;

#[test]
fn a_missing_database_is_never_created() {
    let world = World::new();
    world
        .with_store("backup nothing.db")
        .run()
        .exits(10)
        .says("there is no such file");
    world.config("[sources.gone]\nkind = \"sqlite\"\npath = \"gone.db\"\n");
    world
        .with_store("backup gone")
        .run()
        .exits(1)
        .says("no such file or directory")
        .says("a missing database is never created");
    assert!(!world.path("gone.db").exists() && !world.path("nothing.db").exists());
    // The attempt is remembered.
    let json = world
        .with_store("list --status failed --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["backups"][0]["source"], "gone");
    assert_eq!(json["backups"][0]["status"], "failed");
    assert!(json["backups"][0]["error"]["hint"].is_string());
}

#[test]
fn what_is_no_database_is_refused() {
    let world = World::new();
    world.file(
        "text.db",
        &"just some text, as a page of an encrypted database would look ".repeat(40),
    );
    world.file("short.db", "x");
    std::fs::create_dir(world.path("dir.db")).unwrap();
    world
        .with_store("backup text.db")
        .run()
        .exits(1)
        .says("is not a SQLite database, or it is encrypted");
    world
        .with_store("backup short.db")
        .run()
        .exits(1)
        .says("is not a SQLite database, or it is encrypted");
    world
        .with_store("backup dir.db --kind sqlite")
        .run()
        .exits(1)
        .says("is not a file");
    assert!(world.ids("").is_empty());
}

#[test]
fn a_malformed_database_is_a_failed_backup() {
    let world = World::new();
    let path = world.shop("app.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096..length / 2].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    world
        .with_store("backup app.db")
        .run()
        .exits(1)
        .says("is damaged: ")
        .says("hint: restore an earlier backup");
    assert!(world.ids("").is_empty() && world.debris("app").is_empty());
}

#[test]
fn a_locked_database_is_waited_for_and_then_named() {
    let world = World::new();
    let path = world.shop("app.db");
    world.config("[backup]\nlock_timeout = \"1s\"\n");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let pid = std::process::id();
    world
        .with_store("backup app.db")
        .run()
        .exits(1)
        .says(&format!("is locked (open in pid {pid})"))
        .says("lock_timeout");
    // Released in time, it is backed up.
    world.config("[backup]\nlock_timeout = \"10m\"\n");
    let waiting = world
        .with_store("backup app.db --label later")
        .held_at(&world, point::DATABASE_BUSY);
    app.execute_batch("COMMIT").unwrap();
    waiting.go_on().wait().exits(0);
    assert_eq!(world.ids("").len(), 1);
}

#[test]
fn a_wal_database_that_was_cleanly_closed_stays_as_it_was() {
    let world = World::new();
    world.shop("app.db");
    world.sql("app.db", "PRAGMA journal_mode = WAL");
    let before = std::fs::read(world.path("app.db")).unwrap();
    world.with_store("backup app.db").run().exits(0);
    assert_eq!(std::fs::read(world.path("app.db")).unwrap(), before);
    // The application goes on writing.
    world.sql("app.db", "INSERT INTO orders VALUES (7777, 1, 'x')");
}

#[test]
fn the_dump_of_a_wal_database_is_one_plain_file() {
    let world = World::new();
    world.shop("app.db");
    let app = Connection::open(world.path("app.db")).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; INSERT INTO orders VALUES \
         (8888, 1, 'only in the log')",
    )
    .unwrap();
    world.config("[backup]\ncompression = \"none\"\n");
    world.with_store("backup app.db").run().exits(0);
    let dump = world.dump("app");
    assert!(dump.to_str().unwrap().ends_with(".sqlite3"));
    let conn =
        Connection::open_with_flags(&dump, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(
        conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
            .unwrap(),
        "delete"
    );
    assert_eq!(
        conn.query_row("SELECT note FROM orders WHERE id = 8888", [], |row| row
            .get::<_, String>(
            0
        ))
        .unwrap(),
        "only in the log"
    );
}

/// Runs the binary as a user who owns nothing here.
fn as_somebody_else(world: &World, arguments: &[&str]) -> Option<std::process::Output> {
    // The binary may lie where only its owner can go. A program of its own copies it: a child that
    // another test forks meanwhile would inherit this process's descriptor, and a file that is open
    // for writing anywhere can't be run ("text file busy").
    let copy = world.path("dbbackup-copy");
    let copied = Command::new("install")
        .args(["-m", "755"])
        .arg(binary())
        .arg(&copy)
        .status()
        .ok()?;
    assert!(copied.success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "61234", "--regid", "61234", "--clear-groups"])
        .arg(&copy)
        .args(arguments);
    command
        .current_dir(world.path("open"))
        .env("HOME", "/nonexistent")
        .output()
        .ok()
}

#[test]
fn another_user_never_locks_the_owner_out() {
    if !is_root() {
        return skip("this needs root");
    }
    if !have("setpriv") {
        return;
    }
    let world = World::new();
    set_mode(Path::new(&world.path("")), 0o755);
    std::fs::create_dir(world.path("open")).unwrap();
    set_mode(&world.path("open"), 0o777);
    world.shop("open/app.db");
    world.sql("open/app.db", "PRAGMA journal_mode = WAL");
    set_mode(&world.path("open/app.db"), 0o644);
    let refused = as_somebody_else(&world, &["--store", "store", "backup", "app.db"]).unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("locks root out") && text.contains("run dbbackup as root"),
        "{text}"
    );
    assert!(!world.path("open/app.db-shm").exists() && !world.path("open/app.db-wal").exists());
    // While the application has it open there is nothing to be left behind.
    let app = Connection::open(world.path("open/app.db")).unwrap();
    app.execute_batch("INSERT INTO orders VALUES (4242, 1, 'x')")
        .unwrap();
    for companion in ["open/app.db-shm", "open/app.db-wal"] {
        set_mode(&world.path(companion), 0o644);
    }
    let done = as_somebody_else(&world, &["--store", "store", "backup", "app.db"]).unwrap();
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    app.execute_batch("INSERT INTO orders VALUES (4243, 1, 'y')")
        .unwrap();
}

#[test]
fn on_a_read_only_file_system() {
    let world = World::new();
    let at = world.path("disk");
    std::fs::create_dir(&at).unwrap();
    let mount = |options: &str| {
        is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(&at)
                .status()
                .is_ok_and(|status| status.success())
    };
    if !mount("size=4m") {
        return skip("a file system can't be mounted here");
    }
    world.shop("disk/app.db");
    world.sql("disk/app.db", "PRAGMA journal_mode = WAL");
    let remount = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&at)
        .status()
        .unwrap()
        .success();
    let done = world.with_store("backup disk/app.db").run();
    let _ = Command::new("umount").arg("-l").arg(&at).status();
    assert!(remount);
    done.exits(0);
}

/// A container's `:ro` volume: read-only here, while the application writes through another mount.
/// Read without locks the database could be torn.
#[test]
fn on_a_mount_that_is_read_only_only_here() {
    let world = World::new();
    let (there, here) = (world.path("there"), world.path("here"));
    std::fs::create_dir(&there).unwrap();
    std::fs::create_dir(&here).unwrap();
    world.shop("there/app.db");
    world.sql("there/app.db", "PRAGMA journal_mode = WAL");
    let mount = |arguments: &[&str]| {
        is_root()
            && Command::new("mount")
                .args(arguments)
                .arg(&here)
                .status()
                .is_ok_and(|status| status.success())
    };
    if !mount(&["--bind", there.to_str().unwrap()]) || !mount(&["-o", "remount,bind,ro"]) {
        let _ = Command::new("umount").arg("-l").arg(&here).status();
        return skip("a directory can't be mounted here");
    }
    let closed = world.with_store("backup here/app.db --label closed").run();
    let app = Connection::open(world.path("there/app.db")).unwrap();
    app.execute_batch(
        "INSERT INTO orders VALUES (9191, 1, 'in the log'); PRAGMA \
                       wal_checkpoint(TRUNCATE); INSERT INTO orders VALUES (9292, 1, 'and this')",
    )
    .unwrap();
    let open = world.with_store("backup here/app.db --label open").run();
    let _ = Command::new("umount").arg("-l").arg(&here).status();
    closed
        .exits(1)
        .says("mounted read-only here, but others can write");
    // SQLite reads the application's -shm, so the log counts.
    open.exits(0).prints("1,102 rows");
}

/// As an application opens it that locks by a directory beside the database.
fn by_dotfile(path: &Path) -> Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let app = Connection::open_with_flags_and_vfs(path, flags, c"unix-dotfile").unwrap();
    app.busy_timeout(PATIENCE).unwrap();
    app
}

#[test]
fn a_lock_that_is_a_directory_is_waited_for_and_then_named() {
    let world = World::new();
    let app = by_dotfile(&world.shop("app.db"));
    world.config("[backup]\nlock_timeout = \"1s\"\n");
    world
        .with_store("backup app.db --label sound")
        .run()
        .exits(0);
    app.execute_batch("BEGIN IMMEDIATE; DELETE FROM orders")
        .unwrap();
    assert!(world.path("app.db.lock").is_dir());
    let refused = world
        .with_store("backup app.db")
        .run()
        .exits(1)
        .says("is locked by the directory")
        .says("app.db.lock");
    refused.says("lock_timeout").says("rmdir");
    world
        .with_store("restore app@latest:sound --yes")
        .run()
        .exits(1)
        .says("is locked by the directory");
    world.config("[backup]\nlock_timeout = \"10m\"\n");
    let waiting = world
        .with_store("backup app.db --label later")
        .held_at(&world, point::DATABASE_BUSY);
    app.execute_batch("ROLLBACK").unwrap();
    waiting.go_on().wait().exits(0).prints("1,100 rows");
    // A file of that name is not SQLite's.
    world.file("app.db.lock", "");
    world
        .with_store("backup app.db --label file")
        .run()
        .exits(0);
}

/// It writes whenever it likes: each backup is of one moment, or is none.
#[test]
fn what_is_written_past_the_reader_s_lock_is_never_a_backup() {
    let world = World::new();
    let path = world.database(
        "app.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, turn INT, filler BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT \
         INTO t SELECT i, 0, randomblob(2000) FROM n;",
    );
    world.config("[backup]\nlock_timeout = \"10m\"\ncompression = \"none\"\n");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&stop);
    let writing = std::thread::spawn(move || {
        let app = by_dotfile(&path);
        while !flag.load(std::sync::atomic::Ordering::Relaxed) {
            app.execute_batch("UPDATE t SET turn = turn + 1").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
    });
    let (mut refused, mut made) = (0, 0);
    for turn in 0..12 {
        let label = format!("l{turn}");
        let ran = world
            .with_store(&format!("backup app.db --label {label}"))
            .run();
        if ran.stderr.contains("was written to while it was read")
            || ran.stderr.contains("malformed")
            || ran.stderr.contains("is damaged")
        {
            refused += 1;
            continue;
        }
        ran.exits(0);
        made += 1;
        world
            .with_store(&format!("restore app@latest:{label} --to {label}.db"))
            .run()
            .exits(0);
        let copy = Connection::open(world.path(&format!("{label}.db"))).unwrap();
        let (least, most) = copy
            .query_row("SELECT min(turn), max(turn) FROM t", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .unwrap();
        assert_eq!(least, most, "{label} is torn");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writing.join().unwrap();
    println!("{made} made, {refused} refused");
    world
        .with_store("backup app.db --label quiet")
        .run()
        .exits(0);
}
