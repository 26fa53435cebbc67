//! What another tool's dump is, by its content: names lie, and some say nothing.

use crate::engine::{DumpFormat, PgFormat};
use crate::error::{Error, Result};

/// How much of a content tells what it is.
pub const HEAD: usize = 512;

/// The roles and tablespaces of a server are never longer than this.
pub const MOST_GLOBALS: usize = 8 << 20;

/// Refuses what pg_dumpall wrote of a whole server: only roles and tablespaces become a backup.
pub fn check_globals(script: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(script);
    let has_databases = text.lines().any(|line| line.starts_with("\\connect "));
    if has_databases || script.len() > MOST_GLOBALS {
        return Err(
            Error::failed("it is a dump of a whole server by pg_dumpall")
                .with_hint("dbbackup restores databases one by one; keep it for `psql`"),
        );
    }
    Ok(())
}

/// What a content is, by its first bytes.
pub fn format_of(head: &[u8]) -> Result<DumpFormat> {
    let refuse = |what: &str| {
        Err(Error::failed(format!("it is {what}"))
            .with_hint("dbbackup reads SQLite databases, pg_dump's archives and scripts, and tar"))
    };
    let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
    if head.starts_with(b"SQLite format 3\0") {
        return Ok(DumpFormat::Sqlite);
    }
    if head.starts_with(b"PGDMP") {
        return Ok(DumpFormat::Postgres(PgFormat::Custom));
    }
    if is_tar && head.starts_with(b"toc.dat\0") {
        return refuse("a dump in pg_dump's tar format");
    }
    if is_tar {
        return Ok(DumpFormat::Tar);
    }
    let text = String::from_utf8_lossy(head);
    let has = |words: &str| text.contains(words);
    if has("PostgreSQL database cluster dump") {
        return Ok(DumpFormat::GLOBALS);
    }
    if has("PostgreSQL database dump") {
        return Ok(DumpFormat::Postgres(PgFormat::Plain));
    }
    if has("MySQL dump") || has("MariaDB dump") {
        return refuse("a dump of MySQL");
    }
    if has("PRAGMA foreign_keys=OFF;") {
        return refuse("a script that SQLite's shell wrote");
    }
    if head.is_empty() {
        return Err(Error::damaged("it is empty"));
    }
    refuse("in no format that dbbackup knows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_content() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        tar[..4].copy_from_slice(b"a/b\0");
        assert_eq!(format_of(&tar).unwrap(), DumpFormat::Tar);
        tar[..8].copy_from_slice(b"toc.dat\0");
        for (head, expected) in [
            (&tar[..], "pg_dump's tar format"),
            (b"-- MySQL dump 10.13", "MySQL"),
            (
                b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;",
                "SQLite's shell",
            ),
            (b"", "it is empty"),
            (b"hello", "no format"),
        ] {
            let error = format_of(head).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
        let roles = b"--\n-- PostgreSQL database cluster dump\n--\nCREATE ROLE a;\n";
        assert_eq!(format_of(roles).unwrap(), DumpFormat::GLOBALS);
        check_globals(roles).unwrap();
        let whole = check_globals(b"CREATE ROLE a;\n\\connect shop\n").unwrap_err();
        assert!(whole.message().contains("whole server"), "{whole}");
        let plain = format_of(b"--\n-- PostgreSQL database dump\n--\n\n").unwrap();
        assert_eq!(plain, DumpFormat::Postgres(PgFormat::Plain));
        assert_eq!(
            format_of(b"PGDMP\x01\x0e").unwrap(),
            DumpFormat::Postgres(PgFormat::Custom)
        );
        assert_eq!(
            format_of(b"SQLite format 3\0...").unwrap(),
            DumpFormat::Sqlite
        );
    }
}
