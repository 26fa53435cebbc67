//! `dbbackup backup` as it is typed.

use super::values::{jobs, key_value};
use crate::engine::EngineKind;
use clap::Args;

/// Back up what is named, or every enabled source
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Back up what is named, or every enabled source of the configuration.\n\n\
        An argument is a configured source or group, else the path of a SQLite database or of a \
        directory, or a postgresql:// address, which \
        need no configuration; the source is then named after the file, the directory or the \
        database. One source's failure never stops the others. After each \
        success the retention policy is applied. The keys of the configuration: `dbbackup help \
        configuration`.",
    after_help = help!(
        "dbbackup backup",
        "dbbackup backup app --label pre-upgrade --description 'before v2.0' --pin",
        "dbbackup --store /mnt/usb/backups backup /srv/app/app.db",
        "dbbackup --store /mnt/usb/backups backup /srv/app/uploads",
        "dbbackup --store /mnt/usb/backups backup postgresql://backup@db.internal/shop",
    )
)]
pub struct BackupArguments {
    /// Configured sources or groups, paths of databases or directories, or postgresql:// addresses
    #[arg(value_name = "SOURCE|GROUP|PATH|URL")]
    pub what: Vec<String>,
    /// Every enabled source of the configuration, as without an argument
    #[arg(long, conflicts_with_all = ["what", "name", "kind"])]
    pub all: bool,
    /// How many sources at once [default: `jobs` in [backup], or 1]
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// Why this backup is made: manual, daily, pre-upgrade, any word
    #[arg(long, value_name = "LABEL", default_value = "manual")]
    pub label: String,
    /// Free text to keep with it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A key and value to keep with it (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Make fulls, where `incremental` would have made deltas
    #[arg(long)]
    pub full: bool,
    /// Read every file of a tree, although its times say that it is what it was
    #[arg(long)]
    pub reread: bool,
    /// Never let cleanup remove it
    #[arg(long)]
    pub pin: bool,
    /// Allow a plain backup in a store that holds encrypted ones alone
    #[arg(long)]
    pub plain: bool,
    /// The name of the source (with one path or address)
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// The kind of a source that the configuration does not know [default: recognized]
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<EngineKind>,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
