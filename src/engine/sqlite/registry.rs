//! The databases that this process has open, by device and inode.
//!
//! POSIX drops a process's locks on a file as soon as *any* descriptor of that file is closed. So a
//! header that one thread read let a foreign write into the snapshot of another thread. Therefore
//! nothing but SQLite opens a database, its -wal or its -shm while a connection is open anywhere in
//! the process, and every other reader asks here first.

use crate::error::{Context, Error, Result};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time that a connection waits for a plain reader, which may be copying a large file.
const PATIENCE: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(600)
};

/// A file, whatever its name: its device and inode.
pub type FileKey = (u64, u64);

/// The number of those who have a file open, who are all of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenCount {
    Connections(u32),
    Readers(u32),
}

static OPEN_FILES: Mutex<BTreeMap<FileKey, OpenCount>> = Mutex::new(BTreeMap::new());

fn open_files() -> MutexGuard<'static, BTreeMap<FileKey, OpenCount>> {
    OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to open a file in one of the two ways, as long as the claim lives.
#[derive(Debug)]
pub struct Claim {
    key: FileKey,
}

impl Claim {
    /// Claims a file for a SQLite connection; any number of them may be open at once. This waits
    /// for a plain reader in another thread, which mostly reads a file's first bytes only.
    pub fn for_connection(path: &Path) -> Result<Claim> {
        let key = key_of(
            &path
                .metadata()
                .with_context(|| format!("opening the database `{}`", path.display()))?,
        );
        Claim::for_connection_to(key, path)
    }

    /// Claims a file with a known key for a SQLite connection; `path` is for messages.
    pub fn for_connection_to(key: FileKey, path: &Path) -> Result<Claim> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let OpenCount::Connections(count) =
                open_files().entry(key).or_insert(OpenCount::Connections(0))
            {
                *count += 1;
                return Ok(Claim { key });
            }
            if Instant::now() >= deadline {
                return Err(Error::failed(format!(
                    "`{}` is being read as a plain file by this run",
                    path.display()
                )));
            }
            crate::interrupt::check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Claims a file with a known key for a plain `open()`; `None` while a connection to it is
    /// open.
    pub fn for_reading(key: FileKey) -> Option<Claim> {
        match open_files().entry(key).or_insert(OpenCount::Readers(0)) {
            OpenCount::Readers(count) => *count += 1,
            OpenCount::Connections(_) => return None,
        }
        Some(Claim { key })
    }

    /// Claims a database's file, or its -wal, -shm or -journal, for a plain `open()`. It is an
    /// error while a connection is open.
    pub fn for_plain_file(path: &Path) -> Result<Claim> {
        let database = existing_database_of(path);
        let found = database.metadata().or_else(|_| path.metadata());
        let key = key_of(&found.with_context(|| format!("opening `{}`", path.display()))?);
        match open_files().entry(key).or_insert(OpenCount::Readers(0)) {
            OpenCount::Readers(count) => *count += 1,
            OpenCount::Connections(_) => {
                return Err(Error::failed(format!(
                    "`{}` is open as a database in this run",
                    database.display()
                )));
            }
        }
        Ok(Claim { key })
    }

    /// Whether the claim is for this very file.
    pub fn is_for(&self, found: &Metadata) -> bool {
        self.key == key_of(found)
    }
}

/// Whether this process has a connection to the database open.
pub fn is_open(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| is_connected(key_of(&found)))
}

/// Whether this process has a connection to the database with this key open.
pub fn is_connected(key: FileKey) -> bool {
    matches!(open_files().get(&key), Some(OpenCount::Connections(_)))
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut files = open_files();
        if let Some(OpenCount::Connections(count) | OpenCount::Readers(count)) =
            files.get_mut(&self.key)
        {
            *count -= 1;
            if *count == 0 {
                files.remove(&self.key);
            }
        }
    }
}

/// The key of the file that has this metadata.
pub fn key_of(found: &Metadata) -> FileKey {
    (found.dev(), found.ino())
}

/// The existing database to which a companion file belongs, or the path itself.
fn existing_database_of(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    let base = ["-wal", "-shm", "-journal"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    base.map(PathBuf::from)
        .filter(|base| base.exists())
        .unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_readers_and_connections_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, b"x").unwrap();
        std::fs::hard_link(&path, dir.path().join("b.db")).unwrap();
        std::fs::write(dir.path().join("a.db-wal"), b"x").unwrap();
        let first = Claim::for_connection(&path).unwrap();
        let second = Claim::for_connection(&path).unwrap();
        for name in ["a.db", "b.db", "a.db-wal"] {
            assert!(
                Claim::for_plain_file(&dir.path().join(name)).is_err(),
                "{name}"
            );
        }
        drop(first);
        assert!(Claim::for_plain_file(&path).is_err());
        drop(second);
        let reader = Claim::for_plain_file(&path).unwrap();
        assert!(Claim::for_connection(&path).is_err());
        drop(reader);
        assert!(Claim::for_connection(&path).is_ok());
    }
}
