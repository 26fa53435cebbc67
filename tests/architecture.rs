//! Holds the rules of ARCHITECTURE.md against the code: which room may use which, and who may
//! print.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room and the rooms that it may use, besides itself, `error`, `units` and `failpoint`.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("error", &[]),
    ("interrupt", &[]),
    ("stream", &["interrupt"]),
    ("failpoint", &["interrupt"]),
    ("lock", &["interrupt"]),
    ("durable", &[]),
    ("cores", &[]),
    ("users", &[]),
    ("setting", &[]),
    ("log", &["setting"]),
    ("process", &["interrupt"]),
    ("scratch", &["durable"]),
    ("retention", &["setting"]),
    ("health", &[]),
    ("metrics", &[]),
    ("statistics", &[]),
    (
        "engine",
        &[
            "durable",
            "interrupt",
            "process",
            "scratch",
            "stream",
            "users",
        ],
    ),
    ("tabular", &["durable", "engine", "scratch"]),
    ("pipeline", &["interrupt", "stream"]),
    ("store", &["durable", "lock"]),
    // The sidecar's types hold what the engine found, as it is.
    ("sidecar", &["engine"]),
    (
        "catalog",
        &["cores", "engine", "retention", "sidecar", "store"],
    ),
    // The settings that a file can give are those of the rooms that use them.
    (
        "config",
        &[
            "engine",
            "log",
            "pipeline",
            "retention",
            "setting",
            "sidecar",
            "store",
        ],
    ),
    ("cli", &["engine", "retention", "sidecar", "tabular"]),
    (
        "plan",
        &[
            "config",
            "engine",
            "pipeline",
            "retention",
            "sidecar",
            "store",
        ],
    ),
    (
        "ops",
        &[
            "catalog",
            "config",
            "cores",
            "durable",
            "engine",
            "health",
            "interrupt",
            "lock",
            "log",
            "metrics",
            "pipeline",
            "plan",
            "process",
            "retention",
            "scratch",
            "sidecar",
            "store",
            "tabular",
            "users",
        ],
    ),
    (
        "report",
        &[
            "cli",
            "cores",
            "engine",
            "interrupt",
            "log",
            "ops",
            "pipeline",
        ],
    ),
];

/// Words that only some rooms may use.
const WORDS: &[(&str, &[&str])] = &[
    ("clap::", &["cli", "commands", "lib"]),
    ("toml::", &["config"]),
    ("rusqlite::", &["engine", "error"]),
    ("postgres::Client", &["engine"]),
    ("tar::", &["engine", "fuzzing"]),
    ("walkdir::", &["commands", "engine", "scratch", "store"]),
    ("rustls::", &["engine"]),
    ("println!", &[]),
    ("print!", &[]),
    ("stdout()", &["report"]),
    ("stderr()", &["report"]),
    ("process::exit", &[]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What a compiler made of the fuzz targets is not ours.
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each file's room and its text, tests left out.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_path_buf();
        if relative.ends_with("tests.rs")
            || relative.ends_with("memory.rs")
            || relative.ends_with("faulty.rs")
        {
            continue;
        }
        let room = relative
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        rooms.push((room, relative, lines.join("\n")));
    }
    rooms
}

#[test]
fn rooms_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, file, text) in rooms() {
        if ["main", "lib", "commands", "fuzzing"].contains(&room.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(room.as_str()) else {
            panic!("{} is in no room of this test's table", file.display())
        };
        for piece in text.split("crate::").skip(1) {
            let used: String = piece
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let fine = used == room
                || used == "error"
                || used == "units"
                || used == "failpoint"
                || allowed.contains(&used.as_str())
                || used.is_empty();
            if !fine {
                wrong.push(format!("{} uses crate::{used}", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn words_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, file, text) in rooms() {
        for (word, allowed) in WORDS {
            if text.contains(word) && !allowed.contains(&room.as_str()) {
                wrong.push(format!("{} has `{word}`", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

/// What a query of ours calls is the server's own, whatever a session's search path says. (An
/// operator can't be written so and still be read; the search path is empty before a session's
/// first query, which `postgres_hostile` tries with a hostile copy of each.)
#[test]
fn functions_of_the_catalog_are_named_with_their_schema() {
    let texts: Vec<(PathBuf, String)> = (rooms().into_iter())
        .filter(|(_, file, _)| file.starts_with("engine/postgres"))
        .map(|(_, file, text)| (file, text))
        .collect();
    let mut known = BTreeSet::new();
    for (_, text) in &texts {
        for after in text.split("pg_catalog.").skip(1) {
            let name: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if after[name.len()..].starts_with('(') {
                known.insert(name);
            }
        }
    }
    assert!(known.len() > 20, "{known:?}");
    let mut wrong = Vec::new();
    for (file, text) in &texts {
        let is_query = |line: &&str| {
            ["SELECT ", " FROM ", "WHERE ", "JOIN "]
                .iter()
                .any(|word| line.contains(word))
        };
        for line in text.lines().filter(is_query) {
            for name in &known {
                let unqualified = line.match_indices(&format!("{name}(")).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    // A line without quotes is inside a text of several lines.
                    let in_text = !line.contains('"') || line[..at].matches('"').count() % 2 == 1;
                    in_text
                        && !before
                            .is_some_and(|c| c == '.' || c == '_' || c.is_ascii_alphanumeric())
                });
                if unqualified {
                    wrong.push(format!("{}: {name} in {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn every_file_says_what_lives_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for dir in ["src", "tests", "benches", "examples"] {
        let mut files = Vec::new();
        if root.join(dir).is_dir() {
            sources(&root.join(dir), &mut files);
        }
        for file in files {
            assert!(
                std::fs::read_to_string(&file).unwrap().starts_with("//! "),
                "{} does not open by saying what it is",
                file.display()
            );
        }
    }
}

/// Whatever a dump needs to be read, as an earlier dump or a key, is resolved in one place.
#[test]
fn stored_dumps_are_decoded_in_one_place() {
    let words = [
        "DecodeReader",
        "pipeline::measure(",
        "decoding.open(",
        "(LIST_CODEC).open(",
    ];
    let is_reader = |text: &str| words.iter().any(|word| text.contains(word));
    let readers: Vec<PathBuf> = (rooms().into_iter())
        .filter(|(room, _, text)| room != "pipeline" && is_reader(text))
        .map(|(_, file, _)| file)
        .collect();
    assert_eq!(readers, [PathBuf::from("ops/content.rs")]);
}
