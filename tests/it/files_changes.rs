//! Files that change, vanish or can't be read while they are saved: the archive is sound, and the
//! outcome says each.

use crate::files_roundtrip::{below, listed};
use crate::support::{World, binary, is_root, set_mode, until};
use crate::tools::lack;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Somebody who goes on changing files until dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn with(mut change: impl FnMut(u64) + Send + 'static) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !flag.load(Ordering::Relaxed) {
                change(turn);
                turn += 1;
            }
        });
        Busy {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The archive is what the list says, and other people's tar takes it.
fn assert_sound(world: &World, backup: &str) {
    world
        .with_store(&format!("verify {backup} --level restore"))
        .run()
        .exits(0);
    let json = world
        .with_store(&format!("show {backup} --json"))
        .run()
        .exits(0)
        .json();
    let dump = world
        .path("store/tree")
        .join(json["backup"]["dump"]["file"].as_str().unwrap());
    let output = Command::new("tar").arg("-tf").arg(dump).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn name(world: &World, path: &str) -> String {
    world.path(path).to_str().unwrap()[1..].to_owned()
}

#[test]
fn growing_and_shrinking_files() {
    for size in [3_000_usize, 30 << 20] {
        let world = World::new();
        for other in ["tree/a", "tree/z"] {
            world.file(other, "quiet");
        }
        let (grows, shrinks) = (world.path("tree/grows"), world.path("tree/shrinks"));
        std::fs::write(&grows, vec![1; size]).unwrap();
        std::fs::write(&shrinks, vec![2; size]).unwrap();
        let _busy = Busy::with(move |turn| {
            OpenOptions::new()
                .append(true)
                .open(&grows)
                .unwrap()
                .write_all(&[3; 997])
                .unwrap();
            let file = OpenOptions::new().write(true).open(&shrinks).unwrap();
            file.set_len(if turn % 2 == 0 {
                size as u64 / 3
            } else {
                size as u64
            })
            .unwrap();
        });
        let ran = world.with_store("backup ./tree --json").run().exits(0);
        let ran = ran.says("changed while being read").says("tree/grows");
        let sidecar = ran.made();
        assert_eq!(sidecar["status"], "ok", "{sidecar}");
        let changed = sidecar["manifest"]["tree"]["changed"].as_array().unwrap();
        assert!(
            changed
                .iter()
                .any(|path| path == name(&world, "tree/grows").as_str()),
            "{changed:?}"
        );
        drop(_busy);
        assert_sound(&world, "tree");
        let lines = listed(&world, "tree");
        let last = lines
            .iter()
            .rev()
            .find(|(path, _)| *path == name(&world, "tree/grows"))
            .unwrap();
        assert_eq!(last.1["note"], "changed");
        // What was read is what comes back: a beginning of what is there now.
        world.with_store("restore tree --to out").run().exits(0);
        let then = std::fs::read(below(&world, "out", "tree/grows")).unwrap();
        assert!(
            std::fs::read(world.path("tree/grows"))
                .unwrap()
                .starts_with(&then)
                && then.len() >= size
        );
        assert_eq!(
            std::fs::read_to_string(below(&world, "out", "tree/z")).unwrap(),
            "quiet"
        );
    }
}

#[test]
fn a_large_file_that_comes_to_rest_is_saved_as_it_is_then() {
    let world = World::new();
    let path = world.path("tree/upload");
    std::fs::create_dir(world.path("tree")).unwrap();
    std::fs::write(&path, vec![1; 60 << 20]).unwrap();
    let writing = path.clone();
    // One change while it is read for the first time.
    let call = world.with_store("backup ./tree --json").start();
    let file = OpenOptions::new().write(true).open(&writing).unwrap();
    until("the first reading", || {
        let store = world.path("store/tree");
        std::fs::read_dir(store).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".tar"))
            })
        })
    });
    file.write_all_at(b"changed", 55 << 20).unwrap();
    let ran = call.wait().exits(0);
    let sidecar = ran.made();
    assert_sound(&world, "tree");
    world.with_store("restore tree --to out").run().exits(0);
    if sidecar["manifest"]["tree"].get("changed").is_none() {
        assert_eq!(crc(&below(&world, "out", "tree/upload")), crc(&path));
    }
    assert_eq!(sidecar["manifest"]["tree"]["files"], 1);
}

fn crc(path: &Path) -> u32 {
    crc32fast::hash(&std::fs::read(path).unwrap())
}

#[test]
fn vanishing_files() {
    let world = World::new();
    for number in 0..400 {
        world.file(&format!("tree/d{:02}/f{number}", number % 20), "x");
    }
    let root = world.path("tree");
    let _busy = Busy::with(move |turn| {
        let path = root.join(format!("d{:02}/f{}", turn % 20, turn % 400));
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::write(&path, "y");
        let directory = root.join(format!("new{}", turn % 7));
        let _ = std::fs::create_dir(&directory);
        let _ = std::fs::write(directory.join("f"), "z");
        let _ = std::fs::remove_dir_all(&directory);
    });
    for _ in 0..10 {
        // Named where it happens, and no failure.
        world.with_store("backup ./tree").run().exits(0);
        assert_sound(&world, "tree");
    }
    drop(_busy);
}

