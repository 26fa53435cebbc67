//! One writer per source: who is locked out, who waits, and who need not care.

use crate::moments::point;
use crate::support::{World, until};

const HOLDER: &str =
    r#"{"pid": 4711, "command": "dbbackup backup app", "started_at": "2026-01-02T03:04:05Z"}"#;

fn two() -> World {
    let world = World::new();
    world.shop("app.db");
    world.shop("web.db");
    world.with_store("backup app.db web.db").run().exits(0);
    world
}

#[test]
fn a_locked_source_is_told_with_its_holder_and_is_no_failed_attempt() {
    let world = two();
    let lock = world.hold_lock("app", HOLDER);
    let told = world
        .with_store("backup app.db")
        .run()
        .exits(11)
        .says("`app`")
        .says("locked by pid 4711 (`dbbackup backup app`, since 2026-01-02 03:04:05 UTC)");
    told.says("--lock-wait");
    // What the file says is only for the message.
    world.file("store/app/.lock", "\0garbage");
    world
        .with_store("backup app.db")
        .run()
        .exits(11)
        .says("is locked");
    // The others go on.
    world
        .with_store("backup app.db web.db")
        .run()
        .exits(3)
        .says("1 of 2: web ok; app failed");
    for command in ["cleanup app --keep-last 1", "restore app --yes"] {
        world.with_store(command).run().exits(11).says("is locked");
    }
    let id = world.ids("app").remove(0);
    world
        .with_store(&format!("delete {id} --yes --force"))
        .run()
        .exits(11);
    assert_eq!(
        world.ids("app --status all").len(),
        1,
        "a locked source leaves no failed attempt"
    );
    drop(lock);
    world.with_store("backup app.db").run().exits(0);
}

#[test]
fn waiting_ends_when_the_lock_is_free_or_the_time_is_up() {
    let world = two();
    let lock = world.hold_lock("app", HOLDER);
    world
        .with_store("backup app.db --lock-wait 0")
        .run()
        .exits(11);
    world
        .with_store("--lock-wait 1s backup app.db")
        .run()
        .exits(11);
    world
        .with_store("--lock-wait soon backup app.db")
        .run()
        .exits(2)
        .says("`soon` is not a duration");
    let mut waiting = world.with_store("backup app.db --lock-wait 10m").start();
    // Long enough for it to have come to the lock: its open file tells.
    let fds = format!("/proc/{}/fd", waiting.child.id());
    let path = world.path("store/app/.lock");
    let waits = || {
        std::fs::read_dir(&fds).is_ok_and(|fds| {
            fds.flatten()
                .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path))
        })
    };
    if cfg!(target_os = "linux") {
        until("the run waits", waits);
    }
    assert!(!waiting.ended());
    drop(lock);
    waiting.wait().exits(0);
    assert_eq!(world.ids("app").len(), 2);
}

#[test]
fn a_waiting_run_can_be_interrupted() {
    let world = two();
    let _lock = world.hold_lock("app", HOLDER);
    let waiting = world
        .with_store("backup app.db --lock-wait 1h --json")
        .start();
    let fds = format!("/proc/{}/fd", waiting.child.id());
    let path = world.path("store/app/.lock");
    if cfg!(target_os = "linux") {
        until("the run waits", || {
            std::fs::read_dir(&fds).is_ok_and(|fds| {
                fds.flatten()
                    .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path))
            })
        });
    }
    let pid = rustix::process::Pid::from_child(&waiting.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let json = waiting.wait().exits(130).json();
    assert_eq!(json["outcome"], "failed");
    assert_eq!(world.ids("app --status all").len(), 1);
}

#[test]
fn readers_need_no_lock() {
    let world = two();
    let lock = world.hold_lock("app", HOLDER);
    world
        .with_store("list")
        .run()
        .exits(0)
        .prints("app_manual_");
    world.with_store("show app").run().exits(0);
    world
        .with_store("cleanup app --keep-last 1 -n")
        .run()
        .exits(0);
    world.with_store("restore app --to back.db").run().exits(0);
    // `verify` waits for a moment to write its result down, no longer.
    let mut verify = world.with_store("verify app").start();
    let mut pin = world.with_store("pin app").start();
    assert!(!verify.ended() && !pin.ended());
    drop(lock);
    verify.wait().exits(0);
    pin.wait().exits(0);
    let json = world.with_store("show app --json").run().exits(0).json();
    assert_eq!(
        (
            &json["backup"]["pinned"],
            json["backup"]["verifications"].as_array().unwrap().len()
        ),
        (&true.into(), 2),
        "{json}"
    );
}

#[test]
fn the_lock_says_who_holds_it_as_long_as_it_is_held() {
    let world = two();
    let lock = world.path("store/app/.lock");
    let text = || std::fs::read_to_string(&lock).unwrap();
    // What a run was told is nobody's business after it: a store may be copied elsewhere.
    assert_eq!(text(), "");
    // No word of it can hold a password.
    let url = format!(
        "sqlite://{}?password=hunter2",
        world.path("app.db").display()
    );
    for (what, shown) in [("app.db", "backup app.db"), (&url, "backup …")] {
        let held = world
            .with_store(&format!("backup {what}"))
            .held_at(&world, point::DRAFT_BEGUN);
        let holder: serde_json::Value = serde_json::from_str(&text()).unwrap();
        let command = holder["command"].as_str().unwrap();
        assert!(
            command.contains(shown) && !command.contains("hunter2"),
            "{command}"
        );
        assert!(holder["pid"].as_u64().unwrap() > 1, "{holder}");
        held.go_on().wait().exits(0);
        assert_eq!(text(), "");
    }
}
