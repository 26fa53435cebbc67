//! The shape of a delta: VCDIFF (RFC 3284) with the checksums of xdelta3, and stricter.
//!
//! What any VCDIFF decoder with xdelta3's extension reads is narrowed down here so that one forward
//! pass over the base and a few MiB of memory are enough, whoever wrote the bytes: windows and
//! segments are small, the segments follow one another in the base and never overlap, and nothing
//! is copied out of the content itself. The last window is empty, so that a delta that was cut
//! between two windows is known to be incomplete.

use super::stretch::Stretch;
use std::io;
use std::ops::Range;

/// The first bytes: VCDIFF, version 0, no secondary compressor, no code table, no application data.
pub const HEADER: [u8; 5] = [0xd6, 0xc3, 0xc4, 0, 0];

/// The last window: no source, no content, and the checksum of nothing.
pub const END: [u8; 11] = [0x04, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The largest content of a window, in bytes.
pub const MAX_WINDOW: usize = 1 << 20;
/// The largest stretch of the base that a window copies from, in bytes.
pub const MAX_SEGMENT: u64 = 4 << 20;
/// The largest content of a window that is one whole stretch of the base, in bytes. xdelta3 takes
/// windows of up to 16 MiB.
pub const MAX_COPY: u64 = 16 << 20;
/// The largest size of what follows a window's head, in bytes: each of data, instructions and
/// addresses has at most the size of the content.
const MAX_BODY: u64 = 3 * MAX_WINDOW as u64 + 64;

/// The window's bit for a segment of the source.
const SOURCE: u8 = 0x01;
/// The window's bit for a checksum, which xdelta3 has added.
const CHECKSUM: u8 = 0x04;

/// What precedes a window's body. It says how much there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowHead {
    /// The stretch of the base that the window copies from.
    pub segment: Option<Stretch>,
    /// Whether the body has a checksum of the content.
    pub has_checksum: bool,
    /// The size of the body in bytes.
    pub body: usize,
}

/// A window's body, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowBody {
    /// The size of the content in bytes.
    pub content: u64,
    /// The Adler-32 of the content.
    pub checksum: Option<u32>,
    /// Where the new bytes are in the body.
    pub data: Range<usize>,
    /// Where the instructions are in the body.
    pub instructions: Range<usize>,
    /// Where the addresses of the copies are in the body.
    pub addresses: Range<usize>,
}

/// Appends an integer: seven bits a byte, the most significant first.
pub fn push_integer(out: &mut Vec<u8>, value: u64) {
    for digit in (1..integer_size(value)).rev() {
        out.push(0x80 | (value >> (7 * digit)) as u8);
    }
    out.push(value as u8 & 0x7f);
}

/// The number of bytes that [`push_integer`] appends.
pub fn integer_size(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()).div_ceil(7).max(1) as usize
}

/// Reads an integer whose bytes `next` gives.
///
/// # Errors
/// One of `next`, or that the integer is above 64 bits.
pub fn read_integer(mut next: impl FnMut() -> io::Result<u8>) -> io::Result<u64> {
    let mut value = 0_u64;
    loop {
        let byte = next()?;
        if value >> (u64::BITS - 7) != 0 {
            return Err(damaged("it has an integer of more than 64 bits"));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
}

/// Takes an integer off the beginning of `bytes`.
pub fn take_integer(bytes: &mut &[u8]) -> io::Result<u64> {
    read_integer(|| take_byte(bytes))
}

/// Takes a byte off the beginning of `bytes`.
pub fn take_byte(bytes: &mut &[u8]) -> io::Result<u8> {
    let (&byte, rest) = bytes
        .split_first()
        .ok_or_else(|| damaged("one of its parts is too short"))?;
    *bytes = rest;
    Ok(byte)
}

impl WindowHead {
    /// Reads a head whose bytes `next` gives.
    ///
    /// # Errors
    /// One of `next`, or that the head is not one that we write.
    pub fn read(mut next: impl FnMut() -> io::Result<u8>) -> io::Result<WindowHead> {
        let kind = next()?;
        if !matches!(kind, SOURCE | CHECKSUM | 0x05) {
            return Err(damaged(format!("it is of the unknown kind {kind:#04x}")));
        }
        let segment = if kind & SOURCE != 0 {
            let length = read_integer(&mut next)?;
            let offset = read_integer(&mut next)?;
            if length > MAX_COPY || offset.checked_add(length).is_none() {
                return Err(damaged(format!(
                    "it claims {length} bytes of its base at byte {offset}"
                )));
            }
            Some(Stretch { offset, length })
        } else {
            None
        };
        let body = read_integer(&mut next)?;
        if body > MAX_BODY {
            return Err(damaged(format!("it claims a body of {body} bytes")));
        }
        Ok(WindowHead {
            segment,
            has_checksum: kind & CHECKSUM != 0,
            // It is below a few MiB.
            body: body as usize,
        })
    }

    /// Appends the head.
    pub fn push(&self, out: &mut Vec<u8>) {
        let source = if self.segment.is_some() { SOURCE } else { 0 };
        let checksum = if self.has_checksum { CHECKSUM } else { 0 };
        out.push(source | checksum);
        if let Some(Stretch { offset, length }) = self.segment {
            push_integer(out, length);
            push_integer(out, offset);
        }
        push_integer(out, self.body as u64);
    }
}

impl WindowBody {
    /// Takes a body apart.
    ///
    /// # Errors
    /// The sizes in it contradict each other, or are not such as we write.
    pub fn parse(head: &WindowHead, body: &[u8]) -> io::Result<WindowBody> {
        let mut rest = body;
        let content = take_integer(&mut rest)?;
        if take_byte(&mut rest)? != 0 {
            return Err(damaged("its parts are compressed"));
        }
        let sizes = [
            take_integer(&mut rest)?,
            take_integer(&mut rest)?,
            take_integer(&mut rest)?,
        ];
        let checksum = if head.has_checksum {
            let mut sum = 0;
            for _ in 0..4 {
                sum = sum << 8 | u32::from(take_byte(&mut rest)?);
            }
            Some(sum)
        } else {
            None
        };
        let left = rest.len() as u64;
        if sizes.iter().any(|&size| size > left) || sizes.iter().sum::<u64>() != left {
            return Err(damaged("the sizes of its parts do not add up"));
        }
        // None of them is larger than the body.
        let [data, instructions, addresses] = sizes.map(|size| size as usize);
        let start = body.len() - rest.len();
        let parts = WindowBody {
            content,
            checksum,
            data: start..start + data,
            instructions: start + data..start + data + instructions,
            addresses: body.len() - addresses..body.len(),
        };
        parts.check_sizes(head)?;
        Ok(parts)
    }

    /// Refuses what would need more memory than a reader has set aside.
    fn check_sizes(&self, head: &WindowHead) -> io::Result<()> {
        let segment = head.segment.map_or(0, |segment| segment.length);
        let may_be_copy = self.data.is_empty() && self.content == segment;
        if self.content > MAX_COPY || (self.content > MAX_WINDOW as u64 && !may_be_copy) {
            return Err(damaged(format!("it claims {} bytes", self.content)));
        }
        if segment > MAX_SEGMENT && !may_be_copy {
            return Err(damaged(format!(
                "it claims {segment} bytes of its base for {}",
                self.content
            )));
        }
        Ok(())
    }
}

/// The error of bytes that no [`DeltaWriter`](super::DeltaWriter) wrote. The text goes on after
/// `the window at byte …: `.
pub fn damaged(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
