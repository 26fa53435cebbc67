//! The brake: after a backup that holds far less than an earlier one nothing is removed, because
//! what it lacks may be in no other. Pure, as all of retention.

use crate::units;
use chrono::{DateTime, TimeDelta, Utc};

/// How many tables a message names.
const NAMED: usize = 5;

/// A table of more rows than this is looked at by its part; of smaller ones only that they are
/// there and not empty.
const MANY_ROWS: u64 = 100;

/// A gap between two backups so many times longer than usual is no pause: the clock jumped, or
/// somebody forgot the source for long.
const TIMES_THE_USUAL: i32 = 10;

/// No shorter gap is one: a machine may sleep over a long weekend.
const LEAST_GAP: TimeDelta = TimeDelta::days(3);

/// What is usual is told by at most so many gaps, and by no fewer than the second.
const GAPS: usize = 20;
const FEWEST_GAPS: usize = 3;

/// When nothing is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// The new backup holds less than this part of the earlier one, in percent; none: never.
    pub percent: Option<u8>,
    /// Tables that may come and go, `*` and `?` allowed.
    pub ignore: Vec<String>,
}

/// What a backup holds, as far as two can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentSummary {
    /// Its id.
    pub id: String,
    /// Bytes before compression.
    pub bytes: u64,
    /// Whatever else there is a number of, each with its unit's name: `file`.
    pub counts: Vec<(&'static str, u64)>,
    /// Tables with their rows; none where they were not counted, or are sealed.
    pub tables: Option<Vec<(String, u64)>>,
    /// How many tables and rows there are; none where they were not counted.
    pub totals: Option<TableTotals>,
}

/// How many tables there are, and rows in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableTotals {
    /// Tables.
    pub tables: u64,
    /// Rows of all of them.
    pub rows: u64,
}

/// Why nothing should be removed: what `new` lacks of `old`.
pub fn find_shrinkage(old: &ContentSummary, new: &ContentSummary, brake: &Brake) -> Option<String> {
    let percent = u128::from(brake.percent?);
    let less = |new: u64, old: u64| u128::from(new) * 100 < u128::from(old) * percent;
    let mut found = Vec::new();
    if less(new.bytes, old.bytes) {
        found.push(format!(
            "{} in place of {}",
            units::size(new.bytes),
            units::size(old.bytes)
        ));
    }
    for (unit, before) in &old.counts {
        let now = new
            .counts
            .iter()
            .find(|(known, _)| known == unit)
            .map_or(0, |(_, now)| *now);
        if less(now, *before) {
            found.push(format!(
                "{} in place of {}",
                units::count(now, unit),
                units::thousands(*before)
            ));
        }
    }
    let is_sealed = old.tables.is_none() || new.tables.is_none();
    if let (true, Some(before), Some(now)) = (is_sealed, old.totals, new.totals) {
        if less(now.rows, before.rows) {
            found.push(format!(
                "{} in place of {}",
                units::count(now.rows, "row"),
                units::thousands(before.rows)
            ));
        }
        if now.tables < before.tables {
            found.push(format!(
                "{} in place of {}",
                units::count(now.tables, "table"),
                units::thousands(before.tables)
            ));
        }
    }
    if let (Some(before), Some(now)) = (&old.tables, &new.tables) {
        let watched = |table: &&(String, u64)| {
            !brake
                .ignore
                .iter()
                .any(|pattern| units::wildcard(pattern, &table.0))
        };
        let rows = |tables: &[(String, u64)]| {
            units::total(tables.iter().filter(watched).map(|(_, rows)| *rows))
        };
        let (rows_before, rows_now): (u64, u64) = (rows(before), rows(now));
        if less(rows_now, rows_before) {
            found.push(format!(
                "{} in place of {}",
                units::count(rows_now, "row"),
                units::thousands(rows_before)
            ));
        }
        found.extend(lost_tables(before.iter().filter(watched), now, less));
    }
    (!found.is_empty()).then(|| {
        format!(
            "{} holds, compared with {}: {}",
            new.id,
            old.id,
            found.join(", ")
        )
    })
}

/// The tables that held something and hold nothing now, and the large ones of which only a part is
/// left, in words.
fn lost_tables<'a>(
    before: impl Iterator<Item = &'a (String, u64)>,
    now: &[(String, u64)],
    less: impl Fn(u64, u64) -> bool,
) -> Vec<String> {
    let now: std::collections::BTreeMap<&str, u64> = now
        .iter()
        .map(|(name, rows)| (name.as_str(), *rows))
        .collect();
    let lost = |(name, rows): &(String, u64)| match now.get(name.as_str()) {
        _ if *rows == 0 => None,
        None => Some(format!(
            "no table `{name}` ({} before)",
            units::count(*rows, "row")
        )),
        Some(0) => Some(format!(
            "nothing in `{name}` ({} before)",
            units::count(*rows, "row")
        )),
        Some(now) if *rows > MANY_ROWS && less(*now, *rows) => Some(format!(
            "{} in `{name}` ({} before)",
            units::count(*now, "row"),
            units::thousands(*rows)
        )),
        Some(_) => None,
    };
    let mut lost: Vec<String> = before.filter_map(lost).collect();
    if lost.len() > NAMED {
        let more = lost.len() - NAMED;
        lost.truncate(NAMED);
        lost.push(format!(
            "and so {}",
            units::count(more as u64, "more table")
        ));
    }
    lost
}

