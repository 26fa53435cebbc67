//! The facts of a page: what `status` judges of the store in use, what other stores have, what
//! retention does next, how long drills took, and what the run came to that has just ended. Nothing
//! here judges a backup, and no text leaves that shows a secret of the configuration.

mod file;
mod places;
mod source;
#[cfg(test)]
mod tests;

pub use file::{PageFile, check_page, write_page};

use self::places::{OtherStore, read_other_stores};
use self::source::source_overview;
use super::run::{RunOutcome, RunSummary, Shortfall, SourceSummary};
use super::secrets::{clean, remember};
use super::status::{StatusRequest, StoreHealth, StoreReading};
use super::{Session, status};
use crate::catalog::Catalog;
use crate::error::{Error, Hint, Kind, Result};
use crate::health::{AttemptWorth, Expectation, HealthFinding, HealthLevel, SourceHealth, Subject};
use crate::overview::{AttentionItem, FailureOverview, Overview, StoreOverview};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};
use std::cmp::Reverse;

/// What an overview is to be of.
#[derive(Debug, Clone, Copy, Default)]
pub struct OverviewRequest<'a> {
    /// Read every store of the configuration, not that in use alone.
    pub all_stores: bool,
    /// Ask the stores that are to have copies which backups they list. Without it is told what is
    /// noted here.
    pub asks_copy_stores: bool,
    /// The run that has just ended.
    pub run: Option<&'a RunSummary>,
}

/// What is said of the run itself, and of no source of it.
const THE_RUN: &str = "(the run)";

/// How old a failure may be that is shown, and how many are.
const FAILURES_OF: TimeDelta = TimeDelta::days(30);
const MOST_FAILURES: usize = 50;

/// Finds out how everything stands. A store in use that can't be read is an error.
pub fn read_overview(request: OverviewRequest<'_>, session: &Session) -> Result<Overview> {
    session.config.iter().for_each(remember);
    let mut reading = StoreReading::open(session.store_plan()?)?;
    if request.asks_copy_stores {
        reading.ask_copy_stores(session)?;
    }
    let status = reading.judge(&StatusRequest::default(), session)?;
    let others = match request.all_stores {
        true => read_other_stores(&status.store, session)?,
        false => Vec::new(),
    };
    let facts = Facts {
        session,
        status: &status,
        catalog: reading.catalog(),
        others: &others,
        run: request.run,
    };
    Ok(facts.overview())
}

/// How everything stands where the store in use can't be read, for this reason: what the run knows,
/// and that nothing else is known.
pub fn overview_without_store(
    error: &Error,
    run: Option<&RunSummary>,
    session: &Session,
) -> Overview {
    session.config.iter().for_each(remember);
    let plan = session.store_plan().ok();
    let name = plan
        .as_ref()
        .map_or("(the store)".to_owned(), |plan| plan.title());
    let level = match error.kind() {
        Kind::NotFound => HealthLevel::Critical,
        _ => HealthLevel::Unknown,
    };
    let unread = AttentionItem {
        status: level,
        about: clean(&name),
        text: clean(&format!("it can't be read: {}", error.message())),
        hint: error.hint().map(|hint| shown_hint(hint, session)),
    };
    let store = plan.map(|plan| StoreOverview {
        name: clean(&name),
        location: clean(&plan.location().to_string()),
        in_use: true,
        reachable: Some(false),
        good: None,
        stored_bytes: None,
        free_bytes: None,
    });
    let of_run = run.iter().flat_map(|run| run_items(run, session));
    Overview {
        at: session.now,
        host: clean(&session.host),
        status: level,
        attention: std::iter::once(unread).chain(of_run).collect(),
        stores: store.into_iter().collect(),
        sources: Vec::new(),
        unconfigured: Vec::new(),
        failures: run.map_or_else(Vec::new, |run| run_failures(run, session)),
    }
}

/// A source that `status` has judged.
type JudgedSource<'a> = (&'a Subject<'a>, &'a SourceHealth<'a>);

/// What an overview is made of.
struct Facts<'a> {
    session: &'a Session,
    status: &'a StoreHealth<'a>,
    catalog: &'a Catalog,
    others: &'a [OtherStore],
    run: Option<&'a RunSummary>,
}

