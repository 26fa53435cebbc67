//! What was told that no store remembers: that another machine's backups are overdue, that a store
//! could not be opened, that a verification found damage. It is kept so that it is not told with
//! every run. Losing it costs a message too many, and never one too few.

use super::news::LastingState;
use super::notification::json_bytes;
use crate::durable;
use crate::error::Result;
use crate::lock::Lock;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long something is remembered that nobody has looked at again.
const LONGEST: TimeDelta = TimeDelta::days(62);

/// How long another command's writing is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What was told before, in a file.
#[derive(Debug)]
pub struct Reminders {
    path: PathBuf,
    known: BTreeMap<String, Reminder>,
    /// What this command has noted or forgotten.
    changes: BTreeMap<String, Option<Reminder>>,
}

/// Something that was told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Reminder {
    since: DateTime<Utc>,
    looked_at: DateTime<Utc>,
}

impl Reminders {
    /// Those of a directory; none where the file is not there or can't be read.
    pub fn load(directory: &Path) -> Reminders {
        let path = directory.join("reminders.json");
        Reminders {
            known: read_known(&path),
            path,
            changes: BTreeMap::new(),
        }
    }

    /// What is known of something that is so now, which is noted.
    pub fn note(&mut self, key: &str, now: DateTime<Utc>) -> LastingState {
        let before = self.known.get(key).copied();
        let since = before.map_or(now, |known| known.since);
        let reminder = Reminder {
            since,
            looked_at: now,
        };
        self.change(key, Some(reminder));
        LastingState {
            since,
            looked_at: before.map(|known| known.looked_at),
        }
    }

    /// What was known of something that is so no more, which is forgotten.
    pub fn forget(&mut self, key: &str) -> Option<LastingState> {
        let known = *self.known.get(key)?;
        self.change(key, None);
        Some(LastingState {
            since: known.since,
            looked_at: Some(known.looked_at),
        })
    }

    fn change(&mut self, key: &str, reminder: Option<Reminder>) {
        apply(&mut self.known, key, reminder);
        self.changes.insert(key.to_owned(), reminder);
    }

    /// Writes what has changed into the file, to what other commands have written there meanwhile.
    pub fn save(self, now: DateTime<Utc>) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let lock = self.path.with_extension("lock");
        let _lock = Lock::take(&lock, "what was told", LOCK_WAIT)?;
        let mut known = read_known(&self.path);
        for (key, reminder) in &self.changes {
            apply(&mut known, key, *reminder);
        }
        known.retain(|_, known| now - known.looked_at <= LONGEST);
        durable::replace(&self.path, &json_bytes(&known)?)
    }
}

fn read_known(path: &Path) -> BTreeMap<String, Reminder> {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn apply(known: &mut BTreeMap<String, Reminder>, key: &str, reminder: Option<Reminder>) {
    match reminder {
        Some(reminder) => known.insert(key.to_owned(), reminder),
        None => known.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_known_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let start: DateTime<Utc> = "2026-11-02T02:00:00Z".parse().unwrap();
        let day = TimeDelta::days(1);
        let mut reminders = Reminders::load(dir.path());
        assert_eq!(reminders.note("a", start).looked_at, None);
        reminders.save(start).unwrap();
        let mut reminders = Reminders::load(dir.path());
        let state = reminders.note("a", start + day);
        assert_eq!((state.since, state.looked_at), (start, Some(start)));
        assert_eq!(reminders.forget("b"), None);
        assert_eq!(reminders.forget("a").unwrap().since, start);
        reminders.note("old", start);
        reminders.save(start + day * 90).unwrap();
        let mut reminders = Reminders::load(dir.path());
        assert_eq!(reminders.forget("a"), None);
        assert_eq!(reminders.forget("old"), None);
        // Two commands at once keep what both have noted.
        let (mut one, mut other) = (Reminders::load(dir.path()), Reminders::load(dir.path()));
        one.note("of one", start);
        other.note("of the other", start);
        one.save(start).unwrap();
        other.save(start).unwrap();
        let mut reminders = Reminders::load(dir.path());
        assert!(reminders.forget("of one").is_some() && reminders.forget("of the other").is_some());
        // A file that is no such thing is as good as none.
        std::fs::write(dir.path().join("reminders.json"), "{").unwrap();
        let state = Reminders::load(dir.path()).note("a", start);
        assert_eq!(state.looked_at, None);
    }
}
