//! Writes one file after another into the archive and its list of contents. [`databases`] does so
//! with SQLite databases.

mod databases;

use super::Plan;
use super::issues::{Issue, Issues};
use crate::engine::files::archive::{ArchiveSink, ArchiveWriter};
use crate::engine::files::base_tree::{self, BaseMember, BaseMembers};
use crate::engine::files::listing::{ListLine, MemberNote, MemberType};
use crate::engine::files::member::{Member, MemberKind, shown};
use crate::engine::files::meta::{self, FileMeta};
use crate::engine::files::save::{self, OpenOutcome};
use crate::engine::files::sqlite::{ReadClaim, claim_to_read, is_database};
use crate::engine::files::walk::{TreeEntry, WalkStep};
use crate::engine::files::{embedded, names::Ids};
use crate::engine::{Database, Dumped, Manifest, Tree, TreeStamp};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Seek};
use std::path::PathBuf;
use tempfile::SpooledTempFile;

/// The number of changed files that a manifest names.
const MAX_CHANGED_NAMED: usize = 100;

/// The writer of a tree into an archive and its list of contents.
pub struct Archiver<'a> {
    plan: &'a Plan,
    archive: ArchiveWriter<'a>,
    /// What an earlier backup has, where this one is built on it.
    base: Option<BaseMembers>,
    /// What that has of the member that is being saved.
    old: Option<BaseMember>,
    stamp: Option<TreeStamp>,
    list: BufWriter<SpooledTempFile>,
    /// The files with several names: the path of each in the archive, and its metadata when it was
    /// saved.
    links: HashMap<(u64, u64), (Vec<u8>, FileMeta)>,
    /// The databases that were found, and whether they were saved through SQLite.
    databases: HashMap<PathBuf, bool>,
    /// The names of databases with several names that have a log.
    logs: &'a HashMap<(u64, u64), Vec<PathBuf>>,
    ids: Ids,
    tree: Tree,
    issues: Issues,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

/// A member's path as people know it.
pub fn full_path(name: &[u8]) -> String {
    format!("/{}", shown(name))
}

impl<'a> Archiver<'a> {
    /// Begins an archive in `out`, beside that of `base`, and a list of contents in `list`. `logs`
    /// has the names of databases with several names that have a log.
    pub fn new(
        plan: &'a Plan,
        logs: &'a HashMap<(u64, u64), Vec<PathBuf>>,
        out: ArchiveSink<'a>,
        base: Option<BaseMembers>,
        list: SpooledTempFile,
    ) -> Self {
        Archiver {
            plan,
            archive: ArchiveWriter::new(out),
            base,
            old: None,
            stamp: base_tree::take_stamp(),
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

    /// Saves or lists one find of the walk.
    pub fn save_step(&mut self, step: WalkStep) -> Result<()> {
        match step {
            WalkStep::Save(found) => self.save(found),
            WalkStep::Vanished(name) => self.list_missing(&name, MemberNote::Vanished, None),
            WalkStep::Unreadable(name, error) => {
                self.list_missing(&name, MemberNote::Unreadable, Some(error))
            }
            WalkStep::LeftOut(path, reason) => {
                self.warnings
                    .push(format!("`{}` is {reason}, and left out", path.display()));
                Ok(())
            }
        }
    }

    fn save(&mut self, found: TreeEntry) -> Result<()> {
        self.old = match &mut self.base {
            Some(base) => base.find(&found.name)?,
            None => None,
        };
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
        if self.copy_unchanged(found, kind.clone())? {
            return Ok(());
        }
        let member = self.member(found, kind);
        self.archive.begin(&member, self.old.as_ref())?;
        let stored = self.archive.end()?;
        ListLine::from_member(&member, None)
            .with_stored(stored)
            .with_stamp(&found.metadata)
            .write(&mut self.list)
    }

    /// Copies what is known to be what the base has, and lists it; returns whether it was.
    fn copy_unchanged(&mut self, found: &TreeEntry, kind: MemberKind) -> Result<bool> {
        let (Some(base), Some(old)) = (&mut self.base, &self.old) else {
            return Ok(false);
        };
        let now = meta::member(&found.name, kind, &found.metadata, Vec::new(), &self.ids);
        if !base.is_unchanged(&old.line, ListLine::from_member(&now, None), found) {
            return Ok(false);
        }
        self.archive.copy(old)?;
        old.line.write(&mut self.list)?;
        Ok(true)
    }

    fn save_file(&mut self, found: TreeEntry) -> Result<()> {
        let key = found.metadata.key();
        if found.metadata.nlink() > 1
            && let Some((first, saved)) = self.links.get(&key)
            // The inode of a file that is gone may be given to another one.
            && (saved.size(), saved.mtime()) == (found.metadata.size(), found.metadata.mtime())
        {
            self.tree.hard_links += 1;
            let first = first.clone();
            return self.save_without_content(&found, MemberKind::HardLink(first));
        }
        if !self.plan.raw_databases && self.is_part_of_database(&found) {
            return Ok(());
        }
        if let Some(warning) = embedded::warn_of_directory(&found.place) {
            self.warnings.push(warning);
        }
        let size = found.metadata.size();
        let unread = MemberKind::File { size, parts: None };
        if self.copy_unchanged(&found, unread)? {
            self.count_file(&found, key, size);
            return Ok(());
        }
        let claim = self
            .plan
            .raw_databases
            .then(|| claim_to_read(&found, self.plan.lock_timeout))
            .transpose()?;
        if let Some(ReadClaim::Busy) = claim {
            let busy = io::Error::other("this run is reading it as a database");
            return self.list_missing(&found.name, MemberNote::Unreadable, Some(busy));
        }
        let mut opened = match save::open_file(&found, &mut self.buffer) {
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
        // Whether it can be copied later is asked of other files than itself, too.
        let is_database = is_database(&self.buffer, opened.metadata.size(), &found.place)
            || embedded::file_database(&self.buffer).is_some();
        let ids = &self.ids;
        let as_member = |kind: MemberKind, now: &save::OpenFile| {
            let xattrs = meta::xattrs_of(&now.file);
            meta::member(&found.name, kind, &now.metadata, xattrs, ids)
        };
        let saved = match save::save_file(
            opened,
            &as_member,
            found,
            (&mut self.archive, self.old.take()),
            &mut self.buffer,
        )? {
            Ok(saved) => saved,
            Err(error) => {
                return self.list_missing(&found.name, MemberNote::Unreadable, Some(error));
            }
        };
        for line in &saved.lines {
            match is_database {
                true => line.clone().without_stamp().write(&mut self.list)?,
                false => line.write(&mut self.list)?,
            }
            match line.note {
                Some(MemberNote::Changed) => {
                    if self.tree.changed.len() < MAX_CHANGED_NAMED {
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
        if let Some(base) = self.base {
            base.finish()?;
        }
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
            tree_stamp: self.stamp.map(Box::new),
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
