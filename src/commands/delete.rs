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
    // One whose sidecar can't be read any more is known by its name alone.
    let is_broken = |id: &&String| catalog.unreadable.iter().any(|entry| !entry.newer && entry.id == **id);
    let (broken, whole): (Vec<&String>, Vec<&String>) = arguments.ids.iter().partition(is_broken);
    if let Some(id) = broken.first().filter(|_| !arguments.force) {
        return Err(Error::usage(format!("the sidecar of `{id}` is damaged, so nobody knows what its dump is worth"))
            .hint("the dump restores by its path with `--to`; add `--force` to delete both all the same"));
    }
    let ids: Vec<String> = whole.into_iter().cloned().collect();
    let to_delete = doomed(&ids, arguments.force, &catalog)?;
    let size: u64 = to_delete.iter().filter_map(|backup| backup.stored_size).sum();
    let count = (to_delete.len() + broken.len()) as u64;
    let question = format!("delete {}, {}?", units::count(count, "backup"), units::size(size));
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
        let files: Vec<String> = backup.sidecar.dump.as_ref().map(|dump| dump.file.clone()).into_iter().collect();
        if files.iter().any(|file| store.in_use(source, file)) {
            return Err(Error::new(Kind::Locked, format!("`{}` is being read right now", backup.id())).hint("try again later"));
        }
        store::remove_backup(&store, source, backup.id(), &files)?;
        report.line(format!("deleted {}", backup.id()));
        deleted.push(backup.id().to_owned());
    }
    for entry in catalog.unreadable.iter().filter(|entry| broken.contains(&&entry.id)) {
        let _lock = store.lock(&entry.source, session.lock_wait)?;
        let objects = store.list(&entry.source)?;
        let files =
            objects.into_iter().map(|object| object.name).filter(|name| store::is_dump_of(name, &entry.id)).collect::<Vec<_>>();
        store::remove_backup(&store, &entry.source, &entry.id, &files)?;
        report.line(format!("deleted {}", entry.id));
        deleted.push(entry.id.clone());
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
