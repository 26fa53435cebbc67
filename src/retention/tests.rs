//! Examples worked out by hand from what restic documents, one edge case each for the rest, and the
//! laws.

mod year;

use super::Standing::{Damaged, Failed, Good, Missing, OtherLength, Partial, Unknown, Unreachable};
use super::*;
use crate::units::Span;
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

/// `2026-11-20`, `2026-11-20 02` or `2026-11-20 02:30:15`, in UTC.
fn time(text: &str) -> DateTime<Utc> {
    let full = format!("{text}{}", &"2000-01-01 00:00:00"[text.len()..]).replace(' ', "T");
    DateTime::parse_from_rfc3339(&format!("{full}Z"))
        .unwrap()
        .with_timezone(&Utc)
}

fn span(text: &str) -> Span {
    Span::parse(text).unwrap()
}

fn age(text: &str) -> Age {
    Age(span(text))
}

/// A good backup of 10 bytes labelled `a`, named after its time.
fn good(at: &str) -> Candidate {
    Candidate {
        id: at.into(),
        at: time(at),
        dated_ahead: false,
        label: "a".into(),
        size_bytes: 10,
        standing: Good,
        pinned: false,
        proven: false,
        key: KeyNeed::Plain,
        needs: None,
    }
}

#[test]
fn the_newest_plain_backup_stays_until_a_key_was_proven() {
    let with_key = |at: &str, key: KeyNeed| Candidate { key, ..good(at) };
    let kept = |newest: KeyNeed| {
        let all = [
            with_key("2026-11-20 03:00:00", newest),
            with_key("2026-11-20 02:00:00", KeyNeed::Unproven),
            with_key("2026-11-20 01:00:00", KeyNeed::Plain),
            with_key("2026-11-20 00:00:00", KeyNeed::Plain),
        ];
        let policy = RetentionPolicy {
            keep_last: Some(1),
            ..RetentionPolicy::default()
        };
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let decision = decide(&all, |_| Some(&policy), now);
        let stays = |(_, verdict): &&(String, Verdict)| matches!(verdict, Verdict::Keep(_));
        decision.verdicts.iter().filter(stays).count()
    };
    assert_eq!(kept(KeyNeed::Unproven), 2);
    assert_eq!(kept(KeyNeed::Proven), 1);
    assert_eq!(kept(KeyNeed::Plain), 1);
}

/// Neither this machine's clock nor its store's is before it.
fn is_past(candidate: &Candidate) -> bool {
    candidate.at <= time(NOW) && !candidate.dated_ahead
}

fn flawed(at: &str, standing: Standing) -> Candidate {
    Candidate {
        standing,
        ..good(at)
    }
}

fn pinned(at: &str) -> Candidate {
    Candidate {
        pinned: true,
        ..good(at)
    }
}

fn labelled(at: &str, label: &str) -> Candidate {
    Candidate {
        label: label.into(),
        ..good(at)
    }
}

/// With one policy for every label.
fn decide_all(candidates: &[Candidate], policy: &RetentionPolicy, now: DateTime<Utc>) -> Decision {
    decide(candidates, |_| Some(policy), now)
}

const NOW: &str = "2026-11-20 12";

fn kept(decision: &Decision) -> Vec<&str> {
    decision
        .verdicts
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Keep(_)))
        .map(|(id, _)| id.as_str())
        .collect()
}

fn reasons<'d>(decision: &'d Decision, id: &str) -> Vec<&'d str> {
    match &decision
        .verdicts
        .iter()
        .find(|(other, _)| other == id)
        .unwrap()
        .1
    {
        Verdict::Keep(reasons) => reasons.iter().map(String::as_str).collect(),
        Verdict::Remove(reason) => panic!("{id} is removed: {reason}"),
    }
}

fn removal<'d>(decision: &'d Decision, id: &str) -> &'d str {
    match &decision
        .verdicts
        .iter()
        .find(|(other, _)| other == id)
        .unwrap()
        .1
    {
        Verdict::Keep(reasons) => panic!("{id} is kept: {reasons:?}"),
        Verdict::Remove(reason) => reason,
    }
}

fn policy(change: impl FnOnce(&mut RetentionPolicy)) -> RetentionPolicy {
    let mut policy = RetentionPolicy::default();
    change(&mut policy);
    policy
}

