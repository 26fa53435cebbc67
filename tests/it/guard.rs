//! `guard`: a proven backup before a program, the program's own exit code, and the way back.

use crate::cluster::Cluster;
use crate::postgres_world::Shop;
use crate::support::{World, contents, until};
use crate::tools::have_terminal;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

/// A world with a database and programs that change it.
fn world() -> World {
    let world = World::new();
    let path = world.database(
        "app.db",
        "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2);",
    );
    world.config(&format!(
        "[store]\npath = \"store\"\n[sources.app]\nkind = \"sqlite\"\npath = {path:?}\n"
    ));
    world.script(
        "upgrade",
        "#!/bin/sh\nsqlite3 app.db 'DELETE FROM t; ALTER TABLE t ADD y'\nexit ${1:-0}\n",
    );
    world
}

#[test]
fn a_program_that_succeeds_has_its_own_outputs() {
    let world = world();
    let script = "cat; echo to stdout; echo to stderr >&2; echo \
                  $DBBACKUP_ID/$DBBACKUP_SOURCE/$DBBACKUP_LABEL/$DBBACKUP_STORE; echo \
                  $DBBACKUP_CONFIG";
    let mut call = world.dbbackup_with(&["guard", "app", "--", "sh", "-c", script]);
    let typed = world.file("typed", "from stdin\n");
    call.command.stdin(std::fs::File::open(typed).unwrap());
    let ran = call
        .run()
        .exits(0)
        .says("to stderr")
        .says("ok app_pre-upgrade_")
        .says(": content (");
    let id = world.ids("app").remove(0);
    assert!(id.starts_with("app_pre-upgrade_"), "{id}");
    let store = world.path("store");
    assert_eq!(
        ran.stdout,
        format!(
            "from stdin\nto stdout\n{id}/app/pre-upgrade/{}\n{}\n",
            store.display(),
            world.path("dbbackup.toml").display()
        )
    );
    let events = world.events(&id);
    assert_eq!(events.len(), 1);
    assert!(
        std::fs::read_to_string(&events[0])
            .unwrap()
            .contains("content")
    );
}

#[test]
fn a_failure_prints_the_way_back_and_it_works() {
    let world = world();
    let before = contents(&world.path("app.db"));
    let ran = world
        .dbbackup("-c ./dbbackup.toml --store ./store guard --label pre-v2 -- ./upgrade 7")
        .run()
        .exits(7);
    let id = world.ids("app").remove(0);
    let command = format!("dbbackup --config ./dbbackup.toml --store ./store restore {id}");
    let ran = ran
        .says("error: `./upgrade 7` failed with exit status 7")
        .says(&format!("hint: to go back to before it: `{command}`"));
    assert_ne!(contents(&world.path("app.db")), before, "{ran}");
    world
        .dbbackup(&format!(
            "{} --yes",
            command.strip_prefix("dbbackup ").unwrap()
        ))
        .run()
        .exits(0);
    assert_eq!(contents(&world.path("app.db")), before);
}

#[test]
fn without_a_backup_of_each_source_that_was_named_nothing_is_run() {
    let world = world();
    let other = world.database("old.db", "CREATE TABLE t(x);");
    let mut config = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    config += &format!(
        "[sources.old]\nkind = \"sqlite\"\npath = {other:?}\nend = '2001-01-01'\n[groups]\nall = \
         ['app', 'old']\n"
    );
    world.config(&config);
    let before = contents(&world.path("app.db"));
    for what in ["old", "app old", "all"] {
        world
            .dbbackup(&format!("guard {what} -- ./upgrade"))
            .run()
            .exits(125)
            .says("`old`")
            .says("hint: ");
        assert_eq!(contents(&world.path("app.db")), before);
    }
    world.dbbackup("guard app -- ./upgrade").run().exits(0);
    assert_ne!(contents(&world.path("app.db")), before);
}

#[test]
fn a_failure_is_undone_where_that_was_asked() {
    let world = world();
    let before = contents(&world.path("app.db"));
    world
        .dbbackup("guard --restore-on-failure -- ./upgrade")
        .run()
        .exits(0)
        .never_says("restored to");
    assert_ne!(contents(&world.path("app.db")), before);
    world.sql(
        "app.db",
        "DROP TABLE t; CREATE TABLE t(x); INSERT INTO t VALUES (1), (2);",
    );
    let before = contents(&world.path("app.db"));
    let ran = world
        .dbbackup("guard --restore-on-failure -- ./upgrade 3")
        .run()
        .exits(3);
    ran.says("`./upgrade 3` failed with exit status 3")
        .says("restored to")
        .says("all that was saved is back as it was before `./upgrade 3`");
    assert_eq!(contents(&world.path("app.db")), before);
}

