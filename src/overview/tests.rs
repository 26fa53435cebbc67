//! Days, charts, copies, and the page: that it is well-formed, that nothing a stranger wrote is
//! markup in it, and how large it is.

use super::chart::draw_sizes;
use super::*;
use crate::health::{AttemptWorth, JudgedAttempt, Proof};
use chrono::{NaiveDate, TimeDelta};
use std::time::Duration;

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
        content: 4000,
        is_delta: false,
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
            hint: None,
        },
    )
}

#[test]
fn a_day_is_what_all_its_attempts_are() {
    let safety = JudgedAttempt {
        safety_copy: true,
        ..attempt(24 * 5, AttemptWorth::Good)
    };
    let proven = JudgedAttempt {
        proof: Some(Proof {
            at: now() - TimeDelta::hours(24),
            id: "app_daily_x",
            host: None,
            took: Duration::from_secs(3),
        }),
        ..attempt(24 * 2, AttemptWorth::Good)
    };
    let attempts = [
        attempt(0, AttemptWorth::Good),
        attempt(1, AttemptWorth::Good),
        attempt(24, AttemptWorth::Good),
        failed(25),
        proven,
        failed(24 * 3),
        attempt(24 * 3 + 1, AttemptWorth::Damaged("rows are missing".into())),
        attempt(24 * 4, AttemptWorth::Partial),
        safety,
        attempt(24 * 6, AttemptWorth::Untrusted("a stranger's".into())),
        attempt(24 * 89, AttemptWorth::Good),
        attempt(24 * 90, AttemptWorth::Good),
    ];
    let days = calendar_of(&attempts, now());
    assert_eq!(days.len() as u64, CALENDAR_DAYS);
    let newest_first: Vec<&str> = days.iter().rev().map(|day| day.state.as_str()).collect();
    assert_eq!(
        newest_first[..7],
        [
            "good", "partial", "good", "failed", "partial", "nothing", "nothing"
        ]
    );
    assert_eq!(days[0].state, DayState::Good);
    assert_eq!(days[0].date, NaiveDate::from_ymd_opt(2026, 8, 23).unwrap());
    let proven: Vec<usize> = (0..days.len()).filter(|at| days[*at].proven).collect();
    assert_eq!(proven, [days.len() - 2]);
}

fn points(bytes: &[u64]) -> Vec<SizePoint> {
    let of_day = |(day, bytes): (usize, &u64)| SizePoint {
        at: now() + TimeDelta::days(day as i64),
        bytes: *bytes,
    };
    bytes.iter().enumerate().map(of_day).collect()
}

#[test]
fn charts_begin_at_nought_and_stay_small() {
    assert_eq!(draw_sizes(&points(&[5])), None);
    assert_eq!(draw_sizes(&[]), None);
    let chart = draw_sizes(&points(&[0, 50, 100])).unwrap();
    assert_eq!(chart.line, "M0.0 28.0L60.0 15.0L120.0 2.0");
    assert_eq!(chart.area, "M0.0 28.0L60.0 15.0L120.0 2.0V28H0Z");
    assert!(draw_sizes(&points(&[0, 0])).is_some());
    let many: Vec<u64> = (0..1000).collect();
    let thin = thin_out(&points(&many), 60);
    assert_eq!(thin.len(), 60);
    assert_eq!(thin[59].bytes, 999);
    assert!(thin.windows(2).all(|pair| pair[0].bytes < pair[1].bytes));
    assert_eq!(thin_out(&points(&[1, u64::MAX, u64::MAX]), 2).len(), 2);
    assert_eq!(thin_out(&points(&[7]), 60).len(), 1);
    assert!(thin_out(&[], 60).is_empty());
}

