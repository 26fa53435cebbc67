//! `dbbackup backup`: each source's own story, from the lock to the sidecar, and one outcome for the run.

use super::examine::{self, Means, Stored, to_milliseconds};
use super::{Session, catalog_of, cleanup, outcome_of, set_error};
use crate::catalog::{Backup as Entry, Catalog};
use crate::cli::Backup;
use crate::engine::sqlite::{SqliteDestination, SqliteSource};
use crate::engine::{CheckStatus, Dumped, Source, whole_second};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::lock::Lock;
use crate::pipeline::{Codec, Encode, Measured, Progress};
use crate::plan::{self, Planned, SourceKind, SourcePlan};
use crate::report::{Outcome, Paint, Report};
use crate::retention::PRE_RESTORE;
use crate::scratch;
use crate::sidecar::{Dump, Failure, Level, SCHEMA, Sidecar, State, Status, Verification};
use crate::store::{self, LocalStore, Store};
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub fn run(arguments: &Backup, session: &Session, report: &mut Report) -> Result<Outcome> {
    if !crate::config::is_label(&arguments.label) {
        return Err(Error::usage(format!("`{}` can't be a label", arguments.label))
            .hint("use letters, digits, `.` and `-`, a letter or digit first, and no `_`"));
    }
    let planned = make_plan(arguments, session)?;
    if arguments.dry_run {
        return say_plan(&planned, arguments, session, report);
    }
    let store = session.writing()?;
    let run = Run {
        id: format!("{}-{}", session.now.format("%Y%m%dT%H%M%SZ"), &uuid::Uuid::new_v4().simple().to_string()[..4]),
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
        each(one, &store, &run, &mut tally, report);
    }
    keep_configuration(&store, session, report);
    tally.conclude(report)
}

fn make_plan(arguments: &Backup, session: &Session) -> Result<Vec<Planned>> {
    let url = std::env::var("DATABASE_URL").ok();
    let wanted = plan::Wanted { what: &arguments.what, name: arguments.name.as_deref(), database_url: url.as_deref() };
    plan::backup(&wanted, session.config.as_ref(), &session.store_plan()?, &session.cwd, session.now, &|path| path.exists())
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
    for one in planned {
        match one {
            Planned::Source(source) => {
                let engine = engine_of(source);
                if let Err(error) = engine.probe() {
                    let error = named(&source.name, &error);
                    report.error(&error);
                    failed.push(error);
                    continue;
                }
                let size = units::size(engine.estimate());
                let name = format!("{}_{}_<time>.{}", source.name, arguments.label, extension(source));
                report.answer(format!(
                    "would back up {} ({size}) to {}/{}/{name}",
                    source.kind.place(),
                    store.display(),
                    source.name
                ));
                said.push(serde_json::json!({"source": source.name, "kind": source.kind.word(), "from": source.kind.place(), "size_bytes": engine.estimate()}));
            }
            Planned::Skipped { name, why } => report.answer(format!("would skip {name}: {why}")),
            Planned::Refused { name, error, .. } => {
                let error = named(name, error);
                report.error(&error);
                failed.push(error);
            }
        }
    }
    report.set("plan", said);
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(planned.len(), &kinds))
}

/// What the backups of one run have in common.
pub struct Run {
    /// The run's id.
    pub id: String,
    /// This machine.
    pub host: String,
    /// Why the backups are made.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// The user's keys and values.
    pub tags: BTreeMap<String, String>,
    /// Whether they are pinned from the start.
    pub pinned: bool,
    /// How long another run's lock is waited for.
    pub lock_wait: Duration,
}

/// What became of each source.
#[derive(Default)]
struct Tally {
    ok: Vec<String>,
    skipped: usize,
    failed: Vec<(String, Kind)>,
    told: Vec<Error>,
    backups: Vec<serde_json::Value>,
    errors: Vec<serde_json::Value>,
}

impl Tally {
    fn failed(&mut self, name: &str, error: &Error) {
        self.failed.push((name.to_owned(), error.kind()));
        self.told.push(named(name, error));
        self.errors.push(serde_json::json!({"source": name, "error": error.message(), "hint": error.remedy()}));
    }

    fn conclude(self, report: &mut Report) -> Result<Outcome> {
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
        report.set("backups", self.backups);
        if !self.errors.is_empty() {
            report.set("failed", self.errors);
        }
        set_error(&self.told, report);
        let kinds: Vec<Kind> = self.failed.iter().map(|(_, kind)| *kind).collect();
        Ok(outcome_of(tried, &kinds))
    }
}

