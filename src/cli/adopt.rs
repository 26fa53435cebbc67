//! `dbbackup adopt` as it is typed.

use clap::Args;
use std::path::PathBuf;

/// Make backups of the dumps that another tool left, without copying them
#[derive(Debug, Args)]
#[command(
    long_about = "Make backups of the dumps that another tool left: pg_back, autopostgresqlbackup, \
                  gobackup, a script of cron. Each is read to its end, as `verify` does, and gets \
                  a second name in the store: a hard link, so nothing is copied and nothing in DIR \
                  is changed. Then `list`, `show`, `verify` and `restore` know it.\n\n\
        What is read: SQLite databases, pg_dump's archives and scripts, and tar, plain or packed \
        by gzip or zstd. The file's name tells the source and the time; where it tells no time, it \
        is the file's own. What is damaged is told and not adopted. What is a backup already is \
        left alone, so this can be called again.",
    after_help = help!(
        "dbbackup adopt /var/backups/postgresql --dry-run",
        "dbbackup --store /var/backups/dbbackup adopt /var/backups/postgresql",
        "dbbackup adopt /srv/dumps/app --as app --label daily",
    )
)]
pub struct AdoptArguments {
    /// The directory with the dumps, and those below it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The source that they become backups of [default: what their names tell]
    #[arg(long = "as", value_name = "SOURCE")]
    pub source: Option<String>,
    /// The label of the backups [default: adopted]
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Copy them: for a store on another file system, or files that others may write to
    #[arg(long)]
    pub copy: bool,
    /// Say what there is, and read and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
