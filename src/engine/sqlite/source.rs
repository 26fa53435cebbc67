//! A consistent snapshot of a live database, written out as a plain single file.
//!
//! In WAL mode a read transaction disturbs nobody: the pages go from it straight into the pipeline.
//! In rollback mode a reader blocks the writers, so the transaction lasts no longer than a plain
//! copy into the scratch directory takes, and the rest is done from that copy. Rows are counted in
//! the same transaction, or on that copy.
//!
//! The way of a backup is here. [`stream`] writes the content alone, [`description`] adds the
//! manifest and the facts, [`preview`] looks at a database without a backup, and [`locked`] reads
//! one that a restore has locked.

mod description;
mod locked;
mod preview;
mod stream;

use super::names::{self, NameInUse};
use super::registry::FileKey;
use super::strangers::{self, TornReadCheck};
use super::{Db, OpenMode, companion, crashed, facts, pages, probe, stamp};
use crate::engine::{Database, Dumped, Source};
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use description::{describe, describe_during};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use locked::LockedSource;
pub use stream::StreamedDatabase;

/// The prefix of the scratch directories for copies and drills.
pub const SCRATCH_PREFIX: &str = "dbbackup-";

/// The journal modes in which the database is copied into the scratch directory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spool {
    /// In rollback mode only.
    #[default]
    Auto,
    /// In either mode.
    Always,
    /// In neither, although writers then wait for the compression as well.
    Never,
    /// In neither, and a database that could only be saved from a copy is refused: it is to be
    /// encrypted, and the copy would not be.
    Forbidden,
}

/// A database file as a source.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
    spool: Spool,
    scratch_dir: PathBuf,
    lock_timeout: Duration,
    page_streaming: bool,
    on_damage: OnDamage,
    directory: Option<DirectoryAccess>,
}

/// A database that is opened through its directory: see [`super::vfs`].
#[derive(Debug)]
struct DirectoryAccess {
    key: FileKey,
    /// The path that people know.
    shown: PathBuf,
    /// Its names in other directories of the tree.
    other_names: Vec<PathBuf>,
    _dir: Arc<OwnedFd>,
}

/// The way to deal with a database that turns out to be damaged while it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDamage {
    /// No backup is made: it would push out the sound ones that were made before.
    Refuse,
    /// It is kept as it is, with a warning.
    Warn,
}

