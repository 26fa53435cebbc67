//! All databases of a server as one source: each becomes a backup of its own, and stands and falls
//! by itself.

use crate::cluster::{Cluster, Database, Options};
use crate::moments::next_second;
use crate::postgres_backup::{bin_dir, compared, output};
use crate::support::World;
use serde_json::Value;

/// A server with databases that are to be saved, and some that are not.
fn server() -> Option<Cluster> {
    let cluster = Cluster::start(Options::default())?;
    let names = [
        "alpha",
        "beta",
        "Gamma Ü",
        "scratch_1",
        "alpha_before_20261120T020000Z",
        "beta_restore_20261120T020000Z-2",
        "no_before_noon",
        "closed",
    ];
    for name in names {
        cluster.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        cluster.sql(
            name,
            "CREATE TABLE t(a int); INSERT INTO t SELECT generate_series(1, 10)",
        );
    }
    cluster.sql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    Some(cluster)
}

fn config(world: &World, cluster: &Cluster, more: &str) {
    let url = cluster.url("postgres");
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.cluster]\nkind = \"postgres\"\nurl = \"{url}\"\n{more}"
    ));
}

fn sources(json: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = json["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["source"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    found
}

const ALL: [&str; 6] = [
    "cluster-globals",
    "cluster.Gamma--",
    "cluster.alpha",
    "cluster.beta",
    "cluster.no_before_noon",
    "cluster.postgres",
];

#[test]
fn hooks_run_once_around_all_databases_whose_order_is_the_servers() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    let hook =
        "'echo $DBBACKUP_HOOK $DBBACKUP_SOURCE ${DBBACKUP_STATUS-} ${DBBACKUP_FAILED-} >> said'";
    let hooks =
        format!("[sources.cluster.hooks]\nbefore = {hook}\nafter = {hook}\non_failure = {hook}\n");
    let said = || std::fs::read_to_string(world.path("said")).unwrap();
    let in_order = |run: &crate::support::Ran| {
        let line = run
            .stdout
            .lines()
            .chain(run.stderr.lines())
            .find(|line| line.contains(" of "))
            .unwrap_or_default()
            .to_owned();
        let at: Vec<usize> = ALL
            .iter()
            .map(|name| line.find(name).unwrap_or_else(|| panic!("{name}: {run}")))
            .collect();
        assert!(at.is_sorted(), "{run}");
    };
    // Globals come first, then the server's order, which is the names' here.
    config(
        &world,
        &cluster,
        &format!(
            "databases = [\"*\"]\nexclude_databases = [\"scratch_*\", \"closed\"]\nglobals = \
             true\njobs = 6\n{hooks}"
        ),
    );
    world
        .dbbackup("backup -n")
        .run()
        .exits(0)
        .prints("would run before cluster: echo");
    in_order(&world.dbbackup("backup").run().exits(0));
    assert_eq!(said(), "before cluster\nafter cluster ok\n");
    // One database of it is saved in the same surroundings; a missing one fails alone.
    world
        .dbbackup("backup cluster.alpha")
        .run()
        .exits(0)
        .never_says("cluster.beta");
    config(
        &world,
        &cluster,
        &format!("databases = [\"alpha\", \"gone\"]\n{hooks}"),
    );
    world.dbbackup("backup --jobs 3").run().exits(3);
    let more = "before cluster\nafter cluster ok\nbefore cluster\nafter cluster partial \
                cluster.gone\non_failure cluster partial cluster.gone\n";
    assert_eq!(said(), format!("before cluster\nafter cluster ok\n{more}"));
    // A run of the whole that holds it keeps another one's hooks away.
    let _held = world.hold_lock("cluster", "");
    world.dbbackup("backup").run().exits(11);
    assert!(said().ends_with(more));
}

