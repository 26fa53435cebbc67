//! SQLite: a consistent copy of a database that is being written to, and a restore that an
//! application may watch.
//!
//! Before a database is opened, [`registry`] knows which ones this process has open, [`probe`]
//! looks at the file, and [`names`] finds the name by which it must be opened. [`vfs`] opens a
//! database that somebody may move away, and [`companions`] its log, index and journal.
//! [`strangers`] looks out for applications with other locks. [`stamp`] tells whether anything was
//! committed since a moment.
//!
//! [`source`] takes the snapshot, and [`crashed`] that of a database with a journal to be rolled
//! back. [`pages`] moves the pages, [`facts`] describes the content, and [`accounting`] finds the
//! owner of each page. [`destination`] receives a copy and examines it, [`replace`] puts it in the
//! place of a live database, and [`rows`] reads it.

mod accounting;
mod companions;
mod crashed;
pub mod destination;
pub mod facts;
mod holders;
pub mod names;
mod ownership;
pub mod pages;
pub mod probe;
pub mod registry;
pub mod replace;
pub mod rows;
pub mod source;
pub mod stamp;
mod strangers;
mod vfs;

use crate::error::{Context, Error, Hint, Result};
use crate::failpoint::fail_point;
use crate::interrupt;
use crate::units;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use registry::Claim;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use destination::SqliteDestination;
pub use source::{Spool, SqliteSource};

/// A connection to a database, known to the [`registry`] for as long as it is open.
pub struct Db {
    // Before the claim: the connection must be closed when the claim ends.
    conn: Connection,
    path: PathBuf,
    _claim: Claim,
    _companions: Option<vfs::CompanionGuard>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reads a database that others may be writing to.
    Read,
    /// Writes into one.
    Write,
    /// Reads a file that nobody writes to (on a read-only file system): without locks.
    Immutable,
}

impl Db {
    /// Opens an existing database; never creates one.
    pub fn open(path: &Path, purpose: OpenMode) -> Result<Db> {
        if purpose == OpenMode::Write {
            let claim = Claim::for_connection(path)?;
            vfs::register_layer();
            return Db::with(claim, None, path, || {
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            });
        }
        // As SQLite would resolve it, but once and for all that it will open.
        let real = path
            .canonicalize()
            .with_context(|| format!("opening the database `{}`", path.display()))?;
        let key = registry::key_of(
            &real
                .symlink_metadata()
                .with_context(|| format!("opening the database `{}`", path.display()))?,
        );
        Db::open_file(&real, path, key, purpose)
    }

    /// Opens a database for reading, if it is the file `key`: see [`vfs`].
    pub fn open_inside(path: &Path, key: registry::FileKey, purpose: OpenMode) -> Result<Db> {
        Db::open_file(path, path, key, purpose)
    }

    fn open_file(
        path: &Path,
        shown: &Path,
        key: registry::FileKey,
        purpose: OpenMode,
    ) -> Result<Db> {
        let claim = Claim::for_connection_to(key, shown)?;
        let companions = vfs::CompanionGuard::new(path, key);
        Db::with(claim, Some(companions), shown, || match purpose {
            OpenMode::Read | OpenMode::Write => {
                vfs::open_expected(path, key, OpenFlags::SQLITE_OPEN_READ_ONLY)
            }
            OpenMode::Immutable => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                let uri = format!("file:{}?immutable=1", percent_encoded(path));
                vfs::open_expected_uri(path, &uri, key, flags)
            }
        })
    }

    fn with(
        claim: Claim,
        companions: Option<vfs::CompanionGuard>,
        path: &Path,
        open: impl FnOnce() -> rusqlite::Result<Connection>,
    ) -> Result<Db> {
        let ready = |mut conn: Connection| -> rusqlite::Result<Connection> {
            conn.busy_timeout(Duration::from_millis(100))?;
            conn.progress_handler(20_000, Some(interrupt::requested))?;
            Ok(conn)
        };
        let conn = open()
            .and_then(ready)
            .map_err(|error| explain(error, path))?;
        Ok(Db {
            conn,
            path: path.to_path_buf(),
            _claim: claim,
            _companions: companions,
        })
    }

    /// A pragma's one value.
    pub fn pragma<T: rusqlite::types::FromSql>(&self, name: &str) -> Result<T> {
        self.conn
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| self.explain(error))
    }

    /// Runs statements that give no rows.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.conn
            .execute_batch(sql)
            .map_err(|error| self.explain(error))
    }

    /// Begins a transaction with `begin`, waiting while others hold the lock, and makes sure that
    /// it has its snapshot.
    pub fn begin(&self, begin: &str, wait: Duration) -> Result<()> {
        self.patiently(wait, || {
            self.conn.execute_batch(begin)?;
            let read = self
                .conn
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                    row.get::<_, i64>(0)
                });
            read.map(drop).inspect_err(|_| {
                let _ = self.conn.execute_batch("ROLLBACK");
            })
        })
    }

    /// Tries again while the database is busy, up to `wait`.
    pub fn patiently<T>(
        &self,
        wait: Duration,
        mut attempt: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + wait;
        loop {
            interrupt::check()?;
            match attempt() {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    fail_point("sqlite: busy")?;
                    std::thread::sleep(Duration::from_millis(5))
                }
                result => return result.map_err(|error| self.explain(error)),
            }
        }
    }

    /// What to call the virtual table that SQLite's module of this name is by itself. Where the
    /// database has a table of that name, which would be read in its place, it gets another name,
    /// in the connection's own memory: `main` may be read-only.
    pub(crate) fn of_module(&self, module: &str) -> rusqlite::Result<String> {
        let tables = facts::list_tables(self)?;
        if !tables
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(module))
        {
            return Ok(module.to_owned());
        }
        let name = format!("temp.dbbackup_{module}");
        self.conn.execute_batch(&format!(
            "CREATE VIRTUAL TABLE IF NOT EXISTS {name} USING {module}"
        ))?;
        Ok(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn explain(&self, error: rusqlite::Error) -> Error {
        explain(error, &self.path)
    }
}

