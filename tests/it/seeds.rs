//! Random numbers that can be had again: each test prints its seed, and `DBBACKUP_SEED` gives one.

use std::time::UNIX_EPOCH;

/// The seed of a random test, printed for whoever reads of its failure.
pub fn seed() -> u64 {
    let given = std::env::var("DBBACKUP_SEED").ok();
    let seed = match given.as_deref().map(str::parse) {
        Some(Ok(seed)) => seed,
        Some(Err(_)) => panic!("DBBACKUP_SEED is no number"),
        // A moment has few digits that nobody could guess, and they are enough.
        None => UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_nanos() as u64 % 1_000_000_000),
    };
    println!("DBBACKUP_SEED={seed} repeats these random numbers");
    seed
}

/// A small generator of its own, so that a seed means the same everywhere.
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The numbers of [`seed`].
    pub fn seeded() -> Random {
        Random::new(seed())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.number() >> 11) % end
    }

    /// Whether something comes about that does so in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.number() >> 40) as u8).collect()
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
