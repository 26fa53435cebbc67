//! `dbbackup list`: what there is, newest first, and a word on failures that are newer than the
//! newest good one.

mod everywhere;

use crate::catalog::{
    Catalog, ListedBackup, Presence, ShownBackup, UnreadableSidecar, WayState, reading_threads,
};
use crate::cli::{ListArguments, ListStatus};
use crate::cores::{on_every_core, on_threads};
use crate::engine::DumpFormat;
use crate::error::{Error, Hint, Kind, Result};
use crate::ops::condition::{Condition, STATE_LOST, condition_of, short_reason_of};
use crate::ops::copy::missing_copies;
use crate::ops::{Session, catalog_of, names_in};
use crate::report::{CommandOutcome, JsonText, Paint, Report, columns};
use crate::sidecar::Status;
use crate::store::Store;
use crate::units;
use chrono::{DateTime, Utc};

pub fn run(
    arguments: &ListArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let since = match &arguments.since {
        Some(text) => Some(units::parse_when(text, session.now).map_err(Error::usage)?),
        None => None,
    };
    if arguments.all_stores {
        return everywhere::run(arguments, since, session, report);
    }
    let store = session.reading()?;
    let catalog = catalog_of(
        &*store,
        &names_in(&*store, &arguments.sources, session, report)?,
    )?;
    let chosen: Vec<&ListedBackup> = catalog
        .backups()
        .filter(|backup| matches(backup, arguments, since))
        .collect();
    let shown: Vec<&ListedBackup> = chosen
        .iter()
        .copied()
        .filter(|backup| has_status(backup, arguments.status))
        .take(arguments.limit.unwrap_or(usize::MAX))
        .collect();
    if report.is_json() {
        report.set_list("backups", whole_ones(&shown, &*store))?;
        let unreadable = |entry: &UnreadableSidecar| {
            serde_json::json!({"id": entry.id,
            "source": entry.source, "reason": entry.reason})
        };
        report.set(
            "unreadable",
            catalog
                .unreadable
                .iter()
                .map(unreadable)
                .collect::<Vec<_>>(),
        );
    } else if shown.is_empty() {
        let others = chosen
            .iter()
            .filter(|backup| !has_status(backup, arguments.status));
        report.note(nothing_shown(others.count() as u64, arguments));
    } else {
        let heads = ["ID", "AGE", "SIZE", "ROWS", "STATUS", "VERIFIED", ""]
            .map(|head| report.paint(Paint::Strong, head));
        let reporter: &Report = report;
        let in_use = session.store_plan()?;
        let rows = on_every_core(shown.len(), 1024, |at, ()| {
            let elsewhere = missing_copies(shown[at], &in_use, session);
            row(shown[at], &elsewhere, session.now, reporter)
        })
        .into_iter()
        .flatten();
        let table: Vec<Vec<String>> = std::iter::once(heads.to_vec()).chain(rows).collect();
        report.answers(columns(&table, &[1, 2, 3]));
    }
    let hidden: Vec<&ListedBackup> = chosen
        .iter()
        .copied()
        .filter(|backup| !has_status(backup, arguments.status))
        .collect();
    say_what_is_not_listed(&catalog, &hidden, report);
    // The program ends here: giving back a hundred thousand entries piece by piece takes longer
    // than printing them.
    std::mem::forget(catalog);
    Ok(None)
}

/// So many backups are read whole at a time.
const AT_ONCE: usize = 1024;

/// The backups with everything that their sidecars say, made text by many at once.
fn whole_ones<'a>(
    shown: &'a [&ListedBackup],
    store: &'a dyn Store,
) -> impl Iterator<Item = Result<JsonText>> {
    let (threads, at_once) = reading_threads(store, 32);
    shown.chunks(AT_ONCE).flat_map(move |some| {
        let whole = |at: usize, (): &mut ()| whole_one(some[at], store);
        let texts = on_threads(threads, some.len(), at_once, whole);
        texts.into_iter().flatten().filter_map(Result::transpose)
    })
}

