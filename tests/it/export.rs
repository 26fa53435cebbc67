//! `export` of SQLite backups: what is in the files is what SQLite's own shell says of the
//! database.

use crate::support::{World, set_mode};
use rusqlite::Connection;
use std::path::Path;
use std::process::Command;

/// A field of a CSV file; `None`: it is empty and has no quotes.
pub type Field = Option<String>;

/// RFC 4180, strictly; a line ends in LF or CR LF.
pub fn parse_csv(text: &str) -> Vec<Vec<Field>> {
    let mut rows = Vec::new();
    let mut letters = text.chars().peekable();
    while letters.peek().is_some() {
        let mut row = Vec::new();
        loop {
            let mut field = String::new();
            let quoted = letters.next_if_eq(&'"').is_some();
            while let Some(letter) = letters.peek().copied() {
                if quoted {
                    letters.next();
                    if letter == '"' && letters.next_if_eq(&'"').is_none() {
                        break;
                    }
                } else if letter == ',' || letter == '\n' || letter == '\r' {
                    break;
                } else {
                    assert_ne!(letter, '"', "a quote in the middle of a field");
                    letters.next();
                }
                field.push(letter);
            }
            row.push((quoted || !field.is_empty()).then_some(field));
            match letters.next() {
                Some(',') => continue,
                Some('\r') => assert_eq!(letters.next(), Some('\n')),
                Some('\n') | None => {}
                other => panic!("{other:?} behind a field"),
            }
            break;
        }
        rows.push(row);
    }
    rows
}

const NASTY: &str = r#"
    CREATE TABLE plain(id INTEGER PRIMARY KEY, t TEXT, n NUMERIC, r REAL, b BLOB, any);
    INSERT INTO plain VALUES
        (1, 'plain', 10, 0.5, x'00ff0a22', NULL),
        (2, '', NULL, -0.0, x'', ''),
        (3, 'a "quoted", text' || char(13,10) || 'on two lines', 9223372036854775807, 0.1, NULL,
        x'27'),
        (4, 'Ünïcödé ☃ 😀', -9223372036854775808, 123456.789, NULL, 1.5),
        (5, ' spaces ', 12345678901234567890, 3.0, NULL, 'NULL'),
        (6, '\N \. \t', 0, 2.5e-5, NULL, '\.');
    CREATE TABLE "odd ""name"", with\ / everything"("a b" TEXT, "c""d" INT, "select" TEXT, "e,f"
    TEXT);
    INSERT INTO "odd ""name"", with\ / everything" VALUES ('1', 2, '3', NULL);
    CREATE TABLE no_rowid(k TEXT, j INT, v TEXT, PRIMARY KEY (k, j DESC)) WITHOUT ROWID;
    INSERT INTO no_rowid VALUES ('b', 1, 'x'), ('a', 1, 'y'), ('a', 2, NULL);
    CREATE TABLE generated(a INT, b INT GENERATED ALWAYS AS (a * 2) VIRTUAL, c TEXT AS ('v' || a)
    STORED);
    INSERT INTO generated(a) VALUES (1), (NULL);
    CREATE TABLE "nothing"(a, b);
    CREATE TABLE covered(a, b, UNIQUE (b, a));
    INSERT INTO covered VALUES (1, 'z'), (2, 'y'), (3, 'x');
    CREATE TABLE autoincremented(id INTEGER PRIMARY KEY AUTOINCREMENT);
    INSERT INTO autoincremented DEFAULT VALUES;
    CREATE TABLE "Straße"(x);
    CREATE VIEW a_view AS SELECT * FROM plain;
    CREATE VIRTUAL TABLE words USING fts5(title, body);
    INSERT INTO words VALUES ('one', 'two three');"#;

/// The tables of a user in there.
const TABLES: [&str; 9] = [
    "Straße",
    "autoincremented",
    "covered",
    "generated",
    "no_rowid",
    "nothing",
    "odd \"name\", with\\ / everything",
    "plain",
    "words",
];

