//! The tree as an earlier backup of it has it, for a delta that is built on that: what its list of
//! contents says of each member, and where in its archive the member lies.
//!
//! A member that has the size, the times, the inode and the rest of what the list says is taken for
//! the same, and is not read. No write slips through:
//!
//! - Every `write()` sets the time of the last change (ctime) to the present, and so does whatever
//!   changes mode, owner, attributes or names. Programs set the time of the last modification
//!   (mtime) back; nobody sets ctime.
//! - A file that was written to a moment before it was read could be written to once more within
//!   the same tick of its file system's clock. So what was noted counts only where ctime was older
//!   than [`AT_REST`] then.
//! - A store through a mapping sets the times when its page was clean, and pages are written back
//!   within half a minute, after which they are clean. That is why [`AT_REST`] is not the two
//!   seconds that the coarsest clock needs.
//! - A clock that is stepped could show a moment twice, and a power cut can take data away, or the
//!   times of data that was written. What is built on a backup from before that reads everything.
//! - A file system of another machine, or of a program, may tell times that are some seconds old,
//!   or whatever it likes. Its files are read.
//! - A commit to a SQLite database may be in its log alone, which has times of its own. Databases
//!   are read, those that are saved as files, too: they have no times in the list.

use super::destination::OpenList;
use super::listing::{Lines, ListLine, MemberType};
use super::member::FileTime;
use super::tar::BLOCK;
use super::walk::TreeEntry;
use crate::engine::TreeStamp;
use crate::engine::sqlite::stamp;
use crate::error::{Error, Result};
use crate::failpoint::lowered;
use chrono::{TimeDelta, Utc};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How long nothing of a file may have been changed before it is at rest, in milliseconds. The
/// kernel writes back what is older than 30 seconds, and looks every 5.
const AT_REST: u64 = 60_000;

/// An earlier backup of a tree.
pub struct TreeBase {
    /// Opens its list of contents.
    pub open_list: OpenList<'static>,
    /// The size of its archive in bytes.
    pub archive_size: u64,
    /// What the times in its list mean; `None` where nothing is to be known by its times.
    pub stamp: Option<TreeStamp>,
    /// Called where its list turns out not to be usable.
    pub note_failure: Box<dyn Fn()>,
}

impl fmt::Debug for TreeBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeBase")
            .field("archive_size", &self.archive_size)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// Notes when files are at rest that are read from now on; `None` where that can't be told.
pub fn take_stamp() -> Option<TreeStamp> {
    let rest = lowered("DBBACKUP_TEST_AT_REST", AT_REST);
    Some(TreeStamp {
        boot: stamp::boot_id()?,
        booted_at: stamp::booted_at()?,
        at_rest_since: Utc::now() - TimeDelta::milliseconds(rest.cast_signed()),
    })
}

/// A member of the base.
pub struct BaseMember {
    /// What the list says of it.
    pub line: ListLine,
    /// Where it begins in the archive.
    pub offset: u64,
    /// The bytes that it takes there.
    pub stored: u64,
}

/// The members of a base, one after the other, as a walk asks for them.
pub struct BaseMembers {
    lines: Lines,
    next: Option<BaseMember>,
    /// The offset of the member after that.
    offset: u64,
    archive_size: u64,
    /// The names of the top paths in the archive.
    tops: Vec<Vec<u8>>,
    /// What was last changed before this moment may be known by its times.
    at_rest_since: Option<FileTime>,
    /// Whether the file systems of these devices tell true times.
    devices: HashMap<u64, bool>,
    note_failure: Box<dyn Fn()>,
}

impl BaseMembers {
    /// Opens the list of a base, for a walk over these top paths.
    pub fn open(base: TreeBase, tops: &[PathBuf]) -> Result<BaseMembers> {
        let TreeBase {
            open_list,
            archive_size,
            stamp,
            note_failure,
        } = base;
        let opened = open_list().and_then(|lines| {
            lines.ok_or_else(|| Error::damaged("its list of contents is not what was written"))
        });
        let lines = opened.inspect_err(|_| note_failure())?;
        let is_known = |stamp: &TreeStamp| stamp::is_same_system(&stamp.boot, stamp.booted_at);
        let mut members = BaseMembers {
            lines,
            next: None,
            offset: 0,
            archive_size,
            tops: tops.iter().map(|top| top_name(top)).collect(),
            at_rest_since: stamp.filter(is_known).map(|stamp| FileTime {
                seconds: stamp.at_rest_since.timestamp(),
                nanoseconds: stamp.at_rest_since.timestamp_subsec_nanos(),
            }),
            devices: HashMap::new(),
            note_failure,
        };
        members.advance()?;
        Ok(members)
    }

