//! A database's owner who has no other right gains none from being backed up, looked at or
//! restored.
//!
//! Whatever the owner can have called leaves a mark when a superuser runs it: a file that the
//! server writes.

use crate::cluster::{Cluster, Database, identifier};
use crate::postgres_backup::compared;
use crate::postgres_world::Shop;
use crate::support::{Running, until};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A shop whose database belongs to a role that owns nothing else, and the place where the mark
/// would be.
struct OwnedShop<'a> {
    shop: Shop<'a>,
    owner: String,
    mark: PathBuf,
}

impl<'a> OwnedShop<'a> {
    fn new(cluster: &'a Cluster) -> OwnedShop<'a> {
        let database = cluster.database("owned");
        let owner = format!("owner_of_{}", database.name);
        let name = identifier(&database.name);
        cluster.sql(
            "postgres",
            &format!("CREATE ROLE {owner} LOGIN; ALTER DATABASE {name} OWNER TO {owner}"),
        );
        database.sql(&format!("GRANT ALL ON SCHEMA public TO {owner}"));
        let mark = cluster.data().join(format!("{}.mark", database.name));
        let owned = OwnedShop {
            shop: Shop::of(database),
            owner,
            mark,
        };
        owned.as_owner(&format!(
            "CREATE SCHEMA evil;
             CREATE FUNCTION evil.strike() RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) \
             current_user) THEN
                     COPY (SELECT 1) TO PROGRAM 'cat >{}';
                 END IF;
             END $$",
            owned.mark.display()
        ));
        owned.as_owner(crate::postgres_world::SMALL);
        owned
    }

    fn db(&self) -> &Database<'a> {
        &self.shop.db
    }

    fn client(&self) -> postgres::Client {
        let url = self.shop.cluster().url_as(&self.owner, self.shop.name());
        postgres::Client::connect(&url, postgres::NoTls).unwrap()
    }

    fn as_owner(&self, script: &str) {
        self.client().batch_execute(script).unwrap();
    }

    #[track_caller]
    fn is_unmarked(&self, after: &str) {
        assert!(
            !self.mark.exists(),
            "the owner's code ran with a superuser's rights: {after}"
        );
    }
}

impl Drop for OwnedShop<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.shop.drop_relatives();
            let name = identifier(self.shop.name());
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            self.shop.cluster().sql("postgres", &drop);
            self.shop
                .cluster()
                .sql("postgres", &format!("DROP ROLE {}", self.owner));
        }
    }
}

/// Functions that the planner evaluates when it looks at a table: in an index's expression, its
/// predicate, and statistics.
#[test]
fn counting_runs_nothing_that_stands_in_indexes_and_statistics() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    owned.as_owner(
        "CREATE FUNCTION evil.number(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM evil.strike(); RETURN $1; END $$;
         CREATE INDEX ON orders ((evil.number(1)));
         CREATE INDEX ON customers (id) WHERE evil.number(2) > 1;
         CREATE STATISTICS evil.both ON (evil.number(3) + id), note FROM orders",
    );
    // The trap works: a superuser's own count steps into it.
    owned
        .db()
        .sql("BEGIN READ ONLY; SELECT count(*) FROM orders; COMMIT");
    assert!(owned.mark.exists());
    std::fs::remove_file(&owned.mark).unwrap();

    let id = owned.shop.backup();
    owned.is_unmarked("backup");
    let sidecar = owned.shop.world.sidecar(&id);
    assert_eq!(compared(&sidecar)["public.orders"], 1000);
    owned.shop.configure("format = \"plain\"");
    let plain = owned.shop.backup();
    assert_eq!(
        compared(&owned.shop.world.sidecar(&plain)),
        compared(&sidecar)
    );
    owned.db().sql("DELETE FROM orders WHERE id > 990");
    std::fs::remove_file(&owned.mark).ok();
    for arguments in [
        "restore shop --dry-run",
        "restore shop --dry-run --in-place",
        "doctor shop",
        "verify --all --level content",
        "status",
    ] {
        let ran = owned.shop.run(arguments).run();
        owned.is_unmarked(arguments);
        if arguments.starts_with("restore") {
            ran.exits(0)
                .prints("public.orders: 990 now, 1,000 in the backup");
        }
    }
}

