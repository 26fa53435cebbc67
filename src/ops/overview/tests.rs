//! The facts of real stores, and the file of the page: what it may replace and what not.

use super::*;
use crate::config;
use crate::health::HealthLevel;
use crate::ops::status::StatusRequest;
use crate::ops::tests::{Fixture, now};
use crate::overview::{DayState, PAGE_MARK};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const APP: &str = "[sources.app]\nkind = \"sqlite\"\npath = \"/none/app.db\"\n";

/// The session of a configuration of the fixture's store with these lines.
fn session(fixture: &Fixture, lines: &str) -> Session {
    let store = fixture.session.store_plan().unwrap().settings.location;
    let text = format!("[store]\npath = \"{store}\"\n{lines}");
    let path = fixture.session.cwd.join("dbbackup.toml");
    Session {
        config: Some(config::parse(&text, &path, &|_| None).unwrap()),
        store_flag: None,
        ..fixture.session.clone()
    }
}

fn overview(session: &Session) -> Overview {
    read_overview(OverviewRequest::default(), session).unwrap()
}

#[test]
fn what_needs_attention_is_what_status_finds() {
    let fixture = Fixture::new();
    fixture.backup("app", 50, 10);
    fixture.backup("shop", 3, 10);
    fixture.failed_attempt("shop", 2);
    let lines = format!("{APP}[sources.shop]\nkind = \"sqlite\"\npath = \"/none/shop.db\"\n");
    let session = session(&fixture, &lines);
    let overview = overview(&session);
    let reading = StoreReading::open(session.store_plan().unwrap()).unwrap();
    let status = reading.judge(&StatusRequest::default(), &session).unwrap();
    let findings = status
        .sources
        .iter()
        .flat_map(|(_, health)| &health.findings);
    let texts: Vec<&str> = findings.map(|finding| finding.text.as_str()).collect();
    let told: Vec<&str> = overview
        .attention
        .iter()
        .map(|item| item.text.as_str())
        .collect();
    assert_eq!(told, texts);
    assert_eq!(overview.status, HealthLevel::Critical);
    let hint = overview.attention[0].hint.as_deref().unwrap();
    // It can be typed anywhere.
    let config = session.cwd.join("dbbackup.toml");
    let command = format!("`dbbackup --config {} backup app`", config.display());
    assert!(hint.contains(&command), "{hint}");
    assert_eq!(overview.failures.len(), 1);
    assert_eq!(overview.failures[0].error, "the server is away");
    let shop = &overview.sources[1];
    assert_eq!(shop.source, "shop");
    // It is two o'clock in the morning.
    let days: Vec<DayState> = shop.calendar.iter().rev().map(|day| day.state).collect();
    assert_eq!(days[..2], [DayState::Failed, DayState::Good]);
    assert_eq!((shop.rule.copies, shop.rule.proven), (2, false));
}

#[test]
fn failures_in_a_row_are_one() {
    let fixture = Fixture::new();
    for hours in [1, 2, 3] {
        fixture.failed_attempt("app", hours);
    }
    fixture.backup("app", 4, 10);
    fixture.failed_attempt("app", 5);
    fixture.backup("app", 24 * 39, 10);
    fixture.failed_attempt("app", 24 * 40);
    let overview = overview(&session(&fixture, APP));
    let counts: Vec<u64> = overview
        .failures
        .iter()
        .map(|failure| failure.count)
        .collect();
    assert_eq!(counts, [3, 1]);
    assert_eq!(overview.failures[0].since, now() - TimeDelta::hours(3));
}

