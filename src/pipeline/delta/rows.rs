//! Content of lines that are added, changed and removed: a dump as text, mostly.
//!
//! Content and base are compared byte by byte as long as they are equal. At a difference the next
//! line of the content is looked for a few lines further in the base, where a row was removed, and
//! then in an index of all that is read ahead, where many were. Else it is new. Where much is new,
//! the rest of the section is searched for landmarks. The end of a section ends a line. The
//! position in the base only goes forward: a dump keeps the order of its rows but for one in ten
//! thousands.

mod ahead;
mod landmarks;
pub mod sections;

use super::alike::common_prefix;
use super::format::MAX_WINDOW;
use super::stretch::{BaseStream, Stretch};
use super::window::{WindowBuilder, WindowSink, fits_segment};
use ahead::{BaseAhead, MAX_LINE, first_line, hash_line, last_line_end};
use landmarks::Landmarks;
use sections::{SectionFinder, SectionQueue, SectionStart};
use std::collections::HashSet;
use std::io::{self, Read, Write};

/// The lines of the content that are looked at at once.
const LINES: usize = 4;
/// The content that is looked at at once, in bytes. It has room for so many lines.
const BATCH: usize = LINES * MAX_LINE;
/// The new bytes, with next to no others between them, after which landmarks are looked for.
const MUCH: usize = 4 << 20;
/// So many new bytes are made up for by one that was copied.
const MADE_UP: usize = 8;

/// What is known of the lines beside their bytes.
pub struct RowOptions {
    /// Creates what finds the sections of a stream from its first byte on.
    pub finder: Box<dyn Fn() -> Box<dyn SectionFinder> + Send>,
    /// The names of the base's sections, as far as they are known. A section that is further away
    /// than 8 MiB is looked for only if its name is here, or the base itself has told it.
    pub base_names: HashSet<Vec<u8>>,
    /// The fewest bytes of a line; an end of a line before them belongs to it. Rows that have their
    /// length before them need that, as it may contain such a byte.
    pub shortest_line: usize,
    /// Opens the whole base once more, from its first byte on. It is called where many lines in a
    /// row are not found, which may be because as many were removed.
    pub reopen_base: Option<ReopenBase>,
}

/// See [`RowOptions::reopen_base`].
pub type ReopenBase = Box<dyn FnMut() -> io::Result<Box<dyn Read + Send>> + Send>;

/// Lays the lines of content and base side by side.
pub struct RowAligner {
    base: BaseAhead,
    content: Content,
    /// The section that the position in the base is in.
    base_section: Option<SectionStart>,
    /// Whether the base has no section of the content's present name.
    is_new_section: bool,
    /// The new bytes since the last that were copied.
    new_bytes: usize,
    /// Those of the section of the base, once they were read.
    landmarks: Option<Landmarks>,
    /// The bytes that were read of the base for landmarks.
    reread: u64,
    stretch: Stretch,
    options: RowOptions,
    window: Vec<u8>,
}

/// The content from the beginning of the open window on.
struct Content {
    bytes: Vec<u8>,
    /// The offset of the first of these bytes in all content of this aligner.
    start: u64,
    /// The number of these bytes before the open window.
    spent: usize,
    builder: WindowBuilder,
    sections: SectionQueue,
}

impl RowAligner {
    /// Aligns content with this stretch of the base.
    pub fn new(stretch: Stretch, options: RowOptions) -> Self {
        RowAligner {
            base: BaseAhead::new(stretch, (options.finder)(), options.shortest_line),
            content: Content {
                bytes: Vec::new(),
                start: 0,
                spent: 0,
                builder: WindowBuilder::default(),
                sections: SectionQueue::new((options.finder)()),
            },
            base_section: None,
            is_new_section: false,
            new_bytes: 0,
            landmarks: None,
            reread: 0,
            stretch,
            options,
            window: Vec::new(),
        }
    }

    /// Takes some of the content, and aligns it when there is enough.
    pub fn write<B: Read, W: Write>(
        &mut self,
        bytes: &[u8],
        base: &mut BaseStream<B>,
        sink: &mut WindowSink<W>,
    ) -> io::Result<usize> {
        let count = bytes.len().min(BATCH - self.content.rest().len());
        let (bytes, _) = bytes.split_at(count);
        self.content.bytes.extend_from_slice(bytes);
        self.content.sections.push(bytes);
        if self.content.rest().len() == BATCH {
            self.align_lines(false, base, sink)?;
        }
        Ok(count)
    }

    /// Writes the windows of all content that has come.
    pub fn flush<B: Read, W: Write>(
        &mut self,
        base: &mut BaseStream<B>,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        self.align_lines(true, base, sink)?;
        self.close_window(sink)
    }

