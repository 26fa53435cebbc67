//! The tables of a dump: listed, locked so that they stay, and counted.
//! The selection must be the same as that of `pg_dump`: its patterns, and its rules for partitions,
//! extensions and unlogged tables.

mod patterns;

use super::explain_error;
use super::names::{self, NamePattern};
use crate::engine::Table;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use patterns::{find_in_schemas, find_matching};
use postgres::Client;
use postgres::types::Oid;
use std::collections::HashMap;
use std::io::BufRead;
use std::time::Duration;

pub use patterns::{UnmatchedPattern, find_unmatched_patterns};

/// The part of a database that is dumped. Empty lists mean everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSelection {
    /// `pg_dump --schema`.
    pub schemas: Vec<String>,
    /// `pg_dump --exclude-table`.
    pub exclude_table: Vec<String>,
    /// `pg_dump --exclude-table-data`.
    pub exclude_table_data: Vec<String>,
}

impl TableSelection {
    /// The selection as arguments of `pg_dump`.
    pub fn arguments(&self) -> Vec<String> {
        let options = [
            ("schema", &self.schemas),
            ("exclude-table", &self.exclude_table),
            ("exclude-table-data", &self.exclude_table_data),
        ];
        options
            .iter()
            .flat_map(|(name, patterns)| {
                patterns.iter().map(move |text| format!("--{name}={text}"))
            })
            .collect()
    }
}

/// A table that the database lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTable {
    oid: Oid,
    /// The name, quoted as the server prints it.
    pub name: String,
    relkind: char,
    unlogged: bool,
    /// Whether the table belongs to an extension.
    pub of_extension: bool,
    /// Whether the table of an extension has any data on the disk; false for other tables.
    pub has_storage: bool,
    without_data: bool,
    /// The column that is read fastest, quoted; `None` where there is no column.
    narrow_column: Option<String>,
}

impl ListedTable {
    /// Whether `pg_dump` locks the table: those must not change.
    fn is_locked(&self) -> bool {
        matches!(self.relkind, 'r' | 'p') && !self.of_extension
    }

    /// Whether the table's rows are those of its partitions.
    pub fn is_partitioned(&self) -> bool {
        self.relkind == 'p'
    }

    /// Whether a restore computes the table's rows anew.
    pub fn is_materialized_view(&self) -> bool {
        self.relkind == 'm'
    }

    /// Whether the rows are left out: by choice, or because an unlogged table has no data on a
    /// standby, where `pg_dump` dumps none.
    pub fn data_is_left_out(&self, on_standby: bool) -> bool {
        self.without_data || self.unlogged && on_standby
    }
}

/// Lists the tables of which a dump holds something. It runs once before the snapshot, to lock
/// them, and once in it.
pub fn list_tables(
    client: &mut impl postgres::GenericClient,
    selection: &TableSelection,
) -> Result<Vec<ListedTable>> {
    let doing = "listing the tables";
    // As in pg_dump, patterns without a schema match what the role's own search path makes visible;
    // everything else is done without a search path.
    client
        .batch_execute("RESET search_path")
        .map_err(|error| explain_error(&error, doing))?;
    let excluded = find_matching(client, &selection.exclude_table)?;
    let without_data = find_matching(client, &selection.exclude_table_data)?;
    let schemas: Vec<NamePattern> = selection
        .schemas
        .iter()
        .map(|text| names::parse_schema_pattern(text))
        .collect::<Result<_>>()?;
    client
        .batch_execute("SET search_path = ''")
        .map_err(|error| explain_error(&error, doing))?;
    let rows = client
        .query(LIST, &[])
        .map_err(|error| explain_error(&error, doing))?;
    let mut found = Vec::new();
    for row in rows {
        let oid: Oid = row.get("oid");
        if excluded.contains(&oid) {
            continue;
        }
        found.push(ListedTable {
            oid,
            name: row.get("name"),
            relkind: char::from(row.get::<_, i8>("relkind").cast_unsigned()),
            unlogged: row.get("unlogged"),
            of_extension: row.get("of_extension"),
            has_storage: row.get("has_storage"),
            narrow_column: row.get("narrow_column"),
            without_data: without_data.contains(&oid),
        });
    }
    if !schemas.is_empty() {
        let chosen = find_in_schemas(client, &schemas)?;
        found.retain(|table| chosen.contains(&table.oid));
    }
    Ok(found)
}

