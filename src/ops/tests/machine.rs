//! A directory with databases, a store and a configuration, for tests of operations that begin with
//! a configuration.

use crate::config;
use crate::engine::whole_second;
use crate::error::Result;
use crate::ops::backup::{BackupRequest, FinishedRun, create_backups};
use crate::ops::{Event, Observer, Session};
use crate::pipeline::Progress;
use chrono::Utc;
use std::any::Any;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Keeps the events that have a type, and the warnings.
#[derive(Default)]
pub struct EventLog(Mutex<Vec<String>>);

impl Observer for EventLog {
    fn observe(&self, event: Event<'_>) {
        let line = match event {
            Event::BackupCreated(backup) => format!("created {}", backup.sidecar.source),
            Event::SourceSkipped { source, reason } => format!("skipped {source}: {reason}"),
            Event::SourceFailed { source, error } => format!("failed {source}: {error}"),
            Event::Warning(text) => format!("warning {text}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }

    fn follow(&self, _: &str, _: u64, _: &Progress) -> Box<dyn Any> {
        Box::new(())
    }
}

/// A directory with databases, a store and a configuration.
pub struct Machine {
    dir: tempfile::TempDir,
    pub heard: EventLog,
}

impl Machine {
    pub fn new() -> Machine {
        Machine {
            dir: tempfile::tempdir().unwrap(),
            heard: EventLog::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Creates a SQLite database of one table with so many rows.
    pub fn with_database(self, name: &str, rows: i64) -> Machine {
        let db = rusqlite::Connection::open(self.path(&format!("{name}.db"))).unwrap();
        db.execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY)")
            .unwrap();
        for id in 0..rows {
            db.execute("INSERT INTO item VALUES (?1)", [id]).unwrap();
        }
        drop(db);
        self
    }

    /// The session of a configuration with these lines besides the store; `DIR` in them is the
    /// directory.
    pub fn session(&self, lines: &str) -> Session {
        let text =
            format!("[store]\npath = \"DIR/store\"\n[backup]\nscratch_dir = \"DIR\"\n{lines}")
                .replace("DIR", &self.dir.path().display().to_string());
        let path = self.path("dbbackup.toml");
        Session {
            config: Some(config::parse(&text, &path, &|_| None).unwrap()),
            store_flag: None,
            config_flag: None,
            // A child that another test starts holds this process's locks between fork and exec.
            lock_wait: Duration::from_secs(3),
            cwd: self.dir.path().to_path_buf(),
            now: whole_second(Utc::now()),
            host: "testhost".to_owned(),
            accepts_untrusted: false,
            keys: Default::default(),
        }
    }

    pub fn back_up(&self, lines: &str) -> Result<FinishedRun> {
        create_backups(&request(), &self.session(lines), &self.heard)
    }

    pub fn events(&self) -> Vec<String> {
        self.heard.0.lock().unwrap().clone()
    }

    /// What hooks have written to `told`.
    pub fn told(&self) -> String {
        std::fs::read_to_string(self.path("told")).unwrap_or_default()
    }
}

/// All sources, with a label.
pub fn request() -> BackupRequest {
    BackupRequest {
        label: "test".to_owned(),
        ..BackupRequest::default()
    }
}

/// A source with a database.
pub const APP: &str = "[sources.app]\nkind = \"sqlite\"\npath = \"DIR/app.db\"\n";
/// A source whose path is no database.
pub const BAD: &str = "[sources.bad]\nkind = \"sqlite\"\npath = \"DIR/bad.db\"\n";

/// The lines of hooks that write down what they learn; `before` ends with this exit status, and so
/// does `after`.
pub fn hooks(table: &str, before: u8, after: u8) -> String {
    let tell = |moment: &str| {
        format!(
            "echo {moment} $DBBACKUP_STATUS id=$DBBACKUP_ID failed=$DBBACKUP_FAILED >> DIR/told"
        )
    };
    format!(
        "[{table}]\nbefore = \"{}; exit {before}\"\nafter = \"{}; exit {after}\"\n\
         on_failure = \"{}\"\n",
        tell("before"),
        tell("after"),
        tell("on_failure")
    )
}
