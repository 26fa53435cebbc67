//! A store in memory, which can't lock and has no paths: what a contract says of every store must
//! hold of this one, too.

use super::{
    Draft, Listing, Location, Objects, PendingObject, Properties, Store, check_name, free_id,
    must_be_new, names, orphaned_events,
};
use crate::error::{Error, Result};
use crate::lock::Lock;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Objects by where they are and their name.
type ObjectMap = BTreeMap<(ObjectPlace, String), Vec<u8>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum ObjectPlace {
    Source(String),
    /// A draft of a source, by its id.
    Draft(String, String),
    Common,
}

/// See the head of this file.
pub struct MemoryStore {
    location: Location,
    objects: Arc<Mutex<ObjectMap>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore {
            location: Location::from(Path::new("memory")),
            objects: Arc::default(),
        }
    }
}

impl MemoryStore {
    fn map(&self) -> MutexGuard<'_, ObjectMap> {
        self.objects.lock().unwrap()
    }
}

fn at_source(source: &str, name: &str) -> (ObjectPlace, String) {
    (ObjectPlace::Source(source.to_owned()), name.to_owned())
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("no `{name}`"))
}

fn taken(name: &str) -> Error {
    Error::failed(format!("`{name}` is there already"))
}

fn drafts_of(map: &ObjectMap, source: &str) -> Vec<(ObjectPlace, String)> {
    map.keys()
        .filter(|(place, _)| matches!(place, ObjectPlace::Draft(of, _) if of == source))
        .cloned()
        .collect()
}

impl Store for MemoryStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn local_path(&self) -> Option<&Path> {
        None
    }

    fn properties(&self) -> Properties {
        Properties {
            locks: false,
            confirms_writes: true,
            removes: true,
            parallel_reads: None,
        }
    }

    fn sources(&self) -> Result<Vec<String>> {
        let map = self.map();
        let of_place = |(place, _): &(ObjectPlace, String)| match place {
            ObjectPlace::Source(source) => Some(source.clone()),
            ObjectPlace::Draft(..) | ObjectPlace::Common => None,
        };
        let mut sources: Vec<String> = map.keys().filter_map(of_place).collect();
        sources.dedup();
        Ok(sources)
    }

    fn list(&self, source: &str) -> Result<Listing> {
        let drafts = drafts_of(&self.map(), source);
        let unfinished = drafts.into_iter().filter_map(|(place, _)| match place {
            ObjectPlace::Draft(_, id) => Some(id),
            ObjectPlace::Source(_) | ObjectPlace::Common => None,
        });
        Ok(Listing {
            objects: self.objects(source).names()?,
            sizes: HashMap::new(),
            unfinished: unfinished.collect(),
        })
    }

    fn objects(&self, source: &str) -> Box<dyn Objects> {
        Box::new(MemoryObjects {
            objects: Arc::clone(&self.objects),
            place: ObjectPlace::Source(source.to_owned()),
        })
    }

    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let mut map = self.map();
        if map.contains_key(&at_source(source, name)) {
            return Err(taken(name));
        }
        map.insert(at_source(source, name), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        let removed = self.map().remove(&at_source(source, name));
        removed.map(drop).ok_or_else(|| missing(name))
    }

    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>> {
        let id = free_id(&self.list(source)?, source, label, at);
        Ok(Box::new(MemoryDraft {
            objects: MemoryObjects {
                objects: Arc::clone(&self.objects),
                place: ObjectPlace::Draft(source.to_owned(), id.clone()),
            },
            source: source.to_owned(),
            id,
        }))
    }

    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>> {
        must_be_new(&self.list(source)?, id, &self.location)?;
        Ok(Box::new(MemoryDraft {
            objects: MemoryObjects {
                objects: Arc::clone(&self.objects),
                place: ObjectPlace::Draft(source.to_owned(), id.to_owned()),
            },
            source: source.to_owned(),
            id: id.to_owned(),
        }))
    }

    fn retire(&self, source: &str, id: &str, objects: &[String]) -> Result<()> {
        let mut map = self.map();
        let sidecar = names::sidecar_name(id);
        map.remove(&at_source(source, &sidecar))
            .ok_or_else(|| missing(&sidecar))?;
        map.retain(|(place, name), _| {
            *place != ObjectPlace::Source(source.to_owned())
                || !objects.contains(name) && names::event_id(name) != Some(id)
        });
        Ok(())
    }

    fn sweep(&self, source: &str, _named_by: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>> {
        let mut map = self.map();
        let mut debris = drafts_of(&map, source);
        let here =
            |(place, _): &&(ObjectPlace, String)| *place == ObjectPlace::Source(source.to_owned());
        let objects: Vec<String> = map
            .keys()
            .filter(here)
            .map(|(_, name)| name.clone())
            .collect();
        let orphans = orphaned_events(&objects, &[]);
        debris.extend(orphans.into_iter().map(|name| at_source(source, name)));
        for key in &debris {
            map.remove(key);
        }
        Ok(debris.into_iter().map(|(_, name)| name).collect())
    }

    fn lock(&self, _source: &str, _wait: Duration) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn is_locked(&self, _source: &str) -> bool {
        false
    }

    fn may_write(&self, _source: &str) -> bool {
        true
    }

    fn is_in_use(&self, _source: &str, _name: &str) -> Result<bool> {
        Ok(false)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.map()
            .insert((ObjectPlace::Common, name.to_owned()), bytes.to_vec());
        Ok(())
    }
}