/// A gap between two backups that is many times the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// When the backup before it was made.
    pub before: DateTime<Utc>,
    /// And the one after it.
    pub after: DateTime<Utc>,
    /// What is usual.
    pub usual: TimeDelta,
}

impl Jump {
    /// By how much the clock is wrong, if it is.
    pub fn surplus(&self) -> TimeDelta {
        // Of two moments and less than their distance: it can't overflow.
        (self.after - self.before) - self.usual
    }
}

/// The jumps between backups that were made at these moments, newest first; only the first
/// `looked_at` of them are asked about, the others tell what is usual.
pub fn find_jumps(moments: &[DateTime<Utc>], looked_at: usize) -> Vec<Jump> {
    let gap = |pair: &[DateTime<Utc>]| pair[0] - pair[1];
    let jump = |(at, pair): (usize, &[DateTime<Utc>])| {
        let mut others: Vec<TimeDelta> = moments[at + 1..].windows(2).take(GAPS).map(gap).collect();
        if others.len() < FEWEST_GAPS {
            // Most of the earlier ones may be gone by now.
            others.extend(moments[..=at].windows(2).take(GAPS).map(gap));
        }
        if others.len() < FEWEST_GAPS {
            return None;
        }
        // Not the middle one: who makes a handful at a time, once a month, has pauses.
        others.sort_unstable();
        let usual = others[(others.len() - 1) * 3 / 4];
        let most = usual
            .checked_mul(TIMES_THE_USUAL)
            .unwrap_or(TimeDelta::MAX)
            .max(LEAST_GAP);
        (gap(pair) > most).then_some(Jump {
            before: pair[1],
            after: pair[0],
            usual,
        })
    };
    moments
        .windows(2)
        .enumerate()
        .take(looked_at.saturating_sub(1))
        .filter_map(jump)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::RetentionPolicy;
    use super::*;

    fn contents(bytes: u64, tables: &[(&str, u64)]) -> ContentSummary {
        let tables = tables
            .iter()
            .map(|(name, rows)| ((*name).to_owned(), *rows))
            .collect();
        ContentSummary {
            id: format!("b{bytes}"),
            bytes,
            tables: Some(tables),
            ..ContentSummary::default()
        }
    }

    #[test]
    fn sealed_contents_are_compared_by_their_totals() {
        let brake = RetentionPolicy::default().brake();
        let open = ContentSummary {
            totals: Some(TableTotals {
                tables: 2,
                rows: 20,
            }),
            ..contents(1000, &[("a", 10), ("b", 10)])
        };
        let sealed = |tables: u64, rows: u64| ContentSummary {
            tables: None,
            totals: Some(TableTotals { tables, rows }),
            ..open.clone()
        };
        for same in [sealed(2, 20), sealed(3, 11)] {
            assert!(find_shrinkage(&open, &same, &brake).is_none());
            assert!(find_shrinkage(&sealed(2, 20), &same, &brake).is_none());
        }
        assert!(find_shrinkage(&sealed(2, 20), &open, &brake).is_none());
        let why = find_shrinkage(&open, &sealed(1, 9), &brake).unwrap();
        assert!(
            why.ends_with("9 rows in place of 20, 1 table in place of 2"),
            "{why}"
        );
    }

    #[test]
    fn less_than_the_part_and_lost_tables_are_found() {
        let brake = |percent: u8, ignore: &[&str]| Brake {
            percent: Some(percent),
            ignore: ignore.iter().map(|name| (*name).to_owned()).collect(),
        };
        let old = contents(1000, &[("a", 10), ("tmp_1", 10), ("empty", 0)]);
        let same = |new: &ContentSummary, brake: &Brake| find_shrinkage(&old, new, brake).is_none();
        // Exactly the part is enough; what was empty may go.
        assert!(same(
            &contents(500, &[("a", 1), ("tmp_1", 9)]),
            &brake(50, &[])
        ));
        assert!(!same(
            &contents(499, &[("a", 10), ("tmp_1", 10)]),
            &brake(50, &[])
        ));
        assert!(same(
            &contents(100, &[("a", 1), ("tmp_1", 1)]),
            &brake(10, &[])
        ));
        assert!(!same(
            &contents(999, &[("a", 10), ("tmp_1", 10)]),
            &brake(100, &[])
        ));
        let why = find_shrinkage(&old, &contents(900, &[("a", 0)]), &brake(50, &[])).unwrap();
        assert_eq!(
            why,
            "b900 holds, compared with b1000: 0 rows in place of 20, nothing in `a` (10 rows \
             before), no table `tmp_1` (10 rows before)"
        );
        assert!(same(&contents(900, &[("a", 10)]), &brake(50, &["tmp_*"])));
        assert!(same(&contents(900, &[]), &brake(50, &["*"])));
        assert!(same(
            &contents(0, &[]),
            &Brake {
                percent: None,
                ignore: Vec::new()
            }
        ));
    }

    #[test]
    fn a_large_table_is_looked_at_by_its_part() {
        let brake = RetentionPolicy::default().brake();
        let old = contents(
            1000,
            &[("log", 1_000_000), ("users", 10_000), ("small", 100)],
        );
        let why = find_shrinkage(
            &old,
            &contents(990, &[("log", 1_000_000), ("users", 1), ("small", 1)]),
            &brake,
        )
        .unwrap();
        assert!(why.ends_with(": 1 row in `users` (10,000 before)"), "{why}");
        assert!(
            find_shrinkage(
                &old,
                &contents(990, &[("log", 1_000_000), ("users", 5000), ("small", 1)]),
                &brake
            )
            .is_none()
        );
        let ignoring = Brake {
            ignore: vec!["users".into()],
            ..brake
        };
        assert!(
            find_shrinkage(
                &old,
                &contents(990, &[("log", 1_000_000), ("users", 1), ("small", 1)]),
                &ignoring
            )
            .is_none()
        );
    }

    #[test]
    fn a_clock_that_jumped_is_seen_and_pauses_are_not() {
        let start = DateTime::<Utc>::from_timestamp(1_795_140_000, 0).unwrap();
        let made = |days: &[i64]| {
            days.iter()
                .map(|day| start - TimeDelta::days(*day))
                .collect::<Vec<_>>()
        };
        let nightly = made(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(find_jumps(&nightly, 6), []);
        let jumped = made(&[0, 900, 901, 902, 903]);
        let usual = TimeDelta::days(1);
        assert_eq!(
            find_jumps(&jumped, 5),
            [Jump {
                before: jumped[1],
                after: jumped[0],
                usual
            }]
        );
        assert_eq!(find_jumps(&jumped, 1), [], "it was said to be right");
        // The backups after it do not hide it.
        assert_eq!(
            find_jumps(&made(&[0, 1, 2, 900, 901, 902, 903]), 7).len(),
            1
        );
        assert_eq!(find_jumps(&made(&[0, 1, 2, 3, 900]), 5).len(), 1);
        // Ten days, weekends, few backups, a handful each month.
        assert_eq!(find_jumps(&made(&[0, 10, 11, 12, 13]), 5), []);
        assert_eq!(find_jumps(&made(&[0, 400, 401]), 3), []);
        assert_eq!(find_jumps(&made(&[0, 31, 31, 61, 61, 92, 92, 122]), 8), []);
        let hourly: Vec<_> = [0, 50, 51, 52, 53]
            .iter()
            .map(|hour| start - TimeDelta::hours(*hour))
            .collect();
        assert_eq!(find_jumps(&hourly, 5), []);
        // The ends of the calendar.
        let mut far = made(&[0, 1, 2, 3]);
        far.insert(0, DateTime::<Utc>::MAX_UTC);
        far.push(DateTime::<Utc>::MIN_UTC);
        assert_eq!(find_jumps(&far, 6).len(), 2);
    }

    #[test]
    fn what_was_not_counted_is_not_compared() {
        let old = ContentSummary {
            counts: vec![("file", 10)],
            ..contents(100, &[("a", 10)])
        };
        let uncounted = ContentSummary {
            tables: None,
            ..old.clone()
        };
        assert!(
            find_shrinkage(&old, &uncounted, &RetentionPolicy::default().brake()).is_none()
                && find_shrinkage(&uncounted, &old, &RetentionPolicy::default().brake()).is_none()
        );
        let fewer = ContentSummary {
            counts: vec![("file", 4)],
            ..old.clone()
        };
        assert!(
            find_shrinkage(&old, &fewer, &RetentionPolicy::default().brake())
                .unwrap()
                .ends_with("4 files in place of 10")
        );
        let many: Vec<(String, u64)> = (0..8).map(|number| (format!("t{number}"), 1)).collect();
        let many = ContentSummary {
            tables: Some(many),
            ..old
        };
        assert!(
            find_shrinkage(
                &many,
                &contents(100, &[]),
                &RetentionPolicy::default().brake()
            )
            .unwrap()
            .ends_with("`t4` (1 row before), and so 3 more tables")
        );
    }
}
