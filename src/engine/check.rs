//! What an examination of a backup looks at, and what it finds.
//!
//! Both are values; they become a name and a sentence in this room alone, so nobody has to take a
//! sentence apart to learn what differs.

mod finding;

pub use finding::{CheckFinding, ContentDigest, FindingDetail, LostFile, RowDifference, TreeBasis};

use super::{Manifest, Table};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: CheckSubject,
    /// Whether it is as it should be.
    pub status: CheckStatus,
    /// What was found.
    pub finding: CheckFinding,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckSubject {
    /// The files of the backup in its store, before and after.
    Store,
    /// The sidecar, or that there is none.
    Sidecar,
    /// Who signed the sidecar.
    Signature,
    /// The name of what was to be verified.
    Search,
    /// The examination itself.
    Examination,
    /// The stored bytes.
    Sha256,
    /// What a delta is built on.
    Way,
    /// The list of contents.
    Contents,
    /// The encrypted part of the sidecar.
    SealedPart,
    /// The decoding.
    Decode,
    /// The decoded bytes.
    Content,
    /// The structure of an SQLite database.
    Integrity,
    /// The numbers of rows.
    Rows,
    /// The foreign keys of an SQLite database.
    ForeignKeys,
    /// A custom archive, read by `pg_restore`.
    PgRestore,
    /// A script of SQL.
    Script,
    /// A restore into a server on trial.
    Restore,
    /// The members of an archive.
    Files,
    /// The names of an archive's members.
    Names,
    /// The files that a trial restore wrote, read back.
    Restored,
}

/// What a check, or a whole verification, found; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It can't be tried here: says nothing against the backup.
    Unprovable,
    /// It is sound, and a part that does not restore without the rest, which was left out on
    /// purpose: says nothing against the backup as it was asked for.
    Incomplete,
    /// The examination itself failed (a full disk, no permission): says nothing against the backup
    /// either.
    Error,
    /// Not what was written, or it does not restore.
    Damaged,
}

impl Check {
    /// A check that found what it should.
    pub fn ok(subject: CheckSubject, finding: CheckFinding) -> Self {
        Check::new(subject, CheckStatus::Ok, finding)
    }

    /// A check that found damage.
    pub fn damaged(subject: CheckSubject, finding: CheckFinding) -> Self {
        Check::new(subject, CheckStatus::Damaged, finding)
    }

    /// A check that found the content sound, and a part of something that does not restore alone.
    pub fn incomplete(subject: CheckSubject, finding: CheckFinding) -> Self {
        Check::new(subject, CheckStatus::Incomplete, finding)
    }

    /// A check that could not be made here.
    pub fn unprovable(subject: CheckSubject, finding: CheckFinding) -> Self {
        Check::new(subject, CheckStatus::Unprovable, finding)
    }

    /// A check with this result.
    pub fn new(subject: CheckSubject, status: CheckStatus, finding: CheckFinding) -> Self {
        Check {
            subject,
            status,
            finding,
        }
    }

    /// The check's name and what was found.
    fn describe(&self, detail: FindingDetail) -> String {
        let finding = self.finding.describe(detail);
        format!("{}: {finding}", self.subject.as_str())
    }

    /// What was found, in one line for people, all of it.
    pub fn detail(&self) -> String {
        self.finding.describe(FindingDetail::Whole)
    }
}

/// `rows: 2 tables, 13 rows as at the backup`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(FindingDetail::Whole))
    }
}

/// One thing that was looked at, and what was found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Check"))]
pub(crate) struct CheckDocument {
    /// `sha256`, `integrity`, `rows`…
    name: &'static str,
    /// What was found.
    status: CheckStatus,
    /// For people, one line.
    detail: String,
}

impl Serialize for Check {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = CheckDocument {
            name: self.subject.as_str(),
            status: self.status,
            detail: self.detail(),
        };
        document.serialize(serializer)
    }
}

impl CheckStatus {
    /// The name in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Unprovable => "unprovable",
            CheckStatus::Incomplete => "incomplete",
            CheckStatus::Error => "error",
            CheckStatus::Damaged => "damaged",
        }
    }
}

