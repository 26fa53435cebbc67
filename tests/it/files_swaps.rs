//! Somebody exchanges what lies in a tree for links while it is saved by root: nothing comes into the archive that the tree does not hold.

use crate::second_names::with_log;
use crate::support::{World, is_root, set_mode};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SECRET: &str = "only root may read this";

/// Exchanges two names as fast as it can, until dropped; then the first is what it was at the beginning.
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
        Swapping { stop, thread: Some(thread) }
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
            assert!(!holds_secret(&dump), "the {turn}th archive holds what only root may read\n{ran}");
            let _ = std::fs::remove_file(&dump);
            let _ = std::fs::remove_file(dump.with_extension("json"));
        }
    }
    drop(swapping);
    let sidecar = world.with_store("backup ./tree --json").run().exits(0).made();
    assert_eq!(sidecar["status"], "ok", "{sidecar}");
}

fn holds_secret(dump: &Path) -> bool {
    let bytes = std::fs::read(dump).unwrap();
    bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes())
}

/// A tree of a user's, and what only root may read.
fn world() -> Option<World> {
    if !is_root() {
        println!("skipped: this needs root");
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
    world.database("tree/app.db", "CREATE TABLE t(x); INSERT INTO t VALUES ('harmless');");
    world.database("secret/app.db", &format!("CREATE TABLE t(x); INSERT INTO t VALUES ('{SECRET}');"));
    set_mode(&world.path("secret"), 0o700);
    Some(world)
}

#[test]
fn a_database_that_becomes_a_link_is_not_followed() {
    let Some(world) = world() else { return };
    std::os::unix::fs::symlink(world.path("secret/app.db"), world.path("attic/app.db")).unwrap();
    never_saves_the_secret(&world, "tree/app.db", "attic/app.db");
}

/// Without a link: another database takes the place of the one that was found, and that is not what was found.
#[test]
fn a_database_that_becomes_another_one_is_not_taken_for_it() {
    let Some(world) = world() else { return };
    std::fs::hard_link(world.path("secret/app.db"), world.path("attic/app.db")).unwrap();
    set_mode(&world.path("secret/app.db"), 0o604);
    // Not among the tree's own files at rest: what is looked for is the moment between the walk and the opening.
    world.config("[backup]\ncompression = \"none\"\n");
    let swapping = Swapping::of(world.path("tree/app.db"), world.path("attic/app.db"));
    for _ in 0..60 {
        let ran = world.with_store("backup ./tree").run();
        for dump in world.stored("tree", ".tar") {
            // Either of the two may be come by, but each with its own size, owner and content: what the walk saw.
            let lines = crate::files_roundtrip::listed(&world, dump.to_str().unwrap());
            let line = lines.iter().find(|(path, _)| path.ends_with("tree/app.db"));
            let links = line.is_some_and(|(_, line)| line["mode"] == "0604");
            assert_eq!(line.is_some_and(|(_, line)| line["note"].is_null()) && holds_secret(&dump), links, "{ran}");
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
    std::fs::rename(world.path("secret/app.db"), world.path("secret/deep/app.db")).unwrap();
    std::fs::rename(world.path("tree/app.db"), world.path("tree/deep/app.db")).unwrap();
    std::os::unix::fs::symlink(world.path("secret/deep"), world.path("attic/deep")).unwrap();
    never_saves_the_secret(&world, "tree/deep", "attic/deep");
}

/// Of a name that is longer than SQLite takes, and of paths near the kernel's 4,096 bytes; and of more directories than a process may have files open.
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
    let conn = rusqlite::Connection::open(format!("/proc/self/fd/{}/x", std::os::fd::AsRawFd::as_raw_fd(&deepest)));
    drop(conn);
    world.database("made.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);");
    std::fs::rename(world.path("made.db"), dir.join("app.db")).unwrap();
    // A name beyond what a path may have.
    let name = "n".repeat(255);
    rustix::fs::mkdirat(&deepest, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let below = rustix::fs::openat(&deepest, name.as_str(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::mkdirat(&below, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let sidecar = world.with_store("backup ./tree --json").run().exits(0).made();
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
    let sidecar = world.with_store("backup ./tree --json").run().exits(0).made();
    assert_eq!(sidecar["manifest"]["tree"]["directories"], 1301, "{sidecar}");
}

/// Of all names of one database the one with the log is read, wherever in the tree it is, and its log is never left out for nothing.
#[test]
fn a_database_with_two_names_in_the_tree_is_read_by_the_one_with_the_log() {
    for second in ["tree/a/app.db", "tree/z/app.db", "tree/m/aaa.db", "tree/m/zzz.db"] {
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
                let rows: i64 = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                assert_eq!(rows, 1001, "{second} {live}: {name}");
            }
        }
    }
}