fn shell(database: &Path, options: &[&str], sql: &str) -> String {
    let output = Command::new("sqlite3")
        .args(options)
        .arg(database)
        .arg(sql)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn name_of(table: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || letter == '_';
    table
        .chars()
        .map(|letter| {
            if plain(letter) {
                letter.to_string()
            } else {
                format!("%{:02X}", letter as u32)
            }
        })
        .collect()
}

fn selected(table: &str) -> String {
    let by_itself = if table == "words" { "" } else { " NOT INDEXED" };
    format!(
        "SELECT * FROM \"{}\"{by_itself}",
        table.replace('"', "\"\"")
    )
}

#[test]
fn csv_is_what_the_shell_says() {
    let world = World::new();
    let database = world.database("app.db", NASTY);
    world.with_store("backup app.db").run().exits(0);
    world
        .with_store("export app --format csv --to out")
        .run()
        .exits(0)
        .prints("ok plain: 6 rows in ")
        .prints("ok \"odd \"\"name");
    let mut there: Vec<String> = std::fs::read_dir(world.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    let mut expected = TABLES
        .map(|table| format!("{}.csv", name_of(table)))
        .to_vec();
    expected.sort();
    assert_eq!(there, expected);
    for table in TABLES {
        let text =
            std::fs::read_to_string(world.path(&format!("out/{}.csv", name_of(table)))).unwrap();
        assert!(text.ends_with("\r\n"), "{text}");
        let mut ours = parse_csv(&text);
        // NULL as a word that no text is; a blob as its digits.
        let wrapped: Vec<String> = ours[0]
            .iter()
            .map(|name| {
                let name = format!("\"{}\"", name.as_ref().unwrap().replace('"', "\"\""));
                format!(
                    "CASE typeof({name}) WHEN 'blob' THEN '\\x' || lower(hex({name})) WHEN \
                         'real' THEN printf('%!.17g', {name}) ELSE {name} END AS {name}"
                )
            })
            .collect();
        let sql = selected(table).replacen('*', &wrapped.join(", "), 1);
        let mut theirs = parse_csv(&shell(
            &database,
            &["-csv", "-header", "-nullvalue", "(null)"],
            &sql,
        ));
        if theirs.is_empty() {
            // Without rows the shell has no header either.
            theirs.push(ours[0].clone());
        }
        for (ours, theirs) in ours.iter_mut().zip(&mut theirs) {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                // The shell quotes no empty text.
                let unquoted = theirs.clone().unwrap_or_default();
                *theirs = if unquoted == "(null)" {
                    None
                } else {
                    Some(unquoted)
                };
                if let (Some(a), Some(b)) = (&ours, &theirs)
                    && let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>())
                    && a.to_bits() == b.to_bits()
                {
                    *ours = theirs.clone();
                }
            }
        }
        assert_eq!(ours, theirs, "{table}");
    }
}

