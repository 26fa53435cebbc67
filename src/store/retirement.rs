//! What came of removing a backup: some services keep an object for as long as they were told to.

use crate::units;
use chrono::{DateTime, Utc};
use std::fmt;

/// What came of removing a backup.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retirement {
    /// It is not listed any more, and nothing of it is left but what a lock holds; that goes with a
    /// later sweep.
    Done,
    /// The service does not let it go yet: all of it is there as before.
    Locked(ObjectLock),
    /// The service lets neither it go yet nor the mark that hides it: it is not listed any more,
    /// and a sweep after the lock's end removes it.
    Hidden(ObjectLock),
}

/// The lock by which a service keeps an object from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// When it ends; `None` where somebody has to end it.
    pub until: Option<DateTime<Utc>>,
}

impl fmt::Display for ObjectLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "locked until {}", units::stamp(until)),
            None => f.write_str("locked by a legal hold"),
        }
    }
}
