//! Is every source fresh and proven? A store's catalog and the configuration become what `health`
//! judges; no server is asked, and nothing is changed.

mod copies;
mod gauges;
#[cfg(test)]
mod tests;
mod textfile;
mod watched;

pub use copies::CopyStoreHealth;
pub use textfile::{MetricsFile, write_textfile};
pub use watched::{attempts_of, is_set_aside};

use self::copies::{CopyStoreReading, ask_copy_stores, copies_of, copy_stores, with_short_retries};
use super::Session;
use crate::catalog::Catalog;
use crate::error::{Kind, Result};
use crate::health::{self, Expectation, HealthFinding, HealthLevel, SourceHealth, Subject};
use crate::plan::StorePlan;
use crate::store::{self, Access, Store};
use crate::units::{self, Span};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// What is to be judged.
#[derive(Debug, Clone, Default)]
pub struct StatusRequest {
    /// Sources or groups; none: those of the configuration, or all of a store without one.
    pub sources: Vec<String>,
    /// How old the newest good backup may be, whatever the configuration says.
    pub expect_every: Option<Span>,
}

/// A store that was read to be judged.
pub struct StoreReading {
    plan: StorePlan,
    store: Arc<dyn Store>,
    catalog: Catalog,
    /// The stores that are to have copies, once they were asked.
    copy_stores: Option<Vec<CopyStoreReading>>,
}

/// How a store and its sources stand.
pub struct StoreHealth<'a> {
    /// The sources that were judged, the worst first.
    pub sources: Vec<(Subject<'a>, SourceHealth<'a>)>,
    /// Those of the store that nobody said what is expected of.
    pub unconfigured: Vec<String>,
    /// The store.
    pub store: StorePlan,
    /// Free bytes in the store, where it can tell.
    pub free: Option<u64>,
    /// Bytes that the next backups will need.
    pub needed: u64,
    /// What is wrong with the store.
    pub space: Option<HealthFinding>,
    /// The stores that are to have copies.
    pub copy_stores: Vec<CopyStoreHealth>,
    /// The moment that it was judged for.
    pub now: DateTime<Utc>,
    /// This host's name.
    pub here: String,
}

impl StoreReading {
    /// Opens the store and reads its catalog. A store that is not there is what a status is asked
    /// about, and no mistake of whoever asks.
    pub fn open(plan: StorePlan) -> Result<StoreReading> {
        let plan = with_short_retries(plan);
        let store = store::open(&plan.settings, Access::Read)?;
        store::check_mount(&plan.settings).map_err(|error| error.with_kind(Kind::NotFound))?;
        let catalog = Catalog::read(&*store, None)?;
        Ok(StoreReading {
            plan,
            store,
            catalog,
            copy_stores: None,
        })
    }

    /// What the store holds.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Asks the stores that are to have copies, too. Without it is judged by what is noted here.
    pub fn ask_copy_stores(&mut self, session: &Session) -> Result<()> {
        let stores = copy_stores(&self.plan, session);
        self.copy_stores = Some(ask_copy_stores(stores, &self.catalog, session)?);
        Ok(())
    }

    /// Judges the store at the session's moment.
    pub fn judge(&self, request: &StatusRequest, session: &Session) -> Result<StoreHealth<'_>> {
        let now = session.now;
        let watched = watched::watched_sources(
            (&self.catalog, &*self.store),
            session,
            &self.plan,
            &request.sources,
            request.expect_every,
        )
        // A source that nobody knows is a mistake of the asker; that a store is missing is none.
        .map_err(|error| error.with_kind(Kind::Usage))?;
        let unasked = || copy_stores(&self.plan, session);
        let asked = self.copy_stores.as_deref();
        let unasked = asked.is_none().then(unasked).unwrap_or_default();
        let copy_stores = asked.unwrap_or(&unasked);
        let mut sources: Vec<(Subject<'_>, SourceHealth<'_>)> = watched
            .subjects
            .into_iter()
            .map(|mut subject| {
                subject.copies = copies_of(&subject.name, &self.catalog, copy_stores, session);
                let health = health::judge(&subject, now);
                (subject, health)
            })
            .collect();
        sources.sort_by(|a, b| {
            b.1.level
                .cmp(&a.1.level)
                .then_with(|| a.0.name.cmp(&b.0.name))
        });
        let expected = sources
            .iter()
            .filter(|(subject, _)| !matches!(subject.expected, Expectation::No(_)));
        let needed = units::total(
            expected
                .filter_map(|(_, health)| health.newest.as_ref())
                .map(|newest| newest.stored),
        );
        let free = self.store.free_space()?;
        Ok(StoreHealth {
            sources,
            unconfigured: watched.unconfigured,
            store: self.plan.clone(),
            free,
            needed,
            space: health::space(free, needed),
            copy_stores: copy_stores.iter().map(CopyStoreReading::judge).collect(),
            now,
            here: session.host.clone(),
        })
    }
}

impl StoreHealth<'_> {
    /// The worst of all that was judged; a store without sources is critical.
    pub fn level(&self) -> HealthLevel {
        let none = if self.sources.is_empty() {
            HealthLevel::Critical
        } else {
            HealthLevel::Ok
        };
        let worst = self
            .sources
            .iter()
            .map(|(_, health)| health.level)
            .max()
            .unwrap_or(none);
        let of_stores = self.copy_stores.iter().flat_map(|store| &store.findings);
        let of_stores = of_stores.chain(&self.space).map(|finding| finding.level);
        of_stores.fold(worst, HealthLevel::max)
    }

    /// The sources of which backups are expected.
    pub fn due(&self) -> impl Iterator<Item = &(Subject<'_>, SourceHealth<'_>)> {
        self.sources.iter().filter(|(subject, _)| {
            !matches!(
                subject.expected,
                Expectation::No(_) | Expectation::InMembers
            )
        })
    }
}
