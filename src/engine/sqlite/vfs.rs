//! A layer above SQLite's "unix" VFS, for databases in directories that belong to somebody else:
//! they are opened by the directory and not by a path.
//!
//! SQLite opens by path, and resolves every link on the way. Between the walk over a tree and that
//! moment the owner of the tree can put a link in the place of a directory or of the database. Then
//! a run of root's would save a file that only root may read under the owner's name. So SQLite gets
//! a path that leads through the open directory (`/proc/self/fd/7/app.db`). The layer leaves such a
//! path as it is (SQLite's own VFS would read the link and go by the text), and compares the opened
//! file with the one that the walk found. SQLite itself follows no link at the end of a path
//! (`O_NOFOLLOW`), neither for the database nor for its log, index and journal.
//!
//! SQLite opens the log, the index and the journal later, when it first reads, and again by path.
//! While a connection for reading is open, the layer knows its file, and opens nothing beside
//! another one: see [`companions`].

use super::companions;
use super::registry::{Claim, FileKey};
use rusqlite::{Connection, OpenFlags, ffi};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The layer's name for SQLite.
const NAME: &CStr = c"dbbackup-inside";

thread_local! {
    /// The path that this thread is opening, and the file that must be there.
    static EXPECTED: RefCell<Option<(CString, FileKey)>> = const { RefCell::new(None) };
}

/// The databases that are open for reading, by SQLite's path for them. One path may have led to
/// several files.
static OPEN_DATABASES: Mutex<Option<HashMap<Vec<u8>, Vec<FileKey>>>> = Mutex::new(None);

fn open_databases() -> MutexGuard<'static, Option<HashMap<Vec<u8>, Vec<FileKey>>>> {
    OPEN_DATABASES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the companions that SQLite opens beside the database `path` must lie beside the
/// file `key`.
pub struct CompanionGuard {
    path: Vec<u8>,
    key: FileKey,
}

impl CompanionGuard {
    /// Begins to guard.
    pub fn new(path: &Path, key: FileKey) -> CompanionGuard {
        let path = path.as_os_str().as_bytes().to_vec();
        open_databases()
            .get_or_insert_default()
            .entry(path.clone())
            .or_default()
            .push(key);
        CompanionGuard { path, key }
    }
}

impl Drop for CompanionGuard {
    fn drop(&mut self) {
        let mut open = open_databases();
        let Some(open) = open.as_mut() else { return };
        let Some(keys) = open.get_mut(&self.path) else {
            return;
        };
        if let Some(at) = keys.iter().position(|key| *key == self.key) {
            keys.swap_remove(at);
        }
        if keys.is_empty() {
            open.remove(&self.path);
        }
    }
}

/// Makes the layer known to SQLite, once a process. Returns false if this SQLite is not as it must
/// be.
pub fn register_layer() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(register)
}

/// Opens the database `path`, which leads through an open directory, if it is the file `key`.
pub fn open_expected(path: &Path, key: FileKey, flags: OpenFlags) -> rusqlite::Result<Connection> {
    open_expected_uri(path, path, key, flags)
}

/// Opens the database `path` by `uri`, a `file:` URI of that path, if it is the file `key`.
pub fn open_expected_uri(
    path: &Path,
    uri: impl AsRef<Path>,
    key: FileKey,
    flags: OpenFlags,
) -> rusqlite::Result<Connection> {
    let (Ok(text), true) = (CString::new(path.as_os_str().as_bytes()), register_layer()) else {
        return Err(failure(ffi::SQLITE_CANTOPEN));
    };
    let _expected = ExpectedFile::new(text, key);
    Connection::open_with_flags_and_vfs(uri, flags, NAME)
}

/// While it lives, this thread opens no other file by that path.
struct ExpectedFile;

impl ExpectedFile {
    fn new(path: CString, key: FileKey) -> ExpectedFile {
        EXPECTED.with_borrow_mut(|expected| *expected = Some((path, key)));
        ExpectedFile
    }
}

impl Drop for ExpectedFile {
    fn drop(&mut self) {
        EXPECTED.with_borrow_mut(|expected| *expected = None);
    }
}