#[test]
fn json_is_what_the_shell_says() {
    let world = World::new();
    let database = world.database("app.db", NASTY);
    world.with_store("backup app.db").run().exits(0);
    world
        .with_store("export app --format json --to out")
        .run()
        .exits(0);
    for table in TABLES.into_iter().filter(|table| *table != "plain") {
        let text =
            std::fs::read_to_string(world.path(&format!("out/{}.json", name_of(table)))).unwrap();
        let theirs = shell(&database, &["-json"], &selected(table));
        // Without rows the shell says nothing at all.
        assert_eq!(
            text,
            if theirs.is_empty() {
                "[]\n".to_owned()
            } else {
                theirs
            },
            "{table}"
        );
    }
    let text = std::fs::read_to_string(world.path("out/plain.json")).unwrap();
    let expected = r#"[{"id":1,"t":"plain","n":10,"r":0.5,"b":"\\x00ff0a22","any":null},
{"id":2,"t":"","n":null,"r":0.0,"b":"\\x","any":""},
{"id":3,"t":"a \"quoted\", text\r\non two lines","n":9223372036854775807,"r":0.1,"b":null,"any":"\\x27"},
{"id":4,"t":"Ünïcödé ☃ 😀","n":-9223372036854775808,"r":123456.789,"b":null,"any":1.5},
{"id":5,"t":" spaces ","n":1.2345678901234567e19,"r":3.0,"b":null,"any":"NULL"},
{"id":6,"t":"\\N \\. \\t","n":0,"r":2.5e-5,"b":null,"any":"\\."}]
"#;
    assert_eq!(text, expected);
    // And what others make of it.
    let output = Command::new("python3")
        .args([
            "-c",
            "import json,sys; rows = json.load(open(sys.argv[1])); assert rows[2]['n'] == 2**63-1, \
             rows; print(len(rows))",
        ])
        .arg(world.path("out/plain.json"))
        .output();
    if let Ok(output) = output {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "6\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn infinity_broken_text_and_long_rows() {
    let world = World::new();
    let long = "CREATE TABLE t(x, y);
        INSERT INTO t VALUES (9e999, -9e999), (CAST(x'41ff42' AS TEXT), 'a' || char(0) || 'b'), \
                (replace(hex(zeroblob(3000000)), '0', 'ab'), 1);";
    world.database("app.db", long);
    world.with_store("backup app.db").run().exits(0);
    world
        .with_store("export app --format csv --to out")
        .run()
        .exits(0);
    let bytes = std::fs::read(world.path("out/t.csv")).unwrap();
    assert!(bytes.starts_with(b"x,y\r\nInfinity,-Infinity\r\nA\xffB,a\0b\r\nabab"));
    assert!(bytes.ends_with(b"ab,1\r\n") && bytes.len() > 12_000_000);
    let warned = world
        .with_store("export app --format json --to out")
        .run()
        .exits(0);
    let warned = warned.says("warning: t: 1 value is no UTF-8");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.path("out/t.json")).unwrap()).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({"x": "Infinity", "y": "-Infinity"})
    );
    assert_eq!(json[1], serde_json::json!({"x": "A\u{fffd}B", "y": "a\0b"}));
    assert_eq!(json[2]["x"].as_str().unwrap().len(), 12_000_000, "{warned}");
}

