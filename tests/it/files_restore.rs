//! Putting a tree back where it was: whole trees are exchanged, the old one is kept, a kill at any
//! moment leaves one of the two; and what must never be written is not.

use crate::files_roundtrip::below;
use crate::moments::{moments, point, timed};
use crate::support::{Call, World, is_root, set_mode};
use crate::tools::{can_trace, have, skip};
use crate::tree::{grow, picture};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tar::{EntryType, Header};

/// What restores keep and leave in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn in_place_exchanges_whole_trees_and_keeps_the_old() {
    let world = World::new();
    grow(&world.path("uploads"), 11);
    world.file("app.env", "SECRET=1");
    world.config(
        "[store]\npath = \"store\"\n[sources.app]\nkind = \"files\"\npaths = \
                  [\"uploads\", \"app.env\"]\n",
    );
    let (then, env) = (
        picture(&world.path("uploads")),
        picture(&world.path("app.env")),
    );
    world.dbbackup("backup").run().exits(0);
    std::fs::remove_dir_all(world.path("uploads")).unwrap();
    world.file("uploads/new", "made since");
    world.file("app.env", "SECRET=2");
    let broken = picture(&world.path("uploads"));
    // It says what would go, and asks.
    world
        .dbbackup("restore app --dry-run")
        .run()
        .exits(0)
        .prints("in place of what is there")
        .prints("/uploads/new")
        .prints("nothing was done");
    world
        .dbbackup("restore app")
        .run()
        .exits(2)
        .says("needs a yes");
    assert_eq!(picture(&world.path("uploads")), broken);
    let json = world
        .dbbackup("restore app --yes --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(picture(&world.path("uploads")), then);
    assert_eq!(picture(&world.path("app.env")), env);
    let kept: Vec<PathBuf> = json["restored"][0]["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().into())
        .collect();
    assert_eq!(kept.len(), 2);
    assert_eq!(picture(&kept[0]), broken);
    assert_eq!(std::fs::read_to_string(&kept[1]).unwrap(), "SECRET=2");
    // The undo that it prints does just that.
    let undo = json["restored"][0]["undo"].as_str().unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", undo])
            .status()
            .unwrap()
            .success(),
        "{undo}"
    );
    assert_eq!(picture(&world.path("uploads")), broken);
    assert_eq!(
        std::fs::read_to_string(world.path("app.env")).unwrap(),
        "SECRET=2"
    );
    // Where there is nothing, and without keeping anything.
    std::fs::remove_dir_all(world.path("uploads")).unwrap();
    world
        .dbbackup("restore app --yes --no-safety-backup")
        .run()
        .exits(0);
    assert_eq!(picture(&world.path("uploads")), then);
    assert!(
        names(&world.path(""))
            .iter()
            .all(|name| !name.contains(".dbbackup-") && !name.starts_with("uploads.before")),
        "{:?}",
        names(&world.path(""))
    );
}

#[test]
fn a_top_path_that_is_a_link_stays_one() {
    let world = World::new();
    world.file("real/data/a", "then");
    symlink("real/data", world.path("data")).unwrap();
    world.with_store("backup ./data").run().exits(0);
    world.file("real/data/a", "now");
    world.with_store("restore data --yes").run().exits(0);
    assert!(world.path("data").symlink_metadata().unwrap().is_symlink());
    assert_eq!(
        std::fs::read_to_string(world.path("real/data/a")).unwrap(),
        "then"
    );
}

