//! The single values: what each type of key accepts, and what is said of anything else.
//!
//! Text is accepted wherever it can be read as the wanted type, since `${NAME}` can only stand in
//! text. A message may have a second line, which becomes the hint: serde's errors carry one string
//! and nothing else.

use super::BrakeKey;
use super::hooks::HookCommand;
use crate::units::nearest;
use crate::units::{Span, parse_size};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use toml::value::Datetime;

/// More compressing threads than any machine has use for; a larger number is a slip of the finger.
const MOST_THREADS: u64 = 256;

/// One TOML value, before it is known what it should be.
enum Scalar<'a> {
    Flag(bool),
    Whole(i128),
    Real(f64),
    Text(&'a str),
    Moment(Datetime),
    Other(&'static str),
}

impl Scalar<'_> {
    /// The type alone: for keys whose value may be a secret.
    fn kind(&self) -> &'static str {
        match self {
            Scalar::Flag(_) => "a boolean",
            Scalar::Whole(_) | Scalar::Real(_) => "a number",
            Scalar::Text(_) => "a string",
            Scalar::Moment(_) => "a time",
            Scalar::Other(kind) => kind,
        }
    }

    /// `expected WANTED, found VALUE`.
    fn instead_of(&self, wanted: &str) -> String {
        let found = match self {
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Whole(number) => number.to_string(),
            Scalar::Real(number) => number.to_string(),
            Scalar::Text("") => "an empty string".to_owned(),
            Scalar::Text(text) => format!("`{}`", text.escape_debug()),
            Scalar::Moment(_) | Scalar::Other(_) => self.kind().to_owned(),
        };
        format!("expected {wanted}, found {found}")
    }
}

/// Takes whatever value there is and lets `convert` judge it.
struct Taker<T> {
    convert: fn(Scalar<'_>) -> Result<T, String>,
    result: PhantomData<T>,
}

impl<T> Taker<T> {
    fn give<E: Error>(&self, scalar: Scalar<'_>) -> Result<T, E> {
        (self.convert)(scalar).map_err(E::custom)
    }
}

impl<'de, T> Visitor<'de> for Taker<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another type of value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        self.give(Scalar::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.give(Scalar::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.give(Scalar::Whole(number.into()))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<T, E> {
        self.give(Scalar::Whole(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.give(Scalar::Real(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.give(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        self.give(Scalar::Other("an array"))
    }

    // The toml crate hands a time over as a map with one secret key.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        match Datetime::deserialize(MapAccessDeserializer::new(map)) {
            Ok(moment) => self.give(Scalar::Moment(moment)),
            Err(_) => self.give(Scalar::Other("a table")),
        }
    }
}

/// Reads a value that is there; keys that are not written never come here.
fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    convert: fn(Scalar<'_>) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Taker {
        convert,
        result: PhantomData,
    })
    .map(Some)
}

/// A boolean, or a word for one.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Flag(flag) => Ok(*flag),
        Scalar::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(scalar.instead_of("true or false")),
        },
        _ => Err(scalar.instead_of("true or false")),
    })
}

/// A whole number up to `most`.
fn whole(scalar: &Scalar<'_>, most: u64) -> Result<u64, String> {
    let wanted = "a whole number";
    let number = match scalar {
        Scalar::Whole(number) => *number,
        Scalar::Text(text) => text.trim().parse().map_err(|_| scalar.instead_of(wanted))?,
        _ => return Err(scalar.instead_of(wanted)),
    };
    match u64::try_from(number) {
        Ok(number) if number <= most => Ok(number),
        Ok(number) => Err(format!("expected at most {most}, found {number}")),
        Err(_) => Err(format!("expected {wanted} of 0 or more, found {number}")),
    }
}

/// A port's number.
pub(super) fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    read(from, |scalar| {
        whole(&scalar, u16::MAX.into()).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
    })
}

/// A list of texts; a single one is a list, too.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = items.next_element::<String>()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    from.deserialize_any(Texts)
}

/// A shell line, or a program with its arguments.
pub(super) fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HookCommand>, D::Error> {
    struct Command;
    impl<'de> Visitor<'de> for Command {
        type Value = HookCommand;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a shell line, or a list of a program and its arguments")
        }

        fn visit_str<E: Error>(self, line: &str) -> Result<HookCommand, E> {
            if line.trim().is_empty() {
                return Err(E::custom("expected a shell line, found an empty string"));
            }
            check(line).map_err(E::custom)?;
            Ok(HookCommand::Shell(line.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<HookCommand, A::Error> {
            let mut words: Vec<String> = Vec::new();
            while let Some(word) = items.next_element::<String>()? {
                check(&word).map_err(A::Error::custom)?;
                // No shell would ever see it.
                if word.contains("${") {
                    let text = "`${…}` is not replaced in a list\nwrite a shell line: the shell \
                                replaces it";
                    return Err(A::Error::custom(text));
                }
                words.push(word);
            }
            if words.first().is_none_or(String::is_empty) {
                return Err(A::Error::custom(
                    "expected a program and its arguments, found no program",
                ));
            }
            Ok(HookCommand::Arguments(words))
        }
    }
    fn check(text: &str) -> Result<(), &'static str> {
        if text.contains('\0') {
            Err("it holds a NUL character")
        } else {
            Ok(())
        }
    }
    from.deserialize_any(Command).map(Some)
}

/// How many of something.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    read(from, |scalar| {
        whole(&scalar, u32::MAX.into()).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    })
}

