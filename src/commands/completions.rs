//! `dbbackup completions`: what a shell needs to complete the command line.

use crate::cli::{Cli, CompletionsArguments};
use crate::error::Result;
use crate::report::{CommandOutcome, Report};
use clap::CommandFactory;

pub fn run(arguments: &CompletionsArguments, report: &mut Report) -> Result<CommandOutcome> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "dbbackup", &mut text);
    let text = String::from_utf8_lossy(&text);
    report.answers(text.lines().map(str::to_owned));
    report.set("script", text);
    Ok(None)
}
