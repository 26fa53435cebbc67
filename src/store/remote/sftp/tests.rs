//! The medium against real servers: OpenSSH's, and rclone's before a local directory and an alias.

mod probed;
#[path = "../../../../tests/servers/sftp.rs"]
mod servers;

use super::*;
use crate::store::{Access, Store, names};
use rustix::process::Signal;
use servers::SshServer;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bounds that a test can wait for.
const QUICK: Bounds = Bounds {
    connect: Duration::from_secs(20),
    silence: Duration::from_millis(1500),
    farewell: Duration::from_secs(1),
};

const OBJECT: &str = "app/app_daily_20261120T020000Z.sqlite3.gz";

fn settings(retry_for: Duration) -> ConnectionSettings {
    ConnectionSettings {
        retry_for,
        ..ConnectionSettings::default()
    }
}

fn medium(address: &str, ssh_command: Option<&str>, rclone: Option<&Path>) -> SftpMedium {
    medium_with(
        address,
        ssh_command,
        rclone,
        &settings(Duration::from_secs(20)),
        Bounds::default(),
    )
}

fn medium_with(
    address: &str,
    ssh_command: Option<&str>,
    rclone: Option<&Path>,
    settings: &ConnectionSettings,
    bounds: Bounds,
) -> SftpMedium {
    let parsed = RemoteAddress::parse(address).unwrap().unwrap();
    let (mut command, directory) = CarrierCommand::for_address(&parsed, ssh_command)
        .unwrap()
        .unwrap();
    if let Some(config) = rclone {
        command
            .words
            .insert(1, format!("--config={}", config.display()));
    }
    SftpMedium::by_command(address, command, &directory, settings, bounds)
}

fn over_ssh(server: &SshServer, root: &Path, retry_for: u64) -> SftpMedium {
    medium_with(
        &server.address(root),
        Some(&server.ssh_command()),
        None,
        &settings(Duration::from_secs(retry_for)),
        QUICK,
    )
}

/// A store's directory, which is not there yet, by every way; with its path on this machine.
fn for_every_medium(test: impl Fn(&SftpMedium, &Path)) {
    let server = SshServer::start();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("ssh");
    test(
        &medium(&server.address(&root), Some(&server.ssh_command()), None),
        &root,
    );
    let behind = dir.path().join("behind");
    std::fs::create_dir(&behind).unwrap();
    let config = servers::rclone_config(dir.path(), &behind);
    let root = dir.path().join("rclone");
    test(
        &medium(
            &format!("rclone:disk:{}", root.display()),
            None,
            Some(&config),
        ),
        &root,
    );
    test(
        &medium("rclone:behind:deep", None, Some(&config)),
        &behind.join("deep"),
    );
}

fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Bytes that nothing compresses, and no two blocks of which are the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
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

fn upload(medium: &SftpMedium, key: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = medium.begin_upload(key, Box::new(|_| Ok(())))?;
    for block in bytes.chunks(100_000) {
        upload.write_all(block)?;
    }
    upload.finish()
}

