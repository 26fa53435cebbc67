//! Moments of a run that a test must meet: conditions that are waited for, and fail points at which
//! a run is killed, fails or is held. No test sleeps for as long as something should take: a loaded
//! machine takes longer.

use crate::support::{Call, Ran, Running, World};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What takes longer than this on the slowest and busiest machine does not come about at all. There
/// is no shorter bound on anything that should happen.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until it is so; fails when it takes too long.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the clock shows another second: ids and runs are told apart by theirs.
pub fn next_second() {
    let second = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = second();
    until("the next second", || second() > now);
}

/// Every fail point of the program, by what has just happened there.
pub mod point {
    /// The object that will be the dump is there, under its dot-name, and empty.
    pub const DRAFT_BEGUN: &str = "backup: draft begun";
    /// The whole difference from the base is written, and is not durable yet.
    pub const DELTA_WRITTEN: &str = "backup: delta written";
    /// A tree's list of contents is written beside the finished dump, both under their dot-names.
    pub const LIST_WRITTEN: &str = "backup: list written";
    /// The sidecar is written beside the finished dump, both under their dot-names.
    pub const SIDECAR_DRAFTED: &str = "store: sidecar drafted";
    /// The dump has its name, the sidecar not yet. A tree's list comes here the second time.
    pub const DUMP_NAMED: &str = "store: dump named";
    /// The sidecar has its name.
    pub const BACKUP_LISTED: &str = "store: backup listed";
    /// The sidecar of a backup that goes has a dot-name, the dump is still there.
    pub const BACKUP_UNLISTED: &str = "store: backup unlisted";
    /// The dump is gone, the sidecar not yet. A tree's list comes here the second time.
    pub const DUMP_REMOVED: &str = "store: dump removed";
    /// What is restored lies complete beside what it replaces.
    pub const RESTORE_READY: &str = "restore: ready";
    /// What is restored is in its place.
    pub const RESTORE_IN_PLACE: &str = "restore: in place";
    /// Some pages were copied by SQLite.
    pub const PAGES_COPIED: &str = "sqlite: pages copied";
    /// Somebody else's lock is on the database, and is waited for.
    pub const DATABASE_BUSY: &str = "sqlite: busy";
}

impl Call {
    /// The `count`th time that the run comes to this point it is ended as by SIGKILL.
    pub fn killed_at(self, point: &str, count: u32) -> Ran {
        self.at(point, count, "kill").run()
    }

    /// The `count`th time that the run comes to this point that step fails.
    pub fn failing_at(self, point: &str, count: u32) -> Ran {
        self.at(point, count, "error").run()
    }

    /// Begins the run and waits until it has come to this point.
    #[track_caller]
    pub fn held_at(self, world: &World, point: &str) -> Held {
        let file = world.path("held");
        let action = format!("wait:{}", file.display());
        let mut running = self.at(point, 1, &action).start();
        until(point, || file.exists() || running.ended());
        if !file.exists() {
            panic!(
                "the run ended before it came to `{point}`: {}",
                running.wait()
            );
        }
        Held { running, file }
    }

    fn at(self, point: &str, count: u32, action: &str) -> Call {
        if !cfg!(debug_assertions) {
            panic!("only builds with debug assertions have fail points");
        }
        self.env("DBBACKUP_FAIL_POINT", &format!("{point}:{count}={action}"))
    }

    /// Runs it and kills it after `moment`, unless it has ended by then; says whether it was
    /// killed.
    pub fn killed_after(mut self, moment: Duration) -> bool {
        let (stdout, stderr) = (Stdio::null(), Stdio::null());
        let mut child = self.command.stdout(stdout).stderr(stderr).spawn().unwrap();
        std::thread::sleep(moment);
        let _ = child.kill();
        child.wait().unwrap().code().is_none()
    }
}

/// A run that waits at a fail point, until a signal comes or it is let go.
pub struct Held {
    running: Running,
    file: PathBuf,
}

impl Held {
    /// Lets it go on.
    pub fn go_on(self) -> Running {
        std::fs::remove_file(&self.file).unwrap();
        self.running
    }

    /// Sends it a signal, which also lets it go on.
    pub fn signal(self, signal: Signal) -> Running {
        self.running.signal(signal);
        self.running
    }
}

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

/// How often a story is killed at moments of no name; `DBBACKUP_KILLS` makes it more.
fn kills() -> u32 {
    std::env::var("DBBACKUP_KILLS").map_or(8, |text| text.parse().unwrap())
}

/// Moments spread evenly over the length of a run, in an order that looks random. They show that no
/// moment was forgotten among those that have names.
pub fn moments(length: Duration) -> impl Iterator<Item = Duration> {
    let count = kills();
    (0..count).map(move |number| {
        length.mul_f64(f64::from(number * 7 % count) / f64::from(count) + 0.5 / f64::from(count))
    })
}

/// How long the run takes, which succeeds.
pub fn timed(call: Call) -> Duration {
    let started = Instant::now();
    call.run().exits(0);
    started.elapsed()
}
