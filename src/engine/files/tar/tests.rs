//! Laws of the archive: what is written is read again, GNU tar reads it, and we read what GNU tar
//! writes; nothing that is damaged passes or panics.

use super::{Reader, Writer};
use crate::engine::files::member::{Kind, Member, Time, parts_of};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = proptest::collection::vec(
        (1..=255_u8).prop_filter("no slash", |byte| *byte != b'/'),
        1..140,
    );
    let part = part.prop_filter("a name of its own", |part| {
        !matches!(part.as_slice(), b"." | b"..")
    });
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b"/"[..]))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (0..3000_u64).prop_map(|size| Kind::File { size, parts: None }),
        proptest::collection::vec((1..900_u64, 1..900_u64), 0..40).prop_map(|gaps| {
            let mut at = 0;
            let mut parts: Vec<(u64, u64)> = Vec::new();
            for (gap, length) in gaps {
                parts.push((at + gap, length));
                at += gap + length;
            }
            parts.push((at + 7, 0));
            Kind::File {
                size: at + 7,
                parts: Some(parts),
            }
        }),
        Just(Kind::Directory),
        name().prop_map(Kind::Symlink),
        name().prop_map(Kind::HardLink),
    ]
}

fn member() -> impl Strategy<Value = Member> {
    let xattr = (
        proptest::collection::vec(b'a'..=b'z', 1..20),
        proptest::collection::vec(any::<u8>(), 0..300),
    );
    let xattrs = proptest::collection::btree_map(xattr.0, xattr.1, 0..3);
    let id = prop_oneof![0..70_000_u64, Just(4_294_967_294_u64)];
    let time = (
        -10_000_000_000_i64..100_000_000_000,
        prop_oneof![Just(0_u32), 0..1_000_000_000_u32],
    );
    let user = prop_oneof![Just("root".to_owned()), "[a-z]{0,40}"];
    (
        name(),
        kind(),
        0..0o10000_u32,
        (id.clone(), id),
        (user.clone(), user),
        time,
        xattrs,
    )
        .prop_map(
            |(path, kind, mode, (uid, gid), (user, group), (seconds, nanoseconds), xattrs)| {
                Member {
                    path,
                    kind,
                    mode,
                    uid,
                    gid,
                    user: user.into_bytes(),
                    group: group.into_bytes(),
                    mtime: Time {
                        seconds,
                        nanoseconds,
                    },
                    xattrs: xattrs
                        .into_iter()
                        .map(|(name, value)| ([b"user.", name.as_slice()].concat(), value))
                        .collect(),
                }
            },
        )
}

/// Content that differs from byte to byte.
fn content(member: &Member) -> Vec<u8> {
    (0..member.stored_size())
        .map(|at| (at % 251) as u8 + 1)
        .collect()
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for member in members {
        writer.begin(member).unwrap();
        writer.write_all(&content(member)).unwrap();
        writer.end().unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> crate::error::Result<Vec<(Member, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        members.push((member, content));
    }
    Ok(members)
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in proptest::collection::vec(member(), 0..6)) {
        let expected: Vec<(Member, Vec<u8>)> = members.iter().map(|member| (member.clone(),
            content(member))).collect();
        prop_assert_eq!(read(&archive(&members)).unwrap(), expected);
    }

    #[test]
    fn a_content_that_is_skipped_changes_nothing(members in proptest::collection::vec(member(),
        0..6)) {
        let bytes = archive(&members);
        let mut reader = Reader::new(bytes.as_slice());
        for member in &members {
            let found = reader.next_member().unwrap();
            prop_assert_eq!(found.as_ref(), Some(member));
        }
        prop_assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn a_cut_archive_is_damaged(members in proptest::collection::vec(member(), 1..4),
        cut in 1..10_000_usize) {
        let bytes = archive(&members);
        // The mark of the end is two blocks, of which one will do.
        let keep = bytes.len().saturating_sub(513 + cut % (bytes.len() - 513));
        prop_assert!(read(&bytes[..keep]).is_err());
    }

    #[test]
    fn altered_bytes_never_panic(members in proptest::collection::vec(member(), 1..4),
        at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = archive(&members);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = read(&bytes);
    }

    #[test]
    fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes);
    }
}

