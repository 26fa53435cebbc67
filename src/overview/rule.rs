//! The rule of 3-2-1: three copies of the data, in two places, one of them off the machine; and
//! that a restore was proven, without which the others are worth little. The data itself is the
//! first copy.

use serde::Serialize;
use std::collections::BTreeSet;

/// How well a source keeps the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RuleOfThree {
    /// Copies, the data itself among them. A store counts where it has a good backup that is not
    /// older than one is expected.
    pub copies: u64,
    /// Places that they are in: a disk, or another machine.
    pub places: u64,
    /// How many of them are off this machine.
    pub off_machine: u64,
    /// Whether a drill found a backup sound, as lately as that is asked for.
    pub proven: bool,
    /// Whether all of it is so: three copies, two places, one off the machine, proven.
    pub kept: bool,
}

/// A place that holds a copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyPlace {
    /// A disk of this machine; `None` where it is not known which, and it may be any.
    Disk(Option<u64>),
    /// Another machine, by the address of the store.
    Elsewhere(String),
}

/// Counts the copies of a source: where the data itself is, and the stores that have a fresh
/// backup.
pub fn count_copies(data: &CopyPlace, stores: &[CopyPlace], proven: bool) -> RuleOfThree {
    let all = || std::iter::once(data).chain(stores);
    let known: BTreeSet<&CopyPlace> = all()
        .filter(|place| **place != CopyPlace::Disk(None))
        .collect();
    let has_disk = known
        .iter()
        .any(|place| matches!(place, CopyPlace::Disk(_)));
    // A disk that is not known may be one of those that are.
    let unknown = all().any(|place| *place == CopyPlace::Disk(None)) && !has_disk;
    let is_off = |place: &&CopyPlace| matches!(place, CopyPlace::Elsewhere(_));
    let (copies, places, off_machine) = (
        1 + stores.len() as u64,
        known.len() as u64 + u64::from(unknown),
        known.iter().copied().filter(is_off).count() as u64,
    );
    RuleOfThree {
        copies,
        places,
        off_machine,
        proven,
        kept: copies >= 3 && places >= 2 && off_machine >= 1 && proven,
    }
}
