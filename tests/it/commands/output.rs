//! What is printed where: one JSON document, silence under cron, help with exit codes, and readers
//! that go away.

use crate::support::World;
use std::process::Stdio;

fn shop() -> World {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    world
}

#[test]
fn json_is_one_document_for_every_command() {
    let world = shop();
    let old = world.history("app", "manual", &[48]).remove(0);
    let commands = [
        ("backup app.db --label daily", "backup"),
        ("backup app.db -n", "backup"),
        ("list", "list"),
        ("show app --contents", "show"),
        ("verify", "verify"),
        ("verify --all --level checksum", "verify"),
        ("restore app --to new.db", "restore"),
        ("restore app -n", "restore"),
        ("restore app --yes", "restore"),
        ("cleanup --keep-last 9", "cleanup"),
        ("pin app", "pin"),
        ("unpin app", "unpin"),
        (&format!("delete {old} --yes"), "delete"),
        ("completions bash", "completions"),
        ("help retention", "help"),
        ("-V", "version"),
    ];
    for (line, command) in commands {
        for more in ["--json", "--json -q -v --no-progress --color always"] {
            if line.starts_with("delete") && more != "--json" {
                continue;
            }
            let line = if line == "restore app --to new.db" && more != "--json" {
                "restore app --to new2.db"
            } else {
                line
            };
            // `json` fails where anything else is on stdout.
            let json = world
                .with_store(&format!("{line} {more}"))
                .run()
                .exits(0)
                .json();
            assert_eq!(
                (&json["command"], &json["outcome"]),
                (&command.into(), &"ok".into()),
                "{line}"
            );
            assert!(
                json.get("error").is_none() && json.get("hint").is_none(),
                "{json}"
            );
        }
    }
}