#[test]
fn every_database_becomes_a_backup_of_its_own() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    cluster.sql("postgres", "CREATE ROLE keeper PASSWORD 'secret'");
    config(
        &world,
        &cluster,
        "databases = [\"*\"]\nexclude_databases = [\"scratch_*\", \"closed\"]\nglobals = \
         true\njobs = 3\n",
    );
    world
        .dbbackup("backup -n")
        .run()
        .exits(0)
        .prints("would back up alpha on")
        .prints("would back up roles and tablespaces of ")
        .prints("cluster-globals_manual_");
    let json = world
        .dbbackup("backup --json --label nightly")
        .run()
        .exits(0)
        .json();
    assert_eq!(sources(&json), ALL);
    let backups = json["backups"].as_array().unwrap();
    assert!(
        backups
            .iter()
            .all(|one| one["run"] == backups[0]["run"] && one["label"] == "nightly"),
        "{json}"
    );
    for one in backups
        .iter()
        .filter(|one| one["source"] != "cluster-globals" && one["source"] != "cluster.postgres")
    {
        assert_eq!(
            (&one["manifest"]["rows_total"], &one["database"]["cluster"]),
            (&Value::from(10), &Value::from("cluster"))
        );
    }
    let globals = backups
        .iter()
        .find(|one| one["source"] == "cluster-globals")
        .unwrap();
    assert_eq!(globals["dump"]["format"], "pg_dumpall-globals");
    let shown = world
        .dbbackup("show cluster-globals")
        .run()
        .exits(0)
        .never_says("\ndatabase ")
        .never_says("encoding");
    shown.prints("roles and tablespaces of ");
    let script = std::fs::read_to_string(world.decoded(globals)).unwrap();
    assert!(
        script.contains("CREATE ROLE keeper") && script.contains("SCRAM-SHA-256$"),
        "{script}"
    );

    // The cluster's name stands for all of them.
    let listed = world.dbbackup("list cluster --json").run().exits(0).json();
    assert_eq!(sources(&listed), ALL);
    let results = world
        .dbbackup("verify cluster --json --level content")
        .run()
        .exits(0)
        .json();
    assert_eq!(
        results["results"].as_array().unwrap().len(),
        ALL.len(),
        "{results}"
    );
    let one = world
        .dbbackup("list cluster.alpha --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(sources(&one), ["cluster.alpha"]);
    // And so it does without the configuration.
    let listed = world
        .dbbackup("-c /dev/null --store store list cluster --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(sources(&listed), ALL);
}

#[test]
fn one_that_fails_stops_no_other() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    // It fails for one of them.
    let bin = bin_dir(
        &world,
        &cluster,
        "case \"$*\" in *\"dbname='beta'\"*) echo broken >&2; exit 1;; esac; exec $real \"$@\"",
    );
    let more = format!(
        "databases = [\"alpha\", \"beta\", \"missing\", \"no_*\", \"closed\"]\njobs = 2\nbin_dir = \
         \"{}\"\n",
        bin.display()
    );
    config(&world, &cluster, &more);
    let ran = world.dbbackup("backup --json").run().exits(3);
    let ran = ran
        .says("cluster.beta: `pg_dump` failed (exit status 1): broken")
        .says("the server has no database `missing`")
        .says("the database `closed` allows no connections")
        .says("2 of 5");
    assert_eq!(
        sources(&ran.json()),
        ["cluster.alpha", "cluster.no_before_noon"]
    );
    for source in ["cluster.beta", "cluster.missing", "cluster.closed"] {
        world.failed_attempt(source);
    }
    let all = world
        .dbbackup("list cluster --status all --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(all["backups"].as_array().unwrap().len(), 5, "{all}");
    // A server that is not there fails the source as a whole.
    config(&world, &cluster, "databases = [\"*\"]\nport = 1\n");
    world.dbbackup("backup").run().exits(1).says("hint: ");
    world.failed_attempt("cluster");
}

/// Nobody is to believe that a database is saved which is not.
#[test]
fn what_is_on_the_server_and_can_not_be_saved_is_told() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    let world = World::new();
    for name in ["alpha", "closed", "invalid", "own_template"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        cluster.sql(
            name,
            "CREATE TABLE t(a int); INSERT INTO t SELECT generate_series(1, 10)",
        );
    }
    cluster.sql(
        "postgres",
        "ALTER DATABASE closed ALLOW_CONNECTIONS false; ALTER DATABASE own_template IS_TEMPLATE \
         true;
         UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'invalid'",
    );
    config(&world, &cluster, "databases = [\"*\"]\n");
    let ran = world.dbbackup("backup --json").run().exits(3);
    let ran = ran
        .says("cluster.closed: the database `closed` allows no connections")
        .says("ALTER DATABASE closed ALLOW_CONNECTIONS true")
        .says("cluster.invalid: a DROP DATABASE that was interrupted left `invalid` invalid");
    assert_eq!(
        sources(&ran.json()),
        ["cluster.alpha", "cluster.own_template", "cluster.postgres"]
    );
    world.failed_attempt("cluster.closed");
    config(
        &world,
        &cluster,
        "databases = [\"*\"]\nexclude_databases = [\"closed\", \"invalid\"]\n",
    );
    world.dbbackup("backup").run().exits(0);
    cluster.sql("postgres", "ALTER DATABASE own_template IS_TEMPLATE false");
}

