//! How one file is read although others may be writing to it: again, where it changed meanwhile;
//! never more nor less than the archive's header says.

use super::listing::{ListLine, MemberNote, to_hex};
use super::member::{Member, MemberKind, parts_of};
use super::meta::FileMeta;
use super::tar::TarWriter;
use super::walk::TreeEntry;
use super::{embedded, meta};
use crate::engine::sqlite::registry::Claim;
use crate::error::Result;
use crate::interrupt;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Up to this size a file is held in memory, so that it can be read again before anything of it is
/// written.
const WHOLE: u64 = 1 << 20;
/// A larger one that changed is written again, but not one above this: the archive would hold it
/// several times.
const AGAIN: u64 = 128 << 20;
/// How often a file is read that changes.
const TIMES: u32 = 3;
/// Between two readings of a small file.
const PAUSE: Duration = Duration::from_millis(20);

/// A file that may be read beside SQLite: see [`crate::engine::sqlite::registry`].
pub struct OpenFile {
    /// To read from.
    pub file: File,
    /// As it was before anything was read.
    pub metadata: FileMeta,
    // After the file: it ends when the file is closed.
    _claim: Claim,
}

/// What came of opening a file.
pub enum OpenOutcome {
    /// It can be read.
    Opened(Box<OpenFile>),
    /// This run has it open as a database.
    Database,
    /// It is gone, or is no regular file any more.
    Vanished,
    /// It can't be read.
    Refused(io::Error),
}

/// Opens a regular file that the walk found, following no link and waiting for nobody. `start` is
/// then its first bytes: of a small one all, and one more if it has grown.
pub fn open(found: &TreeEntry, start: &mut Vec<u8>) -> OpenOutcome {
    let Some(claim) = Claim::for_reading(found.metadata.key()) else {
        return OpenOutcome::Database;
    };
    let file = match found.place.open() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return OpenOutcome::Vanished,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return OpenOutcome::Vanished,
        Err(error) => return OpenOutcome::Refused(error),
    };
    let metadata = match FileMeta::read(&file) {
        Ok(metadata) => metadata,
        Err(error) => return OpenOutcome::Refused(error),
    };
    if metadata.key() != found.metadata.key() {
        // Another file has taken its place. If it is a database that this run has open elsewhere,
        // closing it would drop that connection's locks.
        match Claim::for_reading(metadata.key()) {
            Some(second) => {
                drop(file);
                drop(second);
            }
            None => std::mem::forget(file),
        }
        return OpenOutcome::Vanished;
    }
    if !metadata.is_file() {
        return OpenOutcome::Vanished;
    }
    match read_start(&file, metadata.size(), start) {
        Ok(()) => OpenOutcome::Opened(Box::new(OpenFile {
            file,
            metadata,
            _claim: claim,
        })),
        Err(error) => OpenOutcome::Refused(error),
    }
}

