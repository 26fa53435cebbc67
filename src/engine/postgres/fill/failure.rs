//! What the failure of a program that fills a database means, and what to do about it.

use crate::error::{Error, Kind};
use crate::process::ProgramFailure;

/// Whether a failure was caused by the machine, the connection or an interruption, and so says
/// nothing about the dump.
pub fn is_machine_failure(error: &Error) -> bool {
    let text = error.message();
    let words = [
        "out of memory",
        "out of shared memory",
        "No space left on device",
        "Disk quota exceeded",
        "server closed the connection",
        "terminating connection",
        "connection to server",
        "could not connect",
        "too many clients",
        "too many connections",
        "canceling statement",
        "PANIC:",
        "the database system is",
        "could not fork",
        "Resource temporarily unavailable",
    ];
    let killed = error
        .cause::<ProgramFailure>()
        .is_some_and(|failure| failure.signal().is_some());
    killed || error.kind() == Kind::Interrupted || words.iter().any(|words| text.contains(words))
}

/// The remedy for the failure of a program that filled a database; `None` where none is known.
pub fn find_remedy(error: &Error) -> Option<&'static str> {
    let text = error.message();
    let known = [
        (
            "canceling statement due to lock timeout",
            "another session holds a lock there for long: end it, then restore again",
        ),
        (
            "out of shared memory",
            "raise max_locks_per_transaction on the server: there are more tables than its lock \
             table holds",
        ),
        (
            "No space left on device",
            "free some space where the server keeps its data",
        ),
        (
            "invalid command \\restrict",
            "install the newest minor release of the PostgreSQL client programs",
        ),
        (
            "unsupported version",
            "install newer client programs, or set `bin_dir`",
        ),
        (
            "permission denied",
            "restore as the owner of everything in the dump, or as a superuser; `--no-owner` gives \
             all of it to you",
        ),
        ("must be superuser", "restore as a superuser"),
        (
            "must be owner",
            "restore as a superuser, or with `--no-owner`",
        ),
    ];
    known
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, hint)| *hint)
}
