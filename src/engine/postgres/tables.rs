//! Which tables a dump will hold, locked so that they stay, and how many rows each has.
//!
//! The choice must be `pg_dump`'s own: its patterns, its rules for partitions, extensions and
//! unlogged tables.

use super::explain;
use super::names::{self, Pattern};
use crate::engine::Table;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use postgres::Client;
use postgres::types::Oid;
use std::collections::HashMap;
use std::io::BufRead;
use std::time::Duration;

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
        let option = |name: &str, patterns: &[String]| {
            patterns
                .iter()
                .map(|text| format!("--{name}={text}"))
                .collect::<Vec<_>>()
        };
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
    /// It belongs to an extension.
    pub of_extension: bool,
    /// It is not empty on the disk. Looked at only where it belongs to an extension.
    pub has_storage: bool,
    without_data: bool,
    /// The column that is read most quickly, quoted; none where there is no column.
    narrow_column: Option<String>,
}

impl Candidate {
    /// `pg_dump` locks tables and partitioned tables, so these are what must not change.
    fn is_locked(&self) -> bool {
        matches!(self.relkind, 'r' | 'p') && !self.of_extension
    }

    /// What a partitioned table holds is in its partitions.
    pub fn is_partitioned(&self) -> bool {
        self.relkind == 'p'
    }

    /// Its rows are made anew by a restore.
    pub fn is_materialized_view(&self) -> bool {
        self.relkind == 'm'
    }

    /// By choice, or because an unlogged table has no data on a standby, and `pg_dump` takes none
    /// there.
    pub fn data_is_left_out(&self, on_standby: bool) -> bool {
        self.without_data || self.unlogged && on_standby
    }
}

/// The tables that a dump will have something of; asked once before the snapshot is taken, to lock
/// them, and once in it.
pub fn list(
    client: &mut impl postgres::GenericClient,
    selection: &Selection,
) -> Result<Vec<Candidate>> {
    let doing = "listing the tables";
    // Patterns without a schema mean what is visible by the role's own search path, as in pg_dump;
    // everything else is done without one.
    client
        .batch_execute("RESET search_path")
        .map_err(|error| explain(&error, doing))?;
    let excluded = matching(client, &selection.exclude_table)?;
    let without_data = matching(client, &selection.exclude_table_data)?;
    let schemas: Vec<Pattern> = selection
        .schemas
        .iter()
        .map(|text| names::schema_pattern(text))
        .collect::<Result<_>>()?;
    client
        .batch_execute("SET search_path = ''")
        .map_err(|error| explain(&error, doing))?;
    let rows = client
        .query(LIST, &[])
        .map_err(|error| explain(&error, doing))?;
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
            has_storage: row.get("has_storage"),
            narrow_column: row.get("narrow_column"),
            without_data: without_data.contains(&oid),
        });
    }
    if !schemas.is_empty() {
        let chosen = of_schemas(client, &schemas)?;
        found.retain(|table| chosen.contains(&table.oid));
    }
    Ok(found)
}

/// The foreign keys of what is dumped that a restore of the dump alone can't have: the rows that
/// they point to are left out.
pub fn broken_keys(
    client: &mut impl postgres::GenericClient,
    tables: &[Candidate],
) -> Result<Vec<String>> {
    let of = |chosen: &dyn Fn(&Candidate) -> bool| {
        tables
            .iter()
            .filter(|table| chosen(table))
            .map(|table| table.oid)
            .collect()
    };
    let (all, with_data): (Vec<Oid>, Vec<Oid>) = (of(&|_| true), of(&|table| !table.without_data));
    let rows = client
        .query(BROKEN_KEYS, &[&all, &with_data])
        .map_err(|error| explain(&error, "looking for foreign keys"))?;
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

/// How columns `a` of types `t` are put into order, so that the one comes first that is copied most
/// quickly: one of a fixed length and of a type of the system's own, which no code but the server's
/// writes out.
macro_rules! narrowest_first {
    () => {
        "ORDER BY t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace, t.typtype <> 'b', \
         a.attlen < 0, a.attlen, a.attnum"
    };
}

/// The same, for scripts.
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

/// The tables that any of the patterns means. The role's search path is in force here, so
/// everything is named with its schema: an operator of a user's that stands before the system's own
/// would run with the rights of the backup's role.
fn matching(client: &mut impl postgres::GenericClient, texts: &[String]) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for text in texts {
        let pattern = names::pattern(text)?;
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid \
             OPERATOR(pg_catalog.=) c.relnamespace
             WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,v,f,S}'::pg_catalog.\"char\"[])
               AND c.relname OPERATOR(pg_catalog.~) $1::pg_catalog.text COLLATE pg_catalog.default
               AND CASE WHEN $2::pg_catalog.text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
                        ELSE n.nspname OPERATOR(pg_catalog.~) $2::pg_catalog.text COLLATE \
             pg_catalog.default END",
            &[&pattern.name, &pattern.schema],
        );
        found.extend(
            rows.map_err(|error| explain(&error, "reading a pattern of tables"))?
                .iter()
                .map(|row| row.get::<_, Oid>(0)),
        );
    }
    Ok(found)
}

