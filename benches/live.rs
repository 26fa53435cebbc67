//! `cargo bench --bench live`: what an application feels while its database is backed up.
//!
//! An application, in a process of its own, makes 300 small transactions a second and notes how
//! long each took. Meanwhile the database, which is that of the other benchmark with a bank in it,
//! is backed up in one way after the other; in WAL mode, then in rollback mode. Afterwards every
//! copy is examined: `integrity_check`, and the bank's total with every account's balance as the
//! transfers made it. `DBBACKUP_BENCH_ROUNDS` says how often each way has its turn (by default 1);
//! see `common` for the database's size and place.

mod common;

use common::measure::{self, median};
use common::{Role, configuration, dbbackup, installed, remove, size, warm};
use rusqlite::Connection;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ACCOUNTS: i64 = 1000;
const TOTAL: i64 = ACCOUNTS * 100;
const A_SECOND: u32 = 300;
/// What the shell's `.backup` gets, which may never end.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(part, arguments) if part == "application" => {
            application(Path::new(&arguments[0]))
        }
        Role::Part(part, arguments) if part == "examine" => {
            println!("{}", examine(Path::new(&arguments[0])))
        }
        Role::Part(_, arguments) => {
            common::database::make(Path::new(&arguments[0]), arguments[1].parse().unwrap())
        }
        Role::None => println!("run me by `cargo bench --bench live`: it takes some minutes"),
    }
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 1).max(1);
    let place = common::workplace();
    let shop = common::database::shop(&place, common::mebibytes());
    common::describe_machine();
    println!(
        "database:  {:.0} MB, {A_SECOND} transactions a second; {rounds} rounds",
        size(&shop) as f64 / 1e6
    );
    println!(
        "wait       milliseconds that one transaction took, from BEGIN IMMEDIATE to after COMMIT, \
         of those that fall into the phase
elsewhere  the part of all cores that others had meanwhile: the application, the kernel, and \
         whatever else is running"
    );
    for journal in ["wal", "delete"] {
        let work = tempfile::Builder::new()
            .prefix("live-")
            .tempdir_in(&place)
            .unwrap();
        let database = work.path().join("bank.sqlite3");
        std::fs::copy(&shop, &database).unwrap();
        open_bank(&database, journal);
        let synchronous = synchronous(journal);
        println!("\njournal_mode = {journal}, synchronous = {synchronous}");
        in_one_mode(&database, work.path(), rounds);
    }
}

fn synchronous(journal: &str) -> &'static str {
    if journal == "wal" { "NORMAL" } else { "FULL" }
}

/// A bank whose balances always sum up to [`TOTAL`].
fn open_bank(database: &Path, journal: &str) {
    let conn = Connection::open(database).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = {journal};
         CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
         CREATE TABLE history(id INTEGER PRIMARY KEY, source INTEGER NOT NULL, target INTEGER NOT \
         NULL, amount INTEGER NOT NULL, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS}) \
         INSERT INTO account SELECT i, 100 FROM n;"
    ))
    .unwrap();
}

/// A way to copy the database, or none of them.
struct Way {
    name: &'static str,
    command: Option<Command>,
    patience: Duration,
    made: Made,
}

/// What a way leaves behind.
enum Made {
    Nothing,
    /// A backup in a store of its own, to be restored.
    Backup {
        config: PathBuf,
        store: PathBuf,
    },
    Database(PathBuf),
}

fn ways(database: &Path, work: &Path) -> Vec<Way> {
    let long = Duration::from_secs(600);
    let mut ways = vec![Way {
        name: "calm",
        command: None,
        patience: Duration::from_secs(5),
        made: Made::Nothing,
    }];
    for (name, compression) in [("dbbackup gzip", "gzip"), ("dbbackup zstd", "zstd")] {
        let config = configuration(work, compression, compression, true);
        let command = dbbackup(
            &config,
            &["backup", database.to_str().unwrap(), "--as", "bank"],
        );
        let made = Made::Backup {
            config,
            store: work.join(format!("store-{compression}")),
        };
        ways.push(Way {
            name,
            command: Some(command),
            patience: long,
            made,
        });
    }
    let scripts = [
        ("cp", "cp", r#"cp "$IN" "$OUT"; sync "$OUT""#, long),
        (
            "VACUUM INTO",
            "sqlite3",
            r#"sqlite3 -cmd ".timeout 60000" "$IN" "VACUUM INTO '$OUT'"; sync "$OUT""#,
            long,
        ),
        // One process, so that it can be stopped.
        (
            ".backup",
            "sqlite3",
            r#"exec sqlite3 -cmd ".timeout 60000" "$IN" ".backup '$OUT'""#,
            PATIENCE,
        ),
    ];
    for (name, program, script, patience) in scripts
        .into_iter()
        .filter(|(_, program, ..)| installed(program))
    {
        let out = work.join(format!("copy-by-{program}"));
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("set -e; {script}"))
            .env("IN", database)
            .env("OUT", &out);
        ways.push(Way {
            name,
            command: Some(command),
            patience,
            made: Made::Database(out),
        });
    }
    ways
}

