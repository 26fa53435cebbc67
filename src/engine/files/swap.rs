//! Exchanging a tree that is in service for one that was restored beside it.
//!
//! The new tree lies in a scratch directory beside its top path, on the same file system. Before
//! anything is exchanged a journal in that directory says what is to happen; whoever finds the
//! directory without its owner (the next run) goes by it: see [`recover`]. A scratch directory may
//! hold the *old* tree for a moment, so none that has a journal is removed before that was looked
//! at, and never one whose tree is not surely the new one.
//!
//! A top path that is a mount point can't be renamed. There the new tree lies inside, and what is
//! in the two is exchanged name by name.

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
/// What follows a top path's name in that of what is kept.
const KEPT_BESIDE: &str = ".before-";
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
        let bytes = super::listing::from_hex(&self.0)
            .ok_or_else(|| Error::failed("a restore's journal is damaged"))?;
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }
}

impl Staged {
    /// A place for the new tree of `top`, with so many bytes free. `stamp` names what is kept.
    pub fn new(top: &Path, needed: u64, stamp: &str) -> Result<Staged> {
        let top = real(top);
        refuse_mounts(&top)?;
        sweep(&top)?;
        let inside = is_mount_point(&top);
        let (place, prefix) = if inside {
            (top.clone(), prefix_inside())
        } else {
            (existing_above(&top), prefix_beside(&top))
        };
        let scratch =
            Scratch::unswept(&place, &prefix, needed, "the restored files").map_err(|error| {
                error.with_hint("restore with `--to` another place, and copy the files from there")
            })?;
        let kept = free_name(&if inside {
            top.join(format!("{KEPT_INSIDE}{stamp}"))
        } else {
            with_end(&top, &format!("{KEPT_BESIDE}{stamp}"))
        });
        Ok(Staged {
            top,
            kept,
            scratch,
            inside,
        })
    }

    /// The file system that it is on.
    pub fn device(&self) -> u64 {
        self.directory().metadata().map_or(0, |found| found.dev())
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
        let directory = std::fs::File::open(self.directory())
            .with_context(|| format!("opening `{}`", self.directory().display()))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&directory)
            .with_context(|| format!("syncing `{}`", self.directory().display()))?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        drop(directory);
        Ok(())
    }

    /// Puts the new tree in the old one's place. The journal stays until [`Staged::finish`], so
    /// that it can be taken back; killed at any point the old tree or the new one is there, and
    /// [`recover`] tidies up. On an error the old one is in service, or the error says what is.
    pub fn swap(&self) -> Result<()> {
        let above = self.top.parent().unwrap_or(Path::new("/")).to_path_buf();
        if !above.is_dir() {
            std::fs::create_dir_all(&above)
                .with_context(|| format!("making `{}`", above.display()))?;
        }
        let journal = self.journal()?;
        let bytes =
            serde_json::to_vec(&journal).map_err(|error| Error::failed(error.to_string()))?;
        durable::replace(&self.scratch.join(JOURNAL), &bytes)?;
        go_to(&journal, self.directory(), Direction::Forward).map_err(|error| {
            error.context(format!(
                "putting the restored files in the place of `{}`",
                self.top.display()
            ))
        })
    }

    /// Takes it back, from wherever it is. What can't be taken back stays in its scratch directory,
    /// for the next run or a person to look at; the error says where.
    pub fn undo(self) -> Result<()> {
        let undone = match std::fs::read(self.scratch.join(JOURNAL)) {
            Ok(bytes) => serde_json::from_slice::<Journal>(&bytes)
                .map_err(|error| Error::failed(error.to_string()))
                .and_then(|journal| go_to(&journal, self.directory(), Direction::Back)),
            // It had not begun.
            Err(_) => Ok(()),
        };
        match undone {
            Ok(()) => {
                self.scratch.remove();
                Ok(())
            }
            Err(error) => {
                let text = format!(
                    "`{}` may have the new files; the old ones are in `{}` or `{}`",
                    self.top.display(),
                    self.kept.display(),
                    self.tree().display()
                );
                self.scratch.leave();
                Err(error.context(text))
            }
        }
    }

    /// It stays so. Gives back where the old tree is, where there was one.
    pub fn finish(self) -> Option<PathBuf> {
        let tree = self.tree();
        // Nothing of a tree may be left in there now; else it is not ours to remove.
        if tree.symlink_metadata().is_ok() {
            self.scratch.leave()
        } else {
            self.scratch.remove()
        }
        Some(self.kept).filter(|kept| kept.symlink_metadata().is_ok())
    }

    fn journal(&self) -> Result<Journal> {
        let tree = self.tree();
        let new = tree
            .symlink_metadata()
            .with_context(|| format!("reading `{}`", tree.display()))?
            .ino();
        let children = if self.inside {
            Some(children(&self.top, &tree, self.directory())?)
        } else {
            None
        };
        Ok(Journal {
            format: 1,
            top: Bytes::of(self.top.as_os_str()),
            kept: Bytes::of(self.kept.as_os_str()),
            new,
            children,
        })
    }
}

