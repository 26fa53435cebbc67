//! Restoring a SQLite database: the copy is complete and checked before the file is touched; what
//! was there is kept; how to undo it is said.

mod safety;

use self::safety::plan_safety;
use super::RestoredBackup;
use super::context::RestoreContext;
use super::differences::row_differences;
use super::driver::{Question, RestorePlan, RestoreSteps, open_once};
use super::safety::{KeptContent, Safety, safety_backup_text};
use crate::config::{ConfiguredSource, KindSettings};
use crate::engine::sqlite::destination::{Target, directory_of};
use crate::engine::sqlite::{Spool, SqliteDestination, SqliteSource, names};
use crate::engine::{Database, Destination, Dumped, Published};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::ops::Session;
use crate::ops::content::describe_contents;
use crate::ops::find::ResolvedBackup;
use crate::plan;
use crate::retention::PRE_RESTORE;
use crate::units;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a locked database is waited for that is only looked at.
const PATIENCE: Duration = Duration::from_secs(5);

/// The restore of a SQLite database.
pub struct SqliteRestore<'a> {
    context: RestoreContext<'a>,
    place: DatabasePlace,
    safety: Safety,
    destination: Option<SqliteDestination>,
}

/// Where a database goes, and what is there now.
struct DatabasePlace {
    path: PathBuf,
    /// It is where the backup came from.
    is_origin: bool,
    now: OldContent,
}

/// What is in a place before a restore.
enum OldContent {
    Nothing,
    Database(Box<Dumped>),
    /// Not a valid database, or not to be read now; why.
    Other(String),
}

impl<'a> SqliteRestore<'a> {
    /// Finds the place.
    pub fn new(context: RestoreContext<'a>) -> Result<Self> {
        Ok(SqliteRestore {
            place: place(context)?,
            context,
            safety: Safety::None,
            destination: None,
        })
    }

    /// Adds to a plan what becomes of the database that is there.
    fn plan_replacement(&self, plan: &mut RestorePlan, dumped: &Dumped) {
        let place = &self.place;
        let size = units::size(dumped.database.size_bytes);
        let changed = last_change(&place.path).map_or(String::new(), |at| {
            let age = units::age(at, self.context.session.now);
            format!(", last written {age}")
        });
        plan.add_line(format!(
            "to {}, replacing the database there: {}, {size}{changed}",
            place.path.display(),
            describe_contents(&dumped.manifest)
        ));
        let lost = row_differences(&dumped.manifest, self.context.found.stored().manifest);
        lost.iter()
            .for_each(|line| plan.add_line(format!("  {line}")));
        plan.add_line(format!("  {}", self.compare_contents(&lost)));
        plan.differences = Some(lost);
        self.plan_safety(plan, "what is there is first saved");
    }

    /// Says what the counts do not tell. Whether anything was written since the backup is told by
    /// the hash of all pages, which costs one reading of the database (a second for a gigabyte);
    /// row by row nothing is compared.
    fn compare_contents(&self, lost: &[String]) -> &'static str {
        if !lost.is_empty() {
            return "where the counts are equal contents were not compared";
        }
        let source = source_at(&self.place.path, self.context.session);
        let is_same = self.context.found.stored().dump.is_some_and(|dump| {
            source
                .sha256()
                .is_ok_and(|sha256| Some(sha256) == dump.content_sha256)
        });
        if is_same {
            "it is the same as in the backup, byte for byte"
        } else {
            "counts equal; contents not compared: it was written to since"
        }
    }

    /// Adds to a plan where the old content is kept.
    fn plan_safety(&self, plan: &mut RestorePlan, what: &str) {
        match &self.safety {
            Safety::None | Safety::Aside => {
                plan.add_warning("what is there is not saved (`--no-safety-backup`)");
            }
            Safety::Store { source, store, .. } => plan.add_line(format!(
                "  {what} as a `{PRE_RESTORE}` backup of `{source}` in {}",
                store.name()
            )),
            Safety::Beside(path) => plan.add_line(format!("  {what} as {}", path.display())),
        }
    }
}

