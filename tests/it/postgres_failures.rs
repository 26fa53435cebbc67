//! A dump that did not end well is no backup: programs that fail, die, stop in the middle or say
//! nothing; a server that goes away; this program interrupted or killed; a full disk. A failed
//! attempt stays, nothing else does.

use crate::cluster::{Cluster, Database, Options};
use crate::moments::PATIENCE;
use crate::postgres_backup::{bin_dir, shop};
use crate::support::{Running, World, is_root, until};
use crate::tools::skip;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Half of what the real one writes, on stdout.
const HALF: &str =
    "$real \"$@\" >$0.whole; size=$(wc -c <$0.whole); head -c $((size / 2)) $0.whole";

fn config(world: &World, url: &str, more: &str) {
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.shop]\nkind = \"postgres\"\nurl = \"{url}\"\n{more}"
    ));
}

/// With a script in `pg_dump`'s place.
fn with_script(world: &World, database: &Database<'_>, script: &str, more: &str) {
    let bin = bin_dir(world, database.cluster, script);
    config(
        world,
        &database.url(),
        &format!("bin_dir = \"{}\"\n{more}", bin.display()),
    );
}

#[track_caller]
fn only_a_failed_attempt(world: &World) -> Value {
    assert_eq!(world.debris("shop"), [] as [&str; 0]);
    let attempt = world.failed_attempt("shop");
    let listed = world.dbbackup("list shop --json").run().exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 0);
    assert!(attempt["dump"].is_null(), "{attempt}");
    attempt
}

#[test]
fn a_program_that_fails_in_whatever_way_makes_no_backup() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = shop(cluster, "failing");
    for (script, message) in [
        (
            "$real \"$@\"; echo 'pg_dump: error: the last table' >&2; exit 1",
            "(exit status 1): pg_dump: error: the last table",
        ),
        ("$real \"$@\"; kill -9 $$", "killed by signal 9"),
        (&format!("{HALF}; exit 1"), "(exit status 1)"),
        (&format!("{HALF}; kill -11 $$"), "killed by signal 11"),
        ("exit 1", "`pg_dump` failed (exit status 1)"),
        ("echo 'out of memory' >&2; exit 3", "out of memory"),
    ] {
        let world = World::new();
        with_script(&world, &database, script, "");
        world.dbbackup("backup").run().exits(1).says(message);
        let attempt = only_a_failed_attempt(&world);
        assert!(
            attempt["error"]["message"]
                .as_str()
                .unwrap()
                .contains(message),
            "{attempt}"
        );
    }
}

/// A program that says all is well with half a dump, or none: its exit status is no proof, the
/// content is.
#[test]
fn half_a_dump_with_success_is_found_as_it_goes_by() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = shop(cluster, "half");
    let world = World::new();
    with_script(&world, &database, HALF, "");
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("an archive that breaks off");
    only_a_failed_attempt(&world);
}

#[test]
fn what_does_not_look_like_a_dump_is_never_a_backup() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = shop(cluster, "nothing");
    for (script, format) in [
        ("exit 0", "custom"),
        ("exit 0", "plain"),
        (HALF, "plain"),
        ("echo Password:", "custom"),
    ] {
        let world = World::new();
        with_script(
            &world,
            &database,
            script,
            &format!("format = \"{format}\"\n"),
        );
        world
            .dbbackup("backup")
            .run()
            .exits(1)
            .says("`pg_dump` wrote ")
            .says("as if all were well");
        only_a_failed_attempt(&world);
    }
}

#[test]
fn a_program_that_is_silent_for_too_long_is_ended() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "silent"));
    let pid = world.path("pid");
    let script = format!("echo $$ >{}; printf PGDMP; exec sleep 600", pid.display());
    with_script(&world, &database, &script, "stall_timeout = \"1s\"\n");
    let started = Instant::now();
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("nothing came from `pg_dump` for 1")
        .says("stall_timeout");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    only_a_failed_attempt(&world);
    assert!(!alive(&pid), "it is gone");
}

