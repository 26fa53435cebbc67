//! One story of a source and its stores, and what must be true after each step of it.

use super::history::{
    base_of, file_of, id_of, is_full_due, list_of, list_way, next_way, way_of, with_dependents,
};
use super::subject::{State, Subject};
use crate::seeds::Random;
use crate::support::{Call, Ran, World};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What happened, for people.
#[derive(Debug, Default)]
pub struct Figures {
    steps: u32,
    pub kills: u32,
    fulls: u32,
    deltas: u32,
    unchanged: u32,
    removed: u32,
    copied: u32,
    rotten: u32,
    rotten_lists: u32,
    full_disks: u32,
    pairs: u32,
    restores: u32,
    most_listed: usize,
    deepest: u64,
}

pub struct Campaign {
    world: World,
    subject: Box<dyn Subject>,
    random: Random,
    pub now: DateTime<Utc>,
    /// What a backup of the source holds now.
    state: State,
    /// By the id: what the source was when it was saved.
    saved: BTreeMap<String, State>,
    /// The store, the id and the content's hash of what was restored and compared.
    proven: BTreeSet<(String, String, String)>,
    /// Those that must be there whatever happens.
    pinned: BTreeSet<String>,
    /// Whether the store has a disk of its own, which can be full.
    pub has_disk: bool,
    pub figures: Figures,
}

