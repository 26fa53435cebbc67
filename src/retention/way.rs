//! Which earlier backup a delta is made against, so that the way down to its full is short.
//!
//! The backups since a full are numbered, and the full has the number 0. The base of a number is
//! the number with its last digit to the base 4 that is not 0 set to 0: that of 132 is 130, that of
//! 130 is 100, and that of 100 the full. So the way to the full is as long as there are such
//! digits: at most 5 steps in a year of nights, and 7 in a year of hours. These are Subversion's
//! skip-deltas, there to the base 2.

/// Returns the base for the backup with this number: the first on its way for which `is_usable`,
/// which says whether such a backup is there, is good, and may be a base. `None` where not even the
/// full is one.
pub fn choose_base(number: u64, is_usable: impl Fn(u64) -> bool) -> Option<u64> {
    way(number).find(|&base| is_usable(base))
}

/// Whether the next backup is to be a full: the deltas on the way of the newest one have more than
/// half the size of their full. Both are in bytes, as stored.
pub fn is_full_due(way_bytes: u64, full_bytes: u64) -> bool {
    way_bytes > full_bytes / 2
}

/// The bases of a number, one after the other up to the full.
fn way(number: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(first_base(number), |&number| first_base(number))
}

/// Returns the number that is the base of `number`; the full has none.
fn first_base(number: u64) -> Option<u64> {
    if number == 0 {
        return None;
    }
    let digit = number.trailing_zeros() / 2;
    Some(number & !(3 << (2 * digit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::{Candidate, KeyNeed, RetentionPolicy, Standing, Verdict, decide};
    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The most deltas, its own included, that the backup with this number can need.
    fn depth_bound(number: u64) -> usize {
        way(number).count()
    }

    #[test]
    fn base_loses_the_last_digit() {
        let quaternary = |digits| u64::from_str_radix(digits, 4).unwrap();
        let way: Vec<u64> = way(quaternary("132")).collect();
        assert_eq!(way, [quaternary("130"), quaternary("100"), 0]);
        assert_eq!(first_base(0), None);
        assert_eq!(first_base(u64::MAX), Some(u64::MAX - 3));
    }

    #[test]
    fn ways_of_a_year_are_short() {
        let deepest = |count: u64| (0..count).map(depth_bound).max();
        assert_eq!(deepest(366), Some(5));
        assert_eq!(deepest(366 * 24), Some(7));
    }

    #[test]
    fn fulls_are_due_above_half() {
        assert!(!is_full_due(50, 100));
        assert!(is_full_due(51, 100));
    }

    /// A good backup of this number, made so many hours after the first one.
    fn candidate(number: u64, base: Option<u64>, pinned: bool) -> Candidate {
        Candidate {
            id: number.to_string(),
            at: DateTime::UNIX_EPOCH + TimeDelta::hours(number.cast_signed()),
            dated_ahead: false,
            label: "hourly".into(),
            size_bytes: 1,
            standing: Standing::Good,
            pinned,
            proven: false,
            key: KeyNeed::Plain,
            needs: base.map(|base| base.to_string()),
        }
    }

    /// The numbers of what is removed, in the order in which it goes.
    fn removed_numbers(
        backups: &BTreeMap<u64, Candidate>,
        policy: &RetentionPolicy,
        now: DateTime<Utc>,
    ) -> Vec<u64> {
        let candidates: Vec<Candidate> = backups.values().cloned().collect();
        let decision = decide(&candidates, |_| Some(policy), now);
        let kept = decision.verdicts.iter();
        assert!(
            kept.clone()
                .any(|(_, verdict)| matches!(verdict, Verdict::Keep(_)))
        );
        decision
            .removals()
            .iter()
            .map(|id| id.parse().unwrap())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever retention removes and wherever it is killed, what is kept has its way, and it
        /// is short.
        #[test]
        fn what_is_kept_has_its_way(
            cleanups in proptest::collection::vec(
                (1_u64..30, 0_u32..4, 0_u32..6, any::<bool>(), 0_usize..40), 1..12
            ),
        ) {
            let mut backups = BTreeMap::from([(0, candidate(0, None, false))]);
            let mut depths = BTreeMap::from([(0, 0)]);
            let mut number = 0;
            for (count, keep_last, keep_daily, pins, killed_after) in cleanups {
                for _ in 0..count {
                    number += 1;
                    let base = choose_base(number, |base| backups.contains_key(&base)).unwrap();
                    let depth = depths[&base] + 1;
                    prop_assert!(depth <= depth_bound(number));
                    depths.insert(number, depth);
                    backups.insert(number, candidate(number, Some(base), pins && number % 7 == 0));
                }
                let policy = RetentionPolicy {
                    keep_last: Some(keep_last),
                    keep_daily: Some(keep_daily),
                    ..RetentionPolicy::default()
                };
                let now = backups[&number].at;
                for gone in removed_numbers(&backups, &policy, now).into_iter().take(killed_after) {
                    backups.remove(&gone);
                    let needed = backups.values().filter_map(|kept| kept.needs.as_ref());
                    for base in needed {
                        prop_assert!(backups.contains_key(&base.parse().unwrap()));
                    }
                }
            }
        }
    }
}
