//! Restoring: one driver takes the steps, and each kind of backup fills them in.

mod context;
mod differences;
mod driver;
mod files;
mod globals;
mod postgres;
mod runs;
mod safety;
mod sqlite;
#[cfg(test)]
mod tests;

pub use driver::Question;
pub use runs::resolve_runs;
pub use safety::{CreateSafetyBackup, SafetyBackup, create_safety_backup};

use self::context::RestoreContext;
use self::driver::{RestoreSteps, drive};
use super::find::{self, ResolvedBackup};
use super::{Observer, Session};
use crate::engine::{DumpFormat, EngineKind};
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::sidecar::Braked;
use serde::Serialize;

/// Which backups are restored, where to, and how.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Names of single backups, or paths, in the order in which they are restored.
    pub backups: Vec<String>,
    /// The target in place of where a backup came from: a path, a database or an address.
    pub to: Option<String>,
    /// Only plan.
    pub dry_run: bool,
    /// Keep nothing of what is replaced.
    pub no_safety_backup: bool,
    /// PostgreSQL: empty and fill the database itself.
    pub in_place: bool,
    /// PostgreSQL, files: leave out who owns what.
    pub no_owner: bool,
    /// PostgreSQL: leave out which tablespace holds what.
    pub no_tablespaces: bool,
    /// PostgreSQL: only these tables.
    pub tables: Vec<String>,
    /// Files: only what matches these patterns.
    pub paths: Vec<String>,
    /// PostgreSQL: how many jobs fill the database.
    pub jobs: Option<usize>,
}

/// The result of restoring; of a dry run, what would be done.
#[derive(Debug, Default)]
pub struct RestoreSummary {
    /// The backups that were restored.
    pub restored: Vec<RestoredBackup>,
    /// The plans of a dry run.
    pub planned: Vec<RestorePreview>,
    /// The backups that were not restored, where there were several.
    pub failed: Vec<(String, Error)>,
}

