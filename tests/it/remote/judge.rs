//! The judge of stores on other machines, which holds every kind of them to the law that `law`
//! tells: a [`Stage`] in front of a [`LyingServer`], what is run there, and what is looked at after
//! it.

use super::place::configure;
use super::{LEAST_PART, big_database, debris};
use crate::moments::next_second;
use crate::seeds::{Random, seed};
use crate::support::{Call, Ran, World, contents};
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a run may take: the bounds on silence and on trying again are three seconds together,
/// and a run that gives up takes them once for each thing that it would tidy up.
const BOUND: Duration = Duration::from_secs(60);

/// How many backups there are, of which cleanup keeps the last two, and the oldest, which is
/// pinned.
const BACKUPS: usize = 4;

/// What is run while the store lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Backup,
    /// In parts, and read back whole.
    BackupInParts,
    /// With the retention that follows it.
    BackupAndPrune,
    Cleanup,
    Verify,
    Restore,
    List,
    /// From the store to another one behind the same server, which has the oldest backup.
    Copy,
    /// To a directory of this machine, and from there to the store.
    BackupWithCopy,
}

impl Operation {
    pub const ALL: &'static [Operation] = &[
        Operation::Backup,
        Operation::BackupInParts,
        Operation::BackupAndPrune,
        Operation::Cleanup,
        Operation::Verify,
        Operation::Restore,
        Operation::List,
        Operation::Copy,
        Operation::BackupWithCopy,
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
            Operation::Copy => "--config liar.toml copy app --from far --to other --missing",
            Operation::BackupWithCopy => "--config copies.toml backup app",
        }
    }

    fn makes_a_backup(self) -> bool {
        matches!(
            self,
            Operation::Backup
                | Operation::BackupInParts
                | Operation::BackupAndPrune
                | Operation::BackupWithCopy
        )
    }

    fn removes(self) -> bool {
        matches!(self, Operation::BackupAndPrune | Operation::Cleanup)
    }
}

/// A lie at a request of an operation.
pub struct Case<L> {
    pub operation: Operation,
    pub lie: L,
    /// Counted from 1.
    pub position: usize,
    /// For people.
    pub request: String,
}

impl<L: Debug> fmt::Display for Case<L> {
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

/// A real server, and somebody before it who lies when told to.
pub trait LyingServer: Sized + Sync {
    /// What it does in place of the truth.
    type Lie: Copy + Debug + Send;

    /// The operations that are tried.
    const OPERATIONS: &'static [Operation];

    /// Starts both.
    fn start() -> Self;

    /// `[stores.NAME]` of a directory `prefix`, with or without the liar.
    fn settings(&self, name: &str, prefix: &str, is_honest: bool) -> String;

    /// What the configuration says beside its sources and stores.
    fn more_settings(&self) -> String {
        String::new()
    }

    /// The directory in which the server keeps everything.
    fn root(&self) -> PathBuf;

    /// The directory in which it keeps the files of a source.
    fn source_directory(&self, prefix: &str) -> PathBuf;

    /// What it keeps of uploads that were never finished.
    fn unfinished(&self) -> Vec<String>;

    /// Begins to count requests anew, and lies at that one.
    fn lie(&self, lie: Self::Lie, position: usize);

    /// Is honest from here on, and begins to count anew; what was seen so far is forgotten.
    fn be_honest(&self);

    /// The requests since it began to count, and every lie that is worth telling at each.
    fn lies_worth_telling(&self, operation: Operation) -> Vec<(String, Vec<Self::Lie>)>;

    /// Whether the lie may make the newest backup look as if it were not there, or were another
    /// one. That can't be told from a store without it.
    fn may_hide_a_backup(lie: Self::Lie) -> bool;

