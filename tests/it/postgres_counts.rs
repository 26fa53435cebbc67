//! The manifest counts what the dump holds, table by table, whatever is left out of it and for
//! whatever reason. Two others say the same: the archive's own list of tables with data, and
//! `verify`, which counts the rows in the archive.

use crate::cluster::{Cluster, Database, identifier};
use crate::postgres_backup::{compared, output, tables};
use crate::support::World;
use dbbackup::engine::postgres::names::QualifiedName;
use dbbackup::engine::postgres::toc::Toc;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tables of every kind that a dump treats in its own way, in schemas with names that patterns
/// could trip over.
const EVERYTHING: &str = r#"
    CREATE SCHEMA app; CREATE SCHEMA app2; CREATE SCHEMA "App"; CREATE SCHEMA "a.b"; CREATE SCHEMA
    "we*rd$"; CREATE SCHEMA hidden; CREATE SCHEMA empty;
    CREATE TABLE orders(a int); INSERT INTO orders SELECT generate_series(1, 11);
    CREATE TABLE app.orders(a int); INSERT INTO app.orders SELECT generate_series(1, 12);
    CREATE TABLE app2.orders(a int); INSERT INTO app2.orders SELECT generate_series(1, 13);
    CREATE TABLE "App"."Orders"(a int); INSERT INTO "App"."Orders" SELECT generate_series(1, 14);
    CREATE TABLE "a.b"."c.d"(a int); INSERT INTO "a.b"."c.d" SELECT generate_series(1, 15);
    CREATE TABLE "we*rd$"."t?"(a int); INSERT INTO "we*rd$"."t?" SELECT generate_series(1, 16);
    CREATE TABLE hidden.sessions(a int); INSERT INTO hidden.sessions SELECT generate_series(1, 17);
    CREATE TABLE sessions_1(a int); INSERT INTO sessions_1 SELECT generate_series(1, 18);
    CREATE TABLE sessions_2(a int); INSERT INTO sessions_2 SELECT generate_series(1, 19);
    CREATE TABLE "sess$ions|x"(a int); INSERT INTO "sess$ions|x" SELECT generate_series(1, 20);
    CREATE TABLE part(d int, t text) PARTITION BY RANGE (d);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200) PARTITION BY LIST (t);
    CREATE TABLE app.part_2a PARTITION OF part_2 FOR VALUES IN ('a');
    CREATE TABLE part_2b PARTITION OF part_2 DEFAULT;
    INSERT INTO part SELECT g, CASE WHEN g % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(0,
    149) g;
    CREATE TABLE mother(a int); CREATE TABLE child() INHERITS (mother); CREATE TABLE
    app.grandchild(b int) INHERITS (child);
    INSERT INTO mother SELECT generate_series(1, 3); INSERT INTO child SELECT generate_series(1,
    5); INSERT INTO app.grandchild SELECT generate_series(1, 7);
    CREATE UNLOGGED TABLE fleeting(a int); INSERT INTO fleeting SELECT generate_series(1, 21);
    CREATE TABLE nothing(); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
    CREATE TABLE vacant(a int);
    CREATE TABLE generated(a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO generated
    SELECT generate_series(1, 4);
    CREATE TABLE secured(a int, who text); INSERT INTO secured SELECT g, 'x' FROM
    generate_series(1, 22) g;
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON secured USING (false);
    CREATE VIEW seen AS SELECT * FROM orders;
    CREATE MATERIALIZED VIEW totals AS SELECT a FROM orders WHERE a < 5;
    CREATE MATERIALIZED VIEW unfilled AS SELECT a FROM orders WITH NO DATA;
    CREATE SEQUENCE numbers;
    CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
    CREATE FOREIGN TABLE remote(a text) SERVER files OPTIONS (filename '/etc/hostname');
    CREATE EXTENSION hstore;
    CREATE TABLE of_extension(a int); INSERT INTO of_extension SELECT generate_series(1, 23); ALTER
    EXTENSION hstore ADD TABLE of_extension;
    CREATE TABLE config_of_extension(a int); INSERT INTO config_of_extension SELECT
    generate_series(1, 24); ALTER EXTENSION hstore ADD TABLE config_of_extension;
    UPDATE pg_extension SET extconfig = ARRAY['config_of_extension'::regclass::oid], extcondition =
    ARRAY['WHERE a > 20'] WHERE extname = 'hstore';
    CREATE TEMP TABLE passing(a int); INSERT INTO passing VALUES (1);
"#;

fn everything(cluster: &Cluster) -> Database<'_> {
    let database = cluster.database("everything");
    database.sql(EVERYTHING);
    database
}

