//! Counts the rows in the script of a dump: what `pg_restore -f -` prints of an archive, or a plain
//! dump as it is.
//!
//! The script is cut into statements as psql would cut it, because names, strings and function
//! bodies may hold lines that look like `COPY … FROM stdin;`, like the end of its data, or like the
//! trailer. Nothing is kept but the head of a COPY, so that the memory needed does not grow with
//! the data.
//!
//! It is also the gate before `psql`, to which some lines are commands that start programs and
//! write files: `pg_dump` writes three of them (`\restrict`, `\unrestrict` and `\connect`), and any
//! other in a dump is a [`Stray`]. So is whatever `psql` may read otherwise than this scanner does.

mod input;

use super::names::{self, QualifiedName};
use crate::error::Result;
use input::{Class, Input, class, continues_word, length_of};
use memchr::{memchr, memchr_iter, memchr2, memmem};
use std::collections::HashMap;
use std::io::Read;
use std::mem;

/// Heads of COPY and comments are kept up to this length; 1600 columns with the longest names have
/// less than half of it.
const LONGEST_HEAD: usize = 1 << 20;
/// `pg_dump` makes a tag longer until it is not in the text that it quotes; this long it never
/// gets.
const LONGEST_TAG: usize = 64 << 10;

/// A database's name has at most 63 bytes; what is longer is no command of `pg_dump`.
const LONGEST_COMMAND: usize = 1024;

const TRAILER: &[u8] = b"-- PostgreSQL database dump complete";
const CLUSTER_HEADER: &[u8] = b"-- PostgreSQL database cluster dump";
const CLUSTER_TRAILER: &[u8] = b"-- PostgreSQL database cluster dump complete";
const DATA_FOR: &str = "-- Data for Name: ";
const VIA_ROOT: &[u8] = b"-- load via partition root ";

/// What is in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The rows of each table that has a COPY, in order of first appearance; those of several are
    /// added up.
    ///
    /// A partition that is loaded by way of its root has its own name, taken from a comment: line
    /// breaks in it have become blanks ([`QualifiedName::on_one_line`]).
    pub tables: Vec<(QualifiedName, u64)>,
    /// The trailer is there, no statement follows it, and every COPY was understood.
    pub complete: bool,
    /// How long the script is.
    pub bytes: u64,
    /// How many statements ended, each COPY among them.
    pub statements: u64,
    /// The first thing that `pg_dump` does not write and `psql` might obey.
    pub stray: Option<Stray>,
    /// The line of the first `\connect`: what follows is meant for another database.
    pub connects: Option<u64>,
}

/// Something in a script that `psql` must not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its line, from 1.
    pub line: u64,
    /// What it is.
    pub what: String,
}

impl std::fmt::Display for Stray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Sees a script's tables and their rows as they are scanned.
pub trait Watch: Send {
    /// A statement without its `CREATE`.
    fn created(&mut self, statement: &str);
    /// A statement without its `SET`.
    fn set(&mut self, statement: &str);
    /// A COPY: whose rows they are, the table that it names, and the columns. Whether the rows are
    /// to be shown.
    fn begin(
        &mut self,
        table: &QualifiedName,
        copied: &QualifiedName,
        columns: &[String],
    ) -> Result<bool>;
    /// Rows, in pieces of any length; each has a line break *before* it.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;
    /// That was the last row.
    fn end(&mut self) -> Result<()>;
}

/// Reads a script to its end. One that is cut or not a dump is no error, but not
/// [`Scanned::complete`].
pub fn scan(script: &mut dyn Read) -> Result<Scanned> {
    run(script, None)
}

/// The same, with somebody watching.
pub fn scan_with(script: &mut dyn Read, watch: &mut dyn Watch) -> Result<Scanned> {
    run(script, Some(watch))
}

