//! What is inside a database: its tables with their rows, its settings, and whether it is sound.

use super::{Db, accounting, ownership, pages};
use crate::engine::{Check, CheckFinding, CheckSubject, Database, Manifest, Table};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use rusqlite::{Connection, ffi};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Counts the rows of every table in the transaction that is open; virtual ones are listed without.
pub fn manifest(db: &Db) -> Result<Manifest> {
    tolerate_unknown_collations(db)?;
    let listed = listed(db).map_err(|error| db.explain(error))?;
    let mut tables = Vec::with_capacity(listed.len());
    for (name, kind) in listed {
        interrupt::check()?;
        let quoted = quoted(&name);
        // To count a virtual table runs whatever its module does, an owner's view among it: FTS5
        // reads one that holds its content. What a virtual table stores itself is in its shadow
        // tables, which are counted.
        if kind == "virtual" {
            tables.push(Table {
                name: quoted,
                kind: "virtual table".into(),
                rows: None,
                compare: false,
            });
            continue;
        }
        let kind = if kind == "table" {
            kind
        } else {
            format!("{kind} table")
        };
        let sql = format!("SELECT count(*) FROM main.{}", always_quoted(&name));
        let rows = db.query_row(&sql, [], |row| row.get::<_, i64>(0));
        let rows = rows.map_err(|error| {
            db.explain(error)
                .context(format!("counting the rows of {quoted}"))
        })?;
        tables.push(Table {
            name: quoted,
            kind,
            rows: Some(rows.unsigned_abs()),
            compare: true,
        });
    }
    Ok(Manifest::new(tables))
}

/// The tables with their kinds (`table`, `virtual` or `shadow`), in order of their names; views are
/// none here.
///
/// By the pragma, never by the table-valued function of its name: a table of the user's may have
/// that name, and would be read in its place.
pub(super) fn listed(db: &Db) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare("PRAGMA main.table_list")?;
    let listed = statement.query_map([], |row| Ok((row.get("name")?, row.get("type")?)))?;
    let mut listed: Vec<(String, String)> = listed.collect::<rusqlite::Result<_>>()?;
    listed.retain(|(name, kind)| kind != "view" && name != "sqlite_schema");
    listed.sort();
    Ok(listed)
}

/// An error about the statement (a missing module, function or column), not about the file.
pub(super) fn is_about_sql(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.extended_code & 0xff == ffi::SQLITE_ERROR
        }
        rusqlite::Error::SqlInputError { .. } => true,
        _ => false,
    }
}

/// For counting, order means nothing: any collation that the application would define is stood in
/// for by a comparison of bytes.
pub(super) fn tolerate_unknown_collations(conn: &Connection) -> Result<()> {
    conn.collation_needed(|conn, name| conn.create_collation(name, |a, b| a.cmp(b)))?;
    Ok(())
}

/// The database's settings, and the file's owner and mode.
pub fn database(db: &Db, live: &Path) -> Result<Database> {
    let found = live.metadata().ok();
    let auto_vacuum: i64 = db.pragma("auto_vacuum")?;
    Ok(Database {
        path: Some(printable(live)),
        owner: found.as_ref().map(ownership::owner),
        mode: found.as_ref().map(ownership::mode),
        size_bytes: pages::size(db)?,
        page_size: Some(db.pragma("page_size")?),
        encoding: Some(db.pragma("encoding")?),
        auto_vacuum: Some(
            ["none", "full", "incremental"]
                .get(usize::try_from(auto_vacuum).unwrap_or(9))
                .unwrap_or(&"none")
                .to_string(),
        ),
        journal_mode: Some(db.pragma("journal_mode")?),
        user_version: Some(db.pragma("user_version")?),
        application_id: Some(db.pragma("application_id")?),
        ..Database::default()
    })
}

