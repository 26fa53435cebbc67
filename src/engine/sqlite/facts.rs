//! The facts of a database: its tables with their rows, its settings, and whether it is sound.

mod foreign_keys;

use super::{Db, accounting, ownership, pages};
use crate::engine::{Check, CheckFinding, CheckSubject, Database, Manifest, Table};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use rusqlite::{Connection, ffi};
use std::ffi::CString;
use std::path::{Path, PathBuf};

pub use foreign_keys::count_foreign_key_violations;

/// Counts the rows of every table in the transaction that is open. Virtual tables are listed
/// without a count.
pub fn count_rows(db: &Db) -> Result<Manifest> {
    tolerate_unknown_collations(db)?;
    let listed = list_tables(db).map_err(|error| db.explain(error))?;
    let mut tables = Vec::with_capacity(listed.len());
    for (name, kind) in listed {
        interrupt::check()?;
        let quoted = quote_if_needed(&name);
        // Counting a virtual table would run all that its module does, perhaps a view of the
        // owner's: FTS5 reads one that holds its content. The data that a virtual table stores
        // itself are in its shadow tables, which are counted.
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
        let sql = format!("SELECT count(*) FROM main.{}", quote(&name));
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

/// Lists the tables with their kinds (`table`, `virtual` or `shadow`), in order of their names.
/// Views are not listed.
///
/// The pragma is used, never the table-valued function of its name: a table of the user's may have
/// that name, and would be read in its place.
pub(super) fn list_tables(db: &Db) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare("PRAGMA main.table_list")?;
    let listed = statement.query_map([], |row| Ok((row.get("name")?, row.get("type")?)))?;
    let mut listed: Vec<(String, String)> = listed.collect::<rusqlite::Result<_>>()?;
    listed.retain(|(name, kind)| kind != "view" && name != "sqlite_schema");
    listed.sort();
    Ok(listed)
}

/// Whether an error is about the statement (a missing module, function or column), and not about
/// the file.
pub(super) fn is_sql_error(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.extended_code & 0xff == ffi::SQLITE_ERROR
        }
        rusqlite::Error::SqlInputError { .. } => true,
        _ => false,
    }
}

/// Puts a comparison of bytes in the place of each collation that only the application defines. For
/// counting, order means nothing.
pub(super) fn tolerate_unknown_collations(conn: &Connection) -> Result<()> {
    conn.collation_needed(|conn, name| conn.create_collation(name, |a, b| a.cmp(b)))?;
    Ok(())
}

