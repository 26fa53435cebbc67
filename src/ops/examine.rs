//! Looking at a stored dump: is it what was written, does it decode, is it sound inside? Shared by
//! `verify`, by `restore` (which does it before it touches anything) and by `backup`
//! (`verify_after`).

use super::content::{self, StoredDump, WayCare};
use super::engines;
use crate::engine::{
    Check, CheckFinding, CheckStatus, CheckSubject, Depth, Destination, FindingDetail, LostFile,
    describe_checks, summarize_checks, were_corrupt_when_saved,
};
use crate::error::{Error, Kind, Result};
use crate::sidecar::{Level, Verification};
use crate::store::{ObjectStamp, names};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::io::Read;
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

    fn wrong_checks(&self) -> Vec<&Check> {
        self.checks
            .iter()
            .filter(|check| check.status != CheckStatus::Ok)
            .collect()
    }

    /// All that was wrong, in one line; `None` where all is well.
    pub fn wrong(&self) -> Option<String> {
        let wrong = self.wrong_checks();
        (!wrong.is_empty()).then(|| describe_checks(&wrong, FindingDetail::Whole))
    }

    /// The same for people: without the hashes, which are in the JSON and with the backup, and
    /// without what only follows from something else.
    pub fn summary(&self) -> Option<String> {
        let wrong = self.wrong_checks();
        (!wrong.is_empty()).then(|| summarize_checks(&wrong))
    }

    /// Whether the backup holds what was read, byte for byte, and what was read was corrupt: then
    /// the backup is not to blame.
    pub fn was_corrupt_when_saved(&self) -> bool {
        were_corrupt_when_saved(&self.checks)
    }

    /// To be kept with the backup.
    pub fn to_verification(&self, at: DateTime<Utc>) -> Verification {
        let detail = self.wrong();
        let wrong = self.wrong_checks();
        let summary = describe_checks(&wrong, FindingDetail::WithoutHashes);
        Verification {
            at,
            level: self.level,
            status: self.status(),
            duration_seconds: to_milliseconds(self.seconds),
            summary: detail
                .clone()
                .filter(|detail| *detail != summary)
                .and(Some(summary)),
            detail,
            host: None,
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
    let checks = match (level, stored.missing_key()) {
        (Level::Checksum, _) => checksum(stored, options),
        (_, Some(why)) => examine_without_key(stored, &why, options),
        (Level::Content, None) => examine_content(stored, Depth::Content, options),
        (Level::Restore, None) => examine_content(stored, Depth::Drill, options),
    };
    let mut checks = match checks {
        Ok(checks) => checks,
        Err(error) if error.kind() == Kind::Interrupted => return Err(error),
        Err(error) => {
            let failure = CheckFinding::from(&error);
            vec![Check::new(
                CheckSubject::Examination,
                CheckStatus::Error,
                failure,
            )]
        }
    };
    checks.extend(lost_meanwhile(stored, &before));
    Ok(VerificationResult {
        level,
        checks,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The files that make a backup, by their names: its dump, its sidecar, its list of contents. What
/// comes later is no part of it.
fn files_of(stored: &StoredDump<'_>) -> Result<BTreeMap<String, Option<ObjectStamp>>> {
    let id = names::id_of(stored.file);
    let is_part = |name: &str| match id {
        Some(id) => names::id_of(name) == Some(id) && names::event_id(name).is_none(),
        None => name == stored.file,
    };
    let objects = stored.objects.names()?;
    Ok(objects
        .into_iter()
        .filter(|name| is_part(name))
        .map(|name| (name.clone(), stored.objects.stamp(&name)))
        .collect())
}

/// A backup must be there after it was verified as it was before: an administrator's `rm`, another
/// program, or what a dump brings may have come between. A directory that can't be listed any more
/// and a file that can't be looked at prove no damage: an error is not an absence.
fn lost_meanwhile(
    stored: &StoredDump<'_>,
    before: &BTreeMap<String, Option<ObjectStamp>>,
) -> Option<Check> {
    if before.is_empty() {
        return None;
    }
    let after = match files_of(stored) {
        Ok(after) => after,
        Err(error) => {
            let finding = CheckFinding::FilesOutOfReach(error.message());
            return Some(Check::new(CheckSubject::Store, CheckStatus::Error, finding));
        }
    };
    let lost: Vec<LostFile> = before
        .iter()
        .filter_map(|(name, then)| lost_file(name, then.as_ref(), after.get(name)))
        .filter(|lost| !lost.is_gone || is_surely_gone(stored, &lost.name))
        .collect();
    (!lost.is_empty()).then(|| Check::damaged(CheckSubject::Store, CheckFinding::FilesLost(lost)))
}

/// Whether a file that a list does not show is not there when it is asked for by its name: lists of
/// other machines may be older than what is there.
fn is_surely_gone(stored: &StoredDump<'_>, name: &str) -> bool {
    let size = stored.objects.size(name);
    size.is_err_and(|error| error.kind() == Kind::NotFound)
}

/// A file that is gone, or of which something else is known now than was before.
fn lost_file(
    name: &str,
    then: Option<&ObjectStamp>,
    now: Option<&Option<ObjectStamp>>,
) -> Option<LostFile> {
    let is_gone = match (now, then) {
        (None, _) => true,
        (Some(Some(now)), Some(then)) if now != then => false,
        _ => return None,
    };
    Some(LostFile {
        name: name.to_owned(),
        is_gone,
    })
}

/// The stored bytes are those that were written.
fn checksum(stored: &StoredDump<'_>, options: &ExaminationOptions<'_>) -> Result<Vec<Check>> {
    let Some(dump) = stored.dump else {
        return Ok(vec![Check::unprovable(
            CheckSubject::Sha256,
            CheckFinding::NoSidecar,
        )]);
    };
    let found = match content::measure_dump(stored, options.observer) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => return Ok(vec![missing(stored)]),
        Err(error) => return Err(error),
    };
    let mut checks = vec![content::check_stored(dump, &found)];
    checks.extend(way_checks(stored, WayCare::Presence)?);
    checks.extend(list_check(stored)?);
    checks.extend(sealed_part_check(stored)?);
    Ok(checks)
}

/// What a delta is built on is there.
fn way_checks(stored: &StoredDump<'_>, care: WayCare) -> Result<Vec<Check>> {
    stored.way.map_or(Ok(Vec::new()), |way| way.check(care))
}

/// The encrypted part of the sidecar is that which was written.
fn sealed_part_check(stored: &StoredDump<'_>) -> Result<Option<Check>> {
    let Some(part) = stored.sealed else {
        return Ok(None);
    };
    let file = part.file.clone();
    let found = match content::measure_object(stored, &file) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => {
            let missing = CheckFinding::SealedPartMissing { file };
            return Ok(Some(Check::damaged(CheckSubject::SealedPart, missing)));
        }
        Err(error) => return Err(error),
    };
    let same = (found.size, &found.sha256) == (part.size_bytes, &part.sha256);
    Ok((!same).then(|| {
        let differs = CheckFinding::SealedPartDiffers { file };
        Check::damaged(CheckSubject::SealedPart, differs)
    }))
}

/// What can be known of an encrypted backup without its key: the stored bytes are those that were
/// written.
fn examine_without_key(
    stored: &StoredDump<'_>,
    why: &Error,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut checks = checksum(stored, options)?;
    checks.push(Check::unprovable(
        CheckSubject::Decode,
        CheckFinding::NoKey(why.message()),
    ));
    Ok(checks)
}

/// The list of what is inside is that which was written, too.
fn list_check(stored: &StoredDump<'_>) -> Result<Option<Check>> {
    let Some((name, contents)) = stored.contents() else {
        return Ok(None);
    };
    let found = match content::measure_object(stored, &name) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => {
            let missing = CheckFinding::ListMissing { file: name };
            return Ok(Some(Check::damaged(CheckSubject::Contents, missing)));
        }
        Err(error) => return Err(error),
    };
    if (found.size, &found.sha256) != (contents.size_bytes, &contents.sha256) {
        let differs = CheckFinding::ListDiffers { file: name };
        return Ok(Some(Check::damaged(CheckSubject::Contents, differs)));
    }
    let fault = match stored.way.filter(|_| contents.is_delta) {
        Some(way) => way.find_list_fault()?,
        None => None,
    };
    Ok(Some(match fault {
        None => Check::ok(CheckSubject::Contents, CheckFinding::ListAsWritten),
        Some(fault) => Check::damaged(CheckSubject::Contents, fault),
    }))
}

fn missing(stored: &StoredDump<'_>) -> Check {
    let file = stored.file.to_owned();
    Check::damaged(CheckSubject::Sha256, CheckFinding::DumpMissing { file })
}

/// Decodes the dump into a place where nothing is the user's, and examines it there.
fn examine_content(
    stored: &StoredDump<'_>,
    depth: Depth,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut destination = engines::trial(stored, stored.content_size(), depth, options)?;
    let mut checks = receive(stored, destination.as_mut(), depth, options)?;
    checks.extend(list_check(stored)?.filter(|check| check.status != CheckStatus::Ok));
    checks.extend(sealed_part_check(stored)?);
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
        Err(error) if error.kind() == Kind::Damaged => {
            return undecodable(stored, &error, options);
        }
        Err(error) => return Err(error),
    };
    match take(&mut content).and_then(|()| content.finish()) {
        Err(error) if error.kind() == Kind::Damaged => undecodable(stored, &error, options),
        checked => checked,
    }
}

