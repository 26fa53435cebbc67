//! Restores into the old database itself, for where it can't be replaced. One transaction empties
//! it, loads the dump, counts, and commits only if every table has the expected rows. Whatever
//! fails, the old content stays.
//!
//! `pg_restore --clean` is not enough: it leaves tables that are newer than the dump, or fails on
//! their foreign keys.

use super::fill::{ClientPrograms, FillRequest, TransactionSteps, find_remedy};
use super::source::{PostgresPlan, PostgresSource};
use super::{PgFormat, explain_error};
use crate::engine::{Keep, Manifest, Published};
use crate::error::{Error, Result};
use postgres::Client;
use postgres::types::Oid;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A restore into an existing database.
pub struct InPlaceRestore<'a> {
    /// The database.
    pub database: &'a str,
    /// The programs, connected to its server.
    pub clients: &'a ClientPrograms<'a>,
    /// The dump's format.
    pub format: PgFormat,
    /// The major version of the `pg_dump` that made it; 0 where unknown.
    pub pg_dump_major: u32,
    /// Options of `pg_restore`.
    pub options: Vec<String>,
    /// The rows that must be there at the end.
    pub expected: Option<&'a Manifest>,
    /// The database with its old content, as a source.
    pub old: &'a PostgresPlan,
}

impl InPlaceRestore<'_> {
    /// Keeps the old content, then replaces it.
    pub fn publish(&self, dump: &Path, keep: Keep<'_>) -> Result<Published> {
        let mut client = self.clients.reached.reconnect(self.database, "dbbackup")?;
        let (kept, mut keep) = match keep {
            Keep::Backup(keep) => (Some(ContentBaseline::record(&mut client)?), Some(keep)),
            Keep::Nothing => (None, None),
            Keep::Aside => {
                return Err(Error::failed(
                    "a database that is restored in place can't be set aside",
                ));
            }
        };
        let emptying_script = emptying_script(&mut client, kept.as_ref())?;
        let lock_script = kept.as_ref().map_or("", |kept| kept.lock_script.as_str());
        // From here to the end nobody can write to the old content, so nothing is lost that is not
        // saved.
        let mut after_lock = || match &mut keep {
            Some(keep) => keep(&mut PostgresSource::open(self.old)?),
            None => Ok(()),
        };
        // What was created after the baseline is in no backup.
        let mut after_emptying = || {
            kept.as_ref()
                .map_or(Ok(()), |kept| kept.refuse_newer(&mut client))
        };
        // Subscriptions stay as they are: one that has a slot can't be dropped in a transaction.
        let options = self
            .options
            .iter()
            .cloned()
            .chain(["--no-subscriptions".to_owned()])
            .collect();
        let filling = FillRequest {
            database: self.database,
            format: self.format,
            pg_dump_major: self.pg_dump_major,
            jobs: 1,
            options,
            part: false,
        };
        let steps = TransactionSteps {
            lock_script,
            after_lock: &mut after_lock,
            emptying_script: &emptying_script,
            after_emptying: &mut after_emptying,
            expected: self.expected,
        };
        self.clients
            .restore_in_transaction(&filling, dump, steps)
            .map_err(|failed| {
                let hint = find_remedy(&failed.error);
                if failed.rolled_back {
                    let hint =
                        hint.unwrap_or("nothing was changed: the transaction was rolled back");
                    failed
                        .error
                        .context(format!(
                            "restoring into `{}`; its old content is there as before",
                            self.database
                        ))
                        .with_hint(hint)
                } else {
                    let text = format!(
                        "restoring into `{}`; the connection was lost while it was committed",
                        self.database
                    );
                    failed.error.context(text).with_hint(
                        "look whether the old content or the new is there: both are whole",
                    )
                }
            })?;
        // The content is committed, so nothing after this makes it a failure.
        let warnings = self
            .clients
            .analyse(self.database)
            .unwrap_or_else(|error| vec![error.message()]);
        Ok(Published {
            how: "emptied and filled in one transaction".to_owned(),
            warnings,
            ..Published::default()
        })
    }
}