#[test]
fn only_some_files() {
    let world = World::new();
    world.file("tree/img/one.png", "1");
    world.file("tree/img/two.png", "2");
    world.file("tree/doc/readme", "3");
    std::fs::hard_link(world.path("tree/img/one.png"), world.path("tree/zz-link")).unwrap();
    set_mode(&world.path("tree/img"), 0o711);
    world.with_store("backup ./tree").run().exits(0);
    let restored = |out: &str| -> Vec<String> {
        let root = below(&world, out, "tree");
        let all = walkdir::WalkDir::new(&root)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter();
        all.map(|entry| {
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
    let restore = |globs: &[&str], out: &str| {
        let mut arguments = vec!["--store", "store", "restore", "tree", "--to", out];
        globs
            .iter()
            .for_each(|glob| arguments.extend(["--path", glob]));
        world.dbbackup_with(&arguments).run()
    };
    restore(&["*.png"], "a").exits(0);
    assert_eq!(restored("a"), ["img", "img/one.png", "img/two.png"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        below(&world, "a", "tree/img").metadata().unwrap().mode() & 0o777,
        0o711,
        "directories above it get their own mode"
    );
    restore(&["doc"], "b").exits(0);
    assert_eq!(restored("b"), ["doc", "doc/readme"]);
    // A link without the file that it is another name of.
    restore(&["zz-link"], "c").exits(0);
    assert_eq!(restored("c"), ["zz-link"]);
    assert_eq!(
        std::fs::read_to_string(below(&world, "c", "tree/zz-link")).unwrap(),
        "1"
    );
    let whole = format!("{}/**", world.path("tree/img").display());
    restore(&[&whole], "d").exits(0);
    assert_eq!(restored("d"), ["img", "img/one.png", "img/two.png"]);
    // As in `exclude`: a pattern with a slash is for what is below the top path.
    restore(&["img/one.*"], "f").exits(0);
    assert_eq!(restored("f"), ["img", "img/one.png"]);
    let id = world.ids("tree").remove(0);
    restore(&["nothing*"], "e")
        .exits(10)
        .says("nothing in the backup matches")
        .says(&format!("show {id} --contents`"));
    restore(&["one.png/*"], "e").exits(10);
    assert!(!world.path("e").exists());
    world.with_store("restore tree --path doc").run().exits(2);
}

#[test]
fn to_a_directory_only_if_it_is_empty() {
    let world = World::new();
    world.file("tree/a", "x");
    world.with_store("backup ./tree").run().exits(0);
    world.file("full/precious", "mine");
    world
        .with_store("restore tree --to full")
        .run()
        .exits(2)
        .says("is not empty: it holds `precious`");
    assert_eq!(names(&world.path("full")), ["precious"]);
    std::fs::create_dir(world.path("empty")).unwrap();
    world.with_store("restore tree --to empty").run().exits(0);
    assert_eq!(
        std::fs::read_to_string(below(&world, "empty", "tree/a")).unwrap(),
        "x"
    );
    assert_eq!(
        names(&world.path("empty")).len(),
        1,
        "{:?}",
        names(&world.path("empty"))
    );
    world
        .with_store("restore tree --to full/precious")
        .run()
        .exits(2)
        .says("is not a directory");
    world
        .with_store("restore tree --to postgresql://x/y")
        .run()
        .exits(2)
        .says("takes a directory");
    world
        .with_store("restore tree --to nowhere/deep")
        .run()
        .exits(1)
        .says("make it first");
    world
        .with_store("restore tree --table x --to y")
        .run()
        .exits(2)
        .says("`--table` is for");
    // On another machine nobody knows whether the paths are the same.
    let id = world.ids("").remove(0);
    world.edit_sidecar(&id, |sidecar| {
        sidecar["producer"]["host"] = "elsewhere".into()
    });
    world
        .with_store("restore tree --yes")
        .run()
        .exits(2)
        .says("was made on `elsewhere`")
        .says("--to DIR");
}

#[test]
fn damage_goes_nowhere() {
    let world = World::new();
    world.file("tree/a", &"x".repeat(50_000));
    world.config("[backup]\ncompression = \"none\"\n");
    let sidecar = world
        .with_store("backup ./tree --json")
        .run()
        .exits(0)
        .made();
    let dump = world
        .path("store/tree")
        .join(sidecar["dump"]["file"].as_str().unwrap());
    let whole = std::fs::read(&dump).unwrap();
    let mut altered = whole.clone();
    altered[20_000] ^= 1;
    std::fs::write(&dump, &altered).unwrap();
    world.file("tree/a", "now");
    world.with_store("verify tree").run().exits(4);
    world
        .with_store(&format!(
            "restore {} --yes",
            sidecar["id"].as_str().unwrap()
        ))
        .run()
        .exits(4)
        .says("is damaged")
        .says("nothing was touched");
    assert_eq!(
        std::fs::read_to_string(world.path("tree/a")).unwrap(),
        "now"
    );
    assert_eq!(world.leftovers(), [] as [&str; 0]);
    // The list of contents is looked at, too, and its loss costs the proof, not the restore.
    std::fs::write(&dump, &whole).unwrap();
    let list = world.path("store/tree").join(
        sidecar["manifest"]["tree"]["contents"]["file"]
            .as_str()
            .unwrap(),
    );
    for level in ["checksum", "content", "restore"] {
        let bytes = std::fs::read(&list).unwrap();
        std::fs::write(&list, &bytes[..bytes.len() - 1]).unwrap();
        world
            .with_store(&format!("verify tree --level {level}"))
            .run()
            .exits(4)
            .says("contents");
        std::fs::write(&list, &bytes).unwrap();
        world
            .with_store(&format!("verify tree --level {level}"))
            .run()
            .exits(0);
    }
    std::fs::remove_file(&list).unwrap();
    world
        .with_store("verify tree")
        .run()
        .exits(4)
        .says("is missing");
    world
        .with_store(&format!(
            "restore {} --to out",
            sidecar["id"].as_str().unwrap()
        ))
        .run()
        .exits(0);
    assert_eq!(
        std::fs::metadata(below(&world, "out", "tree/a"))
            .unwrap()
            .len(),
        50_000
    );
}

/// One member of an archive made by hand, whatever its name.
fn member(archive: &mut Vec<u8>, name: &str, kind: EntryType, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    let fields = header.as_ustar_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

#[test]
fn malicious_archives_touch_nothing_outside() {
    let world = World::new();
    let outside = world.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("victim"), "untouched").unwrap();
    let out = outside.to_str().unwrap().to_owned();
    let victim = format!("{out}/victim");
    let before = picture(&outside);
    type Members<'a> = Vec<(&'a str, EntryType, &'a str)>;
    let (file, directory, symbolic, hard) = (
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
    );
    let up = "../outside/victim";
    let sets: Vec<(&str, Members)> = vec![
        ("upwards", vec![(up, file, "")]),
        (
            "upwards in the middle",
            vec![("a/../../outside/victim", file, "")],
        ),
        (
            "through a symbolic link",
            vec![("link", symbolic, &out), ("link/victim", file, "")],
        ),
        (
            "through a link to the directory above",
            vec![("link", symbolic, ".."), ("link/outside/victim", file, "")],
        ),
        (
            "through two links",
            vec![
                ("a", symbolic, "."),
                ("a/b", symbolic, &out),
                ("b/victim", file, ""),
            ],
        ),
        (
            "over a symbolic link",
            vec![("link", symbolic, &victim), ("link", file, "")],
        ),
        (
            "a hard link to the outside",
            vec![("link", hard, &victim), ("link", file, "")],
        ),
        (
            "a hard link upwards",
            vec![("link", hard, up), ("link", file, "")],
        ),
        (
            "a hard link through a symbolic one",
            vec![
                ("link", symbolic, &out),
                ("hard", hard, "link/victim"),
                ("hard", file, ""),
            ],
        ),
        (
            "a hard link to a symbolic link",
            vec![
                ("link", symbolic, &victim),
                ("hard", hard, "link"),
                ("hard", file, ""),
            ],
        ),
        (
            "a directory over a symbolic link",
            vec![
                ("link", symbolic, &out),
                ("link", directory, ""),
                ("link/victim", file, ""),
            ],
        ),
        ("a device", vec![("device", EntryType::Char, "")]),
        ("a fifo", vec![("fifo", EntryType::Fifo, "")]),
        (
            "no name at all",
            vec![("", file, ""), ("/", file, ""), (".", file, "")],
        ),
        ("the whole target as a link", vec![(".", symbolic, &out)]),
        (
            "the whole target as a hard link",
            vec![("./", hard, &victim)],
        ),
        (
            "what a later run would sweep",
            vec![(
                ".x.dbbackup-tree-0123456789abcdef0123456789abcdef/journal.json",
                file,
                "",
            )],
        ),
        (
            "a file as a directory",
            vec![("a", file, ""), ("a/b", file, "")],
        ),
        (
            "a directory as a file",
            vec![("a", directory, ""), ("a/b", file, ""), ("a", file, "")],
        ),
    ];
    for (what, members) in sets {
        let mut archive = Vec::new();
        for (name, kind, link) in &members {
            let content: &[u8] = if *kind == file { b"evil" } else { b"" };
            member(&mut archive, name, *kind, link, content);
        }
        member(&mut archive, "harmless", file, "", b"good");
        archive.resize(archive.len() + 1024, 0);
        std::fs::write(world.path("evil.tar"), &archive).unwrap();
        let ran = world.dbbackup("restore ./evil.tar --to target").run();
        assert_eq!(picture(&outside), before, "{what}: {ran}");
        // What is harmless comes out, and what does not is told.
        assert_eq!(
            std::fs::read_to_string(world.path("target/harmless")).unwrap(),
            "good",
            "{what}: {ran}"
        );
        let all = [
            "over a symbolic link",
            "a directory over a symbolic link",
            "a hard link to a symbolic link",
        ]
        .contains(&what);
        if !all {
            ran.exits(3).says("not restored");
        }
        assert!(
            !world.path("evil").exists()
                && names(&world.path(""))
                    .iter()
                    .all(|name| !name.contains(".dbbackup-")),
            "{what}"
        );
        std::fs::remove_dir_all(world.path("target")).unwrap();
        // Nor does a look at it.
        world.dbbackup("verify ./evil.tar --level restore").run();
        assert_eq!(picture(&outside), before, "{what}");
    }
    // An absolute name is one below the target, as every tar has it.
    let mut archive = Vec::new();
    member(&mut archive, &victim, file, "", b"evil");
    archive.resize(archive.len() + 1024, 0);
    std::fs::write(world.path("evil.tar"), &archive).unwrap();
    world
        .dbbackup("restore ./evil.tar --to target")
        .run()
        .exits(0);
    assert_eq!(picture(&outside), before);
    assert_eq!(
        std::fs::read_to_string(below(&world, "target", "outside/victim")).unwrap(),
        "evil"
    );
}

/// A world with two top paths, a backup of them, and other content since.
struct Changed {
    world: World,
    then: [String; 2],
    now: [String; 2],
}

impl Changed {
    fn new() -> Changed {
        let world = World::new();
        grow(&world.path("one"), 5);
        grow(&world.path("two"), 6);
        world.config(
            "[store]\npath = \"store\"\n[sources.app]\nkind = \"files\"\npaths = \
                      [\"one\", \"two\"]\n",
        );
        let then = Changed::pictures(&world);
        world.dbbackup("backup").run().exits(0);
        for top in ["one", "two"] {
            std::fs::remove_dir_all(world.path(top)).unwrap();
            world.file(&format!("{top}/since"), "x");
        }
        let now = Changed::pictures(&world);
        Changed { world, then, now }
    }

    fn pictures(world: &World) -> [String; 2] {
        ["one", "two"].map(|top| format!("{:?}", picture(&world.path(top))))
    }

    fn restore(&self) -> Call {
        self.world.dbbackup("restore app@latest:manual --yes")
    }

    /// Each top path is the old tree or the new one, whole; the next run tidies up; then everything
    /// is as it was before the kill.
    fn assert_whole_and_tidy(&self, what: &str) {
        let found = Changed::pictures(&self.world);
        for (at, found) in found.iter().enumerate() {
            assert!(
                *found == self.then[at] || *found == self.now[at],
                "{what}: top path {at} is neither"
            );
        }
        // What was exchanged has its old tree kept, before or after the tidying.
        self.world.dbbackup("backup --label after").run().exits(0);
        assert_eq!(
            Changed::pictures(&self.world),
            found,
            "{what}: tidying changed a tree"
        );
        let names = names(&self.world.path(""));
        assert!(
            names.iter().all(|name| !name.contains(".dbbackup-tree-")),
            "{what}: {names:?}"
        );
        for (at, top) in ["one", "two"].into_iter().enumerate() {
            let kept: Vec<&String> = names
                .iter()
                .filter(|name| name.starts_with(&format!("{top}.before-")))
                .collect();
            if found[at] == self.then[at] {
                assert_eq!(kept.len(), 1, "{what}: {names:?}");
                let kept = self.world.path(kept[0]);
                assert_eq!(format!("{:?}", picture(&kept)), self.now[at], "{what}");
                std::fs::remove_dir_all(self.world.path(top)).unwrap();
                std::fs::rename(kept, self.world.path(top)).unwrap();
            } else {
                assert!(kept.is_empty(), "{what}: {names:?}");
            }
        }
        assert_eq!(Changed::pictures(&self.world), self.now, "{what}");
    }
}

#[test]
fn killed_at_any_moment_each_top_path_is_one_of_the_two() {
    let changed = Changed::new();
    let length = timed(changed.restore());
    changed.assert_whole_and_tidy("no kill");
    for moment in moments(length) {
        changed.restore().killed_after(moment);
        changed.assert_whole_and_tidy(&format!("killed after {moment:?}"));
    }
}

#[test]
fn killed_or_failing_at_a_named_moment_each_top_path_is_one_of_the_two() {
    let changed = Changed::new();
    for point in [point::RESTORE_READY, point::RESTORE_IN_PLACE] {
        // Once for each top path.
        for count in 1.. {
            let ran = changed.restore().killed_at(point, count);
            changed.assert_whole_and_tidy(&format!("killed at `{point}` number {count}"));
            if ran.has_ended_by_itself() {
                assert!(count > 1, "`{point}` never came");
                break;
            }
            changed.restore().failing_at(point, count).exits(1);
            changed.assert_whole_and_tidy(&format!("failed at `{point}` number {count}"));
        }
    }
}

/// Not at random: before each call that renames, exchanges or syncs.
#[test]
fn killed_at_each_step_of_the_exchange() {
    if !can_trace() {
        return;
    }
    let changed = Changed::new();
    for call in ["renameat2", "syncfs,fsync", "unlinkat,rmdir,unlink"] {
        for turn in 1.. {
            let old = changed.restore();
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg(format!("inject={call}:signal=SIGKILL:when={turn}"));
            command
                .arg(crate::support::binary())
                .args(old.command.get_args())
                .current_dir(changed.world.path(""))
                .env("HOME", changed.world.path(""));
            let status = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            changed.assert_whole_and_tidy(&format!("killed at {call} number {turn}"));
            if status.success() || turn > 40 {
                assert!(turn > 1, "{call} never came");
                break;
            }
        }
    }
}

/// A directory with a file system of its own; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf) -> Option<Mounted> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
                .arg(&path)
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            skip("a file system can't be mounted here");
        }
        mounted.then_some(Mounted(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_mount_point_has_its_content_exchanged() {
    let world = World::new();
    let Some(disk) = Mounted::at(world.path("disk")) else {
        return;
    };
    let content = |root: &Path| -> Vec<(String, String)> {
        let all = walkdir::WalkDir::new(root)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                !entry
                    .file_name()
                    .to_str()
                    .unwrap()
                    .starts_with(".dbbackup-")
            });
        let files = all
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file());
        files
            .map(|entry| {
                (
                    entry
                        .path()
                        .strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                    std::fs::read_to_string(entry.path()).unwrap(),
                )
            })
            .collect()
    };
    for name in ["both", "only-then", "deep/a"] {
        world.file(&format!("disk/{name}"), "then");
    }
    let then = content(&disk.0);
    world.with_store("backup ./disk").run().exits(0);
    std::fs::remove_file(world.path("disk/only-then")).unwrap();
    for name in ["both", "only-now", "deep/b"] {
        world.file(&format!("disk/{name}"), "now");
    }
    let now = content(&disk.0);
    let kept = |root: &Path| {
        names(root)
            .into_iter()
            .filter(|name| name.starts_with(".dbbackup-before-"))
            .collect::<Vec<_>>()
    };
    // Killed before each rename: the next run brings it to one side or the other.
    if have("strace") {
        for turn in 1..12 {
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg(format!("inject=renameat2:signal=SIGKILL:when={turn}"));
            command
                .arg(crate::support::binary())
                .args(["--store", "store", "restore", "disk@latest:manual", "--yes"])
                .current_dir(world.path(""))
                .env("HOME", world.path(""));
            let done = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success();
            world
                .with_store("backup ./disk --label after")
                .run()
                .exits(0);
            let found = content(&disk.0);
            assert!(
                names(&disk.0)
                    .iter()
                    .all(|name| !name.starts_with(".dbbackup-tree-")),
                "turn {turn}: {:?}",
                names(&disk.0)
            );
            if found == now {
                assert_eq!(kept(&disk.0), [] as [&str; 0], "turn {turn}");
            } else {
                assert_eq!(found, then, "turn {turn}");
                let old = disk.0.join(&kept(&disk.0)[0]);
                assert_eq!(content(&old), now, "turn {turn}");
                // As before.
                for name in names(&disk.0)
                    .into_iter()
                    .filter(|name| !name.starts_with(".dbbackup-"))
                {
                    let path = disk.0.join(name);
                    if path.is_dir() {
                        std::fs::remove_dir_all(path).unwrap()
                    } else {
                        std::fs::remove_file(path).unwrap()
                    }
                }
                for name in names(&old) {
                    std::fs::rename(old.join(&name), disk.0.join(&name)).unwrap();
                }
                std::fs::remove_dir(old).unwrap();
            }
            if done {
                break;
            }
        }
    }
    world
        .with_store("restore disk@latest:manual --yes")
        .run()
        .exits(0)
        .prints("what was there is kept as");
    assert_eq!(content(&disk.0), then);
    assert_eq!(kept(&disk.0).len(), 1);
    // What is kept is no part of the next backup.
    let sidecar = world
        .with_store("backup ./disk --json")
        .run()
        .exits(0)
        .says("what a restore replaced, and left out")
        .made();
    assert_eq!(sidecar["manifest"]["tree"]["files"], 3);
}

#[test]
fn too_little_space_is_told_before_the_work() {
    let world = World::new();
    let Some(disk) = Mounted::at(world.path("disk")) else {
        return;
    };
    std::fs::create_dir(world.path("tree")).unwrap();
    std::fs::write(world.path("tree/large"), vec![7; 60 << 20]).unwrap();
    world.with_store("backup ./tree").run().exits(0);
    world
        .with_store("restore tree --to disk/out")
        .run()
        .exits(1)
        .says("too little space")
        .says("missing");
    assert_eq!(names(&disk.0), [] as [&str; 0]);
    // And where it only turns out while it is written.
    std::fs::write(disk.0.join("ballast"), vec![1; 39 << 20]).unwrap();
    world.file("small/a", &"x".repeat(900_000));
    world.file("small/b", &"y".repeat(900_000));
    let sidecar = world
        .with_store("backup ./small --json")
        .run()
        .exits(0)
        .made();
    world.edit_sidecar(sidecar["id"].as_str().unwrap(), |sidecar| {
        sidecar["dump"]["content_size_bytes"] = 10.into()
    });
    world
        .with_store("restore small --to disk/out")
        .run()
        .exits(1);
    assert_eq!(names(&disk.0), ["ballast"]);
}

/// All of an application in one run, and back again from the newest run in which all of it
/// succeeded.
#[test]
fn a_group_of_databases_and_files() {
    let world = World::new();
    world.shop("app.db");
    grow(&world.path("uploads"), 21);
    world.file("etc/app.env", "PORT=1");
    world.config(
        "[store]\npath = \"store\"\n[backup]\nverify_after = \"restore\"\nscratch_dir = \
         \"scratch\"\n[groups]\nfull = [\"app\", \"uploads\", \"settings\"]\nconfiguration = \
         [\"settings\"]\n\
         [sources.app]\nkind = \"sqlite\"\npath = \"app.db\"\n[sources.uploads]\nkind = \
         \"files\"\npaths = [\"uploads\"]\n\
         [sources.settings]\nkind = \"files\"\npaths = [\"etc\"]\n",
    );
    std::fs::create_dir(world.path("scratch")).unwrap();
    let then = (
        crate::support::contents(&world.path("app.db")),
        picture(&world.path("uploads")),
    );
    let json = world.dbbackup("backup full --json").run().exits(0).json();
    let runs: std::collections::BTreeSet<&str> = json["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| backup["run"].as_str().unwrap())
        .collect();
    assert_eq!(
        (json["backups"].as_array().unwrap().len(), runs.len()),
        (3, 1)
    );
    world.dbbackup("backup configuration").run().exits(0);
    // A run that is not complete is none to go back to.
    std::fs::rename(world.path("uploads"), world.path("elsewhere")).unwrap();
    world
        .dbbackup("backup full")
        .run()
        .exits(3)
        .says("2 of 3: app, settings ok; uploads failed");
    world.sql("app.db", "DELETE FROM orders");
    world.file("uploads/new", "x");
    world.file("etc/app.env", "PORT=2");
    world
        .dbbackup("restore full --dry-run")
        .run()
        .exits(0)
        .prints("/uploads/new")
        .prints("nothing was done");
    world.dbbackup("restore full --yes").run().exits(0);
    assert_eq!(
        (
            crate::support::contents(&world.path("app.db")),
            picture(&world.path("uploads"))
        ),
        then
    );
    assert_eq!(
        std::fs::read_to_string(world.path("etc/app.env")).unwrap(),
        "PORT=1"
    );
    assert_eq!(names(&world.path("scratch")), [] as [&str; 0]);
}

/// An exchange takes whatever lies in a tree along with the old one.
#[test]
fn what_lies_inside_and_is_not_of_the_backup_keeps_a_tree_from_being_exchanged() {
    let world = World::new();
    world.file("srv/site/index.html", "then");
    world.shop("srv/app.db");
    world.config(
        "[store]\npath = \"srv/backups\"\n[sources.srv]\nkind = \"files\"\npaths = \
         [\"srv\"]\nexclude = [\"app.db*\"]\n\
         [sources.site]\nkind = \"files\"\npaths = [\"srv/site\"]\n[sources.app]\nkind = \
         \"sqlite\"\npath = \"srv/app.db\"\n",
    );
    world.dbbackup("backup").run().exits(0);
    let before = picture(&world.path("srv"));
    // The store itself.
    for more in ["", " --no-safety-backup"] {
        world
            .dbbackup(&format!("restore srv --yes{more}"))
            .run()
            .exits(2)
            .says("the store `")
            .says("lies in `")
            .says("--to");
    }
    assert_eq!(picture(&world.path("srv")), before);
    // Another source's database that this one leaves out.
    world.config(
        "[store]\npath = \"store\"\n[sources.srv]\nkind = \"files\"\npaths = [\"srv\"]\nexclude = \
         [\"app.db*\", \"backups\"]\n\
         [sources.site]\nkind = \"files\"\npaths = [\"srv/site\"]\n[sources.app]\nkind = \
         \"sqlite\"\npath = \"srv/app.db\"\n",
    );
    world.dbbackup("backup").run().exits(0);
    world
        .dbbackup("restore srv --yes")
        .run()
        .exits(2)
        .says("`app` lies in `")
        .says("is not in this backup");
    assert!(world.path("srv/app.db").is_file());
    // What is in the backup may go, and what it left out is told.
    world.config(
        "[store]\npath = \"store\"\n[sources.srv]\nkind = \"files\"\npaths = \
                  [\"srv\"]\nexclude = [\"app.db*\", \"backups\"]\n[sources.site]\nkind = \
                  \"files\"\npaths = [\"srv/site\"]\n",
    );
    world.file("srv/site/index.html", "now");
    world
        .dbbackup("restore srv --yes")
        .run()
        .exits(0)
        .says("exclude app.db*")
        .says("goes aside with the old");
    assert_eq!(
        std::fs::read_to_string(world.path("srv/site/index.html")).unwrap(),
        "then"
    );
}

#[test]
fn what_is_mounted_inside_keeps_a_tree_from_being_exchanged() {
    let world = World::new();
    world.file("tree/a", "then");
    let Some(disk) = Mounted::at(world.path("tree/disk")) else {
        return;
    };
    world.file("tree/disk/precious", "mine");
    world.config("[sources.tree]\nkind = \"files\"\npaths = [\"tree\"]\none_file_system = true\n");
    world.with_store("backup tree").run().exits(0);
    for more in ["", " --no-safety-backup"] {
        world
            .with_store(&format!("restore tree --yes{more}"))
            .run()
            .exits(1)
            .says("is a mount point")
            .says("unmount it first");
    }
    assert_eq!(
        std::fs::read_to_string(disk.0.join("precious")).unwrap(),
        "mine"
    );
}

/// A tree in the middle of an exchange must not be swept by a restore to somewhere else.
#[test]
fn a_restore_to_elsewhere_sweeps_nothing_of_an_exchange() {
    let world = World::new();
    world.file("tree/a", "x");
    world.with_store("backup ./tree").run().exits(0);
    let scratch = world.path(".out.dbbackup-tree-0123456789abcdef0123456789abcdef");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::write(scratch.join("tree"), "the old one").unwrap();
    world.with_store("restore tree --to out").run().exits(0);
    assert_eq!(
        std::fs::read_to_string(scratch.join("tree")).unwrap(),
        "the old one"
    );
}

/// Where the file system can neither exchange names nor refuse to overwrite one.
#[test]
fn without_renameat2() {
    if !have("strace")
        || !Command::new("strace")
            .args(["-f", "-o", "/dev/null", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        return;
    }
    let world = World::new();
    grow(&world.path("tree"), 4);
    let then = picture(&world.path("tree"));
    world.with_store("backup ./tree").run().exits(0);
    let without = |arguments: &str| {
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "inject=renameat2:error=EINVAL",
            ])
            .arg(crate::support::binary());
        command
            .args(arguments.split(' '))
            .current_dir(world.path(""))
            .env("HOME", world.path(""));
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    without("--store store restore tree --to out");
    assert_eq!(picture(&below(&world, "out", "tree")), then);
    std::fs::remove_dir_all(world.path("tree")).unwrap();
    world.file("tree/now", "x");
    without("--store store restore tree --yes");
    assert_eq!(picture(&world.path("tree")), then);
    let kept = names(&world.path(""))
        .into_iter()
        .find(|name| name.starts_with("tree.before-"))
        .unwrap();
    assert_eq!(names(&world.path(&kept)), ["now"]);
}

/// One of several top paths that can't be exchanged: all others are put back, on mount points, too.
#[test]
fn one_path_that_fails_takes_all_back() {
    let world = World::new();
    let Some(disk) = Mounted::at(world.path("disk")) else {
        return;
    };
    for name in ["disk/a", "tree/a"] {
        world.file(name, "then");
    }
    world.config("[sources.both]\nkind = \"files\"\npaths = [\"disk\", \"tree\"]\n");
    world.with_store("backup both").run().exits(0);
    for name in ["disk/a", "disk/b", "tree/a"] {
        world.file(name, "now");
    }
    if !have("strace") {
        return;
    }
    // The first call that would rename in the second top path.
    for turn in 2..8 {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject=renameat2:error=EIO:when={turn}"));
        command
            .arg(crate::support::binary())
            .args(["--store", "store", "restore", "both", "--yes"]);
        let output = command
            .current_dir(world.path(""))
            .env("HOME", world.path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            break;
        }
        assert!(
            said.contains("nothing was restored, and all is as it was"),
            "{turn}: {said}"
        );
        for name in ["disk/a", "disk/b", "tree/a"] {
            assert_eq!(
                std::fs::read_to_string(world.path(name)).unwrap(),
                "now",
                "{turn}: {name}: {said}"
            );
        }
        assert_eq!(names(&disk.0), ["a", "b"], "{turn}");
        assert!(
            names(&world.path(""))
                .iter()
                .all(|name| !name.contains(".before-") && !name.contains(".dbbackup-")),
            "{turn}: {:?}",
            names(&world.path(""))
        );
    }
}

/// A directory above may give whatever is made in it to others.
#[test]
fn inherited_rights_open_nothing() {
    let world = World::new();
    world.file("tree/secret", "x");
    set_mode(&world.path("tree/secret"), 0o600);
    let then = picture(&world.path("tree"));
    world.with_store("backup ./tree").run().exits(0);
    // user::rwx, user:1234:rwx, group::r-x, mask::rwx, other::r-x
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 1234),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&rights.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let inherits = rustix::fs::setxattr(
        world.path(""),
        "system.posix_acl_default",
        &acl,
        rustix::fs::XattrFlags::empty(),
    );
    if inherits.is_err() {
        return skip("this file system has no ACLs");
    }
    world.with_store("restore tree --yes").run().exits(0);
    assert_eq!(picture(&world.path("tree")), then);
    world.with_store("restore tree --to out").run().exits(0);
    assert_eq!(picture(&below(&world, "out", "tree")), then);
}
