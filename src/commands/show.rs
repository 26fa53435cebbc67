//! `dbbackup show`: everything about one backup, for people.

mod by_hand;

use self::by_hand::recovery_command;
use crate::catalog::Backup;
use crate::cli::ShowArguments;
use crate::engine::files::listing::{ListLine, MemberType};
use crate::engine::{Database, DumpFormat};
use crate::error::{Error, Hint, Result};
use crate::ops::condition::condition_of;
use crate::ops::content::BackupWay;
use crate::ops::copy::missing_copies;
use crate::ops::{Session, catalog_for};
use crate::ops::{content, engines, find};
use crate::report::{CommandOutcome, JsonText, Paint, Report, columns};
use crate::store::{self, Access, names};
use crate::units;
use std::path::Path;

pub fn run(
    arguments: &ShowArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let DescribedBackup { backup, place, way } = locate(&arguments.backup, session)?;
    report.set("backup", backup.json());
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row =
        |name: &str, value: String| rows.push(vec![report.paint(Paint::Strong, name), value]);
    about_the_attempt(&backup, session, report, &mut row);
    about_the_dump(&backup, place.clone(), &mut row);
    about_the_way(&backup, &place, way.as_ref(), &mut row);
    about_the_database(&backup, &mut row);
    for seen in backup.verifications() {
        let detail = seen
            .detail
            .as_ref()
            .map_or(String::new(), |detail| format!(": {detail}"));
        row(
            "verified",
            format!(
                "{}, {} {}{detail}",
                units::stamp(seen.at),
                seen.level.as_str(),
                seen.status.as_str()
            ),
        );
    }
    about_the_copies(&backup, session, &mut row);
    columns(&rows, &[])
        .into_iter()
        .for_each(|line| report.answer(line));
    if arguments.contents {
        contents(&arguments.backup, &backup, session, report)?;
    }
    Ok(None)
}

/// The backup that is described, with the place of its dump and what it is built on.
struct DescribedBackup {
    backup: Backup,
    place: String,
    way: Option<BackupWay>,
}

/// A failed attempt is shown too, so this does not go through `find` for what the catalog has.
fn locate(wanted: &str, session: &Session) -> Result<DescribedBackup> {
    if find::is_path(wanted, session) {
        let found = find::find_backup(wanted, session)?;
        let place = find::place_of(&found);
        let backup = found.backup.ok_or_else(|| {
            Error::not_found(format!(
                "`{wanted}` has no sidecar, so nothing is known about it"
            ))
            .with_hint(
                Hint::new()
                    .command(["restore", wanted, "--to", "PATH"])
                    .text(" restores it all the same"),
            )
        })?;
        return Ok(DescribedBackup {
            backup,
            place,
            way: found.way,
        });
    }
    session.refuse_group(wanted)?;
    let store = store::open(&session.store_plan()?.settings, Access::Read)?;
    let mut backup = catalog_for(&*store, wanted, session.now)?
        .resolve(wanted, session.now)?
        .whole(&*store)?;
    let objects = store.objects(&backup.sidecar.source);
    let way = find::open_with_way(&mut backup, objects, session)?;
    let name = backup.sidecar.dump.as_ref().map_or_else(
        || names::sidecar_name(backup.id()),
        |dump| dump.file.clone(),
    );
    let place = store.location().object(&backup.sidecar.source, &name);
    Ok(DescribedBackup { backup, place, way })
}

fn about_the_attempt(
    backup: &Backup,
    session: &Session,
    report: &Report,
    row: &mut dyn FnMut(&str, String),
) {
    let sidecar = &backup.sidecar;
    row("id", sidecar.id.clone());
    let (condition, why) = condition_of(backup);
    let painted = report.paint(
        if backup.good() {
            Paint::Good
        } else {
            Paint::Bad
        },
        condition.as_str(),
    );
    row(
        "status",
        why.map_or(painted.clone(), |why| format!("{painted}: {why}")),
    );
    if let Some(hint) = sidecar.error.as_ref().and_then(|error| error.hint.clone()) {
        row("hint", report.rendered(&Hint::from_written(&hint)));
    }
    row("source", format!("{} ({})", sidecar.source, sidecar.kind));
    if let Some(dump) = sidecar
        .dump
        .as_ref()
        .filter(|dump| dump.encryption.is_some())
    {
        row("encrypted", format!("to {}", dump.recipients.join(", ")));
    }
    for (recipient, at) in &backup.state.keys_proven {
        let age = units::age(*at, session.now);
        row("key", format!("that of {recipient} opened it {age}"));
    }
    if !sidecar.is_open() {
        row(
            "sealed",
            "more is told with the private key: `--identity FILE`".into(),
        );
    }
    row("label", sidecar.label.clone());
    if backup.state.pinned {
        row("pinned", "yes: cleanup never removes it".into());
    }
    if let Some(text) = &sidecar.description {
        row("description", text.clone());
    }
    for (key, value) in &sidecar.tags {
        row("tag", format!("{key}={value}"));
    }
    for warning in &sidecar.warnings {
        row("warning", warning.clone());
    }
    let took = units::elapsed(sidecar.duration_seconds);
    row(
        "made",
        format!(
            "{} ({}), in {took}",
            units::stamp(sidecar.started_at),
            units::age(sidecar.started_at, session.now)
        ),
    );
    let by: Vec<String> = sidecar
        .producer
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    row("made by", by.join(", "));
}