/// `pg_dump` saves it, so it is saved and counted, although nobody can plan a query of that table
/// without a search path.
#[test]
fn an_index_whose_function_needs_a_search_path_is_no_obstacle() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    owned.as_owner(
        "CREATE FUNCTION helper(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1';
         CREATE FUNCTION outer_one(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT \
         helper($1)';
         CREATE INDEX ON orders ((outer_one(1)))",
    );
    let id = owned.shop.backup();
    assert_eq!(
        compared(&owned.shop.world.sidecar(&id))["public.orders"],
        1000
    );
    owned
        .shop
        .run("restore shop --dry-run")
        .run()
        .exits(0)
        .never_says("could not be counted");
}

/// Every operator and function of the system's, again in the owner's schema, which stands before
/// the system's own.
const HOSTILE_SEARCH_PATH: &str = r#"
DO $do$
DECLARE
    it record;
    body text;
BEGIN
    FOR it IN
        SELECT p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments,
        p.proretset,
               pg_catalog.format_type(p.prorettype, NULL) AS result
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.proargmodes IS
        NULL
          AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes || ARRAY[p.prorettype]) u
          (oid)
                          JOIN pg_catalog.pg_type t ON t.oid = u.oid WHERE t.typtype = 'p')
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS %L',
            it.proname, it.arguments,
                           CASE WHEN it.proretset THEN 'SETOF ' ELSE '' END, it.result,
                           'BEGIN PERFORM evil.strike(); RETURN ' || CASE WHEN it.proretset THEN ''
                           ELSE 'NULL' END || '; END');
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR it IN
        SELECT o.oprname, pg_catalog.format_type(l.oid, NULL) AS left_type,
        pg_catalog.format_type(r.oid, NULL) AS right_type,
               pg_catalog.format_type(o.oprresult, NULL) AS result, row_number() OVER () AS number
        FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_type l ON l.oid = o.oprleft JOIN
        pg_catalog.pg_type r ON r.oid = o.oprright
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND l.typtype <> 'p' AND r.typtype <> 'p'
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', it.number, it.left_type,
                           it.right_type, it.result,
                           'BEGIN PERFORM evil.strike(); RETURN NULL; END');
            EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.operator_%s, LEFTARG = %s, RIGHTARG = %s)', it.oprname,
                           it.number, it.left_type, it.right_type);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $do$;
"#;

#[test]
fn a_search_path_of_the_owners_steers_no_session() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    owned.as_owner(HOSTILE_SEARCH_PATH);
    let made = owned
        .db()
        .value("SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace");
    assert!(made.parse::<u32>().unwrap() > 500, "{made} operators");
    owned.as_owner(&format!(
        "ALTER DATABASE {} SET search_path = evil, pg_catalog, public",
        identifier(owned.shop.name())
    ));
    // The trap works: an operator that says nothing of its schema is the owner's.
    owned
        .db()
        .sql("SELECT 1 FROM pg_class WHERE relname = 'orders'::name");
    assert!(owned.mark.exists());
    std::fs::remove_file(&owned.mark).unwrap();

    let url = owned.db().url();
    let with = |more: &str| format!("{url}{}{more}", if url.contains('?') { "&" } else { "?" });
    for more in [
        "target_session_attrs=read-write",
        "target_session_attrs=primary",
        "target_session_attrs=prefer-standby",
    ] {
        owned.shop.configure_as(&with(more), "");
        owned.shop.backup();
        owned.is_unmarked(more);
    }
    for keys in [
        "format = \"plain\"",
        "exclude_table_data = [\"orders\", \"ev*.x\"]",
        "exclude_table = [\"ord?rs\"]",
        "schemas = [\"evil\"]",
    ] {
        owned.shop.configure(keys);
        owned.shop.backup();
        owned.is_unmarked(keys);
    }
    owned.shop.configure("");
    let id = owned.shop.backup();
    owned.as_owner(
        "DELETE FROM public.orders WHERE id > 900; SELECT pg_catalog.lo_from_bytea(0, 'x')",
    );
    let restores = [
        "--dry-run",
        "--in-place --dry-run",
        "--in-place --yes",
        "--in-place --yes --no-safety-backup",
        "--yes",
        "--to beside --yes",
        "--to beside_2 --table orders --yes",
    ];
    for how in restores {
        let arguments = format!(
            "restore {id} {}",
            how.replace("beside", &format!("{}_beside", owned.shop.name()))
        );
        owned.shop.run(&arguments).run().exits(0);
        owned.is_unmarked(&arguments);
    }
    for arguments in [
        "doctor shop",
        "list",
        "show shop",
        "verify --all",
        "status",
        "stats",
        "cleanup --keep-last 3 --dry-run",
    ] {
        owned.shop.run(arguments).run();
        owned.is_unmarked(arguments);
    }
    let guarded = owned
        .shop
        .run("guard shop --restore-on-failure -- false")
        .run();
    owned.is_unmarked(&format!("guard: {guarded}"));
}

struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While it is backed up and looked at again and again, relations change their names with views
/// that strike.
#[test]
fn what_takes_the_name_of_a_table_is_never_read() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    owned.as_owner(
        "CREATE FUNCTION evil.row() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN PERFORM \
         evil.strike(); RETURN 1; END $$;
         CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS id FROM orders;
         CREATE TABLE moving AS SELECT g AS id FROM generate_series(1, 100) g",
    );
    // So that the moment between the list and the last table is long enough for a name to change.
    owned.as_owner("CREATE TABLE a_large AS SELECT g AS id FROM generate_series(1, 1000000) g");
    let stop = AtomicBool::new(false);
    let swap_names = |kind: &str, name: &str| {
        let mut client = owned.client();
        let there = format!(
            "BEGIN; ALTER {kind} {name} RENAME TO {name}_away; CREATE VIEW {name} AS SELECT \
             evil.row() AS id; COMMIT"
        );
        let back =
            format!("BEGIN; DROP VIEW {name}; ALTER {kind} {name}_away RENAME TO {name}; COMMIT");
        while !stop.load(Ordering::Relaxed) {
            for script in [&there, &back] {
                // A deadlock or a wait that is given up is a turn lost.
                if client.batch_execute(script).is_err() {
                    client.batch_execute("ROLLBACK").unwrap();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        // Also where an assertion fails, or nobody would end the threads.
        let _stopping = StopWhenDropped(&stop);
        scope.spawn(|| swap_names("MATERIALIZED VIEW", "totals"));
        scope.spawn(|| swap_names("TABLE", "moving"));
        for round in 0..4 {
            owned.shop.run("backup shop").run();
            owned.is_unmarked(&format!("backup {round}"));
            owned.shop.run("restore shop --dry-run").run();
            owned.is_unmarked(&format!("dry run {round}"));
        }
    });
    owned.shop.run("backup shop").run().exits(0);
}

/// A transaction that is deferrable waits until no other could disturb it, which with two that
/// overlap is never.
#[test]
fn no_setting_of_the_owners_makes_a_session_wait() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    let name = identifier(owned.shop.name());
    let id = owned.shop.backup();
    let mut others: Vec<postgres::Client> = (0..2).map(|_| owned.client()).collect();
    for client in &mut others {
        client
            .batch_execute(
                "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1 FROM orders; INSERT INTO customers \
                 VALUES (pg_backend_pid(), '')",
            )
            .unwrap();
    }
    for setting in [
        "isolation = 'serializable'",
        "read_only = on",
        "deferrable = on",
    ] {
        cluster.sql(
            "postgres",
            &format!("ALTER DATABASE {name} SET default_transaction_{setting}"),
        );
    }
    for format in ["custom", "plain"] {
        owned.shop.configure(&format!("format = \"{format}\""));
        owned.shop.backup();
    }
    owned.shop.run("doctor shop").run();
    owned
        .shop
        .run(&format!("restore {id} --dry-run"))
        .run()
        .exits(0);
    drop(others);
    owned
        .shop
        .run(&format!("restore {id} --in-place --yes"))
        .run()
        .exits(0);
}

