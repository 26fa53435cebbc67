//! What a careful reader of the code would try: roles that leave no trace, programs that are killed, parts taken for wholes.

use crate::cluster::{Cluster, identifier};
use crate::postgres_world::Shop;
use crate::support::is_root;

/// A type of the server's own superuser, in a database of somebody else, depends on no role that the catalog knows of.
#[test]
fn a_drill_knows_the_servers_own_superuser() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    let owner = format!("edge_owner_{}", shop.name());
    cluster.sql("postgres", &format!("CREATE ROLE {owner}; ALTER DATABASE {} OWNER TO {owner}", identifier(shop.name())));
    shop.db.sql(&format!(
        "ALTER TABLE customers OWNER TO {owner}; ALTER TABLE orders OWNER TO {owner}; CREATE TYPE mood AS ENUM ('fair')"
    ));
    shop.backup();
    shop.run("verify shop --level restore").run().exits(0);
    cluster.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", identifier(shop.name())));
    cluster.sql("postgres", &format!("DROP ROLE {owner}"));
}

#[test]
fn a_killed_program_is_no_damage() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    shop.backup();
    let real = cluster.bin().join("pg_restore");
    let text = format!("#!/bin/sh\ncase \"$*\" in *--version*|*--list*) exec {0} \"$@\" ;; esac\nkill -9 $$\n", real.display());
    let bin = shop.programs("killed", &[], &[("pg_restore", &text)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    for level in ["content", "restore"] {
        let json = shop.run(&format!("verify shop --level {level} --json")).run().exits(1).json();
        let status = json["results"][0]["status"].as_str().unwrap();
        assert!(["error", "unprovable"].contains(&status), "{json}");
    }
    shop.configure("");
    shop.run("verify shop").run().exits(0);
}

#[test]
fn a_role_that_only_the_databases_privileges_name_is_missed_before_any_work() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    let role = format!("edge_reader_{}", shop.name());
    cluster.sql("postgres", &format!("CREATE ROLE {role}; GRANT CONNECT ON DATABASE {} TO {role}", identifier(shop.name())));
    let id = shop.backup();
    let name = identifier(shop.name());
    cluster.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    cluster.sql("postgres", &format!("DROP ROLE {role}"));
    shop.run(&format!("restore {id} --yes")).run().exits(1).says("lacks roles").says(&role);
    assert!(shop.family().is_empty());
    shop.run(&format!("restore {id} --yes --no-owner")).run().exits(0);
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn a_part_of_a_cluster_is_not_its_newest_complete_run() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    let second = cluster.database("second");
    second.sql("CREATE TABLE t AS SELECT generate_series(1, 7) id");
    shop.configure(&format!("databases = [{:?}, {:?}]", shop.name(), second.name));
    shop.run("backup shop").run().exits(0);
    shop.run(&format!("backup shop.{}", second.name)).run().exits(0);
    let plan = shop.run("restore shop --dry-run").run().exits(0);
    plan.prints(&format!("shop.{}_manual", shop.name())).prints(&format!("shop.{}_manual", second.name));
}

#[test]
fn a_part_of_a_database_is_told_to_be_one() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    shop.configure("exclude_table = [\"public.orders\"]");
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run")).run().exits(0).says("only a part of the database");
    shop.configure("");
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run")).run().exits(0).never_says("only a part");
}

#[test]
fn owners_of_a_plain_dump_can_not_be_left_out() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::small(cluster);
    shop.configure("format = \"plain\"");
    let id = shop.backup();
    shop.run(&format!("restore {id} --to {}_x --no-owner", shop.name())).run().exits(2).says("plain");
}

/// With several databases at once, each drill has a server and a user of its own.
#[test]
fn drills_at_once_don_t_disturb_each_other() {
    let Some(cluster) = Cluster::shared() else { return };
    if !is_root() {
        println!("skipped: as another user than root all drills run as that one");
    }
    let shop = Shop::small(cluster);
    let more: Vec<_> = (0..3).map(|_| cluster.database("more")).collect();
    let names: Vec<String> = more.iter().map(|database| format!("{:?}", database.name)).collect();
    shop.configure(&format!(
        "databases = [{:?}, {}]\njobs = 3\nverify_after = \"restore\"\nglobals = true",
        shop.name(),
        names.join(", ")
    ));
    let json = shop.run("backup shop --json").run().exits(0).json();
    for backup in json["backups"].as_array().unwrap() {
        assert_eq!(backup["verifications"][0]["status"], "ok", "{backup}");
    }
    assert_eq!(json["backups"].as_array().unwrap().len(), 5);
    assert!(shop.scratch().is_empty());
}
