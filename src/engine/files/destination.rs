//! A place for a tree: it is unpacked beside its target (or in a scratch directory, for a drill),
//! examined there, and only then put in place.
//!
//! The kinds of places and the order of the steps are here; [`selection`] unpacks a part of a tree,
//! and [`publication`] puts what was unpacked in place.

mod publication;
mod selection;

use super::content::Comparison;
use super::listing::{Lines, ListLine};
use super::member::as_path;
use super::patterns::Patterns;
use super::readback;
use super::swap::{self, Staged};
use super::tar::TarReader;
use super::unpack::{TREE, Unpacker};
use crate::engine::sqlite::source::SCRATCH_PREFIX;
use crate::engine::{
    Check, CheckFinding, CheckSubject, Depth, Destination, Keep, Manifest, Published,
};
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use crate::units;
use publication::{publish_directory, publish_origin};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A function that opens the list of contents, as often as it is called.
pub type OpenList<'a> = Box<dyn Fn() -> Result<Option<Lines>> + 'a>;

/// The place where a tree goes.
enum RestorePlace {
    /// A scratch directory, for a drill.
    Drill(Scratch),
    /// A directory that gets everything.
    Directory {
        target: PathBuf,
        /// The directory in which the tree is unpacked.
        scratch: Scratch,
        /// Whether the target is there already, and the scratch directory lies in it.
        inside: bool,
    },
    /// The top paths of the backup, each with a place beside it. Members begin with the names of
    /// these paths.
    Origin(Vec<(PathBuf, Staged)>),
}

/// The options of a restore of files.
#[derive(Debug, Clone, Default)]
pub struct TreeRestoreOptions {
    /// The patterns of what is restored, with all that is below it; `None` is everything.
    pub select: Option<Patterns>,
    /// The top paths that the backup was made of. As in a source, patterns with a slash are for
    /// paths below one of these.
    pub tops: Vec<PathBuf>,
    /// Whether everything is to belong to this user.
    pub no_owner: bool,
}

/// The destination of a tree of files; see the head of this file.
pub struct FilesDestination<'a> {
    place: RestorePlace,
    list: OpenList<'a>,
    options: TreeRestoreOptions,
    unpacker: Unpacker,
    comparison: Comparison,
    /// The number of chosen members, where not all are.
    selected: u64,
}

impl<'a> FilesDestination<'a> {
    /// A destination for a drill in `scratch_dir`, where `content_size` bytes must be free. Nothing
    /// is ever published.
    pub fn for_drill(scratch_dir: &Path, content_size: u64, list: OpenList<'a>) -> Result<Self> {
        let scratch = Scratch::new(scratch_dir, SCRATCH_PREFIX, content_size, "a trial restore")?;
        let mut unpacker = Unpacker::new(true);
        unpacker.add_root(b"", scratch.path())?;
        FilesDestination::new(
            RestorePlace::Drill(scratch),
            unpacker,
            list,
            TreeRestoreOptions::default(),
        )
    }

    /// A destination for a restore to a directory, which must be empty or not there.
    pub fn for_directory(
        target: &Path,
        content_size: u64,
        list: OpenList<'a>,
        options: TreeRestoreOptions,
    ) -> Result<Self> {
        let inside = target.is_dir();
        let (parent, prefix) = if inside {
            (target.to_path_buf(), ".dbbackup-to-".to_owned())
        } else {
            let parent = target.parent().unwrap_or(Path::new("/")).to_path_buf();
            (
                parent,
                format!(
                    ".{}.dbbackup-to-",
                    target.file_name().unwrap_or_default().to_string_lossy()
                ),
            )
        };
        refuse_full(target, &prefix)?;
        let scratch = Scratch::new(&parent, &prefix, content_size, "the restored files")?;
        let mut unpacker = Unpacker::new(!options.no_owner);
        unpacker.add_root(b"", scratch.path())?;
        FilesDestination::new(
            RestorePlace::Directory {
                target: target.to_path_buf(),
                scratch,
                inside,
            },
            unpacker,
            list,
            options,
        )
    }

    /// A destination for a restore to the top paths themselves. `stamp` becomes part of the names
    /// under which the old files are kept.
    pub fn for_origin(
        tops: &[PathBuf],
        content_size: u64,
        stamp: &str,
        list: OpenList<'a>,
        options: TreeRestoreOptions,
    ) -> Result<Self> {
        let sizes = sizes_below(tops, content_size, &list)?;
        let mut unpacker = Unpacker::new(!options.no_owner);
        let mut staged: Vec<(PathBuf, Staged)> = Vec::new();
        for (at, (top, size)) in tops.iter().zip(&sizes).enumerate() {
            // Several top paths on one file system need room together.
            let device = swap::device_of(top);
            let on_device: u64 = staged
                .iter()
                .zip(&sizes[..at])
                .filter(|((_, other), _)| Some(other.device()) == device)
                .map(|(_, size)| size)
                .sum();
            let place = Staged::new(top, size + on_device, stamp)?;
            unpacker.add_root(top.as_os_str().as_bytes(), place.directory())?;
            staged.push((top.clone(), place));
        }
        FilesDestination::new(RestorePlace::Origin(staged), unpacker, list, options)
    }

