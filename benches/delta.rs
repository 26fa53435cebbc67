//! `cargo bench --bench delta`: the second backup of a database, and of a tree of files, as a delta
//! beside the same one as a full, and beside what one would type: restic's second run,
//! `sqlite3 .backup | zstd`, `tar --listed-incremental`; and restoring at some depth beside
//! restoring a full. In one run.
//!
//! Each turn begins with a store (or a repository) that has the first backup, so that what it adds
//! is compared. `DBBACKUP_BENCH_ROUNDS` says how many rounds (3 by default), `DBBACKUP_BENCH_MIB`
//! how large the database is (1200 by default), `DBBACKUP_BENCH_FILES` how many files the tree has
//! (100,000 by default).

mod common;

use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::measure::{self, settle};
use common::{Role, binary, remove};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(kind, arguments) => {
            let place = Path::new(&arguments[0]);
            match kind.as_str() {
                "tree" => make_tree(place, arguments[1].parse().unwrap()),
                _ => common::database::make(place, arguments[1].parse().unwrap()),
            }
        }
        Role::None => println!("run me by `cargo bench --bench delta`: it takes minutes"),
    }
}

const DELTA: &str = "dbbackup backup, a delta";
const FULL: &str = "dbbackup backup, a full with zstd";
const RESTIC: &str = "restic backup, second run";
const TYPED: &str = "sqlite3 .backup, then zstd -3 -T0";
const TAR: &str = "tar --listed-incremental | zstd -3 -T0";
const RESTORE_FULL: &str = "dbbackup restore, a full";
const RESTORE_DELTA: &str = "dbbackup restore, the deepest delta";

/// One per cent of the rows of every table.
const ONE_PER_CENT: &str = "
    UPDATE customers SET phone = hex(randomblob(6)) WHERE abs(random()) % 100 = 0;
    UPDATE products SET price_cents = price_cents + 1 WHERE abs(random()) % 100 = 0;
    UPDATE orders SET note = hex(randomblob(12)) WHERE abs(random()) % 100 = 0;
    UPDATE order_items SET quantity = quantity + 1 WHERE abs(random()) % 100 = 0;
    UPDATE events SET payload = replace(payload, '1', '2') WHERE abs(random()) % 100 = 0;
    UPDATE articles SET title = hex(randomblob(12)) WHERE abs(random()) % 100 = 0;
    UPDATE attachments SET name = hex(randomblob(8)) WHERE abs(random()) % 100 = 0;";

/// Where everything lies.
struct Stage {
    work: PathBuf,
    /// The source as it was at the first backup, and as it is at the second.
    before: PathBuf,
    after: PathBuf,
}

impl Stage {
    fn new(work: &Path, before: PathBuf, after: PathBuf) -> Stage {
        std::fs::create_dir_all(work).unwrap();
        Stage {
            work: work.to_owned(),
            before,
            after,
        }
    }

    /// `dbbackup` with its store in `store` and its source at `source`.
    fn dbbackup(&self, store: &str, source: &Path, delta: bool, arguments: &str) -> Command {
        let (kind, key) = match source.is_dir() {
            true => ("files", format!("paths = [{source:?}]")),
            false => ("sqlite", format!("path = {source:?}")),
        };
        let text = format!(
            "[store]\npath = {:?}\n[backup]\ncompression = 'zstd'\nverify_after = \
             'none'\ncleanup_after = false\nincremental = {delta}\nscratch_dir = \
             {:?}\n[sources.app]\nkind = '{kind}'\n{key}\n",
            self.work.join(store),
            self.work,
        );
        let stem = source.file_stem().unwrap().to_string_lossy();
        let config = self.work.join(format!("{store}-{stem}-{delta}.toml"));
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(binary());
        command.arg("--config").arg(config).arg("--quiet");
        command.args(arguments.split(' '));
        command
    }

    fn restic(&self, source: &Path, verb: &str) -> Command {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", "bench")
            .args(["--quiet", "--no-cache", "--repo"])
            .arg(self.work.join("restic"))
            .arg(verb);
        if verb == "backup" {
            // The same path both times, or restic takes it for another file.
            command.current_dir(source.parent().unwrap());
            command.arg(source.file_name().unwrap());
        }
        command
    }