impl CheckSubject {
    /// The name in JSON and before a finding.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckSubject::Store => "store",
            CheckSubject::Sidecar => "sidecar",
            CheckSubject::Signature => "signature",
            CheckSubject::Search => "search",
            CheckSubject::Examination => "examination",
            CheckSubject::Sha256 => "sha256",
            CheckSubject::Way => "way",
            CheckSubject::Contents => "contents",
            CheckSubject::SealedPart => "sealed part",
            CheckSubject::Decode => "decode",
            CheckSubject::Content => "content",
            CheckSubject::Integrity => "integrity",
            CheckSubject::Rows => "rows",
            CheckSubject::ForeignKeys => "foreign keys",
            CheckSubject::PgRestore => "pg_restore",
            CheckSubject::Script => "script",
            CheckSubject::Restore => "restore",
            CheckSubject::Files => "files",
            CheckSubject::Names => "names",
            CheckSubject::Restored => "restored",
        }
    }

    /// Whether its findings are sentences that people understand without its name.
    fn is_in_its_findings(self) -> bool {
        matches!(
            self,
            CheckSubject::Store
                | CheckSubject::Sidecar
                | CheckSubject::Signature
                | CheckSubject::Search
                | CheckSubject::Examination
                | CheckSubject::Sha256
                | CheckSubject::Way
                | CheckSubject::Decode
                | CheckSubject::Content
        )
    }
}

/// Whether a backup holds what was read, byte for byte, and what was read was corrupt: then the
/// backup is not to blame.
pub fn were_corrupt_when_saved(checks: &[Check]) -> bool {
    let has = |subject: CheckSubject, status: CheckStatus| {
        checks
            .iter()
            .any(|check| check.subject == subject && check.status == status)
    };
    let is_inside =
        |check: &Check| matches!(check.subject, CheckSubject::Integrity | CheckSubject::Rows);
    has(CheckSubject::Content, CheckStatus::Ok)
        && has(CheckSubject::Integrity, CheckStatus::Damaged)
        && checks
            .iter()
            .filter(|check| check.status == CheckStatus::Damaged)
            .all(is_inside)
}

/// Describes several checks in one line, each with its name.
pub fn describe_checks(checks: &[&Check], detail: FindingDetail) -> String {
    let lines: Vec<String> = checks.iter().map(|check| check.describe(detail)).collect();
    lines.join("; ")
}

/// Describes several checks in one line for people: without hashes, without names that the
/// sentences don't need, and without what only follows from something else.
pub fn summarize_checks(checks: &[&Check]) -> String {
    // A dump that is not what was written decodes to anything or nothing, and so does one of which
    // a base is not.
    let is_changed = checks.iter().any(|check| {
        matches!(check.subject, CheckSubject::Sha256 | CheckSubject::Way)
            && check.status == CheckStatus::Damaged
    });
    let follows =
        |subject| is_changed && matches!(subject, CheckSubject::Decode | CheckSubject::Content);
    let line = |check: &&&Check| {
        let detail = FindingDetail::WithoutHashes;
        if check.subject.is_in_its_findings() {
            check.finding.describe(detail)
        } else {
            check.describe(detail)
        }
    };
    let lines: Vec<String> = checks
        .iter()
        .filter(|check| !follows(check.subject))
        .map(|check| line(&check))
        .collect();
    lines.join("; ")
}

