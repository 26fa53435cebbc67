//! Object stores against a real server of S3 in this process, and against one that misbehaves.

mod probed;
#[path = "../../../../tests/servers/s3.rs"]
pub mod s3;
mod scripted;
mod secure;

use super::*;
use crate::store::location::{ObjectService, RemoteAddress};
use s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Mutex;

fn address(prefix: &str) -> ObjectAddress {
    ObjectAddress {
        service: ObjectService::S3,
        bucket: BUCKET.to_owned(),
        prefix: prefix.to_owned(),
    }
}

fn settings(endpoint: &str) -> ConnectionSettings {
    ConnectionSettings {
        endpoint: Some(endpoint.to_owned()),
        access_key: Some(ACCESS_KEY.to_owned()),
        secret_key: Some(SECRET_KEY.to_owned()),
        retry_for: Duration::from_secs(3),
        ..ConnectionSettings::default()
    }
}

/// The bucket of a server, below a prefix.
pub fn connected(server: &S3Server, prefix: &str) -> ObjectMedium {
    ObjectMedium::connect(&address(prefix), &settings(&server.endpoint())).unwrap()
}

/// A bucket in which everything was written long ago: a sweep takes any reservation there for that
/// of a dead run.
pub struct OldBucket(pub ObjectMedium);

impl Medium for OldBucket {
    fn list(&self, prefix: &str) -> Result<Vec<FoundObject>> {
        let mut found = self.0.list(prefix)?;
        for object in &mut found {
            object.modified = Some(chrono::DateTime::UNIX_EPOCH);
        }
        Ok(found)
    }

    fn top_directories(&self) -> Result<Vec<String>> {
        self.0.top_directories()
    }

    fn first_key(&self) -> Result<Option<String>> {
        self.0.first_key()
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.0.size(key)
    }

    fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        self.0.read(key, limit)
    }

    fn open(&self, key: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.0.open(key, range)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation> {
        self.0.create(key, bytes)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.0.replace(key, bytes)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.0.remove(key)
    }

    fn begin_upload(&self, key: &str, announce: Announcement) -> Result<Box<dyn Upload>> {
        self.0.begin_upload(key, announce)
    }

    fn discard_upload(&self, key: &str, token: &str) -> Result<()> {
        self.0.discard_upload(key, token)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.0.free_space()
    }

    fn parallelism(&self) -> usize {
        self.0.parallelism()
    }
}

/// Bytes that differ everywhere.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

type Tokens = Arc<Mutex<Vec<String>>>;

fn begin(medium: &ObjectMedium, key: &str) -> (Box<dyn Upload>, Tokens) {
    let tokens = Tokens::default();
    let announced = Arc::clone(&tokens);
    let announce = move |token: &str| {
        announced.lock().unwrap().push(token.to_owned());
        Ok(())
    };
    (
        medium.begin_upload(key, Box::new(announce)).unwrap(),
        tokens,
    )
}

fn upload(medium: &ObjectMedium, key: &str, bytes: &[u8]) -> Vec<String> {
    let (mut upload, tokens) = begin(medium, key);
    upload.write_all(bytes).unwrap();
    upload.finish().unwrap();
    tokens.lock().unwrap().clone()
}