/// Backs up with these keys, and holds the manifest against what the archive says of itself.
#[track_caller]
fn backed_up(database: &Database<'_>, keys: &str) -> Value {
    let world = World::new();
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.it]\nkind = \"postgres\"\nurl = \"{}\"\n{keys}\n",
        database.url()
    ));
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    let report = world
        .dbbackup("verify --json --level content")
        .run()
        .exits(0)
        .json();
    let checks = report["results"][0]["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .any(|check| check["name"] == "rows" && check["status"] == "ok"),
        "{keys}: {report}"
    );
    if !keys.contains("plain") {
        let list = output(
            database
                .cluster
                .program("pg_restore")
                .arg("-l")
                .arg(world.decoded(&sidecar)),
        );
        let toc = Toc::parse(&list).unwrap();
        let found = tables(&sidecar);
        for entry in toc.entries_of_kind("TABLE DATA") {
            let of = found
                .iter()
                .find(|(name, _)| entry.belongs_to(&QualifiedName::parse(name).unwrap()));
            let (name, (kind, ..)) =
                of.unwrap_or_else(|| panic!("{keys}: the manifest lacks {entry:?}"));
            assert!(
                kind == "table" || kind == "table of an extension",
                "{keys}: {name} is a {kind}, and yet its data is there"
            );
        }
        let with_data = toc.entries_of_kind("TABLE DATA").filter(|entry| {
            !entry.belongs_to(&QualifiedName::new("public", "config_of_extension"))
        });
        assert_eq!(
            with_data.count(),
            compared(&sidecar).len(),
            "{keys}\n{list}"
        );
    }
    sidecar
}

#[test]
fn every_kind_of_table_is_counted_as_it_is_dumped() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = everything(cluster);
    for format in ["custom", "plain"] {
        let sidecar = backed_up(&database, &format!("format = \"{format}\""));
        let found = tables(&sidecar);
        let expected = [
            ("public.orders", 11),
            ("app.orders", 12),
            ("app2.orders", 13),
            ("\"App\".\"Orders\"", 14),
            ("\"a.b\".\"c.d\"", 15),
            ("\"we*rd$\".\"t?\"", 16),
            ("hidden.sessions", 17),
            ("public.sessions_1", 18),
            ("public.sessions_2", 19),
            ("public.\"sess$ions|x\"", 20),
            ("public.part_1", 100),
            ("app.part_2a", 16),
            ("public.part_2b", 34),
            ("public.mother", 3),
            ("public.child", 5),
            ("app.grandchild", 7),
            ("public.fleeting", 21),
            ("public.nothing", 2),
            ("public.vacant", 0),
            ("public.generated", 4),
            ("public.secured", 22),
        ];
        let expected: BTreeMap<String, u64> = expected
            .into_iter()
            .map(|(name, rows)| (name.to_owned(), rows))
            .collect();
        assert_eq!(compared(&sidecar), expected);
        assert_eq!(
            sidecar["manifest"]["rows_total"],
            expected.values().sum::<u64>()
        );
        // What is not compared is not counted.
        for view in ["public.totals", "public.unfilled"] {
            assert_eq!(found[view], ("materialized view".into(), 0, false));
        }
        let listed = sidecar["manifest"]["tables"].as_array().unwrap();
        let view = listed
            .iter()
            .find(|table| table["name"] == "public.totals")
            .unwrap();
        assert_eq!(view.get("rows"), None);
        // The rows that the dump has of it.
        assert_eq!(
            found["public.config_of_extension"],
            ("table of an extension".into(), 4, false)
        );
        // It is not in the dump, so it is not in the manifest.
        assert!(!found.contains_key("public.of_extension"));
        let warnings = sidecar["warnings"].as_array().unwrap();
        let told: Vec<&Value> = warnings
            .iter()
            .filter(|warning| {
                warning
                    .as_str()
                    .unwrap()
                    .contains("belongs to an extension")
            })
            .collect();
        assert!(
            told.len() == 1 && told[0].as_str().unwrap().contains("public.of_extension"),
            "{warnings:?}"
        );
        assert_eq!(found.len(), expected.len() + 3, "{found:?}");
    }
}

/// TOML strings in a list.
fn list(key: &str, patterns: &[&str]) -> String {
    let quoted: Vec<String> = patterns
        .iter()
        .map(|text| format!("'''{text}'''"))
        .collect();
    format!("{key} = [{}]\n", quoted.join(", "))
}

