//! What `pg_dump` and `pg_restore` really print is read rightly: names and data made to look like
//! the script around them, every way of loading partitions, every layout of a dump.

use crate::cluster::{Cluster, Database};
use dbbackup::engine::postgres::names::QualifiedName;
use dbbackup::engine::postgres::scan::{ScanResult, scan};
use dbbackup::engine::postgres::toc::Toc;
use std::collections::BTreeMap;

/// Without roles, which would belong to all databases of the cluster.
const HOSTILE: &str = r#"
    SET check_function_bodies = off;
    CREATE SCHEMA "s;
COPY x FROM stdin;
\.
";
    CREATE SCHEMA "DATA"; CREATE SCHEMA "my schema"; CREATE SCHEMA "my";
    CREATE TYPE color AS ENUM ('red', 'green', 'blue');
    CREATE TABLE "ro
ot" (c color, t text) PARTITION BY HASH (c);
    CREATE TABLE "ro ot" (c int); INSERT INTO "ro ot" SELECT generate_series(1, 4);
    CREATE TABLE "ro ot p0" PARTITION OF "ro
ot" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE "p1; Type: TABLE DATA; Schema: x; Owner: y" PARTITION OF "ro
ot" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO "ro
ot" SELECT c, E'x\n\\.\n' FROM unnest(enum_range(NULL::color)) c, generate_series(1, 10);
    CREATE TABLE measure (d int, t text) PARTITION BY RANGE (d);
    CREATE TABLE measure_1 PARTITION OF measure FOR VALUES FROM (0) TO (100);
    CREATE TABLE measure_2 PARTITION OF measure FOR VALUES FROM (100) TO (200) PARTITION BY LIST
    (t);
    CREATE TABLE "my schema".measure_2a PARTITION OF measure_2 DEFAULT;
    INSERT INTO measure SELECT g, g::text FROM generate_series(0, 149) g;
    CREATE TABLE no_columns(); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns
    DEFAULT VALUES;
    CREATE TABLE only_generated(g int GENERATED ALWAYS AS (7) STORED); INSERT INTO only_generated
    DEFAULT VALUES;
    CREATE TABLE "my schema"."a""b" (x text, "c) FROM stdin;
1
\." int);
    INSERT INTO "my schema"."a""b"(x) VALUES
        (E'a\nCOPY x FROM stdin;\n\\.\n'), ('\.'), ('\N'), (NULL), (''), (E'\\'), (E'--\n'),
        (E'\\.\n\\.'), (E'\r\n'), ('''"$$$_$;');
    CREATE TABLE "my"."table x"(a int); INSERT INTO "my"."table x" VALUES (1);
    CREATE TABLE "DATA"."my t"(a int); INSERT INTO "DATA"."my t" VALUES (1), (2);
    CREATE TABLE "s;
COPY x FROM stdin;
\.
"."begin"(atomic int, "end" int, "case" int);
    INSERT INTO "s;
COPY x FROM stdin;
\.
"."begin" VALUES (1, 2, 3);
    CREATE TABLE parent(a int); CREATE TABLE child() INHERITS (parent); INSERT INTO parent VALUES
    (1); INSERT INTO child VALUES (2), (3);
    CREATE FUNCTION body() RETURNS void LANGUAGE plpgsql AS $fn$ BEGIN
COPY x FROM stdin;
\.
-- PostgreSQL database dump complete
        PERFORM '$_$ $$ $function$'; END $fn$;
    CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'select 1 -- it''s
';
    CREATE TABLE log(a int, b text);
    CREATE RULE r AS ON INSERT TO log DO ALSO (DELETE FROM child WHERE a = 99; SELECT
    E'COPY x FROM stdin;\n');
    CREATE VIEW "v
COPY x FROM
stdin;" AS SELECT E'\n\\.\nCOPY x FROM stdin;\n-- PostgreSQL database dump complete\n' AS c, a AS "a
--" FROM parent;
    CREATE MATERIALIZED VIEW seen AS SELECT * FROM parent;
    COMMENT ON TABLE log IS
    E'-- PostgreSQL database dump complete\n--\nCOPY log FROM stdin;\n\\.\n';
    ALTER TABLE parent ADD COLUMN d text DEFAULT E'it''s \\ $$ ;\nCOPY x FROM stdin;\n';
    SELECT lo_from_bytea(0, decode(repeat('00ff5c2e0a', 50000), 'hex'));
"#;

/// Bodies that are kept as SQL, which servers know from 14 on.
const BODIES: &str = r#"
    CREATE FUNCTION sql_body(begin int, a$b int DEFAULT CASE WHEN true THEN 1 END) RETURNS int
    LANGUAGE sql
        BEGIN ATOMIC
            SELECT CASE WHEN (1 = 1) THEN 1 ELSE CASE WHEN sql_body.begin > 1 THEN 2 END END;
            SELECT length(E'\\.\nCOPY x FROM stdin;\n''\\') AS "end";
        END;
"#;

type Counts = BTreeMap<QualifiedName, u64>;

fn hostile(cluster: &Cluster) -> Database<'_> {
    let database = cluster.database("scan");
    database.sql(HOSTILE);
    if cluster.major_version() >= 14 {
        database.sql(BODIES);
    }
    database
}

/// What the server counts in every table that has rows of its own.
fn counted(database: &Database<'_>) -> Counts {
    let tables =
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n \
                  ON n.oid = c.relnamespace
                  WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> \
                  'information_schema'";
    let names: Vec<String> = database
        .client()
        .query(tables, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let count = |name: &String| {
        database
            .value(&format!("SELECT count(*) FROM ONLY {name}"))
            .parse()
            .unwrap()
    };
    names
        .iter()
        .map(|name| (QualifiedName::parse(name).unwrap(), count(name)))
        .collect()
}

fn output(cluster: &Cluster, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = cluster.program(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn scanned(script: &[u8]) -> ScanResult {
    scan(&mut &*script).unwrap()
}

#[test]
fn every_layout_of_a_dump_gives_the_counts_of_the_server() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = hostile(cluster);
    let expected = counted(&database);
    for options in [
        &[][..],
        &["--load-via-partition-root"],
        &["--verbose", "--create"],
        &["--data-only", "--disable-triggers"],
        &["--quote-all-identifiers"],
        &["--no-owner", "--no-comments"],
        &["--section=data"],
    ] {
        let plain = output(
            cluster,
            "pg_dump",
            &[options, &["-d", &database.name]].concat(),
        );
        let found = scanned(&plain);
        assert!(found.complete, "{options:?}");
        assert_eq!(
            found.tables.into_iter().collect::<Counts>(),
            expected,
            "{options:?}"
        );
    }
    let inserts = scanned(&output(
        cluster,
        "pg_dump",
        &["--inserts", "-d", &database.name],
    ));
    assert!(inserts.complete && inserts.tables.is_empty());
}

#[test]
fn an_archive_and_its_list_agree() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = hostile(cluster);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.dump");
    let file = file.to_str().unwrap();
    output(
        cluster,
        "pg_dump",
        &["-Fc", "-Z0", "--file", file, "-d", &database.name],
    );
    let script = output(cluster, "pg_restore", &["--file=-", file]);
    let found = scanned(&script);
    assert!(found.complete && found.bytes == script.len() as u64);
    let toc =
        Toc::parse(&String::from_utf8(output(cluster, "pg_restore", &["--list", file])).unwrap())
            .unwrap();
    assert_eq!(toc.header.database.as_deref(), Some(database.name.as_str()));
    assert_eq!(
        toc.entries_of_kind("TABLE DATA").count(),
        found.tables.len()
    );
    for (table, _) in &found.tables {
        assert!(
            toc.entries_of_kind("TABLE DATA")
                .any(|entry| entry.belongs_to(table)),
            "{table}"
        );
    }
    assert_eq!(
        found.tables.into_iter().collect::<Counts>(),
        counted(&database)
    );
}

#[test]
fn a_real_dump_that_is_cut_is_never_complete() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = hostile(cluster);
    let script = output(cluster, "pg_dump", &["--no-comments", "-d", &database.name]);
    let whole = scanned(&script);
    let trailer = b"\n-- PostgreSQL database dump complete";
    let end = script
        .windows(trailer.len())
        .rposition(|window| window == trailer)
        .unwrap()
        + trailer.len();
    // Large objects make most of it; a prime step passes through everything else.
    for cut in (0..script.len())
        .step_by(997)
        .chain(end.saturating_sub(300)..=script.len())
    {
        let found = scanned(&script[..cut]);
        assert!(
            !found.complete || cut >= end && found.tables == whole.tables,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_cluster_is_complete_only_as_a_whole() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let script = output(cluster, "pg_dumpall", &["--globals-only"]);
    assert!(scanned(&script).complete);
    assert!(!scanned(&script[..script.len() - 60]).complete);
}