/// A backup that was restored.
#[derive(Debug, Serialize)]
pub struct RestoredBackup {
    /// The backup, or the dump's file.
    pub id: String,
    /// Where it is now.
    pub target: String,
    /// The command that takes it back; `None` where there is nothing to go back to.
    pub undo: Option<String>,
    /// Where a tree's old content is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Vec<String>>,
    /// How it was put there, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}

/// A backup that would be restored.
#[derive(Debug, Serialize)]
pub struct RestorePreview {
    /// The backup, or the dump's file.
    pub id: String,
    /// Where it would be.
    pub target: String,
    /// Whether it would replace something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<bool>,
    /// What would be lost or different, a line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<String>>,
    /// The roles that would be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
}

/// Answers a question: `Ok` to go on, or the error that ends the restore.
pub type Confirm<'a> = &'a dyn Fn(&Question) -> Result<()>;

/// Restores backups one by one. A single one that fails is an error; of several, the others are
/// restored all the same. `confirm` is asked before anything is replaced.
pub fn restore_backups(
    request: &RestoreRequest,
    session: &Session,
    observer: &dyn Observer,
    confirm: Confirm<'_>,
    create_safety_backup: CreateSafetyBackup<'_>,
) -> Result<RestoreSummary> {
    let mut summary = RestoreSummary::default();
    // A dry run makes no roles, and what comes after them would have them.
    let mut roles_to_come: Vec<String> = Vec::new();
    for wanted in &request.backups {
        let found = find::find_backup(wanted, session);
        let restored = found.and_then(|found| {
            let context = RestoreContext {
                found: &found,
                wanted,
                request,
                roles_to_come: &roles_to_come,
                session,
                create_safety_backup,
                observer,
            };
            restore_backup(context, confirm)
        });
        match restored {
            Ok(RestoreOutcome::Restored(restored)) => summary.restored.push(restored),
            Ok(RestoreOutcome::Planned(planned)) => {
                roles_to_come.extend(planned.roles.iter().flatten().cloned());
                summary.planned.push(planned);
            }
            Err(error) if request.backups.len() == 1 => return Err(error),
            Err(error) => {
                let error = error.context(wanted);
                observer.fail(&error);
                summary.failed.push((wanted.clone(), error));
                // Whoever pressed Ctrl-C means all of it.
                if interrupt::check().is_err() {
                    break;
                }
            }
        }
    }
    if !summary.failed.is_empty() {
        let failed: Vec<&str> = (summary.failed.iter())
            .map(|(name, _)| name.as_str())
            .collect();
        let verb = if request.dry_run {
            "could be restored"
        } else {
            "restored"
        };
        observer.warn(format!(
            "{} of {} {verb}; failed: {}",
            summary.restored.len() + summary.planned.len(),
            request.backups.len(),
            failed.join(", ")
        ));
    }
    Ok(summary)
}

/// How the restore of one backup ended.
enum RestoreOutcome {
    Planned(RestorePreview),
    Restored(RestoredBackup),
}

fn restore_backup(context: RestoreContext<'_>, confirm: Confirm<'_>) -> Result<RestoreOutcome> {
    let RestoreContext {
        found,
        session,
        observer,
        ..
    } = context;
    found.settle_on_this(session, observer)?;
    if let Some(Braked::Against(earlier)) = found
        .backup
        .as_ref()
        .and_then(|backup| backup.state.brake.as_ref())
    {
        observer.warn(format!(
            "{} holds far less than `{earlier}` before it; retention is held back for that",
            found.name()
        ));
    }
    restore_found(context, confirm)
}

fn restore_found(context: RestoreContext<'_>, confirm: Confirm<'_>) -> Result<RestoreOutcome> {
    let (found, request) = (context.found, context.request);
    refuse_options_of_other_kinds(found, request)?;
    let outcome = steps_of(context).and_then(|mut steps| drive(&mut *steps, context, confirm));
    let of_a_part = !request.paths.is_empty() || !request.tables.is_empty();
    outcome.map_err(|error| match &found.backup {
        Some(backup) if of_a_part && error.kind() == Kind::NotFound => error.with_hint(
            Hint::new()
                .command(["show", backup.id(), "--contents"])
                .text(" lists what is in it"),
        ),
        _ => error,
    })
}

/// Finds the place of a restore, and the steps that lead there, by the format of the dump.
fn steps_of(context: RestoreContext<'_>) -> Result<Box<dyn RestoreSteps + '_>> {
    Ok(match context.found.format {
        DumpFormat::Sqlite => Box::new(sqlite::SqliteRestore::new(context)?),
        DumpFormat::Tar => Box::new(files::FilesRestore::new(context)?),
        DumpFormat::GLOBALS => Box::new(globals::RolesRestore::new(context)?),
        DumpFormat::Postgres(format) => Box::new(postgres::PostgresRestore::new(context, format)?),
    })
}

/// Refuses options that only other kinds of backup know.
fn refuse_options_of_other_kinds(found: &ResolvedBackup, request: &RestoreRequest) -> Result<()> {
    const DATABASES: &[EngineKind] = &[EngineKind::Postgres];
    const WITH_OWNERS: &[EngineKind] = &[EngineKind::Postgres, EngineKind::Files];
    let options = [
        ("--in-place", request.in_place, DATABASES),
        ("--no-tablespaces", request.no_tablespaces, DATABASES),
        ("--table", !request.tables.is_empty(), DATABASES),
        ("--no-owner", request.no_owner, WITH_OWNERS),
        ("--path", !request.paths.is_empty(), &[EngineKind::Files]),
    ];
    let kind = found.format.kind();
    match options
        .iter()
        .find(|(_, given, kinds)| *given && !kinds.contains(&kind))
    {
        Some((option, _, kinds)) => {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.plural()).collect();
            Err(Error::usage(format!(
                "`{option}` is for backups of {}, and `{}` is none",
                kinds.join(" and of "),
                found.name()
            )))
        }
        None => Ok(()),
    }
}
