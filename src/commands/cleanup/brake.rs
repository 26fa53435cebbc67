//! The brake in a store: which earlier backups the newest one is compared with, and what is remembered of it. It stays on from backup to backup until
//! what is missing is there again, or `cleanup --force` says that all is right: else one more run would remove what the first one kept.

use crate::catalog::{Catalog, Entry};
use crate::commands::cleanup::time_of;
use crate::commands::verify::change_locked_state;
use crate::error::{Error, Kind, Result};
use crate::plan::Policies;
use crate::report::Report;
use crate::retention::PRE_RESTORE;
use crate::retention::brake::{Brake, Contents, shrank};
use crate::sidecar::{Braked, Sidecar, Totals};
use crate::store::{self, LocalStore, Store};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

/// The newest good backup of a source, and why nothing must be removed.
pub struct On {
    newest: String,
    against: String,
    /// What it lacks.
    pub why: String,
}

/// Whether the newest good backup of the source holds far less than one before a fall.
///
/// Every fall in the history counts, back to what was last accepted: whoever did not look when it came (another label's policy, a run without cleanup, one that
/// was killed), or removed the backup that a look was about, must not let the next run take the small one for the measure. A source that shrinks slowly has no fall.
pub fn look(store: &LocalStore, catalog: &Catalog, source: &str, policies: &Policies, now: DateTime<Utc>) -> Result<Option<On>> {
    // What a wrong clock dated ahead is no measure of anything.
    let counts = |backup: &&Entry| backup.good() && backup.sidecar.label != PRE_RESTORE && backup.sidecar.started_at <= now;
    let mut known: Vec<&Entry> = Vec::new();
    for backup in catalog.of(source).filter(counts) {
        known.push(backup);
        if backup.state.brake == Some(Braked::Accepted) {
            break;
        }
    }
    let [newest, before, ..] = known[..] else { return Ok(None) };
    let brake = policies.for_label(&newest.sidecar.label).map_or_else(Brake::default, |policy| policy.brake.clone());
    let Some(percent) = brake.percent else { return Ok(None) };
    let mut measures: Vec<&Entry> = vec![before];
    measures.extend(known.windows(2).filter(|pair| fell(pair[1], pair[0], percent)).map(|pair| pair[1]));
    measures.extend(known.iter().filter_map(|backup| match &backup.state.brake {
        // The backup that a look was about; where it is gone, the one before it.
        Some(Braked::Against(id)) => {
            known.iter().find(|other| other.id() == id || other.sidecar.started_at < time_of(id)).copied()
        }
        _ => None,
    }));
    let new = contents(store, source, newest.id())?;
    let mut seen = BTreeSet::from([newest.id()]);
    for measure in measures.into_iter().filter(|measure| seen.insert(measure.id())) {
        if let Some(why) = shrank(&contents(store, source, measure.id())?, &new, &brake) {
            return Ok(Some(On { newest: newest.id().to_owned(), against: measure.id().to_owned(), why }));
        }
    }
    Ok(None)
}

/// Whether there was far less, or a table less, in a backup than in the one before it: as far as the totals tell.
fn fell(before: &Entry, after: &Entry, percent: u8) -> bool {
    let less = |old: u64, new: u64| u128::from(new) * 100 < u128::from(old) * u128::from(percent);
    let bytes = |backup: &Entry| backup.sidecar.dump.as_ref().map_or(0, |dump| dump.content_size_bytes);
    let (old, new) = (before.sidecar.manifest.unwrap_or_default(), after.sidecar.manifest.unwrap_or_default());
    let files = |totals: &Totals| totals.tree.map_or(0, |tree| tree.files);
    less(bytes(before), bytes(after))
        || less(old.rows_total, new.rows_total)
        || less(files(&old), files(&new))
        || new.tables < old.tables
}

/// What a backup holds, from its whole sidecar.
fn contents(store: &LocalStore, source: &str, id: &str) -> Result<Contents> {
    let bytes = store.read(source, &store::sidecar_name(id))?;
    let sidecar = Sidecar::parse(&bytes).map_err(|why| Error::failed(format!("`{id}`: {why}")))?;
    let manifest = sidecar.manifest.unwrap_or_default();
    // A server's rows may be left uncounted; a dump without any table says so by its size.
    let uncounted = manifest.tables.is_empty() && sidecar.kind != crate::engine::sqlite::KIND;
    let tables =
        manifest.tables.into_iter().filter(|table| table.compare).filter_map(|table| Some((table.name, table.rows?))).collect();
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
