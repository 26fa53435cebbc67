//! Scratch directories: private, swept by the next run if their owner was killed, gone when
//! dropped.
//!
//! Each directory is itself locked (flock) by its owner; one whose lock is free belongs to nobody.

use crate::durable;
use crate::error::{Context, Error, Result};
use crate::units;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A directory of mode 0700 that vanishes with the value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes one in `parent`, whose file system must have `needed` free bytes. `prefix` names it;
    /// stale ones of the same prefix go.
    pub fn new(parent: &Path, prefix: &str, needed: u64, purpose: &str) -> Result<Scratch> {
        sweep(parent, prefix);
        Scratch::unswept(parent, prefix, needed, purpose)
    }

    /// The same, and stale ones stay: they are the caller's to look into.
    pub fn unswept(parent: &Path, prefix: &str, needed: u64, purpose: &str) -> Result<Scratch> {
        let context = || {
            format!(
                "making a scratch directory in `{}` for {purpose}",
                parent.display()
            )
        };
        if !parent.is_dir() {
            return Err(Error::failed(format!(
                "the scratch directory `{}` for {purpose} is not there",
                parent.display()
            ))
            .with_hint("make it, or set `scratch_dir` in [backup]"));
        }
        let free = durable::free_space(parent)?;
        if free < needed {
            return Err(too_little(&parent.display(), needed, free, purpose));
        }
        // Another run's sweep may come between the making and the locking; then there is another
        // try.
        for _ in 0..10 {
            let path = parent.join(format!("{prefix}{}", uuid::Uuid::new_v4().simple()));
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(context)?;
            forget_inherited_rights(&path);
            let lock = File::open(&path).ok().filter(|dir| dir.try_lock().is_ok());
            if let Some(lock) = lock.filter(|_| path.is_dir()) {
                return Ok(Scratch { path, _lock: lock });
            }
            let _ = std::fs::remove_dir(&path);
        }
        Err(Error::failed("it can't be locked")).with_context(context)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, as dropping does.
    pub fn remove(self) {}

    /// Lets go of it and leaves it there, for the next run's sweep.
    pub fn leave(mut self) {
        // An empty path is nothing to remove; the lock goes with the value.
        self.path = PathBuf::new();
    }

    /// The name of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A directory above may give whatever is made in it to others, by its default ACL.
fn forget_inherited_rights(directory: &Path) {
    #[cfg(target_os = "linux")]
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        let _ = rustix::fs::removexattr(directory, name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = directory;
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let _ = remove_all(&self.path);
    }
}

/// Removes a directory with all that is in it, also directories that nobody may write to.
pub fn remove_all(path: &Path) -> std::io::Result<()> {
    let denied = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    // From the top down: only then can what is below be seen.
    for entry in walkdir::WalkDir::new(path)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_dir())
    {
        let _ = std::fs::set_permissions(
            entry.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        );
    }
    std::fs::remove_dir_all(path).map_err(|_| denied)
}

/// The error of a place that is too small: names the bytes that are missing.
pub fn too_little(place: &impl std::fmt::Display, needed: u64, free: u64, purpose: &str) -> Error {
    Error::failed(format!(
        "too little space in `{}` for {purpose}: {} needed, {} free, {} missing",
        place,
        units::size(needed),
        units::size(free),
        units::size(needed.saturating_sub(free))
    ))
}

/// Removes the scratch directories of this prefix that killed runs left in `parent`; what can't be
/// removed stays.
pub fn sweep(parent: &Path, prefix: &str) {
    sweep_after(parent, prefix, |_| {});
}

/// The same; `before` sees each directory that is about to be removed.
pub fn sweep_after(parent: &Path, prefix: &str, before: impl Fn(&Path)) {
    sweep_if(parent, prefix, |path| {
        before(path);
        true
    });
}

/// The same; a directory that `may` says no to stays.
pub fn sweep_if(parent: &Path, prefix: &str, mut may: impl FnMut(&Path) -> bool) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(prefix).is_some_and(|rest| {
                rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        });
        let private = std::fs::symlink_metadata(entry.path())
            .is_ok_and(|found| found.is_dir() && found.uid() == me);
        if !ours || !private {
            continue;
        }
        let lock = File::open(entry.path())
            .ok()
            .filter(|dir| dir.try_lock().is_ok());
        if lock.is_some() && may(&entry.path()) {
            let _ = remove_all(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_when_dropped_and_swept_when_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let kept = Scratch::new(parent.path(), ".dbbackup-", 0, "a test").unwrap();
        let killed = Scratch::new(parent.path(), ".dbbackup-", 0, "a test").unwrap();
        std::fs::write(killed.join("data"), b"x").unwrap();
        let left = killed.path.clone();
        // As after a SIGKILL: the lock is released, the directory stays.
        drop(unsafe_free_lock(killed));
        assert!(left.exists());
        std::fs::create_dir(parent.path().join(".dbbackup-mine")).unwrap();
        sweep(parent.path(), ".dbbackup-");
        assert!(
            !left.exists() && kept.path.exists() && parent.path().join(".dbbackup-mine").exists()
        );
        let path = kept.path.clone();
        drop(kept);
        assert!(!path.exists());
    }

    fn unsafe_free_lock(scratch: Scratch) -> File {
        let lock = scratch._lock.try_clone().unwrap();
        lock.unlock().unwrap();
        std::mem::forget(scratch);
        lock
    }

    #[test]
    fn too_little_space_names_what_is_missing() {
        let parent = tempfile::tempdir().unwrap();
        let error = Scratch::new(parent.path(), ".x-", u64::MAX / 2, "a drill").unwrap_err();
        assert!(
            error.message().contains("for a drill: ") && error.message().ends_with("missing"),
            "{error}"
        );
    }
}