#[test]
fn keep_rules_as_restic_documents_them() {
    let (last, hourly) = (
        |n| policy(|p| p.keep_last = Some(n)),
        |n| policy(|p| p.keep_hourly = Some(n)),
    );
    let (daily, weekly) = (
        |n| policy(|p| p.keep_daily = Some(n)),
        |n| policy(|p| p.keep_weekly = Some(n)),
    );
    let (monthly, yearly) = (
        |n| policy(|p| p.keep_monthly = Some(n)),
        |n| policy(|p| p.keep_yearly = Some(n)),
    );
    let within = |text| policy(|p| p.keep_within = Some(span(text)));
    let two_rules = policy(|p| (p.keep_daily, p.keep_monthly) = (Some(2), Some(2)));
    // Newest first; `+` before what stays.
    let table: &[(&str, RetentionPolicy, &[&str])] = &[
        (
            "the newest three",
            last(3),
            &["+2026-11-05", "+2026-11-04", "+2026-11-01", "-2026-10-01"],
        ),
        (
            "fewer than asked for",
            last(9),
            &["+2026-11-05", "+2026-11-04"],
        ),
        (
            "zero leaves the minimum",
            last(0),
            &["+2026-11-05", "-2026-11-04"],
        ),
        (
            "newest of each hour",
            hourly(2),
            &[
                "+2026-11-05 03:59:59",
                "-2026-11-05 03:00:00",
                "+2026-11-05 02:00:00",
                "-2026-11-05 01",
            ],
        ),
        (
            "newest of each day",
            daily(2),
            &[
                "+2026-11-05 23:59:59",
                "-2026-11-05 00:00:00",
                "+2026-11-04",
                "-2026-11-03",
            ],
        ),
        (
            "days without backups don't count",
            daily(3),
            &["+2026-11-05", "+2026-10-01", "+2025-01-01", "-2024-12-31"],
        ),
        (
            "the oldest has no claim of its own",
            daily(3),
            &[
                "+2026-11-05 09",
                "-2026-11-05 08",
                "-2026-11-05 07",
                "-2026-11-05 06",
            ],
        ),
        (
            "nor after two days",
            daily(2),
            &[
                "+2026-11-05 09",
                "+2026-11-04 08",
                "-2026-11-04 07",
                "-2026-11-04 06",
            ],
        ),
        (
            "the same hour of another day",
            hourly(2),
            &["+2026-11-05 03", "+2026-11-04 03", "-2026-11-03 03"],
        ),
        (
            "weeks begin on Monday",
            weekly(2),
            &[
                "+2026-11-16",
                "+2026-11-15 23",
                "-2026-11-09",
                "-2026-11-08",
            ],
        ),
        (
            "a week over the new year is one",
            weekly(2),
            &["+2021-01-04", "+2021-01-03", "-2020-12-28", "-2020-12-27"],
        ),
        (
            "weeks 1 of two years",
            weekly(2),
            &["+2026-01-01", "-2025-12-29", "+2025-01-01", "-2024-12-29"],
        ),
        (
            "weeks before 1970",
            weekly(2),
            &["+1969-12-29", "+1969-12-28", "-1969-12-22", "-1969-12-21"],
        ),
        (
            "months",
            monthly(2),
            &["+2026-03-01", "+2026-02-28", "-2026-02-01", "-2026-01-31"],
        ),
        (
            "the same month of another year",
            monthly(2),
            &["+2026-03-01", "+2025-03-01", "-2024-03-01"],
        ),
        (
            "years",
            yearly(2),
            &["+2026-01-01", "+2025-12-31", "-2025-01-01", "-2024-12-31"],
        ),
        (
            "two rules are OR-ed",
            two_rules,
            &[
                "+2026-11-05",
                "+2026-11-04",
                "-2026-11-03",
                "+2026-10-31",
                "-2026-10-01",
                "-2026-09-01",
            ],
        ),
        (
            "within, from the newest backup, edge excluded",
            within("48h"),
            &["+2026-03-05", "+2026-03-03 00:00:01", "-2026-03-03"],
        ),
        (
            "within, by the calendar",
            within("1mo"),
            &["+2026-05-20", "+2026-04-20 00:00:01", "-2026-04-20"],
        ),
        (
            "a day that the month lacks is counted on",
            within("1mo"),
            &["+2026-03-31", "+2026-03-03 00:00:01", "-2026-03-03"],
        ),
    ];
    for (what, policy, history) in table {
        let candidates: Vec<Candidate> = history.iter().map(|entry| good(&entry[1..])).collect();
        let expected: Vec<&str> = history
            .iter()
            .filter(|entry| entry.starts_with('+'))
            .map(|entry| &entry[1..])
            .collect();
        assert_eq!(
            kept(&decide_all(&candidates, policy, time(NOW))),
            expected,
            "{what}"
        );
    }
}

#[test]
fn every_reason_is_said() {
    let all = policy(|p| {
        (p.keep_last, p.keep_hourly, p.keep_daily) = (Some(1), Some(1), Some(1));
        (p.keep_weekly, p.keep_monthly, p.keep_yearly) = (Some(1), Some(1), Some(2));
        p.keep_within = Some(span("48h"));
    });
    let history = [
        pinned("2026-11-19 02"),
        good("2026-11-18"),
        good("2026-11-01"),
    ];
    let decision = decide_all(&history, &all, time(NOW));
    let expected = [
        "pinned",
        "newest good backup",
        "minimum of 1",
        "last 1",
        "hourly 2026-11-19 02h",
        "daily 2026-11-19",
        "weekly 2026-W47",
        "monthly 2026-11",
        "yearly 2026",
        "within 48h",
    ];
    assert_eq!(reasons(&decision, "2026-11-19 02"), expected);
    assert_eq!(reasons(&decision, "2026-11-18"), ["within 48h"]);
    assert_eq!(removal(&decision, "2026-11-01"), "no rule keeps it");
    assert!(decision.warnings.is_empty());
}

