//! Tar archives, their pax headers, and the list of what is in them.

use super::{Dice, Pieces};
use dbbackup::fuzzing::{FileTime, Lines, Member, MemberKind, Result, TarReader, TarWriter};
use std::io::{Cursor, Read, Write};

const BLOCK: usize = 512;

/// Members with their stored bytes, and how it ended.
type Archive = (Vec<(Member, Vec<u8>)>, std::result::Result<(), String>);

fn read_archive(input: impl Read) -> Archive {
    let mut reader = TarReader::new(input);
    let mut members = Vec::new();
    let mut step = || -> Result<bool> {
        let Some(member) = reader.next_member()? else {
            return Ok(false);
        };
        let mut stored = Vec::new();
        let read = reader.read_to_end(&mut stored);
        members.push((member, stored));
        read?;
        Ok(true)
    };
    let end = loop {
        match step() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    (members, end)
}

fn write_archive(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = TarWriter::new(&mut out);
    for (member, stored) in members {
        writer.begin(member).unwrap();
        writer.write_all(stored).unwrap();
        writer.end().unwrap();
    }
    writer.finish().unwrap();
    out
}

/// Members can be skipped or read, in pieces of any length: it is the same archive. No more comes
/// out than went in, and what was read of a whole one can be written and read again.
fn hold(bytes: &[u8]) {
    let (members, end) = read_archive(bytes);
    assert_eq!(
        read_archive(Pieces::of(bytes)),
        (members.clone(), end.clone()),
        "read in pieces"
    );
    let stored: usize = members.iter().map(|(_, stored)| stored.len()).sum();
    assert!(
        stored + members.len() * BLOCK <= bytes.len(),
        "more came out than went in"
    );
    let mut skipping = TarReader::new(bytes);
    for (member, _) in &members {
        assert_eq!(skipping.next_member().unwrap().as_ref(), Some(member));
    }
    match &end {
        Ok(()) => assert!(skipping.next_member().unwrap().is_none()),
        Err(why) => {
            let skipped = skipping.next_member();
            assert!(skipped.is_err(), "skipped, it does not end with {why}");
            return;
        }
    }
    let ours: Vec<_> = members
        .into_iter()
        .filter(|(member, stored)| is_ours(member) && may_hold(member, stored))
        .collect();
    let (again, end) = read_archive(Cursor::new(write_archive(&ours)));
    assert_eq!(end, Ok(()));
    assert_eq!(again, ours, "written and read again");
}

/// In old archives a directory is a file whose name ends with a slash, and may have content, which
/// is passed over.
fn may_hold(member: &Member, stored: &[u8]) -> bool {
    stored.is_empty() || matches!(member.kind, MemberKind::File { .. })
}

/// Whether it could have come from a file system.
fn is_ours(member: &Member) -> bool {
    let is_name = |name: &[u8], most: usize| {
        !name.is_empty() && name.len() <= most && !name.contains(&0) && !name.ends_with(b"/")
    };
    let is_kind = match &member.kind {
        MemberKind::File { .. } | MemberKind::Directory => true,
        MemberKind::Symlink(target) | MemberKind::HardLink(target) => {
            !target.is_empty() && !target.contains(&0)
        }
        MemberKind::Other => false,
    };
    let is_user = |name: &[u8]| !name.contains(&0);
    let is_attribute = |(name, _): &(Vec<u8>, Vec<u8>)| {
        is_name(name, 255) && !name.starts_with(b"system.posix_acl")
    };
    is_kind
        && is_name(&member.path, 4096)
        && is_user(&member.user)
        && is_user(&member.group)
        && member.mtime.nanoseconds < 1_000_000_000
        && member.xattrs.iter().all(is_attribute)
}

/// An archive whose headers get their checksums, which nobody guesses.
pub fn tar(data: &[u8]) {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK) {
        let digits = header[124..136].iter().skip_while(|byte| **byte == b' ');
        let size = digits
            .take_while(|byte| (b'0'..=b'7').contains(byte))
            .fold(0_usize, |size, digit| size << 3 | usize::from(digit - b'0'));
        if header.iter().any(|byte| *byte != 0) {
            sign(header);
        }
        at += BLOCK + size.div_ceil(BLOCK) * BLOCK;
    }
    hold(&bytes);
    bytes.resize(bytes.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    hold(&bytes);
}

fn sign(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn header(name: &[u8], kind: u8, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    sign(&mut header);
    header
}

/// The records of a pax header, before a file with a few bytes.
pub fn pax(data: &[u8]) {
    let (kind, records) = match data.split_first() {
        Some((first, rest)) => (if first % 4 == 0 { b'g' } else { b'x' }, rest),
        None => (b'x', data),
    };
    let mut bytes = header(b"PaxHeaders/f", kind, records.len()).to_vec();
    bytes.extend_from_slice(records);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes.extend_from_slice(&header(b"f", b'0', 5));
    // A content that may be a map of holes.
    bytes.extend_from_slice(b"1\n0\n0");
    bytes.resize(bytes.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    hold(&bytes);
}

/// A member as a file system may have it is read as it was written.
pub fn tar_member(data: &[u8]) {
    let mut dice = Dice(data);
    let mut members = Vec::new();
    while !dice.0.is_empty() && members.len() < 4 {
        let kind = match dice.byte() % 5 {
            0 => MemberKind::Directory,
            1 => MemberKind::Symlink(dice.bytes(200).to_vec()),
            2 => MemberKind::HardLink(dice.bytes(200).to_vec()),
            3 => MemberKind::File {
                size: u64::from(dice.byte()) * 7,
                parts: None,
            },
            _ => sparse(&mut dice),
        };
        let member = Member {
            path: dice.bytes(250).to_vec(),
            kind,
            mode: dice.number() as u32 & 0o7777,
            uid: dice.number(),
            gid: dice.number(),
            user: dice.bytes(60).to_vec(),
            group: dice.bytes(60).to_vec(),
            mtime: FileTime {
                seconds: dice.number().cast_signed(),
                nanoseconds: (dice.number() % 1_000_000_000) as u32,
            },
            xattrs: match dice.byte() % 3 {
                0 => vec![(dice.bytes(40).to_vec(), dice.bytes(200).to_vec())],
                _ => Vec::new(),
            },
        };
        if is_ours(&member) {
            let stored = vec![dice.byte(); member.stored_size() as usize];
            members.push((member, stored));
        }
    }
    let bytes = write_archive(&members);
    assert_eq!(read_archive(Pieces::of(&bytes)), (members, Ok(())));
}

fn sparse(dice: &mut Dice<'_>) -> MemberKind {
    let mut at = 0;
    let mut parts = Vec::new();
    for _ in 0..dice.byte() % 40 {
        let (gap, length) = (dice.number() >> 8, u64::from(dice.byte()));
        at += gap;
        parts.push((at, length));
        at += length;
    }
    MemberKind::File {
        size: at + (dice.number() >> 8),
        parts: Some(parts),
    }
}

/// Lines that are read can be written and are the same; pieces do not matter; no line is made up.
pub fn contents(data: &[u8]) {
    let lines_of = |input: Box<dyn Read>| {
        let mut lines = Lines::new(input);
        let mut found = Vec::new();
        let end = loop {
            match lines.next_line() {
                Ok(Some(line)) => found.push(line),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.to_string()),
            }
        };
        (found, end)
    };
    let (found, end) = lines_of(Box::new(Cursor::new(data.to_vec())));
    assert_eq!(
        lines_of(Box::new(Pieces::of(data))),
        (found.clone(), end),
        "read in pieces"
    );
    assert!(found.len() <= data.split(|byte| *byte == b'\n').count());
    let mut written = Vec::new();
    for line in &found {
        let _ = (line.path_bytes(), line.target_bytes(), line.is_stored());
        assert_eq!(line.difference(line), None);
        line.write(&mut written).unwrap();
    }
    assert_eq!(lines_of(Box::new(Cursor::new(written))), (found, Ok(())));
}
