//! The documents of the commands that make, list, prove and restore backups.

use crate::engine::files::listing::ListLine;
use crate::engine::{CheckDocument, CheckStatus, Table};
use crate::sidecar::{Level, Sidecar};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde_json::Value;

/// A backup: its sidecar, with what came later.
#[derive(JsonSchema)]
struct BackupDocument {
    #[serde(flatten)]
    sidecar: Sidecar,
    /// Whether cleanup never removes it.
    pinned: bool,
    /// Whether it is whole, its dump is there as long as it was written, no verification has found
    /// it damaged since, and a trusted key signed it where the store asks for one.
    good: bool,
    /// What came last of copying it from this store to others.
    copies: Vec<CopyDocument>,
    /// Who signed it.
    signature: SignatureDocument,
}

/// Who signed a backup.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SignatureDocument {
    /// `trusted`: a key of `trust` signed it. `untrusted`: another key did. `none`: nobody did.
    /// `wrong`: it has a signature that does not fit. `unchecked`: the store has no `trust`, and
    /// everything counts.
    status: String,
    /// The public key of minisign, `RW…`, or of an untrusted one its number.
    key: Option<String>,
}

/// What came last of copying a backup to another store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CopyDocument {
    /// The other store's name, or its location where it has none.
    store: String,
    /// When.
    at: DateTime<Utc>,
    /// Why it is not there; null where it was copied.
    error: Option<String>,
}

/// A backup of a list.
#[derive(JsonSchema)]
struct ListedDocument {
    #[serde(flatten)]
    backup: BackupDocument,
    /// With `--all-stores`: the names of the stores that hold it. Two backups of one id in
    /// different stores are different backups.
    stores: Option<Vec<String>>,
}

/// A store that was read.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ListedStore {
    /// Its name; `main` is that of `[store]`.
    name: String,
    /// Its directory or address.
    location: String,
    /// Why it can't be read; null where it was.
    error: Option<String>,
}

/// A sidecar that can't be used.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Unreadable {
    /// The backup's id, from the name.
    id: String,
    /// The source in whose directory it is.
    source: String,
    /// Why it can't be used.
    reason: String,
    /// With `--all-stores`: the name of the store.
    store: Option<String>,
}

/// `backup`, and with `--dry-run` what it would do.
#[derive(JsonSchema)]
pub struct BackupRun {
    /// What was made, in the order in which it was asked for.
    backups: Option<Vec<BackupDocument>>,
    /// The sources that failed, or whose backup is incomplete.
    failed: Option<Vec<FailedSource>>,
    /// With `--dry-run`: what would be backed up.
    plan: Option<Vec<PlannedSource>>,
    /// With `--dry-run`: the hooks that would run.
    hooks: Option<Vec<PlannedHook>>,
}

/// A source that failed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FailedSource {
    /// Its name.
    source: String,
    /// Why, in one line.
    error: String,
    /// What to do about it.
    hint: Option<String>,
}

/// A source that would be backed up.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlannedSource {
    /// Its name.
    source: String,
    /// `sqlite`, `postgres` or `files`.
    kind: String,
    /// Its path or address, without a password.
    from: String,
    /// About how many bytes would be read.
    size_bytes: u64,
}

/// A hook that would run.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlannedHook {
    /// The source that it is of; null: the run.
    source: Option<String>,
    /// `before`, `after` or `on_failure`.
    hook: String,
    /// Its command, without secrets.
    command: String,
}

/// `list`.
#[derive(JsonSchema)]
pub struct List {
    /// The backups that match, newest first.
    backups: Option<Vec<ListedDocument>>,
    /// Sidecars that can't be used.
    unreadable: Option<Vec<Unreadable>>,
    /// With `--all-stores`: the stores.
    stores: Option<Vec<ListedStore>>,
}

/// `show`.
#[derive(JsonSchema)]
pub struct Show {
    /// The backup.
    backup: Option<BackupDocument>,
    /// With `--contents`: its tables, or its files.
    contents: Option<Vec<ShownContent>>,
}

/// A table or a file.
#[derive(JsonSchema)]
#[serde(untagged)]
enum ShownContent {
    /// A table of a database.
    Table(Table),
    /// A member of a tree.
    Listed(Box<ListLine>),
}

/// `verify`.
#[derive(JsonSchema)]
pub struct Verify {
    /// One for each backup that was looked at.
    results: Option<Vec<Verified>>,
}

/// What was found of one backup.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Verified {
    /// The backup, or the word that names none.
    id: String,
    /// How thorough it was.
    level: Level,
    /// The worst of the checks.
    status: CheckStatus,
    /// One by one.
    checks: Vec<CheckDocument>,
}

/// `restore`.
#[derive(JsonSchema)]
pub struct Restore {
    /// Whether nothing was done.
    dry_run: Option<bool>,
    /// What was restored.
    restored: Option<Vec<Restored>>,
    /// What was not, where there was more than one.
    failed: Option<Vec<FailedRestore>>,
    /// With `--dry-run`: what would be.
    plan: Option<Vec<PlannedRestore>>,
}

/// What failed before the program or on the way back.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum FailedInGuard {
    /// A source that could not be backed up.
    Source(FailedSource),
    /// A backup that could not be put back.
    Backup(FailedRestore),
}

/// One backup that was not restored.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FailedRestore {
    /// The backup.
    id: String,
    /// Why.
    error: String,
    /// What to do about it.
    hint: Option<String>,
}

/// One backup that was restored.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Restored {
    /// The backup, or the dump's file.
    id: String,
    /// Where it is now.
    target: String,
    /// The command that takes it back; null where there is nothing to go back to.
    undo: Option<String>,
    /// In a few words, how it was put there.
    how: Option<String>,
    /// Of files: where what was there is kept, and the command that removes it.
    kept: Option<Value>,
}

/// One backup that would be restored.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlannedRestore {
    /// The backup, or the dump's file.
    id: String,
    /// Where it would be.
    target: String,
    /// Whether something is there that it would replace.
    replaces: Option<bool>,
    /// What would be lost or different, a line each.
    differences: Option<Vec<String>>,
    /// Of roles: always null.
    undo: Option<String>,
}

/// `guard`.
#[derive(JsonSchema)]
pub struct Guard {
    /// What was made before the program ran.
    backups: Option<Vec<BackupDocument>>,
    /// The sources of which there is no backup.
    failed: Option<Vec<FailedInGuard>>,
    /// What the proofs of the backups found.
    results: Option<Vec<Verified>>,
    /// With which status the program ended.
    status: Option<i64>,
    /// The command that brings the backups back.
    restore_command: Option<String>,
    /// What was brought back.
    restored: Option<Vec<Restored>>,
    /// Always false.
    dry_run: Option<bool>,
}

/// `export`.
#[derive(JsonSchema)]
pub struct Export {
    /// The backup, or the dump's file.
    id: Option<String>,
    /// One for each table.
    exported: Option<Vec<Exported>>,
}

/// A table that was exported.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Exported {
    /// Its name.
    table: String,
    /// The file.
    file: String,
    /// How many rows are in it.
    rows: u64,
    /// Its bytes.
    size_bytes: u64,
}
