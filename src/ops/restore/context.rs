//! One restore's circumstances: the backup, what was asked for, and who hears of it.

use super::RestoreRequest;
use super::safety::CreateSafetyBackup;
use crate::catalog::Backup;
use crate::config::BackupSettings;
use crate::error::{Error, Result};
use crate::ops::content::describe_contents;
use crate::ops::find::{self, ResolvedBackup};
use crate::ops::{Observer, Session};
use crate::units;
use std::path::Path;

/// One restore's circumstances.
#[derive(Clone, Copy)]
pub struct RestoreContext<'a> {
    /// The backup, or the dump without a sidecar.
    pub found: &'a ResolvedBackup,
    /// The name that the user gave it.
    pub wanted: &'a str,
    /// What is asked for.
    pub request: &'a RestoreRequest,
    /// The roles that an earlier restore of this dry run would make.
    pub roles_to_come: &'a [String],
    /// The configuration, the store, the clock.
    pub session: &'a Session,
    /// Makes a backup of what is replaced.
    pub create_safety_backup: CreateSafetyBackup<'a>,
    /// Hears of the steps.
    pub observer: &'a dyn Observer,
}

impl RestoreContext<'_> {
    /// The settings of `[backup]` for the backup's source.
    pub fn settings(&self) -> BackupSettings {
        self.session.settings_of(&self.found.source)
    }

    /// The moment of the restore, as it stands in the names of files that are set aside.
    pub fn stamp(&self) -> String {
        self.session.now.format("%Y%m%dT%H%M%SZ").to_string()
    }

    /// Describes the backup: its age and what is in it; a file by its path.
    pub fn description(&self) -> String {
        let Some(backup) = &self.found.backup else {
            return find::place_of(self.found);
        };
        let at = backup.sidecar.started_at;
        let contents = (backup.sidecar.manifest.as_ref())
            .map_or("contents unknown".to_owned(), describe_contents);
        format!(
            "{}, made {} ({}), {contents}",
            backup.id(),
            units::age(at, self.session.now),
            units::stamp(at)
        )
    }

    /// The backup, which says where it belongs; an error for a dump without a sidecar. `to` stands
    /// in the hint in place of a target.
    pub fn backup(&self, to: &str) -> Result<&Backup> {
        self.found.backup.as_ref().ok_or_else(|| {
            Error::usage(format!(
                "`{}` has no sidecar, so nobody knows where it belongs",
                self.found.file
            ))
            .with_hint(self.how_to_name_target(to))
        })
    }

    /// The error of a sidecar that does not say where its backup belongs.
    pub fn unknown_place(&self, backup: &Backup, to: &str) -> Error {
        Error::usage(format!(
            "the sidecar of `{}` does not say where it belongs",
            backup.id()
        ))
        .with_hint(self.how_to_name_target(to))
    }

    /// Refuses a restore without a target unless the configuration defines the source, or this
    /// machine made the backup. `to` stands in the hint in place of a target.
    pub fn refuse_foreign(&self, backup: &Backup, to: &str) -> Result<()> {
        if let Some(entry) = self.session.entry_of(&backup.sidecar.source) {
            return match &entry.fault {
                Some(why) => Err(why.clone().into()),
                None => Ok(()),
            };
        }
        self.refuse_other_host(backup, to)
    }

    /// Refuses a backup that another machine made.
    pub fn refuse_other_host(&self, backup: &Backup, to: &str) -> Result<()> {
        let host = backup.sidecar.producer.get("host");
        if host == Some(&self.session.host) {
            return Ok(());
        }
        let made = host.map_or("another machine".to_owned(), |host| format!("`{host}`"));
        let text = format!(
            "`{}` was made on {made}, and no configuration here defines `{}`",
            backup.id(),
            backup.sidecar.source
        );
        Err(Error::usage(text).with_hint(self.how_to_name_target(to)))
    }

    /// The whole command that names a target, to be pasted: a path as it was given, and the options
    /// that led to the store.
    pub fn how_to_name_target(&self, to: &str) -> String {
        let name = if find::is_path(self.wanted, self.session) {
            self.wanted.to_owned()
        } else {
            self.found.name()
        };
        format!(
            "say where: `{} restore {} --to {to}`",
            self.program(self.session.store_flag.as_deref()),
            units::shell_word(&name)
        )
    }

    /// `dbbackup` with the options that lead to a store and to the configuration in use, for a
    /// command that is to be pasted.
    pub fn program(&self, store: Option<&str>) -> String {
        let option = |name: &str, value: Option<&str>| {
            let option = value.map(|value| format!(" {name} {}", units::shell_word(value)));
            option.unwrap_or_default()
        };
        let config = self.session.config_flag.as_deref().and_then(Path::to_str);
        format!(
            "dbbackup{}{}",
            option("--config", config),
            option("--store", store)
        )
    }
}