#[test]
fn caps_remove_the_oldest_and_keep_their_edges() {
    let history = [
        "2026-11-19",
        "2026-11-18",
        "2026-11-10 12",
        "2026-11-10 11:59:59",
    ]
    .map(good);
    for (policy, stay, reason) in [
        (
            policy(|p| p.max_age = Some(age("10d"))),
            3,
            "older than 10d",
        ),
        (policy(|p| p.max_age = Some(age("1s"))), 1, "older than 1s"),
        (policy(|p| p.max_count = Some(2)), 2, "over max_count 2"),
        (policy(|p| p.max_count = Some(0)), 1, "over max_count 0"),
        (policy(|p| p.max_size = Some(30)), 3, "over max_size 30 B"),
        (policy(|p| p.max_size = Some(29)), 2, "over max_size 29 B"),
        (
            policy(|p| (p.max_age, p.max_count) = (Some(age("9d")), Some(2))),
            2,
            "older than 9d",
        ),
        (
            policy(|p| (p.max_count, p.min_keep) = (Some(1), 3)),
            3,
            "over max_count 1",
        ),
    ] {
        let decision = decide_all(&history, &policy, time(NOW));
        assert_eq!(kept(&decision).len(), stay, "{policy:?}");
        assert_eq!(removal(&decision, "2026-11-10 11:59:59"), reason);
        assert!(reasons(&decision, "2026-11-19").contains(&"no keep_ rule: everything is kept"));
        assert!(decision.warnings.is_empty());
    }
}

#[test]
fn caps_that_void_rules_or_cannot_be_met_are_warned_about() {
    let history = ["2026-11-19", "2026-11-18", "2026-11-17"].map(good);
    let voiding =
        policy(|p| (p.keep_daily, p.keep_last, p.max_count) = (Some(7), Some(1), Some(2)));
    let decision = decide_all(&history, &voiding, time(NOW));
    assert_eq!(kept(&decision), ["2026-11-19", "2026-11-18"]);
    assert_eq!(
        decision.warnings,
        ["max_count = 2 removes backups labelled `a` that keep_daily = 7 would keep"]
    );

    let small = policy(|p| p.max_size = Some(5));
    let decision = decide_all(&history, &small, time(NOW));
    assert_eq!(kept(&decision), ["2026-11-19"]);
    let warning =
        "max_size = \"5 B\" is exceeded: what always stays of the backups labelled `a` takes 10 B";
    assert_eq!(decision.warnings, [warning]);
}

#[test]
fn a_pinned_backup_stays_and_counts() {
    let history = [good("2026-11-19"), good("2026-11-18"), pinned("2026-11-01")];
    let decision = decide_all(&history, &policy(|p| p.max_count = Some(2)), time(NOW));
    assert_eq!(kept(&decision), ["2026-11-19", "2026-11-01"]);
    for standing in [Partial, Damaged, Failed] {
        let history = [
            good("2026-11-19"),
            flawed("2026-02-01", Failed),
            Candidate {
                standing,
                ..pinned("2026-01-01")
            },
        ];
        assert_eq!(
            reasons(
                &decide_all(&history, &policy(|p| p.keep_last = Some(1)), time(NOW)),
                "2026-01-01"
            ),
            ["pinned"]
        );
    }
}

#[test]
fn the_newest_good_of_the_source_stays_whatever_its_label_and_minimum() {
    let none = policy(|p| (p.keep_last, p.min_keep) = (Some(0), 0));
    let history = [
        labelled("2026-11-18", "b"),
        good("2026-11-17"),
        labelled("2026-11-19", PRE_RESTORE),
    ];
    let decision = decide_all(&history, &none, time(NOW));
    assert_eq!(kept(&decision), ["2026-11-19", "2026-11-18"]);
    assert_eq!(reasons(&decision, "2026-11-18"), ["newest good backup"]);
    let minimum = policy(|p| p.keep_last = Some(0));
    let decision = decide_all(&history, &minimum, time(NOW));
    assert_eq!(reasons(&decision, "2026-11-17"), ["minimum of 1"]);
}

#[test]
fn labels_have_their_own_policies_and_counts() {
    let one = policy(|p| p.keep_last = Some(1));
    let idle = policy(|p| p.min_keep = 5);
    let history = [
        good("2026-11-19"),
        good("2026-11-18"),
        labelled("2026-11-17", "b"),
        labelled("2026-11-16", "b"),
        labelled("2026-11-15", "c"),
        labelled("2026-11-14", "c"),
    ];
    let decision = decide(
        &history,
        |label| match label {
            "a" => Some(&one),
            "b" => Some(&idle),
            _ => None,
        },
        time(NOW),
    );
    assert_eq!(
        kept(&decision),
        [
            "2026-11-19",
            "2026-11-17",
            "2026-11-16",
            "2026-11-15",
            "2026-11-14"
        ]
    );
    assert_eq!(
        reasons(&decision, "2026-11-16"),
        ["no policy: everything is kept"]
    );
    assert_eq!(
        reasons(&decision, "2026-11-14"),
        ["no policy: everything is kept"]
    );
}

