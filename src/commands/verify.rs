//! `dbbackup verify`: examines backups and remembers with each what was found.

use super::rendering::show_verifications;
use crate::cli::VerifyArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::notify::{THE_COMMAND, VerbResult, tell_verb};
use crate::ops::verify::{BackupVerification, VerifyRequest, verify_backups};
use crate::report::{CommandOutcome, Report};

pub fn run(
    arguments: &VerifyArguments,
    session: &Session,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let request = VerifyRequest {
        backups: arguments.what.clone(),
        all: arguments.all,
        level: arguments.level,
    };
    let results = verify_backups(&request, session, report);
    tell(&results, session, report);
    let results = results?;
    Ok(show_verifications(&results, report))
}

/// Tells who is to hear of it, by the sources.
fn tell(results: &Result<Vec<BackupVerification>>, session: &Session, report: &Report) {
    let result_of = |one: &BackupVerification| {
        let failure = one.failure();
        VerbResult::new(one.source.as_deref().unwrap_or(&one.id), failure.as_ref())
    };
    let told: Vec<VerbResult> = match results {
        Ok(results) => results.iter().map(result_of).collect(),
        Err(error) => vec![VerbResult::new(THE_COMMAND, Some(error))],
    };
    tell_verb("verify", &told, session, report);
}
