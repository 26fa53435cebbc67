//! A part of a database that is saved restores, but for what it says that it can't.

use crate::cluster::{Cluster, Options};
use crate::postgres_world::Shop;
use crate::support::{Ran, World};

const WHOLE: &str = "
    CREATE EXTENSION hstore;
    CREATE SCHEMA other;
    CREATE TABLE other.kinds (id integer PRIMARY KEY);
    CREATE TABLE customers (id integer PRIMARY KEY, more hstore);
    CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, kind \
                     integer REFERENCES other.kinds);
    CREATE VIEW both_of_them AS SELECT o.id, c.more FROM orders o JOIN customers c ON c.id = \
                     o.customer;
    INSERT INTO other.kinds VALUES (1);
    INSERT INTO customers VALUES (1, 'a=>b');
    INSERT INTO orders VALUES (1, 1, 1), (2, 1, 1);
    GRANT CREATE ON SCHEMA public TO PUBLIC;";

fn whole(cluster: &Cluster) -> Shop<'_> {
    let shop = Shop::empty(cluster);
    shop.db.sql(WHOLE);
    shop
}

/// Into another database, which is looked at and dropped.
fn restored(shop: &Shop<'_>, id: &str, more: &str, queries: &[(&str, &str)]) -> Ran {
    let name = format!("{}_part", shop.name());
    let ran = shop
        .run(&format!("restore {id} --to {name} --yes {more}"))
        .run()
        .exits(0);
    for (query, value) in queries {
        assert_eq!(shop.cluster().value(&name, query), *value, "{query}");
    }
    shop.cluster().sql(
        "postgres",
        &format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
    );
    ran
}

#[test]
fn a_schema_that_every_database_has_is_restored() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = whole(cluster);
    let rows = [
        ("SELECT count(*) FROM orders", "2"),
        ("SELECT count(*) FROM both_of_them", "2"),
    ];
    let rights = (
        "SELECT has_schema_privilege('pg_monitor', 'public', 'CREATE, USAGE')",
        "t",
    );
    shop.configure("schemas = [\"public\"]");
    shop.run("doctor")
        .run()
        .prints("orders_kind_fkey of public.orders, to other.kinds");
    let id = shop.backup();
    let key = "orders_kind_fkey FOREIGN KEY (kind) REFERENCES other.kinds(id)";
    shop.run(&format!("verify {id} --level restore"))
        .run()
        .exits(0)
        .prints("left out, for they need what")
        .prints(key);
    restored(&shop, &id, "", &[rows[0], rows[1], rights]).says(key);
    restored(&shop, &id, "--table orders", &[rows[0]]);
    shop.db.sql("ALTER TABLE orders DROP COLUMN kind");
    for format in ["custom", "plain"] {
        shop.configure(&format!("schemas = [\"public\"]\nformat = {format:?}"));
        let id = shop.backup();
        shop.run(&format!("verify {id} --level restore"))
            .run()
            .exits(0);
        restored(&shop, &id, "", &[rows[0], rows[1], rights]);
    }
}

#[test]
fn what_needs_a_table_that_is_left_out_is_left_out_and_named() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = whole(cluster);
    let key = "orders_customer_fkey";
    for (option, view) in [("exclude_table", "0"), ("exclude_table_data", "1")] {
        shop.configure(&format!("{option} = [\"public.customers\"]"));
        shop.run("doctor").run().prints(key);
        shop.run("backup shop").run().exits(0).says(key);
        let id = shop.backup();
        let views = "SELECT count(*) FROM pg_views WHERE viewname = 'both_of_them'";
        shop.run(&format!("verify {id} --level restore"))
            .run()
            .exits(0)
            .prints(key);
        let queries = [
            ("SELECT count(*) FROM orders", "2"),
            ("SELECT count(*) FROM other.kinds", "1"),
            (views, view),
        ];
        restored(&shop, &id, "", &queries)
            .says(key)
            .never_says("other.kinds");
    }
}

