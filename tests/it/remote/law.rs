//! The law of stores on other machines: whatever a store answers once, either the exit code is not
//! 0 or the newest backup restores; every backup that was good before, and that the policy keeps,
//! is still listed and restores; nothing hangs past its bound; and nothing is listed that does not
//! restore. The next honest run then does its work and leaves no debris.
//!
//! [`Lie`] for [`Lie`], at the first request of a run, at the second, and so on to its last one.
//! `DBBACKUP_LIES=all` tries all of them, in an hour; otherwise they are a sample, whose
//! seed is printed and is taken from `DBBACKUP_SEED`.

use super::liar::{Liar, Lie, SeenRequest};
use super::place::configure;
use super::s3::S3Server;
use super::{LEAST_PART, big_database, s3_settings};
use crate::seeds::{Random, seed};
use crate::support::{Call, Ran, World, contents};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a run may take: the bounds on silence and on trying again are three seconds together,
/// and a run that gives up takes them once for each thing that it would tidy up.
const BOUND: Duration = Duration::from_secs(60);

/// How many backups there are, of which cleanup keeps two.
const BACKUPS: usize = 3;

/// What is run while the store lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Backup,
    /// In parts, and read back whole.
    BackupInParts,
    /// With the retention that follows it.
    BackupAndPrune,
    Cleanup,
    Verify,
    Restore,
    List,
}

impl Operation {
    const ALL: &'static [Operation] = &[
        Operation::Backup,
        Operation::BackupInParts,
        Operation::BackupAndPrune,
        Operation::Cleanup,
        Operation::Verify,
        Operation::Restore,
        Operation::List,
    ];

    fn arguments(self) -> &'static str {
        match self {
            Operation::Backup => "--config liar.toml --store far backup app",
            Operation::BackupInParts => "--config parts.toml --store far backup app",
            Operation::BackupAndPrune => "--config prune.toml --store far backup app",
            Operation::Cleanup => "--config liar.toml --store far cleanup app --keep-last 2",
            Operation::Verify => "--config liar.toml --store far verify app --level restore",
            Operation::Restore => "--config liar.toml --store far restore app --to out.db --yes",
            Operation::List => "--config liar.toml --store far list",
        }
    }

    fn makes_a_backup(self) -> bool {
        matches!(
            self,
            Operation::Backup | Operation::BackupInParts | Operation::BackupAndPrune
        )
    }

    fn removes(self) -> bool {
        matches!(self, Operation::BackupAndPrune | Operation::Cleanup)
    }

    /// Whether such a lie at such a request can be seen through. What the store stored otherwise
    /// than it says is found where it is read back.
    fn is_worth(self, lie: Lie, request: &SeenRequest) -> bool {
        lie.fits(request) && (lie != Lie::FlipStored || self == Operation::BackupInParts)
    }
}

/// A lie at a request of an operation.
struct Case {
    operation: Operation,
    lie: Lie,
    position: usize,
    request: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            operation,
            lie,
            position,
            request,
        } = self;
        write!(f, "{operation:?}: {lie:?} at {position}, `{request}`")
    }
}

/// A database with three backups in a store, and the liar before it. Each worker has its own.
struct Stage {
    world: World,
    server: S3Server,
    liar: Liar,
    /// What the server had before the case.
    before: PathBuf,
    /// The backups, oldest first.
    ids: Vec<String>,
    /// What is in each.
    contents: HashMap<String, String>,
    /// What is in the database that goes in parts.
    big: String,
}

impl Stage {
    fn new() -> Stage {
        let world = World::new();
        let server = S3Server::start();
        let liar = Liar::start(&server.endpoint(), server.bucket_path());
        let source = "[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n";
        let common = "[backup]\ncompression = 'zstd'\n";
        let store = |endpoint: &str, more: &str| {
            let settings = s3_settings("far", endpoint, "web1");
            format!("{common}{source}{settings}{more}")
        };
        let lying = |more: &str| store(&liar.endpoint(), more);
        let read_back = lying("verify_upload = 'read'\n");
        let pruning = lying("[stores.far.retention]\nkeep_last = 2\n");
        for (name, text) in [
            ("direct.toml", store(&server.endpoint(), "")),
            ("liar.toml", lying("")),
            ("parts.toml", read_back.replace("app.db", "big.db")),
            ("prune.toml", pruning),
        ] {
            configure(&world, name, &text);
        }
        world.shop("app.db");
        big_database(&world, "big.db");
        let (before, big) = (world.path("before"), contents(&world.path("big.db")));
        let mut stage = Stage {
            world,
            server,
            liar,
            before,
            ids: Vec::new(),
            contents: HashMap::new(),
            big,
        };
        for number in 0..BACKUPS {
            stage.world.sql(
                "app.db",
                &format!("INSERT INTO customer(name) VALUES ('number {number}')"),
            );
            let made = stage.backup_honestly();
            let id = made["id"].as_str().unwrap().to_owned();
            stage
                .contents
                .insert(id.clone(), contents(&stage.world.path("app.db")));
            stage.ids.push(id);
        }
        // What an old answer is remembered of.
        for operation in [Operation::Verify, Operation::List] {
            stage.call(operation).run().exits(0);
        }
        copy_all(&stage.root(), &stage.before);
        stage
    }

