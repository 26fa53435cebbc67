//! `dbbackup cat` as it is typed.

use clap::Args;

/// Write the decoded dump of a backup to stdout
#[derive(Debug, Args)]
#[command(
    long_about = "Write the decoded dump of a backup to stdout, for a pipe: nothing else is \
                  written there.\n\n\
        Its hashes are checked on the way. Where the backup turns out to be damaged that is said \
        on stderr, after the bytes, and the exit \
        code is 4: then what came out is not to be used.",
    after_help = help!(
        "dbbackup cat shop | pg_restore --list",
        "dbbackup cat app > /tmp/app.db",
        "dbbackup cat cluster-globals | less",
    )
)]
pub struct CatArguments {
    /// An id, the beginning of one, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a
    /// dump or sidecar
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// Use it although no trusted key signed it
    #[arg(long)]
    pub untrusted: bool,
}
