//! A tree of files there and back: everything of it, the same bytes for the same tree, readable by
//! tar; and what is left out on purpose.

use crate::live::{Application, assert_bank_is_sound, bank};
use crate::seeds::{Random, seed};
use crate::support::{World, contents, is_root, set_mode};
use crate::tools::{have, skip};
use crate::tree::{grow, on_disk, picture, rsync_sees_no_difference};
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a restored tree lies below a directory: under its whole path.
pub fn below(world: &World, directory: &str, name: &str) -> PathBuf {
    world
        .path(directory)
        .join(world.path(name).strip_prefix("/").unwrap())
}

/// The names in a list of contents, with what is noted.
pub fn listed(world: &World, backup: &str) -> Vec<(String, Value)> {
    let json = world
        .with_store(&format!("show {backup} --contents --json"))
        .run()
        .exits(0)
        .json();
    let lines = json["contents"].as_array().unwrap().clone();
    lines
        .into_iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line))
        .collect()
}

/// How many random trees; `DBBACKUP_TREES` makes it more.
fn trees() -> u64 {
    std::env::var("DBBACKUP_TREES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8)
}

#[test]
fn any_tree_comes_back_as_it_was() {
    let first = seed();
    for seed in first..first + trees() {
        let world = World::new();
        grow(&world.path("tree"), seed);
        let codec = ["gzip", "zstd", "none"][seed as usize % 3];
        world.config(&format!("[backup]\ncompression = \"{codec}\"\n"));
        let sidecar = world
            .with_store("backup ./tree --json")
            .run()
            .exits(0)
            .made();
        world.with_store("verify tree").run().exits(0);
        world
            .with_store("verify tree --level restore")
            .run()
            .exits(0);
        world.with_store("restore tree --to out").run().exits(0);
        let out = below(&world, "out", "tree");
        assert_eq!(picture(&out), picture(&world.path("tree")), "seed {seed}");
        assert!(
            on_disk(&out) <= on_disk(&world.path("tree")) + (1 << 20),
            "seed {seed}: holes were filled"
        );
        if have("rsync") {
            rsync_sees_no_difference(&world.path("tree"), &out);
        }
        if have("tar") && codec == "none" {
            let dump = world
                .path("store/tree")
                .join(sidecar["dump"]["file"].as_str().unwrap());
            let mut tar = Command::new("tar");
            tar.args(["--diff", "--xattrs", "--acls", "-C", "/", "-f"])
                .arg(dump);
            let output = tar.output().unwrap();
            assert!(
                output.status.success(),
                "seed {seed}: {}",
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
            );
        }
        // The same tree gives the same bytes.
        let again = world
            .with_store("backup ./tree --json")
            .run()
            .exits(0)
            .made();
        assert_eq!(
            again["dump"]["content_sha256"], sidecar["dump"]["content_sha256"],
            "seed {seed}"
        );
    }
}

#[test]
fn what_the_sidecar_and_the_list_say() {
    let world = World::new();
    world.file("site/index.html", "hello");
    world.file("site/img/a.png", "not really");
    symlink("index.html", world.path("site/start")).unwrap();
    std::fs::hard_link(world.path("site/index.html"), world.path("site/second")).unwrap();
    std::fs::create_dir(world.path("site/empty")).unwrap();
    let sidecar = world
        .with_store("backup ./site --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(
        (&sidecar["kind"], &sidecar["dump"]["format"]),
        (&"files".into(), &"tar".into())
    );
    let tree = &sidecar["manifest"]["tree"];
    assert_eq!(
        (
            &tree["files"],
            &tree["directories"],
            &tree["symlinks"],
            &tree["hard_links"]
        ),
        (&2.into(), &3.into(), &1.into(), &1.into())
    );
    assert_eq!(tree["bytes"], 15);
    assert_eq!(
        sidecar["database"]["paths"][0],
        world.path("site").to_str().unwrap()
    );
    // The list: zstd and jq would do.
    let file = world
        .path("store/site")
        .join(tree["contents"]["file"].as_str().unwrap());
    assert!(file.to_str().unwrap().ends_with(".contents.json.zst"));
    let lines = listed(&world, "site");
    let site = world.path("site").to_str().unwrap()[1..].to_owned();
    let line = |name: &str| {
        lines
            .iter()
            .find(|(path, _)| *path == format!("{site}{name}"))
            .unwrap_or_else(|| panic!("{name}: {lines:?}"))
            .1
            .clone()
    };
    assert_eq!(
        line("/index.html")["sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(
        (
            line("/index.html")["size"].as_u64(),
            line("/start")["target"].as_str()
        ),
        (Some(5), Some("index.html"))
    );
    assert_eq!(line("/second")["target"], format!("{site}/index.html"));
    world
        .with_store("show site")
        .run()
        .exits(0)
        .prints("2 files (15 B) in 3 directories, 2 links");
    world
        .with_store("show site --contents")
        .run()
        .exits(0)
        .prints(&format!("{site}/img/a.png"))
        .prints("start -> index.html");
    world
        .with_store("list")
        .run()
        .exits(0)
        .prints("site_manual_");
    // Cleanup and delete take the list along.
    let id = sidecar["id"].as_str().unwrap();
    world
        .with_store(&format!("delete {id} --yes --force"))
        .run()
        .exits(0);
    assert!(world.stored("site", ".zst").is_empty() && world.stored("site", ".gz").is_empty());
}

#[test]
fn exclude_include_and_what_is_never_saved() {
    let world = World::new();
    for name in [
        "a.txt",
        "b.tmp",
        "cache/x",
        "cache/y/z",
        "img/one.png",
        "img/deep/two.png",
        "img/deep/three.gif",
    ] {
        world.file(&format!("tree/{name}"), name);
    }
    let fifo = Command::new("mkfifo")
        .arg(world.path("tree/fifo"))
        .status()
        .unwrap();
    assert!(fifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(world.path("tree/socket")).unwrap();
    world.config(
        "[store]\npath = \"tree/backups\"\n[sources.all]\nkind = \"files\"\npaths = \
         [\"tree\"]\nexclude = [\"cache/**\", \"*.tmp\"]\n\
         [sources.png]\nkind = \"files\"\npaths = [\"tree\"]\ninclude = [\"*.png\"]\n",
    );
    // The store lies inside.
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says(&format!(
            "1 FIFO left out: {}",
            world.path("tree/fifo").display()
        ))
        .never_says("warning: all: 1 FIFO")
        .says(&format!(
            "1 socket left out: {}",
            world.path("tree/socket").display()
        ))
        .says("is a store of backups, and left out");
    world.dbbackup("restore all --to all --yes").run().exits(0);
    world.dbbackup("restore png --to png --yes").run().exits(0);
    let names = |out: &str| -> Vec<String> {
        let root = below(&world, out, "tree");
        let all = walkdir::WalkDir::new(&root)
            .min_depth(1)
            .sort_by_file_name();
        all.into_iter()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let expected = [
        "a.txt",
        "cache",
        "img",
        "img/deep",
        "img/deep/three.gif",
        "img/deep/two.png",
        "img/one.png",
    ];
    assert_eq!(names("all"), expected);
    assert_eq!(
        names("png"),
        ["img", "img/deep", "img/deep/two.png", "img/one.png"]
    );
}

#[test]
fn databases_among_the_files_are_saved_through_sqlite() {
    let world = World::new();
    std::fs::create_dir_all(world.path("app/data")).unwrap();
    world.file("app/config.ini", "x = 1");
    world.file(
        "app/data/notes-journal",
        "a file of its own, whatever its name",
    );
    let database = bank(&world, "app/data/bank.db", "wal", 4);
    bank(&world, "app/data/old.db", "delete", 1);
    let application = Application::start(&database);
    application.wait_for(20);
    for round in 0..3 {
        let sidecar = world
            .with_store("backup ./app --json")
            .run()
            .exits(0)
            .made();
        assert_eq!(sidecar["manifest"]["tree"]["databases"], 2, "{sidecar}");
        world
            .with_store("verify app --level restore")
            .run()
            .exits(0)
            .prints("integrity_check of 2 SQLite databases: ok");
        let out = format!("out{round}");
        world
            .with_store(&format!("restore app --to {out}"))
            .run()
            .exits(0);
        let root = below(&world, &out, "app");
        let names: Vec<String> = std::fs::read_dir(root.join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        // No log, index or journal of the live database.
        assert!(
            names.iter().all(|name| !name.starts_with("bank.db-"))
                && names.contains(&"notes-journal".to_owned()),
            "{names:?}"
        );
        assert!(assert_bank_is_sound(&root.join("data/bank.db")) >= 20);
        assert_bank_is_sound(&root.join("data/old.db"));
        // As it was in service.
        let mode: String = rusqlite::Connection::open(root.join("data/bank.db"))
            .unwrap()
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }
    application.stop();
    // As the files that they are, where that is wanted; nothing is open now.
    world.config("[sources.app]\nkind = \"files\"\npaths = [\"app\"]\nsqlite = \"raw\"\n");
    let sidecar = world.with_store("backup app --json").run().exits(0).made();
    assert_eq!(sidecar["manifest"]["tree"]["databases"], 0);
    world.with_store("restore app --to raw").run().exits(0);
    assert_eq!(
        contents(&below(&world, "raw", "app/data/old.db")),
        contents(&world.path("app/data/old.db"))
    );
}

#[test]
fn a_file_that_only_looks_like_a_database_is_saved_as_it_is() {
    let world = World::new();
    world.file(
        "tree/broken.db",
        &format!("SQLite format 3\0{}", "x".repeat(5000)),
    );
    world.file("tree/other", "y");
    world
        .with_store("backup ./tree")
        .run()
        .exits(0)
        .says("looks like a SQLite database");
    world
        .with_store("verify tree --level restore")
        .run()
        .exits(0);
    world.with_store("restore tree --to out").run().exits(0);
    assert_eq!(
        picture(&below(&world, "out", "tree")),
        picture(&world.path("tree"))
    );
}

/// What belongs to a database that could not be saved through SQLite is not left out: it would lack
/// it.
#[test]
fn logs_and_journals_without_their_database() {
    let world = World::new();
    world.file("tree/notes", "text");
    for end in ["-journal", "-wal", "-shm"] {
        world.file(&format!("tree/notes{end}"), "the user's own");
    }
    // A database with a page that is none, and a log.
    world.file(
        "tree/broken.db",
        &format!("SQLite format 3\0{}", "x".repeat(5000)),
    );
    std::fs::write(
        world.path("tree/broken.db-wal"),
        [&[0x37, 0x7f, 0x06, 0x82][..], &[0; 60]].concat(),
    )
    .unwrap();
    // One whose application crashed in the middle of a transaction, and stays down.
    let crashed = world.shop("tree/crashed.db");
    let whole = contents(&crashed);
    let conn = rusqlite::Connection::open(&crashed).unwrap();
    conn.execute_batch(
        "PRAGMA cache_size = 1; PRAGMA synchronous = OFF; BEGIN; UPDATE orders SET \
                        note = 'half'; INSERT INTO orders SELECT id + 5000, 1, \
                        hex(randomblob(400)) FROM orders",
    )
    .unwrap();
    for end in ["", "-journal"] {
        std::fs::copy(
            format!("{}{end}", crashed.display()),
            world.path(&format!("copy{end}")),
        )
        .unwrap();
    }
    drop(conn);
    for end in ["", "-journal"] {
        std::fs::rename(
            world.path(&format!("copy{end}")),
            format!("{}{end}", crashed.display()),
        )
        .unwrap();
    }
    world.file("tree/tiny.db", "SQLite format 3\0");
    let sidecar = world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .made();
    assert_eq!(
        (&sidecar["status"], &sidecar["manifest"]["tree"]["files"]),
        (&"ok".into(), &8.into()),
        "{sidecar}"
    );
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("crashed.db`: a crash has cut off a transaction"),
        "{sidecar}"
    );
    world.with_store("restore tree --to out").run().exits(0);
    let out = below(&world, "out", "tree");
    for name in [
        "notes",
        "notes-journal",
        "notes-wal",
        "notes-shm",
        "broken.db",
        "broken.db-wal",
        "tiny.db",
    ] {
        assert_eq!(
            std::fs::read(out.join(name)).unwrap(),
            std::fs::read(world.path("tree").join(name)).unwrap(),
            "{name}"
        );
    }
    // It was rolled back to what it was when it was saved, and its journal is not needed any more.
    assert!(!out.join("crashed.db-journal").exists());
    assert_eq!(contents(&out.join("crashed.db")), whole);
}

#[test]
fn one_file_system() {
    let world = World::new();
    world.file("tree/here", "x");
    let disk = world.path("tree/disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(&disk)
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        return skip("a file system can't be mounted here");
    }
    world.file("tree/disk/there", "y");
    world.config(
        "[sources.one]\nkind = \"files\"\npaths = [\"tree\"]\none_file_system = \
                  true\n[sources.all]\nkind = \"files\"\npaths = [\"tree\"]\n",
    );
    let ran = world.with_store("backup --json").run();
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    let json = ran.exits(0).json();
    assert_eq!(json["backups"][0]["manifest"]["tree"]["files"], 1);
    assert_eq!(
        json["backups"][0]["manifest"]["tree"]["directories"], 2,
        "the mount point itself is saved"
    );
    assert_eq!(json["backups"][1]["manifest"]["tree"]["files"], 2);
}

#[test]
fn a_git_repository_is_whole_afterwards() {
    if !have("git") {
        return;
    }
    let world = World::new();
    let git = |dir: &Path, arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(dir)
            .args([
                "-c",
                "user.name=x",
                "-c",
                "user.email=x@example.org",
                "-c",
                "safe.directory=*",
            ])
            .args(arguments);
        let output = command.env("HOME", world.path("")).output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let repository = world.path("repository");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "-q"]);
    let mut random = Random::new(7);
    for number in 0..30 {
        std::fs::write(repository.join(format!("file{number}")), random.bytes(3000)).unwrap();
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "-q", "-m", "more"]);
    }
    git(&repository, &["gc", "-q"]);
    world.with_store("backup ./repository").run().exits(0);
    world
        .with_store("restore repository --to out")
        .run()
        .exits(0);
    let out = below(&world, "out", "repository");
    git(&out, &["fsck", "--full", "--strict"]);
    assert_eq!(
        git(&out, &["log", "--format=%H"]),
        git(&repository, &["log", "--format=%H"])
    );
    assert_eq!(git(&out, &["status", "--porcelain"]), "");
}