    fn backup_honestly(&self) -> serde_json::Value {
        self.world
            .dbbackup("--config liar.toml --store far backup app --json")
            .run()
            .exits(0)
            .made()
    }

    /// The directory in which the server keeps everything.
    fn root(&self) -> PathBuf {
        self.server.bucket_path().parent().unwrap().to_owned()
    }

    /// Everything as it was before the first case.
    fn reset(&self) {
        for entry in std::fs::read_dir(self.root()).unwrap() {
            let path = entry.unwrap().path();
            let _ = match path.is_dir() {
                true => std::fs::remove_dir_all(path),
                false => std::fs::remove_file(path),
            };
        }
        copy_all(&self.before, &self.root());
        let _ = std::fs::remove_file(self.world.path("out.db"));
        self.liar.be_honest();
    }

    fn call(&self, operation: Operation) -> Call {
        self.world
            .dbbackup(operation.arguments())
            .env("DBBACKUP_TEST_SILENCE", "1000")
            .env("DBBACKUP_TEST_PART_SIZE", LEAST_PART)
    }

    fn directly(&self, arguments: &str) -> Ran {
        self.world
            .dbbackup(&format!("--config direct.toml --store far {arguments}"))
            .run()
    }

    /// The requests of an honest run.
    fn requests(&self, operation: Operation) -> Vec<SeenRequest> {
        self.reset();
        self.call(operation).run().exits(0);
        self.liar.seen()
    }

    /// What of the law the case breaks.
    fn violations(&self, case: &Case) -> Vec<String> {
        self.reset();
        self.liar.lie(case.lie, case.position);
        let began = Instant::now();
        let mut running = self.call(case.operation).start();
        while !running.ended() && began.elapsed() < BOUND {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !running.ended() {
            running.child.kill().unwrap();
            return vec![format!("it hangs\n{}", running.wait())];
        }
        let ran = running.wait();
        self.liar.be_honest();
        let mut wrong = self.judge(case, &ran);
        if wrong.is_empty() {
            wrong = self.judge_the_next_run(case.lie);
        }
        if !wrong.is_empty() {
            wrong.push(format!("{ran}"));
        }
        wrong
    }

    fn judge(&self, case: &Case, ran: &Ran) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_success = ran.code() == 0;
        let has_a_word = ["error:", "warning:"]
            .iter()
            .any(|word| ran.stderr.contains(word));
        if ran.code() == 101 || !(is_success || has_a_word) {
            wrong.push("it fails without a word".to_owned());
        }
        let listed = match self.listed() {
            Ok(listed) => listed,
            Err(why) if is_success => return vec![format!("not listed afterwards: {why}")],
            Err(_) => return wrong,
        };
        let kept = match case.operation.removes() {
            true => &self.ids[self.ids.len() - 2..],
            false => &self.ids[..],
        };
        let has_new = listed.iter().any(|id| !self.ids.contains(id));
        // A backup more is one of the two that stay.
        let kept = match has_new && case.operation.removes() {
            true => &kept[1..],
            false => kept,
        };
        for id in kept.iter().filter(|id| !listed.contains(id)) {
            wrong.push(format!("`{id}` was good, and is gone"));
        }
        if is_success && case.operation.makes_a_backup() && !has_new {
            wrong.push("success, and there is no new backup".to_owned());
        }
        let verified = self.directly(&format!("verify {} --level content", listed.join(" ")));
        if !listed.is_empty() && verified.code() != 0 {
            wrong.push(format!("what is listed does not verify: {verified}"));
        }
        let restored = self.directly("restore app --to new.db --yes");
        let new = self.world.path("new.db");
        match restored.code() {
            0 => {
                let is_big = has_new && case.operation == Operation::BackupInParts;
                if contents(&new) != *self.newest(is_big) {
                    wrong.push("another content is restored".to_owned());
                }
            }
            _ => wrong.push(format!("it does not restore: {restored}")),
        }
        let _ = std::fs::remove_file(new);
        if case.operation == Operation::Restore {
            wrong.extend(self.judge_the_restored(case, is_success));
        }
        wrong
    }

