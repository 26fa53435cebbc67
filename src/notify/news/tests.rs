//! News as a law: what is read from the history is what somebody who keeps a state would tell; and
//! thirty days of two sources, with a clock of their own.

use super::*;
use chrono::TimeDelta;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn at(day: i64, hour: i64) -> DateTime<Utc> {
    // A Monday.
    let first: DateTime<Utc> = "2026-11-02T00:00:00Z".parse().unwrap();
    first + TimeDelta::days(day - 1) + TimeDelta::hours(hour)
}

fn history(source: &str, attempts: Vec<PastAttempt>) -> SourceHistory {
    SourceHistory {
        source: source.to_owned(),
        attempts,
        expect_every: Some(Span::parse("26h").unwrap()),
        expected_from: None,
        prove_every: None,
        proven_at: None,
    }
}

/// A store, a machine that backs up two sources into it, and what it tells.
struct SimulatedWorld {
    histories: Vec<SourceHistory>,
    told: Vec<String>,
}

impl SimulatedWorld {
    fn new() -> SimulatedWorld {
        let mut app = history("app", Vec::new());
        app.prove_every = Some(Span::parse("7d").unwrap());
        SimulatedWorld {
            histories: vec![app, history("shop", Vec::new())],
            told: Vec::new(),
        }
    }

    fn run(&mut self, now: DateTime<Utc>, ends: &[(&str, AttemptEnd)]) {
        let results: Vec<AttemptResult> = ends
            .iter()
            .map(|(source, end)| AttemptResult {
                source: (*source).to_owned(),
                end: *end,
                lasting: None,
            })
            .collect();
        let news = news_of_run(
            &self.histories,
            &results,
            Some(DigestInterval::Weekly),
            None,
            now,
        );
        for result in results {
            let history = &mut self.histories;
            let history = history.iter_mut().find(|one| one.source == result.source);
            let past = PastAttempt {
                at: now,
                end: result.end,
            };
            history.unwrap().attempts.insert(0, past);
        }
        self.tell(&news.sources, news.digest, now);
    }

    fn look(&mut self, looked_at: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let seen = self.histories.iter();
        let seen: Vec<SourceNews> = seen
            .flat_map(|history| news_of_look(history, looked_at, now))
            .collect();
        self.tell(&seen, false, now);
    }

    fn tell(&mut self, news: &[SourceNews], digest: bool, now: DateTime<Utc>) {
        let texts = news.iter().map(|one| {
            let after = now - one.since;
            let (topic, source, day) = (one.topic.as_str(), &one.source, one.day);
            match one.over {
                Some(over) => {
                    let over = over.as_str();
                    format!(
                        "{topic} of {source} from {over} after {} h",
                        after.num_hours()
                    )
                }
                None => format!("{topic} of {source}, day {day}"),
            }
        });
        let texts = texts.chain(digest.then(|| "digest".to_owned()));
        let texts: Vec<String> = texts.collect();
        if !texts.is_empty() {
            let day = (now - at(1, 0)).num_days() + 1;
            let hour = now.format("%H");
            self.told
                .push(format!("{day} {hour}h: {}", texts.join("; ")));
        }
    }
}

