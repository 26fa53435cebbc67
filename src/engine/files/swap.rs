//! Exchanging a tree that is in service for one that was restored beside it.
//!
//! The new tree lies in a scratch directory beside its top path, on the same file system. Before anything is exchanged a journal in that directory says
//! what is to happen; whoever finds the directory without its owner (the next run) goes by it: see [`recover`]. A scratch directory may hold the *old*
//! tree for a moment, so none that has a journal is removed before that was looked at.
//!
//! A top path that is a mount point can't be renamed. There the new tree lies inside, and what is in the two is exchanged name by name.

use super::unpack::TREE;
use crate::durable::{self, rename_new};
use crate::error::{Context, Error, Result};
use crate::scratch::{self, Scratch};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.json";
/// The beginning of the name under which a mount point's old content is kept inside of it.
const KEPT_INSIDE: &str = ".dbbackup-before-";

/// Whether a name is that of what a restore kept inside a mount point.
pub fn is_kept_inside(name: &str) -> bool {
    name.starts_with(KEPT_INSIDE)
}

/// A top path, and the place beside it where its new tree is made.
pub struct Staged {
    /// Where the tree belongs: what a symbolic link there points to.
    pub top: PathBuf,
    /// Where the old one goes.
    pub kept: PathBuf,
    scratch: Scratch,
    inside: bool,
}

/// What is written down before the exchange.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    format: u32,
    top: Bytes,
    kept: Bytes,
    /// The new tree's inode.
    new: u64,
    /// Name by name, for a mount point.
    children: Option<Vec<Child>>,
}

/// One name in a mount point, with the inodes of what has it in the old tree and the new.
#[derive(Debug, Serialize, Deserialize)]
struct Child {
    name: Bytes,
    old: Option<u64>,
    new: Option<u64>,
}

/// A path in hex: it may be no UTF-8.
#[derive(Debug, Serialize, Deserialize)]
struct Bytes(String);

impl Bytes {
    fn of(path: &OsStr) -> Self {
        Bytes(super::listing::to_hex(path.as_bytes()))
    }

    fn path(&self) -> Result<PathBuf> {
        let bytes = super::listing::from_hex(&self.0).ok_or_else(|| Error::failed("a restore's journal is damaged"))?;
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }
}

impl Staged {
    /// A place for the new tree of `top`, with so many bytes free. `stamp` names what is kept.
    pub fn new(top: &Path, needed: u64, stamp: &str) -> Result<Staged> {
        let top = top.canonicalize().unwrap_or_else(|_| top.to_path_buf());
        sweep(&top)?;
        let inside = is_mount_point(&top);
        let (place, prefix) = if inside { (top.clone(), prefix_inside()) } else { (existing_above(&top), prefix_beside(&top)) };
        let scratch = Scratch::new(&place, &prefix, needed, "the restored files")?;
        let kept = free_name(&if inside {
            top.join(format!("{KEPT_INSIDE}{stamp}"))
        } else {
            with_end(&top, &format!(".before-{stamp}"))
        });
        Ok(Staged { top, kept, scratch, inside })
    }

