//! Whether another store surely has a copy of a backup: it is asked by the backup's name and the
//! bytes of its sidecar. With `require_copy` nothing is removed that is not in every store of
//! copies, and a store that can't be asked has none.

use super::content::measure_bytes;
use crate::catalog;
use crate::error::{Error, Kind, Result};
use crate::sidecar::Sidecar;
use crate::store::{self, Access, Store, StoreSettings, names};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The stores that must have a copy, opened when the first backup is asked for.
pub struct CopyStores {
    /// By its name; why it could not be opened, where it could not be.
    stores: Vec<(String, OpenedStore)>,
    /// What a store said that could not be asked any more: it is not asked again.
    silent: RefCell<HashMap<String, String>>,
}

/// How long is tried to ask a store for its copies: removing something has time until the next run.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store, or why it could not be opened.
type OpenedStore = Result<Arc<dyn Store>, String>;

impl CopyStores {
    /// Opens these stores; one that can't be opened has no copy.
    pub fn open(stores: &[(String, StoreSettings)]) -> CopyStores {
        let open = |(name, settings): &(String, StoreSettings)| {
            let mut settings = settings.clone();
            settings.connection.retry_for = settings.connection.retry_for.min(PATIENCE);
            let opened = store::open(&settings, Access::Read);
            (name.clone(), opened.map_err(|error: Error| error.message()))
        };
        CopyStores {
            stores: stores.iter().map(open).collect(),
            silent: RefCell::default(),
        }
    }

    /// Says why a backup must stay; `None` where every store has it.
    pub fn obstacle(&self, from: &dyn Store, source: &str, id: &str) -> Option<String> {
        let bytes = match from.read(source, &names::sidecar_name(id)) {
            Ok(bytes) => bytes,
            Err(error) => return Some(error.message()),
        };
        let state = match catalog::read_state(from, source, id) {
            Ok(state) => state,
            Err(error) => return Some(error.message()),
        };
        self.stores.iter().find_map(|(name, opened)| {
            let store = match opened {
                Ok(store) => store,
                Err(why) => {
                    return Some(format!("`{name}` could not be asked for its copy: {why}"));
                }
            };
            if store::is_same_place(store.location(), from.location()) {
                return Some(format!("`{name}` is this very store, and no copy of it"));
            }
            if let Some(why) = self.silent.borrow().get(name) {
                return Some(why.clone());
            }
            let known = state.copies.get(name);
            let known = known.and_then(|last| last.sidecar_sha256.as_deref());
            match check_copy(&**store, source, id, &bytes, known) {
                Ok(Some(_)) => None,
                Ok(None) => Some(format!(
                    "`{name}` has a copy in another form, and nothing here proves it to be of this \
                     one"
                )),
                Err(error) if error.kind() == Kind::NotFound => {
                    Some(format!("not in `{name}` yet"))
                }
                Err(error) => {
                    let why = format!("`{name}`: {error}");
                    if error.kind() != Kind::Damaged {
                        self.silent.borrow_mut().insert(name.clone(), why.clone());
                    }
                    Some(why)
                }
            }
        })
    }
}

/// Checks that a store holds this very backup, whole: its sidecar has these bytes, or those whose
/// hash was noted when the copy was made, encrypted or as a full, and its objects are there with
/// their lengths. What is not there is an error of kind `NotFound`.
///
/// Returns the hash of the sidecar there; `None` where it is an encrypted one, or that of a full in
/// place of a delta, which says it is this backup, and nothing proves that.
pub fn check_copy(
    store: &dyn Store,
    source: &str,
    id: &str,
    sidecar_bytes: &[u8],
    known_sha256: Option<&str>,
) -> Result<Option<String>> {
    let name = names::sidecar_name(id);
    if store.is_retired(source, id)? {
        return Err(Error::not_found(format!(
            "`{}` is being removed",
            store.location().object(source, &name)
        )));
    }
    let found_bytes = store.read(source, &name)?;
    let sha256 = measure_bytes(&found_bytes)?.sha256;
    let unusable = |why| Error::damaged(format!("its sidecar can't be used: {why}"));
    let sidecar = Sidecar::parse(&found_bytes).map_err(unusable)?;
    let is_known = found_bytes == sidecar_bytes || known_sha256 == Some(&*sha256);
    let is_other_form =
        |own: Sidecar| is_encrypted_form(&sidecar, &own) || is_flattened_form(&sidecar, &own);
    if !is_known && !is_other_form(Sidecar::parse(sidecar_bytes).map_err(unusable)?) {
        return Err(Error::failed(format!(
            "`{}` is another backup of the same id",
            store.location().object(source, &name)
        ))
        .with_hint(
            "two machines may back up a source of the same name; give each its own prefix",
        ));
    }
    if !is_known && known_sha256.is_some() {
        return Err(Error::failed(format!(
            "`{}` is not the one that was written when the backup was copied there",
            store.location().object(source, &name)
        ))
        .with_hint(
            "somebody has replaced it; look who may write there, delete it, and copy again",
        ));
    }
    if !catalog::judge_signature(store, source, &name, &found_bytes)?.is_accepted() {
        return Err(Error::failed(format!(
            "`{}` does not count there: none of the keys that the store trusts has signed it",
            store.location().object(source, &name)
        ))
        .with_hint("delete it there, and copy it again"));
    }
    let dump = sidecar
        .dump
        .iter()
        .map(|dump| (&dump.file, dump.size_bytes));
    let list = sidecar.contents().into_iter();
    let part = sidecar
        .sealed
        .iter()
        .map(|part| (&part.file, part.size_bytes));
    let all = dump
        .chain(list.map(|list| (&list.file, list.size_bytes)))
        .chain(part);
    for (file, written) in all {
        let size = store.size(source, file)?;
        if size != written {
            return Err(Error::damaged(format!(
                "`{}` has {size} bytes and not {written}",
                store.location().object(source, file)
            )));
        }
    }
    Ok(is_known.then_some(sha256))
}

/// Whether of two sidecars one says that it is of a backup, and the other of its encrypted copy.
fn is_encrypted_form(one: &Sidecar, other: &Sidecar) -> bool {
    let (Some(first), Some(second)) = (&one.dump, &other.dump) else {
        return false;
    };
    first.encryption.is_some() != second.encryption.is_some()
        && (&one.run, one.started_at, one.finished_at)
            == (&other.run, other.started_at, other.finished_at)
        && first.content_size_bytes == second.content_size_bytes
}

/// Whether of two sidecars one is that of a delta, and the other that of the full that was made of
/// it.
fn is_flattened_form(one: &Sidecar, other: &Sidecar) -> bool {
    let (Some(first), Some(second)) = (&one.dump, &other.dump) else {
        return false;
    };
    first.base.is_some() != second.base.is_some()
        && (&one.run, one.started_at, one.finished_at)
            == (&other.run, other.started_at, other.finished_at)
        && first.content_size_bytes == second.content_size_bytes
}
