//! Which store a command uses, what it makes there and with which permissions, and stores that
//! can't be written to.

use crate::support::{Call, World, binary, is_root, set_mode};
use crate::tools::skip;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn flag_then_file_then_environment() {
    let world = World::new();
    world.shop("app.db");
    world
        .dbbackup("backup app.db")
        .env("DBBACKUP_STORE", "of-env")
        .run()
        .exits(0);
    assert!(world.path("of-env/app").is_dir());
    world.config("[store]\npath = 'of-file'\n[stores.usb]\npath = 'of-usb'\n");
    world
        .dbbackup("backup app.db")
        .env("DBBACKUP_STORE", "of-env2")
        .run()
        .exits(0);
    world
        .dbbackup("backup app.db --store ./of-flag")
        .env("DBBACKUP_STORE", "of-env2")
        .run()
        .exits(0);
    world.dbbackup("backup app.db --store usb").run().exits(0);
    assert!(
        world.path("of-file/app").is_dir()
            && world.path("of-flag/app").is_dir()
            && world.path("of-usb/app").is_dir()
    );
    assert!(!world.path("of-env2").exists() && !world.path("usb").exists());
    world
        .dbbackup("list --store usb")
        .run()
        .exits(0)
        .prints("app_manual_");
}

#[test]
fn a_mistyped_store_is_not_made() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'of-usb'\n[stores.nightly]\npath = 'far'\n",
    );
    for command in ["backup app.db", "list", "restore app --to x.db"] {
        let ran = world
            .dbbackup(&format!("--store ubs {command}"))
            .run()
            .exits(2);
        ran.says("no store is called `ubs`")
            .says("the configuration has `nightly`, `usb`; a directory is written `./ubs`");
    }
    world
        .dbbackup("--store nigthly list")
        .run()
        .exits(2)
        .says("hint: did you mean `nightly`? a directory is written `./nigthly`");
    world
        .dbbackup("--store elsewhere backup app.db")
        .run()
        .exits(2)
        .says("no store is called `elsewhere`");
    assert!(!world.path("ubs").exists() && !world.path("elsewhere").exists());
    world.dbbackup("--store ./ubs backup app.db").run().exits(0);
    // It is one now, whatever it is called.
    world
        .dbbackup("--store ubs list")
        .run()
        .exits(0)
        .prints("app_manual_");
    // Without names there is nothing to mistype.
    world.config("[store]\npath = 'store'\n");
    world
        .dbbackup("--store elsewhere backup app.db")
        .run()
        .exits(0);
}

#[test]
fn a_directory_of_something_else_does_not_become_a_store() {
    let world = World::new();
    world.shop("app.db");
    world.file("home/letters/a.txt", "x");
    let ran = world.dbbackup("--store home backup app.db").run().exits(2);
    ran.says("/home` is no store, and it is not empty: `letters` is in it")
        .says("/home/backups`")
        .says("dbbackup-store.json`");
    world
        .dbbackup("--store home doctor app.db")
        .run()
        .exits(1)
        .prints("it is not empty");
    assert_eq!(std::fs::read_dir(world.path("home")).unwrap().count(), 1);
    // The hint does it.
    world.file("home/dbbackup-store.json", "{\"format\": 1}");
    world.dbbackup("--store home backup app.db").run().exits(0);
    // An empty file system, and a copy of a store without its mark.
    std::fs::create_dir_all(world.path("disk/lost+found")).unwrap();
    world.file("disk/.Trash-1000", "");
    world.dbbackup("--store disk backup app.db").run().exits(0);
    std::fs::remove_file(world.path("disk/dbbackup-store.json")).unwrap();
    world.dbbackup("--store disk backup app.db").run().exits(0);
}

#[test]
fn only_the_last_component_is_made() {
    let world = World::new();
    world.shop("app.db");
    world.dbbackup("--store new backup app.db").run().exits(0);
    world
        .dbbackup("--store a/b backup app.db")
        .run()
        .exits(1)
        .says("is the disk mounted?");
    assert!(!world.path("a").exists());
    let file = world.file("file", "x");
    world
        .dbbackup(&format!("--store {} backup app.db", file.display()))
        .run()
        .exits(10)
        .says("is not a directory");
    for command in [
        "list",
        "verify",
        "show app",
        "restore app --to x.db",
        "cleanup -n --keep-last 1",
    ] {
        world
            .dbbackup(&format!("--store nowhere {command}"))
            .run()
            .exits(10)
            .says("nowhere")
            .says("hint: ");
    }
    assert!(!world.path("nowhere").exists(), "reading makes no store");
    // An unset variable does not make a store of the current directory.
    world
        .dbbackup_with(&["--store", "", "backup", "app.db"])
        .run()
        .exits(2)
        .says("`--store` is empty");
    assert!(!world.path("dbbackup-store.json").exists());
}

#[test]
fn a_mount_that_is_required_is_required() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\nrequire_mount = true\n[sources.app]\nkind = \
                  'sqlite'\npath = 'app.db'\n",
    );
    let device =
        |path: &str| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    if device("/") != device(world.path("").to_str().unwrap()) {
        return; // The temporary directory is itself a file system of its own.
    }
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("nothing is mounted")
        .says("require_mount")
        .says("hint: ");
    assert!(!world.path("store").exists());
    std::fs::create_dir(world.path("store")).unwrap();
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("nothing is mounted");
    assert_eq!(
        std::fs::read_dir(world.path("store")).unwrap().count(),
        0,
        "nothing is written below the mount point"
    );
}