impl SqliteSource {
    /// The database `path`. If it is locked, a backup waits as long as `lock_timeout`.
    pub fn new(path: &Path, spool: Spool, scratch_dir: &Path, lock_timeout: Duration) -> Self {
        // Companions are named after the target of a symbolic link, and the registry knows files,
        // not names.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        SqliteSource {
            path,
            spool,
            scratch_dir: scratch_dir.to_path_buf(),
            lock_timeout,
            page_streaming: super::page_streaming(),
            on_damage: OnDamage::Refuse,
            directory: None,
        }
    }

    /// Reads the database by `path`, which leads through the open directory `dir`, if it is the
    /// file `key`. `shown` is the path that people know.
    #[must_use]
    pub fn through_directory(
        mut self,
        path: PathBuf,
        dir: Arc<OwnedFd>,
        key: FileKey,
        shown: &Path,
    ) -> Self {
        self.path = path;
        self.directory = Some(DirectoryAccess {
            key,
            shown: shown.to_path_buf(),
            other_names: Vec::new(),
            _dir: dir,
        });
        self
    }

    /// Adds names that the file has in other directories.
    #[must_use]
    pub fn with_other_names(mut self, names: Vec<PathBuf>) -> Self {
        if let Some(directory) = &mut self.directory {
            directory.other_names = names;
        }
        self
    }

    /// Saves a damaged database too, for a backup of what is about to be replaced.
    #[must_use]
    pub fn allowing_damage(mut self) -> Self {
        self.on_damage = OnDamage::Warn;
        self
    }

    /// Works as if SQLite's page table were not compiled in.
    #[must_use]
    pub fn without_page_streaming(mut self) -> Self {
        self.page_streaming = false;
        self
    }

    /// The name by which the database must be read, which is the one that has the log.
    fn name_in_use(&self) -> Result<NameInUse> {
        probe::must_be_there(&self.path)?;
        let directory = self.directory.as_ref();
        names::find_name_in_use(
            &self.path,
            directory.map_or(&[], |directory| &directory.other_names),
        )
    }

    /// Whether it is what a backup found that noted these facts. Nothing but its header is read.
    pub fn is_unchanged_since(&self, then: &Database) -> bool {
        let is_its_path = then.path == Some(facts::printable(&self.path));
        let Some(stamp) = then.stamp.as_deref().filter(|_| is_its_path) else {
            return false;
        };
        // What is written by another name has its log there.
        let is_its_name = |name: NameInUse| name.path == self.path && name.warning.is_none();
        self.name_in_use().is_ok_and(is_its_name) && stamp::is_unchanged(&self.path, stamp)
    }

    /// Whether its pages have the size, and its texts the encoding, of what a backup holds, as far
    /// as its file tells: one without a header has neither.
    pub fn has_layout_of(&self, then: &Database) -> bool {
        match probe::layout(&self.path) {
            Ok(Some(layout)) => {
                then.page_size == Some(layout.page_size)
                    && then.encoding.as_deref() == Some(layout.encoding)
            }
            _ => true,
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Db> {
        match &self.directory {
            Some(directory) => Db::open_inside(path, directory.key, mode),
            None => Db::open(path, mode),
        }
    }

    /// Whether the database is copied into the scratch directory before anything is written; an
    /// error where it could only be read so, and must not be.
    fn must_copy_first(&self, journal_mode: Option<&str>) -> Result<bool> {
        let is_wanted = match self.spool {
            Spool::Auto => journal_mode != Some("wal"),
            Spool::Always => true,
            Spool::Never => false,
            Spool::Forbidden if self.page_streaming => false,
            Spool::Forbidden => {
                return Err(Error::failed(format!(
                    "`{}` can't be read in place by this build of dbbackup, which has no page \
                     streaming; a copy would lie in the clear in `{}`",
                    self.path.display(),
                    self.scratch_dir.display()
                ))
                .with_hint(
                    "build dbbackup in a clone of its repository, which has page streaming; or \
                     allow the copy with `spool = \"always\"`",
                ));
            }
        };
        Ok(is_wanted || !self.page_streaming)
    }

    /// Begins the read transaction, and in WAL mode a second one of the very same moment, so that
    /// rows can be counted while the pages are streamed.
    ///
    /// The twin notes the data version before the first transaction begins. If it has not changed
    /// when both have begun, nobody has committed in between, and the moments are the same.
    fn begin_with_twin(&self, live: &Db, mode: OpenMode) -> Result<Option<Db>> {
        live.begin("BEGIN", self.lock_timeout)?;
        if mode != OpenMode::Read || live.pragma::<String>("journal_mode")? != "wal" {
            return Ok(None);
        }
        let twin = Db::open(live.path(), mode)?;
        for _ in 0..50 {
            live.run("COMMIT")?;
            let before: i64 = twin.pragma("data_version")?;
            live.begin("BEGIN", self.lock_timeout)?;
            twin.begin("BEGIN", self.lock_timeout)?;
            if twin.pragma::<i64>("data_version")? == before {
                return Ok(Some(twin));
            }
            twin.run("COMMIT")?;
        }
        Ok(None)
    }

    /// Copies the database as the open transaction sees it.
    fn copy(&self, live: &Db) -> Result<ScratchCopy> {
        let copy = ScratchCopy::reserve(&self.scratch_dir, pages::size(live)?)?;
        let copied = if self.page_streaming {
            pages::copy(live, &copy.path)
        } else {
            pages::copy_by_backup_api(live, &copy.path)
        };
        copied.with_context(|| {
            format!(
                "copying `{}` to `{}`",
                self.path.display(),
                copy.path.display()
            )
        })?;
        Ok(copy)
    }
}

/// A copy of a database in a scratch directory, which is removed with it.
struct ScratchCopy {
    path: PathBuf,
    _scratch: Scratch,
}

impl ScratchCopy {
    /// Makes a scratch directory for a copy of `size` bytes; the copy is not there yet.
    fn reserve(scratch_dir: &Path, size: u64) -> Result<ScratchCopy> {
        let scratch = Scratch::new(scratch_dir, SCRATCH_PREFIX, size, "a copy of the database")?;
        Ok(ScratchCopy {
            path: scratch.join("copy.sqlite3"),
            _scratch: scratch,
        })
    }

    /// The copy's size in bytes.
    fn size(&self) -> Result<u64> {
        let found = self.path.metadata();
        let context = || format!("reading `{}`", self.path.display());
        Ok(found.with_context(context)?.len())
    }
}

impl Source for SqliteSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let name = self.name_in_use()?;
        let mut dumped = self.dump_by_name(&name.path, out)?;
        dumped.warnings.extend(name.warning);
        Ok(dumped)
    }

    fn estimate(&self) -> u64 {
        // Pages in the log mostly replace others. A database that is all log is at least as large
        // as its log.
        let log = file_size(&companion(&self.path, "-wal"));
        self.path.metadata().map_or(0, |found| found.len().max(log))
    }
}