/// When something began and ended, by the clock that all processes share, and what came of it.
struct Phase {
    name: &'static str,
    begun: Duration,
    ended: Duration,
    elsewhere: f64,
    outcome: String,
}

fn in_one_mode(database: &Path, work: &Path, rounds: u64) {
    let application = Application::start(database);
    let mut phases = Vec::new();
    for way in (0..rounds).flat_map(|_| ways(database, work)) {
        clear(&way.made);
        warm(database);
        measure::settle();
        std::thread::sleep(Duration::from_secs(2));
        let phase = carry_out(way, work);
        eprintln!(
            "   {:<14} {:6.2} s  {}",
            phase.name,
            (phase.ended - phase.begun).as_secs_f64(),
            phase.outcome
        );
        phases.push(phase);
    }
    let waits = application.stop();
    print_phases(&phases, &waits);
    println!("the live database afterwards: {}", examined(database));
}

fn carry_out(way: Way, work: &Path) -> Phase {
    let (busy, begun) = (measure::busy(), now());
    let (ended_well, own) = match way.command {
        Some(command) => run(command, way.patience),
        None => {
            std::thread::sleep(way.patience);
            (Ok(()), Duration::ZERO)
        }
    };
    let ended = now();
    let capacity = (ended - begun).as_secs_f64() * measure::cores() as f64;
    let elsewhere = (measure::busy() - busy).saturating_sub(own).as_secs_f64() / capacity;
    // Outside the phase: the application goes on meanwhile.
    let outcome = match (ended_well, &way.made) {
        (Err(why), _) => why,
        (Ok(()), Made::Nothing) => String::new(),
        (Ok(()), Made::Database(path)) => format!("the copy: {}", examined(path)),
        (Ok(()), Made::Backup { config, .. }) => format!("restored: {}", restored(config, work)),
    };
    clear(&way.made);
    Phase {
        name: way.name,
        begun,
        ended,
        elsewhere,
        outcome,
    }
}

/// Runs the command to its end; how it ended, and its processor time.
// It is waited for: past the standard library, which does not tell what a child has used.
#[allow(clippy::zombie_processes)]
fn run(mut command: Command, patience: Duration) -> (Result<(), String>, Duration) {
    let mut errors = tempfile::tempfile().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let (ended, watch) = std::sync::mpsc::channel::<()>();
    let id = child.id();
    let watchdog = std::thread::spawn(move || {
        let late = watch.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = child.kill();
        }
        late
    });
    let (status, usage) = measure::wait(id);
    drop(ended);
    let late = watchdog.join().unwrap();
    let mut text = String::new();
    std::io::Seek::rewind(&mut errors).unwrap();
    errors.read_to_string(&mut text).unwrap();
    let result = match (late, status) {
        (true, _) => Err(format!("not done after {} s, stopped", patience.as_secs())),
        (false, 0) => Ok(()),
        (false, _) => Err(format!(
            "failed: {}",
            text.lines().next().unwrap_or_default()
        )),
    };
    (result, measure::processor(&usage))
}

/// Removes what a way has made, its store's own files aside.
fn clear(made: &Made) {
    match made {
        Made::Nothing => {}
        Made::Backup { store, .. } => remove(&store.join("bank")),
        Made::Database(path) => {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                remove(Path::new(&format!("{}{suffix}", path.display())));
            }
        }
    }
}

/// Restores the newest backup to a place of its own and examines it there.
fn restored(config: &Path, work: &Path) -> String {
    let target = work.join("restored.sqlite3");
    let (result, _) = run(
        dbbackup(
            config,
            &["restore", "bank", "--to", target.to_str().unwrap()],
        ),
        Duration::from_secs(600),
    );
    let said = result.map_or_else(|why| why, |()| examined(&target));
    clear(&Made::Database(target));
    said
}

fn examined(database: &Path) -> String {
    let output = common::part("examine", &[database.as_os_str()])
        .output()
        .unwrap();
    if output.status.success() {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    } else {
        "can't be read".into()
    }
}

/// Whether a copy is sound, and one moment of the bank: every balance follows from the transfers,
/// and the total has not changed.
fn examine(database: &Path) -> String {
    let look = || -> rusqlite::Result<String> {
        let conn = Connection::open(database)?;
        let check: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Ok(format!(
                "MALFORMED: {}",
                check.lines().last().unwrap_or_default()
            ));
        }
        let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let (total, transfers) = (
            one("SELECT sum(balance) FROM account")?,
            one("SELECT count(*) FROM history")?,
        );
        let wrong = one(
            "WITH change(id, amount) AS (SELECT target, amount FROM history UNION ALL SELECT \
                 source, -amount FROM history),
             due(id, amount) AS (SELECT id, sum(amount) FROM change GROUP BY id)
             SELECT count(*) FROM account LEFT JOIN due USING (id) WHERE balance <> 100 + \
                 coalesce(due.amount, 0)",
        )?;
        Ok(match (total, wrong) {
            (TOTAL, 0) => format!("sound, {transfers} transfers"),
            _ => format!(
                "WRONG: the total is {total} of {TOTAL}, {wrong} balances are not what the \
                 transfers make them"
            ),
        })
    };
    look().unwrap_or_else(|error| format!("MALFORMED: {error}"))
}

