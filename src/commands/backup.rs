//! `dbbackup backup`: each source's own story, from the lock to the sidecar, and one outcome for the run.

mod attempt;

pub use attempt::{Attempt, Making, Run, lock_and_sweep, make};

use super::engines::{self, Engine};
use super::{Session, catalog_of, cleanup, outcome_of, set_error};
use crate::catalog::{Backup as Entry, Catalog};
use crate::cli::Backup;
use crate::engine::CheckStatus;
use crate::engine::postgres::PostgresSource;
use crate::engine::postgres::leftovers::is_leftover;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::pipeline::Codec;
use crate::plan::postgres::ClusterPlan;
use crate::plan::{self, Planned, SourceKind, SourcePlan};
use crate::report::{Outcome, Paint, Report};
use crate::retention::PRE_RESTORE;
use crate::scratch;
use crate::sidecar::Status;
use crate::store::{LocalStore, Store};
use crate::units;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub fn run(arguments: &Backup, session: &Session, report: &mut Report) -> Result<Outcome> {
    let planned = make_plan(arguments, session)?;
    if arguments.dry_run {
        return say_plan(&planned, arguments, session, report);
    }
    carry_out(planned, arguments, session, report).map(|(_, outcome)| outcome)
}

/// The same for who needs the backups that were made; nothing is removed after them.
pub fn make_all(arguments: &Backup, session: &Session, report: &mut Report) -> Result<(Vec<Entry>, Outcome)> {
    let mut planned = make_plan(arguments, session)?;
    for one in &mut planned {
        if let Planned::Source(source) = one {
            source.cleanup_after = false;
        }
    }
    carry_out(planned, arguments, session, report)
}

pub fn make_plan(arguments: &Backup, session: &Session) -> Result<Vec<Planned>> {
    if !crate::config::is_label(&arguments.label) {
        return Err(Error::usage(format!("`{}` can't be a label", arguments.label))
            .hint("use letters, digits, `.` and `-`, a letter or digit first, and no `_`"));
    }
    let url = std::env::var("DATABASE_URL").ok();
    let wanted = plan::Wanted {
        what: &arguments.what,
        name: arguments.name.as_deref(),
        kind: arguments.kind,
        database_url: url.as_deref(),
    };
    plan::backup(&wanted, session.config.as_ref(), &session.store_plan()?, &session.cwd, session.now, &|path| path.exists())
}

fn carry_out(planned: Vec<Planned>, arguments: &Backup, session: &Session, report: &mut Report) -> Result<(Vec<Entry>, Outcome)> {
    let store = session.writing()?;
    let run = Run {
        id: format!("{}-{}", session.now.format("%Y%m%dT%H%M%SZ"), &uuid::Uuid::new_v4().simple().to_string()[..4]),
        members: Vec::new(),
        host: session.host.clone(),
        label: arguments.label.clone(),
        description: arguments.description.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        // What a restore replaced, or stands in for it, stays until the user says otherwise.
        pinned: arguments.pin || arguments.label == PRE_RESTORE,
        lock_wait: session.lock_wait,
    };
    let mut tally = Tally::default();
    for one in planned {
        if interrupt::requested() {
            tally.failed(&name_of(&one), &Error::interrupted());
            break;
        }
        each(one, &store, &run, report).into_iter().for_each(|result| tally.add(result));
    }
    keep_configuration(&store, session, report);
    Ok(tally.conclude(report))
}

fn name_of(planned: &Planned) -> String {
    match planned {
        Planned::Source(source) => source.name.clone(),
        Planned::Skipped { name, .. } | Planned::Refused { name, .. } => name.clone(),
    }
}

