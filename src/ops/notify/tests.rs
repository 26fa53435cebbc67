//! Runs that tell a program, which keeps what it hears: the messages of a machine whose database
//! comes and goes, what waits when nobody listens, and that nothing of it changes a run.

use super::*;
use crate::lock::Lock;
use crate::ops::backup::create_backups;
use crate::ops::status::{StatusRequest, StoreReading};
use crate::ops::tests::machine::{APP, BAD, Machine, request};
use chrono::TimeDelta;
use serde_json::Value;

/// A program that keeps each document, and a spool.
const TELLS: &str = "[notify]\nspool = \"DIR/spool\"\non = [\"failure\", \"recovery\", \
                     \"partial\", \"stale\", \"proof\", \"digest\"]\n[notify.ops]\n\
                     type = \"command\"\ncommand = \"cat >> told; echo >> told\"\n";

/// A program that takes nothing.
const DEAF: &str = "[notify]\nspool = \"DIR/spool\"\n[notify.ops]\ntype = \"command\"\n\
                    command = \"exit 1\"\n";

/// What the program was told, a document each.
fn documents(machine: &Machine) -> Vec<Value> {
    let told = machine.told();
    let lines = told.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn subjects(machine: &Machine) -> Vec<String> {
    let told = documents(machine).into_iter();
    told.map(|one| one["subject"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn only_changes_are_told() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{TELLS}{APP}{BAD}");
    machine.back_up(&lines).unwrap();
    let first = subjects(&machine);
    assert_eq!(
        first,
        ["[testhost] backup FAILED: bad (1 of 2), no good backup"]
    );
    // It still fails, and that was told today. (Were it midnight now, it would be told again.)
    machine.back_up(&lines).unwrap();
    let again = subjects(&machine);
    assert!(again.len() == 1 || again[1].contains("day 2"), "{again:?}");
    let machine = machine.with_database("bad", 1);
    machine.back_up(&lines).unwrap();
    let last = subjects(&machine).pop().unwrap();
    assert_eq!(last, "[testhost] backup recovered: bad after 1 min");
    let count = subjects(&machine).len();
    machine.back_up(&lines).unwrap();
    assert_eq!(subjects(&machine).len(), count);
}

/// The store has no attempt of a run that found every source locked, so it can't tell that such a
/// run has told something.
#[test]
fn that_a_run_hangs_is_told_once_a_day() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{TELLS}{APP}");
    machine.back_up(&lines).unwrap();
    let lock = machine.path("store/app/.lock");
    let _hung = Lock::take(&lock, "the source `app`", Duration::ZERO).unwrap();
    let later = |hours: i64| {
        let session = machine.session(&lines);
        let session = Session {
            lock_wait: Duration::ZERO,
            ..session.at(session.now + TimeDelta::hours(hours))
        };
        let run = create_backups(&request(), &session, &machine.heard).unwrap();
        assert_eq!(run.summary.kind(), Some(Kind::Locked));
        subjects(&machine).len()
    };
    assert_eq!([later(1), later(27), later(27)], [0, 1, 1]);
    assert_eq!([later(27 + 24), later(27 + 24)], [2, 2]);
    let overdue = "[testhost] backup overdue: app, last good ";
    let told = [format!("{overdue}27 h ago"), format!("{overdue}2 d ago")];
    assert_eq!(subjects(&machine), told);
}

#[test]
fn a_message_has_the_error_the_hint_and_the_way() {
    let machine = Machine::new();
    machine.back_up(&format!("{TELLS}{BAD}")).unwrap();
    let told = documents(&machine).remove(0);
    assert_eq!(
        (told["version"].as_u64(), told["severity"].as_str()),
        (Some(1), Some("critical"))
    );
    let source = &told["sources"][0];
    assert_eq!(source["topic"], "failure");
    let error = source["error"].as_str().unwrap();
    assert!(told["text"].as_str().unwrap().contains(error), "{told}");
    assert!(error.contains("bad.db"), "{error}");
}

#[test]
fn what_nobody_took_waits_and_goes_with_the_next_run() {
    let machine = Machine::new();
    let run = machine.back_up(&format!("{DEAF}{BAD}")).unwrap();
    assert_eq!(run.summary.kind(), Some(Kind::Failed));
    let warned = machine.events();
    let warned = warned
        .iter()
        .find(|event| event.contains("nobody was told by `ops`"));
    assert!(
        warned
            .unwrap()
            .ends_with("the message waits and goes with the next run")
    );
    let session = machine.session(&format!("{DEAF}{BAD}"));
    assert_eq!(waiting_count(&session), 1);
    let session = machine.session(&format!("{TELLS}{BAD}"));
    assert_eq!(send_waiting(&session, &machine.heard).unwrap(), (1, 0));
    let told = documents(&machine).remove(0);
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("(written at ") && text.contains("and not delivered then)\nbad: "));
}

#[test]
fn a_run_is_as_good_whoever_is_deaf() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{DEAF}{APP}").replace("\"DIR/spool\"", "\"/proc/nowhere\"");
    let run = machine.back_up(&lines).unwrap();
    assert_eq!((run.summary.kind(), run.backups.len()), (None, 1));
    // Nothing was news, so that nobody had to be told.
    assert!(!machine.events().iter().any(|event| event.contains("told")));
}

