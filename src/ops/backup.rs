//! Backups: a run over its sources, each with its own story, and one summary.

mod alignment;
mod attempt;
mod base;
mod forecast;
mod members;
mod parallel;
mod scheduler;
mod source;
#[cfg(test)]
mod tests;
mod tree_sink;
mod unchanged;

pub use attempt::{AttemptPlan, RunContext, create_backup};
pub use forecast::{BackupForecast, ForecastStep, forecast_backup};
pub use members::members_of;
pub use source::{check_name_conflict, space_needed};

use self::parallel::map_parallel;
use self::scheduler::Scheduler;
use super::copy::{copies_that_failed, copy_after_run};
use super::hooks::{HookOutcome, HookRunner};
use super::key_proof::is_key_proven;
use super::notify::Messenger;
use super::overview::PageFile;
use super::rescue::write_rescue_files;
use super::run::{Run, RunListener, RunOutcome, RunSummary, SourceSummary, join_errors, now};
use super::seal::seal_bytes;
use super::status::MetricsFile;
use super::{BackupEncryption, Observer, Session, refuse_plain};
use crate::catalog::{Backup, Catalog, looks_like_a_dump};
use crate::config::Hooks;
use crate::encryption::{AGE, MetadataDisclosure};
use crate::engine::EngineKind;
use crate::error::{Error, Hint, Kind, Result};
use crate::plan::{self, PathKind, PlannedAttempt, SourceSelection, StorePlan};
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
    pub kind: Option<EngineKind>,
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
    /// Whether plain backups may go into a store that has none but encrypted ones.
    pub plain: bool,
    /// Whether each backup is a full, whatever it could be built on.
    pub full: bool,
    /// Whether every file of a tree is read, whatever its times say.
    pub reread: bool,
    /// Whether retention is left out, whatever the configuration says: who asks needs the backups.
    pub keep_all: bool,
}

