//! The rows of a database that nobody writes to, as a decoded dump is one.

use super::{Db, facts};
use crate::engine::{Cell, RowSink, Shape};
use crate::error::Result;
use crate::interrupt;
use rusqlite::types::ValueRef;
use std::io::Write;

/// A table of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteTable {
    /// The name, without quotes.
    pub name: String,
    /// Whether it belongs to SQLite itself or to the inside of a virtual table, not to the user.
    pub internal: bool,
    is_virtual: bool,
}

/// Lists the tables, in order of their names; views are left out.
pub fn list_tables(db: &Db) -> Result<Vec<SqliteTable>> {
    facts::tolerate_unknown_collations(db)?;
    let listed = facts::list_tables(db).map_err(|error| db.explain(error))?;
    let table = |(name, kind): (String, String)| SqliteTable {
        internal: kind == "shadow" || name.starts_with("sqlite_"),
        is_virtual: kind == "virtual",
        name,
    };
    Ok(listed.into_iter().map(table).collect())
}

/// Writes all rows of a table into `sink`, in the order in which they are stored. Generated columns
/// are included, hidden ones of virtual tables are not.
///
/// It returns `false` for a virtual table whose module is not built in, which can't be read here.
pub fn read_rows(db: &Db, table: &SqliteTable, sink: &mut dyn RowSink) -> Result<bool> {
    // An index that holds every column would be read in its place, in its order.
    let by_itself = if table.is_virtual { "" } else { " NOT INDEXED" };
    let sql = format!(
        "SELECT * FROM main.{}{by_itself}",
        facts::quote(&table.name)
    );
    let mut statement = match db.prepare(&sql) {
        Err(error) if table.is_virtual && facts::is_sql_error(&error) => return Ok(false),
        prepared => prepared.map_err(|error| db.explain(error))?,
    };
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if !sink.begin_table("", &table.name, &columns)? {
        return Ok(true);
    }
    let mut rows = statement.query([]).map_err(|error| db.explain(error))?;
    let mut texts: Vec<Vec<u8>> = vec![Vec::new(); columns.len()];
    let mut kinds: Vec<Option<&Shape>> = vec![None; columns.len()];
    while let Some(row) = rows.next().map_err(|error| db.explain(error))? {
        interrupt::check()?;
        for (at, (text, kind)) in texts.iter_mut().zip(&mut kinds).enumerate() {
            text.clear();
            *kind = write_value(row.get_ref(at).map_err(|error| db.explain(error))?, text)?;
        }
        let cells: Vec<Cell<'_>> = texts
            .iter()
            .zip(&kinds)
            .map(|(text, kind)| Cell {
                text: kind.map(|_| text.as_slice()),
                shape: kind.unwrap_or(&Shape::Text),
            })
            .collect();
        sink.write_row(&cells)?;
    }
    sink.end_table()?;
    Ok(true)
}

/// Writes a value as text; `None` for NULL.
fn write_value(value: ValueRef<'_>, text: &mut Vec<u8>) -> Result<Option<&'static Shape>> {
    Ok(match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => {
            write!(text, "{number}")?;
            Some(&Shape::Number)
        }
        ValueRef::Real(number) if number.is_infinite() => {
            text.extend_from_slice(if number > 0.0 {
                b"Infinity"
            } else {
                b"-Infinity"
            });
            Some(&Shape::Number)
        }
        ValueRef::Real(number) => {
            // The shortest digits that give this very number back, as SQLite's own `%!.17g` would
            // not.
            write!(text, "{number:?}")?;
            Some(&Shape::Number)
        }
        ValueRef::Text(bytes) => {
            text.extend_from_slice(bytes);
            Some(&Shape::Text)
        }
        ValueRef::Blob(bytes) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            text.extend_from_slice(b"\\x");
            text.extend(bytes.iter().flat_map(|byte| {
                [
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]
            }));
            Some(&Shape::Text)
        }
    })
}
