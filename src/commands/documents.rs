//! The documents that `--json` prints, a type for each command: what the JSON Schema and the manual
//! page dbbackup-json(5) are made from. Only tests compile it. The commands put their documents
//! together piece by piece (a list may be longer than memory); that these are the same, every
//! document that an integration test reads is validated against the schema, in which no field may
//! be missing here.

#![allow(dead_code)]

use crate::engine::files::listing::ListLine;
use crate::engine::{CheckDocument, CheckStatus, Table};
use crate::sidecar::event::StoredEvent;
use crate::sidecar::{Level, Sidecar, Verification};
use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a command ended.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// All done.
    Ok,
    /// Some of it was done, or something deserves a look.
    Partial,
    /// It failed as a whole.
    Failed,
}

/// A backup: its sidecar, with what came later.
#[derive(JsonSchema)]
struct BackupDocument {
    #[serde(flatten)]
    sidecar: Sidecar,
    /// Whether cleanup never removes it.
    pinned: bool,
    /// Whether it is whole, its dump is there as long as it was written, and no verification has
    /// found it damaged since.
    good: bool,
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
}

/// `backup`, and with `--dry-run` what it would do.
#[derive(JsonSchema)]
struct BackupRun {
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
struct List {
    /// The backups that match, newest first.
    backups: Option<Vec<BackupDocument>>,
    /// Sidecars that can't be used.
    unreadable: Option<Vec<Unreadable>>,
}

/// `show`.
#[derive(JsonSchema)]
struct Show {
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
struct Verify {
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
struct Restore {
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

/// `cleanup`.
#[derive(JsonSchema)]
struct Cleanup {
    /// Whether nothing was done.
    dry_run: Option<bool>,
    /// What stays.
    kept: Option<Vec<Kept>>,
    /// What was removed, or would be.
    deleted: Option<Vec<Deleted>>,
    /// How many that are.
    deleted_count: Option<u64>,
    /// Their bytes together.
    total_size_freed: Option<u64>,
}

/// A backup that stays.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Kept {
    /// Its id.
    id: String,
    /// Why, for people; never empty.
    reasons: Vec<String>,
}

/// A backup that was removed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Deleted {
    /// Its id.
    id: String,
    /// Why, for people.
    reason: String,
    /// Bytes of its dump.
    size_bytes: u64,
}

/// `delete`.
#[derive(JsonSchema)]
struct Delete {
    /// The ids of what was deleted.
    deleted: Option<Vec<String>>,
    /// The bytes of their dumps.
    total_size_freed: Option<u64>,
}

/// `pin` and `unpin`.
#[derive(JsonSchema)]
struct Pin {
    /// The backups.
    ids: Option<Vec<String>>,
    /// Whether they are pinned now.
    pinned: Option<bool>,
}

/// `stats`.
#[derive(JsonSchema)]
struct Stats {
    /// One for each source.
    sources: Option<Vec<SourceSums>>,
    /// All sources together.
    total: Option<Sums>,
}

/// The backups of one source in numbers.
#[derive(JsonSchema)]
struct SourceSums {
    #[serde(flatten)]
    sums: Sums,
    /// Its name.
    source: String,
}

/// Backups in numbers.
#[derive(JsonSchema)]
struct Sums {
    /// Good backups.
    good: u64,
    /// Damaged and incomplete ones, and sidecars that can't be read.
    flawed: u64,
    /// Failed attempts that the store remembers.
    failed: u64,
    /// Bytes of all dumps.
    stored_bytes: u64,
    /// Bytes of the good ones before compression.
    content_bytes: u64,
    /// Content by stored bytes of the good ones.
    compression_ratio: Option<f64>,
    /// How the content grows.
    growth_bytes_per_day: Option<f64>,
    /// Good backups by label.
    by_label: BTreeMap<String, u64>,
    /// The oldest good one.
    oldest: Option<DateTime<Utc>>,
    /// The newest good one.
    newest: Option<DateTime<Utc>>,
    /// When the last good one ended.
    last_success: Option<DateTime<Utc>>,
    /// When the last failed attempt ended.
    last_failure: Option<DateTime<Utc>>,
}

/// The words and exit codes of Nagios plug-ins.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Health {
    /// 0: all is well.
    Ok,
    /// 1: somebody should look.
    Warning,
    /// 2: there may be nothing to restore.
    Critical,
    /// 3: it could not be found out.
    Unknown,
}

/// `status`.
#[derive(JsonSchema)]
#[schemars(rename = "Status")]
struct StatusDocument {
    /// The worst of all findings.
    status: Option<Health>,
    /// The sources, the worst first.
    sources: Option<Vec<SourceStatus>>,
    /// Sources of the store that the configuration does not define: they are not judged.
    unconfigured: Option<Vec<String>>,
    /// The store itself.
    store: Option<StoreStatus>,
}

/// The store.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StoreStatus {
    /// Its directory.
    path: String,
    /// Free bytes; null where it can't tell.
    free_bytes: Option<u64>,
    /// Bytes that the next backups will need.
    needed_bytes: u64,
    /// What is wrong with it.
    findings: Vec<Finding>,
}

