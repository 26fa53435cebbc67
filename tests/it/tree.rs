//! Trees of files for tests: made at random or by hand, and compared in every respect that a
//! restore must bring back.

use crate::seeds::Random;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file's name: mostly plain, sometimes long, with spaces, line breaks, or no UTF-8 at all.
fn name(random: &mut Random, taken: u64) -> Vec<u8> {
    let mut name = match random.below(8) {
        0 => vec![b'l'; 200],
        1 => b"with space and\nline".to_vec(),
        2 => "ünï-code→".as_bytes().to_vec(),
        3 => random
            .bytes(12)
            .into_iter()
            .map(|byte| {
                if byte == 0 || byte == b'/' {
                    0xfe
                } else {
                    byte
                }
            })
            .collect(),
        4 => b"-rf *".to_vec(),
        _ => b"file".to_vec(),
    };
    name.extend_from_slice(format!(".{taken}").as_bytes());
    name
}

/// Makes a random tree of every kind of entry in `root`, which is made.
pub fn grow(root: &Path, seed: u64) {
    let mut random = Random::new(seed);
    std::fs::create_dir(root).unwrap();
    let mut directories = vec![root.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    for count in 0..60 {
        let parent = directories[random.below(directories.len() as u64) as usize].clone();
        let path = parent.join(std::ffi::OsStr::from_bytes(&name(&mut random, count)));
        match random.below(10) {
            0 | 1 => {
                std::fs::create_dir(&path).unwrap();
                directories.push(path);
                continue;
            }
            2 => {
                symlink(
                    ["nowhere", "/etc/passwd", "../..", "file"][random.below(4) as usize],
                    &path,
                )
                .unwrap();
                continue;
            }
            3 if !files.is_empty() => {
                std::fs::hard_link(&files[random.below(files.len() as u64) as usize], &path)
                    .unwrap();
                continue;
            }
            4 => holes(&path, &mut random),
            5 => {
                let size = random.below(3 << 20) as usize;
                std::fs::write(&path, random.bytes(size)).unwrap();
            }
            _ => {
                let size = [0, 1, 511, 512, 513, 4096, 70_000][random.below(7) as usize];
                std::fs::write(&path, random.bytes(size)).unwrap();
            }
        }
        describe(&path, &mut random);
        files.push(path);
    }
    // The deepest first: what is made in a directory changes its time.
    for path in directories.iter().rev() {
        describe(path, &mut random);
    }
}

fn holes(path: &Path, random: &mut Random) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(random.below(30 << 20)).unwrap();
    for _ in 0..random.below(6) {
        let at = random.below(30 << 20);
        file.write_all_at(&random.bytes(5000), at).unwrap();
    }
}

fn describe(path: &Path, random: &mut Random) {
    let is_directory = path.is_dir();
    if super::support::is_root() && random.below(3) == 0 {
        std::os::unix::fs::chown(
            path,
            Some(random.below(70_000) as u32),
            Some(random.below(70_000) as u32),
        )
        .unwrap();
    }
    let modes = if is_directory {
        [0o755, 0o700, 0o1777, 0o2750]
    } else {
        [0o644, 0o600, 0o755, 0o440]
    };
    super::support::set_mode(path, modes[random.below(4) as usize]);
    if random.below(4) == 0 {
        // Not every file system has them.
        let value = random.bytes(40);
        let _ = rustix::fs::setxattr(
            path,
            "user.dbbackup-test",
            &value,
            rustix::fs::XattrFlags::empty(),
        );
    }
    if random.below(5) == 0 {
        // u::rw-, u:1234:r--, g::r--, m::r--, o::--- in the kernel's bytes:
        // linux/posix_acl_xattr.h.
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in [
            (1_u16, 7_u16, u32::MAX),
            (2, 4, 1234),
            (4, 4, u32::MAX),
            (16, 4, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            acl.extend_from_slice(&tag.to_le_bytes());
            acl.extend_from_slice(&rights.to_le_bytes());
            acl.extend_from_slice(&id.to_le_bytes());
        }
        let _ = rustix::fs::setxattr(
            path,
            "system.posix_acl_access",
            &acl,
            rustix::fs::XattrFlags::empty(),
        );
    }
    let at = rustix::fs::Timespec {
        tv_sec: random.below(4_000_000_000) as i64 - 1_000_000_000,
        tv_nsec: random.below(1_000_000_000) as _,
    };
    let times = rustix::fs::Timestamps {
        last_access: at,
        last_modification: at,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
}

/// Everything of a tree that a restore must bring back, by path: what `rsync -aHAXS` compares, by
/// other means.
pub fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let below = entry.path().strip_prefix(root).unwrap().to_path_buf();
        let seen = entry.metadata().unwrap();
        let kind = seen.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            // No FIFO is saved, and to read one is to wait.
            continue;
        }
        let first = inodes
            .entry(seen.ino())
            .or_insert_with(|| below.clone())
            .clone();
        let content = match () {
            () if kind.is_symlink() => {
                format!("link to {:?}", std::fs::read_link(entry.path()).unwrap())
            }
            () if kind.is_dir() => "directory".to_owned(),
            () => {
                format!(
                    "file {} crc {:08x} first {first:?}",
                    seen.size(),
                    crc32fast::hash(&std::fs::read(entry.path()).unwrap())
                )
            }
        };
        let owner = if super::support::is_root() {
            format!("{}:{}", seen.uid(), seen.gid())
        } else {
            String::new()
        };
        let times = format!("{}.{:09}", seen.mtime(), seen.mtime_nsec());
        let attributes = if kind.is_symlink() {
            String::new()
        } else {
            attributes(entry.path())
        };
        found.insert(
            below,
            format!("{content} {:o} {owner} {times} {attributes}", seen.mode()),
        );
    }
    found
}

fn attributes(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut all: Vec<String> = Vec::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"security."))
    {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        all.push(format!(
            "{}={:02x?}",
            String::from_utf8_lossy(name),
            &value[..length]
        ));
    }
    all.sort();
    all.join(" ")
}

/// Bytes on the disk, holes left out.
pub fn on_disk(root: &Path) -> u64 {
    walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512)
        .sum()
}

/// The trees are the same by `rsync`'s judgement, which looks at contents, times, owners, links,
/// ACLs and attributes.
pub fn rsync_sees_no_difference(one: &Path, other: &Path) {
    let arg = |path: &Path| format!("{}/", path.display());
    let output = Command::new("rsync")
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes"])
        .args([arg(one), arg(other)])
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