/// Where it was copied to and when, or why not; and where it is still to go.
fn about_the_copies(backup: &Backup, session: &Session, row: &mut dyn FnMut(&str, String)) {
    for (store, last) in &backup.state.copies {
        let when = units::stamp(last.at);
        match &last.failure {
            None => row("copied", format!("to {store}, {when}")),
            Some(why) => row("not copied", format!("to {store}, {when}: {why}")),
        }
    }
    // A dump in another place than the store in use is shown without one.
    let missing = session
        .store_plan()
        .map(|in_use| missing_copies(backup, &in_use, session));
    let untried = missing.unwrap_or_default();
    for store in untried
        .iter()
        .filter(|store| !backup.state.copies.contains_key(*store))
    {
        row("not copied", format!("to {store} yet"));
    }
}

fn about_the_dump(backup: &Backup, place: String, row: &mut dyn FnMut(&str, String)) {
    let Some(dump) = &backup.sidecar.dump else {
        return;
    };
    row("dump", place);
    let ratio = if dump.size_bytes > 0 {
        dump.content_size_bytes as f64 / dump.size_bytes as f64
    } else {
        1.0
    };
    let coding = if dump.compression == "none" {
        "not compressed".to_owned()
    } else {
        format!("{} {ratio:.2}:1", dump.compression)
    };
    row(
        "size",
        format!(
            "{} ({}), from {}",
            units::size(dump.size_bytes),
            coding,
            units::size(dump.content_size_bytes)
        ),
    );
    row("sha256", dump.sha256.clone());
}

/// What a delta is built on, and how it is recovered with other programs.
fn about_the_way(
    backup: &Backup,
    place: &str,
    way: Option<&BackupWay>,
    row: &mut dyn FnMut(&str, String),
) {
    let (Some(dump), Some(way)) = (&backup.sidecar.dump, way) else {
        return;
    };
    if let Some(position) = &dump.delta {
        row(
            "delta",
            format!(
                "number {} since the full `{}`; {} on the way, {}",
                position.number,
                position.full,
                units::count(position.depth, "delta"),
                units::size(position.way_bytes)
            ),
        );
    }
    let ids: Vec<&str> = way.bases().iter().map(|base| base.id.as_str()).collect();
    row("needs", ids.join(", "));
    let command = recovery_command(dump, Path::new(place), way);
    row("by hand", format!("{command} > FILE"));
}