fn read_range(medium: &SftpMedium, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    medium.open(key, range)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn small_objects_come_and_go() {
    for_every_medium(|medium, root| {
        assert_eq!(medium.first_key().unwrap(), None);
        assert_eq!(
            medium.read("mark.json", 10).unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            medium.create("mark.json", b"{}").unwrap(),
            Creation::Created
        );
        assert_eq!(
            medium.create("app/a.json", b"one").unwrap(),
            Creation::Created
        );
        assert_eq!(
            medium.create("app/a.json", b"two").unwrap(),
            Creation::AlreadyThere
        );
        assert_eq!(std::fs::read(root.join("app/a.json")).unwrap(), b"one");
        assert_eq!(medium.read("app/a.json", 3).unwrap(), b"one");
        assert!(medium.read("app/a.json", 2).is_err());
        assert_eq!(medium.size("app/a.json").unwrap(), 3);
        assert!(medium.size("app").is_err());
        medium.replace("app/a.json", b"three").unwrap();
        medium.replace("app/b.json", b"").unwrap();
        assert_eq!(medium.read("app/a.json", 9).unwrap(), b"three");
        assert_eq!(medium.read("app/b.json", 9).unwrap(), b"");
        let mut listed = medium.list("app/").unwrap();
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        let sizes: Vec<_> = listed
            .iter()
            .map(|found| (found.key.as_str(), found.size))
            .collect();
        assert_eq!(sizes, [("app/a.json", 5), ("app/b.json", 0)]);
        let age = Utc::now() - listed[0].modified.unwrap();
        assert!(age.num_seconds().abs() < 60, "{age}");
        assert_eq!(medium.list("").unwrap().len(), 3);
        assert_eq!(medium.list("other/").unwrap(), []);
        assert_eq!(medium.top_directories().unwrap(), ["app"]);
        assert!(medium.first_key().unwrap().is_some());
        medium.remove("app/b.json").unwrap();
        for error in [
            medium.remove("app/b.json").unwrap_err(),
            medium.size("app/b.json").unwrap_err(),
            medium.read("none/b.json", 9).unwrap_err(),
            medium.open("app/b.json", 0..1).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
        }
        assert_eq!(names_in(&root.join("app")), ["a.json"]);
    });
}

#[test]
fn large_objects_come_back_whole_and_in_parts() {
    let bytes = noise(50_000_003);
    for_every_medium(|medium, root| {
        let began = Instant::now();
        upload(medium, OBJECT, &bytes).unwrap();
        let sent = began.elapsed();
        assert!(std::fs::read(root.join(OBJECT)).unwrap() == bytes);
        let began = Instant::now();
        assert!(read_range(medium, OBJECT, 0..u64::MAX).unwrap() == bytes);
        eprintln!(
            "50 MB: sent and read back in {sent:?}, read in {:?}",
            began.elapsed()
        );
        for range in [
            0..1,
            7..100_000,
            49_999_000..60_000_000,
            5..5,
            70_000_000..80_000_000,
        ] {
            let end = (range.end as usize).min(bytes.len());
            let expected = bytes.get(range.start as usize..end).unwrap_or_default();
            assert!(
                read_range(medium, OBJECT, range.clone()).unwrap() == expected,
                "{range:?}"
            );
        }
        assert_eq!(medium.size(OBJECT).unwrap(), bytes.len() as u64);
        let error = upload(medium, OBJECT, b"another").unwrap_err();
        assert!(error.message().contains("another object"), "{error}");
        upload(medium, "app/empty", b"").unwrap();
        assert_eq!(names_in(&root.join("app")).len(), 2);
    });
}

#[test]
fn uploads_that_are_given_up_leave_nothing() {
    for_every_medium(|medium, root| {
        let token = Arc::new(Mutex::new(String::new()));
        let (into, dir) = (Arc::clone(&token), root.join("app"));
        let announce = move |text: &str| {
            assert_eq!(names_in(&dir), [""; 0], "announced before it is made");
            *into.lock().unwrap() = text.to_owned();
            Ok(())
        };
        let mut given_up = medium.begin_upload(OBJECT, Box::new(announce)).unwrap();
        given_up.write_all(&noise(500_000)).unwrap();
        let token = token.lock().unwrap().clone();
        assert!(part::is_part(&token), "{token}");
        assert_eq!(medium.list("app/").unwrap(), []);
        drop(given_up);
        assert_eq!(names_in(&root.join("app")), [""; 0]);
        // What a killed run leaves.
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::write(root.join("app").join(&token), "half").unwrap();
        std::fs::write(root.join("app/precious"), "x").unwrap();
        medium.discard_upload(OBJECT, "precious").unwrap();
        medium.discard_upload(OBJECT, "../app/precious").unwrap();
        assert_eq!(names_in(&root.join("app")).len(), 2);
        medium.discard_upload(OBJECT, &token).unwrap();
        medium.discard_upload(OBJECT, &token).unwrap();
        assert_eq!(names_in(&root.join("app")), ["precious"]);
        let refused = medium.begin_upload(OBJECT, Box::new(|_| Err(Error::failed("no"))));
        assert!(refused.is_err());
        assert_eq!(names_in(&root.join("app")), ["precious"]);
    });
}

#[test]
fn old_unfinished_files_go() {
    for_every_medium(|medium, root| {
        let app = root.join("app");
        std::fs::create_dir_all(&app).unwrap();
        for (name, age) in [
            (".x.json.0123456789abcdef.part", 30 * 3600),
            (".y.json.0123456789abcdef.part", 20 * 3600),
            ("old.part", 90 * 3600),
            ("new", 0),
        ] {
            let file = std::fs::File::create(app.join(name)).unwrap();
            let then = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(then).unwrap();
        }
        medium.discard_upload(OBJECT, "").unwrap();
        assert_eq!(
            names_in(&app),
            [".y.json.0123456789abcdef.part", "new", "old.part"]
        );
        assert_eq!(medium.list("app/").unwrap().len(), 2);
    });
}

#[test]
fn modes_are_the_owners_alone() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let root = dir.path().join("store");
    let medium = over_ssh(&server, &root, 5);
    upload(&medium, OBJECT, b"x").unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(root.clone()), 0o700);
    assert_eq!(mode(root.join("app")), 0o700);
    assert_eq!(mode(root.join(OBJECT)), 0o600);
    assert!(medium.free_space().unwrap().unwrap() > 0);
}