fn say_plan(planned: &[Planned], arguments: &Backup, session: &Session, report: &mut Report) -> Result<Outcome> {
    let store = session.store_plan()?.path;
    let mut said = Vec::new();
    let mut failed = Vec::new();
    let mut tried = 0;
    for one in planned {
        let sources = match one {
            Planned::Source(source) => members_of(source).unwrap_or_else(|error| vec![Err((source.name.clone(), error))]),
            Planned::Skipped { name, why } => {
                report.answer(format!("would skip {name}: {why}"));
                continue;
            }
            Planned::Refused { name, error, .. } => vec![Err((name.clone(), Error::new(error.kind(), error)))],
        };
        for source in sources {
            tried += 1;
            let looked = source
                .and_then(|source| look(&source).map_err(|error| (source.name.clone(), error)).map(|found| (source, found)));
            match looked {
                Ok((source, (place, size))) => {
                    let name = format!("{}_{}_<time>.{}", source.name, arguments.label, attempt::extension(&source));
                    let to = store.join(&source.name).join(name);
                    report.answer(format!("would back up {place} ({}) to {}", units::size(size), to.display()));
                    said.push(
                        serde_json::json!({"source": source.name, "kind": source.kind.word(), "from": place, "size_bytes": size}),
                    );
                }
                Err((name, error)) => {
                    let error = named(&name, &error);
                    report.error(&error);
                    failed.push(error);
                }
            }
        }
    }
    report.set("plan", said);
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(tried, &kinds))
}

/// Where a source is, and how large.
fn look(source: &SourcePlan) -> Result<(String, u64)> {
    let engine = Engine::open(source)?;
    engine.probe()?;
    Ok((engine.place(source), engine.estimate()))
}

/// A source to back up, or one that can't even be tried.
pub type Member = Result<SourcePlan, (String, Error)>;

/// The source itself; in place of a cluster the databases that its server has now.
pub fn members_of(source: &SourcePlan) -> Result<Vec<Member>> {
    let SourceKind::Cluster(cluster) = &source.kind else { return Ok(vec![Ok(source.clone())]) };
    let databases = PostgresSource::open(&cluster.each)?.databases()?;
    let mut members: Vec<Member> = Vec::new();
    if cluster.globals {
        members.push(Ok(plan::postgres::globals_of_cluster(source, cluster)));
    }
    // What a restore set aside is no database of the user's any more.
    let chosen = databases.iter().filter(|name| plan::postgres::is_chosen(cluster, name) && !is_leftover(name));
    for database in chosen {
        let member = plan::postgres::member_of_cluster(source, cluster, database);
        let taken = members.iter().flatten().any(|other| other.name == member.name);
        members.push(if taken {
            let text = format!("two databases of the server would be called `{}`", member.name);
            Err((member.name, Error::failed(text).hint("exclude one of them, and give it a source of its own")))
        } else {
            Ok(member)
        });
    }
    members.extend(missing_databases(source, cluster, &databases));
    let Some(only) = &cluster.only else { return Ok(members) };
    members.retain(|member| member.as_ref().map_or_else(|(name, _)| name == only, |member| member.name == *only));
    if members.is_empty() {
        return Err(Error::not_found(format!("the server of `{}` has no database that becomes `{only}`", source.name))
            .hint(format!("`dbbackup backup {} --dry-run` lists what it has", source.name)));
    }
    Ok(members)
}

/// Databases that are named, not meant by a pattern, and that are not there.
fn missing_databases(source: &SourcePlan, cluster: &ClusterPlan, there: &[String]) -> Vec<Member> {
    let plain = |name: &&String| !name.contains(['*', '?']);
    let missing = cluster.databases.iter().filter(plain).filter(|name| !there.contains(name));
    let error = |name: &String| {
        let text = format!("the server has no database `{name}`");
        let known = crate::config::nearest(name, there.iter().map(String::as_str));
        let hint = known.map_or("take it out of `databases`".to_owned(), |near| format!("did you mean `{near}`?"));
        Err((format!("{}.{}", source.name, plan::plain_name(name)), Error::failed(text).hint(hint)))
    };
    missing.map(error).collect()
}

