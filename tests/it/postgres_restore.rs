//! Restores of PostgreSQL databases: all of it comes back, and until the very end the old database
//! is in service, untouched.

use crate::cluster::{Cluster, Options, assert_same, identifier};
use crate::moments::{next_second, point};
use crate::postgres_world::{SMALL, Shop, database_facts, everything};
use crate::seeds::Random;
use crate::support::{is_root, until};
use crate::tools::skip;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Owner, privileges, settings: what is in no dump.
const OWN: &str = r#"
    ALTER DATABASE :d OWNER TO dbb_owner;
    REVOKE ALL ON DATABASE :d FROM PUBLIC;
    SET ROLE dbb_owner;
    GRANT CONNECT ON DATABASE :d TO dbb_reader WITH GRANT OPTION;
    GRANT CREATE, TEMPORARY ON DATABASE :d TO dbb_writer;
    RESET ROLE;
    ALTER DATABASE :d SET search_path TO '$user', 'Odd, "name"', public;
    ALTER DATABASE :d SET DateStyle TO 'SQL, DMY';
    ALTER DATABASE :d SET work_mem TO '7MB';
    ALTER DATABASE :d SET "my.thing" TO 'it''s, "so"';
    ALTER ROLE dbb_writer IN DATABASE :d SET search_path TO a, "B c";
    COMMENT ON DATABASE :d IS 'it''s
two lines \ of it';
    ALTER DATABASE :d CONNECTION LIMIT 33;"#;

fn roles(cluster: &Cluster) {
    for role in ["dbb_owner", "dbb_reader", "dbb_writer"] {
        let make = format!(
            "BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN \
             NULL; END"
        );
        cluster.sql("postgres", &format!("DO $$ {make} $$"));
    }
}

fn give_own(shop: &Shop<'_>) {
    roles(shop.cluster());
    shop.cluster()
        .sql("postgres", &OWN.replace(":d", &identifier(shop.name())));
}

#[test]
fn everything_comes_back_byte_for_byte() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    everything_comes_back(cluster);
    for bin in distinct_majors(Cluster::with_clients()) {
        if Cluster::major(&bin) != cluster.major_version() {
            everything_comes_back(
                &Cluster::start(Options {
                    bin: Some(bin),
                    ..Options::default()
                })
                .unwrap(),
            );
        }
    }
}

fn everything_comes_back(cluster: &Cluster) {
    for format in ["custom", "plain"] {
        let shop = Shop::empty(cluster);
        shop.db.load(everything());
        give_own(&shop);
        shop.configure(&format!("format = {format:?}"));
        let (text, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
        let id = shop.backup();
        shop.run(&format!("verify {id}"))
            .run()
            .exits(0)
            .prints("rows:");
        shop.run(&format!("verify {id} --level restore"))
            .run()
            .exits(0)
            .prints("restored into PostgreSQL");
        let elsewhere = format!("{}_elsewhere", shop.name());
        shop.run(&format!("restore {id} --to {elsewhere}"))
            .run()
            .exits(0)
            .never_says("could not be given");
        assert_same(&cluster.dump_text(&elsewhere, &[]), &text);
        assert_same(&database_facts(cluster, &elsewhere), &facts);
        shop.db
            .sql("DROP SCHEMA everything CASCADE; CREATE TABLE public.newer (id integer)");
        shop.run(&format!("restore {id} --yes"))
            .run()
            .exits(0)
            .never_says("could not be given");
        assert_same(&shop.db.dump_text(), &text);
        assert_same(&database_facts(cluster, shop.name()), &facts);
    }
}

/// What a role grants by itself can be restored only after the role was let into the schema, and
/// that takes longer here than the first of the grants.
#[test]
fn privileges_that_need_one_another_come_back() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    roles(&cluster);
    let shop = Shop::empty(&cluster);
    let script = "CREATE SCHEMA desk; GRANT USAGE ON SCHEMA desk TO dbb_writer;
        DO $$ BEGIN
            FOR n IN 1..500 LOOP
                EXECUTE format('CREATE ROLE guest_%s', n);
                EXECUTE format('GRANT USAGE ON SCHEMA desk TO guest_%s', n);
            END LOOP;
            FOR n IN 1..20 LOOP
                EXECUTE format('CREATE TABLE desk.note_%s (id integer)', n);
                EXECUTE format('GRANT SELECT ON desk.note_%s TO dbb_writer WITH GRANT OPTION', n);
            END LOOP;
        END $$;
        REVOKE USAGE ON SCHEMA desk FROM dbb_writer; GRANT USAGE ON SCHEMA desk TO dbb_writer;
        SET ROLE dbb_writer;
        DO $$ BEGIN
            FOR n IN 1..20 LOOP
                EXECUTE format('GRANT SELECT ON desk.note_%s TO dbb_reader', n);
            END LOOP;
        END $$;
        RESET ROLE;
        CREATE MATERIALIZED VIEW desk.all_notes AS SELECT * FROM desk.note_1;";
    shop.db.load(&shop.world.file("desk.sql", script));
    let text = shop.db.dump_text();
    let id = shop.backup();
    let drill = format!("verify {id} --level restore");
    shop.run(&drill).run().exits(0);
    shop.run(&format!("restore {id} --yes --jobs 8"))
        .run()
        .exits(0);
    assert_same(&shop.db.dump_text(), &text);
}

#[test]
fn chinook_comes_back_byte_for_byte() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("shared/data/chinook_postgresql.sql");
    let Some(script) = Some(script).filter(|path| path.is_file()) else {
        return skip("no chinook_postgresql.sql here");
    };
    let shop = Shop::empty(cluster);
    // The script makes a database of its own first, and goes there.
    let text = std::fs::read_to_string(&script).unwrap();
    let own: Vec<&str> = text
        .lines()
        .filter(|line| {
            !["DROP DATABASE", "CREATE DATABASE", "\\c "]
                .iter()
                .any(|head| line.starts_with(head))
        })
        .collect();
    shop.db
        .load(&shop.world.file("chinook.sql", &own.join("\n")));
    let text = shop.db.dump_text();
    assert!(text.len() > 400_000, "{}", text.len());
    let id = shop.backup();
    shop.run(&format!("verify {id} --level restore"))
        .run()
        .exits(0);
    shop.db.sql("DROP TABLE invoice_line, playlist_track");
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    assert_same(&shop.db.dump_text(), &text);
}

