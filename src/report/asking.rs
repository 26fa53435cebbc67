//! Questions to whoever sits at the terminal.

use super::{Report, paint};
use crate::error::Result;
use crate::interrupt;
use crate::log::LogLevel;
use std::io::{self, BufRead, IsTerminal, Write};

/// Asks for a passphrase on the terminal, which does not show it; `None` where there is none.
pub fn ask_secret(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr().lock(), "{}: ", paint::shown(question));
    let _ = io::stderr().flush();
    let terminal = io::stdin();
    let shown = rustix::termios::tcgetattr(&terminal).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    let when = rustix::termios::OptionalActions::Flush;
    rustix::termios::tcsetattr(&terminal, when, &hidden).ok()?;
    let mut answer = String::new();
    let read = terminal.lock().read_line(&mut answer);
    let _ = rustix::termios::tcsetattr(&terminal, when, &shown);
    let _ = writeln!(io::stderr().lock());
    read.ok()?;
    interrupt::check().ok()?;
    Some(answer.trim_end_matches(['\n', '\r']).to_owned())
}

impl Report {
    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks on the terminal; only `y` or `yes` is yes, and after a signal nothing is.
    pub fn ask(&self, question: &str) -> Result<bool> {
        let _ = write!(io::stderr().lock(), "{} [y/N] ", paint::shown(question));
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        interrupt::check()?;
        let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        self.log(
            LogLevel::Info,
            &format!(
                "asked: {question} answered: {}",
                if yes { "yes" } else { "no" }
            ),
        );
        Ok(yes)
    }
}