fn run(script: &mut dyn Read, watch: Option<&mut dyn Watch>) -> Result<Scanned> {
    let mut scanner = Scanner {
        watch,
        input: Input::new(script),
        tables: Tables::default(),
        statements: 0,
        statement: Statement::default(),
        announced: None,
        via_root: false,
        cluster: false,
        trailer_seen: false,
        unclear: false,
        key: None,
        connects: None,
        stray: None,
    };
    scanner.run()?;
    if let Some(line) = scanner.input.nul {
        scanner.strays(line, "a NUL byte".to_owned());
    }
    Ok(Scanned {
        stray: scanner.stray,
        connects: scanner.connects,
        complete: scanner.trailer_seen && !scanner.unclear,
        tables: scanner.tables.list,
        bytes: scanner.input.total,
        statements: scanner.statements,
    })
}

/// What is known of the statement being read.
#[derive(Default)]
struct Statement {
    /// Anything but blanks and comments was there.
    open: bool,
    kind: Opening,
    /// After the first word, as long as it is not too long; of a COPY, and of what a [`Watch`]
    /// wants to see.
    head: Option<Vec<u8>>,
    parentheses: u32,
    /// The last word was BEGIN.
    after_begin: bool,
    /// How many END are missing in the body of a function that is written in SQL; CASE has one too.
    missing_ends: u32,
}

/// The statements that are more than something between semicolons.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Opening {
    Copy,
    Create,
    Set,
    #[default]
    Other,
}

#[derive(Default)]
struct Tables {
    list: Vec<(QualifiedName, u64)>,
    places: HashMap<QualifiedName, usize>,
}

impl Tables {
    fn add(&mut self, table: QualifiedName, rows: u64) {
        let place = *self.places.entry(table).or_insert_with_key(|table| {
            self.list.push((table.clone(), 0));
            self.list.len() - 1
        });
        self.list[place].1 += rows;
    }
}

struct Scanner<'a, 'w> {
    watch: Option<&'w mut dyn Watch>,
    input: Input<'a>,
    tables: Tables,
    statements: u64,
    statement: Statement,
    /// The comment that came with the next COPY.
    announced: Option<String>,
    /// It was followed by a comment that says that COPY names the root of the partitions.
    via_root: bool,
    /// The script is that of a cluster, in which the dumps of databases have trailers of their own.
    cluster: bool,
    trailer_seen: bool,
    /// A COPY was not understood, or a comment does not end: whatever the trailer says, the counts
    /// are not to be trusted.
    unclear: bool,
    /// That of the last `\restrict`, until its `\unrestrict`.
    key: Option<String>,
    connects: Option<u64>,
    stray: Option<Stray>,
}

impl Scanner<'_, '_> {
    fn run(&mut self) -> Result<()> {
        if self.input.peek(2)?.is_some() && self.input.window().starts_with(b"\xef\xbb\xbf") {
            // `psql` takes it away, and reads another word than the server would.
            self.strays(1, "a byte order mark".to_owned());
        }
        while let Some(byte) = self.input.peek(0)? {
            match class(byte) {
                Class::Blank => self.take(length_of(self.input.window(), |byte| {
                    class(byte) == Class::Blank
                })),
                Class::Word => self.word()?,
                Class::Sign => self.sign(byte)?,
                Class::Other => self.numbers_and_operators()?,
            }
        }
        Ok(())
    }

