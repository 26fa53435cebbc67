//! `[log]` and the journal: the whole story of a run in the file, whatever the options silence;
//! never a secret, and never a reason to fail.

use crate::support::{World, set_mode};
use crate::tools::lack;
use std::os::unix::fs::MetadataExt;

fn world(tables: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n{tables}"
    ));
    world
}

fn log(world: &World) -> String {
    std::fs::read_to_string(world.path("log")).unwrap()
}

/// `2026-11-20T02:00:41.123Z info    [4711] text`: the level and the text of each line.
fn events(world: &World) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'),
            "{line}"
        );
        let (level, rest) = rest.split_once('[').unwrap();
        let (pid, text) = rest.split_once("] ").unwrap();
        assert!(pid.parse::<u32>().is_ok(), "{line}");
        (level.trim().to_owned(), text.to_owned())
    };
    log(world).lines().map(parse).collect()
}

#[track_caller]
fn holds(events: &[(String, String)], level: &str, parts: &[&str]) {
    let fits = |(known, text): &(String, String)| {
        known == level && parts.iter().all(|part| text.contains(part))
    };
    assert!(
        events.iter().any(fits),
        "no {level} with {parts:?} in {events:#?}"
    );
}

#[test]
fn the_whole_story_is_in_it_also_of_a_quiet_run() {
    let hooks = "[log]\nfile = 'log'\n[retention]\nkeep_last = 1\n[sources.app.hooks]\nbefore = \
                 'echo stopping; echo \"  it\" >&2'\n";
    let world = world(hooks);
    world
        .dbbackup("backup -q --label old --tag password=hunter2")
        .run()
        .exits(0)
        .silent();
    let made = world
        .dbbackup("backup --label old --json")
        .run()
        .exits(0)
        .json();
    let (id, run) = (
        made["backups"][0]["id"].as_str().unwrap(),
        made["backups"][0]["run"].as_str().unwrap(),
    );
    let seen = events(&world);
    holds(
        &seen,
        "info",
        &[
            "started: dbbackup backup -q --label old",
            "configuration ",
            "dbbackup.toml",
        ],
    );
    holds(&seen, "info", &[&format!("run {run}: app into "), "store"]);
    holds(&seen, "info", &["app: hook `before`: echo stopping"]);
    holds(&seen, "info", &["app: hook `before`: | stopping"]);
    holds(&seen, "info", &["app: hook `before` ended after"]);
    holds(
        &seen,
        "info",
        &[
            &format!("ok {id}: "),
            " from ",
            "1,100 rows in 2 tables, checksum verified",
        ],
    );
    holds(
        &seen,
        "info",
        &["app: removed app_old_", "no rule keeps it"],
    );
    holds(&seen, "info", &["ended: backup ok, exit code 0"]);
    assert!(!log(&world).contains("hunter2") && !log(&world).contains('\x1b'));
    assert_eq!(
        std::fs::metadata(world.path("log")).unwrap().mode() & 0o777,
        0o600
    );
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    world.dbbackup("backup").run().exits(1);
    let seen = events(&world);
    holds(&seen, "error", &["app: ", "app.db", "(hint: "]);
    holds(&seen, "info", &["app: failed attempt app_manual_", " kept"]);
    holds(&seen, "info", &["ended: backup failed, exit code 1"]);
    assert!(seen.iter().all(|(level, _)| level != "debug"));
}

#[test]
fn commands_that_only_look_leave_it_alone_and_others_do_not() {
    let world = world("[log]\nfile = 'log'\n[retention]\nkeep_last = 1\n");
    world.dbbackup("backup").run().exits(0);
    let before = log(&world);
    for command in ["list", "show app", "backup --bad-flag"] {
        world.dbbackup(command).run();
    }
    assert_eq!(log(&world), before);
    for command in [
        "verify",
        "pin app",
        "unpin app",
        "cleanup --dry-run",
        "restore app --to x.db",
    ] {
        world.dbbackup(command).run().exits(0);
        holds(
            &events(&world),
            "info",
            &[&format!("started: dbbackup {command} ")],
        );
        holds(
            &events(&world),
            "info",
            &[&format!("ended: {} ok", command.split(' ').next().unwrap())],
        );
    }
}

#[test]
fn the_level_is_the_configurations() {
    for (level, known) in [
        ("error", "error"),
        ("warning", "warning"),
        ("info", "info"),
        ("debug", "debug"),
    ] {
        let world = world(&format!(
            "[sources.gone]\nkind = 'sqlite'\npath = 'gone.db'\n[log]\nfile = 'log'\nlevel = \
             '{level}'\n"
        ));
        world.dbbackup("backup").run().exits(3);
        let order = ["error", "warning", "info", "debug"];
        let most = order.iter().position(|word| *word == known).unwrap();
        let mut seen: Vec<usize> = events(&world)
            .iter()
            .map(|(word, _)| order.iter().position(|known| known == word).unwrap())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..=most).collect::<Vec<_>>(), "{level}");
    }
}

