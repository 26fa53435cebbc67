//! The store that gets copies: whether it is the right one and still there, how long it may take,
//! and which stores lack a copy.

use crate::catalog::{Attempt, Backup, Catalog, ListedBackup};
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::plan::StorePlan;
use crate::retention::PRE_RESTORE;
use crate::store::{self, Access, Location, Store};
use std::sync::Arc;
use std::time::Instant;

/// When the copies of a run that begins now must be made.
pub(super) fn deadline_of(settings: &store::StoreSettings) -> Option<Instant> {
    settings
        .connection
        .deadline
        .map(|time| Instant::now() + time)
}

/// Whether a copy failed because of the other store, so that the next one need not be tried: not
/// where the backup is damaged, or another run is at it.
pub(super) fn is_of_store(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Damaged | Kind::Locked)
}

/// An error where a store of copies is the very store that the backups are in.
pub(super) fn refuse_itself(target: &Location, from: &dyn Store) -> Result<()> {
    if !store::is_same_place(target, from.location()) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the store `{target}` is both where the backups are and where they are to go"
    ))
    .with_hint("a copy is in another place, best on another machine; `--to` or `copies` names it"))
}

/// A store of copies with this name, opened to be written to. It begins anew only where nothing is
/// known of copies there: the mount point of a disk that is away looks like a new store.
pub(super) fn open_target(
    settings: &store::StoreSettings,
    name: &str,
    from: &dyn Store,
) -> Result<Arc<dyn Store>> {
    refuse_itself(&settings.location, from)?;
    if !settings.require_mount && !store::is_marked_at(&settings.location) {
        let known = count_known_copies(&Catalog::read(from, None)?, name, &settings.location);
        if known > 0 {
            return Err(lost_store_error(&settings.location, known));
        }
    }
    store::open(settings, Access::Write)
}

/// How many backups are noted to have been copied to a store at a place.
pub fn count_known_copies(catalog: &Catalog, name: &str, location: &Location) -> u64 {
    let place = location.sha256();
    let is_there = |backup: &&ListedBackup| backup.state.is_copied_to(name, &place);
    catalog.backups().filter(is_there).count() as u64
}

/// The error of a store of copies that is not there any more.
pub fn lost_store_error(location: &Location, copies: u64) -> Error {
    Error::failed(format!(
        "there is no store at `{location}`, to which {} copied before",
        match copies {
            1 => "1 backup was".to_owned(),
            copies => format!("{copies} backups were"),
        }
    ))
    .with_hint(match location.local_path() {
        None => "look whether somebody has removed it".to_owned(),
        Some(root) => format!(
            "is its disk mounted? With `require_mount = true` of the store any disk that is \
             mounted there will do; to begin anew in the directory: {}",
            store::marking_command(root)
        ),
    })
}

/// The stores that are to have a copy of a backup and do not have it, as far as is known here.
pub fn missing_copies<S: Attempt>(
    backup: &Backup<S>,
    in_use: &StorePlan,
    session: &Session,
) -> Vec<String> {
    let settings = session.settings_of(backup.sidecar.source());
    let is_wanted = in_use.configured && backup.good() && backup.sidecar.label() != PRE_RESTORE;
    let stores = session.config.as_ref().map(|config| &config.stores);
    let is_there = |name: &str| {
        let store = stores.and_then(|stores| stores.get(name));
        let place = store.map(|store| store.settings.location.resolved(&session.cwd).sha256());
        place.is_some_and(|place| backup.state.is_copied_to(name, &place))
    };
    let missing = |name: &&String| in_use.name.as_ref() != Some(name) && !is_there(name);
    let wanted = settings.copies.iter().filter(|_| is_wanted);
    wanted.filter(missing).cloned().collect()
}
