//! Filters for a dump's script on its way to `psql`. They remove settings that an older server does
//! not know, the key of the script's own restricted mode, and transactions where the script becomes
//! part of a larger one.

use crate::error::{Error, Result};
use crate::stream::for_each_block;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Copies the whole stream to a program. A program that has ended is no error here, as its exit
/// status tells why.
pub fn copy_stream(stream: &mut dyn Read, mut to: impl Write) -> Result<()> {
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

/// The script of one transaction without the COMMIT at its end, which the caller sends itself. The
/// end is held back until it is complete.
pub struct CommitFilter<R> {
    script: R,
    pending: Vec<u8>,
    /// The buffer for one read. It is allocated once, as the script may come in single lines.
    block: Vec<u8>,
    ended: bool,
}

/// A plain dump without the transactions around its large objects. Between the two comments where
/// those stand, every line is a statement.
/// If rows of a table should ever look the same, one is lost, and the count of its table shows it.
pub struct TransactionFilter<R> {
    script: BufReader<R>,
    among_large_objects: bool,
    line: Vec<u8>,
    given: usize,
}

impl<R: Read> TransactionFilter<R> {
    /// Filters this script.
    pub fn new(script: R) -> Self {
        TransactionFilter {
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

impl<R: Read> Read for TransactionFilter<R> {
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

/// A dump without the statement that creates the schema `public`, which a dump of chosen schemas
/// contains although every new database has that schema. It follows its own comment.
pub struct PublicSchemaFilter<R> {
    script: BufReader<R>,
    announced: bool,
    done: bool,
    line: Vec<u8>,
}

/// The statement as `pg_dump` writes it, and with all names quoted.
const PUBLIC: [&[u8]; 2] = [b"CREATE SCHEMA public;\n", b"CREATE SCHEMA \"public\";\n"];

impl<R: Read> PublicSchemaFilter<R> {
    /// Filters this script.
    pub fn new(script: R) -> Self {
        PublicSchemaFilter {
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
            // Schemas come before everything in them.
            self.done |= self.line.starts_with(b"-- Data for Name: ");
        } else if self.announced && PUBLIC.contains(&self.line.as_slice()) {
            self.done = true;
            // The line break stays, so that the numbers of lines stay, too.
            self.line = b"\n".to_vec();
        }
        Ok(())
    }
}

impl<R: Read> Read for PublicSchemaFilter<R> {
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

/// The most that may follow the COMMIT: comments and a meta command.
const AFTER_COMMIT: usize = 4096;

impl<R: Read> CommitFilter<R> {
    /// Filters this script.
    pub fn new(script: R) -> Self {
        CommitFilter {
            script,
            pending: Vec::new(),
            block: vec![0; 1 << 20],
            ended: false,
        }
    }
}

impl<R: Read> Read for CommitFilter<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.pending.len() <= AFTER_COMMIT {
            let count = self.script.read(&mut self.block)?;
            self.pending.extend_from_slice(&self.block[..count]);
            if count == 0 {
                self.ended = true;
                let at = memchr::memmem::rfind(&self.pending, b"\nCOMMIT;\n").ok_or_else(|| {
                    io::Error::from(Error::failed("the dump's script ends before its end"))
                })?;
                self.pending.drain(at + 1..at + 8);
            }
        }
        let ready = if self.ended {
            self.pending.len()
        } else {
            self.pending.len() - AFTER_COMMIT
        };
        let count = ready.min(bytes.len());
        bytes[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

/// A script without the `\restrict` at its head and the `\unrestrict` of the same key at its end.
/// `psql` gets our own key, which no script knows, and stays in that mode. The end is held back
/// until it is complete.
pub struct RestrictFilter<R> {
    script: BufReader<R>,
    head: bool,
    key: Option<Vec<u8>>,
    pending: Vec<u8>,
    /// The buffer for one read. It is allocated once, as the script may come in single lines.
    block: Vec<u8>,
    ended: bool,
}

/// The most that may follow the last statement: the key and the trailer.
const AT_THE_END: usize = 1024;

impl<R: Read> RestrictFilter<R> {
    /// Filters this script.
    pub fn new(script: R) -> Self {
        let script = BufReader::with_capacity(1 << 20, script);
        RestrictFilter {
            script,
            head: true,
            key: None,
            pending: Vec::new(),
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
                // The line break stays, so that the numbers of lines stay, too.
                Some(key) => {
                    self.key = Some(key.trim_ascii_end().to_vec());
                    self.pending.push(b'\n');
                }
                None => self.pending.extend_from_slice(&line),
            }
            return Ok(count);
        }
        let count = self.script.read(&mut self.block)?;
        self.pending.extend_from_slice(&self.block[..count]);
        Ok(count)
    }

    fn take_key_away(&mut self) {
        let Some(key) = &self.key else { return };
        let line = [b"\n\\unrestrict ".as_slice(), key, b"\n"].concat();
        if let Some(at) = memchr::memmem::rfind(&self.pending, &line) {
            self.pending.drain(at + 1..at + line.len());
        }
    }
}

impl<R: Read> Read for RestrictFilter<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.pending.len() <= AT_THE_END {
            if self.read_more()? == 0 {
                self.ended = true;
                self.take_key_away();
            }
        }
        let ready = if self.ended {
            self.pending.len()
        } else {
            self.pending.len() - AT_THE_END
        };
        let count = ready.min(bytes.len());
        bytes[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

/// A script without the settings that a server does not know. They stand at its head, one on a
/// line.
pub struct SettingsFilter<R> {
    script: BufReader<R>,
    known: Vec<String>,
    head: bool,
    line: Vec<u8>,
}

impl<R: Read> SettingsFilter<R> {
    /// Filters this script for a server that knows these settings.
    pub fn new(script: R, known: Vec<String>) -> Self {
        SettingsFilter {
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

impl<R: Read> Read for SettingsFilter<R> {
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
        RestrictFilter::new(script.as_bytes())
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