/// One of them; one that cleanup takes away meanwhile is none.
fn whole_one(backup: &ListedBackup, store: &dyn Store) -> Result<Option<JsonText>> {
    match backup.whole(store) {
        Ok(whole) => Ok(Some(JsonText::new(&ShownBackup::from(whole)))),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why the list is empty; so many others match, only failed or damaged.
fn nothing_shown(others: u64, arguments: &ListArguments) -> Hint {
    if others == 0 || arguments.limit == Some(0) {
        return "no backups match".into();
    }
    let names = arguments.sources.iter().map(String::as_str);
    match arguments.status {
        ListStatus::Failed => Hint::new()
            .text("none failed, none is damaged; ")
            .command(["list"].into_iter().chain(names))
            .text(" shows the others"),
        _ => Hint::new()
            .text(format!(
                "no good backups match; {} failed or damaged: ",
                are(others)
            ))
            .command(["list", "--status", "failed"].into_iter().chain(names)),
    }
}

/// `1 is`, `2 are`.
fn are(number: u64) -> String {
    if number == 1 {
        "1 is".into()
    } else {
        format!("{} are", units::thousands(number))
    }
}

/// Whether a backup has the label, the tags and the age that are asked for.
fn matches(backup: &ListedBackup, arguments: &ListArguments, since: Option<DateTime<Utc>>) -> bool {
    let sidecar = &backup.sidecar;
    arguments
        .label
        .as_ref()
        .is_none_or(|label| *label == sidecar.label)
        && arguments
            .tags
            .iter()
            .all(|(key, value)| sidecar.tags.get(key) == Some(value))
        && since.is_none_or(|since| sidecar.started_at >= since)
}

fn has_status(backup: &ListedBackup, status: ListStatus) -> bool {
    let written = backup.sidecar.status;
    // What can't be looked at now may well be there.
    let is_there = backup.is_whole() || matches!(backup.presence, Presence::Unknown(_));
    let has_way = matches!(backup.way, WayState::Whole | WayState::Unknown(_));
    let sound = written != Status::Failed && is_there && has_way && backup.damage().is_none();
    match status {
        ListStatus::Ok => sound,
        ListStatus::Failed => !sound,
        ListStatus::All => true,
    }
}

/// The row of a backup that is not in the stores `elsewhere` yet.
fn row(
    backup: &ListedBackup,
    elsewhere: &[String],
    now: DateTime<Utc>,
    report: &Report,
) -> Vec<String> {
    let sidecar = &backup.sidecar;
    let (condition, _) = condition_of(backup);
    let paint = match condition {
        Condition::Ok => Paint::Good,
        Condition::Partial | Condition::Unknown => Paint::Warning,
        Condition::Failed | Condition::Missing | Condition::Damaged | Condition::Untrusted => {
            Paint::Bad
        }
    };
    let status = report.paint(paint, condition.as_str());
    let verified = backup.proof().map_or("-".to_owned(), |proof| {
        format!("{} {}", proof.level.as_str(), units::age(proof.at, now))
    });
    let size = sidecar
        .dump
        .as_ref()
        .map_or("-".to_owned(), |dump| units::size(dump.size_bytes));
    // Roles have no rows.
    let manifest = sidecar.manifest.as_ref().filter(|_| {
        sidecar
            .dump
            .as_ref()
            .is_none_or(|dump| dump.format != DumpFormat::GLOBALS.as_str())
    });
    let rows = manifest.map_or("-".to_owned(), |manifest| match manifest.tree {
        Some(tree) => units::count(tree.files, "file"),
        None => units::thousands(manifest.rows_total),
    });
    let mut notes = Vec::new();
    if backup.state.pinned {
        notes.push("pinned".to_owned());
    }
    if backup.needs().is_some() {
        notes.push("delta".to_owned());
    }
    notes.extend(sidecar.description.as_deref().map(str::to_owned));
    notes.extend(short_reason_of(backup));
    if !elsewhere.is_empty() {
        notes.push(format!("not yet in {}", elsewhere.join(", ")));
    }
    vec![
        backup.id().to_owned(),
        units::age(sidecar.started_at, now),
        size,
        rows,
        status,
        verified,
        notes.join(", "),
    ]
}

fn say_what_is_not_listed(catalog: &Catalog, hidden: &[&ListedBackup], report: &Report) {
    for source in catalog.sources() {
        // Its databases speak for themselves.
        if catalog.has_members(&source) {
            continue;
        }
        let newest_good = catalog.newest_good(&source).map(ListedBackup::id);
        let newer = catalog
            .of(&source)
            .take_while(|backup| Some(backup.id()) != newest_good)
            .collect::<Vec<_>>();
        let is_damaged = |backup: &&&ListedBackup| {
            let condition = condition_of(backup).0;
            matches!(condition, Condition::Damaged | Condition::Missing)
        };
        let failed = newer
            .iter()
            .filter(|backup| backup.sidecar.status == Status::Failed)
            .count();
        let damaged = newer.iter().filter(is_damaged).count();
        let since = if newest_good.is_some() {
            "since its newest good backup"
        } else {
            "and it has no good backup"
        };
        let mut parts = Vec::new();
        if failed > 0 {
            parts.push(units::count(failed as u64, "failed attempt"));
        }
        if damaged > 0 {
            parts.push(units::count(damaged as u64, "damaged backup"));
        }
        if !parts.is_empty() {
            report.warn(
                Hint::new()
                    .text(format!("{source}: {} {since}: ", parts.join(" and ")))
                    .command(["list", "--status", "failed", &source]),
            );
        }
        // Older ones are no news, but who counts must know that there are more.
        let is_newer =
            |backup: &&&ListedBackup| newer.iter().any(|newer| newer.id() == backup.id());
        let older = hidden
            .iter()
            .filter(|backup| backup.sidecar.source == *source)
            .filter(is_damaged);
        let older = older.filter(|backup| !is_newer(backup)).count() as u64;
        if older > 0 {
            let not_shown = if older == 1 {
                "is not shown"
            } else {
                "are not shown"
            };
            let count = units::count(older, "older damaged backup");
            report.note(
                Hint::new()
                    .text(format!("{source}: {count} {not_shown}: "))
                    .command(["list", "--status", "failed", &source]),
            );
        }
    }
    for backup in catalog.backups().filter(|backup| backup.state_lost) {
        report.warn(format!("{}: {STATE_LOST}", backup.id()));
    }
    for entry in &catalog.unreadable {
        report.warn(format!("{}: {}", entry.id, entry.reason));
    }
    for orphan in &catalog.orphans {
        report.warn(format!(
            "{}/{}: no sidecar knows this file; it restores with `--to`",
            orphan.source, orphan.name
        ));
    }
}