#[test]
fn encodings_and_locales_come_back() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let mut clauses = vec![
        "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'UTF8' LC_COLLATE 'POSIX' LC_CTYPE 'C.UTF-8'",
    ];
    if cluster.major_version() >= 15 {
        clauses.push("LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn-true'");
    }
    for clause in clauses {
        let db = cluster.database("locale");
        let name = identifier(&db.name);
        let mut client = cluster.client("postgres");
        client
            .batch_execute(&format!("DROP DATABASE {name}"))
            .unwrap();
        if let Err(error) = client.batch_execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 {clause}"
        )) {
            skip(&format!("{clause}: {error:?}"));
            continue;
        }
        let shop = Shop::of(db);
        shop.db.sql(
            "SET client_encoding = 'SQL_ASCII'; CREATE TABLE words (id integer PRIMARY \
                     KEY, word text UNIQUE)",
        );
        if clause.contains("SQL_ASCII") || clause.contains("LATIN1") {
            shop.db.sql(r"SET client_encoding = 'SQL_ASCII'; INSERT INTO words VALUES (1, E'caf\351'), (2, 'plain')");
        } else {
            shop.db
                .sql("INSERT INTO words VALUES (1, 'café'), (2, 'a10'), (3, 'a9'), (4, '☃')");
        }
        for format in ["custom", "plain"] {
            shop.configure(&format!("format = {format:?}"));
            let (text, facts) = (
                cluster.dump_text(shop.name(), &["--create"]),
                database_facts(cluster, shop.name()),
            );
            let id = shop.backup();
            shop.run(&format!("verify {id}")).run().exits(0);
            if format == "custom" {
                shop.run(&format!("verify {id} --level restore"))
                    .run()
                    .exits(0);
            }
            shop.run(&format!("restore {id} --yes")).run().exits(0);
            assert_same(&cluster.dump_text(shop.name(), &["--create"]), &text);
            assert_same(&database_facts(cluster, shop.name()), &facts);
        }
    }
}

/// Sessions that come back as fast as they can, as a connection pool's do.
#[test]
fn names_are_swapped_under_a_pool_that_reconnects() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let (stop, came) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut swaps = 0;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut config = postgres::Client::configure();
                config
                    .host_path(cluster.socket_dir())
                    .port(cluster.port())
                    .user(cluster.superuser())
                    .dbname(shop.name());
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(mut client) = config.connect(postgres::NoTls) {
                        came.fetch_add(1, Ordering::Relaxed);
                        while !stop.load(Ordering::Relaxed)
                            && client.simple_query("SELECT count(*) FROM orders").is_ok()
                        {
                            std::thread::sleep(Duration::from_millis(3));
                        }
                    }
                }
            });
        }
        until("the pool", || came.load(Ordering::Relaxed) >= 8);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while swaps < 8 {
                shop.run(&format!("restore {id} --yes")).run().exits(0);
                swaps += 1;
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(shop.family().len(), swaps + 1);
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
}

