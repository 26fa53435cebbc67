//! Stretches of the base, and the base itself as a stream that only goes forward.

use std::io::{self, Read};

/// What is read at once of a base that is skipped, in bytes.
const SKIP: usize = 256 << 10;

/// So many bytes of a stream, from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

impl Stretch {
    /// The whole of a stream, however long it is.
    pub const WHOLE: Stretch = Stretch {
        offset: 0,
        length: u64::MAX,
    };

    /// The offset after the last byte.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The base, which is read once from its beginning to its end.
pub struct BaseStream<B> {
    inner: B,
    position: u64,
    ended: bool,
    scratch: Vec<u8>,
}

impl<B: Read> BaseStream<B> {
    /// A stream at the first byte of the base.
    pub fn new(inner: B) -> Self {
        BaseStream {
            inner,
            position: 0,
            ended: false,
            scratch: Vec::new(),
        }
    }

    /// The number of bytes that were read or skipped.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The size of the base, once its end was read.
    pub fn size(&self) -> Option<u64> {
        self.ended.then_some(self.position)
    }

    /// Reads up to the size of `buffer`; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.position += count as u64;
                    self.ended |= count == 0 && !buffer.is_empty();
                    return Ok(count);
                }
            }
        }
    }

    /// Fills `buffer` and returns its size; fewer only at the end.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && !self.ended {
            filled += self.read(&mut buffer[filled..])?;
        }
        Ok(filled)
    }

    /// Skips forward to `offset`. It stops at the end, where that is before.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(SKIP, 0);
        let skipped = loop {
            let left = offset.saturating_sub(self.position).min(SKIP as u64) as usize;
            if left == 0 || self.ended {
                break Ok(());
            }
            if let Err(error) = self.read(&mut scratch[..left]) {
                break Err(error);
            }
        };
        self.scratch = scratch;
        skipped
    }

    /// Reads to the end and returns the size of the base.
    pub fn drain(&mut self) -> io::Result<u64> {
        self.skip_to(u64::MAX)?;
        Ok(self.position)
    }
}
