//! The JSON Schema of examples/dbbackup.schema.json holds: every document that any test here reads
//! is validated against it, and so is what lies in a store.

use crate::support::World;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The schema, stricter than it is for others: here nothing may be said that it does not know.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema: Value =
        serde_json::from_str(include_str!("../../examples/dbbackup.schema.json")).unwrap();
    for (name, definition) in schema["$defs"].as_object_mut().unwrap() {
        if name != "ShownContent" {
            close(definition);
        }
    }
    schema
});

static DOCUMENTS: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).unwrap());

fn close(definition: &mut Value) {
    if definition.get("properties").is_some() && definition.get("additionalProperties").is_none() {
        definition["additionalProperties"] = false.into();
    }
}

/// The document is as the schema says.
#[track_caller]
pub fn must_hold(document: &Value) {
    let wrong: Vec<String> = DOCUMENTS
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .take(5)
        .collect();
    assert!(
        wrong.is_empty(),
        "not as examples/dbbackup.schema.json says: {wrong:#?}\n{document:#}"
    );
}

/// A validator of one of the types.
pub fn of_type(name: &str) -> jsonschema::Validator {
    let definition = json!({"$schema": SCHEMA["$schema"], "$ref": format!("#/$defs/{name}"),
        "$defs": SCHEMA["$defs"]});
    jsonschema::validator_for(&definition).unwrap()
}

#[test]
fn what_lies_in_a_store_is_as_the_schema_says() {
    let world = World::new();
    world.shop("app.db");
    world.file("tree/a.txt", "text");
    std::os::unix::fs::symlink("a.txt", world.path("tree/link")).unwrap();
    std::fs::copy(world.path("app.db"), world.path("tree/inner.db")).unwrap();
    world.config(
        "[store]\npath = 'store'\n[retention]\nkeep_last = 9\n[sources.app]\nkind = 'sqlite'\npath \
         = 'app.db'\n\
         [sources.tree]\nkind = 'files'\npaths = ['tree']\n",
    );
    world
        .dbbackup_with(&["backup", "--pin", "--description", "why", "--tag", "a=b"])
        .run()
        .exits(0);
    world.dbbackup("verify --level restore").run().exits(0);
    world.sql("app.db", "PRAGMA foreign_keys = OFF; DELETE FROM orders");
    world.dbbackup("backup app").run().exits(3);
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.dbbackup("backup app").run().exits(1);
    let (sidecars, events) = (of_type("Sidecar"), of_type("Event"));
    let mut seen = [0; 2];
    for path in world
        .stored("app", ".json")
        .into_iter()
        .chain(world.stored("tree", ".json"))
    {
        let is_event = path.to_str().unwrap().ends_with(".event.json");
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let validator = if is_event { &events } else { &sidecars };
        let wrong: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        seen[usize::from(is_event)] += 1;
    }
    assert!(
        seen[0] == 4 && seen[1] >= 4,
        "sidecars and events: {seen:?}"
    );
    world
        .dbbackup("show tree --contents --json")
        .run()
        .exits(0)
        .json();
}

#[test]
fn each_command_has_a_document_and_no_other_fields() {
    let world = World::new();
    world.shop("app.db");
    world.config(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = \
                  'app.db'\n[sources.gone]\nkind = 'sqlite'\npath = 'gone.db'\n",
    );
    let commands = [
        "backup",
        "backup --dry-run",
        "list --status all",
        "list --all-stores",
        "show app",
        "show app --contents",
        "verify",
        "verify nothing",
        "restore app --dry-run",
        "restore app --yes",
        "restore app --to there.db",
        "cleanup --dry-run --keep-last 1",
        "cleanup --keep-last 1",
        "pin app",
        "unpin app",
        "stats",
        "status",
        "report",
        "report --html page.html",
        "report --html page.html --all-stores",
        "export app --format csv --to csv",
        "doctor",
        "init . --config other.toml",
        "completions bash",
        "help",
        "help recovery",
        "help recoverie",
        "guard app -- true",
        "guard app -- false",
        "cat app",
        "list nothing",
        "--version",
        "lits",
        "status --wrong",
    ];
    for command in commands {
        // `json` validates.
        let document = world.dbbackup(&format!("--json {command}")).run().json();
        assert!(document["outcome"].is_string(), "{document}");
    }
    let id = world.ids("app").pop().unwrap();
    world
        .dbbackup(&format!("--json delete {id} --yes --force"))
        .run()
        .exits(0)
        .json();
    let error = std::panic::catch_unwind(|| {
        must_hold(&json!({"command": "list", "outcome": "ok", "backups": [], "more": 1}))
    });
    assert!(error.is_err(), "an unknown field is noticed");
}
