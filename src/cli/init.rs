//! `dbbackup init` as it is typed.

use clap::Args;
use std::path::PathBuf;

/// Write a first configuration from what is found on this machine
#[derive(Debug, Args)]
#[command(
    long_about = "Write a first configuration from what is found on this machine: SQLite databases \
                  in the directories given, told by their \
        first bytes (hidden directories are looked into only where they are named), and a \
        PostgreSQL server that answers ($DATABASE_URL, the PG… variables, local sockets).\n\n\
        It goes to ./dbbackup.toml, or to --config FILE, which must not be there yet; with --store \
        its store is that directory. Then the lines for cron and systemd are printed.",
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
