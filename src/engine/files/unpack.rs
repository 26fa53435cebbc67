//! Writes members below a directory, whatever their names are.
//!
//! Each step of a path is opened from the directory above it, and no link is followed. So a member
//! can't lead anywhere else: neither by its name, nor by a link that came before it. A member that
//! would is refused and named. Devices and FIFOs are never made.
//!
//! The members' content and places are dealt with here, their owners and modes in [`attributes`].

mod attributes;
mod failure;
mod paths;

use super::content::read_content;
use super::member::{FileTime, Member, MemberKind, shown};
use super::names::Ids;
use super::tar::TarReader;
use crate::error::{Context, Error, Result};
use attributes::timestamps;
use failure::UnpackFailure;
use paths::components;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

pub use paths::is_scratch_name;

/// The number of refused members that are named.
const MAX_NAMED: usize = 20;

/// The name of the tree below its scratch directory.
pub const TREE: &str = "tree";

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const CREATE_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory, and the members that belong below it.
struct UnpackRoot {
    /// The first components of these members' paths; none if all members belong there.
    prefix: Vec<Vec<u8>>,
    directory: OwnedFd,
}

/// The writer of members; see the head of this file.
pub struct Unpacker {
    roots: Vec<UnpackRoot>,
    ids: Ids,
    /// Whether owners are set.
    owners: bool,
    /// Whether owners are not wanted.
    no_owner: bool,
    /// The directories with their places. They get their attributes when everything is in them.
    directories: Vec<(usize, Vec<Vec<u8>>, Member)>,
    /// The directory that was written to last, which is mostly the next one, too.
    last: Option<(usize, Vec<Vec<u8>>, OwnedFd)>,
    block: Vec<u8>,
    /// Whether the next file is a SQLite database that is to be in WAL mode.
    pub wal_mode: bool,
    /// The first members that were not written, with the reasons.
    pub refused: Vec<String>,
    /// The number of members that were not written.
    pub refused_count: u64,
    /// The number of members with an owner, mode or attribute that could not be set.
    unset: u64,
    unset_first: Option<String>,
}

impl Unpacker {
    /// An unpacker without a root: nothing can be written yet. Without `owners` everything belongs
    /// to this user.
    pub fn new(owners: bool) -> Self {
        Unpacker {
            roots: Vec::new(),
            ids: Ids::default(),
            owners: owners && rustix::process::geteuid().is_root(),
            no_owner: !owners,
            directories: Vec::new(),
            last: None,
            block: vec![0; 256 << 10],
            wal_mode: false,
            refused: Vec::new(),
            refused_count: 0,
            unset: 0,
            unset_first: None,
        }
    }

    /// Adds a root: members whose path begins with `prefix` go to `directory/tree` and below it.
    pub fn add_root(&mut self, prefix: &[u8], directory: &Path) -> Result<()> {
        let prefix = components(prefix).unwrap_or_default();
        let directory = rustix::fs::open(directory, OPEN_DIRECTORY, Mode::empty())
            .with_context(|| format!("opening `{}`", directory.display()))?;
        self.roots.push(UnpackRoot { prefix, directory });
        Ok(())
    }

    /// Writes one member. Returns the SHA-256 of a file's content.
    pub fn unpack<R: Read>(
        &mut self,
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        self.unpack_as(&member.path, member, reader)
    }

    /// Writes one member under another path. Returns the SHA-256 of a file's content.
    pub fn unpack_as<R: Read>(
        &mut self,
        path: &[u8],
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        let written = match self.locate(path) {
            Ok((root, place)) => self.write(root, &place, member, reader),
            Err(reason) => Err(UnpackFailure::Refused(reason)),
        };
        match written {
            Ok(sha256) => Ok(sha256),
            Err(UnpackFailure::Refused(reason)) => {
                self.refuse(member, &reason);
                self.read_only(member, reader)
            }
            Err(UnpackFailure::Failed(error)) => {
                Err(error.context(format!("restoring `{}`", member.shown())))
            }
        }
    }

    /// Reads a member's content without writing it.
    pub fn read_only<R: Read>(
        &mut self,
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        read_content(reader, member, &mut self.block, &mut |_, _| Ok(()))
    }

    fn refuse(&mut self, member: &Member, reason: &str) {
        self.refused_count += 1;
        if self.refused.len() < MAX_NAMED {
            self.refused.push(format!("{} ({reason})", member.shown()));
        }
    }

