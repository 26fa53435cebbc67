//! Status of real stores: which sources are judged, what is expected of each, and what the metrics
//! say of it.

mod copies;

use super::*;
use crate::config;
use crate::ops::events::add_event;
use crate::ops::tests::{Fixture, now};
use crate::sidecar::Change;
use std::path::PathBuf;

impl Fixture {
    /// The session of a configuration of this store with these lines.
    fn configured(&self, lines: &str) -> Session {
        let store = self.session.store_plan().unwrap().settings.location;
        let text = format!("[store]\npath = \"{store}\"\n{lines}");
        let path = self.session.cwd.join("dbbackup.toml");
        Session {
            config: Some(config::parse(&text, &path, &|_| None).unwrap()),
            store_flag: None,
            ..self.session.clone()
        }
    }

    /// Adds a backup of a database of the cluster `big`, made so many hours ago by a run over these
    /// databases.
    fn member(&self, source: &str, hours: i64, run_members: &[&str]) {
        let id = self.backup(source, hours, 10);
        let path = self.path(source, &crate::store::names::sidecar_name(&id));
        let bytes = std::fs::read(&path).unwrap();
        let mut sidecar: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let name = source.trim_start_matches("big.");
        sidecar["kind"] = "postgres".into();
        sidecar["database"] = serde_json::json!({"cluster": "big", "name": name,
            "size_bytes": 100});
        sidecar["run_members"] = run_members.into();
        std::fs::write(&path, sidecar.to_string()).unwrap();
    }
}

/// Name, level and first finding of each source that is judged, in the order of the answer.
fn judged(session: &Session, sources: &[&str]) -> Result<Vec<(String, HealthLevel, String)>> {
    let request = StatusRequest {
        sources: sources.iter().map(|name| (*name).to_owned()).collect(),
        expect_every: None,
    };
    let reading = StoreReading::open(session.store_plan()?)?;
    let status = reading.judge(&request, session)?;
    let told = status.sources.iter().map(|(subject, health)| {
        let finding = health.findings.first();
        let text = finding.map_or(String::new(), |finding| finding.text.clone());
        (subject.name.clone(), health.level, text)
    });
    Ok(told.collect())
}

/// The same without the findings.
fn levels(session: &Session, sources: &[&str]) -> Vec<(String, HealthLevel)> {
    let judged = judged(session, sources).unwrap();
    judged
        .into_iter()
        .map(|(name, level, _)| (name, level))
        .collect()
}

fn level(name: &str, level: HealthLevel) -> (String, HealthLevel) {
    (name.to_owned(), level)
}

const TWO: &str = "[sources.app]\nkind = \"sqlite\"\npath = \"/none/app.db\"\n\
                   expect_every = \"26h\"\n[sources.shop]\nkind = \"sqlite\"\n\
                   path = \"/none/shop.db\"\nexpect_every = \"26h\"\n";

#[test]
fn the_worst_comes_first() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    fixture.failed_attempt("app", 1);
    fixture.backup("shop", 40, 10);
    fixture.backup("mail", 1, 10);
    let lines = format!("{TWO}[sources.mail]\nkind = \"sqlite\"\npath = \"/none/mail.db\"\n");
    let session = fixture.configured(&lines);
    assert_eq!(
        levels(&session, &[]),
        [
            level("shop", HealthLevel::Critical),
            level("app", HealthLevel::Warning),
            level("mail", HealthLevel::Ok)
        ]
    );
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), &session).unwrap();
    assert_eq!(status.level(), HealthLevel::Critical);
    // Another bound, for once.
    let request = StatusRequest {
        expect_every: Some(units::Span::parse("60h").unwrap()),
        ..StatusRequest::default()
    };
    let status = reading.judge(&request, &session).unwrap();
    assert_eq!(status.level(), HealthLevel::Warning);
}

#[test]
fn a_configuration_says_which_sources_are_judged() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    fixture.backup("foreign", 900, 10);
    let session = fixture.configured(TWO);
    // One that has no backup yet is expected, one that nobody configured is not.
    assert_eq!(
        levels(&session, &[]),
        [
            level("shop", HealthLevel::Critical),
            level("app", HealthLevel::Ok)
        ]
    );
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), &session).unwrap();
    assert_eq!(status.unconfigured, ["foreign"]);
    // Without a configuration all that the store has is judged.
    let names: Vec<String> = levels(&fixture.session, &[])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["foreign", "app"]);
}

#[test]
fn names_and_groups_choose_and_a_typo_is_a_mistake_of_the_asker() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    fixture.backup("foreign", 900, 10);
    let lines = format!("{TWO}[groups]\nboth = [\"shop\", \"app\"]\n");
    let session = fixture.configured(&lines);
    let names = |sources: &[&str]| -> Vec<String> {
        let levels = levels(&session, sources).into_iter();
        levels.map(|(name, _)| name).collect()
    };
    assert_eq!(names(&["app"]), ["app"]);
    assert_eq!(names(&["both", "app"]), ["shop", "app"]);
    assert_eq!(names(&["foreign"]), ["foreign"]);
    let error = judged(&session, &["ap"]).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(error.hint().unwrap().to_string(), "did you mean `app`?");
}

