//! Backups of PostgreSQL: how a database is named and reached, and what is written. What is
//! counted, what locks do, failures, whole clusters and containers have files of their own.

use crate::cluster::{Cluster, Database, Options};
use crate::support::{World, is_root, set_mode};
use crate::tools::{lack, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The tables of a manifest: kind, rows (0 where they are not counted), and whether they are
/// compared.
pub type Tables = BTreeMap<String, (String, u64, bool)>;

pub fn tables(sidecar: &Value) -> Tables {
    let table = |table: &Value| {
        let kind = table["kind"].as_str().unwrap().to_owned();
        let compare = table["compare"].as_bool().unwrap_or(true);
        (
            table["name"].as_str().unwrap().to_owned(),
            (kind, table["rows"].as_u64().unwrap_or(0), compare),
        )
    };
    sidecar["manifest"]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(table)
        .collect()
}

/// Rows of the tables that a restore must show.
pub fn compared(sidecar: &Value) -> BTreeMap<String, u64> {
    tables(sidecar)
        .into_iter()
        .filter(|(_, (_, _, compare))| *compare)
        .map(|(name, (_, rows, _))| (name, rows))
        .collect()
}

/// What one of the server's programs prints.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A shop of a few tables.
pub fn shop<'a>(cluster: &'a Cluster, name: &str) -> Database<'a> {
    let database = cluster.database(name);
    database.sql(
        "CREATE TABLE customer(id int PRIMARY KEY, name text); CREATE TABLE orders(id int PRIMARY \
         KEY, customer int REFERENCES customer);
         INSERT INTO customer SELECT g, 'customer ' || g FROM generate_series(1, 100) g;
         INSERT INTO orders SELECT g, 1 + g % 100 FROM generate_series(1, 1000) g",
    );
    database
}

const CHINOOK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/data/chinook_postgresql.sql"
);

/// Customers of a music shop; where the script is not at hand, tables of our own.
fn chinook(cluster: &Cluster) -> Database<'_> {
    let Some(script) = Some(Path::new(CHINOOK)).filter(|path| path.is_file()) else {
        skip("no Chinook here, a small shop instead");
        return shop(cluster, "chinook");
    };
    let database = cluster.database("chinook");
    // It makes its own database first.
    let text = std::fs::read_to_string(script).unwrap();
    let kept = text.lines().filter(|line| {
        !line.starts_with("DROP DATABASE")
            && !line.starts_with("CREATE DATABASE")
            && !line.starts_with("\\c ")
    });
    database.sql(&kept.collect::<Vec<_>>().join("\n"));
    database
}

fn counted(database: &Database<'_>) -> BTreeMap<String, u64> {
    let query = "SELECT format('%I.%I', n.nspname, c.relname), (xpath('/row/c/text()', \
                 query_to_xml(format('SELECT count(*) AS c FROM ONLY %I.%I', n.nspname, \
                 c.relname), false, true, '')))[1]::text::bigint
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = \
                 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
    let rows = database.client().query(query, &[]).unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get::<_, i64>(1).cast_unsigned()))
        .collect()
}

// -------------------------------------------------------------------------------------------------
// without configuration

#[test]
fn an_address_is_enough_and_postgresqls_own_programs_read_the_dump() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), chinook(cluster));
    let sidecar = world
        .with_store(&format!("backup {} --json", database.url()))
        .run()
        .exits(0)
        .made();
    let expected = counted(&database);
    assert!(expected.len() >= 2);
    assert_eq!(compared(&sidecar), expected);
    assert_eq!(
        sidecar["manifest"]["rows_total"],
        expected.values().sum::<u64>()
    );
    assert_eq!(
        (&sidecar["source"], &sidecar["kind"]),
        (
            &Value::from(database.name.as_str()),
            &Value::from("postgres")
        )
    );
    assert_eq!(sidecar["dump"]["format"], "pg_dump-custom");
    assert!(
        sidecar["dump"]["file"]
            .as_str()
            .unwrap()
            .ends_with(".dump.gz")
    );

    let dump = world.decoded(&sidecar);
    let list = output(cluster.program("pg_restore").arg("-l").arg(&dump));
    assert_eq!(
        list.lines()
            .filter(|line| line.contains(" TABLE DATA "))
            .count(),
        expected.len(),
        "{list}"
    );
    let restored = cluster.database("restored");
    output(
        cluster
            .program("pg_restore")
            .args(["--exit-on-error", "-d", &restored.name])
            .arg(&dump),
    );
    assert_eq!(counted(&restored), expected);
    assert_eq!(restored.dump_text(), database.dump_text());
    world
        .with_store("verify --level content")
        .run()
        .exits(0)
        .prints("ok");
}

