//! The reader below the splitters of compressed streams: it can look ahead, counts the bytes, and
//! remembers whether a failure was its own.

use std::io::{self, BufRead, ErrorKind, Read};

/// The largest look-ahead in bytes; also the size of small reads.
const AHEAD: usize = 64 << 10;

/// A buffered reader with a look-ahead of up to 64 KiB.
pub struct ReadAhead<R> {
    inner: R,
    /// Bytes read from `inner` and not consumed: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    consumed: u64,
    failed: bool,
}

impl<R: Read> ReadAhead<R> {
    /// Begins to read `inner`.
    pub fn new(inner: R) -> Self {
        ReadAhead {
            inner,
            buffer: vec![0; AHEAD],
            start: 0,
            end: 0,
            consumed: 0,
            failed: false,
        }
    }

    /// The number of bytes that were consumed.
    pub fn position(&self) -> u64 {
        self.consumed
    }

    /// Tells whether the last failure was the reader's own, and not one of the data.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Returns the next `size` bytes (at most 64 KiB) without consuming them; fewer only at the
    /// end.
    pub fn peek(&mut self, size: usize) -> io::Result<&[u8]> {
        if self.start + size > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < size {
            match self.read_more()? {
                0 => break,
                n => self.end += n,
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + size)])
    }

    /// Reads behind the bytes that the buffer holds, and returns how many; 0 is the end.
    fn read_more(&mut self) -> io::Result<usize> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
                Ok(n) => return Ok(n),
            }
        }
    }

    /// Appends the next `size` bytes to `out`, which grows only as data arrives. Returns false if
    /// the source ends before.
    pub fn append(&mut self, out: &mut Vec<u8>, size: usize) -> io::Result<bool> {
        let buffered = size.min(self.end - self.start);
        out.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.consume(buffered);
        let missing = size - buffered;
        // Large parts go straight into `out`; small ones come with what follows them, for the next
        // call.
        if missing >= AHEAD / 2 {
            let read = (&mut self.inner)
                .take(missing as u64)
                .read_to_end(out)
                .inspect_err(|_| self.failed = true)?;
            self.consumed += read as u64;
            return Ok(read == missing);
        }
        let rest = self.peek(missing)?;
        let read = rest.len();
        out.extend_from_slice(rest);
        self.consume(read);
        Ok(read == missing)
    }
}

impl<R: Read> Read for ReadAhead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for ReadAhead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        self.consumed += n as u64;
    }
}

/// Replaces `out` by the next `size` bytes of `reader`, fewer only at its end. Returns how many.
pub fn read_up_to(reader: &mut impl Read, out: &mut Vec<u8>, size: usize) -> io::Result<usize> {
    out.clear();
    out.reserve_exact(size);
    reader.take(size as u64).read_to_end(out)
}

/// The error of data that no compressor wrote.
pub fn damaged(text: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.into())
}

/// The error of data that end at byte `at`, before they are complete.
pub fn truncated(format: &str, at: u64) -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        format!("{format} data is truncated: it ends at byte {at}, before it is complete"),
    )
}
