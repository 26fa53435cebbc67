//! Kills at moments of no name, of runs that write to another machine or remove there: nothing
//! listed that is not whole, nothing lost, and the next run leaves no debris and no unfinished
//! upload. `DBBACKUP_KILLS` makes it more than 20 of each.

use super::s3::S3Server;
use super::{LEAST_PART, big_database, debris, place, s3_settings};
use crate::moments::{moments, timed};
use crate::seeds::Random;
use crate::support::{Call, World, contents};

/// A database, and an S3 server that has its backups.
struct Far {
    world: World,
    server: S3Server,
}

impl Far {
    fn new() -> Far {
        let (world, server) = (World::new(), S3Server::start());
        let text = format!(
            "[backup]\ncompression = 'zstd'\ncleanup_after = false\n{}verify_upload = \
             'read'\n{}[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n",
            s3_settings("far", &server.endpoint(), "web1"),
            s3_settings("other", &server.endpoint(), "web2")
        );
        place::configure(&world, "dbbackup.toml", &text);
        big_database(&world, "app.db");
        Far { world, server }
    }

    fn call(&self, arguments: &str) -> Call {
        self.call_in("far", arguments)
    }

    fn call_in(&self, store: &str, arguments: &str) -> Call {
        self.world
            .dbbackup(&format!("--store {store} {arguments}"))
            .env("DBBACKUP_TEST_PART_SIZE", LEAST_PART)
    }

    fn ids(&self) -> Vec<String> {
        self.ids_in("far")
    }

    fn ids_in(&self, store: &str) -> Vec<String> {
        let json = self.call_in(store, "list --json").run().exits(0).json();
        let backups = json["backups"].as_array().unwrap().iter();
        backups
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn assert_all_restore(&self) {
        self.assert_all_restore_from("far");
    }

    fn assert_all_restore_from(&self, store: &str) {
        for arguments in [
            "verify --all --level content",
            "restore app --to back.db --yes",
        ] {
            self.call_in(store, arguments).run().exits(0);
        }
        let (back, app) = (self.world.path("back.db"), self.world.path("app.db"));
        assert_eq!(contents(&back), contents(&app));
        std::fs::remove_file(back).unwrap();
    }

    fn assert_tidy(&self) {
        self.assert_tidy_in("far", "web1/app");
    }

    fn assert_tidy_in(&self, store: &str, directory: &str) {
        let source = self.server.bucket_path().join(directory);
        assert_eq!(debris(&source), [] as [&str; 0]);
        assert_eq!(self.server.unfinished_parts(), [] as [&str; 0]);
        let names = std::fs::read_dir(source).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let dumps = names.filter(|name| !name.ends_with(".json")).count();
        assert_eq!(dumps, self.ids_in(store).len(), "every dump is a backup's");
    }
}

#[test]
fn a_killed_backup_costs_nothing() {
    let far = Far::new();
    let mut random = Random::seeded();
    let length = timed(far.call("backup app"));
    let mut listed = far.ids();
    let mut was_listed = 0;
    for (number, _) in moments(length).enumerate() {
        let moment = length.mul_f64(random.below(1000) as f64 / 900.0);
        far.call("backup app").killed_after(moment);
        let now = far.ids();
        assert!(
            listed.iter().all(|id| now.contains(id)),
            "{listed:?} {now:?}"
        );
        was_listed += usize::from(now.len() > listed.len());
        far.assert_all_restore();
        if number % 4 == 3 {
            far.call("backup app").run().exits(0);
            far.assert_tidy();
            // Or it would take ever longer.
            far.call("cleanup app --keep-last 2 --force").run().exits(0);
        }
        listed = far.ids();
    }
    println!("{was_listed} were listed in spite of it");
    far.call("backup app").run().exits(0);
    far.assert_tidy();
}

#[test]
fn a_killed_cleanup_costs_nothing() {
    let far = Far::new();
    let mut random = Random::seeded();
    for _ in 0..5 {
        far.call("backup app").run().exits(0);
    }
    let cleanup = || far.call("cleanup app --keep-last 2 --force");
    let length = timed(cleanup());
    for _ in moments(length) {
        while far.ids().len() < 4 {
            far.call("backup app").run().exits(0);
        }
        let kept = far.ids()[..2].to_vec();
        let moment = length.mul_f64(random.below(1000) as f64 / 900.0);
        cleanup().killed_after(moment);
        let now = far.ids();
        assert!(kept.iter().all(|id| now.contains(id)), "{kept:?} {now:?}");
        far.assert_all_restore();
    }
    cleanup().run().exits(0);
    far.assert_tidy();
    assert_eq!(far.ids().len(), 2);
}

#[test]
fn a_killed_copy_costs_nothing() {
    let far = Far::new();
    let mut random = Random::seeded();
    for _ in 0..2 {
        far.call("backup app").run().exits(0);
    }
    let all = far.ids();
    let copy = || far.call("copy app --to other --missing");
    let there = far.server.bucket_path().join("web2");
    let length = timed(copy());
    let mut was_listed = 0;
    for (number, _) in moments(length).enumerate() {
        // Nothing is there, or what the kill before left.
        if number % 3 == 0 {
            std::fs::remove_dir_all(&there).unwrap();
        }
        let moment = length.mul_f64(random.below(1000) as f64 / 900.0);
        copy().killed_after(moment);
        assert_eq!(far.ids(), all);
        // A store that nothing was written to yet is none.
        if there.join("app").exists() {
            let listed = far.ids_in("other");
            was_listed += usize::from(!listed.is_empty());
            if !listed.is_empty() {
                far.assert_all_restore_from("other");
            }
        }
        if number % 3 == 2 {
            copy().run().exits(0);
            assert_eq!(far.ids_in("other"), all);
            far.assert_tidy_in("other", "web2/app");
        }
    }
    println!("{was_listed} kills left copies that are listed");
    copy().run().exits(0);
    far.assert_all_restore_from("other");
    far.assert_tidy_in("other", "web2/app");
    far.assert_all_restore();
}
