//! Where sections begin, such as the rows of a table.
//!
//! A row is only looked for in the section of its own name: otherwise the first row of a new table
//! that also is one of a later table would leave all between behind.

use memchr::memmem::Finder;
use std::collections::VecDeque;

/// The most bytes of a line in which a name is looked for.
const MAX_LINE: usize = 64 << 10;

/// The beginning of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionStart {
    /// The offset of the section's first byte in its stream.
    pub offset: u64,
    /// What the same section is called in the other stream, too.
    pub name: Vec<u8>,
}

/// Finds the sections of a stream that it sees from the first byte on, piece by piece.
pub trait SectionFinder: Send {
    /// Looks at the next bytes of the stream, and returns the sections whose beginning is known
    /// now, in their order. It may come to know one some bytes late.
    fn find_sections(&mut self, bytes: &[u8]) -> Vec<SectionStart>;

    /// Whether the stream has told that a section of this name is still to come.
    fn expects(&self, name: &[u8]) -> bool {
        let _ = name;
        false
    }
}

/// Finds sections that begin with a line of text.
pub struct LineSections {
    needle: Finder<'static>,
    name: fn(&[u8]) -> Option<&[u8]>,
    /// The bytes that may be part of a beginning, and a line's end before them.
    rest: Vec<u8>,
    /// The offset after the last byte of the rest.
    position: u64,
}

impl LineSections {
    /// Sections begin with a line that `prefix` begins, if `name` finds their name in that line,
    /// which it gets without its end.
    pub fn new(prefix: &str, name: fn(&[u8]) -> Option<&[u8]>) -> Self {
        LineSections {
            needle: Finder::new(&format!("\n{prefix}")).into_owned(),
            name,
            rest: vec![b'\n'],
            position: 0,
        }
    }

    /// Returns the sections that begin in `bytes`, the last that have come, and the number of these
    /// bytes that are not needed any more.
    fn search(&self, bytes: &[u8]) -> (Vec<SectionStart>, usize) {
        let mut starts = Vec::new();
        // A needle that has come in part may go on in the next bytes.
        let mut done = bytes.len() - bytes.len().min(self.needle.needle().len() - 1);
        let mut from = 0;
        while let Some(at) = self.needle.find(&bytes[from..]) {
            let start = from + at + 1;
            let line = &bytes[start..];
            let end = match memchr::memchr(b'\n', line) {
                Some(end) => end,
                None if line.len() < MAX_LINE => return (starts, start - 1),
                None => MAX_LINE,
            };
            if let Some(name) = (self.name)(&line[..end]) {
                starts.push(SectionStart {
                    offset: self.position - line.len() as u64,
                    name: name.to_vec(),
                });
            }
            from = start + end;
            done = done.max(from);
        }
        (starts, done)
    }
}

impl SectionFinder for LineSections {
    fn find_sections(&mut self, bytes: &[u8]) -> Vec<SectionStart> {
        self.position += bytes.len() as u64;
        let size = self.needle.needle().len();
        let mut joint = std::mem::take(&mut self.rest);
        joint.extend_from_slice(&bytes[..bytes.len().min(size - 1)]);
        // Mostly nothing begins there, and the bytes need not be copied.
        if bytes.len() >= size && self.needle.find(&joint).is_none() {
            let (starts, done) = self.search(bytes);
            self.rest.extend_from_slice(&bytes[done..]);
            return starts;
        }
        joint.extend_from_slice(&bytes[bytes.len().min(size - 1)..]);
        let (starts, done) = self.search(&joint);
        joint.drain(..done);
        self.rest = joint;
        starts
    }
}

/// The sections of a stream around a position that only goes forward.
pub struct SectionQueue {
    finder: Box<dyn SectionFinder>,
    coming: VecDeque<SectionStart>,
}

impl SectionQueue {
    /// A queue at the first byte of the stream.
    pub fn new(finder: Box<dyn SectionFinder>) -> Self {
        SectionQueue {
            finder,
            coming: VecDeque::new(),
        }
    }

    /// Takes note of the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.coming.extend(self.finder.find_sections(bytes));
    }

    /// Whether a section of this name is still to come, as far as the stream has told.
    pub fn expects(&self, name: &[u8]) -> bool {
        self.finder.expects(name)
    }

    /// Removes the next section that begins at or before `position`.
    pub fn pop_up_to(&mut self, position: u64) -> Option<SectionStart> {
        let is_reached = self.coming.front()?.offset <= position;
        if is_reached {
            self.coming.pop_front()
        } else {
            None
        }
    }

    /// The sections that are known and still to come.
    pub fn coming(&self) -> impl Iterator<Item = &SectionStart> {
        self.coming.iter()
    }
}
