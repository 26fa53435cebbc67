//! Hooks: what runs when, what it is told, and that what `before` stopped is started again whatever
//! happens.

use crate::moments::{PATIENCE, moments, point, timed};
use crate::support::{World, until};
use rustix::process::Signal;
use std::time::Instant;

/// A shop behind a configuration with these tables.
fn world(tables: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n{tables}"
    ));
    world
}

/// What hooks wrote with `echo … >> said`, line by line.
fn said(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.path("said")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// All three hooks of a table, each leaving what it is told.
fn telling(table: &str) -> String {
    let line = r#"echo "$DBBACKUP_HOOK [${DBBACKUP_SOURCE-}] ${DBBACKUP_STATUS-unset} ${DBBACKUP_ERROR-}" >> said"#;
    format!("[{table}]\nbefore = '''{line}'''\nafter = '''{line}'''\non_failure = '''{line}'''\n")
}

#[test]
fn they_run_around_the_run_and_around_each_source() {
    let world = world(&format!(
        "{}{}",
        telling("sources.app.hooks"),
        telling("hooks")
    ));
    world.dbbackup("backup").run().exits(0).never_says("hook");
    assert_eq!(
        said(&world),
        [
            "before [] unset ",
            "before [app] unset ",
            "after [app] ok ",
            "after [] ok "
        ]
    );
    world
        .dbbackup("backup -v")
        .run()
        .exits(0)
        .says("app: hook `before`: echo")
        .says("run: hook `after` ended after");
}

#[test]
fn they_are_told_of_the_backup() {
    let world = world(
        "[sources.app.hooks]\nafter = ['sh', '-c', 'env > told']\n[hooks]\nafter = 'env > \
         told.run; pwd >> told.run'\n",
    );
    // What another run has set is not this one's.
    let run = world
        .dbbackup("backup --label daily --json")
        .env("DBBACKUP_ERROR", "old")
        .env("DBBACKUP_FAILED", "old")
        .run()
        .exits(0);
    let made = run.made();
    let dump = world
        .path("store/app")
        .join(made["dump"]["file"].as_str().unwrap());
    let of = |file: &str| std::fs::read_to_string(world.path(file)).unwrap();
    let told = of("told");
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    for (name, value) in [
        ("HOOK", "after".to_owned()),
        ("SOURCE", "app".to_owned()),
        ("ID", text("id")),
        ("RUN", text("run")),
        ("LABEL", "daily".to_owned()),
        ("STATUS", "ok".to_owned()),
        ("DUMP", dump.display().to_string()),
        ("STORE", world.path("store").display().to_string()),
        ("CONFIG", world.path("dbbackup.toml").display().to_string()),
    ] {
        assert!(
            told.contains(&format!("DBBACKUP_{name}={value}\n")),
            "{name}: {told}"
        );
    }
    assert!(
        !told.contains("DBBACKUP_ERROR") && !told.contains("DBBACKUP_SOURCES"),
        "{told}"
    );
    let told = of("told.run");
    assert!(
        told.contains("DBBACKUP_SOURCES=app\n") && !told.contains("DBBACKUP_SOURCE="),
        "{told}"
    );
    assert!(
        told.ends_with(&format!(
            "{}\n",
            world.path("").display().to_string().trim_end_matches('/')
        )),
        "{told}"
    );
}

#[test]
fn a_before_that_fails_stops_its_source_alone_and_after_runs_all_the_same() {
    let hooks = "[sources.app.hooks]\nbefore = 'echo stopping; echo no such unit >&2; exit 5'\n\
                 after = 'echo after $DBBACKUP_STATUS $DBBACKUP_ID: $DBBACKUP_ERROR >> said'\n\
                 [sources.other]\nkind = 'sqlite'\npath = 'other.db'\n";
    let world = world(hooks);
    world.shop("other.db");
    let why = "the hook `before` failed (exit status 5): stopping; no such unit";
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says(&format!("error: app: {why}"))
        .says("1 of 2: other ok; app failed");
    let attempt = world.failed_attempt("app");
    assert_eq!(attempt["error"]["message"], why);
    assert_eq!(
        said(&world),
        [format!(
            "after failed {}: {why}",
            attempt["id"].as_str().unwrap()
        )]
    );
}

#[test]
fn a_runs_before_that_fails_stops_the_run_before_the_store_is_touched() {
    let world = world(&format!(
        "{}[hooks]\nbefore = ['false']\nafter = 'echo unmounted >> said'\n",
        telling("sources.app.hooks")
    ));
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("error: the run: the hook `before` failed (exit status 1)");
    assert!(!world.path("store").exists());
    assert_eq!(said(&world), ["unmounted"]);
    // It may be what makes the store's place.
    world.config(
        "[store]\npath = 'disk/store'\n[sources.app]\nkind = 'sqlite'\npath = \
                  'app.db'\n[hooks]\nbefore = 'mkdir disk'\nafter = 'mv disk away'\n",
    );
    world.dbbackup("backup").run().exits(0);
    assert!(world.path("away/store/app").is_dir() && !world.path("disk").exists());
}

#[test]
fn on_failure_is_told_of_every_failure_and_nothing_else() {
    let hook = |table: &str| {
        format!(
            "[{table}]\non_failure = 'echo {table} $DBBACKUP_STATUS ${{DBBACKUP_FAILED-}} \
             $DBBACKUP_ERROR >> said'\n"
        )
    };
    let broken = "[sources.gone]\nkind = 'sqlite'\npath = '${UNSET}'\n";
    let world = world(&format!(
        "{}{broken}{}{}",
        hook("sources.app.hooks"),
        hook("sources.gone.hooks"),
        hook("hooks")
    ));
    world.dbbackup("backup app").run().exits(0);
    assert_eq!(said(&world), [""; 0]);
    world.dbbackup("backup").run().exits(3);
    let lines = said(&world);
    assert!(
        lines.len() == 2
            && lines[0].starts_with("sources.gone.hooks failed ")
            && lines[0].contains("${UNSET}"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("hooks partial gone gone: "),
        "{lines:?}"
    );
    // Retention that held back is one, too.
    world.sql("app.db", "PRAGMA foreign_keys = OFF; DELETE FROM orders");
    world.dbbackup("backup app").run().exits(0);
    let text = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&format!("{text}[retention]\nkeep_last = 1\n"));
    world.sql("app.db", "DELETE FROM customer");
    world.dbbackup("backup app").run().exits(3);
    assert!(
        said(&world)[2].starts_with(
            "sources.app.hooks partial the backup was made, but retention is held back"
        ),
        "{:?}",
        said(&world)
    );
}

#[test]
fn an_after_that_fails_leaves_the_backup_and_no_success() {
    let world = world(
        "[sources.app.hooks]\nafter = 'echo cannot start; exit 1'\non_failure = 'echo told >> \
         said; exit 9'\n",
    );
    let run = world.dbbackup("backup").run().exits(3);
    run.says(
        "error: app: the backup was made, but the hook `after` failed (exit status 1): cannot \
              start",
    )
    .says("warning: app: the hook `on_failure` failed (exit status 9)");
    assert_eq!(
        (world.ids("app").len(), said(&world)),
        (1, vec!["told".to_owned()])
    );
    // The run's own.
    world.config(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = \
                  'app.db'\n[hooks]\nafter = 'exit 1'\n",
    );
    let json = world.dbbackup("backup --json").run().exits(3).json();
    assert!(
        json["error"]
            .as_str()
            .unwrap()
            .contains("the run: the hook `after` failed"),
        "{json}"
    );
    assert!(
        json["outcome"] == "partial" && json["backups"][0]["status"] == "ok",
        "{json}"
    );
}

#[test]
fn after_runs_when_a_signal_comes() {
    for (hooks, name) in [
        ("before = 'echo stopped > state; sleep 600'", "before"),
        ("before = 'echo stopped > state'", "backup"),
    ] {
        let world = world(&format!(
            "[sources.app.hooks]\n{hooks}\nafter = 'sleep 0.3; echo started > state'\n"
        ));
        let blocked = name == "backup";
        let held = blocked.then(|| {
            let conn = rusqlite::Connection::open(world.path("app.db")).unwrap();
            conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
            conn
        });
        let state = || std::fs::read_to_string(world.path("state")).unwrap_or_default();
        let backup = world.dbbackup("backup");
        let running = if blocked {
            backup
                .held_at(&world, point::DATABASE_BUSY)
                .signal(Signal::TERM)
        } else {
            let running = backup.start();
            until("the application is stopped", || state() == "stopped\n");
            running.signal(Signal::TERM);
            running
        };
        running
            .wait()
            .exits(130)
            .says("its hook `after` is run first");
        assert_eq!(state(), "started\n", "while {name} ran");
        drop(held);
    }
}

#[test]
fn a_hook_that_hangs_is_ended_with_what_it_started() {
    let world = world(
        "[sources.app.hooks]\ntimeout = '1s'\nbefore = 'echo $$ > leader; sleep 600 & sleep 600'\n",
    );
    let began = Instant::now();
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("the hook `before` took longer than 1.0 s and was ended")
        .says("hint: look what it waits for");
    assert!(began.elapsed() < PATIENCE);
    let leader = std::fs::read_to_string(world.path("leader")).unwrap();
    // What has ended may wait long for whoever reaps orphans here.
    let running = || {
        let listed = std::process::Command::new("ps")
            .args(["-eo", "pgid=,stat="])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().any(|line| {
            line.split_whitespace().next() == Some(leader.trim()) && !line.contains('Z')
        })
    };
    until("the end of the group", || !running());
}

#[test]
fn what_a_hook_leaves_in_the_background_goes_on() {
    let world = world("[sources.app.hooks]\nafter = 'sleep 600 & echo $! > pid'\n");
    let began = Instant::now();
    world.dbbackup("backup").run().exits(0);
    assert!(began.elapsed() < PATIENCE);
    let pid: i32 = std::fs::read_to_string(world.path("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn a_locked_source_runs_none_of_its_hooks() {
    let world = world(&format!(
        "{}[hooks]\non_failure = 'echo run $DBBACKUP_FAILED >> said'\n",
        telling("sources.app.hooks")
    ));
    world.dbbackup("backup").run().exits(0);
    std::fs::remove_file(world.path("said")).unwrap();
    let _held = world.hold_lock("app", "");
    world.dbbackup("backup").run().exits(11);
    assert_eq!(said(&world), ["run app"]);
}

#[test]
fn secrets_are_in_the_environment_and_nowhere_else() {
    let line = r#"test "$TOKEN" = hunter2 && echo "token $TOKEN, password=other, at https://u:third@host/" && exit 1"#;
    let world = world(&format!(
        "env_file = 'env'\n[sources.app.hooks]\nbefore = '''{line}'''\n"
    ));
    world.file("env", "TOKEN=hunter2\n");
    let run = world
        .dbbackup("backup -v")
        .run()
        .exits(1)
        .says("token ***, password= ***");
    run.never_says("hunter2")
        .never_says("third")
        .never_says("other");
    let stored = world.failed_attempt("app").to_string();
    assert!(
        !stored.contains("hunter2") && !stored.contains("third"),
        "{stored}"
    );
    world.config("[store]\npath = 'store'\n[hooks]\nbefore = ['curl', '${URL}']\n");
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("dbbackup.toml:4: `before` in [hooks]: `${…}` is not replaced in a list");
}

#[test]
fn a_dry_run_says_which_and_runs_none() {
    let world = world(
        "[sources.app.hooks]\nbefore = ['systemctl', 'stop', 'my app']\n[hooks]\nafter = 'curl \
         https://u:p@host/ > said'\n",
    );
    let run = world.dbbackup("backup -n").run().exits(0);
    run.prints("would run before app: systemctl stop 'my app'")
        .prints("would run after the run: curl https://u:***@host/");
    let json = world.dbbackup("backup -n --json").run().exits(0).json();
    assert_eq!(
        json["hooks"][1],
        serde_json::json!({"source": "app", "hook": "before", "command": "systemctl stop 'my app'"})
    );
    assert!(!world.path("said").exists());
}

#[test]
fn what_can_not_be_a_hook_is_refused_with_its_line() {
    for (value, why) in [
        ("''", "expected a shell line, found an empty string"),
        ("[]", "found no program"),
        (
            "7",
            "expected a shell line, or a list of a program and its arguments",
        ),
        ("[1]", "expected a string"),
    ] {
        let world = World::new();
        world.config(&format!("[hooks]\nafter = {value}\n"));
        world
            .dbbackup("backup")
            .run()
            .exits(2)
            .says("dbbackup.toml:2: `after` in [hooks]")
            .says(why);
    }
    let world = World::new();
    world.config("[sources.app]\nkind = 'sqlite'\npath = 'a'\nbefore = 'x'\n");
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("it belongs in [sources.app.hooks]");
    world.config("[hooks]\nbefore = 'x'\ntimeout = '0s'\n");
    world
        .dbbackup("backup")
        .run()
        .exits(2)
        .says("dbbackup.toml:3: `timeout` in [hooks]");
    // A list of lines is no program.
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n[hooks]\nbefore \
         = ['systemctl stop app']\n",
    );
    world
        .dbbackup("backup")
        .run()
        .exits(1)
        .says("starting `systemctl stop app`")
        .says("write a shell line as a string");
}

#[test]
fn a_restores_safety_backup_runs_none() {
    let world = world(&format!(
        "{}{}",
        telling("sources.app.hooks"),
        telling("hooks")
    ));
    world.dbbackup("backup").run().exits(0);
    std::fs::remove_file(world.path("said")).unwrap();
    world.dbbackup("restore app --yes").run().exits(0);
    assert_eq!(said(&world), [""; 0]);
}

#[test]
fn a_runs_after_runs_also_where_the_store_is_not_to_be_had() {
    let world = World::new();
    world.shop("app.db");
    let hook = "'echo $DBBACKUP_HOOK $DBBACKUP_STATUS $DBBACKUP_ERROR >> said'";
    world.config(&format!(
        "[store]\npath = 'missing/store'\n[sources.app]\nkind = 'sqlite'\npath = \
         'app.db'\n[hooks]\nafter = {hook}\non_failure = {hook}\n"
    ));
    world.dbbackup("backup").run().exits(1);
    let lines = said(&world);
    assert!(
        lines.len() == 2
            && lines[0].starts_with("after failed ")
            && lines[1].starts_with("on_failure failed "),
        "{lines:?}"
    );
    // Where there is nothing to do, nothing is stopped for it.
    std::fs::remove_file(world.path("said")).unwrap();
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\nend = \
         '2020-01-01'\n[hooks]\nbefore = {hook}\n"
    ));
    world.dbbackup("backup").run().exits(0).says("skipped");
    assert_eq!(said(&world), [""; 0]);
}