#[test]
fn what_goes_next_is_told_before_it_goes() {
    let fixture = Fixture::new();
    let ids: Vec<String> = [96, 72, 48, 24]
        .map(|hours| fixture.backup("app", hours, 10))
        .to_vec();
    let going = |lines: &str| {
        let overview = overview(&session(&fixture, &format!("{APP}{lines}")));
        let retention = overview.sources[0].retention.clone();
        let ids: Vec<String> = retention
            .removals
            .iter()
            .map(|one| one.id.clone())
            .collect();
        (ids, retention)
    };
    let (gone, retention) = going("");
    assert_eq!((gone.len(), retention.kept), (0, 4));
    assert_eq!(retention.rules[0].settings, [] as [&str; 0]);
    // There is one too many.
    let (gone, retention) = going("[retention]\nkeep_last = 3\n");
    assert_eq!(
        (gone, retention.kept, retention.after_next),
        (ids[..1].to_vec(), 3, false)
    );
    assert_eq!(retention.rules[0].settings, ["keep_last = 3"]);
    // The next one pushes the oldest out.
    for rule in ["keep_last = 4", "keep_daily = 4", "max_count = 4"] {
        let (gone, retention) = going(&format!("[retention]\n{rule}\n"));
        assert_eq!(
            (gone, retention.kept, retention.after_next),
            (ids[..1].to_vec(), 4, true)
        );
    }
    let (gone, _) = going("[retention]\nkeep_last = 9\n");
    assert_eq!(gone.len(), 0);
}

#[test]
fn a_store_that_is_not_there_is_said_to_be_away() {
    let fixture = Fixture::new();
    let session = session(&fixture, APP);
    std::fs::remove_dir_all(fixture.session.cwd.join("store")).unwrap();
    let error = read_overview(OverviewRequest::default(), &session).unwrap_err();
    let overview = overview_without_store(&error, None, &session);
    assert_eq!(overview.status, HealthLevel::Critical);
    assert_eq!(overview.stores[0].reachable, Some(false));
    assert!(overview.attention[0].text.starts_with("it can't be read: "));
}

#[test]
fn secrets_are_masked() {
    let fixture = Fixture::new();
    fixture.failed_attempt("shop", 1);
    let id = fixture.ids().remove(0);
    let path = fixture.path("shop", &format!("{id}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("the server is away", "no login with Hunter-of-2 <b>");
    std::fs::write(&path, text).unwrap();
    let lines = "[sources.shop]\nkind = \"postgres\"\nurl = \
                 \"postgresql://me:Hunter-of-2@db/shop\"\n";
    let overview = overview(&session(&fixture, lines));
    let page = crate::overview::render_page(&overview).unwrap();
    assert!(!page.contains("Hunter-of-2"), "{page}");
    assert!(page.contains("no login with "), "{page}");
}

fn page_path(fixture: &Fixture) -> PathBuf {
    fixture.session.cwd.join("page.html")
}

fn mode_of(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_page_is_written_over_a_page_alone() {
    let fixture = Fixture::new();
    fixture.backup("app", 3, 10);
    let overview = overview(&session(&fixture, APP));
    let path = page_path(&fixture);
    write_page(&path, &overview).unwrap();
    assert_eq!(mode_of(&path), 0o644);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(PAGE_MARK));
    // A narrower mode stays; a wider one does not.
    for (before, after) in [(0o600, 0o600), (0o666, 0o644)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
        write_page(&path, &overview).unwrap();
        assert_eq!(mode_of(&path), after);
    }
    // An empty one was made to be written to.
    std::fs::write(&path, "").unwrap();
    write_page(&path, &overview).unwrap();
    let refused = |what: &str| {
        let error = write_page(&path, &overview).unwrap_err();
        assert!(error.message().contains(what), "{error:?}");
        assert!(error.hint().is_some(), "{error:?}");
    };
    std::fs::write(&path, "SQLite format 3\0").unwrap();
    refused("is no page of dbbackup's");
    assert_eq!(std::fs::read(&path).unwrap(), b"SQLite format 3\0");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("store", &path).unwrap();
    refused("is a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("is no page of dbbackup's");
    let nowhere = fixture.session.cwd.join("none/page.html");
    let error = write_page(&nowhere, &overview).unwrap_err();
    assert!(error.message().contains("the directory of"), "{error:?}");
}
