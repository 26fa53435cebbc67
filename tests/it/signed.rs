//! Signed backups: who signed them, what is not counted, and that nothing is hidden unseen.

use crate::moments::next_second;
use crate::support::{Ran, World, set_mode};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine that signs what it writes, and trusts its own key alone.
struct Signing {
    world: World,
    public_key: String,
}

impl Signing {
    fn new(more: &str) -> Signing {
        let world = World::new();
        world.shop("app.db");
        let public_key = new_key(&world, "sign.key");
        let signing = Signing { world, public_key };
        signing.configure("sign.key", more);
        signing
    }

    fn configure(&self, key_file: &str, more: &str) {
        let trust = &self.public_key;
        self.world.config(&format!(
            "[store]\npath = 'store'\ntrust = ['{trust}']\n[stores.usb]\npath = 'usb'\ntrust = \
             ['{trust}']\n[encryption]\nsign_key_file = '{key_file}'\n[sources.app]\nkind = \
             'sqlite'\npath = 'app.db'\n{more}"
        ));
    }

    fn run(&self, line: &str) -> Ran {
        self.world.dbbackup(line).run()
    }

    /// Makes a backup in a second of its own; gives its id.
    fn backup(&self) -> String {
        next_second();
        let made = self.run("backup --json").exits(0).made();
        made["id"].as_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.path("store/app").join(name)
    }

    /// The word for the signature of a backup in `list --json`.
    fn signature_of(&self, id: &str) -> String {
        let list = self.run("list --json --status all").exits(0).json();
        let backups = list["backups"].as_array().unwrap();
        let backup = backups.iter().find(|backup| backup["id"] == id).unwrap();
        backup["signature"]["status"].as_str().unwrap().to_owned()
    }

    /// A copy of a backup under another time, as a stranger makes one who can write to the store:
    /// with the signature of the real one beside it.
    fn plant(&self, id: &str, at: chrono::DateTime<chrono::Utc>) -> String {
        let planted = self.world.copy_backup(id, "manual", at);
        let signature = fs::read(self.file(&format!("{id}.json.minisig"))).unwrap();
        fs::write(self.file(&format!("{planted}.json.minisig")), signature).unwrap();
        planted
    }

    /// What `status` says, whatever its exit code.
    fn status(&self) -> String {
        self.run("status").stdout
    }
}

fn new_key(world: &World, name: &str) -> String {
    let line = format!("key init --sign-key {name} --json");
    let made = world.dbbackup(&line).run().exits(0).json();
    made["public_key"].as_str().unwrap().to_owned()
}

