//! Diagnoses of real databases and stores: what would fail, what would not, and that looking leaves
//! nothing behind.

use super::*;
use crate::ops::tests::machine::{APP, BAD, Machine, request};
use chrono::{DateTime, TimeDelta};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Every file below a directory, with its size.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        let size = entry.metadata().map_or(0, |found| found.len());
        found.insert(path, size);
    }
    found
}

impl Diagnosis {
    /// The result of the check, and what was found.
    fn find(&self, about: &str, check: &str) -> Option<(Severity, &str)> {
        let of_it = |one: &&DoctorCheck| one.about == about && one.check == check;
        let found = self.checks.iter().find(of_it)?;
        Some((found.status, found.detail.as_str()))
    }

    fn severity(&self, about: &str, check: &str) -> Option<Severity> {
        Some(self.find(about, check)?.0)
    }
}

#[test]
fn a_sound_machine_has_no_problem_and_looking_leaves_nothing() {
    let machine = Machine::new().with_database("app", 3);
    let session = machine.session(APP);
    let before = files(&machine.path(""));
    let first = diagnose(&[], &session, &machine.heard);
    assert_eq!(first.count(Severity::Problem), 0, "{first:?}");
    assert_eq!(first.severity("app", "backup"), Some(Severity::Ok));
    let (_, place) = first.find("store", "place").unwrap();
    assert!(place.contains("the first backup makes it"), "{place}");
    assert_eq!(files(&machine.path("")), before);
    // With a store, too.
    machine.back_up(APP).unwrap();
    let before = files(&machine.path(""));
    let second = diagnose(&[], &session, &machine.heard);
    assert_eq!(second.count(Severity::Problem), 0, "{second:?}");
    let (_, place) = second.find("store", "place").unwrap();
    assert!(place.contains("1 attempt of 1 source"), "{place}");
    assert_eq!(files(&machine.path("")), before);
}

#[test]
fn a_source_that_would_fail_leaves_the_others_examined() {
    let machine = Machine::new().with_database("app", 3);
    std::fs::write(machine.path("bad.db"), "no database").unwrap();
    let lines = format!("{BAD}{APP}");
    let found = diagnose(&[], &machine.session(&lines), &machine.heard);
    assert_eq!(found.severity("bad", "backup"), Some(Severity::Problem));
    assert_eq!(found.severity("app", "backup"), Some(Severity::Ok));
    // What a backup says is what was foretold.
    let run = machine.back_up(&lines).unwrap();
    let error = run.summary.sources[0].error.as_ref().unwrap();
    assert_eq!(found.find("bad", "backup").unwrap().1, error.message);
}

#[test]
fn what_can_not_be_planned_is_a_problem_and_the_rest_is_examined() {
    let machine = Machine::new().with_database("app", 3);
    let what = ["ap".to_owned()];
    let found = diagnose(&what, &machine.session(APP), &machine.heard);
    assert_eq!(found.severity("sources", "plan"), Some(Severity::Problem));
    assert_eq!(found.severity("store", "place"), Some(Severity::Ok));
    // Without a store nothing is said of sources.
    let mut session = machine.session(APP);
    session.config.as_mut().unwrap().store = None;
    let found = diagnose(&[], &session, &machine.heard);
    assert_eq!(found.severity("store", "place"), Some(Severity::Problem));
    assert_eq!(found.severity("app", "backup"), None);
}

#[test]
fn a_source_outside_its_window_would_be_skipped() {
    let machine = Machine::new();
    let lines = format!("{APP}start = 2100-01-01\n");
    let found = diagnose(&[], &machine.session(&lines), &machine.heard);
    let (severity, text) = found.find("app", "backup").unwrap();
    assert_eq!(severity, Severity::Ok);
    assert!(text.starts_with("would be skipped: its `start`"), "{text}");
}

#[test]
fn a_name_that_belongs_to_another_database_is_a_problem() {
    let machine = Machine::new().with_database("app", 3);
    let at = |name: &str| machine.path(name).display().to_string();
    let session = machine.session("");
    let saved = BackupRequest {
        what: vec![at("app.db")],
        ..request()
    };
    backup::create_backups(&saved, &session, &machine.heard).unwrap();
    std::fs::create_dir(machine.path("other")).unwrap();
    std::fs::copy(machine.path("app.db"), machine.path("other/app.db")).unwrap();
    let found = diagnose(&[at("other/app.db")], &session, &machine.heard);
    let (severity, text) = found.find("app", "backup").unwrap();
    assert_eq!(severity, Severity::Problem);
    assert!(text.contains("the name `app` belongs to"), "{text}");
    let found = diagnose(&[at("app.db")], &session, &machine.heard);
    assert_eq!(found.severity("app", "backup"), Some(Severity::Ok));
}

#[test]
fn a_hook_that_is_missing_is_a_problem_unless_it_only_tells() {
    let machine = Machine::new().with_database("app", 3);
    for (hook, severity) in [
        ("before", Severity::Problem),
        ("after", Severity::Problem),
        ("on_failure", Severity::Warning),
    ] {
        for (table, about) in [("hooks", "run"), ("sources.app.hooks", "app")] {
            let lines = format!("{APP}[{table}]\n{hook} = [\"no-such-program\"]\n");
            let found = diagnose(&[], &machine.session(&lines), &machine.heard);
            assert_eq!(found.severity(about, "hooks"), Some(severity), "{lines}");
        }
    }
    // A line for a shell can't be judged, and is not run.
    let lines = format!("{APP}[hooks]\nbefore = \"touch DIR/told\"\n");
    let found = diagnose(&[], &machine.session(&lines), &machine.heard);
    assert_eq!(found.severity("run", "hooks"), Some(Severity::Ok));
    assert!(!machine.path("told").exists());
}