#[test]
fn what_does_not_restore_alone_is_no_damage() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::empty(cluster);
    shop.db.sql(
        "CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('fair'); CREATE TABLE a \
                 (mood other.mood); INSERT INTO a VALUES ('fair')",
    );
    shop.configure("schemas = [\"public\"]");
    let id = shop.backup();
    let json = shop
        .run(&format!("verify {id} --level restore --json"))
        .run()
        .exits(1)
        .json();
    assert_eq!(json["results"][0]["status"], "incomplete", "{json}");
    let ran = shop
        .run(&format!("verify {id} --level restore"))
        .run()
        .exits(1);
    ran.says("it is sound, but does not restore alone")
        .says("CREATE TABLE public.a")
        .says("hint: save what it needs, too");
    // It can be had all the same, and is no reason for alarm.
    shop.run("list --json").run().exits(0).prints(&id);
    shop.run(&format!("show {id}"))
        .run()
        .exits(0)
        .prints("incomplete");
    shop.run("status").run().never_says("damaged");
    shop.run(&format!("restore {id} --to {}_x --yes", shop.name()))
        .run()
        .exits(1)
        .says("is a part that does not restore alone");
}

#[test]
fn a_restore_of_a_cluster_says_what_failed() {
    let Some(from) = Cluster::start(Options::default()) else {
        return;
    };
    let Some(to) = Cluster::start(Options::default()) else {
        return;
    };
    let world = World::new();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let owner = std::process::Command::new("chown")
        .args([&format!("--reference={}", from.data().display())])
        .arg(place.path())
        .status();
    assert!(owner.unwrap().success());
    let location = place.path().display().to_string();
    from.sql(
        "postgres",
        "CREATE ROLE keeper; CREATE ROLE owner_of_one LOGIN",
    );
    from.sql(
        "postgres",
        &format!("CREATE TABLESPACE elsewhere LOCATION '{location}'"),
    );
    for name in ["one", "two", "three"] {
        from.sql(
            "postgres",
            &format!("CREATE DATABASE {name} OWNER owner_of_one"),
        );
        from.sql(
            name,
            "CREATE TABLE t(a int); ALTER TABLE t OWNER TO keeper; INSERT INTO t VALUES (1)",
        );
    }
    from.sql(
        "two",
        "CREATE TABLE far(a int) TABLESPACE elsewhere; INSERT INTO far VALUES (1)",
    );
    let config = |cluster: &Cluster| {
        let (url, bin) = (cluster.url("postgres"), cluster.bin());
        let source = "databases = [\"one\", \"two\", \"three\"]\nglobals = true";
        world.config(&format!(
            "[store]\npath = \"store\"\n[sources.cluster]\nkind = \"postgres\"\nurl = \
             {url:?}\nbin_dir = {bin:?}\n{source}\n"
        ));
    };
    config(&from);
    world.dbbackup("backup").run().exits(0);
    config(&to);
    // The roles are not there, and the first step would make them.
    let ran = world
        .dbbackup("restore cluster --dry-run")
        .run()
        .exits(3)
        .never_says("lacks roles");
    let hint = format!("CREATE TABLESPACE elsewhere LOCATION '{location}';");
    let ran = ran
        .says("error: cluster.two_")
        .says(&hint)
        .says("`--no-tablespaces`")
        .says("3 of 4 could be restored; failed: cluster.two_");
    // The owner has written what a superuser would run.
    ran.says("and `owner_of_one` is none");
    let ran = world
        .dbbackup("restore cluster --yes --json")
        .run()
        .exits(3)
        .says("3 of 4 restored; failed: cluster.two_");
    let json = ran.json();
    assert!(
        json["failed"][0]["id"]
            .as_str()
            .unwrap()
            .starts_with("cluster.two_"),
        "{json}"
    );
    assert!(
        json["failed"][0]["error"]
            .as_str()
            .unwrap()
            .contains("lacks tablespaces")
            && json["failed"].as_array().unwrap().len() == 1
    );
    assert_eq!(json["restored"].as_array().unwrap().len(), 3);
    world
        .dbbackup("restore cluster.two --no-tablespaces --yes")
        .run()
        .exits(0);
    assert_eq!(to.value("two", "SELECT count(*) FROM far"), "1");
    // Of an owner that may do anything itself there is nothing to be told.
    to.sql("postgres", "ALTER ROLE owner_of_one SUPERUSER");
    world
        .dbbackup("restore cluster.one --dry-run")
        .run()
        .exits(0)
        .never_says("runs what the database brings");
    from.sql("two", "DROP TABLE far");
    from.sql("postgres", "DROP TABLESPACE elsewhere");
}
