//! Which tables a dump will hold, locked so that they stay, and how many rows each has.
//!
//! The choice must be `pg_dump`'s own: its patterns, its rules for partitions, extensions and unlogged tables.

use super::explain;
use super::names::{self, Pattern};
use crate::engine::Table;
use crate::error::Result;
use crate::interrupt;
use postgres::Client;
use postgres::error::SqlState;
use postgres::types::Oid;

/// What of a database is dumped; empty lists mean everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `pg_dump --schema`.
    pub schemas: Vec<String>,
    /// `pg_dump --exclude-table`.
    pub exclude_table: Vec<String>,
    /// `pg_dump --exclude-table-data`.
    pub exclude_table_data: Vec<String>,
}

impl Selection {
    /// As `pg_dump` takes it.
    pub fn arguments(&self) -> Vec<String> {
        let option = |name: &str, patterns: &[String]| patterns.iter().map(|text| format!("--{name}={text}")).collect::<Vec<_>>();
        [
            option("schema", &self.schemas),
            option("exclude-table", &self.exclude_table),
            option("exclude-table-data", &self.exclude_table_data),
        ]
        .concat()
    }
}

/// A table of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    oid: Oid,
    /// Quoted, as the server prints it.
    pub name: String,
    relkind: char,
    unlogged: bool,
    of_extension: bool,
    populated: bool,
    without_data: bool,
}

impl Candidate {
    /// `pg_dump` locks tables and partitioned tables, so these are what must not change.
    fn is_locked(&self) -> bool {
        matches!(self.relkind, 'r' | 'p') && !self.of_extension
    }
}

/// The tables that a dump will have something of; asked once before the snapshot is taken, to lock them, and once in it.
pub fn list(client: &mut impl postgres::GenericClient, selection: &Selection) -> Result<Vec<Candidate>> {
    let doing = "listing the tables";
    // Patterns without a schema mean what is visible by the role's own search path, as in pg_dump; everything else is done without one.
    client.batch_execute("RESET search_path").map_err(|error| explain(&error, doing))?;
    let excluded = matching(client, &selection.exclude_table)?;
    let without_data = matching(client, &selection.exclude_table_data)?;
    let schemas: Vec<Pattern> = selection.schemas.iter().map(|text| names::schema_pattern(text)).collect::<Result<_>>()?;
    client.batch_execute("SET search_path = ''").map_err(|error| explain(&error, doing))?;
    let rows = client.query(LIST, &[]).map_err(|error| explain(&error, doing))?;
    let mut found = Vec::new();
    for row in rows {
        let oid: Oid = row.get("oid");
        if excluded.contains(&oid) {
            continue;
        }
        found.push(Candidate {
            oid,
            name: row.get("name"),
            relkind: char::from(row.get::<_, i8>("relkind").cast_unsigned()),
            unlogged: row.get("unlogged"),
            of_extension: row.get("of_extension"),
            populated: row.get("populated"),
            without_data: without_data.contains(&oid),
        });
    }
    if !schemas.is_empty() {
        let chosen = of_schemas(client, &schemas)?;
        found.retain(|table| chosen.contains(&table.oid));
    }
    Ok(found)
}

/// The foreign keys of what is dumped that a restore of the dump alone can't have: the rows that they point to are left out.
pub fn broken_keys(client: &mut impl postgres::GenericClient, tables: &[Candidate]) -> Result<Vec<String>> {
    let of = |chosen: &dyn Fn(&Candidate) -> bool| tables.iter().filter(|table| chosen(table)).map(|table| table.oid).collect();
    let (all, with_data): (Vec<Oid>, Vec<Oid>) = (of(&|_| true), of(&|table| !table.without_data));
    let rows = client.query(BROKEN_KEYS, &[&all, &with_data]).map_err(|error| explain(&error, "looking for foreign keys"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A partition's key is its parent's.
const BROKEN_KEYS: &str = "
SELECT pg_catalog.format('%I of %I.%I, to %I.%I', k.conname, n.nspname, c.relname, rn.nspname, r.relname)
FROM pg_catalog.pg_constraint k
     JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1)
  AND (k.confrelid <> ALL ($1) OR k.conrelid = ANY ($2) AND k.confrelid <> ALL ($2))
ORDER BY 1";

const LIST: &str = r#"
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relpersistence = 'u' AS unlogged,
       c.relispopulated AS populated,
       EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') AS of_extension
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname"#;

/// The tables that any of the patterns means. The role's search path is in force here, so everything is named with its schema: an operator of a
/// user's that stands before the system's own would run with the rights of the backup's role.
fn matching(client: &mut impl postgres::GenericClient, texts: &[String]) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for text in texts {
        let pattern = names::pattern(text)?;
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
             WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,v,f,S}'::pg_catalog.\"char\"[])
               AND c.relname OPERATOR(pg_catalog.~) $1::pg_catalog.text COLLATE pg_catalog.default
               AND CASE WHEN $2::pg_catalog.text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
                        ELSE n.nspname OPERATOR(pg_catalog.~) $2::pg_catalog.text COLLATE pg_catalog.default END",
            &[&pattern.name, &pattern.schema],
        );
        found
            .extend(rows.map_err(|error| explain(&error, "reading a pattern of tables"))?.iter().map(|row| row.get::<_, Oid>(0)));
    }
    Ok(found)
}

