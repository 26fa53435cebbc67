//! What came out of a drill, read back from the disk.

use super::listing::{Lines, ListLine, MemberNote, MemberType};
use super::member::as_path;
use super::save::hash_zeros;
use crate::engine::sqlite::{Db, OpenMode, facts};
use crate::engine::{Check, CheckFinding, CheckStatus, CheckSubject};
use crate::error::{Context, Kind, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How many differences are named.
const NAMED: usize = 5;

/// Compares a tree with the list of contents, and looks into the databases in it.
pub fn examine(tree: &Path, list: Option<Lines>) -> Result<Vec<Check>> {
    let Some(mut lines) = list else {
        return Ok(vec![Check::ok(
            CheckSubject::Restored,
            CheckFinding::NotReadBack,
        )]);
    };
    let mut readback = Readback::default();
    loop {
        match lines.next_stored() {
            Ok(Some(line)) if line.note == Some(MemberNote::Superseded) => {}
            Ok(Some(line)) => readback.line(tree, &line)?,
            // A list that is damaged was told by the comparison with the archive.
            Ok(None) => break,
            Err(error) if error.kind() == Kind::Damaged => break,
            Err(error) => return Err(error),
        }
        if readback.differences.len() == NAMED {
            break;
        }
    }
    Ok(readback.checks())
}

#[derive(Default)]
struct Readback {
    count: u64,
    databases: u64,
    differences: Vec<String>,
    /// Where files came to be that others are links to.
    inodes: BTreeMap<Vec<u8>, u64>,
    broken: Vec<Check>,
}

impl Readback {
    fn line(&mut self, tree: &Path, line: &ListLine) -> Result<()> {
        self.count += 1;
        let path = tree.join(as_path(&line.path_bytes()));
        if let Some(difference) = self.difference(&path, line)? {
            self.differences.push(difference);
        } else if line.sqlite.is_some() {
            self.databases += 1;
            let checked = facts::check_integrity(&Db::open(&path, OpenMode::Immutable)?)?;
            if checked.status != CheckStatus::Ok {
                self.broken.push(Check {
                    finding: CheckFinding::InFile {
                        path: line.path.clone(),
                        finding: Box::new(checked.finding),
                    },
                    ..checked
                });
            }
        }
        Ok(())
    }

    fn checks(mut self) -> Vec<Check> {
        let mut checks = vec![match self.differences.is_empty() {
            true => Check::ok(
                CheckSubject::Restored,
                CheckFinding::ReadBack { count: self.count },
            ),
            false => Check::damaged(
                CheckSubject::Restored,
                CheckFinding::MembersDiffer {
                    differences: self.differences,
                    more: 0,
                },
            ),
        }];
        if self.databases > 0 && self.broken.is_empty() {
            checks.push(Check::ok(
                CheckSubject::Integrity,
                CheckFinding::DatabasesSound(self.databases),
            ));
        }
        checks.append(&mut self.broken);
        checks
    }

    /// What of a restored thing is not as the list says.
    fn difference(&mut self, path: &Path, line: &ListLine) -> Result<Option<String>> {
        let Ok(found) = path.symlink_metadata() else {
            return Ok(Some(format!("`{}` was not restored", line.path)));
        };
        let kind = found.file_type();
        let target = line.target_bytes();
        Ok(match line.kind {
            MemberType::Hardlink => {
                let same = self.inodes.get(&target.unwrap_or_default()) == Some(&found.ino());
                (!same).then(|| {
                    format!(
                        "`{}` is no link to `{}`",
                        line.path,
                        line.target.clone().unwrap_or_default()
                    )
                })
            }
            MemberType::Symlink => {
                let now = std::fs::read_link(path)
                    .map(|target| target.as_os_str().as_bytes().to_vec())
                    .ok();
                (now != target).then(|| format!("`{}` points elsewhere", line.path))
            }
            MemberType::Directory if kind.is_dir() => other_mode(&found, line),
            MemberType::File if kind.is_file() => {
                self.inodes.insert(line.path_bytes(), found.ino());
                other_mode(&found, line).map_or_else(
                    || other_content(path, &found, line),
                    |difference| Ok(Some(difference)),
                )?
            }
            _ => Some(format!("`{}` is no {}", line.path, line.kind.as_str())),
        })
    }
}

/// Who is not root can't give files away, and does not get the rights of another owner.
fn other_mode(found: &Metadata, line: &ListLine) -> Option<String> {
    let special = |mode: &str| mode.len() > 1 && !mode.starts_with('0') && !mode.starts_with('1');
    let expected = line.mode.as_deref().unwrap_or_default();
    let mode = format!("{:04o}", found.mode() & 0o7777);
    let settable = rustix::process::geteuid().is_root() || !special(expected);
    (settable && mode != expected)
        .then(|| format!("`{}` has the mode {mode}, not {expected}", line.path))
}

fn other_content(path: &Path, found: &Metadata, line: &ListLine) -> Result<Option<String>> {
    if line.size != Some(found.size()) {
        return Ok(Some(format!(
            "`{}` has {} bytes, {} expected",
            line.path,
            found.size(),
            line.size.unwrap_or(0)
        )));
    }
    let mtime = super::member::FileTime {
        seconds: found.mtime(),
        nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0),
    };
    if line.mtime != Some(mtime.text()) {
        return Ok(Some(format!("`{}` has another time", line.path)));
    }
    let sha256 = hash_file(path, found.size())?;
    Ok((line.sha256.as_ref() != Some(&sha256))
        .then(|| format!("the content of `{}` is not what was saved", line.path)))
}

fn hash_file(path: &Path, size: u64) -> Result<String> {
    let context = || format!("reading `{}`", path.display());
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .with_context(context)?;
    let metadata = super::meta::FileMeta::read(&file).with_context(context)?;
    let parts = super::meta::parts(&file, &metadata);
    let mut hash = Sha256::new();
    let mut block = vec![0; 256 << 10];
    let mut at = 0;
    for (offset, length) in super::member::parts_of(size, parts.as_ref()) {
        hash_zeros(&mut hash, offset - at)?;
        at = offset;
        while at < offset + length {
            let most = (offset + length - at).min(block.len() as u64) as usize;
            match file.read_at(&mut block[..most], at).with_context(context)? {
                0 => return Ok(String::new()),
                count => {
                    hash.update(&block[..count]);
                    at += count as u64;
                }
            }
        }
    }
    hash_zeros(&mut hash, size - at)?;
    Ok(super::listing::to_hex(&hash.finalize()))
}
