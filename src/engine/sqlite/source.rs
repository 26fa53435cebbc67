//! A consistent snapshot of a live database, written out as a plain single file.
//!
//! In WAL mode a read transaction disturbs nobody: the pages go from it straight into the pipeline.
//! In rollback mode a reader blocks the writers, so the transaction lasts no longer than a plain
//! copy into the scratch directory takes, and the rest is done from that copy. Rows are counted in
//! the same transaction, or on that copy.

use super::names::{self, Name};
use super::registry::{Claim, Key};
use super::strangers::{self, TornReadCheck};
use super::{Db, OpenMode, crashed, facts, pages, probe};
use crate::engine::{Database, Dumped, Source};
use crate::error::{Context, Error, Kind, Result};
use crate::scratch::Scratch;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The prefix of scratch directories of spools and drills.
pub const SCRATCH_PREFIX: &str = "dbbackup-";

/// Whether the database is copied into the scratch directory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spool {
    /// In rollback mode only.
    #[default]
    Auto,
    /// In either mode.
    Always,
    /// In neither, although writers then wait for the compression as well.
    Never,
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
    inside: Option<DirectoryAccess>,
}

/// A database that is opened through its directory: see [`super::inside`].
#[derive(Debug)]
struct DirectoryAccess {
    key: Key,
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
    /// The database `path`. A locked one is waited for as long as `lock_timeout`.
    pub fn new(path: &Path, spool: Spool, scratch_dir: &Path, lock_timeout: Duration) -> Self {
        // Companions are named after what a symbolic link points to, and the registry knows files,
        // not names.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        SqliteSource {
            path,
            spool,
            scratch_dir: scratch_dir.to_path_buf(),
            lock_timeout,
            page_streaming: super::page_streaming(),
            on_damage: OnDamage::Refuse,
            inside: None,
        }
    }

    /// The database `path`, which leads through the open directory `dir`, if it is the file `key`;
    /// `shown` is what people know it as.
    #[must_use]
    pub fn inside(mut self, path: PathBuf, dir: Arc<OwnedFd>, key: Key, shown: &Path) -> Self {
        self.path = path;
        self.inside = Some(DirectoryAccess {
            key,
            shown: shown.to_path_buf(),
            other_names: Vec::new(),
            _dir: dir,
        });
        self
    }

    /// Names that the file has in other directories.
    #[must_use]
    pub fn also_called(mut self, names: Vec<PathBuf>) -> Self {
        if let Some(inside) = &mut self.inside {
            inside.other_names = names;
        }
        self
    }

    /// Keeps a damaged database too, for a backup of what is about to be replaced.
    #[must_use]
    pub fn kept_if_damaged(mut self) -> Self {
        self.on_damage = OnDamage::Warn;
        self
    }

    /// Works as if SQLite's page table were not compiled in.
    #[must_use]
    pub fn without_page_streaming(mut self) -> Self {
        self.page_streaming = false;
        self
    }

    /// Checks whether the database can probably be backed up. Nothing is locked, and only the
    /// header is read.
    pub fn probe(&self) -> Result<()> {
        probe::before_reading(&self.name_in_use()?.path).map(drop)
    }

    /// The name by which the database must be read, which is the one that has the log.
    fn name_in_use(&self) -> Result<Name> {
        probe::must_be_there(&self.path)?;
        names::in_use(
            &self.path,
            self.inside
                .as_ref()
                .map_or(&[], |inside| &inside.other_names),
        )
    }

    fn open(&self, path: &Path, purpose: OpenMode) -> Result<Db> {
        match &self.inside {
            Some(inside) => Db::open_inside(path, inside.key, purpose),
            None => Db::open(path, purpose),
        }
    }

    /// Takes the first steps of a backup: opens the database and has a read transaction for a
    /// moment. Returns in words what a backup will do, and the bytes that it needs in the scratch
    /// directory.
    ///
    /// A database in WAL mode that nobody has open is not opened: reading it would leave its -wal
    /// and -shm there.
    pub fn rehearse(&self) -> Result<(String, u64)> {
        let path = self.name_in_use()?.path;
        let purpose = probe::before_reading(&path)?;
        let closed = purpose == OpenMode::Read && !super::companion(&path, "-shm").exists();
        if closed && probe::header(&path)? == (probe::Header::Database { wal: true }) {
            probe::companions_can_be_made(&path)?;
            let size = if self.page_streaming {
                0
            } else {
                self.estimate()
            };
            return Ok((
                "in WAL mode, and no application has it open".to_owned(),
                size,
            ));
        }
        if crashed::is_cut_off(&path) {
            let text = "a crash has cut off a transaction: it is rolled back in a copy in the \
                        scratch directory";
            return Ok((text.to_owned(), self.estimate()));
        }
        let live = Db::open(&path, purpose)?;
        live.begin("BEGIN", self.lock_timeout.min(Duration::from_secs(5)))?;
        let mode: String = live.pragma("journal_mode")?;
        let size = pages::size(&live)?;
        Ok(match (self.must_copy_first(Some(&mode)), mode.as_str()) {
            (false, "wal") => (
                "in WAL mode: its pages are streamed while writers go on".to_owned(),
                0,
            ),
            (false, _) => (
                format!(
                    "in journal mode {mode}: its pages are streamed, and writers wait meanwhile"
                ),
                0,
            ),
            (true, _) => (
                format!(
                    "in journal mode {mode}: it is copied to the scratch directory first, then \
                     packed"
                ),
                size,
            ),
        })
    }

    /// Describes what the database holds now, without reading its content out.
    pub fn inspect(&self) -> Result<Dumped> {
        let path = self.name_in_use()?.path;
        let live = Db::open(&path, probe::before_reading(&path)?)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let database = facts::database(&live, &self.path)?;
        let manifest = facts::manifest(&live)?;
        Ok(Dumped {
            manifest,
            database,
            ..Dumped::default()
        })
    }

    /// Reads pieces from all over the file, to see how well it compresses. It is read beside
    /// SQLite, so this run may not have it open.
    pub fn sample(&self) -> Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        const PIECES: u64 = 32;
        const PIECE: u64 = 64 << 10;
        let claim = Claim::plain(&self.path)?;
        let context = || format!("reading `{}`", self.path.display());
        let file = super::beside::open_plain(&self.path).with_context(context)?;
        let found = file.metadata().with_context(context)?;
        if !claim.is_for(&found) {
            // Closed, it could drop the locks of a connection of this run.
            std::mem::forget(file);
            return Err(Error::failed(
                "it was replaced by another file at this moment",
            ))
            .with_context(context);
        }
        let mut sample = vec![0; (PIECES * PIECE).min(found.len()) as usize];
        let apart = if found.len() > PIECES * PIECE {
            found.len() / PIECES
        } else {
            PIECE
        };
        for (piece, at) in sample
            .chunks_mut(PIECE as usize)
            .zip((0..).step_by(apart as usize))
        {
            file.read_exact_at(piece, at).with_context(context)?;
        }
        Ok(sample)
    }

    /// The hash of all that a backup would hold now, in hex.
    pub fn sha256(&self) -> Result<String> {
        let path = self.name_in_use()?.path;
        let live = self.open(&path, probe::before_reading(&path)?)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let mut hashing = HashSink(Sha256::new());
        pages::stream(&live, &mut hashing)?;
        Ok(hashing
            .0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Writes the content without counting its rows to the writer that `begin` returns for the size
    /// in bytes.
    pub fn stream<'w>(
        &self,
        begin: impl FnOnce(u64) -> Result<&'w mut dyn Write>,
    ) -> Result<StreamedDatabase> {
        self.try_stream(begin).map_err(|error| match &self.inside {
            Some(inside) => {
                let dir = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_path_buf();
                error.renamed(&dir(&self.path), &dir(&inside.shown))
            }
            None => error,
        })
    }

    fn try_stream<'w>(
        &self,
        begin: impl FnOnce(u64) -> Result<&'w mut dyn Write>,
    ) -> Result<StreamedDatabase> {
        let Name { path, warning } = self.name_in_use()?;
        let purpose = probe::before_reading(&path)?;
        strangers::wait_for_them(&path, self.lock_timeout)?;
        if let Some(copy) = self.rolled_back(&path)? {
            let size = copy
                .path
                .metadata()
                .with_context(|| format!("reading `{}`", copy.path.display()))?
                .len();
            pages::send_file(&copy.path, begin(size)?)?;
            let db = Db::open(&copy.path, OpenMode::Immutable)?;
            let warning = Some(format!("`{}`: {}", path.display(), crashed::WARNING));
            return Ok(StreamedDatabase {
                journal_mode: db.pragma("journal_mode")?,
                path,
                warning,
                damage: damage_in(&db)?,
            });
        }
        let live = self.open(&path, purpose)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let journal_mode: String = live.pragma("journal_mode")?;
        let untouched = TornReadCheck::begin(&live, purpose, Some(&journal_mode))?;
        let damage = if self.must_copy_first(Some(&journal_mode)) {
            let copy = self.copy(&live)?;
            untouched.verify(|| self.open(&path, purpose))?;
            drop(live);
            let size = copy
                .path
                .metadata()
                .with_context(|| format!("reading `{}`", copy.path.display()))?
                .len();
            pages::send_file(&copy.path, begin(size)?)?;
            damage_in(&Db::open(&copy.path, OpenMode::Immutable)?)?
        } else {
            let out = begin(pages::size(&live)?)?;
            pages::stream(&live, out)?;
            untouched.verify(|| self.open(&path, purpose))?;
            damage_in(&live)?
        };
        Ok(StreamedDatabase {
            journal_mode,
            path,
            warning,
            damage,
        })
    }

    fn must_copy_first(&self, journal_mode: Option<&str>) -> bool {
        let by_choice = match self.spool {
            Spool::Auto => journal_mode != Some("wal"),
            Spool::Always => true,
            Spool::Never => false,
        };
        by_choice || !self.page_streaming
    }

    /// Begins the read transaction, and in WAL mode a second one of the very same moment, so that
    /// rows can be counted while the pages are streamed.
    ///
    /// The moments are the same if the twin, which looked before the first one began, sees on its
    /// second look that nobody has committed since.
    fn begin(&self, live: &Db, purpose: OpenMode) -> Result<Option<Db>> {
        live.begin("BEGIN", self.lock_timeout)?;
        if purpose != OpenMode::Read || live.pragma::<String>("journal_mode")? != "wal" {
            return Ok(None);
        }
        let twin = Db::open(live.path(), purpose)?;
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

    fn copy(&self, live: &Db) -> Result<ScratchCopy> {
        let scratch = Scratch::new(
            &self.scratch_dir,
            SCRATCH_PREFIX,
            pages::size(live)?,
            "a copy of the database",
        )?;
        let path = scratch.join("copy.sqlite3");
        let copied = if self.page_streaming {
            pages::copy(live, &path)
        } else {
            pages::copy_by_backup_api(live, &path)
        };
        copied.with_context(|| {
            format!("copying `{}` to `{}`", self.path.display(), path.display())
        })?;
        Ok(ScratchCopy {
            path,
            _scratch: scratch,
        })
    }
}

