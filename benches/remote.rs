//! `cargo bench --bench remote`: backups that go straight to a store of S3 beside local ones,
//! copies beside `rclone copyto` and `aws s3 cp` of the same bytes, and the list of very many
//! backups beside `rclone copy` of their sidecars, in one run.
//!
//! The server is s3s-fs on the loopback, in a process of its own. `DBBACKUP_BENCH_ROUNDS` says how
//! many rounds (3 by default), `DBBACKUP_BENCH_MIB` how large the database is (1200 by default),
//! `DBBACKUP_BENCH_BACKUPS` how many backups are listed (10,000 by default).

mod common;
#[path = "../tests/servers/s3.rs"]
mod s3;

use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::{Role, binary, only_file, warm};
use s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(kind, arguments) if kind == "make-database" => {
            common::database::make(Path::new(&arguments[0]), arguments[1].parse().unwrap())
        }
        Role::Part(..) => serve(),
        Role::None => println!("run me by `cargo bench --bench remote`: it takes minutes"),
    }
}

/// Serves until whoever started it closes its standard input.
fn serve() {
    let server = S3Server::start();
    println!("{}\n{}", server.endpoint(), server.bucket_path().display());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// The server's process; it ends when this is dropped.
struct Server {
    child: Child,
    endpoint: String,
    bucket: PathBuf,
}

impl Server {
    fn start(place: &Path) -> Server {
        let mut child = common::part("serve", &[])
            .env("TMPDIR", place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (endpoint, bucket) = (line(), PathBuf::from(line()));
        Server {
            child,
            endpoint,
            bucket,
        }
    }

    /// A program with the keys for the server in its environment.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("RCLONE_CONFIG_BENCH_TYPE", "s3")
            .env("RCLONE_CONFIG_BENCH_PROVIDER", "Other")
            .env("RCLONE_CONFIG_BENCH_ENDPOINT", &self.endpoint)
            .env("RCLONE_CONFIG_BENCH_ACCESS_KEY_ID", ACCESS_KEY)
            .env("RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            // With one rclone refuses to start.
            .env_remove("AWS_CA_BUNDLE")
            // The server knows no checksums behind a body.
            .env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What all contenders work with.
struct Stage {
    server: Server,
    config: PathBuf,
    work: PathBuf,
}

impl Stage {
    fn new(work: &Path, database: &Path) -> Stage {
        let server = Server::start(work);
        let store = |name: &str| {
            format!(
                "[stores.{name}]\nurl = 's3://{BUCKET}/{name}'\nendpoint = '{}'\naccess_key = \
                 '{ACCESS_KEY}'\nsecret_key = '{SECRET_KEY}'\n",
                server.endpoint
            )
        };
        let text = format!(
            "[store]\npath = {:?}\n[stores.turns]\npath = {:?}\n[stores.listed]\npath = \
             {:?}\n{}{}{}[backup]\ncompression = 'zstd'\ncleanup_after = false\nscratch_dir = \
             {work:?}\n[sources.app]\nkind = 'sqlite'\npath = {database:?}\n",
            work.join("store"),
            work.join("turns"),
            work.join("listed"),
            store("straight"),
            store("copies"),
            store("many"),
        );
        let config = work.join("remote.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        Stage {
            server,
            config,
            work: work.to_owned(),
        }
    }

    fn dbbackup(&self, arguments: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&self.config).arg("--quiet");
        command.args(arguments.split(' '));
        command
    }

    fn run(&self, arguments: &str) {
        let status = self.dbbackup(arguments).status().unwrap();
        assert!(status.success(), "{arguments}");
    }

    /// A contender whose command is made once and repeated.
    fn contender(
        &self,
        name: &str,
        programs: &[&'static str],
        dir: PathBuf,
        ending: &'static str,
        command: Command,
    ) -> Contender {
        Contender::new(name, programs, &dir, ending, move || repeated(&command))
    }
}

/// The same command once more.
fn repeated(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    again
}

const LOCAL: &str = "dbbackup zstd, to a directory";
const STRAIGHT: &str = "dbbackup zstd, straight to S3";
const RCLONE_COPY: &str = "rclone copyto";
const COPY: &str = "dbbackup copy";
const RCLONE_FETCH: &str = "rclone copy --transfers 16, every sidecar";
const LIST: &str = "dbbackup list";
const LIST_LOCAL: &str = "dbbackup list, the same in a directory";
const NAMES: &str = "rclone lsf, the names alone";

fn backups(stage: &Stage) -> Table {
    let bucket = &stage.server.bucket;
    let contenders = vec![
        stage.contender(
            LOCAL,
            &[],
            stage.work.join("turns/app"),
            ".zst",
            stage.dbbackup("--store turns backup app"),
        ),
        stage.contender(
            STRAIGHT,
            &[],
            bucket.join("straight/app"),
            ".zst",
            stage.dbbackup("--store straight backup app"),
        ),
    ];
    Table::new("Backup", LOCAL, contenders)
}

fn copies(stage: &Stage) -> Table {
    stage.run("backup app");
    let dump = only_file(&stage.work.join("store/app"), ".zst").unwrap();
    let bucket = &stage.server.bucket;
    let mut rclone = stage.server.client("rclone");
    rclone.arg("copyto").arg(&dump);
    rclone.arg(format!("bench:{BUCKET}/rclone/dump.zst"));
    let mut aws = stage.server.client("aws");
    aws.args(["s3", "cp", "--quiet"]).arg(&dump);
    aws.arg(format!("s3://{BUCKET}/aws/dump.zst"));
    let contenders = vec![
        stage.contender(
            RCLONE_COPY,
            &["rclone"],
            bucket.join("rclone"),
            ".zst",
            rclone,
        ),
        stage.contender("aws s3 cp", &["aws"], bucket.join("aws"), ".zst", aws),
        stage.contender(
            COPY,
            &[],
            bucket.join("copies/app"),
            ".zst",
            stage.dbbackup("copy app --to copies"),
        ),
    ];
    Table::new("Copy of that backup to S3", RCLONE_COPY, contenders)
}

/// Makes very many backups of the only one in a store, each with a dump of a byte.
fn multiply(store: &Path, to: &Path, count: u64) {
    let dir = to.join("app");
    std::fs::create_dir_all(&dir).unwrap();
    let mark = "dbbackup-store.json";
    std::fs::copy(store.join(mark), to.join(mark)).unwrap();
    let sidecars = std::fs::read_dir(store.join("app")).unwrap();
    let path = sidecars
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with("Z.json") && !name.starts_with('.')
        })
        .unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut sidecar: serde_json::Value = serde_json::from_str(&text).unwrap();
    let first = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    for number in 0..count {
        let at = first + chrono::TimeDelta::hours(number as i64);
        let id = format!("app_manual_{}", at.format("%Y%m%dT%H%M%SZ"));
        let file = format!("{id}.sqlite3.zst");
        sidecar["id"] = id.as_str().into();
        let moment = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        sidecar["started_at"] = moment.as_str().into();
        sidecar["dump"]["file"] = file.as_str().into();
        sidecar["dump"]["size_bytes"] = 1.into();
        let text = serde_json::to_string_pretty(&sidecar).unwrap();
        std::fs::write(dir.join(format!("{id}.json")), text).unwrap();
        std::fs::write(dir.join(file), "x").unwrap();
    }
}

fn lists(stage: &Stage, count: u64) -> Table {
    let bucket = &stage.server.bucket;
    multiply(&stage.work.join("store"), &stage.work.join("listed"), count);
    multiply(&stage.work.join("store"), &bucket.join("many"), count);
    // Without the slash it asks whether that is an object, which this server does not answer.
    let many = format!("bench:{BUCKET}/many/app/");
    let rclone = |arguments: &[&str]| {
        let mut command = stage.server.client("rclone");
        command.args(arguments).arg(&many);
        command
    };
    // `rclone cat` gives nothing of a directory of this server.
    let mut fetch = stage.server.client("sh");
    fetch.args([
        "-c",
        "exec rclone copy --transfers 16 --include '*.json' \"$0\" \"$(mktemp -d -p \"$1\")\"",
    ]);
    fetch.arg(&many).arg(&stage.work);
    let nothing = || stage.work.join("nothing");
    let contenders = vec![
        stage.contender(RCLONE_FETCH, &["rclone"], nothing(), "out", fetch),
        stage.contender(
            LIST,
            &[],
            nothing(),
            "out",
            stage.dbbackup("--store many list app --json"),
        ),
        stage.contender(
            LIST_LOCAL,
            &[],
            nothing(),
            "out",
            stage.dbbackup("--store listed list app --json"),
        ),
        stage.contender(NAMES, &["rclone"], nothing(), "out", rclone(&["lsf"])),
    ];
    let title = format!("List of {count} backups in S3");
    Table::new(&title, RCLONE_FETCH, contenders)
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 3).max(1);
    let count = common::number("DBBACKUP_BENCH_BACKUPS", 10_000);
    common::describe_machine();
    println!("rclone:    {}", common::first_line("rclone", "version"));
    println!("aws:       {}", common::first_line("aws", "--version"));
    let place = common::workplace();
    let database = common::database::shop(&place, common::mebibytes());
    let work = tempfile::Builder::new()
        .prefix("remote-")
        .tempdir_in(&place)
        .unwrap();
    let stage = Stage::new(work.path(), &database);
    // The server has files of it where the stores' directories are: no store is made anew.
    for store in ["turns", "straight"] {
        stage.run(&format!("--store {store} backup app"));
        let directory = match store {
            "turns" => stage.work.join("turns/app"),
            _ => stage.server.bucket.join("straight/app"),
        };
        common::remove(&directory);
    }
    let mut tables = [backups(&stage), copies(&stage), lists(&stage, count)];
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
    print_aims(&tables);
}

fn print_aims(tables: &[Table; 3]) {
    println!("\nAims, by the least times");
    let [backups, copies, lists] = tables;
    let ratio = |table: &Table, ours, theirs| Some(table.least(ours)? / table.least(theirs)?);
    if let Some(found) = ratio(backups, STRAIGHT, LOCAL) {
        let what = "straight to S3 at most 1.15 times the local backup".to_owned();
        aim(what, format!("{found:.2}"), found <= 1.15);
    }
    if let Some(found) = ratio(copies, RCLONE_COPY, COPY) {
        let what = "a copy at 0.9 of rclone's rate at least".to_owned();
        aim(what, format!("{found:.2}"), found >= 0.9);
    }
    if let Some(found) = ratio(lists, LIST, RCLONE_FETCH) {
        let what = "a list at most 1.5 times `rclone copy`".to_owned();
        aim(what, format!("{found:.2}"), found <= 1.5);
    }
    let index = lists.least(NAMES).zip(lists.least(LIST_LOCAL));
    if let (Some((names, local)), Some(now)) = (index, lists.least(LIST)) {
        println!(
            "   with the sidecars at hand, a list would take about {:.2} s in place of {now:.2}",
            names + local
        );
    }
    memory_of_ours(tables, 128);
}