/// Every name that the mount point or the new tree has, our own scratch and what is kept aside.
fn children(top: &Path, tree: &Path, scratch: &Path) -> Result<Vec<Child>> {
    let names = |directory: &Path| -> Result<BTreeSet<OsString>> {
        let entries = std::fs::read_dir(directory)
            .with_context(|| format!("reading `{}`", directory.display()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let ours = |name: &OsString| {
        Some(name.as_os_str()) == scratch.file_name()
            || name.to_str().is_some_and(is_kept_inside)
            || name == "lost+found"
    };
    let old = names(top)?;
    let new = names(tree)?;
    let all = old.union(&new).filter(|name| !ours(name));
    Ok(all
        .map(|name| Child {
            name: Bytes::of(name),
            old: inode(&top.join(name)),
            new: inode(&tree.join(name)),
        })
        .collect())
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|found| found.ino())
}

/// Removes the scratch directories that killed restores left for a top path, after finishing what
/// they had begun.
pub fn sweep(top: &Path) -> Result<()> {
    let top = real(top);
    // Where the directory above was missing then, it lies further up.
    let above = top
        .ancestors()
        .skip(1)
        .map(|above| (above.to_path_buf(), prefix_beside(&top)));
    let mut failed = Ok(());
    for (place, prefix) in above.chain([(top.clone(), prefix_inside())]) {
        scratch::sweep_if(&place, &prefix, |directory| {
            match recover(directory, &top) {
                Ok(()) => true,
                Err(error) => {
                    failed = Err(error);
                    false
                }
            }
        });
    }
    failed
}

/// Finishes what a killed restore of `top` had begun, by its journal. Ok means that no old file is
/// left in its scratch directory.
pub fn recover(scratch: &Path, top: &Path) -> Result<()> {
    let hint = || {
        format!(
            "it may hold files that were replaced: look into `{}`, and remove it by hand",
            scratch.display()
        )
    };
    let bytes = match std::fs::read(scratch.join(JOURNAL)) {
        Ok(bytes) => bytes,
        // It had not come so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::from(error)
                .context(format!(
                    "reading the journal of a restore in `{}`",
                    scratch.display()
                ))
                .with_hint(hint()));
        }
    };
    let journal: Journal = serde_json::from_slice(&bytes).map_err(|error| {
        Error::failed(format!(
            "the journal of a restore in `{}` is damaged: {error}",
            scratch.display()
        ))
        .with_hint(hint())
    })?;
    if !journal.is_about(top, scratch)? {
        return Err(Error::failed(format!(
            "the journal in `{}` is not one of a restore of `{}`",
            scratch.display(),
            top.display()
        ))
        .with_hint(hint()));
    }
    let direction = if journal.has_begun(scratch)? {
        Direction::Forward
    } else {
        Direction::Back
    };
    go_to(&journal, scratch, direction)
        .with_context(|| {
            format!(
                "finishing a restore that was killed, by its journal in `{}`",
                scratch.display()
            )
        })
        .map_err(|error| error.with_hint(hint()))
}

impl Journal {
    /// A journal that came out of somebody's archive must not have anything moved elsewhere.
    fn is_about(&self, top: &Path, scratch: &Path) -> Result<bool> {
        let kept = self.kept.path()?;
        let (place, end) = if self.children.is_some() {
            (Some(top), KEPT_INSIDE.to_owned())
        } else {
            (top.parent(), name_with(top, KEPT_BESIDE))
        };
        let stamped = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&end));
        let in_place = kept.parent() == place && kept.file_name().is_some_and(stamped);
        let real_scratch = scratch
            .canonicalize()
            .is_ok_and(|real| real.parent().is_some_and(|above| top.starts_with(above)));
        Ok(self.top.path()? == top && in_place && real_scratch)
    }

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

/// Brings everything to one side, from wherever it is. Each step is found done by its inodes, so it
/// may be called again and again; an end that can't be reached is an error.
fn go_to(journal: &Journal, scratch: &Path, direction: Direction) -> Result<()> {
    let (top, kept, tree) = (
        journal.top.path()?,
        journal.kept.path()?,
        scratch.join(TREE),
    );
    match &journal.children {
        None => whole(journal, &top, &kept, &tree, direction),
        Some(children) => by_name(journal, children, &top, &kept, &tree, direction),
    }
}

