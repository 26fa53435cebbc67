//! Scans the script of a dump, as `pg_restore -f -` prints it of an archive or as a plain dump has
//! it, and counts its rows.
//!
//! The script is cut into statements as psql would cut it, because names, strings and function
//! bodies may contain lines that look like `COPY … FROM stdin;`, like the end of its data, or like
//! the trailer. Only the head of a COPY is kept, so the memory does not grow with the data.
//!
//! The scanner is also the gate before `psql`, to which some lines are commands that start programs
//! and write files. `pg_dump` writes three of them (`\restrict`, `\unrestrict` and `\connect`); any
//! other one is a [`ForbiddenInput`], and so is text that `psql` might read differently from this
//! scanner.

mod copy;
mod input;
mod quotes;
mod sections;

pub use sections::ScriptSections;

use super::names::QualifiedName;
use crate::error::Result;
use copy::{TableCounts, parse_copy_head};
use input::{ByteClass, ScriptInput, class, continues_word, length_of};
use memchr::memchr;
use std::io::Read;
use std::mem;

/// The longest head of a COPY, and the longest comment, that are kept. 1600 columns with the
/// longest names take less than half of it.
const LONGEST_HEAD: usize = 1 << 20;
/// The longest tag of a dollar quote. `pg_dump` lengthens a tag until it is not in the quoted text,
/// but never to this length.
const LONGEST_TAG: usize = 64 << 10;

/// The longest command. A database's name has at most 63 bytes, so `pg_dump` writes no longer one.
const LONGEST_COMMAND: usize = 1024;

const TRAILER: &[u8] = b"-- PostgreSQL database dump complete";
const CLUSTER_HEADER: &[u8] = b"-- PostgreSQL database cluster dump";
const CLUSTER_TRAILER: &[u8] = b"-- PostgreSQL database cluster dump complete";
const DATA_FOR: &str = "-- Data for Name: ";
const VIA_ROOT: &[u8] = b"-- load via partition root ";

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanResult {
    /// The rows of each table that has a COPY, in order of first appearance. Those of several COPYs
    /// are added up.
    ///
    /// A partition that is loaded by way of its root has its own name, taken from a comment, in
    /// which line breaks have become blanks ([`QualifiedName::on_one_line`]).
    pub tables: Vec<(QualifiedName, u64)>,
    /// Whether the trailer is there with no statement after it, and every COPY was understood.
    pub complete: bool,
    /// The length of the script.
    pub bytes: u64,
    /// The number of statements, including each COPY.
    pub statements: u64,
    /// The first text that `pg_dump` does not write and `psql` might obey.
    pub forbidden: Option<ForbiddenInput>,
    /// The line of the first `\connect`, after which the script is meant for another database.
    pub connects: Option<u64>,
}

/// Text in a script that `psql` must not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForbiddenInput {
    /// Its line, from 1.
    pub line: u64,
    /// A description of the text.
    pub what: String,
}

impl std::fmt::Display for ForbiddenInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Observes the tables and rows of a script while it is scanned.
pub trait RowObserver: Send {
    /// Called with a CREATE statement, without the `CREATE`.
    fn on_create(&mut self, statement: &str);
    /// Called with a SET statement, without the `SET`.
    fn on_set(&mut self, statement: &str);
    /// Called for a COPY, with the table that its rows belong to, the table that it names, and the
    /// columns. Returns whether the rows are wanted.
    fn begin_table(
        &mut self,
        table: &QualifiedName,
        copied: &QualifiedName,
        columns: &[String],
    ) -> Result<bool>;
    /// Called with rows, in pieces of any length. Each row has a line break *before* it.
    fn push_data(&mut self, bytes: &[u8]) -> Result<()>;
    /// Called after the last row.
    fn end_table(&mut self) -> Result<()>;
}

/// Scans a script to its end. A script that is cut off, or is no dump, is not an error but not
/// [`ScanResult::complete`].
pub fn scan(script: &mut dyn Read) -> Result<ScanResult> {
    run(script, None)
}

/// Scans a script, and shows its tables and rows to the observer.
pub fn scan_with_observer(
    script: &mut dyn Read,
    watch: &mut dyn RowObserver,
) -> Result<ScanResult> {
    run(script, Some(watch))
}

fn run(script: &mut dyn Read, watch: Option<&mut dyn RowObserver>) -> Result<ScanResult> {
    let mut scanner = Scanner {
        watch,
        input: ScriptInput::new(script),
        tables: TableCounts::default(),
        statements: 0,
        statement: OpenStatement::default(),
        announced: None,
        via_root: false,
        cluster: false,
        trailer_seen: false,
        unclear: false,
        key: None,
        connects: None,
        forbidden: None,
    };
    scanner.run()?;
    if let Some(line) = scanner.input.nul {
        scanner.forbid(line, "a NUL byte".to_owned());
    }
    Ok(ScanResult {
        forbidden: scanner.forbidden,
        connects: scanner.connects,
        complete: scanner.trailer_seen && !scanner.unclear,
        tables: scanner.tables.list,
        bytes: scanner.input.total,
        statements: scanner.statements,
    })
}

