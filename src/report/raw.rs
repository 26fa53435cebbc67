//! Stdout for bytes that are a result themselves, as those of `dbbackup cat`: unbuffered, and never
//! in the way of a signal.

use crate::error::Result;
use crate::interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// What a pipe takes at once without blocking when `poll` says that it takes something (PIPE_BUF).
const PIPE_BLOCK: usize = 4096;

/// How often a wait for the reader looks up.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// See the head of this file. A reader that has gone is an error of kind
/// [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct Raw {
    out: File,
    kind: FileType,
}

impl Raw {
    /// A descriptor of its own for what `stdout` is.
    pub(super) fn new(stdout: &impl AsFd) -> Result<Raw> {
        let out = File::from(stdout.as_fd().try_clone_to_owned()?);
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&out)?.st_mode);
        Ok(Raw { out, kind })
    }

    /// A person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.out.is_terminal()
    }

    /// It is a file.
    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_file() {
            return self.out.write(bytes);
        }
        // A reader that takes nothing must not keep Ctrl-C from ending this.
        loop {
            interrupt::check()?;
            match poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], Some(&TICK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.out.write(&bytes[..bytes.len().min(PIPE_BLOCK)]),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