    /// Aligns the content that has come, except for lines at its end that may go on.
    fn align_lines<B: Read, W: Write>(
        &mut self,
        is_last: bool,
        base: &mut BaseStream<B>,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        loop {
            if self.is_new_section && !self.pass_new_section(is_last, sink)? {
                return Ok(());
            }
            self.copy_equal_lines(base, sink)?;
            self.enter_section(base)?;
            if self.is_new_section {
                continue;
            }
            let (rest, is_whole) = self.content.rest_of_section();
            let ends = line_ends(rest, self.options.shortest_line, is_last || is_whole);
            let is_enough = ends.len() == LINES || is_last || is_whole;
            let Some(&size) = ends.first().filter(|_| is_enough) else {
                return Ok(());
            };
            let position = self.content.position();
            let line = &rest[..size];
            let next = &rest[size..ends.get(1).copied().unwrap_or(size)];
            let following = &rest[size..ends.last().copied().unwrap_or(size)];
            let mut found = self.base.find_near(line, next);
            if found.is_none() && !next.is_empty() {
                self.base.read_far(base)?;
                found = self.base.find_far(line, next, following);
            }
            if found.is_none()
                && let Some(landmarks) = &mut self.landmarks
                && let Some(offset) = landmarks.meet(hash_line(line), position)
                && offset > self.base.position()
            {
                self.base.skip_to(base, offset)?;
                found = Some(self.base.position());
            }
            match found {
                Some(offset) => self.base.advance_to(offset),
                None => self.add_line(size, sink)?,
            }
        }
    }

    /// Makes new bytes of a line, and looks for landmarks where there were many.
    fn add_line<W: Write>(&mut self, size: usize, sink: &mut WindowSink<W>) -> io::Result<()> {
        self.add(size, sink)?;
        self.new_bytes += size;
        if self.new_bytes < MUCH || self.landmarks.is_some() || !self.base.has_far_lines() {
            return Ok(());
        }
        // Where every table is another one, the base is not read once more for each of them.
        let is_affordable = self.reread <= self.base.position();
        if let Some(reopen) = self.options.reopen_base.as_mut().filter(|_| is_affordable) {
            let finder = (self.options.finder)();
            let (from, shortest) = (self.base.position(), self.options.shortest_line);
            let landmarks = Landmarks::read(reopen()?, self.stretch, finder, shortest, from)?;
            self.reread += landmarks.bytes_read();
            self.landmarks = Some(landmarks);
        }
        Ok(())
    }

    /// Copies the lines in which content and base go on alike; all that has come if it is equal.
    fn copy_equal_lines<B: Read, W: Write>(
        &mut self,
        base: &mut BaseStream<B>,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        loop {
            self.base.read_near(base)?;
            let (new, old) = (self.content.rest(), self.base.bytes());
            let equal = common_prefix(new, old);
            if equal == 0 {
                return Ok(());
            }
            let is_difference = equal < new.len() && equal < old.len();
            let lines = last_line_end(&new[..equal], self.options.shortest_line);
            let lines = lines.max(self.content.last_section_within(equal));
            let is_cut = is_difference && equal - lines < MAX_LINE;
            let count = if is_cut { lines } else { equal };
            self.copy(count, sink)?;
            if is_difference {
                return Ok(());
            }
        }
    }

    /// Finds the section of the base, where the content is at the beginning of one.
    fn enter_section<B: Read>(&mut self, base: &mut BaseStream<B>) -> io::Result<()> {
        self.pass_base_sections();
        let position = self.content.position();
        let mut entered = None;
        while let Some(start) = self.content.sections.pop_up_to(position) {
            entered = Some(start);
        }
        let Some(SectionStart { offset, name }) = entered else {
            return Ok(());
        };
        if offset < position {
            // It was passed together with that of the base.
            return Ok(());
        }
        self.is_new_section = !self.find_section(&name, base)?;
        Ok(())
    }

    /// Goes forward in the base to the section of this name; stays where it is if there is none.
    fn find_section<B: Read>(&mut self, name: &[u8], base: &mut BaseStream<B>) -> io::Result<bool> {
        let open = self.base_section.as_ref().filter(|open| open.name == name);
        if open.is_some_and(|open| open.offset == self.base.position()) {
            return Ok(true);
        }
        let is_open = open.is_some();
        self.base.read_far(base)?;
        loop {
            if let Some(offset) = self.base.find_section(name) {
                self.base.advance_to(offset);
                self.pass_base_sections();
                return Ok(true);
            }
            let is_expected =
                self.options.base_names.contains(name) || self.base.expects_section(name);
            if is_open || self.base.has_ended() || !is_expected {
                return Ok(is_open);
            }
            self.base.advance_to_end();
            self.pass_base_sections();
            self.base.read_far(base)?;
        }
    }

