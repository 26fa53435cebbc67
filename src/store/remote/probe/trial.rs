//! A trial of everything that backups need.

use super::{FIRST, MediumProbe, ProbeDepth, SECOND, StoreProbe, TRIAL};
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::store::remote::medium::{Creation, Medium};
use crate::store::remote::{
    LONGEST_SMALL_OBJECT, RemoteStore, StoreRights, is_surely_missing, objects,
};
use crate::store::{Access, DeletePermission, Location};
use crate::units;
use std::io::Write;
use std::sync::Arc;

/// Bytes of an upload where a medium has only one way for all.
const PLAIN_UPLOAD: u64 = 1 << 20;

/// A trial that is going on.
pub struct Trial<'a> {
    location: &'a Location,
    medium: &'a Arc<dyn Medium>,
    own: Box<dyn MediumProbe + 'a>,
    delete: DeletePermission,
    /// The directory of all keys, with a slash at its end.
    directory: String,
    /// The key that most is tried with.
    key: String,
    probe: &'a mut StoreProbe,
}

impl<'a> Trial<'a> {
    /// Prepares a trial in a directory of its own.
    pub fn new(
        location: &'a Location,
        medium: &'a Arc<dyn Medium>,
        delete: DeletePermission,
        probe: &'a mut StoreProbe,
    ) -> Self {
        let directory = format!("{TRIAL}{}/", uuid::Uuid::new_v4().simple());
        Trial {
            location,
            medium,
            own: medium.own_probe(),
            delete,
            key: format!("{directory}trial"),
            directory,
            probe,
        }
    }

    /// Tries so much.
    pub fn run(mut self, depth: ProbeDepth) {
        self.probe.policy = self.own.policy(self.delete);
        if !self.own.try_way(self.probe) || !self.check_place() {
            return;
        }
        match depth {
            ProbeDepth::Brief => self.try_briefly(),
            ProbeDepth::Thorough => self.try_thoroughly(),
        }
    }

    /// Whether the place is a store, or may become one; `false` where a signal has come.
    fn check_place(&mut self) -> bool {
        let store = RemoteStore::new(
            self.location.clone(),
            Arc::clone(self.medium),
            // It is only looked at.
            StoreRights::default(),
            None,
        );
        match store.check_mark(Access::Read) {
            Ok(()) => self
                .probe
                .pass("place", format!("{} is a store", self.location)),
            Err(error) if error.kind() == Kind::NotFound => match store.must_be_free() {
                Ok(()) => self.probe.pass(
                    "place",
                    format!(
                        "{} is no store yet: the first backup makes it one",
                        self.location
                    ),
                ),
                Err(error) => self.probe.fail("place", error),
            },
            Err(error) => self.probe.fail("place", error),
        }
        !interrupt::requested()
    }

    fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }

    fn try_briefly(&mut self) {
        if self.delete == DeletePermission::Never {
            return self.probe.pass(
                "put",
                "not tried: what is written stays, as this machine removes nothing there",
            );
        }
        match self.put() {
            Ok(()) => {
                self.probe
                    .pass("put", "a small object was written, and read back");
                self.try_removal(true);
            }
            Err(error) => {
                self.probe.fail("put", error);
                // It may be there all the same.
                let _ = self.medium.remove(&self.key);
            }
        }
        self.leave();
    }

    fn try_thoroughly(&mut self) {
        let is_stored = match self.put() {
            Ok(()) => {
                self.probe
                    .pass("put", "a small object was written, and read back");
                true
            }
            Err(error) => {
                self.probe.fail("put", error);
                false
            }
        };
        if is_stored {
            self.check("head", Trial::try_size);
            self.check("ranged get", Trial::try_range);
            self.try_exclusion();
        }
        self.check("list", |trial| trial.try_list(is_stored));
        let removes = self.try_removal(is_stored);
        if is_stored {
            self.try_upload(removes);
        }
        if !interrupt::requested() {
            self.own.inspect(&self.directory, self.probe);
        }
        self.leave();
    }

    fn check(&mut self, name: &'static str, step: impl FnOnce(&Self) -> Result<String>) {
        if interrupt::requested() {
            return;
        }
        match step(self) {
            Ok(detail) => self.probe.pass(name, detail),
            Err(error) => self.probe.fail(name, error),
        }
    }

    fn put(&self) -> Result<()> {
        match self.medium.create(&self.key, FIRST)? {
            Creation::Created => Ok(()),
            // An earlier try of the same call may have made it.
            Creation::AlreadyThere => {
                let stored = self.medium.read(&self.key, LONGEST_SMALL_OBJECT)?;
                self.must_be(&stored, FIRST)
            }
        }
    }

    fn must_be(&self, stored: &[u8], expected: &[u8]) -> Result<()> {
        match stored == expected {
            true => Ok(()),
            false => Err(Error::damaged(format!(
                "`{}` has other bytes than were written",
                self.shown(&self.key)
            ))),
        }
    }

    fn try_size(&self) -> Result<String> {
        match self.medium.size(&self.key)? {
            size if size == FIRST.len() as u64 => Ok("its size is right".to_owned()),
            size => Err(Error::damaged(format!(
                "`{}` has {size} bytes, the server says; {} were written",
                self.shown(&self.key),
                FIRST.len()
            ))),
        }
    }

    fn try_range(&self) -> Result<String> {
        let (start, end) = (9, 15);
        let mut part = Vec::new();
        self.medium
            .open(&self.key, start..end)?
            .read_to_end(&mut part)?;
        self.must_be(&part, &FIRST[start as usize..end as usize])?;
        Ok("a part of it was read".to_owned())
    }

    fn try_list(&self, is_stored: bool) -> Result<String> {
        let found = self.medium.list(&self.directory)?;
        let listed = found.iter().find(|object| object.key == self.key);
        match listed {
            Some(object) if object.size == FIRST.len() as u64 => {
                Ok("it is listed, with its size".to_owned())
            }
            Some(object) => Err(Error::damaged(format!(
                "`{}` is listed with {} bytes, and has {}",
                self.shown(&self.key),
                object.size,
                FIRST.len()
            ))),
            None if is_stored => Err(Error::failed(format!(
                "`{}` is there, and no list shows it",
                self.shown(&self.key)
            ))
            .with_hint(
                "the store's lists lag behind or are cut: backups would be missed, so it is no \
                 place for them",
            )),
            None => Ok("lists are given".to_owned()),
        }
    }

    /// Creates another object under the same key, which must be refused.
    fn try_exclusion(&mut self) {
        const NAME: &str = "only-if-absent";
        if interrupt::requested() {
            return;
        }
        let created = self.medium.create(&self.key, SECOND);
        let stored = self.medium.read(&self.key, LONGEST_SMALL_OBJECT);
        match (created, stored) {
            (Err(error), _) | (_, Err(error)) => self.probe.fail(NAME, error),
            (Ok(Creation::Created), Ok(_)) => self.probe.doubt(
                NAME,
                "of two puts of one key, both only if there is none, the server accepted both",
                "two machines that back up one source into it could write over each other: let one \
                 do it, or name sources so that each has its own",
            ),
            (Ok(Creation::AlreadyThere), Ok(stored)) if stored == FIRST => {
                match self.own.exclusion_gap(&self.key) {
                    Ok(None) => self
                        .probe
                        .pass(NAME, "a second object of its key was refused"),
                    Ok(Some(why)) => self.probe.doubt(
                        NAME,
                        why,
                        "let one machine at a time back up a source into it",
                    ),
                    Err(error) => self.probe.fail(NAME, error),
                }
            }
            (Ok(Creation::AlreadyThere), Ok(_)) => self.probe.fail(
                NAME,
                Error::damaged(format!(
                    "the server refused a second `{}`, and has replaced the first one",
                    self.shown(&self.key)
                )),
            ),
        }
        // What comes later looks for the first one.
        if let Ok(stored) = self.medium.read(&self.key, LONGEST_SMALL_OBJECT)
            && stored != FIRST
        {
            let _ = self.medium.replace(&self.key, FIRST);
        }
    }

    /// Removes an object of the trial; that it is still there then is an error.
    fn remove(&self, key: &str) -> Result<()> {
        match self.medium.remove(key) {
            Err(error) if error.kind() == Kind::NotFound => {}
            other => other?,
        }
        match is_surely_missing(&**self.medium, key)? {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "`{}` was removed, as the server said, and is still there",
                self.shown(key)
            ))),
        }
    }

    /// Removes the object, or is refused where this machine must not be able to. Says whether what
    /// is written can be removed.
    fn try_removal(&mut self, is_stored: bool) -> bool {
        const NAME: &str = "delete";
        if interrupt::requested() {
            return true;
        }
        let removed = self.remove(&self.key);
        match (self.delete, removed) {
            (DeletePermission::Allowed, Ok(())) => {
                self.probe.pass(NAME, "it was removed");
                true
            }
            (DeletePermission::Allowed, Err(error)) => {
                let shown = self.shown(&self.key);
                if is_stored {
                    let error = error.context(format!("`{shown}` is left"));
                    self.probe.fail(NAME, error);
                } else {
                    self.probe.fail(NAME, error);
                }
                false
            }
            (DeletePermission::Never, Ok(())) if is_stored => {
                self.probe.doubt(
                    NAME,
                    "`delete` is \"never\", but the server lets this machine remove",
                    Hint::new()
                        .text(
                            "take away the right to remove from this machine's key; what it comes \
                               to is told by ",
                        )
                        .command(["doctor", "--ransomware"]),
                );
                true
            }
            (DeletePermission::Never, Err(error))
                if is_stored
                    && matches!(is_surely_missing(&**self.medium, &self.key), Ok(false)) =>
            {
                let shown = self.shown(&self.key);
                self.probe.pass(
                    NAME,
                    format!("refused, as it should be, so `{shown}` is left there: {error}"),
                );
                false
            }
            (DeletePermission::Never, Err(error)) if is_stored => {
                self.probe.fail(NAME, error);
                false
            }
            // Nothing was there that could have been refused.
            (DeletePermission::Never, _) => false,
        }
    }

    /// Sends an object in pieces; where it could not be removed, only begins.
    fn try_upload(&mut self, removes: bool) {
        let key = format!("{}upload", self.directory);
        let piece = self.own.largest_piece();
        let name = if piece.is_some() {
            "multipart"
        } else {
            "upload"
        };
        if interrupt::requested() {
            return;
        }
        if !removes {
            if piece.is_some() {
                self.check(name, |trial| {
                    trial.own.try_giving_up(&key)?;
                    Ok("an upload was begun, and given up again".to_owned())
                });
            }
            return;
        }
        let length = piece.map_or(PLAIN_UPLOAD, |piece| piece + 1);
        self.check(name, |trial| {
            let sent = trial.upload(&key, length);
            let removed = trial.remove(&key);
            sent.and(removed)?;
            Ok(match piece {
                Some(_) => format!("{} in two parts came back whole", units::size(length)),
                None => format!("{} came back whole", units::size(length)),
            })
        });
        if piece.is_some() && !interrupt::requested() {
            // Without it a backup is made; what a killed run has sent stays, and costs.
            if let Err(error) = self.own.try_giving_up(&key) {
                let lacks_right = objects::lacks_right(&error);
                self.probe.lacks_rights |= lacks_right;
                let remedy = error.hint().cloned();
                let remedy = remedy.unwrap_or_else(|| "look at the server's log".into());
                self.probe.doubt("abort", error.message(), remedy);
            }
        }
    }

    fn upload(&self, key: &str, length: u64) -> Result<()> {
        let mut upload = self.medium.begin_upload(key, Box::new(|_| Ok(())))?;
        let block = vec![0x5a; 1 << 18];
        let mut left = length;
        while left > 0 {
            let count = left.min(block.len() as u64);
            upload.write_all(&block[..count as usize])?;
            left -= count;
        }
        // It is proven by size and checksum, or read back.
        upload.finish()?;
        match self.medium.size(key)? {
            size if size == length => Ok(()),
            size => Err(Error::damaged(format!(
                "`{}` has {size} bytes, and {length} were sent",
                self.shown(key)
            ))),
        }
    }

    /// Removes the directory of the trial, where there is one and nothing had to stay in it.
    fn leave(&self) {
        self.own
            .remove_directory(self.directory.trim_end_matches('/'));
    }
}
