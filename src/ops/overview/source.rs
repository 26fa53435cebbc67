//! What the overview says of one source.

use super::places::{place_of, place_of_data};
use super::{Facts, JudgedSource, shown_hint};
use crate::catalog::{Catalog, ListedBackup};
use crate::error::Hint;
use crate::health::{AttemptWorth, CopySubject, Expectation, JudgedAttempt, SourceHealth, Subject};
use crate::ops::prune::{NextBackup, decide, decide_with_next};
use crate::ops::secrets::clean;
use crate::ops::status::attempts_of;
use crate::overview::{
    CopyPlace, DrillOverview, PlaceOverview, ProofOverview, RemovalOverview, RetentionOverview,
    RuleOfThree, RuleOverview, SizePoint, SourceOverview, calendar_of, count_copies, thin_out,
};
use crate::plan::RetentionPolicies;
use crate::retention::{Decision, PRE_RESTORE, RetentionPolicy, Verdict};
use crate::sidecar::Status;
use crate::statistics::growth_per_day;
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Points of a chart, at most.
const POINTS: usize = 60;

/// Everything about one source.
pub fn source_overview(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    facts: &Facts<'_>,
) -> SourceOverview {
    let newest = health.newest.as_ref();
    let good: Vec<&JudgedAttempt<'_>> = subject
        .attempts
        .iter()
        .filter(|attempt| attempt.is_good())
        .collect();
    let contents: Vec<(DateTime<Utc>, u64)> = good
        .iter()
        .map(|attempt| (attempt.ended, attempt.content))
        .collect();
    let points = contents.iter().rev();
    let points: Vec<SizePoint> = points
        .map(|(at, bytes)| SizePoint {
            at: *at,
            bytes: *bytes,
        })
        .collect();
    let places = places((subject, health), facts);
    let leftovers = subject.leftovers.iter();
    SourceOverview {
        source: clean(&subject.name),
        status: health.level,
        not_expected: match subject.expected {
            Expectation::No(why) => Some(why.to_owned()),
            _ => None,
        },
        content_size_bytes: newest.map(|newest| newest.content),
        rows_total: newest.and_then(|newest| newest.rows),
        files_total: newest.and_then(|newest| newest.files),
        growth_bytes_per_day: growth_per_day(&contents),
        sizes: thin_out(&points, POINTS),
        calendar: calendar_of(&subject.attempts, facts.session.now),
        retention: retention(subject, facts),
        drills: drills(subject, facts),
        rule: rule((subject, health), &places, facts),
        leftovers: leftovers
            .map(|leftover| shown_hint(leftover, facts.session))
            .collect(),
        places,
    }
}

/// What each store has of a source.
fn places((subject, health): JudgedSource<'_>, facts: &Facts<'_>) -> Vec<PlaceOverview> {
    let newest = health.newest.as_ref();
    let good = subject.attempts.iter().filter(|attempt| attempt.is_good());
    let in_use = PlaceOverview {
        store: clean(&facts.status.store.title()),
        newest_at: newest.map(|newest| newest.ended),
        newest_id: newest.map(|newest| newest.id.to_owned()),
        size_bytes: newest.map(|newest| newest.stored),
        proof: last_proof(&subject.attempts),
        good: Some(good.count() as u64),
        waiting: false,
    };
    let mut places = vec![in_use];
    for other in facts.others {
        let copies = subject
            .copies
            .iter()
            .find(|copies| copies.store == other.plan.title());
        let has_any = |catalog: &&Catalog| copies.is_some() || catalog.has_source(&subject.name);
        if let Some(catalog) = other.catalog().filter(has_any) {
            let title = other.plan.title();
            places.push(place_in(&title, &subject.name, catalog, copies));
        }
    }
    for copies in &subject.copies {
        let store = clean(&copies.store);
        if places.iter().all(|place| place.store != store) {
            places.push(PlaceOverview {
                store,
                newest_at: copies.newest(),
                newest_id: None,
                size_bytes: None,
                proof: None,
                good: None,
                waiting: copies.is_waiting(),
            });
        }
    }
    places
}

