//! Sidecars, states and lists that somebody else wrote: whatever date, number or text is in them,
//! no command panics, and none of it reaches a terminal as more than text.

use crate::seeds::Random;
use crate::support::{World, until};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

/// How many stores of altered backups; `DBBACKUP_CASES` makes it more.
fn cases() -> u64 {
    std::env::var("DBBACKUP_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8)
}

/// What a value may be put in the place of a text, a number, or anything.
fn values() -> Vec<Value> {
    let dates = [
        "+262142-12-31T23:59:59Z",
        "+262142-12-31T23:59:59.999999999Z",
        "-262143-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "+10000-01-01T00:00:00+23:59",
        "1970-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
    ];
    let texts = [
        "",
        "..",
        "/",
        "../../etc/passwd",
        "a/b",
        "\u{0}",
        "\u{1b}]52;c;eA==\u{7}",
        "\u{202e}",
        "é",
        "0",
        "-",
        "_",
        "Z-4294967295",
        "*",
        "'\"`$(x)",
    ];
    let long = ["x".repeat(5000), "\u{1f600}".repeat(300), "%".repeat(300)];
    let mut values: Vec<Value> = dates.iter().chain(&texts).map(|text| json!(text)).collect();
    values.extend(long.iter().map(|text| json!(text)));
    values.extend(
        [
            0,
            1,
            u64::MAX,
            u64::MAX - 1,
            u64::MAX / 2 + 1,
            i64::MAX as u64,
            u64::from(u32::MAX),
        ]
        .map(|number| json!(number)),
    );
    values.extend([-1, i64::MIN, i64::from(i32::MIN)].map(|number| json!(number)));
    values.extend([1e308, -1e308, 5e-324, 1.5, -0.0, 1e19].map(|number| json!(number)));
    values.extend([
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": null}),
    ]);
    values
}

/// Every place in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                places(
                    value,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(number, value)| places(value, &format!("{at}/{number}"), found)),
        _ => {}
    }
}

/// The document with another value somewhere, mostly of the same type.
fn alter(document: &mut Value, random: &mut Random) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    // What says whose it is decides early: seldom.
    found.retain(|place| {
        !place.is_empty()
            && (random.below(8) == 0
                || !matches!(&place[..], "/id" | "/source" | "/schema" | "/dump/file"))
    });
    let place = random.one_of(&found).clone();
    let old = document.pointer_mut(&place).unwrap();
    let values: Vec<Value> = values()
        .into_iter()
        .filter(|value| std::mem::discriminant(value) == std::mem::discriminant(old))
        .collect();
    *old = if values.is_empty() || random.below(10) == 0 {
        random.one_of(&self::values()).clone()
    } else {
        random.one_of(&values).clone()
    };
}

/// What steers a terminal: an escape, a title or a clipboard (OSC), a control sequence in one
/// character, the direction of text, a carriage return.
const WILD: &str =
    "\u{1b}[2J\u{1b}]52;c;eA==\u{7}\u{9b}31m\u{1b}[31mred\r\u{202e}gpj\u{2066}\u{200b}\u{7f}";

/// Nothing in a text steers a terminal.
#[track_caller]
fn assert_tame(text: &str, what: &str) {
    let wild = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(wild), "{what}: {text:?}");
}

/// What a sidecar can say, more than a real one does.
fn enriched(mut sidecar: Value) -> Value {
    let more: Map<String, Value> = json!({
        "description": "x", "tags": {"a": "b"}, "warnings": ["one"], "run_members": ["app"],
        "verifications": [
            {"at": "2026-11-20T02:00:42Z", "level": "content", "status": "ok",
                "duration_seconds": 1.1},
            {"at": "2026-11-20T02:00:42Z", "level": "checksum", "status": "damaged",
                "duration_seconds": 1.1, "detail": "why"},
        ],
    })
    .as_object()
    .unwrap()
    .clone();
    sidecar.as_object_mut().unwrap().extend(more);
    sidecar
}

