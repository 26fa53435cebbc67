//! A tree of files that lives, with a SQLite database in it.

use super::subject::{POINTS, State, Subject, sha256};
use crate::delta_trees::{change, configure, entries};
use crate::moments::point;
use crate::seeds::Random;
use crate::support::{World, contents_of};
use crate::tree::picture;
use rusqlite::Connection;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

/// The files. The database is beside them, for SQLite makes and removes its own files there.
const FILES: &str = "tree/files";
const DATABASE: &str = "tree/data/app.db";

/// A tree with more entries or bytes loses some.
const MOST_ENTRIES: usize = 90;
const MOST_BYTES: u64 = 4 << 20;

static TREE_POINTS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| [POINTS, &[point::LIST_WRITTEN, point::PAGES_COPIED]].concat());

/// A file as it once was.
struct EarlierFile {
    path: PathBuf,
    bytes: Vec<u8>,
    modified: SystemTime,
}

#[derive(Default)]
pub struct LiveTree {
    /// How many things were changed: it makes new names.
    changes: u64,
    earlier: Vec<EarlierFile>,
    /// A connection to the database, while which is open commits stay in the log.
    application: Option<Connection>,
}

impl Subject for LiveTree {
    fn name(&self) -> &'static str {
        "tree"
    }

    fn disk(&self) -> u32 {
        96 << 10
    }

    fn longest_run(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn points(&self) -> &'static [&'static str] {
        &TREE_POINTS
    }

    fn begin(&mut self, world: &World) {
        configure(world, "");
        let (files, mut random) = (world.path(FILES), Random::new(7));
        for directory in ["a", "b", "b-c", "b/c"] {
            let directory = files.join(directory);
            fs::create_dir_all(&directory).unwrap();
            for size in [0, 1, 511, 5000, 40_000] {
                fs::write(directory.join(format!("f{size}")), random.bytes(size)).unwrap();
            }
        }
        write_log(&files, &mut random);
        symlink("a/f5000", files.join("link")).unwrap();
        fs::hard_link(files.join("b/f5000"), files.join("pair")).unwrap();
        fs::create_dir(world.path(DATABASE).parent().unwrap()).unwrap();
        world.database(
            DATABASE,
            "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO t SELECT i, hex(randomblob(50)) FROM n;",
        );
    }

    fn change(&mut self, world: &World, random: &mut Random) {
        let files = world.path(FILES);
        for _ in 0..random.below(7) {
            self.changes += 1;
            match random.below(100) {
                0..50 => change(&files, random, self.changes),
                50..66 => self.change_database(world, random),
                66..74 => insert_line(&files, random),
                74..80 => swap_directories(&files, random),
                80..85 => resolve_symlink(&files, random),
                85..93 => self.restore_earlier(random),
                _ => self.keep_earlier(&files, random),
            }
            keep_size(&files, random, self.changes);
        }
    }

    fn disturb(&mut self, world: &World) {
        self.changes += 1;
        // A name that nothing else can have taken.
        world.file(&format!("{FILES}/disturbed.{}", self.changes), "something");
        world.sql(
            DATABASE,
            "UPDATE t SET x = hex(randomblob(50)) WHERE id = 7",
        );
    }

    fn arguments(&mut self, random: &mut Random) -> &'static str {
        match random.chance(10) {
            true => " --reread",
            false => "",
        }
    }

    fn state(&self, world: &World) -> State {
        state_of(&world.path("tree"), |name| {
            name.ends_with("-wal") || name.ends_with("-shm")
        })
    }

    fn restored(&self, world: &World, target: &Path) -> State {
        let tree = world.path("tree");
        state_of(&target.join(tree.strip_prefix("/").unwrap()), |_| false)
    }

    fn content_sha256<'a>(&self, _state: &'a State) -> Option<&'a str> {
        None
    }
}