#[test]
fn a_plain_dump_is_a_script_for_psql() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), chinook(cluster));
    world.config(&format!(
        "[store]\npath = \"store\"\n[backup]\nverify_after = \
                           \"content\"\n[sources.music]\nkind = \"postgres\"\nurl = \"{}\"\nformat \
                           = \"plain\"\n",
        database.url()
    ));
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(sidecar["dump"]["format"], "pg_dump-plain");
    assert!(
        sidecar["dump"]["file"]
            .as_str()
            .unwrap()
            .ends_with(".sql.gz")
    );
    assert_eq!(sidecar["verifications"][0]["level"], "content");
    let restored = cluster.database("restored");
    restored.load(&world.decoded(&sidecar));
    assert_eq!(counted(&restored), compared(&sidecar));
    assert_eq!(restored.dump_text(), database.dump_text());
}

#[test]
fn without_an_argument_it_is_the_environments_database() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "environment"));
    let sidecar = world
        .with_store("backup --json")
        .env("DATABASE_URL", &database.url())
        .run()
        .exits(0)
        .made();
    assert_eq!(sidecar["source"], database.name.as_str());
    assert_eq!(sidecar["manifest"]["rows_total"], 1100);
    world
        .with_store("backup")
        .run()
        .exits(2)
        .says("nothing to back up");
}

#[test]
fn a_name_that_belongs_to_another_database_is_refused_and_can_be_taken_over() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let world = World::new();
    let first = shop(cluster, "My Shop!");
    let derived = first.name.replace([' ', '!'], "-");
    let sidecar = world
        .with_store(&format!("backup {} --json", first.url()))
        .run()
        .exits(0)
        .made();
    assert_eq!(sidecar["source"], derived.as_str());
    assert_eq!(sidecar["database"]["name"], first.name.as_str());

    // Another database of the same server whose name becomes the same.
    cluster.sql("postgres", &format!("CREATE DATABASE \"{derived}\""));
    let other = Database {
        cluster,
        name: derived.clone(),
    };
    let refused = world
        .with_store(&format!("backup {}", other.url()))
        .run()
        .exits(2);
    refused
        .says(&format!(
            "the name `{derived}` belongs to `{} on ",
            first.name
        ))
        .says("--as NAME");
    assert_eq!(
        world.attempts(&derived).len(),
        1,
        "a refusal is no attempt of that source"
    );
    world
        .with_store(&format!("backup {} --as other", other.url()))
        .run()
        .exits(0);
    world
        .with_store(&format!("backup {} --as {derived}", other.url()))
        .run()
        .exits(0)
        .says("from now on it is");
    // The same server by another way is the same database.
    world
        .with_store(&format!("backup {}", cluster.tcp_url(&derived)))
        .run()
        .exits(0)
        .never_says("belongs");
    world
        .with_store(&format!("backup {} --as a_b", other.url()))
        .run()
        .exits(0);
    world
        .with_store(&format!("backup {} --as a/b", other.url()))
        .run()
        .exits(2)
        .says("can't be a source's name");
}

#[test]
fn the_same_name_on_another_server_is_another_database() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let Some(other) = locked_up() else { return };
    let world = World::new();
    let database = shop(cluster, "same");
    other.sql(
        "postgres",
        &format!("CREATE DATABASE \"{}\"", database.name),
    );
    let twin = Database {
        cluster: other,
        name: database.name.clone(),
    };
    world
        .with_store(&format!("backup {}", database.url()))
        .run()
        .exits(0);
    world
        .with_store(&format!("backup {}", twin.url()))
        .run()
        .exits(2)
        .says("belongs to");
}

// -------------------------------------------------------------------------------------------------
// by configuration

/// With everything that a file would have to quote.
pub const PASSWORD: &str = "pa$$w0rd ${HOME} 'q' \"d\" \\ %41 ü";