fn print_phases(phases: &[Phase], waits: &[Wait]) {
    println!(
        "\n{:<14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "phase", "length", "tx/s", "median", "p99.9", "worst", "elsewhere"
    );
    let mut names: Vec<&str> = Vec::new();
    for phase in phases {
        if !names.contains(&phase.name) {
            names.push(phase.name);
        }
    }
    for name in names {
        let all: Vec<&Phase> = phases.iter().filter(|phase| phase.name == name).collect();
        let mut felt: Vec<f64> = all.iter().flat_map(|phase| phase.felt(waits)).collect();
        felt.sort_by(f64::total_cmp);
        let at = |part: f64| {
            felt.get(((felt.len() as f64 * part) as usize).min(felt.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0.0)
        };
        let lengths: Vec<f64> = all
            .iter()
            .map(|phase| (phase.ended - phase.begun).as_secs_f64())
            .collect();
        let outcomes: Vec<&str> = all.iter().map(|phase| phase.outcome.as_str()).collect();
        println!(
            "{name:<14} {:>6.2} s {:>8.0} {:>8.2} {:>8.1} {:>8.1} {:>9.0}%  {}",
            median(lengths.iter().copied()).0,
            felt.len() as f64 / lengths.iter().sum::<f64>(),
            at(0.5),
            at(0.999),
            at(1.0),
            median(all.iter().map(|phase| phase.elsewhere)).0 * 100.0,
            outcomes.join("; "),
        );
    }
}

impl Phase {
    /// How long the transactions took that were under way in it, in milliseconds.
    fn felt(&self, waits: &[Wait]) -> Vec<f64> {
        let within = waits
            .iter()
            .filter(|wait| wait.begun < self.ended && wait.begun + wait.took > self.begun);
        within
            .map(|wait| wait.took.as_secs_f64() * 1000.0)
            .collect()
    }
}

/// One transaction.
struct Wait {
    begun: Duration,
    took: Duration,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The application as it is seen from here.
struct Application {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Application {
    fn start(database: &Path) -> Application {
        let mut command = common::part("application", &[database.as_os_str()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Application { child, output }
    }

    fn stop(mut self) -> Vec<Wait> {
        drop(self.child.stdin.take());
        let waits = (&mut self.output).lines().map(|line| {
            let line = line.unwrap();
            let (begun, took) = line.split_once(' ').unwrap();
            Wait {
                begun: Duration::from_nanos(begun.parse().unwrap()),
                took: Duration::from_nanos(took.parse().unwrap()),
            }
        });
        let waits = waits.collect();
        assert!(
            self.child.wait().unwrap().success(),
            "the application was turned away"
        );
        waits
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The application itself: transfers until its input ends, then tells how long each took.
fn application(database: &Path) {
    let conn = Connection::open(database).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    let journal: String = conn
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    conn.pragma_update(None, "synchronous", synchronous(&journal))
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        seen.store(true, Ordering::Relaxed);
    });
    let mut dice = common::database::Dice::new(7);
    let mut waits: Vec<Wait> = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // Another one than the source, so that each transfer changes two balances.
        let source = dice.below(ACCOUNTS.unsigned_abs()).cast_signed();
        let target =
            (source + 1 + dice.below(ACCOUNTS.unsigned_abs() - 1).cast_signed()) % ACCOUNTS;
        let wait = transfer(&conn, 1 + source, 1 + target);
        waits.push(wait);
        if waits.len() == 20 {
            println!("ready");
        }
        due += Duration::from_secs(1) / A_SECOND;
        // What was missed for longer than a second is not made up for.
        due = due.max(
            Instant::now()
                .checked_sub(Duration::from_secs(1))
                .unwrap_or(due),
        );
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for wait in waits {
        writeln!(out, "{} {}", wait.begun.as_nanos(), wait.took.as_nanos()).unwrap();
    }
}

fn transfer(conn: &Connection, source: i64, target: i64) -> Wait {
    let (begun, started) = (now(), Instant::now());
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut change = conn
        .prepare_cached("UPDATE account SET balance = balance + ?2 WHERE id = ?1")
        .unwrap();
    change.execute([source, -1]).unwrap();
    change.execute([target, 1]).unwrap();
    let note =
        "INSERT INTO history(source, target, amount, note) VALUES (?1, ?2, 1, hex(randomblob(50)))";
    conn.prepare_cached(note)
        .unwrap()
        .execute([source, target])
        .unwrap();
    conn.execute_batch("COMMIT").unwrap();
    Wait {
        begun,
        took: started.elapsed(),
    }
}