fn each(planned: Planned, store: &LocalStore, run: &Run, tally: &mut Tally, report: &mut Report) {
    let name = name_of(&planned);
    let result = match planned {
        Planned::Skipped { name, why } => {
            tally.skipped += 1;
            return report.note(format!("{name}: skipped, {why}"));
        }
        Planned::Refused { error, configured: false, .. } => Err(error),
        Planned::Refused { name, error, configured: true } => {
            let attempt = Attempt { store, run, source: &name, kind: "sqlite", started: Instant::now(), at: now() };
            let _ = lock_and_sweep(store, &name, run.lock_wait, report).map(|_lock| attempt.remember_failure(&error, report));
            Err(error)
        }
        Planned::Source(source) => back_up_source(&source, store, run, report),
    };
    match result {
        Ok((entry, after)) => {
            tally.backups.push(entry.json());
            match after {
                Ok(()) => tally.ok.push(name),
                Err(error) => {
                    tell(&name, &error, report);
                    tally.failed(&name, &error);
                }
            }
        }
        Err(error) => {
            tell(&name, &error, report);
            tally.failed(&name, &error);
        }
    }
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

fn now() -> DateTime<Utc> {
    whole_second(Utc::now())
}

/// One configured or named source, then its retention. The inner error is one after the backup itself was made.
fn back_up_source(source: &SourcePlan, store: &LocalStore, run: &Run, report: &mut Report) -> Result<(Entry, Result<()>)> {
    let _lock = lock_and_sweep(store, &source.name, run.lock_wait, report)?;
    let catalog = catalog_of(store, std::slice::from_ref(&source.name))?;
    refuse_another_ones_name(source, &catalog, run, report)?;
    let SourceKind::Sqlite { path, .. } = &source.kind;
    SqliteDestination::sweep(path);
    scratch::sweep(&source.scratch_dir, crate::engine::sqlite::source::SCRATCH_PREFIX);
    let mut engine = engine_of(source);
    if source.scratch_dir.starts_with(store.root()) {
        return Err(Error::usage(format!("the scratch directory `{}` lies in the store", source.scratch_dir.display()))
            .hint("set `scratch_dir` in [backup] to a place outside of it"));
    }
    let making = Making {
        source: &source.name,
        kind: source.kind.word(),
        format: source.kind.format(),
        codec: source.codec,
        threads: source.threads,
        verify_after: source.verify_after,
        scratch_dir: &source.scratch_dir,
    };
    check_space(&making, engine.estimate(), &catalog, store).inspect_err(|error| {
        let attempt = Attempt { store, run, source: &source.name, kind: making.kind, started: Instant::now(), at: now() };
        attempt.remember_failure(error, report);
    })?;
    let entry = make(&making, &mut engine, store, run, report)?;
    say_made(&entry, store, report);
    let after = match source.cleanup_after {
        true => cleanup::after_backup(store, source, now(), report),
        false => Ok(()),
    };
    Ok((entry, after))
}

/// Takes the source's lock and removes what a killed run left.
pub fn lock_and_sweep(store: &LocalStore, source: &str, wait: Duration, report: &Report) -> Result<Lock> {
    let lock = store.lock(source, wait)?;
    let swept = store::sweep(store, source, |bytes| {
        Sidecar::parse(bytes).ok().and_then(|sidecar| sidecar.dump).map(|dump| dump.file).into_iter().collect()
    })?;
    for name in swept {
        report.detail(format!("{source}: removed `{name}`, left by a run that was killed"));
    }
    Ok(lock)
}

fn engine_of(source: &SourcePlan) -> SqliteSource {
    let SourceKind::Sqlite { path, spool, lock_timeout } = &source.kind;
    SqliteSource::new(path, *spool, &source.scratch_dir, *lock_timeout)
}

fn extension(source: &SourcePlan) -> String {
    dump_extension(source.kind.format().1, source.codec)
}

fn dump_extension(format: &str, codec: Codec) -> String {
    codec.extension().map_or(format.to_owned(), |coding| format!("{format}.{coding}"))
}

/// A name made from a path must not mix two databases' histories; a configured name, or `--as`, takes it over.
fn refuse_another_ones_name(source: &SourcePlan, catalog: &Catalog, run: &Run, report: &Report) -> Result<()> {
    let SourceKind::Sqlite { path, .. } = &source.kind;
    let here = path.canonicalize().unwrap_or_else(|_| path.clone());
    let Some(last) = catalog.of(&source.name).find(|backup| backup.sidecar.database.is_some()) else { return Ok(()) };
    let origin = last.sidecar.database.as_ref().and_then(|database| database.path.clone()).unwrap_or_default();
    let host = last.sidecar.producer.get("host").cloned().unwrap_or_default();
    if origin.to_string_lossy() == here.to_string_lossy() && host == run.host {
        return Ok(());
    }
    let text = format!("the name `{}` belongs to `{}` on {host} in this store", source.name, origin.display());
    if source.derived {
        return Err(
            Error::usage(text).hint("give this database its own name with `--as NAME`, or the same one to take the name over")
        );
    }
    report.warn(format!("{text}; from now on it is `{}` on {}", here.display(), run.host));
    Ok(())
}

/// Too little space is told before the work. How much a dump will take is told by the one before it; without one, a tenth of the
/// database is the least to expect.
fn check_space(making: &Making<'_>, estimate: u64, catalog: &Catalog, store: &LocalStore) -> Result<()> {
    let Some(free) = store.free_space()? else { return Ok(()) };
    let last = catalog.newest_good(making.source).and_then(|backup| backup.sidecar.dump.as_ref());
    let needed = match last {
        Some(dump) if dump.content_size_bytes > 0 && dump.compression == making.codec.name() => {
            (estimate as f64 * dump.size_bytes as f64 / dump.content_size_bytes as f64) as u64
        }
        _ if making.codec == Codec::None => estimate,
        _ => estimate / 10,
    };
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

/// What one backup is made of, whatever its source.
pub struct Making<'a> {
    /// The source's name.
    pub source: &'a str,
    /// What the sidecar calls the source's kind.
    pub kind: &'a str,
    /// The content's format, and its extension.
    pub format: (&'a str, &'a str),
    /// The compression.
    pub codec: Codec,
    /// Threads that compress.
    pub threads: usize,
    /// How it is verified before it is listed.
    pub verify_after: Option<Level>,
    /// For trial restores.
    pub scratch_dir: &'a Path,
}

/// Makes one backup of what `engine` reads, under the source's lock: the dump, its verification, the sidecar. A failure leaves a failed
/// attempt that says why.
pub fn make(making: &Making<'_>, engine: &mut dyn Source, store: &LocalStore, run: &Run, report: &Report) -> Result<Entry> {
    let attempt = Attempt { store, run, source: making.source, kind: making.kind, started: Instant::now(), at: now() };
    attempt.make(making, engine, report).inspect_err(|error| attempt.remember_failure(error, report))
}

/// One attempt at one backup.
struct Attempt<'a> {
    store: &'a LocalStore,
    run: &'a Run,
    source: &'a str,
    kind: &'a str,
    started: Instant,
    at: DateTime<Utc>,
}

