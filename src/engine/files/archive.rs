//! The archive while it is written, alone or beside that of an earlier backup: members that are
//! still what they were then are copied from there, and changed ones are laid beside what they
//! were.

use super::base_tree::BaseMember;
use super::member::{Member, MemberKind};
use super::tar::{BLOCK, TarWriter, head_size, padding};
use crate::engine::{DeltaSink, Likeness};
use crate::error::Result;
use std::io::{self, BufWriter, Write};
use std::ops::Range;

/// Content of fewer bytes is not searched for lines that have moved.
const FEWEST_FOR_LINES: u64 = 16 << 10;
/// What content is a multiple of, in bytes, that consists of pages.
const PAGE: u64 = 4096;

/// Where an archive goes.
pub enum ArchiveSink<'a> {
    /// To a place of its own.
    Alone(&'a mut dyn Write),
    /// Beside an earlier archive.
    BesideBase(&'a mut dyn DeltaSink),
}

impl Write for ArchiveSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ArchiveSink::Alone(out) => out.write(bytes),
            ArchiveSink::BesideBase(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            ArchiveSink::Alone(out) => out.flush(),
            ArchiveSink::BesideBase(out) => out.flush(),
        }
    }
}

/// Writes an archive as [`TarWriter`] does, and has the same rules.
pub struct ArchiveWriter<'a> {
    tar: TarWriter<BufWriter<ArchiveSink<'a>>>,
    /// The position at which the open member begins.
    start: u64,
}

impl<'a> ArchiveWriter<'a> {
    /// Begins an archive.
    pub fn new(sink: ArchiveSink<'a>) -> Self {
        ArchiveWriter {
            tar: TarWriter::new(BufWriter::with_capacity(256 << 10, sink)),
            start: 0,
        }
    }

    /// Begins a member. `old` is what the base has of that name, if anything.
    pub fn begin(&mut self, member: &Member, old: Option<&BaseMember>) -> Result<()> {
        self.start = self.tar.position();
        let beside = self.lay_head_beside(member, old)?;
        self.tar.begin(member)?;
        if let Some((range, likeness)) = beside
            && let Some(sink) = self.delta_sink()?
        {
            sink.lay_beside(range, likeness)?;
        }
        Ok(())
    }

    /// Lays what comes next beside the old member, and returns what its content alone is to be laid
    /// beside where both have another size.
    fn lay_head_beside(
        &mut self,
        member: &Member,
        old: Option<&BaseMember>,
    ) -> Result<Option<(Range<u64>, Likeness)>> {
        let Some(sink) = self.delta_sink()? else {
            return Ok(None);
        };
        let Some(old) = old else {
            sink.lay_beside_nothing()?;
            return Ok(None);
        };
        let size = member.stored_size();
        let stored = head_size(member)? + size + padding(size);
        if stored == old.stored || !matches!(member.kind, MemberKind::File { .. }) {
            sink.lay_beside(old.range(), Likeness::Pages)?;
            return Ok(None);
        }
        sink.lay_beside_nothing()?;
        let content = old.content_range();
        let has_pages = [size, content.end - content.start]
            .iter()
            .all(|size| size % PAGE == 0);
        let likeness = match () {
            () if has_pages || size < FEWEST_FOR_LINES => Likeness::Pages,
            () => Likeness::Lines,
        };
        Ok(Some((content, likeness)))
    }

    /// Writes a member that is what it was in the base.
    pub fn copy(&mut self, old: &BaseMember) -> Result<()> {
        if let Some(sink) = self.delta_sink()? {
            sink.copy_base(old.range())?;
            self.tar.count_passed(old.stored);
        }
        Ok(())
    }

    /// The sink beside a base, after everything so far went there.
    fn delta_sink(&mut self) -> Result<Option<&mut (dyn DeltaSink + 'a)>> {
        let buffered = self.tar.sink_mut();
        if !buffered.buffer().is_empty() {
            buffered.flush()?;
        }
        Ok(match buffered.get_mut() {
            ArchiveSink::Alone(_) => None,
            ArchiveSink::BesideBase(sink) => Some(&mut **sink),
        })
    }

    /// Fills a file's last block; returns the bytes that the archive takes for the member.
    pub fn end(&mut self) -> Result<u64> {
        self.tar.end()?;
        Ok(self.tar.position() - self.start)
    }

    /// Writes zeros in place of a content's bytes that could not be had.
    pub fn fill(&mut self) -> Result<()> {
        self.tar.fill()
    }

    /// Bytes of the member's content that are still to be written.
    pub fn left(&self) -> u64 {
        self.tar.left()
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        if let Some(sink) = self.delta_sink()? {
            sink.lay_beside_nothing()?;
        }
        self.tar.finish()
    }
}

/// The member's content.
impl Write for ArchiveWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tar.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tar.flush()
    }
}

impl BaseMember {
    /// Its bytes in the base.
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.stored
    }

    /// The bytes of its content. Of a file with holes it is not known where that begins.
    fn content_range(&self) -> Range<u64> {
        let size = self.line.size.unwrap_or(0);
        let head = self.stored.checked_sub(size.saturating_add(padding(size)));
        let head = head.filter(|head| *head >= BLOCK).unwrap_or(0);
        self.offset + head..self.offset + self.stored
    }
}
