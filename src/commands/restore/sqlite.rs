//! Restoring a SQLite database: the copy is complete and checked before the file is touched; what
//! was there is kept; how to undo it is said.

use super::{contents_text, differences};
use crate::catalog::Catalog;
use crate::cli::RestoreArguments;
use crate::commands::backup;
use crate::config::{ConfiguredSource, KindSettings};
use crate::durable::{self, SteadyFile};
use crate::engine::sqlite::destination::{Target, directory_of};
use crate::engine::sqlite::{Spool, SqliteDestination, SqliteSource, names, replace};
use crate::engine::{Database, Depth, Destination, DumpFormat, Dumped, Keep, Published, Source};
use crate::error::{Context, Error, Result};
use crate::lock::Lock;
use crate::ops::Session;
use crate::ops::examine::{self, ExaminationOptions};
use crate::ops::find::ResolvedBackup;
use crate::plan::{self, Proving};
use crate::report::{Paint, Report};
use crate::retention::PRE_RESTORE;
use crate::store::{self, Access, Location, Store};
use crate::units;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One backup, put back.
pub fn restore(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    let place = place(found, wanted, arguments, session)?;
    let safety = Safety::plan(found, &place, arguments, session)?;
    // A dry run's plan is its result.
    let say = |text: String| {
        if arguments.dry_run {
            report.answer(text)
        } else {
            report.note(text)
        }
    };
    let lost = say_plan(found, &place, &safety, session, report, &say);
    if arguments.dry_run {
        report.answer("nothing was done");
        let replaces = !matches!(place.now, There::Nothing);
        return Ok(
            serde_json::json!({"id": found.name(), "target": place.path, "replaces": replaces,
                "differences": lost}),
        );
    }
    confirm(&place, arguments, report)?;
    let _lock = safety.lock(session, report)?;
    let mut destination = receive_and_check(found, &place, session, report)?;
    let mut kept = None;
    let published = match &safety {
        Safety::None => destination.publish(Keep::Nothing)?,
        Safety::Store { .. } | Safety::Beside(_) => {
            destination.publish(Keep::Backup(&mut |source: &mut dyn Source| {
                kept = Some(safety.keep(source, session, report)?);
                Ok(())
            }))?
        }
    };
    Ok(say_done(found, &place, &published, kept, session, report))
}

/// Where the backup goes, and what is there now.
struct Place {
    path: PathBuf,
    /// It is where the backup came from.
    origin: bool,
    now: There,
}

enum There {
    Nothing,
    Database(Box<Dumped>),
    /// Not a valid database, or not to be read now; why.
    Other(String),
}

fn place(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    session: &Session,
) -> Result<Place> {
    let recorded = recorded_path(found);
    let path = match &arguments.to {
        Some(to) => given_path(to, session)?,
        None => origin(found, wanted, session)?,
    };
    let configured = session
        .entry_of(&found.source)
        .and_then(path_of_entry)
        .map(|path| session.cwd.join(path));
    let same = |other: &Path| other == path || path.canonicalize().is_ok_and(|path| path == other);
    let origin = recorded.as_deref().is_some_and(same) || configured.as_deref().is_some_and(same);
    if path.is_dir() {
        return Err(
            Error::usage(format!("`{}` is a directory", path.display())).with_hint(format!(
                "name a file in it: `--to {}`",
                path.join("restored.db").display()
            )),
        );
    }
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        // A device can't be set aside, and opening a FIFO waits for ever.
        return Err(Error::usage(format!("`{}` is not a file", path.display()))
            .with_hint("name the file that the backup is to become"));
    }
    if !directory_of(&path).is_dir() {
        return Err(Error::failed(format!(
            "the directory of `{}` is not there",
            path.display()
        ))
        .with_hint("make it first, or choose another `--to`"));
    }
    names::refuse_second_name(&path.canonicalize().unwrap_or_else(|_| path.clone()))?;
    let now = look_at(&path, session);
    Ok(Place { path, origin, now })
}

fn look_at(path: &Path, session: &Session) -> There {
    if path.symlink_metadata().is_err() {
        return There::Nothing;
    }
    let settings = session.backup_settings();
    let source = SqliteSource::new(
        path,
        Spool::Auto,
        &settings.scratch_dir,
        std::time::Duration::from_secs(5),
    );
    match source.inspect() {
        Ok(dumped) => There::Database(Box::new(dumped)),
        Err(error) => There::Other(error.message()),
    }
}

fn given_path(to: &str, session: &Session) -> Result<PathBuf> {
    match to.split_once("://") {
        Some((scheme, _)) => Err(Error::usage(format!(
            "a SQLite backup can't be restored to a `{scheme}://` address"
        ))
        .with_hint("`--to` takes a path here")),
        None => Ok(plan::absolute(&session.cwd, to)),
    }
}