/// The journal mode is in the file, and a part of how it was.
#[test]
fn the_journal_mode_goes_back_too() {
    for (then, now) in [("delete", "wal"), ("wal", "delete")] {
        let world = world();
        world.sql("app.db", &format!("PRAGMA journal_mode = {then}"));
        world.script(
            "upgrade",
            &format!(
                "#!/bin/sh\nsqlite3 app.db 'PRAGMA journal_mode = {now}; DELETE FROM t'\nexit 1\n"
            ),
        );
        world
            .dbbackup("guard --restore-on-failure -- ./upgrade")
            .run()
            .exits(1)
            .says("all that was saved is back as it was");
        let conn = rusqlite::Connection::open(world.path("app.db")).unwrap();
        assert_eq!(
            conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap(),
            then
        );
    }
}

#[test]
fn several_sources_go_back_together_and_the_failed_one_is_named() {
    let world = World::new();
    for name in ["one", "two"] {
        world.database(
            &format!("{name}.db"),
            "CREATE TABLE t(x); INSERT INTO t VALUES (1);",
        );
    }
    world.config(
        "[store]\npath = \"store\"\n[sources.one]\nkind = \"sqlite\"\npath = \
         \"one.db\"\n[sources.two]\nkind = \"sqlite\"\npath = \"two.db\"\n",
    );
    let before = ["one.db", "two.db"].map(|name| contents(&world.path(name)));
    world.script(
        "upgrade",
        "#!/bin/sh\nfor d in one two; do sqlite3 $d.db 'DELETE FROM t'; done; exit 1\n",
    );
    world
        .dbbackup("guard --restore-on-failure -- ./upgrade")
        .run()
        .exits(1);
    assert_eq!(
        ["one.db", "two.db"].map(|name| contents(&world.path(name))),
        before
    );
    // The first can't be put back: the second is all the same.
    world.script(
        "worse",
        "#!/bin/sh\nsqlite3 two.db 'DELETE FROM t'; rm one.db; mkdir one.db; exit 9\n",
    );
    let ran = world
        .dbbackup("guard --restore-on-failure --json -- ./worse")
        .run()
        .exits(125);
    let ran = ran
        .says("one.db` is a directory")
        .says("and not everything could be put back")
        .says(&format!(
            "hint: mend that, then: `dbbackup --config {} restore one_",
            world.path("dbbackup.toml").display()
        ));
    let json = ran.json();
    assert_eq!(
        (&json["outcome"], &json["status"], &json["command"]),
        (&"failed".into(), &9.into(), &"guard".into())
    );
    assert!(
        json["restore_command"]
            .as_str()
            .unwrap()
            .contains("/dbbackup.toml restore one_pre-upgrade_"),
        "{json}"
    );
    assert_eq!(json["restored"].as_array().unwrap().len(), 1);
    assert_eq!(contents(&world.path("two.db")), before[1]);
}

#[test]
fn without_a_proven_backup_nothing_is_run() {
    let world = world();
    world.script("touch-it", "#!/bin/sh\ntouch ran\n");
    let never = |arguments: &str, why: &str| {
        let ran = world.dbbackup(arguments).run().exits(125).says(why);
        assert!(!world.path("ran").exists(), "{ran}");
    };
    never("guard nothing -- ./touch-it", "`nothing`");
    never(
        "guard app -- ./no-such-program",
        "there is no program `./no-such-program`",
    );
    never("guard app -- no-such-program-anywhere", "in PATH");
    never("guard app -- ./dbbackup.toml", "is no program");
    assert!(world.attempts("app").is_empty());
    never("guard app --label a_b -- ./touch-it", "can't be a label");
    never("-c missing.toml guard app -- ./touch-it", "missing.toml");
    let lock = world.hold_lock("app", "");
    never("guard app -- ./touch-it", "there is no proven backup");
    drop(lock);
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    never("guard app -- ./touch-it", "there is no proven backup");
    std::fs::rename(world.path("away.db"), world.path("app.db")).unwrap();
    // A sound file whose content is not: found by the verification.
    let page = std::fs::metadata(world.path("app.db")).unwrap().len() as usize - 4096;
    let mut bytes = std::fs::read(world.path("app.db")).unwrap();
    bytes[page + 5..page + 40].fill(0xff);
    std::fs::write(world.path("app.db"), &bytes).unwrap();
    never("guard app -- ./touch-it", "there is no proven backup");
    // Nor may a mistyped option be taken for the program's own exit code.
    never("guard app", "required arguments");
    never("-q guard app --lvel content -- ./touch-it", "--lvel");
    world.dbbackup("backup guard --lvel").run().exits(2);
    world.dbbackup("guard --help").run().exits(0);
}