#[test]
fn thirty_days_are_told_in_these_messages_and_no_others() {
    let mut world = SimulatedWorld::new();
    let mut looked_at = None;
    for day in 1..=30 {
        let is_off = (12..=14).contains(&day);
        if !is_off {
            let shop = match day {
                5..=7 => AttemptEnd::Failed,
                22 => AttemptEnd::Partial,
                _ => AttemptEnd::Good,
            };
            world.run(at(day, 2), &[("app", AttemptEnd::Good), ("shop", shop)]);
        }
        for hour in 3..24 {
            // Somebody proves a backup, and forgets it for two weeks.
            if hour == 12 && (day == 7 || day == 28) {
                world.histories[0].proven_at = Some(at(day, 12));
            }
            // A migration: backups again and again, that fail twice and succeed twice.
            if hour == 12 && day == 17 {
                for (minute, end) in [
                    (0, AttemptEnd::Failed),
                    (10, AttemptEnd::Failed),
                    (20, AttemptEnd::Good),
                    (30, AttemptEnd::Good),
                ] {
                    let now = at(17, 11) + TimeDelta::minutes(minute);
                    world.run(now, &[("shop", end)]);
                }
            }
            // Another machine looks every hour.
            world.look(looked_at, at(day, hour));
            looked_at = Some(at(day, hour));
        }
    }
    assert_eq!(
        world.told,
        [
            // Three bad nights. The other machine knows nothing of failures: it sees what is
            // missing, from the hour on in which it is.
            "5 02h: failure of shop, day 1",
            "5 04h: stale of shop, day 1",
            "6 02h: failure of shop, day 2",
            "6 03h: stale of shop, day 2",
            "7 02h: failure of shop, day 3",
            "7 03h: stale of shop, day 3",
            "8 02h: recovery of shop from failure after 72 h; digest",
            // Three nights without the machine.
            "12 04h: stale of app, day 1; stale of shop, day 1",
            "13 03h: stale of app, day 2; stale of shop, day 2",
            "14 03h: stale of app, day 3; stale of shop, day 3",
            "14 12h: proof of app, day 1",
            "15 02h: recovery of app from stale after 70 h; proof of app, day 1; recovery of shop \
             from stale after 70 h; digest",
            "17 11h: failure of shop, day 1",
            "17 11h: recovery of shop from failure after 0 h",
            // Both machines remind of the proof a week later.
            "21 02h: proof of app, day 8",
            "21 03h: proof of app, day 8",
            "22 02h: partial of shop, day 1; digest",
            "22 04h: stale of shop, day 1",
            "23 02h: recovery of shop from partial after 24 h",
            "28 02h: proof of app, day 15",
            "28 03h: proof of app, day 15",
            "29 02h: digest",
        ]
    );
}

/// What somebody tells who keeps a state: the law that the history is held against.
#[derive(Default)]
struct KeptState {
    bad: BTreeMap<String, (AttemptEnd, DateTime<Utc>, DateTime<Utc>)>,
}

impl KeptState {
    /// The topic and day of the news, where it is any.
    fn hear(&mut self, end: AttemptEnd, now: DateTime<Utc>) -> Option<(NewsTopic, u32)> {
        let key = "x".to_owned();
        let before = self.bad.get(&key).copied();
        let topic = match end {
            AttemptEnd::Good => {
                self.bad.remove(&key);
                return before.map(|_| (NewsTopic::Recovery, 1));
            }
            AttemptEnd::Partial => NewsTopic::Partial,
            AttemptEnd::Failed => NewsTopic::Failure,
        };
        match before.filter(|(known, _, _)| *known == end) {
            Some((_, since, told)) if told.date_naive() == now.date_naive() => {
                self.bad.insert(key, (end, since, now));
                None
            }
            Some((_, since, _)) => {
                self.bad.insert(key, (end, since, now));
                let days = (now.date_naive() - since.date_naive()).num_days();
                Some((topic, u32::try_from(days).unwrap() + 1))
            }
            None => {
                self.bad.insert(key, (end, now, now));
                Some((topic, 1))
            }
        }
    }
}

fn an_end() -> impl Strategy<Value = AttemptEnd> {
    prop_oneof![
        Just(AttemptEnd::Good),
        Just(AttemptEnd::Failed),
        Just(AttemptEnd::Partial)
    ]
}

proptest! {
    #[test]
    fn the_history_alone_tells_what_a_kept_state_would(
        steps in proptest::collection::vec((an_end(), 1_i64..100_000), 1..60)
    ) {
        let mut past = history("x", Vec::new());
        past.expect_every = None;
        let mut kept = KeptState::default();
        let mut now = at(1, 0);
        for (end, pause) in steps {
            now += TimeDelta::seconds(pause);
            let result = AttemptResult { source: "x".to_owned(), end, lasting: None };
            let news = news_of_run(std::slice::from_ref(&past), &[result], None, None, now).sources;
            let told = news.first().map(|one| (one.topic, one.day));
            prop_assert_eq!(told, kept.hear(end, now));
            prop_assert!(news.len() <= 1);
            past.attempts.insert(0, PastAttempt { at: now, end });
        }
    }

    /// However often somebody looks, what lasts is told at once and then once a day.
    #[test]
    fn looks_tell_once_a_day(pauses in proptest::collection::vec(1_i64..20_000, 1..200)) {
        let past = history("x", vec![PastAttempt { at: at(1, 0), end: AttemptEnd::Good }]);
        let stale = at(1, 26);
        let (mut now, mut looked_at) = (at(1, 1), None);
        let mut told = Vec::new();
        for pause in pauses {
            now += TimeDelta::seconds(pause);
            let news = news_of_look(&past, looked_at, now);
            prop_assert!(news.is_empty() || now >= stale);
            told.extend(news.iter().map(|_| now.date_naive()));
            looked_at = Some(now);
        }
        let mut days = told.clone();
        days.dedup();
        prop_assert_eq!(days, told);
    }
}

