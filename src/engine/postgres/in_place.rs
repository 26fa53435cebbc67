//! A restore into the old database itself, for where it can't be replaced: one single transaction empties it, loads the dump, counts, and commits only if
//! every table has the rows that it should have. Whatever fails, the old content is there.
//!
//! `pg_restore --clean` is not enough: it leaves tables that are newer than the dump, or fails on their foreign keys.

use super::fill::{Around, Clients, Filling, remedy};
use super::names::quote_literal;
use super::source::{Plan, PostgresSource};
use super::{Format, explain};
use crate::engine::{Keep, Manifest, Published};
use crate::error::Result;
use postgres::Client;
use std::path::Path;

/// What is restored where.
pub struct InPlace<'a> {
    /// The database.
    pub database: &'a str,
    /// The programs, connected to its server.
    pub clients: &'a Clients<'a>,
    /// The dump's format.
    pub format: Format,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub made_by: u32,
    /// `pg_restore`'s own options.
    pub options: Vec<String>,
    /// What must be inside at the end.
    pub expected: Option<&'a Manifest>,
    /// The database with its old content, as a source.
    pub old: &'a Plan,
}

impl InPlace<'_> {
    /// Keeps the old content, then does it.
    pub fn publish(&self, dump: &Path, keep: Keep<'_>) -> Result<Published> {
        let mut client = self.clients.reached.reconnect(self.database, "dbbackup")?;
        let before = empty(&mut client)?;
        let (hold, mut keep) = match keep {
            Keep::Backup(keep) => (locks(&mut client)?, Some(keep)),
            Keep::Nothing => (String::new(), None),
            Keep::Aside => return Err(crate::error::Error::failed("a database that is restored in place can't be set aside")),
        };
        // Between this and the end nobody writes: what is not saved can't be lost.
        let mut held = || match &mut keep {
            Some(keep) => keep(&mut PostgresSource::open(self.old)?),
            None => Ok(()),
        };
        // Subscriptions stay as they are: one that has a slot can't be dropped in a transaction.
        let options = self.options.iter().cloned().chain(["--no-subscriptions".to_owned()]).collect();
        let filling =
            Filling { database: self.database, format: self.format, made_by: self.made_by, jobs: 1, options, part: false };
        let after = self.counts();
        let around = Around { hold: &hold, held: &mut held, before: &before, after: &after };
        self.clients.in_one_transaction(&filling, dump, around).map_err(|failed| {
            let hint = remedy(&failed.error);
            if failed.surely {
                let hint = hint.unwrap_or("nothing was changed: the transaction was rolled back");
                failed.error.context(format!("restoring into `{}`; its old content is there as before", self.database)).hint(hint)
            } else {
                let text = format!("restoring into `{}`; the connection was lost while it was committed", self.database);
                failed.error.context(text).hint("look whether the old content or the new is there: both are whole")
            }
        })?;
        // It is done: nothing that comes after it makes it a failure.
        let warnings = self.clients.analyse(self.database).unwrap_or_else(|error| vec![error.message()]);
        Ok(Published { how: "emptied and filled in one transaction".to_owned(), warnings, ..Published::default() })
    }

    /// Statements that fail where a table has other rows than it should have.
    fn counts(&self) -> String {
        let tables = self.expected.map(|manifest| manifest.tables.as_slice()).unwrap_or_default();
        let mut text = String::from("SET search_path = '';\n");
        for table in tables.iter().filter(|table| table.compare) {
            let wrong = quote_literal(&format!("{} has not the {} rows that it should have but ", table.name, table.rows));
            // A cast's error carries a text, a division by zero's would not. It depends on the count, or it would be made before anything is counted.
            text.push_str(&format!(
                "SELECT CASE WHEN pg_catalog.count(*) = {} THEN 0 ELSE CAST({wrong} || pg_catalog.count(*) AS integer) END FROM ONLY {};\n",
                table.rows, table.name
            ));
        }
        text
    }
}

/// Lets others read, as the backup does, but not write.
fn locks(client: &mut Client) -> Result<String> {
    let query = "SELECT pg_catalog.format('LOCK TABLE ONLY %I.%I IN EXCLUSIVE MODE;', n.nspname, c.relname)
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                   AND pg_catalog.has_table_privilege(c.oid, 'DELETE') ORDER BY c.oid";
    let rows = client.query(query, &[]).map_err(|error| explain(&error, "listing the tables"))?;
    Ok(rows.iter().map(|row| format!("{}\n", row.get::<_, String>(0))).collect())
}

macro_rules! relations {
    ($kinds:literal) => {
        concat!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN (",
            $kinds,
            ") AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
             ORDER BY c.oid"
        )
    };
}

