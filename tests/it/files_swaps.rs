//! Somebody exchanges what lies in a tree for links while it is saved by root: nothing comes into
//! the archive that the tree does not hold.

use crate::second_names::with_log;
use crate::support::{World, is_root, set_mode};
use crate::tools::skip;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SECRET: &str = "only root may read this";

/// Exchanges two names as fast as it can, until dropped; then the first is what it was at the
/// beginning.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapping {
    fn of(one: PathBuf, other: PathBuf) -> Swapping {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let swap = move || renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
        let thread = std::thread::spawn(move || {
            let mut times = 0;
            while !flag.load(Ordering::Relaxed) || times % 2 == 1 {
                swap();
                times += 1;
            }
            times
        });
        Swapping {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.take().map(|thread| thread.join().unwrap());
        println!("swapped {times:?} times");
    }
}

/// Backs the tree up again and again while the two are exchanged.
fn never_saves_the_secret(world: &World, one: &str, other: &str) {
    world.config("[backup]\ncompression = \"none\"\n");
    let swapping = Swapping::of(world.path(one), world.path(other));
    for turn in 0..60 {
        let ran = world.with_store("backup ./tree").run();
        assert!(!ran.stderr.contains(SECRET), "{ran}");
        for dump in world.stored("tree", ".tar") {
            assert!(
                !holds_secret(&dump),
                "the {turn}th archive holds what only root may read\n{ran}"
            );
            let _ = std::fs::remove_file(&dump);
            let _ = std::fs::remove_file(dump.with_extension("json"));
        }
    }
    drop(swapping);
    let sidecar = world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(sidecar["status"], "ok", "{sidecar}");
}

fn holds_secret(dump: &Path) -> bool {
    let bytes = std::fs::read(dump).unwrap();
    bytes
        .windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes())
}

/// A tree of a user's, and what only root may read.
fn world() -> Option<World> {
    if !is_root() {
        skip("this needs root");
        return None;
    }
    let world = World::new();
    std::fs::create_dir_all(world.path("tree/d")).unwrap();
    std::fs::create_dir_all(world.path("attic")).unwrap();
    std::fs::create_dir_all(world.path("secret/d")).unwrap();
    for number in 0..30 {
        world.file(&format!("tree/d/f{number}"), "harmless");
        world.file(&format!("secret/d/f{number}"), SECRET);
    }
    world.database(
        "tree/app.db",
        "CREATE TABLE t(x); INSERT INTO t VALUES ('harmless');",
    );
    world.database(
        "secret/app.db",
        &format!("CREATE TABLE t(x); INSERT INTO t VALUES ('{SECRET}');"),
    );
    set_mode(&world.path("secret"), 0o700);
    Some(world)
}

#[test]
fn a_database_that_becomes_a_link_is_not_followed() {
    let Some(world) = world() else { return };
    std::os::unix::fs::symlink(world.path("secret/app.db"), world.path("attic/app.db")).unwrap();
    never_saves_the_secret(&world, "tree/app.db", "attic/app.db");
}

/// Without a link: another database takes the place of the one that was found, and that is not what
/// was found.
#[test]
fn a_database_that_becomes_another_one_is_not_taken_for_it() {
    let Some(world) = world() else { return };
    std::fs::hard_link(world.path("secret/app.db"), world.path("attic/app.db")).unwrap();
    set_mode(&world.path("secret/app.db"), 0o604);
    // Not among the tree's own files at rest: what is looked for is the moment between the walk and
    // the opening.
    world.config("[backup]\ncompression = \"none\"\n");
    let swapping = Swapping::of(world.path("tree/app.db"), world.path("attic/app.db"));
    for _ in 0..60 {
        let ran = world.with_store("backup ./tree").run();
        for dump in world.stored("tree", ".tar") {
            // Either of the two may be come by, but each with its own size, owner and content: what
            // the walk saw.
            let lines = crate::files_roundtrip::listed(&world, dump.to_str().unwrap());
            let line = lines.iter().find(|(path, _)| path.ends_with("tree/app.db"));
            let links = line.is_some_and(|(_, line)| line["mode"] == "0604");
            assert_eq!(
                line.is_some_and(|(_, line)| line["note"].is_null()) && holds_secret(&dump),
                links,
                "{ran}"
            );
            let _ = std::fs::remove_file(&dump);
            let _ = std::fs::remove_file(dump.with_extension("json"));
        }
    }
    drop(swapping);
}

#[test]
fn a_directory_that_becomes_a_link_is_not_walked_into() {
    let Some(world) = world() else { return };
    std::os::unix::fs::symlink(world.path("secret/d"), world.path("attic/d")).unwrap();
    never_saves_the_secret(&world, "tree/d", "attic/d");
}

