//! The one error of the program: what kind it is, the chain of causes, and what to do about it.
//!
//! The kind decides the exit code and nothing else; [`Kind::exit_code`] is the only table of them.
//! The chain is `anyhow`'s. The hint is the remedy, shown on a line of its own.

mod hint;

pub use hint::{CommandOptions, Hint};

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, as far as a script that reads the exit code cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The work was tried and failed.
    Failed,
    /// Wrong usage or configuration, or refused for want of `--yes`.
    Usage,
    /// Some of what was asked was done.
    Partial,
    /// A verified backup is not what was written, or does not restore.
    Damaged,
    /// Nothing matches the name given, or there is no such store.
    NotFound,
    /// Another run holds the lock.
    Locked,
    /// It is encrypted, and the key for it is not here.
    Sealed,
    /// SIGINT or SIGTERM.
    Interrupted,
}

impl Kind {
    /// The exit codes that PRODUCT promises to scripts.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed | Kind::Sealed => 1,
            Kind::Usage => 2,
            Kind::Partial => 3,
            Kind::Damaged => 4,
            Kind::NotFound => 10,
            Kind::Locked => 11,
            Kind::Interrupted => 130,
        }
    }
}

/// An error with its kind, its chain of causes and, where there is one, a hint.
pub struct Error {
    kind: Kind,
    chain: anyhow::Error,
    hint: Option<Hint>,
}

/// What nearly every function of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is lowercase, names the thing, and has no full stop.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Error {
            kind,
            chain: anyhow::Error::msg(message.to_string()),
            hint: None,
        }
    }

    /// [`Kind::Failed`] with a message.
    pub fn failed(message: impl fmt::Display) -> Self {
        Error::new(Kind::Failed, message)
    }

    /// [`Kind::Usage`] with a message.
    pub fn usage(message: impl fmt::Display) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// [`Kind::Damaged`] with a message.
    pub fn damaged(message: impl fmt::Display) -> Self {
        Error::new(Kind::Damaged, message)
    }

    /// [`Kind::NotFound`] with a message.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Error::new(Kind::NotFound, message)
    }

    /// An error whose message is that of a typed cause, which [`Error::cause`] gives back.
    pub fn from_cause(kind: Kind, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error {
            kind,
            chain: anyhow::Error::new(cause),
            hint: None,
        }
    }

    /// The error of a run that a signal ended.
    pub fn interrupted() -> Self {
        Error::new(Kind::Interrupted, "interrupted")
    }

    /// The same error with a hint; the innermost hint stays, as it knows most.
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same error with this hint in place of any that it had.
    pub fn with_new_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with what was being done put before it.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.chain = self.chain.context(what.to_string());
        self
    }

    /// The same error about the file `to`, of which `from` is a copy.
    pub fn renamed(self, from: &Path, to: &Path) -> Self {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        Error {
            kind: self.kind,
            chain: anyhow::Error::msg(self.message().replace(&from, &to)),
            hint: self.hint.map(|hint| hint.renamed(&from, &to)),
        }
    }

    /// The same error as another kind.
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole chain on one line, outermost first.
    pub fn message(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for cause in self.chain.chain() {
            let text = without_os_number(plain(&cause.to_string()));
            if parts.last().is_none_or(|last| !last.ends_with(&text)) {
                parts.push(text);
            }
        }
        parts.join(": ").replace('\n', " ")
    }

    /// The cause of this type in the chain, if there is one.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.chain.chain().find_map(|cause| cause.downcast_ref())
    }

    /// What the system says went wrong, where it was the system.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.chain
            .chain()
            .find_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
    }

    /// The hint, where there is one.
    pub fn hint(&self) -> Option<&Hint> {
        self.hint.as_ref()
    }
}

/// The system's own sentence, where a library has put the path before or behind it: ours names the
/// path that people know.
fn plain(text: &str) -> &str {
    let text = match text.strip_prefix("IO error for operation on ") {
        Some(rest) => rest.rsplit_once(": ").map_or(rest, |(_, cause)| cause),
        None => text,
    };
    text.split_once(" at path \"")
        .map_or(text, |(cause, _)| cause)
}

