//! The kinds of sources and the formats of their dumps: one table of each, with their names.
//! Whoever tells them apart matches on [`EngineKind`] or [`DumpFormat`], so that the compiler shows
//! those places when one is added.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// A kind of source, and so the engine that reads and restores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// A SQLite database file.
    Sqlite,
    /// A PostgreSQL database, or what belongs to a whole server.
    Postgres,
    /// Directories and files.
    Files,
}

/// What the rest of the program must know of a kind: a row of the table.
struct KindFacts {
    name: &'static str,
    plural: &'static str,
    formats: &'static [DumpFormat],
}

impl EngineKind {
    /// Every kind, in the order in which they are listed for people.
    pub const ALL: [EngineKind; 3] = [EngineKind::Sqlite, EngineKind::Postgres, EngineKind::Files];

    const fn facts(self) -> KindFacts {
        match self {
            EngineKind::Sqlite => KindFacts {
                name: "sqlite",
                plural: "SQLite databases",
                formats: &[DumpFormat::Sqlite],
            },
            EngineKind::Postgres => KindFacts {
                name: "postgres",
                plural: "PostgreSQL databases",
                formats: &[
                    DumpFormat::Postgres(PgFormat::Custom),
                    DumpFormat::Postgres(PgFormat::Plain),
                    DumpFormat::Postgres(PgFormat::Globals),
                ],
            },
            EngineKind::Files => KindFacts {
                name: "files",
                plural: "files",
                formats: &[DumpFormat::Tar],
            },
        }
    }

    /// The name in the configuration and in sidecars.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The kind of this name; `None` for one that this version does not know.
    pub fn from_name(name: &str) -> Option<EngineKind> {
        EngineKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// What such sources are called in a sentence: `PostgreSQL databases`.
    pub fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// The formats of its dumps.
    pub fn formats(self) -> &'static [DumpFormat] {
        self.facts().formats
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the content of a dump is written, before it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DumpFormat {
    /// A database file.
    Sqlite,
    /// What one of PostgreSQL's own programs writes.
    Postgres(PgFormat),
    /// An archive with pax records.
    Tar,
}

/// How PostgreSQL's programs write a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PgFormat {
    /// `pg_dump`'s own archive, which `pg_restore` reads; uncompressed inside.
    #[default]
    Custom,
    /// A script for `psql`.
    Plain,
    /// What `pg_dumpall --globals-only` writes: a script with roles and tablespaces.
    Globals,
}

/// What the rest of the program must know of a format: a row of the table.
struct FormatFacts {
    name: &'static str,
    extension: &'static str,
}

impl DumpFormat {
    /// The roles and tablespaces of a server, which belong to none of its databases.
    pub const GLOBALS: DumpFormat = DumpFormat::Postgres(PgFormat::Globals);

    const fn facts(self) -> FormatFacts {
        let (name, extension) = match self {
            DumpFormat::Sqlite => ("sqlite3", "sqlite3"),
            DumpFormat::Postgres(PgFormat::Custom) => ("pg_dump-custom", "dump"),
            DumpFormat::Postgres(PgFormat::Plain) => ("pg_dump-plain", "sql"),
            DumpFormat::Postgres(PgFormat::Globals) => ("pg_dumpall-globals", "sql"),
            DumpFormat::Tar => ("tar", "tar"),
        };
        FormatFacts { name, extension }
    }

    /// The name in sidecars.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The first extension of its dumps' names.
    pub fn extension(self) -> &'static str {
        self.facts().extension
    }

    /// The kind of source that is dumped so.
    pub fn kind(self) -> EngineKind {
        match self {
            DumpFormat::Sqlite => EngineKind::Sqlite,
            DumpFormat::Postgres(_) => EngineKind::Postgres,
            DumpFormat::Tar => EngineKind::Files,
        }
    }

    /// Whether people can read it as it is.
    pub fn is_text(self) -> bool {
        self.extension() == "sql"
    }

    /// The format of a dump without a sidecar, by the extension before those of compression. A
    /// SQLite database may have any name, so everything else is taken for one.
    pub fn from_extension(extension: &str) -> DumpFormat {
        let mut formats = EngineKind::ALL.into_iter().flat_map(EngineKind::formats);
        let known = formats.find(|format| format.extension() == extension);
        known.copied().unwrap_or(DumpFormat::Sqlite)
    }
}

impl fmt::Display for DumpFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format's name in a sidecar that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl FromStr for DumpFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<DumpFormat, UnknownFormat> {
        let mut formats = EngineKind::ALL.into_iter().flat_map(EngineKind::formats);
        let known = formats.find(|format| format.as_str() == name);
        known.copied().ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its format is `{}`, which this version does not know",
            self.0
        )
    }
}

impl From<UnknownFormat> for Error {
    fn from(unknown: UnknownFormat) -> Self {
        Error::failed(unknown).with_hint("a newer dbbackup may know that")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_belong_to_the_kind_that_lists_them() {
        assert_eq!(EngineKind::from_name("mysql"), None);
        for kind in EngineKind::ALL {
            assert_eq!(EngineKind::from_name(kind.as_str()), Some(kind));
            for format in kind.formats() {
                assert_eq!(format.kind(), kind);
                assert_eq!(format.as_str().parse(), Ok(*format));
            }
        }
    }

    #[test]
    fn extensions_tell_formats() {
        for (extension, format) in [
            ("tar", DumpFormat::Tar),
            ("dump", DumpFormat::Postgres(PgFormat::Custom)),
            ("sql", DumpFormat::Postgres(PgFormat::Plain)),
            ("sqlite3", DumpFormat::Sqlite),
            ("db", DumpFormat::Sqlite),
            ("", DumpFormat::Sqlite),
        ] {
            assert_eq!(DumpFormat::from_extension(extension), format, "{extension}");
        }
    }

    #[test]
    fn unknown_formats_are_errors_that_name_them() {
        let unknown = "pg_basebackup".parse::<DumpFormat>().unwrap_err();
        assert!(Error::from(unknown).message().contains("`pg_basebackup`"));
    }
}