/// What became of each source.
#[derive(Default)]
struct Tally {
    ok: Vec<String>,
    skipped: usize,
    failed: Vec<(String, Kind)>,
    told: Vec<Error>,
    backups: Vec<Entry>,
    errors: Vec<serde_json::Value>,
}

/// What became of one source: the backup, and an error where there is one, after the backup or in its place.
struct Done {
    name: String,
    entry: Option<Box<Entry>>,
    error: Option<Error>,
    skipped: bool,
}

impl Tally {
    fn add(&mut self, done: Done) {
        self.skipped += usize::from(done.skipped);
        self.backups.extend(done.entry.map(|entry| *entry));
        match done.error {
            Some(error) => self.failed(&done.name, &error),
            None if !done.skipped => self.ok.push(done.name),
            None => {}
        }
    }

    fn failed(&mut self, name: &str, error: &Error) {
        self.failed.push((name.to_owned(), error.kind()));
        self.told.push(named(name, error));
        self.errors.push(serde_json::json!({"source": name, "error": error.message(), "hint": error.remedy()}));
    }

    fn conclude(self, report: &mut Report) -> (Vec<Entry>, Outcome) {
        let tried = self.ok.len() + self.failed.len();
        if tried > 1 {
            let failed: Vec<&str> = self.failed.iter().map(|(name, _)| name.as_str()).collect();
            if failed.is_empty() {
                report.line(format!("{tried} of {tried}: {} ok", self.ok.join(", ")));
            } else {
                let ok = if self.ok.is_empty() { String::new() } else { format!("{} ok; ", self.ok.join(", ")) };
                report.warn(format!("{} of {tried}: {ok}{} failed", self.ok.len(), failed.join(", ")));
            }
        } else if tried == 0 && self.skipped == 0 {
            report.warn("no source is enabled: nothing was backed up");
        }
        report.set("backups", self.backups.iter().map(Entry::json).collect::<Vec<_>>());
        if !self.errors.is_empty() {
            report.set("failed", self.errors);
        }
        set_error(&self.told, report);
        let kinds: Vec<Kind> = self.failed.iter().map(|(_, kind)| *kind).collect();
        (self.backups, outcome_of(tried, &kinds))
    }
}

fn each(planned: Planned, store: &LocalStore, run: &Run, report: &Report) -> Vec<Done> {
    let refused = |name: String, error: Error| {
        tell(&name, &error, report);
        vec![Done { name, entry: None, error: Some(error), skipped: false }]
    };
    match planned {
        Planned::Skipped { name, why } => {
            report.note(format!("{name}: skipped, {why}"));
            vec![Done { name, entry: None, error: None, skipped: true }]
        }
        Planned::Refused { name, error, configured: None } => refused(name, error),
        Planned::Refused { name, error, configured: Some(kind) } => {
            remember(&name, kind, None, &error, store, run, report);
            refused(name, error)
        }
        Planned::Source(source) => match &source.kind {
            SourceKind::Cluster(cluster) => match members_of(&source) {
                Ok(members) => {
                    let name =
                        |member: &Member| member.as_ref().map_or_else(|(name, _)| name.clone(), |source| source.name.clone());
                    let all = if cluster.only.is_none() { members.iter().map(name).collect() } else { Vec::new() };
                    at_once(members, &source.name, cluster.jobs, store, &Run { members: all, ..run.clone() }, report)
                }
                Err(error) => {
                    // A name that was mistyped is no failure of the source.
                    if error.kind() != Kind::NotFound {
                        remember(&source.name, source.kind.word(), None, &error, store, run, report);
                    }
                    refused(source.name, error)
                }
            },
            _ => vec![one(Ok(*source), None, store, run, report)],
        },
    }
}

/// Leaves a failed attempt for what could not even be tried.
fn remember(name: &str, kind: &str, cluster: Option<&str>, error: &Error, store: &LocalStore, run: &Run, report: &Report) {
    let attempt = Attempt::begin(store, run, name, kind).of_cluster(cluster);
    let _ = lock_and_sweep(store, name, run.lock_wait, report).map(|_lock| attempt.remember_failure(error, report));
}