    fn judge_the_restored(&self, case: &Case, is_success: bool) -> Option<String> {
        let out = self.world.path("out.db");
        if !out.exists() {
            return is_success.then(|| "success, and nothing is restored".to_owned());
        }
        let restored = contents(&out);
        let is_newest = restored == *self.newest(false);
        // A list that leaves a whole backup out can't be told from one of a store without it.
        let may_be_older = matches!(
            case.lie,
            Lie::ShortList | Lie::HalfList | Lie::Older | Lie::FlipAnswer | Lie::Swap
        );
        let is_one = self.contents.values().any(|known| *known == restored);
        match is_newest || may_be_older && is_one {
            true => None,
            false => Some("something else is restored".to_owned()),
        }
    }

    /// What is in the newest backup. The database did not change after the last one.
    fn newest(&self, is_big: bool) -> &str {
        match is_big {
            true => &self.big,
            false => &self.contents[&self.ids[self.ids.len() - 1]],
        }
    }

    /// The ids that are listed, or why they can't be.
    fn listed(&self) -> Result<Vec<String>, String> {
        let listed = self.directly("list --json");
        if listed.code() != 0 {
            return Err(listed.to_string());
        }
        let backups = listed.json();
        let backups = backups["backups"].as_array().unwrap().iter();
        Ok(backups
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect())
    }

    /// The next run succeeds, and leaves nothing of the one before.
    fn judge_the_next_run(&self, lie: Lie) -> Vec<String> {
        let mut wrong = Vec::new();
        let next = self.directly("backup app");
        if next.code() != 0 {
            wrong.push(format!("the next run fails: {next}"));
        }
        let debris = super::debris(&self.server.bucket_path().join("web1/app"));
        // A reservation that can't be read is somebody's, until it is a week old.
        if !debris.is_empty() && lie != Lie::FlipStored {
            wrong.push(format!("debris is left: {debris:?}"));
        }
        let parts = self.server.unfinished_parts();
        if !parts.is_empty() {
            wrong.push(format!("parts of uploads are left: {parts:?}"));
        }
        wrong
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_all(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

/// Every lie at every request of an honest run.
fn all_cases(stage: &Stage) -> Vec<Case> {
    let mut cases = Vec::new();
    for &operation in Operation::ALL {
        let requests = stage.requests(operation);
        println!("{operation:?}: {} requests", requests.len());
        for (index, request) in requests.iter().enumerate() {
            let lies = Lie::ALL.iter().copied();
            cases.extend(
                lies.filter(|lie| operation.is_worth(*lie, request))
                    .map(|lie| Case {
                        operation,
                        lie,
                        position: index + 1,
                        request: request.line.clone(),
                    }),
            );
        }
    }
    cases
}

/// What breaks the law, of these cases, tried by some workers.
fn try_all(first: Stage, cases: Vec<Case>, workers: usize) -> Vec<String> {
    let queue = Mutex::new(cases);
    let found = Mutex::new(Vec::new());
    let work = |stage: Stage| {
        loop {
            let (case, left) = {
                let mut queue = queue.lock().unwrap();
                let Some(case) = queue.pop() else {
                    return;
                };
                (case, queue.len())
            };
            if left % 200 == 0 {
                println!("{left} cases are left");
            }
            let wrong = stage.violations(&case);
            if !wrong.is_empty() {
                let text = format!("{case}\n  {}", wrong.join("\n  "));
                println!("VIOLATION {text}");
                found.lock().unwrap().push(text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| work(Stage::new()));
        }
        work(first);
    });
    found.into_inner().unwrap()
}

fn shuffle<T>(values: &mut [T], random: &mut Random) {
    for index in (1..values.len()).rev() {
        values.swap(index, random.below(index as u64 + 1) as usize);
    }
}

#[test]
fn whatever_a_store_says_the_law_holds() {
    let stage = Stage::new();
    let mut cases = all_cases(&stage);
    let whole = cases.len();
    shuffle(&mut cases, &mut Random::new(seed()));
    // They wait more than they work.
    let workers = match std::env::var("DBBACKUP_LIES").as_deref() {
        Ok("all") => 12,
        _ => {
            cases.truncate(60);
            4
        }
    };
    println!("{} of {whole} cases", cases.len());
    let began = Instant::now();
    let broken = try_all(stage, cases, workers);
    println!("took {:?}", began.elapsed());
    assert!(
        broken.is_empty(),
        "{} cases break the law:\n{}",
        broken.len(),
        broken.join("\n\n")
    );
}
