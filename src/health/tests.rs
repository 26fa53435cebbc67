//! Each state that a source can be in, and how it is judged.

use super::*;
use chrono::TimeDelta;

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z")
        .unwrap()
        .with_timezone(&Utc)
}

fn attempt(hours_ago: i64, worth: AttemptWorth<'static>) -> JudgedAttempt<'static> {
    JudgedAttempt {
        id: "app_daily_x",
        label: "daily",
        ended: now() - TimeDelta::hours(hours_ago),
        seconds: 2.0,
        worth,
        stored: 1000,
        is_delta: false,
        content: 4000,
        rows: Some(100),
        files: None,
        proof: None,
        encrypted: false,
        key_proven: None,
        dated_ahead: false,
        safety_copy: false,
        absent: false,
    }
}

fn failed(hours_ago: i64) -> JudgedAttempt<'static> {
    attempt(
        hours_ago,
        AttemptWorth::Failed {
            error: "disk on fire",
            hint: Some("put it out".into()),
        },
    )
}

fn app(attempts: Vec<JudgedAttempt<'static>>) -> Subject<'static> {
    let name = "app".into();
    Subject {
        name,
        configured: true,
        expected: Expectation::Yes,
        expect_every: Span::parse("26h").unwrap(),
        prove_every: None,
        prove_key_every: None,
        attempts,
        held: None,
        leftovers: Vec::new(),
        copies: Vec::new(),
        chain_faults: Vec::new(),
        ignored_events: 0,
    }
}

fn span(text: &str) -> Span {
    Span::parse(text).unwrap()
}

/// The level and every sentence, the worst first.
#[track_caller]
fn judged(subject: &Subject<'static>, level: HealthLevel, sentences: &[&str]) {
    let health = judge(subject, now());
    let texts: Vec<&str> = health
        .findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!((health.level, texts.as_slice()), (level, sentences));
}

#[test]
fn fresh_is_ok_and_its_edge_is() {
    judged(
        &app(vec![attempt(2, AttemptWorth::Good)]),
        HealthLevel::Ok,
        &[],
    );
    judged(
        &app(vec![attempt(26, AttemptWorth::Good)]),
        HealthLevel::Ok,
        &[],
    );
    let late = "its newest good backup was made 27 h ago, one is expected every 26h";
    judged(
        &app(vec![attempt(27, AttemptWorth::Good)]),
        HealthLevel::Critical,
        &[late],
    );
    judged(
        &Subject {
            expect_every: span("2d"),
            ..app(vec![attempt(27, AttemptWorth::Good)])
        },
        HealthLevel::Ok,
        &[],
    );
}

#[test]
fn nothing_good_is_critical() {
    judged(
        &app(vec![]),
        HealthLevel::Critical,
        &["there is no good backup"],
    );
    let sentences = [
        "there is no good backup",
        "the last attempt failed 1 h ago: disk on fire",
    ];
    judged(&app(vec![failed(1)]), HealthLevel::Critical, &sentences);
    // What a restore put aside is nobody's backup.
    let safety = JudgedAttempt {
        safety_copy: true,
        ..attempt(1, AttemptWorth::Good)
    };
    judged(
        &app(vec![safety.clone()]),
        HealthLevel::Critical,
        &["there is no good backup"],
    );
    judged(
        &app(vec![safety, attempt(2, AttemptWorth::Good)]),
        HealthLevel::Ok,
        &[],
    );
}

#[test]
fn a_failed_attempt_warns_until_one_succeeds() {
    judged(
        &app(vec![failed(1), attempt(3, AttemptWorth::Good)]),
        HealthLevel::Warning,
        &["the last attempt failed 1 h ago: disk on fire"],
    );
    let row = "the last 2 attempts failed, the last one 1 h ago: disk on fire";
    judged(
        &app(vec![
            failed(1),
            failed(2),
            attempt(3, AttemptWorth::Good),
            failed(4),
        ]),
        HealthLevel::Warning,
        &[row],
    );
    judged(
        &app(vec![attempt(1, AttemptWorth::Good), failed(3)]),
        HealthLevel::Ok,
        &[],
    );
    let health = judge(&app(vec![failed(1), attempt(3, AttemptWorth::Good)]), now());
    assert_eq!(health.findings[0].hint, Some("put it out".into()));
    assert_eq!((health.failures, health.labels["daily"]), (1, 1));
}

#[test]
fn a_damaged_newest_one_does_not_hide_behind_an_older_good_one() {
    let damaged = || attempt(1, AttemptWorth::Damaged("two bytes differ".into()));
    let sentence = "its newest backup, made 1 h ago, is damaged: two bytes differ";
    judged(
        &app(vec![damaged(), attempt(3, AttemptWorth::Good)]),
        HealthLevel::Critical,
        &[sentence],
    );
    judged(
        &app(vec![failed(0), damaged(), attempt(3, AttemptWorth::Good)]),
        HealthLevel::Critical,
        &[sentence, "the last attempt failed just now: disk on fire"],
    );
    // An older one is told elsewhere.
    let health = judge(&app(vec![attempt(0, AttemptWorth::Good), damaged()]), now());
    assert_eq!((health.level, health.damaged), (HealthLevel::Ok, 1));
    let partial = app(vec![
        attempt(1, AttemptWorth::Partial),
        attempt(3, AttemptWorth::Good),
    ]);
    judged(
        &partial,
        HealthLevel::Warning,
        &["its newest backup, made 1 h ago, is incomplete"],
    );
    let unreachable = app(vec![
        attempt(1, AttemptWorth::Unreachable("the disk is away".into())),
        attempt(3, AttemptWorth::Good),
    ]);
    let sentence = "its newest backup, made 1 h ago, can't be judged: the disk is away";
    judged(&unreachable, HealthLevel::Unknown, &[sentence]);
    let old = JudgedAttempt {
        id: "old",
        absent: true,
        ..attempt(9, AttemptWorth::Damaged("the dump is not there".into()))
    };
    judged(
        &app(vec![
            attempt(1, AttemptWorth::Good),
            old.clone(),
            JudgedAttempt { id: "older", ..old },
        ]),
        HealthLevel::Warning,
        &["the dumps of 2 backups, the newest old, are not there or can't be looked at"],
    );
    let newer = app(vec![
        attempt(1, AttemptWorth::Newer("schema 2")),
        attempt(3, AttemptWorth::Good),
    ]);
    judged(
        &newer,
        HealthLevel::Warning,
        &["its newest backup, made 1 h ago, can't be judged: schema 2"],
    );
}

#[test]
fn a_key_is_to_be_proven_where_the_newest_backup_needs_one() {
    let sealed = |proven: Option<i64>| Subject {
        prove_key_every: Some(span("90d")),
        ..app(vec![JudgedAttempt {
            encrypted: true,
            key_proven: proven.map(|hours| now() - TimeDelta::hours(hours)),
            ..attempt(2, AttemptWorth::Good)
        }])
    };
    let plain = Subject {
        prove_key_every: Some(span("90d")),
        ..app(vec![attempt(2, AttemptWorth::Good)])
    };
    judged(&plain, HealthLevel::Ok, &[]);
    judged(&sealed(Some(24 * 89)), HealthLevel::Ok, &[]);
    let never = "no private key was ever shown to open a backup, one is to be every 90d";
    judged(&sealed(None), HealthLevel::Warning, &[never]);
    let old = "a private key last opened a backup 3 mo ago, one is to every 90d";
    judged(&sealed(Some(24 * 91)), HealthLevel::Warning, &[old]);
}

#[test]
fn proofs_are_asked_for_only_where_the_configuration_does() {
    let weekly = |attempts| Subject {
        prove_every: Some(span("7d")),
        ..app(attempts)
    };
    let proven = |hours: i64| JudgedAttempt {
        proof: Some(Proof {
            at: now() - TimeDelta::hours(hours),
            id: "a",
            host: None,
            took: Duration::ZERO,
        }),
        ..attempt(2, AttemptWorth::Good)
    };
    judged(
        &app(vec![attempt(2, AttemptWorth::Good)]),
        HealthLevel::Ok,
        &[],
    );
    let never = "no backup was ever proven by a restore, one is to be every 7d";
    judged(
        &weekly(vec![attempt(2, AttemptWorth::Good)]),
        HealthLevel::Warning,
        &[never],
    );
    judged(&weekly(vec![proven(24 * 7)]), HealthLevel::Ok, &[]);
    let old = "a restore was last proven 8 d ago, one is to be every 7d";
    judged(&weekly(vec![proven(24 * 8)]), HealthLevel::Warning, &[old]);
    // Of any backup of the source, and the last of all counts.
    judged(
        &weekly(vec![
            attempt(1, AttemptWorth::Good),
            proven(24),
            proven(24 * 30),
        ]),
        HealthLevel::Ok,
        &[],
    );
    judged(
        &weekly(vec![]),
        HealthLevel::Critical,
        &["there is no good backup"],
    );
}

#[test]
fn shrinking_by_half_warns() {
    let fewer = JudgedAttempt {
        rows: Some(49),
        ..attempt(1, AttemptWorth::Good)
    };
    let sentence = "its newest backup holds 49 rows, the one before held 100";
    judged(
        &app(vec![fewer, attempt(2, AttemptWorth::Good)]),
        HealthLevel::Warning,
        &[sentence],
    );
    let half = JudgedAttempt {
        rows: Some(50),
        content: 2000,
        ..attempt(1, AttemptWorth::Good)
    };
    judged(
        &app(vec![half, attempt(2, AttemptWorth::Good)]),
        HealthLevel::Ok,
        &[],
    );
    let smaller = JudgedAttempt {
        content: 1999,
        ..attempt(1, AttemptWorth::Good)
    };
    let sentence = "its newest backup holds 2.0 KiB, the one before held 3.9 KiB";
    judged(
        &app(vec![smaller, attempt(2, AttemptWorth::Good)]),
        HealthLevel::Warning,
        &[sentence],
    );
}

#[test]
fn what_is_not_expected_alarms_nobody() {
    for attempts in [
        vec![],
        vec![failed(1)],
        vec![attempt(9999, AttemptWorth::Good)],
    ] {
        judged(
            &Subject {
                expected: Expectation::No("disabled"),
                ..app(attempts)
            },
            HealthLevel::Ok,
            &[],
        );
    }
    // A source that begins gets the time of one interval.
    let from = |hours: i64| Subject {
        expected: Expectation::From(now() - TimeDelta::hours(hours)),
        ..app(vec![])
    };
    judged(&from(1), HealthLevel::Ok, &[]);
    judged(
        &from(27),
        HealthLevel::Critical,
        &["there is no good backup"],
    );
    // A cluster's own history is that of runs that could not even ask for its databases.
    judged(
        &Subject {
            expected: Expectation::InMembers,
            ..app(vec![])
        },
        HealthLevel::Ok,
        &[],
    );
    let cluster = Subject {
        expected: Expectation::InMembers,
        ..app(vec![failed(1)])
    };
    judged(
        &cluster,
        HealthLevel::Warning,
        &["the last attempt failed 1 h ago: disk on fire"],
    );
}

#[test]
fn space_is_that_of_the_next_backups() {
    assert_eq!(space(Some(1000), 1000), None);
    assert_eq!(space(None, 1000), None);
    let low = space(Some(999), 2048).unwrap();
    assert_eq!(
        (low.level, low.text.as_str()),
        (
            HealthLevel::Warning,
            "999 B free, the next backups will need about 2.0 KiB"
        )
    );
}

#[test]
fn levels_have_nagios_numbers() {
    let codes = [
        HealthLevel::Ok,
        HealthLevel::Warning,
        HealthLevel::Critical,
        HealthLevel::Unknown,
    ]
    .map(|level| (level.as_str(), level.code()));
    assert_eq!(
        codes,
        [("OK", 0), ("WARNING", 1), ("CRITICAL", 2), ("UNKNOWN", 3)]
    );
}
