//! The list of contents of a tree: one JSON object a line, in the archive's order. It says of every
//! file what it must be after a restore, so that nothing needs to be unpacked to know.

use super::member::{Member, MemberKind, shown};
use super::meta::FileMeta;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListLine {
    /// Where it lay, without the first slash; for people where it is no UTF-8.
    pub path: String,
    /// The path's bytes in hex, where it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MemberType,
    /// A file's length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was last changed: RFC 3339, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<String>,
    /// The permissions, as `0640`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group`, numbers where there is no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// SHA-256 of a file's content, in hex: what `sha256sum` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The target's bytes in hex, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_hex: Option<String>,
    /// A SQLite database that was saved through SQLite: its journal mode then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<String>,
    /// Bytes that the archive takes for it: what precedes the content, the content, and what fills
    /// its last block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// When anything of it was last changed (ctime), as `mtime`. Left out, as `inode` is, where it
    /// has to be read to know whether it is still the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctime: Option<String>,
    /// Its number in its file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// What became of it, where it is not simply there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<MemberNote>,
    /// Why, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MemberType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that comes earlier.
    Hardlink,
    /// A FIFO, a socket, a device.
    Other,
}

/// What became of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MemberNote {
    /// It was being changed whenever it was read; saved as it was read last.
    Changed,
    /// It was being changed, and comes once more right after this.
    Superseded,
    /// It was not there any more when its turn came; not in the archive.
    Vanished,
    /// It could not be read; not in the archive.
    Unreadable,
    /// Its content could be read in part only; the rest are zeros.
    Cut,
    /// Nothing that can be saved; not in the archive.
    Skipped,
}

impl ListLine {
    /// What is said of a member of the archive.
    pub fn from_member(member: &Member, sha256: Option<String>) -> Self {
        let (kind, size, target) = match &member.kind {
            MemberKind::File { size, .. } => (MemberType::File, Some(*size), None),
            MemberKind::Directory => (MemberType::Directory, None, None),
            MemberKind::Symlink(target) => (MemberType::Symlink, None, Some(target)),
            MemberKind::HardLink(target) => (MemberType::Hardlink, None, Some(target)),
            MemberKind::Other => (MemberType::Other, None, None),
        };
        let name = |name: &[u8], id: u64| {
            if name.is_empty() {
                id.to_string()
            } else {
                String::from_utf8_lossy(name).into_owned()
            }
        };
        ListLine {
            size,
            mtime: Some(member.mtime.text()),
            mode: Some(format!("{:04o}", member.mode)),
            owner: Some(format!(
                "{}:{}",
                name(&member.user, member.uid),
                name(&member.group, member.gid)
            )),
            sha256,
            target: target.map(|target| text(target)),
            target_hex: target.and_then(|target| hex_unless_text(target)),
            ..ListLine::named(&member.path, kind)
        }
    }

    /// The same of a member that takes so many bytes of the archive.
    pub fn with_stored(self, bytes: u64) -> Self {
        ListLine {
            stored: Some(bytes),
            ..self
        }
    }

    /// The same with what tells a later run that it is still the same. `found` is from before it
    /// was read.
    pub fn with_stamp(self, found: &FileMeta) -> Self {
        ListLine {
            ctime: Some(found.ctime().text()),
            inode: Some(found.inode()),
            ..self
        }
    }

    /// The same of what has to be read every time.
    pub fn without_stamp(self) -> Self {
        ListLine {
            ctime: None,
            inode: None,
            ..self
        }
    }

    /// Something that is not in the archive.
    pub fn missing(path: &[u8], kind: MemberType, note: MemberNote, why: Option<String>) -> Self {
        ListLine {
            note: Some(note),
            why,
            ..ListLine::named(path, kind)
        }
    }

    fn named(path: &[u8], kind: MemberType) -> Self {
        ListLine {
            path: text(path),
            path_hex: hex_unless_text(path),
            kind,
            size: None,
            mtime: None,
            mode: None,
            owner: None,
            sha256: None,
            target: None,
            target_hex: None,
            sqlite: None,
            stored: None,
            ctime: None,
            inode: None,
            note: None,
            why: None,
        }
    }

    /// Whether the archive holds it.
    pub fn is_stored(&self) -> bool {
        !matches!(
            self.note,
            Some(MemberNote::Vanished | MemberNote::Unreadable | MemberNote::Skipped)
        )
    }