    /// Consumes what is neither a word nor a sign, and looks at the word that follows a number
    /// without a blank.
    ///
    /// `psql` before 15 reads `1E'…'` as a number and an escape string, later ones as a broken
    /// number and a plain string, which ends elsewhere. `pg_dump` writes a word after a number only
    /// as its exponent.
    fn numbers_and_operators(&mut self) -> Result<()> {
        self.token();
        let mut in_number = false;
        loop {
            let window = self.input.window();
            let here = length_of(window, |byte| {
                matches!(class(byte), Class::Other | Class::Blank)
            });
            for byte in &window[..here] {
                in_number = byte.is_ascii_digit() || in_number && *byte == b'.';
            }
            self.take(here);
            if self
                .input
                .peek(0)?
                .is_none_or(|byte| matches!(class(byte), Class::Sign | Class::Word))
            {
                break;
            }
        }
        if in_number
            && self
                .input
                .peek(0)?
                .is_some_and(|byte| class(byte) == Class::Word)
            && !self.exponent_follows()?
        {
            self.strays(
                self.input.line,
                "a number that runs into a word, which versions of psql read differently"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whether the next word is the exponent of a number and nothing else.
    fn exponent_follows(&mut self) -> Result<bool> {
        if !matches!(self.input.peek(0)?, Some(b'e' | b'E')) {
            return Ok(false);
        }
        let first = 1 + usize::from(matches!(self.input.peek(1)?, Some(b'+' | b'-')));
        let mut at = first;
        // No type of PostgreSQL prints a longer one.
        while at < first + 6
            && self
                .input
                .peek(at)?
                .is_some_and(|byte| byte.is_ascii_digit())
        {
            at += 1;
        }
        Ok(at > first
            && self
                .input
                .peek(at)?
                .is_none_or(|byte| !continues_word(byte)))
    }

    fn sign(&mut self, byte: u8) -> Result<()> {
        match byte {
            b'-' if self.input.peek(1)? == Some(b'-') => return self.line_comment(),
            b'/' if self.input.peek(1)? == Some(b'*') => return self.block_comment(),
            b'\\' if !self.statement.open => return self.command(),
            b';' if !self.statement.open => {
                self.input.consume(1);
                return Ok(());
            }
            b';' if self.statement.parentheses == 0 && self.statement.missing_ends == 0 => {
                return self.end_statement();
            }
            _ => self.token(),
        }
        match byte {
            b'\'' | b'"' => return self.quoted(byte),
            b'$' => return self.dollar(),
            b'(' => self.statement.parentheses += 1,
            b')' => self.statement.parentheses = self.statement.parentheses.saturating_sub(1),
            b'\\' => self.strays(
                self.input.line,
                "a backslash outside of quotes, which psql takes for a command".to_owned(),
            ),
            _ => {}
        }
        self.take(1);
        Ok(())
    }

    fn strays(&mut self, line: u64, what: String) {
        if self.stray.as_ref().is_none_or(|stray| line < stray.line) {
            self.stray = Some(Stray { line, what });
        }
    }

    /// A command of `psql` between statements, to the end of its line.
    fn command(&mut self) -> Result<()> {
        let (mut text, line) = (Vec::new(), self.input.line);
        loop {
            let window = self.input.window();
            let end = memchr(b'\n', window);
            let here = end.unwrap_or(window.len());
            if text.len() <= LONGEST_COMMAND {
                text.extend_from_slice(&window[..here]);
            }
            self.input.consume(here);
            if end.is_some() || !self.input.more()? {
                break;
            }
        }
        if !self.is_of_pg_dump(&text, line) {
            let shown: String = String::from_utf8_lossy(&text)
                .chars()
                .take(60)
                .flat_map(char::escape_debug)
                .collect();
            self.strays(
                line,
                format!("`{shown}` is a command of psql that pg_dump does not write"),
            );
        }
        Ok(())
    }

    /// Whether `pg_dump` or `pg_dumpall` writes this command, in this place.
    fn is_of_pg_dump(&mut self, text: &[u8], line: u64) -> bool {
        let Some((word, rest)) = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let is_key = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match word {
            "\\restrict" if is_key && self.key.is_none() => self.key = Some(rest.to_owned()),
            "\\unrestrict" if is_key && self.key.as_deref() == Some(rest) => self.key = None,
            "\\connect"
                if is_database(rest.strip_prefix("-reuse-previous=on ").unwrap_or(rest)) =>
            {
                self.connects.get_or_insert(line);
            }
            _ => return false,
        }
        true
    }

    /// Notes that a token other than a word is part of the statement.
    fn token(&mut self) {
        if !self.statement.open {
            self.open(Opening::Other);
        }
        self.statement.after_begin = false;
    }

    fn open(&mut self, kind: Opening) {
        let watched = self.watch.is_some() && matches!(kind, Opening::Create | Opening::Set);
        let head = (kind == Opening::Copy || watched).then(Vec::new);
        self.statement = Statement {
            open: true,
            kind,
            head,
            ..Statement::default()
        };
        self.trailer_seen = false;
    }

    /// Consumes a part of the statement.
    fn take(&mut self, length: usize) {
        if let Some(head) = &mut self.statement.head {
            if head.len() + length <= LONGEST_HEAD {
                head.extend_from_slice(&self.input.window()[..length]);
            } else {
                self.statement.head = None;
            }
        }
        self.input.consume(length);
    }

    /// Consumes parts of the statement up to the place that `find` finds; false if there is none.
    fn skip_until(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> Result<bool> {
        loop {
            let found = find(self.input.window());
            self.take(found.unwrap_or(self.input.window().len()));
            if found.is_some() || !self.input.more()? {
                return Ok(found.is_some());
            }
        }
    }

    fn word(&mut self) -> Result<()> {
        // Every word that matters is shorter.
        let mut letters = [0; 8];
        let mut length = 0;
        loop {
            let window = self.input.window();
            let here = length_of(window, |byte| continues_word(byte) || byte == b'$');
            let whole = here < window.len();
            for (letter, byte) in letters.iter_mut().skip(length).zip(&window[..here]) {
                *letter = byte.to_ascii_lowercase();
            }
            length += here;
            self.take(here);
            if whole || !self.input.more()? {
                break;
            }
        }
        let word = letters.get(..length).unwrap_or_default();
        self.heed_word(word);
        if word == b"e" && self.input.peek(0)? == Some(b'\'') {
            return self.escaped();
        }
        Ok(())
    }

    fn heed_word(&mut self, word: &[u8]) {
        if !self.statement.open {
            return self.open(match word {
                b"copy" => Opening::Copy,
                b"create" => Opening::Create,
                b"set" => Opening::Set,
                _ => Opening::Other,
            });
        }
        if self.statement.kind != Opening::Create {
            return;
        }
        let statement = &mut self.statement;
        match word {
            // A function may be called `begin`, and needs no quotes for that.
            b"atomic" if statement.after_begin && statement.missing_ends == 0 => {
                statement.missing_ends = 1
            }
            b"case" if statement.missing_ends > 0 => statement.missing_ends += 1,
            b"end" => statement.missing_ends = statement.missing_ends.saturating_sub(1),
            _ => {}
        }
        statement.after_begin = word == b"begin";
    }

    /// A string or a quoted name, in which a doubled quote is one of its characters.
    ///
    /// A dump made with `standard_conforming_strings` off doubles backslashes too, so its strings
    /// end in the same places.
    fn quoted(&mut self, quote: u8) -> Result<()> {
        self.take(1);
        while self.skip_until(|window| memchr(quote, window))? {
            let doubled = self.input.peek(1)? == Some(quote);
            self.take(1 + usize::from(doubled));
            if !doubled {
                break;
            }
        }
        Ok(())
    }

    /// An `E'…'` string from its quote on.
    fn escaped(&mut self) -> Result<()> {
        self.take(1);
        while self.skip_until(|window| memchr2(b'\'', b'\\', window))? {
            let next = self.input.peek(1)?;
            let pair = self.input.window()[0] == b'\\' || next == Some(b'\'');
            self.take(1 + usize::from(pair && next.is_some()));
            if !pair {
                break;
            }
        }
        Ok(())
    }

    /// A string in dollar quotes, or a `$` that begins none.
    fn dollar(&mut self) -> Result<()> {
        let Some(length) = self.tag()? else {
            self.take(1);
            return Ok(());
        };
        let tag = self.input.window()[..length].to_vec();
        self.take(length);
        let finder = memmem::Finder::new(&tag);
        loop {
            let window = self.input.window();
            if let Some(at) = finder.find(window) {
                self.take(at + length);
                return Ok(());
            }
            // The tag may have begun.
            self.take(window.len().saturating_sub(length - 1));
            if !self.input.more()? {
                self.take(self.input.window().len());
                return Ok(());
            }
        }
    }

    /// The length of `$tag$` at the beginning of the window.
    fn tag(&mut self) -> Result<Option<usize>> {
        for at in 1..LONGEST_TAG {
            match self.input.peek(at)? {
                Some(b'$') => return Ok(Some(at + 1)),
                Some(byte) if class(byte) == Class::Word || at > 1 && continues_word(byte) => {}
                _ => break,
            }
        }
        Ok(None)
    }

    fn line_comment(&mut self) -> Result<()> {
        let mut text = Vec::new();
        loop {
            let window = self.input.window();
            // The server ends a comment at either.
            let end = memchr2(b'\n', b'\r', window);
            let here = end.unwrap_or(window.len());
            if !self.statement.open && text.len() < LONGEST_HEAD {
                text.extend_from_slice(&window[..here]);
            }
            self.input.consume(here);
            if end.is_some() || !self.input.more()? {
                break;
            }
        }
        // Within a statement the line break that follows keeps words apart.
        if !self.statement.open {
            self.heed_comment(&text);
        }
        Ok(())
    }

    /// Comments between statements say what a COPY is for, and where the dump ends.
    fn heed_comment(&mut self, text: &[u8]) {
        match text {
            CLUSTER_HEADER => self.cluster = true,
            CLUSTER_TRAILER => self.trailer_seen = true,
            TRAILER => self.trailer_seen = !self.cluster,
            _ if text.starts_with(VIA_ROOT) => self.via_root = true,
            _ if text.starts_with(DATA_FOR.as_bytes()) => {
                self.announce(Some(String::from_utf8_lossy(text).into_owned()))
            }
            _ if text.starts_with(b"-- Name: ") => self.announce(None),
            _ => {}
        }
    }

    fn announce(&mut self, comment: Option<String>) {
        self.announced = comment;
        self.via_root = false;
    }

    /// `/* … */`, which may have others in it.
    fn block_comment(&mut self) -> Result<()> {
        self.input.consume(2);
        let head = self.statement.head.take();
        let mut depth = 1u32;
        while depth > 0 {
            if !self.skip_until(|window| memchr2(b'*', b'/', window))? {
                self.unclear = true;
                return Ok(());
            }
            let next = self.input.peek(1)?;
            let length = match (self.input.window()[0], next) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    2
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    2
                }
                _ => 1,
            };
            self.input.consume(length);
        }
        self.statement.head = head;
        if let Some(head) = &mut self.statement.head {
            head.push(b' ');
        }
        Ok(())
    }

    fn end_statement(&mut self) -> Result<()> {
        self.input.consume(1);
        self.statements += 1;
        let statement = mem::take(&mut self.statement);
        let head = statement.head.as_deref().map(String::from_utf8_lossy);
        match (statement.kind, head, &mut self.watch) {
            (Opening::Copy, head, _) => self.copy(head.and_then(|head| copied_into(&head)))?,
            (Opening::Create, Some(head), Some(watch)) => watch.created(&head),
            (Opening::Set, Some(head), Some(watch)) => watch.set(&head),
            _ => {}
        }
        Ok(())
    }

    fn copy(&mut self, into: Option<(QualifiedName, Vec<String>)>) -> Result<()> {
        let Some((named, columns)) = into else {
            self.unclear = true;
            self.strays(
                self.input.line,
                "a COPY that pg_dump does not write".to_owned(),
            );
            return Ok(());
        };
        let table = self.table_of(named.clone());
        let shown = match &mut self.watch {
            Some(watch) => watch.begin(&table, &named, &columns)?,
            None => false,
        };
        let rows = self.rows(shown)?;
        if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
            watch.end()?;
        }
        self.tables.add(table, rows);
        Ok(())
    }

    /// Whose rows follow a COPY: those of the table that the comment before it names, where that is
    /// another one.
    fn table_of(&mut self, named: QualifiedName) -> QualifiedName {
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
        announced_table(&comment).unwrap_or(named)
    }

    /// Counts the lines from the end of this one to the one that is `\.`.
    fn rows(&mut self, shown: bool) -> Result<u64> {
        while let Some(byte) = self.input.peek(0)?.filter(|byte| *byte != b'\n') {
            if class(byte) != Class::Blank {
                // To `psql` it is what follows the rows.
                self.strays(
                    self.input.line,
                    "something behind a COPY, on its line".to_owned(),
                );
            }
            self.input.consume(1);
        }
        // The line break before the first row is counted, that before the end is not.
        let finder = memmem::Finder::new(b"\n\\.");
        let mut rows = 0;
        loop {
            let window = self.input.window();
            let end = finder.find(window);
            // Its first bytes may be there.
            let here = end.unwrap_or(window.len().saturating_sub(2));
            rows += memchr_iter(b'\n', &window[..here]).count() as u64;
            if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
                watch.data(&window[..here])?;
            }
            self.input.consume(here);
            if end.is_some() {
                match self.input.peek(3)? {
                    Some(b'\n') => {
                        self.input.consume(4);
                        return Ok(rows);
                    }
                    Some(b'\r') => self.strays(
                        self.input.line + 1,
                        "an end of rows that only psql takes for one".to_owned(),
                    ),
                    _ => {}
                }
                rows += 1;
                if let Some(watch) = self.watch.as_mut().filter(|_| shown) {
                    watch.data(b"\n")?;
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

/// What `\connect` is told by `pg_dump`: a name, or a quoted one, in which `psql` looks for
/// nothing.
fn is_database(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(inside) => !inside.replace("\"\"", "").contains('"'),
        None => !text.is_empty() && text.bytes().all(plain),
    }
}

/// The table and the columns of ` <name> [(columns)] FROM stdin`; none if it is anything else.
fn copied_into(head: &str) -> Option<(QualifiedName, Vec<String>)> {
    let (name, rest) = names::take_name(head.trim_ascii_start())?;
    let rest = rest.trim_ascii_start();
    let (columns, rest) = if let Some(columns) = rest.strip_prefix('(') {
        take_columns(columns)?
    } else {
        (Vec::new(), rest)
    };
    let mut words = rest.split_ascii_whitespace();
    let from_stdin =
        words.next()?.eq_ignore_ascii_case("from") && words.next()?.eq_ignore_ascii_case("stdin");
    (from_stdin && words.next().is_none()).then_some((name, columns))
}

/// The names of a list of columns, and what follows it.
fn take_columns(mut list: &str) -> Option<(Vec<String>, &str)> {
    let mut columns = Vec::new();
    loop {
        let (name, rest) = names::take_identifier(list.trim_ascii_start())?;
        columns.push(name);
        let rest = rest.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(more) => list = more,
            None => return rest.strip_prefix(')').map(|rest| (columns, rest)),
        }
    }
}

/// The table of `-- Data for Name: part1; Type: TABLE DATA; Schema: public; Owner: me`; the name
/// may have all of that in it too.
fn announced_table(comment: &str) -> Option<QualifiedName> {
    let (name, rest) = comment
        .strip_prefix(DATA_FOR)?
        .rsplit_once("; Type: TABLE DATA; Schema: ")?;
    let (schema, _owner) = rest.split_once("; Owner: ")?;
    Some(QualifiedName::new(schema, name))
}

#[cfg(test)]
mod tests;