/// A server that takes nobody without a password by TCP.
pub fn locked_up() -> Option<&'static Cluster> {
    static LOCKED_UP: LazyLock<Option<Cluster>> = LazyLock::new(|| {
        let hba = Some("host all all 127.0.0.1/32 scram-sha-256\n".to_owned());
        let cluster = Cluster::start(Options {
            hba,
            ..Options::default()
        })?;
        let quoted = PASSWORD.replace('\'', "''");
        cluster.sql(
            "postgres",
            &format!("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{quoted}'"),
        );
        Some(cluster)
    });
    LOCKED_UP.as_ref()
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A TOML string that means itself, also where `${` is special.
fn toml(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace("${", "$${")
    )
}

#[test]
fn every_way_to_say_where_and_with_which_password() {
    let Some(cluster) = locked_up() else { return };
    let (world, database) = (World::new(), shop(cluster, "ways"));
    let (port, name, secret) = (cluster.port(), &database.name, percent_encoded(PASSWORD));
    let pass = world.file("pass", &format!("{PASSWORD}\n"));
    set_mode(&pass, 0o600);
    world.file(
        "service.conf",
        &format!("[shop]\nhost=127.0.0.1\nport={port}\ndbname={name}\nuser=keeper\n"),
    );
    let pgpass = world.file(
        ".pgpass",
        &format!(
            "127.0.0.1:{port}:{name}:keeper:{}\n",
            PASSWORD.replace('\\', "\\\\").replace(':', "\\:")
        ),
    );
    set_mode(&pgpass, 0o600);
    let keys =
        format!("host = \"127.0.0.1\"\nport = {port}\nuser = \"keeper\"\ndbname = \"{name}\"\n");
    let cases = [
        (
            "url",
            format!("url = \"postgresql://keeper:{secret}@127.0.0.1:{port}/{name}\"\n"),
        ),
        (
            "dsn",
            format!(
                "url = \"host=127.0.0.1 port={port} user=keeper dbname={name}\"\npassword = {}\n",
                toml(PASSWORD)
            ),
        ),
        ("keys", format!("{keys}password = {}\n", toml(PASSWORD))),
        (
            "variable",
            format!("{keys}password = \"${{SHOP_PASSWORD}}\"\n"),
        ),
        ("file", format!("{keys}password_file = \"pass\"\n")),
        (
            "command",
            format!("{keys}password_command = \"cat {}\"\n", pass.display()),
        ),
        (
            "service",
            "service = \"shop\"\npassword_file = \"pass\"\n".to_owned(),
        ),
        ("pgpass", keys.clone()),
        ("whole", "url = \"${SHOP_URL}\"\n".to_owned()),
    ];
    let sources: String = cases
        .iter()
        .map(|(name, keys)| format!("[sources.{name}]\nkind = \"postgres\"\n{keys}"))
        .collect();
    world.config(&format!("[store]\npath = \"store\"\n{sources}"));
    let json = world
        .dbbackup("backup --json")
        .env("SHOP_PASSWORD", PASSWORD)
        .env(
            "SHOP_URL",
            &format!("postgres://keeper:{secret}@127.0.0.1:{port}/{name}"),
        )
        .env(
            "PGSERVICEFILE",
            world.path("service.conf").to_str().unwrap(),
        )
        .run()
        .exits(0)
        .json();
    let made: Vec<&Value> = json["backups"].as_array().unwrap().iter().collect();
    assert_eq!(made.len(), cases.len());
    for sidecar in made {
        assert_eq!(
            (
                &sidecar["manifest"]["rows_total"],
                &sidecar["database"]["name"]
            ),
            (&Value::from(1100), &Value::from(name.as_str()))
        );
        assert_eq!(
            (&sidecar["database"]["host"], &sidecar["database"]["port"]),
            (&Value::from("127.0.0.1"), &Value::from(port))
        );
    }
}

#[test]
fn variables_of_the_environment_lead_neither_us_nor_the_programs_astray() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "astray"));
    let mut call = world.with_store(&format!("backup {} --json", database.url()));
    for (name, value) in [
        ("PGDATABASE", "template1"),
        ("PGOPTIONS", "-c search_path=nowhere"),
        ("PGSSLMODE", "verify-full"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGAPPNAME", "mine"),
        ("PGTZ", "Asia/Tokyo"),
        ("LC_ALL", "de_DE.UTF-8"),
    ] {
        call = call.env(name, value);
    }
    let sidecar = call.run().exits(0).made();
    assert_eq!(sidecar["manifest"]["rows_total"], 1100);
}