#[test]
fn patterns_mean_to_the_counts_what_they_mean_to_the_dump() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = everything(cluster);
    let patterns: &[&[&str]] = &[
        &["orders"],
        &["ORDERS"],
        &["*.orders"],
        &["\"App\".\"Orders\""],
        &["app.*"],
        &["app?.orders"],
        &["*"],
        &["*.*"],
        &["sessions_?", "app.orders"],
        &["sessions*"],
        &["hidden.s*"],
        &["\"sess$ions|x\""],
        &["sess$ions*"],
        &["sessions_(1|2)"],
        &["sessions_[12]"],
        &["\"a.b\".\"c.d\""],
        &["\"we*rd$\".\"t?\""],
        &["part"],
        &["part_2"],
        &["part*"],
        &["mother"],
        &["child", "fleeting", "totals"],
        &["no_such_table"],
        &["pg_catalog.pg_class"],
        &["*extension"],
    ];
    for (number, some) in patterns.iter().enumerate() {
        backed_up(&database, &list("exclude_table_data", some));
        // The same function reads both; what differs is what pg_dump leaves out.
        if number % 3 == 0 {
            backed_up(&database, &list("exclude_table", some));
        }
    }
    let left_out = backed_up(
        &database,
        &list("exclude_table_data", &["hidden.sessions", "sessions_1"]),
    );
    assert!(!tables(&left_out)["hidden.sessions"].2 && !tables(&left_out)["public.sessions_1"].2);
    let excluded = backed_up(&database, &list("exclude_table", &["*.sessions"]));
    assert!(
        !tables(&excluded).contains_key("hidden.sessions")
            && tables(&excluded).contains_key("public.sessions_1")
    );
}

#[test]
fn schemas_mean_to_the_counts_what_they_mean_to_the_dump() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = everything(cluster);
    for (schemas, expected) in [
        (&["app"][..], 3),
        (&["app*"], 4),
        (&["app?"], 1),
        (&["APP"], 3),
        (&["\"App\""], 1),
        (&["\"a.b\"", "\"we*rd$\""], 2),
        (&["public", "hidden"], 14),
        (&["empty"], 0),
        (&["a*", "public|h*"], 19),
    ] {
        let sidecar = backed_up(&database, &list("schemas", schemas));
        assert_eq!(
            compared(&sidecar).len(),
            expected,
            "{schemas:?}: {:?}",
            compared(&sidecar)
        );
    }
    backed_up(
        &database,
        &format!(
            "{}{}",
            list("schemas", &["app*", "public"]),
            list("exclude_table", &["*.orders"])
        ),
    );
    let sidecar = backed_up(
        &database,
        &format!(
            "{}{}format = \"plain\"\n",
            list("schemas", &["app"]),
            list("exclude_table_data", &["app.orders"])
        ),
    );
    assert!(!tables(&sidecar)["app.orders"].2);
    // A schema that is not there is a failed backup, as in pg_dump: rather that than an empty one.
    let world = World::new();
    let config = format!(
        "[store]\npath = \"store\"\n[sources.it]\nkind = \"postgres\"\nurl = \"{}\"\n{}",
        database.url(),
        list("schemas", &["nosuch"])
    );
    world.config(&config);
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("no matching schemas were found");
    world.failed_attempt("it");
}

#[test]
fn patterns_without_a_schema_go_by_the_roles_own_search_path() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = everything(cluster);
    database.sql(&format!(
        "ALTER DATABASE {} SET search_path = hidden, app",
        identifier(&database.name)
    ));
    let sidecar = backed_up(
        &database,
        &list("exclude_table_data", &["sessions", "orders"]),
    );
    let found = tables(&sidecar);
    assert!(
        !found["hidden.sessions"].2 && !found["app.orders"].2 && found["public.orders"].2,
        "{found:?}"
    );
    backed_up(
        &database,
        &list("exclude_table", &["sessions", "o*", "public.part_1"]),
    );
}

#[test]
fn rows_that_the_role_may_not_see_fail_the_backup() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = everything(cluster);
    let role = format!("limited_{}", database.name);
    let drop =
        format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}");
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}; REVOKE ALL ON \
                       TABLE app.orders FROM PUBLIC"
    ));
    let world = World::new();
    let config = |more: &str| {
        format!(
            "[store]\npath = \"store\"\n[sources.it]\nkind = \"postgres\"\nurl = \"{}\"\n{more}",
            cluster.url_as(&role, &database.name)
        )
    };
    world.config(&config(""));
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("row-level security")
        .says("BYPASSRLS");
    world.failed_attempt("it");
    world.dbbackup("list").run().exits(0).says("no good backup");
    // Its rows left out, the rest is whole.
    world.config(&config("exclude_table_data = [\"public.secured\"]\n"));
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(compared(&sidecar)["app.orders"], 12);
    world.dbbackup("verify --level content").run().exits(0);
    // A role that may read nothing.
    database.sql(&format!("REVOKE pg_read_all_data FROM {role}"));
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("permission denied")
        .says("GRANT pg_read_all_data");
    database.sql(&drop);
}

