//! `dbbackup guard` as it is typed.

use super::values::{key_value, levels};
use crate::sidecar::Level;
use clap::Args;
use std::ffi::OsString;

/// Back up and verify, run a program, and know the way back if it fails
#[derive(Debug, Args)]
#[command(
    long_about = "Back up and verify, run a program (an upgrade, a migration), and know the way \
                  back if it fails: the command that restores is \
        printed, or run with --restore-on-failure.\n\n\
        The exit code is the program's, 128 and the signal's number where a signal ended it; 125 \
        if it was never run, because a backup or its \
        verification failed, or if the restore failed. The program has stdin, stdout and stderr \
        for itself, what dbbackup says goes to \
        stderr, and signals are passed on to it. Its environment tells DBBACKUP_ID, \
        DBBACKUP_SOURCE, DBBACKUP_LABEL, DBBACKUP_STORE and DBBACKUP_CONFIG. With \
        --json its stdout goes to stderr. More: `dbbackup help scripts`.",
    after_help = "Examples:
  dbbackup guard -- ./upgrade.sh
  dbbackup guard shop --restore-on-failure -- bin/rails db:migrate
  dbbackup --store /mnt/usb/backups guard /srv/app/app.db --level restore -- apt-get install app

Exit codes:
  0    the program succeeded
  125  the program was never run, or what it did could not be undone; also wrong usage or \
                  configuration
  else the program's own; 128 and the signal's number where a signal ended it"
)]
pub struct GuardArguments {
    /// Configured sources or groups, paths of databases, or postgresql:// addresses [default: every
    /// enabled source]
    #[arg(value_name = "SOURCE|GROUP|PATH|URL")]
    pub what: Vec<String>,
    /// If the program fails, put everything back, without asking
    #[arg(long)]
    pub restore_on_failure: bool,
    /// How the backups are verified before the program is run
    #[arg(long, value_parser = levels(), default_value = "content", value_name = "LEVEL")]
    pub level: Level,
    /// The label of the backups
    #[arg(long, value_name = "LABEL", default_value = "pre-upgrade")]
    pub label: String,
    /// Free text to keep with them
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A key and value to keep with them (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Never let cleanup remove them
    #[arg(long)]
    pub pin: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
