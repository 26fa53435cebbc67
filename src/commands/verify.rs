//! `dbbackup verify`: examines backups and remembers with each what was found.

use super::rendering::show_verifications;
use crate::cli::VerifyArguments;
use crate::error::Result;
use crate::ops::Session;
use crate::ops::verify::{VerifyRequest, verify_backups};
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
    let results = verify_backups(&request, session, report)?;
    Ok(show_verifications(&results, report))
}
