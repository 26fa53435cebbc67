//! A medium in memory: what the contract of a store says must hold over this one, too, whichever of
//! its calls fails.

use super::medium::{Announcement, Creation, FoundObject, Medium, Upload, missing};
use super::probe::is_trial_key;
use super::{RemoteStore, StoreRights};
use crate::error::{Error, Result};
use crate::store::faulty::step;
use crate::store::{DeletePermission, Location, RemovalLimit, Store};
use chrono::DateTime;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// See the head of this file. Every call is a step, at which [`crate::store::faulty::crash_after`]
/// can end the process.
#[derive(Default, Clone)]
pub struct MemoryMedium {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Uploads that are begun and neither finished nor given up, by their tokens.
    uploads: Arc<Mutex<BTreeMap<String, String>>>,
    /// Creates an object although there is one of its key, as some servers do.
    pub ignores_conditions: bool,
    /// Refuses to remove anything.
    pub removes_nothing: bool,
}

/// A store in memory, as one on another machine.
pub fn store_in_memory(delete: DeletePermission, max_removals: RemovalLimit) -> Arc<dyn Store> {
    let rights = StoreRights {
        delete,
        max_removals,
    };
    let location = Location::parse("s3://bucket/web1", Path::new("/")).unwrap();
    let medium = Arc::new(MemoryMedium::default());
    Arc::new(RemoteStore::new(location, medium, rights, None))
}

impl MemoryMedium {
    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap()
    }

    /// The tokens of uploads of which the medium still keeps parts.
    pub fn open_uploads(&self) -> Vec<String> {
        self.uploads.lock().unwrap().keys().cloned().collect()
    }
}

impl Medium for MemoryMedium {
    fn list(&self, prefix: &str) -> Result<Vec<FoundObject>> {
        step()?;
        let map = self.map();
        let found = map.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, bytes)| FoundObject {
                key: key.clone(),
                size: bytes.len() as u64,
                // Long ago: what a dead run left is swept although its process is this one.
                modified: Some(DateTime::UNIX_EPOCH),
            })
            .collect())
    }

    fn top_directories(&self) -> Result<Vec<String>> {
        step()?;
        let map = self.map();
        let tops = map.keys().filter_map(|key| key.split_once('/'));
        Ok(tops.map(|(top, _)| top.to_owned()).collect())
    }

    fn first_key(&self) -> Result<Option<String>> {
        step()?;
        let map = self.map();
        let mut keys = map.keys().filter(|key| !is_trial_key(key));
        Ok(keys.next().cloned())
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.read(key, u64::MAX).map(|bytes| bytes.len() as u64)
    }

    fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        step()?;
        let found = self.map().get(key).cloned();
        let bytes = found.ok_or_else(|| missing(key))?;
        if bytes.len() as u64 > limit {
            return Err(Error::failed(format!("`{key}` is too long")));
        }
        Ok(bytes)
    }

    fn open(&self, key: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let bytes = self.read(key, u64::MAX)?;
        let end = range.end.min(bytes.len() as u64) as usize;
        let start = (range.start as usize).min(end);
        Ok(Box::new(Cursor::new(bytes[start..end].to_vec())))
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation> {
        step()?;
        let mut map = self.map();
        if map.contains_key(key) && !self.ignores_conditions {
            return Ok(Creation::AlreadyThere);
        }
        map.insert(key.to_owned(), bytes.to_vec());
        Ok(Creation::Created)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        step()?;
        self.map().insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, key: &str) -> Result<()> {
        step()?;
        if self.removes_nothing {
            return Err(Error::failed(format!("removing `{key}`: refused")));
        }
        self.map().remove(key);
        Ok(())
    }

    fn begin_upload(&self, key: &str, announce: Announcement) -> Result<Box<dyn Upload>> {
        step()?;
        let token = format!("upload of {key}");
        let upload = MemoryUpload {
            medium: self.clone(),
            key: key.to_owned(),
            token: token.clone(),
            bytes: Vec::new(),
            is_finished: false,
        };
        announce(&token)?;
        // What is begun and holds nothing costs nobody anything; the first part comes now.
        let mut uploads = self.uploads.lock().unwrap();
        uploads.insert(token, key.to_owned());
        Ok(Box::new(upload))
    }

    fn discard_upload(&self, _key: &str, token: &str) -> Result<()> {
        step()?;
        self.uploads.lock().unwrap().remove(token);
        Ok(())
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn parallelism(&self) -> usize {
        4
    }
}

struct MemoryUpload {
    medium: MemoryMedium,
    key: String,
    token: String,
    bytes: Vec<u8>,
    is_finished: bool,
}

impl Write for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for MemoryUpload {
    fn finish(mut self: Box<Self>) -> Result<()> {
        step()?;
        let bytes = std::mem::take(&mut self.bytes);
        self.medium.map().insert(self.key.clone(), bytes);
        self.medium.uploads.lock().unwrap().remove(&self.token);
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if !self.is_finished && step().is_ok() {
            self.medium.uploads.lock().unwrap().remove(&self.token);
        }
    }
}