#[test]
fn an_error_is_no_absence() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let deep = over_ssh(&server, &dir.path().join("no/store"), 5);
    let error = deep.read("mark.json", 10).unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error}");
    assert!(error.message().contains("no directory"), "{error}");
    assert_eq!(
        deep.create("mark.json", b"").unwrap_err().kind(),
        Kind::Failed
    );
    let root = dir.path().join("store");
    let medium = over_ssh(&server, &root, 5);
    medium.create("app/a", b"").unwrap();
    assert_eq!(medium.size("app/b").unwrap_err().kind(), Kind::NotFound);
    std::fs::remove_dir_all(&root).unwrap();
    for error in [
        medium.size("app/b").unwrap_err(),
        medium.list("app/").unwrap_err(),
        medium.top_directories().unwrap_err(),
        medium.remove("app/b").unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Failed, "{error}");
    }
}

#[test]
fn rclone_takes_no_emptied_store_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = servers::rclone_config(dir.path(), dir.path());
    let root = dir.path().join("store");
    let medium = medium("rclone:behind:store", None, Some(&config));
    medium.create(crate::store::MARK, b"{}").unwrap();
    assert_eq!(medium.size("app/b").unwrap_err().kind(), Kind::NotFound);
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(medium.size("app/b").unwrap_err().kind(), Kind::Failed);
    assert_eq!(
        medium.list("app/").map(drop).unwrap_err().kind(),
        Kind::Failed
    );
}

