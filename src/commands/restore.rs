//! `dbbackup restore`: finds what is meant, and has it put back by its kind; what all kinds share
//! in this is here.

mod files;
mod globals;
mod postgres;
mod runs;
mod sqlite;

use super::backup::{self, Making, Run};
use super::{holds, outcome_of, set_error};
use crate::catalog::Backup;
use crate::cli::RestoreArguments;
use crate::engine::{Check, DumpFormat, EngineKind, Manifest, Source};
use crate::error::{Context, Error, Kind, Result};
use crate::ops::Session;
use crate::ops::examine;
use crate::ops::find::{self, ResolvedBackup};
use crate::report::{Outcome, Report};
use crate::retention::PRE_RESTORE;
use crate::sidecar::{Braked, Level};
use crate::store::Store;
use crate::units;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub fn run(
    arguments: &RestoreArguments,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    if arguments.to.is_some() && arguments.backups.len() > 1 {
        return Err(Error::usage("`--to` takes one backup").with_hint("restore them one by one"));
    }
    let wanted = runs::resolve(&arguments.backups, session, report)?;
    if arguments.to.is_some() && wanted.len() > 1 {
        let hint = format!("name one of them: {}", wanted.join(", "));
        return Err(Error::usage("`--to` takes one backup, and this is several").with_hint(hint));
    }
    if wanted.len() > arguments.backups.len()
        && !arguments.yes
        && !arguments.dry_run
        && !report.can_ask()
    {
        let hint = "look at it with `--dry-run`, then add `--yes`";
        return Err(Error::usage(format!(
            "{} backups would be restored, and that needs a yes",
            wanted.len()
        ))
        .with_hint(hint));
    }
    let mut done = Vec::new();
    let mut failed: Vec<(&String, Error)> = Vec::new();
    // A dry run makes none, and what comes after them would have them.
    let mut roles_to_come: Vec<String> = Vec::new();
    for one in &wanted {
        match restore_one(one, arguments, &roles_to_come, session, report) {
            Ok(value) => {
                let roles = value["roles"].as_array().into_iter().flatten();
                roles_to_come.extend(roles.filter_map(|role| role.as_str().map(str::to_owned)));
                done.push(value);
            }
            Err(error) if wanted.len() == 1 => return Err(error),
            Err(error) => {
                let error = error.context(one);
                report.error(&error);
                failed.push((one, error));
                // Whoever pressed Ctrl-C means all of it.
                if crate::interrupt::check().is_err() {
                    break;
                }
            }
        }
    }
    if let Some((last, before)) = failed.split_last() {
        let names: Vec<&str> = before
            .iter()
            .chain([last])
            .map(|(name, _)| name.as_str())
            .collect();
        let verb = if arguments.dry_run {
            "could be restored"
        } else {
            "restored"
        };
        report.warn(format!(
            "{} of {} {verb}; failed: {}",
            done.len(),
            wanted.len(),
            names.join(", ")
        ));
    }
    let of_json = |(id, error): &(&String, Error)| {
        serde_json::json!({"id": id,
        "error": error.message(), "hint": error.hint().map(ToString::to_string)})
    };
    report.set("failed", failed.iter().map(of_json).collect::<Vec<_>>());
    let failed: Vec<Error> = failed.into_iter().map(|(_, error)| error).collect();
    report.set("dry_run", arguments.dry_run);
    let (restored, plan) = if arguments.dry_run {
        (Vec::new(), done)
    } else {
        (done, Vec::new())
    };
    report.set("restored", restored);
    if arguments.dry_run {
        report.set("plan", plan);
    }
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(wanted.len(), &kinds))
}

fn restore_one(
    wanted: &str,
    arguments: &RestoreArguments,
    roles_to_come: &[String],
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    let found = find::find(wanted, session)?;
    for newer in &found.passed_over {
        report.warn(format!("{newer}: it is passed over"));
    }
    if let Some(Braked::Against(earlier)) = found
        .backup
        .as_ref()
        .and_then(|backup| backup.state.brake.as_ref())
    {
        report.warn(format!(
            "{} holds far less than `{earlier}` before it; retention is held back for that",
            found.name()
        ));
    }
    put_back(&found, wanted, arguments, roles_to_come, session, report).map_err(|error| match error
        .hint()
        .map(ToString::to_string)
    {
        // An engine does not know what its content is called here.
        Some(hint) if hint.contains(" BACKUP ") => {
            let hint = hint.replace(
                " BACKUP ",
                &format!(" {} ", units::shell_word(&found.name())),
            );
            error.with_new_hint(hint)
        }
        _ => error,
    })
}

