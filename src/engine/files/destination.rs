//! A place for a tree: unpacked beside its target (or in a scratch directory, for a drill),
//! examined there, and only then put in place.

use super::content::Comparison;
use super::listing::{Lines, ListLine, MemberType};
use super::member::{Member, MemberKind, as_path};
use super::patterns::Patterns;
use super::readback;
use super::swap::{self, Staged};
use super::tar::TarReader;
use super::unpack::{TREE, Unpacker};
use crate::durable;
use crate::engine::{
    Check, CheckFinding, CheckSubject, Depth, Destination, Keep, Manifest, Published,
};
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use crate::units;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The prefix of scratch directories of drills, that of all engines.
use crate::engine::sqlite::source::SCRATCH_PREFIX;

/// Opens the list of contents, as often as it is asked.
pub type OpenList<'a> = Box<dyn Fn() -> Result<Option<Lines>> + 'a>;

/// Where a tree goes.
enum RestorePlace {
    /// A scratch directory, for a drill.
    Drill(Scratch),
    /// A directory that is to have all of it, and where it is made until then.
    Directory {
        target: PathBuf,
        scratch: Scratch,
        inside: bool,
    },
    /// Where it came from: a place beside each top path, and that path's own name, by which members
    /// know it.
    Origin(Vec<(PathBuf, Staged)>),
}

/// What to restore, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only what matches, and all that is below it.
    pub select: Option<Patterns>,
    /// The top paths that the backup was made of: patterns with a slash are for what is below one,
    /// as they are in a source.
    pub tops: Vec<PathBuf>,
    /// Everything is to belong to this user.
    pub no_owner: bool,
}

/// See the head of this file.
pub struct FilesDestination<'a> {
    place: RestorePlace,
    list: OpenList<'a>,
    options: Options,
    unpacker: Unpacker,
    comparison: Comparison,
    /// Members that were chosen, where not all are.
    selected: u64,
}

impl<'a> FilesDestination<'a> {
    /// For a drill in `scratch_dir`: so many bytes must be free there. Nothing is ever published.
    pub fn drill(scratch_dir: &Path, content_size: u64, list: OpenList<'a>) -> Result<Self> {
        let scratch = Scratch::new(scratch_dir, SCRATCH_PREFIX, content_size, "a trial restore")?;
        let mut unpacker = Unpacker::new(true);
        unpacker.add_root(b"", scratch.path())?;
        FilesDestination::new(
            RestorePlace::Drill(scratch),
            unpacker,
            list,
            Options::default(),
        )
    }

