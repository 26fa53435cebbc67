//! The documents that `--json` prints, a type for each command: what the JSON Schema and the manual
//! page dbbackup-json(5) are made from. Only tests compile it. The commands put their documents
//! together piece by piece (a list may be longer than memory); that these are the same, every
//! document that an integration test reads is validated against the schema, in which no field may
//! be missing here.

#![allow(dead_code)]

mod backups;
mod health;
mod keeping;
mod program;

use self::backups::{BackupRun, Export, Guard, List, Restore, Show, Verify};
use self::health::{Doctor, StatusDocument};
use self::keeping::{Cleanup, Copy, Delete, Pin, Stats};
use self::program::{
    Adopt, Completions, HelpDocument, Init, Key, Notify, ScheduleDocument, Version,
};
use crate::engine::files::listing::ListLine;
use crate::notify::Notification;
use crate::overview::Overview;
use crate::sidecar::event::StoredEvent;
use crate::sidecar::{Sidecar, Verification};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

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
        "copy" => Copy, "pin" => Pin, "unpin" => Pin, "stats" => Stats, "status" => StatusDocument,
        "guard" => Guard,
        "export" => Export, "doctor" => Doctor, "key" => Key, "notify" => Notify,
        "schedule" => ScheduleDocument, "adopt" => Adopt,
        "report" => Overview,
        "init" => Init, "completions" => Completions, "help" => HelpDocument,
        "version" => Version, "cat" => Nothing,
    }
    commands.push(("", document::<Nothing>(&mut generator)));
    // In a store: what one wrote, others read; a newer version may add to it.
    for schema in [
        generator.subschema_for::<Sidecar>(),
        generator.subschema_for::<StoredEvent>(),
        generator.subschema_for::<ListLine>(),
        // What programs are sent.
        generator.subschema_for::<Notification>(),
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
