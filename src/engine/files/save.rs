//! Reads one file although others may be writing to it. It is read again if it changed meanwhile,
//! and the archive gets exactly as many bytes as its header says.

use super::archive::ArchiveWriter;
use super::base_tree::BaseMember;
use super::listing::{ListLine, MemberNote, to_hex};
use super::member::{Member, MemberKind, parts_of};
use super::meta::FileMeta;
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

/// The largest size of a file, in bytes, that is held in memory, so that it can be read again
/// before anything of it is written.
const MAX_IN_MEMORY: u64 = 1 << 20;
/// The largest size of a file, in bytes, that is written again if it changed: the archive holds it
/// several times then.
const MAX_REPEATED: u64 = 128 << 20;
/// The number of times that a file is read if it changes.
const MAX_READS: u32 = 3;
/// The pause between two readings of a small file.
const PAUSE: Duration = Duration::from_millis(20);

/// An open file that may be read beside SQLite: see [`crate::engine::sqlite::registry`].
pub struct OpenFile {
    /// The file, for reading.
    pub file: File,
    /// The metadata before anything was read.
    pub metadata: FileMeta,
    // It stands after the file, so that the claim ends when the file is closed.
    _claim: Claim,
}

/// The outcome of opening a file.
pub enum OpenOutcome {
    /// It can be read.
    Opened(Box<OpenFile>),
    /// This run has the file open as a database.
    Database,
    /// The file is gone, or is no regular file any more.
    Vanished,
    /// The file can't be read.
    Refused(io::Error),
}

/// Opens a regular file that the walk found; follows no link, and waits for nobody. `start` becomes
/// its first bytes: all of a small file, and one more if it has grown.
pub fn open_file(found: &TreeEntry, start: &mut Vec<u8>) -> OpenOutcome {
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
        // Another file has taken its place. If this run has that one open as a database, closing it
        // would drop that connection's locks.
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

/// Reads the first bytes of a file of this size: all of a small file, and one more if it has grown;
/// 16 of others, which are enough to know what they are.
fn read_start(file: &File, size: u64, start: &mut Vec<u8>) -> io::Result<()> {
    let wanted = if size <= MAX_IN_MEMORY {
        size as usize + 1
    } else {
        16
    };
    start.resize(wanted, 0);
    let mut length = 0;
    while length < wanted {
        match file.read_at(&mut start[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A short read of a plain file is its end.
        if length as u64 == size {
            break;
        }
    }
    start.truncate(length);
    Ok(())
}

/// The result of saving one file.
pub struct SavedFile {
    /// One line for each time that the file is in the archive.
    pub lines: Vec<ListLine>,
    /// The file's length in bytes.
    pub size: u64,
    /// A warning for the user: it is a database that a program has open.
    pub warning: Option<String>,
}

/// Saves an opened file, beside what the base has of it. The inner error is one of the file, the
/// outer one ends the backup.
pub fn save_file(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &OpenFile) -> Member,
    found: &TreeEntry,
    archive: (&mut ArchiveWriter<'_>, Option<BaseMember>),
    buffer: &mut Vec<u8>,
) -> Result<Result<SavedFile, io::Error>> {
    let warning = embedded::warn_of_file(found.place.path(), &opened.file, buffer);
    let parts = meta::parts(&opened.file, &opened.metadata);
    let saved = if opened.metadata.size() <= MAX_IN_MEMORY && parts.is_none() {
        save_small(opened, as_member, archive, buffer)?
    } else {
        save_large(opened, as_member, archive, parts)?
    };
    Ok(saved.map(|saved| SavedFile { warning, ..saved }))
}

/// Saves a file that is read as a whole, until it is the same before and after. If it can't be
/// read, it is not in the archive at all.
fn save_small(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &OpenFile) -> Member,
    (archive, old): (&mut ArchiveWriter<'_>, Option<BaseMember>),
    buffer: &mut Vec<u8>,
) -> Result<Result<SavedFile, io::Error>> {
    let mut changed = true;
    for attempt in 0..MAX_READS {
        interrupt::check()?;
        // It was read for the first time when it was opened.
        let read = if attempt == 0 {
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
        if !changed || attempt + 1 == MAX_READS {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    buffer.truncate(opened.metadata.size().min(MAX_IN_MEMORY) as usize);
    let size = buffer.len() as u64;
    let member = as_member(MemberKind::File { size, parts: None }, opened);
    archive.begin(&member, old.as_ref())?;
    archive.write_all(buffer)?;
    let stored = archive.end()?;
    let mut line = ListLine::from_member(&member, Some(to_hex(&Sha256::digest(&buffer[..]))))
        .with_stored(stored);
    match changed {
        true => line.note = Some(MemberNote::Changed),
        false => line = line.with_stamp(&opened.metadata),
    }
    Ok(Ok(SavedFile {
        lines: vec![line],
        size,
        warning: None,
    }))
}

/// Reads a small file once more, with its metadata.
fn read_again(opened: &mut OpenFile, buffer: &mut Vec<u8>) -> io::Result<()> {
    opened.metadata = FileMeta::read(&opened.file)?;
    // It is held in memory, however fast it grows.
    read_start(
        &opened.file,
        opened.metadata.size().min(MAX_IN_MEMORY),
        buffer,
    )
}

/// Saves a file that is written while it is read. If it changed, it is written once more: of
/// members of one name the last one counts.
fn save_large(
    opened: &mut OpenFile,
    as_member: &dyn Fn(MemberKind, &OpenFile) -> Member,
    (archive, mut old): (&mut ArchiveWriter<'_>, Option<BaseMember>),
    mut parts: Option<Vec<(u64, u64)>>,
) -> Result<Result<SavedFile, io::Error>> {
    let max_reads = if opened.metadata.size() <= MAX_REPEATED {
        MAX_READS
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
            opened,
        );
        // A file whose first byte can't be read is better left out.
        if let Err(error) = opened.file.read_at(&mut [0], 0) {
            return Ok(Err(error));
        }
        // What comes once more may not go back in the base.
        archive.begin(&member, old.take().as_ref())?;
        let (sha256, whole) = copy_content(&opened.file, &member, archive)?;
        let stored = archive.end()?;
        let mut line = ListLine::from_member(&member, Some(sha256)).with_stored(stored);
        let after = FileMeta::read(&opened.file);
        let unchanged = after
            .as_ref()
            .is_ok_and(|after| meta::unchanged(&opened.metadata, after));
        let may_repeat = lines.len() as u32 + 1 < max_reads;
        line.note = match whole {
            Err(error) => {
                line.why = Some(crate::error::Error::from(error).message());
                Some(MemberNote::Cut)
            }
            Ok(true) if unchanged => None,
            Ok(_) if may_repeat => Some(MemberNote::Superseded),
            Ok(_) => Some(MemberNote::Changed),
        };
        if line.note.is_none() {
            line = line.with_stamp(&opened.metadata);
        }
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

/// Copies the content of the member's parts, and hashes the file as an application sees it. Content
/// that can't be had any more becomes zeros: then the inner result is `Ok(false)` if the file has
/// become shorter, and an error if it can't be read. The outer error is the archive's.
fn copy_content(
    file: &File,
    member: &Member,
    archive: &mut ArchiveWriter<'_>,
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

/// Adds `count` zeros to the hash.
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