fn recorded_path(found: &ResolvedBackup) -> Option<PathBuf> {
    found
        .backup
        .as_ref()?
        .sidecar
        .database
        .as_ref()?
        .path
        .clone()
}

/// The place that the backup came from, if this configuration knows the source or this machine made
/// the backup.
fn origin(found: &ResolvedBackup, wanted: &str, session: &Session) -> Result<PathBuf> {
    let command = |to: &str| super::say_where(found, wanted, to, session);
    let Some(backup) = &found.backup else {
        return Err(Error::usage(format!(
            "`{}` has no sidecar, so nobody knows where it belongs",
            found.file
        ))
        .with_hint(command("PATH")));
    };
    if let Some(entry) = session
        .config
        .as_ref()
        .and_then(|config| config.source(&backup.sidecar.source))
    {
        if let Some(why) = &entry.fault {
            return Err(why.clone().into());
        }
        let wrong_kind = || {
            Error::usage(format!(
                "`{}` is no SQLite database in the configuration",
                backup.sidecar.source
            ))
            .with_hint(command("PATH"))
        };
        return path_of_entry(entry)
            .map(|path| session.cwd.join(path))
            .ok_or_else(wrong_kind);
    }
    let Some(path) = recorded_path(found) else {
        return Err(Error::usage(format!(
            "the sidecar of `{}` does not say where it belongs",
            backup.id()
        ))
        .with_hint(command("PATH")));
    };
    super::must_belong_here(
        found,
        backup,
        wanted,
        &units::shell_word(&path.to_string_lossy()),
        session,
    )?;
    Ok(path)
}

/// What happens to the content that is there.
enum Safety {
    /// There is none, or it is not to be kept.
    None,
    /// A backup in a store.
    Store {
        store: Box<dyn Store>,
        source: String,
    },
    /// A plain copy beside it, where there is no store.
    Beside(PathBuf),
}

impl Safety {
    fn plan(
        found: &ResolvedBackup,
        place: &Place,
        arguments: &RestoreArguments,
        session: &Session,
    ) -> Result<Safety> {
        if arguments.no_safety_backup || matches!(place.now, There::Nothing) {
            return Ok(Safety::None);
        }
        let location = match session.store_plan() {
            Ok(plan) => Some(plan.location),
            Err(_) => Some(found.store.location().clone()).filter(store::is_marked_at),
        };
        let Some(location) = location else {
            return Ok(Safety::Beside(free_name(&place.path, session)));
        };
        if arguments.dry_run {
            return Ok(match store::open(&location, Access::Read) {
                Ok(store) => Safety::Store {
                    source: safety_source(found, place, session, &*store)?,
                    store,
                },
                Err(_) => Safety::Beside(free_name(&place.path, session)),
            });
        }
        if !store::may_be_written_at(&location) {
            // A read-only store serves for restoring; what is there is then kept beside it.
            return Ok(Safety::Beside(free_name(&place.path, session)));
        }
        let store = store::open(
            &location,
            Access::Write {
                require_mount: false,
            },
        )
        .context("the store for the safety backup of what is there")
        .with_hint(
            "give one that can be written to with `--store DIR`, or do without: \
                   `--no-safety-backup`",
        )?;
        Ok(Safety::Store {
            source: safety_source(found, place, session, &*store)?,
            store,
        })
    }

    /// The lock is taken before anything else, so that a run that holds it ends this one early.
    fn lock(&self, session: &Session, report: &Report) -> Result<Option<Lock>> {
        match self {
            Safety::Store { store, source } => {
                backup::lock_and_sweep(&**store, source, session.lock_wait, report)
            }
            Safety::None | Safety::Beside(_) => Ok(None),
        }
    }

    fn keep(&self, old: &mut dyn Source, session: &Session, report: &Report) -> Result<Kept> {
        match self {
            Safety::None => Err(Error::failed("there is nothing to keep")),
            Safety::Beside(path) => keep_beside(old, path).map(|()| Kept::File(path.clone())),
            Safety::Store { store, source } => {
                let id = super::safety_backup(
                    old,
                    source,
                    DumpFormat::Sqlite,
                    &**store,
                    session,
                    report,
                )?;
                Ok(Kept::Backup {
                    id,
                    store: store.location().clone(),
                })
            }
        }
    }
}

/// What was kept of the old content.
enum Kept {
    Backup { id: String, store: Location },
    File(PathBuf),
}

