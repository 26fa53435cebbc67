//! A program of the user's that gets the document on its standard input.

use super::notification::{Notification, json_bytes};
use super::settings::CommandSettings;
use super::transport::MessageTransport;
use crate::error::{Context, Error, Result};
use crate::process::captured::{self, Captured, Limits};
use crate::secret::mask_known;
use std::fs::File;
use std::io::{Seek, Write};
use std::process::Command;
use std::time::Duration;

/// Runs the program of a `type = "command"`.
pub struct ProgramTransport<'a> {
    settings: &'a CommandSettings,
}

impl<'a> ProgramTransport<'a> {
    /// The program of these settings.
    pub fn new(settings: &'a CommandSettings) -> Self {
        ProgramTransport { settings }
    }
}

impl MessageTransport for ProgramTransport<'_> {
    fn check(&self) -> Result<String> {
        match &self.settings.command {
            Some(command) => Ok(mask_known(&command.to_string())),
            None => Err(Error::usage("no program is named")),
        }
    }

    fn send(&self, notification: &Notification, limit: Duration) -> Result<String> {
        let Some(command) = &self.settings.command else {
            return Err(Error::usage("no program is named"));
        };
        let mut command = command.in_directory(&self.settings.directory);
        command
            .env("DBBACKUP_SUBJECT", &notification.subject)
            .env("DBBACKUP_SEVERITY", notification.severity.as_str())
            .env("DBBACKUP_TOPICS", notification.topics.join(" "));
        let document = json_bytes(notification)?;
        hand_over(command, &document, limit)
    }
}

/// Runs a program to its end with these bytes on its standard input, and returns the end of what it
/// says.
pub fn hand_over(command: Command, bytes: &[u8], limit: Duration) -> Result<String> {
    let limits = Limits {
        timeout: limit,
        interruptible: true,
        hint: "a program that tells people has 10 seconds",
    };
    let input = file_of(bytes).context("handing over the message")?;
    let name = "the program that tells";
    let Captured { output, result, .. } =
        captured::run_with_input(command, input, name, limits, &mask_known);
    result.map(|()| match output.lines().last() {
        Some(line) => format!("exit status 0: {line}"),
        None => "exit status 0".to_owned(),
    })
}

/// A file without a name: whoever reads it slowly, or not at all, blocks nobody.
fn file_of(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