// -------------------------------------------------------------------------------------------------
// what is written

#[test]
fn the_sidecar_says_what_a_restore_needs() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let world = World::new();
    let name = "facts Ü\"'\\";
    cluster.sql(
        "postgres",
        "CREATE ROLE facts_owner; CREATE ROLE \"facts Reader\"",
    );
    cluster.sql(
        "postgres",
        "CREATE DATABASE \"facts Ü\"\"'\\\" OWNER facts_owner ENCODING 'UTF8' LOCALE 'C' TEMPLATE \
         template0 CONNECTION LIMIT 17",
    );
    let database = Database {
        cluster,
        name: name.to_owned(),
    };
    database.sql(
        r#"COMMENT ON DATABASE "facts Ü""'\" IS 'it''s the shop';
           ALTER DATABASE "facts Ü""'\" SET work_mem = '7MB';
           ALTER ROLE "facts Reader" IN DATABASE "facts Ü""'\" SET search_path = a, "b c";
           GRANT CONNECT ON DATABASE "facts Ü""'\" TO "facts Reader" WITH GRANT OPTION;
           CREATE EXTENSION hstore;
           CREATE SCHEMA "Sch.ema";
           CREATE TABLE "Sch.ema"."Ta""ble ü" (a int);
           INSERT INTO "Sch.ema"."Ta""ble ü" SELECT generate_series(1, 3);
           CREATE TABLE plain(a int);
           GRANT SELECT ON plain TO "facts Reader";"#,
    );
    let ran = world
        .with_store(&format!(
            "backup {} --json --label nightly --description why --tag k=v --pin",
            database.url()
        ))
        .run();
    let sidecar = ran.exits(0).made();
    let facts = &sidecar["database"];
    let (major, host) = (
        cluster.major_version().to_string(),
        cluster.socket_dir().to_str().unwrap(),
    );
    assert_eq!(facts["name"], name);
    assert_eq!(
        (&facts["host"], &facts["port"]),
        (&Value::from(host), &Value::from(cluster.port()))
    );
    assert!(
        facts["server_version"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{major}.")),
        "{facts}"
    );
    assert_eq!(
        facts["system_identifier"],
        cluster
            .value(
                "postgres",
                "SELECT system_identifier FROM pg_control_system()"
            )
            .as_str()
    );
    assert_eq!(
        (&facts["encoding"], &facts["locale"]["collate"]),
        (&Value::from("UTF8"), &Value::from("C"))
    );
    assert!(facts["size_bytes"].as_u64().unwrap() > 1 << 20);
    let settings = &facts["settings"];
    assert_eq!(settings["owner"], "facts_owner");
    assert_eq!(
        (&settings["comment"], &settings["connection_limit"]),
        (&Value::from("it's the shop"), &Value::from(17))
    );
    let set = settings["set"].as_array().unwrap();
    assert!(
        set.iter()
            .any(|one| one["name"] == "work_mem" && one["value"] == "7MB" && one["role"].is_null()),
        "{settings}"
    );
    assert!(
        set.iter()
            .any(|one| one["role"] == "facts Reader" && one["value"] == "a, \"b c\""),
        "{settings}"
    );
    let grants = settings["grants"].as_array().unwrap();
    assert!(
        grants.iter().any(|one| one["to"] == "facts Reader"
            && one["privilege"] == "CONNECT"
            && one["grantable"] == true),
        "{settings}"
    );
    assert!(
        facts["extensions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "hstore" && one["version"].is_string())
    );
    let roles: Vec<&str> = facts["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role.as_str().unwrap())
        .collect();
    assert!(
        roles.contains(&"facts Reader") && roles.contains(&cluster.superuser()),
        "{roles:?}"
    );
    assert!(
        sidecar["producer"]["pg_dump"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{major}.")),
        "{sidecar}"
    );
    assert_eq!(
        compared(&sidecar),
        BTreeMap::from([
            ("public.plain".to_owned(), 0),
            ("\"Sch.ema\".\"Ta\"\"ble ü\"".to_owned(), 3)
        ])
    );
    assert_eq!(
        (
            &sidecar["label"],
            &sidecar["description"],
            &sidecar["tags"]["k"]
        ),
        (&"nightly".into(), &"why".into(), &"v".into())
    );
    assert_eq!(
        (&sidecar["pinned"], &sidecar["status"]),
        (&true.into(), &"ok".into())
    );
    let id = sidecar["id"].as_str().unwrap();
    world
        .with_store(&format!("show {id}"))
        .run()
        .exits(0)
        .prints(name)
        .prints("hstore");
    world
        .with_store(&format!("show {id} --contents"))
        .run()
        .exits(0)
        .prints("\"Sch.ema\".\"Ta\"\"ble ü\"");
    world.with_store("verify --level content").run().exits(0);
    drop(database);
    cluster.sql("postgres", "DROP ROLE facts_owner, \"facts Reader\"");
}

#[test]
fn a_dry_run_looks_and_writes_nothing() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "dry"));
    world
        .with_store(&format!("backup -n {}", database.url()))
        .run()
        .exits(0)
        .prints(&format!("would back up {} on", database.name));
    assert!(!world.path("store").exists());
    world
        .with_store(&format!("backup -n {}", cluster.url("no_such_database")))
        .run()
        .exits(1)
        .says("does not exist");
}

