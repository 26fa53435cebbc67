//! `cargo bench --bench postgres`: dbbackup beside `pg_dump`, `pg_restore` and `psql`, on one
//! PostgreSQL database, in one run.
//!
//! The server is a cluster of this run's own in `/tmp`, which needs about four times the database's
//! size there, and as much in the workplace (see `common`). Every contender has its turn in every
//! round; what is compared is the median. All read from a warm cache, all dumps end on disk
//! (fsync), and what the one before wrote is on disk before the next begins.
//! `DBBACKUP_BENCH_ROUNDS` says how many rounds (5 by default), `DBBACKUP_BENCH_MIB` how much
//! `pg_dump` has to say of the database (1000 by default).

#[path = "../tests/it/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, Options};
use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::measure::{self, Cost};
use common::{Role, configuration, dbbackup, first_line, only_file, remove, size};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        _ => println!("run me by `cargo bench --bench postgres`: it takes a quarter of an hour"),
    }
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 5).max(1);
    common::describe_machine();
    let Some(cluster) = Cluster::start(Options {
        config: settings(),
        ..Options::default()
    }) else {
        return;
    };
    println!(
        "server:    {}",
        first_line(
            cluster.bin().join("postgres").to_str().unwrap(),
            "--version"
        )
    );
    let started = Instant::now();
    make_database(&cluster, common::number("DBBACKUP_BENCH_MIB", 1000));
    let bytes = cluster
        .value("postgres", "SELECT pg_database_size('shop')")
        .parse::<u64>()
        .unwrap();
    println!(
        "database:  {:.0} MB, made in {:.0} s; {rounds} rounds",
        megabytes(bytes),
        started.elapsed().as_secs_f64()
    );
    let work = tempfile::Builder::new()
        .prefix("postgres-")
        .tempdir_in(common::workplace())
        .unwrap();
    let bench = Bench {
        cluster,
        work: work.path().to_owned(),
    };
    bench.cost_of_shell("pg_dump -Fc -Z0 shop >/dev/null");
    let kept = bench.keep_dumps();
    println!(
        "stream:    {:.0} MB ({:.1} times what `pigz -6` makes of it)\n",
        megabytes(kept.stream),
        kept.ratio
    );
    let mut tables = [
        bench.gzip(),
        bench.zstd(),
        bench.restore(&kept),
        bench.delta(),
    ];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for contender in tables.iter_mut().flat_map(|table| &mut table.contenders) {
            bench.turn(contender, round);
        }
    }
    explain_columns();
    for table in &tables {
        table.print();
    }
    print_aims(&tables);
}

