//! SQLite databases among the files: how they and their companions are told from other files, and
//! kept apart from this run's own connections.

use super::meta::FileMeta;
use super::place::TreePlace;
use super::save::{self, OpenOutcome};
use super::walk::TreeEntry;
use crate::engine::sqlite::probe::MAGIC;
use crate::engine::sqlite::registry::{self, Claim};
use crate::error::Result;
use crate::interrupt;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The right to open a file that may be a part of a database.
pub enum ReadClaim {
    /// No thread of this run has the database open, nor opens it while the claim lives. Without a
    /// database there is no claim.
    Free { _claim: Option<Claim> },
    /// Another thread has it open.
    Busy,
}

/// Waits until no thread of this run has a connection to the database that a file is of: closing
/// the file would drop that one's locks, which lie on the database itself and on its -shm.
pub fn claim_to_read(found: &TreeEntry, wait: Duration) -> Result<ReadClaim> {
    let name = found.place.leaf().as_bytes();
    let base = ["-wal", "-shm", "-journal"]
        .iter()
        .find_map(|end| name.strip_suffix(end.as_bytes()));
    let base = base.map(|base| found.place.sibling(OsStr::from_bytes(base)));
    let Some(metadata) = base.map_or(Some(found.metadata), |base| base.meta().ok()) else {
        return Ok(ReadClaim::Free { _claim: None });
    };
    let deadline = Instant::now() + wait;
    loop {
        if let Some(claim) = Claim::for_reading(metadata.key()) {
            return Ok(ReadClaim::Free {
                _claim: Some(claim),
            });
        }
        if Instant::now() >= deadline {
            return Ok(ReadClaim::Busy);
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a write-ahead log begins with, the last bit aside, and a rollback journal; see
/// <https://sqlite.org/fileformat2.html>.
pub const WAL_MAGIC: &[u8] = &[0x37, 0x7f, 0x06];
/// See above.
pub const JOURNAL_MAGIC: &[u8] = &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Whether a file that begins so is a SQLite database; an empty one is, where all of it is still in
/// its log.
pub fn is_database(start: &[u8], size: u64, place: &TreePlace) -> bool {
    // The smallest page has 512 bytes.
    start.starts_with(MAGIC) && size >= 512
        || start.is_empty() && starts_with(&place.with_suffix("-wal"), &[WAL_MAGIC])
}

/// The same for a file that is not open yet, or that this run has open as a database.
pub fn looks_like_a_database(place: &TreePlace) -> bool {
    let Ok(metadata) = place.meta() else {
        return false;
    };
    if registry::is_connected(metadata.key()) {
        return true;
    }
    metadata.is_file()
        && first_bytes(place, metadata)
            .is_some_and(|start| is_database(&start, metadata.size(), place))
}

/// Whether there is a file that begins with one of these.
pub fn starts_with(place: &TreePlace, beginnings: &[&[u8]]) -> bool {
    let metadata = place.meta().ok().filter(FileMeta::is_file);
    let start = metadata.and_then(|metadata| first_bytes(place, metadata));
    start.is_some_and(|start| {
        beginnings
            .iter()
            .any(|beginning| start.starts_with(beginning))
    })
}

fn first_bytes(place: &TreePlace, metadata: FileMeta) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    match save::open_file(
        &TreeEntry {
            place: place.clone(),
            name: Vec::new(),
            metadata,
        },
        &mut start,
    ) {
        OpenOutcome::Opened(_) => Some(start),
        OpenOutcome::Database | OpenOutcome::Vanished | OpenOutcome::Refused(_) => None,
    }
}