#[test]
fn rows_are_not_counted_where_that_is_not_wanted() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "uncounted"));
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.shop]\nkind = \"postgres\"\nurl = \"{}\"\nmanifest = \
         \"off\"\n",
        database.url()
    ));
    let sidecar = world.dbbackup("backup --json").run().exits(0).made();
    assert_eq!(
        sidecar["manifest"]["tables"].as_array().map_or(0, Vec::len),
        0,
        "{sidecar}"
    );
    world.dbbackup("verify --level content").run().exits(0);
}

// -------------------------------------------------------------------------------------------------
// secrets

/// A directory of programs for `bin_dir`: those of the cluster, with `pg_dump` replaced by a
/// script. In the script `$real` is the real one.
pub fn bin_dir(world: &World, cluster: &Cluster, script: &str) -> PathBuf {
    let real = cluster.bin().display();
    for name in ["pg_restore", "psql", "pg_dumpall"] {
        world.script(
            &format!("bin/{name}"),
            &format!("#!/bin/sh\nexec {real}/{name} \"$@\"\n"),
        );
    }
    let text = format!(
        "#!/bin/sh\nreal={real}/pg_dump\n[ \"$1\" = --version ] && exec $real --version\n{script}\n"
    );
    world
        .script("bin/pg_dump", &text)
        .parent()
        .unwrap()
        .to_owned()
}

/// Every file below a directory holds this nowhere.
fn assert_nowhere(dir: &Path, secret: &str) {
    for entry in walkdir::WalkDir::new(dir)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds the secret", entry.path().display());
    }
}

