//! Encrypted backups: what a store shows without a key, how they are opened with one, by dbbackup
//! and by `age` itself, and that nothing goes out in the clear by a slip.

use crate::moments::next_second;
use crate::support::{Call, World, contents, set_mode};
use crate::tools;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A text that is in the database and must be nowhere else.
const CANARY: &str = "zwitschernder-kanarienvogel-4711";

/// A private key of age in a file; returns its public half.
pub fn new_key(world: &World, name: &str) -> String {
    let path = world.path(name);
    let made = Command::new("age-keygen").arg("-o").arg(&path).output();
    assert!(made.unwrap().status.success());
    set_mode(&path, 0o600);
    public_key(&path)
}

fn public_key(path: &Path) -> String {
    let shown = Command::new("age-keygen").arg("-y").arg(path).output();
    String::from_utf8(shown.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

/// A database with a canary, and a configuration with what it says of encryption.
fn world_with(lines: impl Fn(&World) -> String) -> World {
    let world = World::new();
    world.shop("app.db");
    world.sql(
        "app.db",
        &format!("CREATE TABLE canary(t TEXT); INSERT INTO canary VALUES ('{CANARY}')"),
    );
    let lines = lines(&world);
    world.config(&format!(
        "[store]\npath = 'store'\n[backup]\ncompression = 'zstd'\nscratch_dir = \
         '{}'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n{lines}",
        world.path("").display()
    ));
    world
}

fn encrypted_world() -> World {
    world_with(|world| {
        format!(
            "[encryption]\nrecipients = ['{}']\n",
            new_key(world, "key.txt")
        )
    })
}

/// Every file below a directory, with its bytes.
fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

fn names_below(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = files_below(dir)
        .into_iter()
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// What `age -d | zstd -d` makes of a dump.
fn decoded_by_hand(dump: &Path, key: &Path, to: &Path) {
    let mut age = Command::new("age")
        .arg("-d")
        .arg("-i")
        .args([key, dump])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let zstd = Command::new("zstd")
        .args(["-q", "-d", "-o"])
        .arg(to)
        .stdin(age.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(age.wait().unwrap().success() && zstd.success());
}

fn statuses(json: &Value) -> Vec<&str> {
    let results = json["results"].as_array().unwrap();
    results
        .iter()
        .map(|result| result["status"].as_str().unwrap())
        .collect()
}

#[test]
fn an_encrypted_backup_tells_little_and_opens_with_its_key_alone() {
    let world = encrypted_world();
    let made = world
        .dbbackup("backup --description secret-plan --json")
        .run()
        .exits(0)
        .made();
    let id = made["id"].as_str().unwrap().to_owned();
    let dump = world
        .path("store/app")
        .join(format!("{id}.sqlite3.zst.age"));
    assert!(dump.is_file(), "{:?}", names_below(&world.path("store")));
    // What the run's own answer tells is the whole; what is stored is not.
    assert_eq!(made["manifest"]["rows_total"], 1101);
    assert!(made["manifest"]["tables"].as_array().unwrap().len() == 3);
    let stored = world.sidecar(&id);
    assert_eq!(stored["manifest"]["rows_total"], 1101);
    assert_eq!(stored["manifest"]["tables_total"], 3);
    assert_eq!(stored["manifest"]["tables"].as_array().unwrap().len(), 0);
    assert_eq!(stored["dump"]["encryption"], "age");
    assert!(stored["dump"]["content_sha256"].is_null());
    let key = public_key(&world.path("key.txt"));
    let recipient = stored["dump"]["recipients"][0].as_str().unwrap().to_owned();
    assert!(key.starts_with(recipient.split("...").next().unwrap()));
    for (path, bytes) in files_below(&world.path("store")) {
        for told in [CANARY, "canary", "app.db", "secret-plan", "customer"] {
            let shown = path.display();
            assert!(!has(&bytes, told), "`{told}` stands in {shown}");
        }
    }
    // Without a key.
    world.dbbackup("list").run().exits(0).prints("1,101");
    world.dbbackup("status").run().exits(0);
    world.dbbackup("verify --level checksum").run().exits(0);
    let json = world
        .dbbackup("verify --level content --json")
        .run()
        .exits(1)
        .json();
    assert_eq!(statuses(&json), ["unprovable"]);
    for command in [
        "restore app --to out.db --yes",
        "cat app",
        "export app --format csv --to x",
    ] {
        world
            .dbbackup(command)
            .run()
            .exits(1)
            .says(&recipient)
            .says("--identity FILE");
    }
    assert!(!world.path("out.db").exists());
    let sealed = world.dbbackup("show app").run().exits(0);
    sealed.never_says(CANARY);
    // With another one.
    new_key(&world, "other.txt");
    world
        .dbbackup("restore app --to out.db --yes --identity other.txt")
        .run()
        .exits(1)
        .says("not encrypted to any of the private keys");
    let json = world
        .dbbackup("verify --level content --json --identity other.txt")
        .run()
        .exits(1)
        .json();
    assert_eq!(statuses(&json), ["unprovable"]);
    // With its own.
    for level in ["content", "restore"] {
        world
            .dbbackup(&format!("verify --level {level} --identity key.txt"))
            .run()
            .exits(0);
    }
    world
        .dbbackup("show app")
        .env("DBBACKUP_IDENTITY_FILE", "key.txt")
        .run()
        .exits(0)
        .prints("secret-plan");
    world
        .dbbackup("restore app --to out.db --yes --identity key.txt")
        .run()
        .exits(0);
    assert_eq!(
        contents(&world.path("out.db")),
        contents(&world.path("app.db"))
    );
    // By hand.
    decoded_by_hand(&dump, &world.path("key.txt"), &world.path("hand.db"));
    assert_eq!(
        contents(&world.path("hand.db")),
        contents(&world.path("app.db"))
    );
    // The dump alone, elsewhere.
    fs::copy(&dump, world.path("alone.sqlite3.zst.age")).unwrap();
    world
        .dbbackup("restore ./alone.sqlite3.zst.age --to alone.db --yes --identity key.txt")
        .run()
        .exits(0);
    assert_eq!(
        contents(&world.path("alone.db")),
        contents(&world.path("app.db"))
    );
}

#[test]
fn what_is_wrong_with_the_recipients_ends_the_run_before_anything_is_stored() {
    let cases: [(&str, &str); 9] = [
        ("recipients = []", "names nobody"),
        ("stores = ['main']", "no `recipients`"),
        ("recipients_file = 'none.txt'", "recipients_file"),
        ("recipients_file = 'empty.txt'", "names no recipient"),
        ("recipients = ['age1nonsense']", "is no recipient"),
        (
            "recipients = ['age1qyqszqgpqyqszqgpqyqszqgp']",
            "is no recipient",
        ),
        (
            "recipients_file = 'private.txt'",
            "this is a private key, and a public one is wanted",
        ),
        ("passphrase_command = 'exit 3'", "passphrase_command"),
        (
            "recipients = ['ssh-dss AAAAB3NzaC1kc3MAAACB']",
            "a key of SSH that age can't encrypt to",
        ),
    ];
    for (line, said) in cases {
        let world = world_with(|world| {
            world.file("empty.txt", "# nobody\n");
            new_key(world, "private.txt");
            format!("[encryption]\n{line}\n")
        });
        let ran = world.dbbackup("backup").run().exits(2).says(said);
        ran.never_says("AGE-SECRET-KEY-1");
        let left = names_below(&world.path(""));
        assert!(
            !left.iter().any(|name| name.contains("sqlite3")),
            "{line}: {left:?}"
        );
    }
}

/// A public key of a kind that the built-in age does not know.
const UNKNOWN_KIND: &str = "age1pq1puc39p9da6r68gd0gwkfnw28vl4yc4jm79zzgxm3uruma4gh2g8ser7544";

/// A world that encrypts to a key of that kind, and to another one, with a program `age` that
/// stands for a newer one: what it is told of that key it does with a key that it knows. `before`
/// is the beginning of its script.
fn world_with_a_newer_age(before: &str) -> World {
    let world = world_with(|world| {
        new_key(world, "known.txt");
        let known = public_key(&world.path("known.txt"));
        format!("[encryption]\nrecipients = ['{UNKNOWN_KIND}', '{known}']\n")
    });
    new_key(&world, "stand-in.txt");
    set_mode(&world.file("new.txt", "AGE-SECRET-KEY-PQ-1QQQQQQ\n"), 0o600);
    std::fs::create_dir(world.path("bin")).unwrap();
    let script = format!(
        "#!/bin/sh\n{before}\nfor word do\n  shift\n  case $word in\n    {UNKNOWN_KIND}) word={} \
         ;;\n    \
         *new.txt) word=stand-in.txt ;;\n  esac\n  set -- \"$@\" \
         \"$word\"\ndone\nPATH=${{PATH#*:}}\nexec \
         age \"$@\"\n",
        public_key(&world.path("stand-in.txt"))
    );
    world.script("bin/age", &script);
    world
}

fn with_newer_age(world: &World, arguments: &str) -> Call {
    let path = std::env::var("PATH").unwrap();
    let bin = world.path("bin").display().to_string();
    world
        .dbbackup(arguments)
        .env("PATH", &format!("{bin}:{path}"))
}

#[test]
fn a_recipient_that_only_the_program_knows_is_never_ignored() {
    if !tools::have("age") {
        return;
    }
    let world = world_with_a_newer_age("");
    // The one that is installed does not know it.
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("needs the program `age`")
        .says("hint: ");
    assert!(!world.path("store/app").exists());
    with_newer_age(&world, "backup").run().exits(0);
    let dump = world.dump("app");
    decoded_by_hand(&dump, &world.path("stand-in.txt"), &world.path("a.db"));
    decoded_by_hand(&dump, &world.path("known.txt"), &world.path("b.db"));
    let expected = contents(&world.path("app.db"));
    assert_eq!(contents(&world.path("a.db")), expected);
    assert_eq!(contents(&world.path("b.db")), expected);
    for identity in ["new.txt", "known.txt"] {
        with_newer_age(
            &world,
            &format!("verify --level restore --identity {identity}"),
        )
        .run()
        .exits(0)
        .prints("rows: ");
    }
    fs::remove_file(world.path("stand-in.txt")).unwrap();
    new_key(&world, "stand-in.txt");
    let wrong = with_newer_age(&world, "verify --level content --identity new.txt --json").run();
    assert_eq!(statuses(&wrong.exits(1).json()), ["unprovable"]);
}

#[test]
fn a_program_that_fails_or_does_not_encrypt_leaves_nothing() {
    if !tools::have("age") {
        return;
    }
    // It is tried once before the run.
    for (then, said) in [
        (
            "head -c 500 >/dev/null; echo no more >&2; exit 1",
            "no more",
        ),
        ("age --recipient $2 | head -c 20000; exit 1", "`age` "),
        ("cat >/dev/null; exit 0", "`age` gave 0 B"),
        ("age --recipient $2 | head -c 20000; exit 0", "`age` "),
        ("exec cat", "what was to be encrypted is not"),
    ] {
        let before = format!("if [ -e tried ]; then PATH=${{PATH#*:}}; {then}; fi\ntouch tried");
        let world = world_with_a_newer_age(&before);
        with_newer_age(&world, "backup").run().exits(1).says(said);
        assert_eq!(world.ids(""), [""; 0]);
        let left = names_below(&world.path("store"));
        assert!(
            !left.iter().any(|name| name.contains("sqlite3")),
            "{left:?}"
        );
        let is_plain = |(_, bytes): &(PathBuf, Vec<u8>)| has(bytes, "SQLite format 3");
        assert!(!files_below(&world.path("store")).iter().any(is_plain));
    }
}

#[test]
fn a_store_of_encrypted_backups_gets_no_plain_one_by_a_slip() {
    let world = encrypted_world();
    world.dbbackup("backup").run().exits(0);
    next_second();
    // Another configuration, or none at all.
    let plain = "--config /dev/null --store store backup app.db --as app";
    world
        .dbbackup(plain)
        .run()
        .exits(2)
        .says("holds encrypted backups alone")
        .says("--plain");
    assert_eq!(world.ids("").len(), 1);
    world.dbbackup(&format!("{plain} --plain")).run().exits(0);
    assert_eq!(world.ids("").len(), 2);
}

#[test]
fn copies_are_encrypted_on_the_way_and_proven_before_anything_is_removed_here() {
    let world = world_with(|world| {
        let key = new_key(world, "key.txt");
        format!(
            "[stores.usb]\npath = 'usb'\n[encryption]\nrecipients = ['{key}']\nstores = ['usb']\n"
        )
    });
    let config = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let config = config.replace(
        "[backup]\n",
        "[backup]\ncopies = ['usb']\nrequire_copy = true\n",
    );
    world.config(&config);
    world.dbbackup("backup").run().exits(0);
    let id = world.ids("").remove(0);
    assert!(world.path(&format!("store/app/{id}.sqlite3.zst")).is_file());
    assert!(
        world
            .path(&format!("usb/app/{id}.sqlite3.zst.age"))
            .is_file()
    );
    assert!(world.path(&format!("usb/app/{id}.meta.json.age")).is_file());
    for (path, bytes) in files_below(&world.path("usb")) {
        assert!(
            !has(&bytes, CANARY) && !has(&bytes, "canary"),
            "{}",
            path.display()
        );
    }
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .never_says("not yet in");
    world
        .dbbackup("verify --store usb --level restore --identity key.txt")
        .run()
        .exits(0);
    world
        .dbbackup("restore app --store usb --to out.db --yes --identity key.txt")
        .run()
        .exits(0);
    assert_eq!(
        contents(&world.path("out.db")),
        contents(&world.path("app.db"))
    );
    // A second one, so that the first may go; its copy is proven by what was noted when it was
    // made.
    next_second();
    world.dbbackup("backup").run().exits(0);
    let kept = world
        .dbbackup("cleanup --keep-last 1 --dry-run --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(kept["deleted"][0]["id"], id.as_str());
    // An encrypted copy with another sidecar is not taken for it.
    let theirs = world.path(&format!("usb/app/{id}.json"));
    let text = fs::read_to_string(&theirs).unwrap();
    fs::write(
        &theirs,
        text.replace("\"rows_total\": 1101", "\"rows_total\": 1102"),
    )
    .unwrap();
    let kept = world.dbbackup("cleanup --keep-last 1 --json").run().json();
    assert_eq!(kept["deleted_count"], 0, "{kept}");
    fs::write(&theirs, text).unwrap();
    let kept = world
        .dbbackup("cleanup --keep-last 1 --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(kept["deleted_count"], 1, "{kept}");
}

#[test]
fn the_list_of_a_tree_is_encrypted_too() {
    let world = World::new();
    let key = new_key(&world, "key.txt");
    fs::create_dir(world.path("tree")).unwrap();
    world.file("tree/geheimer-name.txt", CANARY);
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.tree]\nkind = 'files'\npaths = \
         ['tree']\n[encryption]\nrecipients = ['{key}']\n"
    ));
    world.dbbackup("backup").run().exits(0);
    for (path, bytes) in files_below(&world.path("store")) {
        assert!(!has(&bytes, "geheimer-name"), "{}", path.display());
    }
    world
        .dbbackup("show tree --contents --identity key.txt")
        .run()
        .exits(0)
        .prints("geheimer-name.txt");
    world
        .dbbackup("verify --level restore --identity key.txt")
        .run()
        .exits(0);
    world
        .dbbackup("restore tree --to out --yes --identity key.txt")
        .run()
        .exits(0);
    world.dbbackup("delete --yes --force tree").run();
    let id = world.ids("").remove(0);
    world
        .dbbackup(&format!("delete {id} --yes --force"))
        .run()
        .exits(0);
    let left = names_below(&world.path("store/tree"));
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
}

#[test]
fn keys_of_ssh_and_passphrases_serve_as_well() {
    let world = World::new();
    world.shop("app.db");
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048")] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f"])
            .arg(world.path(kind))
            .status();
        assert!(made.unwrap().success());
    }
    world.file("pass.txt", "correct horse\n");
    set_mode(&world.path("pass.txt"), 0o600);
    let public = |kind: &str| {
        let line = fs::read_to_string(world.path(&format!("{kind}.pub"))).unwrap();
        format!("recipients = ['{}']", line.trim())
    };
    let ways = [
        (public("ed25519"), "--identity ed25519"),
        (public("rsa"), "--identity rsa"),
        ("passphrase_file = 'pass.txt'".to_owned(), ""),
    ];
    for (number, (line, identity)) in ways.iter().enumerate() {
        world.config(&format!(
            "[store]\npath = 'store{number}'\n[sources.app]\nkind = 'sqlite'\npath = \
             'app.db'\n[encryption]\n{line}\n"
        ));
        world.dbbackup("backup").run().exits(0);
        world
            .dbbackup(&format!("verify --level restore {identity}"))
            .run()
            .exits(0);
    }
    // The fingerprint is the one that SSH shows.
    let shown = Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(world.path("ed25519.pub"))
        .output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let fingerprint = shown.split(' ').nth(1).unwrap();
    let id = world
        .dbbackup("--store store0 list --json")
        .run()
        .exits(0)
        .json()["backups"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let sidecar = fs::read_to_string(world.path(&format!("store0/app/{id}.json"))).unwrap();
    assert!(sidecar.contains(fingerprint), "{fingerprint} in {sidecar}");
}

#[test]
fn a_flipped_byte_in_what_is_encrypted_is_found_with_and_without_the_key() {
    let world = encrypted_world();
    world.dbbackup("backup").run().exits(0);
    let id = world.ids("").remove(0);
    for end in ["sqlite3.zst.age", "meta.json.age"] {
        let path = world.path(&format!("store/app/{id}.{end}"));
        let whole = fs::read(&path).unwrap();
        for at in [0, 30, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let ran = world
                .dbbackup("verify --level checksum --json")
                .run()
                .exits(4);
            assert_eq!(statuses(&ran.json()), ["damaged"], "{end} at {at}");
            let ran = world
                .dbbackup("verify --level content --identity key.txt --json")
                .run();
            assert_ne!(ran.code(), 0, "{end} at {at}");
        }
        let mut cut = whole.clone();
        cut.truncate(whole.len() - 7);
        fs::write(&path, &cut).unwrap();
        world
            .dbbackup("verify --level content --identity key.txt")
            .run()
            .exits(4);
        if end.starts_with("meta") {
            // The dump itself is whole: it restores, and what is missing is said.
            world
                .dbbackup(&format!(
                    "restore {id} --to out.db --yes --identity key.txt"
                ))
                .run()
                .exits(0)
                .says("the encrypted part of its sidecar is missing or not what was written");
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_key_is_proven_before_the_last_plain_backup_may_go() {
    let world = World::new();
    world.shop("app.db");
    let key = new_key(&world, "key.txt");
    let base = "[store]\npath = 'store'\n[retention]\nkeep_last = 1\n[sources.app]\nkind = \
                'sqlite'\npath = 'app.db'\n";
    world.config(base);
    world.dbbackup("backup").run().exits(0);
    next_second();
    let sealed = format!("{base}[encryption]\nrecipients = ['{key}']\nprove_key_every = '90d'\n");
    world.config(&sealed);
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("to one recipient alone")
        .says("no private key was shown");
    assert_eq!(world.ids("").len(), 2);
    next_second();
    let again = world.dbbackup("backup").run().exits(0);
    again.never_says("to one recipient alone");
    // The newest one, and the plain one.
    assert_eq!(world.ids("").len(), 2);
    world
        .dbbackup("status")
        .run()
        .exits(1)
        .prints("no private key was ever shown");
    world
        .dbbackup("key prove")
        .run()
        .exits(2)
        .says("--identity FILE");
    new_key(&world, "other.txt");
    world
        .dbbackup("key prove --identity other.txt")
        .run()
        .exits(1)
        .says("not encrypted to any of the private keys");
    world
        .dbbackup("key prove --identity key.txt")
        .run()
        .exits(0)
        .prints("opened with the key of age1");
    world.dbbackup("status").run().exits(0);
    world.dbbackup("cleanup").run().exits(0);
    assert_eq!(world.ids("").len(), 1);
}

/// A database that a crash has left is rolled back in a copy, and that would lie in the clear.
#[test]
fn a_crashed_database_is_not_copied_in_the_clear_by_a_slip() {
    let world = encrypted_world();
    let app = rusqlite::Connection::open(world.path("app.db")).unwrap();
    app.execute_batch(
        "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE orders SET note = \
         hex(zeroblob(100));",
    )
    .unwrap();
    for name in ["app.db", "app.db-journal"] {
        fs::copy(world.path(name), world.path(&format!("crashed-{name}"))).unwrap();
    }
    drop(app);
    for name in ["app.db", "app.db-journal"] {
        fs::rename(world.path(&format!("crashed-{name}")), world.path(name)).unwrap();
    }
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("would lie in the clear")
        .says("hint:");
    let config = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&config.replace("[backup]\n", "[backup]\nspool = 'always'\n"));
    world.dbbackup("backup").run().exits(0);
}

/// A passphrase that was changed must not make every backup a damaged one, which the next run would
/// then let go.
#[test]
fn another_passphrase_is_no_damage() {
    let world = world_with(|world| {
        set_mode(&world.file("pass.txt", "first\n"), 0o600);
        "[encryption]\npassphrase_file = 'pass.txt'\n[retention]\nkeep_last = 3\n".to_owned()
    });
    world.dbbackup("backup").run().exits(0);
    next_second();
    world.dbbackup("backup").run().exits(0);
    world.file("pass.txt", "second\n");
    for level in ["content", "restore"] {
        let found = world
            .dbbackup(&format!("verify --all --level {level} --json"))
            .run();
        let found = found.exits(1).json();
        assert_eq!(statuses(&found), ["unprovable", "unprovable"], "{level}");
    }
    world
        .dbbackup("restore app --to x.db")
        .run()
        .exits(1)
        .says("the passphrase that is given does not open it")
        .says("passphrase_file");
    next_second();
    world.dbbackup("backup").run().exits(0);
    assert_eq!(world.ids("").len(), 3);
    world.file("pass.txt", "first\n");
    let ids = world.ids("");
    world
        .dbbackup(&format!("verify {} --level restore", ids[1]))
        .run()
        .exits(0);
}

/// What a run writes, wherever it goes.
fn written_by(world: &World, arguments: &str) -> Vec<u8> {
    let trace = world.path("trace.txt");
    let words = [
        "strace",
        "-f",
        "-s",
        "4000000",
        "-e",
        "trace=write,pwrite64,writev,pwritev,sendto,copy_file_range,sendfile,splice",
        "-o",
    ];
    let mut words = words.to_vec();
    words.push(trace.to_str().unwrap());
    world.dbbackup(arguments).by(&words).run().exits(0);
    fs::read(trace).unwrap()
}

#[test]
fn no_byte_of_plain_text_is_written_on_the_way_to_a_store() {
    if !crate::tools::can_trace() {
        return;
    }
    for mode in ["wal", "delete"] {
        let world = encrypted_world();
        world.sql("app.db", &format!("PRAGMA journal_mode = {mode}"));
        fs::create_dir(world.path("tree")).unwrap();
        world.file("tree/app.txt", CANARY);
        world.file(&format!("tree/{CANARY}"), "named");
        world.database(
            "tree/inner.db",
            &format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE t(c); INSERT INTO t VALUES ('{CANARY}')"
            ),
        );
        let config = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
        world.config(&config.replace("'zstd'", "'none'").replace(
            "[sources.app]",
            "copies = ['usb']\n[stores.usb]\npath = 'usb'\n[sources.txt]\nkind = 'files'\npaths = \
             ['tree']\n[sources.app]",
        ));
        for arguments in ["backup", "copy --to usb", "verify --level checksum"] {
            let written = written_by(&world, arguments);
            assert!(!written.is_empty(), "{arguments}");
            assert!(!has(&written, CANARY), "{mode}: {arguments}");
        }
        // The look itself finds what is there.
        let written = written_by(&world, "restore txt --to there --yes --identity key.txt");
        assert!(has(&written, CANARY));
    }
}