fn read_range(medium: &ObjectMedium, key: &str, range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    medium
        .open(key, range)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn small_objects_come_back() {
    let server = S3Server::start();
    let medium = connected(&server, "web1");
    assert_eq!(medium.first_key().unwrap(), None);
    assert_eq!(
        medium.size("app/x.json").unwrap_err().kind(),
        Kind::NotFound
    );
    assert_eq!(
        medium.read("app/x.json", 9).unwrap_err().kind(),
        Kind::NotFound
    );
    assert_eq!(
        medium.open("app/x.json", 0..9).err().unwrap().kind(),
        Kind::NotFound
    );
    assert_eq!(
        medium.create("app/x.json", b"one").unwrap(),
        Creation::Created
    );
    assert_eq!(
        medium.create("app/x.json", b"two").unwrap(),
        Creation::AlreadyThere
    );
    assert_eq!(medium.read("app/x.json", 3).unwrap(), b"one");
    assert_eq!(
        medium.read("app/x.json", 2).unwrap_err().kind(),
        Kind::Failed
    );
    medium.replace("app/x.json", b"three").unwrap();
    assert_eq!(medium.size("app/x.json").unwrap(), 5);
    assert_eq!(medium.create("mark.json", b"").unwrap(), Creation::Created);
    assert_eq!(medium.read("mark.json", 0).unwrap(), b"");
    assert_eq!(read_range(&medium, "mark.json", 0..u64::MAX), b"");
    assert_eq!(medium.first_key().unwrap().as_deref(), Some("app/x.json"));
    assert_eq!(medium.top_directories().unwrap(), ["app"]);
    let found = medium.list("app/").unwrap();
    assert_eq!(
        (found.len(), found[0].key.as_str(), found[0].size),
        (1, "app/x.json", 5)
    );
    assert!(found[0].modified.is_some());
    // Another prefix sees nothing of it.
    assert_eq!(connected(&server, "web").list("").unwrap(), []);
    assert_eq!(connected(&server, "").top_directories().unwrap(), ["web1"]);
    medium.remove("app/x.json").unwrap();
    medium.remove("app/x.json").unwrap();
    assert_eq!(
        medium.size("app/x.json").unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn large_objects_come_back_whole_and_in_ranges() {
    let server = S3Server::start();
    let medium = connected(&server, "web1");
    let bytes = content(30_000_000);
    assert_eq!(upload(&medium, "app/a.dump", &bytes).len(), 1);
    assert_eq!(medium.size("app/a.dump").unwrap(), 30_000_000);
    assert!(read_range(&medium, "app/a.dump", 0..u64::MAX) == bytes);
    for range in [
        0..1,
        5..5,
        29_999_990..40_000_000,
        30_000_000..u64::MAX,
        8_388_600..8_388_620,
        12_345_678..u64::MAX,
    ] {
        let end = range.end.min(30_000_000);
        let begin = range.start.min(end);
        let expected = &bytes[begin as usize..end as usize];
        assert!(
            read_range(&medium, "app/a.dump", range.clone()) == expected,
            "{range:?}"
        );
    }
    assert_eq!(server.unfinished(), [] as [&str; 0]);
}

#[test]
fn what_fits_into_one_part_is_not_announced() {
    let server = S3Server::start();
    let medium = connected(&server, "");
    for length in [0, 1, 8 << 20] {
        let key = format!("app/{length}");
        assert_eq!(upload(&medium, &key, &content(length)), [] as [&str; 0]);
        assert!(read_range(&medium, &key, 0..u64::MAX) == content(length));
    }
    assert_eq!(
        upload(&medium, "app/more", &content((8 << 20) + 1)).len(),
        1
    );
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let server = S3Server::start();
    let medium = connected(&server, "web1");
    let (mut upload, tokens) = begin(&medium, "app/a.dump");
    upload.write_all(&content(20_000_000)).unwrap();
    assert_eq!(tokens.lock().unwrap().len(), 1);
    assert_ne!(server.unfinished(), [] as [&str; 0]);
    drop(upload);
    assert_eq!(server.unfinished(), [] as [&str; 0]);
    assert_eq!(medium.list("").unwrap(), []);
    // A killed run's is found by its token.
    let (mut upload, tokens) = begin(&medium, "app/a.dump");
    upload.write_all(&content(20_000_000)).unwrap();
    std::mem::forget(upload);
    let token = tokens.lock().unwrap()[0].clone();
    medium.discard_upload("app/a.dump", &token).unwrap();
    assert_eq!(server.unfinished(), [] as [&str; 0]);
}

#[test]
fn lists_have_all_pages() {
    let server = S3Server::start();
    let medium = connected(&server, "web1");
    let directory = server.bucket_path().join("web1/app");
    std::fs::create_dir_all(&directory).unwrap();
    for number in 0..2345 {
        std::fs::write(directory.join(format!("{number}")), b"x").unwrap();
    }
    let found = medium.list("app/").unwrap();
    let keys: HashSet<&str> = found.iter().map(|object| object.key.as_str()).collect();
    assert_eq!((found.len(), keys.len()), (2345, 2345));
}

#[test]
fn both_ways_of_verifying_pass() {
    let server = S3Server::start();
    let read_back = ConnectionSettings {
        verify_upload: UploadVerification::Read,
        ..settings(&server.endpoint())
    };
    let medium = ObjectMedium::connect(&address(""), &read_back).unwrap();
    upload(&medium, "app/a", &content(9_000_000));
    upload(&medium, "app/b", &content(1000));
}

#[test]
fn errors_name_what_is_wrong() {
    let server = S3Server::start();
    let mut wrong_bucket = address("");
    wrong_bucket.bucket = "none".to_owned();
    let medium = ObjectMedium::connect(&wrong_bucket, &settings(&server.endpoint())).unwrap();
    let error = medium.list("").unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error:?}");
    assert!(error.message().contains("NoSuchBucket"), "{error:?}");
    assert!(
        error.hint().unwrap().to_string().contains("`none`"),
        "{error:?}"
    );
    let wrong_key = ConnectionSettings {
        secret_key: Some("another".to_owned()),
        ..settings(&server.endpoint())
    };
    let medium = ObjectMedium::connect(&address(""), &wrong_key).unwrap();
    let error = medium.read("app/x", 9).unwrap_err();
    assert!(
        error.message().contains("SignatureDoesNotMatch"),
        "{error:?}"
    );
    assert!(
        error.hint().unwrap().to_string().contains("secret_key"),
        "{error:?}"
    );
    let closed = settings("http://127.0.0.1:1");
    let medium = ObjectMedium::connect(&address(""), &closed).unwrap();
    let began = Instant::now();
    let error = medium.read("app/x", 9).unwrap_err();
    assert!(error.message().contains("onnection refused"), "{error:?}");
    assert!(error.message().contains("tries"), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn limits_hold() {
    let server = S3Server::start();
    let limited = ConnectionSettings {
        upload_limit: Some(crate::store::Rate(4 << 20)),
        download_limit: Some(crate::store::Rate(4 << 20)),
        ..settings(&server.endpoint())
    };
    let medium = ObjectMedium::connect(&address(""), &limited).unwrap();
    let bytes = content(6 << 20);
    let began = Instant::now();
    upload(&medium, "app/a", &bytes);
    assert!(
        began.elapsed() > Duration::from_millis(1200),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    assert!(read_range(&medium, "app/a", 0..u64::MAX) == bytes);
    assert!(
        began.elapsed() > Duration::from_millis(1200),
        "{:?}",
        began.elapsed()
    );
}

/// The same against servers that somebody else has started: `$DBBACKUP_TEST_OBJECTS` names an
/// address, an endpoint, the name of a key, and the key, with a blank between them.
#[test]
fn other_servers_do_the_same() {
    let Ok(text) = std::env::var("DBBACKUP_TEST_OBJECTS") else {
        return;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let [whole, endpoint, name, key] = words[..] else {
        panic!("four words are needed");
    };
    let settings = ConnectionSettings {
        access_key: Some(name.to_owned()),
        secret_key: Some(key.to_owned()),
        ..settings(endpoint)
    };
    let prefix = uuid::Uuid::new_v4().simple().to_string();
    let whole = format!("{whole}/{prefix}");
    let Ok(Some(RemoteAddress::Objects(address))) = RemoteAddress::parse(&whole) else {
        panic!("no address of an object store");
    };
    let medium = ObjectMedium::connect(&address, &settings).unwrap();
    assert_eq!(medium.size("app/x").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(medium.read("app/x", 9).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(medium.first_key().unwrap(), None);
    assert_eq!(medium.create("app/x", b"one").unwrap(), Creation::Created);
    assert_eq!(
        medium.create("app/x", b"two").unwrap(),
        Creation::AlreadyThere
    );
    assert_eq!(medium.read("app/x", 9).unwrap(), b"one");
    medium.replace("app/x", b"three").unwrap();
    let bytes = content(30_000_000);
    let began = Instant::now();
    upload(&medium, "app/a", &bytes);
    let took = began.elapsed();
    upload(&medium, "app/b", &bytes[..1000]);
    upload(&medium, "app/c", b"");
    assert!(read_range(&medium, "app/a", 0..u64::MAX) == bytes);
    assert!(read_range(&medium, "app/a", 100..20_000_000) == bytes[100..20_000_000]);
    assert_eq!(read_range(&medium, "app/a", 30_000_000..u64::MAX), b"");
    assert_eq!(read_range(&medium, "app/c", 0..10), b"");
    let sizes: Vec<(String, u64)> = (medium.list("app/").unwrap().into_iter())
        .map(|object| (object.key, object.size))
        .collect();
    let expected = [
        ("app/a", 30_000_000),
        ("app/b", 1000),
        ("app/c", 0),
        ("app/x", 5),
    ];
    assert_eq!(sizes, expected.map(|(key, size)| (key.to_owned(), size)));
    assert_eq!(medium.top_directories().unwrap(), ["app"]);
    let (mut given_up, tokens) = begin(&medium, "app/d");
    given_up.write_all(&bytes).unwrap();
    drop(given_up);
    let token = tokens.lock().unwrap()[0].clone();
    medium.discard_upload("app/d", &token).unwrap();
    assert_eq!(medium.size("app/d").unwrap_err().kind(), Kind::NotFound);
    for key in ["app/a", "app/b", "app/c", "app/x", "app/x"] {
        medium.remove(key).unwrap();
    }
    assert_eq!(medium.first_key().unwrap(), None);
    eprintln!("30 MB sent and proven in {took:?}");
}

#[test]
fn only_dumps_have_the_storage_class() {
    let settings = ConnectionSettings {
        storage_class: Some("GLACIER".to_owned()),
        ..settings("http://127.0.0.1:9")
    };
    let medium = ObjectMedium::connect(&address("web1"), &settings).unwrap();
    let has_class = |name: &str| !medium.bucket.attributes(&format!("app/{name}")).is_empty();
    let id = "app_daily_20261120T020000Z";
    for dump in ["sqlite3.zst", "dump", "tar.zst.age", "sqlite3.vcdiff.zst"] {
        assert!(has_class(&format!("{id}.{dump}")), "{dump}");
    }
    for beside in [
        "contents.json.zst",
        "contents.json.zst.age",
        "meta.json.age",
        "json.minisig",
        "20261120T020000.000Z-00000001.event.json",
        "20261120T020000.000Z-00000001.event.json.minisig",
    ] {
        assert!(!has_class(&format!("{id}.{beside}")), "{beside}");
    }
}
