//! Parses the output of `pg_restore --list`: the entries of an archive, and what made it.
//!
//! The list is made for people: its fields are separated by blanks, and names may contain blanks.
//! So an entry's kind is found among the known ones, and its names are the likeliest reading. Where
//! the names are known from elsewhere, [`TocEntry::belongs_to`] is exact.

use super::names::{QualifiedName, on_one_line};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// An archive's table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toc {
    /// The comments at its head.
    pub header: TocHeader,
    /// The entries in the order of a restore.
    pub entries: Vec<TocEntry>,
}

/// An archive's own description; a field that is missing there is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TocHeader {
    /// The time of creation, in local time and in the words of `pg_restore`.
    pub created: Option<String>,
    /// The database's name, with line breaks as blanks.
    pub database: Option<String>,
    /// `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: Option<String>,
    /// The version of `pg_dump`, in the same form.
    pub pg_dump_version: Option<String>,
    /// `none`, `gzip`; before version 16 a level, -1 for the default.
    pub compression: Option<String>,
    /// `CUSTOM`, `DIRECTORY`, `TAR`.
    pub format: Option<String>,
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocEntry {
    /// The number in the archive.
    pub id: i32,
    /// The whole line, which `pg_restore --use-list` takes.
    pub line: String,
    /// `TABLE DATA`, `FK CONSTRAINT` and so on.
    pub kind: String,
    /// `None` for objects that are in no schema.
    pub schema: Option<String>,
    /// Mostly the object's name. The tag of a constraint is its table and its name; that of a
    /// function contains the types of its arguments.
    pub tag: String,
    /// Empty where there is none.
    pub owner: String,
}

impl TocEntry {
    /// Whether the entry can belong to this table. This is more reliable than comparing the parts,
    /// which are guessed where names contain blanks.
    pub fn belongs_to(&self, table: &QualifiedName) -> bool {
        let names = format!(
            "{} {} ",
            on_one_line(&table.schema),
            on_one_line(&table.name)
        );
        self.names().is_some_and(|text| text.starts_with(&names))
    }

    /// Schema, tag and owner as they stand in the line.
    fn names(&self) -> Option<&str> {
        let (_, _, text) = split_numbers(&self.line)?;
        text.strip_prefix(self.kind.as_str())?.strip_prefix(' ')
    }
}

impl Toc {
    /// Parses the whole output.
    pub fn parse(text: &str) -> Result<Toc> {
        let mut toc = Toc::default();
        for line in text.split('\n') {
            let line = line.trim_end_matches('\r');
            match line.strip_prefix(';') {
                Some(comment) => toc.header.read_comment(comment),
                None if line.is_empty() => {}
                None => toc
                    .entries
                    .push(parse_entry(line).ok_or_else(|| not_understood(line))?),
            }
        }
        toc.refine_schemas();
        Ok(toc)
    }

    /// The entries of one kind.
    pub fn entries_of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a TocEntry> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// Parses the entries again with the names of schemas that contain blanks, which are known by
    /// now.
    fn refine_schemas(&mut self) {
        let schemas = self
            .entries_of_kind("SCHEMA")
            .map(|entry| entry.tag.clone());
        let schemas: BTreeSet<String> = schemas.filter(|name| name.contains(' ')).collect();
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.schema.is_some())
        {
            let Some(names) = entry.names() else { continue };
            let fitting = schemas
                .iter()
                .filter_map(|schema| Some((schema, strip_schema(names, schema)?)));
            // The longest one, as one name may begin with another.
            if let Some((schema, rest)) = fitting.max_by_key(|(schema, _)| schema.len()) {
                let parts = split_tag_and_owner(rest);
                entry.schema = Some(schema.clone());
                (entry.tag, entry.owner) = parts;
            }
        }
    }
}

/// Strips a schema from the names; the rest is tag and owner.
fn strip_schema<'a>(names: &'a str, schema: &str) -> Option<&'a str> {
    names
        .strip_prefix(schema)?
        .strip_prefix(' ')
        .filter(|rest| rest.contains(' '))
}