/// Lists the foreign keys in the dump that a restore of it can't create, because the rows that they
/// point to are left out.
pub fn list_broken_keys(
    client: &mut impl postgres::GenericClient,
    tables: &[ListedTable],
) -> Result<Vec<String>> {
    let all: Vec<Oid> = tables.iter().map(|table| table.oid).collect();
    let with_data = tables.iter().filter(|table| !table.without_data);
    let with_data: Vec<Oid> = with_data.map(|table| table.oid).collect();
    let rows = client
        .query(BROKEN_KEYS, &[&all, &with_data])
        .map_err(|error| explain_error(&error, "looking for foreign keys"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A partition's key is its parent's.
const BROKEN_KEYS: &str = "
SELECT pg_catalog.format('%I of %I.%I, to %I.%I', k.conname, n.nspname, c.relname, rn.nspname, \
                           r.relname)
FROM pg_catalog.pg_constraint k
     JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = \
                           c.relnamespace
     JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace rn ON rn.oid = \
                           r.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1)
  AND (k.confrelid <> ALL ($1) OR k.conrelid = ANY ($2) AND k.confrelid <> ALL ($2))
ORDER BY 1";

/// The order of the columns `a` of types `t` in which the column that is copied fastest comes
/// first: one of fixed length and of one of the system's own types, which only the server's own
/// code writes out.
macro_rules! narrowest_first {
    () => {
        "ORDER BY t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace, t.typtype <> 'b', \
         a.attlen < 0, a.attlen, a.attnum"
    };
}

/// The same order for scripts.
pub const NARROWEST_FIRST: &str = narrowest_first!();

/// A generated column can't be copied.
const LIST: &str = concat!(
    r#"
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relpersistence
= 'u' AS unlogged,
       e.found AS of_extension,
       e.found AND coalesce(pg_catalog.pg_relation_size(c.oid), 0) > 0 AS has_storage,
       (SELECT pg_catalog.quote_ident(a.attname)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
"#,
    narrowest_first!(),
    r#" LIMIT 1) AS narrow_column
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
     LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d
                             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND
                             d.objid = c.oid
                               AND d.deptype = 'e')) AS e (found)
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname"#
);

/// The outcome of locking tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOutcome {
    /// Each table is locked under its name.
    Held,
    /// A name meant another relation by the time it was locked, so the list is out of date.
    Outdated,
}

/// Locks the tables that `pg_dump` will lock, as weakly as it does: others can read and write them,
/// but not change their definitions.
///
/// Tables are locked by name, so afterwards the held locks are compared with the list: somebody may
/// have put a view of that name in a table's place.
pub fn lock_tables(
    client: &mut Client,
    tables: &[ListedTable],
) -> std::result::Result<LockOutcome, postgres::Error> {
    let wanted: Vec<&ListedTable> = tables.iter().filter(|table| table.is_locked()).collect();
    for some in wanted.chunks(100) {
        let list = some
            .iter()
            .map(|table| format!("ONLY {}", table.name))
            .collect::<Vec<_>>()
            .join(", ");
        client.batch_execute(&format!("LOCK TABLE {list} IN ACCESS SHARE MODE"))?;
    }
    if wanted.is_empty() {
        return Ok(LockOutcome::Held);
    }
    let held: HashMap<Oid, String> = client
        .query(HELD, &[])?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let as_listed = |table: &&ListedTable| held.get(&table.oid) == Some(&table.name);
    Ok(if wanted.iter().all(as_listed) {
        LockOutcome::Held
    } else {
        LockOutcome::Outdated
    })
}

/// The relations of this database on which this session holds a lock.
const HELD: &str = "
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_database d ON d.oid = \
                    l.database
WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND d.datname \
                    = pg_catalog.current_database()
  AND c.relkind IN ('r', 'p')";

