//! Which backups are copied: what a user's words mean, what may go, and in which order.

use crate::catalog::{Catalog, ListedBackup, UnreadableSidecar, WayState, is_named_of};
use crate::error::{Error, Hint, Result};
use crate::ops::{Observer, Session, names_in, time_of};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Status;
use crate::store::{Location, Store};
use chrono::{DateTime, Utc};

/// A backup's source and its id.
pub type NamedBackup = (String, String);

/// Sorts words into sources, and backups with their sources.
pub fn sort_words(
    words: &[String],
    from: &dyn Store,
    session: &Session,
    observer: &dyn Observer,
) -> Result<(Vec<String>, Vec<NamedBackup>)> {
    let names = names_in(from, words, session, observer)?;
    let present = from.sources()?;
    let (mut sources, mut backups) = (Vec::new(), Vec::new());
    let mut catalog = None;
    for name in names {
        let is_source = present
            .iter()
            .any(|known| *known == name || is_named_of(known, &name));
        if is_source {
            sources.push(name);
            continue;
        }
        if catalog.is_none() {
            catalog = Some(Catalog::read(from, None)?);
        }
        if let Some(catalog) = &catalog {
            // The list of sources came up short.
            if catalog.has_source(&name) {
                sources.push(name);
                continue;
            }
            let backup = catalog.resolve(&name, session.now)?;
            backups.push((backup.sidecar.source.to_string(), backup.id().to_owned()));
        }
    }
    Ok((sources, backups))
}

/// The backups of a source that may be copied, the newest first: whole ones that nothing is known
/// against. Those that were copied before to the store `new_in`, with this name and location, are
/// left out.
pub fn candidates<'a>(
    catalog: &'a Catalog,
    source: &str,
    new_in: Option<(&str, &Location)>,
) -> Vec<&'a ListedBackup> {
    let new_in = new_in.map(|(name, location)| (name, location.sha256()));
    let may_go = |backup: &&ListedBackup| {
        backup.sidecar.status != Status::Failed
            && backup.is_whole()
            && backup.way == WayState::Whole
            && backup.damage().is_none()
            && backup.signature.is_accepted()
            && backup.sidecar.label != PRE_RESTORE
            && !(new_in.as_ref())
                .is_some_and(|(name, place)| backup.state.is_copied_to(name, place))
    };
    catalog.of(source).filter(may_go).collect()
}

/// Refuses sources that were asked for and have no backup at all: nothing that was copied must not
/// look like a copy that was made. Where others have some it is a warning.
pub fn refuse_empty(
    catalog: &Catalog,
    sources: &[String],
    from: &dyn Store,
    observer: &dyn Observer,
) -> Result<()> {
    let is_empty = |source: &&String| !catalog.has_source(source);
    let empty: Vec<&String> = sources.iter().filter(is_empty).collect();
    let text = |source: &str| format!("{source}: it has no backup in `{}`", from.name());
    match empty.first() {
        Some(first) if empty.len() == sources.len() => Err(Error::not_found(text(first))
            .with_hint("`--from` names the store that has the backups")),
        _ => {
            empty.iter().for_each(|source| observer.warn(text(source)));
            Ok(())
        }
    }
}

/// The errors of a source's backups that could not be read, and may be what was asked for: all of
/// them, or those after a moment. What no trusted key signed is not asked for, and is warned of.
pub fn refuse_unread(
    catalog: &Catalog,
    source: &str,
    since: Option<DateTime<Utc>>,
    observer: &dyn Observer,
) -> Vec<(String, Error)> {
    let mut errors = Vec::new();
    let is_asked_for = |lost: &&UnreadableSidecar| {
        lost.source == source && since.is_none_or(|since| time_of(&lost.id) >= since)
    };
    for lost in catalog.unreadable.iter().filter(is_asked_for) {
        let text = format!("{}: not copied, {}", lost.id, lost.reason);
        if lost.is_untrusted {
            observer.warn(text);
        } else {
            let hint = match lost.may_be_good {
                true => Hint::new().command(["verify", &lost.id]),
                false => Hint::new()
                    .text("another copy of it may be whole; if it is not needed: ")
                    .command(["delete", &lost.id]),
            };
            let error = Error::failed(text).with_hint(hint);
            observer.fail(&error);
            errors.push((lost.id.clone(), error));
        }
    }
    errors
}

/// Puts before each backup those that it is built on, each once.
pub fn with_bases<'a>(
    catalog: &'a Catalog,
    source: &str,
    wanted: &[&'a ListedBackup],
) -> Vec<&'a ListedBackup> {
    let mut ordered: Vec<&ListedBackup> = Vec::new();
    for backup in wanted {
        let mut way = vec![*backup];
        while let Some(base) = way.last().and_then(|last| last.needs()) {
            let base = catalog.of(source).find(|other| other.id() == base);
            match base.filter(|base| way.iter().all(|one| one.id() != base.id())) {
                Some(base) => way.push(base),
                None => break,
            }
        }
        for one in way.into_iter().rev() {
            if ordered.iter().all(|known| known.id() != one.id()) {
                ordered.push(one);
            }
        }
    }
    ordered
}