#[test]
fn the_future_stays_and_feeds_nothing() {
    let one = policy(|p| {
        (p.keep_last, p.keep_within, p.max_count) = (Some(1), Some(span("1h")), Some(1))
    });
    let history = [
        good("2026-11-20 12:00:01"),
        flawed("2026-11-21", Failed),
        good("2026-11-20 12:00:00"),
        good("2026-11-19"),
    ];
    let decision = decide_all(&history, &one, time(NOW));
    assert_eq!(
        kept(&decision),
        ["2026-11-21", "2026-11-20 12:00:01", "2026-11-20 12:00:00"]
    );
    assert_eq!(
        reasons(&decision, "2026-11-20 12:00:01"),
        ["timestamp in the future"]
    );
    assert!(reasons(&decision, "2026-11-20 12:00:00").starts_with(&[
        "newest good backup",
        "minimum of 1",
        "last 1"
    ]));
}

#[test]
fn what_a_store_had_before_its_date_stays_and_feeds_nothing() {
    let one = policy(|p| p.keep_last = Some(1));
    let ahead = Candidate {
        dated_ahead: true,
        ..good("2026-11-20 11:00:00")
    };
    let history = [ahead, good("2026-11-20 10:00:00"), good("2026-11-19")];
    let decision = decide_all(&history, &one, time(NOW));
    assert_eq!(
        kept(&decision),
        ["2026-11-20 11:00:00", "2026-11-20 10:00:00"]
    );
    assert_eq!(
        reasons(&decision, "2026-11-20 11:00:00"),
        ["timestamp later than its store had it"]
    );
}

#[test]
fn partial_and_damaged_wait_for_a_newer_good_one() {
    let one = policy(|p| p.keep_last = Some(1));
    for (standing, word) in [(Partial, "partial"), (Damaged, "damaged")] {
        let before = flawed("2026-11-01", standing);
        let after = flawed("2026-11-10", standing);
        let elsewhere = labelled("2026-11-19", "b");
        let decision = decide_all(
            &[before.clone(), good("2026-11-05"), after.clone(), elsewhere],
            &one,
            time(NOW),
        );
        assert_eq!(kept(&decision), ["2026-11-19", "2026-11-10", "2026-11-05"]);
        assert_eq!(
            reasons(&decision, "2026-11-10"),
            [format!("{word}, but no newer good one of its label exists")]
        );
        assert_eq!(
            removal(&decision, "2026-11-01"),
            format!("{word}, and a newer good one exists")
        );
        let decision = decide(&[before, good("2026-11-05"), after], |_| None, time(NOW));
        assert_eq!(kept(&decision).len(), 3);
    }
    // The newer good one must itself stay.
    let none = policy(|p| (p.keep_last, p.min_keep) = (Some(0), 0));
    let history = [
        labelled("2026-11-19", "b"),
        good("2026-11-05"),
        flawed("2026-11-01", Partial),
    ];
    assert_eq!(
        kept(&decide_all(&history, &none, time(NOW))),
        ["2026-11-19", "2026-11-01"]
    );
}

#[test]
fn failed_attempts_go_after_thirty_days_but_the_newest() {
    let history = [
        flawed("2026-10-21 12:00:00", Failed),
        flawed("2026-10-21 11:59:59", Failed),
        flawed("2026-09-01", Failed),
    ];
    for policy in [None, Some(&RetentionPolicy::default())] {
        let decision = decide(&history, |_| policy, time(NOW));
        assert_eq!(kept(&decision), ["2026-10-21 12:00:00"]);
        assert_eq!(
            removal(&decision, "2026-09-01"),
            "failed attempt older than 30 days"
        );
        assert_eq!(
            kept(&decide(&history[1..], |_| policy, time(NOW))),
            ["2026-10-21 11:59:59"]
        );
    }
    // One in the future does not pass for the newest.
    let odd_clock = [flawed("2027-01-01", Failed), flawed("2026-09-01", Failed)];
    assert_eq!(kept(&decide(&odd_clock, |_| None, time(NOW))).len(), 2);
    let newer = [flawed("2026-11-20", Failed), history[0].clone()];
    assert_eq!(
        reasons(&decide(&newer, |_| None, time(NOW)), &history[0].id),
        ["failed attempt of the last 30 days"]
    );
}

#[test]
fn pre_restore_backups_stay_while_pinned_or_newest() {
    let one = policy(|p| p.keep_last = Some(9));
    let history = [
        labelled("2026-11-19", PRE_RESTORE),
        good("2026-11-18"),
        labelled("2026-11-17", PRE_RESTORE),
        Candidate {
            label: PRE_RESTORE.into(),
            ..pinned("2026-11-16")
        },
    ];
    let decision = decide_all(&history, &one, time(NOW));
    assert_eq!(kept(&decision), ["2026-11-19", "2026-11-18", "2026-11-16"]);
    assert_eq!(
        removal(&decision, "2026-11-17"),
        "pre-restore backup, unpinned"
    );
    assert_eq!(
        reasons(&decision, "2026-11-18"),
        ["newest good backup", "minimum of 1", "last 9"]
    );
    assert_eq!(kept(&decide(&history, |_| None, time(NOW))).len(), 4);
}

#[test]
fn what_is_not_understood_stays_and_empty_input_is_nothing() {
    let none = policy(|p| (p.keep_last, p.max_count, p.min_keep) = (Some(0), Some(0), 0));
    let decision = decide_all(&[flawed("2026-01-01", Unknown)], &none, time(NOW));
    assert_eq!(
        reasons(&decision, "2026-01-01"),
        ["not understood: neither used nor removed"]
    );
    assert_eq!(decide_all(&[], &none, time(NOW)), Decision::default());
}