/// How a run ends.
enum Fate {
    Lives,
    DiesAt(&'static str, u32),
    DiesAfter(Duration),
}

impl Campaign {
    pub fn new(seed: u64, world: World, mut subject: Box<dyn Subject>) -> Campaign {
        fs::create_dir(world.path("usb")).unwrap();
        subject.begin(&world);
        let text = fs::read_to_string(world.path("dbbackup.toml")).unwrap();
        world.config(&format!(
            "{text}[stores.usb]\npath = 'usb'\n[retention]\nkeep_last = 4\nkeep_daily = \
             5\nkeep_weekly = 2\n"
        ));
        Campaign {
            state: subject.state(&world),
            world,
            subject,
            random: Random::new(seed),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            saved: BTreeMap::new(),
            proven: BTreeSet::new(),
            pinned: BTreeSet::new(),
            has_disk: false,
            figures: Figures::default(),
        }
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
        self.world.path(store).join(self.subject.name())
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

    fn fate(&mut self) -> Fate {
        match self.random.below(100) {
            0..35 => Fate::Lives,
            35..75 => {
                let point = *self.random.one_of(self.subject.points());
                Fate::DiesAt(point, 1 + self.random.below(2) as u32)
            }
            _ => {
                let longest = self.subject.longest_run().as_millis() as u64;
                Fate::DiesAfter(Duration::from_millis(self.random.below(longest)))
            }
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
    pub fn step(&mut self) {
        self.figures.steps += 1;
        self.now += TimeDelta::minutes(20 + self.random.below(900).cast_signed());
        self.subject.change(&self.world, &mut self.random);
        self.state = self.subject.state(&self.world);
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
        let full = if self.random.chance(7) { " --full" } else { "" };
        let more = self.subject.arguments(&mut self.random);
        if let Some(ran) = self.run(&format!("backup --label {label}{full}{more}")) {
            has_backed_up(&ran);
            self.is_swept("store");
            self.holds_no_debris(&self.world.path("store"));
        }
    }

    fn clean_up(&mut self, store: &str) {
        let (name, keep) = (self.subject.name(), 2 + self.random.below(5));
        let line =
            format!("cleanup {name} --store {store} --keep-last {keep} --keep-daily 3 --force");
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
        let more = if self.random.chance(50) {
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
        let name = self.subject.name();
        let more = if self.random.chance(50) {
            " --missing"
        } else {
            ""
        };
        if let Some(ran) = self.run(&format!("copy {name} --to usb{more}")) {
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
        let cleanup = format!("cleanup {} --keep-last 3 --force", self.subject.name());
        let verb = *self.random.one_of(&["backup --label hourly", &cleanup]);
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
        let has_list = list_way(&way).contains(&victim) && list_of(&victim).is_some();
        let is_list = has_list && self.random.chance(50);
        let file_of = |sidecar: &Value| match is_list {
            true => list_of(sidecar).unwrap(),
            false => file_of(sidecar),
        };
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
                let other = file_of(self.random.one_of(&known));
                let other = fs::read(self.directory("store").join(other)).unwrap();
                // Two that say that nothing has changed may be the same.
                if other == whole {
                    return;
                }
                fs::write(&file, other).unwrap();
            }
        }
        self.subject.disturb(&self.world);
        self.state = self.subject.state(&self.world);
        let is_due = is_full_due(&known);
        let ran = self.call("backup --json --label hourly").run();
        match is_due {
            true => assert!([0, 3].contains(&ran.code()), "{ran}"),
            // What is built on a copy of something unchanged is built on what that copies. So where
            // the file of such a copy is lost, another base may be taken.
            false if ran.code() == 0 => {
                let made = self.sidecars("store");
                let newest = made.last().unwrap();
                assert!(!known.contains(newest), "{ran}");
                let is_used = way_of(newest, &made).contains(&id_of(&victim));
                assert!(!is_used, "{} was not missed: {ran}", file.display());
                self.note_new();
                return fs::write(&file, whole).unwrap();
            }
            false => assert!(
                ran.code() == 3 && ran.stderr.contains("a full was made"),
                "{} was not missed: {ran}",
                file.display()
            ),
        }
        // Where a full is due anyway, an older one of which all is good may do.
        let made = ran.json()["backups"][0].take();
        self.figures.rotten += 1;
        self.figures.rotten_lists += u32::from(is_list);
        self.note_new();
        if !is_due {
            assert_eq!(made["dump"]["base"], Value::Null, "{made}");
            if is_list {
                self.call("verify --all --level checksum").run().exits(4);
            }
            let lost = with_dependents(&known, &id_of(&victim));
            for id in self.listed("store") {
                assert!(!lost.contains(&id), "{id} is built on {}", id_of(&victim));
            }
        }
        if self.random.chance(50) || self.pinned.iter().any(|id| !self.is_there(id)) {
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
        let line = format!("list {} --store {store} --json", self.subject.name());
        let json = self.call(&line).run().exits(0).json();
        let backups = json["backups"].as_array().unwrap();
        backups.iter().map(id_of).collect()
    }

    /// Whatever is listed now was saved from the source as it is now.
    fn note_new(&mut self) {
        for sidecar in self.sidecars("store") {
            let id = id_of(&sidecar);
            if self.saved.contains_key(&id) {
                continue;
            }
            let dump = &sidecar["dump"];
            let content = &dump["content_sha256"];
            let kind = match dump["base"]["content_sha256"] == *content {
                _ if dump["base"].is_null() => &mut self.figures.fulls,
                true if content.is_string() => &mut self.figures.unchanged,
                _ => &mut self.figures.deltas,
            };
            *kind += 1;
            let depth = dump["delta"]["depth"].as_u64().unwrap_or(0);
            self.figures.deepest = self.figures.deepest.max(depth);
            self.saved.insert(id, self.state.clone());
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
                for file in [file_of(sidecar)].into_iter().chain(list_of(sidecar)) {
                    let file = self.directory(store).join(file);
                    assert!(file.exists(), "{id} lacks {}", file.display());
                }
                if let Some(base) = base_of(sidecar) {
                    assert!(ids.contains(base), "{id} lacks {base}");
                }
            }
            if ids.is_empty() {
                continue;
            }
            // Each hashes what comes of its way.
            let name = self.subject.name();
            let line = format!("verify {name} --store {store} --all --level content");
            self.call(&line).run().exits(0);
            assert_eq!(self.listed(store).len(), ids.len());
            for sidecar in &sidecars {
                self.holds_what_was_saved(store, sidecar);
            }
            let id = self.random.one_of(&Vec::from_iter(&ids)).to_string();
            // Of a tree it takes long, and each was restored when it was new.
            let is_quick = self.subject.content_sha256(&self.saved[&id]).is_some();
            if is_quick || self.random.chance(30) {
                self.restores(store, &id);
            }
        }
        for id in &self.pinned {
            assert!(self.is_there(id), "{id} is pinned, and gone");
        }
    }

    /// By the hash of its content, which was just compared with what its file holds, where the test
    /// knows that; else it is restored and compared when it is new.
    fn holds_what_was_saved(&mut self, store: &str, sidecar: &Value) {
        let id = id_of(sidecar);
        let dump = &sidecar["dump"];
        match self.subject.content_sha256(&self.saved[&id]) {
            Some(wanted) => assert_eq!(dump["content_sha256"], wanted, "{id}"),
            None => {
                let hash = dump["sha256"].as_str().unwrap().to_owned();
                let is_new = self.proven.insert((store.to_owned(), id.clone(), hash));
                if is_new {
                    self.restores(store, &id);
                }
            }
        }
    }

    /// A real restore brings back what was saved.
    fn restores(&mut self, store: &str, id: &str) {
        let target = self.world.path("restored");
        let _ = fs::remove_file(&target).or_else(|_| fs::remove_dir_all(&target));
        let line = format!("restore {id} --store {store} --to restored --yes");
        self.call(&line).run().exits(0);
        let found = self.subject.restored(&self.world, &target);
        let wanted = &self.saved[id];
        let paths: BTreeSet<&PathBuf> = found.keys().chain(wanted.keys()).collect();
        for path in paths {
            assert_eq!(
                found.get(path),
                wanted.get(path),
                "{id}: {}",
                path.display()
            );
        }
        self.figures.restores += 1;
    }

    /// Everything that the stores have.
    pub fn restore_all(&mut self) {
        for store in ["store", "usb"] {
            for sidecar in self.sidecars(store) {
                self.restores(store, &id_of(&sidecar));
            }
        }
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

/// A source that lost much holds retention back, which is told.
fn has_backed_up(ran: &Ran) {
    let is_held = ran.stderr.contains("retention is held back");
    assert_eq!(ran.code(), if is_held { 3 } else { 0 }, "{ran}");
}
