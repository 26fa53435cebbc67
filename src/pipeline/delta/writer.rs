//! The pushing side: new content comes in, the base is pulled in step, windows go out.

use super::format::MAX_COPY;
use super::pages::{PageAligner, PageCrew};
use super::reader::{failed_before, short_base};
use super::rows::{RowAligner, RowOptions};
use super::statistics::DeltaStatistics;
use super::stretch::{BaseStream, Stretch};
use super::window::WindowSink;
use libdeflater::Adler32;
use std::io::{self, Read, Write};

/// What is read at once of a stretch that is copied, in bytes.
const READ: usize = 256 << 10;

/// How content and base are laid side by side.
pub enum Alignment {
    /// Not at all: all content is new.
    None,
    /// Page by page, each at the offset that it has in the base. The size is in bytes, a power of
    /// two from 512 to 65536.
    Pages(usize),
    /// Line by line; a line is looked for only in the section of the base that has the name of its
    /// own.
    Rows(RowOptions),
}

/// A writer of the delta between what is written to it and a base, into the sink that it was
/// created with.
///
/// Only [`DeltaWriter::finish`] completes the delta. An error of the base or the sink comes back,
/// as it was, from the call that notices it, and all later calls fail, too.
pub struct DeltaWriter<B: Read, W: Write> {
    base: BaseStream<B>,
    sink: WindowSink<W>,
    crew: PageCrew,
    aligner: Aligner,
    /// The end of the stretch of the base that is or was in use.
    stretch_end: u64,
    /// A stretch to be copied, which may still grow.
    open_copy: Stretch,
    copy_buffer: Vec<u8>,
    /// After an error the delta lacks something, and must not be finished.
    has_failed: bool,
}

/// The aligner at work.
enum Aligner {
    Pages(PageAligner),
    Rows(Box<RowAligner>),
}

impl<B: Read, W: Write> DeltaWriter<B, W> {
    /// Begins a delta of content that is aligned with the whole of `base`. Windows are encoded by
    /// so many threads where they are independent; by the caller's own below two.
    pub fn new(base: B, sink: W, alignment: Alignment, threads: usize) -> Self {
        let (aligner, stretch_end) = Aligner::new(alignment, Stretch::WHOLE, 0);
        DeltaWriter {
            base: BaseStream::new(base),
            sink: WindowSink::new(sink),
            crew: PageCrew::new(threads),
            aligner,
            stretch_end,
            open_copy: Stretch::default(),
            copy_buffer: Vec::new(),
            has_failed: false,
        }
    }

    /// Aligns what is written from now on with this stretch of the base; with
    /// [`Alignment::None`] the stretch says nothing. Stretches of pages that follow one another
    /// become one, where all content of the one before was as long as that.
    ///
    /// # Errors
    /// One of what was written before; [`InvalidInput`](io::ErrorKind::InvalidInput) for a stretch
    /// that begins before the end of the one before.
    pub fn align(&mut self, alignment: Alignment, stretch: Stretch) -> io::Result<()> {
        self.unless_failed(|writer| {
            if let (Aligner::Pages(pages), Alignment::Pages(size)) =
                (&mut writer.aligner, &alignment)
                && writer.open_copy.length == 0
                && pages.grow(*size, stretch)
            {
                writer.stretch_end = stretch.end();
                return Ok(());
            }
            writer.start_stretch(alignment, stretch)
        })
    }

    /// Writes that this stretch of the base comes next. Unlike that of [`DeltaWriter::copy_base`]
    /// it is read, has a checksum in the delta, and `show` is given all of its bytes. What is
    /// written after it is new, until [`DeltaWriter::align`] is called.
    ///
    /// # Errors
    /// As those of [`DeltaWriter::align`]; [`InvalidData`](io::ErrorKind::InvalidData) where the
    /// base ends before the stretch does.
    pub fn copy_read_base(
        &mut self,
        stretch: Stretch,
        show: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.unless_failed(|writer| {
            writer.check_order(stretch)?;
            writer.start_stretch(Alignment::None, stretch)?;
            writer.stretch_end = stretch.end();
            writer.base.skip_to(stretch.offset)?;
            let mut from = stretch.offset;
            while from < stretch.end() {
                let length = MAX_COPY.min(stretch.end() - from);
                let part = Stretch {
                    offset: from,
                    length,
                };
                writer.copy_part(part, show)?;
                from = part.end();
            }
            Ok(())
        })
    }

