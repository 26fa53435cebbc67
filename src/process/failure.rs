//! Why a child failed, in words for people.

use crate::error::{Error, Kind};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Names what was being started, for an error: behind a prefix that is the prefix's program.
pub(super) fn start_attempt(command: &Command, name: &str) -> String {
    let program = Path::new(command.get_program());
    if program.file_name().is_some_and(|file| file == name) {
        format!("starting `{}`", program.display())
    } else {
        format!("starting `{}` for `{name}`", program.display())
    }
}

/// A program that ended with a failure, by its exit status or a signal.
#[derive(Debug)]
pub struct ProgramFailure {
    name: String,
    status: ExitStatus,
    /// What it wrote to stderr, in the order in which it is shown.
    stderr: String,
}

impl ProgramFailure {
    /// The exit status, unless a signal ended the program.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the program.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

impl fmt::Display for ProgramFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "{name} failed (exit status {code})")?,
            (None, Some(signal)) => write!(f, "{name} failed (killed by signal {signal})")?,
            (None, None) => write!(f, "{name} failed (unknown status)")?,
        }
        if self.stderr.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.stderr)
    }
}

impl std::error::Error for ProgramFailure {}

/// The error of a child that failed, with the part of its output that says why.
pub(super) fn exit_failure(name: &str, status: ExitStatus, output: &str) -> Error {
    let failure = ProgramFailure {
        name: name.to_owned(),
        status,
        stderr: summarize_stderr(output),
    };
    Error::from_cause(Kind::Failed, failure)
}

/// The lines of a program's output that say why it failed: first the one that the server calls an
/// error, then the end.
pub fn summarize_stderr(output: &str) -> String {
    let end = last_lines(output, 6);
    match output
        .lines()
        .map(str::trim)
        .find(|line| line.contains("ERROR: ") || line.contains("FATAL: "))
    {
        Some(first) if !end.starts_with(first) => {
            let rest = end.replacen(&format!("; {first}"), "", 1);
            format!("{first}; {rest}")
        }
        _ => end,
    }
}

/// The last lines that are not blank, joined.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
