//! Backups: a run over its sources, each with its own story, and one summary.

mod attempt;
mod forecast;
mod members;
mod parallel;
mod source;
#[cfg(test)]
mod tests;

pub use attempt::{AttemptPlan, RunContext, create_backup};
pub use forecast::{BackupForecast, ForecastStep, forecast_backup};
pub use members::members_of;
pub use source::{check_name_conflict, space_needed};

use self::attempt::BackupAttempt;
use self::members::{Member, member_name, vanished_databases};
use self::parallel::{Slots, map_parallel};
use self::source::{back_up_source, error_after_backup};
use super::hooks::{HookOutcome, HookRunner};
use super::run::{Run, RunSummary, Shortfall, SourceSummary, join_errors, now};
use super::{Event, Observer, Session, status};
use crate::catalog::{Backup, Catalog};
use crate::engine::EngineKind;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::lock::Lock;
use crate::plan::hooks::Hooks;
use crate::plan::postgres::ClusterPlan;
use crate::plan::{self, Configured, Planned, SourceKind, SourcePlan, There};
use crate::retention::PRE_RESTORE;
use crate::store::Store;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::Path;

/// What is to be backed up, and how the backups are described.
#[derive(Debug, Clone, Default)]
pub struct BackupRequest {
    /// Sources, groups, paths or addresses; none: every enabled source of the configuration.
    pub what: Vec<String>,
    /// Every enabled source, said outright: an error where there is none.
    pub all: bool,
    /// The name of the source, where one path or address is given.
    pub name: Option<String>,
    /// The kind of what the configuration does not know; none: found out.
    pub kind: Option<plan::WantedKind>,
    /// How many sources are backed up at once; none: what the configuration says.
    pub jobs: Option<usize>,
    /// Why the backups are created.
    pub label: String,
    /// Free text that is kept with them.
    pub description: Option<String>,
    /// Keys and values that are kept with them.
    pub tags: BTreeMap<String, String>,
    /// Whether they are pinned from the start.
    pub pinned: bool,
    /// Whether retention is left out, whatever the configuration says: who asks needs the backups.
    pub keep_all: bool,
}

/// A run that was carried out.
#[derive(Debug)]
pub struct BackupRun {
    /// What it came to.
    pub summary: RunSummary,
    /// The backups that it created, in the order of the plan.
    pub backups: Vec<Backup>,
}

/// What a run came to for one source.
#[derive(Debug)]
struct SourceResult {
    summary: SourceSummary,
    /// The backup, where there is one.
    backup: Option<Box<Backup>>,
}

impl From<SourceSummary> for SourceResult {
    /// A source without a backup.
    fn from(summary: SourceSummary) -> Self {
        SourceResult {
            summary,
            backup: None,
        }
    }
}

