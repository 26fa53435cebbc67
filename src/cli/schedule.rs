//! `dbbackup schedule` as it is typed.

use crate::units;
use clap::{Args, Subcommand, ValueEnum};

/// Have backups made, proven and looked after by systemd or cron
#[derive(Debug, Args)]
#[command(
    disable_help_subcommand = true,
    long_about = "Have backups made, proven and looked after: timers of systemd or lines of a \
                  crontab, for the configuration in use and for this user. root's are the \
                  machine's.\n\n\
        They start `backup`, once a week `verify --level restore`, and once a day `status`. Each \
        machine has times of its own, unless you choose them. Nothing of anybody else is touched: \
        what is written has a mark with the configuration's path, and what you have changed in it \
        is kept. Several configurations have schedules of their own.",
    after_help = help!(
        "dbbackup schedule install",
        "dbbackup schedule install --dry-run           what would be written",
        "dbbackup schedule install --at 02:30",
        "dbbackup schedule install --every 6h --verify daily",
        "dbbackup schedule show",
        "dbbackup schedule remove",
    )
)]
pub struct ScheduleArguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

/// What `dbbackup schedule` does.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    Install(ScheduleInstallArguments),
    Show(ScheduleShowArguments),
    Remove(ScheduleRemoveArguments),
}

/// Write the schedule, or bring it up to date, and have it obeyed
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Write the schedule, or bring it up to date, and have it obeyed. Called again it \
                  changes nothing, unless the configuration or an option has changed. What an \
                  earlier call was told counts until something else is said.",
    after_help = help!(
        "dbbackup schedule install",
        "dbbackup schedule install --every 1w --at 'Sun 02:30'",
        "dbbackup schedule install --cron --dry-run",
    )
)]
pub struct ScheduleInstallArguments {
    /// When backups are made, as 02:30, in the machine's time [default: between 03:00 and 05:00,
    /// always the same]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How often: 5m to 30m, 1h to 12h, 1d, 1w; what divides an hour or a day evenly [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = units::Span::parse)]
    pub every: Option<units::Span>,
    /// The label of the backups [default: scheduled]
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// How often the newest backups are restored for trial [default: weekly]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub verify: Option<VerifyFrequency>,
    /// How often it is looked whether backups are fresh and proven [default: daily]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub status: Option<StatusFrequency>,
    #[command(flatten)]
    pub scheduler: SchedulerArguments,
    /// Replace what somebody has changed, too
    #[arg(long)]
    pub force: bool,
    /// Print what would be written, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Who starts the jobs.
#[derive(Debug, Default, Args)]
pub struct SchedulerArguments {
    /// Lines of a crontab, not timers of systemd
    #[arg(long, conflicts_with = "systemd")]
    pub cron: bool,
    /// Timers of systemd, not lines of a crontab [default: where systemd runs]
    #[arg(long)]
    pub systemd: bool,
}

/// How often the newest backups are restored for trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyFrequency {
    Daily,
    Weekly,
    Monthly,
    Never,
}

/// How often it is looked whether backups are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFrequency {
    Hourly,
    Daily,
    Never,
}

/// Show what is installed, when it runs next, and what an install would change
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup schedule show", "dbbackup schedule show --json"))]
pub struct ScheduleShowArguments {}

/// Remove this configuration's schedule, and nothing else
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup schedule remove --dry-run", "dbbackup schedule remove"))]
pub struct ScheduleRemoveArguments {
    #[command(flatten)]
    pub scheduler: SchedulerArguments,
    /// Remove what somebody has changed, too
    #[arg(long)]
    pub force: bool,
    /// Print what would be removed, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
