//! Identifiers: qualified names, parsed and printed as the server does it, literals, and the
//! patterns of `pg_dump --table`.
//!
//! Names are compared as [`QualifiedName`]s, never as text: which names are quoted differs between
//! versions of the server.

use crate::error::{Error, Result};
use std::fmt;

/// The name of a table. Its parts are as in the catalog, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    /// The schema; empty where none was written.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl QualifiedName {
    /// A name of parts as the catalog has them.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// Parses `public.orders`, `"my schema"."a""b"` or a lone `orders`; nothing may follow.
    pub fn parse(text: &str) -> Option<QualifiedName> {
        match split_name(text)? {
            (name, "") => Some(name),
            _ => None,
        }
    }

    /// The name as comments of a dump and lists of `pg_restore` show it. Line breaks have become
    /// blanks, so two names may coincide.
    pub fn on_one_line(&self) -> QualifiedName {
        QualifiedName {
            schema: on_one_line(&self.schema),
            name: on_one_line(&self.name),
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.schema.is_empty() {
            write!(f, "{}.", quote_ident(&self.schema))?;
        }
        f.write_str(&quote_ident(&self.name))
    }
}

/// Replaces line breaks by blanks, as `pg_dump` does in comments and lists.
pub(super) fn on_one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Splits a name off the beginning of `text`.
pub(super) fn split_name(text: &str) -> Option<(QualifiedName, &str)> {
    let (first, rest) = split_identifier(text)?;
    match rest.strip_prefix('.') {
        None => Some((QualifiedName::new("", first), rest)),
        Some(rest) => {
            split_identifier(rest).map(|(second, rest)| (QualifiedName::new(first, second), rest))
        }
    }
}

/// Splits an identifier off the beginning of `text`; it is folded or freed of its quotes.
pub(super) fn split_identifier(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return split_quoted(quoted);
    }
    let belongs = |letter: char| {
        letter.is_ascii_alphanumeric() || letter == '_' || letter == '$' || !letter.is_ascii()
    };
    let length = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    let (word, rest) = text.split_at(length);
    let begins_well = !word.starts_with(|letter: char| letter.is_ascii_digit() || letter == '$');
    // The server folds only ASCII where a character can have several bytes.
    (begins_well && !word.is_empty()).then(|| (word.to_ascii_lowercase(), rest))
}

/// Splits off the rest of a quoted identifier, after its first quote.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// Quotes an identifier where it needs it, by the rules of the server's `quote_ident`.
pub fn quote_ident(name: &str) -> String {
    // A `$` needs no quotes, but the server quotes it.
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit();
    let begins_well = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_');
    if begins_well && name.chars().all(plain) && KEYWORDS.binary_search(&name).is_err() {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string so that it is read the same whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// The longest beginning of `text` of at most `max_bytes` bytes, cut between characters.
pub fn truncate_to(text: &str, max_bytes: usize) -> &str {
    let cut = (0..=max_bytes.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..cut.unwrap_or(0)]
}

/// A pattern of `pg_dump --table` or `--schema` as regular expressions for the server's `~`
/// operator, anchored at both ends.
///
/// They must be applied with `COLLATE pg_catalog.default`. A pattern without a schema matches the
/// tables that the role's own search path makes visible (`pg_table_is_visible`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// The database's name, which is no expression: `pg_dump` fails unless it is the database that
    /// it is connected to.
    pub database: Option<String>,
    /// The expression for `nspname`; always `None` in a pattern of schemas.
    pub schema: Option<String>,
    /// The expression for `relname`, or for `nspname` in a pattern of schemas.
    pub name: String,
}

/// Parses `[[database.]schema.]table` as `pg_dump --table` does.
pub fn parse_table_pattern(text: &str) -> Result<NamePattern> {
    let [database, schema, name] = split_pattern(text, "database.schema.table")?;
    Ok(NamePattern {
        database: database.map(|part| part.literal),
        schema: schema.map(PatternPart::regex),
        name: name.map_or_else(String::new, PatternPart::regex),
    })
}

/// Parses `[database.]schema` as `pg_dump --schema` does.
pub fn parse_schema_pattern(text: &str) -> Result<NamePattern> {
    let [extra, database, schema] = split_pattern(text, "database.schema")?;
    if extra.is_some() {
        return Err(too_many(text, "database.schema"));
    }
    Ok(NamePattern {
        database: database.map(|part| part.literal),
        schema: None,
        name: schema.map_or_else(String::new, PatternPart::regex),
    })
}

fn too_many(text: &str, form: &str) -> Error {
    Error::usage(format!("`{text}` has too many dots for a pattern")).with_hint(format!(
        "write at most {form}, and a part that has a dot itself in double quotes"
    ))
}

/// One dotted part of a pattern, as an expression and literally.
#[derive(Default)]
struct PatternPart {
    expression: String,
    literal: String,
}

impl PatternPart {
    fn push(&mut self, expression: &str, literal: char) {
        self.expression.push_str(expression);
        self.literal.push(literal);
    }

    fn escaped(&mut self, letter: char) {
        self.expression.push('\\');
        self.expression.push(letter);
        self.literal.push(letter);
    }

    fn plain(&mut self, letter: char) {
        self.expression.push(letter);
        self.literal.push(letter);
    }

    /// The group keeps an `a|b` within the anchors.
    fn regex(self) -> String {
        format!("^({})$", self.expression)
    }
}

/// Splits a pattern into its parts; the last of them is at the end.
fn split_pattern(text: &str, form: &str) -> Result<[Option<PatternPart>; 3]> {
    let mut parts = vec![PatternPart::default()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '.' && !quoted {
            parts.push(PatternPart::default());
            continue;
        }
        let Some(part) = parts.last_mut() else { break };
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => part.plain('"'),
            '"' => quoted = !quoted,
            // It belongs to names; as an anchor it would be of no use here.
            '$' => part.escaped('$'),
            _ if quoted && "|*+?()[]{}.^\\".contains(letter) => part.escaped(letter),
            _ if quoted => part.plain(letter),
            '*' => part.push(".*", '*'),
            '?' => part.push(".", '?'),
            // This is rather the name of an array type than an empty set of characters.
            '[' if letters.peek() == Some(&']') => part.escaped('['),
            _ => part.plain(letter.to_ascii_lowercase()),
        }
    }
    if parts.len() > 3 {
        return Err(too_many(text, form));
    }
    let mut from_the_end = parts.into_iter().rev();
    let last = from_the_end.next();
    let middle = from_the_end.next();
    Ok([from_the_end.next(), middle, last])
}

