//! A tree of files as a source: everything that the walk finds goes, one thing after another, into
//! one archive and one list.

mod archiver;
mod issues;

use super::archive::ArchiveSink;
use super::base_tree::{BaseMembers, TreeBase};
use super::patterns::Patterns;
use super::walk::{self, TreeEntry, TreeSelection, WalkStep};
use crate::engine::{DeltaSink, Dumped, Source};
use crate::error::{Context, Error, Result};
use crate::units;
use archiver::{Archiver, full_path};
use issues::Issue;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::SpooledTempFile;

/// Which files are saved, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Top paths, absolute.
    pub paths: Vec<PathBuf>,
    /// Only what matches one of these; see [`super::patterns`].
    pub include: Vec<String>,
    /// Never what matches one of these.
    pub exclude: Vec<String>,
    /// Whether mounted file systems are left out.
    pub one_file_system: bool,
    /// Whether SQLite databases are saved as the files that they are, not through SQLite.
    pub raw_databases: bool,
    /// Directories to leave out: stores.
    pub leave_out: Vec<PathBuf>,
    /// For copies of databases, and for the list while it is being made.
    pub scratch_dir: PathBuf,
    /// Nothing of the content is written there: databases are read in place, and the list, some 150
    /// bytes a file, is made in memory.
    pub off_disk: bool,
    /// How long a locked database is waited for.
    pub lock_timeout: Duration,
}

/// Trees of files that are saved as one archive.
#[derive(Debug)]
pub struct FilesSource {
    plan: Plan,
    choice: TreeSelection,
    size: u64,
    /// The names of databases with several names that have a log or a journal beside them.
    logs: HashMap<(u64, u64), Vec<PathBuf>>,
    base: Option<TreeBase>,
}

impl FilesSource {
    /// Walks the whole tree to learn its size; no file is read. It is an error if all top paths are
    /// missing.
    pub fn open(plan: &Plan) -> Result<Self> {
        walk::refuse_nested(&plan.paths)?;
        // Symbolic links may lead one into another.
        let real: Vec<PathBuf> = plan
            .paths
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        walk::refuse_nested(&real)?;
        let choice = TreeSelection {
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
            base: None,
        };
        source.measure()?;
        Ok(source)
    }

    /// The top paths.
    pub fn paths(&self) -> &[PathBuf] {
        &self.plan.paths
    }

    /// Lets [`Source::dump_beside_base`] copy what this earlier backup has. The base of the sink
    /// MUST be its archive.
    pub fn set_base(&mut self, base: TreeBase) {
        self.base = Some(base);
    }

    /// Looks whether everything could be read, and returns in words what would be saved. The error
    /// names the first things that could not be read.
    pub fn rehearse(&self) -> Result<String> {
        let (mut files, mut closed) = (0, Vec::new());
        let mut count = 0_u64;
        walk::walk(&self.choice, &mut |step| {
            let lacking = match step {
                WalkStep::Save(found) if found.metadata.is_file() => {
                    files += 1;
                    let readable = found.place.may_be_read();
                    readable
                        .err()
                        .map(|error| format!("{} ({})", full_path(&found.name), Error::from(error)))
                }
                WalkStep::Unreadable(name, error) => {
                    Some(format!("{} ({})", full_path(&name), Error::from(error)))
                }
                _ => None,
            };
            count += u64::from(lacking.is_some());
            closed.extend(lacking.filter(|_| count <= issues::NAMED as u64));
            Ok(())
        })?;
        if count > 0 {
            return Err(Error::failed(format!(
                "the backup would be incomplete: {}: {}",
                Issue::Unreadable.count_text(count),
                closed.join(", ")
            ))
            .with_hint("run dbbackup as a user that may read it, or leave it out with `exclude`"));
        }
        Ok(format!("{} as one tar", units::count(files, "file")))
    }

    fn measure(&mut self) -> Result<()> {
        let (mut size, mut logs) = (0, HashMap::<(u64, u64), Vec<PathBuf>>::new());
        walk::walk(&self.choice, &mut |step| {
            if let WalkStep::Save(found) = step {
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

/// The inode and the path of the database that a log or journal belongs to, where that is not empty
/// and the database has other names.
fn database_with_log(found: &TreeEntry) -> Option<((u64, u64), PathBuf)> {
    let name = found.place.leaf().as_bytes();
    let base = name
        .strip_suffix(b"-wal")
        .or_else(|| name.strip_suffix(b"-journal"))?;
    let base = found.place.sibling(std::ffi::OsStr::from_bytes(base));
    let metadata = base
        .meta()
        .ok()
        .filter(|base| base.is_file() && base.nlink() > 1)?;
    (found.metadata.size() > 0).then(|| (metadata.key(), base.path().to_path_buf()))
}

impl FilesSource {
    fn archive<'a>(&'a self, out: ArchiveSink<'a>, base: Option<BaseMembers>) -> Result<Dumped> {
        let dir = &self.plan.scratch_dir;
        let mut list = SpooledTempFile::new_in(usize::MAX, dir);
        if !self.plan.off_disk {
            list.roll()
                .with_context(|| format!("making the list of contents in `{}`", dir.display()))?;
        }
        let mut archiver = Archiver::new(&self.plan, &self.logs, out, base, list);
        walk::walk(&self.choice, &mut |step| archiver.save_step(step))?;
        archiver.finish()
    }
}

impl Source for FilesSource {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        self.archive(ArchiveSink::Alone(out), None)
    }

    fn dump_beside_base(&mut self, out: &mut dyn DeltaSink) -> Result<Dumped> {
        let base = self.base.take();
        let members = base.map(|base| BaseMembers::open(base, &self.plan.paths));
        self.archive(ArchiveSink::BesideBase(out), members.transpose()?)
    }

    fn estimate(&self) -> u64 {
        self.size
    }
}
