//! `dbbackup verify`: examines backups and remembers with each what was found.

use super::{outcome_of, set_error};
use crate::catalog::{Backup, Catalog, Entry, is_named_of};
use crate::cli::VerifyArguments;
use crate::engine::{Check, CheckStatus, whole_second};
use crate::error::{Error, Kind, Result};
use crate::ops::events::add_event;
use crate::ops::examine::{self, ExaminationOptions, VerificationResult};
use crate::ops::find::{self, ResolvedBackup};
use crate::ops::{Session, catalog_of};
use crate::report::{Outcome, Paint, Report};
use crate::sidecar::{Change, Status, Verification};
use crate::store::{Store, names};
use crate::units;
use chrono::Utc;

pub fn run(arguments: &VerifyArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    let work = what_to_verify(arguments, session)?;
    let settings = session.backup_settings();
    let threads = settings.thread_count();
    let mut results = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    for item in &work {
        let (id, finding) = match item {
            Item::Dump(found) => {
                let proving = session.proving_of(&found.source);
                let means = ExaminationOptions {
                    scratch_dir: &settings.scratch_dir,
                    threads,
                    proving: &proving,
                    observer: report,
                };
                let finding = examine::verify(&found.stored(), arguments.level, &means)?;
                remember(found, &finding, report);
                (found.name(), finding)
            }
            Item::Unknown { wanted, error } => {
                report.error(error);
                let check = Check {
                    name: "search".into(),
                    status: CheckStatus::Error,
                    detail: error.message(),
                };
                failed.push(Error::new(error.kind(), format!("{wanted}: {error}")));
                results.push(serde_json::json!({"id": wanted, "level": arguments.level,
                        "status": check.status, "checks": [check]}));
                continue;
            }
            Item::Unusable { id, why, kind } => {
                let check = Check {
                    name: "sidecar".into(),
                    status: *kind,
                    detail: why.clone(),
                };
                (
                    id.clone(),
                    VerificationResult {
                        level: arguments.level,
                        checks: vec![check],
                        seconds: 0.0,
                    },
                )
            }
        };
        say(&id, source_of(item), &finding, session, report);
        failed.extend(kind_of(finding.status()).map(|kind| {
            Error::new(
                kind,
                format!("{id}: {}", finding.wrong_in_short().unwrap_or_default()),
            )
        }));
        results.push(serde_json::json!({"id": id, "level": arguments.level,
                "status": finding.status(), "checks": finding.checks}));
    }
    report.set("results", results);
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(work.len(), &kinds))
}

/// What a result means for the exit code. What can't be tried here is not proven, and a script that
/// asks for a proof must learn that.
fn kind_of(status: CheckStatus) -> Option<Kind> {
    match status {
        CheckStatus::Ok => None,
        CheckStatus::Unprovable | CheckStatus::Incomplete | CheckStatus::Error => {
            Some(Kind::Failed)
        }
        CheckStatus::Damaged => Some(Kind::Damaged),
    }
}

enum Item {
    Dump(Box<ResolvedBackup>),
    /// A sidecar that can't be read, or a backup whose dump can't be found by it.
    Unusable {
        id: String,
        why: String,
        kind: CheckStatus,
    },
    /// One of several names that can't be verified; the others are.
    Unknown {
        wanted: String,
        error: Error,
    },
}

fn what_to_verify(arguments: &VerifyArguments, session: &Session) -> Result<Vec<Item>> {
    let of_word = |word: &String| {
        session
            .group(word)
            .map_or_else(|| vec![word.clone()], <[String]>::to_vec)
    };
    let what: Vec<String> = arguments.what.iter().flat_map(of_word).collect();
    let is_of_group = |name: &String| !arguments.what.contains(name);
    if arguments.all || arguments.what.is_empty() {
        let store = session.reading()?;
        let (there, missing) = of_groups(&*store, &what, &is_of_group)?;
        if there.is_empty()
            && let Some(first) = missing.first()
        {
            return Err(nothing_of(first));
        }
        let catalog = catalog_of(&*store, &there)?;
        let mut items = if arguments.all {
            every_one(&catalog, &*store)?
        } else {
            newest_ones(&catalog, &*store)?
        };
        if arguments.what.is_empty() {
            items.extend(never_backed_up(&catalog, session)?);
        }
        items.extend(missing.iter().map(|name| no_backup(name)));
        let none = |item: &Item| matches!(item, Item::Unusable { why, .. } if why == NO_BACKUP);
        if let Some(Item::Unusable { id, .. }) = items.first().filter(|_| items.iter().all(none)) {
            return Err(nothing_of(id));
        }
        if items.is_empty() {
            return Err(Error::not_found(format!(
                "the store `{}` holds no backups to verify",
                store.name()
            ))
            .with_hint("`dbbackup list --status all` shows what there is"));
        }
        return Ok(items);
    }
    let mut others = what.clone();
    let mut items = Vec::new();
    if let Ok(store) = session.reading() {
        // A source's newest backup, damaged or not: `find` would pass a damaged one over.
        let mut catalog = Catalog::read_with_members(&*store, &what)?;
        let names = catalog.members(&what);
        let (sources, rest): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| catalog.has_source(name));
        if !sources.is_empty() {
            catalog.keep_only(&sources);
            items = newest_ones(&catalog, &*store)?;
        }
        // What a group has that was never backed up is not proven.
        let (missing, rest): (Vec<String>, Vec<String>) = rest.into_iter().partition(is_of_group);
        if let Some(first) = missing
            .first()
            .filter(|_| sources.is_empty() && rest.is_empty())
        {
            return Err(nothing_of(first));
        }
        items.extend(missing.iter().map(|name| no_backup(name)));
        others = rest;
    }
    for wanted in &others {
        items.push(match find::find(wanted, session) {
            Ok(found) => Item::Dump(Box::new(found)),
            Err(error) if others.len() > 1 || !items.is_empty() => Item::Unknown {
                wanted: wanted.clone(),
                error,
            },
            Err(error) => return Err(error),
        });
    }
    Ok(items)
}

