//! Strictness: which key was meant, and on what line of the text a fault is.

use super::mask::masked_line;
use crate::error::Error;
use crate::units::nearest;
use std::fmt;
use std::path::Path;

/// The text being read, for messages about places in it.
pub(super) struct Document<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Document<'_> {
    /// The line, counted from 1, that the byte at `offset` is on.
    pub fn line(&self, offset: usize) -> usize {
        1 + self
            .text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
    }

    /// `dbbackup.toml:12: MESSAGE`.
    pub fn message(&self, offset: usize, message: impl fmt::Display) -> String {
        format!("{}:{}: {message}", self.path.display(), self.line(offset))
    }

    /// That message as an error.
    pub fn error(&self, offset: usize, message: impl fmt::Display) -> Error {
        Error::usage(self.message(offset, message))
    }

    /// What is not TOML at all, with the column and the line itself.
    pub fn syntax(&self, error: &toml::de::Error) -> Error {
        let Some(span) = error.span() else {
            return Error::usage(format!("{}: {}", self.path.display(), error.message()));
        };
        let start = self.text[..floor(self.text, span.start)]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let column = 1 + self.text[start..floor(self.text, span.start)]
            .chars()
            .count();
        let place = format!("{}:{}:{column}", self.path.display(), self.line(span.start));
        Error::usage(format!(
            "{place}: {} in `{}`",
            error.message(),
            masked_line(line.trim())
        ))
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// `did you mean …?`, or what there is.
pub(super) fn suggestion(word: &str, candidates: &[&str], what: &str) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => format!("there are no {what}"),
        None => format!("the {what} are {}", candidates.join(", ")),
    }
}
