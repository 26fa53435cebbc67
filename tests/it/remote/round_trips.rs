//! A database of SQLite, one of PostgreSQL and a tree of files go to a store on another machine,
//! straight or as copies, and come back on a machine that has nothing but the configuration.

use super::place::{Place, Way, configure};
use crate::cluster::{Cluster, Database};
use crate::postgres_world::SMALL;
use crate::support::{World, contents, set_mode};
use crate::tree::{grow, picture};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What is backed up, and where to.
struct Trip<'a> {
    place: &'a Place,
    way: Way,
    world: World,
    shop: Option<Database<'a>>,
}

impl<'a> Trip<'a> {
    fn begin(place: &'a Place, way: Way) -> Trip<'a> {
        let world = World::new();
        // The drill's server is another user's, who goes through it.
        set_mode(&world.path(""), 0o711);
        world.shop("app.db");
        grow(&world.path("tree"), 7);
        let shop = Cluster::shared().map(|cluster| cluster.database("shop"));
        if let Some(shop) = &shop {
            shop.sql(SMALL);
        }
        let trip = Trip {
            place,
            way,
            world,
            shop,
        };
        trip.configure(&trip.world);
        trip
    }

    /// The same configuration on any machine.
    fn configure(&self, world: &World) {
        let scratch = world.path("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        set_mode(&scratch, 0o711);
        let of = |name: &str| self.world.path(name);
        let mut text = format!(
            "[backup]\nscratch_dir = {scratch:?}\ncleanup_after = false\n{}\n{}{}\nkeep_last = \
             1\n[sources.app]\nkind = 'sqlite'\npath = {:?}\n[sources.tree]\nkind = \
             'files'\npaths = [{:?}]\n",
            self.way.heading(),
            self.place.settings,
            self.way.retention(),
            of("app.db"),
            of("tree")
        );
        if let Some(shop) = &self.shop {
            text += &format!(
                "[sources.shop]\nkind = 'postgres'\nurl = {:?}\nbin_dir = {:?}\n",
                shop.url(),
                shop.cluster.bin()
            );
        }
        configure(world, "dbbackup.toml", &text);
    }

    fn call(&self, world: &World, arguments: &str) -> crate::support::Call {
        let line = format!("{}{arguments}", self.way.option());
        self.place.call(world, &line)
    }

    fn run(&self, arguments: &str) -> crate::support::Ran {
        self.call(&self.world, arguments).run()
    }

    fn back_up(&self, arguments: &str) -> crate::support::Ran {
        let line = format!("{}backup {arguments}", self.way.backup_option());
        self.place.call(&self.world, &line).run()
    }

    fn sources(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::from(["app".to_owned(), "tree".to_owned()]);
        names.extend(self.shop.as_ref().map(|_| "shop".to_owned()));
        names
    }

    /// The ids that are listed, newest first.
    fn ids(&self, more: &str) -> Vec<String> {
        let json = self.run(&format!("list --json {more}")).exits(0).json();
        let backups = json["backups"].as_array().unwrap().iter();
        backups
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn go_there_and_back(place: &Place, way: Way) {
    let trip = Trip::begin(place, way);
    let made = trip.back_up("--json").exits(0).json();
    assert_eq!(
        made["backups"].as_array().unwrap().len(),
        trip.sources().len()
    );
    assert_eq!(trip.world.path("store").exists(), way == Way::Copied);
    look_at_it(&trip);
    for level in ["checksum", "content", "restore"] {
        let json = trip
            .run(&format!("verify --all --level {level} --json"))
            .exits(0)
            .json();
        let results = json["results"].as_array().unwrap();
        assert_eq!(results.len(), trip.sources().len());
        assert!(
            results.iter().all(|result| result["status"] == "ok"),
            "{json}"
        );
    }
    come_back_elsewhere(&trip);
    grow_old(&trip);
}

/// What the commands say that only read.
fn look_at_it(trip: &Trip) {
    let json = trip.run("list --json").exits(0).json();
    let backups = json["backups"].as_array().unwrap().iter();
    let listed: BTreeSet<String> = backups
        .map(|backup| backup["source"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, trip.sources());
    for source in trip.sources() {
        let shown = trip.run(&format!("show {source} --json")).exits(0).json();
        assert_eq!(shown["backup"]["source"], source.as_str());
        trip.run(&format!("show {source} --contents")).exits(0);
    }
    trip.run("stats").exits(0).prints("app");
    trip.run("stats --json").exits(0).json();
    trip.run("status --json").json();
    trip.run("status").exits(0).prints("sources all backed up");
    let mut cat = trip.call(&trip.world, "cat app");
    let dump = cat.command.output().unwrap();
    assert!(dump.status.success());
    std::fs::write(trip.world.path("cat.db"), dump.stdout).unwrap();
    assert_eq!(
        contents(&trip.world.path("cat.db")),
        contents(&trip.world.path("app.db"))
    );
    trip.run("export app --format csv --to tables").exits(0);
    let lines = std::fs::read_to_string(trip.world.path("tables/orders.csv")).unwrap();
    assert_eq!(lines.lines().count(), 1001);
}

/// Restores on a machine that has only the configuration.
fn come_back_elsewhere(trip: &Trip) {
    let other = World::new();
    trip.configure(&other);
    let run = |arguments: &str| trip.call(&other, arguments).run();
    run("restore app --to back.db --yes").exits(0);
    assert_eq!(
        contents(&other.path("back.db")),
        contents(&trip.world.path("app.db"))
    );
    run("restore tree --to back --yes").exits(0);
    let tree = trip.world.path("tree");
    let back: PathBuf = other.path("back").join(tree.strip_prefix("/").unwrap());
    assert_eq!(picture(&back), picture(&tree));
    if let Some(shop) = &trip.shop {
        let back = shop.cluster.database("back");
        run(&format!("restore shop --to {} --yes", back.name)).exits(0);
        assert_eq!(back.dump_text(), shop.dump_text());
    }
}

/// Further backups; one is pinned, one deleted, and retention takes the rest.
fn grow_old(trip: &Trip) {
    for _ in 0..3 {
        trip.back_up("app").exits(0);
    }
    let ids = trip.ids("app");
    assert_eq!(ids.len(), 4);
    let oldest = &ids[3];
    trip.run(&format!("pin {oldest}")).exits(0);
    trip.run(&format!("delete {} --yes", ids[2])).exits(0);
    trip.run("cleanup app --dry-run").exits(0).prints(&ids[1]);
    assert_eq!(trip.ids("app").len(), 3);
    trip.run("cleanup app").exits(0);
    assert_eq!(trip.ids("app"), [ids[0].clone(), oldest.clone()]);
    trip.run(&format!("unpin {oldest}")).exits(0);
    // What was proven last stays, too.
    trip.run("verify app").exits(0);
    let json = trip.run("cleanup --json").exits(0).json();
    assert_eq!(json["deleted_count"], 1, "{json}");
    assert_eq!(trip.ids("app"), [ids[0].clone()]);
    trip.run("verify --all --level content").exits(0);
    trip.run(&format!("delete {} --yes", ids[0])).exits(2);
    trip.run(&format!("delete {} --yes --force", ids[0]))
        .exits(0);
    trip.run("show app").exits(10);
}

#[test]
fn through_s3() {
    let place = Place::s3();
    go_there_and_back(&place, Way::Own);
}

#[test]
fn through_s3_with_versions() {
    if let Some(place) = Place::moto() {
        go_there_and_back(&place, Way::Named);
    }
}

#[test]
fn through_azure() {
    if let Some(place) = Place::azure() {
        go_there_and_back(&place, Way::Own);
    }
}

#[test]
fn copied_to_s3() {
    let place = Place::s3();
    go_there_and_back(&place, Way::Copied);
}

#[test]
fn copied_to_azure() {
    if let Some(place) = Place::azure() {
        go_there_and_back(&place, Way::Copied);
    }
}

#[test]
fn copied_by_sftp() {
    let place = Place::sftp();
    go_there_and_back(&place, Way::Copied);
}

#[test]
fn copied_by_rclone() {
    if let Some(place) = Place::rclone() {
        go_there_and_back(&place, Way::Copied);
    }
}

#[test]
fn through_sftp() {
    let place = Place::sftp();
    go_there_and_back(&place, Way::Own);
}

#[test]
fn through_rclone() {
    if let Some(place) = Place::rclone() {
        go_there_and_back(&place, Way::Named);
    }
}
