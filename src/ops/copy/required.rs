//! `require_copy`: nothing is removed here that is not in every store of copies. Each store is asked
//! by the backup's name and the hash of its sidecar; what can't be asked is not there.

use super::check_copy;
use crate::error::{Error, Kind, Result};
use crate::store::{self, Access, Store, StoreSettings, names};
use std::sync::Arc;

/// The stores that must have a copy, opened when the first backup is asked for.
pub struct CopyStores {
    stores: Vec<(String, Result<Arc<dyn Store>, String>)>,
}

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