/// What a store has of a source that was read for it.
fn place_in(
    store: &str,
    source: &str,
    catalog: &Catalog,
    copies: Option<&CopySubject<'_>>,
) -> PlaceOverview {
    let attempts = attempts_of(source, catalog);
    let newest = catalog.newest_good(source);
    PlaceOverview {
        store: clean(store),
        newest_at: newest.map(|newest| newest.sidecar.finished_at),
        newest_id: newest.map(|newest| newest.id().to_owned()),
        size_bytes: newest.map(|newest| newest.presence.bytes()),
        proof: last_proof(&attempts),
        good: Some(attempts.iter().filter(|attempt| attempt.is_good()).count() as u64),
        waiting: copies.is_some_and(CopySubject::is_waiting),
    }
}

/// The drill of each backup that one found sound.
fn proofs<'a>(attempts: &'a [JudgedAttempt<'_>]) -> impl Iterator<Item = ProofOverview> + 'a {
    attempts.iter().filter_map(|attempt| {
        let proof = attempt.proof?;
        Some(ProofOverview {
            id: proof.id.to_owned(),
            at: proof.at,
            duration_seconds: proof.took.as_secs_f64(),
            content_size_bytes: attempt.content,
            host: proof.host.map(clean),
        })
    })
}

fn last_proof(attempts: &[JudgedAttempt<'_>]) -> Option<ProofOverview> {
    proofs(attempts).max_by_key(|proof| proof.at)
}

/// The drills of a source, in whatever store they were made.
fn drills(subject: &Subject<'_>, facts: &Facts<'_>) -> DrillOverview {
    let elsewhere = facts.others.iter().filter_map(|other| other.catalog());
    let elsewhere = elsewhere.flat_map(|catalog| {
        let attempts = attempts_of(&subject.name, catalog);
        proofs(&attempts).collect::<Vec<_>>()
    });
    let all: Vec<ProofOverview> = proofs(&subject.attempts).chain(elsewhere).collect();
    let seconds = || all.iter().map(|proof| proof.duration_seconds);
    let drill = Hint::new().command(["verify", &subject.name, "--level", "restore"]);
    DrillOverview {
        count: all.len() as u64,
        fastest_seconds: seconds().reduce(f64::min),
        slowest_seconds: seconds().reduce(f64::max),
        hint: all.is_empty().then(|| shown_hint(&drill, facts.session)),
        last: all.into_iter().max_by_key(|proof| proof.at),
    }
}

/// How well a source keeps the rule of 3-2-1.
fn rule(
    (subject, health): JudgedSource<'_>,
    places: &[PlaceOverview],
    facts: &Facts<'_>,
) -> RuleOfThree {
    let now = facts.session.now;
    let edge = subject.expect_every.before(now);
    let is_idle = matches!(subject.expected, Expectation::No(_));
    let is_fresh = |place: &&PlaceOverview| place.newest_at.is_some_and(|at| is_idle || at >= edge);
    let stores: Vec<CopyPlace> = places
        .iter()
        .filter(is_fresh)
        .filter_map(|place| place_named(&place.store, facts))
        .collect();
    let last = places.iter().filter_map(|place| place.proof.as_ref());
    let last = last.map(|proof| proof.at).max();
    let last = last.max(health.proof.map(|proof| proof.at));
    let asked = subject.prove_every.map(|every| every.before(now));
    let proven = last.is_some_and(|at| asked.is_none_or(|edge| at >= edge));
    let data = place_of_data(&subject.name, facts.catalog, facts.session);
    count_copies(&data, &stores, proven)
}

/// The place of the store of that name.
fn place_named(name: &str, facts: &Facts<'_>) -> Option<CopyPlace> {
    let in_use = std::iter::once(&facts.status.store);
    let others = facts.others.iter().map(|other| &other.plan);
    let of_copies = facts.status.copy_stores.iter().map(|store| &store.plan);
    let mut plans = in_use.chain(others).chain(of_copies);
    let plan = plans.find(|plan| clean(&plan.title()) == name)?;
    Some(place_of(plan.location()))
}

/// What retention keeps of a source in the store in use, and what goes next. Only its rules are
/// asked, and no store: what somebody reads at that moment stays.
fn retention(subject: &Subject<'_>, facts: &Facts<'_>) -> RetentionOverview {
    let (catalog, name) = (facts.catalog, subject.name.as_str());
    let policies = policies_of(name, facts);
    let now = decide(catalog, name, &policies, facts.session.now, false);
    let mut overview = RetentionOverview {
        rules: rules(subject, &policies),
        held: subject.held.as_deref().map(clean),
        removals: removals(&now, catalog, name),
        ..RetentionOverview::default()
    };
    if overview.held.is_some() {
        overview.removals = Vec::new();
    } else if overview.removals.is_empty()
        && let Some(next) = next_backup(subject, facts.session.now)
    {
        let then = decide_with_next(catalog, name, &policies, &next);
        overview.removals = removals(&then, catalog, name);
        overview.after_next = true;
    }
    let going: HashSet<&str> = overview
        .removals
        .iter()
        .filter(|_| !overview.after_next)
        .map(|removal| removal.id.as_str())
        .collect();
    let is_kept = |backup: &&ListedBackup| {
        backup.sidecar.status != Status::Failed && !going.contains(backup.id())
    };
    let kept: Vec<&ListedBackup> = catalog.of(name).filter(is_kept).collect();
    overview.kept = kept.len() as u64;
    overview.kept_bytes = units::total(kept.iter().map(|backup| backup.presence.bytes()));
    overview.pinned = kept.iter().filter(|backup| backup.state.pinned).count() as u64;
    overview.oldest_at = kept.iter().map(|backup| backup.sidecar.started_at).min();
    overview
}

fn policies_of(source: &str, facts: &Facts<'_>) -> RetentionPolicies {
    let plan = &facts.status.store;
    let config = facts.session.config.as_ref().filter(|_| plan.configured);
    let entry = facts.session.entry_of(source);
    match config.zip(entry) {
        // What depends on the environment can't be told now, and nothing is removed meanwhile.
        Some((config, entry)) if entry.fault.is_none() => {
            RetentionPolicies::in_store(config, plan.name.as_deref(), entry)
        }
        _ => RetentionPolicies::default(),
    }
}

/// The rules of the labels that a source has.
fn rules(subject: &Subject<'_>, policies: &RetentionPolicies) -> Vec<RuleOverview> {
    let labels: BTreeSet<&str> = subject
        .attempts
        .iter()
        .filter(|attempt| !matches!(attempt.worth, AttemptWorth::Failed { .. }))
        .map(|attempt| attempt.label)
        .filter(|label| *label != PRE_RESTORE)
        .collect();
    let written = |label: &str| {
        let policy = policies.for_label(label);
        policy.map_or_else(Vec::new, RetentionPolicy::written)
    };
    let mut rules: Vec<RuleOverview> = Vec::new();
    for label in &labels {
        let settings = written(label);
        match rules.iter_mut().find(|known| known.settings == settings) {
            Some(known) => known.labels.push(clean(label)),
            None => rules.push(RuleOverview {
                labels: vec![clean(label)],
                settings,
            }),
        }
    }
    if labels.is_empty() {
        rules.push(RuleOverview {
            labels: Vec::new(),
            settings: written(""),
        });
    }
    rules
}

/// The backup that is to be expected next: like the newest good one, and as long after it as that
/// came after the one of its label before; a day, where there is none.
fn next_backup<'a>(subject: &Subject<'a>, now: DateTime<Utc>) -> Option<NextBackup<'a>> {
    let mut good = subject.attempts.iter().filter(|attempt| attempt.is_good());
    let newest = good.next()?;
    let before = good.find(|attempt| attempt.label == newest.label);
    let gap = before.map_or(TimeDelta::days(1), |before| newest.ended - before.ended);
    Some(NextBackup {
        label: newest.label,
        at: newest.ended.checked_add_signed(gap)?.max(now),
        size_bytes: newest.stored,
    })
}

/// The backups that a decision removes, the oldest first. Failed attempts are none.
fn removals(decision: &Decision, catalog: &Catalog, source: &str) -> Vec<RemovalOverview> {
    let by_id: HashMap<&str, &ListedBackup> = catalog
        .of(source)
        .map(|backup| (backup.id(), backup))
        .collect();
    let verdicts = decision.verdicts.iter().rev();
    verdicts
        .filter_map(|(id, verdict)| {
            let Verdict::Remove(reason) = verdict else {
                return None;
            };
            let backup = by_id.get(id.as_str())?;
            (backup.sidecar.status != Status::Failed).then(|| RemovalOverview {
                id: id.clone(),
                reason: clean(reason),
                size_bytes: backup.presence.bytes(),
            })
        })
        .collect()
}
