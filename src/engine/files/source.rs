//! A tree of files as a source: everything that the walk finds, one thing after another, into one
//! archive and one list.

use super::listing::{Listed, Note, Type};
use super::member::{Kind, Member, shown};
use super::meta::Meta;
use super::patterns::Patterns;
use super::place::Place;
use super::save::{self, Opening};
use super::sqlite::{
    Held, JOURNAL_MAGIC, WAL_MAGIC, database_of, is_database, looks_like_a_database, starts_with,
};
use super::tar::Writer;
use super::walk::{self, Choice, Found, Step};
use super::{embedded, meta, names::Ids};
use crate::engine::sqlite::{Spool, SqliteSource};
use crate::engine::{Database, Dumped, Manifest, Source, Tree};
use crate::error::{Context, Error, Result};
use crate::units;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many names a warning holds.
const NAMED: usize = 20;
/// How many changed files a manifest names.
const CHANGED_NAMED: usize = 100;

/// What is saved, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Top paths, absolute.
    pub paths: Vec<PathBuf>,
    /// Only what matches one of these; see [`super::patterns`].
    pub include: Vec<String>,
    /// Never what matches one of these.
    pub exclude: Vec<String>,
    /// Don't go where another file system is mounted.
    pub one_file_system: bool,
    /// Save SQLite databases as the files that they are, not through SQLite.
    pub raw_databases: bool,
    /// Directories to leave out: stores.
    pub leave_out: Vec<PathBuf>,
    /// For copies of databases, and for the list while it is being made.
    pub scratch_dir: PathBuf,
    /// How long a locked database is waited for.
    pub lock_timeout: Duration,
}

/// See the head of this file.
#[derive(Debug)]
pub struct FilesSource {
    plan: Plan,
    choice: Choice,
    size: u64,
    /// Databases with several names: those that have a log or a journal beside them.
    logs: HashMap<(u64, u64), Vec<PathBuf>>,
}

impl FilesSource {
    /// Looks at the whole tree, for its size. Top paths that are all missing are an error; nothing
    /// is read.
    pub fn open(plan: &Plan) -> Result<Self> {
        walk::refuse_nested(&plan.paths)?;
        // Symbolic links may lead one into another.
        let real: Vec<PathBuf> = plan
            .paths
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        walk::refuse_nested(&real)?;
        let choice = Choice {
            tops: plan.paths.clone(),
            include: Patterns::new(&plan.include)?,
            exclude: Patterns::new(&plan.exclude)?,
            one_file_system: plan.one_file_system,
            leave_out: plan.leave_out.clone(),
        };
        let missing = |path: &&PathBuf| path.symlink_metadata().is_err();
        if let Some(path) = plan
            .paths
            .iter()
            .find(missing)
            .filter(|_| plan.paths.iter().all(|path| missing(&path)))
        {
            return Err(Error::failed(format!("`{}` is not there", path.display()))
                .with_hint("check the path; nothing is made where something is missing"));
        }
        let mut source = FilesSource {
            plan: plan.clone(),
            choice,
            size: 0,
            logs: HashMap::new(),
        };
        source.measure()?;
        Ok(source)
    }

    /// The top paths.
    pub fn paths(&self) -> &[PathBuf] {
        &self.plan.paths
    }

    /// Looks whether everything could be read, and says what would be saved; the first things that
    /// could not are the error.
    pub fn rehearse(&self) -> Result<String> {
        let (mut files, mut closed) = (0, Vec::new());
        let mut count = 0_u64;
        walk::walk(&self.choice, &mut |step| {
            let lacking = match step {
                Step::Save(found) if found.metadata.is_file() => {
                    files += 1;
                    let readable = found.place.may_be_read();
                    readable
                        .err()
                        .map(|error| format!("{} ({})", whole(&found.name), Error::from(error)))
                }
                Step::Unreadable(name, error) => {
                    Some(format!("{} ({})", whole(&name), Error::from(error)))
                }
                _ => None,
            };
            count += u64::from(lacking.is_some());
            closed.extend(lacking.filter(|_| count <= NAMED as u64));
            Ok(())
        })?;
        if count > 0 {
            return Err(Error::failed(format!(
                "the backup would be incomplete: {}: {}",
                told(UNREADABLE, count),
                closed.join(", ")
            ))
            .with_hint("run dbbackup as a user that may read it, or leave it out with `exclude`"));
        }
        Ok(format!("{} as one tar", units::count(files, "file")))
    }

