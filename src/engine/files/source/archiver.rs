//! One file after another goes into the archive and its list of contents.

use super::Plan;
use super::issues::{Issue, Issues};
use crate::engine::files::listing::{self, ListLine, MemberNote, MemberType};
use crate::engine::files::member::{Member, MemberKind, shown};
use crate::engine::files::meta::{self, FileMeta};
use crate::engine::files::place::TreePlace;
use crate::engine::files::save::{self, OpenOutcome};
use crate::engine::files::sqlite::{
    JOURNAL_MAGIC, ReadClaim, WAL_MAGIC, claim_to_read, is_database, looks_like_a_database,
    starts_with,
};
use crate::engine::files::tar::TarWriter;
use crate::engine::files::walk::{TreeEntry, WalkStep};
use crate::engine::files::{embedded, names::Ids};
use crate::engine::sqlite::{Spool, SqliteSource};
use crate::engine::{Database, Dumped, Manifest, Tree};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How many changed files a manifest names.
const CHANGED_NAMED: usize = 100;

/// Writes a tree into an archive and its list of contents.
pub struct Archiver<'a, W: Write> {
    plan: &'a Plan,
    archive: TarWriter<BufWriter<W>>,
    list: BufWriter<File>,
    /// Files with several names: the path of each in the archive, and its metadata then.
    links: HashMap<(u64, u64), (Vec<u8>, FileMeta)>,
    /// Databases that were found, and whether they were saved through SQLite.
    databases: HashMap<PathBuf, bool>,
    /// The names of databases with several names that have a log.
    logs: &'a HashMap<(u64, u64), Vec<PathBuf>>,
    ids: Ids,
    tree: Tree,
    issues: Issues,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

/// A text of the SQLite engine with the paths that people know in place of those that it was given.
fn shown_in(text: &str, place: &TreePlace) -> String {
    let dir = place.path().parent().unwrap_or(Path::new("/"));
    text.replace(
        &place.dir_for_others().display().to_string(),
        &dir.display().to_string(),
    )
}

/// A member's path as people know it.
pub fn full_path(name: &[u8]) -> String {
    format!("/{}", shown(name))
}

