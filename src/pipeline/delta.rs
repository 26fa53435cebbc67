//! Deltas: content as its difference from the content of an earlier backup, its base.
//!
//! A [`DeltaWriter`] is pushed the new content, pulls the base in step with it, and writes VCDIFF
//! (RFC 3284); `format` says which part of it. A [`DeltaReader`] pulls both and gives the content
//! back. Both go forward only, so that a base may be a stream, or a delta against a base of its
//! own. How content and base are laid side by side is the matter of the aligners: `pages` for
//! databases whose pages stay where they are, `rows` for text whose lines move. Nothing here knows
//! of databases, files or stores.

mod alike;
mod format;
mod instructions;
mod pages;
mod reader;
mod rows;
mod statistics;
mod stretch;
mod window;
mod writer;

pub use format::{MAX_COPY, MAX_SEGMENT, MAX_WINDOW};
pub use reader::DeltaReader;
pub use rows::sections::{LineSections, SectionFinder, SectionStart};
pub use rows::{ReopenBase, RowOptions};
pub use statistics::DeltaStatistics;
pub use stretch::Stretch;
pub use writer::{Alignment, DeltaWriter};

/// A decoder in Python that needs nothing else, for those who recover by hand.
pub const PYTHON_DECODER: &str = include_str!("delta/undelta.py");

/// The extension of a delta, after that of its content.
pub const VCDIFF: &str = "vcdiff";

#[cfg(test)]
mod tests;
