//! Trials of buckets: a sound one, some that refuse one kind of call, and what their rules mean. A
//! gate before the server answers some requests itself.

use super::*;
use crate::store::remote::RemoteStore;
use crate::store::remote::probe::{ProbeDepth, StoreProbe, probe};
use crate::store::{Access, Location, StoreSettings};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// What the gate answers itself, by method and target.
type Refusals = fn(&str, &str) -> Option<(u16, &'static str)>;

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/// Starts a gate before a server; gives its URL.
fn gate(server: &S3Server, refusals: Refusals) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behind = server.endpoint().replace("http://", "");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let behind = behind.clone();
            std::thread::spawn(move || pass(stream.unwrap(), &behind, refusals));
        }
    });
    url
}

/// Serves one request.
fn pass(mut stream: TcpStream, behind: &str, refusals: Refusals) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if let Some((status, text)) = refusals(method, target) {
        let length = text.len();
        let text = if method == "HEAD" { "" } else { text };
        return write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
        )
        .ok();
    }
    let mut server = TcpStream::connect(behind).ok()?;
    let head = head.trim_end();
    write!(server, "{head}\r\nconnection: close\r\n\r\n").ok()?;
    server.write_all(&body).ok()?;
    std::io::copy(&mut server, &mut stream).ok()?;
    Some(())
}

fn store_settings(endpoint: &str, delete: DeletePermission) -> StoreSettings {
    let location = Location::parse(&format!("s3://{BUCKET}/web1"), Path::new("/")).unwrap();
    StoreSettings {
        connection: ConnectionSettings {
            delete,
            ..settings(endpoint)
        },
        ..StoreSettings::from(location)
    }
}

fn tried(endpoint: &str, delete: DeletePermission) -> StoreProbe {
    probe(&store_settings(endpoint, delete), ProbeDepth::Thorough)
}

fn left(server: &S3Server) -> Vec<String> {
    let found = connected(server, "web1").list("").unwrap().into_iter();
    found.map(|object| object.key).collect()
}

#[test]
fn a_sound_bucket_passes_and_nothing_is_left() {
    let server = S3Server::start();
    let probe = tried(&server.endpoint(), DeletePermission::Allowed);
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    for name in [
        "name",
        "connection",
        "clock",
        "bucket",
        "place",
        "put",
        "head",
        "ranged get",
        "only-if-absent",
        "list",
        "delete",
        "multipart",
        "object lock",
        "versioning",
        "lifecycle",
    ] {
        assert!(probe.find(name).is_some(), "{name}: {probe:?}");
    }
    assert!(!probe.lacks_rights);
    assert!(probe.policy.unwrap().contains("arn:aws:s3:::acme/web1/*"));
    assert_eq!(left(&server), [] as [&str; 0]);
    assert_eq!(server.unfinished(), [] as [&str; 0]);
}

#[test]
fn the_call_and_the_right_that_is_missing_are_named() {
    let server = S3Server::start();
    let cases: [(&str, &str, &str, Refusals); 7] = [
        ("put", "PutObject", "`s3:PutObject`", |method, target| {
            (method == "PUT" && !target.contains('?')).then_some((403, DENIED))
        }),
        ("head", "HeadObject", "`s3:GetObject`", |method, target| {
            (method == "HEAD" && target.ends_with("/trial")).then_some((403, DENIED))
        }),
        ("place", "GetObject", "`s3:GetObject`", |method, target| {
            (method == "GET" && !target.contains('?')).then_some((403, DENIED))
        }),
        (
            "list",
            "ListObjectsV2",
            "`s3:ListBucket`",
            |method, target| {
                (method == "GET" && target.contains("list-type")).then_some((403, DENIED))
            },
        ),
        (
            "delete",
            "DeleteObject",
            "`s3:DeleteObject`",
            |method, target| (method == "DELETE" && !target.contains('?')).then_some((403, DENIED)),
        ),
        (
            "multipart",
            "UploadPart",
            "`s3:PutObject`",
            |method, target| {
                (method == "PUT" && target.contains("partNumber")).then_some((403, DENIED))
            },
        ),
        (
            "abort",
            "AbortMultipartUpload",
            "`s3:AbortMultipartUpload`",
            |method, target| (method == "DELETE" && target.contains('?')).then_some((403, DENIED)),
        ),
    ];
    for (step, call, right, refusals) in cases {
        let endpoint = gate(&server, refusals);
        let probe = tried(&endpoint, DeletePermission::Allowed);
        let (outcome, text) = probe.find(step).unwrap();
        assert_ne!(outcome, "ok", "{step}: {probe:?}");
        assert!(text.contains(&format!("({call}")), "{step}: {text}");
        assert!(text.contains(right), "{step}: {text}");
        assert!(probe.lacks_rights, "{step}");
    }
}

