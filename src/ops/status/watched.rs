//! From a store's catalog and the configuration to what `health` judges: which sources, what is
//! expected of each, what restores left.

use crate::catalog::{Catalog, ListedBackup, WayState};
use crate::config::{Config, ConfiguredSource, KindSettings, SourceSettings};
use crate::engine::CheckStatus;
use crate::engine::files::swap::is_kept_inside;
use crate::error::{Error, Hint, Result};
use crate::failpoint::present;
use crate::health::{AttemptWorth, Expectation, JudgedAttempt, Proof, Subject};
use crate::ops::chain::has_whole_chains;
use crate::ops::condition::{Condition, condition_of, short_reason_of};
use crate::ops::prune;
use crate::ops::time_of;
use crate::ops::{Session, is_missed};
use crate::plan::{RetentionPolicies, StorePlan};
use crate::retention::PRE_RESTORE;
use crate::sidecar::{Braked, BriefDatabase, Level, Status};
use crate::store::Store;
use crate::store::names::{number_in_second, split_id};
use crate::units::{self, Span};
use std::path::Path;
use std::time::Duration;

/// What is looked at.
pub struct WatchedSources<'a> {
    /// The sources that are judged.
    pub subjects: Vec<Subject<'a>>,
    /// Those of the store that the configuration does not define: nobody said what is expected of
    /// them.
    pub unconfigured: Vec<String>,
}

/// The sources that were named, else those of the configuration, else, where no configuration
/// speaks of this store, all there are.
pub fn watched_sources<'a>(
    (catalog, opened): (&'a Catalog, &dyn Store),
    session: &Session,
    store: &StorePlan,
    names: &[String],
    expect_every: Option<Span>,
) -> Result<WatchedSources<'a>> {
    let config = session
        .config
        .as_ref()
        .filter(|config| store.configured && !config.sources.is_empty());
    let present = catalog.sources();
    let own = |name: &String| config.is_none_or(|config| config.owner_of(name).is_some());
    let unconfigured: Vec<String> = present.iter().filter(|name| !own(name)).cloned().collect();
    let chosen: Vec<String> = if names.is_empty() {
        let configured = config
            .into_iter()
            .flat_map(|config| config.sources.iter().map(|(name, _)| name.clone()));
        configured.chain(present.into_iter().filter(own)).collect()
    } else {
        named(names, catalog, config)?
    };
    let mut subjects: Vec<Subject<'a>> = Vec::new();
    for name in chosen {
        // A database of a cluster is judged with it.
        let cluster = cluster_of(&name, catalog, config)
            .filter(|_| names.is_empty())
            .unwrap_or(name);
        for subject in of_source(&cluster, (catalog, opened), session, config)? {
            if !subjects.iter().any(|known| known.name == subject.name) {
                let held = held(&subject.name, catalog, opened, config);
                let chain_faults = match has_whole_chains(store, session) {
                    true => chain_faults(&subject.name, catalog),
                    false => Vec::new(),
                };
                subjects.push(Subject {
                    expect_every: expect_every.unwrap_or(subject.expect_every),
                    prove_key_every: config.and_then(|config| config.encryption.prove_key_every),
                    held,
                    chain_faults,
                    ..subject
                });
            }
        }
    }
    Ok(WatchedSources {
        subjects,
        unconfigured: if names.is_empty() {
            unconfigured
        } else {
            Vec::new()
        },
    })
}

fn chain_faults(name: &str, catalog: &Catalog) -> Vec<(String, String)> {
    let faults = catalog.chain_faults(name).into_iter();
    faults
        .map(|fault| (fault.id.clone(), fault.reason()))
        .collect()
}

fn named(names: &[String], catalog: &Catalog, config: Option<&Config>) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for name in names {
        let group = config.and_then(|config| config.group(name));
        let known =
            catalog.has_source(name) || config.is_some_and(|config| config.source(name).is_some());
        match group {
            Some(members) => chosen.extend(members.iter().cloned()),
            None if known || catalog.has_members(name) => chosen.push(name.clone()),
            None => {
                let mut all = catalog.sources();
                all.extend(
                    config
                        .iter()
                        .flat_map(|config| config.sources.iter().map(|(name, _)| name.clone())),
                );
                let error = Error::not_found(format!(
                    "neither the configuration nor the store knows a source `{name}`"
                ));
                return Err(match units::nearest(name, all.iter().map(String::as_str)) {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None => {
                        error.with_hint(Hint::new().command(["list"]).text(" shows what there is"))
                    }
                });
            }
        }
    }
    Ok(chosen)
}

