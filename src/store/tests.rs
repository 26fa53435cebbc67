//! The contract that every store passes, a test for each property; and the laws of a store while
//! calls fail and processes are killed.

use super::faulty::{Fault, FaultyStore, crash_after};
use super::names::{event_name, sidecar_name};
use super::remote::medium::Medium;
use super::remote::memory::MemoryMedium;
use super::remote::objects::tests::s3::S3Server;
use super::remote::objects::tests::{OldBucket, connected};
use super::remote::{RemoteStore, StoreRights};
use super::*;
use std::os::unix::fs::MetadataExt;

const ID: &str = "app_daily_20261120T020000Z";
const DUMP: &str = "app_daily_20261120T020000Z.sqlite3.gz";

fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_140_000, 0).unwrap()
}

fn local_store(dir: &tempfile::TempDir) -> LocalStore {
    let access = Access::Write;
    LocalStore::open(&dir.path().join("store"), access).unwrap()
}

fn remote_store(medium: &MemoryMedium) -> RemoteStore {
    store_in(Arc::new(medium.clone()))
}

fn store_in(medium: Arc<dyn Medium>) -> RemoteStore {
    RemoteStore::new(
        Location::parse("s3://bucket/web1", Path::new("/")).unwrap(),
        medium,
        StoreRights::default(),
        // Its reservations are old, and of a run that can't be asked for: a sweep takes them.
        None,
    )
}

/// A store of each kind, with its source locked where it can.
fn for_every_store(test: impl Fn(&dyn Store)) {
    test(&remote_store(&MemoryMedium::default()));
    let server = S3Server::start();
    test(&store_in(Arc::new(OldBucket(connected(&server, "web1")))));
    let dir = tempfile::tempdir().unwrap();
    let store = local_store(&dir);
    let _lock = store.lock("app", Duration::ZERO).unwrap();
    test(&store);
}

/// The dump that a sidecar of these tests names: it holds nothing else.
fn named_by(bytes: &[u8]) -> Vec<String> {
    vec![String::from_utf8(bytes.to_vec()).unwrap()]
}

fn write(draft: &mut dyn Draft, name: &str, bytes: &[u8]) -> Result<()> {
    let mut pending = draft.create(name)?;
    pending.write_all(bytes)?;
    pending.finish()
}

/// A file with a dump, in a directory of its own.
fn dump_file() -> (tempfile::TempDir, PathBuf, File) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.sqlite3.gz");
    std::fs::write(&path, b"the dump").unwrap();
    let file = File::open(&path).unwrap();
    (dir, path, file)
}

/// Makes a backup of a file of this machine: by a second name, or where that can't be by its bytes.
fn publish_file(store: &dyn Store) -> Result<()> {
    let (_dir, path, file) = dump_file();
    let mut draft = store.begin_draft("app", "daily", moment())?;
    let dump = format!("{}.sqlite3.gz", draft.id());
    match draft.link(&dump, &path, &file) {
        Err(error) if error.kind() == Kind::Usage => write(&mut *draft, &dump, b"the dump")?,
        linked => linked?,
    }
    draft.commit(dump.as_bytes())
}

/// Makes a backup that has an event from the start, and gives its id.
fn publish(store: &dyn Store, at: DateTime<Utc>) -> Result<String> {
    let mut draft = store.begin_draft("app", "daily", at)?;
    let id = draft.id().to_owned();
    let dump = format!("{id}.sqlite3.gz");
    write(&mut *draft, &dump, b"the dump")?;
    write(&mut *draft, &event_name(&id, at, 1), b"pinned")?;
    draft.commit(dump.as_bytes())?;
    Ok(id)
}

fn retire(store: &dyn Store, id: &str) -> Result<()> {
    store
        .retire("app", id, &[format!("{id}.sqlite3.gz")], None)
        .map(drop)
}

fn listed(store: &dyn Store) -> Vec<String> {
    let mut names = store.list("app").unwrap().objects;
    names.sort();
    names
}

