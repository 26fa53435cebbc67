//! The lock of a source, and the debris that is removed under it.

use super::Observer;
use crate::error::Result;
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
    })?;
    for name in swept {
        observer.detail(format!(
            "{source}: removed `{name}`, left by a run that was killed"
        ));
    }
    Ok(lock)
}
