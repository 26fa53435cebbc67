//! The part of the base that lies ahead of what the content has reached, and an index of its lines.

use super::super::stretch::{BaseStream, Stretch};
use super::sections::{SectionFinder, SectionQueue};
use std::io::{self, Read};

/// The bytes of the base that are looked at for a line, at most.
pub const FAR: usize = 16 << 20;
/// The bytes of the base that are there for comparing, at least.
const NEAR: usize = 1 << 20;
/// The bytes behind the position that are let go at once.
const SPENT: usize = 8 << 20;
/// The longest line. What is longer counts as several.
pub const MAX_LINE: usize = 64 << 10;
/// The number of places in the index: lines of 32 bytes in all that is looked at.
const INDEX_BITS: u32 = 19;

/// The base from its position on, as far as it was read.
pub struct BaseAhead {
    stretch: Stretch,
    /// The base from `start` on; offsets are those in the whole base.
    bytes: Vec<u8>,
    start: u64,
    position: u64,
    ended: bool,
    sections: SectionQueue,
    /// The low halves of the offsets of lines, by their hash.
    index: Vec<u32>,
    /// Lines before this offset are in the index.
    indexed: u64,
}

impl BaseAhead {
    /// Nothing is read yet of this stretch.
    pub fn new(stretch: Stretch, finder: Box<dyn SectionFinder>) -> Self {
        BaseAhead {
            stretch,
            bytes: Vec::new(),
            start: stretch.offset,
            position: stretch.offset,
            ended: false,
            sections: SectionQueue::new(finder),
            index: Vec::new(),
            indexed: stretch.offset,
        }
    }

    /// The offset of the next byte to compare.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes forward to `offset`, which was read.
    pub fn advance_to(&mut self, offset: u64) {
        debug_assert!(offset >= self.position && offset <= self.end());
        self.position = offset;
    }

    /// Goes forward to the end of what was read.
    pub fn advance_to_end(&mut self) {
        self.position = self.end();
    }

    /// Goes forward to `offset`, or to the end of the base where that is before.
    pub fn skip_to<B: Read>(&mut self, base: &mut BaseStream<B>, offset: u64) -> io::Result<()> {
        while offset > self.end() && !self.ended {
            self.advance_to_end();
            self.read_up_to(base, NEAR)?;
        }
        self.position = offset.min(self.end());
        Ok(())
    }

