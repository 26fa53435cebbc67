//! Servers and programs of all versions that are installed, and those of `DBBACKUP_TEST_POSTGRES`
//! (`tests/postgres-versions` fetches them): each pair works, or is refused before any work with
//! both versions named.

use crate::cluster::{Cluster, Options};
use crate::postgres_backup::compared;
use crate::support::World;
use crate::tools::skip;

#[test]
fn every_pair_of_server_and_programs_works_or_is_refused() {
    let servers = Cluster::installed();
    if servers.len() < 2 {
        return skip("no second version of PostgreSQL; see tests/postgres-versions");
    }
    for bin in servers {
        let Some(cluster) = Cluster::start(Options {
            bin: Some(bin.clone()),
            ..Options::default()
        }) else {
            return;
        };
        let server = cluster.major_version();
        cluster.sql(
            "postgres",
            "CREATE TABLE \"Ü t\"(a int PRIMARY KEY); INSERT INTO \"Ü t\" SELECT \
             generate_series(1, 10);
             CREATE TABLE part(a int) PARTITION BY RANGE (a); CREATE TABLE part_1 PARTITION OF \
             part FOR VALUES FROM (0) TO (100);
             INSERT INTO part SELECT generate_series(1, 20); CREATE MATERIALIZED VIEW m AS SELECT \
             * FROM part;
             SELECT lo_from_bytea(0, 'x'); COMMENT ON DATABASE postgres IS 'x'; ALTER DATABASE \
             postgres SET work_mem = '5MB'",
        );
        for programs in Cluster::with_clients() {
            let client = Cluster::major(&programs);
            for format in ["custom", "plain"] {
                let world = World::new();
                let url = cluster.url("postgres");
                let bin = programs.display();
                world.config(&format!(
                    "[store]\npath = \"store\"\n[sources.it]\nkind = \
                                       \"postgres\"\nurl = \"{url}\"\nformat = \
                                       \"{format}\"\nbin_dir = \"{bin}\"\n"
                ));
                let ran = world.dbbackup("backup --json").run();
                if client < server {
                    ran.exits(1)
                        .says(&format!(
                            "new enough for PostgreSQL {server}: found {client}."
                        ))
                        .says(&format!("postgresql-client-{server}"));
                    continue;
                }
                let sidecar = ran.exits(0).made();
                assert_eq!(
                    compared(&sidecar).values().collect::<Vec<_>>(),
                    [&10, &20],
                    "{client} against {server}"
                );
                assert!(
                    sidecar["database"]["server_version"]
                        .as_str()
                        .unwrap()
                        .starts_with(&format!("{server}."))
                );
                world.dbbackup("verify --level content").run().exits(0);
            }
        }
    }
}