/// The cluster that a source is a database of: the configuration's, or by what its backups say.
fn cluster_of(name: &str, catalog: &Catalog, config: Option<&Config>) -> Option<String> {
    let configured = config
        .and_then(|config| config.owner_of(name))
        .map(|(owner, _)| owner.to_owned());
    configured.or_else(|| catalog.cluster_of(name).map(str::to_owned))
}

/// The source; with the databases that its server had in its newest run, where it stands for a
/// server.
fn of_source<'a>(
    name: &str,
    (catalog, store): (&'a Catalog, &dyn Store),
    session: &Session,
    config: Option<&Config>,
) -> Result<Vec<Subject<'a>>> {
    let entry = config
        .and_then(|config| config.owner_of(name))
        .map(|(_, entry)| entry);
    let members: Vec<String> = catalog
        .members(&[name.to_owned()])
        .into_iter()
        .filter(|member| member != name)
        .collect();
    let expected = entry.map_or(Expectation::Yes, |entry| expected(entry, session));
    let subject = |name: &str, expected: Expectation| {
        subject(name, expected, catalog, entry, config.is_some())
    };
    let vanished = catalog
        .cluster_of(members.first().map_or(name, String::as_str))
        .map(|of| catalog.vanished_members(of));
    let expected_of = |member: &str| -> Result<Expectation> {
        if !vanished.iter().flatten().any(|gone| gone == member)
            || matches!(expected, Expectation::No(_))
        {
            return Ok(expected.clone());
        }
        let missed = config.map_or(Ok(false), |config| {
            is_missed(member, catalog, store, config)
        })?;
        Ok(if missed {
            Expectation::Vanished
        } else {
            Expectation::No("not on the server any more")
        })
    };
    if members.is_empty() {
        return Ok(vec![subject(name, expected_of(name)?)]);
    }
    // Newest first.
    let of_members = || {
        catalog.backups().filter(|backup| {
            members
                .iter()
                .any(|member| backup.sidecar.source == *member)
        })
    };
    let run = of_members()
        .find(|backup| !backup.sidecar.run_members.is_empty())
        .map(|backup| &backup.sidecar.run_members);
    let mut subjects: Vec<Subject<'a>> = Vec::new();
    let mut whole = subject(
        name,
        if matches!(expected, Expectation::No(_)) {
            expected.clone()
        } else {
            Expectation::InMembers
        },
    );
    // A run that could not even ask the server is past once one could.
    let newest = of_members().next().map(|backup| backup.sidecar.finished_at);
    whole
        .attempts
        .retain(|attempt| newest.is_none_or(|newest| attempt.ended > newest));
    if !whole.attempts.is_empty() {
        subjects.push(whole);
    }
    for member in &members {
        subjects.push(subject(member, expected_of(member)?));
    }
    // One that the newest run meant and of which the store holds nothing at all.
    let missing = run
        .into_iter()
        .flatten()
        .filter(|known| !members.iter().any(|member| **known == *member));
    subjects.extend(missing.map(|name| subject(name, expected.clone())));
    Ok(subjects)
}

fn expected(entry: &ConfiguredSource, session: &Session) -> Expectation {
    let common = &entry.common;
    if !common.enabled {
        return Expectation::No("disabled");
    }
    if common.end.is_some_and(|end| end <= session.now) {
        return Expectation::No("its `end` has come");
    }
    match common.start {
        Some(start) if start > session.now => Expectation::No("its `start` is to come"),
        Some(start) => Expectation::From(start),
        None => Expectation::Yes,
    }
}

