//! Messages that could not be delivered, a file each. They hold no secret, wait for the next run
//! and are bounded in number and age: what is a week old is no news.

use super::notification::{Notification, json_bytes};
use crate::durable;
use crate::error::{Context, Result};
use crate::lock::Lock;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most messages that wait; the oldest go first.
const MOST_WAITING: usize = 100;

/// How long a message waits.
const LONGEST_WAIT: TimeDelta = TimeDelta::days(7);

/// A message that waits, and whom it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingMessage {
    /// The notifier's name.
    pub notifier: String,
    /// The message.
    pub notification: Notification,
}

/// The directory in which messages wait.
#[derive(Debug, Clone)]
pub struct MessageSpool {
    directory: PathBuf,
}

/// Where this machine's state is, of the environment: systemd's directory for a service, root's, or
/// the user's. `None` where there is no home.
pub fn state_directory(env: &dyn Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = env(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    // Several are separated by colons.
    let of_service = env("STATE_DIRECTORY").and_then(|dirs| std::env::split_paths(&dirs).next());
    let of_service = of_service.filter(|path| path.is_absolute());
    let of_root = is_root.then(|| PathBuf::from("/var/lib/dbbackup"));
    let of_user = || {
        let home = || absolute("HOME").map(|home| home.join(".local/state"));
        absolute("XDG_STATE_HOME").or_else(home)
    };
    of_service
        .or(of_root)
        .or_else(|| of_user().map(|dir| dir.join("dbbackup")))
}

impl MessageSpool {
    /// The spool in this directory, which is made when something is to wait.
    pub fn new(directory: PathBuf) -> MessageSpool {
        MessageSpool { directory }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory, for this user alone.
    pub fn create(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let what = || format!("making `{}`", self.directory.display());
        builder.create(&self.directory).with_context(what)
    }

    /// The lock of who delivers what waits; `None` where another run does that now.
    pub fn lock(&self) -> Option<Lock> {
        if !self.directory.is_dir() {
            return None;
        }
        let path = self.directory.join(".lock");
        Lock::take(&path, "what waits to be told", Duration::ZERO).ok()
    }

    /// How many messages wait.
    pub fn count(&self) -> usize {
        self.files().len()
    }

    /// Keeps a message for later, and drops the oldest ones where there are too many.
    pub fn add(&self, message: &WaitingMessage) -> Result<()> {
        self.create()?;
        let at = message.notification.at.format("%Y%m%dT%H%M%S");
        let name = format!("{at}-{}-{}.json", message.notification.id, message.notifier);
        let bytes = json_bytes(message)?;
        durable::replace(&self.directory.join(name), &bytes)?;
        let files = self.files();
        let surplus = files.len().saturating_sub(MOST_WAITING);
        for path in files.iter().take(surplus) {
            _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// What waits, the oldest first, each with its file. What is too old or no message is removed.
    pub fn waiting(&self, now: DateTime<Utc>) -> Vec<(PathBuf, WaitingMessage)> {
        let mut waiting = Vec::new();
        for path in self.files() {
            let text = fs::read(&path).ok();
            let message: Option<WaitingMessage> =
                text.and_then(|text| serde_json::from_slice(&text).ok());
            match message {
                Some(message) if now - message.notification.at <= LONGEST_WAIT => {
                    waiting.push((path, message));
                }
                _ => _ = fs::remove_file(path),
            }
        }
        waiting
    }

    /// The files of messages, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let is_message = |name: &str| name.starts_with('2') && name.ends_with(".json");
        let mut files: Vec<PathBuf> = found
            .filter(|entry| entry.file_name().to_str().is_some_and(is_message))
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: i64, now: DateTime<Utc>) -> WaitingMessage {
        let at = now - TimeDelta::minutes(number);
        WaitingMessage {
            notifier: "ops".to_owned(),
            notification: Notification::on_trial("web1", at),
        }
    }

    #[test]
    fn the_newest_hundred_of_a_week_wait() {
        let dir = tempfile::tempdir().unwrap();
        let spool = MessageSpool::new(dir.path().join("state/notify"));
        assert_eq!(spool.count(), 0);
        let now = Utc::now();
        for number in (0..105).rev() {
            spool.add(&message(number, now)).unwrap();
        }
        assert_eq!(spool.count(), 100);
        let waiting = spool.waiting(now);
        assert_eq!(waiting.len(), 100);
        let oldest = waiting[0].1.notification.at;
        assert!(now - oldest < TimeDelta::minutes(101), "{oldest}");
        let mode = fs::metadata(&waiting[0].0).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
        fs::write(&waiting[0].0, "no message").unwrap();
        assert_eq!(spool.waiting(now + TimeDelta::days(3)).len(), 99);
        assert!(spool.waiting(now + TimeDelta::days(8)).is_empty());
        assert_eq!(spool.count(), 0);
    }

    #[test]
    fn the_state_is_where_the_system_wants_it() {
        let of = |given: &'static [(&str, &str)], is_root| {
            let env = move |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            state_directory(&env, is_root).map(|path| path.display().to_string())
        };
        let path = |text: &str| Some(text.to_owned());
        assert_eq!(
            of(&[("HOME", "/home/a")], false),
            path("/home/a/.local/state/dbbackup")
        );
        assert_eq!(of(&[("XDG_STATE_HOME", "/s")], false), path("/s/dbbackup"));
        assert_eq!(of(&[("HOME", "/root")], true), path("/var/lib/dbbackup"));
        let service = &[("STATE_DIRECTORY", "/var/lib/private/x:/y")];
        assert_eq!(of(service, true), path("/var/lib/private/x"));
        assert_eq!(of(&[], false), None);
    }
}