fn is_missing<T>(result: Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == Kind::NotFound)
}

#[test]
fn a_store_holds_nothing_of_what_it_does_not_know() {
    for_every_store(|store| {
        assert_eq!(store.list("none").unwrap(), Listing::default());
        assert!(is_missing(store.read("none", "one")));
        assert!(is_missing(store.read("app", "one")));
        assert!(is_missing(store.size("app", "one")));
        assert!(is_missing(store.objects("app").open("one")));
        assert!(is_missing(store.remove("app", "one")));
        assert!(is_missing(retire(store, ID)));
        assert!(!store.is_in_use("app", "one").unwrap());
    });
}

#[test]
fn a_small_object_is_written_once() {
    for_every_store(|store| {
        store.write_once("app", "one", b"first").unwrap();
        assert!(store.write_once("app", "one", b"second").is_err());
        assert_eq!(store.read("app", "one").unwrap(), b"first");
        assert_eq!(store.size("app", "one").unwrap(), 5);
        assert_eq!(store.sources().unwrap(), ["app"]);
        assert_eq!(
            (listed(store), store.list("app").unwrap().unfinished),
            (vec!["one".to_owned()], Vec::new())
        );
        store.remove("app", "one").unwrap();
        assert_eq!(listed(store), [""; 0]);
    });
}

#[test]
fn objects_are_read_whole_and_in_part() {
    for_every_store(|store| {
        let long: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        store.write_once("app", "long", &long).unwrap();
        let objects = store.objects("app");
        assert_eq!(objects.read("long").unwrap(), long);
        let read = |range: Range<u64>| {
            let mut bytes = Vec::new();
            let mut object = objects.open_range("long", range).unwrap();
            object.read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(0..u64::MAX), long);
        assert_eq!(read(70_000..70_010), long[70_000..70_010]);
        assert_eq!(read(99_999..200_000), long[99_999..]);
        assert_eq!(read(200_000..300_000), [0; 0]);
    });
}

#[test]
fn an_open_object_is_readable_to_its_end() {
    for_every_store(|store| {
        store.write_once("app", "one", b"first").unwrap();
        let mut object = store.objects("app").open("one").unwrap();
        store.remove("app", "one").unwrap();
        let mut bytes = Vec::new();
        object.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"first");
    });
}

#[test]
fn a_draft_is_read_back_before_it_is_listed() {
    for_every_store(|store| {
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        assert_eq!(draft.id(), ID);
        write(&mut *draft, DUMP, b"the dump").unwrap();
        assert_eq!(draft.objects().read(DUMP).unwrap(), b"the dump");
        assert_eq!(draft.objects().size(DUMP).unwrap(), 8);
        assert_eq!(draft.objects().names().unwrap(), [DUMP]);
        assert!(is_missing(draft.objects().read("other")));
        assert!(is_missing(store.read("app", &sidecar_name(ID))));
        assert_eq!(
            (listed(store), store.list("app").unwrap().unfinished),
            (Vec::new(), vec![ID.to_owned()])
        );
        draft.commit(DUMP.as_bytes()).unwrap();
        assert_eq!(listed(store), [sidecar_name(ID), DUMP.to_owned()]);
        assert_eq!(store.list("app").unwrap().unfinished, [""; 0]);
        assert_eq!(store.read("app", DUMP).unwrap(), b"the dump");
    });
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    for_every_store(|store| {
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        write(&mut *draft, DUMP, b"the dump").unwrap();
        drop(draft);
        // So does an object that is not finished.
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        draft.create(DUMP).unwrap().write_all(b"half").unwrap();
        assert!(is_missing(draft.objects().read(DUMP)));
        drop(draft);
        assert_eq!(store.list("app").unwrap(), Listing::default());
    });
}

#[test]
fn a_draft_holds_only_objects_of_its_backup() {
    for_every_store(|store| {
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        write(&mut *draft, DUMP, b"the dump").unwrap();
        for name in [
            DUMP,
            "app_daily_20261119T020000Z.sqlite3.gz",
            &sidecar_name(ID),
            ".lock",
        ] {
            assert!(draft.create(name).is_err(), "{name}");
        }
    });
}

