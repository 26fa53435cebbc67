//! Weeks of backups in minutes, fulls and deltas mixed, of a database that lives: runs are killed
//! at named points and at any moment, two go at once, disks are full, files on the way rot. After
//! each of these, what is listed is what was saved, nothing lacks what it is built on, and the next
//! run tidies up.
//!
//! What a backup holds is judged by the test alone: it keeps the hash of the database's file at
//! each moment. `DBBACKUP_KILLS` says how many runs are killed, `DBBACKUP_SEED` which story it is.

use crate::delta::{configure, world};
use crate::faults::SmallDisk;
use crate::moments::point;
use crate::seeds::{Random, seed};
use crate::support::{Call, Ran, World};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const POINTS: &[&str] = &[
    point::DRAFT_BEGUN,
    point::DELTA_WRITTEN,
    point::SIDECAR_DRAFTED,
    point::DUMP_NAMED,
    point::BACKUP_LISTED,
    point::BACKUP_UNLISTED,
    point::DUMP_REMOVED,
];

/// How long a run takes, about: it is killed at any moment of that.
const RUN: u64 = 120;

/// How many runs are killed.
fn wanted_kills() -> u32 {
    std::env::var("DBBACKUP_KILLS").map_or(15, |text| text.parse().unwrap())
}

/// What happened, for people.
#[derive(Debug, Default)]
struct Figures {
    steps: u32,
    kills: u32,
    fulls: u32,
    deltas: u32,
    unchanged: u32,
    removed: u32,
    copied: u32,
    rotten: u32,
    full_disks: u32,
    pairs: u32,
    most_listed: usize,
    deepest: u64,
}

struct Campaign {
    world: World,
    random: Random,
    now: DateTime<Utc>,
    /// By the id: the hash of the database when it was saved.
    saved: BTreeMap<String, String>,
    /// Those that must be there whatever happens.
    pinned: BTreeSet<String>,
    /// Older contents of the database.
    earlier: Vec<Vec<u8>>,
    has_disk: bool,
    figures: Figures,
}

