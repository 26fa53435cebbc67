//! The one JSON document of a command: its fields in the order in which they were set.
//!
//! The document is written when the command has ended, for its first fields say how. A list that
//! may be longer than memory is serialized as its values come, and waits in a temporary file.

use super::tame;
use crate::error::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Seek, Write};

/// Bytes of a list that are kept in memory.
const IN_MEMORY: usize = 4 << 20;

/// The fields of a JSON document.
#[derive(Default)]
pub struct JsonDocument {
    fields: Vec<(String, Field)>,
}

/// A value of a list as it stands in the document. It can be made by any thread.
pub struct JsonText(String);

impl JsonText {
    /// From whatever has a form in JSON.
    pub fn new(value: &impl Serialize) -> JsonText {
        JsonText(indented(value, "    "))
    }
}

enum Field {
    Value(Value),
    /// A list as it stands in the document.
    List(tempfile::SpooledTempFile),
}

impl JsonDocument {
    /// Sets a field; one of that name keeps its place.
    pub fn set(&mut self, name: &str, value: Value) {
        self.set_field(name, Field::Value(value));
    }

    /// Sets a field to a list, one value at a time.
    pub fn set_list(
        &mut self,
        name: &str,
        values: impl Iterator<Item = Result<JsonText>>,
    ) -> Result<()> {
        let mut text = tempfile::SpooledTempFile::new(IN_MEMORY);
        let mut before = "[\n";
        for value in values {
            let JsonText(value) = value?;
            write!(text, "{before}    {value}")
                .context("keeping the answer in a temporary file")?;
            before = ",\n";
        }
        let end = if before == "[\n" { "[]" } else { "\n  ]" };
        text.write_all(end.as_bytes())?;
        self.set_field(name, Field::List(text));
        Ok(())
    }

    fn set_field(&mut self, name: &str, field: Field) {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = field,
            None => self.fields.push((name.to_owned(), field)),
        }
    }

    /// Writes the document: `head` first, then the fields.
    pub fn write(&mut self, head: &[(&str, &str)], out: &mut dyn Write) -> io::Result<()> {
        let mut before = "{\n";
        for (name, value) in head {
            let (name, value) = (text_of(name), text_of(value));
            write!(out, "{before}  {name}: {value}")?;
            before = ",\n";
        }
        for (name, field) in &mut self.fields {
            write!(out, "{before}  {}: ", text_of(name))?;
            match field {
                Field::Value(value) => out.write_all(indented(value, "  ").as_bytes())?,
                Field::List(text) => {
                    text.rewind()?;
                    io::copy(text, out)?;
                }
            }
            before = ",\n";
        }
        out.write_all(b"\n}\n")?;
        out.flush()
    }
}

/// The JSON text of a value, safe to show on a terminal.
fn text_of(value: &impl Serialize) -> String {
    tame(serde_json::to_string_pretty(value).unwrap_or_default())
}

/// The same with all lines but the first moved in. Text in JSON has no line breaks of its own.
fn indented(value: &impl Serialize, indent: &str) -> String {
    text_of(value).replace('\n', &format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_what_the_serializer_would_write() {
        let mut document = JsonDocument::default();
        document.set("plan", json!({"a": [1, {"b": "x\ny"}], "empty": []}));
        document.set_list("none", std::iter::empty()).unwrap();
        document.set("mark", json!("first"));
        let values = [json!({"id": "one", "list": [1]}), json!(2)];
        document
            .set_list("many", values.iter().map(|value| Ok(JsonText::new(value))))
            .unwrap();
        document.set("mark", json!("\"many\": []"));
        let mut written = Vec::new();
        document
            .write(&[("command", "list")], &mut written)
            .unwrap();
        let expected = json!({"command": "list", "plan": {"a": [1, {"b": "x\ny"}], "empty": []},
            "none": [], "mark": "\"many\": []", "many": values});
        assert_eq!(
            String::from_utf8(written).unwrap(),
            format!("{expected:#}\n")
        );
    }

    #[test]
    fn a_list_that_fails_is_not_set() {
        let mut document = JsonDocument::default();
        let error = crate::error::Error::failed("gone");
        let values = [Ok(JsonText::new(&1)), Err(error)];
        assert!(document.set_list("many", values.into_iter()).is_err());
        let mut written = Vec::new();
        document
            .write(&[("outcome", "failed")], &mut written)
            .unwrap();
        assert_eq!(written, b"{\n  \"outcome\": \"failed\"\n}\n");
    }
}