/// Rows whose foreign key points nowhere; `None` with a warning where the schema does not let
/// SQLite tell.
///
/// `PRAGMA foreign_key_check` looks rows up in the order of the child table, all over the parent: 4
/// s for 1.2 GB. A query walks the child's index on the key, if there is one, and so the parent in
/// order: 1 s. Where it means the same it is asked instead.
pub fn foreign_key_violations(db: &Db, warnings: &mut Vec<String>) -> Result<Option<u64>> {
    tolerate_unknown_collations(db)?;
    let count = || -> rusqlite::Result<i64> {
        let mut count = 0;
        for (child, _) in listed(db)?.into_iter().filter(|(_, kind)| kind == "table") {
            count += violations_of(db, &child)?;
        }
        Ok(count)
    };
    match count() {
        Ok(count) => Ok(Some(count.unsigned_abs())),
        Err(error) if is_about_sql(&error) => {
            warnings.push(format!("foreign keys can't be checked: {error}"));
            Ok(None)
        }
        Err(error) => Err(db.explain(error)),
    }
}

/// One column of one foreign key.
struct KeyColumn {
    key: i64,
    parent: String,
    from: String,
    /// None: the parent's primary key.
    to: Option<String>,
}

fn violations_of(db: &Db, child: &str) -> rusqlite::Result<i64> {
    let mut statement = db.prepare(&format!(
        "PRAGMA main.foreign_key_list({})",
        always_quoted(child)
    ))?;
    let columns = statement.query_map([], |row| {
        Ok(KeyColumn {
            key: row.get("id")?,
            parent: row.get("table")?,
            from: row.get("from")?,
            to: row.get("to")?,
        })
    })?;
    let columns: Vec<KeyColumn> = columns.collect::<rusqlite::Result<_>>()?;
    let mut count = 0;
    for column in &columns {
        let single = columns
            .iter()
            .filter(|other| other.key == column.key)
            .count()
            == 1;
        let primary = integer_primary_key(db, &column.parent)?;
        let same = |primary: &String| {
            column
                .to
                .as_ref()
                .is_none_or(|to| to.eq_ignore_ascii_case(primary))
        };
        let Some(primary) = primary.filter(|primary| single && same(primary)) else {
            let mut statement = db.prepare(&format!(
                "PRAGMA main.foreign_key_check({})",
                always_quoted(child)
            ))?;
            let mut rows = statement.query([])?;
            let mut count = 0;
            while rows.next()?.is_some() {
                count += 1;
            }
            return Ok(count);
        };
        let sql = format!(
            "SELECT count(*) FROM main.{} c WHERE c.{from} IS NOT NULL AND NOT EXISTS (SELECT 1 \
             FROM main.{} p WHERE p.{} = c.{from})",
            always_quoted(child),
            always_quoted(&column.parent),
            always_quoted(&primary),
            from = always_quoted(&column.from),
        );
        count += db.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
    }
    Ok(count)
}

/// The name of a table's one INTEGER PRIMARY KEY column: comparing with it follows the same rules
/// as a foreign key to it.
fn integer_primary_key(db: &Db, table: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare(&format!("PRAGMA main.table_info({})", always_quoted(table)))?;
    let columns = statement.query_map([], |row| {
        Ok((row.get("name")?, row.get("type")?, row.get("pk")?))
    })?;
    let mut columns: Vec<(String, String, i64)> = columns.collect::<rusqlite::Result<_>>()?;
    columns.retain(|(_, _, place)| *place > 0);
    Ok(match &columns[..] {
        [(name, kind, _)] if kind.eq_ignore_ascii_case("INTEGER") => Some(name.clone()),
        _ => None,
    })
}