#[test]
fn copies_are_counted_by_their_places() {
    let disk = |number| CopyPlace::Disk(Some(number));
    let elsewhere = || CopyPlace::Elsewhere("s3://bucket".to_owned());
    let counted = |data: CopyPlace, stores: &[CopyPlace]| {
        let rule = count_copies(&data, stores, true);
        (rule.copies, rule.places, rule.off_machine, rule.kept)
    };
    assert_eq!(counted(disk(1), &[]), (1, 1, 0, false));
    assert_eq!(counted(disk(1), &[disk(1)]), (2, 1, 0, false));
    assert_eq!(counted(disk(1), &[disk(2)]), (2, 2, 0, false));
    assert_eq!(counted(disk(1), &[disk(2), disk(3)]), (3, 3, 0, false));
    assert_eq!(counted(disk(1), &[disk(1), elsewhere()]), (3, 2, 1, true));
    assert_eq!(counted(disk(1), &[elsewhere()]), (2, 2, 1, false));
    // Where a server has its files is not known: it may be any disk.
    let unknown = CopyPlace::Disk(None);
    assert_eq!(counted(unknown.clone(), &[disk(1)]), (2, 1, 0, false));
    assert_eq!(
        counted(unknown.clone(), &[disk(1), elsewhere()]),
        (3, 2, 1, true)
    );
    assert_eq!(counted(unknown, &[elsewhere()]), (2, 2, 1, false));
    assert!(!count_copies(&disk(1), &[disk(1), elsewhere()], false).kept);
}

/// What nobody may smuggle into a page.
const HOSTILE: &str = "</td><script>alert('1')</script>\"onload=x & `<b>dbbackup</b>` {{ 7*7 }}";

fn proof(text: &str) -> ProofOverview {
    ProofOverview {
        id: text.to_owned(),
        at: now(),
        duration_seconds: 41.0,
        content_size_bytes: 4_100_000_000,
        host: Some(text.to_owned()),
    }
}

fn source(name: &str, text: &str) -> SourceOverview {
    let place = PlaceOverview {
        store: text.to_owned(),
        newest_at: Some(now() - TimeDelta::hours(3)),
        newest_id: Some(text.to_owned()),
        size_bytes: Some(1 << 30),
        proof: Some(proof(text)),
        good: Some(12),
        waiting: true,
    };
    SourceOverview {
        source: name.to_owned(),
        status: HealthLevel::Warning,
        not_expected: Some(text.to_owned()),
        places: vec![place.clone(), place],
        content_size_bytes: Some(4_100_000_000),
        rows_total: Some(1_234_567),
        files_total: None,
        growth_bytes_per_day: Some(-1_000_000.0),
        sizes: points(&[10, 20, 30]),
        calendar: calendar_of(&[attempt(1, AttemptWorth::Good), failed(30)], now()),
        retention: RetentionOverview {
            rules: vec![
                RuleOverview {
                    labels: vec![text.to_owned()],
                    settings: vec![text.to_owned()],
                };
                2
            ],
            kept: 12,
            kept_bytes: 1 << 34,
            pinned: 1,
            oldest_at: Some(now()),
            held: None,
            after_next: true,
            removals: vec![
                RemovalOverview {
                    id: text.to_owned(),
                    reason: text.to_owned(),
                    size_bytes: 5,
                };
                7
            ],
        },
        drills: DrillOverview {
            count: 2,
            last: Some(proof(text)),
            fastest_seconds: Some(3.0),
            slowest_seconds: Some(41.0),
            hint: None,
        },
        rule: count_copies(&CopyPlace::Disk(Some(1)), &[], false),
        leftovers: vec![text.to_owned()],
    }
}

/// An overview in which this text stands wherever one can.
fn overview(text: &str) -> Overview {
    Overview {
        at: now(),
        host: text.to_owned(),
        status: HealthLevel::Critical,
        attention: vec![AttentionItem {
            status: HealthLevel::Critical,
            about: text.to_owned(),
            text: text.to_owned(),
            hint: Some(text.to_owned()),
        }],
        stores: vec![
            StoreOverview {
                name: text.to_owned(),
                location: text.to_owned(),
                in_use: true,
                reachable: Some(true),
                good: Some(12),
                stored_bytes: Some(1 << 34),
                free_bytes: Some(1 << 40),
            };
            2
        ],
        sources: vec![source(text, text)],
        unconfigured: vec![text.to_owned()],
        failures: vec![FailureOverview {
            source: text.to_owned(),
            copy_to: Some(text.to_owned()),
            at: now(),
            since: now() - TimeDelta::days(2),
            count: 3,
            error: text.to_owned(),
            hint: Some(text.to_owned()),
        }],
    }
}

