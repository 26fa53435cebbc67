//! Which databases this process has open, by device and inode.
//!
//! POSIX drops a process's locks on a file as soon as *any* descriptor of that file is closed. A
//! header read in one thread so let a foreign write into the snapshot of another. Therefore nothing
//! but SQLite opens a database, its -wal or its -shm while a connection is open anywhere in the
//! process, and every other reader asks here first.

use crate::error::{Context, Error, Result};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection waits for a plain reader, which may be copying a large file.
const PATIENCE: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(600)
};

/// Device and inode.
pub type Key = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Connections(u32),
    Readers(u32),
}

static OPEN: Mutex<BTreeMap<Key, Open>> = Mutex::new(BTreeMap::new());

fn table() -> MutexGuard<'static, BTreeMap<Key, Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to open a file in one of the two ways, for as long as it lives.
#[derive(Debug)]
pub struct Claim {
    key: Key,
}

impl Claim {
    /// For a SQLite connection; any number of them may be open at once. A plain reader in another
    /// thread is waited for: it is mostly one that looks at a file's first bytes.
    pub fn connection(path: &Path) -> Result<Claim> {
        let key = key_of(
            &path
                .metadata()
                .with_context(|| format!("opening the database `{}`", path.display()))?,
        );
        Claim::connection_to(key, path)
    }

    /// The same for a file whose device and inode are known; `path` is for messages.
    pub fn connection_to(key: Key, path: &Path) -> Result<Claim> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Open::Connections(count) = table().entry(key).or_insert(Open::Connections(0)) {
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

    /// For a plain `open()` of a file whose device and inode are known; `None` while a connection
    /// to it is open.
    pub fn reading(key: Key) -> Option<Claim> {
        match table().entry(key).or_insert(Open::Readers(0)) {
            Open::Readers(count) => *count += 1,
            Open::Connections(_) => return None,
        }
        Some(Claim { key })
    }

    /// For a plain `open()` of a database's file, or of its -wal, -shm or -journal: refused while a
    /// connection is open.
    pub fn plain(path: &Path) -> Result<Claim> {
        let database = base_of(path);
        let found = database.metadata().or_else(|_| path.metadata());
        let key = key_of(&found.with_context(|| format!("opening `{}`", path.display()))?);
        let mut table = table();
        match table.entry(key).or_insert(Open::Readers(0)) {
            Open::Readers(count) => *count += 1,
            Open::Connections(_) => {
                return Err(Error::failed(format!(
                    "`{}` is open as a database in this run",
                    database.display()
                )));
            }
        }
        Ok(Claim { key })
    }
}

impl Claim {
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

/// The same by device and inode.
pub fn is_connected(key: Key) -> bool {
    matches!(table().get(&key), Some(Open::Connections(_)))
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = table();
        if let Some(Open::Connections(count) | Open::Readers(count)) = table.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.key);
            }
        }
    }
}

pub fn key_of(found: &Metadata) -> Key {
    (found.dev(), found.ino())
}

/// The database that a companion file belongs to, or the path itself.
fn base_of(path: &Path) -> PathBuf {
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
        let first = Claim::connection(&path).unwrap();
        let second = Claim::connection(&path).unwrap();
        for name in ["a.db", "b.db", "a.db-wal"] {
            assert!(Claim::plain(&dir.path().join(name)).is_err(), "{name}");
        }
        drop(first);
        assert!(Claim::plain(&path).is_err());
        drop(second);
        let reader = Claim::plain(&path).unwrap();
        assert!(Claim::connection(&path).is_err());
        drop(reader);
        assert!(Claim::connection(&path).is_ok());
    }
}
