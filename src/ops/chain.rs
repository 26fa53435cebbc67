//! The chain of signed backups, written: each backup names the one before it, and what is removed
//! on purpose is noted.

use super::events::add_named_event;
use crate::catalog::{Catalog, digest_text};
use crate::error::{Kind, Result};
use crate::ops::Session;
use crate::plan::StorePlan;
use crate::sidecar::{Change, Previous};
use crate::store::Store;

/// The backup that the next one of a source names; `None` where there is none, or nothing is
/// signed.
pub fn find_previous(store: &dyn Store, source: &str) -> Result<Option<Previous>> {
    if !store.signs() {
        return Ok(None);
    }
    let catalog = Catalog::read(store, Some(&[source.to_owned()]))?;
    let newest = catalog.newest_in_chain(source);
    Ok(newest.and_then(|newest| {
        Some(Previous {
            id: newest.id().to_owned(),
            sha256: digest_text(newest.digest.as_ref()?),
        })
    }))
}

/// Notes that a backup is about to be removed on purpose, beside `witness`; gives the name of the
/// event, where one was added. Where nothing is signed nobody would miss it.
pub fn note_removal(
    store: &dyn Store,
    source: &str,
    id: &str,
    witness: Option<&str>,
) -> Result<Option<String>> {
    let is_signed = store.signs() || !store.trusted_keys().is_empty();
    let Some(witness) = witness.filter(|_| is_signed) else {
        return Ok(None);
    };
    match add_named_event(store, source, witness, Change::Removed(id.to_owned())) {
        // It went first: then nobody names the other one any more.
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        noted => noted.map_err(|error| error.context(format!("noting that `{id}` is removed"))),
    }
}

/// Whether every backup of a store names the one before it there: a store of copies has gaps, where
/// something was not copied.
pub fn has_whole_chains(plan: &StorePlan, session: &Session) -> bool {
    let (Some(config), Some(name)) = (&session.config, &plan.name) else {
        return true;
    };
    let of_sources = config.sources.iter().map(|(_, source)| &source.backup);
    let mut all = of_sources.chain([&config.backup]);
    !all.any(|settings| settings.copies.contains(name))
}