    fn measure(&mut self) -> Result<()> {
        let (mut size, mut logs) = (0, HashMap::<(u64, u64), Vec<PathBuf>>::new());
        walk::walk(&self.choice, &mut |step| {
            if let Step::Save(found) = step {
                // A header, and what is on disk: holes take no room in the archive.
                let content = if found.metadata.is_file() {
                    found.metadata.size().min(found.metadata.blocks() * 512)
                } else {
                    0
                };
                size += 512 + content;
                if let Some((key, path)) = database_with_log(&found) {
                    logs.entry(key).or_default().push(path);
                }
            }
            Ok(())
        })?;
        (self.size, self.logs) = (size, logs);
        Ok(())
    }
}

/// The database that a log or journal with something in it belongs to, where it has other names.
fn database_with_log(found: &Found) -> Option<((u64, u64), PathBuf)> {
    let name = found.place.leaf().as_bytes();
    let base = name
        .strip_suffix(b"-wal")
        .or_else(|| name.strip_suffix(b"-journal"))?;
    let base = found.place.beside(std::ffi::OsStr::from_bytes(base));
    let metadata = base
        .meta()
        .ok()
        .filter(|base| base.is_file() && base.nlink() > 1)?;
    (found.metadata.size() > 0).then(|| (metadata.key(), base.path().to_path_buf()))
}

/// A text of the engine, with paths as people know them.
fn shown_in(text: &str, place: &Place) -> String {
    let dir = place.path().parent().unwrap_or(Path::new("/"));
    text.replace(
        &place.dir_for_others().display().to_string(),
        &dir.display().to_string(),
    )
}

impl Source for FilesSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let list = tempfile::tempfile_in(&self.plan.scratch_dir).with_context(|| {
            format!(
                "making the list of contents in `{}`",
                self.plan.scratch_dir.display()
            )
        })?;
        let mut saving = Saving {
            plan: &self.plan,
            archive: Writer::new(BufWriter::with_capacity(256 << 10, out)),
            list: BufWriter::with_capacity(256 << 10, list),
            links: HashMap::new(),
            databases: HashMap::new(),
            logs: &self.logs,
            ids: Ids::default(),
            tree: Tree::default(),
            notes: BTreeMap::new(),
            warnings: Vec::new(),
            buffer: Vec::new(),
        };
        walk::walk(&self.choice, &mut |step| saving.step(step))?;
        saving.finish()
    }

    fn estimate(&self) -> u64 {
        self.size
    }
}

/// A run over the tree.
struct Saving<'a, W: Write> {
    plan: &'a Plan,
    archive: Writer<W>,
    list: BufWriter<File>,
    /// Files with several names: where each stands in the archive, and how it was then.
    links: HashMap<(u64, u64), (Vec<u8>, Meta)>,
    /// Databases that were found, and whether they were saved through SQLite.
    databases: HashMap<PathBuf, bool>,
    /// Databases with several names: those that have a log.
    logs: &'a HashMap<(u64, u64), Vec<PathBuf>>,
    ids: Ids,
    tree: Tree,
    /// What is to be told, by what it is: how many, and the first few.
    notes: BTreeMap<&'static str, (u64, Vec<String>)>,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

const CHANGED: &str = "changed while being read, and saved as last read";
const VANISHED: &str = "gone before being read";
const UNREADABLE: &str = "could not be read, and not saved";
const DAMAGED: &str = "is a SQLite database that is damaged itself, and saved as it is";
const CUT: &str = "could be read in part only, the rest being zeros";
/// What is never saved: neither files nor directories nor links.
const SPECIAL: [&str; 3] = ["FIFO", "socket", "device"];

/// How many, and what about them.
fn told(what: &str, count: u64) -> String {
    match SPECIAL.contains(&what) {
        true => format!("{} left out", units::count(count, what)),
        false => format!("{} {what}", units::count(count, "file")),
    }
}

/// A member's path as people know it.
fn whole(name: &[u8]) -> String {
    format!("/{}", shown(name))
}

