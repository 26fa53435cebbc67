//! Whole screens: what a person or a script is shown by each command on a small store, so that any
//! change of layout is seen. `DBBACKUP_BLESS=1` writes them anew to `tests/it/screens`.

use crate::moments::next_second;
use crate::support::{Ran, World, set_mode};
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names and arguments of the screens of a store with some history.
const SCREENS: &[(&str, &str)] = &[
    ("list", "list"),
    ("list-json", "list app --json"),
    ("list-failed", "list --status failed"),
    ("list-nothing", "list nothing"),
    ("show", "show app"),
    ("show-contents", "show web --contents"),
    ("show-nothing", "show nothing"),
    ("verify", "verify app --level restore"),
    ("verify-json", "verify app --level content --json"),
    ("restore-dry-run", "restore app --dry-run"),
    ("restore-without-yes", "restore app"),
    ("restore-nothing", "restore nothing"),
    ("restore-beside", "restore app --to copy.db"),
    ("restore-json", "restore app --to second.db --json"),
    ("cleanup-dry-run", "cleanup --dry-run --keep-last 1"),
    ("cleanup-json", "cleanup --dry-run --keep-last 1 --json"),
    ("delete-source", "delete app --yes"),
    ("status", "status"),
    ("status-json", "status --json"),
    ("stats", "stats"),
    ("stats-json", "stats --json"),
    ("doctor", "doctor"),
    ("backup-nothing", "backup nothing"),
    ("backup-missing", "backup lost"),
    ("backup-dry-run", "backup app --dry-run"),
    ("export-usage", "export app --to out"),
    ("verify-usage", "verify app --level deep"),
    ("unknown-command", "verfy"),
    ("missing-configuration", "-c none.toml backup"),
];

/// Screens of commands that change the store, in this order.
const CHANGES: &[(&str, &str)] = &[
    ("pin", "pin app"),
    ("cleanup", "cleanup app --keep-last 1"),
    ("backup", "backup app"),
    ("backup-json", "backup web --json"),
    ("backup-partial", "backup"),
    ("restore", "restore app --yes"),
    ("guard-failure", "guard app -- false"),
];

