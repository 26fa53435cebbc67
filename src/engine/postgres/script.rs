//! A dump's script on its way to `psql`: without settings that an older server does not know,
//! without the key of its own restricted mode, and without transactions of its own where it is to
//! be a part of a larger one.

use crate::error::{Error, Result};
use crate::stream::for_each_block;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Writes all of it; a reader that has gone is no error here, its exit status tells why.
pub fn pour(stream: &mut dyn Read, mut to: impl Write) -> Result<()> {
    let mut taken = true;
    for_each_block(stream, |block| {
        if !taken {
            return Ok(());
        }
        match to.write_all(block) {
            // The rest is read all the same, so that the stream is measured to its end.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => taken = false,
            written => written?,
        }
        Ok(())
    })
}

/// The script of one transaction without the COMMIT at its end: whether there is one is for others
/// to say. The end is held back until it is seen whole.
pub struct WithoutCommit<R> {
    script: R,
    held: Vec<u8>,
    /// What is read at once; made only once, for what it is read from may give a line at a time.
    block: Vec<u8>,
    ended: bool,
}

/// A plain dump without the transactions that `pg_dump` puts its large objects into. Where those
/// stand, between two comments, every line is a statement; if rows of a table should ever look the
/// same, one is lost, and the count of its table says so.
pub struct WithoutTransactions<R> {
    script: BufReader<R>,
    among_large_objects: bool,
    line: Vec<u8>,
    given: usize,
}

impl<R: Read> WithoutTransactions<R> {
    /// Of this script.
    pub fn new(script: R) -> Self {
        WithoutTransactions {
            script: BufReader::with_capacity(1 << 20, script),
            among_large_objects: false,
            line: Vec::new(),
            given: 0,
        }
    }

    fn next_line(&mut self) -> io::Result<()> {
        loop {
            self.given = 0;
            self.line.clear();
            self.script.read_until(b'\n', &mut self.line)?;
            if self.line.starts_with(b"-- ") {
                self.among_large_objects =
                    memchr::memmem::find(&self.line, b"; Type: BLOBS;").is_some();
            }
            if !(self.among_large_objects
                && (self.line == b"BEGIN;\n" || self.line == b"COMMIT;\n"))
            {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for WithoutTransactions<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.given == self.line.len() {
            self.next_line()?;
        }
        let count = (self.line.len() - self.given).min(bytes.len());
        bytes[..count].copy_from_slice(&self.line[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// A dump without the statement that makes the schema `public`, which one of chosen schemas has and
/// every new database, too. It stands behind its comment.
pub struct WithoutPublic<R> {
    script: BufReader<R>,
    announced: bool,
    done: bool,
    line: Vec<u8>,
}

/// With its name as `pg_dump` writes it by itself, and with all names quoted.
const PUBLIC: [&[u8]; 2] = [b"CREATE SCHEMA public;\n", b"CREATE SCHEMA \"public\";\n"];

impl<R: Read> WithoutPublic<R> {
    /// Of this script.
    pub fn new(script: R) -> Self {
        WithoutPublic {
            script: BufReader::with_capacity(1 << 20, script),
            announced: false,
            done: false,
            line: Vec::new(),
        }
    }

    fn next_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.script.read_until(b'\n', &mut self.line)?;
        if self.line.starts_with(b"-- ") {
            self.announced = self
                .line
                .starts_with(b"-- Name: public; Type: SCHEMA; Schema: -; ");
            // Schemas come before whatever is in them.
            self.done |= self.line.starts_with(b"-- Data for Name: ");
        } else if self.announced && PUBLIC.contains(&self.line.as_slice()) {
            self.done = true;
            // Its line break stays, so that lines have the numbers that they have.
            self.line = b"\n".to_vec();
        }
        Ok(())
    }
}

impl<R: Read> Read for WithoutPublic<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.line.is_empty() {
            if self.done {
                return self.script.read(bytes);
            }
            self.next_line()?;
        }
        let count = self.line.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.line[..count]);
        self.line.drain(..count);
        Ok(count)
    }
}

/// What may stand behind the COMMIT: comments and a meta command.
const AFTER_COMMIT: usize = 4096;

impl<R: Read> WithoutCommit<R> {
    /// Of this script.
    pub fn new(script: R) -> Self {
        WithoutCommit {
            script,
            held: Vec::new(),
            block: vec![0; 1 << 20],
            ended: false,
        }
    }
}

impl<R: Read> Read for WithoutCommit<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.held.len() <= AFTER_COMMIT {
            let count = self.script.read(&mut self.block)?;
            self.held.extend_from_slice(&self.block[..count]);
            if count == 0 {
                self.ended = true;
                let at = memchr::memmem::rfind(&self.held, b"\nCOMMIT;\n").ok_or_else(|| {
                    io::Error::from(Error::failed("the dump's script ends before its end"))
                })?;
                self.held.drain(at + 1..at + 8);
            }
        }
        let ready = if self.ended {
            self.held.len()
        } else {
            self.held.len() - AFTER_COMMIT
        };
        let count = ready.min(bytes.len());
        bytes[..count].copy_from_slice(&self.held[..count]);
        self.held.drain(..count);
        Ok(count)
    }
}