/// Lists the tables of which row-level security would hide rows from this role.
pub fn list_hidden_tables(client: &mut Client, tables: &[ListedTable]) -> Result<Vec<String>> {
    let oids: Vec<Oid> = tables
        .iter()
        .filter(|table| !table.without_data)
        .map(|table| table.oid)
        .collect();
    let query = "SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
                 WHERE oid = ANY ($1) AND relrowsecurity AND pg_catalog.row_security_active(oid) \
                 ORDER BY 1";
    let rows = client
        .query(query, &[&oids])
        .map_err(|error| explain_error(&error, "looking at the tables' policies"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How often an outdated list is made anew.
const TRIES: usize = 5;

/// Counts the rows of every table now, in a transaction of its own. The tables are locked as for a
/// backup, and waited for no longer than `lock_timeout`.
pub fn count_tables(
    client: &mut Client,
    selection: &TableSelection,
    lock_timeout: Option<Duration>,
) -> Result<Vec<Table>> {
    let doing = "counting what is in the database";
    let standby = super::facts::is_standby(client)?;
    let timeout = lock_timeout.map_or(0, |timeout| timeout.as_millis());
    for _ in 0..TRIES {
        let begin = format!("BEGIN READ ONLY; SET LOCAL lock_timeout = {timeout}");
        client
            .batch_execute(&begin)
            .map_err(|error| explain_error(&error, doing))?;
        let found = list_tables(client, selection)?;
        if lock_tables(client, &found)
            .map_err(|error| explain_error(&error, "locking the tables"))?
            == LockOutcome::Held
        {
            let counted = count_locked(client, &found, standby)?;
            client
                .batch_execute("ROLLBACK")
                .map_err(|error| explain_error(&error, doing))?;
            return Ok(counted);
        }
        client
            .batch_execute("ROLLBACK")
            .map_err(|error| explain_error(&error, doing))?;
    }
    Err(
        Error::failed("the tables were renamed again and again while they were to be counted")
            .with_hint("try again later"),
    )
}

/// Counts the rows of each table that is compared; nothing else is read.
fn count_locked(
    client: &mut Client,
    tables: &[ListedTable],
    on_standby: bool,
) -> Result<Vec<Table>> {
    let mut counted = Vec::new();
    for table in tables
        .iter()
        .filter(|table| table.is_locked() && !table.is_partitioned())
    {
        let left_out = table.data_is_left_out(on_standby);
        let rows = if left_out {
            0
        } else {
            count_rows(client, table)?
        };
        let kind = if left_out {
            "table without its data"
        } else {
            "table"
        };
        counted.push(Table {
            name: table.name.clone(),
            kind: kind.to_owned(),
            rows: Some(rows),
            compare: !left_out,
        });
    }
    Ok(counted)
}

/// Counts the rows of one table by copying its narrowest column. A COPY is not planned, runs no
/// code of the owner's, and refuses views. Five million rows take 0.7 s, where a parallel
/// `count(*)` takes 0.25 s.
fn count_rows(client: &mut Client, table: &ListedTable) -> Result<u64> {
    let column = table
        .narrow_column
        .as_ref()
        .map_or(String::new(), |column| format!(" ({column})"));
    let doing = || format!("counting the rows of {}", table.name);
    let copied = client.copy_out(&format!("COPY {}{column} TO STDOUT", table.name));
    let mut copied = copied.map_err(|error| explain_error(&error, doing()))?;
    let mut rows = 0;
    loop {
        interrupt::check()?;
        let some = copied.fill_buf().with_context(doing)?;
        if some.is_empty() {
            return Ok(rows);
        }
        rows += memchr::memchr_iter(b'\n', some).count() as u64;
        let length = some.len();
        copied.consume(length);
    }
}

/// Counts the large objects that the role may not read, on which `pg_dump` would fail.
pub fn count_unreadable_large_objects(client: &mut Client) -> Result<u64> {
    let row = client.query_one(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata o
         WHERE NOT pg_catalog.pg_has_role(o.lomowner, 'USAGE')
           AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
           AND pg_catalog.current_setting('lo_compat_privileges') = 'off'
           AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.lomacl) a
                           WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR \
         pg_catalog.pg_has_role(a.grantee, 'USAGE')))",
        &[],
    );
    Ok(row
        .map_err(|error| explain_error(&error, "looking at the large objects"))?
        .get::<_, i64>(0)
        .unsigned_abs())
}