/// A restore in place whose safety backup waits until the file `go` is there.
fn restore_that_waits(shop: &Shop<'_>, id: &str, go: &Path) -> Running {
    let real = shop.cluster().bin().join("pg_dump");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--snapshot*) touch {go}.begun; while [ ! -e {go} ]; do sleep \
         0.02; done ;; esac\nexec {} \"$@\"\n",
        real.display(),
        go = go.display()
    );
    let bin = shop.programs("waiting", &[], &[("pg_dump", &script)]);
    shop.configure(&format!("bin_dir = {bin:?}"));
    let mut running = shop.run(&format!("restore {id} --in-place --yes")).start();
    let begun = go.with_file_name("go.begun");
    until("the safety backup", || begun.exists() || running.ended());
    running
}

#[test]
fn what_is_committed_during_the_safety_backup_is_not_lost() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for (newer, says) in [
        (
            "CREATE TABLE orders_of_today AS SELECT 1 AS id",
            "orders_of_today",
        ),
        (
            "CREATE FUNCTION made_today() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "made_today",
        ),
        (
            "CREATE TABLE part_of_today (a int) PARTITION BY LIST (a); CREATE TABLE one PARTITION \
             OF part_of_today DEFAULT",
            "part_of_today",
        ),
        ("SELECT lo_put(4711, 0, 'changed')", "the large object 4711"),
        (
            "CREATE OR REPLACE FUNCTION known() RETURNS integer LANGUAGE sql AS 'SELECT 2'",
            "known()",
        ),
        ("CREATE OR REPLACE VIEW seen AS SELECT 2 AS a", "seen"),
        ("ALTER TYPE mood ADD VALUE 'new'", "mood"),
        ("COMMENT ON FUNCTION known() IS 'new'", "known()"),
    ] {
        let shop = Shop::small(cluster);
        shop.db.sql(
            "CREATE FUNCTION known() RETURNS integer LANGUAGE sql AS 'SELECT 1'; CREATE \
                     VIEW seen AS SELECT 1 AS a; CREATE TYPE mood AS ENUM ('old')",
        );
        shop.db.sql("SELECT lo_from_bytea(4711, 'as it was')");
        let id = shop.backup();
        shop.db.sql("DELETE FROM orders WHERE id > 900");
        let go = shop.world.path("go");
        let running = restore_that_waits(&shop, &id, &go);
        shop.db.sql(newer);
        let text = shop.db.dump_text();
        std::fs::write(&go, "").unwrap();
        running
            .wait()
            .exits(1)
            .says(says)
            .says("somebody else changed")
            .says("old content is there as before");
        crate::cluster::assert_same(&shop.db.dump_text(), &text);
        // Once it is quiet, it can be done.
        shop.run(&format!("restore {id} --in-place --yes"))
            .run()
            .exits(0);
        assert_eq!(shop.db.value("SELECT count(*) FROM orders"), "1000");
        assert_eq!(
            shop.db.value("SELECT convert_from(lo_get(4711), 'UTF8')"),
            "as it was"
        );
    }
}

#[test]
fn a_large_object_that_is_made_during_the_safety_backup_stays() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let go = shop.world.path("go");
    let running = restore_that_waits(&shop, &id, &go);
    shop.db.sql("SELECT lo_from_bytea(4712, 'new')");
    std::fs::write(&go, "").unwrap();
    running.wait().exits(0);
    assert_eq!(
        shop.db.value("SELECT convert_from(lo_get(4712), 'UTF8')"),
        "new"
    );
}

/// What this role can't keep from being written to can't be saved whole, and is not dropped.
#[test]
fn a_table_that_can_not_be_locked_is_not_dropped() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let owned = OwnedShop::new(cluster);
    owned
        .shop
        .configure_as(&cluster.url_as(&owned.owner, owned.shop.name()), "");
    let id = owned.shop.backup();
    let other = format!("other_{}", owned.shop.name());
    owned.as_owner("CREATE SCHEMA shared");
    owned.db().sql(&format!(
        "CREATE TABLE shared.notes AS SELECT 1 AS id; CREATE ROLE {other}; ALTER TABLE \
         shared.notes OWNER TO {other}; GRANT SELECT ON shared.notes TO {}",
        owned.owner
    ));
    owned
        .shop
        .run(&format!("restore {id} --in-place --yes"))
        .run()
        .exits(1)
        .says("shared.notes can't be kept from being written to");
    assert_eq!(owned.db().value("SELECT count(*) FROM shared.notes"), "1");
    owned
        .db()
        .sql(&format!("DROP OWNED BY {other}; DROP ROLE {other}"));
}