/// What a database holds before its safety backup begins, so that nothing is dropped that is not in
/// the backup.
struct ContentBaseline {
    /// The statements that keep others from writing; they can still read, as the backup does.
    lock_script: String,
    /// Every object in a schema, with its state.
    objects: HashSet<ObjectState>,
    /// The hashes of the large objects. Nothing keeps others from writing to those: a lock that did
    /// would keep the backup from reading them, as PostgreSQL opens them for both.
    large_objects: BTreeMap<Oid, [u8; 32]>,
}

impl ContentBaseline {
    fn record(client: &mut Client) -> Result<ContentBaseline> {
        // The objects come first. A table that is created after them may be locked or not, but it
        // is found to be newer.
        let objects = objects_in_schemas(client)?;
        let doing = "listing the tables";
        let rows = client
            .query(TABLES_TO_HOLD, &[])
            .map_err(|error| explain_error(&error, doing))?;
        let mut lock_script = String::new();
        for row in rows {
            let (name, may_lock): (String, bool) = (row.get(0), row.get(1));
            if !may_lock {
                return Err(Error::failed(format!(
                    "{name} can't be kept from being written to while it is saved: this role has \
                     no right to lock it"
                ))
                .with_hint(
                    "restore as the owner of all tables or as a superuser, or without the safety \
                     backup: `--no-safety-backup`",
                ));
            }
            lock_script.push_str(&format!("LOCK TABLE ONLY {name} IN EXCLUSIVE MODE;\n"));
        }
        let large_objects = hash_large_objects(client)?;
        Ok(ContentBaseline {
            lock_script,
            objects,
            large_objects,
        })
    }

    /// Fails if something is there now that was not there before. It is called after everything was
    /// dropped and before that is committed: the schemas are locked then, and another session still
    /// sees what was in them.
    fn refuse_newer(&self, client: &mut Client) -> Result<()> {
        let now = objects_in_schemas(client)?;
        let newer: Vec<&ObjectState> = now.difference(&self.objects).collect();
        if !newer.is_empty() {
            let (catalogs, numbers): (Vec<Oid>, Vec<Oid>) = newer
                .iter()
                .map(|(catalog, number, _)| (*catalog, *number))
                .unzip();
            let described = client.query(DESCRIBE, &[&catalogs, &numbers]);
            let described = described
                .map_err(|error| explain_error(&error, "describing what is new in the database"))?;
            let names: Vec<String> = described.iter().filter_map(|row| row.get(0)).collect();
            return Err(newer_error(&names.join(", ")));
        }
        if self.large_objects.is_empty() {
            return Ok(());
        }
        let now = hash_large_objects(client)?;
        let has_changed =
            |(number, hash): &(&Oid, &[u8; 32])| now.get(number).is_some_and(|now| now != *hash);
        match self.large_objects.iter().find(has_changed) {
            Some((number, _)) => Err(newer_error(&format!("the large object {number}"))),
            None => Ok(()),
        }
    }
}

fn newer_error(what: &str) -> Error {
    Error::failed(format!(
        "while the safety backup was made somebody else changed what is in the database: {what}"
    ))
    .with_hint("stop what uses the database, then restore again; nothing was changed")
}

/// An object in one state, by its catalog and its number there. Whoever changes it makes a new
/// version of its row.
type ObjectState = (Oid, Oid, String);

/// Lists the objects in schemas, with their rules, policies, triggers and comments. The objects of
/// an extension come and go with the extension.
fn objects_in_schemas(client: &mut Client) -> Result<HashSet<ObjectState>> {
    let rows = client
        .query(OBJECT_STATES, &[])
        .map_err(|error| explain_error(&error, "listing what is in the schemas"))?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect())
}

/// Statistics and freezing rewrite rows in place and keep their `xmin`.
const OBJECT_STATES: &str = "
WITH mine (catalog, number) AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_namespace n ON n.oid \
                             = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.deptype = 'n'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
SELECT catalog, number, '' FROM mine
UNION ALL SELECT c.tableoid, c.oid, c.xmin::text FROM pg_catalog.pg_class c JOIN mine ON \
                             mine.catalog = c.tableoid AND mine.number = c.oid
UNION ALL SELECT p.tableoid, p.oid, p.xmin::text FROM pg_catalog.pg_proc p JOIN mine ON \
                             mine.catalog = p.tableoid AND mine.number = p.oid