impl RestoreSteps for SqliteRestore<'_> {
    fn plan(&mut self) -> Result<RestorePlan> {
        self.safety = plan_safety(self.context, &self.place)?;
        let path = self.place.path.display();
        let replaces = !matches!(self.place.now, OldContent::Nothing);
        let mut plan = RestorePlan {
            target: path.to_string(),
            question: replaces.then(|| Question::Replace(path.to_string())),
            replaces: Some(replaces),
            differences: Some(Vec::new()),
            ..RestorePlan::default()
        };
        plan.add_line(format!("restoring {}", self.context.description()));
        match &self.place.now {
            OldContent::Nothing => {
                plan.add_line(format!("to {path}, where there is nothing now"));
            }
            OldContent::Other(why) => {
                plan.add_line(format!(
                    "to {path}, replacing what is there, which could not be looked at:"
                ));
                plan.add_line(format!("  {why}"));
                self.plan_safety(&mut plan, "if it is a valid database it is first saved");
                plan.add_line("  if it is not, it is set aside as it is");
            }
            OldContent::Database(dumped) => self.plan_replacement(&mut plan, dumped),
        }
        Ok(plan)
    }

    fn prepare(&mut self) -> Result<Safety> {
        Ok(std::mem::replace(&mut self.safety, Safety::None))
    }

    fn lock(&mut self, safety: &Safety) -> Result<Option<Lock>> {
        safety.lock(self.context)
    }

    /// The copy is made on the target's file system.
    fn destination(&mut self) -> Result<&mut dyn Destination> {
        let open = || open_destination(self.context, &self.place);
        Ok(open_once(&mut self.destination, open)?)
    }

    fn conclude(
        &mut self,
        published: &Published,
        kept: Option<KeptContent>,
    ) -> Result<RestoredBackup> {
        let (context, observer) = (self.context, self.context.observer);
        let target = self.place.path.display().to_string();
        let to = units::shell_word(&target);
        let undo = match (&kept, &published.set_aside) {
            (Some(KeptContent::Backup { id, store }), _) => {
                let program = context.program(store.as_os_str().to_str());
                observer.line(safety_backup_text(id, &program));
                Some(format!("{program} restore {id} --to {to} --yes"))
            }
            (Some(KeptContent::File(path)), _) => {
                observer.line(format!("   what was there is kept as {}", path.display()));
                let path = units::shell_word(&path.display().to_string());
                Some(format!("dbbackup restore {path} --to {to} --yes"))
            }
            (None, Some(aside)) => {
                observer.line(format!("   what was there is kept as {}", aside.display()));
                Some(move_back(aside, &self.place.path, &published.companions))
            }
            (None, None) => None,
        };
        if let Some(undo) = &undo {
            observer.line(format!("   to undo: {undo}"));
        }
        Ok(RestoredBackup {
            id: context.found.name(),
            target,
            undo,
            kept: None,
            how: Some(published.how.clone()),
        })
    }
}

fn place(context: RestoreContext<'_>) -> Result<DatabasePlace> {
    let (found, session) = (context.found, context.session);
    let recorded = recorded_path(found);
    let path = match &context.request.to {
        Some(to) => given_path(to, session)?,
        None => origin(context)?,
    };
    let configured = session
        .entry_of(&found.source)
        .and_then(path_of_entry)
        .map(|path| session.cwd.join(path));
    let is_same =
        |other: &Path| other == path || path.canonicalize().is_ok_and(|path| path == other);
    let is_origin =
        recorded.as_deref().is_some_and(is_same) || configured.as_deref().is_some_and(is_same);
    refuse_unfit(&path)?;
    let now = look_at(&path, session);
    Ok(DatabasePlace {
        path,
        is_origin,
        now,
    })
}

/// Refuses a path that can't become a database.
fn refuse_unfit(path: &Path) -> Result<()> {
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
    if !directory_of(path).is_dir() {
        return Err(Error::failed(format!(
            "the directory of `{}` is not there",
            path.display()
        ))
        .with_hint("make it first, or choose another `--to`"));
    }
    names::refuse_second_name(&path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
}

/// The database at a path, to look at.
fn source_at(path: &Path, session: &Session) -> SqliteSource {
    let scratch_dir = session.backup_settings().scratch_dir;
    SqliteSource::new(path, Spool::Auto, &scratch_dir, PATIENCE)
}

fn look_at(path: &Path, session: &Session) -> OldContent {
    if path.symlink_metadata().is_err() {
        return OldContent::Nothing;
    }
    match source_at(path, session).inspect() {
        Ok(dumped) => OldContent::Database(Box::new(dumped)),
        Err(error) => OldContent::Other(error.message()),
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

/// The path that the sidecar records. dbbackup records absolute paths alone: a relative one, which
/// would mean another file in each directory, names no place.
fn recorded_path(found: &ResolvedBackup) -> Option<PathBuf> {
    found
        .backup
        .as_ref()?
        .sidecar
        .database
        .as_ref()?
        .path
        .clone()
        .filter(|path| path.is_absolute())
}

/// Finds the place that the backup came from, if this configuration knows the source or this
/// machine made the backup.
fn origin(context: RestoreContext<'_>) -> Result<PathBuf> {
    let (found, session) = (context.found, context.session);
    let backup = context.backup("PATH")?;
    let source = &backup.sidecar.source;
    let entry = (session.config.as_ref()).and_then(|config| config.source(source));
    if let Some(entry) = entry {
        if let Some(why) = &entry.fault {
            return Err(why.clone().into());
        }
        let path = path_of_entry(entry).ok_or_else(|| {
            Error::usage(format!(
                "`{source}` is no SQLite database in the configuration"
            ))
            .with_hint(context.how_to_name_target("PATH"))
        })?;
        return Ok(session.cwd.join(path));
    }
    let Some(path) = recorded_path(found) else {
        return Err(context.unknown_place(backup, "PATH"));
    };
    context.refuse_foreign(backup, &units::shell_word(&path.to_string_lossy()))?;
    Ok(path)
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

fn open_destination(
    context: RestoreContext<'_>,
    place: &DatabasePlace,
) -> Result<SqliteDestination> {
    let stored = context.found.stored();
    let settings = context.settings();
    // Owner, mode and journal mode belong to the place that it came from.
    let recorded = if place.is_origin {
        stored.database.cloned().unwrap_or_default()
    } else {
        Database::default()
    };
    let target = Target {
        path: place.path.clone(),
        expected_absent: matches!(place.now, OldContent::Nothing),
        recorded,
        stamp: context.stamp(),
        lock_timeout: settings.lock_timeout.file,
        scratch_dir: settings.scratch_dir.clone(),
    };
    SqliteDestination::at(target, stored.content_size())
}