/// How many threads.
pub(super) fn threads<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    read(from, |scalar| {
        whole(&scalar, MOST_THREADS).map(|number| number as usize)
    })
}

/// A part in percent, or `off`.
pub(super) fn brake<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BrakeKey>, D::Error> {
    read(from, |scalar| {
        let percent = |text: &str| {
            text.trim()
                .strip_suffix('%')?
                .trim_end()
                .parse()
                .ok()
                .filter(|part| (1..=100).contains(part))
        };
        match &scalar {
            Scalar::Flag(false) => Ok(BrakeKey::Off),
            Scalar::Text(text) if text.trim().eq_ignore_ascii_case("off") => Ok(BrakeKey::Off),
            Scalar::Text(text) if percent(text).is_some() => {
                Ok(percent(text).map_or(BrakeKey::Off, BrakeKey::Below))
            }
            _ => Err(scalar.instead_of("a part such as \"50%\", from 1% to 100%, or \"off\"")),
        }
    })
}

/// A size in bytes, with or without a unit.
pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Text(text) => parse_size(text),
        Scalar::Whole(_) => whole(&scalar, i64::MAX as u64),
        _ => Err(scalar.instead_of("a size such as \"20 GiB\"")),
    })
}

/// A duration; a bare number has no unit and is none.
pub(super) fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Text(text) => Span::parse(text),
        _ => Err(scalar.instead_of("a duration such as \"48h\" or \"30d\"")),
    })
}

/// A duration where a bare number is days.
pub(super) fn days<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Whole(_) => whole_days(&scalar),
        Scalar::Text(text) if text.trim().parse::<i128>().is_ok() => whole_days(&scalar),
        Scalar::Text(text) => Span::parse(text),
        _ => Err(scalar.instead_of("a number of days or a duration such as \"30d\"")),
    })
}

fn whole_days(scalar: &Scalar<'_>) -> Result<Span, String> {
    let days = whole(scalar, u32::MAX.into())?;
    Ok(Span {
        days: u32::try_from(days).unwrap_or(u32::MAX),
        ..Span::default()
    })
}

/// Text. What was found instead is never shown: it may be a password without its quotes.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Text(text) => Ok((*text).to_owned()),
        other => Err(format!("expected a string, found {}", other.kind())),
    })
}

/// A path, as written: the section makes it absolute.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    read(from, |scalar| match &scalar {
        Scalar::Text("") => Err(scalar.instead_of("a path")),
        Scalar::Text(text) if text.contains('\0') => {
            Err("expected a path, found one with a NUL character".to_owned())
        }
        Scalar::Text(text) => Ok(PathBuf::from(text)),
        other => Err(format!(
            "expected a path (a string), found {}",
            other.kind()
        )),
    })
}

/// A moment; one without an offset is UTC.
pub(super) fn moment<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    read(from, |scalar| {
        let read = match &scalar {
            Scalar::Text(text) => parse_moment(text),
            Scalar::Moment(moment) => parse_moment(&moment.to_string()),
            _ => None,
        };
        read.ok_or_else(|| scalar.instead_of("a time such as \"2026-12-01T00:00:00Z\""))
    })
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

/// A closed set of words.
pub(super) trait Choice: Copy + 'static {
    /// Every word and what it stands for, in the order in which they are listed to people.
    const ALL: &'static [(&'static str, Self)];
}

/// One of a closed set of words.
pub(super) fn choice<'de, D: Deserializer<'de>, T: Choice>(from: D) -> Result<Option<T>, D::Error> {
    read(from, |scalar| {
        let words = || T::ALL.iter().map(|(word, _)| *word);
        let wanted = || {
            words()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let Scalar::Text(text) = &scalar else {
            return Err(scalar.instead_of(&format!("one of {}", wanted())));
        };
        T::ALL
            .iter()
            .find(|(word, _)| word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let message = scalar.instead_of(&format!("one of {}", wanted()));
                match nearest(text, words()) {
                    Some(word) => format!("{message}\ndid you mean `{word}`?"),
                    None => message,
                }
            })
    })
}
