//! The sink of a tree beside its base: what the engine says of the base in bytes, as the delta's
//! stretches and alignments.

use super::alignment::lines_alignment;
use super::base::DeltaBase;
use crate::engine::{DeltaSink, Likeness};
use crate::pipeline::DeltaEncodeWriter;
use crate::pipeline::delta::{Alignment, Stretch};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

/// The pages by which files of a tree are compared, in bytes.
const PAGE: usize = 4096;

/// See the head of this file.
pub struct TreeSink<'a, B: Read, W: Write + Send + 'static> {
    encode: &'a mut DeltaEncodeWriter<B, W>,
    base: &'a DeltaBase,
    is_aligned: bool,
}

impl<'a, B: Read, W: Write + Send + 'static> TreeSink<'a, B, W> {
    /// A sink that writes a delta against `base`.
    pub fn new(encode: &'a mut DeltaEncodeWriter<B, W>, base: &'a DeltaBase) -> Self {
        TreeSink {
            encode,
            base,
            is_aligned: false,
        }
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
        let copied = self.encode.copy_base(stretch_of(&range));
        // It is shorter than its sidecar says.
        copied.inspect_err(|error| {
            if error.kind() == ErrorKind::InvalidData {
                self.base.note_failure();
            }
        })
    }

    fn lay_beside(&mut self, range: Range<u64>, likeness: Likeness) -> io::Result<()> {
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
