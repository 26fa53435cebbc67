//! SQLite databases in a tree: each goes through SQLite into the archive, as of one moment, and its
//! log and journal are not saved beside it.

use super::{Archiver, full_path};
use crate::engine::files::archive::ArchiveWriter;
use crate::engine::files::listing::{ListLine, MemberNote, to_hex};
use crate::engine::files::member::{Member, MemberKind};
use crate::engine::files::meta;
use crate::engine::files::place::TreePlace;
use crate::engine::files::save::{self, OpenOutcome};
use crate::engine::files::source::issues::Issue;
use crate::engine::files::sqlite::{JOURNAL_MAGIC, WAL_MAGIC, looks_like_a_database, starts_with};
use crate::engine::files::walk::TreeEntry;
use crate::engine::sqlite::source::StreamedDatabase;
use crate::engine::sqlite::{Spool, SqliteSource};
use crate::error::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Archiver<'_> {
    /// Saves a SQLite database, as of one point in time, as a plain single file.
    pub(super) fn save_database(&mut self, found: &TreeEntry, key: (u64, u64)) -> Result<()> {
        let (place, shown) = (&found.place, found.place.path());
        let source = SqliteSource::new(
            shown,
            match self.plan.off_disk {
                true => Spool::Forbidden,
                false => Spool::Auto,
            },
            &self.plan.scratch_dir,
            self.plan.lock_timeout,
        )
        .through_directory(place.openable_path(), place.dir(), key, shown)
        .with_other_names(self.names_with_log(key));
        let mut begun: Option<Member> = None;
        let mut hash = Sha256::new();
        let xattrs = found.place.xattrs();
        let (ids, old) = (&self.ids, self.old.take());
        let mut out = HashingWriter {
            hash: &mut hash,
            out: &mut self.archive,
        };
        let streamed = source.stream(|size| {
            let kind = MemberKind::File { size, parts: None };
            let member = meta::member(&found.name, kind, &found.metadata, xattrs, ids);
            out.out.begin(begun.insert(member), old.as_ref())?;
            Ok(&mut out as &mut dyn Write)
        });
        match (streamed, begun) {
            (Ok(streamed), Some(member)) => {
                self.finish_database(found, key, &member, hash, streamed)
            }
            (Err(error), _) if error.kind() == Kind::Interrupted => Err(error),
            (Err(error), Some(member)) => {
                self.finish_cut_database(found, key, &member, hash, &error)
            }
            (Err(error), None) => self.save_broken_database(found, key, error),
            (Ok(_), None) => Err(Error::failed(format!(
                "nothing came of the SQLite database `{}`",
                found.place.path().display()
            ))),
        }
    }

    /// Ends the member of a database that was written as a whole, and lists it.
    fn finish_database(
        &mut self,
        found: &TreeEntry,
        key: (u64, u64),
        member: &Member,
        hash: Sha256,
        streamed: StreamedDatabase,
    ) -> Result<()> {
        let stored = self.archive.end()?;
        let mut line =
            ListLine::from_member(member, Some(to_hex(&hash.finalize()))).with_stored(stored);
        line.sqlite = Some(streamed.journal_mode);
        self.tree.databases += 1;
        let leaf = streamed.path.strip_prefix(found.place.openable_dir_path());
        let read_by = leaf.map_or_else(
            |_| streamed.path.clone(),
            |leaf| found.place.sibling(leaf.as_os_str()).path().to_path_buf(),
        );
        if read_by != found.place.path() {
            self.databases
                .insert(found.place.path().to_path_buf(), false);
        }
        self.databases.insert(read_by, true);
        self.warnings.extend(
            streamed
                .warning
                .map(|text| with_shown_paths(&text, &found.place)),
        );
        if let Some(damage) = streamed.damage {
            self.issues.add(
                Issue::Damaged,
                format!("{} ({damage})", full_path(&found.name)),
            );
        }
        self.count_file(found, key, member.stored_size());
        line.write(&mut self.list)
    }

    /// Ends the member of a database that could not be read to its end. The part that was written
    /// can't be taken back: the rest is zeros, and there is a warning.
    fn finish_cut_database(
        &mut self,
        found: &TreeEntry,
        key: (u64, u64),
        member: &Member,
        mut hash: Sha256,
        error: &Error,
    ) -> Result<()> {
        let left = self.archive.left();
        self.archive.fill()?;
        let stored = self.archive.end()?;
        save::hash_zeros(&mut hash, left)?;
        let mut line =
            ListLine::from_member(member, Some(to_hex(&hash.finalize()))).with_stored(stored);
        (line.note, line.why) = (Some(MemberNote::Cut), Some(error.message()));
        self.issues.add(
            Issue::Partial,
            format!("{} ({error})", full_path(&found.name)),
        );
        self.count_file(found, key, member.stored_size());
        line.write(&mut self.list)
    }

    /// Saves a database that SQLite refuses as the bytes that it has, unless it only can't be read
    /// at the moment.
    fn save_broken_database(
        &mut self,
        found: &TreeEntry,
        key: (u64, u64),
        error: Error,
    ) -> Result<()> {
        self.databases
            .insert(found.place.path().to_path_buf(), false);
        // After a crash of its application nobody writes to it, and with its journal it is whole.
        let crashed = starts_with(&found.place.with_suffix("-journal"), &[JOURNAL_MAGIC]);
        if error.kind() != Kind::Damaged && !crashed {
            let note = if found.place.meta().is_err() {
                MemberNote::Vanished
            } else {
                MemberNote::Unreadable
            };
            return self.list_missing(&found.name, note, Some(error.into()));
        }
        self.warnings.push(format!(
            "`{}` looks like a SQLite database, and is saved with its log or journal as the files \
             that they are: {error}",
            full_path(&found.name)
        ));
        match save::open_file(found, &mut self.buffer) {
            OpenOutcome::Opened(mut opened) => self.save_plain(&mut opened, found, key),
            OpenOutcome::Vanished => self.list_missing(&found.name, MemberNote::Vanished, None),
            OpenOutcome::Refused(error) => {
                self.list_missing(&found.name, MemberNote::Unreadable, Some(error))
            }
            OpenOutcome::Database => {
                self.list_missing(&found.name, MemberNote::Unreadable, Some(error.into()))
            }
        }
    }

    /// Whether a file is the log, index or journal of a SQLite database and is not saved itself.
    ///
    /// What is in it was saved with the database if that went through SQLite. Beside a database
    /// that was saved as it is, such a file is saved too, or the database would lack it. Beside one
    /// that was left out, it is left out.
    pub(super) fn is_part_of_database(&self, found: &TreeEntry) -> bool {
        let name = found.place.leaf().as_bytes();
        let companions: [(&str, &[&[u8]]); 3] = [
            ("-wal", &[WAL_MAGIC]),
            ("-shm", &[]),
            ("-journal", &[JOURNAL_MAGIC, &[0; 8]]),
        ];
        companions.iter().any(|(suffix, magic)| {
            let Some(database) = name.strip_suffix(suffix.as_bytes()) else {
                return false;
            };
            let database = found.place.sibling(OsStr::from_bytes(database));
            match self.databases.get(database.path()) {
                Some(through_sqlite) => *through_sqlite,
                // The walk did not find it: it is excluded, or no database at all.
                None => {
                    let looks_like_companion = found.metadata.size() == 0
                        || magic.is_empty()
                        || starts_with(&found.place, magic);
                    looks_like_companion && looks_like_a_database(&database)
                }
            }
        })
    }

    /// The names of a file that have a log, wherever in the tree they are. The database is read by
    /// one of those.
    fn names_with_log(&self, key: (u64, u64)) -> Vec<PathBuf> {
        self.logs.get(&key).cloned().unwrap_or_default()
    }
}

/// A writer into the archive that hashes what it writes.
struct HashingWriter<'a, 'b> {
    hash: &'a mut Sha256,
    out: &'a mut ArchiveWriter<'b>,
}

impl Write for HashingWriter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces the paths that the SQLite engine was given by those that people know.
fn with_shown_paths(text: &str, place: &TreePlace) -> String {
    let dir = place.path().parent().unwrap_or(Path::new("/"));
    text.replace(
        &place.openable_dir_path().display().to_string(),
        &dir.display().to_string(),
    )
}
