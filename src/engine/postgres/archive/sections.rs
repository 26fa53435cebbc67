//! The sections of an archive: the blocks of its tables' rows, whose names the table of contents
//! tells.

use super::{
    ArchiveInput, ArchiveReader, ArchiveShape, CountFailure, CountResult, DATA_BLOCK,
    LARGE_OBJECT_BLOCK,
};
use crate::engine::postgres::sections::DumpSection;
use std::collections::HashMap;

/// The bytes that are looked at at once.
const PIECE: usize = 64 << 10;
/// The largest entry of a table of contents that is waited for, in bytes.
const LARGEST_ENTRY: usize = 16 << 20;
/// The name of the section of all large objects.
const LARGE_OBJECTS: &str = "large objects";

/// Finds where the rows of each table begin in an archive.
#[derive(Default)]
pub struct ArchiveSections {
    state: ArchiveState,
    shape: ArchiveShape,
    /// Bytes that say nothing yet without those that follow.
    rest: Vec<u8>,
    /// The offset after all that was understood.
    position: u64,
    /// The tables whose rows are still to come, by the numbers of their entries.
    tables: HashMap<i64, String>,
    has_large_objects: bool,
    /// The section that begins where the last step has ended.
    begun: Option<String>,
}

/// What comes next in the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ArchiveState {
    #[default]
    Header,
    /// The number of entries.
    EntryCount,
    /// So many entries.
    Entries(i64),
    /// The kind of a block, and the number of its entry.
    BlockHead,
    /// The number of a large object, or the end of its block.
    ObjectNumber,
    /// The length of a piece of a block of this kind.
    ChunkLength(u8),
    /// So many bytes of a piece of a block of this kind.
    Chunk(u8, u64),
    /// It is not understood.
    Lost,
}

/// Bytes that have come, after which others may.
struct ArrivedBytes<'a>(&'a [u8]);

impl ArchiveInput for ArrivedBytes<'_> {
    fn fill(&mut self, _wanted: usize) -> CountResult<&[u8]> {
        Ok(self.0)
    }

    fn consume(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }
}

impl ArchiveSections {
    /// The fewest bytes of a row with its length and its end. `pg_dump` writes it as a sign and
    /// four bytes wherever it runs.
    pub const SHORTEST_ROW: usize = 6;

    /// Looks at the next bytes of the archive, and returns the sections that begin in them or right
    /// after them.
    pub fn find(&mut self, bytes: &[u8]) -> Vec<DumpSection> {
        let mut found = Vec::new();
        for piece in bytes.chunks(PIECE) {
            if self.state == ArchiveState::Lost {
                break;
            }
            if self.rest.is_empty() {
                let used = self.advance(piece, &mut found);
                self.rest.extend_from_slice(&piece[used..]);
            } else {
                let mut joint = std::mem::take(&mut self.rest);
                joint.extend_from_slice(piece);
                let used = self.advance(&joint, &mut found);
                joint.drain(..used);
                self.rest = joint;
            }
            if self.rest.len() > LARGEST_ENTRY {
                self.state = ArchiveState::Lost;
            }
        }
        if self.state == ArchiveState::Lost {
            self.rest = Vec::new();
            self.tables = HashMap::new();
        }
        found
    }

    /// Whether the rows of this table, or the large objects, are still to come.
    pub fn expects(&self, name: &str) -> bool {
        self.tables.values().any(|table| table == name)
    }

    /// Goes on as far as the bytes are enough; returns how many were used.
    fn advance(&mut self, bytes: &[u8], found: &mut Vec<DumpSection>) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.state != ArchiveState::Lost {
            let rest = &bytes[used..];
            if let ArchiveState::Chunk(kind, left) = self.state {
                let here = left.min(rest.len() as u64);
                self.state = match left - here {
                    0 => ArchiveState::ChunkLength(kind),
                    left => ArchiveState::Chunk(kind, left),
                };
                used += here as usize;
                self.position += here;
                continue;
            }
            // Most of an archive are rows, each a chunk of its own.
            if let ArchiveState::ChunkLength(_) = self.state
                && self.shape.int_size == 4
                && let Some(([0, length @ ..], chunk)) = rest.split_first_chunk::<5>()
                && (1..=chunk.len()).contains(&(u32::from_le_bytes(*length) as usize))
            {
                let here = 5 + u64::from(u32::from_le_bytes(*length));
                used += here as usize;
                self.position += here;
                continue;
            }
            let mut reader = ArchiveReader {
                input: ArrivedBytes(rest),
                shape: self.shape,
            };
            match self.step(&mut reader) {
                Ok(state) => self.state = state,
                Err(CountFailure::CutOff) => break,
                Err(_) => self.state = ArchiveState::Lost,
            }
            self.shape = reader.shape;
            let here = rest.len() - reader.input.0.len();
            used += here;
            self.position += here as u64;
            found.extend(self.begun.take().map(|name| DumpSection {
                offset: self.position,
                name,
            }));
        }
        used
    }

    /// Reads what comes next, and returns what comes after it.
    fn step(&mut self, reader: &mut ArchiveReader<ArrivedBytes<'_>>) -> CountResult<ArchiveState> {
        Ok(match self.state {
            ArchiveState::Header => {
                reader.read_header()?;
                ArchiveState::EntryCount
            }
            ArchiveState::EntryCount => match reader.read_integer()? {
                ..=0 => ArchiveState::BlockHead,
                count => ArchiveState::Entries(count),
            },
            ArchiveState::Entries(count) => {
                let entry = reader.read_entry()?;
                let number = entry.number;
                let table = entry.table().map(|table| table.on_one_line().to_string());
                self.tables.extend(table.map(|table| (number, table)));
                match count {
                    ..=1 => ArchiveState::BlockHead,
                    count => ArchiveState::Entries(count - 1),
                }
            }
            ArchiveState::BlockHead => {
                let (kind, number) = (reader.read_byte()?, reader.read_integer()?);
                match kind {
                    DATA_BLOCK => {
                        self.begun = self.tables.remove(&number);
                        ArchiveState::ChunkLength(kind)
                    }
                    LARGE_OBJECT_BLOCK => {
                        // Later versions write many such blocks, and which object is in which of
                        // them depends on those before it.
                        if !self.has_large_objects {
                            self.has_large_objects = true;
                            self.begun = Some(LARGE_OBJECTS.to_owned());
                        }
                        ArchiveState::ObjectNumber
                    }
                    _ => ArchiveState::Lost,
                }
            }
            ArchiveState::ObjectNumber => match reader.read_integer()? {
                0 => ArchiveState::BlockHead,
                _ => ArchiveState::ChunkLength(LARGE_OBJECT_BLOCK),
            },
            ArchiveState::ChunkLength(kind) => match (reader.read_length()?, kind) {
                (0, LARGE_OBJECT_BLOCK) => ArchiveState::ObjectNumber,
                (0, _) => ArchiveState::BlockHead,
                (length, _) => ArchiveState::Chunk(kind, length),
            },
            ArchiveState::Chunk(..) | ArchiveState::Lost => self.state,
        })
    }
}
