//! Why a child failed, in words for people.

use crate::error::Error;
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

/// The error of a child that failed, with the part of its output that says why.
pub(super) fn exit_failure(name: &str, status: ExitStatus, output: &str) -> Error {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    };
    let why = summarize_stderr(output);
    if why.is_empty() {
        Error::failed(format!("{name} failed ({how})"))
    } else {
        Error::failed(format!("{name} failed ({how}): {why}"))
    }
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
