//! Databases that are damaged inside: found by every command that proves one, whatever else is in
//! the schema, and told when they are saved.

use crate::seeds::{Random, seed};
use crate::support::World;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two tables of some pages, an index, and a list of free pages.
const TABLES: &str = "PRAGMA page_size = 1024;
    CREATE TABLE a(id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, text \
                      TEXT); CREATE TABLE junk(x);
    CREATE INDEX i ON b(text);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO a \
                      SELECT i, hex(randomblob(30)) FROM n;
    INSERT INTO b SELECT id, text FROM a;
    INSERT INTO junk VALUES (zeroblob(20000)); DELETE FROM junk;";

/// What stands around the tables. The last one is what `integrity_check` comes by first.
const SCHEMAS: [(&str, &str, &str); 5] = [
    ("no view", "", ""),
    ("a view last", "", "CREATE VIEW v AS SELECT 1;"),
    ("a view first", "CREATE VIEW v AS SELECT 1;", ""),
    (
        "FTS5 last",
        "",
        "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('some words');",
    ),
    (
        "an R-tree last",
        "",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 1);",
    ),
];

/// A database file, page by page.
struct Pages {
    path: PathBuf,
    bytes: Vec<u8>,
    size: usize,
}

impl Pages {
    fn of(path: &Path) -> Pages {
        let bytes = std::fs::read(path).unwrap();
        let size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => usize::from(size),
        };
        Pages {
            path: path.to_owned(),
            bytes,
            size,
        }
    }

    fn number(&self, page: usize, at: usize) -> u32 {
        let at = (page - 1) * self.size + at;
        u32::from_be_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, page: usize, at: usize, number: u32) {
        let at = (page - 1) * self.size + at;
        self.bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }

    fn swap(&mut self, one: usize, other: usize) {
        for at in 0..self.size {
            self.bytes
                .swap((one - 1) * self.size + at, (other - 1) * self.size + at);
        }
    }

    fn save(&self) {
        std::fs::write(&self.path, &self.bytes).unwrap();
    }
}

/// Leaves of a table, by SQLite's own statistics.
fn leaves(path: &Path, table: &str) -> Vec<usize> {
    let conn = Connection::open(path).unwrap();
    let mut query = conn
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'")
        .unwrap();
    query
        .query_map([table], |row| Ok(row.get::<_, i64>(0)? as usize))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 5] = [
    ("a page both in use and free", |path| {
        let leaf = leaves(path, "a")[2];
        let mut pages = Pages::of(path);
        let trunk = pages.number(1, 32) as usize;
        let count = pages.number(trunk, 4);
        pages.put(trunk, 8 + 4 * count as usize, leaf as u32);
        pages.put(trunk, 4, count + 1);
        pages.put(1, 36, pages.number(1, 36) + 1);
        pages.save();
    }),
    ("a page of nobody", |path| {
        let mut pages = Pages::of(path);
        let trunk = pages.number(1, 32) as usize;
        pages.put(trunk, 4, pages.number(trunk, 4) - 1);
        pages.put(1, 36, pages.number(1, 36) - 1);
        pages.save();
    }),
    ("two tables with one page", |path| {
        let conn = Connection::open(path).unwrap();
        let sql = "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = \
                   'a') WHERE name = 'b'";
        conn.execute_batch(sql).unwrap();
    }),
    ("a cut file", |path| {
        let pages = Pages::of(path);
        std::fs::write(path, &pages.bytes[..pages.bytes.len() - pages.size]).unwrap();
    }),
    ("two pages in each other's place", |path| {
        let (one, other) = (leaves(path, "a")[1], leaves(path, "a")[3]);
        let mut pages = Pages::of(path);
        pages.swap(one, other);
        pages.save();
    }),
];

