//! A window on its way into the delta: the steps towards its content, and how they are written.

use super::format::{HEADER, MAX_COPY, MAX_SEGMENT, WindowHead, push_integer};
use super::instructions::{Instruction, InstructionWriter};
use super::statistics::DeltaStatistics;
use super::stretch::Stretch;
use std::io::{self, Write};

/// The least number of bytes that are worth a COPY: it and the ADD behind it are 3 bytes at least,
/// and most of them are packed well.
const MIN_COPY: usize = 4;

/// Collects what a window's content consists of, and encodes it.
#[derive(Default)]
pub struct WindowBuilder {
    /// The offsets are those in the whole base.
    steps: Vec<Instruction>,
    length: usize,
    data: Vec<u8>,
    instructions: InstructionWriter,
}

impl WindowBuilder {
    /// The size of the content so far, in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The next `count` bytes of the content are new.
    pub fn add(&mut self, count: usize) {
        self.length += count;
        match self.steps.last_mut() {
            _ if count == 0 => {}
            Some(Instruction::Add { length }) => *length += count,
            _ => self.steps.push(Instruction::Add { length: count }),
        }
    }

    /// The next `count` bytes of the content are those of the base from `from` on.
    pub fn copy(&mut self, from: u64, count: usize) {
        self.length += count;
        match self.steps.last_mut() {
            _ if count == 0 => {}
            Some(Instruction::Copy { offset, length }) if *offset + *length as u64 == from => {
                *length += count;
            }
            _ => self.steps.push(Instruction::Copy {
                offset: from,
                length: count,
            }),
        }
    }

    /// The segment that it would have with a copy up to `end`, in bytes.
    pub fn segment_up_to(&self, end: u64) -> u64 {
        let first = self.steps.iter().find_map(copied_stretch);
        first.map_or(0, |first| end.saturating_sub(first.offset))
    }

    /// Appends the window with this `content` to `out`, counts it, and begins another.
    pub fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) -> DeltaStatistics {
        self.drop_short_copies();
        let segment = self.segment();
        self.data.clear();
        self.instructions.clear();
        let mut statistics = DeltaStatistics::default();
        let mut rest = content;
        for step in self.steps.drain(..) {
            match step {
                Instruction::Add { length } => {
                    let (new, after) = rest.split_at(length);
                    self.data.extend_from_slice(new);
                    self.instructions.push(step);
                    statistics.added += length as u64;
                    rest = after;
                }
                Instruction::Copy { offset, length } => {
                    self.instructions.push(Instruction::Copy {
                        offset: offset - segment.map_or(0, |segment| segment.offset),
                        length,
                    });
                    statistics.copied += length as u64;
                    rest = &rest[length..];
                }
            }
        }
        debug_assert!(rest.is_empty());
        self.length = 0;
        let checksum = libdeflater::adler32(content);
        let parts = [
            &self.data[..],
            &self.instructions.opcodes,
            &self.instructions.addresses,
        ];
        push_window(out, segment, content.len() as u64, Some(checksum), parts);
        statistics
    }

    /// Makes new bytes of the copies that are not worth it.
    fn drop_short_copies(&mut self) {
        let mut copies = self.steps.iter().filter_map(copied_stretch);
        if copies.all(|copy| copy.length >= MIN_COPY as u64) {
            return;
        }
        let steps = std::mem::take(&mut self.steps);
        self.length = 0;
        for step in steps {
            match step {
                Instruction::Copy { offset, length } if length >= MIN_COPY => {
                    self.copy(offset, length);
                }
                Instruction::Copy { length, .. } | Instruction::Add { length } => self.add(length),
            }
        }
    }

    /// The stretch of the base that all copies are in.
    fn segment(&self) -> Option<Stretch> {
        let copies = || self.steps.iter().filter_map(copied_stretch);
        let offset = copies().map(|copy| copy.offset).min()?;
        let end = copies().map(Stretch::end).max()?;
        Some(Stretch {
            offset,
            length: end - offset,
        })
    }
}

