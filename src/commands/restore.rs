//! `dbbackup restore`: puts backups back, and asks before something is replaced.

use super::rendering::show_restored;
use crate::cli::RestoreArguments;
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::ops::notify::{VerbResult, tell_verb};
use crate::ops::restore::{
    Question, RestoreRequest, RestoreSummary, create_safety_backup, resolve_runs, restore_backups,
};
use crate::report::{CommandOutcome, Report};

pub fn run(
    arguments: &RestoreArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
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
    });
    if !request.dry_run {
        tell(&summary, session, report);
    }
    Ok(show_restored(&summary?, &request, report))
}

/// Tells who is to hear of it.
fn tell(summary: &Result<RestoreSummary>, session: &Session, report: &Report) {
    let told = match summary {
        Ok(summary) => VerbResult::of_whole(summary.failed.iter().map(|(_, error)| error)),
        Err(error) => VerbResult::of_whole([error]),
    };
    tell_verb("restore", &[told], session, report);
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
