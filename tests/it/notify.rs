//! People are told: through real servers, whose every byte is looked at, and through those that
//! refuse, hang, send elsewhere or fail.

#[path = "../servers/listener.rs"]
mod listener;
mod mail;
mod presets;
#[path = "../servers/smtp.rs"]
mod smtp;

use self::listener::{Answer, Listener};
use crate::support::{Ran, World};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::time::{Duration, Instant};

/// A source that fails, a spool, and these notifiers.
fn world(tables: &str) -> World {
    let world = World::new();
    let text = format!(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n[sources.shop]\n\
         kind = 'sqlite'\npath = 'shop.db'\n[log]\nfile = 'log'\n[notify]\nspool = 'spool'\n\
         {tables}"
    );
    world.config(&text);
    world.shop("app.db");
    world
}

fn back_up(world: &World) -> Ran {
    world.dbbackup("backup").run()
}

/// How many messages wait.
fn waiting(world: &World) -> u64 {
    let status = world.dbbackup("status --json").run().json();
    status["notifications_waiting"].as_u64().unwrap()
}

fn body(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let mut lines = request.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name}: {request}"))
}

#[test]
fn a_webhook_gets_the_document_and_its_signature() {
    let server = Listener::start(Answer::Status(200, "thanks"));
    let world = world(&format!(
        "[notify.hook]\ntype = 'webhook'\nurl = '{}'\nsecret = 'both-know-it'\ntoken = \
         'token-of-ours'\n",
        server.url("/hook?x=1")
    ));
    back_up(&world).exits(3).never_says("nobody was told");
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let request = &requests[0];
    assert!(
        request.starts_with("POST /hook?x=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(header(request, "authorization"), "Bearer token-of-ours");
    assert_eq!(
        header(request, "content-type"),
        "application/json; charset=utf-8"
    );
    let (_, text) = request.split_once("\r\n\r\n").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"both-know-it").unwrap();
    mac.update(text.as_bytes());
    let digits = mac.finalize().into_bytes();
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        header(request, "x-dbbackup-signature"),
        format!("sha256={digits}")
    );
    let document = body(request);
    crate::schema::of_type("Notification")
        .validate(&document)
        .unwrap();
    let subject = document["subject"].as_str().unwrap();
    assert!(
        subject.contains("backup FAILED: shop (1 of 2), no good backup"),
        "{subject}"
    );
    assert_eq!(document["sources"][0]["source"], "shop");
    let text = document["text"].as_str().unwrap();
    let log = world.path("log").display().to_string();
    assert!(text.contains("shop.db") && text.contains(&log), "{text}");
    // It fails as before: that was told.
    back_up(&world).exits(3);
    assert_eq!(server.requests().len(), 1);
    world.shop("shop.db");
    back_up(&world).exits(0);
    let last = body(&server.requests()[1]);
    assert_eq!(last["topics"][0], "recovery");
    assert_eq!(last["severity"], "info");
}

#[test]
fn whoever_refuses_gets_it_with_the_next_run() {
    let server = Listener::start(Answer::Status(500, "I am\nbroken"));
    let world = world(&format!(
        "[notify.hook]\ntype = 'webhook'\nurl = '{}'\n",
        server.url("/SECRET-PATH-OF-OURS")
    ));
    back_up(&world)
        .exits(3)
        .says("nobody was told by `hook`: `127.0.0.1` answered 500 I am broken; the message waits")
        .never_says("SECRET-PATH");
    assert_eq!(waiting(&world), 1);
    let spool = std::fs::read_dir(world.path("spool")).unwrap().flatten();
    for entry in spool {
        let mode = entry.metadata().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o077;
        assert_eq!(mode, 0, "{:?}", entry.path());
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains("SECRET-PATH"), "{text}");
    }
    world
        .dbbackup("status")
        .run()
        .says("1 message could not be delivered yet");
    world
        .dbbackup("doctor")
        .run()
        .prints("1 message could not be delivered");
    world
        .dbbackup("notify")
        .run()
        .exits(1)
        .says("still waiting: 1");
    server.answers(Answer::Status(204, ""));
    // Nothing is new, and the old message goes.
    back_up(&world).exits(3).never_says("nobody was told");
    assert_eq!(waiting(&world), 0);
    let requests = server.requests();
    let last = body(requests.last().unwrap());
    let text = last["text"].as_str().unwrap();
    assert!(
        text.starts_with("(written at ") && text.contains("not delivered then"),
        "{text}"
    );
    world
        .dbbackup("notify")
        .run()
        .exits(0)
        .prints("nothing waits");
}

#[test]
fn whoever_hangs_costs_ten_seconds_and_no_more() {
    let server = Listener::start(Answer::Hang);
    let world = world(&format!(
        "[notify.a]\ntype = 'webhook'\nurl = '{0}'\n[notify.b]\ntype = 'command'\ncommand = 'cat > \
         told'\n",
        server.url("/")
    ));
    let started = Instant::now();
    back_up(&world).exits(3).says("no answer within 10 s");
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(9) && took < Duration::from_secs(25),
        "{took:?}"
    );
    // The next one was told all the same.
    assert!(world.path("told").exists());
}

