//! `dbbackup show` as it is typed.

use clap::Args;

/// Show everything about one backup
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup show app", "dbbackup show app@latest:daily --contents"))]
pub struct ShowArguments {
    /// An id, the beginning of one, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a
    /// dump or sidecar
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// List its tables with their rows, or its files
    #[arg(long)]
    pub contents: bool,
}
