//! The part of the base that lies ahead of what the content has reached, and an index of its lines.

use super::super::stretch::{BaseStream, Stretch};
use super::sections::{SectionFinder, SectionQueue, SectionStart};
use std::io::{self, Read};

/// The bytes of the base that are looked at for a line, at most. Twice as many would be half of all
/// the memory that a backup takes.
pub const FAR: usize = 8 << 20;
/// The bytes of the base that are there for comparing, at least.
const NEAR: usize = 1 << 20;
/// The most bytes that are kept behind the position.
const SPENT: usize = FAR / 2;
/// The longest line. What is longer counts as several.
pub const MAX_LINE: usize = 64 << 10;
/// The lines of the base that are compared before the index is asked.
const NEXT_LINES: usize = 8;
/// The bytes of a line that is not likely to be there twice.
const TELLING: usize = 16;
/// What is further away, in bytes, must be proven by more than two lines: a table may have a few
/// rows twice, and all between them would be left behind.
const FAR_JUMP: u64 = 64 << 10;
/// The number of places in the index: lines of 16 bytes in all that is looked at.
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
    /// The fewest bytes of a line.
    shortest: usize,
    /// The low halves of the offsets of lines, by their hash.
    index: Vec<u32>,
    /// Lines before this offset are in the index.
    indexed: u64,
}

impl BaseAhead {
    /// Nothing is read yet of this stretch. `shortest` is the fewest bytes of a line.
    pub fn new(stretch: Stretch, finder: Box<dyn SectionFinder>, shortest: usize) -> Self {
        BaseAhead {
            stretch,
            shortest,
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

    /// Whether the base has told that a section of this name is still to come.
    pub fn expects_section(&self, name: &[u8]) -> bool {
        self.sections.expects(name)
    }

    /// Forgets the next section that begins before the position or at it, and returns it.
    pub fn pass_section(&mut self) -> Option<SectionStart> {
        let passed = (self.sections).pop_up_to(self.position - self.stretch.offset)?;
        Some(SectionStart {
            offset: self.stretch.offset + passed.offset,
            ..passed
        })
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
        // So each byte is moved twice at most, on the average.
        if spent >= NEAR && spent >= self.bytes().len() / 2 {
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
        let section = self.section_ahead();
        let mut at = self.position;
        std::iter::from_fn(move || {
            let line = section.line_at(at)?;
            let offset = at;
            at += line.len() as u64;
            Some((offset, line))
        })
    }

    /// Whether the rest of the section is longer than all that is read ahead.
    pub fn has_far_lines(&self) -> bool {
        !self.ended && !self.section_ahead().is_whole
    }

    /// The rest of the section at the position, as far as it was read.
    fn section_ahead(&self) -> SectionAhead<'_> {
        let starts = self.sections.coming();
        let mut offsets = starts.map(|start| self.stretch.offset + start.offset);
        let next = offsets.find(|&offset| offset > self.position && offset <= self.end());
        let end = next.unwrap_or(self.end());
        SectionAhead {
            bytes: &self.bytes[..(end - self.start) as usize],
            start: self.start,
            is_whole: next.is_some(),
            shortest: self.shortest,
        }
    }

    /// Finds this line among the next ones of the section. One that is followed by `next` is the
    /// right one. Another one is taken if it says enough: a short line may be there many times, and
    /// each that is passed in vain leaves rows behind.
    pub fn find_near(&self, line: &[u8], next: &[u8]) -> Option<u64> {
        let mut likely = None;
        let near = self.lines().skip(1).take(NEXT_LINES);
        for (offset, _) in near.filter(|(_, old)| *old == line) {
            if self.bytes_from(offset)[line.len()..].starts_with(next) {
                return Some(offset);
            }
            if line.len() >= TELLING {
                likely = likely.or(Some(offset));
            }
        }
        likely
    }

    /// Finds the next place in this section at which there are this line and the next one; where it
    /// is far, all of the following ones, too.
    pub fn find_far(&mut self, line: &[u8], next: &[u8], following: &[u8]) -> Option<u64> {
        self.index_lines();
        let low = *self.index.get(place(line))?;
        // There is one offset with this low half in a range of 4 GiB.
        let distance = u64::from(low.wrapping_sub(self.position as u32));
        let section = self.section_ahead();
        let found = section.bytes_at(self.position + distance)?;
        let agreeing = if distance > FAR_JUMP { following } else { next };
        let is_there = found.strip_prefix(line)?.starts_with(agreeing);
        is_there.then_some(self.position + distance)
    }

    /// Puts what was read of the section into the index.
    fn index_lines(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        index.resize(1 << INDEX_BITS, 0);
        let section = self.section_ahead();
        let mut at = self.indexed.max(self.position);
        while let Some(line) = section.line_at(at) {
            let known = &mut index[place(line)];
            // The nearest of equal lines counts, so that as little as possible is left behind.
            let ahead = u64::from(known.wrapping_sub(self.position as u32));
            if self.position + ahead >= at {
                *known = at as u32;
            }
            at += line.len() as u64;
        }
        self.index = index;
        self.indexed = at;
    }
}

/// The bytes of the base up to the end of a section, or of what was read of it.
struct SectionAhead<'a> {
    bytes: &'a [u8],
    /// The offset of the first of them.
    start: u64,
    /// Whether the section ends where they do.
    is_whole: bool,
    shortest: usize,
}

impl<'a> SectionAhead<'a> {
    /// What follows from `offset` on.
    fn bytes_at(&self, offset: u64) -> Option<&'a [u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..)
    }

    /// The line that begins at `offset`.
    fn line_at(&self, offset: u64) -> Option<&'a [u8]> {
        first_line(self.bytes_at(offset)?, self.shortest, self.is_whole)
    }
}

/// The first line with its end, or what counts as one; `None` where its end has not come yet.
/// Where the bytes are the whole rest of a section, they end a line.
pub fn first_line(bytes: &[u8], shortest: usize, is_whole: bool) -> Option<&[u8]> {
    let most = bytes.len().min(MAX_LINE);
    let from = shortest.saturating_sub(1).min(most);
    match memchr::memchr(b'\n', &bytes[from..most]) {
        Some(end) => Some(&bytes[..=from + end]),
        None if most == MAX_LINE => Some(&bytes[..most]),
        None => (is_whole && most > 0).then_some(bytes),
    }
}

/// The end of the last line that ends in these bytes, which begin with a line; 0 where none does.
pub fn last_line_end(bytes: &[u8], shortest: usize) -> usize {
    let end_before = |end| memchr::memrchr(b'\n', &bytes[..end]).map_or(0, |at| at + 1);
    let last = end_before(bytes.len());
    let before = end_before(last.saturating_sub(1));
    // What is shorter is no line: that byte is a part of the next one.
    if last - before < shortest {
        before
    } else {
        last
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
