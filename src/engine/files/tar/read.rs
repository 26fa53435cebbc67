//! Reading an archive, member by member: ours, and those that GNU tar, bsdtar and others write.

use super::{ACLS, XATTR, acl, padding, pax};
use crate::engine::files::member::{FileTime, Member, MemberKind};
use crate::error::{Error, Result};
use std::io::{self, Read};
use tar::{EntryType, Header};

/// Headers that describe a member are no longer than this; xattrs may have 64 KiB each.
const LONGEST_HEADER: u64 = 64 << 20;
/// Parts that a file with holes may have.
const MOST_PARTS: u64 = 16 << 20;

/// A pax header's records.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads members one after another. A member's content may be read, or not;
/// [`TarReader::next_member`] skips what is left of it.
pub struct TarReader<R: Read> {
    input: R,
    position: u64,
    left: u64,
    pad: u64,
    globals: Records,
    names: crate::engine::files::names::Ids,
}

/// What headers before a member's own say of it.
#[derive(Default)]
struct MemberPreamble {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// The archive that `input` gives.
    pub fn new(input: R) -> Self {
        TarReader {
            input,
            position: 0,
            left: 0,
            pad: 0,
            globals: Vec::new(),
            names: Default::default(),
        }
    }

    /// The next member; `None` at the archive's end. The rest of `input` is then read, too.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        // A record may claim any size.
        self.skip(self.left.saturating_add(self.pad))?;
        (self.left, self.pad) = (0, 0);
        let mut before = MemberPreamble::default();
        loop {
            let Some(header) = self.header()? else {
                io::copy(&mut self.input, &mut io::sink())?;
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| self.damaged("a size that is no number"))?;
            match header.entry_type() {
                EntryType::XHeader => before.records = pax::parse(&self.text(size)?)?,
                EntryType::XGlobalHeader => self.globals = pax::parse(&self.text(size)?)?,
                EntryType::GNULongName => before.name = Some(until_nul(self.text(size)?)),
                EntryType::GNULongLink => before.link = Some(until_nul(self.text(size)?)),
                kind => return self.member(&header, kind, size, before).map(Some),
            }
        }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(format!("the archive has {what} at byte {}", self.position))
    }

    /// The next header; `None` at the mark of the end.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let at = self.position;
        self.read_whole(header.as_mut_bytes())
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::damaged(format!(
                    "the archive is cut off at byte {at}: its end mark is missing"
                )),
                _ => error.into(),
            })?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum = |byte: &u8| u32::from(*byte);
        let found: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(sum)
            .sum::<u32>()
            + 8 * 32;
        match header.cksum() {
            Ok(expected) if expected == found => Ok(Some(header)),
            _ => Err(Error::damaged(format!(
                "the archive has no valid header at byte {at}"
            ))),
        }
    }

    fn read_whole(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// The content of a header that describes the next member.
    fn text(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LONGEST_HEADER {
            return Err(self.damaged("a header that is too long"));
        }
        let mut bytes = vec![0; (size + padding(size)) as usize];
        self.read_whole(&mut bytes).map_err(cut_off)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let skipped = io::copy(&mut (&mut self.input).take(count), &mut io::sink())?;
        self.position += skipped;
        if skipped < count {
            Err(Error::damaged("the archive is cut off inside a file"))
        } else {
            Ok(())
        }
    }

    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        before: MemberPreamble,
    ) -> Result<Member> {
        let globals = std::mem::take(&mut self.globals);
        let records: Vec<&(Vec<u8>, Vec<u8>)> = globals.iter().chain(&before.records).collect();
        // The last one counts.
        let record = |key: &str| {
            records
                .iter()
                .rev()
                .find(|(known, _)| known == key.as_bytes())
                .map(|(_, value)| value.clone())
        };
        let number = |key: &str| {
            record(key).and_then(|value| String::from_utf8(value).ok()?.parse::<u64>().ok())
        };
        let size = number("size").unwrap_or(size);
        // Only files have a content; a size elsewhere says something else.
        let is_file = matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        ) || kind.as_byte() == 0;
        if is_file {
            (self.left, self.pad) = (size, padding(size));
        }
        let name = record("GNU.sparse.name")
            .or_else(|| record("path"))
            .or(before.name);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = record("linkpath")
            .or(before.link)
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let link = link.unwrap_or_default();
        // Archives older than POSIX mark a directory by its name.
        let named_as_directory =
            is_file && name.ends_with(b"/") && record("GNU.sparse.name").is_none();
        let kind = match kind {
            EntryType::Directory => MemberKind::Directory,
            _ if named_as_directory => MemberKind::Directory,
            EntryType::Symlink => MemberKind::Symlink(link),
            EntryType::Link => MemberKind::HardLink(link),
            EntryType::GNUSparse => self.old_sparse(header)?,
            _ if is_file => self.file(size, &record, &number)?,
            _ => MemberKind::Other,
        };
        let text = |name: Option<&[u8]>| name.unwrap_or_default().to_vec();
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (key, value) in &records {
            if let Some(name) = key.strip_prefix(XATTR).map(pax::unquoted) {
                xattrs.retain(|(known, _)| *known != name);
                xattrs.push((name, value.clone()));
            }
            let acl = ACLS
                .iter()
                .find(|(_, record)| record == key)
                .map(|(name, _)| name);
            let bytes = acl.and_then(|_| {
                acl::to_bytes(std::str::from_utf8(value).ok()?, &|user, name| {
                    self.names.id_of(user, name.as_bytes())
                })
            });
            if let (Some(name), Some(bytes)) = (acl, bytes) {
                xattrs.retain(|(known, _)| known != name);
                xattrs.push((name.to_vec(), bytes));
            }
        }
        xattrs.sort();
        let member = Member {
            path: name,
            kind,
            mode: header
                .mode()
                .map_err(|_| self.damaged("a mode that is no number"))?
                & 0o7777,
            uid: number("uid").or_else(|| header.uid().ok()).unwrap_or(0),
            gid: number("gid").or_else(|| header.gid().ok()).unwrap_or(0),
            user: record("uname").unwrap_or_else(|| text(header.username_bytes())),
            group: record("gname").unwrap_or_else(|| text(header.groupname_bytes())),
            mtime: record("mtime")
                .and_then(|value| pax::parse_time(&value))
                .unwrap_or_else(|| FileTime {
                    seconds: header
                        .mtime()
                        .ok()
                        .and_then(|seconds| i64::try_from(seconds).ok())
                        .unwrap_or(0),
                    nanoseconds: 0,
                }),
            xattrs,
        };
        self.globals = globals;
        Ok(Member {
            path: without_last_slash(member.path),
            ..member
        })
    }

    /// A regular file, or one with holes as GNU tar writes them into POSIX archives.
    fn file(
        &mut self,
        size: u64,
        record: &dyn Fn(&str) -> Option<Vec<u8>>,
        number: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<MemberKind> {
        let real = number("GNU.sparse.realsize").or_else(|| number("GNU.sparse.size"));
        let parts = match (number("GNU.sparse.major"), record("GNU.sparse.map")) {
            (Some(1), _) => self.map()?,
            (_, Some(map)) => {
                let numbers: Option<Vec<u64>> = String::from_utf8_lossy(&map)
                    .split(',')
                    .map(|word| word.parse().ok())
                    .collect();
                let numbers = numbers.ok_or_else(|| self.damaged("a broken map of holes"))?;
                numbers
                    .chunks_exact(2)
                    .map(|pair| (pair[0], pair[1]))
                    .collect()
            }
            // The oldest of GNU tar's ways; taken for a plain file its content would be wrong.
            _ if record("GNU.sparse.numblocks").is_some() => {
                return Err(self.damaged("a file with holes in a format that is not known"));
            }
            _ => return Ok(MemberKind::File { size, parts: None }),
        };
        self.sparse(parts, real)
    }

    /// Checked against each other: the parts lie in order within the file, and all their bytes are
    /// there.
    fn sparse(&self, parts: Vec<(u64, u64)>, real: Option<u64>) -> Result<MemberKind> {
        let mut end = 0_u64;
        let mut stored = 0_u64;
        for (offset, length) in &parts {
            let after = offset.checked_add(*length).filter(|_| *offset >= end);
            end = after.ok_or_else(|| self.damaged("a map of holes that is out of order"))?;
            stored += length;
        }
        let size = real.unwrap_or(end);
        if end > size || stored != self.left {
            return Err(self.damaged("a map of holes that does not fit its file"));
        }
        Ok(MemberKind::File {
            size,
            parts: Some(parts),
        })
    }

    /// The map before the content: numbers, each on its line, filled up to a block.
    fn map(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut used = 0;
        let mut line = |reader: &mut Self| -> Result<u64> {
            let mut value = 0_u64;
            loop {
                let mut byte = [0];
                if used == reader.left {
                    return Err(reader.damaged("a broken map of holes"));
                }
                reader.read_whole(&mut byte).map_err(cut_off)?;
                used += 1;
                match byte[0] {
                    b'\n' => return Ok(value),
                    digit @ b'0'..=b'9' => {
                        let next = value
                            .checked_mul(10)
                            .and_then(|value| value.checked_add(u64::from(digit - b'0')));
                        value = next.ok_or_else(|| reader.damaged("a broken map of holes"))?;
                    }
                    _ => return Err(reader.damaged("a broken map of holes")),
                }
            }
        };
        let count = line(self)?;
        if count > MOST_PARTS {
            return Err(self.damaged("a map of too many holes"));
        }
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push((line(self)?, line(self)?));
        }
        let fill = padding(used);
        self.left = self
            .left
            .checked_sub(used + fill)
            .ok_or_else(|| self.damaged("a broken map of holes"))?;
        self.position += io::copy(&mut (&mut self.input).take(fill), &mut io::sink())?;
        Ok(parts)
    }

    /// A file with holes as GNU tar writes them into archives of its own format.
    fn old_sparse(&mut self, header: &Header) -> Result<MemberKind> {
        let broken = |reader: &Self| reader.damaged("a broken map of holes");
        let gnu = header.as_gnu().ok_or_else(|| broken(self))?;
        let mut parts = Vec::new();
        let mut add = |part: &tar::GnuSparseHeader| -> Option<()> {
            if !part.is_empty() {
                parts.push((part.offset().ok()?, part.length().ok()?));
            }
            Some(())
        };
        gnu.sparse
            .iter()
            .try_for_each(&mut add)
            .ok_or_else(|| broken(self))?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = tar::GnuExtSparseHeader::new();
            self.read_whole(next.as_mut_bytes()).map_err(cut_off)?;
            next.sparse()
                .iter()
                .try_for_each(&mut add)
                .ok_or_else(|| broken(self))?;
            more = next.is_extended();
        }
        let real = gnu.real_size().map_err(|_| broken(self))?;
        self.sparse(parts, Some(real))
    }
}

/// The content of the member that [`TarReader::next_member`] gave, holes left out.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(bytes.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut bytes[..most])?;
        if count == 0 {
            return Err(Error::damaged("the archive is cut off inside a file").into());
        }
        self.left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

fn cut_off(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::damaged("the archive is cut off inside a header"),
        _ => error.into(),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn without_last_slash(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}
