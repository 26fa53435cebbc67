//! `dbbackup restore` as it is typed.

use clap::Args;

/// Put a backup back, to where it came from or elsewhere
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Put a backup back, to where it came from or to --to.\n\n\
        The new data is complete and checked before the old is touched. A SQLite database is first \
        saved in the store with the label \
        `pre-restore`, then replaced through SQLite, so that a running application sees the new \
        content; a file that is no valid database is \
        set aside as `….before-<time>`. A PostgreSQL database is restored into a new one, which \
        then takes the old one's name; the old one is \
        kept as `…_before_<time>`. Each path of a tree of files is exchanged for the new one, and \
        the old one is kept as `….before-<time>`. \
        The name of a group or of a cluster restores its newest complete run, roles first.\n\n\
        More: `dbbackup help sqlite`, `postgresql`, `files`; without dbbackup: `dbbackup help \
        recovery`.",
    after_help = help!(
        "dbbackup restore app                         the newest good backup, asking first",
        "dbbackup restore app@2h --yes                as it was two hours ago",
        "dbbackup restore app --to /tmp/look.db       beside it, touching nothing else",
        "dbbackup restore shop --to shop_yesterday    a PostgreSQL database, beside the one in \
         service",
        "dbbackup restore shop --table orders --to look",
        "dbbackup restore uploads --path 'img/*' --to /tmp/look",
        "dbbackup restore ./app.sqlite3.gz --to ./app.db",
    )
)]
pub struct RestoreArguments {
    /// An id, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a dump or sidecar
    #[arg(value_name = "BACKUP", required = true)]
    pub backups: Vec<String>,
    /// Restore to this path, database (by name) or postgresql:// address instead
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Say what would be done and lost, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not back up what is replaced
    #[arg(long)]
    pub no_safety_backup: bool,
    /// PostgreSQL: empty and fill the database itself, in one transaction, instead of filling a new
    /// one that takes its name
    #[arg(long)]
    pub in_place: bool,
    /// PostgreSQL, files: give everything to the role or user that restores; the owners in the
    /// backup need not exist
    #[arg(long)]
    pub no_owner: bool,
    /// PostgreSQL: put everything into the database's own tablespace; those in the backup need not
    /// exist
    #[arg(long)]
    pub no_tablespaces: bool,
    /// PostgreSQL: only this table, with its indexes and constraints, to another database
    /// (repeatable)
    #[arg(long = "table", value_name = "TABLE", requires = "to")]
    pub tables: Vec<String>,
    /// Files: only what matches, and all below it, to another directory (repeatable); quote it:
    /// --path 'img/*.png'
    #[arg(long = "path", value_name = "GLOB", requires = "to")]
    pub paths: Vec<String>,
    /// PostgreSQL: how many jobs pg_restore may use [default: one for each core]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Use it although no trusted key signed it
    #[arg(long)]
    pub untrusted: bool,
}