/// Creates the backups that are asked for. What fails for one source is in the summary, and the
/// others go on; an error means that nothing could be tried at all.
pub fn create_backups(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<BackupRun> {
    let planned = plan_backup(request, session, observer)?;
    let started_at = now();
    let run = new_run(request, session);
    let names: Vec<String> = planned.iter().filter_map(tried_name).collect();
    let hooks = hooks_of_run(&planned, session);
    let store = session.store_plan()?.path;
    observer.step(format!(
        "run {}: {} into {}",
        run.id,
        names.join(", "),
        store.display()
    ));
    let hooks = HookRunner::for_run(&hooks, &names, &store, &run, observer);
    // Before the store is looked at: a hook may be what mounts it, and another what unmounts it.
    let tried = hooks
        .run_before()
        .and_then(|()| back_up_all(planned, jobs(request, session), session, &run, observer));
    let (results, failure) = match tried {
        Ok(results) => (results, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let was_tried = failure.is_none();
    let (sources, backups) = separate(results);
    let summary = RunSummary::new(&run, started_at, sources, failure.as_ref());
    let after = hooks.run_after(&HookOutcome::from(&summary)).err();
    // The backups stay, and the run is no success.
    let after = after.map(|error| match was_tried {
        true => error.with_kind(Kind::Partial),
        false => error,
    });
    let error = join_errors(failure.into_iter().chain(after));
    let summary = RunSummary::new(&run, started_at, summary.sources, error.as_ref());
    if summary.kind().is_some() {
        hooks.run_on_failure(&HookOutcome::from(&summary));
    }
    status::write_metrics(session, observer);
    match error {
        Some(error) if !was_tried => Err(error),
        _ => Ok(BackupRun { summary, backups }),
    }
}

fn separate(results: Vec<SourceResult>) -> (Vec<SourceSummary>, Vec<Backup>) {
    let mut backups = Vec::new();
    let mut sources = Vec::new();
    for result in results {
        sources.push(result.summary);
        backups.extend(result.backup.map(|backup| *backup));
    }
    (sources, backups)
}

/// The hooks of the run. Where there is nothing to do, nothing need be stopped for it.
fn hooks_of_run(planned: &[Planned], session: &Session) -> Hooks {
    let of_run = session
        .config
        .as_ref()
        .and_then(|config| config.hooks.as_ref());
    Hooks::of(of_run.filter(|_| planned.iter().any(|one| tried_name(one).is_some())))
}

fn new_run(request: &BackupRequest, session: &Session) -> Run {
    Run {
        id: format!(
            "{}-{}",
            session.now.format("%Y%m%dT%H%M%SZ"),
            &uuid::Uuid::new_v4().simple().to_string()[..4]
        ),
        members: Vec::new(),
        host: session.host.clone(),
        label: request.label.clone(),
        description: request.description.clone(),
        tags: request.tags.clone(),
        // What a restore replaced, or stands in for it, stays until the user says otherwise.
        pinned: request.pinned || request.label == PRE_RESTORE,
        lock_wait: session.lock_wait,
        config: session
            .config
            .as_ref()
            .map(|config| plan::absolute(&session.cwd, &config.path)),
    }
}

/// How many sources at once.
fn jobs(request: &BackupRequest, session: &Session) -> usize {
    request
        .jobs
        .or_else(|| session.config.as_ref()?.jobs)
        .unwrap_or(1)
        .max(1)
}

/// Plans what a request means: the sources, each with everything that its backup needs.
pub fn plan_backup(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<Planned>> {
    if !crate::config::is_label(&request.label) {
        return Err(
            Error::usage(format!("`{}` can't be a label", request.label))
                .with_hint("use letters, digits, `.` and `-`, a letter or digit first, and no `_`"),
        );
    }
    let url = std::env::var("DATABASE_URL").ok();
    let wanted = plan::Wanted {
        what: &names_for_paths(request, session, observer),
        all: request.all,
        name: request.name.as_deref(),
        kind: request.kind,
        database_url: url.as_deref(),
    };
    let mut planned = plan::backup(
        &wanted,
        session.config.as_ref(),
        &session.store_plan()?,
        &session.cwd,
        session.now,
        &look_at,
    )?;
    if request.keep_all {
        for one in &mut planned {
            if let Planned::Source(source) = one {
                source.cleanup_after = false;
            }
        }
    }
    Ok(planned)
}

/// What is asked for, each path of a source of the configuration as that source's name. Where a
/// name is given for it, the path is meant and nothing else.
fn names_for_paths(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Vec<String> {
    let name = |word: &String| match &session.config {
        Some(config) if request.name.is_none() => {
            match plan::source_at(word, request.kind, config, &session.cwd) {
                Some(source) => {
                    observer.note(format!(
                        "{word} is the source `{source}` of the configuration, and \
                                         backed up as that"
                    ));
                    source.to_owned()
                }
                None => word.clone(),
            }
        }
        _ => word.clone(),
    };
    request.what.iter().map(name).collect()
}

fn look_at(path: &Path) -> There {
    match path.metadata() {
        Ok(found) if found.is_dir() => There::Directory,
        Ok(_) => There::File,
        Err(_) => There::Nothing,
    }
}

/// The name of a source that is going to be tried; what is skipped is not.
fn tried_name(planned: &Planned) -> Option<String> {
    match planned {
        Planned::Source(source) => Some(source.name.clone()),
        Planned::Refused { name, .. } => Some(name.clone()),
        Planned::Skipped { .. } => None,
    }
}

/// Backs up every source of the plan into the store.
fn back_up_all(
    planned: Vec<Planned>,
    jobs: usize,
    session: &Session,
    run: &Run,
    observer: &dyn Observer,
) -> Result<Vec<SourceResult>> {
    let store = session.writing()?;
    let scheduler = Scheduler {
        context: RunContext {
            store: &*store,
            run,
            observer,
        },
        slots: &Slots::new(jobs),
        jobs,
    };
    let names: Vec<Option<String>> = planned.iter().map(tried_name).collect();
    let done = map_parallel(planned, jobs, |one| scheduler.back_up_planned(one));
    let mut results = Vec::new();
    for (name, done) in names.into_iter().zip(done) {
        match (done, name) {
            (Some(done), _) => results.extend(done),
            (None, Some(name)) => results.push(not_begun(name)),
            (None, None) => {}
        }
    }
    copy_configuration(&*store, session, observer);
    Ok(results)
}

/// A source that a signal came before.
fn not_begun(name: String) -> SourceResult {
    SourceSummary::failed(name, &Error::interrupted()).into()
}

/// When the newest good backup of a source was finished.
fn newest_good_at(catalog: Option<&Catalog>, source: &str) -> Option<DateTime<Utc>> {
    Some(catalog?.newest_good(source)?.sidecar.finished_at)
}

/// Backs up the sources of a run, so many at once.
struct Scheduler<'a> {
    context: RunContext<'a>,
    slots: &'a Slots,
    jobs: usize,
}

impl Scheduler<'_> {
    fn back_up_planned(&self, planned: Planned) -> Vec<SourceResult> {
        match planned {
            Planned::Skipped { name, why } => {
                let (source, reason) = (name.as_str(), why.as_str());
                let skipped = Event::SourceSkipped { source, reason };
                self.context.observer.observe(skipped);
                vec![SourceSummary::skipped(name, why).into()]
            }
            Planned::Refused {
                name,
                error,
                configured,
            } => {
                let summary = match configured {
                    Some(configured) => self.record_refused(&name, &configured, &error),
                    None => SourceSummary::failed(name, &error),
                };
                vec![self.failed(summary, &error)]
            }
            Planned::Source(source) => match &source.kind {
                SourceKind::Cluster(cluster) => self.back_up_cluster(&source, cluster),
                _ => {
                    let _slot = self.slots.acquire();
                    vec![self.back_up_member(Ok(*source), None, self.context.run)]
                }
            },
        }
    }

    /// Tells the observer of a source without a backup.
    fn failed(&self, summary: SourceSummary, error: &Error) -> SourceResult {
        self.context.observer.observe(Event::SourceFailed {
            source: &summary.source,
            error,
        });
        summary.into()
    }

    fn refuse(&self, name: &str, error: &Error) -> SourceResult {
        self.failed(SourceSummary::failed(name, error), error)
    }

    /// Records that a source of the configuration can't even be tried: its history says so, and its
    /// `on_failure` hook is run.
    fn record_refused(&self, name: &str, configured: &Configured, error: &Error) -> SourceSummary {
        let summary = self.record_failure(name, configured.kind, None, error);
        let hooks = HookRunner::for_source(
            &configured.hooks,
            name,
            self.context.store.root(),
            self.context.run,
            self.context.observer,
        );
        hooks.run_on_failure(&HookOutcome::from(&summary));
        summary
    }

    /// Records a failed attempt for what could not even be tried.
    fn record_failure(
        &self,
        name: &str,
        kind: EngineKind,
        cluster: Option<&str>,
        error: &Error,
    ) -> SourceSummary {
        match self.context.lock_and_sweep(name) {
            Ok(lock) => self.record_locked_failure(name, kind, cluster, error, &lock),
            Err(_) => SourceSummary {
                kind: Some(kind.to_string()),
                ..SourceSummary::failed(name, error)
            },
        }
    }

    fn record_locked_failure(
        &self,
        name: &str,
        kind: EngineKind,
        cluster: Option<&str>,
        error: &Error,
        _lock: &Lock,
    ) -> SourceSummary {
        let catalog = Catalog::read(self.context.store, Some(&[name.to_owned()])).ok();
        let attempt = BackupAttempt::begin(self.context, name, kind).with_cluster(cluster);
        attempt.record_failure(error);
        SourceSummary {
            kind: Some(kind.to_string()),
            failed_id: attempt.failed_id(),
            last_good_at: newest_good_at(catalog.as_ref(), name),
            ..SourceSummary::failed(name, error)
        }
    }

    /// Backs up a cluster, with its hooks once around all its databases.
    fn back_up_cluster(&self, source: &SourcePlan, cluster: &ClusterPlan) -> Vec<SourceResult> {
        let name = source.name.as_str();
        let lock = match interrupt::check().and_then(|()| self.lock_for_hooks(source)) {
            Ok(lock) => lock,
            Err(error) => return vec![self.refuse(name, &error)],
        };
        let hooks = HookRunner::for_source(
            &source.hooks,
            name,
            self.context.store.root(),
            self.context.run,
            self.context.observer,
        );
        let mut results = match hooks.run_before().and_then(|()| members_of(source)) {
            Ok(members) => self.back_up_listed(members, source, cluster),
            Err(error) => vec![self.fail_cluster(source, &error, lock.as_ref())],
        };
        if let Err(error) = hooks.run_after(&outcome_for_hooks(&results)) {
            results.push(self.refuse(name, &error_after_backup(error)));
        }
        if results.iter().any(|one| one.summary.error.is_some()) {
            hooks.run_on_failure(&outcome_for_hooks(&results));
        }
        results
    }

    /// The lock of a cluster that has hooks: a second run's `after` could start what this one's
    /// `before` has stopped. Its databases have locks of their own.
    fn lock_for_hooks(&self, source: &SourcePlan) -> Result<Option<Lock>> {
        match source.hooks.is_empty() {
            true => Ok(None),
            false => self.context.lock_and_sweep(&source.name).map(Some),
        }
    }

    /// The databases that were listed, and those that have vanished.
    fn back_up_listed(
        &self,
        members: Vec<Member>,
        source: &SourcePlan,
        cluster: &ClusterPlan,
    ) -> Vec<SourceResult> {
        let vanished = vanished_databases(source, cluster, &members, self.context.store);
        let mut results = self.back_up_members(members, &source.name, cluster);
        match vanished {
            Ok(vanished) => results.extend(vanished.into_iter().map(|(name, error)| {
                let summary = SourceSummary {
                    shortfall: Some(Shortfall::Vanished),
                    ..SourceSummary::failed(name, &error)
                };
                self.failed(summary, &error)
            })),
            Err(error) => results.push(self.refuse(&source.name, &error)),
        }
        results
    }

    /// A cluster of which not even the databases could be listed.
    fn fail_cluster(
        &self,
        source: &SourcePlan,
        error: &Error,
        lock: Option<&Lock>,
    ) -> SourceResult {
        let (name, kind) = (source.name.as_str(), source.kind.format().kind());
        let summary = match lock {
            // A name that was mistyped is no failure of the source.
            _ if error.kind() == Kind::NotFound => SourceSummary::failed(name, error),
            Some(lock) => self.record_locked_failure(name, kind, None, error, lock),
            None => self.record_failure(name, kind, None, error),
        };
        self.failed(summary, error)
    }

    /// Backs up the databases of a cluster, in the order of its server. With `jobs` of its own it
    /// is one source of the run, that many at once within it; else its databases are sources of the
    /// run like any other.
    fn back_up_members(
        &self,
        members: Vec<Member>,
        of: &str,
        cluster: &ClusterPlan,
    ) -> Vec<SourceResult> {
        let names: Vec<String> = members.iter().map(member_name).collect();
        let all = if cluster.only.is_none() {
            names.clone()
        } else {
            Vec::new()
        };
        let run = &Run {
            members: all,
            ..self.context.run.clone()
        };
        let results = match cluster.jobs {
            Some(jobs) => {
                let _slot = self.slots.acquire();
                map_parallel(members, jobs, |member| {
                    self.back_up_member(member, Some(of), run)
                })
            }
            None => map_parallel(members, self.jobs, |member| {
                let _slot = self.slots.acquire();
                self.back_up_member(member, Some(of), run)
            }),
        };
        let named = names.into_iter().zip(results);
        named
            .map(|(name, result)| result.unwrap_or_else(|| not_begun(name)))
            .collect()
    }

    fn back_up_member(&self, member: Member, cluster: Option<&str>, run: &Run) -> SourceResult {
        let result = match member {
            Ok(source) => {
                let context = RunContext {
                    run,
                    ..self.context
                };
                back_up_source(&source, cluster, context)
            }
            Err((name, error)) => {
                let kind = EngineKind::Postgres;
                self.record_failure(&name, kind, cluster, &error).into()
            }
        };
        if let Some(error) = &result.summary.error {
            self.context.observer.observe(Event::SourceFailed {
                source: &result.summary.source,
                error: &Error::from(error),
            });
        }
        result
    }
}

/// What the hooks of a cluster learn of its databases.
fn outcome_for_hooks(results: &[SourceResult]) -> HookOutcome {
    let summaries: Vec<SourceSummary> = results.iter().map(|one| one.summary.clone()).collect();
    HookOutcome::from(summaries.as_slice())
}

/// Copies the configuration as last used into the store, secrets masked, so that a store alone can
/// tell how it came to be.
fn copy_configuration(store: &dyn Store, session: &Session, observer: &dyn Observer) {
    let Some(config) = &session.config else {
        return;
    };
    let text = match std::fs::read_to_string(&config.path) {
        Ok(text) => crate::config::masked(&text),
        Err(_) => return,
    };
    if let Err(error) =
        store.replace_at_root(&format!("config-{}.toml", session.host), text.as_bytes())
    {
        observer.detail(format!(
            "the configuration could not be copied to the store: {error}"
        ));
    }
}
