//! What the fuzz targets and laws of `tests/fuzz` call: the readers of bytes that others may have
//! written. No part of the program's interface.

pub use crate::engine::PgFormat;
pub use crate::engine::files::listing::Lines;
pub use crate::engine::files::member::{FileTime, Member, MemberKind};
pub use crate::engine::files::tar::{TarReader, TarWriter};
pub use crate::engine::postgres::archive::count_rows;
pub use crate::engine::postgres::conninfo::dsn;
pub use crate::engine::postgres::conninfo::passfile::PassFile;
pub use crate::engine::postgres::names::QualifiedName;
pub use crate::engine::postgres::scan::{RowObserver, ScanResult, scan, scan_with_observer};
pub use crate::engine::postgres::sections::DumpSections;
pub use crate::engine::postgres::toc::Toc;
pub use crate::error::{Error, Result};
pub use crate::pipeline::compress::{Codec, decoder, encoder};
pub use crate::pipeline::delta::{Alignment, DeltaReader, DeltaWriter, LineSections, RowOptions};
pub use crate::sidecar::{BackupEvent, BackupState, Brief, Change, Sidecar, Words};
pub use crate::units::{Span, parse_size, parse_when, size};
