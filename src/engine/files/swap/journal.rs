//! The journal of an exchange, and the steps that it is carried out in.

use super::super::listing;
use super::is_kept_inside;
use crate::durable::{self, rename_new};
use crate::engine::files::unpack::TREE;
use crate::error::{Context, Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What follows a top path's name in that of what is kept.
pub(super) const KEPT_BESIDE: &str = ".before-";
/// The beginning of the name under which a mount point's old content is kept inside of it.
pub(super) const KEPT_INSIDE: &str = ".dbbackup-before-";

/// The plan of an exchange, written down before it begins.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) format: u32,
    pub(super) top: HexPath,
    pub(super) kept: HexPath,
    /// The new tree's inode.
    pub(super) new: u64,
    /// For a mount point the names inside of it, which are exchanged one by one.
    pub(super) children: Option<Vec<Child>>,
}

/// One name in a mount point, with the inodes that have it in the old tree and in the new one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Child {
    pub(super) name: HexPath,
    pub(super) old: Option<u64>,
    pub(super) new: Option<u64>,
}

/// A path in hex, as it need not be UTF-8.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HexPath(pub(super) String);

impl HexPath {
    pub(super) fn new(path: &OsStr) -> Self {
        HexPath(listing::to_hex(path.as_bytes()))
    }

    pub(super) fn path(&self) -> Result<PathBuf> {
        let bytes = listing::from_hex(&self.0)
            .ok_or_else(|| Error::failed("a restore's journal is damaged"))?;
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }
}

impl Journal {
    /// Whether the journal speaks of this place alone: one that came out of somebody's archive must
    /// not have anything moved elsewhere.
    pub(super) fn is_about(&self, top: &Path, scratch: &Path) -> Result<bool> {
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
    pub(super) fn has_begun(&self, scratch: &Path) -> Result<bool> {
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

/// Which tree a journal is carried out towards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the new tree.
    Forward,
    /// To the old one.
    Back,
}

/// Brings the exchange to one of its ends, from wherever it is. The inodes tell which steps are
/// done, so it may be called again and again. An end that can't be reached is an error.
pub(super) fn carry_out(journal: &Journal, scratch: &Path, direction: Direction) -> Result<()> {
    let (top, kept, tree) = (
        journal.top.path()?,
        journal.kept.path()?,
        scratch.join(TREE),
    );
    match &journal.children {
        None => exchange_whole(journal, &top, &kept, &tree, direction),
        Some(children) => exchange_children(journal, children, &top, &kept, &tree, direction),
    }
}

/// Exchanges the two trees by their names.
fn exchange_whole(
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
pub(super) fn exchange(one: &Path, other: &Path, aside: &Path) -> Result<()> {
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

/// Exchanges the names inside a mount point one by one.
fn exchange_children(
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
            exchange_child(child, top, tree, direction)?;
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

/// Exchanges one name, unless it is on the wanted side already. A file that an application has put
/// in its place meanwhile goes where the old one goes.
pub(super) fn exchange_child(
    child: &Child,
    top: &Path,
    tree: &Path,
    direction: Direction,
) -> Result<()> {
    let name = child.name.path()?;
    let (in_top, in_tree) = (top.join(&name), tree.join(&name));
    let aside = top.join(format!(
        ".{}.dbbackup-aside",
        listing::to_hex(name.as_os_str().as_bytes())
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

/// Every name that the mount point or the new tree has, except our own scratch directory and the
/// old files that are kept.
pub(super) fn children(top: &Path, tree: &Path, scratch: &Path) -> Result<Vec<Child>> {
    let old = names_in(top)?;
    let new = names_in(tree)?;
    let all = old.union(&new).filter(|name| !is_excepted(name, scratch));
    Ok(all
        .map(|name| Child {
            name: HexPath::new(name),
            old: inode(&top.join(name)),
            new: inode(&tree.join(name)),
        })
        .collect())
}

fn names_in(directory: &Path) -> Result<BTreeSet<OsString>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("reading `{}`", directory.display()))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

fn is_excepted(name: &OsStr, scratch: &Path) -> bool {
    Some(name) == scratch.file_name()
        || name.to_str().is_some_and(is_kept_inside)
        || name == "lost+found"
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|found| found.ino())
}

fn sync_above(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), durable::sync_dir)
}

fn name_with(path: &Path, end: &str) -> String {
    format!(
        "{}{end}",
        path.file_name().unwrap_or_default().to_string_lossy()
    )
}

pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