    /// What was read from the position on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[(self.position - self.start) as usize..]
    }

    /// What was read from `offset` on.
    fn bytes_from(&self, offset: u64) -> &[u8] {
        &self.bytes[(offset - self.start) as usize..]
    }

    /// Whether there is nothing behind what was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns the beginning of the next section of this name, as far as the base was read.
    pub fn find_section(&self, name: &[u8]) -> Option<u64> {
        let found = self.sections.coming().find(|start| start.name == name)?;
        Some(self.stretch.offset + found.offset)
    }

    /// Forgets the next section that begins before the position or at it, and returns its name.
    pub fn pass_section(&mut self) -> Option<Vec<u8>> {
        let position = self.position - self.stretch.offset;
        let passed = self.sections.pop_up_to(position);
        passed.map(|start| start.name)
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Reads on until there is enough for comparing.
    pub fn read_near<B: Read>(&mut self, base: &mut BaseStream<B>) -> io::Result<()> {
        if self.bytes().len() < NEAR / 2 {
            self.read_up_to(base, NEAR)?;
        }
        Ok(())
    }

    /// Reads on until there is all that may be looked at.
    pub fn read_far<B: Read>(&mut self, base: &mut BaseStream<B>) -> io::Result<()> {
        if self.bytes().len() < FAR - NEAR {
            self.read_up_to(base, FAR)?;
        }
        Ok(())
    }

    fn read_up_to<B: Read>(&mut self, base: &mut BaseStream<B>, count: usize) -> io::Result<()> {
        let missing = count.saturating_sub(self.bytes().len()) as u64;
        if self.ended || missing == 0 {
            return Ok(());
        }
        let spent = (self.position - self.start) as usize;
        if spent >= SPENT {
            self.bytes.drain(..spent);
            self.start = self.position;
        }
        // Memory that is not touched costs nothing, and moving what is there would.
        self.bytes
            .reserve_exact((SPENT + FAR + NEAR).saturating_sub(self.bytes.len()));
        let known = self.bytes.len();
        let wanted = missing.min(self.stretch.end() - self.end());
        base.skip_to(self.end())?;
        self.bytes.resize(known + wanted as usize, 0);
        let read = base.fill(&mut self.bytes[known..])?;
        self.bytes.truncate(known + read);
        self.ended = (read as u64) < missing;
        self.sections.push(&self.bytes[known..]);
        Ok(())
    }

    /// The lines from the position on to the end of its section, with their offsets.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let limit = self.section_end();
        let mut at = self.position;
        std::iter::from_fn(move || {
            if at >= limit {
                return None;
            }
            let line = first_line(self.bytes_from(at))?;
            let offset = at;
            at += line.len() as u64;
            Some((offset, line))
        })
    }

    /// Whether the rest of the section is longer than all that is read ahead.
    pub fn has_far_lines(&self) -> bool {
        !self.ended && self.section_end() == self.end()
    }

    /// The end of the section at the position, or of what was read.
    fn section_end(&self) -> u64 {
        let starts = self.sections.coming();
        let mut offsets = starts.map(|start| self.stretch.offset + start.offset);
        let next = offsets.find(|&offset| offset > self.position);
        next.unwrap_or(self.end())
    }

    /// Finds the next place in this section at which there are these two lines.
    pub fn find_lines(&mut self, line: &[u8], next: &[u8]) -> Option<u64> {
        self.index_lines();
        let low = *self.index.get(place(line))?;
        // There is one offset with this low half in a range of 4 GiB.
        let offset = self.position + u64::from(low.wrapping_sub(self.position as u32));
        if offset >= self.section_end() {
            return None;
        }
        let found = self.bytes_from(offset);
        let follows = found.strip_prefix(line)?;
        follows.starts_with(next).then_some(offset)
    }

    /// Puts what was read of the section into the index.
    fn index_lines(&mut self) {
        if self.index.is_empty() {
            self.index.resize(1 << INDEX_BITS, 0);
        }
        let limit = self.section_end();
        self.indexed = self.indexed.max(self.position);
        while self.indexed < limit {
            let Some(line) = first_line(&self.bytes[(self.indexed - self.start) as usize..]) else {
                return;
            };
            let size = line.len() as u64;
            let known = &mut self.index[place(line)];
            // The nearest of equal lines counts, so that as little as possible is left behind.
            let ahead = u64::from(known.wrapping_sub(self.position as u32));
            if self.position + ahead >= self.indexed {
                *known = self.indexed as u32;
            }
            self.indexed += size;
        }
    }
}

/// The first line with its end, or what counts as one; `None` where its end has not come yet.
pub fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let most = bytes.len().min(MAX_LINE);
    match memchr::memchr(b'\n', &bytes[..most]) {
        Some(end) => Some(&bytes[..=end]),
        None => (most == MAX_LINE).then_some(&bytes[..most]),
    }
}

/// The place of a line in the index.
fn place(line: &[u8]) -> usize {
    (hash_line(line) >> (u64::BITS - INDEX_BITS)) as usize
}

/// A hash of a line, with a multiplication for each 8 bytes of it.
pub fn hash_line(line: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = line.as_chunks::<8>();
    let mut hash = line.len() as u64;
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    for byte in rest {
        hash = (hash.rotate_left(23) ^ u64::from(*byte)).wrapping_mul(FACTOR);
    }
    hash ^ hash >> 32
}
