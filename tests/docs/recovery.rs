//! Recovery by hand, as README and the manual's page dbbackup-recovery have it, done as it stands
//! there, with other people's tools and without dbbackup.
//!
//! A block of assignments alone is where the reader puts in what is true for him: the test puts in
//! its own. A block for one ending only says so after its fence (`sh gz`), and so does one for what
//! is stored as it is (`sh stored`) or encrypted (`sh age`).

use super::{blocks, have, text_of};
use crate::cluster::Cluster;
use crate::sftp::SshServer;
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The steps under some headings of a text, as one script.
pub fn steps(text: &str, headings: &[&str], endings: &[&str]) -> String {
    let mut script = String::from("set -euo pipefail\n");
    for block in blocks(text)
        .into_iter()
        .filter(|block| headings.contains(&block.heading.as_str()))
    {
        let assignment = |line: &str| {
            line.split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase()))
        };
        let mine = match block.info.split_once(' ') {
            None => block.info == "sh",
            Some((shell, only)) => shell == "sh" && endings.contains(&only),
        };
        if mine && !block.text.lines().all(assignment) {
            script.push_str(&block.text);
        }
    }
    script
}

/// The steps of the manual's page for one kind of source, from finding the backup on.
fn of_page(kind: &str, ending: &str) -> String {
    let page = text_of("man/dbbackup-recovery.7.md");
    steps(&page, &["Find the backup", kind], &[ending, "stored"])
}

/// The short way that README shows.
fn of_readme(kind: &str) -> String {
    steps(&text_of("README.md"), &["Recovery by hand"], &[kind])
}

pub fn rows(path: &Path) -> Vec<(i64, String)> {
    let database = Connection::open(path).unwrap();
    let mut query = database
        .prepare("SELECT id, text FROM notes ORDER BY id")
        .unwrap();
    query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn recovers(compression: &str, tool: &str, script: &str) {
    if ![tool, "sqlite3", "sha256sum"].iter().all(|tool| have(tool)) {
        return;
    }
    let there = tempfile::tempdir().unwrap();
    let target = there.path().join("app.db");
    let database = Connection::open(&target).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = wal; CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
             INSERT INTO notes (text) SELECT 'note ' || value FROM json_each('[1, 2, 3, 4, 5]');",
        )
        .unwrap();
    let config = there.path().join("dbbackup.toml");
    std::fs::write(
        &config,
        format!("[backup]\ncompression = \"{compression}\"\n"),
    )
    .unwrap();
    let store = there.path().join("store");
    let made = Command::new(env!("CARGO_BIN_EXE_dbbackup"))
        .arg("-c")
        .arg(&config)
        .arg("--store")
        .arg(&store)
        .arg("backup")
        .arg(&target)
        .output();
    let made = made.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    drop(database);
    // The disaster: the file is garbage, and a log of it lies there.
    let expected = rows(&target);
    std::fs::write(&target, b"not a database any more").unwrap();
    std::fs::write(there.path().join("app.db-wal"), b"stale").unwrap();

    let id = std::fs::read_dir(store.join("app"))
        .unwrap()
        .flatten()
        .find_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_suffix(".json"))
                .filter(|name| !name.ends_with(".event"))
                .map(str::to_owned)
        });
    let output = Command::new("bash")
        .args(["-c", script])
        .env("STORE", &store)
        .env("SOURCE", "app")
        .env("TARGET", &target)
        .env("NEW", there.path().join("recovered.db"))
        .env("ID", id.unwrap())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(
        said.contains(": OK") && said.lines().any(|line| line == "ok"),
        "{said}"
    );
    // The old log went with the old file; asked before the new database is opened, which could make
    // one.
    assert!(
        !there.path().join("app.db-wal").exists()
            && there.path().join("app.db.broken-wal").exists(),
        "{said}"
    );
    assert_eq!(rows(&target), expected);
    assert_eq!(
        std::fs::read(there.path().join("app.db.broken")).unwrap(),
        b"not a database any more"
    );
}

