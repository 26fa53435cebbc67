//! A look at a file before SQLite opens it: is it a database at all, and may it be opened without
//! harm?

use super::registry::{self, Claim};
use super::{OpenMode, companion, companions};
use crate::engine::mounts::mounts;
use crate::error::{Context, Error, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What every SQLite database begins with;
/// <https://sqlite.org/fileformat2.html#the_database_header>.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What the file's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// No bytes at all: SQLite takes it for an empty database.
    Empty,
    /// A database.
    Database {
        /// In WAL mode, by the header.
        wal: bool,
    },
    /// Something else, or encrypted.
    Foreign,
}

/// What a database's pages are like, by the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes.
    pub page_size: u32,
    /// As the pragma of that name says it.
    pub encoding: &'static str,
}

/// Reads a file's header, while no connection to it is open in this process.
pub fn header(path: &Path) -> Result<Header> {
    let bytes = first_bytes(path)?;
    Ok(match bytes.len() {
        0 => Header::Empty,
        20.. if bytes.starts_with(MAGIC) => Header::Database {
            wal: bytes[18] == 2 || bytes[19] == 2,
        },
        _ => Header::Foreign,
    })
}

/// Reads the layout from the header, as [`header`] does; `None` where the file has none.
pub fn layout(path: &Path) -> Result<Option<Layout>> {
    let bytes = first_bytes(path)?;
    let Some(bytes) = bytes.first_chunk::<100>() else {
        return Ok(None);
    };
    let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        size => size.into(),
    };
    let encoding = match bytes[56..60] {
        [0, 0, 0, 1] => "UTF-8",
        [0, 0, 0, 2] => "UTF-16le",
        [0, 0, 0, 3] => "UTF-16be",
        _ => return Ok(None),
    };
    let layout = Layout {
        page_size,
        encoding,
    };
    Ok(bytes.starts_with(MAGIC).then_some(layout))
}

/// The file's first 100 bytes.
fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading `{}`", path.display());
    let claim = Claim::for_plain_file(path)?;
    let mut bytes = Vec::with_capacity(100);
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .with_context(context)?;
    if !claim.is_for(&file.metadata().with_context(context)?) {
        // Another file has taken its place. Closed, it could drop the locks of a connection of this
        // run.
        std::mem::forget(file);
        return Err(Error::failed(
            "it was replaced by another file at this moment",
        ))
        .with_context(context);
    }
    file.take(100)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    Ok(bytes)
}

/// A file's metadata; one that is missing, or no file, is told.
pub fn must_be_there(path: &Path) -> Result<std::fs::Metadata> {
    let found = path.metadata().map_err(|error| {
        let error = Error::from(error).context(format!("the database `{}`", path.display()));
        error.with_hint("check the path; a missing database is never created")
    })?;
    if !found.is_file() {
        return Err(Error::failed(format!("`{}` is not a file", path.display())));
    }
    Ok(found)
}

/// Looks at the database before it is read; says how it must be opened, or why it can't be.
pub fn before_reading(path: &Path) -> Result<OpenMode> {
    let found = must_be_there(path)?;
    companions::check_companions(path)?;
    if registry::is_open(path) {
        // This process has it open already, so it is a database, and its file must not be opened
        // beside SQLite.
        return Ok(OpenMode::Read);
    }
    match header(path)? {
        Header::Foreign => Err(Error::failed(format!(
            "`{}` is not a SQLite database, or it is \
            encrypted",
            path.display()
        ))
        .with_hint(
            "check the path; `--kind files` saves it as the file that it is, an encrypted \
                   database only while its application is stopped",
        )),
        Header::Database { wal: true } => before_wal(path, &found),
        Header::Empty | Header::Database { wal: false } => Ok(OpenMode::Read),
    }
}

fn before_wal(path: &Path, found: &std::fs::Metadata) -> Result<OpenMode> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let read_only = rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if read_only {
        // An application may write through another mount; SQLite reads its -shm, or refuses.
        if ["-wal", "-shm"]
            .iter()
            .any(|end| companion(path, end).exists())
        {
            return Ok(OpenMode::Read);
        }
        if !nobody_can_write(dir) {
            return Err(Error::failed(format!(
                "`{}` is mounted read-only here, but others can write to its file system",
                path.display()
            ))
            .with_hint(
                "let this run write to the directory (for SQLite's -shm), or back up while the \
                 application has the database open",
            ));
        }
        return Ok(OpenMode::Immutable);
    }
    refuse_to_lock_out_the_owner(path, found)?;
    Ok(OpenMode::Read)
}

/// What SQLite will have to make beside a database in WAL mode, this user may make.
pub fn companions_can_be_made(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    match rustix::fs::access(dir, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(_) => Err(super::no_companions(path)),
    }
}

/// Whether the file system itself is read-only, not only this mount of it; unknown is no.
fn nobody_can_write(dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else {
        return false;
    };
    // The last of the deepest covers the others.
    let found = mounts()
        .into_iter()
        .filter(|mount| dir.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len());
    found.is_some_and(|mount| mount.options.split(',').any(|option| option == "ro"))
}

/// A connection of another user leaves a -shm that belongs to that user, and the application's next
/// write then fails. Root is safe: SQLite gives the files to the database's owner.
pub fn refuse_to_lock_out_the_owner(path: &Path, found: &std::fs::Metadata) -> Result<()> {
    let me = rustix::process::geteuid();
    if me.is_root() || me.as_raw() == found.uid() || companion(path, "-shm").exists() {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err() {
        return Ok(());
    }
    let owner = crate::users::user(found.uid());
    let text = format!(
        "`{}` is in WAL mode, belongs to {owner}, and no application has it open: opening it as \
         this user would leave a -shm file that locks {owner} out",
        path.display()
    );
    let who = if owner == "root" {
        owner.clone()
    } else {
        format!("{owner} or as root")
    };
    Err(Error::failed(text).with_hint(format!(
        "run dbbackup as {who}: `sudo -u {owner} dbbackup …`"
    )))
}
