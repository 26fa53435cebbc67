//! The pipes to a child and from it: waiting at one of them ends when a signal comes.

use super::TICK;
use crate::error::Error;
use crate::{interrupt, units};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

const POLL_TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: TICK.subsec_nanos() as _,
};

/// Which of a child's ends are connected to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipes {
    /// Its stdin is written to; else it is empty.
    pub stdin: bool,
    /// Its stdout is read; else it goes nowhere.
    pub stdout: bool,
}

/// A child's stdin. A write ends with an error when a signal comes, even if the child reads nothing
/// more.
#[derive(Debug)]
pub struct ChildWriter {
    stdin: ChildStdin,
}

impl ChildWriter {
    pub(super) fn new(stdin: ChildStdin) -> rustix::io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&stdin)?;
        rustix::fs::fcntl_setfl(&stdin, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(ChildWriter { stdin })
    }
}

impl Write for ChildWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stdin.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let mut ready = [PollFd::new(&self.stdin, PollFlags::OUT)];
            match poll(&mut ready, Some(&POLL_TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => interrupt::check()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A child's stdout. It ends with an error when a signal comes, or when nothing comes for too long.
#[derive(Debug)]
pub struct ChildReader {
    stdout: ChildStdout,
    stall: Option<Duration>,
    name: String,
}

impl ChildReader {
    pub(super) fn new(stdout: ChildStdout, stall: Option<Duration>, name: &str) -> Self {
        ChildReader {
            stdout,
            stall,
            name: name.to_owned(),
        }
    }
}

impl Read for ChildReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
            match poll(&mut ready, Some(&POLL_TICK)) {
                Ok(0) => {}
                Ok(_) => return self.stdout.read(bytes),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            interrupt::check()?;
            if let Some(stall) = self.stall.filter(|stall| since.elapsed() >= *stall) {
                let waited = units::elapsed(stall.as_secs_f64());
                return Err(Error::failed(format!(
                    "nothing came from `{}` for {waited}",
                    self.name
                ))
                .with_hint(
                    "look at what the server is doing (`pg_stat_activity`); a longer \
                           `stall_timeout` waits longer",
                )
                .into());
            }
        }
    }
}

/// Makes a pipe hold 1 MiB in place of 64 KiB, where the system allows it: that means fewer
/// switches between its two ends.
pub(super) fn widen(pipe: &impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}