#[test]
fn foreign_names_are_not_listed() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let medium = over_ssh(&server, dir.path(), 5);
    let app = dir.path().join("app");
    std::fs::create_dir(&app).unwrap();
    for name in [
        &b"good"[..],
        b"b\xff\xfed",
        b"line\nbreak",
        b"esc\x1b[2J",
        "ünï".as_bytes(),
    ] {
        std::fs::write(app.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    std::os::unix::fs::symlink("good", app.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", app.join("loose")).unwrap();
    let mut keys: Vec<_> = medium.list("app/").unwrap();
    keys.sort_by(|one, other| one.key.cmp(&other.key));
    let keys: Vec<_> = keys
        .iter()
        .map(|found| (found.key.as_str(), found.size))
        .collect();
    assert_eq!(
        keys,
        [
            ("app/good", 1),
            ("app/link", 1),
            ("app/loose", 7),
            ("app/ünï", 1)
        ]
    );
}

#[test]
fn a_server_that_dies_is_an_error() {
    let (mut server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let medium = over_ssh(&server, dir.path(), 0);
    let bytes = noise(30_000_000);
    upload(&medium, OBJECT, &bytes).unwrap();
    let mut reader = medium.open(OBJECT, 0..u64::MAX).unwrap();
    reader.read_exact(&mut vec![0; 100_000]).unwrap();
    let mut sent = medium
        .begin_upload("app/second", Box::new(|_| Ok(())))
        .unwrap();
    sent.write_all(&bytes[..1_000_000]).unwrap();
    server.kill();
    let began = Instant::now();
    let error = Error::from(sent.write_all(&bytes).unwrap_err());
    assert!(error.message().contains("`ssh`"), "{error}");
    let error = Error::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(error.message().contains("efused"), "{error}");
    drop(sent);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(medium.size(OBJECT).unwrap_err().kind(), Kind::Failed);
}

#[test]
fn a_server_that_falls_silent_is_an_error() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let medium = over_ssh(&server, dir.path(), 0);
    upload(&medium, OBJECT, &noise(30_000_000)).unwrap();
    let mut reader = medium.open(OBJECT, 0..u64::MAX).unwrap();
    reader.read_exact(&mut vec![0; 100_000]).unwrap();
    server.signal_sessions(Signal::STOP);
    let began = Instant::now();
    let error = medium.size(OBJECT).unwrap_err();
    assert!(error.message().contains("no answer for"), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    // The next call has a connection of its own, and the reader goes on where it was.
    assert_eq!(medium.size(OBJECT).unwrap(), 30_000_000);
    let rest = reader.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(rest, 30_000_000 - 100_000);
}

#[test]
fn a_reader_goes_on_where_its_connection_broke() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let medium = over_ssh(&server, dir.path(), 10);
    let bytes = noise(30_000_000);
    upload(&medium, OBJECT, &bytes).unwrap();
    let mut reader = medium.open(OBJECT, 5..u64::MAX).unwrap();
    let mut all = vec![0; 5_000_000];
    reader.read_exact(&mut all).unwrap();
    server.signal_sessions(Signal::KILL);
    let mut more = vec![0; 10_000_000];
    reader.read_exact(&mut more).unwrap();
    all.extend(more);
    // Other bytes of the same length are not taken for the rest.
    std::fs::write(dir.path().join(OBJECT), noise(29_999_999)).unwrap();
    server.signal_sessions(Signal::KILL);
    let error = Error::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(
        error.message().contains("changed while it was read"),
        "{error}"
    );
    assert!(all == bytes[5..15_000_005]);
    // Short calls are made again.
    server.signal_sessions(Signal::KILL);
    assert_eq!(medium.size(OBJECT).unwrap(), 29_999_999);
    server.signal_sessions(Signal::KILL);
    assert_eq!(medium.create("app/new", b"x").unwrap(), Creation::Created);
}

#[test]
fn an_upload_goes_on_where_its_connection_broke() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let medium = over_ssh(&server, dir.path(), 10);
    let bytes = noise(30_000_000);
    let begin = |key| medium.begin_upload(key, Box::new(|_| Ok(()))).unwrap();
    let mut sent = begin("app/first");
    for part in bytes.chunks(7_000_000) {
        server.signal_sessions(Signal::KILL);
        sent.write_all(part).unwrap();
    }
    // As it is closed, read back, and given its name.
    server.signal_sessions(Signal::KILL);
    sent.finish().unwrap();
    assert!(std::fs::read(dir.path().join("app/first")).unwrap() == bytes);
    // What was acknowledged and is not there any more is an error, and nothing of it is left.
    let mut sent = begin("app/second");
    sent.write_all(&bytes).unwrap();
    let part = names_in(&dir.path().join("app"))
        .into_iter()
        .find(|name| part::is_part(name))
        .unwrap();
    server.kill_sessions();
    std::fs::write(dir.path().join("app").join(part), b"short").unwrap();
    let error = Error::from(sent.write_all(&bytes).unwrap_err());
    assert!(error.message().contains("that it acknowledged"), "{error}");
    drop(sent);
    assert_eq!(names_in(&dir.path().join("app")), ["first"]);
}

#[test]
fn troubles_are_named_with_what_helps() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let check = |medium: SftpMedium, message: &str, hint: &str| {
        let began = Instant::now();
        let error = medium.size("x").unwrap_err();
        assert_eq!(error.kind(), Kind::Failed);
        assert!(error.message().contains(message), "{error}");
        let said = error.hint().map(ToString::to_string).unwrap_or_default();
        assert!(said.contains(hint), "{said}");
        // What stays as it is is not tried for long.
        assert!(began.elapsed() < Duration::from_secs(15), "{error}");
    };
    let known = server.file("known_hosts");
    let right = std::fs::read(&known).unwrap();
    let fake = std::fs::read_to_string(server.file("user_key.pub")).unwrap();
    let port = server
        .address(Path::new(""))
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    std::fs::write(&known, format!("[127.0.0.1]:{port} {fake}")).unwrap();
    check(
        over_ssh(&server, dir.path(), 60),
        "Host key verification failed",
        "another key",
    );
    std::fs::write(&known, "").unwrap();
    check(
        over_ssh(&server, dir.path(), 60),
        "Host key verification failed",
        "ssh-keyscan",
    );
    std::fs::write(&known, right).unwrap();
    let keys = server.file("authorized_keys");
    let right = std::fs::read(&keys).unwrap();
    std::fs::write(&keys, "").unwrap();
    check(
        over_ssh(&server, dir.path(), 60),
        "Permission denied",
        "-v`",
    );
    std::fs::write(&keys, right).unwrap();
    let missing = medium("sftp://127.0.0.1/x", Some("/nonexistent/ssh"), None);
    check(missing, "/nonexistent/ssh", "openssh-client");
    let config = servers::rclone_config(dir.path(), dir.path());
    check(
        medium("rclone:nosuch:x", None, Some(&config)),
        "didn't find section in config file",
        "rclone listremotes",
    );
    let script = dir.path().join("motd");
    std::fs::write(&script, "#!/bin/sh\necho Welcome to this server\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let chatty = medium_with(
        "sftp://127.0.0.1/x",
        Some(script.to_str().unwrap()),
        None,
        &settings(Duration::ZERO),
        QUICK,
    );
    check(chatty, "not SFTP", "");
}

