//! Looks for dumps in a directory of another tool's.

use super::names::{ForeignName, NameTime, read_name, source_name};
use crate::error::{Context, Error, Result};
use crate::pipeline::Codec;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// How many directories deep dumps may lie: `daily/shop/shop.sql.gz` is two.
const DEPTH: usize = 8;

/// A file that may be a dump.
#[derive(Debug, Clone)]
pub struct ForeignDump {
    /// Where it is.
    pub path: PathBuf,
    /// The source that it becomes a backup of.
    pub source: String,
    /// How it is packed, by its name.
    pub codec: Codec,
    /// The time in its name.
    pub time: Option<NameTime>,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct DirectoryFindings {
    /// What may be dumps, by their paths.
    pub dumps: Vec<ForeignDump>,
    /// What is a dump and can't be read, and why.
    pub unreadable: Vec<(PathBuf, &'static str)>,
    /// How many other files there are: checksums, copies of configurations, logs.
    pub others: u64,
}

/// Walks a directory. Links are not followed, and stores are left alone.
pub fn search_directory(dir: &Path) -> Result<DirectoryFindings> {
    let mut found = DirectoryFindings::default();
    let mut walk = WalkDir::new(dir)
        .follow_links(false)
        .max_depth(DEPTH)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry
            .map_err(|error| Error::from(std::io::Error::from(error)))
            .with_context(|| format!("reading the directory `{}`", dir.display()))?;
        if entry.depth() > 0 && is_hidden(&entry) {
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
        } else if entry.file_type().is_dir() {
            if let Some(why) = no_place_for_dumps(entry.path()) {
                walk.skip_current_dir();
                found
                    .unreadable
                    .extend(why.map(|why| (entry.into_path(), why)));
            }
        } else if entry.file_type().is_file() {
            add(&mut found, &entry);
        } else {
            found.others += 1;
        }
    }
    Ok(found)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// A directory whose files are no dumps of their own; within, why it can't be adopted, where that
/// is worth a word.
fn no_place_for_dumps(path: &Path) -> Option<Option<&'static str>> {
    if path.join("toc.dat").is_file() {
        return Some(Some(
            "it is a dump in pg_dump's directory format, which is many files",
        ));
    }
    path.join("dbbackup-store.json").is_file().then_some(None)
}

fn add(found: &mut DirectoryFindings, entry: &DirEntry) {
    let path = entry.path();
    let Some(name) = entry.file_name().to_str() else {
        found.others += 1;
        return;
    };
    match read_name(name) {
        ForeignName::Other => found.others += 1,
        ForeignName::Unreadable(why) => found.unreadable.push((path.to_owned(), why)),
        ForeignName::Dump {
            subject,
            codec,
            time,
        } => {
            let parent = path.parent().and_then(Path::file_name);
            let parent = parent.unwrap_or_default().to_string_lossy();
            found.dumps.push(ForeignDump {
                path: path.to_owned(),
                source: source_name(if subject.is_empty() {
                    &parent
                } else {
                    &subject
                }),
                codec,
                time,
            });
        }
    }
}