impl TocHeader {
    fn read_comment(&mut self, comment: &str) {
        let comment = comment.trim_start();
        let fields = [
            ("Archive created at ", &mut self.created),
            ("dbname: ", &mut self.database),
            ("Dumped from database version: ", &mut self.server_version),
            ("Dumped by pg_dump version: ", &mut self.pg_dump_version),
            ("Compression: ", &mut self.compression),
            ("Format: ", &mut self.format),
        ];
        for (name, field) in fields {
            if let Some(value) = comment.strip_prefix(name) {
                field.get_or_insert_with(|| value.to_owned());
            }
        }
    }
}

fn not_understood(line: &str) -> Error {
    Error::failed(format!(
        "`pg_restore --list` printed `{line}`, which is not understood"
    ))
}

/// Parses `3390; 0 16417 TABLE DATA public orders me`.
fn parse_entry(line: &str) -> Option<TocEntry> {
    let (id, catalog, text) = split_numbers(line)?;
    let kind = parse_kind(text, catalog)?;
    let (schema, rest) = text[kind.len() + 1..].split_once(' ')?;
    let (tag, owner) = split_tag_and_owner(rest);
    let schema = (schema != "-").then(|| schema.to_owned());
    Some(TocEntry {
        id,
        line: line.to_owned(),
        kind: kind.to_owned(),
        schema,
        tag,
        owner,
    })
}

/// Splits off an entry's number and the catalog of its object.
fn split_numbers(line: &str) -> Option<(i32, u32, &str)> {
    let (id, rest) = line.split_once("; ")?;
    let (catalog, rest) = rest.split_once(' ')?;
    let (object, rest) = rest.split_once(' ')?;
    object.parse::<u32>().ok()?;
    Some((id.parse().ok()?, catalog.parse().ok()?, rest))
}

/// Splits off the owner, which is taken for the last word; without one the line ends with a blank.
fn split_tag_and_owner(rest: &str) -> (String, String) {
    let (tag, owner) = rest.rsplit_once(' ').unwrap_or((rest, ""));
    (tag.to_owned(), owner.to_owned())
}

/// The longest known kind that leaves room for schema, tag and owner. The kind of an unknown one is
/// its words in capitals.
fn parse_kind(text: &str, catalog: u32) -> Option<&str> {
    let room = |kind: &str| {
        text.strip_prefix(kind)
            .and_then(|rest| rest.strip_prefix(' '))
            .is_some_and(|rest| rest.matches(' ').count() >= 2)
    };
    // `TABLE DATA x` may also be a table in a schema named "DATA"; only that one has a catalog.
    let possible = |kind: &&&str| room(kind) && (catalog == 0 || !WITHOUT_CATALOG.contains(kind));
    let known = KINDS
        .iter()
        .chain(WITHOUT_CATALOG)
        .filter(possible)
        .max_by_key(|kind| kind.len());
    let length = known.map(|kind| kind.len()).or_else(|| {
        let capitals = text.split(' ').take_while(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
        });
        let length = capitals
            .map(|word| word.len() + 1)
            .sum::<usize>()
            .checked_sub(1)?;
        room(&text[..length]).then_some(length)
    })?;
    Some(&text[..length])
}

/// Kinds that belong to another entry, begin with its kind, and have no catalog of their own.
const WITHOUT_CATALOG: &[&str] = &[
    "DATABASE PROPERTIES",
    "INDEX ATTACH",
    "MATERIALIZED VIEW DATA",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "STATISTICS DATA",
    "TABLE ATTACH",
    "TABLE DATA",
];

