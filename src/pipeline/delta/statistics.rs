//! What a delta consists of.

use std::ops::AddAssign;

/// The bytes of content that went through a delta, by where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeltaStatistics {
    /// Bytes that the base has.
    pub copied: u64,
    /// Those of them that were copied by a promise, and not compared: they have no checksum.
    pub unread: u64,
    /// Bytes that are in the delta itself.
    pub added: u64,
}

impl DeltaStatistics {
    /// The size of the content in bytes.
    pub fn content(self) -> u64 {
        self.copied + self.added
    }
}

impl AddAssign for DeltaStatistics {
    fn add_assign(&mut self, other: DeltaStatistics) {
        self.copied += other.copied;
        self.unread += other.unread;
        self.added += other.added;
    }
}
