//! Copies of backups in other stores: the stored files as they are, the sidecar last. The backup
//! that is copied is never harmed by it, nor is another copy.

mod after_run;
mod copier;
mod flatten;
mod selection;
mod sending;
mod target;

pub use after_run::{copies_that_failed, copy_after_run};
pub use target::{count_known_copies, lost_store_error, missing_copies};

use self::copier::{Copier, CopyBudget};
use self::flatten::Flattener;
use self::selection::{candidates, refuse_empty, refuse_unread, sort_words};
use self::target::{deadline_of, open_target, refuse_itself};
use super::{Observer, Session, catalog_of, time_of};
use crate::catalog::{Catalog, ListedBackup};
use crate::error::{Error, Result};

/// Which backups are copied, and where to.
#[derive(Debug)]
pub struct CopyRequest {
    /// Sources, groups and backups; all sources where there is none.
    pub what: Vec<String>,
    /// The store that gets them: a name of the configuration, an address, or a directory.
    pub to: String,
    /// The store that has them; the one that is in use where it is `None`.
    pub from: Option<String>,
    /// Of a source every backup that is not there, and not the newest alone.
    pub missing: bool,
    /// Whether plain backups may go into a store that has none but encrypted ones.
    pub plain: bool,
    /// Whether deltas become fulls there, so that none needs another one.
    pub full: bool,
}

/// What came of copying.
#[derive(Debug, Default)]
pub struct CopySummary {
    /// The ids of the backups that were copied, in the order in which they were.
    pub copied: Vec<String>,
    /// The ids of those that were there already.
    pub present: Vec<String>,
    /// The ids of those that are left for another run, as the limit was reached.
    pub waiting: Vec<String>,
    /// What failed, by the backup's id; the observer has heard of it.
    pub failed: Vec<(String, Error)>,
    /// The bytes that were sent.
    pub size_bytes: u64,
}

impl CopySummary {
    fn add(&mut self, other: CopySummary) {
        self.copied.extend(other.copied);
        self.present.extend(other.present);
        self.waiting.extend(other.waiting);
        self.failed.extend(other.failed);
        self.size_bytes += other.size_bytes;
    }
}

/// Copies backups from one store to another.
pub fn copy_backups(
    request: &CopyRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<CopySummary> {
    let from = match &request.from {
        Some(word) => session.with_store(word).reading()?,
        None => session.reading()?,
    };
    let target = session.with_store(&request.to).store_plan()?;
    refuse_itself(target.location(), &*from)?;
    let (sources, single) = sort_words(&request.what, &*from, session, observer)?;
    session.keep_host_key()?;
    let encryption = session.encryption_at(target.location())?;
    let name = (target.name.clone()).unwrap_or_else(|| target.location().to_string());
    let to = open_target(&target.settings, &name, &*from)?;
    let copier = Copier {
        encryption: encryption.as_ref(),
        plain: request.plain,
        flattener: request.full.then_some(Flattener {
            from: &from,
            session,
        }),
        from: &*from,
        to: &*to,
        name: &name,
        lock_wait: session.lock_wait,
        deadline: deadline_of(&target.settings),
        is_after_run: false,
        observer,
    };
    let mut summary = CopySummary::default();
    // No word at all means every source.
    let catalog = match request.what.is_empty() || !sources.is_empty() {
        true => catalog_of(&*from, &sources)?,
        false => Catalog::default(),
    };
    let sources = match sources.is_empty() {
        true => catalog.sources(),
        false => catalog.members(&sources),
    };
    refuse_empty(&catalog, &sources, &*from, observer)?;
    for source in sources {
        let mut wanted = candidates(&catalog, &source, None);
        if !request.missing {
            wanted.truncate(1);
        }
        let newest = wanted.first().map(|backup| backup.id());
        let since = newest.filter(|_| !request.missing).map(time_of);
        summary
            .failed
            .extend(refuse_unread(&catalog, &source, since, observer));
        let mut budget = CopyBudget::new(None);
        summary.add(copier.copy_source(&source, &catalog, &wanted, &mut budget)?);
    }
    for (source, id) in single {
        let catalog = Catalog::read(&*from, Some(std::slice::from_ref(&source)))?;
        let wanted: Vec<&ListedBackup> = catalog
            .of(&source)
            .filter(|backup| backup.id() == id)
            .collect();
        let mut budget = CopyBudget::new(None);
        summary.add(copier.copy_source(&source, &catalog, &wanted, &mut budget)?);
    }
    Ok(summary)
}
