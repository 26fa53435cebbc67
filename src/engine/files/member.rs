//! One thing of a tree, as the archive, the list of contents and the file system have it in common.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file, directory or link, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it lay, without the first slash; any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// The permission bits, setuid and sticky among them.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The owner's name; empty where unknown.
    pub user: Vec<u8>,
    /// The group's name; empty where unknown.
    pub group: Vec<u8>,
    /// When the content was last changed.
    pub mtime: FileTime,
    /// Extended attributes as the kernel has them, POSIX ACLs among them, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a [`Member`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file of so many bytes.
    File {
        /// Its length as an application sees it.
        size: u64,
        /// Offset and length of each part that is not a hole; `None` for a file without holes.
        parts: Option<Vec<(u64, u64)>>,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name of the member with this path, which comes earlier.
    HardLink(Vec<u8>),
    /// A device, a FIFO or something else that is never restored.
    Other,
}

/// A moment, as the file system has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// 0 to 999,999,999, forward from there.
    pub nanoseconds: u32,
}

impl FileTime {
    /// As JSON has it: RFC 3339 with nanoseconds; outside of the calendar's years `@seconds`.
    pub fn text(self) -> String {
        match chrono::DateTime::from_timestamp(self.seconds, self.nanoseconds) {
            Some(at) if (0..253_402_300_800).contains(&self.seconds) => {
                at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
            }
            _ => format!("@{}.{:09}", self.seconds, self.nanoseconds),
        }
    }
}

impl Member {
    /// Bytes of its content in the archive: holes left out.
    pub fn stored_size(&self) -> u64 {
        match &self.kind {
            MemberKind::File {
                parts: Some(parts), ..
            } => parts.iter().map(|(_, length)| length).sum(),
            MemberKind::File { size, parts: None } => *size,
            _ => 0,
        }
    }

    /// Its path, for messages.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// A path for people: bytes that are no UTF-8, and control characters, escaped.
pub fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

/// A path of an archive as one of the file system.
pub fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// Parts of a file without holes, and those of one with them.
pub fn parts_of(size: u64, parts: Option<&Vec<(u64, u64)>>) -> Vec<(u64, u64)> {
    parts.cloned().unwrap_or_else(|| vec![(0, size)])
}
