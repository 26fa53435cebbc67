//! The stores that are to have copies: which there are, what they list, and what that makes of the
//! copies of a source. Of their sidecars only the newest that was copied is read, to see whether it
//! is still the one that was written: `status` must answer soon.

use super::HealthFinding;
use crate::catalog::{Catalog, ListedBackup};
use crate::cores::on_threads;
use crate::error::Result;
use crate::health::{self, CopiedBackup, CopySubject};
use crate::ops::content::measure_bytes;
use crate::ops::stores::ask_stores;
use crate::ops::{Session, time_of};
use crate::plan::{self, StorePlan};
use crate::retention::PRE_RESTORE;
use crate::store::{self, Access, names};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// How long a request to a store of copies is tried again.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// How long all of them together may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a store of copies has of its sources, by their names.
type ListedCopies = BTreeMap<String, ListedSource>;

/// What a store of copies has of a source.
#[derive(Default)]
struct ListedSource {
    /// The ids that it lists.
    ids: HashSet<String>,
    /// The newest backup that was copied, where its sidecar there is another one now.
    replaced: Option<String>,
}

/// What a store of copies is asked about a source.
#[derive(Clone)]
struct CopyQuestion {
    source: String,
    /// The newest backup that was copied there, and the hash of the sidecar that was written.
    newest: Option<(String, String)>,
}

impl CopyQuestion {
    fn new(source: &str, store: &str, catalog: &Catalog) -> CopyQuestion {
        let newest = catalog.of(source).find_map(|backup| {
            let last = backup.state.copies.get(store)?;
            let sha256 = last.sidecar_sha256.clone()?;
            last.failure
                .is_none()
                .then(|| (backup.id().to_owned(), sha256))
        });
        CopyQuestion {
            source: source.to_owned(),
            newest,
        }
    }
}

/// A store that is to have copies.
pub struct CopyStoreReading {
    pub plan: StorePlan,
    /// What it lists; `None` where it was not asked.
    listed: Option<Result<ListedCopies>>,
}

/// How a store that is to have copies stands.
pub struct CopyStoreHealth {
    /// The store.
    pub plan: StorePlan,
    /// Whether it answered; `None` where it was not asked.
    pub is_reachable: Option<bool>,
    /// What is wrong with it.
    pub findings: Vec<HealthFinding>,
}

impl CopyStoreReading {
    /// Judges the store itself.
    pub fn judge(&self) -> CopyStoreHealth {
        let error = match &self.listed {
            Some(Err(error)) => Some(error),
            _ => None,
        };
        let finding = error.map(|error| health::unreachable(&error.message(), error.hint()));
        CopyStoreHealth {
            plan: self.plan.clone(),
            is_reachable: self.listed.as_ref().map(Result::is_ok),
            findings: finding.into_iter().collect(),
        }
    }
}

/// A plan in which no request takes longer than `status` may wait for it.
pub fn with_short_retries(mut plan: StorePlan) -> StorePlan {
    let connection = &mut plan.settings.connection;
    connection.retry_for = connection.retry_for.min(RETRY_FOR);
    plan
}

/// The stores that are to have copies of what is in the store in use. Copies are made from the main
/// store: of another one nothing is expected.
pub fn copy_stores(in_use: &StorePlan, session: &Session) -> Vec<CopyStoreReading> {
    let Some(config) = &session.config else {
        return Vec::new();
    };
    if !in_use.configured || in_use.name.is_some() && config.store.is_some() {
        return Vec::new();
    }
    let of_sources = config.sources.iter().map(|(_, source)| &source.backup);
    let wanted: BTreeSet<&String> = of_sources
        .chain([&config.backup])
        .flat_map(|settings| &settings.copies)
        .collect();
    plan::every_store(Some(config), None, &session.cwd)
        .into_iter()
        .filter(|plan| plan.name.as_ref().is_some_and(|name| wanted.contains(name)))
        .filter(|plan| plan.location() != in_use.location())
        .map(|plan| CopyStoreReading { plan, listed: None })
        .collect()
}

