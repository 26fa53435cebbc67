//! Whatever SQLite can hold comes back equal: every layout of a file, every kind of table, in both
//! journal modes, through every codec, with and without page streaming.

use crate::moments::PATIENCE;
use crate::support::{World, contents};
use dbbackup::engine::Source;
use dbbackup::engine::sqlite::{Spool, SqliteSource};
use rusqlite::Connection;
use std::path::Path;

/// Everything at once that has its own way of being stored.
const EVERYTHING: &str = r#"
    CREATE TABLE plain(a, b TEXT, c BLOB, d REAL);
    INSERT INTO plain VALUES (1, 'x', x'00ff', 1.5), (NULL, '', zeroblob(20000), -0.0),
    (9223372036854775807, 'Ünïcødé ☃', x'', 1e300);
    CREATE TABLE without(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
    INSERT INTO without VALUES ('b', 1), ('a', 2);
    CREATE TABLE strict_one(i INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT NOT NULL) STRICT;
    INSERT INTO strict_one(t) VALUES ('one'), ('two'), ('three');
    DELETE FROM strict_one WHERE i = 3;
    CREATE TABLE generated(a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2) STORED, c TEXT AS (a ||
    '!') VIRTUAL);
    INSERT INTO generated(a) VALUES (1), (2);
    CREATE TABLE "we ""ird" ("col umn", "ordér"); INSERT INTO "we ""ird" VALUES (1, 2);
    CREATE TABLE "order"(x); INSERT INTO "order" VALUES (1);
    CREATE TABLE "日本語"(名前); INSERT INTO "日本語" VALUES ('テスト');
    CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent(id));
    INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);
    CREATE TABLE audit(what); CREATE TRIGGER log AFTER INSERT ON plain BEGIN INSERT INTO audit
    VALUES (new.b); END;
    CREATE INDEX plain_b ON plain(b) WHERE b <> ''; CREATE INDEX plain_expr ON plain(lower(b));
    CREATE VIEW v AS SELECT * FROM plain;
    CREATE VIRTUAL TABLE docs USING fts5(title, body); INSERT INTO docs VALUES ('hello',
    'world of words'), ('second', 'text');
    CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES (1, 0.0, 1.0), (2,
    5.0, 6.0);
    ANALYZE;
    PRAGMA user_version = 42; PRAGMA application_id = 1234567;
"#;

/// Backs up and restores with the binary: equal, and the live database untouched.
fn comes_back(world: &World, database: &Path, more: &str) {
    let before = contents(database);
    world
        .with_store(&format!("backup {} {more}", database.display()))
        .run()
        .exits(0);
    world.with_store("verify --level restore").run().exits(0);
    let name = database.file_stem().unwrap().to_str().unwrap();
    let restored = world.path("restored.db");
    world
        .dbbackup_with(&[
            "--store",
            "store",
            "restore",
            name,
            "--to",
            restored.to_str().unwrap(),
        ])
        .run()
        .exits(0);
    assert_eq!(contents(&restored), before);
    assert_eq!(contents(database), before);
}

#[test]
fn every_layout_comes_back_equal() {
    for page_size in [512, 4096, 65536] {
        for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
            for auto_vacuum in ["none", "full", "incremental"] {
                let world = World::new();
                let journal = if page_size == 4096 { "wal" } else { "delete" };
                let head = format!(
                    "PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}'; PRAGMA \
                     auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = {journal};"
                );
                let database = world.database("all.db", &(head + EVERYTHING));
                comes_back(&world, &database, "");
            }
        }
    }
}

#[test]
fn every_codec_comes_back_equal() {
    for (number, codec) in [
        "none", "gzip", "gzip:1", "gzip:12", "zstd", "zstd:1", "zstd:19",
    ]
    .iter()
    .enumerate()
    {
        let world = World::new();
        world.config(&format!(
            "[backup]\ncompression = \"{codec}\"\nthreads = {}\n",
            1 + number % 3
        ));
        let database = world.database("all.db", EVERYTHING);
        comes_back(&world, &database, "");
    }
}

