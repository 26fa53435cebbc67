//! Lines far ahead in the base: how the alignment is found again after more rows were removed than
//! are read ahead.
//!
//! A second reader of the base notes every so many lines of the rest of the section, chosen by
//! their hash, so that content and base choose the same. Three of them at the same distances in
//! content and base say where the content goes on.

use super::super::stretch::{BaseStream, Stretch};
use super::ahead::{BaseAhead, hash_line};
use super::sections::SectionFinder;
use std::collections::HashMap;
use std::io::{self, Read};

/// The most landmarks of a section: about 3 MiB. In a section of 10 GB there is one every 300 KB.
const MOST: usize = 1 << 16;
/// How many of them must agree.
const AGREEING: usize = 3;

/// The landmarks of the rest of a section.
pub struct Landmarks {
    /// Offsets in the base by the hash of the line.
    offsets: HashMap<u64, u64>,
    /// Lines count whose hash has none of these bits.
    mask: u64,
    /// Where the last one was met, in content and base.
    last: (u64, u64),
    /// How many were met at the same distances.
    agreeing: usize,
    read: u64,
}

impl Landmarks {
    /// Reads those of the section in which `from` is, up to its end.
    pub fn read<B: Read>(
        base: B,
        stretch: Stretch,
        finder: Box<dyn SectionFinder>,
        shortest: usize,
        from: u64,
    ) -> io::Result<Landmarks> {
        let mut landmarks = Landmarks {
            offsets: HashMap::new(),
            mask: 0,
            last: (0, 0),
            agreeing: 0,
            read: 0,
        };
        let mut base = BaseStream::new(base);
        let mut ahead = BaseAhead::new(stretch, finder, shortest);
        ahead.skip_to(&mut base, from)?;
        while ahead.pass_section().is_some() {}
        loop {
            ahead.read_near(&mut base)?;
            landmarks.read = base.position();
            let mut end = ahead.position();
            for (offset, line) in ahead.lines() {
                landmarks.push(hash_line(line), offset);
                end = offset + line.len() as u64;
            }
            if end == ahead.position() {
                return Ok(landmarks);
            }
            ahead.advance_to(end);
            if ahead.pass_section().is_some() {
                return Ok(landmarks);
            }
        }
    }

    /// The bytes of the base that were read for them.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    fn push(&mut self, hash: u64, offset: u64) {
        if hash & self.mask != 0 {
            return;
        }
        self.offsets.insert(hash, offset);
        if self.offsets.len() > MOST {
            self.mask = self.mask << 1 | 1;
            let mask = self.mask;
            self.offsets.retain(|hash, _| hash & mask == 0);
        }
    }

    /// Takes note of a line of the content that was not found nearby. Returns its offset in the
    /// base if it is the last of three landmarks that agree.
    pub fn meet(&mut self, hash: u64, position: u64) -> Option<u64> {
        if hash & self.mask != 0 {
            return None;
        }
        let offset = *self.offsets.get(&hash)?;
        let (last_position, last_offset) = self.last;
        let is_same_distance = offset.checked_sub(last_offset) == Some(position - last_position);
        self.agreeing = if is_same_distance {
            self.agreeing + 1
        } else {
            1
        };
        self.last = (position, offset);
        (self.agreeing >= AGREEING).then_some(offset)
    }
}