fn sh(shop: &Shop<'_>, command: &str) {
    let path = format!(
        "{}:{}",
        shop.cluster().bin().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_old_database_is_kept_and_the_printed_commands_work() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let db = cluster.database("it's a \"sh$op\"");
    let shop = Shop::of(db);
    shop.db.sql(SMALL);
    let id = shop.backup();
    shop.db
        .sql("INSERT INTO customers VALUES (1000, 'the newest')");
    let newest = shop.db.dump_text();
    let ran = shop
        .run(&format!("restore {id} --yes"))
        .run()
        .exits(0)
        .prints("to undo: psql")
        .prints("for good: psql");
    assert_eq!(shop.db.value("SELECT count(*) FROM customers"), "100");
    let command = |what: &str| {
        ran.stdout
            .lines()
            .find_map(|line| line.split_once(what))
            .unwrap()
            .1
            .to_owned()
    };
    // Somebody is in it, as always.
    let _session = shop.db.client();
    sh(&shop, &command("to undo: "));
    assert_same(&shop.db.dump_text(), &newest);
    let ran = shop.run(&format!("restore {id} --yes")).run().exits(0);
    let remove = ran
        .stdout
        .lines()
        .find_map(|line| line.split_once("for good: "))
        .unwrap()
        .1;
    let count = "SELECT count(*) FROM pg_database WHERE datname LIKE 'it''s a \"sh$op\"%'";
    let before: u32 = cluster.value("postgres", count).parse().unwrap();
    sh(&shop, remove);
    assert_eq!(
        cluster.value("postgres", count).parse::<u32>().unwrap(),
        before - 1
    );
    assert_eq!(shop.db.value("SELECT count(*) FROM customers"), "100");
}

/// After whatever happened: the database is as it was, and nothing half filled is left.
#[track_caller]
fn untouched(shop: &Shop<'_>, text: &str) {
    assert_same(&shop.db.dump_text(), text);
    assert_eq!(shop.family(), [shop.name()]);
    assert_eq!(shop.scratch(), Vec::<String>::new());
}

#[test]
fn a_failure_before_the_swap_leaves_the_old_database() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db
        .sql("INSERT INTO customers VALUES (1000, 'the newest')");
    let text = shop.db.dump_text();
    let real = cluster.bin().join("pg_restore").display().to_string();
    let fake = format!(
        "#!/bin/sh\ncase \"$*\" in *--dbname*) {real} --section=pre-data \"$@\" && echo \
         'pg_restore: error: it is over' >&2 && exit 1;; esac\nexec {real} \"$@\"\n"
    );
    let bin = shop.programs("failing", &[], &[("pg_restore", &fake)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    shop.run(&format!("restore {id} --yes"))
        .run()
        .exits(1)
        .says("it is over");
    untouched(&shop, &text);
    // A restore that loses rows is seen by the counts.
    let fake = format!(
        "#!/bin/sh\ncase \"$*\" in *--dbname*) exec {real} --schema-only \"$@\";; esac\nexec \
         {real} \"$@\"\n"
    );
    let bin = shop.programs("losing", &[], &[("pg_restore", &fake)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    shop.run(&format!("restore {id} --yes"))
        .run()
        .exits(4)
        .says("has 0 rows, 100 expected");
    untouched(&shop, &text);
}

/// A `pg_restore` that fills half and waits until it is ended.
fn waiting(shop: &Shop<'_>) {
    let real = shop
        .cluster()
        .bin()
        .join("pg_restore")
        .display()
        .to_string();
    let reached = shop.world.path("reached").display().to_string();
    let fake = format!(
        "#!/bin/sh\ncase \"$*\" in *--dbname*) {real} --section=pre-data \"$@\" && touch {reached} \
         && exec sleep 600;; esac\nexec {real} \"$@\"\n"
    );
    let bin = shop.programs("waiting", &[], &[("pg_restore", &fake)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn a_restore_that_is_stopped_leaves_the_old_database() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let text = shop.db.dump_text();
    waiting(&shop);
    let reached = shop.world.path("reached");
    let running = shop.run(&format!("restore {id} --yes")).start();
    until("the half", || reached.exists());
    // Another one is told; it would have nothing to do but wait.
    shop.run(&format!("restore {id} --yes"))
        .run()
        .exits(11)
        .says("another restore");
    assert_same(&shop.db.dump_text(), &text);
    signal(running.child.id(), Signal::TERM);
    running.wait().exits(130);
    untouched(&shop, &text);
    std::fs::remove_file(&reached).unwrap();
    let mut running = shop.run(&format!("restore {id} --yes")).start();
    until("the half", || reached.exists());
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert_eq!(shop.family().len(), 2);
    assert_same(&shop.db.dump_text(), &text);
    // The lock goes with the killed run's session, which the server ends by itself; the next run
    // sweeps.
    shop.configure("");
    let other = format!("{}_other", shop.name());
    until("the sweep", || {
        shop.run(&format!("restore {id} --to {other} --yes")).run();
        shop.family()
            .iter()
            .all(|name| name == shop.name() || name.starts_with(&other))
    });
    shop.drop_relatives();
    untouched(&shop, &text);
}

#[test]
fn the_names_change_in_one_moment() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db
        .sql("INSERT INTO customers VALUES (1000, 'the newest')");
    let (then, now) = (restored_text(&shop), shop.db.dump_text());
    let restore = || shop.run(&format!("restore {id} --yes"));
    restore().killed_at(point::RESTORE_READY, 1).was_killed();
    assert_same(&shop.db.dump_text(), &now);
    restore().failing_at(point::RESTORE_READY, 1).exits(1);
    assert_same(&shop.db.dump_text(), &now);
    restore().killed_at(point::RESTORE_IN_PLACE, 1).was_killed();
    assert_same(&shop.db.dump_text(), &then);
    // What it replaced is there.
    let family = shop.family();
    let kept = family.iter().find(|name| name.contains("_before_"));
    assert_same(&cluster.dump_text(kept.unwrap(), &[]), &now);
    shop.drop_relatives();
}

#[test]
fn killed_at_any_moment_the_database_is_whole() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let begun = Instant::now();
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    let whole = begun.elapsed();
    shop.drop_relatives();
    shop.db
        .sql("INSERT INTO customers VALUES (1000, 'the newest')");
    let (then, now) = (restored_text(&shop), shop.db.dump_text());
    let mut random = Random::seeded();
    let mut swapped = 0;
    for round in 0..15 {
        let moment = whole.mul_f64(random.below(1000) as f64 / 1000.0 * 1.1);
        shop.run(&format!("restore {id} --yes"))
            .killed_after(moment);
        let text = shop.db.dump_text();
        if text == then {
            swapped += 1;
            // What it replaced is there.
            let kept = shop
                .family()
                .into_iter()
                .find(|name| name.contains("_before_"))
                .unwrap();
            assert_same(&cluster.dump_text(&kept, &[]), &now);
            shop.db
                .sql("INSERT INTO customers VALUES (1000, 'the newest')");
            shop.drop_relatives();
        } else {
            assert!(
                text == now,
                "round {round}, killed after {moment:?}: the content is neither the old nor the new"
            );
        }
    }
    let other = format!("{}_other", shop.name());
    until("the last sweep", || {
        // The killed run's sessions hold its locks until the server sees that they are gone. A
        // restore of anything sweeps.
        let _ = shop.run(&format!("restore {id} --to {other} --yes")).run();
        let left = shop
            .family()
            .into_iter()
            .filter(|name| name.contains("_restore_") && !name.starts_with(&other));
        left.count() == 0 && shop.scratch().is_empty()
    });
    eprintln!("15 kills within {whole:?}; {swapped} after the swap");
}

fn restored_text(shop: &Shop<'_>) -> String {
    let name = format!("{}_then", shop.name());
    shop.run(&format!("restore shop --to {name}"))
        .run()
        .exits(0);
    let text = shop.cluster().dump_text(&name, &[]);
    shop.cluster()
        .sql("postgres", &format!("DROP DATABASE {name}"));
    text
}

#[test]
fn it_asks_before_it_replaces_and_shows_what_would_be_lost() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db.sql(
        "INSERT INTO customers SELECT i, 'new' FROM generate_series(1001, 1007) i; CREATE \
                 TABLE newer AS SELECT 1; DELETE FROM orders WHERE id = 1",
    );
    let text = shop.db.dump_text();
    shop.run(&format!("restore {id}"))
        .run()
        .exits(2)
        .says("needs a yes")
        .says("--to");
    let other = cluster.database("other");
    other.sql("CREATE TABLE own (id integer)");
    shop.run(&format!("restore {id} --to {}", other.name))
        .run()
        .exits(2)
        .says("needs a yes");
    assert_eq!(other.value("SELECT count(*) FROM own"), "0");
    shop.run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .prints("public.customers: 107 now, 100 in the backup")
        .prints("public.newer: 1 row now, not in the backup")
        .prints("public.orders: 999 now, 1,000 in the backup")
        .prints("nothing was done");
    untouched(&shop, &text);
    let json = shop
        .run(&format!("restore {id} --yes --json --to {}", other.name))
        .run()
        .exits(0)
        .json();
    assert!(
        json["restored"][0]["undo"]
            .as_str()
            .unwrap()
            .contains("psql"),
        "{json}"
    );
    assert_eq!(other.value("SELECT count(*) FROM orders"), "1000");
    let like = format!(
        "SELECT datname FROM pg_database WHERE datname LIKE '{}\\_before\\_%'",
        other.name
    );
    cluster.sql(
        "postgres",
        &format!("DROP DATABASE \"{}\"", cluster.value("postgres", &like)),
    );
}

#[test]
fn another_machines_backup_is_restored_only_where_it_is_said() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    std::fs::remove_file(shop.world.path("dbbackup.toml")).unwrap();
    let text = shop.db.dump_text();
    let here = |arguments: &str| {
        shop.world
            .with_store(arguments)
            .env("PGUSER", cluster.superuser())
    };
    // This machine made it: it knows where it belongs.
    here(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .prints(shop.name());
    shop.edit(&id, |sidecar| {
        sidecar["producer"]["host"] = "elsewhere".into()
    });
    here(&format!("restore {id} --yes"))
        .run()
        .exits(2)
        .says("was made on `elsewhere`")
        .says(&format!(
            "`dbbackup --store store restore {id} --to {}`",
            shop.name()
        ));
    untouched(&shop, &text);
    let elsewhere = format!("{}_elsewhere", shop.name());
    here(&format!("restore {id} --to {}", cluster.url(&elsewhere)))
        .run()
        .exits(0);
    assert_same(&cluster.dump_text(&elsewhere, &[]), &text);
    // Nor does a dump without a sidecar know.
    let dump = shop.world.path("copied.dump.gz");
    std::fs::copy(shop.dump_of(&id), &dump).unwrap();
    here("restore copied.dump.gz --yes")
        .run()
        .exits(2)
        .says("--to");
    let third = format!("{}_third", shop.name());
    here(&format!(
        "restore ./copied.dump.gz --to {}",
        cluster.url(&third)
    ))
    .run()
    .exits(0);
    assert_same(&cluster.dump_text(&third, &[]), &text);
}

/// What was refused has a reason and a hint, and nothing was done.
#[track_caller]
fn refused(shop: &Shop<'_>, arguments: &str, code: i32, words: &[&str]) {
    let mut ran = shop.run(arguments).run().exits(code).says("hint: ");
    for word in words {
        ran = ran.says(word);
    }
    assert_eq!(shop.family(), [shop.name()], "{ran}");
    assert_eq!(shop.scratch(), Vec::<String>::new());
}

#[test]
fn what_a_swap_would_break_is_refused() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let text = shop.db.dump_text();
    let restore = format!("restore {id} --yes");
    let slot = format!("slot_of_{}", shop.name());
    shop.db.value(&format!(
        "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')::text"
    ));
    refused(
        &shop,
        &restore,
        1,
        &["1 logical replication slot", "--in-place"],
    );
    refused(
        &shop,
        &format!("restore {id} --dry-run"),
        1,
        &["1 logical replication slot"],
    );
    shop.db
        .value(&format!("SELECT pg_drop_replication_slot('{slot}')::text"));
    shop.db.sql(
        "CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)",
    );
    refused(&shop, &restore, 1, &["1 subscription", "--in-place"]);
    shop.db
        .sql("ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE)");
    shop.db.sql("DROP SUBSCRIPTION sub");
    let prepared = format!("of {}", shop.name());
    shop.db.sql(&format!(
        "BEGIN; CREATE TABLE prepared (); PREPARE TRANSACTION '{prepared}'"
    ));
    refused(
        &shop,
        &restore,
        1,
        &["1 prepared transaction", "ROLLBACK PREPARED"],
    );
    shop.db.sql(&format!("ROLLBACK PREPARED '{prepared}'"));
    assert_same(&shop.db.dump_text(), &text);
    shop.run(&restore).run().exits(0);
}

#[test]
fn what_the_server_lacks_is_refused() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let role = format!("lacking_{}", shop.name());
    cluster.sql("postgres", &format!("CREATE ROLE {role}"));
    shop.db.sql(&format!(
        "ALTER TABLE orders OWNER TO {role}; GRANT SELECT ON customers TO {role}"
    ));
    let id = shop.backup();
    let restore = format!("restore {id} --yes");
    shop.db.sql(&format!(
        "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
    refused(
        &shop,
        &restore,
        1,
        &[
            &format!("lacks roles that the backup needs: {role}"),
            &format!("CREATE ROLE {role};"),
            "--no-owner",
        ],
    );
    shop.run(&format!("{restore} --no-owner")).run().exits(0);
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
    assert_eq!(
        shop.db.value(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND \
                              tableowner = CURRENT_USER"
        ),
        "2"
    );
    shop.drop_relatives();
    let original = shop.world.sidecar(&id);
    let changed = |change: &dyn Fn(&mut serde_json::Value), words: &[&str]| {
        shop.edit(&id, |sidecar| {
            *sidecar = original.clone();
            sidecar["database"]["roles"] = serde_json::json!([]);
            change(&mut sidecar["database"]);
        });
        refused(&shop, &restore, 1, words);
    };
    changed(
        &|database| {
            database["extensions"] = serde_json::json!([{"name": "nowhere", "version": "1"}])
        },
        &["lacks extensions", "nowhere"],
    );
    changed(
        &|database| database["tablespaces"] = serde_json::json!(["fast"]),
        &["lacks tablespaces", "fast", "CREATE TABLESPACE"],
    );
    let version = cluster.major_version().to_string();
    changed(
        &|database| database["server_version"] = "99.1".into(),
        &["PostgreSQL 99.1", &version],
    );
    shop.run(&format!("restore {id} --table orders"))
        .run()
        .exits(2)
        .says("--to");
    shop.edit(&id, |sidecar| *sidecar = original.clone());
    refused(
        &shop,
        &format!(
            "restore {id} --no-owner --table nowhere --to {}_part",
            shop.name()
        ),
        10,
        &["no table `nowhere`", &format!("show {id} --contents`")],
    );
    let gone = format!("{}_gone", shop.name());
    refused(
        &shop,
        &format!("restore {id} --no-owner --in-place --to {gone}"),
        2,
        &["there is no database"],
    );
}

#[test]
fn what_the_role_may_not_do_is_refused() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let restore = format!("restore {id} --yes");
    let (maker, owner) = (
        format!("maker_{}", shop.name()),
        format!("owner_{}", shop.name()),
    );
    cluster.sql(
        "postgres",
        &format!("CREATE ROLE {maker} LOGIN CREATEDB; CREATE ROLE {owner} LOGIN"),
    );
    shop.configure_as(&cluster.url_as(&maker, shop.name()), "");
    refused(&shop, &restore, 1, &["own"]);
    refused(
        &shop,
        &format!("{restore} --in-place"),
        1,
        &["does not own it"],
    );
    // Elsewhere, for oneself, it may.
    shop.run(&format!(
        "restore {id} --no-owner --to {}_mine",
        shop.name()
    ))
    .run()
    .exits(0);
    shop.drop_relatives();
    cluster.sql(
        "postgres",
        &format!("ALTER DATABASE {} OWNER TO {owner}", shop.name()),
    );
    shop.configure_as(&cluster.url_as(&owner, shop.name()), "");
    refused(
        &shop,
        &restore,
        1,
        &[
            "the role `",
            "may not create databases on ",
            "CREATEDB",
            "--in-place",
        ],
    );
    cluster.sql(
        "postgres",
        &format!(
            "ALTER DATABASE {} OWNER TO CURRENT_USER; DROP ROLE {maker}; DROP ROLE {owner}",
            shop.name()
        ),
    );
}

#[test]
fn in_place_it_is_one_transaction() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in ["custom", "plain"] {
        let shop = Shop::empty(cluster);
        shop.db.load(everything());
        give_own(&shop);
        shop.configure(&format!("format = {format:?}"));
        let (then, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
        let id = shop.backup();
        let slot = format!("slot_of_{}", shop.name());
        shop.db.value(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')::text"
        ));
        shop.db.sql(
            "CREATE TABLE everything.newer (id integer REFERENCES everything.audited); INSERT INTO \
             everything.newer VALUES (1);
             CREATE SCHEMA later CREATE VIEW seen AS SELECT * FROM everything.audited; DROP TABLE \
             everything.ruled CASCADE;
             SELECT lo_create(424242); CREATE PUBLICATION later; CREATE FOREIGN DATA WRAPPER \
             later; SELECT lo_unlink(990001);
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO dbb_reader; CREATE CAST (text AS \
             bigint) WITH INOUT;
             COMMENT ON SCHEMA public IS 'later'; ALTER SCHEMA public OWNER TO dbb_reader",
        );
        let now = shop.db.dump_text();
        shop.run(&format!("restore {id} --in-place"))
            .run()
            .exits(2)
            .says("needs a yes");
        let json = shop
            .run(&format!("restore {id} --in-place --yes --json"))
            .run()
            .exits(0)
            .json();
        assert_same(&shop.db.dump_text(), &then);
        assert_same(&database_facts(cluster, shop.name()), &facts);
        assert_eq!(shop.family(), [shop.name()]);
        let listed = shop
            .run("list --label pre-restore --json")
            .run()
            .exits(0)
            .json();
        let safety = &listed["backups"][0];
        assert_eq!(
            (&safety["label"], &safety["pinned"]),
            (&"pre-restore".into(), &true.into()),
            "{safety}"
        );
        let undo = json["restored"][0]["undo"].as_str().unwrap();
        assert!(undo.contains(safety["id"].as_str().unwrap()), "{undo}");
        if format == "custom" {
            let words: Vec<&str> = undo.split_whitespace().skip(1).collect();
            shop.world.dbbackup_with(&words).run().exits(0);
            assert_same(&shop.db.dump_text(), &now);
        }
        shop.db
            .value(&format!("SELECT pg_drop_replication_slot('{slot}')::text"));
    }
}

#[test]
fn a_restore_in_place_that_fails_changes_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db
        .sql("INSERT INTO customers VALUES (1000, 'the newest'); CREATE TABLE newer AS SELECT 1");
    let text = shop.db.dump_text();
    let restore = format!("restore {id} --in-place --yes");
    let real = cluster.bin().join("pg_restore").display().to_string();
    let script = |by: &str| {
        format!(
            "#!/bin/sh\ncase \"$*\" in *--version*) exec {real} \"$@\";; esac\n{real} \"$@\" | sed \
             {by}\n"
        )
    };
    let end =
        "'s/^-- PostgreSQL database dump complete$/DELETE FROM public.orders WHERE id = 7;\\n&/'";
    for (name, by, says) in [
        ("failing", "'1s/^/SELECT 1 \\/ 0;\\n/'", "division by zero"),
        ("losing", end, "public.orders has 999 rows, 1000 expected"),
    ] {
        let bin = shop.programs(name, &[], &[("pg_restore", &script(by))]);
        shop.configure(&format!("bin_dir = {bin:?}"));
        shop.run(&restore)
            .run()
            .exits(1)
            .says(says)
            .says("its old content is there as before");
        untouched(&shop, &text);
    }
    shop.configure("");
    shop.edit(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 7.into()
    });
    shop.run(&restore).run().exits(4);
    untouched(&shop, &text);
}

