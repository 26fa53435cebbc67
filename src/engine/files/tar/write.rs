//! Writing an archive, member by member.

use super::{ACLS, BLOCK, XATTR, acl, padding, pax};
use crate::engine::files::member::{Member, MemberKind};
use crate::error::Result;
use std::io::{self, Write};
use tar::{EntryType, Header};

/// What a name field of the old header holds.
const NAME_FIELD: usize = 100;
/// What a field of eight octal digits, the last one a NUL, holds.
const SMALL_NUMBER: u64 = 0o7_777_777;
/// What a size or time field of eleven octal digits holds.
const LARGE_NUMBER: u64 = 0o77_777_777_777;

/// Writes members one after another. After [`TarWriter::begin`] of a file its stored bytes MUST be
/// written, exactly as many as announced, and then [`TarWriter::end`] called.
pub struct TarWriter<W: Write> {
    out: W,
    position: u64,
    left: u64,
    pad: u64,
}

/// The bytes that the archive takes for a member besides its content and what fills the last block
/// of that.
pub fn head_size(member: &Member) -> Result<u64> {
    let mut writer = TarWriter::new(io::sink());
    writer.begin(member)?;
    Ok(writer.position)
}

impl<W: Write> TarWriter<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Self {
        TarWriter {
            out,
            position: 0,
            left: 0,
            pad: 0,
        }
    }

    /// Writes what says everything about a member but its content.
    pub fn begin(&mut self, member: &Member) -> Result<()> {
        let mut records = records(member);
        let mut header = Header::new_ustar();
        let map = sparse_map(member, &mut records);
        set_numbers(&mut header, member, &mut records);
        if !records.is_empty() {
            self.extended(&member.path, &records)?;
        }
        let (kind, link) = match &member.kind {
            MemberKind::File { .. } | MemberKind::Other => (EntryType::Regular, None),
            MemberKind::Directory => (EntryType::Directory, None),
            MemberKind::Symlink(target) => (EntryType::Symlink, Some(target)),
            MemberKind::HardLink(target) => (EntryType::Link, Some(target)),
        };
        header.set_entry_type(kind);
        set_name(&mut header, &name_of(member));
        if let (Some(link), Some(fields)) = (link, header.as_ustar_mut()) {
            fill(&mut fields.linkname, link);
        }
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.uname, &short(&member.user, 31));
            fill(&mut fields.gname, &short(&member.group, 31));
        }
        self.left = map.len() as u64 + member.stored_size();
        self.pad = padding(self.left);
        header.set_size(self.left);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.write_all(&map)?;
        Ok(())
    }

    /// Bytes that the archive has so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the archive is written to. Whole members that are written there past the writer MUST be
    /// [counted](TarWriter::count_passed).
    pub fn sink_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Counts bytes that went past the writer.
    pub fn count_passed(&mut self, count: u64) {
        self.position += count;
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Fills a file's last block.
    pub fn end(&mut self) -> Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("a member of the archive was cut off").into());
        }
        self.put(&[0; BLOCK as usize][..self.pad as usize])?;
        self.pad = 0;
        Ok(())
    }

    /// Writes zeros in place of a content's bytes that could not be had.
    pub fn fill(&mut self) -> Result<()> {
        let zeros = [0; 16 << 10];
        while self.left > 0 {
            let count = self.left.min(zeros.len() as u64) as usize;
            self.write_all(&zeros[..count])?;
        }
        Ok(())
    }

    /// Bytes of the member's content that are still to be written.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()?;
        Ok(())
    }

    /// A header of its own before the member's, with the records that the old fields can't hold.
    fn extended(&mut self, path: &[u8], records: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        set_name(&mut header, &[b"PaxHeaders/", base].concat());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(records)?;
        self.put(&[0; BLOCK as usize][..padding(records.len() as u64) as usize])?;
        Ok(())
    }
}

/// The member's content.
impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(
                "more was written than the archive's header says",
            ));
        }
        self.put(bytes)?;
        self.left -= bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A directory's name ends with a slash, as every tar has it.
fn name_of(member: &Member) -> Vec<u8> {
    let mut name = member.path.clone();
    if member.kind == MemberKind::Directory {
        name.push(b'/');
    }
    name
}

/// The records for what the old header's fields can't hold.
fn records(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    let name = name_of(member);
    if name.len() > NAME_FIELD {
        pax::push(&mut records, b"path", &name);
    }
    if let MemberKind::Symlink(target) | MemberKind::HardLink(target) = &member.kind
        && target.len() > NAME_FIELD
    {
        pax::push(&mut records, b"linkpath", target);
    }
    if member.mtime.nanoseconds > 0 || !(0..=LARGE_NUMBER as i64).contains(&member.mtime.seconds) {
        pax::push(
            &mut records,
            b"mtime",
            pax::time_text(member.mtime).as_bytes(),
        );
    }
    for (name, value) in [(b"uname", &member.user), (b"gname", &member.group)] {
        if value.len() > 31 {
            pax::push(&mut records, name, value);
        }
    }
    for (name, value) in &member.xattrs {
        let acl = ACLS
            .iter()
            .find(|(acl, _)| acl == name)
            .and_then(|(_, record)| Some((record, acl::to_text(value)?)));
        match acl {
            Some((record, text)) => pax::push(&mut records, record, text.as_bytes()),
            None => pax::push(&mut records, &[XATTR, &pax::quoted(name)].concat(), value),
        }
    }
    records
}

/// Where a file with holes has its parts, as GNU tar's format 1.0 has it: records, and a map before
/// the content.
fn sparse_map(member: &Member, records: &mut Vec<u8>) -> Vec<u8> {
    let MemberKind::File {
        size,
        parts: Some(parts),
    } = &member.kind
    else {
        return Vec::new();
    };
    for (key, value) in [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")] {
        pax::push(records, key.as_bytes(), value.as_bytes());
    }
    pax::push(records, b"GNU.sparse.name", &member.path);
    pax::push(records, b"GNU.sparse.realsize", size.to_string().as_bytes());
    let mut map = format!("{}\n", parts.len());
    parts
        .iter()
        .for_each(|(offset, length)| map.push_str(&format!("{offset}\n{length}\n")));
    let mut map = map.into_bytes();
    map.resize(map.len() + padding(map.len() as u64) as usize, 0);
    map
}

fn set_numbers(header: &mut Header, member: &Member, records: &mut Vec<u8>) {
    for (key, value) in [("uid", member.uid), ("gid", member.gid)] {
        if value > SMALL_NUMBER {
            pax::push(records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    header.set_mode(member.mode & 0o7777);
    header.set_uid(member.uid.min(SMALL_NUMBER));
    header.set_gid(member.gid.min(SMALL_NUMBER));
    header.set_mtime(
        u64::try_from(member.mtime.seconds)
            .unwrap_or(0)
            .min(LARGE_NUMBER),
    );
}

/// A name that is too long stands in a record; its end then stands here, for those who can't read
/// records.
fn set_name(header: &mut Header, name: &[u8]) {
    if let Some(fields) = header.as_ustar_mut() {
        fill(
            &mut fields.name,
            &name[name.len().saturating_sub(NAME_FIELD)..],
        );
    }
}

fn short(name: &[u8], most: usize) -> Vec<u8> {
    if name.len() > most {
        Vec::new()
    } else {
        name.to_vec()
    }
}

fn fill(field: &mut [u8], value: &[u8]) {
    let count = value.len().min(field.len());
    field.fill(0);
    field[..count].copy_from_slice(&value[..count]);
}