/// As on a small server of today; nothing of it is for speed that a real one could not have.
fn settings() -> Vec<(String, String)> {
    let settings = [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("shared_buffers", "512MB"),
        ("max_wal_size", "4GB"),
        ("autovacuum", "off"),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

// -------------------------------------------------------------------------------------------------
// the database

/// What makes up a shop's database: prose, JSON documents, numbers, timestamps, hexadecimal ids,
/// and some bytes that don't compress.
const SCHEMA: &str = "
    CREATE TABLE customers (id integer, name text, email text, created_at timestamptz, profile \
                      jsonb);
    CREATE TABLE orders (id integer, public_id uuid, customer integer, status text, total \
                      numeric(12, 2), tax numeric, placed_at timestamptz,
        shipped_at timestamptz, note text);
    CREATE TABLE events (id bigint, at timestamptz, session text, customer integer, kind text, \
                      payload jsonb);
    CREATE TABLE articles (id integer, slug text, title text, body text, updated_at timestamp);
    CREATE TABLE attachments (id integer, orders integer, name text, content bytea);
    -- Sentences of words that are about as frequent as real ones; more than a compressor's window \
                      holds.
    CREATE UNLOGGED TABLE words AS SELECT i AS id, translate(substr(md5(i::text), 1, 2 + i % 9), \
                      '0123456789', 'etaoinshrl') AS word FROM generate_series(0, 3999) i;
    CREATE UNLOGGED TABLE sentences AS
        SELECT s AS id, string_agg(word, ' ') || '. ' AS text
        FROM (SELECT s, (3999 * random() ^ 4)::integer AS id FROM generate_series(0, 49999) s, \
                      generate_series(1, 12) OFFSET 0) n JOIN words USING (id)
        GROUP BY s;
    ALTER TABLE sentences ADD PRIMARY KEY (id);
    VACUUM ANALYZE sentences;";

/// Each is run by a session of its own, all at once; `$N` is the database's size in MiB.
const ROWS: &[&str] = &[
    "INSERT INTO events SELECT i, '2024-01-01 00:00+00'::timestamptz + i * interval '7.31 \
     seconds', md5((i / 12)::text), i * 7919::bigint % ($N * 100),
         (ARRAY['view', 'view', 'search', 'cart', 'login', 'order'])[1 + i % 6], \
     jsonb_build_object('path', '/shop/' || (i * 31) % 977 || '/item/' || (i * 17) % 5003, 'ms',
         (random() * 900)::integer, 'agent', (ARRAY['Mozilla/5.0 (X11; Linux x86_64)', \
     'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4)'])[1 + (i / 12) % 2], 'ok', i % 50 <> 0, 'page', i \
     % 9)
     FROM generate_series(1, $N * 3400) i",
    "INSERT INTO customers SELECT i, initcap(a.word || ' ' || b.word), a.word || '.' || b.word || \
     i || '@example.org', '2020-01-01 00:00+00'::timestamptz + i * interval '97 minutes',
         jsonb_build_object('language', (ARRAY['en', 'de', 'fr'])[1 + i % 3], 'newsletter', i % 4 \
     = 0, 'points', i % 1000, 'tags', jsonb_build_array(a.word, b.word))
     FROM generate_series(1, $N * 100) i JOIN words a ON a.id = i % 4000 JOIN words b ON b.id = i \
     / 7 % 4000",
    "INSERT INTO orders SELECT i, md5(i::text)::uuid, i * 7919::bigint % ($N * 100), \
     (ARRAY['paid', 'shipped', 'shipped', 'returned'])[1 + i % 4], total, round(total * 0.19, 4),
         '2024-01-01 00:00+00'::timestamptz + i * interval '41.7 seconds', CASE WHEN i % 4 > 0 \
     THEN '2024-01-03 00:00+00'::timestamptz + i * interval '41.9 seconds' END, text
     FROM (SELECT i, (random() * 50000)::integer / 100.0 AS total, (random() * 199999)::integer AS \
     note FROM generate_series(1, $N * 700) i OFFSET 0) o LEFT JOIN sentences s ON s.id = note",
    "INSERT INTO articles SELECT i, replace(left(a.text, 30), ' ', '-'), a.text, a.text || b.text \
     || c.text || E'\\n\\n' || d.text || e.text || repeat(E'\\n', 2) || f.text || g.text || h.text,
         '2024-01-01'::timestamp + i * interval '13 minutes'
     FROM (SELECT i, r(1) a, r(2) b, r(3) c, r(4) d, r(5) e, r(6) f, r(7) g, r(8) h FROM \
     generate_series(1, $N * 250) i OFFSET 0) n
     JOIN sentences a ON a.id = n.a JOIN sentences b ON b.id = n.b JOIN sentences c ON c.id = n.c \
     JOIN sentences d ON d.id = n.d
     JOIN sentences e ON e.id = n.e JOIN sentences f ON f.id = n.f JOIN sentences g ON g.id = n.g \
     JOIN sentences h ON h.id = n.h",
    "INSERT INTO attachments SELECT i, i * 3, 'file-' || i || '.jpg', (SELECT \
     string_agg(decode(md5(i || '-' || j), 'hex'), '') FROM generate_series(1, 256) j)
     FROM generate_series(1, $N * 3) i",
];

const KEYS: &[&str] = &[
    "ALTER TABLE customers ADD PRIMARY KEY (id); CREATE UNIQUE INDEX customers_email ON customers \
     (email);
     ALTER TABLE orders ADD PRIMARY KEY (id); CREATE INDEX orders_placed ON orders (placed_at, \
     status); CREATE INDEX orders_customer ON orders (customer);
     ALTER TABLE articles ADD PRIMARY KEY (id); ALTER TABLE attachments ADD PRIMARY KEY (id);
     ALTER TABLE attachments ADD FOREIGN KEY (orders) REFERENCES orders;",
    "ALTER TABLE events ADD PRIMARY KEY (id); CREATE INDEX events_session ON events (session); \
     CREATE INDEX events_customer ON events (customer, at);",
];

fn make_database(cluster: &Cluster, mebibytes: u64) {
    cluster.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    for statement in SCHEMA.split_inclusive(";\n") {
        cluster.sql("shop", statement);
    }
    cluster.sql(
        "shop",
        "CREATE FUNCTION r(integer) RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT \
                      (random() * 49999)::integer'",
    );
    let all_at_once = |statements: &[&str]| {
        std::thread::scope(|scope| {
            for statement in statements {
                let statement = statement.replace("$N", &mebibytes.to_string());
                scope.spawn(move || cluster.sql("shop", &statement));
            }
        });
    };
    all_at_once(ROWS);
    cluster.sql(
        "shop",
        "DROP FUNCTION r(integer); DROP TABLE words, sentences",
    );
    all_at_once(KEYS);
    cluster.sql("shop", "VACUUM (FREEZE, ANALYZE)");
    cluster.sql("shop", "CHECKPOINT");
}

// -------------------------------------------------------------------------------------------------
// who takes part

struct Bench {
    cluster: Cluster,
    work: PathBuf,
}

/// What is restored in every round.
struct Kept {
    config: PathBuf,
    /// dbbackup's own, an archive in zstd.
    archive: PathBuf,
    script: PathBuf,
    stream: u64,
    ratio: f64,
}

const LIMIT: &str = "pg_dump -Fc -Z0 >/dev/null (the limit)";
const PIGZ: &str = "pg_dump -Fc -Z0 | pigz -6";
const ZSTD: &str = "pg_dump -Fc -Z0 | zstd -3 -T0";
const ZSTD_TWO: &str = "pg_dump -Fc -Z0 | zstd -3 -T2";
const DELTA: &str = "dbbackup, a delta";
const PG_RESTORE: &str = "zstd -d, createdb, pg_restore -j2";
const RESTORE: &str = "dbbackup restore --to";

/// One per cent of the rows of every table.
const ONE_PER_CENT: &str = "
    UPDATE customers SET name = upper(name) WHERE random() < 0.01;
    UPDATE orders SET status = 'returned', total = total + 1 WHERE random() < 0.01;
    UPDATE events SET payload = payload || '{\"seen\": true}' WHERE random() < 0.01;
    UPDATE articles SET title = title || ' (new)' WHERE random() < 0.01;
    UPDATE attachments SET name = 'new-' || name WHERE random() < 0.01;";

/// The database that restores make.
const RESTORED: &str = "restored";

impl Bench {
    /// The programs of the cluster's version, told where it is.
    fn environment(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = [self.cluster.bin().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap());
        for (name, value) in self.cluster.program("psql").get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// A pipeline of the shell: it leaves its result in `$OUT`; `$TMP` is for what comes between.
    fn shell(&self, name: &str, programs: &[&'static str], script: &str) -> Contender {
        let dir = self.work.join("shell");
        let make = {
            let mut command = Command::new("bash");
            command.args(["-c", &format!("set -e -o pipefail; {script}")]);
            command
                .env("OUT", dir.join("out"))
                .env("TMP", dir.join("tmp"));
            self.environment(&mut command);
            command
        };
        Contender::new(name, programs, &dir, "out", move || copied(&make))
    }

    /// A configuration that knows the database as `shop`.
    fn configuration(&self, name: &str, compression: &str, checked: bool) -> PathBuf {
        let path = configuration(&self.work, name, compression, checked);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        writeln!(
            file,
            "[sources.shop]\nkind = \"postgres\"\nurl = {:?}",
            self.cluster.url("shop")
        )
        .unwrap();
        path
    }

    fn backup(&self, compression: &str, checked: bool) -> Contender {
        let name = if checked {
            compression.to_owned()
        } else {
            format!("{compression}-unverified")
        };
        let config = self.configuration(&name, compression, checked);
        let mut make = dbbackup(&config, &["backup", "shop"]);
        self.environment(&mut make);
        let title = format!(
            "dbbackup {compression}{}",
            if checked { "" } else { ", verify_after none" }
        );
        let ending = if compression.starts_with("gzip") {
            ".gz"
        } else {
            ".zst"
        };
        let dir = self.work.join(format!("store-{name}/shop"));
        Contender::new(&title, &[], &dir, ending, move || copied(&make))
    }

    fn cost_of_shell(&self, script: &str) -> Cost {
        let contender = self.shell("", &[], script);
        std::fs::create_dir_all(&contender.dir).unwrap();
        measure::cost(&mut (contender.command)())
    }

    fn keep_dumps(&self) -> Kept {
        let config = self.configuration("kept", "zstd", false);
        let mut command = dbbackup(&config, &["backup", "shop"]);
        self.environment(&mut command);
        measure::cost(&mut command);
        let archive = only_file(&self.work.join("store-kept/shop"), ".zst").unwrap();
        let (script, stream, pigz) = (
            self.work.join("shop.sql.zst"),
            self.work.join("stream"),
            self.work.join("pigz"),
        );
        let (kept, streamed, packed) = (script.display(), stream.display(), pigz.display());
        self.cost_of_shell(&format!("pg_dump -Fp shop | zstd -q -3 -T0 -f -o '{kept}'"));
        self.cost_of_shell(&format!(
            "pg_dump -Fc -Z0 shop >'{streamed}'; pigz -6 <'{streamed}' >'{packed}' || cp \
             '{streamed}' '{packed}'"
        ));
        let (stream_bytes, ratio) = (size(&stream), size(&stream) as f64 / size(&pigz) as f64);
        remove(&stream);
        remove(&pigz);
        Kept {
            config,
            archive,
            script,
            stream: stream_bytes,
            ratio,
        }
    }

    fn gzip(&self) -> Table {
        let through = |name: &str, filter: &'static str, program| {
            self.shell(
                name,
                &[program],
                &format!(r#"pg_dump -Fc -Z0 shop | {filter} >"$OUT"; sync "$OUT""#),
            )
        };
        Table::new(
            "Backup, gzip",
            PIGZ,
            vec![
                through("pg_dump -Fc -Z0 | gzip -6", "gzip -6", "gzip").once(),
                self.shell(
                    "pg_dump -Fc",
                    &[],
                    r#"pg_dump -Fc -f "$OUT" shop; sync "$OUT""#,
                )
                .once(),
                through(PIGZ, "pigz -6", "pigz"),
                self.backup("gzip", true),
                self.backup("gzip", false),
                self.backup("gzip:1", true),
            ],
        )
    }

    fn zstd(&self) -> Table {
        Table::new(
            "Backup, zstd",
            ZSTD,
            vec![
                self.shell(LIMIT, &[], "pg_dump -Fc -Z0 shop >/dev/null"),
                self.shell(
                    ZSTD,
                    &["zstd"],
                    r#"pg_dump -Fc -Z0 shop | zstd -q -3 -T0 >"$OUT"; sync "$OUT""#,
                ),
                self.backup("zstd", true),
                self.backup("zstd", false),
            ],
        )
    }

    fn restore(&self, kept: &Kept) -> Table {
        let (archive, script) = (kept.archive.display(), kept.script.display());
        let pg_restore = format!(
            r#"zstd -q -d -o "$TMP" '{archive}'; createdb -T template0 {RESTORED}; pg_restore --exit-on-error -j2 -d {RESTORED} "$TMP""#
        );
        let psql = format!(
            "createdb -T template0 {RESTORED}; zstd -q -dc '{script}' | psql -X -q -1 -v \
             ON_ERROR_STOP=1 -d {RESTORED}"
        );
        let mut make = dbbackup(
            &kept.config,
            &["restore", "shop", "--to", RESTORED, "--yes"],
        );
        self.environment(&mut make);
        let mut ours = self.shell(RESTORE, &[], "");
        ours.command = Box::new(move || copied(&make));
        Table::new(
            "Restore",
            PG_RESTORE,
            vec![
                self.shell(PG_RESTORE, &["zstd"], &pg_restore),
                self.shell(
                    "the same, then vacuumdb --analyze-only -j2",
                    &["zstd"],
                    &format!("{pg_restore}; vacuumdb -q -Z -j2 {RESTORED}"),
                ),
                self.shell("zstd -dc | psql -1", &["zstd"], &psql).once(),
                ours,
            ],
        )
    }

    /// The second backup of a database of which one row of a hundred was changed since the first.
    fn delta(&self) -> Table {
        let config = self.configuration("delta", "zstd", false);
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("[backup]\n", "[backup]\nincremental = true\n");
        assert!(text.contains("incremental"), "{text}");
        std::fs::write(&config, text).unwrap();
        let mut first = dbbackup(&config, &["backup", "shop"]);
        self.environment(&mut first);
        measure::cost(&mut first);
        let (store, kept) = (self.work.join("store-delta"), self.work.join("kept-delta"));
        std::fs::rename(&store, &kept).unwrap();
        self.cluster.sql("shop", ONE_PER_CENT);
        // What is changed lies beside what it was, as after an autovacuum.
        self.cluster.sql("shop", "VACUUM ANALYZE");
        let backup = dbbackup(&config, &["backup", "shop"]);
        let mut make = Command::new("bash");
        // Nobody changes what is there, so links do.
        make.args([
            "-c",
            r#"rm -rf "$STORE"; cp -al "$KEPT" "$STORE"; exec "$@""#,
            "bash",
        ])
        .env("KEPT", &kept)
        .env("STORE", &store)
        .arg(backup.get_program())
        .args(backup.get_args());
        self.environment(&mut make);
        let found = store.join("shop");
        let ours = Contender::new(DELTA, &[], &found, ".vcdiff.zst", move || copied(&make));
        let through = |name: &str, threads: &str| {
            let script =
                format!(r#"pg_dump -Fc -Z0 shop | zstd -q -3 {threads} >"$OUT"; sync "$OUT""#);
            self.shell(name, &["zstd"], &script)
        };
        Table::new(
            "Backup of a hundredth of the rows, as a delta",
            ZSTD_TWO,
            vec![
                self.shell(LIMIT, &[], "pg_dump -Fc -Z0 shop >/dev/null"),
                through(ZSTD_TWO, "-T2"),
                ours,
            ],
        )
    }

    fn turn(&self, contender: &mut Contender, round: u64) {
        contender.turn(round, || self.cluster.sql("postgres", "CHECKPOINT"));
        self.cluster
            .sql("postgres", &format!("DROP DATABASE IF EXISTS {RESTORED}"));
    }
}

/// The same command once more.
fn copied(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    copy
}

// -------------------------------------------------------------------------------------------------
// what is printed

fn print_aims(tables: &[Table; 4]) {
    let [gzip, zstd, restore, delta] = tables;
    println!("\nAims (dbbackup as it comes, with verify_after = checksum)");
    if let (Some(ours), Some(theirs)) = (zstd.find("dbbackup zstd"), zstd.find(ZSTD)) {
        let ratio = ours.wall() / theirs.wall();
        aim(
            format!("zstd takes at most 1.05 times as long as {ZSTD}"),
            format!("{ratio:.2} times"),
            ratio <= 1.05,
        );
    }
    if let (Some(ours), Some(theirs)) = (gzip.find("dbbackup gzip"), gzip.find(PIGZ)) {
        let ratio = theirs.wall() / ours.wall();
        aim(
            format!("gzip at least 2.5 times as fast as {PIGZ}"),
            format!("{ratio:.2} times"),
            ratio >= 2.5,
        );
        let ratio = ours.size as f64 / theirs.size as f64;
        aim(
            "gzip at a size within 5 % of that".into(),
            format!("{:+.1} %", (ratio - 1.0) * 100.0),
            ratio <= 1.05,
        );
    }
    if let (Some(ours), Some(theirs)) = (restore.find(RESTORE), restore.find(PG_RESTORE)) {
        let ratio = ours.wall() / theirs.wall();
        aim(
            format!("restore takes at most 1.1 times as long as {PG_RESTORE}"),
            format!("{ratio:.2} times"),
            ratio <= 1.1,
        );
    }
    if let (Some(ours), Some(theirs)) = (delta.find(DELTA), delta.find(ZSTD_TWO)) {
        let ratio = ours.wall() / theirs.wall();
        aim(
            format!("a delta takes at most as long as {ZSTD_TWO}"),
            format!("{ratio:.2} times"),
            ratio <= 1.0,
        );
    }
    memory_of_ours(&tables[..3], 64);
    memory_of_ours(&tables[3..], 96);
}