impl Attempt<'_> {
    fn make(&self, making: &Making<'_>, engine: &mut dyn Source, report: &Report) -> Result<Entry> {
        let id = self.free_id()?;
        let file = format!("{id}.{}", dump_extension(making.format.1, making.codec));
        report.detail(format!("{}: writing {file}", self.source));
        let (dumped, measured) = self
            .write_dump(&file, making, engine, report)
            .inspect_err(|_| store::discard_unlisted(self.store, self.source, &id, Some(&file)))?;
        let finished = self.describe(&id, &file, making, dumped, measured);
        finished
            .and_then(|sidecar| self.verify_and_publish(sidecar, &file, making, report))
            .inspect_err(|_| store::discard_unlisted(self.store, self.source, &id, Some(&file)))
    }

    fn free_id(&self) -> Result<String> {
        let taken = self.store.list(self.source)?;
        Ok(store::make_id(self.source, &self.run.label, self.at, taken.iter().filter_map(|object| store::id_of(&object.name))))
    }

    /// The content, through the pipeline, durable under its dot-name.
    fn write_dump(
        &self,
        file: &str,
        making: &Making<'_>,
        engine: &mut dyn Source,
        report: &Report,
    ) -> Result<(Dumped, Measured)> {
        let progress = Progress::default();
        let _bar = report.bar(&format!("backing up {}", self.source), engine.estimate(), &progress);
        let pending = self.store.create(self.source, &store::dot(file))?;
        let mut encode = Encode::new(making.codec, making.threads, pending, progress);
        // A malformed source is a failed backup; "damaged" is the word for a backup that was found so.
        let dumped = engine.dump(&mut encode).map_err(|error| match error.kind() {
            Kind::Damaged => error.kind_of(Kind::Failed),
            _ => error,
        })?;
        let (pending, measured) = encode.finish()?;
        pending.finish()?;
        Ok((dumped, measured))
    }

    fn describe(&self, id: &str, file: &str, making: &Making<'_>, dumped: Dumped, measured: Measured) -> Result<Sidecar> {
        interrupt::check()?;
        let mut sidecar = self.blank(id, if dumped.partial { Status::Partial } else { Status::Ok });
        sidecar.warnings = dumped.warnings;
        sidecar.producer.extend(dumped.producer);
        sidecar.dump = Some(Dump {
            file: file.to_owned(),
            format: making.format.0.to_owned(),
            size_bytes: measured.stored.size,
            sha256: measured.stored.sha256,
            content_size_bytes: measured.content.size,
            content_sha256: measured.content.sha256,
            compression: making.codec.name().to_owned(),
            encryption: None,
            base: None,
        });
        sidecar.database = Some(dumped.database);
        sidecar.manifest = Some(dumped.manifest);
        Ok(sidecar)
    }

    fn verify_and_publish(&self, mut sidecar: Sidecar, file: &str, making: &Making<'_>, report: &Report) -> Result<Entry> {
        if let Some(level) = making.verify_after {
            sidecar.verifications.push(self.verify(&sidecar, file, level, making, report)?);
        }
        sidecar.finished_at = now();
        sidecar.duration_seconds = to_milliseconds(self.started.elapsed().as_secs_f64());
        let state = State { pinned: self.run.pinned, ..State::default() };
        if state.pinned {
            // Before the sidecar: a crash in between must not leave a listed backup without its pin.
            self.store.replace(self.source, &store::state_name(&sidecar.id), &state.to_bytes())?;
        }
        store::publish(self.store, self.source, &sidecar.id, Some(file), &sidecar.to_bytes())?;
        let stored_size = sidecar.dump.as_ref().map(|dump| dump.size_bytes);
        Ok(Entry { sidecar, state, state_lost: false, stored_size })
    }

    /// A dump that fails its first verification is never listed.
    fn verify(&self, sidecar: &Sidecar, file: &str, level: Level, making: &Making<'_>, report: &Report) -> Result<Verification> {
        let stored = Stored {
            store: self.store,
            source: self.source,
            file: &store::dot(file),
            dump: sidecar.dump.as_ref(),
            codec: making.codec,
            manifest: sidecar.manifest.as_ref(),
            database: sidecar.database.as_ref(),
        };
        let means = Means { scratch_dir: making.scratch_dir, threads: making.threads, report };
        let finding = examine::verify(&stored, level, &means)?;
        let wrong = || finding.wrong().unwrap_or_default();
        match finding.status() {
            CheckStatus::Ok | CheckStatus::Unprovable => Ok(finding.to_verification(now())),
            CheckStatus::Damaged => Err(Error::damaged(format!("the new backup failed its verification: {}", wrong())).hint(
                "nothing was listed and nothing removed; check the database with `PRAGMA integrity_check`, and the store's disk",
            )),
            CheckStatus::Error => Err(Error::failed(format!("the new backup could not be verified: {}", wrong()))
                .hint("mend that, or choose another `verify_after`; nothing was listed")),
        }
    }

    fn blank(&self, id: &str, status: Status) -> Sidecar {
        let producer = BTreeMap::from([
            ("dbbackup".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("host".to_owned(), self.run.host.clone()),
        ]);
        Sidecar {
            schema: SCHEMA,
            requires: Vec::new(),
            id: id.to_owned(),
            run: self.run.id.clone(),
            source: self.source.to_owned(),
            kind: self.kind.to_owned(),
            label: self.run.label.clone(),
            status,
            warnings: Vec::new(),
            description: self.run.description.clone(),
            tags: self.run.tags.clone(),
            started_at: self.at,
            finished_at: now(),
            duration_seconds: to_milliseconds(self.started.elapsed().as_secs_f64()),
            dump: None,
            database: None,
            manifest: None,
            producer,
            verifications: Vec::new(),
            error: None,
        }
    }

    /// Leaves the failed attempt in the store's history; where even that can't be written the exit code tells.
    fn remember_failure(&self, error: &Error, report: &Report) {
        let remember = || -> Result<()> {
            let mut sidecar = self.blank(&self.free_id()?, Status::Failed);
            sidecar.error = Some(Failure { message: error.message(), hint: error.remedy().map(str::to_owned) });
            store::publish(self.store, self.source, &sidecar.id, None, &sidecar.to_bytes())
        };
        if let Err(second) = remember() {
            report.detail(format!("{}: the failure could not be written to the store: {second}", self.source));
        }
    }
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
    report.line(format!(
        "{} {}: {} from {} in {}, {} in {}{checked}",
        report.paint(Paint::Good, "ok"),
        sidecar.id,
        units::size(dump.size_bytes),
        units::size(dump.content_size_bytes),
        units::elapsed(sidecar.duration_seconds),
        units::count(manifest.rows_total, "row"),
        units::count(manifest.tables.len() as u64, "table"),
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
