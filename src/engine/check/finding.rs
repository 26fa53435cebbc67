//! What a check found, as values, and the sentences that they become.

use crate::engine::Tree;
use crate::error::Error;
use crate::units;
use std::fmt;

/// What a check found, for better or worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFinding {
    /// What a foreign program, a library or the system said, or an error's whole message.
    Message(String),
    /// The message of an error, with its remedy.
    Failure {
        /// The message.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// What was found of one file of several.
    InFile {
        /// Its path in the tree.
        path: String,
        /// What was found of it.
        finding: Box<CheckFinding>,
    },

    /// The source has no backup.
    NoBackup,
    /// Files of the backup were removed or changed while it was verified.
    FilesLost(Vec<LostFile>),
    /// The files of the backup can't be looked at any more.
    FilesOutOfReach(String),

    /// The stored bytes are those that were written.
    AsWritten {
        /// Their number.
        size: u64,
    },
    /// Nothing says what was written.
    NoSidecar,
    /// The dump is not there.
    DumpMissing {
        /// Its name.
        file: String,
    },
    /// The dump has lost or got bytes.
    SizeDiffers {
        /// Its name.
        file: String,
        /// The bytes that were written.
        expected: u64,
        /// The bytes that are there.
        found: u64,
    },
    /// The dump has other bytes.
    HashDiffers {
        /// The SHA-256 of what was written.
        expected: String,
        /// The SHA-256 of what is there.
        found: String,
    },
    /// Every dump on the way of a delta is there.
    WayComplete {
        /// Their number.
        bases: u64,
    },
    /// A dump on the way of a delta is not there.
    BaseMissing {
        /// The id of its backup.
        id: String,
        /// Its name.
        file: String,
    },
    /// A dump on the way of a delta has other bytes.
    BaseDiffers {
        /// The id of its backup.
        id: String,
        /// Its name.
        file: String,
    },
    /// A backup on the way of a delta was found damaged before.
    BaseKnownDamaged {
        /// Its id.
        id: String,
    },
    /// The dump decodes to what was read from the source.
    DecodesAsRead {
        /// The bytes of it.
        size: u64,
    },
    /// The dump decodes to something else.
    ContentDiffers {
        /// What was read from the source.
        expected: ContentDigest,
        /// What the dump decodes to.
        found: ContentDigest,
    },
    /// The list of contents is what was written.
    ListAsWritten,
    /// The list of contents is not there.
    ListMissing {
        /// Its name.
        file: String,
    },
    /// The list of contents has other bytes.
    ListDiffers {
        /// Its name.
        file: String,
    },
    /// The encrypted part of the sidecar is not there.
    SealedPartMissing {
        /// Its name.
        file: String,
    },
    /// The encrypted part of the sidecar has other bytes.
    SealedPartDiffers {
        /// Its name.
        file: String,
    },
    /// The key is missing, in words.
    NoKey(String),

    /// The tables have the rows that the manifest says.
    RowsAgree {
        /// The number of tables.
        tables: u64,
        /// The rows of all of them.
        rows: u64,
    },
    /// Tables are missing, or have other numbers of rows.
    RowsDiffer(Vec<RowDifference>),
    /// Rows were counted, and no manifest says how many there must be.
    RowsCounted {
        /// The rows of all tables.
        rows: u64,
    },

    /// SQLite finds nothing wrong with the database.
    Sound,
    /// SQLite finds nothing wrong with this number of databases.
    DatabasesSound(u64),
    /// The structure is sound, and this was not compared, which only the application can.
    StructureSound {
        /// What SQLite said of it.
        unchecked: String,
    },
    /// Only the application can check it.
    NeedsApplication {
        /// What SQLite said of it.
        missing: String,
    },
    /// It is no SQLite database.
    NotSqlite,
    /// Rows that violate a foreign key; `None` where the schema forbids to look.
    ForeignKeys {
        /// Their number now.
        found: Option<u64>,
        /// Their number at the backup.
        expected: Option<u64>,
    },

    /// An archive or a script was read to its end, with this number of tables.
    TablesRead(u64),
    /// A script of globals was read to its end, with this number of statements.
    StatementsRead(u64),
    /// The end of a script is missing.
    NoEnd,
    /// It was restored on trial.
    Restored {
        /// The place: `PostgreSQL 16`.
        place: String,
        /// What was left out, and why.
        left_out: Option<String>,
    },
    /// The roles were made on trial.
    RolesRestored,
    /// Roles are not tried at `drill_url`.
    RolesNotTried,
    /// The server of `drill_url` is older than the one of the dump.
    ServerTooOld {
        /// Its version.
        server: String,
        /// The major version of the dump's server.
        dump: u32,
    },
    /// Extensions are missing where the dump would be restored on trial.
    ExtensionsMissing {
        /// Their names.
        extensions: Vec<String>,
        /// Whether they are missing on the server of `drill_url`, not on this machine.
        at_drill_url: bool,
    },

    /// The archive holds what the manifest or the list of contents says.
    TreeAgrees {
        /// What the archive holds.
        tree: Tree,
        /// What it was compared with.
        basis: TreeBasis,
    },
    /// The archive holds more or less than the manifest says.
    TreeDiffers {
        /// What the manifest says.
        expected: Tree,
        /// What the archive holds.
        found: Tree,
    },
    /// Members of the archive or restored files are not as the list of contents says.
    MembersDiffer {
        /// The first few, each with what differs.
        differences: Vec<String>,
        /// The number of further ones.
        more: u64,
    },
    /// Members of the archive must not be restored.
    MembersRefused {
        /// The first few, each with the reason.
        members: Vec<String>,
        /// The number of further ones.
        more: u64,
    },
    /// Restored files were read back and are what was saved.
    ReadBack {
        /// Their number.
        count: u64,
    },
    /// There is no list of contents to compare restored files with.
    NotReadBack,
}

