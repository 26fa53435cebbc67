//! A store in a local directory: `<root>/<source>/<object>`, all of it readable by its owner alone.

use super::{Pending, Small, Store};
use crate::durable::{self, SteadyFile};
use crate::error::{Context, Error, Result};
use crate::lock::Lock;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The newest layout of a store that this program knows.
const FORMAT: u32 = 1;
const MARK: &str = "dbbackup-store.json";

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It must be there, and may be read-only.
    Read,
    /// Made where it is missing, its parents never.
    Write {
        /// Refuse a directory that is not on a mounted file system of its own.
        require_mount: bool,
    },
}

/// See the head of this file.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    #[serde(default)]
    uuid: String,
}

impl LocalStore {
    /// Opens the store in the directory `root`.
    pub fn open(root: &Path, access: Access) -> Result<LocalStore> {
        LocalStore::try_open(root, access).map_err(|error| explained(error, root))
    }

    fn try_open(root: &Path, access: Access) -> Result<LocalStore> {
        let store = LocalStore {
            root: root.to_path_buf(),
        };
        if let Access::Write {
            require_mount: true,
        } = access
        {
            store.require_mount()?;
        }
        match (root.metadata(), access) {
            (Ok(found), _) if !found.is_dir() => {
                return Err(Error::not_found(format!(
                    "the store `{}` is not a directory",
                    root.display()
                )));
            }
            (Ok(_), _) => {}
            // The disk may only be away: a link to where it was mounted is no missing store.
            (Err(error), Access::Read) if is_absent(&error, root) => {
                return Err(Error::from(error)
                    .with_kind(crate::error::Kind::NotFound)
                    .context(format!("opening the store `{}`", root.display()))
                    .with_hint(
                        "the store is made by the first `dbbackup backup`; check `--store`, or \
                           [store] in the configuration",
                    ));
            }
            (Err(error), Access::Write { .. }) if is_absent(&error, root) => store.make_root()?,
            (Err(error), _) => {
                return Err(error)
                    .with_context(|| format!("opening the store `{}`", root.display()));
            }
        }
        store.check_mark(access)?;
        Ok(store)
    }

    fn holds_sidecars(&self) -> Result<bool> {
        let is_sidecar =
            |name: &String| super::id_of(name).is_some_and(|id| *name == super::sidecar_name(id));
        for source in self.sources()? {
            if self.names(&source)?.iter().any(is_sidecar) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a directory is a store, or holds copies of sources' directories.
    pub fn is_at(root: &Path) -> Result<bool> {
        match found_at(&root.join(MARK))? {
            Some(_) => Ok(true),
            None if found_at(root)?.is_some_and(|found| found.is_dir()) => {
                LocalStore::around(root).holds_sidecars()
            }
            None => Ok(false),
        }
    }

    /// A directory becomes a store by being written to: one that somebody uses for something else
    /// must not, through a slip of the keyboard. Names with a dot before them and what file systems
    /// have in an empty one do not count, nor does a copy of a store without its mark.
    pub fn must_be_free(&self) -> Result<()> {
        let shown = self.root.display();
        let of_file_systems = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];
        let mut other = None;
        for entry in std::fs::read_dir(&self.root).with_context(|| format!("reading `{shown}`"))? {
            let name = entry
                .with_context(|| format!("reading `{shown}`"))?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if !name.starts_with('.') && !of_file_systems.contains(&name.as_str()) {
                other = other.min(Some(name.clone())).or(Some(name));
            }
        }
        let Some(other) = other else { return Ok(()) };
        if LocalStore::is_at(&self.root)? {
            return Ok(());
        }
        let text = format!(
            "the directory `{shown}` is no store, and it is not empty: `{}` is in it",
            other.escape_debug()
        );
        Err(Error::usage(text).with_hint(format!(
            "name an empty directory, or a new one as `{shown}/backups`; to have it be one all the \
             same: `echo '{{\"format\": 1}}' > {}`",
            self.root.join(MARK).display()
        )))
    }

    /// A directory above another that holds a dump, whether it is a store or not.
    pub fn around(root: &Path) -> LocalStore {
        LocalStore {
            root: root.to_path_buf(),
        }
    }

    fn make_root(&self) -> Result<()> {
        make_dir(&self.root).map_err(|error| {
            let parent = self.root.parent().unwrap_or(Path::new("/"));
            let missing = matches!(found_at(parent), Ok(None));
            let error =
                Error::from(error).context(format!("making the store `{}`", self.root.display()));
            if missing {
                error.with_hint(format!(
                    "`{}` is not there: is the disk mounted? dbbackup makes a store's last \
                     directory, never its parents",
                    parent.display()
                ))
            } else {
                error.with_hint("choose a directory that this user may write to: `--store DIR`")
            }
        })?;
        self.root.parent().map_or(Ok(()), |parent| {
            durable::sync_dir(if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            })
        })
    }