/// `No such file or directory (os error 2)` as people write it: `no such file or directory`.
fn without_os_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        None => text.to_owned(),
        Some((before, after)) => {
            let rest = after.split_once(')').map_or("", |(_, rest)| rest);
            // The system's sentence begins with a capital; one in the middle of ours should not.
            let start = before.rfind(": ").map_or(0, |at| at + 2);
            let (head, tail) = before.split_at(start);
            let mut letters = tail.chars();
            let tail = match letters.next() {
                Some(first) => first.to_lowercase().collect::<String>() + letters.as_str(),
                None => String::new(),
            };
            format!("{head}{tail}{rest}")
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message())?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// An [`io::Error`] that carries an [`Error`] (see below) gives it back whole; any other is a
/// failure.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            let inner = error
                .into_inner()
                .and_then(|inner| inner.downcast::<Error>().ok());
            return inner.map_or_else(|| Error::failed("unknown failure"), |boxed| *boxed);
        }
        let full = error.kind() == io::ErrorKind::StorageFull;
        let error = Error {
            kind: Kind::Failed,
            chain: error.into(),
            hint: None,
        };
        if full {
            error.with_hint(
                Hint::new()
                    .text("free some space there; where it is the store that is full, ")
                    .command(["cleanup"])
                    .text(" removes old backups"),
            )
        } else {
            error
        }
    }
}

/// For the insides of `Read` and `Write`, whose signatures know only [`io::Error`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::SqliteFailure(failure, _) = &error
            && failure.code == rusqlite::ErrorCode::OperationInterrupted
        {
            return Error::interrupted();
        }
        Error {
            kind: Kind::Failed,
            chain: anyhow::Error::msg(error.to_string()),
            hint: None,
        }
    }
}

/// `.context("reading X")?` on anything that becomes an [`Error`].
pub trait Context<T> {
    /// Puts what was being done before the cause.
    fn context(self, what: impl fmt::Display) -> Result<T>;
    /// As [`Context::context`], the text made only when it is needed.
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
    /// Adds a hint, where there is none yet.
    fn with_hint(self, hint: impl Into<Hint>) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(what))
    }

    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(what()))
    }

    fn with_hint(self, hint: impl Into<Hint>) -> Result<T> {
        self.map_err(|error| error.into().with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_one_line_without_error_numbers() {
        let error: Error = io::Error::from_raw_os_error(2).into();
        let error = error
            .context("opening `/srv/app.db`")
            .with_hint("check the path");
        assert_eq!(
            error.message(),
            "opening `/srv/app.db`: no such file or directory"
        );
        assert_eq!(error.hint(), Some(&Hint::from("check the path")));
    }

    #[test]
    fn what_libraries_say_of_paths_is_left_out() {
        let missing = tempfile::Builder::new()
            .suffix(".new")
            .tempfile_in("/nonexistent")
            .unwrap_err();
        assert_eq!(
            Error::from(missing)
                .context("writing `/nonexistent/x`")
                .message(),
            "writing `/nonexistent/x`: no such file or directory"
        );
        let walked = walkdir::WalkDir::new("/nonexistent: x")
            .into_iter()
            .next()
            .unwrap()
            .unwrap_err();
        let error = Error::from(io::Error::from(walked)).context("reading `/nonexistent: x`");
        assert_eq!(
            error.message(),
            "reading `/nonexistent: x`: no such file or directory"
        );
    }

    #[test]
    fn error_survives_the_way_through_io() {
        let there: io::Error = Error::damaged("two bytes differ")
            .with_hint("restore another")
            .into();
        let back: Error = there.into();
        assert_eq!(back.kind(), Kind::Damaged);
        assert_eq!(back.hint(), Some(&Hint::from("restore another")));
    }

    #[test]
    fn innermost_hint_stays() {
        let error = Error::failed("x").with_hint("inner").with_hint("outer");
        assert_eq!(error.hint(), Some(&Hint::from("inner")));
    }
}
