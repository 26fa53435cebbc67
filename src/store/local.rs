//! A store in a local directory: `<root>/<source>/<object>`, all of it readable by its owner alone.

mod directory;
mod draft;

use super::{
    Access, Draft, KnownNames, Listing, Location, MARK, Objects, Properties, Retirement, Store,
    check_mark, free_id, must_be_new, names, new_mark,
};
use crate::durable;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::lock::Lock;
use chrono::{DateTime, Utc};
use directory::{SourceDirectory, dot, unfinished_id};
use draft::LocalDraft;
use std::collections::HashMap;
use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// See the head of this file.
#[derive(Debug)]
pub struct LocalStore {
    location: Location,
    root: PathBuf,
}

impl LocalStore {
    /// Opens the store in the directory `root`.
    pub fn open(root: &Path, access: Access) -> Result<LocalStore> {
        LocalStore::try_open(root, access).map_err(|error| explained(error, root))
    }

    fn try_open(root: &Path, access: Access) -> Result<LocalStore> {
        let store = LocalStore::unchecked(root);
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
                    .with_kind(Kind::NotFound)
                    .context(format!("opening the store `{}`", root.display()))
                    .with_hint(
                        Hint::new()
                            .text("the store is made by the first ")
                            .command(["backup"])
                            .text("; check `--store`, or [store] in the configuration"),
                    ));
            }
            (Err(error), Access::Write) if is_absent(&error, root) => store.make_root()?,
            (Err(error), _) => {
                return Err(error)
                    .with_context(|| format!("opening the store `{}`", root.display()));
            }
        }
        store.check_mark(access)?;
        Ok(store)
    }

    fn holds_sidecars(&self) -> Result<bool> {
        for source in self.sources()? {
            let objects = self.list(&source)?.objects;
            if objects.iter().any(|name| names::sidecar_id(name).is_some()) {
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
                LocalStore::unchecked(root).holds_sidecars()
            }
            None => Ok(false),
        }
    }

    /// Whether the mark of a store is there.
    pub fn is_marked(&self) -> bool {
        self.root.join(MARK).exists()
    }

    /// Whether this user may write to the directory, or there is none yet.
    pub fn may_be_written(&self) -> bool {
        !self.root.exists() || rustix::fs::access(&self.root, rustix::fs::Access::WRITE_OK).is_ok()
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

    /// Whether two names lead to one directory: by a link, a mount, or `..`.
    pub fn is_same(one: &Path, other: &Path) -> bool {
        let (Ok(one), Ok(other)) = (one.metadata(), other.metadata()) else {
            return false;
        };
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }

    /// A directory above another that holds a dump, whether it is a store or not.
    pub fn unchecked(root: &Path) -> LocalStore {
        LocalStore {
            location: Location::from(root),
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
            Ok(bytes) => check_mark(&bytes, &path.display().to_string()),
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
                Access::Write => {
                    self.must_be_free()?;
                    durable::replace(&path, &new_mark())
                }
            },
            Err(error) => Err(error).with_context(|| format!("reading `{}`", path.display())),
        }
    }

    fn dir(&self, source: &str) -> PathBuf {
        self.root.join(source)
    }

    fn directory(&self, source: &str) -> SourceDirectory {
        SourceDirectory::new(self.dir(source))
    }
}

impl Store for LocalStore {
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
            if names::can_be_a_source(&name) && is_directory() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn list(&self, source: &str) -> Result<Listing> {
        let (objects, unfinished) = sorted_out(self.directory(source).all_names()?);
        Ok(Listing {
            objects,
            facts: HashMap::new(),
            unfinished,
        })
    }

    fn objects(&self, source: &str) -> Box<dyn Objects> {
        Box::new(self.directory(source))
    }

    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.directory(source);
        let write = || {
            dir.write(&dot(name), bytes)?;
            dir.rename(&dot(name), name).inspect_err(|_| {
                let _ = dir.remove(&dot(name));
            })
        };
        // No lock is held: another run may just have swept the dot-name away.
        write().or_else(|error| match error.kind() {
            Kind::NotFound => write(),
            _ => Err(error),
        })?;
        dir.sync()
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        self.directory(source).remove(name)
    }

    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>> {
        let id = free_id(&self.list(source)?, source, label, at);
        Ok(Box::new(LocalDraft::new(self.directory(source), id)))
    }

    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>> {
        let dir = self.directory(source);
        must_be_new(&self.list(source)?, id, &self.location)?;
        Ok(Box::new(LocalDraft::new(dir, id.to_owned())))
    }

    fn retire(
        &self,
        source: &str,
        id: &str,
        objects: &[String],
        _known: Option<&KnownNames>,
    ) -> Result<Retirement> {
        draft::retire(&self.directory(source), id, objects)?;
        Ok(Retirement::Done)
    }

    fn sweep(&self, source: &str, named_by: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>> {
        draft::sweep(&self.directory(source), named_by)
    }

    fn lock(&self, source: &str, wait: Duration) -> Result<Option<Lock>> {
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
        .map(Some)
        .map_err(|error| explained(error, &dir))
    }

    fn may_write(&self, source: &str) -> bool {
        rustix::fs::access(self.dir(source), rustix::fs::Access::WRITE_OK).is_ok()
    }

    fn is_locked(&self, source: &str) -> bool {
        File::open(self.dir(source).join(".lock"))
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn is_in_use(&self, source: &str, name: &str) -> Result<bool> {
        let path = self.dir(source).join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error, &path) => return Ok(false),
            Err(error) => return Err(named(error, &path, "opening")),
        };
        // Where the file system has no locks an open file is readable to its end all the same.
        Ok(matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn link_target(&self, source: &str, name: &str) -> Result<Option<PathBuf>> {
        let path = self.dir(source).join(name);
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
        // The directory may still have to be made.
        let there = if self.root.is_dir() {
            self.root.as_path()
        } else {
            self.root.parent().unwrap_or(Path::new("/"))
        };
        durable::free_space(there).map(Some)
    }

    fn location(&self) -> &Location {
        &self.location
    }

    fn properties(&self) -> Properties {
        Properties {
            locks: true,
            confirms_writes: false,
            removes: true,
            max_removals: None,
            parallel_reads: None,
        }
    }

    fn read_common(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.root.join(name);
        std::fs::read(&path).map_err(|error| named(error, &path, "reading"))
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let replace = || durable::replace(&self.root.join(name), bytes);
        // Another run may just have swept what this one was writing: no lock is held.
        replace().or_else(|error| match error.io_kind() {
            Some(io::ErrorKind::NotFound) => replace(),
            _ => Err(error),
        })?;
        durable::sweep_replacements(&self.root.join(name));
        Ok(())
    }
}

/// Names in a source's directory: those of objects, and the ids of what is not finished.
fn sorted_out(names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (unfinished, objects): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.starts_with('.'));
    let ids = unfinished
        .iter()
        .filter_map(|name| unfinished_id(name).map(str::to_owned));
    (objects, ids.collect())
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
        _ if is_absent => error.with_kind(Kind::NotFound),
        Ok(target) if is_missing => error.with_hint(format!(
            "it is a link to `{}`: is that disk mounted?",
            target.display()
        )),
        _ => explained(error, path),
    }
}
