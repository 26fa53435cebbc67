//! Deltas of PostgreSQL databases, as archives and as scripts: they take what the changed rows
//! take, come back as fulls do, by hand too, and whatever happens to tables costs only what it
//! changes.

use crate::cluster::{Cluster, Options, assert_same};
use crate::moments::next_second;
use crate::postgres_world::Shop;
use crate::support::{Call, World};
use crate::tools;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const FORMATS: [&str; 2] = ["custom", "plain"];

/// Wide and narrow rows, equal ones, such whose length is a line's end in an archive, names that
/// need quotes, a sequence, and large objects.
const TABLES: &str = r#"
    CREATE TABLE a_items (id int PRIMARY KEY, name text, price numeric(10, 2));
    INSERT INTO a_items SELECT i, md5(i::text), i / 100.0 FROM generate_series(1, 20000) i;
    CREATE TABLE b_tags (kind int, on_sale boolean);
    INSERT INTO b_tags SELECT i % 3, i % 2 = 0 FROM generate_series(1, 8000) i;
    CREATE TABLE c_tens (n int);
    INSERT INTO c_tens SELECT 100000000 + i FROM generate_series(1, 8000) i;
    CREATE SCHEMA "Odd, name";
    CREATE TABLE "Odd, name"."T ""x""" (id serial, note text);
    INSERT INTO "Odd, name"."T ""x""" (note) SELECT md5(i::text) FROM generate_series(1, 3000) i;
    CREATE TABLE z_log (at timestamptz, line text);
    INSERT INTO z_log SELECT '2026-01-01'::timestamptz + i * interval '1 minute',
        'COPY public.a_items (id) FROM stdin;' || i FROM generate_series(1, 4000) i;
    CREATE INDEX ON z_log (at);
    SELECT lo_from_bytea(0, decode(repeat(md5(i::text), 900), 'hex'))
        FROM generate_series(1, 5) i;"#;

/// A database that is saved as deltas, by a `pg_dump` whose output is kept aside.
struct DeltaShop<'a> {
    shop: Shop<'a>,
    more: String,
}

impl<'a> DeltaShop<'a> {
    fn new(cluster: &'a Cluster, format: &str) -> Self {
        let shop = Shop::empty(cluster);
        shop.db.sql(TABLES);
        let kept = shop.world.path("kept");
        let real = cluster.bin().join("pg_dump");
        let script = format!(
            "#!/bin/bash\nset -o pipefail\ncase \" $* \" in\n*\" --snapshot=\"*) {real:?} \"$@\" \
             | tee {kept:?} ;;\n*) exec {real:?} \"$@\" ;;\nesac\n"
        );
        let bin = shop.programs("kept-bin", &[], &[("pg_dump", &script)]);
        let more = format!(
            "bin_dir = {bin:?}\nformat = \"{format}\"\nincremental = true\ncompression = \
             \"none\"\ncleanup_after = false\n"
        );
        shop.configure(&more);
        DeltaShop { shop, more }
    }

    fn run(&self, arguments: &str) -> Call {
        let call = self.shop.run(arguments);
        call.env("DBBACKUP_TEST_DELTA_SIZE", "1")
    }

    fn sql(&self, script: &str) {
        self.shop.db.sql(script);
    }

    /// A backup of its own second, whose content is what `pg_dump` has written; gives its sidecar.
    #[track_caller]
    fn back_up(&self, more: &str) -> Value {
        next_second();
        let ran = self.run(&format!("backup shop --json {more}")).run();
        let sidecar = ran.exits(0).made();
        let kept = fs::read(self.shop.world.path("kept")).unwrap();
        let hash: String = (Sha256::digest(&kept).iter())
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sidecar["dump"]["content_sha256"], hash.as_str());
        assert_eq!(sidecar["dump"]["content_size_bytes"], kept.len());
        sidecar
    }

    /// The size of the delta that is made after these changes.
    #[track_caller]
    fn delta_after(&self, script: &str) -> u64 {
        self.sql(script);
        let sidecar = self.back_up("");
        assert!(is_delta(&sidecar), "{script}: {sidecar}");
        size(&sidecar)
    }

    /// The backup comes back as a database like the present one.
    #[track_caller]
    fn restores_to_now(&self, sidecar: &Value) {
        let (id, target) = (id_of(sidecar), format!("{}_again", self.shop.name()));
        self.run(&format!("restore {id} --to {target}"))
            .run()
            .exits(0);
        let cluster = self.shop.cluster();
        same_content(&cluster.dump_text(&target, &[]), &self.shop.db.dump_text());
        self.shop.drop_relatives();
    }
}