    /// Whether the lie may leave a file of this name, as only time tells that from one of a run
    /// that is under way.
    fn may_leave(lie: Self::Lie, name: &str) -> bool;
}

/// A database with four backups in a store behind a liar. Each worker has its own.
pub struct Stage<S> {
    world: World,
    server: S,
    /// What the server had before the case.
    before: PathBuf,
    /// The backups, oldest first.
    ids: Vec<String>,
    /// What is in each.
    contents: HashMap<String, String>,
    /// What is in the database that goes in parts.
    big: String,
}

impl<S: LyingServer> Stage<S> {
    pub fn new() -> Stage<S> {
        let (world, server) = (World::new(), S::start());
        let source = "[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n";
        let config = |is_honest: bool, more: &str| {
            let other = server.settings("other", "web2", is_honest);
            let far = server.settings("far", "web1", is_honest);
            let tables = format!("{source}{}{other}{far}{more}", server.more_settings());
            format!("[backup]\ncompression = 'zstd'\n{tables}")
        };
        let with_copies = |is_honest: bool| {
            let tables = "[store]\npath = 'local'\n[backup]\ncopies = ['far']\n";
            config(is_honest, "").replacen("[backup]\n", tables, 1)
        };
        let read_back = config(false, "verify_upload = 'read'\n");
        for (name, text) in [
            ("direct.toml", config(true, "")),
            ("liar.toml", config(false, "")),
            ("copies.toml", with_copies(false)),
            ("honest-copies.toml", with_copies(true)),
            ("parts.toml", read_back.replace("app.db", "big.db")),
            (
                "prune.toml",
                config(false, "[stores.far.retention]\nkeep_last = 2\n"),
            ),
        ] {
            configure(&world, name, &text);
        }
        world.shop("app.db");
        big_database(&world, "big.db");
        let (before, big) = (world.path("before"), contents(&world.path("big.db")));
        let mut stage = Stage {
            world,
            server,
            before,
            ids: Vec::new(),
            contents: HashMap::new(),
            big,
        };
        stage.fill();
        stage
    }

    fn fill(&mut self) {
        for number in 0..BACKUPS {
            let change = format!("INSERT INTO customer(name) VALUES ('number {number}')");
            self.world.sql("app.db", &change);
            let made = self.call("--config liar.toml --store far backup app --json");
            let made = made.run().exits(0).made();
            let id = made["id"].as_str().unwrap().to_owned();
            let known = contents(&self.world.path("app.db"));
            self.contents.insert(id.clone(), known);
            self.ids.push(id);
            if number == 0 {
                let first = "--config liar.toml copy app --from far --to other";
                self.call(first).run().exits(0);
                let pin = format!("--config liar.toml --store far pin {}", self.ids[0]);
                self.call(&pin).run().exits(0);
            }
        }
        // An old answer is one of these.
        for operation in [Operation::Verify, Operation::List] {
            self.call(operation.arguments()).run().exits(0);
        }
        copy_all(&self.server.root(), &self.before);
        // A backup elsewhere that is copied there must not have the id of one of these.
        next_second();
    }

    /// Everything as it was before the first case.
    fn reset(&self) {
        self.server.be_honest();
        for entry in std::fs::read_dir(self.server.root()).unwrap() {
            let path = entry.unwrap().path();
            let _ = match path.is_dir() {
                true => std::fs::remove_dir_all(path),
                false => std::fs::remove_file(path),
            };
        }
        copy_all(&self.before, &self.server.root());
        let _ = std::fs::remove_file(self.world.path("out.db"));
        let _ = std::fs::remove_dir_all(self.world.path("local"));
    }

    fn call(&self, arguments: &str) -> Call {
        self.world
            .dbbackup(arguments)
            .env("DBBACKUP_TEST_PART_SIZE", LEAST_PART)
    }

    fn directly(&self, arguments: &str) -> Ran {
        let line = format!("--config direct.toml {arguments}");
        self.world.dbbackup(&line).run()
    }

    /// Every lie at every request of an honest run of each operation.
    fn all_cases(&self) -> Vec<Case<S::Lie>> {
        let mut cases = Vec::new();
        for &operation in S::OPERATIONS {
            self.reset();
            self.call(operation.arguments()).run().exits(0);
            let seen = self.server.lies_worth_telling(operation);
            let count: usize = seen.iter().map(|(_, lies)| lies.len()).sum();
            println!("{operation:?}: {} requests, {count} cases", seen.len());
            for (index, (request, lies)) in seen.into_iter().enumerate() {
                cases.extend(lies.into_iter().map(|lie| Case {
                    operation,
                    lie,
                    position: index + 1,
                    request: request.clone(),
                }));
            }
        }
        cases
    }

