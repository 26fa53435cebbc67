//! What is kept is what was written, belongs to its user, and is no more than is needed.

use super::*;
use crate::ops::content::measure_bytes;
use crate::store::{self, Access};
use std::os::unix::fs::PermissionsExt;

/// A store of this machine that stands for one elsewhere, with a dump, and the cache of it.
struct Place {
    dir: tempfile::TempDir,
    store: Arc<dyn store::Store>,
    cache: DumpCache,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::from(dir.path().join("store"));
        let store = store::open(&location.clone().into(), Access::Write).unwrap();
        drop(store.lock("app", Duration::ZERO).unwrap());
        let cache = DumpCache::new(&dir.path().join("cache"), &location, "app");
        Place { dir, store, cache }
    }

    /// A dump in the store that holds these bytes.
    fn dump(&self, name: &str, bytes: &[u8]) -> Dump {
        let path = self.dir.path().join("store/app").join(name);
        fs::write(path, bytes).unwrap();
        let measured = measure_bytes(bytes).unwrap();
        Dump {
            file: name.to_owned(),
            format: "sqlite3".to_owned(),
            size_bytes: measured.size,
            sha256: measured.sha256,
            content_size_bytes: measured.size,
            content_sha256: None,
            compression: "none".to_owned(),
            encryption: None,
            recipients: Vec::new(),
            base: None,
            delta: None,
        }
    }

    fn read(&self, dump: &Dump) -> Vec<u8> {
        let objects = self.store.objects("app");
        let mut bytes = Vec::new();
        let mut opened = self.cache.open(dump, &*objects).unwrap();
        opened.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.cache.directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
    }
}

#[test]
fn a_dump_is_fetched_once_and_kept_for_its_user_alone() {
    let place = Place::new();
    let dump = place.dump("a", b"as stored");
    assert_eq!(place.read(&dump), b"as stored");
    fs::remove_file(place.dir.path().join("store/app/a")).unwrap();
    assert_eq!(place.read(&dump), b"as stored");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.cache.directory), 0o700);
    assert_eq!(mode(&place.cache.path_of(&dump).unwrap()), 0o600);
}

#[test]
fn what_is_not_what_was_written_is_fetched_again() {
    let place = Place::new();
    let dump = place.dump("a", b"as stored");
    place.read(&dump);
    for wrong in ["", "as stoned", "as stored and more"] {
        fs::write(place.cache.path_of(&dump).unwrap(), wrong).unwrap();
        assert_eq!(place.read(&dump), b"as stored", "{wrong}");
    }
    // What is wrong in the store itself is for the reader to find, and is not kept.
    fs::remove_file(place.cache.path_of(&dump).unwrap()).unwrap();
    fs::write(place.dir.path().join("store/app/a"), "as stoned").unwrap();
    assert_eq!(place.read(&dump), b"as stoned");
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[test]
fn only_the_way_of_the_newest_stays() {
    let place = Place::new();
    let dumps = [b"full", b"old!", b"base"].map(|bytes| place.dump("a", bytes));
    for (dump, bytes) in dumps.iter().zip([b"full", b"old!", b"base"]) {
        fs::write(place.dir.path().join("store/app/a"), bytes).unwrap();
        place.read(dump);
    }
    let new = place.dump("new", b"new");
    let store_draft = place.store.begin_draft("app", "daily", chrono::Utc::now());
    let mut store_draft = store_draft.unwrap();
    let name = format!("{}.x", store_draft.id());
    let mut tee = place.cache.tee(store_draft.create(&name).unwrap());
    tee.write_all(b"new").unwrap();
    tee.finish().unwrap();
    fs::write(place.cache.directory.join("somebody's"), "").unwrap();
    place.cache.settle(&new, &[&dumps[0], &dumps[2]]);
    let expected = [&dumps[0], &dumps[2], &new].map(|dump| dump.sha256.clone());
    let mut expected = BTreeSet::from(expected);
    expected.insert("somebody's".to_owned());
    assert_eq!(place.names(), expected);
    fs::remove_file(place.dir.path().join("store/app/new")).unwrap();
    assert_eq!(place.read(&new), b"new");
}

#[test]
fn a_cache_that_cannot_be_written_to_costs_nothing_but_time() {
    let place = Place::new();
    let dump = place.dump("a", b"as stored");
    fs::write(place.dir.path().join("cache"), "in the way").unwrap();
    assert_eq!(place.read(&dump), b"as stored");
    let unsafe_name = Dump {
        sha256: "../../etc".to_owned(),
        ..dump.clone()
    };
    assert!(place.cache.path_of(&unsafe_name).is_none());
}
