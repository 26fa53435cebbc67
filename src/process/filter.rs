//! A child that turns what it reads into what it writes, served by one thread.

use super::{Pipes, Process, TICK};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::units;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

const POLL_TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: TICK.subsec_nanos() as _,
};

/// How long a child may neither take nor give anything.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// The most bytes that are read, and thrown away, of a child that takes nothing more.
const LONGEST_REST: usize = 16 << 20;

/// What a filter did next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterStep {
    /// It took so many bytes of the input.
    Took(usize),
    /// It gave so many bytes of output.
    Gave(usize),
    /// It has given everything, and has succeeded.
    Ended,
}

/// A child between two streams. Neither of its pipes can fill up while the other one is waited
/// for, as whoever pushes into it, or pulls out of it, waits for both at once.
#[derive(Debug)]
pub struct Filter {
    process: Option<Process>,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    name: String,
}

impl Filter {
    /// Starts a program, which messages call `name`.
    pub fn start(command: Command, name: &str) -> Result<Filter> {
        let pipes = Pipes {
            stdin: true,
            stdout: true,
        };
        let mut process = Process::start(command, name, None, pipes)?;
        let (stdin, stdout) = process.take_pipes()?;
        let unblocked = fcntl_getfl(&stdin)
            .and_then(|flags| fcntl_setfl(&stdin, flags | OFlags::NONBLOCK))
            .map_err(io::Error::from);
        unblocked?;
        Ok(Filter {
            process: Some(process),
            stdin: Some(stdin),
            stdout,
            name: name.to_owned(),
        })
    }

    /// Waits until the child takes some of `input` or gives some output, whichever comes first. An
    /// empty input is its end. A child that fails, or ends before it has everything, is an error.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<FilterStep> {
        if input.is_empty() {
            self.stdin = None;
        }
        loop {
            let (can_give, can_take) = self.wait()?;
            if can_take && let Some(stdin) = &mut self.stdin {
                match stdin.write(input) {
                    Ok(count) => return Ok(FilterStep::Took(count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // It has ended; its exit status and its messages say why.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Err(self.early_end());
                    }
                    Err(error) => return Err(error),
                }
            }
            if can_give {
                return match self.stdout.read(output)? {
                    0 if self.stdin.is_some() => Err(self.early_end()),
                    0 => self.end(),
                    count => Ok(FilterStep::Gave(count)),
                };
            }
        }
    }

    /// Waits until the child gives or takes something: whether it gives, whether it takes.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let since = Instant::now();
        loop {
            let mut ends = vec![PollFd::new(&self.stdout, PollFlags::IN)];
            if let Some(stdin) = &self.stdin {
                ends.push(PollFd::new(stdin, PollFlags::OUT));
            }
            match poll(&mut ends, Some(&POLL_TICK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {
                    interrupt::check()?;
                    if since.elapsed() >= LONGEST_SILENCE {
                        return Err(self.silence());
                    }
                }
                Ok(_) => {
                    let mut ready = ends.iter().map(|end| !end.revents().is_empty());
                    return Ok((
                        ready.next().unwrap_or_default(),
                        ready.next().unwrap_or_default(),
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn end(&mut self) -> io::Result<FilterStep> {
        if let Some(process) = self.process.take() {
            process.finish()?;
        }
        Ok(FilterStep::Ended)
    }

    fn silence(&self) -> io::Error {
        let waited = units::elapsed(LONGEST_SILENCE.as_secs_f64());
        Error::failed(format!("nothing came from `{}` for {waited}", self.name))
            .with_hint("does it wait for somebody, as a plugin does for a touch?")
            .into()
    }

    fn early_end(&mut self) -> io::Error {
        self.stdin = None;
        // It may wait until somebody reads what it has given.
        let (mut rest, mut block) = (0, [0; 4096]);
        while rest < LONGEST_REST {
            match self.wait().and_then(|_| self.stdout.read(&mut block)) {
                Ok(0) => break,
                Ok(count) => rest += count,
                Err(error) => return error,
            }
        }
        if rest >= LONGEST_REST {
            self.process = None;
        }
        match self.end() {
            Err(error) => error,
            Ok(_) => {
                Error::failed(format!("`{}` ended before it had everything", self.name)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Filter {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Filter::start(command, "the script").unwrap()
    }

    /// Pushes everything through.
    fn run(filter: &mut Filter, mut input: &[u8]) -> io::Result<Vec<u8>> {
        let (mut all, mut output) = (Vec::new(), [0; 1000]);
        loop {
            match filter.step(input, &mut output)? {
                FilterStep::Took(count) => input = &input[count..],
                FilterStep::Gave(count) => all.extend_from_slice(&output[..count]),
                FilterStep::Ended => return Ok(all),
            }
        }
    }

    #[test]
    fn more_than_both_pipes_hold_goes_through() {
        let input: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(run(&mut shell("cat"), &input).unwrap(), input);
        assert_eq!(run(&mut shell("cat"), &[]).unwrap(), b"");
        let doubled = run(&mut shell("tee /dev/stderr 2>/dev/null; echo end"), b"a").unwrap();
        assert_eq!(doubled, b"aend\n");
    }

    #[test]
    fn a_child_that_fails_or_ends_early_is_an_error() {
        // More than the pipe can hold for one who reads nothing.
        let input = vec![7; 8 << 20];
        for script in [
            "exit 3",
            "head -c 1000; echo broken >&2; exit 3",
            "cat; echo broken >&2; exit 3",
        ] {
            let error = run(&mut shell(script), &input).unwrap_err().to_string();
            assert!(error.contains("the script"), "{script}: {error}");
        }
        let error = run(&mut shell("head -c 1000"), &input).unwrap_err();
        assert!(error.to_string().contains("ended before"), "{error}");
    }
}
