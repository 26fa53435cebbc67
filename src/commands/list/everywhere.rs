//! `dbbackup list --all-stores`: which stores hold each backup.

use super::{has_status, matches, nothing_shown, row};
use crate::catalog::{ListedBackup, ShownBackup};
use crate::cli::{ListArguments, ListStatus};
use crate::commands::set_error;
use crate::error::{Error, Hint, Kind, Result};
use crate::ops::Session;
use crate::ops::condition::{Condition, condition_of};
use crate::ops::stores::{LocatedBackup, ReadStore, locate_backups, read_every_store};
use crate::report::{CommandOutcome, JsonText, Paint, Report, columns};
use crate::retention::PRE_RESTORE;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

pub fn run(
    arguments: &ListArguments,
    since: Option<DateTime<Utc>>,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let mut stores = read_every_store(&arguments.sources, session, report)?;
    if stores.iter().all(|store| store.content.is_err())
        && let Some(first) = stores.pop()
        && let Err(error) = first.content
    {
        let rest = stores.iter().filter_map(unread);
        rest.for_each(|error| report.error(&error));
        return Err(error.context(format!("the store `{}`", first.plan.title())));
    }
    let located = locate_backups(&stores);
    let chosen: Vec<&LocatedBackup<'_>> = located
        .iter()
        .filter(|backup| matches(backup.best().1, arguments, since))
        .collect();
    let shown: Vec<&LocatedBackup<'_>> = chosen
        .iter()
        .copied()
        .filter(|backup| is_of_status(backup, arguments.status))
        .take(arguments.limit.unwrap_or(usize::MAX))
        .collect();
    if report.is_json() {
        set_document(&shown, &stores, report)?;
    } else if shown.is_empty() {
        let others = chosen
            .iter()
            .filter(|backup| !is_of_status(backup, arguments.status));
        report.note(nothing_shown(others.count() as u64, arguments));
    } else {
        show(&shown, &stores, session, report);
    }
    tell_oddities(&stores, report);
    let unread: Vec<Error> = stores.iter().filter_map(unread).collect();
    for error in &unread {
        let text = Hint::from(error.message());
        report.warn(match error.hint() {
            Some(hint) => text.text(": ").then(hint),
            None => text,
        });
    }
    set_error(&unread, report);
    Ok((!unread.is_empty()).then_some(Kind::Partial))
}

/// Why a store can't be read, with its name.
fn unread(store: &ReadStore) -> Option<Error> {
    let error = store.content.as_ref().err()?;
    let text = format!("the store `{}` can't be read: {error}", store.plan.title());
    let named = Error::new(error.kind(), text);
    Some(match error.hint() {
        Some(hint) => named.with_hint(hint.clone()),
        None => named,
    })
}

/// Whether a backup is asked for: as a sound one where any store has it so, as one that failed
/// where any store has it otherwise.
fn is_of_status(backup: &LocatedBackup<'_>, status: ListStatus) -> bool {
    let mut found = backup.found.iter();
    found.any(|(_, backup)| has_status(backup, status))
}