#[test]
fn a_password_is_in_no_argument_no_file_and_no_message() {
    let Some(cluster) = locked_up() else { return };
    let secret = "hunter2-$ecret";
    cluster.sql(
        "postgres",
        &format!("DROP ROLE IF EXISTS spy; CREATE ROLE spy LOGIN SUPERUSER PASSWORD '{secret}'"),
    );
    let (world, database) = (World::new(), shop(cluster, "secrets"));
    let (port, name) = (cluster.port(), &database.name);
    let seen = world.path("seen");
    let look = format!(
        "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; done >>{} 2>/dev/null",
        seen.display()
    );
    let url = format!("postgresql://spy:{secret}@127.0.0.1:{port}/{name}");
    let keys = format!(
        "kind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"spy\"\ndbname = \
         \"{name}\"\n"
    );
    let pass = world.file("pass", secret);
    set_mode(&pass, 0o600);
    let good = bin_dir(&world, cluster, &format!("{look}\nexec $real \"$@\""));
    let bad = World::new();
    let bad_bin = bin_dir(
        &bad,
        cluster,
        "echo \"tried $PGPASSWORD at $*\" >&2; exit 1",
    );
    let config = format!(
        "[store]\npath = \"store\"\n
         [sources.url]\nkind = \"postgres\"\nurl = \"{url}\"\nbin_dir = \"{good}\"\n
         [sources.key]\n{keys}password = \"{secret}\"\nbin_dir = \"{good}\"\n
         [sources.env]\n{keys}password = \"${{SECRET}}\"\nbin_dir = \"{good}\"\n
         [sources.command]\n{keys}password_command = \"cat {pass}\"\nbin_dir = \"{good}\"\n
         [sources.loud]\n{keys}password = \"{secret}\"\nbin_dir = \"{bad}\"\n
         [sources.refused]\nkind = \"postgres\"\nurl = \
         \"postgresql://spy:{secret}@127.0.0.1:1/{name}\"\n
         [sources.wrong]\nkind = \"postgres\"\nurl = \
         \"postgresql://keeper:{secret}@127.0.0.1:{port}/{name}\"\n
         [sources.odd]\nkind = \"postgres\"\nurl = \
         \"postgresql://spy:{secret}@127.0.0.1:port/{name}\"\n
         [sources.option]\nkind = \"postgres\"\nurl = \
         \"postgresql://spy:{secret}@127.0.0.1:{port}/{name}?nosuch=1\"\n",
        good = good.display(),
        bad = bad_bin.display(),
        pass = pass.display(),
    );
    world.config(&config);
    let ran = world
        .dbbackup("-v -v backup")
        .env("SECRET", secret)
        .run()
        .exits(3)
        .never_says(secret);
    ran.says("tried ***")
        .says("refuses the password")
        .says("connection refused");
    world
        .dbbackup("backup --json loud wrong")
        .run()
        .exits(1)
        .never_says(secret);
    for source in ["url", "key", "env", "command"] {
        assert_eq!(world.stored(source, ".dump.gz").len(), 1, "{source}");
    }
    assert!(
        std::fs::read_to_string(&seen)
            .unwrap()
            .contains("--snapshot="),
        "the look saw the program's arguments"
    );
    assert_nowhere(&world.path("store"), secret);
    assert!(
        !std::fs::read_to_string(&seen).unwrap().contains(secret),
        "a password in an argument list"
    );
    for command in [
        "list --status all",
        "show url",
        "show loud",
        "verify",
        "-v -v verify --level content",
    ] {
        let output = world
            .dbbackup(command)
            .env("SECRET", secret)
            .command
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(
            !String::from_utf8_lossy(&text).contains(secret),
            "{command}"
        );
    }
    // By the environment alone.
    let ran = world
        .dbbackup("-c /dev/null --store store -v -v backup --as direct")
        .env("DATABASE_URL", &url)
        .run();
    ran.exits(0).never_says(secret);
    assert_nowhere(&world.path("store"), secret);
}

#[test]
fn what_can_not_be_reached_is_a_failed_attempt_with_a_hint() {
    let Some(cluster) = locked_up() else { return };
    let world = World::new();
    let port = cluster.port();
    let dead = world.path("nowhere");
    let config = format!(
        "[store]\npath = \"store\"\n
         [sources.password]\nkind = \"postgres\"\nurl = \
         \"postgresql://keeper:wrong@127.0.0.1:{port}/postgres\"\n
         [sources.nopassword]\nkind = \"postgres\"\nurl = \
         \"postgresql://keeper@127.0.0.1:{port}/postgres\"\n
         [sources.unknown]\nkind = \"postgres\"\nurl = \"{}\"\n
         [sources.down]\nkind = \"postgres\"\nurl = \"postgresql://keeper@/postgres?host={}\"\n
         [sources.unset]\nkind = \"postgres\"\nurl = \"${{NOT_SET}}\"\n
         [sources.nofile]\nkind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \
         \"keeper\"\npassword_file = \"/no/such/file\"\n
         [sources.nobin]\nkind = \"postgres\"\nurl = \"{}\"\nbin_dir = \"/no/such/dir\"\n",
        cluster.url("no_such_database"),
        dead.display(),
        cluster.url("postgres"),
    );
    world.config(&config);
    for (source, message) in [
        (
            "password",
            "the server refuses the password of role `keeper`",
        ),
        ("nopassword", "password"),
        ("unknown", "database `no_such_database` does not exist"),
        ("down", "nowhere"),
        ("unset", "NOT_SET"),
        ("nofile", "/no/such/file"),
        ("nobin", "there is no `pg_dump` in `/no/such/dir`"),
    ] {
        // What the configuration lacks is its own fault, also where only one source is.
        let code = if source == "unset" { 2 } else { 1 };
        world
            .dbbackup(&format!("backup {source}"))
            .run()
            .exits(code)
            .says(message)
            .says("hint: ")
            .never_says("os error");
        let attempt = world.failed_attempt(source);
        assert!(
            attempt["error"]["message"]
                .as_str()
                .unwrap()
                .contains(message),
            "{attempt}"
        );
        assert!(attempt["error"]["hint"].is_string(), "{attempt}");
        world
            .dbbackup(&format!("list {source}"))
            .run()
            .exits(0)
            .says("no good backup");
    }
    world.dbbackup("backup").run().exits(1).says("0 of 7");
}

