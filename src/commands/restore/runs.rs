//! From the name of a group or a cluster to the backups of its newest complete run.

use crate::catalog::{Catalog, Entry};
use crate::commands::{Session, find};
use crate::error::{Error, Result};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Status;
use std::collections::BTreeSet;

/// The words with groups and clusters resolved: roles come before the databases that need them.
pub fn resolve(wanted: &[String], session: &Session) -> Result<Vec<String>> {
    let mut resolved = Vec::new();
    for word in wanted {
        match sources_of(word, session)? {
            Some((sources, catalog)) => resolved.extend(newest_complete(word, &sources, &catalog, session)?),
            None => resolved.push(word.clone()),
        }
    }
    Ok(resolved)
}

/// The sources that a word stands for, where it stands for several, and what the store holds of them.
fn sources_of(word: &str, session: &Session) -> Result<Option<(Vec<String>, Catalog)>> {
    if word.contains('@') || find::is_path(word, session) {
        return Ok(None);
    }
    let Ok(store) = session.reading() else { return Ok(None) };
    let group = session.config.as_ref().and_then(|config| config.group(word));
    let names = group.map_or_else(|| vec![word.to_owned()], <[String]>::to_vec);
    let mut catalog = Catalog::read_with_members(&store, &names)?;
    let sources = catalog.members(&names);
    catalog.keep_only(&sources);
    Ok((group.is_some() || sources != [word.to_owned()]).then_some((sources, catalog)))
}

fn newest_complete(word: &str, sources: &[String], catalog: &Catalog, session: &Session) -> Result<Vec<String>> {
    let of_a_run = |backup: &&Entry| backup.sidecar.label != PRE_RESTORE && !backup.sidecar.run.is_empty();
    let mut seen = BTreeSet::new();
    for newest in catalog.backups.iter().filter(of_a_run) {
        let run = &newest.sidecar.run;
        if !seen.insert(run) {
            continue;
        }
        let all: Vec<&Entry> = catalog.backups.iter().filter(|backup| backup.sidecar.run == *run).collect();
        // A source that failed, or is damaged now, makes the run no picture of the whole.
        if all.iter().all(|backup| backup.sidecar.status != Status::Failed && backup.good())
            && covers(&all, word, sources, session)
        {
            return Ok(in_order(&all));
        }
    }
    Err(Error::not_found(format!("no run of `{word}` is complete: in each a source failed or was damaged since"))
        .hint(format!("`dbbackup list {word} --status all` shows them; restore them one by one, by their ids")))
}

/// A group's run has every one of its sources; a cluster's has those that the server had then, which each of them says.
fn covers(backups: &[&Entry], word: &str, sources: &[String], session: &Session) -> bool {
    let has = |source: &str| backups.iter().any(|backup| backup.sidecar.source == *source);
    if session.config.as_ref().is_some_and(|config| config.group(word).is_some()) {
        return sources.iter().all(|source| has(source));
    }
    let members = backups.first().map_or(&[][..], |backup| &backup.sidecar.run_members);
    !members.is_empty() && members.iter().all(|member| has(member))
}

fn in_order(backups: &[&Entry]) -> Vec<String> {
    let is_globals = |backup: &&&Entry| backup.sidecar.dump.as_ref().is_some_and(|dump| dump.format == "pg_dumpall-globals");
    let (globals, databases): (Vec<&&Entry>, Vec<&&Entry>) = backups.iter().partition(is_globals);
    globals.into_iter().chain(databases.into_iter().rev()).map(|backup| backup.id().to_owned()).collect()
}
