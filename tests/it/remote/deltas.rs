//! Deltas that go straight to a store on another machine: what they are built on is read from the
//! cache, and fetched where that does not have it.

use super::place::configure;
use super::s3::{BUCKET, S3Server};
use super::s3_settings;
use crate::delta::{change, id_of};
use crate::encryption::new_key;
use crate::moments::next_second;
use crate::support::{Call, World, contents};
use crate::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A database, and a store elsewhere that its backups go to.
struct Machine {
    world: World,
    server: S3Server,
}

impl Machine {
    fn new(backup: &str, more: &str) -> Machine {
        let machine = Machine {
            world: crate::delta::world(""),
            server: S3Server::start(),
        };
        machine.configure(backup, more);
        machine
    }

    fn configure(&self, backup: &str, more: &str) {
        let far = s3_settings("far", &self.server.endpoint(), "web1");
        let far = far.replace("[stores.far]", "[store]");
        let text = format!(
            "{far}[backup]\nincremental = true\ncleanup_after = false\n{backup}\n\
             [sources.app]\nkind = 'sqlite'\npath = 'app.db'\n{more}"
        );
        assert!(text.contains(&format!("s3://{BUCKET}")));
        configure(&self.world, "dbbackup.toml", &text);
    }

    fn call(&self, arguments: &str) -> Call {
        let state = self.world.path("state");
        crate::delta::call(&self.world, arguments).env("STATE_DIRECTORY", state.to_str().unwrap())
    }

    fn back_up(&self) -> Value {
        next_second();
        self.call("backup --json").run().exits(0).made()
    }

    fn there(&self) -> PathBuf {
        self.server.bucket_path().join("web1/app")
    }

    /// The files in the only directory of the cache.
    fn cached(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for dir in fs::read_dir(self.world.path("cache")).unwrap() {
            for file in fs::read_dir(dir.unwrap().path()).unwrap() {
                found.insert(file.unwrap().file_name().into_string().unwrap());
            }
        }
        found
    }

    fn restores(&self, id: &str, more: &str, saved: &str) {
        let target = self.world.path("again.db");
        let _ = fs::remove_file(&target);
        let restore = format!("restore {id} --to again.db --yes {more}");
        self.call(&restore).run().exits(0);
        assert_eq!(contents(&target), saved, "{id}");
    }
}

fn is_delta(sidecar: &Value) -> bool {
    sidecar["dump"]["base"] != Value::Null
}

fn sha256(sidecar: &Value) -> String {
    sidecar["dump"]["sha256"].as_str().unwrap().to_owned()
}

#[test]
fn direct_backups_are_deltas_where_there_is_a_cache() {
    let machine = Machine::new("", "");
    let world = &machine.world;
    machine.back_up();
    change(world, 1);
    assert!(!is_delta(&machine.back_up()), "no cache");
    machine.configure("cache_dir = 'cache'", "");
    change(world, 2);
    // The full is there, and is fetched once.
    let mut made = vec![machine.back_up()];
    assert!(is_delta(&made[0]));
    let mut saved = vec![contents(&world.path("app.db"))];
    for number in 3..8 {
        change(world, number);
        made.push(machine.back_up());
        saved.push(contents(&world.path("app.db")));
    }
    let newest = made.last().unwrap();
    // What the newest one needs is here, and nothing else.
    let mut needed = BTreeSet::from([sha256(newest)]);
    let mut below = newest.clone();
    while let Some(base) = below["dump"]["base"]["id"].as_str() {
        let path = machine.there().join(format!("{base}.json"));
        below = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        needed.insert(sha256(&below));
    }
    assert!(needed.len() >= 3);
    assert_eq!(machine.cached(), needed);
    for (sidecar, saved) in made.iter().zip(&saved) {
        machine.restores(&id_of(sidecar), "", saved);
    }
    machine.call("verify --all --level restore").run().exits(0);
    // It is read from the cache: the store's own is not asked for.
    let full = machine
        .there()
        .join(below["dump"]["file"].as_str().unwrap());
    let bytes = fs::read(&full).unwrap();
    fs::write(&full, vec![0; bytes.len()]).unwrap();
    change(world, 9);
    assert!(is_delta(&machine.back_up()));
    fs::write(&full, &bytes).unwrap();
    // A byte that changed in the cache is no damage of the store.
    for entry in fs::read_dir(world.path("cache")).unwrap() {
        for file in fs::read_dir(entry.unwrap().path()).unwrap() {
            crate::delta::rot(&file.unwrap().path());
        }
    }
    change(world, 10);
    let last = machine.back_up();
    assert!(is_delta(&last));
    fs::remove_dir_all(world.path("cache")).unwrap();
    change(world, 11);
    assert!(is_delta(&machine.back_up()));
    machine.call("verify --all --level content").run().exits(0);
}

#[test]
fn a_cache_that_cannot_be_written_to_harms_no_backup() {
    let machine = Machine::new("cache_dir = 'cache'", "");
    fs::write(machine.world.path("cache"), "in the way").unwrap();
    machine.back_up();
    change(&machine.world, 1);
    let made = machine.back_up();
    assert!(is_delta(&made));
    machine.restores(&id_of(&made), "", &contents(&machine.world.path("app.db")));
}

/// Encrypted, elsewhere, and a delta all the same: the key of this machine and its cache.
#[test]
fn encrypted_direct_backups_are_deltas_with_the_key_of_this_machine() {
    if !tools::have("age") {
        return;
    }
    let machine = Machine::new("", "");
    let key = new_key(&machine.world, "key.txt");
    for metadata in ["sealed", "open"] {
        machine.configure(
            "cache_dir = 'cache'",
            &format!(
                "[encryption]\nrecipients = ['{key}']\nhost_key = true\nmetadata = '{metadata}'\n"
            ),
        );
        machine.call("backup --full").run().exits(0);
        change(&machine.world, 3);
        let made = machine.back_up();
        let file = made["dump"]["file"].as_str().unwrap();
        assert!(file.ends_with(".sqlite3.vcdiff.gz.age"), "{file}");
        let saved = contents(&machine.world.path("app.db"));
        machine.restores(&id_of(&made), "--identity key.txt", &saved);
        machine.restores(&id_of(&made), "", &saved);
        next_second();
    }
}