/// Checks that every element that is begun is ended, and in order; gives their names.
#[track_caller]
fn elements_of(page: &str) -> Vec<String> {
    let (_, mut rest) = page.split_once("<!DOCTYPE html>").unwrap();
    let (mut open, mut names): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    while let Some((text, after)) = rest.split_once('<') {
        assert!(
            !text.contains('>') || open.last().is_some_and(|name| name == "style"),
            "{text}"
        );
        let (tag, after) = after.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{names:?}");
            continue;
        }
        let name: String = tag
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(
            !name.is_empty() && tag.matches('"').count().is_multiple_of(2),
            "<{tag}>"
        );
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        names.push(name);
    }
    assert_eq!(open, [] as [&str; 0]);
    names
}

#[test]
fn a_page_is_well_formed_and_nothing_in_it_is_a_strangers() {
    let plain = render_page(&overview("shop")).unwrap();
    let hostile = render_page(&overview(HOSTILE)).unwrap();
    let elements = elements_of(&plain);
    assert!(elements.len() > 150, "{}", elements.len());
    // The backticks make pieces of it code, and nothing else makes anything.
    let names = elements_of(&hostile);
    let others = |names: &[String]| {
        let names = names.iter().filter(|name| *name != "code");
        names.cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&names), others(&elements));
    for page in [&plain, &hostile] {
        assert!(page[..1024].contains(PAGE_MARK));
        for word in [
            "<script",
            "javascript:",
            "http://www",
            "src=",
            "@import",
            "url(",
            "{{",
        ] {
            let found = page.matches(word).count();
            let allowed = match word {
                // The name space of the icon.
                "http://www" => 1,
                "{{" => page.matches("{{ 7*7 }}").count(),
                _ => 0,
            };
            assert_eq!(found, allowed, "{word}");
        }
    }
    assert!(hostile.contains("&#60;script&#62;alert("), "{hostile}");
}

#[test]
fn a_page_says_what_there_is() {
    let mut overview = overview("shop");
    overview.sources[0].not_expected = None;
    let page = render_page(&overview).unwrap();
    for text in [
        "1 thing needs attention",
        "3 h ago",
        "2026-11-20 09:00",
        "took 41 s",
        "1,234,567 rows",
        "−977 KiB a day",
        "1 good, 1 failed",
        "2026-11-19: failed",
        "after the next backup: 7 backups, 35 B",
        "and 2 more",
        "3 times in a row, since 2026-11-18 12:00",
        "95.4 MiB/s",
        "3.0 s to 41 s",
        "! not kept",
    ] {
        assert!(page.contains(text), "lacks `{text}`: {page}");
    }
    overview.attention.clear();
    overview.failures.clear();
    let page = render_page(&overview).unwrap();
    assert!(
        page.contains("All is well") && page.contains("✓ none"),
        "{page}"
    );
    overview.sources.clear();
    elements_of(&render_page(&overview).unwrap());
}

#[test]
fn a_hundred_sources_fit() {
    let mut overview = overview("shop");
    let days: Vec<JudgedAttempt<'static>> = (0..100)
        .map(|day| match day % 9 {
            3 => failed(day * 24),
            5 => attempt(day * 24, AttemptWorth::Partial),
            _ => attempt(day * 24, AttemptWorth::Good),
        })
        .collect();
    let many: Vec<u64> = (0..100).map(|at| 1_000_000_000 + at * 12_345_678).collect();
    overview.sources = (0..100)
        .map(|number| SourceOverview {
            calendar: calendar_of(&days, now()),
            sizes: thin_out(&points(&many), 60),
            ..source(&format!("source-{number}"), "app_daily_20261120T020000Z")
        })
        .collect();
    overview.attention = vec![overview.attention.remove(0); 100];
    let page = render_page(&overview).unwrap();
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}