/// A store on another machine is fetched as the page says, by the tool `ending`, from below the
/// directory that `environment` leads it to; what comes is what is there, and a store.
fn is_fetched(ending: &str, environment: impl FnOnce(&Path) -> Vec<(&'static str, String)>) {
    let there = tempfile::tempdir().unwrap();
    let store = there.path().join("acme-backups/web1");
    std::fs::create_dir_all(store.parent().unwrap()).unwrap();
    let database = there.path().join("app.db");
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
        .unwrap();
    let config = there.path().join("dbbackup.toml");
    std::fs::write(&config, "[backup]\nincremental = true\n").unwrap();
    let dbbackup = |store: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbbackup"));
        let output = command
            .env("DBBACKUP_TEST_DELTA_SIZE", "1")
            .arg("-c")
            .arg(&config)
            .args(["--json", "--store"])
            .arg(store)
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let backup = ["backup", database.to_str().unwrap()];
    // The third is built on the first.
    let made = [(); 3].map(|()| dbbackup(&store, &backup)["backups"][0].clone());
    let ids = [2, 0].map(|number| made[number]["id"].as_str().unwrap());
    assert_eq!(made[2]["dump"]["base"]["id"], ids[1]);
    let here = there.path().join("here");
    std::fs::create_dir(&here).unwrap();
    let page = text_of("man/dbbackup-recovery.7.md");
    let output = Command::new("bash")
        .arg("-c")
        .arg(steps(&page, &["A store on another machine"], &[ending]))
        .envs(environment(there.path()))
        .env("STORE", &here)
        .env("SOURCE", "app")
        .env("ID", ids[0])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{ending}: {said}");
    let mut expected = 0;
    for entry in std::fs::read_dir(store.join("app")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_file_of = |id: &&str| name.starts_with(&format!("{id}."));
        let is_wanted = name.ends_with(".json") || ids.iter().any(is_file_of);
        let fetched = std::fs::read(here.join("app").join(&name)).ok();
        let original = is_wanted.then(|| std::fs::read(store.join("app").join(&name)).unwrap());
        assert!(fetched == original, "{ending}: {name}");
        expected += usize::from(is_wanted);
    }
    assert!(expected >= 5, "two dumps and three sidecars");
    dbbackup(&here, &["verify", ids[0]]);
}

#[test]
fn rclone_fetches_a_store() {
    if have("rclone") {
        is_fetched("rclone", |there| {
            vec![
                ("RCLONE_CONFIG", "/dev/null".to_owned()),
                ("RCLONE_CONFIG_OFFSITE_TYPE", "alias".to_owned()),
                ("RCLONE_CONFIG_OFFSITE_REMOTE", there.display().to_string()),
                ("THERE", "offsite:acme-backups/web1".to_owned()),
            ]
        });
    }
}

#[test]
fn sftp_fetches_a_store() {
    if !have("sftp") || !Path::new("/usr/sbin/sshd").exists() {
        return;
    }
    let server = SshServer::start();
    // The user's own configuration has what the server needs; here it is another file.
    let tools = tempfile::tempdir().unwrap();
    let sftp = tools.path().join("sftp");
    let configuration = server.file("ssh_config");
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\nexec sftp -F {} \"$@\"\n",
        configuration.display()
    );
    std::fs::write(&sftp, script).unwrap();
    std::fs::set_permissions(&sftp, std::fs::Permissions::from_mode(0o755)).unwrap();
    is_fetched("sftp", |there| {
        let path = std::env::var("PATH").unwrap();
        let directory = there.join("acme-backups/web1");
        vec![
            ("PATH", format!("{}:{path}", tools.path().display())),
            ("THERE", server.address(Path::new(""))),
            ("DIRECTORY", directory.display().to_string()),
        ]
    });
}

#[test]
fn gunzip_and_sqlite3_recover() {
    recovers("gzip", "gunzip", &of_page("SQLite", "gz"));
}

#[test]
fn zstd_and_sqlite3_recover() {
    recovers("zstd", "zstd", &of_page("SQLite", "zst"));
}

#[test]
fn uncompressed_dump_is_copied() {
    recovers("none", "cp", &of_page("SQLite", "sqlite3"));
}

#[test]
fn readme_recovers_a_sqlite_database() {
    recovers("gzip", "gunzip", &of_readme("sqlite3"));
}