#[test]
fn a_restore_in_place_that_is_stopped_changes_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db.sql("CREATE TABLE newer AS SELECT 1");
    let text = shop.db.dump_text();
    let (real, reached) = (
        cluster.bin().join("pg_restore").display().to_string(),
        shop.world.path("reached"),
    );
    // The second time that it writes a script is for the database.
    let fake = format!(
        "#!/bin/sh\ncase \"$*\" in *no-subscriptions*) {real} --section=pre-data \"$@\"; touch {}; \
         exec sleep 600;; esac\nexec {real} \"$@\"\n",
        reached.display()
    );
    let bin = shop.programs("waiting", &[], &[("pg_restore", &fake)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    for end in [Signal::TERM, Signal::KILL] {
        let running = shop.run(&format!("restore {id} --in-place --yes")).start();
        until("the middle", || reached.exists());
        signal(running.child.id(), end);
        let ran = running.wait();
        if end == Signal::TERM {
            ran.exits(130);
        }
        assert_same(&shop.db.dump_text(), &text);
        std::fs::remove_file(&reached).unwrap();
    }
    shop.configure("");
    until("the killed one's end", || {
        shop.run(&format!("restore {id} --in-place --yes"))
            .run()
            .stdout
            .starts_with("ok")
    });
    assert_eq!(
        shop.db
            .value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "2"
    );
    assert_eq!(shop.scratch(), Vec::<String>::new());
}

/// What roles and databases are set to, against sessions that wait, does not end a restore.
#[test]
fn limits_of_the_database_end_no_restore() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let name = identifier(shop.name());
    let settings = [
        "statement_timeout = '100ms'",
        "lock_timeout = '100ms'",
        "idle_in_transaction_session_timeout = '100ms'",
        "default_transaction_read_only = on",
        "search_path = 'nowhere'",
        "row_security = off",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
    ];
    for setting in settings {
        cluster.sql("postgres", &format!("ALTER DATABASE {name} SET {setting}"));
    }
    for format in ["custom", "plain"] {
        shop.configure(&format!("format = {format:?}"));
        let (text, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
        let id = shop.backup();
        shop.db
            .sql("SET transaction_read_only = off; DROP TABLE public.orders");
        shop.run(&format!("restore {id} --in-place --yes"))
            .run()
            .exits(0);
        assert_same(&shop.db.dump_text(), &text);
        shop.run(&format!("restore {id} --yes")).run().exits(0);
        assert_same(&shop.db.dump_text(), &text);
        assert_same(&database_facts(cluster, shop.name()), &facts);
    }
}

#[test]
fn a_long_name_is_cut_between_letters() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::of(cluster.database(&"ä".repeat(29)));
    shop.db.sql(SMALL);
    let id = shop.backup();
    for _ in 0..2 {
        let ran = shop.run(&format!("restore {id} --yes")).run().exits(0);
        let kept = ran.stdout.split('`').nth(1).unwrap().to_owned();
        assert!(kept.starts_with("ääääääää") && kept.len() <= 63, "{kept}");
        assert_eq!(cluster.value(&kept, "SELECT count(*) FROM orders"), "1000");
        cluster.sql("postgres", &format!("DROP DATABASE {}", identifier(&kept)));
    }
}