/// Every way in which a database is proven, for each kind of damage under each schema.
#[test]
fn damage_is_found_whatever_is_in_the_schema() {
    let mut missed = Vec::new();
    for (schema, first, last) in SCHEMAS {
        for (what, damage) in DAMAGES {
            let world = World::new();
            let (head, tables) = TABLES.split_once(';').unwrap();
            let path = world.database("app.sqlite3", &format!("{head}; {first} {tables} {last}"));
            for level in ["content", "restore"] {
                world
                    .dbbackup(&format!("verify ./app.sqlite3 --level {level}"))
                    .run()
                    .exits(0);
            }
            assert_eq!(by_hand(&path), "ok\nok\n");
            world
                .with_store("backup app.sqlite3 --label sound")
                .run()
                .exits(0);
            damage(&path);
            let mut must = |how: &str, found: bool| {
                missed.extend((!found).then(|| format!("{schema}: {what}: {how}")))
            };
            for level in ["content", "restore"] {
                let json = world
                    .dbbackup(&format!("verify ./app.sqlite3 --level {level} --json"))
                    .run()
                    .json();
                must(level, json["results"][0]["status"] == "damaged");
            }
            let restored = world.dbbackup("restore ./app.sqlite3 --to new.db").run();
            must(
                "restore",
                restored.stderr.contains("nothing was touched") && !world.path("new.db").exists(),
            );
            must("by hand", by_hand(&path) != "ok\nok\n");
            // A damaged database is told when it is to be saved, and what was saved of it before is
            // not thinned out by it.
            let ran = world.with_store("backup app.sqlite3").run();
            let told = ["malformed", "is damaged"]
                .iter()
                .any(|word| ran.stderr.contains(word))
                && ran.stderr.contains("hint: ");
            must("backup", told && world.ids("").len() == 1);
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

/// As the manual has it for who has no dbbackup at hand: what is printed.
fn by_hand(path: &Path) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/dbbackup-recovery.7.md");
    let page = std::fs::read_to_string(page).unwrap();
    let start = page.find("**5. Is the database whole?**").unwrap();
    let block = page[start..]
        .split("```")
        .nth(1)
        .unwrap()
        .strip_prefix("sh\n")
        .unwrap();
    let output = Command::new("bash")
        .args(["-c", block])
        .env("NEW", path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A database of some 60 pages with everything that has pages of its own.
const EVERYTHING: &str = "PRAGMA page_size = 1024; PRAGMA auto_vacuum = incremental;
    CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL); CREATE INDEX by_name ON \
                          customer(name);
    CREATE TABLE pair(a INT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE big(id INTEGER PRIMARY KEY, body BLOB);
    CREATE VIRTUAL TABLE words USING fts5(body);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 350) INSERT INTO \
                          customer SELECT i, 'customer number ' || (i * 7919 % 251) FROM n;
    INSERT INTO pair SELECT id, name FROM customer WHERE id % 2;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) INSERT INTO big \
                          SELECT i, randomblob(3500) FROM n;
    INSERT INTO words SELECT name || ' has ' || id || ' words' FROM customer WHERE id < 60;
    CREATE TABLE gone(x); INSERT INTO gone VALUES (zeroblob(5000)); DELETE FROM gone;
    CREATE VIEW names AS SELECT name FROM customer;";

/// What a change of one page lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Something without which the rows can't be read.
    Structure,
    /// A value of a row, or a name: another one is as good.
    Value,
    /// Nothing that is ever read: free pages, gaps between cells, header fields that nobody uses.
    Nothing,
}

/// One page is zeroed, swapped, doubled, or one byte of it flipped, before the backup. How much of
/// that is found is printed; what is not must be a value or nothing at all.
#[test]
fn mutations_of_a_database_are_found_or_are_values() {
    let seed = seed();
    let mut random = Random::new(seed);
    let world = World::new();
    let path = world.database("app.sqlite3", EVERYTHING);
    let sound = Pages::of(&path);
    let count = sound.bytes.len() / sound.size;
    assert!((50..=90).contains(&count), "{count} pages");
    let logical = |path: &Path| std::panic::catch_unwind(|| crate::support::contents(path)).ok();
    let then = logical(&path).unwrap();
    let mut found = std::collections::BTreeMap::<&str, (u32, u32)>::new();
    let mut missed = Vec::new();
    for turn in 0..240 {
        let mut pages = Pages {
            path: path.clone(),
            bytes: sound.bytes.clone(),
            size: sound.size,
        };
        let (page, other) = (
            random.below(count as u64) as usize,
            random.below(count as u64) as usize,
        );
        let (start, other_start) = (page * pages.size, other * pages.size);
        let what = [
            "a page zeroed",
            "two pages swapped",
            "a page doubled",
            "a byte flipped",
        ][turn % 4];
        match turn % 4 {
            0 => pages.bytes[start..start + pages.size].fill(0),
            1 => pages.swap(page + 1, other + 1),
            2 => pages
                .bytes
                .copy_within(other_start..other_start + pages.size, start),
            _ => {
                pages.bytes[start + random.below(pages.size as u64) as usize] ^=
                    1 << random.below(8)
            }
        }
        if pages.bytes == sound.bytes {
            continue;
        }
        pages.save();
        // The backup finds it at once, or else the trial restore of the file as it was saved does.
        let ran = world
            .dbbackup("verify ./app.sqlite3 --level restore --json")
            .run();
        let told = ran.stdout.contains("\"damaged\"") || ran.stdout.contains("\"error\"");
        let (of, all) = found.entry(what).or_default();
        *of += u32::from(told);
        *all += 1;
        if !told {
            missed.push((what, page + 1, place_of(&then, logical(&path))));
        }
    }
    for (what, (of, all)) in &found {
        println!("{what}: {of} of {all} found");
    }
    let places = |place: Place| missed.iter().filter(|(_, _, of)| *of == place).count();
    println!(
        "not found: {} change a value, {} change nothing that is read",
        places(Place::Value),
        places(Place::Nothing)
    );
    let structure: Vec<_> = missed
        .iter()
        .filter(|(_, _, place)| *place == Place::Structure)
        .collect();
    assert!(structure.is_empty(), "seed {seed}: {structure:?}");
    // Of whole pages what is not found leaves a database that is as good as any: a free page, an
    // overflow page of the same length, or rows of one table in the place of another's only page.
    for (what, page, place) in missed
        .iter()
        .filter(|(what, _, _)| *what != "a byte flipped")
    {
        println!("not found: {what}: page {page}, {place:?}");
    }
}

/// What was not found: every row is as it was, or there are other values that are read without
/// complaint.
fn place_of(then: &str, now: Option<String>) -> Place {
    match now {
        None => Place::Structure,
        Some(now) if now == then => Place::Nothing,
        Some(_) => Place::Value,
    }
}

/// What `quick_check` does not look at: the bytes are those that were read, and the database itself
/// is to be looked at.
#[test]
fn a_backup_of_a_corrupt_database_is_told_from_a_corrupt_backup() {
    let world = World::new();
    let path = world.database("app.db", TABLES);
    world.config(
        "[sources.app]\nkind = \"sqlite\"\npath = \"app.db\"\n[sources.strict]\nkind = \
                  \"sqlite\"\npath = \"app.db\"\nverify_after = \"content\"\n",
    );
    world.with_store("backup app --label sound").run().exits(0);
    // A value that its index has otherwise.
    world.sql("app.db", "UPDATE b SET text = 'a new text' WHERE id = 5");
    let mut pages = Pages::of(&path);
    let at = pages
        .bytes
        .windows(10)
        .position(|part| part == b"a new text")
        .unwrap();
    pages.bytes[at] = b'b';
    pages.save();
    let told = "holds what was read, and that was corrupt already when it was saved";
    world
        .with_store("backup app --label corrupt")
        .run()
        .exits(0);
    let id = world.ids("app --label corrupt").remove(0);
    let ran = world
        .with_store("verify app@latest:corrupt")
        .run()
        .exits(4)
        .says(told)
        .says("look at the database itself");
    ran.says("an older backup may be good: `dbbackup")
        .never_says("take a new one");
    world
        .with_store(&format!("restore {id} --to new.db"))
        .run()
        .exits(4)
        .says(told);
    world
        .with_store("backup strict")
        .run()
        .exits(4)
        .says(told)
        .says("an older backup may be good");
}

/// Tables of the user's with the names of what SQLite tells of a database by.
#[test]
fn a_table_named_as_a_pragma_takes_nothing_from_the_manifest() {
    let world = World::new();
    let names = [
        "table_list",
        "foreign_key_list",
        "foreign_key_check",
        "table_info",
        "module_list",
    ];
    let tables: String = names
        .iter()
        .map(|name| format!("CREATE TABLE pragma_{name}(schema, name, type);"))
        .collect();
    world.database(
        "app.db",
        &format!(
            "{TABLES} {tables} PRAGMA foreign_keys = OFF; CREATE TABLE \
                                       c(a REFERENCES a(id), b REFERENCES b); INSERT INTO c VALUES \
                                       (1, 9999);"
        ),
    );
    let sidecar = world
        .with_store("backup app.db --json")
        .run()
        .exits(0)
        .made();
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("1 row in the database violate foreign keys"),
        "{sidecar}"
    );
    let rows = |name: &str| {
        let table = sidecar["manifest"]["tables"]
            .as_array()
            .unwrap()
            .iter()
            .find(|table| table["name"] == name);
        table.map(|table| table["rows"].as_u64().unwrap())
    };
    assert_eq!(
        (rows("a"), rows("b"), rows("pragma_table_list")),
        (Some(200), Some(200), Some(0))
    );
    world
        .with_store("verify app --level restore")
        .run()
        .exits(0);
}