/// A script without the `\\restrict` at its head and the `\\unrestrict` of the same key at its end:
/// `psql` is put into that mode by a key of ours, which no script knows, and leaves it no more. The
/// end is held back until it is seen whole.
pub struct Unrestricted<R> {
    script: BufReader<R>,
    head: bool,
    key: Option<Vec<u8>>,
    held: Vec<u8>,
    /// What is read at once; made only once, for what it is read from may give a line at a time.
    block: Vec<u8>,
    ended: bool,
}

/// What may stand at the end, behind the last statement: the key, and the trailer.
const AT_THE_END: usize = 1024;

impl<R: Read> Unrestricted<R> {
    /// Of this script.
    pub fn new(script: R) -> Self {
        let script = BufReader::with_capacity(1 << 20, script);
        Unrestricted {
            script,
            head: true,
            key: None,
            held: Vec::new(),
            block: vec![0; 1 << 20],
            ended: false,
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        if self.head {
            let mut line = Vec::new();
            let count = self.script.read_until(b'\n', &mut line)?;
            let blank = line.iter().all(u8::is_ascii_whitespace);
            self.head = blank || line.starts_with(b"--");
            match line.strip_prefix(b"\\restrict ") {
                // Its line break stays, so that lines have the numbers that they have.
                Some(key) => {
                    self.key = Some(key.trim_ascii_end().to_vec());
                    self.held.push(b'\n');
                }
                None => self.held.extend_from_slice(&line),
            }
            return Ok(count);
        }
        let count = self.script.read(&mut self.block)?;
        self.held.extend_from_slice(&self.block[..count]);
        Ok(count)
    }

    fn take_key_away(&mut self) {
        let Some(key) = &self.key else { return };
        let line = [b"\n\\unrestrict ".as_slice(), key, b"\n"].concat();
        if let Some(at) = memchr::memmem::rfind(&self.held, &line) {
            self.held.drain(at + 1..at + line.len());
        }
    }
}

impl<R: Read> Read for Unrestricted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.held.len() <= AT_THE_END {
            if self.read_more()? == 0 {
                self.ended = true;
                self.take_key_away();
            }
        }
        let ready = if self.ended {
            self.held.len()
        } else {
            self.held.len() - AT_THE_END
        };
        let count = ready.min(bytes.len());
        bytes[..count].copy_from_slice(&self.held[..count]);
        self.held.drain(..count);
        Ok(count)
    }
}

/// A script without the settings that a server does not know. They stand at its head, one a line.
pub struct Filtered<R> {
    script: BufReader<R>,
    known: Vec<String>,
    head: bool,
    line: Vec<u8>,
}

impl<R: Read> Filtered<R> {
    /// Of this script, for a server that knows these settings.
    pub fn new(script: R, known: Vec<String>) -> Self {
        Filtered {
            script: BufReader::with_capacity(1 << 20, script),
            known,
            head: true,
            line: Vec::new(),
        }
    }

    fn next_line(&mut self) -> io::Result<()> {
        loop {
            self.line.clear();
            if self.script.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&self.line);
            let setting = text
                .strip_prefix("SET ")
                .and_then(|rest| rest.split([' ', '=']).next());
            let preamble = setting.is_some()
                || text.trim_end() == "BEGIN;"
                || text.trim().is_empty()
                || text.starts_with("--")
                || text.starts_with('\\')
                || text.starts_with("SELECT pg_catalog.set_config(");
            self.head &= preamble;
            if setting.is_none_or(|name| self.known.iter().any(|known| known == name)) {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Filtered<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.line.is_empty() {
            if !self.head {
                return self.script.read(bytes);
            }
            self.next_line()?;
        }
        let count = self.line.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.line[..count]);
        self.line.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unrestricted(script: &str) -> String {
        let mut text = String::new();
        Unrestricted::new(script.as_bytes())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn the_key_of_a_script_is_taken_away_at_both_ends_alone() {
        let body = format!(
            "SELECT '\n\\unrestrict a1\n';\n{}",
            "SELECT 1;\n".repeat(1000)
        );
        let script = format!(
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict a1\n\n{body}--\n-- \
             complete\n--\n\n\\unrestrict a1\n\n"
        );
        let expected =
            format!("--\n-- PostgreSQL database dump\n--\n\n\n\n{body}--\n-- complete\n--\n\n\n");
        assert_eq!(unrestricted(&script), expected);
        // Another key, and one that comes too late, are left to psql, which refuses them.
        let other = script.replace("--\n\n\\unrestrict a1", "--\n\n\\unrestrict a2");
        assert!(unrestricted(&other).ends_with("\\unrestrict a2\n\n"));
        let late = "SELECT 1;\n\\restrict a1\nSELECT 2;\n\\unrestrict a1\n";
        assert_eq!(unrestricted(late), late);
        assert_eq!(unrestricted(""), "");
    }
}
