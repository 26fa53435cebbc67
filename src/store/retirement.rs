//! What came of removing a backup: some services keep an object for as long as they were told to.
//! And what whoever decided on it knew of, as a store without locks may have changed since, or may
//! have left something out of its list.

use crate::store::names;
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::fmt;

/// The sidecars and events of a source that somebody knew of who decided what is removed.
#[derive(Debug, Clone, Default)]
pub struct KnownNames(HashSet<String>);

impl KnownNames {
    /// Those among the objects of a list.
    pub fn among(objects: &[String]) -> KnownNames {
        let matters =
            |name: &&String| names::sidecar_id(name).is_some() || names::event_id(name).is_some();
        KnownNames(objects.iter().filter(matters).cloned().collect())
    }

    /// Adds an event that was written since.
    pub fn add(&mut self, event: &str) {
        self.0.insert(event.to_owned());
    }

    /// An event of one of these backups among the names that is not known: a pin, for one.
    pub fn unknown_event<'a>(&self, found: &'a [String], ids: &[&str]) -> Option<&'a str> {
        let is_new = |name: &&String| {
            names::event_id(name).is_some_and(|id| ids.contains(&id)) && !self.0.contains(*name)
        };
        found.iter().find(is_new).map(String::as_str)
    }

    /// A sidecar among the names that is not known: its backup may be built on one that goes.
    pub fn unknown_sidecar<'a>(&self, found: &'a [String]) -> Option<&'a str> {
        let is_new = |name: &&String| names::sidecar_id(name).is_some() && !self.0.contains(*name);
        found.iter().find(is_new).map(String::as_str)
    }
}

/// What came of removing a backup.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retirement {
    /// It is not listed any more, and nothing of it is left but what a lock holds; that goes with a
    /// later sweep.
    Done,
    /// It is there as before: this event of it is there now, and nobody knew of it.
    Changed(String),
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