#[test]
fn a_log_and_metrics_that_can_not_be_written_are_warnings() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!(
        "{APP}[log]\nfile = \"DIR/none/log\"\n[metrics]\ntextfile = \"DIR/none/run.prom\"\n"
    );
    let found = diagnose(&[], &machine.session(&lines), &machine.heard);
    assert_eq!(found.severity("log", "file"), Some(Severity::Warning));
    assert_eq!(found.severity("metrics", "file"), Some(Severity::Warning));
    assert_eq!(found.count(Severity::Problem), 0, "{found:?}");
    std::fs::create_dir(machine.path("none")).unwrap();
    let found = diagnose(&[], &machine.session(&lines), &machine.heard);
    assert_eq!(found.severity("log", "file"), Some(Severity::Ok));
    assert!(!machine.path("none/log").exists());
}

#[test]
fn a_page_that_would_take_the_place_of_something_else_is_a_warning() {
    let machine = Machine::new().with_database("app", 3);
    let lines = format!("{APP}[report]\nhtml = \"DIR/page.html\"\n");
    let severity = || {
        let found = diagnose(&[], &machine.session(&lines), &machine.heard);
        assert_eq!(found.count(Severity::Problem), 0, "{found:?}");
        found.severity("report", "file")
    };
    assert_eq!(severity(), Some(Severity::Ok));
    std::fs::write(machine.path("page.html"), "a letter").unwrap();
    assert_eq!(severity(), Some(Severity::Warning));
    let nowhere = lines.replace("DIR/page", "DIR/none/page");
    let found = diagnose(&[], &machine.session(&nowhere), &machine.heard);
    assert_eq!(found.severity("report", "file"), Some(Severity::Warning));
}

#[test]
fn secrets_that_others_can_read_are_told() {
    let machine = Machine::new();
    let path = machine.path("password");
    std::fs::write(&path, "secret").unwrap();
    let lines = "[sources.shop]\nkind = \"postgres\"\nurl = \"postgresql:///shop\"\n\
                 password_file = \"DIR/password\"\n[sources.off]\nkind = \"postgres\"\n\
                 url = \"postgresql:///off\"\nenabled = false\npassword_file = \"DIR/none\"\n";
    let session = machine.session(lines);
    let examine = || {
        let mut diagnosis = Diagnosis::default();
        secrets::check_files(&session, &mut diagnosis);
        diagnosis
    };
    for (mode, severity) in [(0o644, Severity::Warning), (0o600, Severity::Ok)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = examine();
        assert_eq!(found.severity("shop", "password_file"), Some(severity));
    }
    std::fs::remove_file(&path).unwrap();
    let found = examine();
    assert_eq!(
        found.severity("shop", "password_file"),
        Some(Severity::Problem)
    );
    assert_eq!(found.severity("off", "password_file"), None);
}

#[test]
fn a_wrong_clock_is_told_by_itself_and_by_its_backups() {
    let machine = Machine::new().with_database("app", 3);
    let run = machine.back_up(APP).unwrap();
    let id = run.backups[0].id().to_owned();
    let session = machine.session(APP);
    let of_clock = |session: &Session| {
        let found = diagnose(&[], session, &machine.heard);
        let (severity, text) = found.find("clock", "time").unwrap();
        (severity, text.to_owned())
    };
    assert_eq!(of_clock(&session).0, Severity::Ok);
    let (severity, text) = of_clock(&session.at(session.now - TimeDelta::hours(1)));
    assert_eq!(severity, Severity::Warning);
    assert!(
        text.ends_with(&format!("dated in the future: {id}")),
        "{text}"
    );
    let (severity, text) = of_clock(&session.at(DateTime::UNIX_EPOCH));
    assert_eq!(severity, Severity::Problem);
    assert!(text.contains("can't be"), "{text}");
}

#[test]
fn the_largest_need_of_a_scratch_directory_counts() {
    let machine = Machine::new().with_database("app", 1);
    let planned = backup::plan_backup(&request(), &machine.session(APP), &machine.heard).unwrap();
    let [PlannedAttempt::Source(source)] = &planned[..] else {
        panic!("{planned:?}")
    };
    let mut needs = BTreeMap::new();
    for bytes in [5, 9, 2] {
        add_need(&mut needs, source, bytes);
    }
    assert_eq!(needs, BTreeMap::from([(machine.path(""), 9)]));
}

#[test]
fn a_store_with_too_little_room_is_a_problem() {
    let machine = Machine::new().with_database("app", 1);
    machine.back_up(APP).unwrap();
    let store = machine.session(APP).store_plan().unwrap();
    let judge = |bytes: u64| {
        let mut diagnosis = Diagnosis::default();
        let needs = SpaceNeeds {
            store: bytes,
            ..SpaceNeeds::default()
        };
        needs.judge(&store, &mut diagnosis);
        diagnosis.severity("store", "space").unwrap()
    };
    let free = store::open_unchecked(&store.settings)
        .unwrap()
        .free_space()
        .unwrap();
    assert_eq!(judge(0), Severity::Ok);
    // Others write to this disk, too.
    assert_eq!(judge(free.unwrap() / 2), Severity::Warning);
    assert_eq!(judge(u64::MAX), Severity::Problem);
}

#[test]
fn checks_of_one_thing_stand_together() {
    let mut diagnosis = Diagnosis::default();
    diagnosis.ok("store", "place", "there");
    diagnosis.ok("app", "backup", "fine");
    diagnosis.ok("store", "space", "enough");
    diagnosis.group();
    let order: Vec<_> = diagnosis.checks.iter().map(|one| one.check).collect();
    assert_eq!(order, ["place", "space", "backup"]);
}
