//! The meaning of a dump's columns, taken from its own CREATE statements: a COPY gives text and
//! names, but no types.

use super::names::{self, QualifiedName};
use crate::engine::Shape;
use std::collections::HashMap;

/// The columns of every table and composite type of a script, and the base types of its domains.
#[derive(Debug, Default)]
pub struct ColumnShapes {
    /// A table has a type of its own name, so both share one map, as they share one namespace.
    tables: HashMap<QualifiedName, TableColumns>,
    domains: HashMap<QualifiedName, WrittenType>,
}

#[derive(Debug, Default)]
struct TableColumns {
    own: Vec<(String, WrittenType)>,
    /// The tables that it inherits from, the table that it is a partition of, or the type that it
    /// is of.
    from: Vec<QualifiedName>,
}

/// A type as it is written.
#[derive(Debug, Clone)]
struct WrittenType {
    name: QualifiedName,
    array: bool,
}

/// How deep inheritance and domains are followed.
const DEEPEST: usize = 64;

impl ColumnShapes {
    /// Reads a statement, which is given without its `CREATE`. A statement that defines no columns
    /// is ignored.
    pub fn read_create(&mut self, statement: &str) {
        let mut rest = statement.trim_ascii_start();
        while let Some(after) = [
            "unlogged",
            "foreign",
            "global",
            "local",
            "temporary",
            "temp",
        ]
        .iter()
        .find_map(|word| skip_word(rest, word))
        {
            rest = after;
        }
        if let Some(table) = skip_word(rest, "table") {
            let table = ["if", "not", "exists"]
                .iter()
                .fold(table, |rest, word| skip_word(rest, word).unwrap_or(rest));
            self.read_table(table);
        } else if let Some(kind) = skip_word(rest, "type") {
            self.read_table(kind);
        } else if let Some(domain) = skip_word(rest, "domain") {
            let Some((name, rest)) = names::split_name(domain) else {
                return;
            };
            let rest = rest.trim_ascii_start();
            if let Some(base) = parse_type(skip_word(rest, "as").unwrap_or(rest)) {
                self.domains.insert(name, base);
            }
        }
    }

    /// Reads `name (column type …, …) INHERITS (…)`, `name OF type`, `name PARTITION OF table` or
    /// `name AS (column type, …)`.
    fn read_table(&mut self, text: &str) {
        let Some((name, rest)) = names::split_name(text) else {
            return;
        };
        let mut columns = TableColumns::default();
        let mut rest = rest.trim_ascii_start();
        rest = skip_word(rest, "as").unwrap_or(rest);
        if let Some(of) = skip_word(skip_word(rest, "partition").unwrap_or(rest), "of") {
            // A list after it holds options of columns, and no types.
            columns
                .from
                .extend(names::split_name(of).map(|(kind, _)| kind));
        } else if let Some(list) = rest.strip_prefix('(') {
            let (items, after_list) = split_list(list);
            columns.own.extend(items.into_iter().filter_map(column));
            if let Some(parents) = skip_word(after_list.trim_ascii_start(), "inherits")
                .and_then(|rest| rest.strip_prefix('('))
            {
                let parents = list_items(parents);
                columns.from.extend(
                    parents
                        .into_iter()
                        .filter_map(|parent| names::split_name(parent).map(|(name, _)| name)),
                );
            }
        }
        self.tables.insert(name, columns);
    }

    /// The shape of a column's values; text where its type is unknown.
    pub fn shape_of(&self, table: &QualifiedName, column: &str) -> Shape {
        self.find_type(table, column, 0)
            .map_or(Shape::Text, |found| self.to_shape(found, 0))
    }

    fn find_type(&self, table: &QualifiedName, column: &str, depth: usize) -> Option<&WrittenType> {
        let columns = self.tables.get(table).filter(|_| depth < DEEPEST)?;
        let own = columns
            .own
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, found)| found);
        own.or_else(|| {
            columns
                .from
                .iter()
                .find_map(|parent| self.find_type(parent, column, depth + 1))
        })
    }

    fn to_shape(&self, found: &WrittenType, depth: usize) -> Shape {
        let element = match self.domains.get(&found.name).filter(|_| depth < DEEPEST) {
            Some(base) => self.to_shape(base, depth + 1),
            None if found.name.schema.is_empty() || found.name.schema == "pg_catalog" => {
                match found.name.name.as_str() {
                    "smallint" | "integer" | "bigint" | "numeric" | "real" | "double" | "int"
                    | "int2" | "int4" | "int8" | "float4" | "float8" | "float" | "decimal"
                    | "smallserial" | "serial" | "bigserial" => Shape::Number,
                    "boolean" | "bool" => Shape::Boolean,
                    "json" | "jsonb" => Shape::Json,
                    _ => Shape::Text,
                }
            }
            None => Shape::Text,
        };
        // The elements of an array of boxes are separated by semicolons.
        if found.array && found.name.name != "box" {
            Shape::Array(Box::new(element))
        } else {
            element
        }
    }
}

/// The rest after a word in any case, and the blanks after it.
fn skip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = !rest
        .starts_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$');
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_ascii_start())
}

fn list_items(list: &str) -> Vec<&str> {
    split_list(list).0
}

