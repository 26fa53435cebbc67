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

mod journal;

use super::unpack::TREE;
use crate::durable;
use crate::engine::mounts::mounts;
use crate::error::{Context, Error, Result};
use crate::failpoint::fail_point;
use crate::scratch::{self, Scratch};
use crate::units;
use journal::{
    Direction, HexPath, Journal, KEPT_BESIDE, KEPT_INSIDE, carry_out, children, with_end,
};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.json";
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
        let kept = free_path(&if inside {
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
        fail_point("restore: ready")?;
        carry_out(&journal, self.directory(), Direction::Forward).map_err(|error| {
            error.context(format!(
                "putting the restored files in the place of `{}`",
                self.top.display()
            ))
        })?;
        fail_point("restore: in place")
    }

    /// Takes it back, from wherever it is. What can't be taken back stays in its scratch directory,
    /// for the next run or a person to look at; the error says where.
    pub fn undo(self) -> Result<()> {
        let undone = match std::fs::read(self.scratch.join(JOURNAL)) {
            Ok(bytes) => serde_json::from_slice::<Journal>(&bytes)
                .map_err(|error| Error::failed(error.to_string()))
                .and_then(|journal| carry_out(&journal, self.directory(), Direction::Back)),
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
            top: HexPath::new(self.top.as_os_str()),
            kept: HexPath::new(self.kept.as_os_str()),
            new,
            children,
        })
    }
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
    carry_out(&journal, scratch, direction)
        .with_context(|| {
            format!(
                "finishing a restore that was killed, by its journal in `{}`",
                scratch.display()
            )
        })
        .map_err(|error| error.with_hint(hint()))
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

/// A tree can't be exchanged with what is mounted below it, nor a single file that is itself a
/// mount point.
fn refuse_mounts(top: &Path) -> Result<()> {
    let is_file = top.symlink_metadata().is_ok_and(|found| !found.is_dir());
    let in_the_way = mounts()
        .into_iter()
        .map(|mount| mount.point)
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
    // A bind mount may be of the same file system.
    elsewhere || mounts().iter().any(|mount| mount.point == path)
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

fn free_path(plain: &Path) -> PathBuf {
    units::free_path(plain, |path| path.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests;