fn alive(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

/// A dump that has begun and does not go on: half of it is written, then the program waits to be
/// killed.
fn in_the_middle(world: &World, database: &Database<'_>) -> Running {
    let (pid, marker) = (world.path("pid"), world.path("marker"));
    with_script(
        world,
        database,
        &format!(
            "echo $$ >{}; {HALF}; touch {}; exec sleep 600",
            pid.display(),
            marker.display()
        ),
        "",
    );
    let mut running = world.dbbackup("-v backup").start();
    until("the middle of the dump", || {
        marker.exists() || running.ended()
    });
    running
}

fn signal(running: &Running, signal: Signal) {
    kill_process(
        Pid::from_raw(running.child.id().cast_signed()).unwrap(),
        signal,
    )
    .unwrap();
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let database = shop(cluster, "interrupted");
    for by in [Signal::TERM, Signal::INT] {
        let world = World::new();
        let running = in_the_middle(&world, &database);
        signal(&running, by);
        running.wait().exits(130).says("interrupted");
        only_a_failed_attempt(&world);
        until("the end of the program", || !alive(&world.path("pid")));
        let sessions = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE \
             'dbbackup%'",
            database.name
        );
        until("the end of the sessions", || {
            cluster.value("postgres", &sessions) == "0"
        });
    }
}

#[test]
fn killed_it_leaves_nothing_listed_and_the_next_run_sweeps() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "killed"));
    let running = in_the_middle(&world, &database);
    signal(&running, Signal::KILL);
    drop(running.child.wait_with_output());
    until("the end of the program", || !alive(&world.path("pid")));
    assert_eq!(world.debris("shop").len(), 1, "{:?}", world.debris("shop"));
    assert_eq!(world.attempts("shop").len(), 0);
    let sessions = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE \
         'dbbackup%'",
        database.name
    );
    until("the end of the sessions", || {
        cluster.value("postgres", &sessions) == "0"
    });
    config(&world, &database.url(), "");
    world
        .dbbackup("-v backup")
        .run()
        .exits(0)
        .says("left by a run that was killed");
    assert_eq!(world.debris("shop"), [] as [&str; 0]);
    world.dbbackup("verify --level content").run().exits(0);
}

/// A server whose dump takes a while: a table that a program of ours reads slowly.
#[test]
fn a_server_that_goes_away_in_the_middle() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    let database = cluster.database("going");
    database.sql(
        "CREATE TABLE t AS SELECT g AS a, repeat(md5(g::text), 100) AS b FROM \
                  generate_series(1, 20000) g; ALTER TABLE t ALTER b SET STORAGE EXTERNAL",
    );
    for kill in [true, false] {
        let world = World::new();
        let marker = world.path("marker");
        // Its output is not taken on while the marker is there: it is in the middle of its COPY.
        let script = format!(
            "$real \"$@\" | {{ head -c 1000000; touch {0}; while [ -e {0} ]; do sleep 0.02; done; cat; }}; exit \
             ${{PIPESTATUS:-1}}",
            marker.display()
        );
        let bin = bin_dir(
            &world,
            &cluster,
            &script.replace(
                "$real \"$@\" |",
                "mkfifo $0.fifo; $real \"$@\" >$0.fifo & real_pid=$!; <$0.fifo",
            ),
        );
        let path = bin.join("pg_dump");
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("exit ${PIPESTATUS:-1}", "wait $real_pid");
        world.script("bin/pg_dump", &text);
        config(
            &world,
            &database.url(),
            &format!("bin_dir = \"{}\"\n", bin.display()),
        );
        let mut running = world.dbbackup("backup").start();
        until("the middle of the dump", || {
            marker.exists() || running.ended()
        });
        if kill {
            cluster.kill();
        } else {
            cluster.stop_by(Signal::QUIT);
        }
        let _ = std::fs::remove_file(&marker);
        let ran = running.wait().exits(1);
        assert!(
            ran.stderr.contains("pg_dump") || ran.stderr.contains("connection"),
            "{ran}"
        );
        only_a_failed_attempt(&world);
        world.dbbackup("backup").run().exits(1).says("hint: ");
        cluster.start_again();
        config(&world, &database.url(), "");
        world.dbbackup("backup").run().exits(0);
        world.dbbackup("verify --level content").run().exits(0);
    }
}

