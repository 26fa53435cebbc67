//! `dbbackup help`: a command's help, a topic of the manual, or what there is of both.

mod plain;

use crate::cli::{Cli, HelpArguments, Topic};
use crate::error::{Error, Hint, Result};
use crate::report::{CommandOutcome, Report};
use crate::units::nearest;
use clap::CommandFactory;

pub fn run(arguments: &HelpArguments, report: &mut Report) -> Result<CommandOutcome> {
    let text = match &arguments.about {
        None => Cli::command().render_long_help().to_string(),
        Some(word) => match Topic::find(word) {
            Some(topic) => plain::render(topic.text, report.width()),
            None => help_of_command(word)?,
        },
    };
    report.answers(text.lines().map(str::to_owned));
    report.set("text", text);
    Ok(None)
}

/// The same as `dbbackup COMMAND --help`.
fn help_of_command(word: &str) -> Result<String> {
    let mut program = Cli::command();
    program.build();
    let names: Vec<String> = program
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    match program.find_subcommand_mut(word) {
        Some(command) => Ok(command.render_long_help().to_string()),
        None => Err(unknown(word, &names)),
    }
}

fn unknown(word: &str, commands: &[String]) -> Error {
    let topics = Topic::ALL.iter().map(|topic| topic.name);
    let known = commands.iter().map(String::as_str).chain(topics);
    let hint = match nearest(word, known) {
        Some(near) => Hint::new()
            .text(format!("did you mean `{near}`? "))
            .command(["help"])
            .text(" lists all"),
        None => Hint::new()
            .command(["help"])
            .text(" lists the commands and topics"),
    };
    Error::usage(format!("no command or topic is called `{word}`")).with_hint(hint)
}