/// The sources of a cluster, so many at a time.
fn at_once(members: Vec<Member>, cluster: &str, jobs: usize, store: &LocalStore, run: &Run, report: &Report) -> Vec<Done> {
    let waiting = Mutex::new(members.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some(member) = next() {
            if interrupt::requested() {
                break;
            }
            done.push(one(member, Some(cluster), store, run, report));
        }
        done
    };
    // Children die with the thread that started them, so each of them is started and waited for by one thread.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        if interrupt::requested() && done.iter().all(|one| one.error.is_none()) {
            done.push(Done { name: "the rest".into(), entry: None, error: Some(Error::interrupted()), skipped: false });
        }
        done
    })
}

fn one(member: Member, cluster: Option<&str>, store: &LocalStore, run: &Run, report: &Report) -> Done {
    let (name, result) = match member {
        Ok(source) => (source.name.clone(), back_up_source(&source, cluster, store, run, report)),
        Err((name, error)) => {
            remember(&name, crate::engine::postgres::KIND, cluster, &error, store, run, report);
            (name, Err(error))
        }
    };
    let (entry, error) = match result {
        Ok((entry, after)) => (Some(Box::new(entry)), after.err()),
        Err(error) => (None, Some(error)),
    };
    if let Some(error) = &error {
        tell(&name, error, report);
    }
    Done { name, entry, error, skipped: false }
}

fn tell(name: &str, error: &Error, report: &Report) {
    report.error(&named(name, error));
}

