//! Where the content of a SQLite database goes that a restore replaces.

use super::{DatabasePlace, OldContent, path_of_entry};
use crate::catalog::Catalog;
use crate::engine::DumpFormat;
use crate::engine::sqlite::replace;
use crate::error::{Context, Result};
use crate::ops::restore::context::RestoreContext;
use crate::ops::restore::safety::Safety;
use crate::plan;
use crate::store::{self, Access, Store, StoreSettings};
use crate::units;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Plans where the old content is kept: in the store that is in use, else in that of the backup,
/// else beside it.
pub fn plan_safety(context: RestoreContext<'_>, place: &DatabasePlace) -> Result<Safety> {
    if context.request.no_safety_backup || matches!(place.now, OldContent::Nothing) {
        return Ok(Safety::None);
    }
    let settings = match context.session.store_plan() {
        Ok(plan) => Some(plan.settings),
        Err(_) => Some(context.found.store.location().clone())
            .filter(store::is_marked_at)
            .map(StoreSettings::from),
    };
    let beside = || Safety::Beside(free_name(&place.path, context));
    let Some(settings) = settings else {
        return Ok(beside());
    };
    if context.request.dry_run {
        return match store::open(&settings, Access::Read) {
            Ok(store) => in_store(store, context, place),
            Err(_) => Ok(beside()),
        };
    }
    if !store::may_be_written_at(&settings.location) {
        // A read-only store serves for restoring; what is there is then kept beside it.
        return Ok(beside());
    }
    let store = store::open(&settings, Access::Write)
        .context("the store for the safety backup of what is there")
        .with_hint(
            "give one that can be written to with `--store DIR`, or do without: \
             `--no-safety-backup`",
        )?;
    in_store(store, context, place)
}

fn in_store(
    store: Arc<dyn Store>,
    context: RestoreContext<'_>,
    place: &DatabasePlace,
) -> Result<Safety> {
    Ok(Safety::Store {
        source: safety_source(context, place, &*store)?,
        store,
        format: DumpFormat::Sqlite,
    })
}

fn free_name(target: &Path, context: RestoreContext<'_>) -> PathBuf {
    replace::free_path(Path::new(&format!(
        "{}.before-{}",
        target.display(),
        context.stamp()
    )))
}

/// Finds the source under which the old content is kept: its own where it is known by its path,
/// else one named after the file.
fn safety_source(
    context: RestoreContext<'_>,
    place: &DatabasePlace,
    store: &dyn Store,
) -> Result<String> {
    let (found, session) = (context.found, context.session);
    let there = place
        .path
        .canonicalize()
        .unwrap_or_else(|_| place.path.clone());
    let of_config = session
        .config
        .iter()
        .flat_map(|config| &config.sources)
        .find(|(_, entry)| {
            let Some(path) = path_of_entry(entry) else {
                return false;
            };
            session.cwd.join(path) == place.path
                || session
                    .cwd
                    .join(path)
                    .canonicalize()
                    .is_ok_and(|path| path == there)
        });
    if let Some((name, _)) = of_config {
        return Ok(name.clone());
    }
    if place.is_origin
        && let Some(backup) = &found.backup
    {
        return Ok(backup.sidecar.source.clone());
    }
    let catalog = Catalog::read(store, None)?;
    let belongs_elsewhere =
        |name: &str| (catalog.data_path(name)).is_some_and(|path| path != there);
    let name = plan::name_from_path(&place.path);
    Ok(units::free_name(&name, belongs_elsewhere))
}