/// A backup of a PostgreSQL database that never was, with everything that one can say.
fn postgres(source: &str) -> (Value, String) {
    let id = format!("{source}_daily_20261120T020000Z");
    let sidecar = json!({
        "schema": 1, "id": id, "run": "r", "source": source, "kind": "postgres", "label": "daily",
        "status": "ok",
        "started_at": "2026-11-20T02:00:00Z", "finished_at": "2026-11-20T02:00:41Z",
        "duration_seconds": 41.2,
        "dump": {"file": format!("{id}.dump.gz"), "format": "pg_dump-custom", "size_bytes": 4,
        "sha256": "00", "content_size_bytes": 9,
                 "content_sha256": "00", "compression": "gzip", "encryption": null, "base": null},
        "database": {"name": "shop", "host": "db.internal", "port": 5432, "user": "u",
        "server_version": "15.18", "size_bytes": 524288000,
                     "system_identifier": "7", "cluster": "c", "encoding": "UTF8", "roles": ["r"],
                     "tablespaces": ["t"], "selected_by": ["s"],
                     "locale": {"provider": "c", "collate": "C", "ctype": "C"},
                     "extensions": [{"name": "e", "version": "1"}]},
        "manifest": {"tables": [{"name": "public.orders", "kind": "table", "rows": 120034}],
        "rows_total": 120034},
        "producer": {"dbbackup": "0.1.0", "pg_dump": "15.18", "host": "web1"},
    });
    (sidecar, id)
}

const COMMANDS: &[&str] = &[
    "list --status all",
    "list --status all --json",
    "list --since 1d",
    "stats",
    "stats --json",
    "status",
    "status -v",
    "status --json",
    "status --nagios",
    "status --prometheus metrics.prom",
    "verify --all --level checksum",
    "verify --all --level content",
    "verify --all --json",
    "doctor",
    "cleanup -n --keep-last 1 --keep-daily 2 --keep-within 2d --max-age 3d --max-size 1KiB",
    "cleanup --json --keep-last 5 --keep-monthly 3",
    "cleanup --max-count 2",
    "backup",
    "restore all --dry-run",
];

/// Goes where the sidecar says that the source was.
const IN_PLACE: &str = "restore ID --yes";

/// Whether every text that can be a path leads to a place below `home`.
fn stays_below(home: &std::path::Path, value: &Value) -> bool {
    match value {
        Value::String(text) if text.contains('/') || text.contains("..") => {
            std::path::Path::new(text).starts_with(home) && !text.contains("..")
        }
        Value::Array(values) => values.iter().all(|value| stays_below(home, value)),
        Value::Object(fields) => fields.values().all(|value| stays_below(home, value)),
        _ => true,
    }
}

const FOR_EACH: &[&str] = &[
    "show ID",
    "show ID --contents",
    "show ID --contents --json",
    "verify ID --level restore",
    "restore ID --dry-run",
    IN_PLACE,
    "restore ID --to to-ID",
    "export ID --format csv --to csv-ID",
    "cat ID",
    "pin ID",
    "unpin ID",
    "delete ID --yes --force",
];

