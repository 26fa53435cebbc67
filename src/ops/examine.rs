//! Looking at a stored dump: is it what was written, does it decode, is it sound inside? Shared by
//! `verify`, by `restore` (which does it before it touches anything) and by `backup`
//! (`verify_after`).

use super::content::{self, DIFFERS, StoredDump};
use super::engines;
use crate::engine::{Check, CheckStatus, Depth, Destination};
use crate::error::{Error, Kind, Result};
use crate::sidecar::{Level, Verification};
use crate::store::names;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

pub use super::engines::ExaminationOptions;

/// The result of one verification.
#[derive(Debug)]
pub struct VerificationResult {
    /// How far the verification went.
    pub level: Level,
    /// The checks in the order in which they were made.
    pub checks: Vec<Check>,
    /// How long the verification took.
    pub seconds: f64,
}

impl VerificationResult {
    /// The worst of the checks.
    pub fn status(&self) -> CheckStatus {
        self.checks
            .iter()
            .map(|check| check.status)
            .max()
            .unwrap_or(CheckStatus::Ok)
    }

    /// What was wrong, in one line.
    pub fn wrong(&self) -> Option<String> {
        let wrong: Vec<String> = self
            .checks
            .iter()
            .filter(|check| check.status != CheckStatus::Ok)
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// The same for people: without the hashes, which are in the JSON and with the backup, and
    /// without what only follows from something else.
    pub fn wrong_in_short(&self) -> Option<String> {
        let wrong: Vec<&Check> = self
            .checks
            .iter()
            .filter(|check| check.status != CheckStatus::Ok)
            .collect();
        (!wrong.is_empty()).then(|| in_short(&wrong))
    }

    /// Whether the backup holds what was read, byte for byte, and what was read was corrupt: then
    /// the backup is not to blame.
    pub fn was_corrupt_when_saved(&self) -> bool {
        is_faithful_copy(&self.checks)
    }

    /// To be kept with the backup.
    pub fn to_verification(&self, at: DateTime<Utc>) -> Verification {
        Verification {
            at,
            level: self.level,
            status: self.status(),
            duration_seconds: to_milliseconds(self.seconds),
            detail: self.wrong(),
        }
    }
}

/// Seconds, cut to the millisecond.
pub fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Verifies at a level. `Err` only for an interruption; whatever else keeps the examination from
/// being made is a check of status `error`.
pub fn verify(
    stored: &StoredDump<'_>,
    level: Level,
    options: &ExaminationOptions<'_>,
) -> Result<VerificationResult> {
    let started = Instant::now();
    // A directory that may be entered and not listed can be compared with nothing.
    let before = files_of(stored).unwrap_or_default();
    let checks = match level {
        Level::Checksum => checksum(stored, options),
        Level::Content => drill(stored, Depth::Content, options),
        Level::Restore => drill(stored, Depth::Drill, options),
    };
    let mut checks = match checks {
        Ok(checks) => checks,
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        Err(error) => {
            let hint = error
                .hint()
                .map_or(String::new(), |hint| format!(" ({hint})"));
            vec![Check {
                name: "examination".into(),
                status: CheckStatus::Error,
                detail: format!("{error}{hint}"),
            }]
        }
    };
    checks.extend(lost_meanwhile(stored, &before));
    Ok(VerificationResult {
        level,
        checks,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What is known of a file without reading it: its inode, its length, when it was written.
type Stamp = (u64, u64, i64, i64);

/// The files that make a backup, by their names: its dump, its sidecar, its list of contents. What
/// comes later is no part of it.
fn files_of(stored: &StoredDump<'_>) -> Result<BTreeMap<String, Option<Stamp>>> {
    let id = names::id_of(stored.file);
    let is_part = |name: &str| match id {
        Some(id) => names::id_of(name) == Some(id) && names::event_id(name).is_none(),
        None => name == stored.file,
    };
    let objects = stored.objects.names()?;
    let stamp = |name: &str| {
        let found = std::fs::metadata(stored.objects.path(name)?).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    Ok(objects
        .into_iter()
        .filter(|name| is_part(name))
        .map(|name| (name.clone(), stamp(&name)))
        .collect())
}

/// A backup must be there after it was verified as it was before: an administrator's `rm`, another
/// program, or what a dump brings may have come between. A directory that can't be listed any more
/// and a file that can't be looked at prove no damage: an error is not an absence.
fn lost_meanwhile(
    stored: &StoredDump<'_>,
    before: &BTreeMap<String, Option<Stamp>>,
) -> Option<Check> {
    if before.is_empty() {
        return None;
    }
    let after = match files_of(stored) {
        Ok(after) => after,
        Err(error) => {
            return Some(Check {
                name: "store".into(),
                status: CheckStatus::Error,
                detail: format!("the backup's files can't be looked at any more: {error}"),
            });
        }
    };
    let what_became_of = |name: &String, stamp: &Option<Stamp>| match (after.get(name), stamp) {
        (None, _) => Some("removed"),
        (Some(Some(now)), Some(then)) if now != then => Some("changed"),
        _ => None,
    };
    let lost: Vec<String> = before
        .iter()
        .filter_map(|(name, stamp)| Some((name, what_became_of(name, stamp)?)))
        .map(|(name, what)| format!("`{name}` was {what} while the backup was verified"))
        .collect();
    (!lost.is_empty()).then(|| Check::damaged("store", lost.join("; ")))
}

/// The stored bytes are those that were written.
fn checksum(stored: &StoredDump<'_>, options: &ExaminationOptions<'_>) -> Result<Vec<Check>> {
    let Some(dump) = stored.dump else {
        return Ok(vec![Check::unprovable(
            "sha256",
            "there is no sidecar to compare with",
        )]);
    };
    let found = match content::measure_dump(stored, options.observer) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => return Ok(vec![missing(stored)]),
        Err(error) => return Err(error),
    };
    let mut checks = vec![content::check_stored(dump, &found)];
    checks.extend(list_check(stored)?);
    Ok(checks)
}

/// The list of what is inside is that which was written, too.
fn list_check(stored: &StoredDump<'_>) -> Result<Option<Check>> {
    let Some((name, contents)) = stored.contents() else {
        return Ok(None);
    };
    let found = match content::measure_list(stored, &name) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => {
            return Ok(Some(Check::damaged(
                "contents",
                format!("the list of contents `{name}` is missing"),
            )));
        }
        Err(error) => return Err(error),
    };
    let same = (found.size, &found.sha256) == (contents.size_bytes, &contents.sha256);
    Ok(Some(match same {
        true => Check::ok("contents", "the list of contents as written"),
        false => Check::damaged(
            "contents",
            format!("the list of contents `{name}` is not what was written"),
        ),
    }))
}

fn missing(stored: &StoredDump<'_>) -> Check {
    Check::damaged("sha256", format!("the dump `{}` is missing", stored.file))
}

/// Into a place where nothing is the user's.
fn drill(
    stored: &StoredDump<'_>,
    depth: Depth,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut destination = engines::trial(stored, stored.content_size(), depth, options)?;
    let mut checks = receive(stored, destination.as_mut(), depth, options)?;
    checks.extend(list_check(stored)?.filter(|check| check.status != CheckStatus::Ok));
    Ok(checks)
}

/// Decodes the dump into `destination` and examines it there, every byte measured on the way.
pub fn receive(
    stored: &StoredDump<'_>,
    destination: &mut dyn Destination,
    depth: Depth,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut checks = read_content(stored, options, &mut |content| destination.receive(content))?;
    // What is not what was written is looked at no further: to a database server its content would
    // be a program.
    if checks
        .iter()
        .all(|check| check.status != CheckStatus::Damaged)
    {
        checks.extend(destination.check(stored.manifest, depth)?);
    }
    Ok(checks)
}

/// Hands the decoded content to `take`, which reads it to its end, and checks that both ends are
/// what was written.
pub fn read_content(
    stored: &StoredDump<'_>,
    options: &ExaminationOptions<'_>,
    take: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
) -> Result<Vec<Check>> {
    let mut content = match content::open_content(stored, options.threads, options.observer) {
        Ok(content) => content,
        Err(error) if error.kind() == Kind::NotFound => return Ok(vec![missing(stored)]),
        Err(error) => return Err(error),
    };
    match take(&mut content).and_then(|()| content.finish()) {
        Err(error) if error.kind() == Kind::Damaged => undecodable(stored, &error, options),
        checked => checked,
    }
}

/// The error of a backup that was found damaged, where it was.
pub fn damage_in(name: &str, checks: &[Check]) -> Option<Error> {
    let wrong: Vec<&Check> = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Damaged)
        .collect();
    let what = if is_faithful_copy(checks) {
        CORRUPT_THEN
    } else {
        "is damaged"
    };
    (!wrong.is_empty())
        .then(|| Error::damaged(format!("the backup `{name}` {what}: {}", in_short(&wrong))))
}

/// What is said of a backup that holds damage as it was read.
pub const CORRUPT_THEN: &str =
    "holds what was read, and that was corrupt already when it was saved";

/// The bytes are those that were read, and only what is in them is wrong.
fn is_faithful_copy(checks: &[Check]) -> bool {
    let is_content = |check: &&Check| check.name == "content";
    let mut wrong = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Damaged)
        .peekable();
    checks
        .iter()
        .find(is_content)
        .is_some_and(|check| check.status == CheckStatus::Ok)
        && wrong.peek().is_some()
        && wrong.all(|check| ["integrity", "rows"].contains(&check.name.as_str()))
        && checks
            .iter()
            .any(|check| check.name == "integrity" && check.status == CheckStatus::Damaged)
}

/// Checks whose detail is a sentence without their names.
const SENTENCES: [&str; 7] = [
    "store",
    "sha256",
    "content",
    "decode",
    "examination",
    "sidecar",
    "search",
];

/// What was found, for people: the hashes are in the JSON, and in what `show` says.
pub fn without_hashes(detail: &str) -> String {
    let before = format!("({DIFFERS}: ");
    let mut parts = detail.split(&before);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(&format!("({DIFFERS})"));
        text.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    text
}

/// How many parts of a detail a list shows, and how many characters of one.
const PARTS: usize = 3;
const LONGEST_PART: usize = 200;

/// What was found, for a line among many: without hashes, and only its beginning; `show` says all
/// of it.
pub fn for_a_list(detail: &str) -> String {
    let text = without_hashes(detail);
    let parts: Vec<&str> = text.split("; ").collect();
    let cut = |part: &&str| match part.char_indices().nth(LONGEST_PART) {
        Some((end, _)) => format!("{}…", &part[..end]),
        None => (*part).to_owned(),
    };
    let shown = parts
        .iter()
        .take(PARTS)
        .map(cut)
        .collect::<Vec<_>>()
        .join("; ");
    match parts.len().saturating_sub(PARTS) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Several checks in one line for people.
fn in_short(checks: &[&Check]) -> String {
    // A dump that is not what was written decodes to anything or nothing.
    let changed = checks
        .iter()
        .any(|check| check.name == "sha256" && check.status == CheckStatus::Damaged);
    let told = checks
        .iter()
        .filter(|check| !changed || !["decode", "content"].contains(&check.name.as_str()));
    let line = |check: &&Check| {
        let detail = without_hashes(&check.detail);
        if SENTENCES.contains(&check.name.as_str()) {
            detail
        } else {
            format!("{}: {detail}", check.name)
        }
    };
    told.map(line).collect::<Vec<_>>().join("; ")
}

/// It does not decode: the checksum tells whether the file changed since it was written.
fn undecodable(
    stored: &StoredDump<'_>,
    error: &Error,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut checks = match stored.dump {
        Some(_) => checksum(stored, options)?,
        None => Vec::new(),
    };
    checks.push(Check::damaged("decode", error.message()));
    Ok(checks)
}
