//! What lies in a store for those who recover by hand does so: on a bare system, from an empty
//! directory, with the programs that it names and no others.

use super::have;
use super::recovery::rows;
use rusqlite::Connection;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What of the coreutils the script uses, and what it is a script for.
const TOOLS: &[&str] = &[
    "bash",
    "dirname",
    "cat",
    "tee",
    "sha256sum",
    "zstd",
    "gzip",
    "age",
];

/// A database, a store, a bare system.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// `None` where a program is missing.
    fn new(more: &[&str]) -> Option<Place> {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
        };
        for dir in ["tools", "empty"] {
            std::fs::create_dir(place.path(dir)).unwrap();
        }
        for tool in TOOLS.iter().chain(more) {
            symlink(find(tool)?, place.path("tools").join(tool)).unwrap();
        }
        let database = Connection::open(place.path("app.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                 INSERT INTO notes SELECT i, hex(randomblob(60)) FROM n;",
            )
            .unwrap();
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, text: &str) {
        let config = self.path("dbbackup.toml");
        let sources = "[sources.my_app]\nkind = 'sqlite'\npath = 'app.db'\n";
        std::fs::write(&config, format!("{text}{sources}")).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn dbbackup(&self, arguments: &[&str]) -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbbackup"));
        let output = command
            .current_dir(self.dir.path())
            .env("DBBACKUP_TEST_DELTA_SIZE", "1")
            .arg("--json")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// So many backups, each after a change; of the oldest, the newest: the sidecar, and what the
    /// database held.
    fn history(&self, count: usize) -> [(serde_json::Value, Vec<(i64, String)>); 2] {
        let one = |number: usize| {
            let database = Connection::open(self.path("app.db")).unwrap();
            let change = format!("UPDATE notes SET text = 'new' WHERE id % 300 = {number}");
            database.execute_batch(&change).unwrap();
            drop(database);
            let made = self.dbbackup(&["backup"])["backups"][0].take();
            (made, rows(&self.path("app.db")))
        };
        let first = one(0);
        for number in 1..count - 1 {
            one(number);
        }
        [first, one(count - 1)]
    }

    fn recover(&self, store: &str, more: &[&str], environment: &[(&str, &Path)]) -> Output {
        let tools = self.path("tools");
        let mut command = Command::new(tools.join("bash"));
        command
            .arg(self.path(store).join("recover.sh"))
            .args(more)
            .current_dir(self.path("empty"))
            .env_clear()
            .env("PATH", tools)
            .envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// What the script recovers is what was saved.
    #[track_caller]
    fn recovers(
        &self,
        store: &str,
        (made, expected): &(serde_json::Value, Vec<(i64, String)>),
        more: &[&str],
        environment: &[(&str, &Path)],
    ) {
        let arguments = [more, &[made["id"].as_str().unwrap()]].concat();
        let output = self.recover(store, &arguments, environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{made}: {said}");
        let recovered = self.path("recovered.db");
        std::fs::write(&recovered, output.stdout).unwrap();
        assert_eq!(rows(&recovered), *expected);
    }

    /// The script says this and fails.
    #[track_caller]
    fn refuses(&self, store: &str, arguments: &[&str], why: &str) -> Output {
        let output = self.recover(store, arguments, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
        output
    }
}

/// Where a program is; said, or demanded, where it is not.
fn find(tool: &str) -> Option<PathBuf> {
    let known = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&known)
        .map(|dir| dir.join(tool))
        .find(|path| path.is_file());
    if found.is_none() {
        have(tool);
    }
    found
}

#[test]
fn fulls_and_deltas_of_every_codec_come_back() {
    for (codec, count, depth) in [("zstd", 22, 3), ("gzip", 6, 2), ("none", 6, 2)] {
        let Some(place) = Place::new(&["xdelta3"]) else {
            return;
        };
        place.configure(&format!(
            "[store]\npath = 'store'\n[backup]\nincremental = true\ncompression = '{codec}'\n"
        ));
        let [full, delta] = place.history(count);
        assert_eq!(delta.0["dump"]["delta"]["depth"], depth, "{}", delta.0);
        let page = std::fs::read_to_string(place.path("store/RECOVERY.md")).unwrap();
        assert!(page.contains("- `my_app`"));
        place.recovers("store", &full, &[], &[]);
        place.recovers("store", &delta, &[], &[]);
        // A store that was copied to another place, and is read-only.
        std::fs::rename(place.path("store"), place.path("a copy")).unwrap();
        place.recovers("a copy", &delta, &[], &[]);
    }
}

/// Where there is Python and no `xdelta3`.
#[test]
fn python_stands_in_for_xdelta3() {
    let (Some(_), Some(place)) = (find("python3"), Place::new(&[])) else {
        return;
    };
    // What is on the PATH may only be what starts it.
    let real = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    symlink(real.trim(), place.path("tools/python3")).unwrap();
    place.configure("[store]\npath = 'store'\n[backup]\nincremental = true\n");
    let [_, delta] = place.history(6);
    place.recovers("store", &delta, &[], &[]);
}

/// At 3 am somebody must know what to install.
#[test]
fn missing_programs_are_named() {
    let Some(place) = Place::new(&[]) else {
        return;
    };
    place
        .configure("[store]\npath = 'store'\n[backup]\nincremental = true\ncompression = 'zstd'\n");
    let [full, delta] = place.history(2);
    let id = |made: &serde_json::Value| made["id"].as_str().unwrap().to_owned();
    let said = "install the package xdelta3";
    let output = place.refuses("store", &[&id(&delta.0)], said);
    assert!(output.stdout.is_empty());
    std::fs::remove_file(place.path("tools/zstd")).unwrap();
    place.refuses("store", &[&id(&full.0)], "install the package zstd");
}

/// Plain here, encrypted elsewhere, so that there are deltas that are encrypted.
#[test]
fn encrypted_fulls_and_deltas_come_back_with_the_key() {
    let Some(place) = Place::new(&["xdelta3"]) else {
        return;
    };
    let key = place.dbbackup(&["key", "init", "--identity", "backup.key"]);
    let recipient = key["recipient"].as_str().unwrap();
    for metadata in ["sealed", "open"] {
        place.configure(&format!(
            "[store]\npath = 'store-{metadata}'\n[stores.usb]\npath = \
             'usb-{metadata}'\n[backup]\nincremental = true\ncopies = \
             ['usb']\n[encryption]\nrecipients = ['{recipient}']\nstores = ['usb']\nmetadata = \
             '{metadata}'\n"
        ));
        let usb = format!("usb-{metadata}");
        let [full, delta] = place.history(6);
        let identity = place.path("backup.key");
        let by_option = ["-i", identity.to_str().unwrap()];
        for made in [&full, &delta] {
            place.recovers(&usb, made, &by_option, &[]);
            let by_environment = [("DBBACKUP_IDENTITY_FILE", identity.as_path())];
            place.recovers(&usb, made, &[], &by_environment);
            let id = made.0["id"].as_str().unwrap();
            let output = place.refuses(&usb, &[id], "is encrypted");
            assert_eq!(output.stdout, b"");
        }
    }
}

#[test]
fn what_is_not_what_was_saved_is_refused() {
    let Some(place) = Place::new(&["xdelta3"]) else {
        return;
    };
    place.configure("[store]\npath = 'store'\n[backup]\nincremental = true\n");
    let [full, delta] = place.history(6);
    let (full, delta) = (&full.0, &delta.0);
    let id = delta["id"].as_str().unwrap();
    for nonsense in ["app", "../store/my_app_manual_20261120T020000Z", "-i"] {
        place.refuses("store", &[nonsense], "recover.sh: ");
    }
    place.refuses("store", &[], "say which backup");
    place.refuses("store", &["my_app_manual_20261120T020000Z"], "is not there");
    let file = full["dump"]["file"].as_str().unwrap();
    let path = place.path("store/my_app").join(file);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = place.refuses("store", &[id], file);
    assert_eq!(output.stdout, b"");
    std::fs::write(&path, whole).unwrap();
    // The sidecar's word counts, whoever is wrong.
    let sidecar = place.path(&format!("store/my_app/{id}.json"));
    let text = std::fs::read_to_string(&sidecar).unwrap();
    let said = delta["dump"]["content_sha256"].as_str().unwrap();
    std::fs::write(&sidecar, text.replace(said, &"0".repeat(64))).unwrap();
    place.refuses("store", &[id], "not what was saved");
}
