//! The directory of a source: files under their names, and under dot-names what is not finished.
//! Every step that changes it is one here.

use super::{explained, is_absent, named};
use crate::durable::{self, SteadyFile};
use crate::error::{Context, Error, Result};
use crate::store::{ObjectStamp, Objects, PendingObject, cannot_link, names};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The name of an object while it is not finished.
pub fn dot(name: &str) -> String {
    format!(".{name}")
}

/// See the head of this file.
pub struct SourceDirectory {
    path: PathBuf,
    /// By the open directory, a hundred thousand files are found without walking down to it as
    /// often.
    dir: OnceLock<File>,
}

impl SourceDirectory {
    /// The directory `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        SourceDirectory {
            path,
            dir: OnceLock::new(),
        }
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of everything in it that may be an object, dot-names too; none where there is no
    /// directory.
    pub fn all_names(&self) -> Result<Vec<String>> {
        let context = || format!("reading `{}`", self.path.display());
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error, &self.path) => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(context)
                    .map_err(|error| explained(error, &self.path));
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(context)?;
            // What a user keeps in a directory of his own there is none of ours; a link may be a
            // dump that was moved to a larger disk, and what can't be told says why when it is
            // read.
            let may_be_object = entry
                .file_type()
                .map_or(true, |kind| kind.is_file() || kind.is_symlink());
            if let (true, Ok(name)) = (may_be_object, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Begins a file; the name must be free.
    pub fn create(&self, name: &str) -> Result<Box<LocalObject>> {
        step()?;
        let path = self.file(name);
        let file = durable::create_new(&path)?;
        Ok(Box::new(LocalObject {
            file: Some(SteadyFile::new(file)),
            path,
        }))
    }

    /// Gives the file at `path`, which must be the open one, a second name here. The name must be
    /// free.
    pub fn link(&self, name: &str, path: &Path, file: &File) -> Result<()> {
        step()?;
        let own = self.file(name);
        std::fs::hard_link(path, &own).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => cannot_link(path, "it is on another file system"),
            io::ErrorKind::AlreadyExists => named(error, &own, "linking to"),
            _ => cannot_link(path, &Error::from(error).message()),
        })?;
        // Between the opening and the link somebody may have put another one there.
        let is_same = own.symlink_metadata().and_then(|linked| {
            let opened = file.metadata()?;
            file.sync_all()?;
            Ok((linked.dev(), linked.ino()) == (opened.dev(), opened.ino()))
        });
        match is_same {
            Ok(true) => Ok(()),
            other => {
                let _ = std::fs::remove_file(&own);
                other.with_context(|| format!("linking `{}`", path.display()))?;
                Err(cannot_link(path, "another file took its place meanwhile"))
            }
        }
    }

    /// Writes a file whole, durable under its name once the directory is synced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut pending = self.create(name)?;
        pending.write_all(bytes)?;
        pending.finish()
    }

    /// Renames; a file that has the new name already is never overwritten, that is an error.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        step()?;
        let (from, to) = (self.file(from), self.file(to));
        durable::rename_new(&from, &to)
            .map_err(|error| named(error, &to, &format!("renaming `{}` to", from.display())))
    }

    /// Removes a file; none of that name is an error of kind `NotFound`.
    pub fn remove(&self, name: &str) -> Result<()> {
        step()?;
        let path = self.file(name);
        std::fs::remove_file(&path).map_err(|error| named(error, &path, "removing"))
    }

    /// Makes creations, renames and removals durable.
    pub fn sync(&self) -> Result<()> {
        step()?;
        durable::sync_dir(&self.path)
    }

    fn opened(&self) -> Result<&File> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let dir = File::open(&self.path).map_err(|error| named(error, &self.path, "opening"))?;
        Ok(self.dir.get_or_init(|| dir))
    }

    fn named(&self, error: io::Error, name: &str, doing: &str) -> Error {
        named(error, &self.file(name), doing)
    }
}

impl Objects for SourceDirectory {
    fn names(&self) -> Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    fn size(&self, name: &str) -> Result<u64> {
        // Through a link: a dump that was moved to a larger disk is read there.
        let found = rustix::fs::statat(self.opened()?, name, AtFlags::empty())
            .map_err(|error| self.named(error.into(), name, "looking at"))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Error::failed(format!(
                "`{}` is no plain file",
                self.file(name).display()
            )));
        }
        Ok(found.st_size.unsigned_abs())
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.opened()?, name, flags, Mode::empty());
        // `Read::read_to_end` would ask for the size first, and would clear what it is about to
        // fill.
        file.and_then(|file| read_whole(&file, bytes))
            .map_err(|error| self.named(error.into(), name, "reading"))
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let path = self.file(name);
        let mut file = File::open(&path).map_err(|error| named(error, &path, "opening"))?;
        // Tells `is_in_use`; where the file system has no locks the open file is readable to its
        // end all the same.
        let _ = file.try_lock_shared();
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start))
                .map_err(|error| named(error, &path, "reading"))?;
        }
        Ok(match range.end {
            u64::MAX => Box::new(file),
            end => Box::new(file.take(end.saturating_sub(range.start))),
        })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.file(name))
    }

    fn stamp(&self, name: &str) -> Option<ObjectStamp> {
        let found = self.file(name).metadata().ok()?;
        Some(ObjectStamp {
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// The objects of a draft: the same directory, under dot-names.
pub struct DraftObjects {
    /// The source's directory.
    pub dir: SourceDirectory,
    /// The names that the objects will have.
    pub names: Vec<String>,
}

impl Objects for DraftObjects {
    fn names(&self) -> Result<Vec<String>> {
        let all = self.dir.all_names()?;
        let is_there = |name: &&String| all.contains(&dot(name));
        Ok(self.names.iter().filter(is_there).cloned().collect())
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.dir.size(&dot(name))
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        self.dir.read_into(&dot(name), bytes)
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.dir.open_range(&dot(name), range)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.dir.path(&dot(name))
    }
}

fn read_whole(file: &OwnedFd, bytes: &mut Vec<u8>) -> rustix::io::Result<()> {
    const LEAST: usize = 4 << 10;
    let mut read = 0;
    loop {
        if bytes.len() - read < LEAST {
            bytes.resize((bytes.len() * 2).max(4 * LEAST), 0);
        }
        match rustix::io::read(file, &mut bytes[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(())
}

/// A file that is being written, removed when dropped unfinished.
pub struct LocalObject {
    file: Option<SteadyFile>,
    path: PathBuf,
}

impl LocalObject {
    fn named(&self, error: io::Error) -> io::Error {
        Error::from(error)
            .context(format!("writing `{}`", self.path.display()))
            .into()
    }

    fn discard(path: &Path) {
        if step().is_ok() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Write for LocalObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("written after its end"));
        };
        file.write(bytes).map_err(|error| self.named(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PendingObject for LocalObject {
    fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        step()
            .map_err(io::Error::from)
            .and_then(|()| file.finish().map(drop))
            .inspect_err(|_| LocalObject::discard(&self.path))
            .map_err(|error| self.named(error))?;
        Ok(())
    }
}

impl Drop for LocalObject {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            LocalObject::discard(&self.path);
        }
    }
}

/// The id of what has a dot-name.
pub fn unfinished_id(name: &str) -> Option<&str> {
    if name.starts_with('.') {
        names::id_of(name)
    } else {
        None
    }
}

/// Every step that changes a directory begins here, so that a test can crash at each.
#[cfg_attr(not(test), allow(clippy::unnecessary_wraps))]
fn step() -> Result<()> {
    #[cfg(test)]
    super::super::faulty::step()?;
    Ok(())
}
