//! `dbbackup restore`: puts backups back, and asks before something is replaced.

use super::backup::{self, Making, Run};
use super::{outcome_of, set_error};
use crate::cli::RestoreArguments;
use crate::engine::Source;
use crate::error::{Context, Error, Kind, Result};
use crate::ops::Session;
use crate::ops::restore::{
    Question, RestorePreview, RestoreRequest, RestoredBackup, SafetyBackup, resolve_runs,
    restore_backups,
};
use crate::report::{Outcome, Report};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Level;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub fn run(
    arguments: &RestoreArguments,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    if arguments.to.is_some() && arguments.backups.len() > 1 {
        return Err(Error::usage("`--to` takes one backup").with_hint("restore them one by one"));
    }
    let request = RestoreRequest {
        backups: resolve_runs(&arguments.backups, session, report)?,
        to: arguments.to.clone(),
        dry_run: arguments.dry_run,
        no_safety_backup: arguments.no_safety_backup,
        in_place: arguments.in_place,
        no_owner: arguments.no_owner,
        no_tablespaces: arguments.no_tablespaces,
        tables: arguments.tables.clone(),
        paths: arguments.paths.clone(),
        jobs: arguments.jobs,
    };
    refuse_several(&request, arguments, report)?;
    let confirm = |question: &Question| confirm(question, arguments.yes, report);
    let summary = restore_backups(&request, session, report, &confirm, &|backup, old| {
        create_safety_backup(backup, old, session, report)
    })?;
    let of_json = |(id, error): &(String, Error)| serde_json::json!({"id": id, "error": error.message(), "hint": error.hint().map(ToString::to_string)});
    let failed: Vec<Value> = summary.failed.iter().map(of_json).collect();
    report.set("failed", failed);
    report.set("dry_run", arguments.dry_run);
    report.set("restored", values::<RestoredBackup>(&summary.restored));
    if arguments.dry_run {
        report.set("plan", values::<RestorePreview>(&summary.planned));
    }
    let failed: Vec<Error> = summary.failed.into_iter().map(|(_, error)| error).collect();
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(request.backups.len(), &kinds))
}

fn values<T: Serialize>(results: &[T]) -> Vec<Value> {
    (results.iter())
        .map(|result| serde_json::to_value(result).unwrap_or_default())
        .collect()
}

/// Refuses what can't be done with all backups of a group, or not without a yes.
fn refuse_several(
    request: &RestoreRequest,
    arguments: &RestoreArguments,
    report: &Report,
) -> Result<()> {
    let wanted = &request.backups;
    if request.to.is_some() && wanted.len() > 1 {
        let hint = format!("name one of them: {}", wanted.join(", "));
        return Err(Error::usage("`--to` takes one backup, and this is several").with_hint(hint));
    }
    let is_several = wanted.len() > arguments.backups.len();
    if is_several && !arguments.yes && !request.dry_run && !report.can_ask() {
        let hint = "look at it with `--dry-run`, then add `--yes`";
        return Err(Error::usage(format!(
            "{} backups would be restored, and that needs a yes",
            wanted.len()
        ))
        .with_hint(hint));
    }
    Ok(())
}

/// Saves what is about to be replaced, under the source's lock; gives its id.
fn create_safety_backup(
    backup: &SafetyBackup<'_>,
    old: &mut dyn Source,
    session: &Session,
    report: &Report,
) -> Result<String> {
    let source = backup.source;
    let settings = session.settings_of(source);
    let making = Making {
        source,
        format: backup.format,
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
    let entry = backup::make(&making, old, backup.store, &run, report)
        .context("the safety backup failed, so nothing was replaced")
        .with_hint("mend that, or do without it: `--no-safety-backup`")?;
    Ok(entry.sidecar.id)
}

/// Asks on the terminal, unless the answer was given already.
fn confirm(question: &Question, yes: bool, report: &Report) -> Result<()> {
    if yes {
        return Ok(());
    }
    match question {
        Question::Replace(what) if !report.can_ask() => Err(Error::usage(format!(
            "`{what}` would be replaced, and that needs a yes"
        ))
        .with_hint("add `--yes`, or restore beside it with `--to`")),
        Question::CreateRoles if !report.can_ask() => {
            Err(Error::usage("roles would be made, and that needs a yes").with_hint("add `--yes`"))
        }
        Question::Replace(what) => match report.ask("replace it?")? {
            true => Ok(()),
            false => Err(Error::usage(format!("`{what}` was left as it is"))),
        },
        Question::CreateRoles => match report.ask("make them?")? {
            true => Ok(()),
            false => Err(Error::usage("no role was made")),
        },
    }
}