/// The state of the statement that is being read.
#[derive(Default)]
struct OpenStatement {
    /// Whether anything but blanks and comments was read.
    open: bool,
    kind: StatementKind,
    /// The statement after its first word, unless it is too long. It is kept of a COPY, and of what
    /// a [`RowObserver`] wants to see.
    head: Option<Vec<u8>>,
    parentheses: u32,
    /// Whether the last word was BEGIN.
    after_begin: bool,
    /// The number of missing ENDs in the body of a function that is written in SQL; CASE has one,
    /// too.
    missing_ends: u32,
}

/// The kinds of statements that the scanner distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum StatementKind {
    Copy,
    Create,
    Set,
    #[default]
    Other,
}

struct Scanner<'a, 'w> {
    watch: Option<&'w mut dyn RowObserver>,
    input: ScriptInput<'a>,
    tables: TableCounts,
    statements: u64,
    statement: OpenStatement,
    /// The comment that precedes the next COPY.
    announced: Option<String>,
    /// Whether another comment after it says that COPY names the root of the partitions.
    via_root: bool,
    /// Whether it is the script of a cluster, in which the dumps of databases have trailers of
    /// their own.
    cluster: bool,
    trailer_seen: bool,
    /// Whether a COPY was not understood, or a comment does not end. The counts can't be trusted
    /// then, whatever the trailer says.
    unclear: bool,
    /// The key of the last `\restrict`, until its `\unrestrict`.
    key: Option<String>,
    connects: Option<u64>,
    forbidden: Option<ForbiddenInput>,
}

impl Scanner<'_, '_> {
    fn run(&mut self) -> Result<()> {
        if self.input.peek(2)?.is_some() && self.input.window().starts_with(b"\xef\xbb\xbf") {
            // `psql` strips it, and reads another word than the server would.
            self.forbid(1, "a byte order mark".to_owned());
        }
        while let Some(byte) = self.input.peek(0)? {
            match class(byte) {
                ByteClass::Blank => self.advance(length_of(self.input.window(), |byte| {
                    class(byte) == ByteClass::Blank
                })),
                ByteClass::Word => self.read_word()?,
                ByteClass::Sign => self.read_sign(byte)?,
                ByteClass::Other => self.read_numbers_and_operators()?,
            }
        }
        Ok(())
    }

