//! `[log]`: where the story of the runs is written, and how much of it.

use super::section::{Entry, Scope, Section};
use super::strict::fields;
use super::value;
use crate::error::Result;
use serde::Deserialize;
use std::path::PathBuf;

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTable {
    /// The file.
    pub file: PathBuf,
    /// How much is logged.
    pub level: Option<LogLevel>,
    /// Bytes beyond which it is rotated.
    pub max_size: Option<u64>,
    /// How many old files are kept.
    pub keep: Option<u32>,
}

/// `level` of `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what should be known.
    Warning,
    /// And what was done.
    Info,
    /// And how.
    Debug,
}

impl value::Choice for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", LogLevel::Error),
        ("warning", LogLevel::Warning),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogKeys {
    #[serde(deserialize_with = "value::path")]
    file: Option<PathBuf>,
    #[serde(deserialize_with = "value::choice")]
    level: Option<LogLevel>,
    #[serde(deserialize_with = "value::size")]
    max_size: Option<u64>,
    #[serde(deserialize_with = "value::count")]
    keep: Option<u32>,
}

/// Reads the table.
pub(super) fn log(entry: Entry<'_>, scope: &Scope<'_>) -> Result<LogTable> {
    let mut section = Section::open(entry, "[log]".to_owned(), scope)?;
    section.only(&[fields::<LogKeys>()], &|_| None)?;
    let keys: LogKeys = section.read()?;
    let file = section.required_path("file", keys.file)?;
    Ok(LogTable {
        file,
        level: keys.level,
        max_size: keys.max_size,
        keep: keys.keep,
    })
}
