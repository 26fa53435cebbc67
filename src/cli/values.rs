//! How the values of the types below are typed: clap must know their words and what they mean.

use crate::engine::EngineKind;
use crate::sidecar::Level;
use crate::tabular::TableFormat;
use crate::units;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::time::Duration;

impl ValueEnum for EngineKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[EngineKind::Sqlite, EngineKind::Postgres, EngineKind::Files]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, help) = match self {
            EngineKind::Sqlite => ("sqlite", "A SQLite database file"),
            EngineKind::Postgres => ("postgres", "A PostgreSQL database"),
            EngineKind::Files => ("files", "A directory, or a file as it is"),
        };
        Some(PossibleValue::new(word).help(help))
    }
}

impl ValueEnum for TableFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[TableFormat::Csv, TableFormat::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, help) = match self {
            TableFormat::Csv => ("csv", "Comma-separated values (RFC 4180)"),
            TableFormat::Json => ("json", "An array of objects"),
        };
        Some(PossibleValue::new(word).help(help))
    }
}

/// The levels of a verification.
pub fn levels() -> impl TypedValueParser<Value = Level> {
    let word = |text: String| {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .unwrap_or(Level::Content)
    };
    PossibleValuesParser::new(Level::ALL.map(Level::as_str)).map(word)
}

/// A duration, or `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    // What the default is can be written, too.
    if text == "0" {
        Ok(Duration::ZERO)
    } else {
        units::Span::parse(text).map(|span| span.duration())
    }
}

/// How many at once.
pub fn jobs(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|jobs| (1..=256).contains(jobs))
        .ok_or_else(|| "write a number from 1 to 256".into())
}

/// A key and its value.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}