#[test]
fn only_the_owner_can_read_it() {
    let world = World::new();
    world.shop("app.db");
    world.config("[retention]\nkeep_last = 3\n");
    world.with_store("backup app.db --pin").run().exits(0);
    world.with_store("verify").run().exits(0);
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(world.path("store")) {
        let entry = entry.unwrap();
        let wanted = if entry.file_type().is_dir() {
            0o700
        } else {
            0o600
        };
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, wanted, "{}", entry.path().display());
        seen += 1;
    }
    assert_eq!(
        seen, 12,
        "store, mark, config, three files to recover by hand, source, lock, dump, sidecar, two \
         events"
    );
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_one_without_a_mark_is_taken() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    std::fs::remove_file(world.path("store/dbbackup-store.json")).unwrap();
    world
        .with_store("list")
        .run()
        .exits(0)
        .prints("app_manual_");
    world.file("store/dbbackup-store.json", r#"{"format": 2, "uuid": "x"}"#);
    for command in [
        "list",
        "backup app.db",
        "verify",
        "restore app --to x.db",
        "cleanup --keep-last 1",
    ] {
        world
            .with_store(command)
            .run()
            .exits(1)
            .says("format 2")
            .says("newer one");
    }
    world.file(
        "store/dbbackup-store.json",
        r#"{"format": 1, "uuid": "x", "more": true}"#,
    );
    world.with_store("backup app.db").run().exits(0);
}

#[test]
fn a_store_can_be_moved() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    std::fs::create_dir(world.path("far")).unwrap();
    std::fs::rename(world.path("store"), world.path("far/away")).unwrap();
    world
        .dbbackup("--store far/away verify --level restore")
        .run()
        .exits(0);
    world
        .dbbackup("--store far/away restore app --to back.db")
        .run()
        .exits(0);
}

/// The binary as a user who can't write to the store, or `None` where that can't be arranged here.
struct Reader {
    world: World,
    bin: std::path::PathBuf,
}

impl Reader {
    fn new(world: World) -> Option<Reader> {
        // Where the binary lies, another user may have no way in.
        let bin = world.path("dbbackup-bin");
        std::fs::hard_link(binary(), &bin)
            .or_else(|_| std::fs::copy(binary(), &bin).map(drop))
            .unwrap();
        if is_root() {
            set_mode(&world.path(""), 0o755);
            let chown = Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(world.path("store"))
                .status();
            let setpriv = Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                .arg(&bin)
                .arg("-V")
                .output();
            if !chown.is_ok_and(|status| status.success())
                || !setpriv.is_ok_and(|output| output.status.success())
            {
                return None;
            }
        }
        for entry in walkdir::WalkDir::new(world.path("store")).contents_first(true) {
            let entry = entry.unwrap();
            set_mode(
                entry.path(),
                if entry.file_type().is_dir() {
                    0o500
                } else {
                    0o400
                },
            );
        }
        Some(Reader { world, bin })
    }

    fn call(&self, arguments: &str) -> Call {
        let mut call = self.world.dbbackup(&format!("--store store {arguments}"));
        if is_root() {
            let old = std::mem::replace(&mut call.command, Command::new("setpriv"));
            call.command
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                .arg(&self.bin)
                .args(old.get_args());
            call.command
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("TZ", "UTC")
                .current_dir(self.world.path(""));
        }
        call
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // So that the temporary directory can be removed.
        for entry in walkdir::WalkDir::new(self.world.path("store"))
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_dir())
        {
            set_mode(entry.path(), 0o700);
        }
    }
}

#[test]
fn a_read_only_store_is_listed_shown_verified_and_restored_from() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let out = world.path("out");
    std::fs::create_dir(&out).unwrap();
    set_mode(&out, 0o777);
    let Some(reader) = Reader::new(world) else {
        return;
    };
    reader.call("list").run().exits(0).prints("app_manual_");
    reader
        .call("show app --contents")
        .run()
        .exits(0)
        .prints("orders");
    reader
        .call("verify --level restore")
        .run()
        .exits(0)
        .never_says("warning");
    reader.call("verify --all").run().exits(0);
    let target = out.join("back.db");
    reader
        .call(&format!("restore app --to {}", target.display()))
        .run()
        .exits(0);
    assert!(target.is_file());
    reader
        .call("cleanup -n --keep-last 1")
        .run()
        .exits(0)
        .prints("nothing was done");
    // What has to write says that it can't.
    reader
        .call("pin app")
        .run()
        .exits(1)
        .says("permission denied");
    reader
        .call("backup app.db")
        .run()
        .exits(1)
        .says("permission denied");
    assert!(
        reader.world.stored("app", ".event.json").is_empty(),
        "the result was not kept"
    );
}

#[test]
fn what_root_makes_in_the_store_of_another_is_said() {
    if !is_root() {
        return skip("this needs root");
    }
    let world = World::new();
    world.shop("app.db");
    let said = "it belongs to root, and the store to ";
    world
        .with_store("backup app.db")
        .run()
        .exits(0)
        .never_says(said);
    std::os::unix::fs::chown(world.path("store"), Some(1), Some(1)).unwrap();
    world
        .with_store("backup app.db")
        .run()
        .exits(0)
        .says(said)
        .says("dbbackup backup …`");
    world
        .with_store("backup app.db --quiet")
        .run()
        .exits(0)
        .never_says(said);
}

#[test]
fn the_lock_is_no_link() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let (lock, mine) = (world.path("store/app/.lock"), world.file("mine", "mine"));
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&mine, &lock).unwrap();
    world
        .with_store("backup app.db")
        .run()
        .exits(1)
        .says("opening the lock");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
}