#[test]
fn an_empty_policy_has_neither_rule_nor_cap() {
    assert!(policy(|p| p.min_keep = 3).is_empty());
    assert!(
        !policy(|p| p.keep_last = Some(0)).is_empty()
            && !policy(|p| p.keep_within = Some(span("1h"))).is_empty()
    );
    assert!(
        !policy(|p| p.max_age = Some(age("1h"))).is_empty()
            && !policy(|p| p.max_size = Some(0)).is_empty()
    );
}

#[test]
fn extreme_values_are_no_trouble() {
    let mut history = vec![good("2026-11-19"), good("2026-11-18")];
    history.push(Candidate {
        at: DateTime::<Utc>::MIN_UTC,
        id: "first".into(),
        size_bytes: u64::MAX,
        ..good("2026-01-01")
    });
    history.push(Candidate {
        at: DateTime::<Utc>::MAX_UTC,
        id: "last".into(),
        size_bytes: u64::MAX,
        ..good("2026-01-01")
    });
    let longest = Span {
        months: u32::MAX,
        days: u32::MAX,
        seconds: u64::MAX,
    };
    let most = policy(|p| {
        (p.keep_last, p.keep_hourly, p.keep_weekly) =
            (Some(u32::MAX), Some(u32::MAX), Some(u32::MAX));
        (p.max_count, p.max_size, p.min_keep) = (Some(u32::MAX), Some(u64::MAX), u32::MAX);
        (p.max_age, p.keep_within) = (Some(Age(longest)), Some(span("9999y")));
    });
    for now in [
        DateTime::<Utc>::MIN_UTC,
        time(NOW),
        DateTime::<Utc>::MAX_UTC,
    ] {
        assert_eq!(kept(&decide_all(&history, &most, now)).len(), 4);
    }
}

#[test]
fn what_a_kept_backup_needs_stays() {
    let needing = |at: &str, base: &str| Candidate {
        needs: Some(base.into()),
        ..good(at)
    };
    let history = [
        good("2026-11-10"),
        needing("2026-11-11", "2026-11-10"),
        good("2026-11-12"),
        needing("2026-11-18", "2026-11-11"),
        needing("2026-11-19", "2026-11-18"),
        needing("2026-11-09", "2026-11-12"),
    ];
    let last = policy(|p| p.keep_last = Some(1));
    let decision = decide_all(&history, &last, time(NOW));
    assert_eq!(
        kept(&decision),
        ["2026-11-19", "2026-11-18", "2026-11-11", "2026-11-10"]
    );
    assert_eq!(reasons(&decision, "2026-11-10"), ["needed by 2026-11-11"]);
    // The base is newer than what is built on it, as after a jump of the clock.
    assert_eq!(decision.removals(), ["2026-11-09", "2026-11-12"]);
    let newest_is_whole = [needing("2026-11-18", "2026-11-19"), good("2026-11-19")];
    let decision = decide_all(&newest_is_whole, &last, time(NOW));
    assert_eq!(decision.removals(), ["2026-11-18"]);
    // A circle, or a base that is gone, is nobody's way, and no reason to hang.
    let circle = [
        needing("2026-11-17", "2026-11-18"),
        needing("2026-11-18", "2026-11-17"),
        needing("2026-11-19", "gone"),
    ];
    let decision = decide_all(&circle, &last, time(NOW));
    assert_eq!((kept(&decision).len(), decision.removals().len()), (1, 2));
}

#[test]
fn whoever_keeps_more_keeps_what_that_needs() {
    let base = labelled("2026-11-10", "b");
    let child = Candidate {
        needs: Some(base.id.clone()),
        ..good("2026-11-12")
    };
    let history = [
        base,
        child,
        good("2026-11-19"),
        labelled("2026-11-19 01", "b"),
    ];
    let last = policy(|p| p.keep_last = Some(1));
    let mut decision = decide_all(&history, &last, time(NOW));
    assert_eq!(decision.removals(), ["2026-11-12", "2026-11-10"]);
    for (id, verdict) in &mut decision.verdicts {
        if id == "2026-11-12" {
            *verdict = Verdict::Keep(vec!["retention is held back".into()]);
        }
    }
    decision.keep_what_is_needed();
    assert_eq!(decision.removals(), [] as [&str; 0]);
}

