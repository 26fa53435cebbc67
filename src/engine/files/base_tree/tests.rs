//! The order in which a base and a walk are merged, and when a file is known to be unchanged.

use super::*;
use crate::engine::files::listing::MemberNote;
use crate::engine::files::member::{Member, MemberKind};
use crate::engine::files::meta;
use crate::engine::files::names::Ids;
use crate::engine::files::place::TreePlace;
use std::cell::Cell;
use std::fs;
use std::io::Cursor;
use std::rc::Rc;

fn line(path: &str) -> ListLine {
    let member = Member {
        path: path.into(),
        kind: MemberKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        mtime: FileTime::default(),
        xattrs: Vec::new(),
    };
    ListLine::from_member(&member, None).with_stored(512)
}

/// A base with these members, and the number of times that it noted a failure.
fn base_of(lines: &[ListLine], archive_size: u64) -> (TreeBase, Rc<Cell<u32>>) {
    let mut bytes = Vec::new();
    lines
        .iter()
        .for_each(|line| line.write(&mut bytes).unwrap());
    let failures = Rc::new(Cell::new(0));
    let noted = Rc::clone(&failures);
    let base = TreeBase {
        open_list: Box::new(move || Ok(Some(Lines::new(Cursor::new(bytes.clone()))))),
        archive_size,
        stamp: take_stamp(),
        note_failure: Box::new(move || noted.set(noted.get() + 1)),
    };
    (base, failures)
}

fn tops(all: &[&str]) -> Vec<PathBuf> {
    all.iter().map(PathBuf::from).collect()
}

#[test]
fn names_are_found_in_the_order_of_the_walk() {
    let names = ["z", "z/a", "z/a/x", "z/a-b", "z/a.c", "a", "a/y"];
    let lines: Vec<ListLine> = names.iter().map(|name| line(name)).collect();
    let size = 512 * (names.len() as u64 + 2);
    let wanted = [
        ("z", Some(0)),
        ("z/A", None),
        ("z/a", Some(1)),
        ("z/a/x", Some(2)),
        ("z/a-", None),
        ("z/a.c", Some(4)),
        ("z/b", None),
        ("a", Some(5)),
        ("a/y", Some(6)),
        ("a/z", None),
    ];
    let (base, failures) = base_of(&lines, size);
    let mut members = BaseMembers::open(base, &tops(&["/z", "/a"])).unwrap();
    for (name, place) in wanted {
        let found = members.find(name.as_bytes()).unwrap();
        assert_eq!(
            found.map(|found| found.offset),
            place.map(|at: u64| 512 * at),
            "{name}"
        );
    }
    members.finish().unwrap();
    // A top path that is not one any more, and a new one; in another order nothing is wrong.
    for (tops, name) in [(tops(&["/new", "/a"]), "a"), (tops(&["/a", "/z"]), "z/a.c")] {
        let (base, _) = base_of(&lines, size);
        let mut members = BaseMembers::open(base, &tops).unwrap();
        let found = members.find(name.as_bytes()).unwrap();
        assert!(found.is_none_or(|found| found.line.path == name));
        members.finish().unwrap();
    }
    assert_eq!(failures.get(), 0);
}

#[test]
fn a_list_that_does_not_tell_the_archive_is_refused() {
    let (base, failures) = base_of(&[line("z"), line("z/a")], 5 * 512);
    let members = BaseMembers::open(base, &tops(&["/z"])).unwrap();
    let why = members.finish().unwrap_err().to_string();
    assert!(why.contains("tells an archive of 2048 bytes"), "{why}");
    assert_eq!(failures.get(), 1);
    let without = ListLine {
        stored: None,
        ..line("z")
    };
    let (base, failures) = base_of(&[without], 1024);
    let why = BaseMembers::open(base, &tops(&["/z"])).err().unwrap();
    assert!(why.to_string().contains("does not tell where"), "{why}");
    assert_eq!(failures.get(), 1);
}

/// What the walk finds of a file, and what the list says of it.
fn find_file(path: &Path) -> (TreeEntry, ListLine) {
    let place = TreePlace::find(path).unwrap();
    let metadata = place.meta().unwrap();
    let size = metadata.size();
    let kind = MemberKind::File { size, parts: None };
    let found = TreeEntry {
        place,
        name: top_name(path),
        metadata,
    };
    let ids = Ids::default();
    let member = meta::member(&found.name, kind, &metadata, Vec::new(), &ids);
    let line = ListLine::from_member(&member, None);
    (found, line)
}

#[test]
fn only_what_is_the_same_in_every_respect_and_was_at_rest_is_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("file");
    fs::write(&path, "content").unwrap();
    let (found, line) = find_file(&path);
    let old = ListLine {
        sha256: Some("of then".to_owned()),
        ..line.clone().with_stored(1024).with_stamp(&found.metadata)
    };
    let Some(stamp) = take_stamp() else { return };
    let members = |at_rest_since, boot: &str| {
        let (base, _) = base_of(&[], 1024);
        let stamp = TreeStamp {
            at_rest_since,
            boot: boot.to_owned(),
            ..stamp.clone()
        };
        let base = TreeBase {
            stamp: Some(stamp),
            ..base
        };
        BaseMembers::open(base, &tops(&["/"])).unwrap()
    };
    let later = Utc::now() + TimeDelta::seconds(1);
    let mut resting = members(later, &stamp.boot);
    assert!(resting.is_unchanged(&old, line.clone(), &found));
    // Just written, read after another start of the system, or never to be trusted.
    let mut fresh = members(stamp.at_rest_since, &stamp.boot);
    assert!(!fresh.is_unchanged(&old, line.clone(), &found));
    assert!(!members(later, "another").is_unchanged(&old, line.clone(), &found));
    let changed = |change: &dyn Fn(&mut ListLine)| {
        let mut old = old.clone();
        change(&mut old);
        old
    };
    for old in [
        changed(&|old| old.note = Some(MemberNote::Changed)),
        changed(&|old| old.ctime = None),
        changed(&|old| old.inode = Some(1)),
        changed(&|old| old.size = Some(8)),
        changed(&|old| old.mode = Some("0600".to_owned())),
        changed(&|old| old.owner = Some("nobody:nobody".to_owned())),
        changed(&|old| old.mtime = Some("2026-01-01T00:00:00Z".to_owned())),
        changed(&|old| old.kind = MemberType::Hardlink),
        changed(&|old| old.sqlite = Some("wal".to_owned())),
    ] {
        assert!(!resting.is_unchanged(&old, line.clone(), &found), "{old:?}");
    }
    // The time of the last modification is set back, that of the last change is not.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    fs::write(&path, "kontent").unwrap();
    file.set_modified(modified).unwrap();
    let (found, line) = find_file(&path);
    assert_eq!(line.mtime, old.mtime);
    assert!(!resting.is_unchanged(&old, line, &found));
    // An empty file may be a database that is all in its log.
    fs::write(&path, "").unwrap();
    let (found, line) = find_file(&path);
    let old = line.clone().with_stored(512).with_stamp(&found.metadata);
    let mut resting = members(Utc::now() + TimeDelta::seconds(1), &stamp.boot);
    assert!(resting.is_unchanged(&old, line.clone(), &found));
    fs::write(path.with_file_name("file-wal"), "log").unwrap();
    assert!(!resting.is_unchanged(&old, line, &found));
}