#[test]
fn json_is_one_document_whatever_the_program_prints() {
    let world = world();
    let ran = world
        .dbbackup("guard --json -- echo hello")
        .run()
        .exits(0)
        .says("hello");
    let json = ran.json();
    assert_eq!(
        (&json["outcome"], &json["status"]),
        (&"ok".into(), &0.into())
    );
    assert_eq!(json["backups"].as_array().unwrap().len(), 1);
    assert_eq!(json["results"][0]["status"], "ok");
    let json = world
        .dbbackup("guard --json -- sh -c false")
        .run()
        .exits(1)
        .json();
    assert_eq!(json["outcome"], "failed");
    assert!(
        json["error"]
            .as_str()
            .unwrap()
            .contains("failed with exit status 1"),
        "{json}"
    );
    assert!(
        json["hint"]
            .as_str()
            .unwrap()
            .contains("/dbbackup.toml restore app_pre-upgrade_"),
        "{json}"
    );
}

#[test]
fn quiet_says_nothing_of_a_success() {
    let world = world();
    world.dbbackup("-q guard -- true").run().exits(0).silent();
}

#[test]
fn signals_reach_the_program_and_its_end_is_told() {
    let world = world();
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let script = format!("#!/bin/sh\nexec sleep 600 >begun-{name}\n");
        world.script(&format!("wait-{name}"), &script);
        let mut call = world.dbbackup(&format!("guard -- ./wait-{name}"));
        let child = call
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("the program", || {
            world.path(&format!("begun-{name}")).exists()
        });
        Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains(&format!("was ended by signal {}", code - 128))
                && said.contains("/dbbackup.toml restore app_"),
            "{said}"
        );
    }
}

/// A program that cleans up on SIGTERM and fails is undone all the same, and a signal that came for
/// it ends nothing of ours. (It ends of the second one only: one that came after its end would be
/// for us.)
#[test]
fn a_signal_for_the_program_does_not_stop_the_restore() {
    let world = world();
    let before = contents(&world.path("app.db"));
    world.script(
        "wait",
        "#!/bin/sh\ntrap : INT\ntrap 'exit 5' TERM\nsqlite3 app.db 'DROP TABLE t'\ntouch \
         begun\nwhile :; do sleep 0.05; done\n",
    );
    let mut call = world.dbbackup("guard --restore-on-failure -- ./wait");
    let child = call
        .command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the program", || world.path("begun").exists());
    for name in ["-INT", "-TERM"] {
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(contents(&world.path("app.db")), before);
}

#[test]
fn nothing_is_removed_before_the_program() {
    let world = world();
    let path = world.path("app.db");
    world.config(&format!(
        "[store]\npath = \"store\"\n[retention]\nmax_count = 1\n[sources.app]\nkind = \
         \"sqlite\"\npath = {path:?}\n"
    ));
    for _ in 0..2 {
        world.dbbackup("guard -- true").run().exits(0);
    }
    assert_eq!(world.stored("app", ".gz").len(), 2);
}

#[test]
fn a_postgresql_database_goes_back() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let shop = Shop::small(cluster);
    let psql = cluster.bin().join("psql");
    let sql = "DROP TABLE orders; UPDATE customers SET name = 'gone'";
    let url = shop.db.url();
    let words = [
        "guard",
        "shop",
        "--restore-on-failure",
        "--",
        psql.to_str().unwrap(),
        "-Xq",
        "-d",
        &url,
        "-c",
        sql,
        "-c",
        "nonsense",
    ];
    shop.world
        .dbbackup_with(&words)
        .run()
        .exits(1)
        .says("syntax error")
        .says("all that was saved is back as it was");
    assert_eq!(
        shop.db
            .value("SELECT (SELECT count(*) FROM orders) || ' ' || min(name) FROM customers"),
        "1000 customer 1"
    );
}

/// A key on the terminal reaches the program by itself; passed on as well it would be a second
/// Ctrl-C.
#[test]
fn a_key_reaches_the_program_once() {
    if !have_terminal() {
        return;
    }
    let world = world();
    world.script(
        "count",
        "#!/bin/sh\nn=0\ntrap 'n=$((n+1))' INT\necho ready\nwhile [ $n = 0 ]; do sleep 0.05; \
         done\nfor i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done\nexit $((n + 10))\n",
    );
    // The shell has the key, too, and must not end of it.
    let line = format!(
        "trap : INT; {} guard -- ./count; echo \"exit $?\"",
        env!("CARGO_BIN_EXE_dbbackup")
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(world.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut shown = BufReader::new(terminal.stdout.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("ready\r\n") {
        assert_ne!(shown.read_line(&mut said).unwrap(), 0, "{said}");
    }
    keys.write_all(b"\x03").unwrap();
    shown.read_to_string(&mut said).unwrap();
    drop(keys);
    terminal.wait().unwrap();
    assert!(said.contains("exit 11"), "{said}");
}
