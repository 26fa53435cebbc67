//! A part of a database that is saved restores, but for what it says that it can't.

use crate::cluster::Cluster;
use crate::postgres_world::Shop;
use crate::support::Ran;

const WHOLE: &str = "
    CREATE EXTENSION hstore;
    CREATE SCHEMA other;
    CREATE TABLE other.kinds (id integer PRIMARY KEY);
    CREATE TABLE customers (id integer PRIMARY KEY, more hstore);
    CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, kind integer REFERENCES other.kinds);
    CREATE VIEW both_of_them AS SELECT o.id, c.more FROM orders o JOIN customers c ON c.id = o.customer;
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
    let ran = shop.run(&format!("restore {id} --to {name} --yes {more}")).run().exits(0);
    for (query, value) in queries {
        assert_eq!(shop.cluster().value(&name, query), *value, "{query}");
    }
    shop.cluster().sql("postgres", &format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    ran
}

#[test]
fn a_schema_that_every_database_has_is_restored() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = whole(cluster);
    let rows = [("SELECT count(*) FROM orders", "2"), ("SELECT count(*) FROM both_of_them", "2")];
    let rights = ("SELECT has_schema_privilege('pg_monitor', 'public', 'CREATE, USAGE')", "t");
    shop.configure("schemas = [\"public\"]");
    shop.run("doctor").run().prints("orders_kind_fkey of public.orders, to other.kinds");
    let id = shop.backup();
    let key = "orders_kind_fkey FOREIGN KEY (kind) REFERENCES other.kinds(id)";
    shop.run(&format!("verify {id} --level restore")).run().exits(0).prints("left out, for they need what").prints(key);
    restored(&shop, &id, "", &[rows[0], rows[1], rights]).says(key);
    restored(&shop, &id, "--table orders", &[rows[0]]);
    shop.db.sql("ALTER TABLE orders DROP COLUMN kind");
    for format in ["custom", "plain"] {
        shop.configure(&format!("schemas = [\"public\"]\nformat = {format:?}"));
        let id = shop.backup();
        shop.run(&format!("verify {id} --level restore")).run().exits(0);
        restored(&shop, &id, "", &[rows[0], rows[1], rights]);
    }
}

#[test]
fn what_needs_a_table_that_is_left_out_is_left_out_and_named() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = whole(cluster);
    let key = "orders_customer_fkey";
    for (option, view) in [("exclude_table", "0"), ("exclude_table_data", "1")] {
        shop.configure(&format!("{option} = [\"public.customers\"]"));
        shop.run("doctor").run().prints(key);
        shop.run("backup shop").run().exits(0).says(key);
        let id = shop.backup();
        let views = "SELECT count(*) FROM pg_views WHERE viewname = 'both_of_them'";
        shop.run(&format!("verify {id} --level restore")).run().exits(0).prints(key);
        let queries = [("SELECT count(*) FROM orders", "2"), ("SELECT count(*) FROM other.kinds", "1"), (views, view)];
        restored(&shop, &id, "", &queries).says(key).never_says("other.kinds");
    }
}

#[test]
fn what_does_not_restore_alone_is_no_damage() {
    let Some(cluster) = Cluster::shared() else { return };
    let shop = Shop::empty(cluster);
    shop.db.sql("CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('fair'); CREATE TABLE a (mood other.mood); INSERT INTO a VALUES ('fair')");
    shop.configure("schemas = [\"public\"]");
    let id = shop.backup();
    let json = shop.run(&format!("verify {id} --level restore --json")).run().exits(1).json();
    assert_eq!(json["results"][0]["status"], "incomplete", "{json}");
    let ran = shop.run(&format!("verify {id} --level restore")).run().exits(1);
    ran.says("it is sound, but does not restore alone").says("CREATE TABLE public.a").says("hint: save what it needs, too");
    // It can be had all the same, and is no reason for alarm.
    shop.run("list --json").run().exits(0).prints(&id);
    shop.run(&format!("show {id}")).run().exits(0).prints("incomplete");
    shop.run("status").run().never_says("damaged");
    shop.run(&format!("restore {id} --to {}_x --yes", shop.name())).run().exits(1).says("is a part that does not restore alone");
}