#[test]
fn no_sidecar_makes_a_command_panic() {
    let mut random = Random::seeded();
    let world = World::new();
    world.shop("app.db");
    world.file("tree/a/b.txt", "text");
    std::fs::copy(world.path("app.db"), world.path("tree/inner.db")).unwrap();
    world.config(
        "[store]\npath = 'store'\n[backup]\nscratch_dir = 'scratch'\n[retention]\nkeep_last = \
         50\n[groups]\nall = ['app', 'tree']\n\
         [sources.app]\nkind = 'sqlite'\npath = 'app.db'\n[sources.tree]\nkind = 'files'\npaths = \
         ['tree']\n",
    );
    std::fs::create_dir(world.path("scratch")).unwrap();
    world.dbbackup("backup").run().exits(0);
    world.dbbackup("verify --level restore").run().exits(0);
    let store = world.path("store");
    for _ in 0..cases() {
        let copy = world.path("copy");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(&store)
            .arg(&copy)
            .status()
            .unwrap();
        assert!(copied.success());
        let altered = alter_all(&copy, &mut random);
        let say = |text: &str| {
            altered.iter().fold(text.to_owned(), |text, document| {
                format!("{text}\n{document}")
            })
        };
        let call = |arguments: &str| {
            let mut call = world.dbbackup(&format!("--store ./copy {arguments}"));
            // Bytes may be the result.
            let output = call.command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_tame(&said, arguments);
            if !arguments.starts_with("cat") {
                assert_tame(&String::from_utf8(output.stdout).unwrap(), arguments);
            }
            let fine =
                !said.contains("panicked") && output.status.code().is_some_and(|code| code != 101);
            assert!(
                fine,
                "{}",
                say(&format!("dbbackup {arguments}: {}\n{said}", output.status))
            );
        };
        COMMANDS.iter().for_each(|arguments| call(arguments));
        let ids: Vec<String> = altered
            .iter()
            .filter_map(|document| Some(document["id"].as_str()?.to_owned()))
            .collect();
        for id in ids.iter().filter(|id| {
            id.len() < 100
                && !id.is_empty()
                && !id.contains(|c: char| c.is_whitespace() || c == '\0' || c == '/')
        }) {
            let document = altered
                .iter()
                .find(|document| document["id"] == id.as_str());
            let home = world.path("");
            for arguments in FOR_EACH {
                // As root it would replace what is there: the machine's own files.
                if *arguments != IN_PLACE || stays_below(&home, &document.unwrap()["database"]) {
                    call(&arguments.replace("ID", id));
                }
            }
        }
        std::fs::remove_dir_all(&copy).unwrap();
        // What was restored from one altered backup is not what the next one is made of.
        for name in std::fs::read_dir(world.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let name_text = name.file_name().unwrap().to_string_lossy().into_owned();
            if name_text.starts_with("to-") || name_text.starts_with("csv-") {
                let _ = std::fs::remove_dir_all(&name).or_else(|_| std::fs::remove_file(&name));
            }
        }
    }
    until("scratch is empty", || {
        std::fs::read_dir(world.path("scratch")).unwrap().count() == 0
    });
}

/// Several backups of each source, a word or more of each altered; gives back the sidecars.
fn alter_all(store: &std::path::Path, random: &mut Random) -> Vec<Value> {
    let mut altered = Vec::new();
    for source in ["app", "tree"] {
        let dir = store.join(source);
        let names: Vec<String> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let event = names
            .iter()
            .find(|name| name.ends_with(".event.json"))
            .unwrap();
        // The id ends at the first dot behind its label: these sources have none in their names.
        let id = event.split('.').next().unwrap().to_owned();
        let read = |name: String| -> Value {
            serde_json::from_slice(&std::fs::read(dir.join(name)).unwrap()).unwrap()
        };
        let (sidecar, original) = (enriched(read(format!("{id}.json"))), read(event.clone()));
        for number in 0..4 {
            let copy = format!("{source}_x_2026110{number}T000000Z");
            let mut sidecar: Value =
                serde_json::from_str(&sidecar.to_string().replace(&id, &copy)).unwrap();
            sidecar["label"] = "x".into();
            for name in names
                .iter()
                .filter(|name| name.starts_with(&id) && !name.ends_with(".json"))
            {
                std::fs::copy(dir.join(name), dir.join(name.replace(&id, &copy))).unwrap();
            }
            for _ in 0..=random.below(3) {
                alter(&mut sidecar, random);
            }
            let mut altered_event = original.clone();
            alter(&mut altered_event, random);
            std::fs::write(dir.join(format!("{copy}.json")), sidecar.to_string()).unwrap();
            if random.below(3) > 0 {
                let name = event.replace(&id, &copy);
                std::fs::write(dir.join(name), altered_event.to_string()).unwrap();
            }
            altered.push(sidecar);
        }
    }
    for source in ["c.shop", "c.other"] {
        let dir: PathBuf = store.join(source);
        std::fs::create_dir(&dir).unwrap();
        let (mut sidecar, id) = postgres(source);
        for _ in 0..=random.below(3) {
            alter(&mut sidecar, random);
        }
        std::fs::File::create(dir.join(format!("{id}.dump.gz")))
            .unwrap()
            .write_all(b"PGDM")
            .unwrap();
        std::fs::write(dir.join(format!("{id}.json")), sidecar.to_string()).unwrap();
        altered.push(sidecar);
    }
    altered
}