    /// The directory below which `tree` is to be made.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    fn tree(&self) -> PathBuf {
        self.scratch.join(TREE)
    }

    /// Whether a tree came out for it.
    pub fn is_filled(&self) -> bool {
        self.tree().symlink_metadata().is_ok()
    }

    /// Waits until everything in it is on disk.
    pub fn sync(&self) -> Result<()> {
        let directory =
            std::fs::File::open(self.directory()).with_context(|| format!("opening `{}`", self.directory().display()))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&directory).with_context(|| format!("syncing `{}`", self.directory().display()))?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        drop(directory);
        Ok(())
    }

    /// Puts the new tree in the old one's place; gives back where the old one is, where there was one. On an error the old one is in service; killed at any
    /// point the one or the other is, and [`recover`] tidies up.
    pub fn swap(self) -> Result<Option<PathBuf>> {
        let above = self.top.parent().unwrap_or(Path::new("/")).to_path_buf();
        if !above.is_dir() {
            std::fs::create_dir_all(&above).with_context(|| format!("making `{}`", above.display()))?;
        }
        let journal = self.journal()?;
        let bytes = serde_json::to_vec(&journal).map_err(|error| Error::failed(error.to_string()))?;
        durable::replace(&self.scratch.join(JOURNAL), &bytes)?;
        let had_one = self.top.symlink_metadata().is_ok();
        let done = recover_by(&journal, self.directory(), Direction::Forward);
        match done {
            Ok(()) => {
                self.scratch.remove();
                Ok(had_one.then_some(self.kept).filter(|kept| kept.symlink_metadata().is_ok()))
            }
            Err(error) => {
                // As far as it came it is undone, where that can be; what can't is left for the next run to look at.
                match recover_by(&journal, self.directory(), Direction::Back) {
                    Ok(()) => self.scratch.remove(),
                    Err(_) => self.scratch.leave(),
                }
                Err(error.context(format!("putting the restored files in the place of `{}`", self.top.display())))
            }
        }
    }

    fn journal(&self) -> Result<Journal> {
        let tree = self.tree();
        let new = tree.symlink_metadata().with_context(|| format!("reading `{}`", tree.display()))?.ino();
        let children = if self.inside { Some(children(&self.top, &tree, self.directory())?) } else { None };
        Ok(Journal { format: 1, top: Bytes::of(self.top.as_os_str()), kept: Bytes::of(self.kept.as_os_str()), new, children })
    }
}