/// The names of which the store holds something, or that were not meant by a group; and those of
/// groups of which it holds nothing.
fn of_groups(
    store: &dyn Store,
    what: &[String],
    is_of_group: &dyn Fn(&String) -> bool,
) -> Result<(Vec<String>, Vec<String>)> {
    let present = store.sources()?;
    let heard_of = |name: &String| {
        present
            .iter()
            .any(|known| known == name || is_named_of(known, name))
    };
    Ok(what
        .iter()
        .cloned()
        .partition(|name| !is_of_group(name) || heard_of(name)))
}

fn every_one(catalog: &Catalog, store: &dyn Store) -> Result<Vec<Item>> {
    let with_dump = catalog
        .backups
        .iter()
        .filter(|backup| backup.sidecar.status != Status::Failed);
    let mut items: Vec<Item> = with_dump
        .map(|backup| dump(backup, store))
        .collect::<Result<_>>()?;
    items.extend(catalog.unreadable.iter().map(unusable));
    Ok(items)
}

fn unusable(entry: &crate::catalog::Unreadable) -> Item {
    // A newer format is no damage; JSON that can't be read is.
    let kind = if entry.newer {
        CheckStatus::Unprovable
    } else {
        CheckStatus::Damaged
    };
    Item::Unusable {
        id: entry.id.clone(),
        why: entry.reason.clone(),
        kind,
    }
}

/// The newest backup of each source that is not a failed attempt: a damaged newest one must be
/// found, not passed over.
fn newest_ones(catalog: &Catalog, store: &dyn Store) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for source in catalog.sources() {
        let unreadable = catalog
            .unreadable
            .iter()
            .filter(|entry| entry.source == source);
        items.extend(unreadable.map(unusable));
        let usable = |backup: &&Entry| {
            backup.sidecar.status != Status::Failed
                && backup.sidecar.label != crate::retention::PRE_RESTORE
        };
        match catalog.of(&source).find(usable) {
            Some(backup) => items.push(dump(backup, store)?),
            // A run that could not reach a server at all leaves a failed attempt of the whole; what
            // there is to prove are its databases.
            None if catalog.has_members(&source) => {}
            None => items.push(no_backup(&source)),
        }
    }
    Ok(items)
}

const NO_BACKUP: &str = "it has no backup";

fn hint_without_backup(source: &str) -> String {
    format!(
        "`dbbackup backup {source}` makes one; `dbbackup list --status all` shows failed attempts"
    )
}

fn nothing_of(source: &str) -> Error {
    Error::not_found(format!("{source}: {NO_BACKUP}")).with_hint(hint_without_backup(source))
}

fn no_backup(source: &str) -> Item {
    Item::Unusable {
        id: source.to_owned(),
        why: NO_BACKUP.into(),
        kind: CheckStatus::Error,
    }
}

/// The configuration's enabled sources of which its own store holds nothing: a proof of everything
/// must not pass them over.
fn never_backed_up(catalog: &Catalog, session: &Session) -> Result<Vec<Item>> {
    let Some(config) = session
        .config
        .as_ref()
        .filter(|_| session.store_plan().is_ok_and(|plan| plan.configured))
    else {
        return Ok(Vec::new());
    };
    let known = catalog.sources();
    let enabled = config
        .sources
        .iter()
        .filter(|(_, entry)| entry.common.enabled);
    let due =
        enabled.filter(|(_, entry)| entry.common.start.is_none_or(|start| start <= session.now));
    let backed_up = |name: &str| {
        known.iter().any(|known| {
            config
                .owner_of(known)
                .is_some_and(|(owner, _)| owner == name)
        })
    };
    Ok(due
        .filter(|(name, _)| !backed_up(name))
        .map(|(name, _)| no_backup(name))
        .collect())
}

