//! Whatever changes a database changes its stamp, or keeps it from being compared.

use super::*;
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A database, and the application that has it open.
struct Scene {
    dir: tempfile::TempDir,
    app: Connection,
}

impl Scene {
    /// `None` where the file system is none on which anything is noted.
    fn new(journal_mode: &str) -> Option<Scene> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(&format!(
            "PRAGMA journal_mode = {journal_mode}; CREATE TABLE t(x); INSERT INTO t VALUES \
             (zeroblob(50000));"
        ))
        .unwrap();
        if !writes_back(&path) {
            println!(
                "skipped: {} is on another kind of file system",
                path.display()
            );
            return None;
        }
        Some(Scene { dir, app })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn sql(&self, text: &str) {
        self.app.execute_batch(text).unwrap();
    }

    /// The stamp, once the database is at rest.
    fn stamp(&self) -> Option<DatabaseStamp> {
        std::thread::sleep(Duration::from_millis(40));
        take_after(&self.path(), TimeDelta::milliseconds(20))
    }

    #[track_caller]
    fn noted(&self) -> DatabaseStamp {
        let stamp = self.stamp().expect("a stamp");
        assert!(is_unchanged(&self.path(), &stamp));
        stamp
    }
}

#[test]
fn readers_and_checkpoints_of_nothing_change_nothing() {
    for mode in ["wal", "delete", "truncate", "persist"] {
        let Some(scene) = Scene::new(mode) else {
            return;
        };
        scene.sql("INSERT INTO t VALUES (1)");
        let stamp = scene.noted();
        assert_eq!(stamp.wal.is_some(), mode == "wal");
        scene.sql("BEGIN; SELECT count(*) FROM t; COMMIT");
        assert!(is_unchanged(&scene.path(), &stamp), "{mode}");
        // What was at the snapshot is there, if in another file: that may count as a change.
        scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(is_unchanged(&scene.path(), &stamp), mode != "wal");
        let stamp = scene.noted();
        assert_eq!(stamp.wal, None);
        scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        assert!(is_unchanged(&scene.path(), &stamp));
    }
}

#[test]
fn every_commit_is_a_change() {
    for (mode, before, change) in [
        ("wal", "", "UPDATE t SET x = 1"),
        (
            "wal",
            "",
            "UPDATE t SET x = 1; PRAGMA wal_checkpoint(TRUNCATE)",
        ),
        (
            "wal",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "UPDATE t SET x = 1",
        ),
        (
            "wal",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "UPDATE t SET x = 1; PRAGMA wal_checkpoint(TRUNCATE)",
        ),
        // The log begins anew, and keeps its size.
        (
            "wal",
            "INSERT INTO t VALUES (1); PRAGMA wal_checkpoint",
            "INSERT INTO t VALUES (2)",
        ),
        (
            "wal",
            "",
            "PRAGMA journal_mode = delete; UPDATE t SET x = 1",
        ),
        ("delete", "", "UPDATE t SET x = zeroblob(50001) WHERE 1"),
        (
            "delete",
            "",
            "PRAGMA journal_mode = wal; UPDATE t SET x = 1",
        ),
        ("delete", "", "DELETE FROM t; VACUUM"),
        ("truncate", "", "PRAGMA user_version = 3"),
        ("persist", "UPDATE t SET x = 2", "UPDATE t SET x = 1"),
        ("memory", "", "UPDATE t SET x = 1"),
        ("off", "", "UPDATE t SET x = 1"),
    ] {
        let Some(scene) = Scene::new(mode) else {
            return;
        };
        scene.sql(before);
        let stamp = scene.noted();
        let size = stamp.wal.as_ref().map(|wal| wal.size_bytes);
        scene.sql(change);
        if change.contains("(2)") {
            let wal = companion(&scene.path(), "-wal").metadata().unwrap();
            assert_eq!(Some(wal.len()), size, "the log was to be used again");
        }
        assert!(!is_unchanged(&scene.path(), &stamp), "{mode}: {change}");
    }
}

#[test]
fn what_is_just_being_written_is_not_noted() {
    let Some(scene) = Scene::new("wal") else {
        return;
    };
    assert_eq!(take(&scene.path()), None);
    scene.noted();
    scene.sql("INSERT INTO t VALUES (1)");
    let long = TimeDelta::milliseconds(2000);
    assert_eq!(take_after(&scene.path(), long), None);
    // From the future, as after the clock was set back.
    let stamp = scene.noted();
    let file = File::open(scene.path()).unwrap();
    let ahead = std::time::SystemTime::now() + Duration::from_secs(60);
    file.set_modified(ahead).unwrap();
    assert!(!is_unchanged(&scene.path(), &stamp));
    assert_eq!(scene.stamp(), None);
}