#[test]
fn tablespaces_come_back() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let (quick, slow) = (
        format!("quick_{}", shop.name()),
        format!("slow_{}", shop.name()),
    );
    let mut client = cluster.client("postgres");
    if let Err(error) = client.batch_execute("SET allow_in_place_tablespaces = on") {
        return skip(&format!("{error:?}"));
    }
    for name in [&quick, &slow] {
        client
            .batch_execute(&format!("CREATE TABLESPACE {name} LOCATION ''"))
            .unwrap();
    }
    client
        .batch_execute(&format!(
            "ALTER DATABASE {} SET TABLESPACE {slow}",
            shop.name()
        ))
        .unwrap();
    shop.db.sql(&format!(
        "ALTER TABLE orders SET TABLESPACE {quick}; CREATE INDEX ON customers \
                          (name) TABLESPACE {quick}"
    ));
    for format in ["custom", "plain"] {
        shop.configure(&format!("format = {format:?}"));
        let (text, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
        assert!(facts.contains(&slow) && text.contains(&quick));
        let id = shop.backup();
        shop.run(&format!("verify {id} --level restore"))
            .run()
            .exits(0);
        shop.run(&format!("restore {id} --yes")).run().exits(0);
        assert_same(&shop.db.dump_text(), &text);
        assert_same(&database_facts(cluster, shop.name()), &facts);
        shop.run(&format!("restore {id} --yes --in-place"))
            .run()
            .exits(0);
        assert_same(&shop.db.dump_text(), &text);
        if format == "plain" {
            let part = format!("restore {id} --table orders --to {}_part", shop.name());
            shop.drop_relatives();
            refused(&shop, &part, 2, &["custom"]);
        }
    }
    shop.drop_relatives();
    client
        .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", shop.name()))
        .unwrap();
    for name in [&quick, &slow] {
        client
            .batch_execute(&format!("DROP TABLESPACE {name}"))
            .unwrap();
    }
}

