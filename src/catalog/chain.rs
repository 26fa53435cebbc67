//! The chain of signed backups: each names the one before it, with a hash of its sidecar. So a
//! backup that was hidden, or exchanged for an older one, is missed by the next one.
//!
//! Removing a backup on purpose leaves an event beside the one that names it. Whoever can only
//! delete objects can't write that: it would have to be signed.

use super::{Catalog, ListedBackup};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Status;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// A backup that is not what a later one says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFault {
    /// Its id.
    pub id: String,
    /// The id of the later one.
    pub named_by: String,
    /// What is wrong.
    pub kind: ChainFaultKind,
}

/// What is wrong with a backup that a later one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFaultKind {
    /// It is not there, and nothing says that it was removed on purpose.
    Missing,
    /// Its sidecar is another one.
    Replaced,
}

impl ChainFault {
    /// What is wrong, for a sentence that begins with its id.
    pub fn reason(&self) -> String {
        let by = &self.named_by;
        match self.kind {
            ChainFaultKind::Missing => format!(
                "it is missing: {by} was made after it, and nothing says that it was removed on \
                 purpose"
            ),
            ChainFaultKind::Replaced => {
                format!("its sidecar was replaced: {by} was made after another one")
            }
        }
    }
}

/// A digest in hex.
pub fn digest_text(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl ListedBackup {
    /// Whether the next backup of its source names it: it has a dump, nobody doubts who made it,
    /// and no restore made it for itself.
    pub fn is_in_chain(&self) -> bool {
        self.sidecar.status != Status::Failed
            && self.sidecar.label != PRE_RESTORE
            && self.signature.is_accepted()
    }
}

impl Catalog {
    /// The backups of a source that a later one names and that are not as it says.
    pub fn chain_faults(&self, source: &str) -> Vec<ChainFault> {
        let by_id: HashMap<&str, &ListedBackup> = self
            .of(source)
            .map(|backup| (backup.id(), backup))
            .collect();
        let unreadable: HashSet<&str> = self
            .unreadable
            .iter()
            .map(|lost| lost.id.as_str())
            .collect();
        let is_removed = |id: &str| {
            self.of(source)
                .any(|other| other.state.removed.contains(id))
        };
        let mut faults: Vec<ChainFault> = Vec::new();
        for backup in self
            .of(source)
            .filter(|backup| backup.signature.is_accepted())
        {
            let Some(previous) = &backup.sidecar.previous else {
                continue;
            };
            let kind = match by_id.get(previous.id.as_str()) {
                Some(there) => match &there.digest {
                    Some(digest) if digest_text(digest) != previous.sha256 => {
                        ChainFaultKind::Replaced
                    }
                    _ => continue,
                },
                // What can't be read is told as that.
                None if unreadable.contains(previous.id.as_str()) => continue,
                None if is_removed(&previous.id) => continue,
                None => ChainFaultKind::Missing,
            };
            if faults.iter().all(|known| known.id != previous.id) {
                faults.push(ChainFault {
                    id: previous.id.clone(),
                    named_by: backup.id().to_owned(),
                    kind,
                });
            }
        }
        faults
    }

    /// The backup beside which it is noted that another one of its source was removed: the one that
    /// names it, or, of the newest, the one before it.
    pub fn witness_of_removal(&self, source: &str, id: &str) -> Option<&ListedBackup> {
        let names_it = |backup: &&ListedBackup| {
            let previous = backup.sidecar.previous.as_ref();
            previous.is_some_and(|previous| previous.id == id)
        };
        if let Some(next) = self.of(source).find(names_it) {
            return Some(next);
        }
        let mut chain = self.of(source).filter(|backup| backup.is_in_chain());
        let newest = chain.next()?;
        if newest.id() == id {
            chain.next()
        } else {
            None
        }
    }
}
