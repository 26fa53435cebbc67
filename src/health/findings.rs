//! What can be wrong with a source, one thing a function, and what to do about it.

use super::copies::copy_findings;
use super::{
    AttemptWorth, Expectation, HealthFinding, HealthLevel, JudgedAttempt, SourceHealth, Subject,
};
use crate::error::Hint;
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};

/// Everything that is wrong with a source, the worst not yet first.
pub(super) fn findings(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
) -> Vec<HealthFinding> {
    let mut found = Vec::new();
    if subject.expected == Expectation::Vanished {
        let text =
            "it is not on the server any more, and nobody has said that this is right".to_owned();
        return vec![
            HealthFinding::new(HealthLevel::Warning, text)
                .with_hint("if it is, leave it out: `exclude_databases` of its cluster"),
        ];
    }
    if subject.expected != Expectation::InMembers {
        found.extend(damage(subject, now));
        found.extend(absence(subject, now));
        found.extend(ahead(subject, now));
        found.extend(untrusted(subject));
        found.extend(ignored_events(subject));
        found.extend(chain_fault(subject));
        found.extend(freshness(subject, health, now));
        found.extend(proof(subject, health, now));
        found.extend(key_proof(subject, health, now));
        // Both compare the newest backup with an earlier one: what keeps all the others says more.
        found.extend(held(subject).or_else(|| shrinking(health)));
        let copies = subject.copies.iter();
        found.extend(copies.flat_map(|copies| copy_findings(copies, subject.expect_every, now)));
    }
    found.extend(last_attempt(subject, health, now));
    found
}

impl Subject<'_> {
    /// What makes a backup of it.
    fn again(&self) -> Hint {
        match self.configured {
            true => Hint::new().command(["backup", &self.name]),
            false => Hint::from("back it up again by its path or address"),
        }
    }
}

/// How far two machines' clocks may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

/// Whether a backup is dated later than clocks can differ, by this machine's or by its store's.
pub(super) fn is_ahead(attempt: &JudgedAttempt<'_>, now: DateTime<Utc>) -> bool {
    attempt.dated_ahead || attempt.ended > now + CLOCKS_APART
}

fn ahead(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<HealthFinding> {
    let first = subject
        .attempts
        .iter()
        .find(|attempt| is_ahead(attempt, now) && attempt.counts())?;
    let text = format!(
        "{} is dated ahead, {}: a clock was wrong then, or is now",
        first.id,
        units::stamp(first.ended)
    );
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("mend the clock; if it was wrong then, the backup is as good as others: ")
                .command(["restore", first.id]),
        ),
    )
}

/// What no trusted key signed: somebody else may have put it there.
fn untrusted(subject: &Subject<'_>) -> Option<HealthFinding> {
    let mut strange = subject
        .attempts
        .iter()
        .filter_map(|attempt| match &attempt.worth {
            AttemptWorth::Untrusted(why) => Some((attempt.id, why)),
            _ => None,
        });
    let (newest, why) = strange.next()?;
    let text = match strange.count() as u64 {
        0 => format!("{newest} does not count: {why}"),
        more => format!("{newest} and {more} more of its backups do not count; the newest: {why}"),
    };
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("find out who made it; if it is to go: ")
                .command(["delete", newest]),
        ),
    )
}

/// A backup that a later one names, and that is not there or not the same.
fn chain_fault(subject: &Subject<'_>) -> Option<HealthFinding> {
    let (id, reason) = subject.chain_faults.first()?;
    let more = match subject.chain_faults.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    };
    Some(
        HealthFinding::new(HealthLevel::Warning, format!("{id}: {reason}{more}")).with_hint(
            Hint::new()
                .text("find out who was there; another store may have it: ")
                .command(["list", "--all-stores", &subject.name]),
        ),
    )
}

/// Pins and verifications that somebody else may have put there.
fn ignored_events(subject: &Subject<'_>) -> Option<HealthFinding> {
    let text = match subject.ignored_events {
        0 => return None,
        1 => "an event of it does not count: no trusted key signed it".to_owned(),
        more => format!("{more} events of it do not count: no trusted key signed them"),
    };
    Some(HealthFinding::new(HealthLevel::Warning, text).with_hint(
        "pins and verifications count when a trusted key signs them: set `sign_key_file` on \
             every machine that makes them",
    ))
}

