//! `dbbackup stats` as it is typed.

use clap::Args;

/// Show how many backups there are, how large, and how they grow
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup stats", "dbbackup stats app", "dbbackup stats --json | jq \
    .total"))]
pub struct StatsArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE|GROUP")]
    pub sources: Vec<String>,
}
