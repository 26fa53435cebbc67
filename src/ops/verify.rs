//! Verifying: finds the backups that are meant, examines each, and keeps the result with it.

use super::chain::has_whole_chains;
use super::events::keep_result;
use super::examine::{self, ExaminationOptions, VerificationResult};
use super::find::{self, ResolvedBackup};
use super::{Event, Observer, Session, catalog_of};
use crate::catalog::{Catalog, ListedBackup, UnreadableSidecar, WayState, is_named_of};
use crate::engine::{Check, CheckFinding, CheckStatus, CheckSubject};
use crate::error::{Error, Hint, Kind, Result};
use crate::sidecar::{Level, Status};
use crate::signature::SignatureStatus;
use crate::store::{Store, names};
use std::sync::Arc;

mod fulls;
#[cfg(test)]
mod tests;

use fulls::FullsInTurn;

/// Which backups are verified, and how far.
#[derive(Debug)]
pub struct VerifyRequest {
    /// Names of backups, sources and groups, or paths; the newest of every source where there is
    /// none.
    pub backups: Vec<String>,
    /// Every backup of the sources, not only the newest.
    pub all: bool,
    /// How far the verification goes.
    pub level: Level,
}

/// The verification of one backup, or the reason why there was nothing to verify.
#[derive(Debug)]
pub struct BackupVerification {
    /// The backup's id, or the name that was asked for.
    pub id: String,
    /// The source whose other backups may help.
    pub source: Option<String>,
    /// Whether the configuration knows that source.
    pub is_configured: bool,
    /// The result.
    pub result: VerificationResult,
    /// What was to be verified and could not be found.
    pub absence: Option<Absence>,
}

/// Why there was nothing to verify.
#[derive(Debug)]
pub enum Absence {
    /// The source has no backup.
    NoBackup,
    /// The name leads to nothing.
    NotFound(Error),
}

impl BackupVerification {
    /// The failure that this result is for the whole run; `None` where all is well. What can't be
    /// tried here is not proven, and a script that asks for a proof must learn that.
    pub fn failure(&self) -> Option<Error> {
        if let Some(Absence::NotFound(error)) = &self.absence {
            return Some(Error::new(error.kind(), format!("{}: {error}", self.id)));
        }
        let kind = match self.result.status() {
            CheckStatus::Ok => return None,
            CheckStatus::Unprovable | CheckStatus::Incomplete | CheckStatus::Error => Kind::Failed,
            CheckStatus::Damaged => Kind::Damaged,
        };
        let summary = self.result.summary().unwrap_or_default();
        Some(Error::new(kind, format!("{}: {summary}", self.id)))
    }
}

