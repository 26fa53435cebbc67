//! A store on another machine on trial: every kind of call that a backup needs is really made, with
//! objects of its own in a directory of its own, and what was made is removed again.
//!
//! What all media have in common is tried here. What only one kind has, as the rules of a bucket,
//! is behind [`MediumProbe`]. [`trial`] tries whether backups are possible, [`ransomware`] what
//! somebody could destroy.

mod ransomware;
mod trial;

use super::medium::Medium;
use super::{medium, objects};
use crate::error::{Error, Hint, Result};
use crate::store::{ConnectionSettings, DeletePermission, Location, StoreSettings};
use std::sync::Arc;
use std::time::Duration;

pub use ransomware::{Destruction, DestructionProbe, probe_destruction};
use trial::Trial;

/// What the names of directories begin with that a trial makes.
const TRIAL: &str = ".dbbackup-doctor-";

/// The longest time that a trial's calls are tried again: somebody waits for it.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Bytes of the objects that are created, two that differ everywhere.
pub const FIRST: &[u8] = b"dbbackup doctor: the first object\n";
pub const SECOND: &[u8] = b"DBBACKUP DOCTOR: THE SECOND ONE\n";

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

    /// Tries to destroy an object of this key, made for it, and its older versions; `None` where
    /// the medium has no words for versions.
    fn try_destruction(&self, _key: &str, _probe: &mut StoreProbe) -> Option<Destruction> {
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

/// The same settings, for somebody who waits.
fn impatient(settings: &ConnectionSettings) -> ConnectionSettings {
    ConnectionSettings {
        retry_for: settings.retry_for.min(RETRY_FOR),
        ..settings.clone()
    }
}

/// Tries a store on another machine.
pub fn probe(settings: &StoreSettings, depth: ProbeDepth) -> StoreProbe {
    let connection = impatient(&settings.connection);
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

#[cfg(test)]
mod tests;