/// Every name that the mount point or the new tree has, our own scratch and what is kept aside.
fn children(top: &Path, tree: &Path, scratch: &Path) -> Result<Vec<Child>> {
    let names = |directory: &Path| -> Result<BTreeSet<OsString>> {
        let entries = std::fs::read_dir(directory).with_context(|| format!("reading `{}`", directory.display()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let ours = |name: &OsString| {
        Some(name.as_os_str()) == scratch.file_name() || name.to_str().is_some_and(is_kept_inside) || name == "lost+found"
    };
    let old = names(top)?;
    let new = names(tree)?;
    let all = old.union(&new).filter(|name| !ours(name));
    Ok(all.map(|name| Child { name: Bytes::of(name), old: inode(&top.join(name)), new: inode(&tree.join(name)) }).collect())
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|found| found.ino())
}

/// Removes the scratch directories that killed restores left for a top path, after finishing what they had begun.
pub fn sweep(top: &Path) -> Result<()> {
    let top = top.canonicalize().unwrap_or_else(|_| top.to_path_buf());
    let places = [(existing_above(&top), prefix_beside(&top)), (top.clone(), prefix_inside())];
    let mut failed = Ok(());
    for (place, prefix) in places {
        scratch::sweep_if(&place, &prefix, |directory| match recover(directory) {
            Ok(()) => true,
            Err(error) => {
                failed = Err(error);
                false
            }
        });
    }
    failed
}

/// Finishes what a killed restore had begun, by its journal: then nothing of the old tree is left in its scratch directory.
pub fn recover(scratch: &Path) -> Result<()> {
    let bytes = match std::fs::read(scratch.join(JOURNAL)) {
        Ok(bytes) => bytes,
        // It had not come so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading the journal of a restore in `{}`", scratch.display())),
    };
    let hint = || format!("it may hold files that were replaced: look into `{}`, and remove it by hand", scratch.display());
    let journal: Journal = serde_json::from_slice(&bytes).map_err(|error| {
        Error::failed(format!("the journal of a restore in `{}` is damaged: {error}", scratch.display())).hint(hint())
    })?;
    let direction = if journal.has_begun(scratch)? { Direction::Forward } else { Direction::Back };
    recover_by(&journal, scratch, direction)
        .with_context(|| format!("finishing a restore that was killed, by its journal in `{}`", scratch.display()))
        .map_err(|error| error.hint(hint()))
}

impl Journal {
    /// Whether anything was exchanged already.
    fn has_begun(&self, scratch: &Path) -> Result<bool> {
        let (top, tree) = (self.top.path()?, scratch.join(TREE));
        Ok(match &self.children {
            None => inode(&tree) != Some(self.new),
            Some(children) => {
                let mut begun = inode(&tree) != Some(self.new);
                for child in children {
                    let name = child.name.path()?;
                    begun |= child.new.is_some() && inode(&top.join(&name)) == child.new;
                    begun |= child.old.is_some() && inode(&tree.join(&name)) == child.old;
                }
                begun
            }
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the new tree.
    Forward,
    /// To the old one.
    Back,
}

/// Brings everything to one side, from wherever it is. Each step is found done by its inodes, so it may be called again and again.
fn recover_by(journal: &Journal, scratch: &Path, direction: Direction) -> Result<()> {
    let (top, kept, tree) = (journal.top.path()?, journal.kept.path()?, scratch.join(TREE));
    match &journal.children {
        None => whole(journal, &top, &kept, &tree, direction),
        Some(children) => by_name(journal, children, &top, &kept, &tree, direction),
    }
}

/// One exchange of names.
fn whole(journal: &Journal, top: &Path, kept: &Path, tree: &Path, direction: Direction) -> Result<()> {
    let new = Some(journal.new);
    if direction == Direction::Forward {
        if inode(tree) == new {
            if inode(top).is_some() {
                exchange(tree, top, kept)?;
            } else {
                rename_new(tree, top).with_context(|| format!("renaming to `{}`", top.display()))?;
            }
        }
        // What is in the scratch directory now is the old tree.
        if inode(top) == new && inode(tree).is_some() {
            rename_new(tree, kept).with_context(|| format!("keeping the old files as `{}`", kept.display()))?;
        }
    } else if inode(top) == new {
        let old = if inode(tree).is_some() { Some(tree) } else { Some(kept).filter(|kept| inode(kept).is_some()) };
        match old {
            Some(old) => exchange(old, top, kept)?,
            None => std::fs::rename(top, tree).with_context(|| format!("taking `{}` back", top.display()))?,
        }
    } else if inode(top).is_none() && inode(kept).is_some() {
        rename_new(kept, top).with_context(|| format!("bringing `{}` back", top.display()))?;
    }
    sync_above(top)
}

/// Exchanges two names at once; where the file system can't do that, one after the other by way of `aside`.
fn exchange(one: &Path, other: &Path, aside: &Path) -> Result<()> {
    let context = || format!("exchanging `{}` and `{}`", one.display(), other.display());
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rename_new(other, aside).with_context(context)?;
            rename_new(one, other).with_context(context)?;
            std::fs::rename(aside, one).with_context(context)
        }
        Err(Errno::BUSY) => Err(Error::failed(format!("`{}` is a mount point", other.display())))
            .hint("restore with `--to` beside it, and copy the content over"),
        Err(error) => Err(error).with_context(context),
    }
}

/// Name by name, inside a mount point.
fn by_name(journal: &Journal, children: &[Child], top: &Path, kept: &Path, tree: &Path, direction: Direction) -> Result<()> {
    // The old ones are in the new tree's directory once they are out; that directory is then kept whole.
    if inode(tree) == Some(journal.new) {
        for child in children {
            one_name(child, top, tree, direction)?;
        }
        if direction == Direction::Forward {
            describe_like(tree, top);
            let is_empty = std::fs::read_dir(tree).is_ok_and(|mut entries| entries.next().is_none());
            if is_empty {
                std::fs::remove_dir(tree).with_context(|| format!("removing `{}`", tree.display()))?;
            } else {
                rename_new(tree, kept).with_context(|| format!("keeping the old files as `{}`", kept.display()))?;
            }
        }
    }
    durable::sync_dir(top)
}

/// One name, where it is not on the wanted side already.
fn one_name(child: &Child, top: &Path, tree: &Path, direction: Direction) -> Result<()> {
    let name = child.name.path()?;
    let (in_top, in_tree) = (top.join(&name), tree.join(&name));
    let (wanted, other) = if direction == Direction::Forward { (child.new, child.old) } else { (child.old, child.new) };
    let now = inode(&in_top);
    if now == wanted || now != other {
        // There already; or something else has its place, which is not ours to move.
        return Ok(());
    }
    let context = || format!("exchanging `{}`", in_top.display());
    match (wanted, other) {
        (Some(_), Some(_)) => {
            let aside = format!(".{}.dbbackup-aside", super::listing::to_hex(name.as_os_str().as_bytes()));
            exchange(&in_tree, &in_top, &top.join(aside))
        }
        (Some(_), None) => rename_new(&in_tree, &in_top).with_context(context),
        (None, _) => rename_new(&in_top, &in_tree).with_context(context),
    }
}

/// Mode and owner of the new tree's top, for a mount point that keeps its own directory. What can't be set stays as it is.
fn describe_like(tree: &Path, top: &Path) {
    if let Ok(found) = tree.symlink_metadata() {
        let _ = std::os::unix::fs::chown(top, Some(found.uid()), Some(found.gid()));
        let _ = std::fs::set_permissions(top, found.permissions());
    }
}

/// Removes what was kept of an old tree.
pub fn remove_kept(kept: &Path) -> Result<()> {
    let is_directory = kept.symlink_metadata().is_ok_and(|found| found.is_dir());
    let removed = if is_directory { std::fs::remove_dir_all(kept) } else { std::fs::remove_file(kept) };
    removed.with_context(|| format!("removing the old files `{}`", kept.display()))
}

/// Puts back what [`Staged::swap`] exchanged; the new tree is removed.
pub fn undo(top: &Path, kept: Option<&Path>) -> Result<()> {
    match kept {
        Some(kept) if !is_mount_point(top) => {
            exchange(kept, top, &with_end(kept, ".aside"))?;
            remove_kept(kept)
        }
        Some(kept) => Err(Error::failed(format!("the old content of `{}` is in `{}`", top.display(), kept.display()))),
        None => remove_kept(top),
    }
}

/// Whether another file system, or another directory, is mounted there: such a directory can't be renamed.
fn is_mount_point(path: &Path) -> bool {
    let (Ok(found), Some(above)) = (path.symlink_metadata(), path.parent()) else { return false };
    if !found.is_dir() {
        return false;
    }
    let elsewhere = above.metadata().is_ok_and(|above| above.dev() != found.dev());
    // A bind mount may be of the same file system; see proc_pid_mountinfo(5).
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    elsewhere
        || mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| unescaped(point) == path.as_os_str().as_bytes())
}

/// A space, tab, line break or backslash stands as `\040` and so on.
fn unescaped(point: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = point.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

fn sync_above(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), durable::sync_dir)
}

/// The nearest directory above that is there.
fn existing_above(path: &Path) -> PathBuf {
    path.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn prefix_beside(top: &Path) -> String {
    format!(".{}.dbbackup-tree-", top.file_name().unwrap_or_default().to_string_lossy())
}

fn prefix_inside() -> String {
    ".dbbackup-tree-".to_owned()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn free_name(plain: &Path) -> PathBuf {
    let taken = |path: &Path| path.symlink_metadata().is_ok();
    let numbered = |number: u32| with_end(plain, &format!("-{number}"));
    if taken(plain) {
        (2..).map(numbered).find(|name| !taken(name)).unwrap_or_else(|| plain.to_path_buf())
    } else {
        plain.to_path_buf()
    }
}

#[cfg(test)]
mod tests;