#[test]
fn the_shapes_are_those_of_the_contract() {
    let world = shop();
    let id = world.ids("").remove(0);
    let json = |line: &str| {
        world
            .with_store(&format!("{line} --json"))
            .run()
            .exits(0)
            .json()
    };
    let list = json("list");
    assert_eq!(list["backups"][0]["id"], id.as_str());
    // The sidecar, with pins and later verifications merged in.
    let sidecar = world.sidecar(&id);
    for (key, value) in sidecar.as_object().unwrap() {
        assert_eq!(list["backups"][0][key], *value, "{key}");
    }
    assert_eq!(json("show app")["backup"], list["backups"][0]);
    let verify = json("verify");
    let result = &verify["results"][0];
    assert_eq!(
        (&result["id"], &result["level"], &result["status"]),
        (&id.as_str().into(), &"content".into(), &"ok".into())
    );
    let names: Vec<&str> = result["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["sha256", "content", "integrity", "rows"]);
    assert!(
        result["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["status"] == "ok" && check["detail"].is_string()),
        "{result}"
    );
    assert_eq!(
        json("list")["backups"][0]["verifications"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let restore = json("restore app --to new.db");
    assert!(
        restore["restored"][0]["undo"].is_null()
            && restore["restored"][0]["target"]
                .as_str()
                .unwrap()
                .ends_with("/new.db")
    );
    let cleanup = json("cleanup --keep-last 1");
    assert_eq!(
        (&cleanup["kept"][0]["id"], &cleanup["deleted"]),
        (&id.as_str().into(), &serde_json::json!([]))
    );
    assert_eq!(
        (&cleanup["deleted_count"], &cleanup["total_size_freed"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn errors_are_documents_as_well() {
    let world = shop();
    for (line, code) in [
        ("show nothing", 10),
        ("restore app", 2),
        ("backup gone.db", 10),
        ("cleanup", 2),
        ("verify nothing", 10),
        ("delete x --yes", 10),
    ] {
        let json = world
            .with_store(&format!("{line} --json"))
            .run()
            .exits(code)
            .says("error: ")
            .says("hint: ")
            .json();
        assert_eq!(
            (&json["command"], &json["outcome"]),
            (&line.split(' ').next().unwrap().into(), &"failed".into())
        );
        assert!(
            !json["error"].as_str().unwrap().is_empty()
                && !json["hint"].as_str().unwrap().is_empty(),
            "{json}"
        );
        assert!(!json["error"].as_str().unwrap().contains('\n'), "{json}");
    }
    for line in [
        "nonsense",
        "backup --nonsense",
        "show",
        "verify --level deep",
        "",
    ] {
        let json = world
            .dbbackup(&format!("--json {line}"))
            .run()
            .exits(2)
            .json();
        assert!(
            json["outcome"] == "failed" && json["error"].is_string(),
            "{json}"
        );
    }
}

#[test]
fn no_message_shows_a_bare_number_of_the_system() {
    let world = shop();
    for line in [
        "backup /nowhere/x.db",
        "restore app --to /nowhere/x/y.db",
        "list --store /nowhere/s",
        "show ./gone.gz",
        "--config /nowhere/c list",
    ] {
        let run = world.with_store(line).run();
        run.never_says("os error")
            .never_says("panicked")
            .never_says("RUST_BACKTRACE");
    }
}

#[test]
fn quiet_success_says_nothing() {
    let world = shop();
    for line in [
        "backup app.db",
        "verify",
        "verify --all --level restore",
        "restore app --to new.db",
        "restore app --yes",
        "cleanup --keep-last 2",
        "pin app",
        "unpin app",
    ] {
        world
            .with_store(&format!("-q {line}"))
            .run()
            .exits(0)
            .silent();
    }
    // Warnings come through, and so does what failed.
    world.file("empty.db", "");
    let warned = world
        .with_store("-q backup empty.db")
        .run()
        .exits(0)
        .says("warning: ");
    assert!(warned.stdout.is_empty());
    world
        .with_store("-q backup gone.db app.db")
        .run()
        .exits(3)
        .says("1 of 2: app ok; gone.db failed");
}

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let world = shop();
    let list = world.with_store("list").run().exits(0);
    assert!(
        list.stderr.is_empty() && list.stdout.starts_with("ID "),
        "{list}"
    );
    let backup = world.with_store("backup app.db").run().exits(0);
    assert!(
        backup.stdout.starts_with("ok app_manual_") && backup.stderr.is_empty(),
        "{backup}"
    );
    assert!(!backup.stdout.contains('\x1b'), "no colours into a pipe");
    world
        .with_store("list --color always")
        .run()
        .exits(0)
        .prints("\x1b[32mok");
    let failed = world.with_store("show nothing").run().exits(10);
    assert!(
        failed.stdout.is_empty() && failed.stderr.lines().count() == 2,
        "{failed}"
    );
}

#[test]
fn global_options_stand_anywhere() {
    let world = shop();
    world
        .dbbackup("list --store store --json -q")
        .run()
        .exits(0)
        .prints("app_manual_");
    world
        .dbbackup("--json -q --store store list")
        .run()
        .exits(0)
        .prints("app_manual_");
}

#[test]
fn help_lists_the_exit_codes() {
    let world = World::new();
    for command in [
        "",
        "backup",
        "list",
        "show",
        "verify",
        "restore",
        "cleanup",
        "pin",
        "unpin",
        "delete",
        "completions",
        "help",
    ] {
        let help = world.dbbackup(&format!("{command} --help")).run().exits(0);
        for line in [
            "Examples:",
            "Exit codes:",
            "0    all done",
            "2    wrong usage",
            "3    partly done",
            "4    a verified backup is damaged",
            "10 ",
            "11   another run",
            "130  interrupted",
        ] {
            assert!(help.stdout.contains(line), "`{line}` in {help}");
        }
        let short = world.dbbackup(&format!("{command} -h")).run().exits(0);
        assert!(short.stdout.contains("Usage: dbbackup"), "{short}");
    }
    let top = world.dbbackup("--help").run().exits(0);
    for command in [
        "backup",
        "list",
        "show",
        "verify",
        "restore",
        "cleanup",
        "pin",
        "unpin",
        "delete",
        "completions",
        "help",
    ] {
        assert!(top.stdout.contains(&format!("  {command} ")), "{top}");
    }
    world
        .dbbackup("")
        .run()
        .exits(2)
        .says("no command is given")
        .says("--help");
}

#[test]
fn completions_are_printed_without_any_store() {
    let world = World::new();
    for (shell, holds) in [
        ("bash", "_dbbackup"),
        ("zsh", "#compdef dbbackup"),
        ("fish", "complete -c dbbackup"),
        ("elvish", "dbbackup"),
        ("powershell", "dbbackup"),
    ] {
        world
            .dbbackup(&format!("completions {shell}"))
            .run()
            .exits(0)
            .prints(holds);
    }
    world.dbbackup("completions tcsh").run().exits(2);
    // A broken configuration is no reason to have none.
    world.config("nonsense");
    world.dbbackup("completions bash").run().exits(0);
    world.dbbackup("-V").run().exits(0).prints("dbbackup 0.");
    world
        .dbbackup("--version -v")
        .run()
        .exits(0)
        .prints("page streaming: ")
        .prints("pg_dump: ");
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let world = shop();
    for line in [
        "list",
        "list --json",
        "show app --contents",
        "completions bash",
        "help postgresql",
        "--help",
        "verify",
        "backup app.db",
    ] {
        let mut call = world.with_store(line);
        // A pipe that nobody reads.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = call
            .command
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(0) && !stderr.contains("panicked"),
            "{line}: {:?}\n{stderr}",
            output.status
        );
    }
    // Nor is one of stderr.
    let mut call = world.with_store("backup gone.db app.db");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = call
        .command
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
}
