//! One contract suite that every store passes, and the law of publishing and removing under a crash
//! at each step.

use super::memory::MemoryStore;
use super::*;
use crate::error::Kind;

const ID: &str = "app_daily_20261120T020000Z";
const DUMP: &str = "app_daily_20261120T020000Z.sqlite3.gz";

fn every_store(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    test(
        &LocalStore::open(
            &dir.path().join("store"),
            Access::Write {
                require_mount: false,
            },
        )
        .unwrap(),
    );
}

fn write(store: &dyn Store, name: &str, bytes: &[u8]) {
    let mut pending = store.create("app", name).unwrap();
    pending.write_all(bytes).unwrap();
    pending.finish().unwrap();
}

fn names(store: &dyn Store) -> Vec<String> {
    let mut names: Vec<String> = store
        .names("app")
        .unwrap()
        .into_iter()
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

#[test]
fn contract() {
    every_store(|store| {
        assert_eq!(store.names("app").unwrap(), [""; 0]);
        let _lock = store.lock("app", Duration::ZERO).unwrap();
        write(store, ".one", b"first");
        assert_eq!(store.sources().unwrap(), ["app"]);
        store.rename("app", ".one", "one").unwrap();
        assert_eq!(store.read("app", "one").unwrap(), b"first");
        // Never overwritten.
        write(store, ".one", b"second");
        assert!(store.rename("app", ".one", "one").is_err());
        assert_eq!(store.read("app", "one").unwrap(), b"first");
        assert!(store.create("app", ".one").is_err());
        store.replace("app", "state", b"a").unwrap();
        store.replace("app", "state", b"b").unwrap();
        assert_eq!(store.read("app", "state").unwrap(), b"b");
        // An unfinished object vanishes.
        drop(store.create("app", ".two"));
        assert_eq!(names(store), [".one", "one", "state"]);
        store.remove("app", ".one").unwrap();
        assert_eq!(
            store.remove("app", ".one").unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            store.open("app", "none").err().unwrap().kind(),
            Kind::NotFound
        );
        assert_eq!(
            store.read("app", "none").unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            store.size("app", "none").unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(store.size("app", "one").unwrap(), 5);
        let long: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        store.replace("app", "long", &long).unwrap();
        assert_eq!(
            (
                store.read("app", "long").unwrap(),
                store.size("app", "long").unwrap()
            ),
            (long, 100_000)
        );
        assert!(store.names("none").unwrap().is_empty());
        store.sync("app").unwrap();
    });
}

fn named_by(bytes: &[u8]) -> Vec<String> {
    vec![String::from_utf8(bytes.to_vec()).unwrap()]
}

fn publish_one(store: &dyn Store) -> Result<()> {
    let mut pending = store.create("app", &dot(DUMP))?;
    pending.write_all(b"the dump")?;
    pending.finish()?;
    publish(store, "app", ID, &[DUMP.to_owned()], DUMP.as_bytes())
}

/// Either a whole backup or nothing listed; and what is not listed is gone after a sweep.
fn assert_whole_or_swept(store: &MemoryStore) {
    store.fail_after(None);
    let listed = names(store).contains(&sidecar_name(ID));
    if listed {
        assert_eq!(store.read("app", DUMP).unwrap(), b"the dump");
    }
    sweep(store, "app", named_by).unwrap();
    let expected: &[String] = &[sidecar_name(ID), DUMP.to_owned()];
    assert_eq!(names(store), if listed { expected } else { &[] });
}

#[test]
fn crash_at_each_step_of_publishing() {
    for calls in 0.. {
        let store = MemoryStore::default();
        store.fail_after(Some(calls));
        let done = publish_one(&store).is_ok();
        assert_whole_or_swept(&store);
        if done {
            assert!(calls > 4);
            return;
        }
    }
}

#[test]
fn crash_at_each_step_of_removing() {
    for calls in 0.. {
        let store = MemoryStore::default();
        publish_one(&store).unwrap();
        store.replace("app", &state_name(ID), b"{}").unwrap();
        store.fail_after(Some(calls));
        let done = remove_backup(&store, "app", ID, &[DUMP.to_owned()]).is_ok();
        store.fail_after(None);
        if names(&store).contains(&sidecar_name(ID)) {
            assert_eq!(store.read("app", DUMP).unwrap(), b"the dump");
        } else {
            sweep(&store, "app", named_by).unwrap();
            assert_eq!(names(&store), [] as [&str; 0], "after {calls} calls");
        }
        if done {
            assert!(calls > 4);
            return;
        }
    }
}

#[test]
fn sweep_leaves_what_is_not_known_to_be_ours() {
    let store = MemoryStore::default();
    publish_one(&store).unwrap();
    for name in [
        "other_daily_20261119T020000Z.sqlite3.gz",
        "notes.txt",
        ".hidden",
        "app_daily_20261118T020000Z.sqlite3.gz",
    ] {
        store.replace("app", name, b"x").unwrap();
    }
    // A dot-sidecar that names another backup's dump takes it not.
    store
        .replace("app", ".app_x_20261117T020000Z.json", DUMP.as_bytes())
        .unwrap();
    store
        .replace("app", ".app_x_20261116T020000Z.sqlite3.gz", b"half")
        .unwrap();
    let swept = sweep(&store, "app", named_by).unwrap();
    assert_eq!(
        swept,
        [
            ".app_x_20261116T020000Z.sqlite3.gz",
            ".app_x_20261117T020000Z.json"
        ]
    );
    assert_eq!(names(&store).len(), 6);
}

#[test]
fn ids_split_from_their_end() {
    assert_eq!(
        split_id("my_app_daily_20261120T020000Z"),
        Some(("my_app", "daily", "20261120T020000Z"))
    );
    assert_eq!(
        id_of(".a.b_daily_20261120T020000Z-2.sqlite3.gz"),
        Some("a.b_daily_20261120T020000Z-2")
    );
    assert_eq!(
        id_of("a.b_daily_20261120T020000Z.state.json"),
        Some("a.b_daily_20261120T020000Z")
    );
    assert_eq!(id_of("notes.txt"), None);
    assert_eq!(id_of(".lock"), None);
    let at = DateTime::from_timestamp(1_795_140_000, 0).unwrap();
    let first = make_id("app", "daily", at, std::iter::empty());
    let second = make_id(
        "app",
        "daily",
        at,
        [first.as_str(), "app_other_20261120T020000Z"].into_iter(),
    );
    assert_eq!(second, format!("{first}-2"));
    // A number that retention freed is not given again: the newest must be the last of its second.
    assert_eq!(
        make_id("app", "daily", at, [second.as_str()].into_iter()),
        format!("{first}-3")
    );
}

#[test]
fn newer_and_missing_stores_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    assert_eq!(
        LocalStore::open(&root, Access::Read).unwrap_err().kind(),
        Kind::NotFound
    );
    let deep = LocalStore::open(
        &root.join("deeper"),
        Access::Write {
            require_mount: false,
        },
    )
    .unwrap_err();
    assert!(
        deep.hint()
            .unwrap()
            .contains("is not there: is the disk mounted?"),
        "{deep:?}"
    );
    LocalStore::open(
        &root,
        Access::Write {
            require_mount: false,
        },
    )
    .unwrap();
    std::fs::write(root.join("dbbackup-store.json"), r#"{"format": 2}"#).unwrap();
    let newer = LocalStore::open(&root, Access::Read).unwrap_err();
    assert!(
        newer
            .message()
            .contains("has format 2, this version knows 1"),
        "{newer}"
    );
}