impl Facts<'_> {
    fn overview(&self) -> Overview {
        let attention = self.attention();
        let worst = attention
            .first()
            .map_or(HealthLevel::Ok, |item| item.status);
        // One that stands for the databases of its server has no backups of its own.
        let is_shown = |subject: &Subject<'_>| subject.expected != Expectation::InMembers;
        let sources = self.status.sources.iter();
        let unconfigured = self.status.unconfigured.iter();
        Overview {
            at: self.session.now,
            host: clean(&self.session.host),
            status: worst.max(self.status.level()),
            attention,
            stores: self.stores(),
            sources: sources
                .filter(|(subject, _)| is_shown(subject))
                .map(|(subject, health)| source_overview(subject, health, self))
                .collect(),
            unconfigured: unconfigured.map(|name| clean(name)).collect(),
            failures: self.failures(),
        }
    }

    /// Everything that was found wrong, the worst first.
    fn attention(&self) -> Vec<AttentionItem> {
        let status = self.status;
        let item = |about: &str, finding: &HealthFinding| AttentionItem {
            status: finding.level,
            about: clean(about),
            text: clean(&finding.text),
            hint: finding
                .hint
                .as_ref()
                .map(|hint| shown_hint(hint, self.session)),
        };
        let title = status.store.title();
        let of_store = status.space.iter().map(|finding| item(&title, finding));
        let of_copy_stores = status.copy_stores.iter().flat_map(|store| {
            let title = store.plan.title();
            let findings = store.findings.iter();
            findings.map(move |finding| item(&title, finding))
        });
        let of_others = self.others.iter().filter_map(|other| {
            let is_told = status.copy_stores.iter().any(|store| {
                store.plan.location() == other.plan.location() && !store.findings.is_empty()
            });
            let finding = other.finding().filter(|_| !is_told)?;
            Some(item(&other.plan.title(), &finding))
        });
        let of_sources = status.sources.iter().flat_map(|(subject, health)| {
            let findings = health.findings.iter();
            findings.map(|finding| item(&subject.name, finding))
        });
        let nothing = status.sources.is_empty().then(|| AttentionItem {
            status: HealthLevel::Critical,
            about: clean(&title),
            text: "it holds no backups".to_owned(),
            hint: Some(shown_hint(&Hint::new().command(["backup"]), self.session)),
        });
        let of_run = self.run.iter().flat_map(|run| run_items(run, self.session));
        let mut all: Vec<AttentionItem> = (nothing.into_iter())
            .chain(of_store)
            .chain(of_copy_stores)
            .chain(of_others)
            .chain(of_run)
            .chain(of_sources)
            .collect();
        all.sort_by_key(|item| Reverse(item.status));
        all
    }

    fn stores(&self) -> Vec<StoreOverview> {
        let status = self.status;
        let in_use = StoreOverview {
            name: clean(&status.store.title()),
            location: clean(&status.store.location().to_string()),
            in_use: true,
            reachable: Some(true),
            good: Some(good_count(self.catalog)),
            stored_bytes: Some(stored_bytes(self.catalog)),
            free_bytes: status.free,
        };
        let mut stores = vec![in_use];
        stores.extend(self.others.iter().map(OtherStore::overview));
        for store in &status.copy_stores {
            let location = clean(&store.plan.location().to_string());
            if stores.iter().any(|known| known.location == location) {
                continue;
            }
            stores.push(StoreOverview {
                name: clean(&store.plan.title()),
                location,
                in_use: false,
                reachable: store.is_reachable,
                good: None,
                stored_bytes: None,
                free_bytes: None,
            });
        }
        stores
    }

    /// What failed of late, the newest first; the same failure of a source in a row once.
    fn failures(&self) -> Vec<FailureOverview> {
        let edge = self.session.now - FAILURES_OF;
        let mut failures: Vec<FailureOverview> = Vec::new();
        for (subject, _) in &self.status.sources {
            failures.extend(failed_attempts(subject, self.session));
            failures.extend(failed_copies(subject));
        }
        failures.extend(
            self.run
                .iter()
                .flat_map(|run| run_failures(run, self.session)),
        );
        failures.retain(|failure| failure.at >= edge);
        failures.sort_by_key(|failure| Reverse(failure.at));
        failures.truncate(MOST_FAILURES);
        failures
    }
}

