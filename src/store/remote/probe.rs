//! A store on another machine on trial: every kind of call that a backup needs is really made, with
//! objects of its own in a directory of its own, and what was made is removed again.
//!
//! What all media have in common is tried here. What only one kind has, as the rules of a bucket,
//! is behind [`MediumProbe`].

use super::medium::{Creation, Medium};
use super::{LONGEST_SMALL_OBJECT, RemoteStore, StoreRights, is_surely_missing, medium, objects};
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::store::{Access, ConnectionSettings, DeletePermission, Location, StoreSettings};
use crate::units;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// What the names of directories begin with that a trial makes.
const TRIAL: &str = ".dbbackup-doctor-";

/// The longest time that a trial's calls are tried again: somebody waits for it.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Bytes of the objects that are created, two that differ everywhere.
const FIRST: &[u8] = b"dbbackup doctor: the first object\n";
const SECOND: &[u8] = b"DBBACKUP DOCTOR: THE SECOND ONE\n";

/// Bytes of an upload where a medium has only one way for all.
const PLAIN_UPLOAD: u64 = 1 << 20;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeDepth {
    /// Whether the store can be reached, read and written to.
    Brief,
    /// Every kind of call that any command needs.
    Thorough,
}

/// Everything that was tried of a store, in order.
#[derive(Debug, Default)]
pub struct StoreProbe {
    /// What was tried.
    pub steps: Vec<ProbeStep>,
    /// The smallest policy with which everything succeeds, where the service has such.
    pub policy: Option<String>,
    /// Whether something was refused for want of a right.
    pub lacks_rights: bool,
}

/// One thing that was tried.
#[derive(Debug)]
pub struct ProbeStep {
    /// What: `put`, `list`…
    pub name: &'static str,
    /// What came of it.
    pub outcome: ProbeOutcome,
}

/// What came of a trial.
#[derive(Debug)]
pub enum ProbeOutcome {
    /// It is as it should be, or nothing is known against it; what was found.
    Passed(String),
    /// A backup succeeds all the same.
    Doubtful {
        /// What was found.
        detail: String,
        /// What to do about it.
        remedy: Hint,
    },
    /// A backup, or a cleanup, would fail.
    Failed(Error),
}

impl StoreProbe {
    /// Adds what is as it should be.
    pub fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, ProbeOutcome::Passed(detail.into()));
    }

    /// Adds what is not as it should be, and keeps no backup from being made.
    pub fn doubt(
        &mut self,
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<Hint>,
    ) {
        let (detail, remedy) = (detail.into(), remedy.into());
        self.add(name, ProbeOutcome::Doubtful { detail, remedy });
    }

    /// Adds what failed.
    pub fn fail(&mut self, name: &'static str, error: Error) {
        self.lacks_rights |= objects::lacks_right(&error);
        self.add(name, ProbeOutcome::Failed(error));
    }

    fn add(&mut self, name: &'static str, outcome: ProbeOutcome) {
        self.steps.push(ProbeStep { name, outcome });
    }
}

/// What only one kind of medium can tell of itself.
pub trait MediumProbe {
    /// Tries the way there: names, connection, clocks, and the place itself. `false` where nothing
    /// else can be tried then.
    fn try_way(&self, _probe: &mut StoreProbe) -> bool {
        true
    }

    /// Why two that create an object of one key at once may both succeed; `None` where one of them
    /// is surely refused. There is an object of this key.
    fn exclusion_gap(&self, _key: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// The most bytes of an object that are sent in one piece; `None` where there are no pieces.
    fn largest_piece(&self) -> Option<u64> {
        None
    }

    /// Begins an upload and gives it up, with the smallest piece between.
    fn try_giving_up(&self, _key: &str) -> Result<()> {
        Ok(())
    }

    /// Looks at what else the medium has: rules of the bucket, what the server offers.
    fn inspect(&self, _directory: &str, _probe: &mut StoreProbe) {}

    /// Removes the empty directory of a trial, where directories are more than parts of names.
    fn remove_directory(&self, _directory: &str) {}

    /// The smallest policy with which everything succeeds.
    fn policy(&self, _delete: DeletePermission) -> Option<String> {
        None
    }
}

/// Of a medium that has nothing of its own to tell.
pub struct PlainProbe;

impl MediumProbe for PlainProbe {}

/// Whether a key is one that a trial makes, or has left where it may not remove.
pub fn is_trial_key(key: &str) -> bool {
    key.starts_with(TRIAL)
}

/// Tries a store on another machine.
pub fn probe(settings: &StoreSettings, depth: ProbeDepth) -> StoreProbe {
    let connection = ConnectionSettings {
        retry_for: settings.connection.retry_for.min(RETRY_FOR),
        ..settings.connection.clone()
    };
    match medium::connect(&settings.location, &connection) {
        Ok(medium) => probe_medium(&settings.location, &medium, connection.delete, depth),
        Err(error) => {
            let mut probe = StoreProbe::default();
            probe.fail("connection", error);
            probe
        }
    }
}

/// Tries a store in a medium.
pub fn probe_medium(
    location: &Location,
    medium: &Arc<dyn Medium>,
    delete: DeletePermission,
    depth: ProbeDepth,
) -> StoreProbe {
    let mut probe = StoreProbe::default();
    Trial::new(location, medium, delete, &mut probe).run(depth);
    probe
}

#[cfg(test)]
impl StoreProbe {
    /// How a step ended (`ok`, `doubt` or `failed`), and what was said, with the remedy.
    pub fn find(&self, name: &str) -> Option<(&'static str, String)> {
        let step = self.steps.iter().find(|step| step.name == name)?;
        Some(match &step.outcome {
            ProbeOutcome::Passed(detail) => ("ok", detail.clone()),
            ProbeOutcome::Doubtful { detail, remedy } => ("doubt", format!("{detail}; {remedy}")),
            ProbeOutcome::Failed(error) => ("failed", format!("{error:?}")),
        })
    }

    /// The names of all steps that did not pass.
    pub fn troubles(&self) -> Vec<&'static str> {
        let passed = |step: &&ProbeStep| !matches!(step.outcome, ProbeOutcome::Passed(_));
        self.steps
            .iter()
            .filter(passed)
            .map(|step| step.name)
            .collect()
    }
}

/// A trial that is going on.
struct Trial<'a> {
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
    fn new(
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

    fn run(mut self, depth: ProbeDepth) {
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
                    "`delete` is \"never\", but the server lets this machine remove: ransomware \
                     here could remove every backup there",
                    "take away the right to remove from this machine's key",
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

#[cfg(test)]
mod tests;
