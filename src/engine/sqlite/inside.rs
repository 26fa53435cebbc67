//! Databases in directories that belong to somebody else, opened by the directory and not by a
//! path.
//!
//! SQLite opens by path, and resolves every link on the way. Between the walk over a tree and that
//! moment the owner of the tree can put a link in the place of a directory or of the database, and
//! a run of root's would save a file that only root may read under the owner's name. So it gets a
//! path that leads through the open directory (`/proc/self/fd/7/app.db`), a layer above its "unix"
//! VFS that leaves such a path as it is (SQLite's own would read the link and go by the text), and
//! what it opens by it is compared with what the walk has found. SQLite itself follows no link at a
//! path's end (`O_NOFOLLOW`), nor do its log, index and journal.
//!
//! SQLite opens the log, the index and the journal later, when it first reads, and again by path.
//! For as long as a connection to read is open the layer knows which file it is to, and opens
//! nothing beside another one: see [`beside`].

use super::beside;
use super::registry::{Claim, Key};
use rusqlite::{Connection, OpenFlags, ffi};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What SQLite knows the layer as.
const NAME: &CStr = c"dbbackup-inside";

thread_local! {
    /// The path that this thread is opening, and what must be there.
    static EXPECTED: RefCell<Option<(CString, Key)>> = const { RefCell::new(None) };
}

/// The databases that are open to be read, by the path that SQLite knows them by. One path may have
/// led to several files.
static OPEN: Mutex<Option<HashMap<Vec<u8>, Vec<Key>>>> = Mutex::new(None);

fn open_databases() -> MutexGuard<'static, Option<HashMap<Vec<u8>, Vec<Key>>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, what SQLite opens beside the database `path` must lie beside the file `key`.
pub struct CompanionGuard {
    path: Vec<u8>,
    key: Key,
}

impl CompanionGuard {
    /// From now on.
    pub fn set(path: &Path, key: Key) -> CompanionGuard {
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

/// Puts the layer in; false where this SQLite is not as it must be.
pub fn prepare() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(register)
}

/// Opens the database `path`, which leads through an open directory, if it is the file `key`.
pub fn open(path: &Path, key: Key, flags: OpenFlags) -> rusqlite::Result<Connection> {
    open_uri(path, path, key, flags)
}

/// The same by a `file:` URI of that path.
pub fn open_uri(
    path: &Path,
    uri: impl AsRef<Path>,
    key: Key,
    flags: OpenFlags,
) -> rusqlite::Result<Connection> {
    let (Ok(text), true) = (CString::new(path.as_os_str().as_bytes()), prepare()) else {
        return Err(failure(ffi::SQLITE_CANTOPEN));
    };
    let _expected = ExpectedFile::set(text, key);
    Connection::open_with_flags_and_vfs(uri, flags, NAME)
}

/// While it lives, this thread opens nothing else by that path.
struct ExpectedFile;

impl ExpectedFile {
    fn set(path: CString, key: Key) -> ExpectedFile {
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

/// Makes the layer known to SQLite; false where this SQLite is not as it must be.
fn register() -> bool {
    // SAFETY: SQLite's "unix" VFS lives for ever, and so does the copy, which differs in its name
    // and in one function of the same type; its other functions look at `pAppData` and `mxPathname`
    // alone, which are copied. The system calls that are put in place have the types that SQLite
    // casts them to (os_unix.c, `aSyscall`), and do the same as before for every path but an
    // expected one.
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
        layer.xFullPathname = Some(path_as_it_is);
        ffi::sqlite3_vfs_register(Box::leak(layer), 0) == ffi::SQLITE_OK
    }
}

unsafe extern "C" fn path_as_it_is(
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

/// What must be at this path, if this thread is just opening it.
unsafe fn expected_at(path: *const c_char) -> Option<Key> {
    // SAFETY: SQLite hands over a path that ends with NUL.
    let path = unsafe { CStr::from_ptr(path) };
    EXPECTED.with_borrow(|expected| {
        expected
            .as_ref()
            .filter(|(wanted, _)| wanted.as_c_str() == path)
            .map(|(_, key)| *key)
    })
}

unsafe extern "C" fn checked_open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as SQLite's own `posixOpen`; what was opened belongs to nobody else yet.
    unsafe {
        let expected = expected_at(path);
        let bytes = CStr::from_ptr(path).to_bytes();
        // SQLite opens directories, too, without this flag.
        if let (None, true, Some(base)) = (
            expected,
            flags & libc::O_NOFOLLOW != 0,
            beside::base_of(bytes),
        ) {
            return open_beside(bytes, base, flags, mode);
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
        if let Some(claim) = Claim::reading(key_of(&found)) {
            drop(std::fs::File::from_raw_fd(file));
            drop(claim);
        }
        *errno() = libc::ENOENT;
        -1
    }
}

fn open_beside(path: &[u8], base: &[u8], flags: c_int, mode: c_int) -> c_int {
    let keys = open_databases()
        .as_ref()
        .and_then(|open| open.get(base).cloned());
    let is_it = |found: Key| keys.as_ref().is_some_and(|keys| keys.contains(&found));
    let is_it = keys.is_some().then_some(&is_it as &dyn Fn(Key) -> bool);
    let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
    match beside::open(
        as_path(path),
        as_path(base),
        flags,
        mode.unsigned_abs(),
        is_it,
    ) {
        Ok(file) => file.into_raw_fd(),
        Err(error) => {
            // SAFETY: it is this thread's own.
            unsafe { *errno() = error.raw_os_error().unwrap_or(libc::EPERM) };
            -1
        }
    }
}

/// SQLite asks for the inode behind a path, to use a descriptor again that it could not close.
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
fn key_of(found: &libc::stat) -> Key {
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
