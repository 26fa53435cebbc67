//! The pulling side: base and delta become content again, in one forward pass over both.
//!
//! Memory is bounded whatever the bytes say: the body of one window (about 3 MiB), the segment of
//! the base that it copies from (4 MiB) and its content (1 MiB), each of which grows only as bytes
//! arrive. A window that is one whole stretch of the base is passed through, at the speed at which
//! the base can be read.

mod decode;
mod input;

use super::format::{MAX_WINDOW, WindowBody, WindowHead, damaged};
use super::statistics::DeltaStatistics;
use super::stretch::{BaseStream, Stretch};
use decode::{decode_window, is_lone_copy};
use input::DeltaInput;
use libdeflater::Adler32;
use std::io::{self, ErrorKind, Read};

/// A reader of the content that a delta makes of its base, which may be a `DeltaReader` itself.
///
/// The content of a window is given out after its checksum was compared, except for windows that
/// are one stretch of the base: their error comes after their bytes. So only a reader that came to
/// its end without an error has given the content. An error of the base or the delta comes out as
/// it was. Damage is [`InvalidData`](ErrorKind::InvalidData), and
/// [`UnexpectedEof`](ErrorKind::UnexpectedEof) where the delta's end is missing.
pub struct DeltaReader<B, D> {
    base: BaseStream<B>,
    delta: DeltaInput<D>,
    reads_whole_base: bool,
    state: ReaderState,
    /// The end of the last segment, behind which the next one begins.
    segment_end: u64,
    body: Vec<u8>,
    segment: Vec<u8>,
    content: Vec<u8>,
    statistics: DeltaStatistics,
}

/// What is given out next.
enum ReaderState {
    /// Nothing was read.
    Start,
    /// What the next window says.
    Window,
    /// The content of a window whose segment is there.
    Decode(OpenWindow),
    /// The same after it was decoded, from this offset on.
    Content(usize),
    /// The rest of a window that is a stretch of the base.
    Copy(OpenCopy),
    /// The delta has ended. The base has to be read on, if it was asked for.
    Rest,
    /// Nothing any more.
    End,
    /// An error was returned.
    Failed,
}

/// A window that is to be decoded.
struct OpenWindow {
    parts: WindowBody,
    /// Where it begins in the delta.
    at: u64,
}

/// A window that is passed through from the base.
struct OpenCopy {
    stretch: Stretch,
    /// Where it begins in the delta.
    at: u64,
    left: u64,
    /// The checksum that the window has, and that of the bytes so far.
    checksum: Option<(u32, Adler32)>,
}

impl<B: Read, D: Read> DeltaReader<B, D> {
    /// Begins to read. Nothing is read of either before the first byte is asked for.
    pub fn new(base: B, delta: D) -> Self {
        DeltaReader {
            base: BaseStream::new(base),
            delta: DeltaInput::new(delta),
            reads_whole_base: false,
            state: ReaderState::Start,
            segment_end: 0,
            body: Vec::new(),
            segment: Vec::new(),
            content: Vec::new(),
            statistics: DeltaStatistics::default(),
        }
    }

    /// The same, which reads the base to its end before it comes to its own, although it needs no
    /// more of it: so a base that checks itself at its end has done so.
    pub fn with_whole_base(self) -> Self {
        DeltaReader {
            reads_whole_base: true,
            ..self
        }
    }

    /// What was given out so far.
    pub fn statistics(&self) -> DeltaStatistics {
        self.statistics
    }