/// How a run ends.
enum Fate {
    Lives,
    DiesAt(&'static str, u32),
    DiesAfter(Duration),
}

impl Campaign {
    fn new(seed: u64, world: World) -> Campaign {
        fs::create_dir(world.path("usb")).unwrap();
        let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
        world.config(&format!(
            "{text}[stores.usb]\npath = 'usb'\n[retention]\nkeep_last = 4\nkeep_daily = \
             5\nkeep_weekly = 2\n"
        ));
        Campaign {
            world,
            random: Random::new(seed),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            saved: BTreeMap::new(),
            pinned: BTreeSet::new(),
            earlier: Vec::new(),
            has_disk: false,
            figures: Figures::default(),
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn call(&self, arguments: &str) -> Call {
        let now = self.now.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.world
            .dbbackup(arguments)
            .env("DBBACKUP_TEST_DELTA_SIZE", "1")
            .env("DBBACKUP_TEST_AT_REST", "10")
            .env("DBBACKUP_TEST_NOW", &now)
    }

    fn directory(&self, store: &str) -> PathBuf {
        self.world.path(store).join("app")
    }

    /// The sidecars of a store, the oldest first.
    fn sidecars(&self, store: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory(store)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with('.') || !name.ends_with(".json") || name.ends_with(".event.json") {
                continue;
            }
            found.push(serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap());
        }
        found.retain(|sidecar| sidecar["status"] == "ok");
        found.sort_by_key(|sidecar| sidecar["started_at"].as_str().unwrap().to_owned());
        found
    }

    /// The hash of what a backup of the database holds now: nobody has it open.
    fn content(&self) -> String {
        hash_of(&self.world.path("app.db"))
    }

    /// The application, a user or an administrator does something to the database.
    fn change(&mut self) {
        let number = self.random.number() % 1000;
        let update =
            format!("UPDATE t SET x = hex(randomblob(100)) WHERE id % 300 = {number} % 300");
        let path = self.world.path("app.db");
        match self.random.below(100) {
            0..15 => return std::thread::sleep(Duration::from_millis(15)),
            15..60 => self.world.sql("app.db", &update),
            60..75 => self.world.sql(
                "app.db",
                "INSERT INTO t(x) SELECT hex(randomblob(90)) FROM t LIMIT 20",
            ),
            75..82 => self.world.sql(
                "app.db",
                &format!("DELETE FROM t WHERE id % 50 = {number} % 50"),
            ),
            82..86 => self.world.sql("app.db", "VACUUM"),
            86..91 => self.world.sql(
                "app.db",
                &format!(
                    "DROP TABLE IF EXISTS other; CREATE TABLE other AS SELECT * FROM t LIMIT \
                     {number} % 200"
                ),
            ),
            91..94 => self.world.sql(
                "app.db",
                "PRAGMA journal_mode = wal; UPDATE t SET x = 'a'
                WHERE id = 1",
            ),
            94..97 => self.world.sql("app.db", "PRAGMA journal_mode = delete"),
            _ => {
                // A restored file: some older content takes its place.
                let Some(bytes) = self.earlier.pop() else {
                    return;
                };
                fs::write(self.world.path("app.db.new"), bytes).unwrap();
                fs::rename(self.world.path("app.db.new"), &path).unwrap();
            }
        }
        if self.chance(5) {
            self.earlier.push(fs::read(&path).unwrap());
        }
    }

    fn fate(&mut self) -> Fate {
        match self.random.below(100) {
            0..35 => Fate::Lives,
            35..75 => {
                let point = *self.random.one_of(POINTS);
                Fate::DiesAt(point, 1 + self.random.below(2) as u32)
            }
            _ => Fate::DiesAfter(Duration::from_millis(self.random.below(RUN))),
        }
    }

    /// Runs it; gives what it said where nobody killed it.
    fn run(&mut self, arguments: &str) -> Option<Ran> {
        match self.fate() {
            Fate::Lives => Some(self.call(arguments).run()),
            Fate::DiesAt(point, count) => {
                let ran = self.call(arguments).killed_at(point, count);
                if ran.has_ended_by_itself() {
                    return Some(ran);
                }
                self.figures.kills += 1;
                None
            }
            Fate::DiesAfter(moment) => {
                let was_killed = self.call(arguments).killed_after(moment);
                self.figures.kills += u32::from(was_killed);
                None
            }
        }
    }

    /// One step of the story.
    fn step(&mut self) {
        self.figures.steps += 1;
        self.now += TimeDelta::minutes(20 + self.random.below(900).cast_signed());
        self.change();
        let before = self.sidecars("store");
        match self.random.below(100) {
            0..56 => self.back_up(),
            56..62 => self.clean_up("store"),
            62..65 => self.clean_up("usb"),
            65..73 => self.delete(),
            73..83 => self.copy(),
            83..87 => self.pin(),
            87..91 => self.back_up_twice_at_once(),
            91..94 if self.has_disk => self.fill_disk(),
            _ => self.rot(),
        }
        self.note_new();
        let after = self.sidecars("store").len();
        self.figures.removed += before.len().saturating_sub(after) as u32;
        self.check();
    }

    fn back_up(&mut self) {
        let label = *self.random.one_of(&["hourly", "daily"]);
        let full = if self.chance(7) { " --full" } else { "" };
        if let Some(ran) = self.run(&format!("backup --label {label}{full}")) {
            has_backed_up(&ran);
            self.is_swept("store");
            self.holds_no_debris(&self.world.path("store"));
        }
    }

    fn clean_up(&mut self, store: &str) {
        let keep = 2 + self.random.below(5);
        let line = format!("cleanup app --store {store} --keep-last {keep} --keep-daily 3 --force");
        if !self.directory(store).exists() {
            return;
        }
        if let Some(ran) = self.run(&line) {
            ran.exits(0);
            self.is_swept(store);
        }
    }

    fn delete(&mut self) {
        let known = self.sidecars("store");
        if known.len() < 4 {
            return;
        }
        let id = id_of(self.random.one_of(&known[..known.len() - 1]));
        let more = if self.chance(50) {
            " --with-dependents"
        } else {
            ""
        };
        // Refused where it is pinned or needed.
        if let Some(ran) = self.run(&format!("delete {id} --yes{more}")) {
            let code = ran.code();
            assert!(code == 0 || code == 2, "{ran}");
        }
    }

    fn copy(&mut self) {
        let more = if self.chance(50) { " --missing" } else { "" };
        if let Some(ran) = self.run(&format!("copy app --to usb{more}")) {
            let code = ran.code();
            // There may be nothing yet.
            assert!(code == 0 || self.saved.is_empty(), "{ran}");
            self.figures.copied += 1;
        }
    }

    fn pin(&mut self) {
        let known = self.sidecars("store");
        if known.is_empty() {
            return;
        }
        let id = id_of(self.random.one_of(&known));
        if self.pinned.len() > 2 {
            let id = self.pinned.pop_first().unwrap();
            self.call(&format!("unpin {id}")).run().exits(0);
        }
        self.call(&format!("pin {id}")).run().exits(0);
        self.pinned.insert(id);
    }

    /// One of them may find the lock taken.
    fn back_up_twice_at_once(&mut self) {
        let runs = ["one", "two"].map(|label| {
            self.call(&format!("backup --label {label} --lock-wait 60s"))
                .start()
        });
        for run in runs {
            has_backed_up(&run.wait());
        }
        self.figures.pairs += 1;
        self.is_swept("store");
    }

    /// A run in a store that has only so much room.
    fn fill_disk(&mut self) {
        let filler = self.world.path("store/.filler");
        let free = rustix::fs::statvfs(self.world.path("store")).unwrap();
        let room = self.random.below(200_000);
        let count = (free.f_bavail * free.f_frsize).saturating_sub(room);
        fs::write(&filler, vec![1; count as usize]).unwrap();
        let verb = *self
            .random
            .one_of(&["backup --label hourly", "cleanup app --keep-last 3 --force"]);
        let ran = self.call(verb).run();
        assert!(ran.has_ended_by_itself(), "{ran}");
        fs::remove_file(&filler).unwrap();
        self.figures.full_disks += 1;
    }

    /// A file on the way of the next backup is not what was written.
    fn rot(&mut self) {
        let known = self.sidecars("store");
        let way = next_way(&known);
        if way.is_empty() {
            return;
        }
        let victim = self.random.one_of(&way).clone();
        let file = self.directory("store").join(file_of(&victim));
        let whole = fs::read(&file).unwrap();
        match self.random.below(4) {
            0 => {
                let mut bytes = whole.clone();
                let at = self.random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.random.below(8);
                fs::write(&file, bytes).unwrap();
            }
            1 => fs::write(
                &file,
                &whole[..self.random.below(whole.len() as u64) as usize],
            )
            .unwrap(),
            2 => fs::remove_file(&file).unwrap(),
            _ => {
                let other = self.random.one_of(&known);
                if id_of(other) == id_of(&victim) {
                    return;
                }
                fs::copy(self.directory("store").join(file_of(other)), &file).unwrap();
            }
        }
        // Else nothing is read.
        let text = "UPDATE t SET x = hex(randomblob(100)) WHERE id = (SELECT max(id) FROM t)";
        self.world.sql("app.db", text);
        let is_due = is_full_due(&known);
        let ran = self.call("backup --json --label hourly").run();
        match is_due {
            true => assert!([0, 3].contains(&ran.code()), "{ran}"),
            false => assert!(
                ran.code() == 3 && ran.stderr.contains("a full was made"),
                "{} was not missed: {ran}",
                file.display()
            ),
        }
        // Where a full is due anyway, an older one of which all is good may do.
        let made = ran.json()["backups"][0].take();
        self.figures.rotten += 1;
        self.note_new();
        if !is_due {
            assert_eq!(made["dump"]["base"], Value::Null, "{made}");
            let lost = with_dependents(&known, &id_of(&victim));
            for id in self.listed("store") {
                assert!(!lost.contains(&id), "{id} is built on {}", id_of(&victim));
            }
        }
        if self.chance(50) || self.pinned.iter().any(|id| !self.is_there(id)) {
            if self.is_there(&id_of(&victim)) {
                fs::write(&file, whole).unwrap();
            }
            self.call("verify --all --level content").run().exits(0);
        } else if self.is_there(&id_of(&victim)) {
            let id = id_of(&victim);
            self.call(&format!("delete {id} --with-dependents --yes --force"))
                .run()
                .exits(0);
            let there: BTreeSet<String> = self.sidecars("store").iter().map(id_of).collect();
            self.pinned.retain(|id| there.contains(id));
        }
    }

    fn is_there(&self, id: &str) -> bool {
        self.directory("store").join(format!("{id}.json")).exists()
    }

    /// The ids that are listed as good.
    fn listed(&self, store: &str) -> Vec<String> {
        let line = format!("list app --store {store} --json");
        let json = self.call(&line).run().exits(0).json();
        let backups = json["backups"].as_array().unwrap();
        backups.iter().map(id_of).collect()
    }

    /// Whatever is listed now was saved from the database as it is now.
    fn note_new(&mut self) {
        let content = self.content();
        for sidecar in self.sidecars("store") {
            let id = id_of(&sidecar);
            if self.saved.contains_key(&id) {
                continue;
            }
            let dump = &sidecar["dump"];
            let kind = match dump["base"]["content_sha256"] == dump["content_sha256"] {
                _ if dump["base"].is_null() => &mut self.figures.fulls,
                true => &mut self.figures.unchanged,
                false => &mut self.figures.deltas,
            };
            *kind += 1;
            let depth = dump["delta"]["depth"].as_u64().unwrap_or(0);
            self.figures.deepest = self.figures.deepest.max(depth);
            self.saved.insert(id, content.clone());
        }
    }

    /// What must be true whatever happened.
    fn check(&mut self) {
        for store in ["store", "usb"] {
            let sidecars = self.sidecars(store);
            self.figures.most_listed = self.figures.most_listed.max(sidecars.len());
            let ids: BTreeSet<String> = sidecars.iter().map(id_of).collect();
            for sidecar in &sidecars {
                let id = id_of(sidecar);
                assert_eq!(sidecar["dump"]["content_sha256"], self.saved[&id], "{id}");
                let file = self.directory(store).join(file_of(sidecar));
                assert!(file.exists(), "{id} lacks {}", file.display());
                if let Some(base) = sidecar["dump"]["base"]["id"].as_str() {
                    assert!(ids.contains(base), "{id} lacks {base}");
                }
            }
            if ids.is_empty() {
                continue;
            }
            // Each hashes what comes of its way.
            let line = format!("verify app --store {store} --all --level content");
            self.call(&line).run().exits(0);
            assert_eq!(self.listed(store).len(), ids.len());
            let id = self.random.one_of(&Vec::from_iter(&ids)).to_string();
            self.restores(store, &id);
        }
        for id in &self.pinned {
            assert!(self.is_there(id), "{id} is pinned, and gone");
        }
    }

    /// A real restore, into a file.
    fn restores(&self, store: &str, id: &str) {
        let target = self.world.path("restored.db");
        let _ = fs::remove_file(&target);
        let line = format!("restore {id} --store {store} --to restored.db --yes");
        self.call(&line).run().exits(0);
        assert_eq!(hash_of(&target), self.saved[id], "{id}");
    }

    /// Nothing is left of runs that were killed.
    fn is_swept(&self, store: &str) {
        self.holds_no_debris(&self.directory(store));
    }

    fn holds_no_debris(&self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Who made the store was killed: nobody has a reason to look for that again.
            let is_of_mark = name.starts_with(".dbbackup-store.json.");
            assert!(
                !name.starts_with('.') || name == ".lock" || is_of_mark,
                "{name}"
            );
        }
    }
}

/// A table that was made anew with fewer rows holds retention back, which is told.
fn has_backed_up(ran: &Ran) {
    let is_held = ran.stderr.contains("retention is held back");
    assert_eq!(ran.code(), if is_held { 3 } else { 0 }, "{ran}");
}

/// The hash of a database that nobody has open, as a plain file.
fn hash_of(path: &Path) -> String {
    let mut bytes = fs::read(path).unwrap();
    bytes[18..20].fill(1);
    let hash = Sha256::digest(&bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_of(sidecar: &Value) -> String {
    sidecar["id"].as_str().unwrap().to_owned()
}

fn file_of(sidecar: &Value) -> String {
    sidecar["dump"]["file"].as_str().unwrap().to_owned()
}

fn base_of(sidecar: &Value) -> Option<&str> {
    sidecar["dump"]["base"]["id"].as_str()
}

/// The newest full or that of the newest delta, and what is built on it by numbers.
fn newest_tree(known: &[Value]) -> BTreeMap<u64, &Value> {
    let Some(newest) = known.last() else {
        return BTreeMap::new();
    };
    let full = newest["dump"]["delta"]["full"].as_str();
    let full = full.map_or_else(|| id_of(newest), str::to_owned);
    let number = |sidecar: &Value| match sidecar["dump"]["delta"]["full"].as_str() {
        Some(of) if of == full => sidecar["dump"]["delta"]["number"].as_u64(),
        Some(_) => None,
        None => (id_of(sidecar) == full).then_some(0),
    };
    known
        .iter()
        .filter_map(|sidecar| Some((number(sidecar)?, sidecar)))
        .collect()
}

/// What the next backup is built on, by the rule of the skip tree: its own words for it.
fn next_way(known: &[Value]) -> Vec<Value> {
    let tree = newest_tree(known);
    let Some((last, _)) = tree.last_key_value() else {
        return Vec::new();
    };
    let mut number = last + 1;
    let mut way: Vec<Value> = Vec::new();
    while number > 0 {
        let mut digit = 1;
        while number / digit % 4 == 0 {
            digit *= 4;
        }
        number -= number / digit % 4 * digit;
        if let Some(base) = tree.get(&number) {
            way.push((*base).clone());
            break;
        }
    }
    while let Some(base) = way.last().and_then(base_of) {
        let found = known.iter().find(|sidecar| id_of(sidecar) == base);
        way.push(found.unwrap().clone());
    }
    way
}

fn is_full_due(known: &[Value]) -> bool {
    let tree = newest_tree(known);
    let newest = known.last().unwrap();
    let way = newest["dump"]["delta"]["way_bytes"].as_u64().unwrap_or(0);
    way > tree[&0]["dump"]["size_bytes"].as_u64().unwrap() / 2
}

/// The ids of a backup and of all that is built on it.
fn with_dependents(known: &[Value], id: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([id.to_owned()]);
    for sidecar in known {
        if base_of(sidecar).is_some_and(|base| found.contains(base)) {
            found.insert(id_of(sidecar));
        }
    }
    found
}

#[test]
fn weeks_of_killed_runs_lose_nothing() {
    let seed = seed();
    let world = world("");
    configure(&world, "");
    let at = world.path("store");
    let mut campaign = Campaign::new(seed, world);
    // After the world: it goes before it.
    let disk = SmallDisk::mount(&at, 16 << 10);
    campaign.has_disk = disk.is_some();
    while campaign.figures.kills < wanted_kills() {
        campaign.step();
    }
    // At the end, all of them.
    for store in ["store", "usb"] {
        for sidecar in campaign.sidecars(store) {
            campaign.restores(store, &id_of(&sidecar));
        }
    }
    println!("{:?}, to {}", campaign.figures, campaign.now);
}
