//! A restore in place is one transaction, whatever is cut off in the middle of it: `psql` must
//! never find something to commit.

use crate::cluster::Cluster;
use crate::moments::PATIENCE;
use crate::postgres_world::Shop;
use crate::support::until;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Instant;

/// `pg_restore` that, once it is asked for the script of the transaction, writes it as far as the
/// first constraint and then does `rest`.
fn renderer(real: &str, rest: &str) -> String {
    format!(
        r#"#!/bin/sh
case "$*" in
  *--single-transaction*) {real} "$@" | sed '/ADD CONSTRAINT/,$d'; {rest} ;;
  *) exec {real} "$@" ;;
esac
"#
    )
}

/// A backup, then something newer; and a configuration whose `pg_restore` is that one.
fn half_way<'a>(cluster: &'a Cluster, rest: &str) -> (Shop<'a>, String) {
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db.sql(
        "DELETE FROM orders WHERE id > 900; CREATE TABLE newer (id integer PRIMARY KEY); \
                 INSERT INTO newer VALUES (1)",
    );
    let real = cluster.bin().join("pg_restore");
    let bin = shop.programs(
        "half",
        &[],
        &[("pg_restore", &renderer(real.to_str().unwrap(), rest))],
    );
    shop.configure(&format!("bin_dir = {bin:?}"));
    (shop, id)
}

fn is_as_it_was(shop: &Shop<'_>) -> bool {
    let query = "SELECT (SELECT count(*) FROM orders) || '/' || (SELECT count(*) FROM newer) || \
                 '/' || (SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f') AND \
                 connamespace = 'public'::regnamespace)";
    shop.db.value(query) == "900/1/4"
}

#[test]
fn a_script_that_breaks_off_is_not_committed() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for (rest, why) in [
        ("kill -9 $$", "ends before its end"),
        ("exit 1", "ends before its end"),
        ("exit 0", "ends before its end"),
    ] {
        let (shop, id) = half_way(cluster, rest);
        assert!(is_as_it_was(&shop));
        let ran = shop
            .run(&format!("restore {id} --in-place --yes"))
            .run()
            .exits(1)
            .says(why)
            .says("old content is there as before");
        assert!(is_as_it_was(&shop), "{rest}: {ran}");
    }
    // Whole, but its writer fails at its end.
    let (shop, id) = half_way(cluster, "");
    let real = cluster.bin().join("pg_restore");
    let failing = format!(
        "#!/bin/sh\n{0} \"$@\" || exit\ncase \"$*\" in *--single-transaction*) exit 3 ;; esac\n",
        real.display()
    );
    let bin = shop.programs("failing", &[], &[("pg_restore", &failing)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    shop.run(&format!("restore {id} --in-place --yes"))
        .run()
        .exits(1)
        .says("exit status 3")
        .says("old content is there as before");
    assert!(is_as_it_was(&shop));
}

#[test]
fn a_kill_while_psql_waits_for_more_commits_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (shop, id) = half_way(cluster, "exec sleep 600");
    for _ in 0..8 {
        let running = shop
            .run(&format!("restore {id} --in-place --yes --no-safety-backup"))
            .start();
        // The script has stopped in the middle of a table's rows.
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event = 'ClientRead' AND query \
                     LIKE 'COPY%'";
        until("a wait for more of the script", || {
            shop.db.value(waits) == "1"
        });
        kill_process(
            Pid::from_raw(running.child.id().cast_signed()).unwrap(),
            Signal::KILL,
        )
        .unwrap();
        running.wait();
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                      pid <> pg_backend_pid()";
        until("the end of its session", || shop.db.value(others) == "0");
        assert!(is_as_it_was(&shop));
    }
}

#[test]
fn one_that_waits_for_a_lock_can_be_stopped_and_leaves_nobody_waiting() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let mut reader = shop.db.client();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM orders")
        .unwrap();
    let running = shop
        .run(&format!("restore {id} --in-place --yes --no-safety-backup"))
        .start();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                   wait_event_type = 'Lock'";
    until("a wait for the lock", || shop.db.value(waiting) == "1");
    let stopped = Instant::now();
    kill_process(
        Pid::from_raw(running.child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    running.wait().exits(130);
    assert!(stopped.elapsed() < PATIENCE);
    until("the end of the wait", || shop.db.value(waiting) == "0");
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn large_objects_are_in_the_same_transaction() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db
        .sql("SELECT lo_from_bytea(4711, decode(repeat('ab', 5000), 'hex'))");
    let id = shop.backup();
    shop.db
        .sql("SELECT lo_unlink(4711); CREATE TABLE newer (id integer)");
    // What fails at the very end takes them back as well.
    shop.edit(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 77.into()
    });
    shop.run(&format!("restore {id} --in-place --yes")).run();
    assert_eq!(
        shop.db
            .value("SELECT count(*) FROM pg_largeobject_metadata"),
        "0"
    );
    assert_eq!(
        shop.db
            .value("SELECT count(*) FROM pg_class WHERE relname = 'newer'"),
        "1"
    );
    shop.edit(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 100.into()
    });
    shop.run(&format!("restore {id} --in-place --yes"))
        .run()
        .exits(0);
    assert_eq!(shop.db.value("SELECT length(lo_get(4711))"), "5000");
}
