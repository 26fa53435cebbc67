//! Counts and hashes what goes by, in both directions. The result comes out by a [`Gauge`], because
//! the meter itself often goes away into another thread.

use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The size and the hash of what went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// A `Read` or `Write` that measures. Reads and writes should be large: each takes a lock that
/// nobody else wants.
pub struct Meter<T> {
    inner: T,
    tally: Arc<Mutex<MeterTally>>,
}

/// Reads what a [`Meter`] has counted.
#[derive(Clone)]
pub struct Gauge(Arc<Mutex<MeterTally>>);

#[derive(Default)]
struct MeterTally {
    size: u64,
    hash: Sha256,
}

impl<T> Meter<T> {
    /// Measures what goes through `inner`.
    pub fn new(inner: T) -> (Self, Gauge) {
        let tally = Arc::new(Mutex::new(MeterTally::default()));
        (
            Meter {
                inner,
                tally: Arc::clone(&tally),
            },
            Gauge(tally),
        )
    }

    /// Gives back what is measured.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// What is measured. What goes through it from here is not counted.
    pub fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Lets `work` do something with what is measured, and counts the bytes that it shows to the
    /// function that it is given.
    pub fn count_shown<R>(&mut self, work: impl FnOnce(&mut T, &mut dyn FnMut(&[u8])) -> R) -> R {
        let tally = &self.tally;
        work(&mut self.inner, &mut |bytes| count(tally, bytes))
    }
}

fn count(tally: &Mutex<MeterTally>, bytes: &[u8]) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.size += bytes.len() as u64;
    tally.hash.update(bytes);
}

impl Gauge {
    /// Returns what went by since the last call; the meter starts anew.
    pub fn reset(&self) -> Measurement {
        let tally = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let sha256 = tally
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Measurement {
            size: tally.size,
            sha256,
        }
    }
}

impl<T: Write> Write for Meter<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self::count(&self.tally, &bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Meter<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self::count(&self.tally, &bytes[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sha256sum() {
        let (mut meter, gauge) = Meter::new(Vec::new());
        meter.write_all(b"ab").unwrap();
        meter.write_all(b"c").unwrap();
        let measure = gauge.reset();
        assert_eq!(measure.size, 3);
        assert_eq!(
            measure.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
