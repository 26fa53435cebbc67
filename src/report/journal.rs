//! The journal of systemd, where it reads stderr.

use crate::log::LogLevel;
use crate::units::printable;
use std::io;

/// Whether what stderr is connected with is the stream that `$JOURNAL_STREAM` names; see
/// sd-daemon(3).
pub fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(found) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    named.split_once(':').is_some_and(|(device, inode)| {
        device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino)
    })
}

/// As the journal takes it: with its priority.
pub fn with_priority(level: LogLevel, text: &str) -> String {
    format!("<{}>{}\n", level.priority(), printable(text))
}