/// As before: of virtual tables that SQLite has by itself. The second name is reserved, but a file
/// may have it.
#[test]
fn a_table_named_as_a_virtual_table_of_sqlites_hides_no_damage() {
    let world = World::new();
    let view = "CREATE VIEW v AS SELECT 1;";
    let (head, tables) = TABLES.split_once(';').unwrap();
    for (name, wal) in [
        ("dbstat", false),
        ("DBStat", true),
        ("sqlite_dbpage", false),
        ("sqlite_dbpage", true),
    ] {
        let file = format!("{name}-{wal}.db");
        let mode = if wal {
            "PRAGMA journal_mode = wal;"
        } else {
            ""
        };
        let script = format!(
            "{head}; {mode} CREATE TABLE decoy(name, pageno, pgno, data, schema); \
                              {view} {tables}
            PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = '{name}', tbl_name = \
                              '{name}', sql = replace(sql, 'decoy', '{name}') WHERE name = 'decoy'"
        );
        let path = world.database(&file, &script);
        world
            .with_store(&format!("backup {file} --label sound"))
            .run()
            .exits(0);
        world
            .dbbackup(&format!("verify ./{file} --level restore"))
            .run()
            .exits(0);
        let mut pages = Pages::of(&path);
        let trunk = pages.number(1, 32) as usize;
        pages.put(trunk, 4, pages.number(trunk, 4) - 1);
        pages.put(1, 36, pages.number(1, 36) - 1);
        pages.save();
        world
            .with_store(&format!("backup {file}"))
            .run()
            .says("never used");
    }
}