impl Deref for Db {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

/// Whether this build of SQLite can read a database's pages in order.
pub fn page_streaming() -> bool {
    Connection::open_in_memory().is_ok_and(|conn| pages::available(&conn))
}

/// The version of the SQLite that is built in.
pub fn version() -> &'static str {
    rusqlite::version()
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// `-wal`, `-shm` or `-journal` of a database.
pub(crate) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The path as the inside of a `file:` URI.
fn percent_encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encode(path.as_os_str().as_bytes(), ENCODED).to_string()
}

/// SQLite's error in words that say what to do.
pub(crate) fn explain(error: rusqlite::Error, path: &Path) -> Error {
    let code = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
        _ => 0,
    };
    let file = path.display();
    match (code, code & 0xff) {
        (_, ffi::SQLITE_INTERRUPT) => Error::interrupted(),
        (ffi::SQLITE_READONLY_ROLLBACK, _)
        | (ffi::SQLITE_BUSY_RECOVERY, _)
        | (ffi::SQLITE_READONLY_RECOVERY, _) => Error::failed(format!(
            "the database `{file}` has a transaction that was cut off by a crash and must be \
                 rolled back first"
        ))
        .with_hint(format!(
            "open it once with its application, or `sqlite3 '{file}' .schema`, as \
                           the file's owner"
        )),
        (_, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Error::failed(format!(
            "the database `{file}` is locked{}",
            holders_text(path)
        ))
        .with_hint(
            "end the transaction that holds it, or wait longer: `lock_timeout = \"5m\"` \
                       in its source",
        ),
        (
            ffi::SQLITE_READONLY_DIRECTORY
            | ffi::SQLITE_READONLY_CANTINIT
            | ffi::SQLITE_READONLY_CANTLOCK,
            _,
        ) => no_companions(path),
        (_, ffi::SQLITE_NOTADB) => Error::damaged(format!(
            "`{file}` is not a SQLite database, or \
            it is encrypted"
        ))
        .with_hint(
            "check the path; an encrypted database can be saved as a plain file only while \
                   its application is stopped",
        ),
        (_, ffi::SQLITE_CORRUPT) => {
            Error::damaged(format!("the database `{file}` is malformed: {error}"))
                .with_hint(damaged_hint(path))
        }
        (_, ffi::SQLITE_CANTOPEN) => Error::failed(format!(
            "the database `{file}` can't be opened: \
            {error}"
        ))
        .with_hint("check that this user may read the file, its -wal and -shm, and its directory"),
        (_, ffi::SQLITE_FULL) => Error::failed(format!("the disk that holds `{file}` is full"))
            .with_hint("free some space there"),
        _ => Error::from(error).context(format!("the database `{file}`")),
    }
}

/// What to do about a database that is damaged itself.
fn damaged_hint(path: &Path) -> Hint {
    let path = path.display().to_string();
    Hint::new()
        .text(format!(
            "restore an earlier backup, or see what is left with `sqlite3 {} .recover`; to keep a \
             copy as it is: ",
            units::shell_word(&path)
        ))
        .command(["backup", "--kind", "files", &path])
}

fn no_companions(path: &Path) -> Error {
    let text = format!(
        "the database `{}` is in WAL mode, and its -wal and -shm files can't be made or written \
         here",
        path.display()
    );
    Error::failed(text)
        .with_hint("run dbbackup as the database's owner, or while the application has it open")
}

/// ` (open in pid 12, 34)`, as far as can be seen.
fn holders_text(path: &Path) -> String {
    let pids = holders::holders(path);
    if pids.is_empty() {
        String::new()
    } else {
        format!(" ({})", holders::pids_text(&pids))
    }
}