#[test]
fn a_tree_that_becomes_a_link_is_not_walked_into() {
    let Some(world) = world() else { return };
    std::fs::create_dir(world.path("tree/deep")).unwrap();
    std::fs::rename(world.path("tree/d"), world.path("tree/deep/d")).unwrap();
    std::fs::create_dir(world.path("secret/deep")).unwrap();
    std::fs::rename(world.path("secret/d"), world.path("secret/deep/d")).unwrap();
    std::fs::rename(
        world.path("secret/app.db"),
        world.path("secret/deep/app.db"),
    )
    .unwrap();
    std::fs::rename(world.path("tree/app.db"), world.path("tree/deep/app.db")).unwrap();
    std::os::unix::fs::symlink(world.path("secret/deep"), world.path("attic/deep")).unwrap();
    never_saves_the_secret(&world, "tree/deep", "attic/deep");
}

/// Of a name that is longer than SQLite takes, and of paths near the kernel's 4,096 bytes; and of
/// more directories than a process may have files open.
#[test]
fn long_and_deep_paths_are_saved() {
    let world = World::new();
    let mut dir = world.path("tree");
    std::fs::create_dir(&dir).unwrap();
    while dir.as_os_str().len() < 3800 {
        dir.push("d".repeat(200));
        std::fs::create_dir(&dir).unwrap();
    }
    std::fs::write(dir.join("file"), "x").unwrap();
    let deepest = std::fs::File::open(&dir).unwrap();
    let link = world.path("near");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let conn = rusqlite::Connection::open(format!(
        "/proc/self/fd/{}/x",
        std::os::fd::AsRawFd::as_raw_fd(&deepest)
    ));
    drop(conn);
    world.database("made.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);");
    std::fs::rename(world.path("made.db"), dir.join("app.db")).unwrap();
    // A name beyond what a path may have.
    let name = "n".repeat(255);
    rustix::fs::mkdirat(&deepest, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let below = rustix::fs::openat(
        &deepest,
        name.as_str(),
        rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    rustix::fs::mkdirat(&below, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let sidecar = world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(sidecar["manifest"]["tree"]["databases"], 1, "{sidecar}");
    world.with_store("verify tree").run().exits(0);
}

#[test]
fn a_tree_deeper_than_the_limit_of_open_files() {
    let world = World::new();
    let mut dir = world.path("tree");
    for _ in 0..1300 {
        dir.push("d");
    }
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("file"), "x").unwrap();
    let sidecar = world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(
        sidecar["manifest"]["tree"]["directories"], 1301,
        "{sidecar}"
    );
}

/// Of all names of one database the one with the log is read, wherever in the tree it is, and its
/// log is never left out for nothing.
#[test]
fn a_database_with_two_names_in_the_tree_is_read_by_the_one_with_the_log() {
    for second in [
        "tree/a/app.db",
        "tree/z/app.db",
        "tree/m/aaa.db",
        "tree/m/zzz.db",
    ] {
        for live in [true, false] {
            let world = World::new();
            let mut app = Some(with_log(&world, "tree/m/app.db"));
            crate::second_names::link(&world, "tree/m/app.db", second);
            if !live {
                crate::second_names::crashed(&world, "tree/m/app.db", app.take().unwrap());
            }
            world.with_store("backup ./tree --json").run().exits(0);
            world.with_store("restore tree --to out").run().exits(0);
            for name in ["tree/m/app.db", second] {
                let path = crate::files_roundtrip::below(&world, "out", name);
                let conn = rusqlite::Connection::open(path).unwrap();
                let rows: i64 = conn
                    .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(rows, 1001, "{second} {live}: {name}");
            }
        }
    }
}

/// The journal of another database, which only root may read, is not rolled back into this one: by
/// a link, in a tree and by itself.
#[test]
fn the_journal_of_another_database_is_not_rolled_back_into_this_one() {
    let Some(world) = world() else { return };
    let cut_off = |name: &str| {
        let conn = rusqlite::Connection::open(world.path(name)).unwrap();
        let text = format!("{SECRET} {}", "x".repeat(2000));
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS t(x); PRAGMA cache_size = 1; PRAGMA cache_spill = 1;",
        )
        .unwrap();
        for _ in 0..200 {
            conn.execute("INSERT INTO t VALUES (?1)", [&text]).unwrap();
        }
        conn.execute_batch("BEGIN; UPDATE t SET x = replace(x, 'only', 'ONLY');")
            .unwrap();
        let journal = std::fs::read(world.path(&format!("{name}-journal"))).unwrap();
        assert!(
            journal
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes())
        );
        drop(conn);
        // As after a crash: with the number of its pages, which SQLite writes before it touches the
        // database.
        let mut journal = journal;
        journal[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        std::fs::write(world.path(&format!("{name}-journal")), journal).unwrap();
    };
    cut_off("secret/app.db");
    let link = world.path("tree/app.db-journal");
    std::os::unix::fs::symlink(world.path("secret/app.db-journal"), &link).unwrap();
    world.config("[backup]\ncompression = \"none\"\n");
    for what in ["./tree", "tree/app.db --as app"] {
        let ran = world.with_store(&format!("backup {what}")).run();
        let ran = ran.says("app.db-journal").says("symbolic link");
        for source in ["tree", "app"] {
            for dump in [
                world.stored(source, ".tar"),
                world.stored(source, ".sqlite3"),
            ]
            .concat()
            {
                assert!(!holds_secret(&dump), "{what}: {ran}");
            }
        }
    }
}

/// Nobody writes to a FIFO, so who opens it waits for ever.
#[test]
fn a_fifo_beside_a_database_is_not_waited_for() {
    for end in ["-journal", "-wal", "-shm"] {
        for journal in ["delete", "wal"] {
            for what in ["./tree", "tree/app.db --as app"] {
                let world = World::new();
                world.file("tree/file", "harmless");
                world.database(
                    "tree/app.db",
                    &format!("PRAGMA journal_mode = {journal}; CREATE TABLE t(x);"),
                );
                let fifo = world.path(&format!("tree/app.db{end}"));
                assert!(
                    std::process::Command::new("mkfifo")
                        .arg(&fifo)
                        .status()
                        .unwrap()
                        .success()
                );
                let call = world
                    .with_store(&format!("backup {what}"))
                    .by(&["timeout", "-s", "KILL", "60"]);
                let ran = call.run().exits(if what == "./tree" { 3 } else { 1 });
                ran.says(&format!("app.db{end}")).says("not a plain file");
            }
        }
    }
}

/// A lock makes the run wait between the opening of the database and that of its log: meanwhile the
/// directory becomes a link to one that only root may enter.
#[test]
fn a_directory_that_is_exchanged_while_the_database_is_locked_gives_no_other_log() {
    for what in ["./tree", "tree/b/app.db --as app"] {
        let Some(world) = world() else { return };
        std::fs::create_dir(world.path("tree/a")).unwrap();
        world.database(
            "tree/a/app.db",
            "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (0);",
        );
        std::fs::create_dir(world.path("tree/b")).unwrap();
        std::fs::hard_link(world.path("tree/a/app.db"), world.path("tree/b/app.db")).unwrap();
        world.file("tree/b/app.db-wal", "junk");
        for name in ["a", "b", "a/app.db", "b/app.db-wal"] {
            std::os::unix::fs::chown(
                world.path(&format!("tree/{name}")),
                Some(65534),
                Some(65534),
            )
            .unwrap();
        }
        let victim = with_log(&world, "victim/app.db");
        for _ in 0..5 {
            victim
                .execute("INSERT INTO t VALUES (?1)", [SECRET])
                .unwrap();
        }
        set_mode(&world.path("victim"), 0o700);
        world.config("[backup]\ncompression = \"none\"\n");
        let locked = std::fs::File::options()
            .read(true)
            .write(true)
            .open(world.path("tree/a/app.db"))
            .unwrap();
        rustix::fs::fcntl_lock(
            &locked,
            rustix::fs::FlockOperation::NonBlockingLockExclusive,
        )
        .unwrap();
        let running = world.with_store(&format!("backup {what}")).start();
        let descriptors = format!("/proc/{}/fd", running.child.id());
        let is_open = || {
            let links = std::fs::read_dir(&descriptors)
                .into_iter()
                .flatten()
                .flatten();
            links
                .filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .any(|name| name.ends_with("b/app.db"))
        };
        // Longer than a look at its first bytes takes.
        let mut times = 0;
        crate::support::until("the database is waited for", || {
            times = if is_open() { times + 1 } else { 0 };
            times > 40
        });
        std::fs::rename(world.path("tree/b"), world.path("tree/b2")).unwrap();
        std::os::unix::fs::symlink(world.path("victim"), world.path("tree/b")).unwrap();
        drop(locked);
        let ran = running.wait();
        for dump in [
            world.stored("tree", ".tar"),
            world.stored("app", ".sqlite3"),
        ]
        .concat()
        {
            assert!(
                !holds_secret(&dump),
                "{what}: the archive holds what only root may read\n{ran}"
            );
        }
        let owner = std::os::unix::fs::MetadataExt::uid(
            &std::fs::metadata(world.path("victim/app.db-shm")).unwrap(),
        );
        assert_eq!(
            owner, 0,
            "{what}: the index of another database was given away\n{ran}"
        );
    }
}
