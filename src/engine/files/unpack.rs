//! Writing members below a directory, whatever their names say.
//!
//! Each step of a path is opened from the directory above it, following no link, so a member can't
//! lead anywhere else: not by its name, nor by a link that came before it. What would is refused
//! and named. Devices and FIFOs are never made.

use super::content::read_content;
use super::member::{FileTime, Member, MemberKind, shown};
use super::names::Ids;
use super::tar::TarReader;
use crate::error::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// How many refused members are named.
const NAMED: usize = 20;

/// The name below a scratch directory that a tree gets.
pub const TREE: &str = "tree";

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory, and which members belong below it.
struct UnpackRoot {
    /// The components that members begin with; none for all members.
    prefix: Vec<Vec<u8>>,
    directory: OwnedFd,
}

/// See the head of this file.
pub struct Unpacker {
    roots: Vec<UnpackRoot>,
    ids: Ids,
    /// Owners are set.
    owners: bool,
    /// Owners are not wanted.
    no_owner: bool,
    /// What directories get when everything is in them.
    directories: Vec<(usize, Vec<Vec<u8>>, Member)>,
    /// The directory that was written to last: mostly the next one, too.
    last: Option<(usize, Vec<Vec<u8>>, OwnedFd)>,
    block: Vec<u8>,
    /// The next file is a SQLite database that is to be in WAL mode.
    pub wal: bool,
    /// Members that were not written, and why: the first few.
    pub refused: Vec<String>,
    /// All of them.
    pub refused_count: u64,
    /// Owners, modes and attributes that could not be set.
    unset: u64,
    unset_first: Option<String>,
}

impl Unpacker {
    /// Nothing can be written yet. Without `owners` everything belongs to this user.
    pub fn new(owners: bool) -> Self {
        Unpacker {
            roots: Vec::new(),
            ids: Ids::default(),
            owners: owners && rustix::process::geteuid().is_root(),
            no_owner: !owners,
            directories: Vec::new(),
            last: None,
            block: vec![0; 256 << 10],
            wal: false,
            refused: Vec::new(),
            refused_count: 0,
            unset: 0,
            unset_first: None,
        }
    }

    /// Members whose path begins with `prefix` become `directory/tree` and what is below it.
    pub fn add_root(&mut self, prefix: &[u8], directory: &Path) -> Result<()> {
        let prefix = components(prefix).unwrap_or_default();
        let directory = rustix::fs::open(directory, OPEN_DIRECTORY, Mode::empty())
            .with_context(|| format!("opening `{}`", directory.display()))?;
        self.roots.push(UnpackRoot { prefix, directory });
        Ok(())
    }

    /// Writes one member, and gives back the SHA-256 of a file's content.
    pub fn unpack<R: Read>(
        &mut self,
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        self.unpack_as(&member.path, member, reader)
    }