fn about_the_database(backup: &Backup, row: &mut dyn FnMut(&str, String)) {
    let format = backup
        .sidecar
        .dump
        .as_ref()
        .and_then(|dump| dump.format.parse::<DumpFormat>().ok());
    let of_globals = format == Some(DumpFormat::GLOBALS);
    if let Some(database) = &backup.sidecar.database {
        let what = match () {
            () if of_globals => "server",
            () if !database.paths.is_empty() => "files",
            () => "database",
        };
        row(
            what,
            format.map_or_else(
                || engines::place_of(database),
                |format| engines::place_in(format, database),
            ),
        );
        // Those of the database that roles were read through say nothing about them.
        let none = Database::default();
        let version = database
            .server_version
            .as_ref()
            .map(|version| format!("PostgreSQL {version}"));
        let database = if of_globals { &none } else { database };
        let facts: Vec<String> = [
            Some(units::size(database.size_bytes)).filter(|_| !of_globals),
            version,
            database
                .journal_mode
                .as_ref()
                .map(|mode| format!("journal mode {mode}")),
            database.page_size.map(|size| format!("page size {size}")),
            database.encoding.clone(),
            database.locale.as_ref().map(|locale| {
                format!(
                    "locale {}",
                    locale.locale.as_ref().unwrap_or(&locale.collate)
                )
            }),
            database
                .user_version
                .filter(|version| *version != 0)
                .map(|version| format!("user_version {version}")),
            database
                .owner
                .as_ref()
                .map(|owner| format!("owner {owner}")),
            database.mode.as_ref().map(|mode| format!("mode {mode}")),
            database
                .settings
                .as_ref()
                .map(|settings| format!("owner {}", settings.owner)),
        ]
        .into_iter()
        .flatten()
        .collect();
        row("", facts.join(", "));
        let needs = |what: &str, names: Vec<&str>| {
            (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
        };
        let needed: Vec<String> = [
            needs("roles", database.roles.iter().map(String::as_str).collect()),
            needs(
                "extensions",
                database
                    .extensions
                    .iter()
                    .map(|one| one.name.as_str())
                    .filter(|name| *name != "plpgsql")
                    .collect(),
            ),
            needs(
                "tablespaces",
                database.tablespaces.iter().map(String::as_str).collect(),
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !needed.is_empty() {
            row("needs", needed.join("; "));
        }
    }
    if let Some(manifest) = &backup.sidecar.manifest {
        row(
            "contents",
            if of_globals {
                engines::GLOBALS.to_owned()
            } else {
                content::describe_contents(manifest)
            },
        );
        for path in manifest.tree.iter().flat_map(|tree| &tree.changed) {
            row("changed", path.clone());
        }
    }
}

fn contents(wanted: &str, backup: &Backup, session: &Session, report: &mut Report) -> Result<()> {
    let Some(manifest) = &backup.sidecar.manifest else {
        return Ok(());
    };
    report.answer("");
    if manifest.tree.is_some() {
        return files(wanted, session, report);
    }
    report.set(
        "contents",
        serde_json::to_value(&manifest.tables).unwrap_or_default(),
    );
    let heads = ["TABLE", "KIND", "ROWS"]
        .map(|head| report.paint(Paint::Strong, head))
        .to_vec();
    let rows = manifest.tables.iter().map(|table| {
        vec![
            table.name.clone(),
            table.kind.clone(),
            table.rows.map_or_else(String::new, units::thousands),
        ]
    });
    let table: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    columns(&table, &[2])
        .into_iter()
        .for_each(|line| report.answer(line));
    Ok(())
}

/// Line by line: there may be a million.
fn files(wanted: &str, session: &Session, report: &mut Report) -> Result<()> {
    let found = find::find_backup(wanted, session)?;
    let stored = found.stored();
    let Some(mut list) = content::open_list(&stored)? else {
        return Err(Error::not_found(format!(
            "the list of contents of `{}` is not there",
            found.name()
        ))
        .with_hint(
            Hint::new()
                .command(["verify", &found.name()])
                .text(" reads the archive itself"),
        ));
    };
    if report.is_json() {
        let lines = std::iter::from_fn(|| list.next_line().transpose());
        return report.set_list("contents", lines.map(|line| Ok(JsonText::new(&line?))));
    }
    while let Some(line) = list.next_line()? {
        report.answer(in_a_line(&line));
    }
    Ok(())
}

/// As `ls -l` has it.
fn in_a_line(line: &ListLine) -> String {
    let mode = line.mode.as_deref().unwrap_or("-");
    let owner = line.owner.as_deref().unwrap_or("-");
    let size = line.size.map_or(String::new(), units::thousands);
    let time = line
        .mtime
        .as_deref()
        .map_or("-", |time| time.get(..19).unwrap_or(time))
        .replace('T', " ");
    let name = crate::engine::files::member::shown(&line.path_bytes());
    let name = match (line.kind, &line.target) {
        (MemberType::Directory, _) => format!("{name}/"),
        (MemberType::Symlink, Some(target)) => format!("{name} -> {target}"),
        (MemberType::Hardlink, Some(target)) => format!("{name} = {target}"),
        _ => name,
    };
    let note = line.note.map_or(String::new(), |note| {
        format!(
            "  [{}{}]",
            note.as_str(),
            line.why
                .as_ref()
                .map_or(String::new(), |why| format!(": {why}"))
        )
    });
    format!("{mode:>4} {owner:<17} {size:>15} {time:<19} {name}{note}")
}
