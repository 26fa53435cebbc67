//! One writer per source: an flock on `<store>/<source>/.lock`, which the system releases whatever
//! becomes of its holder.

use crate::error::{Context, Error, Kind, Result};
use crate::interrupt;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Wipes the text: arguments of a run that has ended are nobody's business, and a store may be
    /// copied elsewhere.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// What the lock's file says of its holder: for the message, never for a decision.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    command: String,
    started_at: DateTime<Utc>,
}

impl Lock {
    /// Takes the lock `path`, waiting for it as long as `wait`; `what` names what is locked, for
    /// the error of kind [`Kind::Locked`].
    pub fn take(path: &Path, what: &str, wait: Duration) -> Result<Lock> {
        let mut file = open(path)?;
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                // Removed while it was held, it locks nothing any more: the next one has made
                // another.
                Ok(()) if !is_at(&file, path)? => file = open(path)?,
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking `{}`", path.display()));
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(held(&mut file, what));
                }
                Err(TryLockError::WouldBlock) => {
                    interrupt::check()?;
                    std::thread::sleep(Duration::from_millis(50).min(wait));
                }
            }
        }
        // A URL may hold a password.
        let shown = |word: String| {
            if word.contains("://") {
                "…".to_owned()
            } else {
                word
            }
        };
        let arguments: Vec<String> = std::env::args_os()
            .skip(1)
            .take(9)
            .map(|word| shown(word.to_string_lossy().into()))
            .collect();
        let command = format!("dbbackup {}", arguments.join(" "));
        let holder = Holder {
            pid: std::process::id(),
            command,
            started_at: Utc::now(),
        };
        let text = serde_json::to_vec(&holder).unwrap_or_default();
        // The text is a courtesy: on a full disk the lock holds all the same.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text));
        Ok(Lock { file })
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // No link: whoever the directory belongs to must not choose what is written to.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
        .open(path)
        .with_context(|| format!("opening the lock `{}`", path.display()))
}

/// Whether the file is still what its path names.
fn is_at(file: &File, path: &Path) -> Result<bool> {
    let key = |found: std::fs::Metadata| (found.dev(), found.ino());
    match path.symlink_metadata() {
        Ok(found) => Ok(key(found) == key(file.metadata()?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(error).with_context(|| format!("looking at the lock `{}`", path.display()))
        }
    }
}

fn held(file: &mut File, what: &str) -> Error {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let by = match serde_json::from_str::<Holder>(&text) {
        Ok(holder) => {
            format!(
                " by pid {} (`{}`, since {})",
                holder.pid,
                holder.command,
                crate::units::stamp(holder.started_at)
            )
        }
        Err(_) => String::new(),
    };
    Error::new(Kind::Locked, format!("{what} is locked{by}"))
        .with_hint("wait for that run to end, or let this one wait: `--lock-wait 10m`")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_removed_while_it_was_held_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let take = |wait: u64| Lock::take(&path, "it", Duration::from_secs(wait));
        let first = take(0).unwrap();
        std::thread::scope(|scope| {
            // It has the file open that is about to be removed.
            let waiting = scope.spawn(|| take(60));
            let opened = || {
                std::fs::read_dir("/proc/self/fd")
                    .unwrap()
                    .flatten()
                    .filter(|fd| {
                        fd.path()
                            .canonicalize()
                            .is_ok_and(|to| to == path.canonicalize().unwrap())
                    })
                    .count()
            };
            while opened() < 2 {
                std::thread::yield_now();
            }
            std::fs::remove_file(&path).unwrap();
            let second = take(0).unwrap();
            drop(first);
            assert_eq!(take(0).unwrap_err().kind(), Kind::Locked);
            assert!(!waiting.is_finished());
            drop(second);
            assert!(waiting.join().unwrap().is_ok());
        });
        assert!(take(0).is_ok());
    }
}