/// A mistyped pattern must not pass for a server without databases.
#[test]
fn patterns_that_mean_no_database_fail() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    let world = World::new();
    cluster.sql("postgres", "CREATE DATABASE alpha");
    for (patterns, code) in [("\"alhpa*\"", 1), ("\"alpha\", \"bet?\"", 3)] {
        config(&world, &cluster, &format!("databases = [{patterns}]\n"));
        world
            .dbbackup("backup")
            .run()
            .exits(code)
            .says("no database of the server matches");
        world
            .dbbackup("doctor cluster")
            .run()
            .exits(1)
            .prints("no database of the server matches");
    }
    config(
        &world,
        &cluster,
        "databases = [\"*\"]\nexclude_databases = [\"*\"]\n",
    );
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("leaves out every database");
}

#[test]
fn a_database_that_has_vanished_is_told_until_that_is_acknowledged() {
    let Some(cluster) = Cluster::start(Options::default()) else {
        return;
    };
    let world = World::new();
    for name in ["alpha", "beta"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    }
    let retention = "globals = true\n[sources.cluster.retention]\nkeep_last = 1\n";
    config(
        &world,
        &cluster,
        &format!("databases = [\"*\"]\ncleanup_after = false\n{retention}"),
    );
    world.dbbackup("backup").run().exits(0);
    world.dbbackup("backup").run().exits(0);
    cluster.sql("postgres", "DROP DATABASE beta");
    for _ in 0..2 {
        let ran = world.dbbackup("backup").run().exits(3);
        ran.says(
            "cluster.beta: the database `beta` is not on the server any more; its newest \
                  backup is of 20",
        )
        .says("exclude_databases = [\"beta\"]")
        .says("cluster.beta vanished");
    }
    world
        .dbbackup("restore cluster --dry-run")
        .run()
        .exits(0)
        .says("`cluster.beta` is not among them");
    // One of the others alone says nothing of it.
    world.dbbackup("backup cluster.alpha").run().exits(0);
    // No failed attempts, and nothing is thinned: the newest run of the whole server had no such
    // database.
    assert_eq!(world.attempts("cluster.beta").len(), 2);
    world.dbbackup("cleanup cluster").run().exits(0);
    assert_eq!(
        (
            world.attempts("cluster.beta").len(),
            world.attempts("cluster.alpha").len()
        ),
        (2, 1)
    );
    let why = world.dbbackup("cleanup cluster --dry-run").run().exits(0);
    why.prints("not on the server any more");
    world
        .dbbackup("status cluster.beta")
        .run()
        .exits(1)
        .prints("not on the server any more");

    config(
        &world,
        &cluster,
        &format!(
            "databases = [\"*\"]\nexclude_databases = [\"beta\"]\ncleanup_after = \
             false\n{retention}"
        ),
    );
    world.dbbackup("backup").run().exits(0).never_says("beta");
    world.dbbackup("cleanup cluster").run().exits(0);
    assert_eq!(world.attempts("cluster.beta").len(), 1);
}

#[test]
fn the_clusters_retention_is_each_members() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    let more = "databases = [\"alpha\", \"beta\"]\nglobals = true\n";
    config(&world, &cluster, &format!("{more}cleanup_after = false\n"));
    for _ in 0..3 {
        world.dbbackup("backup").run().exits(0);
    }
    config(
        &world,
        &cluster,
        &format!("{more}[sources.cluster.retention]\nkeep_last = 2\n"),
    );
    world.dbbackup("cleanup cluster.alpha -n").run().exits(0);
    let json = world
        .dbbackup("cleanup cluster --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["deleted_count"], 3, "{json}");
    for source in ["cluster.alpha", "cluster.beta", "cluster-globals"] {
        assert_eq!(world.attempts(source).len(), 2, "{source}");
    }
    // And after each backup.
    world.dbbackup("backup").run().exits(0);
    for source in ["cluster.alpha", "cluster.beta", "cluster-globals"] {
        assert_eq!(world.attempts(source).len(), 2, "{source}");
    }
    // A database that has been dropped keeps its history, and cleanup still knows whose it is.
    cluster.sql("postgres", "DROP DATABASE beta");
    config(
        &world,
        &cluster,
        "databases = [\"*\"]\nglobals = true\n[sources.cluster.retention]\nkeep_last = 1\n",
    );
    let json = world.dbbackup("cleanup --json").run().exits(0).json();
    assert_eq!(json["deleted_count"], 3, "{json}");
    assert_eq!(world.attempts("cluster.beta").len(), 1);
}

