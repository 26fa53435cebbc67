//! dbbackup-json(5): the fields of every document and of what lies in a store, written from the
//! JSON Schema, which is made from the code's types.

use super::text_of;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value;

const ABOUT: &str = "With `--json` every command prints exactly one JSON document on its standard \
                     output. A field is left out where there is nothing to \
    say; in parts of a document it may be null where that is said. Readers should ignore fields \
    that they do not know: a later version may add some, \
    and takes none away within a schema's version. Times are RFC 3339 in UTC, sizes are bytes, \
    durations are seconds.";

const STORE: &str = "What lies in a store beside the dumps. Sidecars and events are written \
                     once and never changed; with `list` and `show` its verifications hold the \
    later ones, too.";

const SENT: &str = "What a webhook gets as its body and a program on its standard input, where \
                    `[notify]` names one.";

/// The page.
pub fn page() -> (String, Vec<u8>) {
    let schema: Value = serde_json::from_str(&text_of("examples/dbbackup.schema.json")).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut roff = Roff::new();
    roff.control(
        "TH",
        [
            "dbbackup-json",
            "5",
            "",
            &format!("dbbackup {}", env!("CARGO_PKG_VERSION")),
            "dbbackup manual",
        ],
    );
    roff.control("SH", ["NAME"]).text([roman(
        "dbbackup-json - the fields of JSON documents and of sidecars",
    )]);
    roff.control("SH", ["DESCRIPTION"]).text(marked(ABOUT));
    let common = &definitions["document of no command"];
    roff.control("SS", ["Every document"]);
    fields(common, &[], &mut roff);
    roff.control("SH", ["DOCUMENTS"]);
    let of_all: Vec<&str> = common["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for (name, definition) in definitions.iter().filter(|(name, _)| is_document(name)) {
        let command = name.trim_start_matches("document of ");
        if command != "no command" {
            roff.control("SS", [command]);
            fields(definition, &of_all, &mut roff);
        }
    }
    let in_store = ["Sidecar", "Event", "ListLine"];
    roff.control("SH", ["IN A STORE"]).text(marked(STORE));
    for name in in_store {
        definition(name, &definitions[name], &mut roff);
    }
    roff.control("SH", ["MESSAGES"]).text(marked(SENT));
    definition("Notification", &definitions["Notification"], &mut roff);
    roff.control("SH", ["TYPES"]);
    // One that is a sidecar with two fields more says only these.
    let of_sidecar: Vec<&str> = definitions["Sidecar"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for (name, one) in definitions
        .iter()
        .filter(|(name, _)| !is_document(name) && !in_store.contains(&name.as_str()))
        .filter(|(name, _)| *name != "Notification")
    {
        if name == "BackupDocument" {
            roff.control("SS", [name.as_str()])
                .text([roman("All fields of a Sidecar, and:")]);
            fields(one, &of_sidecar, &mut roff);
        } else {
            definition(name, one, &mut roff);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("dbbackup"),
        roman("(1); the same as a JSON Schema: examples/dbbackup.schema.json among the sources"),
    ]);
    ("dbbackup-json.5".to_owned(), roff.to_roff().into_bytes())
}

fn is_document(name: &str) -> bool {
    name.starts_with("document of ")
}

fn definition(name: &str, definition: &Value, roff: &mut Roff) {
    roff.control("SS", [name])
        .text(marked(description(definition)));
    fields(definition, &[], roff);
    for choice in definition
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let word = match choice["const"].as_str() {
            Some(word) => format!("\"{word}\""),
            // An object of one field.
            None => choice["properties"]
                .as_object()
                .unwrap()
                .keys()
                .map(|key| format!("{{\"{key}\": …}}"))
                .collect(),
        };
        roff.control("TP", [])
            .text([bold(word)])
            .text(marked(description(choice)));
    }
    let words = definition
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let words: Vec<String> = words
        .filter_map(|word| Some(format!("\"{}\"", word.as_str()?)))
        .collect();
    if !words.is_empty() {
        roff.text([roman(format!("One of {}.", words.join(", ")))]);
    }
}

/// Name, type and meaning of each field but these.
fn fields(definition: &Value, but: &[&str], roff: &mut Roff) {
    let required: Vec<&str> = definition
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in definition
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if but.contains(&name.as_str()) {
            continue;
        }
        let optional = if required.contains(&name.as_str()) {
            ""
        } else {
            ", may be left out"
        };
        roff.control("TP", []).text([
            bold(name.as_str()),
            roman(" ("),
            italic(type_of(field)),
            roman(format!("{optional})")),
        ]);
        roff.text(marked(description(field)));
    }
}

fn description(value: &Value) -> &str {
    value["description"].as_str().unwrap_or_default()
}

/// `array of Table`, `string or null`.
fn type_of(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(choices) = field.get("anyOf").and_then(Value::as_array) {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let one = |word: &str| match (word, field["format"].as_str()) {
        ("array", _) => format!("array of {}", type_of(&field["items"])),
        ("object", _) if field["additionalProperties"].is_object() => {
            format!("object of {}", type_of(&field["additionalProperties"]))
        }
        ("string", Some("date-time")) => "time".to_owned(),
        (word, _) => word.to_owned(),
    };
    match &field["type"] {
        Value::String(word) => one(word),
        Value::Array(words) => words
            .iter()
            .filter_map(Value::as_str)
            .map(one)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

/// A text with what is in backquotes in bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}