    /// What of the law the case breaks.
    fn violations(&self, case: &Case<S::Lie>) -> Vec<String> {
        self.reset();
        self.server.lie(case.lie, case.position);
        let began = Instant::now();
        let call = self.call(case.operation.arguments());
        let call = call.env("DBBACKUP_TEST_SILENCE", "1000");
        let mut running = call.env("DBBACKUP_TEST_CONNECT", "3000").start();
        while !running.ended() && began.elapsed() < BOUND {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !running.ended() {
            running.child.kill().unwrap();
            return vec![format!("it hangs\n{}", running.wait())];
        }
        let ran = running.wait();
        self.server.be_honest();
        let mut wrong = self.judge(case, &ran);
        match case.operation {
            Operation::Copy => wrong.extend(self.judge_the_copies(case, ran.code() == 0)),
            Operation::BackupWithCopy => wrong.extend(self.judge_the_local()),
            _ => {}
        }
        if wrong.is_empty() {
            wrong = self.judge_the_next_run(case);
        }
        if !wrong.is_empty() {
            wrong.push(format!("{ran}"));
        }
        wrong
    }

    fn judge(&self, case: &Case<S::Lie>, ran: &Ran) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_success = ran.code() == 0;
        let has_a_word = ["error:", "warning:"]
            .iter()
            .any(|word| ran.stderr.contains(word));
        if ran.code() == 101 || !(is_success || has_a_word) {
            wrong.push("it fails without a word".to_owned());
        }
        let listed = match self.listed("far") {
            Ok(listed) => listed,
            Err(why) if is_success => return vec![format!("not listed afterwards: {why}")],
            Err(_) => return wrong,
        };
        let kept = match case.operation.removes() {
            true => &self.ids[self.ids.len() - 2..],
            false => &self.ids[1..],
        };
        let has_new = listed.iter().any(|id| !self.ids.contains(id));
        // A backup more is one of the two that stay.
        let kept = match has_new && case.operation.removes() {
            true => &kept[1..],
            false => kept,
        };
        let pinned = &self.ids[..1];
        for id in pinned.iter().chain(kept).filter(|id| !listed.contains(id)) {
            wrong.push(format!("`{id}` was good, and is gone"));
        }
        if is_success && case.operation.makes_a_backup() && !has_new {
            wrong.push("success, and there is no new backup".to_owned());
        }
        let is_big = has_new && case.operation == Operation::BackupInParts;
        wrong.extend(self.judge_the_listed("far", &listed, self.newest(is_big)));
        if case.operation == Operation::Restore {
            wrong.extend(self.judge_the_restored(case, is_success));
        }
        wrong
    }

    /// What is listed verifies, and the newest of it restores.
    fn judge_the_listed(&self, store: &str, listed: &[String], newest: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let verify = format!(
            "--store {store} verify {} --level content",
            listed.join(" ")
        );
        let verified = self.directly(&verify);
        if !listed.is_empty() && verified.code() != 0 {
            wrong.push(format!("what is listed does not verify: {verified}"));
        }
        let restored = self.directly(&format!("--store {store} restore app --to new.db --yes"));
        let new = self.world.path("new.db");
        match restored.code() {
            0 if contents(&new) != newest => wrong.push("another content is restored".to_owned()),
            0 => {}
            _ => wrong.push(format!("it does not restore: {restored}")),
        }
        let _ = std::fs::remove_file(new);
        wrong
    }

