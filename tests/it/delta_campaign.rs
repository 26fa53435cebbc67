//! Weeks of backups in minutes, fulls and deltas mixed, of a source that lives: runs are killed at
//! named points and at any moment, two go at once, disks are full, files on the way rot. After each
//! of these, what is listed is what was saved, nothing lacks what it is built on, and the next run
//! tidies up (`story`). It is told of a database and of a tree of files (`subject`).
//!
//! What a backup holds is judged by the test alone: it keeps what the source was at each moment.
//! `DBBACKUP_KILLS` says how many runs are killed, `DBBACKUP_SEED` which story it is.

mod database;
mod history;
mod story;
mod subject;
mod tree;

use crate::faults::SmallDisk;
use crate::seeds::seed;
use crate::support::World;
use database::LiveDatabase;
use story::Campaign;
use subject::Subject;
use tree::LiveTree;

/// How many runs are killed.
fn wanted_kills() -> u32 {
    std::env::var("DBBACKUP_KILLS").map_or(15, |text| text.parse().unwrap())
}

fn tell_story_of(subject: Box<dyn Subject>) {
    let (seed, world) = (seed(), World::new());
    let (name, size, at) = (subject.name(), subject.disk(), world.path("store"));
    let mut campaign = Campaign::new(seed, world, subject);
    // After the world: it goes before it.
    let disk = SmallDisk::mount(&at, size);
    campaign.has_disk = disk.is_some();
    while campaign.figures.kills < wanted_kills() {
        campaign.step();
    }
    campaign.restore_all();
    println!("{name}: {:?}, to {}", campaign.figures, campaign.now);
}

#[test]
fn weeks_of_killed_runs_lose_nothing() {
    tell_story_of(Box::<LiveDatabase>::default());
}

#[test]
fn weeks_of_killed_runs_lose_no_file() {
    tell_story_of(Box::<LiveTree>::default());
}
