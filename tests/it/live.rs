//! A database that an application is writing to all the time, in a process of its own: every backup
//! is one point in time, and the application is never turned away. `DBBACKUP_LIVE_MIB` makes the
//! database larger (32 by default) and the figures that are printed more telling.

use crate::moments::{PATIENCE, until};
use crate::support::{World, binary};
use crate::tools::can_trace;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ACCOUNTS: i64 = 1000;
const TOTAL: i64 = ACCOUNTS * 100;

/// A bank whose balances always sum up to [`TOTAL`], and as many MiB of ballast.
pub fn bank(world: &World, name: &str, journal: &str, mebibytes: i64) -> PathBuf {
    world.database(
        name,
        &format!(
            "PRAGMA journal_mode = {journal}; PRAGMA synchronous = OFF;
             CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
             CREATE TABLE history(id INTEGER PRIMARY KEY, source INTEGER, target INTEGER, amount \
             INTEGER, note TEXT);
             CREATE TABLE ballast(id INTEGER PRIMARY KEY, body TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS}) \
             INSERT INTO account SELECT i, 100 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {mebibytes} \
             * 256)
               INSERT INTO ballast SELECT i, hex(randomblob(1000)) || printf('%.*c', 1900, 'x') \
             FROM n;"
        ),
    )
}

/// What holds at every moment between two transactions.
pub fn assert_bank_is_sound(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
            .unwrap(),
        "ok"
    );
    assert_eq!(one("SELECT sum(balance) FROM account"), TOTAL);
    // Every transfer is in both: an account's balance follows from the history.
    let sql = "SELECT count(*) FROM account a WHERE balance <> 100
        + (SELECT coalesce(sum(amount), 0) FROM history WHERE target = a.id) - (SELECT \
               coalesce(sum(amount), 0) FROM history WHERE source = a.id)";
    assert_eq!(one(&format!("WITH h AS (SELECT 1) {sql}")), 0);
    one("SELECT count(*) FROM history")
}

/// The application: not a test of its own, but the other process of those below.
#[test]
fn application() {
    let Some(path) = std::env::var_os("LIVE_DATABASE").map(PathBuf::from) else {
        return;
    };
    let (stop, out) = (path.with_extension("stop"), path.with_extension("out"));
    let conn = Connection::open(&path).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    let mut worst = Duration::ZERO;
    let mut done = 0_i64;
    let begun = Instant::now();
    while !stop.exists() {
        let (from, to) = (
            1 + (done * 7919) % ACCOUNTS,
            1 + (done * 104_729 + 1) % ACCOUNTS,
        );
        let started = Instant::now();
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; UPDATE account SET balance = balance - 1 WHERE id = {from}; UPDATE \
             account SET balance = balance + 1 WHERE id = {to};
             INSERT INTO history(source, target, amount, note) VALUES ({from}, {to}, 1, \
             hex(randomblob(50))); COMMIT;"
        ))
        .unwrap();
        worst = worst.max(started.elapsed());
        done += 1;
        // Renamed into place: the reader must never see half of it.
        std::fs::write(
            path.with_extension("half"),
            format!("{done} {}", worst.as_millis()),
        )
        .unwrap();
        std::fs::rename(path.with_extension("half"), &out).unwrap();
        // 300 a second.
        let due = Duration::from_micros(u64::try_from(done).unwrap() * 3333);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}

/// The running application; stopped when dropped.
pub struct Application {
    child: Child,
    database: PathBuf,
}

impl Application {
    pub fn start(database: &Path) -> Application {
        let _ = std::fs::remove_file(database.with_extension("stop"));
        let _ = std::fs::remove_file(database.with_extension("out"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "live::application", "--nocapture"])
            .env("LIVE_DATABASE", database);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let application = Application {
            child,
            database: database.to_owned(),
        };
        application.wait_for(20);
        application
    }

    /// Transactions so far, and the longest that one took in milliseconds.
    pub fn figures(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(self.database.with_extension("out")).unwrap_or_default();
        let mut words = text.split(' ').filter_map(|word| word.parse().ok());
        (words.next().unwrap_or(0), words.next().unwrap_or(0))
    }

    pub fn wait_for(&self, transactions: u64) {
        let goal = self.figures().0 + transactions;
        until("the application's progress", || self.figures().0 >= goal);
    }