fn keep_beside(old: &mut dyn Source, path: &Path) -> Result<()> {
    let mut copy = || -> Result<()> {
        let mut file = SteadyFile::new(durable::create_new(path)?);
        old.dump(&mut file)?;
        file.finish()?;
        durable::sync_dir(directory_of(path))
    };
    copy().inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

fn free_name(target: &Path, session: &Session) -> PathBuf {
    replace::free_name(Path::new(&format!(
        "{}.before-{}",
        target.display(),
        session.now.format("%Y%m%dT%H%M%SZ")
    )))
}

/// The source under which the old content is kept: its own where it is known by its path, else one
/// named after the file.
fn safety_source(
    found: &ResolvedBackup,
    place: &Place,
    session: &Session,
    store: &dyn Store,
) -> Result<String> {
    let there = place
        .path
        .canonicalize()
        .unwrap_or_else(|_| place.path.clone());
    let of_config = session
        .config
        .iter()
        .flat_map(|config| &config.sources)
        .find(|(_, entry)| {
            let Some(path) = path_of_entry(entry) else {
                return false;
            };
            session.cwd.join(path) == place.path
                || session
                    .cwd
                    .join(path)
                    .canonicalize()
                    .is_ok_and(|path| path == there)
        });
    if let Some((name, _)) = of_config {
        return Ok(name.clone());
    }
    if place.origin
        && let Some(backup) = &found.backup
    {
        return Ok(backup.sidecar.source.clone());
    }
    let catalog = Catalog::read(store, None)?;
    let belongs_elsewhere = |name: &str| {
        let path = catalog.of(name).find_map(|backup| {
            backup
                .sidecar
                .database
                .as_ref()?
                .places()
                .into_iter()
                .next()
        });
        path.is_some_and(|path| path != there)
    };
    let name = plan::name_from_path(&place.path);
    Ok(units::free_name(&name, belongs_elsewhere))
}

/// Says what would be done; gives back which tables will differ.
fn say_plan(
    found: &ResolvedBackup,
    place: &Place,
    safety: &Safety,
    session: &Session,
    report: &Report,
    say: &dyn Fn(String),
) -> Vec<String> {
    let mut lost = Vec::new();
    let stored = found.stored();
    let what = super::described(found, session);
    say(format!("restoring {what}"));
    match &place.now {
        There::Nothing => say(format!(
            "to {}, where there is nothing now",
            place.path.display()
        )),
        There::Other(why) => {
            say(format!(
                "to {}, replacing what is there, which could not be looked at:",
                place.path.display()
            ));
            say(format!("  {why}"));
            say_safety(
                safety,
                "if it is a valid database it is first saved",
                report,
                say,
            );
            say("  if it is not, it is set aside as it is".to_owned());
        }
        There::Database(dumped) => {
            let size = units::size(dumped.database.size_bytes);
            let changed = last_change(&place.path).map_or(String::new(), |at| {
                format!(", last written {}", units::age(at, session.now))
            });
            say(format!(
                "to {}, replacing the database there: {}, {size}{changed}",
                place.path.display(),
                contents_text(Some(&dumped.manifest))
            ));
            lost = differences(&dumped.manifest, stored.manifest);
            lost.iter().for_each(|line| say(format!("  {line}")));
            say(format!(
                "  {}",
                contents_compared(found, place, &lost, session)
            ));
            say_safety(safety, "what is there is first saved", report, say);
        }
    }
    lost
}

/// What the counts do not tell. Whether anything was written since the backup is told by the hash
/// of all pages, which costs one reading of the database (a second for a gigabyte); row by row
/// nothing is compared.
fn contents_compared(
    found: &ResolvedBackup,
    place: &Place,
    lost: &[String],
    session: &Session,
) -> &'static str {
    let stored = found.stored();
    if !lost.is_empty() {
        return "where the counts are equal contents were not compared";
    }
    let settings = session.backup_settings();
    let source = SqliteSource::new(
        &place.path,
        Spool::Auto,
        &settings.scratch_dir,
        std::time::Duration::from_secs(5),
    );
    let same = stored.dump.is_some_and(|dump| {
        source
            .sha256()
            .is_ok_and(|sha256| sha256 == dump.content_sha256)
    });
    if same {
        "it is the same as in the backup, byte for byte"
    } else {
        "counts equal; contents not compared: it was written to since"
    }
}

fn say_safety(safety: &Safety, what: &str, report: &Report, say: &dyn Fn(String)) {
    match safety {
        Safety::None => report.warn("what is there is not saved (`--no-safety-backup`)"),
        Safety::Store { source, store } => say(format!(
            "  {what} as a `{PRE_RESTORE}` backup of `{source}` in {}",
            store.name()
        )),
        Safety::Beside(path) => say(format!("  {what} as {}", path.display())),
    }
}

