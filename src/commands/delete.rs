//! `dbbackup delete`: by id only, and not the last good one by accident.

use super::Session;
use super::list::STATE_LOST;
use crate::catalog::{Backup, Catalog};
use crate::cli::Delete;
use crate::error::{Error, Kind, Result};
use crate::report::{Outcome, Report};
use crate::store::{self, Store};
use crate::units;

pub fn run(arguments: &Delete, session: &Session, report: &mut Report) -> Result<Outcome> {
    let store = session.changing()?;
    let catalog = Catalog::read(&store, None)?;
    let to_delete = doomed(&arguments.ids, arguments.force, &catalog)?;
    let size: u64 = to_delete.iter().filter_map(|backup| backup.stored_size).sum();
    let question = format!("delete {}, {}?", units::count(to_delete.len() as u64, "backup"), units::size(size));
    if !arguments.yes {
        if !report.can_ask() {
            return Err(Error::usage("deleting needs a yes").hint("add `--yes`"));
        }
        if !report.ask(&question)? {
            return Err(Error::usage("nothing was deleted"));
        }
    }
    let mut deleted = Vec::new();
    for backup in to_delete {
        let source = &backup.sidecar.source;
        let _lock = store.lock(source, session.lock_wait)?;
        crate::interrupt::check()?;
        // Again, now that nobody else can change it: a pin, or another run's removal, may have come while the question stood.
        let now = Catalog::read(&store, Some(std::slice::from_ref(source)))?;
        let of_source = now.of(source).map(|backup| backup.id().to_owned()).filter(|id| arguments.ids.contains(id));
        doomed(&of_source.collect::<Vec<_>>(), arguments.force, &now)?;
        let files = backup.sidecar.files();
        if files.iter().any(|file| store.in_use(source, file)) {
            return Err(Error::new(Kind::Locked, format!("`{}` is being read right now", backup.id())).hint("try again later"));
        }
        store::remove_backup(&store, source, backup.id(), &files)?;
        report.line(format!("deleted {}", backup.id()));
        deleted.push(backup.id().to_owned());
    }
    report.set("deleted", deleted);
    report.set("total_size_freed", size);
    Ok(None)
}

fn doomed<'a>(ids: &[String], force: bool, catalog: &'a Catalog) -> Result<Vec<&'a Backup>> {
    let mut doomed: Vec<&Backup> = Vec::new();
    for id in ids {
        let backup = catalog.backups.iter().find(|backup| backup.id() == id).ok_or_else(|| {
            Error::not_found(format!("no backup has the id `{id}`"))
                .hint("`delete` takes whole ids only; `dbbackup list --status all` shows them")
        })?;
        if !doomed.iter().any(|known| known.id() == id) {
            doomed.push(backup);
        }
    }
    if force {
        return Ok(doomed);
    }
    for backup in &doomed {
        let source = &backup.sidecar.source;
        if backup.state.pinned {
            return Err(Error::usage(format!("`{}` is pinned", backup.id())).hint("unpin it first, or add `--force`"));
        }
        if backup.state_lost {
            return Err(Error::usage(format!("`{}`: {STATE_LOST}", backup.id())).hint("add `--force` to delete it all the same"));
        }
        let another_good = catalog.of(source).any(|other| other.good() && !doomed.iter().any(|gone| gone.id() == other.id()));
        if backup.good() && !another_good {
            return Err(Error::usage(format!("`{}` is the last good backup of `{source}`", backup.id()))
                .hint("add `--force` to delete it all the same"));
        }
    }
    Ok(doomed)
}
