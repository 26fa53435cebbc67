//! Deleting: by id only, and not the last good one by accident.

use super::chain::note_removal;
use super::condition::STATE_LOST;
use super::events::retract_event;
use super::{Observer, Session};
use crate::catalog::{Catalog, ListedBackup, Presence, UnreadableSidecar, quoted_list};
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::retention::dependents_first;
use crate::store::{KnownNames, Retirement, Store, names};
use crate::units;
use std::collections::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Which backups are deleted.
#[derive(Debug)]
pub struct DeleteRequest {
    /// Whole ids.
    pub ids: Vec<String>,
    /// Delete what is built on them, too.
    pub with_dependents: bool,
    /// Delete what is pinned, the last good one, and what can't be read, too.
    pub force: bool,
}

/// The backups that will be deleted: nothing forbids it. To be shown, then carried out.
pub struct DeletePlan {
    store: Arc<dyn Store>,
    request: DeleteRequest,
    doomed: Vec<DoomedBackup>,
}

/// A backup that is going to be removed.
struct DoomedBackup {
    id: String,
    source: String,
    files: Vec<String>,
    /// Bytes that its dump takes.
    size: u64,
    /// The backup that it is built on.
    needs: Option<String>,
    /// The backup beside which its removal is noted.
    witness: Option<String>,
}

/// Plans a deletion: every id must be known, and nothing may speak against it.
pub fn plan_deletion(mut request: DeleteRequest, session: &Session) -> Result<DeletePlan> {
    request
        .ids
        .iter()
        .try_for_each(|id| session.refuse_group(id))?;
    let store = session.changing()?;
    let catalog = Catalog::read(&*store, None)?;
    if request.with_dependents {
        add_dependents(&mut request.ids, &catalog);
    }
    let mut doomed = find_doomed(&request.ids, request.force, &catalog, &*store)?;
    order_dependents_first(&mut doomed);
    Ok(DeletePlan {
        store,
        request,
        doomed,
    })
}

impl DeletePlan {
    /// The number of backups.
    pub fn count(&self) -> usize {
        self.doomed.len()
    }

    /// The bytes that their dumps take.
    pub fn size(&self) -> u64 {
        units::total(self.doomed.iter().map(|backup| backup.size))
    }

    /// Deletes the backups one by one, each under its source's lock and before the one that it is
    /// built on, so that an interruption leaves none that lacks what it needs; gives their ids.
    pub fn carry_out(self, session: &Session, observer: &dyn Observer) -> Result<Vec<String>> {
        let mut deleted = Vec::new();
        for backup in &self.doomed {
            let _lock = self.store.lock(&backup.source, session.lock_wait)?;
            interrupt::check()?;
            let mut known = self.look_again(&backup.source)?;
            let elsewhere = self.refuse_what_is_read(backup)?;
            let (id, source) = (&backup.id, &backup.source);
            let noted = note_removal(&*self.store, source, id, backup.witness.as_deref())?;
            if let (Some(known), Some(event)) = (&mut known, &noted) {
                known.add(event);
            }
            match self
                .store
                .retire(source, id, &backup.files, known.as_ref())?
            {
                Retirement::Changed(event) => {
                    if let Some(noted) = noted {
                        retract_event(&*self.store, source, &noted);
                    }
                    let text = format!("`{id}` stays: its `{event}` is new");
                    let hint = Hint::new().text("look at it again: ").command(["show", id]);
                    return Err(Error::failed(text).with_hint(hint));
                }
                Retirement::Done => observer.line(format!("deleted {id}")),
                Retirement::Hidden(lock) => observer.line(format!(
                    "deleted {id}: its files are {lock}, and go with the first cleanup after that"
                )),
                Retirement::Locked(lock) => {
                    if let Some(event) = noted {
                        retract_event(&*self.store, source, &event);
                    }
                    let text = format!("`{id}` can't be deleted: it is {lock}");
                    return Err(Error::failed(text).with_hint(
                        "the store keeps it as long, whoever asks: try again after it",
                    ));
                }
            }
            for place in elsewhere {
                observer.note(format!(
                    "{id}: its link is removed; `{place}`, which it led to, is still there"
                ));
            }
            deleted.push(id.clone());
        }
        Ok(deleted)
    }

    /// Refuses again, now that nobody else can change the source: a pin, or another run's removal,
    /// may have come while the question stood. Gives what is known now.
    fn look_again(&self, source: &str) -> Result<Option<KnownNames>> {
        let now = Catalog::read(&*self.store, Some(&[source.to_owned()]))?;
        let there = now
            .of(source)
            .map(ListedBackup::id)
            .chain(now.unreadable.iter().map(|lost| lost.id.as_str()));
        let of_source: Vec<String> = there
            .filter(|id| self.request.ids.iter().any(|asked| asked == id))
            .map(str::to_owned)
            .collect();
        find_doomed(&of_source, self.request.force, &now, &*self.store)?;
        Ok(now.known_names(source).cloned())
    }

