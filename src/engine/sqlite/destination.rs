//! A place for a decoded database: received beside its target (or in a scratch directory, for a
//! drill), examined there, and only then put in place.

use super::ownership::Ownership;
use super::source::SCRATCH_PREFIX;
use super::{Db, OpenMode, facts, pages, probe, replace};
use crate::durable::{self, SteadyFile};
use crate::engine::{
    Check, CheckFinding, CheckSubject, Database, Depth, Destination, Keep, Manifest, Published,
    compare_rows,
};
use crate::error::{Context, Error, Result};
use crate::scratch::{self, Scratch};
use crate::stream;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a restore puts the database.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// There was none when the user was asked: then one that has appeared meanwhile is never
    /// replaced.
    pub expected_absent: bool,
    /// What the backup knew of the file, for a place where there is none now; empty where the place
    /// is another one.
    pub recorded: Database,
    /// Names the files that are set aside, as `20261120T020000Z`.
    pub stamp: String,
    /// How long a locked database is waited for.
    pub lock_timeout: Duration,
    /// For what a safety backup may need.
    pub scratch_dir: PathBuf,
}

/// See the head of this file.
pub struct SqliteDestination {
    scratch: Scratch,
    target: Option<Target>,
    /// What was recorded of foreign keys at the backup.
    violations_then: Option<u64>,
    counted: Option<Manifest>,
}

impl SqliteDestination {
    /// For a drill in `scratch_dir`: `content_size` bytes must be free there. Nothing is ever
    /// published.
    pub fn drill(
        scratch_dir: &Path,
        content_size: u64,
        recorded: Option<&Database>,
    ) -> Result<Self> {
        let scratch = Scratch::new(scratch_dir, SCRATCH_PREFIX, content_size, "a trial restore")?;
        Ok(SqliteDestination {
            scratch,
            target: None,
            violations_then: recorded.and_then(|facts| facts.foreign_key_violations),
            counted: None,
        })
    }

    /// For a restore to `target`; the space for the copy, and for what SQLite needs to put it in
    /// place, must be free beside it.
    pub fn at(target: Target, content_size: u64) -> Result<Self> {
        // A symbolic link stays one: what it points to is replaced, on that file's own file system.
        let target = Target {
            path: target
                .path
                .canonicalize()
                .unwrap_or_else(|_| target.path.clone()),
            ..target
        };
        let dir = directory_of(&target.path);
        let needed = content_size.saturating_add(replace::needed(&target.path, content_size));
        let prefix = format!(
            ".{}.dbbackup-",
            target
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
        );
        let scratch = Scratch::new(dir, &prefix, needed, "the restored copy")?;
        let violations_then = target.recorded.foreign_key_violations;
        Ok(SqliteDestination {
            scratch,
            target: Some(target),
            violations_then,
            counted: None,
        })
    }

    /// Removes what killed restores left beside a database.
    pub fn sweep(database: &Path) {
        let database = &database
            .canonicalize()
            .unwrap_or_else(|_| database.to_path_buf());
        let prefix = format!(
            ".{}.dbbackup-",
            database.file_name().unwrap_or_default().to_string_lossy()
        );
        scratch::sweep(directory_of(database), &prefix);
    }

    /// What was received, to be read; after a check that found it sound.
    pub fn received(&self) -> Result<Db> {
        Db::open(&self.file(), OpenMode::Immutable)
    }

    fn file(&self) -> PathBuf {
        self.scratch.join("restored.sqlite3")
    }
}

/// The directory of a file's path; the current one where the path has none.
pub fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

impl Destination for SqliteDestination {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let path = self.file();
        let mut file = SteadyFile::new(durable::create_new(&path)?);
        stream::for_each_block(content, |block| {
            file.write_all(block)
                .with_context(|| format!("writing `{}`", path.display()))
        })?;
        pages::make_plain(&path)?;
        if self.target.is_some() {
            file.finish()
                .with_context(|| format!("syncing `{}`", path.display()))?;
        }
        Ok(())
    }

    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>> {
        let path = self.file();
        if probe::header(&path)? == probe::Header::Foreign {
            return Ok(vec![Check::damaged(
                CheckSubject::Integrity,
                CheckFinding::NotSqlite,
            )]);
        }
        // Both read the whole file, and each keeps one core busy. Two connections, also because the
        // one that counts is given stand-ins for the application's collations, which the other must
        // not have.
        let (integrity, counted) = std::thread::scope(|scope| {
            let examining =
                scope.spawn(|| facts::check_integrity(&Db::open(&path, OpenMode::Immutable)?));
            let counted = count(&path, depth);
            (
                examining
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                counted,
            )
        });
        let mut checks = vec![integrity?];
        let (counted, violations) = match counted {
            Ok(found) => found,
            Err(error) if error.kind() != crate::error::Kind::Damaged => return Err(error),
            Err(error) => {
                checks.push(Check::damaged(
                    CheckSubject::Rows,
                    CheckFinding::Message(error.message()),
                ));
                return Ok(checks);
            }
        };
        checks.push(match expected {
            Some(expected) => compare_rows(expected, &counted.tables),
            None => Check::ok(
                CheckSubject::Rows,
                CheckFinding::RowsCounted {
                    rows: counted.rows_total,
                },
            ),
        });
        if depth == Depth::Drill {
            let keys = CheckFinding::ForeignKeys {
                found: violations,
                expected: self.violations_then,
            };
            checks.push(Check::ok(CheckSubject::ForeignKeys, keys));
        }
        self.counted = Some(counted);
        Ok(checks)
    }

    fn counted(&self) -> Option<Manifest> {
        self.counted.clone()
    }

    fn publish(&mut self, keep: Keep<'_>) -> Result<Published> {
        let Some(target) = &self.target else {
            return Err(Error::failed("a drill has no place to restore to"));
        };
        replace::replace(&self.file(), target, keep)
    }
}

/// The rows of every table, and for a drill those whose foreign key points nowhere.
fn count(path: &Path, depth: Depth) -> Result<(Manifest, Option<u64>)> {
    let db = Db::open(path, OpenMode::Immutable)?;
    let manifest = facts::count_rows(&db)?;
    let violations = if depth == Depth::Drill {
        facts::count_foreign_key_violations(&db, &mut Vec::new())?
    } else {
        None
    };
    Ok((manifest, violations))
}

/// The ownership that a new file gets where there was none.
pub fn recorded_ownership(recorded: &Database) -> Ownership {
    Ownership::recorded(recorded.owner.as_deref(), recorded.mode.as_deref())
}