/// Compares counted tables with those of a manifest.
pub fn compare_rows(expected: &Manifest, found: &[Table]) -> Check {
    // Where one of them was not counted there is nothing to compare: older manifests have the rows
    // of virtual tables, too.
    let uncounted: BTreeSet<&str> = found
        .iter()
        .filter(|table| table.rows.is_none())
        .map(|table| table.name.as_str())
        .collect();
    let found: BTreeMap<&str, u64> = found
        .iter()
        .filter_map(|table| Some((table.name.as_str(), table.rows?)))
        .collect();
    let counted = |table: &&Table| table.compare && !uncounted.contains(table.name.as_str());
    let compared: Vec<&Table> = expected.tables.iter().filter(counted).collect();
    let differing: Vec<RowDifference> = compared
        .iter()
        .filter_map(|table| difference(table, found.get(table.name.as_str()).copied()))
        .collect();
    if differing.is_empty() {
        let agree = CheckFinding::RowsAgree {
            tables: compared.len() as u64,
            rows: expected.rows_total,
        };
        return Check::ok(CheckSubject::Rows, agree);
    }
    Check::damaged(CheckSubject::Rows, CheckFinding::RowsDiffer(differing))
}

/// What differs of a table, of which this number of rows was found, if anything does.
fn difference(table: &Table, found: Option<u64>) -> Option<RowDifference> {
    let expected = match found {
        None => table.rows.unwrap_or(0),
        Some(found) => table.rows.filter(|expected| *expected != found)?,
    };
    Some(RowDifference {
        table: table.name.clone(),
        expected,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_dump() -> Vec<Check> {
        let digest = |letter: &str| ContentDigest {
            size: 3,
            sha256: letter.repeat(2),
        };
        vec![
            Check::damaged(
                CheckSubject::Sha256,
                CheckFinding::HashDiffers {
                    expected: "aa".to_owned(),
                    found: "bb".to_owned(),
                },
            ),
            Check::damaged(
                CheckSubject::Content,
                CheckFinding::ContentDiffers {
                    expected: digest("c"),
                    found: digest("d"),
                },
            ),
            Check::damaged(
                CheckSubject::Contents,
                CheckFinding::ListMissing {
                    file: "list".to_owned(),
                },
            ),
        ]
    }

    #[test]
    fn hashes_are_told_where_all_is() {
        let checks = changed_dump();
        assert_eq!(
            describe_checks(&checks.iter().collect::<Vec<_>>(), FindingDetail::Whole),
            "sha256: the dump is not what was written (SHA-256 differs: it is bb, and was aa); \
             content: it does not decode to what was read (SHA-256 differs: it is dd of 3 bytes, \
             and was cc of 3 bytes); contents: the list of contents `list` is missing"
        );
    }

    #[test]
    fn a_summary_has_no_hashes_and_nothing_that_only_follows() {
        let checks = changed_dump();
        assert_eq!(
            summarize_checks(&checks.iter().collect::<Vec<_>>()),
            "the dump is not what was written (SHA-256 differs); contents: the list of contents \
             `list` is missing"
        );
    }

    #[test]
    fn a_check_has_its_name_and_its_sentence_in_json() {
        let differing = (1..=6).map(|number| RowDifference {
            table: format!("t{number}"),
            expected: number,
            found: (number > 1).then_some(0),
        });
        let check = Check::damaged(
            CheckSubject::Rows,
            CheckFinding::RowsDiffer(differing.collect()),
        );
        assert_eq!(
            serde_json::to_value(&check).unwrap(),
            serde_json::json!({"name": "rows", "status": "damaged", "detail": "t1 is missing \
                (1 rows expected); t2 has 0 rows, 2 expected; t3 has 0 rows, 3 expected; t4 has 0 \
                rows, 4 expected; t5 has 0 rows, 5 expected; and 1 more"})
        );
    }

    #[test]
    fn only_what_is_inside_can_have_been_corrupt_when_it_was_saved() {
        let mut checks = vec![
            Check::ok(
                CheckSubject::Content,
                CheckFinding::DecodesAsRead { size: 1 },
            ),
            Check::damaged(CheckSubject::Integrity, CheckFinding::NotSqlite),
        ];
        assert!(were_corrupt_when_saved(&checks));
        checks.push(Check::damaged(
            CheckSubject::Contents,
            CheckFinding::ListMissing {
                file: "list".to_owned(),
            },
        ));
        assert!(!were_corrupt_when_saved(&checks));
        assert!(!were_corrupt_when_saved(&checks[1..2]));
    }
}
