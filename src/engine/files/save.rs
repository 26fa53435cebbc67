//! How one file is read although others may be writing to it: again, where it changed meanwhile; never more nor less than the archive's header says.

use super::listing::{Listed, Note, to_hex};
use super::member::{Kind, Member, parts_of};
use super::tar::Writer;
use super::walk::Found;
use super::{embedded, meta};
use crate::engine::sqlite::registry::Claim;
use crate::error::Result;
use crate::interrupt;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

/// Up to this size a file is read as a whole before anything of it is written, so that it can be read again.
const WHOLE: u64 = 1 << 20;
/// A larger one that changed is written again as often as this allows.
const AGAIN: u64 = 128 << 20;
/// How often a file is read that changes.
const TIMES: u32 = 3;
/// Between two readings of a small file.
const PAUSE: Duration = Duration::from_millis(20);

/// A file that may be read beside SQLite: see [`crate::engine::sqlite::registry`].
pub struct Opened {
    /// To read from.
    pub file: File,
    /// As it is now.
    pub metadata: Metadata,
    /// Its first bytes.
    pub start: Vec<u8>,
    // After the file: it ends when the file is closed.
    _claim: Claim,
}

/// What came of opening a file.
pub enum Opening {
    /// It can be read.
    Opened(Box<Opened>),
    /// This run has it open as a database.
    Database,
    /// It is gone, or is no regular file any more.
    Vanished,
    /// It can't be read.
    Refused(io::Error),
}

/// Opens a regular file that the walk found, following no link and waiting for nobody.
pub fn open(found: &Found) -> Opening {
    let Some(claim) = Claim::reading(&found.metadata) else { return Opening::Database };
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = match options.open(&found.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Opening::Vanished,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Opening::Vanished,
        Err(error) => return Opening::Refused(error),
    };
    let opened = || -> io::Result<(Metadata, Vec<u8>)> {
        let metadata = file.metadata()?;
        let mut start = vec![0; 16];
        let length = if metadata.is_file() { file.read_at(&mut start, 0)? } else { 0 };
        start.truncate(length);
        Ok((metadata, start))
    };
    match opened() {
        Ok((metadata, _)) if (metadata.dev(), metadata.ino()) != (found.metadata.dev(), found.metadata.ino()) => {
            // Another file has taken its place. If it is a database that this run has open elsewhere, closing it would drop that connection's locks.
            match Claim::reading(&metadata) {
                Some(second) => {
                    drop(file);
                    drop(second);
                }
                None => std::mem::forget(file),
            }
            Opening::Vanished
        }
        Ok((metadata, _)) if !metadata.is_file() => Opening::Vanished,
        Ok((metadata, start)) => Opening::Opened(Box::new(Opened { file, metadata, start, _claim: claim })),
        Err(error) => Opening::Refused(error),
    }
}

/// What was saved of one file.
pub struct Saved {
    /// One line for each time that it stands in the archive.
    pub lines: Vec<Listed>,
    /// Its length.
    pub size: u64,
    /// To be told: a database that a program has open.
    pub warning: Option<String>,
}

/// Saves an opened file.
pub fn save<W: Write>(
    opened: &mut Opened,
    as_member: &dyn Fn(Kind, &Metadata) -> Member,
    found: &Found,
    archive: &mut Writer<W>,
    buffer: &mut Vec<u8>,
) -> Result<Result<Saved, io::Error>> {
    let warning = embedded::in_file(&found.path, &opened.file, &opened.start);
    let parts = meta::parts(&opened.file, &opened.metadata);
    let saved = if opened.metadata.size() <= WHOLE && parts.is_none() {
        small(opened, as_member, archive, buffer)?
    } else {
        large(opened, as_member, archive, parts)?
    };
    Ok(saved.map(|saved| Saved { warning, ..saved }))
}

