//! The medium of files on another machine, by SFTP over the pipes of a program: `ssh` for
//! `sftp://`, and `rclone serve sftp` for whatever rclone reaches.
//!
//! An object is a file below the store's directory, at the path that its key is. It is written
//! under a temporary name (see `part`), read back, and then gets its own. As SFTP tells no
//! checksum, both ways of `verify_upload` come to that: everything is read back.

mod connection;
mod download;
mod files;
mod guard;
mod link;
mod part;
mod probe;
mod program;
#[cfg(test)]
mod tests;
mod upload;

use super::medium::{Announcement, Creation, FoundObject, Medium, Upload};
use super::probe::{MediumProbe, is_trial_key};
use crate::error::{Error, Kind, Result};
use crate::store::location::RemoteAddress;
use crate::store::{ConnectionSettings, Location};
use chrono::{DateTime, Utc};
use connection::{Bounds, CallResult, Connection, FailureKind, Patience, SftpFailure};
use download::Download;
use files::FileState;
use link::Link;
use probe::SftpProbe;
use program::{Carrier, CarrierCommand};
use std::cell::RefCell;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use upload::{SftpUpload, publish};

/// How much older than the newest thing in its directory a file must be that nobody finished, in
/// seconds, to be taken for a killed run's.
const OLD_PART: u32 = 24 * 3600;

/// Directories that file systems have of themselves.
const OF_FILE_SYSTEMS: [&str; 3] = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];

/// See the head of this file.
pub struct SftpMedium {
    link: Arc<Link>,
    /// Another way to what never changes, where that is cheaper.
    reading_link: Option<Arc<Link>>,
}

impl SftpMedium {
    /// The medium of an address, without a connection yet.
    pub fn new(
        location: &Location,
        address: &RemoteAddress,
        settings: &ConnectionSettings,
    ) -> Result<SftpMedium> {
        let command = CarrierCommand::for_address(address, settings.ssh_command.as_deref())?;
        let Some((command, directory)) = command else {
            return Err(Error::usage(format!("`{location}` is not SFTP's")));
        };
        let bounds = Bounds::default();
        Ok(SftpMedium::by_command(
            &location.to_string(),
            command,
            &directory,
            settings,
            bounds,
        ))
    }

    /// The medium behind a command.
    fn by_command(
        address: &str,
        command: CarrierCommand,
        directory: &str,
        settings: &ConnectionSettings,
        bounds: Bounds,
    ) -> SftpMedium {
        let link = |command| {
            let (address, directory) = (address.to_owned(), directory.to_owned());
            Arc::new(Link::new(address, command, directory, settings, bounds))
        };
        SftpMedium {
            reading_link: (command.carrier == Carrier::Rclone)
                .then(|| link(command.clone().with_directory_cache())),
            link: link(command),
        }
    }

    /// Reads from an object: by the cheaper way where it never changes, and by the other one where
    /// that knows no such object, or an older one.
    fn read_by<T>(
        &self,
        doing: &str,
        key: &str,
        read: impl Fn(&Arc<Link>) -> CallResult<T>,
    ) -> Result<T> {
        let reading_link = self.reading_link.as_ref();
        if let Some(link) = reading_link.filter(|_| never_changes(key)) {
            match read(link) {
                Ok(read) => return Ok(read),
                Err(failure) if failure.kind == FailureKind::Lost => {
                    return Err(link.object_error(failure, doing, key));
                }
                Err(_) => {}
            }
        }
        read(&self.link).map_err(|failure| self.link.object_error(failure, doing, key))
    }

    /// What a directory of the store holds, without unfinished files; nothing where it is not there
    /// but the store's is.
    fn entries(
        &self,
        connection: &Arc<Connection>,
        directory: &str,
    ) -> CallResult<Vec<(String, FileState)>> {
        let path = self.link.path(directory);
        match files::list(connection, self.link.patience(), &path) {
            Ok(mut entries) => {
                entries.retain(|(name, _)| !part::is_part(name));
                Ok(entries)
            }
            Err(failure) if failure.is_missing() => {
                self.link.is_there(connection)?;
                Ok(Vec::new())
            }
            Err(failure) => Err(failure),
        }
    }

    fn list_entries(&self, directory: &str) -> Result<Vec<(String, FileState)>> {
        self.link
            .with_retries(|connection| self.entries(connection, directory))
            .map_err(|failure| self.link.error(failure, "listing", directory))
    }