/// After a disaster there may be no database to replace, or one that lets nobody in.
#[test]
fn a_database_that_is_gone_or_closed_comes_back() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    give_own(&shop);
    let (text, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
    let id = shop.backup();
    cluster.sql("postgres", &format!("DROP DATABASE {}", shop.name()));
    shop.run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .prints("where there is no such database now");
    // Nothing is replaced, so nothing is asked.
    shop.run(&format!("restore {id}")).run().exits(0);
    assert_same(&shop.db.dump_text(), &text);
    assert_same(&database_facts(cluster, shop.name()), &facts);
    assert_eq!(shop.family(), [shop.name()]);
    cluster.sql(
        "postgres",
        &format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", shop.name()),
    );
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    assert_same(&shop.db.dump_text(), &text);
    assert_same(&database_facts(cluster, shop.name()), &facts);
}

#[test]
fn what_was_left_out_is_left_out_of_the_proof() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db
        .sql("CREATE SCHEMA other; CREATE TABLE other.t AS SELECT generate_series(1, 5) id");
    for (selection, rows) in [
        ("exclude_table_data = [\"orders\"]", 105),
        ("exclude_table = [\"orders\"]", 105),
        ("schemas = [\"other\"]", 5),
    ] {
        for format in ["custom", "plain"] {
            shop.configure(&format!("{selection}\nformat = {format:?}"));
            let id = shop.backup();
            shop.run(&format!("verify {id}"))
                .run()
                .exits(0)
                .prints(&format!("{rows} rows as at the backup"));
            let name = format!("{}_part", shop.name());
            shop.run(&format!("restore {id} --to {name}"))
                .run()
                .exits(0);
            assert_eq!(cluster.value(&name, "SELECT count(*) FROM other.t"), "5");
            shop.drop_relatives();
        }
    }
}

/// An ordinary role that owns its database and may make others: so most people have it.
#[test]
fn an_owner_who_may_make_databases_needs_no_more() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::empty(cluster);
    let owner = format!("owner_{}", shop.name());
    cluster.sql(
        "postgres",
        &format!(
            "CREATE ROLE {owner} LOGIN CREATEDB; ALTER DATABASE {} OWNER TO {owner}",
            shop.name()
        ),
    );
    if cluster.major_version() < 15 {
        shop.db
            .sql(&format!("ALTER SCHEMA public OWNER TO {owner}"));
    }
    roles(cluster);
    let mut client =
        postgres::Client::connect(&cluster.url_as(&owner, shop.name()), postgres::NoTls).unwrap();
    client.batch_execute(SMALL).unwrap();
    let name = identifier(shop.name());
    client
        .batch_execute(&format!(
            "CREATE SCHEMA own CREATE TABLE t (id serial); SELECT lo_from_bytea(0, 'abc'); COMMENT \
             ON DATABASE {name} IS 'mine';
             REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO \
             dbb_reader; ALTER DATABASE {name} SET work_mem = '7MB';
             GRANT SELECT ON orders TO dbb_reader WITH GRANT OPTION; CREATE FUNCTION own.f() \
             RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
        ))
        .unwrap();
    for extension in ["pgcrypto", "hstore"] {
        if let Err(error) = client.batch_execute(&format!("CREATE EXTENSION {extension}")) {
            skip(&format!("{extension}: {error:?}"));
        }
    }
    drop(client);
    for format in ["custom", "plain"] {
        shop.configure_as(
            &cluster.url_as(&owner, shop.name()),
            &format!("format = {format:?}"),
        );
        let (text, facts) = (shop.db.dump_text(), database_facts(cluster, shop.name()));
        let id = shop.backup();
        until("the others' end", || {
            shop.run(&format!("restore {id} --yes"))
                .run()
                .stdout
                .starts_with("ok")
        });
        assert_same(&shop.db.dump_text(), &text);
        assert_same(&database_facts(cluster, shop.name()), &facts);
        shop.run(&format!("restore {id} --yes --in-place"))
            .run()
            .exits(0);
        assert_same(&shop.db.dump_text(), &text);
    }
}

/// Whatever an application was told is written is in the database or in the safety backup.
#[test]
fn in_place_nothing_is_written_between_the_safety_backup_and_the_restore() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = shop.db.client();
            let mut next = 2000;
            while !stop.load(Ordering::Relaxed) {
                // Where the restore comes in between it fails, and what was not acknowledged is no
                // loss.
                if client
                    .batch_execute(&format!("INSERT INTO customers VALUES ({next}, 'new')"))
                    .is_err()
                {
                    break;
                }
                acknowledged.store(next, Ordering::Relaxed);
                next += 1;
            }
        });
        until("the writer", || acknowledged.load(Ordering::Relaxed) > 2050);
        let ran = shop.run(&format!("restore {id} --in-place --yes")).run();
        stop.store(true, Ordering::Relaxed);
        ran.exits(0);
    });
    let safety = shop
        .run("list --label pre-restore --json")
        .run()
        .exits(0)
        .json()["backups"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let name = format!("{}_saved", shop.name());
    shop.run(&format!("restore {safety} --to {name}"))
        .run()
        .exits(0);
    let ids = |name: &str| -> Vec<u32> {
        let text = cluster.value(
            name,
            "SELECT coalesce(string_agg(id::text, ','), '') FROM customers WHERE id >= 2000",
        );
        text.split(',').filter_map(|id| id.parse().ok()).collect()
    };
    let (saved, live) = (ids(&name), ids(shop.name()));
    let lost: Vec<u32> = (2000..=acknowledged.load(Ordering::Relaxed))
        .filter(|id| !saved.contains(id) && !live.contains(id))
        .collect();
    assert!(
        lost.is_empty(),
        "{} rows are lost, from {} on",
        lost.len(),
        lost[0]
    );
}

#[test]
fn the_owner_restores_in_place_without_being_a_superuser() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::empty(cluster);
    let owner = format!("owner_{}", shop.name());
    cluster.sql(
        "postgres",
        &format!(
            "CREATE ROLE {owner} LOGIN; ALTER DATABASE {} OWNER TO {owner}",
            shop.name()
        ),
    );
    if cluster.major_version() < 15 {
        shop.db
            .sql(&format!("ALTER SCHEMA public OWNER TO {owner}"));
    }
    let mut client =
        postgres::Client::connect(&cluster.url_as(&owner, shop.name()), postgres::NoTls).unwrap();
    client.batch_execute(SMALL).unwrap();
    client
        .batch_execute(
            "CREATE SCHEMA own CREATE TABLE t (id serial); SELECT lo_from_bytea(4711, 'abc')",
        )
        .unwrap();
    shop.configure_as(&cluster.url_as(&owner, shop.name()), "");
    let text = shop.db.dump_text();
    let id = shop.backup();
    client
        .batch_execute("DROP TABLE orders; CREATE TABLE own.newer (); SELECT lo_create(4712)")
        .unwrap();
    drop(client);
    shop.run(&format!("restore {id} --in-place --yes"))
        .run()
        .exits(0);
    assert_same(&shop.db.dump_text(), &text);
}