    /// Forgets the sections of the base that begin before the position or at it.
    fn pass_base_sections(&mut self) {
        while let Some(passed) = self.base.pass_section() {
            self.options.base_names.remove(&passed.name);
            self.base_section = Some(passed);
            self.landmarks = None;
        }
    }

    /// Makes new bytes of the content up to the next section. Returns whether that has come.
    fn pass_new_section<W: Write>(
        &mut self,
        is_last: bool,
        sink: &mut WindowSink<W>,
    ) -> io::Result<bool> {
        let position = self.content.position();
        let next = self.content.sections.coming().next();
        if let Some(offset) = next.map(|start| start.offset) {
            let count = offset.saturating_sub(position) as usize;
            self.is_new_section = false;
            self.add(count, sink)?;
            return Ok(true);
        }
        // The last line may turn out to be the beginning of a section.
        let rest = self.content.rest();
        let open = rest.len() - memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        let kept = if is_last || open > MAX_LINE { 0 } else { open };
        self.add(rest.len() - kept, sink)?;
        Ok(false)
    }

    /// The next `count` bytes of the content are new.
    fn add<W: Write>(&mut self, mut count: usize, sink: &mut WindowSink<W>) -> io::Result<()> {
        while count > 0 {
            let part = count.min(MAX_WINDOW - self.content.builder.length());
            self.content.builder.add(part);
            count -= part;
            self.close_full_window(sink)?;
        }
        Ok(())
    }

    /// The next `count` bytes of the content are the next ones of the base.
    fn copy<W: Write>(&mut self, mut count: usize, sink: &mut WindowSink<W>) -> io::Result<()> {
        while count > 0 {
            let part = count.min(MAX_WINDOW - self.content.builder.length());
            let offset = self.base.position();
            let end = offset + part as u64;
            if !fits_segment(&self.content.builder, end) {
                self.close_window(sink)?;
                continue;
            }
            self.content.builder.copy(offset, part);
            self.new_bytes = self.new_bytes.saturating_sub(MADE_UP * part);
            self.base.advance_to(end);
            count -= part;
            self.close_full_window(sink)?;
        }
        Ok(())
    }

    fn close_full_window<W: Write>(&mut self, sink: &mut WindowSink<W>) -> io::Result<()> {
        if self.content.builder.length() == MAX_WINDOW {
            self.close_window(sink)?;
        }
        Ok(())
    }

    /// Writes the open window, if there is anything in it.
    fn close_window<W: Write>(&mut self, sink: &mut WindowSink<W>) -> io::Result<()> {
        let Content {
            bytes,
            start,
            spent,
            builder,
            ..
        } = &mut self.content;
        let length = builder.length();
        if length == 0 {
            return Ok(());
        }
        self.window.clear();
        let content = &bytes[*spent..*spent + length];
        let statistics = builder.encode(content, &mut self.window);
        *spent += length;
        if *spent >= MAX_WINDOW {
            bytes.drain(..*spent);
            *start += *spent as u64;
            *spent = 0;
        }
        sink.write(&self.window, statistics)
    }
}

impl Content {
    /// What has come and is in no window.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.spent + self.builder.length()..]
    }

    /// The rest up to the next section, and whether that is where it ends.
    fn rest_of_section(&self) -> (&[u8], bool) {
        let (rest, position) = (self.rest(), self.position());
        let mut coming = self.sections.coming().map(|start| start.offset);
        let next = coming.find(|&offset| offset > position);
        match next.map(|offset| (offset - position) as usize) {
            Some(size) if size <= rest.len() => (&rest[..size], true),
            _ => (rest, false),
        }
    }

    /// Where in the next `count` bytes the last section begins; 0 where none does.
    fn last_section_within(&self, count: usize) -> usize {
        let position = self.position();
        let starts = self.sections.coming().map(|start| start.offset);
        let within = starts.take_while(|&offset| offset <= position + count as u64);
        within
            .last()
            .map_or(0, |offset| offset.saturating_sub(position) as usize)
    }

    /// The offset of the rest in all content of this aligner.
    fn position(&self) -> u64 {
        self.start + (self.spent + self.builder.length()) as u64
    }
}

/// The ends of the first lines of these bytes, as many as are looked at. Where they are the whole
/// rest of a section, their end is one, too.
fn line_ends(bytes: &[u8], shortest: usize, is_whole: bool) -> Vec<usize> {
    let mut ends = Vec::with_capacity(LINES);
    let mut end = 0;
    while ends.len() < LINES
        && let Some(line) = first_line(&bytes[end..], shortest, is_whole)
    {
        end += line.len();
        ends.push(end);
    }
    ends
}

#[cfg(test)]
mod tests;