    /// Writes a small object under a temporary name and reads it back.
    fn write_part(
        &self,
        connection: &Arc<Connection>,
        part_key: &str,
        key: &str,
        bytes: &[u8],
    ) -> CallResult<()> {
        let link = &self.link;
        let (path, patience) = (link.path(part_key), link.patience());
        match files::write_file(connection, patience, &path, bytes) {
            Err(failure) if failure.is_missing() => {
                link.make_directories(connection, key)?;
                files::write_file(connection, patience, &path, bytes)?;
            }
            written => written?,
        }
        if files::read_file(connection, patience, &path, bytes.len() as u64)? != bytes {
            return Err(SftpFailure::last(Error::failed(
                "the server has other bytes than were sent",
            )));
        }
        Ok(())
    }

    /// Writes a small object and has `publish` give it its name. Whatever comes of it, no
    /// unfinished file is left as far as the server obeys.
    fn write_small<T>(
        &self,
        key: &str,
        bytes: &[u8],
        publish: impl Fn(&Arc<Connection>, &str) -> CallResult<T>,
    ) -> Result<T> {
        if let Some(limit) = &self.link.upload_limit {
            limit.wait(bytes.len())?;
        }
        // One for each try: that of an earlier one may still be written to.
        let parts = RefCell::new(Vec::new());
        let result = self.link.with_retries(|connection| {
            let part_key = part::new_key(key);
            parts.borrow_mut().push(part_key.clone());
            self.write_part(connection, &part_key, key, bytes)?;
            let result = publish(connection, &part_key)?;
            Ok(result)
        });
        let parts = parts.into_inner();
        let is_clean = result.is_ok() && parts.len() == 1;
        if !is_clean {
            for part_key in parts {
                self.remove_part(&part_key);
            }
        }
        result.map_err(|failure| self.link.error(failure, "writing", key))
    }

    /// Removes an unfinished file, if that can be done.
    fn remove_part(&self, part_key: &str) {
        let path = self.link.path(part_key);
        let _ = self
            .link
            .clean_up(|connection, patience| files::remove(connection, patience, &path));
    }

