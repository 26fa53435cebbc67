//! What a restore would change: the trees in service beside a list of contents, by size and time;
//! nothing is read.

use super::listing::{Lines, MemberType};
use super::member::{FileTime, as_path};
use super::swap;
use crate::error::Result;
use crate::interrupt;
use crate::units;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How many differing files are named.
const NAMED: usize = 10;

/// For people, a line for each way in which they differ.
pub fn between(tops: &[PathBuf], mut list: Lines) -> Result<Vec<String>> {
    let mut listed: HashMap<Vec<u8>, Option<(Option<u64>, String)>> = HashMap::new();
    while let Some(line) = list.next_stored()? {
        // A database is saved as a plain file, of another size than the one in service.
        let size = line.size.filter(|_| line.sqlite.is_none());
        let file =
            (line.kind == MemberType::File).then(|| (size, line.mtime.clone().unwrap_or_default()));
        listed.insert(line.path_bytes(), file);
    }
    let (mut lost, mut changed) = (Named::default(), Named::default());
    for top in tops {
        for entry in walkdir::WalkDir::new(top)
            .sort_by_file_name()
            .into_iter()
            .flatten()
        {
            interrupt::check()?;
            let kept_aside = entry
                .path()
                .components()
                .any(|part| part.as_os_str().to_str().is_some_and(swap::is_kept_inside));
            let Ok(now) = entry.metadata() else { continue };
            if kept_aside || !now.is_file() {
                continue;
            }
            let name = entry.path().as_os_str().as_bytes();
            let name = name.strip_prefix(b"/").unwrap_or(name);
            let mtime = FileTime {
                seconds: now.mtime(),
                nanoseconds: u32::try_from(now.mtime_nsec()).unwrap_or(0),
            }
            .text();
            match listed.remove(name) {
                None if !is_log(name) => lost.add(name),
                Some(Some((size, then)))
                    if size.is_some_and(|size| size != now.size()) || then != mtime =>
                {
                    changed.add(name)
                }
                _ => {}
            }
        }
    }
    let missing = listed.values().filter(|file| file.is_some()).count() as u64;
    let missing = (missing > 0).then(|| {
        format!(
            "{} in the backup, and not there now",
            units::count(missing, "file")
        )
    });
    let lines = [
        lost.line("there now, and not in the backup"),
        changed.line("changed since the backup"),
        missing,
    ];
    Ok(lines.into_iter().flatten().collect())
}

/// What SQLite keeps beside a database goes with it.
fn is_log(name: &[u8]) -> bool {
    [&b"-wal"[..], b"-shm", b"-journal"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// How many, and the first few.
#[derive(Default)]
struct Named {
    count: u64,
    names: Vec<String>,
}

impl Named {
    fn add(&mut self, name: &[u8]) {
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(format!("/{}", as_path(name).display()));
        }
    }

    fn line(&self, what: &str) -> Option<String> {
        let more = self.count - self.names.len() as u64;
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        (self.count > 0).then(|| {
            format!(
                "{} {what}: {}{more}",
                units::count(self.count, "file"),
                self.names.join(", ")
            )
        })
    }
}
