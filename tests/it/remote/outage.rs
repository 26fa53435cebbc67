//! A store that dies while a run copies to it: the backups of this machine are made, another store
//! gets its copies, the dead one is not asked again for every source, and the next run catches up.

use super::http::forward;
use super::place::configure;
use super::proxy::start_proxy;
use super::s3::S3Server;
use super::s3_settings;
use crate::moments::next_second;
use crate::support::World;
use std::sync::{Arc, Mutex};

const SOURCES: [&str; 3] = ["alpha", "beta", "gamma"];

/// How the server is.
#[derive(Debug, Clone, PartialEq)]
enum Health {
    /// It dies when it is given the first dump.
    Well,
    /// It answers nothing, and remembers what it was asked.
    Dead(Vec<String>),
    Again,
}

#[test]
fn a_store_that_dies_is_not_asked_for_every_source() {
    let server = S3Server::start();
    let health = Arc::new(Mutex::new(Health::Well));
    let endpoint = start_proxy(&server.endpoint(), {
        let health = Arc::clone(&health);
        move |request, upstream| {
            let mut health = health.lock().unwrap();
            if *health == Health::Well && request.line().contains(".sqlite3") {
                *health = Health::Dead(Vec::new());
            }
            if let Health::Dead(asked) = &mut *health {
                asked.push(request.line());
                return None;
            }
            drop(health);
            forward(upstream, &request)
        }
    });
    let world = World::new();
    let sources = SOURCES.map(|source| {
        world.shop(&format!("{source}.db"));
        format!("[sources.{source}]\nkind = 'sqlite'\npath = '{source}.db'\n")
    });
    let far = s3_settings("far", &endpoint, "web1");
    let text = format!(
        "[store]\npath = 'store'\n[stores.usb]\npath = 'usb'\n{far}[backup]\ncopies = ['far', \
         'usb']\n{}",
        sources.concat()
    );
    configure(&world, "dbbackup.toml", &text);
    let count = |store: &str| {
        let listed = world.dbbackup(&format!("list --store {store} --json"));
        let listed = listed.run().exits(0).json();
        listed["backups"].as_array().unwrap().len()
    };
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("0 of 3: alpha, beta, gamma made, not copied everywhere");
    assert_eq!((count("store"), count("usb")), (3, 3));
    world
        .dbbackup("list")
        .run()
        .exits(0)
        .prints("not yet in far");
    let was = std::mem::replace(&mut *health.lock().unwrap(), Health::Again);
    let Health::Dead(asked) = was else {
        panic!("{was:?}");
    };
    let is_of = |source: &&str| asked.iter().any(|line| line.contains(*source));
    assert_eq!(
        SOURCES.iter().copied().filter(is_of).count(),
        1,
        "{asked:?}"
    );
    next_second();
    world.dbbackup("backup").run().exits(0);
    assert_eq!((count("far"), count("usb")), (6, 6));
    let verify = "verify --store far --all --level restore";
    world.dbbackup(verify).run().exits(0);
}
