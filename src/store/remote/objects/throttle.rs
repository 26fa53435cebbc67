//! Limits on the bytes in a second, shared by all connections of a store.

use crate::store::Rate;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How much may be moved at once after a pause, as time at the limit.
const BURST: Duration = Duration::from_millis(100);

/// A limit, as a bucket of tokens.
#[derive(Debug)]
pub struct Throttle {
    rate: f64,
    /// When all that was reserved so far may have been moved.
    next: Mutex<Instant>,
}

impl Throttle {
    /// A limit of so many bytes in a second.
    pub fn new(rate: Rate) -> Throttle {
        Throttle {
            rate: rate.0.max(1) as f64,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Reserves so many bytes; returns when they may be moved.
    pub fn reserve(&self, bytes: usize) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *next = (*next).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.rate);
        *next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_together_keeps_the_rate() {
        let throttle = Throttle::new(Rate(1000));
        let began = Instant::now();
        let mut last = began;
        for _ in 0..10 {
            let next = throttle.reserve(500);
            assert!(next > last - BURST);
            last = next;
        }
        let all = last - began;
        assert!(all > Duration::from_millis(4800) && all < Duration::from_millis(5100));
    }
}
