//! The lock of a source, and the debris that is removed under it.

use super::Observer;
use crate::error::{Kind, Result};
use crate::lock::Lock;
use crate::sidecar::Sidecar;
use crate::store::Store;
use std::time::Duration;

/// Takes a source's lock, where the store has any, and removes what a killed run left.
pub fn lock_and_sweep(
    store: &dyn Store,
    source: &str,
    wait: Duration,
    observer: &dyn Observer,
) -> Result<Option<Lock>> {
    let lock = store.lock(source, wait)?;
    let swept = store.sweep(source, &|bytes| {
        Sidecar::parse(bytes)
            .map(|sidecar| sidecar.files())
            .unwrap_or_default()
    });
    let swept = match swept {
        Ok(swept) => swept,
        // Without a lock nobody waits for what is left. A right that is missing there must not keep
        // every later backup from being made.
        Err(error) if lock.is_none() && error.kind() != Kind::Interrupted => {
            observer.warn(format!(
                "{source}: what a killed run left in `{}` could not be removed: {error}",
                store.name()
            ));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    for name in swept {
        observer.detail(format!(
            "{source}: removed `{name}`, left by a run that was killed"
        ));
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::Recorder;
    use crate::store::{self, DeletePermission, RemovalLimit, crash_after, store_in_memory};
    use crate::store::{Access, Location};

    #[test]
    fn debris_elsewhere_keeps_no_backup_from_being_made() {
        let heard = Recorder::default();
        let dir = tempfile::tempdir().unwrap();
        let location = Location::from(dir.path().join("store"));
        let local = store::open(&location.into(), Access::Write).unwrap();
        let far = store_in_memory(DeletePermission::Allowed, RemovalLimit::default());
        let sweep = |store: &dyn Store| {
            // Each of its calls fails.
            crash_after(Some(0));
            let swept = lock_and_sweep(store, "app", Duration::ZERO, &heard);
            crash_after(None);
            swept
        };
        assert!(sweep(&*far).unwrap().is_none());
        assert!(heard.has_heard("app: what a killed run left in `s3://bucket/web1`"));
        drop(lock_and_sweep(&*local, "app", Duration::ZERO, &heard).unwrap());
        std::fs::write(
            dir.path().join("store/app/.app_x_20261120T020000Z.json"),
            "x",
        )
        .unwrap();
        assert!(sweep(&*local).is_err());
    }
}
