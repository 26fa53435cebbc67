//! Faults: a wrapper over any store of which the Nth call fails, and a countdown to the Nth step
//! inside of the local one.

use super::{
    Draft, KnownNames, Listing, Location, ObjectStamp, Objects, PendingObject, Properties,
    Retirement, Store,
};
use crate::error::{Error, Result};
use crate::lock::Lock;
use chrono::{DateTime, Utc};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a failing call does to those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They go on: an error of the medium.
    Once,
    /// They fail as well, and nothing is cleaned up: the process was killed.
    Crash,
}

/// Counts calls, and says which fail.
#[derive(Debug)]
struct Countdown {
    fault: Fault,
    failing: u32,
    calls: AtomicU32,
}

impl Countdown {
    fn call(&self) -> Result<()> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::Once if number == self.failing => Err(gone()),
            Fault::Crash if number >= self.failing => Err(gone()),
            _ => Ok(()),
        }
    }

    /// Whether the process is dead, so that nothing that is dropped is cleaned up.
    fn has_crashed(&self) -> bool {
        self.fault == Fault::Crash && self.has_failed()
    }

    fn has_failed(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.failing
    }
}

fn gone() -> Error {
    Error::failed("the store is gone")
}

thread_local! {
    /// The steps of this thread that still succeed; `None`: all.
    static STEPS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The next `steps` steps of this thread succeed, and all after them fail, as a killed process's.
pub fn crash_after(steps: Option<u32>) {
    STEPS.set(steps);
}

/// A step that changes something.
pub fn step() -> Result<()> {
    match STEPS.get() {
        None => Ok(()),
        Some(0) => Err(gone()),
        Some(left) => {
            STEPS.set(Some(left - 1));
            Ok(())
        }
    }
}

/// See the head of this file.
pub struct FaultyStore<'a> {
    inner: &'a dyn Store,
    countdown: Arc<Countdown>,
}

impl<'a> FaultyStore<'a> {
    /// The call of this number fails, the first one being 1.
    pub fn new(inner: &'a dyn Store, failing: u32, fault: Fault) -> Self {
        FaultyStore {
            inner,
            countdown: Arc::new(Countdown {
                fault,
                failing,
                calls: AtomicU32::new(0),
            }),
        }
    }

    /// Whether a call has failed: none does where there were fewer.
    pub fn has_failed(&self) -> bool {
        self.countdown.has_failed()
    }
}

impl Store for FaultyStore<'_> {
    fn location(&self) -> &Location {
        self.inner.location()
    }

    fn local_path(&self) -> Option<&Path> {
        self.inner.local_path()
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn sources(&self) -> Result<Vec<String>> {
        self.countdown.call()?;
        self.inner.sources()
    }

    fn list(&self, source: &str) -> Result<Listing> {
        self.countdown.call()?;
        self.inner.list(source)
    }

    fn objects(&self, source: &str) -> Box<dyn Objects> {
        Box::new(FaultyObjects {
            inner: self.inner.objects(source),
            countdown: Arc::clone(&self.countdown),
        })
    }

    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        self.countdown.call()?;
        self.inner.write_once(source, name, bytes)
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        self.countdown.call()?;
        self.inner.remove(source, name)
    }

    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>> {
        self.countdown.call()?;
        Ok(Box::new(FaultyDraft {
            inner: Some(self.inner.begin_draft(source, label, at)?),
            countdown: Arc::clone(&self.countdown),
        }))
    }

    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>> {
        self.countdown.call()?;
        Ok(Box::new(FaultyDraft {
            inner: Some(self.inner.begin_copy(source, id)?),
            countdown: Arc::clone(&self.countdown),
        }))
    }

    fn retire(
        &self,
        source: &str,
        id: &str,
        objects: &[String],
        known: Option<&KnownNames>,
    ) -> Result<Retirement> {
        self.countdown.call()?;
        self.inner.retire(source, id, objects, known)
    }

    fn is_retired(&self, source: &str, id: &str) -> Result<bool> {
        self.countdown.call()?;
        self.inner.is_retired(source, id)
    }

    fn sweep(&self, source: &str, named_by: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>> {
        self.countdown.call()?;
        self.inner.sweep(source, named_by)
    }

    fn lock(&self, source: &str, wait: Duration) -> Result<Option<Lock>> {
        self.countdown.call()?;
        self.inner.lock(source, wait)
    }

    fn is_locked(&self, source: &str) -> bool {
        self.inner.is_locked(source)
    }

    fn may_write(&self, source: &str) -> bool {
        self.inner.may_write(source)
    }

    fn is_in_use(&self, source: &str, name: &str) -> Result<bool> {
        self.countdown.call()?;
        self.inner.is_in_use(source, name)
    }

    fn link_target(&self, source: &str, name: &str) -> Result<Option<PathBuf>> {
        self.countdown.call()?;
        self.inner.link_target(source, name)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.countdown.call()?;
        self.inner.free_space()
    }

    fn read_common(&self, name: &str) -> Result<Vec<u8>> {
        self.countdown.call()?;
        self.inner.read_common(name)
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.countdown.call()?;
        self.inner.replace_common(name, bytes)
    }
}

struct FaultyObjects {
    inner: Box<dyn Objects>,
    countdown: Arc<Countdown>,
}

impl Objects for FaultyObjects {
    fn names(&self) -> Result<Vec<String>> {
        self.countdown.call()?;
        self.inner.names()
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.countdown.call()?;
        self.inner.size(name)
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        self.countdown.call()?;
        self.inner.read_into(name, bytes)
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.countdown.call()?;
        self.inner.open_range(name, range)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.inner.path(name)
    }

    fn stamp(&self, name: &str) -> Option<ObjectStamp> {
        self.inner.stamp(name)
    }
}

struct FaultyDraft {
    /// `None` once it is committed.
    inner: Option<Box<dyn Draft>>,
    countdown: Arc<Countdown>,
}

impl FaultyDraft {
    fn inner(&self) -> &dyn Draft {
        &**self.inner.as_ref().unwrap()
    }
}

impl Draft for FaultyDraft {
    fn id(&self) -> &str {
        self.inner().id()
    }

    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>> {
        self.countdown.call()?;
        let inner = self.inner.as_mut().unwrap().create(name)?;
        Ok(Box::new(FaultyObject {
            inner: Some(inner),
            countdown: Arc::clone(&self.countdown),
        }))
    }

    fn link(&mut self, name: &str, path: &Path, file: &File) -> Result<()> {
        self.countdown.call()?;
        self.inner.as_mut().unwrap().link(name, path, file)
    }

    fn objects(&self) -> &dyn Objects {
        self.inner().objects()
    }

    fn sign_copy(&mut self) {
        self.inner.as_mut().unwrap().sign_copy();
    }

    fn commit(mut self: Box<Self>, sidecar: &[u8]) -> Result<()> {
        self.countdown.call()?;
        self.inner.take().unwrap().commit(sidecar)
    }
}

impl Drop for FaultyDraft {
    fn drop(&mut self) {
        if self.countdown.has_crashed() {
            std::mem::forget(self.inner.take());
        }
    }
}

struct FaultyObject {
    /// `None` once it is finished.
    inner: Option<Box<dyn PendingObject>>,
    countdown: Arc<Countdown>,
}

impl Write for FaultyObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.countdown.call()?;
        self.inner.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PendingObject for FaultyObject {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.countdown.call()?;
        self.inner.take().unwrap().finish()
    }
}

impl Drop for FaultyObject {
    fn drop(&mut self) {
        if self.countdown.has_crashed() {
            std::mem::forget(self.inner.take());
        }
    }
}