/// Verifies backups one by one; the observer hears of each result at once.
pub fn verify_backups(
    request: &VerifyRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<BackupVerification>> {
    let mut results = Vec::new();
    let tasks = tasks(request, session)?;
    let mut fulls = FullsInTurn::of_tasks(&tasks, request.level);
    for task in tasks {
        let verification = verify_task(task, request.level, &mut fulls, session, observer)?;
        observer.observe(Event::BackupVerified(&verification));
        results.push(verification);
    }
    Ok(results)
}

fn verify_task(
    task: VerifyTask,
    level: Level,
    fulls: &mut FullsInTurn,
    session: &Session,
    observer: &dyn Observer,
) -> Result<BackupVerification> {
    let (id, source, result, absence) = match task {
        VerifyTask::Dump(found) if !found.signature().is_accepted() => {
            let source = Some(found.source.clone());
            let result = distrusted(level, &found.signature());
            (found.name(), source, result, None)
        }
        VerifyTask::Dump(mut found) => {
            let settings = session.backup_settings();
            let options = ExaminationOptions {
                scratch_dir: &settings.scratch_dir,
                threads: settings.thread_count(),
                drill_settings: &session.drill_settings_of(&found.source),
                observer,
            };
            fulls.prepare(&mut found, &options)?;
            let mut result = examine_patiently(&found, level, &options)?;
            add_known_damage(&found, &mut result);
            keep_result(&found, &result, observer);
            let source = found.backup.as_ref().map(|_| found.source.clone());
            (found.name(), source, result, None)
        }
        VerifyTask::Unusable { id, why, status } => {
            let source = names::split_id(&id).map(|(source, _, _)| source.to_owned());
            let result = unmade(
                level,
                CheckSubject::Sidecar,
                status,
                CheckFinding::Message(why),
            );
            (id, source, result, None)
        }
        VerifyTask::NoBackup(source) => {
            let result = unmade(
                level,
                CheckSubject::Sidecar,
                CheckStatus::Error,
                CheckFinding::NoBackup,
            );
            (source, None, result, Some(Absence::NoBackup))
        }
        VerifyTask::NotFound { wanted, error } => {
            let result = unmade(
                level,
                CheckSubject::Search,
                CheckStatus::Error,
                CheckFinding::Message(error.message()),
            );
            (wanted, None, result, Some(Absence::NotFound(error)))
        }
    };
    Ok(BackupVerification {
        is_configured: (source.as_deref()).is_some_and(|source| session.entry_of(source).is_some()),
        id,
        source,
        result,
        absence,
    })
}

/// The result for what no trusted key signed: that it is sound would prove nothing.
fn distrusted(level: Level, signature: &SignatureStatus) -> VerificationResult {
    let status = match signature {
        SignatureStatus::Wrong(_) => CheckStatus::Damaged,
        _ => CheckStatus::Unprovable,
    };
    let why = signature.objection().unwrap_or_default();
    unmade(
        level,
        CheckSubject::Signature,
        status,
        CheckFinding::Message(why),
    )
}

/// The result where no dump could be examined.
fn unmade(
    level: Level,
    subject: CheckSubject,
    status: CheckStatus,
    finding: CheckFinding,
) -> VerificationResult {
    VerificationResult {
        level,
        checks: vec![Check::new(subject, status, finding)],
        seconds: 0.0,
    }
}

/// One thing that is asked to be verified.
enum VerifyTask {
    /// A dump that is there, or at least listed.
    Dump(Box<ResolvedBackup>),
    /// A sidecar that can't be read, or a backup whose dump can't be found by it.
    Unusable {
        id: String,
        why: String,
        status: CheckStatus,
    },
    /// A source that has no backup.
    NoBackup(String),
    /// One of several names that can't be verified; the others are.
    NotFound { wanted: String, error: Error },
}

fn tasks(request: &VerifyRequest, session: &Session) -> Result<Vec<VerifyTask>> {
    let of_word = |word: &String| {
        session
            .group(word)
            .map_or_else(|| vec![word.clone()], <[String]>::to_vec)
    };
    let what: Vec<String> = request.backups.iter().flat_map(of_word).collect();
    let is_of_group = |name: &String| !request.backups.contains(name);
    if request.all || request.backups.is_empty() {
        let store = session.reading()?;
        let (there, missing) = of_groups(&*store, &what, &is_of_group)?;
        if there.is_empty()
            && let Some(first) = missing.first()
        {
            return Err(nothing_of(first));
        }
        let catalog = catalog_of(&*store, &there)?;
        let mut items = if request.all {
            every_one(&catalog, &store, session)?
        } else {
            newest_ones(&catalog, &store, session)?
        };
        items.extend(breaks(&catalog, session)?);
        if request.backups.is_empty() {
            items.extend(never_backed_up(&catalog, session)?);
        }
        items.extend(missing.into_iter().map(VerifyTask::NoBackup));
        let is_absent = |task: &VerifyTask| matches!(task, VerifyTask::NoBackup(_));
        if let Some(VerifyTask::NoBackup(source)) = items.first()
            && items.iter().all(is_absent)
        {
            return Err(nothing_of(source));
        }
        if items.is_empty() {
            return Err(Error::not_found(format!(
                "the store `{}` holds no backups to verify",
                store.name()
            ))
            .with_hint(
                Hint::new()
                    .command(["list", "--status", "all"])
                    .text(" shows what there is"),
            ));
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
            items = newest_ones(&catalog, &store, session)?;
            items.extend(breaks(&catalog, session)?);
        }
        // What a group has that was never backed up is not proven.
        let (missing, rest): (Vec<String>, Vec<String>) = rest.into_iter().partition(is_of_group);
        if let Some(first) = missing
            .first()
            .filter(|_| sources.is_empty() && rest.is_empty())
        {
            return Err(nothing_of(first));
        }
        items.extend(missing.into_iter().map(VerifyTask::NoBackup));
        others = rest;
    }
    for wanted in &others {
        items.push(match find::find_backup(wanted, session) {
            Ok(found) => VerifyTask::Dump(Box::new(found)),
            Err(error) if others.len() > 1 || !items.is_empty() => VerifyTask::NotFound {
                wanted: wanted.clone(),
                error,
            },
            Err(error) => return Err(error),
        });
    }
    Ok(items)
}

/// Parts the names of which the store holds something, or that were not meant by a group, from
/// those of groups of which it holds nothing.
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

fn every_one(
    catalog: &Catalog,
    store: &Arc<dyn Store>,
    session: &Session,
) -> Result<Vec<VerifyTask>> {
    let with_dump = catalog
        .backups()
        .filter(|backup| backup.sidecar.status != Status::Failed);
    let mut items: Vec<VerifyTask> = with_dump
        .map(|backup| dump(backup, store, session))
        .collect::<Result<_>>()?;
    items.extend(catalog.unreadable.iter().map(unusable));
    Ok(items)
}

fn unusable(entry: &UnreadableSidecar) -> VerifyTask {
    // A newer format is no damage; JSON that can't be read is.
    let status = if entry.may_be_good {
        CheckStatus::Unprovable
    } else {
        CheckStatus::Damaged
    };
    VerifyTask::Unusable {
        id: entry.id.clone(),
        why: entry.reason.clone(),
        status,
    }
}

/// Lists the newest backup of each source that is not a failed attempt: a damaged newest one must
/// be found, not passed over.
fn newest_ones(
    catalog: &Catalog,
    store: &Arc<dyn Store>,
    session: &Session,
) -> Result<Vec<VerifyTask>> {
    let mut items = Vec::new();
    for source in catalog.sources() {
        let unreadable = catalog
            .unreadable
            .iter()
            .filter(|entry| entry.source == source);
        items.extend(unreadable.map(unusable));
        let usable = |backup: &&ListedBackup| {
            backup.sidecar.status != Status::Failed
                && backup.sidecar.label != crate::retention::PRE_RESTORE
        };
        // What no trusted key signed is told, and hides nothing.
        let strange = catalog
            .of(&source)
            .filter(usable)
            .take_while(|backup| !backup.signature.is_accepted());
        for backup in strange {
            items.push(dump(backup, store, session)?);
        }
        let trusted = |backup: &&ListedBackup| usable(backup) && backup.signature.is_accepted();
        match catalog.of(&source).find(trusted) {
            Some(backup) => items.push(dump(backup, store, session)?),
            // A run that could not reach a server at all leaves a failed attempt of the whole; what
            // there is to prove are its databases.
            None if catalog.has_members(&source) => {}
            None => items.push(VerifyTask::NoBackup(source)),
        }
    }
    Ok(items)
}

/// The backups that later ones name and that are not there, or not the same.
fn breaks(catalog: &Catalog, session: &Session) -> Result<Vec<VerifyTask>> {
    if !has_whole_chains(&session.store_plan()?, session) {
        return Ok(Vec::new());
    }
    let sources = catalog.sources();
    let faults = sources
        .iter()
        .flat_map(|source| catalog.chain_faults(source));
    let tasks = faults.map(|fault| VerifyTask::Unusable {
        why: fault.reason(),
        id: fault.id,
        status: CheckStatus::Damaged,
    });
    Ok(tasks.collect())
}

/// The error of a source that has no backup.
pub fn nothing_of(source: &str) -> Error {
    Error::not_found(format!("{source}: it has no backup")).with_hint(
        Hint::new()
            .command(["backup", source])
            .text(" makes one; ")
            .command(["list", "--status", "all"])
            .text(" shows failed attempts"),
    )
}

/// Lists the configuration's enabled sources of which its own store holds nothing: a proof of
/// everything must not pass them over.
fn never_backed_up(catalog: &Catalog, session: &Session) -> Result<Vec<VerifyTask>> {
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
        .map(|(name, _)| VerifyTask::NoBackup(name.clone()))
        .collect())
}