#[test]
fn hooks_of_sources_at_once_are_each_sources_own() {
    let world = World::new();
    let mut text = "[store]\npath = 'store'\n[backup]\njobs = 4\n".to_owned();
    for name in ["a", "b", "c", "d"] {
        world.shop(&format!("{name}.db"));
        let hook = "'echo $DBBACKUP_SOURCE $DBBACKUP_HOOK >> said'";
        text += &format!(
            "[sources.{name}]\nkind = 'sqlite'\npath = '{name}.db'\n[sources.{name}.hooks]\nbefore \
             = {hook}\nafter = {hook}\n"
        );
    }
    world.config(&text);
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .prints("4 of 4: a, b, c, d ok");
    let lines = said(&world);
    for name in ["a", "b", "c", "d"] {
        let own: Vec<&String> = lines.iter().filter(|line| line.starts_with(name)).collect();
        assert_eq!(own, [&format!("{name} before"), &format!("{name} after")]);
    }
}

#[test]
fn whenever_a_signal_comes_what_was_stopped_is_started_again() {
    let world = world(
        "[sources.app.hooks]\nbefore = 'echo stopped > state; sleep 0.02'\nafter = 'sleep 0.02; \
         echo started > state'\n",
    );
    let length = timed(world.dbbackup("backup"));
    let (mut stopped, mut untouched) = (0, 0);
    for moment in moments(length) {
        let _ = std::fs::remove_file(world.path("state"));
        let running = world.dbbackup("backup").start();
        std::thread::sleep(moment);
        running.signal(Signal::TERM);
        running.wait();
        match std::fs::read_to_string(world.path("state")).as_deref() {
            Ok(state) => {
                assert_eq!(state, "started\n", "after {moment:?}");
                stopped += 1;
            }
            Err(_) => untouched += 1,
        }
    }
    println!("{stopped} runs had stopped it, {untouched} had not begun");
}