    /// The path's bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        self.path_hex
            .as_deref()
            .and_then(from_hex)
            .unwrap_or_else(|| self.path.clone().into_bytes())
    }

    /// The target's bytes.
    pub fn target_bytes(&self) -> Option<Vec<u8>> {
        self.target_hex
            .as_deref()
            .and_then(from_hex)
            .or_else(|| self.target.clone().map(String::into_bytes))
    }

    /// What differs between what is expected (this) and what was found in an archive; `None` where
    /// nothing does.
    pub fn difference(&self, found: &ListLine) -> Option<String> {
        let name = shown(&self.path_bytes());
        if (&self.path, &self.path_hex) != (&found.path, &found.path_hex) {
            return Some(format!(
                "`{}` in place of `{name}`",
                shown(&found.path_bytes())
            ));
        }
        if self.kind != found.kind {
            return Some(format!(
                "`{name}` is a {}, not a {}",
                found.kind.as_str(),
                self.kind.as_str()
            ));
        }
        if self.size != found.size {
            let size = |listed: &ListLine| listed.size.unwrap_or(0);
            return Some(format!(
                "`{name}` has {} bytes, {} expected",
                size(found),
                size(self)
            ));
        }
        if self.sha256 != found.sha256 {
            return Some(format!("the content of `{name}` is not what was saved"));
        }
        if (&self.target, &self.target_hex) != (&found.target, &found.target_hex) {
            return Some(format!("`{name}` points elsewhere"));
        }
        if (&self.mtime, &self.mode, &self.owner) != (&found.mtime, &found.mode, &found.owner) {
            return Some(format!("`{name}` has another time, mode or owner"));
        }
        None
    }

    /// Writes it as a line.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, self).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        Ok(())
    }
}

impl MemberNote {
    /// The word in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberNote::Changed => "changed",
            MemberNote::Superseded => "superseded",
            MemberNote::Vanished => "vanished",
            MemberNote::Unreadable => "unreadable",
            MemberNote::Cut => "cut",
            MemberNote::Skipped => "skipped",
        }
    }
}

impl MemberType {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberType::File => "file",
            MemberType::Directory => "directory",
            MemberType::Symlink => "symbolic link",
            MemberType::Hardlink => "hard link",
            MemberType::Other => "special file",
        }
    }
}

/// Reads a list, line by line.
pub struct Lines {
    input: Box<dyn BufRead>,
    line: Vec<u8>,
}

impl Lines {
    /// The list that `input` gives.
    pub fn new(input: impl Read + 'static) -> Self {
        Lines {
            input: Box::new(std::io::BufReader::with_capacity(256 << 10, input)),
            line: Vec::new(),
        }
    }

    /// The next line that the archive has a member for.
    pub fn next_stored(&mut self) -> Result<Option<ListLine>> {
        loop {
            match self.next_line()? {
                Some(listed) if !listed.is_stored() => {}
                other => return Ok(other),
            }
        }
    }

    /// The next line.
    pub fn next_line(&mut self) -> Result<Option<ListLine>> {
        self.line.clear();
        if self.input.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let read = serde_json::from_slice(&self.line);
        read.map(Some)
            .map_err(|error| Error::damaged(format!("the list of contents is damaged: {error}")))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex_unless_text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| to_hex(bytes))
}

/// Bytes in hex.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of hex digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::member::FileTime;
    use super::*;
    use proptest::prelude::*;

    fn member(path: &[u8], kind: MemberKind) -> Member {
        let (user, group) = (b"root".to_vec(), Vec::new());
        Member {
            path: path.to_vec(),
            kind,
            mode: 0o640,
            uid: 0,
            gid: 7,
            user,
            group,
            mtime: FileTime::default(),
            xattrs: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(path in proptest::collection::vec(1..=255_u8, 1..40),
            target in proptest::collection::vec(1..=255_u8, 1..40)) {
            let link = member(&path, MemberKind::Symlink(target.clone()));
            let listed = ListLine::from_member(&link, None);
            let mut bytes = Vec::new();
            listed.write(&mut bytes).unwrap();
            let mut lines = Lines::new(std::io::Cursor::new(bytes));
            let read = lines.next_stored().unwrap().unwrap();
            prop_assert_eq!(&read, &listed);
            prop_assert_eq!((read.path_bytes(), read.target_bytes().unwrap()), (path, target));
            prop_assert!(lines.next_line().unwrap().is_none());
        }
    }

    #[test]
    fn differences_are_named() {
        let file = |size, sha256: &str| {
            ListLine::from_member(
                &member(b"a/b", MemberKind::File { size, parts: None }),
                Some(sha256.into()),
            )
        };
        assert_eq!(file(1, "x").difference(&file(1, "x")), None);
        assert_eq!(
            file(1, "x").difference(&file(2, "x")).unwrap(),
            "`a/b` has 2 bytes, 1 expected"
        );
        assert_eq!(
            file(1, "x").difference(&file(1, "y")).unwrap(),
            "the content of `a/b` is not what was saved"
        );
        let dir = ListLine::from_member(&member(b"a/b", MemberKind::Directory), None);
        assert_eq!(
            file(1, "x").difference(&dir).unwrap(),
            "`a/b` is a directory, not a file"
        );
        assert_eq!(dir.owner.as_deref(), Some("root:7"));
    }
}
