//! The old content of a database that a restore is about to replace, as a source of its own: the
//! restore holds the lock already, and nobody else could read beside it.

use super::description::describe;
use super::{OnDamage, ScratchCopy};
use crate::engine::sqlite::{Db, facts, pages};
use crate::engine::{Dumped, Source};
use crate::error::Result;
use std::io::Write;
use std::path::Path;

/// A database that a restore has locked. Its old content is read through the connection that holds
/// the lock.
pub struct LockedSource<'a> {
    db: &'a Db,
    scratch_dir: &'a Path,
}

impl<'a> LockedSource<'a> {
    /// A source of the content that the transaction of `db` sees.
    pub fn new(db: &'a Db, scratch_dir: &'a Path) -> Self {
        LockedSource { db, scratch_dir }
    }
}

impl Source for LockedSource<'_> {
    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        let database = facts::read_settings(self.db, self.db.path())?;
        if pages::available(self.db) {
            pages::stream(self.db, out)?;
        } else {
            let copy = ScratchCopy::reserve(self.scratch_dir, pages::size(self.db)?)?;
            pages::copy_by_backup_api(self.db, &copy.path)?;
            pages::send_file(&copy.path, out)?;
        }
        describe(self.db, database, OnDamage::Warn)
    }

    fn estimate(&self) -> u64 {
        pages::size(self.db).unwrap_or(0)
    }
}