/// A run that was carried out.
#[derive(Debug)]
pub struct FinishedRun {
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

/// Creates the backups that are asked for. What fails is in the summary: for one source, and the
/// others go on, or for all, as a store that can't be opened. Whoever is to hear of the run's end
/// gets the same summary. An error means that nothing was begun, as the request can't be meant.
pub fn create_backups(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<FinishedRun> {
    check_label(&request.label)?;
    let run = new_run(request, session);
    let store = session.store_plan();
    let location = store.as_ref().ok().map(|store| store.location().clone());
    let planned = store.and_then(|store| {
        session.keep_host_key()?;
        session.check_encryption()?;
        plan_sources(request, &store, session, observer)
    });
    let planned = match planned {
        Err(error) if is_of_request(request, location.is_some(), session) => return Err(error),
        planned => planned,
    };
    let names = planned.as_deref().map_or_else(|_| Vec::new(), tried_names);
    let hooks = hooks_of_run(planned.as_deref().ok(), session);
    let hooks = HookRunner::for_run(&hooks, &names, location.as_ref(), &run, observer);
    let messenger = Messenger::new(session, observer);
    messenger.run_begins(&names);
    let (results, error) = match planned {
        Ok(planned) => {
            let into = location.iter().map(ToString::to_string).collect::<String>();
            observer.step(format!("run {}: {} into {into}", run.id, names.join(", ")));
            carry_out(
                planned,
                &hooks,
                RunOptions {
                    jobs: jobs(request, session),
                    plain: request.plain,
                },
                session,
                &run,
                observer,
            )
        }
        Err(error) => (Vec::new(), Some(error)),
    };
    let (sources, backups) = separate(results);
    let summary = RunSummary::new(&run, &names, sources, error.as_ref());
    let metrics = MetricsFile::new(session, observer);
    let page = PageFile::new(session, observer);
    tell_listeners(&summary, &[&hooks, &metrics, &messenger, &page], observer);
    Ok(FinishedRun { summary, backups })
}

/// Whether what can't be planned is the fault of what was asked for, as a name that nobody knows:
/// nothing was begun, and whoever asked hears of it. Else the configuration is at fault, and
/// whoever is told of failed runs has to know.
fn is_of_request(request: &BackupRequest, has_store: bool, session: &Session) -> bool {
    match (&session.config, has_store) {
        (None, _) => true,
        (Some(_), true) => !request.what.is_empty() || request.name.is_some(),
        (Some(_), false) => session.store_flag.is_some(),
    }
}

/// How a run goes about it.
#[derive(Clone, Copy)]
struct RunOptions {
    /// How many sources at once.
    jobs: usize,
    /// See [`BackupRequest::plain`].
    plain: bool,
}

/// Backs up what was planned, the run's hooks around it. There may be results and an error: that of
/// `after`.
fn carry_out(
    planned: Vec<PlannedAttempt>,
    hooks: &HookRunner<'_>,
    options: RunOptions,
    session: &Session,
    run: &Run,
    observer: &dyn Observer,
) -> (Vec<SourceResult>, Option<Error>) {
    // Before the store is looked at: a hook may be what mounts it, and another what unmounts it.
    let tried = hooks
        .run_before()
        .and_then(|()| back_up_all(planned, options, session, run, observer));
    let (results, failure) = match tried {
        Ok(results) => (results, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let results = with_copies(results, session, observer);
    let sources = results.iter().map(|result| result.summary.clone());
    let so_far = RunSummary::new(run, &[], sources.collect(), failure.as_ref());
    let after = hooks.run_after(&HookOutcome::from(&so_far)).err();
    // The backups stay, and the run is no success.
    let after = after.map(|error| match failure {
        None => error.with_kind(Kind::Partial),
        Some(_) => error,
    });
    let error = join_errors(failure.into_iter().chain(after));
    (results, error)
}

/// Copies what was backed up, and what is missing of earlier backups, to other stores. It comes
/// after the last backup: no store elsewhere keeps a source from being backed up.
fn with_copies(
    results: Vec<SourceResult>,
    session: &Session,
    observer: &dyn Observer,
) -> Vec<SourceResult> {
    let wanted: Vec<String> = results
        .iter()
        .filter(|result| result.summary.outcome != RunOutcome::Skipped)
        .map(|result| result.summary.source.clone())
        .filter(|source| !session.settings_of(source).copies.is_empty())
        .collect();
    let is_configured = session.store_plan().is_ok_and(|store| store.configured);
    if wanted.is_empty() || !is_configured {
        return results;
    }
    let mut copies = match session.reading() {
        Ok(store) => copy_after_run(&*store, &wanted, session, observer),
        Err(error) => copies_that_failed(&wanted, &error, observer),
    };
    results
        .into_iter()
        .map(|result| match copies.remove(&result.summary.source) {
            Some(copies) => SourceResult {
                summary: result.summary.with_copies(copies),
                ..result
            },
            None => result,
        })
        .collect()
}

/// Gives the summary to everybody who is told how runs end. What fails there is a warning: the run
/// has ended, and its backups stay.
fn tell_listeners(summary: &RunSummary, listeners: &[&dyn RunListener], observer: &dyn Observer) {
    for listener in listeners {
        if let Err(error) = listener.run_ended(summary) {
            observer.warn(error.to_string());
        }
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

/// The hooks of the run, also of one that could not be planned. Where there is nothing to do,
/// nothing need be stopped for it.
fn hooks_of_run(planned: Option<&[PlannedAttempt]>, session: &Session) -> Hooks {
    match &session.config {
        Some(config) if planned.is_none_or(|planned| !tried_names(planned).is_empty()) => {
            config.hooks.clone()
        }
        _ => Hooks::default(),
    }
}

fn new_run(request: &BackupRequest, session: &Session) -> Run {
    Run {
        id: format!(
            "{}-{}",
            session.now.format("%Y%m%dT%H%M%SZ"),
            &uuid::Uuid::new_v4().simple().to_string()[..4]
        ),
        started_at: now(),
        members: Vec::new(),
        host: session.host.clone(),
        label: request.label.clone(),
        description: request.description.clone(),
        tags: request.tags.clone(),
        // What a restore replaced, or stands in for it, stays until the user says otherwise.
        pinned: request.pinned || request.label == PRE_RESTORE,
        full: request.full,
        reread: request.reread,
        lock_wait: session.lock_wait,
        config: session
            .config
            .as_ref()
            .map(|config| plan::absolute(&session.cwd, &config.path)),
    }
}

/// How many sources at once.
fn jobs(request: &BackupRequest, session: &Session) -> usize {
    let configured = || session.config.as_ref().map(|config| config.run.clone());
    let jobs = request.jobs;
    jobs.unwrap_or_else(|| configured().unwrap_or_default().jobs)
        .max(1)
}

/// Plans what a request means: the sources, each with everything that its backup needs.
pub fn plan_backup(
    request: &BackupRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<PlannedAttempt>> {
    check_label(&request.label)?;
    plan_sources(request, &session.store_plan()?, session, observer)
}

fn check_label(label: &str) -> Result<()> {
    if crate::config::is_label(label) {
        return Ok(());
    }
    Err(Error::usage(format!("`{label}` can't be a label"))
        .with_hint("use letters, digits, `.` and `-`, a letter or digit first, and no `_`"))
}

/// Plans the sources that a request means, for this store.
fn plan_sources(
    request: &BackupRequest,
    store: &StorePlan,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<PlannedAttempt>> {
    let url = std::env::var("DATABASE_URL").ok();
    let wanted = SourceSelection {
        what: &names_for_paths(request, session, observer),
        all: request.all,
        name: request.name.as_deref(),
        kind: request.kind,
        database_url: url.as_deref(),
    };
    let mut planned = plan::backup(
        &wanted,
        session.config.as_ref(),
        store,
        &session.cwd,
        session.now,
        &look_at,
    )?;
    if request.keep_all {
        for one in &mut planned {
            if let PlannedAttempt::Source(source) = one {
                source.settings.cleanup_after = false;
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

fn look_at(path: &Path) -> PathKind {
    match path.metadata() {
        Ok(found) if found.is_dir() => PathKind::Directory,
        Ok(_) => PathKind::File,
        Err(_) => PathKind::Missing,
    }
}

/// The name of a source that is going to be tried; what is skipped is not.
fn tried_name(planned: &PlannedAttempt) -> Option<String> {
    match planned {
        PlannedAttempt::Source(source) => Some(source.name.clone()),
        PlannedAttempt::Refused { name, .. } => Some(name.clone()),
        PlannedAttempt::Skipped { .. } => None,
    }
}

/// The names of the sources that are going to be tried.
fn tried_names(planned: &[PlannedAttempt]) -> Vec<String> {
    planned.iter().filter_map(tried_name).collect()
}

/// Backs up every source of the plan into the store.
fn back_up_all(
    planned: Vec<PlannedAttempt>,
    options: RunOptions,
    session: &Session,
    run: &Run,
    observer: &dyn Observer,
) -> Result<Vec<SourceResult>> {
    let store = session.writing()?;
    // Before anything is read: what can't be signed is not written.
    store.check_signing()?;
    let encryption = session.encryption_at(store.location())?;
    if encryption.is_none() && !options.plain {
        refuse_plain(&*store)?;
    }
    let context = RunContext {
        store: &*store,
        run,
        observer,
        encryption: encryption.as_ref(),
    };
    let tried: Vec<String> = planned.iter().filter_map(tried_name).collect();
    // Before there is anything to recover: a run that is killed leaves no backup without them.
    write_rescue_files(&*store, &tried, observer);
    let has_encrypted = encryption.is_some() && has_encrypted_dumps(&*store, &tried);
    let jobs = options.jobs;
    let scheduler = Scheduler::new(context, jobs);
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
    copy_configuration(&*store, encryption.as_ref(), session, observer);
    if let Some(encryption) = &encryption {
        warn_of_keys(&*store, encryption, has_encrypted, &results, observer);
    }
    Ok(results)
}

/// Whether a store holds encrypted dumps of these sources, as their names tell.
fn has_encrypted_dumps(store: &dyn Store, sources: &[String]) -> bool {
    let is_encrypted = |name: &String| looks_like_a_dump(name) && name.ends_with(".age");
    let listings = sources.iter().filter_map(|source| store.list(source).ok());
    listings
        .into_iter()
        .any(|listing| listing.objects.iter().any(is_encrypted))
}

/// Says what a user should know of the keys: that nobody has shown one to open a backup, and, with
/// the first backups, that there is one alone.
fn warn_of_keys(
    store: &dyn Store,
    encryption: &BackupEncryption,
    has_encrypted: bool,
    results: &[SourceResult],
    observer: &dyn Observer,
) {
    let created = results.iter().filter(|result| result.backup.is_some());
    let sources: Vec<String> = created
        .map(|result| result.summary.source.clone())
        .collect();
    if sources.is_empty() {
        return;
    }
    let recipients = encryption.recipients.fingerprints();
    if recipients.len() == 1 && !has_encrypted {
        observer.warn(format!(
            "the backups are encrypted to one recipient alone, {}: whoever loses that private key \
             loses them; add a second one that lies in a safe",
            recipients[0]
        ));
    }
    if matches!(is_key_proven(store, &sources), Ok(false)) {
        observer.note(
            Hint::new()
                .text("no private key was shown to open these backups yet; where it is: ")
                .command(["key", "prove", "--identity", "FILE"]),
        );
    }
}

/// A source that a signal came before.
fn not_begun(name: String) -> SourceResult {
    SourceSummary::failed(name, &Error::interrupted()).into()
}

/// When the newest good backup of a source was finished.
fn newest_good_at(catalog: Option<&Catalog>, source: &str) -> Option<DateTime<Utc>> {
    Some(catalog?.newest_good(source)?.sidecar.finished_at)
}

/// Copies the configuration as last used into the store, secrets masked, so that a store alone can
/// tell how it came to be.
fn copy_configuration(
    store: &dyn Store,
    encryption: Option<&BackupEncryption>,
    session: &Session,
    observer: &dyn Observer,
) {
    let Some(config) = &session.config else {
        return;
    };
    let text = match std::fs::read_to_string(&config.path) {
        Ok(text) => crate::config::masked(&text),
        Err(_) => return,
    };
    // It names hosts and paths, as a sealed sidecar does not.
    let sealed = encryption.filter(|how| how.metadata == MetadataDisclosure::Sealed);
    let name = format!("config-{}.toml", session.host);
    let copied = match sealed {
        None => store.replace_common(&name, text.as_bytes()),
        Some(how) => seal_bytes(text.as_bytes(), &how.recipients)
            .and_then(|bytes| store.replace_common(&format!("{name}.{AGE}"), &bytes)),
    };
    if let Err(error) = copied {
        observer.detail(format!(
            "the configuration could not be copied to the store: {error}"
        ));
    }
}