struct MemoryObjects {
    objects: Arc<Mutex<ObjectMap>>,
    place: ObjectPlace,
}

impl MemoryObjects {
    fn key(&self, name: &str) -> (ObjectPlace, String) {
        (self.place.clone(), name.to_owned())
    }
}

impl Objects for MemoryObjects {
    fn names(&self) -> Result<Vec<String>> {
        let map = self.objects.lock().unwrap();
        let here = |(place, _): &&(ObjectPlace, String)| *place == self.place;
        Ok(map
            .keys()
            .filter(here)
            .map(|(_, name)| name.clone())
            .collect())
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.read(name).map(|bytes| bytes.len() as u64)
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        let map = self.objects.lock().unwrap();
        let found = map.get(&self.key(name)).cloned();
        *bytes = found.ok_or_else(|| missing(name))?;
        Ok(())
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let bytes = self.read(name)?;
        let end = range.end.min(bytes.len() as u64) as usize;
        let start = (range.start as usize).min(end);
        Ok(Box::new(Cursor::new(bytes[start..end].to_vec())))
    }

    fn path(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

struct MemoryDraft {
    objects: MemoryObjects,
    source: String,
    id: String,
}

impl Draft for MemoryDraft {
    fn id(&self) -> &str {
        &self.id
    }

    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>> {
        check_name(name, &self.id)?;
        let key = self.objects.key(name);
        let mut map = self.objects.objects.lock().unwrap();
        if map.contains_key(&key) {
            return Err(taken(name));
        }
        map.insert(key.clone(), Vec::new());
        Ok(Box::new(MemoryObject {
            objects: Arc::clone(&self.objects.objects),
            key,
            is_finished: false,
        }))
    }

    fn objects(&self) -> &dyn Objects {
        &self.objects
    }

    fn commit(self: Box<Self>, sidecar: &[u8]) -> Result<()> {
        let mut map = self.objects.objects.lock().unwrap();
        let keys: Vec<_> = map.keys().cloned().collect();
        for key in keys
            .into_iter()
            .filter(|(place, _)| *place == self.objects.place)
        {
            if let Some(bytes) = map.remove(&key) {
                map.insert(at_source(&self.source, &key.1), bytes);
            }
        }
        let name = names::sidecar_name(&self.id);
        map.insert(at_source(&self.source, &name), sidecar.to_vec());
        Ok(())
    }
}

impl Drop for MemoryDraft {
    fn drop(&mut self) {
        let mut map = self.objects.objects.lock().unwrap();
        map.retain(|(place, _), _| *place != self.objects.place);
    }
}

struct MemoryObject {
    objects: Arc<Mutex<ObjectMap>>,
    key: (ObjectPlace, String),
    is_finished: bool,
}

impl Write for MemoryObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut map = self.objects.lock().unwrap();
        map.entry(self.key.clone())
            .or_default()
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PendingObject for MemoryObject {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for MemoryObject {
    fn drop(&mut self) {
        if !self.is_finished {
            self.objects.lock().unwrap().remove(&self.key);
        }
    }
}
