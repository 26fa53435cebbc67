//! `dbbackup verify` as it is typed.

use super::values::levels;
use crate::sidecar::Level;
use clap::Args;

/// Prove that backups are what was written, and that they restore
#[derive(Debug, Args)]
#[command(
    long_about = "Prove that backups are what was written, and that they restore.\n\n\
        With no name: the newest good backup of each source. The result is kept with the backup, \
        unless the store is read-only. More: `dbbackup help monitoring`.",
    after_help = help!(
        "dbbackup verify",
        "dbbackup verify app --level restore",
        "dbbackup verify --all --level checksum",
    )
)]
pub struct VerifyArguments {
    /// Backups, sources or groups: an id, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or a path
    #[arg(value_name = "BACKUP|SOURCE|GROUP")]
    pub what: Vec<String>,
    /// Every backup of the named sources, or of all sources
    #[arg(long)]
    pub all: bool,
    /// checksum: the stored bytes are those written; content: it decodes, is sound inside, and
    /// equal to the manifest; restore: a trial restore
    #[arg(long, value_parser = levels(), default_value = "content", value_name = "LEVEL")]
    pub level: Level,
}
