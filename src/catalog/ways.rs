//! Whether what deltas are built on is there, as far as it is known without reading dumps.

use super::{Catalog, ListedBackup, Presence};
use std::collections::{BTreeMap, BTreeSet};

/// No way that this program makes is longer, in backups: its depth grows with the logarithm of the
/// number of backups since the full.
pub const LONGEST_WAY: usize = 64;

/// Whether all is there that a delta is built on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WayState {
    /// It is, or the backup is a full.
    #[default]
    Whole,
    /// This backup on the way can't be looked at.
    Unknown(Box<str>),
    /// This backup on the way, or its dump, is not there.
    Missing(Box<str>),
    /// This backup on the way is not what was written.
    Damaged(Box<str>),
}

impl Catalog {
    /// Writes down of each backup whether its way is there.
    pub(super) fn find_ways(&mut self) {
        if self.backups().all(|backup| backup.needs().is_none()) {
            return;
        }
        let by_id: BTreeMap<&str, &ListedBackup> =
            self.backups().map(|backup| (backup.id(), backup)).collect();
        let unreadable = self.unreadable.iter();
        let unreadable: BTreeSet<&str> = unreadable.map(|lost| lost.id.as_str()).collect();
        let states = self
            .backups()
            .map(|backup| way_state(backup, &by_id, &unreadable));
        let states: Vec<WayState> = states.collect();
        for (backup, state) in self.backups.iter_mut().zip(states) {
            backup.way = state;
        }
    }
}

/// Follows a way to its full, or to the first backup on it that is not well.
fn way_state(
    backup: &ListedBackup,
    by_id: &BTreeMap<&str, &ListedBackup>,
    unreadable: &BTreeSet<&str>,
) -> WayState {
    let (mut next, mut steps) = (backup.needs(), 0);
    while let Some(id) = next {
        steps += 1;
        let is_own = |base: &&&ListedBackup| base.sidecar.source == backup.sidecar.source;
        let base = match by_id.get(id).filter(is_own) {
            // A circle, or no way that this program makes.
            _ if steps > LONGEST_WAY => return WayState::Damaged(id.into()),
            None if unreadable.contains(id) => return WayState::Unknown(id.into()),
            None => return WayState::Missing(id.into()),
            Some(base) => base,
        };
        match base.presence {
            _ if !base.signature.is_accepted() => return WayState::Unknown(id.into()),
            _ if base.damage().is_some() => return WayState::Damaged(id.into()),
            Presence::Unknown(_) => return WayState::Unknown(id.into()),
            Presence::Missing => return WayState::Missing(id.into()),
            Presence::Bytes(_) if !base.is_whole() => return WayState::Damaged(id.into()),
            Presence::Bytes(_) => next = base.needs(),
        }
    }
    WayState::Whole
}