/// Read as a whole, until it is the same before and after; what can't be read is not in the archive at all.
fn small<W: Write>(
    opened: &mut Opened,
    as_member: &dyn Fn(Kind, &Metadata) -> Member,
    archive: &mut Writer<W>,
    buffer: &mut Vec<u8>,
) -> Result<Result<Saved, io::Error>> {
    let mut changed = true;
    for time in 0..TIMES {
        interrupt::check()?;
        match read_whole(opened, buffer) {
            Ok(stable) => changed = !stable,
            Err(error) => return Ok(Err(error)),
        }
        if !changed || time + 1 == TIMES {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let size = buffer.len() as u64;
    let member = as_member(Kind::File { size, parts: None }, &opened.metadata);
    archive.begin(&member)?;
    archive.write_all(buffer)?;
    archive.end()?;
    let mut line = Listed::of(&member, Some(to_hex(&Sha256::digest(&buffer[..]))));
    line.note = changed.then_some(Note::Changed);
    Ok(Ok(Saved { lines: vec![line], size, warning: None }))
}

/// The whole content, and whether it was the same all the time.
fn read_whole(opened: &mut Opened, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let before = opened.file.metadata()?;
    opened.file.seek(SeekFrom::Start(0))?;
    buffer.clear();
    // One byte more than there should be shows whether it grew. However fast it grows, there is an end.
    (&opened.file).take(before.size() + 1).read_to_end(buffer)?;
    let stable = buffer.len() as u64 == before.size() && meta::unchanged(&before, &opened.file.metadata()?);
    buffer.truncate(before.size() as usize);
    opened.metadata = before;
    Ok(stable)
}

/// Written while it is read. If it changed, it is written once more: of members of one name the last one counts.
fn large<W: Write>(
    opened: &mut Opened,
    as_member: &dyn Fn(Kind, &Metadata) -> Member,
    archive: &mut Writer<W>,
    mut parts: Option<Vec<(u64, u64)>>,
) -> Result<Result<Saved, io::Error>> {
    let times = if opened.metadata.size() <= AGAIN { TIMES } else { TIMES - 1 };
    let mut lines: Vec<Listed> = Vec::new();
    loop {
        let size = opened.metadata.size();
        let member = as_member(Kind::File { size, parts: parts.clone() }, &opened.metadata);
        // A file whose very first bytes can't be read is better left out.
        if let Err(error) = opened.file.read_at(&mut [0], 0) {
            return Ok(Err(error));
        }
        archive.begin(&member)?;
        let (sha256, whole) = copy(&opened.file, &member, archive)?;
        archive.end()?;
        let mut line = Listed::of(&member, Some(sha256));
        let after = opened.file.metadata();
        let unchanged = after.as_ref().is_ok_and(|after| meta::unchanged(&opened.metadata, after));
        let again = lines.len() as u32 + 1 < times;
        line.note = match whole {
            Err(error) => {
                line.why = Some(crate::error::Error::from(error).message());
                Some(Note::Cut)
            }
            Ok(true) if unchanged => None,
            Ok(_) if again => Some(Note::Superseded),
            Ok(_) => Some(Note::Changed),
        };
        let superseded = line.note == Some(Note::Superseded);
        lines.push(line);
        match after {
            Ok(after) if superseded => {
                opened.metadata = after;
                parts = meta::parts(&opened.file, &opened.metadata);
            }
            _ => return Ok(Ok(Saved { lines, size, warning: None })),
        }
    }
}

/// Copies what the member's parts hold, and hashes the file as an application sees it. What can't be had any more is zeros: `Ok(false)` where the file has
/// become shorter, an error where it can't be read. The outer error is the archive's.
fn copy<W: Write>(file: &File, member: &Member, archive: &mut Writer<W>) -> Result<(String, io::Result<bool>)> {
    let Kind::File { size, parts } = &member.kind else { return Ok((String::new(), Ok(true))) };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut whole = Ok(true);
    let mut at = 0;
    for (offset, length) in parts_of(*size, parts.as_ref()) {
        hash_zeros(&mut hash, offset - at)?;
        at = offset;
        while at < offset + length {
            interrupt::check()?;
            let most = (offset + length - at).min(buffer.len() as u64) as usize;
            let count = match whole {
                Ok(true) => match file.read_at(&mut buffer[..most], at) {
                    Ok(0) => {
                        whole = Ok(false);
                        continue;
                    }
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        whole = Err(error);
                        continue;
                    }
                },
                _ => {
                    buffer[..most].fill(0);
                    most
                }
            };
            hash.update(&buffer[..count]);
            archive.write_all(&buffer[..count])?;
            at += count as u64;
        }
    }
    hash_zeros(&mut hash, size - at)?;
    Ok((to_hex(&hash.finalize()), whole))
}

/// Goes on as if so many zeros had been read.
pub fn hash_zeros(hash: &mut Sha256, mut count: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        interrupt::check()?;
        let now = count.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..now as usize]);
        count -= now;
    }
    Ok(())
}