#[test]
fn a_store_that_is_not_there_is_no_mistake_of_the_asker() {
    let fixture = Fixture::new();
    let missing = Session {
        store_flag: Some("./none".to_owned()),
        ..fixture.session.clone()
    };
    let error = judged(&missing, &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let mut plan = fixture.session.store_plan().unwrap();
    plan.settings.require_mount = true;
    let error = StoreReading::open(plan).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[test]
fn a_store_without_sources_is_critical() {
    let fixture = Fixture::new();
    let reading = StoreReading::open(fixture.session.store_plan().unwrap()).unwrap();
    let request = StatusRequest::default();
    let status = reading.judge(&request, &fixture.session).unwrap();
    assert_eq!(status.level(), HealthLevel::Critical);
    assert_eq!(status.needed, 0);
}

#[test]
fn what_is_not_expected_needs_no_backup_and_no_room() {
    let fixture = Fixture::new();
    fixture.backup("off", 900, 10);
    fixture.backup("app", 3, 100_000);
    let off = "[sources.off]\nkind = \"sqlite\"\npath = \"/none/off.db\"\n";
    for window in ["enabled = false", "end = 2026-01-01", "start = 2100-01-01"] {
        let lines = format!("{TWO}{off}{window}\n");
        let session = fixture.configured(&lines);
        let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
        let status = reading.judge(&StatusRequest::default(), &session).unwrap();
        let found = status
            .sources
            .iter()
            .find(|(subject, _)| subject.name == "off");
        let (subject, health) = found.unwrap();
        assert!(matches!(subject.expected, Expectation::No(_)), "{window}");
        assert_eq!(health.level, HealthLevel::Ok, "{window}");
        let due: Vec<&str> = status
            .due()
            .map(|(subject, _)| subject.name.as_str())
            .collect();
        assert_eq!(due, ["shop", "app"], "{window}");
        assert_eq!(status.needed, "100000 rows".len() as u64, "{window}");
    }
}

#[test]
fn a_database_that_left_its_server_alarms_only_where_it_is_missed() {
    let fixture = Fixture::new();
    fixture.member("big.shop", 30, &["big.shop", "big.gone"]);
    fixture.member("big.gone", 30, &["big.shop", "big.gone"]);
    fixture.member("big.shop", 2, &["big.shop"]);
    let big = |databases: &str| {
        format!("[sources.big]\nkind = \"postgres\"\nhost = \"/none\"\ndatabases = {databases}\n")
    };
    // Left out by its name: somebody has said that this is right.
    let session = fixture.configured(&big("[\"*\"]\nexclude_databases = [\"gone\"]"));
    assert_eq!(
        levels(&session, &[]),
        [
            level("big.gone", HealthLevel::Ok),
            level("big.shop", HealthLevel::Ok)
        ]
    );
    // The patterns still mean it.
    for databases in ["[\"*\"]", "[\"shop\", \"gone\"]"] {
        let session = fixture.configured(&big(databases));
        let found = judged(&session, &[]).unwrap();
        let gone = (found[0].0.as_str(), found[0].1);
        assert_eq!(gone, ("big.gone", HealthLevel::Warning));
        assert!(
            found[0].2.contains("not on the server any more"),
            "{found:?}"
        );
    }
}

#[test]
fn a_cluster_that_could_not_be_asked_is_told_until_it_could() {
    let fixture = Fixture::new();
    fixture.member("big.shop", 2, &["big.shop"]);
    fixture.failed_attempt("big", 1);
    let lines = "[sources.big]\nkind = \"postgres\"\nhost = \"/none\"\ndatabases = [\"*\"]\n";
    let session = fixture.configured(lines);
    assert_eq!(
        levels(&session, &[]),
        [
            level("big", HealthLevel::Warning),
            level("big.shop", HealthLevel::Ok)
        ]
    );
    fixture.member("big.shop", 0, &["big.shop"]);
    assert_eq!(levels(&session, &[]), [level("big.shop", HealthLevel::Ok)]);
}

#[test]
fn a_member_that_the_newest_run_meant_and_never_had_is_missed() {
    let fixture = Fixture::new();
    fixture.member("big.shop", 2, &["big.shop", "big.new"]);
    let lines = "[sources.big]\nkind = \"postgres\"\nhost = \"/none\"\ndatabases = [\"*\"]\n";
    let session = fixture.configured(lines);
    assert_eq!(
        levels(&session, &[]),
        [
            level("big.new", HealthLevel::Critical),
            level("big.shop", HealthLevel::Ok)
        ]
    );
}

#[test]
fn what_restores_left_is_listed_and_alarms_nobody() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    let dir = fixture.session.cwd.clone();
    let touch = |name: &str| std::fs::write(dir.join(name), "").unwrap();
    touch("app.db.before-20261120T031500Z");
    touch("app.db.before-20261120T031500Z-wal");
    touch("app.db.before-lunch");
    touch("other.db.before-20261120T031500Z");
    let path = dir.join("app.db").display().to_string();
    let lines = format!("[sources.app]\nkind = \"sqlite\"\npath = \"{path}\"\n");
    let session = fixture.configured(&lines);
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), &session).unwrap();
    let (subject, health) = &status.sources[0];
    assert_eq!(health.level, HealthLevel::Ok);
    let stamp = format!("{path}.before-20261120T031500Z");
    let start = |text: String| text.split(',').next().unwrap().to_owned();
    let starts: Vec<String> = subject
        .leftovers
        .iter()
        .map(|hint| start(hint.to_string()))
        .collect();
    assert_eq!(starts, [stamp.clone(), format!("{stamp}-wal")]);
}

