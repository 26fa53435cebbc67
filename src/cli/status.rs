//! `dbbackup status` as it is typed.

use crate::units;
use clap::Args;
use std::path::PathBuf;

/// Tell whether every source is fresh and proven
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Tell whether every source is fresh and proven: one line where all is well, else \
                  one line for each source, the worst first.\n\n\
        With no name: the enabled sources of the configuration; without one, every source of the \
        store. It reads the store and connects to \
        no database. Its exit codes are those of Nagios plug-ins, and are this command's alone. More: `dbbackup help monitoring`.",
    after_help = "Examples:
  dbbackup status
  dbbackup --store /mnt/usb/backups status app --expect-every 8d
  dbbackup status --nagios
  dbbackup status --prometheus /var/lib/node_exporter/textfile/dbbackup.prom
  dbbackup --quiet status --notify

Exit codes:
  0    OK: every source is fresh, and proven where that is asked for
  1    WARNING: the last attempt failed, no recent proof, a far smaller backup, or too little space
  2    CRITICAL: no good backup, too old a one, the newest one is damaged, or the store is missing
  3    UNKNOWN: wrong usage, or a configuration or store that can't be read
  130  interrupted"
)]
pub struct StatusArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// How old the newest good backup may be, as in 8d [default: expect_every of each source, or
    /// 26h]
    #[arg(long, value_name = "DURATION", value_parser = units::Span::parse)]
    pub expect_every: Option<units::Span>,
    /// Print the one line of a Nagios plug-in, with performance data
    #[arg(long)]
    pub nagios: bool,
    /// Write metrics to this file, for the textfile collector of Prometheus
    #[arg(long, value_name = "FILE")]
    pub prometheus: Option<PathBuf>,
    /// Tell who [notify] names what is overdue, not proven or damaged: for a machine that watches
    /// the store of another one
    #[arg(long)]
    pub notify: bool,
}