#[test]
fn archives_of_other_tools_restore() {
    if !have("tar") {
        return;
    }
    let world = World::new();
    grow(&world.path("tree"), 3);
    for (format, name) in [
        ("posix", "a.tar.gz"),
        ("gnu", "b.tar"),
        ("posix", "c.tar.zst"),
    ] {
        let mut tar = Command::new("tar");
        tar.args([
            "--create",
            "--sparse",
            "--format",
            format,
            "--auto-compress",
            "--file",
        ])
        .arg(world.path(name));
        if format == "posix" {
            tar.args(["--xattrs", "--acls"]);
        }
        assert!(
            tar.arg("-C")
                .arg(world.path(""))
                .arg("tree")
                .status()
                .unwrap()
                .success()
        );
        let out = format!("out-{name}");
        world
            .dbbackup(&format!("restore ./{name} --to {out}"))
            .run()
            .exits(0);
        let restored = world.path(&out).join("tree");
        if format == "posix" {
            assert_eq!(picture(&restored), picture(&world.path("tree")), "{name}");
        } else {
            // That format has neither nanoseconds nor attributes.
            assert_eq!(
                picture(&restored).len(),
                picture(&world.path("tree")).len(),
                "{name}"
            );
        }
        world.dbbackup(&format!("verify ./{name}")).run().exits(0);
    }
}

