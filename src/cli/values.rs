//! How the values of the types below are typed: clap must know their words and what they mean.

use crate::engine::EngineKind;
use crate::tabular::TableFormat;
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