#[test]
fn who_was_not_told_of_it_does_not_hear_of_its_end() {
    let past = PastAttempt {
        at: at(1, 2),
        end: AttemptEnd::Partial,
    };
    let result = AttemptResult {
        source: "x".to_owned(),
        end: AttemptEnd::Good,
        lasting: None,
    };
    let news = news_of_run(&[history("x", vec![past])], &[result], None, None, at(2, 2)).sources;
    assert_eq!(news[0].over, Some(NewsTopic::Partial));
    assert!(!news[0].is_for(&[NewsTopic::Recovery, NewsTopic::Failure]));
    assert!(news[0].is_for(&[NewsTopic::Recovery, NewsTopic::Partial]));
}

#[test]
fn what_the_store_does_not_remember_is_told_like_the_rest() {
    let past = PastAttempt {
        at: at(1, 2),
        end: AttemptEnd::Good,
    };
    let result = |end, since, looked_at| AttemptResult {
        source: "x".to_owned(),
        end,
        lasting: Some((NewsTopic::Failure, LastingState { since, looked_at })),
    };
    let told = |result: AttemptResult, now| {
        let news = news_of_run(&[history("x", vec![past])], &[result], None, None, now).sources;
        news.first().map(|one| (one.topic, one.day))
    };
    let (failed, good) = (AttemptEnd::Failed, AttemptEnd::Good);
    let new = result(failed, at(2, 2), None);
    assert_eq!(told(new, at(2, 2)), Some((NewsTopic::Failure, 1)));
    let again = result(failed, at(2, 2), Some(at(2, 2)));
    assert_eq!(told(again.clone(), at(2, 9)), None);
    assert_eq!(told(again, at(3, 2)), Some((NewsTopic::Failure, 2)));
    let over = result(good, at(2, 2), Some(at(3, 2)));
    assert_eq!(told(over, at(4, 2)), Some((NewsTopic::Recovery, 1)));
}

#[test]
fn a_change_within_a_second_is_one() {
    let past = PastAttempt {
        at: at(1, 2),
        end: AttemptEnd::Good,
    };
    let result = AttemptResult {
        source: "x".to_owned(),
        end: AttemptEnd::Failed,
        lasting: None,
    };
    let news = news_of_run(&[history("x", vec![past])], &[result], None, None, at(1, 2)).sources;
    assert_eq!(news.len(), 1);
}

#[test]
fn what_was_never_backed_up_is_overdue_since_it_is_expected() {
    let mut never = history("x", Vec::new());
    assert_eq!(overdue_since(&never), Some(DateTime::UNIX_EPOCH));
    never.expected_from = Some(at(3, 0));
    assert_eq!(overdue_since(&never), Some(at(3, 0)));
    never.expect_every = None;
    assert_eq!(overdue_since(&never), None);
}

#[test]
fn digests_come_with_the_first_run_of_a_new_week() {
    let weekly = DigestInterval::Weekly;
    assert!(!is_digest_due(weekly, None, at(8, 2)));
    assert!(!is_digest_due(weekly, Some(at(1, 2)), at(7, 23)));
    assert!(is_digest_due(weekly, Some(at(7, 23)), at(8, 0)));
    assert!(is_digest_due(
        DigestInterval::Daily,
        Some(at(7, 23)),
        at(8, 0)
    ));
    assert!(!is_digest_due(
        DigestInterval::Monthly,
        Some(at(7, 23)),
        at(8, 0)
    ));
    assert!(is_digest_due(
        DigestInterval::Monthly,
        Some(at(29, 2)),
        at(30, 2)
    ));
}