/// A server that is busy may put a row that is filled in into the room that is left on an earlier
/// page, so the order says nothing.
#[track_caller]
fn same_content(left: &str, right: &str) {
    let sorted = |text: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    assert_same(&sorted(left), &sorted(right));
}

fn id_of(sidecar: &Value) -> String {
    sidecar["id"].as_str().unwrap().to_owned()
}

fn is_delta(sidecar: &Value) -> bool {
    sidecar["dump"]["base"] != Value::Null
}

fn size(sidecar: &Value) -> u64 {
    sidecar["dump"]["size_bytes"].as_u64().unwrap()
}

/// What a delta has beside its rows: the head of a dump, with the time, and of its windows.
const HEADS: u64 = 2000;

#[test]
fn changed_rows_take_little_more_than_themselves() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        let full = shop.back_up("");
        assert!(!is_delta(&full));
        let unchanged = shop.delta_after("SELECT");
        assert!(unchanged < HEADS, "{format}: {unchanged}");
        // 1 % of the rows, which go to the end of their tables.
        let update = "UPDATE a_items SET name = md5(name) WHERE hashint4(id) % 100 = 0;
            UPDATE c_tens SET n = n + 500000000 WHERE n % 100 = 0";
        let (items, tens) = (220, 80);
        let own = items * 52 + tens * 15;
        let changed = shop.delta_after(update);
        assert!(
            changed < HEADS + own + (items + tens) * 60,
            "{format}: {changed}"
        );
        // And into the holes that those have left.
        shop.sql("VACUUM a_items");
        shop.sql("VACUUM c_tens");
        let again = shop.delta_after(
            "UPDATE a_items SET name = md5(name) WHERE hashint4(id) % 100 = 1;
             UPDATE c_tens SET n = n + 500000000 WHERE n % 100 = 1 AND n < 200000000",
        );
        // What was in those places is still in the base that it is built on.
        let bound = HEADS + 2 * (own + (items + tens) * 60);
        assert!(again < bound, "{format}: {again}");
        // The rows and bytes are counted as for a full.
        let last = shop.back_up("");
        let again = shop.back_up("--full");
        assert!(is_delta(&last) && !is_delta(&again));
        assert_eq!(last["manifest"], again["manifest"]);
        assert_eq!(
            last["manifest"]["rows_total"],
            20_000 + 8000 + 8000 + 3000 + 4000
        );
        shop.restores_to_now(&last);
        for level in ["checksum", "content", "restore"] {
            shop.run(&format!("verify --all --level {level}"))
                .run()
                .exits(0);
        }
    }
}

/// `show` says how; the line is run as it stands, and PostgreSQL's own programs take what comes.
#[test]
fn xdelta3_and_postgresql_recover_a_delta() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !tools::have("xdelta3") || !tools::have("zstd") {
        return;
    }
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        let packed = shop.more.replace("\"none\"", "\"zstd\"");
        shop.shop.configure(&packed);
        shop.back_up("");
        for number in 0..5 {
            shop.delta_after(&format!(
                "UPDATE a_items SET price = 0 WHERE id % 900 = {number}"
            ));
        }
        let id = shop.shop.world.ids("shop")[0].clone();
        let shown = shop.run(&format!("show {id}")).run().exits(0);
        let mut lines = shown.stdout.lines();
        let line = lines.rfind(|line| line.starts_with("by hand"));
        let command = line.unwrap().trim_start_matches("by hand").trim();
        let command = command.strip_suffix("> FILE").unwrap();
        let target = cluster.database("by_hand");
        let load = match format {
            "custom" => "pg_restore --exit-on-error --dbname",
            _ => "psql -X -q -v ON_ERROR_STOP=1 --dbname",
        };
        let script = format!("set -euo pipefail\n{command} | {load} \"$URL\" > /dev/null");
        let status = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path_with(cluster.bin()))
            .env("URL", target.url())
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
        same_content(&target.dump_text(), &shop.shop.db.dump_text());
        // What the manual says does the same.
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/dbbackup-recovery.7.md");
        let text = fs::read_to_string(page).unwrap();
        let blocks = text.split("```sh delta\n").skip(1);
        let steps: String = blocks
            .map(|block| block.split("```").next().unwrap())
            .collect();
        let new = shop.shop.world.path("by-the-manual");
        let status = Command::new("bash")
            .args(["-c", &format!("set -euo pipefail\n{steps}")])
            .env("STORE", shop.shop.world.path("store"))
            .env("SOURCE", "shop")
            .env("ID", &id)
            .env("NEW", &new)
            .status()
            .unwrap();
        assert!(status.success(), "{format}");
        let kept = fs::read(shop.shop.world.path("kept")).unwrap();
        assert!(fs::read(&new).unwrap() == kept, "{format}");
    }
}