impl<W: Write> Saving<'_, W> {
    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Save(found) => self.save(found),
            Step::Vanished(name) => self.missing(&name, Note::Vanished, None),
            Step::Unreadable(name, error) => self.missing(&name, Note::Unreadable, Some(error)),
            Step::LeftOut(path, why) => {
                self.warnings
                    .push(format!("`{}` is {why}, and left out", path.display()));
                Ok(())
            }
        }
    }

    fn save(&mut self, found: Found) -> Result<()> {
        let kind = found.metadata.file_type();
        if kind.is_file() {
            return self.file(found);
        }
        if kind.is_dir() {
            self.tree.directories += 1;
            return self.without_content(&found, Kind::Directory);
        }
        if kind.is_symlink() {
            return match found.place.target() {
                Ok(target) => {
                    self.tree.symlinks += 1;
                    self.without_content(&found, Kind::Symlink(target))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.missing(&found.name, Note::Vanished, None)
                }
                Err(error) => self.missing(&found.name, Note::Unreadable, Some(error)),
            };
        }
        let what = match () {
            () if kind.is_fifo() => SPECIAL[0],
            () if kind.is_socket() => SPECIAL[1],
            () => SPECIAL[2],
        };
        self.note(what, whole(&found.name));
        Listed::missing(
            &found.name,
            Type::Other,
            Note::Skipped,
            Some(format!("a {what}")),
        )
        .write(&mut self.list)
    }

    fn member(&self, found: &Found, kind: Kind) -> Member {
        meta::member(
            &found.name,
            kind,
            &found.metadata,
            found.place.xattrs(),
            &self.ids,
        )
    }

    fn without_content(&mut self, found: &Found, kind: Kind) -> Result<()> {
        let member = self.member(found, kind);
        self.archive.begin(&member)?;
        self.archive.end()?;
        Listed::of(&member, None).write(&mut self.list)
    }

    fn file(&mut self, found: Found) -> Result<()> {
        let key = found.metadata.key();
        if found.metadata.nlink() > 1
            && let Some((first, then)) = self.links.get(&key)
            // The number of a file that is gone is given to another one.
            && (then.size(), then.mtime()) == (found.metadata.size(), found.metadata.mtime())
        {
            self.tree.hard_links += 1;
            let first = first.clone();
            return self.without_content(&found, Kind::HardLink(first));
        }
        if !self.plan.raw_databases && self.is_in_a_database(&found) {
            return Ok(());
        }
        if let Some(told) = embedded::in_directory(&found.place) {
            self.warnings.push(told);
        }
        let _database = match self
            .plan
            .raw_databases
            .then(|| database_of(&found, self.plan.lock_timeout))
            .transpose()?
        {
            Some(Held::Busy) => {
                let busy = io::Error::other("this run is reading it as a database");
                return self.missing(&found.name, Note::Unreadable, Some(busy));
            }
            other => other,
        };
        let mut opened = match save::open(&found, &mut self.buffer) {
            Opening::Opened(opened) => opened,
            Opening::Database => return self.database(&found, key),
            Opening::Vanished => return self.missing(&found.name, Note::Vanished, None),
            Opening::Refused(error) => {
                return self.missing(&found.name, Note::Unreadable, Some(error));
            }
        };
        if !self.plan.raw_databases
            && is_database(&self.buffer, opened.metadata.size(), &found.place)
        {
            drop(opened);
            return self.database(&found, key);
        }
        self.plain(&mut opened, &found, key)
    }

    /// A file as it is.
    fn plain(&mut self, opened: &mut save::Opened, found: &Found, key: (u64, u64)) -> Result<()> {
        let xattrs = meta::xattrs_of(&opened.file);
        let ids = &self.ids;
        let as_member =
            |kind: Kind, now: &Meta| meta::member(&found.name, kind, now, xattrs.clone(), ids);
        let saved = match save::save(
            opened,
            &as_member,
            found,
            &mut self.archive,
            &mut self.buffer,
        )? {
            Ok(saved) => saved,
            Err(error) => return self.missing(&found.name, Note::Unreadable, Some(error)),
        };
        for line in &saved.lines {
            line.write(&mut self.list)?;
            match line.note {
                Some(Note::Changed) => {
                    if self.tree.changed.len() < CHANGED_NAMED {
                        self.tree.changed.push(shown(&found.name));
                    }
                    self.note(CHANGED, whole(&found.name));
                }
                Some(Note::Cut) => self.note(
                    CUT,
                    format!(
                        "{} ({})",
                        whole(&found.name),
                        line.why.clone().unwrap_or_default()
                    ),
                ),
                _ => {}
            }
        }
        self.warnings.extend(saved.warning);
        self.counted(found, key, saved.size);
        Ok(())
    }

    fn counted(&mut self, found: &Found, key: (u64, u64), size: u64) {
        self.tree.files += 1;
        self.tree.bytes += size;
        if found.metadata.nlink() > 1 {
            self.links.insert(key, (found.name.clone(), found.metadata));
        }
    }

    /// A SQLite database, of one point in time, as a plain single file.
    fn database(&mut self, found: &Found, key: (u64, u64)) -> Result<()> {
        let (place, shown) = (&found.place, found.place.path());
        let source = SqliteSource::new(
            shown,
            Spool::Auto,
            &self.plan.scratch_dir,
            self.plan.lock_timeout,
        )
        .inside(place.for_others(), place.dir(), key, shown)
        .also_called(self.names_with_log(key));
        let mut begun: Option<Member> = None;
        let mut hash = Sha256::new();
        let xattrs = found.place.xattrs();
        let ids = &self.ids;
        let mut out = Hashing {
            hash: &mut hash,
            out: &mut self.archive,
        };
        let streamed = source.stream(|size| {
            let kind = Kind::File { size, parts: None };
            out.out.begin(begun.insert(meta::member(
                &found.name,
                kind,
                &found.metadata,
                xattrs,
                ids,
            )))?;
            Ok(&mut out as &mut dyn Write)
        });
        match (streamed, begun) {
            (Ok(streamed), Some(member)) => {
                self.archive.end()?;
                let mut line = Listed::of(&member, Some(super::listing::to_hex(&hash.finalize())));
                line.sqlite = Some(streamed.journal_mode);
                self.tree.databases += 1;
                let by = streamed.path.strip_prefix(found.place.dir_for_others());
                let by = by.map_or_else(
                    |_| streamed.path.clone(),
                    |leaf| found.place.beside(leaf.as_os_str()).path().to_path_buf(),
                );
                if by != found.place.path() {
                    self.databases
                        .insert(found.place.path().to_path_buf(), false);
                }
                self.databases.insert(by, true);
                self.warnings
                    .extend(streamed.warning.map(|text| shown_in(&text, &found.place)));
                if let Some(damage) = streamed.damage {
                    self.note(DAMAGED, format!("{} ({damage})", whole(&found.name)));
                }
                let size = member.stored_size();
                self.counted(found, key, size);
                line.write(&mut self.list)
            }
            (Err(error), _) if error.kind() == crate::error::Kind::Interrupted => Err(error),
            // What was written of it can't be taken back: the rest is zeros, and told.
            (Err(error), Some(member)) => {
                let left = self.archive.left();
                self.archive.fill()?;
                self.archive.end()?;
                save::hash_zeros(&mut hash, left)?;
                let mut line = Listed::of(&member, Some(super::listing::to_hex(&hash.finalize())));
                (line.note, line.why) = (Some(Note::Cut), Some(error.message()));
                self.note(CUT, format!("{} ({error})", whole(&found.name)));
                self.counted(found, key, member.stored_size());
                line.write(&mut self.list)
            }
            (Err(error), None) => self.broken_database(found, key, error),
            (Ok(_), None) => Err(Error::failed(format!(
                "nothing came of the SQLite database `{}`",
                found.place.path().display()
            ))),
        }
    }

    /// SQLite does not take it: then its bytes are what there is to save, unless it only is not to
    /// be had now.
    fn broken_database(&mut self, found: &Found, key: (u64, u64), error: Error) -> Result<()> {
        self.databases
            .insert(found.place.path().to_path_buf(), false);
        let gone = || found.place.meta().is_err();
        // After a crash of its application nobody writes to it, and with its journal it is whole.
        let crashed = starts_with(&found.place.with_end("-journal"), &[JOURNAL_MAGIC]);
        if error.kind() != crate::error::Kind::Damaged && !crashed {
            let note = if gone() {
                Note::Vanished
            } else {
                Note::Unreadable
            };
            return self.missing(&found.name, note, Some(error.into()));
        }
        self.warnings.push(format!(
            "`{}` looks like a SQLite database, and is saved with its log or journal as the files \
             that they are: {error}",
            whole(&found.name)
        ));
        match save::open(found, &mut self.buffer) {
            Opening::Opened(mut opened) => self.plain(&mut opened, found, key),
            Opening::Vanished => self.missing(&found.name, Note::Vanished, None),
            Opening::Refused(error) => self.missing(&found.name, Note::Unreadable, Some(error)),
            Opening::Database => self.missing(&found.name, Note::Unreadable, Some(error.into())),
        }
    }

    /// The log, index or journal of a SQLite database: what counts of it is in the database as it
    /// was saved. Beside one that was not saved through SQLite it is saved, too, or the database
    /// would lack it; beside one that was left out it goes with that.
    fn is_in_a_database(&self, found: &Found) -> bool {
        let name = found.place.leaf().as_bytes();
        let ends: [(&str, &[&[u8]]); 3] = [
            ("-wal", &[WAL_MAGIC]),
            ("-shm", &[]),
            ("-journal", &[JOURNAL_MAGIC, &[0; 8]]),
        ];
        ends.iter().any(|(end, magic)| {
            let Some(base) = name.strip_suffix(end.as_bytes()) else {
                return false;
            };
            let base = found.place.beside(std::ffi::OsStr::from_bytes(base));
            match self.databases.get(base.path()) {
                Some(through_sqlite) => *through_sqlite,
                // Not come by: excluded, or no database at all.
                None => {
                    let like_one = found.metadata.size() == 0
                        || magic.is_empty()
                        || starts_with(&found.place, magic);
                    like_one && looks_like_a_database(&base)
                }
            }
        })
    }

    /// The names of a file that have a log, wherever in the tree they are: the database is read by
    /// one of those.
    fn names_with_log(&self, key: (u64, u64)) -> Vec<PathBuf> {
        self.logs.get(&key).cloned().unwrap_or_default()
    }

    fn missing(&mut self, name: &[u8], note: Note, error: Option<io::Error>) -> Result<()> {
        let why = error.map(|error| Error::from(error).message());
        let told = why
            .as_ref()
            .map_or(whole(name), |why| format!("{} ({why})", whole(name)));
        self.note(
            if note == Note::Vanished {
                VANISHED
            } else {
                UNREADABLE
            },
            told,
        );
        Listed::missing(name, Type::File, note, why).write(&mut self.list)
    }

    fn note(&mut self, what: &'static str, which: String) {
        let (count, named) = self.notes.entry(what).or_default();
        *count += 1;
        if named.len() < NAMED {
            named.push(which);
        }
    }

    fn finish(mut self) -> Result<Dumped> {
        let mut notes = Vec::new();
        for (what, (count, named)) in &self.notes {
            let more = count - named.len() as u64;
            let more = if more > 0 {
                format!(", and {more} more")
            } else {
                String::new()
            };
            let text = format!("{}: {}{more}", told(what, *count), named.join(", "));
            // A FIFO is there every night, and nothing is lost with it.
            if SPECIAL.contains(what) {
                notes.push(text)
            } else {
                self.warnings.push(text)
            }
        }
        let kinds = [
            (UNREADABLE, "could not be read"),
            (CUT, "could be read in part only"),
            (DAMAGED, "damaged before it was saved"),
        ];
        let lost = kinds.map(|(what, short)| {
            let (count, _) = self.notes.get(what)?;
            Some(format!("{} {short}", units::count(*count, "file")))
        });
        let lost: Vec<String> = lost.into_iter().flatten().collect();
        let lacks = (!lost.is_empty()).then(|| lost.join(", "));
        if lacks.is_some() && self.tree.files + self.tree.directories + self.tree.symlinks == 0 {
            return Err(Error::failed(self.warnings.join("; ")).with_hint(
                "look at `paths`; if it is there, run dbbackup as a user that may read it, \
                       root for one",
            ));
        }
        if !self.plan.include.is_empty() && self.tree.files + self.tree.symlinks == 0 {
            let patterns = self.plan.include.join("`, `");
            return Err(
                Error::failed(format!("nothing there matches `include` (`{patterns}`)"))
                    .with_hint("correct the patterns"),
            );
        }
        self.archive.finish()?;
        let mut list = self
            .list
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        list.rewind()?;
        let left_out = self
            .plan
            .exclude
            .iter()
            .map(|pattern| format!("exclude {pattern}"));
        let selected_by = self
            .plan
            .include
            .iter()
            .map(|pattern| format!("include {pattern}"))
            .chain(left_out)
            .collect();
        let database = Database {
            paths: self.plan.paths.clone(),
            size_bytes: self.tree.bytes,
            selected_by,
            ..Database::default()
        };
        let manifest = Manifest {
            tree: Some(self.tree),
            ..Manifest::default()
        };
        let producer = BTreeMap::new();
        Ok(Dumped {
            manifest,
            database,
            producer,
            warnings: self.warnings,
            notes,
            lacks,
            contents: Some(list),
        })
    }
}

/// Hashes what goes into the archive.
struct Hashing<'a, W: Write> {
    hash: &'a mut Sha256,
    out: &'a mut Writer<W>,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