#[test]
fn it_is_rotated_by_size() {
    let world = world("[log]\nfile = 'log'\nmax_size = '1 KiB'\nkeep = 2\n");
    for _ in 0..8 {
        world.dbbackup("backup").run().exits(0);
    }
    let long = |name: &str| std::fs::metadata(world.path(name)).unwrap().len();
    assert!(long("log") <= 1024 && long("log.1") <= 1024 && long("log.2") <= 1024);
    assert!(!world.path("log.3").exists());
    assert!(log(&world).ends_with('\n') && log(&world).contains("ended: backup ok"));
}

#[test]
fn a_log_that_can_not_be_written_is_a_warning_and_no_more() {
    let world = world("[log]\nfile = 'missing/log'\n");
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("warning: opening the log `")
        .says("no such file or directory; nothing is logged");
    assert_eq!(world.ids("app").len(), 1);
    // A disk that fills up on the way.
    if std::path::Path::new("/dev/full").exists() {
        let text = std::fs::read_to_string(world.path("dbbackup.toml"))
            .unwrap()
            .replace("missing/log", "/dev/full");
        world.config(&text);
        world
            .dbbackup("backup")
            .run()
            .exits(0)
            .says("it is not a regular file; nothing is logged");
    }
    for (lines, why) in [
        ("level = 'info'", "[log] has no `file`"),
        (
            "file = 'log'\nlevel = 'loud'",
            "expected one of \"error\", \"warning\", \"info\", \"debug\"",
        ),
        ("file = 'log'\nsize = 1", "unknown key `size` in [log]"),
    ] {
        world.config(&format!("[log]\n{lines}\n"));
        world.dbbackup("backup").run().exits(2).says(why);
    }
}

#[test]
fn lines_for_the_journal_have_their_priority() {
    let world = world("[sources.gone]\nkind = 'sqlite'\npath = 'gone.db'\n");
    let run = |name: &str, arguments: &str, stream: Option<String>| {
        let path = world.path(name);
        let file = std::fs::File::create(&path).unwrap();
        set_mode(&path, 0o600);
        let found = file.metadata().unwrap();
        let stream = stream.unwrap_or_else(|| format!("{}:{}", found.dev(), found.ino()));
        let mut call = world.dbbackup(arguments).env("JOURNAL_STREAM", &stream);
        call.command.stderr(file);
        call.command
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    let said = run("said", "backup -v --color always", None);
    let priorities: Vec<&str> = said
        .lines()
        .map(|line| line.get(..3).unwrap_or_default())
        .collect();
    assert!(
        said.contains("<3>error: gone: ")
            && said.contains("<3>hint: ")
            && said.contains("<4>warning: 1 of 2: app ok; gone failed"),
        "{said}"
    );
    assert!(said.contains("<6>run ") && !said.contains('\x1b'), "{said}");
    assert!(
        priorities
            .iter()
            .all(|found| ["<3>", "<4>", "<6>", "<7>"].contains(found)),
        "{said}"
    );
    assert!(run("said", "backup --bad", None).starts_with("<3>error: unexpected argument"));
    // Another stream's number: this one is no journal.
    assert!(!run("said", "backup", Some("1:2".into())).contains("<3>"));
}

#[test]
fn logrotate_rotates_it_as_the_example_says() {
    let world = world("[log]\nfile = 'log'\n");
    let example = include_str!("../../examples/logrotate");
    let text = example
        .replace("/var/log/dbbackup.log", world.path("log").to_str().unwrap())
        .replace(" root root", "");
    let (config, state) = (world.file("logrotate", &text), world.path("state"));
    set_mode(&config, 0o600);
    world.dbbackup("backup").run().exits(0);
    let before = log(&world);
    let rotated = std::process::Command::new("logrotate")
        .arg("--force")
        .arg("--state")
        .args([state, config])
        .output();
    let Ok(rotated) = rotated else {
        return lack("logrotate");
    };
    assert!(rotated.status.success(), "{rotated:?}");
    world.dbbackup("backup").run().exits(0);
    assert_eq!(
        std::fs::read_to_string(world.path("log.1")).unwrap(),
        before
    );
    assert!(log(&world).contains("ended: backup ok") && !log(&world).contains(&before));
}
