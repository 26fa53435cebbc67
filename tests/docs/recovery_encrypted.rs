//! Recovery by hand of an encrypted backup, as the manual's page has it, with the tools that it
//! names and no others, from a directory and from S3.

use super::recovery::{rows, steps};
use super::{have, text_of};
use crate::moto::Moto;
use rusqlite::Connection;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

/// What a bare system has, and what the page asks for.
const TOOLS: &[&str] = &[
    "bash",
    "sh",
    "cat",
    "cp",
    "mv",
    "ls",
    "sed",
    "grep",
    "awk",
    "sort",
    "cut",
    "tail",
    "mkdir",
    "chmod",
    "chown",
    "sync",
    "sha256sum",
    "sqlite3",
    "zstd",
    "age",
];

/// A directory with these programs alone.
fn bare_path(dir: &Path, more: &[&str]) -> bool {
    let known: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    TOOLS.iter().chain(more).all(|tool| {
        let found = known
            .iter()
            .map(|dir| dir.join(tool))
            .find(|path| path.is_file());
        match found {
            Some(path) => symlink(path, dir.join(tool)).is_ok(),
            None => have(tool),
        }
    })
}

fn must_succeed(output: Output) -> String {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}\n{said}", output.status);
    said
}

fn dbbackup(place: &Path, arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbbackup"));
    command.current_dir(place).arg("--json").args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes an encrypted backup in the store of these settings, destroys the database, and recovers it
/// by these sections of the page.
fn recovers(store: &str, sections: &[&str], more: &[&str], environment: &[(&str, &str)]) {
    let place = tempfile::tempdir().unwrap();
    let tools = place.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    if !bare_path(&tools, more) {
        return;
    }
    let key = dbbackup(place.path(), &["key", "init", "--identity", "backup.key"]);
    let recipient = key["recipient"].as_str().unwrap();
    let config = place.path().join("dbbackup.toml");
    let text = format!(
        "[store]\n{store}\n[backup]\ncompression = 'zstd'\n[encryption]\nrecipients = \
         ['{recipient}']\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let target = place.path().join("app.db");
    let database = Connection::open(&target).unwrap();
    database
        .execute_batch(
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
             INSERT INTO notes (text) SELECT 'note ' || value FROM json_each('[1, 2, 3]');",
        )
        .unwrap();
    drop(database);
    let made = dbbackup(place.path(), &["backup"]);
    let expected = rows(&target);
    std::fs::write(&target, b"not a database any more").unwrap();

    let page = text_of("man/dbbackup-recovery.7.md");
    let sections = [
        sections,
        &["Find the backup", "An encrypted backup", "SQLite"],
    ]
    .concat();
    let mut command = Command::new(tools.join("bash"));
    command
        .arg("-c")
        .arg(steps(&page, &sections, &["zst", "age", "rclone"]))
        .current_dir(place.path())
        .env_clear()
        .env("PATH", &tools)
        .env("STORE", place.path().join("store"))
        .env("SOURCE", "app")
        .env("ID", made["backups"][0]["id"].as_str().unwrap())
        .env("KEY", place.path().join("backup.key"))
        .env("CLEAR", place.path().join("clear"))
        .env("TARGET", &target)
        .env("NEW", place.path().join("recovered.db"))
        .envs(environment.iter().copied());
    let said = must_succeed(command.output().unwrap());
    assert!(
        said.contains(": OK") && said.lines().any(|line| line == "ok"),
        "{said}"
    );
    assert_eq!(rows(&target), expected);
    // What the open sidecar does not tell was opened, too.
    let clear = place.path().join("clear/app");
    let sealed = std::fs::read_dir(clear).unwrap().flatten();
    let json = sealed
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some("json".as_ref()));
    assert!(
        std::fs::read_to_string(json.unwrap())
            .unwrap()
            .contains("notes")
    );
}

#[test]
fn age_and_zstd_recover_from_a_directory() {
    recovers("path = 'store'", &[], &[], &[]);
}

#[test]
fn age_and_zstd_recover_from_s3() {
    let Some(server) = Moto::start() else {
        have("moto_server");
        return;
    };
    server.make_bucket("acme-backups");
    let endpoint = server.endpoint();
    let store = format!(
        "url = 's3://acme-backups/web1'\nendpoint = '{endpoint}'\naccess_key = 'key'\nsecret_key = \
         'secret'"
    );
    let environment = [
        ("RCLONE_CONFIG", "/dev/null"),
        ("RCLONE_CONFIG_OFFSITE_TYPE", "s3"),
        ("RCLONE_CONFIG_OFFSITE_PROVIDER", "Other"),
        ("RCLONE_CONFIG_OFFSITE_ENDPOINT", &endpoint),
        ("RCLONE_CONFIG_OFFSITE_ACCESS_KEY_ID", "key"),
        ("RCLONE_CONFIG_OFFSITE_SECRET_ACCESS_KEY", "secret"),
        ("THERE", "offsite:acme-backups/web1"),
    ];
    recovers(
        &store,
        &["A store on another machine"],
        &["rclone"],
        &environment,
    );
}
