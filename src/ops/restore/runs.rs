//! From the name of a group or a cluster to the backups of its newest complete run.

use crate::catalog::{Catalog, ListedBackup, Presence};
use crate::engine::DumpFormat;
use crate::error::{Error, Hint, Result};
use crate::ops::find;
use crate::ops::{Observer, Session};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Status;
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// How many runs that are passed over are reported one by one: a source that is also saved every
/// hour by itself has many between two runs of the whole.
const SHOWN: usize = 3;

/// Resolves the names of groups and clusters to the backups of their newest complete runs; roles
/// come before the databases that need them. Other names stay.
pub fn resolve_runs(
    wanted: &[String],
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let mut resolved = Vec::new();
    for word in wanted {
        match sources_of(word, session)? {
            Some((names, catalog)) => {
                resolved.extend(newest_complete(word, &names, &catalog, session, observer)?)
            }
            None => resolved.push(word.clone()),
        }
    }
    Ok(resolved)
}

/// The sources that a word stands for, where it stands for several: the names that it has in the
/// configuration, and what the store holds of them.
fn sources_of(word: &str, session: &Session) -> Result<Option<(Vec<String>, Catalog)>> {
    if word.contains('@') || find::is_path(word, session) {
        return Ok(None);
    }
    let Ok(store) = session.reading() else {
        return Ok(None);
    };
    let group = session
        .config
        .as_ref()
        .and_then(|config| config.group(word));
    let names = group.map_or_else(|| vec![word.to_owned()], <[String]>::to_vec);
    let mut catalog = Catalog::read_with_members(&*store, &names)?;
    let sources = catalog.members(&names);
    catalog.keep_only(&sources);
    Ok((group.is_some() || sources != [word.to_owned()]).then_some((names, catalog)))
}

/// Finds the newest run in which nothing is missing. It warns of newer ones that lack something:
/// whoever restores must know that it is not the newest that comes back.
fn newest_complete(
    word: &str,
    names: &[String],
    catalog: &Catalog,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let of_a_run = |backup: &&ListedBackup| {
        backup.sidecar.label != PRE_RESTORE
            && !backup.sidecar.run.is_empty()
            && backup.signature.is_accepted()
    };
    let mut runs: Vec<(&str, Vec<&ListedBackup>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for backup in catalog.backups().filter(of_a_run) {
        let run = &*backup.sidecar.run;
        let at = *places.entry(run).or_insert(runs.len());
        if at == runs.len() {
            runs.push((run, Vec::new()));
        }
        runs[at].1.push(backup);
    }
    let mut passed_over = Vec::new();
    for (run, backups) in &runs {
        let wrong: Vec<String> = names
            .iter()
            .flat_map(|name| faults_of(name, backups, session))
            .collect();
        if wrong.is_empty() {
            warn_of(&passed_over, observer);
            for gone in names.iter().flat_map(|name| catalog.vanished_members(name)) {
                observer.warn(
                    Hint::new()
                        .text(format!(
                            "`{gone}` is not among them, for it was not on the server any more: "
                        ))
                        .command(["restore", gone.as_ref()])
                        .text(" by itself"),
                );
            }
            return Ok(in_order(backups));
        }
        passed_over.push((*run, wrong.join(", ")));
    }
    let list = ["list"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .chain(["--status", "all"]);
    let hint = Hint::new()
        .command(list)
        .text(" shows them; restore them one by one, by their ids");
    let text = match passed_over.first() {
        None => {
            return Err(Error::not_found(format!("`{word}` has no backups"))
                .with_hint(Hint::new().command(["list"]).text(" shows what there is")));
        }
        Some((run, wrong)) => format!("no run of `{word}` is complete; the newest, {run}: {wrong}"),
    };
    Err(Error::not_found(text).with_hint(hint))
}

fn warn_of(passed_over: &[(&str, String)], observer: &dyn Observer) {
    for (run, wrong) in passed_over.iter().take(SHOWN) {
        observer.warn(format!(
            "run {run} is newer, but not complete, and is passed over: {wrong}"
        ));
    }
    if passed_over.len() > SHOWN {
        let more = units::count((passed_over.len() - SHOWN) as u64, "more run");
        observer.warn(format!("{more} that are newer are not complete"));
    }
}

/// Lists what a run lacks of the source `name`; nothing where it is complete. Of a cluster those
/// databases count that its server had at the time, as each of their backups records. What was
/// dropped or created since is no fault of that run.
fn faults_of(name: &str, run: &[&ListedBackup], session: &Session) -> Vec<String> {
    let of_it: Vec<&&ListedBackup> = run
        .iter()
        .filter(|backup| belongs_to(backup, name))
        .collect();
    let Some(first) = of_it.first() else {
        let was_asked = run
            .last()
            .is_none_or(|backup| is_asked_for(name, backup.sidecar.started_at, session));
        return if was_asked {
            vec![format!("it has no `{name}`")]
        } else {
            Vec::new()
        };
    };
    let mut wrong: Vec<String> = of_it.iter().filter_map(|backup| not_good(backup)).collect();
    let of_cluster = first.sidecar.source != *name;
    let members = of_it
        .iter()
        .map(|backup| &backup.sidecar.run_members)
        .find(|members| !members.is_empty());
    match members {
        Some(members) => {
            let gone = members
                .iter()
                .filter(|member| of_it.iter().all(|backup| backup.sidecar.source != **member));
            wrong.extend(gone.map(|member| format!("it has no `{member}`")));
        }
        None if of_cluster && wrong.is_empty() => wrong.push(format!(
            "it has only `{}` of `{name}`",
            first.sidecar.source
        )),
        None => {}
    }
    wrong
}

/// Whether a backup is one of the source itself, or of a database of this cluster.
fn belongs_to(backup: &ListedBackup, name: &str) -> bool {
    let cluster = || {
        backup
            .sidecar
            .database
            .as_ref()
            .and_then(|database| database.cluster.as_deref())
    };
    backup.sidecar.source == *name || cluster() == Some(name)
}

/// Whether a run of the group at that time was to save this source.
fn is_asked_for(name: &str, at: DateTime<Utc>, session: &Session) -> bool {
    let Some(entry) = session.entry_of(name) else {
        return true;
    };
    let common = &entry.common;
    common.enabled
        && common.start.is_none_or(|start| at >= start)
        && common.end.is_none_or(|end| at < end)
}

fn not_good(backup: &ListedBackup) -> Option<String> {
    let source = &backup.sidecar.source;
    match backup.sidecar.status {
        Status::Failed => Some(format!("`{source}` failed")),
        Status::Partial => Some(format!("`{source}` is incomplete")),
        Status::Ok if backup.good() => None,
        Status::Ok if backup.presence == Presence::Missing => {
            Some(format!("the dump of `{source}` is gone"))
        }
        Status::Ok if matches!(backup.presence, Presence::Unknown(_)) => {
            Some(format!("the dump of `{source}` can't be looked at"))
        }
        Status::Ok => Some(format!("`{source}` is damaged")),
    }
}

fn in_order(backups: &[&ListedBackup]) -> Vec<String> {
    let is_globals = |backup: &&&ListedBackup| {
        backup
            .sidecar
            .dump
            .as_ref()
            .is_some_and(|dump| dump.format == DumpFormat::GLOBALS.as_str())
    };
    let (globals, databases): (Vec<&&ListedBackup>, Vec<&&ListedBackup>) =
        backups.iter().partition(is_globals);
    globals
        .into_iter()
        .chain(databases.into_iter().rev())
        .map(|backup| backup.id().to_owned())
        .collect()
}