#[test]
fn a_file_gets_a_second_name_where_the_store_is_a_directory() {
    for_every_store(|store| {
        let (_dir, path, file) = dump_file();
        let names_of_file = || file.metadata().unwrap().nlink();
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        let linked = draft.link(DUMP, &path, &file);
        if store.local_path().is_none() {
            let error = linked.unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains("on another machine"), "{error}");
            write(&mut *draft, DUMP, b"the dump").unwrap();
            draft.commit(DUMP.as_bytes()).unwrap();
            assert_eq!(store.read("app", DUMP).unwrap(), b"the dump");
            return;
        }
        linked.unwrap();
        assert_eq!(draft.objects().read(DUMP).unwrap(), b"the dump");
        assert_eq!(draft.objects().names().unwrap(), [DUMP]);
        // A name that is taken, one of another backup, and a file that is not the open one.
        let (_other_dir, other, _) = dump_file();
        let unread = format!("{ID}.tar");
        for (name, path) in [(DUMP, &path), ("app.sqlite3.gz", &path), (&unread, &other)] {
            assert!(draft.link(name, path, &file).is_err(), "{name}");
        }
        assert_eq!(names_of_file(), 2);
        drop(draft);
        assert_eq!(store.list("app").unwrap(), Listing::default());
        assert_eq!(names_of_file(), 1);

        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        draft.link(DUMP, &path, &file).unwrap();
        draft.commit(DUMP.as_bytes()).unwrap();
        assert_eq!(listed(store), [sidecar_name(ID), DUMP.to_owned()]);
        assert_eq!(store.read("app", DUMP).unwrap(), b"the dump");
        retire(store, ID).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"the dump");
        assert_eq!(names_of_file(), 1);
    });
}

#[test]
fn every_backup_has_an_id_of_its_own() {
    for_every_store(|store| {
        let first = publish(store, moment()).unwrap();
        let mut draft = store.begin_draft("app", "daily", moment()).unwrap();
        write(&mut *draft, &format!("{first}-2.tar"), b"x").unwrap();
        assert_eq!(draft.id(), format!("{first}-2"));
        // One that is being written has its id, too.
        let third = publish(store, moment()).unwrap();
        assert_eq!(third, format!("{first}-3"));
    });
}

#[test]
fn a_retired_backup_takes_its_events_along() {
    for_every_store(|store| {
        let id = publish(store, moment()).unwrap();
        let other = publish(store, moment()).unwrap();
        let event = event_name(&id, moment(), 2);
        store.write_once("app", &event, b"verified").unwrap();
        retire(store, &id).unwrap();
        assert!(listed(store).iter().all(|name| name.starts_with(&other)));
        assert_eq!(listed(store).len(), 3);
        assert!(store.sweep("app", &named_by).unwrap().is_empty());
    });
}

#[test]
fn a_sweep_takes_events_of_backups_that_are_gone() {
    for_every_store(|store| {
        let id = publish(store, moment()).unwrap();
        let stray = "app_daily_20261101T020000Z";
        let at = moment();
        for name in [
            format!("{stray}.sqlite3.gz"),
            event_name(stray, at, 1),
            event_name(&id, at, 2),
            event_name("app_daily_20261102T020000Z", at, 3),
        ] {
            store.write_once("app", &name, b"x").unwrap();
        }
        let swept = store.sweep("app", &named_by).unwrap();
        // A dump that lost its sidecar keeps what is known of it.
        assert_eq!(swept, [event_name("app_daily_20261102T020000Z", at, 3)]);
    });
}

#[test]
fn a_lock_keeps_others_out_where_there_are_locks() {
    for_every_store(|store| {
        let is_locked = store.properties().locks;
        assert_eq!(store.is_locked("app"), is_locked);
        match store.lock("app", Duration::ZERO) {
            Ok(lock) => assert!(lock.is_none() && !is_locked),
            Err(error) => assert!(error.kind() == Kind::Locked && is_locked),
        }
    });
}