/// The newest backup, good or not.
fn newest_of<'s, 'a>(
    subject: &'s Subject<'a>,
    now: DateTime<Utc>,
) -> Option<&'s JudgedAttempt<'a>> {
    let counts = |attempt: &&JudgedAttempt<'a>| {
        !attempt.safety_copy
            && !is_ahead(attempt, now)
            && attempt.counts()
            && !matches!(attempt.worth, AttemptWorth::Failed { .. })
    };
    subject.attempts.iter().find(counts)
}

/// The dumps of older backups that are not at hand: a disk may be away, or somebody may have
/// removed them.
fn absence(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<HealthFinding> {
    let newest = newest_of(subject, now).map(|newest| newest.id);
    let absent: Vec<&JudgedAttempt<'_>> = subject
        .attempts
        .iter()
        .filter(|attempt| attempt.absent && Some(attempt.id) != newest)
        .collect();
    let first = absent.first()?;
    let text = match absent.len() as u64 {
        1 => format!(
            "the dump of {} is not there or can't be looked at",
            first.id
        ),
        count => format!(
            "the dumps of {count} backups, the newest {}, are not there or can't be looked at",
            first.id
        ),
    };
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .text("mount the disk that they are on; if they are gone: ")
                .command(["delete", first.id])
                .text(", or ")
                .command(["verify", first.id])
                .text(", and cleanup removes what is damaged"),
        ),
    )
}

/// The newest backup: a damaged one must not hide behind an older good one.
fn damage(subject: &Subject<'_>, now: DateTime<Utc>) -> Option<HealthFinding> {
    let newest = newest_of(subject, now)?;
    let age = units::age(newest.ended, now);
    match &newest.worth {
        AttemptWorth::Damaged(why) => Some(
            HealthFinding::new(
                HealthLevel::Critical,
                format!(
                    "its newest backup, made {age}, is damaged: \
                {why}"
                ),
            )
            .with_hint(
                Hint::from("take a new one: ")
                    .then(subject.again())
                    .text("; ")
                    .command(["list", &subject.name])
                    .text(" shows the good ones"),
            ),
        ),
        AttemptWorth::Unreachable(why) => Some(
            HealthFinding::new(
                HealthLevel::Unknown,
                format!(
                    "its newest backup, made {age}, can't be judged: \
                {why}"
                ),
            )
            .with_hint(
                "look at the store's disk (`dmesg`), or mount what it is on; nothing is \
                       removed meanwhile",
            ),
        ),
        AttemptWorth::Newer(why) => Some(HealthFinding::new(
            HealthLevel::Warning,
            format!(
                "its newest backup, made \
            {age}, can't be judged: {why}"
            ),
        )),
        AttemptWorth::Partial => Some(
            HealthFinding::new(
                HealthLevel::Warning,
                format!("its newest backup, made {age}, is incomplete"),
            )
            .with_hint(
                Hint::new()
                    .command(["show", newest.id])
                    .text(" says what it lacks"),
            ),
        ),
        AttemptWorth::Good | AttemptWorth::Untrusted(_) | AttemptWorth::Failed { .. } => None,
    }
}

fn freshness(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
) -> Option<HealthFinding> {
    let edge = subject.expect_every.before(now);
    // It may well be good.
    if newest_of(subject, now).is_some_and(|newest| {
        matches!(newest.worth, AttemptWorth::Unreachable(_)) && newest.ended >= edge
    }) {
        return None;
    }
    let mut hint = subject
        .again()
        .text("; then look at what should have run it");
    let Some(newest) = &health.newest else {
        let mistaken = subject
            .attempts
            .iter()
            .filter(|_| !subject.configured)
            .map(|attempt| attempt.id);
        let mistaken: Vec<&str> = mistaken.collect();
        if !mistaken.is_empty() {
            let delete = ["delete"].into_iter().chain(mistaken).chain(["--yes"]);
            hint = subject
                .again()
                .text("; if it was never meant: ")
                .command(delete);
        }
        return match subject.expected {
            Expectation::From(start) if start > edge => None,
            _ => Some(
                HealthFinding::new(HealthLevel::Critical, "there is no good backup".into())
                    .with_hint(hint),
            ),
        };
    };
    let age = units::age(newest.ended, now);
    let late = || {
        format!(
            "its newest good backup was made {age}, one is expected every {}",
            subject.expect_every
        )
    };
    (newest.ended < edge).then(|| HealthFinding::new(HealthLevel::Critical, late()).with_hint(hint))
}