    /// Consumes what is neither a word nor a sign, and examines a word that follows a number
    /// without a blank.
    ///
    /// `psql` before 15 reads `1E'…'` as a number and an escape string. Later versions read a
    /// broken number and a plain string, which ends elsewhere. `pg_dump` writes a word after a
    /// number only as its exponent.
    fn read_numbers_and_operators(&mut self) -> Result<()> {
        self.begin_token();
        let mut in_number = false;
        loop {
            let window = self.input.window();
            let here = length_of(window, |byte| {
                matches!(class(byte), ByteClass::Other | ByteClass::Blank)
            });
            for byte in &window[..here] {
                in_number = byte.is_ascii_digit() || in_number && *byte == b'.';
            }
            self.advance(here);
            if self
                .input
                .peek(0)?
                .is_none_or(|byte| matches!(class(byte), ByteClass::Sign | ByteClass::Word))
            {
                break;
            }
        }
        if in_number
            && self
                .input
                .peek(0)?
                .is_some_and(|byte| class(byte) == ByteClass::Word)
            && !self.exponent_follows()?
        {
            self.forbid(
                self.input.line,
                "a number that runs into a word, which versions of psql read differently"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whether the next word is an exponent and nothing else.
    fn exponent_follows(&mut self) -> Result<bool> {
        if !matches!(self.input.peek(0)?, Some(b'e' | b'E')) {
            return Ok(false);
        }
        let first = 1 + usize::from(matches!(self.input.peek(1)?, Some(b'+' | b'-')));
        let mut at = first;
        // No type of PostgreSQL prints a longer exponent.
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

    fn read_sign(&mut self, byte: u8) -> Result<()> {
        match byte {
            b'-' if self.input.peek(1)? == Some(b'-') => return self.read_line_comment(),
            b'/' if self.input.peek(1)? == Some(b'*') => return self.skip_block_comment(),
            b'\\' if !self.statement.open => return self.read_command(),
            b';' if !self.statement.open => {
                self.input.consume(1);
                return Ok(());
            }
            b';' if self.statement.parentheses == 0 && self.statement.missing_ends == 0 => {
                return self.end_statement();
            }
            _ => self.begin_token(),
        }
        match byte {
            b'\'' | b'"' => return self.skip_quoted(byte),
            b'$' => return self.skip_dollar_quoted(),
            b'(' => self.statement.parentheses += 1,
            b')' => self.statement.parentheses = self.statement.parentheses.saturating_sub(1),
            b'\\' => self.forbid(
                self.input.line,
                "a backslash outside of quotes, which psql takes for a command".to_owned(),
            ),
            _ => {}
        }
        self.advance(1);
        Ok(())
    }

    fn forbid(&mut self, line: u64, what: String) {
        if self
            .forbidden
            .as_ref()
            .is_none_or(|forbidden| line < forbidden.line)
        {
            self.forbidden = Some(ForbiddenInput { line, what });
        }
    }

    /// Reads a command of `psql` between statements, to the end of its line.
    fn read_command(&mut self) -> Result<()> {
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
        if !self.accept_command(&text, line) {
            let shown: String = String::from_utf8_lossy(&text)
                .chars()
                .take(60)
                .flat_map(char::escape_debug)
                .collect();
            self.forbid(
                line,
                format!("`{shown}` is a command of psql that pg_dump does not write"),
            );
        }
        Ok(())
    }

    /// Accepts a command that `pg_dump` or `pg_dumpall` writes in this place; returns false for any
    /// other.
    fn accept_command(&mut self, text: &[u8], line: u64) -> bool {
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
                if is_database_name(rest.strip_prefix("-reuse-previous=on ").unwrap_or(rest)) =>
            {
                self.connects.get_or_insert(line);
            }
            _ => return false,
        }
        true
    }

    /// Begins a token other than a word, which is part of the statement.
    fn begin_token(&mut self) {
        if !self.statement.open {
            self.open_statement(StatementKind::Other);
        }
        self.statement.after_begin = false;
    }

    fn open_statement(&mut self, kind: StatementKind) {
        let watched =
            self.watch.is_some() && matches!(kind, StatementKind::Create | StatementKind::Set);
        let head = (kind == StatementKind::Copy || watched).then(Vec::new);
        self.statement = OpenStatement {
            open: true,
            kind,
            head,
            ..OpenStatement::default()
        };
        self.trailer_seen = false;
    }

    /// Consumes a part of the statement.
    fn advance(&mut self, length: usize) {
        if let Some(head) = &mut self.statement.head {
            if head.len() + length <= LONGEST_HEAD {
                head.extend_from_slice(&self.input.window()[..length]);
            } else {
                self.statement.head = None;
            }
        }
        self.input.consume(length);
    }

    /// Consumes the statement up to the place that `find` returns. Returns false if there is none.
    fn skip_until(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> Result<bool> {
        loop {
            let found = find(self.input.window());
            self.advance(found.unwrap_or(self.input.window().len()));
            if found.is_some() || !self.input.more()? {
                return Ok(found.is_some());
            }
        }
    }

    fn read_word(&mut self) -> Result<()> {
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
            self.advance(here);
            if whole || !self.input.more()? {
                break;
            }
        }
        let word = letters.get(..length).unwrap_or_default();
        self.track_word(word);
        if word == b"e" && self.input.peek(0)? == Some(b'\'') {
            return self.skip_escaped();
        }
        Ok(())
    }

    fn track_word(&mut self, word: &[u8]) {
        if !self.statement.open {
            return self.open_statement(match word {
                b"copy" => StatementKind::Copy,
                b"create" => StatementKind::Create,
                b"set" => StatementKind::Set,
                _ => StatementKind::Other,
            });
        }
        if self.statement.kind != StatementKind::Create {
            return;
        }
        let statement = &mut self.statement;
        match word {
            // A function may be named `begin` without quotes.
            b"atomic" if statement.after_begin && statement.missing_ends == 0 => {
                statement.missing_ends = 1
            }
            b"case" if statement.missing_ends > 0 => statement.missing_ends += 1,
            b"end" => statement.missing_ends = statement.missing_ends.saturating_sub(1),
            _ => {}
        }
        statement.after_begin = word == b"begin";
    }

    fn end_statement(&mut self) -> Result<()> {
        self.input.consume(1);
        self.statements += 1;
        let statement = mem::take(&mut self.statement);
        let head = statement.head.as_deref().map(String::from_utf8_lossy);
        match (statement.kind, head, &mut self.watch) {
            (StatementKind::Copy, head, _) => {
                self.read_copy(head.and_then(|head| parse_copy_head(&head)))?
            }
            (StatementKind::Create, Some(head), Some(watch)) => watch.on_create(&head),
            (StatementKind::Set, Some(head), Some(watch)) => watch.on_set(&head),
            _ => {}
        }
        Ok(())
    }
}

/// Whether it is the argument of `\connect` as `pg_dump` writes it: a name, or a quoted one, in
/// which `psql` expands nothing.
fn is_database_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(inside) => !inside.replace("\"\"", "").contains('"'),
        None => !text.is_empty() && text.bytes().all(plain),
    }
}

#[cfg(test)]
mod tests;