#[test]
fn the_session_that_holds_the_snapshot_is_ended_by_somebody() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "ended"));
    database.sql(
        "CREATE VIEW slow AS SELECT 1; CREATE TABLE large AS SELECT g AS a FROM \
                  generate_series(1, 100) g",
    );
    let (asked, go) = (world.path("asked"), world.path("go"));
    with_script(
        &world,
        &database,
        &format!(
            ": > {}\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec $real \"$@\"",
            asked.display(),
            go.display()
        ),
        "",
    );
    let running = world.dbbackup("backup").start();
    let ours = format!(
        "FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'dbbackup'",
        database.name
    );
    // Before that the session is idle for moments between the steps of preparing.
    until("pg_dump", || asked.exists());
    until("the session", || {
        cluster.value(
            "postgres",
            &format!("SELECT count(*) > 0 {ours} AND state = 'idle in transaction'"),
        ) == "t"
    });
    cluster.value(
        "postgres",
        &format!("SELECT count(pg_terminate_backend(pid)) {ours}"),
    );
    std::fs::write(&go, "").unwrap();
    running.wait().exits(1).says(
        "the session that holds the snapshot was ended: terminating connection due to \
               administrator command",
    );
    only_a_failed_attempt(&world);
}

#[test]
fn a_full_disk_is_no_backup() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !is_root() {
        return skip("a full disk needs root for its tmpfs");
    }
    let (world, database) = (World::new(), cluster.database("full"));
    // Hardly compressible, and in a table whose size says little: the space is not found missing
    // beforehand.
    database.sql(
        "CREATE TABLE t AS SELECT string_agg(md5(g::text || h::text), '') AS a FROM \
                  generate_series(1, 100) g, generate_series(1, 3000) h GROUP BY h",
    );
    let store = world.path("store");
    std::fs::create_dir(&store).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "none"])
        .arg(&store)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        return skip("a tmpfs can't be mounted here");
    }
    config(&world, &database.url(), "");
    let ran = world.dbbackup("backup").run();
    let left = world.debris("shop");
    let listed = world.dbbackup("list --json").run();
    let attempts = world.attempts("shop");
    assert!(
        Command::new("umount")
            .arg(&store)
            .status()
            .unwrap()
            .success()
    );
    ran.exits(1).says("no space left on device").says("hint: ");
    assert_eq!(left, [] as [&str; 0]);
    assert_eq!(
        listed.exits(0).json()["backups"].as_array().unwrap().len(),
        0
    );
    assert!(
        attempts.iter().all(|attempt| attempt["status"] == "failed") && attempts.len() == 1,
        "{attempts:?}"
    );
}

/// A standby that must choose between replay and the snapshot of a backup.
#[test]
fn a_conflict_with_recovery_says_what_to_do() {
    let Some(primary) = Cluster::start(Options::default()) else {
        return;
    };
    let database = shop(&primary, "conflict");
    let standby = primary.standby();
    standby.configure(&[("max_standby_streaming_delay", "0")]);
    standby.restart();
    standby.catch_up(&primary);
    let world = World::new();
    let go = world.path("go");
    let bin = bin_dir(
        &world,
        &standby,
        &format!(
            "while [ ! -e {} ]; do sleep 0.02; done\nexec $real \"$@\"",
            go.display()
        ),
    );
    config(
        &world,
        &standby.url(&database.name),
        &format!("bin_dir = \"{}\"\n", bin.display()),
    );
    let mut running = world.dbbackup("backup").start();
    let ours = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name = \
         'dbbackup' AND state = 'idle in transaction'",
        database.name
    );
    until("the snapshot", || {
        standby.value("postgres", &ours) == "1" || running.ended()
    });
    database.sql("DELETE FROM orders");
    database.sql("VACUUM orders");
    standby.catch_up(&primary);
    until("the end of the snapshot", || {
        standby.value("postgres", &ours) == "0"
    });
    std::fs::write(&go, "").unwrap();
    running
        .wait()
        .exits(1)
        .says("conflict with recovery")
        .says("hot_standby_feedback");
    only_a_failed_attempt(&world);
    // Next time there is nothing in the way.
    config(&world, &standby.url(&database.name), "");
    world.dbbackup("backup").run().exits(0);
}

/// An archive is read as it goes by, so one that breaks off is known for what it is, whatever its
/// writer says.
#[test]
fn an_archive_that_breaks_off_is_no_backup() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "cut"));
    for length in [5, 100, 3000, 5000] {
        with_script(
            &world,
            &database,
            &format!("$real \"$@\" | head -c {length}; exit 0"),
            "",
        );
        world
            .dbbackup("backup")
            .run()
            .exits(1)
            .says("an archive that breaks off")
            .says("look at `bin_dir`");
    }
}