/// Reads the database's settings, and the file's owner and mode.
pub fn read_settings(db: &Db, live: &Path) -> Result<Database> {
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

/// Runs `PRAGMA integrity_check`, and the check that it leaves out in some schemas
/// ([`accounting`]).
///
/// Collations and functions that only the application has are no damage. Without them the
/// structure alone is checked. If not even that can be done, the check is unprovable, never
/// damage.
pub fn check_integrity(db: &Db) -> Result<Check> {
    let first = run_check(db, "integrity_check")?;
    let unaccounted = find_unaccounted_pages(db, &first.lines)?;
    if first.lines.is_empty() && unaccounted.is_empty() {
        return Ok(Check::ok(CheckSubject::Integrity, CheckFinding::Sound));
    }
    let (missing, mut damage): (Vec<String>, Vec<String>) = first
        .lines
        .into_iter()
        .partition(|line| is_missing_extension(line));
    damage.extend(unaccounted);
    if missing.is_empty() {
        let damage = CheckFinding::Message(first_few(&damage));
        return Ok(Check::damaged(CheckSubject::Integrity, damage));
    }
    // Without an extension the check may have stopped before it began. With stand-ins the structure
    // can be checked, but not the order.
    tolerate_unknown_collations(db)?;
    let structure = run_check(db, "quick_check")?;
    let found = structure
        .lines
        .into_iter()
        .filter(|line| !is_missing_extension(line) && !may_come_from_stand_in(line));
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

/// The faults of a database that is being saved.
#[derive(Debug, Default)]
pub struct Flaws {
    /// Faults of the file itself: rows or pages may be lost.
    pub damage: Vec<String>,
    /// Values that the schema does not allow.
    pub values: Vec<String>,
}

/// Runs `PRAGMA quick_check`, in the transaction that is open, and looks for the owner of every
/// page. This takes 1 s for 1.2 GB in the cache; `integrity_check`, which looks up every row in
/// every index, takes 7 s. Whatever needs the application is passed over.
pub fn find_flaws(db: &Db) -> Result<Flaws> {
    tolerate_unknown_collations(db)?;
    let mut lines = run_check(db, "quick_check")?.lines;
    let unaccounted = find_unaccounted_pages(db, &lines)?;
    lines.retain(|line| !is_missing_extension(line) && !may_come_from_stand_in(line));
    let (values, mut damage): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|line| is_about_value(line));
    damage.extend(unaccounted);
    Ok(Flaws { damage, values })
}

/// Finds the pages without one owner that the `lines` of a check do not mention. Only schemas that
/// the check may have skipped are examined.
fn find_unaccounted_pages(db: &Db, lines: &[String]) -> Result<Vec<String>> {
    match accounting::is_needed(db) {
        Ok(false) => return Ok(Vec::new()),
        Ok(true) => {}
        // A schema that can't be read was reported by the check itself.
        Err(_) if !lines.is_empty() => return Ok(Vec::new()),
        Err(error) => return Err(db.explain(error)),
    }
    match accounting::find_problems(db) {
        Ok(found) => Ok(found
            .into_iter()
            .filter(|line| !lines.iter().any(|known| known.contains(line)))
            .collect()),
        Err(error) if error.kind() == Kind::Damaged => Ok(vec![error.message()]),
        Err(error) => Err(error),
    }
}

/// Whether a line of a check is about a value that a column or a CHECK does not allow. Such values
/// were written by going round the schema, and are saved as they are.
fn is_about_value(line: &str) -> bool {
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
    let is_typed = line
        .split_once(" value in ")
        .is_some_and(|(kind, _)| typed.contains(&kind));
    is_typed || line.starts_with("CHECK constraint failed in ")
}

/// Whether a line of a check may come from a comparison of bytes in the place of the application's
/// own collation. No other fault has such a line.
fn may_come_from_stand_in(line: &str) -> bool {
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

/// The output of a checking pragma.
struct CheckOutput {
    lines: Vec<String>,
    /// Whether it ran to its end.
    complete: bool,
}

/// Runs a checking pragma, for up to 20 lines. An error that shows damage is a line, too.
fn run_check(db: &Db, pragma: &str) -> Result<CheckOutput> {
    match read_pragma_lines(db, pragma) {
        Ok(found) => Ok(CheckOutput {
            lines: found.into_iter().filter(|line| line != "ok").collect(),
            complete: true,
        }),
        Err(error) => {
            let code = error.sqlite_error_code();
            let is_of_file = matches!(
                code,
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            );
            if is_of_file || is_sql_error(&error) {
                Ok(CheckOutput {
                    lines: vec![error.to_string()],
                    complete: false,
                })
            } else {
                Err(db.explain(error))
            }
        }
    }
}

fn read_pragma_lines(db: &Db, pragma: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA {pragma}(20)"))?;
    statement
        .query_map([], |row| row.get::<_, String>(0))?
        .collect()
}

/// Whether a message is about a collation, function or module that only the application has. Only
/// its beginning counts, which is SQLite's: names of the owner follow.
pub(super) fn is_missing_extension(line: &str) -> bool {
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

/// The first three lines as one text, and the number of the others.
pub(super) fn first_few(lines: &[String]) -> String {
    // One row of `integrity_check` may have several lines on one tree, under a heading.
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

/// Quotes a name if SQL needs it.
pub fn quote_if_needed(name: &str) -> String {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain && !name.is_empty() && !is_keyword(name) {
        name.to_owned()
    } else {
        quote(name)
    }
}

/// Undoes [`quote_if_needed`].
pub fn unquote(name: &str) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Quotes a name.
pub(super) fn quote(name: &str) -> String {
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
pub fn printable(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// The error of a file that is no database at all.
pub fn not_a_database(path: &Path) -> Error {
    Error::damaged(format!(
        "`{}` does not hold a SQLite database",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::{is_about_value, is_missing_extension, may_come_from_stand_in};

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
                    !is_about_value(&line)
                        && !is_missing_extension(&line)
                        && !may_come_from_stand_in(&line),
                    "{line}"
                );
            }
        }
        assert!(is_about_value("NULL value in t.a") && is_about_value("non-INT value in t.a"));
        assert!(
            is_about_value("CHECK constraint failed in t")
                && is_missing_extension("no such collation sequence: x")
        );
        assert!(
            may_come_from_stand_in("row 7 missing from index i")
                && !may_come_from_stand_in("row x missing from index i")
        );
    }
}