#[test]
fn more_or_less_than_announced_is_an_error() {
    let file = Member {
        path: b"a".to_vec(),
        kind: Kind::File {
            size: 3,
            parts: None,
        },
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        mtime: Time::default(),
        xattrs: Vec::new(),
    };
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer.begin(&file).unwrap();
    assert!(writer.write_all(b"four").is_err());
    writer.write_all(b"ab").unwrap();
    assert!(writer.end().is_err());
    writer.fill().unwrap();
    writer.end().unwrap();
}

/// With its padding such a size is more than a number holds: what follows is no next member.
#[test]
fn a_file_of_the_largest_size_is_cut_off() {
    let header = |name: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = [header.as_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let mut bytes = header(
        "record",
        tar::EntryType::XHeader,
        b"29 size=18446744073709551615\n",
    );
    bytes.extend(header("first", tar::EntryType::Regular, b""));
    bytes.extend(header("hidden", tar::EntryType::Regular, b""));
    bytes.extend([0; 1024]);
    let mut reader = Reader::new(bytes.as_slice());
    let first = reader.next_member().unwrap().unwrap();
    assert_eq!(first.stored_size(), u64::MAX);
    let error = reader.next_member().unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
}

/// GNU tar's own words about an archive of ours, and its archives in each of its formats.
#[test]
fn gnu_tar_agrees() {
    if !Command::new("tar")
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU tar"))
    {
        assert!(
            std::env::var_os("DBBACKUP_TEST_TOOLS").is_none_or(|tools| tools != "required"),
            "GNU tar is missing"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    let path = dir.path().join(&long);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"long").unwrap();
    let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
    for at in (0..40_u64).map(|at| at * (1 << 20)) {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", at).unwrap();
    }
    std::fs::write(dir.path().join("plain"), vec![7; 100_000]).unwrap();
    std::os::unix::fs::symlink("x".repeat(180), dir.path().join("symlink")).unwrap();
    std::fs::hard_link(dir.path().join("plain"), dir.path().join("second")).unwrap();
    for format in [
        "gnu",
        "posix",
        "ustar",
        "v7",
        "posix --sparse-version=0.1",
        "oldgnu",
    ] {
        let mut tar = Command::new("tar");
        // The old formats hold neither long names nor holes.
        let all = !matches!(format, "ustar" | "v7");
        let sparse = if all { "--sparse " } else { "" };
        tar.arg("-C")
            .arg(dir.path())
            .args(format!("--sort=name {sparse}--format={format} -cf -").split(' '));
        if all {
            tar.arg(".")
        } else {
            tar.args(["plain", "second"])
        };
        let output = tar.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{format}");
        let members = read(&output.stdout).unwrap_or_else(|error| panic!("{format}: {error}"));
        let found = |name: &str| {
            members
                .iter()
                .find(|(member, _)| member.path == name.as_bytes())
                .unwrap_or_else(|| panic!("{format}: {name}"))
        };
        if !all {
            assert_eq!(found("plain").1.len(), 100_000, "{format}");
            assert_eq!(
                found("second").0.kind,
                Kind::HardLink(b"plain".to_vec()),
                "{format}"
            );
            continue;
        }
        assert_eq!(found(&format!("./{long}")).1, b"long", "{format}");
        assert_eq!(
            found("./symlink").0.kind,
            Kind::Symlink(vec![b'x'; 180]),
            "{format}"
        );
        assert_eq!(
            found("./second").0.kind,
            Kind::HardLink(b"./plain".to_vec()),
            "{format}"
        );
        let (member, stored) = found("./sparse");
        let Kind::File { size, parts } = &member.kind else {
            panic!("{format}: {member:?}")
        };
        assert_eq!(*size, 39 * (1 << 20) + 4, "{format}");
        let mut whole = vec![0; *size as usize];
        let mut rest = stored.as_slice();
        for (offset, length) in parts_of(*size, parts.as_ref()) {
            let (part, after) = rest.split_at(length as usize);
            whole[offset as usize..][..length as usize].copy_from_slice(part);
            rest = after;
        }
        assert!(
            parts.is_some() && whole == std::fs::read(dir.path().join("sparse")).unwrap(),
            "{format}"
        );
    }
}