#[test]
fn common_objects_are_replaced() {
    for_every_store(|store| {
        store.replace_common("config-web1.toml", b"a").unwrap();
        store.replace_common("config-web1.toml", b"b").unwrap();
        assert_eq!(store.read_common("config-web1.toml").unwrap(), b"b");
        let missing = store.read_common("config-web2.toml").unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
        assert_eq!(listed(store), [""; 0]);
    });
}

/// What the laws are tried with: something that may fail in the middle.
type StoreWork = fn(&dyn Store, &str) -> Result<()>;

/// Everything that changes a store that holds a good backup with this id.
const WORK: [(&str, StoreWork); 5] = [
    ("publishing", |store, _| publish(store, moment()).map(drop)),
    ("retiring", |store, id| retire(store, id)),
    ("adding an event", |store, id| {
        store.write_once("app", &event_name(id, moment(), 2), b"verified")
    }),
    ("publishing a file", |store, _| publish_file(store)),
    ("publishing and retiring", |store, id| {
        publish(store, moment())?;
        store.sweep("app", &named_by)?;
        retire(store, id)
    }),
];

/// The laws: nothing is listed that lacks its objects, and after a sweep there is no debris.
fn assert_laws(store: &dyn Store, after: &str) {
    let is_whole = |name: &str| {
        let dump = String::from_utf8(store.read("app", name).unwrap()).unwrap();
        store.read("app", &dump).unwrap() == b"the dump"
    };
    let check = || {
        let names = listed(store);
        let sidecars = names
            .iter()
            .filter(|name| names::sidecar_id(name).is_some());
        assert!(sidecars.clone().all(|name| is_whole(name)), "{after}");
        sidecars.cloned().collect::<Vec<String>>()
    };
    let before = check();
    store.sweep("app", &named_by).unwrap();
    assert_eq!(check(), before, "{after}: a sweep removes no backup");
    let listing = store.list("app").unwrap();
    assert_eq!(listing.unfinished, [""; 0], "{after}");
    let is_debris = |name: &&String| {
        let id = names::id_of(name).unwrap();
        !before.contains(&sidecar_name(id))
    };
    assert_eq!(listing.objects.iter().find(is_debris), None, "{after}");
    assert!(store.sweep("app", &named_by).unwrap().is_empty(), "{after}");
}

/// A good backup that was never to be retired, and one that may be.
fn with_two_backups(store: &dyn Store) -> (String, String) {
    let earlier = publish(store, moment() - chrono::TimeDelta::days(1)).unwrap();
    (earlier, publish(store, moment()).unwrap())
}

fn assert_kept(store: &dyn Store, id: &str, after: &str) {
    let names = listed(store);
    let own = names.iter().filter(|name| names::id_of(name) == Some(id));
    assert_eq!(own.count(), 3, "{after}: sidecar, dump and event");
}

#[test]
fn laws_hold_whichever_call_fails() {
    for (what, work) in WORK {
        for fault in [Fault::Once, Fault::Crash] {
            for failing in 1.. {
                let is_over = std::cell::Cell::new(true);
                for_every_store(|store| {
                    let after = format!("{what}, {fault:?} at call {failing}");
                    let (good, other) = with_two_backups(store);
                    let faulty = FaultyStore::new(store, failing, fault);
                    let result = work(&faulty, &other);
                    assert_eq!(result.is_err(), faulty.has_failed(), "{after}");
                    is_over.set(is_over.get() && !faulty.has_failed());
                    assert_laws(store, &after);
                    assert_kept(store, &good, &after);
                });
                if is_over.get() {
                    break;
                }
            }
        }
    }
}

