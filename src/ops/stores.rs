//! Several stores, asked all at once: one that is slow or away keeps no other from its answer.

use super::{Observer, Session};
use crate::catalog::{Catalog, ListedBackup, is_named_of};
use crate::error::{Error, Hint, Result};
use crate::interrupt;
use crate::plan::{self, StorePlan};
use crate::store::{self, Access, Store};
use crate::units;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often a signal is looked for while stores are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks each store the same, by a thread of its own. Gives the answers in the order of the stores;
/// after the time that all may take, one that has not answered has an error.
pub fn ask_stores<T: Send + 'static>(
    plans: &[StorePlan],
    time: Option<Duration>,
    question: impl Fn(&StorePlan) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<Result<T>>> {
    let deadline = time.map(|time| Instant::now() + time);
    let question = Arc::new(question);
    let (sender, receiver) = channel();
    for (at, plan) in plans.iter().cloned().enumerate() {
        let (question, sender) = (Arc::clone(&question), sender.clone());
        // It is not waited for: a store that hangs must not keep the program from its end.
        std::thread::spawn(move || {
            // Nobody listens any more once the time is over.
            let _ = sender.send((at, question(&plan)));
        });
    }
    drop(sender);
    let mut answers: Vec<Option<Result<T>>> = plans.iter().map(|_| None).collect();
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        interrupt::check()?;
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok((at, answer)) => answers[at] = Some(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let silence = || {
        Err(Error::failed(match time {
            Some(time) => format!("no answer within {}", units::elapsed(time.as_secs_f64())),
            None => "no answer".to_owned(),
        }))
    };
    let answers = answers.into_iter();
    Ok(answers.map(|one| one.unwrap_or_else(silence)).collect())
}

/// A store of the configuration, and what it holds of some sources, or why it can't be read.
pub struct ReadStore {
    /// The store.
    pub plan: StorePlan,
    /// It, opened, with what it holds.
    pub content: Result<(Arc<dyn Store>, Catalog)>,
}

impl ReadStore {
    /// What it holds, where it could be read.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.content.as_ref().ok().map(|(_, catalog)| catalog)
    }
}

/// Reads what every store of the configuration, and the one in use, holds of these sources and
/// groups, or of all. A name that no store knows is an error, where all could be read.
pub fn read_every_store(
    words: &[String],
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<ReadStore>> {
    let in_use = session.store_plan();
    let plans = match (in_use, &session.config) {
        (Err(error), None) => return Err(error),
        (in_use, config) => plan::every_store(config.as_ref(), in_use.ok(), &session.cwd),
    };
    let names: Vec<String> = words
        .iter()
        .flat_map(|word| match session.group(word) {
            Some(members) => members.to_vec(),
            None => vec![word.clone()],
        })
        .collect();
    let wanted = names.clone();
    let answers = ask_stores(&plans, None, move |plan| {
        let store = store::open(&plan.settings, Access::Read)?;
        if wanted.is_empty() {
            let catalog = Catalog::read(&*store, None)?;
            return Ok((store, catalog));
        }
        let mut catalog = Catalog::read_with_members(&*store, &wanted)?;
        let members = catalog.members(&wanted);
        catalog.keep_only(&members);
        Ok((store, catalog))
    })?;
    let plans = plans.into_iter();
    let read: Vec<ReadStore> = plans
        .zip(answers)
        .map(|(plan, content)| ReadStore { plan, content })
        .collect();
    check_names(&names, words, &read, observer)?;
    Ok(read)
}

/// An error for a name that no store knows; one of a group is only told of.
fn check_names(
    names: &[String],
    words: &[String],
    read: &[ReadStore],
    observer: &dyn Observer,
) -> Result<()> {
    let is_known = |name: &String| {
        let sources = read.iter().filter_map(ReadStore::catalog);
        sources
            .flat_map(Catalog::sources)
            .any(|source| source == *name || is_named_of(&source, name))
    };
    // One that can't be read may know it.
    if read.iter().any(|store| store.content.is_err()) {
        return Ok(());
    }
    for name in names.iter().filter(|name| !is_known(name)) {
        if !words.contains(name) {
            observer.warn(format!("{name}: no store holds anything of it"));
            continue;
        }
        let error = Error::not_found(format!("no store has a source `{name}`"));
        return Err(error.with_hint(
            Hint::new()
                .command(["list", "--all-stores"])
                .text(" shows what there is"),
        ));
    }
    Ok(())
}

/// One backup, with the stores that hold it.
pub struct LocatedBackup<'a> {
    /// The stores, by their places among those that were read, each with what it says of it.
    pub found: Vec<(usize, &'a ListedBackup)>,
    /// The stores that hold another backup of the same id.
    pub others: Vec<usize>,
}

impl<'a> LocatedBackup<'a> {
    /// What the store says of it that has it best.
    pub fn best(&self) -> (usize, &'a ListedBackup) {
        let good = self.found.iter().find(|(_, backup)| backup.good());
        let whole = || self.found.iter().find(|(_, backup)| backup.is_whole());
        // There is one at least: it was found somewhere.
        *good.or_else(whole).unwrap_or(&self.found[0])
    }

    /// Whether a store has it.
    pub fn is_in(&self, store: usize) -> bool {
        self.found.iter().any(|(at, _)| *at == store)
    }
}

/// Finds out where each backup is, the newest first. Backups of one id that do not say the same are
/// different ones, but for a plain one and its encrypted copy.
pub fn locate_backups(stores: &[ReadStore]) -> Vec<LocatedBackup<'_>> {
    let mut located: Vec<LocatedBackup<'_>> = Vec::new();
    let mut by_id: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, store) in stores.iter().enumerate() {
        for backup in store.catalog().into_iter().flat_map(Catalog::backups) {
            let known = by_id.entry(backup.id()).or_default();
            let same = known
                .iter()
                .find(|same| located[**same].found[0].1.sidecar.is_of(&backup.sidecar));
            match same {
                Some(same) => located[*same].found.push((at, backup)),
                None => {
                    known.push(located.len());
                    located.push(LocatedBackup {
                        found: vec![(at, backup)],
                        others: Vec::new(),
                    });
                }
            }
        }
    }
    for same in by_id.values().filter(|same| same.len() > 1) {
        for one in same {
            let others = same.iter().filter(|other| *other != one);
            let stores = others.flat_map(|other| located[*other].found.iter().map(|(at, _)| *at));
            located[*one].others = stores.collect();
        }
    }
    located.sort_by(|a, b| b.found[0].1.by_age(a.found[0].1));
    located
}

#[cfg(test)]
mod tests;
