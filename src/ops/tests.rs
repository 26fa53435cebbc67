//! What the tests of the operations share: a store in a temporary directory, and an observer that
//! keeps what it hears.

pub mod machine;

use super::{Event, Observer, Session};
use crate::catalog::Catalog;
use crate::pipeline::{self, Progress};
use crate::store::{Store, names};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// The moment at which all tests work.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_140_000, 0).unwrap()
}

/// A store in a temporary directory, and a session that leads to it.
pub struct Fixture {
    dir: tempfile::TempDir,
    pub session: Session,
    pub recorder: Recorder,
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let session = Session {
            config: None,
            store_flag: Some(root.to_str().unwrap().to_owned()),
            config_flag: None,
            // A child that another test starts holds this process's locks between fork and exec.
            lock_wait: Duration::from_secs(3),
            cwd: dir.path().to_path_buf(),
            now: now(),
            host: "here".to_owned(),
            accepts_untrusted: false,
            keys: Default::default(),
        };
        session.writing().unwrap();
        Fixture {
            dir,
            session,
            recorder: Recorder::default(),
        }
    }

    /// The store, opened.
    pub fn store(&self) -> Arc<dyn Store> {
        self.session.writing().unwrap()
    }

    /// What the store holds now.
    pub fn catalog(&self) -> Catalog {
        Catalog::read(&*self.store(), None).unwrap()
    }

    /// The ids that the store holds now, newest first.
    pub fn ids(&self) -> Vec<String> {
        let catalog = self.catalog();
        let ids = catalog.backups().map(|backup| backup.id().to_owned());
        ids.collect()
    }

    /// The path of a file of a source.
    pub fn path(&self, source: &str, name: &str) -> PathBuf {
        self.dir.path().join("store").join(source).join(name)
    }

    /// Adds a good backup with so many rows, made so many hours ago; gives its id.
    pub fn backup(&self, source: &str, hours: i64, rows: u64) -> String {
        self.backup_with(source, hours, rows, &json!({}))
    }

    /// Adds a good backup that is built on another one.
    pub fn backup_on(&self, base: &str, hours: i64) -> String {
        let (source, _, _) = names::split_id(base).unwrap();
        let base = json!({"id": base, "sha256": "s", "content_sha256": "c"});
        self.backup_with(source, hours, 100, &json!({"dump": {"base": base}}))
    }

    /// Adds a backup that is built on another one, as a newer version writes it.
    pub fn newer_backup_on(&self, base: &str, hours: i64) -> String {
        let (source, _, _) = names::split_id(base).unwrap();
        let more = json!({"requires": ["moon"], "dump": {"base": {"id": base}, "more": 1}});
        self.backup_with(source, hours, 100, &more)
    }

    /// Adds a good backup whose sidecar has these fields, too.
    fn backup_with(&self, source: &str, hours: i64, rows: u64, more: &Value) -> String {
        let content = format!("{rows} rows").into_bytes();
        let measured = pipeline::measure(content.as_slice(), &Progress::default()).unwrap();
        let at = now() - TimeDelta::hours(hours);
        let id = names::new_id(source, "manual", at, std::iter::empty());
        let file = format!("{id}.sqlite3");
        let mut dump = json!({"file": file, "format": "sqlite3", "size_bytes": measured.size,
            "sha256": measured.sha256, "content_size_bytes": measured.size,
            "content_sha256": measured.sha256, "compression": "none"});
        self.write(source, &file, &content);
        let manifest = json!({"rows_total": rows,
            "tables": [{"name": "t", "kind": "table", "rows": rows}]});
        let mut fields = json!({"status": "ok", "manifest": manifest});
        for (key, value) in more.as_object().unwrap() {
            match value.as_object() {
                Some(of_dump) => dump.as_object_mut().unwrap().extend(of_dump.clone()),
                None => fields[key] = value.clone(),
            }
        }
        fields["dump"] = dump;
        self.sidecar(source, &id, at, &fields);
        id
    }

    /// Adds a failed attempt.
    pub fn failed_attempt(&self, source: &str, hours: i64) -> String {
        let at = now() - TimeDelta::hours(hours);
        let id = names::new_id(source, "manual", at, std::iter::empty());
        let error = json!({"message": "the server is away"});
        self.sidecar(
            source,
            &id,
            at,
            &json!({"status": "failed", "error": error}),
        );
        id
    }

    fn sidecar(&self, source: &str, id: &str, at: DateTime<Utc>, more: &Value) {
        let mut sidecar = json!({"schema": 1, "id": id, "source": source, "kind": "sqlite",
            "label": "manual", "started_at": at, "finished_at": at, "duration_seconds": 1.0});
        for (key, value) in more.as_object().unwrap() {
            sidecar[key] = value.clone();
        }
        let bytes = sidecar.to_string().into_bytes();
        self.write(source, &names::sidecar_name(id), &bytes);
    }

    fn write(&self, source: &str, name: &str, bytes: &[u8]) {
        let path = self.path(source, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Keeps the events that it hears, as texts.
#[derive(Default)]
pub struct Recorder {
    heard: Mutex<Vec<String>>,
}

impl Recorder {
    /// Everything that was heard so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Whether something was heard that contains `text`.
    pub fn has_heard(&self, text: &str) -> bool {
        self.heard().iter().any(|event| event.contains(text))
    }
}

impl Observer for Recorder {
    fn observe(&self, event: Event<'_>) {
        self.heard.lock().unwrap().push(format!("{event:?}"));
    }

    fn follow(&self, _: &str, _: u64, _: &Progress) -> Box<dyn Any> {
        Box::new(())
    }
}
