//! `dbbackup help` as it is typed, and the topics that it knows: the Markdown files of man/, which
//! are compiled in, so that they are at hand without a network.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, CommandFactory};
use std::ffi::OsStr;

/// Show the help of a command, or a topic
#[derive(Debug, Args)]
#[command(
    long_about = "Show the help of a command, or a topic; with neither, what commands and topics \
                  there are.\n\n\
        A topic is a page of the manual. It is part of the program, so it needs no network and no \
        installed manual.",
    after_help = help!(
        "dbbackup help",
        "dbbackup help recovery          recovery by hand, without dbbackup",
        "dbbackup help configuration     every key of the configuration",
        "dbbackup help restore           a command",
        "dbbackup help postgresql | less",
    )
)]
pub struct HelpArguments {
    /// A command or a topic
    #[arg(value_name = "COMMAND|TOPIC", value_parser = AnyWord, hide_possible_values = true)]
    pub about: Option<String>,
}

/// A page of the manual about something that several commands share.
#[derive(Debug)]
pub struct Topic {
    /// The word after `dbbackup help`.
    pub name: &'static str,
    /// The name of the manual page, without its section.
    pub page: &'static str,
    /// The text, in Markdown.
    pub text: &'static str,
}

macro_rules! topics {
    ($($name:literal: $page:literal $section:literal),+ $(,)?) => {
        &[$(Topic {
            name: $name,
            page: $page,
            text: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/man/", $page, ".", $section, ".md"
            )),
        }),+]
    };
}

impl Topic {
    /// All topics, in the order in which they are listed.
    pub const ALL: &[Topic] = topics!(
        "configuration": "dbbackup.toml" "5",
        "sqlite": "dbbackup-sqlite" "7",
        "postgresql": "dbbackup-postgresql" "7",
        "files": "dbbackup-files" "7",
        "stores": "dbbackup-stores" "7",
        "keys": "dbbackup-keys" "7",
        "retention": "dbbackup-retention" "7",
        "monitoring": "dbbackup-monitoring" "7",
        "hooks": "dbbackup-hooks" "7",
        "scripts": "dbbackup-scripts" "7",
        "recovery": "dbbackup-recovery" "7",
        "security": "dbbackup-security" "7",
    );

    /// Finds a topic by its name, or by that of its manual page.
    pub fn find(word: &str) -> Option<&'static Topic> {
        Topic::ALL
            .iter()
            .find(|topic| topic.name == word || topic.page == word)
    }

    /// The line that says what it is about: the first one below the title.
    pub fn summary(&self) -> &'static str {
        self.text
            .lines()
            .skip(1)
            .find(|line| !line.is_empty())
            .unwrap_or_default()
    }

    /// Lists the topics, a line each, with what they are about.
    pub fn list() -> String {
        let width = Topic::ALL.iter().map(|topic| topic.name.len()).max();
        let width = width.unwrap_or_default();
        Topic::ALL
            .iter()
            .map(|topic| format!("  {:width$}  {}\n", topic.name, topic.summary()))
            .collect()
    }
}

/// Takes any word. The completions offer those that there are; `help` itself says what was probably
/// meant by another one.
#[derive(Debug, Clone, Copy)]
struct AnyWord;

impl TypedValueParser for AnyWord {
    type Value = String;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        Ok(value.to_string_lossy().into_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let commands = super::Cli::command();
        let commands: Vec<PossibleValue> = commands
            .get_subcommands()
            .map(|command| {
                let about = command.get_about().map(ToString::to_string);
                PossibleValue::new(command.get_name().to_owned()).help(about.unwrap_or_default())
            })
            .collect();
        let topics = Topic::ALL
            .iter()
            .map(|topic| PossibleValue::new(topic.name).help(topic.summary()));
        Some(Box::new(commands.into_iter().chain(topics)))
    }
}