    /// The other store has what it had, lists only what restores, and after a success it has all.
    fn judge_the_copies(&self, case: &Case<S::Lie>, is_success: bool) -> Vec<String> {
        let listed = match self.listed("other") {
            Ok(listed) => listed,
            Err(why) => return vec![format!("the copies are not listed afterwards: {why}")],
        };
        let mut wrong = Vec::new();
        if !listed.contains(&self.ids[0]) {
            wrong.push(format!(
                "the copy of `{}` was good, and is gone",
                self.ids[0]
            ));
        }
        let is_all = self.ids.iter().all(|id| listed.contains(id));
        if is_success && !is_all && !S::may_hide_a_backup(case.lie) {
            wrong.push(format!("success, and only {listed:?} are copied"));
        }
        if let Some(newest) = self.ids.iter().rev().find(|id| listed.contains(id)) {
            wrong.extend(self.judge_the_listed("other", &listed, &self.contents[newest]));
        }
        wrong
    }

    /// Whatever the other store says, the backup of this machine is made, and is good.
    fn judge_the_local(&self) -> Option<String> {
        let verify = "--config honest-copies.toml verify app --level content";
        let verified = self.world.dbbackup(verify).run();
        (verified.code() != 0).then(|| format!("the local backup is not good: {verified}"))
    }

    fn judge_the_restored(&self, case: &Case<S::Lie>, is_success: bool) -> Option<String> {
        let out = self.world.path("out.db");
        if !out.exists() {
            return is_success.then(|| "success, and nothing is restored".to_owned());
        }
        let restored = contents(&out);
        let is_newest = restored == *self.newest(false);
        let is_one = self.contents.values().any(|known| *known == restored);
        match is_newest || S::may_hide_a_backup(case.lie) && is_one {
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

    /// The ids that a store lists, or why they can't be.
    fn listed(&self, store: &str) -> Result<Vec<String>, String> {
        let listed = self.directly(&format!("--store {store} list --json"));
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
    fn judge_the_next_run(&self, case: &Case<S::Lie>) -> Vec<String> {
        let mut wrong = Vec::new();
        let (next, prefix) = match case.operation {
            Operation::Copy => (
                self.directly("copy app --from far --to other --missing"),
                "web2",
            ),
            Operation::BackupWithCopy => {
                let next = "--config honest-copies.toml backup app";
                (self.world.dbbackup(next).run(), "web1")
            }
            _ => (self.directly("--store far backup app"), "web1"),
        };
        if next.code() != 0 {
            wrong.push(format!("the next run fails: {next}"));
        }
        if case.operation == Operation::Copy {
            let listed = self.listed("other").unwrap_or_default();
            if !self.ids.iter().all(|id| listed.contains(id)) {
                wrong.push(format!("the next run copies only {listed:?}: {next}"));
            }
        }
        let mut debris = debris(&self.server.source_directory(prefix));
        debris.retain(|name| !S::may_leave(case.lie, name));
        if !debris.is_empty() {
            wrong.push(format!("debris is left: {debris:?}"));
        }
        let mut parts = self.server.unfinished();
        parts.retain(|name| !S::may_leave(case.lie, name));
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

/// What breaks the law, of these cases, tried by some workers.
fn try_all<S: LyingServer + Send>(
    first: Stage<S>,
    cases: Vec<Case<S::Lie>>,
    workers: usize,
) -> Vec<String> {
    let queue = Mutex::new(cases);
    let found = Mutex::new(Vec::new());
    let next = || {
        let mut queue = queue.lock().unwrap();
        let case = queue.pop()?;
        if queue.len().is_multiple_of(200) {
            println!("{} cases are left", queue.len());
        }
        Some(case)
    };
    let work = |stage: Stage<S>| {
        while let Some(case) = next() {
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

/// Tries a sample of so many cases, or as `DBBACKUP_LIES` has it.
pub fn hold_to_the_law<S: LyingServer + Send>(sample: usize) {
    let stage = Stage::<S>::new();
    let mut cases = stage.all_cases();
    let whole = cases.len();
    shuffle(&mut cases, &mut Random::new(seed()));
    // They wait more than they work.
    let (most, workers) = match std::env::var("DBBACKUP_LIES").as_deref() {
        Err(_) => (sample, 4),
        Ok("all") => (whole, 12),
        Ok(text) => match text.parse() {
            Ok(number) => (number, 12),
            Err(_) => {
                cases.retain(|case| format!("{:?}", case.operation) == text);
                (cases.len(), 12)
            }
        },
    };
    cases.truncate(most);
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