    /// Returns the member of this name, if there is one. Names MUST be asked for in the order of
    /// the walk; of several members with one name it is the first.
    pub fn find(&mut self, name: &[u8]) -> Result<Option<BaseMember>> {
        while let Some(next) = &self.next {
            match self.compare(&next.line.path_bytes(), name) {
                Ordering::Less => drop(self.advance()?),
                Ordering::Equal => return self.advance(),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Reads the rest of the list, and refuses one that does not tell the whole archive.
    pub fn finish(mut self) -> Result<()> {
        while self.advance()?.is_some() {}
        let expected = self.offset + 2 * BLOCK;
        if expected != self.archive_size {
            (self.note_failure)();
            return Err(Error::damaged(format!(
                "its list of contents tells an archive of {expected} bytes, and it has {}",
                self.archive_size
            )));
        }
        Ok(())
    }

    /// Takes the next member off the list.
    fn advance(&mut self) -> Result<Option<BaseMember>> {
        let read = self.read_member();
        let following = read.inspect_err(|_| (self.note_failure)())?;
        Ok(std::mem::replace(&mut self.next, following))
    }

    fn read_member(&mut self) -> Result<Option<BaseMember>> {
        let Some(line) = self.lines.next_stored()? else {
            return Ok(None);
        };
        let stored = line.stored.filter(|stored| stored % BLOCK == 0);
        let (offset, end) = match stored {
            Some(stored) => (self.offset, self.offset.checked_add(stored)),
            None => (self.offset, None),
        };
        let (Some(stored), Some(end)) = (stored, end) else {
            return Err(Error::damaged(
                "its list of contents does not tell where in the archive its members are",
            ));
        };
        self.offset = end;
        Ok(Some(BaseMember {
            line,
            offset,
            stored,
        }))
    }

    /// The order of the walk. What is below no top path, as those were others then, comes first.
    fn compare(&self, old: &[u8], name: &[u8]) -> Ordering {
        let rank = |path: &[u8]| self.tops.iter().position(|top| is_in(path, top));
        // A directory's content comes before what only begins with its name.
        let step = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        match rank(old) {
            None => Ordering::Less,
            old_rank => old_rank
                .cmp(&rank(name))
                .then_with(|| old.iter().map(step).cmp(name.iter().map(step))),
        }
    }

    /// Whether what was found is known to be what the base has, by its times. `line` is what the
    /// list would say of it, as far as that is known.
    pub fn is_unchanged(&mut self, old: &ListLine, line: ListLine, found: &TreeEntry) -> bool {
        let Some(at_rest_since) = self.at_rest_since else {
            return false;
        };
        if old.note.is_some() || old.ctime.is_none() || found.metadata.ctime() >= at_rest_since {
            return false;
        }
        let now = ListLine {
            sha256: old.sha256.clone(),
            stored: old.stored,
            ..line
        };
        now.with_stamp(&found.metadata) == *old
            && (old.kind != MemberType::File
                || self.tells_true_times(found) && !may_be_empty_database(found))
    }

    fn tells_true_times(&mut self, found: &TreeEntry) -> bool {
        let device = self.devices.entry(found.metadata.dev());
        *device.or_insert_with(|| found.place.is_on_local_disk())
    }
}

/// A database may be empty while all of it is in its log.
fn may_be_empty_database(found: &TreeEntry) -> bool {
    found.metadata.size() == 0 && found.place.with_suffix("-wal").meta().is_ok()
}

fn top_name(top: &Path) -> Vec<u8> {
    let bytes = top.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes).to_vec()
}

/// Whether a name of the archive is that of a top path or below it.
fn is_in(path: &[u8], top: &[u8]) -> bool {
    let below = path.strip_prefix(top);
    below.is_some_and(|rest| top.is_empty() || rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests;
