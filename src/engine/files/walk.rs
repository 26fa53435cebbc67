//! What of the file system is to be saved: every top path in order, each directory before what is in it, sorted by name.

use super::patterns::Patterns;
use super::swap;
use super::unpack::is_scratch_name;
use crate::error::{Error, Result};
use crate::interrupt;
use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// What is chosen.
#[derive(Debug)]
pub struct Choice {
    /// Where to look, absolute, none inside another.
    pub tops: Vec<PathBuf>,
    /// Only what matches, and all below a directory that does; everything where there are none.
    pub include: Patterns,
    /// Never what matches, nor what is below it.
    pub exclude: Patterns,
    /// Don't go where another file system is mounted.
    pub one_file_system: bool,
    /// Directories that are left out: stores, and scratch directories.
    pub leave_out: Vec<PathBuf>,
}

/// Something that was found.
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the archive.
    pub name: Vec<u8>,
    /// As it was when the walk came by.
    pub metadata: Metadata,
}

/// What is told to whoever walks.
pub enum Step {
    /// To be saved.
    Save(Found),
    /// Could not be looked at; its name in the archive.
    Unreadable(Vec<u8>, std::io::Error),
    /// Was gone when it was looked at.
    Vanished(Vec<u8>),
    /// Left out on purpose, and worth telling.
    LeftOut(PathBuf, &'static str),
}

/// Walks over everything that is chosen.
pub fn walk(choice: &Choice, visit: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
    let leave_out: HashSet<(u64, u64)> =
        choice.leave_out.iter().filter_map(|path| path.metadata().ok()).map(|found| key(&found)).collect();
    choice.tops.iter().try_for_each(|top| one_top(choice, top, &leave_out, visit))
}

fn key(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// The name in the archive: the path from the root on, without the first slash, wherever a symbolic link at its end leads.
fn name_of(top: &Path, below: &Path) -> Vec<u8> {
    let whole = if below.as_os_str().is_empty() { top.to_path_buf() } else { top.join(below) };
    let bytes = whole.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes).to_vec()
}

fn one_top(
    choice: &Choice,
    top: &Path,
    leave_out: &HashSet<(u64, u64)>,
    visit: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<()> {
    // A top path that is a symbolic link means what it points to.
    let real = match top.canonicalize() {
        Ok(real) => real,
        Err(error) => return visit(Step::Unreadable(name_of(top, Path::new("")), error)),
    };
    let mut walk = WalkDir::new(&real).sort_by_file_name().same_file_system(choice.one_file_system).into_iter();
    let mut chosen = Chosen::default();
    let mut device = None;
    while let Some(entry) = walk.next() {
        interrupt::check()?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&real).to_path_buf();
                let below = path.strip_prefix(&real).unwrap_or(Path::new("")).to_path_buf();
                visit(not_seen(name_of(top, &below), error.into()))?;
                continue;
            }
        };
        let below = entry.path().strip_prefix(&real).unwrap_or(Path::new("")).to_path_buf();
        let is_directory = entry.file_type().is_dir();
        let name = name_of(top, &below);
        if entry.depth() > 0 && choice.exclude.matches(&top.join(&below), &below, is_directory) {
            if is_directory {
                walk.skip_current_dir();
            }
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                visit(not_seen(name, error.into()))?;
                continue;
            }
        };
        let elsewhere = is_directory && device != Some(metadata.dev());
        device = if is_directory { Some(metadata.dev()) } else { device };
        if elsewhere && is_of_the_kernel(entry.path()) {
            walk.skip_current_dir();
            visit(Step::LeftOut(entry.into_path(), "the kernel's own (/proc, /sys and the like)"))?;
            continue;
        }
        if is_directory && let Some(why) = left_out(entry.path(), &metadata, leave_out) {
            walk.skip_current_dir();
            visit(Step::LeftOut(entry.into_path(), why))?;
            continue;
        }
        // A single file that is named is meant.
        let named = entry.depth() == 0 && !is_directory;
        let wanted = named || choice.include.is_empty() || choice.include.matches(&top.join(&below), &below, is_directory);
        let depth = entry.depth();
        let found = Found { path: entry.into_path(), name, metadata };
        for found in chosen.next(found, depth, wanted, is_directory) {
            // The root directory itself has no name in an archive.
            if !found.name.is_empty() {
                visit(Step::Save(found))?;
            }
        }
    }
    Ok(())
}

fn not_seen(name: Vec<u8>, error: std::io::Error) -> Step {
    if error.kind() == std::io::ErrorKind::NotFound { Step::Vanished(name) } else { Step::Unreadable(name, error) }
}

/// Whether a directory is of a file system that holds no files of anybody's; the numbers are those of statfs(2).
#[cfg(target_os = "linux")]
fn is_of_the_kernel(path: &Path) -> bool {
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
    rustix::fs::statfs(path).is_ok_and(|found| KERNELS.contains(&found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_of_the_kernel(_path: &Path) -> bool {
    false
}

/// Why a directory is not for the archive, where it is not.
fn left_out(path: &Path, metadata: &Metadata, leave_out: &HashSet<(u64, u64)>) -> Option<&'static str> {
    if leave_out.contains(&key(metadata)) {
        return Some("a store of backups");
    }
    let name = path.file_name()?;
    if is_scratch_name(name.as_bytes()) {
        return Some("scratch of a run");
    }
    let name = name.to_str()?;
    swap::is_kept_inside(name).then_some("what a restore replaced")
}

/// Directories wait until something in them is wanted, where only some things are.
#[derive(Default)]
struct Chosen {
    waiting: Vec<(usize, Found)>,
    /// Everything deeper than this is wanted.
    all_below: Option<usize>,
}

impl Chosen {
    /// What is to be saved now that this has been found at that depth.
    fn next(&mut self, found: Found, depth: usize, wanted: bool, is_directory: bool) -> Vec<Found> {
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
        let mut ready: Vec<Found> = std::mem::take(&mut self.waiting).into_iter().map(|(_, found)| found).collect();
        ready.push(found);
        ready
    }
}

/// A top path inside another would be saved twice.
pub fn refuse_nested(tops: &[PathBuf]) -> Result<()> {
    for (at, one) in tops.iter().enumerate() {
        for (other_at, other) in tops.iter().enumerate() {
            if at != other_at && one.starts_with(other) {
                let text = format!("the path `{}` lies in `{}`, and would be saved twice", one.display(), other.display());
                return Err(Error::usage(text).hint("leave it out of `paths`"));
            }
        }
    }
    Ok(())
}
