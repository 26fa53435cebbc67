//! Verifying PostgreSQL backups: what is damaged is found, what can't be tried is said to be so,
//! and a drill leaves nothing behind and reaches nothing.

use crate::cluster::Cluster;
use crate::postgres_world::{SMALL, Shop, everything};
use crate::support::{Ran, is_root, set_mode, until};
use crate::tools::skip;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::Path;

/// The status of a verification's only result, and what its checks say.
#[track_caller]
fn result(ran: Ran) -> (String, String) {
    let json = ran.json();
    let result = &json["results"][0];
    let checks: Vec<String> = result["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| format!("{}: {}", check["name"], check["detail"]))
        .collect();
    (
        result["status"].as_str().unwrap().to_owned(),
        checks.join("\n"),
    )
}

#[track_caller]
fn finds(shop: &Shop<'_>, arguments: &str, status: &str, words: &str) {
    let code = match status {
        "ok" => 0,
        "damaged" => 4,
        _ => 1,
    };
    let (found, text) = result(
        shop.run(&format!("verify --json {arguments}"))
            .run()
            .exits(code),
    );
    assert_eq!(found, status, "{text}");
    assert!(text.contains(words), "`{words}` is not in: {text}");
}

#[test]
fn rows_and_tables_that_differ_are_found() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for format in ["custom", "plain"] {
        let shop = Shop::small(cluster);
        shop.configure(&format!("format = {format:?}"));
        let id = shop.backup();
        finds(&shop, &id, "ok", "1,100 rows as at the backup");
        let rows =
            |sidecar: &mut Value, rows: u64| sidecar["manifest"]["tables"][0]["rows"] = rows.into();
        let levels: &[&str] = if format == "custom" {
            &["content", "restore"]
        } else {
            &["content"]
        };
        for level in levels {
            shop.edit(&id, |sidecar| rows(sidecar, 101));
            finds(
                &shop,
                &format!("{id} --level {level}"),
                "damaged",
                "public.customers has 100 rows, 101 expected",
            );
        }
        shop.edit(&id, |sidecar| rows(sidecar, 99));
        finds(
            &shop,
            &id,
            "damaged",
            "public.customers has 100 rows, 99 expected",
        );
        shop.run(&format!("restore {id} --yes"))
            .run()
            .exits(4)
            .says("damaged");
        shop.edit(&id, |sidecar| {
            rows(sidecar, 100);
            let more = json!({"name": "public.\"Gone\"", "kind": "table", "rows": 7});
            sidecar["manifest"]["tables"]
                .as_array_mut()
                .unwrap()
                .push(more);
        });
        finds(
            &shop,
            &id,
            "damaged",
            "public.\\\"Gone\\\" is missing (7 rows expected)",
        );
        assert_eq!(shop.family(), [shop.name()]);
    }
}

#[test]
fn bytes_that_differ_are_found() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    for compression in ["gzip", "zstd", "none"] {
        shop.configure(&format!("compression = {compression:?}"));
        let id = shop.backup();
        let dump = shop.dump_of(&id);
        let whole = std::fs::read(&dump).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        std::fs::write(&dump, &flipped).unwrap();
        for level in ["checksum", "content", "restore"] {
            finds(
                &shop,
                &format!("{id} --level {level}"),
                "damaged",
                "is not what was written",
            );
        }
        std::fs::write(&dump, &whole[..whole.len() - 1]).unwrap();
        finds(&shop, &id, "damaged", "is cut off");
    }
}

/// Dumps without a sidecar, so that nothing but their content tells.
#[test]
fn a_script_without_an_end_and_an_archive_that_is_none_are_found() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    shop.configure("format = \"plain\"\ncompression = \"none\"");
    let script = std::fs::read(shop.dump_of(&shop.backup())).unwrap();
    shop.configure("compression = \"none\"");
    let archive = std::fs::read(shop.dump_of(&shop.backup())).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(shop.world.path(name), bytes).unwrap();
    write("whole.sql", &script);
    finds(&shop, "./whole.sql", "ok", "1,100 rows");
    let lines = script
        .split_inclusive(|byte| *byte == b'\n')
        .collect::<Vec<_>>();
    for lines in [&lines[..lines.len() / 2], &lines[..lines.len() - 8]] {
        write("cut.sql", &lines.concat());
        finds(&shop, "./cut.sql", "damaged", "no end");
    }
    write("empty.sql", b"");
    finds(&shop, "./empty.sql", "damaged", "no end");
    write("whole.dump", &archive);
    finds(&shop, "./whole.dump", "ok", "1,100 rows");
    for (name, bytes) in [
        ("cut.dump", &archive[..archive.len() * 2 / 3]),
        ("head.dump", &archive[..40]),
        ("empty.dump", b""),
        ("other.dump", b"no archive"),
    ] {
        write(name, bytes);
        finds(&shop, &format!("./{name}"), "damaged", "pg_restore");
        finds(
            &shop,
            &format!("./{name} --level restore"),
            "damaged",
            "pg_restore",
        );
    }
}

