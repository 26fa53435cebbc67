//! Other people's locks, and settings of roles and databases that would end a backup's session or
//! change what its queries mean.

use crate::cluster::{Cluster, identifier};
use crate::moments::PATIENCE;
use crate::postgres_backup::{compared, shop, tables};
use crate::support::{World, until};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Instant;

fn config(world: &World, url: &str, more: &str) {
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.shop]\nkind = \"postgres\"\nurl = \"{url}\"\n{more}"
    ));
}

#[test]
fn who_holds_a_lock_for_too_long_is_named() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "locked"));
    let role = format!("blocked_{}", database.name);
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}"
    ));
    let mut holder = database.client();
    holder
        .batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let pid: i32 = holder
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    // The superuser sees the statement, too; a role for backups at least who it is.
    for (url, more) in [
        (database.url(), "SELECT pg_backend_pid()"),
        (cluster.url_as(&role, &database.name), "postgres"),
    ] {
        config(&world, &url, "lock_timeout = \"2s\"\n");
        let started = Instant::now();
        let ran = world
            .dbbackup("backup")
            .run()
            .exits(1)
            .says("could not be locked");
        ran.says(&format!("blocked by pid {pid} (postgres"))
            .says(more)
            .says("lock_timeout");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
    assert_eq!(world.attempts("shop").len(), 2);
    world.dbbackup("list").run().exits(0).says("no good backup");
    holder.batch_execute("ROLLBACK").unwrap();
    world.dbbackup("backup").run().exits(0);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_prepared_transaction_that_holds_a_lock_is_named() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "prepared"));
    let name = format!("forgotten {}", database.name);
    database.sql(&format!(
        "BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION '{name}'"
    ));
    config(&world, &database.url(), "lock_timeout = \"1s\"\n");
    let ran = world.dbbackup("backup").run().exits(1);
    database.sql(&format!("ROLLBACK PREPARED '{name}'"));
    ran.says("could not be locked").says(&format!(
        "the prepared transaction `{name}` (postgres, since "
    ));
}

#[test]
fn a_lock_that_is_released_in_time_only_delays() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "released"));
    let mut holder = database.client();
    holder
        .batch_execute(
            "BEGIN; ALTER TABLE orders ADD COLUMN note text; CREATE TABLE newer(a int); INSERT \
             INTO newer VALUES (1), (2)",
        )
        .unwrap();
    let mut running = world
        .with_store(&format!("backup {} --json", database.url()))
        .start();
    let waits = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = \
         'Lock'",
        database.name
    );
    until("a wait for the lock", || {
        cluster.value("postgres", &waits) == "t"
    });
    assert!(!running.ended());
    holder.batch_execute("COMMIT").unwrap();
    let sidecar = running.wait().exits(0).made();
    assert_eq!(
        compared(&sidecar)["public.newer"],
        2,
        "what was committed before the snapshot is in it"
    );
    world.with_store("verify --level content").run().exits(0);
}

#[test]
fn a_wait_for_a_lock_is_interrupted_at_once() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "waiting"));
    let mut holder = database.client();
    holder
        .batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let mut running = world
        .with_store(&format!("backup {}", database.url()))
        .start();
    let waits = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = \
         'Lock'",
        database.name
    );
    until("a wait for the lock", || {
        cluster.value("postgres", &waits) == "t"
    });
    assert!(!running.ended());
    let started = Instant::now();
    kill_process(
        Pid::from_raw(running.child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    running.wait().exits(130).says("interrupted");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

/// Of a materialized view nothing but its definition is dumped, so nothing about it is a reason to
/// wait or to fail.
#[test]
fn a_materialized_view_is_listed_and_never_read() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "views"));
    let role = format!("viewless_{}", database.name);
    database.sql(&format!(
        "CREATE MATERIALIZED VIEW a AS SELECT * FROM orders; CREATE MATERIALIZED VIEW z AS SELECT \
         * FROM customer;
         CREATE ROLE {role} LOGIN; GRANT SELECT ON orders, customer, z TO {role}"
    ));
    let mut holder = database.client();
    let sidecar = world
        .with_store(&format!(
            "backup {} --json --as it",
            cluster.url_as(&role, &database.name)
        ))
        .run()
        .exits(0)
        .made();
    let found = tables(&sidecar);
    assert!(
        ["public.a", "public.z"]
            .iter()
            .all(|view| found[*view] == ("materialized view".into(), 0, false)),
        "{sidecar}"
    );
    world
        .with_store("verify --all --level content")
        .run()
        .exits(0);
    // Its definition can't be read while it is locked: no lock is waited for longer than
    // `lock_timeout`, whosoever waits.
    holder
        .batch_execute("BEGIN; REFRESH MATERIALIZED VIEW z")
        .unwrap();
    config(&world, &database.url(), "lock_timeout = \"2s\"\n");
    let started = Instant::now();
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("could not be locked for reading within 2")
        .says("REFRESH MATERIALIZED VIEW z");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    holder.batch_execute("COMMIT").unwrap();
    world.dbbackup("backup").run().exits(0);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// `pg_dump` queues behind an `ALTER TABLE` that waits for the backup's own lock: without a way out