/// `PRAGMA integrity_check`, and what it leaves out in some schemas ([`accounting`]). What the
/// application alone can compare (its own collations and functions) is no damage: where it is
/// missing, the structure is checked without it; where not even that can be done the check is
/// unprovable, never damage.
pub fn integrity(db: &Db) -> Result<Check> {
    let first = problems(db, "integrity_check")?;
    let unaccounted = unaccounted_pages(db, &first.lines)?;
    if first.lines.is_empty() && unaccounted.is_empty() {
        return Ok(Check::ok(CheckSubject::Integrity, CheckFinding::Sound));
    }
    let (missing, mut damage): (Vec<String>, Vec<String>) = first
        .lines
        .into_iter()
        .partition(|line| names_what_is_missing(line));
    damage.extend(unaccounted);
    if missing.is_empty() {
        let damage = CheckFinding::Message(first_few(&damage));
        return Ok(Check::damaged(CheckSubject::Integrity, damage));
    }
    // With something missing the check may have stopped before it began. With stand-ins the
    // structure can be checked, the order can't.
    tolerate_unknown_collations(db)?;
    let structure = problems(db, "quick_check")?;
    let found = structure
        .lines
        .into_iter()
        .filter(|line| !names_what_is_missing(line) && !from_a_stand_in(line));
    let damage: Vec<String> = damage.into_iter().chain(found).collect();
    if !damage.is_empty() {
        let damage = CheckFinding::Message(first_few(&damage));
        return Ok(Check::damaged(CheckSubject::Integrity, damage));
    }
    let missing = first_few(&missing);
    Ok(if structure.complete {
        Check::ok(
            CheckSubject::Integrity,
            CheckFinding::StructureSound { unchecked: missing },
        )
    } else {
        Check::unprovable(
            CheckSubject::Integrity,
            CheckFinding::NeedsApplication { missing },
        )
    })
}

/// What is wrong with a database that is being saved.
#[derive(Debug, Default)]
pub struct Flaws {
    /// The file itself: rows or pages may be lost.
    pub damage: Vec<String>,
    /// Values that the schema does not allow.
    pub values: Vec<String>,
}

/// `PRAGMA quick_check`, in the transaction that is open, and whose every page is: 1 s for 1.2 GB
/// in the cache, where `integrity_check`, which looks up every row in every index, takes 7 s. What
/// needs the application is passed over.
pub fn flaws(db: &Db) -> Result<Flaws> {
    tolerate_unknown_collations(db)?;
    let mut lines = problems(db, "quick_check")?.lines;
    let unaccounted = unaccounted_pages(db, &lines)?;
    lines.retain(|line| !names_what_is_missing(line) && !from_a_stand_in(line));
    let (values, mut damage): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|line| is_about_a_value(line));
    damage.extend(unaccounted);
    Ok(Flaws { damage, values })
}

/// What `lines` of a check do not tell yet; only where it may not have looked.
fn unaccounted_pages(db: &Db, lines: &[String]) -> Result<Vec<String>> {
    match accounting::is_needed(db) {
        Ok(false) => return Ok(Vec::new()),
        Ok(true) => {}
        // A schema that can't be read was told by the check itself.
        Err(_) if !lines.is_empty() => return Ok(Vec::new()),
        Err(error) => return Err(db.explain(error)),
    }
    match accounting::problems(db) {
        Ok(found) => Ok(found
            .into_iter()
            .filter(|line| !lines.iter().any(|known| known.contains(line)))
            .collect()),
        Err(error) if error.kind() == Kind::Damaged => Ok(vec![error.message()]),
        Err(error) => Err(error),
    }
}

/// What a check says of values that a column or a CHECK does not allow: whoever wrote them went
/// round the schema, and they are saved as they are.
fn is_about_a_value(line: &str) -> bool {
    let typed = [
        "non-INT",
        "non-INTEGER",
        "non-REAL",
        "non-TEXT",
        "non-BLOB",
        "NULL",
        "NUMERIC",
        "TEXT",
    ];
    let of_type = line
        .split_once(" value in ")
        .is_some_and(|(kind, _)| typed.contains(&kind));
    of_type || line.starts_with("CHECK constraint failed in ")
}

/// What a comparison of bytes in place of the application's own may find wrong, and nothing else.
fn from_a_stand_in(line: &str) -> bool {
    let number = line
        .strip_prefix("row ")
        .and_then(|rest| rest.split_once(" missing from index "))
        .map(|(number, _)| number);
    number.is_some_and(|number| number.parse::<i64>().is_ok())
        || [
            "wrong # of entries in index ",
            "non-unique entry in index ",
            "row not in PRIMARY KEY order for ",
        ]
        .iter()
        .any(|words| line.starts_with(words))
}