#[test]
fn what_pg_dump_leaves_out_makes_the_backup_partial() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = cluster.database("partly");
    let role = format!("reader_{}", database.name);
    database.sql(&format!(
        "CREATE TABLE t(a int); INSERT INTO t VALUES (1); SELECT lo_from_bytea(0, 'secret'); \
         CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}"
    ));
    let url = cluster.url_as(&role, &database.name);
    let world = World::new();
    let sidecar = world
        .with_store(&format!("backup {url} --json --as it"))
        .run()
        .exits(3)
        .made();
    assert_eq!(sidecar["status"], "partial");
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("large objects are left out"),
        "{sidecar}"
    );
    assert_eq!(compared(&sidecar)["public.t"], 1);
    let list = output(
        cluster
            .program("pg_restore")
            .arg("-l")
            .arg(world.decoded(&sidecar)),
    );
    assert!(!list.contains("BLOB"), "{list}");
    let id = sidecar["id"].as_str().unwrap();
    world
        .with_store(&format!("verify {id} --level content"))
        .run()
        .exits(0);
    world
        .with_store(&format!("backup {url} --as it"))
        .run()
        .exits(3)
        .says("large objects")
        .says("incomplete");

    // One that it may read is no reason.
    let oid = database.value("SELECT oid FROM pg_largeobject_metadata");
    database.sql(&format!("GRANT SELECT ON LARGE OBJECT {oid} TO {role}"));
    world
        .with_store(&format!("backup {url} --as it"))
        .run()
        .exits(0);

    database.sql(
        "CREATE SUBSCRIPTION partly_sub CONNECTION 'host=/nowhere' PUBLICATION p WITH \
                  (connect = false)",
    );
    let sidecar = world
        .with_store(&format!("backup {url} --json --as it"))
        .run()
        .exits(3)
        .made();
    assert_eq!(sidecar["status"], "partial");
    assert!(
        sidecar["warnings"]
            .to_string()
            .contains("subscriptions not dumped"),
        "{sidecar}"
    );
    let whole = world
        .with_store(&format!("backup {} --json --as it", database.url()))
        .run()
        .exits(0)
        .made();
    assert_eq!(whole["status"], "ok");
    database.sql("ALTER SUBSCRIPTION partly_sub DISABLE");
    database.sql("ALTER SUBSCRIPTION partly_sub SET (slot_name = NONE)");
    database.sql("DROP SUBSCRIPTION partly_sub");
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// Comments of a dump have names on one line, where two of them may look alike.
#[test]
fn two_names_that_are_one_on_one_line_are_two_tables() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = cluster.database("lines");
    database.sql(
        "CREATE TABLE \"we\nird\" AS SELECT generate_series(1, 3) AS a; CREATE TABLE \"we \
                  ird\" AS SELECT generate_series(1, 2) AS a",
    );
    for format in ["custom", "plain"] {
        let world = World::new();
        let url = database.url();
        world.config(&format!(
            "[store]\npath = \"store\"\n[sources.it]\nkind = \"postgres\"\nurl = \"{url}\"\nformat \
             = \"{format}\"\n"
        ));
        let sidecar = world.dbbackup("backup --json").run().exits(0).made();
        let rows: Vec<u64> = compared(&sidecar).into_values().collect();
        assert_eq!(rows.iter().sum::<u64>(), 5, "{sidecar}");
        for level in ["content", "restore"] {
            world
                .dbbackup(&format!("verify --level {level}"))
                .run()
                .exits(0);
        }
    }
}

/// The connection speaks UTF-8 and the dump the database's own encoding: names are the same tables
/// all the same.
#[test]
fn databases_in_other_encodings() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for (encoding, table) in [
        ("LATIN1", "Größe"),
        ("EUC_JP", "表"),
        ("SQL_ASCII", "Größe"),
    ] {
        let name = format!("encoded_{}", encoding.to_lowercase());
        cluster.sql(
            "postgres",
            &format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"),
        );
        let database = Database { cluster, name };
        database.sql(
            &format!(
                "CREATE TABLE \"{table}\"(a text); INSERT INTO \"{table}\" VALUES ('ü'), \
                      ('x'); CREATE TABLE plain(a int)"
            )
            .replace(
                "('ü')",
                if encoding == "EUC_JP" {
                    "('表')"
                } else {
                    "('ü')"
                },
            ),
        );
        for format in ["custom", "plain"] {
            let sidecar = backed_up(&database, &format!("format = \"{format}\""));
            assert_eq!(
                compared(&sidecar)[&format!("public.\"{table}\"")],
                2,
                "{encoding} {format}"
            );
        }
    }
}