/// A copy of a database in a scratch directory.
struct ScratchCopy {
    path: PathBuf,
    _scratch: Scratch,
}

impl Source for SqliteSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let name = self.name_in_use()?;
        let mut dumped = self.dump_by(&name.path, out)?;
        dumped.warnings.extend(name.warning);
        Ok(dumped)
    }

    fn estimate(&self) -> u64 {
        let log = super::companion(&self.path, "-wal")
            .metadata()
            .map_or(0, |found| found.len());
        // Pages in the log mostly replace others; a database that is all log is at least as large
        // as that.
        self.path.metadata().map_or(0, |found| found.len().max(log))
    }
}

impl SqliteSource {
    fn dump_by(&self, path: &Path, out: &mut dyn Write) -> Result<Dumped> {
        let purpose = probe::before_reading(path)?;
        strangers::wait_for_them(path, self.lock_timeout)?;
        if let Some(copy) = self.rolled_back(path)? {
            let database =
                facts::database(&Db::open(&copy.path, OpenMode::Immutable)?, &self.path)?;
            let mut dumped = self.send(&copy, database, out)?;
            dumped.warnings.push(crashed::WARNING.to_owned());
            return Ok(dumped);
        }
        let live = Db::open(path, purpose)?;
        let twin = self.begin(&live, purpose)?;
        let database = facts::database(&live, &self.path)?;
        let untouched = TornReadCheck::begin(&live, purpose, database.journal_mode.as_deref())?;
        let on_damage = self.on_damage;
        if !self.must_copy_first(database.journal_mode.as_deref()) {
            return match twin {
                Some(twin) => describe_during(
                    move || describe(&twin, database, on_damage),
                    || pages::stream(&live, out),
                ),
                None => {
                    pages::stream(&live, out)?;
                    untouched.verify(|| self.open(path, purpose))?;
                    describe(&live, database, on_damage)
                }
            };
        }
        drop(twin);
        let copy = self.copy(&live)?;
        untouched.verify(|| self.open(path, purpose))?;
        drop(live);
        self.send(&copy, database, out)
    }