/// The tables in the schemas that any of the patterns means.
fn of_schemas(client: &mut impl postgres::GenericClient, patterns: &[Pattern]) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname OPERATOR(pg_catalog.~) $1::text COLLATE pg_catalog.default",
            &[&pattern.name],
        );
        found.extend(
            rows.map_err(|error| explain(&error, "reading a pattern of schemas"))?.iter().map(|row| row.get::<_, Oid>(0)),
        );
    }
    Ok(found)
}

/// Locks what `pg_dump` will lock, as weakly as it does: nobody is kept from reading or writing, only from changing the tables themselves.
pub fn lock(client: &mut Client, tables: &[Candidate]) -> std::result::Result<(), postgres::Error> {
    let names: Vec<&str> = tables.iter().filter(|table| table.is_locked()).map(|table| table.name.as_str()).collect();
    for some in names.chunks(100) {
        let list = some.iter().map(|name| format!("ONLY {name}")).collect::<Vec<_>>().join(", ");
        client.batch_execute(&format!("LOCK TABLE {list} IN ACCESS SHARE MODE"))?;
    }
    Ok(())
}

/// The tables of which policies would hide rows from this role.
pub fn hidden_by_policies(client: &mut Client, tables: &[Candidate]) -> Result<Vec<String>> {
    let oids: Vec<Oid> = tables.iter().filter(|table| !table.without_data).map(|table| table.oid).collect();
    let query = "SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
                 WHERE oid = ANY ($1) AND relrowsecurity AND pg_catalog.row_security_active(oid) ORDER BY 1";
    let rows = client.query(query, &[&oids]).map_err(|error| explain(&error, "looking at the tables' policies"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Counts the rows of every table, exactly, in the snapshot of `client`.
pub fn count(client: &mut Client, tables: &[Candidate], on_standby: bool) -> Result<Vec<Table>> {
    let mut counted = Vec::new();
    for table in tables {
        interrupt::check()?;
        // What a partitioned table holds is in its partitions.
        if table.relkind == 'p' {
            continue;
        }
        // An unlogged table has no data on a standby, and pg_dump takes none there.
        let data_is_left_out = table.without_data || table.unlogged && on_standby;
        let readable = table.populated && !data_is_left_out;
        let rows = match readable {
            true if table.is_locked() => rows_of(client, &table.name)?,
            true => match rows_if_possible(client, &table.name)? {
                Some(rows) => rows,
                None => continue,
            },
            false => 0,
        };
        let (kind, compare) = match table.relkind {
            'm' => ("materialized view", false),
            // Its own data comes with the extension, and of a configuration table only some rows are dumped.
            _ if table.of_extension => ("table of an extension", false),
            _ if data_is_left_out => ("table without its data", false),
            _ => ("table", true),
        };
        counted.push(Table { name: table.name.clone(), kind: kind.to_owned(), rows, compare });
    }
    Ok(counted)
}

/// The rows of what `pg_dump` does not lock and takes no data of, or only some: a REFRESH may hold it for hours, somebody may drop it, and the role
/// may have no right to it. None of that is a reason to wait, or to have no backup.
fn rows_if_possible(client: &mut Client, name: &str) -> Result<Option<u64>> {
    let doing = || format!("counting the rows of {name}");
    client.batch_execute("SAVEPOINT uncertain; SET LOCAL lock_timeout = '200ms'").map_err(|error| explain(&error, doing()))?;
    let counted = client.query_one(&format!("SELECT pg_catalog.count(*) FROM ONLY {name}"), &[]);
    let rows = match counted {
        Ok(row) => Some(row.get::<_, i64>(0).unsigned_abs()),
        Err(error) if error.as_db_error().is_some() && error.code() != Some(&SqlState::QUERY_CANCELED) => None,
        Err(error) => return Err(explain(&error, doing())),
    };
    client.batch_execute("ROLLBACK TO uncertain; RELEASE uncertain").map_err(|error| explain(&error, doing()))?;
    Ok(rows)
}

/// The rows of one table, those of tables that inherit from it left out.
pub fn rows_of(client: &mut Client, name: &str) -> Result<u64> {
    let row = client.query_one(&format!("SELECT pg_catalog.count(*) FROM ONLY {name}"), &[]);
    let rows: i64 = row.map_err(|error| explain(&error, format!("counting the rows of {name}")))?.get(0);
    Ok(rows.unsigned_abs())
}

/// Whether large objects are there that the role may not read: then `pg_dump` would fail for them.
pub fn unreadable_large_objects(client: &mut Client) -> Result<u64> {
    let row = client.query_one(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata o
         WHERE NOT pg_catalog.pg_has_role(o.lomowner, 'USAGE')
           AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
           AND pg_catalog.current_setting('lo_compat_privileges') = 'off'
           AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.lomacl) a
                           WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))",
        &[],
    );
    Ok(row.map_err(|error| explain(&error, "looking at the large objects"))?.get::<_, i64>(0).unsigned_abs())
}