/// Counting a virtual table may run a view of the owner's, which may never end.
#[test]
fn a_virtual_table_is_not_counted() {
    let world = World::new();
    let script = "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2);
        CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                  SELECT i AS rowid, i AS body FROM n;
        CREATE VIRTUAL TABLE f USING fts5(body, content = 'endless', content_rowid = 'rowid');";
    world.database("app.db", script);
    // timeout(1) ends it where it would not end by itself.
    let mut command = Command::new("timeout");
    command
        .arg("60")
        .arg(crate::support::binary())
        .args(["backup", "app.db", "--store"])
        .arg(world.path("store"));
    let ran = command.current_dir(world.path("")).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// Where the list of free pages names a page of the pointer map.
#[test]
fn a_page_of_the_pointer_map_that_is_free_is_damage() {
    let world = World::new();
    let script = "PRAGMA page_size = 512; PRAGMA auto_vacuum = incremental; CREATE TABLE t(x); \
                  CREATE TABLE u(x);
        INSERT INTO t VALUES (zeroblob(90000)); INSERT INTO u VALUES (1); DELETE FROM t; CREATE \
                  VIEW v AS SELECT 1;";
    let path = world.database("app.db", script);
    let mut pages = Pages::of(&path);
    let trunk = pages.number(1, 32) as usize;
    // Each map is for 102 pages; the first is page 2.
    pages.put(trunk, 8, 2 + 103);
    pages.save();
    world
        .dbbackup("verify ./app.db --level content")
        .run()
        .exits(4)
        .says("Page 105: pointer map referenced");
}