    /// Finds the root of a path, and the path's place below that.
    fn locate(&self, path: &[u8]) -> Result<(usize, Vec<Vec<u8>>), String> {
        let parts = components(path)?;
        let at = self
            .roots
            .iter()
            .position(|root| parts.starts_with(&root.prefix))
            .ok_or("it is not below a path of this backup")?;
        let mut place = vec![TREE.as_bytes().to_vec()];
        place.extend_from_slice(&parts[self.roots[at].prefix.len()..]);
        Ok((at, place))
    }

    /// Refuses a member that may not be written at its place, whatever is there.
    fn check_member(
        &self,
        root: usize,
        place: &[Vec<u8>],
        member: &Member,
    ) -> Result<(), UnpackFailure> {
        if member.kind == MemberKind::Other {
            return Err(UnpackFailure::Refused(
                "a device, FIFO or socket is never made".into(),
            ));
        }
        // The target as a whole must be a tree of its own. Only a single file that was a top path
        // is none.
        let is_whole = place.len() == 1;
        let may_be_whole = match member.kind {
            MemberKind::Directory => true,
            MemberKind::File { .. } => !self.roots[root].prefix.is_empty(),
            _ => false,
        };
        if is_whole && !may_be_whole {
            return Err(UnpackFailure::Refused(
                "it would take the place of the whole target".into(),
            ));
        }
        // A later run would take such a name for one of its own.
        if place.iter().any(|part| is_scratch_name(part)) {
            return Err(UnpackFailure::Refused(
                "its name is one of dbbackup's own scratch directories".into(),
            ));
        }
        Ok(())
    }

