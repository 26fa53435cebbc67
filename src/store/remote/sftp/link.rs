//! The way to a store's directory: one connection for all calls, opened when it is needed and
//! opened anew when it broke.

use super::super::retry::RetryTime;
use super::connection::{Bounds, CallResult, Connection, FailureKind, Patience, SftpFailure};
use super::files::{self, FileState};
use super::program::{Carrier, CarrierCommand};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::store::ConnectionSettings;
use crate::store::remote::limit::RateLimit;
use crate::store::remote::medium;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The pauses between tries, the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// How often a pause looks for a signal.
const TICK: Duration = Duration::from_millis(100);

/// Bytes of one request: what every server takes at once.
pub const CHUNK: usize = 32 << 10;

/// See the head of this file.
pub struct Link {
    /// The store's address, for messages.
    address: String,
    command: CarrierCommand,
    directory: String,
    retry_time: RetryTime,
    /// The longest waits.
    pub bounds: Bounds,
    /// Of what is sent.
    pub upload_limit: Option<RateLimit>,
    /// Of what is received.
    pub download_limit: Option<RateLimit>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Whether the store's directory was there before: then it must not be missing later.
    was_there: AtomicBool,
}

impl Link {
    /// The way to `directory` of the server that `command` reaches.
    pub fn new(
        address: String,
        command: CarrierCommand,
        directory: String,
        settings: &ConnectionSettings,
        bounds: Bounds,
    ) -> Link {
        Link {
            address,
            command,
            directory,
            retry_time: RetryTime::new(settings.retry_for),
            bounds,
            upload_limit: settings.upload_limit.map(RateLimit::new),
            download_limit: settings.download_limit.map(RateLimit::new),
            connection: Mutex::new(None),
            was_there: AtomicBool::new(false),
        }
    }

    /// Whether rclone serves the store. Its server says yes to hard links and makes none, renames
    /// over what is there, and takes what is missing for empty; its order of bytes is a stream's.
    pub fn is_rclone(&self) -> bool {
        self.command.carrier == Carrier::Rclone
    }

    /// How many requests of one object are under way at once.
    pub fn window(&self) -> usize {
        if self.is_rclone() { 1 } else { 64 }
    }

    /// The path of the store's directory there.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The path of an object there, or of a source's directory.
    pub fn path(&self, key: &str) -> String {
        match (self.directory.as_str(), key.trim_end_matches('/')) {
            (directory, "") => directory.to_owned(),
            ("/", key) => format!("/{key}"),
            (".", key) => key.to_owned(),
            (directory, key) => format!("{directory}/{key}"),
        }
    }

    /// As messages name an object.
    pub fn shown(&self, key: &str) -> String {
        if key.is_empty() {
            return self.address.clone();
        }
        format!("{}/{key}", self.address)
    }

    /// The usual patience.
    pub fn patience(&self) -> Patience {
        Patience::usual(&self.bounds)
    }

    /// The connection, opened where there is none.
    pub fn connection(&self, patience: Patience) -> CallResult<Arc<Connection>> {
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_lost()) {
            return Ok(Arc::clone(connection));
        }
        // What is left of the lost one goes first.
        *slot = None;
        let connection = Arc::new(Connection::open(&self.command, &self.bounds, patience)?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Does `work`, over a new connection and after growing pauses where one broke. `work` must be
    /// right to do again after a try of which it is not known what it did.
    pub fn with_retries<T>(
        &self,
        work: impl Fn(&Arc<Connection>) -> CallResult<T>,
    ) -> CallResult<T> {
        let began = Instant::now();
        let [mut pause, longest] = PAUSES;
        loop {
            let result = self
                .connection(self.patience())
                .and_then(|connection| work(&connection));
            match result {
                Err(failure) if failure.kind == FailureKind::Lost => {
                    if began.elapsed() + pause >= self.retry_time.limit() {
                        return Err(failure);
                    }
                    sleep(pause).map_err(SftpFailure::last)?;
                    pause = (pause * 2).min(longest);
                }
                result => {
                    self.retry_time.note_answer();
                    return result;
                }
            }
        }
    }

    /// Does `work` once. A signal that has come does not keep it from being done.
    pub fn clean_up<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>, Patience) -> CallResult<T>,
    ) -> CallResult<T> {
        let patience = Patience::for_cleanup(&self.bounds);
        let connection = self.connection(patience)?;
        work(&connection, patience)
    }

    /// The error of a call about an object: that it is missing is said only where the store's
    /// directory is there.
    pub fn object_error(&self, failure: SftpFailure, doing: &str, key: &str) -> Error {
        if failure.is_missing() {
            return match self.with_retries(|connection| self.is_there(connection)) {
                Ok(_) => medium::missing(&self.shown(key)),
                Err(failure) => self.error(failure, doing, key),
            };
        }
        self.error(failure, doing, key)
    }

    /// The error of any other call.
    pub fn error(&self, failure: SftpFailure, doing: &str, key: &str) -> Error {
        failure
            .error
            .context(format!("{doing} `{}`", self.shown(key)))
    }

    /// Whether the store's directory is there; `false` where it was never made. Where it is gone,
    /// or its parent is not there either, that is an error.
    pub fn is_there(&self, connection: &Arc<Connection>) -> CallResult<bool> {
        let patience = self.patience();
        // rclone has every directory. A store has its mark, once it is one.
        let evidence = if self.is_rclone() {
            self.path(crate::store::MARK)
        } else {
            self.directory.clone()
        };
        match files::state(connection, patience, &evidence) {
            Ok(_) => {
                self.was_there.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(failure) if !failure.is_missing() => Err(failure),
            Err(_) if self.was_there.load(Ordering::Relaxed) => Err(SftpFailure::last(
                Error::failed(format!("`{}` is not there any more", self.address)),
            )),
            Err(_) if self.is_rclone() => Ok(false),
            Err(_) => match files::state(connection, patience, parent(&self.directory)) {
                Ok(FileState {
                    is_directory: true, ..
                }) => Ok(false),
                Err(failure) if !failure.is_missing() => Err(failure),
                _ => Err(SftpFailure::last(
                    Error::failed(format!(
                        "the server has no directory `{}`",
                        parent(&self.directory)
                    ))
                    .with_hint("the last directory is made, but not its parents"),
                )),
            },
        }
    }

    /// Makes the directory in which the object of a key is, and the store's own.
    pub fn make_directories(&self, connection: &Arc<Connection>, key: &str) -> CallResult<()> {
        let patience = self.patience();
        if !self.is_rclone() && !self.is_there(connection)? {
            files::make_directory(connection, patience, &self.directory)?;
            self.was_there.store(true, Ordering::Relaxed);
        }
        match key.rsplit_once('/') {
            Some((source, _)) => files::make_directory(connection, patience, &self.path(source)),
            None => Ok(()),
        }
    }
}

fn sleep(pause: Duration) -> Result<()> {
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        std::thread::sleep(left.min(TICK));
    }
    interrupt::check()
}

/// The directory above, as far as the path tells.
fn parent(directory: &str) -> &str {
    match directory.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    }
}