fn subject<'a>(
    name: &str,
    expected: Expectation,
    catalog: &'a Catalog,
    entry: Option<&ConfiguredSource>,
    configured: bool,
) -> Subject<'a> {
    Subject {
        name: name.to_owned(),
        configured: entry.is_some(),
        expected,
        expect_every: entry.map_or_else(
            || SourceSettings::default().expect_every,
            |entry| entry.common.expect_every,
        ),
        prove_every: entry.and_then(|entry| entry.common.prove_every),
        prove_key_every: None,
        attempts: attempts_of(name, catalog),
        held: None,
        leftovers: leftovers(name, catalog, entry, configured),
        copies: Vec::new(),
        chain_faults: Vec::new(),
        ignored_events: catalog.of(name).map(|backup| backup.state.ignored).sum(),
    }
}

/// Every attempt at a source, the newest first.
pub fn attempts_of<'a>(name: &str, catalog: &'a Catalog) -> Vec<JudgedAttempt<'a>> {
    let mut attempts: Vec<JudgedAttempt<'a>> = catalog.of(name).map(attempt).collect();
    attempts.extend(
        catalog
            .unreadable
            .iter()
            .filter(|lost| lost.source == name)
            .map(unreadable),
    );
    attempts
        .sort_by_key(|attempt| std::cmp::Reverse((attempt.ended, number_in_second(attempt.id))));
    attempts
}

/// Why retention's brake holds. Only where a run has found that: `status` reads whole sidecars for
/// nothing else.
fn held(
    name: &str,
    catalog: &Catalog,
    store: &dyn Store,
    config: Option<&Config>,
) -> Option<String> {
    let newest = catalog.newest_good(name)?;
    // What a run found holds for later ones that did not look.
    let good = catalog
        .of(name)
        .filter(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE);
    let looked = good.take_while(|backup| backup.state.brake != Some(Braked::Accepted));
    let earlier = looked.filter_map(|backup| match &backup.state.brake {
        Some(Braked::Against(earlier)) => Some(earlier),
        _ => None,
    });
    let earlier = earlier.last()?;
    let entry = config.and_then(|config| Some((config, config.owner_of(name)?.1)));
    let policies = entry.map_or_else(RetentionPolicies::default, |(config, entry)| {
        RetentionPolicies::of_source(config, entry)
    });
    match prune::why_held(store, catalog, name, &policies, present()) {
        Ok(why) => why,
        Err(_) => Some(format!("{} holds far less than {earlier}", newest.id())),
    }
}

fn attempt(backup: &ListedBackup) -> JudgedAttempt<'_> {
    let sidecar = &backup.sidecar;
    let worth = match (condition_of(backup), &sidecar.error) {
        ((Condition::Failed, _), error) => AttemptWorth::Failed {
            error: error
                .as_ref()
                .map_or("no reason is known", |error| &error.message),
            hint: error
                .as_ref()
                .and_then(|error| error.hint.as_deref())
                .map(Hint::from_written),
        },
        ((Condition::Partial, _), _) => AttemptWorth::Partial,
        ((Condition::Ok, _), _) => AttemptWorth::Good,
        ((Condition::Untrusted, why), _) => AttemptWorth::Untrusted(why.unwrap_or_default()),
        ((Condition::Unknown, why), _) => AttemptWorth::Unreachable(why.unwrap_or_default()),
        ((condition @ (Condition::Missing | Condition::Damaged), _), _) => {
            let reason = short_reason_of(backup);
            AttemptWorth::Damaged(reason.unwrap_or_else(|| condition.as_str().to_owned()))
        }
    };
    let is_untrusted = matches!(worth, AttemptWorth::Untrusted(_));
    let restored = backup.verifications().filter(|seen| {
        seen.level == Level::Restore && seen.status == CheckStatus::Ok && !is_untrusted
    });
    let proofs = restored.map(|seen| Proof {
        at: seen.at,
        id: backup.id(),
        host: seen.host.as_deref(),
        // A sidecar may say any number.
        took: Duration::try_from_secs_f64(seen.duration_seconds).unwrap_or_default(),
    });
    JudgedAttempt {
        id: backup.id(),
        label: &sidecar.label,
        ended: sidecar.finished_at,
        seconds: sidecar.duration_seconds,
        worth,
        stored: backup.presence.bytes(),
        is_delta: backup.needs().is_some(),
        content: sidecar
            .dump
            .as_ref()
            .map_or(0, |dump| dump.content_size_bytes),
        rows: sidecar
            .manifest
            .filter(|manifest| manifest.tree.is_none())
            .map(|manifest| manifest.rows_total),
        files: sidecar
            .manifest
            .and_then(|manifest| manifest.tree)
            .map(|tree| tree.files),
        proof: proofs.max(),
        encrypted: backup.is_encrypted(),
        key_proven: backup.state.keys_proven.values().max().copied(),
        dated_ahead: backup.dated_ahead,
        safety_copy: sidecar.label == PRE_RESTORE && sidecar.status != Status::Failed,
        absent: sidecar.status != Status::Failed
            && (!backup.is_whole() || matches!(backup.way, WayState::Missing(_)))
            && backup.damage().is_none()
            && !is_untrusted,
    }
}

