//! The brake: after a backup that holds far less than an earlier one nothing is removed, because what it lacks may be in no other. Pure, as all of
//! retention.

use crate::units;

/// How many tables a message names.
const NAMED: usize = 5;

/// When nothing is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// The new backup holds less than this part of the earlier one, in percent; none: never.
    pub percent: Option<u8>,
    /// Tables that may come and go, `*` and `?` allowed.
    pub ignore: Vec<String>,
}

impl Default for Brake {
    fn default() -> Self {
        Brake { percent: Some(50), ignore: Vec::new() }
    }
}

/// What a backup holds, as far as two can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its id.
    pub id: String,
    /// Bytes before compression.
    pub bytes: u64,
    /// Whatever else there is a number of, each with its unit's name: `file`.
    pub counts: Vec<(&'static str, u64)>,
    /// Tables with their rows; none where they were not counted.
    pub tables: Option<Vec<(String, u64)>>,
}

/// Why nothing should be removed: what `new` lacks of `old`.
pub fn shrank(old: &Contents, new: &Contents, brake: &Brake) -> Option<String> {
    let percent = u128::from(brake.percent?);
    let less = |new: u64, old: u64| u128::from(new) * 100 < u128::from(old) * percent;
    let mut found = Vec::new();
    if less(new.bytes, old.bytes) {
        found.push(format!("{} in place of {}", units::size(new.bytes), units::size(old.bytes)));
    }
    for (unit, before) in &old.counts {
        let now = new.counts.iter().find(|(known, _)| known == unit).map_or(0, |(_, now)| *now);
        if less(now, *before) {
            found.push(format!("{} in place of {}", units::count(now, unit), units::thousands(*before)));
        }
    }
    if let (Some(before), Some(now)) = (&old.tables, &new.tables) {
        let watched = |table: &&(String, u64)| !brake.ignore.iter().any(|pattern| units::wildcard(pattern, &table.0));
        let rows = |tables: &[(String, u64)]| tables.iter().filter(watched).map(|(_, rows)| *rows).sum();
        let (rows_before, rows_now): (u64, u64) = (rows(before), rows(now));
        if less(rows_now, rows_before) {
            found.push(format!("{} in place of {}", units::count(rows_now, "row"), units::thousands(rows_before)));
        }
        found.extend(lost_tables(before.iter().filter(watched), now));
    }
    (!found.is_empty()).then(|| format!("{} holds, compared with {}: {}", new.id, old.id, found.join(", ")))
}

/// The tables that held something and hold nothing now, in words.
fn lost_tables<'a>(before: impl Iterator<Item = &'a (String, u64)>, now: &[(String, u64)]) -> Vec<String> {
    let now: std::collections::BTreeMap<&str, u64> = now.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
    let lost = |(name, rows): &(String, u64)| match now.get(name.as_str()) {
        _ if *rows == 0 => None,
        None => Some(format!("no table `{name}` ({} before)", units::count(*rows, "row"))),
        Some(0) => Some(format!("nothing in `{name}` ({} before)", units::count(*rows, "row"))),
        Some(_) => None,
    };
    let mut lost: Vec<String> = before.filter_map(lost).collect();
    if lost.len() > NAMED {
        let more = lost.len() - NAMED;
        lost.truncate(NAMED);
        lost.push(format!("and so {}", units::count(more as u64, "more table")));
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(bytes: u64, tables: &[(&str, u64)]) -> Contents {
        let tables = tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        Contents { id: format!("b{bytes}"), bytes, tables: Some(tables), ..Contents::default() }
    }

    #[test]
    fn less_than_the_part_and_lost_tables_are_found() {
        let brake = |percent: u8, ignore: &[&str]| Brake {
            percent: Some(percent),
            ignore: ignore.iter().map(|name| (*name).to_owned()).collect(),
        };
        let old = contents(1000, &[("a", 10), ("tmp_1", 10), ("empty", 0)]);
        let same = |new: &Contents, brake: &Brake| shrank(&old, new, brake).is_none();
        // Exactly the part is enough; what was empty may go.
        assert!(same(&contents(500, &[("a", 1), ("tmp_1", 9)]), &brake(50, &[])));
        assert!(!same(&contents(499, &[("a", 10), ("tmp_1", 10)]), &brake(50, &[])));
        assert!(same(&contents(100, &[("a", 1), ("tmp_1", 1)]), &brake(10, &[])));
        assert!(!same(&contents(999, &[("a", 10), ("tmp_1", 10)]), &brake(100, &[])));
        let why = shrank(&old, &contents(900, &[("a", 0)]), &brake(50, &[])).unwrap();
        assert_eq!(
            why,
            "b900 holds, compared with b1000: 0 rows in place of 20, nothing in `a` (10 rows before), no table `tmp_1` (10 rows before)"
        );
        assert!(same(&contents(900, &[("a", 10)]), &brake(50, &["tmp_*"])));
        assert!(same(&contents(900, &[]), &brake(50, &["*"])));
        assert!(same(&contents(0, &[]), &Brake { percent: None, ignore: Vec::new() }));
    }

    #[test]
    fn what_was_not_counted_is_not_compared() {
        let old = Contents { counts: vec![("file", 10)], ..contents(100, &[("a", 10)]) };
        let uncounted = Contents { tables: None, ..old.clone() };
        assert!(shrank(&old, &uncounted, &Brake::default()).is_none() && shrank(&uncounted, &old, &Brake::default()).is_none());
        let fewer = Contents { counts: vec![("file", 4)], ..old.clone() };
        assert!(shrank(&old, &fewer, &Brake::default()).unwrap().ends_with("4 files in place of 10"));
        let many: Vec<(String, u64)> = (0..8).map(|number| (format!("t{number}"), 1)).collect();
        let many = Contents { tables: Some(many), ..old };
        assert!(
            shrank(&many, &contents(100, &[]), &Brake::default()).unwrap().ends_with("`t4` (1 row before), and so 3 more tables")
        );
    }
}
