//! The catalog: what it reads, in which order, and what it says of that.

use super::*;
use crate::store::{self, Access, Location, Store};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;

struct TestCatalog {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl TestCatalog {
    fn new() -> TestCatalog {
        let dir = tempfile::tempdir().unwrap();
        let store = store::open(
            &Location::from(dir.path().join("store")).into(),
            Access::Write,
        )
        .unwrap();
        TestCatalog { dir, store }
    }

    fn file(&self, source: &str, name: &str, bytes: &[u8]) {
        let dir = self.dir.path().join("store").join(source);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    /// A good backup of `source`, so many hours old, of a cluster if one is given.
    fn backup(&self, source: &str, hours: i64, cluster: Option<&str>) -> String {
        self.labelled(source, "daily", hours, cluster)
    }

    fn labelled(&self, source: &str, label: &str, hours: i64, cluster: Option<&str>) -> String {
        let at = DateTime::from_timestamp(1_795_140_000, 0).unwrap() - TimeDelta::hours(hours);
        let id = names::new_id(source, label, at, std::iter::empty());
        let file = format!("{id}.sqlite3.gz");
        let sidecar = serde_json::json!({
            "schema": 1, "id": id, "source": source, "kind": "sqlite", "label": label,
            "status": "ok", "started_at": at, "finished_at": at,
            "duration_seconds": 1.0, "database": {"cluster": cluster},
            "dump": {"file": file, "format": "sqlite3", "size_bytes": 3, "sha256": "",
            "content_size_bytes": 9, "content_sha256": "",
                     "compression": "gzip", "encryption": null, "base": null},
        });
        self.file(source, &file, b"abc");
        self.file(
            source,
            &names::sidecar_name(&id),
            sidecar.to_string().as_bytes(),
        );
        id
    }

    fn read(&self) -> Catalog {
        Catalog::read(&*self.store, None).unwrap()
    }
}

fn ids<'a>(backups: impl Iterator<Item = &'a ListedBackup>) -> Vec<String> {
    backups.map(|backup| backup.id().to_owned()).collect()
}

#[test]
fn many_are_read_whole_and_in_order() {
    let place = TestCatalog::new();
    let mut expected: Vec<(i64, String)> = Vec::new();
    // More than one thread takes at a time; written in no order.
    for number in 0..500 {
        let hours = number * 7919 % 500;
        let source = ["app", "app2", "app.old"][(number % 3) as usize];
        expected.push((hours, place.backup(source, hours, None)));
    }
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
    let catalog = place.read();
    assert_eq!(ids(catalog.backups()), expected);
    assert!(
        catalog.orphans.is_empty()
            && catalog.unreadable.is_empty()
            && catalog.backups().all(ListedBackup::good)
    );
    assert_eq!(catalog.sources(), ["app", "app.old", "app2"]);
    let of_app: Vec<String> = expected
        .iter()
        .filter(|id| id.starts_with("app_"))
        .cloned()
        .collect();
    assert_eq!(ids(catalog.of("app")), of_app, "no other source's");
    assert_eq!(
        catalog.newest_good("app2").unwrap().id(),
        ids(catalog.of("app2"))[0]
    );
    // Parts of it are parts of the whole.
    let some = Catalog::read(&*place.store, Some(&["app2".to_owned()])).unwrap();
    assert_eq!(
        (ids(some.backups()), some.sources()),
        (ids(catalog.of("app2")), vec!["app2".to_owned()])
    );
    let mut kept = place.read();
    kept.keep_only(&["app2".to_owned()]);
    assert_eq!(
        (
            ids(kept.backups()),
            ids(kept.of("app2")),
            kept.of("app").count()
        ),
        (ids(some.backups()), ids(some.of("app2")), 0)
    );
}

#[test]
fn what_is_not_a_backup_is_told_apart() {
    let place = TestCatalog::new();
    let good = place.backup("app", 1, None);
    let lost = place.backup("app", 2, None);
    place.file("app", &names::sidecar_name(&lost), b"{");
    let missing = place.backup("app", 3, None);
    std::fs::remove_file(
        place
            .store
            .object_path("app", &format!("{missing}.sqlite3.gz"))
            .unwrap(),
    )
    .unwrap();
    let pinned = place.backup("app", 4, None);
    let event = names::event_name(&pinned, Utc::now(), 1);
    let text = br#"{"schema": 1, "event": "pinned", "at": "2026-11-20T02:00:00Z"}"#;
    place.file("app", &event, text);
    let unsure = place.backup("app", 5, None);
    place.file("app", &names::event_name(&unsure, Utc::now(), 2), b"?");
    place.file("app", "other.sql.gz", b"12345");
    place.file("app", "app_daily_20200101T000000Z.sqlite3.gz", b"1");
    place.file("app", "notes.txt", b"");
    // One that is being made right now.
    place.file("app", ".app_daily_20990101T000000Z.json", b"");
    place.file("app", "app_daily_20990101T000000Z.sqlite3.gz", b"");
    // A copy of another source's sidecar is not this one's.
    std::fs::create_dir_all(place.dir.path().join("store/web")).unwrap();
    std::fs::copy(
        place
            .store
            .object_path("app", &format!("{good}.json"))
            .unwrap(),
        place.dir.path().join(format!("store/web/{good}.json")),
    )
    .unwrap();

    let catalog = place.read();
    assert_eq!(
        ids(catalog.backups()),
        [
            good.clone(),
            missing.clone(),
            pinned.clone(),
            unsure.clone()
        ]
    );
    let find = |id: &str| catalog.backups().find(|backup| backup.id() == id).unwrap();
    assert!(
        find(&good).good()
            && !find(&missing).good()
            && find(&missing).presence == Presence::Missing
    );
    assert!(find(&pinned).state.pinned && !find(&pinned).state_lost && find(&unsure).state_lost);
    let unreadable: Vec<(&str, &str)> = catalog
        .unreadable
        .iter()
        .map(|entry| (entry.source.as_str(), entry.id.as_str()))
        .collect();
    assert_eq!(unreadable, [("app", lost.as_str()), ("web", good.as_str())]);
    let orphans: Vec<(&str, u64)> = catalog
        .orphans
        .iter()
        .map(|orphan| (orphan.name.as_str(), orphan.size))
        .collect();
    assert_eq!(
        orphans,
        [
            ("app_daily_20200101T000000Z.sqlite3.gz", 1),
            ("other.sql.gz", 5)
        ]
    );
    // Read once more, the whole sidecar is there.
    let whole = find(&good).whole(&*place.store).unwrap();
    assert_eq!(
        (
            whole.sidecar.kind.as_str(),
            whole.presence.clone(),
            whole.good()
        ),
        ("sqlite", Presence::Bytes(3), true)
    );
}

#[test]
fn words_need_only_what_they_can_mean() {
    let place = TestCatalog::new();
    let (app, other) = (place.backup("app", 1, None), place.backup("apple", 2, None));
    place.backup("web", 3, None);
    for wanted in [
        "app",
        "app@latest",
        &app,
        "apple",
        &other,
        "web_d",
        "we",
        "w",
    ] {
        let whole = place.read();
        let expected = whole
            .resolve(wanted, Utc::now())
            .map(|found| found.id().to_owned())
            .map_err(|error| error.message());
        let part = Catalog::read_for(&*place.store, wanted).unwrap();
        assert_eq!(
            part.resolve(wanted, Utc::now())
                .map(|found| found.id().to_owned())
                .map_err(|error| error.message()),
            expected
        );
    }
    assert_eq!(
        Catalog::read_for(&*place.store, "web_d").unwrap().sources(),
        ["web"]
    );
    for (wanted, known) in [
        ("app", true),
        ("app@2h", true),
        (app.as_str(), true),
        ("ap", false),
        ("app_daily_x", false),
        ("x", false),
    ] {
        assert_eq!(holds(&*place.store, wanted).unwrap(), known, "{wanted}");
    }
    let near = place.read().resolve("aplpe", Utc::now()).unwrap_err();
    assert!(
        near.hint()
            .unwrap()
            .to_string()
            .starts_with("did you mean `apple`?"),
        "{near:?}"
    );
}

#[test]
fn members_are_those_that_say_so() {
    let place = TestCatalog::new();
    for (source, cluster) in [
        ("big.shop", Some("big")),
        ("big-globals", Some("big")),
        ("big.old", None),
        ("bigger.x", Some("bigger")),
    ] {
        place.backup(source, 1, cluster);
    }
    let catalog = Catalog::read_with_members(&*place.store, &["big".to_owned()]).unwrap();
    assert_eq!(
        catalog.members(&["big".to_owned()]),
        ["big-globals", "big.shop"]
    );
    assert_eq!(catalog.sources(), ["big-globals", "big.old", "big.shop"]);
    assert!(catalog.has_members("big") && !catalog.has_members("big.old"));
    assert_eq!(
        place
            .read()
            .members(&["big.old".to_owned(), "none".to_owned()]),
        ["big.old", "none"]
    );
    let named = |names: &[&str]| {
        place.read().members(
            &names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        named(&["big.shop", "big"]),
        ["big.shop", "big-globals"],
        "each once"
    );
    assert_eq!(
        named(&["big", "big.shop", "big"]),
        ["big-globals", "big.shop"]
    );
    // A safety copy of a restore, made by a version that did not say so in it, changes nothing.
    place.labelled("big.shop", PRE_RESTORE, 0, None);
    assert_eq!(
        place.read().members(&["big".to_owned()]),
        ["big-globals", "big.shop"]
    );
}

#[test]
fn what_is_built_on_another_sources_backup_is_damaged() {
    let place = TestCatalog::new();
    let base = place.backup("app", 3, None);
    let id = place.backup("app", 2, None);
    let name = names::sidecar_name(&id);
    let bytes = place.store.read("app", &name).unwrap();
    let built_on = |base: &str| {
        let mut sidecar: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        sidecar["dump"]["base"] =
            serde_json::json!({"id": base, "sha256": "s", "content_sha256": "c"});
        place.file("app", &name, sidecar.to_string().as_bytes());
        place.read()
    };
    let catalog = built_on(&base);
    assert_eq!(
        catalog.backups().next().unwrap().needs(),
        Some(base.as_str())
    );
    assert_eq!(catalog.dependents_of(&base).collect::<Vec<_>>(), [&id]);
    assert_eq!(catalog.dependents_of(&id).count(), 0);
    for foreign in ["shop_daily_20261120T020000Z", &id, "../app", ""] {
        let catalog = built_on(foreign);
        let lost = &catalog.unreadable[0];
        assert!(lost.reason.contains("can't be built on"), "{}", lost.reason);
        assert_eq!(lost.needs.as_deref(), Some(foreign));
    }
}

/// However far down the way it is.
#[test]
fn what_is_built_on_something_that_is_not_well_is_not_good() {
    let place = TestCatalog::new();
    let [full, middle, newest] = [3, 2, 1].map(|hours| place.backup("app", hours, None));
    for (id, base) in [(&middle, &full), (&newest, &middle)] {
        let name = names::sidecar_name(id);
        let bytes = place.store.read("app", &name).unwrap();
        let mut sidecar: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        sidecar["requires"] = serde_json::json!(["delta"]);
        sidecar["dump"]["base"] = serde_json::json!({"id": base, "sha256": ""});
        place.file("app", &name, sidecar.to_string().as_bytes());
    }
    let newest_is = || {
        let catalog = place.read();
        let backup = catalog.backups().next().unwrap();
        (backup.way.clone(), backup.good(), backup.may_be_good())
    };
    let full_id = || full.as_str().into();
    assert_eq!(newest_is(), (WayState::Whole, true, true));
    let dump = format!("{full}.sqlite3.gz");
    place.file("app", &dump, b"ab");
    assert_eq!(newest_is(), (WayState::Damaged(full_id()), false, false));
    place.store.remove("app", &dump).unwrap();
    assert_eq!(newest_is(), (WayState::Missing(full_id()), false, true));
    place.file("app", &names::sidecar_name(&full), b"{\"schema\": 9}");
    assert_eq!(newest_is(), (WayState::Unknown(full_id()), false, true));
    place
        .store
        .remove("app", &names::sidecar_name(&full))
        .unwrap();
    assert_eq!(newest_is(), (WayState::Missing(full_id()), false, true));
    place.file("app", &dump, b"abc");
    assert_eq!(newest_is(), (WayState::Missing(full_id()), false, true));
}
