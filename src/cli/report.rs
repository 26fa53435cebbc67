//! `dbbackup report` as it is typed.

use clap::Args;
use std::path::PathBuf;

/// Write a page of HTML about all sources and stores
#[derive(Debug, Args)]
#[command(
    long_about = "Write one page of HTML: what needs attention first, with the command to type; \
                  then each source with its newest backup in each store, the last 90 days, what \
                  retention keeps and removes next, how long restores took in drills, failures, \
                  and whether there are three copies in two places, one of them off the \
                  machine.\n\n\
        The page has no script and takes nothing from elsewhere. It says what `status` says; that \
        all is not well is no failure of this command. With `[report]` in the configuration every \
        run of `backup` writes it. With --json the same facts are printed. \
        More: `dbbackup help monitoring`.",
    after_help = help!(
        "dbbackup report --html /var/www/html/backups.html",
        "dbbackup report --html backups.html --all-stores",
        "dbbackup report --json | jq '.attention[].text'",
    )
)]
pub struct ReportArguments {
    /// Write the page to this file [default: that of the configuration]
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Read every store of the configuration, not that in use alone
    #[arg(long)]
    pub all_stores: bool,
}
