//! What a store on another machine is made of: a flat space of named objects. The two media are an
//! object store and SFTP; everything that makes them a store of backups is above this trait.

use super::objects;
use super::probe::{MediumProbe, PlainProbe};
use super::sftp::SftpMedium;
use crate::error::{Error, Kind, Result};
use crate::store::location::RemoteAddress;
use crate::store::{ConnectionSettings, Location, ObjectLock};
use chrono::{DateTime, Utc};
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;

/// An object, as a list tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// Its key, without the prefix of the store: `app/app_daily_20261120T020000Z.json`.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written, by the medium's own clock; `None` where it does not say.
    pub modified: Option<DateTime<Utc>>,
}

/// What came of creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is there now, durable, with these bytes.
    Created,
    /// There was one of this key before, or one was created by an earlier try of the same call
    /// whose answer was lost. Its content is not known.
    AlreadyThere,
}

/// Called with what [`Medium::discard_upload`] needs to find an upload again.
pub type Announcement = Box<dyn FnOnce(&str) -> Result<()> + Send>;

/// A flat space of named objects on another machine.
///
/// Keys are relative to the store's address and hold no empty segment, no `.` and no `..`. Every
/// call waits for the answer, is tried again as the settings say where that is safe, is bounded in
/// time (silence ends it), and ends early with an error of kind `Interrupted` when a signal came.
///
/// Three answers everywhere: an error of kind `NotFound` is given only where the medium said that
/// this object is not there; a bucket that is not there, a refusal, or an answer that can't be read
/// is an error of another kind.
pub trait Medium: Send + Sync {
    /// The objects whose keys begin with `prefix`, which is empty or ends with a slash; all pages.
    /// Keys that are no UTF-8, or have a control character in them, are left out.
    fn list(&self, prefix: &str) -> Result<Vec<FoundObject>>;

    /// The objects whose keys begin with `beginning`, which need not end with a slash. What is
    /// listed as well may begin otherwise.
    fn list_beginning(&self, beginning: &str) -> Result<Vec<FoundObject>> {
        let end = beginning.rfind('/').map_or(0, |slash| slash + 1);
        self.list(&beginning[..end])
    }

    /// The first segments of keys that have more than one: the names of "directories" at the top.
    fn top_directories(&self) -> Result<Vec<String>>;

    /// Any key below the store's address, where there is one; none that a trial has left
    /// ([`super::probe`]).
    fn first_key(&self) -> Result<Option<String>>;

    /// Bytes of an object, as the medium says now.
    fn size(&self, key: &str) -> Result<u64>;

    /// Reads a small object whole. One of more than `limit` bytes is an error.
    fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>>;

    /// Opens the bytes of this range, as far as there are so many (an end of `u64::MAX` is the
    /// object's). A connection that breaks is opened again where it broke, and the object must be
    /// the same one then. A body that ends before its length is an error.
    fn open(&self, key: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>>;

    /// Creates a small object if there is none of this key.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation>;

    /// Creates a small object, or takes the place of an older one.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// Removes an object; none of this key is success or an error of kind `NotFound`, as the
    /// medium has it.
    fn remove(&self, key: &str) -> Result<()>;

    /// Begins an object of any length, under a key that nobody else writes. `announce` is called
    /// before anything is sent that the medium would keep although the upload is never finished; it
    /// gets what [`Medium::discard_upload`] needs to find it again.
    fn begin_upload(&self, key: &str, announce: Announcement) -> Result<Box<dyn Upload>>;

    /// Removes what an upload that was never finished has left; nothing left is success.
    fn discard_upload(&self, key: &str, token: &str) -> Result<()>;

    /// Removes what objects that were never finished have left in a directory, so long ago that
    /// their runs are over, where the medium keeps any that no list shows.
    fn sweep_unfinished(&self, _directory: &str) -> Result<()> {
        Ok(())
    }

    /// The lock by which the service keeps an object from being removed, where it tells of one that
    /// holds now.
    fn lock_of(&self, _key: &str) -> Result<Option<ObjectLock>> {
        Ok(None)
    }

    /// Free bytes, where the medium can tell.
    fn free_space(&self) -> Result<Option<u64>>;

    /// Whether the times of its lists are of its own clock, and nobody who writes can set them.
    fn tells_time(&self) -> bool {
        false
    }

    /// How many objects are best read at once.
    fn parallelism(&self) -> usize;

    /// What only this kind of medium can tell when it is tried.
    fn own_probe(&self) -> Box<dyn MediumProbe + '_> {
        Box::new(PlainProbe)
    }
}

/// An object that is being sent. Dropped without [`Upload::finish`] it is given up, and what the
/// medium has of it is removed as far as it still obeys.
pub trait Upload: Write + Send {
    /// Ends it. On success the object is there, durable, and the medium has confirmed its size and
    /// its checksum, or everything was read back, as the settings say; else it is an error, and the
    /// object is removed again as far as the medium still obeys.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Connects to the medium of a location on another machine.
pub fn connect(location: &Location, settings: &ConnectionSettings) -> Result<Arc<dyn Medium>> {
    match location {
        Location::Remote { address, .. } => match address {
            RemoteAddress::Objects(address) => objects::connect(address, settings),
            RemoteAddress::Sftp(_) | RemoteAddress::Rclone(_) => {
                Ok(Arc::new(SftpMedium::new(location, address, settings)?))
            }
        },
        Location::Directory(_) => Err(Error::failed(format!("`{location}` is a directory"))),
    }
}

/// The error of a key that is not there.
pub fn missing(shown: &str) -> Error {
    Error::new(Kind::NotFound, format!("`{shown}` is not there"))
}
