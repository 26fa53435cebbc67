//! `dbbackup verify`: examines backups and remembers with each what was found.

use super::{outcome_of, set_error};
use crate::cli::VerifyArguments;
use crate::error::{Error, Kind, Result};
use crate::ops::Session;
use crate::ops::verify::{BackupVerification, VerifyRequest, verify_backups};
use crate::report::{Outcome, Report};

pub fn run(arguments: &VerifyArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    let request = VerifyRequest {
        backups: arguments.what.clone(),
        all: arguments.all,
        level: arguments.level,
    };
    let results = verify_backups(&request, session, report)?;
    report.set("results", results.iter().map(json).collect::<Vec<_>>());
    let failed: Vec<Error> = (results.iter())
        .filter_map(BackupVerification::failure)
        .collect();
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    Ok(outcome_of(results.len(), &kinds))
}

fn json(verification: &BackupVerification) -> serde_json::Value {
    let result = &verification.result;
    serde_json::json!({"id": verification.id, "level": result.level, "status": result.status(),
        "checks": result.checks})
}