/// What a checking pragma said.
struct Problems {
    lines: Vec<String>,
    /// It ran to its end.
    complete: bool,
}

fn problems(db: &Db, pragma: &str) -> Result<Problems> {
    let run = || -> rusqlite::Result<Vec<String>> {
        let mut statement = db.prepare(&format!("PRAGMA {pragma}(20)"))?;
        statement
            .query_map([], |row| row.get::<_, String>(0))?
            .collect()
    };
    match run() {
        Ok(found) => Ok(Problems {
            lines: found.into_iter().filter(|line| line != "ok").collect(),
            complete: true,
        }),
        Err(error) => {
            let code = error.sqlite_error_code();
            let of_the_file = matches!(
                code,
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            );
            if of_the_file || is_about_sql(&error) {
                Ok(Problems {
                    lines: vec![error.to_string()],
                    complete: false,
                })
            } else {
                Err(db.explain(error))
            }
        }
    }
}

/// By SQLite's words at the beginning: what follows them are the owner's names.
pub(super) fn names_what_is_missing(line: &str) -> bool {
    [
        "no such collation",
        "unknown collation",
        "unknown function",
        "no such function",
        "no such module",
        "no such tokenizer",
    ]
    .iter()
    .any(|words| line.to_ascii_lowercase().starts_with(words))
}

pub(super) fn first_few(lines: &[String]) -> String {
    // One row of `integrity_check` may be a whole tree's story, under a heading.
    let lines: Vec<&str> = lines
        .iter()
        .flat_map(|row| row.lines())
        .filter(|line| !line.starts_with("*** in database "))
        .collect();
    let shown = &lines[..lines.len().min(3)];
    let more = if lines.len() > 3 {
        format!("; and {} more", lines.len() - 3)
    } else {
        String::new()
    };
    format!("{}{more}", shown.join("; "))
}

/// The name as SQL would need it: quoted only where it must be.
pub fn quoted(name: &str) -> String {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain && !name.is_empty() && !is_keyword(name) {
        name.to_owned()
    } else {
        always_quoted(name)
    }
}

/// What [`quoted`] made it from.
pub fn unquoted(name: &str) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

pub(super) fn always_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_keyword(name: &str) -> bool {
    let Ok(text) = CString::new(name) else {
        return true;
    };
    let length = i32::try_from(name.len()).unwrap_or(0);
    // SAFETY: `text` lives through the call, which reads `length` bytes of it.
    unsafe { ffi::sqlite3_keyword_check(text.as_ptr(), length) != 0 }
}

/// A path that JSON can hold.
fn printable(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// The error of a file that turned out to be no database at all.
pub fn not_a_database(path: &Path) -> Error {
    Error::damaged(format!(
        "`{}` does not hold a SQLite database",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::{from_a_stand_in, is_about_a_value, names_what_is_missing};

    #[test]
    fn names_of_the_owners_change_no_verdict() {
        for name in [
            "a value in b",
            "no such module",
            "NULL value in c",
            "row 1 missing from index i",
        ] {
            for line in [
                format!("Tree {name}: 2nd reference to page 7"),
                format!("malformed inverted index for FTS5 table main.{name}"),
            ] {
                assert!(
                    !is_about_a_value(&line)
                        && !names_what_is_missing(&line)
                        && !from_a_stand_in(&line),
                    "{line}"
                );
            }
        }
        assert!(is_about_a_value("NULL value in t.a") && is_about_a_value("non-INT value in t.a"));
        assert!(
            is_about_a_value("CHECK constraint failed in t")
                && names_what_is_missing("no such collation sequence: x")
        );
        assert!(
            from_a_stand_in("row 7 missing from index i")
                && !from_a_stand_in("row x missing from index i")
        );
    }
}