#[test]
fn caps_count_what_is_kept_by_need() {
    let on_first = |at: &str| Candidate {
        needs: Some("2026-11-10".into()),
        ..good(at)
    };
    let history = [
        good("2026-11-10"),
        on_first("2026-11-11"),
        on_first("2026-11-12"),
        on_first("2026-11-13"),
    ];
    let three = policy(|p| p.max_count = Some(3));
    assert_eq!(
        kept(&decide_all(&history, &three, time(NOW))),
        ["2026-11-13", "2026-11-12", "2026-11-10"]
    );
    // Of equal size: two fit, and one of them is what the other one needs.
    let two = policy(|p| p.max_size = Some(good("2026-11-10").size_bytes * 2));
    assert_eq!(
        kept(&decide_all(&history, &two, time(NOW))),
        ["2026-11-13", "2026-11-10"]
    );
    // It is never removed while one that needs it stays, whatever the cap says.
    let one = policy(|p| p.max_count = Some(1));
    let decision = decide_all(&history, &one, time(NOW));
    assert_eq!(kept(&decision), ["2026-11-13", "2026-11-10"]);
    let why = reasons(&decision, "2026-11-10");
    assert!(why.contains(&"needed by 2026-11-13"), "{why:?}");
    // No rule keeps it, but it counts all the same.
    let last = policy(|p| (p.keep_last, p.max_count) = (Some(3), Some(3)));
    assert_eq!(
        kept(&decide_all(&history, &last, time(NOW))),
        ["2026-11-13", "2026-11-12", "2026-11-10"]
    );
    // Pinned ones of another label always stay, so what they need counts, too.
    let pinned = Candidate {
        pinned: true,
        needs: Some("2026-11-10".into()),
        ..labelled("2026-11-11 01", "b")
    };
    let history = [
        good("2026-11-10"),
        pinned,
        good("2026-11-12"),
        good("2026-11-13"),
    ];
    let decision = decide(&history, |label| (label != "b").then_some(&one), time(NOW));
    assert_eq!(
        kept(&decision),
        ["2026-11-13", "2026-11-11 01", "2026-11-10"]
    );
}

// The laws, over histories that crowd around the edges: few moments, labels and standings, so that
// they meet.

fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
    let hours = prop_oneof![0..72_i64, 0..2_000_i64, 0..40_000_i64];
    (hours, select(vec![0_i64, 0, 0, 1, 1799, 3599])).prop_map(|(hours, seconds)| {
        // Up to an hour and a half in the future.
        time(NOW) + TimeDelta::seconds(5400 - hours * 3600 - seconds)
    })
}

fn history() -> impl Strategy<Value = Vec<Candidate>> {
    let standing = select(vec![
        Good,
        Good,
        Good,
        Good,
        Partial,
        Damaged,
        Failed,
        Unknown,
        Unreachable,
        Missing,
        OtherLength,
    ]);
    let label = select(vec!["a", "a", "a", "b", "c", PRE_RESTORE]);
    let one = (
        any_time(),
        label,
        0..50_u64,
        standing,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        // Any of them may be the base, whatever its age, standing and label; or one that is gone.
        prop::option::weighted(0.3, 0..45_usize),
    );
    prop::collection::vec(one, 0..40).prop_map(|entries| {
        let numbered = entries.into_iter().enumerate();
        let made = numbered.map(
            |(number, (at, label, size_bytes, standing, pinned, proven, base))| Candidate {
                id: format!("{number:02}"),
                at,
                dated_ahead: number % 11 == 10,
                label: label.into(),
                size_bytes,
                standing,
                pinned,
                proven,
                key: KeyNeed::Plain,
                needs: base.map(|base| format!("{base:02}")),
            },
        );
        made.collect()
    })
}

/// Histories of which no backup needs another one.
fn whole_backups() -> impl Strategy<Value = Vec<Candidate>> {
    history().prop_map(|mut history| {
        for candidate in &mut history {
            candidate.needs = None;
        }
        history
    })
}

fn count(most: u32) -> impl Strategy<Value = Option<u32>> {
    prop::option::weighted(0.4, 0..=most)
}

fn any_span() -> impl Strategy<Value = Option<Span>> {
    prop::option::weighted(
        0.3,
        select(vec!["0s", "1h", "48h", "7d", "1mo", "1y"]).prop_map(span),
    )
}

/// `keep_` rules only, `min_keep` unset.
fn rules_only() -> impl Strategy<Value = RetentionPolicy> {
    let counts = (count(6), count(6), count(6), count(6), count(6), count(3));
    (counts, any_span()).prop_map(|((last, hourly, daily, weekly, monthly, yearly), within)| {
        RetentionPolicy {
            keep_last: last,
            keep_hourly: hourly,
            keep_daily: daily,
            keep_weekly: weekly,
            keep_monthly: monthly,
            keep_yearly: yearly,
            keep_within: within,
            ..RetentionPolicy::default()
        }
    })
}

fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
    (
        rules_only(),
        any_span(),
        count(8),
        prop::option::weighted(0.2, 0..300_u64),
        select(vec![0, 1, 1, 1, 2, 3, 4]),
    )
        .prop_map(
            |(rules, max_age, max_count, max_size, min_keep)| RetentionPolicy {
                max_age: max_age.map(Age),
                max_count,
                max_size,
                min_keep,
                ..rules
            },
        )
}

/// A policy for `a` and one for `pre-restore` and the others but `c`, which has none.
fn decide_mixed(
    history: &[Candidate],
    policies: &[RetentionPolicy; 2],
    now: DateTime<Utc>,
) -> Decision {
    let policy_for = |label: &str| match label {
        "a" => Some(&policies[0]),
        "c" => None,
        _ => Some(&policies[1]),
    };
    decide(history, policy_for, now)
}

fn without(history: &[Candidate], gone: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
    history
        .iter()
        .filter(|candidate| !gone(candidate))
        .cloned()
        .collect()
}

