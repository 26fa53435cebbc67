//! The content of a database without a manifest, for those who store it as one file among others:
//! a database in a tree of files.

use super::SqliteSource;
use crate::engine::sqlite::names::NameInUse;
use crate::engine::sqlite::strangers::{self, TornReadCheck};
use crate::engine::sqlite::{Db, OpenMode, crashed, facts, pages, probe};
use crate::error::{Kind, Result};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The facts of a database whose content was written without its manifest.
#[derive(Debug)]
pub struct StreamedDatabase {
    /// The journal mode of the live database.
    pub journal_mode: String,
    /// The name by which the database was read.
    pub path: PathBuf,
    /// A warning about that name.
    pub warning: Option<String>,
    /// The damage in the database itself, in words.
    pub damage: Option<String>,
}

impl SqliteSource {
    /// Writes the content, without counting its rows, to the writer that `begin` returns for the
    /// size in bytes.
    pub fn stream<'w>(
        &self,
        begin: impl FnOnce(u64) -> Result<&'w mut dyn Write>,
    ) -> Result<StreamedDatabase> {
        let streamed = self.try_stream(begin);
        streamed.map_err(|error| match &self.directory {
            Some(directory) => {
                error.renamed(directory_of(&self.path), directory_of(&directory.shown))
            }
            None => error,
        })
    }

    fn try_stream<'w>(
        &self,
        begin: impl FnOnce(u64) -> Result<&'w mut dyn Write>,
    ) -> Result<StreamedDatabase> {
        let NameInUse { path, warning } = self.name_in_use()?;
        let mode = probe::before_reading(&path)?;
        strangers::wait_for_them(&path, self.lock_timeout)?;
        if let Some(copy) = self.copy_rolled_back(&path)? {
            pages::send_file(&copy.path, begin(copy.size()?)?)?;
            let db = Db::open(&copy.path, OpenMode::Immutable)?;
            let warning = Some(format!("`{}`: {}", path.display(), crashed::WARNING));
            return Ok(StreamedDatabase {
                journal_mode: db.pragma("journal_mode")?,
                path,
                warning,
                damage: damage_in(&db)?,
            });
        }
        let live = self.open(&path, mode)?;
        live.begin("BEGIN", self.lock_timeout)?;
        let journal_mode: String = live.pragma("journal_mode")?;
        let torn_read = TornReadCheck::begin(&live, mode, Some(&journal_mode))?;
        let damage = if self.must_copy_first(Some(&journal_mode))? {
            let copy = self.copy(&live)?;
            torn_read.verify(|| self.open(&path, mode))?;
            drop(live);
            pages::send_file(&copy.path, begin(copy.size()?)?)?;
            damage_in(&Db::open(&copy.path, OpenMode::Immutable)?)?
        } else {
            let out = begin(pages::size(&live)?)?;
            pages::stream(&live, out)?;
            torn_read.verify(|| self.open(&path, mode))?;
            damage_in(&live)?
        };
        Ok(StreamedDatabase {
            journal_mode,
            path,
            warning,
            damage,
        })
    }
}

/// The directory in which a path lies.
fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Describes the damage of a database whose content is written already. A database that can't be
/// examined counts as damaged.
fn damage_in(db: &Db) -> Result<Option<String>> {
    match facts::find_flaws(db) {
        Ok(flaws) => Ok((!flaws.damage.is_empty()).then(|| facts::first_few(&flaws.damage))),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(error) => Ok(Some(error.message())),
    }
}