/// The size of a file in bytes; 0 if it can't be known.
fn file_size(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

impl SqliteSource {
    fn dump_by_name(&self, path: &Path, out: &mut dyn Write) -> Result<Dumped> {
        let mode = probe::before_reading(path)?;
        strangers::wait_for_them(path, self.lock_timeout)?;
        // Before the snapshot, so that a commit between the two makes it worthless.
        let is_alone = self.directory.is_none() && path == self.path;
        let stamp = is_alone.then(|| stamp::take(path)).flatten().map(Box::new);
        if let Some(copy) = self.copy_rolled_back(path)? {
            let database =
                facts::read_settings(&Db::open(&copy.path, OpenMode::Immutable)?, &self.path)?;
            let mut dumped = self.send_copy(&copy, database, out)?;
            dumped.warnings.push(crashed::WARNING.to_owned());
            return Ok(dumped);
        }
        let live = Db::open(path, mode)?;
        let twin = self.begin_with_twin(&live, mode)?;
        let database = Database {
            stamp,
            ..facts::read_settings(&live, &self.path)?
        };
        let torn_read = TornReadCheck::begin(&live, mode, database.journal_mode.as_deref())?;
        let on_damage = self.on_damage;
        if !self.must_copy_first(database.journal_mode.as_deref())? {
            return match twin {
                Some(twin) => describe_during(
                    move || describe(&twin, database, on_damage),
                    || pages::stream(&live, out),
                ),
                None => {
                    pages::stream(&live, out)?;
                    torn_read.verify(|| self.open(path, mode))?;
                    describe(&live, database, on_damage)
                }
            };
        }
        drop(twin);
        let copy = self.copy(&live)?;
        torn_read.verify(|| self.open(path, mode))?;
        drop(live);
        self.send_copy(&copy, database, out)
    }

    /// Writes the copy to `out`, and describes it meanwhile. Nobody else writes to the copy, so it
    /// needs no locks, and two may read it at once.
    fn send_copy(
        &self,
        copy: &ScratchCopy,
        database: Database,
        out: &mut dyn Write,
    ) -> Result<Dumped> {
        let on_damage = self.on_damage;
        let describe_copy = || {
            let db = Db::open(&copy.path, OpenMode::Immutable)?;
            describe(&db, database, on_damage)
        };
        let described = describe_during(describe_copy, || pages::send_file(&copy.path, out));
        // A fault of the copy is one of the database, which stays to be examined. So the error
        // names the database.
        described.map_err(|error| error.renamed(&copy.path, &self.path))
    }

    /// Copies a database with a transaction that a crash has cut off, and rolls that back in the
    /// copy; `None` if there is no such transaction.
    fn copy_rolled_back(&self, path: &Path) -> Result<Option<ScratchCopy>> {
        if !crashed::is_cut_off(path) {
            return Ok(None);
        }
        if self.spool == Spool::Forbidden {
            return Err(Error::failed(format!(
                "`{}` has a transaction that a crash has cut off; it is rolled back in a copy, \
                 which would lie in the clear in `{}`",
                self.path.display(),
                self.scratch_dir.display()
            ))
            .with_hint(
                "let its application open it once, or `sqlite3 FILE 'PRAGMA user_version'` as its \
                 owner: that rolls it back; or allow the copy with `spool = \"always\"`",
            ));
        }
        let size = file_size(path) + file_size(&companion(path, "-journal"));
        let copy = ScratchCopy::reserve(&self.scratch_dir, size)?;
        let key = self.directory.as_ref().map(|directory| directory.key);
        Ok(crashed::copy(path, key, &copy.path)?.then_some(copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_forbidden_copy_is_not_made_for_want_of_page_streaming_either() {
        let dir = tempfile::tempdir().unwrap();
        let (path, scratch) = (dir.path().join("a.db"), dir.path().join("scratch"));
        let app = Connection::open(&path).unwrap();
        app.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES ('secret')")
            .unwrap();
        for journal in ["wal", "delete"] {
            app.pragma_update(None, "journal_mode", journal).unwrap();
            let in_place = SqliteSource::new(&path, Spool::Forbidden, &scratch, Duration::ZERO);
            let mut content = Vec::new();
            if super::super::page_streaming() {
                assert!(!in_place.must_copy_first(Some(journal)).unwrap());
            }
            let mut source = in_place.without_page_streaming();
            let error = source.dump(&mut content).unwrap_err();
            assert!(error.message().contains("no page streaming"), "{error}");
            let hint = error.hint().expect("a remedy").to_string();
            assert!(hint.contains("spool = \"always\""), "{hint}");
            let streamed = source.stream(|_| panic!("nothing is begun"));
            assert!(streamed.unwrap_err().message().contains("in the clear"));
            assert!(source.rehearse().is_err() || journal == "wal");
            assert!(content.is_empty() && !scratch.exists());
        }
    }
}
