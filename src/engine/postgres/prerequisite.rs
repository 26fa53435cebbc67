//! What this machine or a script lacks for a restore, as causes of errors: a lack says nothing
//! against a backup.

use super::programs::PostgresVersion;
use crate::error::{Error, Kind};
use std::fmt;

/// A prerequisite of a restore that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingPrerequisite {
    /// No program of this name was found.
    Program {
        /// As `pg_restore`.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// Only programs older than this major version were found.
    NewerProgram {
        /// As `pg_restore`.
        name: String,
        /// The major version that is needed.
        major: u32,
        /// The versions that were found, with their paths.
        found: Vec<String>,
        /// Where they were looked for.
        place: String,
    },
    /// This version of `psql` has no restricted mode.
    RestrictedMode(PostgresVersion),
    /// The script goes on in another database, from this line on.
    SingleDatabase(u64),
}

impl fmt::Display for MissingPrerequisite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissingPrerequisite::Program { name, place } => {
                write!(f, "there is no `{name}` in {place}")
            }
            MissingPrerequisite::NewerProgram {
                name,
                major,
                found,
                place,
            } => write!(
                f,
                "no `{name}` is new enough for PostgreSQL {major}: found {} in {place}",
                found.join(", ")
            ),
            MissingPrerequisite::RestrictedMode(version) => {
                write!(
                    f,
                    "psql {version} can't be kept from obeying commands in a dump"
                )
            }
            MissingPrerequisite::SingleDatabase(line) => write!(
                f,
                "the script goes on in a database that it names itself (`\\connect`, line {line})"
            ),
        }
    }
}

impl std::error::Error for MissingPrerequisite {}

impl From<MissingPrerequisite> for Error {
    fn from(missing: MissingPrerequisite) -> Error {
        Error::from_cause(Kind::Failed, missing)
    }
}