/// A pattern of the configuration that means nothing of what is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedPattern {
    /// `schemas`, `exclude_table`, `exclude_table_data`.
    pub key: &'static str,
    /// As it stands there.
    pub pattern: String,
}

impl UnmatchedPattern {
    /// It chooses what is saved, so that what it was to mean is not.
    pub fn leaves_out(&self) -> bool {
        self.key == "schemas"
    }

    /// What to do about it. Names that are not quoted are folded, which is what is mostly wrong.
    pub fn hint(&self) -> String {
        let pattern = &self.pattern;
        if pattern.chars().any(char::is_uppercase) && !pattern.contains('"') {
            let (folded, quoted) = (pattern.to_lowercase(), quote_capitals(pattern));
            return format!(
                "PostgreSQL takes it for `{folded}`; with capitals: {} = ['{quoted}']",
                self.key
            );
        }
        "correct it, or take it out".to_owned()
    }
}

impl std::fmt::Display for UnmatchedPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.leaves_out() { "schema" } else { "table" };
        write!(f, "`{}` of `{}` matches no {kind}", self.pattern, self.key)
    }
}

/// The pattern with its words in quotes where they have capitals; within quotes `*` and `?` would
/// mean themselves.
fn quote_capitals(pattern: &str) -> String {
    let words = pattern.split_inclusive(['*', '?', '.']);
    let quote = |part: &str| {
        let (word, sign) = part.split_at(part.trim_end_matches(['*', '?', '.']).len());
        if word.chars().any(char::is_uppercase) {
            format!("\"{word}\"{sign}")
        } else {
            part.to_owned()
        }
    };
    words.map(quote).collect()
}

/// The patterns that mean nothing of this database.
pub fn unmatched_patterns(
    client: &mut Client,
    selection: &Selection,
) -> Result<Vec<UnmatchedPattern>> {
    let mut unmatched = Vec::new();
    // As in `list`, what has no schema is looked for where the role looks.
    client
        .batch_execute("RESET search_path")
        .map_err(|error| explain(&error, "reading patterns"))?;
    let of_tables = [
        ("exclude_table", &selection.exclude_table),
        ("exclude_table_data", &selection.exclude_table_data),
    ];
    for (key, patterns) in of_tables {
        for pattern in patterns {
            if matching(client, std::slice::from_ref(pattern))?.is_empty() {
                unmatched.push(UnmatchedPattern {
                    key,
                    pattern: pattern.clone(),
                });
            }
        }
    }
    client
        .batch_execute("SET search_path = ''")
        .map_err(|error| explain(&error, "reading patterns"))?;
    for pattern in &selection.schemas {
        if !has_schema(client, &names::schema_pattern(pattern)?)? {
            unmatched.push(UnmatchedPattern {
                key: "schemas",
                pattern: pattern.clone(),
            });
        }
    }
    Ok(unmatched)
}

fn has_schema(client: &mut Client, pattern: &Pattern) -> Result<bool> {
    let row = client.query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname \
         OPERATOR(pg_catalog.~) $1::text COLLATE pg_catalog.default)",
        &[&pattern.name],
    );
    Ok(row
        .map_err(|error| explain(&error, "reading a pattern of schemas"))?
        .get(0))
}

/// The tables in the schemas that any of the patterns means.
fn of_schemas(client: &mut impl postgres::GenericClient, patterns: &[Pattern]) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = \
             c.relnamespace
             WHERE n.nspname OPERATOR(pg_catalog.~) $1::text COLLATE pg_catalog.default",
            &[&pattern.name],
        );
        found.extend(
            rows.map_err(|error| explain(&error, "reading a pattern of schemas"))?
                .iter()
                .map(|row| row.get::<_, Oid>(0)),
        );
    }
    Ok(found)
}

