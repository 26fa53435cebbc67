//! The content of a full in a file of the scratch directory, for as long as the deltas of its tree
//! are verified one after the other: so it is fetched and decoded once for all of them.

use super::BackupWay;
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::scratch::Scratch;
use crate::stream;
use std::fs::File;
use std::path::{Path, PathBuf};

const PREFIX: &str = ".dbbackup-full-";

/// Beside it there must be room for the content of a backup on trial, twice.
const ROOM: u64 = 3;

/// A full, decoded.
pub struct KeptFull {
    id: String,
    sha256: String,
    path: PathBuf,
    /// Goes with it.
    _scratch: Scratch,
}

impl KeptFull {
    /// Decodes the full at the end of a way, and compares it with what was written. Too little room
    /// and an encrypted one, which is not to lie anywhere in the clear, are errors.
    pub fn decode(way: &BackupWay, scratch_dir: &Path, threads: usize) -> Result<KeptFull> {
        let full = way.full().ok_or_else(|| Error::failed("it has none"))?;
        if full.dump.encryption.is_some() {
            return Err(Error::failed("it is encrypted"));
        }
        let needed = full.dump.content_size_bytes.saturating_mul(ROOM);
        let purpose = format!("the content of `{}`", full.id);
        let scratch = Scratch::new(scratch_dir, PREFIX, needed, &purpose)?;
        let path = scratch.join("content");
        let mut file = durable::create_new(&path)?;
        stream::copy(&mut *way.open_full(threads)?, &mut file)?;
        Ok(KeptFull {
            id: full.id.clone(),
            sha256: full.dump.sha256.clone(),
            path,
            _scratch: scratch,
        })
    }

    /// The id of the full.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Opens its content, if it is the dump of this backup with this hash.
    pub fn open(&self, id: &str, sha256: &str) -> Result<Option<File>> {
        if (self.id.as_str(), self.sha256.as_str()) != (id, sha256) {
            return Ok(None);
        }
        let opened = File::open(&self.path);
        opened
            .map(Some)
            .with_context(|| format!("opening `{}`", self.path.display()))
    }
}
