//! The messages as people read them, and that no secret is in any of them.

use super::*;
use chrono::TimeDelta;

fn now() -> DateTime<Utc> {
    "2026-11-20T02:00:41Z".parse().unwrap()
}

fn news(source: &str, topic: NewsTopic, hours: i64, day: u32) -> SourceNews {
    SourceNews {
        source: source.to_owned(),
        topic,
        over: None,
        since: now() - TimeDelta::hours(hours),
        day,
    }
}

fn occasion() -> Occasion {
    let shop = NotifiedSource {
        error: Some("connecting to `db`: password `hunter2` refused".to_owned()),
        hint: Some("mend it, then: `dbbackup --config /etc/x.toml backup shop`".to_owned()),
        last_good_at: Some(now() - TimeDelta::hours(26)),
        last_good_id: Some("shop_daily_20261119T000000Z".to_owned()),
        ..NotifiedSource::new("shop")
    };
    Occasion {
        host: "web1".to_owned(),
        command: "backup".to_owned(),
        total: 4,
        sources: vec![shop],
        log: Some("/var/log/dbbackup.log".to_owned()),
        ..Occasion::default()
    }
}

fn clean(text: &str) -> String {
    text.replace("hunter2", "***")
}

fn all() -> Vec<NewsTopic> {
    use crate::setting::WordChoice;
    NewsTopic::ALL.iter().map(|(_, topic)| *topic).collect()
}

fn composed(sources: Vec<SourceNews>, occasion: &Occasion) -> Notification {
    let digest = !occasion.digest.is_empty();
    let news = News { sources, digest };
    compose(&news, &all(), occasion, now(), &clean).unwrap()
}

#[test]
fn a_failure_says_all_that_is_needed() {
    let message = composed(vec![news("shop", NewsTopic::Failure, 0, 1)], &occasion());
    assert_eq!(
        message.subject,
        "[web1] backup FAILED: shop (1 of 4), last good 26 h ago"
    );
    assert_eq!(
        message.text,
        "shop: connecting to `db`: password `***` refused\n  hint: mend it, then: `dbbackup \
         --config /etc/x.toml backup shop`\n  last good backup: 2026-11-19 00:00:41 UTC (26 h ago) \
         shop_daily_20261119T000000Z\nlog: /var/log/dbbackup.log"
    );
    assert_eq!(message.severity, NotificationSeverity::Critical);
    assert!(!serde_json::to_string(&message).unwrap().contains("hunter2"));
}

#[test]
fn subjects() {
    let subject = |sources: Vec<SourceNews>| composed(sources, &occasion()).subject;
    assert_eq!(
        subject(vec![news("shop", NewsTopic::Failure, 50, 3)]),
        "[web1] backup still failing, day 3: shop (1 of 4), last good 26 h ago"
    );
    assert_eq!(
        subject(vec![news("shop", NewsTopic::Recovery, 52, 1)]),
        "[web1] backup recovered: shop after 2 d 4 h"
    );
    assert_eq!(
        subject(vec![
            news("shop", NewsTopic::Failure, 0, 1),
            news("app", NewsTopic::Partial, 0, 1),
        ]),
        "[web1] backup FAILED: shop (1 of 4), last good 26 h ago; backup incomplete: app (1 of 4)"
    );
    assert_eq!(
        subject(vec![news("new", NewsTopic::Stale, 0, 1)]),
        "[web1] backup overdue: new (1 of 4), no good backup"
    );
    assert_eq!(
        subject(vec![news("shop", NewsTopic::Proof, 0, 1)]),
        "[web1] no proof: shop, never proven"
    );
    let many = ["a", "b", "c", "d", "e"].map(|name| news(name, NewsTopic::Failure, 0, 1));
    assert_eq!(
        subject(many.to_vec()),
        "[web1] backup FAILED: a, b, c and 2 more, no good backup"
    );
}

#[test]
fn a_digest_counts_in_its_subject() {
    let line = |source: &str, well| DigestLine {
        source: source.to_owned(),
        well,
        text: "7 h ago, 1.2 MiB".to_owned(),
        backups: 7,
        failures: u64::from(!well),
    };
    let occasion = Occasion {
        digest: vec![line("app", true), line("shop", false)],
        digest_since: Some(now() - TimeDelta::days(7)),
        ..occasion()
    };
    let message = composed(Vec::new(), &occasion);
    assert_eq!(
        message.subject,
        "[web1] digest: 1 of 2 sources well, 14 backups, 1 failure"
    );
    assert!(
        message
            .text
            .contains("All sources since 2026-11-13:\n  ok app: 7 h ago, 1.2 MiB")
    );
    assert!(message.text.contains("  LOOK shop: "));
}

#[test]
fn nobody_gets_what_is_not_for_them() {
    let news = News {
        sources: vec![news("shop", NewsTopic::Partial, 0, 1)],
        digest: false,
    };
    let topics = [NewsTopic::Failure, NewsTopic::Recovery, NewsTopic::Digest];
    assert_eq!(compose(&news, &topics, &occasion(), now(), &clean), None);
}

#[test]
fn texts_are_short_whatever_failed() {
    let error = Some("ü".repeat(5000));
    let sources: Vec<NotifiedSource> = (0..40)
        .map(|number| NotifiedSource {
            error: error.clone(),
            ..NotifiedSource::new(&format!("source{number}"))
        })
        .collect();
    let told = sources
        .iter()
        .map(|one| news(&one.source, NewsTopic::Failure, 0, 1));
    let message = composed(
        told.collect(),
        &Occasion {
            sources: sources.clone(),
            ..occasion()
        },
    );
    assert!(message.text.len() <= 2048 && message.text.ends_with('…'));
    assert!(message.subject.chars().count() <= 160);
    let long = "x".repeat(1000);
    let one = composed(vec![news(&long, NewsTopic::Failure, 0, 1)], &occasion());
    assert!(one.subject.len() <= 160, "{}", one.subject.len());
}
