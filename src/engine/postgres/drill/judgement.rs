//! Judges a trial restore that failed: by the dump, or by what this machine lacks.

use crate::engine::postgres::fill::{find_remedy, is_machine_failure};
use crate::engine::postgres::prerequisite::MissingPrerequisite;
use crate::engine::{Check, CheckFinding, CheckStatus, CheckSubject};
use crate::error::{Error, Kind, Result};

/// The rights of the role that restores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RoleRights {
    /// It is the throw-away server's superuser.
    All,
    /// It is an ordinary role of an existing server.
    Few,
}

/// Judges a restore that failed. A lack of this machine or this role, or a full disk, says nothing
/// against the backup; everything else does.
pub(super) fn judge_failure(error: Error, rights: RoleRights, is_partial: bool) -> Result<Check> {
    let text = error.message();
    if error.kind() == Kind::Damaged {
        return Ok(Check::damaged(
            CheckSubject::Restore,
            CheckFinding::Message(text),
        ));
    }
    if is_machine_failure(&error) {
        return Err(error);
    }
    let lacking = [
        "could not access file",
        "could not load library",
        "shared_preload_libraries",
        "could not open extension control file",
        "ICU is not supported",
        "could not create locale",
        "could not open collator",
        "unsupported version",
        "invalid command \\restrict",
        "permission denied to create extension",
        "has no installation script",
        "unrecognized configuration parameter",
    ];
    let not_allowed = [
        "permission denied",
        "must be superuser",
        "must be owner",
        "must be member",
        "must be able to SET ROLE",
    ];
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let a_role_is_missing = text.contains("role \"") && text.contains("\" does not exist");
    let a_tablespace_is_missing = text.contains("default_tablespace");
    let says_nothing = error.cause::<MissingPrerequisite>().is_some()
        || has(&lacking)
        || a_tablespace_is_missing
        || a_role_is_missing
        || rights == RoleRights::Few && has(&not_allowed);
    let status = if says_nothing {
        CheckStatus::Unprovable
    } else if is_partial && text.contains(" does not exist") {
        // What was left out on purpose is missing, which is no damage.
        CheckStatus::Incomplete
    } else {
        CheckStatus::Damaged
    };
    let failure = CheckFinding::Failure {
        message: text,
        hint: find_remedy(&error).map(|hint| hint.to_string()),
    };
    Ok(Check::new(CheckSubject::Restore, status, failure))
}
