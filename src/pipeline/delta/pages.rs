//! Content whose pages stay where they are: page *k* is compared with page *k* of the base.
//!
//! A window is a MiB of content, and copies only from the same MiB of the base. So the windows are
//! independent of each other, and a crew of threads encodes them.

mod crew;
mod matcher;

pub use crew::PageCrew;

use super::format::MAX_WINDOW;
use super::statistics::DeltaStatistics;
use super::stretch::{BaseStream, Stretch};
use super::window::{WindowBuilder, WindowSink};
use matcher::PageMatcher;
use std::io::{self, Read, Write};

/// A MiB of content, that of the base, and the window that comes of them. Its buffers keep their
/// memory.
#[derive(Default)]
pub struct PageBlock {
    content: Vec<u8>,
    base: Vec<u8>,
    base_offset: u64,
    page_size: usize,
    window: Vec<u8>,
    statistics: DeltaStatistics,
}

/// Collects content into blocks, and gives them to the crew together with their stretch of the
/// base.
pub struct PageAligner {
    page_size: usize,
    /// What is left of the stretch of the base.
    stretch: Stretch,
    filling: PageBlock,
}

impl PageAligner {
    /// Aligns content with this stretch of the base.
    pub fn new(page_size: usize, stretch: Stretch) -> Self {
        PageAligner {
            // Any size that divides a MiB gives a right delta, and only such a one a small delta.
            page_size: page_size.clamp(512, MAX_WINDOW),
            stretch,
            filling: PageBlock::default(),
        }
    }

    /// Makes new bytes of all content.
    pub fn unaligned() -> Self {
        PageAligner::new(MAX_WINDOW, Stretch::default())
    }

    /// Lets the stretch go on with the one that follows it. That is possible where the content was
    /// as long as the stretch, so that pages still lie beside those that they were; returns whether
    /// it was.
    pub fn grow(&mut self, page_size: usize, next: Stretch) -> bool {
        let is_next = self.page_size == page_size
            && self.stretch.length == self.filling.content.len() as u64
            && self.stretch.end() == next.offset;
        if is_next {
            self.stretch.length += next.length;
        }
        is_next
    }

    /// Takes some of the content, and encodes a block when it is full.
    pub fn write<B: Read, W: Write>(
        &mut self,
        bytes: &[u8],
        base: &mut BaseStream<B>,
        crew: &mut PageCrew,
        sink: &mut WindowSink<W>,
    ) -> io::Result<usize> {
        if self.filling.content.capacity() == 0 {
            self.filling = crew.free_block(sink)?;
        }
        let content = &mut self.filling.content;
        let count = bytes.len().min(MAX_WINDOW - content.len());
        content.extend_from_slice(&bytes[..count]);
        if content.len() == MAX_WINDOW {
            self.submit(base, crew, sink)?;
        }
        Ok(count)
    }

    /// Writes the windows of all content that has come.
    pub fn flush<B: Read, W: Write>(
        &mut self,
        base: &mut BaseStream<B>,
        crew: &mut PageCrew,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        if !self.filling.content.is_empty() {
            self.submit(base, crew, sink)?;
        }
        crew.settle_all(sink)
    }

    fn submit<B: Read, W: Write>(
        &mut self,
        base: &mut BaseStream<B>,
        crew: &mut PageCrew,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.filling);
        let count = self.stretch.length.min(block.content.len() as u64);
        block.page_size = self.page_size;
        block.base_offset = self.stretch.offset;
        // It is not cleared before: only what it grows by is filled with zeros.
        block.base.resize(count as usize, 0);
        if count > 0 {
            base.skip_to(self.stretch.offset)?;
            let read = base.fill(&mut block.base)?;
            block.base.truncate(read);
        }
        self.stretch = Stretch {
            offset: self.stretch.offset + count,
            length: self.stretch.length - count,
        };
        crew.submit(block, sink)
    }
}

/// Encodes blocks; each thread has one.
#[derive(Default)]
pub struct PageEncoder {
    builder: WindowBuilder,
    matcher: PageMatcher,
}

impl PageEncoder {
    /// Makes the window of a block.
    pub fn encode(&mut self, block: &mut PageBlock) {
        let PageBlock { content, base, .. } = block;
        for (at, page) in (0..)
            .step_by(block.page_size)
            .zip(content.chunks(block.page_size))
        {
            let old = base.get(at..).unwrap_or_default();
            let old = &old[..old.len().min(page.len())];
            let offset = block.base_offset + at as u64;
            if page == old {
                self.builder.copy(offset, page.len());
            } else {
                self.matcher
                    .match_page(page, old, offset, &mut self.builder);
            }
        }
        block.window.clear();
        block.statistics = self.builder.encode(content, &mut block.window);
    }
}

#[cfg(test)]
mod tests;