#[test]
fn the_calendars_ends_in_a_sidecar_stop_nothing() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 1\nmax_age = '1d'\n[sources.app]\nkind \
         = 'sqlite'\npath = 'app.db'\n",
    );
    world.dbbackup("backup").run().exits(0);
    let old = world.history("app", "manual", &[48, 72, 96]);
    for (id, at) in old.iter().zip([
        "+262142-12-31T23:59:59.999999Z",
        "-262143-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
    ]) {
        world.edit_sidecar(id, |sidecar| {
            sidecar["started_at"] = at.into();
            sidecar["finished_at"] = at.into();
        });
    }
    world.dbbackup("backup").run().exits(0);
    world.dbbackup("cleanup").run().exits(0);
    assert!(
        world.sidecar_path(&old[0]).is_file() && world.sidecar_path(&old[2]).is_file(),
        "they lie in the future"
    );
}

#[test]
fn nothing_that_strangers_wrote_steers_a_terminal() {
    let world = World::new();
    let sql =
        format!("CREATE TABLE \"{WILD}\"(\"{WILD}\" TEXT); INSERT INTO \"{WILD}\" VALUES ('x')");
    Connection::open(world.path("app.db"))
        .unwrap()
        .execute_batch(&sql)
        .unwrap();
    world.file(&format!("tree/{}", WILD.replace('/', "")), "x");
    // A hook that says it, and keeps what it is told; a source that is not there, by a name of
    // somebody else's.
    let hook = world.script(
        "hook",
        "#!/bin/sh\nprintf '%s' \"$WILD\"; printf '%s' \"$DBBACKUP_ERROR\" > error\n",
    );
    world.config(&format!(
        "[store]\npath = 'store'\n[log]\nfile = 'log'\nlevel = 'debug'\n[sources.app]\nkind = \
         'sqlite'\npath = 'app.db'\n\
         [sources.app.hooks]\nafter = ['{hook}']\n[sources.tree]\nkind = 'files'\npaths = \
         ['tree']\n\
         [sources.gone]\nkind = 'sqlite'\npath = \"gone{}\"\n[sources.gone.hooks]\non_failure = \
         ['{hook}']\n",
        WILD.replace('\u{1b}', "\\u001b")
            .replace('\u{7}', "\\u0007")
            .replace('\r', "\\r")
            .replace('\u{7f}', "\\u007f"),
        hook = hook.display(),
    ));
    let call = |arguments: &[&str]| {
        let ran = world.dbbackup_with(arguments).env("WILD", WILD).run();
        for text in [&ran.stdout, &ran.stderr] {
            assert_tame(text, &arguments.join(" "));
        }
        ran
    };
    call(&["backup", "-vv"]).exits(3);
    let told = std::fs::read_to_string(world.path("error")).unwrap();
    assert!(told.contains("gone"), "{told}");
    assert_tame(&told, "DBBACKUP_ERROR");
    // What another one's store may say; and a holder of its lock.
    let id = world.ids("app").remove(0);
    world.edit_sidecar(&id, |sidecar| {
        sidecar["description"] = WILD.into();
        sidecar["tags"] = json!({ WILD: WILD });
        sidecar["warnings"] = json!([WILD]);
        sidecar["producer"][WILD] = WILD.into();
        sidecar["producer"]["host"] = WILD.into();
        sidecar["verifications"] = json!([{"at": "2026-11-20T02:00:42Z", "level": "content",
            "status": "damaged", "duration_seconds": 1, "detail": WILD}]);
    });
    let failed = world.copy_backup(&id, "x", chrono::Utc::now());
    world.edit_sidecar(&failed, |sidecar| {
        sidecar["status"] = "failed".into();
        sidecar["error"] = json!({"message": WILD, "hint": WILD});
        sidecar.as_object_mut().unwrap().remove("dump");
    });
    let tree = world.ids("tree").remove(0);
    let commands = [
        "list --status all",
        "list --status all --json",
        "show ID",
        "show ID --contents",
        "show ID --contents --json",
        "show TREE --contents",
        "show TREE --contents --json",
        "status",
        "status --json",
        "status --nagios",
        "status --prometheus x.prom",
        "stats",
        "doctor",
        "doctor --json",
        "verify --all --level restore",
        "verify ID --level restore --json",
        "restore ID --dry-run",
        "restore ID --to to.db",
        "restore TREE --to to",
        "export ID --format csv --to csv",
        "export ID --format json --to json",
        "cleanup --keep-last 1 -n",
        "backup --dry-run",
        "init there",
        "pin ID",
    ];
    for command in commands {
        let command = command.replace("ID", &id).replace("TREE", &tree);
        call(&command.split(' ').collect::<Vec<_>>());
        // Colours are ours alone.
        let coloured: Vec<&str> = ["--color", "always"]
            .into_iter()
            .chain(command.split(' '))
            .collect();
        let ran = world.dbbackup_with(&coloured).run();
        let without = ["0", "1", "31", "32", "33"]
            .iter()
            .fold(ran.stdout.clone() + &ran.stderr, |text, code| {
                text.replace(&format!("\x1b[{code}m"), "")
            });
        assert_tame(&without, &command);
        assert!(!ran.stdout.contains("\x1b[31mred"), "{ran}");
    }
    for arguments in [
        ["show", WILD],
        ["list", WILD],
        ["restore", WILD],
        ["backup", WILD],
        ["verify", WILD],
        [WILD, WILD],
        ["list", "--wild"],
    ] {
        call(&arguments);
    }
    for options in [["--config", WILD], ["--store", WILD], ["--lock-wait", WILD]] {
        call(&[options[0], options[1], "list"]);
    }
    let _lock = world.hold_lock(
        "app",
        &json!({"pid": 1, "command": WILD, "started_at": "2026-11-20T02:00:00Z"}).to_string(),
    );
    call(&["backup", "app"])
        .exits(11)
        .says("is locked by pid 1");
    assert_tame(&std::fs::read_to_string(world.path("log")).unwrap(), "log");
    assert_tame(
        &std::fs::read_to_string(world.path("x.prom")).unwrap(),
        "metrics",
    );
    let exported: Vec<String> = std::fs::read_dir(world.path("csv"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    exported.iter().for_each(|name| assert_tame(name, "export"));
}

/// A relative path in a sidecar would mean another file in each directory that somebody is in.
#[test]
fn a_relative_path_in_a_sidecar_is_no_place_to_restore_to() {
    let world = World::new();
    world.shop("app.db");
    world.file("tree/a.txt", "text");
    let app = world.with_store("backup app.db --json").run().made()["id"].clone();
    let tree = world.with_store("backup tree --json").run().made()["id"].clone();
    let (app, tree) = (app.as_str().unwrap(), tree.as_str().unwrap());
    world.edit_sidecar(app, |sidecar| {
        sidecar["database"]["path"] = "victim.db".into()
    });
    world.edit_sidecar(tree, |sidecar| {
        sidecar["database"]["paths"] = json!(["victim"])
    });
    for id in [app, tree] {
        let ran = world.with_store(&format!("restore {id} --yes")).run();
        assert_ne!(ran.code(), 0);
        ran.says("--to");
    }
    assert!(!world.path("victim.db").exists() && !world.path("victim").exists());
}
