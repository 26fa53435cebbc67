//! Retention against restic: for the histories and policies of `golden/retention/restic.json`,
//! which `golden/retention/make` made, the kept sets are those of `restic forget`.

use chrono::{DateTime, Utc};
use dbbackup::retention::{Candidate, RetentionPolicy, Standing, Verdict, decide};
use dbbackup::units::Span;
use serde_json::Value;

fn policy(rules: &Value) -> RetentionPolicy {
    let count = |name: &str| {
        rules
            .get(name)
            .map(|count| u32::try_from(count.as_u64().unwrap()).unwrap())
    };
    RetentionPolicy {
        keep_last: count("last"),
        keep_hourly: count("hourly"),
        keep_daily: count("daily"),
        keep_weekly: count("weekly"),
        keep_monthly: count("monthly"),
        keep_yearly: count("yearly"),
        // Restic's `m` is a month, ours a minute.
        keep_within: rules
            .get("within")
            .map(|text| Span::parse(&text.as_str().unwrap().replace('m', "mo")).unwrap()),
        ..RetentionPolicy::default()
    }
}

fn candidate(at: DateTime<Utc>) -> Candidate {
    let id = at.to_rfc3339();
    Candidate {
        id,
        at,
        dated_ahead: false,
        label: "manual".into(),
        size_bytes: 1,
        standing: Standing::Good,
        pinned: false,
        proven: false,
        key: dbbackup::retention::KeyNeed::Plain,
        needs: None,
    }
}

#[test]
fn what_is_kept_is_what_restic_keeps() {
    let golden: Value = serde_json::from_str(include_str!("golden/retention/restic.json")).unwrap();
    let times: Vec<DateTime<Utc>> = golden["times"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at.as_str().unwrap().parse().unwrap())
        .collect();
    let places = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(|at| at.as_u64().unwrap() as usize)
            .collect::<Vec<_>>()
    };
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 200 && times.len() >= 300);
    let mut wrong = Vec::new();
    let mut removed = 0;
    for case in cases {
        let (history, expected, policy) = (
            places(&case["history"]),
            places(&case["kept"]),
            policy(&case["rules"]),
        );
        let candidates: Vec<Candidate> = history.iter().map(|at| candidate(times[*at])).collect();
        let decision = decide(&candidates, |_| Some(&policy), times[times.len() - 1]);
        let keeps = |at: &usize| {
            let id = times[*at].to_rfc3339();
            decision
                .verdicts
                .iter()
                .any(|(known, verdict)| *known == id && matches!(verdict, Verdict::Keep(_)))
        };
        let kept: Vec<usize> = history.iter().copied().filter(keeps).collect();
        removed += history.len() - kept.len();
        if kept != expected {
            let times = |list: &[usize]| {
                list.iter()
                    .map(|at| times[*at].to_rfc3339())
                    .collect::<Vec<_>>()
            };
            let more = times(
                &kept
                    .iter()
                    .copied()
                    .filter(|at| !expected.contains(at))
                    .collect::<Vec<_>>(),
            );
            let fewer = times(
                &expected
                    .iter()
                    .copied()
                    .filter(|at| !kept.contains(at))
                    .collect::<Vec<_>>(),
            );
            wrong.push(format!(
                "{}: keeps also {more:?}, and not {fewer:?}",
                case["rules"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(
        removed > 1000,
        "only {removed} backups went: the histories prove little"
    );
}