#[test]
fn tables_are_chosen_by_name() {
    let world = World::new();
    world.database("app.db", NASTY);
    world.with_store("backup app.db").run().exits(0);
    let files = |to: &str| {
        let mut names: Vec<String> = std::fs::read_dir(world.path(to))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    world
        .with_store("export app --format csv --to one --table PLAIN --table main.no_rowid")
        .run()
        .exits(0);
    assert_eq!(files("one"), ["no_rowid.csv", "plain.csv"]);
    for name in [
        "odd \"name\", with\\ / everything",
        "\"odd \"\"name\"\", with\\ / everything\"",
    ] {
        world
            .dbbackup_with(&[
                "--store",
                "store",
                "export",
                "app",
                "--format=csv",
                "--to=two",
                "--overwrite",
                "--table",
                name,
            ])
            .run()
            .exits(0);
        assert_eq!(
            files("two"),
            ["odd%20%22name%22%2C%20with%5C%20%2F%20everything.csv"]
        );
    }
    // What is SQLite's own, or the inside of a virtual table, only where it is named.
    world
        .with_store(
            "export app --format csv --to three --table sqlite_sequence --table words_config",
        )
        .run()
        .exits(0);
    assert_eq!(files("three"), ["sqlite_sequence.csv", "words_config.csv"]);
    world
        .with_store("export app --format csv --to four --table plane")
        .run()
        .exits(10)
        .says("did you mean `plain`?");
    assert!(!world.path("four").exists());
    world
        .with_store("export app --format csv --to four --table xyzzy")
        .run()
        .exits(10)
        .says("--contents` lists its tables");
    let json = world
        .with_store("export app --format json --to five --table plain --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["exported"][0]["table"], "plain");
    assert_eq!(json["exported"][0]["rows"], 6);
    let file = json["exported"][0]["file"].as_str().unwrap();
    assert_eq!(
        json["exported"][0]["size_bytes"],
        std::fs::metadata(file).unwrap().len()
    );
}

#[test]
fn nothing_is_overwritten_unasked() {
    let world = World::new();
    world.database(
        "app.db",
        "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO b VALUES (1);",
    );
    world.with_store("backup app.db").run().exits(0);
    world.file("out/b.csv", "mine");
    world
        .with_store("export app --format csv --to out")
        .run()
        .exits(2)
        .says("out/b.csv` is there already")
        .says("--overwrite");
    assert_eq!(
        std::fs::read_to_string(world.path("out/b.csv")).unwrap(),
        "mine"
    );
    assert_eq!(std::fs::read_dir(world.path("out")).unwrap().count(), 1);
    // Without a sidecar it is only found when the tables are known.
    let id = world.ids("app").remove(0);
    std::fs::copy(world.dump_of(&id), world.path("alone.sqlite3.gz")).unwrap();
    world
        .with_store("export ./alone.sqlite3.gz --format csv --to out")
        .run()
        .exits(2)
        .says("is there already");
    assert_eq!(std::fs::read_dir(world.path("out")).unwrap().count(), 1);
    world
        .with_store("export app --format csv --to out --overwrite")
        .run()
        .exits(0)
        .prints(", replacing what was there");
    assert_eq!(
        std::fs::read_to_string(world.path("out/b.csv")).unwrap(),
        "x\r\n1\r\n"
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(world.path("out/b.csv"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    world
        .with_store("export app --format csv --to no/such/place")
        .run()
        .exits(1)
        .says("make its parent first");
    world
        .with_store("export app --format csv --to out/b.csv")
        .run()
        .exits(2)
        .says("is not a directory");
}

#[test]
fn what_is_damaged_is_not_given_out() {
    let world = World::new();
    world.shop("app.db");
    world.config("[backup]\ncompression = \"none\"\n");
    let id = world
        .with_store("backup app.db --json")
        .run()
        .exits(0)
        .made()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut bytes = std::fs::read(world.dump_of(&id)).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(world.dump_of(&id), bytes).unwrap();
    world
        .with_store(&format!("export {id} --format csv --to out"))
        .run()
        .exits(4)
        .says("no file was written");
    assert!(!world.path("out").exists());
}

#[test]
fn what_holds_no_tables_is_refused() {
    let world = World::new();
    world.file("files.tar", "no tar either");
    world
        .dbbackup("export ./files.tar --format csv --to out")
        .run()
        .exits(2)
        .says("holds files, and no tables")
        .says("--path GLOB");
    world.database("empty.db", "PRAGMA user_version = 1;");
    world.with_store("backup empty.db").run().exits(0);
    world
        .with_store("export empty --format csv --to out")
        .run()
        .exits(1)
        .says("holds no rows of tables");
    world
        .with_store("export nothing --format csv --to out")
        .run()
        .exits(10);
    assert!(!world.path("out").exists());
}

/// An application's own collation is no reason not to read its rows.
#[test]
fn collations_of_the_application_are_no_obstacle() {
    let world = World::new();
    let path = world.path("app.db");
    let conn = Connection::open(&path).unwrap();
    conn.create_collation("mine", |a, b| b.cmp(a)).unwrap();
    conn.execute_batch(
        "CREATE TABLE t(x TEXT COLLATE mine PRIMARY KEY) WITHOUT ROWID; INSERT INTO \
                        t VALUES ('a'), ('b');",
    )
    .unwrap();
    drop(conn);
    world.with_store("backup app.db").run().exits(0);
    world
        .with_store("export app --format csv --to out")
        .run()
        .exits(0);
    assert_eq!(
        std::fs::read_to_string(world.path("out/t.csv")).unwrap(),
        "x\r\nb\r\na\r\n"
    );
}

#[test]
fn a_read_only_store_serves() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    set_mode(&world.path("store/app"), 0o500);
    world
        .with_store("export app --format csv --to out")
        .run()
        .exits(0);
    set_mode(&world.path("store/app"), 0o700);
}