fn put_back(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    roles_to_come: &[String],
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    refuse_flags_of_other_kinds(found, arguments)?;
    let restored = match found.format {
        DumpFormat::Sqlite => sqlite::restore(found, wanted, arguments, session, report),
        DumpFormat::Tar => files::restore(found, wanted, arguments, session, report),
        DumpFormat::GLOBALS => globals::restore(found, arguments, session, report),
        DumpFormat::Postgres(format) => postgres::restore(
            found,
            format,
            wanted,
            arguments,
            roles_to_come,
            session,
            report,
        ),
    };
    let of_a_part = !arguments.paths.is_empty() || !arguments.tables.is_empty();
    restored.map_err(|error| match &found.backup {
        Some(backup) if of_a_part && error.kind() == Kind::NotFound => error.with_hint(format!(
            "`dbbackup show {} --contents` lists what is in it",
            backup.id()
        )),
        _ => error,
    })
}

/// Options that only some kinds of backup know.
fn refuse_flags_of_other_kinds(found: &ResolvedBackup, arguments: &RestoreArguments) -> Result<()> {
    const DATABASES: &[EngineKind] = &[EngineKind::Postgres];
    const WITH_OWNERS: &[EngineKind] = &[EngineKind::Postgres, EngineKind::Files];
    let flags = [
        ("--in-place", arguments.in_place, DATABASES),
        ("--no-tablespaces", arguments.no_tablespaces, DATABASES),
        ("--table", !arguments.tables.is_empty(), DATABASES),
        ("--no-owner", arguments.no_owner, WITH_OWNERS),
        ("--path", !arguments.paths.is_empty(), &[EngineKind::Files]),
    ];
    let kind = found.format.kind();
    match flags
        .iter()
        .find(|(_, given, kinds)| *given && !kinds.contains(&kind))
    {
        Some((flag, _, kinds)) => {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.plural()).collect();
            Err(Error::usage(format!(
                "`{flag}` is for backups of {}, and `{}` is none",
                kinds.join(" and of "),
                found.name()
            )))
        }
        None => Ok(()),
    }
}

/// Without `--to`: the configuration defines the source, or this machine made the backup. `to` is
/// what the hint says in place of a target.
fn must_belong_here(
    found: &ResolvedBackup,
    backup: &Backup,
    wanted: &str,
    to: &str,
    session: &Session,
) -> Result<()> {
    if let Some(entry) = session.entry_of(&backup.sidecar.source) {
        return match &entry.fault {
            Some(why) => Err(why.clone().into()),
            None => Ok(()),
        };
    }
    let host = backup.sidecar.producer.get("host");
    if host == Some(&session.host) {
        return Ok(());
    }
    let made = host.map_or("another machine".to_owned(), |host| format!("`{host}`"));
    let text = format!(
        "`{}` was made on {made}, and no configuration here defines `{}`",
        backup.id(),
        backup.sidecar.source
    );
    Err(Error::usage(text).with_hint(say_where(found, wanted, to, session)))
}

/// The whole command that names a target, to be pasted: a path as it was given, and the options
/// that led to the store.
fn say_where(found: &ResolvedBackup, wanted: &str, to: &str, session: &Session) -> String {
    let name = if find::is_path(wanted, session) {
        wanted.to_owned()
    } else {
        found.name()
    };
    format!(
        "say where: `{} restore {} --to {to}`",
        program(session.store_flag.as_deref(), session),
        units::shell_word(&name)
    )
}

/// `dbbackup` with the options that lead to this store and to the configuration in use, for a
/// command that is to be pasted.
fn program(store: Option<&str>, session: &Session) -> String {
    let option = |name: &str, value: Option<&str>| {
        value.map_or(String::new(), |value| {
            format!(" {name} {}", units::shell_word(value))
        })
    };
    let config = option(
        "--config",
        session.config_flag.as_deref().and_then(Path::to_str),
    );
    format!("dbbackup{config}{}", option("--store", store))
}

/// How what a restore replaced is told to be kept, and how it is got rid of.
fn kept_as(id: &str, program: &str) -> String {
    format!(
        "   what was there is kept as {id}, a `{PRE_RESTORE}` backup, pinned; `{program} delete \
         {id} --force` removes it"
    )
}

