//! Where backups are, over several directories.

use super::*;
use crate::ops::backup::create_backups;
use crate::ops::copy::{CopyRequest, copy_backups};
use crate::ops::tests::Recorder;
use crate::ops::tests::machine::{APP, Machine, request};

const STORES: &str = "[stores.usb]\npath = \"DIR/usb\"\n[stores.away]\npath = \"DIR/away\"\n";

/// A machine with a backup in two of its three stores; gives its id, too.
fn copied_once() -> (Machine, String) {
    let machine = Machine::new().with_database("app", 3);
    let session = machine.session(&format!("{APP}{STORES}"));
    let run = create_backups(&request(), &session, &machine.heard).unwrap();
    let id = run.backups[0].id().to_owned();
    let copy = CopyRequest {
        what: Vec::new(),
        to: "usb".to_owned(),
        from: None,
        missing: false,
        plain: false,
        full: false,
    };
    copy_backups(&copy, &session, &machine.heard).unwrap();
    (machine, id)
}

fn read(machine: &Machine, words: &[&str]) -> Result<Vec<ReadStore>> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let session = machine.session(&format!("{APP}{STORES}"));
    read_every_store(&words, &session, &Recorder::default())
}

#[test]
fn a_backup_is_one_wherever_it_is() {
    let (machine, id) = copied_once();
    let stores = read(&machine, &[]).unwrap();
    let titles: Vec<String> = stores.iter().map(|store| store.plan.title()).collect();
    assert_eq!(titles, ["main", "away", "usb"]);
    assert!(stores[1].content.is_err(), "nothing was ever copied there");
    let located = locate_backups(&stores);
    assert_eq!(located.len(), 1);
    assert_eq!(located[0].best().1.id(), id);
    assert!(located[0].is_in(0) && !located[0].is_in(1) && located[0].is_in(2));
    assert!(located[0].others.is_empty());
}

#[test]
fn another_backup_of_the_same_id_is_another_one() {
    let (machine, id) = copied_once();
    let sidecar = machine.path("usb/app").join(format!("{id}.json"));
    let text = std::fs::read_to_string(&sidecar).unwrap();
    let other = text.replace("\"duration_seconds\": ", "\"duration_seconds\": 7");
    assert_ne!(text, other);
    std::fs::write(&sidecar, other).unwrap();
    let stores = read(&machine, &[]).unwrap();
    let located = locate_backups(&stores);
    let mut others: Vec<_> = located
        .iter()
        .map(|one| (one.best().0, one.others.clone()))
        .collect();
    others.sort();
    assert_eq!(others, [(0, vec![2]), (2, vec![0])]);
}

#[test]
fn a_name_that_no_store_knows_is_an_error_where_all_were_read() {
    let (machine, _) = copied_once();
    assert!(read(&machine, &["ap"]).is_ok(), "`away` may know it");
    std::fs::create_dir(machine.path("away")).unwrap();
    std::fs::write(machine.path("away/dbbackup-store.json"), "{\"format\": 1}").unwrap();
    let error = read(&machine, &["ap"]).err().unwrap();
    assert!(error.message().contains("no store has a source `ap`"));
    assert_eq!(read(&machine, &["app"]).unwrap().len(), 3);
}

#[test]
fn a_store_that_hangs_keeps_no_other_from_its_answer() {
    let (machine, _) = copied_once();
    let session = machine.session(&format!("{APP}{STORES}"));
    let plans = plan::every_store(session.config.as_ref(), None, &session.cwd);
    let time = Some(Duration::from_millis(300));
    let answers = ask_stores(&plans, time, |plan| {
        if plan.title() == "usb" {
            std::thread::sleep(Duration::from_secs(600));
        }
        Ok(plan.title())
    });
    let answers = answers.unwrap();
    assert_eq!(answers[0].as_ref().unwrap(), "main");
    assert_eq!(answers[1].as_ref().unwrap(), "away");
    let error = answers[2].as_ref().unwrap_err();
    assert!(error.message().contains("no answer within"), "{error}");
}