/// The walk has seen it, and it is gone when its turn comes: made sure of by a change between the
/// two, in a tree of one slow file and one that vanishes.
#[test]
fn a_vanished_file_is_named() {
    let world = World::new();
    world.file("tree/z", "gone soon");
    let slow = std::fs::File::create(world.path("tree/a")).unwrap();
    slow.write_all_at(&vec![1; 200 << 20], 0).unwrap();
    let call = world.with_store("backup ./tree --json").start();
    until("the first file", || {
        let entries = std::fs::read_dir(world.path("store/tree"));
        entries.is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.metadata().is_ok_and(|found| found.len() > 10_000))
            })
        })
    });
    std::fs::remove_file(world.path("tree/z")).unwrap();
    let sidecar = call
        .wait()
        .exits(0)
        .says("gone before being read")
        .says("tree/z")
        .made();
    assert_eq!(sidecar["status"], "ok");
    assert_eq!(sidecar["manifest"]["tree"]["files"], 1);
}

/// A user who may not read everything; as root another one is taken.
struct Somebody<'a>(&'a World, PathBuf);

impl<'a> Somebody<'a> {
    fn new(world: &'a World) -> Option<Somebody<'a>> {
        if !is_root() {
            return Some(Somebody(world, binary().to_path_buf()));
        }
        if Command::new("setpriv").arg("--version").output().is_err() {
            lack("setpriv");
            return None;
        }
        let copy = world.path("dbbackup-copy");
        assert!(
            Command::new("install")
                .args(["-m", "755"])
                .arg(binary())
                .arg(&copy)
                .status()
                .unwrap()
                .success()
        );
        set_mode(&world.path(""), 0o777);
        Some(Somebody(world, copy))
    }

    fn runs(&self, arguments: &str) -> (Option<i32>, String) {
        let mut command = Command::new(if is_root() {
            Path::new("setpriv")
        } else {
            &self.1
        });
        if is_root() {
            command
                .args(["--reuid", "61234", "--regid", "61234", "--clear-groups"])
                .arg(&self.1);
        }
        let output = command
            .args(arguments.split(' '))
            .current_dir(self.0.path(""))
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    }
}

#[test]
fn unreadable_files_make_it_partial() {
    let world = World::new();
    let Some(somebody) = Somebody::new(&world) else {
        return;
    };
    world.file("tree/open", "x");
    world.file("tree/closed", "secret");
    world.file("tree/directory/inside", "y");
    set_mode(&world.path("tree"), 0o755);
    set_mode(&world.path("tree/closed"), 0o000);
    set_mode(&world.path("tree/directory"), 0o000);
    let (code, text) = somebody.runs("--store store backup ./tree");
    assert_eq!(code, Some(3), "{text}");
    for part in [
        "tree/closed (",
        "permission denied",
        "tree/directory (",
        "the backup is incomplete",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let sidecar = world.attempts("tree").remove(0);
    assert_eq!(sidecar["status"], "partial");
    assert!(
        sidecar["warnings"].to_string().contains("tree/closed"),
        "{sidecar}"
    );
    // It restores, but never counts as a good one.
    world.with_store("verify tree").run().exits(0);
    world
        .with_store("restore tree --to out")
        .run()
        .exits(10)
        .says("no good backup");
    world
        .with_store(&format!(
            "restore {} --to out",
            sidecar["id"].as_str().unwrap()
        ))
        .run()
        .exits(0)
        .says("incomplete");
    assert_eq!(
        std::fs::read_to_string(below(&world, "out", "tree/open")).unwrap(),
        "x"
    );
    let lines = listed(&world, sidecar["id"].as_str().unwrap());
    assert!(
        lines
            .iter()
            .any(|(path, line)| path.ends_with("tree/closed") && line["note"] == "unreadable"),
        "{lines:?}"
    );
    set_mode(&world.path("tree/directory"), 0o755);
}

#[test]
fn nothing_readable_is_a_failure() {
    let world = World::new();
    let Some(somebody) = Somebody::new(&world) else {
        return;
    };
    world.file("tree/x", "x");
    set_mode(&world.path("tree"), 0o000);
    let (code, text) = somebody.runs("--store store backup ./tree --kind files");
    set_mode(&world.path("tree"), 0o755);
    assert!(matches!(code, Some(1 | 3)), "{code:?}: {text}");
    assert!(text.contains("permission denied"), "{text}");
}

/// A lock as the database's own program would hold it, asked for by `flock`(2)'s older brother.
#[test]
fn an_embedded_database_that_is_open_is_told() {
    let world = World::new();
    world.file("tree/rocks/CURRENT", "MANIFEST-000001\n");
    world.file("tree/rocks/LOCK", "");
    world.file("tree/graph.kuzu", "KUZU and more");
    world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .never_says("may not fit together");
    if !Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        lack("python3");
        return;
    }
    let script = "import fcntl, sys, time\nfiles = [open(name, 'r+') for name in \
                  sys.argv[1:]]\n[fcntl.lockf(file, fcntl.LOCK_EX) for file in \
                  files]\nprint('locked', flush=True)\ntime.sleep(600)";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .args([world.path("tree/rocks/LOCK"), world.path("tree/graph.kuzu")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
    let ran = world.with_store("backup ./tree --json").run();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let sidecar = ran
        .exits(0)
        .says("a RocksDB or LevelDB database that process")
        .says("a Kuzu database that process")
        .says("`before` hook")
        .made();
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("may not fit together")
    );
}
