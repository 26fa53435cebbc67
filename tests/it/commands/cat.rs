//! `cat`: the decoded dump and nothing else on stdout, and what is wrong with it on stderr.

use crate::moments::until;
use crate::support::{World, binary};
use crate::tools::have_terminal;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

fn cat(world: &World, arguments: &str) -> Output {
    world
        .with_store(&format!("cat {arguments}"))
        .command
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn damage(world: &World, id: &str) {
    let dump = world.dump_of(id);
    let mut bytes = std::fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(dump, bytes).unwrap();
}

#[test]
fn gives_the_bytes_that_were_backed_up() {
    let world = World::new();
    world.shop("app.db");
    for compression in ["gzip", "zstd", "none"] {
        world.config(&format!("[backup]\ncompression = \"{compression}\"\n"));
        let sidecar = world
            .with_store("backup app.db --json")
            .run()
            .exits(0)
            .made();
        let output = cat(&world, "app");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(said(&output), "");
        assert_eq!(sidecar["dump"]["content_size_bytes"], output.stdout.len());
        std::fs::write(world.path("out.db"), &output.stdout).unwrap();
        let sum = Command::new("sha256sum")
            .arg(world.path("out.db"))
            .output()
            .unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(
            sum.split(' ').next(),
            sidecar["dump"]["content_sha256"].as_str(),
            "{compression}"
        );
    }
}

#[test]
fn a_dump_without_its_sidecar_is_decoded_too() {
    let world = World::new();
    world.shop("app.db");
    let sidecar = world
        .with_store("backup app.db --json")
        .run()
        .exits(0)
        .made();
    let id = sidecar["id"].as_str().unwrap();
    let whole = cat(&world, id).stdout;
    let alone = world.path("alone.sqlite3.gz");
    std::fs::copy(world.dump_of(id), &alone).unwrap();
    let output = cat(&world, "./alone.sqlite3.gz");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(output.stdout == whole);
    let other = world.path("notes.tar.gz");
    let made = Command::new("sh")
        .args(["-c", "echo a tar | gzip > \"$0\""])
        .arg(&other)
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(cat(&world, "./notes.tar.gz").stdout, b"a tar\n");
}

#[test]
fn damage_is_told_after_the_bytes() {
    let world = World::new();
    world.shop("app.db");
    for compression in ["none", "gzip"] {
        world.config(&format!("[backup]\ncompression = \"{compression}\"\n"));
        let id = world
            .with_store("backup app.db --json")
            .run()
            .exits(0)
            .made()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        damage(&world, &id);
        let output = cat(&world, &id);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(
            said(&output).contains(&format!("error: the backup `{id}` is damaged: ")),
            "{}",
            said(&output)
        );
        assert!(
            said(&output).contains("hint: what was written to stdout is not what was backed up"),
            "{}",
            said(&output)
        );
        let length = world.sidecar(&id)["dump"]["content_size_bytes"]
            .as_u64()
            .unwrap();
        if compression == "none" {
            assert_eq!(output.stdout.len() as u64, length);
        }
        std::fs::remove_file(world.dump_of(&id)).unwrap();
        let output = cat(&world, &id);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
        assert!(said(&output).contains("is missing"), "{}", said(&output));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    world.database(
        "big.db",
        "CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(8000000));",
    );
    world.with_store("backup big.db").run().exits(0);
    let mut child = world
        .with_store("cat big")
        .command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut head = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"SQLite format 3\0");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_it_up() {
    let world = World::new();
    world.database(
        "big.db",
        "CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(8000000));",
    );
    world.with_store("backup big.db").run().exits(0);
    let mut running = world.with_store("cat big").start();
    let stdout = running.child.stdout.take().unwrap();
    // No pipe holds less, where none was made smaller.
    until("a full pipe", || {
        rustix::io::ioctl_fionread(&stdout).unwrap() >= 16 << 10
    });
    running.signal(rustix::process::Signal::TERM);
    until("its end", || running.ended());
    drop(stdout);
    running.wait().exits(130);
}

#[test]
fn a_full_disk_is_told() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = world
        .with_store("cat app")
        .command
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("error: writing to the standard output: no space left on device"),
        "{}",
        said(&output)
    );
}

#[test]
fn refuses_what_can_not_be() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let refused = world
        .with_store("cat app --json")
        .run()
        .exits(2)
        .says("`--json` has no place there")
        .json();
    assert_eq!(refused["outcome"], "failed");
    world
        .with_store("cat nothing")
        .run()
        .exits(10)
        .says("no backup or source is called `nothing`");
    let missing = world.database("gone.db", "CREATE TABLE t(x)");
    world.with_store("backup gone.db").run().exits(0);
    std::fs::remove_file(missing).unwrap();
    std::fs::remove_dir_all(world.path("store/gone")).unwrap();
    world.config("[sources.gone]\nkind = \"sqlite\"\npath = \"gone.db\"\n");
    world.with_store("backup gone").run().exits(1);
    let id = world.attempts("gone")[0]["id"].as_str().unwrap().to_owned();
    world
        .with_store(&format!("cat {id}"))
        .run()
        .exits(1)
        .says("is a failed attempt");
}

/// `script` gives the program a terminal.
#[test]
fn a_terminal_is_spared_what_is_no_text() {
    if !have_terminal() {
        return;
    }
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    let line = format!(
        "{} --store {} cat",
        binary().display(),
        world.path("store").display()
    );
    let on_terminal = |what: &str| {
        let command = format!("{line} {what}; echo \"exit $?\"");
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(world.path(""))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = on_terminal("app");
    assert!(
        text.contains("is no text, and stdout is a terminal") && text.contains("exit 2"),
        "{text}"
    );
    let mut script = std::fs::File::create(world.path("roles.sql")).unwrap();
    script.write_all(b"CREATE ROLE me;\n").unwrap();
    let text = on_terminal("./roles.sql");
    assert!(
        text.contains("CREATE ROLE me;") && text.contains("exit 0"),
        "{text}"
    );
}