#[test]
fn nothing_goes_to_another_host() {
    let other = Listener::start(Answer::Status(200, ""));
    let server = Listener::start(Answer::Redirect(307, other.url("/elsewhere")));
    let world = world(&format!(
        "[notify.hook]\ntype = 'webhook'\nurl = '{}'\ntoken = 'token-of-ours'\n",
        server.url("/")
    ));
    back_up(&world)
        .exits(3)
        .says("nothing is sent to another host than the one that was named");
    assert!(other.requests().is_empty());
    // On the same host it is followed, body and all.
    server.answers(Answer::Redirect(307, "/hook".to_owned()));
    back_up(&world).exits(3).says("sends round in circles");
    // What would turn a message into a question is not.
    server.answers(Answer::Redirect(302, "/hook".to_owned()));
    back_up(&world)
        .exits(3)
        .says("which a message does not follow");
}

#[test]
fn plain_http_is_for_this_machine() {
    let world = world("[notify.hook]\ntype = 'webhook'\nurl = 'http://hook.example.org/x'\n");
    back_up(&world).exits(3).says("is plain HTTP");
    world.dbbackup("doctor").run().prints("is plain HTTP");
}

#[test]
fn a_broken_answer_is_a_warning() {
    let server = Listener::start(Answer::Close);
    let world = world(&format!(
        "[notify.hook]\ntype = 'webhook'\nurl = '{}'\n",
        server.url("/")
    ));
    world.shop("shop.db");
    // Nothing to tell: nobody is asked.
    back_up(&world).exits(0);
    assert!(server.requests().is_empty());
    std::fs::remove_file(world.path("shop.db")).unwrap();
    back_up(&world).exits(3).says("nobody was told by `hook`");
}

#[test]
fn who_waits_hears_of_start_and_end() {
    let server = Listener::start(Answer::Status(200, "OK"));
    let world = world(&format!(
        "[notify.run]\ntype = 'ping'\nurl = '{}'\n[notify.each]\ntype = 'ping'\nurl = '{}'\n",
        server.url("/ping/abc"),
        server.url("/key/{source}")
    ));
    back_up(&world).exits(3);
    let lines: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect();
    let path = |line: &String| line.split(['?', ' ']).nth(1).unwrap().to_owned();
    let paths: Vec<String> = lines.iter().map(path).collect();
    assert_eq!(
        paths,
        [
            "/ping/abc/start",
            "/key/app/start",
            "/key/shop/start",
            "/ping/abc/3",
            "/key/app",
            "/key/shop/1",
        ]
    );
    let id = |line: &String| line.split_once("rid=").unwrap().1.to_owned();
    assert!(
        lines.iter().all(|line| id(line) == id(&lines[0])),
        "{lines:?}"
    );
    assert!(server.requests()[5].contains("shop.db"));
}

#[test]
fn a_test_message_shows_what_the_other_side_says() {
    let server = Listener::start(Answer::Status(200, "{\"id\": 7}"));
    let world = world(&format!(
        "[notify.good]\ntype = 'webhook'\nurl = '{}'\n[notify.bad]\ntype = 'webhook'\nurl = \
         'http://127.0.0.1:1/'\n[notify.pager]\ntype = 'command'\ncommand = 'cat > told; echo \
         paged'\n",
        server.url("/")
    ));
    let shown = world.dbbackup("notify --test").run().exits(3);
    shown
        .prints("ok good (webhook): 200 {\"id\": 7}")
        .prints("failed bad (webhook): ")
        .prints("ok pager (command): exit status 0: paged");
    world.dbbackup("notify --test good").run().exits(0);
    world
        .dbbackup("notify --test godo")
        .run()
        .exits(10)
        .says("did you mean `good`?");
    let document = world
        .dbbackup("notify --test bad --json")
        .run()
        .exits(1)
        .json();
    assert_eq!(document["notifiers"][0]["ok"], false);
    let told: Value = serde_json::from_slice(&std::fs::read(world.path("told")).unwrap()).unwrap();
    assert_eq!(told["topics"][0], "test");
    assert!(!world.path("spool").exists());
}

#[test]
fn a_program_gets_the_document_and_the_subject() {
    let world = world(
        "[notify.pager]\ntype = 'command'\ncommand = 'cat > told; echo \"$DBBACKUP_SEVERITY \
         $DBBACKUP_TOPICS $DBBACKUP_SUBJECT\" > said'\n",
    );
    back_up(&world).exits(3);
    let said = std::fs::read_to_string(world.path("said")).unwrap();
    assert!(said.starts_with("critical failure ["), "{said}");
    let told: Value = serde_json::from_slice(&std::fs::read(world.path("told")).unwrap()).unwrap();
    assert_eq!(told["command"], "backup");
}

#[test]
fn what_the_environment_lacks_costs_one_notifier() {
    let world = world(
        "[notify.a]\ntype = 'webhook'\nurl = 'https://x.example.org/${NOT_SET_AT_ALL}'\n\
         [notify.b]\ntype = 'command'\ncommand = 'cat > told'\n",
    );
    back_up(&world)
        .exits(3)
        .says("needs ${NOT_SET_AT_ALL}, which is not set; nobody is told there");
    assert!(world.path("told").exists());
}

#[test]
fn a_verification_that_finds_damage_is_told() {
    let world = world("[notify.b]\ntype = 'command'\ncommand = 'cat > told'\n");
    world.shop("shop.db");
    back_up(&world).exits(0);
    assert!(!world.path("told").exists());
    let dump = world.dump("shop");
    std::fs::write(&dump, "not what it was").unwrap();
    world.dbbackup("verify shop").run().exits(4);
    let told: Value = serde_json::from_slice(&std::fs::read(world.path("told")).unwrap()).unwrap();
    assert_eq!(told["command"], "verify");
    let subject = told["subject"].as_str().unwrap();
    assert!(subject.ends_with("verify FAILED: shop"), "{subject}");
}
