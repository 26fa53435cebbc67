//! The parts of a script that may hold anything: strings, quoted names and comments.

use super::input::{ByteClass, class, continues_word};
use super::{CLUSTER_HEADER, CLUSTER_TRAILER, DATA_FOR, LONGEST_HEAD, LONGEST_TAG, Scanner};
use super::{TRAILER, VIA_ROOT};
use crate::error::Result;
use memchr::{memchr, memchr2, memmem};

impl Scanner<'_, '_> {
    /// Skips a string or a quoted name, in which a doubled quote is one of its characters.
    ///
    /// A dump that was made with `standard_conforming_strings` off doubles backslashes too, so its
    /// strings end in the same places.
    pub(super) fn skip_quoted(&mut self, quote: u8) -> Result<()> {
        self.advance(1);
        while self.skip_until(|window| memchr(quote, window))? {
            let doubled = self.input.peek(1)? == Some(quote);
            self.advance(1 + usize::from(doubled));
            if !doubled {
                break;
            }
        }
        Ok(())
    }

    /// Skips an `E'…'` string from its quote on.
    pub(super) fn skip_escaped(&mut self) -> Result<()> {
        self.advance(1);
        while self.skip_until(|window| memchr2(b'\'', b'\\', window))? {
            let next = self.input.peek(1)?;
            let pair = self.input.window()[0] == b'\\' || next == Some(b'\'');
            self.advance(1 + usize::from(pair && next.is_some()));
            if !pair {
                break;
            }
        }
        Ok(())
    }

    /// Skips a string in dollar quotes, or a `$` that begins none.
    pub(super) fn skip_dollar_quoted(&mut self) -> Result<()> {
        let Some(length) = self.tag_length()? else {
            self.advance(1);
            return Ok(());
        };
        let tag = self.input.window()[..length].to_vec();
        self.advance(length);
        let finder = memmem::Finder::new(&tag);
        loop {
            let window = self.input.window();
            if let Some(at) = finder.find(window) {
                self.advance(at + length);
                return Ok(());
            }
            // The tag may begin in the window and end behind it.
            self.advance(window.len().saturating_sub(length - 1));
            if !self.input.more()? {
                self.advance(self.input.window().len());
                return Ok(());
            }
        }
    }

    /// The length of a `$tag$` at the beginning of the window.
    fn tag_length(&mut self) -> Result<Option<usize>> {
        for at in 1..LONGEST_TAG {
            match self.input.peek(at)? {
                Some(b'$') => return Ok(Some(at + 1)),
                Some(byte) if class(byte) == ByteClass::Word || at > 1 && continues_word(byte) => {}
                _ => break,
            }
        }
        Ok(None)
    }

    pub(super) fn read_line_comment(&mut self) -> Result<()> {
        let mut text = Vec::new();
        loop {
            let window = self.input.window();
            // The server ends a comment at either of them.
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
        // Within a statement the line break that follows separates words.
        if !self.statement.open {
            self.read_comment(&text);
        }
        Ok(())
    }

    /// Reads a comment between statements, which may announce a COPY or end the dump.
    fn read_comment(&mut self, text: &[u8]) {
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

    /// Skips `/* … */`, which may contain other comments.
    pub(super) fn skip_block_comment(&mut self) -> Result<()> {
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
}