fn path_with(bin: &std::path::Path) -> String {
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn what_happens_to_tables_costs_what_it_changes() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        shop.back_up("");
        // A new entry gives all that follow other numbers, in an archive.
        let toc = if format == "custom" { 30_000 } else { 3000 };
        let dropped = shop.delta_after("DROP TABLE c_tens");
        assert!(dropped < toc, "{format}: dropped {dropped}");
        let new = shop.delta_after(
            "CREATE TABLE b_new (a int, b text);
             INSERT INTO b_new SELECT i, md5(i::text) FROM generate_series(1, 1000) i",
        );
        let rows = 1000 * (37 + 5);
        assert!(
            (rows - 6000..rows + toc).contains(&new),
            "{format}: new {new}"
        );
        let deleted = shop.delta_after("DELETE FROM a_items WHERE id BETWEEN 4000 AND 15000");
        assert!(deleted < toc + rows, "{format}: deleted {deleted}");
        let emptied = shop.delta_after("TRUNCATE z_log; ALTER TABLE b_tags RENAME TO y_tags");
        // Nobody knows the rows of a table by its new name, if it is not in the same place.
        let tags = 8000 * (4 + 5);
        assert!(emptied < toc + rows + tags, "{format}: emptied {emptied}");
        let last = shop.delta_after(
            "ALTER TABLE a_items ADD more int DEFAULT 7;
             DO $$ BEGIN PERFORM lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 2; END $$;
             SELECT lo_from_bytea(0, 'new')",
        );
        assert!(last > 0);
        shop.restores_to_now(&shop.back_up(""));
        shop.run("verify --all --level content").run().exits(0);
    }
}

/// Its delta is finished, however large, and the next backup is a full.
#[test]
fn a_bulk_update_makes_the_next_one_a_full() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        let full = shop.back_up("");
        let bulk = shop.delta_after("UPDATE a_items SET name = md5(name || 'x')");
        assert!(bulk * 2 > size(&full), "{format}: {bulk}");
        let next = shop.back_up("");
        assert!(!is_delta(&next), "{format}");
        let after = shop.back_up("");
        assert_eq!(after["dump"]["base"]["id"], next["id"], "{format}");
        shop.run("verify --all --level content").run().exits(0);
    }
}