    /// Nobody else writes to the copy, so it needs no locks, and two may read it at once.
    fn send(&self, copy: &ScratchCopy, database: Database, out: &mut dyn Write) -> Result<Dumped> {
        let on_damage = self.on_damage;
        let described = describe_during(
            || {
                describe(
                    &Db::open(&copy.path, OpenMode::Immutable)?,
                    database,
                    on_damage,
                )
            },
            || pages::send_file(&copy.path, out),
        );
        // What is wrong with the copy is wrong with the database, and that will still be there to
        // be looked at.
        described.map_err(|error| error.renamed(&copy.path, &self.path))
    }

    /// A copy in which the transaction was rolled back that a crash has cut off; `None` where there
    /// is none.
    fn rolled_back(&self, path: &Path) -> Result<Option<ScratchCopy>> {
        if !crashed::is_cut_off(path) {
            return Ok(None);
        }
        let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
        let size = length(path) + length(&super::companion(path, "-journal"));
        let scratch = Scratch::new(
            &self.scratch_dir,
            SCRATCH_PREFIX,
            size,
            "a copy of the database",
        )?;
        let copy = ScratchCopy {
            path: scratch.join("copy.sqlite3"),
            _scratch: scratch,
        };
        Ok(crashed::copy(
            path,
            self.inside.as_ref().map(|inside| inside.key),
            &copy.path,
        )?
        .then_some(copy))
    }
}

