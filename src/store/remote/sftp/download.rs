//! A file that is being read, with many requests under way.

use super::connection::{CallResult, Connection, FailureKind, Reply, SftpFailure};
use super::files::{self, FileState};
use super::link::{CHUNK, Link};
use crate::error::{Error, Result};
use bytes::{Buf, BytesMut};
use openssh_sftp_client::file::File;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// See the head of this file.
pub struct Download {
    link: Arc<Link>,
    key: String,
    connection: Arc<Connection>,
    file: File,
    /// What the file was when it was opened.
    state: FileState,
    /// The next byte that the reader gets.
    position: u64,
    /// The next byte that is asked for.
    asked: u64,
    end: u64,
    window: VecDeque<Request>,
    block: BytesMut,
    /// Where it was when its connection broke.
    resumed_at: Option<u64>,
}

/// Bytes that were asked for.
struct Request {
    offset: u64,
    length: usize,
    reply: Reply<Option<BytesMut>>,
}

impl Download {
    /// Opens an object's bytes of this range, as far as there are so many.
    pub fn open(link: &Arc<Link>, key: &str, range: Range<u64>) -> CallResult<Download> {
        let (connection, file, state) = open(link, key)?;
        let end = range.end.min(state.size);
        let position = range.start.min(end);
        Ok(Download {
            link: Arc::clone(link),
            key: key.to_owned(),
            connection,
            file,
            state,
            position,
            asked: position,
            end,
            window: VecDeque::new(),
            block: BytesMut::new(),
            resumed_at: None,
        })
    }

    fn ask(&self, offset: u64, length: usize) -> Request {
        let file = self.file.clone();
        Request {
            offset,
            length,
            reply: self.connection.begin(files::read_at(file, offset, length)),
        }
    }

    /// Waits for the next bytes.
    fn next_block(&mut self) -> CallResult<BytesMut> {
        while self.window.len() < self.link.window() && self.asked < self.end {
            let length = (self.end - self.asked).min(CHUNK as u64) as usize;
            let request = self.ask(self.asked, length);
            self.window.push_back(request);
            self.asked += length as u64;
        }
        let Some(Request {
            offset,
            length,
            reply,
        }) = self.window.pop_front()
        else {
            return Ok(BytesMut::new());
        };
        match self.connection.wait(&reply, self.link.patience())? {
            Some(block) if !block.is_empty() => {
                if block.len() < length {
                    let rest = self.ask(offset + block.len() as u64, length - block.len());
                    self.window.push_front(rest);
                }
                Ok(block)
            }
            _ => Err(SftpFailure::last(files::wrong_length(
                offset,
                self.state.size,
            ))),
        }
    }

    /// Opens it anew where its connection broke, once for every byte that came.
    fn resume(&mut self, failure: SftpFailure) -> Result<()> {
        if failure.kind != FailureKind::Lost || self.resumed_at == Some(self.position) {
            return Err(self.link.error(failure, "reading", &self.key));
        }
        self.resumed_at = Some(self.position);
        self.window.clear();
        let (connection, file, state) = open(&self.link, &self.key)
            .map_err(|failure| self.link.object_error(failure, "opening", &self.key))?;
        if state != self.state {
            let shown = self.link.shown(&self.key);
            return Err(Error::failed(format!(
                "`{shown}` changed while it was read"
            )));
        }
        self.connection = connection;
        self.file = file;
        self.asked = self.position;
        Ok(())
    }
}

fn open(link: &Arc<Link>, key: &str) -> CallResult<(Arc<Connection>, File, FileState)> {
    let path = link.path(key);
    link.with_retries(|connection| {
        let (file, state) = files::open(connection, link.patience(), &path)?;
        Ok((Arc::clone(connection), file, state))
    })
}

impl Read for Download {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if self.position == self.end || bytes.is_empty() {
                return Ok(0);
            }
            match self.next_block() {
                Ok(block) => {
                    if let Some(limit) = &self.link.download_limit {
                        limit.wait(block.len())?;
                    }
                    self.block = block;
                }
                Err(failure) => self.resume(failure)?,
            }
        }
        let count = self.block.len().min(bytes.len());
        self.block.copy_to_slice(&mut bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}
