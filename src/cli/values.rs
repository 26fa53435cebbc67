//! How the values of the types below are typed: clap must know their words and what they mean.

use crate::engine::EngineKind;
use crate::tabular::Format;
use clap::ValueEnum;
use clap::builder::PossibleValue;

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

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Format::Csv, Format::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, help) = match self {
            Format::Csv => ("csv", "Comma-separated values (RFC 4180)"),
            Format::Json => ("json", "An array of objects"),
        };
        Some(PossibleValue::new(word).help(help))
    }
}
