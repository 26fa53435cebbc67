//! Programs behind a prefix, as in a container: what runs there has only the variables that are
//! passed by name, and no signal reaches it.

use crate::cluster::Cluster;
use crate::postgres_backup::{PASSWORD, compared, locked_up, shop};
use crate::support::{World, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;

/// Understands `exec [-i] [-e NAME]… CONTAINER program args`, writes down what it was called with,
/// and lets go of the program when it is ended itself. `inside` is the container's directory of
/// programs.
fn docker(world: &World, cluster: &Cluster, inside: &str) -> PathBuf {
    let text = format!(
        r#"#!/bin/sh
printf '%s\n' "$*" >>"$0.log"
[ "$1" = exec ] || {{ echo "no such command: $1" >&2; exit 125; }}
shift; keep=; input=
while :; do
    case "$1" in
        -i) input=yes; shift;;
        -e) case "$2" in *=*) echo "a value in the arguments" >&2; exit 125;; esac;
        keep="$keep $2"; shift 2;;
        *) break;;
    esac
done
[ "$1" = db ] || {{ echo "no such container: $1" >&2; exit 1; }}
shift
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case " $keep " in *" $name "*) ;; *) unset "$name";; esac
done
export PATH={inside}:{bin}:/usr/bin:/bin
# Here it is not where it was called, so no path of the host's leads anywhere by accident.
cd /
[ -n "$input" ] && exec 3<&0 || exec 3</dev/null
setsid "$@" <&3 &
wait $!
"#,
        bin = cluster.bin().display()
    );
    world.script("docker", &text)
}

fn config(world: &World, cluster: &Cluster, name: &str, more: &str) {
    let port = cluster.port();
    let docker = world.path("docker");
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.shop]\nkind = \"postgres\"\nurl = \
         \"postgresql://keeper@127.0.0.1:{port}/{name}\"\npassword = \"${{SECRET}}\"
         command_prefix = [\"{}\", \"exec\", \"-i\", \"db\"]\n{more}",
        docker.display()
    ));
}

#[test]
fn a_backup_by_programs_in_a_container() {
    let Some(cluster) = locked_up() else { return };
    let (world, database) = (World::new(), shop(cluster, "contained"));
    docker(&world, cluster, "/nowhere");
    let prefix_url = format!(
        "prefix_url = \"postgresql://keeper@localhost:{}\"\n",
        cluster.port()
    );
    for (more, host) in [("", "127.0.0.1"), (prefix_url.as_str(), "localhost")] {
        config(&world, cluster, &database.name, more);
        let sidecar = world
            .dbbackup("backup --json")
            .env("SECRET", PASSWORD)
            .run()
            .exits(0)
            .made();
        assert_eq!(compared(&sidecar)["public.orders"], 1000);
        assert!(sidecar["producer"]["pg_dump"].is_string());
        let log = std::fs::read_to_string(world.path("docker.log")).unwrap();
        let called = log
            .lines()
            .rfind(|line| line.contains("--snapshot="))
            .unwrap();
        assert!(
            called.contains("-e PGPASSWORD ") && called.contains(&format!("host='{host}'")),
            "{called}"
        );
        assert!(
            called.contains(&format!("dbname='{}'", database.name)),
            "{called}"
        );
        assert!(!log.contains(PASSWORD) && !log.contains("pa$$"), "{log}");
    }
    world
        .dbbackup("verify --level content")
        .env("SECRET", PASSWORD)
        .run()
        .exits(0);
    // The wrong password inside.
    config(
        &world,
        cluster,
        &database.name,
        &format!(
            "prefix_url = \"postgresql://keeper:wrong@localhost:{}\"\n",
            cluster.port()
        ),
    );
    world
        .dbbackup("backup")
        .env("SECRET", PASSWORD)
        .run()
        .exits(1)
        .says("password authentication failed")
        .never_says(PASSWORD);
}

#[test]
fn a_container_that_is_not_there() {
    let Some(cluster) = locked_up() else { return };
    let (world, database) = (World::new(), shop(cluster, "uncontained"));
    docker(&world, cluster, "/nowhere");
    config(&world, cluster, &database.name, "");
    let text = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&text.replace("\"db\"]", "\"other\"]"));
    world
        .dbbackup("backup")
        .env("SECRET", PASSWORD)
        .run()
        .exits(1)
        .says("no such container: other")
        .says("hint: ");
    world.failed_attempt("shop");
    world.config(&text.replace("/docker\"", "/podman\""));
    world
        .dbbackup("backup")
        .env("SECRET", PASSWORD)
        .run()
        .exits(1)
        .says("podman")
        .says("hint: ")
        .never_says("os error");
}

#[test]
fn the_roles_of_a_cluster_by_programs_in_a_container() {
    let Some(cluster) = locked_up() else { return };
    let (world, database) = (World::new(), shop(cluster, "containedglobals"));
    docker(&world, cluster, "/nowhere");
    config(
        &world,
        cluster,
        &database.name,
        &format!("databases = [\"{}\"]\nglobals = true\n", database.name),
    );
    world
        .dbbackup("backup")
        .env("SECRET", PASSWORD)
        .run()
        .exits(0)
        .prints("shop-globals_manual_");
    world
        .dbbackup("verify shop --level content")
        .env("SECRET", PASSWORD)
        .run()
        .exits(0);
}

/// Signals end only the runtime's client; what it started goes on, and holds its locks until the
/// server ends its session.
#[test]
fn an_interrupted_run_leaves_no_session_of_the_program() {
    let Some(cluster) = locked_up() else { return };
    for (ended_by, code) in [("a signal", 130), ("silence", 1)] {
        let (world, database) = (World::new(), shop(cluster, "abandoned"));
        database.sql(
            "CREATE TABLE large AS SELECT g AS a, repeat('x', 1000) AS b FROM \
                      generate_series(1, 20000) g",
        );
        // A pipe that takes some and then no more: the server is left waiting in the middle of a
        // COPY.
        let marker = world.path("marker");
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exec {bin}/pg_dump --version\n{bin}/pg_dump \
             \"$@\" | {{ head -c 100000; touch {marker}; while [ -e {marker} ]; do sleep 0.05; \
             done; }}\n",
            bin = cluster.bin().display(),
            marker = marker.display(),
        );
        let inside = world.script("inside/pg_dump", &script);
        docker(&world, cluster, inside.parent().unwrap().to_str().unwrap());
        config(
            &world,
            cluster,
            &database.name,
            if code == 1 {
                "stall_timeout = \"1s\"\n"
            } else {
                ""
            },
        );
        let mut running = world.dbbackup("backup").env("SECRET", PASSWORD).start();
        until("the middle of the dump", || {
            marker.exists() || running.ended()
        });
        let theirs = |more: &str| {
            let query = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name \
                 LIKE 'dbbackup{more}%'",
                database.name
            );
            cluster.value("postgres", &query)
        };
        assert_eq!(theirs("-"), "1");
        if code == 130 {
            kill_process(
                Pid::from_raw(running.child.id().cast_signed()).unwrap(),
                Signal::TERM,
            )
            .unwrap();
        }
        let ran = running.wait();
        // Only afterwards may the program itself end: when the marker is gone.
        until(
            &format!("the end of the program's session after {ended_by}"),
            || theirs("") == "0",
        );
        std::fs::remove_file(&marker).unwrap();
        ran.exits(code);
        world.failed_attempt("shop");
        assert_eq!(world.debris("shop"), [] as [&str; 0]);
    }
}