#[test]
fn reserved_bytes_come_back() {
    let world = World::new();
    let path = world.path("reserved.db");
    let conn = Connection::open(&path).unwrap();
    let mut reserve: std::ffi::c_int = 32;
    // SAFETY: the connection is open, and the file control reads and writes the one integer that it
    // is given.
    let status = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            conn.handle(),
            std::ptr::null(),
            rusqlite::ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut reserve).cast(),
        )
    };
    assert_eq!(status, 0);
    conn.execute_batch(EVERYTHING).unwrap();
    drop(conn);
    assert_eq!(std::fs::read(&path).unwrap()[20], 32);
    comes_back(&world, &path, "");
    assert_eq!(std::fs::read(world.path("restored.db")).unwrap()[20], 32);
}

#[test]
fn an_empty_database_comes_back_and_is_warned_about() {
    let world = World::new();
    world.file("empty.db", "");
    world
        .with_store("backup empty.db")
        .run()
        .exits(0)
        .says("the database is empty (0 bytes)");
    world.with_store("verify --level restore").run().exits(0);
    world
        .with_store("restore empty --to back.db")
        .run()
        .exits(0);
    assert_eq!(std::fs::metadata(world.path("back.db")).unwrap().len(), 0);
    let schema_only = world.database("schema.db", "CREATE TABLE t(x); DROP TABLE t;");
    world
        .with_store(&format!("backup {}", schema_only.display()))
        .run()
        .exits(0);
    world
        .with_store("restore schema --to back2.db")
        .run()
        .exits(0);
    assert_eq!(contents(&world.path("back2.db")), contents(&schema_only));
}

#[test]
fn past_the_lock_page() {
    // SQLite never uses the page at 1 GiB.
    let world = World::new();
    world.config("[backup]\ncompression = \"zstd:1\"\nverify_after = \"none\"\n");
    let path = world.path("big.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 65536; PRAGMA journal_mode = OFF; PRAGMA synchronous = \
                        OFF; CREATE TABLE t(i INTEGER PRIMARY KEY, b);",
    )
    .unwrap();
    conn.execute_batch("BEGIN").unwrap();
    for number in 0..1100 {
        conn.execute(
            "INSERT INTO t VALUES (?1, zeroblob(1000000) || 'x')",
            [number],
        )
        .unwrap();
    }
    conn.execute_batch("COMMIT; PRAGMA journal_mode = WAL;")
        .unwrap();
    assert!(path.metadata().unwrap().len() > (1 << 30) + (20 << 20));
    drop(conn);
    world.with_store("backup big.db").run().exits(0);
    world.with_store("restore big --to back.db").run().exits(0);
    let (there, back) = (
        std::fs::read(&path).unwrap(),
        std::fs::read(world.path("back.db")).unwrap(),
    );
    assert!(there[20..] == back[20..], "the files differ");
}

#[test]
fn what_only_the_application_knows_is_no_damage() {
    let world = World::new();
    let path = world.path("own.db");
    let conn = Connection::open(&path).unwrap();
    conn.create_collation("HUMANE", |a, b| a.len().cmp(&b.len()).then(a.cmp(b)))
        .unwrap();
    conn.create_scalar_function(
        "twice",
        1,
        rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC,
        |ctx| Ok(ctx.get::<i64>(0)? * 2),
    )
    .unwrap();
    conn.execute_batch(
        "CREATE TABLE t(name TEXT COLLATE HUMANE PRIMARY KEY) WITHOUT ROWID; CREATE INDEX by_name \
         ON t(name);
         INSERT INTO t VALUES ('ccc'), ('a'), ('bb');
         CREATE TABLE f(x, y AS (twice(x)) STORED); INSERT INTO f(x) VALUES (1), (2); CREATE INDEX \
         fx ON f(twice(x));",
    )
    .unwrap();
    drop(conn);
    world.with_store("backup own.db").run().exits(0);
    world
        .with_store("verify --level content")
        .run()
        .exits(0)
        .prints("only the application can compare");
    world.with_store("verify --level restore").run().exits(0);
    let json = world.with_store("show own --json").run().exits(0).json();
    assert_eq!(json["backup"]["manifest"]["rows_total"], 5);
    // And such a database can be replaced while it is there.
    world.sql("own.db", "DELETE FROM t"); // comparing nothing needs no collation
    world
        .with_store("restore own --yes")
        .run()
        .exits(0)
        .prints("replaced through SQLite");
}

