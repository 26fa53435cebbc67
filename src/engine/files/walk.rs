//! The walk over the files that are to be saved: every top path in order, each directory before its
//! content, sorted by name.

use super::meta::FileMeta;
use super::patterns::Patterns;
use super::place::{self, TreePlace};
use super::swap;
use super::unpack::is_scratch_name;
use crate::error::{Error, Result};
use crate::interrupt;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which files are to be saved.
#[derive(Debug)]
pub struct TreeSelection {
    /// Absolute paths to walk, none inside another.
    pub tops: Vec<PathBuf>,
    /// Only files that match these are saved, and all below a directory that does. Without any
    /// pattern everything is saved.
    pub include: Patterns,
    /// Files that match these are not saved, nor anything below them.
    pub exclude: Patterns,
    /// Whether mounted file systems are left out.
    pub one_file_system: bool,
    /// Directories that are left out: stores, and scratch directories.
    pub leave_out: Vec<PathBuf>,
}

/// A file, directory or link that the walk found.
pub struct TreeEntry {
    /// Its place in the file system.
    pub place: TreePlace,
    /// Its name in the archive.
    pub name: Vec<u8>,
    /// Its metadata when the walk came by.
    pub metadata: FileMeta,
}

/// One event of a walk.
pub enum WalkStep {
    /// It is to be saved.
    Save(TreeEntry),
    /// It could not be looked at; this is its name in the archive.
    Unreadable(Vec<u8>, std::io::Error),
    /// It was gone when it was looked at.
    Vanished(Vec<u8>),
    /// It is left out on purpose, for a reason that people should know.
    LeftOut(PathBuf, &'static str),
}

/// Walks over the selection and calls `visit` with each event.
pub fn walk(choice: &TreeSelection, visit: &mut dyn FnMut(WalkStep) -> Result<()>) -> Result<()> {
    let leave_out: HashSet<(u64, u64)> = choice
        .leave_out
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|found| (found.dev(), found.ino()))
        .collect();
    place::allow_deep_trees();
    choice
        .tops
        .iter()
        .try_for_each(|top| walk_top(choice, top, &leave_out, visit))
}

/// The name in the archive: the path from the root on, without the first slash, wherever a symbolic
/// link at its end leads.
fn name_of(top: &Path, below: &Path) -> Vec<u8> {
    let whole = if below.as_os_str().is_empty() {
        top.to_path_buf()
    } else {
        top.join(below)
    };
    let bytes = whole.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes).to_vec()
}

/// A directory that is being walked through.
struct WalkLevel {
    place: TreePlace,
    dir: Arc<OwnedFd>,
    device: u64,
    /// The names in it that are still to be visited.
    names: std::vec::IntoIter<OsString>,
}

fn walk_top(
    choice: &TreeSelection,
    top: &Path,
    leave_out: &HashSet<(u64, u64)>,
    visit: &mut dyn FnMut(WalkStep) -> Result<()>,
) -> Result<()> {
    // A top path that is a symbolic link means what it points to.
    let real = match top.canonicalize() {
        Ok(real) => real,
        Err(error) => return visit(WalkStep::Unreadable(name_of(top, Path::new("")), error)),
    };
    let place = match TreePlace::find(&real) {
        Ok(place) => place,
        Err(error) => return visit(unseen_step(name_of(top, Path::new("")), error)),
    };
    let mut walk = TreeWalk {
        choice,
        top,
        real: &real,
        leave_out,
        levels: Vec::new(),
        chosen: WaitingDirectories::default(),
        first_device: None,
    };
    walk.visit_place(place, visit)?;
    while let Some(level) = walk.levels.last_mut() {
        interrupt::check()?;
        match level.names.next() {
            Some(name) => {
                let place = level.place.child(&level.dir, name);
                walk.visit_place(place, visit)?;
            }
            None => drop(walk.levels.pop()),
        }
    }
    Ok(())
}

/// A walk below one top path.
struct TreeWalk<'a> {
    choice: &'a TreeSelection,
    top: &'a Path,
    real: &'a Path,
    leave_out: &'a HashSet<(u64, u64)>,
    /// The directories down to the one that is being walked through.
    levels: Vec<WalkLevel>,
    chosen: WaitingDirectories,
    first_device: Option<u64>,
}

