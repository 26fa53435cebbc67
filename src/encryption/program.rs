//! The program `age`, for the keys that it knows and the library does not: `age1pq…`. Then the
//! whole stream goes through it, as nobody else can wrap its key.

use super::recipients::shortened;
use super::stream::other_key;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::process::{Filter, FilterStep};
use crate::units;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;

/// Bytes that are moved at once.
const BLOCK: usize = 64 << 10;

/// How the program is called.
#[derive(Debug, Clone)]
pub struct AgeProgram {
    arguments: Vec<OsString>,
}

impl AgeProgram {
    /// The program that encrypts to these public keys. It is really tried: that it is not here, or
    /// does not know one of them, is an error.
    pub fn encrypting(keys: &[&str], unknown: &str) -> Result<AgeProgram> {
        let keys = keys.iter().flat_map(|key| ["--recipient", key]);
        let program = AgeProgram {
            arguments: keys.map(OsString::from).collect(),
        };
        let tried = program.start().and_then(|filter| {
            let mut sealer = ProgramSealer::new(filter, io::sink());
            sealer.write_all(b"dbbackup")?;
            Ok(sealer.finish().map(drop)?)
        });
        tried.map_err(|error| {
            let why = error.message();
            Error::usage(format!(
                "the recipient `{}` needs the program `age`, which can't encrypt to it: {why}",
                shortened(unknown)
            ))
            .with_hint(
                "install an `age` that knows this kind of key (age1pq… needs 1.3 or newer), or \
                 its plugin, where dbbackup finds it (PATH), or take that recipient out",
            )
        })?;
        Ok(program)
    }

    /// The program that decrypts with the private keys of a file.
    pub fn decrypting(identity_file: &Path) -> AgeProgram {
        let flags = ["--decrypt", "--identity"].map(OsString::from);
        let file = identity_file.as_os_str().to_owned();
        AgeProgram {
            arguments: flags.into_iter().chain([file]).collect(),
        }
    }

    /// Starts it.
    pub fn start(&self) -> Result<Filter> {
        let mut command = Command::new("age");
        command.args(&self.arguments);
        Filter::start(command, "age")
    }
}

/// Writes to a sink what the program makes of what is written to it.
pub struct ProgramSealer<W> {
    filter: Filter,
    sink: W,
    output: Vec<u8>,
    /// Bytes that it has taken.
    taken: u64,
    /// Bytes that it has given.
    given: u64,
}

impl<W: Write> ProgramSealer<W> {
    /// Begins a stream.
    pub fn new(filter: Filter, sink: W) -> Self {
        ProgramSealer {
            filter,
            sink,
            output: vec![0; BLOCK],
            taken: 0,
            given: 0,
        }
    }

    /// Ends the stream. The program must have succeeded, and have given more than it took: an
    /// encrypted file has a header besides.
    pub fn finish(mut self) -> io::Result<W> {
        while self.step(&[])?.is_some() {}
        if self.given <= self.taken {
            return Err(Error::failed(format!(
                "`age` gave {} of {}, and called that a success: it is not stored",
                units::size(self.given),
                units::size(self.taken)
            ))
            .into());
        }
        Ok(self.sink)
    }

    /// How many bytes the program took; none where it has ended.
    fn step(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        match self.filter.step(input, &mut self.output)? {
            FilterStep::Took(count) => {
                self.taken += count as u64;
                Ok(Some(count))
            }
            FilterStep::Gave(count) => {
                self.given += count as u64;
                self.sink.write_all(&self.output[..count])?;
                Ok(Some(0))
            }
            FilterStep::Ended => Ok(None),
        }
    }
}

impl<W: Write> Write for ProgramSealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match self.step(bytes)? {
                Some(0) => {}
                Some(count) => return Ok(count),
                None => return Err(io::Error::other("`age` ended before it had everything")),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Reads what the program makes of what a source gives.
pub struct ProgramUnsealer<R> {
    filter: Filter,
    source: R,
    pending: Vec<u8>,
    /// How much of `pending` the program has taken.
    taken: usize,
    source_ended: bool,
    has_given: bool,
}

impl<R: Read> ProgramUnsealer<R> {
    /// Begins a stream.
    pub fn new(filter: Filter, source: R) -> Self {
        ProgramUnsealer {
            filter,
            source,
            pending: Vec::new(),
            taken: 0,
            source_ended: false,
            has_given: false,
        }
    }

    /// What it means that the program failed: that it broke off in the middle, or has not even
    /// accepted the header.
    fn failure(&self, error: io::Error) -> io::Error {
        match self.has_given {
            _ if interrupt::requested() => error,
            true => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
            false => other_key(&error.to_string()),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.pending.resize(BLOCK, 0);
        let count = self.source.read(&mut self.pending)?;
        self.pending.truncate(count);
        self.taken = 0;
        self.source_ended = count == 0;
        Ok(())
    }
}

impl<R: Read> Read for ProgramUnsealer<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            if self.taken == self.pending.len() && !self.source_ended {
                self.fill()?;
            }
            let step = self.filter.step(&self.pending[self.taken..], bytes);
            match step.map_err(|error| self.failure(error))? {
                FilterStep::Took(count) => self.taken += count,
                FilterStep::Gave(count) => {
                    self.has_given = true;
                    return Ok(count);
                }
                FilterStep::Ended => return Ok(0),
            }
        }
    }
}