    fn shell(&self, script: &str, source: &Path) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script, "bash"])
            .arg(&self.work)
            .arg(source);
        command
    }
}

fn run(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}");
}

/// A contender that begins with what its directory had after the first backup.
struct Second {
    contender: Contender,
    kept: PathBuf,
}

impl Second {
    /// `first` makes the first backup in the directory `dir` of the place of work.
    fn new(stage: &Stage, contender: Contender, first: Command) -> Option<Second> {
        let programs = contender.programs.iter();
        if let Some(missing) = { programs }.find(|program| !common::installed(program)) {
            println!(
                "left out, for {missing} is not installed: {}",
                contender.name
            );
            return None;
        }
        std::fs::create_dir_all(&contender.dir).unwrap();
        run(first);
        let name = contender.dir.file_name().unwrap().to_owned();
        let kept = stage.work.join("kept").join(name);
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::rename(&contender.dir, &kept).unwrap();
        Some(Second { contender, kept })
    }

    fn turn(&mut self) {
        let dir = &self.contender.dir;
        remove(dir);
        // Nobody changes what is there; so links do.
        run(command("cp", &["-al"], &[&self.kept, dir]));
        let before = total(dir);
        settle();
        let cost = measure::cost(&mut (self.contender.command)());
        self.contender.size = total(dir).saturating_sub(before);
        eprintln!(
            "   {:<52} {:7.2} s {:9.1} MB",
            self.contender.name,
            cost.wall.as_secs_f64(),
            megabytes(self.contender.size)
        );
        self.contender.costs.push(cost);
    }
}

fn command(program: &str, options: &[&str], paths: &[&Path]) -> Command {
    let mut command = Command::new(program);
    command.args(options).args(paths);
    command
}