    /// An error where the directory is not on a mounted file system of its own.
    pub fn require_mount(&self) -> Result<()> {
        // The store's directory itself may still have to be made; then its parent must be the
        // mounted one.
        let is_made = found_at(&self.root)?.is_some_and(|found| found.is_dir());
        let there = if is_made {
            self.root.as_path()
        } else {
            self.root.parent().unwrap_or(Path::new("/"))
        };
        let root_device = Path::new("/").metadata()?.dev();
        if found_at(there)?.is_some_and(|found| found.dev() != root_device) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "nothing is mounted at the store `{}`, and `require_mount = true`",
            self.root.display()
        ))
        .with_hint(format!(
            "mount its file system first: `mount {}`",
            there.display()
        )))
    }

    fn check_mark(&self, access: Access) -> Result<()> {
        let path = self.root.join(MARK);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let mark: Mark = serde_json::from_slice(&bytes)
                    .map_err(|error| {
                        Error::failed(format!("`{}` is damaged: {error}", path.display()))
                    })
                    .with_hint(
                        "write `{\"format\": 1}` into that file, if the directory is a store",
                    )?;
                if mark.format > FORMAT {
                    let text = format!(
                        "the store `{}` has format {}, this version knows {FORMAT}",
                        self.root.display(),
                        mark.format
                    );
                    return Err(Error::failed(text)
                        .with_hint("use the dbbackup that wrote it, or a newer one"));
                }
                Ok(())
            }
            Err(error) if is_absent(&error, &path) => match access {
                // A copy of a source's directory alone, in a directory of its own, will do.
                Access::Read if self.holds_sidecars()? => Ok(()),
                Access::Read => {
                    let text = format!(
                        "`{}` is not a store: there is no `{MARK}` in it",
                        self.root.display()
                    );
                    Err(Error::not_found(text).with_hint(format!(
                        "give the directory above the sources' own; if it is a copy of a store: \
                         `echo '{{\"format\": 1}}' > {}`",
                        path.display()
                    )))
                }
                Access::Write { .. } => {
                    self.must_be_free()?;
                    let mark = Mark {
                        format: FORMAT,
                        uuid: uuid::Uuid::new_v4().to_string(),
                    };
                    durable::replace(&path, &serde_json::to_vec(&mark).unwrap_or_default())
                }
            },
            Err(error) => Err(error).with_context(|| format!("reading `{}`", path.display())),
        }
    }

    fn dir(&self, source: &str) -> PathBuf {
        self.root.join(source)
    }

    fn path(&self, source: &str, name: &str) -> PathBuf {
        self.root.join(source).join(name)
    }
}