fn dump(backup: &Entry, store: &dyn Store) -> Result<Item> {
    let found = ResolvedBackup::in_store(store.location(), backup);
    Ok(match found {
        Ok(found) => Item::Dump(Box::new(found)),
        Err(error) => Item::Unusable {
            id: backup.id().to_owned(),
            why: error.message(),
            kind: CheckStatus::Unprovable,
        },
    })
}

/// The source whose other backups may help.
fn source_of(item: &Item) -> Option<&str> {
    match item {
        Item::Dump(found) => found.backup.as_ref().map(|_| found.source.as_str()),
        Item::Unusable { id, .. } => names::split_id(id).map(|(source, _, _)| source),
        Item::Unknown { .. } => None,
    }
}

fn say(
    id: &str,
    source: Option<&str>,
    finding: &VerificationResult,
    session: &Session,
    report: &Report,
) {
    let wrong = finding.wrong_in_short().unwrap_or_default();
    match finding.status() {
        CheckStatus::Ok => {
            let (word, took) = (
                report.paint(Paint::Good, CheckStatus::Ok.word()),
                units::elapsed(finding.seconds),
            );
            report.line(format!("{word} {id}: {} ({took})", finding.level.word()));
        }
        CheckStatus::Damaged if finding.was_corrupt_when_saved() => {
            let error = Error::damaged(format!("{id} {}: {wrong}", examine::CORRUPT_THEN));
            let others = source.map_or(String::new(), |source| {
                format!(": `dbbackup verify {source} --all` proves them")
            });
            report.error(&error.with_hint(format!(
                "look at the database itself (`PRAGMA integrity_check`), which is likely to be \
                 corrupt now, too; an older backup may be good{others}"
            )));
        }
        CheckStatus::Damaged => {
            let error = Error::damaged(format!("{id} is damaged: {wrong}"));
            report.error(&match source {
                Some(source) => error.with_hint(format!(
                    "take a new one now{}; `dbbackup list {source}` shows the others, `dbbackup \
                     verify {source} --all` proves them",
                    // A name that was made from a path is none that `backup` knows.
                    session.entry_of(source).map_or(String::new(), |_| format!(
                        ": `dbbackup backup \
                        {source}`"
                    ))
                )),
                None => error.with_hint("fetch another copy of the file from where it was copied"),
            });
        }
        CheckStatus::Unprovable => report.warn(format!(
            "{id}: {} can't be proven here: {wrong}",
            finding.level.word()
        )),
        CheckStatus::Incomplete => {
            let error = Error::failed(format!(
                "{id}: it is sound, but does not restore alone: {wrong}"
            ));
            report.error(&error.with_hint(
                "save what it needs, too: look at `schemas`, `exclude_table` and \
                             `exclude_table_data` of the source",
            ));
        }
        CheckStatus::Error if wrong == NO_BACKUP => {
            report.error(
                &Error::not_found(format!("{id}: {wrong}")).with_hint(hint_without_backup(id)),
            );
        }
        CheckStatus::Error => report.error(&Error::failed(format!(
            "{id}: could not be verified: {wrong}"
        ))),
    }
    let well = finding.status() == CheckStatus::Ok;
    // What was not well is said above; the rest of one backup's story goes where that went.
    for check in finding
        .checks
        .iter()
        .filter(|check| check.status == CheckStatus::Ok)
    {
        let text = format!("   {}: {}", check.name, check.detail);
        if well {
            report.line(text)
        } else {
            report.note(text)
        }
    }
}

/// Keeps the result with the backup, as an event. A store that can't be written to is no failure, and a copy of a backup that lies somewhere else has no history to
/// add to.
fn remember(found: &ResolvedBackup, finding: &VerificationResult, report: &Report) {
    let Some(backup) = &found.backup else { return };
    if finding.status() == CheckStatus::Error || found.source != backup.sidecar.source {
        return;
    }
    if !found.store.may_write(&found.source) {
        return report.detail(format!(
            "{}: the result was not kept: `{}` of the store `{}` is read-only",
            backup.id(),
            found.source,
            found.store.name()
        ));
    }
    let verification = finding.to_verification(whole_second(Utc::now()));
    if let Err(error) = add_to_state(found, backup, verification) {
        report.warn(format!("{}: the result was not kept: {error}", backup.id()));
    }
}

fn add_to_state(found: &ResolvedBackup, backup: &Backup, verification: Verification) -> Result<()> {
    let change = Change::Verified(verification);
    add_event(&*found.store, &found.source, backup.id(), change)
}