fn unreadable(lost: &crate::catalog::UnreadableSidecar) -> JudgedAttempt<'_> {
    let (_, label, _) = split_id(&lost.id).unwrap_or(("", "", ""));
    JudgedAttempt {
        id: &lost.id,
        label,
        ended: time_of(&lost.id),
        seconds: 0.0,
        worth: if lost.is_untrusted {
            AttemptWorth::Untrusted(lost.reason.clone())
        } else if lost.may_be_good {
            AttemptWorth::Newer(&lost.reason)
        } else {
            AttemptWorth::Damaged(lost.reason.clone())
        },
        stored: 0,
        is_delta: false,
        content: 0,
        rows: None,
        files: None,
        proof: None,
        encrypted: false,
        key_proven: None,
        dated_ahead: false,
        safety_copy: label == PRE_RESTORE,
        absent: false,
    }
}

/// What restores left, as far as files tell: no server is asked. `status` is run every few minutes
/// by a monitor that waits for seconds, and must answer when a server does not.
fn leftovers(
    name: &str,
    catalog: &Catalog,
    entry: Option<&ConfiguredSource>,
    configured: bool,
) -> Vec<Hint> {
    let pinned = catalog
        .of(name)
        .filter(|backup| backup.sidecar.label == PRE_RESTORE && backup.state.pinned);
    let mut found: Vec<Hint> = pinned
        .map(|backup| {
            let (id, size) = (backup.id(), units::size(backup.presence.bytes()));
            Hint::new()
                .text(format!(
                    "{id} ({size}), pinned; when it is not needed any more: "
                ))
                .command(["delete", id, "--force"])
        })
        .collect();
    let paths = match entry.map(|entry| &entry.kind) {
        Some(KindSettings::Sqlite(own)) => vec![own.path.clone()],
        Some(KindSettings::Files(own)) => own.paths.clone(),
        None if !configured => catalog
            .of(name)
            .find_map(|backup| backup.sidecar.database.as_ref())
            .map(BriefDatabase::places)
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    let kept = paths.iter().flat_map(|path| set_aside(path));
    found.extend(kept.map(|path| {
        Hint::from(format!(
            "{path}, what a restore replaced; remove it when it is not needed any more"
        ))
    }));
    found
}

/// What comes between a name and the time where a restore has set something aside.
const BEFORE: &str = ".before-";

/// Whether it is the name of something that a restore has set aside:
/// `app.db.before-20261120T031500Z`, with what belongs to it.
pub fn is_set_aside(name: &str) -> bool {
    name.split(BEFORE).skip(1).any(is_stamp)
}

fn is_stamp(rest: &str) -> bool {
    rest.len() >= 16 && rest.as_bytes()[8] == b'T' && rest.as_bytes()[15] == b'Z'
}

/// `app.db.before-20261120T031500Z` beside `app.db`; inside a mount point
/// `.dbbackup-before-20261120T031500Z`.
fn set_aside(path: &Path) -> Vec<String> {
    let (Some(dir), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let prefix = format!("{name}{BEFORE}");
    let names = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter(|name| name.strip_prefix(&prefix).is_some_and(is_stamp))
        .map(|name| dir.join(name).display().to_string())
        .collect();
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    let kept_inside = inside.filter(|entry| entry.file_name().to_str().is_some_and(is_kept_inside));
    found.extend(kept_inside.map(|entry| entry.path().display().to_string()));
    found.sort();
    found
}