    /// For a restore of everything to a directory, which must be empty or not there.
    pub fn at(
        target: &Path,
        content_size: u64,
        list: OpenList<'a>,
        options: Options,
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

    /// For a restore to where it came from. `stamp` names what is kept of the old.
    pub fn origin(
        tops: &[PathBuf],
        content_size: u64,
        stamp: &str,
        list: OpenList<'a>,
        options: Options,
    ) -> Result<Self> {
        let sizes = sizes_below(tops, content_size, &list)?;
        let mut unpacker = Unpacker::new(!options.no_owner);
        let mut staged: Vec<(PathBuf, Staged)> = Vec::new();
        for (at, (top, size)) in tops.iter().zip(&sizes).enumerate() {
            use std::os::unix::ffi::OsStrExt;
            // Several on one file system need room together.
            let device = swap::device_of(top);
            let same = staged
                .iter()
                .zip(&sizes[..at])
                .filter(|((_, other), _)| Some(other.device()) == device);
            let place = Staged::new(top, size + same.map(|(_, size)| size).sum::<u64>(), stamp)?;
            unpacker.add_root(top.as_os_str().as_bytes(), place.directory())?;
            staged.push((top.clone(), place));
        }
        FilesDestination::new(RestorePlace::Origin(staged), unpacker, list, options)
    }

    fn new(
        place: RestorePlace,
        unpacker: Unpacker,
        list: OpenList<'a>,
        options: Options,
    ) -> Result<Self> {
        // A list that can't be read keeps nobody from restoring: the archive's own hash was proven.
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

    /// A drill compares what came out byte by byte.
    fn goes_into_service(&self) -> bool {
        !matches!(self.place, RestorePlace::Drill(_))
    }

    /// Hard links that are wanted although the file that they name is not: that file's path, and
    /// the link that becomes it.
    fn orphaned_links(&self, patterns: &Patterns) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut wanted = BTreeMap::new();
        let Some(mut lines) = (self.list)()? else {
            return Ok(wanted);
        };
        let mut below = Below::new(&self.options.tops);
        while let Some(line) = lines.next_stored()? {
            let path = line.path_bytes();
            let chosen = below.is_chosen(patterns, &path, line.kind == MemberType::Directory);
            if let (true, MemberType::Hardlink, Some(target)) =
                (chosen, line.kind, line.target_bytes())
                && !Below::new(&self.options.tops).is_chosen(patterns, &target, false)
            {
                wanted.entry(target).or_insert(path);
            }
        }
        Ok(wanted)
    }

    /// Only what is chosen.
    fn receive_some<R: Read>(
        &mut self,
        reader: &mut TarReader<R>,
        patterns: &Patterns,
    ) -> Result<()> {
        let orphaned = self.orphaned_links(patterns)?;
        let tops = self.options.tops.clone();
        let mut below = Below::new(&tops);
        // Directories above what is chosen get their own mode and owner, too.
        let mut above: Vec<Member> = Vec::new();
        while let Some(member) = reader.next_member()? {
            above.retain(|directory| is_below(&member.path, &directory.path));
            let chosen =
                below.is_chosen(patterns, &member.path, member.kind == MemberKind::Directory);
            let stand_in = orphaned.get(&member.path);
            let expected = self.comparison.expect()?;
            self.unpacker.wal = self.goes_into_service() && is_wal(expected.as_ref());
            let sha256 = if chosen || stand_in.is_some() {
                // A file that comes under a link's name leaves nothing in its own directory.
                let directories = if chosen {
                    std::mem::take(&mut above)
                } else {
                    Vec::new()
                };
                for directory in directories {
                    self.unpacker.unpack(&directory, reader)?;
                }
                self.selected += 1;
                let member = match (&member.kind, stand_in) {
                    // The file of that name has come under the link's.
                    (MemberKind::HardLink(target), None)
                        if orphaned
                            .get(target)
                            .is_some_and(|first| *first == member.path) =>
                    {
                        None
                    }
                    (MemberKind::HardLink(target), None) => {
                        let target = orphaned.get(target).unwrap_or(target).clone();
                        Some(Member {
                            kind: MemberKind::HardLink(target),
                            ..member.clone()
                        })
                    }
                    _ => Some(member.clone()),
                };
                match (member, stand_in) {
                    (Some(member), Some(link)) => self.unpacker.unpack_as(link, &member, reader)?,
                    (Some(member), None) => self.unpacker.unpack(&member, reader)?,
                    (None, _) => None,
                }
            } else {
                if member.kind == MemberKind::Directory {
                    above.push(member.clone());
                }
                None
            };
            self.comparison.found(&member, &expected, sha256);
        }
        if self.selected == 0 {
            return Err(Error::not_found("nothing in the backup matches `--path`"));
        }
        Ok(())
    }
}

/// Bytes below each top path, by the list of contents; without one, all of them below each.
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

/// The target of `--to` must not hold anything: nothing is mixed, nothing overwritten.
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
    // What a killed one left is swept.
    let ours = |name: &std::ffi::OsStr| {
        name.to_str()
            .is_some_and(|name| name.starts_with(prefix) || name == "lost+found")
    };
    let other = entries.flatten().find(|entry| !ours(&entry.file_name()));
    match other {
        None => Ok(()),
        Some(entry) => Err(Error::usage(format!(
            "the directory `{}` is not empty: it holds `{}`",
            target.display(),
            entry.file_name().to_string_lossy()
        ))
        .with_hint(
            "name one that is empty or not there yet; a restore without `--to` replaces the \
               original, and keeps it",
        )),
    }
}

/// Whether what comes by is chosen, or lies below a directory that was.
struct Below<'a> {
    tops: &'a [PathBuf],
    chosen: Option<Vec<u8>>,
}

