//! The bytes of a delta on their way in.

use super::super::format::{HEADER, damaged};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// What is read at once, in bytes.
const READ_AHEAD: usize = 64 << 10;

/// The delta as a stream of bytes, which must not end before its last window.
pub struct DeltaInput<D> {
    inner: BufReader<D>,
    position: u64,
}

impl<D: Read> DeltaInput<D> {
    /// A stream at the first byte of the delta.
    pub fn new(delta: D) -> Self {
        DeltaInput {
            inner: BufReader::with_capacity(READ_AHEAD, delta),
            position: 0,
        }
    }

    /// The number of bytes that were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the first bytes, which say that it is a delta.
    pub fn read_header(&mut self) -> io::Result<()> {
        for expected in HEADER {
            if self.read_byte()? != expected {
                return Err(damaged("it is no delta: it does not begin as VCDIFF does"));
            }
        }
        Ok(())
    }

    /// Reads one byte.
    pub fn read_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        match self.inner.read_exact(&mut byte) {
            Ok(()) => {
                self.position += 1;
                Ok(byte[0])
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.truncated()),
            Err(error) => Err(error),
        }
    }

    /// Replaces `body` by the next `size` bytes.
    pub fn read_body(&mut self, body: &mut Vec<u8>, size: usize) -> io::Result<()> {
        body.clear();
        let read = (&mut self.inner).take(size as u64).read_to_end(body)?;
        self.position += read as u64;
        if read < size {
            return Err(self.truncated());
        }
        Ok(())
    }

    /// Whether no byte follows.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        loop {
            match self.inner.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn truncated(&self) -> io::Error {
        io::Error::new(
            ErrorKind::UnexpectedEof,
            format!(
                "the delta is truncated: it ends at byte {}, before it is complete",
                self.position
            ),
        )
    }
}
