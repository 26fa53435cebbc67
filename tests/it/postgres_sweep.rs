//! What a sweep of unfinished databases takes, and above all what it does not: nobody else's,
//! whatever it is called, and nothing of it is executed.

use crate::cluster::{Cluster, identifier};
use crate::postgres_world::Shop;

/// A database like one that a killed restore left, made by a role that may make databases and
/// nothing else.
struct Trap<'a> {
    cluster: &'a Cluster,
    name: String,
    role: String,
}

impl<'a> Trap<'a> {
    fn new(cluster: &'a Cluster, word: &str) -> Trap<'a> {
        let name = format!("trap{}{word}_restore_20260101T000000Z", std::process::id());
        let role = format!("mallory_{}_{word}", std::process::id());
        cluster.sql("postgres", &format!("CREATE ROLE {role} LOGIN CREATEDB"));
        let mut mallory =
            postgres::Client::connect(&cluster.url_as(&role, "postgres"), postgres::NoTls).unwrap();
        mallory
            .batch_execute(&format!("CREATE DATABASE {}", identifier(&name)))
            .unwrap();
        Trap {
            cluster,
            name,
            role,
        }
    }

    fn sql(&self, script: &str) {
        let mut mallory = postgres::Client::connect(
            &self.cluster.url_as(&self.role, &self.name),
            postgres::NoTls,
        )
        .unwrap();
        mallory.batch_execute(script).unwrap();
    }

    fn is_there(&self) -> bool {
        self.cluster.value(
            "postgres",
            &format!(
                "SELECT count(*) FROM pg_database WHERE datname = '{}'",
                self.name
            ),
        ) == "1"
    }
}

impl Drop for Trap<'_> {
    fn drop(&mut self) {
        self.cluster.sql(
            "postgres",
            &format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                identifier(&self.name)
            ),
        );
        self.cluster
            .sql("postgres", &format!("DROP ROLE {}", self.role));
    }
}

#[test]
fn a_database_that_only_looks_like_one_stays() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let trap = Trap::new(cluster, "lo");
    trap.sql("SELECT lo_from_bytea(0, 'precious')");
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run")).run().exits(0);
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    assert!(trap.is_there());
}

#[test]
fn nothing_of_it_is_executed() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let trap = Trap::new(cluster, "op");
    trap.sql(&format!(
        "CREATE SCHEMA evil;
         CREATE FUNCTION evil.f(name, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN EXECUTE \
         'ALTER ROLE {role} SUPERUSER'; RETURN true;
             EXCEPTION WHEN OTHERS THEN RETURN true; END$$;
         CREATE OPERATOR evil.!~ (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.f);
         CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.f);
         ALTER DATABASE {name} SET search_path = evil, pg_catalog",
        role = trap.role,
        name = identifier(&trap.name)
    ));
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run")).run().exits(0);
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    assert_eq!(
        cluster.value(
            "postgres",
            &format!(
                "SELECT rolsuper FROM pg_roles WHERE rolname = '{}'",
                trap.role
            )
        ),
        "f"
    );
    assert!(trap.is_there());
}