/// A file of a backup that was removed or changed while the backup was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// Its name.
    pub name: String,
    /// Whether it is gone, not only changed.
    pub is_gone: bool,
}

/// The size and the hash of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentDigest {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// A table that has not the rows that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDifference {
    /// The table's name.
    pub table: String,
    /// The rows that the manifest says.
    pub expected: u64,
    /// The rows that were counted; `None` where the table is missing.
    pub found: Option<u64>,
}

/// What an archive of files was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeBasis {
    /// The list of contents, member by member.
    List,
    /// The numbers of the manifest.
    Manifest,
    /// Nothing.
    Nothing,
}

/// How much of a finding is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingDetail {
    /// All of it.
    Whole,
    /// All but the hashes, which say nothing to people.
    WithoutHashes,
}

impl CheckFinding {
    /// The finding in one line for people.
    pub fn describe(&self, detail: FindingDetail) -> String {
        match self {
            CheckFinding::Message(text) => text.clone(),
            CheckFinding::Failure { message, hint } => match hint {
                Some(hint) => format!("{message} ({hint})"),
                None => message.clone(),
            },
            CheckFinding::InFile { path, finding } => {
                format!("`{path}`: {}", finding.describe(detail))
            }

            CheckFinding::NoBackup => "it has no backup".to_owned(),
            CheckFinding::FilesLost(files) => joined(files.iter().map(LostFile::to_string), 0),
            CheckFinding::FilesOutOfReach(why) => {
                format!("the backup's files can't be looked at any more: {why}")
            }

            CheckFinding::AsWritten { size } => format!("{} as written", units::size(*size)),
            CheckFinding::NoSidecar => "there is no sidecar to compare with".to_owned(),
            CheckFinding::DumpMissing { file } => format!("the dump `{file}` is missing"),
            CheckFinding::WayComplete { bases } => {
                format!("{} on its way are there", units::count(*bases, "dump"))
            }
            CheckFinding::BaseMissing { id, file } => {
                format!("the dump `{file}` of `{id}`, on which it is built, is missing")
            }
            CheckFinding::BaseDiffers { id, file } => format!(
                "the dump `{file}` of `{id}`, on which it is built, is not what was written"
            ),
            CheckFinding::BaseKnownDamaged { id } => {
                format!("`{id}`, on which it is built, was found damaged")
            }
            CheckFinding::SizeDiffers {
                file,
                expected,
                found,
            } => {
                let what = if found < expected {
                    "cut off"
                } else {
                    "too long"
                };
                format!("`{file}` is {what}: {found} bytes, {expected} were written")
            }
            CheckFinding::HashDiffers { expected, found } => {
                let differs =
                    describe_hashes(detail, &format!("it is {found}, and was {expected}"));
                format!("the dump is not what was written {differs}")
            }
            CheckFinding::DecodesAsRead { size } => {
                format!("decodes to the {} that were read", units::size(*size))
            }
            CheckFinding::ContentDiffers { expected, found } => {
                let hashes = format!("it is {found}, and was {expected}");
                let differs = describe_hashes(detail, &hashes);
                format!("it does not decode to what was read {differs}")
            }
            CheckFinding::ListAsWritten => "the list of contents as written".to_owned(),
            CheckFinding::ListMissing { file } => {
                format!("the list of contents `{file}` is missing")
            }
            CheckFinding::SealedPartMissing { file } => {
                format!("the encrypted part of the sidecar, `{file}`, is missing")
            }
            CheckFinding::SealedPartDiffers { file } => {
                format!("the encrypted part of the sidecar, `{file}`, is not what was written")
            }
            CheckFinding::NoKey(why) => why.clone(),
            CheckFinding::ListDiffers { file } => {
                format!("the list of contents `{file}` is not what was written")
            }

            CheckFinding::RowsAgree { tables, rows } => format!(
                "{}, {} as at the backup",
                units::count(*tables, "table"),
                units::count(*rows, "row")
            ),
            CheckFinding::RowsDiffer(tables) => {
                let more = tables.len().saturating_sub(TABLES_NAMED) as u64;
                let shown = tables.iter().take(TABLES_NAMED);
                joined(shown.map(RowDifference::to_string), more)
            }
            CheckFinding::RowsCounted { rows } => {
                format!(
                    "{}, nothing to compare them with",
                    units::count(*rows, "row")
                )
            }

            CheckFinding::Sound => "integrity_check: ok".to_owned(),
            CheckFinding::DatabasesSound(count) => format!(
                "integrity_check of {}: ok",
                units::count(*count, "SQLite database")
            ),
            CheckFinding::StructureSound { unchecked } => format!(
                "the structure is sound; what only the application can compare was not checked: \
                 {unchecked}"
            ),
            CheckFinding::NeedsApplication { missing } => {
                format!("it can only be checked by the application: {missing}")
            }
            CheckFinding::NotSqlite => "the content is not a SQLite database".to_owned(),
            CheckFinding::ForeignKeys { found, expected } => {
                describe_foreign_keys(*found, *expected)
            }

            CheckFinding::TablesRead(count) => {
                format!("read to its end: {}", units::count(*count, "table"))
            }
            CheckFinding::StatementsRead(count) => {
                format!("read to its end: {}", units::count(*count, "statement"))
            }
            CheckFinding::NoEnd => {
                "the script has no end: its last line is not that of a complete dump".to_owned()
            }
            CheckFinding::Restored { place, left_out } => match left_out {
                Some(left_out) => format!("restored into {place}; {left_out}"),
                None => format!("restored into {place}"),
            },
            CheckFinding::RolesRestored => "the roles were made in a throw-away server".to_owned(),
            CheckFinding::RolesNotTried => {
                "roles are tried in a throw-away server only, not at `drill_url`".to_owned()
            }
            CheckFinding::ServerTooOld { server, dump } => format!(
                "the server of `drill_url` is PostgreSQL {server}, older than the dump's ({dump})"
            ),
            CheckFinding::ExtensionsMissing {
                extensions,
                at_drill_url,
            } => {
                let place = match at_drill_url {
                    true => "on the server of `drill_url`",
                    false => "here",
                };
                format!(
                    "these extensions are not installed {place}: {}",
                    extensions.join(", ")
                )
            }

            CheckFinding::TreeAgrees { tree, basis } => {
                let basis = match basis {
                    TreeBasis::List => "each as it was read",
                    TreeBasis::Manifest => "as many as at the backup",
                    TreeBasis::Nothing => "nothing to compare them with",
                };
                format!("{tree}, {basis}")
            }
            CheckFinding::TreeDiffers { expected, found } => {
                format!("{found} in the archive, {expected} at the backup")
            }
            CheckFinding::MembersDiffer { differences, more } => {
                joined(differences.iter().cloned(), *more)
            }
            CheckFinding::MembersRefused { members, more } => {
                let more = match more {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                format!(
                    "what must not be restored is in it: {}{more}",
                    members.join(", ")
                )
            }
            CheckFinding::ReadBack { count } => format!(
                "all {} read back, each as it was saved",
                units::thousands(*count)
            ),
            CheckFinding::NotReadBack => "nothing to compare the restored files with".to_owned(),
        }
    }
}

/// How many tables that differ are named.
const TABLES_NAMED: usize = 5;

fn joined(parts: impl Iterator<Item = String>, more: u64) -> String {
    let more = (more > 0).then(|| format!("and {more} more"));
    parts.chain(more).collect::<Vec<_>>().join("; ")
}

fn describe_hashes(detail: FindingDetail, hashes: &str) -> String {
    match detail {
        FindingDetail::Whole => format!("(SHA-256 differs: {hashes})"),
        FindingDetail::WithoutHashes => "(SHA-256 differs)".to_owned(),
    }
}

/// What was there at the backup is the application's business; it is only told.
fn describe_foreign_keys(found: Option<u64>, expected: Option<u64>) -> String {
    match (found, expected) {
        (None, _) => "can't be checked in this schema".to_owned(),
        (Some(0), _) => "foreign_key_check: ok".to_owned(),
        (Some(now), Some(then)) if now == then => format!("{now} violations, as at the backup"),
        (Some(now), _) => format!("warning: {now} violations"),
    }
}

/// What was found, all of it.
impl fmt::Display for CheckFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(FindingDetail::Whole))
    }
}

/// An error's message, with its remedy.
impl From<&Error> for CheckFinding {
    fn from(error: &Error) -> Self {
        CheckFinding::Failure {
            message: error.message(),
            hint: error.hint().map(ToString::to_string),
        }
    }
}

impl fmt::Display for LostFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_gone { "removed" } else { "changed" };
        write!(
            f,
            "`{}` was {what} while the backup was verified",
            self.name
        )
    }
}

impl fmt::Display for RowDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, expected) = (&self.table, self.expected);
        match self.found {
            None => write!(f, "{table} is missing ({expected} rows expected)"),
            Some(found) => write!(f, "{table} has {found} rows, {expected} expected"),
        }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.sha256, self.size)
    }
}
