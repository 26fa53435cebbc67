//! The events of an operation while it works, and the trait of those who hear them.

use super::verify::BackupVerification;
use crate::catalog::Backup;
use crate::error::{Error, Hint};
use crate::pipeline::Progress;
use std::any::Any;

/// Something that happens while an operation works.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step that a person at a terminal wants to see.
    Note(Hint),
    /// A step of the run's story: for the log, and for those who ask for more.
    Step(String),
    /// More than most people want to know.
    Detail(String),
    /// A result that is there already, although the operation goes on.
    Line(Hint),
    /// Something to know although the work goes on.
    Warning(Hint),
    /// A part of the work failed; the operation's result says so, too.
    Failure(&'a Error),
    /// A part of the result that was explicitly asked for, as a dry run's plan.
    Answer(String),
    /// A backup was restored.
    BackupRestored {
        /// The backup's id, or the dump's file.
        id: &'a str,
        /// Where it is now.
        target: &'a str,
        /// How it was put there, in a few words.
        how: &'a str,
    },
    /// A backup was verified.
    BackupVerified(&'a BackupVerification),
    /// A backup is in the store.
    BackupCreated(&'a Backup),
    /// A source is outside its window of time, and is not tried.
    SourceSkipped {
        /// The source's name.
        source: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A source has no backup, or something failed after its backup.
    SourceFailed {
        /// The source's name.
        source: &'a str,
        /// What went wrong, without the name.
        error: &'a Error,
    },
}

/// Hears what an operation does while it does it: the command line shows it, a test keeps it.
///
/// Operations work on several threads, so an observer is asked by several at once.
pub trait Observer: Sync {
    /// Hears of one event.
    fn observe(&self, event: Event<'_>);

    /// Follows `progress` up to `total` bytes (0: unknown) until the result is dropped.
    fn follow(&self, title: &str, total: u64, progress: &Progress) -> Box<dyn Any>;
}

impl dyn Observer + '_ {
    /// Tells a step that a person at a terminal wants to see.
    pub fn note(&self, text: impl Into<Hint>) {
        self.observe(Event::Note(text.into()));
    }

    /// Tells a step of the run's story.
    pub fn step(&self, text: impl Into<String>) {
        self.observe(Event::Step(text.into()));
    }

    /// Tells more than most people want to know.
    pub fn detail(&self, text: impl Into<String>) {
        self.observe(Event::Detail(text.into()));
    }

    /// Tells a result that is there already.
    pub fn line(&self, text: impl Into<Hint>) {
        self.observe(Event::Line(text.into()));
    }

    /// Tells something to know although the work goes on.
    pub fn warn(&self, text: impl Into<Hint>) {
        self.observe(Event::Warning(text.into()));
    }

    /// Tells a part of the result that was explicitly asked for.
    pub fn answer(&self, text: impl Into<String>) {
        self.observe(Event::Answer(text.into()));
    }

    /// Tells that a part of the work failed.
    pub fn fail(&self, error: &Error) {
        self.observe(Event::Failure(error));
    }
}
