//! A command line that the parser took for a call for help, or refused: nothing else has begun.

use super::journal::{is_journal, with_priority};
use super::tame;
use crate::error::Kind;
use crate::log::LogLevel;
use crate::units::printable;
use std::ffi::OsString;
use std::io::{self, Write};

/// What `status` ends with where it was called wrongly.
const UNKNOWN: u8 = 3;

/// Prints what the parser of the command line has to say: a help text, or why the arguments were
/// refused.
pub fn usage(text: &str, is_help: bool, arguments: &[OsString]) -> u8 {
    if is_help {
        // A reader that has gone is no failure of ours.
        let _ = io::stdout().lock().write_all(text.as_bytes());
        return 0;
    }
    // It repeats the arguments, which a script may have from anywhere.
    let journal = is_journal();
    for line in text.lines() {
        let line = if journal {
            with_priority(LogLevel::Error, line)
        } else {
            format!("{}\n", printable(line))
        };
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
    let first = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    if arguments.iter().any(|argument| argument == "--json") {
        let document = serde_json::json!({"command": null, "outcome": "failed", "error": first});
        let _ = writeln!(io::stdout().lock(), "{}", tame(format!("{document:#}")));
    }
    if crate::cli::calls(arguments, "status") {
        // A monitor must not take its own mistake for a missing backup; it reads stdout.
        if arguments.iter().any(|argument| argument == "--nagios") {
            let _ = writeln!(
                io::stdout().lock(),
                "DBBACKUP UNKNOWN - {}",
                printable(first)
            );
        }
        return UNKNOWN;
    }
    Kind::Usage.exit_code()
}
