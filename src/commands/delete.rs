//! `dbbackup delete`: by id only, and not the last good one by accident.

use super::list::STATE_LOST;
use crate::catalog::{Catalog, Entry, Presence, Unreadable};
use crate::cli::DeleteArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::report::{Outcome, Report};
use crate::store::{Store, names};
use crate::units;

pub fn run(arguments: &DeleteArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    arguments
        .ids
        .iter()
        .try_for_each(|id| session.refuse_group(id))?;
    let store = session.changing()?;
    let catalog = Catalog::read(&*store, None)?;
    let to_delete = doomed(&arguments.ids, arguments.force, &catalog, &*store)?;
    let size = units::total(to_delete.iter().map(|backup| backup.size));
    let question = format!(
        "delete {}, {}?",
        units::count(to_delete.len() as u64, "backup"),
        units::size(size)
    );
    if !arguments.yes {
        if !report.can_ask() {
            return Err(Error::usage("deleting needs a yes").with_hint("add `--yes`"));
        }
        if !report.ask(&question)? {
            return Err(Error::usage("nothing was deleted"));
        }
    }
    let mut deleted = Vec::new();
    for Doomed {
        id, source, files, ..
    } in to_delete
    {
        let _lock = store.lock(&source, session.lock_wait)?;
        crate::interrupt::check()?;
        // Again, now that nobody else can change it: a pin, or another run's removal, may have come
        // while the question stood.
        let now = Catalog::read(&*store, Some(std::slice::from_ref(&source)))?;
        let there = now
            .of(&source)
            .map(Entry::id)
            .chain(now.unreadable.iter().map(|lost| lost.id.as_str()));
        let of_source: Vec<String> = there
            .filter(|id| arguments.ids.iter().any(|asked| asked == id))
            .map(str::to_owned)
            .collect();
        doomed(&of_source, arguments.force, &now, &*store)?;
        let mut elsewhere = Vec::new();
        for file in &files {
            // What can't be told stays, unless it is forced.
            let unsure = |error: Error| if arguments.force { Ok(()) } else { Err(error) };
            if store
                .is_in_use(&source, file)
                .or_else(|error| unsure(error).map(|()| false))?
            {
                return Err(
                    Error::new(Kind::Locked, format!("`{id}` is being read right now"))
                        .with_hint("try again later"),
                );
            }
            elsewhere.extend(
                store
                    .link_target(&source, file)
                    .or_else(|error| unsure(error).map(|()| None))?,
            );
        }
        store.retire(&source, &id, &files)?;
        report.line(format!("deleted {id}"));
        for place in elsewhere {
            report.note(format!(
                "{id}: its link is removed; `{}`, which it led to, is still there",
                place.display()
            ));
        }
        deleted.push(id);
    }
    report.set("deleted", deleted);
    report.set("total_size_freed", size);
    Ok(None)
}

/// What is going to be removed.
struct Doomed {
    id: String,
    source: String,
    files: Vec<String>,
    /// Bytes that its dump takes.
    size: u64,
}

fn doomed(
    ids: &[String],
    force: bool,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<Doomed>> {
    let mut found: Vec<Doomed> = Vec::new();
    for id in ids {
        if found.iter().any(|known| known.id == *id) {
            continue;
        }
        if let Some(backup) = catalog.backups.iter().find(|backup| backup.id() == id) {
            may_go(backup, ids, force, catalog)?;
            let (source, files) = (backup.sidecar.source.to_string(), backup.sidecar.files());
            found.push(Doomed {
                id: id.clone(),
                source,
                files,
                size: backup.presence.bytes(),
            });
        } else if let Some(lost) = catalog.unreadable.iter().find(|lost| lost.id == *id) {
            found.push(unreadable(lost, force, store)?);
        } else {
            return Err(
                Error::not_found(format!("no backup has the id `{id}`")).with_hint(
                    "`delete` takes whole ids only; `dbbackup list --status all` shows them",
                ),
            );
        }
    }
    Ok(found)
}

/// Not what is pinned, nor the last good one, without force.
fn may_go(backup: &Entry, ids: &[String], force: bool, catalog: &Catalog) -> Result<()> {
    let (id, source) = (backup.id(), &backup.sidecar.source);
    if force {
        return Ok(());
    }
    if backup.state.pinned {
        return Err(
            Error::usage(format!("`{id}` is pinned")).with_hint("unpin it first, or add `--force`")
        );
    }
    if backup.state_lost {
        return Err(Error::usage(format!("`{id}`: {STATE_LOST}"))
            .with_hint("add `--force` to delete it all the same"));
    }
    let another_good = catalog
        .of(source)
        .any(|other| other.good() && !ids.iter().any(|gone| *gone == other.id()));
    // One whose dump is not at hand now may be the last, too.
    if backup.may_be_good() && !another_good {
        return Err(
            Error::usage(format!("`{id}` is the last good backup of `{source}`"))
                .with_hint("add `--force` to delete it all the same"),
        );
    }
    Ok(())
}

/// One whose sidecar can't be read: what belongs to it is known by its name. A newer version's is
/// left to that.
fn unreadable(lost: &Unreadable, force: bool, store: &dyn Store) -> Result<Doomed> {
    let told = format!("`{}` can't be read: {}", lost.id, lost.reason);
    if lost.newer {
        return Err(Error::failed(told).with_hint("only the version that knows it may delete it"));
    }
    if !force {
        return Err(Error::usage(told).with_hint(
            "its dump may be well, and restores by its path; add `--force` \
                                     to delete it all the same",
        ));
    }
    let mut files = store.list(&lost.source)?.objects;
    files.retain(|name| names::is_object_of(name, &lost.id));
    let size = units::total(
        files
            .iter()
            .map(|file| Presence::of(store.size(&lost.source, file)).bytes()),
    );
    Ok(Doomed {
        id: lost.id.clone(),
        source: lost.source.clone(),
        files,
        size,
    })
}