/// Hashes all that is written to it.
struct HashSink(Sha256);

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The facts of a content that was written without its manifest.
#[derive(Debug)]
pub struct StreamedDatabase {
    /// The journal mode of the live database.
    pub journal_mode: String,
    /// The name by which the database was read.
    pub path: PathBuf,
    /// A warning about that name.
    pub warning: Option<String>,
    /// The damage in the database itself, in words.
    pub damage: Option<String>,
}

/// A database that a restore has locked, as a source: its old content is read through the
/// connection that holds the lock.
pub struct LockedSource<'a> {
    db: &'a Db,
    scratch_dir: &'a Path,
}

impl<'a> LockedSource<'a> {
    /// The content that the transaction of `db` sees.
    pub fn new(db: &'a Db, scratch_dir: &'a Path) -> Self {
        LockedSource { db, scratch_dir }
    }
}

impl Source for LockedSource<'_> {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let database = facts::database(self.db, self.db.path())?;
        if pages::available(self.db) {
            pages::stream(self.db, out)?;
        } else {
            let scratch = Scratch::new(
                self.scratch_dir,
                SCRATCH_PREFIX,
                pages::size(self.db)?,
                "a copy of the database",
            )?;
            pages::copy_by_backup_api(self.db, &scratch.join("copy.sqlite3"))?;
            pages::send_file(&scratch.join("copy.sqlite3"), out)?;
        }
        describe(self.db, database, OnDamage::Warn)
    }

    fn estimate(&self) -> u64 {
        pages::size(self.db).unwrap_or(0)
    }
}

/// Runs `describe` on another thread while `write` runs on this one.
fn describe_during(
    describe: impl FnOnce() -> Result<Dumped> + Send,
    write: impl FnOnce() -> Result<()>,
) -> Result<Dumped> {
    std::thread::scope(|scope| {
        let described = scope.spawn(describe);
        write()?;
        described
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn describe(db: &Db, mut database: Database, on_damage: OnDamage) -> Result<Dumped> {
    let mut warnings = Vec::new();
    check_for_flaws(db, on_damage, &mut warnings)?;
    let manifest = facts::manifest(db)?;
    database.foreign_key_violations = facts::foreign_key_violations(db, &mut warnings)?;
    if let Some(count @ 1..) = database.foreign_key_violations {
        let rows = crate::units::count(count, "row");
        warnings.push(format!(
            "{rows} in the database violate foreign keys; they are saved as they are"
        ));
    }
    if database.size_bytes == 0 {
        warnings.push("the database is empty (0 bytes)".into());
    }
    let producer = BTreeMap::from([("sqlite".to_owned(), super::version().to_owned())]);
    Ok(Dumped {
        manifest,
        database,
        producer,
        warnings,
        ..Dumped::default()
    })
}

/// Describes the damage of a database whose content is written already. A database that can't be
/// examined counts as damaged.
fn damage_in(db: &Db) -> Result<Option<String>> {
    match facts::flaws(db) {
        Ok(flaws) => Ok((!flaws.damage.is_empty()).then(|| facts::first_few(&flaws.damage))),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(error) => Ok(Some(error.message())),
    }
}

/// Examines the database itself, as a faithful copy of a damaged database proves nothing.
fn check_for_flaws(db: &Db, on_damage: OnDamage, warnings: &mut Vec<String>) -> Result<()> {
    let flaws = facts::flaws(db)?;
    if !flaws.damage.is_empty() {
        let text = format!(
            "the database `{}` is damaged: {}",
            db.path().display(),
            facts::first_few(&flaws.damage)
        );
        match on_damage {
            OnDamage::Refuse => {
                return Err(Error::damaged(text).with_hint(super::damaged_hint(db.path())));
            }
            OnDamage::Warn => warnings.push(format!("{text}; it is kept as it is")),
        }
    }
    if !flaws.values.is_empty() {
        let shown = facts::first_few(&flaws.values);
        warnings.push(format!(
            "values in the database that its schema does not allow are saved as they are: {shown}"
        ));
    }
    Ok(())
}