#[test]
fn rates_are_kept_to() {
    let (server, dir) = (SshServer::start(), tempfile::tempdir().unwrap());
    let settings = ConnectionSettings {
        upload_limit: Some(crate::store::Rate(2_000_000)),
        download_limit: Some(crate::store::Rate(4_000_000)),
        ..settings(Duration::ZERO)
    };
    let (address, ssh) = (server.address(dir.path()), server.ssh_command());
    let medium = medium_with(&address, Some(&ssh), None, &settings, QUICK);
    let began = Instant::now();
    upload(&medium, OBJECT, &noise(2_000_000)).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    // A second to send, half of one to read back.
    assert!((1.2..10.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_store_lives_there() {
    for_every_medium(|medium, root| {
        let medium = SftpMedium {
            link: Arc::clone(&medium.link),
            reading_link: medium.reading_link.clone(),
        };
        let location = Location::parse("sftp://host/store", Path::new("/")).unwrap();
        let store = super::super::RemoteStore::new(
            location,
            Arc::new(medium),
            super::super::StoreRights::default(),
            None,
        );
        store.check_mark(Access::Read).unwrap_err();
        store.check_mark(Access::Write).unwrap();
        store.check_mark(Access::Read).unwrap();
        let at = DateTime::from_timestamp(1_795_140_000, 0).unwrap();
        let mut draft = store.begin_draft("app", "daily", at).unwrap();
        let id = draft.id().to_owned();
        let dump = format!("{id}.sqlite3.gz");
        let mut object = draft.create(&dump).unwrap();
        object.write_all(b"the dump").unwrap();
        object.finish().unwrap();
        draft.commit(b"{}").unwrap();
        let mut listed = store.list("app").unwrap().objects;
        listed.sort();
        assert_eq!(listed, [names::sidecar_name(&id), dump.clone()]);
        assert_eq!(store.read("app", &dump).unwrap(), b"the dump");
        assert_eq!(names_in(&root.join("app")).len(), 2);
        let mut dropped = store.begin_draft("app", "daily", at).unwrap();
        let name = format!("{}.sqlite3.gz", dropped.id());
        let mut object = dropped.create(&name).unwrap();
        object.write_all(b"half").unwrap();
        drop((object, dropped));
        assert_eq!(names_in(&root.join("app")).len(), 2);
        let _ = store.retire("app", &id, &[dump], None).unwrap();
        assert_eq!(names_in(&root.join("app")), [""; 0]);
    });
}