/// Does `work` in stores of each kind, killed after 0, 1, 2… steps until none kills it any more.
fn kill_at_every_step(work: impl Fn(&dyn Store, u32) -> Result<()>) {
    for is_local in [true, false] {
        for steps in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let done = if is_local {
                let store = local_store(&dir);
                let _lock = store.lock("app", Duration::ZERO).unwrap();
                work(&store, steps)
            } else {
                let medium = MemoryMedium::default();
                let done = work(&remote_store(&medium), steps);
                assert_eq!(medium.open_uploads(), [""; 0], "killed after step {steps}");
                done
            };
            if done.is_ok() {
                assert!(steps > 0);
                break;
            }
        }
    }
}

/// Runs what is killed after so many steps.
fn killed_after<T>(steps: u32, work: impl FnOnce() -> T) -> T {
    crash_after(Some(steps));
    let result = work();
    crash_after(None);
    result
}

#[test]
fn laws_hold_at_whichever_step_a_store_is_killed() {
    for (what, work) in WORK {
        kill_at_every_step(|store, steps| {
            let (good, other) = with_two_backups(store);
            let result = killed_after(steps, || work(store, &other));
            let after = format!("{what}, killed after step {steps}");
            assert_laws(store, &after);
            assert_kept(store, &good, &after);
            result
        });
    }
}

#[test]
fn a_killed_retirement_is_finished_by_a_sweep_or_has_not_begun() {
    kill_at_every_step(|store, steps| {
        let id = publish(store, moment()).unwrap();
        let result = killed_after(steps, || retire(store, &id));
        store.sweep("app", &named_by).unwrap();
        let left = listed(store).len();
        assert!(left == 0 || left == 3 && result.is_err(), "{steps}: {left}");
        result
    });
}

#[test]
fn a_copy_has_the_id_of_its_backup_and_is_made_once() {
    for_every_store(|store| {
        let mut draft = store.begin_copy("app", ID).unwrap();
        write(&mut *draft, DUMP, b"the dump").unwrap();
        draft.commit(DUMP.as_bytes()).unwrap();
        assert_eq!(listed(store), [sidecar_name(ID).as_str(), DUMP]);
        assert!(store.begin_copy("app", ID).is_err());
    });
}

#[test]
fn a_sweep_leaves_what_is_not_known_to_be_ours() {
    let dir = tempfile::tempdir().unwrap();
    let store = local_store(&dir);
    let _lock = store.lock("app", Duration::ZERO).unwrap();
    publish(&store, moment()).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(store.object_path("app", name).unwrap(), bytes).unwrap();
    };
    for name in [
        "other_daily_20261119T020000Z.sqlite3.gz",
        "notes.txt",
        ".hidden",
        "app_daily_20261118T020000Z.sqlite3.gz",
    ] {
        file(name, b"x");
    }
    // A dot-sidecar that names another backup's dump takes it not.
    file(".app_x_20261117T020000Z.json", DUMP.as_bytes());
    file(".app_x_20261116T020000Z.sqlite3.gz", b"half");
    assert_eq!(
        store.sweep("app", &named_by).unwrap(),
        [
            ".app_x_20261116T020000Z.sqlite3.gz",
            ".app_x_20261117T020000Z.json"
        ]
    );
    assert_eq!(listed(&store).len(), 6);
    assert!(store.object_path("app", ".hidden").unwrap().exists());
}

#[test]
fn newer_and_missing_stores_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    assert_eq!(
        LocalStore::open(&root, Access::Read).unwrap_err().kind(),
        Kind::NotFound
    );
    let access = Access::Write;
    let deep = LocalStore::open(&root.join("deeper"), access).unwrap_err();
    assert!(
        deep.hint()
            .unwrap()
            .to_string()
            .contains("is not there: is the disk mounted?"),
        "{deep:?}"
    );
    LocalStore::open(&root, access).unwrap();
    std::fs::write(root.join("dbbackup-store.json"), r#"{"format": 2}"#).unwrap();
    let newer = LocalStore::open(&root, Access::Read).unwrap_err();
    assert!(
        newer
            .message()
            .contains("has format 2, this version knows 1"),
        "{newer}"
    );
}