/// The times of a page that is dirty already do not change with the next store to it.
#[test]
fn stores_through_a_mapping_are_changes() {
    let Some(scene) = Scene::new("delete") else {
        return;
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(scene.path())
        .unwrap();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the place, and the file is longer than a page.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            4096,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: that page is mapped, and nobody else uses the mapping.
    let store = |value: u8| unsafe { page.cast::<u8>().add(100).write_volatile(value) };
    for value in 1..4 {
        store(value);
        let stamp = scene.noted();
        store(value + 100);
        assert!(!is_unchanged(&scene.path(), &stamp), "{value}");
    }
    // SAFETY: nothing refers to the mapping any more.
    unsafe { libc::munmap(page, 4096) };
}

#[test]
fn another_file_of_the_name_is_a_change() {
    let Some(scene) = Scene::new("delete") else {
        return;
    };
    let stamp = scene.noted();
    let [path, aside, copy] = ["app.db", "aside", "copy"].map(|name| scene.dir.path().join(name));
    let status = Command::new("cp").arg("-p").args([&path, &copy]).status();
    assert!(status.unwrap().success());
    std::fs::rename(&path, &aside).unwrap();
    assert!(!is_unchanged(&path, &stamp));
    std::fs::rename(&copy, &path).unwrap();
    assert!(!is_unchanged(&path, &stamp));
    // It may have been another one in the meantime.
    std::fs::rename(&aside, &path).unwrap();
    assert!(!is_unchanged(&path, &stamp));
    // The times that can be set back are not all.
    let stamp = scene.noted();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    (&file).write_all(b"more").unwrap();
    file.set_len(stamp.file.size_bytes).unwrap();
    file.set_modified(stamp.file.modified.into()).unwrap();
    assert!(!is_unchanged(&path, &stamp));
}

#[test]
fn second_names_links_and_foreign_locks_are_not_noted() {
    let Some(scene) = Scene::new("delete") else {
        return;
    };
    let stamp = scene.noted();
    let second = scene.dir.path().join("second.db");
    std::fs::hard_link(scene.path(), &second).unwrap();
    assert!(!is_unchanged(&scene.path(), &stamp));
    assert_eq!(scene.stamp(), None);
    std::fs::remove_file(second).unwrap();
    let stamp = scene.noted();
    let lock = companion(&scene.path(), ".lock");
    std::fs::create_dir(&lock).unwrap();
    assert!(!is_unchanged(&scene.path(), &stamp));
    assert_eq!(scene.stamp(), None);
    std::fs::remove_dir(lock).unwrap();
    assert!(is_unchanged(&scene.path(), &stamp));
    let link = scene.dir.path().join("link.db");
    std::os::unix::fs::symlink(scene.path(), &link).unwrap();
    assert!(!is_unchanged(&link, &stamp));
}

#[test]
fn a_live_journal_is_a_transaction_without_an_end() {
    let Some(scene) = Scene::new("delete") else {
        return;
    };
    let stamp = scene.noted();
    let journal = companion(&scene.path(), "-journal");
    std::fs::write(&journal, b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and so on").unwrap();
    assert!(!is_unchanged(&scene.path(), &stamp));
    assert_eq!(scene.stamp(), None);
    std::fs::write(&journal, [0; 600]).unwrap();
    assert!(is_unchanged(&scene.path(), &stamp), "wiped");
    std::fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink("elsewhere", &journal).unwrap();
    assert!(!is_unchanged(&scene.path(), &stamp), "no plain file");
}

/// An application in another process.
struct Shell {
    child: Child,
}

impl Shell {
    /// Runs this and waits until it is done; `None` without the program.
    fn start(path: &Path, sql: &str) -> Option<Shell> {
        let mut child = Command::new("sqlite3")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "{sql}\nSELECT 'done';").unwrap();
        let mut output = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        while output.next().unwrap().unwrap() != "done" {}
        Some(Shell { child })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its frames may be in the log already, and not be visible yet.
#[test]
fn a_writer_in_the_middle_of_it_is_waited_for() {
    let Some(scene) = Scene::new("wal") else {
        return;
    };
    let path = scene.path();
    let sql = "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; INSERT INTO t \
               VALUES (zeroblob(900000));";
    let Some(shell) = Shell::start(&path, sql) else {
        return println!("skipped: no sqlite3");
    };
    assert_eq!(scene.stamp(), None);
    drop(shell);
    let stamp = scene.noted();
    // A reader is none.
    let reader = Shell::start(&path, "BEGIN; SELECT count(*) FROM t;").unwrap();
    assert!(scene.stamp().is_some_and(|again| again.file == stamp.file));
    drop(reader);
}

#[test]
fn another_start_of_the_system_or_a_stepped_clock_ends_it() {
    let Some(scene) = Scene::new("delete") else {
        return;
    };
    let stamp = scene.noted();
    let with = |change: fn(&mut DatabaseStamp)| {
        let mut stamp = stamp.clone();
        change(&mut stamp);
        is_unchanged(&scene.path(), &stamp)
    };
    assert!(!with(|stamp| stamp.boot.push('x')));
    assert!(!with(
        |stamp| stamp.booted_at += TimeDelta::milliseconds(1200)
    ));
    assert!(!with(|stamp| stamp.booted_at -= TimeDelta::hours(1)));
    assert!(with(|stamp| stamp.booted_at -= TimeDelta::milliseconds(500)));
    assert!(!with(|stamp| stamp.file.inode += 1));
    assert!(!with(|stamp| stamp.file.device += 1));
    assert!(!with(
        |stamp| stamp.file.changed -= TimeDelta::nanoseconds(1)
    ));
    assert!(!with(
        |stamp| stamp.file.modified -= TimeDelta::nanoseconds(1)
    ));
}
