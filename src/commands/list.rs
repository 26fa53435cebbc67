//! `dbbackup list`: what there is, newest first, and a word on failures that are newer than the newest good one.

use super::{Session, catalog_of};
use crate::catalog::{Backup, Catalog};
use crate::cli::{List, ListStatus};
use crate::error::{Error, Result};
use crate::report::{Outcome, Paint, Report, columns};
use crate::sidecar::Status;
use crate::units;
use chrono::{DateTime, Utc};

pub fn run(arguments: &List, session: &Session, report: &mut Report) -> Result<Outcome> {
    let since = match &arguments.since {
        Some(text) => Some(units::parse_when(text, session.now).map_err(Error::usage)?),
        None => None,
    };
    let store = session.reading()?;
    let catalog = catalog_of(&store, &arguments.sources)?;
    let shown: Vec<&Backup> = catalog
        .backups
        .iter()
        .filter(|backup| matches(backup, arguments, since))
        .take(arguments.limit.unwrap_or(usize::MAX))
        .collect();
    let rows: Vec<Vec<String>> = shown.iter().map(|backup| row(backup, session.now, report)).collect();
    if rows.is_empty() {
        report.note("no backups match");
    } else {
        let heads = ["ID", "AGE", "SIZE", "ROWS", "STATUS", "VERIFIED", ""].map(|head| report.paint(Paint::Strong, head));
        let table: Vec<Vec<String>> = std::iter::once(heads.to_vec()).chain(rows).collect();
        columns(&table, &[1, 2, 3]).into_iter().for_each(|line| report.answer(line));
    }
    say_what_is_not_listed(&catalog, report);
    report.set("backups", shown.iter().map(|backup| backup.json()).collect::<Vec<_>>());
    let unreadable =
        |entry: &crate::catalog::Unreadable| serde_json::json!({"id": entry.id, "source": entry.source, "reason": entry.reason});
    report.set("unreadable", catalog.unreadable.iter().map(unreadable).collect::<Vec<_>>());
    Ok(None)
}

fn matches(backup: &Backup, arguments: &List, since: Option<DateTime<Utc>>) -> bool {
    let sidecar = &backup.sidecar;
    let sound =
        sidecar.status != Status::Failed && (backup.good() || sidecar.status == Status::Partial && backup.damage().is_none());
    let status = match arguments.status {
        ListStatus::Ok => sound,
        ListStatus::Failed => !sound,
        ListStatus::All => true,
    };
    status
        && arguments.label.as_ref().is_none_or(|label| *label == sidecar.label)
        && arguments.tags.iter().all(|(key, value)| sidecar.tags.get(key) == Some(value))
        && since.is_none_or(|since| sidecar.started_at >= since)
}

fn row(backup: &Backup, now: DateTime<Utc>, report: &Report) -> Vec<String> {
    let sidecar = &backup.sidecar;
    let status = match standing(backup) {
        ("ok", _) => report.paint(Paint::Good, "ok"),
        ("partial", _) => report.paint(Paint::Warning, "partial"),
        (word, _) => report.paint(Paint::Bad, word),
    };
    let verified = backup.proof().map_or("-".to_owned(), |proof| format!("{} {}", proof.level.word(), units::age(proof.at, now)));
    let size = sidecar.dump.as_ref().map_or("-".to_owned(), |dump| units::size(dump.size_bytes));
    let rows = sidecar.manifest.as_ref().map_or("-".to_owned(), |manifest| units::thousands(manifest.rows_total));
    let mut notes = Vec::new();
    if backup.state.pinned {
        notes.push("pinned".to_owned());
    }
    notes.extend(sidecar.description.clone());
    notes.extend(standing(backup).1);
    vec![sidecar.id.clone(), units::age(sidecar.started_at, now), size, rows, status, verified, notes.join(", ")]
}

/// One word, and why where it is not a good one.
pub fn standing(backup: &Backup) -> (&'static str, Option<String>) {
    let sidecar = &backup.sidecar;
    match (&sidecar.dump, backup.stored_size) {
        _ if sidecar.status == Status::Failed => ("failed", sidecar.error.as_ref().map(|error| error.message.clone())),
        (Some(_), None) => ("missing", Some("the dump is not there".into())),
        (Some(dump), Some(size)) if size != dump.size_bytes => {
            ("damaged", Some(format!("the dump has {size} bytes, not {}", dump.size_bytes)))
        }
        _ => match backup.damage() {
            Some(damage) => ("damaged", damage.detail.clone()),
            None => (sidecar.status.word(), None),
        },
    }
}

/// What a backup with a damaged state file is told to have.
pub const STATE_LOST: &str = "its state file is damaged; it may have been pinned, and stays as if it were";

fn say_what_is_not_listed(catalog: &Catalog, report: &Report) {
    for source in catalog.sources() {
        // Its databases speak for themselves.
        if catalog.has_members(&source) {
            continue;
        }
        let newest_good = catalog.newest_good(&source).map(Backup::id);
        let newer = catalog.of(&source).take_while(|backup| Some(backup.id()) != newest_good).collect::<Vec<_>>();
        let failed = newer.iter().filter(|backup| backup.sidecar.status == Status::Failed).count();
        let damaged = newer.iter().filter(|backup| matches!(standing(backup).0, "damaged" | "missing")).count();
        let since = if newest_good.is_some() { "since its newest good backup" } else { "and it has no good backup" };
        let mut parts = Vec::new();
        if failed > 0 {
            parts.push(units::count(failed as u64, "failed attempt"));
        }
        if damaged > 0 {
            parts.push(units::count(damaged as u64, "damaged backup"));
        }
        if !parts.is_empty() {
            report.warn(format!("{source}: {} {since}: `dbbackup list --status failed {source}`", parts.join(" and ")));
        }
    }
    for backup in catalog.backups.iter().filter(|backup| backup.state_lost) {
        report.warn(format!("{}: {STATE_LOST}", backup.id()));
    }
    for entry in &catalog.unreadable {
        report.warn(format!("{}: {}", entry.id, entry.reason));
    }
    for stray in &catalog.strays {
        report.warn(format!("{}/{}: no sidecar knows this file; it restores with `--to`", stray.source, stray.name));
    }
}