/// As it is written, with a database of a throw-away server.
fn postgres_recovers(format: &str, script: &str, new: Option<&str>) {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    if !have("gunzip") {
        return;
    }
    let database = cluster.database("recovery");
    database.sql(
        "CREATE TABLE notes (id integer PRIMARY KEY, text text); INSERT INTO notes SELECT \
                  i, 'note ' || i FROM generate_series(1, 500) i",
    );
    let there = tempfile::tempdir().unwrap();
    let config = there.path().join("dbbackup.toml");
    let text = format!(
        "[sources.shop]\nkind = \"postgres\"\nurl = \"{}\"\nformat = \"{format}\"\n",
        database.url()
    );
    std::fs::write(&config, text).unwrap();
    let store = there.path().join("store");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbbackup"));
    command
        .arg("-c")
        .arg(&config)
        .arg("--store")
        .arg(&store)
        .args(["backup", "--json"])
        .env("PGUSER", cluster.superuser());
    let made = command.output().unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let document: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let new = new.map_or_else(|| format!("{}_new", database.name), str::to_owned);
    let output = Command::new("bash")
        .args(["-c", script])
        .env("STORE", &store)
        .env("SOURCE", "shop")
        .env("ID", document["backups"][0]["id"].as_str().unwrap())
        .env("NEWDB", &new)
        .env(
            "PATH",
            format!(
                "{}:{}",
                cluster.bin().display(),
                std::env::var("PATH").unwrap()
            ),
        )
        .env("PGHOST", cluster.socket_dir())
        .env("PGPORT", cluster.port().to_string())
        .env("PGUSER", cluster.superuser())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        cluster.value(&new, "SELECT count(*) || ' ' || max(text) FROM notes"),
        "500 note 99"
    );
    cluster.sql(
        "postgres",
        &format!("DROP DATABASE {}", crate::cluster::identifier(&new)),
    );
}

#[test]
fn gunzip_and_pg_restore_recover() {
    postgres_recovers("custom", &of_page("PostgreSQL", "dump"), None);
}

#[test]
fn gunzip_and_psql_recover() {
    postgres_recovers("plain", &of_page("PostgreSQL", "sql"), None);
}

/// One after the other: README gives the new database a name.
#[test]
fn readme_recovers_a_postgresql_database() {
    postgres_recovers("custom", &of_readme("dump"), Some("recovered"));
    postgres_recovers("plain", &of_readme("sql"), Some("recovered"));
}

#[test]
fn tar_recovers_files() {
    if !["tar", "gunzip", "zstd", "sha256sum"]
        .iter()
        .all(|tool| have(tool))
    {
        return;
    }
    let ways = [of_page("Files", ""), of_readme("tar")];
    let compressions = ["gzip", "zstd", "none"];
    for (compression, script) in compressions
        .iter()
        .flat_map(|compression| ways.iter().map(move |script| (compression, script)))
    {
        let there = tempfile::tempdir().unwrap();
        let tree = there.path().canonicalize().unwrap().join("uploads");
        std::fs::create_dir_all(tree.join("deep")).unwrap();
        std::fs::write(tree.join("deep/file"), "content").unwrap();
        std::os::unix::fs::symlink("deep/file", tree.join("link")).unwrap();
        let config = there.path().join("dbbackup.toml");
        std::fs::write(
            &config,
            format!("[backup]\ncompression = \"{compression}\"\n"),
        )
        .unwrap();
        let store = there.path().join("store");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbbackup"));
        let made = command
            .arg("-c")
            .arg(&config)
            .arg("--store")
            .arg(&store)
            .args(["backup", "--json"])
            .arg(&tree)
            .output()
            .unwrap();
        let document: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let new = there.path().join("recovered");
        let output = Command::new("bash")
            .args(["-c", script])
            .env("STORE", &store)
            .env("SOURCE", "uploads")
            .env("ID", document["backups"][0]["id"].as_str().unwrap())
            .env("NEW", &new)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{compression}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(": OK"),
            "{compression}"
        );
        let recovered = new.join(tree.strip_prefix("/").unwrap());
        assert_eq!(
            std::fs::read_to_string(recovered.join("link")).unwrap(),
            "content"
        );
    }
}
