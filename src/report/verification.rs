//! How a verification's result is shown to people.

use super::{Paint, Report};
use crate::engine::CheckStatus;
use crate::error::{Error, Hint};
use crate::ops::examine::CORRUPT_THEN;
use crate::ops::verify::{Absence, BackupVerification, nothing_of};
use crate::units;

impl Report {
    /// Shows the result of one backup's verification.
    pub(super) fn show_verification(&self, verification: &BackupVerification) {
        let BackupVerification { id, result, .. } = verification;
        match &verification.absence {
            Some(Absence::NoBackup) => return self.error(&nothing_of(id)),
            Some(Absence::NotFound(error)) => return self.error(error),
            None => {}
        }
        let wrong = result.summary().unwrap_or_default();
        let level = result.level.as_str();
        match result.status() {
            CheckStatus::Ok => {
                let word = self.paint(Paint::Good, CheckStatus::Ok.as_str());
                let took = units::elapsed(result.seconds);
                self.line(format!("{word} {id}: {level} ({took})"));
            }
            CheckStatus::Damaged => self.error(&damage(verification, &wrong)),
            CheckStatus::Unprovable => {
                self.warn(format!("{id}: {level} can't be proven here: {wrong}"));
            }
            CheckStatus::Incomplete => {
                let text = format!("{id}: it is sound, but does not restore alone: {wrong}");
                self.error(&Error::failed(text).with_hint(
                    "save what it needs, too: look at `schemas`, `exclude_table` and \
                     `exclude_table_data` of the source",
                ));
            }
            CheckStatus::Error => {
                self.error(&Error::failed(format!(
                    "{id}: could not be verified: {wrong}"
                )));
            }
        }
        // What was not well is said above; the rest of one backup's story goes where that went.
        let is_well = result.status() == CheckStatus::Ok;
        for check in &result.checks {
            let text = format!("   {check}");
            match (check.status == CheckStatus::Ok, is_well) {
                (true, true) => self.line(text),
                (true, false) => self.note(text),
                (false, _) => {}
            }
        }
    }
}

/// The error of a damaged backup, with the way to another one.
fn damage(verification: &BackupVerification, wrong: &str) -> Error {
    let id = &verification.id;
    let source = verification.source.as_deref();
    if verification.result.was_corrupt_when_saved() {
        let look = Hint::from(
            "look at the database itself (`PRAGMA integrity_check`), which is likely to be \
             corrupt now, too; an older backup may be good",
        );
        let hint = match source {
            Some(source) => look
                .text(": ")
                .command(["verify", source, "--all"])
                .text(" proves them"),
            None => look,
        };
        return Error::damaged(format!("{id} {CORRUPT_THEN}: {wrong}")).with_hint(hint);
    }
    let error = Error::damaged(format!("{id} is damaged: {wrong}"));
    let Some(source) = source else {
        return error.with_hint("fetch another copy of the file from where it was copied");
    };
    // A name that was made from a path is none that `backup` knows.
    let again = match verification.is_configured {
        true => Hint::new().text(": ").command(["backup", source]),
        false => Hint::new(),
    };
    error.with_hint(
        Hint::from("take a new one now")
            .then(again)
            .text("; ")
            .command(["list", source])
            .text(" shows the others, ")
            .command(["verify", source, "--all"])
            .text(" proves them"),
    )
}
