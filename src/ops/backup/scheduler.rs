//! Backs up the sources of a run: one that is planned, one that was refused, or a whole cluster.

use super::attempt::{BackupAttempt, RunContext};
use super::members::{ClusterMember, member_name, members_of, vanished_databases};
use super::parallel::{Slots, map_parallel};
use super::source::{back_up_source, error_after_backup};
use super::{SourceResult, newest_good_at, not_begun};
use crate::catalog::Catalog;
use crate::engine::EngineKind;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::lock::Lock;
use crate::ops::Event;
use crate::ops::hooks::{HookOutcome, HookRunner};
use crate::ops::run::{Run, Shortfall, SourceSummary};
use crate::plan::postgres::ClusterPlan;
use crate::plan::{FaultySource, PlannedAttempt, SourceKind, SourcePlan};

/// Backs up the sources of a run, so many at once.
pub struct Scheduler<'a> {
    context: RunContext<'a>,
    slots: Slots,
    jobs: usize,
}

impl<'a> Scheduler<'a> {
    /// A scheduler for a run that backs up `jobs` sources at once.
    pub fn new(context: RunContext<'a>, jobs: usize) -> Self {
        Scheduler {
            context,
            slots: Slots::new(jobs),
            jobs,
        }
    }

    /// Backs up one source of the plan: several results where it is a cluster.
    pub fn back_up_planned(&self, planned: PlannedAttempt) -> Vec<SourceResult> {
        match planned {
            PlannedAttempt::Skipped { name, why } => {
                let (source, reason) = (name.as_str(), why.as_str());
                let skipped = Event::SourceSkipped { source, reason };
                self.context.observer.observe(skipped);
                vec![SourceSummary::skipped(name, why).into()]
            }
            PlannedAttempt::Refused {
                name,
                error,
                faulty,
            } => {
                let summary = match faulty {
                    Some(faulty) => self.record_refused(&name, &faulty, &error),
                    None => SourceSummary::failed(name, &error),
                };
                vec![self.failed(summary, &error)]
            }
            PlannedAttempt::Source(source) => match &source.kind {
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
    fn record_refused(&self, name: &str, faulty: &FaultySource, error: &Error) -> SourceSummary {
        let summary = self.record_failure(name, faulty.kind, None, error);
        let hooks = HookRunner::for_source(
            &faulty.hooks,
            name,
            self.context.store.location(),
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
            Ok(_lock) => self.record_locked_failure(name, kind, cluster, error),
            Err(_) => SourceSummary {
                kind: Some(kind.to_string()),
                ..SourceSummary::failed(name, error)
            },
        }
    }

    /// Records it for who holds the lock already.
    fn record_locked_failure(
        &self,
        name: &str,
        kind: EngineKind,
        cluster: Option<&str>,
        error: &Error,
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
            self.context.store.location(),
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
            false => self.context.lock_and_sweep(&source.name),
        }
    }

    /// The databases that were listed, and those that have vanished.
    fn back_up_listed(
        &self,
        members: Vec<ClusterMember>,
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
            Some(_) => self.record_locked_failure(name, kind, None, error),
            None => self.record_failure(name, kind, None, error),
        };
        self.failed(summary, error)
    }

    /// Backs up the databases of a cluster, in the order of its server. With `jobs` of its own it
    /// is one source of the run, that many at once within it; else its databases are sources of the
    /// run like any other.
    fn back_up_members(
        &self,
        members: Vec<ClusterMember>,
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

    fn back_up_member(
        &self,
        member: ClusterMember,
        cluster: Option<&str>,
        run: &Run,
    ) -> SourceResult {
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