UNION ALL SELECT t.tableoid, t.oid, t.xmin::text FROM pg_catalog.pg_type t JOIN mine ON \
                             mine.catalog = t.tableoid AND mine.number = t.oid
UNION ALL SELECT t.tableoid, t.oid, 'value ' || e.oid || ' ' || e.xmin FROM pg_catalog.pg_enum e \
                             JOIN pg_catalog.pg_type t ON t.oid = e.enumtypid
          JOIN mine ON mine.catalog = t.tableoid AND mine.number = t.oid
UNION ALL SELECT r.tableoid, r.oid, r.xmin::text FROM pg_catalog.pg_rewrite r JOIN mine ON \
                             mine.number = r.ev_class
UNION ALL SELECT r.tableoid, r.oid, r.xmin::text FROM pg_catalog.pg_policy r JOIN mine ON \
                             mine.number = r.polrelid
UNION ALL SELECT r.tableoid, r.oid, r.xmin::text FROM pg_catalog.pg_trigger r JOIN mine ON \
                             mine.number = r.tgrelid
UNION ALL SELECT d.classoid, d.objoid, 'comment ' || d.objsubid || ' ' || d.xmin FROM \
                             pg_catalog.pg_description d
          JOIN mine ON mine.catalog = d.classoid AND mine.number = d.objoid";

fn list_large_objects(client: &mut Client) -> Result<Vec<Oid>> {
    let rows = client.query(
        "SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY 1",
        &[],
    );
    Ok(rows
        .map_err(|error| explain_error(&error, "listing the large objects"))?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// How much of a large object is read at once.
const PIECE: i32 = 1 << 20;

fn hash_large_objects(client: &mut Client) -> Result<BTreeMap<Oid, [u8; 32]>> {
    let mut hashes = BTreeMap::new();
    for number in list_large_objects(client)? {
        let (mut hash, mut offset) = (Sha256::new(), 0i64);
        loop {
            let row = client.query_one(
                "SELECT pg_catalog.lo_get($1, $2, $3)",
                &[&number, &offset, &PIECE],
            );
            let piece: Vec<u8> = row
                .map_err(|error| {
                    explain_error(&error, format!("reading the large object {number}"))
                })?
                .get(0);
            if piece.is_empty() {
                break;
            }
            hash.update(&piece);
            offset += i64::from(PIECE);
        }
        hashes.insert(number, hash.finalize().into());
    }
    Ok(hashes)
}

const DESCRIBE: &str = "
SELECT DISTINCT pg_catalog.pg_describe_object(o.catalog, o.number, 0)
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.oid[])) \
                        AS o (catalog, number) ORDER BY 1";

