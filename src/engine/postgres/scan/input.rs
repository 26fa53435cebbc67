//! The input of the scanner: the part of the script that is in memory, and the classes of its
//! bytes.

use super::LONGEST_TAG;
use crate::error::Result;
use memchr::{memchr, memchr_iter};
use std::io::{ErrorKind, Read};

/// How many bytes are read at once.
pub(super) const BLOCK: usize = 256 << 10;

/// The part of the script that is in memory.
pub(super) struct ScriptInput<'a> {
    script: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    /// The number of the line in which the window begins.
    pub(super) line: u64,
    /// The line of the first NUL byte that was read.
    pub(super) nul: Option<u64>,
    /// How many bytes were read.
    pub(super) total: u64,
}

impl<'a> ScriptInput<'a> {
    /// Wraps a script; nothing is read yet.
    pub(super) fn new(script: &'a mut dyn Read) -> Self {
        ScriptInput {
            script,
            buffer: vec![0; BLOCK + LONGEST_TAG],
            start: 0,
            end: 0,
            ended: false,
            line: 1,
            nul: None,
            total: 0,
        }
    }

    /// The bytes that were read and not yet consumed.
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Consumes the first `length` bytes of the window.
    pub(super) fn consume(&mut self, length: usize) {
        self.line += lines_in(&self.buffer[self.start..self.start + length]);
        self.start += length;
    }

    /// Reads more behind the window, which must be shorter than the longest tag. Returns false at
    /// the end of the script.
    pub(super) fn more(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while !self.ended {
            match self.script.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    if self.nul.is_none()
                        && let Some(at) = memchr(0, &self.buffer[self.end..self.end + length])
                    {
                        self.nul =
                            Some(self.line + lines_in(&self.buffer[self.start..self.end + at]));
                    }
                    self.end += length;
                    self.total += length as u64;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// The byte at a position in the window, which is extended as needed. `None` behind the end of
    /// the script.
    pub(super) fn peek(&mut self, at: usize) -> Result<Option<u8>> {
        while self.end - self.start <= at {
            if !self.more()? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer[self.start + at]))
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// What a byte can begin, outside of quotes and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteClass {
    Blank,
    /// A keyword or a name without quotes.
    Word,
    /// A sign that the scanner must look at.
    Sign,
    /// Digits, commas, operators.
    Other,
}

static CLASSES: [ByteClass; 256] = classes();

const fn classes() -> [ByteClass; 256] {
    let mut classes = [ByteClass::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => ByteClass::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => ByteClass::Word,
            b'\'' | b'"' | b'$' | b'-' | b'/' | b'\\' | b'(' | b')' | b';' => ByteClass::Sign,
            _ => ByteClass::Other,
        };
        byte += 1;
    }
    classes
}

/// The class of a byte.
pub(super) fn class(byte: u8) -> ByteClass {
    CLASSES[usize::from(byte)]
}

/// Whether a word or the tag of a dollar quote continues with this byte.
pub(super) fn continues_word(byte: u8) -> bool {
    class(byte) == ByteClass::Word || byte.is_ascii_digit()
}

/// How many bytes at the beginning have the property.
pub(super) fn length_of(bytes: &[u8], property: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| !property(*byte))
        .unwrap_or(bytes.len())
}
