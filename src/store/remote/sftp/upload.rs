//! A file that is being sent: to a temporary name, with many requests under way, and proven before
//! it gets its own name. Where its connection breaks it goes on over another one, with what was
//! not acknowledged.

use super::connection::{CallResult, Connection, FailureKind, Patience, Reply, SftpFailure};
use super::download::Download;
use super::files;
use super::link::{CHUNK, Link};
use super::part;
use crate::error::{Error, Result};
use crate::store::remote::medium::{Announcement, Creation, Upload};
use bytes::Bytes;
use openssh_sftp_client::file::File;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// See the head of this file.
pub struct SftpUpload {
    link: Arc<Link>,
    connection: Arc<Connection>,
    key: String,
    part_key: String,
    /// `None` once it is closed.
    file: Option<File>,
    /// The bytes that are not sent yet, less than a request's.
    chunk: Vec<u8>,
    sent: u64,
    hasher: Sha256,
    window: VecDeque<SentPiece>,
    /// Where it was when its connection broke.
    resumed_at: Option<u64>,
    is_published: bool,
}

/// Bytes that are sent, and not acknowledged yet.
struct SentPiece {
    offset: u64,
    bytes: Bytes,
    reply: Reply<()>,
}

impl SftpUpload {
    /// Makes the file under its temporary name. `announce` gets that before.
    pub fn begin(link: &Arc<Link>, key: &str, announce: Announcement) -> Result<SftpUpload> {
        let part_key = part::new_key(key);
        announce(part::name(&part_key))?;
        let path = link.path(&part_key);
        let tries = std::cell::Cell::new(0);
        let opened = link.with_retries(|connection| {
            let is_again = tries.replace(tries.get() + 1) > 0;
            let make = || files::make_file(connection, link.patience(), &path, is_again);
            let file = match make() {
                Err(failure) if failure.is_missing() => {
                    link.make_directories(connection, key)?;
                    make()?
                }
                file => file?,
            };
            Ok((Arc::clone(connection), file))
        });
        let (connection, file) = opened.map_err(|failure| link.error(failure, "creating", key))?;
        Ok(SftpUpload {
            link: Arc::clone(link),
            connection,
            key: key.to_owned(),
            part_key,
            file: Some(file),
            chunk: Vec::with_capacity(CHUNK),
            sent: 0,
            hasher: Sha256::new(),
            window: VecDeque::new(),
            resumed_at: None,
            is_published: false,
        })
    }

    fn send_chunk(&mut self) -> Result<()> {
        let Some(file) = self.file.clone() else {
            return Err(Error::failed("written after its end"));
        };
        if let Some(limit) = &self.link.upload_limit {
            limit.wait(self.chunk.len())?;
        }
        let bytes = Bytes::from(std::mem::replace(
            &mut self.chunk,
            Vec::with_capacity(CHUNK),
        ));
        let (offset, length) = (self.sent, bytes.len() as u64);
        let piece = self.send(file, offset, bytes);
        self.window.push_back(piece);
        self.sent += length;
        while self.window.len() >= self.link.window() {
            self.wait_for_first()?;
        }
        Ok(())
    }

    fn send(&self, file: File, offset: u64, bytes: Bytes) -> SentPiece {
        let written = files::write_at(file, offset, bytes.clone());
        SentPiece {
            offset,
            bytes,
            reply: self.connection.begin(written),
        }
    }

    /// Waits until the oldest piece is acknowledged.
    fn wait_for_first(&mut self) -> CallResult<()> {
        while let Some(piece) = self.window.front() {
            match self.connection.wait(&piece.reply, self.link.patience()) {
                Ok(()) => {
                    self.window.pop_front();
                    break;
                }
                Err(failure) => self.resume(failure)?,
            }
        }
        Ok(())
    }

    /// Opens the file over a new connection where the old one broke, once for every byte that was
    /// acknowledged, and sends the rest again. The old session may still write there; it
    /// has the same bytes.
    fn resume(&mut self, failure: SftpFailure) -> CallResult<()> {
        let acknowledged = self.window.front().map_or(self.sent, |piece| piece.offset);
        // rclone takes files only from their first byte to their last.
        let is_hopeless = self.link.is_rclone() || self.resumed_at == Some(acknowledged);
        if failure.kind != FailureKind::Lost || is_hopeless {
            return Err(failure);
        }
        self.resumed_at = Some(acknowledged);
        let path = self.link.path(&self.part_key);
        let (connection, file) = self.link.with_retries(|connection| {
            let (file, state) = files::open_again(connection, self.link.patience(), &path)?;
            if state.size < acknowledged {
                return Err(SftpFailure::last(Error::failed(format!(
                    "the server has {} bytes of the {acknowledged} that it acknowledged",
                    state.size
                ))));
            }
            Ok((Arc::clone(connection), file))
        })?;
        self.connection = connection;
        self.file = Some(file.clone());
        let pieces = std::mem::take(&mut self.window).into_iter();
        self.window = pieces
            .map(|piece| self.send(file.clone(), piece.offset, piece.bytes))
            .collect();
        Ok(())
    }

