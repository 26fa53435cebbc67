//! `export` of PostgreSQL backups: what is in the files is what the server itself says of the live
//! tables.

use crate::cluster::{Cluster, assert_same};
use crate::export::parse_csv;
use crate::postgres_world::{Shop, everything};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What each table's file holds.
fn exported(shop: &Shop<'_>, format: &str, more: &str) -> BTreeMap<String, String> {
    let to = shop.world.path(&format!("out-{format}"));
    let arguments = format!(
        "export shop --format {format} --to {} --json {more}",
        to.display()
    );
    let json = shop.run(&arguments).run().exits(0).json();
    let files = json["exported"].as_array().unwrap().iter().map(|file| {
        let path = PathBuf::from(file["file"].as_str().unwrap());
        assert_eq!(path.parent().unwrap(), to);
        (
            file["table"].as_str().unwrap().to_owned(),
            String::from_utf8(std::fs::read(path).unwrap()).unwrap(),
        )
    });
    let files: BTreeMap<String, String> = files.collect();
    assert_eq!(std::fs::read_dir(to).unwrap().count(), files.len());
    files
}

fn psql(shop: &Shop<'_>, sql: &str) -> String {
    let output = shop
        .cluster()
        .program("psql")
        .args(["-XAtq", "-d", &shop.db.url(), "-c", sql])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Rows of a table as the export writes them in JSON, made by the server: `to_json` of what JSON
/// has a word for, and of the text of all else (a cast may be the user's own).
fn expected_json(shop: &Shop<'_>, table: &str) -> String {
    let literal = table.replace('\'', "''");
    let columns = psql(
        shop,
        &format!(
            r#"WITH RECURSIVE based AS (
                SELECT attnum, attname, atttypid AS type FROM pg_attribute
                WHERE attrelid = '{literal}'::regclass AND attnum > 0 AND NOT attisdropped AND
                attgenerated = ''
              UNION ALL
                SELECT attnum, attname, typbasetype FROM based JOIN pg_type ON pg_type.oid = type
                WHERE typtype = 'd'),
            elements AS (
                SELECT attnum, attname, type, CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN
                t.typelem END AS element
                FROM based JOIN pg_type t ON t.oid = type WHERE t.typtype <> 'd'),
            deep AS (
                SELECT attnum, element FROM elements WHERE element IS NOT NULL
              UNION ALL
                SELECT attnum, typbasetype FROM deep JOIN pg_type ON pg_type.oid = element WHERE
                typtype = 'd')
            SELECT coalesce(string_agg(format(
                '%L || coalesce(translate((%s)::text, E''\n\r'', ''  ''), ''null'')',
                to_json(attname::text)::text || ':',
                CASE WHEN coalesce(e.element, e.type) = 'box'::regtype THEN
                format('CASE num_nulls(%I) WHEN 0 THEN to_json(format(''%%s'', %I)) END', attname,
                attname)
                     WHEN coalesce(d.element, e.type) = ANY
                     ('{{int2,int4,int8,numeric,float4,float8,bool,json,jsonb}}'::regtype[])
                     THEN format('to_json(%I)', attname)
                     WHEN e.element IS NOT NULL THEN format('to_json(%I::text::text[])', attname)
                     ELSE format('CASE num_nulls(%I) WHEN 0 THEN to_json(format(''%%s'', %I)) END',
                     attname, attname) END), ' || '','' || ' ORDER BY e.attnum), $$''$$)
            FROM elements e LEFT JOIN (
                SELECT attnum, element FROM deep JOIN pg_type ON pg_type.oid = element WHERE
                typtype <> 'd') d USING (attnum)"#
        ),
    );
    let rows = psql(
        shop,
        &format!(
            "SELECT coalesce(string_agg('{{' || {} || '}}', E',\\n'), '') FROM ONLY {table}",
            columns.trim_end()
        ),
    );
    format!("[{rows}]\n").replace("\n]", "]")
}

/// Every kind of table, value and name that there is.
#[test]
fn everything_is_as_the_server_says() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::empty(cluster);
    shop.db.load(everything());
    let id = shop.backup();
    let csv = exported(&shop, "csv", "");
    let json = exported(&shop, "json", "");
    let manifest = shop.world.sidecar(&id)["manifest"]["tables"]
        .as_array()
        .unwrap()
        .clone();
    let counted: Vec<&str> = manifest
        .iter()
        .filter(|table| table["compare"] != false)
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    let mut missing = counted.clone();
    missing.retain(|name| !csv.contains_key(*name));
    assert_eq!(missing, [] as [&str; 0]);
    for (table, text) in &csv {
        let theirs = psql(
            &shop,
            &format!("COPY {table} TO STDOUT (FORMAT csv, HEADER)"),
        );
        assert_eq!(parse_csv(text), parse_csv(&theirs), "{table}");
        assert_same(&json[table], &expected_json(&shop, table));
    }
    assert!(csv.len() > 30, "{:?}", csv.keys());
}