#[test]
fn a_table_comes_with_what_belongs_to_it() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db.sql(
        "CREATE TYPE state AS ENUM ('new', 'done'); CREATE DOMAIN name_of AS text CHECK (VALUE <> \
         '');
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE SCHEMA \"Sch\";
         CREATE TABLE \"Sch\".\"Jobs; all\" (id serial PRIMARY KEY, big bigint GENERATED ALWAYS AS \
         IDENTITY, state state DEFAULT 'new', name name_of UNIQUE,
             CHECK (id > 0), parent integer REFERENCES \"Sch\".\"Jobs; all\");
         CREATE INDEX by_state ON \"Sch\".\"Jobs; all\" (state) WHERE state = 'new';
         CREATE TRIGGER touched BEFORE UPDATE ON \"Sch\".\"Jobs; all\" FOR EACH ROW EXECUTE \
         FUNCTION touch();
         COMMENT ON COLUMN \"Sch\".\"Jobs; all\".name IS 'it''s a name';
         INSERT INTO \"Sch\".\"Jobs; all\" (name) SELECT 'job ' || i FROM generate_series(1, 50) i;
         CREATE TABLE parted (id integer, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2021-01-01') TO \
         ('2022-01-01') PARTITION BY RANGE (id);
         CREATE TABLE parted_2_1 PARTITION OF parted_2 FOR VALUES FROM (0) TO (1000);
         CREATE INDEX ON parted (at);
         INSERT INTO parted SELECT i, '2020-12-01'::date + i FROM generate_series(1, 60) i;",
    );
    let id = shop.backup();
    let part = |tables: &[&str]| {
        let name = format!("{}_part", shop.name());
        let mut words = vec!["restore", id.as_str(), "--to", name.as_str()];
        tables
            .iter()
            .for_each(|table| words.extend(["--table", table]));
        shop.world.dbbackup_with(&words).run().exits(0);
        name
    };
    let compared = |name: &str, tables: &[&str]| {
        let more: Vec<String> = tables
            .iter()
            .map(|table| format!("--table={table}"))
            .collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        assert_same(
            &cluster.dump_text(name, &more),
            &cluster.dump_text(shop.name(), &more),
        );
        let count = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                     WHERE relkind IN ('r', 'p') AND nspname IN ('public', 'Sch')";
        let count: usize = cluster.value(name, count).parse().unwrap();
        cluster.sql("postgres", &format!("DROP DATABASE {name}"));
        count
    };
    let odd = "\"Sch\".\"Jobs; all\"";
    assert_eq!(compared(&part(&[odd]), &[odd]), 1);
    assert_eq!(compared(&part(&["parted"]), &["parted*"]), 4);
    // Its foreign key leads to a table that was not asked for.
    assert_eq!(
        cluster.value(&part(&["public.orders"]), "SELECT count(*) FROM orders"),
        "1000"
    );
    shop.drop_relatives();
    assert_eq!(
        compared(&part(&["orders", "customers"]), &["orders", "customers"]),
        2
    );
}

#[test]
fn roles_are_made_where_they_are_missing() {
    let (Some(from), Some(to)) = (
        Cluster::start(Options::default()),
        Cluster::start(Options::default()),
    ) else {
        return;
    };
    let shop = Shop::small(&from);
    from.sql(
        "postgres",
        "CREATE ROLE alice LOGIN PASSWORD 'it''s; secret'; CREATE ROLE staff; \
                          GRANT staff TO alice; CREATE ROLE bob CONNECTION LIMIT 3;
        ALTER ROLE bob SET work_mem = '9MB'; GRANT staff TO bob",
    );
    shop.db.sql("ALTER TABLE orders OWNER TO alice");
    from.sql("postgres", "CREATE DATABASE second OWNER staff");
    from.sql(
        "second",
        "CREATE TABLE t AS SELECT generate_series(1, 5) id",
    );
    let more = "databases = [\"*\"]\nglobals = true";
    shop.configure(more);
    shop.run("backup shop").run().exits(0);
    to.sql("postgres", "CREATE ROLE bob CONNECTION LIMIT 5");
    shop.configure_as(&to.url("postgres"), more);
    shop.run("restore shop-globals --dry-run")
        .run()
        .exits(0)
        .prints("make the role alice")
        .prints("bob")
        .prints("nothing was done")
        .never_says("secret");
    assert_eq!(
        to.value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('alice', 'staff')"
        ),
        "0"
    );
    shop.run("restore shop-globals")
        .run()
        .exits(2)
        .says("needs a yes");
    shop.run("restore shop-globals --yes")
        .run()
        .exits(0)
        .prints("2 roles made")
        .never_says("secret");
    let roles = "SELECT string_agg(format('%s %s %s', rolname, rolpassword, rolcanlogin), '/' \
                 ORDER BY 1) FROM pg_authid WHERE rolname IN ('alice', 'staff')";
    assert_eq!(to.value("postgres", roles), from.value("postgres", roles));
    assert_eq!(
        to.value(
            "postgres",
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'bob'"
        ),
        "5"
    );
    assert_eq!(
        to.value(
            "postgres",
            "SELECT string_agg(member::regrole::text, ',') FROM pg_auth_members WHERE roleid = \
             'staff'::regrole"
        ),
        "alice,bob"
    );
    shop.run("restore shop-globals --yes")
        .run()
        .exits(0)
        .prints("0 roles made");
    // A run in which one failed is no picture of the whole; and a run is known by its second.
    let first = shop.world.stored("shop.second", ".json").remove(0);
    next_second();
    shop.configure(more);
    shop.run("backup shop").run().exits(0);
    let second = shop
        .world
        .stored("shop.second", ".json")
        .into_iter()
        .find(|path| *path != first)
        .unwrap();
    shop.edit(second.file_stem().unwrap().to_str().unwrap(), |sidecar| {
        sidecar["status"] = "failed".into();
        sidecar.as_object_mut().unwrap().remove("dump");
    });
    shop.configure_as(&to.url("postgres"), more);
    let first = first.file_stem().unwrap().to_str().unwrap();
    shop.run("restore shop --dry-run")
        .run()
        .exits(0)
        .prints(first)
        .never_says(second.file_stem().unwrap().to_str().unwrap());
    // Into an empty cluster, all of it, the roles first.
    to.sql("postgres", "DROP ROLE alice, bob, staff");
    let ran = shop.run("restore shop --yes").run().exits(0);
    assert!(
        ran.stdout.find("shop-globals_").unwrap() < ran.stdout.find("shop.second_").unwrap(),
        "{ran}"
    );
    assert_same(
        &to.dump_text("second", &["--create"]),
        &from.dump_text("second", &["--create"]),
    );
    assert_same(
        &to.dump_text(shop.name(), &["--create"]),
        &from.dump_text(shop.name(), &["--create"]),
    );
}

