//! The backups that feed no rule of a policy: partial and damaged ones, those that held the brake,
//! those that a restore made, and failed attempts.

use super::{Case, FAILED_DAYS, NO_POLICY, RetentionPolicy, Standing, Verdict};
use chrono::{DateTime, Days, Utc};

/// The partial and damaged backups of a label: they wait for a newer good one, which must be one
/// that stays.
pub(super) fn judge_flawed(
    cases: &mut [Case],
    members: &[usize],
    policy: Option<&RetentionPolicy>,
) {
    let newest_good = members
        .iter()
        .copied()
        .find(|&at| cases[at].feeds() && cases[at].removal.is_none());
    for &at in members {
        let what = match cases[at].candidate.standing {
            Standing::Partial => "partial",
            Standing::Damaged => "damaged",
            // What can't be told is held.
            Standing::Good
            | Standing::Doubted
            | Standing::Failed
            | Standing::Unknown
            | Standing::Untrusted
            | Standing::Unreachable
            | Standing::Missing
            | Standing::OtherLength
            | Standing::BaseDamaged => continue,
        };
        let superseded = newest_good.is_some_and(|newest| newest < at);
        cases[at].unless_held(match (policy, superseded) {
            (None, _) => Verdict::Keep(vec![NO_POLICY.into()]),
            (Some(_), false) => Verdict::Keep(vec![format!(
                "{what}, but no newer good one of its label exists"
            )]),
            (Some(_), true) => Verdict::Remove(format!("{what}, and a newer good one exists")),
        });
    }
}

/// Those that held the brake: each stays as long as an older good one of its label does, and feeds
/// no rule. Else the backups of an emptied database would take the places of the full ones as soon
/// as the data is back.
pub(super) fn judge_doubted(
    cases: &mut [Case],
    members: &[usize],
    policy: Option<&RetentionPolicy>,
) {
    let oldest_good = members
        .iter()
        .copied()
        .rfind(|&at| cases[at].feeds() && cases[at].removal.is_none());
    for &at in members {
        if cases[at].candidate.standing != Standing::Doubted {
            continue;
        }
        cases[at].unless_held(match policy {
            None => Verdict::Keep(vec![NO_POLICY.into()]),
            Some(_) if oldest_good.is_some_and(|oldest| oldest < at) => Verdict::Remove(
                "held far less than the one before, and only newer ones are kept".into(),
            ),
            Some(_) => Verdict::Keep(vec![
                "held far less than the one before: it feeds no rule".into(),
            ]),
        });
    }
}

/// What restores have set aside, `newest_good` being the place of the source's newest good backup.
pub(super) fn judge_pre_restore(
    cases: &mut [Case],
    members: &[usize],
    policy: Option<&RetentionPolicy>,
    newest_good: Option<usize>,
) {
    for &at in members {
        if matches!(
            cases[at].candidate.standing,
            Standing::Failed | Standing::Unknown | Standing::Untrusted
        ) {
            continue;
        }
        // The pin is in a file whose loss must lose no backup: the newest state of the data
        // survives it.
        let superseded = newest_good.is_some_and(|newest| newest < at);
        cases[at].unless_held(match (policy, superseded) {
            (None, _) => Verdict::Keep(vec![NO_POLICY.into()]),
            (Some(_), false) => Verdict::Keep(vec![
                "pre-restore backup, and no newer good one exists".into(),
            ]),
            (Some(_), true) => Verdict::Remove("pre-restore backup, unpinned".into()),
        });
    }
}

/// The failed attempts of a label: removed when old, one of exactly [`FAILED_DAYS`] not yet.
pub(super) fn judge_failed(cases: &mut [Case], members: &[usize], now: DateTime<Utc>) {
    let edge = now
        .checked_sub_days(Days::new(FAILED_DAYS))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    for &at in members {
        if cases[at].candidate.standing != Standing::Failed {
            continue;
        }
        let old = cases[at].candidate.at < edge;
        cases[at].unless_held(if old {
            Verdict::Remove(format!("failed attempt older than {FAILED_DAYS} days"))
        } else {
            Verdict::Keep(vec![format!(
                "failed attempt of the last {FAILED_DAYS} days"
            )])
        });
    }
}