/// One exchange of names.
fn whole(
    journal: &Journal,
    top: &Path,
    kept: &Path,
    tree: &Path,
    direction: Direction,
) -> Result<()> {
    let new = Some(journal.new);
    if direction == Direction::Forward {
        if inode(tree) == new {
            if inode(top).is_some() {
                exchange(tree, top, kept)?;
            } else {
                rename_new(tree, top)
                    .with_context(|| format!("renaming to `{}`", top.display()))?;
            }
        }
        // What is in the scratch directory now is not the new tree, whatever has become of that: it
        // is the old one.
        if inode(tree).is_some() && inode(tree) != new {
            rename_new(tree, kept)
                .with_context(|| format!("keeping the old files as `{}`", kept.display()))?;
        }
        return sync_above(top);
    }
    if inode(top) == new {
        let old = [tree, kept].into_iter().find(|old| inode(old).is_some());
        match old {
            Some(old) => exchange(old, top, &with_end(kept, ".aside"))?,
            None => std::fs::rename(top, tree)
                .with_context(|| format!("taking `{}` back", top.display()))?,
        }
    } else if inode(top).is_none() && inode(kept).is_some() && inode(kept) != new {
        rename_new(kept, top).with_context(|| format!("bringing `{}` back", top.display()))?;
    }
    if inode(kept) == new {
        rename_new(kept, tree).with_context(|| format!("taking `{}` back", kept.display()))?;
    }
    if inode(tree).is_some() && inode(tree) != new {
        return Err(Error::failed(format!(
            "the files in `{}` are not those that were restored",
            tree.display()
        )));
    }
    sync_above(top)
}

/// Exchanges two names at once; where the file system can't do that, one after the other by way of
/// `aside`.
fn exchange(one: &Path, other: &Path, aside: &Path) -> Result<()> {
    let context = || format!("exchanging `{}` and `{}`", one.display(), other.display());
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rename_new(other, aside).with_context(context)?;
            rename_new(one, other).with_context(context)?;
            std::fs::rename(aside, one).with_context(context)
        }
        Err(Errno::BUSY) => Err(Error::failed(format!(
            "`{}` is a mount point",
            other.display()
        )))
        .with_hint("restore with `--to` beside it, and copy the content over"),
        Err(error) => Err(error).with_context(context),
    }
}

/// Name by name, inside a mount point.
fn by_name(
    journal: &Journal,
    children: &[Child],
    top: &Path,
    kept: &Path,
    tree: &Path,
    direction: Direction,
) -> Result<()> {
    let new = Some(journal.new);
    if direction == Direction::Back && inode(tree).is_none() && inode(kept) == new {
        rename_new(kept, tree).with_context(|| format!("taking `{}` back", kept.display()))?;
    }
    // The old ones are in the new tree's directory once they are out; that directory is then kept
    // whole.
    if inode(tree) == new {
        for child in children {
            one_name(child, top, tree, direction)?;
        }
        if direction == Direction::Forward {
            describe_like(tree, top);
            let is_empty =
                std::fs::read_dir(tree).is_ok_and(|mut entries| entries.next().is_none());
            if is_empty {
                std::fs::remove_dir(tree)
                    .with_context(|| format!("removing `{}`", tree.display()))?;
            } else {
                rename_new(tree, kept)
                    .with_context(|| format!("keeping the old files as `{}`", kept.display()))?;
            }
        }
    } else if inode(tree).is_some() {
        return Err(Error::failed(format!(
            "the files in `{}` are not those that were restored",
            tree.display()
        )));
    }
    durable::sync_dir(top)
}

/// One name, where it is not on the wanted side already. What an application has put in a name's
/// place meanwhile goes where the old one goes.
fn one_name(child: &Child, top: &Path, tree: &Path, direction: Direction) -> Result<()> {
    let name = child.name.path()?;
    let (in_top, in_tree) = (top.join(&name), tree.join(&name));
    let aside = top.join(format!(
        ".{}.dbbackup-aside",
        super::listing::to_hex(name.as_os_str().as_bytes())
    ));
    let wanted = if direction == Direction::Forward {
        child.new
    } else {
        child.old
    };
    let context = || format!("exchanging `{}`", in_top.display());
    // A system that can't exchange two names was stopped in between.
    if inode(&aside).is_some() {
        if inode(&in_top).is_none() && inode(&in_tree).is_some() && inode(&in_tree) == wanted {
            rename_new(&in_tree, &in_top).with_context(context)?;
        }
        let to = if inode(&in_top).is_none() {
            &in_top
        } else {
            &in_tree
        };
        rename_new(&aside, to).with_context(context)?;
    }
    let now = inode(&in_top);
    if now == wanted {
        return Ok(());
    }
    match (wanted, now) {
        (Some(_), _) if inode(&in_tree) != wanted => Err(Error::failed(format!(
            "what belongs to `{}` is neither there nor in `{}`",
            in_top.display(),
            tree.display()
        ))),
        (Some(_), Some(_)) => exchange(&in_tree, &in_top, &aside),
        (Some(_), None) => rename_new(&in_tree, &in_top).with_context(context),
        // Its old one is out already, and somebody has made it anew: that one is nobody's to move.
        (None, _) if inode(&in_tree).is_some() => Ok(()),
        (None, _) => rename_new(&in_top, &in_tree).with_context(context),
    }
}

