//! The COPY statements of a script: the table that each is for, and its rows.

use super::input::{ByteClass, class};
use super::{DATA_FOR, Scanner};
use crate::engine::postgres::names::{self, QualifiedName};
use crate::error::Result;
use memchr::{memchr_iter, memmem};
use std::collections::HashMap;
use std::mem;

#[derive(Default)]
pub(super) struct TableCounts {
    pub(super) list: Vec<(QualifiedName, u64)>,
    places: HashMap<QualifiedName, usize>,
}

impl TableCounts {
    pub(super) fn add(&mut self, table: QualifiedName, rows: u64) {
        let place = *self.places.entry(table).or_insert_with_key(|table| {
            self.list.push((table.clone(), 0));
            self.list.len() - 1
        });
        self.list[place].1 += rows;
    }
}

impl Scanner<'_, '_> {
    pub(super) fn read_copy(&mut self, into: Option<(QualifiedName, Vec<String>)>) -> Result<()> {
        let Some((named, columns)) = into else {
            self.unclear = true;
            self.forbid(
                self.input.line,
                "a COPY that pg_dump does not write".to_owned(),
            );
            return Ok(());
        };
        let table = self.resolve_table(named.clone());
        let shown = match &mut self.watch {
            Some(watch) => watch.begin_table(&table, &named, &columns)?,
            None => false,
        };
        let rows = self.count_rows(shown)?;
        if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
            watch.end_table()?;
        }
        self.tables.add(table, rows);
        Ok(())
    }

    /// The table that the rows of a COPY belong to: the one in the comment before it, if that is
    /// another one.
    fn resolve_table(&mut self, named: QualifiedName) -> QualifiedName {
        let via_root = mem::take(&mut self.via_root);
        let Some(comment) = self.announced.take() else {
            return named;
        };
        let expected = named.on_one_line();
        let same = format!(
            "{DATA_FOR}{}; Type: TABLE DATA; Schema: {}; Owner: ",
            expected.name, expected.schema
        );
        if comment.starts_with(&same) && !via_root {
            return named;
        }
        parse_announced_table(&comment).unwrap_or(named)
    }

    /// Counts the lines from the end of this one to the line `\.`.
    fn count_rows(&mut self, shown: bool) -> Result<u64> {
        while let Some(byte) = self.input.peek(0)?.filter(|byte| *byte != b'\n') {
            if class(byte) != ByteClass::Blank {
                // `psql` reads this after the rows.
                self.forbid(
                    self.input.line,
                    "something behind a COPY, on its line".to_owned(),
                );
            }
            self.input.consume(1);
        }
        // The line break before the first row is counted, the one before the end is not.
        let finder = memmem::Finder::new(b"\n\\.");
        let mut rows = 0;
        loop {
            let window = self.input.window();
            let end = finder.find(window);
            // The first bytes of the end may be there.
            let here = end.unwrap_or(window.len().saturating_sub(2));
            rows += memchr_iter(b'\n', &window[..here]).count() as u64;
            if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
                watch.push_data(&window[..here])?;
            }
            self.input.consume(here);
            if end.is_some() {
                match self.input.peek(3)? {
                    Some(b'\n') => {
                        self.input.consume(4);
                        return Ok(rows);
                    }
                    Some(b'\r') => self.forbid(
                        self.input.line + 1,
                        "an end of rows that only psql takes for one".to_owned(),
                    ),
                    _ => {}
                }
                rows += 1;
                if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
                    watch.push_data(b"\n")?;
                }
                self.input.consume(1);
            } else if !self.input.more()? {
                let rest = self.input.window();
                rows += memchr_iter(b'\n', rest).count() as u64;
                let length = rest.len();
                self.input.consume(length);
                return Ok(rows.saturating_sub(1));
            }
        }
    }
}

/// Parses ` <name> [(columns)] FROM stdin` into the table and the columns; `None` for anything
/// else.
pub(super) fn parse_copy_head(head: &str) -> Option<(QualifiedName, Vec<String>)> {
    let (name, rest) = names::split_name(head.trim_ascii_start())?;
    let rest = rest.trim_ascii_start();
    let (columns, rest) = if let Some(columns) = rest.strip_prefix('(') {
        split_columns(columns)?
    } else {
        (Vec::new(), rest)
    };
    let mut words = rest.split_ascii_whitespace();
    let from_stdin =
        words.next()?.eq_ignore_ascii_case("from") && words.next()?.eq_ignore_ascii_case("stdin");
    (from_stdin && words.next().is_none()).then_some((name, columns))
}

/// Splits a list of columns into its names, and returns the rest.
fn split_columns(mut list: &str) -> Option<(Vec<String>, &str)> {
    let mut columns = Vec::new();
    loop {
        let (name, rest) = names::split_identifier(list.trim_ascii_start())?;
        columns.push(name);
        let rest = rest.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(more) => list = more,
            None => return rest.strip_prefix(')').map(|rest| (columns, rest)),
        }
    }
}

/// Parses `-- Data for Name: part1; Type: TABLE DATA; Schema: public; Owner: me`. The name may
/// contain all of that, too.
pub(super) fn parse_announced_table(comment: &str) -> Option<QualifiedName> {
    let (name, rest) = comment
        .strip_prefix(DATA_FOR)?
        .rsplit_once("; Type: TABLE DATA; Schema: ")?;
    let (schema, _owner) = rest.split_once("; Owner: ")?;
    Some(QualifiedName::new(schema, name))
}
