//! A limit of bytes in a second, as a token bucket.

use crate::error::Result;
use crate::interrupt;
use crate::store::Rate;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a wait looks for a signal.
const TICK: Duration = Duration::from_millis(100);

/// How much may go at once after a pause: what a tenth of a second allows.
const BURST: f64 = 0.1;

/// Bytes in a second, for all transfers that share it.
#[derive(Debug)]
pub struct RateLimit {
    bytes_a_second: f64,
    /// Until when the bytes that were let through are paid for.
    paid_until: Mutex<Instant>,
}

impl RateLimit {
    /// A limit; the bucket is full.
    pub fn new(rate: Rate) -> RateLimit {
        RateLimit {
            bytes_a_second: rate.0 as f64,
            paid_until: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more may go. A signal ends the wait.
    pub fn wait(&self, bytes: usize) -> Result<()> {
        let until = self.reserve(bytes);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if left.is_zero() {
                break;
            }
            interrupt::check()?;
            std::thread::sleep(left.min(TICK));
        }
        Ok(())
    }

    /// Takes `bytes` out of the bucket, and says when they may go: for those who wait otherwise.
    pub fn reserve(&self, bytes: usize) -> Instant {
        self.take(bytes, Instant::now())
    }

    fn take(&self, bytes: usize, now: Instant) -> Instant {
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let earliest = now
            .checked_sub(Duration::from_secs_f64(BURST))
            .unwrap_or(now);
        let begin = (*paid_until).max(earliest);
        *paid_until = begin + Duration::from_secs_f64(bytes as f64 / self.bytes_a_second);
        *paid_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_at_the_rate() {
        let limit = RateLimit::new(Rate(1000));
        let now = Instant::now() + Duration::from_secs(10);
        let seconds = |until: Instant| (until - now).as_secs_f64();
        // What a pause saved is a tenth of a second's.
        assert!((seconds(limit.take(1000, now)) - 0.9).abs() < 1e-6);
        assert!((seconds(limit.take(500, now)) - 1.4).abs() < 1e-6);
        let later = now + Duration::from_secs(5);
        assert!((seconds(limit.take(100, later)) - 5.0).abs() < 1e-6);
    }
}