fn minisign_accepts(file: &Path, key: &str) -> bool {
    let mut command = Command::new("minisign");
    command
        .args(["-Vm"])
        .arg(file)
        .args(["-P", key])
        .stdout(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn every_sidecar_and_event_is_signed_as_minisign_checks_it() {
    if !tools::have("minisign") {
        return;
    }
    let signing = Signing::new("");
    let id = signing.backup();
    signing.run(&format!("pin {id}")).exits(0);
    signing.run("verify app").exits(0);
    let signatures = signing.world.stored("app", ".minisig");
    assert_eq!(
        signatures.len(),
        3,
        "sidecar, pinned, verified: {signatures:?}"
    );
    for signature in signatures {
        assert!(minisign_accepts(
            &signature.with_extension(""),
            &signing.public_key
        ));
    }
    assert_eq!(signing.signature_of(&id), "trusted");
    let shown = signing.run("list --json").json();
    assert_eq!(
        shown["backups"][0]["signature"]["key"],
        signing.public_key.as_str()
    );
    assert_eq!(shown["backups"][0]["pinned"], true);
    signing.run(&format!("delete {id} --yes --force")).exits(0);
    assert!(signing.world.stored("app", ".minisig").is_empty());
}

#[test]
fn keys_of_minisign_sign_with_and_without_a_password() {
    if !tools::have("minisign") {
        return;
    }
    let mut signing = Signing::new("");
    let make = |name: &str, protected: bool| {
        let (secret, public) = (format!("{name}.key"), format!("{name}.pub"));
        let mut command = Command::new("sh");
        let line = match protected {
            false => format!("minisign -G -W -p {public} -s {secret}"),
            true => format!("printf 'let me\\nlet me\\n' | minisign -G -p {public} -s {secret}"),
        };
        command
            .args(["-c", &line])
            .current_dir(signing.world.path(""));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        set_mode(&signing.world.path(&secret), 0o600);
        let text = fs::read_to_string(signing.world.path(&public)).unwrap();
        (secret, text.lines().nth(1).unwrap().to_owned())
    };
    let plain = make("plain", false);
    let protected = make("protected", true);
    signing.public_key = plain.1;
    signing.configure(&plain.0, "");
    let id = signing.backup();
    assert!(minisign_accepts(
        &signing.file(&format!("{id}.json")),
        &signing.public_key
    ));
    signing.public_key = protected.1;
    signing.configure(&protected.0, "");
    signing
        .run("backup")
        .exits(2)
        .says("is protected by a password")
        .says("$DBBACKUP_SIGN_PASSWORD");
    let wrong = signing
        .world
        .dbbackup("backup")
        .env("DBBACKUP_SIGN_PASSWORD", "let you");
    wrong
        .run()
        .exits(2)
        .says("can't be opened")
        .never_says("let you");
    next_second();
    let right = signing
        .world
        .dbbackup("backup --json")
        .env("DBBACKUP_SIGN_PASSWORD", "let me");
    let made = right.run().exits(0).never_says("let me").made();
    let id = made["id"].as_str().unwrap();
    assert!(minisign_accepts(
        &signing.file(&format!("{id}.json")),
        &signing.public_key
    ));
}

#[test]
fn what_would_not_count_is_not_written() {
    let signing = Signing::new("");
    let other = new_key(&signing.world, "other.key");
    assert_ne!(other, signing.public_key);
    signing.configure("other.key", "");
    signing
        .run("backup")
        .exits(2)
        .says("would count there")
        .says("`trust`");
    signing.configure("none.key", "");
    signing.run("backup").exits(2).says("sign_key_file");
    signing.run("doctor").prints("sign_key_file");
    assert!(signing.world.stored("app", ".json").is_empty());
}

#[test]
fn a_changed_sidecar_is_told_and_not_restored() {
    let signing = Signing::new("");
    let (first, second) = (signing.backup(), signing.backup());
    signing.world.edit_sidecar(&second, |sidecar| {
        sidecar["description"] = "harmless".into()
    });
    assert_eq!(signing.signature_of(&second), "wrong");
    signing
        .run("list")
        .exits(0)
        .prints("untrusted")
        .prints("its signature is wrong");
    signing
        .run("verify app")
        .exits(4)
        .says(&second)
        .says("its signature is wrong");
    let status = signing.status();
    assert!(
        status.contains(&format!("{second} does not count")),
        "{status}"
    );
    // By its name, by the source's, and by its path.
    let target = signing.world.path("back.db");
    signing
        .run(&format!("restore {second} --to back.db"))
        .exits(2)
        .says("can't be trusted")
        .says("--untrusted");
    let path = signing.world.dump_of(&second);
    signing
        .run(&format!("restore {} --to back.db", path.display()))
        .exits(2)
        .says("can't be trusted");
    assert!(!target.exists());
    signing
        .run("restore app --to back.db")
        .exits(0)
        .says(&format!("{second} is newer, but not to be trusted"))
        .prints(&first);
    signing
        .run(&format!("restore {second} --to other.db --untrusted"))
        .exits(0)
        .says("used all the same");
}

#[test]
fn signatures_of_strangers_and_of_other_backups_do_not_count() {
    let signing = Signing::new("");
    let (first, second) = (signing.backup(), signing.backup());
    let signature = |id: &str| signing.file(&format!("{id}.json.minisig"));
    // Moved from another backup.
    fs::copy(signature(&first), signature(&second)).unwrap();
    assert_eq!(signing.signature_of(&second), "wrong");
    // Made by somebody else's key.
    let stranger = Signing::new("");
    let theirs = stranger.backup();
    for end in ["json", "json.minisig"] {
        let name = format!("{theirs}.{end}");
        fs::copy(stranger.file(&name), signing.file(&name)).unwrap();
    }
    let dump = stranger.world.dump_of(&theirs);
    fs::copy(
        &dump,
        signing.file(dump.file_name().unwrap().to_str().unwrap()),
    )
    .unwrap();
    assert_eq!(signing.signature_of(&theirs), "untrusted");
    fs::remove_file(signature(&theirs)).unwrap();
    assert_eq!(signing.signature_of(&theirs), "none");
    signing
        .run("verify app")
        .says("it is not signed")
        .says("its signature is wrong");
    signing
        .run("restore app --to back.db")
        .exits(0)
        .prints(&first);
}

#[test]
fn planted_backups_push_no_real_one_out() {
    let signing = Signing::new("[retention]\nkeep_last = 2\n");
    let ids = [signing.backup(), signing.backup()];
    let now = chrono::Utc::now();
    let mut planted = Vec::new();
    for days in [-2, -1, 400] {
        planted.push(signing.plant(&ids[0], now + chrono::TimeDelta::days(days)));
    }
    signing.run("cleanup").exits(0);
    for id in ids.iter().chain(&planted) {
        assert!(signing.file(&format!("{id}.json")).exists(), "{id}");
    }
    let status = signing.status();
    assert!(status.contains("do not count"), "{status}");
    assert!(!status.contains("is dated ahead"), "{status}");
    let third = signing.backup();
    assert!(!signing.file(&format!("{}.json", ids[0])).exists());
    assert!(signing.file(&format!("{third}.json")).exists());
    // What was removed on purpose is not missed.
    signing.run("verify app").never_says("is missing");
}

#[test]
fn events_of_strangers_do_not_count() {
    let signing = Signing::new("[retention]\nkeep_last = 1\n");
    let first = signing.backup();
    let event = |id: &str, random: &str, text: &str| {
        let name = format!("{id}.20261120T020000.000Z-{random}.event.json");
        fs::write(signing.file(&name), text).unwrap();
    };
    let at = "\"at\": \"2026-11-20T02:00:00Z\"";
    event(
        &first,
        "00000001",
        &format!(
            "{{\"schema\": 1, \"event\": \"verified\", {at}, \"verification\": {{{at}, \"level\": \
             \"restore\", \"status\": \"damaged\", \"duration_seconds\": 1.0}}}}"
        ),
    );
    event(
        &first,
        "00000002",
        &format!("{{\"schema\": 1, \"event\": \"pinned\", {at}}}"),
    );
    event(&first, "00000003", "rubbish");
    let list = signing.run("list --json").exits(0).json();
    assert_eq!(list["backups"][0]["good"], true);
    assert_eq!(list["backups"][0]["pinned"], false);
    let status = signing.status();
    assert!(status.contains("3 events of it do not count"), "{status}");
    // None of them keeps it; and they go with it.
    signing.backup();
    assert!(!signing.file(&format!("{first}.json")).exists());
    let left = signing.world.stored("app", "");
    assert!(
        left.iter()
            .all(|path| !path.to_str().unwrap().contains(&first)),
        "{left:?}"
    );
}

#[test]
fn a_hidden_or_exchanged_backup_is_missed() {
    let signing = Signing::new("");
    let ids = [signing.backup(), signing.backup(), signing.backup()];
    signing.run("verify --all").exits(0);
    let sidecar = signing.world.sidecar(&ids[2]);
    assert_eq!(sidecar["previous"]["id"], ids[1].as_str());
    // Removed by somebody who did not use this program.
    let hidden: Vec<PathBuf> = signing.world.stored("app", "");
    for path in hidden
        .iter()
        .filter(|path| path.to_str().unwrap().contains(&ids[1]))
    {
        fs::remove_file(path).unwrap();
    }
    let missing = format!("{}: it is missing: {} was made after it", ids[1], ids[2]);
    signing
        .run("verify app")
        .exits(4)
        .says(&ids[1])
        .says("it is missing");
    let status = signing.status();
    assert!(status.contains(&missing), "{status}");
    // Removed on purpose.
    signing.run(&format!("delete {} --yes", ids[0])).exits(0);
    let status = signing.status();
    assert!(
        !status.contains(&format!("{}: it is missing", ids[0])),
        "{status}"
    );
}

#[test]
fn copies_keep_their_signatures_and_the_newest_is_missed() {
    let signing = Signing::new("[backup]\ncopies = ['usb']\n");
    let (first, second) = (signing.backup(), signing.backup());
    let copy = |id: &str| signing.world.path(&format!("usb/app/{id}.json"));
    for id in [&first, &second] {
        let signature = format!("{id}.json.minisig");
        let (here, there) = (signing.file(&signature), signing.world.path("usb/app"));
        assert_eq!(
            fs::read(here).unwrap(),
            fs::read(there.join(&signature)).unwrap()
        );
    }
    signing.run("verify --all --store usb").exits(0);
    fs::remove_file(copy(&second)).unwrap();
    let status = signing.status();
    assert!(
        status.contains(&format!("does not list {second}")),
        "{status}"
    );
}

/// The machine is gone, and another one has the store of copies alone.
#[test]
fn encrypted_copies_are_whole_for_who_knows_nothing_else() {
    let signing = Signing::new("");
    let made = signing.run("key init keys --json").exits(0).json();
    let (recipient, identity) = (&made["recipient"], made["identity_file"].as_str().unwrap());
    let trust = &signing.public_key;
    signing.world.config(&format!(
        "[store]\npath = 'store'\ntrust = ['{trust}']\n[stores.usb]\npath = 'usb'\ntrust = \
         ['{trust}']\n[backup]\ncopies = ['usb']\n[encryption]\nsign_key_file = \
         'sign.key'\nrecipients = [{recipient}]\nstores = ['usb']\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n"
    ));
    for _ in 0..3 {
        signing.backup();
    }
    signing
        .run("list --all-stores")
        .exits(0)
        .prints("main, usb")
        .never_says("another backup");
    signing.world.config(&format!(
        "[store]\npath = 'usb'\ntrust = ['{trust}']\n[encryption]\nsign_key_file = 'sign.key'\n"
    ));
    signing
        .run(&format!(
            "verify --all --level restore --identity {identity}"
        ))
        .exits(0)
        .never_says("replaced")
        .never_says("missing");
    let status = signing.status();
    assert!(!status.contains("replaced"), "{status}");
}

#[test]
fn what_would_not_count_in_a_store_of_copies_is_told() {
    let signing = Signing::new("[backup]\ncopies = ['usb']\n");
    let stranger = new_key(&signing.world, "stranger.key");
    let config = fs::read_to_string(signing.world.path("dbbackup.toml")).unwrap();
    let (first, rest) = config.split_once("[stores.usb]").unwrap();
    let rest = rest.replacen(&signing.public_key, &stranger, 1);
    signing.world.config(&format!("{first}[stores.usb]{rest}"));
    signing
        .run("backup")
        .exits(3)
        .says("it would not count there")
        .says("hint:");
    assert!(!signing.world.path("usb/app").join("x").exists());
    let copied = fs::read_dir(signing.world.path("usb/app"))
        .into_iter()
        .flatten()
        .flatten();
    assert_eq!(
        copied
            .filter(|entry| entry.path().extension() == Some("json".as_ref()))
            .count(),
        0
    );
}

/// Somebody who may write there puts another sidecar in the place of a copy's.
#[test]
fn a_replaced_copy_is_no_copy() {
    let signing = Signing::new(
        "[backup]\ncopies = ['usb']\nrequire_copy = true\n[retention]\nkeep_last = 1\n",
    );
    let id = signing.backup();
    let there = signing.world.path("usb/app").join(format!("{id}.json"));
    let text = fs::read_to_string(&there).unwrap();
    fs::write(
        &there,
        text.replace("\"label\": \"manual\"", "\"label\":  \"manual\""),
    )
    .unwrap();
    let status = signing.status();
    let said = format!("the sidecar of {id} in `usb` is not the one that was written there");
    assert!(status.contains(&said), "{status}");
    signing
        .run(&format!("copy {id} --to usb"))
        .exits(1)
        .says("is another backup of the same id");
    next_second();
    signing.run("backup").exits(3);
    assert!(
        signing.file(&format!("{id}.json")).exists(),
        "it is in no store of copies"
    );
}

#[test]
fn a_copy_that_is_encrypted_on_the_way_counts_there() {
    let signing = Signing::new("");
    let made = signing.run("key init keys --json").exits(0).json();
    let recipient = made["recipient"].as_str().unwrap();
    let path = signing.world.path("dbbackup.toml");
    let text = fs::read_to_string(&path).unwrap();
    signing.world.config(&text.replace(
        "[encryption]",
        &format!(
            "[backup]\ncopies = ['usb']\n[encryption]\nrecipients = ['{recipient}']\nstores = \
             ['usb']"
        ),
    ));
    let id = signing.backup();
    let there = signing.world.path("usb/app");
    assert!(there.join(format!("{id}.meta.json.age")).exists());
    let list = signing.run("list --json --store usb").exits(0).json();
    assert_eq!(list["backups"][0]["signature"]["status"], "trusted");
    assert_eq!(list["backups"][0]["good"], true);
    // Somebody else's words, encrypted to us.
    let part = there.join(format!("{id}.meta.json.age"));
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, [&bytes[..], b"x"].concat()).unwrap();
    let identity = made["identity_file"].as_str().unwrap();
    signing
        .run(&format!("verify --store usb {id} --identity {identity}"))
        .exits(4);
}

/// The sidecar of a machine whose clock was ahead is signed like any other.
#[test]
fn what_is_dated_ahead_is_meant_by_no_word_for_the_newest() {
    let signing = Signing::new("");
    let id = signing.backup();
    let ahead = signing.world.copy_backup(
        &id,
        "manual",
        chrono::Utc::now() + chrono::TimeDelta::days(400),
    );
    // Signed by hand, as a machine with that key would.
    if !tools::have("minisign") {
        return;
    }
    let name = format!("{ahead}.json");
    let comment = format!("timestamp:1\tfile:{name}\tsource:app");
    let mut command = Command::new("minisign");
    command
        .args(["-S", "-s"])
        .arg(signing.world.path("sign.key"));
    command
        .args(["-t", &comment, "-m"])
        .arg(signing.file(&name));
    command.stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    assert_eq!(signing.signature_of(&ahead), "trusted");
    for (at, word) in ["app", "app@latest", "app@latest:manual"]
        .iter()
        .enumerate()
    {
        let ran = signing
            .run(&format!("restore {word} --to back{at}.db"))
            .exits(0);
        ran.prints(&id).never_says(&format!("restoring {ahead}"));
    }
    assert!(signing.status().contains("is dated ahead"));
}

#[test]
fn a_store_that_was_rolled_back_is_told_by_its_copies() {
    let signing = Signing::new("[backup]\ncopies = ['usb']\n");
    let ids = [signing.backup(), signing.backup(), signing.backup()];
    for path in signing.world.stored("app", "") {
        if path.to_str().unwrap().contains(&ids[2]) {
            fs::remove_file(path).unwrap();
        }
    }
    let status = signing.status();
    let text = format!("lists {}, which is newer than every backup here", ids[2]);
    assert!(status.contains(&text), "{status}");
}

#[test]
fn what_a_killed_run_left_of_signatures_is_swept() {
    let signing = Signing::new("");
    let id = signing.backup();
    let gone = "app_manual_20200101T000000Z.json.minisig";
    fs::write(signing.file(gone), "x").unwrap();
    let old = format!("{id}.20200101T000000.000Z-00000001.event.json.minisig");
    fs::write(signing.file(&old), "x").unwrap();
    signing.backup();
    assert!(!signing.file(gone).exists() && !signing.file(&old).exists());
    assert!(signing.file(&format!("{id}.json.minisig")).exists());
}

#[test]
fn the_sheet_has_the_secret_only_where_it_is_asked_for() {
    let signing = Signing::new("");
    let made = signing.run("key init keys --json").exits(0).json();
    signing
        .run("key init keys")
        .exits(2)
        .says("is there already");
    let identity = made["identity_file"].as_str().unwrap();
    let secret = fs::read_to_string(identity).unwrap();
    let secret = secret.lines().last().unwrap();
    let recipient = made["recipient"].as_str().unwrap();
    let key = signing.public_key.clone();
    signing.world.config(&format!(
        "[store]\npath = 'store'\ntrust = ['{key}']\n[encryption]\nsign_key_file = \
         'sign.key'\nrecipients = ['{recipient}']\nidentity_file = '{identity}'\n[sources.app]\n\
         kind = 'sqlite'\npath = 'app.db'\n"
    ));
    let sign_secret = fs::read_to_string(signing.world.path("sign.key")).unwrap();
    let sign_secret = sign_secret.lines().nth(1).unwrap();
    signing
        .run("key sheet")
        .exits(0)
        .prints(recipient)
        .prints(&key)
        .prints("minisign -Vm")
        .never_says(secret)
        .never_says(sign_secret);
    signing
        .run("key sheet --with-secret")
        .exits(0)
        .prints(secret)
        .never_says(sign_secret);
}
