//! The sink of a tree beside its base: what the engine says of the base in bytes, as the delta's
//! stretches and alignments.

use super::alignment::lines_alignment;
use super::base::DeltaBase;
use crate::engine::{DeltaSink, Likeness};
use crate::failpoint::lowered;
use crate::pipeline::DeltaEncodeWriter;
use crate::pipeline::delta::{Alignment, Stretch};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

/// The pages by which files of a tree are compared, in bytes.
const PAGE: usize = 4096;

/// What has changed in stretches of so many bytes and more is compared with them, although the base
/// has to be read for that.
const WORTH_READING: u64 = 16 << 20;
/// So many bytes of smaller stretches are stored whole before the base is read for them.
const MOST_STORED_WHOLE: u64 = 64 << 20;

/// See the head of this file.
pub struct TreeSink<'a, B: Read, W: Write + Send + 'static> {
    encode: &'a mut DeltaEncodeWriter<B, W>,
    base: &'a DeltaBase,
    is_aligned: bool,
    /// What has changed is compared with stretches of so many bytes and more, at least.
    worth_reading: u64,
    /// The bytes of stretches that something changed was not compared with.
    stored_whole: u64,
}

impl<'a, B: Read, W: Write + Send + 'static> TreeSink<'a, B, W> {
    /// A sink that writes a delta against `base`.
    pub fn new(encode: &'a mut DeltaEncodeWriter<B, W>, base: &'a DeltaBase) -> Self {
        TreeSink {
            encode,
            base,
            is_aligned: false,
            worth_reading: lowered("DBBACKUP_TEST_WORTH_READING", WORTH_READING),
            stored_whole: 0,
        }
    }

    /// Whether what comes next is worth comparing with so many bytes of the base.
    fn is_worth_reading(&mut self, length: u64) -> bool {
        if !self.base.leaves_unread || length >= self.worth_reading {
            return true;
        }
        self.stored_whole += length;
        self.stored_whole > MOST_STORED_WHOLE
    }
}

impl<B: Read, W: Write + Send + 'static> Write for TreeSink<'_, B, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encode.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encode.flush()
    }
}

impl<B: Read, W: Write + Send + 'static> DeltaSink for TreeSink<'_, B, W> {
    fn copy_base(&mut self, range: Range<u64>) -> io::Result<()> {
        self.is_aligned = false;
        if self.base.leaves_unread {
            return self.encode.copy_base_unread(stretch_of(&range));
        }
        let copied = self.encode.copy_base(stretch_of(&range));
        // It is shorter than its sidecar says.
        copied.inspect_err(|error| {
            if error.kind() == ErrorKind::InvalidData {
                self.base.note_failure();
            }
        })
    }

    fn lay_beside(&mut self, range: Range<u64>, likeness: Likeness) -> io::Result<()> {
        if !self.is_worth_reading(range.end - range.start) {
            return self.lay_beside_nothing();
        }
        self.is_aligned = true;
        let alignment = match likeness {
            Likeness::Pages => Alignment::Pages(PAGE),
            Likeness::Lines => lines_alignment(),
        };
        self.encode.align(alignment, stretch_of(&range))
    }

    fn lay_beside_nothing(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_aligned) {
            self.encode.align(Alignment::None, Stretch::default())?;
        }
        Ok(())
    }
}

fn stretch_of(range: &Range<u64>) -> Stretch {
    Stretch {
        offset: range.start,
        length: range.end - range.start,
    }
}