/// The error with the source's name before it.
fn named(name: &str, error: &Error) -> Error {
    let told = Error::new(error.kind(), format!("{name}: {error}"));
    match error.remedy() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// One configured or named source, then its retention. The inner error is one after the backup itself was made.
fn back_up_source(
    source: &SourcePlan,
    cluster: Option<&str>,
    store: &LocalStore,
    run: &Run,
    report: &Report,
) -> Result<(Entry, Result<()>)> {
    let _lock = lock_and_sweep(store, &source.name, run.lock_wait, report)?;
    let making = Making::of(source);
    let attempt = Attempt::begin(store, run, &source.name, making.kind).of_cluster(cluster);
    let mut engine = prepare(source, &making, store, run, report).inspect_err(|error| {
        // A name that belongs to something else has no history of this source.
        if error.kind() != Kind::Usage {
            attempt.remember_failure(error, report);
        }
    })?;
    let entry = attempt.make(&making, engine.as_source(), report)?;
    say_made(&entry, store, report);
    if entry.sidecar.status == Status::Partial {
        let why = entry.sidecar.warnings.last().cloned().unwrap_or_default();
        let error = Error::new(Kind::Partial, format!("the backup is incomplete: {why}"))
            .hint("it restores, but it never counts as a good one");
        return Ok((entry, Err(error)));
    }
    let after = match source.cleanup_after {
        true => cleanup::after_backup(store, source, attempt::now(), report),
        false => Ok(()),
    };
    Ok((entry, after))
}

/// Everything that can be known to fail before the work.
fn prepare(source: &SourcePlan, making: &Making<'_>, store: &LocalStore, run: &Run, report: &Report) -> Result<Engine> {
    if source.scratch_dir.starts_with(store.root()) {
        return Err(Error::usage(format!("the scratch directory `{}` lies in the store", source.scratch_dir.display()))
            .hint("set `scratch_dir` in [backup] to a place outside of it"));
    }
    engines::sweep(source);
    let engine = Engine::open(source)?;
    let catalog = catalog_of(store, std::slice::from_ref(&source.name))?;
    refuse_another_ones_name(source, &engine, &catalog, &run.host, report)?;
    check_space(making, engine.estimate(), &catalog, store)?;
    Ok(engine)
}

/// A name made from a path or an address must not mix two databases' histories; a configured name, or `--as`, takes it over.
pub fn refuse_another_ones_name(
    source: &SourcePlan,
    engine: &Engine,
    catalog: &Catalog,
    host: &str,
    report: &Report,
) -> Result<()> {
    let Some(last) = catalog.of(&source.name).find(|backup| backup.sidecar.dump.is_some()) else { return Ok(()) };
    let Some((there, here)) = engines::belongs_elsewhere(engine, source, last, host) else { return Ok(()) };
    let text = format!("the name `{}` belongs to {there} in this store", source.name);
    if source.derived {
        return Err(
            Error::usage(text).hint("give this database its own name with `--as NAME`, or the same one to take the name over")
        );
    }
    report.warn(format!("{text}; from now on it is {here}"));
    Ok(())
}

/// How much a dump will take is told by the one before it; without one, a tenth of the database is the least to expect.
pub fn space_needed(making: &Making<'_>, estimate: u64, catalog: &Catalog) -> u64 {
    let last = catalog.newest_good(making.source);
    let then = last.and_then(|backup| Some((backup.sidecar.dump.as_ref()?, backup.sidecar.database.as_ref()?.size_bytes)));
    match then {
        Some((dump, size)) if size > 0 && dump.compression == making.codec.name() => {
            (estimate as f64 * dump.size_bytes as f64 / size as f64) as u64
        }
        _ if making.codec == Codec::None => estimate,
        _ => estimate / 10,
    }
}

/// Too little space is told before the work.
fn check_space(making: &Making<'_>, estimate: u64, catalog: &Catalog, store: &LocalStore) -> Result<()> {
    let Some(free) = store.free_space()? else { return Ok(()) };
    let needed = space_needed(making, estimate, catalog);
    if needed <= free {
        return Ok(());
    }
    let stored: u64 = catalog.backups.iter().filter_map(|backup| backup.stored_size).sum();
    Err(scratch::too_little(store.root(), needed, free, &format!("the backup of `{}`", making.source)).hint(format!(
        "the {} of `{}` take {} there: `dbbackup cleanup --dry-run` says what a retention policy would free",
        units::count(catalog.backups.len() as u64, "backup"),
        making.source,
        units::size(stored)
    )))
}

fn say_made(entry: &Entry, store: &LocalStore, report: &Report) {
    let sidecar = &entry.sidecar;
    for warning in &sidecar.warnings {
        report.warn(format!("{}: {warning}", sidecar.source));
    }
    let Some(dump) = &sidecar.dump else { return };
    let manifest = sidecar.manifest.clone().unwrap_or_default();
    let checked = sidecar.verifications.last().map_or(String::new(), |seen| match seen.status {
        CheckStatus::Ok => format!(", {} verified", seen.level.word()),
        other => format!(", {} {}", seen.level.word(), other.word()),
    });
    // Roles have no rows.
    let inside = if manifest.tables.is_empty() {
        String::new()
    } else {
        format!(", {} in {}", units::count(manifest.rows_total, "row"), units::count(manifest.tables.len() as u64, "table"))
    };
    report.line(format!(
        "{} {}: {} from {} in {}{inside}{checked}",
        report.paint(Paint::Good, "ok"),
        sidecar.id,
        units::size(dump.size_bytes),
        units::size(dump.content_size_bytes),
        units::elapsed(sidecar.duration_seconds),
    ));
    let path: PathBuf = store.locate(&sidecar.source, &dump.file).unwrap_or_default();
    report.detail(format!("{}: {}", sidecar.source, path.display()));
}

/// The configuration as last used, secrets masked, so that a store alone can tell how it came to be.
fn keep_configuration(store: &LocalStore, session: &Session, report: &Report) {
    let Some(config) = &session.config else { return };
    let text = match std::fs::read_to_string(&config.path) {
        Ok(text) => crate::config::masked(&text),
        Err(_) => return,
    };
    if let Err(error) = store.replace_at_root(&format!("config-{}.toml", session.host), text.as_bytes()) {
        report.detail(format!("the configuration could not be copied to the store: {error}"));
    }
}