fn show(shown: &[&LocatedBackup<'_>], stores: &[ReadStore], session: &Session, report: &Report) {
    let heads = [
        "ID", "AGE", "SIZE", "ROWS", "STATUS", "VERIFIED", "STORES", "",
    ]
    .map(|head| report.paint(Paint::Strong, head))
    .to_vec();
    let rows = shown.iter().map(|located| {
        let (_, best) = located.best();
        let missing = missing_stores(located, stores, session);
        let mut cells = row(best, &missing, session.now, report);
        let notes = cells.pop().into_iter().filter(|notes| !notes.is_empty());
        let notes: Vec<String> = notes.chain(differences(located, stores)).collect();
        cells.push(titles(located, stores).join(", "));
        cells.push(notes.join(", "));
        cells
    });
    let table: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    report.answers(columns(&table, &[1, 2, 3]));
}

/// The names of the stores that hold a backup.
fn titles(located: &LocatedBackup<'_>, stores: &[ReadStore]) -> Vec<String> {
    let found = located.found.iter();
    found.map(|(at, _)| stores[*at].plan.title()).collect()
}

/// The stores that are to have a copy and were never given one.
fn missing_stores(
    located: &LocatedBackup<'_>,
    stores: &[ReadStore],
    session: &Session,
) -> Vec<String> {
    let (_, best) = located.best();
    if !best.good() || best.sidecar.label == PRE_RESTORE {
        return Vec::new();
    }
    let is_absent = |name: &String| {
        let named = |store: &ReadStore| store.plan.name.as_ref() == Some(name);
        let at = stores.iter().position(named);
        // What is not there any more was taken away by retention.
        at.is_some_and(|at| {
            let place = stores[at].plan.location().sha256();
            let was_copied =
                |(_, backup): &(usize, &ListedBackup)| backup.state.is_copied_to(name, &place);
            stores[at].content.is_ok()
                && !located.is_in(at)
                && !located.found.iter().any(was_copied)
        })
    };
    let mut wanted = session.settings_of(&best.sidecar.source).copies;
    wanted.retain(is_absent);
    wanted
}

/// Where the stores do not agree about a backup.
fn differences(located: &LocatedBackup<'_>, stores: &[ReadStore]) -> Vec<String> {
    let (best, of_best) = located.best();
    let condition = condition_of(of_best).0;
    let worse = located
        .found
        .iter()
        .filter(|(at, backup)| *at != best && condition_of(backup).0 != condition);
    let mut notes: Vec<String> = worse
        .map(|(at, backup)| {
            let why = match condition_of(backup).0 {
                Condition::Unknown => "can't be looked at",
                other => other.as_str(),
            };
            format!("{why} in {}", stores[*at].plan.title())
        })
        .collect();
    let others = located.others.iter();
    notes.extend(others.map(|at| {
        format!(
            "{} holds another backup of this id",
            stores[*at].plan.title()
        )
    }));
    notes
}

/// A backup with everything that its sidecar says, and where it is.
#[derive(Serialize)]
struct PlacedBackup {
    #[serde(flatten)]
    backup: ShownBackup,
    stores: Vec<String>,
}

fn set_document(
    shown: &[&LocatedBackup<'_>],
    stores: &[ReadStore],
    report: &mut Report,
) -> Result<()> {
    let texts = shown
        .iter()
        .filter_map(|located| whole_one(located, stores).transpose());
    report.set_list("backups", texts)?;
    let unreadable = stores.iter().flat_map(|store| {
        let lost = store.catalog().into_iter().flat_map(|all| &all.unreadable);
        lost.map(|lost| {
            json!({
                "id": lost.id, "source": lost.source, "reason": lost.reason,
                "store": store.plan.title(),
            })
        })
    });
    report.set("unreadable", unreadable.collect::<Vec<_>>());
    let of_stores = stores.iter().map(|store| {
        json!({
            "name": store.plan.title(),
            "location": store.plan.location().to_string(),
            "error": store.content.as_ref().err().map(Error::message),
        })
    });
    report.set("stores", of_stores.collect::<Vec<_>>());
    Ok(())
}

/// A backup, read whole where it is best; one that cleanup takes away meanwhile is none.
fn whole_one(located: &LocatedBackup<'_>, stores: &[ReadStore]) -> Result<Option<JsonText>> {
    let (at, backup) = located.best();
    let Ok((store, _)) = &stores[at].content else {
        return Ok(None);
    };
    match backup.whole(&**store) {
        Ok(whole) => Ok(Some(JsonText::new(&PlacedBackup {
            backup: ShownBackup::from(whole),
            stores: titles(located, stores),
        }))),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells of what can't be listed.
fn tell_oddities(stores: &[ReadStore], report: &Report) {
    for store in stores {
        let title = store.plan.title();
        let Some(catalog) = store.catalog() else {
            continue;
        };
        for lost in &catalog.unreadable {
            report.warn(format!("{} in {title}: {}", lost.id, lost.reason));
        }
        for orphan in &catalog.orphans {
            report.warn(format!(
                "{}/{} in {title}: no sidecar knows this file; it restores with `--to`",
                orphan.source, orphan.name
            ));
        }
    }
}