#[test]
fn a_key_that_only_writes_leaves_one_object_and_says_so() {
    let server = S3Server::start();
    let endpoint = gate(&server, |method, target| {
        (method == "DELETE" && !target.contains('?')).then_some((403, DENIED))
    });
    let probe = tried(&endpoint, DeletePermission::Never);
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    let left = left(&server);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(probe.find("delete").unwrap().1.contains(&left[0]));
    assert!(!probe.policy.unwrap().contains("DeleteObject"));
    assert_eq!(server.unfinished(), [] as [&str; 0]);
    // It keeps nobody from making a store there.
    let settings = store_settings(&endpoint, DeletePermission::Never);
    RemoteStore::open(&settings, Access::Write).unwrap();
    // Who may remove all the same is told.
    let probe = tried(&server.endpoint(), DeletePermission::Never);
    assert!(probe.troubles().contains(&"delete"), "{probe:?}");
}

#[test]
fn the_rules_of_a_bucket_are_told() {
    let server = S3Server::start();
    let endpoint = gate(&server, |method, target| match target {
        _ if method != "GET" => None,
        "/acme/?versioning" => Some((200, "<VersioningConfiguration/>")),
        "/acme/?object-lock" => Some((
            200,
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
             <DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>\
             </ObjectLockConfiguration>",
        )),
        "/acme/?lifecycle" => Some((
            200,
            "<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status><Filter/>\
             <Expiration><Days>90</Days></Expiration></Rule></LifecycleConfiguration>",
        )),
        _ => None,
    });
    let probe = tried(&endpoint, DeletePermission::Never);
    let versioning = probe.find("versioning").unwrap();
    assert_eq!(versioning.0, "doubt", "{versioning:?}");
    let lock = probe.find("object lock").unwrap();
    assert!(lock.1.contains("COMPLIANCE, 30 days"), "{lock:?}");
    let lifecycle = probe.find("lifecycle").unwrap();
    assert_eq!(lifecycle.0, "failed");
    assert!(lifecycle.1.contains("`tidy`"), "{lifecycle:?}");
    assert!(lifecycle.1.contains("after 90 days"), "{lifecycle:?}");
    // What may not be asked is not known, and no fault.
    let endpoint = gate(&server, |_, target| {
        let is_setting = target.starts_with("/acme/?") && !target.contains("list-type");
        is_setting.then_some((403, DENIED))
    });
    let probe = tried(&endpoint, DeletePermission::Allowed);
    assert_eq!(probe.troubles(), [] as [&str; 0], "{probe:?}");
    assert!(!probe.lacks_rights);
    let (_, text) = probe.find("lifecycle").unwrap();
    assert!(text.contains("s3:GetLifecycleConfiguration"), "{text}");
    let endpoint = gate(&server, |_, target| {
        target.ends_with("?lifecycle").then_some((
            404,
            "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>",
        ))
    });
    let probe = tried(&endpoint, DeletePermission::Allowed);
    assert_eq!(probe.troubles(), ["lifecycle"], "{probe:?}");
}

#[test]
fn what_is_in_the_way_is_told() {
    let server = S3Server::start();
    let only = |endpoint: &str, change: fn(&mut StoreSettings)| {
        let mut settings = store_settings(endpoint, DeletePermission::Allowed);
        change(&mut settings);
        let probe = probe(&settings, ProbeDepth::Thorough);
        let [trouble] = probe.troubles()[..] else {
            panic!("{probe:?}")
        };
        assert!(!probe.lacks_rights, "{probe:?}");
        (trouble, probe.find(trouble).unwrap().1)
    };
    let keep = |_: &mut StoreSettings| {};
    assert_eq!(only("https://no-such-host.invalid", keep).0, "name");
    assert_eq!(only("http://127.0.0.1:1", keep).0, "connection");
    // This is no server of TLS.
    let plain = server.endpoint().replace("http://", "https://");
    assert_eq!(only(&plain, keep).0, "connection");
    let (trouble, text) = only(&server.endpoint(), |settings| {
        settings.connection.secret_key = Some("another".to_owned());
    });
    assert_eq!(trouble, "bucket");
    assert!(text.contains("SignatureDoesNotMatch"), "{text}");
}

/// The same against a server that somebody else has started; see `other_servers_do_the_same`.
#[test]
fn other_servers_are_tried() {
    let Ok(text) = std::env::var("DBBACKUP_TEST_OBJECTS") else {
        return;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let [whole, endpoint, name, key] = words[..] else {
        panic!("four words are needed");
    };
    let whole = format!("{whole}/{}", uuid::Uuid::new_v4().simple());
    let settings = StoreSettings {
        connection: ConnectionSettings {
            access_key: Some(name.to_owned()),
            secret_key: Some(key.to_owned()),
            ..settings(endpoint)
        },
        ..StoreSettings::from(Location::parse(&whole, Path::new("/")).unwrap())
    };
    let probe = probe(&settings, ProbeDepth::Thorough);
    for step in &probe.steps {
        eprintln!("{step:?}");
    }
    let known = ["versioning", "lifecycle", "only-if-absent"];
    let troubles = probe.troubles();
    assert!(troubles.iter().all(|name| known.contains(name)));
}
