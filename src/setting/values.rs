//! The types that settings have: what each accepts, and what is said of anything else.
//!
//! Text is accepted wherever it can be read as the wanted type, since `${NAME}` can only stand in
//! text.

use super::{PathResolver, SettingType, WrittenValue};
use crate::units::{Span, nearest, parse_size, size};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More threads or jobs than any machine has use for; a larger number is a slip of the finger.
const MOST_THREADS: u64 = 256;

/// A boolean, or a word for one.
impl SettingType for bool {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        let flag = match value {
            WrittenValue::Flag(flag) => Some(*flag),
            WrittenValue::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        flag.ok_or_else(|| value.instead_of("true or false"))
    }

    fn as_written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn type_name() -> String {
        "true or false".to_owned()
    }
}

/// A number of threads or jobs.
impl SettingType for usize {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        value.whole(MOST_THREADS).map(|number| number as usize)
    }

    fn as_written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn type_name() -> String {
        "number".to_owned()
    }
}

/// A number of anything else.
impl SettingType for u32 {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        let number = value.whole(u32::MAX.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn as_written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn type_name() -> String {
        "number".to_owned()
    }
}

/// A port.
impl SettingType for u16 {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        let number = value.whole(u16::MAX.into())?;
        Ok(u16::try_from(number).unwrap_or(u16::MAX))
    }

    fn as_written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn type_name() -> String {
        "number".to_owned()
    }
}

/// A size in bytes, with or without a unit.
impl SettingType for u64 {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text(text) => parse_size(text),
            WrittenValue::Whole(_) => value.whole(i64::MAX as u64),
            _ => Err(value.instead_of("a size such as \"20 GiB\"")),
        }
    }

    fn as_written(&self) -> Option<String> {
        let rounded = size(*self);
        let is_exact = parse_size(&rounded) == Ok(*self);
        Some(if is_exact {
            format!("\"{}\"", rounded.replace(".0 ", " "))
        } else {
            self.to_string()
        })
    }

    fn type_name() -> String {
        "size".to_owned()
    }
}

/// A length of calendar time; a bare number has no unit and is none.
impl SettingType for Span {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text(text) => Span::parse(text),
            _ => Err(value.instead_of("a duration such as \"48h\" or \"30d\"")),
        }
    }

    fn as_written(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }

    fn type_name() -> String {
        "duration".to_owned()
    }
}

/// A time to wait.
impl SettingType for Duration {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        Span::read(value, resolve).map(|span| span.duration())
    }

    fn as_written(&self) -> Option<String> {
        let span = Span {
            seconds: self.as_secs(),
            ..Span::default()
        };
        span.as_written()
    }

    fn type_name() -> String {
        Span::type_name()
    }
}

/// Text. What was found instead is never shown: it may be a password without its quotes.
impl SettingType for String {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text(text) => Ok((*text).to_owned()),
            other => Err(format!("expected a string, found {}", other.type_name())),
        }
    }

    fn as_written(&self) -> Option<String> {
        (!self.is_empty()).then(|| format!("\"{}\"", self.escape_debug()))
    }

    fn type_name() -> String {
        "text".to_owned()
    }
}

/// A path, absolute once it is read.
impl SettingType for PathBuf {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::Text("") => Err(value.instead_of("a path")),
            WrittenValue::Text(text) if text.contains('\0') => {
                Err("expected a path, found one with a NUL character".to_owned())
            }
            WrittenValue::Text(text) => resolve(Path::new(text)),
            other => Err(format!(
                "expected a path (a string), found {}",
                other.type_name()
            )),
        }
    }

    fn as_written(&self) -> Option<String> {
        self.to_string_lossy().into_owned().as_written()
    }

    fn type_name() -> String {
        "path".to_owned()
    }
}

/// A moment; one without an offset is UTC.
impl SettingType for DateTime<Utc> {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        let moment = match value {
            WrittenValue::Text(text) => parse_moment(text),
            WrittenValue::Moment(text) => parse_moment(text),
            _ => None,
        };
        moment.ok_or_else(|| value.instead_of("a time such as \"2026-12-01T00:00:00Z\""))
    }

    fn as_written(&self) -> Option<String> {
        Some(format!("\"{}\"", self.to_rfc3339()))
    }

    fn type_name() -> String {
        "time".to_owned()
    }
}

fn parse_moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().replacen(' ', "T", 1);
    if let Ok(moment) = DateTime::parse_from_rfc3339(&text) {
        return Some(moment.with_timezone(&Utc));
    }
    let plain = text.strip_suffix(['Z', 'z']).unwrap_or(&text);
    NaiveDateTime::parse_from_str(plain, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(plain, "%Y-%m-%dT%H:%M"))
        .or_else(|_| {
            NaiveDate::parse_from_str(plain, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN))
        })
        .ok()
        .map(|moment| moment.and_utc())
}

/// A setting that need not be set.
impl<T: SettingType> SettingType for Option<T> {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        T::read(value, resolve).map(Some)
    }

    fn as_written(&self) -> Option<String> {
        self.as_ref().and_then(T::as_written)
    }

    fn type_name() -> String {
        T::type_name()
    }
}

/// A list; a single value is a list, too.
impl<T: SettingType> SettingType for Vec<T> {
    fn read(value: &WrittenValue<'_>, resolve: &PathResolver<'_>) -> Result<Self, String> {
        match value {
            WrittenValue::List(items) => items.iter().map(|item| T::read(item, resolve)).collect(),
            WrittenValue::Text(_) => Ok(vec![T::read(value, resolve)?]),
            other => Err(format!(
                "expected a list of strings, found {}",
                other.type_name()
            )),
        }
    }

    fn as_written(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::as_written).collect();
        (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
    }

    fn type_name() -> String {
        format!("list of {}s", T::type_name())
    }
}

/// A closed set of words.
pub trait WordChoice: Copy + PartialEq + 'static {
    /// Every word and what it stands for, in the order in which they are listed to people.
    const ALL: &'static [(&'static str, Self)];
}

/// The words of a choice, each in quotes.
fn quoted_words<T>(choices: &[(&str, T)]) -> String {
    let quoted: Vec<String> = choices
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    quoted.join(", ")
}

/// Reads one of these words.
fn read_word<T: Copy>(value: &WrittenValue<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let wrong = || value.instead_of(&format!("one of {}", quoted_words(choices)));
    let WrittenValue::Text(text) = value else {
        return Err(wrong());
    };
    if let Some((_, choice)) = choices.iter().find(|(word, _)| word == text) {
        return Ok(*choice);
    }
    Err(match nearest(text, choices.iter().map(|(word, _)| *word)) {
        Some(word) => format!("{}\ndid you mean `{word}`?", wrong()),
        None => wrong(),
    })
}

impl<T: WordChoice> SettingType for T {
    fn read(value: &WrittenValue<'_>, _: &PathResolver<'_>) -> Result<Self, String> {
        read_word(value, T::ALL)
    }

    fn as_written(&self) -> Option<String> {
        let word = T::ALL.iter().find(|(_, choice)| choice == self);
        word.map(|(word, _)| format!("\"{word}\""))
    }

    fn type_name() -> String {
        let words: Vec<String> = T::ALL
            .iter()
            .map(|(word, _)| format!("`\"{word}\"`"))
            .collect();
        words.join(", ")
    }
}