/// The words that the server's `quote_ident` quotes in any of the versions 13 to 18: all keywords
/// but the unreserved ones. Sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary",
    "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce", "collate",
    "collation", "column",
    "concurrently", "constraint", "create", "cross", "current_catalog", "current_date",
    "current_role", "current_schema",
    "current_time", "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable",
    "desc", "distinct", "do",
    "else", "end", "except", "exists", "extract", "false", "fetch", "float", "for", "foreign",
    "freeze", "from", "full", "grant",
    "greatest", "group", "grouping", "having", "ilike", "in", "initially", "inner", "inout", "int",
    "integer", "intersect",
    "interval", "into", "is", "isnull", "join", "json", "json_array", "json_arrayagg",
    "json_exists", "json_object",
    "json_objectagg", "json_query", "json_scalar", "json_serialize", "json_table", "json_value",
    "lateral", "leading", "least",
    "left", "like", "limit", "localtime", "localtimestamp", "merge_action", "national", "natural",
    "nchar", "none", "normalize",
    "not", "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out",
    "outer", "overlaps", "overlay",
    "placing", "position", "precision", "primary", "real", "references", "returning", "right",
    "row", "select", "session_user",
    "setof", "similar", "smallint", "some", "substring", "symmetric", "system_user", "table",
    "tablesample", "then", "time",
    "timestamp", "to", "trailing", "treat", "trim", "true", "union", "unique", "user", "using",
    "values", "varchar", "variadic",
    "verbose", "when", "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement",
    "xmlexists", "xmlforest",
    "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(schema: &str, name: &str) -> Option<QualifiedName> {
        Some(QualifiedName::new(schema, name))
    }

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        assert_eq!(
            QualifiedName::parse("public.orders"),
            name("public", "orders")
        );
        assert_eq!(
            QualifiedName::parse("Public.ORDERS"),
            name("public", "orders")
        );
        assert_eq!(QualifiedName::parse("orders"), name("", "orders"));
        assert_eq!(
            QualifiedName::parse(r#""my schema"."a""b""#),
            name("my schema", "a\"b")
        );
        assert_eq!(
            QualifiedName::parse("\"a.b\".\"c\n;\""),
            name("a.b", "c\n;")
        );
        assert_eq!(QualifiedName::parse("schéma._t$1"), name("schéma", "_t$1"));
        assert_eq!(QualifiedName::parse("ÉCOLE.T"), name("École", "t"));
        for wrong in [
            "", ".", "a.", ".a", "a.b.c", "a b", "1a", "$a", "\"a", "\"\"", "a.\"b", "a. b",
            "a.b ", "a-b",
        ] {
            assert_eq!(QualifiedName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_printed_as_the_server_prints_them() {
        let print = |schema: &str, name: &str| QualifiedName::new(schema, name).to_string();
        assert_eq!(print("public", "orders"), "public.orders");
        assert_eq!(print("", "orders"), "orders");
        assert_eq!(print("my schema", "a\"b"), r#""my schema"."a""b""#);
        for quoted in [
            "user",
            "order",
            "table",
            "Orders",
            "1a",
            "a$b",
            "é",
            "",
            "a-b",
            "authorization",
            "between",
            "json_table",
        ] {
            assert_eq!(quote_ident(quoted), format!("\"{quoted}\""));
        }
        for plain in ["orders", "_x1", "begin", "copy", "data", "users"] {
            assert_eq!(quote_ident(plain), plain);
        }
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn literals_are_safe_in_both_settings() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(quote_literal(""), "''");
    }

    #[test]
    fn cut_between_characters() {
        assert_eq!(truncate_to("äöü", 3), "ä");
        assert_eq!(truncate_to("äöü", 4), "äö");
        assert_eq!(truncate_to("äöü", 99), "äöü");
        assert_eq!(truncate_to("😀", 3), "");
        assert_eq!(truncate_to("", 0), "");
    }

    /// Worked out by hand from psql's manual, and compared with `psql -E` for PostgreSQL 15.
    #[test]
    fn patterns_are_those_of_psql() {
        let table = |text: &str| {
            let pattern = parse_table_pattern(text).unwrap();
            (pattern.database, pattern.schema, pattern.name)
        };
        let one = |text: &str| match table(text) {
            (None, None, name) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(one("orders"), "^(orders)$");
        assert_eq!(one("Orders*"), "^(orders.*)$");
        assert_eq!(one("\"Orders*\""), r"^(Orders\*)$");
        assert_eq!(one("a?c"), "^(a.c)$");
        assert_eq!(one("a$b"), r"^(a\$b)$");
        assert_eq!(one("\"a$b\""), r"^(a\$b)$");
        assert_eq!(one("(a|b)+[0-9]"), "^((a|b)+[0-9])$");
        assert_eq!(one("\"(a|b)+[0-9]\""), r"^(\(a\|b\)\+\[0-9\])$");
        assert_eq!(one("int[]"), r"^(int\[])$");
        assert_eq!(one("\"a.b\""), r"^(a\.b)$");
        assert_eq!(one("\"a\"\"b\""), "^(a\"b)$");
        assert_eq!(one("\"a\"\"\"\"b\""), "^(a\"\"b)$");
        assert_eq!(one("A\"B\"C"), "^(aBc)$");
        assert_eq!(one("\"open"), "^(open)$");
        assert_eq!(one("\"\""), "^()$");
        assert_eq!(one(r"\d"), r"^(\d)$");
        assert_eq!(one("ÉT"), "^(Ét)$");
        assert_eq!(one(""), "^()$");
        assert_eq!(
            table("public.o*"),
            (None, Some("^(public)$".to_owned()), "^(o.*)$".to_owned())
        );
        assert_eq!(
            table("*.*"),
            (None, Some("^(.*)$".to_owned()), "^(.*)$".to_owned())
        );
        assert_eq!(
            table("\"Db*\".S.t"),
            (
                Some("Db*".to_owned()),
                Some("^(s)$".to_owned()),
                "^(t)$".to_owned()
            )
        );
        let refused = parse_table_pattern("a.b.c.d").unwrap_err();
        assert!(
            refused
                .hint()
                .is_some_and(|hint| hint.to_string().contains("database.schema.table"))
        );
    }

    #[test]
    fn patterns_of_schemas_have_no_tables() {
        let read = |text: &str| {
            parse_schema_pattern(text)
                .map(|pattern| (pattern.database, pattern.schema, pattern.name))
        };
        assert_eq!(
            read("app_*").unwrap(),
            (None, None, "^(app_.*)$".to_owned())
        );
        assert_eq!(
            read("Shop.app").unwrap(),
            (Some("shop".to_owned()), None, "^(app)$".to_owned())
        );
        assert!(read("a.b.c").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(schema in "\\PC{1,8}|[a-z$_\"\\n.;]{1,8}",
            table in "\\PC{1,8}|[a-z$_\"\\n.;]{1,8}") {
            let one = QualifiedName::new(schema, table);
            prop_assert_eq!(QualifiedName::parse(&one.to_string()), Some(one));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[aB$.\"\\[\\]*?é\\\\ ]{0,12}", at in 0usize..30) {
            let _ = QualifiedName::parse(&text);
            let _ = (parse_table_pattern(&text), parse_schema_pattern(&text));
            prop_assert!(truncate_to(&text, at).len() <= at);
        }

        /// An identifier written in quotes is a pattern that means just that.
        #[test]
        fn a_quoted_pattern_is_literal(text in "[aB$.\\[*?|é\\\\]{1,8}") {
            let found = parse_table_pattern(&format!("\"{text}\"")).unwrap();
            let mut plain = String::new();
            let mut letters =
                found.name.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$")).unwrap().chars();
            while let Some(letter) = letters.next() {
                plain.push(if letter == '\\' { letters.next().unwrap() } else { letter });
            }
            prop_assert_eq!(plain, text);
        }
    }
}