#[test]
fn a_virtual_table_without_its_module_is_saved() {
    let world = World::new();
    let path = world.database("v.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', \
                        'alien', 'alien', 0, 'CREATE VIRTUAL TABLE alien USING \
                        nobody_has_this(x)');",
    )
    .unwrap();
    drop(conn);
    world.with_store("backup v.db").run().exits(0);
    world.with_store("verify --level restore").run().exits(0);
}

#[test]
fn foreign_key_violations_are_recorded_and_are_no_damage() {
    let world = World::new();
    world.database(
        "fk.db",
        "PRAGMA foreign_keys = OFF; CREATE TABLE p(id INTEGER PRIMARY KEY); \
                             CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (7), (8);",
    );
    world
        .with_store("backup fk.db")
        .run()
        .exits(0)
        .says("2 rows in the database violate foreign keys");
    let json = world.with_store("show fk --json").run().exits(0).json();
    assert_eq!(json["backup"]["database"]["foreign_key_violations"], 2);
    assert_eq!(json["backup"]["status"], "ok");
    world
        .with_store("verify --level restore")
        .run()
        .exits(0)
        .prints("2 violations, as at the backup");
}

#[test]
fn both_paths_of_the_snapshot_give_the_same_content() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        let database = world.database(
            "a.db",
            &format!("PRAGMA journal_mode = {journal}; {EVERYTHING}"),
        );
        // Held open, so that the log is not checkpointed away.
        let app = Connection::open(&database).unwrap();
        app.execute_batch("INSERT INTO audit VALUES ('in the log')")
            .unwrap();
        let scratch = world.path("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let mut outcomes = Vec::new();
        for spool in [Spool::Auto, Spool::Always, Spool::Never] {
            for streaming in [true, false] {
                let source = SqliteSource::new(&database, spool, &scratch, PATIENCE);
                let mut source = if streaming {
                    source
                } else {
                    source.without_page_streaming()
                };
                let mut content = Vec::new();
                let dumped = source.dump(&mut content).unwrap();
                assert_eq!(
                    content[18..20],
                    [1, 1],
                    "a plain file: {journal} {spool:?} {streaming}"
                );
                let path = world.path("out.db");
                std::fs::write(&path, &content).unwrap();
                assert_eq!(contents(&path), crate::support::contents_of(&app));
                // The backup API counts the header's change counters up.
                outcomes.push((content[100..].to_vec(), dumped.manifest));
            }
        }
        assert!(
            outcomes.windows(2).all(|pair| pair[0] == pair[1]),
            "{journal}"
        );
        assert_eq!(
            std::fs::read_dir(&scratch).unwrap().count(),
            0,
            "scratch is swept"
        );
    }
}

/// Simple keys are asked for by a query of our own, all others by the pragma: together they count
/// what the pragma counts.
#[test]
fn foreign_keys_are_counted_as_sqlite_counts_them() {
    let world = World::new();
    let path = world.database(
        "fk.db",
        "PRAGMA foreign_keys = OFF;
         CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE, a, b, UNIQUE (a, b)); INSERT \
         INTO p VALUES (1, 'x', 1, 1), (2, 'y', 2, 2);
         CREATE TABLE simple(p REFERENCES p(id), q INTEGER REFERENCES p); INSERT INTO simple \
         VALUES (1, 2), (7, 2), (NULL, 8), ('1', '2'), ('x', 9), (1.0, 1.5);
         CREATE TABLE texts(code REFERENCES p(code)); INSERT INTO texts VALUES ('x'), ('z'), (NULL);
         CREATE TABLE pairs(a, b, FOREIGN KEY (a, b) REFERENCES p(a, b)); INSERT INTO pairs VALUES \
         (1, 1), (1, 2), (NULL, 9);
         CREATE TABLE orphan(x REFERENCES nowhere(id)); INSERT INTO orphan VALUES (1), (NULL);
         CREATE TABLE \"odd \"\"one\"(\"a b\" REFERENCES p(\"ID\")); INSERT INTO \"odd \"\"one\" \
         VALUES (3);
         CREATE TABLE tree(id INTEGER PRIMARY KEY, parent REFERENCES tree); INSERT INTO tree \
         VALUES (1, NULL), (2, 1), (3, 99);",
    );
    let expected: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .unwrap();
    world.with_store("backup fk.db").run().exits(0);
    let json = world.with_store("show fk --json").run().exits(0).json();
    assert!(expected > 8);
    assert_eq!(
        json["backup"]["database"]["foreign_key_violations"],
        expected
    );
}
