//! What `doctor --ransomware` finds in stores where everything, or nothing, can be destroyed.

use super::http::{Answer, Request, forward};
use super::moto::Moto;
use super::place::{self, Place};
use super::proxy::start_proxy;
use super::rights::{User, start_guard};
use super::s3::{ACCESS_KEY, BUCKET, S3Server};
use super::s3_settings;
use crate::moments::next_second;
use crate::support::{Ran, World};
use crate::tools::lack;
use std::net::SocketAddr;

fn run(settings: &str) -> Ran {
    let world = World::new();
    place::configure(&world, "dbbackup.toml", settings);
    world.dbbackup("--store far doctor --ransomware").run()
}

fn objects_below(server: &S3Server) -> usize {
    let found = walkdir::WalkDir::new(server.bucket_path().join("web1")).into_iter();
    found
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .count()
}

#[test]
fn a_bucket_without_versions_is_the_key_holders() {
    let server = S3Server::start();
    run(&s3_settings("far", &server.endpoint(), "web1"))
        .exits(3)
        .prints("this machine can write over what is stored, and the bucket keeps no versions")
        .prints("this machine can remove what is stored")
        .prints("everything: who is root here can destroy every backup there");
    assert_eq!(objects_below(&server), 0, "the trial is removed again");
}

#[test]
fn versions_that_can_be_removed_save_nobody() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_versioned_bucket(BUCKET);
    let settings = s3_settings("far", &server.endpoint(), "web1");
    run(&settings)
        .exits(3)
        .prints("accepted; the version before stays")
        .prints("this machine can remove the versions of what is stored")
        .prints("everything: who is root here");
    assert!(
        !server.versions(BUCKET).contains("<Key>"),
        "the trial is removed again"
    );
}

#[test]
fn locked_versions_stay_unless_the_lock_can_be_shortened() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_locked_bucket(BUCKET);
    let all = "\"s3:ListBucket\", \"s3:ListBucketVersions\", \"s3:GetObject\", \"s3:PutObject\", \
               \"s3:DeleteObject\", \"s3:DeleteObjectVersion\"";
    let policy = |actions: &str| {
        format!(
            r#"{{"Statement": [{{"Effect": "Allow", "Action": [{actions}], "Resource": "*"}}]}}"#
        )
    };
    let user = |actions: &str| vec![User::new(ACCESS_KEY, &policy(actions))];
    let endpoint = start_guard(&server.endpoint(), user(all));
    run(&s3_settings("far", &endpoint, "web1"))
        .exits(0)
        .prints("the bucket locks what is written: COMPLIANCE, until ")
        .prints("nothing for good");
    // This server lets who may shorten locks do it in that mode, too.
    let shortening = format!("{all}, \"s3:PutObjectRetention\"");
    let endpoint = start_guard(&server.endpoint(), user(&shortening));
    run(&s3_settings("far", &endpoint, "web1"))
        .exits(3)
        .prints("this machine can shorten the locks")
        .prints("everything: who is root here");
}

fn listed_ids(world: &World) -> Vec<String> {
    let listed = world.dbbackup("list --json").run().exits(0).json();
    let backups = listed["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| backup["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A tombstone hides a backup, and has it removed: where keys are trusted, one that anybody could
/// have written means nothing.
#[test]
fn planted_tombstones_hide_and_remove_nothing() {
    let server = S3Server::start();
    let world = World::new();
    world.shop("app.db");
    let made = world.dbbackup("key init --sign-key sign.key --json").run();
    let made = made.exits(0).json();
    let trust = made["public_key"].as_str().unwrap();
    let settings =
        s3_settings("far", &server.endpoint(), "web1").replace("[stores.far]", "[store]");
    let text = format!(
        "{settings}trust = ['{trust}']\n[encryption]\nsign_key_file = 'sign.key'\n[backup]\n\
         cleanup_after = false\n[retention]\nkeep_last = 2\n[sources.app]\nkind = 'sqlite'\npath = \
         'app.db'\n"
    );
    place::configure(&world, "dbbackup.toml", &text);
    for _ in 0..3 {
        next_second();
        world.dbbackup("backup").run().exits(0);
    }
    let ids = listed_ids(&world);
    let there = server.bucket_path().join("web1/app");
    for id in &ids {
        let tombstone = format!(r#"{{"objects": ["{id}.sqlite3.gz"]}}"#);
        std::fs::write(there.join(format!(".{id}.retired.json")), tombstone).unwrap();
    }
    assert_eq!(listed_ids(&world), ids, "nothing is hidden");
    world
        .dbbackup("cleanup")
        .run()
        .exits(0)
        .prints("removed 1 backup");
    assert_eq!(listed_ids(&world), ids[..2]);
    world.dbbackup("verify --all").run().exits(0);
    world.dbbackup("verify app").run().never_says("is missing");
}

fn without_overwriting_and_removing(request: Request, upstream: SocketAddr) -> Option<Answer> {
    let is_trial = request.key().contains(".dbbackup-doctor-");
    let is_second = request.body.starts_with(b"DBBACKUP");
    match request.method == "DELETE" || is_trial && is_second {
        true => Some(Answer::error(403, "AccessDenied", &request)),
        false => forward(upstream, &request),
    }
}

fn with_errors(request: Request, upstream: SocketAddr) -> Option<Answer> {
    match request.method == "DELETE" {
        true => Some(Answer::error(500, "InternalError", &request)),
        false => forward(upstream, &request),
    }
}

#[test]
fn what_is_refused_is_told_and_an_error_is_no_refusal() {
    let server = S3Server::start();
    let endpoint = start_proxy(&server.endpoint(), without_overwriting_and_removing);
    run(&s3_settings("far", &endpoint, "web1"))
        .exits(0)
        .prints("refused: ")
        .prints(": nothing: no backup there can be changed or removed");
    let endpoint = start_proxy(&server.endpoint(), with_errors);
    run(&s3_settings("far", &endpoint, "web1"))
        .exits(3)
        .prints("everything: who is root here");
}

/// As Amazon answers one who may remove, and nothing else, in a bucket with versions.
fn with_marks_alone(request: Request, upstream: SocketAddr) -> Option<Answer> {
    let is_of_version = request.target.contains("versionId");
    match request.method.as_str() {
        "DELETE" if !is_of_version => {
            Some(Answer::new(204, String::new()).with_header("x-amz-version-id", "mark1"))
        }
        "DELETE" | "PUT" => Some(Answer::error(403, "AccessDenied", &request)),
        _ => forward(upstream, &request),
    }
}

#[test]
fn who_may_only_remove_is_judged_by_the_marks() {
    let server = S3Server::start();
    let endpoint = start_proxy(&server.endpoint(), with_marks_alone);
    run(&s3_settings("far", &endpoint, "web1"))
        .exits(0)
        .prints("refused, so it can write over nothing")
        .prints("nothing for good");
}

#[test]
fn a_directory_and_a_server_of_ssh_keep_nothing_from_root() {
    let world = World::new();
    world.config("[store]\npath = 'store'\n[stores.far]\npath = 'far'\n");
    world
        .dbbackup("doctor --ransomware")
        .run()
        .exits(3)
        .prints("is a directory of this machine");
    let place = Place::sftp();
    let world = World::new();
    place::configure(
        &world,
        "dbbackup.toml",
        &format!("[stores.far]\n{}", place.settings),
    );
    let json = place
        .call(&world, "--store far --json doctor --ransomware")
        .run()
        .exits(3)
        .json();
    assert_eq!(json["ransomware"][0]["destroys"], "everything", "{json}");
}
