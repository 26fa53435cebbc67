//! What to do about an error: text, and commands of this program that lead out of it. A warning
//! that shows such a command is one of these, too.

use crate::units;
use std::fmt;

/// What to do about an error. Commands are kept apart from the text, so that whoever shows the hint
/// can add the options that led to the same store.
///
/// ```
/// use dbbackup::error::Hint;
///
/// let hint = Hint::new().command(["list", "app"]).text(" shows the good ones");
/// assert_eq!(hint.to_string(), "`dbbackup list app` shows the good ones");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    parts: Vec<HintPart>,
}

/// The options that led to a configuration and a store, each as a shell takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The value of `--config`.
    pub config: Option<String>,
    /// The value of `--store`.
    pub store: Option<String>,
}

impl CommandOptions {
    /// Those that a command with these arguments lacks. What makes a configuration is given none:
    /// `--config /dev/null init` would write there. A page of the manual has no use for them. A
    /// store that the command names may be one of the configuration, which is told all the same.
    fn lacking_in(&self, arguments: &str) -> Vec<String> {
        let names = |option: &str| arguments.split(' ').any(|word| word == option);
        let is_without = matches!(arguments.split(' ').next(), Some("init" | "help"));
        let option = |name: &str, value: &Option<String>| {
            let value = value.as_ref().filter(|_| !is_without && !names(name));
            value.map(|value| format!("{name} {value}"))
        };
        let config = option("--config", &self.config);
        let store = option("--store", &self.store).filter(|_| !names("--config"));
        config.into_iter().chain(store).collect()
    }
}

/// A piece of a [`Hint`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum HintPart {
    Text(String),
    /// The arguments of a `dbbackup` command, each as the program gets it.
    Command(Vec<String>),
    /// The arguments of a `dbbackup` command, as they are written in a shell.
    Shell(String),
}

impl Hint {
    /// A hint that says nothing yet.
    pub fn new() -> Self {
        Hint::default()
    }

    /// The same, followed by `text` as it is: blanks around commands belong into it.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(HintPart::Text(text.into()));
        self
    }

    /// The same, followed by the `dbbackup` command with these arguments, shown in backticks.
    pub fn command<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.parts.push(HintPart::Command(arguments));
        self
    }

    /// The same, followed by the `dbbackup` command with these arguments, which are written as a
    /// shell takes them: for a command that needs a shell's own signs.
    pub fn shell_command(mut self, arguments: impl Into<String>) -> Self {
        self.parts.push(HintPart::Shell(arguments.into()));
        self
    }

    /// The same, followed by another hint.
    pub fn then(mut self, other: impl Into<Hint>) -> Self {
        self.parts.append(&mut other.into().parts);
        self
    }

    /// Reads a hint that was stored as its text: what [`Hint`] shows without options.
    pub fn from_written(text: &str) -> Self {
        let mut hint = Hint::new();
        let mut pieces = text.split(COMMAND_START);
        hint = hint.text(pieces.next().unwrap_or_default());
        for piece in pieces {
            hint = match piece.split_once('`') {
                Some((arguments, rest)) => hint.shell_command(arguments).text(rest),
                None => hint.text(format!("{COMMAND_START}{piece}")),
            };
        }
        hint
    }

    /// The hint on one line. Commands that name no store or no configuration themselves get those
    /// of `options`.
    pub fn render(&self, options: &CommandOptions) -> String {
        let parts = self.parts.iter().map(|part| match part {
            HintPart::Text(text) => text.clone(),
            HintPart::Command(arguments) => {
                let words: Vec<String> = arguments
                    .iter()
                    .map(|word| units::shell_word(word))
                    .collect();
                shown_command(&words.join(" "), options)
            }
            HintPart::Shell(arguments) => shown_command(arguments, options),
        });
        parts.collect()
    }

    /// The hint about the file `to` in place of `from`, of which it is a copy.
    pub(super) fn renamed(&self, from: &str, to: &str) -> Hint {
        let renamed = |part: &HintPart| match part {
            HintPart::Text(text) => HintPart::Text(text.replace(from, to)),
            HintPart::Shell(arguments) => HintPart::Shell(arguments.replace(from, to)),
            HintPart::Command(arguments) => HintPart::Command(
                arguments
                    .iter()
                    .map(|argument| argument.replace(from, to))
                    .collect(),
            ),
        };
        Hint {
            parts: self.parts.iter().map(renamed).collect(),
        }
    }
}

/// What a command begins with where it is shown.
const COMMAND_START: &str = "`dbbackup ";

fn shown_command(arguments: &str, options: &CommandOptions) -> String {
    let mut words = options.lacking_in(arguments);
    words.push(arguments.to_owned());
    format!("{COMMAND_START}{}`", words.join(" "))
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&CommandOptions::default()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Hint::new().text(text)
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Hint::new().text(text)
    }
}

impl From<&String> for Hint {
    fn from(text: &String) -> Self {
        Hint::new().text(text)
    }
}

impl From<&Hint> for Hint {
    fn from(hint: &Hint) -> Self {
        hint.clone()
    }
}

impl From<Hint> for String {
    fn from(hint: Hint) -> Self {
        hint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(path: &str) -> CommandOptions {
        CommandOptions {
            config: None,
            store: Some(path.to_owned()),
        }
    }

    #[test]
    fn commands_lead_to_the_same_store() {
        let hint = Hint::new()
            .text("look with ")
            .command(["list", "--status", "all", "my app"])
            .text(", then ask");
        assert_eq!(
            hint.to_string(),
            "look with `dbbackup list --status all 'my app'`, then ask"
        );
        assert_eq!(
            hint.render(&store("/srv/x")),
            "look with `dbbackup --store /srv/x list --status all 'my app'`, then ask"
        );
    }

    #[test]
    fn commands_with_a_way_of_their_own_keep_it() {
        let there = Hint::new().command(["--store", "DIR", "backup", "app.db"]);
        let init = Hint::new().command(["init"]);
        let page = Hint::new().command(["help", "recovery"]);
        for hint in [there, init, page] {
            assert_eq!(hint.render(&store("/srv/x")), hint.to_string());
        }
    }

    #[test]
    fn another_store_of_the_configuration_needs_the_configuration() {
        let options = CommandOptions {
            config: Some("/etc/b.toml".to_owned()),
            store: Some("/srv/x".to_owned()),
        };
        let doctor = Hint::new().command(["doctor", "--store", "usb"]);
        assert_eq!(
            doctor.render(&options),
            "`dbbackup --config /etc/b.toml doctor --store usb`"
        );
        let list = Hint::new().command(["list"]);
        assert_eq!(
            list.render(&options),
            "`dbbackup --config /etc/b.toml --store /srv/x list`"
        );
    }

    #[test]
    fn what_was_stored_as_text_has_its_commands() {
        let hint = Hint::new()
            .text("look: ")
            .command(["list", "my app"])
            .text("; ")
            .shell_command("cat a > b")
            .text("; `PRAGMA x`");
        let read = Hint::from_written(&hint.to_string());
        assert_eq!(read.to_string(), hint.to_string());
        assert_eq!(
            read.render(&store("/x")),
            "look: `dbbackup --store /x list 'my app'`; `dbbackup --store /x cat a > b`; `PRAGMA x`"
        );
        let unended = "it says `dbbackup list";
        assert_eq!(Hint::from_written(unended).render(&store("/x")), unended);
    }

    #[test]
    fn text_is_left_as_it_is() {
        let hint = Hint::from("a file may be called `dbbackup list`");
        assert_eq!(hint.render(&store("/srv/x")), hint.to_string());
    }
}
