//! How long failing calls are tried again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A place that has not answered once may not exist at all: a wrong name or a closed port is told
/// after this time, and not after a quarter of an hour.
const FIRST_CONTACT: Duration = Duration::from_secs(60);

/// How long a failing call is tried again: a minute until the other side has answered once, then as
/// long as the settings say.
#[derive(Debug)]
pub struct RetryTime {
    longest: Duration,
    has_answered: AtomicBool,
}

impl RetryTime {
    /// The time that the settings allow.
    pub fn new(longest: Duration) -> RetryTime {
        RetryTime {
            longest,
            has_answered: AtomicBool::new(false),
        }
    }

    /// Notes that the other side has answered.
    pub fn note_answer(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// How long a call that begins to fail now is tried again.
    pub fn limit(&self) -> Duration {
        match self.has_answered.load(Ordering::Relaxed) {
            true => self.longest,
            false => self.longest.min(FIRST_CONTACT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_comes_with_the_first_answer() {
        let time = RetryTime::new(Duration::from_secs(900));
        assert_eq!(time.limit(), FIRST_CONTACT);
        time.note_answer();
        assert_eq!(time.limit(), Duration::from_secs(900));
        assert_eq!(RetryTime::new(Duration::ZERO).limit(), Duration::ZERO);
    }
}