/// all would hang.
#[test]
fn an_alter_table_that_comes_in_between_neither_hangs_nor_is_hung() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "altered"));
    let go = world.path("go");
    // The program waits until the other session does; by then the backup has its locks.
    let bin = crate::postgres_backup::bin_dir(
        &world,
        cluster,
        &format!(
            "while [ ! -e {} ]; do sleep 0.02; done\nexec $real \"$@\"",
            go.display()
        ),
    );
    config(
        &world,
        &database.url(),
        &format!("bin_dir = \"{}\"\n", bin.display()),
    );
    let mut running = world.dbbackup("backup --json").start();
    let locked = format!(
        "SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE \
         d.datname = '{}' AND mode = 'AccessShareLock' AND relation = {}",
        database.name,
        database.value("SELECT 'orders'::regclass::oid")
    );
    until("the backup's locks", || {
        cluster.value("postgres", &locked) == "t"
    });
    let altering = std::thread::scope(|scope| {
        let altering = scope.spawn(|| {
            let started = Instant::now();
            database.sql("ALTER TABLE orders ADD COLUMN note text");
            started.elapsed()
        });
        let waits = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND query LIKE \
             'ALTER%' AND wait_event_type = 'Lock'",
            database.name
        );
        until("the ALTER TABLE waits", || {
            cluster.value("postgres", &waits) == "t"
        });
        std::fs::write(&go, "").unwrap();
        altering.join().unwrap()
    });
    assert!(altering < PATIENCE, "ALTER TABLE waited {altering:?}");
    until("the backup's end", || running.ended());
    let sidecar = running.wait().exits(0).made();
    assert_eq!(compared(&sidecar)["public.orders"], 1000);
    world.dbbackup("verify --level content").run().exits(0);
}

#[test]
fn an_alter_table_behind_a_long_reader_is_waited_for() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "queued"));
    let mut reader = database.client();
    reader
        .batch_execute("BEGIN; SELECT * FROM orders LIMIT 1")
        .unwrap();
    std::thread::scope(|scope| {
        let altering = scope.spawn(|| database.sql("ALTER TABLE orders ADD COLUMN note text"));
        let waits = |what: &str| {
            let query = format!(
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND query LIKE \
                 '{what}%' AND wait_event_type = 'Lock'",
                database.name
            );
            until(what, || cluster.value("postgres", &query) == "t");
        };
        waits("ALTER");
        let mut running = world
            .with_store(&format!("backup {}", database.url()))
            .start();
        waits("LOCK TABLE");
        assert!(!running.ended());
        reader.batch_execute("COMMIT").unwrap();
        altering.join().unwrap();
        running.wait().exits(0);
    });
}

#[test]
fn timeouts_of_the_role_or_the_database_end_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "hasty"));
    let role = format!("hasty_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    for timeout in [
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "lock_timeout",
        "idle_session_timeout",
        "transaction_timeout",
    ] {
        let there = cluster.value(
            "postgres",
            &format!("SELECT count(*) FROM pg_settings WHERE name = '{timeout}'"),
        );
        if there == "1" {
            database.sql(&format!(
                "ALTER ROLE {role} SET {timeout} = '50ms'; ALTER DATABASE {} SET {timeout} = \
                 '60ms'",
                identifier(&database.name)
            ));
        }
    }
    // Slow to begin and slow to end: the session that holds the snapshot is idle for long.
    let bin = crate::postgres_backup::bin_dir(
        &world,
        cluster,
        "sleep 0.3; $real \"$@\"; status=$?; sleep 0.3; exit $status",
    );
    config(
        &world,
        &cluster.url_as(&role, &database.name),
        &format!("bin_dir = \"{}\"\n", bin.display()),
    );
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(sidecar["manifest"]["rows_total"], 1100);
    // Nor does the role's haste keep it from seeing who blocks.
    config(
        &world,
        &cluster.url_as(&role, &database.name),
        "lock_timeout = \"2s\"\n",
    );
    let mut holder = cluster.client(&database.name);
    holder
        .batch_execute(
            "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; \
                        BEGIN; LOCK TABLE orders",
        )
        .unwrap();
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("blocked by pid");
    drop(holder);
    database.sql(&format!("DROP ROLE {role}"));
}