/// Mode and owner of the new tree's top, for a mount point that keeps its own directory. What can't
/// be set stays as it is.
fn describe_like(tree: &Path, top: &Path) {
    if let Ok(found) = tree.symlink_metadata() {
        let _ = std::os::unix::fs::chown(top, Some(found.uid()), Some(found.gid()));
        let _ = std::fs::set_permissions(top, found.permissions());
    }
}

/// Removes what was kept of an old tree; never a store, nor anything that is mounted in it.
pub fn remove_kept(kept: &Path) -> Result<()> {
    let context = || format!("removing the old files `{}`", kept.display());
    refuse_mounts(kept).with_context(context)?;
    let is_directory = kept.symlink_metadata().with_context(context)?.is_dir();
    if is_directory {
        scratch::remove_all(kept).with_context(context)
    } else {
        std::fs::remove_file(kept).with_context(context)
    }
}

/// What is mounted on or below a path, as the kernel has it; see proc_pid_mountinfo(5).
fn mounts() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(OsString::from_vec(unescaped(point))))
        .collect()
}

/// A tree can't be exchanged with what is mounted below it, nor a single file that is itself a
/// mount point.
fn refuse_mounts(top: &Path) -> Result<()> {
    let is_file = top.symlink_metadata().is_ok_and(|found| !found.is_dir());
    let in_the_way = mounts()
        .into_iter()
        .find(|point| point.starts_with(top) && (point != top || is_file));
    match in_the_way {
        None => Ok(()),
        Some(point) => Err(Error::failed(format!(
            "`{}` is a mount point, and can't be exchanged with what holds it",
            point.display()
        ))
        .with_hint("unmount it first, or restore with `--to` beside it and copy the files over")),
    }
}

/// Whether another file system, or another directory, is mounted there: such a directory can't be
/// renamed.
fn is_mount_point(path: &Path) -> bool {
    let (Ok(found), Some(above)) = (path.symlink_metadata(), path.parent()) else {
        return false;
    };
    if !found.is_dir() {
        return false;
    }
    let elsewhere = above
        .metadata()
        .is_ok_and(|above| above.dev() != found.dev());
    // A bind mount may be of the same file system; see proc_pid_mountinfo(5).
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    elsewhere
        || mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .any(|point| unescaped(point) == path.as_os_str().as_bytes())
}

/// A space, tab, line break or backslash stands as `\040` and so on.
fn unescaped(point: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = point.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok())
        {
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

/// Where a path leads, also one that is not there: as far as it is.
fn real(path: &Path) -> PathBuf {
    let there = path
        .ancestors()
        .find_map(|above| Some((above, above.canonicalize().ok()?)));
    let below = there
        .as_ref()
        .and_then(|(above, _)| path.strip_prefix(above).ok())
        .filter(|below| !below.as_os_str().is_empty());
    match (there.as_ref(), below) {
        (Some((_, real)), Some(below)) => real.join(below),
        (Some((_, real)), None) => real.clone(),
        (None, _) => path.to_path_buf(),
    }
}

/// The file system that a top path's new tree will be made on.
pub fn device_of(top: &Path) -> Option<u64> {
    let top = real(top);
    let place = if is_mount_point(&top) {
        top
    } else {
        existing_above(&top)
    };
    place.metadata().ok().map(|found| found.dev())
}

/// The nearest directory above that is there.
fn existing_above(path: &Path) -> PathBuf {
    path.ancestors()
        .skip(1)
        .find(|above| above.is_dir())
        .unwrap_or(Path::new("/"))
        .to_path_buf()
}

fn prefix_beside(top: &Path) -> String {
    format!(
        ".{}.dbbackup-tree-",
        top.file_name().unwrap_or_default().to_string_lossy()
    )
}

fn prefix_inside() -> String {
    ".dbbackup-tree-".to_owned()
}

fn name_with(path: &Path, end: &str) -> String {
    format!(
        "{}{end}",
        path.file_name().unwrap_or_default().to_string_lossy()
    )
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
        (2..)
            .map(numbered)
            .find(|name| !taken(name))
            .unwrap_or_else(|| plain.to_path_buf())
    } else {
        plain.to_path_buf()
    }
}

#[cfg(test)]
mod tests;
