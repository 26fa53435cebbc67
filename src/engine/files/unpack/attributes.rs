//! The attributes of unpacked members: owner, mode, extended attributes and times. One that can't
//! be set is counted and reported, and stops no restore.

use super::Unpacker;
use crate::engine::files::member::{FileTime, Member};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use std::os::fd::BorrowedFd;

impl Unpacker {
    /// Warnings for the user.
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

    /// Counts a member of which the attribute `failed` could not be set.
    pub(super) fn count_unset(&mut self, member: &Member, failed: Option<&'static str>) {
        if let Some(what) = failed {
            self.unset += 1;
            self.unset_first
                .get_or_insert_with(|| format!("the {what} of {}", member.shown()));
        }
    }

    /// Sets owner, mode, attributes and times, in the order in which they don't undo each other.
    /// Returns the name of one that can't be set.
    pub(super) fn set_attributes(
        &self,
        file: BorrowedFd<'_>,
        member: &Member,
    ) -> Option<&'static str> {
        let mut failed = None;
        let mut mode = member.mode;
        if self.owners {
            let (uid, gid) = self.owner_of(member);
            if rustix::fs::fchown(file, Some(uid), Some(gid)).is_err() {
                failed = Some("owner");
                // Another owner must not have the rights of its own one.
                mode &= 0o1777;
            }
        } else if u64::from(rustix::process::geteuid().as_raw()) != member.uid {
            mode &= 0o1777;
        } else if !self.no_owner {
            // A user may give an own file any group of the user's.
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
        if rustix::fs::futimens(file, &timestamps(member.mtime)).is_err() {
            failed = Some("time");
        }
        failed
    }

    /// Sets owner and time of a symbolic link, which has no descriptor that could be written to.
    /// Returns the name of one that can't be set.
    pub(super) fn set_link_attributes(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        member: &Member,
    ) -> Option<&'static str> {
        let mut failed = None;
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if self.owners {
            let (uid, gid) = self.owner_of(member);
            if rustix::fs::chownat(parent, name, Some(uid), Some(gid), no_follow).is_err() {
                failed = Some("owner");
            }
        }
        if rustix::fs::utimensat(parent, name, &timestamps(member.mtime), no_follow).is_err() {
            failed = Some("time");
        }
        failed
    }

    /// The owner and group by their names, as this machine knows them; else by their numbers.
    fn owner_of(&self, member: &Member) -> (Uid, Gid) {
        let uid = self.ids.id_of(true, &member.user);
        let uid = uid.unwrap_or(u32::try_from(member.uid).unwrap_or(0));
        let gid = self.ids.id_of(false, &member.group);
        let gid = gid.unwrap_or(u32::try_from(member.gid).unwrap_or(0));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }
}

/// The times of a file that was changed at `mtime`.
pub(super) fn timestamps(mtime: FileTime) -> Timestamps {
    let at = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}
