//! The harness: a directory of its own for each test, databases made in it, the binary run in it,
//! and everything about a run asserted in one chain.

#![allow(dead_code)]

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub use crate::moments::until;

/// A directory that a test has for itself.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// A database made by a script; opened and closed again.
    pub fn database(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(script).unwrap();
        path
    }

    /// A small shop, for tests that only need something to save.
    pub fn shop(&self, name: &str) -> PathBuf {
        self.database(
            name,
            "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT);
             CREATE TABLE orders(id INTEGER PRIMARY KEY, customer REFERENCES customer(id), note \
             TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT \
             INTO customer SELECT i, 'customer ' || i FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT \
             INTO orders SELECT i, 1 + i % 100, hex(randomblob(40)) FROM n;",
        )
    }

    pub fn sql(&self, name: &str, script: &str) {
        Connection::open(self.path(name))
            .unwrap()
            .execute_batch(script)
            .unwrap();
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A program; written by another process, for as long as one that is just being forked here has
    /// it open for writing nobody can run it.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let draft = self.file(&format!("{name}.draft"), text);
        let path = self.path(name);
        assert!(
            Command::new("install")
                .args(["-m", "755"])
                .args([&draft, &path])
                .status()
                .unwrap()
                .success()
        );
        path
    }

    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.file("dbbackup.toml", text);
        set_mode(&path, 0o600);
        path
    }

    /// `dbbackup` with these arguments, split at spaces, in this directory, in an environment of
    /// its own.
    pub fn dbbackup(&self, arguments: &str) -> Call {
        self.dbbackup_with(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    pub fn dbbackup_with(&self, arguments: &[&str]) -> Call {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .stdin(Stdio::null());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TZ", "UTC");
        Call {
            command,
            line: arguments.join(" "),
        }
    }

    /// With the store `store`.
    pub fn with_store(&self, arguments: &str) -> Call {
        self.dbbackup(&format!("--store store {arguments}"))
    }

    /// The files of a source whose names end so, sorted.
    pub fn stored(&self, source: &str, ending: &str) -> Vec<PathBuf> {
        let dir = self.path("store").join(source);
        let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        found.retain(|path| path.to_str().unwrap().ends_with(ending));
        found.sort();
        found
    }

    /// The only dump of a source.
    pub fn dump(&self, source: &str) -> PathBuf {
        let mut found = self.stored(source, "");
        found.retain(|path| path.to_str().unwrap().contains(".sqlite3"));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// What is in a source's directory with a dot before it, the lock aside: debris.
    pub fn debris(&self, source: &str) -> Vec<String> {
        let names = self
            .stored(source, "")
            .into_iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with('.') && name != ".lock")
            .collect()
    }

    /// What is in this directory besides databases, store and configuration: left-overs of restores
    /// and scratch.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.contains("dbbackup-") || name.contains(".before-"))
            .collect()
    }

    /// The directory's own `.lock`, held by this process until it is dropped; `text` is what it
    /// says of its holder.
    pub fn hold_lock(&self, source: &str, text: &str) -> std::fs::File {
        let path = self.path("store").join(source).join(".lock");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        file.lock().unwrap();
        file
    }

    /// Where the sidecar of a backup is.
    pub fn sidecar_path(&self, id: &str) -> PathBuf {
        let source = id.rsplitn(3, '_').nth(2).unwrap();
        self.path("store").join(source).join(format!("{id}.json"))
    }

    pub fn sidecar(&self, id: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.sidecar_path(id)).unwrap()).unwrap()
    }

    /// Where the dump of a backup is, by its sidecar's name.
    pub fn dump_of(&self, id: &str) -> PathBuf {
        let dir = self.sidecar_path(id).parent().unwrap().to_owned();
        let names = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let dump = names
            .filter(|name| name.starts_with(&format!("{id}.sqlite3")))
            .last();
        dir.join(dump.unwrap_or_else(|| format!("{id}.sqlite3.gz")))
    }

    /// The decoded dump of a backup, as a file.
    pub fn decoded(&self, sidecar: &Value) -> PathBuf {
        let (source, file) = (
            sidecar["source"].as_str().unwrap(),
            sidecar["dump"]["file"].as_str().unwrap(),
        );
        let stored = self.path("store").join(source).join(file);
        let path = self.path(file.trim_end_matches(".gz"));
        let output = Command::new("gunzip")
            .arg("-c")
            .arg(&stored)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            stored.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::write(&path, output.stdout).unwrap();
        path
    }

    /// The events of a backup, oldest first.
    pub fn events(&self, id: &str) -> Vec<PathBuf> {
        let (source, _) = id.rsplit_once('_').unwrap().0.rsplit_once('_').unwrap();
        let mut found = self.stored(source, ".event.json");
        found.retain(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix(id)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        found
    }

    /// An event of a backup that is no event.
    pub fn damaged_event(&self, id: &str) -> PathBuf {
        let (source, _) = id.rsplit_once('_').unwrap().0.rsplit_once('_').unwrap();
        let name = format!("{id}.20261120T020000.000Z-00000001.event.json");
        self.file(&format!("store/{source}/{name}"), "{\"event\": \"pin")
    }

    /// Every sidecar of a source, failed attempts too, oldest first.
    pub fn attempts(&self, source: &str) -> Vec<Value> {
        let paths = self
            .stored(source, ".json")
            .into_iter()
            .filter(|path| !path.to_str().unwrap().ends_with(".event.json"));
        paths
            .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
            .collect()
    }

    /// The only attempt of a source, which failed; nothing else is there.
    #[track_caller]
    pub fn failed_attempt(&self, source: &str) -> Value {
        let mut attempts = self.attempts(source);
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        let attempt = attempts.remove(0);
        assert_eq!(attempt["status"], "failed", "{attempt}");
        assert_eq!(
            self.stored(source, "").len() - self.stored(source, ".lock").len(),
            1,
            "{:?}",
            self.stored(source, "")
        );
        attempt
    }

    /// Changes what a sidecar says.
    pub fn edit_sidecar(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut sidecar = self.sidecar(id);
        change(&mut sidecar);
        std::fs::write(self.sidecar_path(id), sidecar.to_string()).unwrap();
    }

    /// The backup `id` once more, as if it had been made then and with that label: years of history
    /// in no time.
    pub fn copy_backup(&self, id: &str, label: &str, at: DateTime<Utc>) -> String {
        let mut sidecar = self.sidecar(id);
        let source = sidecar["source"].as_str().unwrap();
        let copy = format!("{source}_{label}_{}", at.format("%Y%m%dT%H%M%SZ"));
        let dir = self.path("store").join(source);
        if let Some(file) = sidecar["dump"]["file"].as_str() {
            let renamed = file.replace(id, &copy);
            std::fs::copy(dir.join(file), dir.join(&renamed)).unwrap();
            sidecar["dump"]["file"] = renamed.into();
        }
        for (key, value) in [("id", copy.as_str()), ("label", label)] {
            sidecar[key] = value.into();
        }
        for key in ["started_at", "finished_at"] {
            sidecar[key] = at.format("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        std::fs::write(dir.join(format!("{copy}.json")), sidecar.to_string()).unwrap();
        copy
    }

    /// Copies of the only backup of a source, made so many hours ago each; their ids in that order.
    pub fn history(&self, source: &str, label: &str, hours_ago: &[i64]) -> Vec<String> {
        let newest = self.ids(source).remove(0);
        let now = Utc::now();
        hours_ago
            .iter()
            .map(|hours| self.copy_backup(&newest, label, now - TimeDelta::hours(*hours)))
            .collect()
    }

    /// The ids that `list` shows, newest first.
    pub fn ids(&self, more: &str) -> Vec<String> {
        let json = self
            .with_store(&format!("list --json {more}"))
            .run()
            .exits(0)
            .json();
        json["backups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dbbackup"))
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A run of the binary that has not begun.
pub struct Call {
    pub command: Command,
    line: String,
}

impl Call {
    pub fn env(mut self, name: &str, value: &str) -> Call {
        self.command.env(name, value);
        self
    }

    /// The same, started by another program that is given it as its last arguments.
    pub fn by(mut self, words: &[&str]) -> Call {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear()
            .stdin(Stdio::null());
        command.current_dir(self.command.get_current_dir().unwrap());
        command.envs(
            self.command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        self.command = command;
        self
    }

    pub fn run(mut self) -> Ran {
        let output = self.command.output().unwrap();
        Ran::new(self.line, output)
    }

    /// Begins it and goes on.
    pub fn start(mut self) -> Running {
        let child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            child,
            line: self.line,
        }
    }
}

/// A run of the binary that goes on.
pub struct Running {
    pub child: Child,
    line: String,
}

impl Running {
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn wait(self) -> Ran {
        Ran::new(self.line, self.child.wait_with_output().unwrap())
    }
}

/// A run of the binary that has ended.
#[derive(Debug)]
pub struct Ran {
    line: String,
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(line: String, output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            line,
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Its exit code.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.code.unwrap_or_else(|| panic!("{self}"))
    }

    /// Whether no signal ended it.
    pub fn has_ended_by_itself(&self) -> bool {
        self.code.is_some()
    }

    /// It was ended by a signal.
    #[track_caller]
    pub fn was_killed(self) -> Ran {
        assert_eq!(self.code, None, "{self}");
        self
    }

    /// Stdout holds this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Ran {
        assert!(self.stdout.contains(text), "stdout lacks `{text}`\n{self}");
        self
    }

    /// Stderr holds this.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "stderr lacks `{text}`\n{self}");
        self
    }

    /// The arguments of the only command on stdout that is this one of `dbbackup`'s: of what is to
    /// be pasted. It ends at a backquote or with its line.
    #[track_caller]
    pub fn shown(&self, command: &str) -> String {
        let lines = self.stdout.lines().flat_map(|line| line.split('`'));
        let commands: Vec<&str> = lines
            .filter_map(|text| Some(text.split_at(text.find("dbbackup ")?).1))
            .collect();
        let found: Vec<&&str> = commands
            .iter()
            .filter(|text| text.split(' ').any(|word| word == command))
            .collect();
        assert_eq!(found.len(), 1, "{self}");
        found[0].trim_start_matches("dbbackup ").to_owned()
    }

    #[track_caller]
    pub fn silent(self) -> Ran {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "{self}");
        self
    }

    #[track_caller]
    pub fn never_says(self, text: &str) -> Ran {
        assert!(
            !self.stdout.contains(text) && !self.stderr.contains(text),
            "`{text}` was said\n{self}"
        );
        self
    }

    /// The sidecar of the only backup that the run made.
    #[track_caller]
    pub fn made(self) -> Value {
        let mut json = self.json();
        assert_eq!(json["backups"].as_array().unwrap().len(), 1, "{json}");
        json["backups"][0].take()
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let document =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"));
        crate::schema::must_hold(&document);
        document
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "dbbackup {}\nexit: {:?}\nstdout:\n{}\nstderr:\n{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

/// Everything in a database that an application can see, as text: the schema, and every row of
/// every table with its rowid.
pub fn contents(path: &Path) -> String {
    let conn =
        Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    contents_of(&conn)
}

pub fn contents_of(conn: &Connection) -> String {
    conn.collation_needed(|conn, name| conn.create_collation(name, |a, b| a.cmp(b)))
        .unwrap();
    let mut text = String::new();
    for pragma in ["encoding", "user_version", "application_id"] {
        let value: rusqlite::types::Value = conn
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap();
        writeln!(text, "{pragma} {value:?}").unwrap();
    }
    let mut schema = conn
        .prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
        .unwrap();
    let rows = schema.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<String>>(2)?,
        ))
    });
    let rows: Vec<(String, String, Option<String>)> = rows.unwrap().map(Result::unwrap).collect();
    for (kind, name, sql) in &rows {
        writeln!(text, "{kind} {name} {sql:?}").unwrap();
        if kind == "table" {
            dump_table(conn, name, &mut text);
        }
    }
    text
}

fn dump_table(conn: &Connection, name: &str, text: &mut String) {
    let quoted = name.replace('"', "\"\"");
    let statement = conn
        .prepare(&format!("SELECT rowid, * FROM \"{quoted}\""))
        .or_else(|_| conn.prepare(&format!("SELECT * FROM \"{quoted}\"")));
    let Ok(mut statement) = statement else { return };
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..columns {
            match row.get_ref(column).unwrap() {
                ValueRef::Blob(bytes) => {
                    write!(text, "x{}.{:08x} ", bytes.len(), crc32fast::hash(bytes)).unwrap()
                }
                ValueRef::Text(bytes) => {
                    write!(text, "{:?} ", String::from_utf8_lossy(bytes)).unwrap()
                }
                other => write!(text, "{other:?} ").unwrap(),
            }
        }
        text.push('\n');
    }
}