fn failure(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Does what [`register_layer`] does, each time.
fn register() -> bool {
    // SAFETY: SQLite's "unix" VFS lives for ever, and so does the copy, which differs in its name
    // and in one function of the same type. Its other functions read only `pAppData` and
    // `mxPathname`, which are copied. The replaced system calls have the types to which SQLite
    // casts them (os_unix.c, `aSyscall`), and do the same as before for every path but an expected
    // one.
    unsafe {
        let unix = ffi::sqlite3_vfs_find(c"unix".as_ptr());
        if unix.is_null() {
            return false;
        }
        let Some(set) = (*unix).xSetSystemCall else {
            return false;
        };
        let open: unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int = checked_open;
        let stat: unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int = checked_stat;
        let as_call = |function: *const ()| {
            std::mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(function)
        };
        if set(unix, c"open".as_ptr(), as_call(open as *const ())) != ffi::SQLITE_OK
            || set(unix, c"stat".as_ptr(), as_call(stat as *const ())) != ffi::SQLITE_OK
        {
            return false;
        }
        let mut layer = Box::new(*unix);
        layer.zName = NAME.as_ptr();
        layer.pNext = std::ptr::null_mut();
        layer.xFullPathname = Some(keep_path);
        ffi::sqlite3_vfs_register(Box::leak(layer), 0) == ffi::SQLITE_OK
    }
}

/// The layer's `xFullPathname`: leaves a path as it is.
unsafe extern "C" fn keep_path(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite hands over a path that ends with NUL, and `size` bytes to write to.
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if usize::try_from(size).is_ok_and(|size| bytes.len() <= size) {
            std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
            return ffi::SQLITE_OK;
        }
    }
    ffi::SQLITE_CANTOPEN
}

/// The file that must be at this path, if this thread is just opening it.
unsafe fn expected_at(path: *const c_char) -> Option<FileKey> {
    // SAFETY: SQLite hands over a path that ends with NUL.
    let path = unsafe { CStr::from_ptr(path) };
    EXPECTED.with_borrow(|expected| {
        expected
            .as_ref()
            .filter(|(wanted, _)| wanted.as_c_str() == path)
            .map(|(_, key)| *key)
    })
}

/// SQLite's `open`: refuses a file that is not the expected one, and companions that do not belong
/// to their database.
unsafe extern "C" fn checked_open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as SQLite's own `posixOpen`; the opened descriptor belongs to nobody else yet.
    unsafe {
        let expected = expected_at(path);
        let bytes = CStr::from_ptr(path).to_bytes();
        // SQLite opens directories, too, without this flag.
        if let (None, true, Some(database)) = (
            expected,
            flags & libc::O_NOFOLLOW != 0,
            companions::database_of(bytes),
        ) {
            return open_beside(bytes, database, flags, mode);
        }
        let flags = if expected.is_some() {
            flags | libc::O_NONBLOCK
        } else {
            flags
        };
        let file = libc::open(path, flags, mode);
        let (true, Some(key)) = (file >= 0, expected) else {
            return file;
        };
        let mut found = std::mem::zeroed::<libc::stat>();
        let status = libc::fstat(file, &raw mut found);
        if status == 0 && key_of(&found) == key {
            return file;
        }
        // Another file has taken its place. If this run has that one open as a database, closing it
        // would drop that connection's locks.
        if let Some(claim) = Claim::for_reading(key_of(&found)) {
            drop(std::fs::File::from_raw_fd(file));
            drop(claim);
        }
        *errno() = libc::ENOENT;
        -1
    }
}

/// Opens a companion. Its database is compared with those that are open by that path, if any is.
fn open_beside(path: &[u8], database: &[u8], flags: c_int, mode: c_int) -> c_int {
    let keys = open_databases()
        .as_ref()
        .and_then(|open| open.get(database).cloned());
    let is_open = |found: FileKey| keys.as_ref().is_some_and(|keys| keys.contains(&found));
    let is_database = keys
        .is_some()
        .then_some(&is_open as &dyn Fn(FileKey) -> bool);
    match companions::open_companion(
        Path::new(OsStr::from_bytes(path)),
        Path::new(OsStr::from_bytes(database)),
        flags,
        mode.unsigned_abs(),
        is_database,
    ) {
        Ok(file) => file.into_raw_fd(),
        Err(error) => {
            // SAFETY: `errno` is this thread's own.
            unsafe { *errno() = error.raw_os_error().unwrap_or(libc::EPERM) };
            -1
        }
    }
}

/// SQLite's `stat`: it asks for the inode behind a path, to use a descriptor again that it could
/// not close.
unsafe extern "C" fn checked_stat(path: *const c_char, found: *mut libc::stat) -> c_int {
    // SAFETY: as stat(2).
    unsafe {
        let Some(key) = expected_at(path) else {
            return libc::stat(path, found);
        };
        let status = libc::lstat(path, found);
        if status == 0 && key_of(&*found) != key {
            *errno() = libc::ENOENT;
            return -1;
        }
        status
    }
}

// The fields' types differ between systems.
#[allow(clippy::unnecessary_cast)]
fn key_of(found: &libc::stat) -> FileKey {
    (found.st_dev as u64, found.st_ino as u64)
}

#[cfg(target_os = "linux")]
unsafe fn errno() -> *mut c_int {
    // SAFETY: it is this thread's own.
    unsafe { libc::__errno_location() }
}

#[cfg(not(target_os = "linux"))]
unsafe fn errno() -> *mut c_int {
    // SAFETY: it is this thread's own.
    unsafe { libc::__error() }
}