impl Store for LocalStore {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn sources(&self) -> Result<Vec<String>> {
        let context = || format!("reading the store `{}`", self.root.display());
        let mut names = Vec::new();
        let entries = std::fs::read_dir(&self.root)
            .with_context(context)
            .map_err(|error| explained(error, &self.root))?;
        for entry in entries {
            let entry = entry.with_context(context)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // What can't be told is one: reading it then says why it can't be.
            let is_directory = || match entry.path().metadata() {
                Ok(found) => found.is_dir(),
                Err(error) => !is_absent(&error, &entry.path()),
            };
            if can_be_a_source(&name) && is_directory() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn names(&self, source: &str) -> Result<Vec<String>> {
        let dir = self.dir(source);
        let context = || format!("reading `{}`", dir.display());
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error, &dir) => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(context)
                    .map_err(|error| explained(error, &dir));
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

    fn small(&self, source: &str) -> Result<Box<dyn Small + '_>> {
        let path = self.dir(source);
        // By the open directory, a hundred thousand files are found without walking down to it as
        // often.
        let dir = File::open(&path).map_err(|error| named(error, &path, "opening"))?;
        Ok(Box::new(LocalSmall { dir, path }))
    }

    fn open(&self, source: &str, name: &str) -> Result<Box<dyn Read + Send>> {
        let path = self.path(source, name);
        let file = File::open(&path).map_err(|error| named(error, &path, "opening"))?;
        // Tells `in_use`; where the file system has no locks the open file is readable to its end
        // all the same.
        let _ = file.try_lock_shared();
        Ok(Box::new(file))
    }

    fn create(&self, source: &str, dot_name: &str) -> Result<Box<dyn Pending>> {
        let path = self.path(source, dot_name);
        let file = durable::create_new(&path)?;
        Ok(Box::new(LocalPending {
            file: Some(SteadyFile::new(file)),
            path,
        }))
    }

    fn rename(&self, source: &str, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.path(source, from), self.path(source, to));
        durable::rename_new(&from, &to)
            .map_err(|error| named(error, &to, &format!("renaming `{}` to", from.display())))
    }

    fn replace(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        durable::replace(&self.path(source, name), bytes)
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        let path = self.path(source, name);
        std::fs::remove_file(&path).map_err(|error| named(error, &path, "removing"))
    }

    fn sync(&self, source: &str) -> Result<()> {
        durable::sync_dir(&self.dir(source))
    }

    fn lock(&self, source: &str, wait: Duration) -> Result<Lock> {
        let dir = self.dir(source);
        match make_dir(&dir) {
            Ok(()) => durable::sync_dir(&self.root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let error = Error::from(error).context(format!("making `{}`", dir.display()));
                return Err(explained(error, &self.root));
            }
        }
        Lock::take(
            &dir.join(".lock"),
            &format!(
                "the source `{source}` in the store `{}`",
                self.root.display()
            ),
            wait,
        )
        .map_err(|error| explained(error, &dir))
    }

    fn in_use(&self, source: &str, name: &str) -> Result<bool> {
        let path = self.path(source, name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error, &path) => return Ok(false),
            Err(error) => return Err(named(error, &path, "opening")),
        };
        // Where the file system has no locks an open file is readable to its end all the same.
        Ok(matches!(
            file.try_lock(),
            Err(std::fs::TryLockError::WouldBlock)
        ))
    }

    fn elsewhere(&self, source: &str, name: &str) -> Result<Option<PathBuf>> {
        let path = self.path(source, name);
        match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => std::fs::read_link(&path)
                .map(Some)
                .map_err(|error| named(error, &path, "looking at")),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error, &path) => Ok(None),
            Err(error) => Err(named(error, &path, "looking at")),
        }
    }

    fn free_space(&self) -> Result<Option<u64>> {
        durable::free_space(&self.root).map(Some)
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn replace_at_root(&self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::replace(&self.root.join(name), bytes)
    }

    fn locate(&self, source: &str, name: &str) -> Option<PathBuf> {
        Some(self.path(source, name))
    }
}

