//! `dbbackup backup`: a run over its sources, each with its own story, and one outcome.

mod attempt;
mod dry_run;
mod hooks;
mod members;
mod parallel;
mod source;
mod tally;

pub use attempt::{Attempt, Making, Run, lock_and_sweep, make};
pub use hooks::look_for_programs;
pub use members::members_of;
pub use source::{refuse_another_ones_name, space_needed};

use self::hooks::Around;
use self::members::{Member, name_of, vanished_databases};
use self::parallel::{Slots, at_once};
use self::source::{Made, after_all, back_up};
use self::tally::{Done, Tally, both, named};
use super::status;
use crate::catalog::Backup as Entry;
use crate::cli::BackupArguments;
use crate::config::Hooks;
use crate::engine::EngineKind;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::ops::Session;
use crate::plan::postgres::ClusterPlan;
use crate::plan::{self, Configured, PathKind, Planned, SourceKind, SourcePlan, SourceSelection};
use crate::report::{Outcome, Report};
use crate::retention::PRE_RESTORE;
use crate::store::Store;
use std::path::Path;

pub fn run(arguments: &BackupArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    let planned = make_plan(arguments, session, report)?;
    if arguments.dry_run {
        return dry_run::say_plan(
            &planned,
            &hooks_of_run(&planned, session),
            arguments,
            session,
            report,
        );
    }
    carry_out(planned, arguments, session, report).map(|(_, outcome)| outcome)
}

