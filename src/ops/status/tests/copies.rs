//! What is judged of copies in another store.

use super::*;
use crate::sidecar::CopyMark;
use std::path::Path;

impl Fixture {
    /// The directory of the other store.
    fn usb(&self) -> PathBuf {
        self.session.cwd.join("usb")
    }

    /// The session of a configuration in which `app` is to have copies there.
    fn with_copies(&self) -> Session {
        self.configured(&format!(
            "[stores.usb]\npath = \"{}\"\n[backup]\ncopies = [\"usb\"]\n[sources.app]\n\
             kind = \"sqlite\"\npath = \"/none/app.db\"\nexpect_every = \"26h\"\n",
            self.usb().display()
        ))
    }

    /// Copies everything there.
    fn copy_all(&self) {
        copy_directory(&self.session.cwd.join("store"), &self.usb());
    }

    /// Notes what came of copying a backup there.
    fn note_copy(&self, id: &str, failure: Option<&str>) {
        let mark = CopyMark {
            store: "usb".to_owned(),
            location_sha256: None,
            failure: failure.map(str::to_owned),
            sidecar_sha256: None,
        };
        add_event(&*self.store(), "app", id, Change::Copy(mark)).unwrap();
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_directory(&entry.path(), &place),
            false => drop(std::fs::copy(entry.path(), place).unwrap()),
        }
    }
}

/// The findings of `app`, those of the other store, and whether a copy is waited for.
fn judged_copies(session: &Session) -> (Vec<String>, Vec<String>, bool) {
    let mut reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    reading.ask_copy_stores(session).unwrap();
    let status = reading.judge(&StatusRequest::default(), session).unwrap();
    let text = |finding: &HealthFinding| finding.text.clone();
    let (subject, health) = &status.sources[0];
    assert_eq!(subject.copies.len(), 1);
    let of_stores = status.copy_stores.iter().flat_map(|store| &store.findings);
    (
        health.findings.iter().map(text).collect(),
        of_stores.map(text).collect(),
        subject.copies[0].is_waiting(),
    )
}

#[test]
fn a_copy_that_is_there_is_well_and_a_fresh_backup_may_wait() {
    let fixture = Fixture::new();
    fixture.backup("app", 20, 10);
    fixture.copy_all();
    let session = fixture.with_copies();
    assert_eq!(judged_copies(&session), (vec![], vec![], false));
    fixture.backup("app", 1, 10);
    assert_eq!(judged_copies(&session), (vec![], vec![], true));
}

#[test]
fn a_copy_that_is_late_is_a_warning() {
    let fixture = Fixture::new();
    fixture.backup("app", 30, 10);
    fixture.copy_all();
    fixture.backup("app", 1, 10);
    let session = fixture.with_copies();
    let late = "the newest backup in `usb` was made 30 h ago, one is expected every 26h";
    assert_eq!(
        judged_copies(&session),
        (vec![late.to_owned()], vec![], true)
    );
}

#[test]
fn what_is_not_listed_although_it_was_copied_is_a_warning() {
    let fixture = Fixture::new();
    let old = fixture.backup("app", 5, 10);
    fixture.copy_all();
    let new = fixture.backup("app", 1, 10);
    fixture.note_copy(&old, None);
    fixture.note_copy(&new, None);
    let session = fixture.with_copies();
    let lost = format!("`usb` does not list {new}, which was copied there");
    assert_eq!(judged_copies(&session), (vec![lost], vec![], true));
    // Retention there may have removed older ones.
    fixture.copy_all();
    let sidecar = crate::store::names::sidecar_name(&old);
    std::fs::remove_file(fixture.usb().join("app").join(sidecar)).unwrap();
    assert_eq!(judged_copies(&session), (vec![], vec![], false));
}

#[test]
fn a_store_that_is_away_and_a_copy_that_failed_are_warnings() {
    let fixture = Fixture::new();
    let id = fixture.backup("app", 1, 10);
    fixture.note_copy(&id, Some("no space left"));
    let session = fixture.with_copies();
    let (of_source, of_store, is_waiting) = judged_copies(&session);
    assert_eq!((of_source.len(), of_store.len(), is_waiting), (1, 1, true));
    assert!(of_source[0].starts_with("the last copy to `usb` failed "));
    assert!(of_source[0].ends_with(": no space left"));
    assert!(of_store[0].starts_with("unreachable: "), "{of_store:?}");
}

#[test]
fn nothing_is_expected_of_another_store_than_the_main_one() {
    let fixture = Fixture::new();
    fixture.backup("app", 1, 10);
    fixture.copy_all();
    let session = fixture.with_copies().with_store("usb");
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), &session).unwrap();
    assert!(status.copy_stores.is_empty() && status.sources[0].0.copies.is_empty());
}