/// What became of an attempt to lock tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Each of them is held, under its name.
    Held,
    /// A name meant another relation by the time that it was locked: the list is out of date.
    Outdated,
}

/// Locks what `pg_dump` will lock, as weakly as it does: nobody is kept from reading or writing,
/// only from changing the tables themselves.
///
/// A table is locked by its name, so afterwards it is looked whether what is held is what was
/// listed: somebody may have put a view of that name in its place meanwhile.
pub fn lock(
    client: &mut Client,
    tables: &[Candidate],
) -> std::result::Result<Locking, postgres::Error> {
    let wanted: Vec<&Candidate> = tables.iter().filter(|table| table.is_locked()).collect();
    for some in wanted.chunks(100) {
        let list = some
            .iter()
            .map(|table| format!("ONLY {}", table.name))
            .collect::<Vec<_>>()
            .join(", ");
        client.batch_execute(&format!("LOCK TABLE {list} IN ACCESS SHARE MODE"))?;
    }
    if wanted.is_empty() {
        return Ok(Locking::Held);
    }
    let held: HashMap<Oid, String> = client
        .query(HELD, &[])?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let as_listed = |table: &&Candidate| held.get(&table.oid) == Some(&table.name);
    Ok(if wanted.iter().all(as_listed) {
        Locking::Held
    } else {
        Locking::Outdated
    })
}

/// The relations of this database that this session has a lock on.
const HELD: &str = "
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_database d ON d.oid = \
                    l.database
WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND d.datname \
                    = pg_catalog.current_database()
  AND c.relkind IN ('r', 'p')";

/// The tables of which policies would hide rows from this role.
pub fn hidden_by_policies(client: &mut Client, tables: &[Candidate]) -> Result<Vec<String>> {
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
        .map_err(|error| explain(&error, "looking at the tables' policies"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How often an outdated list is made anew.
const TRIES: usize = 5;

/// Counts what a database holds now, table by table, in a transaction of its own; the tables are
/// locked as a backup locks them, and waited for no longer than `lock_timeout`.
pub fn count_now(
    client: &mut Client,
    selection: &Selection,
    lock_timeout: Option<Duration>,
) -> Result<Vec<Table>> {
    let doing = "counting what is in the database";
    let standby = super::facts::on_standby(client)?;
    let timeout = lock_timeout.map_or(0, |timeout| timeout.as_millis());
    for _ in 0..TRIES {
        let begin = format!("BEGIN READ ONLY; SET LOCAL lock_timeout = {timeout}");
        client
            .batch_execute(&begin)
            .map_err(|error| explain(&error, doing))?;
        let found = list(client, selection)?;
        if lock(client, &found).map_err(|error| explain(&error, "locking the tables"))?
            == Locking::Held
        {
            let counted = count_locked(client, &found, standby)?;
            client
                .batch_execute("ROLLBACK")
                .map_err(|error| explain(&error, doing))?;
            return Ok(counted);
        }
        client
            .batch_execute("ROLLBACK")
            .map_err(|error| explain(&error, doing))?;
    }
    Err(
        Error::failed("the tables were renamed again and again while they were to be counted")
            .with_hint("try again later"),
    )
}

/// The rows of each table that is compared; nothing else is read.
fn count_locked(client: &mut Client, tables: &[Candidate], on_standby: bool) -> Result<Vec<Table>> {
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

/// The rows of one table, by copying its narrowest column: that is not planned, runs nothing of the
/// owner's, and refuses views. Of five million rows it takes 0.7 s, where a parallel `count(*)`
/// takes 0.25.
fn count_rows(client: &mut Client, table: &Candidate) -> Result<u64> {
    let column = table
        .narrow_column
        .as_ref()
        .map_or(String::new(), |column| format!(" ({column})"));
    let doing = || format!("counting the rows of {}", table.name);
    let copied = client.copy_out(&format!("COPY {}{column} TO STDOUT", table.name));
    let mut copied = copied.map_err(|error| explain(&error, doing()))?;
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

/// Whether large objects are there that the role may not read: then `pg_dump` would fail for them.
pub fn unreadable_large_objects(client: &mut Client) -> Result<u64> {
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
        .map_err(|error| explain(&error, "looking at the large objects"))?
        .get::<_, i64>(0)
        .unsigned_abs())
}