#[test]
fn roles_without_their_passwords_where_they_can_not_be_read() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    cluster.sql(
        "postgres",
        "CREATE ROLE keeper LOGIN PASSWORD 'secret'; CREATE ROLE other PASSWORD 'secret'",
    );
    // pg_read_all_data would let it read the passwords, too.
    cluster.sql("alpha", "GRANT SELECT ON t TO keeper");
    config(
        &world,
        &cluster,
        "user = \"keeper\"\ndatabases = [\"alpha\"]\nglobals = true\n",
    );
    let json = world
        .dbbackup("backup --json")
        .run()
        .exits(0)
        .says("without their passwords")
        .json();
    let globals = json["backups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["source"] == "cluster-globals")
        .unwrap();
    assert!(
        globals["warnings"]
            .to_string()
            .contains("without their passwords"),
        "{globals}"
    );
    let script = std::fs::read_to_string(world.decoded(globals)).unwrap();
    assert!(
        script.contains("CREATE ROLE other") && !script.contains("SCRAM-SHA-256$"),
        "{script}"
    );
    world
        .dbbackup("verify cluster --level content")
        .run()
        .exits(0);
    // psql takes it.
    let other = Cluster::start(Options::default()).unwrap();
    let load = Database {
        cluster: &other,
        name: "postgres".to_owned(),
    };
    output(
        other
            .program("psql")
            .args(["-X", "-q", "-d", &load.name, "-f"])
            .arg(world.decoded(globals)),
    );
    assert_eq!(
        other.value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('keeper', 'other')"
        ),
        "2"
    );
}

#[test]
fn two_databases_whose_names_become_one() {
    let Some(cluster) = server() else { return };
    let world = World::new();
    cluster.sql("postgres", "CREATE DATABASE \"a b\"");
    cluster.sql("postgres", "CREATE DATABASE \"a-b\"");
    config(&world, &cluster, "databases = [\"a?b\"]\n");
    let json = world
        .dbbackup("backup --json")
        .run()
        .exits(3)
        .says("two databases of the server would be called `cluster.a-b`")
        .json();
    assert_eq!(sources(&json), ["cluster.a-b"]);
    assert_eq!(compared(&json["backups"][0]).len(), 0);
}

/// A cluster, a SQLite database and a group of both; two databases besides `postgres` on the
/// server.
fn group() -> Option<(Cluster, World)> {
    let cluster = Cluster::start(Options::default())?;
    for name in ["blog", "gone"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        cluster.sql(
            name,
            "CREATE TABLE t(a int); INSERT INTO t SELECT generate_series(1, 10)",
        );
    }
    let world = World::new();
    world.shop("app.db");
    let more = "databases = [\"*\"]\n[sources.app]\nkind = \"sqlite\"\npath = \"app.db\"\n\
        [groups]\nfull = [\"app\", \"cluster\"]\n";
    config(&world, &cluster, more);
    Some((cluster, world))
}