#[test]
fn names_that_a_restore_gives() {
    for name in [
        "app.db.before-20261120T031500Z",
        "app.db.before-20261120T031500Z-wal",
        "a.before-b.before-20261120T031500Z",
    ] {
        assert!(is_set_aside(name), "{name}");
    }
    for name in ["app.db", "app.before-lunch", "before-20261120T031500Z"] {
        assert!(!is_set_aside(name), "{name}");
    }
}

#[test]
fn a_held_brake_is_told_until_the_backup_is_accepted() {
    let fixture = Fixture::new();
    fixture.backup("app", 30, 1000);
    let earlier = fixture.backup("app", 20, 1000);
    let small = fixture.backup("app", 3, 10);
    let session = fixture.configured(&format!("{TWO}[retention]\nkeep_last = 1\n"));
    let held = || {
        let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
        let status = reading.judge(&StatusRequest::default(), &session).unwrap();
        let found = status
            .sources
            .iter()
            .find(|(subject, _)| subject.name == "app");
        found.unwrap().0.held.clone()
    };
    // Only a run looks for it.
    assert_eq!(held(), None);
    let store = fixture.store();
    let against = Change::Brake(crate::sidecar::Braked::Against(earlier));
    add_event(&*store, "app", &small, against).unwrap();
    assert!(held().is_some());
    let accepted = Change::Brake(crate::sidecar::Braked::Accepted);
    add_event(&*store, "app", &small, accepted).unwrap();
    assert_eq!(held(), None);
}

/// The lines of the file of metrics that are about this source, without the store's label.
fn written(fixture: &Fixture, session: &Session, source: &str) -> Vec<String> {
    let path: PathBuf = fixture.session.cwd.join("status.prom");
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), session).unwrap();
    write_textfile(&path, &status).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let store = format!("store=\"{}\",", status.store.location());
    let label = format!("{{source=\"{source}\"");
    text.lines()
        .map(|line| line.replace(&store, ""))
        .filter(|line| line.contains(&label))
        .collect()
}

#[test]
fn metrics_say_what_is_known_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    fixture.failed_attempt("app", 1);
    let lines = format!(
        "{TWO}[sources.off]\nkind = \"sqlite\"\npath = \"/none/off.db\"\nenabled = false\n"
    );
    let session = fixture.configured(&lines);
    let of = |source: &str| written(&fixture, &session, source);
    let hours_ago = |hours: i64| now().timestamp() - hours * 3600;
    let expected = |name: &str, value: &dyn std::fmt::Display| {
        format!("dbbackup_{name}{{source=\"app\"}} {value}")
    };
    let app = of("app");
    for line in [
        expected("last_success_timestamp_seconds", &hours_ago(3)),
        expected("last_attempt_timestamp_seconds", &hours_ago(1)),
        expected("last_attempt_success", &0),
        expected("last_success_rows", &10),
        expected("failed_attempts", &1),
        expected("expected_interval_seconds", &(26 * 3600)),
        expected("expected", &1),
        expected("status", &1),
    ] {
        assert!(app.contains(&line), "{line} is not in {app:#?}");
    }
    assert!(app.contains(&"dbbackup_backups{source=\"app\",label=\"manual\"} 1".to_owned()));
    // Never backed up: no time of a success, which is not the same as one long ago.
    let shop = of("shop");
    assert!(shop.iter().all(|line| !line.contains("last_")), "{shop:#?}");
    assert!(shop.contains(&"dbbackup_status{source=\"shop\"} 2".to_owned()));
    let off = of("off");
    assert!(off.contains(&"dbbackup_expected{source=\"off\"} 0".to_owned()));
    assert!(
        off.iter().all(|line| !line.contains("interval")),
        "{off:#?}"
    );
}

#[test]
fn metrics_need_their_directory() {
    let fixture = Fixture::new();
    let reading = StoreReading::open(fixture.session.store_plan().unwrap()).unwrap();
    let request = StatusRequest::default();
    let status = reading.judge(&request, &fixture.session).unwrap();
    let error = write_textfile(&fixture.session.cwd.join("none/x.prom"), &status).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    assert!(!fixture.session.cwd.join("none").exists());
}