    /// The same under another path.
    pub fn unpack_as<R: Read>(
        &mut self,
        path: &[u8],
        member: &Member,
        reader: &mut TarReader<R>,
    ) -> Result<Option<String>> {
        let sha256 = match self.place(path) {
            Ok((root, place)) => match self.write(root, &place, member, reader) {
                Ok(sha256) => return Ok(sha256),
                Err(UnpackFailure::Refused(why)) => {
                    self.refuse(member, &why);
                    None
                }
                Err(UnpackFailure::Failed(error)) => {
                    return Err(error.context(format!("restoring `{}`", member.shown())));
                }
            },
            Err(why) => {
                self.refuse(member, &why);
                None
            }
        };
        match sha256 {
            None => self.read_only(member, reader),
            some => Ok(some),
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

    fn refuse(&mut self, member: &Member, why: &str) {
        self.refused_count += 1;
        if self.refused.len() < NAMED {
            self.refused.push(format!("{} ({why})", member.shown()));
        }
    }

    /// Which root a path is below, and where there.
    fn place(&self, path: &[u8]) -> Result<(usize, Vec<Vec<u8>>), String> {
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
        if member.kind == MemberKind::Other {
            return Err(UnpackFailure::Refused(
                "a device, FIFO or socket is never made".into(),
            ));
        }
        // The whole of what is restored must be a tree of its own; only a single file that was a
        // top path is none.
        let is_whole = above.is_empty();
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
        // What a later run would take for its own.
        if place.iter().any(|part| is_scratch_name(part)) {
            return Err(UnpackFailure::Refused(
                "its name is one of dbbackup's own scratch directories".into(),
            ));
        }
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
                let link = OnLink {
                    parent: parent.as_fd(),
                    name,
                };
                let failed = link.describe(self, member);
                self.count_unset(member, failed);
                Ok(None)
            }
            MemberKind::HardLink(target) => self.hard_link(root, place, target).map(|()| None),
            MemberKind::File { size, parts } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(
                    parent,
                    name.as_slice(),
                    flags,
                    Mode::RUSR | Mode::WUSR,
                )?);
                let sha256 =
                    read_content(reader, member, &mut self.block, &mut |offset, bytes| {
                        Ok(file.write_all_at(bytes, offset)?)
                    })?;
                if parts.is_some() {
                    file.set_len(*size)?;
                }
                if self.wal && *size >= 512 {
                    // Two bytes of the header, which SQLite itself would set.
                    file.write_all_at(&[2, 2], 18)?;
                }
                let failed = self.describe(file.as_fd(), member);
                self.count_unset(member, failed);
                Ok(sha256)
            }
            MemberKind::Other => Ok(None),
        }
    }

    /// Makes `last` the directory at this place, making it and those above it where they are
    /// missing.
    fn open_directory(&mut self, root: usize, place: &[Vec<u8>]) -> Result<(), UnpackFailure> {
        if self
            .last
            .as_ref()
            .is_some_and(|(at, known, _)| *at == root && known == place)
        {
            return Ok(());
        }
        // From the last one on, where it lies on the way.
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
            let name = place[at].as_slice();
            let open = || rustix::fs::openat(&directory, name, OPEN_DIRECTORY, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
                    open()
                }
                other => other,
            };
            directory = opened.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    UnpackFailure::Refused(format!("`{}` above it is no directory", shown(name)))
                }
                other => other.into(),
            })?;
            at += 1;
        }
        self.last = Some((root, place.to_vec(), directory));
        Ok(())
    }

    /// Only to files that came out of this archive: found like any other place, following no link.
    fn hard_link(
        &mut self,
        root: usize,
        place: &[Vec<u8>],
        target: &[u8],
    ) -> Result<(), UnpackFailure> {
        let refused =
            |why: String| UnpackFailure::Refused(format!("a link to `{}`: {why}", shown(target)));
        let (target_root, target_place) = self.place(target).map_err(refused)?;
        let (Some((name, above)), Some((target_name, target_above))) =
            (place.split_last(), target_place.split_last())
        else {
            return Err(refused("it has no name".into()));
        };
        let target_parent = self
            .existing_directory(target_root, target_above)
            .map_err(|_| refused("it is not there".into()))?;
        let found = rustix::fs::statat(
            &target_parent,
            target_name.as_slice(),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(FileType::RegularFile | FileType::Symlink) => {}
            Ok(_) => return Err(refused("it is no file".into())),
            Err(_) => return Err(refused("it is not there".into())),
        }
        let parent = self.existing_directory(root, above)?;
        match rustix::fs::linkat(
            &target_parent,
            target_name.as_slice(),
            &parent,
            name.as_slice(),
            AtFlags::empty(),
        ) {
            // Two top paths on two file systems: then it is a file of its own.
            Err(Errno::XDEV) => self.copy_across(&target_parent, target_name, &parent, name),
            other => Ok(other?),
        }
    }

    fn copy_across(
        &self,
        from: &OwnedFd,
        from_name: &[u8],
        to: &OwnedFd,
        to_name: &[u8],
    ) -> Result<(), UnpackFailure> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(rustix::fs::openat(from, from_name, read, Mode::empty())?);
        let mut to = File::from(rustix::fs::openat(
            to,
            to_name,
            write,
            Mode::RUSR | Mode::WUSR,
        )?);
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
        Ok(rustix::fs::futimens(&to, &times(mtime))?)
    }

    fn existing_directory(&self, root: usize, place: &[Vec<u8>]) -> Result<OwnedFd, UnpackFailure> {
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

    /// Gives directories what they are to have, the deepest first: whatever is written into one
    /// changes its time.
    pub fn finish(&mut self) -> Result<()> {
        self.last = None;
        for (root, place, member) in std::mem::take(&mut self.directories).into_iter().rev() {
            match self.existing_directory(root, &place) {
                Ok(directory) => {
                    let failed = self.describe(directory.as_fd(), &member);
                    self.count_unset(&member, failed);
                }
                // One that a later member has replaced.
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

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        let first = self.unset_first.clone().unwrap_or_default();
        match self.unset {
            0 => Vec::new(),
            1 => vec![format!("of one file not everything could be set: {first}")],
            many => vec![format!(
                "of {many} files not everything could be set: {first}, and others"
            )],
        }
    }

    fn count_unset(&mut self, member: &Member, failed: Option<&'static str>) {
        if let Some(what) = failed {
            self.unset += 1;
            self.unset_first
                .get_or_insert_with(|| format!("the {what} of {}", member.shown()));
        }
    }

    /// Owner, mode, attributes, times, in the order in which they don't undo each other. What can't
    /// be set is given back.
    fn describe(&self, file: std::os::fd::BorrowedFd<'_>, member: &Member) -> Option<&'static str> {
        let mut failed = None;
        let mut mode = member.mode;
        if self.owners {
            let (uid, gid) = self.owner_of(member);
            if rustix::fs::fchown(file, Some(uid), Some(gid)).is_err() {
                failed = Some("owner");
                // The rights of its owner are not another one's to have.
                mode &= 0o1777;
            }
        } else if u64::from(rustix::process::geteuid().as_raw()) != member.uid {
            mode &= 0o1777;
        } else if !self.no_owner {
            // The group of one's own file may be any that one is in.
            let (_, gid) = self.owner_of(member);
            if rustix::fs::fchown(file, None, Some(gid)).is_err() {
                failed = Some("group");
                mode &= 0o5777;
            }
        }
        if rustix::fs::fchmod(file, Mode::from_raw_mode(mode as _)).is_err() {
            failed = Some("mode");
        }
        let none = rustix::fs::XattrFlags::empty();
        if !member
            .xattrs
            .iter()
            .all(|(name, value)| rustix::fs::fsetxattr(file, name.as_slice(), value, none).is_ok())
        {
            failed = Some("extended attributes");
        }
        if rustix::fs::futimens(file, &times(member.mtime)).is_err() {
            failed = Some("time");
        }
        failed
    }

    /// By name, as this machine knows it; else by number.
    fn owner_of(&self, member: &Member) -> (Uid, Gid) {
        let number = |id: u64| u32::try_from(id).unwrap_or(0);
        let uid = self
            .ids
            .id_of(true, &member.user)
            .unwrap_or(number(member.uid));
        let gid = self
            .ids
            .id_of(false, &member.group)
            .unwrap_or(number(member.gid));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }
}

/// A symbolic link, which has no descriptor that could be written to.
struct OnLink<'a> {
    parent: std::os::fd::BorrowedFd<'a>,
    name: &'a [u8],
}

impl OnLink<'_> {
    fn describe(&self, unpacker: &Unpacker, member: &Member) -> Option<&'static str> {
        let mut failed = None;
        if unpacker.owners {
            let (uid, gid) = unpacker.owner_of(member);
            if rustix::fs::chownat(
                self.parent,
                self.name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .is_err()
            {
                failed = Some("owner");
            }
        }
        if rustix::fs::utimensat(
            self.parent,
            self.name,
            &times(member.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_err()
        {
            failed = Some("time");
        }
        failed
    }
}

fn times(mtime: FileTime) -> Timestamps {
    let at = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}

/// A name that a scratch directory of this program has.
pub fn is_scratch_name(name: &[u8]) -> bool {
    let Some(at) = memchr::memmem::rfind(name, b"dbbackup-") else {
        return false;
    };
    let rest = &name[at + b"dbbackup-".len()..];
    let rest = rest
        .strip_prefix(b"tree-")
        .or_else(|| rest.strip_prefix(b"to-"))
        .unwrap_or(rest);
    rest.len() == 32 && rest.iter().all(u8::is_ascii_hexdigit)
}

/// The names of a path, one after another. A first slash says nothing; a way up is refused.
fn components(path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name leads upwards".into()),
            part if part.contains(&0) => return Err("its name holds a NUL".into()),
            part => parts.push(part.to_vec()),
        }
    }
    Ok(parts)
}

/// Why a member was not written.
enum UnpackFailure {
    /// The member is at fault: it is left out.
    Refused(String),
    /// The machine is: nothing goes on.
    Failed(Error),
}

impl From<Error> for UnpackFailure {
    fn from(error: Error) -> Self {
        UnpackFailure::Failed(error)
    }
}

impl From<std::io::Error> for UnpackFailure {
    fn from(error: std::io::Error) -> Self {
        UnpackFailure::Failed(error.into())
    }
}

impl From<Errno> for UnpackFailure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => {
                UnpackFailure::Refused("its name is too long for this file system".into())
            }
            Errno::ILSEQ | Errno::INVAL => {
                UnpackFailure::Refused("this file system does not take its name".into())
            }
            other => UnpackFailure::Failed(other.into()),
        }
    }
}