#[test]
fn secrets_stay_here() {
    let machine = Machine::new();
    let secret = "correct-horse-battery";
    // A path with a password in it: the error names it.
    let lines = format!(
        "{TELLS}[sources.bad]\nkind = \"sqlite\"\npath = \"DIR/{secret}.db\"\n[sources.shop]\n\
         kind = \"postgres\"\nenabled = false\nurl = \"postgresql://u@nowhere/db\"\n\
         password = \"{secret}\"\n"
    );
    machine.back_up(&lines).unwrap();
    let told = machine.told();
    assert!(told.contains("***.db") && !told.contains(secret), "{told}");
}

#[test]
fn another_machine_sees_what_is_overdue() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{TELLS}{APP}");
    machine.back_up(&lines).unwrap();
    let look = |hours: i64| {
        let session = machine.session(&lines);
        let session = session.at(session.now + TimeDelta::hours(hours));
        let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
        let status = reading.judge(&StatusRequest::default(), &session).unwrap();
        tell_status(&status, &session, &machine.heard);
    };
    look(1);
    assert!(subjects(&machine).is_empty());
    look(27);
    let overdue = "[testhost] backup overdue: app, last good 27 h ago";
    assert_eq!(subjects(&machine), [overdue]);
    look(28);
    look(28 + 24);
    look(29 + 24);
    assert_eq!(subjects(&machine).len(), 2);
    // Here it is still the first hour: there is a backup, and it is fresh.
    look(2);
    let last = subjects(&machine).pop().unwrap();
    assert!(
        last.starts_with("[testhost] status recovered: app after"),
        "{last}"
    );
}

#[test]
fn what_no_store_remembers_is_told_once_a_day() {
    let machine = Machine::new();
    let session = machine.session(&format!("{TELLS}{APP}"));
    let failed = crate::error::Error::failed("it is damaged").with_hint("look at it");
    let tell = |error: Option<&crate::error::Error>, days: i64| {
        let session = session.at(session.now + TimeDelta::days(days));
        tell_verb(
            "verify",
            &[VerbResult::new("app", error)],
            &session,
            &machine.heard,
        );
    };
    tell(Some(&failed), 0);
    tell(Some(&failed), 0);
    tell(Some(&failed), 1);
    tell(None, 2);
    tell(None, 2);
    assert_eq!(
        subjects(&machine),
        [
            "[testhost] verify FAILED: app",
            "[testhost] verify still failing, day 2: app",
            "[testhost] verify recovered: app after 2 d",
        ]
    );
    // What is refused is no news to anybody but who typed it.
    let refused = crate::error::Error::usage("no such option");
    tell(Some(&refused), 3);
    assert_eq!(subjects(&machine).len(), 3);
}

#[test]
fn a_store_that_is_away_is_told_once_a_day() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{TELLS}{APP}");
    std::fs::write(machine.path("store"), "no directory").unwrap();
    let session = machine.session(&lines);
    create_backups(&request(), &session, &machine.heard).unwrap();
    create_backups(&request(), &session, &machine.heard).unwrap();
    let told = subjects(&machine);
    assert_eq!(
        told[0], "[testhost] backup FAILED: app, no good backup",
        "{told:?}"
    );
    assert!(told.len() == 1 || told[1].contains("day 2"));
    std::fs::remove_file(machine.path("store")).unwrap();
    create_backups(&request(), &session, &machine.heard).unwrap();
    assert!(
        subjects(&machine)
            .pop()
            .unwrap()
            .contains("backup recovered: app")
    );
}

#[test]
fn what_a_backup_lacks_is_told_until_it_does_not() {
    let machine = Machine::new().with_database("app", 3);
    let usb = "[stores.usb]\npath = \"DIR/media/usb\"\n[sources.app.retention]\nkeep_last = 9\n";
    let lines = format!("{TELLS}{APP}copies = [\"usb\"]\n{usb}");
    machine.back_up(&lines).unwrap();
    machine.back_up(&lines).unwrap();
    let told = documents(&machine);
    assert!(
        told.len() == 1 || told[1]["sources"][0]["day"] == 2,
        "{told:?}"
    );
    let subject = told[0]["subject"].as_str().unwrap();
    assert_eq!(subject, "[testhost] backup incomplete: app");
    assert_eq!(told[0]["severity"], "warning");
    std::fs::create_dir(machine.path("media")).unwrap();
    machine.back_up(&lines).unwrap();
    let last = subjects(&machine).pop().unwrap();
    assert_eq!(last, "[testhost] backup recovered: app after 1 min");
}

#[test]
fn a_digest_and_a_missing_proof_come_with_a_later_run() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{TELLS}{APP}prove_every = \"2d\"\n");
    machine.back_up(&lines).unwrap();
    assert!(subjects(&machine).is_empty());
    let session = machine.session(&lines);
    let session = session.at(session.now + TimeDelta::days(8));
    create_backups(&request(), &session, &machine.heard).unwrap();
    let told = documents(&machine).remove(0);
    let subject = told["subject"].as_str().unwrap();
    assert!(
        subject.contains("no proof: app, never proven; digest: "),
        "{subject}"
    );
    assert_eq!(told["digest"][0]["source"], "app");
    assert_eq!(told["digest"][0]["backups"], 1);
    let hint = told["sources"].as_array().unwrap().iter();
    let hint: String = hint.filter_map(|one| one["hint"].as_str()).collect();
    assert!(hint.contains("verify app --level restore`"), "{hint}");
}