/// Something that was found.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Finding {
    /// How bad it is.
    status: Health,
    /// For people, one sentence.
    text: String,
    /// What to do about it.
    hint: Option<String>,
}

/// A source, judged.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SourceStatus {
    /// Its name.
    source: String,
    /// The worst of its findings.
    status: Health,
    /// For people, one line.
    text: String,
    /// What is wrong, the worst first.
    findings: Vec<Finding>,
    /// Why no backups are expected now; null where they are.
    not_expected: Option<String>,
    /// How old the newest good backup may be.
    expect_every_seconds: u64,
    /// How long ago the last proof may be; null where none is asked for.
    prove_every_seconds: Option<u64>,
    /// The newest good backup.
    newest_good: Option<NewestGood>,
    /// The last attempt, however it ended.
    last_attempt: Option<AttemptAt>,
    /// The last failed attempt.
    last_failure: Option<FailureAt>,
    /// The last time that a backup was restored for trial, and came back whole.
    last_proof: Option<ProofAt>,
    /// Good backups by label.
    good_by_label: BTreeMap<String, u64>,
    /// Failed attempts that the store remembers.
    failed_attempts: u64,
    /// Backups that were found damaged.
    damaged_backups: u64,
    /// Bytes of all its dumps.
    stored_bytes: u64,
    /// Why retention removes nothing, where its brake holds.
    retention_held: Option<String>,
    /// What restores left, a line each.
    leftovers: Vec<String>,
}

/// The newest good backup of a source.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NewestGood {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
    /// How long ago that is.
    age_seconds: i64,
    /// Bytes of its dump.
    size_bytes: u64,
    /// Bytes before compression.
    content_size_bytes: u64,
    /// Rows of all tables; null for files.
    rows_total: Option<u64>,
    /// How long it took.
    duration_seconds: f64,
    /// Bytes of the good one before it.
    size_bytes_before: Option<u64>,
}

/// An attempt.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AttemptAt {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
}

/// A failed attempt.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FailureAt {
    /// Its id.
    id: String,
    /// When it ended.
    at: DateTime<Utc>,
    /// Why it failed.
    error: String,
    /// What to do about it.
    hint: Option<String>,
}

/// A proof.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ProofAt {
    /// The backup.
    id: String,
    /// When it was proven.
    at: DateTime<Utc>,
    /// How long ago that is.
    age_seconds: i64,
}

/// `guard`.
#[derive(JsonSchema)]
struct Guard {
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
struct Export {
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

/// `doctor`.
#[derive(JsonSchema)]
struct Doctor {
    /// Whatever was looked at.
    checks: Option<Vec<Looked>>,
    /// How many of them are problems.
    problems: Option<u64>,
    /// How many deserve a look.
    warnings: Option<u64>,
}

/// One thing that was looked at.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Looked {
    /// `store`, `configuration`, a source's name…
    about: String,
    /// What of it.
    check: String,
    /// What was found.
    status: ShownStatus,
    /// For people, one line.
    detail: String,
    /// What to do about it.
    remedy: Option<String>,
}

/// How well something is.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Standing")]
enum ShownStatus {
    /// Well.
    Ok,
    /// It deserves a look.
    Warning,
    /// A backup would fail.
    Problem,
}

/// `init`.
#[derive(JsonSchema)]
struct Init {
    /// The configuration that was written.
    config: Option<String>,
    /// The store that it names.
    store: Option<String>,
    /// The databases that were found.
    sources: Option<Vec<FoundSource>>,
    /// Lines for a crontab.
    crontab: Option<Vec<String>>,
}

/// A database that was found.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FoundSource {
    /// The name that it got.
    name: String,
    /// `sqlite` or `postgres`.
    kind: String,
    /// Its path or address, without a password.
    place: String,
    /// Whether it could be read, and is enabled.
    enabled: bool,
}

/// `completions`.
#[derive(JsonSchema)]
struct Completions {
    /// The script for the shell.
    script: Option<String>,
}

/// `help`.
#[derive(JsonSchema)]
struct HelpDocument {
    /// The text, as it is printed without `--json`.
    text: Option<String>,
}

/// `--version`.
#[derive(JsonSchema)]
struct Version {
    /// Of dbbackup.
    version: Option<String>,
    /// Of the SQLite that is built in.
    sqlite: Option<String>,
    /// Whether live databases are streamed without a copy on disk.
    page_streaming: Option<bool>,
}