/// The failed attempts at a source; those with one message in a row are one.
fn failed_attempts(subject: &Subject<'_>, session: &Session) -> Vec<FailureOverview> {
    let mut failures: Vec<FailureOverview> = Vec::new();
    let mut before: Option<&str> = None;
    for attempt in &subject.attempts {
        let AttemptWorth::Failed { error, hint } = &attempt.worth else {
            before = None;
            continue;
        };
        match failures.last_mut().filter(|_| before == Some(*error)) {
            Some(failure) => {
                failure.count += 1;
                failure.since = attempt.ended;
            }
            None => failures.push(FailureOverview {
                source: clean(&subject.name),
                copy_to: None,
                at: attempt.ended,
                since: attempt.ended,
                count: 1,
                error: clean(error),
                hint: hint.as_ref().map(|hint| shown_hint(hint, session)),
            }),
        }
        before = Some(error);
    }
    failures
}

fn failed_copies(subject: &Subject<'_>) -> impl Iterator<Item = FailureOverview> {
    subject.copies.iter().filter_map(|copies| {
        let (at, error) = copies.failure?;
        Some(FailureOverview {
            source: clean(&subject.name),
            copy_to: Some(clean(&copies.store)),
            at,
            since: at,
            count: 1,
            error: clean(error),
            hint: None,
        })
    })
}

/// What the run that has just ended came to, and the store does not know.
fn run_items(run: &RunSummary, session: &Session) -> Vec<AttentionItem> {
    let stamp = units::stamp(run.started_at);
    let item = |about: &str, text: String, hint: Option<&Hint>| AttentionItem {
        status: HealthLevel::Warning,
        about: clean(about),
        text: clean(&text),
        hint: hint.map(|hint| shown_hint(hint, session)),
    };
    let of_run = run.error.iter().map(|error| {
        let text = format!("the run of {stamp} failed: {}", error.message);
        item(THE_RUN, text, error.hint.as_ref())
    });
    let of_sources = run.tried().filter_map(|source| {
        let error = source.error.as_ref().filter(|_| is_unknown(source))?;
        let text = format!("in the run of {stamp}: {}", error.message);
        Some(item(&source.source, text, error.hint.as_ref()))
    });
    of_run.chain(of_sources).collect()
}

/// Whether only the run knows what went wrong with a source: the store remembers failed attempts,
/// and `status` finds the rest. Who has ended a run with a signal knows it.
fn is_unknown(source: &SourceSummary) -> bool {
    let is_found = matches!(
        source.shortfall,
        Some(
            Shortfall::Incomplete
                | Shortfall::RetentionHeld
                | Shortfall::NotCopied
                | Shortfall::Vanished
        )
    );
    source.outcome != RunOutcome::Interrupted && source.failed_id.is_none() && !is_found
}

/// The failures of a run of which the store knows nothing.
fn run_failures(run: &RunSummary, session: &Session) -> Vec<FailureOverview> {
    let failure =
        |source: &str, at: DateTime<Utc>, error: &super::run::ErrorSummary| FailureOverview {
            source: clean(source),
            copy_to: None,
            at,
            since: at,
            count: 1,
            error: clean(&error.message),
            hint: error.hint.as_ref().map(|hint| shown_hint(hint, session)),
        };
    let of_run = run.error.iter();
    let of_run = of_run.map(|error| failure(THE_RUN, run.finished_at, error));
    let of_sources = run.tried().filter_map(|source| {
        let error = source.error.as_ref().filter(|_| is_unknown(source))?;
        Some(failure(&source.source, source.finished_at, error))
    });
    of_run.chain(of_sources).collect()
}

/// A hint as it may be shown to anybody, anywhere.
fn shown_hint(hint: &Hint, session: &Session) -> String {
    clean(&session.lasting(hint))
}

/// How many good backups a store holds that somebody asked for.
fn good_count(catalog: &Catalog) -> u64 {
    let sources = catalog.sources();
    let attempts = sources
        .iter()
        .flat_map(|source| status::attempts_of(source, catalog));
    attempts.filter(|attempt| attempt.is_good()).count() as u64
}

/// The bytes of all dumps of a store.
fn stored_bytes(catalog: &Catalog) -> u64 {
    units::total(catalog.backups().map(|backup| backup.presence.bytes()))
}
