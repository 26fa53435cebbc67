//! The dumps on the way of a source's newest backup, as they are stored, on a disk of this machine:
//! for a store on another one, from which each backup would fetch them else.
//!
//! Only the way of the newest backup is here: no later number needs another dump. A file is named
//! by the SHA-256 of what it holds, and is read once to be compared with that before it is used.
//! What is not here, or is not what was written, is fetched. Nothing here is needed: a cache that
//! can't be written to makes a run slower and no worse.

use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::pipeline::{self, Measurement, Progress};
use crate::sidecar::Dump;
use crate::store::{Location, Objects, PendingObject};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What the names of files that are being written begin with.
const DRAFT: &str = ".draft-";

/// A draft that nobody has written to for so long is a killed run's.
const LONGEST_WRITING: Duration = Duration::from_secs(48 * 3600);

/// The dumps of one source in one store.
#[derive(Debug, Clone)]
pub struct DumpCache {
    directory: PathBuf,
    /// What the run has written to the store, which gets its name when that is known.
    written: Arc<Mutex<Option<CacheDraft>>>,
}

impl DumpCache {
    /// The cache below `parent` of a source in the store at `location`. Nothing is made yet.
    pub fn new(parent: &Path, location: &Location, source: &str) -> DumpCache {
        let mut place = location.sha256();
        place.truncate(16);
        DumpCache {
            directory: parent.join(format!("{source}-{place}")),
            written: Arc::default(),
        }
    }

    /// Opens a dump of the store: from here, else it is fetched and kept here.
    pub fn open(&self, dump: &Dump, objects: &dyn Objects) -> Result<Box<dyn Read + Send>> {
        if let Some(file) = self.open_kept(dump) {
            return Ok(Box::new(file));
        }
        match self.fetch(dump, objects) {
            Ok(Some(file)) => Ok(Box::new(file)),
            // It is read from where it is, and whoever reads it finds what is wrong.
            Ok(None) => objects.open(&dump.file),
            Err(error) if error.kind() == Kind::Interrupted => Err(error),
            Err(_) => objects.open(&dump.file),
        }
    }

    /// The file of a dump, where it is here and is what was written.
    fn open_kept(&self, dump: &Dump) -> Option<File> {
        let path = self.path_of(dump)?;
        let file = File::open(&path).ok()?;
        let found = pipeline::measure(&file, &Progress::default()).ok()?;
        if !is_of(dump, &found) {
            let _ = fs::remove_file(&path);
            return None;
        }
        File::open(&path).ok()
    }

    /// Fetches a dump; `None` where what came is not what was written.
    fn fetch(&self, dump: &Dump, objects: &dyn Objects) -> Result<Option<File>> {
        let mut draft = self.begin()?;
        let object = objects.open(&dump.file)?;
        let found = pipeline::copy_measured(object, &mut draft.file, &Progress::default())?;
        if !is_of(dump, &found) {
            return Ok(None);
        }
        self.keep(draft, dump)?;
        Ok(self.path_of(dump).and_then(|path| File::open(path).ok()))
    }

    /// An object of the store that is written here, too, while it is written there.
    pub fn tee(&self, pending: Box<dyn PendingObject>) -> Box<dyn PendingObject> {
        match self.begin() {
            Ok(draft) => Box::new(TeeObject {
                inner: pending,
                draft: Some(draft),
                written: Arc::clone(&self.written),
            }),
            Err(_) => pending,
        }
    }

    /// Keeps the new backup's dump, where it was written here, and of the others those that it is
    /// built on.
    pub fn settle(&self, new: &Dump, way: &[&Dump]) {
        let written = self.take_written();
        // Else it is fetched, by the run that needs it.
        let _ = written.map_or(Ok(()), |draft| self.keep(draft, new));
        let names = way.iter().chain([&new]).map(|dump| dump.sha256.as_str());
        self.sweep(&names.collect());
    }

    fn take_written(&self) -> Option<CacheDraft> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.take()
    }

    /// Removes what no later backup needs, and what killed runs left.
    fn sweep(&self, kept: &BTreeSet<&str>) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_ours = is_sha256(&name) && !kept.contains(&*name);
            if is_ours || name.starts_with(DRAFT) && is_old(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Where a dump is; `None` where its hash, which comes from the store, is none.
    fn path_of(&self, dump: &Dump) -> Option<PathBuf> {
        is_sha256(&dump.sha256).then(|| self.directory.join(&dump.sha256))
    }

    fn begin(&self) -> Result<CacheDraft> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.directory)
            .with_context(|| format!("making `{}`", self.directory.display()))?;
        let name = format!("{DRAFT}{}", uuid::Uuid::new_v4().simple());
        let path = self.directory.join(name);
        Ok(CacheDraft {
            file: durable::create_new(&path)?,
            path,
        })
    }

    /// Gives a draft its name. What a crash leaves half is found when it is read.
    fn keep(&self, draft: CacheDraft, dump: &Dump) -> Result<()> {
        let path = self
            .path_of(dump)
            .ok_or_else(|| Error::failed("its hash is none"))?;
        fs::rename(&draft.path, path).with_context(|| format!("in `{}`", self.directory.display()))
    }
}

fn is_of(dump: &Dump, found: &Measurement) -> bool {
    (found.size, &found.sha256) == (dump.size_bytes, &dump.sha256)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_old(path: &Path) -> bool {
    let changed = path.metadata().and_then(|found| found.modified()).ok();
    let age = changed.and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age > LONGEST_WRITING)
}

/// A file that has no name for others yet; it goes when it is dropped without one.
#[derive(Debug)]
struct CacheDraft {
    file: File,
    path: PathBuf,
}

impl Drop for CacheDraft {
    fn drop(&mut self) {
        // After it got its name there is none of this one.
        let _ = fs::remove_file(&self.path);
    }
}

/// An object that is written to the store and here. What fails here costs only the copy here.
struct TeeObject {
    inner: Box<dyn PendingObject>,
    draft: Option<CacheDraft>,
    written: Arc<Mutex<Option<CacheDraft>>>,
}

impl Write for TeeObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.draft
            .take_if(|draft| draft.file.write_all(&bytes[..count]).is_err());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl PendingObject for TeeObject {
    fn finish(self: Box<Self>) -> Result<()> {
        let TeeObject {
            inner,
            draft,
            written,
        } = *self;
        inner.finish()?;
        *written.lock().unwrap_or_else(PoisonError::into_inner) = draft;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