/// Functions and operators of the user's that stand before the system's own in the search path:
/// they must never run.
#[test]
fn a_search_path_with_traps_is_not_stepped_into() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "traps"));
    database.sql(
        "CREATE TABLE public.caught(what text);
         CREATE FUNCTION public.count(anyelement) RETURNS bigint LANGUAGE sql AS $$ INSERT INTO \
         public.caught VALUES ('count'); SELECT 7::bigint $$;
         CREATE FUNCTION public.trap_oid(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE \
         EXCEPTION 'trapped in ='; END $$;
         CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.trap_oid);
         CREATE FUNCTION public.trap_char(\"char\", \"char\") RETURNS bool LANGUAGE plpgsql AS $$ \
         BEGIN RAISE EXCEPTION 'trapped in = of char'; END $$;
         CREATE OPERATOR public.= (LEFTARG = \"char\", RIGHTARG = \"char\", FUNCTION = \
         public.trap_char);
         CREATE FUNCTION public.trap_text(name, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'trapped in ~'; END $$;
         CREATE OPERATOR public.~ (LEFTARG = name, RIGHTARG = text, FUNCTION = public.trap_text);
         CREATE FUNCTION public.trap_name(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'trapped in = of name'; END $$;
         CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.trap_name);
         CREATE FUNCTION public.pg_export_snapshot() RETURNS text LANGUAGE sql AS $$ SELECT \
         'trapped' $$;
         CREATE VIEW public.pg_class AS SELECT 1 AS oid; CREATE DOMAIN public.text AS \
         pg_catalog.int4; CREATE DOMAIN public.oid AS pg_catalog.bool;",
    );
    database.sql(&format!(
        "ALTER DATABASE {} SET search_path = public, pg_catalog",
        identifier(&database.name)
    ));
    // A check that the traps are set.
    let trapped = cluster
        .client(&database.name)
        .simple_query("SELECT 1::pg_catalog.oid = 1::pg_catalog.oid")
        .unwrap_err();
    assert!(
        trapped
            .as_db_error()
            .unwrap()
            .message()
            .contains("trapped in ="),
        "{trapped}"
    );
    config(
        &world,
        &database.url(),
        "exclude_table = [\"no_such*\", \"public.nosuch\"]\nexclude_table_data = \
         [\"customer\"]\nschemas = [\"pub*\"]\n",
    );
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(compared(&sidecar)["public.orders"], 1000);
    assert!(!compared(&sidecar).contains_key("public.customer"));
    world.dbbackup("verify --level content").run().exits(0);
}

#[test]
fn odd_settings_of_a_role_change_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "odd"));
    database.sql(
        "CREATE TABLE \"Quoted Ü\"(a bytea, b text); INSERT INTO \"Quoted Ü\" VALUES \
                  ('\\x00ff', E'a\\\\b')",
    );
    let role = format!("odd_{}", database.name);
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET quote_all_identifiers = on; \
         ALTER ROLE {role} SET standard_conforming_strings = off;
         ALTER ROLE {role} SET client_encoding = 'LATIN1'; ALTER ROLE {role} SET bytea_output = \
         'escape'; ALTER ROLE {role} SET datestyle = 'German';
         ALTER ROLE {role} SET default_transaction_deferrable = on; ALTER ROLE {role} SET \
         default_transaction_isolation = 'serializable';
         ALTER ROLE {role} SET row_security = off; ALTER ROLE {role} SET client_min_messages = \
         'debug1'; ALTER ROLE {role} SET timezone = 'Asia/Tokyo'"
    ));
    config(&world, &cluster.url_as(&role, &database.name), "");
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(sidecar["manifest"]["rows_total"], 1101);
    assert_eq!(
        sidecar["warnings"].as_array().map_or(0, Vec::len),
        0,
        "{sidecar}"
    );
    world.dbbackup("verify --level content").run().exits(0);
    database.sql(&format!("DROP ROLE {role}"));
}
