//! Whether another store surely has a copy of a backup: it is asked by the backup's name and the
//! bytes of its sidecar. With `require_copy` nothing is removed that is not in every store of
//! copies, and a store that can't be asked has none.

use crate::error::{Error, Kind, Result};
use crate::sidecar::Sidecar;
use crate::store::{self, Access, Store, StoreSettings, names};
use std::sync::Arc;

/// The stores that must have a copy, opened when the first backup is asked for.
pub struct CopyStores {
    /// By its name; why it could not be opened, where it could not be.
    stores: Vec<(String, OpenedStore)>,
}

/// A store, or why it could not be opened.
type OpenedStore = Result<Arc<dyn Store>, String>;

impl CopyStores {
    /// Opens these stores; one that can't be opened has no copy.
    pub fn open(stores: &[(String, StoreSettings)]) -> CopyStores {
        let open = |(name, settings): &(String, StoreSettings)| {
            let opened = store::open(settings, Access::Read);
            (name.clone(), opened.map_err(|error: Error| error.message()))
        };
        CopyStores {
            stores: stores.iter().map(open).collect(),
        }
    }

    /// Says why a backup must stay; `None` where every store has it.
    pub fn obstacle(&self, from: &dyn Store, source: &str, id: &str) -> Option<String> {
        let bytes = match from.read(source, &names::sidecar_name(id)) {
            Ok(bytes) => bytes,
            Err(error) => return Some(error.message()),
        };
        self.stores.iter().find_map(|(name, opened)| {
            let store = match opened {
                Ok(store) => store,
                Err(why) => {
                    return Some(format!("`{name}` could not be asked for its copy: {why}"));
                }
            };
            match check_copy(&**store, source, id, &bytes) {
                Ok(()) => None,
                Err(error) if error.kind() == Kind::NotFound => {
                    Some(format!("not in `{name}` yet"))
                }
                Err(error) => Some(format!("`{name}`: {error}")),
            }
        })
    }
}

/// Checks that a store holds this very backup, whole: its sidecar has these bytes, and its objects
/// are there with their lengths. What is not there is an error of kind `NotFound`.
pub fn check_copy(store: &dyn Store, source: &str, id: &str, sidecar_bytes: &[u8]) -> Result<()> {
    let name = names::sidecar_name(id);
    if store.read(source, &name)? != sidecar_bytes {
        return Err(Error::failed(format!(
            "`{}` is another backup of the same id",
            store.location().object(source, &name)
        ))
        .with_hint(
            "two machines may back up a source of the same name; give each its own prefix",
        ));
    }
    let sidecar = Sidecar::parse(sidecar_bytes)
        .map_err(|why| Error::damaged(format!("its sidecar can't be used: {why}")))?;
    if let Some(dump) = &sidecar.dump {
        let size = store.size(source, &dump.file)?;
        if size != dump.size_bytes {
            return Err(Error::damaged(format!(
                "`{}` has {size} bytes and not {}",
                store.location().object(source, &dump.file),
                dump.size_bytes
            )));
        }
    }
    if let Some(list) = sidecar.contents() {
        store.size(source, &list.file)?;
    }
    Ok(())
}