#[test]
fn what_can_t_be_tried_is_unprovable() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let drill = format!("{id} --level restore");
    std::fs::create_dir(shop.world.path("nothing")).unwrap();
    shop.configure(&format!("bin_dir = {:?}", shop.world.path("nothing")));
    finds(&shop, &id, "unprovable", "there is no `pg_restore`");
    finds(&shop, &drill, "unprovable", "needs the server's programs");
    let clients = shop.programs("clients", &["initdb", "postgres", "postmaster"], &[]);
    shop.configure(&format!("bin_dir = {clients:?}"));
    finds(&shop, &id, "ok", "");
    finds(&shop, &drill, "unprovable", "needs the server's programs");
    shop.configure("");
    if !drills() {
        return;
    }
    let original = shop.world.sidecar(&id);
    let changed = |what: &dyn Fn(&mut Value), words: &str| {
        shop.edit(&id, |sidecar| {
            *sidecar = original.clone();
            what(&mut sidecar["database"]);
        });
        finds(&shop, &drill, "unprovable", words);
    };
    changed(
        &|database| database["extensions"] = json!([{"name": "nowhere", "version": "1.0"}]),
        "not installed here: nowhere",
    );
    changed(
        &|database| database["locale"]["collate"] = "xx_XX.UTF-8".into(),
        "xx_XX.UTF-8",
    );
    changed(
        &|database| database["server_version"] = "99.1".into(),
        "PostgreSQL 99",
    );
    shop.edit(&id, |sidecar| *sidecar = original.clone());
    if is_root() {
        // The user that the server is run as can't get there.
        set_mode(&shop.world.path(""), 0o700);
        finds(&shop, &drill, "unprovable", "throw-away cluster");
        set_mode(&shop.world.path(""), 0o711);
    }
    finds(&shop, &drill, "ok", "restored into PostgreSQL");
    assert_eq!(shop.scratch(), Vec::<String>::new());
    // A backup that could not be tried is as good as before.
    assert_eq!(
        shop.run("list --json").run().exits(0).json()["backups"][0]["id"],
        id.as_str()
    );
}

/// Whether this user may drill at all.
fn drills() -> bool {
    let user = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    let name = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    let may = !["postgres", "nobody"].contains(&name.as_str());
    if !may {
        skip(&format!("no trial restore is made as the user `{name}`"));
    }
    may
}

/// The processes that have this directory in their arguments or as their place.
fn processes_of(dir: &Path) -> Vec<i32> {
    let dir = dir.to_str().unwrap();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let uses = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let place = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(dir) || place.to_string_lossy().contains(dir)
    };
    pids.filter(uses).collect()
}

