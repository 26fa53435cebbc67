//! A program that runs in the foreground in place of this one.

use super::signal;
use crate::error::{Error, Result};
use crate::interrupt;
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
use std::process::{Command, ExitStatus};

/// Runs a program that has the terminal, stdin, stdout and stderr for itself, in this process
/// group, and passes signals on to it. It is not ended with this program: who is killed while an
/// upgrade runs should not cut that off, too.
pub fn run_in_foreground(mut command: Command) -> Result<ExitStatus> {
    interrupt::suspend_during(|| {
        let handled = interrupt::handled_signals();
        let mut signals = signal_hook::iterator::Signals::new(
            handled
                .into_iter()
                .chain([SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD]),
        )?;
        let mut child = super::withhold_secrets(&mut command).spawn()?;
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        for number in signals.forever() {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            // Keys reach the child without us; once more, and it would take it for a second Ctrl-C.
            let by_key = matches!(number, SIGINT | SIGQUIT) && has_the_terminal();
            let passed = Signal::from_named_raw(number).filter(|_| number != SIGCHLD && !by_key);
            if let Some(passed) = passed {
                signal(child.id(), passed);
            }
        }
        Ok(child.wait()?)
    })?
}

/// Whether the keys that make signals reach this process group.
pub(super) fn has_the_terminal() -> bool {
    let terminal = std::fs::File::open("/dev/tty").map_err(Error::from);
    terminal.is_ok_and(|terminal| {
        rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
    })
}