/// The statements that take away everything that a user made: what is in no schema first, then the schemas.
fn empty(client: &mut Client) -> Result<String> {
    let mut script = String::from("SET client_min_messages = error;\n");
    for (what, query) in OBJECTS {
        let rows = client.query(*query, &[]).map_err(|error| explain(&error, "listing what is in the database"))?;
        for row in rows {
            script.push_str(&format!("DROP {what} IF EXISTS {} CASCADE;\n", row.get::<_, String>(0)));
        }
    }
    let query = format!("{KINDS}{DEFAULT_PRIVILEGES}");
    for row in client.query(&query, &[]).map_err(|error| explain(&error, "listing the default privileges"))? {
        script.push_str(&format!("{};\n", row.get::<_, String>(0)));
    }
    // As it is in `template0`: a dump holds only what was changed in it.
    if super::facts::version(client)?.major < 15 {
        script.push_str("CREATE SCHEMA public;\nGRANT CREATE ON SCHEMA public TO PUBLIC;\n");
    } else {
        script.push_str("CREATE SCHEMA public AUTHORIZATION pg_database_owner;\n");
    }
    script.push_str("COMMENT ON SCHEMA public IS 'standard public schema';\nGRANT USAGE ON SCHEMA public TO PUBLIC;\n");
    script.push_str("SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;\n");
    Ok(script)
}

/// What `DROP` calls it, and the quoted names. Tables go before extensions: PostgreSQL can't drop an index of an operator class with options once the functions
/// are gone that know them.
const OBJECTS: &[(&str, &str)] = &[
    ("EVENT TRIGGER", "SELECT pg_catalog.quote_ident(evtname) FROM pg_catalog.pg_event_trigger"),
    ("PUBLICATION", "SELECT pg_catalog.quote_ident(pubname) FROM pg_catalog.pg_publication"),
    ("MATERIALIZED VIEW", relations!("'m'")),
    ("TABLE", relations!("'r', 'p'")),
    (
        "TRANSFORM",
        "SELECT pg_catalog.format('FOR %s LANGUAGE %I', pg_catalog.format_type(t.trftype, NULL), l.lanname)
         FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang
         WHERE t.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                              WHERE d.classid = t.tableoid AND d.objid = t.oid AND d.deptype IN ('e', 'i'))",
    ),
    (
        "CAST",
        "SELECT pg_catalog.format('(%s AS %s)', pg_catalog.format_type(c.castsource, NULL), pg_catalog.format_type(c.casttarget, NULL))
         FROM pg_catalog.pg_cast c
         WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                              WHERE d.classid = c.tableoid AND d.objid = c.oid AND d.deptype IN ('e', 'i'))",
    ),
    ("EXTENSION", "SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'"),
    (
        "SCHEMA",
        "SELECT pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'",
    ),
    ("SERVER", "SELECT pg_catalog.quote_ident(srvname) FROM pg_catalog.pg_foreign_server"),
    ("FOREIGN DATA WRAPPER", "SELECT pg_catalog.quote_ident(fdwname) FROM pg_catalog.pg_foreign_data_wrapper"),
    ("LANGUAGE", "SELECT pg_catalog.quote_ident(lanname) FROM pg_catalog.pg_language WHERE oid >= 16384"),
    ("ACCESS METHOD", "SELECT pg_catalog.quote_ident(amname) FROM pg_catalog.pg_am WHERE oid >= 16384"),
];

/// Default privileges that are no schema's, back to what they are where nobody has set any.
const DEFAULT_PRIVILEGES: &str = "
SELECT DISTINCT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON %s FROM %s', pg_catalog.pg_get_userbyid(d.defaclrole), k.kind,
                         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END), 1
FROM pg_catalog.pg_default_acl d JOIN kinds k USING (defaclobjtype), pg_catalog.aclexplode(d.defaclacl) a WHERE d.defaclnamespace = 0
UNION ALL
SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %1$I GRANT ALL ON %2$s TO %1$I', pg_catalog.pg_get_userbyid(d.defaclrole), k.kind)
       || CASE WHEN d.defaclobjtype IN ('f', 'T') THEN ', PUBLIC' ELSE '' END, 2
FROM pg_catalog.pg_default_acl d JOIN kinds k USING (defaclobjtype) WHERE d.defaclnamespace = 0
ORDER BY 2, 1";

/// What `ALTER DEFAULT PRIVILEGES` calls them.
const KINDS: &str = "
WITH kinds(defaclobjtype, kind) AS (VALUES ('r'::\"char\", 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS'))";