fn status(pid: i32, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default();
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A database whose restore calls `inside` in the throw-away server, and only there.
fn with_a_function(shop: &Shop<'_>, inside: &str) {
    shop.db.sql(&format!(
        "CREATE FUNCTION check_it(id integer) RETURNS boolean LANGUAGE plpgsql AS $body$
         BEGIN IF session_user = 'dbbackup_drill' THEN {inside} END IF; RETURN true; END $body$;
         CREATE TABLE checked (id integer CHECK (public.check_it(id)));
         INSERT INTO checked VALUES (1);"
    ));
}

fn uid_of(user: &str) -> String {
    let output = std::process::Command::new("id")
        .args(["-u", user])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_drill_s_server_owns_nothing_and_ends_with_its_run() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !drills() {
        return;
    }
    let shop = Shop::small(cluster);
    // What it starts may go on by itself.
    let sleep = format!("624.{}", std::process::id());
    let program = quoted(&format!(
        "cat >/dev/null; setsid sleep {sleep} >/dev/null 2>&1 &"
    ));
    with_a_function(
        &shop,
        &format!("COPY (SELECT 1) TO PROGRAM {program}; PERFORM pg_sleep(600);"),
    );
    let line = format!("sleep\0{sleep}\0").into_bytes();
    let left = || {
        let mut entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.any(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|found| found == line)
        })
    };
    let id = shop.backup();
    let scratch = shop.world.path("scratch");
    let sleeping = || {
        let is = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .starts_with(b"postgres: dbbackup_drill drill")
        };
        processes_of(&scratch)
            .into_iter()
            .find(|pid| is(pid) && status(*pid, "State") == "S")
    };
    for end in [Signal::TERM, Signal::KILL] {
        let running = shop.run(&format!("verify {id} --level restore")).start();
        until("the sleep", || sleeping().is_some() && left());
        for pid in processes_of(&scratch)
            .into_iter()
            .filter(|pid| *pid != running.child.id().cast_signed())
        {
            if ["", "Z"].contains(&status(pid, "State").as_str()) {
                continue;
            }
            assert_eq!(status(pid, "NoNewPrivs"), "1", "{pid}");
            assert_eq!(status(pid, "CapEff").trim_start_matches('0'), "");
            if is_root() {
                let uid = status(pid, "Uid");
                assert!(
                    !["0".to_owned(), uid_of("postgres"), uid_of("nobody")].contains(&uid),
                    "{uid}"
                );
            }
        }
        kill_process(
            Pid::from_raw(running.child.id().cast_signed()).unwrap(),
            end,
        )
        .unwrap();
        let ran = running.wait();
        if end == Signal::TERM {
            ran.exits(130);
            assert_eq!(
                (processes_of(&scratch), shop.scratch()),
                (Vec::new(), Vec::new())
            );
            assert!(!left());
        }
        // The kernel tells them that their parent is gone.
        let server = |pid: &i32| {
            !std::fs::read(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .starts_with(b"sleep")
        };
        until("the server's end", || {
            !processes_of(&scratch).iter().any(server)
        });
    }
    assert!(!shop.scratch().is_empty());
    // Nobody has waited for the drill: the next one sweeps.
    let plain = cluster.database("plain");
    plain.sql(SMALL);
    shop.configure_as(&plain.url(), "");
    shop.run("backup shop").run().exits(0);
    assert_eq!(shop.scratch(), Vec::<String>::new());
    assert!(!left(), "what a killed drill's dump had started goes on");
}

#[test]
fn two_drills_at_once_do_not_meet() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !drills() {
        return;
    }
    let shop = Shop::small(cluster);
    let id = shop.backup();
    let running: Vec<_> = (0..3)
        .map(|_| shop.run(&format!("verify {id} --level restore")).start())
        .collect();
    for one in running {
        one.wait().exits(0);
    }
    assert_eq!(
        (processes_of(&shop.world.path("scratch")), shop.scratch()),
        (Vec::new(), Vec::new())
    );
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A role that may make databases and nothing else.
fn driller(cluster: &Cluster) -> String {
    let make = "BEGIN CREATE ROLE dbb_driller LOGIN CREATEDB; EXCEPTION WHEN duplicate_object OR \
                unique_violation THEN NULL; END";
    cluster.sql("postgres", &format!("DO $$ {make} $$"));
    cluster.url_as("dbb_driller", "postgres")
}

/// The scratch databases that this test's backup was tried in.
fn tried_in(cluster: &Cluster) -> String {
    cluster.value(
        "postgres",
        "SELECT coalesce(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE \
         'dbbackup\\_drill\\_restore\\_%'",
    )
}

#[test]
fn a_drill_on_another_server_takes_a_scratch_database() {
    // Its own cluster: here it is counted what is left.
    let Some(cluster) = Cluster::start(crate::cluster::Options::default()) else {
        return;
    };
    let shop = Shop::small(&cluster);
    let id = shop.backup();
    let drill = format!("{id} --level restore");
    let url = driller(&cluster);
    shop.configure(&format!("drill_url = {url:?}"));
    finds(&shop, &drill, "ok", "restored into a scratch database");
    assert_eq!(tried_in(&cluster), "");
    shop.edit(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 5.into()
    });
    finds(&shop, &drill, "damaged", "has 100 rows, 5 expected");
    assert_eq!(tried_in(&cluster), "");
    shop.edit(&id, |sidecar| {
        sidecar["manifest"]["tables"][0]["rows"] = 100.into()
    });
    shop.configure(&format!("drill_url = {:?}", cluster.url("postgres")));
    finds(&shop, &drill, "error", "superuser");
    shop.edit(&id, |sidecar| {
        sidecar["database"]["extensions"] = json!([{"name": "nowhere", "version": "1.0"}])
    });
    shop.configure(&format!("drill_url = {url:?}"));
    finds(&shop, &drill, "unprovable", "nowhere");
    shop.edit(&id, |sidecar| sidecar["database"]["extensions"] = json!([]));
    // Ended in the middle, it is dropped; killed there, the next run does it.
    let bin = shop.programs("waiting", &[], &[("pg_restore", &waiting_restore(&shop))]);
    shop.configure(&format!("bin_dir = {bin:?}\ndrill_url = {url:?}"));
    let reached = shop.world.path("reached");
    for end in [Signal::TERM, Signal::KILL] {
        let running = shop.run(&format!("verify {drill}")).start();
        until("the middle", || reached.exists());
        assert_ne!(tried_in(&cluster), "");
        kill_process(
            Pid::from_raw(running.child.id().cast_signed()).unwrap(),
            end,
        )
        .unwrap();
        let ran = running.wait();
        if end == Signal::TERM {
            ran.exits(130);
            assert_eq!(tried_in(&cluster), "");
        }
        std::fs::remove_file(&reached).unwrap();
    }
    shop.configure(&format!("drill_url = {url:?}"));
    until("the sweep", || {
        finds(&shop, &drill, "ok", "restored into a scratch database");
        tried_in(&cluster).is_empty()
    });
    assert_eq!(shop.scratch(), Vec::<String>::new());
}

