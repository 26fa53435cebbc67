//! The law of stores on other machines: whatever a store answers once, either the exit code is not
//! 0 or the newest backup restores; every backup that was good before, and that the policy keeps,
//! is still listed and restores; nothing hangs past its bound; and nothing is listed that does not
//! restore. The next honest run then does its work and leaves no debris.
//!
//! [`Lie`] for [`Lie`], at the first request of a run, at the second, and so on to its last one.
//! `DBBACKUP_LIES=all` tries all of them, in an hour or two, `DBBACKUP_LIES=500` as many, and
//! `DBBACKUP_LIES=Copy` those of one operation; otherwise they are a small sample. Its seed is
//! printed and is taken from `DBBACKUP_SEED`.

use super::judge::{LyingServer, Operation, hold_to_the_law};
use super::liar::{Liar, Lie};
use super::s3::S3Server;
use super::s3_settings;
use crate::support::World;
use std::path::PathBuf;

/// A server of S3, and the liar before it; with keys, where backups are encrypted and signed, and
/// only signed ones count.
struct LyingBucket<const SEALED: bool> {
    server: S3Server,
    liar: Liar,
    keys: Option<KeysOnDisk>,
}

/// The keys that `dbbackup key init` made.
struct KeysOnDisk {
    world: World,
    recipient: String,
    public_key: String,
}

impl KeysOnDisk {
    fn create() -> KeysOnDisk {
        let world = World::new();
        let made = world.dbbackup("key init keys --json").run().exits(0).json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        KeysOnDisk {
            recipient: text("recipient"),
            public_key: text("public_key"),
            world,
        }
    }

    fn settings(&self) -> String {
        let path = |name: &str| self.world.path("keys").join(name);
        format!(
            "[encryption]\nrecipients = [{:?}]\nidentity_file = {:?}\nsign_key_file = {:?}\n",
            self.recipient,
            path("backup.key"),
            path("sign.key")
        )
    }
}

impl<const SEALED: bool> LyingServer for LyingBucket<SEALED> {
    type Lie = Lie;

    const OPERATIONS: &'static [Operation] = Operation::ALL;

    fn start() -> Self {
        let server = S3Server::start();
        let liar = Liar::start(&server.endpoint(), server.bucket_path());
        LyingBucket {
            server,
            liar,
            keys: SEALED.then(KeysOnDisk::create),
        }
    }

    fn settings(&self, name: &str, prefix: &str, is_honest: bool) -> String {
        let endpoint = match is_honest {
            true => self.server.endpoint(),
            false => self.liar.endpoint(),
        };
        let trust = self.keys.as_ref().map(|keys| &keys.public_key);
        let trust = trust.map_or(String::new(), |key| format!("trust = [{key:?}]\n"));
        s3_settings(name, &endpoint, prefix) + &trust
    }

    fn more_settings(&self) -> String {
        self.keys
            .as_ref()
            .map_or(String::new(), KeysOnDisk::settings)
    }

    fn root(&self) -> PathBuf {
        self.server.bucket_path().parent().unwrap().to_owned()
    }

    fn source_directory(&self, prefix: &str) -> PathBuf {
        self.server.bucket_path().join(prefix).join("app")
    }

    fn unfinished(&self) -> Vec<String> {
        self.server.unfinished_parts()
    }

    fn lie(&self, lie: Lie, position: usize) {
        self.liar.lie(lie, position);
    }

    fn be_honest(&self) {
        self.liar.be_honest();
    }

    fn lies_worth_telling(&self, operation: Operation) -> Vec<(String, Vec<Lie>)> {
        let seen = self.liar.seen().into_iter();
        let lies = seen.map(|request| {
            // What is stored otherwise than the server says is found where it is read back.
            let is_worth = |lie: &Lie| {
                let is_found = *lie != Lie::FlipStored || operation == Operation::BackupInParts;
                is_found && lie.fits(&request)
            };
            let lies = Lie::ALL.iter().copied().filter(is_worth).collect();
            (request.line, lies)
        });
        lies.collect()
    }

    fn may_hide_a_backup(lie: Lie) -> bool {
        matches!(
            lie,
            Lie::ShortList | Lie::HalfList | Lie::Older | Lie::FlipAnswer | Lie::Swap
        )
    }

    fn may_leave(lie: Lie, _name: &str) -> bool {
        // A reservation that can't be read is somebody's, until it is a week old.
        lie == Lie::FlipStored
    }
}

#[test]
fn whatever_a_store_says_the_law_holds() {
    hold_to_the_law::<LyingBucket<false>>(40);
}

#[test]
fn whatever_a_store_says_of_sealed_backups_the_law_holds() {
    hold_to_the_law::<LyingBucket<true>>(20);
}