/// Bytes of all files below a directory.
fn total(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => total(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

/// The second backup of the stage's source.
fn second_backups(stage: &Stage) -> Vec<Second> {
    let is_tree = stage.before.is_dir();
    let ours = |name: &'static str, store: &'static str, delta: bool| {
        let place = Stage::new(&stage.work, stage.before.clone(), stage.after.clone());
        let contender = Contender::new(name, &[], &stage.work.join(store), "", move || {
            place.dbbackup(store, &place.after, delta, "backup app")
        });
        let first = stage.dbbackup(store, &stage.before, delta, "backup app");
        Second::new(stage, contender, first)
    };
    let theirs =
        |name: &'static str, programs: &[&'static str], dir: &str, script: &'static str| {
            let place = Stage::new(&stage.work, stage.before.clone(), stage.after.clone());
            let contender = Contender::new(name, programs, &stage.work.join(dir), "", move || {
                place.shell(script, &place.after)
            });
            Second::new(stage, contender, stage.shell(script, &stage.before))
        };
    let restic = || {
        let place = Stage::new(&stage.work, stage.before.clone(), stage.after.clone());
        let dir = stage.work.join("restic");
        let contender = Contender::new(RESTIC, &["restic"], &dir, "", move || {
            place.restic(&place.after, "backup")
        });
        if common::installed("restic") {
            run(stage.restic(&stage.before, "init"));
        }
        Second::new(stage, contender, stage.restic(&stage.before, "backup"))
    };
    let typed = match is_tree {
        true => theirs(
            TAR,
            &["tar", "zstd"],
            "tar",
            "cd \"$(dirname \"$2\")\"; tar -c --listed-incremental \"$1/tar/list\" \"$(basename \
             \"$2\")\" | zstd -q -3 -T0 -o \"$1/tar/$(date +%s%N).tar.zst\"; sync \"$1\"/tar/*",
        ),
        false => theirs(
            TYPED,
            &["sqlite3", "zstd"],
            "typed",
            "sqlite3 \"$2\" \".backup '$1/typed-copy'\"; zstd -q -3 -T0 \"$1/typed-copy\" -o \
             \"$1/typed/$(date +%s%N).zst\"; rm \"$1/typed-copy\"; sync \"$1\"/typed/*",
        ),
    };
    [
        ours(DELTA, "delta", true),
        ours(FULL, "full", false),
        restic(),
        typed,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A directory with so many files, of 11 kB in the middle.
fn make_tree(tree: &Path, count: u64) {
    let mut dice = common::database::Dice::new(3);
    let pool: Vec<u8> = (0..4 << 20).map(|_| dice.below(256) as u8).collect();
    for number in 0..count {
        let dir = tree.join(format!("{:03}", number / 500));
        std::fs::create_dir_all(&dir).unwrap();
        write_file(&dir.join(format!("{number:06}.bin")), &pool, &mut dice);
    }
}

fn write_file(path: &Path, pool: &[u8], dice: &mut common::database::Dice) {
    let length = 1 + dice.below(22_000) as usize;
    let at = dice.below((pool.len() - length) as u64) as usize;
    std::fs::write(path, &pool[at..at + length]).unwrap();
}

/// Puts one new file for every thousand into the tree.
fn grow_tree(tree: &Path) {
    let mut dice = common::database::Dice::new(9);
    let pool: Vec<u8> = (0..1 << 20).map(|_| dice.below(256) as u8).collect();
    let directories = std::fs::read_dir(tree).unwrap().count() as u64;
    for number in 0..directories / 2 {
        let dir = tree.join(format!("{:03}", number * 2));
        write_file(&dir.join(format!("new-{number}.bin")), &pool, &mut dice);
    }
}

/// Backups one upon the other, each with a part of the rows changed, and what it takes to restore
/// the first and the last.
fn restores(stage: &Stage) -> Table {
    let source = stage.work.join("aging.sqlite3");
    std::fs::copy(&stage.before, &source).unwrap();
    let ids = |stage: &Stage| {
        let output = stage
            .dbbackup("deep", &source, true, "list --json")
            .output()
            .unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let backups = list["backups"].as_array().unwrap().clone();
        let id = |backup: &serde_json::Value| backup["id"].as_str().unwrap().to_owned();
        backups.iter().map(id).collect::<Vec<_>>()
    };
    // The sixth has a base of a base.
    for _ in 0..6 {
        let conn = rusqlite::Connection::open(&source).unwrap();
        conn.execute_batch(&ONE_PER_CENT.replace("% 100", "% 500"))
            .unwrap();
        drop(conn);
        run(stage.dbbackup("deep", &source, true, "backup app"));
    }
    let ids = ids(stage);
    let restore = |name: &'static str, id: &str| {
        let out = stage.work.join("restored");
        let line = format!("restore {id} --yes --to {}", out.join("app.db").display());
        let place = Stage::new(&stage.work, stage.before.clone(), stage.after.clone());
        let source = source.clone();
        Contender::new(name, &[], &out, "out", move || {
            place.dbbackup("deep", &source, true, &line)
        })
    };
    let contenders = vec![
        restore(RESTORE_FULL, ids.last().unwrap()),
        restore(RESTORE_DELTA, ids.first().unwrap()),
    ];
    Table::new("Restoring", RESTORE_FULL, contenders)
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 3).max(1);
    common::describe_machine();
    println!("restic:    {}", common::first_line("restic", "version"));
    let place = common::workplace();
    let database = common::database::shop(&place, common::mebibytes());
    let work = tempfile::Builder::new()
        .prefix("delta-")
        .tempdir_in(&place)
        .unwrap();
    let path = |name: &str| work.path().join(name);
    for name in ["before", "after"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let (before, after) = (path("before/app.sqlite3"), path("after/app.sqlite3"));
    std::fs::copy(&database, &before).unwrap();
    std::fs::copy(&database, &after).unwrap();
    let conn = rusqlite::Connection::open(&after).unwrap();
    conn.execute_batch(ONE_PER_CENT).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(conn);
    let tree = path("tree");
    let count = common::number("DBBACKUP_BENCH_FILES", 100_000).to_string();
    common::again("tree", &[tree.as_os_str(), count.as_ref()]);
    let small = total(&tree);
    // A file is trusted once its times are old enough to tell a later change.
    std::thread::sleep(std::time::Duration::from_secs(61));
    let changed = Stage::new(&path("changed"), before.clone(), after.clone());
    let unchanged = Stage::new(&path("unchanged"), before.clone(), before.clone());
    let files = Stage::new(&path("files"), tree.clone(), tree.clone());
    let mut seconds = [&changed, &unchanged, &files].map(second_backups);
    grow_tree(&tree);
    let new = total(&tree) - small;
    println!(
        "database: {:.0} MB; tree: {:.0} MB, {:.2} MB of it new; {rounds} rounds",
        megabytes(common::size(&before)),
        megabytes(small + new),
        megabytes(new)
    );
    let mut restoring = restores(&changed);
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        seconds.iter_mut().flatten().for_each(Second::turn);
        for contender in &mut restoring.contenders {
            contender.turn(round, || {});
        }
    }
    explain_columns();
    let titles = [
        "SQLite, 1 % of the rows of every table changed",
        "SQLite, nothing changed",
        "A tree, one file of a thousand new",
    ];
    let mut tables: Vec<Table> = { titles }
        .into_iter()
        .zip(seconds)
        .map(|(title, seconds)| {
            let contenders = seconds.into_iter().map(|second| second.contender);
            Table::new(title, DELTA, contenders.collect())
        })
        .collect();
    tables.push(restoring);
    tables.iter().for_each(Table::print);
    print_aims(&tables, new);
}