    /// Writes that this stretch of the base comes next. It is not read, and has no checksum in the
    /// delta. Stretches that follow one another become one. What is written after it is new, until
    /// [`DeltaWriter::align`] is called.
    ///
    /// # Errors
    /// As those of [`DeltaWriter::align`].
    pub fn copy_base(&mut self, stretch: Stretch) -> io::Result<()> {
        self.unless_failed(|writer| {
            writer.check_order(stretch)?;
            if writer.open_copy.length > 0 && writer.open_copy.end() == stretch.offset {
                writer.open_copy.length += stretch.length;
            } else {
                writer.start_stretch(Alignment::None, stretch)?;
                writer.open_copy = stretch;
            }
            writer.stretch_end = stretch.end();
            Ok(())
        })
    }

    /// Reads the base to its end and returns its size: so a base that checks itself there has done
    /// so. What is written afterwards is new.
    pub fn drain_base(&mut self) -> io::Result<u64> {
        self.unless_failed(|writer| {
            writer.flush_content()?;
            writer.base.drain()
        })
    }

    /// Ends the delta; gives back the sink, and what the delta consists of.
    pub fn finish(mut self) -> io::Result<(W, DeltaStatistics)> {
        self.unless_failed(DeltaWriter::flush_content)?;
        self.sink.finish()
    }

    /// Does some work, unless there was an error before.
    fn unless_failed<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.has_failed {
            return Err(failed_before());
        }
        let result = work(self);
        self.has_failed = result.is_err();
        result
    }

    fn start_stretch(&mut self, alignment: Alignment, stretch: Stretch) -> io::Result<()> {
        self.flush_content()?;
        if !matches!(alignment, Alignment::None) {
            self.check_order(stretch)?;
        }
        (self.aligner, self.stretch_end) = Aligner::new(alignment, stretch, self.stretch_end);
        Ok(())
    }

    /// Writes the windows of all content that has come.
    fn flush_content(&mut self) -> io::Result<()> {
        self.close_copy()?;
        let (base, sink) = (&mut self.base, &mut self.sink);
        match &mut self.aligner {
            Aligner::Pages(pages) => pages.flush(base, &mut self.crew, sink),
            Aligner::Rows(rows) => rows.flush(base, sink),
        }
    }

    /// Reads a part of the base and writes it as one window.
    fn copy_part(&mut self, part: Stretch, show: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut sum = Adler32::new();
        self.copy_buffer.resize(READ, 0);
        while self.base.position() < part.end() {
            let left = part.end() - self.base.position();
            let most = left.min(READ as u64) as usize;
            let count = self.base.read(&mut self.copy_buffer[..most])?;
            if count == 0 {
                return Err(short_base(self.base.position(), part));
            }
            let bytes = &self.copy_buffer[..count];
            sum.update(bytes);
            show(bytes);
        }
        self.sink.write_copy(part, sum.sum())
    }

    /// Writes the windows of a stretch that does not grow any more.
    fn close_copy(&mut self) -> io::Result<()> {
        let stretch = std::mem::take(&mut self.open_copy);
        self.sink.write_unread_copy(stretch)
    }

    fn check_order(&self, stretch: Stretch) -> io::Result<()> {
        if stretch.offset < self.stretch_end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a delta can't go back in its base, from byte {} to byte {}",
                    self.stretch_end, stretch.offset
                ),
            ));
        }
        Ok(())
    }
}

impl Aligner {
    /// The aligner, and the end of the stretch that it uses; `end` is that of the one before.
    fn new(alignment: Alignment, stretch: Stretch, end: u64) -> (Aligner, u64) {
        match alignment {
            Alignment::None => (Aligner::Pages(PageAligner::unaligned()), end),
            Alignment::Pages(size) => (
                Aligner::Pages(PageAligner::new(size, stretch)),
                stretch.end(),
            ),
            Alignment::Rows(options) => {
                let rows = RowAligner::new(stretch, options);
                (Aligner::Rows(Box::new(rows)), stretch.end())
            }
        }
    }
}

impl<B: Read, W: Write> Write for DeltaWriter<B, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_failed(|writer| {
            writer.close_copy()?;
            let (base, sink) = (&mut writer.base, &mut writer.sink);
            match &mut writer.aligner {
                Aligner::Pages(pages) => pages.write(bytes, base, &mut writer.crew, sink),
                Aligner::Rows(rows) => rows.write(bytes, base, sink),
            }
        })
    }

    /// Does nothing: a window is written when it is full, and the last one by
    /// [`DeltaWriter::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
