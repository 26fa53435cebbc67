//! How an upload of unknown length is cut into parts.
//!
//! The services take at most 10,000 parts of 5 MiB to 5 GiB. Parts begin small, so that a small
//! object needs little memory and several are in flight, and grow, so that 5 TiB fit. A part that
//! is in flight stays in memory, as it may have to be sent again:
//!
//! | parts      | each    | in flight beside the one that is filled | memory  | object up to |
//! |------------|---------|------------------------------------------|---------|--------------|
//! | 1–500      | 8 MiB   | 4                                        | 40 MiB  | 3.9 GiB      |
//! | 501–1000   | 16 MiB  | 4                                        | 80 MiB  | 11.7 GiB     |
//! | 1001–2000  | 30 MiB  | 3                                        | 120 MiB | 41 GiB       |
//! | 2001–5500  | 60 MiB  | 1                                        | 120 MiB | 246 GiB      |
//! | 5501–7000  | 120 MiB | 0                                        | 120 MiB | 421 GiB      |
//! | 7001–8000  | 512 MiB | 0                                        | 512 MiB | 921 GiB      |
//! | 8001–9000  | 1.5 GiB | 0                                        | 1.5 GiB | 2.3 TiB      |
//! | 9001–10000 | 3 GiB   | 0                                        | 3 GiB   | 5.2 TiB      |
//!
//! With none in flight the writer waits until a part is stored before it fills the next one.
//! Where all parts but the last must be of one size (Cloudflare R2), they are of 60 MiB with one in
//! flight: 120 MiB of memory, and objects of at most 585 GiB.

use crate::failpoint::lowered;

/// The most parts that an upload may have.
pub const MOST_PARTS: usize = 10_000;

const MIB: u64 = 1 << 20;

/// A run of parts of one size.
struct PartStage {
    /// The number of parts up to the end of this stage.
    until: usize,
    /// Bytes of a part.
    size: u64,
    /// How many are in flight while the next one is filled.
    in_flight: usize,
}

const fn stage(until: usize, mebibytes: u64, in_flight: usize) -> PartStage {
    PartStage {
        until,
        size: mebibytes * MIB,
        in_flight,
    }
}

const GROWING: &[PartStage] = &[
    stage(500, 8, 4),
    stage(1000, 16, 4),
    stage(2000, 30, 3),
    stage(5500, 60, 1),
    stage(7000, 120, 0),
    stage(8000, 512, 0),
    stage(9000, 1536, 0),
    stage(MOST_PARTS, 3072, 0),
];

const EQUAL: &[PartStage] = &[stage(MOST_PARTS, 60, 1)];

/// The sizes of an upload's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartSchedule {
    /// They grow; see the head of this file.
    Growing,
    /// All are equally large.
    Equal,
}

impl PartSchedule {
    fn stages(self) -> &'static [PartStage] {
        match self {
            PartSchedule::Growing => GROWING,
            PartSchedule::Equal => EQUAL,
        }
    }

    fn stage(self, index: usize) -> Option<&'static PartStage> {
        self.stages().iter().find(|stage| index < stage.until)
    }

    /// Bytes of the part with this index, which begins at 0; `None` where there may be no more.
    pub fn size(self, index: usize) -> Option<u64> {
        let stage = self.stage(index)?;
        Some(lowered("DBBACKUP_TEST_PART_SIZE", stage.size))
    }

    /// How many parts may be in flight while the one with this index is filled.
    pub fn in_flight(self, index: usize) -> usize {
        self.stage(index).map_or(0, |stage| stage.in_flight)
    }

    /// The longest object that fits.
    pub fn longest_object(self) -> u64 {
        let mut begin = 0;
        let mut total = 0;
        for stage in self.stages() {
            total += (stage.until - begin) as u64 * stage.size;
            begin = stage.until;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIB: u64 = 1 << 40;

    /// The sizes of the parts of an object of `length` bytes.
    fn cut(schedule: PartSchedule, mut length: u64) -> Vec<u64> {
        let mut parts = Vec::new();
        while length > 0 {
            let part = schedule.size(parts.len()).unwrap().min(length);
            parts.push(part);
            length -= part;
        }
        parts
    }

    /// The most bytes that are in memory while a part is filled.
    fn memory(schedule: PartSchedule, parts: &[u64]) -> u64 {
        let held = |index: usize| {
            let first = index.saturating_sub(schedule.in_flight(index));
            parts[first..=index].iter().sum::<u64>()
        };
        (0..parts.len()).map(held).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_object_fits(length in prop_oneof![1..=5 * TIB, 1..=TIB / 2, 1..=64 * MIB]) {
            let parts = cut(PartSchedule::Growing, length);
            prop_assert!(parts.len() <= MOST_PARTS);
            prop_assert_eq!(parts.iter().sum::<u64>(), length);
            let (last, others) = parts.split_last().unwrap();
            prop_assert!(*last <= 5 << 30);
            prop_assert!(others.iter().all(|part| (5 * MIB..=5 << 30).contains(part)));
            let held = memory(PartSchedule::Growing, &parts);
            let bound = match length {
                length if length <= 420 << 30 => 128 * MIB,
                length if length <= 920 << 30 => 512 * MIB,
                _ => 3 << 30,
            };
            prop_assert!(held <= bound, "{held} bytes for {length}");
        }
    }

    #[test]
    fn the_table_is_true() {
        assert!(PartSchedule::Growing.longest_object() >= 5 * TIB);
        assert_eq!(PartSchedule::Growing.size(MOST_PARTS), None);
        assert_eq!(PartSchedule::Equal.longest_object() >> 30, 585);
        for length in [1, 300_000_000_000, PartSchedule::Equal.longest_object()] {
            let parts = cut(PartSchedule::Equal, length);
            assert!(memory(PartSchedule::Equal, &parts) <= 120 * MIB);
            let size = parts[0];
            assert!(parts[..parts.len() - 1].iter().all(|part| *part == size));
        }
    }
}
