//! Rows whose foreign key points nowhere. They are counted by queries that walk indexes in order,
//! where these mean the same as the pragma, which is slower.

use super::{Db, is_sql_error, list_tables, quote, tolerate_unknown_collations};
use crate::error::Result;

/// Counts the rows whose foreign key points nowhere; `None` with a warning if SQLite can't check
/// them with this schema.
///
/// `PRAGMA foreign_key_check` looks rows up in the order of the child table, all over the parent:
/// 4 s for 1.2 GB. A query walks the child's index on the key, if there is one, and so the parent
/// in order: 1 s. It is used instead where it means the same.
pub fn count_foreign_key_violations(db: &Db, warnings: &mut Vec<String>) -> Result<Option<u64>> {
    tolerate_unknown_collations(db)?;
    match count_all_violations(db) {
        Ok(count) => Ok(Some(count.unsigned_abs())),
        Err(error) if is_sql_error(&error) => {
            warnings.push(format!("foreign keys can't be checked: {error}"));
            Ok(None)
        }
        Err(error) => Err(db.explain(error)),
    }
}

fn count_all_violations(db: &Db) -> rusqlite::Result<i64> {
    let mut count = 0;
    for (child, kind) in list_tables(db)? {
        if kind == "table" {
            count += count_violations_of(db, &child)?;
        }
    }
    Ok(count)
}

/// One column of one foreign key.
struct KeyColumn {
    key: i64,
    parent: String,
    from: String,
    /// The parent's column; `None` is its primary key.
    to: Option<String>,
}

impl KeyColumn {
    /// Whether the key refers to this column, the parent's primary key.
    fn refers_to(&self, primary: &str) -> bool {
        self.to
            .as_ref()
            .is_none_or(|to| to.eq_ignore_ascii_case(primary))
    }
}

/// Counts the rows of one table whose foreign key points nowhere.
fn count_violations_of(db: &Db, child: &str) -> rusqlite::Result<i64> {
    let mut statement = db.prepare(&format!("PRAGMA main.foreign_key_list({})", quote(child)))?;
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
        let primary = find_integer_primary_key(db, &column.parent)?
            .filter(|primary| single && column.refers_to(primary));
        let Some(primary) = primary else {
            return count_violations_by_pragma(db, child);
        };
        let sql = format!(
            "SELECT count(*) FROM main.{} c WHERE c.{from} IS NOT NULL AND NOT EXISTS (SELECT 1 \
             FROM main.{} p WHERE p.{} = c.{from})",
            quote(child),
            quote(&column.parent),
            quote(&primary),
            from = quote(&column.from),
        );
        count += db.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
    }
    Ok(count)
}

/// Counts the rows that `PRAGMA foreign_key_check` finds in one table.
fn count_violations_by_pragma(db: &Db, child: &str) -> rusqlite::Result<i64> {
    let pragma = format!("PRAGMA main.foreign_key_check({})", quote(child));
    let mut statement = db.prepare(&pragma)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Finds the name of a table's one INTEGER PRIMARY KEY column. A comparison with it follows the
/// same rules as a foreign key to it.
fn find_integer_primary_key(db: &Db, table: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare(&format!("PRAGMA main.table_info({})", quote(table)))?;
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