#[test]
fn plain_dumps_serve_too() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db.sql(r#"CREATE SCHEMA "Other one"; CREATE TABLE "Other one".orders (a int); CREATE TABLE "Orders" (x text)"#);
    shop.configure("format = \"plain\"");
    shop.backup();
    let csv = exported(&shop, "csv", "");
    assert_eq!(
        csv.keys().collect::<Vec<_>>(),
        [
            "\"Other one\".orders",
            "public.\"Orders\"",
            "public.customers",
            "public.orders"
        ]
    );
    for (table, text) in &csv {
        assert_eq!(
            parse_csv(text),
            parse_csv(&psql(
                &shop,
                &format!("COPY {table} TO STDOUT (FORMAT csv, HEADER)")
            ))
        );
    }
    // As psql wrote them psql reads them.
    shop.db.sql("CREATE TABLE again (LIKE orders)");
    let file = shop.world.path("out-csv/public.orders.csv");
    psql(
        &shop,
        &format!(
            "\\copy again FROM '{}' WITH (FORMAT csv, HEADER)",
            file.display()
        ),
    );
    let same = "SELECT count(*) FROM (SELECT * FROM again EXCEPT SELECT * FROM orders) x";
    assert_eq!(
        (psql(&shop, same), psql(&shop, "SELECT count(*) FROM again")),
        ("0\n".into(), "1000\n".into())
    );
}

#[test]
fn tables_are_chosen_with_and_without_schema() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db.sql(r#"CREATE SCHEMA other; CREATE TABLE other.orders (a int); CREATE TABLE other."Orders" (a int)"#);
    shop.backup();
    let names = |to: &str| {
        let mut names: Vec<String> = std::fs::read_dir(shop.world.path(to))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    shop.run("export shop --format csv --to any --table orders")
        .run()
        .exits(0);
    assert_eq!(names("any"), ["other.orders.csv", "public.orders.csv"]);
    shop.run("export shop --format csv --to one --table public.orders")
        .run()
        .exits(0);
    assert_eq!(names("one"), ["public.orders.csv"]);
    shop.run("export shop --format json --to big --table other.\"Orders\"")
        .run()
        .exits(0);
    assert_eq!(names("big"), ["other.Orders.json"]);
    shop.run("export shop --format csv --to no --table public.order")
        .run()
        .exits(10)
        .says("did you mean `public.orders`?");
    shop.run("export shop --format csv --to no --table customer")
        .run()
        .exits(10)
        .says("did you mean `public.customers`?");
    shop.run("export shop --format csv --to no --table xyzzy.q")
        .run()
        .exits(10)
        .says("lists its tables");
    assert!(!shop.world.path("no").exists());
}

#[test]
fn encodings_become_utf8_or_are_told() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for (encoding, text, bytes) in [
        ("LATIN1", "é", &b"t\r\n\xc3\xa9\r\n"[..]),
        ("EUC_JP", "日", &b"t\r\n\xc6\xfc\r\n"[..]),
    ] {
        let name = format!("export_{}_{}", encoding.to_lowercase(), std::process::id());
        cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {name}"));
        cluster.sql(
            "postgres",
            &format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' \
                      TEMPLATE template0"
            ),
        );
        cluster.sql(
            &name,
            &format!("CREATE TABLE x (t text); INSERT INTO x VALUES ('{text}')"),
        );
        let shop = Shop::small(cluster);
        shop.configure_as(&cluster.url(&name), "");
        shop.backup();
        let csv = shop.run("export shop --format csv --to csv").run().exits(0);
        assert_eq!(
            std::fs::read(shop.world.path("csv/public.x.csv")).unwrap(),
            bytes
        );
        let json = shop.run("export shop --format json --to json").run();
        if encoding == "LATIN1" {
            json.exits(0);
            assert_eq!(
                std::fs::read_to_string(shop.world.path("json/public.x.json")).unwrap(),
                "[{\"t\":\"é\"}]\n"
            );
        } else {
            csv.says("is in EUC_JP");
            json.exits(1)
                .says("the dump's text is in EUC_JP")
                .says("--format csv");
        }
        cluster.sql("postgres", &format!("DROP DATABASE {name}"));
    }
}

#[test]
fn damage_missing_programs_and_roles_are_told() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let none = shop.world.path("none");
    std::fs::create_dir(&none).unwrap();
    shop.configure(&format!("bin_dir = {none:?}"));
    shop.run("export shop --format csv --to out")
        .run()
        .exits(1)
        .says("can't be read here")
        .says("pg_restore");
    shop.configure("");
    let dump = shop.dump_of(&id);
    let bytes = std::fs::read(&dump).unwrap();
    std::fs::write(&dump, &bytes[..bytes.len() / 2]).unwrap();
    shop.run(&format!("export {id} --format csv --to out"))
        .run()
        .exits(4)
        .says("no file was written");
    shop.world.file(
        "roles.sql",
        "--\n-- PostgreSQL database cluster dump\n--\nCREATE ROLE x;\n--\n-- PostgreSQL database \
         cluster dump complete\n--\n",
    );
    shop.run("export ./roles.sql --format csv --to out")
        .run()
        .exits(1)
        .says("holds no rows of tables");
    assert!(!shop.world.path("out").exists());
}

#[test]
fn a_decoded_archive_goes_into_other_peoples_tools() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.backup();
    let archive = shop.run("cat shop").command.output().unwrap();
    assert!(archive.status.success() && archive.stderr.is_empty());
    let path = shop.world.path("archive");
    std::fs::write(&path, archive.stdout).unwrap();
    let list = cluster
        .program("pg_restore")
        .arg("--list")
        .arg(path)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&list.stdout).contains("TABLE DATA public orders"),
        "{}",
        String::from_utf8_lossy(&list.stderr)
    );
}
