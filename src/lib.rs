//! `dbbackup` turns databases into backups that are proven to restore. It keeps no state but files:
//! a timer or a person starts it, it does one thing, it leaves.
//!
//! The flow, one way: the **config** and the arguments become a **plan** (plain values); a command
//! has an **engine** push a database's content through the **pipeline** (hash, compress, hash; on
//! the way, where wanted, it becomes a delta, and is encrypted) into a **store**, and writes the
//! **sidecar**, which alone makes the dump a backup. Verifying and restoring are the mirror image:
//! the **catalog** finds the backup, the pipeline decodes it, the engine's destination
//! receives it, examines it, and only then puts it in place. **Retention** decides, as a pure
//! function, what goes.
//!
//! In reading order:

pub mod catalog;
pub mod cli;
pub mod commands;
pub mod config;
pub mod cores;
pub mod durable;
pub mod encryption;
pub mod engine;
pub mod error;
pub mod failpoint;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod interrupt;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod ops;
pub mod overview;
pub mod pipeline;
pub mod plan;
pub mod process;
pub mod report;
pub mod retention;
pub mod scratch;
pub mod secret;
pub mod setting;
pub mod sidecar;
pub mod signature;
pub mod statistics;
pub mod store;
pub mod stream;
pub mod tabular;
pub mod units;
pub mod users;

use clap::Parser;
use std::ffi::OsString;

/// Runs the program with these arguments, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match cli::Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(refused) => {
            let is_help = refused.exit_code() == 0;
            let code = report::usage(&refused.to_string(), is_help, &arguments);
            // Whoever reads this exit code must not take it for that of the program that was to be
            // run.
            return if code != 0 && cli::is_guard(&arguments) {
                commands::NOT_RUN
            } else {
                code
            };
        }
    };
    let mut report = report::Report::new(&cli.global);
    let outcome = interrupt::install().and_then(|()| commands::dispatch(&cli, &mut report));
    report.conclude(cli.command_name(), outcome)
}
