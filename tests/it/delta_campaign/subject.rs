//! What the campaign needs to know of the source that is saved: how it lives, and what it is.

use crate::moments::point;
use crate::seeds::Random;
use crate::support::World;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All that a restore must bring back, by paths, as the test has seen it.
pub type State = BTreeMap<PathBuf, String>;

/// A source that lives.
pub trait Subject {
    /// The source's name.
    fn name(&self) -> &'static str;

    /// How many KiB the disk of the store has.
    fn disk(&self) -> u32;

    /// How long a run takes, about: it is killed at any moment of that.
    fn longest_run(&self) -> Duration;

    /// The moments with names that a run has.
    fn points(&self) -> &'static [&'static str];

    /// The configuration, and what there is at first.
    fn begin(&mut self, world: &World);

    /// An application, a user or an administrator does something to it, or nothing.
    fn change(&mut self, world: &World, random: &mut Random);

    /// Something is changed for certain: else the next run may read nothing.
    fn disturb(&mut self, world: &World);

    /// More arguments for a backup.
    fn arguments(&mut self, _random: &mut Random) -> &'static str {
        ""
    }

    /// What a backup of it holds now.
    fn state(&self, world: &World) -> State;

    /// What a restore has made of a backup at `target`.
    fn restored(&self, world: &World, target: &Path) -> State;

    /// The hash of the content that a backup of this state has, where that is to be told without
    /// the program.
    fn content_sha256<'a>(&self, state: &'a State) -> Option<&'a str>;
}

/// The points that every backup has, cleanups and deletes among them.
pub const POINTS: &[&str] = &[
    point::DRAFT_BEGUN,
    point::DELTA_WRITTEN,
    point::SIDECAR_DRAFTED,
    point::DUMP_NAMED,
    point::BACKUP_LISTED,
    point::BACKUP_UNLISTED,
    point::DUMP_REMOVED,
];

pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
