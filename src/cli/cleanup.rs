//! `dbbackup cleanup` as it is typed.

use super::PolicyArguments;
use clap::Args;

/// Remove what the retention policy does not keep
#[derive(Debug, Args)]
#[command(
    long_about = "Remove what the retention policy does not keep, and say why each backup is kept \
                  or removed.\n\n\
        Any --keep-… or --max-… flag replaces the configuration's whole policy. These always stay: \
        pinned backups, the newest good one and the newest proven one of each source, anything \
        whose sidecar or dump can't be read, and backups whose dump is missing but was never found \
        damaged. More: `dbbackup help retention`.",
    after_help = help!(
        "dbbackup cleanup --dry-run",
        "dbbackup cleanup app --keep-last 3 --keep-daily 7 --keep-weekly 4",
        "dbbackup cleanup --max-age 30d --max-size '20 GiB'",
    )
)]
pub struct CleanupArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE|GROUP")]
    pub sources: Vec<String>,
    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Even if the newest backup is far smaller than the one before
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub policy: PolicyArguments,
}
