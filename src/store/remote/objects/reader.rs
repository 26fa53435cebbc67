//! An object that is read: a task fetches ahead, and goes on where a connection broke.

use super::failure::{RequestFailure, TryAgain, answer};
use super::network::Network;
use super::{Bucket, PAUSES, with_jitter};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{GetOptions, GetRange, GetResult};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// How many pieces, as the connection gives them, are fetched ahead: some MiB at most.
const AHEAD: usize = 64;

/// The bytes of an object, or of a range of it.
pub struct ObjectReader {
    network: Arc<Network>,
    pieces: Receiver<Result<Bytes>>,
    piece: Bytes,
    /// Ended without another piece, or by an error that was given.
    is_over: bool,
    task: Option<JoinHandle<()>>,
}

impl ObjectReader {
    /// Opens an object; that it is not there is told now.
    pub fn open(
        network: &Arc<Network>,
        bucket: &Arc<Bucket>,
        key: &str,
        range: Range<u64>,
    ) -> Result<ObjectReader> {
        let (sender, pieces) = channel(AHEAD);
        let fetch = network.run(Fetch::begin(Arc::clone(bucket), key, range))?;
        let task = fetch.map(|fetch| network.handle().spawn(fetch.send_all(sender)));
        Ok(ObjectReader {
            network: Arc::clone(network),
            pieces,
            piece: Bytes::new(),
            is_over: task.is_none(),
            task,
        })
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>> {
        if let Ok(piece) = self.pieces.try_recv() {
            crate::interrupt::check()?;
            return piece.map(Some);
        }
        let pieces = &mut self.pieces;
        let piece = self.network.run(async { Ok(pieces.recv().await) })?;
        piece.transpose()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_over && !buffer.is_empty() {
            match self.next_piece() {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Err(error.into());
                }
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Whether a range may have been refused because it begins at the object's end or behind it. Some
/// services say so, and others give an answer that does not fit, which the library refuses.
fn may_be_beyond_the_end(error: &Error) -> bool {
    match error.cause::<RequestFailure>() {
        Some(RequestFailure::Answer(answer)) => answer.status == 416,
        Some(RequestFailure::Transport { again, .. }) => *again == TryAgain::Never,
        None => false,
    }
}

/// What is fetched, and how far it is.
pub struct Fetch {
    bucket: Arc<Bucket>,
    key: String,
    /// What is still to come.
    rest: Range<u64>,
    /// The object's tag, by which it is known again.
    tag: Option<String>,
    /// The connection, unless it broke.
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// The pause before the next try.
    pause: Duration,
}

impl Fetch {
    /// Asks for a range; `None` where there is nothing in it.
    pub async fn begin(bucket: Arc<Bucket>, key: &str, range: Range<u64>) -> Result<Option<Fetch>> {
        if range.is_empty() {
            bucket.size(key).await?;
            return Ok(None);
        }
        let options = GetOptions::new().with_range(match (range.start, range.end) {
            (0, u64::MAX) => None,
            (start, u64::MAX) => Some(GetRange::Offset(start)),
            _ => Some(GetRange::Bounded(range.clone())),
        });
        let found = match bucket.get(key, options).await {
            Ok(found) => found,
            // There is nothing from there on; an empty object has no ranges at all.
            Err(error) if range != (0..u64::MAX) && may_be_beyond_the_end(&error) => {
                return match bucket.size(key).await? <= range.start {
                    true => Ok(None),
                    false => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Fetch {
            bucket,
            key: key.to_owned(),
            rest: range.start..found.meta.size.min(range.end),
            tag: found.meta.e_tag.clone(),
            stream: Some(found.into_stream()),
            pause: PAUSES.0,
        }))
    }

    /// Bytes that are still to come.
    fn length(&self) -> u64 {
        self.rest.end - self.rest.start
    }

    /// Fetches all, and sends it to whoever reads, until nobody does.
    async fn send_all(mut self, sender: Sender<Result<Bytes>>) {
        while let Some(piece) = self.next_piece().await.transpose() {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// Fetches the next bytes; `None` once all have come.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let last_progress = Instant::now();
        let mut tries = 0;
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None if self.rest.is_empty() => return Ok(None),
                None => self.ask_again().await?.into_stream(),
            };
            let failure = match stream.next().await {
                Some(Ok(piece)) if piece.len() as u64 > self.length() => {
                    return Err(self.failed("more bytes came than the object has"));
                }
                Some(Ok(piece)) => {
                    self.rest.start += piece.len() as u64;
                    self.stream = Some(stream);
                    self.pause = PAUSES.0;
                    if piece.is_empty() {
                        continue;
                    }
                    return Ok(Some(piece));
                }
                Some(Err(error)) => super::failure::reason(&error).cloned(),
                None if self.rest.is_empty() => return Ok(None),
                None => Some(RequestFailure::transport(
                    format!("it ended {} bytes too early", self.length()),
                    TryAgain::Patiently,
                )),
            };
            tries += 1;
            let may_pass = failure
                .as_ref()
                .is_some_and(|failure| failure.may_pass(tries));
            let wait = with_jitter(self.pause);
            if !may_pass || last_progress.elapsed() + wait > self.bucket.retry_time.limit() {
                let text = failure.map(|failure| failure.to_string());
                return Err(self.failed(text.as_deref().unwrap_or("the answer can't be read")));
            }
            tokio::time::sleep(wait).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Asks for the rest, of the same object.
    async fn ask_again(&mut self) -> Result<GetResult> {
        if self.tag.is_none() && self.rest.start > 0 {
            return Err(self.failed(
                "the connection broke, and the server gave no tag to know the object again by",
            ));
        }
        let options = GetOptions::new()
            .with_range(Some(GetRange::Bounded(self.rest.clone())))
            .with_if_match(self.tag.clone());
        let found = match self.bucket.get(&self.key, options).await {
            Err(error) if answer(&error).is_some_and(|answer| answer.status == 412) => {
                return Err(self.failed("it was replaced while it was read"));
            }
            other => other?,
        };
        match found.meta.e_tag == self.tag {
            true => Ok(found),
            false => Err(self.failed("it was replaced while it was read")),
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::failed(format!("reading `{}`: {why}", self.bucket.shown(&self.key)))
    }
}