#[test]
fn a_group_comes_back_from_its_newest_complete_run() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let app = shop.world.shop("app.db");
    let sources = format!(
        "[sources.app]\nkind = \"sqlite\"\npath = {app:?}\n[sources.shop]\nkind = \
         \"postgres\"\nurl = {:?}\nbin_dir = {:?}\n[groups]\nfull = [\"app\", \"shop\"]\n",
        shop.db.url(),
        cluster.bin()
    );
    shop.world.config(&format!("{}{sources}", shop.head()));
    shop.run("backup full").run().exits(0);
    shop.db.sql("DELETE FROM orders WHERE id <= 500");
    shop.world
        .sql("app.db", "DELETE FROM orders WHERE id <= 500");
    std::fs::rename(&app, shop.world.path("away.db")).unwrap();
    // A run is known by its second: another one must not be the same.
    next_second();
    shop.run("backup full").run().exits(3);
    std::fs::rename(shop.world.path("away.db"), &app).unwrap();
    shop.run("restore full --yes").run().exits(0);
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
    let rows: i64 = rusqlite::Connection::open(&app)
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1000);
}

#[test]
fn without_space_for_the_dump_it_is_streamed() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let tiny = shop.world.path("tiny");
    std::fs::create_dir(&tiny).unwrap();
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
            .arg(&tiny)
            .status()
            .unwrap()
            .success();
    if !mounted {
        return skip("a small file system can't be mounted here");
    }
    let text = std::fs::read_to_string(shop.world.path("dbbackup.toml")).unwrap();
    shop.world.config(&text.replace(
        shop.world.path("scratch").to_str().unwrap(),
        tiny.to_str().unwrap(),
    ));
    let before = shop.db.dump_text();
    let ran = shop.run(&format!("restore {id} --yes")).run();
    let in_place = shop
        .run(&format!("restore {id} --yes --in-place --no-safety-backup"))
        .run();
    let _ = Command::new("umount").arg("-l").arg(&tiny).status();
    ran.exits(0);
    in_place.exits(1).says("too little space");
    assert_same(&shop.db.dump_text(), &before);
}

#[test]
fn another_cluster_takes_it_by_its_address() {
    let (Some(cluster), Some(other)) = (Cluster::shared(), Cluster::start(Options::default()))
    else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let to = other.tcp_url("from elsewhere");
    shop.run(&format!("restore {id} --to {to}")).run().exits(0);
    assert_same(
        &other.dump_text("from elsewhere", &[]),
        &shop.db.dump_text(),
    );
    shop.run(&format!("restore {id} --to {to}"))
        .run()
        .exits(2)
        .says("needs a yes");
    shop.run(&format!(
        "restore {id} --to postgresql://127.0.0.1:{}",
        other.port()
    ))
    .run()
    .exits(2)
    .says("names no database");
    // What is there takes its own settings, and is kept.
    other.sql(
        "postgres",
        "COMMENT ON DATABASE \"from elsewhere\" IS 'its own'",
    );
    shop.run(&format!("restore {id} --yes --to {to}"))
        .run()
        .exits(0);
    assert!(database_facts(&other, "from elsewhere").contains("comment its own"));
    assert_eq!(
        other.value(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'from elsewhere\\_before\\_%'"
        ),
        "1"
    );
}

/// What the rows of the small tables are, and what else it has.
fn rows(cluster: &Cluster, name: &str) -> String {
    cluster.value(
        name,
        "SELECT (SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM customers c) || (SELECT \
         md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o)
             || (SELECT string_agg(indexdef, ',' ORDER BY indexdef) FROM pg_indexes WHERE \
         schemaname = 'public')
             || (SELECT string_agg(pg_get_constraintdef(oid), ',' ORDER BY conname) FROM \
         pg_constraint WHERE connamespace = 'public'::regnamespace)",
    )
}

/// Programs of every version against servers of every version, as far as they are here: each pair
/// works, or is refused before any work.
#[test]
fn every_pair_of_versions_works_or_is_refused() {
    let clients = distinct_majors(Cluster::with_clients());
    for server in distinct_majors(Cluster::installed()) {
        let Some(cluster) = Cluster::start(Options {
            bin: Some(server.clone()),
            ..Options::default()
        }) else {
            return;
        };
        let shop = Shop::small(&cluster);
        let content = rows(&cluster, shop.name());
        for (client, format) in clients
            .iter()
            .flat_map(|client| [(client, "custom"), (client, "plain")])
        {
            let (of_client, of_server) = (Cluster::major(client), cluster.major_version());
            shop.configure(&format!("bin_dir = {client:?}\nformat = {format:?}"));
            let pair = format!("{format} by {of_client} of {of_server}");
            if of_client < of_server {
                let ran = shop.run("backup shop").run().exits(1);
                assert!(
                    ran.stderr
                        .contains(&format!("PostgreSQL {of_server}: found {of_client}.")),
                    "{ran}"
                );
                eprintln!("{pair}: refused");
                continue;
            }
            let id = shop.backup();
            shop.run(&format!("verify {id}")).run().exits(0);
            shop.run(&format!("verify {id} --level restore"))
                .run()
                .exits(0);
            let mut told = Vec::new();
            for other in &clients {
                shop.configure(&format!("bin_dir = {other:?}"));
                let major = Cluster::major(other);
                shop.db.sql("DELETE FROM orders WHERE id = 7");
                let ran = shop.run(&format!("restore {id} --yes")).run();
                let refused = format == "custom" && major < of_client;
                if refused {
                    let ran = ran.exits(1).says("hint: ");
                    assert!(
                        ran.stderr
                            .contains(&format!("PostgreSQL {of_client}: found {major}.")),
                        "{ran}"
                    );
                    assert_eq!(shop.family(), [shop.name()]);
                    shop.configure(&format!("bin_dir = {client:?}"));
                    shop.run(&format!("restore {id} --yes --in-place --no-safety-backup"))
                        .run()
                        .exits(0);
                } else {
                    ran.exits(0);
                }
                told.push(format!(
                    "{major} {}",
                    if refused { "refused" } else { "ok" }
                ));
                assert_eq!(
                    rows(&cluster, shop.name()),
                    content,
                    "{pair} restored by {major}"
                );
                shop.drop_relatives();
            }
            eprintln!("{pair}: ok; restored by {}", told.join(", "));
        }
    }
}

fn distinct_majors(mut bins: Vec<std::path::PathBuf>) -> Vec<std::path::PathBuf> {
    bins.sort_by_key(|bin| Cluster::major(bin));
    bins.dedup_by_key(|bin| Cluster::major(bin));
    bins
}
