//! A store on another machine that can't be used, or not for everything: exit codes, and messages
//! that name the thing, the cause and the remedy.

use super::moto::Moto;
use super::s3::{S3Server, SECRET_KEY};
use super::{place, s3_settings};
use crate::moments::point;
use crate::support::{Ran, World};
use crate::tools::lack;
use rustix::process::Signal;

/// A world whose store `far` has these settings.
fn world(settings: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    let text = format!(
        "[backup]\ncleanup_after = false\n{settings}[sources.app]\nkind = 'sqlite'\npath = \
         'app.db'\n"
    );
    place::configure(&world, "dbbackup.toml", &text);
    world
}

fn run(world: &World, arguments: &str) -> Ran {
    world.dbbackup(&format!("--store far {arguments}")).run()
}

#[test]
fn a_bucket_that_is_missing_is_named() {
    let server = S3Server::start();
    let settings = s3_settings("far", &server.endpoint(), "web1").replace("//acme/", "//nowhere/");
    let world = world(&settings);
    for command in ["backup app", "list", "restore app --to x.db", "cleanup app"] {
        let ran = run(&world, command);
        assert!(matches!(ran.code(), 1 | 10), "{ran}");
        ran.says("NoSuchBucket")
            .says("nowhere")
            .says("hint: make the bucket `nowhere`");
    }
    assert!(!world.path("x.db").exists());
}

#[test]
fn wrong_keys_are_told_without_the_right_ones() {
    let server = S3Server::start();
    let settings = s3_settings("far", &server.endpoint(), "web1");
    let wrong = settings.replace(SECRET_KEY, "an0ther-key");
    let world = world(&wrong);
    for command in ["backup app", "list", "verify app", "cleanup app"] {
        run(&world, command)
            .exits(1)
            .says("403 SignatureDoesNotMatch")
            .says("s3://acme/web1")
            .says("hint:")
            .says("secret_key")
            .never_says("an0ther-key");
    }
}

#[test]
fn a_server_that_nobody_reaches_is_named_in_time() {
    let unused = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let world = world(&s3_settings("far", &format!("http://{address}"), "web1"));
    let began = std::time::Instant::now();
    for command in ["backup app", "list"] {
        run(&world, command)
            .exits(1)
            .says("s3://acme/web1")
            .says("connection refused");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_machine_that_may_not_delete_only_writes() {
    let server = S3Server::start();
    let settings = s3_settings("far", &server.endpoint(), "web1");
    let world = world(&format!("{settings}delete = 'never'\n"));
    for _ in 0..3 {
        run(&world, "backup app").exits(0);
    }
    let id = run(&world, "list --json").exits(0).json()["backups"][0]["id"].clone();
    let id = id.as_str().unwrap();
    run(&world, "cleanup app --keep-last 1")
        .exits(0)
        .prints("this machine removes nothing there (`delete = \"never\"`)")
        .prints("removed 0 backups");
    run(&world, &format!("delete {id} --yes --force"))
        .exits(2)
        .says("delete = \"never\"")
        .says("hint:");
    let listed = run(&world, "list --json").exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
    run(&world, "verify --all --level content").exits(0);
    // Another machine, which may.
    let text = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    place::configure(
        &world,
        "dbbackup.toml",
        &text.replace("delete = 'never'\n", ""),
    );
    run(&world, "cleanup app --keep-last 1").exits(0);
    let source = server.bucket_path().join("web1/app");
    assert_eq!(super::debris(&source), [] as [&str; 0]);
    run(&world, "verify --all --level content").exits(0);
}

#[test]
fn an_interrupted_upload_is_given_up_with_its_parts() {
    let server = S3Server::start();
    let world = world(&s3_settings("far", &server.endpoint(), "web1"));
    run(&world, "backup app").exits(0);
    // Some parts are there after a second, and the rest would take minutes.
    let text = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    let slow = text.replace("retry_for", "upload_limit = '4 KiB/s'\nretry_for");
    place::configure(&world, "dbbackup.toml", &slow);
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = world
            .dbbackup("--store far backup app")
            .env("DBBACKUP_TEST_PART_SIZE", "8000")
            .start();
        crate::support::until("an upload is begun", || {
            !server.unfinished().is_empty() || running.ended()
        });
        running.signal(signal);
        running.wait().exits(130);
        assert_eq!(server.unfinished(), [] as [&str; 0]);
        let source = server.bucket_path().join("web1/app");
        assert_eq!(super::debris(&source), [] as [&str; 0]);
    }
    let listed = run(&world, "list --json").exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
}

/// Named fail points hold on a store without renames, too.
#[test]
fn a_backup_is_listed_from_the_moment_that_its_sidecar_is_there() {
    for (point, is_listed) in [
        (point::DRAFT_BEGUN, false),
        (point::SIDECAR_DRAFTED, false),
        (point::BACKUP_LISTED, true),
    ] {
        let server = S3Server::start();
        let world = world(&s3_settings("far", &server.endpoint(), "web1"));
        world
            .dbbackup("--store far backup app")
            .killed_at(point, 1)
            .was_killed();
        let listed = run(&world, "list --json").exits(0).json();
        let count = listed["backups"].as_array().unwrap().len();
        assert_eq!(count, usize::from(is_listed), "{point}");
        let source = server.bucket_path().join("web1/app");
        assert!(!super::debris(&source).is_empty(), "{point}");
        run(&world, "backup app").exits(0);
        assert_eq!(super::debris(&source), [] as [&str; 0], "{point}");
        run(&world, "verify --all --level content").exits(0);
    }
}

#[test]
fn what_an_object_lock_holds_is_told() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_locked_bucket("acme");
    let world = world(&s3_settings("far", &server.endpoint(), "web1"));
    for _ in 0..3 {
        run(&world, "backup app").exits(0);
    }
    run(&world, "verify --all --level content").exits(0);
    // A removal there is a mark that hides, and all versions stay.
    run(&world, "cleanup app --keep-last 1").exits(0);
    let listed = run(&world, "list --json").exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    run(&world, "verify --all --level restore").exits(0);
    assert!(!server.unfinished("acme").contains("<UploadId>"));
}
