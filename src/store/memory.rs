//! A store in memory, with a countdown to the call that fails: for the tests of the store's laws.

use super::{Location, Pending, Small, Store};
use crate::error::{Error, Result};
use crate::lock::Lock;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Objects = Arc<Mutex<BTreeMap<(String, String), Vec<u8>>>>;

/// Counts down the calls that change something; at zero they fail from then on, as a crashed
/// process's would.
pub struct MemoryStore {
    location: Location,
    objects: Objects,
    calls_left: Arc<Mutex<Option<u32>>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore {
            location: Location::from(Path::new("memory")),
            objects: Objects::default(),
            calls_left: Arc::default(),
        }
    }
}

impl MemoryStore {
    /// The next `calls` changing calls succeed, all after them fail.
    pub fn fail_after(&self, calls: Option<u32>) {
        *self.calls_left.lock().unwrap() = calls;
    }

    fn changing(&self) -> Result<()> {
        match &mut *self.calls_left.lock().unwrap() {
            None => Ok(()),
            Some(0) => Err(Error::failed("the store is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

fn key(source: &str, name: &str) -> (String, String) {
    (source.to_owned(), name.to_owned())
}

impl Store for MemoryStore {
    fn sources(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .objects
            .lock()
            .unwrap()
            .keys()
            .map(|(source, _)| source.clone())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn names(&self, source: &str) -> Result<Vec<String>> {
        let objects = self.objects.lock().unwrap();
        Ok(objects
            .keys()
            .filter(|(of, _)| of == source)
            .map(|(_, name)| name.clone())
            .collect())
    }

    fn small(&self, source: &str) -> Result<Box<dyn Small + '_>> {
        Ok(Box::new(MemorySmall {
            store: self,
            source: source.to_owned(),
        }))
    }

    fn open(&self, source: &str, name: &str) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.read(source, name)?)))
    }

    fn create(&self, source: &str, dot_name: &str) -> Result<Box<dyn Pending>> {
        self.changing()?;
        let mut objects = self.objects.lock().unwrap();
        if objects.insert(key(source, dot_name), Vec::new()).is_some() {
            return Err(Error::failed(format!("`{dot_name}` is there already")));
        }
        Ok(Box::new(MemoryPending {
            objects: Arc::clone(&self.objects),
            key: key(source, dot_name),
            calls_left: Arc::clone(&self.calls_left),
            done: false,
        }))
    }

    fn rename(&self, source: &str, from: &str, to: &str) -> Result<()> {
        self.changing()?;
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(&key(source, to)) {
            return Err(Error::failed(format!("`{to}` is there already")));
        }
        let bytes = objects
            .remove(&key(source, from))
            .ok_or_else(|| Error::not_found(format!("no `{from}`")))?;
        objects.insert(key(source, to), bytes);
        Ok(())
    }

    fn replace(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        self.changing()?;
        self.objects
            .lock()
            .unwrap()
            .insert(key(source, name), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        self.changing()?;
        let removed = self.objects.lock().unwrap().remove(&key(source, name));
        removed
            .map(drop)
            .ok_or_else(|| Error::not_found(format!("no `{name}`")))
    }

    fn sync(&self, _source: &str) -> Result<()> {
        self.changing()
    }

    fn lock(&self, _source: &str, wait: Duration) -> Result<Lock> {
        let file = tempfile::NamedTempFile::new()?;
        Lock::take(file.path(), "a source in memory", wait)
    }

    fn may_write(&self, _source: &str) -> bool {
        true
    }

    fn is_locked(&self, _source: &str) -> bool {
        false
    }

    fn in_use(&self, _source: &str, _name: &str) -> Result<bool> {
        Ok(false)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn location(&self) -> &Location {
        &self.location
    }

    fn local_path(&self) -> Option<&Path> {
        None
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.replace("", name, bytes)
    }

    fn object_path(&self, _source: &str, _name: &str) -> Option<PathBuf> {
        None
    }
}

struct MemorySmall<'a> {
    store: &'a MemoryStore,
    source: String,
}

impl Small for MemorySmall<'_> {
    fn size(&self, name: &str) -> Result<u64> {
        let mut bytes = Vec::new();
        self.read(name, &mut bytes).map(|()| bytes.len() as u64)
    }

    fn read(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        let found = self
            .store
            .objects
            .lock()
            .unwrap()
            .get(&key(&self.source, name))
            .cloned();
        *bytes = found.ok_or_else(|| Error::not_found(format!("no `{name}`")))?;
        Ok(())
    }
}

struct MemoryPending {
    objects: Objects,
    key: (String, String),
    calls_left: Arc<Mutex<Option<u32>>>,
    done: bool,
}

impl Write for MemoryPending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.calls_left.lock().unwrap() == Some(0) {
            return Err(io::Error::other("the store is gone"));
        }
        self.objects
            .lock()
            .unwrap()
            .entry(self.key.clone())
            .or_default()
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pending for MemoryPending {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        Ok(())
    }
}

impl Drop for MemoryPending {
    fn drop(&mut self) {
        // A crashed process removes nothing.
        if !self.done && *self.calls_left.lock().unwrap() != Some(0) {
            self.objects.lock().unwrap().remove(&self.key);
        }
    }
}