    /// Refuses a backup that somebody reads; gives the places that links in the store lead to. What
    /// can't be told stays, unless it is forced.
    fn refuse_what_is_read(&self, backup: &DoomedBackup) -> Result<Vec<String>> {
        let mut elsewhere = Vec::new();
        for file in &backup.files {
            let is_read = match self.store.is_in_use(&backup.source, file) {
                Err(_) if self.request.force => false,
                is_read => is_read?,
            };
            if is_read {
                let text = format!("`{}` is being read right now", backup.id);
                return Err(Error::new(Kind::Locked, text).with_hint("try again later"));
            }
            let place = match self.store.link_target(&backup.source, file) {
                Err(_) if self.request.force => None,
                place => place?,
            };
            elsewhere.extend(place.map(|place| place.display().to_string()));
        }
        Ok(elsewhere)
    }
}

/// Finds the backups, and refuses what must not go.
fn find_doomed(
    ids: &[String],
    force: bool,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<DoomedBackup>> {
    let mut found: Vec<DoomedBackup> = Vec::new();
    for id in ids {
        if found.iter().any(|known| known.id == *id) {
            continue;
        }
        if let Some(backup) = catalog.backups().find(|backup| backup.id() == id) {
            refuse_to_delete(backup, ids, force, catalog)?;
            let (source, files) = (backup.sidecar.source.to_string(), backup.sidecar.files());
            found.push(DoomedBackup {
                id: id.clone(),
                source,
                files,
                size: backup.presence.bytes(),
                needs: backup.needs().map(str::to_owned),
                witness: catalog
                    .witness_of_removal(&backup.sidecar.source, id)
                    .map(|witness| witness.id().to_owned()),
            });
        } else if let Some(lost) = catalog.unreadable.iter().find(|lost| lost.id == *id) {
            found.push(doom_unreadable(lost, force, store)?);
        } else {
            return Err(
                Error::not_found(format!("no backup has the id `{id}`")).with_hint(
                    Hint::new()
                        .text("`delete` takes whole ids only; ")
                        .command(["list", "--status", "all"])
                        .text(" shows them"),
                ),
            );
        }
        refuse_if_needed(id, ids, catalog)?;
    }
    Ok(found)
}

/// Adds what is built on these backups, through any number of steps.
fn add_dependents(ids: &mut Vec<String>, catalog: &Catalog) {
    let mut at = 0;
    // It ends: each backup is added once.
    while let Some(id) = ids.get(at).cloned() {
        for dependent in catalog.dependents_of(&id) {
            if ids.iter().all(|known| known != dependent) {
                ids.push(dependent.to_owned());
            }
        }
        at += 1;
    }
}

/// Orders the backups so that each comes before the one that it is built on.
fn order_dependents_first(doomed: &mut [DoomedBackup]) {
    let ids: Vec<&str> = doomed.iter().map(|backup| backup.id.as_str()).collect();
    let needs: HashMap<&str, &str> = doomed
        .iter()
        .filter_map(|backup| Some((backup.id.as_str(), backup.needs.as_deref()?)))
        .collect();
    let order = dependents_first(&ids, |id| needs.get(id).copied());
    let turns: HashMap<String, usize> = order.into_iter().map(str::to_owned).zip(0..).collect();
    doomed.sort_by_key(|backup| turns.get(&backup.id).copied());
}

/// Refuses a backup that others are built on and that would be lost with it, force or not: they
/// must be deleted, too.
fn refuse_if_needed(id: &str, ids: &[String], catalog: &Catalog) -> Result<()> {
    let staying: Vec<&str> = catalog
        .dependents_of(id)
        .filter(|dependent| ids.iter().all(|gone| gone != dependent))
        .collect();
    if staying.is_empty() {
        return Ok(());
    }
    let needed = format!(
        "`{id}` can't be deleted: it is needed by {}",
        quoted_list(&staying)
    );
    Err(Error::usage(needed).with_hint("delete those first, or with it: `--with-dependents`"))
}

/// Refuses what is pinned and the last good one, without force.
fn refuse_to_delete(
    backup: &ListedBackup,
    ids: &[String],
    force: bool,
    catalog: &Catalog,
) -> Result<()> {
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

/// Describes a backup whose sidecar can't be read: what belongs to it is known by its name. A newer
/// version's is left to that.
fn doom_unreadable(
    lost: &UnreadableSidecar,
    force: bool,
    store: &dyn Store,
) -> Result<DoomedBackup> {
    let told = format!("`{}` can't be read: {}", lost.id, lost.reason);
    if lost.may_be_good {
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
    Ok(DoomedBackup {
        id: lost.id.clone(),
        source: lost.source.clone(),
        files,
        size,
        needs: lost.needs.clone(),
        witness: None,
    })
}