fn last_change(path: &Path) -> Option<chrono::DateTime<chrono::Utc>> {
    let newest = |path: &Path| path.metadata().ok().map(|found| found.mtime());
    let log = PathBuf::from(format!("{}-wal", path.display()));
    let seconds = newest(path).max(newest(&log))?;
    chrono::DateTime::from_timestamp(seconds, 0)
}

fn path_of_entry(entry: &ConfiguredSource) -> Option<&Path> {
    match &entry.kind {
        KindSettings::Sqlite(own) => Some(&own.path),
        KindSettings::Postgres(_) | KindSettings::Files(_) => None,
    }
}

fn confirm(place: &Place, arguments: &RestoreArguments, report: &Report) -> Result<()> {
    if matches!(place.now, There::Nothing) {
        return Ok(());
    }
    super::confirm(&place.path.display().to_string(), arguments, report)
}

/// The whole content, examined, on the target's file system; nothing else was touched yet.
fn receive_and_check(
    found: &ResolvedBackup,
    place: &Place,
    session: &Session,
    report: &Report,
) -> Result<SqliteDestination> {
    let settings = session.settings_of(&found.source);
    let stored = found.stored();
    // Owner, mode and journal mode belong to the place that it came from.
    let recorded = if place.origin {
        stored.database.cloned().unwrap_or_default()
    } else {
        Database::default()
    };
    let target = Target {
        path: place.path.clone(),
        expected_absent: matches!(place.now, There::Nothing),
        recorded,
        stamp: session.now.format("%Y%m%dT%H%M%SZ").to_string(),
        lock_timeout: settings.lock_timeout.file,
        scratch_dir: settings.scratch_dir.clone(),
    };
    let mut destination = SqliteDestination::at(target, stored.content_size())?;
    let proving = Proving::default();
    let means = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        proving: &proving,
        observer: report,
    };
    let checks = examine::receive(&stored, &mut destination, Depth::Content, &means)?;
    for check in &checks {
        report.detail(format!("{}: {}", check.name, check.detail));
    }
    super::must_be_sound(found, &checks)?;
    Ok(destination)
}

fn say_done(
    found: &ResolvedBackup,
    place: &Place,
    published: &Published,
    kept: Option<Kept>,
    session: &Session,
    report: &Report,
) -> serde_json::Value {
    for warning in &published.warnings {
        report.warn(warning);
    }
    let target = place.path.display().to_string();
    let ok = report.paint(Paint::Good, "ok");
    report.line(format!(
        "{ok} {} restored to {target}: {}",
        found.name(),
        published.how
    ));
    let program = |store: &Location| super::program(store.as_os_str().to_str(), session);
    let undo = match (&kept, &published.set_aside) {
        (Some(Kept::Backup { id, store }), _) => Some(format!(
            "{} restore {id} --to {} --yes",
            program(store),
            units::shell_word(&target)
        )),
        (Some(Kept::File(path)), _) => Some(format!(
            "dbbackup restore {} --to {} --yes",
            units::shell_word(&path.display().to_string()),
            units::shell_word(&target)
        )),
        (None, Some(aside)) => Some(move_back(aside, &place.path, &published.companions)),
        (None, None) => None,
    };
    match (&kept, &published.set_aside) {
        (Some(Kept::Backup { id, store }), _) => report.line(super::kept_as(id, &program(store))),
        (Some(Kept::File(path)), _) | (None, Some(path)) => {
            report.line(format!("   what was there is kept as {}", path.display()))
        }
        (None, None) => {}
    }
    if let Some(undo) = &undo {
        report.line(format!("   to undo: {undo}"));
    }
    serde_json::json!({"id": found.name(), "target": target, "undo": undo, "how": published.how})
}

/// The commands that bring back what was set aside, with the files that belong to it; those of the
/// new database must not stay beside it.
fn move_back(aside: &Path, target: &Path, companions: &[(PathBuf, PathBuf)]) -> String {
    let word = |path: &Path| units::shell_word(&path.display().to_string());
    let new_ones: Vec<String> = ["-wal", "-shm", "-journal"]
        .iter()
        .map(|end| units::shell_word(&format!("{}{end}", target.display())))
        .collect();
    let back = std::iter::once((target, aside)).chain(
        companions
            .iter()
            .map(|(from, to)| (from.as_path(), to.as_path())),
    );
    let moves: Vec<String> = back
        .map(|(there, aside)| format!("mv {} {}", word(aside), word(there)))
        .collect();
    format!("rm -f {} && {}", new_ones.join(" "), moves.join(" && "))
}