    fn new(
        place: RestorePlace,
        unpacker: Unpacker,
        list: OpenList<'a>,
        options: TreeRestoreOptions,
    ) -> Result<Self> {
        // A list that can't be read forbids no restore: the archive's own hash was proven.
        let comparison = Comparison::new(list().ok().flatten());
        Ok(FilesDestination {
            place,
            list,
            options,
            unpacker,
            comparison,
            selected: 0,
        })
    }

    /// Whether applications will use the files. A drill does not publish them, and compares them
    /// byte by byte.
    fn goes_into_service(&self) -> bool {
        !matches!(self.place, RestorePlace::Drill(_))
    }

    /// Unpacks all members.
    fn receive_all<R: Read>(&mut self, reader: &mut TarReader<R>) -> Result<()> {
        while let Some(member) = reader.next_member()? {
            let expected = self.comparison.expect()?;
            self.unpacker.wal_mode = self.goes_into_service() && is_wal(expected.as_ref());
            let sha256 = self.unpacker.unpack(&member, reader)?;
            self.comparison.found(&member, &expected, sha256);
        }
        Ok(())
    }
}

/// Returns the bytes below each top path, by the list of contents. Without a list, each may have
/// all of them.
fn sizes_below(tops: &[PathBuf], content_size: u64, list: &OpenList<'_>) -> Result<Vec<u64>> {
    let mut sizes = vec![0; tops.len()];
    let Some(mut lines) = list().ok().flatten() else {
        return Ok(vec![content_size; tops.len()]);
    };
    while let Some(line) = lines.next_stored()? {
        let path = Path::new("/").join(as_path(&line.path_bytes()));
        if let Some(at) = tops.iter().position(|top| path.starts_with(top)) {
            sizes[at] += line.size.unwrap_or(0) + 512;
        }
    }
    // Holes take no room: together they are never more than the archive.
    Ok(sizes
        .into_iter()
        .map(|size: u64| size.min(content_size))
        .collect())
}

/// Refuses a target of `--to` that holds anything: nothing is mixed, nothing overwritten. Scratch
/// directories with this prefix may be there: those of killed runs are swept.
fn refuse_full(target: &Path, prefix: &str) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(target) else {
        return match target.symlink_metadata() {
            Err(_) => Ok(()),
            Ok(_) => Err(
                Error::usage(format!("`{}` is not a directory", target.display()))
                    .with_hint("name one that is empty or not there yet"),
            ),
        };
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    let other = names.find(|name| {
        let name = name.to_str();
        !name.is_some_and(|name| name.starts_with(prefix) || name == "lost+found")
    });
    match other {
        None => Ok(()),
        Some(name) => Err(Error::usage(format!(
            "the directory `{}` is not empty: it holds `{}`",
            target.display(),
            name.to_string_lossy()
        ))
        .with_hint(
            "name one that is empty or not there yet; a restore without `--to` replaces the \
               original, and keeps it",
        )),
    }
}

/// Whether a file is a database in WAL mode, in which it is again after a restore.
fn is_wal(expected: Option<&ListLine>) -> bool {
    expected.is_some_and(|line| line.sqlite.as_deref() == Some("wal"))
}

impl Destination for FilesDestination<'_> {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, content));
        match self.options.select.clone() {
            Some(patterns) => self.receive_selected(&mut reader, &patterns)?,
            None => self.receive_all(&mut reader)?,
        }
        self.comparison.end()?;
        self.unpacker.finish()
    }

    fn check(&mut self, expected: Option<&Manifest>, depth: Depth) -> Result<Vec<Check>> {
        let mut checks = self.comparison.checks(expected);
        if !matches!(self.place, RestorePlace::Drill(_)) {
            // A list that is lost is no reason to leave a proven archive in the store.
            checks.retain(|check| check.subject != CheckSubject::Contents);
        }
        if self.unpacker.refused_count > 0 {
            let refused = CheckFinding::MembersRefused {
                members: self.unpacker.refused.clone(),
                more: self.unpacker.refused_count - self.unpacker.refused.len() as u64,
            };
            // To a place of its own the rest can go all the same.
            checks.push(match self.place {
                RestorePlace::Directory { .. } => Check::unprovable(CheckSubject::Names, refused),
                _ => Check::damaged(CheckSubject::Names, refused),
            });
        }
        if depth == Depth::Drill
            && let RestorePlace::Drill(scratch) = &self.place
        {
            checks.extend(readback::examine(
                &scratch.join(TREE),
                (self.list)().ok().flatten(),
            )?);
        }
        Ok(checks)
    }

    fn publish(&mut self, keep: Keep<'_>) -> Result<Published> {
        let mut published = Published {
            warnings: self.unpacker.warnings(),
            ..Published::default()
        };
        if self.unpacker.refused_count > 0 {
            let count = self.unpacker.refused_count;
            published.left_out = count;
            published.warnings.push(format!(
                "not restored: {} of the archive: {}",
                units::count(count, "member"),
                self.unpacker.refused.join(", ")
            ));
        }
        match &mut self.place {
            RestorePlace::Drill(_) => {
                return Err(Error::failed("a drill has no place to restore to"));
            }
            RestorePlace::Directory {
                target,
                scratch,
                inside,
            } => {
                publish_directory(target, scratch, *inside)?;
                published.how = if self.selected > 0 {
                    units::count(self.selected, "member")
                } else {
                    "a new tree".to_owned()
                };
            }
            RestorePlace::Origin(staged) => {
                let staged = std::mem::take(staged);
                publish_origin(staged, matches!(keep, Keep::Nothing), &mut published)?;
            }
        }
        Ok(published)
    }
}