fn copied_stretch(step: &Instruction) -> Option<Stretch> {
    match *step {
        Instruction::Add { .. } => None,
        Instruction::Copy { offset, length } => Some(Stretch {
            offset,
            length: length as u64,
        }),
    }
}

/// Appends a window that is this stretch of the base, at most [`MAX_COPY`] bytes. Where nobody has
/// read it, it has no checksum.
fn push_copy(out: &mut Vec<u8>, stretch: Stretch, checksum: Option<u32>) {
    let mut instructions = InstructionWriter::default();
    instructions.push(Instruction::Copy {
        offset: 0,
        length: stretch.length as usize,
    });
    let parts = [&[][..], &instructions.opcodes, &instructions.addresses];
    push_window(out, Some(stretch), stretch.length, checksum, parts);
}

/// Appends a window of these parts: data, opcodes, addresses.
fn push_window(
    out: &mut Vec<u8>,
    segment: Option<Stretch>,
    content: u64,
    checksum: Option<u32>,
    parts: [&[u8]; 3],
) {
    let mut sizes = Vec::with_capacity(24);
    push_integer(&mut sizes, content);
    sizes.push(0);
    for part in parts {
        push_integer(&mut sizes, part.len() as u64);
    }
    if let Some(checksum) = checksum {
        sizes.extend_from_slice(&checksum.to_be_bytes());
    }
    let head = WindowHead {
        segment,
        has_checksum: checksum.is_some(),
        body: sizes.len() + parts.iter().map(|part| part.len()).sum::<usize>(),
    };
    head.push(out);
    out.extend_from_slice(&sizes);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Where the windows go, in order.
pub struct WindowSink<W> {
    inner: W,
    begun: bool,
    statistics: DeltaStatistics,
}

impl<W: Write> WindowSink<W> {
    /// Begins a delta.
    pub fn new(inner: W) -> Self {
        WindowSink {
            inner,
            begun: false,
            statistics: DeltaStatistics::default(),
        }
    }

    /// Writes encoded windows.
    pub fn write(&mut self, windows: &[u8], statistics: DeltaStatistics) -> io::Result<()> {
        self.begin()?;
        self.statistics += statistics;
        self.inner.write_all(windows)
    }

    /// Writes windows that are this stretch of the base.
    pub fn write_unread_copy(&mut self, mut stretch: Stretch) -> io::Result<()> {
        let mut window = Vec::new();
        while stretch.length > 0 {
            let length = stretch.length.min(MAX_COPY);
            window.clear();
            push_copy(&mut window, Stretch { length, ..stretch }, None);
            let statistics = DeltaStatistics {
                copied: length,
                unread: length,
                ..DeltaStatistics::default()
            };
            self.write(&window, statistics)?;
            stretch = Stretch {
                offset: stretch.offset + length,
                length: stretch.length - length,
            };
        }
        Ok(())
    }

    /// Writes a window that is this stretch of the base, which was read, with its checksum.
    pub fn write_copy(&mut self, stretch: Stretch, checksum: u32) -> io::Result<()> {
        let mut window = Vec::new();
        push_copy(&mut window, stretch, Some(checksum));
        let statistics = DeltaStatistics {
            copied: stretch.length,
            ..DeltaStatistics::default()
        };
        self.write(&window, statistics)
    }

    /// Writes the end, and gives the inner sink back.
    pub fn finish(mut self) -> io::Result<(W, DeltaStatistics)> {
        self.begin()?;
        self.inner.write_all(&super::format::END)?;
        Ok((self.inner, self.statistics))
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.inner.write_all(&HEADER)?;
        }
        Ok(())
    }
}

/// Whether a window may still grow by a copy of the base up to `end`.
pub fn fits_segment(window: &WindowBuilder, end: u64) -> bool {
    window.segment_up_to(end) <= MAX_SEGMENT
}
