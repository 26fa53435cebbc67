//! The safeguards of a guarded program: backups of everything that it may change, in the order in
//! which they are put back.

#[cfg(test)]
mod tests;

use super::Session;
use crate::catalog::Backup;
use crate::engine::{DumpFormat, EngineKind};
use crate::error::{Error, Result};
use crate::plan;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Checks that everything that was asked for has a backup; one that is disabled has none.
pub fn check_nothing_left_out(what: &[String], saved: &[Backup], session: &Session) -> Result<()> {
    if let Some(name) = left_out(what, saved, session) {
        return Err(Error::failed(format!(
            "there is no backup of `{name}`: it is disabled, or outside of its `start` and `end`"
        ))
        .with_hint("leave it out, or name only what the program changes"));
    }
    if saved.is_empty() {
        return Err(Error::failed("nothing was backed up"));
    }
    Ok(())
}

/// Checks that each backup can be put back without a loss.
pub fn check_wholes(saved: &[Backup]) -> Result<()> {
    match saved.iter().find(|backup| is_part_of_database(backup)) {
        Some(part) => Err(Error::failed(format!(
            "`{}` is a part of its database, and what it leaves out would be lost",
            part.id()
        ))
        .with_hint(
            "save the whole database, or leave `--restore-on-failure` out and go back by hand",
        )),
        None => Ok(()),
    }
}

/// Puts roles before the databases that need them.
pub fn sort_for_restore(saved: &mut [Backup]) {
    let is_globals = |backup: &Backup| {
        let dump = backup.sidecar.dump.as_ref();
        dump.is_some_and(|dump| dump.format == DumpFormat::GLOBALS.as_str())
    };
    saved.sort_by_key(|backup| !is_globals(backup));
}

/// Whether a backup holds only a part of its database: putting it back would replace the whole.
fn is_part_of_database(backup: &Backup) -> bool {
    let sidecar = &backup.sidecar;
    match EngineKind::from_name(&sidecar.kind) {
        Some(EngineKind::Postgres) => {
            let database = sidecar.database.as_ref();
            database.is_some_and(|database| !database.selected_by.is_empty())
        }
        Some(EngineKind::Sqlite | EngineKind::Files) | None => false,
    }
}

/// The first source that was asked for, by its own name or its group's, and has no backup.
fn left_out(what: &[String], saved: &[Backup], session: &Session) -> Option<String> {
    let config = session.config.as_ref()?;
    let asked = what.iter().flat_map(|word| {
        config
            .group(word)
            .map_or_else(|| vec![word.clone()], <[String]>::to_vec)
    });
    let is_saved = |name: &String| {
        let cluster = |backup: &Backup| {
            backup
                .sidecar
                .database
                .as_ref()
                .and_then(|database| database.cluster.clone())
        };
        saved
            .iter()
            .any(|backup| backup.sidecar.source == *name || cluster(backup).as_ref() == Some(name))
    };
    asked
        .filter(|name| config.source(name).is_some())
        .find(|name| !is_saved(name))
}

/// The variables of a guarded program, which tell it where its backups are.
pub fn environment(
    saved: &[Backup],
    label: &str,
    session: &Session,
) -> Result<Vec<(&'static str, OsString)>> {
    let joined =
        |of: &dyn Fn(&Backup) -> String| saved.iter().map(of).collect::<Vec<_>>().join(" ");
    let mut variables: Vec<(&'static str, OsString)> = vec![
        (
            "DBBACKUP_ID",
            joined(&|backup| backup.id().to_owned()).into(),
        ),
        (
            "DBBACKUP_SOURCE",
            joined(&|backup| backup.sidecar.source.clone()).into(),
        ),
        ("DBBACKUP_LABEL", label.into()),
        (
            "DBBACKUP_STORE",
            session.store_plan()?.location().as_os_str().to_owned(),
        ),
    ];
    // As hooks have it: a `dbbackup` in the program must find the same sources, wherever it runs.
    let config = session
        .config
        .as_ref()
        .map(|config| plan::absolute(&session.cwd, &config.path));
    variables.extend(config.map(|path| ("DBBACKUP_CONFIG", path.into_os_string())));
    Ok(variables)
}

/// The exit code that a shell gives as `$?`: 128 and the number of a signal that ended the program.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