/// The error of a backup of this name whose checks found damage; `None` where they found none.
pub fn damage_error(name: &str, checks: &[Check]) -> Option<Error> {
    let damaged: Vec<&Check> = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Damaged)
        .collect();
    let what = if were_corrupt_when_saved(checks) {
        CORRUPT_THEN
    } else {
        "is damaged"
    };
    (!damaged.is_empty()).then(|| {
        let summary = summarize_checks(&damaged);
        Error::damaged(format!("the backup `{name}` {what}: {summary}"))
    })
}

/// What is said of a backup that holds damage as it was read.
pub const CORRUPT_THEN: &str =
    "holds what was read, and that was corrupt already when it was saved";

/// It does not decode: the checksums tell whether the file, or one on its way, changed since it was
/// written.
fn undecodable(
    stored: &StoredDump<'_>,
    error: &Error,
    options: &ExaminationOptions<'_>,
) -> Result<Vec<Check>> {
    let mut checks = match stored.dump {
        Some(_) => checksum(stored, options)?,
        None => Vec::new(),
    };
    if stored.way.is_some() {
        checks.retain(|check| check.subject != CheckSubject::Way);
        checks.extend(way_checks(stored, WayCare::Checksum)?);
    }
    let is_explained =
        |check: &Check| check.subject == CheckSubject::Way && check.status == CheckStatus::Damaged;
    // What is wrong with the way says all of it.
    if !checks.iter().any(is_explained) {
        checks.push(Check::damaged(
            CheckSubject::Decode,
            CheckFinding::Message(error.message()),
        ));
    }
    Ok(checks)
}