/// Other directories, `lost+found` for one, are not even looked into.
fn can_be_a_source(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner)
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// The remedy where it is the system that does not let this user read or write `path`.
fn explained(error: Error, path: &Path) -> Error {
    match error.io_kind() {
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            error.with_hint("the store is read-only: mount it so that it can be written to")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            let me = rustix::process::geteuid().as_raw();
            // What can't even be looked at is as little accessible as the directory above it.
            let found = path
                .ancestors()
                .find_map(|path| Some((path, path.symlink_metadata().ok()?)));
            match found.map(|(path, found)| (path, found.uid())) {
                Some((path, 0)) if me != 0 => error.with_hint(format!(
                    "`{}` belongs to root: run it as root",
                    path.display()
                )),
                Some((path, owner)) if me != owner => error.with_hint(format!(
                    "`{}` belongs to the user with the id {owner}: run it as that user",
                    path.display()
                )),
                _ => error,
            }
        }
        _ => error,
    }
}

/// Whether the error says for sure that there is nothing of this name; not where it is a link,
/// whose other end may only be away.
fn is_absent(error: &io::Error, path: &Path) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    // Nothing is below a file, and nothing has a name that is too long.
    let is_missing =
        |error: &io::Error| matches!(error.kind(), NotFound | NotADirectory | InvalidFilename);
    is_missing(error)
        && path
            .symlink_metadata()
            .is_err_and(|error| is_missing(&error))
}

/// What is at a path, where that can be told.
fn found_at(path: &Path) -> Result<Option<Metadata>> {
    match path.metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error, path) => Ok(None),
        Err(error) => Err(named(error, path, "looking at")),
    }
}

/// The error of what was done with the file `path`, of kind `NotFound` only where there surely is
/// none.
fn named(error: io::Error, path: &Path, doing: &str) -> Error {
    let (is_missing, is_absent) = (
        error.kind() == io::ErrorKind::NotFound,
        is_absent(&error, path),
    );
    let error = Error::from(error).context(format!("{doing} `{}`", path.display()));
    match std::fs::read_link(path) {
        _ if is_absent => error.with_kind(crate::error::Kind::NotFound),
        Ok(target) if is_missing => error.with_hint(format!(
            "it is a link to `{}`: is that disk mounted?",
            target.display()
        )),
        _ => explained(error, path),
    }
}

/// An open directory of the store.
struct LocalSmall {
    dir: File,
    path: PathBuf,
}

impl LocalSmall {
    fn named(&self, error: io::Error, name: &str, doing: &str) -> Error {
        named(error, &self.path.join(name), doing)
    }
}

impl Small for LocalSmall {
    fn size(&self, name: &str) -> Result<u64> {
        // Through a link: a dump that was moved to a larger disk is read there.
        let found = rustix::fs::statat(&self.dir, name, AtFlags::empty())
            .map_err(|error| self.named(error.into(), name, "looking at"))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Error::failed(format!(
                "`{}` is no plain file",
                self.path.join(name).display()
            )));
        }
        Ok(found.st_size.unsigned_abs())
    }

    fn read(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::empty());
        // `Read::read_to_end` would ask for the size first, and would clear what it is about to
        // fill.
        file.and_then(|file| read_whole(&file, bytes))
            .map_err(|error| self.named(error.into(), name, "reading"))
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

/// A file under its dot-name, removed when dropped unfinished.
struct LocalPending {
    file: Option<SteadyFile>,
    path: PathBuf,
}

impl LocalPending {
    fn named(&self, error: io::Error) -> io::Error {
        Error::from(error)
            .context(format!("writing `{}`", self.path.display()))
            .into()
    }
}

impl Write for LocalPending {
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

impl Pending for LocalPending {
    fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        file.finish()
            .map(drop)
            .inspect_err(|_| {
                let _ = std::fs::remove_file(&self.path);
            })
            .map_err(|error| self.named(error))?;
        Ok(())
    }
}

impl Drop for LocalPending {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
