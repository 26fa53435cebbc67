//! Pinning: whether pruning may ever remove a backup.

use super::events::add_event;
use super::{Observer, Session};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::sidecar::Change;
use std::time::Duration;

/// Which backups are pinned or unpinned.
#[derive(Debug)]
pub struct PinRequest {
    /// Names of backups.
    pub backups: Vec<String>,
    /// Whether they are pinned from now on.
    pub pinned: bool,
}

/// Pins or unpins backups, all of them or, where a name is unknown, none; gives their ids.
pub fn pin_backups(
    request: &PinRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let store = session.changing()?;
    let catalog = Catalog::read(&*store, None)?;
    let mut wanted = Vec::new();
    for name in &request.backups {
        session.refuse_group(name)?;
        let backup = catalog.resolve(name, session.now)?;
        wanted.push((backup.sidecar.source.to_string(), backup.id().to_owned()));
    }
    let wait = session.lock_wait.max(Duration::from_secs(10));
    let pinned = request.pinned;
    for (source, id) in &wanted {
        let change = match pinned {
            true => Change::Pinned,
            false => Change::Unpinned,
        };
        // An event needs no lock. But a cleanup that has looked already must not remove what is
        // said to be pinned.
        let _lock = store.lock(source, wait)?;
        add_event(&*store, source, id, change)?;
        let done = if pinned { "pinned" } else { "unpinned" };
        observer.line(format!("{done} {id}"));
    }
    Ok(wanted.into_iter().map(|(_, id)| id).collect())
}