/// Asks before something is replaced.
fn confirm(what: &str, arguments: &RestoreArguments, report: &Report) -> Result<()> {
    if arguments.yes {
        return Ok(());
    }
    if !report.can_ask() {
        return Err(
            Error::usage(format!("`{what}` would be replaced, and that needs a yes"))
                .with_hint("add `--yes`, or restore beside it with `--to`"),
        );
    }
    if report.ask("replace it?")? {
        Ok(())
    } else {
        Err(Error::usage(format!("`{what}` was left as it is")))
    }
}

/// A backup that is found damaged goes nowhere.
fn must_be_sound(found: &ResolvedBackup, checks: &[Check]) -> Result<()> {
    let Some(damaged) = examine::damage_in(&found.name(), checks) else {
        return Ok(());
    };
    let hint = match &found.backup {
        Some(backup) => format!(
            "nothing was touched; `dbbackup list {}` shows other backups",
            backup.sidecar.source
        ),
        None => "nothing was touched".to_owned(),
    };
    Err(damaged.with_hint(hint))
}

/// Saves what is about to be replaced, under the source's lock; gives back its id.
fn safety_backup(
    old: &mut dyn Source,
    source: &str,
    format: DumpFormat,
    store: &dyn Store,
    session: &Session,
    report: &Report,
) -> Result<String> {
    let settings = session.settings_of(source);
    let making = Making {
        source,
        format,
        encoding: settings.encoding(),
        verify_after: Some(Level::Checksum),
        scratch_dir: &settings.scratch_dir,
        proving: &session.proving_of(source),
    };
    let run = Run {
        id: format!("{}-restore", session.now.format("%Y%m%dT%H%M%SZ")),
        members: Vec::new(),
        host: session.host.clone(),
        label: PRE_RESTORE.to_owned(),
        description: Some("what a restore replaced".to_owned()),
        tags: BTreeMap::new(),
        pinned: true,
        lock_wait: session.lock_wait,
        config: None,
    };
    let entry = backup::make(&making, old, store, &run, report)
        .context("the safety backup failed, so nothing was replaced")
        .with_hint("mend that, or do without it: `--no-safety-backup`")?;
    Ok(entry.sidecar.id)
}

/// The backup, its age and what is in it; a file by its path.
fn described(found: &ResolvedBackup, session: &Session) -> String {
    let Some(backup) = &found.backup else {
        return find::path_of(found).display().to_string();
    };
    let at = backup.sidecar.started_at;
    let contents = contents_text(backup.sidecar.manifest.as_ref());
    format!(
        "{}, made {} ({}), {contents}",
        backup.id(),
        units::age(at, session.now),
        units::stamp(at)
    )
}

fn contents_text(manifest: Option<&Manifest>) -> String {
    manifest.map_or("contents unknown".to_owned(), holds)
}

/// The tables that will have another number of rows, the largest losses first.
fn differences(now: &Manifest, then: Option<&Manifest>) -> Vec<String> {
    let Some(then) = then else { return Vec::new() };
    let rows_then: BTreeMap<&str, u64> = then
        .tables
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.rows?)))
        .collect();
    let mut lines: Vec<(i128, String)> = Vec::new();
    for table in &now.tables {
        let Some(rows) = table.rows else { continue };
        match rows_then.get(table.name.as_str()) {
            None => lines.push((
                i128::from(rows),
                format!(
                    "{}: {} now, not in the backup",
                    table.name,
                    units::count(rows, "row")
                ),
            )),
            Some(before) if *before != rows => {
                let text = format!(
                    "{}: {} now, {} in the backup",
                    table.name,
                    units::thousands(rows),
                    units::thousands(*before)
                );
                lines.push((i128::from(rows) - i128::from(*before), text));
            }
            Some(_) => {}
        }
    }
    let names_now: BTreeSet<&str> = now.tables.iter().map(|table| table.name.as_str()).collect();
    for table in then
        .tables
        .iter()
        .filter(|table| table.compare && !names_now.contains(table.name.as_str()))
    {
        let rows = table.rows.unwrap_or(0);
        lines.push((
            -i128::from(rows),
            format!(
                "{}: not there now, {} in the backup",
                table.name,
                units::count(rows, "row")
            ),
        ));
    }
    lines.sort_by_key(|(lost, _)| std::cmp::Reverse(*lost));
    let more = lines.len().saturating_sub(10);
    let mut shown: Vec<String> = lines.into_iter().take(10).map(|(_, line)| line).collect();
    if more > 0 {
        shown.push(format!("and {more} more tables differ"));
    }
    shown
}