    /// The size of the base, where its end was read.
    pub fn base_size(&self) -> Option<u64> {
        self.base.size()
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match &mut self.state {
                ReaderState::Start => {
                    self.delta.read_header()?;
                    ReaderState::Window
                }
                ReaderState::Window => self.read_window()?,
                ReaderState::Decode(window) => {
                    let size = window.parts.content as usize;
                    // Without another copy, where there is room.
                    let is_direct = buffer.len() >= size;
                    if !is_direct {
                        self.content.resize(size, 0);
                    }
                    let content = if is_direct {
                        &mut buffer[..size]
                    } else {
                        &mut self.content[..]
                    };
                    self.statistics += window.decode(&self.body, &self.segment, content)?;
                    if is_direct {
                        self.state = ReaderState::Window;
                        return Ok(size);
                    }
                    ReaderState::Content(0)
                }
                ReaderState::Content(from) => {
                    let rest = &self.content[*from..];
                    if !rest.is_empty() {
                        let count = rest.len().min(buffer.len());
                        buffer[..count].copy_from_slice(&rest[..count]);
                        *from += count;
                        return Ok(count);
                    }
                    ReaderState::Window
                }
                ReaderState::Copy(copy) if copy.left > 0 => {
                    return copy.read(&mut self.base, buffer, &mut self.statistics);
                }
                ReaderState::Copy(copy) => {
                    if let Some((expected, sum)) = &copy.checksum
                        && sum.sum() != *expected
                    {
                        return Err(wrong_checksum(copy.at));
                    }
                    ReaderState::Window
                }
                ReaderState::Rest => {
                    if self.reads_whole_base {
                        self.base.drain()?;
                    }
                    ReaderState::End
                }
                ReaderState::End => return Ok(0),
                ReaderState::Failed => return Err(failed_before()),
            };
        }
    }

    /// Reads the next window and, unless it can be passed through, its segment.
    fn read_window(&mut self) -> io::Result<ReaderState> {
        let at = self.delta.position();
        let in_window = |error| in_window(error, at);
        let head = WindowHead::read(|| self.delta.read_byte()).map_err(in_window)?;
        self.delta.read_body(&mut self.body, head.body)?;
        let parts = WindowBody::parse(&head, &self.body).map_err(in_window)?;
        if parts.content == 0 {
            self.check_end(&head, &parts).map_err(in_window)?;
            return Ok(ReaderState::Rest);
        }
        if let Some(segment) = head.segment {
            self.check_order(segment).map_err(in_window)?;
            self.base.skip_to(segment.offset)?;
            if is_lone_copy(segment, &parts, &self.body).map_err(in_window)? {
                return Ok(ReaderState::Copy(OpenCopy {
                    stretch: segment,
                    at,
                    left: segment.length,
                    checksum: parts.checksum.map(|expected| (expected, Adler32::new())),
                }));
            }
        }
        if parts.content > MAX_WINDOW as u64 || parts.checksum.is_none() {
            return Err(in_window(damaged("only a whole stretch may be like it")));
        }
        self.read_segment(head.segment)?;
        Ok(ReaderState::Decode(OpenWindow { parts, at }))
    }

    /// Refuses a last window with anything in it, and bytes behind it.
    fn check_end(&mut self, head: &WindowHead, parts: &WindowBody) -> io::Result<()> {
        let has_parts = parts.addresses.end > parts.data.start;
        if has_parts || head.segment.is_some() || parts.checksum != Some(1) {
            return Err(damaged("it has no content"));
        }
        if self.delta.is_at_end()? {
            Ok(())
        } else {
            Err(damaged("it is the last one, but bytes follow"))
        }
    }

    /// Refuses a segment that begins before the end of the one before.
    fn check_order(&mut self, segment: Stretch) -> io::Result<()> {
        if segment.offset < self.segment_end {
            return Err(damaged(format!(
                "it goes back in its base, from byte {} to byte {}",
                self.segment_end, segment.offset
            )));
        }
        self.segment_end = segment.end();
        Ok(())
    }

    /// Reads the stretch of the base that a window copies from.
    fn read_segment(&mut self, segment: Option<Stretch>) -> io::Result<()> {
        let segment = segment.unwrap_or_default();
        self.segment.resize(segment.length as usize, 0);
        let read = self.base.fill(&mut self.segment)?;
        if read < self.segment.len() {
            return Err(short_base(self.base.position(), segment));
        }
        Ok(())
    }
}

impl<B: Read, D: Read> Read for DeltaReader<B, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.read_some(buffer);
        if read.is_err() {
            self.state = ReaderState::Failed;
        }
        read
    }
}

impl OpenWindow {
    /// Fills `content` with what the window makes of its segment.
    fn decode(
        &self,
        body: &[u8],
        segment: &[u8],
        content: &mut [u8],
    ) -> io::Result<DeltaStatistics> {
        let decoded = decode_window(&self.parts, body, segment, content);
        let statistics = decoded.map_err(|error| in_window(error, self.at))?;
        if self.parts.checksum != Some(libdeflater::adler32(content)) {
            return Err(wrong_checksum(self.at));
        }
        Ok(statistics)
    }
}

impl OpenCopy {
    fn read<B: Read>(
        &mut self,
        base: &mut BaseStream<B>,
        buffer: &mut [u8],
        statistics: &mut DeltaStatistics,
    ) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64) as usize;
        let count = base.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(short_base(base.position(), self.stretch));
        }
        self.left -= count as u64;
        statistics.copied += count as u64;
        match &mut self.checksum {
            Some((_, sum)) => sum.update(&buffer[..count]),
            None => statistics.unread += count as u64,
        }
        Ok(count)
    }
}

/// The error of a window that begins at byte `at` of the delta.
fn in_window(error: io::Error, at: u64) -> io::Error {
    match error.kind() {
        ErrorKind::InvalidData => damaged(format!(
            "the delta is damaged: the window at byte {at}: {error}"
        )),
        _ => error,
    }
}

/// The error of a checksum that differs, in the window at byte `at` of the delta.
fn wrong_checksum(at: u64) -> io::Error {
    damaged(format!(
        "the content of the window at byte {at} has another checksum: the delta or its base is \
         damaged, or the base is another one"
    ))
}

/// The error of a base that ends inside a stretch that is copied.
pub fn short_base(end: u64, stretch: Stretch) -> io::Error {
    damaged(format!(
        "the base is not that of the delta: it ends at byte {end}, and the delta copies up to byte \
         {}",
        stretch.end()
    ))
}

/// The error of a call after the one that got the stream's own error.
pub fn failed_before() -> io::Error {
    io::Error::other("the delta has failed before")
}