#[test]
fn what_can_not_be_a_source_is_told() {
    let world = World::new();
    world.file("tree/a", "x");
    world.config(
        "[sources.gone]\nkind = \"files\"\npaths = [\"nowhere\"]\n[sources.some]\nkind = \
                  \"files\"\npaths = [\"tree\", \"nowhere\"]\n[sources.twice]\nkind = \
                  \"files\"\npaths = [\"tree\", \"tree/a\"]\n[sources.glob]\nkind = \
                  \"files\"\npaths = [\"tree\"]\nexclude = [\"a[\"]\n",
    );
    world
        .with_store("backup gone")
        .run()
        .exits(1)
        .says("nowhere` is not there");
    world
        .with_store("backup some")
        .run()
        .exits(3)
        .says("1 file could not be read, and not saved: /")
        .says("the backup is incomplete: 1 file could not be read\n")
        .says("`dbbackup --store store show some_manual_")
        .prints("partial some_manual_");
    world
        .with_store("backup twice")
        .run()
        .exits(2)
        .says("lies in `")
        .says("would be saved twice");
    world
        .with_store("backup glob")
        .run()
        .exits(2)
        .says("`a[` is no pattern");
    world
        .with_store("backup ./nothing")
        .run()
        .exits(10)
        .says("there is no such file");
    // A file as it is.
    world
        .with_store("backup ./tree/a --kind files --as single")
        .run()
        .exits(0);
    world.with_store("restore single --to out").run().exits(0);
    assert_eq!(
        std::fs::read_to_string(below(&world, "out", "tree/a")).unwrap(),
        "x"
    );
    world
        .with_store("backup ./tree/a")
        .run()
        .exits(1)
        .says("is not a SQLite database");
    set_mode(&world.path("tree"), 0o755);
}