#[test]
fn what_was_written_in_another_way_is_no_base() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = DeltaShop::new(cluster, "custom");
    let edits: [fn(&mut Value); 3] = [
        |sidecar| sidecar["database"]["server_version"] = "9.6.24".into(),
        |sidecar| sidecar["producer"]["pg_dump"] = "9.6.24".into(),
        |sidecar| sidecar["database"]["encoding"] = "LATIN1".into(),
    ];
    for edit in edits {
        let full = shop.back_up("--full");
        assert!(is_delta(&shop.back_up("")));
        for id in shop.shop.world.ids("shop") {
            shop.shop.edit(&id, edit);
        }
        let next = shop.back_up("");
        assert!(!is_delta(&next), "{full}");
        assert!(is_delta(&shop.back_up("")));
    }
    // Another minor version writes the same.
    for id in shop.shop.world.ids("shop") {
        let major = cluster.major_version();
        shop.shop.edit(&id, |sidecar| {
            sidecar["database"]["server_version"] = format!("{major}.0").into();
        });
    }
    assert!(is_delta(&shop.back_up("")));
    // Another format, really.
    let plain = shop.more.replace("\"custom\"", "\"plain\"");
    shop.shop.configure(&plain);
    assert!(!is_delta(&shop.back_up("")));
    assert!(is_delta(&shop.back_up("")));
    // Other programs, where there are any.
    let other = Cluster::with_clients()
        .into_iter()
        .find(|bin| Cluster::major(bin) > cluster.major_version());
    if let Some(bin) = other {
        let more = format!("bin_dir = {bin:?}\nformat = \"plain\"\nincremental = true\n");
        shop.shop.configure(&more);
        next_second();
        let made = shop.run("backup shop --json").run().exits(0).made();
        assert!(!is_delta(&made));
    }
    shop.run("verify --all --level checksum").run().exits(0);
}

/// A damaged file on the way is found by the next run, which makes a full.
#[test]
fn damage_on_the_way_is_answered_by_a_full() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        let full = shop.back_up("");
        shop.delta_after("UPDATE a_items SET price = 1 WHERE id % 500 = 0");
        let path = shop.shop.dump_of(&id_of(&full));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        next_second();
        let ran = shop.run("backup shop --json").run().exits(3);
        let json = ran.says("a full was made").json();
        assert!(!is_delta(&json["backups"][0]));
        shop.restores_to_now(&json["backups"][0]);
        assert!(is_delta(&shop.back_up("")));
    }
}

/// A section that was dropped and rows that were deleted are larger than all that is read ahead.
#[test]
fn large_tables_come_and_go() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in FORMATS {
        let shop = DeltaShop::new(cluster, format);
        shop.sql(
            "CREATE TABLE b_large (id int, a text);
             INSERT INTO b_large SELECT i, repeat(md5(i::text), 6)
                FROM generate_series(1, 200000) i;
             CREATE TABLE m_large (id int, a text);
             INSERT INTO m_large SELECT -i, repeat(md5((-i)::text), 6)
                FROM generate_series(1, 200000) i;",
        );
        let full = shop.back_up("");
        assert!(size(&full) > 70 << 20);
        // What goes by before landmarks are looked for.
        let deleted = shop.delta_after("DELETE FROM m_large WHERE id > -150000");
        assert!(deleted < 6 << 20, "{format}: {deleted}");
        let dropped = shop.delta_after("DROP TABLE b_large");
        assert!(dropped < 6 << 20, "{format}: {dropped}");
        shop.run("verify --all --level content").run().exits(0);
    }
}

#[test]
fn databases_of_a_cluster_become_deltas() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    for name in ["one", "two"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        cluster.sql(name, TABLES);
    }
    let world = World::new();
    let url = cluster.url("postgres");
    world.config(&format!(
        "[store]\npath = \"store\"\n[backup]\nincremental = true\n[sources.all]\nkind = \
         \"postgres\"\nurl = \"{url}\"\ndatabases = [\"one\", \"two\"]\nglobals = true\nbin_dir = \
         {:?}\n",
        cluster.bin()
    ));
    let back_up = || {
        next_second();
        let call = world.dbbackup("backup --json");
        let ran = call.env("DBBACKUP_TEST_DELTA_SIZE", "0").run();
        ran.exits(0).json()["backups"].as_array().unwrap().clone()
    };
    assert!(back_up().iter().all(|one| !is_delta(one)));
    cluster.sql("two", "UPDATE a_items SET price = 1 WHERE id % 500 = 0");
    let second = back_up();
    assert_eq!(second.len(), 3);
    for one in &second {
        let is_globals = one["source"] == "all-globals";
        assert_eq!(is_delta(one), !is_globals, "{one}");
    }
    world
        .dbbackup("verify --all --level content")
        .run()
        .exits(0);
    // The dump of each is there, and stands alone or is a delta by its name.
    let files: Vec<PathBuf> = ["all.one", "all.two"]
        .into_iter()
        .flat_map(|source| world.stored(source, ".dump.vcdiff.gz"))
        .collect();
    assert_eq!(files.len(), 2);
}