/// Asks the stores, all at once, which of these sources' backups they list.
pub fn ask_copy_stores(
    stores: Vec<CopyStoreReading>,
    catalog: &Catalog,
    session: &Session,
) -> Result<Vec<CopyStoreReading>> {
    let mut wanted: BTreeMap<String, Vec<CopyQuestion>> = BTreeMap::new();
    for source in catalog.sources() {
        for store in session.settings_of(&source).copies {
            let question = CopyQuestion::new(&source, &store, catalog);
            wanted.entry(store).or_default().push(question);
        }
    }
    let plans: Vec<StorePlan> = stores
        .into_iter()
        .map(|store| with_short_retries(store.plan))
        .collect();
    let answers = ask_stores(&plans, Some(ANSWER_WITHIN), move |plan| {
        let questions = wanted.get(&plan.title()).map_or(&[][..], Vec::as_slice);
        list_copies(plan, questions)
    })?;
    let listed = plans.into_iter().zip(answers);
    Ok(listed
        .map(|(plan, listed)| CopyStoreReading {
            plan,
            listed: Some(listed),
        })
        .collect())
}

fn list_copies(plan: &StorePlan, questions: &[CopyQuestion]) -> Result<ListedCopies> {
    store::check_mount(&plan.settings)?;
    let store = store::open(&plan.settings, Access::Read)?;
    let threads = store.properties().parallel_reads.unwrap_or(1);
    let list = |at: usize, (): &mut ()| -> Result<(String, ListedSource)> {
        let CopyQuestion { source, newest } = &questions[at];
        let listing = store.list(source)?;
        let ids = listing
            .objects
            .iter()
            .filter_map(|name| names::sidecar_id(name));
        let ids: HashSet<String> = ids.map(str::to_owned).collect();
        let mut replaced = None;
        if let Some((id, sha256)) = newest.as_ref().filter(|(id, _)| ids.contains(id)) {
            let found = measure_bytes(&store.read(source, &names::sidecar_name(id))?)?;
            replaced = (found.sha256 != *sha256).then(|| id.clone());
        }
        Ok((source.clone(), ListedSource { ids, replaced }))
    };
    let lists = on_threads(threads, questions.len(), 1, list);
    lists.into_iter().flatten().collect()
}

/// The copies that a source is to have, one for each store.
pub fn copies_of<'a>(
    source: &str,
    catalog: &'a Catalog,
    stores: &[CopyStoreReading],
    session: &Session,
) -> Vec<CopySubject<'a>> {
    let wanted = session.settings_of(source).copies;
    stores
        .iter()
        .filter(|store| wanted.contains(&store.plan.title()))
        .map(|store| copies_in(store, source, catalog))
        .collect()
}

/// Whether a backup that another store lists must be here, too, and is not: backups here are
/// signed, it is newer than all of them, and nothing says that it was removed on purpose.
fn is_unknown(id: &str, source: &str, catalog: &Catalog) -> bool {
    let mut chain = catalog.of(source).filter(|backup| backup.is_in_chain());
    let is_signed = |backup: &ListedBackup| backup.sidecar.previous.is_some();
    let was_removed = catalog
        .of(source)
        .any(|other| other.state.removed.contains(id));
    let newest = chain.next();
    newest.is_some_and(|newest| {
        time_of(id) > newest.sidecar.started_at && (is_signed(newest) || chain.any(is_signed))
    }) && !was_removed
}

fn copies_in<'a>(store: &CopyStoreReading, source: &str, catalog: &'a Catalog) -> CopySubject<'a> {
    let name = store.plan.title();
    let listed = match &store.listed {
        Some(Ok(listed)) => Some(listed.get(source)),
        _ => None,
    };
    let is_listed = |id: &str| listed.map(|all| all.is_some_and(|all| all.ids.contains(id)));
    let good = catalog
        .of(source)
        .filter(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE);
    let place = store.plan.location().sha256();
    let backups = good.map(|backup| CopiedBackup {
        id: backup.id(),
        ended: backup.sidecar.finished_at,
        is_copied: backup.state.is_copied_to(&name, &place),
        is_listed: is_listed(backup.id()),
    });
    let backups: Vec<CopiedBackup<'a>> = backups.collect();
    // Those that are here are known better than by their ids.
    let elsewhere = listed.flatten().into_iter().flat_map(|all| &all.ids);
    let elsewhere = elsewhere.filter(|id| catalog.of(source).all(|backup| backup.id() != **id));
    let last = catalog
        .of(source)
        .filter_map(|backup| backup.state.copies.get(&name))
        .max_by_key(|last| last.at);
    let newest_elsewhere = elsewhere.max_by_key(|id| time_of(id));
    CopySubject {
        location: store.plan.location().to_string(),
        newest_listed: newest_elsewhere.map(|id| time_of(id)),
        unknown_here: newest_elsewhere
            .filter(|id| is_unknown(id, source, catalog))
            .cloned(),
        replaced: listed.flatten().and_then(|all| all.replaced.clone()),
        failure: last.and_then(|last| Some((last.at, last.failure.as_deref()?))),
        store: name,
        backups,
    }
}
