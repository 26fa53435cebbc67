//! Collects the arguments, returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(dbbackup::run(std::env::args_os()))
}