/// Fills the first half, tells that it is there, and waits.
fn waiting_restore(shop: &Shop<'_>) -> String {
    let real = shop
        .cluster()
        .bin()
        .join("pg_restore")
        .display()
        .to_string();
    let reached = shop.world.path("reached").display().to_string();
    format!(
        "#!/bin/sh\ncase \"$*\" in *--dbname*) {real} --section=pre-data \"$@\" && touch {reached} \
         && exec sleep 600;; esac\nexec {real} \"$@\"\n"
    )
}

/// What only a superuser may make says nothing against the backup.
#[test]
fn what_a_plain_role_may_not_restore_is_unprovable() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let url = driller(cluster);
    for format in ["custom", "plain"] {
        let shop = Shop::empty(cluster);
        shop.db.load(everything());
        shop.configure(&format!("format = {format:?}\ndrill_url = {url:?}"));
        let id = shop.backup();
        finds(&shop, &format!("{id} --level restore"), "unprovable", "");
    }
    // Somebody else's tables in a plain script are such, too.
    let shop = Shop::small(cluster);
    cluster.sql(
        "postgres",
        "DO $$ BEGIN CREATE ROLE dbb_owner; EXCEPTION WHEN duplicate_object OR unique_violation \
         THEN NULL; END $$",
    );
    shop.db.sql("ALTER TABLE orders OWNER TO dbb_owner");
    shop.configure(&format!("format = \"plain\"\ndrill_url = {url:?}"));
    let id = shop.backup();
    finds(&shop, &format!("{id} --level restore"), "unprovable", "");
}

#[test]
fn the_roles_of_a_cluster_are_drilled_too() {
    let Some(cluster) = Cluster::start(crate::cluster::Options::default()) else {
        return;
    };
    let shop = Shop::small(&cluster);
    cluster.sql(
        "postgres",
        "CREATE ROLE alice LOGIN PASSWORD 'it''s; a secret'; CREATE ROLE \"Bob; DROP\" SUPERUSER; \
         CREATE ROLE staff; GRANT staff TO alice WITH ADMIN OPTION;
         COMMENT ON ROLE alice IS 'two
lines; of it'; ALTER ROLE alice SET search_path = a, \"B c\"; ",
    );
    let mut client = cluster.client("postgres");
    for sql in [
        "SET allow_in_place_tablespaces = on",
        "CREATE TABLESPACE quick LOCATION ''",
        "GRANT CREATE ON TABLESPACE quick TO alice",
    ] {
        client.batch_execute(sql).unwrap();
    }
    shop.configure(&format!("databases = [{:?}]\nglobals = true", shop.name()));
    shop.run("backup shop").run().exits(0);
    finds(&shop, "shop-globals", "ok", "read to its end");
    if drills() {
        finds(
            &shop,
            "shop-globals --level restore",
            "ok",
            "the roles were made",
        );
    }
    let dump = shop.world.stored("shop-globals", ".sql.gz").remove(0);
    let text = std::process::Command::new("gunzip")
        .arg("-c")
        .arg(&dump)
        .output()
        .unwrap()
        .stdout;
    let text = String::from_utf8(text).unwrap();
    let broken = text.replace("CREATE ROLE staff;", "CREATE ROLE staff BROKEN;");
    assert_ne!(text, broken);
    shop.world.file("broken.sql", &broken);
    if drills() {
        let (status, _) = result(
            shop.run("verify ./broken.sql --level restore --json")
                .run()
                .exits(4),
        );
        assert_eq!(status, "damaged");
    }
}
