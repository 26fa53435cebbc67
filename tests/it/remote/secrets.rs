//! Keys of stores, however they are given: searched for in everything that is written, said, and
//! given to other programs.

use super::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use super::s3_settings;
use crate::support::{Ran, World, set_mode};
use std::path::Path;

/// The files below a directory that hold the key.
fn holders(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holders(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(SECRET_KEY) {
                found.push(path.display().to_string());
            }
        }
    }
}

/// The command lines of all processes that have the key in them.
fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| {
        let bytes = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    });
    lines.filter(|line| line.contains(SECRET_KEY)).collect()
}

/// Runs it, looking at all processes meanwhile.
fn watched(world: &World, arguments: &str) -> Ran {
    let mut running = world
        .dbbackup(&format!("-vvv --store far {arguments}"))
        .start();
    while !running.ended() {
        assert_eq!(command_lines(), [] as [&str; 0], "{arguments}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running.wait().never_says(SECRET_KEY)
}

#[test]
fn a_key_gets_nowhere() {
    for way in ["value", "file", "command", "environment"] {
        let server = S3Server::start();
        let world = World::new();
        world.shop("app.db");
        let settings = s3_settings("far", &server.endpoint(), "web1");
        let value = format!("secret_key = '{SECRET_KEY}'");
        let keys = tempfile::tempdir().unwrap();
        let file = keys.path().join("key");
        std::fs::write(&file, format!("{SECRET_KEY}\n")).unwrap();
        set_mode(&file, 0o600);
        let named = match way {
            "file" => format!("secret_key_file = {file:?}"),
            "command" => format!("secret_key_command = 'cat {}'", file.display()),
            "environment" => "secret_key = '${THE_KEY}'".to_owned(),
            _ => value.clone(),
        };
        let text = format!(
            "{}[sources.app]\nkind = 'sqlite'\npath = {:?}\n",
            settings.replace(&value, &named),
            world.path("app.db")
        );
        let config = keys.path().join("dbbackup.toml");
        std::fs::write(&config, text).unwrap();
        set_mode(&config, 0o600);
        let call = |arguments: &str| {
            let arguments = format!("-c {} {arguments}", config.display());
            match way {
                "environment" => world
                    .dbbackup(&format!("-vvv --store far {arguments}"))
                    .env("THE_KEY", SECRET_KEY)
                    .run()
                    .never_says(SECRET_KEY),
                _ => watched(&world, &arguments),
            }
        };
        call("backup app").exits(0);
        call("backup app --json").exits(0).made();
        call("list").exits(0);
        call("show app --json").exits(0).never_says(ACCESS_KEY);
        call("verify app --level restore").exits(0);
        call("restore app --to back.db --yes").exits(0);
        call("cleanup app --keep-last 1").exits(0);
        call("status").never_says(ACCESS_KEY);
        call("show nothing").exits(10);
        let mut found = Vec::new();
        holders(&world.path(""), &mut found);
        holders(server.bucket_path().parent().unwrap(), &mut found);
        assert_eq!(found, [] as [&str; 0], "{way}");
    }
}