/// Up to this size a file is read as a whole before anything of it is written; of others this much
/// is enough to know what they are.
fn read_start(file: &File, size: u64, start: &mut Vec<u8>) -> io::Result<()> {
    let wanted = if size <= WHOLE { size as usize + 1 } else { 16 };
    start.resize(wanted, 0);
    let mut length = 0;
    while length < wanted {
        match file.read_at(&mut start[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Of a plain file a short read is its end.
        if length as u64 == size {
            break;
        }
    }
    start.truncate(length);
    Ok(())
}

/// What was saved of one file.
pub struct SavedFile {
    /// One line for each time that it stands in the archive.
    pub lines: Vec<ListLine>,
    /// Its length.
    pub size: u64,
    /// To be told: a database that a program has open.
    pub warning: Option<String>,
}

/// Saves an opened file.
pub fn save<W: Write>(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &FileMeta) -> Member,
    found: &TreeEntry,
    archive: &mut TarWriter<W>,
    buffer: &mut Vec<u8>,
) -> Result<Result<SavedFile, io::Error>> {
    let warning = embedded::in_file(found.place.path(), &opened.file, buffer);
    let parts = meta::parts(&opened.file, &opened.metadata);
    let saved = if opened.metadata.size() <= WHOLE && parts.is_none() {
        small(opened, as_member, archive, buffer)?
    } else {
        large(opened, as_member, archive, parts)?
    };
    Ok(saved.map(|saved| SavedFile { warning, ..saved }))
}

/// Read as a whole, until it is the same before and after; what can't be read is not in the archive
/// at all.
fn small<W: Write>(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &FileMeta) -> Member,
    archive: &mut TarWriter<W>,
    buffer: &mut Vec<u8>,
) -> Result<Result<SavedFile, io::Error>> {
    let mut changed = true;
    for time in 0..TIMES {
        interrupt::check()?;
        // The first time it was read when it was opened.
        let read = if time == 0 {
            Ok(())
        } else {
            read_again(opened, buffer)
        };
        let after = match read.and_then(|()| FileMeta::read(&opened.file)) {
            Ok(after) => after,
            Err(error) => return Ok(Err(error)),
        };
        changed = buffer.len() as u64 != opened.metadata.size()
            || !meta::unchanged(&opened.metadata, &after);
        if !changed || time + 1 == TIMES {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    buffer.truncate(opened.metadata.size().min(WHOLE) as usize);
    let size = buffer.len() as u64;
    let member = as_member(MemberKind::File { size, parts: None }, &opened.metadata);
    archive.begin(&member)?;
    archive.write_all(buffer)?;
    archive.end()?;
    let mut line = ListLine::from_member(&member, Some(to_hex(&Sha256::digest(&buffer[..]))));
    line.note = changed.then_some(MemberNote::Changed);
    Ok(Ok(SavedFile {
        lines: vec![line],
        size,
        warning: None,
    }))
}

fn read_again(opened: &mut OpenFile, buffer: &mut Vec<u8>) -> io::Result<()> {
    opened.metadata = FileMeta::read(&opened.file)?;
    // However fast it grows, this is held in memory.
    read_start(&opened.file, opened.metadata.size().min(WHOLE), buffer)
}

/// Written while it is read. If it changed, it is written once more: of members of one name the
/// last one counts.
fn large<W: Write>(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &FileMeta) -> Member,
    archive: &mut TarWriter<W>,
    mut parts: Option<Vec<(u64, u64)>>,
) -> Result<Result<SavedFile, io::Error>> {
    let times = if opened.metadata.size() <= AGAIN {
        TIMES
    } else {
        1
    };
    let mut lines: Vec<ListLine> = Vec::new();
    loop {
        let size = opened.metadata.size();
        let member = as_member(
            MemberKind::File {
                size,
                parts: parts.clone(),
            },
            &opened.metadata,
        );
        // A file whose very first bytes can't be read is better left out.
        if let Err(error) = opened.file.read_at(&mut [0], 0) {
            return Ok(Err(error));
        }
        archive.begin(&member)?;
        let (sha256, whole) = copy(&opened.file, &member, archive)?;
        archive.end()?;
        let mut line = ListLine::from_member(&member, Some(sha256));
        let after = FileMeta::read(&opened.file);
        let unchanged = after
            .as_ref()
            .is_ok_and(|after| meta::unchanged(&opened.metadata, after));
        let again = lines.len() as u32 + 1 < times;
        line.note = match whole {
            Err(error) => {
                line.why = Some(crate::error::Error::from(error).message());
                Some(MemberNote::Cut)
            }
            Ok(true) if unchanged => None,
            Ok(_) if again => Some(MemberNote::Superseded),
            Ok(_) => Some(MemberNote::Changed),
        };
        let superseded = line.note == Some(MemberNote::Superseded);
        lines.push(line);
        match after {
            Ok(after) if superseded => {
                opened.metadata = after;
                parts = meta::parts(&opened.file, &opened.metadata);
            }
            _ => {
                return Ok(Ok(SavedFile {
                    lines,
                    size,
                    warning: None,
                }));
            }
        }
    }
}

/// Copies what the member's parts hold, and hashes the file as an application sees it. What can't
/// be had any more is zeros: `Ok(false)` where the file has become shorter, an error where it can't
/// be read. The outer error is the archive's.
fn copy<W: Write>(
    file: &File,
    member: &Member,
    archive: &mut TarWriter<W>,
) -> Result<(String, io::Result<bool>)> {
    let MemberKind::File { size, parts } = &member.kind else {
        return Ok((String::new(), Ok(true)));
    };
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