// -------------------------------------------------------------------------------------------------
// under load

#[test]
fn under_load_every_backup_is_one_moment() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !cluster.bin().join("pgbench").is_file() {
        lack("pgbench");
        return;
    }
    let (world, database) = (World::new(), cluster.database("bank"));
    output(
        cluster
            .program("pgbench")
            .args(["-i", "-q", "-s", "1", &database.name])
            .stderr(Stdio::null()),
    );
    let mut load = cluster.program("pgbench");
    load.args(["-n", "-c", "4", "-T", "120", &database.name])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut load = load.spawn().unwrap();
    let mut histories = Vec::new();
    for number in 0..10 {
        let ran = world
            .with_store(&format!(
                "backup {} --json --as bank --label l{number}",
                database.url()
            ))
            .run();
        let sidecar = ran.exits(0).made();
        assert!(load.try_wait().unwrap().is_none(), "the load goes on");
        let restored = cluster.database("moment");
        output(
            cluster
                .program("pg_restore")
                .args(["--exit-on-error", "-d", &restored.name])
                .arg(world.decoded(&sidecar)),
        );
        assert_eq!(counted(&restored), compared(&sidecar), "{number}");
        let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) || ' ' || (SELECT \
                    sum(tbalance) FROM pgbench_tellers) || ' '
                    || (SELECT sum(bbalance) FROM pgbench_branches) || ' ' || (SELECT \
                    coalesce(sum(delta), 0) FROM pgbench_history)";
        let sums = restored.value(sums);
        let sums: Vec<&str> = sums.split(' ').collect();
        assert!(sums.iter().all(|sum| sum == &sums[0]), "{number}: {sums:?}");
        histories.push(compared(&sidecar)["public.pgbench_history"]);
    }
    load.kill().unwrap();
    load.wait().unwrap();
    assert!(
        histories.windows(2).all(|pair| pair[0] <= pair[1]) && histories[0] < histories[9],
        "{histories:?}"
    );
    world
        .with_store("verify --all --level content")
        .run()
        .exits(0);
}

#[test]
fn a_standby_is_a_fine_source() {
    let Some(primary) = Cluster::start(Options::default()) else {
        return;
    };
    let database = shop(&primary, "followed");
    database.sql(
        "CREATE UNLOGGED TABLE fleeting(a int); INSERT INTO fleeting SELECT generate_series(1, 7); \
         CREATE TABLE lasting(a int)",
    );
    let standby = primary.standby();
    standby.catch_up(&primary);
    let world = World::new();
    let sidecar = world
        .with_store(&format!("backup {} --json", standby.url(&database.name)))
        .run()
        .exits(0)
        .made();
    let found = tables(&sidecar);
    assert_eq!(found["public.orders"], ("table".into(), 1000, true));
    assert!(!found["public.fleeting"].2, "{found:?}");
    world.with_store("verify --level content").run().exits(0);
    // On the primary it has its rows.
    let sidecar = world
        .with_store(&format!("backup {} --json --as primary", database.url()))
        .run()
        .exits(0)
        .made();
    assert_eq!(compared(&sidecar)["public.fleeting"], 7);
    world
        .with_store("verify primary --level content")
        .run()
        .exits(0);
}

#[test]
fn runs_as_root_and_as_others() {
    if !is_root() {
        return skip("this is the run as somebody else");
    }
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let (world, database) = (World::new(), shop(cluster, "somebody"));
    let dir = world.path("");
    std::os::unix::fs::chown(&dir, Some(65_534), Some(65_534)).unwrap();
    // The binary may lie where only its owner can go.
    let copy = world.path("dbbackup-copy");
    let copied = Command::new("install")
        .args(["-m", "755"])
        .arg(crate::support::binary())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    let mut command = Command::new(copy);
    command
        .args(["--store", "store", "backup"])
        .arg(database.url())
        .current_dir(&dir)
        .env_clear();
    command
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", &dir);
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
