//! What a careful reader of the code would try: roles that leave no trace, programs that are
//! killed, parts taken for wholes.

use crate::cluster::{Cluster, identifier};
use crate::postgres_world::Shop;
use crate::support::is_root;
use crate::tools::skip;

/// A type of the server's own superuser, in a database of somebody else, depends on no role that
/// the catalog knows of.
#[test]
fn a_drill_knows_the_servers_own_superuser() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let owner = format!("edge_owner_{}", shop.name());
    cluster.sql(
        "postgres",
        &format!(
            "CREATE ROLE {owner}; ALTER DATABASE {} OWNER TO {owner}",
            identifier(shop.name())
        ),
    );
    shop.db.sql(&format!(
        "ALTER TABLE customers OWNER TO {owner}; ALTER TABLE orders OWNER TO {owner}; CREATE TYPE \
         mood AS ENUM ('fair')"
    ));
    shop.backup();
    shop.run("verify shop --level restore").run().exits(0);
    cluster.sql(
        "postgres",
        &format!("DROP DATABASE {} WITH (FORCE)", identifier(shop.name())),
    );
    cluster.sql("postgres", &format!("DROP ROLE {owner}"));
}

#[test]
fn a_killed_program_is_no_damage() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.backup();
    let real = cluster.bin().join("pg_restore");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*|*--list*) exec {0} \"$@\" ;; esac\nkill -9 $$\n",
        real.display()
    );
    let bin = shop.programs("killed", &[], &[("pg_restore", &text)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    for level in ["content", "restore"] {
        let json = shop
            .run(&format!("verify shop --level {level} --json"))
            .run()
            .exits(1)
            .json();
        let status = json["results"][0]["status"].as_str().unwrap();
        assert!(["error", "unprovable"].contains(&status), "{json}");
    }
    shop.configure("");
    shop.run("verify shop").run().exits(0);
}

#[test]
fn a_role_that_only_the_databases_privileges_name_is_missed_before_any_work() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let role = format!("edge_reader_{}", shop.name());
    cluster.sql(
        "postgres",
        &format!(
            "CREATE ROLE {role}; GRANT CONNECT ON DATABASE {} TO {role}",
            identifier(shop.name())
        ),
    );
    let id = shop.backup();
    let name = identifier(shop.name());
    cluster.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    cluster.sql("postgres", &format!("DROP ROLE {role}"));
    shop.run(&format!("restore {id} --yes"))
        .run()
        .exits(1)
        .says("lacks roles")
        .says(&role);
    assert!(shop.family().is_empty());
    shop.run(&format!("restore {id} --yes --no-owner"))
        .run()
        .exits(0);
    assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn a_part_of_a_cluster_is_not_its_newest_complete_run() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let second = cluster.database("second");
    second.sql("CREATE TABLE t AS SELECT generate_series(1, 7) id");
    shop.configure(&format!(
        "databases = [{:?}, {:?}]",
        shop.name(),
        second.name
    ));
    shop.run("backup shop").run().exits(0);
    shop.run(&format!("backup shop.{}", second.name))
        .run()
        .exits(0);
    let plan = shop.run("restore shop --dry-run").run().exits(0);
    plan.prints(&format!("shop.{}_manual", shop.name()))
        .prints(&format!("shop.{}_manual", second.name));
}

#[test]
fn a_part_of_a_database_is_told_to_be_one() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.configure("exclude_table = [\"public.orders\"]");
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .says("only a part of the database");
    shop.configure("");
    let id = shop.backup();
    shop.run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .never_says("only a part");
}

#[test]
fn owners_of_a_plain_dump_can_not_be_left_out() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.configure("format = \"plain\"");
    let id = shop.backup();
    shop.run(&format!("restore {id} --to {}_x --no-owner", shop.name()))
        .run()
        .exits(2)
        .says("plain");
}

/// With several databases at once, each drill has a server and a user of its own.
#[test]
fn drills_at_once_don_t_disturb_each_other() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !is_root() {
        skip("as another user than root all drills run as that one");
    }
    let shop = Shop::small(cluster);
    let more: Vec<_> = (0..3).map(|_| cluster.database("more")).collect();
    let names: Vec<String> = more
        .iter()
        .map(|database| format!("{:?}", database.name))
        .collect();
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

/// What a restore replaces is on record also where nobody is asked; equal counts are not taken for
/// equal contents.
#[test]
fn a_restore_says_what_it_replaces() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    shop.db.sql("UPDATE orders SET note = 'changed'");
    let equal = "the tables and their numbers of rows are equal; contents are not compared";
    shop.run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .prints(equal);
    shop.db.sql("DELETE FROM orders WHERE id > 10");
    let ran = shop
        .run(&format!("restore {id} --yes"))
        .run()
        .exits(0)
        .never_says(equal);
    ran.says("public.orders: 10 now, 1,000 in the backup");
    shop.db.sql("DROP TABLE orders");
    let ran = shop
        .run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0)
        .never_says(equal);
    ran.prints("public.orders: not there now, 1,000 rows in the backup");
    shop.run(&format!("restore {id} --yes")).run().exits(0);
    // A session that hangs with a lock is no reason to wait.
    let mut holder = shop.db.client();
    holder.batch_execute("BEGIN; LOCK TABLE orders").unwrap();
    shop.run(&format!("restore {id} --yes"))
        .run()
        .exits(0)
        .says("what is there now could not be counted");
}

#[test]
fn foreign_keys_that_a_part_loses_are_named() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let part = format!(
        "restore {id} --table orders --to {}_part --yes",
        shop.name()
    );
    shop.run(&part)
        .run()
        .exits(0)
        .says("the foreign key public.orders orders_customer_fkey was left out");
    let both = format!(
        "restore {id} --table orders --table customers --to {}_both --yes",
        shop.name()
    );
    shop.run(&both).run().exits(0).never_says("left out");
}

/// A pattern that means nothing leaves in what was to stay out, or out what was to be saved.
#[test]
fn patterns_that_match_nothing_are_told() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.db
        .sql("CREATE TABLE \"MyTable\" (a int); CREATE SCHEMA app; CREATE TABLE app.t (a int)");
    shop.configure("exclude_table = [\"My*\"]\nexclude_table_data = [\"orders\", \"session?\"]");
    let ran = shop.run("doctor shop").run();
    let ran = ran
        .prints("`My*` of `exclude_table` matches no table")
        .prints("PostgreSQL takes it for `my*`; with capitals: exclude_table = ['\"My\"*']")
        .prints("`session?` of `exclude_table_data` matches no table");
    ran.never_says("`orders` of");
    shop.configure("exclude_table = ['\"My\"*']");
    shop.run("doctor shop").run().never_says("matches no table");
    // One schema is there and saved, the other is not: that is no whole backup.
    shop.configure("schemas = [\"app\", \"Shop\"]");
    shop.run("doctor shop")
        .run()
        .prints("`Shop` of `schemas` matches no schema")
        .never_says("`app` of");
    shop.configure("schemas = [\"Shop\"]");
    shop.run("doctor shop")
        .run()
        .exits(1)
        .prints("matches no schema, and there is no other");
    shop.configure("schemas = [\"app\", \"shop\"]");
    shop.run("guard shop --restore-on-failure -- true")
        .run()
        .exits(125);
    shop.run("backup shop")
        .run()
        .exits(3)
        .says("`shop` of `schemas` matches no schema")
        .says("incomplete");
}
