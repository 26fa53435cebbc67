//! `cargo bench --bench encryption`: backups that are encrypted by age beside the same ones in the
//! clear, and beside what one would type (`sqlite3 .backup`, then `zstd | age`); and reading them,
//! beside `age -d | zstd -d`. In one run.
//!
//! `DBBACKUP_BENCH_ROUNDS` says how many rounds (3 by default), `DBBACKUP_BENCH_MIB` how large the
//! database is (1200 by default).

mod common;

use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::{Role, binary, only_file, warm};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(_, arguments) => {
            common::database::make(Path::new(&arguments[0]), arguments[1].parse().unwrap())
        }
        Role::None => println!("run me by `cargo bench --bench encryption`: it takes minutes"),
    }
}

/// What all contenders work with.
struct Stage {
    config: PathBuf,
    work: PathBuf,
    database: PathBuf,
    identity: PathBuf,
    recipient: String,
}

impl Stage {
    fn new(work: &Path, database: &Path) -> Stage {
        let identity = work.join("backup.key");
        let mut init = Command::new(binary());
        init.args(["key", "init", "--json", "--identity"])
            .arg(&identity);
        let output = init.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let recipient = made["recipient"].as_str().unwrap().to_owned();
        let text = format!(
            "[stores.plain]\npath = {:?}\n[stores.sealed]\npath = {:?}\n[encryption]\nrecipients = \
             [{recipient:?}]\nstores = ['sealed']\n[backup]\ncompression = 'zstd'\ncleanup_after = \
             false\nscratch_dir = {work:?}\n[sources.app]\nkind = 'sqlite'\npath = {database:?}\n",
            work.join("plain"),
            work.join("sealed"),
        );
        let config = work.join("encryption.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        Stage {
            config,
            work: work.to_owned(),
            database: database.to_owned(),
            identity,
            recipient,
        }
    }

    fn dbbackup(&self, arguments: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&self.config).arg("--quiet");
        command.args(arguments.split(' '));
        command
    }

    /// A contender that runs a script, whose `$1` is the place of work.
    fn script(
        &self,
        name: &str,
        programs: &[&'static str],
        dir: &str,
        script: String,
    ) -> Contender {
        let (work, dir) = (self.work.clone(), self.work.join(dir));
        Contender::new(name, programs, &dir, ".age", move || {
            let mut command = Command::new("bash");
            command
                .args(["-euo", "pipefail", "-c", &script, "bash"])
                .arg(&work);
            command
        })
    }

    fn ours(&self, name: &str, dir: &str, ending: &'static str, arguments: &str) -> Contender {
        let (config, arguments) = (self.config.clone(), arguments.to_owned());
        Contender::new(name, &[], &self.work.join(dir), ending, move || {
            let mut command = Command::new(binary());
            command.arg("--config").arg(&config).arg("--quiet");
            command.args(arguments.split(' '));
            command
        })
    }
}

const PLAIN: &str = "dbbackup backup, zstd";
const SEALED: &str = "dbbackup backup, zstd and age";
const TYPED: &str = "sqlite3 .backup, then zstd -T2 | age";
const READ_PLAIN: &str = "dbbackup verify --level content";
const READ_SEALED: &str = "dbbackup verify --level content, encrypted";
const READ_TYPED: &str = "age -d | zstd -d >/dev/null";

fn backups(stage: &Stage) -> Table {
    let database = stage.database.display();
    let typed = format!(
        "mkdir -p \"$1/typed\"; sqlite3 {database} \".backup '$1/typed/copy'\"; zstd -q -3 -T2 -c \
         \"$1/typed/copy\" | age -r {} > \"$1/typed/app.zst.age\"; rm \"$1/typed/copy\"; sync \
         \"$1/typed/app.zst.age\"",
        stage.recipient
    );
    let contenders = vec![
        stage.ours(PLAIN, "plain/app", ".zst", "--store plain backup app"),
        stage.ours(
            SEALED,
            "sealed/app",
            ".zst.age",
            "--store sealed backup app",
        ),
        stage.script(TYPED, &["sqlite3", "zstd", "age"], "typed", typed),
    ];
    Table::new("Backup", PLAIN, contenders)
}

/// Reads a backup that stays: what a turn removes is in a directory that nobody writes to.
fn readings(stage: &Stage) -> Table {
    for store in ["plain", "sealed"] {
        let made = stage
            .dbbackup(&format!("--store {store} backup app"))
            .status();
        assert!(made.unwrap().success());
        let (from, to) = (
            stage.work.join(store),
            stage.work.join(format!("read-{store}")),
        );
        std::fs::rename(from, to).unwrap();
    }
    let identity = stage.identity.display();
    let dump = only_file(&stage.work.join("read-sealed/app"), ".sqlite3.zst.age").unwrap();
    let typed = format!(
        "age -d -i {identity} {} | zstd -q -d >/dev/null",
        dump.display()
    );
    let verify = |store: &str| {
        let store = stage.work.join(format!("read-{store}"));
        format!(
            "--store {} --identity {identity} verify app --level content",
            store.display()
        )
    };
    let contenders = vec![
        stage.ours(READ_PLAIN, "nothing", "out", &verify("plain")),
        stage.ours(READ_SEALED, "nothing", "out", &verify("sealed")),
        stage.script(READ_TYPED, &["zstd", "age"], "nothing", typed),
    ];
    Table::new("Reading it", READ_PLAIN, contenders)
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 3).max(1);
    common::describe_machine();
    println!("age:       {}", common::first_line("age", "--version"));
    let place = common::workplace();
    let database = common::database::shop(&place, common::mebibytes());
    let work = tempfile::Builder::new()
        .prefix("encryption-")
        .tempdir_in(&place)
        .unwrap();
    let stage = Stage::new(work.path(), &database);
    let readings = readings(&stage);
    let mut tables = [backups(&stage), readings];
    println!(
        "database: {:.0} MB; {rounds} rounds",
        megabytes(common::size(&database))
    );
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for table in &mut tables {
            for contender in &mut table.contenders {
                contender.turn(round, || warm(&database));
            }
        }
    }
    explain_columns();
    tables.iter().for_each(Table::print);
    println!("\nAims, by the least times");
    if let Some((sealed, plain)) = tables[0].least(SEALED).zip(tables[0].least(PLAIN)) {
        let ratio = sealed / plain;
        let what = "encrypted at most 1.15 times the backup in the clear".to_owned();
        aim(what, format!("{ratio:.2}"), ratio <= 1.15);
    }
    memory_of_ours(&tables, 128);
}
