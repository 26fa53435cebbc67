//! The brake in a store: which earlier backup the newest one is compared with, and what is remembered of it. It stays on from backup to backup until
//! what is missing is there again, or `cleanup --force` says that all is right: else one more run would remove what the first one kept.

use crate::catalog::Catalog;
use crate::commands::verify::change_locked_state;
use crate::error::{Error, Kind, Result};
use crate::plan::Policies;
use crate::report::Report;
use crate::retention::PRE_RESTORE;
use crate::retention::brake::{Brake, Contents, shrank};
use crate::sidecar::{Braked, Sidecar};
use crate::store::{self, LocalStore, Store};

/// The newest good backup of a source, and why nothing must be removed.
pub struct On {
    newest: String,
    against: String,
    /// What it lacks.
    pub why: String,
}

/// Whether the newest good backup of the source holds far less than an earlier one.
pub fn look(store: &LocalStore, catalog: &Catalog, source: &str, policies: &Policies) -> Result<Option<On>> {
    let good = || catalog.of(source).filter(|backup| backup.good() && backup.sidecar.label != PRE_RESTORE);
    let (Some(newest), Some(before)) = (good().next(), good().nth(1)) else { return Ok(None) };
    // What an earlier look was about, as long as it is there.
    let about = |braked: &Option<Braked>| match braked {
        Some(Braked::Against(id)) => good().find(|backup| backup.id() == id).map(|backup| backup.id().to_owned()),
        _ => None,
    };
    let against = match &newest.state.brake {
        Some(Braked::Accepted) => return Ok(None),
        own => about(own).or_else(|| about(&before.state.brake)).unwrap_or_else(|| before.id().to_owned()),
    };
    let label = newest.sidecar.label.to_string();
    let brake = policies.for_label(&label).map_or_else(Brake::default, |policy| policy.brake.clone());
    if brake.percent.is_none() {
        return Ok(None);
    }
    let newest = newest.id().to_owned();
    let why = shrank(&contents(store, source, &against)?, &contents(store, source, &newest)?, &brake);
    Ok(why.map(|why| On { newest, against, why }))
}

/// What a backup holds, from its whole sidecar.
fn contents(store: &LocalStore, source: &str, id: &str) -> Result<Contents> {
    let bytes = store.read(source, &store::sidecar_name(id))?;
    let sidecar = Sidecar::parse(&bytes).map_err(|why| Error::failed(format!("`{id}`: {why}")))?;
    let manifest = sidecar.manifest.unwrap_or_default();
    // A server's rows may be left uncounted; a dump without any table says so by its size.
    let uncounted = manifest.tables.is_empty() && sidecar.kind != crate::engine::sqlite::KIND;
    let tables = manifest.tables.into_iter().filter(|table| table.compare).map(|table| (table.name, table.rows)).collect();
    Ok(Contents {
        id: id.to_owned(),
        bytes: sidecar.dump.map_or(0, |dump| dump.content_size_bytes),
        counts: manifest.tree.map_or(Vec::new(), |tree| vec![("file", tree.files), ("SQLite database", tree.databases)]),
        tables: (!uncounted).then_some(tables),
    })
}

/// Keeps in mind what the newest backup was compared with; the source's lock is held.
pub fn remember(store: &LocalStore, source: &str, on: &On, report: &Report) {
    let against = Braked::Against(on.against.clone());
    set(store, source, &on.newest, against, report);
}

/// All is right with the newest good backup: it is what later ones are compared with. The source's lock is held.
pub fn accept(store: &LocalStore, source: &str, on: &On, report: &Report) {
    set(store, source, &on.newest, Braked::Accepted, report);
}

fn set(store: &LocalStore, source: &str, id: &str, braked: Braked, report: &Report) {
    let done = change_locked_state(store, source, id, |state| state.brake = Some(braked));
    // On a full disk: the next look is then at two backups only.
    if let Err(error) = done.or_else(|error| if error.kind() == Kind::NotFound { Ok(()) } else { Err(error) }) {
        report.warn(format!("{id}: that it shrank was not kept in mind: {error}"));
    }
}