impl LiveTree {
    fn change_database(&mut self, world: &World, random: &mut Random) {
        let number = random.below(1000);
        let update =
            format!("UPDATE t SET x = hex(randomblob(50)) WHERE id % 300 = {number} % 300");
        let is_open = self.application.is_some();
        match random.below(100) {
            0..40 => world.sql(DATABASE, &update),
            40..55 => world.sql(
                DATABASE,
                "INSERT INTO t(x) SELECT hex(randomblob(40)) FROM t LIMIT 20",
            ),
            55..63 => world.sql(
                DATABASE,
                &format!("DELETE FROM t WHERE id % 40 = {number} % 40"),
            ),
            63..67 => world.sql(DATABASE, "VACUUM"),
            67..80 if is_open => self.application = None,
            67..72 => world.sql(DATABASE, "PRAGMA journal_mode = delete"),
            72..80 => world.sql(DATABASE, "PRAGMA journal_mode = wal"),
            80..92 if !is_open => {
                let application = Connection::open(world.path(DATABASE)).unwrap();
                let script = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0";
                application.execute_batch(script).unwrap();
                application.execute_batch(&update).unwrap();
                self.application = Some(application);
            }
            80..92 => {
                let application = self.application.as_ref().unwrap();
                application.execute_batch(&update).unwrap();
            }
            _ if is_open => {}
            // It begins anew: the files of the one before are gone.
            _ => {
                let path = world.path(DATABASE);
                for end in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(path.with_file_name(format!("app.db{end}")));
                }
                world.database(
                    DATABASE,
                    "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);
                     INSERT INTO t VALUES (7, 'anew'), (8, hex(randomblob(9000)))",
                );
            }
        }
    }

    fn keep_earlier(&mut self, files: &Path, random: &mut Random) {
        let small = |path: &PathBuf| {
            let seen = path.symlink_metadata().unwrap();
            seen.is_file() && seen.size() < 100_000
        };
        let found: Vec<PathBuf> = entries(files).into_iter().filter(small).collect();
        if found.is_empty() {
            return;
        }
        let path = random.one_of(&found).clone();
        self.earlier.push(EarlierFile {
            bytes: fs::read(&path).unwrap(),
            modified: path.metadata().unwrap().modified().unwrap(),
            path,
        });
        if self.earlier.len() > 10 {
            self.earlier.remove(0);
        }
    }

    /// An older version takes the place of what is there now, or is written over it; its time is
    /// that of then.
    fn restore_earlier(&mut self, random: &mut Random) {
        if self.earlier.is_empty() {
            return;
        }
        let at = random.below(self.earlier.len() as u64) as usize;
        let file = &self.earlier[at];
        if !file.path.parent().unwrap().is_dir() || file.path.is_dir() {
            return;
        }
        let is_file = (file.path.symlink_metadata()).is_ok_and(|seen| seen.is_file());
        if is_file && random.chance(50) {
            fs::write(&file.path, &file.bytes).unwrap();
        } else {
            let draft = file.path.with_file_name("draft");
            fs::write(&draft, &file.bytes).unwrap();
            fs::rename(&draft, &file.path).unwrap();
        }
        let open = fs::OpenOptions::new().write(true).open(&file.path);
        open.unwrap().set_modified(file.modified).unwrap();
    }
}

/// What the test sees of the tree, the database as applications see it. `is_passing` are the names
/// of files beside the database that no backup has.
fn state_of(tree: &Path, is_passing: impl Fn(&str) -> bool) -> State {
    let mut state = picture(&tree.join("files"));
    let database = tree.join("data/app.db");
    let names = fs::read_dir(database.parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !is_passing(name)).collect();
    names.sort();
    let mode = database.metadata().unwrap().mode();
    let conn = Connection::open(&database).unwrap();
    let journal: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    let hash = sha256(contents_of(&conn).as_bytes());
    state.insert(
        PathBuf::from("data/app.db"),
        format!("{names:?} {mode:o} {journal} {hash}"),
    );
    state
}

/// A log of more than a megabyte.
fn write_log(files: &Path, random: &mut Random) {
    let line = |number: u64| format!("{number} {:08x}\n", number.wrapping_mul(2_654_435_761));
    let first = random.below(1 << 20);
    let text: String = (first..first + 70_000).map(line).collect();
    fs::write(files.join("big.log"), text).unwrap();
}

/// A line more somewhere in the log, where there is one.
fn insert_line(files: &Path, random: &mut Random) {
    let path = files.join("big.log");
    if !path.symlink_metadata().is_ok_and(|seen| seen.is_file()) {
        return;
    }
    let mut bytes = fs::read(&path).unwrap();
    let rest = bytes.split_off(random.below(bytes.len() as u64 + 1) as usize);
    let mut file = fs::File::create(&path).unwrap();
    for part in [&bytes[..], b"a new line\n", &rest] {
        file.write_all(part).unwrap();
    }
}

fn of_type(files: &Path, is_wanted: impl Fn(&fs::Metadata) -> bool) -> Vec<PathBuf> {
    let mut found = entries(files);
    found.retain(|path| is_wanted(&path.symlink_metadata().unwrap()));
    found
}

/// Two directories get each other's names: much in them has the path of something else then.
fn swap_directories(files: &Path, random: &mut Random) {
    let found = of_type(files, fs::Metadata::is_dir);
    if found.is_empty() {
        return;
    }
    let (one, other) = (random.one_of(&found), random.one_of(&found));
    if one.starts_with(other) || other.starts_with(one) {
        return;
    }
    let aside = files.join("aside");
    for (from, to) in [(one, &aside), (other, one), (&aside, other)] {
        fs::rename(from, to).unwrap();
    }
}

/// A symlink becomes a file.
fn resolve_symlink(files: &Path, random: &mut Random) {
    let found = of_type(files, fs::Metadata::is_symlink);
    if found.is_empty() {
        return symlink("a/f511", files.join("link")).unwrap_or(());
    }
    let path = random.one_of(&found);
    fs::remove_file(path).unwrap();
    let size = random.below(3000) as usize;
    fs::write(path, random.bytes(size)).unwrap();
}

/// A tree that grew too large loses something, and one that lost too much grows.
fn keep_size(files: &Path, random: &mut Random, changes: u64) {
    loop {
        let found = entries(files);
        let size = |path: &PathBuf| path.symlink_metadata().unwrap().size();
        if found.len() <= MOST_ENTRIES && found.iter().map(size).sum::<u64>() <= MOST_BYTES {
            break;
        }
        let path = random.one_of(&found);
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    }
    if entries(files).len() < 20 {
        let directory = files.join(format!("grown.{changes}"));
        fs::create_dir(&directory).unwrap();
        for size in [0, 700, 6000, 20_000, 30_000] {
            fs::write(directory.join(format!("f{size}")), random.bytes(size)).unwrap();
        }
    }
    if !files.join("big.log").exists() && random.chance(10) {
        write_log(files, random);
    }
}
