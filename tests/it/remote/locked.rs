//! A bucket in which what is written stays for a day: removals that are refused are told as "locked
//! until", count as kept, and are no failures.

use super::http::{Answer, Request, forward};
use super::moto::Moto;
use super::proxy::start_proxy;
use super::s3::S3Server;
use super::{place, s3_settings};
use crate::support::{Ran, World};
use crate::tools::lack;
use std::net::SocketAddr;

/// As if there were no versions: a removal is one of the only version that there is, and refused as
/// long as that is locked.
fn without_versions(mut request: Request, upstream: SocketAddr) -> Option<Answer> {
    if request.method == "DELETE" && !request.target.contains('?') {
        let mut question = request.clone();
        question.method = "HEAD".to_owned();
        let answer = forward(upstream, &question)?;
        if let Some(version) = answer.header("x-amz-version-id") {
            request.target += &format!("?versionId={version}");
        }
    }
    forward(upstream, &request)
}

/// The same, and tombstones are not locked.
fn without_locked_tombstones(request: Request, upstream: SocketAddr) -> Option<Answer> {
    match request.target.contains(".retired.json") {
        true => forward(upstream, &request),
        false => without_versions(request, upstream),
    }
}

fn without_removals(request: Request, upstream: SocketAddr) -> Option<Answer> {
    match request.method == "DELETE" {
        true => Some(Answer::error(403, "AccessDenied", &request)),
        false => forward(upstream, &request),
    }
}

fn run(world: &World, arguments: &str) -> Ran {
    world.dbbackup(&format!("--store far {arguments}")).run()
}

fn ids(world: &World) -> Vec<String> {
    let listed = run(world, "list --json").exits(0).json();
    let backups = listed["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| backup["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A world with three backups in the store at this endpoint.
fn world_with_backups(endpoint: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    let settings = s3_settings("far", endpoint, "web1");
    let text = format!(
        "[backup]\ncleanup_after = false\n{settings}[sources.app]\nkind = 'sqlite'\npath = \
         'app.db'\n"
    );
    place::configure(&world, "dbbackup.toml", &text);
    for _ in 0..3 {
        run(&world, "backup app").exits(0);
    }
    world
}

#[test]
fn what_is_locked_is_kept_and_told() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_locked_bucket("acme");
    let endpoint = start_proxy(&server.endpoint(), without_locked_tombstones);
    let world = world_with_backups(&endpoint);
    let all = ids(&world);
    run(&world, "cleanup app --keep-last 1")
        .exits(0)
        .prints("locked until ")
        .prints("removed 0 backups, 3 kept");
    assert_eq!(ids(&world), all);
    run(&world, &format!("delete {} --yes", all[2]))
        .exits(1)
        .says("can't be deleted: it is locked until ")
        .says("hint:");
    assert_eq!(ids(&world), all);
    run(&world, "verify --all --level content").exits(0);
    run(&world, "backup app").exits(0).never_says("warning");
}

#[test]
fn what_can_neither_go_nor_be_shown_again_is_told_and_no_failure() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_locked_bucket("acme");
    let world = world_with_backups(&start_proxy(&server.endpoint(), without_versions));
    let all = ids(&world);
    run(&world, "cleanup app --keep-last 1")
        .exits(0)
        .prints("locked until ")
        .prints("not listed any more")
        .prints("removed 0 backups");
    assert_eq!(ids(&world), all[..1]);
    // Its sweep finds what it may not remove yet.
    run(&world, "backup app").exits(0).never_says("warning");
    run(&world, "verify --all --level content").exits(0);
}

#[test]
fn a_machine_without_the_right_to_remove_hides_nothing() {
    let server = S3Server::start();
    let world = world_with_backups(&start_proxy(&server.endpoint(), without_removals));
    let all = ids(&world);
    run(&world, "cleanup app --keep-last 1")
        .exits(1)
        .says("s3:DeleteObject");
    assert_eq!(ids(&world), all);
    run(&world, "verify --all --level content").exits(0);
}
