//! How long telling may take: a run that is over must not wait for a server that hangs.

use std::time::{Duration, Instant};

/// The longest time that one message may take, or that its secret may.
pub const EACH: Duration = Duration::from_secs(10);

/// The longest time that all messages of a run may take.
const ALL: Duration = Duration::from_secs(30);

/// The time that is left for the messages of a run.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    end: Instant,
    each: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(EACH, ALL)
    }
}

impl Budget {
    /// So long for each message, and for all.
    pub fn new(each: Duration, all: Duration) -> Budget {
        Budget {
            end: Instant::now() + all,
            each,
        }
    }

    /// How long the next message may take; `None` where no time is left.
    pub fn next(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left.min(self.each))
    }
}