    pub fn stop(mut self) -> (u64, u64) {
        std::fs::write(self.database.with_extension("stop"), "").unwrap();
        assert!(
            self.child.wait().unwrap().success(),
            "the application was turned away"
        );
        self.figures()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size() -> i64 {
    std::env::var("DBBACKUP_LIVE_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(32)
}

fn backups_under_writes(journal: &str, config: &str) {
    let world = World::new();
    world.config(config);
    let database = bank(&world, "bank.db", journal, size());
    let started = Instant::now();
    std::fs::copy(&database, world.path("copied")).unwrap();
    let copied = started.elapsed();
    std::fs::remove_file(world.path("copied")).unwrap();
    let application = Application::start(&database);
    application.wait_for(300);
    let calm = application.figures().1;
    let mut took = Vec::new();
    for label in ["one", "two", "three"] {
        let started = Instant::now();
        world
            .with_store(&format!("backup bank.db --label {label}"))
            .run()
            .exits(0);
        took.push(started.elapsed().as_secs_f32());
    }
    application.wait_for(20);
    let (transactions, worst) = application.stop();
    println!(
        "{journal} {config:?}: backups took {took:.2?} s beside {transactions} transactions; the \
         longest of these took {worst} ms, {calm} ms before the backups; cp took {copied:?}"
    );
    let mut last = 0;
    for label in ["one", "two", "three"] {
        world
            .with_store(&format!("restore bank@latest:{label} --to {label}.db"))
            .run()
            .exits(0);
        let transfers = assert_bank_is_sound(&world.path(&format!("{label}.db")));
        assert!(
            transfers > last,
            "{label} has {transfers} transfers, the one before {last}"
        );
        last = transfers;
        let shown = world
            .with_store(&format!("show bank@latest:{label} --json"))
            .run()
            .exits(0)
            .json();
        let tables = shown["backup"]["manifest"]["tables"].as_array().unwrap();
        assert_eq!(
            tables
                .iter()
                .find(|table| table["name"] == "history")
                .unwrap()["rows"],
            transfers
        );
    }
    assert_bank_is_sound(&database);
    assert!(world.debris("bank").is_empty());
}

#[test]
fn in_wal_mode() {
    backups_under_writes("wal", "");
}

#[test]
fn in_wal_mode_copied_first() {
    backups_under_writes(
        "wal",
        "[backup]\nspool = \"always\"\ncompression = \"zstd\"\n",
    );
}

#[test]
fn in_rollback_mode() {
    backups_under_writes("delete", "");
}

/// Both modes, several times: what was committed before the restore began is in the safety backup
/// or was replaced by the restored state, never half of it, and the application goes on with the
/// restored content without being restarted.
#[test]
fn restored_under_a_writing_application() {
    for journal in ["wal", "delete"] {
        let world = World::new();
        let database = bank(&world, "bank.db", journal, 4);
        world
            .with_store("backup bank.db --label start")
            .run()
            .exits(0);
        let application = Application::start(&database);
        for round in 0..3 {
            application.wait_for(50);
            let before = application.figures().0;
            world
                .with_store("restore bank@latest:start --yes")
                .run()
                .exits(0)
                .prints("replaced through SQLite");
            application.wait_for(20);
            let pre_restore = world.ids("--label pre-restore");
            assert_eq!(pre_restore.len(), round + 1);
            let safe = format!("safe{round}.db");
            world
                .with_store(&format!("restore {} --to {safe}", pre_restore[0]))
                .run()
                .exits(0);
            let kept = assert_bank_is_sound(&world.path(&safe));
            assert!(
                kept > 0 && u64::try_from(kept).unwrap() <= application.figures().0,
                "{kept} of {before}"
            );
        }
        application.stop();
        // What the application wrote since the last restore is there, on top of the restored state.
        let transfers = assert_bank_is_sound(&database);
        assert!(transfers >= 20, "{transfers}");
        let conn = Connection::open(&database).unwrap();
        assert_eq!(
            conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap(),
            journal
        );
        assert!(world.leftovers().is_empty(), "{:?}", world.leftovers());
    }
}

/// POSIX drops a process's locks on a file when any descriptor of it is closed; so nothing may open
/// the database beside SQLite while a backup runs. Told by the system calls: between the opening of
/// the database and the end, nobody else opens it or its companions.
#[test]
fn nothing_but_sqlite_opens_the_database_while_a_connection_is_open() {
    if !can_trace() {
        return;
    }
    let world = World::new();
    let database = bank(&world, "bank.db", "wal", 1);
    let app = Connection::open(&database).unwrap();
    app.execute_batch("UPDATE account SET balance = balance")
        .unwrap();
    let trace = world.path("trace");
    let status = Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=openat,close,fcntl",
            "-o",
            trace.to_str().unwrap(),
        ])
        .arg(binary())
        .args(["--store", "store", "backup", "bank.db"])
        .current_dir(world.path(""))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(trace).unwrap();
    // SQLite opens with O_NOFOLLOW, and knows how to keep its locks; any other open must have been
    // over before the first lock.
    let at = |matching: &dyn Fn(&str) -> bool| -> Vec<usize> {
        text.lines()
            .enumerate()
            .filter(|(_, line)| matching(line))
            .map(|(at, _)| at)
            .collect()
    };
    let plain = at(&|line| {
        line.contains("openat") && line.contains("/bank.db") && !line.contains("O_NOFOLLOW")
    });
    let locks = at(&|line| line.contains("F_RDLCK") && line.contains("F_SETLK"));
    assert!(!plain.is_empty() && !locks.is_empty());
    assert!(
        locks
            .iter()
            .all(|lock| plain.iter().all(|open| lock > open)),
        "plain {plain:?}, locks {locks:?}"
    );
}