    /// Removes the unfinished files beside `key` that are so old that their runs were killed. The
    /// server's clock is read off the newest thing there.
    fn remove_old_parts(
        &self,
        connection: &Arc<Connection>,
        patience: Patience,
        key: &str,
    ) -> CallResult<()> {
        let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = self.link.path(directory);
        let entries = files::list(connection, patience, &path)?;
        let newest = entries.iter().filter_map(|(_, state)| state.modified).max();
        for (name, state) in &entries {
            let age = newest
                .zip(state.modified)
                .map_or(0, |(newest, modified)| newest - modified);
            if part::is_part(name) && age > OLD_PART {
                files::remove(connection, patience, &format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }
}

/// Whether an object of this key has the same bytes for as long as it is there: all of a source do
/// but the records, which have a dot.
fn never_changes(key: &str) -> bool {
    key.contains('/') && !part::name(key).starts_with('.')
}

fn found(prefix: &str, name: &str, state: FileState) -> FoundObject {
    FoundObject {
        key: format!("{prefix}{name}"),
        size: state.size,
        modified: state
            .modified
            .and_then(|seconds| DateTime::<Utc>::from_timestamp(i64::from(seconds), 0)),
    }
}

impl Medium for SftpMedium {
    /// Directories are not looked into, but for those of the store's own: keys have two segments
    /// at most.
    fn list(&self, prefix: &str) -> Result<Vec<FoundObject>> {
        let mut objects = Vec::new();
        for (name, state) in self.list_entries(prefix)? {
            if !state.is_directory {
                objects.push(found(prefix, &name, state));
            } else if prefix.is_empty() {
                let prefix = format!("{name}/");
                for (name, state) in self.list_entries(&prefix)? {
                    if !state.is_directory {
                        objects.push(found(&prefix, &name, state));
                    }
                }
            }
        }
        Ok(objects)
    }

    fn top_directories(&self) -> Result<Vec<String>> {
        let entries = self.list_entries("")?.into_iter();
        let directories = entries.filter(|(_, state)| state.is_directory);
        Ok(directories.map(|(name, _)| name).collect())
    }

    fn first_key(&self) -> Result<Option<String>> {
        for (name, state) in self.list_entries("")? {
            if !state.is_directory {
                return Ok(Some(name));
            }
            if !OF_FILE_SYSTEMS.contains(&name.as_str())
                && !is_trial_key(&name)
                && let Some((inner, _)) = self.list_entries(&name)?.first()
            {
                return Ok(Some(format!("{name}/{inner}")));
            }
        }
        Ok(None)
    }

    fn size(&self, key: &str) -> Result<u64> {
        let path = self.link.path(key);
        let state = self
            .link
            .with_retries(|connection| files::state(connection, self.link.patience(), &path))
            .map_err(|failure| self.link.object_error(failure, "looking at", key))?;
        if state.is_directory {
            let shown = self.link.shown(key);
            return Err(Error::failed(format!("`{shown}` is a directory")));
        }
        Ok(state.size)
    }

    fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.read_by("reading", key, |link| {
            let path = link.path(key);
            link.with_retries(|connection| {
                files::read_file(connection, link.patience(), &path, limit)
            })
        })?;
        if let Some(limit) = &self.link.download_limit {
            limit.wait(bytes.len())?;
        }
        Ok(bytes)
    }

    fn open(&self, key: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let opened = self.read_by("opening", key, |link| {
            Download::open(link, key, range.clone())
        })?;
        Ok(Box::new(opened))
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation> {
        // The usual answer where there is one, without a file that is written for nothing.
        match self.size(key) {
            Ok(_) => return Ok(Creation::AlreadyThere),
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.write_small(key, bytes, |connection, part_key| {
            let created = publish(&self.link, connection, part_key, key, 0)?;
            if created == Creation::AlreadyThere {
                files::remove(connection, self.link.patience(), &self.link.path(part_key))?;
            }
            Ok(created)
        })
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let link = &self.link;
        self.write_small(key, bytes, |connection, part_key| {
            let (from, to) = (link.path(part_key), link.path(key));
            let patience = link.patience();
            match files::rename(connection, patience, &from, &to) {
                // The rename of old servers overwrites nothing.
                Err(failure) if matches!(failure.kind, FailureKind::Answer(_)) => {
                    files::remove(connection, patience, &to)?;
                    files::rename(connection, patience, &from, &to)?;
                }
                renamed => renamed?,
            }
            files::sync_name(connection, patience, &to)
        })
    }

    fn remove(&self, key: &str) -> Result<()> {
        let path = self.link.path(key);
        // On the way out of a run that was told to end, once; else as often as it takes.
        let removed = if crate::interrupt::requested() {
            self.link
                .clean_up(|connection, patience| files::remove(connection, patience, &path))
        } else {
            self.link
                .with_retries(|connection| files::remove(connection, self.link.patience(), &path))
        };
        removed.map_err(|failure| self.link.object_error(failure, "removing", key))
    }

    fn begin_upload(&self, key: &str, announce: Announcement) -> Result<Box<dyn Upload>> {
        Ok(Box::new(SftpUpload::begin(&self.link, key, announce)?))
    }

    /// The token is the temporary name. One that can't be is nobody's, and nothing is done.
    fn discard_upload(&self, key: &str, token: &str) -> Result<()> {
        if let Some(part_key) = part::key_of(key, token) {
            super::ignore_missing(self.remove(&part_key))?;
        }
        let removed = self
            .link
            .clean_up(|connection, patience| self.remove_old_parts(connection, patience, key));
        match removed {
            Err(failure) if failure.is_missing() => Ok(()),
            removed => removed.map_err(|failure| self.link.error(failure, "cleaning up", key)),
        }
    }

    fn sweep_unfinished(&self, directory: &str) -> Result<()> {
        let link = &self.link;
        let swept = link.with_retries(|connection| {
            self.remove_old_parts(connection, link.patience(), &format!("{directory}/"))
        });
        match swept {
            Err(failure) if failure.is_missing() => Ok(()),
            swept => swept.map_err(|failure| link.error(failure, "cleaning up", directory)),
        }
    }

    fn free_space(&self) -> Result<Option<u64>> {
        let link = &self.link;
        let free = link.with_retries(|connection| {
            files::free_space(connection, link.patience(), link.directory())
        });
        match free {
            // It can't tell, or there is no directory yet of which it could.
            Err(SftpFailure {
                kind: FailureKind::Answer(_),
                ..
            }) => Ok(None),
            free => free.map_err(|failure| link.error(failure, "asking for the free space of", "")),
        }
    }

    fn parallelism(&self) -> usize {
        16
    }

    fn own_probe(&self) -> Box<dyn MediumProbe + '_> {
        Box::new(SftpProbe::new(&self.link))
    }
}