fn dump(backup: &ListedBackup, store: &Arc<dyn Store>, session: &Session) -> Result<VerifyTask> {
    let found = ResolvedBackup::in_store(store, backup, session);
    Ok(match found {
        Ok(found) => VerifyTask::Dump(Box::new(found)),
        Err(error) => VerifyTask::Unusable {
            id: backup.id().to_owned(),
            why: error.message(),
            status: CheckStatus::Unprovable,
        },
    })
}

/// Examines a backup. One of another machine is not called damaged because something was received
/// otherwise than it is stored: it is read twice before that.
fn examine_patiently(
    found: &ResolvedBackup,
    level: Level,
    options: &ExaminationOptions<'_>,
) -> Result<VerificationResult> {
    let first = examine::verify(&found.stored(), level, options)?;
    let is_far = found.objects.path(&found.file).is_none();
    let Some(wrong) = first.summary().filter(|_| is_far) else {
        return Ok(first);
    };
    if first.status() != CheckStatus::Damaged {
        return Ok(first);
    }
    let again = examine::verify(&found.stored(), level, options)?;
    if again.status() != CheckStatus::Damaged {
        let id = found.name();
        let text = format!("{id} was received otherwise than it is stored: {wrong}");
        options.observer.warn(format!("{text}; it was read again"));
    }
    Ok(again)
}

/// Adds what is known of the way where it was not read: what is built on a damaged file is not
/// proven by its own.
fn add_known_damage(found: &ResolvedBackup, result: &mut VerificationResult) {
    let way = found.backup.as_ref().map(|backup| &backup.way);
    let is_read = result.level != Level::Checksum && found.stored().missing_key().is_none();
    let Some(WayState::Damaged(id)) = way.filter(|_| !is_read) else {
        return;
    };
    let of_way = |check: &Check| check.subject == CheckSubject::Way;
    result
        .checks
        .retain(|check| !of_way(check) || check.status != CheckStatus::Ok);
    if !result.checks.iter().any(of_way) {
        let known = CheckFinding::BaseKnownDamaged { id: id.to_string() };
        result.checks.push(Check::damaged(CheckSubject::Way, known));
    }
}