fn print_aims(tables: &[Table], new: u64) {
    println!("\nAims, by the least times");
    let ratio = |table: &Table, what: &str, mine: &str, other: &str, most: f64| {
        if let Some((mine, other)) = table.least(mine).zip(table.least(other)) {
            let ratio = mine / other;
            aim(what.to_owned(), format!("{ratio:.2}"), ratio <= most);
        }
    };
    let [changed, unchanged, files, restoring] = tables else {
        return;
    };
    let size = |table: &Table, name: &str| table.find(name).map(|found| found.size);
    ratio(
        changed,
        "1 % changed: at most 1/6 of restic's time",
        DELTA,
        RESTIC,
        1.0 / 6.0,
    );
    ratio(
        changed,
        "1 % changed: at most 0.6 of the full's time",
        DELTA,
        FULL,
        0.6,
    );
    if let Some(bytes) = size(changed, DELTA) {
        let found = format!("{:.1} MB", megabytes(bytes));
        aim(
            "1 % changed: at most 4 MB".to_owned(),
            found,
            bytes <= 4_000_000,
        );
    }
    if let Some((mine, other)) = size(changed, DELTA).zip(size(changed, RESTIC)) {
        let ratio = other as f64 / mine as f64;
        let what = "1 % changed: restic stores 100 times as much".to_owned();
        aim(what, format!("{ratio:.0}"), ratio >= 100.0);
    }
    if let Some(least) = unchanged.least(DELTA) {
        let what = "nothing changed: at most 0.1 s".to_owned();
        aim(what, format!("{least:.3} s"), least <= 0.1);
    }
    if let Some(bytes) = size(unchanged, DELTA) {
        let what = "nothing changed: at most 10 kB with its sidecar".to_owned();
        aim(what, format!("{bytes} bytes"), bytes <= 10_000);
    }
    ratio(
        files,
        "a tree: at most restic's second run",
        DELTA,
        RESTIC,
        1.0,
    );
    ratio(files, "a tree: at most 3 times tar's", DELTA, TAR, 3.0);
    if let Some(bytes) = size(files, DELTA) {
        let ratio = bytes as f64 / new as f64;
        let what = "a tree: at most 1.05 times the new files".to_owned();
        aim(what, format!("{ratio:.2}"), ratio <= 1.05);
    }
    let what = "restoring a delta: at most 1.5 times the full's time";
    ratio(restoring, what, RESTORE_DELTA, RESTORE_FULL, 1.5);
    memory_of_ours(tables, 80);
}
