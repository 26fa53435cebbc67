//! A SQLite database that lives.

use super::subject::{POINTS, State, Subject, sha256};
use crate::delta;
use crate::seeds::Random;
use crate::support::World;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Default)]
pub struct LiveDatabase {
    /// Older contents.
    earlier: Vec<Vec<u8>>,
}

impl Subject for LiveDatabase {
    fn name(&self) -> &'static str {
        "app"
    }

    fn disk(&self) -> u32 {
        16 << 10
    }

    fn longest_run(&self) -> Duration {
        Duration::from_millis(120)
    }

    fn points(&self) -> &'static [&'static str] {
        POINTS
    }

    fn begin(&mut self, world: &World) {
        delta::populate(world, "");
    }

    fn change(&mut self, world: &World, random: &mut Random) {
        let number = random.number() % 1000;
        let update =
            format!("UPDATE t SET x = hex(randomblob(100)) WHERE id % 300 = {number} % 300");
        let path = world.path("app.db");
        match random.below(100) {
            0..15 => return std::thread::sleep(Duration::from_millis(15)),
            15..60 => world.sql("app.db", &update),
            60..75 => world.sql(
                "app.db",
                "INSERT INTO t(x) SELECT hex(randomblob(90)) FROM t LIMIT 20",
            ),
            75..82 => world.sql(
                "app.db",
                &format!("DELETE FROM t WHERE id % 50 = {number} % 50"),
            ),
            82..86 => world.sql("app.db", "VACUUM"),
            86..91 => world.sql(
                "app.db",
                &format!(
                    "DROP TABLE IF EXISTS other; CREATE TABLE other AS SELECT * FROM t LIMIT \
                     {number} % 200"
                ),
            ),
            91..94 => world.sql(
                "app.db",
                "PRAGMA journal_mode = wal; UPDATE t SET x = 'a'
                WHERE id = 1",
            ),
            94..97 => world.sql("app.db", "PRAGMA journal_mode = delete"),
            _ => {
                // A restored file: some older content takes its place.
                let Some(bytes) = self.earlier.pop() else {
                    return;
                };
                fs::write(world.path("app.db.new"), bytes).unwrap();
                fs::rename(world.path("app.db.new"), &path).unwrap();
            }
        }
        if random.chance(5) {
            self.earlier.push(fs::read(&path).unwrap());
        }
    }

    fn disturb(&mut self, world: &World) {
        let text = "UPDATE t SET x = hex(randomblob(100)) WHERE id = (SELECT max(id) FROM t)";
        world.sql("app.db", text);
    }

    fn state(&self, world: &World) -> State {
        state_of(&world.path("app.db"))
    }

    fn restored(&self, _world: &World, target: &Path) -> State {
        state_of(target)
    }

    fn content_sha256<'a>(&self, state: &'a State) -> Option<&'a str> {
        state.values().next().map(String::as_str)
    }
}

/// The hash of a database that nobody has open, as a plain file.
fn state_of(path: &Path) -> State {
    let mut bytes = fs::read(path).unwrap();
    bytes[18..20].fill(1);
    State::from([(PathBuf::new(), sha256(&bytes))])
}
