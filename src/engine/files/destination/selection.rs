//! A restore of a part of a tree: the members that the patterns choose, the directories above them,
//! and files that are known by a chosen link alone.

use super::{FilesDestination, is_wal};
use crate::engine::files::listing::MemberType;
use crate::engine::files::member::{Member, MemberKind, as_path};
use crate::engine::files::patterns::Patterns;
use crate::engine::files::tar::TarReader;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files that are not chosen although a hard link to them is: each file's path, and the path of the
/// link that becomes the file.
type OrphanedLinks = BTreeMap<Vec<u8>, Vec<u8>>;

impl FilesDestination<'_> {
    /// Finds the chosen hard links to files that are not chosen, by the list of contents.
    fn find_orphaned_links(&self, patterns: &Patterns) -> Result<OrphanedLinks> {
        let mut orphaned = OrphanedLinks::new();
        let Some(mut lines) = (self.list)()? else {
            return Ok(orphaned);
        };
        let mut chooser = MemberChooser::new(patterns, &self.options.tops);
        while let Some(line) = lines.next_stored()? {
            let path = line.path_bytes();
            let chosen = chooser.is_chosen(&path, line.kind == MemberType::Directory);
            if let (true, MemberType::Hardlink, Some(target)) =
                (chosen, line.kind, line.target_bytes())
                && !MemberChooser::new(patterns, &self.options.tops).is_chosen(&target, false)
            {
                orphaned.entry(target).or_insert(path);
            }
        }
        Ok(orphaned)
    }

    /// Unpacks the chosen members. All others are read for the comparison with the list.
    pub(super) fn receive_selected<R: Read>(
        &mut self,
        reader: &mut TarReader<R>,
        patterns: &Patterns,
    ) -> Result<()> {
        let orphaned = self.find_orphaned_links(patterns)?;
        let tops = self.options.tops.clone();
        let mut chooser = MemberChooser::new(patterns, &tops);
        // The directories above a chosen member get their own mode and owner, too.
        let mut above: Vec<Member> = Vec::new();
        while let Some(member) = reader.next_member()? {
            above.retain(|directory| is_below(&member.path, &directory.path));
            let chosen = chooser.is_chosen(&member.path, member.kind == MemberKind::Directory);
            let expected = self.comparison.expect()?;
            self.unpacker.wal_mode = self.goes_into_service() && is_wal(expected.as_ref());
            let sha256 = if chosen || orphaned.contains_key(&member.path) {
                // A file that comes under a link's name leaves nothing in its own directory.
                if chosen {
                    for directory in std::mem::take(&mut above) {
                        self.unpacker.unpack(&directory, reader)?;
                    }
                }
                self.selected += 1;
                self.unpack_selected(&member, &orphaned, reader)?
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

    /// Unpacks one member: an orphaned file under the name of its first chosen link, and further
    /// links to it as links to that one.
    fn unpack_selected<R: Read>(
        &mut self,
        member: &Member,
        orphaned: &OrphanedLinks,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        if let Some(link) = orphaned.get(&member.path) {
            return self.unpacker.unpack_as(link, member, reader);
        }
        let MemberKind::HardLink(target) = &member.kind else {
            return self.unpacker.unpack(member, reader);
        };
        match orphaned.get(target) {
            // The file itself has come under this link's name.
            Some(first) if *first == member.path => Ok(None),
            Some(first) => {
                let link = Member {
                    kind: MemberKind::HardLink(first.clone()),
                    ..member.clone()
                };
                self.unpacker.unpack(&link, reader)
            }
            None => self.unpacker.unpack(member, reader),
        }
    }
}

/// Decides which members are chosen, in the order of the archive: those that match, and all that
/// lies below a directory that does.
struct MemberChooser<'a> {
    patterns: &'a Patterns,
    tops: &'a [PathBuf],
    /// The last chosen directory.
    directory: Option<Vec<u8>>,
}

impl<'a> MemberChooser<'a> {
    fn new(patterns: &'a Patterns, tops: &'a [PathBuf]) -> Self {
        MemberChooser {
            patterns,
            tops,
            directory: None,
        }
    }

    fn is_chosen(&mut self, path: &[u8], is_directory: bool) -> bool {
        let directory = self.directory.as_ref();
        if directory.is_some_and(|directory| is_below(path, directory)) {
            return true;
        }
        let chosen = self.matches(as_path(path), is_directory);
        self.directory = (chosen && is_directory).then(|| path.to_vec());
        chosen
    }

    /// Whether a member's path matches. A path as `srv/app/a` is matched from its first name on,
    /// from the root on, and from below its top path on.
    fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let whole = Path::new("/").join(path);
        let matches = |part: &Path| self.patterns.matches(&whole, part, is_directory);
        let mut below_tops = self
            .tops
            .iter()
            .filter_map(|top| whole.strip_prefix(top).ok());
        matches(path) || below_tops.any(matches)
    }
}

/// Whether a path is below a directory.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with(b"/"))
}
