//! `dbbackup init` as it is typed.

use clap::Args;
use std::path::PathBuf;

/// Write a first configuration from what is found on this machine
#[derive(Debug, Args)]
#[command(
    long_about = "Write a first configuration from what is found on this machine: SQLite databases \
                  in the directories given, and a PostgreSQL server that answers ($DATABASE_URL, the \
        PG… variables, local sockets). A SQLite database is known by its first bytes. Hidden \
        directories are searched only if they are named.\n\n\
        The file is ./dbbackup.toml, or --config FILE. It must not exist yet. Its store is the \
        directory of --store. Then the lines for cron and systemd are printed. Every key: \
        `dbbackup help configuration`.",
    after_help = help!(
        "dbbackup init",
        "dbbackup init /srv /var/lib/app --config /etc/dbbackup/config.toml --store \
         /var/backups/dbbackup",
    )
)]
pub struct InitArguments {
    /// Directories to look for databases in [default: the current one]
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
}
