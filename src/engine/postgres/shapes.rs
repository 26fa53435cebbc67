//! What the values of a dump's columns mean, told by its own CREATE statements: a COPY gives text
//! and names, no types.

use super::names::{self, QualifiedName};
use crate::engine::Shape;
use std::collections::HashMap;

/// The columns of every table and composite type of a script, and what its domains are made of.
#[derive(Debug, Default)]
pub struct Shapes {
    /// A table has a type of its own name, so both are in one map, as they are in one namespace.
    tables: HashMap<QualifiedName, Columns>,
    domains: HashMap<QualifiedName, Type>,
}

#[derive(Debug, Default)]
struct Columns {
    own: Vec<(String, Type)>,
    /// Tables that it inherits from, the table that it is a partition of, or the type that it is
    /// of.
    from: Vec<QualifiedName>,
}

/// A type as it is written.
#[derive(Debug, Clone)]
struct Type {
    name: QualifiedName,
    array: bool,
}

/// As deep as inheritance and domains are followed.
const DEEPEST: usize = 64;

impl Shapes {
    /// Heeds a statement, given without its `CREATE`; what makes no columns is passed over.
    pub fn created(&mut self, statement: &str) {
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
        .find_map(|word| after(rest, word))
        {
            rest = after;
        }
        if let Some(table) = after(rest, "table") {
            let table = ["if", "not", "exists"]
                .iter()
                .fold(table, |rest, word| after(rest, word).unwrap_or(rest));
            self.table(table);
        } else if let Some(kind) = after(rest, "type") {
            self.table(kind);
        } else if let Some(domain) = after(rest, "domain") {
            let Some((name, rest)) = names::take_name(domain) else {
                return;
            };
            let rest = rest.trim_ascii_start();
            if let Some(base) = read_type(after(rest, "as").unwrap_or(rest)) {
                self.domains.insert(name, base);
            }
        }
    }

    /// `name (column type …, …) INHERITS (…)`, `name OF type`, `name PARTITION OF table`, `name AS
    /// (column type, …)`.
    fn table(&mut self, text: &str) {
        let Some((name, rest)) = names::take_name(text) else {
            return;
        };
        let mut columns = Columns::default();
        let mut rest = rest.trim_ascii_start();
        rest = after(rest, "as").unwrap_or(rest);
        if let Some(of) = after(after(rest, "partition").unwrap_or(rest), "of") {
            // A list behind it has options of the columns, and no types.
            columns
                .from
                .extend(names::take_name(of).map(|(kind, _)| kind));
        } else if let Some(list) = rest.strip_prefix('(') {
            let (items, after_list) = items(list);
            columns.own.extend(items.into_iter().filter_map(column));
            if let Some(parents) = after(after_list.trim_ascii_start(), "inherits")
                .and_then(|rest| rest.strip_prefix('('))
            {
                let parents = items_of(parents);
                columns.from.extend(
                    parents
                        .into_iter()
                        .filter_map(|parent| names::take_name(parent).map(|(name, _)| name)),
                );
            }
        }
        self.tables.insert(name, columns);
    }

    /// What the values of a table's column mean; text where nothing says it.
    pub fn of(&self, table: &QualifiedName, column: &str) -> Shape {
        self.type_of(table, column, 0)
            .map_or(Shape::Text, |found| self.shape(found, 0))
    }

    fn type_of(&self, table: &QualifiedName, column: &str, depth: usize) -> Option<&Type> {
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
                .find_map(|parent| self.type_of(parent, column, depth + 1))
        })
    }

    fn shape(&self, found: &Type, depth: usize) -> Shape {
        let element = match self.domains.get(&found.name).filter(|_| depth < DEEPEST) {
            Some(base) => self.shape(base, depth + 1),
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
        // The elements of an array of boxes are kept apart by semicolons.
        if found.array && found.name.name != "box" {
            Shape::Array(Box::new(element))
        } else {
            element
        }
    }
}

/// What follows a word, in any case, and the blanks behind it.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = !rest
        .starts_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$');
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_ascii_start())
}

fn items_of(list: &str) -> Vec<&str> {
    items(list).0
}

/// The items of a list behind its opening parenthesis, and what follows its closing one.
fn items(list: &str) -> (Vec<&str>, &str) {
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

/// A column and its type; none for a constraint of the table.
fn column(item: &str) -> Option<(String, Type)> {
    let constraints = [
        "constraint",
        "check",
        "unique",
        "primary",
        "foreign",
        "like",
    ];
    // This word may also be a column's name, without quotes.
    let excludes = after(item, "exclude").is_some_and(|rest| {
        rest.trim_ascii_start().starts_with('(')
            || after(rest.trim_ascii_start(), "using").is_some()
    });
    if excludes || constraints.iter().any(|word| after(item, word).is_some()) {
        return None;
    }
    let (name, rest) = names::take_identifier(item)?;
    Some((name, read_type(rest.trim_ascii_start())?))
}

/// The type at the beginning of a text: its first word says what it is, brackets behind it that it
/// is an array.
fn read_type(text: &str) -> Option<Type> {
    let (name, mut rest) = names::take_name(text)?;
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with('[') {
            return Some(Type { name, array: true });
        }
        // `(10,2)`, and the words that belong to a name of several.
        rest = match rest.strip_prefix('(') {
            Some(list) => items(list).1,
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
                    .find_map(|word| after(rest, word).map(|more| (*word, more)))
                else {
                    return Some(Type { name, array: false });
                };
                if word == "array" {
                    return Some(Type { name, array: true });
                }
                more
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(statements: &[&str]) -> Shapes {
        let mut shapes = Shapes::default();
        statements
            .iter()
            .for_each(|statement| shapes.created(statement));
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
            assert_eq!(shapes.of(&table, column), shape, "{column}");
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
        let of =
            |table: &str, column: &str| shapes.of(&QualifiedName::new("public", table), column);
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