fn run_of(json: &Value) -> String {
    json["backups"][0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_group_comes_back_with_what_the_server_had_in_that_run() {
    let Some((cluster, world)) = group() else {
        return;
    };
    let first = run_of(&world.dbbackup("backup full --json").run().exits(0).json());
    cluster.sql("postgres", "DROP DATABASE gone");
    let second = run_of(
        &world
            .dbbackup("backup full --json")
            .run()
            .exits(3)
            .says("cluster.gone vanished")
            .json(),
    );
    let of_run = |ran: &crate::support::Ran, run: &str| {
        for backup in world
            .ids("")
            .iter()
            .map(|id| world.sidecar(id))
            .filter(|one| one["label"] != "pre-restore")
        {
            let (id, in_it) = (backup["id"].as_str().unwrap(), backup["run"] == run);
            assert_eq!(
                ran.stdout.contains(&format!("restoring {id}, ")),
                in_it,
                "{id}: {ran}"
            );
        }
    };
    // A database that was dropped is not waited for.
    for what in ["full", "full cluster"] {
        of_run(
            &world
                .dbbackup(&format!("restore {what} --dry-run"))
                .run()
                .exits(0)
                .never_says("passed over"),
            &second,
        );
    }
    // One that was made since is no part of what was saved before.
    cluster.sql("postgres", "CREATE DATABASE young");
    of_run(
        &world
            .dbbackup("restore full --dry-run")
            .run()
            .exits(0)
            .never_says("passed over"),
        &second,
    );
    // A run of one source is newer and not the whole; neither is one in which a source is damaged.
    // Both are named. Of two runs in one second none is the newer one.
    next_second();
    let alone = run_of(&world.dbbackup("backup app --json").run().exits(0).json());
    let ran = world.dbbackup("restore full --dry-run").run().exits(0);
    of_run(
        &ran.says(&format!(
            "run {alone} is newer, but not complete, and is passed over: it has no `cluster`"
        )),
        &second,
    );
    let blog = world
        .ids("cluster.blog")
        .into_iter()
        .find(|id| world.sidecar(id)["run"] == second.as_str())
        .unwrap();
    let dump = world.sidecar(&blog)["dump"]["file"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::remove_file(world.path("store/cluster.blog").join(dump)).unwrap();
    let ran = world.dbbackup("restore full --dry-run").run().exits(0);
    let ran = ran.says(&format!(
        "run {second} is newer, but not complete, and is passed over: the dump \
                           of `cluster.blog` is gone"
    ));
    of_run(&ran, &first);
    // Without an older one, the newest says what it lacks.
    for source in ["app", "cluster.blog", "cluster.gone", "cluster.postgres"] {
        for id in world
            .ids(&format!("{source} --status all"))
            .iter()
            .filter(|id| world.sidecar(id)["run"] == first.as_str())
        {
            world
                .dbbackup(&format!("delete {id} --yes --force"))
                .run()
                .exits(0);
        }
    }
    let ran = world.dbbackup("restore full --dry-run").run().exits(10);
    ran.says(&format!(
        "no run of `full` is complete; the newest, {alone}: it has no `cluster`"
    ))
    .says("`dbbackup list app cluster --status all`");
}

#[test]
fn a_safety_copy_changes_nothing_about_what_a_cluster_is() {
    let Some((_cluster, world)) = group() else {
        return;
    };
    world.dbbackup("backup full").run().exits(0);
    let restored = world
        .dbbackup("-c dbbackup.toml restore cluster.blog --in-place --yes")
        .run()
        .exits(0);
    let kept = world.ids("cluster.blog").remove(0);
    assert!(kept.contains("_pre-restore_"), "{kept}");
    assert_eq!(world.sidecar(&kept)["database"]["cluster"], "cluster");
    let look = |world: &World| {
        let results = world
            .dbbackup("verify cluster --json")
            .run()
            .exits(0)
            .json()["results"]
            .to_string();
        assert!(
            ["blog", "gone", "postgres"]
                .iter()
                .all(|name| results.contains(&format!("cluster.{name}_manual"))),
            "{results}"
        );
        for word in ["cluster", "full"] {
            let ran = world
                .dbbackup(&format!("restore {word} --dry-run"))
                .run()
                .exits(0);
            ran.prints("restoring cluster.blog_manual_")
                .never_says("passed over");
        }
    };
    assert!(
        restored
            .shown("restore")
            .contains(&format!("{kept} --in-place")),
        "{restored}"
    );
    look(&world);
    for word in [
        "show cluster",
        "show cluster@latest",
        "pin cluster",
        "cat cluster@2h",
    ] {
        let ran = world
            .dbbackup(word)
            .run()
            .exits(2)
            .says("`cluster` is a server, and its databases have the backups");
        ran.says("hint: name one of `cluster.blog`, `cluster.gone`, `cluster.postgres`");
    }
    // As older versions made them.
    world.edit_sidecar(&kept, |sidecar| {
        sidecar["database"]["cluster"] = Value::Null
    });
    look(&world);
    world
        .dbbackup(&format!("{} --yes", restored.shown("delete")))
        .run()
        .exits(0);
    assert!(!world.sidecar_path(&kept).exists());
}