impl<'a, W: Write> Archiver<'a, W> {
    /// Begins an archive in `out` and a list of contents in `list`. `logs` has the names of
    /// databases with several names that have a log.
    pub fn new(
        plan: &'a Plan,
        logs: &'a HashMap<(u64, u64), Vec<PathBuf>>,
        out: W,
        list: File,
    ) -> Self {
        Archiver {
            plan,
            archive: TarWriter::new(BufWriter::with_capacity(256 << 10, out)),
            list: BufWriter::with_capacity(256 << 10, list),
            links: HashMap::new(),
            databases: HashMap::new(),
            logs,
            ids: Ids::default(),
            tree: Tree::default(),
            issues: Issues::default(),
            warnings: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Saves what the walk came to.
    pub fn step(&mut self, step: WalkStep) -> Result<()> {
        match step {
            WalkStep::Save(found) => self.save(found),
            WalkStep::Vanished(name) => self.list_missing(&name, MemberNote::Vanished, None),
            WalkStep::Unreadable(name, error) => {
                self.list_missing(&name, MemberNote::Unreadable, Some(error))
            }
            WalkStep::LeftOut(path, why) => {
                self.warnings
                    .push(format!("`{}` is {why}, and left out", path.display()));
                Ok(())
            }
        }
    }

    fn save(&mut self, found: TreeEntry) -> Result<()> {
        let kind = found.metadata.file_type();
        if kind.is_file() {
            return self.save_file(found);
        }
        if kind.is_dir() {
            self.tree.directories += 1;
            return self.save_without_content(&found, MemberKind::Directory);
        }
        if kind.is_symlink() {
            return match found.place.target() {
                Ok(target) => {
                    self.tree.symlinks += 1;
                    self.save_without_content(&found, MemberKind::Symlink(target))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.list_missing(&found.name, MemberNote::Vanished, None)
                }
                Err(error) => self.list_missing(&found.name, MemberNote::Unreadable, Some(error)),
            };
        }
        let (issue, what) = match () {
            () if kind.is_fifo() => (Issue::Fifo, "a FIFO"),
            () if kind.is_socket() => (Issue::Socket, "a socket"),
            () => (Issue::Device, "a device"),
        };
        self.issues.add(issue, full_path(&found.name));
        ListLine::missing(
            &found.name,
            MemberType::Other,
            MemberNote::Skipped,
            Some(what.to_owned()),
        )
        .write(&mut self.list)
    }

    fn member(&self, found: &TreeEntry, kind: MemberKind) -> Member {
        meta::member(
            &found.name,
            kind,
            &found.metadata,
            found.place.xattrs(),
            &self.ids,
        )
    }

    fn save_without_content(&mut self, found: &TreeEntry, kind: MemberKind) -> Result<()> {
        let member = self.member(found, kind);
        self.archive.begin(&member)?;
        self.archive.end()?;
        ListLine::from_member(&member, None).write(&mut self.list)
    }

    fn save_file(&mut self, found: TreeEntry) -> Result<()> {
        let key = found.metadata.key();
        if found.metadata.nlink() > 1
            && let Some((first, then)) = self.links.get(&key)
            // The number of a file that is gone is given to another one.
            && (then.size(), then.mtime()) == (found.metadata.size(), found.metadata.mtime())
        {
            self.tree.hard_links += 1;
            let first = first.clone();
            return self.save_without_content(&found, MemberKind::HardLink(first));
        }
        if !self.plan.raw_databases && self.is_part_of_database(&found) {
            return Ok(());
        }
        if let Some(warning) = embedded::in_directory(&found.place) {
            self.warnings.push(warning);
        }
        let _database = match self
            .plan
            .raw_databases
            .then(|| claim_to_read(&found, self.plan.lock_timeout))
            .transpose()?
        {
            Some(ReadClaim::Busy) => {
                let busy = io::Error::other("this run is reading it as a database");
                return self.list_missing(&found.name, MemberNote::Unreadable, Some(busy));
            }
            other => other,
        };
        let mut opened = match save::open(&found, &mut self.buffer) {
            OpenOutcome::Opened(opened) => opened,
            OpenOutcome::Database => return self.save_database(&found, key),
            OpenOutcome::Vanished => {
                return self.list_missing(&found.name, MemberNote::Vanished, None);
            }
            OpenOutcome::Refused(error) => {
                return self.list_missing(&found.name, MemberNote::Unreadable, Some(error));
            }
        };
        if !self.plan.raw_databases
            && is_database(&self.buffer, opened.metadata.size(), &found.place)
        {
            drop(opened);
            return self.save_database(&found, key);
        }
        self.save_plain(&mut opened, &found, key)
    }

    /// Saves a file as it is.
    fn save_plain(
        &mut self,
        opened: &mut save::OpenFile,
        found: &TreeEntry,
        key: (u64, u64),
    ) -> Result<()> {
        let xattrs = meta::xattrs_of(&opened.file);
        let ids = &self.ids;
        let as_member = |kind: MemberKind, now: &FileMeta| {
            meta::member(&found.name, kind, now, xattrs.clone(), ids)
        };
        let saved = match save::save(
            opened,
            &as_member,
            found,
            &mut self.archive,
            &mut self.buffer,
        )? {
            Ok(saved) => saved,
            Err(error) => {
                return self.list_missing(&found.name, MemberNote::Unreadable, Some(error));
            }
        };
        for line in &saved.lines {
            line.write(&mut self.list)?;
            match line.note {
                Some(MemberNote::Changed) => {
                    if self.tree.changed.len() < CHANGED_NAMED {
                        self.tree.changed.push(shown(&found.name));
                    }
                    self.issues.add(Issue::Changed, full_path(&found.name));
                }
                Some(MemberNote::Cut) => self.issues.add(
                    Issue::Partial,
                    format!(
                        "{} ({})",
                        full_path(&found.name),
                        line.why.clone().unwrap_or_default()
                    ),
                ),
                _ => {}
            }
        }
        self.warnings.extend(saved.warning);
        self.count_file(found, key, saved.size);
        Ok(())
    }

    /// Counts a file that was saved, and remembers it for its further names.
    fn count_file(&mut self, found: &TreeEntry, key: (u64, u64), size: u64) {
        self.tree.files += 1;
        self.tree.bytes += size;
        if found.metadata.nlink() > 1 {
            self.links.insert(key, (found.name.clone(), found.metadata));
        }
    }

    /// Saves a SQLite database, as of one point in time, as a plain single file.
    fn save_database(&mut self, found: &TreeEntry, key: (u64, u64)) -> Result<()> {
        let (place, shown) = (&found.place, found.place.path());
        let source = SqliteSource::new(
            shown,
            Spool::Auto,
            &self.plan.scratch_dir,
            self.plan.lock_timeout,
        )
        .through_directory(place.for_others(), place.dir(), key, shown)
        .with_other_names(self.names_with_log(key));
        let mut begun: Option<Member> = None;
        let mut hash = Sha256::new();
        let xattrs = found.place.xattrs();
        let ids = &self.ids;
        let mut out = HashingWriter {
            hash: &mut hash,
            out: &mut self.archive,
        };
        let streamed = source.stream(|size| {
            let kind = MemberKind::File { size, parts: None };
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
                let mut line =
                    ListLine::from_member(&member, Some(listing::to_hex(&hash.finalize())));
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
                    self.issues.add(
                        Issue::Damaged,
                        format!("{} ({damage})", full_path(&found.name)),
                    );
                }
                let size = member.stored_size();
                self.count_file(found, key, size);
                line.write(&mut self.list)
            }
            (Err(error), _) if error.kind() == crate::error::Kind::Interrupted => Err(error),
            // The part that was written can't be taken back: the rest is zeros, and there is a
            // warning.
            (Err(error), Some(member)) => {
                let left = self.archive.left();
                self.archive.fill()?;
                self.archive.end()?;
                save::hash_zeros(&mut hash, left)?;
                let mut line =
                    ListLine::from_member(&member, Some(listing::to_hex(&hash.finalize())));
                (line.note, line.why) = (Some(MemberNote::Cut), Some(error.message()));
                self.issues.add(
                    Issue::Partial,
                    format!("{} ({error})", full_path(&found.name)),
                );
                self.count_file(found, key, member.stored_size());
                line.write(&mut self.list)
            }
            (Err(error), None) => self.save_broken_database(found, key, error),
            (Ok(_), None) => Err(Error::failed(format!(
                "nothing came of the SQLite database `{}`",
                found.place.path().display()
            ))),
        }
    }

    /// Saves a database that SQLite refuses as the bytes that it has, unless it only can't be read
    /// at the moment.
    fn save_broken_database(
        &mut self,
        found: &TreeEntry,
        key: (u64, u64),
        error: Error,
    ) -> Result<()> {
        self.databases
            .insert(found.place.path().to_path_buf(), false);
        let gone = || found.place.meta().is_err();
        // After a crash of its application nobody writes to it, and with its journal it is whole.
        let crashed = starts_with(&found.place.with_end("-journal"), &[JOURNAL_MAGIC]);
        if error.kind() != crate::error::Kind::Damaged && !crashed {
            let note = if gone() {
                MemberNote::Vanished
            } else {
                MemberNote::Unreadable
            };
            return self.list_missing(&found.name, note, Some(error.into()));
        }
        self.warnings.push(format!(
            "`{}` looks like a SQLite database, and is saved with its log or journal as the files \
             that they are: {error}",
            full_path(&found.name)
        ));
        match save::open(found, &mut self.buffer) {
            OpenOutcome::Opened(mut opened) => self.save_plain(&mut opened, found, key),
            OpenOutcome::Vanished => self.list_missing(&found.name, MemberNote::Vanished, None),
            OpenOutcome::Refused(error) => {
                self.list_missing(&found.name, MemberNote::Unreadable, Some(error))
            }
            OpenOutcome::Database => {
                self.list_missing(&found.name, MemberNote::Unreadable, Some(error.into()))
            }
        }
    }

    /// Whether a file is the log, index or journal of a SQLite database that holds its content as
    /// that was saved. Beside a database that was not saved through SQLite such a file is saved
    /// too, or the database would lack it; beside one that was left out it is left out.
    fn is_part_of_database(&self, found: &TreeEntry) -> bool {
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

    /// Lists a file that was not saved.
    fn list_missing(
        &mut self,
        name: &[u8],
        note: MemberNote,
        error: Option<io::Error>,
    ) -> Result<()> {
        let why = error.map(|error| Error::from(error).message());
        let text = why.as_ref().map_or(full_path(name), |why| {
            format!("{} ({why})", full_path(name))
        });
        let issue = if note == MemberNote::Vanished {
            Issue::Vanished
        } else {
            Issue::Unreadable
        };
        self.issues.add(issue, text);
        ListLine::missing(name, MemberType::File, note, why).write(&mut self.list)
    }

    /// Ends the archive and the list.
    pub fn finish(mut self) -> Result<Dumped> {
        self.warnings.extend(self.issues.warnings());
        let lacks = self.issues.lacks();
        if lacks.is_some() && self.tree.files + self.tree.directories + self.tree.symlinks == 0 {
            return Err(Error::failed(self.warnings.join("; ")).with_hint(
                "look at `paths`; if it is there, run dbbackup as a user that may read it, root \
                 for one",
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
        Ok(Dumped {
            manifest,
            database,
            producer: BTreeMap::new(),
            warnings: self.warnings,
            notes: self.issues.notes(),
            lacks,
            contents: Some(list),
        })
    }
}

/// Writes into the archive and hashes that.
struct HashingWriter<'a, W: Write> {
    hash: &'a mut Sha256,
    out: &'a mut TarWriter<W>,
}

impl<W: Write> Write for HashingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
