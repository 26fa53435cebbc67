//! Strictness: which keys there are, which was meant, and on what line of the text a fault is.
//!
//! The valid keys are asked of the serde structs themselves, so that no list of them can fall
//! behind.

use super::mask::masked_line;
use crate::error::Error;
use crate::units::nearest;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
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

/// The keys of a table that is read into `T`.
pub(super) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Asker) {
        Err(Answer(fields)) => fields,
        Ok(_) => &[],
    }
}

/// A deserializer without data: it answers with the fields that are asked of it.
struct Asker;

/// The fields, on the only way out of a deserializer that has no value to give.
#[derive(Debug)]
struct Answer(&'static [&'static str]);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no data")
    }
}

impl std::error::Error for Answer {}

impl serde::de::Error for Answer {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Answer(&[])
    }
}

impl<'de> Deserializer<'de> for Asker {
    type Error = Answer;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Answer> {
        Err(Answer(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Answer> {
        Err(Answer(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