/// The same for who needs the backups that were made; nothing is removed after them.
pub fn make_all(
    arguments: &BackupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<(Vec<Entry>, Outcome)> {
    let mut planned = make_plan(arguments, session, report)?;
    for one in &mut planned {
        if let Planned::Source(source) = one {
            source.settings.cleanup_after = false;
        }
    }
    carry_out(planned, arguments, session, report)
}

/// Where there is nothing to do, nothing need be stopped for it.
fn hooks_of_run(planned: &[Planned], session: &Session) -> Hooks {
    match &session.config {
        Some(config) if planned.iter().any(|one| name_of_tried(one).is_some()) => {
            config.hooks.clone()
        }
        _ => Hooks::default(),
    }
}

fn carry_out(
    planned: Vec<Planned>,
    arguments: &BackupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<(Vec<Entry>, Outcome)> {
    let names: Vec<String> = planned.iter().filter_map(name_of_tried).collect();
    let of_run = hooks_of_run(&planned, session);
    let run = begin(arguments, session);
    let store = session.store_plan()?.location;
    report.story(format!(
        "run {}: {} into {}",
        run.id,
        names.join(", "),
        store
    ));
    let around = Around::run(&of_run, &names, &store, &run, report);
    // Before the store is looked at: a hook may be what mounts it, and another what unmounts it.
    let result = around
        .before()
        .and_then(|()| every_source(planned, jobs(arguments, session), session, &run, report));
    let told = |result: &Result<Tally>| match result {
        Ok(tally) => tally.told(),
        Err(error) => hooks::Told::default().with(Some(error)),
    };
    let result = match (around.after(&told(&result)), result) {
        (Err(error), Ok(mut tally)) => {
            tally.failed_after(error.with_kind(Kind::Partial));
            Ok(tally)
        }
        (after, result) => both(result, after),
    };
    let told = told(&result);
    if told.error.is_some() {
        around.on_failure(&told);
    }
    status::after_backup(session, report);
    Ok(result?.conclude(report))
}

fn begin(arguments: &BackupArguments, session: &Session) -> Run {
    Run {
        id: format!(
            "{}-{}",
            session.now.format("%Y%m%dT%H%M%SZ"),
            &uuid::Uuid::new_v4().simple().to_string()[..4]
        ),
        members: Vec::new(),
        host: session.host.clone(),
        label: arguments.label.clone(),
        description: arguments.description.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        // What a restore replaced, or stands in for it, stays until the user says otherwise.
        pinned: arguments.pin || arguments.label == PRE_RESTORE,
        lock_wait: session.lock_wait,
        config: session
            .config
            .as_ref()
            .map(|config| plan::absolute(&session.cwd, &config.path)),
    }
}

/// How many sources at once.
fn jobs(arguments: &BackupArguments, session: &Session) -> usize {
    let configured = || session.config.as_ref().map(|config| config.run.clone());
    let jobs = arguments.jobs;
    jobs.unwrap_or_else(|| configured().unwrap_or_default().jobs)
        .max(1)
}

/// What these arguments mean.
pub fn make_plan(
    arguments: &BackupArguments,
    session: &Session,
    report: &Report,
) -> Result<Vec<Planned>> {
    if !crate::config::is_label(&arguments.label) {
        return Err(
            Error::usage(format!("`{}` can't be a label", arguments.label))
                .with_hint("use letters, digits, `.` and `-`, a letter or digit first, and no `_`"),
        );
    }
    let url = std::env::var("DATABASE_URL").ok();
    let wanted = SourceSelection {
        what: &by_their_names(arguments, session, report),
        all: arguments.all,
        name: arguments.name.as_deref(),
        kind: arguments.kind,
        database_url: url.as_deref(),
    };
    plan::backup(
        &wanted,
        session.config.as_ref(),
        &session.store_plan()?,
        &session.cwd,
        session.now,
        &look_at,
    )
}

/// The arguments, each path of a source of the configuration as that source's name. With `--as` the
/// path is meant and nothing else.
fn by_their_names(arguments: &BackupArguments, session: &Session, report: &Report) -> Vec<String> {
    let name = |word: &String| match &session.config {
        Some(config) if arguments.name.is_none() => {
            match plan::source_at(word, arguments.kind, config, &session.cwd) {
                Some(source) => {
                    report.note(format!(
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
    arguments.what.iter().map(name).collect()
}

fn look_at(path: &Path) -> PathKind {
    match path.metadata() {
        Ok(found) if found.is_dir() => PathKind::Directory,
        Ok(_) => PathKind::File,
        Err(_) => PathKind::Missing,
    }
}

/// The name of what is going to be tried; what is skipped is not.
fn name_of_tried(planned: &Planned) -> Option<String> {
    match planned {
        Planned::Source(source) => Some(source.name.clone()),
        Planned::Refused { name, .. } => Some(name.clone()),
        Planned::Skipped { .. } => None,
    }
}

fn every_source(
    planned: Vec<Planned>,
    jobs: usize,
    session: &Session,
    run: &Run,
    report: &Report,
) -> Result<Tally> {
    let store = session.writing()?;
    let work = Work {
        store: &*store,
        run,
        slots: &Slots::new(jobs),
        jobs,
        report,
    };
    let names: Vec<Option<String>> = planned.iter().map(name_of_tried).collect();
    let done = at_once(planned, jobs, |one| work.planned(one));
    let mut tally = Tally::default();
    for (name, done) in names.into_iter().zip(done) {
        match (done, name) {
            (Some(done), _) => done.into_iter().for_each(|one| tally.add(one)),
            (None, Some(name)) => tally.add(Done::failed(name, Error::interrupted())),
            (None, None) => {}
        }
    }
    keep_configuration(&*store, session, report);
    Ok(tally)
}

/// What the sources of a run share.
struct Work<'a> {
    store: &'a dyn Store,
    run: &'a Run,
    slots: &'a Slots,
    jobs: usize,
    report: &'a Report,
}

impl Work<'_> {
    fn planned(&self, planned: Planned) -> Vec<Done> {
        match planned {
            Planned::Skipped { name, why } => {
                self.report.note(format!("{name}: skipped, {why}"));
                vec![Done {
                    name,
                    entry: None,
                    error: None,
                    short: None,
                    skipped: true,
                }]
            }
            Planned::Refused {
                name,
                error,
                configured,
            } => {
                if let Some(configured) = configured {
                    self.tell_refused(&name, &configured, &error);
                }
                vec![self.refused(name, error)]
            }
            Planned::Source(source) => match &source.kind {
                SourceKind::Cluster(cluster) => self.cluster(&source, cluster),
                _ => {
                    let _slot = self.slots.take();
                    vec![self.one(Ok(*source), None, self.run)]
                }
            },
        }
    }

    fn refused(&self, name: impl Into<String>, error: Error) -> Done {
        let done = Done::failed(name, error);
        self.tell(&done);
        done
    }

    fn tell(&self, done: &Done) {
        done.error
            .iter()
            .for_each(|error| self.report.error(&named(&done.name, error)));
    }

    /// A source of the configuration that can't even be tried: its history says so, and who waits
    /// to be told of a failure is told.
    fn tell_refused(&self, name: &str, configured: &Configured, error: &Error) {
        let id = self.remember(name, configured.kind, None, error);
        let told = hooks::Told {
            id,
            ..hooks::Told::default()
        }
        .with(Some(error));
        Around::source(
            &configured.hooks,
            name,
            self.store.location(),
            self.run,
            self.report,
        )
        .on_failure(&told);
    }

    /// Leaves a failed attempt for what could not even be tried; its id.
    fn remember(
        &self,
        name: &str,
        kind: EngineKind,
        cluster: Option<&str>,
        error: &Error,
    ) -> Option<String> {
        let _lock = lock_and_sweep(self.store, name, self.run.lock_wait, self.report).ok()?;
        self.remember_locked(name, kind, cluster, error)
    }

    fn remember_locked(
        &self,
        name: &str,
        kind: EngineKind,
        cluster: Option<&str>,
        error: &Error,
    ) -> Option<String> {
        let attempt = Attempt::begin(self.store, self.run, name, kind).of_cluster(cluster);
        attempt.remember_failure(error, self.report);
        attempt.failed_id()
    }

    /// A cluster: its hooks once, around all its databases.
    fn cluster(&self, source: &SourcePlan, cluster: &ClusterPlan) -> Vec<Done> {
        // The databases have locks of their own. But a second run's `after` could start what this
        // one's `before` has stopped.
        let lock = interrupt::check().and_then(|()| match source.hooks.is_empty() {
            true => Ok(None),
            false => lock_and_sweep(self.store, &source.name, self.run.lock_wait, self.report),
        });
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return vec![self.refused(source.name.as_str(), error)],
        };
        let around = Around::source(
            &source.hooks,
            &source.name,
            self.store.location(),
            self.run,
            self.report,
        );
        let mut done = match around.before().and_then(|()| members_of(source)) {
            Ok(members) => {
                let vanished = vanished_databases(source, cluster, &members, self.store);
                let mut done = self.members(members, &source.name, cluster);
                match vanished {
                    Ok(vanished) => done.extend(vanished.into_iter().map(|(name, error)| Done {
                        short: Some("vanished"),
                        ..self.refused(name, error)
                    })),
                    Err(error) => done.push(self.refused(source.name.as_str(), error)),
                }
                done
            }
            Err(error) => {
                // A name that was mistyped is no failure of the source.
                if error.kind() != Kind::NotFound {
                    match lock {
                        Some(_) => self.remember_locked(
                            &source.name,
                            source.kind.format().kind(),
                            None,
                            &error,
                        ),
                        None => {
                            self.remember(&source.name, source.kind.format().kind(), None, &error)
                        }
                    };
                }
                vec![self.refused(source.name.as_str(), error)]
            }
        };
        if let Err(error) = around.after(&told_of(&done)) {
            done.push(self.refused(source.name.as_str(), after_all(error)));
        }
        if done.iter().any(|one| one.error.is_some()) {
            around.on_failure(&told_of(&done));
        }
        drop(lock);
        done
    }

    /// The databases of a cluster, in the order of its server. With `jobs` of its own it is one
    /// source of the run, that many at once within it; else its databases are sources of the run
    /// like any other.
    fn members(&self, members: Vec<Member>, of: &str, cluster: &ClusterPlan) -> Vec<Done> {
        let names: Vec<String> = members.iter().map(name_of).collect();
        let all = if cluster.only.is_none() {
            names.clone()
        } else {
            Vec::new()
        };
        let run = &Run {
            members: all,
            ..self.run.clone()
        };
        let done = match cluster.jobs {
            Some(jobs) => {
                let _slot = self.slots.take();
                at_once(members, jobs, |member| self.one(member, Some(of), run))
            }
            None => at_once(members, self.jobs, |member| {
                let _slot = self.slots.take();
                self.one(member, Some(of), run)
            }),
        };
        let begun = |(name, done): (String, Option<Done>)| {
            done.unwrap_or_else(|| Done::failed(name, Error::interrupted()))
        };
        names.into_iter().zip(done).map(begun).collect()
    }

    fn one(&self, member: Member, cluster: Option<&str>, run: &Run) -> Done {
        let (
            name,
            Made {
                entry,
                error,
                short,
            },
        ) = match member {
            Ok(source) => (
                source.name.clone(),
                back_up(&source, cluster, self.store, run, self.report),
            ),
            Err((name, error)) => {
                self.remember(&name, EngineKind::Postgres, cluster, &error);
                (
                    name,
                    Made {
                        error: Some(error),
                        ..Made::default()
                    },
                )
            }
        };
        let done = Done {
            name,
            entry: entry.map(Box::new),
            error,
            short,
            skipped: false,
        };
        self.tell(&done);
        done
    }
}

/// What the hooks of a cluster are told of its databases.
fn told_of(done: &[Done]) -> hooks::Told {
    let mut tally = Tally::default();
    done.iter().for_each(|one| tally.count(one));
    tally.told()
}

/// The configuration as last used, secrets masked, so that a store alone can tell how it came to
/// be.
fn keep_configuration(store: &dyn Store, session: &Session, report: &Report) {
    let Some(config) = &session.config else {
        return;
    };
    let text = match std::fs::read_to_string(&config.path) {
        Ok(text) => crate::config::masked(&text),
        Err(_) => return,
    };
    if let Err(error) =
        store.replace_common(&format!("config-{}.toml", session.host), text.as_bytes())
    {
        report.detail(format!(
            "the configuration could not be copied to the store: {error}"
        ));
    }
}