impl TreeWalk<'_> {
    /// Visits one place; a directory becomes the next one that is walked through.
    fn visit_place(
        &mut self,
        place: TreePlace,
        visit: &mut dyn FnMut(WalkStep) -> Result<()>,
    ) -> Result<()> {
        let (choice, depth) = (self.choice, self.levels.len());
        let below = place
            .path()
            .strip_prefix(self.real)
            .unwrap_or(Path::new(""))
            .to_path_buf();
        let name = name_of(self.top, &below);
        let metadata = match place.meta() {
            Ok(metadata) => metadata,
            Err(error) => return visit(unseen_step(name, error)),
        };
        let is_directory = metadata.is_dir();
        if depth > 0
            && choice
                .exclude
                .matches(&self.top.join(&below), &below, is_directory)
        {
            return Ok(());
        }
        let mut inside = None;
        if is_directory {
            if let Some(why) = left_out(&place, &metadata, self.leave_out) {
                return visit(WalkStep::LeftOut(place.path().to_path_buf(), why));
            }
            let dir = place.open_dir(&metadata);
            let elsewhere = self
                .levels
                .last()
                .is_none_or(|level| level.device != metadata.dev());
            if elsewhere && dir.as_ref().is_ok_and(|dir| is_of_the_kernel(dir)) {
                return visit(WalkStep::LeftOut(
                    place.path().to_path_buf(),
                    "the kernel's own (/proc, /sys and the like)",
                ));
            }
            let first = *self.first_device.get_or_insert(metadata.dev());
            inside = (!choice.one_file_system || first == metadata.dev()).then_some(dir);
        }
        // A single file that is named is meant.
        let named = depth == 0 && !is_directory;
        let wanted = named
            || choice.include.is_empty()
            || choice
                .include
                .matches(&self.top.join(&below), &below, is_directory);
        let found = TreeEntry {
            place: place.clone(),
            name: name.clone(),
            metadata,
        };
        for found in self.chosen.next(found, depth, wanted, is_directory) {
            // The root directory itself has no name in an archive.
            if !found.name.is_empty() {
                visit(WalkStep::Save(found))?;
            }
        }
        match inside {
            None => Ok(()),
            Some(dir) => match dir.and_then(|dir| Ok((place::list_names(&dir)?, dir))) {
                Ok((names, dir)) => {
                    self.levels.push(WalkLevel {
                        place,
                        dir,
                        device: metadata.dev(),
                        names: names.into_iter(),
                    });
                    Ok(())
                }
                Err(error) => visit(unseen_step(name, error)),
            },
        }
    }
}

fn unseen_step(name: Vec<u8>, error: std::io::Error) -> WalkStep {
    if error.kind() == std::io::ErrorKind::NotFound {
        WalkStep::Vanished(name)
    } else {
        WalkStep::Unreadable(name, error)
    }
}

/// Whether a directory is of a file system that holds no files of anybody's; the numbers are those
/// of statfs(2).
#[cfg(target_os = "linux")]
fn is_of_the_kernel(dir: &OwnedFd) -> bool {
    const KERNELS: [i64; 8] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x6367_7270, // cgroup2
        0x0027_e0eb, // cgroup
        0xcafe_4a11, // bpf
        0x1cd1,      // devpts
    ];
    rustix::fs::fstatfs(dir).is_ok_and(|found| KERNELS.contains(&found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_of_the_kernel(_dir: &OwnedFd) -> bool {
    false
}

/// Why a directory is not for the archive, where it is not.
fn left_out(
    place: &TreePlace,
    metadata: &FileMeta,
    leave_out: &HashSet<(u64, u64)>,
) -> Option<&'static str> {
    if leave_out.contains(&metadata.key()) {
        return Some("a store of backups");
    }
    let name = place.leaf();
    if is_scratch_name(name.as_bytes()) {
        return Some("scratch of a run");
    }
    let name = name.to_str()?;
    swap::is_kept_inside(name).then_some("what a restore replaced")
}

/// Directories wait until something in them is wanted, where only some things are.
#[derive(Default)]
struct WaitingDirectories {
    waiting: Vec<(usize, TreeEntry)>,
    /// Everything deeper than this is wanted.
    all_below: Option<usize>,
}

impl WaitingDirectories {
    /// What is to be saved now that this has been found at that depth.
    fn next(
        &mut self,
        found: TreeEntry,
        depth: usize,
        wanted: bool,
        is_directory: bool,
    ) -> Vec<TreeEntry> {
        self.waiting.retain(|(above, _)| *above < depth);
        if self.all_below.is_some_and(|above| depth <= above) {
            self.all_below = None;
        }
        if !wanted && self.all_below.is_none() {
            if is_directory {
                self.waiting.push((depth, found));
            }
            return Vec::new();
        }
        if is_directory && self.all_below.is_none() {
            self.all_below = Some(depth);
        }
        let mut ready: Vec<TreeEntry> = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|(_, found)| found)
            .collect();
        ready.push(found);
        ready
    }
}

/// A top path inside another would be saved twice.
pub fn refuse_nested(tops: &[PathBuf]) -> Result<()> {
    for (at, one) in tops.iter().enumerate() {
        for (other_at, other) in tops.iter().enumerate() {
            if at != other_at && one.starts_with(other) {
                let text = format!(
                    "the path `{}` lies in `{}`, and would be saved twice",
                    one.display(),
                    other.display()
                );
                return Err(Error::usage(text).with_hint("leave it out of `paths`"));
            }
        }
    }
    Ok(())
}
