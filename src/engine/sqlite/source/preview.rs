//! What can be learned of a database without a backup of it: whether one would succeed, what it
//! would hold, and how well it would compress.

use super::SqliteSource;
use crate::engine::sqlite::registry::Claim;
use crate::engine::sqlite::{Db, OpenMode, companion, companions, crashed, facts, pages, probe};
use crate::engine::{Dumped, Source};
use crate::error::{Context, Error, Result};
use sha2::{Digest, Sha256};

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

impl SqliteSource {
    /// Checks whether the database can probably be backed up. Nothing is locked, and only the
    /// header is read.
    pub fn probe(&self) -> Result<()> {
        probe::before_reading(&self.name_in_use()?.path).map(drop)
    }

    /// Takes the first steps of a backup: opens the database and has a read transaction for a
    /// moment. Returns a text on the way of a backup, and the bytes that it needs in the scratch
    /// directory.
    ///
    /// A database in WAL mode that nobody has open is not opened: reading it would leave its -wal
    /// and -shm there.
    pub fn rehearse(&self) -> Result<(String, u64)> {
        let path = self.name_in_use()?.path;
        let open_mode = probe::before_reading(&path)?;
        let is_closed = open_mode == OpenMode::Read && !companion(&path, "-shm").exists();
        if is_closed && probe::header(&path)? == (probe::Header::Database { wal: true }) {
            probe::companions_can_be_made(&path)?;
            let size = if self.page_streaming {
                0
            } else {
                self.estimate()
            };
            return Ok((
                "in WAL mode, and no application has it open".to_owned(),
                size,
            ));
        }
        if crashed::is_cut_off(&path) {
            let text = "a crash has cut off a transaction: it is rolled back in a copy in the \
                        scratch directory";
            return Ok((text.to_owned(), self.estimate()));
        }
        let live = Db::open(&path, open_mode)?;
        live.begin("BEGIN", self.lock_timeout.min(Duration::from_secs(5)))?;
        let mode: String = live.pragma("journal_mode")?;
        let size = pages::size(&live)?;
        Ok(match (self.must_copy_first(Some(&mode))?, mode.as_str()) {
            (false, "wal") => (
                "in WAL mode: its pages are streamed while writers go on".to_owned(),
                0,
            ),
            (false, _) => (
                format!(
                    "in journal mode {mode}: its pages are streamed, and writers wait meanwhile"
                ),
                0,
            ),
            (true, _) => (
                format!(
                    "in journal mode {mode}: it is copied to the scratch directory first, then \
                     packed"
                ),
                size,
            ),
        })
    }

    /// Describes what the database holds now, without writing its content anywhere.
    pub fn inspect(&self) -> Result<Dumped> {
        let path = self.name_in_use()?.path;
        let live = Db::open(&path, probe::before_reading(&path)?)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let database = facts::read_settings(&live, &self.path)?;
        let manifest = facts::count_rows(&live)?;
        Ok(Dumped {
            manifest,
            database,
            ..Dumped::default()
        })
    }

    /// Reads pieces from all over the file, for an estimate of how well it compresses. It is read
    /// beside SQLite, so this run must not have it open.
    pub fn sample(&self) -> Result<Vec<u8>> {
        const PIECES: u64 = 32;
        const PIECE: u64 = 64 << 10;
        let claim = Claim::for_plain_file(&self.path)?;
        let context = || format!("reading `{}`", self.path.display());
        let file = companions::open_plain(&self.path).with_context(context)?;
        let found = file.metadata().with_context(context)?;
        if !claim.is_for(&found) {
            // Closing it could drop the locks of a connection of this run.
            std::mem::forget(file);
            return Err(Error::failed(
                "it was replaced by another file at this moment",
            ))
            .with_context(context);
        }
        let mut sample = vec![0; (PIECES * PIECE).min(found.len()) as usize];
        let apart = if found.len() > PIECES * PIECE {
            found.len() / PIECES
        } else {
            PIECE
        };
        for (piece, at) in sample
            .chunks_mut(PIECE as usize)
            .zip((0..).step_by(apart as usize))
        {
            file.read_exact_at(piece, at).with_context(context)?;
        }
        Ok(sample)
    }

    /// Returns the hash of all that a backup would hold now, in hex.
    pub fn sha256(&self) -> Result<String> {
        let path = self.name_in_use()?.path;
        let live = self.open(&path, probe::before_reading(&path)?)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let mut sink = HashSink(Sha256::new());
        pages::stream(&live, &mut sink)?;
        let hash = sink.0.finalize();
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A writer that hashes all that is written to it.
struct HashSink(Sha256);

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