/// A database, a tree and a source that is not there; two days of history.
fn world() -> World {
    let world = World::new();
    world.database(
        "app.db",
        "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE orders(id INTEGER PRIMARY KEY, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT \
         INTO customer SELECT i, 'customer ' || i FROM n;
         INSERT INTO orders SELECT id * 7, name FROM customer WHERE id % 10 = 0;",
    );
    world.file("tree/a", "hello\n");
    world.file("tree/b/c", "");
    for (name, mode) in [
        ("tree", 0o755),
        ("tree/b", 0o755),
        ("tree/a", 0o644),
        ("tree/b/c", 0o600),
    ] {
        set_mode(&world.path(name), mode);
    }
    set_mode(&world.path("app.db"), 0o640);
    world.config(
        "[store]\npath = 'store'\n[backup]\nscratch_dir = 'scratch'\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n[sources.web]\nkind = 'files'\npaths = ['tree']\n[sources.lost]\n\
         kind = 'sqlite'\npath = 'lost.db'\n",
    );
    std::fs::create_dir(world.path("scratch")).unwrap();
    world.dbbackup("backup").run().exits(3);
    // The age of what was made just now would change while the test runs.
    let newest = world.ids("app").remove(0);
    for hours in [50, 26] {
        let at = Utc::now() - TimeDelta::hours(hours) - TimeDelta::minutes(30);
        world.copy_backup(&newest, "daily", at);
    }
    std::fs::remove_file(world.dump_of(&newest)).unwrap();
    std::fs::remove_file(world.sidecar_path(&newest)).unwrap();
    let long_ago = Utc::now() - TimeDelta::minutes(150);
    for source in ["app", "web", "lost"] {
        for attempt in world.attempts(source) {
            world.edit_sidecar(attempt["id"].as_str().unwrap(), |sidecar| {
                age(sidecar, &long_ago.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            });
        }
    }
    std::fs::File::open(world.path("app.db"))
        .unwrap()
        .set_modified(long_ago.into())
        .unwrap();
    world
}

/// What was made just now was made then.
fn age(sidecar: &mut Value, then: &str) {
    if sidecar["label"] == "manual" {
        sidecar["started_at"] = then.into();
        sidecar["finished_at"] = then.into();
    }
    for verification in sidecar["verifications"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        verification["at"] = then.into();
    }
}

#[test]
fn screens_are_as_they_were() {
    let world = world();
    let mut screens: Vec<(String, String)> = Vec::new();
    let mut take = |world: &World, name: &str, arguments: &str| {
        let ran = world.dbbackup(arguments).run();
        screens.push((format!("{name}.txt"), screen(world, arguments, &ran)));
    };
    for (name, arguments) in SCREENS {
        take(&world, name, arguments);
    }
    for (name, arguments) in CHANGES {
        // Two ids of one second differ by a number.
        next_second();
        take(&world, name, arguments);
    }
    // Nothing else is wrong with it.
    damage(&world);
    take(&world, "verify-damaged", "verify app --level content");
    compare(screens);
}

/// Cuts the newest dump off.
fn damage(world: &World) {
    let dump = world.dump_of(&world.ids("app").remove(0));
    let bytes = std::fs::read(&dump).unwrap();
    std::fs::write(&dump, &bytes[..bytes.len() / 2]).unwrap();
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/screens")
}

/// Holds them against the files, or writes these.
fn compare(screens: Vec<(String, String)>) {
    let bless = std::env::var_os("DBBACKUP_BLESS").is_some();
    let mut differing = Vec::new();
    for (name, now) in &screens {
        let path = directory().join(name);
        if bless {
            std::fs::write(&path, now).unwrap();
            continue;
        }
        let then = std::fs::read_to_string(&path).unwrap_or_default();
        if then != *now {
            differing.push(format!("--- {name} was\n{then}--- {name} is\n{now}"));
        }
    }
    for entry in std::fs::read_dir(directory()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !screens.iter().any(|(known, _)| *known == name) {
            differing.push(format!("--- {name} is no screen any more\n"));
            if bless {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    assert!(
        bless || differing.is_empty(),
        "{}`DBBACKUP_BLESS=1 cargo test --test it screens` makes it so",
        differing.concat()
    );
}

fn screen(world: &World, arguments: &str, ran: &Ran) -> String {
    let mut text = format!("$ dbbackup {arguments}\n{}", ran.stdout);
    if !ran.stderr.is_empty() {
        text += &format!("--- stderr\n{}", ran.stderr);
    }
    text += &format!("--- exit {}\n", ran.code());
    normalised(world, &text)
}

/// What is another one at each run, or on each machine, replaced by something as long, where its
/// length does not change either.
fn normalised(world: &World, text: &str) -> String {
    let here = world.path("");
    let here = here.to_str().unwrap().trim_end_matches('/');
    let of = |flag: &str| {
        let output = Command::new("id").arg(flag).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // A file's group is the directory's on some systems.
    assert_eq!(
        world.path("app.db").metadata().unwrap().uid().to_string(),
        of("-u")
    );
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = text
        .replace(boot.trim(), "BOOT")
        .replace(here, "/home/me")
        .replace(here.trim_start_matches('/'), "home/me")
        .replace(&format!("{}:{}", of("-un"), of("-gn")), "me:us")
        .replace(&format!("\"host\": \"{host}\""), "\"host\": \"here\"")
        .replace(&format!("host {host}"), "host here")
        .replace(rusqlite::version(), "SQLITE")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let lines = text.lines().map(|line| varying(line) + "\n");
    lines.collect()
}

/// Times, hashes and numbers: `0` in a pattern is a digit, `h` one of a hexadecimal number.
const PATTERNS: &[(&str, &str)] = &[
    ("00000000T000000Z-hhhh", "20261120T020041Z-1a2b"),
    ("00000000T000000Z", "20261120T020041Z"),
    (
        "0000-00-00T00:00:00.000000000Z",
        "2026-11-20T02:00:41.123456789Z",
    ),
    ("0000-00-00T00:00:00", "2026-11-20T02:00:41"),
    ("0000-00-00 00:00:00", "2026-11-20 02:00:41"),
];

/// Numbers in JSON that are others each time, by the end of their keys.
const NUMBERS: &[&str] = &[
    "duration_seconds\": ",
    "age_seconds\": ",
    "free_bytes\": ",
    "needed_bytes\": ",
    "size_bytes\": ",
    "size_bytes_before\": ",
    "stored_bytes\": ",
    "total_size_freed\": ",
    "ratio\": ",
];

fn varying(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let pattern = PATTERNS.iter().find(|(pattern, _)| fits(rest, pattern));
        let digits = length_of(rest, |c| c.is_ascii_hexdigit());
        let number = length_of(rest, |c| c.is_ascii_digit() || c == '.');
        let starts = !out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
        if let Some((pattern, text)) = pattern {
            out += text;
            rest = &rest[pattern.len()..];
        } else if digits == 64 {
            out += "HASH";
            rest = &rest[digits..];
        } else if number > 0 && NUMBERS.iter().any(|key| out.ends_with(key)) {
            out += "0";
            rest = &rest[number..];
        } else if number > 0 && starts && first.is_ascii_digit() {
            let (text, after) = rest.split_at(number);
            out += &measured(text, after);
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// A number, if what follows makes it one that is another each time.
fn measured(number: &str, after: &str) -> String {
    // `469 bytes, 939 were written`.
    let follows = |unit: &str| {
        after
            .strip_prefix(unit)
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    let nines = || number.replace(|c: char| c.is_ascii_digit(), "9");
    if follows(" s") {
        "0.0".to_owned()
    } else if follows(" GiB") || follows(" TiB") || follows(" MiB") {
        "9.9".to_owned()
    } else if follows(" B")
        || follows(" bytes")
        || follows(" were written")
        || follows(" KiB")
        || after.starts_with(":1")
    {
        nines()
    } else {
        number.to_owned()
    }
}

fn length_of(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !fits(c)).unwrap_or(text.len())
}

fn fits(text: &str, pattern: &str) -> bool {
    let mut text = text.chars();
    pattern
        .chars()
        .all(|expected| match (expected, text.next()) {
            ('0', Some(found)) => found.is_ascii_digit(),
            ('h', Some(found)) => found.is_ascii_hexdigit(),
            (expected, found) => found == Some(expected),
        })
}

#[test]
fn what_varies_is_normalised() {
    for (line, expected) in [
        (
            "app_daily_20251231T235959Z-2 ok",
            "app_daily_20261120T020041Z-2 ok",
        ),
        ("run 20251231T235959Z-04f7", "run 20261120T020041Z-1a2b"),
        (
            "  795 B   8.0 KiB  10.3:1  3 d",
            "  999 B   9.9 KiB  99.9:1  3 d",
        ),
        (
            "36.1 GiB free, 100 rows in 1.25 s",
            "9.9 GiB free, 100 rows in 0.0 s",
        ),
        ("\"size_bytes\": 795,", "\"size_bytes\": 0,"),
        ("x86 1 sheet", "x86 1 sheet"),
    ] {
        assert_eq!(varying(line), expected);
    }
}