/// What every document has.
#[derive(JsonSchema)]
struct Common {
    /// Which command it is of; null where the arguments named none that there is.
    command: Option<String>,
    /// How it ended; the exit code says more.
    outcome: Outcome,
    /// Why, in one line, where something failed.
    error: Option<String>,
    /// What to do about it.
    hint: Option<String>,
}

/// A command's document: what all have and its own.
fn document<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut whole = T::json_schema(generator);
    let common = Common::json_schema(generator);
    let object = whole.as_object_mut().unwrap();
    let properties = object
        .entry("properties")
        .or_insert_with(|| serde_json::json!({}))
        .as_object_mut()
        .unwrap();
    let own: Vec<(String, Value)> = std::mem::take(properties)
        .into_iter()
        .map(|(name, property)| (name, without_null(property)))
        .collect();
    let common = common
        .get("properties")
        .unwrap()
        .as_object()
        .unwrap()
        .clone();
    let kept = |name: &str, property: Value| {
        if name == "command" {
            property
        } else {
            without_null(property)
        }
    };
    properties.extend(
        common
            .into_iter()
            .map(|(name, property)| (name.clone(), kept(&name, property))),
    );
    properties.extend(own);
    object.insert("required".into(), serde_json::json!(["command", "outcome"]));
    object.insert("additionalProperties".into(), false.into());
    whole
}

/// A field of a document is left out where there is nothing to say: it is never null.
fn without_null(mut property: Value) -> Value {
    if let Some(types) = property.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| one != "null");
        if let [only] = &types[..] {
            property["type"] = only.clone();
        }
    }
    if let Some([first, null]) = property
        .get("anyOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        && null["type"] == "null"
    {
        let first = first.clone();
        let object = property.as_object_mut().unwrap();
        object.remove("anyOf");
        object.extend(first.as_object().unwrap().clone());
    }
    property
}

/// Without the marks that lead to other pages in the code's own documentation.
fn plain_descriptions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                // Where the code's lines end means nothing to a reader of the schema.
                let paragraphs = text.split("\n\n").map(|text| text.replace('\n', " "));
                let text_of_all = paragraphs.collect::<Vec<_>>().join("\n\n");
                *text = text_of_all.replace("[`", "`").replace("`]", "`");
            }
            fields.values_mut().for_each(plain_descriptions);
        }
        Value::Array(values) => values.iter_mut().for_each(plain_descriptions),
        _ => {}
    }
}

/// The schema of all documents, and of what lies in a store.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut commands: Vec<(&str, Schema)> = Vec::new();
    macro_rules! add {
        ($($name:literal => $type:ty),* $(,)?) => { $(commands.push(($name,
            document::<$type>(&mut generator)));)* };
    }
    add! {
        "backup" => BackupRun, "list" => List, "show" => Show, "verify" => Verify,
        "restore" => Restore, "cleanup" => Cleanup, "delete" => Delete,
        "pin" => Pin, "unpin" => Pin, "stats" => Stats, "status" => StatusDocument,
        "guard" => Guard,
        "export" => Export, "doctor" => Doctor,
        "init" => Init, "completions" => Completions, "help" => HelpDocument,
        "version" => Version, "cat" => Nothing,
    }
    commands.push(("", document::<Nothing>(&mut generator)));
    // In a store: what one wrote, others read; a newer version may add to it.
    for schema in [
        generator.subschema_for::<Sidecar>(),
        generator.subschema_for::<StoredEvent>(),
        generator.subschema_for::<ListLine>(),
    ] {
        drop(schema);
    }
    drop(generator.subschema_for::<Verification>());
    let mut definitions = generator.take_definitions(true);
    let mut choices = Vec::new();
    for (name, schema) in commands {
        let key = if name.is_empty() {
            "document of no command".to_owned()
        } else {
            format!("document of {name}")
        };
        let command = if name.is_empty() {
            Value::Null
        } else {
            name.into()
        };
        choices.push(serde_json::json!({
            "if": {"properties": {"command": {"const": command}}},
            "then": {"$ref": format!("#/$defs/{}", key.replace(' ', "%20"))},
        }));
        definitions.insert(key, schema.to_value());
    }
    let mut whole = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What `dbbackup --json` prints, and what lies in a store",
        "type": "object",
        "required": ["command", "outcome"],
        "allOf": choices,
        "$defs": definitions,
    });
    plain_descriptions(&mut whole);
    whole
}

/// No field of its own.
#[derive(JsonSchema)]
struct Nothing {}

/// With `DBBACKUP_BLESS` set writes the schema, else demands that the one in the repository is the
/// types'.
#[test]
fn the_schema_is_made_from_the_types() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dbbackup.schema.json");
    if std::env::var_os("DBBACKUP_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what the types say; write it anew with `DBBACKUP_BLESS=1 cargo test documents`",
        path.display()
    );
}