    /// Sends what is left, waits for every answer and closes the file.
    fn close(&mut self) -> Result<()> {
        if !self.chunk.is_empty() {
            self.send_chunk()?;
        }
        loop {
            while !self.window.is_empty() {
                self.wait_for_first()?;
            }
            let Some(file) = self.file.clone() else {
                return Err(Error::failed("ended twice"));
            };
            let syncs = self.connection.sftp().support_fsync();
            let patience = Patience::for_bytes(&self.link.bounds, self.sent);
            match self.connection.call(patience, files::close(file, syncs)) {
                Ok(()) => break,
                Err(failure) => self.resume(failure)?,
            }
        }
        self.file = None;
        Ok(())
    }

    /// Reads back what is there under the temporary name.
    fn prove(&self) -> Result<()> {
        let mut back = Download::open(&self.link, &self.part_key, 0..u64::MAX)?;
        let mut hasher = Sha256::new();
        let mut block = vec![0; 256 << 10];
        let mut length = 0;
        loop {
            match back.read(&mut block)? {
                0 => break,
                count => {
                    hasher.update(&block[..count]);
                    length += count as u64;
                }
            }
        }
        if length != self.sent {
            return Err(Error::failed(format!(
                "the server has {length} bytes of the {} that were sent",
                self.sent
            )));
        }
        if hasher.finalize() != self.hasher.clone().finalize() {
            return Err(Error::failed("the server has other bytes than were sent"));
        }
        Ok(())
    }
}

/// Gives a finished file its name, if that is free.
pub fn publish(
    link: &Link,
    connection: &Arc<Connection>,
    part_key: &str,
    key: &str,
    bytes: u64,
) -> CallResult<Creation> {
    let (from, to) = (link.path(part_key), link.path(key));
    let patience = Patience::for_bytes(&link.bounds, bytes);
    let is_linked = if !link.is_rclone() && connection.sftp().support_hardlink() {
        match files::link(connection, patience, &from, &to) {
            // A server that says yes and does nothing would lose the file.
            Ok(()) => files::is_taken(connection, patience, &to)?,
            // The name is taken, or the file system has no links.
            Err(failure) if matches!(failure.kind, FailureKind::Answer(_)) => false,
            Err(failure) => return Err(failure),
        }
    } else {
        false
    };
    if is_linked {
        // The name that is left over is hidden from lists, and swept.
        let _ = files::remove(connection, patience, &from);
    } else {
        if files::is_taken(connection, patience, &to)? {
            return Ok(Creation::AlreadyThere);
        }
        files::rename(connection, patience, &from, &to)?;
    }
    files::sync_name(connection, patience, &to)?;
    Ok(Creation::Created)
}

impl Write for SftpUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        self.hasher.update(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.send_chunk()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for SftpUpload {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.close()?;
        self.prove()?;
        let (link, sent) = (Arc::clone(&self.link), self.sent);
        // Reading back may have needed another connection.
        self.connection = link.connection(link.patience())?;
        let created = publish(&link, &self.connection, &self.part_key, &self.key, sent)?;
        if created == Creation::AlreadyThere {
            return Err(Error::failed("there is another object of this name"));
        }
        self.is_published = true;
        let path = link.path(&self.key);
        let state = files::state(&self.connection, link.patience(), &path)?;
        if state.size == sent {
            return Ok(());
        }
        let _ = link.clean_up(|connection, patience| files::remove(connection, patience, &path));
        Err(files::wrong_length(state.size, sent))
    }
}

impl Drop for SftpUpload {
    fn drop(&mut self) {
        self.window.clear();
        drop(self.file.take());
        if self.is_published {
            return;
        }
        let path = self.link.path(&self.part_key);
        // What can't be removed now is found by its record.
        let _ = self
            .link
            .clean_up(|connection, patience| files::remove(connection, patience, &path));
    }
}