impl<'a> Below<'a> {
    fn new(tops: &'a [PathBuf]) -> Self {
        Below { tops, chosen: None }
    }

    fn is_chosen(&mut self, patterns: &Patterns, path: &[u8], is_directory: bool) -> bool {
        if self
            .chosen
            .as_ref()
            .is_some_and(|directory| is_below(path, directory))
        {
            return true;
        }
        // A member's path, as `srv/app/a`, is matched from its first name on, from the root on, and
        // from below its top path on.
        let path = as_path(path);
        let whole = Path::new("/").join(path);
        let below_top = |top: &PathBuf| {
            whole
                .strip_prefix(top)
                .is_ok_and(|below| patterns.matches(&whole, below, is_directory))
        };
        let chosen =
            patterns.matches(&whole, path, is_directory) || self.tops.iter().any(below_top);
        self.chosen = (chosen && is_directory).then(|| {
            use std::os::unix::ffi::OsStrExt;
            path.as_os_str().as_bytes().to_vec()
        });
        chosen
    }
}

/// A database that was in WAL mode is so again after a restore.
fn is_wal(expected: Option<&ListLine>) -> bool {
    expected.is_some_and(|line| line.sqlite.as_deref() == Some("wal"))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

impl Destination for FilesDestination<'_> {
    fn receive(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, content));
        match self.options.select.clone() {
            Some(patterns) => self.receive_some(&mut reader, &patterns)?,
            None => {
                while let Some(member) = reader.next_member()? {
                    let expected = self.comparison.expect()?;
                    self.unpacker.wal = self.goes_into_service() && is_wal(expected.as_ref());
                    let sha256 = self.unpacker.unpack(&member, &mut reader)?;
                    self.comparison.found(&member, &expected, sha256);
                }
            }
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

/// Gives the directory what was made for it.
fn publish_directory(target: &Path, scratch: &Scratch, inside: bool) -> Result<()> {
    let tree = scratch.join(TREE);
    if tree.symlink_metadata().is_err() {
        // An archive of nothing is an empty directory.
        std::fs::create_dir(&tree).with_context(|| format!("making `{}`", tree.display()))?;
    }
    if scratch.path().is_dir() {
        let directory = File::open(scratch.path())
            .with_context(|| format!("opening `{}`", scratch.path().display()))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&directory)
            .with_context(|| format!("syncing `{}`", target.display()))?;
        drop(directory);
    }
    if !inside {
        durable::rename_new(&tree, target)
            .with_context(|| format!("naming the restored files `{}`", target.display()))?;
        return durable::sync_dir(target.parent().unwrap_or(Path::new("/")));
    }
    let context = || format!("moving the restored files to `{}`", target.display());
    for entry in std::fs::read_dir(&tree).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        durable::rename_new(&tree.join(&name), &target.join(&name)).with_context(context)?;
    }
    durable::sync_dir(target)
}

/// Exchanges one top path after another; where one fails those before it are put back.
fn publish_origin(
    staged: Vec<(PathBuf, Staged)>,
    keep_nothing: bool,
    published: &mut Published,
) -> Result<()> {
    for (_, place) in &staged {
        place.sync()?;
    }
    let mut done: Vec<Staged> = Vec::new();
    for (top, place) in staged {
        if !place.is_filled() {
            published.warnings.push(format!(
                "nothing in the backup is of `{}`: it was left as it is",
                top.display()
            ));
            continue;
        }
        let swapped = place.swap();
        done.push(place);
        if let Err(error) = swapped {
            let stuck: Vec<String> = done
                .into_iter()
                .rev()
                .filter_map(|place| place.undo().err())
                .map(|error| error.message())
                .collect();
            return Err(match stuck.is_empty() {
                true => error.context("nothing was restored, and all is as it was"),
                false => error.context(format!(
                    "nothing was restored, but not all could be put back: {}",
                    stuck.join("; ")
                )),
            });
        }
    }
    published.how = format!("exchanged {}", units::count(done.len() as u64, "path"));
    for place in done {
        let top = place.top.clone();
        match place.finish() {
            Some(kept) if keep_nothing => swap::remove_kept(&kept)?,
            Some(kept) => published.companions.push((top, kept)),
            None => {}
        }
    }
    Ok(())
}