/// All other kinds of `pg_dump` 13 to 18.
#[rustfmt::skip]
const KINDS: &[&str] = &[
    "ACCESS METHOD", "ACL", "ACL LANGUAGE", "AGGREGATE", "BLOB", "BLOB COMMENTS", "BLOB METADATA",
    "BLOBS", "CAST",
    "CHECK CONSTRAINT", "COLLATION", "COMMENT", "CONSTRAINT", "CONVERSION", "DATABASE", "DEFAULT",
    "DEFAULT ACL", "DOMAIN",
    "ENCODING", "EVENT TRIGGER", "EXTENSION", "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN \
        SERVER", "FOREIGN TABLE",
    "FUNCTION", "INDEX", "LARGE OBJECT", "LARGE OBJECTS", "MATERIALIZED VIEW", "OPERATOR",
    "OPERATOR CLASS", "OPERATOR FAMILY",
    "POLICY", "PROCEDURAL LANGUAGE", "PROCEDURE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION \
        TABLES IN SCHEMA",
    "ROW SECURITY", "RULE", "SCHEMA", "SEARCHPATH", "SECURITY LABEL", "SEQUENCE", "SERVER", "SHELL \
        TYPE", "STATISTICS",
    "STDSTRINGS", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "TABLE", "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "TRANSFORM", "TRIGGER", "TYPE", "USER MAPPING",
    "VIEW",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines that pg_restore 15 and 18 printed.
    const LIST: &str = "\
;
; Archive created at 2026-11-21 09:29:58 UTC
;     dbname: h
;     TOC Entries: 37
;     Compression: -1
;     Dump Version: 1.14-0
;     Format: CUSTOM
;     Integer: 4 bytes
;     Offset: 8 bytes
;     Dumped from database version: 15.18 (Debian 15.18-0+deb12u1)
;     Dumped by pg_dump version: 15.18 (Debian 15.18-0+deb12u1)
;
;
; Selected TOC Entries:
;
6; 2615 16416 SCHEMA - my schema postgres
849; 1247 16386 TYPE public col postgres
220; 1259 16417 TABLE my schema a\"b postgres
217; 1259 16401 TABLE public p 1; Type: X postgres
3404; 0 0 SEQUENCE OWNED BY public withpk_b_seq postgres
3405; 0 0 COMMENT public TABLE zc postgres
;\tdepends on: 218
3396; 2613 16440 BLOB - 16440 postgres
3390; 0 16417 TABLE DATA my schema a\"b postgres
3387; 0 16401 TABLE DATA public p 1; Type: X postgres
3397; 0 0 BLOBS - BLOBS \n\
3402; 0 0 ENCODING - ENCODING \n\
3241; 2606 16439 CONSTRAINT public withpk withpk_pkey postgres
2; 3079 16389 EXTENSION - hstore \n\
3392; 0 16427 MATERIALIZED VIEW DATA public mv postgres
3410; 0 0 DATABASE PROPERTIES - h postgres
2060; 826 16500 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES postgres
230; 1255 16501 FUNCTION public f(integer, text) postgres
3242; 2606 16439 FK CONSTRAINT public a a_fk postgres
3411; 0 0 STATISTICS DATA public zc \n\
9; 9999 5 NEW THING public x me
";

    #[test]
    fn lists_are_read() {
        let toc = Toc::parse(LIST).unwrap();
        let header = &toc.header;
        assert_eq!(header.created.as_deref(), Some("2026-11-21 09:29:58 UTC"));
        assert_eq!(header.database.as_deref(), Some("h"));
        assert_eq!(
            header.server_version.as_deref(),
            Some("15.18 (Debian 15.18-0+deb12u1)")
        );
        assert_eq!(header.pg_dump_version, header.server_version);
        assert_eq!(
            (header.compression.as_deref(), header.format.as_deref()),
            (Some("-1"), Some("CUSTOM"))
        );
        let read = |entry: &TocEntry| {
            format!(
                "{}|{}|{}|{}",
                entry.kind,
                entry.schema.as_deref().unwrap_or("none"),
                entry.tag,
                entry.owner
            )
        };
        let read: Vec<String> = toc.entries.iter().map(read).collect();
        assert_eq!(
            read,
            [
                "SCHEMA|none|my schema|postgres",
                "TYPE|public|col|postgres",
                "TABLE|my schema|a\"b|postgres",
                "TABLE|public|p 1; Type: X|postgres",
                "SEQUENCE OWNED BY|public|withpk_b_seq|postgres",
                "COMMENT|public|TABLE zc|postgres",
                "BLOB|none|16440|postgres",
                "TABLE DATA|my schema|a\"b|postgres",
                "TABLE DATA|public|p 1; Type: X|postgres",
                "BLOBS|none|BLOBS|",
                "ENCODING|none|ENCODING|",
                "CONSTRAINT|public|withpk withpk_pkey|postgres",
                "EXTENSION|none|hstore|",
                "MATERIALIZED VIEW DATA|public|mv|postgres",
                "DATABASE PROPERTIES|none|h|postgres",
                "DEFAULT ACL|public|DEFAULT PRIVILEGES FOR TABLES|postgres",
                "FUNCTION|public|f(integer, text)|postgres",
                "FK CONSTRAINT|public|a a_fk|postgres",
                "STATISTICS DATA|public|zc|",
                "NEW THING|public|x|me",
            ]
        );
        assert_eq!(toc.entries[0].id, 6);
        assert_eq!(
            toc.entries[0].line,
            "6; 2615 16416 SCHEMA - my schema postgres"
        );
    }

    #[test]
    fn names_are_found_where_they_would_be_misread() {
        let toc = Toc::parse(LIST).unwrap();
        let of = |schema: &str, name: &str| {
            let table = QualifiedName::new(schema, name);
            toc.entries_of_kind("TABLE DATA")
                .filter(|entry| entry.belongs_to(&table))
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("my schema", "a\"b"), [3390]);
        assert_eq!(of("public", "p\n1; Type: X"), [3387]);
        assert!(of("public", "zc").is_empty());
        let hostile = Toc::parse(
            "1; 1259 2 TABLE DATA my x me\n2; 0 2 TABLE DATA DATA my x me\n3; 0 2 TABLE \
                        DATA s t o\n",
        )
        .unwrap();
        let kinds: Vec<&str> = hostile
            .entries
            .iter()
            .map(|entry| entry.kind.as_str())
            .collect();
        assert_eq!(kinds, ["TABLE", "TABLE DATA", "TABLE DATA"]);
        assert!(hostile.entries[0].belongs_to(&QualifiedName::new("DATA", "my x")));
        let blank_owner = Toc::parse("3; 0 2 TABLE DATA public orders own er\n").unwrap();
        assert!(blank_owner.entries[0].belongs_to(&QualifiedName::new("public", "orders")));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for line in [
            "nonsense",
            "1; 2 3",
            "1; 2 3 TABLE",
            "1; 2 3 TABLE public",
            "x; 2 3 TABLE public t me",
            "1; 2 3 table public t me",
        ] {
            assert!(Toc::parse(line).is_err(), "{line}");
        }
        assert_eq!(Toc::parse("").unwrap(), Toc::default());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            kind in prop::sample::select([KINDS, WITHOUT_CATALOG].concat()),
            schema in prop::option::of("[a-zé]{1,8}"),
            tag in "[a-zé]{1,8}( [a-z(),]{1,8}){0,2}",
            owner in "[a-z]{0,8}",
            id in 1i32..i32::MAX,
        ) {
            let catalog = if WITHOUT_CATALOG.contains(&kind) { 0 } else { 1259 };
            let line = format!("{id}; {catalog} 7 {kind} {} {tag} {owner}",
                schema.as_deref().unwrap_or("-"));
            let toc = Toc::parse(&format!("; Format: CUSTOM\n{line}\n")).unwrap();
            prop_assert_eq!(toc.entries, [TocEntry { id, line, kind: kind.to_owned(), schema, tag,
                owner }]);
        }

        #[test]
        fn no_text_makes_it_panic(parts in prop::collection::vec(prop::sample::select(&[
            "1", ";", " ", "\n", "0 ", "TABLE", " DATA", "SCHEMA", "-", "a b", "é", "Format: ",
            "X", "\r",
        ][..]), 0..16)) {
            let _ = Toc::parse(&parts.concat());
        }
    }
}