/// Splits a list, given after its opening parenthesis, into its items; returns the rest after the
/// closing one, too.
fn split_list(list: &str) -> (Vec<&str>, &str) {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    let mut quote: Option<char> = None;
    for (at, letter) in list.char_indices() {
        match (quote, letter) {
            // A doubled quote ends the string and begins it again.
            (Some(open), _) => quote = Some(open).filter(|open| *open != letter),
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(' | '[') => depth += 1,
            (None, ')') if depth == 0 => {
                found.push(list[start..at].trim_ascii());
                return (found, &list[at + 1..]);
            }
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                found.push(list[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    (found, "")
}

/// Parses a column and its type; `None` for a constraint of the table.
fn column(item: &str) -> Option<(String, WrittenType)> {
    let constraints = [
        "constraint",
        "check",
        "unique",
        "primary",
        "foreign",
        "like",
    ];
    // This word may also be the name of a column, without quotes.
    let excludes = skip_word(item, "exclude").is_some_and(|rest| {
        rest.trim_ascii_start().starts_with('(')
            || skip_word(rest.trim_ascii_start(), "using").is_some()
    });
    if excludes
        || constraints
            .iter()
            .any(|word| skip_word(item, word).is_some())
    {
        return None;
    }
    let (name, rest) = names::split_identifier(item)?;
    Some((name, parse_type(rest.trim_ascii_start())?))
}

/// Parses the type at the beginning of a text: its first word names it, and brackets make it an
/// array.
fn parse_type(text: &str) -> Option<WrittenType> {
    let (name, mut rest) = names::split_name(text)?;
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with('[') {
            return Some(WrittenType { name, array: true });
        }
        // `(10,2)`, and the further words of a type's name.
        rest = match rest.strip_prefix('(') {
            Some(list) => split_list(list).1,
            None => {
                let words = [
                    "precision",
                    "varying",
                    "with",
                    "without",
                    "time",
                    "zone",
                    "array",
                ];
                let Some((word, more)) = words
                    .iter()
                    .find_map(|word| skip_word(rest, word).map(|more| (*word, more)))
                else {
                    return Some(WrittenType { name, array: false });
                };
                if word == "array" {
                    return Some(WrittenType { name, array: true });
                }
                more
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(statements: &[&str]) -> ColumnShapes {
        let mut shapes = ColumnShapes::default();
        statements
            .iter()
            .for_each(|statement| shapes.read_create(statement));
        shapes
    }

    fn array(of: Shape) -> Shape {
        Shape::Array(Box::new(of))
    }

    #[test]
    fn columns_are_what_their_types_say() {
        let shapes = shapes(&[
            " TABLE public.t (\n    id integer DEFAULT nextval('public.s, (x)'::regclass) NOT \
             NULL,\n    n numeric(10,2)[],\n    \
            b boolean DEFAULT true,\n    d double precision,\n    at timestamp(3) with time \
            zone,\n    v character varying(9)[] COLLATE pg_catalog.\"C\",\n    \
            j jsonb,\n    \"check\" bigint,\n    exclude integer,\n    e public.\"my \
            type\"[],\n    x box[],\n    s text DEFAULT 'it''s, [1]'::text,\n    \
            EXCLUDE USING gist (d WITH &&),\n    CONSTRAINT c CHECK ((id > 0))\n)\nPARTITION BY \
            RANGE (id)",
        ]);
        let table = QualifiedName::new("public", "t");
        let expected = [
            ("id", Shape::Number),
            ("n", array(Shape::Number)),
            ("b", Shape::Boolean),
            ("d", Shape::Number),
            ("at", Shape::Text),
            ("v", array(Shape::Text)),
            ("j", Shape::Json),
            ("check", Shape::Number),
            ("exclude", Shape::Number),
            ("e", array(Shape::Text)),
            ("x", Shape::Text),
            ("s", Shape::Text),
            ("c", Shape::Text),
        ];
        for (column, shape) in expected {
            assert_eq!(shapes.shape_of(&table, column), shape, "{column}");
        }
    }

    #[test]
    fn inherited_typed_and_domain_columns_are_followed() {
        let shapes = shapes(&[
            " DOMAIN public.positive AS integer\n\tCONSTRAINT c CHECK ((VALUE > 0))",
            " DOMAIN public.many AS public.positive[]",
            " TYPE public.pair AS (\n\ta public.positive,\n\tb text\n)",
            " TYPE public.mood AS ENUM (\n    'a',\n    'b'\n)",
            " TABLE public.parent (\n    a public.positive,\n    m public.many\n)",
            " UNLOGGED TABLE public.child (\n    c boolean\n)\nINHERITS (public.parent, \
             public.other)",
            " TABLE public.typed OF public.pair (\n    a NOT NULL,\n    b WITH OPTIONS DEFAULT \
             'x'\n)",
            " TABLE public.part PARTITION OF public.parent FOR VALUES IN (1)",
            " TABLE public.a (\n    x integer\n)\nINHERITS (public.a)",
        ]);
        let of = |table: &str, column: &str| {
            shapes.shape_of(&QualifiedName::new("public", table), column)
        };
        assert_eq!(of("parent", "a"), Shape::Number);
        assert_eq!(of("parent", "m"), array(Shape::Number));
        assert_eq!(
            (of("child", "a"), of("child", "c")),
            (Shape::Number, Shape::Boolean)
        );
        assert_eq!(
            (of("typed", "a"), of("typed", "b")),
            (Shape::Number, Shape::Text)
        );
        assert_eq!(of("part", "a"), Shape::Number);
        assert_eq!((of("a", "y"), of("none", "y")), (Shape::Text, Shape::Text));
    }
}