    /// Writes a member at its place. Returns the SHA-256 of a file's content.
    fn write<R: Read>(
        &mut self,
        root: usize,
        place: &[Vec<u8>],
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>, UnpackFailure> {
        let Some((name, above)) = place.split_last() else {
            return Err(UnpackFailure::Refused("it has no name".into()));
        };
        self.check_member(root, place, member)?;
        self.open_directory(root, above)?;
        let Some((_, _, parent)) = &self.last else {
            return Err(UnpackFailure::Refused("its directory is not there".into()));
        };
        let there = rustix::fs::statat(parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        let there = there
            .map(|found| FileType::from_raw_mode(found.st_mode))
            .ok();
        match (there, &member.kind) {
            (Some(FileType::Directory), MemberKind::Directory) | (None, _) => {}
            (Some(FileType::Directory), _) => {
                return Err(UnpackFailure::Refused(
                    "a directory of that name came before it".into(),
                ));
            }
            // Of members of one name the last one counts.
            (Some(_), _) => rustix::fs::unlinkat(parent, name.as_slice(), AtFlags::empty())?,
        }
        match &member.kind {
            MemberKind::Directory => {
                if there != Some(FileType::Directory) {
                    rustix::fs::mkdirat(parent, name.as_slice(), Mode::RWXU)?;
                }
                self.directories
                    .push((root, place.to_vec(), member.clone()));
                Ok(None)
            }
            MemberKind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), parent, name.as_slice())?;
                let failed = self.set_link_attributes(parent.as_fd(), name, member);
                self.count_unset(member, failed);
                Ok(None)
            }
            MemberKind::HardLink(target) => self.make_hard_link(root, place, target).map(|()| None),
            MemberKind::File { size, parts } => {
                let file = create_file(parent, name)?;
                let sha256 =
                    read_content(reader, member, &mut self.block, &mut |offset, bytes| {
                        Ok(file.write_all_at(bytes, offset)?)
                    })?;
                if parts.is_some() {
                    file.set_len(*size)?;
                }
                if self.wal_mode && *size >= 512 {
                    // SQLite itself would set these two bytes of the header.
                    file.write_all_at(&[2, 2], 18)?;
                }
                let failed = self.set_attributes(file.as_fd(), member);
                self.count_unset(member, failed);
                Ok(sha256)
            }
            MemberKind::Other => Ok(None),
        }
    }

    /// Opens the directory at this place as `last`. It and those above it are made if they are
    /// missing.
    fn open_directory(&mut self, root: usize, place: &[Vec<u8>]) -> Result<(), UnpackFailure> {
        if self
            .last
            .as_ref()
            .is_some_and(|(at, known, _)| *at == root && known == place)
        {
            return Ok(());
        }
        // It begins at the last one if that lies on the way.
        let (mut at, mut directory) = match self.last.take() {
            Some((known_root, known, directory))
                if known_root == root && place.starts_with(&known) =>
            {
                (known.len(), directory)
            }
            _ => (
                0,
                self.roots[root]
                    .directory
                    .try_clone()
                    .map_err(Error::from)?,
            ),
        };
        while at < place.len() {
            directory = open_or_make_directory(&directory, &place[at])?;
            at += 1;
        }
        self.last = Some((root, place.to_vec(), directory));
        Ok(())
    }

    /// Makes a hard link to a file that came out of this archive, which is found like any other
    /// place: no link is followed.
    fn make_hard_link(
        &mut self,
        root: usize,
        place: &[Vec<u8>],
        target: &[u8],
    ) -> Result<(), UnpackFailure> {
        let (target_root, target_place) = self
            .locate(target)
            .map_err(|reason| link_refusal(target, &reason))?;
        let (Some((name, above)), Some((target_name, target_above))) =
            (place.split_last(), target_place.split_last())
        else {
            return Err(link_refusal(target, "it has no name"));
        };
        let target_parent = self
            .open_existing_directory(target_root, target_above)
            .map_err(|_| link_refusal(target, "it is not there"))?;
        let found = rustix::fs::statat(
            &target_parent,
            target_name.as_slice(),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(FileType::RegularFile | FileType::Symlink) => {}
            Ok(_) => return Err(link_refusal(target, "it is no file")),
            Err(_) => return Err(link_refusal(target, "it is not there")),
        }
        let parent = self.open_existing_directory(root, above)?;
        match rustix::fs::linkat(
            &target_parent,
            target_name.as_slice(),
            &parent,
            name.as_slice(),
            AtFlags::empty(),
        ) {
            // The two are below two top paths on two file systems. Then it is a file of its own.
            Err(Errno::XDEV) => self.copy_file(&target_parent, target_name, &parent, name),
            other => Ok(other?),
        }
    }

    /// Copies a file with its attributes.
    fn copy_file(
        &self,
        from: &OwnedFd,
        from_name: &[u8],
        to: &OwnedFd,
        to_name: &[u8],
    ) -> Result<(), UnpackFailure> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(rustix::fs::openat(from, from_name, read, Mode::empty())?);
        let mut to = create_file(to, to_name)?;
        std::io::copy(&mut from, &mut to)?;
        let found = from.metadata()?;
        if self.owners {
            std::os::unix::fs::fchown(&to, Some(found.uid()), Some(found.gid()))?;
        }
        to.set_permissions(found.permissions())?;
        let mtime = FileTime {
            seconds: found.mtime(),
            nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        };
        Ok(rustix::fs::futimens(&to, &timestamps(mtime))?)
    }

    /// Opens a directory; none is made.
    fn open_existing_directory(
        &self,
        root: usize,
        place: &[Vec<u8>],
    ) -> Result<OwnedFd, UnpackFailure> {
        let mut directory = self.roots[root]
            .directory
            .try_clone()
            .map_err(Error::from)?;
        for name in place {
            directory =
                rustix::fs::openat(&directory, name.as_slice(), OPEN_DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }

    /// Sets the attributes of the directories, the deepest first: whatever is written into one
    /// changes its time.
    pub fn finish(&mut self) -> Result<()> {
        self.last = None;
        for (root, place, member) in std::mem::take(&mut self.directories).into_iter().rev() {
            match self.open_existing_directory(root, &place) {
                Ok(directory) => {
                    let failed = self.set_attributes(directory.as_fd(), &member);
                    self.count_unset(&member, failed);
                }
                // A later member has replaced it.
                Err(UnpackFailure::Refused(_)) => {}
                Err(UnpackFailure::Failed(error)) => {
                    return Err(
                        error.context(format!("restoring the directory `{}`", member.shown()))
                    );
                }
            }
        }
        Ok(())
    }
}

/// Creates a file that is not there, for writing.
fn create_file(parent: &OwnedFd, name: &[u8]) -> Result<File, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::openat(parent, name, CREATE_FILE, mode).map(File::from)
}

/// Opens a directory below another one. It is made if it is missing.
fn open_or_make_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, UnpackFailure> {
    let opened = match rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty())
        }
        other => other,
    };
    opened.map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => {
            UnpackFailure::Refused(format!("`{}` above it is no directory", shown(name)))
        }
        other => other.into(),
    })
}

/// The refusal of a hard link to `target`.
fn link_refusal(target: &[u8], reason: &str) -> UnpackFailure {
    UnpackFailure::Refused(format!("a link to `{}`: {reason}", shown(target)))
}
