//! The patterns of a selection: the tables that they match, and those that match nothing.

use super::TableSelection;
use crate::engine::postgres::explain_error;
use crate::engine::postgres::names::{self, NamePattern};
use crate::error::Result;
use postgres::Client;
use postgres::types::Oid;

/// Finds the tables that match any of the patterns. The role's search path is in force here, so
/// everything is named with its schema: an operator of a user's that comes before the system's
/// would run with the rights of the backup's role.
pub(super) fn find_matching(
    client: &mut impl postgres::GenericClient,
    texts: &[String],
) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for text in texts {
        let pattern = names::parse_table_pattern(text)?;
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid \
             OPERATOR(pg_catalog.=) c.relnamespace
             WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,v,f,S}'::pg_catalog.\"char\"[])
               AND c.relname OPERATOR(pg_catalog.~) $1::pg_catalog.text COLLATE pg_catalog.default
               AND CASE WHEN $2::pg_catalog.text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
                        ELSE n.nspname OPERATOR(pg_catalog.~) $2::pg_catalog.text COLLATE \
             pg_catalog.default END",
            &[&pattern.name, &pattern.schema],
        );
        found.extend(
            rows.map_err(|error| explain_error(&error, "reading a pattern of tables"))?
                .iter()
                .map(|row| row.get::<_, Oid>(0)),
        );
    }
    Ok(found)
}

/// A pattern of the configuration that matches nothing in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedPattern {
    /// The key: `schemas`, `exclude_table` or `exclude_table_data`.
    pub key: &'static str,
    /// The pattern as it is written.
    pub pattern: String,
}

impl UnmatchedPattern {
    /// Whether the pattern selects what is saved, so that something is missing from the backup.
    pub fn leaves_out(&self) -> bool {
        self.key == "schemas"
    }

    /// The remedy. Names without quotes are folded to lower case, which is the usual mistake.
    pub fn hint(&self) -> String {
        let pattern = &self.pattern;
        if pattern.chars().any(char::is_uppercase) && !pattern.contains('"') {
            let (folded, quoted) = (pattern.to_lowercase(), quote_capitals(pattern));
            return format!(
                "PostgreSQL takes it for `{folded}`; with capitals: {} = ['{quoted}']",
                self.key
            );
        }
        "correct it, or take it out".to_owned()
    }
}

impl std::fmt::Display for UnmatchedPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.leaves_out() { "schema" } else { "table" };
        write!(f, "`{}` of `{}` matches no {kind}", self.pattern, self.key)
    }
}

/// Quotes the words of the pattern that have capitals. Within quotes `*` and `?` would stand for
/// themselves.
fn quote_capitals(pattern: &str) -> String {
    pattern
        .split_inclusive(['*', '?', '.'])
        .map(quote_capital_word)
        .collect()
}

/// Quotes a word if it has capitals, but not the sign at its end.
fn quote_capital_word(part: &str) -> String {
    let (word, sign) = part.split_at(part.trim_end_matches(['*', '?', '.']).len());
    if word.chars().any(char::is_uppercase) {
        format!("\"{word}\"{sign}")
    } else {
        part.to_owned()
    }
}

/// Finds the patterns that match nothing in this database.
pub fn find_unmatched_patterns(
    client: &mut Client,
    selection: &TableSelection,
) -> Result<Vec<UnmatchedPattern>> {
    let mut unmatched = Vec::new();
    // As in `list_tables`, names without a schema are looked up in the role's search path.
    client
        .batch_execute("RESET search_path")
        .map_err(|error| explain_error(&error, "reading patterns"))?;
    let of_tables = [
        ("exclude_table", &selection.exclude_table),
        ("exclude_table_data", &selection.exclude_table_data),
    ];
    for (key, patterns) in of_tables {
        for pattern in patterns {
            if find_matching(client, std::slice::from_ref(pattern))?.is_empty() {
                unmatched.push(UnmatchedPattern {
                    key,
                    pattern: pattern.clone(),
                });
            }
        }
    }
    client
        .batch_execute("SET search_path = ''")
        .map_err(|error| explain_error(&error, "reading patterns"))?;
    for pattern in &selection.schemas {
        if !schema_exists(client, &names::parse_schema_pattern(pattern)?)? {
            unmatched.push(UnmatchedPattern {
                key: "schemas",
                pattern: pattern.clone(),
            });
        }
    }
    Ok(unmatched)
}

fn schema_exists(client: &mut Client, pattern: &NamePattern) -> Result<bool> {
    let row = client.query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname \
         OPERATOR(pg_catalog.~) $1::text COLLATE pg_catalog.default)",
        &[&pattern.name],
    );
    Ok(row
        .map_err(|error| explain_error(&error, "reading a pattern of schemas"))?
        .get(0))
}

/// Finds the tables in the schemas that match any of the patterns.
pub(super) fn find_in_schemas(
    client: &mut impl postgres::GenericClient,
    patterns: &[NamePattern],
) -> Result<Vec<Oid>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let rows = client.query(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = \
             c.relnamespace
             WHERE n.nspname OPERATOR(pg_catalog.~) $1::text COLLATE pg_catalog.default",
            &[&pattern.name],
        );
        found.extend(
            rows.map_err(|error| explain_error(&error, "reading a pattern of schemas"))?
                .iter()
                .map(|row| row.get::<_, Oid>(0)),
        );
    }
    Ok(found)
}