fn proof(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
) -> Option<HealthFinding> {
    let every = subject.prove_every?;
    let text = match health.proof {
        // Where there is nothing to prove that is said already.
        None if health.newest.is_none() => return None,
        None => format!("no backup was ever proven by a restore, one is to be every {every}"),
        Some(proof) if proof.at < every.before(now) => {
            format!(
                "a restore was last proven {}, one is to be every {every}",
                units::age(proof.at, now)
            )
        }
        Some(_) => return None,
    };
    Some(
        HealthFinding::new(HealthLevel::Warning, text).with_hint(Hint::new().command([
            "verify",
            &subject.name,
            "--level",
            "restore",
        ])),
    )
}

/// Of encrypted backups: a key that was lost is found out before it is needed.
fn key_proof(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
) -> Option<HealthFinding> {
    let every = subject.prove_key_every?;
    if !health.newest.as_ref()?.encrypted {
        return None;
    }
    let text = match health.key_proof {
        None => {
            format!("no private key was ever shown to open a backup, one is to be every {every}")
        }
        Some(at) if at < every.before(now) => format!(
            "a private key last opened a backup {}, one is to every {every}",
            units::age(at, now)
        ),
        Some(_) => return None,
    };
    let hint = Hint::new().text("where the private key is: ").command([
        "key",
        "prove",
        "--identity",
        "FILE",
    ]);
    Some(HealthFinding::new(HealthLevel::Warning, text).with_hint(hint))
}

fn held(subject: &Subject<'_>) -> Option<HealthFinding> {
    let why = subject.held.as_ref()?;
    let hint = Hint::new()
        .text("if that is right: ")
        .command(["cleanup", "--force", &subject.name])
        .text("; if not, look at the source: the older backups are all there");
    Some(
        HealthFinding::new(
            HealthLevel::Warning,
            format!("retention is held back and removes nothing: {why}"),
        )
        .with_hint(hint),
    )
}

fn shrinking(health: &SourceHealth<'_>) -> Option<HealthFinding> {
    let (new, old) = (health.newest.as_ref()?, health.before.as_ref()?);
    let halved = |new: u64, old: u64| new < old.div_ceil(2);
    let counted = |new: Option<u64>, old: Option<u64>, what: &str| {
        let (new, old) = (new?, old?);
        halved(new, old).then(|| (units::count(new, what), units::thousands(old)))
    };
    let measured = || {
        halved(new.content, old.content)
            .then(|| (units::size(new.content), units::size(old.content)))
    };
    let shrank = counted(new.rows, old.rows, "row")
        .or_else(|| counted(new.files, old.files, "file"))
        .or_else(measured);
    let (holds, held) = shrank?;
    let text = format!("its newest backup holds {holds}, the one before held {held}");
    Some(
        HealthFinding::new(HealthLevel::Warning, text)
            .with_hint("look at the source; until that is cleared up, cleanup removes nothing"),
    )
}

fn last_attempt(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
) -> Option<HealthFinding> {
    let last = health.last.as_ref()?;
    let AttemptWorth::Failed { error, hint } = &last.worth else {
        return None;
    };
    let failed = subject
        .attempts
        .iter()
        .filter(|attempt| !attempt.safety_copy && attempt.counts());
    let row = failed
        .take_while(|attempt| matches!(attempt.worth, AttemptWorth::Failed { .. }))
        .count() as u64;
    let age = units::age(last.ended, now);
    let text = if row > 1 {
        format!("the last {row} attempts failed, the last one {age}: {error}")
    } else {
        format!("the last attempt failed {age}: {error}")
    };
    let finding = HealthFinding::new(HealthLevel::Warning, text);
    Some(match hint {
        Some(hint) => finding.with_hint(hint),
        None => finding,
    })
}

/// Whether the store has room for the next backups, which are expected to be as large as the last
/// ones.
pub fn space(free: Option<u64>, needed: u64) -> Option<HealthFinding> {
    let free = free?;
    (free < needed).then(|| {
        let text = format!(
            "{} free, the next backups will need about {}",
            units::size(free),
            units::size(needed)
        );
        HealthFinding::new(HealthLevel::Warning, text).with_hint(
            Hint::new()
                .command(["cleanup", "--dry-run"])
                .text(" says what the retention policy would free"),
        )
    })
}
