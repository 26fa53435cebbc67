//! `dbbackup list` as it is typed.

use super::values::key_value;
use clap::{Args, ValueEnum};

/// List backups, newest first
#[derive(Debug, Args)]
#[command(after_help = help!(
    "dbbackup list",
    "dbbackup list app --since 7d --status all",
    "dbbackup list --all-stores",
    "dbbackup list --json | jq -r '.backups[].id'",
))]
pub struct ListArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE|GROUP")]
    pub sources: Vec<String>,
    /// Only this label
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Only with this key and value (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Which attempts
    #[arg(long, value_enum, default_value_t, value_name = "STATUS")]
    pub status: ListStatus,
    /// Only those made since then: 7d, 2026-11-20
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Every store of the configuration, and which of them hold each backup; that of [store] is
    /// called `main`
    #[arg(long)]
    pub all_stores: bool,
}

/// Which attempts are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListStatus {
    /// Good and partial backups
    #[default]
    Ok,
    /// Failed attempts and damaged backups
    Failed,
    /// Every attempt
    All,
}