fn newest(history: &[Candidate], which: impl Fn(&&Candidate) -> bool) -> Vec<&Candidate> {
    let mut found: Vec<&Candidate> = history.iter().filter(which).collect();
    found.sort_by_key(|candidate| Reverse((candidate.at, &candidate.id)));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Each is given once, newest first, and what stays has a reason.
    #[test]
    fn every_backup_gets_one_verdict(history in history(), policies in [any_policy(),
        any_policy()]) {
        let decision = decide_mixed(&history, &policies, time(NOW));
        let order: Vec<&String> = newest(&history,
            |_| true).into_iter().map(|candidate| &candidate.id).collect();
        prop_assert_eq!(decision.verdicts.iter().map(|(id, _)| id).collect::<Vec<_>>(), order);
        for (_, verdict) in &decision.verdicts {
            prop_assert!(!matches!(verdict, Verdict::Keep(reasons) if reasons.is_empty()));
        }
    }

    /// No kept backup lacks its way, whatever is built on what, and at no moment of the removal
    /// does one that is still there.
    #[test]
    fn no_backup_loses_what_it_needs(history in history(), policies in [any_policy(),
        any_policy()]) {
        let decision = decide_mixed(&history, &policies, time(NOW));
        let mut left: BTreeSet<&str> = history.iter().map(|one| one.id.as_str()).collect();
        let there = left.clone();
        let needs = |id: &str| decision.needs.get(id).filter(|base| there.contains(base.as_str()));
        let is_circular = |id: &str| {
            let mut seen = BTreeSet::from([id.to_owned()]);
            let mut at = id.to_owned();
            while let Some(base) = needs(&at) {
                if !seen.insert(base.clone()) {
                    return true;
                }
                at = base.clone();
            }
            false
        };
        for id in decision.removals() {
            prop_assert!(left.remove(id));
            for other in &left {
                let is_whole = needs(other).is_none_or(|base| left.contains(base.as_str()));
                prop_assert!(is_whole || is_circular(other), "{other} without its base");
            }
        }
        let kept = kept(&decision);
        prop_assert_eq!(left, kept.iter().copied().collect::<BTreeSet<_>>());
        for id in &kept {
            prop_assert!(needs(id).is_none_or(|base| kept.contains(&base.as_str())));
        }
    }

    /// Promise 4, whatever the policy says.
    #[test]
    fn what_always_stays(history in history(), policies in [any_policy(), any_policy()]) {
        let decision = decide_mixed(&history, &policies, time(NOW));
        let kept = kept(&decision);
        let past_good = |candidate: &&Candidate| {
            candidate.standing == Good && is_past(candidate) && candidate.label !=
                PRE_RESTORE
        };
        for candidate in &history {
            let without_policy = candidate.label == "c" && past_good(&candidate);
            let untold = matches!(candidate.standing,
                Unknown | Unreachable | Missing | OtherLength);
            if candidate.pinned || untold || !is_past(candidate) || without_policy {
                prop_assert!(kept.contains(&candidate.id.as_str()), "{:?}", candidate);
            }
        }
        if let Some(candidate) = newest(&history, past_good).first() {
            prop_assert!(kept.contains(&candidate.id.as_str()), "{:?}", candidate);
        }
        if let Some(candidate) = newest(&history, |candidate| past_good(candidate)
            && candidate.proven).first() {
            prop_assert!(kept.contains(&candidate.id.as_str()), "{:?}", candidate);
        }
        for (label, policy) in [("a", &policies[0]), ("b", &policies[1])] {
            let minimum = policy.min_keep as usize;
            for candidate in newest(&history, |candidate| past_good(candidate)
                && candidate.label == label).iter().take(minimum) {
                prop_assert!(kept.contains(&candidate.id.as_str()), "{:?}", candidate);
            }
        }
        // Whatever is there, something that restores stays.
        let restores = |candidate: &&Candidate| matches!(candidate.standing,
            Good | Partial | Damaged);
        let restoring = newest(&history, restores);
        prop_assert!(restoring.is_empty()
            || restoring.iter().any(|candidate| kept.contains(&candidate.id.as_str())));
    }

    #[test]
    fn a_more_generous_policy_keeps_a_superset(
        history in whole_backups(),
        policy in rules_only(),
        more in rules_only(),
        min_keep in 0..3_u32,
    ) {
        // A policy without rules keeps everything: no rule can be more generous than none.
        prop_assume!(!policy.is_empty());
        let generous = RetentionPolicy {
            keep_last: policy.keep_last.max(more.keep_last),
            keep_hourly: policy.keep_hourly.max(more.keep_hourly),
            keep_daily: policy.keep_daily.max(more.keep_daily),
            keep_weekly: policy.keep_weekly.max(more.keep_weekly),
            keep_monthly: policy.keep_monthly.max(more.keep_monthly),
            keep_yearly: policy.keep_yearly.max(more.keep_yearly),
            keep_within: policy.keep_within.or(more.keep_within),
            min_keep: min_keep + 1,
            ..policy.clone()
        };
        let strict = RetentionPolicy { min_keep, ..policy };
        // Of good backups: keeping a good one more may be what lets a partial one go.
        let history = without(&history, |candidate| candidate.standing != Good);
        let (strict, generous) = (decide_all(&history, &strict, time(NOW)), decide_all(&history,
            &generous, time(NOW)));
        let generous = kept(&generous);
        prop_assert!(kept(&strict).iter().all(|id| generous.contains(id)));
    }

    /// A cleanup that is repeated removes nothing more, with caps too.
    #[test]
    fn deciding_again_removes_nothing_more(history in history(), policies in [any_policy(),
        any_policy()]) {
        let first = decide_mixed(&history, &policies, time(NOW));
        let left = without(&history, |candidate| !kept(&first).contains(&candidate.id.as_str()));
        let second = decide_mixed(&left, &policies, time(NOW));
        prop_assert_eq!(kept(&second), kept(&first));
    }

    /// A cleanup that is interrupted, in whatever order it went, and run again loses nothing that
    /// the first would have kept.
    #[test]
    fn an_interrupted_cleanup_is_harmless(
        history in history(),
        policies in [any_policy(), any_policy()],
        done in any::<u64>(),
    ) {
        let policies =
            policies.map(|policy| RetentionPolicy { min_keep: policy.min_keep.max(1), ..policy });
        let first = decide_mixed(&history, &policies, time(NOW));
        let stays = kept(&first);
        let number = |candidate: &Candidate| candidate.id.parse::<u32>().unwrap();
        let left = without(&history, |candidate| done >> number(candidate) & 1 == 1
            && !stays.contains(&candidate.id.as_str()));
        let second = decide_mixed(&left, &policies, time(NOW));
        let still = kept(&second);
        prop_assert!(stays.iter().all(|id| still.contains(id)));
    }

    #[test]
    fn the_order_of_input_does_not_matter(
        (history, shuffled) in history().prop_flat_map(|history| (Just(history.clone()),
            Just(history).prop_shuffle())),
        policies in [any_policy(), any_policy()],
    ) {
        prop_assert_eq!(decide_mixed(&history, &policies, time(NOW)), decide_mixed(&shuffled,
            &policies, time(NOW)));
    }

    /// Nor does what lies in the future or is not understood.
    #[test]
    fn failed_attempts_influence_nothing(history in whole_backups(), policies in [any_policy(),
        any_policy()]) {
        let idle = |candidate: &Candidate| matches!(candidate.standing, Failed | Unknown)
            || !is_past(candidate);
        let with = decide_mixed(&history, &policies, time(NOW));
        let active = without(&history, idle);
        let without = decide_mixed(&active, &policies, time(NOW));
        let is_active = |id: &String| active.iter().any(|candidate| candidate.id == *id);
        let rest: Vec<_> = with.verdicts.into_iter().filter(|(id, _)| is_active(id)).collect();
        prop_assert_eq!(rest, without.verdicts);
        prop_assert_eq!(with.warnings, without.warnings);
    }

    /// A cap is met exactly where nothing that always stays is in its way.
    #[test]
    fn caps_hold_where_nothing_is_held(history in whole_backups(), most in 1..6_u32) {
        let policy = RetentionPolicy { max_count: Some(most), ..RetentionPolicy::default() };
        let plain = |candidate: &Candidate| {
            !candidate.pinned && !candidate.proven && candidate.standing == Good
                && is_past(candidate) && candidate.label == "a"
        };
        let history = without(&history, |candidate| !plain(candidate));
        prop_assert_eq!(kept(&decide_all(&history, &policy, time(NOW))).len(),
            history.len().min(most as usize));
    }

    /// With bases before what is built on them, as they are: the caps leave the longest run of the
    /// newest that fits together with all that it needs, and at least the newest.
    #[test]
    fn caps_count_all_that_the_kept_ones_need(
        steps in prop::collection::vec((0..40_u64, prop::option::weighted(0.7, 0..30_usize)), 1..30),
        most in 1..12_u32,
        room in prop::option::of(0..300_u64),
    ) {
        let id = |number: usize| format!("{number:02}");
        let history: Vec<Candidate> = steps
            .iter()
            .enumerate()
            .map(|(number, (size_bytes, base))| Candidate {
                id: id(number),
                at: time(NOW) - TimeDelta::hours(40 - i64::try_from(number).unwrap()),
                size_bytes: *size_bytes,
                needs: base.filter(|_| number > 0).map(|base| id(base % number)),
                ..good("2026-11-10")
            })
            .collect();
        let whole = |from: usize| -> BTreeSet<usize> {
            (from..history.len())
                .flat_map(|number| {
                    let base_of = |at: &usize| {
                        history[*at].needs.as_ref().map(|base| base.parse::<usize>().unwrap())
                    };
                    std::iter::successors(Some(number), base_of)
                })
                .collect()
        };
        let fits = |set: &BTreeSet<usize>| match room {
            None => set.len() <= most as usize,
            Some(room) => set.iter().map(|&at| history[at].size_bytes).sum::<u64>() <= room,
        };
        let newest = history.len() - 1;
        let expected = (0..newest).map(whole).find(fits).unwrap_or_else(|| whole(newest));
        let policy = RetentionPolicy {
            max_count: room.is_none().then_some(most),
            max_size: room,
            ..RetentionPolicy::default()
        };
        let decision = decide_all(&history, &policy, time(NOW));
        let kept: BTreeSet<usize> = kept(&decision).iter().map(|id| id.parse().unwrap()).collect();
        prop_assert_eq!(kept, expected);
    }
}