/// The tables, and whether this role may lock them.
const TABLES_TO_HOLD: &str = "
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.has_table_privilege(c.oid, \
                              'UPDATE, DELETE, TRUNCATE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER \
                              BY c.oid";

macro_rules! relations {
    ($kinds:literal) => {
        concat!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN (",
            $kinds,
            ") AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND \
             d.objid = c.oid AND d.deptype = 'e')
             ORDER BY c.oid"
        )
    };
}

/// The statements that drop everything that a user made: first what is in no schema, then the
/// schemas. If a baseline is kept, only its large objects are dropped.
fn emptying_script(client: &mut Client, kept: Option<&ContentBaseline>) -> Result<String> {
    let mut script = String::from("SET client_min_messages = error;\n");
    for (what, query) in OBJECTS {
        let rows = client
            .query(*query, &[])
            .map_err(|error| explain_error(&error, "listing what is in the database"))?;
        for row in rows {
            script.push_str(&format!(
                "DROP {what} IF EXISTS {} CASCADE;\n",
                row.get::<_, String>(0)
            ));
        }
    }
    let query = format!("{KINDS}{DEFAULT_PRIVILEGES}");
    for row in client
        .query(&query, &[])
        .map_err(|error| explain_error(&error, "listing the default privileges"))?
    {
        script.push_str(&format!("{};\n", row.get::<_, String>(0)));
    }
    // As in `template0`: a dump holds only what was changed in that schema.
    if super::facts::read_server_version(client)?.major < 15 {
        script.push_str("CREATE SCHEMA public;\nGRANT CREATE ON SCHEMA public TO PUBLIC;\n");
    } else {
        script.push_str("CREATE SCHEMA public AUTHORIZATION pg_database_owner;\n");
    }
    script.push_str(
        "COMMENT ON SCHEMA public IS 'standard public schema';\nGRANT USAGE ON SCHEMA \
                     public TO PUBLIC;\n",
    );
    let large_objects = match kept {
        Some(kept) => kept.large_objects.keys().copied().collect(),
        None => list_large_objects(client)?,
    };
    for number in large_objects {
        script.push_str(&format!("SELECT pg_catalog.lo_unlink({number});\n"));
    }
    Ok(script)
}

/// The keyword of `DROP`, and the query for the quoted names. Tables come before extensions:
/// PostgreSQL can't drop an index with options of an operator class once the functions are gone
/// that know them.
const OBJECTS: &[(&str, &str)] = &[
    (
        "EVENT TRIGGER",
        "SELECT pg_catalog.quote_ident(evtname) FROM pg_catalog.pg_event_trigger",
    ),
    (
        "PUBLICATION",
        "SELECT pg_catalog.quote_ident(pubname) FROM pg_catalog.pg_publication",
    ),
    ("MATERIALIZED VIEW", relations!("'m'")),
    ("TABLE", relations!("'r', 'p'")),
    (
        "TRANSFORM",
        "SELECT pg_catalog.format('FOR %s LANGUAGE %I', pg_catalog.format_type(t.trftype, NULL), \
         l.lanname)
         FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang
         WHERE t.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                              WHERE d.classid = t.tableoid AND d.objid = t.oid AND \
         d.deptype IN ('e', 'i'))",
    ),
    (
        "CAST",
        "SELECT pg_catalog.format('(%s AS %s)', pg_catalog.format_type(c.castsource, NULL), \
         pg_catalog.format_type(c.casttarget, NULL))
         FROM pg_catalog.pg_cast c
         WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                              WHERE d.classid = c.tableoid AND d.objid = c.oid AND \
         d.deptype IN ('e', 'i'))",
    ),
    (
        "EXTENSION",
        "SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension WHERE \
                   extname <> 'plpgsql'",
    ),
    (
        "SCHEMA",
        "SELECT pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE nspname !~ \
         '^pg_' AND nspname <> 'information_schema'",
    ),
    (
        "SERVER",
        "SELECT pg_catalog.quote_ident(srvname) FROM pg_catalog.pg_foreign_server",
    ),
    (
        "FOREIGN DATA WRAPPER",
        "SELECT pg_catalog.quote_ident(fdwname) FROM \
                              pg_catalog.pg_foreign_data_wrapper",
    ),
    (
        "LANGUAGE",
        "SELECT pg_catalog.quote_ident(lanname) FROM pg_catalog.pg_language WHERE oid >= \
                  16384",
    ),
    (
        "ACCESS METHOD",
        "SELECT pg_catalog.quote_ident(amname) FROM pg_catalog.pg_am WHERE oid >= \
                       16384",
    ),
];

/// Resets the default privileges that belong to no schema.
const DEFAULT_PRIVILEGES: &str = "
SELECT DISTINCT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON %s FROM %s', \
                                  pg_catalog.pg_get_userbyid(d.defaclrole), k.kind,
                         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE \
                                  pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) \
                                  END), 1
FROM pg_catalog.pg_default_acl d JOIN kinds k USING (defaclobjtype), \
                                  pg_catalog.aclexplode(d.defaclacl) a WHERE d.defaclnamespace = 0
UNION ALL
SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %1$I GRANT ALL ON %2$s TO %1$I', \
                                  pg_catalog.pg_get_userbyid(d.defaclrole), k.kind)
       || CASE WHEN d.defaclobjtype IN ('f', 'T') THEN ', PUBLIC' ELSE '' END, 2
FROM pg_catalog.pg_default_acl d JOIN kinds k USING (defaclobjtype) WHERE d.defaclnamespace = 0
ORDER BY 2, 1";

/// The keywords of `ALTER DEFAULT PRIVILEGES`.
const KINDS: &str = "
WITH kinds(defaclobjtype, kind) AS (VALUES ('r'::\"char\", 'TABLES'), ('S', 'SEQUENCES'), ('f', \
                     'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS'))";
