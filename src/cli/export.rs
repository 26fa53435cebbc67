//! `dbbackup export` as it is typed.

use crate::tabular::TableFormat;
use clap::Args;
use std::path::PathBuf;

/// Write tables of a backup as CSV or JSON files, without restoring it
#[derive(Debug, Args)]
#[command(
    long_about = "Write tables of a backup as CSV or JSON files, without restoring it: \
                  DIR/orders.csv, DIR/public.orders.json. No database \
        server is needed.\n\n\
        CSV is that of RFC 4180 with a header; NULL is an empty field, an empty text is \"\". JSON \
        is an array with an object for each row, on a \
        line of its own; numbers keep all their digits, JSON columns and arrays are put in as \
        such, and NaN and Infinity are strings. Bytes \
        (BLOB, bytea) are \\x and hexadecimal digits in both. The backup is checked on the way, \
        and there are files only if all of it is sound.",
    after_help = help!(
        "dbbackup export app --format csv --to ./tables",
        "dbbackup export shop@latest:daily --format json --to ./tables --table public.orders \
         --table customers",
        "dbbackup export ./shop.dump.gz --format csv --to ./tables",
    )
)]
pub struct ExportArguments {
    /// An id, the beginning of one, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a
    /// dump or sidecar
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// The format of the files
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: TableFormat,
    /// The directory for the files; made where it is missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only this table; without a schema: of that name in any (repeatable)
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    pub overwrite: bool,
    /// Use it although no trusted key signed it
    #[arg(long)]
    pub untrusted: bool,
}
