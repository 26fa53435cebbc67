//! Changes of what a store remembers of a backup after it was made.

use crate::error::{Error, Kind, Result};
use crate::sidecar::State;
use crate::store::{self, Store};
use std::time::Duration;

/// Changes what is remembered of a backup, under the source's lock.
pub fn change_state(
    store: &dyn Store,
    source: &str,
    id: &str,
    wait: Duration,
    change: impl FnOnce(&mut State),
) -> Result<()> {
    let _lock = store.lock(source, wait)?;
    change_locked_state(store, source, id, change)
}

/// Changes what is remembered of a backup; the caller holds the source's lock.
pub fn change_locked_state(
    store: &dyn Store,
    source: &str,
    id: &str,
    change: impl FnOnce(&mut State),
) -> Result<()> {
    if !store.names(source)?.contains(&store::sidecar_name(id)) {
        return Err(Error::not_found(format!("`{id}` is gone")));
    }
    let name = store::state_name(id);
    let mut state: State = match store.read(source, &name) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Error::failed(format!("the state file of `{id}` is damaged: {error}")))
            .map_err(|error| {
                error.with_hint(format!(
                    "remove `{name}`: what it held, pins and verifications, is \
                                    lost, the backup is not"
                ))
            })?,
        Err(error) if error.kind() == Kind::NotFound => State::default(),
        Err(error) => return Err(error),
    };
    change(&mut state);
    store.replace(source, &name, &state.to_bytes())
}
